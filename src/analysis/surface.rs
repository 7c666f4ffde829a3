//! Surfaces: metrics over axes, aggregated over the cells that share their levels.
//!
//! Nothing is dropped in silence: every finished cell is counted, whatever became of it. The value of a collapsed cell
//! is a value like any other; one that diverged or failed has none, and is missing.

use polars_core::prelude::{
    Column, DataFrame, Float64Chunked, IdxCa, IdxSize, NamedFrom, PolarsError, PolarsResult, Series,
};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use super::ranks::{find, paired, ranks_of};
use crate::numerics::bootstrap::mean_interval;
use crate::numerics::interval::wilson;
use crate::numerics::stats::{StatsError, mean, quantile_of_sorted};
use crate::spec::CLEAN;
use crate::store::{RecordedStatus, metric_column, param_column};

/// The statuses of cells, in the order of the shares' columns.
const STATUSES: [RecordedStatus; 4] =
    [RecordedStatus::Ok, RecordedStatus::Collapsed, RecordedStatus::Diverged, RecordedStatus::Failed];

/// Rows that one thread works on at a time.
const CHUNK: usize = 1 << 8;

/// Largest value whose square, added up over any number of cells, stays below the largest number.
const LARGE: f64 = 1e140;
/// What larger ones are multiplied with first: 2^-600, which takes the largest number to 4e127.
const UNIT: f64 = f64::from_bits((1023 - 600) << 52);

/// A metric over one, two or more axes: a row per combination of their levels that has finished cells, over all cells
/// that share it, as trained. Columns are those of `surfaces.parquet`, without the condition.
///
/// # Errors
/// A column that `cells`, a table like `cells.parquet`, lacks or has in another type; a value that is not finite.
pub fn surface(cells: &DataFrame, metric: &str, axes: &[String]) -> PolarsResult<DataFrame> {
    let mut groups = Groups::new(cells, axes)?;
    let places = std::mem::take(&mut groups.of_cell);
    let surfaces = Surfaces { fixed: Fixed::new(&groups, &[CLEAN])?, places };
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
                of_cell = paired(&of_cell, &ranks_of(column)?);
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

/// The columns that every metric has alike, a row per condition and group.
struct Fixed {
    /// Condition and levels.
    first: Vec<Column>,
    cells: Column,
    /// Shares of the statuses and the interval of what is lost.
    last: Vec<Column>,
}

impl Fixed {
    fn new(groups: &Groups, conditions: &[&str]) -> PolarsResult<Self> {
        let statuses = &groups.statuses;
        let every = || conditions.iter().flat_map(|_| statuses);
        let cells: Vec<u64> = every().map(|group| group.iter().sum()).collect();
        let named: Vec<&str> = conditions.iter().flat_map(|name| std::iter::repeat_n(*name, statuses.len())).collect();
        let mut first = vec![Series::new("condition".into(), named).into()];
        let again: Vec<IdxSize> = conditions.iter().flat_map(|_| 0..statuses.len() as IdxSize).collect();
        first.extend(groups.levels.take(&IdxCa::from_vec("".into(), again))?.columns().iter().cloned());
        let mut last = Vec::new();
        for (at, status) in STATUSES.iter().enumerate() {
            let shares = every().zip(&cells).map(|(group, cells)| group[at] as f64 / *cells as f64);
            last.push(floats(&format!("share_{}", status.name()), shares));
        }
        let lost: Vec<(f64, f64)> = every()
            .zip(&cells)
            .map(|(group, cells)| wilson(cells - group[0], *cells))
            .collect::<Result<_, _>>()
            .map_err(|error| PolarsError::ComputeError(error.to_string().into()))?;
        last.push(floats("lost_low", lost.iter().map(|ends| ends.0)));
        last.push(floats("lost_high", lost.iter().map(|ends| ends.1)));
        Ok(Self { first, cells: counts("cells", cells.into_iter()), last })
    }
}

fn floats(name: &str, values: impl Iterator<Item = f64>) -> Column {
    Series::new(name.into(), values.collect::<Vec<_>>()).into()
}

fn counts(name: &str, values: impl Iterator<Item = u64>) -> Column {
    Series::new(name.into(), values.map(|count| count as i64).collect::<Vec<_>>()).into()
}

/// The surfaces of a run under each condition, metric by metric.
pub struct Surfaces {
    fixed: Fixed,
    /// For each row with values that of the surface that it belongs to: condition times the number of groups, plus group.
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
        let ids = conditions.column("cell_id")?.str()?;
        let cell_of = find(cells.column("cell_id")?.str()?.iter(), ids.iter());
        let named = conditions.column("condition")?.str()?;
        // The one under which cells were trained first, the others sorted.
        let mut names: Vec<Option<&str>> = Vec::new();
        for name in named.iter() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.sort_unstable_by_key(|name| (*name != Some(CLEAN), *name));
        let many = groups.statuses.len() as u32;
        let place = |((cell, name), id): ((Option<u32>, Option<&str>), Option<&str>)| {
            let condition = names.iter().position(|other| *other == name).filter(|_| name.is_some());
            let place = cell.zip(condition).map(|(cell, at)| at as u32 * many + groups.of_cell[cell as usize]);
            place.ok_or_else(|| PolarsError::ComputeError(format!("no cell {id:?} for condition {name:?}").into()))
        };
        let rows = cell_of.into_iter().zip(named.iter()).zip(ids.iter());
        let places = rows.map(place).collect::<PolarsResult<_>>()?;
        let names: Vec<&str> = names.into_iter().flatten().collect();
        Ok(Self { fixed: Fixed::new(&groups, &names)?, places })
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
        let values = values.f64()?;
        if values.len() != self.places.len() {
            return Err(PolarsError::ShapeMismatch(format!("{metric}: {} values", values.len()).into()));
        }
        if values.null_count() == values.len() {
            return self.none();
        }
        let (mut by_place, ends) = gather(values, &self.places, self.fixed.cells.len());
        let mut parts = Vec::with_capacity(ends.len());
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

    /// All rows, or none.
    fn frame(&self, metric: &str, rows: &[Statistics]) -> PolarsResult<DataFrame> {
        let fixed = |column: &Column| column.slice(0, rows.len());
        let mut columns: Vec<Column> = vec![Series::new("metric".into(), vec![metric; rows.len()]).into()];
        columns.extend(self.fixed.first.iter().map(fixed));
        columns.push(counts("n", rows.iter().map(|row| row.n)));
        columns.push(fixed(&self.fixed.cells));
        let missing = rows.iter().zip(self.fixed.cells.i64()?.iter().flatten());
        columns.push(counts("missing", missing.map(|(row, cells)| (cells as u64).saturating_sub(row.n))));
        for (at, name) in VALUES.iter().enumerate() {
            let values: Vec<Option<f64>> = rows.iter().map(|row| row.values[at]).collect();
            columns.push(Series::new((*name).into(), values).into());
        }
        columns.extend(self.fixed.last.iter().map(fixed));
        DataFrame::new(rows.len(), columns)
    }
}

/// The values of each place, one place after the other, and where each ends.
fn gather(values: &Float64Chunked, places: &[u32], many: usize) -> (Vec<f64>, Vec<usize>) {
    let mut ends = vec![0; many];
    let there = || values.iter().zip(places).filter_map(|(value, place)| Some((value?, *place as usize)));
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
        if least.abs().max(greatest.abs()) <= LARGE {
            return Self::of_sorted(values, scratch);
        }
        // Powers of two change no digit of a value that is not tiny beside the largest.
        values.iter_mut().for_each(|x| *x *= UNIT);
        let mut statistics = Self::of_sorted(values, scratch)?;
        for value in &mut statistics.values {
            // A spread can be larger than any number.
            *value = value.map(|x| x / UNIT).filter(|x| x.is_finite());
        }
        Ok(statistics)
    }

    fn of_sorted(values: &[f64], scratch: &mut Vec<f64>) -> Result<Self, StatsError> {
        let (Some(least), Some(greatest)) = (values.first(), values.last()) else { return Ok(Self::default()) };
        // The mean of equal values can differ from them by a rounding.
        let mean = mean(values)?.clamp(*least, *greatest);
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
            Some(quantile_of_sorted(values, 0.25)?),
            Some(quantile_of_sorted(values, 0.5)?),
            Some(quantile_of_sorted(values, 0.75)?),
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

    #[test]
    fn values_of_any_size_have_a_spread_that_is_no_infinity() {
        let of = |factor: f64| {
            let mut values = [3.0, -1.0, 2.5, 8.0, 0.25, 4.0].map(|x| x * factor);
            Statistics::of(&mut values, &mut Vec::new()).expect("finite values").values
        };
        let plain = of(1.0);
        for exponent in [130, 200, 300] {
            let factor = 10f64.powi(exponent);
            for ((got, plain), name) in of(factor).iter().zip(plain).zip(VALUES) {
                let (got, plain) = (got.expect("a value"), plain.expect("a value"));
                assert!((got / factor - plain).abs() <= ROUNDING * plain.abs(), "{name} at 1e{exponent}: {got}");
            }
        }
        let ends = Statistics::of(&mut [f64::MAX, f64::MIN], &mut Vec::new()).expect("finite values").values;
        assert_eq!(
            (ends[0], ends[1], ends[2]),
            (Some(0.0), None, Some(f64::MIN)),
            "no number is as large as their spread"
        );
    }

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
}
