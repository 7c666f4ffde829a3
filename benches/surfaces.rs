//! Surfaces of synthetic runs with eight seeds: `cargo bench --bench surfaces`.
//!
//! `group` is done once per run, `metric` once per metric; the rest of `surfaces.parquet` is reading and writing.

use cliffline::analysis::Surfaces;
use cliffline::numerics::bootstrap::mean_interval;
use cliffline::numerics::stream::Streams;
use divan::Bencher;
use polars_core::prelude::{Column, DataFrame, NamedFrom, Series};

fn main() {
    divan::main();
}

const SEEDS: usize = 8;
const CELLS: [usize; 2] = [10_000, 1_000_000];

/// Cells over two axes; one in ten has no value.
struct Run {
    cells: DataFrame,
    conditions: DataFrame,
    values: Column,
}

impl Run {
    fn new(cells: usize) -> Self {
        let ids = Series::new("cell_id".into(), (0..cells).map(|n| format!("{n:064x}")).collect::<Vec<_>>());
        let axis = |name: &str, level: &dyn Fn(usize) -> usize| -> Column {
            Series::new(name.into(), (0..cells).map(|n| level(n / SEEDS) as f64).collect::<Vec<_>>()).into()
        };
        let text = |name: &str, text: &str| -> Column { Series::new(name.into(), vec![text; cells]).into() };
        let columns = vec![
            ids.clone().into(),
            text("status", "ok"),
            axis("param_train_temperature", &|group| group % 50),
            axis("param_image_noise", &|group| group / 50),
        ];
        let mut stream = Streams::new(0, "bench").item(0);
        let value = |n: usize| (!n.is_multiple_of(10)).then(|| stream.normal());
        let values = Series::new("metric_x".into(), (0..cells).map(value).collect::<Vec<_>>()).into();
        Self {
            cells: DataFrame::new_infer_height(columns).expect("columns of one length"),
            conditions: DataFrame::new_infer_height(vec![ids.into(), text("condition", "clean")]).expect("the same"),
            values,
        }
    }

    fn surfaces(&self) -> Surfaces {
        let axes = ["train.temperature", "image.noise"].map(String::from);
        Surfaces::new(&self.cells, &self.conditions, &axes).expect("tables")
    }
}

#[divan::bench(args = CELLS, sample_count = 5, sample_size = 1)]
fn group(bencher: Bencher, cells: usize) {
    let run = Run::new(cells);
    bencher.bench_local(|| run.surfaces());
}

#[divan::bench(args = CELLS, sample_count = 5, sample_size = 1)]
fn metric(bencher: Bencher, cells: usize) {
    let run = Run::new(cells);
    let surfaces = run.surfaces();
    bencher.bench_local(|| surfaces.rows("x", &run.values).expect("rows"));
}

/// One interval, on one thread.
#[divan::bench(args = [4, 5, 8, 16, 64, 65])]
fn interval(bencher: Bencher, n: usize) {
    let mut stream = Streams::new(0, "bench").item(1);
    let mut values: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
    values.sort_by(f64::total_cmp);
    let mut scratch = Vec::new();
    bencher.bench_local(|| mean_interval(&values, &mut scratch).expect("an interval"));
}
