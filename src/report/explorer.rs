//! Every metric over any two axes, as far as it fits: values that the page's script draws a panel of at a time. What
//! pictures leave out for want of room is reached here.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::colour::{diverging_stops, sequential_stops};
use super::plot::heatmap::subjects;
use super::rows::{Level, Rows};
use super::run_data::{ReportError, RunData};
use crate::metric::{Healthy, descriptor};
use crate::numerics::shown::{self, DIGITS, Levels, integer_and_power};
use crate::spec::{Axis, CLEAN, LOST, Sweep};
use crate::store::{SURFACES_TABLE, param_column};

/// Most values on the page, of all metrics together, in the three characters that each takes where there are many.
const MAX_VALUES: usize = VALUES_BYTES / 3;
/// What they may take of the page, with all digits or without.
const VALUES_BYTES: usize = 900_000;
/// Metrics that are kept before levels are thinned.
const LEAST_METRICS: usize = 4;
/// Rows of the table that are read at once; of a larger one the wanted metrics one by one.
const ONE_READ: usize = 500_000;
/// How many digits values have where nothing is rounded.
const ALL_DIGITS: &str = "all digits";
const BASE_64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Codes before those of numbers: no value, and zero.
const NO_VALUE: u64 = 0;
const ZERO: u64 = 1;
const FIRST: u64 = 2;
/// The least and the first too great integer of [`DIGITS`] digits.
const INTEGERS: std::ops::Range<i64> = 10i64.pow(DIGITS as u32 - 1)..10i64.pow(DIGITS as u32);

/// Means over seeds at combinations of levels of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Explorer {
    /// Two or more.
    pub axes: Vec<Dimension>,
    pub metrics: Vec<Shown>,
    /// Metrics, under one condition or another, that there is no room for.
    pub left_out: usize,
    /// Whether values have all digits, or as many as people are shown.
    pub exact: bool,
}

/// An axis and those of its levels that are on the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimension {
    pub path: String,
    /// With all their digits.
    pub levels: Vec<String>,
    /// As people are shown them.
    pub labels: Vec<String>,
    /// Of the grid's levels every one, second, third...
    pub every: usize,
}

/// A metric under a condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub metric: String,
    pub condition: String,
    /// Name and bounds of each gate on it.
    pub bounds: Vec<(String, Option<f64>, Option<f64>)>,
    /// By level of the first axis, then of the second and so on.
    pub values: Vec<Option<f64>>,
}

/// What a run's page can explore; none of fewer than two axes.
///
/// # Errors
/// A table that cannot be read.
pub fn explorer(run: &RunData) -> Result<Option<Explorer>, ReportError> {
    let axes = varied(&run.sweep);
    if axes.len() < 2 {
        return Ok(None);
    }
    let Some(names) = Rows::read(run, SURFACES_TABLE, &["metric".to_string()])?.filter(|rows| !rows.is_empty()) else {
        return Ok(None);
    };
    let blocks = blocks(&names)?;
    let wanted = wanted(&run.sweep, &blocks);
    let (kept, every) = fitting(&axes, wanted.len());
    let mut explorer = Explorer {
        axes: axes.iter().zip(&every).map(|(axis, every)| dimension(&run.sweep, axis, *every)).collect(),
        metrics: Vec::new(),
        left_out: wanted.len() - kept,
        exact: true,
    };
    let size = explorer.axes.iter().map(|axis| axis.levels.len()).product();
    let shown = |(metric, condition): &(String, String)| Shown {
        metric: metric.clone(),
        condition: condition.clone(),
        bounds: bounds(&run.sweep, metric, condition),
        values: vec![None; size],
    };
    explorer.metrics = wanted.iter().take(kept).map(shown).collect();
    let Some((any, ..)) = blocks.first() else { return Ok(None) };
    let reads = match names.len() {
        all if all <= ONE_READ => vec![(0, all)],
        _ => {
            let is_kept = |name: &str| name == any || explorer.metrics.iter().any(|shown| shown.metric == name);
            blocks.iter().filter(|block| is_kept(&block.0)).map(|(_, from, rows)| (*from, *rows)).collect()
        }
    };
    for (from, rows) in reads {
        explorer.read(run, &axes, any, from, rows)?;
    }
    // How many cells were lost is told where some were.
    explorer.metrics.retain(|shown| {
        let known = || shown.values.iter().flatten();
        known().next().is_some() && (shown.metric != LOST || known().any(|value| *value > 0.0))
    });
    explorer.fit();
    Ok((!explorer.metrics.is_empty()).then_some(explorer))
}

/// The axes that cells differ in, the seed aside. Of axes that advance together the first stands for all.
pub(super) fn varied(sweep: &Sweep) -> Vec<&Axis> {
    let follows = |path: &str| sweep.zip.iter().any(|zip| zip.paths.iter().skip(1).any(|known| known == path));
    sweep.axes.iter().filter(|axis| axis.path != "seed" && axis.levels.len() > 1 && !follows(&axis.path)).collect()
}

fn dimension(sweep: &Sweep, axis: &Axis, every: usize) -> Dimension {
    let drawn = || axis.levels.iter().step_by(every);
    let shown = sweep.shown(&axis.path);
    let labels = drawn().map(|level| shown.text(level)).collect();
    Dimension { path: axis.path.clone(), levels: drawn().map(shown::level).collect(), labels, every }
}

/// Name, first row and number of rows of each metric: its rows lie together.
fn blocks(names: &Rows) -> Result<Vec<(String, usize, usize)>, ReportError> {
    let mut blocks: Vec<(String, usize, usize)> = Vec::new();
    for (row, name) in names.texts("metric")?.into_iter().enumerate() {
        match blocks.last_mut() {
            Some((last, _, rows)) if Some(last.as_str()) == name => *rows += 1,
            _ => blocks.push((name.unwrap_or_default().to_string(), row, 1)),
        }
    }
    Ok(blocks)
}

/// Metrics and conditions: first those that have pictures, then the others as trained, then under every condition.
fn wanted(sweep: &Sweep, blocks: &[(String, usize, usize)]) -> Vec<(String, String)> {
    let pictured = subjects(&sweep.gates).into_iter().map(|subject| (subject.metric, subject.condition));
    let conditions = std::iter::once(CLEAN).chain(sweep.conditions.iter().map(|condition| condition.name.as_str()));
    let others = conditions.flat_map(|condition| blocks.iter().map(|(name, ..)| (name.clone(), condition.to_string())));
    let mut wanted: Vec<(String, String)> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for pair in pictured.chain(others) {
        let is_there = pair.0 == LOST || blocks.iter().any(|(name, ..)| *name == pair.0);
        if is_there && seen.insert(pair.clone()) {
            wanted.push(pair);
        }
    }
    wanted
}

/// How many of `metrics` fit, and which of the levels of each axis.
fn fitting(axes: &[&Axis], metrics: usize) -> (usize, Vec<usize>) {
    let least = metrics.clamp(1, LEAST_METRICS);
    let mut every = vec![1; axes.len()];
    let drawn = |every: &[usize], at: usize| axes[at].levels.len().div_ceil(every[at]);
    loop {
        let size = (0..axes.len()).map(|at| drawn(&every, at)).fold(1usize, usize::saturating_mul);
        if size.saturating_mul(least) <= MAX_VALUES {
            return ((MAX_VALUES / size.max(1)).min(metrics), every);
        }
        // Where most levels are left.
        let Some(most) = (0..axes.len()).rev().max_by_key(|at| drawn(&every, *at)) else { return (0, every) };
        if drawn(&every, most) <= 1 {
            return (0, every);
        }
        every[most] += 1;
    }
}

fn bounds(sweep: &Sweep, metric: &str, condition: &str) -> Vec<(String, Option<f64>, Option<f64>)> {
    let gates = sweep.gates.iter().filter(|gate| gate.metric == metric && gate.condition == condition);
    gates.map(|gate| (gate.name.clone(), gate.min, gate.max)).collect()
}

impl Explorer {
    /// Takes the values of some rows of the table. The share of cells lost is told by the rows of `any` metric.
    fn read(&mut self, run: &RunData, axes: &[&Axis], any: &str, from: usize, rows: usize) -> Result<(), ReportError> {
        let params: Vec<String> = axes.iter().map(|axis| param_column(&axis.path)).collect();
        let own = ["metric", "condition", "mean", "share_ok"];
        let columns: Vec<&str> = own.into_iter().chain(params.iter().map(String::as_str)).collect();
        let Some(table) = run.rows(SURFACES_TABLE, &columns, from, rows)? else { return Ok(()) };
        let table = Rows::new(table, &run.dir.join(SURFACES_TABLE));
        let (metric, condition) = (table.texts("metric")?, table.texts("condition")?);
        let (mean, ok) = (table.numbers("mean")?, table.numbers("share_ok")?);
        let places: Vec<BTreeMap<Level, usize>> = axes
            .iter()
            .zip(&self.axes)
            .map(|(axis, drawn)| {
                let drawn = axis.levels.iter().step_by(drawn.every).enumerate();
                drawn.filter_map(|(at, value)| Some((Level::of(value, Levels::EXACT)?, at))).collect()
            })
            .collect();
        let levels = params.iter().map(|name| table.levels(name)).collect::<Result<Vec<_>, _>>()?;
        let by_name: BTreeMap<(String, String), usize> = self
            .metrics
            .iter()
            .enumerate()
            .map(|(at, shown)| ((shown.metric.clone(), shown.condition.clone()), at))
            .collect();
        let lost = by_name.get(&(LOST.to_string(), CLEAN.to_string())).copied();
        for row in 0..table.len() {
            let place = places.iter().zip(&levels).zip(&self.axes).try_fold(0, |place, ((places, levels), axis)| {
                let at = places.get(levels[row].as_ref()?)?;
                Some(place * axis.levels.len() + at)
            });
            // At levels that are thinned out, or beside the grid.
            let (Some(place), Some(metric), Some(condition)) = (place, metric[row], condition[row]) else { continue };
            if let Some(at) = by_name.get(&(metric.to_string(), condition.to_string())) {
                self.metrics[*at].values[place] = mean[row];
            }
            if let (Some(at), true) = (lost, metric == any && condition == CLEAN) {
                self.metrics[at].values[place] = ok[row].map(|ok| 1.0 - ok);
            }
        }
        Ok(())
    }

    /// Keeps what there is room for: all digits, or else fewer, or else fewer metrics as well.
    fn fit(&mut self) {
        let bytes = |exact: bool| self.metrics.iter().map(move |shown| shown.values(exact).to_string().len());
        if bytes(true).sum::<usize>() <= VALUES_BYTES {
            return;
        }
        let mut taken = 0;
        let fits = |bytes: &usize| {
            taken += bytes;
            taken <= VALUES_BYTES
        };
        let kept = bytes(false).take_while(fits).count();
        self.exact = false;
        self.left_out += self.metrics.len() - kept;
        self.metrics.truncate(kept);
    }

    /// What the script reads: paths and levels, and for each metric its range and its values.
    pub fn json(&self) -> Value {
        let metric = |shown: &Shown| {
            let described = descriptor(&shown.metric);
            let diverging = described.is_some_and(|d| d.healthy == Healthy::NearZero && d.range.0 < 0.0);
            let range = shown.range(diverging);
            let about = if shown.metric == LOST { "share of the finished cells that were lost" } else { "" };
            let (lines, unlined) = shown.lines(self.exact);
            json!({
                "name": shown.metric, "condition": shown.condition, "unit": described.map_or("share", |d| d.unit),
                "about": described.map_or(about, |d| d.summary), "diverging": diverging, "low": range.0, "high": range.1,
                "bounds": shown.bounds, "lines": lines, "unlined": unlined, "precision": shown.precision(self.exact),
                "values": shown.values(self.exact),
            })
        };
        let axis = |axis: &Dimension| json!({"path": axis.path, "levels": axis.levels, "labels": axis.labels});
        json!({
            "axes": self.axes.iter().map(axis).collect::<Vec<_>>(),
            "metrics": self.metrics.iter().map(metric).collect::<Vec<_>>(),
            "sequential": sequential_stops(), "diverging": diverging_stops(),
        })
    }

    /// How many digits values have, of all metrics together.
    pub fn precision(&self) -> String {
        let of = |shown: &Shown| shown.precision(self.exact);
        let first = self.metrics.first().map(of).unwrap_or_default();
        match self.metrics.iter().all(|shown| of(shown) == first) {
            true => format!("with {first}"),
            false => format!("with {ALL_DIGITS} or with {DIGITS}, as is said of each metric"),
        }
    }

    /// What is not here, in sentences.
    pub fn missing(&self) -> String {
        let thinned = self.axes.iter().filter(|axis| axis.every > 1);
        let mut said: Vec<String> =
            thinned.map(|axis| format!("Of the levels of {} one in {} is here.", axis.path, axis.every)).collect();
        if self.left_out > 0 {
            said.push(format!(
                "{} more metrics or conditions have no room here; they are in {SURFACES_TABLE}.",
                self.left_out
            ));
        }
        said.join(" ")
    }
}

impl Shown {
    /// Of the colours: all panels have one.
    fn range(&self, diverging: bool) -> (f64, f64) {
        let known = self.values.iter().flatten().copied();
        let (low, high) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
        let most = low.abs().max(high.abs());
        if diverging { (-most, most) } else { (low, high) }
    }

    /// How many digits its values have on the page.
    fn precision(&self, exact: bool) -> String {
        match self.codes(exact) {
            None => ALL_DIGITS.to_string(),
            Some(_) => format!("{DIGITS} significant digits"),
        }
    }

    fn codes(&self, exact: bool) -> Option<Codes> {
        if exact { None } else { Codes::of(&self.values) }
    }

    /// Bounds that a line can be drawn of, and those that none can: of which a value keeps one rounded, as it is on the
    /// page, and not in the table, or the other way round.
    fn lines(&self, exact: bool) -> (Vec<Line>, Vec<Line>) {
        let coded = self.codes(exact).is_some();
        let on_page = |value: f64| if coded { parts(value).map_or(0.0, number) } else { value };
        let of_gate = |(gate, min, max): &(String, Option<f64>, Option<f64>)| {
            let line = |bound: Option<f64>, greatest| Some(Line { gate: gate.clone(), bound: bound?, greatest });
            [line(*min, false), line(*max, true)]
        };
        let lines = self.bounds.iter().flat_map(of_gate).flatten();
        lines.partition(|line| {
            self.values.iter().flatten().all(|value| line.keeps(*value) == line.keeps(on_page(*value)))
        })
    }

    /// As the script reads them: numbers, or where these are too many a text of [`Codes`].
    fn values(&self, exact: bool) -> Value {
        self.codes(exact).map_or_else(|| json!(self.values), |codes| codes.json(&self.values))
    }
}

/// A bound of a gate.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Line {
    gate: String,
    bound: f64,
    /// Whether it is the greatest value that keeps it, or the least.
    greatest: bool,
}

impl Line {
    fn keeps(&self, value: f64) -> bool {
        if self.greatest { value <= self.bound } else { value >= self.bound }
    }
}

/// A value as a number of base 64: which integer of [`DIGITS`] digits times which power of ten it is shown as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Codes {
    /// The least power of ten.
    power: i32,
    /// Digits of base 64.
    width: u32,
}

/// A number that is shown in [`DIGITS`] digits as an integer of as many, and a power of ten. None for one that is shown in
/// more, because the part before its decimal point stays whole.
fn parts(value: f64) -> Option<(i64, i32)> {
    let (mut integer, mut power) = integer_and_power(value, DIGITS);
    while integer != 0 && integer.abs() < INTEGERS.start {
        (integer, power) = (10 * integer, power - 1);
    }
    INTEGERS.contains(&integer.abs()).then_some((integer, power))
}

/// The number that the script reads of such parts.
fn number((integer, power): (i64, i32)) -> f64 {
    format!("{integer}e{power}").parse().unwrap_or(0.0)
}

impl Codes {
    /// None where a value has no code.
    fn of(values: &[Option<f64>]) -> Option<Self> {
        let powers = values.iter().flatten().filter(|value| **value != 0.0).map(|value| Some(parts(*value)?.1));
        let powers = powers.collect::<Option<Vec<i32>>>()?;
        let (low, high) = (powers.iter().min().copied().unwrap_or(0), powers.iter().max().copied().unwrap_or(0));
        let highest = Self { power: low, width: 0 }.code(1 - INTEGERS.end, high);
        let width = (1..).find(|width| 64u64.pow(*width) > highest)?;
        Some(Self { power: low, width })
    }

    /// Positive numbers of a power of ten, then negative ones.
    fn code(self, integer: i64, power: i32) -> u64 {
        let many = (INTEGERS.end - INTEGERS.start) as u64;
        let sign = u64::from(integer < 0);
        FIRST + (2 * u64::from(power.abs_diff(self.power)) + sign) * many + integer.unsigned_abs()
            - INTEGERS.start as u64
    }

    fn json(self, values: &[Option<f64>]) -> Value {
        let code = |value: &Option<f64>| match value {
            None => NO_VALUE,
            Some(0.0) => ZERO,
            Some(value) => parts(*value).map_or(NO_VALUE, |(integer, power)| self.code(integer, power)),
        };
        let digit = |code: u64, place: u32| char::from(BASE_64[(code / 64u64.pow(place) % 64) as usize]);
        let digits = |code: u64| (0..self.width).rev().map(move |place| digit(code, place));
        let text: String = values.iter().map(code).flat_map(digits).collect();
        json!({"width": self.width, "power": self.power, "codes": text})
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn axis(path: &str, levels: usize) -> Axis {
        Axis { path: path.to_string(), levels: (0..levels).map(Value::from).collect() }
    }

    #[test]
    fn metrics_go_before_levels_and_levels_are_thinned_where_they_are_many() {
        let (a, b, c) = (axis("a", 10), axis("b", 20), axis("c", 5));
        assert_eq!(fitting(&[&a, &b, &c], 100), (100, vec![1, 1, 1]));
        assert_eq!(fitting(&[&a, &b, &c], 1_000), (300, vec![1, 1, 1]));
        let (many, more) = (axis("a", 300), axis("b", 1_000));
        let (kept, every) = fitting(&[&many, &more, &c], 8);
        assert_eq!(every[2], 1, "the axis of few levels is whole");
        let size = 300usize.div_ceil(every[0]) * 1_000usize.div_ceil(every[1]) * 5;
        assert!(
            kept >= LEAST_METRICS && kept * size <= MAX_VALUES,
            "the pictures' metrics, and what there is room for"
        );
        assert!((50_000..=MAX_VALUES / LEAST_METRICS).contains(&size), "{size}");
        assert_eq!(fitting(&[&a, &b], 0).0, 0);
    }

    fn of(values: Vec<Option<f64>>) -> Shown {
        Shown { metric: "m".into(), condition: CLEAN.into(), bounds: Vec::new(), values }
    }

    /// As the script decodes them.
    fn decoded(json: &Value) -> Vec<Option<f64>> {
        if let Some(values) = json.as_array() {
            return values.iter().map(Value::as_f64).collect();
        }
        let (width, power) = (json["width"].as_u64().unwrap() as usize, json["power"].as_i64().unwrap());
        let codes = json["codes"].as_str().unwrap().as_bytes().chunks(width).map(|digits| {
            let place = |digit: &u8| BASE_64.iter().position(|known| known == digit).unwrap() as i64;
            digits.iter().fold(0, |code, digit| 64 * code + place(digit))
        });
        let number = |code: i64| match code {
            0 => None,
            1 => Some(0.0),
            code => {
                let (place, integer) = ((code - 2) / 9000, (code - 2) % 9000 + 1000);
                let sign = if place % 2 == 1 { "-" } else { "" };
                format!("{sign}{integer}e{}", power + place / 2).parse().ok()
            }
        };
        codes.map(number).collect()
    }

    #[test]
    fn values_have_all_digits_or_those_that_are_shown() {
        let values = vec![Some(8.341512345678), None, Some(-1.0), Some(0.0), Some(9.99996), Some(0.00123456)];
        let own = of(values.clone());
        assert_eq!(own.range(false), (-1.0, 9.99996));
        assert_eq!(decoded(&own.values(true)), values);
        let few = own.values(false);
        assert_eq!(decoded(&few), [Some(8.342), None, Some(-1.0), Some(0.0), Some(10.0), Some(0.001235)]);
        assert_eq!(few["codes"].as_str().unwrap().len(), 3 * values.len());
        // A part before the decimal point is shown whole, in more digits than a code has.
        assert!(of(vec![Some(12345.6)]).values(false).is_array());
        assert_eq!(decoded(&of(vec![None, Some(0.0)]).values(false)), [None, Some(0.0)]);
    }

    #[test]
    fn a_line_is_drawn_of_bounds_that_values_keep_on_the_page_as_in_the_table() {
        let bound = |least: Option<f64>, most: Option<f64>| vec![("g".to_string(), least, most)];
        let lines = |values: &[f64], bounds, exact| {
            let shown = Shown { bounds, ..of(values.iter().copied().map(Some).collect()) };
            let (lines, unlined) = shown.lines(exact);
            assert_eq!(shown.precision(exact) == ALL_DIGITS, exact);
            (lines, unlined.len())
        };
        // A value at a bound keeps it, whichever side the bound is of.
        let (own, none) = lines(&[0.5, 0.6], bound(None, Some(0.5)), true);
        assert_eq!((own[0].keeps(0.5), own[0].keeps(0.6), none), (true, false, 0));
        let (own, none) = lines(&[0.4, 0.5], bound(Some(0.5), None), true);
        assert_eq!((own[0].keeps(0.4), own[0].keeps(0.5), none), (false, true, 0));
        // Rounded, 0.49996 would keep a least of 0.5.
        assert_eq!(lines(&[0.49996, 0.6], bound(Some(0.5), None), true).0.len(), 1);
        assert_eq!(lines(&[0.49996, 0.6], bound(Some(0.5), Some(0.55)), false).0.len(), 1);
        assert_eq!(lines(&[0.49996, 0.6], bound(Some(0.5), Some(0.55)), false).1, 1);
        assert_eq!(lines(&[0.4994, 0.6], bound(Some(0.5), None), false).1, 0);
    }

    #[test]
    fn digits_are_told_of_each_metric() {
        let few = of(vec![Some(1.0 / 3.0)]);
        let whole = of(vec![Some(12345.6)]);
        assert_eq!(
            (few.precision(false).as_str(), whole.precision(false).as_str()),
            ("4 significant digits", "all digits")
        );
        let of_all =
            |metrics: Vec<Shown>, exact| Explorer { axes: Vec::new(), metrics, left_out: 0, exact }.precision();
        assert_eq!(of_all(vec![few.clone(), whole.clone()], true), "with all digits");
        assert_eq!(of_all(vec![few.clone(), few.clone()], false), "with 4 significant digits");
        assert_eq!(of_all(vec![few, whole], false), "with all digits or with 4, as is said of each metric");
    }

    proptest! {
        #[test]
        fn codes_are_what_is_shown(bits in prop::collection::vec(any::<u64>(), 1..8), near: bool) {
            // Of any magnitude, or of few.
            let value = |bits: u64| if near { (bits % 2_000_001) as f64 / 1e6 - 1.0 } else { f64::from_bits(bits) };
            let values: Vec<Option<f64>> = bits.into_iter().map(value).map(|x| Some(x).filter(|x| x.is_finite())).collect();
            let told = decoded(&of(values.clone()).values(false));
            let shown = |values: &[Option<f64>]| values.iter().map(|x| x.map(shown::rounded)).collect::<Vec<_>>();
            prop_assert_eq!(shown(&told), shown(&values));
        }
    }

    #[test]
    fn what_has_no_room_loses_digits_first_and_then_metrics() {
        let metric = |n: usize| of((0..n).map(|i| Some(1.0 / (3.0 + i as f64))).collect());
        let explorer = |metrics: usize| {
            let metrics = (0..metrics).map(|_| metric(20_000)).collect();
            let mut explorer = Explorer { axes: Vec::new(), metrics, left_out: 0, exact: true };
            explorer.fit();
            (explorer.metrics.len(), explorer.left_out, explorer.exact)
        };
        assert_eq!(explorer(1), (1, 0, true));
        assert_eq!(explorer(10), (10, 0, false));
        let (kept, left_out, exact) = explorer(20);
        assert!(kept < 20 && kept + left_out == 20 && !exact, "{kept}");
    }
}
