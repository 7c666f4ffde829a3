//! Where a run breaks and where it is best and worst: boundaries and single cells, as facts.

use std::path::Path;

use polars_core::prelude::{DataFrame, PolarsError};
use serde_json::Value;

use super::{Draft, ReportError};
use crate::analysis::line::value_at;
use crate::audit::evidence::Evidence;
use crate::numerics::shown;
use crate::spec::{ALL_GATES, LOST};
use crate::store::{BOUNDARIES_TABLE, CELLS_TABLE, Fact, metric_column, param_column, read_columns, read_table};

/// Boundaries that are listed; a run of many lines has its table.
const MOST_BOUNDARIES: usize = 24;
/// Metrics whose best and worst cells are named: whether partners are found, and whether there is room to find them in.
const EXTREMES: [&str; 2] = ["retrieval_at_1_i2t", "effective_rank_img"];

/// What is wrong with a table.
fn wrong(file: &'static str) -> impl Fn(PolarsError) -> ReportError {
    move |source| ReportError::Table { file, source }
}

/// What could be located, for the open items.
#[derive(Default)]
pub(super) struct Located {
    pub listed: usize,
    /// Boundaries that are in the table alone.
    pub more: usize,
    /// Lines of which no seed, or not every seed, has a boundary within the levels.
    pub censored: usize,
}

/// Where the constraint of the run flips: all gates together, the only gate, or that a cell is lost.
pub(super) fn boundaries(draft: &mut Draft, dir: &Path, evidence: &Evidence<'_>) -> Result<Located, ReportError> {
    let path = dir.join(BOUNDARIES_TABLE);
    let mut located = Located::default();
    if !path.is_file() {
        return Ok(located);
    }
    let table =
        read_table(&path).map_err(|e| wrong(BOUNDARIES_TABLE)(PolarsError::ComputeError(e.to_string().into())))?;
    let constraint = match evidence.sweep.gates.as_slice() {
        [] => LOST,
        [one] => one.name.as_str(),
        _ => ALL_GATES,
    };
    let axes: Vec<&str> = evidence.sweep.axes.iter().map(|axis| axis.path.as_str()).collect();
    for row in 0..table.height() {
        let value = |column: &str| cell(&table, column, row).map_err(wrong(BOUNDARIES_TABLE));
        if value("constraint")?.as_str() != Some(constraint) || !value("seed")?.is_null() {
            continue;
        }
        let (seeds, crossed) = (value("seeds")?.as_u64(), value("crossed")?.as_u64());
        located.censored += usize::from(seeds != crossed && crossed != Some(0));
        let Some(edge) = edge(&value, &axes)? else { continue };
        match located.listed == MOST_BOUNDARIES {
            true => located.more += 1,
            false => {
                located.listed += 1;
                say_edge(draft, located.listed, constraint, edge);
            }
        }
    }
    if located.listed == 0 {
        draft.say("No boundary of the constraint lies within the levels that were tried.".to_string());
    }
    Ok(located)
}

/// A boundary across seeds.
struct Edge {
    axis: String,
    side: String,
    /// Levels of the other axes.
    place: Vec<String>,
    at: f64,
    ends: (Option<f64>, Option<f64>),
    /// Column of the estimate, and what that is.
    column: &'static str,
    estimate: &'static str,
}

/// The boundary of a row: the mean over seeds, or else the fit.
fn edge(value: &impl Fn(&str) -> Result<Value, ReportError>, axes: &[&str]) -> Result<Option<Edge>, ReportError> {
    let estimates = [("level", "interval", "mean over seeds"), ("fit_level", "fit", "fit")];
    for (column, ends, estimate) in estimates {
        let Some(at) = value(column)?.as_f64() else { continue };
        let text = |column: &str| Ok(value(column)?.as_str().unwrap_or_default().to_string());
        let (axis, side): (String, String) = (text("axis")?, text("side")?);
        let mut place = Vec::new();
        for path in axes.iter().filter(|path| **path != axis && **path != "seed") {
            let level = value(&param_column(path))?;
            if !level.is_null() {
                place.push(format!("{path} = {}", shown::level(&level)));
            }
        }
        let ends = (value(&format!("{ends}_low"))?.as_f64(), value(&format!("{ends}_high"))?.as_f64());
        return Ok(Some(Edge { axis, side, place, at, ends, column, estimate }));
    }
    Ok(None)
}

fn say_edge(draft: &mut Draft, number: usize, constraint: &str, edge: Edge) {
    let Edge { axis, side, place, at, ends, column, estimate } = edge;
    let row = [format!("constraint = {constraint}"), format!("axis = {axis}"), format!("side = {side}")];
    let row: Vec<String> = row.into_iter().chain(place.clone()).chain(["seed is null".to_string()]).collect();
    let source = format!("{column} where {}", row.join(", "));
    let mut of = |what: &str, value: Value, ends: (Option<f64>, Option<f64>)| {
        let fact = Fact::new(value, "", BOUNDARIES_TABLE, &source).within(ends.0, ends.1);
        draft.fact(format!("boundary.{number}.{what}"), fact)
    };
    let place = if place.is_empty() { "everywhere".to_string() } else { place.join(", ") };
    let none = (None, None);
    let [at, along, place] =
        [of("at", at.into(), ends), of("axis", axis.into(), none), of("where", place.into(), none)];
    let of = draft.fact("boundary.constraint", Fact::new(constraint, "", BOUNDARIES_TABLE, "constraint"));
    let word = if side == "lower" { "below" } else { "above" };
    draft.say(format!("Along {along}, at {place}, the constraint {of} is violated {word} {at} ({estimate})."));
}

/// A value of a table, as JSON.
fn cell(table: &DataFrame, column: &str, row: usize) -> Result<Value, PolarsError> {
    value_at(table.column(column)?, row)
}

/// The cells with the greatest and the least value of some metrics.
pub(super) fn extremes(draft: &mut Draft, dir: &Path, evidence: &Evidence<'_>) -> Result<(), ReportError> {
    let path = dir.join(CELLS_TABLE);
    if !path.is_file() {
        return Ok(());
    }
    let axes: Vec<&str> = evidence.sweep.axes.iter().map(|axis| axis.path.as_str()).collect();
    let names = EXTREMES.map(metric_column);
    let levels = axes.iter().map(|path| param_column(path));
    let wanted: Vec<String> = levels.chain(names.clone()).chain(["cell_id".to_string()]).collect();
    let table = read_columns(&path, &wanted)
        .map_err(|e| wrong(CELLS_TABLE)(PolarsError::ComputeError(e.to_string().into())))?;
    for (metric, column) in EXTREMES.into_iter().zip(&names) {
        let values = table.column(column).and_then(|values| values.f64()).map_err(wrong(CELLS_TABLE))?;
        let known = || values.iter().enumerate().filter_map(|(row, value)| Some((row, value?)));
        // Of equal ones the first in the table.
        let best = known().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        let worst = known().min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        let named = draft.fact(format!("metric.{metric}.name"), Fact::new(metric, "", CELLS_TABLE, column));
        let mut sides = Vec::new();
        for (word, found) in [("greatest", best), ("least", worst)] {
            let Some((row, value)) = found else { continue };
            let [value, id, place] = named_cell(draft, &table, &axes, (row, value), (word, metric, column))?;
            sides.push(format!("{value} is the {word} of {named}, of cell {id} at {place}"));
        }
        if !sides.is_empty() {
            draft.say(format!("{}.", sides.join("; ")));
        }
    }
    Ok(())
}

/// The facts of a cell that stands out: its value, its id, its levels.
fn named_cell(
    draft: &mut Draft,
    table: &DataFrame,
    axes: &[&str],
    (row, value): (usize, f64),
    (word, metric, column): (&str, &str, &str),
) -> Result<[String; 3], ReportError> {
    let read = |column: &str| cell(table, column, row).map_err(wrong(CELLS_TABLE));
    let id = read("cell_id")?.as_str().unwrap_or_default().to_string();
    let mut place = Vec::new();
    for path in axes {
        place.push(format!("{path} = {}", shown::level(&read(&param_column(path))?)));
    }
    let mut of = |what: &str, value: Value, at: &str| {
        draft.fact(format!("cell.{word}.{metric}.{what}"), Fact::new(value, "", CELLS_TABLE, at))
    };
    Ok([
        of("value", value.into(), &format!("{column} where cell_id = {id}")),
        of("id", id.clone().into(), "cell_id"),
        of("where", place.join(", ").into(), &format!("param_* where cell_id = {id}")),
    ])
}
