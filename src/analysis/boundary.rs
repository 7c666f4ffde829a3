//! Boundaries: where a constraint flips along an axis, for each seed and across seeds.
//!
//! A boundary is an end of the widest run of levels at which the constraint holds: its `lower` edge, below which it is
//! violated, or its `upper` edge. Across seeds there are two estimates. The **mean** of the seeds' edges takes each where
//! the margin of its gate, changing linearly between two neighbouring levels, is zero, or in the middle between them where
//! there is no margin (a cell was lost). Its interval is a bootstrap over seeds, and at least from the mean of the levels
//! below the edges to that of the levels above: that margins change linearly is an assumption, and between distant levels
//! a wrong one. In the collapse sweep, interpolated edges were off by several times what differs between seeds, once
//! levels were added between them. The mean is there when every seed has its edge within the levels that were tried. The **fit**
//! assumes no margins and tolerates censored seeds: edges of seeds follow a logistic distribution along the axis, of
//! which each seed shows the levels between which its own lies.

use super::line::Lines;
use super::trace::{Edge, Side, Trace};
use crate::numerics::bootstrap::mean_interval;
use crate::numerics::stats::{StatsError, mean};
use crate::numerics::threshold::{Bracket, ThresholdFit, fit_thresholds};

/// How the seeds of a line stand at one side; `seeds` is the sum of the next four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub seeds: u64,
    pub crossed: u64,
    /// The constraint holds as far as levels were tried.
    pub beyond: u64,
    pub never_holds: u64,
    pub unknown: u64,
    /// Flips elsewhere than at the ends of the widest runs.
    pub other_flips: u64,
    /// Levels of seeds at which the outcome is unknown.
    pub unknown_levels: u64,
}

/// The mean edge over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanEdge {
    /// Coordinates on the axis.
    pub at: f64,
    /// None for one seed.
    pub interval: Option<(f64, f64)>,
    /// Means of the levels on either side of the seeds' edges.
    pub bracket: (f64, f64),
}

/// One edge of one constraint on one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Boundary {
    pub side: Side,
    pub counts: Counts,
    pub mean: Option<MeanEdge>,
    /// None without a single seed whose edge was crossed, where levels do not tell seeds apart, and where seeds without an
    /// edge belong to neither end.
    pub fit: Option<ThresholdFit>,
}

/// The boundary at one side of a line, from the traces of its seeds.
///
/// # Errors
/// Coordinates that are not finite.
pub fn boundary(lines: &Lines<'_>, traces: &[Trace], side: Side) -> Result<Boundary, StatsError> {
    let along = &lines.along().coordinates;
    let at = |rank: u32| along[rank as usize];
    let mut counts = Counts { seeds: traces.len() as u64, ..Counts::default() };
    let two_sided =
        traces.iter().any(|trace| matches!(Side::BOTH.map(|s| trace.edge(s)), [Edge::Crossed(_), Edge::Crossed(_)]));
    let (mut edges, mut brackets, mut undecided) = (Vec::new(), Vec::new(), false);
    for trace in traces {
        counts.other_flips += trace.other_flips().count() as u64;
        counts.unknown_levels += trace.unknown();
        let open = match (trace.edge(side), side) {
            (Edge::Crossed(flip), _) => {
                counts.crossed += 1;
                edges.push(flip);
                Bracket { low: Some(at(flip.below)), high: Some(at(flip.above)) }
            }
            (Edge::Beyond(last), Side::Upper) => {
                counts.beyond += 1;
                Bracket { low: Some(at(last)), high: None }
            }
            (Edge::Beyond(first), Side::Lower) => {
                counts.beyond += 1;
                Bracket { low: None, high: Some(at(first)) }
            }
            (Edge::NeverHolds(first, last), _) => {
                counts.never_holds += 1;
                // Where runs have two ends, one that has closed has none.
                undecided |= two_sided;
                match side {
                    Side::Upper => Bracket { low: None, high: Some(at(first)) },
                    Side::Lower => Bracket { low: Some(at(last)), high: None },
                }
            }
            (Edge::Unknown, _) => {
                counts.unknown += 1;
                continue;
            }
        };
        brackets.push(open);
    }
    let mean = if counts.crossed > 0 && counts.crossed == counts.seeds - counts.unknown {
        Some(mean_edge(&edges, at)?)
    } else {
        None
    };
    // A scale of 0: the levels do not tell seeds apart, and where between them the median lies is arbitrary.
    let told_apart = |fit: &ThresholdFit| fit.scale > 0.0;
    let fit = (counts.crossed > 0 && !undecided).then(|| fit_thresholds(&brackets).ok().filter(told_apart)).flatten();
    Ok(Boundary { side, counts, mean, fit })
}

fn mean_edge(flips: &[super::trace::Flip], at: impl Fn(u32) -> f64) -> Result<MeanEdge, StatsError> {
    let mut places: Vec<f64> = flips.iter().map(|flip| flip.at).collect();
    places.sort_by(f64::total_cmp);
    let of = |end: &dyn Fn(&super::trace::Flip) -> f64| mean(&flips.iter().map(end).collect::<Vec<_>>());
    let bracket = (of(&|flip| at(flip.below))?, of(&|flip| at(flip.above))?);
    let interval = if places.len() > 1 {
        let (low, high) = mean_interval(&places, &mut Vec::new())?;
        Some((low.min(bracket.0), high.max(bracket.1)))
    } else {
        None
    };
    Ok(MeanEdge { at: mean(&places)?, interval, bracket })
}
