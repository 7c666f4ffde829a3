//! `cliffline status`: a live, dead or finished run.

use std::collections::HashSet;

use clap::Args;
use serde_json::json;

use super::{DirArgs, exit, output};
use crate::store::{Ledger, RunReader, RunState, is_live};

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn main(args: &StatusArgs) -> anyhow::Result<u8> {
    let dir = &args.dir.dir;
    let reader = RunReader::open(dir)?;
    let (manifest, damage) = super::checked::manifest(&reader)?;
    let live = is_live(dir)?;
    let counts = reader.counts();
    let planned = manifest.as_ref().map_or(0, |m| m.cells.planned);
    let finished = reader.len() as u64 - counts.get("failed").copied().unwrap_or(0);
    let mut damaged: Vec<(String, String)> = reader.visible_damage()?.into_iter().chain(damage).collect();
    if damaged.is_empty() && !live && manifest.as_ref().is_some_and(|m| m.state == RunState::Complete) {
        // A part that was sealed is the one that the run had; any other is read before the run is called complete.
        let ledger = Ledger::read(dir).ok().flatten().unwrap_or_default();
        let sealed: HashSet<&str> = ledger.lines().filter_map(|line| line.path.strip_prefix("parts/")).collect();
        damaged = reader.unvouched_damage(|part| sealed.contains(part))?;
    }
    let sound = damaged.is_empty();
    let complete = sound && finished >= planned && manifest.as_ref().is_some_and(|m| m.state == RunState::Complete);
    let state = match (&manifest, live) {
        (_, true) => "live",
        (None, false) if !sound => "damaged",
        (None, false) => "no manifest",
        (Some(m), false) if m.state == RunState::Complete && !complete => "cells are missing or damaged",
        (Some(m), false) => match m.state {
            RunState::Running => "dead: the process that ran it is gone",
            RunState::Complete => "complete",
            RunState::Interrupted => "interrupted",
            RunState::Incomplete => "incomplete",
        },
    };
    if args.json {
        output::json(&json!({
            "version": 1, "dir": output::path(dir), "state": state, "live": live, "complete": complete, "planned": planned,
            "finished": finished, "by_status": counts, "damaged": damaged, "class": reader.class(),
            "updated_utc": manifest.as_ref().map(|m| m.updated_utc.clone()),
        }))?;
    } else {
        let by_status: Vec<String> = counts.iter().filter(|(_, n)| **n > 0).map(|(s, n)| format!("{n} {s}")).collect();
        let of = if manifest.is_some() { format!(" of {planned}") } else { String::new() };
        output::line(&format!("{}: {state}; {finished}{of} cells finished", dir.display()))?;
        if !by_status.is_empty() {
            output::line(&by_status.join(", "))?;
        }
        for (name, reason) in &damaged {
            output::line(&format!("damaged: {}: {}", output::shown(name), output::shown(reason)))?;
        }
    }
    Ok(if complete || live { exit::OK } else { exit::INCOMPLETE })
}
