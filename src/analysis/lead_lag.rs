//! Lead and lag: which of two things breaks first on the way, and how far ahead of the other.
//!
//! The way is training, where limits on what is seen of a cell break at a step, or an axis walked from one of its ends,
//! where constraints break at a level. A run of a seed along it is one *walk*. Where something breaks is known to within a
//! range: a step is a point, and so is the place where a margin is zero; a cell that was lost has broken its constraints
//! somewhere between two levels. One leads where the ranges do not overlap, so that what levels or checks do not tell
//! apart is a tie and no lead. Something that breaks leads over what does not break on the whole walk.

use super::constraint::State;
use super::margin::Direction;
use super::trace::Trace;
use crate::numerics::interval::{median_ranks, wilson};

/// Where on one walk something breaks for the first time. Places grow along the walk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Onset {
    /// Not before `from`, which is minus infinity for what was broken when first looked at; not after `to`. `at` is the
    /// place that leads are counted from, where there is one.
    Broke { from: f64, to: f64, at: Option<f64> },
    /// It holds as far as anything is known, which is up to here.
    Never { until: f64 },
    /// Nothing is known.
    Unknown,
}

impl Onset {
    /// At exactly this place.
    pub fn point(at: f64) -> Self {
        Self::Broke { from: at, to: at, at: Some(at) }
    }

    /// At the first place that was looked at, or before.
    pub fn from_the_start(first: f64) -> Self {
        Self::Broke { from: f64::NEG_INFINITY, to: first, at: Some(first) }
    }

    /// Of the constraint that a trace is of: the first flip from holding to violating, walking its axis in a direction.
    /// Places are coordinates on the axis, negative ones where it is walked downwards.
    pub fn along(trace: &Trace, coordinates: &[f64], direction: Direction) -> Self {
        let sign = if direction == Direction::Up { 1.0 } else { -1.0 };
        let place = |rank: u32| sign * coordinates[rank as usize];
        let known = |step: &&(u32, State, _)| matches!(step.1, State::Holds | State::Violates);
        let (low, high) = (trace.steps.iter().find(known), trace.steps.iter().rev().find(known));
        let ends = [trace.steps.first(), trace.steps.last()];
        let (Some(low), Some(high), [Some(lowest), Some(highest)]) = (low, high, ends) else { return Self::Unknown };
        let (begin, first, last) = if direction == Direction::Up { (lowest, low, high) } else { (highest, high, low) };
        if first.1 == State::Violates {
            return Self::Broke { from: f64::NEG_INFINITY, to: place(first.0), at: None };
        }
        // What is not known to hold at the beginning may have been broken there; between levels at which it holds, it is
        // taken to hold, as everywhere.
        if begin.0 != first.0 {
            return Self::Unknown;
        }
        let flip = match direction {
            Direction::Up => trace.flips.iter().find(|flip| flip.holds_below),
            Direction::Down => trace.flips.iter().rev().find(|flip| !flip.holds_below),
        };
        let Some(flip) = flip else { return Self::Never { until: place(last.0) } };
        if flip.interpolated {
            return Self::point(sign * flip.at);
        }
        let (one, other) = (place(flip.below), place(flip.above));
        Self::Broke { from: one.min(other), to: one.max(other), at: Some(sign * flip.at) }
    }

    fn at(self) -> Option<f64> {
        match self {
            Self::Broke { at, .. } => at,
            Self::Never { .. } | Self::Unknown => None,
        }
    }

    fn broke(self) -> bool {
        matches!(self, Self::Broke { .. })
    }

    fn broke_from_the_start(self) -> bool {
        matches!(self, Self::Broke { from: f64::NEG_INFINITY, .. })
    }
}

/// Which of two breaks first on one walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    First,
    Second,
    /// Both break, and what is known does not tell which is earlier.
    Tie,
    Neither,
    /// One breaks, and whether the other broke before it is not known; or nothing is known of either.
    Unknown,
}

impl Order {
    /// The order of two onsets on the same walk.
    pub fn of(first: Onset, second: Onset) -> Self {
        let range = |onset: Onset| match onset {
            Onset::Broke { from, to, .. } => Some((from, to)),
            Onset::Never { until } => Some((until, f64::INFINITY)),
            Onset::Unknown => None,
        };
        let (Some(a), Some(b)) = (range(first), range(second)) else { return Self::Unknown };
        // Two points that are equal touch, and so do two neighbouring gaps; the former are not told apart.
        let before = |a: (f64, f64), b: (f64, f64)| a.1 <= b.0 && a.0 < b.1;
        match (first.broke(), second.broke()) {
            (false, false) => Self::Neither,
            (true, _) if before(a, b) => Self::First,
            (_, true) if before(b, a) => Self::Second,
            (true, true) => Self::Tie,
            _ => Self::Unknown,
        }
    }
}

/// How two things that break stand to each other over walks. The number of walks is the sum of leads, ties, neither and
/// unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LeadLag {
    pub walks: u64,
    /// Walks on which both break at a place that is known; the median is over them.
    pub both: u64,
    pub first_leads: u64,
    pub second_leads: u64,
    pub ties: u64,
    pub neither: u64,
    pub unknown: u64,
    /// Of the leads of the first, and of the second, those of what is broken when first looked at.
    pub leads_from_the_start: [u64; 2],
    /// Place of the second less that of the first, 0 for a tie: positive where the first leads.
    pub median_lead: Option<f64>,
    /// The median's 95% interval between order statistics; none for fewer than six, and where walks depend on each other.
    pub median_interval: Option<(f64, f64)>,
    /// Wilson's 95% interval of the share of the first; none without a lead, and where walks depend on each other.
    pub share_interval: Option<(f64, f64)>,
}

impl LeadLag {
    /// Counts pairs of onsets, each pair of one walk; `independent` where walks are, which intervals need.
    ///
    /// **Returns** counts; the share of the walks with a lead on which the first has it, from 0 to 1; the lead in the unit
    /// of the places.
    /// **Numerics** a lead that ranges leave open is between the best guesses. The median is over walks on which both
    /// break, so one that breaks seldom is judged by the walks on which it does.
    /// **Source** Wilson 1927; Conover 1999, section 3.2.
    ///
    /// ```
    /// use cliffline::analysis::lead_lag::{LeadLag, Onset};
    /// let (early, late) = (Onset::point(100.0), Onset::point(250.0));
    /// let found = LeadLag::new([(early, late), (early, early), (early, Onset::Never { until: 600.0 })], true);
    /// assert_eq!((found.both, found.first_leads, found.ties, found.median_lead), (2, 2, 1, Some(75.0)));
    /// ```
    pub fn new(walks: impl IntoIterator<Item = (Onset, Onset)>, independent: bool) -> Self {
        let (mut counted, mut leads) = (Self::default(), Vec::new());
        for (first, second) in walks {
            let order = Order::of(first, second);
            counted.walks += 1;
            *match order {
                Order::First => &mut counted.first_leads,
                Order::Second => &mut counted.second_leads,
                Order::Tie => &mut counted.ties,
                Order::Neither => &mut counted.neither,
                Order::Unknown => &mut counted.unknown,
            } += 1;
            let led = [(Order::First, first), (Order::Second, second)];
            for (count, (leads, onset)) in counted.leads_from_the_start.iter_mut().zip(led) {
                *count += u64::from(order == leads && onset.broke_from_the_start());
            }
            let lead = first.at().zip(second.at()).map(|(first, second)| second - first);
            leads.extend(lead.map(|lead| if order == Order::Tie { 0.0 } else { lead }));
        }
        counted.both = leads.len() as u64;
        leads.sort_by(f64::total_cmp);
        let n = leads.len();
        counted.median_lead = (n > 0).then(|| (leads[(n - 1) / 2] + leads[n / 2]) / 2.0);
        if independent {
            counted.median_interval = median_ranks(n).map(|(low, high)| (leads[low], leads[high]));
            counted.share_interval = wilson(counted.first_leads, counted.decided()).ok();
        }
        counted
    }

    /// Walks on which one leads.
    pub fn decided(&self) -> u64 {
        self.first_leads + self.second_leads
    }

    /// The share of the first among them.
    pub fn share(&self) -> Option<f64> {
        (self.decided() > 0).then(|| self.first_leads as f64 / self.decided() as f64)
    }

    /// Whether there is anything to say: something broke on one of the walks.
    pub fn is_of_note(&self) -> bool {
        self.decided() + self.ties > 0
    }
}

#[cfg(test)]
mod tests;
