//! The cells of a family's run by levels and seed, and quantities of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use polars_core::prelude::{DataFrame, PolarsError, PolarsResult};
use serde_json::Value;
use thiserror::Error;

use super::family::{Family, Place};
use crate::analysis::line::value_at;
use crate::metric::descriptor;
use crate::numerics::shown;
use crate::numerics::stats::{StatsError, quantile, sample_sd};
use crate::spec::{CLEAN, Sweep, by_size};
use crate::store::{
    CELLS_TABLE, CONDITIONS_TABLE, CURVES_TABLE, StoreError, metric_column, param_column, read_columns, read_table_info,
};

/// Why a laboratory cannot read a run.
#[derive(Debug, Error)]
pub enum LabError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{path}: {source}")]
    Table { path: PathBuf, source: PolarsError },
    #[error(transparent)]
    Stats(#[from] StatsError),
    #[error("{dir} has no manifest: the laboratory's command makes the run")]
    NoManifest { dir: PathBuf },
    #[error("{path} cannot be read: {reason}")]
    Unreadable { path: PathBuf, reason: String },
}

/// Something measured of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// A metric, under the condition asked for.
    Metric(&'static str),
    /// Its absolute value.
    Size(&'static str),
    /// The first metric less the second.
    Difference(&'static str, &'static str),
    /// The mean of two metrics: of both directions, or both modalities.
    Mean(&'static str, &'static str),
    /// The mean of `r / (1 + r)` of two metrics that are ratios of between to within: the share of the scatter that a
    /// factor explains, which stays within 0 and 1 where the scatter within vanishes.
    Explained(&'static str, &'static str),
    /// What the first explains less what the second does.
    ExplainedDifference(&'static str, &'static str),
    /// The natural logarithm of the ratio of two training series, its median over the second half of the steps.
    LogRatio(&'static str, &'static str),
    /// The median of a training series over the second half of the steps.
    Late(&'static str),
    /// The standard deviation of the changes of a training series from one record to the next, over the second half.
    Unrest(&'static str),
}

impl Quantity {
    /// Metrics that it reads.
    pub fn metrics(self) -> Vec<&'static str> {
        match self {
            Self::Metric(a) | Self::Size(a) => vec![a],
            Self::Difference(a, b) | Self::Mean(a, b) | Self::Explained(a, b) | Self::ExplainedDifference(a, b) => {
                vec![a, b]
            }
            Self::LogRatio(..) | Self::Late(_) | Self::Unrest(_) => Vec::new(),
        }
    }

    /// Training series that it reads.
    pub fn series(self) -> Vec<&'static str> {
        match self {
            Self::LogRatio(a, b) => vec![a, b],
            Self::Late(a) | Self::Unrest(a) => vec![a],
            _ => Vec::new(),
        }
    }

    /// What it is called in tables.
    pub fn label(self) -> String {
        match self {
            Self::Metric(a) => a.to_string(),
            Self::Size(a) => format!("|{a}|"),
            Self::Difference(a, b) => format!("{a} - {b}"),
            Self::Mean(a, b) => {
                common(a, b).map_or(format!("mean of {a} and {b}"), |both| format!("{both}, mean of both"))
            }
            Self::Explained(a, b) => {
                let both = common(a, b).unwrap_or(a);
                format!("scatter explained by {}", both.strip_prefix("separability_").unwrap_or(both))
            }
            Self::ExplainedDifference(a, b) => format!("scatter explained, {a} - {b}"),
            Self::LogRatio(a, b) => format!("ln({a} / {b}), late in training"),
            Self::Late(a) => format!("{a}, late in training"),
            Self::Unrest(a) => format!("changes of {a}, late in training"),
        }
    }

    /// Its unit; empty for a pure number.
    pub fn unit(self) -> &'static str {
        let unit = |name: &str| descriptor(name).map_or("", |d| d.unit);
        match self {
            Self::Metric(a) | Self::Size(a) | Self::Difference(a, _) | Self::Mean(a, _) => unit(a),
            Self::Explained(..) | Self::ExplainedDifference(..) => "share",
            Self::Late(_) | Self::Unrest(_) | Self::LogRatio(..) => "",
        }
    }

    /// Least and greatest value that it can have where embeddings have at most so many dimensions, over at most so many
    /// samples.
    pub fn range(self, largest: Largest) -> (f64, f64) {
        let of = |name: &str| largest.range(name);
        match self {
            Self::Metric(a) => of(a),
            Self::Size(a) => {
                let (low, high) = of(a);
                (0.0, low.abs().max(high.abs()))
            }
            Self::Difference(a, b) => {
                let (a, b) = (of(a), of(b));
                (a.0 - b.1, a.1 - b.0)
            }
            Self::Mean(a, b) => {
                let (a, b) = (of(a), of(b));
                ((a.0 + b.0) / 2.0, (a.1 + b.1) / 2.0)
            }
            Self::Explained(..) => (0.0, 1.0),
            Self::ExplainedDifference(..) => (-1.0, 1.0),
            Self::Unrest(_) => (0.0, f64::INFINITY),
            Self::LogRatio(..) | Self::Late(_) => (f64::NEG_INFINITY, f64::INFINITY),
        }
    }

    /// Its value from those of [`metrics`](Self::metrics) at hand; none where one has none.
    pub fn of_metrics(self, value: impl Fn(&str) -> Option<f64>) -> Option<f64> {
        match self {
            Self::Metric(a) => value(a),
            Self::Size(a) => Some(value(a)?.abs()),
            Self::Difference(a, b) => Some(value(a)? - value(b)?),
            Self::Mean(a, b) => Some((value(a)? + value(b)?) / 2.0),
            Self::Explained(a, b) => Some((explained(value(a)?) + explained(value(b)?)) / 2.0),
            Self::ExplainedDifference(a, b) => Some(explained(value(a)?) - explained(value(b)?)),
            Self::LogRatio(..) | Self::Late(_) | Self::Unrest(_) => None,
        }
    }

    /// Its value from one cell's training series, each in the order of its steps and without gaps; none where it has
    /// too few points, or no finite value.
    pub fn of_series(self, series: impl Fn(&str) -> Vec<f64>) -> Option<f64> {
        let late = |name: &str| {
            let all = series(name);
            all[all.len() / 2..].to_vec()
        };
        let value = match self {
            Self::LogRatio(a, b) => {
                let ratios: Vec<f64> = late(a).iter().zip(late(b)).map(|(a, b)| (a / b).ln()).collect();
                quantile(&ratios, 0.5).ok()?
            }
            Self::Late(a) => quantile(&late(a), 0.5).ok()?,
            Self::Unrest(a) => {
                let late = late(a);
                sample_sd(&late.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()).ok()?
            }
            _ => return None,
        };
        value.is_finite().then_some(value)
    }
}

/// What bounds metrics whose descriptors leave one end open: they count dimensions or samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Largest {
    pub dimensions: f64,
    pub samples: f64,
}

impl Largest {
    /// Of the cells of a sweep.
    pub fn of(sweep: &Sweep) -> Self {
        let most =
            |of: fn(&crate::spec::Config) -> u64| sweep.cells.iter().map(|cell| of(&cell.config)).max().unwrap_or(0);
        let dimensions = most(|config| config.model.embedding) as f64;
        Self { dimensions, samples: most(|config| config.world.n_test) as f64 }
    }

    /// The range of a metric; both ends infinite for one that is not known.
    fn range(self, name: &str) -> (f64, f64) {
        let Some(known) = descriptor(name) else { return (f64::NEG_INFINITY, f64::INFINITY) };
        let (least, greatest) = match known.unit {
            // From one dimension to all of them, or a difference of two such.
            "dimensions" if known.range.0 < 0.0 => (1.0 - self.dimensions, self.dimensions - 1.0),
            "dimensions" => (1.0, self.dimensions),
            "rank" => (1.0, self.samples),
            _ => known.range,
        };
        (known.range.0.max(least), known.range.1.min(greatest))
    }
}

/// The share of all scatter that lies between groups, where `ratio` is between over within.
fn explained(ratio: f64) -> f64 {
    ratio / (1.0 + ratio)
}

/// What two names share when they differ in their last word alone: `hub_gini` of `hub_gini_i2t` and `hub_gini_t2i`.
fn common<'a>(a: &'a str, b: &str) -> Option<&'a str> {
    let (head, _) = a.rsplit_once('_')?;
    (b.rsplit_once('_')?.0 == head).then_some(head)
}

/// How levels are compared: numbers by value, however they are written.
pub(super) fn key_of(level: &Value) -> String {
    shown::level(level)
}

/// As [`key_of`], of a level as a spec writes it.
pub(super) fn key_of_text(text: &str) -> String {
    serde_json::from_str(text).map_or_else(|_| text.to_string(), |level: Value| key_of(&level))
}

/// Levels of the axes but the seed, in the order of [`Observed::axes`].
pub type Combination = Vec<Value>;

/// The finished cells of a run, and the quantities asked for.
#[derive(Debug)]
pub struct Observed {
    /// Axis paths but the seed.
    pub axes: Vec<String>,
    /// By condition and the keys of their levels: the levels, and the values of each quantity by seed.
    groups: BTreeMap<(String, Vec<String>), Group>,
    quantities: Vec<Quantity>,
}

#[derive(Debug, Default)]
struct Group {
    levels: Combination,
    /// By seed, in the order of the quantities; none where a cell has no value.
    values: BTreeMap<i64, Vec<Option<f64>>>,
}

impl Observed {
    /// Reads what `quantities` need from the tables of a run.
    ///
    /// # Errors
    /// A table that cannot be read, or that lacks a column of the levels.
    pub fn read(dir: &Path, sweep: &Sweep, quantities: &[Quantity]) -> Result<Self, LabError> {
        let axes: Vec<String> = sweep.axes.iter().map(|a| a.path.clone()).filter(|path| path != "seed").collect();
        let path = dir.join(CELLS_TABLE);
        let failed = |source| LabError::Table { path: path.clone(), source };
        let metrics: BTreeSet<&str> = quantities.iter().flat_map(|q| q.metrics()).collect();
        let levels = axes.iter().map(String::as_str).chain(["seed"]).map(param_column);
        let cells = read_known(&path, ["cell_id".to_string()].into_iter().chain(levels), &metrics)?;
        let ids = texts(&cells, "cell_id").map_err(failed)?;
        let mut of_cell = BTreeMap::new();
        for (row, id) in ids.iter().enumerate() {
            let level = |axis: &String| value_at(cells.column(&param_column(axis))?, row);
            let levels = axes.iter().map(level).collect::<PolarsResult<Combination>>().map_err(failed)?;
            let seed = value_at(cells.column(&param_column("seed")).map_err(failed)?, row).map_err(failed)?;
            of_cell.insert(id.clone(), (levels, seed.as_i64().unwrap_or_default()));
        }
        let series = read_series(dir, quantities)?;
        let mut observed = Self { axes, groups: BTreeMap::new(), quantities: quantities.to_vec() };
        let names = vec![CLEAN.to_string(); ids.len()];
        observed.add(&cells, &ids, &names, &of_cell, &series).map_err(failed)?;
        if !sweep.conditions.is_empty() {
            let path = dir.join(CONDITIONS_TABLE);
            let failed = |source| LabError::Table { path: path.clone(), source };
            let fixed = ["cell_id", "condition"].map(String::from).into_iter();
            let table = read_known(&path, fixed, &metrics)?;
            let (ids, names) = (texts(&table, "cell_id").map_err(failed)?, texts(&table, "condition").map_err(failed)?);
            observed.add(&table, &ids, &names, &of_cell, &BTreeMap::new()).map_err(failed)?;
        }
        Ok(observed)
    }

    /// Cells as a test has them: levels by axis, seed, and values in the order of the quantities.
    #[cfg(test)]
    pub fn of(axes: Vec<String>, quantities: Vec<Quantity>, cells: Vec<(Combination, i64, Vec<Option<f64>>)>) -> Self {
        let mut groups: BTreeMap<(String, Vec<String>), Group> = BTreeMap::new();
        for (levels, seed, values) in cells {
            let key = (CLEAN.to_string(), levels.iter().map(key_of).collect());
            groups.entry(key).or_insert_with(|| Group { levels, ..Group::default() }).values.insert(seed, values);
        }
        Self { axes, groups, quantities }
    }

    fn add(
        &mut self,
        table: &DataFrame,
        ids: &[String],
        conditions: &[String],
        of_cell: &BTreeMap<String, (Combination, i64)>,
        series: &BTreeMap<String, Vec<Option<f64>>>,
    ) -> PolarsResult<()> {
        let mut columns: BTreeMap<&str, Vec<Option<f64>>> = BTreeMap::new();
        for name in self.quantities.iter().flat_map(|q| q.metrics()) {
            if let Ok(column) = table.column(&metric_column(name)) {
                columns.insert(name, column.f64()?.iter().collect());
            }
        }
        for (row, (id, condition)) in ids.iter().zip(conditions).enumerate() {
            let Some((levels, seed)) = of_cell.get(id) else { continue };
            let metric = |name: &str| (*columns.get(name)?.get(row)?).filter(|value| value.is_finite());
            let own = series.get(id);
            let value = |(at, quantity): (usize, &Quantity)| {
                quantity.of_metrics(metric).or_else(|| own.and_then(|own| own[at]))
            };
            let values = self.quantities.iter().enumerate().map(value).collect();
            let key = (condition.clone(), levels.iter().map(key_of).collect());
            // The clean condition stands in both tables; that of the cells has the training series.
            let group = self.groups.entry(key).or_insert_with(|| Group { levels: levels.clone(), ..Group::default() });
            group.values.entry(*seed).or_insert(values);
        }
        Ok(())
    }

    /// Every combination of levels that has cells, under a condition, in the order of the levels.
    pub fn combinations(&self, condition: &str) -> Vec<Combination> {
        let mut all: Vec<Combination> = self
            .groups
            .iter()
            .filter(|((name, _), _)| name == condition)
            .map(|(_, group)| group.levels.clone())
            .collect();
        let order = |a: &Value, b: &Value| by_size(a, b).unwrap_or_else(|| key_of(a).cmp(&key_of(b)));
        all.sort_by(|a, b| {
            a.iter().zip(b).map(|(a, b)| order(a, b)).find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
        });
        all
    }

    /// The values of every quantity that was asked for, by seed, at a combination of levels, as trained.
    pub fn every_value(&self, levels: &[Value]) -> BTreeMap<i64, Vec<Option<f64>>> {
        let key = (CLEAN.to_string(), levels.iter().map(key_of).collect());
        self.groups.get(&key).map_or_else(BTreeMap::new, |group| group.values.clone())
    }

    /// A quantity by seed at a combination of levels; none for a cell without a value, and empty where there is no cell.
    pub fn values(&self, quantity: Quantity, levels: &[Value], condition: &str) -> BTreeMap<i64, Option<f64>> {
        self.values_at(quantity, levels.iter().map(key_of).collect(), condition)
    }

    /// As [`values`](Self::values), at a place of `family`.
    pub fn at(&self, family: &Family, place: &Place, quantity: Quantity) -> BTreeMap<i64, Option<f64>> {
        self.values_at(quantity, self.key(family, place), place.condition)
    }

    /// Whether these levels are the family's reference.
    pub fn is_reference(&self, family: &Family, levels: &[Value]) -> bool {
        let reference = self.key(family, &Place { levels: &[], condition: CLEAN });
        levels.iter().map(key_of).eq(reference)
    }

    /// The keys of the levels of a place, in the order of the axes.
    fn key(&self, family: &Family, place: &Place) -> Vec<String> {
        let level = |path: &String| {
            let find = |levels: &[super::Level]| levels.iter().find(|(p, _)| p == path).map(|(_, level)| *level);
            find(place.levels).or_else(|| find(family.reference)).map_or_else(String::new, key_of_text)
        };
        self.axes.iter().map(level).collect()
    }

    fn values_at(&self, quantity: Quantity, key: Vec<String>, condition: &str) -> BTreeMap<i64, Option<f64>> {
        let Some(at) = self.quantities.iter().position(|known| *known == quantity) else { return BTreeMap::new() };
        let group = self.groups.get(&(condition.to_string(), key));
        group.map_or_else(BTreeMap::new, |group| group.values.iter().map(|(seed, v)| (*seed, v[at])).collect())
    }
}

fn texts(table: &DataFrame, name: &str) -> PolarsResult<Vec<String>> {
    Ok(table.column(name)?.str()?.iter().map(|text| text.unwrap_or_default().to_string()).collect())
}

/// The fixed columns of a table and those metrics that it has.
fn read_known(
    path: &Path,
    fixed: impl Iterator<Item = String>,
    metrics: &BTreeSet<&str>,
) -> Result<DataFrame, LabError> {
    let known = read_table_info(path)?.columns;
    let metrics = metrics.iter().map(|name| metric_column(name)).filter(|name| known.contains_key(name));
    let columns: Vec<String> = fixed.chain(metrics).collect();
    Ok(read_columns(path, &columns)?)
}

/// For each cell the values of the quantities that are of training series, in the order of `quantities`.
fn read_series(dir: &Path, quantities: &[Quantity]) -> Result<BTreeMap<String, Vec<Option<f64>>>, LabError> {
    let names: BTreeSet<&str> = quantities.iter().flat_map(|q| q.series()).collect();
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let path = dir.join(CURVES_TABLE);
    let failed = |source| LabError::Table { path: path.clone(), source };
    let known = read_table_info(&path)?.columns;
    let names: Vec<&str> = names.into_iter().filter(|name| known.contains_key(*name)).collect();
    let columns: Vec<String> = ["cell_id"].iter().chain(&names).map(ToString::to_string).collect();
    let table = read_columns(&path, &columns)?;
    let ids = texts(&table, "cell_id").map_err(failed)?;
    let mut series: BTreeMap<&str, Vec<Option<f64>>> = BTreeMap::new();
    for name in &names {
        let column = table.column(name).and_then(|c| c.f64()).map_err(failed)?;
        series.insert(name, column.iter().collect());
    }
    // Rows of a cell are together, in the order of their steps.
    let mut found = BTreeMap::new();
    let mut from = 0;
    for run in ids.chunk_by(|a, b| a == b) {
        let rows = from..from + run.len();
        from = rows.end;
        let of = |name: &str| {
            let all = series.get(name).map_or(&[][..], |all| &all[rows.clone()]);
            all.iter().flatten().copied().collect::<Vec<f64>>()
        };
        found.insert(run[0].clone(), quantities.iter().map(|quantity| quantity.of_series(of)).collect());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_by_hand() {
        let metric = |name: &str| match name {
            "hub_gini_i2t" => Some(0.25),
            "hub_gini_t2i" => Some(0.75),
            "symmetry_gap_at_1" => Some(-0.5),
            _ => None,
        };
        let of = |quantity: Quantity| quantity.of_metrics(metric);
        assert_eq!(of(Quantity::Size("symmetry_gap_at_1")), Some(0.5));
        assert_eq!(of(Quantity::Difference("hub_gini_i2t", "hub_gini_t2i")), Some(-0.5));
        assert_eq!(of(Quantity::Mean("hub_gini_i2t", "hub_gini_t2i")), Some(0.5));
        assert_eq!(of(Quantity::Mean("hub_gini_i2t", "lost")), None);
        assert_eq!(of(Quantity::Explained("hub_gini_i2t", "hub_gini_t2i")), Some((0.2 + 0.75 / 1.75) / 2.0));
        assert_eq!(Quantity::Mean("hub_gini_i2t", "hub_gini_t2i").label(), "hub_gini, mean of both");
        let shape = Quantity::Explained("separability_shape_img", "separability_shape_txt");
        assert_eq!(shape.label(), "scatter explained by shape");
    }

    #[test]
    fn quantities_stay_within_their_ranges() {
        let largest = Largest { dimensions: 8.0, samples: 64.0 };
        let of = |quantity: Quantity| quantity.range(largest);
        assert_eq!(of(Quantity::Mean("effective_rank_img", "effective_rank_txt")), (1.0, 8.0));
        assert_eq!(of(Quantity::Metric("rank_divergence")), (-7.0, 7.0));
        assert_eq!(of(Quantity::Metric("retrieval_at_1_i2t")), (0.0, 1.0));
        assert_eq!(of(Quantity::Size("symmetry_gap_at_1")), (0.0, 1.0));
        assert_eq!(of(Quantity::Difference("hub_gini_i2t", "hub_gini_t2i")), (-1.0, 1.0));
        assert_eq!(of(Quantity::Metric("mean_cosine_img")), (-1.0, 1.0));
        assert_eq!(of(Quantity::Late("loss")), (f64::NEG_INFINITY, f64::INFINITY));
    }

    #[test]
    fn series_count_from_their_middle_on() {
        let series = |name: &str| match name {
            "a" => vec![9.0, 9.0, 2.0, 8.0],
            "b" => vec![0.0, 0.0, 2.0, 2.0],
            _ => vec![],
        };
        let of = |quantity: Quantity| quantity.of_series(series);
        // The median of ln 1 and ln 4.
        assert_eq!(of(Quantity::LogRatio("a", "b")), Some(4.0f64.ln() / 2.0));
        assert_eq!(of(Quantity::Late("a")), Some(5.0));
        assert_eq!(of(Quantity::Late("nothing")), None);
        // One change has no spread.
        assert_eq!(of(Quantity::Unrest("a")), None);
    }

    #[test]
    fn levels_are_compared_by_value() {
        assert_eq!(key_of(&serde_json::json!(64)), key_of_text("64.0"));
        assert_eq!(key_of(&serde_json::json!("swap")), key_of_text("swap"));
        assert_eq!(key_of(&serde_json::json!(true)), key_of_text("true"));
    }
}
