//! Conditions on a comparison that a caller wants to know to be absent: `compare --fail-on`.
//!
//! - `METRIC<NUMBER` holds where the whole interval of the mean difference `b - a` lies below the number, `METRIC>NUMBER`
//!   where it lies above; the condition is the one under which cells were trained, `METRIC@CONDITION<NUMBER` takes another.
//! - `any-change` holds unless both runs have the same cells, all finished, with the same status, the same checksums and
//!   the same value of every metric, to the bit.
//!
//! A shift over fewer than [`MIN_SEEDS`] seeds, or of a metric without a pair of values, cannot be judged. That is no all-clear.

use std::str::FromStr;

use serde::Serialize;

use super::{Comparison, Difference};
use crate::metric::descriptors;
use crate::spec::{CLEAN, LOST, MIN_SEEDS, nearest};

/// What a condition can be, for help and errors.
const FORM: &str = "write METRIC<NUMBER or METRIC>NUMBER, such as 'retrieval_at_1_i2t<-0.02', METRIC@CONDITION<NUMBER, or \
                        any-change";

const ANY_CHANGE: &str = "any-change";

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub enum FailOn {
    AnyChange,
    Shift { metric: String, condition: String, side: Side, bound: f64 },
}

/// On which side of its bound a difference is unwanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Below,
    Above,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Holds,
    DoesNotHold,
    CannotBeJudged,
}

/// The result of one condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// In its one spelling.
    pub condition: String,
    pub answer: Answer,
    /// Of `b - a`, where the condition is on it.
    pub mean: Option<f64>,
    pub interval: Option<[f64; 2]>,
    pub seeds: u64,
    /// What else there is to say.
    pub why: String,
}

impl FromStr for FailOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == ANY_CHANGE {
            return Ok(Self::AnyChange);
        }
        let wrong = |what: String| format!("{what}: {FORM}");
        let at = text.find(['<', '>']).ok_or_else(|| wrong(format!("{text:?} compares nothing")))?;
        let (name, rest) = text.split_at(at);
        let (sign, number) = rest.split_at(1);
        let bound: Option<f64> = number.trim().parse().ok().filter(|bound: &f64| bound.is_finite());
        let bound = bound.ok_or_else(|| wrong(format!("{:?} is no number", number.trim())))?;
        let (metric, condition) = name.split_once('@').unwrap_or((name, CLEAN));
        let (metric, condition) = (metric.trim(), condition.trim());
        if metric.is_empty() || condition.is_empty() {
            return Err(wrong(format!("{text:?} names no metric, or no condition after its @")));
        }
        let side = if sign == "<" { Side::Below } else { Side::Above };
        Ok(Self::Shift { metric: metric.to_string(), condition: condition.to_string(), side, bound })
    }
}

impl std::fmt::Display for FailOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AnyChange => f.write_str(ANY_CHANGE),
            Self::Shift { metric, condition, side, bound } => {
                let sign = if *side == Side::Below { '<' } else { '>' };
                let under = if condition == CLEAN { String::new() } else { format!("@{condition}") };
                write!(f, "{metric}{under}{sign}{bound}")
            }
        }
    }
}

impl FailOn {
    /// Refuses a metric that is not there, or a condition that the runs do not share. `shared` are those they do.
    ///
    /// # Errors
    /// What is wrong, with the nearest name.
    pub fn check(&self, comparison: &Comparison, shared: &[String]) -> Result<(), String> {
        let Self::Shift { metric, condition, .. } = self else { return Ok(()) };
        let measured = comparison.differences.iter().map(|row| row.metric.as_str());
        let only = comparison.metrics_only.a.iter().chain(&comparison.metrics_only.b).map(String::as_str);
        let metrics = || descriptors().map(|d| d.name).chain([LOST]);
        if !metrics().chain(measured).chain(only).any(|name| name == metric) {
            let nearest = nearest(metric, metrics());
            return Err(format!(
                "--fail-on {self}: there is no metric `{metric}`; the nearest is `{nearest}`, and `cliffline reference` lists \
                 all"
            ));
        }
        if !shared.contains(condition) {
            let names = shared.join(", ");
            return Err(format!("--fail-on {self}: the runs share no condition `{condition}`; they share {names}"));
        }
        if metric == LOST && condition != CLEAN {
            return Err(format!(
                "--fail-on {self}: `{LOST}` is of a cell and not of a condition: leave out @{condition}"
            ));
        }
        Ok(())
    }

    /// Whether it holds. `same` says of each pair whether its cells are the same to the bit, as
    /// [`Pairing::identical`](super::Pairing::identical) does.
    pub fn judge(&self, comparison: &Comparison, same: &[Option<bool>]) -> Judged {
        let condition = self.to_string();
        match self {
            Self::AnyChange => {
                let (answer, why) = any_change(comparison, same);
                Judged { condition, answer, mean: None, interval: None, seeds: 0, why }
            }
            Self::Shift { metric, condition: under, side, bound } => {
                let row = comparison.differences.iter().find(|row| row.metric == *metric && row.condition == *under);
                let (answer, why) = shift(row, *side, *bound);
                let (mean, interval) = (row.and_then(|row| row.mean), row.and_then(|row| row.interval));
                Judged { condition, answer, mean, interval, seeds: row.map_or(0, |row| row.seeds), why }
            }
        }
    }
}

fn shift(row: Option<&Difference>, side: Side, bound: f64) -> (Answer, String) {
    let Some(row) = row.filter(|row| row.pairs > 0) else {
        return (Answer::CannotBeJudged, "no pair of cells has a value in both runs".to_string());
    };
    let (Some([low, high]), true) = (row.interval, row.seeds >= MIN_SEEDS) else {
        return (Answer::CannotBeJudged, format!("it takes {MIN_SEEDS} seeds"));
    };
    let beyond = match side {
        Side::Below => high < bound,
        Side::Above => low > bound,
    };
    let answer = if beyond { Answer::Holds } else { Answer::DoesNotHold };
    match row.missing_a + row.missing_b {
        0 => (answer, String::new()),
        missing => (answer, format!("{missing} pairs have a value in one run only")),
    }
}

fn any_change(comparison: &Comparison, same: &[Option<bool>]) -> (Answer, String) {
    let outcomes = &comparison.outcomes;
    let (unpaired, differing) = (outcomes.unpaired.a + outcomes.unpaired.b, same.iter().filter(|s| **s == Some(false)));
    let moved = |row: &&Difference| row.changed + row.missing_a + row.missing_b > 0;
    let counts = [
        (unpaired, "cells are in one run only"),
        (same.iter().filter(|same| same.is_none()).count() as u64, "pairs are not finished in both"),
        (differing.count() as u64, "pairs differ in id, status or checksums"),
        (comparison.differences.iter().filter(moved).count() as u64, "metrics have other values somewhere"),
        (
            (comparison.metrics_only.a.len() + comparison.metrics_only.b.len()) as u64,
            "metrics have values in one run only",
        ),
    ];
    let found: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if found.is_empty() {
        return (Answer::DoesNotHold, format!("all {} pairs are the same to the bit", same.len()));
    }
    (Answer::Holds, found.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_and_said_in_one_spelling() {
        for (text, expected) in [
            ("any-change", "any-change"),
            ("retrieval_at_1_i2t<-0.02", "retrieval_at_1_i2t<-0.02"),
            (" alignment  > 1e-1 ", "alignment>0.1"),
            ("lost>0", "lost>0"),
            ("alignment @ noisy<.5", "alignment@noisy<0.5"),
            ("alignment@clean<2", "alignment<2"),
        ] {
            let read: FailOn = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(read.to_string(), expected);
            assert_eq!(read.to_string().parse(), Ok(read));
        }
        for text in
            ["", "alignment", "<1", "@noisy<1", "alignment@<1", "alignment<", "alignment<x", "alignment<nan", "a<1<2"]
        {
            let error = text.parse::<FailOn>().expect_err(text);
            assert!(error.ends_with(FORM), "{error}");
        }
    }

    fn row(mean: f64, interval: Option<[f64; 2]>, seeds: u64) -> Difference {
        Difference { pairs: seeds, mean: Some(mean), interval, seeds, ..Difference::none("alignment", CLEAN) }
    }

    #[test]
    fn the_whole_interval_must_lie_beyond_the_bound() {
        for (interval, side, bound, expected) in [
            ([-0.09, -0.03], Side::Below, -0.02, Answer::Holds),
            ([-0.09, -0.02], Side::Below, -0.02, Answer::DoesNotHold),
            ([-0.09, 0.01], Side::Below, 0.0, Answer::DoesNotHold),
            ([-0.09, -0.03], Side::Above, 0.0, Answer::DoesNotHold),
            ([0.03, 0.09], Side::Above, 0.02, Answer::Holds),
            ([0.02, 0.09], Side::Above, 0.02, Answer::DoesNotHold),
        ] {
            assert_eq!(
                shift(Some(&row(0.0, Some(interval), 4)), side, bound).0,
                expected,
                "{interval:?} {side:?} {bound}"
            );
        }
    }

    #[test]
    fn too_little_evidence_is_no_all_clear() {
        for short in [None, Some(&row(-5.0, None, 1)), Some(&row(-5.0, Some([-6.0, -4.0]), MIN_SEEDS - 1))] {
            assert_eq!(shift(short, Side::Below, -0.02).0, Answer::CannotBeJudged);
        }
        let enough = row(-5.0, Some([-6.0, -4.0]), MIN_SEEDS);
        assert_eq!(shift(Some(&enough), Side::Below, -0.02).0, Answer::Holds);
    }
}
