//! The table at the end of a run: one metric over two axes, averaged over everything else.

use crate::store::{CellRecord, RecordedMetric};

/// A metric over at most two axes, averaged over the cells that share their levels.
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
    /// Cells that belong to no row and column; none when they are cells of the sweep.
    pub unplaced: usize,
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
    #[serde(skip)]
    sum: f64,
}

/// An axis: its path and levels.
pub type AxisLevels = (String, Vec<serde_json::Value>);

impl Summary {
    /// An empty table over the two axes with the most levels, the seed aside. Cells are added one by one, so that a run
    /// need not be in memory.
    pub fn new(metric: &str, axes: &[AxisLevels]) -> Self {
        let mut candidates: Vec<&AxisLevels> = axes.iter().filter(|(path, l)| path != "seed" && l.len() > 1).collect();
        candidates.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then(a.0.cmp(&b.0)));
        let pick =
            |i: usize| candidates.get(i).map_or((String::new(), vec![serde_json::Value::Null]), |a| (*a).clone());
        let ((row_axis, rows), (column_axis, columns)) = (pick(0), pick(1));
        let cells = vec![vec![Entry::default(); columns.len()]; rows.len()];
        Self { metric: metric.to_string(), row_axis, column_axis, rows, columns, cells, unplaced: 0 }
    }

    /// Adds a finished cell. None is dropped in silence: one without a value, or without a place, is counted.
    pub fn add(&mut self, record: &CellRecord) {
        let place = |axis: &str, levels: &[serde_json::Value]| {
            if axis.is_empty() {
                return Some(0);
            }
            let value = record.config.pointer(&format!("/{}", axis.replace('.', "/")))?;
            levels.iter().position(|level| level == value)
        };
        let (row, column) = (place(&self.row_axis, &self.rows), place(&self.column_axis, &self.columns));
        let (Some(row), Some(column)) = (row, column) else {
            self.unplaced += 1;
            return;
        };
        let entry = &mut self.cells[row][column];
        match record.metrics.get(&self.metric) {
            Some(RecordedMetric::Value(value)) => {
                entry.sum += value;
                entry.n += 1;
                entry.mean = Some(entry.sum / entry.n as f64);
            }
            _ => entry.without_value += 1,
        }
    }
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
        let mut summary = Summary::new("effective_rank_img", &axes);
        records.iter().for_each(|record| summary.add(record));
        assert_eq!((summary.row_axis.as_str(), summary.column_axis.as_str()), ("train.temperature", ""));
        assert_eq!(summary.rows, vec![json!(0.1), json!(1.0)]);
        assert_eq!(summary.columns, vec![Value::Null]);
        assert_eq!(summary.cells[0], vec![Entry { mean: Some(1.5), n: 2, without_value: 1, sum: 3.0 }]);
        assert_eq!(summary.cells[1], vec![Entry { mean: Some(5.0), n: 1, without_value: 0, sum: 5.0 }]);
        let mut elsewhere = records[0].clone();
        elsewhere.config["train"]["temperature"] = json!(0.3);
        summary.add(&elsewhere);
        assert_eq!(summary.unplaced, 1);
    }
}
