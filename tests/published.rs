//! The published run still opens, is what its manifest says, and is what the README shows.

use std::io::Write;
use std::path::Path;

use cliffline::aligner::backend::{Backend, Choice};
use cliffline::analysis::Summary;
use cliffline::cli::render_summary;
use cliffline::engine::{BurnTrainer, Control, Measured};
use cliffline::metric;
use cliffline::spec::{Cell, Config, Overrides, PARAMS, load};
use cliffline::store::{CELLS_TABLE, CellRecord, RUN_TABLES, RunReader, read_columns, read_table};

const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results/published/collapse");

fn records() -> (RunReader, Vec<CellRecord>) {
    let reader = RunReader::open(Path::new(RUN)).expect("the published run opens");
    let mut ids: Vec<String> = reader.cells().map(|(id, _)| id).collect();
    ids.sort();
    let records = reader.records(&ids).expect("every record reads");
    (reader, records)
}

#[test]
fn its_tables_are_the_ones_its_manifest_names() {
    let (reader, records) = records();
    let manifest = reader.manifest().expect("readable").expect("there");
    assert_eq!(manifest.cells.planned as usize, records.len());
    assert!(RUN_TABLES.iter().all(|file| manifest.tables.contains_key(*file)), "{:?}", manifest.tables.keys());
    for (file, table) in &manifest.tables {
        let bytes = std::fs::read(Path::new(RUN).join(file)).expect("the table is there");
        assert_eq!(blake3::hash(&bytes).to_hex().as_str(), table.blake3, "{file}");
    }
}

#[test]
fn its_columns_are_those_of_the_registries() {
    let cells = read_table(&Path::new(RUN).join("cells.parquet")).expect("the table opens");
    let names: Vec<String> = cells.get_column_names().iter().map(ToString::to_string).collect();
    for param in PARAMS {
        let column = format!("param_{}", param.path.replace('.', "_"));
        assert!(names.contains(&column), "{column}");
    }
    for descriptor in metric::descriptors() {
        let column = format!("metric_{}", descriptor.name);
        assert!(names.contains(&column), "{column}");
    }
}

/// Whether results of a class can be made here. On another machine class there is nothing to compare with, and this
/// says so.
fn is_class_of(backend: &Backend, published: &str) -> bool {
    if backend.class == published {
        return true;
    }
    let numerics = |class: &str| class.split(' ').next().unwrap_or_default().to_string();
    let advice = "publish the run again after a change of the numerics version";
    assert_eq!(numerics(&backend.class), numerics(published), "{advice}");
    // Written past the test harness, which keeps what a passing test prints to itself.
    let skipped =
        format!("SKIPPED: cells of class `{published}` were not made again; this machine's is `{}`", backend.class);
    writeln!(std::io::stderr(), "{skipped}").expect("standard error");
    false
}

/// Guards the numerics version: numbers that change while it stays the same would be mixed with older ones.
#[test]
fn its_cells_come_out_the_same_again() {
    let (_, records) = records();
    let backend = Choice::Native.open().expect("native needs nothing");
    if !is_class_of(&backend, &records[0].class) {
        return;
    }
    let trainer = BurnTrainer::new(backend);
    for record in [&records[0], &records[100]] {
        let config: Config = serde_json::from_value(record.config.clone()).expect("a configuration");
        let cell = Cell::new(config, [].into());
        let mut again = trainer.retrain(&cell, &Control::default()).expect("it trains").outcome;
        again.wall_s = record.wall_s;
        assert_eq!(again, record.to_outcome(), "numbers changed: bump NUMERICS_VERSION and publish the run again");
    }
}

/// The same for flex, by one cell of the same sweep; what `show` printed of it, shortened, is in `fixtures`.
#[test]
fn a_cell_of_flex_comes_out_the_same_again() {
    let shown: serde_json::Value = serde_json::from_str(include_str!("fixtures/flex_cell.json")).expect("JSON");
    let backend = Choice::Flex.open().expect("flex needs nothing");
    if !is_class_of(&backend, shown["class"].as_str().expect("a class")) {
        return;
    }
    let config: Config = serde_json::from_value(shown["config"].clone()).expect("a configuration");
    let cell = Cell::new(config, [].into());
    assert_eq!(cell.id, shown["cell_id"]);
    let outcome = BurnTrainer::new(backend).retrain(&cell, &Control::default()).expect("it trains").outcome;
    let advice = "numbers changed: bump NUMERICS_VERSION and make the fixture again";
    assert_eq!(outcome.checksums.final_parameters, shown["checksums"]["final_parameters"], "{advice}");
    for (name, measured) in &outcome.metrics {
        let expected = shown["metrics"][name].as_f64();
        let value = if let Measured::Value(value) = measured { Some(*value) } else { None };
        assert_eq!(value, expected, "{name}: {advice}");
    }
}

#[test]
fn the_readme_shows_its_table() {
    let sweep = load("collapse", &Overrides::default()).expect("a built-in");
    let axes: Vec<_> = sweep.axes.iter().map(|a| (a.path.clone(), a.levels.clone())).collect();
    let mut summary = Summary::new("effective_rank_img", &axes);
    let cells = read_columns(&Path::new(RUN).join(CELLS_TABLE), &summary.columns_of_cells()).expect("the table opens");
    summary.add_all(&cells).expect("the columns are there");
    assert_eq!(summary.unplaced, 0, "the published run is of the sweep as it is now");
    let table = render_summary(&summary, None);
    let readme = include_str!("../README.md");
    for line in table.lines().skip(1) {
        assert!(readme.contains(line), "the README lacks: {line}");
    }
}
