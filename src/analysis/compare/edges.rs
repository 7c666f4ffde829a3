//! The edges of a run's lines, as its table of boundaries has them.

use std::collections::BTreeMap;

use polars_core::prelude::{Column, DataFrame, PolarsResult};
use serde_json::Value;

use super::spec::{SEED, levels};
use crate::analysis::line::value_at;
use crate::analysis::trace::Side;
use crate::spec::{Scale, Sweep};
use crate::store::param_column;

/// What [`read`] reads beside the levels that lines fix.
const COLUMNS: [&str; 12] = [
    "constraint",
    "axis",
    "scale",
    "side",
    "seed",
    "level",
    "bracket_low",
    "bracket_high",
    "fit_level",
    "fit_scale",
    "state",
    "main",
];

/// The columns of `boundaries.parquet` that a comparison reads; a table has no column of a parameter that is no axis.
pub(super) fn columns(paths: &[String]) -> Vec<String> {
    COLUMNS.into_iter().map(String::from).chain(paths.iter().map(|path| param_column(path))).collect()
}

/// How a seed stands at one side of a line: the words of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Crossed,
    Beyond,
    NeverHolds,
    Unknown,
}

impl State {
    fn named(name: &str) -> Self {
        match name {
            "crossed" => Self::Crossed,
            "beyond" => Self::Beyond,
            "never_holds" => Self::NeverHolds,
            _ => Self::Unknown,
        }
    }
}

/// The main edge of one seed; levels are NaN where there are none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SeedEdge {
    pub state: State,
    pub level: f64,
    pub low: f64,
    pub high: f64,
}

/// One side of a line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SideEdges {
    /// The median of the fitted distribution.
    pub fit: Option<f64>,
    /// Whether its scale is above zero: the levels tell seeds apart, and so where among them the median is.
    pub fit_is_spread: bool,
    pub seeds: BTreeMap<i64, SeedEdge>,
}

/// What makes a line of one run the line of the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LineKey {
    pub constraint: String,
    pub axis: String,
    /// The levels that it fixes, of the paths by which cells are paired, as text.
    pub fixed: String,
}

/// A line of a run under one constraint.
#[derive(Clone, Debug)]
pub(super) struct LineEdges {
    pub key: LineKey,
    /// The same levels; an axis that advances with the line's is not among them.
    pub levels: BTreeMap<String, Value>,
    pub scale: Scale,
    /// As [`Side::BOTH`].
    pub sides: [SideEdges; 2],
}

/// Levels as a part of a key. Numbers that are equal are written alike.
pub(super) fn as_text(levels: impl Iterator<Item = Value>) -> String {
    levels.map(|level| level.to_string()).collect::<Vec<_>>().join("\n")
}

/// The lines of a table like `boundaries.parquet`, in its order, in which the row across seeds comes before those of its
/// seeds. `paths` are those by which cells are paired, without the seed; one that the run does not vary has its one level
/// on every line.
///
/// # Errors
/// A column that is not there or of another type.
pub(super) fn read(table: &DataFrame, sweep: &Sweep, paths: &[String]) -> PolarsResult<Vec<LineEdges>> {
    let text = |name: &str| -> PolarsResult<Vec<&str>> {
        Ok(table.column(name)?.str()?.iter().map(Option::unwrap_or_default).collect())
    };
    let numbers = |name: &str| -> PolarsResult<Vec<Option<f64>>> { Ok(table.column(name)?.f64()?.iter().collect()) };
    let (constraint, axis, scale, side) = (text("constraint")?, text("axis")?, text("scale")?, text("side")?);
    let (state, seed) = (text("state")?, table.column(SEED)?.i64()?);
    let (level, low, high) = (numbers("level")?, numbers("bracket_low")?, numbers("bracket_high")?);
    let (fit, fit_scale) = (numbers("fit_level")?, numbers("fit_scale")?);
    let main: Vec<Option<bool>> = table.column("main")?.bool()?.iter().collect();
    let own = levels(sweep);
    let fixed: Vec<(&String, Option<&Column>, Value)> = paths
        .iter()
        .map(|path| {
            let single = own.get(path.as_str()).and_then(|levels| levels.first()).cloned().unwrap_or_default();
            (path, table.column(&param_column(path)).ok(), single)
        })
        .collect();
    let mut lines: Vec<LineEdges> = Vec::new();
    let nan = |value: Option<f64>| value.unwrap_or(f64::NAN);
    for (row, seed) in seed.iter().enumerate() {
        let at = usize::from(side[row] == Side::Upper.name());
        let Some(seed) = seed else {
            let mut levels = Vec::with_capacity(fixed.len());
            for (path, column, single) in &fixed {
                let level = match column {
                    _ if path.as_str() == axis[row] => continue,
                    Some(column) => value_at(column, row)?,
                    None => single.clone(),
                };
                levels.push((path.to_string(), level));
            }
            let key = LineKey {
                constraint: constraint[row].to_string(),
                axis: axis[row].to_string(),
                fixed: as_text(levels.iter().map(|(_, level)| level.clone())),
            };
            if lines.last().is_none_or(|line| line.key != key) {
                levels.retain(|(_, level)| !level.is_null());
                let scale = if scale[row] == Scale::Log.name() { Scale::Log } else { Scale::Linear };
                lines.push(LineEdges { key, levels: levels.into_iter().collect(), scale, sides: Default::default() });
            }
            if let Some(line) = lines.last_mut() {
                line.sides[at].fit = fit[row];
                line.sides[at].fit_is_spread = fit_scale[row].is_some_and(|scale| scale > 0.0);
            }
            continue;
        };
        if let (Some(line), Some(true)) = (lines.last_mut(), main[row]) {
            let edge = SeedEdge {
                state: State::named(state[row]),
                level: nan(level[row]),
                low: nan(low[row]),
                high: nan(high[row]),
            };
            line.sides[at].seeds.insert(seed, edge);
        }
    }
    Ok(lines)
}
