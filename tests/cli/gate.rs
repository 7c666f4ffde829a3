//! `gate`: verdicts, exit codes, and what it leaves in a run.

use serde_json::{Value, json};

use crate::common::{Sandbox, flip};
use crate::{RUN, contains_all, finished, has_keys, refused};

/// Two temperatures, three seeds, steps enough to learn something.
const SPEC: &str =
    "name = \"g\"\npreset = \"tiny\"\n[axes]\nseed = { seeds = 3 }\n\"train.temperature\" = [0.1, 0.5]\n";

const GO: &str = "run g.toml -o run --backend flex";

/// A sandbox with the finished run of [`SPEC`] under these gates in `run`.
fn gated(gates: &str, flags: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("g.toml", format!("{SPEC}{gates}"));
    sandbox.ok(&format!("{GO} {flags}"));
    sandbox
}

fn file(sandbox: &Sandbox, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(sandbox.path(name)).expect("a file")).expect("JSON")
}

#[test]
fn the_smoke_sweep_passes_its_gates_and_says_how_closely() {
    let sandbox = finished();
    let before = sandbox.tree();
    let ran = sandbox.ok("gate run");
    contains_all(&ran.stdout, &["run: gates: pass (5 pass)", "lost: pass: lost <= 0, for every seed of at least 3"]);
    contains_all(&ran.stdout, &["tightest at image.noise = ", "3 of 3 seeds hold, 3 must; seed ", " inside"]);
    assert_eq!(ran.stderr, "");
    let json = sandbox.ok("gate run --json").json();
    assert_eq!(sandbox.tree(), before, "the verdicts are there already");
    has_keys(&json, &["format", "version", "sweep", "verdict", "gates", "dir", "exit_code", "verification_statement"]);
    assert_eq!((&json["verdict"], &json["exit_code"]), (&"pass".into(), &0.into()));
    let gate = &json["gates"][1];
    has_keys(gate, &["name", "metric", "min", "max", "condition", "where", "share", "min_seeds", "verdict"]);
    has_keys(gate, &["combinations", "cells", "worst", "not_passed", "not_listed"]);
    has_keys(&gate["worst"], &["levels", "verdict", "needed", "seeds", "worst"]);
    has_keys(&gate["worst"]["worst"], &["cell_id", "seed", "value", "margin", "ended"]);
    // The value is the cell's, and so is the distance to the bound.
    let worst = &gate["worst"]["worst"];
    let cell = sandbox.ok(&format!("show run {}", worst["cell_id"].as_str().expect("an id"))).json();
    assert_eq!(cell["metrics"]["retrieval_at_5_i2t"], worst["value"]);
    assert_eq!(json!(worst["value"].as_f64().expect("a value") - 0.5), worst["margin"]);
    assert_eq!(gate["where"]["train.temperature"], json!({ "min": 0.1 }));

    let written = file(&sandbox, "run/gates.json");
    assert_eq!(written["gates"], json["gates"]);
    let manifest = file(&sandbox, "run/manifest.json");
    assert_eq!(manifest["thresholds"]["gate.lost"]["max"], 0.0);
    sandbox.ok("verify run");
    assert_eq!(sandbox.ok(&format!("{RUN} --json")).json()["gates"], "pass");
}

#[test]
fn a_failing_run_says_which_where_and_by_how_much() {
    let gates = "[[gate]]\nname = \"rank\"\nmetric = \"effective_rank_img\"\nmin = 7.9\n\
                 [[gate]]\nmetric = \"lost\"\nmax = 0.0\n";
    let sandbox = gated(gates, "");
    let ran = sandbox.run("gate run");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    contains_all(&ran.stdout, &["rank: fail: effective_rank_img >= 7.9, for every seed of at least 3"]);
    contains_all(
        &ran.stdout,
        &["fail at train.temperature = 0.1: 0 of 3 seeds hold, 3 must, 3 outside; seed ", " outside"],
    );
    contains_all(&ran.stdout, &["lost: pass", "run: gates: fail (1 pass, 1 fail)"]);
    let json = sandbox.run("gate run --json").json();
    assert_eq!((&json["verdict"], &json["exit_code"]), (&"fail".into(), &1.into()));
    let worst = &json["gates"][0]["not_passed"][0]["worst"];
    let margin = worst["value"].as_f64().expect("a value") - 7.9;
    assert_eq!(worst["margin"], json!(margin));
    assert!(margin < 0.0);
}

#[test]
fn an_under_sampled_run_is_not_a_pass() {
    let gates = "[[gate]]\nmetric = \"effective_rank_img\"\nmin = 0.5\n";
    let sandbox = gated(gates, "--axis seed=0,1");
    let ran = sandbox.run("gate run");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    contains_all(&ran.stdout, &["effective-rank-img: insufficient evidence: ", "2 of 2 seeds hold, 3 must"]);
    contains_all(&ran.stdout, &["run: gates: insufficient evidence (1 insufficient evidence)"]);
    assert_eq!(sandbox.run("gate run --json").json()["verdict"], "insufficient_evidence");
    // With the third seed it is one.
    sandbox.ok(GO);
    sandbox.ok("gate run");
    // And a gate that a flag left no cell has no evidence either.
    let scoped = format!("{gates}where = {{ train.temperature = 0.5 }}\n");
    let elsewhere = gated(&scoped, "--axis train.temperature=0.3");
    let ran = elsewhere.run("gate run");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    contains_all(&ran.stdout, &["it judges no cell of this run"]);
}

#[test]
fn other_thresholds_train_nothing_and_are_recorded() {
    let gate = |min: &str| format!("[[gate]]\nmetric = \"effective_rank_img\"\nmin = {min}\n");
    let sandbox = gated(&gate("0.5"), "");
    sandbox.ok("gate run");
    let parts = crate::common::parts(&sandbox.path("run"));
    sandbox.write("g.toml", format!("{SPEC}{}", gate("7.9")));
    let again = sandbox.ok(&format!("{GO} --json")).json();
    assert_eq!((&again["trained"], &again["present"], &again["gates"]), (&0.into(), &6.into(), &"fail".into()));
    assert_eq!(crate::common::parts(&sandbox.path("run")), parts);
    let manifest = file(&sandbox, "run/manifest.json");
    assert_eq!(manifest["thresholds"]["gate.effective-rank-img"]["min"], 7.9);
    assert_eq!(manifest["spec"]["gate"][0]["min"], 7.9, "the manifest has the spec as it is now");
    assert_eq!(file(&sandbox, "run/gates.json")["gates"][0]["min"], 7.9);
    assert_eq!(sandbox.run("gate run").code, Some(1));
    sandbox.ok("verify run");
    // Not after the fact.
    let spec = std::fs::read_to_string(sandbox.path("run/spec.toml")).expect("a spec");
    sandbox.write("run/spec.toml", spec.replace("min = 7.9", "min = 0.5"));
    refused(&sandbox, "gate run", &["spec.toml has other gates than manifest.json records"]);
    let verified = sandbox.run("verify run");
    assert_eq!(verified.code, Some(1));
    contains_all(&verified.stdout, &["spec.toml: it has other gates than the manifest"]);
    // Without gates no verdicts are left.
    sandbox.write("g.toml", SPEC);
    sandbox.ok(GO);
    assert!(!sandbox.path("run/gates.json").exists());
    refused(&sandbox, "gate run", &["run has no gates", "write a [[gate]]"]);
    sandbox.ok("verify run");
}

#[test]
fn damaged_verdicts_are_noticed_and_made_again() {
    let sandbox = gated("[[gate]]\nmetric = \"lost\"\nmax = 0.0\n", "");
    let path = sandbox.path("run/gates.json");
    let bytes = std::fs::read(&path).expect("verdicts");
    for remake in [GO, "gate run"] {
        flip(&path, 40);
        let verified = sandbox.run("verify run");
        assert_eq!(verified.code, Some(1));
        contains_all(&verified.stdout, &["gates.json: its BLAKE3 differs from the manifest's"]);
        std::fs::remove_file(&path).expect("removed");
        contains_all(&sandbox.run("verify run").stdout, &["gates.json: cannot be read"]);
        sandbox.ok(remake);
        assert_eq!(std::fs::read(&path).expect("verdicts"), bytes, "{remake}");
        sandbox.ok("verify run");
    }
    flip(&sandbox.path("run/cells.parquet"), 100);
    refused(&sandbox, "gate run", &["cells.parquet is not what manifest.json lists"]);
    refused(&sandbox, "gate nowhere", &["nowhere is not a run directory"]);
}
