//! `cliffline refine`: trains further levels of an axis where a constraint flips, until each flip is known to a
//! tolerance.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::finish::{Step, amend, claim};
use super::gate::GateExit;
use super::opened::to_write;
use super::redact::RedactArgs;
use super::report::{DrawArgs, renew_held};
use super::run::{ExemplarArgs, INTERRUPTED, ReuseArgs, Session, Standing};
use super::{BackendArgs, DirArgs, exit, output};
use crate::aligner::backend::Choice;
use crate::analysis::line::{AxisRanks, Places};
use crate::analysis::refine::{Known, LineReport, Report, Rules, Wanted, known, report, wanted};
use crate::analysis::{AxisLevels, constraint::Constraints, grid_of, read_for_locations, with_unfinished};
use crate::engine::BurnTrainer;
use crate::numerics::shown::{Levels, percent, rounded};
use crate::spec::{ALL_GATES, Include, LOST, Scale, Sweep, constraints_of};
use crate::store::{
    FilesLock, Holds, REPORT_FILE, RunManifest, RunReader, RunState, TableBytes, VERIFICATION_STATEMENT, write_atomic,
};

/// Where the state of a refinement is.
pub const REFINEMENT_FILE: &str = "refinement.json";

/// Version of [`REFINEMENT_FILE`].
///
/// # Changelog
/// - 1: first version.
const REFINEMENT_VERSION: u64 = 1;

/// The tolerance where none is given, as a share of the widest gap between neighbouring levels of the grid: three
/// halvings.
const DEFAULT_SHARE: f64 = 0.125;

#[derive(Debug, Args)]
pub struct RefineArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Axis along which levels are added [default: the numeric axis with the most levels]
    #[arg(long, value_name = "PATH")]
    axis: Option<String>,
    /// Constraint whose flips are located: a gate, all, or lost [default: all gates together, lost without gates]
    #[arg(long, value_name = "NAME")]
    constraint: Option<String>,
    /// Largest distance between the levels on either side of a flip: 0.05 is 5% on a log scale, 0.05 in the
    /// parameter's unit on a linear one [default: an eighth of the grid's widest gap]
    #[arg(long, value_name = "DISTANCE", value_parser = distance, allow_negative_numbers = true)]
    tolerance: Option<f64>,
    /// Largest distance between any two neighbouring levels, as for --tolerance, so that no wider island is missed
    /// [default: as wide as the grid's gaps are]
    #[arg(long, value_name = "DISTANCE", value_parser = distance, allow_negative_numbers = true)]
    floor: Option<f64>,
    /// Most cells to train now [default: as many as it takes]
    #[arg(long, value_name = "CELLS", value_parser = super::whole::<u64>, allow_negative_numbers = true)]
    budget: Option<u64>,
    #[command(flatten)]
    backend: BackendArgs,
    #[command(flatten)]
    reuse: ReuseArgs,
    #[command(flatten)]
    exemplars: ExemplarArgs,
    #[command(flatten)]
    redact: RedactArgs,
    #[command(flatten)]
    drawing: DrawArgs,
    #[command(flatten)]
    gate: GateExit,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

fn distance(text: &str) -> Result<f64, String> {
    let distance = text.parse().ok().filter(|x: &f64| x.is_finite() && *x > 0.0);
    distance.ok_or_else(|| "give a number above 0".to_string())
}

/// What is refined, in the words of the user and in coordinates.
struct Target {
    axis: String,
    scale: Scale,
    constraint: String,
    tolerance: f64,
    floor: Option<f64>,
    rules: Rules,
}

pub fn main(args: &RefineArgs) -> anyhow::Result<u8> {
    let dir = &args.dir.dir;
    let reader = RunReader::open(dir)?;
    args.redact.check()?;
    let mut sweep = args.redact.clear(super::checked::spec(dir)?);
    args.gate.require(&sweep)?;
    let trainer = trainer(args, &reader)?;
    let target = Target::new(args, &sweep)?;
    let pending = sweep.cells.iter().filter(|cell| !reader.is_finished(&cell.id)).count() as u64;
    anyhow::ensure!(
        args.budget.is_none_or(|budget| budget >= pending),
        "{} lacks {} of its own, which come first and are more than the budget: give it {pending} or more",
        dir.display(),
        output::count(pending as usize, "cell"),
    );
    drop(reader);
    // What an interrupted run lacks comes first.
    let mut standing = Session::open(&sweep, dir, &trainer, &args.reuse)?
        .with(&args.exemplars)
        .redacting(&args.redact)
        .go(&args.backend, &trainer)?;
    let mut trained = standing.trained as u64;
    let known = loop {
        if standing.exit_code != exit::OK {
            draw(&to_write(dir)?, dir, &args.drawing)?;
            return stopped(&standing, dir, args.json);
        }
        let known = target.look(dir, &sweep)?;
        let all = wanted(&known, target.rules);
        let first = all.first().map_or(0, |wanted| wanted.cells);
        let left = args.budget.map(|budget| budget.saturating_sub(trained));
        let next = affordable(all, left);
        if next.is_empty() {
            if let Some(left) = left.filter(|left| *left < first) {
                output::note(&format!("the next level takes {first} cells, and {left} are left of the budget"));
            }
            break known;
        }
        let cells: u64 = next.iter().map(|wanted| wanted.cells).sum();
        let open = report(&known, target.rules).open;
        output::note(&format!(
            "{} to locate more closely; trying {} more, {} in all",
            output::count(open as usize, "flip"),
            output::count(next.len(), "level"),
            output::count(cells as usize, "cell")
        ));
        let before = sweep.cells.len();
        sweep = sweep.with_includes(&includes(&next, &known, &target, &sweep))?;
        anyhow::ensure!(
            sweep.cells.len() > before,
            "no level that was to be tried is new: this is a mistake of the program"
        );
        standing = Session::open(&sweep, dir, &trainer, &args.reuse)?
            .with(&args.exemplars)
            .redacting(&args.redact)
            .go(&args.backend, &trainer)?;
        trained += standing.trained as u64;
    };
    let report = report(&known, target.rules);
    let document = target.document(&report, trained);
    let hold = to_write(dir)?;
    keep(&hold, dir, &document)?;
    let drawn = draw(&hold, dir, &args.drawing)?;
    drop(hold);
    let gates = args.gate.judge(dir, &sweep)?;
    let code = args.gate.code(if report.wanted > 0 { exit::INCOMPLETE } else { exit::OK }, gates.as_ref());
    if args.json {
        let mut document = document;
        document["dir"] = json!(output::path(dir));
        document["exit_code"] = json!(code);
        document["report"] = json!(drawn.as_deref().map(output::path));
        document["gates"] = json!(gates.as_ref().map(|report| report.verdict));
        output::json(&document)?;
    } else {
        output::line(&target.render(&report, trained))?;
        gates.iter().flat_map(|report| args.gate.lines(&sweep, report)).try_for_each(|line| output::line(&line))?;
        drawn.iter().try_for_each(|page| output::line(&format!("report: {}", page.display())))?;
    }
    if report.wanted > 0 {
        output::note("the budget ends here; the same command with more goes on");
    }
    Ok(code)
}

/// A trainer of the run's own class, unless another backend is asked for, which the run then refuses.
fn trainer(args: &RefineArgs, reader: &RunReader) -> anyhow::Result<BurnTrainer> {
    let own = reader.class().and_then(|class| class.split_whitespace().nth(1).map(ToString::to_string));
    let choice = match (args.backend.backend, own) {
        (Choice::Auto, Some(own)) => Choice::named(&own)?,
        (asked, _) => asked,
    };
    let backend = BackendArgs { backend: choice, ..args.backend.clone() };
    Ok(BurnTrainer::new(backend.open()?))
}

/// Says why a refinement ends before its time.
fn stopped(standing: &Standing, dir: &Path, json: bool) -> anyhow::Result<u8> {
    let why = match standing.exit_code {
        exit::INTERRUPTED => INTERRUPTED.to_string(),
        exit::CELLS_FAILED => {
            format!("cells failed, so nothing is refined; see {} and try again", dir.join("cells.parquet").display())
        }
        _ => "the run could not be completed, so nothing is refined".to_string(),
    };
    output::note(&why);
    standing.stopped(dir, json)
}

/// The most urgent levels that `budget` cells can pay for, none left out for a cheaper one after it.
fn affordable(wanted: Vec<Wanted>, budget: Option<u64>) -> Vec<Wanted> {
    let mut left = budget.unwrap_or(u64::MAX);
    let pays = |wanted: &Wanted| {
        let after = left.checked_sub(wanted.cells);
        left = after.unwrap_or(left);
        after.is_some()
    };
    wanted.into_iter().take_while(pays).collect()
}

/// The entries of a spec that add levels: one per line.
fn includes(next: &[Wanted], known: &[Known], target: &Target, sweep: &Sweep) -> Vec<Include> {
    let mut levels: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
    let whole = |level: f64| sweep.base.scalars().get(&target.axis).is_some_and(Value::is_u64) && level.fract() == 0.0;
    for wanted in next {
        let level = if whole(wanted.level) { json!(wanted.level as u64) } else { json!(wanted.level) };
        levels.entry(wanted.line).or_default().push(level);
    }
    let seeds = sweep.axes.iter().find(|axis| axis.path == "seed").map(|axis| axis.levels.clone());
    let entry = |(line, levels): (usize, Vec<Value>)| {
        let fixed = known[line].levels.iter().map(|(path, level)| (path.clone(), vec![level.clone()]));
        let mut entry: Include = fixed.chain([(target.axis.clone(), levels)]).collect();
        let own: Vec<Value> = known[line].seeds.iter().map(|seed| json!(seed)).collect();
        if seeds.as_ref().is_some_and(|seeds| *seeds != own) {
            entry.insert("seed".to_string(), own);
        }
        entry
    };
    levels.into_iter().map(entry).collect()
}

impl Target {
    fn new(args: &RefineArgs, sweep: &Sweep) -> anyhow::Result<Self> {
        let numbers = |levels: &[Value]| levels.iter().filter_map(Value::as_f64).collect::<Vec<_>>();
        let numeric: Vec<_> = sweep
            .axes
            .iter()
            .filter(|axis| axis.levels.len() > 1 && Scale::of(&axis.path, numbers(&axis.levels)).is_some())
            .collect();
        let names = || numeric.iter().map(|axis| axis.path.as_str()).collect::<Vec<_>>().join(", ");
        let axis = match &args.axis {
            Some(path) => numeric.iter().find(|axis| axis.path == *path).copied(),
            None => numeric.iter().copied().rev().max_by_key(|axis| axis.levels.len()),
        };
        let Some(axis) = axis else {
            match (&args.axis, numeric.is_empty()) {
                (_, true) => {
                    anyhow::bail!("no axis of this run is of numbers and has two levels, so there is nothing to refine")
                }
                (path, false) => anyhow::bail!(
                    "{} is no numeric axis of this run with two levels or more: choose among {}",
                    path.clone().unwrap_or_default(),
                    names()
                ),
            }
        };
        anyhow::ensure!(
            sweep.zip.iter().all(|zip| !zip.paths.contains(&axis.path)),
            "{} advances together with other axes, and between its levels nothing says where those are: refine another \
             axis, or cross them",
            axis.path
        );
        // With those beside the grid, as the tables have them.
        let levels = numbers(&sweep.all_levels(axis));
        let scale = Scale::of(&axis.path, levels.iter().copied()).unwrap_or(Scale::Linear);
        let constraint = match &args.constraint {
            Some(name) => name.clone(),
            None => match sweep.gates.as_slice() {
                [] => LOST.to_string(),
                [one] => one.name.clone(),
                _ => ALL_GATES.to_string(),
            },
        };
        let mut names: Vec<String> = constraints_of(&sweep.gates).into_iter().map(|gate| gate.name).collect();
        names.extend((sweep.gates.len() > 1).then(|| ALL_GATES.to_string()));
        anyhow::ensure!(
            names.contains(&constraint),
            "this run has no constraint {constraint:?}: choose among {}",
            names.join(", ")
        );
        let grid = numbers(&axis.levels);
        let widest = grid.windows(2).map(|w| scale.coordinate(w[1]) - scale.coordinate(w[0])).fold(0.0, f64::max);
        let apart = |width: f64| if scale == Scale::Log { libm::expm1(width) } else { width };
        let width = |apart: f64| if scale == Scale::Log { libm::log1p(apart) } else { apart };
        let tolerance = args.tolerance.unwrap_or_else(|| apart(widest * DEFAULT_SHARE));
        let rules = Rules { tolerance: width(tolerance), floor: args.floor.map(width) };
        Ok(Self { axis: axis.path.clone(), scale, constraint, tolerance, floor: args.floor, rules })
    }

    /// What the tables of a run say.
    fn look(&self, dir: &Path, sweep: &Sweep) -> anyhow::Result<Vec<Known>> {
        let (axes, zip): (Vec<AxisLevels>, _) = grid_of(sweep);
        let grid = crate::analysis::line::Grid { axes: &axes, zip: &zip };
        let (cells, conditions) = read_for_locations(dir, &sweep.gates, grid)?;
        let cells = with_unfinished(cells, sweep)?;
        let places = Places::new(&cells, grid)?;
        let constraints = Constraints::new(&sweep.gates, &cells, &conditions, &places)?;
        let Some(of) = constraints.find(&self.constraint) else { return Ok(Vec::new()) };
        let is_axis = |axis: &AxisRanks| axis.path == self.axis && axis.scale.is_some();
        let Some(axis) = places.axes.iter().position(is_axis) else { return Ok(Vec::new()) };
        Ok(known(&places.lines(axis), &constraints, of))
    }

    fn document(&self, report: &Report, trained: u64) -> Value {
        json!({
            "format": "cliffline-refinement", "version": REFINEMENT_VERSION, "axis": self.axis, "scale": self.scale,
            "constraint": self.constraint, "tolerance": self.tolerance, "floor": self.floor, "cells_trained_now": trained,
            "cells": report.cells, "uniform_cells": report.uniform_cells, "resolved": report.resolved,
            "open": report.open, "undecided": report.undecided, "wanted": report.wanted, "lines": report.lines, "verification_statement": VERIFICATION_STATEMENT,
        })
    }

    fn render(&self, report: &Report, trained: u64) -> String {
        let apart = |x: f64| match self.scale {
            Scale::Log => percent(x),
            Scale::Linear => rounded(x),
        };
        let fixed: Vec<&String> = report.lines.first().map_or(Vec::new(), |line| line.levels.keys().collect());
        let mut header: Vec<String> = fixed.iter().map(ToString::to_string).collect();
        header.extend(
            ["levels tried", "flips between", "not yet close enough", "undecided", "widest gap not looked into"]
                .map(String::from),
        );
        let along = report.lines.iter().flat_map(LineReport::ends).flatten();
        let along = Levels::of_numbers(along);
        let levels: Vec<Levels> = fixed
            .iter()
            .map(|path| Levels::of(report.lines.iter().filter_map(|line| line.levels.get(*path))))
            .collect();
        let between = |ends: &[f64; 2]| format!("{} and {}", along.number(ends[0]), along.number(ends[1]));
        let row = |line: &LineReport| {
            let mut cells: Vec<String> =
                line.levels.values().zip(&levels).map(|(level, shown)| shown.text(level)).collect();
            cells.push(line.tried.to_string());
            cells.push(in_runs(&line.resolved, along));
            cells.push(in_runs(&line.open, along));
            cells.push(in_runs(&line.undecided, along));
            cells.push(line.widest_unexplored.as_ref().map_or(String::new(), between));
            cells
        };
        let floor = self.floor.map_or(String::new(), |floor| format!(", no gap wider than {}", apart(floor)));
        let ratio = report.uniform_cells as f64 / report.cells.max(1) as f64;
        let ratio = if ratio >= 1.0 { format!(", {} times as many", rounded(ratio)) } else { String::new() };
        let flips = report.resolved + report.open + report.undecided;
        format!(
            "{} along {}, to {}{floor}\n{}\n{} of {} located, {} cannot be. {} on these lines, {trained} of them trained \
             now; a uniform grid as fine takes {}{ratio}",
            self.constraint,
            self.axis,
            apart(self.tolerance),
            output::table(&header, report.lines.iter().map(row).collect()),
            report.resolved,
            output::count(flips as usize, "flip"),
            report.undecided,
            output::count(report.cells as usize, "cell"),
            report.uniform_cells,
        )
    }
}

/// Gaps as text; those that touch are one range, of which it is said how many there are.
fn in_runs(gaps: &[[f64; 2]], along: Levels) -> String {
    let runs = gaps.chunk_by(|a, b| a[1] == b[0]);
    let text = |run: &[[f64; 2]]| {
        let ends = format!("{} and {}", along.number(run[0][0]), along.number(run[run.len() - 1][1]));
        if run.len() > 1 { format!("{ends} ({} gaps)", run.len()) } else { ends }
    };
    runs.map(text).collect::<Vec<_>>().join("; ")
}

/// Draws what the levels tried have come to, unless nothing is finished, no report is wanted, or another process began
/// to work on the run, which draws it at its end.
fn draw(hold: &FilesLock, dir: &Path, args: &DrawArgs) -> anyhow::Result<Option<PathBuf>> {
    if args.no_report || RunReader::open(dir)?.is_empty() || ended(dir)?.is_none() {
        return Ok(None);
    }
    renew_held(hold, dir).context("drawing the report")?;
    Ok(Some(dir.join(REPORT_FILE)))
}

/// Writes the state of the refinement and lists it in the manifest.
fn keep(hold: &FilesLock, dir: &Path, document: &Value) -> anyhow::Result<()> {
    let Some(mut manifest) = ended(dir)? else {
        output::note(&format!("another process is at work on {} now: {REFINEMENT_FILE} is not written", dir.display()));
        return Ok(());
    };
    let mut bytes = serde_json::to_vec_pretty(document)?;
    bytes.push(b'\n');
    claim(dir, &Holds::Run, &[REFINEMENT_FILE])?;
    write_atomic(&dir.join(REFINEMENT_FILE), |out| out.write_all(&bytes))?;
    let blake3 = blake3::hash(&bytes).to_hex().to_string();
    manifest.tables.insert(REFINEMENT_FILE.to_string(), TableBytes { bytes: bytes.len() as u64, blake3, rows: 1 });
    let step = Step { name: "refine", description: "say how closely flips are located" };
    amend(hold, dir, &mut manifest, [REFINEMENT_FILE.to_string()].into(), &step)
}

/// The manifest of a run that nobody is at work on.
fn ended(dir: &Path) -> anyhow::Result<Option<RunManifest>> {
    Ok(RunManifest::read(dir)?.filter(|manifest| manifest.state != RunState::Running))
}
