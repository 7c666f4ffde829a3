use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::analysis::gate::{GateReport, evaluate};
use crate::audit::evidence::{GATES_CHANGED, Read};
use crate::spec::{Overrides, PARAMS, Sweep, from_str};
use crate::store::{Code, EXEMPLARS_TABLE, Environment, RunManifest, TableBytes};
use polars_core::prelude::{DataFrame, NamedFrom, Series};

fn sweep(text: &str) -> Sweep {
    let text = format!("name = \"t\"\npreset = \"tiny\"\n{text}");
    from_str(&text, "t.toml", &Overrides::default()).unwrap_or_else(|e| panic!("{text}\n{e:?}"))
}

/// A manifest as a run of this sweep begins with.
fn manifest(sweep: &Sweep) -> RunManifest {
    let environment = Environment::detect("flex", None, None);
    let spec = serde_json::Value::Null;
    let mut manifest = RunManifest::begin(&sweep.name, &sweep.hash(), spec, "n2 flex", environment, Code::default());
    let thresholds = sweep.gates.iter().map(|gate| (format!("gate.{}", gate.name), json!(gate)));
    manifest.thresholds.extend(thresholds);
    manifest
}

/// The verdicts of a run without finished cells.
fn verdicts(sweep: &Sweep) -> GateReport {
    let none = |name: &str| Series::new(name.into(), Vec::<String>::new()).into();
    let empty = DataFrame::new_infer_height(["cell_id", "status", "condition"].map(none).into()).unwrap();
    evaluate(sweep, &empty, &empty).unwrap()
}

fn reading(id: &str, sweep: &Sweep, manifest: &RunManifest) -> Reading {
    let gates = verdicts(sweep);
    let evidence = Evidence { sweep, manifest, gates: &gates };
    CONTROLS.iter().find(|control| control.id == id).expect("a control").read.of(&evidence)
}

fn reads(id: &str, text: &str) -> Reading {
    let sweep = sweep(text);
    reading(id, &sweep, &manifest(&sweep))
}

const GATE: &str = "[[gate]]\nmetric = \"retrieval_at_1_i2t\"\nmin = 0.5\n";

/// A spec that switches a control on, and one like it that leaves it off.
const SPECS: &[(&str, &str, &str)] = &[
    (
        "confounder-ablated",
        "[[condition]]\nname = \"c\"\n\"confounder.strength\" = 0.0\n",
        "[[condition]]\nname = \"c\"\n\"confounder.strength\" = 0.5\n",
    ),
    (
        "confounder-randomised",
        "[[condition]]\nname = \"c\"\n\"confounder.randomised\" = true\n",
        "[[condition]]\nname = \"c\"\n\"image.noise\" = 0.5\n",
    ),
    (
        "gate-without-shortcut",
        "[[condition]]\nname = \"c\"\n\"confounder.strength\" = 0.0\n[[gate]]\nmetric = \"retrieval_at_1_i2t\"\nmin = 0.5\n\
         condition = \"c\"\n",
        "[[condition]]\nname = \"c\"\n\"confounder.strength\" = 0.0\n[[gate]]\nmetric = \"retrieval_at_1_i2t\"\nmin = 0.5\n",
    ),
    ("gate-on-semantics", "[[gate]]\nmetric = \"separability_shape_img\"\nmin = 0.1\n", GATE),
    ("probes-with-nulls", "panel = \"full\"\n", "panel = \"fast\"\n"),
    ("sensitivity-measured", "panel = \"full\"\n", "[axes]\npanel = [\"fast\", \"full\"]\n"),
    ("symmetric-loss", "", "[train]\nweight_i2t = 0.9\nweight_t2i = 0.1\n"),
    ("clipped-gradients", "[train]\nclip_norm = 1.0\n", "[axes]\n\"train.clip_norm\" = [0.0, 1.0]\n"),
    ("balanced-losses", "[train]\nbalance = 0.5\n", ""),
    ("gate-on-symmetry", "[[gate]]\nmetric = \"symmetry_gap_at_1\"\nmax = 0.2\n", GATE),
    (
        "gates-both-ways",
        "[[gate]]\nmetric = \"retrieval_at_1_i2t\"\nmin = 0.5\n[[gate]]\nmetric = \"retrieval_at_1_t2i\"\nmin = 0.5\n",
        GATE,
    ),
    ("stop-on-asymmetry", "[stop]\nsymmetry_gap_above = 0.3\n", "[warn]\nsymmetry_gap_above = 0.3\n"),
    ("warn-on-asymmetry", "[warn]\nsymmetry_gap_above = 0.3\n", "[stop]\nsymmetry_gap_above = 0.3\n"),
    ("operators-swept", "[axes]\n\"image.noise\" = [0.0, 0.5]\n", "[axes]\n\"image.noise\" = [0.5]\n"),
    (
        "right-pairs-measured",
        "[pairing]\nrate = 0.3\napplies_to = \"eval\"\n[[condition]]\nname = \"c\"\n\"pairing.rate\" = 0.0\n",
        "[pairing]\nrate = 0.3\napplies_to = \"eval\"\n[[condition]]\nname = \"c\"\n\"pairing.rate\" = 0.1\n",
    ),
    ("pairing-swept", "[axes]\n\"pairing.rate\" = [0.0, 0.5]\n", "[axes]\n\"image.noise\" = [0.0, 0.5]\n"),
    ("stop-on-collapse", "[stop]\nhub_gini_above = 0.9\n", "[stop]\nsymmetry_gap_above = 0.3\n"),
    ("warn-on-collapse", "[warn]\nvariance_below = 0.001\n", "[axes]\n\"warn.variance_below\" = [0.0, 0.001]\n"),
    ("gate-on-geometry", "[[gate]]\nmetric = \"effective_rank_txt\"\nmin = 2.0\n", GATE),
    ("gate-on-lost", "[[gate]]\nmetric = \"lost\"\nmax = 0.0\n", GATE),
    ("spread-rewarded", "[train]\nredundancy_weight = 0.1\n", ""),
    ("temperature-swept", "[axes]\n\"train.temperature\" = [0.1, 0.5]\n", "[axes]\n\"image.noise\" = [0.0, 0.5]\n"),
    (
        "gates-of-several-kinds",
        "[[gate]]\nmetric = \"retrieval_at_1_i2t\"\nmin = 0.5\n[[gate]]\nmetric = \"effective_rank_img\"\nmin = 2.0\n",
        GATE,
    ),
    (
        "selection-keeps-floors",
        "[checkpoint]\nselect = \"best\"\neffective_rank_floor = 2.0\n",
        "[checkpoint]\nselect = \"best\"\n",
    ),
    ("several-seeds", "[axes]\nseed = { seeds = 3 }\n", "[axes]\nseed = { seeds = 2 }\n"),
    ("stop-on-gradients", "[stop]\ngradient_norm_above = 100.0\n", "[stop]\nhub_gini_above = 0.9\n"),
    ("warm-up", "[train]\nwarmup_steps = 10\n", ""),
    ("registered-gates", GATE, ""),
];

/// Controls that are read from the manifest; see the tests of each.
const OF_MANIFESTS: &[&str] = &["registered-gates", "gradients-checked", "made-again"];

#[test]
fn every_control_reads_on_where_it_is_on_and_off_where_it_is_off() {
    for (id, on, off) in SPECS {
        let reading = reads(id, on);
        assert!(reading.on && !reading.evidence.is_empty(), "{id}: {reading:?}");
        let reading = reads(id, off);
        assert!(!reading.on && !reading.evidence.is_empty(), "{id}: {reading:?}");
    }
    let tested: BTreeSet<&str> = SPECS.iter().map(|(id, ..)| *id).chain(OF_MANIFESTS.iter().copied()).collect();
    for control in CONTROLS.iter().filter(|control| !matches!(control.read, Read::Always(_))) {
        assert!(tested.contains(control.id), "{} is not tested", control.id);
    }
}

#[test]
fn gates_that_were_changed_after_results_are_not_registered() {
    let sweep = sweep(GATE);
    let mut manifest = manifest(&sweep);
    assert!(reading("registered-gates", &sweep, &manifest).on);
    manifest.thresholds.insert("gate.retrieval-at-1-i2t".into(), json!({"min": 0.1}));
    assert!(!reading("registered-gates", &sweep, &manifest).on);
    manifest.thresholds.insert("gate.retrieval-at-1-i2t".into(), json!(sweep.gates[0]));
    manifest.more.insert(GATES_CHANGED.into(), "2026-11-20T10:00:00Z".into());
    let late = reading("registered-gates", &sweep, &manifest);
    assert!(!late.on && late.evidence.contains("2026-11-20"), "{late:?}");
}

#[test]
fn a_gradient_check_counts_when_it_was_made_and_passed() {
    let sweep = sweep("");
    let mut manifest = manifest(&sweep);
    assert!(!reading("gradients-checked", &sweep, &manifest).on);
    manifest.more.insert("gradcheck".into(), json!({"passed": false, "checks": 8}));
    assert!(!reading("gradients-checked", &sweep, &manifest).on);
    manifest.more.insert("gradcheck".into(), json!({"passed": true, "checks": 8}));
    assert_eq!(reading("gradients-checked", &sweep, &manifest), Reading::new(true, "passed, 8 comparisons"));
}

#[test]
fn cells_were_made_again_where_there_are_exemplars() {
    let sweep = sweep("");
    let mut manifest = manifest(&sweep);
    assert!(!reading("made-again", &sweep, &manifest).on);
    manifest.tables.insert(EXEMPLARS_TABLE.into(), TableBytes::default());
    assert!(reading("made-again", &sweep, &manifest).on);
}

#[test]
fn part_of_the_cells_is_not_all_of_them() {
    let reading = reads("clipped-gradients", "[axes]\n\"train.clip_norm\" = [0.0, 1.0]\nseed = { seeds = 3 }\n");
    assert_eq!(reading, Reading::new(false, "in 3 of 6 cells"));
    let limits = reads("warn-on-collapse", "[axes]\n\"warn.variance_below\" = [0.0, 0.001]\n");
    assert_eq!(limits, Reading::new(false, "warn.variance_below in 1 of 2 cells"));
}

#[test]
fn the_registries_point_at_what_there_is() {
    let ids: BTreeSet<&str> = CONTROLS.iter().map(|control| control.id).collect();
    assert_eq!(ids.len(), CONTROLS.len(), "ids are unique");
    let risks: BTreeSet<&str> = RISKS.iter().map(|risk| risk.id).collect();
    assert_eq!(risks.len(), RISKS.len());
    for risk in RISKS {
        assert!(!risk.why.is_empty() && !risk.open.is_empty(), "{}", risk.id);
        let own = CONTROLS.iter().filter(|control| control.risks.contains(&risk.id)).count();
        assert!(own > 1, "{} has {own} controls", risk.id);
    }
    for control in CONTROLS {
        assert!(!control.risks.is_empty() && control.risks.iter().all(|risk| risks.contains(risk)), "{}", control.id);
        assert!(!control.implemented_by.is_empty(), "{}", control.id);
        for pointer in control.implemented_by {
            let known = match pointer {
                Pointer::Parameter(path) => PARAMS.iter().any(|param| param.path == *path),
                Pointer::Module(path) => Path::new(env!("CARGO_MANIFEST_DIR")).join(path).is_file(),
                Pointer::Manifest(key) => ["thresholds", "gradcheck", "tables"].contains(key),
                Pointer::Spec(key) => ["gate", "condition", "axes"].contains(key),
            };
            assert!(known, "{}: {pointer:?}", control.id);
        }
    }
}

#[test]
fn the_log_has_every_risk_with_its_controls_and_says_which_are_off() {
    let sweep = sweep(GATE);
    let manifest = manifest(&sweep);
    let gates = verdicts(&sweep);
    let log = risk_log(&Evidence { sweep: &sweep, manifest: &manifest, gates: &gates });
    assert_eq!(log.risks.len(), RISKS.len());
    assert_eq!(log.controls().len(), CONTROLS.len());
    for risk in &log.risks {
        let on = risk.controls.iter().filter(|control| control.reading.on).count();
        assert_eq!(risk.controls_on, on, "{}", risk.id);
        for control in risk.controls.iter().filter(|control| !control.reading.on) {
            assert!(risk.open_items.iter().any(|item| item.contains(control.id)), "{} {}", risk.id, control.id);
        }
    }
    let json = serde_json::to_value(&log).unwrap();
    assert_eq!(json["verification_status"], "Not verified");
    let control = &json["risks"][0]["controls"][0];
    assert_eq!(control["id"], "confounder-ablated");
    assert_eq!(control["on"], false);
    assert_eq!(control["implemented_by"][1], json!({"kind": "parameter", "name": "confounder.strength"}));
    let dir = tempfile::tempdir().unwrap();
    write_risk_log(dir.path(), &log).unwrap();
    let back: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join(RISK_LOG_FILE)).unwrap()).unwrap();
    assert_eq!(back, json);
}
