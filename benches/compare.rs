//! Comparing synthetic runs with eight seeds: `cargo bench --bench compare`.
//!
//! `pairing`, `outcomes` and `conditions` are done once per comparison, `metric` once per metric; the rest is reading.

use std::fmt::Write;

use cliffline::analysis::compare::{Differences, Measured, Pairing, columns_of_cells};
use cliffline::numerics::stream::Streams;
use cliffline::spec::{Overrides, Sweep, from_str};
use divan::Bencher;
use polars_core::prelude::{Column, DataFrame, NamedFrom, Series};

fn main() {
    divan::main();
}

const SEEDS: usize = 8;
const TEMPERATURES: usize = 50;
const CELLS: [usize; 2] = [10_000, 1_000_000];

/// A run of which one cell in ten has no value.
struct Run {
    sweep: Sweep,
    cells: DataFrame,
    conditions: DataFrame,
    values: Column,
}

impl Run {
    fn new(cells: usize, rate: f64) -> Self {
        let mut text =
            format!("name = \"bench\"\n[train]\nlearning_rate = {rate}\n[axes]\nseed = {{ seeds = {SEEDS} }}\n");
        let _ = writeln!(text, "\"train.temperature\" = {{ log = [0.01, 1.0], n = {TEMPERATURES} }}");
        let _ = writeln!(text, "\"image.noise\" = {{ linear = [0.0, 1.0], n = {} }}", cells / SEEDS / TEMPERATURES);
        let sweep = from_str(&text, "bench.toml", &Overrides::default()).expect("a valid spec");
        assert_eq!(sweep.cells.len(), cells);
        let ids: Vec<&str> = sweep.cells.iter().map(|cell| cell.id.as_str()).collect();
        let column = |name: &str, texts: Vec<&str>| -> Column { Series::new(name.into(), texts).into() };
        let columns = columns_of_cells().into_iter().map(|name| match name.as_str() {
            "status" => column(&name, vec!["ok"; cells]),
            _ => column(&name, ids.clone()),
        });
        let mut stream = Streams::new(0, "bench").item(0);
        let value = |n: usize| (!n.is_multiple_of(10)).then(|| stream.normal());
        Self {
            cells: DataFrame::new_infer_height(columns.collect()).expect("columns of one length"),
            conditions: DataFrame::new_infer_height(vec![
                column("cell_id", ids.clone()),
                column("condition", vec!["clean"; cells]),
            ])
            .expect("the same"),
            values: Series::new("metric_x".into(), (0..cells).map(value).collect::<Vec<_>>()).into(),
            sweep,
        }
    }

    fn two(cells: usize) -> [Self; 2] {
        [0.05, 0.2].map(|rate| Self::new(cells, rate))
    }
}

#[divan::bench(args = CELLS, sample_count = 3, sample_size = 1)]
fn pairing(bencher: Bencher, cells: usize) {
    let [a, b] = Run::two(cells);
    bencher.bench_local(|| Pairing::new(&a.sweep, &b.sweep).len());
}

#[divan::bench(args = CELLS, sample_count = 3, sample_size = 1)]
fn outcomes(bencher: Bencher, cells: usize) {
    let [a, b] = Run::two(cells);
    let pairing = Pairing::new(&a.sweep, &b.sweep);
    bencher.bench_local(|| pairing.outcomes(&a.cells, &b.cells).expect("tables").0);
}

#[divan::bench(args = CELLS, sample_count = 3, sample_size = 1)]
fn conditions(bencher: Bencher, cells: usize) {
    let [a, b] = Run::two(cells);
    let pairing = Pairing::new(&a.sweep, &b.sweep);
    bencher.bench_local(|| drop(Differences::new(&pairing, &a.conditions, &b.conditions).expect("tables")));
}

#[divan::bench(args = CELLS, sample_count = 5, sample_size = 1)]
fn metric(bencher: Bencher, cells: usize) {
    let [a, b] = Run::two(cells);
    let pairing = Pairing::new(&a.sweep, &b.sweep);
    let differences = Differences::new(&pairing, &a.conditions, &b.conditions).expect("tables");
    bencher.bench_local(|| match differences.rows("x", Some(&a.values), Some(&b.values)).expect("numbers") {
        Measured::Both(rows) => rows.len(),
        other => panic!("{other:?}"),
    });
}
