//! What breaks first: the table of a run and what `boundary` says of it.

use cliffline::store::{read_table, read_table_info};
use serde_json::json;

use crate::common::Sandbox;
use crate::{column_names, contains_all};

/// Limits that nothing keeps and one that nothing breaks, and floors that fall one after the other as the seed's
/// retrieval and rank do.
const SPEC: &str = "name = \"leads\"\npreset = \"tiny\"\n[train]\nsteps = 12\n[stop]\nevery = 2\n[warn]\n\
                    effective_rank_below = 1000.0\nmean_cosine_above = -1.0\ngradient_norm_above = 1e9\n[axes]\nseed = [0, 1]\n\
                    image.noise = [0.0, 1.0, 4.0]\n[[gate]]\nname = \"impossible\"\nmetric = \"retrieval_at_1_i2t\"\n\
                    min = 1.0\n[[gate]]\nname = \"easy\"\nmetric = \"retrieval_at_1_t2i\"\nmin = 0.0\n";

#[test]
fn the_table_of_a_run_and_the_section_of_boundary_agree() {
    let sandbox = Sandbox::new();
    sandbox.write("leads.toml", SPEC);
    sandbox.ok("run leads.toml -o run --backend flex");
    let frame = read_table(&sandbox.path("run/lead_lag.parquet")).expect("a table");
    let info = read_table_info(&sandbox.path("run/lead_lag.parquet")).expect("its description");
    assert!(column_names(&frame).iter().all(|column| info.columns.contains_key(*column)));
    // In training three pairs over all cells and at three noises; two with the gate that nothing passes, in both directions.
    assert_eq!(frame.height(), 3 * (1 + 3) + 4);
    let document = sandbox.ok("boundary run --json").json();
    let rows = document["lead_lag"].as_array().expect("rows");
    assert_eq!(rows.len(), frame.height());
    let pooled =
        rows.iter().find(|row| row["second"] == "warn.mean_cosine_above" && row["first"] != "warn.gradient_norm_above");
    let pooled = pooled.expect("a row");
    let expected = json!({"domain": "training", "first": "warn.effective_rank_below", "second": "warn.mean_cosine_above",
        "param_image_noise": null, "cells": 6, "both": 6, "ties": 6, "first_leads_from_start": 0, "median_lead": 0.0});
    for (column, value) in expected.as_object().expect("an object") {
        assert_eq!(pooled[column], *value, "{column}");
    }
    let shown = sandbox.ok("boundary run");
    // In training one pair is a tie, and the others lead from the start over what never breaks.
    contains_all(&shown.stdout, &["2 rows with leads from the start only, 6 rows for single combinations"]);
    contains_all(
        &shown.stdout,
        &["which breaks first along image.noise upwards; leads as differences of levels", "impossible", "from start"],
    );
    let only = sandbox.ok("boundary run --constraint easy --json").json();
    let rows = only["lead_lag"].as_array().expect("rows");
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["first"] == "easy" && row["axis"] == "image.noise"), "{rows:?}");
}
