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

#[test]
fn gates_of_another_spec_are_exploratory_and_leave_the_run_as_it_is() {
    let rank = |min: &str| format!("[[gate]]\nname = \"rank\"\nmetric = \"effective_rank_img\"\nmin = {min}\n");
    let sandbox = gated(&rank("7.9"), "");
    sandbox.write("mild.toml", format!("{SPEC}{}", rank("0.5")));
    let before = sandbox.tree();
    let ran = sandbox.ok("gate run --spec mild.toml");
    contains_all(&ran.stdout, &["rank: pass: effective_rank_img >= 0.5", "run: gates: pass (1 pass)"]);
    contains_all(
        &ran.stdout,
        &[
            "exploratory: these are the gates of mild.toml, not those that the run was begun with",
            "  rank: min 7.9 -> 0.5",
        ],
    );
    assert_eq!(ran.stderr, "");
    let json = sandbox.ok("gate run --spec mild.toml --json").json();
    let thresholds = &json["thresholds"];
    assert_eq!((&thresholds["standing"], &thresholds["from"]), (&"exploratory".into(), &"mild.toml".into()));
    assert_eq!(thresholds["differ"][0]["recorded"]["min"], 7.9);
    assert_eq!(sandbox.tree(), before, "it writes nothing");
    // The same thresholds from a file are the run's.
    let same = sandbox.run("gate run --spec g.toml");
    assert_eq!(same.code, Some(1));
    assert!(!same.stdout.contains("exploratory"), "{}", same.stdout);
    assert_eq!(sandbox.run("gate run --spec g.toml --json").json()["thresholds"]["standing"], "registered");
    assert_eq!(sandbox.run("gate run --json").json()["thresholds"]["standing"], "registered");
    assert_eq!(sandbox.tree(), before);

    // Other cells are not judged, and that is said; levels that are not there are left out.
    sandbox.write("more.toml", format!("{SPEC}{}", rank("0.5")).replace("seeds = 3", "seeds = 5"));
    contains_all(&sandbox.ok("gate run --spec more.toml").stderr, &["lacks 4 of its 10 and has 0 others"]);
    let scoped = rank("0.5") + "where = { train.temperature = [0.5, 0.7] }\n";
    sandbox.write("more.toml", format!("{SPEC}{scoped}").replace("[0.1, 0.5]", "[0.1, 0.5, 0.7]"));
    let ran = sandbox.ok("gate run --spec more.toml");
    contains_all(&ran.stderr, &["gate rank: the run has no train.temperature = 0.7 to judge"]);
    contains_all(&ran.stdout, &["1 combination of levels: 1 pass", "where train.temperature = 0.5"]);
    // What the run cannot answer at all is refused.
    let noisy = "condition = \"noisy\"\n[[condition]]\nname = \"noisy\"\nimage.noise = 0.5\n";
    sandbox.write("noisy.toml", format!("{SPEC}{}{noisy}", rank("0.5")));
    refused(
        &sandbox,
        "gate run --spec noisy.toml",
        &["there is no condition \"noisy\"", "the spec of the run with the gates of"],
    );
    sandbox.write(
        "full.toml",
        format!("panel = \"full\"\n{SPEC}{}", rank("0.0").replace("effective_rank_img", "cca_mean")),
    );
    refused(&sandbox, "gate run --spec full.toml", &["no cell that the gate judges measures `cca_mean`"]);
    sandbox.write("none.toml", SPEC);
    refused(&sandbox, "gate run --spec none.toml", &["none.toml has no gates"]);
    refused(&sandbox, "gate run --spec ./nowhere.toml", &["cannot read the spec ./nowhere.toml"]);
}

#[test]
fn a_run_exits_as_its_gates_where_all_else_went_well() {
    let rank = |min: &str| format!("[[gate]]\nmetric = \"effective_rank_img\"\nmin = {min}\n");
    let sandbox = gated(&rank("7.9"), "");
    let ran = sandbox.run(&format!("{GO} --gate"));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    contains_all(&ran.stdout, &["effective-rank-img: fail: effective_rank_img >= 7.9", "gates: fail (1 fail)"]);
    let json = sandbox.run(&format!("{GO} --gate --json")).json();
    assert_eq!((&json["exit_code"], &json["gates_standing"]), (&1.into(), &"registered".into()));
    assert_eq!(sandbox.run("refine run --budget 60 --tolerance 9 --gate").code, Some(1));
    sandbox.ok("refine run --budget 60 --tolerance 9");
    // Changed afterwards, they pass, and that they were is said.
    sandbox.write("g.toml", format!("{SPEC}{}", rank("0.5")));
    let ran = sandbox.ok(&format!("{GO} --gate"));
    contains_all(&ran.stdout, &["exploratory: the gates of this run were changed at ", "gates: pass (1 pass)"]);
    contains_all(&sandbox.ok("gate run").stdout, &["exploratory: the gates of this run were changed at "]);
    let json = sandbox.ok("refine run --budget 60 --tolerance 9 --gate --json").json();
    assert_eq!((&json["exit_code"], &json["gates"]), (&0.into(), &"pass".into()));
    // A promise without gates is refused before anything is trained.
    sandbox.write("none.toml", SPEC);
    refused(&sandbox, "run none.toml -o none --backend flex --gate", &["--gate: g has no gates to exit by"]);
}

#[test]
fn gates_whose_record_is_lost_or_altered_are_exploratory() {
    const GATE: &str = "[[gate]]\nmetric = \"effective_rank_img\"\nmin = 1.0\n";
    let standing = |sandbox: &Sandbox| {
        let ran = sandbox.run(&format!("{GO} --json"));
        (ran.json()["gates_standing"].as_str().expect("a standing").to_string(), ran.stderr)
    };
    let sandbox = gated(GATE, "--no-report");
    assert_eq!(standing(&sandbox).0, "registered");
    std::fs::remove_file(sandbox.path("run/manifest.json")).expect("a manifest");
    assert_eq!(standing(&sandbox).0, "exploratory");
    assert_eq!(standing(&sandbox).0, "exploratory", "it stays so");

    let sandbox = gated(GATE, "--no-report");
    let manifest = std::fs::read_to_string(sandbox.path("run/manifest.json")).expect("a manifest");
    sandbox.write("run/manifest.json", manifest.replacen("\"created_utc\": \"2", "\"created_utc\": \"1", 1));
    assert_eq!(sandbox.run("verify run").code, Some(1));
    let (standing, said) = standing(&sandbox);
    assert_eq!(standing, "exploratory");
    contains_all(&said, &["manifest.json", "it is not the one that was sealed", "moved to parts/damaged"]);
    sandbox.ok("verify run");
    assert!(!file(&sandbox, "run/manifest.json")["created_utc"].as_str().expect("a time").starts_with('1'));
}
