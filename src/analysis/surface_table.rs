//! `surfaces.parquet`, from the tables of cells and conditions.

use std::collections::BTreeMap;
use std::path::Path;

use polars_core::prelude::{DataFrame, PolarsError};

use super::surface::Surfaces;
use crate::numerics::bootstrap::{ANY_COUNT, RESAMPLES, method};
use crate::store::{
    CELLS_TABLE, CONDITIONS_TABLE, ColumnInfo, SURFACES_TABLE, StoreError, TableBytes, TableInfo, TableWriter,
    metric_column, param_column, read_columns, read_table_info,
};

/// Writes the surfaces of a run over all `axes` but the seed beside its other tables, two metrics in memory at a time.
/// Metrics come sorted by name.
///
/// # Errors
/// [`StoreError`] when a table cannot be read, lacks a column, or the new one cannot be written.
pub fn write_surfaces(dir: &Path, axes: &[String]) -> Result<TableBytes, StoreError> {
    let [cells, conditions, path] = [CELLS_TABLE, CONDITIONS_TABLE, SURFACES_TABLE].map(|file| dir.join(file));
    let failed = |error: PolarsError| StoreError::Table { path: path.clone(), reason: error.to_string() };
    let axes: Vec<String> = axes.iter().filter(|axis| *axis != "seed").cloned().collect();
    let known = read_table_info(&cells)?.columns;
    let metrics = known.iter().filter(|(_, info)| info.role == "metric");
    let metrics: Vec<&str> = metrics.filter_map(|(column, _)| column.strip_prefix("metric_")).collect();
    let levels: Vec<String> = axes.iter().map(|axis| param_column(axis)).collect();
    let wanted = [&["cell_id".to_string(), "status".to_string()][..], &levels].concat();
    let surfaces = {
        let cells = read_columns(&cells, &wanted)?;
        let rows = read_columns(&conditions, &["cell_id", "condition"].map(String::from))?;
        Surfaces::new(&cells, &rows, &axes).map_err(failed)?
    };
    let info = TableInfo::new("surfaces", described(&levels, &known));
    // The columns of no rows: names and types.
    let mut writer = TableWriter::create(&path, surfaces.none().map_err(failed)?.schema(), &info)?;
    let rows_of = |metric: &str| -> Result<DataFrame, StoreError> {
        let column = metric_column(metric);
        let values = read_columns(&conditions, std::slice::from_ref(&column))?;
        values.column(&column).and_then(|values| surfaces.rows(metric, values)).map_err(failed)
    };
    let mut ready: Option<DataFrame> = None;
    for metric in metrics.into_iter().map(Some).chain([None]) {
        // The rows of one metric are written while those of the next are made.
        let mut next = None;
        rayon::in_place_scope(|scope| {
            scope.spawn(|_| next = metric.map(rows_of));
            ready.take().map_or(Ok(()), |rows| writer.write(&rows))
        })?;
        ready = next.transpose()?;
    }
    writer.finish()
}

/// What every column means.
fn described(levels: &[String], cells: &BTreeMap<String, ColumnInfo>) -> Vec<(String, ColumnInfo)> {
    let own = |name: &str, role: &str, unit: &str, about: &str| (name.to_string(), ColumnInfo::new(role, unit, about));
    let of_metric = |name: &str, about: &str| own(name, "value", "", &format!("{about}, in the unit of the metric"));
    let share = |name: &str, about: &str| {
        let info = ColumnInfo::new("value", "1", about);
        (name.to_string(), ColumnInfo { range: Some([Some(0.0), Some(1.0)]), ..info })
    };
    let interval = format!(
        "95% interval of the mean over seeds: {}; {RESAMPLES} resamples, levels as in Hesterberg 2015; null for one",
        method(ANY_COUNT).unwrap_or_default()
    );
    let mut columns = vec![
        own("metric", "index", "", "name of the metric; one that has no value in the whole run has no rows"),
        own("condition", "index", "", "clean: as trained; others as the spec names them"),
        own("n", "value", "cells", "cells with a value, collapsed ones included"),
        own("cells", "value", "cells", "finished cells at these levels, of any status"),
        own("missing", "value", "cells", "finished cells without a value: diverged, failed, or undefined there"),
        of_metric("mean", "mean over the cells with a value; null without one"),
        of_metric(
            "sd",
            "standard deviation with divisor n - 1; null for fewer than two values, and where no number is that large",
        ),
        of_metric("min", "least value"),
        of_metric("p25", "first quartile, interpolated linearly"),
        of_metric("median", "median"),
        of_metric("p75", "third quartile, interpolated linearly"),
        of_metric("max", "greatest value"),
        of_metric("interval_low", &format!("lower end of the {interval}")),
        of_metric("interval_high", &format!("upper end of the {interval}")),
        share("share_ok", "share of the finished cells that are ok"),
        share("share_collapsed", "share of the finished cells that collapsed"),
        share("share_diverged", "share of the finished cells that diverged"),
        share("share_failed", "share of the finished cells that failed"),
        share("lost_low", "lower end of Wilson's 95% interval of the share that is not ok"),
        share("lost_high", "upper end of Wilson's 95% interval of the share that is not ok"),
    ];
    columns.extend(levels.iter().filter_map(|column| Some((column.clone(), cells.get(column)?.clone()))));
    columns
}
