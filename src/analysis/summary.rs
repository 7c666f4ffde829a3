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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::engine::{Measured, Outcome, Status};
    use crate::spec::{Cell, Overrides, from_str};

    fn record(cell: &Cell, value: Option<f64>) -> CellRecord {
        let measured = value.map_or_else(|| Measured::Missing("diverged".into()), Measured::Value);
        let outcome = Outcome {
            cell_id: cell.id.clone(),
            status: Status::Ok,
            reason: String::new(),
            steps: 1,
            metrics: [("effective_rank_img".to_string(), measured)].into(),
            spectra: Default::default(),
            curves: Default::default(),
            checksums: Default::default(),
            realised: Default::default(),
            wall_s: 0.0,
        };
        let config = serde_json::to_value(&cell.config).expect("plain data");
        CellRecord::from_outcome(outcome, String::new(), String::new(), config, String::new())
    }

    #[test]
    fn means_are_over_the_cells_with_a_value_and_the_others_are_counted() {
        let text = "name = \"t\"\npreset = \"tiny\"\n[axes]\nseed = [0, 1, 2]\n\"train.temperature\" = [0.1, 1.0]\n";
        let sweep = from_str(text, "t.toml", &Overrides::default()).expect("a valid spec");
        let axes: Vec<AxisLevels> = sweep.axes.iter().map(|a| (a.path.clone(), a.levels.clone())).collect();
        // Temperature 0.1: 1, 2 and nothing; temperature 1: only the first seed is finished.
        let value = |cell: &Cell| match (cell.config.seed, cell.config.train.temperature) {
            (2, 0.1) => Some(None),
            (seed, 0.1) => Some(Some(1.0 + seed as f64)),
            (0, _) => Some(Some(5.0)),
            _ => None,
        };
        let records: Vec<CellRecord> = sweep.cells.iter().filter_map(|c| Some(record(c, value(c)?))).collect();
        let summary = summarise("effective_rank_img", &axes, &records);
        assert_eq!((summary.row_axis.as_str(), summary.column_axis.as_str()), ("train.temperature", ""));
        assert_eq!(summary.rows, vec![json!(0.1), json!(1.0)]);
        assert_eq!(summary.columns, vec![Value::Null]);
        assert_eq!(summary.cells[0], vec![Entry { mean: Some(1.5), n: 2, without_value: 1 }]);
        assert_eq!(summary.cells[1], vec![Entry { mean: Some(5.0), n: 1, without_value: 0 }]);
    }
}
