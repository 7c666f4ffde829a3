//! `cliffline verify`: are the files what was written, and do cells come out the same again?

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::opened::{is_laboratory, runs_of, waits};
use super::output::shown;
use super::reuse::unchosen_seed;
use super::{DirArgs, exit, output};
use crate::engine::Status;
use crate::store::{
    CutShort, FilesLock, LEDGER_FILE, MANIFEST_FILE, NamedFault, OTHER_LINE_ENDS, RUN_TABLES, RunManifest, RunReader,
    RunState, SPEC_FILE, SealCheck, SoundCells, TableBytes, check_cut_short, check_seal, has_other_line_ends,
    hash_file, look_at_lock, read_file, sample_of, unpacked,
};

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Share of the finished cells to train again and compare, 0 to 1: a random sample, of at least one cell when above
    /// 0, and of at least one cell that was reused from another run
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0, allow_negative_numbers = true)]
    rerun: f64,
    /// Seed of the sample, to take an earlier one again [default: another one each time, which is printed]
    #[arg(long, value_name = "SEED", requires = "rerun")]
    sample_seed: Option<u64>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn main(args: &VerifyArgs) -> anyhow::Result<u8> {
    anyhow::ensure!((0.0..=1.0).contains(&args.rerun), "--rerun {} is not a share between 0 and 1", args.rerun);
    let dir = &args.dir.dir;
    super::checked::require_directory(dir)?;
    // Until all is read, so that no file changes between one look and the next.
    let hold = FilesLock::to_read(dir, waits(dir))?;
    let (live, lock) = look_at_lock(dir)?;
    if !RunReader::is_run(dir)
        && (live || is_laboratory(dir))
        && unpacked(dir).is_none()
        && let Some(why) = unsettled(dir, live)?
    {
        return at_work(args, live, &why);
    }
    if !live && let Some(cut_short) = check_cut_short(dir)? {
        return verify_cut_short(args, lock, cut_short);
    }
    // What a run at work, or killed, has lies still at its end alone.
    let running = live || RunManifest::read(dir).is_ok_and(|m| m.is_some_and(|m| m.state == RunState::Running));
    let mut seal = if running { SealCheck::default() } else { check_seal(dir)? };
    let sealed = seal.ledger.is_some();
    let has_seal = sealed || !seal.faults.is_empty();
    if let Some(fault) = lock {
        seal.extra.retain(|(name, _)| *name != fault.0);
        seal.faults.push(fault);
    }
    if has_seal && !RunReader::is_run(dir) {
        return verify_without_cells(args, &seal);
    }
    let reader = RunReader::open(dir)?;
    let Looked { cells, reused, manifest, mut problems } = look(&reader, &seal, live)?;
    drop(hold);
    // A run that has not finished yet is sound; one that says it has must have every cell.
    let planned = manifest.as_ref().map_or(0, |m| m.cells.planned);
    let finished = cells.values().filter(|status| **status != Status::Failed).count();
    let missing = planned.saturating_sub(finished as u64);
    let unfinished = live || manifest.as_ref().is_none_or(|m| m.state != RunState::Complete);
    if missing > 0 && !unfinished {
        problems.push(format!("{missing} of {planned} cells are not there"));
    }
    let seed = (args.rerun > 0.0).then(|| args.sample_seed.unwrap_or_else(unchosen_seed));
    let sample = seed.map_or(Vec::new(), |seed| sample(&cells, &reused, args.rerun, seed));
    if let Some(seed) = seed {
        let of = match sample.iter().filter(|id| reused.contains(**id)).count() {
            0 => String::new(),
            n => format!(" ({n} of them reused from another run)"),
        };
        let n = output::count(sample.len(), "cell");
        output::note(&format!("a random sample of {n}{of} is trained again; --sample-seed {seed} repeats it"));
    }
    if let Err(error) = retrain(&reader, &sample, &mut problems) {
        // What was found so far must not be lost with it.
        problems.iter().for_each(|problem| output::note(problem));
        return Err(error);
    }
    if !sealed && !seal.names(LEDGER_FILE) {
        output::note(&no_ledger(live, manifest.as_ref()));
    }
    let files = seal.ledger.as_ref().map(|ledger| ledger.lines().count());
    if args.json {
        output::json(&json!({
            "version": 1, "dir": output::path(dir), "passed": problems.is_empty(), "problems": problems, "cells": cells.len(),
            "missing": missing, "files": files, "harmless": seal.harmless, "live": live,
            "retrained": sample, "sample_seed": seed,
        }))?;
    } else {
        for problem in problems.iter().chain(&in_words(&seal.harmless)) {
            output::line(problem)?;
        }
        let lacks = match &manifest {
            Some(_) if missing == 0 && !live => {
                "every cell is there, but what followed was not done, or a cell came out differently when it was trained \
                 again: the command that made it goes on, or says what it found"
                    .to_string()
            }
            Some(_) => format!("{missing} of {planned} cells are missing"),
            None => "it has not written which cells it is of".to_string(),
        };
        let verdict = match (problems.is_empty(), unfinished) {
            (false, _) => "FAILED".to_string(),
            (true, true) if live => format!("at work, and sound so far: {lacks}"),
            (true, true) => format!("sound so far; the run is not complete, {lacks}"),
            (true, false) => "passed".to_string(),
        };
        let (n, again) = (cells.len(), sample.len());
        let files = files.map_or(String::new(), |files| format!(", {files} files in the ledger"));
        let by = seed.map_or(String::new(), |seed| format!(" (sample seed {seed})"));
        output::line(&format!("{}: {verdict}: {n} cells read, {again} trained again{by}{files}", dir.display()))?;
    }
    Ok(match (problems.is_empty(), unfinished) {
        (false, _) => exit::NO,
        (true, true) => exit::INCOMPLETE,
        (true, false) => exit::OK,
    })
}

/// Why a directory that is no run cannot be verified yet: it is being begun, or a laboratory that has not sealed it.
fn unsettled(dir: &Path, live: bool) -> anyhow::Result<Option<String>> {
    if live && !is_laboratory(dir) {
        return Ok(Some("a process is at work here, and has written nothing that could be verified yet".to_string()));
    }
    if live {
        return Ok(Some("the laboratory is at work, and seals its directory at its end".to_string()));
    }
    let busy = |run: &PathBuf| look_at_lock(run).map(|(live, _)| live.then(|| run.display().to_string()));
    let busy = runs_of(dir)?.iter().map(busy).collect::<Result<Vec<_>, _>>()?;
    if let Some(run) = busy.into_iter().flatten().next() {
        return Ok(Some(format!("a process is at work on {run}, which the seal of the laboratory has")));
    }
    let text = read_file(&dir.join(MANIFEST_FILE)).unwrap_or_default();
    let manifest: Value = serde_json::from_slice(&text).unwrap_or_default();
    let begun = text.is_empty() && !dir.join(LEDGER_FILE).exists();
    let stopped = "the laboratory was stopped before it sealed its directory; the same command goes on";
    Ok((begun || manifest["state"] == "running").then(|| stopped.to_string()))
}

/// Says that there is nothing to verify yet.
fn at_work(args: &VerifyArgs, live: bool, why: &str) -> anyhow::Result<u8> {
    let dir = &args.dir.dir;
    if args.json {
        output::json(&json!({
            "version": 1, "dir": output::path(dir), "passed": null, "problems": [], "cells": 0, "missing": 0, "files": null,
            "live": live, "why": why, "retrained": [],
        }))?;
    } else {
        output::line(&format!("{}: {why}", dir.display()))?;
    }
    Ok(exit::INCOMPLETE)
}

/// Reports a directory whose sealing was cut short. Changes that the killed process did not make are faults.
fn verify_cut_short(args: &VerifyArgs, lock: Option<NamedFault>, cut_short: CutShort) -> anyhow::Result<u8> {
    let dir = &args.dir.dir;
    let CutShort { faults, changed, harmless: beside } = cut_short;
    let mut found = Found::default();
    lock.iter().chain(&faults).for_each(|(name, why)| found.add(name, shown(why)));
    let mut why =
        "a process was killed while it sealed the directory: `report`, `gate` or `bundle`, or the command that made \
                   it, ends that"
            .to_string();
    if !changed.is_empty() {
        let names: Vec<_> = changed.iter().map(shown).collect();
        why = format!("{why}; since the seal before, these changed: {}", names.join(", "));
    }
    if found.problems.is_empty() {
        return at_work(args, false, &why);
    }
    if args.json {
        output::json(&json!({
            "version": 1, "dir": output::path(dir), "passed": false, "problems": found.problems, "cells": 0, "missing": 0,
            "files": null, "harmless": beside, "live": false, "why": why, "retrained": [],
        }))?;
    } else {
        found.problems.iter().chain(&in_words(&beside)).try_for_each(|problem| output::line(problem))?;
        output::line(&format!("{}: FAILED: {why}", dir.display()))?;
    }
    Ok(exit::NO)
}

/// What a look at the files of a run found.
struct Looked {
    /// Every cell that can be read, and how it ended.
    cells: BTreeMap<String, Status>,
    /// Those that were reused from another run.
    reused: BTreeSet<String>,
    /// None where there is none that can be believed.
    manifest: Option<RunManifest>,
    problems: Vec<String>,
}

/// Holds parts, manifest, tables and spec to one another, and all files to the ledger.
fn look(reader: &RunReader, seal: &SealCheck, live: bool) -> anyhow::Result<Looked> {
    let dir = reader.dir();
    let mut found = Found::default();
    let SoundCells { cells, reused, tree, faults } = reader.sound_cells()?;
    faults.into_iter().for_each(|(name, why)| found.add(&format!("parts/{name}"), shown(why)));
    // A manifest that is not the one that was sealed says nothing about the other files.
    let (manifest, damage) = if seal.names(MANIFEST_FILE) { (None, None) } else { super::checked::manifest(dir)? };
    damage.iter().for_each(|(name, why)| found.add(name, shown(why)));
    match &manifest {
        // Whoever is at work, or was killed, had said that the files change.
        Some(manifest) if manifest.state == RunState::Running => {}
        Some(manifest) => {
            table_problems(dir, manifest).into_iter().for_each(|(name, why)| found.add(&name, why));
            spec_problem(dir, manifest).into_iter().for_each(|why| found.add(SPEC_FILE, why));
        }
        // It comes first of what a run writes beside its parts.
        None if live || damage.is_none() && seal.ledger.is_none() && !has_tables(dir) => {}
        None if damage.is_none() && seal.ledger.is_none() => found.add(MANIFEST_FILE, "missing".to_string()),
        None => {}
    }
    seal.faults.iter().chain(&seal.extra).for_each(|(name, why)| found.add(name, shown(why)));
    let parts_are_sound = !found.files.iter().any(|file| file.starts_with("parts/"));
    let root = manifest.as_ref().filter(|_| parts_are_sound && !live).and_then(|manifest| manifest.cells_root());
    if root.is_some_and(|root| root != tree.root()) {
        found.add("parts", "the root over their cells is not the cells_merkle_root of manifest.json".to_string());
    }
    Ok(Looked { cells, reused, manifest, problems: found.problems })
}

/// What lies beside the files of a run and is no fault, in words.
fn in_words(harmless: &[NamedFault]) -> Vec<String> {
    harmless.iter().map(|(name, why)| format!("{}: {why}", shown(name))).collect()
}

fn has_tables(dir: &Path) -> bool {
    RUN_TABLES.iter().any(|file| dir.join(file).exists())
}

/// Why there is no ledger to hold files to.
fn no_ledger(live: bool, manifest: Option<&RunManifest>) -> String {
    let why = match manifest {
        _ if live => "the run is at work and has no ledger until it ends",
        Some(manifest) if manifest.state == RunState::Running => {
            "the run was killed before it wrote a ledger: the command that made it goes on"
        }
        None => "the run was killed before it wrote a manifest: the command that made it begins again",
        _ => "the run has no ledger, as those of older versions; `run` adds it, and trains nothing that is there",
    };
    let tables = manifest.is_some_and(|manifest| manifest.state != RunState::Running);
    let checked = if tables { "parts, tables and spec are" } else { "parts are" };
    format!("{why}; {checked} checked, other files are not")
}

/// What was found to be wrong, each file once.
#[derive(Default)]
struct Found {
    files: BTreeSet<String>,
    problems: Vec<String>,
}

impl Found {
    /// Adds a file, unless it was named already: the first reason says most.
    fn add(&mut self, file: &str, why: String) {
        if self.files.insert(file.to_string()) {
            self.problems.push(format!("{}: {why}", shown(file)));
        }
    }
}

/// Checks a sealed directory that holds no parts: an unpacked bundle, or a folder of runs.
fn verify_without_cells(args: &VerifyArgs, seal: &SealCheck) -> anyhow::Result<u8> {
    let dir = &args.dir.dir;
    let bundle = seal.unpacked == Some(false);
    let why = match () {
        () if bundle => "parts/ is not in this bundle",
        () if is_laboratory(dir) => "cells are in the runs below, which can be verified one by one",
        () => "there are no parts",
    };
    anyhow::ensure!(args.rerun == 0.0, "{}: {why}, so none can be trained again", dir.display());
    let problems: Vec<String> = seal
        .faults
        .iter()
        .chain(&seal.extra)
        .map(|(name, reason)| format!("{}: {}", shown(name), shown(reason)))
        .collect();
    let files = seal.ledger.as_ref().map_or(0, |ledger| ledger.lines().count());
    let passed = problems.is_empty();
    if args.json {
        output::json(&json!({
            "version": 1, "dir": output::path(dir), "passed": passed, "problems": problems, "cells": 0, "missing": 0, "files": files,
            "not_in_the_bundle": seal.left_out, "harmless": seal.harmless, "retrained": [], "sample_seed": null,
        }))?;
    } else {
        problems.iter().chain(&in_words(&seal.harmless)).try_for_each(|problem| output::line(problem))?;
        let verdict = if passed { "passed" } else { "FAILED" };
        let there = files - seal.left_out;
        let absent = if bundle { format!(" ({} files of the ledger)", seal.left_out) } else { String::new() };
        output::line(&format!(
            "{}: {verdict}: {there} files in the ledger; {why}{absent}, so no cell was read",
            dir.display()
        ))?;
    }
    Ok(if passed { exit::OK } else { exit::NO })
}

/// Trains the cells of a sample again and adds what differs to `problems`.
fn retrain(reader: &RunReader, sample: &[&str], problems: &mut Vec<String>) -> anyhow::Result<()> {
    let Some(first) = sample.first() else { return Ok(()) };
    let first = reader.record(first)?;
    let trainer = super::checked::trainer_for(&first.class)?;
    super::checked::require_memory(&trainer, &first)?;
    for (i, cell_id) in sample.iter().enumerate() {
        output::note(&format!("training cell {cell_id} again ({} of {})", i + 1, sample.len()));
        let record = reader.record(cell_id)?;
        let again = super::checked::retrain(&trainer, &record)?;
        let differing = crate::store::differences(&record, &again.outcome);
        if !differing.is_empty() {
            problems.push(format!("cell {}: differs when trained again: {}", record.cell_id, differing.join(", ")));
        }
    }
    Ok(())
}

fn table_problems(dir: &Path, manifest: &RunManifest) -> Vec<NamedFault> {
    let problem = |(file, table): (&String, &TableBytes)| match hash_file(&dir.join(file)) {
        Err(e) => Some((file.clone(), format!("cannot be read: {e}"))),
        Ok(blake3) if blake3 == table.blake3 => None,
        Ok(_) if has_other_line_ends(&dir.join(file), &table.blake3) => {
            Some((file.clone(), OTHER_LINE_ENDS.to_string()))
        }
        Ok(_) => Some((file.clone(), "its BLAKE3 differs from the manifest's".to_string())),
    };
    let absent = RUN_TABLES.iter().filter(|file| !manifest.tables.contains_key(**file));
    let absent = absent.map(|file| (file.to_string(), "the manifest does not list it".to_string()));
    let complete = manifest.state == RunState::Complete;
    manifest.tables.iter().filter_map(problem).chain(absent.filter(|_| complete)).collect()
}

fn spec_problem(dir: &Path, manifest: &RunManifest) -> Option<String> {
    match super::checked::spec(dir) {
        Err(e) => Some(super::chain(&e)),
        Ok(sweep) if sweep.hash() != manifest.spec_blake3 => {
            Some("it describes another sweep than the manifest".to_string())
        }
        Ok(sweep) if super::gate::thresholds(&sweep.gates) != super::gate::recorded(manifest) => {
            Some("it has other gates than the manifest".to_string())
        }
        Ok(_) => None,
    }
}

/// A random share of the cells, rounded up, and of those of another run apart, so that each kind has one at least.
/// Failed cells have nothing to compare.
fn sample<'a>(cells: &'a BTreeMap<String, Status>, reused: &BTreeSet<String>, share: f64, seed: u64) -> Vec<&'a str> {
    let comparable = cells.iter().filter(|(_, status)| **status != Status::Failed).map(|(id, _)| id.as_str());
    let (theirs, own): (Vec<&str>, Vec<&str>) = comparable.partition(|id| reused.contains(*id));
    let drawn = |ids: Vec<&'a str>| {
        let wanted = rounded_up(share, ids.len());
        sample_of(ids.into_iter(), wanted, seed)
    };
    [drawn(theirs), drawn(own)].concat()
}

/// A share of some cells in whole cells. 0.07 of 100 are 7, though the product is a rounding above.
fn rounded_up(share: f64, cells: usize) -> usize {
    let product = share * cells as f64;
    let roundings = 2.0 * f64::EPSILON * product;
    ((product - roundings).ceil() as usize).max(usize::from(share > 0.0)).min(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_up_to_whole_cells_and_to_one_at_least() {
        let cases =
            [(0.07, 100, 7), (0.1, 30, 3), (0.1, 31, 4), (1e-9, 50, 1), (1.0, 50, 50), (0.0, 50, 0), (0.5, 0, 0)];
        for (share, cells, expected) in cases {
            assert_eq!(rounded_up(share, cells), expected, "{share} of {cells}");
        }
    }

    #[test]
    fn failed_cells_are_not_sampled_and_seeds_differ() {
        let status = |i: usize| if i.is_multiple_of(2) { Status::Failed } else { Status::Ok };
        let cells: BTreeMap<String, Status> = (0..40).map(|i| (format!("{i:032}"), status(i))).collect();
        let none = BTreeSet::new();
        let drawn = sample(&cells, &none, 0.2, 3);
        assert_eq!(drawn.len(), 4);
        assert!(drawn.iter().all(|id| cells[*id] != Status::Failed));
        assert_ne!(drawn, sample(&cells, &none, 0.2, 4));
        assert_ne!(unchosen_seed(), unchosen_seed());
        assert!(unchosen_seed() < 1 << 32);
    }

    #[test]
    fn a_reused_cell_among_many_is_always_sampled() {
        let cells: BTreeMap<String, Status> = (0..100).map(|i| (format!("{i:032}"), Status::Ok)).collect();
        let reused = BTreeSet::from([format!("{:032}", 71)]);
        for seed in 0..20 {
            let drawn = sample(&cells, &reused, 0.02, seed);
            assert_eq!(drawn.len(), 3, "two of 99 and one of one");
            assert!(drawn.contains(&format!("{:032}", 71).as_str()), "at seed {seed}");
        }
    }
}
