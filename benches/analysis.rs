//! The analysis of synthetic runs: `cargo bench --bench analysis`.
//!
//! `everything` is what a run of a million cells does after its training, and `refine` beside it: it says how long each
//! part took and the most memory. The others are its parts: `group` is done once per run, `metric` once per metric,
//! `gate` for two gates of a planned sweep; `table` is all of `surfaces.parquet`, reading and writing included.

use std::cell::Cell;
use std::time::Instant;

use std::path::Path;

use cliffline::analysis::constraint::Constraints;
use cliffline::analysis::gate::evaluate;
use cliffline::analysis::line::{Grid, Places};
use cliffline::analysis::refine::{Rules, known, wanted};
use cliffline::analysis::{Surfaces, grid_of, read_for_locations, write_lead_lag, write_locations, write_surfaces};
use cliffline::numerics::bootstrap::mean_interval;
use cliffline::numerics::stream::Streams;
use cliffline::spec::{Overrides, Sweep, from_str};
use cliffline::store::{CELLS_TABLE, CONDITIONS_TABLE, ColumnInfo, TableInfo, TableWriter, param_column};
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

/// A plan of a million cells, and a gate of its own for a part of it.
fn sweep() -> Sweep {
    let text = "name = \"g\"\npreset = \"tiny\"\n[axes]\nseed = { seeds = 8 }\n\
                train.temperature = { log = [0.01, 10.0], n = 250 }\nimage.noise = { linear = [0.0, 2.0], n = 500 }\n\
                [[gate]]\nmetric = \"lost\"\nmax = 0\n[[gate]]\nmetric = \"effective_rank_img\"\nmin = -2\n\
                where = { image.noise = { max = 1.0 } }\n";
    from_str(text, "g.toml", &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn gate(bencher: Bencher) {
    let sweep = sweep();
    let many = sweep.cells.len();
    let mut stream = Streams::new(0, "bench").item(2);
    let column = |name: &str, values: Vec<&str>| -> Column { Series::new(name.into(), values).into() };
    let cells = DataFrame::new_infer_height(vec![
        column("cell_id", sweep.cells.iter().map(|cell| cell.id.as_str()).collect()),
        column("status", vec!["ok"; many]),
        Series::new("metric_effective_rank_img".into(), (0..many).map(|_| stream.normal()).collect::<Vec<_>>()).into(),
    ]);
    let cells = cells.expect("columns of one length");
    bencher.bench_local(|| evaluate(&sweep, &cells, &DataFrame::empty()).expect("tables"));
}

/// Metrics of the table that is read.
const METRICS: usize = 12;
/// Rows of a row group in the tables of a run.
const SEGMENT: usize = 1 << 14;

#[divan::bench(args = [1_000_000], sample_count = 3, sample_size = 1)]
fn table(bencher: Bencher, cells: usize) {
    let dir = tempfile::tempdir().expect("a directory");
    write_run(dir.path(), cells);
    forget_peak();
    let axes = ["image.noise", "train.temperature"].map(String::from);
    bencher.bench_local(|| write_surfaces(dir.path(), &axes).expect("written"));
    println!("most memory: {} MB", peak_kb() / 1000);
}

/// `cells.parquet` and `conditions.parquet`.
fn write_run(dir: &Path, cells: usize) {
    let mut run = Run::new(cells);
    for metric in 0..METRICS {
        let mut stream = Streams::new(0, "bench metric").item(metric as u64);
        let values: Vec<_> = (0..cells).map(|n| (!n.is_multiple_of(10)).then(|| stream.normal())).collect();
        let column: Column = Series::new(format!("metric_{metric:02}").into(), values).into();
        run.cells.with_column(column.clone()).expect("as long");
        run.conditions.with_column(column).expect("as long");
    }
    write_tables(dir, Ok(run.cells), Ok(run.conditions));
}

fn write_tables(dir: &Path, cells: Frame, conditions: Frame) {
    for (file, frame) in [(CELLS_TABLE, cells), (CONDITIONS_TABLE, conditions)] {
        let frame = frame.expect("columns of one length");
        let role = |name: &str| if name.starts_with("metric_") { "metric" } else { "param" };
        let info = |name: &str| (name.to_string(), ColumnInfo::new(role(name), "", "of the bench"));
        let info = TableInfo::new("bench", frame.get_column_names().into_iter().map(|name| info(name)));
        let mut writer = TableWriter::create(&dir.join(file), frame.schema(), &info).expect("created");
        for start in (0..frame.height()).step_by(SEGMENT) {
            writer.write(&frame.slice(start as i64, SEGMENT)).expect("written");
            writer.cut().expect("written");
        }
        writer.finish().expect("written");
    }
}

/// A million cells of 16 seeds, whose ranks and retrieval fall on either side of a band of temperatures that noise narrows.
fn planted() -> Sweep {
    let text = "name = \"g\"\npreset = \"tiny\"\n[axes]\nseed = { seeds = 16 }\n\
                train.temperature = { log = [0.01, 10.0], n = 250 }\nimage.noise = { linear = [0.0, 2.0], n = 250 }\n\
                [[gate]]\nmetric = \"effective_rank_img\"\nmin = 8\n[[gate]]\nmetric = \"retrieval_at_1_i2t\"\nmin = 0.5\n";
    from_str(text, "g.toml", &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The tables of cells and conditions of [`planted`], with a dozen metrics.
fn write_planted(dir: &Path, sweep: &Sweep) {
    let streams = Streams::new(0, "bench planted");
    let values = |metric: u64, height: f64| -> Vec<f64> {
        let mut stream = streams.item(metric);
        let own: Vec<f64> = (0..16).map(|_| 0.2 * stream.normal()).collect();
        let value = |cell: &cliffline::spec::Cell| {
            let c = &cell.config;
            let away = (c.train.temperature.ln() + 1.0).abs() + c.image.noise + own[c.seed as usize];
            height * (2.0 - 0.5 * away) + 0.01 * height * stream.normal()
        };
        sweep.cells.iter().map(value).collect()
    };
    let text = |name: &str, texts: Vec<&str>| -> Column { Series::new(name.into(), texts).into() };
    let ids: Vec<&str> = sweep.cells.iter().map(|cell| cell.id.as_str()).collect();
    let number = |name: &str, get: &dyn Fn(&cliffline::spec::Config) -> f64| -> Column {
        Series::new(name.into(), sweep.cells.iter().map(|cell| get(&cell.config)).collect::<Vec<_>>()).into()
    };
    let mut metrics: Vec<Column> =
        (0..METRICS as u64 - 2).map(|n| Series::new(format!("metric_{n:02}").into(), values(n, 1.0)).into()).collect();
    metrics.push(Series::new("metric_effective_rank_img".into(), values(100, 8.0)).into());
    metrics.push(Series::new("metric_retrieval_at_1_i2t".into(), values(101, 0.5)).into());
    let seeds: Vec<i64> = sweep.cells.iter().map(|cell| cell.config.seed as i64).collect();
    let mut cells = vec![
        text("cell_id", ids.clone()),
        text("status", vec!["ok"; ids.len()]),
        text("crossings", vec![r#"{"warn.hub_gini_above":20,"stop.effective_rank_below":60}"#; ids.len()]),
        Series::new("param_stop_every".into(), vec![20i64; ids.len()]).into(),
        Series::new("param_seed".into(), seeds).into(),
    ];
    for axis in sweep.axes.iter().filter(|axis| axis.path != "seed") {
        let level = |c: &cliffline::spec::Config| c.values_at(std::iter::once(axis.path.as_str()))[0].as_f64();
        cells.push(number(&param_column(&axis.path), &|c| level(c).expect("a number")));
    }
    cells.extend(metrics.iter().cloned());
    let mut conditions = vec![text("cell_id", ids), text("condition", vec!["clean"; sweep.cells.len()])];
    conditions.extend(metrics);
    write_tables(dir, DataFrame::new_infer_height(cells), DataFrame::new_infer_height(conditions));
}

type Frame = polars_core::prelude::PolarsResult<DataFrame>;

/// A million cells over five axes of ten levels: short lines, of which there are many.
fn many_axes() -> Sweep {
    let gates =
        "[[gate]]\nmetric = \"effective_rank_img\"\nmin = 8\n[[gate]]\nmetric = \"retrieval_at_1_i2t\"\nmin = 0.5\n";
    let axes = ["image.noise", "image.mask", "text.dropout", "text.jitter"];
    let axes: String = axes.iter().map(|path| format!("{path} = {{ linear = [0.0, 0.9], n = 10 }}\n")).collect();
    let text = format!(
        "name = \"g\"\npreset = \"tiny\"\n[axes]\nseed = {{ seeds = 10 }}\n\
         train.temperature = {{ log = [0.01, 10.0], n = 10 }}\n{axes}{gates}"
    );
    from_str(&text, "g.toml", &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

#[divan::bench(args = ["two axes", "five axes"], sample_count = 3, sample_size = 1)]
fn everything(bencher: Bencher, shape: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let sweep = if shape == "two axes" { planted() } else { many_axes() };
    write_planted(dir.path(), &sweep);
    forget_peak();
    println!("the plan alone: {} MB", peak_kb() / 1000);
    let paths: Vec<String> = sweep.axes.iter().map(|axis| axis.path.clone()).collect();
    let (axes, zip) = grid_of(&sweep);
    let grid = Grid { axes: &axes, zip: &zip };
    let last: Cell<Option<Instant>> = Cell::new(None);
    let say = |what: &str| {
        let now = Instant::now();
        let took = last.replace(Some(now)).map_or(0.0, |before| (now - before).as_secs_f64());
        println!("{what}: {took:.2} s");
    };
    bencher.bench_local(|| {
        last.set(Some(Instant::now()));
        let surfaces = write_surfaces(dir.path(), &paths).expect("written").rows;
        say(&format!("surfaces.parquet of {METRICS} metrics, {surfaces} rows"));
        let tables = write_locations(dir.path(), &sweep).expect("written");
        let rows: Vec<u64> = tables.iter().map(|(_, table)| table.rows).collect();
        say(&format!("margins and boundaries, {rows:?} rows"));
        let rows = write_lead_lag(dir.path(), &sweep).expect("written").1.rows;
        say(&format!("lead-lag, {rows} rows"));
        let (cells, conditions) = read_for_locations(dir.path(), &sweep.gates, grid).expect("read");
        let report = evaluate(&sweep, &cells, &conditions).expect("judged");
        say(&format!("gates: {}", report.verdict.name()));
        let places = Places::new(&cells, grid).expect("places");
        let constraints = Constraints::new(&sweep.gates, &cells, &conditions, &places).expect("constraints");
        let lines = places.lines(places.axes.len() - 1);
        let known = known(&lines, &constraints, &constraints.all[0]);
        let next = wanted(&known, Rules { tolerance: 1e-3, floor: None });
        say(&format!("what refine would try next: {} levels", next.len()));
    });
    println!("most memory, the plan included: {} MB", peak_kb() / 1000);
}

/// From here on the kernel counts the most memory anew.
fn forget_peak() {
    // Where there is no such file the peak is that of the whole bench.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory this process has held at once; 0 where the kernel does not say.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
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
