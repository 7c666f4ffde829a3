//! `[[condition]]`: one trained cell, measured under several operators.

use std::collections::BTreeMap;

use cliffline::metric;
use cliffline::store::read_table;
use polars_core::prelude::DataFrame;

use crate::common::Sandbox;
use crate::{contains_all, lists, texts};

/// Four cells, trained clean and noisy, measured under noise, under wrong pairs and at another temperature.
const SPEC: &str = "name = \"conditions\"
preset = \"tiny\"
train = { steps = 600, learning_rate = 0.2 }
[axes]
seed = [1, 2]
\"image.noise\" = [0.0, 0.5]
[[condition]]
name = \"noisy\"
\"image.noise\" = 0.5
[[condition]]
name = \"wrong-pairs\"
pairing = { rate = 1.0, applies_to = \"eval\" }
[[condition]]
name = \"cold\"
\"score.temperature\" = 0.001
";

fn trained(spec: &str, flags: &str) -> (Sandbox, DataFrame) {
    let sandbox = Sandbox::new();
    sandbox.write("spec.toml", spec);
    sandbox.ok(&format!("run spec.toml -o run {flags}"));
    let table = read_table(&sandbox.path("run/conditions.parquet")).expect("conditions.parquet");
    (sandbox, table)
}

/// Values of a metric by cell number and condition.
fn values(table: &DataFrame, metric: &str) -> BTreeMap<(usize, String), Option<f64>> {
    let column = table.column(&format!("metric_{metric}")).expect("a metric").f64().expect("numbers").clone();
    let (cells, names) = (texts(table, "cell_id"), texts(table, "condition"));
    let mut order: Vec<&String> = Vec::new();
    let mut numbered = Vec::new();
    for cell in &cells {
        let at = order.iter().position(|known| *known == cell).unwrap_or_else(|| {
            order.push(cell);
            order.len() - 1
        });
        numbered.push(at);
    }
    numbered.into_iter().zip(names).zip(column.iter()).collect()
}

#[test]
fn every_cell_is_measured_under_every_condition() {
    let (sandbox, table) = trained(SPEC, "--backend flex");
    assert_eq!(texts(&table, "condition"), ["clean", "cold", "noisy", "wrong-pairs"].repeat(4));
    let of = |metric: &str| values(&table, metric);
    let retrieval = of("retrieval_at_1_i2t");
    let at = |metric: &BTreeMap<(usize, String), Option<f64>>, cell: usize, condition: &str| {
        metric[&(cell, condition.to_string())].expect("a value")
    };
    for cell in 0..4 {
        // The last two levels of the canonical order: noise 0, 0, 0.5, 0.5.
        let trained_noisy = cell >= 2;
        let same = at(&retrieval, cell, "noisy") == at(&retrieval, cell, "clean");
        assert!(same || !trained_noisy, "the condition of its training is the same");
        // Under swapped pairs nearly nobody finds the partner it is said to have; by chance one in 128.
        assert!(at(&retrieval, cell, "wrong-pairs") < 0.1);
        assert!(trained_noisy || at(&retrieval, cell, "clean") > 0.1);
        // A scoring temperature scales logits and orders nothing anew.
        assert_eq!(at(&retrieval, cell, "cold"), at(&retrieval, cell, "clean"));
        let logits = of("logit_margin_mean_i2t");
        let (cold, clean) = (at(&logits, cell, "cold"), at(&logits, cell, "clean"));
        assert!((cold * 0.001 - clean * 0.07).abs() < 1e-9 * clean.abs(), "{cold} {clean}");
    }
    assert_ne!(at(&retrieval, 0, "noisy"), at(&retrieval, 0, "clean"));
    // Clean is what cells.parquet says.
    let cells = read_table(&sandbox.path("run/cells.parquet")).expect("cells.parquet");
    for descriptor in metric::descriptors() {
        let name = format!("metric_{}", descriptor.name);
        let expected: Vec<Option<f64>> = cells.column(&name).expect(&name).f64().expect("numbers").iter().collect();
        let found: Vec<Option<f64>> =
            of(descriptor.name).into_iter().filter(|((_, c), _)| c == "clean").map(|(_, v)| v).collect();
        assert_eq!(found, expected, "{name}");
    }
    sandbox.ok("verify run --rerun 1.0");
    let id = &texts(&cells, "cell_id")[0];
    let shown = sandbox.ok(&format!("show run {id}")).json();
    assert_eq!(shown["conditions"]["noisy"]["changes"], serde_json::json!({ "image.noise": 0.5 }));
    assert_eq!(shown["conditions"]["noisy"]["metrics"]["retrieval_at_1_i2t"], at(&retrieval, 0, "noisy"));
}

#[test]
fn embeddings_of_a_condition_are_those_that_were_measured() {
    let (sandbox, table) = trained(SPEC, "--backend native");
    let cell = &texts(&table, "cell_id")[0];
    let embedded = |flags: &str| {
        sandbox.ok(&format!("embed run {cell} -o e.parquet {flags}"));
        let table = read_table(&sandbox.path("e.parquet")).expect("a table");
        ["raw_img", "raw_txt"].map(|name| lists(&table, name))
    };
    let (clean, noisy) = (embedded(""), embedded("--condition noisy"));
    assert_eq!(clean, embedded("--condition clean"));
    assert!(clean[0] != noisy[0] && clean[1] == noisy[1], "noise is on images alone");
    let shown = sandbox.ok(&format!("show run {cell}")).json();
    let mut hasher = blake3::Hasher::new();
    for value in noisy.iter().flatten().flatten() {
        hasher.update(&(*value as f32).to_le_bytes());
    }
    let recorded = &shown["conditions"]["noisy"]["checksums"]["test_embeddings"];
    assert_eq!(recorded, hasher.finalize().to_hex().as_str());
    let unknown = sandbox.run(&format!("embed run {cell} -o e.parquet --condition foggy"));
    assert_eq!(unknown.code, Some(2));
    contains_all(&unknown.stderr, &["no condition `foggy`; it has clean, cold, noisy, wrong-pairs"]);
}

#[test]
fn packs_and_threads_leave_no_trace_in_conditions() {
    for backend in ["flex", "native"] {
        let bytes = |flags: &str| {
            let (sandbox, _) = trained(SPEC, &format!("--backend {backend} {flags}"));
            std::fs::read(sandbox.path("run/conditions.parquet")).expect("a table")
        };
        let reference = bytes("--pack 1 --threads 1");
        assert_eq!(bytes("--pack 4 --threads 1"), reference);
        assert_eq!(bytes("--pack 2 --threads 2"), reference);
    }
}

#[test]
fn another_condition_is_another_measurement_of_the_same_training() {
    let (with, _) = trained(SPEC, "--backend flex");
    let ids = |sandbox: &Sandbox| {
        let cells = read_table(&sandbox.path("run/cells.parquet")).expect("cells.parquet");
        (texts(&cells, "cell_id"), texts(&cells, "checksum_final_parameters"))
    };
    let without = SPEC.split("[[condition]]").next().expect("the spec without conditions");
    let (without, _) = trained(without, "--backend flex");
    let ((measured, trained_with), (plain, trained_without)) = (ids(&with), ids(&without));
    assert!(measured.iter().zip(&plain).all(|(a, b)| a != b));
    assert_eq!(trained_with, trained_without);
    // The order in which a spec writes them does not matter.
    let (head, conditions) = SPEC.split_once("[[condition]]").expect("conditions");
    let mut parts: Vec<&str> = conditions.split("[[condition]]").collect();
    parts.reverse();
    let reordered = format!("{head}[[condition]]{}", parts.join("[[condition]]"));
    with.write("again.toml", reordered);
    let again = with.ok("run again.toml -o run --backend flex");
    contains_all(&again.stderr, &["nothing to do"]);
}
