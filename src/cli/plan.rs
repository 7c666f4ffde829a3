//! `cliffline plan`: what would run, and what it would cost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{BackendArgs, SpecArgs, exit, output, require_memory};
use crate::analysis::StopRules;
use crate::engine::{BurnTrainer, Calibration, Estimate, calibrate};
use crate::numerics::shown::{self, Levels};
use crate::spec::config::Panel;
use crate::spec::{CLEAN, Sweep};
use crate::store::RunReader;

/// How long the calibration trains.
const CALIBRATION: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    backend: BackendArgs,
    /// Run directory: its finished cells are not counted [default: results/<name>-<first 8 of the spec hash>]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// List every cell with its levels
    #[arg(long)]
    cells: bool,
    /// Skip the calibration, and with it the time
    #[arg(long)]
    no_calibration: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn main(args: &PlanArgs) -> anyhow::Result<u8> {
    let sweep = args.spec.load()?;
    let backend = args.backend.open()?;
    let workers = args.backend.workers(&backend);
    let dir = args.output.clone().unwrap_or_else(|| super::run::default_dir(&sweep));
    let (sweep, kept) = super::run::keeping(sweep, &dir);
    super::run::say_kept(&dir, kept);
    let wanted = missing(&sweep, &dir, &backend.class);
    let present = sweep.cells.len() - wanted.len();
    let (packs, estimate) = args.backend.packs(&backend, &sweep, &wanted);
    require_memory(&estimate)?;
    let class = backend.class.clone();
    let trainer = BurnTrainer::new(backend);
    // With fewer packs than workers the rest would be idle.
    let busy = workers.min(packs.len()).max(1);
    let calibration = match packs.first() {
        Some(pack) if !args.no_calibration => Some(calibrate(&sweep.cells, pack, &trainer, busy, CALIBRATION)?),
        _ => None,
    };
    let time = calibration.as_ref().map(|c| c.seconds(&estimate, workers));
    if args.json {
        let cells =
            || -> Vec<_> { sweep.cells.iter().map(|c| json!({"cell_id": c.id, "levels": sweep.levels(c)})).collect() };
        output::json(&json!({
            "version": 1, "sweep": sweep.name, "spec_hash": sweep.hash(), "dir": output::path(&dir), "present": present,
            "class": class, "workers": workers, "estimate": estimate, "calibration": calibration,
            "seconds": time.map(|[low, middle, high]| json!({"low": low, "expected": middle, "high": high})),
            "conditions": sweep.conditions.iter().map(|c| json!({"name": c.name, "changes": c.changes})).collect::<Vec<_>>(),
            "axes": sweep.axes.iter().map(|a| json!({"path": a.path, "levels": a.levels})).collect::<Vec<_>>(),
            "include": sweep.include, "stop_rules": StopRules::of(&sweep),
            "cells": if args.cells { json!(cells()) } else { json!(null) },
        }))?;
        return Ok(exit::OK);
    }
    output::line(&plain(rows(&sweep, &estimate, present, calibration.as_ref(), busy)))?;
    if args.cells {
        let shown: BTreeMap<&str, Levels> =
            sweep.axes.iter().map(|axis| (axis.path.as_str(), sweep.shown(&axis.path))).collect();
        for cell in &sweep.cells {
            let levels = sweep.levels(cell);
            let level = |(path, level): (&String, &Value)| match shown.get(path.as_str()) {
                Some(shown) => format!("{path}={}", shown.text(level)),
                None => format!("{path}={}", shown::level(level)),
            };
            let levels: Vec<String> = levels.iter().map(level).collect();
            output::line(&format!("{} {}", cell.id, levels.join(" ")))?;
        }
    }
    Ok(exit::OK)
}

/// What the plan says, as names and values.
fn rows(
    sweep: &Sweep,
    estimate: &Estimate,
    present: usize,
    calibration: Option<&Calibration>,
    workers: usize,
) -> Vec<Vec<String>> {
    let mut rows = vec![
        vec!["sweep".to_string(), format!("{} ({})", sweep.name, &sweep.hash()[..8])],
        vec!["cells".to_string(), format!("{} to train, {present} there already", estimate.cells)],
        vec![
            "packs".to_string(),
            format!("{} of up to {}", estimate.packs, output::count(estimate.largest_pack, "cell")),
        ],
        vec!["cell-steps".to_string(), estimate.cell_steps.to_string()],
        vec!["memory".to_string(), output::bytes(estimate.memory_bytes)],
        vec!["disk".to_string(), output::bytes(estimate.disk_bytes)],
        vec!["stop rules".to_string(), StopRules::of(sweep).describe()],
    ];
    if !sweep.conditions.is_empty() {
        let names: Vec<&str> = sweep.conditions.iter().map(|c| c.name.as_str()).collect();
        rows.push(vec!["conditions".to_string(), format!("{}, {}", CLEAN, names.join(", "))]);
    }
    for axis in &sweep.axes {
        let shown = sweep.shown(&axis.path);
        let levels: Vec<String> = axis.levels.iter().map(|level| shown.text(level)).collect();
        rows.push(vec![format!("axis {}", axis.path), levels.join(", ")]);
    }
    if sweep.included() > 0 {
        let cells = output::count(sweep.included(), "cell");
        rows.push(vec!["included".to_string(), format!("{cells} beside the grid")]);
    }
    if let Some(c) = calibration {
        let [low, middle, high] = c.seconds(estimate, workers).map(output::seconds);
        if let Some([slow, median, fast]) = c.cell_steps_per_s {
            let took = output::seconds(c.took_s);
            let speed = format!(
                "{median:.0} cell-steps/s on {} ({slow:.0} to {fast:.0} in {took})",
                output::count(workers, "worker")
            );
            rows.push(vec!["speed".to_string(), speed]);
        }
        let all = |each: f64| output::seconds(each * estimate.cells as f64 / workers as f64);
        let swept = sweep.axes.iter().any(|axis| axis.path == "panel");
        let panel = match sweep.base.panel {
            _ if swept => format!("all cells fast: {}; all full: {}", all(c.panel_fast_s), all(c.panel_full_s)),
            Panel::Fast => {
                format!("fast: {} of the time; full would take {}", all(c.panel_fast_s), all(c.panel_full_s))
            }
            Panel::Full => {
                format!("full: {} of the time; fast would take {}", all(c.panel_full_s), all(c.panel_fast_s))
            }
        };
        rows.push(vec!["panel".to_string(), panel]);
        rows.push(vec!["time".to_string(), format!("{middle} ({low} to {high})")]);
    }
    rows
}

/// Cells that a run into `dir` would train. A directory that cannot be read, or of another class, has none of them.
pub fn missing(sweep: &Sweep, dir: &Path, class: &str) -> Vec<usize> {
    let reader = RunReader::open(dir).ok().filter(|reader| reader.class() == Some(class));
    let finished = |id: &str| reader.as_ref().is_some_and(|reader| reader.is_finished(id));
    (0..sweep.cells.len()).filter(|i| !finished(&sweep.cells[*i].id)).collect()
}

/// Two columns, both left.
fn plain(rows: Vec<Vec<String>>) -> String {
    let width = rows.iter().map(|r| r[0].len()).max().unwrap_or(0);
    rows.iter().map(|r| format!("{:width$}  {}", r[0], r[1])).collect::<Vec<_>>().join("\n")
}
