//! How far metrics moved from one run to the other, paired by seed.
//!
//! The unit of replication is the seed: cells of one seed share their draws, so a hundred combinations of levels under one
//! seed are not a hundred samples. For each seed the differences `b - a` are averaged over the combinations of levels where
//! both cells have a value; means, deviations and intervals are over those averages.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use polars_core::prelude::{Column, DataFrame, PolarsError, PolarsResult};
use serde::Serialize;
use serde_json::Value;

use super::pairs::{Pairing, rows};
use crate::numerics::bootstrap::{ALL_OF_THE_RANGE, mean_interval};
use crate::numerics::stats::{mean, sample_sd};
use crate::spec::{CLEAN, LOST, Sweep};

/// What a 95% interval misses.
const MISSED: f64 = 0.05;

/// The combination of levels at which a metric moved furthest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Largest {
    /// Axis path to level, without the seed.
    pub levels: BTreeMap<String, Value>,
    /// Mean of `b - a` over its seeds.
    pub mean: f64,
    pub seeds: u64,
}

/// How far one metric moved under one condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Of the metric registry, or [`LOST`]: 1 for a cell that collapsed, diverged or failed, 0 for any other.
    pub metric: String,
    pub condition: String,
    /// Pairs of cells with a value in both.
    pub pairs: u64,
    /// Of these pairs those whose two values are not the same to the bit.
    pub changed: u64,
    /// Pairs with a value in `b` only.
    pub missing_a: u64,
    /// Pairs with a value in `a` only.
    pub missing_b: u64,
    /// Pairs without a value on either side.
    pub missing_both: u64,
    /// Seeds that have such a pair.
    pub seeds: u64,
    /// Over the seeds, of the pairs with a value in both.
    pub mean_a: Option<f64>,
    pub mean_b: Option<f64>,
    /// Of `b - a`.
    pub mean: Option<f64>,
    /// Standard deviation of `b - a` over seeds, with divisor n - 1; null for fewer than two.
    pub sd: Option<f64>,
    /// 95% interval of the mean of `b - a` over seeds, made as [`method`](crate::numerics::bootstrap::method) says;
    /// null for fewer than two.
    pub interval: Option<[f64; 2]>,
    /// Mean over standard deviation of `b - a`; null for fewer than two seeds, and where they do not vary.
    pub effect: Option<f64>,
    /// Null where no difference is anything but zero.
    pub largest: Option<Largest>,
}

/// How many intervals exclude zero, and how many would if nothing but chance were at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Intervals {
    /// Rows with an interval.
    pub count: u64,
    pub exclude_zero: u64,
    /// If every difference were symmetric about zero: 5% of intervals over five or more seeds, and of the narrower ones
    /// over 2, 3 and 4 seeds 50%, 25% and 12.5%. Rows without any difference are not counted.
    pub expected_by_chance: f64,
}

/// What the columns of one metric in both runs amount to.
#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    /// It has no value in either.
    Neither,
    OnlyA,
    OnlyB,
    /// A row for each condition that both runs have.
    Both(Vec<Difference>),
}

/// The rows of both tables of conditions, by pair.
pub struct Differences<'p> {
    pairing: &'p Pairing<'p>,
    /// The conditions that both runs have, the one under which cells were trained first, and for each pair the rows.
    conditions: Vec<(String, Vec<[Option<u32>; 2]>)>,
}

impl<'p> Differences<'p> {
    /// `a` and `b` are tables like `conditions.parquet`, of which two columns are read: `cell_id` and `condition`.
    ///
    /// # Errors
    /// A column that is not there or no text.
    pub fn new(pairing: &'p Pairing<'p>, a: &DataFrame, b: &DataFrame) -> PolarsResult<Self> {
        let (in_a, mut in_b) = (by_condition(pairing.a, a)?, by_condition(pairing.b, b)?);
        let mut conditions = Vec::new();
        for (name, rows_a) in in_a {
            let Some(rows_b) = in_b.remove(&name) else { continue };
            let rows = pairing.pairs.iter().map(|pair| [rows_a[pair.a], rows_b[pair.b]]).collect();
            conditions.push((name, rows));
        }
        conditions.sort_by(|x, y| (x.0 != CLEAN).cmp(&(y.0 != CLEAN)).then_with(|| x.0.cmp(&y.0)));
        Ok(Self { pairing, conditions })
    }

    /// The conditions that both runs have, the one under which cells were trained first.
    pub fn conditions(&self) -> Vec<String> {
        self.conditions.iter().map(|(name, _)| name.clone()).collect()
    }

    /// One metric; `a` and `b` are its columns in the tables that [`new`](Self::new) was given, none where a table lacks it.
    ///
    /// # Errors
    /// A column that is not of real numbers, or shorter than its table.
    pub fn rows(&self, metric: &str, a: Option<&Column>, b: Option<&Column>) -> PolarsResult<Measured> {
        let values = |column: Option<&Column>| -> PolarsResult<Vec<Option<f64>>> {
            let Some(column) = column else { return Ok(Vec::new()) };
            Ok(column.f64()?.iter().map(|value| value.filter(|value| value.is_finite())).collect())
        };
        let (a, b) = (values(a)?, values(b)?);
        let there = |values: &[Option<f64>]| values.iter().any(Option::is_some);
        match (there(&a), there(&b)) {
            (false, false) => return Ok(Measured::Neither),
            (true, false) => return Ok(Measured::OnlyA),
            (false, true) => return Ok(Measured::OnlyB),
            (true, true) => {}
        }
        let value = |values: &[Option<f64>], row: Option<u32>| *values.get(row? as usize)?;
        let row = |(condition, rows): &(String, Vec<[Option<u32>; 2]>)| {
            let pairs = rows.iter().map(|[row_a, row_b]| [value(&a, *row_a), value(&b, *row_b)]);
            difference(self.pairing, metric, condition, pairs)
        };
        Ok(Measured::Both(self.conditions.iter().map(row).collect::<PolarsResult<_>>()?))
    }

    /// The share of cells that were lost; `lost` is of [`Pairing::outcomes`].
    ///
    /// # Errors
    /// None that whole numbers could cause.
    pub fn lost(&self, lost: &[[Option<f64>; 2]]) -> PolarsResult<Difference> {
        difference(self.pairing, LOST, CLEAN, lost.iter().copied())
    }
}

/// For each condition the rows of the planned cells.
fn by_condition(sweep: &Sweep, table: &DataFrame) -> PolarsResult<HashMap<String, Vec<Option<u32>>>> {
    let (ids, names) = (table.column("cell_id")?.str()?, table.column("condition")?.str()?);
    let names: Vec<&str> = names.iter().map(Option::unwrap_or_default).collect();
    let known: BTreeSet<&str> = names.iter().copied().collect();
    let of = |name: &str| {
        let here = ids.iter().zip(&names).map(|(id, named)| id.filter(|_| *named == name));
        (name.to_string(), rows(sweep, &here.collect::<Vec<_>>()))
    };
    Ok(known.into_iter().map(of).collect())
}

/// Sums over the pairs of one seed or one combination.
#[derive(Clone, Copy, Default)]
struct Sums {
    n: u64,
    a: f64,
    b: f64,
    difference: f64,
}

impl Sums {
    fn add(&mut self, a: f64, b: f64) {
        self.n += 1;
        self.a += a;
        self.b += b;
        self.difference += b - a;
    }

    fn mean(&self, sum: f64) -> f64 {
        sum / self.n as f64
    }
}

/// One row. `values` are those of `a` and `b` for each pair.
fn difference(
    pairing: &Pairing,
    metric: &str,
    condition: &str,
    values: impl Iterator<Item = [Option<f64>; 2]>,
) -> PolarsResult<Difference> {
    let mut by_seed = vec![Sums::default(); pairing.seeds];
    let mut by_combination = vec![Sums::default(); pairing.combinations()];
    let mut row = Difference::none(metric, condition);
    for (pair, values) in pairing.pairs.iter().zip(values) {
        match values {
            [Some(a), Some(b)] => {
                row.pairs += 1;
                row.changed += u64::from(a.to_bits() != b.to_bits());
                by_seed[pair.seed].add(a, b);
                by_combination[pair.combination].add(a, b);
            }
            [None, Some(_)] => row.missing_a += 1,
            [Some(_), None] => row.missing_b += 1,
            [None, None] => row.missing_both += 1,
        }
    }
    by_seed.retain(|sums| sums.n > 0);
    row.seeds = by_seed.len() as u64;
    if !by_seed.is_empty() {
        let failed = |error: crate::numerics::stats::StatsError| {
            PolarsError::ComputeError(format!("{metric} under {condition}: {error}").into())
        };
        let over = |part: fn(&Sums) -> f64| {
            let mut values: Vec<f64> = by_seed.iter().map(|sums| sums.mean(part(sums))).collect();
            values.sort_unstable_by(f64::total_cmp);
            values
        };
        let differences = over(|sums| sums.difference);
        row.mean_a = Some(mean(&over(|sums| sums.a)).map_err(failed)?);
        row.mean_b = Some(mean(&over(|sums| sums.b)).map_err(failed)?);
        // The mean of equal values can differ from them by a rounding.
        let centre = mean(&differences).map_err(failed)?.clamp(differences[0], differences[differences.len() - 1]);
        row.mean = Some(centre);
        if differences.len() > 1 {
            let equal = differences[0] == differences[differences.len() - 1];
            let sd = if equal { 0.0 } else { sample_sd(&differences).map_err(failed)? };
            row.sd = Some(sd);
            row.interval = Some(mean_interval(&differences, &mut Vec::new()).map_err(failed)?.into());
            row.effect = (sd > 0.0).then(|| centre / sd);
        }
    }
    row.largest = largest(pairing, &by_combination);
    Ok(row)
}

/// Of equals the first of the plan.
fn largest(pairing: &Pairing, by_combination: &[Sums]) -> Option<Largest> {
    let mut best: Option<(usize, f64)> = None;
    for (combination, sums) in by_combination.iter().enumerate().filter(|(_, sums)| sums.n > 0) {
        let mean = sums.mean(sums.difference);
        if mean.abs() > best.map_or(0.0, |(_, best)| best.abs()) {
            best = Some((combination, mean));
        }
    }
    let (combination, mean) = best?;
    Some(Largest { levels: pairing.levels(combination), mean, seeds: by_combination[combination].n })
}

impl Difference {
    /// Of no pair.
    pub(super) fn none(metric: &str, condition: &str) -> Self {
        Self {
            metric: metric.to_string(),
            condition: condition.to_string(),
            pairs: 0,
            changed: 0,
            missing_a: 0,
            missing_b: 0,
            missing_both: 0,
            seeds: 0,
            mean_a: None,
            mean_b: None,
            mean: None,
            sd: None,
            interval: None,
            effect: None,
            largest: None,
        }
    }

    /// By what rows are ordered: the size of the effect, infinite where every seed moved by the same; for one seed, which
    /// has no spread, the difference as a share of the larger mean. Below zero without a pair of values.
    pub fn strength(&self) -> f64 {
        let Some(mean) = self.mean else { return -1.0 };
        match (self.sd, self.effect) {
            _ if mean == 0.0 => 0.0,
            (Some(_), Some(effect)) => effect.abs(),
            (Some(_), None) => f64::INFINITY,
            (None, _) => {
                let size = |mean: Option<f64>| mean.unwrap_or_default().abs();
                mean.abs() / size(self.mean_a).max(size(self.mean_b))
            }
        }
    }
}

/// What changed most first, by [`Difference::strength`]; of equals those that came first.
pub fn order(rows: &mut [Difference]) {
    rows.sort_by(|x, y| y.strength().partial_cmp(&x.strength()).unwrap_or(Ordering::Equal));
}

/// Counts the intervals.
pub fn intervals(rows: &[Difference]) -> Intervals {
    let mut counted = Intervals::default();
    for (row, [low, high]) in rows.iter().filter_map(|row| Some((row, row.interval?))) {
        counted.count += 1;
        counted.exclude_zero += u64::from(low > 0.0 || high < 0.0);
        if low < 0.0 || high > 0.0 {
            counted.expected_by_chance += by_chance(row.seeds);
        }
    }
    counted
}

/// How often an interval over so many seeds excludes zero when differences are symmetric about it. One from the least to
/// the greatest value does when all are on one side.
fn by_chance(seeds: u64) -> f64 {
    if seeds as usize <= ALL_OF_THE_RANGE { 0.5f64.powi(seeds as i32 - 1) } else { MISSED }
}

#[cfg(test)]
mod tests {
    use polars_core::prelude::{NamedFrom, Series};
    use serde_json::json;

    use super::*;
    use crate::spec::{Overrides, from_str};

    /// Hand-worked values agree to rounding of a handful of operations.
    const ROUNDING: f64 = 1e-14;

    const AXES: &str = "[axes]\nseed = [0, 1, 2]\n\"image.noise\" = [0.0, 0.5]\n";

    /// Cells go by noise, then seed.
    fn sweep(rest: &str) -> Sweep {
        let text = format!("name = \"t\"\npreset = \"tiny\"\n{AXES}{rest}");
        from_str(&text, "t.toml", &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Rows of all cells, last first, under each of these conditions.
    fn keys(sweep: &Sweep, conditions: &[&str]) -> DataFrame {
        let rows = sweep.cells.iter().rev().flat_map(|cell| conditions.iter().map(|name| (cell.id.as_str(), *name)));
        let (ids, names): (Vec<&str>, Vec<&str>) = rows.unzip();
        let columns = vec![Series::new("cell_id".into(), ids).into(), Series::new("condition".into(), names).into()];
        DataFrame::new_infer_height(columns).expect("columns of one length")
    }

    /// A column of these values in the order of the plan, for a table of one condition.
    fn column(values: &[Option<f64>]) -> Column {
        Series::new("metric_x".into(), values.iter().rev().copied().collect::<Vec<_>>()).into()
    }

    fn row(a: &[Option<f64>], b: &[Option<f64>]) -> Difference {
        let sweep = sweep("");
        let pairing = Pairing::new(&sweep, &sweep);
        let keys = keys(&sweep, &[CLEAN]);
        let differences = Differences::new(&pairing, &keys, &keys).expect("tables");
        match differences.rows("x", Some(&column(a)), Some(&column(b))).expect("numbers") {
            Measured::Both(mut rows) if rows.len() == 1 => rows.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn close(got: Option<f64>, expected: f64) {
        assert!(got.is_some_and(|got| (got - expected).abs() < ROUNDING), "{got:?} {expected}");
    }

    #[test]
    fn a_row_worked_by_hand() {
        // Differences of seeds 0, 1, 2: at noise 0 they are 1, 4, 0, at 0.5 they are 3, missing, 0. By seed 2, 4, 0.
        let a = [Some(1.0), Some(1.0), Some(3.0), Some(2.0), None, Some(2.0)];
        let b = [Some(2.0), Some(5.0), Some(3.0), Some(5.0), Some(9.0), Some(2.0)];
        let found = row(&a, &b);
        assert_eq!((found.pairs, found.missing_a, found.missing_b, found.missing_both), (5, 1, 0, 0));
        assert_eq!((found.seeds, found.mean, found.sd), (3, Some(2.0), Some(2.0)));
        assert_eq!((found.interval, found.effect), (Some([0.0, 4.0]), Some(1.0)));
        // Over seeds as well: 1.5, 1, 2.5 and 3.5, 5, 2.5.
        close(found.mean_a, 5.0 / 3.0);
        close(found.mean_b, 11.0 / 3.0);
        let largest = found.largest.expect("something moved");
        assert_eq!((largest.levels, largest.seeds), ([("image.noise".to_string(), json!(0.0))].into(), 3));
        close(Some(largest.mean), 5.0 / 3.0);
        // The other way round everything has the other sign.
        let back = row(&b, &a);
        assert_eq!((back.mean, back.interval, back.missing_b), (Some(-2.0), Some([-4.0, 0.0]), 1));
    }

    #[test]
    fn equal_values_differ_by_exactly_zero() {
        let values = [0.1, 0.2, 0.3, 1e9, -7.7, 1e-9].map(Some);
        let found = row(&values, &values);
        assert_eq!((found.mean, found.sd, found.interval), (Some(0.0), Some(0.0), Some([0.0, 0.0])));
        assert_eq!((found.effect, found.largest, found.missing_both), (None, None, 0));
        assert!(found.mean.is_some_and(|mean| mean.is_sign_positive()));
    }

    #[test]
    fn few_or_no_values_have_no_interval() {
        let only = |n: usize, value: f64| -> Vec<Option<f64>> { (0..6).map(|i| (i == n).then_some(value)).collect() };
        let one = row(&only(1, 2.0), &only(1, 5.0));
        assert_eq!((one.seeds, one.pairs, one.missing_both), (1, 1, 5));
        assert_eq!((one.mean, one.sd, one.interval, one.effect), (Some(3.0), None, None, None));
        assert_eq!(one.strength(), 0.6);
        let none = row(&only(0, 2.0), &only(1, 5.0));
        assert_eq!((none.seeds, none.pairs, none.missing_a, none.missing_b, none.missing_both), (0, 0, 1, 1, 4));
        assert_eq!((none.mean, none.mean_a, none.interval, none.largest.clone()), (None, None, None, None));
        assert!(none.strength() < 0.0);
        let endless = [Some(f64::INFINITY), Some(1.0), None, None, None, None];
        assert_eq!(row(&endless, &endless).pairs, 1, "what is not finite is no value");
    }

    #[test]
    fn conditions_are_matched_by_name_and_metrics_of_one_run_are_told() {
        let noisy = "[[condition]]\nname = \"noisy\"\nimage.noise = 0.5\n";
        let (a, b) = (sweep(noisy), sweep(&format!("{noisy}[[condition]]\nname = \"blurred\"\nimage.blur = 1\n")));
        let pairing = Pairing::new(&a, &b);
        let (keys_a, keys_b) = (keys(&a, &["noisy", CLEAN]), keys(&b, &["blurred", CLEAN, "noisy"]));
        let differences = Differences::new(&pairing, &keys_a, &keys_b).expect("tables");
        let column =
            |values: [f64; 3], n: usize| -> Column { Series::new("metric_x".into(), values[..n].repeat(6)).into() };
        let (in_a, in_b) = (column([1.0, 2.0, 0.0], 2), column([9.0, 4.0, 4.5], 3));
        let Measured::Both(rows) = differences.rows("x", Some(&in_a), Some(&in_b)).expect("numbers") else {
            panic!("both have values");
        };
        let found: Vec<_> = rows.iter().map(|row| (row.condition.as_str(), row.mean, row.pairs)).collect();
        assert_eq!(found, [(CLEAN, Some(2.0), 6), ("noisy", Some(3.5), 6)]);
        let nulls: Column = Series::new("metric_x".into(), vec![None::<f64>; 12]).into();
        let measured = |a, b| differences.rows("x", a, b).expect("numbers");
        assert_eq!(measured(Some(&in_a), None), Measured::OnlyA);
        assert_eq!(measured(Some(&nulls), Some(&in_b)), Measured::OnlyB);
        assert_eq!(measured(Some(&nulls), None), Measured::Neither);
    }

    #[test]
    fn what_changed_most_comes_first_and_intervals_are_counted_honestly() {
        let base = [0.0; 6].map(Some);
        let moved = |by: [f64; 3]| row(&base, &by.repeat(2).into_iter().map(Some).collect::<Vec<_>>());
        // Effects: 0, 2 over sd 1, none of 0, all alike.
        let (zero, clear, mixed, alike) =
            (moved([0.0; 3]), moved([1.0, 2.0, 3.0]), moved([-1.0, 0.5, 0.5]), moved([0.25; 3]));
        let mut rows = [zero.clone(), mixed.clone(), clear.clone(), alike.clone()];
        order(&mut rows);
        assert_eq!(rows, [alike, clear, zero, mixed], "equals as they came");
        // Over three seeds a quarter of the intervals is on one side of zero by chance.
        let expected = Intervals { count: 4, exclude_zero: 2, expected_by_chance: 0.75 };
        assert_eq!(intervals(&rows), expected);
        assert_eq!([2, 3, 4, 5, 16].map(by_chance), [0.5, 0.25, 0.125, 0.05, 0.05]);
    }

    #[test]
    fn lost_cells_are_a_row_like_any_other() {
        let sweep = sweep("");
        let pairing = Pairing::new(&sweep, &sweep);
        let keys = keys(&sweep, &[CLEAN]);
        let differences = Differences::new(&pairing, &keys, &keys).expect("tables");
        let (yes, no) = (Some(1.0), Some(0.0));
        // Seed 0 loses both of its cells, seed 1 one, seed 2 none, and has one that is not finished.
        let lost = [[no, yes], [no, yes], [no, no], [no, yes], [no, no], [no, None]];
        let row = differences.lost(&lost).expect("a row");
        assert_eq!((row.metric.as_str(), row.mean, row.missing_b), (LOST, Some(0.5), 1));
        assert_eq!(row.interval, Some([0.0, 1.0]));
    }
}
