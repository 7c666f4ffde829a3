//! `report.json`: the strict report of a run.

mod places;
mod words;

use std::collections::BTreeMap;
use std::path::Path;

use polars_core::prelude::PolarsError;
use serde_json::Value;
use thiserror::Error;

use super::evidence::Evidence;
use super::risk_log::{RISK_LOG_FILE, RiskLog};
use crate::analysis::StopRules;
use crate::analysis::gate::{GateResult, Verdict};
use crate::store::strict_report::{NOT_VERIFIED, cite};
use crate::store::{Fact, MANIFEST_FILE, RunState, SPEC_FILE, StrictReport, VERIFICATION_STATEMENT};
use places::{boundaries, extremes};
use words::{assumptions, open_items};

/// Its name in a directory.
pub const RUN_REPORT_FILE: &str = "report.json";

const GATES_FILE: &str = "gates.json";

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
    let ruled = match StopRules::of(evidence.sweep).cells {
        0 => "No stop rule is on, so no cell can be called collapsed. ",
        _ => "",
    };
    let text = format!(
        "The sweep {} trained {} of {}: {} ok, {} collapsed, {} diverged, {} failed. {ruled}{judged} \
         {VERIFICATION_STATEMENT}",
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
    let rules = StopRules::of(evidence.sweep);
    let at = "the axes and the section stop: cells in which a rule is on";
    let ruled = draft.fact("stop_rules.cells", Fact::new(rules.cells, "cells", SPEC_FILE, at));
    let can = if rules.cells == 0 { "no cell can be called collapsed" } else { "only these can be called collapsed" };
    draft.say(format!("A stop rule is on in {ruled}: {can}."));
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
        let doubt = match check["inconclusive"].as_u64() {
            Some(count) if count > 0 => {
                let some = of("gradcheck.inconclusive", count.into(), "comparisons", "gradcheck.inconclusive");
                format!(" {some} cannot tell a fault from rounding.")
            }
            _ => String::new(),
        };
        draft.say(format!("Before training the gradients were found {word} in {n}; the worst used {worst}.{doubt}"));
    }
    let controls = risks.controls();
    let on = controls.iter().filter(|control| control.reading.on).count();
    let at = "risks[*].controls[*], each control once";
    let all = draft.fact("controls.all", Fact::new(controls.len(), "controls", RISK_LOG_FILE, at));
    let on = draft.fact("controls.on", Fact::new(on, "", RISK_LOG_FILE, &format!("{at}: those that are on")));
    draft.say(format!("{on} of {all} are on."));
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
