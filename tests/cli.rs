//! The program on tiny sweeps: what it prints where, its exit codes, and what it says to bad input.

mod common;
#[path = "common/forge.rs"]
mod forge;

// In a folder, because a file beside this one would be a test program of its own.
#[path = "cli/audit.rs"]
mod audit;
#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/checks.rs"]
mod checks;
#[path = "cli/compare.rs"]
mod compare;
#[path = "cli/concurrent.rs"]
mod concurrent;
#[path = "cli/conditions.rs"]
mod conditions;
#[path = "cli/exemplars.rs"]
mod exemplars;
#[path = "cli/foreign.rs"]
mod foreign;
#[path = "cli/forged.rs"]
mod forged;
#[path = "cli/gate.rs"]
mod gate;
#[path = "cli/hostile.rs"]
mod hostile;
#[path = "cli/include.rs"]
mod include;
#[path = "cli/inspect.rs"]
mod inspect;
#[path = "cli/lab.rs"]
mod lab;
#[path = "cli/lead_lag.rs"]
mod lead_lag;
#[path = "cli/numbers.rs"]
mod numbers;
#[path = "cli/odd_input.rs"]
mod odd_input;
#[cfg(unix)]
#[path = "cli/process.rs"]
mod process;
#[path = "cli/readable.rs"]
mod readable;
#[path = "cli/refine.rs"]
mod refine;
#[path = "cli/report.rs"]
mod report;
#[path = "cli/run.rs"]
mod run;
#[path = "cli/samples.rs"]
mod samples;

use std::collections::BTreeSet;

use common::{Ran, Sandbox};
use polars_core::prelude::DataFrame;
use serde_json::Value;

/// Cells of the smoke sweep.
const CELLS: usize = 36;
/// Test samples and embedding dimension of its cells.
const SAMPLES: usize = 128;
const DIMENSION: usize = 8;

const RUN: &str = "run smoke -o run --backend flex";

/// A sandbox with the finished smoke sweep in `run`.
fn finished() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(RUN);
    sandbox
}

/// The ids of the smoke sweep's cells, in canonical order.
fn ids(sandbox: &Sandbox) -> Vec<String> {
    let plan = sandbox.ok("plan smoke --backend flex --no-calibration --cells --json").json();
    let cells = plan["cells"].as_array().expect("a list of cells");
    cells.iter().map(|cell| cell["cell_id"].as_str().expect("an id").to_string()).collect()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn has_keys(value: &Value, expected: &[&str]) {
    let found = keys(value);
    let missing: Vec<_> = expected.iter().filter(|key| !found.contains(*key)).collect();
    assert!(missing.is_empty(), "{missing:?} are not among {found:?}");
}

fn contains_all(text: &str, phrases: &[&str]) {
    for phrase in phrases {
        assert!(text.contains(phrase), "{phrase:?} is not in:\n{text}");
    }
}

fn column_names(frame: &DataFrame) -> Vec<&str> {
    frame.get_column_names().into_iter().map(|name| name.as_str()).collect()
}

fn texts(frame: &DataFrame, name: &str) -> Vec<String> {
    let column = frame.column(name).expect("the column");
    column.str().expect("text").iter().map(|text| text.expect("no null").to_string()).collect()
}

fn lists(frame: &DataFrame, name: &str) -> Vec<Vec<f64>> {
    let column = frame.column(name).expect("the column").list().expect("lists").clone();
    let row = |i: usize| {
        let values = column.get_as_series(i).expect("no null");
        values.f32().expect("float32").into_no_null_iter().map(f64::from).collect()
    };
    (0..column.len()).map(row).collect()
}

/// Runs what must be refused: code 2, nothing on standard output, these phrases on standard error, no file changed.
fn refused(sandbox: &Sandbox, arguments: &str, phrases: &[&str]) -> Ran {
    let before = sandbox.tree();
    let ran = sandbox.run(arguments);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments}: {}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{arguments}: {}", ran.stderr);
    contains_all(&ran.stderr, phrases);
    assert_eq!(sandbox.tree(), before, "{arguments} left something behind");
    ran
}
