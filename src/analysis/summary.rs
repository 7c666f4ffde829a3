//! The table at the end of a run: one metric over two axes, averaged over everything else.

use std::collections::BTreeMap;

use crate::store::{CellRecord, RecordedMetric};

/// A metric over at most two axes.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Summary {
    pub metric: String,
    /// Path of the axis down the table; empty when the sweep has no such axis.
    pub row_axis: String,
    /// Path of the axis across.
    pub column_axis: String,
    pub rows: Vec<serde_json::Value>,
    pub columns: Vec<serde_json::Value>,
    /// `[row][column]`.
    pub cells: Vec<Vec<Entry>>,
}

/// What the finished cells at one row and column say.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Entry {
    /// Mean over the cells that have a value; none when no cell has one.
    pub mean: Option<f64>,
    /// Cells with a value.
    pub n: usize,
    /// Finished cells without one: diverged, failed, or undefined there.
    pub without_value: usize,
}

/// An axis: its path and levels.
pub type AxisLevels = (String, Vec<serde_json::Value>);

/// Averages `metric` over the cells that share the levels of two axes: of those other than the seed, the two with the
/// most levels. Nothing is dropped in silence: cells without a value are counted.
pub fn summarise(metric: &str, axes: &[AxisLevels], records: &[CellRecord]) -> Summary {
    let mut candidates: Vec<&AxisLevels> = axes.iter().filter(|(path, l)| path != "seed" && l.len() > 1).collect();
    candidates.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then(a.0.cmp(&b.0)));
    let pick = |i: usize| candidates.get(i).map_or((String::new(), vec![serde_json::Value::Null]), |a| (*a).clone());
    let ((row_axis, rows), (column_axis, columns)) = (pick(0), pick(1));
    let mut groups: BTreeMap<(usize, usize), (f64, Entry)> = BTreeMap::new();
    for record in records {
        let place = |axis: &str, levels: &[serde_json::Value]| {
            if axis.is_empty() {
                return Some(0);
            }
            let value = record.config.pointer(&format!("/{}", axis.replace('.', "/")))?;
            levels.iter().position(|level| level == value)
        };
        let (Some(row), Some(column)) = (place(&row_axis, &rows), place(&column_axis, &columns)) else { continue };
        let (sum, entry) = groups.entry((row, column)).or_default();
        match record.metrics.get(metric) {
            Some(RecordedMetric::Value(value)) => {
                *sum += value;
                entry.n += 1;
            }
            _ => entry.without_value += 1,
        }
    }
    let entry = |key: (usize, usize)| {
        let (sum, entry) = groups.get(&key).cloned().unwrap_or_default();
        Entry { mean: (entry.n > 0).then(|| sum / entry.n as f64), ..entry }
    };
    let cells = (0..rows.len()).map(|r| (0..columns.len()).map(|c| entry((r, c))).collect()).collect();
    Summary { metric: metric.to_string(), row_axis, column_axis, rows, columns, cells }
}
