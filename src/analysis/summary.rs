//! The table at the end of a run: one metric over two axes, averaged over everything else.

use std::collections::HashMap;

use polars_core::prelude::{DataFrame, PolarsResult};
use serde_json::Value;

use super::line::value_at;
use crate::store::{metric_column, param_column};

/// A metric over at most two axes, averaged over the cells that share their levels.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Summary {
    pub metric: String,
    /// Path of the axis down the table; empty when the sweep has no such axis.
    pub row_axis: String,
    /// Path of the axis across.
    pub column_axis: String,
    pub rows: Vec<Value>,
    pub columns: Vec<Value>,
    /// `[row][column]`.
    pub cells: Vec<Vec<Entry>>,
    /// Cells that belong to no row and column: those that a sweep includes at levels beside its grid's.
    pub unplaced: usize,
    #[serde(skip)]
    only_at: Vec<AxisLevels>,
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
pub type AxisLevels = (String, Vec<Value>);

impl Summary {
    /// An empty table over the two axes with the most levels, the seed aside.
    pub fn new(metric: &str, axes: &[AxisLevels]) -> Self {
        let mut candidates: Vec<&AxisLevels> = axes.iter().filter(|(path, l)| path != "seed" && l.len() > 1).collect();
        candidates.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then(a.0.cmp(&b.0)));
        let pick = |i: usize| candidates.get(i).map_or((String::new(), vec![Value::Null]), |a| (*a).clone());
        let ((row_axis, rows), (column_axis, columns)) = (pick(0), pick(1));
        let cells = vec![vec![Entry::default(); columns.len()]; rows.len()];
        Self {
            metric: metric.to_string(),
            row_axis,
            column_axis,
            rows,
            columns,
            cells,
            unplaced: 0,
            only_at: Vec::new(),
        }
    }

    /// Without the cells at other levels of `axes` than these: where an axis that is not shown has levels beside its
    /// grid's, some rows would be means over more of them than others.
    pub fn only_at(mut self, axes: &[AxisLevels]) -> Self {
        let shown = |path: &String| *path == self.row_axis || *path == self.column_axis;
        self.only_at = axes.iter().filter(|(path, _)| !shown(path)).cloned().collect();
        self
    }

    /// The columns of the table of cells that [`add_all`](Self::add_all) reads.
    pub fn columns_of_cells(&self) -> Vec<String> {
        let axes = [&self.row_axis, &self.column_axis].into_iter().filter(|axis| !axis.is_empty());
        let axes = axes.chain(self.only_at.iter().map(|(path, _)| path));
        axes.map(|axis| param_column(axis)).chain([metric_column(&self.metric)]).collect()
    }

    /// Adds the finished cells of a table. None is dropped in silence: one without a value, or without a place, is
    /// counted.
    ///
    /// # Errors
    /// A metric that is not a column of real numbers.
    pub fn add_all(&mut self, cells: &DataFrame) -> PolarsResult<()> {
        let rows = places(cells, &self.row_axis, &self.rows)?;
        let columns = places(cells, &self.column_axis, &self.columns)?;
        let mut beside = vec![false; cells.height()];
        for (axis, levels) in &self.only_at {
            beside.iter_mut().zip(places(cells, axis, levels)?).for_each(|(beside, place)| *beside |= place.is_none());
        }
        let values = cells.column(&metric_column(&self.metric))?.f64()?;
        for ((value, beside), place) in values.iter().zip(beside).zip(rows.into_iter().zip(columns)) {
            let (Some(row), Some(column), false) = (place.0, place.1, beside) else {
                self.unplaced += 1;
                continue;
            };
            let entry = &mut self.cells[row][column];
            match value {
                Some(value) => {
                    entry.sum += value;
                    entry.n += 1;
                    entry.mean = Some(entry.sum / entry.n as f64);
                }
                None => entry.without_value += 1,
            }
        }
        Ok(())
    }
}

/// For each cell of the table which of `levels` it has on `axis`.
fn places(cells: &DataFrame, axis: &str, levels: &[Value]) -> PolarsResult<Vec<Option<usize>>> {
    if axis.is_empty() {
        return Ok(vec![Some(0); cells.height()]);
    }
    // Numbers that are equal are written alike.
    let known: HashMap<String, usize> = levels.iter().enumerate().map(|(i, level)| (level.to_string(), i)).collect();
    let Ok(column) = cells.column(&param_column(axis)) else { return Ok(vec![None; cells.height()]) };
    (0..cells.height()).map(|row| Ok(known.get(&value_at(column, row)?.to_string()).copied())).collect()
}

#[cfg(test)]
mod tests {
    use polars_core::prelude::{Column, NamedFrom, Series};
    use serde_json::json;

    use super::*;
    use crate::spec::{Overrides, from_str};

    #[test]
    fn means_are_over_the_cells_with_a_value_and_the_others_are_counted() {
        let text = "name = \"t\"\npreset = \"tiny\"\n[axes]\nseed = [0, 1, 2]\n\"train.temperature\" = [0.1, 1.0]\n";
        let sweep = from_str(text, "t.toml", &Overrides::default()).expect("a valid spec");
        let axes: Vec<AxisLevels> = sweep.axes.iter().map(|a| (a.path.clone(), a.levels.clone())).collect();
        // Temperature 0.1: 1, 2 and nothing; temperature 1: only the first seed is finished.
        let table = |temperatures: &[f64], values: &[Option<f64>]| {
            let temperatures: Column = Series::new("param_train_temperature".into(), temperatures).into();
            let values: Column = Series::new("metric_effective_rank_img".into(), values).into();
            DataFrame::new_infer_height(vec![temperatures, values]).expect("columns of one length")
        };
        let mut summary = Summary::new("effective_rank_img", &axes);
        assert_eq!(summary.columns_of_cells(), ["param_train_temperature", "metric_effective_rank_img"]);
        summary.add_all(&table(&[0.1, 0.1, 0.1, 1.0], &[Some(1.0), Some(2.0), None, Some(5.0)])).expect("columns");
        assert_eq!((summary.row_axis.as_str(), summary.column_axis.as_str()), ("train.temperature", ""));
        assert_eq!(summary.rows, vec![json!(0.1), json!(1.0)]);
        assert_eq!(summary.columns, vec![Value::Null]);
        assert_eq!(summary.cells[0], vec![Entry { mean: Some(1.5), n: 2, without_value: 1, sum: 3.0 }]);
        assert_eq!(summary.cells[1], vec![Entry { mean: Some(5.0), n: 1, without_value: 0, sum: 5.0 }]);
        summary.add_all(&table(&[0.3], &[Some(1.0)])).expect("columns");
        assert_eq!(summary.unplaced, 1);
        // A table of no cells has no columns of parameters.
        let none: Column = Series::new("metric_effective_rank_img".into(), Vec::<f64>::new()).into();
        summary.add_all(&DataFrame::new_infer_height(vec![none]).expect("a column")).expect("nothing to add");
        assert_eq!(summary.unplaced, 1);
    }

    #[test]
    fn cells_at_levels_that_no_row_has_are_counted_apart() {
        let axes: Vec<AxisLevels> = vec![("a".into(), vec![json!(0.1), json!(0.2)]), ("b".into(), vec![json!(5)])];
        let table = |a: &[f64], b: &[i64]| {
            let ones: Column = Series::new("metric_m".into(), vec![1.0; a.len()]).into();
            let columns = vec![Series::new("param_a".into(), a).into(), Series::new("param_b".into(), b).into(), ones];
            DataFrame::new_infer_height(columns).expect("columns of one length")
        };
        let mut summary = Summary::new("m", &axes).only_at(&axes);
        assert_eq!(summary.columns_of_cells(), ["param_a", "param_b", "metric_m"]);
        summary.add_all(&table(&[0.1, 0.1, 0.15, 0.2], &[5, 6, 5, 5])).expect("columns");
        assert_eq!((summary.unplaced, summary.cells[0][0].n, summary.cells[1][0].n), (2, 1, 1));
    }

    #[test]
    fn levels_of_every_type_are_found() {
        let levels = [json!(["block", "swap"]), json!([false, true]), json!([3, 17])];
        let columns = [
            Series::new("param_a".into(), ["swap", "block"]),
            Series::new("param_a".into(), [true, false]),
            Series::new("param_a".into(), [17i64, 3]),
        ];
        for (levels, column) in levels.iter().zip(columns) {
            let cells = DataFrame::new_infer_height(vec![column.into()]).expect("a column");
            let levels = levels.as_array().expect("a list");
            assert_eq!(places(&cells, "a", levels).expect("read"), [Some(1), Some(0)]);
        }
    }
}
