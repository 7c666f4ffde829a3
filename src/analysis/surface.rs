//! Surfaces: metrics over axes, aggregated over the cells that share their levels.
//!
//! Nothing is dropped in silence: every finished cell is counted, whatever became of it. The value of a collapsed cell
//! is a value like any other; one that diverged or failed has none, and is missing.

use std::collections::HashMap;
use std::hash::Hash;

use polars_core::prelude::{Column, DataFrame, DataType, IdxCa, IdxSize, NamedFrom, PolarsError, PolarsResult, Series};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use crate::numerics::bootstrap::mean_interval;
use crate::numerics::interval::wilson;
use crate::numerics::stats::{StatsError, mean, quantiles};
use crate::spec::CLEAN;
use crate::store::{RecordedStatus, metric_column, param_column};

/// The statuses of cells, in the order of the shares' columns.
const STATUSES: [RecordedStatus; 4] =
    [RecordedStatus::Ok, RecordedStatus::Collapsed, RecordedStatus::Diverged, RecordedStatus::Failed];

/// Rows that one thread works on at a time.
const CHUNK: usize = 1 << 8;

/// A metric over one, two or more axes: a row per combination of their levels that has finished cells, over all cells
/// that share it, as trained. Columns are those of `surfaces.parquet`, without the condition.
///
/// # Errors
/// A column that `cells`, a table like `cells.parquet`, lacks or has in another type; a value that is not finite.
pub fn surface(cells: &DataFrame, metric: &str, axes: &[String]) -> PolarsResult<DataFrame> {
    let groups = Groups::new(cells, axes)?;
    let places = groups.of_cell.clone();
    let surfaces = Surfaces { groups, conditions: vec![CLEAN.to_string()], places };
    let rows = surfaces.rows(metric, cells.column(&metric_column(metric))?)?;
    rows.drop("condition")
}

/// Cells by the levels that they share.
struct Groups {
    /// One row per group, ascending by its levels: the columns of the axes.
    levels: DataFrame,
    /// For each cell its group.
    of_cell: Vec<u32>,
    /// For each group its finished cells by status.
    statuses: Vec<[u64; STATUSES.len()]>,
}

impl Groups {
    fn new(cells: &DataFrame, axes: &[String]) -> PolarsResult<Self> {
        let mut of_cell = vec![0; cells.height()];
        let mut levels = Vec::new();
        for axis in axes {
            let name = param_column(axis);
            // A table of no cells knows no parameters.
            if cells.height() > 0 {
                let column = cells.column(&name)?;
                of_cell = ranks(of_cell.into_iter().zip(ranks_of(column)?));
                levels.push(column.clone());
            }
        }
        let groups = of_cell.iter().max().map_or(0, |last| *last as usize + 1);
        let mut first: Vec<Option<IdxSize>> = vec![None; groups];
        let mut statuses = vec![[0; STATUSES.len()]; groups];
        let named = cells.column("status")?.str()?;
        for ((cell, group), status) in (0..).zip(&of_cell).zip(named.iter()) {
            first[*group as usize].get_or_insert(cell);
            let known = STATUSES.iter().position(|known| Some(known.name()) == status);
            let known = known.ok_or_else(|| PolarsError::ComputeError(format!("unknown status {status:?}").into()))?;
            statuses[*group as usize][known] += 1;
        }
        let first = IdxCa::from_vec("".into(), first.into_iter().flatten().collect());
        let levels = DataFrame::new(groups, levels.iter().map(|c| c.take(&first)).collect::<PolarsResult<_>>()?)?;
        Ok(Self { levels, of_cell, statuses })
    }
}

/// For each value its rank among the distinct ones, from 0.
fn ranks<T: Ord + Hash + Copy>(values: impl Iterator<Item = T>) -> Vec<u32> {
    let mut known: HashMap<T, u32> = HashMap::new();
    let mut distinct = Vec::new();
    let mut codes: Vec<u32> = values
        .map(|value| {
            *known.entry(value).or_insert_with(|| {
                distinct.push(value);
                distinct.len() as u32 - 1
            })
        })
        .collect();
    let mut ascending: Vec<u32> = (0..distinct.len() as u32).collect();
    ascending.sort_unstable_by_key(|code| distinct[*code as usize]);
    let mut rank = vec![0; distinct.len()];
    (0..).zip(ascending).for_each(|(at, code)| rank[code as usize] = at);
    codes.iter_mut().for_each(|code| *code = rank[*code as usize]);
    codes
}

/// [`ranks`] of a column of any type that parameters have; null comes first.
pub(super) fn ranks_of(column: &Column) -> PolarsResult<Vec<u32>> {
    // Bits that are ordered like the numbers: for negative ones all but the sign are turned round.
    let ordered = |x: f64| {
        let bits = x.to_bits() as i64;
        bits ^ (((bits >> 63) as u64) >> 1) as i64
    };
    Ok(match column.dtype() {
        DataType::Int64 => ranks(column.i64()?.iter()),
        DataType::Float64 => ranks(column.f64()?.iter().map(|x| x.map(ordered))),
        DataType::Boolean => ranks(column.bool()?.iter()),
        _ => ranks(column.str()?.iter()),
    })
}

/// The surfaces of a run under each condition, metric by metric.
pub struct Surfaces {
    groups: Groups,
    /// The one under which cells were trained first, the others sorted.
    conditions: Vec<String>,
    /// For each row with values its condition and group: condition times the number of groups, plus group.
    places: Vec<u32>,
}

impl Surfaces {
    /// Groups the rows of `conditions`, a table like `conditions.parquet`, by condition and by what `cells`, one like
    /// `cells.parquet`, says of their cells: by the levels on `axes`. Rows may come in any order.
    ///
    /// # Errors
    /// A column that is not there or of another type; a row of a cell that is not among `cells`.
    pub fn new(cells: &DataFrame, conditions: &DataFrame, axes: &[String]) -> PolarsResult<Self> {
        let groups = Groups::new(cells, axes)?;
        let ids = cells.column("cell_id")?.str()?;
        let group_of: HashMap<&str, u32> =
            ids.iter().zip(&groups.of_cell).filter_map(|(id, group)| Some((id?, *group))).collect();
        let named = conditions.column("condition")?.str()?;
        let mut names: Vec<&str> = named.iter().flatten().collect();
        names.sort_unstable_by_key(|name| (*name != CLEAN, *name));
        names.dedup();
        let number: HashMap<&str, u32> = names.iter().copied().zip(0..).collect();
        let many = groups.statuses.len() as u32;
        let place = |(id, name): (Option<&str>, Option<&str>)| {
            let place = id.and_then(|id| group_of.get(id)).zip(name.and_then(|name| number.get(name)));
            let place = place.map(|(group, condition)| condition * many + group);
            place.ok_or_else(|| PolarsError::ComputeError(format!("no cell {id:?} for condition {name:?}").into()))
        };
        let rows = conditions.column("cell_id")?.str()?.iter().zip(named.iter());
        let places = rows.map(place).collect::<PolarsResult<_>>()?;
        let conditions = names.into_iter().map(String::from).collect();
        Ok(Self { groups, conditions, places })
    }

    /// No rows, in the columns and types of all.
    pub fn none(&self) -> PolarsResult<DataFrame> {
        self.frame("", &[])
    }

    /// The rows of one metric: by condition, then by the levels of the axes, ascending; none when it has no value at
    /// all. `values` is its column in the table that [`new`](Self::new) was given.
    ///
    /// # Errors
    /// Values that are not real numbers, or not as many as there are rows; one that is not finite.
    pub fn rows(&self, metric: &str, values: &Column) -> PolarsResult<DataFrame> {
        let rows: Vec<Option<f64>> = values.f64()?.iter().collect();
        if rows.len() != self.places.len() {
            return Err(PolarsError::ShapeMismatch(format!("{metric}: {} values", rows.len()).into()));
        }
        let there = rows.iter().any(Option::is_some);
        let groups = self.groups.statuses.len();
        let places = if there { self.conditions.len() * groups } else { 0 };
        let (mut by_place, ends) = gather(&rows, &self.places, places);
        let mut parts = Vec::with_capacity(places);
        let mut rest = &mut by_place[..];
        let mut start = 0;
        for end in ends {
            let (part, after) = rest.split_at_mut(end - start);
            parts.push(part);
            (rest, start) = (after, end);
        }
        let statistics: Vec<Statistics> = parts
            .into_par_iter()
            .with_min_len(CHUNK)
            .map_init(Vec::new, |scratch, values| Statistics::of(values, scratch))
            .collect::<Result<_, StatsError>>()
            .map_err(|error| PolarsError::ComputeError(format!("{metric}: {error}").into()))?;
        self.frame(metric, &statistics)
    }

    fn frame(&self, metric: &str, rows: &[Statistics]) -> PolarsResult<DataFrame> {
        let groups = self.groups.statuses.len();
        let group = |row: usize| row % groups;
        let indices: Vec<IdxSize> = (0..rows.len()).map(|row| group(row) as IdxSize).collect();
        let condition: Vec<&str> = (0..rows.len()).map(|row| self.conditions[row / groups].as_str()).collect();
        let mut columns: Vec<Column> = vec![
            Series::new("metric".into(), vec![metric; rows.len()]).into(),
            Series::new("condition".into(), condition).into(),
        ];
        let levels = self.groups.levels.take(&IdxCa::from_vec("".into(), indices))?;
        columns.extend(levels.columns().iter().cloned());
        let cells: Vec<u64> = (0..rows.len()).map(|row| self.groups.statuses[group(row)].iter().sum()).collect();
        let counts = |name: &str, count: &dyn Fn(usize) -> u64| -> Column {
            Series::new(name.into(), (0..rows.len()).map(|row| count(row) as i64).collect::<Vec<_>>()).into()
        };
        columns.push(counts("n", &|row| rows[row].n));
        columns.push(counts("cells", &|row| cells[row]));
        columns.push(counts("missing", &|row| cells[row] - rows[row].n.min(cells[row])));
        for (at, name) in VALUES.iter().enumerate() {
            let values: Vec<Option<f64>> = rows.iter().map(|row| row.values[at]).collect();
            columns.push(Series::new((*name).into(), values).into());
        }
        for (at, status) in STATUSES.iter().enumerate() {
            let share = |row: usize| self.groups.statuses[group(row)][at] as f64 / cells[row] as f64;
            columns
                .push(Series::new(share_column(*status).into(), (0..rows.len()).map(share).collect::<Vec<_>>()).into());
        }
        let lost = |row: usize| wilson(cells[row] - self.groups.statuses[group(row)][0], cells[row]);
        let lost: Vec<(f64, f64)> = (0..rows.len())
            .map(lost)
            .collect::<Result<_, _>>()
            .map_err(|error| PolarsError::ComputeError(error.to_string().into()))?;
        columns.push(Series::new("lost_low".into(), lost.iter().map(|ends| ends.0).collect::<Vec<_>>()).into());
        columns.push(Series::new("lost_high".into(), lost.iter().map(|ends| ends.1).collect::<Vec<_>>()).into());
        DataFrame::new(rows.len(), columns)
    }
}

fn share_column(status: RecordedStatus) -> String {
    format!("share_{}", status.name())
}

/// The values of each place, one place after the other, and where each ends.
fn gather(values: &[Option<f64>], places: &[u32], many: usize) -> (Vec<f64>, Vec<usize>) {
    let mut ends = vec![0; many];
    let there = || values.iter().zip(places).filter_map(|(value, place)| Some(((*value)?, *place as usize)));
    there().for_each(|(_, place)| ends[place] += 1);
    let mut total = 0;
    for end in &mut ends {
        // For now where it starts.
        total += std::mem::replace(end, total);
    }
    let mut by_place = vec![0.0; total];
    for (value, place) in there() {
        by_place[ends[place]] = value;
        ends[place] += 1;
    }
    (by_place, ends)
}

/// The columns of [`Statistics::values`].
const VALUES: [&str; 9] = ["mean", "sd", "min", "p25", "median", "p75", "max", "interval_low", "interval_high"];

/// What the values at one place say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Statistics {
    n: u64,
    values: [Option<f64>; VALUES.len()],
}

impl Statistics {
    /// Sorts the values first, so that the same ones give the same bits in any order.
    fn of(values: &mut [f64], scratch: &mut Vec<f64>) -> Result<Self, StatsError> {
        values.sort_unstable_by(f64::total_cmp);
        let (Some(least), Some(greatest)) = (values.first(), values.last()) else { return Ok(Self::default()) };
        // The mean of equal values can differ from them by a rounding.
        let mean = mean(values)?.clamp(*least, *greatest);
        let quantiles = quantiles(values, &[0.25, 0.5, 0.75])?;
        let n = values.len();
        let (mut sd, mut interval) = (None, None);
        if n > 1 {
            let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
            sd = Some((squares / (n - 1) as f64).sqrt());
            interval = Some(mean_interval(values, scratch)?);
        }
        let values = [
            Some(mean),
            sd,
            Some(*least),
            Some(quantiles[0]),
            Some(quantiles[1]),
            Some(quantiles[2]),
            Some(*greatest),
            interval.map(|ends| ends.0),
            interval.map(|ends| ends.1),
        ];
        Ok(Self { n: n as u64, values })
    }
}

#[cfg(test)]
mod tests {
    use polars_core::prelude::AnyValue;

    use super::*;
    use crate::analysis::write_surfaces;
    use crate::store::{CELLS_TABLE, CONDITIONS_TABLE, ColumnInfo, SURFACES_TABLE, TableInfo, read_table, write_table};

    /// Hand-worked values agree to rounding of a handful of operations.
    const ROUNDING: f64 = 1e-14;

    const OK: &str = "ok";

    /// A cell: temperature, freeze, status, value as trained and under `noisy`.
    type Cell = (f64, bool, &'static str, Option<f64>, Option<f64>);

    /// At temperature 0.1 four values, one of a collapsed cell, and a cell that diverged; at 1.0 one of two.
    const CELLS: [Cell; 8] = [
        (1.0, false, OK, Some(5.0), Some(7.0)),
        (0.1, false, OK, Some(1.0), Some(0.1)),
        (0.1, false, "collapsed", Some(2.0), Some(0.1)),
        (0.1, false, "diverged", None, None),
        (0.1, false, OK, Some(8.0), Some(0.1)),
        (0.1, false, OK, Some(4.0), None),
        (1.0, false, "failed", None, None),
        (1.0, true, OK, None, None),
    ];

    fn series<T>(name: &str, values: impl Iterator<Item = T>) -> Column
    where
        Series: NamedFrom<Vec<T>, [T]>,
    {
        Series::new(name.into(), values.collect::<Vec<T>>()).into()
    }

    /// The tables of [`CELLS`], in this order. `cca_1` has no value anywhere; failed cells have no conditions.
    fn tables(order: &[usize]) -> (DataFrame, DataFrame) {
        let cells = || order.iter().map(|n| (format!("cell{n}"), CELLS[*n]));
        let rows = cells().flat_map(|(id, cell)| {
            let noisy = (cell.2 != "failed").then_some(("noisy", cell.4));
            std::iter::once(("clean", cell.3)).chain(noisy).map(move |(name, value)| (id.clone(), name, value))
        });
        let rows: Vec<_> = rows.collect();
        let cells = vec![
            series("cell_id", cells().map(|c| c.0)),
            series("status", cells().map(|c| c.1.2)),
            series("param_train_temperature", cells().map(|c| c.1.0)),
            series("param_stop_freeze", cells().map(|c| c.1.1)),
            series("metric_x", cells().map(|c| c.1.3)),
            series("metric_cca_1", cells().map(|_| None::<f64>)),
        ];
        let conditions = vec![
            series("cell_id", rows.iter().map(|row| row.0.clone())),
            series("condition", rows.iter().map(|row| row.1)),
            series("metric_x", rows.iter().map(|row| row.2)),
            series("metric_cca_1", rows.iter().map(|_| None::<f64>)),
        ];
        let frame = |columns| DataFrame::new_infer_height(columns).expect("columns of one length");
        (frame(cells), frame(conditions))
    }

    fn axes(paths: &[&str]) -> Vec<String> {
        paths.iter().map(ToString::to_string).collect()
    }

    fn floats(table: &DataFrame, column: &str) -> Vec<Option<f64>> {
        table.column(column).expect("there").f64().expect("numbers").iter().collect()
    }

    fn counts(table: &DataFrame, column: &str) -> Vec<i64> {
        table.column(column).expect("there").i64().expect("counts").iter().flatten().collect()
    }

    const IN_ORDER: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
    const SHUFFLED: [usize; 8] = [5, 7, 2, 0, 6, 1, 4, 3];

    #[test]
    fn a_surface_worked_by_hand() {
        let (cells, conditions) = tables(&IN_ORDER);
        let surfaces =
            Surfaces::new(&cells, &conditions, &axes(&["train.temperature", "stop.freeze"])).expect("tables");
        let rows = surfaces.rows("x", conditions.column("metric_x").expect("there")).expect("rows");
        let texts = |name: &str| -> Vec<&str> { rows.column(name).unwrap().str().unwrap().iter().flatten().collect() };
        assert_eq!(texts("metric"), ["x"; 6]);
        assert_eq!(texts("condition"), ["clean", "clean", "clean", "noisy", "noisy", "noisy"]);
        assert_eq!(floats(&rows, "param_train_temperature")[..3], [0.1, 1.0, 1.0].map(Some));
        assert_eq!(rows.column("param_stop_freeze").unwrap().get(2).unwrap(), AnyValue::Boolean(true));
        assert_eq!(counts(&rows, "n"), [4, 1, 0, 3, 1, 0]);
        assert_eq!(counts(&rows, "cells"), [5, 2, 1, 5, 2, 1]);
        assert_eq!(counts(&rows, "missing"), [1, 1, 1, 2, 1, 1]);
        // 1, 2, 4 and 8: squares of -2.75, -1.75, 0.25 and 4.25 over 3. 0.1 three times: no spread, whatever rounding.
        let sd = (28.75f64 / 3.0).sqrt();
        let expected = [
            ("mean", [Some(3.75), Some(5.0), None, Some(0.1), Some(7.0), None]),
            ("sd", [Some(sd), None, None, Some(0.0), None, None]),
            ("min", [Some(1.0), Some(5.0), None, Some(0.1), Some(7.0), None]),
            ("p25", [Some(1.75), Some(5.0), None, Some(0.1), Some(7.0), None]),
            ("median", [Some(3.0), Some(5.0), None, Some(0.1), Some(7.0), None]),
            ("p75", [Some(5.0), Some(5.0), None, Some(0.1), Some(7.0), None]),
            ("max", [Some(8.0), Some(5.0), None, Some(0.1), Some(7.0), None]),
            ("interval_low", [Some(1.0), None, None, Some(0.1), None, None]),
            ("interval_high", [Some(8.0), None, None, Some(0.1), None, None]),
        ];
        for (name, expected) in expected {
            for (got, expected) in floats(&rows, name).into_iter().zip(expected) {
                let close = got.zip(expected).map_or(got == expected, |(x, y)| (x - y).abs() < ROUNDING);
                assert!(close, "{name}: {got:?} {expected:?}");
            }
        }
        assert_eq!(floats(&rows, "share_ok")[..3], [0.6, 0.5, 1.0].map(Some));
        assert_eq!(floats(&rows, "share_collapsed")[..3], [0.2, 0.0, 0.0].map(Some));
        assert_eq!(floats(&rows, "share_diverged")[..3], [0.2, 0.0, 0.0].map(Some));
        assert_eq!(floats(&rows, "share_failed")[..3], [0.0, 0.5, 0.0].map(Some));
        let ends = wilson(2, 5).expect("trials");
        assert_eq!((floats(&rows, "lost_low")[0], floats(&rows, "lost_high")[0]), (Some(ends.0), Some(ends.1)));
        let none = surfaces.rows("cca_1", conditions.column("metric_cca_1").expect("there")).expect("rows");
        assert_eq!((none.height(), none.schema()), (0, rows.schema()));
    }

    #[test]
    fn a_chosen_axis_is_averaged_over_the_others() {
        let (cells, _) = tables(&SHUFFLED);
        let by_freeze = surface(&cells, "x", &axes(&["stop.freeze"])).expect("rows");
        assert_eq!((counts(&by_freeze, "n"), counts(&by_freeze, "cells")), (vec![5, 0], vec![7, 1]));
        assert_eq!(floats(&by_freeze, "mean"), [Some(4.0), None]);
        let all = surface(&cells, "x", &[]).expect("one row");
        assert_eq!((counts(&all, "n"), counts(&all, "missing")), (vec![5], vec![3]));
        assert!(surface(&cells, "x", &axes(&["image.noise"])).is_err());
        assert!(surface(&cells, "y", &[]).is_err());
    }

    #[test]
    fn bytes_do_not_depend_on_the_order_of_the_rows() {
        let bytes = |order: &[usize]| {
            let dir = tempfile::tempdir().expect("a directory");
            let (cells, conditions) = tables(order);
            for (file, frame) in [(CELLS_TABLE, &cells), (CONDITIONS_TABLE, &conditions)] {
                let info = |name: &str| {
                    let role = if name.starts_with("metric_") { "metric" } else { "param" };
                    (name.to_string(), ColumnInfo::new(role, "", "of the test"))
                };
                let info = TableInfo::new("test", frame.get_column_names().into_iter().map(|name| info(name)));
                write_table(&dir.path().join(file), frame, &info).expect("written");
            }
            let axes = axes(&["seed", "train.temperature", "stop.freeze"]);
            let rows = write_surfaces(dir.path(), &axes).expect("written").rows;
            let path = dir.path().join(SURFACES_TABLE);
            assert_eq!(rows, read_table(&path).expect("readable").height() as u64);
            std::fs::read(path).expect("there")
        };
        assert_eq!(bytes(&SHUFFLED), bytes(&IN_ORDER));
    }

    #[test]
    fn no_cells_have_no_rows_and_a_row_of_no_cell_is_an_error() {
        let (cells, conditions) = tables(&[]);
        let surfaces = Surfaces::new(&cells, &conditions, &axes(&["image.noise"])).expect("tables");
        assert_eq!(surfaces.rows("x", conditions.column("metric_x").expect("there")).expect("rows").height(), 0);
        let (_, conditions) = tables(&IN_ORDER);
        assert!(Surfaces::new(&cells, &conditions, &[]).is_err());
    }

    #[test]
    fn levels_of_every_type_ascend() {
        let floats = [Some(-1.0), Some(0.5), None, Some(-2.0), Some(0.5)];
        assert_eq!(ranks_of(&Series::new("a".into(), floats).into()).expect("known"), [2, 3, 0, 1, 3]);
        assert_eq!(ranks_of(&Series::new("a".into(), [17i64, 3]).into()).expect("known"), [1, 0]);
        assert_eq!(ranks_of(&Series::new("a".into(), ["swap", "block"]).into()).expect("known"), [1, 0]);
        assert_eq!(ranks_of(&Series::new("a".into(), [true, false]).into()).expect("known"), [1, 0]);
    }
}
