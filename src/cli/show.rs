//! `cliffline show`: one cell's audit manifest, and the proof that the run's root has it.

use clap::Args;
use serde_json::json;

use super::{DirArgs, exit, output};
use crate::store::{RunReader, audit_manifest};

#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Cell id, or the beginning of one
    cell: String,
    /// Print with it the proof that the cell is among those of cells_merkle_root in manifest.json; exit code 1 where it
    /// is not. Every cell is read for it
    #[arg(long)]
    proof: bool,
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
    let shown = audit_manifest(&record, &axes, manifest.as_ref());
    if !args.proof {
        output::json(&shown)?;
        return Ok(exit::OK);
    }
    let root = manifest.as_ref().and_then(|manifest| manifest.cells_root());
    anyhow::ensure!(
        root.is_some(),
        "manifest.json of {} has no cells_merkle_root: the command that made the run writes it when it ends, and trains \
         nothing that is there",
        args.dir.dir.display()
    );
    let proof = reader.sound_cells()?.tree.proof(&record);
    let proven = proof.as_ref().zip(root).is_some_and(|(proof, root)| proof.leads_to(root));
    output::json(&json!({ "record": shown, "proof": proof, "cells_merkle_root": root, "proven": proven }))?;
    if !proven {
        output::note("the cells that can be read have another root than manifest.json; `cliffline verify` says more");
    }
    Ok(if proven { exit::OK } else { exit::NO })
}
