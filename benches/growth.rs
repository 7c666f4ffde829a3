//! What a run costs per cell beside its training, from a hundred cells to a hundred thousand, and what memory it takes.
//!
//! `cargo bench --bench growth` goes through everything that `cliffline run` does, except that a mock trains: it returns
//! records as large as those of the published run, each with numbers of its own, and its time is not counted. Each size
//! runs in a process of its own, so that its peak memory is its own. `cargo bench --bench growth -- 1000 5000` measures
//! these sizes.
//!
//! Columns are microseconds per cell, the least of several rounds; `whole` leaves out what a run of one cell takes, and
//! `cpu` is what of it the main thread computed: waiting for the disk or for a busy machine is not in it. What does not
//! grow with the cells in the same way, status, resuming and the report, is in seconds; `CLIFFLINE_KEEP_REPORT=FILE` keeps
//! the page.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cliffline::aligner::backend::Place;
use cliffline::analysis::{Summary, write_derived};
use cliffline::engine::{
    Control, Event, Measured, Measuring, Outcome, Status, TrainError, Trainer, Workers, estimate, make_packs,
    pack_size, run_packs,
};
use cliffline::numerics::stream::Streams;
use cliffline::report::{Report, RunData, page};
use cliffline::spec::{Cell, Overrides, Sweep, from_str};
use cliffline::store::{
    Bundling, CELLS_TABLE, CellRecord, Code, Environment, Identity, Levels, MANIFEST_FILE, RUN_TABLES, RunDir,
    RunManifest, RunReader, Scope, TableSpec, hash_file, now_utc, read_columns, seal, seal_manifest, write_run_tables,
};

/// Records of this run are what the mock returns.
const TEMPLATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results/published/collapse");
const WORKERS: Workers = Workers { training: 1, host: 0 };
const CLASS: &str = "n0 mock";
const SIZES: [u64; 4] = [100, 1_000, 10_000, 100_000];
/// Small sizes are measured until they have taken this many cells in all, every size at least twice.
const ROUND_CELLS: u64 = 5_000;
const LEAST_ROUNDS: u64 = 2;
const MOST_ROUNDS: u64 = 50;
/// Marks the process that measures one size.
const CHILD: &str = "--child";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [mark, cells] = arguments.as_slice()
        && mark == CHILD
    {
        return child(cells.parse().expect("a number of cells"));
    }
    let sizes: Vec<u64> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { SIZES.to_vec() } else { sizes };
    let fixed = measured(1);
    let whole = |line: &Line| line.phases.iter().map(|(_, us)| us).sum::<f64>();
    let head: Vec<String> = fixed.phases.iter().map(|(name, _)| format!("{name:>9}")).collect();
    println!(
        "{:>8} {} {:>9} {:>9}   peak MiB after each, then status, resume and report in s, MB of the page",
        "cells",
        head.concat(),
        "whole",
        "cpu"
    );
    for cells in sizes {
        let line = measured(cells);
        let phases = line.phases.iter().map(|(_, us)| format!("{:9.1}", us / cells as f64));
        let per_cell = |all: f64, fixed: f64| (all - fixed) / (cells - 1).max(1) as f64;
        let (more, cpu) = (per_cell(whole(&line), whole(&fixed)), per_cell(line.cpu_us, fixed.cpu_us));
        let peaks: Vec<String> = line.peaks.iter().map(|mib| format!("{mib:.0}")).collect();
        println!(
            "{cells:>8} {} {more:9.1} {cpu:9.1}   {}   {:.3} {:.3} {:.3} {:.2}",
            phases.collect::<String>(),
            peaks.join(" "),
            line.status_s,
            line.resume_s,
            line.report_s,
            line.page_bytes / 1e6
        );
    }
    println!("a run of one cell takes {:.1} ms, of which {:.1} ms computing", whole(&fixed) / 1e3, fixed.cpu_us / 1e3);
}

/// What one size took.
struct Line {
    /// Name and microseconds of each phase.
    phases: Vec<(String, f64)>,
    /// Peak memory of each phase, MiB.
    peaks: Vec<f64>,
    /// Microseconds that the main thread computed in all phases.
    cpu_us: f64,
    status_s: f64,
    resume_s: f64,
    report_s: f64,
    page_bytes: f64,
}

/// Measures one size in a process of its own.
fn measured(cells: u64) -> Line {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program).args([CHILD, &cells.to_string()]).output().expect("this program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    let list = |key: &str| value[key].as_array().expect("a list").clone();
    let phase = |pair: &serde_json::Value| (pair[0].as_str().expect("a name").to_string(), number(&pair[1]));
    Line {
        phases: list("phases").iter().map(phase).collect(),
        peaks: list("peaks").iter().map(number).collect(),
        cpu_us: number(&value["cpu_us"]),
        status_s: number(&value["status_s"]),
        resume_s: number(&value["resume_s"]),
        report_s: number(&value["report_s"]),
        page_bytes: number(&value["page_bytes"]),
    }
}

/// Runs a sweep of `cells` cells until enough were measured, and prints the least that each phase took and needed.
fn child(cells: u64) {
    let mut best = round(cells);
    let mut done = cells;
    for _ in 1..MOST_ROUNDS {
        if done >= ROUND_CELLS.max(LEAST_ROUNDS * cells) {
            break;
        }
        let again = round(cells);
        for ((_, least), (_, us)) in best.phases.iter_mut().zip(again.phases) {
            *least = least.min(us);
        }
        for (least, mib) in best.peaks.iter_mut().zip(again.peaks) {
            *least = least.min(mib);
        }
        best.cpu_us = best.cpu_us.min(again.cpu_us);
        best.status_s = best.status_s.min(again.status_s);
        best.resume_s = best.resume_s.min(again.resume_s);
        best.report_s = best.report_s.min(again.report_s);
        done += cells;
    }
    let json = serde_json::json!({
        "phases": best.phases, "peaks": best.peaks, "cpu_us": best.cpu_us, "status_s": best.status_s,
        "resume_s": best.resume_s, "report_s": best.report_s, "page_bytes": best.page_bytes,
    });
    println!("{json}");
}

/// Times and peak memory of the phases of one run.
#[derive(Default)]
struct Clock {
    phases: Vec<(String, f64)>,
    peaks: Vec<f64>,
    cpu_us: f64,
}

impl Clock {
    fn time<T>(&mut self, phase: &str, work: impl FnOnce() -> T) -> T {
        forget_peak();
        let (started, cpu) = (Instant::now(), cpu_us());
        let result = work();
        self.cpu_us += cpu_us() - cpu;
        self.phases.push((phase.to_string(), started.elapsed().as_secs_f64() * 1e6));
        self.peaks.push(peak_mib());
        result
    }

    /// Says what the last phase took.
    fn last_is(&mut self, spent: Duration) {
        if let Some((_, us)) = self.phases.last_mut() {
            *us = spent.as_secs_f64() * 1e6;
        }
    }
}

fn round(cells: u64) -> Line {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let dir = folder.path().join("run");
    let text = spec(cells);
    let mock = Mock::new();
    let mut clock = Clock::default();
    let sweep = clock.time("load", || from_str(&text, "growth.toml", &Overrides::default()).expect("a valid spec"));
    assert_eq!(sweep.cells.len() as u64, cells);
    let (mut run, packs) = clock.time("plan", || {
        let (run, _) = RunDir::open(&dir, &identity(&sweep)).expect("a new directory");
        let missing = missing(&sweep, run.reader());
        let packs =
            make_packs(&sweep.cells, &missing, |cell, alike| pack_size(&cell.config, alike, 1, Place::Native, 1.0));
        std::hint::black_box(estimate(&sweep.cells, &packs, 1, Place::Native));
        (run, packs)
    });
    // By itself, with nothing to train and nothing to record.
    clock.time("schedule", || {
        let ignore = |_| Ok::<(), ()>(());
        run_packs(&sweep.cells, packs.clone(), &Nothing, WORKERS, &Control::default(), ignore)
            .expect("no listener fails");
    });
    // The mock works beside the recording, so what counts is the time that recording itself takes.
    let mut recording = Duration::ZERO;
    clock.time("record", || {
        let known: HashMap<&str, &Cell> = sweep.cells.iter().map(|c| (c.id.as_str(), c)).collect();
        run_packs(&sweep.cells, packs, &mock, WORKERS, &Control::default(), |event| match event {
            Event::Finished(outcomes) => {
                let started = Instant::now();
                let records: Vec<CellRecord> = outcomes.into_iter().map(|o| record(o, &known)).collect();
                let result = run.append(&records);
                recording += started.elapsed();
                result
            }
            Event::Retrying { reason, .. } => panic!("the mock failed: {reason}"),
            Event::FewerThreads { source, .. } => panic!("no thread: {source}"),
        })
        .expect("recorded");
    });
    clock.last_is(recording);
    clock.time("tables", || write_tables(&sweep, run.reader()));
    clock.time("summary", || summarise(&sweep, run.reader()));
    clock.time("seal", || {
        std::fs::write(dir.join(MANIFEST_FILE), "{}").expect("a manifest");
        seal(&dir, Scope::Own, Bundling::IfSmall, |seal| seal_manifest(&dir, seal)).expect("sealed");
        // For the runs that follow it is no manifest.
        std::fs::remove_file(dir.join(MANIFEST_FILE)).expect("removed");
    });
    drop(run);
    let started = Instant::now();
    let reader = RunReader::open(&dir).expect("a run");
    assert_eq!(reader.counts().values().sum::<u64>(), cells);
    assert!(reader.visible_damage().expect("readable").is_empty());
    let status_s = started.elapsed().as_secs_f64();
    drop(reader);
    let started = Instant::now();
    let (run, _) = RunDir::open(&dir, &identity(&sweep)).expect("the same run");
    assert!(missing(&sweep, run.reader()).is_empty());
    RUN_TABLES.iter().for_each(|file| drop(hash_file(&dir.join(file)).expect("a table")));
    summarise(&sweep, run.reader());
    let resume_s = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let page = report(&sweep, &dir);
    let report_s = started.elapsed().as_secs_f64();
    if let Some(file) = std::env::var_os("CLIFFLINE_KEEP_REPORT") {
        std::fs::write(file, &page).expect("the page");
    }
    let page_bytes = page.len() as f64;
    Line { phases: clock.phases, peaks: clock.peaks, cpu_us: clock.cpu_us, status_s, resume_s, report_s, page_bytes }
}

fn report(sweep: &Sweep, dir: &Path) -> String {
    let environment = Environment::detect("mock", None, None);
    let mut manifest =
        RunManifest::begin(&sweep.name, &sweep.hash(), serde_json::Value::Null, CLASS, environment, Code::default());
    manifest.cells.planned = sweep.cells.len() as u64;
    let run = RunData { dir: dir.to_path_buf(), manifest, sweep: Cow::Borrowed(sweep) };
    page(&Report::of(&run).expect("a report"))
}

/// A spec of `cells` cells: temperatures and noise, and from a thousand cells on seeds between them.
fn spec(cells: u64) -> String {
    let share = |most: u64, left: u64| (1..=most).rev().find(|n| left.is_multiple_of(*n)).unwrap_or(1);
    let temperatures = share(10, cells);
    let noises = share(10, cells / temperatures);
    let seeds = cells / temperatures / noises;
    let levels = |n: u64, lo: f64| (0..n).map(|i| (lo + 0.05 * i as f64).to_string()).collect::<Vec<_>>().join(", ");
    format!(
        "name = \"growth\"\npreset = \"tiny\"\n[axes]\nseed = {{ seeds = {seeds} }}\n\
         \"image.noise\" = [{}]\n\"train.temperature\" = [{}]\n",
        levels(noises, 0.0),
        levels(temperatures, 0.02),
    )
}

fn identity(sweep: &Sweep) -> Identity {
    let values = sweep.axes.iter().flat_map(|axis| axis.levels.iter().map(|level| (axis.path.clone(), level.clone())));
    Identity {
        sweep: sweep.name.clone(),
        class: CLASS.into(),
        cell_ids: sweep.cells.iter().map(|cell| cell.id.clone()).collect(),
        levels: Levels::of(sweep.base.scalars().into_iter().chain(values)),
    }
}

fn missing(sweep: &Sweep, reader: &RunReader) -> Vec<usize> {
    (0..sweep.cells.len()).filter(|i| !reader.is_finished(&sweep.cells[*i].id)).collect()
}

fn record(outcome: Outcome, known: &HashMap<&str, &Cell>) -> CellRecord {
    let config = &known[outcome.cell_id.as_str()].config;
    let plain = serde_json::to_value(config).expect("plain data");
    CellRecord::from_outcome(outcome, config.train_id(), CLASS.into(), plain, now_utc())
}

fn write_tables(sweep: &Sweep, reader: &RunReader) {
    let axes: Vec<String> = sweep.axes.iter().map(|axis| axis.path.clone()).collect();
    let cell_ids: Vec<&str> = sweep.cells.iter().map(|cell| cell.id.as_str()).collect();
    let spec = TableSpec { cell_ids: &cell_ids, axes: &axes, ..TableSpec::default() };
    write_run_tables(reader, &spec).expect("tables");
    write_derived(reader.dir(), sweep).expect("derived tables");
}

fn summarise(sweep: &Sweep, reader: &RunReader) {
    let axes: Vec<_> = sweep.axes.iter().map(|axis| (axis.path.clone(), axis.levels.clone())).collect();
    let mut summary = Summary::new("effective_rank_img", &axes);
    let cells = read_columns(&reader.dir().join(CELLS_TABLE), &summary.columns_of_cells()).expect("the table");
    summary.add_all(&cells).expect("its columns");
    assert_eq!(summary.unplaced, 0);
}

/// Trains nothing and says as little as can be said.
struct Nothing;

impl Trainer for Nothing {
    fn train<'a>(&'a self, cells: &[&'a Cell], _: &Control) -> Result<Measuring<'a>, TrainError> {
        let outcome = |cell: &&Cell| Outcome {
            cell_id: cell.id.clone(),
            status: Status::Ok,
            reason: String::new(),
            steps: 0,
            metrics: Default::default(),
            spectra: Default::default(),
            curves: Default::default(),
            checksums: Default::default(),
            crossings: Vec::new(),
            selection: None,
            realised: Default::default(),
            conditions: Vec::new(),
            wall_s: 0.0,
        };
        let outcomes: Vec<Outcome> = cells.iter().map(outcome).collect();
        Ok(Box::new(move || outcomes))
    }
}

/// Returns outcomes of the published run, each value moved a little, so that they compress as real ones do.
struct Mock {
    templates: Vec<Outcome>,
    /// Calls so far: the place in the stream of small moves.
    calls: AtomicU64,
}

impl Mock {
    fn new() -> Self {
        let reader = RunReader::open(Path::new(TEMPLATE)).expect("the published run");
        let mut ids: Vec<String> = reader.cells().map(|(id, _)| id).collect();
        ids.sort();
        ids.truncate(16);
        let records = reader.records(&ids).expect("its records");
        let templates = records.iter().map(CellRecord::to_outcome).collect();
        Self { templates, calls: AtomicU64::new(0) }
    }
}

impl Trainer for Mock {
    fn train<'a>(&'a self, cells: &[&'a Cell], _: &Control) -> Result<Measuring<'a>, TrainError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut stream = Streams::new(call, "growth").item(0);
        let mut moved = |value: f64| {
            let value = value * (1.0 + 1e-3 * stream.uniform());
            // Losses and gradient norms are single precision, which compresses better.
            f64::from(value as f32)
        };
        let outcomes = cells.iter().zip(self.templates.iter().cycle()).map(|(cell, template)| {
            let mut outcome = Outcome { cell_id: cell.id.clone(), ..template.clone() };
            outcome.spectra.values_mut().flatten().for_each(|value| *value = moved(*value));
            outcome.curves.series.values_mut().flatten().flatten().for_each(|value| *value = moved(*value));
            for measured in outcome.metrics.values_mut() {
                if let Measured::Value(value) = measured {
                    *value = moved(*value);
                }
            }
            for checksum in [&mut outcome.checksums.final_parameters, &mut outcome.checksums.test_embeddings] {
                *checksum = blake3::hash(format!("{checksum}{call}").as_bytes()).to_hex().to_string();
            }
            outcome
        });
        let outcomes: Vec<Outcome> = outcomes.collect();
        Ok(Box::new(move || outcomes))
    }
}

/// Microseconds that this thread has computed; 0 where the system does not say.
fn cpu_us() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).map_or(0.0, |ns| ns / 1e3)
}

/// Starts the peak memory anew, where the system can (Linux).
fn forget_peak() {
    // Without it the peak is that of all phases so far.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Peak resident memory, MiB; 0 where the system does not say.
fn peak_mib() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()).map_or(0.0, |kib| kib / 1024.0)
}
