//! Refinement: which levels to try next, from what is known of every line so far.
//!
//! Between two neighbouring levels of a line the outcomes of its seeds agree, or one at least differs. A gap in which
//! they differ holds a flip, and is halved until it is no wider than the tolerance. A gap in which they agree is taken to
//! hold none, unless it is wider than the floor: then it is halved first, because an island narrower than a gap cannot be
//! seen from its ends. Every seed of a line is tried at every new level: a level that only those seeds had whose flip
//! is near would say something else of the seeds than of the level.
//!
//! Nothing is remembered but cells: what to try follows from the tables alone, so a refinement that was interrupted, or
//! whose tolerance is tightened, goes on from what is there.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::constraint::{Constraint, Constraints};
use super::line::{AxisRanks, Lines};
use super::trace::Trace;
use crate::spec::Kind;

/// Significant digits of a new level: enough that no tolerance in use is felt, few enough to read.
const DIGITS: usize = 6;

/// When to go on, in coordinates of the axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Gaps with a flip are halved while they are wider.
    pub tolerance: f64,
    /// Gaps without one are halved while they are wider; none are without it.
    pub floor: Option<f64>,
}

/// The space between two neighbouring levels of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gap {
    pub low: f64,
    pub high: f64,
    /// In coordinates.
    pub width: f64,
    /// Whether the constraint flips in it for at least one seed.
    pub flips: bool,
    /// A level between the two; none where they are neighbours as numbers, or no gate of the constraint judges it.
    middle: Option<f64>,
}

/// The levels on either side of a flip of at least one seed: neighbours, but for levels without an outcome between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flipped {
    pub low: f64,
    pub high: f64,
    /// In coordinates.
    pub width: f64,
}

/// What is known of one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Axis path to level, of the axes that the line fixes.
    pub levels: BTreeMap<String, Value>,
    pub seeds: Vec<i64>,
    /// Ascending.
    pub gaps: Vec<Gap>,
    /// Ascending, each once.
    pub flips: Vec<Flipped>,
    /// Levels beside the grid that some seeds lack, which came later, and how many.
    lacking: Vec<(f64, u64)>,
    /// Whether levels are whole numbers.
    whole: bool,
    /// Whether the constraint is judged anywhere on it.
    judged: bool,
}

/// A level to try, for every seed of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The line's number.
    pub line: usize,
    pub level: f64,
    /// Cells to train.
    pub cells: u64,
}

/// What is known of every line along an axis.
pub fn known(lines: &Lines<'_>, constraints: &Constraints, of: &Constraint) -> Vec<Known> {
    let axis = lines.along();
    let line = |number: usize| {
        let line = lines.line(number);
        let traces: Vec<Trace> = line.by_seed.iter().map(|rows| Trace::new(lines, rows, constraints, of)).collect();
        let gap = |pair: &[u32]| {
            let (below, above) = (pair[0], pair[1]);
            let inside = |trace: &Trace| trace.flips.iter().any(|flip| flip.below <= below && above <= flip.above);
            let (low, high) = (axis.number(below), axis.number(above));
            let width = axis.coordinates[above as usize] - axis.coordinates[below as usize];
            let judged = |level: &f64| constraints.may_cover(of, &axis.path, &level_of(axis, *level));
            let middle = between(axis, below, above).filter(judged);
            Gap { low, high, width, flips: traces.iter().any(inside), middle }
        };
        let mut ends: Vec<(u32, u32)> =
            traces.iter().flat_map(|t| &t.flips).map(|flip| (flip.below, flip.above)).collect();
        ends.sort_unstable();
        ends.dedup();
        let flipped = |(below, above): (u32, u32)| {
            let width = axis.coordinates[above as usize] - axis.coordinates[below as usize];
            Flipped { low: axis.number(below), high: axis.number(above), width }
        };
        let lacking = |rank: &u32| {
            let missing = || line.by_seed.len() - line.rows.iter().filter(|row| lines.rank(**row) == *rank).count();
            // What refinement added is little of a line, so counting each level anew is no burden.
            let missing = if axis.is_on_grid(*rank) { 0 } else { missing() };
            (missing > 0).then(|| (axis.number(*rank), missing as u64))
        };
        let levels = lines.fixed.iter().map(|fixed| lines.fixed_level(&line, *fixed));
        Known {
            levels: levels.map(|(path, level)| (path.to_string(), level.clone())).collect(),
            seeds: traces.iter().map(|trace| trace.seed).collect(),
            gaps: line.levels.windows(2).map(gap).collect(),
            flips: ends.into_iter().map(flipped).collect(),
            lacking: line.levels.iter().filter_map(lacking).collect(),
            whole: axis.is_whole(),
            judged: traces.iter().any(|trace| !trace.steps.is_empty()),
        }
    };
    (0..lines.len()).map(line).collect()
}

/// A level of the axis as its parameter has it.
fn level_of(axis: &AxisRanks, level: f64) -> Value {
    if axis.is_whole() { Value::from(level as i64) } else { Value::from(level) }
}

/// The level in the middle of two, on the scale of the axis.
fn between(axis: &AxisRanks, below: u32, above: u32) -> Option<f64> {
    let scale = axis.scale?;
    let (low, high) = (axis.number(below), axis.number(above));
    let middle = scale.level((axis.coordinates[below as usize] + axis.coordinates[above as usize]) / 2.0);
    let short: f64 = format!("{middle:.*e}", DIGITS - 1).parse().ok()?;
    let candidates = if axis.is_whole() { [middle.round(), low + 1.0] } else { [short, middle] };
    candidates.into_iter().find(|level| low < *level && *level < high && !Kind::is_too_small(*level))
}

/// The levels to try next, the most urgent first: those that seeds lack, then gaps wider than the floor, then gaps with a
/// flip, the widest first.
pub fn wanted(known: &[Known], rules: Rules) -> Vec<Wanted> {
    let mut found: Vec<(bool, f64, Wanted)> = Vec::new();
    for (number, line) in known.iter().enumerate().filter(|(_, line)| line.judged) {
        for gap in &line.gaps {
            let explore = rules.floor.is_some_and(|floor| wider(gap.width, floor));
            let Some(level) = gap.middle.filter(|_| explore || (gap.flips && wider(gap.width, rules.tolerance))) else {
                continue;
            };
            found.push((!explore, gap.width, Wanted { line: number, level, cells: line.seeds.len() as u64 }));
        }
    }
    // Stable: of equals the first line and the lowest level first.
    found.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let lacking = known.iter().enumerate().filter(|(_, line)| line.judged).flat_map(|(number, line)| {
        line.lacking.iter().map(move |(level, cells)| Wanted { line: number, level: *level, cells: *cells })
    });
    lacking.chain(found.into_iter().map(|(_, _, wanted)| wanted)).collect()
}

/// What rounding levels to [`DIGITS`] may add to the width of a gap, as a share of it.
const SLACK: f64 = 1e-4;

/// Whether a gap is wider than it may be.
fn wider(width: f64, limit: f64) -> bool {
    width > limit * (1.0 + SLACK)
}

/// How one line stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LineReport {
    pub levels: BTreeMap<String, Value>,
    pub seeds: u64,
    /// Levels that were tried.
    pub tried: u64,
    /// The levels around each flip that is known as closely as the tolerance asks, or as whole numbers allow.
    pub resolved: Vec<[f64; 2]>,
    /// Around each between which more levels will be tried.
    pub open: Vec<[f64; 2]>,
    /// Around each that is further apart than the tolerance though nothing is left to try: the levels between have no
    /// outcome, or no gate judges them.
    pub undecided: Vec<[f64; 2]>,
    /// The widest gap without a flip that is wider than the tolerance: an island inside it would not have been seen.
    pub widest_unexplored: Option<[f64; 2]>,
    /// The share of the axis, on its scale, that lies in such gaps.
    pub unexplored_share: f64,
}

impl LineReport {
    /// The levels around every flip, and around the widest gap without one.
    pub fn ends(&self) -> impl Iterator<Item = [f64; 2]> {
        [&self.resolved, &self.open, &self.undecided].into_iter().flatten().copied().chain(self.widest_unexplored)
    }
}

/// How a refinement stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub lines: Vec<LineReport>,
    pub resolved: u64,
    pub open: u64,
    pub undecided: u64,
    /// Levels that will be tried next: around open flips, in gaps wider than the floor, and those that some seeds lack.
    pub wanted: u64,
    /// Cells on the lines.
    pub cells: u64,
    /// Cells that a uniform grid between the same ends would take, at a spacing no wider than the tolerance.
    pub uniform_cells: u64,
}

/// How a refinement stands, by what is known.
pub fn report(known: &[Known], rules: Rules) -> Report {
    let wanted = wanted(known, rules).len() as u64;
    let mut report =
        Report { lines: Vec::new(), resolved: 0, open: 0, undecided: 0, wanted, cells: 0, uniform_cells: 0 };
    for line in known.iter().filter(|line| line.judged) {
        let unexplored = || line.gaps.iter().filter(|gap| !gap.flips && wider(gap.width, rules.tolerance));
        let widest = unexplored().max_by(|a, b| a.width.total_cmp(&b.width));
        let range: f64 = line.gaps.iter().map(|gap| gap.width).sum();
        let seeds = line.seeds.len() as u64;
        let mut of_line = LineReport {
            levels: line.levels.clone(),
            seeds,
            tried: line.gaps.len() as u64 + 1,
            resolved: Vec::new(),
            open: Vec::new(),
            undecided: Vec::new(),
            widest_unexplored: widest.map(|gap| [gap.low, gap.high]),
            unexplored_share: if range > 0.0 { unexplored().map(|gap| gap.width).sum::<f64>() / range } else { 0.0 },
        };
        for flip in &line.flips {
            let mut inside = line.gaps.iter().filter(|gap| flip.low <= gap.low && gap.high <= flip.high);
            let more = |gap: &Gap| wider(gap.width, rules.tolerance) && gap.middle.is_some();
            let whole = line.whole && flip.high - flip.low <= 1.0;
            let list = if whole || !wider(flip.width, rules.tolerance) {
                &mut of_line.resolved
            } else if inside.any(more) {
                &mut of_line.open
            } else {
                &mut of_line.undecided
            };
            list.push([flip.low, flip.high]);
        }
        report.resolved += of_line.resolved.len() as u64;
        report.open += of_line.open.len() as u64;
        report.undecided += of_line.undecided.len() as u64;
        report.cells += seeds * of_line.tried;
        let uniform = uniform_gaps(line, range, rules.tolerance).saturating_add(1).saturating_mul(seeds);
        report.uniform_cells = report.uniform_cells.saturating_add(uniform);
        report.lines.push(of_line);
    }
    report
}

/// Gaps of a uniform grid over a line.
fn uniform_gaps(line: &Known, range: f64, tolerance: f64) -> u64 {
    let gaps = (range / tolerance / (1.0 + SLACK)).ceil().max(1.0);
    let ends = line.gaps.first().zip(line.gaps.last()).map_or(0.0, |(first, last)| last.high - first.low);
    if line.whole { gaps.min(ends.max(1.0)) as u64 } else { gaps as u64 }
}

#[cfg(test)]
mod tests;
