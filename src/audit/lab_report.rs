//! The risk log and the strict report of a laboratory: those of its runs together, and what was expected of them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::risk_log::{RISK_LOG_FILE, RISK_LOG_VERSION, RiskLog};
use crate::lab::{Finding, LAB_FILE, LabDocument, PILOT_SEEDS, Standing, Verdict};
use crate::store::strict_report::{NOT_VERIFIED, cite};
use crate::store::{Fact, StoreError, StrictReport, VERIFICATION_STATEMENT, write_replaceable};

/// `risk_log.json` of a laboratory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabRiskLog {
    pub format: &'static str,
    pub version: u64,
    pub laboratory: &'static str,
    pub risks: Vec<LabRisk>,
    pub verification_status: &'static str,
    pub verification_statement: &'static str,
}

/// One risk over all runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabRisk {
    pub id: &'static str,
    pub name: &'static str,
    pub why: &'static str,
    pub controls: Vec<LabControl>,
    pub open_items: Vec<String>,
}

/// One control over all runs; the run's own log says what shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabControl {
    pub id: &'static str,
    pub what: &'static str,
    pub on_in: Vec<String>,
    pub off_in: Vec<String>,
}

/// The risk logs of a laboratory's runs, by run, as one.
pub fn lab_risk_log(laboratory: &'static str, runs: &[(&str, RiskLog)]) -> LabRiskLog {
    let risk = |at: usize, first: &super::RiskEntry| {
        let control = |control: &super::ControlState| {
            let on =
                |log: &RiskLog| log.risks[at].controls.iter().any(|other| other.id == control.id && other.reading.on);
            let (on_in, off_in) = runs.iter().partition::<Vec<_>, _>(|(_, log)| on(log));
            let names = |runs: Vec<&(&str, RiskLog)>| runs.into_iter().map(|(name, _)| (*name).to_string()).collect();
            LabControl { id: control.id, what: control.what, on_in: names(on_in), off_in: names(off_in) }
        };
        let controls: Vec<LabControl> = first.controls.iter().map(control).collect();
        // What each run adds is of its own controls; what is open of the risk itself is the same in all.
        let mut open_items: Vec<String> = first
            .open_items
            .iter()
            .filter(|item| runs.iter().all(|(_, log)| log.risks[at].open_items.contains(item)))
            .cloned()
            .collect();
        let nowhere: Vec<&str> = controls.iter().filter(|c| c.on_in.is_empty()).map(|c| c.id).collect();
        if !nowhere.is_empty() {
            open_items.push(format!("In no run of this laboratory on for every cell: {}.", nowhere.join(", ")));
        }
        LabRisk { id: first.id, name: first.name, why: first.why, controls, open_items }
    };
    let risks = runs.first().map_or(&[][..], |(_, log)| &log.risks);
    LabRiskLog {
        format: "cliffline-lab-risk-log",
        version: RISK_LOG_VERSION,
        laboratory,
        risks: risks.iter().enumerate().map(|(at, first)| risk(at, first)).collect(),
        verification_status: NOT_VERIFIED,
        verification_statement: VERIFICATION_STATEMENT,
    }
}

/// Writes it into `dir`.
///
/// # Errors
/// [`StoreError::Io`].
pub fn write_lab_risk_log(dir: &Path, log: &LabRiskLog) -> Result<(), StoreError> {
    let mut text = serde_json::to_vec_pretty(log).expect("plain data");
    text.push(b'\n');
    write_replaceable(&dir.join(RISK_LOG_FILE), |out| out.write_all(&text))
}

/// The strict report of a laboratory.
pub fn lab_report(lab: &LabDocument, risks: &LabRiskLog) -> StrictReport {
    let mut facts = BTreeMap::new();
    let mut fact = |name: String, fact: Fact| {
        let citation = cite(&name);
        facts.insert(name, fact);
        citation
    };
    let of = |value: serde_json::Value, unit: &str, at: &str| Fact::new(value, unit, LAB_FILE, at);
    let mut said = standing(lab, &mut fact);
    let families = fact("families".into(), of(lab.families.len().into(), "runs", "families: how many"));
    let findings = fact("findings".into(), of(lab.findings.len().into(), "sentences", "findings: how many"));
    let mut counts = Vec::new();
    for verdict in Verdict::ALL {
        let n = lab.verdicts.get(&verdict).copied().unwrap_or(0);
        let name = format!("findings.{}", verdict.words().replace(' ', "_"));
        counts.push(format!("{} {}", fact(name.clone(), of(n.into(), "", &name)), verdict.words()));
    }
    said.push(format!("{families} were made, and {findings} judged by them: {}.", counts.join(", ")));
    for family in lab.families.iter().filter(|family| family.acceptance.is_some()) {
        let verdict = family.acceptance.clone().unwrap_or_default();
        let at = format!("families[sweep = {}].acceptance", family.sweep);
        let cited = fact(format!("acceptance.{}", family.sweep), of(verdict.into(), "", &at));
        said.push(format!("The gates of acceptance of {}: {cited}.", family.title));
    }
    said.extend(lab.findings.iter().map(|finding| sentence(finding, &mut fact)));
    if let Some(attribution) = &lab.attribution {
        for view in &attribution.views {
            let Some(share) = view.balanced_accuracy else { continue };
            let name = format!("attribution.{}.balanced_accuracy", view.view.words().replace(' ', "_"));
            let at = format!("attribution.views[view = {}].balanced_accuracy", view.view.words());
            let cited = fact(name, of(share.mean.into(), "", &at).within(share.low, share.high));
            said.push(format!("Attribution by {} has a balanced accuracy of {cited}.", view.view.words()));
        }
    }
    let mut report = StrictReport {
        facts_provided: facts,
        assumptions: ASSUMPTIONS.map(String::from).into_iter().chain([pilots(lab)]).collect(),
        open_items: open_items(lab, risks),
        analysis: said.join("\n"),
        draft_output: String::new(),
        verification_status: NOT_VERIFIED.to_string(),
        questions_to_verify: QUESTIONS.map(String::from).to_vec(),
    };
    let changed = if lab.changed.is_empty() { String::new() } else { format!("Changed: {}. ", lab.changed.join("; ")) };
    let exploratory = match lab.standing {
        Standing::Registered => String::new(),
        Standing::Exploratory => format!("Its verdicts are exploratory: {}. ", lab.why_exploratory.join("; ")),
    };
    let text = format!(
        "{changed}{exploratory}{}: {families}; of {findings} {}. {VERIFICATION_STATEMENT}",
        lab.title,
        counts.join(", ")
    );
    report.draft_output = report.resolve(&text);
    report
}

/// What was changed, how the verdicts are to be read, and by what they were to be judged: the first sentences.
fn standing(lab: &LabDocument, fact: &mut impl FnMut(String, Fact) -> String) -> Vec<String> {
    let mut text = |name: String, value: &str, at: &str| fact(name, Fact::new(value, "", LAB_FILE, at));
    let mut said = Vec::new();
    for (n, change) in lab.changed.iter().enumerate() {
        let cited = text(format!("changed.{n}"), change, &format!("changed[{n}]"));
        said.push(format!("Changed on the command line: {cited}."));
    }
    let word = text("standing".into(), lab.standing.word(), "standing");
    said.push(format!("The standing of every verdict: {word}."));
    for (n, why) in lab.why_exploratory.iter().enumerate() {
        let cited = text(format!("why_exploratory.{n}"), why, &format!("why_exploratory[{n}]"));
        said.push(format!("Why: {cited}."));
    }
    let hash = text("registration.blake3".into(), &lab.registration.blake3, "registration.blake3");
    let utc = text("registration.recorded_utc".into(), &lab.registration.recorded_utc, "registration.recorded_utc");
    said.push(format!("What is judged and by what has the hash {hash} and was recorded at {utc}."));
    let taken = Fact::new(lab.cells_taken_over, "cells", LAB_FILE, "cells_taken_over");
    let taken = fact("cells_taken_over".into(), taken);
    said.push(format!(
        "Taken over from runs outside of this laboratory, which may have been made before that: {taken}."
    ));
    said
}

/// What the thresholds were chosen from.
fn pilots(lab: &LabDocument) -> String {
    let used = lab.registration.seeds().into_iter().filter(|seed| PILOT_SEEDS.contains(seed)).count();
    let used =
        if used == 0 { "none of which is used here".to_string() } else { format!("{used} of which are used here") };
    let (first, last) = (PILOT_SEEDS.start(), PILOT_SEEDS.end());
    format!("The smallest differences that matter were chosen from the seeds {first} to {last}, {used}.")
}

/// The result of one expectation, with its facts.
fn sentence(finding: &Finding, fact: &mut impl FnMut(String, Fact) -> String) -> String {
    let name = |what: &str| format!("finding.{}.{what}", finding.name);
    let at = |what: &str| format!("findings[name = {}].{what}", finding.name);
    let mut text = |what: &str, value: &str| fact(name(what), Fact::new(value, "", LAB_FILE, &at(what)));
    let (says, quantity) = (text("says", finding.says), text("quantity", &finding.quantity));
    let verdict = text("verdict", &finding.verdict_words());
    let origin = text("origin", finding.origin.words());
    let mut number = |what: &str, value: f64| fact(name(what), Fact::new(value, finding.unit, LAB_FILE, &at(what)));
    let matters = number("matters", finding.matters);
    let expected = finding.expects.words();
    let Some(difference) = finding.difference else {
        return format!("{says} Of {origin}. Verdict: {verdict}; {quantity} has too few values.");
    };
    let measured = Fact::new(difference, finding.unit, LAB_FILE, &at("difference")).within(finding.low, finding.high);
    let measured = fact(name("difference"), measured);
    let seeds = fact(name("seeds"), Fact::new(finding.seeds, "seeds", LAB_FILE, &at("seeds")));
    format!(
        "{says} Of {origin}. Verdict: {verdict}; {quantity} differs by {measured} over {seeds}, expected {expected}, where {matters} matters."
    )
}

const ASSUMPTIONS: [&str; 4] = [
    "The world is synthetic: factors, renderer, grammar and every failure are planted and known.",
    "Encoders are two-layer networks; what they do under a knob need not be what larger ones do.",
    "Seeds stand for one another: an interval is over seeds of this world, not over worlds.",
    "Information and canonical correlations are proxies with biases of their own, read beside permutation nulls.",
];

const QUESTIONS: [&str; 4] = [
    "Which of these findings hold for encoders that are trained on real images and texts?",
    "Which shortcuts, and which patterns of wrong pairs, are plausible in the data at hand?",
    "Do the differences that matter here matter for the task at hand?",
    "Would other worlds, with other factors and noise, decide these sentences alike?",
];

/// What this laboratory leaves open.
fn open_items(lab: &LabDocument, risks: &LabRiskLog) -> Vec<String> {
    let mut open = vec![VERIFICATION_STATEMENT.to_string()];
    if lab.standing == Standing::Exploratory {
        open.push(format!("The verdicts are exploratory: {}.", lab.why_exploratory.join("; ")));
    }
    if lab.quick {
        open.push("This is the quick version: intervals are wide, and rest on few seeds.".to_string());
    }
    let of = |verdict: Verdict| lab.findings.iter().filter(move |f| f.verdict == verdict).map(|f| f.name);
    for verdict in [Verdict::Undecided, Verdict::NotMeasured] {
        let names: Vec<&str> = of(verdict).collect();
        if !names.is_empty() {
            open.push(format!("{}: {}.", verdict.words(), names.join(", ")));
        }
    }
    open.push("Intervals are of single tests; with as many as here some exclude an effect by chance.".to_string());
    open.extend(lab.attribution_missing.iter().map(|why| format!("Nothing is attributed: {why}.")));
    for item in risks.risks.iter().flat_map(|risk| &risk.open_items) {
        if !open.contains(item) {
            open.push(item.clone());
        }
    }
    open
}

#[cfg(test)]
mod tests;
