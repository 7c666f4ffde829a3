//! `cliffline run`: trains what is missing and writes the tables.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::progress::Progress;
use super::summary::render;
use super::{BackendArgs, SpecArgs, columns, exit, output, require_memory};
use crate::aligner::gradcheck::TensorCheck;
use crate::analysis::Summary;
use crate::engine::{self, BurnTrainer, Control, Event, Outcome, run_packs};
use crate::spec::Sweep;
use crate::store::{
    CellRecord, Environment, Found, Identity, Levels, RecordedStatus, RunDir, RunManifest, RunState, TableSpec,
    now_utc, write_atomic, write_run_tables,
};

/// Metrics of the table at the end of a run.
const SUMMARY_METRICS: [&str; 2] = ["effective_rank_img", "retrieval_at_1_i2t"];

/// Cells whose records are in memory at once for it. Packs lie across the plan, and a block is decoded once per portion,
/// so small portions would cost time.
const SUMMARY_CELLS: usize = 1 << 14;

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Run directory [default: results/<name>-<first 8 of the spec hash>]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    backend: BackendArgs,
    /// Print one JSON document on standard output instead of the summary
    #[arg(long)]
    json: bool,
}

pub fn main(args: &RunArgs) -> anyhow::Result<u8> {
    let sweep = args.spec.load()?;
    let dir = args.output.clone().unwrap_or_else(|| default_dir(&sweep));
    let backend = args.backend.open_for_work()?;
    let workers = args.backend.workers(&backend);
    let wanted = super::plan::missing(&sweep, &dir, &backend.class);
    require_memory(&args.backend.packs(&backend, &sweep, &wanted).1)?;
    let trainer = BurnTrainer::new(backend);
    let session = Session::open(&sweep, &dir, &trainer)?;
    session.go(args, &trainer, workers)
}

/// `results/<name>-<first 8 of the spec hash>`.
pub fn default_dir(sweep: &Sweep) -> PathBuf {
    Path::new("results").join(format!("{}-{}", sweep.name, &sweep.hash()[..8]))
}

/// One process's work on a run directory.
struct Session<'a> {
    sweep: &'a Sweep,
    dir: PathBuf,
    run: RunDir,
    manifest: RunManifest,
    /// The manifest that was there, complete and of this very plan.
    complete_before: Option<RunManifest>,
    cell_ids: Vec<String>,
    present: usize,
    reused: usize,
    /// Cells trained by this process.
    trained: usize,
    /// What this process is, for the records of its cells.
    made_by: String,
}

impl<'a> Session<'a> {
    /// Opens the directory, says what was found, and takes over what sibling runs have.
    fn open(sweep: &'a Sweep, dir: &Path, trainer: &BurnTrainer) -> anyhow::Result<Self> {
        let backend = trainer.backend();
        let class = backend.class.clone();
        let cell_ids: Vec<String> = sweep.cells.iter().map(|c| c.id.clone()).collect();
        let configs: Vec<serde_json::Value> =
            sweep.cells.iter().map(|c| serde_json::to_value(&c.config)).collect::<Result<_, _>>()?;
        let identity = Identity {
            sweep: sweep.name.clone(),
            class: class.clone(),
            cell_ids: cell_ids.clone(),
            levels: Levels::of(&configs),
        };
        let (mut run, found) = RunDir::open(dir, &identity)?;
        report_damage(&found);
        let earlier = RunManifest::read(dir)?;
        let sessions = earlier.as_ref().and_then(|m| m.more.get("sessions").cloned());
        let before = earlier.filter(|m| m.spec_blake3 == sweep.hash() && m.class == class);
        let adapter = backend.adapter.as_ref();
        let environment =
            Environment::detect(backend.name, adapter.map(|a| a.name.clone()), adapter.map(|a| a.driver.clone()));
        let spec = serde_json::to_value(toml::from_str::<toml::Table>(&sweep.to_toml())?)?;
        let code = super::code::code();
        let made_by = super::code::made_by(&code, environment.cpu.as_deref());
        // A manifest that is gone on with keeps its identity; what it says of code and machine is of this process.
        let mut manifest = match before.clone() {
            Some(before) => RunManifest { code, environment, ..before },
            None => RunManifest::begin(&sweep.name, &sweep.hash(), spec, &class, environment, code),
        };
        // Those who worked on the run before its plan grew worked on it all the same.
        manifest.more.extend(sessions.map(|list| ("sessions".to_string(), list)));
        let present = finished(&run, &cell_ids);
        let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let missing: HashSet<String> = cell_ids.iter().filter(|id| !run.reader().is_finished(id)).cloned().collect();
        let mut reused = 0;
        if !missing.is_empty() {
            let from = run.reuse_from(parent, &missing)?;
            reused = from.cells();
            for (sibling, cells) in &from.from {
                output::note(&format!("reused {cells} cells from {}", sibling.display()));
            }
            for (path, reason) in &from.skipped {
                output::note(&format!("could not reuse {}: {reason}", path.display()));
            }
        }
        let complete_before = before.filter(|m| m.state == RunState::Complete && found.damaged.is_empty());
        Ok(Self {
            sweep,
            dir: dir.to_path_buf(),
            run,
            manifest,
            complete_before,
            cell_ids,
            present,
            reused,
            trained: 0,
            made_by,
        })
    }

    fn go(mut self, args: &RunArgs, trainer: &BurnTrainer, workers: usize) -> anyhow::Result<u8> {
        let missing: Vec<usize> =
            (0..self.cell_ids.len()).filter(|i| !self.run.reader().is_finished(&self.cell_ids[*i])).collect();
        if missing.is_empty() && self.reused == 0 && self.files_are_intact() {
            output::note(&format!(
                "{}: all {} cells are there; nothing to do",
                self.dir.display(),
                self.cell_ids.len()
            ));
            return self.close(args, false);
        }
        self.begin(trainer)?;
        if !self.check_gradients(&missing, trainer)? {
            self.manifest.state = RunState::Incomplete;
            self.manifest.write(&self.dir)?;
            return Ok(exit::NO);
        }
        let interrupted = self.train(&missing, args, trainer, workers)?;
        self.write_tables()?;
        let counts = self.run.reader().counts();
        let finished = finished(&self.run, &self.cell_ids);
        self.manifest.state = match (interrupted, finished == self.cell_ids.len()) {
            (true, _) => RunState::Interrupted,
            (false, true) => RunState::Complete,
            (false, false) => RunState::Incomplete,
        };
        self.manifest.cells.by_status = counts;
        self.log_session();
        self.manifest.write(&self.dir)?;
        self.close(args, interrupted)
    }

    /// Adds this process to the manifest's list of those that worked on the run.
    fn log_session(&mut self) {
        let session = json!({
            "made_by": self.made_by, "ended_utc": now_utc(), "trained": self.trained, "reused": self.reused,
            "wall_s": self.manifest.timings.get("wall_s"),
        });
        let sessions = self.manifest.more.entry("sessions".to_string()).or_insert_with(|| json!([]));
        if let Some(list) = sessions.as_array_mut() {
            list.push(session);
        }
    }

    /// Checks the analytic gradients on the first missing cell and records the verdict: a run whose gradients are wrong
    /// must not train. True when they are right.
    fn check_gradients(&mut self, missing: &[usize], trainer: &BurnTrainer) -> anyhow::Result<bool> {
        let Some(first) = missing.first() else { return Ok(true) };
        let cell = std::slice::from_ref(&self.sweep.cells[*first]);
        let checks = engine::gradcheck(cell, trainer.backend(), engine::Settings::Own, trainer.fault)?;
        let wrong: Vec<_> = checks.iter().filter(|c| !c.passed).collect();
        let share = |c: &TensorCheck| c.worst_autodiff.max(c.worst_difference) / c.tolerance;
        let worst = checks.iter().map(share).fold(0.0, f64::max);
        self.manifest.more.insert(
            "gradcheck".to_string(),
            json!({"passed": wrong.is_empty(), "checks": checks.len(), "worst_share_of_tolerance": worst, "failed": wrong}),
        );
        if let Some(first) = wrong.first() {
            let (case, tensor) = (&first.case, &first.tensor);
            output::note(&format!("the gradient of {tensor} is wrong at {case}; nothing is trained (see gradcheck)"));
        }
        Ok(wrong.is_empty())
    }

    /// Writes the spec and the manifest of a run at work.
    fn begin(&mut self, trainer: &BurnTrainer) -> anyhow::Result<()> {
        let text = self.sweep.to_toml();
        write_atomic(&self.dir.join("spec.toml"), |out| out.write_all(text.as_bytes()))?;
        self.manifest.state = RunState::Running;
        // The tables of an earlier state are about to be replaced.
        self.manifest.tables.clear();
        self.manifest.cells.planned = self.cell_ids.len() as u64;
        self.manifest.notes = vec![format!("backend {}: {}", trainer.backend().name, trainer.backend().why)];
        self.manifest.thresholds = thresholds(self.sweep);
        Ok(self.manifest.write(&self.dir)?)
    }

    /// Trains the cells at `missing`, recording each pack as it finishes. True when interrupted.
    fn train(
        &mut self,
        missing: &[usize],
        args: &RunArgs,
        trainer: &BurnTrainer,
        workers: usize,
    ) -> anyhow::Result<bool> {
        self.manifest.timings.clear();
        if missing.is_empty() {
            return Ok(false);
        }
        let control = Arc::new(Control::default());
        watch_interrupts(control.clone())?;
        let cells = &self.sweep.cells;
        let (packs, estimate) = args.backend.packs(trainer.backend(), self.sweep, missing);
        output::note(&format!(
            "{}: training {} of {} cells in {} on {}",
            self.dir.display(),
            missing.len(),
            cells.len(),
            output::count(packs.len(), "pack"),
            output::count(workers, "worker"),
        ));
        let class = self.manifest.class.clone();
        let configs: BTreeMap<&str, &crate::spec::Cell> = cells.iter().map(|c| (c.id.as_str(), c)).collect();
        let progress = Progress::start(control.clone(), missing.len(), estimate.cell_steps);
        let started = Instant::now();
        let (run, trained, made_by) = (&mut self.run, &mut self.trained, &self.made_by);
        let result = run_packs(cells, packs, trainer, workers, &control, |event| -> anyhow::Result<()> {
            match event {
                Event::Finished(outcomes) => {
                    let planned = |o: &Outcome| configs.get(o.cell_id.as_str()).map_or(0, |c| c.config.train.steps);
                    let spared = outcomes.iter().map(|o| planned(o).saturating_sub(o.steps)).sum();
                    progress.finished(outcomes.iter().map(|o| o.status), spared);
                    let record = |o: Outcome| record(o, &configs, &class, made_by);
                    let records = outcomes.into_iter().map(record).collect::<anyhow::Result<Vec<_>>>()?;
                    run.append(&records).context("recording finished cells")?;
                    *trained += records.len();
                    Ok(())
                }
                Event::Retrying { cells, reason } => {
                    output::note(&format!("a pack of {cells} cells failed ({reason}); trying its halves"));
                    Ok(())
                }
            }
        });
        let wall_s = started.elapsed().as_secs_f64();
        drop(progress);
        let steps = control.cell_steps.load(Ordering::Relaxed);
        self.manifest.timings = BTreeMap::from([
            ("wall_s".to_string(), wall_s),
            ("train_cell_steps".to_string(), steps as f64),
            ("train_cell_steps_per_s".to_string(), steps as f64 / wall_s),
            ("workers".to_string(), workers as f64),
        ]);
        result?;
        Ok(control.is_cancelled())
    }

    /// Whether the derived files are those of a complete run of this very plan.
    fn files_are_intact(&self) -> bool {
        let spec = std::fs::read_to_string(self.dir.join("spec.toml"));
        spec.is_ok_and(|text| text == self.sweep.to_toml()) && self.tables_are_intact()
    }

    fn tables_are_intact(&self) -> bool {
        self.complete_before.as_ref().is_some_and(|m| {
            !m.tables.is_empty()
                && m.tables.iter().all(|(file, table)| {
                    std::fs::read(self.dir.join(file)).is_ok_and(|b| blake3::hash(&b).to_hex().as_str() == table.blake3)
                })
        })
    }

    fn write_tables(&mut self) -> anyhow::Result<()> {
        let axes: Vec<String> = self.sweep.axes.iter().map(|a| a.path.clone()).collect();
        let (params, metrics, series) = (columns::params(), columns::metrics(), columns::series());
        let spec =
            TableSpec { cell_ids: &self.cell_ids, axes: &axes, params: &params, metrics: &metrics, series: &series };
        self.manifest.tables = write_run_tables(self.run.reader(), &spec)?;
        Ok(())
    }

    /// Says how the run stands and which exit code that is.
    fn close(self, args: &RunArgs, interrupted: bool) -> anyhow::Result<u8> {
        let counts = self.run.reader().counts();
        let finished = finished(&self.run, &self.cell_ids);
        let failed = counts.get("failed").copied().unwrap_or(0);
        let code = match () {
            () if interrupted => exit::INTERRUPTED,
            () if failed > 0 => exit::CELLS_FAILED,
            () if finished < self.cell_ids.len() => exit::INCOMPLETE,
            () => exit::OK,
        };
        let axes: Vec<_> = self.sweep.axes.iter().map(|a| (a.path.clone(), a.levels.clone())).collect();
        let mut summaries = SUMMARY_METRICS.map(|metric| Summary::new(metric, &axes));
        let (mut recorded, mut example) = (0, None);
        for ids in self.cell_ids.chunks(SUMMARY_CELLS) {
            let records = self.run.reader().records(ids)?;
            recorded += records.len();
            for record in &records {
                summaries.iter_mut().for_each(|summary| summary.add(record));
                if record.status == RecordedStatus::Failed {
                    example.get_or_insert_with(|| format!("{}: {}", record.cell_id, record.reason));
                }
            }
        }
        if args.json {
            output::json(&json!({
                "version": 1, "dir": self.dir, "sweep": self.sweep.name, "cells": self.cell_ids.len(),
                "finished": finished, "by_status": counts, "present": self.present, "reused": self.reused,
                "trained": self.trained, "interrupted": interrupted, "exit_code": code, "class": self.manifest.class,
                "timings": self.manifest.timings, "summary": summaries,
            }))?;
        } else {
            for summary in summaries.iter().filter(|_| recorded > 0) {
                output::line(&render(summary))?;
            }
            let by_status: Vec<String> =
                counts.iter().filter(|(_, n)| **n > 0).map(|(s, n)| format!(", {n} {s}")).collect();
            output::line(&format!(
                "{}: {finished} of {} cells finished{}",
                self.dir.display(),
                self.cell_ids.len(),
                by_status.concat()
            ))?;
        }
        if let Err(error) = write_step_summary(&summaries, &self.dir) {
            output::note(&format!("{error:#}"));
        }
        if interrupted {
            output::note("interrupted; the same command goes on from here");
        }
        if failed > 0 {
            let reason = example.unwrap_or_default();
            output::note(&format!("{failed} cells failed, for instance {reason}; the same command tries them again"));
        }
        Ok(code)
    }
}

/// Appends the summary to the job's page where a CI service asks for one.
fn write_step_summary(summaries: &[Summary], dir: &Path) -> anyhow::Result<()> {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|p| !p.is_empty()) else { return Ok(()) };
    let tables: Vec<String> = summaries.iter().map(render).collect();
    let text = format!("### {}\n\n```\n{}```\n", dir.display(), tables.join("\n"));
    let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
    file.and_then(|mut f| f.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write GITHUB_STEP_SUMMARY, {}", path.to_string_lossy()))
}

/// The thresholds of the sweep: a value, or the levels where one is an axis.
fn thresholds(sweep: &Sweep) -> BTreeMap<String, serde_json::Value> {
    let base = sweep.base.scalars();
    let at = |path: &str| match sweep.axes.iter().find(|axis| axis.path == path) {
        Some(axis) => json!(axis.levels),
        None => base.get(path).cloned().unwrap_or_default(),
    };
    ["stop.effective_rank_below", "stop.mean_cosine_above"].map(|path| (path.to_string(), at(path))).into()
}

fn finished(run: &RunDir, ids: &[String]) -> usize {
    ids.iter().filter(|id| run.reader().is_finished(id)).count()
}

fn report_damage(found: &Found) {
    for damaged in &found.damaged {
        let lost = match damaged.lost {
            None => "; what it held will be computed again".to_string(),
            Some(0) => String::new(),
            Some(n) => format!("; {n} cells will be computed again, {} are kept", damaged.kept),
        };
        output::note(&format!("{} is damaged ({}); moved to parts/damaged{lost}", damaged.name, damaged.reason));
    }
}

fn record(
    outcome: Outcome,
    cells: &BTreeMap<&str, &crate::spec::Cell>,
    class: &str,
    made_by: &str,
) -> anyhow::Result<CellRecord> {
    let cell = cells.get(outcome.cell_id.as_str()).context("the trainer returned a cell that was not asked for")?;
    let config = serde_json::to_value(&cell.config)?;
    let record = CellRecord::from_outcome(outcome, cell.config.train_id(), class.to_string(), config, now_utc());
    Ok(CellRecord { made_by: made_by.to_string(), ..record })
}

/// Ctrl-C stops cleanly; a second one at once.
fn watch_interrupts(control: Arc<Control>) -> anyhow::Result<()> {
    ctrlc::set_handler(move || {
        if control.cancel.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
        output::note("stopping; packs in flight are abandoned (once more to stop at once)");
    })
    .context("cannot watch for interrupts")
}
