//! `cliffline plan`: what would run, and what it would cost.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{BackendArgs, SpecArgs, exit, output};
use crate::engine::{BurnTrainer, calibrate, estimate, make_packs};

/// How long the calibration trains.
const CALIBRATION: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    backend: BackendArgs,
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
    let all: Vec<usize> = (0..sweep.cells.len()).collect();
    let packs = make_packs(&sweep.cells, &all, |cell| args.backend.pack_size(&backend, &cell.config));
    let estimate = estimate(&sweep.cells, &packs, workers);
    let class = backend.class();
    let trainer = BurnTrainer::new(backend);
    let calibration = match packs.first() {
        Some(pack) if !args.no_calibration => Some(calibrate(&sweep.cells, pack, &trainer, CALIBRATION)?),
        _ => None,
    };
    let time = calibration.as_ref().map(|c| c.seconds(&estimate, workers));
    if args.json {
        let cells: Vec<_> = sweep.cells.iter().map(|c| json!({"cell_id": c.id, "levels": c.levels})).collect();
        output::json(&json!({
            "version": 1, "sweep": sweep.name, "spec_hash": sweep.hash(), "dir": super::run::default_dir(&sweep),
            "class": class, "workers": workers, "estimate": estimate, "calibration": calibration,
            "seconds": time.map(|[low, middle, high]| json!({"low": low, "expected": middle, "high": high})),
            "axes": sweep.axes.iter().map(|a| json!({"path": a.path, "levels": a.levels})).collect::<Vec<_>>(),
            "cells": if args.cells { json!(cells) } else { json!(null) },
        }))?;
        return Ok(exit::OK);
    }
    let mut rows = vec![
        vec!["sweep".to_string(), format!("{} ({})", sweep.name, &sweep.hash()[..8])],
        vec!["cells".to_string(), estimate.cells.to_string()],
        vec!["packs".to_string(), format!("{} of up to {} cells", estimate.packs, estimate.largest_pack)],
        vec!["cell-steps".to_string(), estimate.cell_steps.to_string()],
        vec!["memory".to_string(), output::bytes(estimate.memory_bytes)],
        vec!["disk".to_string(), output::bytes(estimate.disk_bytes)],
    ];
    for axis in &sweep.axes {
        let levels: Vec<String> = axis.levels.iter().map(output::scalar).collect();
        rows.push(vec![format!("axis {}", axis.path), levels.join(", ")]);
    }
    if let (Some(c), Some([low, middle, high])) = (&calibration, time) {
        let [slow, median, fast] = c.cell_steps_per_s;
        rows.push(vec![
            "speed".to_string(),
            format!("{median:.0} cell-steps/s per worker ({slow:.0} to {fast:.0} in {})", output::seconds(c.took_s)),
        ]);
        let [low, middle, high] = [low, middle, high].map(output::seconds);
        rows.push(vec!["time".to_string(), format!("{middle} on {workers} workers ({low} to {high})")]);
    }
    output::line(&plain(rows))?;
    if args.cells {
        for cell in &sweep.cells {
            let levels: Vec<String> = cell.levels.iter().map(|(p, v)| format!("{p}={}", output::scalar(v))).collect();
            output::line(&format!("{} {}", cell.id, levels.join(" ")))?;
        }
    }
    Ok(exit::OK)
}

/// Two columns, both left.
fn plain(rows: Vec<Vec<String>>) -> String {
    let width = rows.iter().map(|r| r[0].len()).max().unwrap_or(0);
    rows.iter().map(|r| format!("{:width$}  {}", r[0], r[1])).collect::<Vec<_>>().join("\n")
}
