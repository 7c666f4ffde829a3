//! `report.json`: the strict report of a run.

use std::collections::BTreeMap;
use std::path::Path;

use polars_core::prelude::{DataFrame, PolarsError};
use serde_json::Value;
use thiserror::Error;

use super::evidence::{Evidence, seeds};
use super::risk_log::{RISK_LOG_FILE, RiskLog};
use crate::analysis::gate::{GateResult, Verdict};
use crate::analysis::line::value_at;
use crate::engine::Act::Stop;
use crate::engine::LIMITS;
use crate::spec::config::Panel;
use crate::spec::{ALL_GATES, LOST};
use crate::store::strict_report::{NOT_VERIFIED, cite};
use crate::store::{
    BOUNDARIES_TABLE, CELLS_TABLE, Fact, MANIFEST_FILE, RunState, StrictReport, VERIFICATION_STATEMENT, metric_column,
    param_column, read_columns, read_table,
};

/// Its name in a directory.
pub const RUN_REPORT_FILE: &str = "report.json";

const GATES_FILE: &str = "gates.json";
const SPEC_FILE: &str = "spec.toml";

/// Boundaries that are listed; a run of many lines has its table.
const MOST_BOUNDARIES: usize = 24;
/// Metrics whose best and worst cells are named: whether partners are found, and whether there is room to find them in.
const EXTREMES: [&str; 2] = ["retrieval_at_1_i2t", "effective_rank_img"];
/// Seeds below which an interval over them rarely holds the mean, as the bootstrap's own coverage says.
const FEW_SEEDS: usize = 5;

/// Why there is no report.
#[derive(Debug, Error)]
pub enum ReportError {
    #[error("{file}: {source}")]
    Table { file: &'static str, source: PolarsError },
}

/// The facts, and what is said of them, as they come.
#[derive(Default)]
struct Draft {
    facts: BTreeMap<String, Fact>,
    paragraphs: Vec<String>,
}

impl Draft {
    /// Adds a fact and returns its citation.
    fn fact(&mut self, name: impl Into<String>, fact: Fact) -> String {
        let name = name.into();
        let citation = cite(&name);
        self.facts.insert(name, fact);
        citation
    }

    fn say(&mut self, sentence: String) {
        self.paragraphs.push(sentence);
    }
}

/// The strict report of the run in `dir`, as far as it has got. Tables that are not there have no facts.
///
/// # Errors
/// A table without the columns that it should have.
pub fn run_report(dir: &Path, evidence: &Evidence<'_>, risks: &RiskLog) -> Result<StrictReport, ReportError> {
    let mut draft = Draft::default();
    standing(&mut draft, evidence);
    let judged = verdicts(&mut draft, evidence);
    let located = boundaries(&mut draft, dir, evidence)?;
    extremes(&mut draft, dir, evidence)?;
    checks(&mut draft, evidence, risks);
    let mut report = StrictReport {
        facts_provided: draft.facts,
        assumptions: assumptions(evidence),
        open_items: open_items(evidence, risks, &located),
        analysis: draft.paragraphs.join("\n"),
        draft_output: String::new(),
        verification_status: NOT_VERIFIED.to_string(),
        questions_to_verify: QUESTIONS.map(String::from).to_vec(),
    };
    let text = format!(
        "The sweep {} trained {} of {}: {} ok, {} collapsed, {} diverged, {} failed. {judged} {VERIFICATION_STATEMENT}",
        cite("run.sweep"),
        cite("cells.finished"),
        cite("cells.planned"),
        cite("cells.ok"),
        cite("cells.collapsed"),
        cite("cells.diverged"),
        cite("cells.failed"),
    );
    report.draft_output = report.resolve(&text);
    Ok(report)
}

/// What ran, and how it stands.
fn standing(draft: &mut Draft, evidence: &Evidence<'_>) {
    let m = evidence.manifest;
    let state = match m.state {
        RunState::Complete => "complete",
        RunState::Interrupted => "interrupted",
        RunState::Incomplete => "incomplete",
        RunState::Running => "running",
    };
    let mut of =
        |name: &str, value: Value, unit: &str, at: &str| draft.fact(name, Fact::new(value, unit, MANIFEST_FILE, at));
    of("run.class", m.class.clone().into(), "", "class");
    of("run.code_version", m.code.version.clone().into(), "", "code.version");
    of("run.spec_blake3", m.spec_blake3.clone().into(), "", "spec_blake3");
    let [run, sweep, state] = [("run.id", &m.run_id, "run_id"), ("run.sweep", &m.sweep, "sweep")]
        .map(|(name, value, at)| of(name, value.clone().into(), "", at))
        .into_iter()
        .chain([of("run.state", state.into(), "", "state")])
        .collect::<Vec<_>>()
        .try_into()
        .unwrap_or_default();
    let planned = of("cells.planned", m.cells.planned.into(), "cells", "cells.planned");
    let counts = ["ok", "collapsed", "diverged", "failed"].map(|status| {
        let n = m.cells.by_status.get(status).copied().unwrap_or(0);
        (n, of(&format!("cells.{status}"), n.into(), "", &format!("cells.by_status.{status}")))
    });
    let [ok, collapsed, diverged, failed] = &counts;
    let finished = ok.0 + collapsed.0 + diverged.0;
    let finished = of("cells.finished", finished.into(), "", "cells.by_status: ok, collapsed and diverged together");
    if let Some(wall) = m.timings.get("wall_s") {
        of("training.wall", (*wall).into(), "s", "timings.wall_s");
    }
    draft.say(format!(
        "The run {run} of the sweep {sweep} is {state}: {finished} of {planned} have a result. {} ended ok, {} \
         collapsed, {} diverged, {} failed.",
        ok.1, collapsed.1, diverged.1, failed.1
    ));
    let axes: Vec<String> = evidence
        .sweep
        .axes
        .iter()
        .map(|axis| {
            let (path, levels) = (&axis.path, axis.levels.len());
            let at = |what: &str| format!("axes.\"{path}\"{what}");
            let name = draft.fact(format!("axis.{path}.path"), Fact::new(path.clone(), "", SPEC_FILE, &at("")));
            let fact = Fact::new(levels, "levels", SPEC_FILE, &at(": how many levels"));
            format!("{name} at {}", draft.fact(format!("axis.{path}.levels"), fact))
        })
        .collect();
    let swept = if axes.is_empty() { "nothing: there is no axis".to_string() } else { axes.join(", ") };
    draft.say(format!("It sweeps {swept}."));
}

/// What the gates say; returns that in a sentence for people.
fn verdicts(draft: &mut Draft, evidence: &Evidence<'_>) -> String {
    let report = evidence.gates;
    if report.gates.is_empty() {
        draft.say("No gate was registered, so nothing was accepted or refused.".to_string());
        return "No gate was registered.".to_string();
    }
    let of = |value: &str, at: &str| Fact::new(value, "", GATES_FILE, at);
    let all = draft.fact("gates.verdict", of(report.verdict.name(), "verdict"));
    draft.say(format!("All gates together: {all}."));
    for GateResult { gate, verdict, combinations, .. } in &report.gates {
        let key = |what: &str| format!("gates[name = {}].{what}", gate.name);
        let fact = |what: &str| format!("gate.{}.{what}", gate.name);
        let name = draft.fact(fact("name"), of(&gate.name, &key("name")));
        let metric = draft.fact(fact("metric"), of(&gate.metric, &key("metric")));
        let condition = draft.fact(fact("condition"), of(&gate.condition, &key("condition")));
        let says = draft.fact(fact("verdict"), of(verdict.name(), &key("verdict")));
        let bounds = [("at least", "min", gate.min), ("at most", "max", gate.max)];
        let bounds: Vec<String> = bounds
            .into_iter()
            .filter_map(|(word, end, value)| {
                let citation = draft.fact(fact(end), Fact::new(value?, "", GATES_FILE, &key(end)));
                Some(format!("{word} {citation}"))
            })
            .collect();
        let counts =
            [("pass", Verdict::Pass), ("fail", Verdict::Fail), ("lack evidence", Verdict::InsufficientEvidence)];
        let counts = counts.map(|(word, verdict)| {
            let n = combinations.get(verdict.name()).copied().unwrap_or(0);
            let at = key(&format!("combinations.{}", verdict.name()));
            format!("{} {word}", draft.fact(fact(verdict.name()), Fact::new(n, "", GATES_FILE, &at)))
        });
        draft.say(format!(
            "Gate {name}, {metric} {} under {condition}: {says}; of its combinations of levels {}.",
            bounds.join(" and "),
            counts.join(", ")
        ));
    }
    format!("Gates: {all}.")
}

/// What could be located, for the open items.
#[derive(Default)]
struct Located {
    listed: usize,
    more: usize,
    /// Lines of which no seed, or not every seed, has a boundary within the levels.
    censored: usize,
}

/// Where the constraint of the run flips: all gates together, the only gate, or that a cell is lost.
fn boundaries(draft: &mut Draft, dir: &Path, evidence: &Evidence<'_>) -> Result<Located, ReportError> {
    let path = dir.join(BOUNDARIES_TABLE);
    let mut located = Located::default();
    if !path.is_file() {
        return Ok(located);
    }
    let wrong = |source| ReportError::Table { file: BOUNDARIES_TABLE, source };
    let table = read_table(&path).map_err(|e| wrong(PolarsError::ComputeError(e.to_string().into())))?;
    let constraint = match evidence.sweep.gates.as_slice() {
        [] => LOST,
        [one] => one.name.as_str(),
        _ => ALL_GATES,
    };
    let axes: Vec<&str> = evidence.sweep.axes.iter().map(|axis| axis.path.as_str()).collect();
    for row in 0..table.height() {
        let value = |column: &str| cell(&table, column, row).map_err(wrong);
        if value("constraint")?.as_str() != Some(constraint) || !value("seed")?.is_null() {
            continue;
        }
        let [level, fit] = [value("level")?, value("fit_level")?].map(|level| level.as_f64());
        let (seeds, crossed) = (value("seeds")?.as_u64(), value("crossed")?.as_u64());
        located.censored += usize::from(seeds != crossed && crossed != Some(0));
        let Some(at) = level.or(fit) else { continue };
        if located.listed == MOST_BOUNDARIES {
            located.more += 1;
            continue;
        }
        located.listed += 1;
        let number = located.listed;
        let axis = value("axis")?.as_str().unwrap_or_default().to_string();
        let side = value("side")?.as_str().unwrap_or_default().to_string();
        let mut place = Vec::new();
        for path in axes.iter().filter(|path| **path != axis && **path != "seed") {
            let fixed = value(&param_column(path))?;
            if !fixed.is_null() {
                place.push(format!("{path} = {}", fixed.as_str().map_or_else(|| fixed.to_string(), String::from)));
            }
        }
        let row = [format!("constraint = {constraint}"), format!("axis = {axis}"), format!("side = {side}")];
        let row =
            row.into_iter().chain(place.clone()).chain(["seed is null".to_string()]).collect::<Vec<_>>().join(", ");
        let kind = if level.is_some() { ("level", "interval") } else { ("fit_level", "fit") };
        let [low, high] = ["low", "high"].map(|end| value(&format!("{}_{end}", kind.1)));
        let (low, high) = (low?.as_f64(), high?.as_f64());
        let source = format!("{} where {row}", kind.0);
        let fact = Fact::new(at, "", BOUNDARIES_TABLE, &source).within(low, high);
        let text = |what: &str, value: String| {
            (format!("boundary.{number}.{what}"), Fact::new(value, "", BOUNDARIES_TABLE, &source))
        };
        let edge = draft.fact(format!("boundary.{number}.at"), fact);
        let [along, at] =
            [text("axis", axis), text("where", if place.is_empty() { "everywhere".into() } else { place.join(", ") })]
                .map(|(name, fact)| draft.fact(name, fact));
        let of = draft.fact("boundary.constraint", Fact::new(constraint, "", BOUNDARIES_TABLE, "constraint"));
        let word = if side == "lower" { "below" } else { "above" };
        let estimate = if level.is_some() { "mean over seeds" } else { "fit" };
        draft.say(format!("Along {along}, at {at}, the constraint {of} is violated {word} {edge} ({estimate})."));
    }
    if located.listed == 0 {
        draft.say("No boundary of the constraint lies within the levels that were tried.".to_string());
    }
    Ok(located)
}

/// A value of a table, as JSON.
fn cell(table: &DataFrame, column: &str, row: usize) -> Result<Value, PolarsError> {
    value_at(table.column(column)?, row)
}

/// The cells with the greatest and the least value of some metrics.
fn extremes(draft: &mut Draft, dir: &Path, evidence: &Evidence<'_>) -> Result<(), ReportError> {
    let path = dir.join(CELLS_TABLE);
    if !path.is_file() {
        return Ok(());
    }
    let wrong = |source| ReportError::Table { file: CELLS_TABLE, source };
    let levels = evidence.sweep.axes.iter().map(|axis| (axis.path.as_str(), param_column(&axis.path)));
    let levels: Vec<(&str, String)> = levels.collect();
    let names = EXTREMES.map(metric_column);
    let wanted: Vec<String> =
        levels.iter().map(|(_, column)| column.clone()).chain(names.clone()).chain(["cell_id".to_string()]).collect();
    let table = read_columns(&path, &wanted).map_err(|e| wrong(PolarsError::ComputeError(e.to_string().into())))?;
    for (metric, column) in EXTREMES.into_iter().zip(&names) {
        let values = table.column(column).and_then(|values| values.f64()).map_err(wrong)?;
        let known = || values.iter().enumerate().filter_map(|(row, value)| Some((row, value?)));
        let best = known().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        let worst = known().min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        let named = draft.fact(format!("metric.{metric}.name"), Fact::new(metric, "", CELLS_TABLE, column));
        let mut sides = Vec::new();
        for (word, found) in [("greatest", best), ("least", worst)] {
            let Some((row, value)) = found else { continue };
            let id = cell(&table, "cell_id", row).map_err(wrong)?.as_str().unwrap_or_default().to_string();
            let mut place = Vec::new();
            for (path, column) in &levels {
                place.push(format!("{path} = {}", cell(&table, column, row).map_err(wrong)?));
            }
            let at = format!("{column} where cell_id = {id}");
            let mut of = |what: &str, value: Value, at: &str| {
                draft.fact(format!("cell.{word}.{metric}.{what}"), Fact::new(value, "", CELLS_TABLE, at))
            };
            let value = of("value", value.into(), &at);
            let at = of("where", place.join(", ").into(), &format!("param_* where cell_id = {id}"));
            let id = of("id", id.clone().into(), "cell_id");
            sides.push(format!("{value} is the {word} of {named}, of cell {id} at {at}"));
        }
        if !sides.is_empty() {
            draft.say(format!("{}.", sides.join("; ")));
        }
    }
    Ok(())
}

/// What was checked of the program and which controls are on.
fn checks(draft: &mut Draft, evidence: &Evidence<'_>, risks: &RiskLog) {
    if let Some(check) = evidence.manifest.more.get("gradcheck") {
        let mut of = |name: &str, value: Value, unit: &str, at: &str| {
            draft.fact(name, Fact::new(value, unit, MANIFEST_FILE, at))
        };
        let passed = check["passed"] == true;
        of("gradcheck.passed", passed.into(), "", "gradcheck.passed");
        let n = of("gradcheck.checks", check["checks"].clone(), "comparisons", "gradcheck.checks");
        let worst = check["worst_share_of_tolerance"].clone();
        let worst = of("gradcheck.worst", worst, "of its tolerance", "gradcheck.worst_share_of_tolerance");
        let word = if passed { "right" } else { "wrong" };
        draft.say(format!("Before training the gradients were found {word} in {n}; the worst used {worst}."));
    }
    let controls = risks.controls();
    let on = controls.iter().filter(|control| control.reading.on).count();
    let at = "risks[*].controls[*], each control once";
    let all = draft.fact("controls.all", Fact::new(controls.len(), "controls", RISK_LOG_FILE, at));
    let on = draft.fact("controls.on", Fact::new(on, "", RISK_LOG_FILE, &format!("{at}: those that are on")));
    draft.say(format!("{on} of {all} are on."));
}

fn assumptions(evidence: &Evidence<'_>) -> Vec<String> {
    let sweep = evidence.sweep;
    let any = |has: &dyn Fn(&crate::spec::Config) -> bool| sweep.cells.iter().any(|cell| has(&cell.config));
    let cases = [
        (true, "The world is synthetic: five known factors, rendered as small images and as sentences of a grammar."),
        (
            true,
            "Both encoders are two-layer networks trained from scratch: mechanisms are shown, not sizes of effects in \
                large models.",
        ),
        (
            any(&|c| c.image != Default::default() || c.text != Default::default()),
            "What disturbs images and sentences is drawn independently of the factors, as real disturbances need not be.",
        ),
        (
            any(&|c| c.pairing.rate > 0.0),
            "Wrong pairs are made at random among samples, or as the spec's kind says; real mistakes may follow meaning.",
        ),
        (
            any(&|c| c.confounder.strength > 0.0),
            "The confounder is planted and known; what real data share beside meaning is neither.",
        ),
        (
            any(&|c| c.panel == Panel::Full),
            "Information and canonical correlations are proxies: of three principal components and of a ridge, with \
             permutation nulls.",
        ),
        (
            any(&|c| LIMITS.iter().any(|l| l.act == Stop && l.threshold(c).is_some())),
            "A cell counts as collapsed where a stop rule says so: the thresholds are choices of the spec.",
        ),
        (
            true,
            "Verdicts, boundaries and intervals are about the seeds that ran; between two levels a metric is taken to \
                change evenly.",
        ),
    ];
    cases.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text.to_string()).collect()
}

fn open_items(evidence: &Evidence<'_>, risks: &RiskLog, located: &Located) -> Vec<String> {
    let (sweep, manifest, gates) = (evidence.sweep, evidence.manifest, evidence.gates);
    let mut items = vec![VERIFICATION_STATEMENT.to_string()];
    let seeds = seeds(sweep);
    if seeds < FEW_SEEDS {
        items.push(format!("Intervals over {seeds} seeds hold the mean less often than 95 in 100 times: more seeds."));
    }
    if gates.gates.is_empty() {
        items.push("No gate was registered: what would be acceptable is not written down.".to_string());
    }
    for result in &gates.gates {
        match result.verdict {
            Verdict::Pass => {}
            Verdict::Fail => {
                items.push(format!("Gate {} fails: whether that is acceptable is for a person.", result.gate.name))
            }
            Verdict::InsufficientEvidence => items.push(format!("Gate {} lacks evidence.", result.gate.name)),
        }
    }
    let n = |status: &str| manifest.cells.by_status.get(status).copied().unwrap_or(0);
    let finished = n("ok") + n("collapsed") + n("diverged");
    if finished < manifest.cells.planned {
        let missing = manifest.cells.planned - finished;
        items.push(format!("{missing} of {} cells have no result.", manifest.cells.planned));
    }
    if located.censored > 0 {
        items
            .push(format!("On {} lines some seeds have their boundary outside of the levels tried.", located.censored));
    }
    if located.more > 0 {
        items.push(format!("{} boundaries are in {BOUNDARIES_TABLE} alone.", located.more));
    }
    if sweep.cells.iter().any(|cell| cell.config.panel == Panel::Fast) {
        items.push("Some cells have the fast panel: no nulls, no information, no sensitivity.".to_string());
    }
    let off: Vec<&str> = risks.controls().iter().filter(|c| !c.reading.on).map(|control| control.id).collect();
    if !off.is_empty() {
        items.push(format!("Controls that are off: {}; see {RISK_LOG_FILE}.", off.join(", ")));
    }
    items
}

/// What to ask before anything is concluded about another system.
const QUESTIONS: [&str; 4] = [
    "Do the boundaries lie at comparable places for encoders and data of the system in question?",
    "Which of its disturbances are like those that were swept here, and which are not?",
    "Which confounders can its data carry, and does an evaluation without them give the same ranking?",
    "Who reviews these results, and what would make them refuse?",
];

#[cfg(test)]
mod tests;
