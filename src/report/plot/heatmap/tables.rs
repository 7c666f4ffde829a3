//! What a heatmap reads: rows of surfaces and of boundaries, at the levels of its axes.

use std::collections::BTreeMap;

use polars_core::prelude::{Column, DataFrame, PolarsError};
use serde_json::Value;

use super::layout::{Layout, View};
use super::{Boundary, Bounded, Point, Subject};
use crate::analysis::line::value_at;
use crate::report::{ReportError, RunData};
use crate::spec::LOST;
use crate::store::{BOUNDARIES_TABLE, SURFACES_TABLE, param_column};

/// By numbers of the levels: those of the other axes on their grids, of y on its grid, of x among all.
pub type Surface = BTreeMap<(Vec<usize>, usize, usize), Row>;

/// A row of the table of surfaces.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub value: Option<f64>,
    pub interval: Option<(f64, f64)>,
    pub n: u64,
    pub cells: u64,
    pub shares: [f64; 4],
}

const SHARES: [&str; 4] = ["share_ok", "share_collapsed", "share_diverged", "share_failed"];

fn failed(run: &RunData, file: &str) -> impl Fn(PolarsError) -> ReportError {
    let path = run.dir.join(file);
    move |source| ReportError::Table { path: path.clone(), source }
}

/// The rows of a metric under a condition, and how many lie at levels that no heatmap draws: beside the grid along another
/// axis than x.
pub fn surface(run: &RunData, layout: &Layout, subject: &Subject) -> Result<(Surface, usize), ReportError> {
    let fail = failed(run, SURFACES_TABLE);
    let Some(names) = run.columns(SURFACES_TABLE, &["metric"])? else { return Ok((Surface::new(), 0)) };
    // The rows of a metric lie together. How many cells were lost does not depend on the metric: any will do.
    let (from, rows) = {
        let metrics = names.column("metric").and_then(Column::str).map_err(&fail)?;
        let wanted =
            if subject.metric == LOST { metrics.iter().flatten().next() } else { Some(subject.metric.as_str()) };
        let at = |found: Option<&str>| found.is_some() && found == wanted;
        match metrics.iter().position(at) {
            Some(from) => (from, metrics.iter().skip(from).take_while(|found| at(*found)).count()),
            None => return Ok((Surface::new(), 0)),
        }
    };
    let levels: Vec<String> =
        [&layout.x, &layout.y].into_iter().chain(&layout.others).map(|axis| param_column(&axis.path)).collect();
    let own = ["condition", "n", "cells", "mean", "interval_low", "interval_high", "lost_low", "lost_high"];
    let wanted: Vec<&str> = own.into_iter().chain(SHARES).chain(levels.iter().map(String::as_str)).collect();
    let Some(table) = run.rows(SURFACES_TABLE, &wanted, from, rows)? else { return Ok((Surface::new(), 0)) };
    let mut found = Surface::new();
    let mut beside = 0;
    read(&table, layout, subject, &levels, &mut found, &mut beside).map_err(&fail)?;
    Ok((found, beside))
}

fn read(
    table: &DataFrame,
    layout: &Layout,
    subject: &Subject,
    levels: &[String],
    found: &mut Surface,
    beside: &mut usize,
) -> Result<(), PolarsError> {
    let float = |name: &str| table.column(name).and_then(Column::f64);
    let count = |name: &str| table.column(name).and_then(Column::i64);
    let conditions = table.column("condition")?.str()?;
    let lost = subject.metric == LOST;
    let [low, high] = if lost { ["lost_low", "lost_high"] } else { ["interval_low", "interval_high"] };
    let (low, high, mean) = (float(low)?, float(high)?, float("mean")?);
    let (n, cells) = (count("n")?, count("cells")?);
    let shares = SHARES.map(float);
    let columns: Vec<&Column> = levels.iter().map(|name| table.column(name)).collect::<Result<_, _>>()?;
    for row in (0..table.height()).filter(|row| conditions.get(*row) == Some(&subject.condition)) {
        let at: Vec<Value> = columns.iter().map(|column| value_at(column, row)).collect::<Result<_, _>>()?;
        let panel: Option<Vec<usize>> =
            layout.others.iter().zip(&at[2..]).map(|(axis, level)| axis.grid_rank(level)).collect();
        let (Some(x), Some(y), Some(panel)) = (layout.x.rank(&at[0]), layout.y.grid_rank(&at[1]), panel) else {
            *beside += 1;
            continue;
        };
        let mut of_row = [0.0; 4];
        for (share, column) in of_row.iter_mut().zip(&shares) {
            *share = column.as_ref().ok().and_then(|column| column.get(row)).unwrap_or(0.0);
        }
        let number = |column: &polars_core::prelude::Int64Chunked| column.get(row).unwrap_or(0).max(0) as u64;
        let value = if lost { Some(1.0 - of_row[0]) } else { mean.get(row) };
        let interval = low.get(row).zip(high.get(row));
        let cells = number(cells);
        let n = if lost { cells } else { number(n) };
        found.insert((panel, y, x), Row { value, interval, n, cells, shares: of_row });
    }
    Ok(())
}

/// For each panel the boundaries of the constraints along x.
pub fn boundaries(
    run: &RunData,
    layout: &Layout,
    view: &View<'_>,
    constraints: &[Bounded],
) -> Result<Vec<Vec<Boundary>>, ReportError> {
    let mut found: Vec<BTreeMap<(usize, String), Vec<Point>>> = vec![BTreeMap::new(); view.panels.len()];
    let fail = failed(run, BOUNDARIES_TABLE);
    let levels: Vec<String> =
        std::iter::once(&layout.y).chain(&layout.others).map(|axis| param_column(&axis.path)).collect();
    let own = ["constraint", "axis", "side", "seed"];
    let ends = ["level", "interval_low", "interval_high", "fit_level", "fit_low", "fit_high"];
    let wanted: Vec<&str> = own.into_iter().chain(ends).chain(levels.iter().map(String::as_str)).collect();
    let table = if constraints.is_empty() { None } else { run.columns(BOUNDARIES_TABLE, &wanted)? };
    if let Some(table) = table {
        edges_of(&table, layout, view, constraints, &levels, &mut found).map_err(fail)?;
    }
    let boundary = |((constraint, side), mut points): ((usize, String), Vec<Point>)| {
        points.sort_by_key(|point| point.y);
        Boundary { constraint, side, points }
    };
    Ok(found.into_iter().map(|panel| panel.into_iter().map(boundary).collect()).collect())
}

fn edges_of(
    table: &DataFrame,
    layout: &Layout,
    view: &View<'_>,
    constraints: &[Bounded],
    levels: &[String],
    found: &mut [BTreeMap<(usize, String), Vec<Point>>],
) -> Result<(), PolarsError> {
    let text = |name: &str| table.column(name).and_then(Column::str);
    let float = |name: &str| table.column(name).and_then(Column::f64);
    let (names, axes, sides) = (text("constraint")?, text("axis")?, text("side")?);
    let seeds = table.column("seed")?.i64()?;
    let [level, low, high] = [float("level")?, float("interval_low")?, float("interval_high")?];
    let [fit, fit_low, fit_high] = [float("fit_level")?, float("fit_low")?, float("fit_high")?];
    let columns: Vec<&Column> = levels.iter().map(|name| table.column(name)).collect::<Result<_, _>>()?;
    for row in 0..table.height() {
        if seeds.get(row).is_some() || axes.get(row) != Some(&layout.x.path) {
            continue;
        }
        let named = |bounded: &Bounded| Some(bounded.name.as_str()) == names.get(row);
        let Some(constraint) = constraints.iter().position(named) else { continue };
        let at: Vec<Value> = columns.iter().map(|column| value_at(column, row)).collect::<Result<_, _>>()?;
        let panel: Option<Vec<usize>> =
            layout.others.iter().zip(&at[1..]).map(|(axis, level)| axis.grid_rank(level)).collect();
        let panel = panel.and_then(|panel| view.panels.iter().position(|shown| *shown == panel));
        let y = layout.y.grid_rank(&at[0]).and_then(|y| view.drawn_y(y));
        let (Some(panel), Some(y)) = (panel, y) else { continue };
        let ends = |low: Option<f64>, high: Option<f64>| low.zip(high);
        let point = match (level.get(row), fit.get(row)) {
            (Some(level), _) => Point { y, level, interval: ends(low.get(row), high.get(row)), fitted: false },
            (None, Some(level)) => {
                Point { y, level, interval: ends(fit_low.get(row), fit_high.get(row)), fitted: true }
            }
            (None, None) => continue,
        };
        let side = sides.get(row).unwrap_or_default().to_string();
        found[panel].entry((constraint, side)).or_default().push(point);
    }
    Ok(())
}
