//! A metric over two axes, with the boundaries of its constraints.

mod along;
mod draw;
mod layout;
mod tables;
mod words;

use std::collections::BTreeMap;

pub use along::Along;
pub use draw::draw;

use crate::metric::{Healthy, descriptor};
use crate::report::rows::Level;
use crate::report::{Figure, ReportError, RunData};
use crate::spec::{CLEAN, Gate, LOST};

/// Metrics that every run is shown with, beside those of its gates.
const METRICS: [&str; 4] = ["effective_rank_img", "effective_rank_txt", "retrieval_at_1_i2t", "retrieval_at_1_t2i"];

/// A metric under a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Of the registry, or [`LOST`].
    pub metric: String,
    pub condition: String,
}

/// What a heatmap shows.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatmapInfo {
    pub subject: Subject,
    pub unit: String,
    /// What the metric is.
    pub about: String,
    pub x: Along,
    pub y: Along,
    /// Of the colours.
    pub range: (f64, f64),
    /// Whether colours go both ways from 0.
    pub diverging: bool,
    pub panels: Vec<Panel>,
    pub constraints: Vec<Bounded>,
    pub left_out: LeftOut,
}

/// A constraint on the metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounded {
    pub name: String,
    pub min: Option<f64>,
    pub max: Option<f64>,
}

/// One pair of axes at fixed levels of all others.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Axis path and level.
    pub fixed: Vec<(String, Level)>,
    /// By level of y, then x.
    pub tiles: Vec<Tile>,
    pub boundaries: Vec<Boundary>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    pub x: Level,
    pub y: Level,
    /// Whether the level of x is beside the grid.
    pub beside: bool,
    /// From 0 to 1 along each axis.
    pub across: (f64, f64),
    pub up: (f64, f64),
    /// Mean over seeds; none where no seed has a value.
    pub value: Option<f64>,
    pub interval: Option<(f64, f64)>,
    /// Seeds with a value, and finished cells.
    pub n: u64,
    pub cells: u64,
    /// Of the finished cells: ok, collapsed, diverged, failed.
    pub shares: [f64; 4],
}

/// Where a constraint flips along x, for each level of y.
#[derive(Clone, Debug, PartialEq)]
pub struct Boundary {
    /// Of [`HeatmapInfo::constraints`].
    pub constraint: usize,
    /// `lower`: violated below it, or `upper`.
    pub side: String,
    pub points: Vec<Point>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Number of the level of y.
    pub y: usize,
    pub level: f64,
    pub interval: Option<(f64, f64)>,
    /// Fitted to seeds of which some have no boundary, where there is no mean.
    pub fitted: bool,
}

/// What is not drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Of the grid's levels every one, second, third...
    pub x_every: usize,
    pub y_every: usize,
    /// Panels that are not drawn.
    pub panels: usize,
    /// Combinations of levels beside the grid that are not drawn.
    pub beside: usize,
}

/// Heatmaps of the metrics that every run is shown with and those of its gates, over the two axes with the most levels.
pub fn heatmaps(run: &RunData) -> Result<Vec<Figure>, ReportError> {
    let Some(layout) = layout::Layout::of(&run.sweep) else { return Ok(Vec::new()) };
    let mut figures = Vec::new();
    let mut names = BTreeMap::new();
    for subject in subjects(&run.sweep.gates) {
        let Some(info) = info(run, &layout, &subject)? else { continue };
        let mut figure = draw(&info);
        let times = names.entry(figure.name.clone()).and_modify(|n| *n += 1).or_insert(1);
        if *times > 1 {
            figure.name = format!("{}-{times}", figure.name);
        }
        figures.push(figure);
    }
    Ok(figures)
}

/// What heatmaps there are: each metric once under each condition.
pub(in crate::report) fn subjects(gates: &[Gate]) -> Vec<Subject> {
    let usual = METRICS.into_iter().chain([LOST]).map(|metric| (metric, CLEAN));
    let judged = gates.iter().map(|gate| (gate.metric.as_str(), gate.condition.as_str()));
    let mut subjects: Vec<Subject> = Vec::new();
    for (metric, condition) in usual.chain(judged) {
        // Whether a cell is lost does not depend on how it is evaluated.
        let condition = if metric == LOST { CLEAN } else { condition };
        let subject = Subject { metric: metric.to_string(), condition: condition.to_string() };
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    subjects
}

/// The data of one heatmap; none where the metric has no value in the run, or no cell was lost.
///
/// # Errors
/// A table that cannot be read.
pub(super) fn info(
    run: &RunData,
    layout: &layout::Layout,
    subject: &Subject,
) -> Result<Option<HeatmapInfo>, ReportError> {
    let (surface, beside) = tables::surface(run, layout, subject)?;
    if surface.values().all(|row| row.value.is_none()) {
        return Ok(None);
    }
    let lost = subject.metric == LOST;
    if lost && surface.values().all(|row| row.value == Some(0.0)) {
        return Ok(None);
    }
    let constraints = constraints(&run.sweep.gates, subject);
    let view = layout.view(&surface);
    let boundaries = tables::boundaries(run, layout, &view, &constraints)?;
    let mut panels = Vec::new();
    let mut drawn = 0;
    for (panel, boundaries) in view.panels.iter().zip(boundaries) {
        let tiles = view.tiles(panel, &surface);
        drawn += tiles.len();
        let fixed = layout.others.iter().zip(panel).filter_map(|(axis, at)| {
            let level = axis.grid.get(*at)?;
            Some((axis.path.clone(), Level::of(level, axis.shown)?))
        });
        panels.push(Panel { fixed: fixed.collect(), tiles, boundaries });
    }
    let described = descriptor(&subject.metric);
    let diverging = described.is_some_and(|d| d.healthy == Healthy::NearZero && d.range.0 < 0.0);
    let values = panels.iter().flat_map(|panel| &panel.tiles).filter_map(|tile| tile.value);
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let range = match (lost, diverging) {
        (true, _) => (0.0, 1.0),
        (_, true) => (-low.abs().max(high.abs()), low.abs().max(high.abs())),
        _ => (low, high),
    };
    // What is left out by thinning is counted by its rule; what is beside the grid is not.
    let on_thinned_grid = view.beside_drawn(&surface);
    let about = if lost { "share of the finished cells that collapsed, diverged or failed" } else { "" };
    Ok((drawn > 0 && low.is_finite()).then(|| HeatmapInfo {
        subject: subject.clone(),
        unit: described.map_or("share", |d| d.unit).to_string(),
        about: described.map_or(about, |d| d.summary).to_string(),
        x: view.x.clone(),
        y: view.y.clone(),
        range,
        diverging,
        panels,
        constraints,
        left_out: LeftOut { beside: beside + on_thinned_grid, ..view.left_out.clone() },
    }))
}

/// The constraints on a metric under a condition. That no cell is lost is one in every run.
fn constraints(gates: &[Gate], subject: &Subject) -> Vec<Bounded> {
    let mut found: Vec<Bounded> = gates
        .iter()
        .filter(|gate| gate.metric == subject.metric && (gate.metric == LOST || gate.condition == subject.condition))
        .map(|gate| Bounded { name: gate.name.clone(), min: gate.min, max: gate.max })
        .collect();
    if subject.metric == LOST && found.is_empty() {
        found.push(Bounded { name: LOST.to_string(), min: None, max: Some(0.0) });
    }
    found
}

#[cfg(test)]
mod tests;
