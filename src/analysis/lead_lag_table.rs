//! `lead_lag.parquet`, from the tables of cells and conditions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use polars_core::prelude::{
    Column, DataFrame, IdxCa, IdxSize, NamedFrom, NewChunkedArray, PolarsError, PolarsResult, Series, StringChunked,
};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::constraint::{Constraint, Constraints, State};
use super::lead_lag::{LeadLag, Onset};
use super::line::{Grid, Line, Lines, Places};
use super::location_tables::{grid_of, read_for_locations};
use super::margin::Direction;
use super::outcome::{UNFINISHED, with_unfinished};
use super::ranks::paired;
use super::trace::Trace;
use crate::engine::{Act, LIMITS, Limit};
use crate::spec::{ALL_GATES, Gate, Scale, Sweep};
use crate::store::{
    CELLS_TABLE, ColumnInfo, LEAD_LAG_TABLE, RecordedStatus, StoreError, TableBytes, TableInfo, param_column,
    read_columns, read_table_info, write_table,
};

/// The column of [`CELLS_TABLE`] with the first step at which each limit was broken.
const CROSSINGS: &str = "crossings";

/// The parameter with the steps between two checks of the limits, the first of which is after as many.
const EVERY: &str = "stop.every";

/// One row of the table.
struct Found<'a> {
    /// None in training.
    axis: Option<(usize, Direction)>,
    names: [&'a str; 2],
    /// A cell at the levels of the row; none over all cells.
    row: Option<IdxSize>,
    leads: LeadLag,
}

/// Finds which limit and which constraint breaks first: in training by pair of limits, over all cells and then at each
/// combination of levels; along each numeric axis, in both directions, by pair of constraints and line. Nothing is said
/// of a pair of which neither breaks.
///
/// # Errors
/// A column that is not there or of another type; crossings that are no JSON object of steps.
pub fn lead_lag(gates: &[Gate], cells: &DataFrame, conditions: &DataFrame, grid: Grid<'_>) -> PolarsResult<DataFrame> {
    let places = Places::new(cells, grid)?;
    let constraints = Constraints::new(gates, cells, conditions, &places)?;
    let mut found = in_training(cells, &places)?;
    for axis in places.numeric_axes() {
        found.extend(along(&places.lines(axis), &constraints));
    }
    frame(&found, cells, &places)
}

/// The limits whose crossings are recorded.
fn recorded() -> impl Iterator<Item = &'static Limit> {
    LIMITS.iter().filter(|limit| limit.act != Act::Refuse)
}

/// Those that are on for a cell of the table.
fn enabled(cells: &DataFrame) -> PolarsResult<BTreeSet<&'static str>> {
    let mut enabled = BTreeSet::new();
    for limit in recorded() {
        // A run from before there was the limit has no column of it.
        if let Ok(thresholds) = cells.column(&param_column(limit.path)) {
            let is_on = |threshold: f64| threshold != limit.indicator.off;
            enabled.extend(thresholds.f64()?.iter().flatten().any(is_on).then_some(limit.path));
        }
    }
    Ok(enabled)
}

/// When limits were first broken, by limit, for each cell: infinity where one never was, for a cell is not seen any
/// further, NaN for a cell that failed or is not finished. A limit that is on and that nothing breaks is among them.
fn crossings(cells: &DataFrame) -> PolarsResult<BTreeMap<&str, Vec<f64>>> {
    let column: &StringChunked = cells.column(CROSSINGS)?.str()?;
    let written: Vec<(usize, &str)> = column.iter().enumerate().filter_map(|(row, text)| Some((row, text?))).collect();
    let read = written.into_par_iter().map(|(row, text)| {
        let steps: BTreeMap<&str, u64> = serde_json::from_str(text)
            .map_err(|error| PolarsError::ComputeError(format!("{CROSSINGS}, row {row}: {error}").into()))?;
        Ok((row, steps.into_iter().collect::<Vec<_>>()))
    });
    let read: Vec<(usize, Vec<(&str, u64)>)> = read.collect::<PolarsResult<_>>()?;
    let status = cells.column("status")?.str()?;
    let nobody_knows = [Some(RecordedStatus::Failed.name()), Some(UNFINISHED)];
    let none = |status| if nobody_knows.contains(&status) { f64::NAN } else { f64::INFINITY };
    let none: Vec<f64> = status.iter().map(none).collect();
    let mut limits: BTreeSet<&str> = enabled(cells)?;
    limits.extend(read.iter().flat_map(|(_, steps)| steps.iter().map(|(limit, _)| *limit)));
    let mut first: BTreeMap<&str, Vec<f64>> = limits.into_iter().map(|limit| (limit, none.clone())).collect();
    for (row, steps) in &read {
        for (limit, step) in steps {
            first.entry(limit).and_modify(|first| first[*row] = *step as f64);
        }
    }
    Ok(first)
}

/// Where a limit was broken that is first checked at `start`.
fn at_step(step: f64, start: f64) -> Onset {
    match step {
        step if step.is_nan() => Onset::Unknown,
        step if step.is_infinite() => Onset::Never { until: step },
        step if step <= start => Onset::from_the_start(step),
        step => Onset::point(step),
    }
}

fn in_training<'a>(cells: &'a DataFrame, places: &Places) -> PolarsResult<Vec<Found<'a>>> {
    let steps = crossings(cells)?;
    if steps.len() < 2 {
        return Ok(Vec::new());
    }
    let combinations = combinations(places);
    let every = cells.column(&param_column(EVERY))?.i64()?;
    let start: Vec<f64> = every.iter().map(|every| every.map_or(0.0, |every| every as f64)).collect();
    let of_rows = |names: [&'a str; 2], rows: &[u32], independent: bool| {
        let [first, second] = names.map(|name| &steps[name]);
        let walks = rows.iter().map(|row| {
            let row = *row as usize;
            (at_step(first[row], start[row]), at_step(second[row], start[row]))
        });
        LeadLag::new(walks, independent)
    };
    let mut found = Vec::new();
    for names in pairs(&steps.keys().copied().collect::<Vec<_>>()) {
        // Without axes the one combination is all cells already.
        if !places.axes.is_empty() {
            let rows: Vec<u32> = (0..cells.height() as u32).collect();
            let leads = of_rows(names, &rows, false);
            found.extend(leads.is_of_note().then_some(Found { axis: None, names, row: None, leads }));
        }
        let here = (0..combinations.ends.len()).into_par_iter().map(|number| {
            let rows = combinations.rows(number);
            Found { axis: None, names, row: Some(rows[0]), leads: of_rows(names, rows, true) }
        });
        found.extend(here.filter(|found| found.leads.is_of_note()).collect::<Vec<_>>());
    }
    Ok(found)
}

/// Each two of names that are in order.
fn pairs<T: Copy>(names: &[T]) -> Vec<[T; 2]> {
    let after = |at: usize| names[at + 1..].iter().map(move |second| [names[at], *second]);
    (0..names.len()).flat_map(after).collect()
}

/// The cells at each combination of levels.
struct Combinations {
    /// Rows by combination.
    order: Vec<u32>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Combinations {
    fn rows(&self, number: usize) -> &[u32] {
        &self.order[number.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[number]]
    }
}

fn combinations(places: &Places) -> Combinations {
    let rows = places.seeds.of_row.len();
    let key = places.axes.iter().fold(vec![0; rows], |key, axis| paired(&key, &axis.of_row));
    let mut keyed: Vec<(u32, u32)> = key.into_iter().zip(0..).collect();
    keyed.par_sort_unstable();
    let mut ends: Vec<usize> =
        keyed.windows(2).enumerate().filter(|(_, w)| w[0].0 != w[1].0).map(|(at, _)| at + 1).collect();
    ends.extend((!keyed.is_empty()).then_some(keyed.len()));
    Combinations { order: keyed.into_iter().map(|(_, row)| row).collect(), ends }
}

/// Of all lines along an axis, by direction, pair and line.
fn along<'a>(lines: &Lines<'_>, constraints: &'a Constraints) -> Vec<Found<'a>> {
    let mut single: Vec<&Constraint> = constraints.all.iter().filter(|of| of.name != ALL_GATES).collect();
    single.sort_by(|a, b| a.name.cmp(&b.name));
    let of_line = |number: usize| of_line(lines, &lines.line(number), constraints, &single);
    let mut found: Vec<Found<'a>> = (0..lines.len()).into_par_iter().flat_map_iter(of_line).collect();
    found.sort_by_key(|found| (found.axis.map(|(_, direction)| direction.name() == "down"), found.names));
    found
}

fn of_line<'a>(
    lines: &Lines<'_>,
    line: &Line<'_>,
    constraints: &'a Constraints,
    single: &[&'a Constraint],
) -> Vec<Found<'a>> {
    let breaks = |of: &&Constraint| line.rows.iter().any(|row| constraints.state(of, *row) == State::Violates);
    if line.levels.len() < 2 || !single.iter().any(breaks) {
        return Vec::new();
    }
    let coordinates = &lines.along().coordinates;
    let onsets = |rows: &&[u32], of: &Constraint| {
        let trace = Trace::new(lines, rows, constraints, of);
        let judged = !trace.steps.is_empty();
        judged.then(|| Direction::BOTH.map(|direction| Onset::along(&trace, coordinates, direction)))
    };
    // By constraint, seed and direction; none for a seed that the constraint does not judge.
    let onsets: Vec<(&'a str, Vec<Option<[Onset; 2]>>)> = single
        .iter()
        .map(|of| (of.name.as_str(), line.by_seed.iter().map(|rows| onsets(rows, of)).collect()))
        .collect();
    let onsets: Vec<&(&'a str, Vec<_>)> = onsets.iter().collect();
    let mut found = Vec::new();
    for (at, direction) in Direction::BOTH.into_iter().enumerate() {
        for [first, second] in pairs(&onsets) {
            let onset = |of: &Option<[Onset; 2]>| of.map_or(Onset::Unknown, |onsets| onsets[at]);
            let judged = first.1.iter().zip(&second.1).filter(|(a, b)| a.is_some() || b.is_some());
            let walks = judged.map(|(a, b)| (onset(a), onset(b)));
            let leads = LeadLag::new(walks, true);
            let axis = Some((lines.axis, direction));
            found.extend(leads.is_of_note().then(|| Found {
                axis,
                names: [first.0, second.0],
                row: Some(line.rows[0]),
                leads,
            }));
        }
    }
    found
}

fn frame(found: &[Found<'_>], cells: &DataFrame, places: &Places) -> PolarsResult<DataFrame> {
    let text = |name: &str, get: &dyn Fn(&Found<'_>) -> Option<String>| -> Column {
        Series::new(name.into(), found.iter().map(get).collect::<Vec<_>>()).into()
    };
    let own = |text: &str| Some(text.to_string());
    let axis_of = |axis: usize| &places.axes[axis];
    let unit = |found: &Found<'_>| match found.axis.map(|(axis, _)| axis_of(axis).scale) {
        None => own("steps"),
        Some(Some(Scale::Log)) => own("log_ratio"),
        Some(_) => own("difference"),
    };
    let mut columns = vec![
        text("domain", &|found| own(if found.axis.is_some() { "axis" } else { "training" })),
        text("axis", &|found| found.axis.map(|(axis, _)| axis_of(axis).path.clone())),
        text("direction", &|found| found.axis.map(|(_, direction)| direction.name().to_string())),
        text("first", &|found| own(found.names[0])),
        text("second", &|found| own(found.names[1])),
    ];
    let fixed: Vec<Vec<usize>> = (0..places.axes.len()).map(|axis| places.fixed(axis)).collect();
    for (number, axis) in places.axes.iter().enumerate() {
        let is_fixed = |found: &Found<'_>| found.axis.is_none_or(|(along, _)| fixed[along].contains(&number));
        let rows = found.iter().map(|found| found.row.filter(|_| is_fixed(found)));
        let rows = IdxCa::from_iter_options("".into(), rows);
        columns.push(cells.column(&param_column(&axis.path))?.take(&rows)?);
    }
    let count = |name: &str, get: fn(&LeadLag) -> u64| -> Column {
        Series::new(name.into(), found.iter().map(|found| get(&found.leads) as i64).collect::<Vec<_>>()).into()
    };
    let float = |name: &str, get: fn(&LeadLag) -> Option<f64>| -> Column {
        Series::new(name.into(), found.iter().map(|found| get(&found.leads)).collect::<Vec<_>>()).into()
    };
    columns.extend([
        count("cells", |leads| leads.walks),
        count("both", |leads| leads.both),
        count("first_leads", |leads| leads.first_leads),
        count("second_leads", |leads| leads.second_leads),
        count("ties", |leads| leads.ties),
        count("neither", |leads| leads.neither),
        count("unknown", |leads| leads.unknown),
        count("first_leads_from_start", |leads| leads.leads_from_the_start[0]),
        count("second_leads_from_start", |leads| leads.leads_from_the_start[1]),
        float("share_first_leads", LeadLag::share),
        float("share_low", |leads| Some(leads.share_interval?.0)),
        float("share_high", |leads| Some(leads.share_interval?.1)),
        float("median_lead", |leads| leads.median_lead.filter(|lead| lead.is_finite())),
        float("median_low", |leads| Some(leads.median_interval?.0).filter(|lead| lead.is_finite())),
        float("median_high", |leads| Some(leads.median_interval?.1).filter(|lead| lead.is_finite())),
        text("unit", &unit),
    ]);
    DataFrame::new_infer_height(columns)
}

/// Writes the table of a run beside its others. `gates` are those of its spec.
///
/// # Errors
/// [`StoreError`] when a table cannot be read, lacks a column, or the new one cannot be written.
pub fn write_lead_lag(dir: &Path, sweep: &Sweep) -> Result<(&'static str, TableBytes), StoreError> {
    let (axes, zip) = grid_of(sweep);
    let grid = Grid { axes: &axes, zip: &zip };
    let cells_path = dir.join(CELLS_TABLE);
    let failed = |error: PolarsError| StoreError::Table { path: cells_path.clone(), reason: error.to_string() };
    let (cells, conditions) = read_for_locations(dir, &sweep.gates, grid)?;
    let limits = recorded().map(|limit| param_column(limit.path));
    let beside = [CROSSINGS.to_string(), param_column(EVERY)].into_iter().chain(limits);
    let beside = beside.filter(|column| cells.column(column).is_err()).collect::<Vec<_>>();
    let cells = cells.hstack(read_columns(&cells_path, &beside)?.columns()).map_err(failed)?;
    let cells = with_unfinished(cells, sweep).map_err(failed)?;
    let frame = lead_lag(&sweep.gates, &cells, &conditions, grid).map_err(failed)?;
    let known = read_table_info(&cells_path)?.columns;
    let levels = frame.get_column_names().into_iter().filter_map(|name| {
        let info = known.get(name.as_str()).filter(|_| name.starts_with("param_"))?;
        let about = format!("{}; null along this axis, and over all cells", info.description);
        Some((name.to_string(), ColumnInfo { description: about, ..info.clone() }.or_null()))
    });
    let info = TableInfo::new("lead_lag", described().into_iter().chain(levels));
    Ok((LEAD_LAG_TABLE, write_table(&dir.join(LEAD_LAG_TABLE), &frame, &info)?))
}

/// What the columns mean.
fn described() -> Vec<(String, ColumnInfo)> {
    let own = |name: &str, role: &str, unit: &str, about: &str| (name.to_string(), ColumnInfo::new(role, unit, about));
    let share = |name: &str, about: &str| {
        let info = ColumnInfo::new("value", "1", about);
        (name.to_string(), ColumnInfo { range: Some([Some(0.0), Some(1.0)]), ..info })
    };
    let count = |name: &str, about: &str| own(name, "value", "cells", about);
    vec![
        own(
            "domain",
            "index",
            "",
            "training: which limit under [stop] or [warn] a cell breaks first; axis: which constraint a seed breaks first along an axis",
        ),
        own("axis", "index", "", "path of the parameter that is walked; null in training"),
        own("direction", "index", "", "up: from the lowest level; down: from the highest; null in training"),
        own(
            "first",
            "index",
            "",
            "name of a limit that is on for some cell, or of a gate; of the two the one that is first in the alphabet; where neither of a pair breaks, it has no row",
        ),
        own("second", "index", "", "name of the other"),
        count("cells", "walks: cells in training, seeds along an axis; the sum of leads, ties, neither and unknown"),
        count(
            "both",
            "of them those on which both break at a known place, a step or between two levels, so that the lead is a number",
        ),
        count(
            "first_leads",
            "the first of the pair breaks earlier, or it alone breaks; a limit that is off, or would be checked after the cell had stopped, does not break",
        ),
        count("second_leads", "the same of the second"),
        count(
            "ties",
            "both break and the order is not told apart: at the same check (stop.every) in training; at the first level, at one place, or between the same two levels where a cell was lost, along an axis",
        ),
        count("neither", "neither breaks"),
        count(
            "unknown",
            "cells in training that failed or are not finished; along an axis seeds whose order depends on levels that have no outcome, or that one of the two does not judge",
        ),
        count(
            "first_leads_from_start",
            "of first_leads those where it is broken when it is first looked at, at the first check or level: it may never have been kept, so that its lead warns of nothing",
        ),
        count("second_leads_from_start", "the same of second_leads"),
        share("share_first_leads", "first_leads / (first_leads + second_leads); null where nothing leads"),
        share(
            "share_low",
            "lower end of Wilson's 95% interval of that share over seeds; null over all cells, which are not independent of each other",
        ),
        share("share_high", "upper end of the same"),
        own(
            "median_lead",
            "value",
            "",
            "median over leads and ties of the place of the second less that of the first, counted along the walk; positive where the first leads, 0 for a tie, and plus or minus infinity where one leads and the other does not break on the walk (a cell that a limit stops is seen no further) or one is broken at the first level of an axis; null where the median is infinite, or in the middle between two values of which one is",
        ),
        own(
            "median_low",
            "value",
            "",
            "lower end of its 95% interval between order statistics; null where that is minus or plus infinity, for fewer than 6 leads and ties, and over all cells",
        ),
        own("median_high", "value", "", "upper end of the same"),
        own(
            "unit",
            "status",
            "",
            "of the lead: steps; difference of levels; or log_ratio, the natural logarithm of the ratio of levels, where the parameter is positive. Places between levels are as in boundaries.parquet",
        ),
    ]
}

#[cfg(test)]
mod tests;
