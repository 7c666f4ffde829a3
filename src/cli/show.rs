//! `cliffline show`: one cell's audit manifest.

use clap::Args;

use super::{DirArgs, exit, output};
use crate::store::{RunReader, audit_manifest};

#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Cell id, or the beginning of one
    cell: String,
    /// Accepted for uniformity: the output is JSON anyway
    #[arg(long)]
    json: bool,
}

pub fn main(args: &ShowArgs) -> anyhow::Result<u8> {
    let reader = RunReader::open(&args.dir.dir)?;
    let record = reader.record(&args.cell)?;
    let (manifest, damage) = super::checked::manifest(&reader)?;
    if let Some((name, reason)) = damage {
        output::note(&format!("{name} is damaged ({reason}); what it would add is left out"));
    }
    let axes = super::checked::axes(&args.dir.dir)?;
    output::json(&audit_manifest(&record, &axes, manifest.as_ref()))?;
    Ok(exit::OK)
}
