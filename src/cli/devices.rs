//! `cliffline devices`: backends and adapters of this machine.

use clap::Args;
use serde_json::json;

use super::{exit, output};
use crate::aligner::backend::{Choice, adapters, instruction_set};
use crate::aligner::native;

#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn main(args: &DevicesArgs) -> anyhow::Result<u8> {
    let found = adapters()?;
    let auto = Choice::Auto.open()?;
    let (chosen, _) = native::instruction_set()?;
    let available: Vec<&str> = native::instruction_sets().into_iter().map(|(name, _)| name).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if args.json {
        output::json(&json!({
            "version": 1, "cpu": {"backends": ["native", "flex", "ndarray"], "cores": cores, "instruction_set": instruction_set(),
                    "native_instruction_set": chosen, "native_instruction_sets": available},
            "adapters": found, "auto": {"backend": auto.name, "why": auto.why},
        }))?;
        return Ok(exit::OK);
    }
    output::line(&format!(
        "native  CPU, {cores} cores, {chosen} (of {}; {} chooses)",
        available.join(", "),
        native::INSTRUCTIONS
    ))?;
    output::line(&format!("flex, ndarray  CPU, {cores} cores, {}", instruction_set()))?;
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
