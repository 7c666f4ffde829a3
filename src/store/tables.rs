//! The tables made of a run's records: `cells.parquet`, `conditions.parquet`, `curves.parquet` and `spectra.parquet`.
//!
//! Rows follow the plan and columns a fixed order, so the bytes do not depend on when, where or in which order cells
//! finished. Records are read and written in segments of the plan, so memory does not grow with the run.

use std::collections::BTreeMap;

use polars_core::prelude::{Column, DataFrame, NamedFrom, Series};
use serde_json::Value;

use super::error::StoreError;
use super::ordered::in_order;
use super::part::{Columns, ScalarKind};
use super::reader::RunReader;
use super::record::{CellRecord, RecordedMetric};
use super::table::{ColumnInfo, TableBytes, TableInfo, TableWriter};
use crate::spec::CLEAN;
use crate::spec::config::flatten;

/// Finished cells after which every table begins a new row group.
const SEGMENT_CELLS: usize = 1 << 14;

/// Cells whose records are in memory at once: some tens of megabytes where curves have a hundred points. A divisor of
/// [`SEGMENT_CELLS`].
const PORTION_CELLS: usize = 1 << 9;

/// A metric or time series, as the registry describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricColumn {
    pub name: String,
    pub unit: String,
    /// Least and greatest possible value; `None` where there is no bound.
    pub range: [Option<f64>; 2],
    pub summary: String,
}

/// A configuration parameter, as the registry describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParamColumn {
    /// Dotted path.
    pub path: String,
    pub description: String,
}

/// What the tables hold, beyond the records.
#[derive(Clone, Debug, Default)]
pub struct TableSpec<'a> {
    /// Every planned cell in canonical order; those that are not finished have no rows.
    pub cell_ids: &'a [&'a str],
    /// Paths of the axes.
    pub axes: &'a [String],
    /// Column order of the parameters; others follow, sorted.
    pub params: &'a [ParamColumn],
    /// Column order of the metrics; others follow, sorted.
    pub metrics: &'a [MetricColumn],
    /// Descriptions of the time series, whose columns are sorted by name.
    pub series: &'a [MetricColumn],
}

/// Writes the tables of the records into the run directory and returns their sizes and hashes by file name.
///
/// # Errors
/// [`StoreError::Damaged`] for a damaged block (opening the run moves it aside), [`StoreError::Io`] when a table cannot
/// be written; then its old version is still there.
pub fn write_run_tables(reader: &RunReader, spec: &TableSpec) -> Result<BTreeMap<String, TableBytes>, StoreError> {
    write_segments(reader, spec, SEGMENT_CELLS, PORTION_CELLS)
}

fn write_segments(
    reader: &RunReader,
    spec: &TableSpec,
    segment_cells: usize,
    portion_cells: usize,
) -> Result<BTreeMap<String, TableBytes>, StoreError> {
    let layout = Layout::new(spec, reader.columns());
    let mut tables = Vec::new();
    for (file, table, build) in TABLES {
        let path = reader.dir().join(file);
        // The columns of no records: names and types without rows.
        let (frame, info) = assemble(table, build(&layout, &[]), &path)?;
        tables.push((*file, *build, TableWriter::create(&path, frame.schema(), &info)?));
    }
    // Segments are cut from the finished cells, so that row groups do not depend on what is missing between them.
    let finished: Vec<&str> = spec.cell_ids.iter().copied().filter(|id| reader.status(id).is_some()).collect();
    let mut done = 0;
    in_order(reader, &finished, portion_cells, &mut |records| {
        done += records.len();
        for (file, build, writer) in &mut tables {
            let (frame, _) = assemble(file, build(&layout, &records), &reader.dir().join(*file))?;
            writer.write(&frame)?;
            if done.is_multiple_of(segment_cells) {
                writer.cut()?;
            }
        }
        Ok(())
    })?;
    tables.into_iter().map(|(file, _, writer)| Ok((file.to_string(), writer.finish()?))).collect()
}

/// Files of all tables. Those from the fifth on are made of the first two, by `analysis`, the others of the records.
pub const RUN_TABLES: [&str; 8] = [
    CELLS_TABLE,
    CONDITIONS_TABLE,
    CURVES_TABLE,
    "spectra.parquet",
    SURFACES_TABLE,
    MARGINS_TABLE,
    BOUNDARIES_TABLE,
    LEAD_LAG_TABLE,
];

/// The table with one row per finished cell, in the order of the plan.
pub const CELLS_TABLE: &str = "cells.parquet";

/// The table with one row per finished cell and condition.
pub const CONDITIONS_TABLE: &str = "conditions.parquet";

/// The table with one row per finished cell and recorded step, those of a cell together in the order of their steps.
pub const CURVES_TABLE: &str = "curves.parquet";

/// The table of metrics over axes, aggregated over seeds.
pub const SURFACES_TABLE: &str = "surfaces.parquet";

/// The table of how far constraints hold along axes.
pub const MARGINS_TABLE: &str = "margins.parquet";

/// The table of where constraints flip along axes.
pub const BOUNDARIES_TABLE: &str = "boundaries.parquet";

/// The table of which limits and constraints break first.
pub const LEAD_LAG_TABLE: &str = "lead_lag.parquet";

/// The table of the test embeddings of chosen cells, beside [`RUN_TABLES`]: not every complete run has one.
pub const EXEMPLARS_TABLE: &str = "exemplars.parquet";

type Described = Vec<(Column, ColumnInfo)>;
type Build = fn(&Layout, &[CellRecord]) -> Described;

const TABLES: &[(&str, &str, Build)] = &[
    (RUN_TABLES[0], "cells", cells_columns),
    (RUN_TABLES[1], "conditions", conditions_columns),
    (RUN_TABLES[2], "curves", curves_columns),
    (RUN_TABLES[3], "spectra", spectra_columns),
];

fn assemble(table: &str, columns: Described, path: &std::path::Path) -> Result<(DataFrame, TableInfo), StoreError> {
    let info = columns.iter().map(|(column, info)| (column.name().to_string(), info.clone()));
    let info = TableInfo::new(table, info);
    let frame = DataFrame::new_infer_height(columns.into_iter().map(|(column, _)| column).collect())
        .map_err(|e| StoreError::Table { path: path.to_path_buf(), reason: e.to_string() })?;
    Ok((frame, info))
}

/// The columns of the tables, in order.
struct Layout {
    params: Vec<(String, ScalarKind, ColumnInfo)>,
    metrics: Vec<(String, ColumnInfo)>,
    realised: Vec<String>,
    series: Vec<(String, ColumnInfo)>,
}

impl Layout {
    fn new(spec: &TableSpec, columns: Columns) -> Self {
        let Columns { mut params, metrics, realised, series } = columns;
        let role = |path: &str| if spec.axes.iter().any(|axis| axis == path) { "axis" } else { "param" };
        let mut ordered = Vec::new();
        for known in spec.params {
            if let Some(kind) = params.remove(&known.path) {
                ordered.push((known.path.clone(), kind, ColumnInfo::new(role(&known.path), "", &known.description)));
            }
        }
        for (path, kind) in params {
            let info = ColumnInfo::new(role(&path), "", format!("configuration parameter {path}"));
            ordered.push((path, kind, info));
        }
        let mut described: Vec<(String, ColumnInfo)> = spec.metrics.iter().map(|m| m.column("metric")).collect();
        let extra = metrics.into_iter().filter(|name| !spec.metrics.iter().any(|known| known.name == *name));
        described.extend(extra.map(|name| (name, ColumnInfo::new("metric", "", "not in this version's registry"))));
        let series = series
            .into_iter()
            .map(|name| match spec.series.iter().find(|known| known.name == name) {
                Some(known) => known.column("series"),
                None => (name, ColumnInfo::new("series", "", "time series")),
            })
            .collect();
        Self { params: ordered, metrics: described, realised: realised.into_iter().collect(), series }
    }
}

impl MetricColumn {
    fn column(&self, role: &str) -> (String, ColumnInfo) {
        let range = (self.range != [None, None]).then_some(self.range);
        (self.name.clone(), ColumnInfo { range, ..ColumnInfo::new(role, &self.unit, &self.summary) })
    }
}

/// A column name made of a path or a registry name.
fn column_name(prefix: &str, name: &str) -> String {
    format!("{prefix}_{}", name.replace('.', "_"))
}

/// The column of [`CELLS_TABLE`] that holds the parameter at `path`.
pub fn param_column(path: &str) -> String {
    column_name("param", path)
}

/// The column of [`CELLS_TABLE`] that holds the metric `name`.
pub fn metric_column(name: &str) -> String {
    column_name("metric", name)
}

fn text<'a>(name: &str, values: impl Iterator<Item = Option<&'a str>>) -> Column {
    Series::new(name.into(), values.collect::<Vec<_>>()).into()
}

fn floats(name: &str, values: impl Iterator<Item = Option<f64>>) -> Column {
    Series::new(name.into(), values.collect::<Vec<_>>()).into()
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// One row per finished cell.
fn cells_columns(layout: &Layout, records: &[CellRecord]) -> Described {
    let info = ColumnInfo::new;
    let steps: Vec<i64> = records.iter().map(|r| i64::try_from(r.steps).unwrap_or(i64::MAX)).collect();
    let mut columns = vec![
        (
            text("cell_id", records.iter().map(|r| Some(r.cell_id.as_str()))),
            info("id", "", "hash of the resolved configuration"),
        ),
        (
            text("status", records.iter().map(|r| Some(r.status.name()))),
            info("status", "", "ok, collapsed, diverged or failed"),
        ),
        (
            text("reason", records.iter().map(|r| non_empty(&r.reason))),
            info("status", "", "why the status is not ok; null when it is"),
        ),
        (Series::new("steps".into(), steps).into(), info("value", "steps", "optimiser steps taken")),
    ];
    let selected = |record: &CellRecord| i64::try_from(record.selection.as_ref()?.step?).ok();
    let selected: Vec<Option<i64>> = records.iter().map(selected).collect();
    columns.push((
        Series::new("selected_step".into(), selected).into(),
        info(
            "value",
            "steps",
            "step of the checkpoint that metrics are of; null where cells are measured at their ends, and for a \
             diverged cell",
        ),
    ));
    let crossings: Vec<Option<String>> = records.iter().map(crossings).collect();
    columns.push((
        text("crossings", crossings.iter().map(Option::as_deref)),
        info(
            "status",
            "",
            "JSON object from each stop rule or warning that was broken to the step at which it first was; null for none",
        ),
    ));
    columns.extend(param_columns(layout, records));
    columns.extend(metric_columns(layout, &records.iter().map(|record| &record.metrics).collect::<Vec<_>>()));
    for name in &layout.realised {
        let values = records.iter().map(|record| record.realised.get(name).copied());
        let about = format!("realised {name} of the cell's data");
        columns.push((floats(&column_name("realised", name), values), ColumnInfo::new("realised", "", about)));
    }
    type Checksum = fn(&CellRecord) -> &str;
    let checksums: [(&str, Checksum, &str); 3] = [
        (
            "checksum_first_batch_embeddings",
            |r| &r.checksums.first_batch_embeddings,
            "BLAKE3 of the first minibatch's normalised embeddings",
        ),
        ("checksum_final_parameters", |r| &r.checksums.final_parameters, "BLAKE3 of all parameters at the end"),
        ("checksum_test_embeddings", |r| &r.checksums.test_embeddings, "BLAKE3 of the raw test embeddings"),
    ];
    for (name, get, about) in checksums {
        columns.push((text(name, records.iter().map(|r| non_empty(get(r)))), info("checksum", "", about)));
    }
    columns
}

/// Every scalar of the configuration, in its own type.
fn param_columns(layout: &Layout, records: &[CellRecord]) -> Described {
    let configs: Vec<BTreeMap<String, Value>> = records.iter().map(|record| flatten(&record.config)).collect();
    let column = |path: &String, kind: ScalarKind| -> Series {
        let name = param_column(path).into();
        let values = configs.iter().map(|config| config.get(path));
        match kind {
            ScalarKind::Int => Series::new(name, values.map(|v| v?.as_i64()).collect::<Vec<_>>()),
            ScalarKind::Float => Series::new(name, values.map(|v| v?.as_f64()).collect::<Vec<_>>()),
            ScalarKind::Bool => Series::new(name, values.map(|v| v?.as_bool()).collect::<Vec<_>>()),
            ScalarKind::Text => Series::new(name, values.map(|v| scalar_text(v?)).collect::<Vec<_>>()),
        }
    };
    layout.params.iter().map(|(path, kind, info)| (column(path, *kind).into(), info.clone())).collect()
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Limit to first step, as a JSON object; `None` when none was crossed.
fn crossings(record: &CellRecord) -> Option<String> {
    let first: BTreeMap<&str, u64> = record.crossings.iter().map(|c| (c.limit.as_str(), c.step)).collect();
    if first.is_empty() { None } else { serde_json::to_string(&first).ok() }
}

/// Every metric of every row, and the reasons of those that are missing.
fn metric_columns(layout: &Layout, rows: &[&BTreeMap<String, RecordedMetric>]) -> Described {
    let column = |(name, info): &(String, ColumnInfo)| {
        let values = rows.iter().map(|metrics| match metrics.get(name) {
            Some(RecordedMetric::Value(value)) => Some(*value),
            _ => None,
        });
        (floats(&metric_column(name), values), info.clone())
    };
    let mut columns: Described = layout.metrics.iter().map(column).collect();
    let missing: Vec<Option<String>> = rows.iter().map(|metrics| missing_metrics(metrics)).collect();
    let about = "JSON object from metric name to the reason why there is no value; null when none is missing";
    columns.push((text("missing_metrics", missing.iter().map(Option::as_deref)), ColumnInfo::new("status", "", about)));
    columns
}

/// One row per finished cell and condition, the one under which it was trained first.
fn conditions_columns(layout: &Layout, records: &[CellRecord]) -> Described {
    let rows: Vec<(&str, &str, &BTreeMap<String, RecordedMetric>)> = records
        .iter()
        .flat_map(|record| {
            let clean = std::iter::once((CLEAN, &record.metrics));
            let others = record.conditions.iter().map(|c| (c.name.as_str(), &c.metrics));
            clean.chain(others).map(|(name, metrics)| (record.cell_id.as_str(), name, metrics))
        })
        .collect();
    let mut columns = vec![
        (
            text("cell_id", rows.iter().map(|row| Some(row.0))),
            ColumnInfo::new("id", "", "hash of the resolved configuration and the conditions"),
        ),
        (
            text("condition", rows.iter().map(|row| Some(row.1))),
            ColumnInfo::new("index", "", "clean: as trained; others as the spec names them"),
        ),
    ];
    columns.extend(metric_columns(layout, &rows.iter().map(|row| row.2).collect::<Vec<_>>()));
    columns
}

/// The reasons of missing metrics as a JSON object; `None` when none is missing.
fn missing_metrics(metrics: &BTreeMap<String, RecordedMetric>) -> Option<String> {
    let missing: BTreeMap<&str, &str> = metrics
        .iter()
        .filter_map(|(name, metric)| match metric {
            RecordedMetric::Missing(reason) => Some((name.as_str(), reason.as_str())),
            RecordedMetric::Value(_) => None,
        })
        .collect();
    if missing.is_empty() { None } else { serde_json::to_string(&missing).ok() }
}

/// One row per finished cell and recorded step.
fn curves_columns(layout: &Layout, records: &[CellRecord]) -> Described {
    let points = |r: &CellRecord| r.curves.step.len();
    let ids = records.iter().flat_map(|r| std::iter::repeat_n(Some(r.cell_id.as_str()), points(r)));
    let steps: Vec<i64> =
        records.iter().flat_map(|r| &r.curves.step).map(|step| i64::try_from(*step).unwrap_or(i64::MAX)).collect();
    let mut columns = vec![
        (text("cell_id", ids), ColumnInfo::new("id", "", "hash of the resolved configuration")),
        (
            Series::new("step".into(), steps).into(),
            ColumnInfo::new("index", "steps", "optimiser steps taken; 0 is before the first"),
        ),
    ];
    for (name, info) in &layout.series {
        let values = records.iter().flat_map(|record| {
            let series = record.curves.series.get(name);
            (0..points(record)).map(move |point| series.and_then(|values| values.get(point).copied().flatten()))
        });
        columns.push((floats(&name.replace('.', "_"), values), info.clone()));
    }
    columns
}

/// One row per finished cell, modality and eigenvalue.
fn spectra_columns(_: &Layout, records: &[CellRecord]) -> Described {
    let (mut ids, mut modalities, mut ks, mut values) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for record in records {
        for (modality, spectrum) in &record.spectra {
            for (k, value) in (1i32..).zip(spectrum) {
                ids.push(Some(record.cell_id.as_str()));
                modalities.push(Some(modality.as_str()));
                ks.push(k);
                values.push(*value);
            }
        }
    }
    vec![
        (text("cell_id", ids.into_iter()), ColumnInfo::new("id", "", "hash of the resolved configuration")),
        (text("modality", modalities.into_iter()), ColumnInfo::new("index", "", "img or txt")),
        (Series::new("k".into(), ks).into(), ColumnInfo::new("index", "", "rank of the eigenvalue, 1 is the largest")),
        (
            Series::new("eigenvalue".into(), values).into(),
            ColumnInfo {
                range: Some([Some(0.0), None]),
                ..ColumnInfo::new("value", "1", "covariance eigenvalue of the test embeddings")
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
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
        let spec =
            TableSpec { cell_ids: &refs(&cell_ids), axes: &axes, params: &params, metrics: &metrics, series: &[] };
        let written = write_run_tables(run.reader(), &spec).unwrap();
        assert_eq!(written.keys().map(String::as_str).collect::<Vec<_>>(), RUN_TABLES[..4]);
        let rows: Vec<u64> = written.values().map(|table| table.rows).collect();
        assert_eq!(rows, [3, 6, 6, 10]);

        let path = dir.path().join("cells.parquet");
        let cells = read_table(&path).unwrap();
        let names: Vec<&str> = cells.get_column_names().into_iter().map(|name| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "cell_id",
                "status",
                "reason",
                "steps",
                "selected_step",
                "crossings",
                "param_train_temperature",
                "param_seed",
                "param_stop_freeze",
                "param_train_optimiser",
                "param_train_steps",
                "metric_hub_gini_i2t",
                "metric_effective_rank_img",
                "metric_cca_1",
                "missing_metrics",
                "realised_pairing_rate_train",
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
        assert_eq!(values("metric_effective_rank_img")[..2], [AnyValue::Float64(1.0 / 3.0), AnyValue::Null]);
        assert_eq!(values("missing_metrics")[0], AnyValue::String(r#"{"cca_1":"too few samples"}"#));
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
        assert_eq!(names, ["cell_id", "condition", "metric_cca_1", "metric_effective_rank_img", "missing_metrics"]);
        let values = |name: &str| (0..3).map(|row| table.column(name).unwrap().get(row).unwrap()).collect::<Vec<_>>();
        assert_eq!(values("condition"), ["clean", "noisy", "clean"].map(AnyValue::String));
        let ranks = [1.0 / 3.0, 1.0 / 4.0, 1.0 / 4.0].map(AnyValue::Float64);
        assert_eq!(values("metric_effective_rank_img"), ranks);
        assert_eq!(values("missing_metrics")[1], AnyValue::String(r#"{"cca_1":"too few samples"}"#));
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
        assert_eq!(names, ["cell_id", "step", "gradient_norm", "loss", "retrieval_at_1_i2t"]);
        let nulls = |name: &str| curves.column(name).unwrap().null_count();
        assert_eq!((curves.height(), nulls("gradient_norm"), nulls("loss"), nulls("retrieval_at_1_i2t")), (6, 3, 3, 4));
        let spectra = read_table(&dir.path().join("spectra.parquet")).unwrap();
        let row = |n: usize| spectra.get(n).unwrap()[1..].to_vec();
        assert_eq!(spectra.height(), 10);
        assert_eq!(row(2), [AnyValue::String("img"), AnyValue::Int32(3), AnyValue::Float64(0.1)]);
        assert_eq!(row(4), [AnyValue::String("txt"), AnyValue::Int32(2), AnyValue::Float64(1e-17)]);
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
            let written = write_segments(run.reader(), &spec, 12, 12).unwrap();
            // Nor on how many records are in memory at once.
            assert_eq!(write_segments(run.reader(), &spec, 12, 4).unwrap(), written);
            written.keys().map(|file| std::fs::read(dir.path().join(file)).unwrap()).collect::<Vec<_>>()
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
        let written = write_run_tables(run.reader(), &spec).unwrap();
        assert!(written.values().all(|table| table.rows == 0));
        assert!(read_table(&dir.path().join("cells.parquet")).unwrap().column("metric_cca_1").is_ok());
    }

    #[test]
    fn two_paths_that_make_one_column_name_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = sample(0);
        record.config = serde_json::json!({"a": {"b_c": 1}, "a_b": {"c": 2}});
        let run = run(dir.path(), &[record], 1);
        let error = write_run_tables(run.reader(), &TableSpec { cell_ids: &refs(&plan(1)), ..TableSpec::default() });
        let error = error.unwrap_err().to_string();
        assert!(error.contains("cells.parquet") && error.contains("param_a_b_c"), "{error}");
    }
}
