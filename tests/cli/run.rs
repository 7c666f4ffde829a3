//! `run` and `plan`: what they print where, and what is on disk afterwards.

use std::collections::{BTreeMap, BTreeSet};

use cliffline::metric;
use cliffline::spec::PARAMS;
use cliffline::store::read_table;
use serde_json::Value;

use crate::common::Sandbox;
use crate::{CELLS, DIMENSION, RUN, column_names, contains_all, has_keys, ids, texts};

#[test]
fn run_writes_the_tables_and_keeps_data_and_messages_apart() {
    let sandbox = Sandbox::new();
    let ran = sandbox.ok(RUN);
    contains_all(&ran.stdout, &["effective_rank_img", "retrieval_at_1_i2t", "train.temperature \\ image.noise"]);
    contains_all(&ran.stdout, &["run: 36 of 36 cells finished, "]);
    contains_all(&ran.stderr, &["backend flex: as asked", "run: training 36 of 36 cells", "36/36 cells"]);
    for message in ["backend", "training", "cells/s"] {
        assert!(!ran.stdout.contains(message), "{message:?} belongs on standard error:\n{}", ran.stdout);
    }
    assert!(!ran.stderr.contains("effective_rank_img"), "the summary is data:\n{}", ran.stderr);
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'), "NO_COLOR was set");

    let cells = read_table(&sandbox.path("run/cells.parquet")).expect("cells.parquet");
    assert_eq!(cells.height(), CELLS);
    assert_eq!(texts(&cells, "cell_id"), ids(&sandbox), "rows follow the plan");
    let columns = column_names(&cells);
    for param in PARAMS {
        let name = format!("param_{}", param.path.replace('.', "_"));
        assert!(columns.contains(&name.as_str()), "{name}");
    }
    for descriptor in metric::descriptors() {
        let name = format!("metric_{}", descriptor.name);
        assert!(columns.contains(&name.as_str()), "{name}");
    }
    let spectra = read_table(&sandbox.path("run/spectra.parquet")).expect("spectra.parquet");
    assert_eq!(spectra.height(), CELLS * 2 * DIMENSION);
    assert_eq!(column_names(&spectra), ["cell_id", "modality", "k", "eigenvalue"]);
    let curves = read_table(&sandbox.path("run/curves.parquet")).expect("curves.parquet");
    assert_eq!(column_names(&curves)[..2], ["cell_id", "step"]);
    assert_eq!(curves.height(), CELLS * 21, "steps 0, 10, .., 200");

    let manifest: Value =
        serde_json::from_slice(&std::fs::read(sandbox.path("run/manifest.json")).expect("a manifest")).expect("JSON");
    assert_eq!(manifest["backend"], "flex");
    assert_eq!(manifest["state"], "complete");
    assert!(manifest["timings"]["train_cell_steps_per_s"].as_f64().is_some_and(|rate| rate > 0.0));
    for table in ["cells.parquet", "conditions.parquet", "curves.parquet", "spectra.parquet", "surfaces.parquet"] {
        let hash = blake3::hash(&std::fs::read(sandbox.path("run").join(table)).expect("a table")).to_hex().to_string();
        assert_eq!(manifest["tables"][table]["blake3"], hash, "{table}");
    }
    let again = sandbox.ok("plan run/spec.toml --backend flex --no-calibration --json").json();
    assert_eq!(again["spec_hash"], manifest["spec_blake3"], "spec.toml is the sweep that ran");
}

#[test]
fn a_sweep_without_stop_rules_says_that_nothing_can_be_called_collapsed() {
    let sandbox = Sandbox::new();
    let spec =
        |more: &str| format!("name = \"ruled\"\npreset = \"tiny\"\n[train]\nsteps = 5\n{more}[axes]\nseed = [4, 9]\n");
    sandbox.write("none.toml", spec(""));
    sandbox.write("one.toml", spec("[stop]\nhub_gini_above = 0.99\n"));
    let none = "none is on, so no cell can be called collapsed";
    let plan = sandbox.ok("plan none.toml --backend flex --no-calibration");
    contains_all(&plan.stdout, &[&format!("stop rules  {none}")]);
    let plan = sandbox.ok("plan none.toml --backend flex --no-calibration --json").json();
    assert_eq!(plan["stop_rules"], serde_json::json!({"on": [], "cells": 0, "of": 2}));
    let ran = sandbox.ok("run none.toml -o none --backend flex");
    contains_all(&ran.stdout, &["none: 2 of 2 cells finished, 2 ok\n", &format!("stop rules: {none}\n")]);
    let page = std::fs::read_to_string(sandbox.path("none/report.html")).expect("the page");
    contains_all(&page, &[&format!("<p>Stop rules: {none}.</p>")]);
    let report = std::fs::read_to_string(sandbox.path("none/report.json")).expect("the report");
    contains_all(&report, &["stop_rules.cells", "No stop rule is on, so no cell can be called collapsed."]);

    let ran = sandbox.ok("run one.toml -o one --backend flex");
    assert!(!ran.stdout.contains("stop rules"), "every cell has one: {}", ran.stdout);
    let page = std::fs::read_to_string(sandbox.path("one/report.html")).expect("the page");
    contains_all(&page, &["<p>Stop rules: stop.hub_gini_above, in every cell.</p>"]);
    let json = sandbox.ok("run one.toml -o one --backend flex --json").json();
    assert_eq!(json["stop_rules"], serde_json::json!({"on": ["stop.hub_gini_above"], "cells": 2, "of": 2}));
}

#[test]
fn the_same_run_again_does_nothing() {
    let sandbox = Sandbox::new();
    let first = sandbox.ok(RUN);
    let before = sandbox.tree();
    let second = sandbox.ok(RUN);
    assert_eq!(sandbox.tree(), before);
    assert_eq!(second.stdout, first.stdout);
    contains_all(&second.stderr, &["run: all 36 cells are there; nothing to do"]);
    assert!(!second.stderr.contains("training"), "{}", second.stderr);
    let third = sandbox.ok(&format!("{RUN} --json")).json();
    assert_eq!((&third["trained"], &third["present"]), (&0.into(), &CELLS.into()));
}

#[test]
fn runs_land_in_results_unless_told_otherwise() {
    let sandbox = Sandbox::new();
    let plan = sandbox.ok("plan smoke --backend flex --no-calibration --json").json();
    let hash = plan["spec_hash"].as_str().expect("a hash");
    let expected = format!("results/smoke-{}", &hash[..8]);
    assert_eq!(plan["dir"], expected);
    let ran = sandbox.ok("run smoke --backend flex");
    contains_all(&ran.stdout, &[&expected]);
    assert!(sandbox.path(&expected).join("cells.parquet").is_file());
}

#[test]
fn run_as_json_is_one_document() {
    let sandbox = Sandbox::new();
    let ran = sandbox.ok(&format!("{RUN} --json"));
    let json = ran.json();
    has_keys(
        &json,
        &[
            "version",
            "dir",
            "sweep",
            "cells",
            "finished",
            "by_status",
            "present",
            "reused",
            "trained",
            "interrupted",
            "exit_code",
            "class",
            "timings",
            "summary",
        ],
    );
    assert_eq!(json["dir"], "run");
    assert_eq!(json["sweep"], "smoke");
    for key in ["cells", "finished", "trained"] {
        assert_eq!(json[key], CELLS, "{key}");
    }
    for key in ["present", "reused", "exit_code"] {
        assert_eq!(json[key], 0, "{key}");
    }
    assert_eq!(json["interrupted"], false);
    has_keys(&json["timings"], &["wall_s", "train_cell_steps", "train_cell_steps_per_s", "workers"]);
    assert_eq!(json["timings"]["train_cell_steps"], (CELLS * 200) as f64);
    let by_status: u64 = json["by_status"].as_object().expect("counts").values().filter_map(Value::as_u64).sum();
    assert_eq!(by_status, CELLS as u64);

    // The summary is the mean of the table's column.
    let summary = &json["summary"][0];
    assert_eq!((&summary["metric"], &summary["row_axis"]), (&"effective_rank_img".into(), &"train.temperature".into()));
    let cells = read_table(&sandbox.path("run/cells.parquet")).expect("cells.parquet");
    let floats = |name: &str| -> Vec<f64> {
        cells.column(name).expect("the column").f64().expect("float64").into_no_null_iter().collect()
    };
    let (ranks, temperatures, noise) =
        (floats("metric_effective_rank_img"), floats("param_train_temperature"), floats("param_image_noise"));
    for (i, row) in summary["rows"].as_array().expect("rows").iter().enumerate() {
        for (j, column) in summary["columns"].as_array().expect("columns").iter().enumerate() {
            let here = |k: &usize| Some(temperatures[*k]) == row.as_f64() && Some(noise[*k]) == column.as_f64();
            let these: Vec<f64> = (0..CELLS).filter(here).map(|k| ranks[k]).collect();
            let mean = these.iter().sum::<f64>() / these.len() as f64;
            let entry = &summary["cells"][i][j];
            assert_eq!(entry["n"], these.len());
            assert!((entry["mean"].as_f64().expect("a mean") - mean).abs() < 1e-12, "{entry} is not {mean}");
        }
    }
}

#[test]
fn flags_override_the_spec() {
    let sandbox = Sandbox::new();
    let arguments = "run smoke -o run --backend flex --set train.steps=3 --set name=other --axis seed=seeds:2:7 --json";
    let json = sandbox.ok(arguments).json();
    assert_eq!((&json["sweep"], &json["cells"]), (&"other".into(), &24.into()));
    let cells = read_table(&sandbox.path("run/cells.parquet")).expect("cells.parquet");
    let integers = |name: &str| -> BTreeSet<i64> {
        cells.column(name).expect("the column").i64().expect("int64").into_no_null_iter().collect()
    };
    assert_eq!(integers("param_seed"), BTreeSet::from([7, 8]));
    assert_eq!(integers("param_train_steps"), BTreeSet::from([3]));
}

#[test]
fn plan_counts_and_writes_nothing() {
    let sandbox = Sandbox::new();
    let json = sandbox.ok("plan smoke --backend flex --threads 2 --cells --json").json();
    has_keys(
        &json,
        &[
            "version",
            "sweep",
            "spec_hash",
            "dir",
            "class",
            "workers",
            "estimate",
            "calibration",
            "seconds",
            "axes",
            "cells",
        ],
    );
    assert_eq!(json["workers"], 2);
    assert_eq!(json["estimate"]["cells"], CELLS);
    assert_eq!(json["estimate"]["cell_steps"], CELLS * 200);
    for key in ["packs", "largest_pack", "memory_bytes", "disk_bytes"] {
        assert!(json["estimate"][key].as_u64().is_some_and(|n| n > 0), "{key}");
    }
    let seconds = |key: &str| json["seconds"][key].as_f64().expect("seconds");
    assert!(0.0 < seconds("low") && seconds("low") <= seconds("expected") && seconds("expected") <= seconds("high"));
    let axes: BTreeMap<&str, usize> = json["axes"]
        .as_array()
        .expect("axes")
        .iter()
        .map(|axis| (axis["path"].as_str().expect("a path"), axis["levels"].as_array().expect("levels").len()))
        .collect();
    let expected = [("image.noise", 2), ("pairing.rate", 2), ("seed", 3), ("train.temperature", 3)];
    assert_eq!(axes, BTreeMap::from(expected));
    let unique: BTreeSet<String> = ids(&sandbox).into_iter().collect();
    assert_eq!(unique.len(), CELLS);
    assert!(unique.iter().all(|id| id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit())));
    assert!(sandbox.tree().is_empty(), "{:?}", sandbox.tree());
}

/// A range of one value is no range: it claims to know what a measurement of a tenth of a second cannot tell.
#[test]
fn the_time_of_a_plan_is_a_range() {
    let sandbox = Sandbox::new();
    let json = sandbox.ok("plan smoke --backend flex --json").json();
    let seconds = |key: &str| json["seconds"][key].as_f64().expect("seconds");
    assert!(seconds("low") < seconds("high"), "{}", json["seconds"]);
}

#[test]
fn plan_in_words_and_without_calibration() {
    let sandbox = Sandbox::new();
    let ran = sandbox.ok("plan smoke --backend flex --threads 2 --no-calibration");
    contains_all(&ran.stdout, &["cells", "36", "cell-steps", "7200", "memory", "disk"]);
    contains_all(&ran.stdout, &["axis train.temperature  0.02, 0.1, 0.5"]);
    assert!(!ran.stdout.contains("speed") && !ran.stdout.contains("time "), "{}", ran.stdout);
    let json = sandbox.ok("plan smoke --backend flex --no-calibration --json").json();
    assert_eq!((&json["calibration"], &json["seconds"], &json["cells"]), (&Value::Null, &Value::Null, &Value::Null));
    let measured = sandbox.ok("plan smoke --backend flex --threads 2");
    contains_all(&measured.stdout, &["speed", "cell-steps/s on", "time", "on 2 workers"]);
    let listed = sandbox.ok("plan smoke --backend flex --no-calibration --cells");
    for id in ids(&sandbox) {
        assert!(listed.stdout.contains(&id), "{id}");
    }
    assert!(sandbox.tree().is_empty(), "{:?}", sandbox.tree());
}
