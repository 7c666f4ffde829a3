//! `cliffline show`: one cell's audit manifest, and the proof that the run's root has it.

use clap::Args;
use serde_json::json;

use super::opened::{Opened, Recorded};
use super::{DirArgs, exit, output};
use crate::store::audit_manifest;

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
    let opened = Opened::run(&args.dir.dir)?;
    let found = opened.cell(&args.cell)?;
    let (manifest, damage) = opened.loose_manifest();
    if let Some((name, reason)) = damage {
        output::note(&format!("{name} is damaged ({reason}); what it would add is left out"));
    }
    let axes: Vec<String> = opened.sweep()?.axes.into_iter().map(|axis| axis.path).collect();
    let shown = match &found {
        Recorded::Whole(record) => audit_manifest(record, &axes, manifest),
        Recorded::Tabled(cell) => {
            output::note(&format!(
                "{}: this is what the tables of a bundle without parts/ have of the cell; `cliffline bundle --with-parts` \
                 on the run puts in the rest, which is null here",
                args.dir.dir.display()
            ));
            cell.audit_manifest(&axes, manifest)
        }
    };
    if !args.proof {
        drop(opened);
        output::json(&shown)?;
        return Ok(exit::OK);
    }
    let root = manifest.and_then(|manifest| manifest.cells_root()).map(ToString::to_string);
    anyhow::ensure!(
        root.is_some(),
        "manifest.json of {} has no cells_merkle_root: the command that made the run writes it when it ends, and trains \
         nothing that is there",
        args.dir.dir.display()
    );
    let proof = opened.parts()?.sound_cells()?.tree.proof(found.record());
    let proven = proof.as_ref().zip(root.as_deref()).is_some_and(|(proof, root)| proof.leads_to(root));
    drop(opened);
    output::json(&json!({ "record": shown, "proof": proof, "cells_merkle_root": root, "proven": proven }))?;
    if !proven {
        output::note("the cells that can be read have another root than manifest.json; `cliffline verify` says more");
    }
    Ok(if proven { exit::OK } else { exit::NO })
}
