//! How far the boundaries of constraints moved from one run to the other, paired by seed.
//!
//! A line of one run is that of the other when constraint, axis and fixed levels are the same. On it the main edges of a
//! seed that both runs cross have a shift: the difference `b - a` of their coordinates, which on a log scale is the
//! logarithm of a ratio. Over seeds it has a mean and an interval.
//!
//! What it is honest about:
//! - **What the levels leave open.** An edge lies somewhere in its bracket, so that the shift lies between
//!   `low_b - high_a` and `high_b - low_a`. The interval is never narrower than the means of those ends; that of one seed
//!   is not given. A zero of a margin is no exception, nor is one between the same levels in both runs: what interpolation
//!   does to an edge depends on where in its bracket it lies, which is what differs. Between distant levels it may be off
//!   by several times what differs between seeds, as for the interval of a boundary ([`crate::analysis::boundary`]).
//! - **The same line twice.** A cell id says all about a cell, and two of one line and seed differ in the level alone. So
//!   where the cells that both runs have of a line and seed are the same to the bit, both runs looked at one and the same
//!   edge, and its shift is exactly zero, also where one found it between finer levels. Those seeds are counted.
//! - **Seeds with an edge in one of the runs.** How far they moved is unknown. They are counted by how they stand in both
//!   and by whether they are known to have moved: not so where one run tried levels that the other did not, and found the
//!   edge there. A mean that leaves out such as moved is marked as biased, as a rule towards zero, since what left the
//!   levels moved most. Beside it then stands the difference of the fits, where levels tell their seeds apart: they take
//!   these seeds in, over each run's own seeds. It has no interval: the fits are not paired by seed.
//! - **Lines that hold throughout in one run and nowhere in the other** have no edge in either and yet moved furthest:
//!   they are rows without a side.

use std::collections::{BTreeMap, HashMap};

use polars_core::prelude::{DataFrame, PolarsError, PolarsResult};
use serde::Serialize;
use serde_json::{Value, json};

use super::edges::{LineEdges, LineKey, SeedEdge, SideEdges, State, as_text};
use super::pairs::Pairing;
use super::spec::{SEED, levels};
use super::{Each, edges};
use crate::analysis::trace::Side;
use crate::numerics::bootstrap::mean_interval;
use crate::numerics::stats::{StatsError, mean};
use crate::spec::{ALL_GATES, Gate, Scale, Sweep, constraints_of};

/// Seeds by how they stand in both runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Transition {
    pub a: State,
    pub b: State,
    pub seeds: u64,
    /// Of those without an edge in one of the runs, the ones known to have moved.
    pub moved: u64,
}

/// How far one edge of one constraint moved on one line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shift {
    pub constraint: String,
    pub axis: String,
    /// Axis path to the level that the line fixes.
    pub levels: BTreeMap<String, Value>,
    /// Null: no edge lies within the levels in either run, and it holds in one and nowhere in the other for some seed.
    pub side: Option<Side>,
    /// Log: `shift` and what belongs to it are ratios, 1.25 where the boundary of `b` lies 25% higher; linear: differences.
    pub scale: Scale,
    /// Seeds whose edge was crossed in both: those that `level`, `shift` and `interval` are over.
    pub seeds: u64,
    /// Seeds of them whose cells here are the same to the bit in both: their shift is exactly zero, wherever the levels that
    /// each run tried place the edge.
    pub same: u64,
    /// The mean edges, on the scale.
    pub level: Each<Option<f64>>,
    pub shift: Option<f64>,
    /// 95% interval over seeds, made as [`method`](crate::numerics::bootstrap::method) says and widened to `open`; null
    /// for fewer than two.
    pub interval: Option<[f64; 2]>,
    /// Between what ends the mean shift lies for all that levels tell; null where the cells of every seed are the same.
    pub open: Option<[f64; 2]>,
    /// All seeds of both runs.
    pub transitions: Vec<Transition>,
    /// Seeds of the line that only one run has.
    pub seeds_only: Each<u64>,
    /// Whether seeds were left out of the mean that crossed in one run and moved out of its levels in the other.
    pub biased: bool,
    /// Medians of the fitted distributions of edges, over each run's own seeds.
    pub fit: Each<Option<f64>>,
    /// Their difference or ratio, where the mean is biased; null where a fit does not tell seeds apart.
    pub fit_shift: Option<f64>,
}

/// Sides of lines that no seed crosses in either run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WithoutEdge {
    pub sides: u64,
    /// Their seeds.
    pub transitions: Vec<Transition>,
}

/// How far the boundaries moved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BoundaryShifts {
    /// Constraints that one run only has.
    pub constraints_only: Each<Vec<String>>,
    /// Constraints of one name and two definitions, which are not compared.
    pub defined_differently: Vec<String>,
    /// Lines of both, under constraints of both.
    pub lines: u64,
    /// Lines under such constraints that one run only has.
    pub lines_only: Each<u64>,
    /// What moved furthest first, as a share of the axis; a seed that gained or lost its edge counts as all of it.
    pub shifts: Vec<Shift>,
    pub without_edge: WithoutEdge,
}

impl Shift {
    /// Nothing is known to have moved: the shift of every seed is exactly zero or unknown.
    pub fn is_still(&self) -> bool {
        let zero = self.scale.level(0.0);
        self.shift.is_none_or(|shift| shift == zero)
            && self.interval.is_none_or(|ends| ends == [zero; 2])
            && self.open.is_none()
            && self.transitions.iter().all(|transition| transition.moved == 0)
    }
}

/// Columns of `boundaries.parquet` that [`boundary_shifts`] reads, as far as a table has them.
pub fn columns_of_boundaries(pairing: &Pairing) -> Vec<String> {
    edges::columns(&paths(pairing))
}

fn paths(pairing: &Pairing) -> Vec<String> {
    pairing.paths.iter().filter(|path| *path != SEED).cloned().collect()
}

/// Compares two tables like `boundaries.parquet`. `same` is of [`Pairing::identical`].
///
/// # Errors
/// A column that is not there or of another type; a level without a coordinate.
pub fn boundary_shifts(
    pairing: &Pairing,
    a: &DataFrame,
    b: &DataFrame,
    same: &[Option<bool>],
) -> PolarsResult<BoundaryShifts> {
    let paths = paths(pairing);
    let (lines_a, lines_b) = (edges::read(a, pairing.a, &paths)?, edges::read(b, pairing.b, &paths)?);
    let (in_a, in_b) = (definitions(pairing.a), definitions(pairing.b));
    let only = |of: &BTreeMap<String, Value>, other: &BTreeMap<String, Value>| -> Vec<String> {
        of.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
    };
    let defined_differently: Vec<String> = in_a
        .iter()
        .filter(|(name, is)| in_b.get(*name).is_some_and(|other| other != *is))
        .map(|x| x.0.clone())
        .collect();
    let compared = |line: &&LineEdges| {
        let name = &line.key.constraint;
        in_a.contains_key(name) && in_a.get(name) == in_b.get(name)
    };
    let partner: HashMap<&LineKey, &LineEdges> = lines_b.iter().filter(compared).map(|l| (&l.key, l)).collect();
    let same = Same::new(pairing, same, &paths);
    let tried = [levels(pairing.a), levels(pairing.b)];
    let (mut rows, mut still) = (Vec::new(), Vec::new());
    let (mut lines, mut only_a, mut sides) = (0, 0, 0);
    for a in lines_a.iter().filter(compared) {
        let Some(b) = partner.get(&a.key) else {
            only_a += 1;
            continue;
        };
        lines += 1;
        let two = Two::new(a, b, &tried);
        let found = Side::BOTH.map(|side| two.seeds(side, &same));
        let crossed = [0, 1].map(|side| [a, *b].iter().any(|line| has_edge(&line.sides[side])));
        let mut add = |side, seeds: &[Seed]| {
            rows.push(two.row(side, seeds).map_err(|error| failed(&a.key, &error))?);
            Ok::<(), PolarsError>(())
        };
        if crossed == [false; 2] && found[1].iter().any(Seed::moved) {
            add(None, &found[1])?;
            continue;
        }
        for ((side, crossed), seeds) in Side::BOTH.into_iter().zip(crossed).zip(found) {
            if crossed {
                add(Some(side), &seeds)?;
            } else {
                sides += 1;
                still.extend(seeds);
            }
        }
    }
    rows.sort_by(|x, y| y.0.total_cmp(&x.0));
    Ok(BoundaryShifts {
        constraints_only: Each { a: only(&in_a, &in_b), b: only(&in_b, &in_a) },
        defined_differently,
        lines,
        lines_only: Each { a: only_a, b: partner.len() as u64 - lines },
        shifts: rows.into_iter().map(|(_, row)| row).collect(),
        without_edge: WithoutEdge { sides, transitions: transitions(&still) },
    })
}

fn failed(key: &LineKey, error: &StatsError) -> PolarsError {
    PolarsError::ComputeError(format!("{} along {}: {error}", key.constraint, key.axis).into())
}

/// Each constraint of a sweep by what defines it: its gate, and the condition that the gate is under.
fn definitions(sweep: &Sweep) -> BTreeMap<String, Value> {
    let define = |gate: &Gate| {
        let condition = sweep.conditions.iter().find(|condition| condition.name == gate.condition);
        json!([gate, condition.map(|condition| &condition.changes)])
    };
    let one = |gate: &Gate| (gate.name.clone(), define(gate));
    let mut all: BTreeMap<String, Value> = constraints_of(&sweep.gates).iter().map(one).collect();
    if sweep.gates.len() > 1 {
        let together: BTreeMap<String, Value> = sweep.gates.iter().map(one).collect();
        all.insert(ALL_GATES.to_string(), json!(together));
    }
    all
}

fn has_edge(side: &SideEdges) -> bool {
    side.seeds.values().any(|edge| edge.state == State::Crossed)
}

/// One side of a line for one seed that both runs have.
struct Seed {
    side: Side,
    a: SeedEdge,
    b: SeedEdge,
    /// Whether the cells that both runs have of it are the same to the bit.
    same: bool,
}

impl Seed {
    fn crossed(&self) -> bool {
        self.a.state == State::Crossed && self.b.state == State::Crossed
    }

    /// Whether it is known to have moved though one of the runs has no edge to measure from.
    fn moved(&self) -> bool {
        let outside = |crossed: &SeedEdge, beyond: &SeedEdge| match self.side {
            Side::Upper => crossed.high <= beyond.low,
            Side::Lower => crossed.low >= beyond.high,
        };
        !self.same
            && match (self.a.state, self.b.state) {
                (State::Crossed, State::Beyond) => outside(&self.a, &self.b),
                (State::Beyond, State::Crossed) => outside(&self.b, &self.a),
                (State::Unknown, _) | (_, State::Unknown) => false,
                (a, b) => a != b,
            }
    }
}

fn transitions(seeds: &[Seed]) -> Vec<Transition> {
    let mut counted: BTreeMap<(State, State), (u64, u64)> = BTreeMap::new();
    for seed in seeds {
        let (all, moved) = counted.entry((seed.a.state, seed.b.state)).or_default();
        *all += 1;
        *moved += u64::from(seed.moved());
    }
    counted.into_iter().map(|((a, b), (seeds, moved))| Transition { a, b, seeds, moved }).collect()
}

/// A line in both runs.
struct Two<'l> {
    a: &'l LineEdges,
    b: &'l LineEdges,
    scale: Scale,
    /// How long its axis is in both runs together, on the scale.
    span: f64,
}

impl<'l> Two<'l> {
    fn new(a: &'l LineEdges, b: &'l LineEdges, tried: &[BTreeMap<&str, Vec<Value>>; 2]) -> Self {
        // Where a level of 0 takes the logarithm from one run, both are compared by differences.
        let scale = if a.scale == b.scale { a.scale } else { Scale::Linear };
        let levels = tried.iter().filter_map(|run| run.get(a.key.axis.as_str())).flatten().filter_map(Value::as_f64);
        let ends = levels.map(|level| scale.coordinate(level));
        let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
        Self { a, b, scale, span: high - low }
    }

    fn seeds(&self, side: Side, same: &Same) -> Vec<Seed> {
        let (in_a, in_b) = (&self.a.sides[side as usize], &self.b.sides[side as usize]);
        let both = in_a.seeds.iter().filter_map(|(seed, a)| Some((*seed, *a, *in_b.seeds.get(seed)?)));
        // Other values from the same bits are another definition of a metric.
        let redefined = |a: &SeedEdge, b: &SeedEdge| a.low == b.low && a.high == b.high && a.level != b.level;
        let same = |seed, a: &SeedEdge, b: &SeedEdge| same.is(&self.a.key, seed) && !redefined(a, b);
        both.map(|(seed, a, b)| Seed { side, same: same(seed, &a, &b), a, b }).collect()
    }

    /// One row, after the share of its axis by which its seeds moved; without a side that of a line without edges.
    fn row(&self, side: Option<Side>, seeds: &[Seed]) -> Result<(f64, Shift), StatsError> {
        let Self { a, b, scale, .. } = self;
        // Without edges both sides say the same.
        let at = side.unwrap_or(Side::Upper) as usize;
        let (in_a, in_b) = (&a.sides[at], &b.sides[at]);
        let pairs: Vec<&Seed> = seeds.iter().filter(|seed| seed.crossed()).collect();
        let mean = (!pairs.is_empty()).then(|| self.mean_shift(&pairs)).transpose()?;
        let gone = seeds.iter().filter(|seed| seed.moved()).count();
        let one_crossed = |seed: &Seed| (seed.a.state == State::Crossed) != (seed.b.state == State::Crossed);
        let biased = seeds.iter().any(|seed| seed.moved() && one_crossed(seed));
        let fits = in_a.fit.zip(in_b.fit).filter(|_| biased && in_a.fit_is_spread && in_b.fit_is_spread);
        let only = |of: &SideEdges, other: &SideEdges| {
            of.seeds.keys().filter(|seed| !other.seeds.contains_key(seed)).count() as u64
        };
        let level = |coordinate: f64| scale.level(coordinate);
        let row = Shift {
            constraint: a.key.constraint.clone(),
            axis: a.key.axis.clone(),
            levels: a.levels.clone(),
            side,
            scale: *scale,
            seeds: pairs.len() as u64,
            same: pairs.iter().filter(|seed| seed.same).count() as u64,
            level: Each { a: mean.as_ref().map(|mean| level(mean.a)), b: mean.as_ref().map(|mean| level(mean.b)) },
            shift: mean.as_ref().map(|mean| level(mean.shift)),
            interval: mean.as_ref().and_then(|mean| mean.interval).map(|ends| ends.map(level)),
            open: mean.as_ref().and_then(|mean| mean.open).map(|ends| ends.map(level)),
            transitions: transitions(seeds),
            seeds_only: Each { a: only(in_a, in_b), b: only(in_b, in_a) },
            biased,
            fit: Each { a: in_a.fit, b: in_b.fit },
            fit_shift: fits.map(|(a, b)| level(scale.coordinate(b) - scale.coordinate(a))),
        };
        let shift = mean.map_or(0.0, |mean| mean.shift.abs()) / self.span;
        let (crossed, gone) = (pairs.len() as f64, gone as f64);
        Ok(((shift * crossed + gone) / (crossed + gone).max(1.0), row))
    }

    /// The mean shift of one seed or more. Equal values have exactly their mean.
    fn mean_shift(&self, seeds: &[&Seed]) -> Result<MeanShift, StatsError> {
        let at = |level: f64| self.scale.coordinate(level);
        let over = |of: &dyn Fn(&Seed) -> f64| -> Result<f64, StatsError> {
            let values: Vec<f64> = seeds.iter().map(|seed| of(seed)).collect();
            let ends = values.iter().fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
            // The mean of equal values can differ from them by a rounding.
            Ok(if ends.0 == ends.1 { ends.0 } else { mean(&values)? })
        };
        let shift = |seed: &Seed| if seed.same { 0.0 } else { at(seed.b.level) - at(seed.a.level) };
        let least = |seed: &Seed| if seed.same { 0.0 } else { at(seed.b.low) - at(seed.a.high) };
        let most = |seed: &Seed| if seed.same { 0.0 } else { at(seed.b.high) - at(seed.a.low) };
        let hull = [over(&least)?, over(&most)?];
        let mut shifts: Vec<f64> = seeds.iter().map(|seed| shift(seed)).collect();
        shifts.sort_by(f64::total_cmp);
        let interval = if shifts.len() > 1 {
            let (low, high) = mean_interval(&shifts, &mut Vec::new())?;
            Some([low.min(hull[0]), high.max(hull[1])])
        } else {
            None
        };
        Ok(MeanShift {
            a: over(&|seed| at(seed.a.level))?,
            b: over(&|seed| at(seed.b.level))?,
            shift: over(&shift)?,
            interval,
            open: (!seeds.iter().all(|seed| seed.same)).then_some(hull),
        })
    }
}

/// In coordinates.
#[derive(Debug)]
struct MeanShift {
    a: f64,
    b: f64,
    shift: f64,
    interval: Option<[f64; 2]>,
    open: Option<[f64; 2]>,
}

/// The lines and seeds whose cells are the same in both runs.
struct Same {
    /// By axis and the levels that a line fixes.
    numbers: HashMap<(String, String), usize>,
    /// For each line, by its number, and seed.
    lines: HashMap<(usize, i64), bool>,
}

impl Same {
    fn new(pairing: &Pairing, same: &[Option<bool>], paths: &[String]) -> Self {
        let (mut numbers, mut lines) = (HashMap::new(), HashMap::new());
        if !same.contains(&Some(true)) {
            return Self { numbers, lines };
        }
        let of_combination: Vec<Vec<usize>> = (0..pairing.combinations())
            .map(|combination| {
                let levels = pairing.levels(combination);
                let of_axis = |axis: &String| {
                    let zipped = pairing.a.zip.iter().find(|zip| zip.paths.contains(axis));
                    let advances = |path: &String| zipped.is_some_and(|zip| zip.paths.contains(path));
                    let fixed = paths.iter().filter(|path| *path != axis);
                    let fixed =
                        fixed.map(|path| levels.get(path).filter(|_| !advances(path)).cloned().unwrap_or_default());
                    let next = numbers.len();
                    *numbers.entry((axis.clone(), as_text(fixed))).or_insert(next)
                };
                paths.iter().map(of_axis).collect()
            })
            .collect();
        for (pair, same) in pairing.pairs.iter().zip(same) {
            let (Some(same), Ok(seed)) = (same, i64::try_from(pairing.a.cells[pair.a].config.seed)) else { continue };
            for line in &of_combination[pair.combination] {
                *lines.entry((*line, seed)).or_insert(true) &= same;
            }
        }
        Self { numbers, lines }
    }

    fn is(&self, line: &LineKey, seed: i64) -> bool {
        let number = self.numbers.get(&(line.axis.clone(), line.fixed.clone()));
        number.and_then(|number| self.lines.get(&(*number, seed))).copied().unwrap_or(false)
    }
}

#[cfg(test)]
#[path = "boundaries/tests.rs"]
mod tests;
