//! The published run still opens, is what its manifest says, and is what the README shows.

use std::path::Path;

use cliffline::analysis::summarise;
use cliffline::cli::render_summary;
use cliffline::metric;
use cliffline::spec::{Overrides, PARAMS, load};
use cliffline::store::{CellRecord, RunReader, read_table};

const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results/published/collapse");

fn records() -> (RunReader, Vec<CellRecord>) {
    let reader = RunReader::open(Path::new(RUN)).expect("the published run opens");
    let mut ids: Vec<String> = reader.cells().map(|(id, _)| id.to_string()).collect();
    ids.sort();
    let records = reader.records(&ids).expect("every record reads");
    (reader, records)
}

#[test]
fn its_tables_are_the_ones_its_manifest_names() {
    let (reader, records) = records();
    let manifest = reader.manifest().expect("readable").expect("there");
    assert_eq!(manifest.cells.planned as usize, records.len());
    assert_eq!(manifest.tables.len(), 3);
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

#[test]
fn the_readme_shows_its_table() {
    let sweep = load("collapse", &Overrides::default()).expect("a built-in");
    let axes: Vec<_> = sweep.axes.iter().map(|a| (a.path.clone(), a.levels.clone())).collect();
    let table = render_summary(&summarise("effective_rank_img", &axes, &records().1));
    let readme = include_str!("../README.md");
    for line in table.lines().skip(1) {
        assert!(readme.contains(line), "the README lacks: {line}");
    }
}
