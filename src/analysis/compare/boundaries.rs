//! How far the boundaries of constraints moved from one run to the other, paired by seed.
//!
//! A line of one run is that of the other when constraint, axis and fixed levels are the same. On it the main edges of a
//! seed that both runs cross have a shift: the difference `b - a` of their coordinates, which on a log scale is the
//! logarithm of a ratio. Over seeds it has a mean and an interval.
//!
//! Three things are honest about it:
//! - **What the levels leave open.** An edge that is no zero of a margin lies somewhere in its bracket, so that the shift
//!   lies between `low_b - high_a` and `high_b - low_a`. The interval is never narrower than the means of those ends; that
//!   of one seed is not given. When both brackets are the same and the cells at both of their ends are the same cells with
//!   the same bits, the edge is one and the same wherever it lies, and the shift is exactly zero.
//! - **Seeds without an edge in one of the runs.** Their shift is real and its size unknown. They are counted by how
//!   they stand in both, and a mean that leaves out seeds that crossed in one run only is marked as biased, towards zero
//!   as a rule: those that left the levels are those that moved most. Then the difference of the fits stands beside it,
//!   which takes such seeds in, over each run's own seeds and without an interval: the fits are not paired, and no
//!   interval of their difference is known to hold.
//! - **Lines that hold throughout in one run and nowhere in the other** have no edge in either and yet have moved further
//!   than any: they are rows, without a side.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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
    /// The mean edges, on the scale.
    pub level: Each<Option<f64>>,
    pub shift: Option<f64>,
    /// 95% interval: percentile bootstrap over seeds, widened to `open`; null for fewer than two seeds.
    pub interval: Option<[f64; 2]>,
    /// Between what ends the mean shift lies for all that levels tell; null where every edge is interpolated or the same.
    pub open: Option<[f64; 2]>,
    /// All seeds of both runs.
    pub transitions: Vec<Transition>,
    /// Seeds of the line that only one run has.
    pub seeds_only: Each<u64>,
    /// Whether seeds were left out of the mean that crossed in one run and moved out of its levels in the other.
    pub biased: bool,
    /// Medians of the fitted distributions of edges, over each run's own seeds.
    pub fit: Each<Option<f64>>,
    /// Their difference or ratio, where the mean is biased.
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
    /// Nothing is known to have moved: every shift is exactly zero and every seed stands as it did.
    pub fn is_still(&self) -> bool {
        let zero = self.scale.level(0.0);
        self.shift.is_none_or(|shift| shift == zero)
            && self.interval.is_none_or(|ends| ends == [zero; 2])
            && self.open.is_none()
            && self.transitions.iter().all(|transition| transition.a == transition.b)
    }
}

/// Columns of `boundaries.parquet` that [`boundary_shifts`] reads, as far as a table has them.
pub fn columns_of_boundaries(pairing: &Pairing) -> Vec<String> {
    edges::columns(&paths(pairing))
}

fn paths(pairing: &Pairing) -> Vec<String> {
    pairing.paths.iter().filter(|path| *path != SEED).cloned().collect()
}

/// Compares two tables like `boundaries.parquet`. `same` says of each pair whether its cells are the same to the bit, as
/// [`Pairing::identical`] does.
///
/// # Errors
/// A column that is not there or of another type; a level without a coordinate.
pub fn boundary_shifts(pairing: &Pairing, a: &DataFrame, b: &DataFrame, same: &[bool]) -> PolarsResult<BoundaryShifts> {
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
    let identical = Identical::new(pairing, same, &paths);
    let spans = Spans::new(pairing);
    let (mut rows, mut still) = (Vec::new(), BTreeMap::new());
    let (mut lines, mut only_a, mut sides) = (0, 0, 0);
    for a in lines_a.iter().filter(compared) {
        let Some(b) = partner.get(&a.key) else {
            only_a += 1;
            continue;
        };
        lines += 1;
        let crossed = [0, 1].map(|side| [a, *b].iter().any(|line| has_edge(&line.sides[side])));
        let transitions = [0, 1].map(|side| transitions(&a.sides[side], &b.sides[side]));
        let turned = transitions[1].keys().any(|states| changed(*states));
        if crossed == [false; 2] && turned {
            rows.push(spans.weighed(row(a, b, None, &identical).map_err(|error| failed(&a.key, &error))?));
            continue;
        }
        for ((side, crossed), transitions) in Side::BOTH.into_iter().zip(crossed).zip(transitions) {
            if crossed {
                rows.push(spans.weighed(row(a, b, Some(side), &identical).map_err(|error| failed(&a.key, &error))?));
            } else {
                sides += 1;
                transitions.into_iter().for_each(|(states, seeds)| *still.entry(states).or_default() += seeds);
            }
        }
    }
    rows.sort_by(|x: &(f64, Shift), y| y.0.total_cmp(&x.0));
    Ok(BoundaryShifts {
        constraints_only: Each { a: only(&in_a, &in_b), b: only(&in_b, &in_a) },
        defined_differently,
        lines,
        lines_only: Each { a: only_a, b: partner.len() as u64 - lines },
        shifts: rows.into_iter().map(|(_, row)| row).collect(),
        without_edge: WithoutEdge { sides, transitions: listed(still) },
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

type States = (State, State);

/// Whether a seed is known to stand otherwise than it did.
fn changed((a, b): States) -> bool {
    a != b && a != State::Unknown && b != State::Unknown
}

fn has_edge(side: &SideEdges) -> bool {
    side.seeds.values().any(|edge| edge.state == State::Crossed)
}

fn transitions(a: &SideEdges, b: &SideEdges) -> BTreeMap<States, u64> {
    let mut counted = BTreeMap::new();
    let both = a.seeds.iter().filter_map(|(seed, a)| Some((a.state, b.seeds.get(seed)?.state)));
    both.for_each(|states| *counted.entry(states).or_default() += 1);
    counted
}

fn listed(counted: BTreeMap<States, u64>) -> Vec<Transition> {
    counted.into_iter().map(|((a, b), seeds)| Transition { a, b, seeds }).collect()
}

/// One row; without a side that of a line without edges.
fn row(a: &LineEdges, b: &LineEdges, side: Option<Side>, identical: &Identical) -> Result<Shift, StatsError> {
    // Without edges both sides say the same.
    let at = side.unwrap_or(Side::Upper) as usize;
    let (in_a, in_b) = (&a.sides[at], &b.sides[at]);
    // Where levels at 0 take the logarithm from one run, both are compared by differences.
    let scale = if a.scale == b.scale { a.scale } else { Scale::Linear };
    let crossed = |edge: &SeedEdge| edge.state == State::Crossed;
    let pairs: Vec<Paired> = in_a
        .seeds
        .iter()
        .filter_map(|(seed, a_edge)| {
            let edges = [*a_edge, *in_b.seeds.get(seed)?];
            let same = || [a_edge.low, a_edge.high].iter().all(|level| identical.at(&a.key, *seed, *level));
            edges.iter().all(crossed).then(|| Paired { same: same(), a: edges[0], b: edges[1] })
        })
        .collect();
    let mean = (!pairs.is_empty()).then(|| mean_shift(&pairs, scale)).transpose()?;
    let counted = transitions(in_a, in_b);
    let biased =
        counted.keys().any(|states| changed(*states) && (states.0 == State::Crossed) != (states.1 == State::Crossed));
    let level = |coordinate: f64| scale.level(coordinate);
    let fits = in_a.fit.zip(in_b.fit).filter(|_| biased);
    let only = |of: &SideEdges, other: &SideEdges| {
        of.seeds.keys().filter(|seed| !other.seeds.contains_key(seed)).count() as u64
    };
    Ok(Shift {
        constraint: a.key.constraint.clone(),
        axis: a.key.axis.clone(),
        levels: a.levels.clone(),
        side,
        scale,
        seeds: pairs.len() as u64,
        level: Each { a: mean.as_ref().map(|mean| level(mean.a)), b: mean.as_ref().map(|mean| level(mean.b)) },
        shift: mean.as_ref().map(|mean| level(mean.shift)),
        interval: mean.as_ref().and_then(|mean| mean.interval).map(|ends| ends.map(level)),
        open: mean.as_ref().and_then(|mean| mean.open).map(|ends| ends.map(level)),
        transitions: listed(counted),
        seeds_only: Each { a: only(in_a, in_b), b: only(in_b, in_a) },
        biased,
        fit: Each { a: in_a.fit, b: in_b.fit },
        fit_shift: fits.map(|(a, b)| level(scale.coordinate(b) - scale.coordinate(a))),
    })
}

/// The edges of one seed that both runs cross.
struct Paired {
    a: SeedEdge,
    b: SeedEdge,
    /// Whether the cells at the ends of the bracket of `a` are those of `b`, to the bit.
    same: bool,
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

/// The mean shift of one seed or more. Equal values have exactly their mean.
fn mean_shift(pairs: &[Paired], scale: Scale) -> Result<MeanShift, StatsError> {
    let at = |level: f64| scale.coordinate(level);
    let over = |of: &dyn Fn(&Paired) -> f64| -> Result<f64, StatsError> {
        let values: Vec<f64> = pairs.iter().map(of).collect();
        let ends = values.iter().fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
        // The mean of equal values can differ from them by a rounding.
        Ok(if ends.0 == ends.1 { ends.0 } else { mean(&values)? })
    };
    let shift = |pair: &Paired| at(pair.b.level) - at(pair.a.level);
    let settled = |pair: &Paired| {
        let one_bracket = pair.a.low == pair.b.low && pair.a.high == pair.b.high;
        (pair.a.interpolated && pair.b.interpolated) || (pair.same && one_bracket && pair.a.level == pair.b.level)
    };
    let ends = |edge: &SeedEdge| if edge.interpolated { [edge.level; 2] } else { [edge.low, edge.high] }.map(at);
    let least = |pair: &Paired| if settled(pair) { shift(pair) } else { ends(&pair.b)[0] - ends(&pair.a)[1] };
    let most = |pair: &Paired| if settled(pair) { shift(pair) } else { ends(&pair.b)[1] - ends(&pair.a)[0] };
    let hull = [over(&least)?, over(&most)?];
    let mut shifts: Vec<f64> = pairs.iter().map(shift).collect();
    shifts.sort_by(f64::total_cmp);
    let interval = if shifts.len() > 1 {
        let (low, high) = mean_interval(&shifts, &mut Vec::new())?;
        Some([low.min(hull[0]), high.max(hull[1])])
    } else {
        None
    };
    Ok(MeanShift {
        a: over(&|pair| at(pair.a.level))?,
        b: over(&|pair| at(pair.b.level))?,
        shift: over(&shift)?,
        interval,
        open: (!pairs.iter().all(settled)).then_some(hull),
    })
}

/// Which cells are the same in both runs, by where they lie on lines.
struct Identical {
    /// For each axis, by the levels that a line fixes and the bits of the level on it, the combination.
    combinations: HashMap<String, HashMap<(String, u64), usize>>,
    /// Combination and seed.
    cells: BTreeSet<(usize, i64)>,
}

impl Identical {
    fn new(pairing: &Pairing, same: &[bool], paths: &[String]) -> Self {
        let there = pairing.pairs.iter().zip(same).filter(|(_, same)| **same).map(|(pair, _)| pair);
        let seed = |cell: usize| i64::try_from(pairing.a.cells[cell].config.seed).ok();
        let cells: BTreeSet<(usize, i64)> = there.filter_map(|pair| Some((pair.combination, seed(pair.a)?))).collect();
        let mut combinations: HashMap<String, HashMap<(String, u64), usize>> = HashMap::new();
        let known: BTreeSet<usize> = cells.iter().map(|(combination, _)| *combination).collect();
        for combination in known {
            let levels = pairing.levels(combination);
            for (axis, level) in &levels {
                let Some(level) = level.as_f64() else { continue };
                let zipped = pairing.a.zip.iter().find(|zip| zip.paths.contains(axis));
                let fixed = paths.iter().filter(|path| *path != axis).map(|path| {
                    let advances = zipped.is_some_and(|zip| zip.paths.contains(path));
                    levels.get(path).filter(|_| !advances).cloned().unwrap_or_default()
                });
                let of_axis = combinations.entry(axis.clone()).or_default();
                of_axis.insert((as_text(fixed), level.to_bits()), combination);
            }
        }
        Self { combinations, cells }
    }

    /// Whether the cell at a level of a line is.
    fn at(&self, line: &LineKey, seed: i64, level: f64) -> bool {
        let of_axis = self.combinations.get(&line.axis);
        let found = of_axis.and_then(|of_axis| of_axis.get(&(line.fixed.clone(), level.to_bits())));
        found.is_some_and(|combination| self.cells.contains(&(*combination, seed)))
    }
}

/// How long axes are, which makes shifts along several comparable.
struct Spans([BTreeMap<&'static str, Vec<Value>>; 2]);

impl Spans {
    fn new(pairing: &Pairing) -> Self {
        Self([levels(pairing.a), levels(pairing.b)])
    }

    /// A row with the share of its axis by which its seeds moved.
    fn weighed(&self, row: Shift) -> (f64, Shift) {
        let both = self.0.iter().filter_map(|levels| levels.get(row.axis.as_str())).flatten();
        let ends = both.filter_map(Value::as_f64).map(|level| row.scale.coordinate(level));
        let ends = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
        let states = row.transitions.iter().map(|moved| ((moved.a, moved.b), moved.seeds));
        let gone: u64 = states.filter(|(states, _)| changed(*states)).map(|(_, seeds)| seeds).sum();
        let moved = row.shift.map_or(0.0, |shift| row.scale.coordinate(shift).abs() / (ends.1 - ends.0));
        let seeds = (row.seeds + gone).max(1) as f64;
        ((moved * row.seeds as f64 + gone as f64) / seeds, row)
    }
}
