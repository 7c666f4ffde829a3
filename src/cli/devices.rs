//! `cliffline devices`: backends and adapters of this machine.

use clap::Args;
use serde_json::json;

use super::{exit, output};
use crate::aligner::backend::{Choice, adapters, instruction_set};

#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn main(args: &DevicesArgs) -> anyhow::Result<u8> {
    let found = adapters()?;
    let auto = Choice::Auto.open()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if args.json {
        output::json(&json!({
            "version": 1, "cpu": {"backends": ["native", "flex", "ndarray"], "cores": cores, "instruction_set": instruction_set()},
            "adapters": found, "auto": {"backend": auto.name, "why": auto.why},
        }))?;
        return Ok(exit::OK);
    }
    output::line(&format!("native, flex, ndarray  CPU, {cores} cores, {}", instruction_set()))?;
    for adapter in &found {
        output::line(&format!("wgpu  {} ({}), {} {}", adapter.name, adapter.kind, adapter.api, adapter.driver))?;
    }
    if found.is_empty() {
        output::line(
            "wgpu  no graphics adapter found (Debian: mesa-vulkan-drivers and libvulkan1 give a software one)",
        )?;
    }
    output::line(&format!("auto  {}: {}", auto.name, auto.why))?;
    Ok(exit::OK)
}
