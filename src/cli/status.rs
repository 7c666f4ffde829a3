//! `cliffline status`: a live, dead or finished run, or laboratory.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::opened::{is_laboratory, odd_among_runs, runs_of};
use super::{DirArgs, exit, output};
use crate::lab::RUNS_FOLDER;
use crate::store::{
    Ledger, MANIFEST_FILE, NamedFault, RunManifest, RunReader, RunState, StoreError, look_at_lock, read_file, unpacked,
};

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// How a run stands.
struct Standing {
    state: &'static str,
    live: bool,
    complete: bool,
    manifest: Option<RunManifest>,
    finished: u64,
    by_status: BTreeMap<String, u64>,
    damaged: Vec<NamedFault>,
    class: Option<String>,
    /// Of an unpacked bundle: whether it has parts.
    unpacked: Option<bool>,
}

pub fn main(args: &StatusArgs) -> anyhow::Result<u8> {
    let dir = &args.dir.dir;
    super::checked::require_directory(dir)?;
    if !RunReader::is_run(dir) && is_laboratory(dir) {
        return laboratory(dir, args.json);
    }
    let run = Standing::of(dir)?;
    if args.json {
        output::json(&run.document(dir))?;
    } else {
        output::line(&run.line(dir))?;
        let by_status = run.by_status.iter().filter(|(_, n)| **n > 0).map(|(s, n)| format!("{n} {s}"));
        let by_status: Vec<String> = by_status.collect();
        if !by_status.is_empty() {
            output::line(&by_status.join(", "))?;
        }
        run.damaged.iter().try_for_each(say_damaged)?;
    }
    Ok(run.exit_code())
}

impl Standing {
    fn of(dir: &Path) -> anyhow::Result<Self> {
        let (live, lock) = look_at_lock(dir)?;
        let reader = match RunReader::open(dir) {
            // Its process has only just made the directory.
            Err(StoreError::NoRun { .. }) if live => None,
            Err(StoreError::NoParts { .. }) => None,
            reader => Some(reader?),
        };
        let (manifest, damage) = super::checked::manifest(dir)?;
        let unpacked = unpacked(dir);
        let by_status = match (&reader, &manifest) {
            (Some(reader), _) => reader.counts(),
            (None, Some(manifest)) => manifest.cells.by_status.clone(),
            (None, None) => BTreeMap::new(),
        };
        let results = by_status.iter().filter(|(status, _)| *status != "failed");
        let finished = results.map(|(_, n)| n).sum::<u64>();
        let visible = reader.as_ref().map_or(Ok(Vec::new()), RunReader::visible_damage)?;
        let mut damaged: Vec<NamedFault> = visible.into_iter().chain(damage).chain(lock).collect();
        let planned = manifest.as_ref().map_or(0, |m| m.cells.planned);
        let says_complete = manifest.as_ref().is_some_and(|m| m.state == RunState::Complete);
        if let (Some(reader), true) = (&reader, damaged.is_empty() && !live && says_complete) {
            // A part that was sealed is the one that the run had; any other is read before the run is called complete.
            let ledger = Ledger::read(dir).ok().flatten().unwrap_or_default();
            let sealed: HashSet<&str> = ledger.lines().filter_map(|line| line.path.strip_prefix("parts/")).collect();
            damaged = reader.unvouched_damage(|part| sealed.contains(part))?;
        }
        let complete = damaged.is_empty() && finished >= planned && says_complete;
        let state = match (&manifest, live) {
            (_, true) => "live",
            (None, false) if !damaged.is_empty() => "damaged",
            (None, false) => "no manifest",
            (Some(_), false) if says_complete && !complete => "cells are missing or damaged",
            (Some(m), false) => match m.state {
                RunState::Running => "dead: the process that ran it is gone",
                RunState::Complete => "complete",
                RunState::Interrupted => "interrupted",
                RunState::Incomplete => "incomplete",
            },
        };
        let class = match &reader {
            Some(reader) => reader.class().map(ToString::to_string),
            None => manifest.as_ref().map(|m| m.class.clone()),
        };
        Ok(Self { state, live, complete, manifest, finished, by_status, damaged, class, unpacked })
    }

    fn planned(&self) -> u64 {
        self.manifest.as_ref().map_or(0, |m| m.cells.planned)
    }

    fn line(&self, dir: &Path) -> String {
        let of = if self.manifest.is_some() { format!(" of {}", self.planned()) } else { String::new() };
        let unpacked = match self.unpacked {
            Some(false) => ", unpacked from a bundle without parts/",
            Some(true) => ", unpacked from a bundle",
            None => "",
        };
        format!("{}: {}{unpacked}; {}{of} cells finished", dir.display(), self.state, self.finished)
    }

    fn document(&self, dir: &Path) -> Value {
        json!({
            "version": 1, "dir": output::path(dir), "state": self.state, "live": self.live, "complete": self.complete,
            "planned": self.planned(), "finished": self.finished, "by_status": self.by_status, "damaged": self.damaged,
            "class": self.class, "updated_utc": self.manifest.as_ref().map(|m| m.updated_utc.clone()),
            "unpacked_with_parts": self.unpacked,
        })
    }

    fn exit_code(&self) -> u8 {
        if self.complete || self.live { exit::OK } else { exit::INCOMPLETE }
    }
}

fn say_damaged((name, reason): &NamedFault) -> anyhow::Result<()> {
    output::line(&format!("damaged: {}: {}", output::shown(name), output::shown(reason)))
}

/// The manifest of a laboratory, null where there is none that can be read, and what is wrong with it.
fn manifest_of(dir: &Path) -> (Value, Option<NamedFault>) {
    let fault = |why: String| (Value::Null, Some((MANIFEST_FILE.to_string(), why)));
    match read_file(&dir.join(MANIFEST_FILE)) {
        Ok(text) => serde_json::from_slice(&text)
            .map_or_else(|error| fault(format!("it is no JSON: {error}")), |manifest| (manifest, None)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (Value::Null, None),
        Err(error) => fault(error.to_string()),
    }
}

/// A laboratory and its runs.
fn laboratory(dir: &Path, json: bool) -> anyhow::Result<u8> {
    let (live, lock) = look_at_lock(dir)?;
    let (manifest, damage) = manifest_of(dir);
    let damaged: Vec<NamedFault> = lock.into_iter().chain(damage).chain(odd_among_runs(dir)?).collect();
    let sealed = manifest["state"] == "complete";
    let runs: Vec<PathBuf> = runs_of(dir)?;
    let standings = runs.iter().map(|run| Ok((run, Standing::of(run)?))).collect::<anyhow::Result<Vec<_>>>()?;
    let complete = sealed && damaged.is_empty() && standings.iter().all(|(_, run)| run.complete);
    let state = match (live, sealed) {
        (true, _) => "live",
        (false, _) if !damaged.is_empty() => "damaged",
        (false, true) if complete => "complete",
        (false, true) => "complete, but for cells of its runs",
        (false, false) => "dead: the process that ran it is gone",
    };
    if json {
        let runs: Vec<Value> = standings.iter().map(|(run, standing)| standing.document(run)).collect();
        output::json(&json!({
            "version": 1, "dir": output::path(dir), "laboratory": manifest["laboratory"], "state": state, "live": live,
            "complete": complete, "runs": runs, "damaged": damaged, "unpacked_with_parts": unpacked(dir),
        }))?;
    } else {
        let name = manifest["laboratory"].as_str().unwrap_or_default();
        let count = output::count(runs.len(), "run");
        output::line(&format!("{}: the laboratory {name}: {state}; {count} in {RUNS_FOLDER}", dir.display()))?;
        standings.iter().try_for_each(|(run, standing)| output::line(&standing.line(run)))?;
        damaged.iter().try_for_each(say_damaged)?;
    }
    Ok(if complete || live { exit::OK } else { exit::INCOMPLETE })
}
