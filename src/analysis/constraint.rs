//! Constraints at the rows of a table: each gate of a sweep, that no cell is lost, and all gates together.

use polars_core::prelude::{DataFrame, PolarsResult};
use serde_json::Value;

use super::gate::{Seeds, Verdict};
use super::line::Places;
use super::outcome::{Seen, outcomes};
use crate::spec::{ALL_GATES, Gate, LOST, constraints_of};

/// Whether a cell keeps a constraint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Holds,
    Violates,
    /// Its metric is undefined though its training went well, or it is not finished.
    Unknown,
    /// No gate of the constraint covers it.
    NotJudged,
}

/// One gate at every row of a table.
struct Judged {
    gate: Gate,
    states: Vec<State>,
    /// How far inside the bounds, in the metric's unit; NaN without a value, and of what is only yes or no.
    margins: Vec<f64>,
}

/// A constraint: one gate, or several that must hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    pub name: String,
    members: Vec<usize>,
}

/// The constraints of a run at the rows of its table of cells.
pub struct Constraints {
    judged: Vec<Judged>,
    pub all: Vec<Constraint>,
}

impl Constraints {
    /// Judges every row of `cells` by each gate, by the implied gate that nothing is lost where no gate asks for that,
    /// and by all gates of the sweep together where there are two or more.
    ///
    /// # Errors
    /// A column of another type than the tables have.
    pub fn new(gates: &[Gate], cells: &DataFrame, conditions: &DataFrame, places: &Places) -> PolarsResult<Self> {
        let judge = |gate: Gate| -> PolarsResult<Judged> {
            let seen = outcomes(&gate, cells, conditions)?;
            let covered = places.covered(&gate);
            let state = |(seen, covered): (&Seen<'_>, &bool)| match seen {
                _ if !covered => State::NotJudged,
                Seen::Value(value) if gate.margin(*value) >= 0.0 => State::Holds,
                Seen::Value(_) | Seen::Lost(_) => State::Violates,
                Seen::Unfinished | Seen::Undefined => State::Unknown,
            };
            let margin = |seen: &Seen<'_>| match seen {
                Seen::Value(value) if gate.metric != LOST => gate.margin(*value),
                _ => f64::NAN,
            };
            let states = seen.iter().zip(&covered).map(state).collect();
            let margins = seen.iter().map(margin).collect();
            Ok(Judged { gate, states, margins })
        };
        let judged = constraints_of(gates).into_iter().map(judge).collect::<PolarsResult<Vec<_>>>()?;
        let single =
            |(member, judged): (usize, &Judged)| Constraint { name: judged.gate.name.clone(), members: vec![member] };
        let mut all: Vec<Constraint> = judged.iter().enumerate().map(single).collect();
        if gates.len() > 1 {
            all.insert(0, Constraint { name: ALL_GATES.to_string(), members: (0..gates.len()).collect() });
        }
        Ok(Self { judged, all })
    }

    /// The constraint of this name.
    pub fn find(&self, name: &str) -> Option<&Constraint> {
        self.all.iter().find(|constraint| constraint.name == name)
    }

    /// Whether the cell of a row keeps a constraint: not when one gate is violated, and nobody knows while one is unknown.
    pub fn state(&self, constraint: &Constraint, row: u32) -> State {
        let states = || constraint.members.iter().map(|member| self.judged[*member].states[row as usize]);
        let any = |state: State| states().any(|other| other == state);
        [State::Violates, State::Unknown, State::Holds].into_iter().find(|s| any(*s)).unwrap_or(State::NotJudged)
    }

    /// How far from the cell that holds to the one that violates the constraint breaks, as a share of the way, where
    /// the margins of the gates that break change linearly on it; the first to break decides. None where one that breaks
    /// has no margin at either end.
    pub fn way(&self, constraint: &Constraint, holds: u32, violates: u32) -> Option<f64> {
        let broken = constraint.members.iter().map(|member| &self.judged[*member]);
        let broken = broken.filter(|judged| judged.states[violates as usize] == State::Violates);
        let way = |judged: &Judged| {
            let (inside, outside) = (judged.margins[holds as usize], judged.margins[violates as usize]);
            (inside >= 0.0 && outside < 0.0).then(|| inside / (inside - outside))
        };
        broken.map(way).try_fold(1.0f64, |least, way| Some(least.min(way?)))
    }

    /// Whether a gate of a constraint can judge a level of an axis.
    pub fn may_cover(&self, constraint: &Constraint, path: &str, level: &Value) -> bool {
        constraint.members.iter().any(|member| Places::may_cover(&self.judged[*member].gate, path, level))
    }

    /// The verdict on a constraint over the cells of some rows, one per seed; none when no gate of it judges them.
    pub fn verdict(&self, constraint: &Constraint, rows: &[u32]) -> Option<Verdict> {
        let judge = |judged: &Judged| {
            let mut seeds = Seeds::default();
            for state in rows.iter().map(|row| judged.states[*row as usize]).filter(|s| *s != State::NotJudged) {
                seeds.planned += 1;
                *match state {
                    State::Holds => &mut seeds.hold,
                    State::Violates => &mut seeds.outside,
                    State::Unknown | State::NotJudged => &mut seeds.undefined,
                } += 1;
            }
            (seeds.planned > 0).then(|| seeds.judge(judged.gate.share, judged.gate.min_seeds).0)
        };
        constraint.members.iter().filter_map(|member| judge(&self.judged[*member])).min()
    }
}
