//! Margins: the largest strength at which a constraint still holds.
//!
//! A margin is counted from one end of an axis, the lowest level or the highest, as far as the constraint holds without
//! a break: what comes back beyond a violation is no margin. It is a level that was tried, so it is never beyond what is
//! known; where the verdict changes between two levels is a [boundary](super::boundary).

use super::constraint::{Constraint, Constraints, State};
use super::gate::Verdict;
use super::line::{Line, Lines};
use super::trace::Trace;
use crate::numerics::interval::median_ranks;

/// From which end of the axis a margin is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the lowest level: how far it can be raised.
    Up,
    /// From the highest.
    Down,
}

impl Direction {
    pub const BOTH: [Self; 2] = [Self::Up, Self::Down];

    /// The word of tables and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Why a margin is not a level between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Censored {
    /// It is: the next level violates the constraint.
    No,
    /// The constraint holds at every level that was tried: the margin is at least the last.
    NeverReached,
    /// It is violated at the first level already: there is no margin.
    AlwaysViolated,
    /// The next level has no outcome: the margin is at least this.
    MissingEvidence,
}

impl Censored {
    /// The word of tables and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::NeverReached => "never_reached",
            Self::AlwaysViolated => "always_violated",
            Self::MissingEvidence => "missing_evidence",
        }
    }
}

/// How far a constraint holds from one end of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Rank of the last level before the first that does not hold.
    pub margin: Option<u32>,
    /// Rank of the first that does not.
    pub next: Option<u32>,
    pub censored: Censored,
    /// Whether it holds again at a level beyond.
    pub holds_again: bool,
    /// The lowest and the highest rank of the widest run of neighbouring levels at which it holds; of equals the lowest.
    pub run: Option<(u32, u32)>,
}

impl Reach {
    /// Of `levels` that are judged, ascending, counted from the end that a direction begins with; none without a level.
    /// `along` has the coordinates of ranks.
    fn new(levels: &[(u32, State)], direction: Direction, along: &[f64]) -> Option<Self> {
        let levels: Vec<(u32, State)> = levels.iter().copied().filter(|level| level.1 != State::NotJudged).collect();
        let mut reach = Self {
            margin: None,
            next: None,
            censored: Censored::NeverReached,
            holds_again: false,
            run: widest_run(&levels, along),
        };
        let mut step = |(rank, state): (u32, State)| match (reach.next, state) {
            (None, State::Holds) => reach.margin = Some(rank),
            (None, State::Violates) => {
                reach.next = Some(rank);
                reach.censored = if reach.margin.is_some() { Censored::No } else { Censored::AlwaysViolated };
            }
            (None, _) => {
                reach.next = Some(rank);
                reach.censored = Censored::MissingEvidence;
            }
            (Some(_), _) => reach.holds_again |= state == State::Holds,
        };
        match direction {
            Direction::Up => levels.iter().copied().for_each(&mut step),
            Direction::Down => levels.iter().rev().copied().for_each(&mut step),
        }
        (!levels.is_empty()).then_some(reach)
    }
}

fn widest_run(levels: &[(u32, State)], along: &[f64]) -> Option<(u32, u32)> {
    let runs = levels.chunk_by(|a, b| a.1 == b.1).filter(|run| run[0].1 == State::Holds);
    let ends = runs.filter_map(|run| Some((run.first()?.0, run.last()?.0)));
    let width = |(low, high): (u32, u32)| along[high as usize] - along[low as usize];
    ends.reduce(|best, run| if width(run) > width(best) { run } else { best })
}

/// The margins of the seeds of a line, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AcrossSeeds {
    pub seeds: u64,
    pub never_reached: u64,
    pub always_violated: u64,
    pub missing_evidence: u64,
    /// Ranks of the least, the median and the greatest margin, and the ends of the median's 95% interval; none where it
    /// lies beyond the levels that were tried, and the interval's for fewer than six seeds.
    pub least: Option<u32>,
    pub median: Option<u32>,
    pub greatest: Option<u32>,
    pub interval: (Option<u32>, Option<u32>),
}

impl AcrossSeeds {
    fn new(reaches: &[Reach], direction: Direction) -> Self {
        let count = |censored: Censored| reaches.iter().filter(|reach| reach.censored == censored).count() as u64;
        let mut across = Self {
            seeds: reaches.len() as u64,
            never_reached: count(Censored::NeverReached),
            always_violated: count(Censored::AlwaysViolated),
            missing_evidence: count(Censored::MissingEvidence),
            ..Self::default()
        };
        // From no margin at all to one beyond the last level. A margin that ends for want of evidence counts as it is,
        // which can only be too little.
        let mut order: Vec<(i64, Option<u32>)> = reaches
            .iter()
            .map(|reach| match (reach.censored, reach.margin) {
                (Censored::NeverReached, _) => (i64::MAX, None),
                (_, None) => (i64::MIN, None),
                (_, Some(rank)) => (if direction == Direction::Up { 1 } else { -1 } * i64::from(rank), Some(rank)),
            })
            .collect();
        order.sort_by_key(|(place, _)| *place);
        let at = |index: usize| order.get(index).and_then(|(_, rank)| *rank);
        across.least = at(0);
        across.greatest = order.last().and_then(|(_, rank)| *rank);
        // Of an even number the lower of the two in the middle: a level that was tried.
        across.median = at(order.len().saturating_sub(1) / 2);
        if let Some((low, high)) = median_ranks(order.len()) {
            across.interval = (at(low), at(high));
        }
        across
    }
}

/// The margins of one constraint on one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Margins {
    pub direction: Direction,
    /// Of each seed that is judged, by seed.
    pub seeds: Vec<(i64, Reach)>,
    pub across: AcrossSeeds,
    /// As far as the verdict of the gates is a pass: over their shares of the seeds, with evidence enough.
    pub gates: Reach,
}

/// The margins of one constraint on one line, in both directions; none where no gate of it covers the line.
pub fn margins(
    lines: &Lines<'_>,
    line: &Line<'_>,
    traces: &[Trace],
    constraints: &Constraints,
    of: &Constraint,
) -> Vec<Margins> {
    // By level, then seed.
    let mut by_level = line.rows.to_vec();
    by_level.sort_by_key(|row| lines.rank(*row));
    let verdict = |here: &[u32]| {
        let missing = (line.by_seed.len() - here.len()) as u64;
        let state = match constraints.verdict(of, here, missing) {
            Some(Verdict::Pass) => State::Holds,
            Some(Verdict::Fail) => State::Violates,
            Some(Verdict::InsufficientEvidence) => State::Unknown,
            None => State::NotJudged,
        };
        (lines.rank(here[0]), state)
    };
    let verdicts: Vec<(u32, State)> = by_level.chunk_by(|a, b| lines.rank(*a) == lines.rank(*b)).map(verdict).collect();
    let along = &lines.along().coordinates;
    let in_direction = |direction: Direction| {
        let seed = |trace: &Trace| {
            let steps: Vec<(u32, State)> = trace.steps.iter().map(|step| (step.0, step.1)).collect();
            Some((trace.seed, Reach::new(&steps, direction, along)?))
        };
        let seeds: Vec<(i64, Reach)> = traces.iter().filter_map(seed).collect();
        let reaches: Vec<Reach> = seeds.iter().map(|(_, reach)| *reach).collect();
        let gates = Reach::new(&verdicts, direction, along)?;
        Some(Margins { direction, across: AcrossSeeds::new(&reaches, direction), seeds, gates })
    };
    Direction::BOTH.into_iter().filter_map(in_direction).collect()
}
