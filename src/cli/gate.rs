//! `cliffline gate`: does a run keep the constraints of its spec, or of another? Also writes `gates.json`, for `run` as
//! well.

mod thresholds;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Args;
use polars_core::prelude::{DataFrame, NamedFrom, Series};
use serde_json::{Value, json};

pub use thresholds::{Registration, recorded, thresholds};

use super::finish::{Step, amend, claim, say_set_aside};
use super::opened::{Opened, State, left_alone, may_not_write, to_write};
use super::{DirArgs, exit, output};
use crate::analysis::gate::{Combination, GateReport, GateResult, Verdict, evaluate};
use crate::analysis::{columns_of_cells, columns_of_conditions};
use crate::numerics::shown::{exact, percent, rounded};
use crate::spec::{CLEAN, Cell, Gate, Overrides, Sweep};
use crate::store::{
    CELLS_TABLE, CONDITIONS_TABLE, Holds, TableBytes, VERIFICATION_STATEMENT, is_cut_short, make_way, read_columns,
    read_file, remove_own, require_ours, write_atomic,
};

/// Where the verdicts are.
pub const GATES_FILE: &str = "gates.json";

/// Thresholds are set before the results are seen.
const OTHER_GATES: &str = "spec.toml has other gates than manifest.json records: change them in the spec that the run was \
                           made from, and run it again; or judge by another spec with --spec";

/// Combinations without a pass that are printed of each gate; the file has more.
const SHOWN: usize = 5;

#[derive(Debug, Args)]
#[command(
    after_help = "With --spec the cells are those of the run, and only the gates are those of SPEC. It writes nothing."
)]
pub struct GateArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Judge by the gates of this spec, and say where they are not those that the run was begun with
    #[arg(long, value_name = "SPEC")]
    spec: Option<OsString>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What `run` and `refine` do about gates at their end.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct GateExit {
    /// Exit as `gate` would, where all else ended well: 0 when every gate passes, 1 when one fails or lacks evidence
    #[arg(long)]
    gate: bool,
}

impl GateExit {
    /// Refuses to promise an exit code of gates that are not there.
    pub(super) fn require(self, sweep: &Sweep) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.gate || !sweep.gates.is_empty(),
            "--gate: {} has no gates to exit by; write a [[gate]] with a metric and its min or max, or leave the flag out",
            sweep.name
        );
        Ok(())
    }

    /// The verdicts, where they are asked for.
    pub(super) fn judge(self, dir: &Path, sweep: &Sweep) -> anyhow::Result<Option<GateReport>> {
        self.gate.then(|| judge(dir, sweep)).transpose()
    }

    /// The exit code of a command that would end with `code`, given what its gates say.
    pub(super) fn code(self, code: u8, report: Option<&GateReport>) -> u8 {
        match report {
            Some(report) if self.gate && code == exit::OK => code_of(report),
            _ => code,
        }
    }

    /// What to print of gates that decide the exit code: those that do not pass in full, all in a line.
    pub(super) fn lines(self, sweep: &Sweep, report: &GateReport) -> Vec<String> {
        let failed = report.gates.iter().filter(|gate| self.gate && gate.verdict != Verdict::Pass);
        failed.map(|gate| render(sweep, gate)).chain([in_short(report)]).collect()
    }
}

fn code_of(report: &GateReport) -> u8 {
    if report.verdict == Verdict::Pass { exit::OK } else { exit::NO }
}

pub fn main(args: &GateArgs) -> anyhow::Result<u8> {
    let dir = &args.dir.dir;
    let opened = Opened::run(dir)?;
    let own = opened.sweep()?;
    let manifest = opened.manifest()?;
    let named = args.spec.as_ref().map(|spec| spec.to_string_lossy().into_owned());
    let sweep = match &args.spec {
        Some(spec) => given(spec, &own)?,
        None => own,
    };
    anyhow::ensure!(
        !sweep.gates.is_empty(),
        "{} has no gates: write a [[gate]] with a metric and its min or max in the spec, and run it again, which trains no \
         cell twice; or judge by the gates of another spec with --spec",
        named.clone().unwrap_or_else(|| dir.display().to_string())
    );
    let registration = Registration::of(named.as_deref(), manifest, &sweep.gates);
    anyhow::ensure!(args.spec.is_some() || registration.differ.is_empty(), OTHER_GATES);
    let tables = opened.tables(&sweep, &[CELLS_TABLE, CONDITIONS_TABLE])?;
    let report = judge(tables, &sweep)?;
    let (state, own_tables) = (opened.state, tables == opened.dir);
    if args.spec.is_none() {
        settle(opened, own_tables, &report)?;
    } else {
        drop(opened);
    }
    let code = match report.verdict {
        // Who is at work may yet find it.
        Verdict::InsufficientEvidence if state == State::AtWork => exit::INCOMPLETE,
        _ => code_of(&report),
    };
    if args.json {
        let mut document = document(&report)?;
        document["dir"] = json!(output::path(dir));
        document["thresholds"] = json!(registration);
        document["exit_code"] = json!(code);
        output::json(&document)?;
    } else {
        report.gates.iter().try_for_each(|gate| output::line(&render(&sweep, gate)))?;
        registration.lines().iter().try_for_each(|line| output::line(line))?;
        output::line(&format!("{}: {}", dir.display(), in_short(&report)))?;
    }
    Ok(code)
}

/// The run's own sweep under the gates of another spec.
fn given(spec: &OsStr, own: &Sweep) -> anyhow::Result<Sweep> {
    let asked = crate::spec::load(spec, &Overrides::default())?;
    let spec = spec.to_string_lossy();
    let (sweep, dropped) = own.with_gates(&asked.gates, &format!("the spec of the run with the gates of {spec}"))?;
    dropped.iter().for_each(|dropped| output::note(dropped));
    let (planned, judged) = (ids(&asked.cells), ids(&sweep.cells));
    let (absent, more) = (planned.difference(&judged).count(), judged.difference(&planned).count());
    if absent + more > 0 {
        output::note(&format!(
            "{spec} plans other cells than this run, which lacks {absent} of its {} and has {more} others: those of the run \
             are judged",
            planned.len()
        ));
    }
    Ok(sweep)
}

fn ids(cells: &[Cell]) -> HashSet<&str> {
    cells.iter().map(|cell| cell.id.as_str()).collect()
}

/// Leaves the verdicts in a run that has ended, where they are of its `own` tables and not there already.
fn settle(opened: Opened, own: bool, report: &GateReport) -> anyhow::Result<()> {
    let left = |why: &str| output::note(&format!("{GATES_FILE} is left as it is: {why}"));
    require_ours(&opened.dir, &Holds::Run)?;
    if !own {
        left("the command that made the run writes it at its end");
        return Ok(());
    }
    let bytes = file_text(report)?;
    let listed = opened.manifest()?.tables.get(GATES_FILE).cloned();
    let there = read_file(&opened.dir.join(GATES_FILE)).ok();
    let sealed = !is_cut_short(&opened.dir);
    if there == bytes && listed == bytes.as_ref().map(|bytes| file_of(bytes, report)) && sealed {
        return Ok(());
    }
    if let Some(why) = left_alone(&opened.dir) {
        left(&why);
        return Ok(());
    }
    let dir = opened.dir.clone();
    drop(opened);
    match renew(&dir) {
        Err(error) if may_not_write(&error) => left(&error.to_string()),
        renewed => renewed?,
    }
    Ok(())
}

/// Judges a run again once nobody else writes there, and leaves the verdicts in it.
fn renew(dir: &Path) -> anyhow::Result<()> {
    let opened = Opened::under(to_write(dir)?, dir)?;
    claim(dir, &Holds::Run, &[])?;
    if opened.state != State::Ended {
        output::note("another command is at work on the run now, and judges it at its end");
        return Ok(());
    }
    let sweep = opened.sweep()?;
    let mut manifest = opened.manifest()?.clone();
    anyhow::ensure!(Registration::of(None, &manifest, &sweep.gates).differ.is_empty(), OTHER_GATES);
    let report = judge(opened.tables(&sweep, &[CELLS_TABLE, CONDITIONS_TABLE])?, &sweep)?;
    if let Some(kept) = keep(dir, &report)?
        && manifest.tables.get(GATES_FILE) != Some(&kept)
    {
        manifest.tables.insert(GATES_FILE.to_string(), kept);
        let step = Step { name: "gates", description: "judge the run by the gates of its spec" };
        amend(opened.hold(), dir, &mut manifest, [GATES_FILE.to_string()].into(), &step)?;
    }
    Ok(())
}

/// Judges the gates of a sweep by the tables in `dir`. Tables that are not there yet have no cells.
pub fn judge(dir: &Path, sweep: &Sweep) -> anyhow::Result<GateReport> {
    let read = |file: &str, columns: &[String]| -> anyhow::Result<DataFrame> {
        let path = dir.join(file);
        if path.is_file() && !columns.is_empty() {
            return Ok(read_columns(&path, columns)?);
        }
        let none = |name: &str| Series::new(name.into(), Vec::<String>::new()).into();
        Ok(DataFrame::new_infer_height(["cell_id", "status", "condition"].map(none).into())?)
    };
    let cells = read(CELLS_TABLE, &columns_of_cells(&sweep.gates))?;
    let conditions = read(CONDITIONS_TABLE, &columns_of_conditions(&sweep.gates))?;
    Ok(evaluate(sweep, &cells, &conditions)?)
}

/// Judges the gates of a finished or interrupted run and writes the verdicts; none when there are no gates, and then no
/// earlier verdicts are left.
pub fn write(dir: &Path, sweep: &Sweep) -> anyhow::Result<Option<TableBytes>> {
    let report = judge(dir, sweep)?;
    keep(dir, &report)
}

/// Makes `gates.json` say what `report` does. A file that does already is left alone.
fn keep(dir: &Path, report: &GateReport) -> anyhow::Result<Option<TableBytes>> {
    let path = dir.join(GATES_FILE);
    let Some(bytes) = file_text(report)? else {
        remove_own(dir, GATES_FILE)?;
        return Ok(None);
    };
    if read_file(&path).ok().as_ref() != Some(&bytes) {
        make_way(dir, GATES_FILE)?.iter().for_each(|aside| say_set_aside(&path, aside));
        write_atomic(&path, |out| out.write_all(&bytes))?;
    }
    Ok(Some(file_of(&bytes, report)))
}

/// The content of `gates.json`; None without gates.
pub(super) fn file_text(report: &GateReport) -> anyhow::Result<Option<Vec<u8>>> {
    if report.gates.is_empty() {
        return Ok(None);
    }
    let mut bytes = serde_json::to_vec_pretty(&document(report)?)?;
    bytes.push(b'\n');
    Ok(Some(bytes))
}

/// The file that `bytes` are, as a manifest lists it.
fn file_of(bytes: &[u8], report: &GateReport) -> TableBytes {
    TableBytes {
        bytes: bytes.len() as u64,
        blake3: blake3::hash(bytes).to_hex().to_string(),
        rows: report.gates.len() as u64,
    }
}

/// The report as `gates.json` has it.
fn document(report: &GateReport) -> anyhow::Result<Value> {
    let mut document = serde_json::to_value(report)?;
    document["verification_statement"] = json!(VERIFICATION_STATEMENT);
    Ok(document)
}

/// `gates: fail (2 pass, 1 fail)`.
pub fn in_short(report: &GateReport) -> String {
    let count = |verdict: Verdict| report.gates.iter().filter(|gate| gate.verdict == verdict).count();
    let verdicts = [Verdict::Pass, Verdict::Fail, Verdict::InsufficientEvidence];
    let counts = verdicts.map(|verdict| (count(verdict), word(verdict)));
    let counts: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    format!("gates: {} ({})", word(report.verdict), counts.join(", "))
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::InsufficientEvidence => "insufficient evidence",
    }
}

/// A verdict, and below it where it comes from: the tightest combination of a gate that passes, the worst of others.
fn render(sweep: &Sweep, result: &GateResult) -> String {
    let total: u64 = result.combinations.values().sum();
    let counts = [Verdict::Pass, Verdict::Fail, Verdict::InsufficientEvidence]
        .map(|verdict| (result.combinations.get(verdict.name()).copied().unwrap_or(0), word(verdict)))
        .into_iter()
        .filter(|(n, _)| *n > 0);
    let counts: Vec<String> = counts.map(|(n, word)| format!("{n} {word}")).collect();
    let at = if total == 1 { "combination" } else { "combinations" };
    let mut lines = vec![format!("{}: {}: {}", result.gate.name, word(result.verdict), constraint(&result.gate))];
    lines.push(match total {
        0 => "  it judges no cell of this run".to_string(),
        _ => format!("  {total} {at} of levels: {}", counts.join(", ")),
    });
    if result.verdict == Verdict::Pass {
        lines.extend(result.worst.iter().map(|worst| format!("  tightest {}", place(sweep, &result.gate, worst))));
    } else {
        let line = |c: &Combination| format!("  {} {}", word(c.verdict), place(sweep, &result.gate, c));
        lines.extend(result.not_passed.iter().take(SHOWN).map(line));
        let more = result.not_passed.len().saturating_sub(SHOWN) as u64 + result.not_listed;
        lines.extend((more > 0).then(|| format!("  and {more} more")));
    }
    lines.join("\n")
}

/// What is asked for: `effective_rank_img >= 8 under noisy, for 75% of the seeds, at image.noise <= 0.5`.
fn constraint(gate: &Gate) -> String {
    let bounds = match (gate.min, gate.max) {
        (Some(min), Some(max)) => format!("{} <= {} <= {}", exact(min), gate.metric, exact(max)),
        (Some(min), None) => format!("{} >= {}", gate.metric, exact(min)),
        (_, max) => format!("{} <= {}", gate.metric, max.map_or(String::new(), exact)),
    };
    let condition = if gate.condition == CLEAN { String::new() } else { format!(" under {}", gate.condition) };
    let share =
        if gate.share == 1.0 { "every seed".to_string() } else { format!("{} of the seeds", percent(gate.share)) };
    let scope: Vec<String> = gate.scope.iter().map(|(path, scope)| format!("{path} {}", scope.describe())).collect();
    let scope = if scope.is_empty() { String::new() } else { format!(", where {}", scope.join(", ")) };
    format!("{bounds}{condition}, for {share} of at least {}{scope}", gate.min_seeds)
}

/// Where a combination is, how its seeds stand, and its worst seed.
fn place(sweep: &Sweep, gate: &Gate, combination: &Combination) -> String {
    let level = |(path, level): (&String, &Value)| format!("{path} = {}", sweep.shown(path).text(level));
    let levels: Vec<String> = combination.levels.iter().map(level).collect();
    let at = if levels.is_empty() { "everywhere".to_string() } else { format!("at {}", levels.join(", ")) };
    let seeds = &combination.seeds;
    let parts = [
        (seeds.outside, "outside"),
        (seeds.lost, "lost"),
        (seeds.unfinished, "unfinished"),
        (seeds.undefined, "without a value"),
    ];
    let others: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!(", {n} {what}")).collect();
    let worst = combination.worst.as_ref().map_or(String::new(), |worst| match (worst.value, worst.margin) {
        (Some(value), Some(margin)) => {
            let side = if margin < 0.0 { "outside" } else { "inside" };
            format!("; seed {} has {}, {} {side}", worst.seed, gate.beside_bounds(value), rounded(margin.abs()))
        }
        _ => format!("; seed {} {}", worst.seed, worst.ended.as_deref().unwrap_or("has no value")),
    });
    format!("{at}: {} of {} seeds hold, {} must{others}{worst}", seeds.hold, seeds.planned, combination.needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_decide_the_exit_code_of_what_ended_well_and_of_nothing_else() {
        let report = |verdict: Verdict| GateReport {
            format: "cliffline-gates",
            version: 1,
            sweep: "t".to_string(),
            verdict,
            gates: Vec::new(),
        };
        let asked = GateExit { gate: true };
        for (verdict, code) in
            [(Verdict::Pass, exit::OK), (Verdict::Fail, exit::NO), (Verdict::InsufficientEvidence, exit::NO)]
        {
            let report = report(verdict);
            assert_eq!(asked.code(exit::OK, Some(&report)), code);
            assert_eq!(GateExit::default().code(exit::OK, Some(&report)), exit::OK, "nobody asked");
            for before in [exit::CELLS_FAILED, exit::INCOMPLETE, exit::INTERRUPTED] {
                assert_eq!(asked.code(before, Some(&report)), before);
            }
        }
    }
}
