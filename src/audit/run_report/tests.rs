use serde_json::json;

use super::*;
use crate::analysis::gate::{GateReport, evaluate};
use crate::analysis::{columns_of_cells, columns_of_conditions};
use crate::audit::risk_log;
use crate::spec::{Overrides, Sweep, from_str};
use crate::store::strict_report::violations;
use crate::store::{CELLS_TABLE, CONDITIONS_TABLE, RunManifest, STRICT_REPORT_SCHEMA, read_columns};

const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results/published/collapse");

fn published() -> (Sweep, RunManifest, GateReport) {
    let dir = Path::new(RUN);
    let spec = std::fs::read_to_string(dir.join(SPEC_FILE)).unwrap();
    let sweep = from_str(&spec, SPEC_FILE, &Overrides::default()).unwrap();
    let manifest = RunManifest::read(dir).unwrap().unwrap();
    let cells = read_columns(&dir.join(CELLS_TABLE), &columns_of_cells(&sweep.gates)).unwrap();
    let conditions = read_columns(&dir.join(CONDITIONS_TABLE), &columns_of_conditions(&sweep.gates)).unwrap();
    let gates = evaluate(&sweep, &cells, &conditions).unwrap();
    (sweep, manifest, gates)
}

fn report(dir: &Path, (sweep, manifest, gates): &(Sweep, RunManifest, GateReport)) -> StrictReport {
    let evidence = Evidence { sweep, manifest, gates };
    run_report(dir, &evidence, &risk_log(&evidence)).unwrap()
}

#[test]
fn the_published_run_has_a_strict_report_of_its_facts() {
    let published = published();
    let report = report(Path::new(RUN), &published);
    assert_eq!(report.problems(), Vec::<String>::new());
    let schema: Value = serde_json::from_str(STRICT_REPORT_SCHEMA).unwrap();
    assert_eq!(violations(&schema, &serde_json::to_value(&report).unwrap()), Vec::<String>::new());
    let facts = &report.facts_provided;
    assert_eq!(facts["cells.planned"].value, 128);
    assert_eq!(facts["cells.collapsed"].value, 11);
    assert_eq!(facts["cells.finished"].value, 128);
    assert_eq!(facts["stop_rules.cells"].value, 128);
    assert!(report.analysis.contains("A stop rule is on in {fact:stop_rules.cells}: only these can"));
    assert!(!report.draft_output.contains("stop rule"));
    assert_eq!(facts["gate.rank-img.verdict"].value, "fail");
    assert_eq!(facts["gate.rank-img.pass"].value, 14);
    assert_eq!(facts["gradcheck.passed"].value, true);
    // The README's table: at a learning rate of 0.1 the lower boundary is near 0.023.
    let low = facts.iter().find(|(name, fact)| {
        name.starts_with("boundary.")
            && fact.source.at.contains("side = lower")
            && fact.source.at.contains("learning_rate = 0.1,")
    });
    let (name, fact) = low.expect("a lower boundary at 0.1");
    let [from, to] = fact.interval.expect("an interval");
    let at = fact.value.as_f64().unwrap();
    assert!(from < at && at < to && (0.015..0.035).contains(&at), "{name}: {fact:?}");
    let best = facts["cell.greatest.retrieval_at_1_i2t.value"].value.as_f64().unwrap();
    let worst = facts["cell.least.retrieval_at_1_i2t.value"].value.as_f64().unwrap();
    assert!(best > 0.9 && worst < 0.2, "{best} {worst}");
    assert!(report.draft_output.starts_with("The sweep collapse trained 128 of 128 cells: 117 ok, 11 collapsed"));
    assert!(report.draft_output.ends_with(VERIFICATION_STATEMENT));
}

#[test]
fn every_fact_stands_where_it_says() {
    let report = report(Path::new(RUN), &published());
    let manifest: Value = serde_json::from_slice(&std::fs::read(Path::new(RUN).join(MANIFEST_FILE)).unwrap()).unwrap();
    let mut followed = 0;
    for (name, fact) in report.facts_provided.iter().filter(|(_, fact)| fact.source.file == MANIFEST_FILE) {
        if fact.source.at.contains(' ') {
            continue;
        }
        let pointer = format!("/{}", fact.source.at.replace('.', "/"));
        assert_eq!(manifest.pointer(&pointer), Some(&fact.value), "{name}");
        followed += 1;
    }
    assert!(followed > 10, "{followed}");
    let beyond = |file: &str| !Path::new(RUN).join(file).is_file() && file != RISK_LOG_FILE;
    let lost: Vec<_> = report.facts_provided.values().filter(|fact| beyond(&fact.source.file)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn what_is_assumed_and_open_is_of_this_run() {
    let mut run = published();
    let of = |report: StrictReport| (report.assumptions.join("\n"), report.open_items.join("\n"));
    let (assumed, open) = of(report(Path::new(RUN), &run));
    assert!(assumed.contains("a stop rule says so") && !assumed.contains("confounder"), "{assumed}");
    for expected in
        [VERIFICATION_STATEMENT, "Intervals over 4 seeds", "Gate rank-img fails", "fast panel", "clipped-gradients"]
    {
        assert!(open.contains(expected), "{expected}: {open}");
    }
    assert!(!open.contains("have no result") && !open.contains("No gate was registered"), "{open}");
    // The same run, interrupted, without gates, with a confounder in half of its cells.
    run.1.state = RunState::Interrupted;
    run.1.cells.by_status.insert("ok".into(), 100);
    run.0.gates.clear();
    run.2.gates.clear();
    run.0.cells[0].config.confounder.strength = 0.5;
    run.0.cells.iter_mut().for_each(|cell| cell.config.stop = Default::default());
    let nothing = tempfile::tempdir().unwrap();
    let report = report(nothing.path(), &run);
    assert_eq!(report.problems(), Vec::<String>::new());
    assert!(report.analysis.contains("No gate was registered"));
    assert_eq!(report.facts_provided["stop_rules.cells"].value, 0);
    assert!(report.analysis.contains("no cell can be called collapsed"));
    assert!(report.draft_output.contains("No stop rule is on, so no cell can be called collapsed."));
    let (assumed, open) = of(report);
    assert!(assumed.contains("The confounder is planted"), "{assumed}");
    assert!(open.contains("17 of 128 cells have no result") && open.contains("No gate was registered"), "{open}");
}

#[test]
fn names_and_levels_with_digits_are_cited_too() {
    let (mut sweep, mut manifest, mut gates) = published();
    let name = "retrieval-at-5-of-2-ways".to_string();
    sweep.gates[0].name.clone_from(&name);
    gates.gates[0].gate.name = name;
    manifest.sweep = "run-42".to_string();
    let report = report(Path::new(RUN), &(sweep, manifest, gates));
    assert_eq!(report.problems(), Vec::<String>::new());
    assert_eq!(report.facts_provided["run.sweep"].value, json!("run-42"));
    assert!(report.facts_provided.contains_key("gate.retrieval-at-5-of-2-ways.verdict"));
}
