//! The tables made of a run's records: `cells.parquet`, `conditions.parquet`, `curves.parquet` and `spectra.parquet`.
//!
//! Rows follow the plan and columns a fixed order, so the bytes do not depend on when, where or in which order cells
//! finished. Records are read and written in segments of the plan, so memory does not grow with the run.

use std::collections::BTreeMap;
use std::path::Path;

use polars_core::prelude::{Column, DataFrame, NamedFrom, Series};
use serde_json::Value;

use super::atomic::write_replaceable;
use super::cell_tree::CellTree;
use super::error::StoreError;
use super::ordered::in_order;
use super::own::{make_way, remove_own, start_of};
use super::part::{Columns, ScalarKind};
use super::plain::{read_text, stored_error};
use super::reader::RunReader;
use super::record::{CellRecord, Origin, RecordedMetric};
use super::table::{ColumnInfo, TableBytes, TableInfo, TableWriter};
use crate::metric::hold;
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

/// The tables of the records, and what was seen of the records on the way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunTables {
    /// Sizes and hashes by file name.
    pub tables: BTreeMap<String, TableBytes>,
    /// Of every cell that has a row.
    pub cells: CellTree,
}

/// Writes the tables of the records into the run directory.
///
/// # Errors
/// [`StoreError::Damaged`] for a damaged block (opening the run moves it aside), [`StoreError::Io`] when a table cannot
/// be written; then its old version is still there.
pub fn write_run_tables(reader: &RunReader, spec: &TableSpec) -> Result<RunTables, StoreError> {
    write_run_tables_to(reader.dir(), reader, spec)
}

/// As [`write_run_tables`], into `dir`: the run directory is read and not written to.
///
/// # Errors
/// As those of [`write_run_tables`].
pub fn write_run_tables_to(dir: &Path, reader: &RunReader, spec: &TableSpec) -> Result<RunTables, StoreError> {
    write_segments(dir, reader, spec, SEGMENT_CELLS, PORTION_CELLS)
}

fn write_segments(
    dir: &Path,
    reader: &RunReader,
    spec: &TableSpec,
    segment_cells: usize,
    portion_cells: usize,
) -> Result<RunTables, StoreError> {
    let layout = Layout::new(spec, reader.columns());
    let mut tables = Vec::new();
    for (file, table, build) in TABLES {
        let path = dir.join(file);
        // The columns of no records: names and types without rows.
        let (frame, info) = assemble(table, build(&layout, &[]), &path)?;
        tables.push((*file, *build, TableWriter::create(&path, frame.schema(), &info)?));
    }
    // Segments are cut from the finished cells, so that row groups do not depend on what is missing between them.
    let finished: Vec<&str> = spec.cell_ids.iter().copied().filter(|id| reader.status(id).is_some()).collect();
    let (mut done, mut cells, mut reused) = (0, CellTree::default(), Vec::new());
    in_order(reader, dir, &finished, portion_cells, &mut |records| {
        done += records.len();
        cells.add(&records);
        reused.extend(records.iter().filter_map(|record| Some((record.cell_id.clone(), record.reused_from.clone()?))));
        for (file, build, writer) in &mut tables {
            let (frame, _) = assemble(file, build(&layout, &records), &dir.join(*file))?;
            writer.write(&frame)?;
            if done.is_multiple_of(segment_cells) {
                writer.cut()?;
            }
        }
        Ok(())
    })?;
    let written = tables.into_iter().map(|(file, _, writer)| Ok((file.to_string(), writer.finish()?)));
    let mut tables: BTreeMap<String, TableBytes> = written.collect::<Result<_, StoreError>>()?;
    tables.extend(write_reused(dir, &reused)?.map(|written| (REUSED_FILE.to_string(), written)));
    Ok(RunTables { tables, cells })
}

/// Which cells were taken over from runs beside this one, a line of JSON each in the order of the plan: `cell_id`, and what
/// the other run says that it is. Beside the tables, because what lies beside a run does not change their bytes; there is
/// none where nothing was taken over.
pub const REUSED_FILE: &str = "reused.jsonl";

/// How each of its lines begins.
const REUSED_LINE: &str = "{\"cell_id\":\"";

/// Whether a file is a list of cells that were taken over.
pub(super) fn is_list_of_reused(path: &Path) -> bool {
    start_of(path, REUSED_LINE.len()) == REUSED_LINE
}

/// Writes [`REUSED_FILE`], or removes that of an earlier state of the run.
fn write_reused(dir: &Path, reused: &[(String, Origin)]) -> Result<Option<TableBytes>, StoreError> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        cell_id: &'a str,
        #[serde(flatten)]
        from: &'a Origin,
    }
    let path = dir.join(REUSED_FILE);
    if reused.is_empty() {
        return remove_own(dir, REUSED_FILE).map(|_| None);
    }
    let mut text = String::new();
    for (cell_id, from) in reused {
        let line =
            serde_json::to_string(&Line { cell_id, from }).map_err(|e| StoreError::io("encode", &path)(e.into()))?;
        text.push_str(&line);
        text.push('\n');
    }
    make_way(dir, REUSED_FILE)?;
    write_replaceable(&path, |out| out.write_all(text.as_bytes()))?;
    let blake3 = blake3::hash(text.as_bytes()).to_hex().to_string();
    Ok(Some(TableBytes { bytes: text.len() as u64, blake3, rows: reused.len() as u64 }))
}

/// The cells that a run took over, with the runs that they are from; empty where it has no [`REUSED_FILE`].
///
/// # Errors
/// [`StoreError::Io`], [`StoreError::Damaged`] for a line that names no cell and run.
pub fn read_reused(dir: &Path) -> Result<BTreeMap<String, Origin>, StoreError> {
    #[derive(serde::Deserialize)]
    struct Line {
        cell_id: String,
        #[serde(flatten)]
        from: Origin,
    }
    let path = dir.join(REUSED_FILE);
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(stored_error("read", &path, error)),
    };
    let line = |(number, line): (usize, &str)| {
        let read: Result<Line, _> = serde_json::from_str(line);
        let damaged = |error| StoreError::damaged(&path, format!("line {}: {error}", number + 1));
        read.map(|line| (line.cell_id, line.from)).map_err(damaged)
    };
    text.lines().enumerate().map(line).collect()
}

/// Files of all tables. Those from the fifth on are made of the first two, by `analysis`, the others of the records.
pub const RUN_TABLES: [&str; 8] = [
    CELLS_TABLE,
    CONDITIONS_TABLE,
    CURVES_TABLE,
    SPECTRA_TABLE,
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

/// The table with one row per finished cell, modality and eigenvalue, those of a cell together.
pub const SPECTRA_TABLE: &str = "spectra.parquet";

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

fn assemble(table: &str, columns: Described, path: &Path) -> Result<(DataFrame, TableInfo), StoreError> {
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
        )
        .or_null(),
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

/// Every metric of every row, and the reasons of those that are missing. A value outside of its range is missing.
fn metric_columns(layout: &Layout, rows: &[&BTreeMap<String, RecordedMetric>]) -> Described {
    let mut missing: Vec<BTreeMap<&str, String>> = rows.iter().map(|metrics| missing_metrics(metrics)).collect();
    let mut columns = Described::with_capacity(layout.metrics.len() + 1);
    for (name, info) in &layout.metrics {
        let values = rows.iter().zip(&mut missing).map(|(metrics, missing)| match metrics.get(name) {
            Some(RecordedMetric::Value(value)) => match hold(*value, bounds(info)) {
                Ok(value) => Some(value),
                Err(reason) => {
                    missing.insert(name, reason.to_string());
                    None
                }
            },
            _ => None,
        });
        columns.push((floats(&metric_column(name), values), info.clone()));
    }
    let missing: Vec<Option<String>> =
        missing.iter().map(|row| if row.is_empty() { None } else { serde_json::to_string(row).ok() }).collect();
    let about = "JSON object from metric name to the reason why there is no value; null when none is missing";
    columns.push((text("missing_metrics", missing.iter().map(Option::as_deref)), ColumnInfo::new("status", "", about)));
    columns
}

/// The declared range of a column.
fn bounds(info: &ColumnInfo) -> (f64, f64) {
    let [low, high] = info.range.unwrap_or_default();
    (low.unwrap_or(f64::NEG_INFINITY), high.unwrap_or(f64::INFINITY))
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

/// The reasons of the metrics that are recorded as missing.
fn missing_metrics(metrics: &BTreeMap<String, RecordedMetric>) -> BTreeMap<&str, String> {
    metrics
        .iter()
        .filter_map(|(name, metric)| match metric {
            RecordedMetric::Missing(reason) => Some((name.as_str(), reason.clone())),
            RecordedMetric::Value(_) => None,
        })
        .collect()
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
            let held = |value: Option<f64>| hold(value?, bounds(info)).ok();
            (0..points(record)).map(move |point| held(series?.get(point).copied().flatten()))
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
mod tests;
