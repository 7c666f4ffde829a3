//! `margins.parquet` and `boundaries.parquet`, from the tables of cells and conditions.

use std::path::Path;

use polars_core::prelude::{
    Column, DataFrame, IdxCa, IdxSize, NamedFrom, NewChunkedArray, PolarsError, PolarsResult, Series,
};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::boundary::{Boundary, boundary};
use super::constraint::Constraints;
use super::line::{Grid, Lines, Places};
use super::margin::{Margins, Reach, margins};
use super::outcome::{columns_of_cells, columns_of_conditions, with_unfinished};
use super::summary::AxisLevels;
use super::trace::{Edge, Side, Trace};
use crate::spec::{Gate, Scale, Sweep, constraints_of, param_at};
use crate::store::{
    BOUNDARIES_TABLE, CELLS_TABLE, CONDITIONS_TABLE, ColumnInfo, MARGINS_TABLE, StoreError, TableBytes, TableInfo,
    TableWriter, param_column, read_columns, read_table_info,
};

/// The rows of both tables.
#[derive(Clone, Debug)]
pub struct Located {
    pub margins: DataFrame,
    pub boundaries: DataFrame,
}

/// One constraint on one line.
struct Found {
    constraint: usize,
    axis: usize,
    /// A row of the line.
    row: IdxSize,
    margins: Vec<Margins>,
    traces: Vec<Trace>,
    boundaries: Vec<Boundary>,
}

/// Finds the margins and boundaries of every constraint along every numeric axis with two levels or more: by axis,
/// constraint, line, side or direction; across seeds first, then by seed.
///
/// # Errors
/// A column that is not there or of another type.
pub fn locate(gates: &[Gate], cells: &DataFrame, conditions: &DataFrame, grid: Grid<'_>) -> PolarsResult<Located> {
    let places = Places::new(cells, grid)?;
    let constraints = Constraints::new(gates, cells, conditions, &places)?;
    let context = Context { cells, places: &places, constraints: &constraints };
    let mut all = context.none()?;
    for axis in places.numeric_axes() {
        let found = context.along(axis)?;
        all.margins.vstack_mut(&found.margins)?;
        all.boundaries.vstack_mut(&found.boundaries)?;
    }
    Ok(all)
}

/// What the numbers in rows refer to.
struct Context<'a> {
    cells: &'a DataFrame,
    places: &'a Places,
    constraints: &'a Constraints,
}

impl Context<'_> {
    /// No rows, in the columns and types of all.
    fn none(&self) -> PolarsResult<Located> {
        Ok(Located { margins: MarginRows::default().frame(self)?, boundaries: BoundaryRows::default().frame(self)? })
    }

    /// The rows along one axis.
    fn along(&self, axis: usize) -> PolarsResult<Located> {
        let lines = self.places.lines(axis);
        let (mut margin_rows, mut boundary_rows) = (MarginRows::default(), BoundaryRows::default());
        for (constraint, of) in self.constraints.all.iter().enumerate() {
            let line = |number: usize| {
                let line = lines.line(number);
                let traces = line.by_seed.iter().map(|rows| Trace::new(&lines, rows, self.constraints, of));
                let traces: Vec<Trace> = traces.filter(|trace| !trace.steps.is_empty()).collect();
                if traces.is_empty() || line.levels.len() < 2 {
                    return Ok(None);
                }
                let sides = Side::BOTH.map(|side| boundary(&lines, &traces, side));
                let boundaries = sides.into_iter().collect::<Result<Vec<_>, _>>();
                let boundaries = boundaries.map_err(|e| PolarsError::ComputeError(e.to_string().into()))?;
                let margins = margins(&lines, &line, &traces, self.constraints, of);
                Ok(Some(Found { constraint, axis, row: line.rows[0], margins, traces, boundaries }))
            };
            // A portion of the lines at a time: their traces take more memory than their rows.
            for start in (0..lines.len()).step_by(PORTION_LINES) {
                let portion = start..lines.len().min(start + PORTION_LINES);
                let found: Vec<Option<Found>> = portion.into_par_iter().map(line).collect::<PolarsResult<_>>()?;
                for found in found.into_iter().flatten() {
                    margin_rows.add(&lines, &found);
                    boundary_rows.add(&lines, &found);
                }
            }
        }
        Ok(Located { margins: margin_rows.frame(self)?, boundaries: boundary_rows.frame(self)? })
    }
}

/// Lines whose traces are in memory at once.
const PORTION_LINES: usize = 1 << 12;

/// What the rows of both tables begin with.
#[derive(Default)]
struct Heads {
    /// For each row the numbers of its constraint and axis.
    of: Vec<(usize, usize)>,
    /// For each row a row of its line in the table of cells.
    row: Vec<IdxSize>,
    seed: Vec<Option<i64>>,
}

impl Heads {
    fn add(&mut self, found: &Found, seed: Option<i64>) {
        self.of.push((found.constraint, found.axis));
        self.row.push(found.row);
        self.seed.push(seed);
    }

    /// The columns before and after those of the side or direction.
    fn columns(&self, context: &Context<'_>) -> PolarsResult<(Vec<Column>, Vec<Column>)> {
        let Context { cells, places, constraints } = context;
        let constraint: Vec<&str> = self.of.iter().map(|(of, _)| constraints.all[*of].name.as_str()).collect();
        let axis: Vec<&str> = self.of.iter().map(|(_, axis)| places.axes[*axis].path.as_str()).collect();
        let first = vec![Series::new("constraint".into(), constraint).into(), Series::new("axis".into(), axis).into()];
        let fixed: Vec<Vec<usize>> = (0..places.axes.len()).map(|axis| places.fixed(axis)).collect();
        let mut levels = Vec::new();
        for (number, axis) in places.axes.iter().enumerate() {
            let rows =
                self.of.iter().zip(&self.row).map(|((_, along), row)| fixed[*along].contains(&number).then_some(*row));
            let rows = IdxCa::from_iter_options("".into(), rows);
            levels.push(cells.column(&param_column(&axis.path))?.take(&rows)?);
        }
        levels.push(Series::new("seed".into(), self.seed.clone()).into());
        Ok((first, levels))
    }
}

/// A column in which a level further away than any number is null.
fn floats(name: &str, values: &[Option<f64>]) -> Column {
    let finite = |value: &Option<f64>| value.filter(|value| value.is_finite());
    Series::new(name.into(), values.iter().map(finite).collect::<Vec<_>>()).into()
}

fn counts(name: &str, values: &[Option<u64>]) -> Column {
    Series::new(name.into(), values.iter().map(|n| n.map(|n| n as i64)).collect::<Vec<_>>()).into()
}

/// Columns of `margins.parquet` that hold levels and counts across seeds.
const MARGIN_COUNTS: [&str; 4] = ["seeds", "never_reached", "always_violated", "missing_evidence"];
const MARGIN_LEVELS: [&str; 9] =
    ["margin", "next", "run_low", "run_high", "least", "median", "greatest", "median_low", "median_high"];
/// The first of those that are across seeds only.
const MARGIN_LEVELS_ACROSS: usize = 4;

#[derive(Default)]
struct MarginRows {
    heads: Heads,
    direction: Vec<&'static str>,
    levels: [Vec<Option<f64>>; 9],
    censored: Vec<&'static str>,
    holds_again: Vec<bool>,
    counts: [Vec<Option<u64>>; 4],
}

impl MarginRows {
    fn add(&mut self, lines: &Lines<'_>, found: &Found) {
        let level = |rank: Option<u32>| rank.map(|rank| lines.along().number(rank));
        for margins in &found.margins {
            let mut push = |seed: Option<i64>, reach: &Reach, more: [Option<f64>; 5], counted: [Option<u64>; 4]| {
                self.heads.add(found, seed);
                self.direction.push(margins.direction.name());
                let run = [reach.run.map(|run| run.0), reach.run.map(|run| run.1)];
                let levels = [reach.margin, reach.next].into_iter().chain(run).map(level).chain(more);
                self.levels.iter_mut().zip(levels).for_each(|(column, level)| column.push(level));
                self.censored.push(reach.censored.name());
                self.holds_again.push(reach.holds_again);
                self.counts.iter_mut().zip(counted).for_each(|(column, count)| column.push(count));
            };
            let a = &margins.across;
            let more = [a.least, a.median, a.greatest, a.interval.0, a.interval.1].map(level);
            let counted = [a.seeds, a.never_reached, a.always_violated, a.missing_evidence].map(Some);
            push(None, &margins.gates, more, counted);
            margins.seeds.iter().for_each(|(seed, reach)| push(Some(*seed), reach, [None; 5], [None; 4]));
        }
    }

    fn frame(self, context: &Context<'_>) -> PolarsResult<DataFrame> {
        let (mut columns, levels) = self.heads.columns(context)?;
        columns.push(Series::new("direction".into(), self.direction).into());
        columns.extend(levels);
        columns.extend(
            MARGIN_LEVELS[..MARGIN_LEVELS_ACROSS].iter().zip(&self.levels).map(|(name, values)| floats(name, values)),
        );
        columns.push(Series::new("censored".into(), self.censored).into());
        columns.push(Series::new("holds_again".into(), self.holds_again).into());
        columns.extend(MARGIN_COUNTS.iter().zip(&self.counts).map(|(name, values)| counts(name, values)));
        columns.extend(
            MARGIN_LEVELS[MARGIN_LEVELS_ACROSS..]
                .iter()
                .zip(&self.levels[MARGIN_LEVELS_ACROSS..])
                .map(|(name, values)| floats(name, values)),
        );
        DataFrame::new_infer_height(columns)
    }
}

const BOUNDARY_LEVELS: [&str; 9] = [
    "level",
    "bracket_low",
    "bracket_high",
    "interval_low",
    "interval_high",
    "fit_level",
    "fit_low",
    "fit_high",
    "fit_scale",
];
const BOUNDARY_COUNTS: [&str; 7] =
    ["seeds", "crossed", "beyond", "never_holds", "unknown", "other_flips", "unknown_levels"];

#[derive(Default)]
struct BoundaryRows {
    heads: Heads,
    scale: Vec<&'static str>,
    side: Vec<&'static str>,
    levels: [Vec<Option<f64>>; 9],
    /// State, whether interpolated, whether of the widest run.
    kind: Vec<(Option<&'static str>, Option<bool>, Option<bool>)>,
    counts: [Vec<Option<u64>>; 7],
}

impl BoundaryRows {
    fn add(&mut self, lines: &Lines<'_>, found: &Found) {
        let along = lines.along();
        let scale = along.scale.unwrap_or(Scale::Linear);
        for boundary in &found.boundaries {
            self.across(found, boundary, &along.path, scale);
            for trace in &found.traces {
                let others = trace.other_flips().filter(|flip| (boundary.side == Side::Upper) == flip.holds_below);
                let edges = std::iter::once((trace.edge(boundary.side), true))
                    .chain(others.map(|f| (Edge::Crossed(*f), false)));
                for (edge, main) in edges {
                    let number = |rank: u32| Some(along.number(rank));
                    let mut levels = [None; 9];
                    let (mut state, mut interpolated) = ("unknown", None);
                    match edge {
                        Edge::Crossed(flip) => {
                            levels[..3].copy_from_slice(&[
                                Some(scale.level(flip.at)),
                                number(flip.below),
                                number(flip.above),
                            ]);
                            (state, interpolated) = ("crossed", Some(flip.interpolated));
                        }
                        Edge::Beyond(last) => {
                            levels[if boundary.side == Side::Upper { 1 } else { 2 }] = number(last);
                            state = "beyond";
                        }
                        Edge::NeverHolds(..) => state = "never_holds",
                        Edge::Unknown => {}
                    }
                    self.push(found, boundary.side, scale, Some(trace.seed), levels, [None; 7]);
                    self.kind.push((Some(state), interpolated, Some(main)));
                }
            }
        }
    }

    /// The row across seeds.
    fn across(&mut self, found: &Found, boundary: &Boundary, axis: &str, scale: Scale) {
        // What is fitted knows no end of the axis, the parameter does.
        let (least, greatest) = param_at(axis).map_or((f64::NEG_INFINITY, f64::INFINITY), |param| param.kind.range());
        let finite = |coordinate: f64| coordinate.is_finite().then(|| scale.level(coordinate).clamp(least, greatest));
        let mean = boundary.mean.as_ref();
        let interval = mean.and_then(|mean| mean.interval);
        let fit = boundary.fit.as_ref();
        let levels = [
            mean.and_then(|mean| finite(mean.at)),
            mean.and_then(|mean| finite(mean.bracket.0)),
            mean.and_then(|mean| finite(mean.bracket.1)),
            interval.and_then(|ends| finite(ends.0)),
            interval.and_then(|ends| finite(ends.1)),
            fit.and_then(|fit| finite(fit.location)),
            fit.and_then(|fit| finite(fit.location_low)),
            fit.and_then(|fit| finite(fit.location_high)),
            fit.map(|fit| fit.scale),
        ];
        let c = &boundary.counts;
        let counted =
            [c.seeds, c.crossed, c.beyond, c.never_holds, c.unknown, c.other_flips, c.unknown_levels].map(Some);
        self.push(found, boundary.side, scale, None, levels, counted);
        self.kind.push((None, None, None));
    }

    fn push(
        &mut self,
        found: &Found,
        side: Side,
        scale: Scale,
        seed: Option<i64>,
        levels: [Option<f64>; 9],
        counted: [Option<u64>; 7],
    ) {
        self.heads.add(found, seed);
        self.side.push(side.name());
        self.scale.push(scale.name());
        self.levels.iter_mut().zip(levels).for_each(|(column, level)| column.push(level));
        self.counts.iter_mut().zip(counted).for_each(|(column, count)| column.push(count));
    }

    fn frame(self, context: &Context<'_>) -> PolarsResult<DataFrame> {
        let (mut columns, levels) = self.heads.columns(context)?;
        columns.push(Series::new("scale".into(), self.scale).into());
        columns.push(Series::new("side".into(), self.side).into());
        columns.extend(levels);
        columns.extend(BOUNDARY_LEVELS.iter().zip(&self.levels).map(|(name, values)| floats(name, values)));
        let state: Vec<Option<&str>> = self.kind.iter().map(|kind| kind.0).collect();
        columns.push(Series::new("state".into(), state).into());
        let interpolated: Vec<Option<bool>> = self.kind.iter().map(|kind| kind.1).collect();
        let main: Vec<Option<bool>> = self.kind.iter().map(|kind| kind.2).collect();
        columns.push(Series::new("interpolated".into(), interpolated).into());
        columns.push(Series::new("main".into(), main).into());
        columns.extend(BOUNDARY_COUNTS.iter().zip(&self.counts).map(|(name, values)| counts(name, values)));
        DataFrame::new_infer_height(columns)
    }
}

/// The axes of a sweep with the levels of its grid, and which advance together: what a [`Grid`] is made of.
pub fn grid_of(sweep: &Sweep) -> (Vec<AxisLevels>, Vec<Vec<String>>) {
    let axes = sweep.axes.iter().map(|axis| (axis.path.clone(), axis.levels.clone())).collect();
    (axes, sweep.zip.iter().map(|zip| zip.paths.clone()).collect())
}

/// Reads of a run's tables of cells and conditions what judging `gates` along the axes takes.
///
/// # Errors
/// [`StoreError`] when a table cannot be read or lacks a column.
pub fn read_for_locations(dir: &Path, gates: &[Gate], grid: Grid<'_>) -> Result<(DataFrame, DataFrame), StoreError> {
    let path = dir.join(CELLS_TABLE);
    let known = read_table_info(&path)?.columns;
    let axes = grid.axes.iter().map(|(path, _)| param_column(path)).chain([param_column("seed")]);
    let wanted = columns_of_cells(&constraints_of(gates)).into_iter().chain(axes);
    let mut wanted: Vec<String> = wanted.filter(|column| known.contains_key(column)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let conditions = match columns_of_conditions(gates) {
        none if none.is_empty() => DataFrame::empty(),
        columns => read_columns(&dir.join(CONDITIONS_TABLE), &columns)?,
    };
    Ok((read_columns(&path, &wanted)?, conditions))
}

/// Writes both tables of a run beside its others.
///
/// # Errors
/// [`StoreError`] when a table cannot be read, lacks a column, or a new one cannot be written.
pub fn write_locations(dir: &Path, sweep: &Sweep) -> Result<[(&'static str, TableBytes); 2], StoreError> {
    let cells_path = dir.join(CELLS_TABLE);
    let known = read_table_info(&cells_path)?.columns;
    let (axes, zip) = grid_of(sweep);
    let grid = Grid { axes: &axes, zip: &zip };
    let (cells, conditions) = read_for_locations(dir, &sweep.gates, grid)?;
    let failed = |error: PolarsError| StoreError::Table { path: cells_path.clone(), reason: error.to_string() };
    let cells = with_unfinished(cells, sweep).map_err(failed)?;
    let places = Places::new(&cells, grid).map_err(failed)?;
    let constraints = Constraints::new(&sweep.gates, &cells, &conditions, &places).map_err(failed)?;
    let context = Context { cells: &cells, places: &places, constraints: &constraints };
    let none = context.none().map_err(failed)?;
    let writer = |file: &str, table: &str, frame: &DataFrame, own: Vec<(String, ColumnInfo)>| {
        let levels = frame.get_column_names().into_iter().filter_map(|name| {
            let info = known.get(name.as_str()).filter(|_| name.starts_with("param_"))?;
            let about = format!("{}; null where the line does not fix it", info.description);
            Some((name.to_string(), ColumnInfo { description: about, ..info.clone() }.or_null()))
        });
        let info = TableInfo::new(table, own.into_iter().chain(levels));
        TableWriter::create(&dir.join(file), frame.schema(), &info)
    };
    let mut margins = writer(MARGINS_TABLE, "margins", &none.margins, margin_columns())?;
    let mut boundaries = writer(BOUNDARIES_TABLE, "boundaries", &none.boundaries, boundary_columns())?;
    // One axis in memory at a time.
    for axis in places.numeric_axes() {
        let found = context.along(axis).map_err(failed)?;
        margins.write(&found.margins)?;
        boundaries.write(&found.boundaries)?;
    }
    Ok([(MARGINS_TABLE, margins.finish()?), (BOUNDARIES_TABLE, boundaries.finish()?)])
}

fn own(name: &str, role: &str, unit: &str, about: &str) -> (String, ColumnInfo) {
    (name.to_string(), ColumnInfo::new(role, unit, about))
}

/// Whole numbers that either the rows across seeds or those of single seeds lack.
fn whole(name: &str, role: &str, unit: &str, about: &str) -> (String, ColumnInfo) {
    (name.to_string(), ColumnInfo::new(role, unit, about).or_null())
}

/// What the columns of both tables mean.
fn shared_columns() -> Vec<(String, ColumnInfo)> {
    vec![
        own(
            "constraint",
            "index",
            "",
            "name of a gate; `all` for all gates of the spec together; `lost`, where no gate asks for it: no cell collapsed, diverged or failed",
        ),
        own("axis", "index", "", "path of the parameter that varies; levels below are of it, and in its unit"),
        whole("seed", "index", "", "null: across the seeds of the line"),
        whole("seeds", "value", "seeds", "seeds of the line that the constraint judges"),
    ]
}

fn margin_columns() -> Vec<(String, ColumnInfo)> {
    let mut columns = shared_columns();
    columns.extend([
        own("direction", "index", "", "up: counted from the lowest level; down: from the highest"),
        own("margin", "value", "", "the last level, counted from that end, up to which the constraint holds without a break: of a seed, or across seeds while the verdict of the gate is a pass; null without one"),
        own("next", "value", "", "the first level at which it does not; null when it holds at all"),
        own("censored", "status", "", "no: the next level violates it; never_reached: it holds at every level; always_violated: it is violated at the first level; missing_evidence: the next level has no outcome, or too few seeds"),
        own("holds_again", "status", "", "whether it holds again at a level beyond"),
        own(
            "run_low",
            "value",
            "",
            "lowest level of the widest run of neighbouring levels, on the axis's scale, at which it holds: where it is safe to be; null without one",
        ),
        own("run_high", "value", "", "highest level of the same"),
        whole("never_reached", "value", "seeds", "seeds for which it holds at every level"),
        whole("always_violated", "value", "seeds", "seeds for which it is violated at the first level"),
        whole("missing_evidence", "value", "seeds", "seeds whose margin ends at a level without outcome"),
        own("least", "value", "", "least level that a seed's margin is; this and the four below are null where that is no level: of a seed without a margin, of one that holds to the end of the levels, and of one whose margin ends for want of evidence, which the counts tell"),
        own("median", "value", "", "median margin over seeds, of an even number the shorter of the two in the middle"),
        own("greatest", "value", "", "greatest level that a seed's margin is"),
        own("median_low", "value", "", "lower end of the median's 95% interval between order statistics; null for fewer than 6 seeds"),
        own("median_high", "value", "", "upper end of the same"),
    ]);
    columns
}

fn boundary_columns() -> Vec<(String, ColumnInfo)> {
    let mut columns = shared_columns();
    columns.extend([
        own("scale", "status", "", "on which levels are interpolated and averaged: log where the parameter is positive, else linear"),
        own("side", "index", "", "lower: below it the constraint is violated; upper: above it"),
        own("level", "value", "", "of a seed: where the margin of the gate, changing linearly from level to level, is zero, or the middle between two levels where a cell was lost; across seeds: the mean of the edges, null unless every seed whose outcomes are known has one within the levels that were tried; where edges come near the last level, those that have one are a selection, and the fit says more"),
        own("bracket_low", "value", "", "of a seed: the level below; across seeds: their mean"),
        own("bracket_high", "value", "", "of a seed: the level above; across seeds: their mean"),
        own("interval_low", "value", "", "lower end of the 95% interval of the mean over seeds: made as that in surfaces.parquet is, and at least from bracket_low to bracket_high: how margins change between levels is not known"),
        own("interval_high", "value", "", "upper end of the same"),
        own("fit_level", "value", "", "median of the logistic distribution of edges fitted by maximum likelihood to the levels between which the seeds' edges lie, those beyond the levels included; where half of the seeds violate the constraint; null where the levels do not tell seeds apart"),
        own("fit_low", "value", "", "lower end of its 95% profile likelihood interval, held to what the parameter accepts; null where it has none"),
        own("fit_high", "value", "", "upper end of the same"),
        own("fit_scale", "value", "", "scale of that distribution, in units of the level, or of its natural logarithm on a log scale: the share that violates an upper edge at x is 1 / (1 + exp(-(x - fit_level) / fit_scale))"),
        own("state", "status", "", "of a seed: crossed; beyond: it holds as far as levels were tried; never_holds; unknown; null across seeds"),
        own("interpolated", "status", "", "of a seed that crossed: whether its level is where a margin is zero"),
        own("main", "status", "", "of a seed: whether this edge is of the widest run of levels at which the constraint holds; others are not part of what is said across seeds"),
        whole("crossed", "value", "seeds", "seeds whose edge lies between two levels"),
        whole("beyond", "value", "seeds", "seeds for which it holds as far as levels were tried"),
        whole("never_holds", "value", "seeds", "seeds for which it holds nowhere"),
        whole("unknown", "value", "seeds", "seeds of which nothing is known"),
        whole("other_flips", "value", "flips", "flips, on either side, that are no edge of a widest run: islands"),
        whole("unknown_levels", "value", "cells", "levels of seeds without an outcome"),
    ]);
    columns
}

#[cfg(test)]
mod tests;
