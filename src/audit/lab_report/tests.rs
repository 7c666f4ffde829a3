use serde_json::json;

use super::*;
use crate::audit::{ControlState, Reading, RiskEntry};
use crate::lab::{Changes, Expect, Origin, Registration, SeedPair};

fn risk_log(on: bool) -> RiskLog {
    let reading = Reading::new(on, "it is");
    let control = ControlState { id: "clip", what: "clips", implemented_by: &[], reading };
    let open_items = vec!["whatever it is".to_string()];
    let entry = RiskEntry {
        id: "dominance",
        name: "Dominance",
        why: "it is bad",
        controls_on: 1,
        controls: vec![control],
        open_items,
    };
    RiskLog {
        format: "f",
        version: 1,
        run_id: "r".into(),
        sweep: "s".into(),
        risks: vec![entry],
        verification_status: NOT_VERIFIED,
        verification_statement: VERIFICATION_STATEMENT,
    }
}

fn finding(name: &'static str, verdict: Verdict) -> Finding {
    let measured = verdict != Verdict::NotMeasured;
    let number = |x: f64| measured.then_some(x);
    Finding {
        name,
        origin: Origin::Says,
        source: "§1",
        says: "At 5% of wrong pairs nothing changes.",
        family: "f",
        quantity: "retrieval_at_1, mean of both".into(),
        unit: "share",
        at: BTreeMap::new(),
        at_condition: "clean",
        against: BTreeMap::new(),
        against_condition: "clean",
        expects: Expect::Same,
        matters: 0.02,
        seeds: 3,
        without_value: 0,
        mean_at: number(0.9),
        mean_against: number(0.8),
        difference: number(0.1),
        low: number(0.05),
        high: number(0.15),
        verdict,
        standing: Standing::Registered,
        explanation: None,
        pairs: vec![SeedPair { seed: 0, at: 0.9, against: 0.8 }],
    }
}

fn lab() -> LabDocument {
    let findings = vec![finding("a-1", Verdict::Disagrees), finding("b", Verdict::NotMeasured)];
    LabDocument {
        format: "f",
        version: 1,
        laboratory: "geometry",
        standing: Standing::Registered,
        why_exploratory: Vec::new(),
        changed: Vec::new(),
        cells_taken_over: 0,
        registration: Registration {
            changes: Changes::default(),
            families: Vec::new(),
            sentences: Vec::new(),
            pilot_seeds: PILOT_SEEDS.collect(),
            blake3: "ab".repeat(32),
            recorded_utc: "2026-11-20T10:00:00Z".into(),
            cells_before: 0,
            changed_utc: None,
        },
        title: "The geometry laboratory",
        source: "a book",
        about: "it",
        quick: true,
        complete: true,
        checks: json!({}),
        families: Vec::new(),
        verdicts: findings.iter().map(|f| (f.verdict, 1)).collect(),
        findings,
        attribution: None,
        attribution_missing: None,
        verification_statement: VERIFICATION_STATEMENT,
    }
}

#[test]
fn a_control_is_listed_with_the_runs_that_have_it() {
    let log = lab_risk_log("geometry", &[("one", risk_log(true)), ("two", risk_log(false))]);
    let control = &log.risks[0].controls[0];
    assert_eq!((&control.on_in, &control.off_in), (&vec!["one".to_string()], &vec!["two".to_string()]));
    assert_eq!(log.risks[0].open_items, ["whatever it is"]);
    let nowhere = lab_risk_log("geometry", &[("two", risk_log(false))]);
    assert_eq!(nowhere.risks[0].open_items[1], "In no run of this laboratory on for every cell: clip.");
    assert!(lab_risk_log("geometry", &[]).risks.is_empty());
}

#[test]
fn every_number_of_the_analysis_is_a_fact() {
    let report = lab_report(&lab(), &lab_risk_log("geometry", &[("two", risk_log(false))]));
    assert_eq!(report.problems(), Vec::<String>::new());
    let fact = &report.facts_provided["finding.a-1.difference"];
    assert_eq!((fact.value.as_f64(), fact.interval), (Some(0.1), Some([0.05, 0.15])));
    assert_eq!(fact.source.at, "findings[name = a-1].difference");
    let text = report.resolve(&report.analysis);
    assert!(
        text.contains(
            "Verdict: disagrees; retrieval_at_1, mean of both differs by 0.1 share [0.05, 0.15] over 3 seeds"
        ),
        "{text}"
    );
    assert!(text.contains("Verdict: not measured; retrieval_at_1, mean of both has too few values."), "{text}");
    assert!(report.open_items.iter().any(|item| item == "not measured: b."));
}

#[test]
fn what_was_changed_comes_first_and_says_how_to_read_the_rest() {
    let mut changed = lab();
    changed.standing = Standing::Exploratory;
    changed.changed = vec!["--set train.momentum=0.5".to_string(), "--axis seed=101,102,103".to_string()];
    changed.why_exploratory = vec!["it uses the seeds 101, 102, 103".to_string()];
    changed.findings.iter_mut().for_each(|finding| finding.standing = Standing::Exploratory);
    let report = lab_report(&changed, &lab_risk_log("geometry", &[]));
    assert_eq!(report.problems(), Vec::<String>::new());
    let text = report.resolve(&report.analysis);
    let first = "Changed on the command line: --set train.momentum=0.5.\nChanged on the command line: --axis seed=101,102,103.\n\
                 The standing of every verdict: exploratory.\nWhy: it uses the seeds 101, 102, 103.";
    assert!(text.starts_with(first), "{text}");
    assert!(text.contains("Verdict: disagrees (exploratory);"), "{text}");
    assert!(
        report
            .draft_output
            .starts_with("Changed: --set train.momentum=0.5; --axis seed=101,102,103. Its verdicts are ")
    );
    assert_eq!(report.open_items[1], "The verdicts are exploratory: it uses the seeds 101, 102, 103.");
    // A laboratory as it is written says when it was registered, and that no threshold is of its seeds.
    let own = lab_report(&lab(), &lab_risk_log("geometry", &[]));
    let text = own.resolve(&own.analysis);
    assert!(text.starts_with("The standing of every verdict: registered."), "{text}");
    assert!(!own.draft_output.contains("xploratory"), "{}", own.draft_output);
    assert!(own.assumptions.last().expect("one").ends_with("100 to 115, none of which is used here."));
}
