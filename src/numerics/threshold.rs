//! How thresholds are distributed of which each is known only to within a bracket: where along an axis samples stop
//! holding, when each was tried at some levels.

mod likelihood;
#[cfg(test)]
mod tests;

use super::interval::student_975;
use likelihood::{Likelihood, split, split_beyond};

/// Fewest thresholds of which a location and a scale are estimated.
const FEWEST: usize = 3;

/// An interval's end is infinite if it is farther from the location than this many times the range of the brackets'
/// ends: nothing in the sample speaks about such levels.
const FARTHEST: f64 = 1e9;

/// Log-likelihood to which an interval's end is found, of the about two by which it lies below the maximum.
const DROP: f64 = 1e-9;

/// The search for an interval's end goes at most this many times as far as before.
const STRIDE: f64 = 8.0;

/// Evaluations of the profile in search of an interval's end: bisection alone halves [`FARTHEST`] down to rounding.
const TRIALS: usize = 100;

/// Where one threshold lies: above `low`, at most `high`; `None` where that side was not seen. Both the same where the
/// threshold itself is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bracket {
    pub low: Option<f64>,
    pub high: Option<f64>,
}

impl Bracket {
    fn is_exact(&self) -> bool {
        self.low.is_some() && self.low == self.high
    }
}

/// Why a sample of brackets has no fit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ThresholdError {
    #[error("needs at least {needed} thresholds, got {got}")]
    TooFew { got: usize, needed: usize },
    #[error("threshold {index} must lie between two finite levels in ascending order or beside one, got {bracket:?}")]
    Bracket { index: usize, bracket: Bracket },
    #[error("levels from {0} to {1} are too far apart for their difference to be a number")]
    TooFar(f64, f64),
    #[error(
        "steps between levels are lost to rounding beside the range of the levels: they do not tell where the thresholds lie"
    )]
    NotTold,
    #[error("no threshold has an upper end: all lie above levels of up to {0}")]
    AllAbove(f64),
    #[error("no threshold has a lower end: all lie below levels from {0} on")]
    AllBelow(f64),
    #[error("no threshold has two ends, and levels crossed are on average no higher than levels not crossed")]
    NoRise,
}

/// A logistic distribution of thresholds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThresholdFit {
    /// The median, in the unit of the levels.
    pub location: f64,
    /// The slope's inverse, in the unit of the levels: the standard deviation is pi / sqrt(3) times it. 0 where the
    /// brackets do not tell the thresholds apart.
    pub scale: f64,
    /// The lower end of the location's 95% interval; negative infinity where the sample gives none.
    pub location_low: f64,
    /// The upper end of the location's 95% interval; infinity where the sample gives none.
    pub location_high: f64,
    /// At the maximum; with density in place of probability for exact values. Infinite where all thresholds are one.
    pub log_likelihood: f64,
    /// The probability of a threshold at or below the location: one half, but at a step on a level tried what was seen.
    pub probability_at_location: f64,
}

impl ThresholdFit {
    /// The probability of a threshold at or below `x`: where crossing means violation, the share of samples in
    /// violation at `x`. A step at the location if the scale is zero.
    pub fn probability(&self, x: f64) -> f64 {
        if x == self.location {
            return self.probability_at_location;
        }
        // A scale of zero leads to either infinity, and so to zero or one.
        1.0 / (1.0 + libm::exp((self.location - x) / self.scale))
    }
}

/// The logistic distribution of thresholds that are known to within brackets, by maximum likelihood, with a 95%
/// interval for its location from the profile likelihood.
///
/// **Shapes** `brackets` `[n]`, n >= 3, one per sample; in any order.
/// **Returns** the fit; levels in the unit of the brackets. The interval holds the location, and may reach to infinity.
/// If all brackets share some levels, the likelihood is greatest for a step anywhere among those: the scale is zero
/// and the location in their middle. If they only meet, it is greatest as the scale goes to zero there. A single exact
/// value among brackets that all hold it says nothing of the scale, yet its density would grow beyond bounds: it then
/// counts as known to within what the others share. If two or more are the same and in all brackets, they are the
/// location and the interval.
/// **Errors** fewer than three brackets; one that is empty, endless or not finite; all open to the same side; all open
/// to one side, with those below not below those above; levels so far apart that their difference is not finite
/// ([`ThresholdError::TooFar`]); steps between levels that rounding loses beside their range
/// ([`ThresholdError::NotTold`]).
/// **Numerics** Newton's method on a concave function, and safeguarded root-finding on a profile that falls on either
/// side; ends to 1e-9 of log-likelihood. The interval is where the profile is within m / 2 log(1 + t^2 / (m - 1)) of
/// its maximum, t the 97.5% quantile of Student's distribution with m - 1 degrees of freedom and m the number of
/// brackets, less all but one of those that share a level, but at least 3: exact for the mean of normal values that
/// are known, about right here. With 8, 16 and 32 logistic or normal thresholds on a grid it covers the median at 93.7
/// to 97.2% where the steps are up to one standard deviation, at 94.2 to 100% where they are up to three. Chi-square's
/// 3.84 / 2 for all n, to which it tends, covers at 90 to 95% and 89 to 99%.
/// **Source** Turnbull 1976, "The empirical distribution function with arbitrarily grouped, censored and truncated
/// data"; Venzon and Moolgavkar 1988, "A method for computing profile-likelihood-based confidence intervals"; Pratt
/// 1981, "Concavity of the log likelihood".
///
/// ```
/// use cliffline::numerics::threshold::{Bracket, fit_thresholds};
/// let bracket = |low, high| Bracket { low: Some(low), high: Some(high) };
/// let sample = [bracket(0.0, 1.0), bracket(1.0, 2.0), bracket(1.0, 2.0), bracket(2.0, 3.0)];
/// let fit = fit_thresholds(&sample).unwrap();
/// assert!((fit.location - 1.5).abs() < 1e-9 && fit.location_low > 0.0 && fit.location_high < 3.0);
/// assert!((fit.probability(1.0) - 0.2).abs() < 0.1);
/// ```
pub fn fit_thresholds(brackets: &[Bracket]) -> Result<ThresholdFit, ThresholdError> {
    let n = brackets.len();
    if n < FEWEST {
        return Err(ThresholdError::TooFew { got: n, needed: FEWEST });
    }
    if let Some((index, bracket)) = brackets.iter().enumerate().find(|(_, bracket)| !is_valid(bracket)) {
        return Err(ThresholdError::Bracket { index, bracket: *bracket });
    }
    let (least, greatest) = range(brackets);
    if !(greatest - least).is_finite() {
        return Err(ThresholdError::TooFar(least, greatest));
    }
    let drop = critical_drop(brackets);
    let (low, high) = shared(brackets);
    if low > high {
        return fit_spread(brackets, drop);
    }
    let mut exact = brackets.iter().filter(|bracket| bracket.is_exact());
    match (exact.next(), exact.next()) {
        (Some(_), Some(_)) => held(ThresholdFit {
            location: low,
            scale: 0.0,
            location_low: low,
            location_high: low,
            log_likelihood: f64::INFINITY,
            probability_at_location: 0.5,
        }),
        (Some(_), None) => {
            let mut others: Vec<Bracket> = brackets.iter().filter(|bracket| !bracket.is_exact()).copied().collect();
            let (low, high) = shared(&others);
            if low < high {
                let finite = |x: f64| Some(x).filter(|x| x.is_finite());
                others.push(Bracket { low: finite(low), high: finite(high) });
            }
            fit_step(&others, drop)
        }
        (None, _) => fit_step(brackets, drop),
    }
}

fn is_valid(bracket: &Bracket) -> bool {
    let finite = |end: Option<f64>| end.is_none_or(f64::is_finite);
    let ordered = match (bracket.low, bracket.high) {
        (Some(low), Some(high)) => low <= high,
        (low, high) => low.is_some() || high.is_some(),
    };
    ordered && finite(bracket.low) && finite(bracket.high)
}

/// How far below its maximum the profile is at the ends of a 95% interval.
///
/// As for the mean of as many normal values as brackets there are, less those that share a level with one counted
/// already: they say little of the scale. Without that, 32 brackets as wide as three standard deviations cover at 90%.
fn critical_drop(brackets: &[Bracket]) -> f64 {
    let n = (brackets.len() + 1 - most_shared(brackets).max(1)).max(FEWEST);
    let (t, degrees) = (student_975(n - 1), (n - 1) as f64);
    n as f64 / 2.0 * libm::log1p(t * t / degrees)
}

/// The most brackets that share levels; exact values are not counted.
fn most_shared(brackets: &[Bracket]) -> usize {
    let wide = || brackets.iter().filter(|bracket| !bracket.is_exact());
    let starts = wide().map(|bracket| (bracket.low.unwrap_or(f64::NEG_INFINITY), true));
    let mut ends: Vec<(f64, bool)> = starts.chain(wide().filter_map(|bracket| Some((bracket.high?, false)))).collect();
    // Those that end at a level before those that start there: brackets that only meet share nothing.
    ends.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
    let depths = ends.iter().scan(0, |depth, end| {
        *depth = if end.1 { *depth + 1 } else { *depth - 1 };
        Some(*depth)
    });
    depths.max().unwrap_or(0)
}

/// The greatest lower end and the least upper end: what all brackets share, if these are in order.
fn shared(brackets: &[Bracket]) -> (f64, f64) {
    let low = brackets.iter().filter_map(|bracket| bracket.low).fold(f64::NEG_INFINITY, f64::max);
    let high = brackets.iter().filter_map(|bracket| bracket.high).fold(f64::INFINITY, f64::min);
    (low, high)
}

/// The least and the greatest end.
fn range(brackets: &[Bracket]) -> (f64, f64) {
    let ends = || brackets.iter().flat_map(|bracket| [bracket.low, bracket.high]).flatten();
    (ends().fold(f64::INFINITY, f64::min), ends().fold(f64::NEG_INFINITY, f64::max))
}

/// The likelihood in its own coordinate: the brackets' ends range from -0.5 to 0.5.
struct Scaled {
    likelihood: Likelihood,
    centre: f64,
    unit: f64,
}

impl Scaled {
    fn new(brackets: &[Bracket]) -> Self {
        let (least, greatest) = range(brackets);
        let centre = least + (greatest - least) / 2.0;
        let unit = if greatest > least { greatest - least } else { 1.0 };
        Self { likelihood: Likelihood::new(brackets, centre, unit), centre, unit }
    }

    /// The end of the location's interval on one side.
    fn end(&self, search: &Search, mut slope: f64) -> f64 {
        let Search { from, side, greatest, least, step } = *search;
        if self.likelihood.far(side) >= least {
            return side * f64::INFINITY;
        }
        let (mut near, mut far, mut away) = (0.0, f64::INFINITY, step);
        for _ in 0..TRIALS {
            let trial = self.likelihood.profile(from + side * away, slope);
            slope = trial.slope;
            if (trial.value - least).abs() < DROP || far.is_finite() && far - near <= f64::EPSILON * far {
                break;
            }
            if trial.value > least {
                near = away;
            } else {
                far = away;
            }
            if near > FARTHEST {
                return side * f64::INFINITY;
            }
            // The root of the fall is nearly straight; Newton's method on that, kept between the nearest and farthest.
            let root = (greatest - trial.value).max(0.0).sqrt();
            let steepness = -side * trial.slope * trial.by_shift;
            let newton = away + 2.0 * root * ((greatest - least).sqrt() - root) / steepness;
            away = if near < newton && newton < far {
                newton.min(STRIDE * away)
            } else if far.is_finite() {
                (near + far) / 2.0
            } else {
                STRIDE * away
            };
        }
        self.level(from + side * away)
    }

    fn level(&self, scaled: f64) -> f64 {
        self.centre + self.unit * scaled
    }

    fn scaled(&self, level: f64) -> f64 {
        (level - self.centre) / self.unit
    }
}

/// Where to look for an end of the location's interval: `side` (1 or -1) of `from`, where the profile falls from
/// `greatest` to `least`; `step` is about how far. In the scaled coordinate.
struct Search {
    from: f64,
    side: f64,
    greatest: f64,
    least: f64,
    step: f64,
}

/// The fit where no level lies in all brackets: scale and location are those of the one maximum.
fn fit_spread(brackets: &[Bracket], drop: f64) -> Result<ThresholdFit, ThresholdError> {
    let scaled = Scaled::new(brackets);
    let n = brackets.len() as f64;
    if scaled.likelihood.is_one_sided() && !rises(brackets) {
        return Err(ThresholdError::NoRise);
    }
    // Moments of the middles, as if they were thresholds; an open bracket's middle is its end.
    let middle = |bracket: &Bracket| match (bracket.low, bracket.high) {
        (Some(low), Some(high)) => scaled.scaled(low + (high - low) / 2.0),
        (low, high) => low.or(high).map_or(0.0, |end| scaled.scaled(end)),
    };
    let mean = brackets.iter().map(middle).sum::<f64>() / n;
    let variance = brackets.iter().map(|bracket| (middle(bracket) - mean).powi(2)).sum::<f64>() / n;
    let slope = std::f64::consts::PI / (3.0 * variance.max(1e-6)).sqrt();
    let best = scaled.likelihood.maximum(mean, slope);
    let step = (2.0 * drop / best.profile_curvature()).sqrt();
    let end = |side: f64| {
        let search = Search { from: best.location, side, least: best.value - drop, greatest: best.value, step };
        scaled.end(&search, best.slope)
    };
    let exact = brackets.iter().filter(|bracket| bracket.is_exact()).count() as f64;
    held(ThresholdFit {
        location: scaled.level(best.location),
        scale: scaled.unit / best.slope,
        location_low: end(-1.0),
        location_high: end(1.0),
        log_likelihood: best.value - exact * libm::log(scaled.unit),
        probability_at_location: 0.5,
    })
}

/// Whether levels that were crossed are on average above those that were not: else the likelihood of one-sided brackets
/// is greatest for a slope of zero (where its derivative by the slope is that difference, times a positive number).
fn rises(brackets: &[Bracket]) -> bool {
    let mean = |ends: &[f64]| ends.iter().sum::<f64>() / ends.len() as f64;
    let highs: Vec<f64> = brackets.iter().filter_map(|bracket| bracket.high).collect();
    let lows: Vec<f64> = brackets.iter().filter_map(|bracket| bracket.low).collect();
    mean(&highs) > mean(&lows)
}

/// The fit where all brackets share levels or one level, none of them exact: a step there.
fn fit_step(brackets: &[Bracket], drop: f64) -> Result<ThresholdFit, ThresholdError> {
    let (low, high) = shared(brackets);
    if high == f64::INFINITY {
        return Err(ThresholdError::AllAbove(low));
    }
    if low == f64::NEG_INFINITY {
        return Err(ThresholdError::AllBelow(high));
    }
    let scaled = Scaled::new(brackets);
    // How many thresholds lie below a level that ends their bracket, and how many above.
    let count = |end: f64| {
        let below = brackets.iter().filter(|bracket| bracket.high == Some(end)).count() as f64;
        (below, brackets.iter().filter(|bracket| bracket.low == Some(end)).count() as f64)
    };
    let (below, above) = count(low);
    let (greatest, probability_at_location) =
        if low < high { (0.0, 0.5) } else { (split(below, above), below / (below + above)) };
    let end = |edge: f64, side: f64| {
        // Just outside of the edge a steep slope can give it any probability that is on the right side of one half.
        let (below, above) = count(edge);
        let beyond = split_beyond(below, above, side);
        let least = greatest - drop;
        if beyond < least {
            return edge;
        }
        let step = ((high - low) / scaled.unit).max(0.1) / 2.0;
        scaled.end(&Search { from: scaled.scaled(edge), side, greatest, least, step }, 1.0 / step)
    };
    held(ThresholdFit {
        location: low + (high - low) / 2.0,
        scale: 0.0,
        location_low: end(low, -1.0),
        location_high: end(high, 1.0),
        log_likelihood: greatest,
        probability_at_location,
    })
}

/// A fit whose interval holds the location, which rounding may take out of it where levels are all but one next to their
/// range.
///
/// # Errors
/// [`ThresholdError::NotTold`] where numbers are too small or too large to tell.
fn held(fit: ThresholdFit) -> Result<ThresholdFit, ThresholdError> {
    if !(fit.location.is_finite() && fit.scale.is_finite()) || fit.location_low.is_nan() || fit.location_high.is_nan() {
        return Err(ThresholdError::NotTold);
    }
    let (location_low, location_high) = (fit.location_low.min(fit.location), fit.location_high.max(fit.location));
    Ok(ThresholdFit { location_low, location_high, ..fit })
}
