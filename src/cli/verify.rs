//! `cliffline verify`: are the files what was written, and do cells come out the same again?

use clap::Args;
use serde_json::json;

use super::{DirArgs, exit, output};
use crate::store::{CellRecord, RunReader};

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Share of the finished cells to train again and compare, 0 to 1; at least one cell when above 0
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    rerun: f64,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn main(args: &VerifyArgs) -> anyhow::Result<u8> {
    anyhow::ensure!((0.0..=1.0).contains(&args.rerun), "--rerun {} is not a share between 0 and 1", args.rerun);
    let dir = &args.dir.dir;
    let reader = RunReader::open(dir)?;
    let mut problems: Vec<String> = reader.damaged().iter().map(|(name, why)| format!("{name}: {why}")).collect();
    if let Some(manifest) = reader.manifest()? {
        for (file, table) in &manifest.tables {
            match std::fs::read(dir.join(file)) {
                Err(e) => problems.push(format!("{file}: cannot be read: {e}")),
                Ok(bytes) if blake3::hash(&bytes).to_hex().as_str() != table.blake3 => {
                    problems.push(format!("{file}: its BLAKE3 differs from the manifest's"));
                }
                Ok(_) => {}
            }
        }
        let missing = manifest.cells.planned.saturating_sub(reader.len() as u64);
        if missing > 0 {
            problems.push(format!("{missing} of {} planned cells are not there", manifest.cells.planned));
        }
    } else {
        problems.push("manifest.json: missing".to_string());
    }
    let mut ids: Vec<String> = reader.cells().map(|(id, _)| id.to_string()).collect();
    ids.sort();
    let records = match reader.records(&ids) {
        Ok(records) => records,
        Err(error) => {
            problems.push(error.to_string());
            Vec::new()
        }
    };
    let sample = sample(&records, args.rerun);
    for (i, record) in sample.iter().enumerate() {
        eprintln!("training cell {} again ({} of {})", record.cell_id, i + 1, sample.len());
        let trainer = super::checked::trainer_for(&record.class)?;
        let again = super::checked::retrain(&trainer, record)?;
        let differing = super::checked::differences(record, &again.outcome);
        if !differing.is_empty() {
            problems.push(format!("cell {}: differs when trained again: {}", record.cell_id, differing.join(", ")));
        }
    }
    if args.json {
        output::json(&json!({
            "version": 1, "dir": dir, "passed": problems.is_empty(), "problems": problems, "cells": records.len(),
            "retrained": sample.iter().map(|r| &r.cell_id).collect::<Vec<_>>(),
        }))?;
    } else {
        for problem in &problems {
            output::line(problem)?;
        }
        let verdict = if problems.is_empty() { "passed" } else { "FAILED" };
        let (n, again) = (records.len(), sample.len());
        output::line(&format!("{}: {verdict}: {n} cells read, {again} trained again", dir.display()))?;
    }
    Ok(if problems.is_empty() { exit::OK } else { exit::NO })
}

/// A share of the records, the same each time: ids are hashes, so the lowest are a fair sample. Failed cells have
/// nothing to compare.
fn sample(records: &[CellRecord], share: f64) -> Vec<&CellRecord> {
    let comparable: Vec<&CellRecord> =
        records.iter().filter(|r| r.to_outcome().status != crate::engine::Status::Failed).collect();
    let wanted = (share * comparable.len() as f64).ceil() as usize;
    comparable.into_iter().take(wanted).collect()
}
