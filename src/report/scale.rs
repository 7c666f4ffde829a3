//! From values to places, with ticks.

use crate::numerics::shown::Levels;
use crate::spec::Scale as Spacing;

/// A scale from an interval of values to an interval of places. It takes any two values: what is infinite counts as the
/// greatest number, and what is none as 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Continuous {
    spacing: Spacing,
    /// In coordinates of the spacing; the first is below the second.
    from: (f64, f64),
    to: (f64, f64),
}

impl Continuous {
    /// `values` least and greatest; equal ones are widened a little. A log scale needs positive ones, and is linear
    /// without.
    pub fn new(spacing: Spacing, values: (f64, f64), places: (f64, f64)) -> Self {
        let values = (finite(values.0), finite(values.1));
        let spacing = if values.0 > 0.0 { spacing } else { Spacing::Linear };
        let (mut low, mut high) = (spacing.coordinate(values.0), spacing.coordinate(values.1));
        if high - low <= f64::EPSILON * low.abs().max(high.abs()) {
            let room = if low == 0.0 { 1.0 } else { (0.05 * low.abs()).max(f64::MIN_POSITIVE) };
            (low, high) = (finite(low - room), finite(high + room));
        }
        Self { spacing, from: (low, high), to: places }
    }

    /// The place of a value; not held to the interval.
    pub fn place(&self, value: f64) -> f64 {
        let (at, (low, high)) = (self.spacing.coordinate(value), self.from);
        let width = high - low;
        // Halves of what is too far apart for a difference.
        let share =
            if width.is_finite() { (at - low) / width } else { (at / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0) };
        self.to.0 + share * (self.to.1 - self.to.0)
    }

    /// Round values inside the interval, about `wanted` of them, ascending: multiples of 1, 2 or 5 times a power of ten;
    /// on a log scale over a factor of more than three, powers of ten times 1, 2 and 5, or 1 alone. The ends where no
    /// round value lies between them.
    pub fn ticks(&self, wanted: usize) -> Vec<f64> {
        let wanted = wanted.max(2);
        let (low, high) = (finite(self.spacing.level(self.from.0)), finite(self.spacing.level(self.from.1)));
        if self.spacing == Spacing::Log && high / low > 3.0 {
            return decades(low.max(LEAST), high, wanted);
        }
        let ticks = multiples(low, high, wanted);
        if !ticks.is_empty() {
            return ticks;
        }
        let mut ends = vec![low, high];
        ends.dedup();
        ends
    }

    /// The ticks with what is written at them: no two alike.
    pub fn labelled(&self, wanted: usize) -> Vec<(f64, String)> {
        let ticks = self.ticks(wanted);
        let shown = Levels::of_numbers(ticks.iter().copied());
        ticks.into_iter().map(|tick| (tick, shown.number(tick))).collect()
    }
}

/// What rounding may take from a tick at the end of an interval.
const SLACK: f64 = 1e-9;
/// The least positive number.
const LEAST: f64 = f64::from_bits(1);

fn finite(x: f64) -> f64 {
    if x.is_nan() { 0.0 } else { x.clamp(f64::MIN, f64::MAX) }
}

/// An integer times a power of ten, correctly rounded.
fn round_number(digits: i128, power: i32) -> f64 {
    format!("{digits}e{power}").parse().unwrap_or(0.0)
}

/// Powers of ten and some of their multiples from `low`, which is positive, to `high`. Over more decades than ticks are
/// wanted some of them, at equal distances.
fn decades(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let inside = low * (1.0 - SLACK)..=high * (1.0 + SLACK);
    let with = |digits: &[i128], every: usize| -> Vec<f64> {
        let all = (first..=last).step_by(every).flat_map(|decade| digits.iter().map(move |d| round_number(*d, decade)));
        all.filter(|tick| tick.is_finite() && inside.contains(tick)).collect()
    };
    for digits in [&[1, 2, 5][..], &[1, 3]] {
        let ticks = with(digits, 1);
        if ticks.len() <= wanted + 1 {
            return ticks;
        }
    }
    with(&[1], with(&[1], 1).len().div_ceil(wanted + 1).max(1))
}

/// Multiples of 1, 2 or 5 times a power of ten from `low` to `high`.
fn multiples(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let (many, width) = (wanted as f64, high - low);
    let raw = if width.is_finite() { width / many } else { high / many - low / many };
    if raw <= 0.0 {
        return Vec::new();
    }
    let power = raw.log10().floor() as i32;
    let steps = [(1, power), (2, power), (5, power), (1, power + 1)];
    let steps = steps.map(|(digit, power)| (digit, power, round_number(digit, power)));
    let Some((digit, power, step)) = steps.into_iter().find(|(.., step)| *step >= raw * (1.0 - SLACK)) else {
        return Vec::new();
    };
    let (first, last) = ((low / step - SLACK).ceil() as i64, (high / step + SLACK).floor() as i64);
    // What rounding may take from the ends.
    let slack = SLACK * step;
    let inside = |tick: &f64| low - slack <= *tick && *tick <= high + slack;
    // A multiple of a step is counted exactly, so that no tick is 0.30000000000000004.
    let ticks = (first..=last).take(2 * wanted + 2).map(|n| round_number(i128::from(n) * digit, power));
    let mut ticks: Vec<f64> = ticks.filter(inside).collect();
    ticks.dedup();
    ticks
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let linear = |low, high| Continuous::new(Spacing::Linear, (low, high), (0.0, 100.0)).ticks(5);
        assert_eq!(linear(0.0, 1.0), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(linear(-0.3, 0.31), [-0.2, 0.0, 0.2]);
        assert_eq!(linear(3.0, 32.0), [10.0, 20.0, 30.0]);
        let log = |low, high| Continuous::new(Spacing::Log, (low, high), (0.0, 100.0)).ticks(6);
        assert_eq!(log(0.005, 1.0), [0.01, 0.03, 0.1, 0.3, 1.0]);
        assert_eq!(log(0.1, 0.2), linear(0.1, 0.2));
        assert_eq!(log(1e-12, 1.0), [1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0], "every second decade");
        let flat = Continuous::new(Spacing::Linear, (2.0, 2.0), (0.0, 10.0));
        assert_eq!(flat.place(2.0), 5.0);
    }

    #[test]
    fn places_follow_the_spacing() {
        let log = Continuous::new(Spacing::Log, (0.01, 1.0), (0.0, 100.0));
        assert!((log.place(0.1) - 50.0).abs() < 1e-9);
        let turned = Continuous::new(Spacing::Linear, (0.0, 2.0), (100.0, 0.0));
        assert_eq!(turned.place(0.5), 75.0);
        assert_eq!(Continuous::new(Spacing::Log, (0.0, 2.0), (0.0, 2.0)).place(1.0), 1.0, "no logarithm of zero");
    }

    #[test]
    fn ends_that_no_round_value_parts_are_ticks_themselves() {
        let of = |low: f64, high: f64| Continuous::new(Spacing::Linear, (low, high), (0.0, 1.0)).labelled(5);
        let texts = |low: f64, high: f64| of(low, high).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(texts(0.0, 5e-324), ["0", "5e-324"]);
        assert_eq!(texts(0.0, 1e-310), ["0", "2e-311", "4e-311", "6e-311", "8e-311", "1e-310"]);
        assert_eq!(texts(1.0, 1.0000001), ["1", "1.00000002", "1.00000004", "1.00000006", "1.00000008", "1.0000001"]);
        assert_eq!(texts(f64::MIN, f64::MAX), ["-1e308", "0", "1e308"]);
    }

    /// Any number that is none, infinite or finite, of any magnitude; often the neighbour of another.
    fn ends() -> impl Strategy<Value = (f64, f64)> {
        let number = || any::<u64>().prop_map(f64::from_bits);
        let near = (number(), 0u64..5).prop_map(|(x, away)| (x, f64::from_bits(x.to_bits().wrapping_add(away))));
        prop_oneof![
            (number(), number()),
            near,
            (0.0..1.0, 0.0..1.0),
            Just((0.0, 5e-324)),
            Just((f64::MIN, f64::MAX)),
            Just((f64::NEG_INFINITY, f64::INFINITY)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn any_two_ends_have_a_scale((a, b) in ends(), log: bool, wanted in 0usize..12) {
            let spacing = if log { Spacing::Log } else { Spacing::Linear };
            let scale = Continuous::new(spacing, (a.min(b), a.max(b)), (10.0, 20.0));
            let ticks = scale.labelled(wanted);
            prop_assert!(ticks.len() <= 2 * wanted.max(2) + 2, "{} ticks", ticks.len());
            prop_assert!(ticks.windows(2).all(|pair| pair[0].0 < pair[1].0), "{:?}", ticks);
            prop_assert_eq!(ticks.iter().map(|(_, text)| text).collect::<BTreeSet<_>>().len(), ticks.len());
            for (tick, text) in &ticks {
                let place = scale.place(*tick);
                prop_assert!((10.0 - 1e-3..=20.0 + 1e-3).contains(&place), "{} at {} of {:?}", text, place, scale);
            }
        }
    }
}
