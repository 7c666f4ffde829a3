//! One seed along one line: where a constraint holds, where it breaks, and what lies beyond the levels that were tried.

use super::constraint::{Constraint, Constraints, State};
use super::line::Lines;

/// A change between two neighbouring levels at which the outcome is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flip {
    /// Rank of the lower level on the axis.
    pub below: u32,
    pub above: u32,
    pub holds_below: bool,
    /// Where in between, on the scale of the axis: where the margin, changing linearly, is zero; else the middle.
    pub at: f64,
    pub interpolated: bool,
}

/// One end of the levels at which a constraint holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edge {
    Crossed(Flip),
    /// It holds as far as levels were tried; the last of them, by rank.
    Beyond(u32),
    /// It holds nowhere: the ranks of the lowest and highest level that are known.
    NeverHolds(u32, u32),
    /// Nothing is known.
    Unknown,
}

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Below it the constraint is violated.
    Lower,
    /// Above it the constraint is violated.
    Upper,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Lower, Self::Upper];

    /// The word of tables and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Upper => "upper",
        }
    }
}

/// A level of a seed: its rank, what came out, and its row.
pub type Step = (u32, State, u32);

/// The outcomes of one seed on one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    pub seed: i64,
    /// The levels of the seed that are judged, ascending.
    pub steps: Vec<Step>,
    /// Ascending.
    pub flips: Vec<Flip>,
    /// Of the widest run of levels at which the constraint holds; of equals the lowest.
    edges: [Edge; 2],
}

impl Trace {
    /// The trace of the seed that the rows are of.
    pub fn new(lines: &Lines<'_>, rows: &[u32], constraints: &Constraints, of: &Constraint) -> Self {
        let step = |row: &u32| {
            let state = constraints.state(of, *row);
            (state != State::NotJudged).then_some((lines.rank(*row), state, *row))
        };
        let steps: Vec<Step> = rows.iter().filter_map(step).collect();
        let along = &lines.along().coordinates;
        let flips = flips(&steps, along, |holds, violates| constraints.way(of, holds, violates));
        let edges = edges(&steps, &flips, along);
        Self { seed: rows.first().map_or(0, |row| lines.seed(*row)), steps, flips, edges }
    }

    pub fn edge(&self, side: Side) -> Edge {
        self.edges[side as usize]
    }

    /// Flips that are not an edge of the widest run.
    pub fn other_flips(&self) -> impl Iterator<Item = &Flip> {
        self.flips.iter().filter(|flip| !self.edges.contains(&Edge::Crossed(**flip)))
    }

    /// Levels at which the outcome is unknown.
    pub fn unknown(&self) -> u64 {
        self.steps.iter().filter(|step| step.1 == State::Unknown).count() as u64
    }
}

type Known = (u32, bool, u32);

fn known(steps: &[Step]) -> impl Iterator<Item = Known> {
    steps.iter().filter_map(|(rank, state, row)| match state {
        State::Holds => Some((*rank, true, *row)),
        State::Violates => Some((*rank, false, *row)),
        State::Unknown | State::NotJudged => None,
    })
}

fn flips(steps: &[Step], along: &[f64], way: impl Fn(u32, u32) -> Option<f64>) -> Vec<Flip> {
    let mut flips = Vec::new();
    let mut before: Option<Known> = None;
    for here in known(steps) {
        if let Some(low) = before.filter(|low| low.1 != here.1) {
            let (holds, violates) = if low.1 { (low, here) } else { (here, low) };
            let way = way(holds.2, violates.2);
            let (from, to) = (along[holds.0 as usize], along[violates.0 as usize]);
            let at = from + (to - from) * way.unwrap_or(0.5);
            flips.push(Flip { below: low.0, above: here.0, holds_below: low.1, at, interpolated: way.is_some() });
        }
        before = Some(here);
    }
    flips
}

fn edges(steps: &[Step], flips: &[Flip], along: &[f64]) -> [Edge; 2] {
    let (Some(first), Some(last)) = (known(steps).next(), known(steps).last()) else { return [Edge::Unknown; 2] };
    // Between two flips the outcome is the same; runs alternate.
    let mut ends: Vec<f64> = vec![along[first.0 as usize]];
    ends.extend(flips.iter().map(|flip| flip.at));
    ends.push(along[last.0 as usize]);
    let holding = (0..=flips.len()).filter(|run| first.1 == (run % 2 == 0));
    let width = |run: usize| ends[run + 1] - ends[run];
    let Some(main) = holding.reduce(|best, run| if width(run) > width(best) { run } else { best }) else {
        return [Edge::NeverHolds(first.0, last.0); 2];
    };
    let flip = |at: Option<usize>| at.and_then(|at| flips.get(at)).map(|flip| Edge::Crossed(*flip));
    [flip(main.checked_sub(1)).unwrap_or(Edge::Beyond(first.0)), flip(Some(main)).unwrap_or(Edge::Beyond(last.0))]
}
