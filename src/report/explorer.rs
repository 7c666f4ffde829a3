//! Every metric over any two axes, as far as it fits: values that the page's script draws a panel of at a time. What
//! pictures leave out for want of room is reached here.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::colour::{diverging_stops, sequential_stops};
use super::plot::heatmap::{exact, subjects};
use super::rows::{Level, Rows};
use super::run_data::{ReportError, RunData};
use crate::metric::{Healthy, descriptor};
use crate::spec::{Axis, CLEAN, LOST, Sweep};
use crate::store::{SURFACES_TABLE, param_column};

/// Most values on the page, of all metrics together: at two bytes each three quarters of a megabyte.
const MAX_VALUES: usize = 375_000;
/// Metrics that are kept before levels are thinned.
const LEAST_METRICS: usize = 4;
/// Rows of the table that are read at once; of a larger one the wanted metrics one by one.
const ONE_READ: usize = 500_000;
/// Values are stored as one of so many steps from the least to the greatest, in two digits of base 64; the step after
/// them is no value.
const STEPS: f64 = 4094.0;
const NO_VALUE: usize = 4095;
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Means over seeds at combinations of levels of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Explorer {
    /// Two or more.
    pub axes: Vec<Dimension>,
    pub metrics: Vec<Shown>,
    /// Metrics, under one condition or another, that there is no room for.
    pub left_out: usize,
}

/// An axis and those of its levels that are on the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimension {
    pub path: String,
    /// With all their digits.
    pub levels: Vec<String>,
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
        axes: axes.iter().zip(&every).map(|(axis, every)| dimension(axis, *every)).collect(),
        metrics: Vec::new(),
        left_out: wanted.len() - kept,
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
    Ok((!explorer.metrics.is_empty()).then_some(explorer))
}

/// The axes that cells differ in, the seed aside. Of axes that advance together the first stands for all.
pub(super) fn varied(sweep: &Sweep) -> Vec<&Axis> {
    let follows = |path: &str| sweep.zip.iter().any(|zip| zip.paths.iter().skip(1).any(|known| known == path));
    sweep.axes.iter().filter(|axis| axis.path != "seed" && axis.levels.len() > 1 && !follows(&axis.path)).collect()
}

fn dimension(axis: &Axis, every: usize) -> Dimension {
    let levels = axis.levels.iter().step_by(every).map(exact).collect();
    Dimension { path: axis.path.clone(), levels, every }
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

/// The key by which a level of a spec is that of a table.
fn level(value: &Value) -> Level {
    match (value.as_f64(), value) {
        (Some(x), _) => Level::Number(x),
        (None, Value::String(name)) => Level::Name(name.clone()),
        (None, other) => Level::Name(other.to_string()),
    }
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
                axis.levels.iter().step_by(drawn.every).enumerate().map(|(at, value)| (level(value), at)).collect()
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

    /// What the script reads: paths and levels, and for each metric its range and its values in two digits each.
    pub fn json(&self) -> Value {
        let metric = |shown: &Shown| {
            let described = descriptor(&shown.metric);
            let diverging = described.is_some_and(|d| d.healthy == Healthy::NearZero && d.range.0 < 0.0);
            let range = shown.range(diverging);
            let about = if shown.metric == LOST { "share of the finished cells that were lost" } else { "" };
            json!({
                "name": shown.metric, "condition": shown.condition, "unit": described.map_or("share", |d| d.unit),
                "about": described.map_or(about, |d| d.summary), "diverging": diverging, "low": range.0, "high": range.1,
                "bounds": shown.bounds, "values": shown.digits(range),
            })
        };
        let axis = |axis: &Dimension| json!({"path": axis.path, "levels": axis.levels});
        json!({
            "axes": self.axes.iter().map(axis).collect::<Vec<_>>(),
            "metrics": self.metrics.iter().map(metric).collect::<Vec<_>>(),
            "sequential": sequential_stops(), "diverging": diverging_stops(),
        })
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

    fn digits(&self, (low, high): (f64, f64)) -> String {
        let step = |value: &Option<f64>| match value {
            Some(value) if high > low => ((value - low) / (high - low) * STEPS).round() as usize,
            Some(_) => 0,
            None => NO_VALUE,
        };
        let digits = |step: usize| [DIGITS[(step / 64) % 64], DIGITS[step % 64]].map(char::from);
        self.values.iter().flat_map(|value| digits(step(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(path: &str, levels: usize) -> Axis {
        Axis { path: path.to_string(), levels: (0..levels).map(Value::from).collect() }
    }

    #[test]
    fn metrics_go_before_levels_and_levels_are_thinned_where_they_are_many() {
        let (a, b, c) = (axis("a", 10), axis("b", 20), axis("c", 5));
        assert_eq!(fitting(&[&a, &b, &c], 100), (100, vec![1, 1, 1]));
        assert_eq!(fitting(&[&a, &b, &c], 1_000), (375, vec![1, 1, 1]));
        let (many, more) = (axis("a", 300), axis("b", 1_000));
        let (kept, every) = fitting(&[&many, &more, &c], 8);
        assert_eq!((kept, &every[2]), (4, &1));
        let size = 300usize.div_ceil(every[0]) * 1_000usize.div_ceil(every[1]) * 5;
        assert!((60_000..=93_750).contains(&size), "{size}");
        assert_eq!(fitting(&[&a, &b], 0).0, 0);
    }

    #[test]
    fn values_are_told_to_a_four_thousandth_of_their_range() {
        let values = vec![Some(-1.0), None, Some(1.0), Some(0.0)];
        let shown = Shown { metric: "m".into(), condition: CLEAN.into(), bounds: Vec::new(), values };
        assert_eq!(shown.range(false), (-1.0, 1.0));
        assert_eq!(shown.digits((-1.0, 1.0)), "AA///+f/");
        assert_eq!(shown.digits((2.0, 2.0)), "AA//AAAA", "one value is the least");
    }
}
