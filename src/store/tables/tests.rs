use std::path::Path;

use polars_core::prelude::{AnyValue, DataType};

use super::*;
use crate::store::record::tests::sample;
use crate::store::table::{read_table, read_table_info};
use crate::store::{Identity, RecordedStatus, RunDir};

/// A failed cell, which has hardly anything.
fn failed(n: u64) -> CellRecord {
    let reason = RecordedMetric::Missing("the cell failed".into());
    CellRecord {
        status: RecordedStatus::Failed,
        reason: "out of memory".into(),
        metrics: BTreeMap::from([("effective_rank_img".into(), reason.clone()), ("cca_1".into(), reason)]),
        spectra: BTreeMap::new(),
        curves: Default::default(),
        checksums: Default::default(),
        realised: BTreeMap::new(),
        ..sample(n)
    }
}

fn run(dir: &Path, records: &[CellRecord], pack: usize) -> RunDir {
    let cell_ids = records.iter().map(|record| record.cell_id.clone()).collect();
    let identity = Identity { sweep: "s".into(), class: sample(0).class, cell_ids, ..Identity::default() };
    let (mut run, _) = RunDir::open(dir, &identity).unwrap();
    for pack in records.chunks(pack) {
        run.append(pack).unwrap();
    }
    run
}

fn plan(cells: u64) -> Vec<String> {
    (0..cells).map(|n| sample(n).cell_id).collect()
}

fn refs(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

#[test]
fn cells_have_one_typed_row_each_in_plan_order_with_nulls_where_nothing_is() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(dir.path(), &[sample(4), failed(2), sample(0)], 2);
    let metrics = [("hub_gini_i2t", "hubness"), ("effective_rank_img", "effective rank")].map(|(name, about)| {
        MetricColumn { name: name.into(), unit: "1".into(), range: [Some(0.0), None], summary: about.into() }
    });
    let params = [ParamColumn { path: "train.temperature".into(), description: "temperature".into() }];
    let axes = ["seed".to_string()];
    let cell_ids = plan(6);
    let spec = TableSpec { cell_ids: &refs(&cell_ids), axes: &axes, params: &params, metrics: &metrics, series: &[] };
    let written = write_run_tables(run.reader(), &spec).unwrap().tables;
    assert_eq!(written.keys().map(String::as_str).collect::<Vec<_>>(), RUN_TABLES[..4]);
    let rows: Vec<u64> = written.values().map(|table| table.rows).collect();
    assert_eq!(rows, [3, 6, 6, 12]);

    let path = dir.path().join("cells.parquet");
    let cells = read_table(&path).unwrap();
    let names: Vec<&str> = cells.get_column_names().into_iter().map(|name| name.as_str()).collect();
    let at = |name: &str| names.iter().position(|known| *known == name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(names[..6], ["cell_id", "status", "reason", "steps", "selected_step", "crossings"]);
    assert_eq!(at("param_train_temperature"), 6, "what is described comes first");
    let params: Vec<&str> = names[7..].iter().copied().take_while(|name| name.starts_with("param_")).collect();
    assert!(params.is_sorted() && params.contains(&"param_seed"), "{params:?}");
    let metrics = &names[7 + params.len()..at("missing_metrics")];
    assert_eq!(metrics[..2], ["metric_hub_gini_i2t", "metric_effective_rank_img"]);
    assert!(metrics[2..].is_sorted() && metrics.contains(&"metric_cca_1"), "{metrics:?}");
    assert_eq!(
        names[at("missing_metrics") + 1..],
        [
            "realised_corrupted_share_train",
            "checksum_first_batch_embeddings",
            "checksum_final_parameters",
            "checksum_test_embeddings",
        ]
    );
    let column = |name: &str| cells.column(name).unwrap();
    let values = |name: &str| (0..3).map(|row| column(name).get(row).unwrap()).collect::<Vec<_>>();
    assert_eq!(values("status"), ["ok", "failed", "collapsed"].map(AnyValue::String));
    assert_eq!(values("reason")[0], AnyValue::Null);
    assert_eq!(values("selected_step"), [AnyValue::Null, AnyValue::Null, AnyValue::Int64(10)]);
    assert_eq!(values("param_seed"), [0, 2, 4].map(AnyValue::Int64));
    assert_eq!(values("param_train_temperature")[2], AnyValue::Float64(0.07 * 5.0));
    assert_eq!(column("param_stop_freeze").dtype(), &DataType::Boolean);
    assert_eq!(column("metric_hub_gini_i2t").null_count(), 3);
    assert_eq!(column("metric_hub_gini_i2t").dtype(), &DataType::Float64);
    assert_eq!(values("metric_effective_rank_img")[..2], [AnyValue::Float64(1.0 + 1.0 / 3.0), AnyValue::Null]);
    assert!(values("missing_metrics")[0].to_string().contains(r#"{"alignment":"too few samples","#));
    assert_eq!(values("checksum_final_parameters")[1], AnyValue::Null);

    let info = read_table_info(&path).unwrap();
    assert_eq!(info.table, "cells");
    assert_eq!(info.columns["param_seed"].role, "axis");
    assert_eq!(info.columns["param_train_steps"].role, "param");
    assert_eq!(info.columns["metric_effective_rank_img"].range, Some([Some(0.0), None]));
    assert_eq!(info.columns["param_train_temperature"].description, "temperature");
}

#[test]
fn conditions_have_a_row_each_after_the_clean_one() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(dir.path(), &[sample(0), CellRecord { conditions: Vec::new(), ..sample(1) }], 2);
    write_run_tables(run.reader(), &TableSpec { cell_ids: &refs(&plan(2)), ..TableSpec::default() }).unwrap();
    let table = read_table(&dir.path().join("conditions.parquet")).unwrap();
    let names: Vec<&str> = table.get_column_names().into_iter().map(|name| name.as_str()).collect();
    assert_eq!(names[..3], ["cell_id", "condition", "metric_alignment"]);
    assert!(names.contains(&"metric_effective_rank_img") && names.last() == Some(&"missing_metrics"), "{names:?}");
    let values = |name: &str| (0..3).map(|row| table.column(name).unwrap().get(row).unwrap()).collect::<Vec<_>>();
    assert_eq!(values("condition"), ["clean", "noisy", "clean"].map(AnyValue::String));
    let ranks = [1.0 + 1.0 / 3.0, 1.0 + 1.0 / 4.0, 1.0 + 1.0 / 4.0].map(AnyValue::Float64);
    assert_eq!(values("metric_effective_rank_img"), ranks);
    assert!(values("missing_metrics")[1].to_string().contains(r#"{"alignment":"too few samples","#));
}

#[test]
fn curves_and_spectra_are_long() {
    let dir = tempfile::tempdir().unwrap();
    let mut other = sample(1);
    other.curves.series = BTreeMap::from([("gradient_norm".into(), vec![Some(1.0); 3])]);
    let run = run(dir.path(), &[sample(0), other], 2);
    write_run_tables(run.reader(), &TableSpec { cell_ids: &refs(&plan(2)), ..TableSpec::default() }).unwrap();
    let curves = read_table(&dir.path().join("curves.parquet")).unwrap();
    let names: Vec<&str> = curves.get_column_names().into_iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["cell_id", "step", "gradient_norm", "loss", "validation_retrieval_at_1_i2t"]);
    let nulls = |name: &str| curves.column(name).unwrap().null_count();
    assert_eq!(
        (curves.height(), nulls("gradient_norm"), nulls("loss"), nulls("validation_retrieval_at_1_i2t")),
        (6, 3, 3, 4)
    );
    let spectra = read_table(&dir.path().join("spectra.parquet")).unwrap();
    let row = |n: usize| spectra.get(n).unwrap()[1..].to_vec();
    assert_eq!(spectra.height(), 12);
    assert_eq!(row(2), [AnyValue::String("img"), AnyValue::Int32(3), AnyValue::Float64(0.1)]);
    assert_eq!(row(5), [AnyValue::String("txt"), AnyValue::Int32(3), AnyValue::Float64(1e-17)]);
}

#[test]
fn bytes_do_not_depend_on_the_order_or_the_packs_in_which_cells_finished() {
    let cells = 40;
    let bytes = |order: &dyn Fn(usize) -> usize, pack: usize| {
        let dir = tempfile::tempdir().unwrap();
        let mut records: Vec<CellRecord> = (0..cells).map(|n| sample(order(n as usize) as u64)).collect();
        // What differs between two executions of one cell.
        records.iter_mut().for_each(|record| {
            record.wall_s = pack as f64;
            record.finished_utc = format!("2026-11-20T10:00:{pack:02}Z");
        });
        let run = run(dir.path(), &records, pack);
        let cell_ids = plan(cells);
        let spec = TableSpec { cell_ids: &refs(&cell_ids), ..TableSpec::default() };
        let written = write_segments(dir.path(), run.reader(), &spec, 12, 12).unwrap();
        // Nor on how many records are in memory at once.
        assert_eq!(write_segments(dir.path(), run.reader(), &spec, 12, 4).unwrap(), written);
        written.tables.keys().map(|file| std::fs::read(dir.path().join(file)).unwrap()).collect::<Vec<_>>()
    };
    let reference = bytes(&|n| n, 40);
    assert_eq!(bytes(&|n| n, 1), reference);
    assert_eq!(bytes(&|n| n * 7 % 40, 3), reference);
}

#[test]
fn a_run_without_finished_cells_has_empty_tables() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(dir.path(), &[], 1);
    let metrics = [MetricColumn { name: "cca_1".into(), ..MetricColumn::default() }];
    let cell_ids = plan(3);
    let spec = TableSpec { cell_ids: &refs(&cell_ids), metrics: &metrics, ..TableSpec::default() };
    let written = write_run_tables(run.reader(), &spec).unwrap().tables;
    assert!(written.values().all(|table| table.rows == 0));
    assert!(read_table(&dir.path().join("cells.parquet")).unwrap().column("metric_cca_1").is_ok());
}

#[test]
fn two_names_that_make_one_column_name_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut record = sample(0);
    for name in ["a.b_c", "a_b.c"] {
        record.metrics.insert(name.into(), RecordedMetric::Value(1.0));
    }
    let run = run(dir.path(), &[record], 1);
    let error = write_run_tables(run.reader(), &TableSpec { cell_ids: &refs(&plan(1)), ..TableSpec::default() });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("cells.parquet") && error.contains("metric_a_b_c"), "{error}");
}
