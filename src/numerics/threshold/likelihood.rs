//! The likelihood of logistic thresholds of which each is known to within a bracket, and its maxima.

use libm::{exp, expm1, log, log1p};

use super::Bracket;

/// Newton's method stops when the next step would gain less than this log-likelihood; an interval at 95% lies about
/// two below the maximum.
const GAIN: f64 = 1e-13;

/// Newton steps before the best point so far is taken. Samples on a grid take 4; the worst of 40,000 with brackets that
/// meet to within 1e-9 of their range took 44.
const STEPS: usize = 100;

/// Most that one step of Newton's method may change the slope: the logarithm of a narrow bracket's probability bends
/// too strongly for a step beyond it to be of use.
const STRIDE: f64 = 8.0;

/// With F the standard logistic distribution, a bracket's probability is a product,
///
/// ```text
/// F(b) - F(a) = F(b) (1 - F(a)) (1 - exp(a - b)),
/// ```
///
/// so that samples on a grid need one term per end and one per width, whatever the number of brackets. An exact value
/// is the limit of a narrow bracket: both ends, and the slope for the width. In slope * location and slope = 1 / scale
/// the logarithm is concave (Pratt 1981, "Concavity of the log likelihood": F has a log-concave density), so that any
/// local maximum is the maximum and the profile of the location rises to it and falls from it.
#[derive(Debug)]
pub(super) struct Likelihood {
    ends: Vec<End>,
    /// Width and how many brackets have it.
    widths: Vec<(f64, f64)>,
    exact: f64,
}

#[derive(Debug)]
struct End {
    at: f64,
    /// How many thresholds it bounds from above.
    above: f64,
    /// How many thresholds it bounds from below.
    below: f64,
}

/// The log-likelihood at a location and a slope, with its derivatives by shift = slope * (location - this location)
/// and by slope.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Point {
    pub location: f64,
    pub slope: f64,
    pub value: f64,
    pub by_shift: f64,
    pub by_slope: f64,
    by_shift_twice: f64,
    by_slope_twice: f64,
    by_both: f64,
}

/// The log-likelihood of `below` thresholds at or below a level and `above` above it, with their share's probability.
pub(super) fn split(below: f64, above: f64) -> f64 {
    let part = |count: f64| if count > 0.0 { count * log(count / (below + above)) } else { 0.0 };
    part(below) + part(above)
}

/// The same with a probability as near to their share as a location on one `side` of the level allows: at most one half
/// below a location above the level, 1, and at least one half above a location below it, -1.
pub(super) fn split_beyond(below: f64, above: f64, side: f64) -> f64 {
    if side * (above - below) >= 0.0 { split(below, above) } else { -std::f64::consts::LN_2 * (below + above) }
}

impl Point {
    /// How fast the location's profile bends at its maximum.
    pub fn profile_curvature(&self) -> f64 {
        self.slope * self.slope * (self.by_both * self.by_both / self.by_slope_twice - self.by_shift_twice)
    }
}

impl Likelihood {
    /// The brackets in units of `unit` about `centre`.
    pub fn new(brackets: &[Bracket], centre: f64, unit: f64) -> Self {
        let scaled = |x: f64| (x - centre) / unit;
        let exact = brackets.iter().filter(|bracket| bracket.is_exact()).count() as f64;
        let highs = brackets.iter().filter_map(|bracket| bracket.high).map(|at| (scaled(at), 1.0, 0.0));
        let lows = brackets.iter().filter_map(|bracket| bracket.low).map(|at| (scaled(at), 0.0, 1.0));
        let mut all: Vec<_> = highs.chain(lows).collect();
        all.sort_by(|x, y| x.0.total_cmp(&y.0));
        let mut ends: Vec<End> = Vec::with_capacity(all.len());
        for (at, above, below) in all {
            match ends.last_mut() {
                Some(last) if last.at == at => (last.above, last.below) = (last.above + above, last.below + below),
                _ => ends.push(End { at, above, below }),
            }
        }
        let width = |bracket: &Bracket| Some((bracket.high? - bracket.low?) / unit).filter(|width| *width > 0.0);
        let mut all: Vec<f64> = brackets.iter().filter_map(width).collect();
        all.sort_by(f64::total_cmp);
        let mut widths: Vec<(f64, f64)> = Vec::with_capacity(all.len());
        for width in all {
            match widths.last_mut() {
                Some(last) if last.0 == width => last.1 += 1.0,
                _ => widths.push((width, 1.0)),
            }
        }
        Self { ends, widths, exact }
    }

    /// The limit of the profile as the location goes to infinity on one side (1 or -1): that of a slope of zero, with
    /// every level as likely to be crossed as any other.
    pub fn far(&self, side: f64) -> f64 {
        if !self.is_one_sided() {
            // A probability of zero between two levels.
            return f64::NEG_INFINITY;
        }
        let (above, below) = self.ends.iter().fold((0.0, 0.0), |sum, end| (sum.0 + end.above, sum.1 + end.below));
        split_beyond(above, below, side)
    }

    /// Whether no threshold is known from both sides.
    pub fn is_one_sided(&self) -> bool {
        self.widths.is_empty() && self.exact == 0.0
    }

    fn at(&self, location: f64, slope: f64) -> Point {
        let mut p = Point { location, slope, ..Point::default() };
        for end in &self.ends {
            let x = end.at - location;
            let z = slope * x;
            let tail = exp(-z.abs());
            let (near, far) = (1.0 / (1.0 + tail), tail / (1.0 + tail));
            let (below, above) = if z >= 0.0 { (near, far) } else { (far, near) };
            let log_near = -log1p(tail);
            let (log_below, log_above) = (log_near + z.min(0.0), log_near - z.max(0.0));
            // A count of zero must not meet an infinite logarithm: z is finite, so are both.
            p.value += end.above * log_below + end.below * log_above;
            let gradient = end.above * above - end.below * below;
            let bend = (end.above + end.below) * near * far;
            p.by_shift -= gradient;
            p.by_slope += gradient * x;
            p.by_shift_twice -= bend;
            p.by_both += bend * x;
            p.by_slope_twice -= bend * x * x;
        }
        for &(width, count) in &self.widths {
            let inside = -expm1(-slope * width);
            let ratio = width / inside;
            p.value += count * log(inside);
            p.by_slope += count * ratio * (1.0 - inside);
            p.by_slope_twice -= count * ratio * ratio * (1.0 - inside);
        }
        if self.exact > 0.0 {
            p.value += self.exact * log(slope);
            p.by_slope += self.exact / slope;
            p.by_slope_twice -= self.exact / (slope * slope);
        }
        p
    }

    /// The maximum over location and slope, where there is one at a finite slope above zero.
    pub fn maximum(&self, location: f64, slope: f64) -> Point {
        let mut p = self.at(location, slope);
        for _ in 0..STEPS {
            // So little that it matters only where the Hessian is singular to rounding.
            let ridge = 1.0 + 4.0 * f64::EPSILON;
            let (a, c) = (p.by_shift_twice * ridge, p.by_slope_twice * ridge);
            let determinant = a * c - p.by_both * p.by_both;
            let shift = (p.by_both * p.by_slope - c * p.by_shift) / determinant;
            let steeper = (p.by_both * p.by_shift - a * p.by_slope) / determinant;
            let gain = p.by_shift * shift + p.by_slope * steeper;
            // Neither where the likelihood is flat to rounding, so that nothing is left to gain.
            if !(gain > 0.0 && gain.is_finite()) {
                break;
            }
            let mut share = 1.0_f64;
            if p.slope + steeper < p.slope / STRIDE {
                share = p.slope * (1.0 - 1.0 / STRIDE) / -steeper;
            }
            let step = |share: f64| {
                let slope = p.slope + share * steeper;
                self.at(p.location + share * shift / slope, slope)
            };
            let mut next = step(share);
            // Armijo's rule; a concave function satisfies it at some share, unless rounding hides the gain.
            while next.value < p.value + 1e-4 * share * gain && share > f64::EPSILON {
                share /= 2.0;
                next = step(share);
            }
            // No progress but rounding.
            let last = gain < GAIN || next.value <= p.value;
            if next.value >= p.value {
                p = next;
            }
            if last {
                break;
            }
        }
        p
    }

    /// The maximum over the slope at a location, from a slope above zero.
    pub fn profile(&self, location: f64, slope: f64) -> Point {
        let (mut low, mut high) = (0.0, f64::INFINITY);
        let mut p = self.at(location, slope);
        for _ in 0..STEPS {
            if p.by_slope > 0.0 {
                low = p.slope;
            } else {
                high = p.slope;
            }
            let step = -p.by_slope / p.by_slope_twice;
            // Concave: what is left to gain towards slope zero is at most this, too.
            let left = if p.by_slope < 0.0 { -p.by_slope * p.slope } else { f64::INFINITY };
            if (p.by_slope * step).min(left) < GAIN || high.is_finite() && high - low <= f64::EPSILON * high {
                break;
            }
            let mut next = (p.slope + step).clamp(p.slope / STRIDE, p.slope * STRIDE);
            if !(low < next && next < high) {
                next = if low > 0.0 { (low + high) / 2.0 } else { high / STRIDE };
            }
            p = self.at(location, next);
        }
        p
    }
}
