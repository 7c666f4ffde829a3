//! `cliffline verify`: are the files what was written, and do cells come out the same again?

use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;
use serde_json::json;

use super::{DirArgs, exit, output};
use crate::engine::Status;
use crate::store::{RUN_TABLES, RunManifest, RunReader, RunState, TableBytes, hash_file};

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
    let (cells, faults) = reader.sound_cells()?;
    let mut problems: Vec<String> = faults.into_iter().map(|(name, why)| format!("{name}: {why}")).collect();
    let (manifest, damage) = super::checked::manifest(&reader)?;
    problems.extend(damage.iter().map(|(name, why)| format!("{name}: {why}")));
    match &manifest {
        Some(manifest) => {
            problems.extend(table_problems(dir, manifest));
            problems.extend(spec_problem(dir, manifest));
        }
        None if damage.is_none() => problems.push("manifest.json: missing".to_string()),
        None => {}
    }
    // A run that has not finished yet is sound; one that says it has must have every cell.
    let planned = manifest.as_ref().map_or(0, |m| m.cells.planned);
    let finished = cells.values().filter(|status| **status != Status::Failed).count();
    let missing = planned.saturating_sub(finished as u64);
    let unfinished = manifest.as_ref().is_some_and(|m| m.state != RunState::Complete);
    if missing > 0 && !unfinished {
        problems.push(format!("{missing} of {planned} cells are not there"));
    }
    let sample = sample(&cells, args.rerun);
    if let Err(error) = retrain(&reader, &sample, &mut problems) {
        // What was found so far must not be lost with it.
        problems.iter().for_each(|problem| output::note(problem));
        return Err(error);
    }
    if args.json {
        output::json(&json!({
            "version": 1, "dir": dir, "passed": problems.is_empty(), "problems": problems, "cells": cells.len(),
            "missing": missing,
            "retrained": sample,
        }))?;
    } else {
        for problem in &problems {
            output::line(problem)?;
        }
        let verdict = match (problems.is_empty(), unfinished) {
            (false, _) => "FAILED".to_string(),
            (true, true) => format!("sound so far; the run is not complete, {missing} of {planned} cells are missing"),
            (true, false) => "passed".to_string(),
        };
        let (n, again) = (cells.len(), sample.len());
        output::line(&format!("{}: {verdict}: {n} cells read, {again} trained again", dir.display()))?;
    }
    Ok(match (problems.is_empty(), unfinished) {
        (false, _) => exit::NO,
        (true, true) => exit::INCOMPLETE,
        (true, false) => exit::OK,
    })
}

/// Trains the cells of a sample again and adds what differs to `problems`.
fn retrain(reader: &RunReader, sample: &[&str], problems: &mut Vec<String>) -> anyhow::Result<()> {
    let Some(first) = sample.first() else { return Ok(()) };
    let trainer = super::checked::trainer_for(&reader.record(first)?.class)?;
    for (i, cell_id) in sample.iter().enumerate() {
        output::note(&format!("training cell {cell_id} again ({} of {})", i + 1, sample.len()));
        let record = reader.record(cell_id)?;
        let again = super::checked::retrain(&trainer, &record)?;
        let differing = super::checked::differences(&record, &again.outcome);
        if !differing.is_empty() {
            problems.push(format!("cell {}: differs when trained again: {}", record.cell_id, differing.join(", ")));
        }
    }
    Ok(())
}

fn table_problems(dir: &Path, manifest: &RunManifest) -> Vec<String> {
    let problem = |(file, table): (&String, &TableBytes)| match hash_file(&dir.join(file)) {
        Err(e) => Some(format!("{file}: cannot be read: {e}")),
        Ok(blake3) if blake3 != table.blake3 => Some(format!("{file}: its BLAKE3 differs from the manifest's")),
        Ok(_) => None,
    };
    let absent = RUN_TABLES.iter().filter(|file| !manifest.tables.contains_key(**file));
    let absent = absent.map(|file| format!("{file}: the manifest does not list it"));
    let complete = manifest.state == RunState::Complete;
    manifest.tables.iter().filter_map(problem).chain(absent.filter(|_| complete)).collect()
}

fn spec_problem(dir: &Path, manifest: &RunManifest) -> Option<String> {
    match super::checked::spec(dir) {
        Err(e) => Some(format!("spec.toml: {}", super::chain(&e))),
        Ok(sweep) if sweep.hash() != manifest.spec_blake3 => {
            Some("spec.toml: it describes another sweep than the manifest".to_string())
        }
        Ok(sweep) if super::gate::thresholds(&sweep.gates) != super::gate::recorded(manifest) => {
            Some("spec.toml: it has other gates than the manifest".to_string())
        }
        Ok(_) => None,
    }
}

/// A share of the cells, the same each time: ids are hashes, so the lowest are a fair sample. Failed cells have
/// nothing to compare.
fn sample(cells: &BTreeMap<String, Status>, share: f64) -> Vec<&str> {
    let comparable = || cells.iter().filter(|(_, status)| **status != Status::Failed).map(|(id, _)| id.as_str());
    let wanted = (share * comparable().count() as f64).ceil() as usize;
    comparable().take(wanted).collect()
}
