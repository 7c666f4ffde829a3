//! From values to places, with ticks.

use crate::spec::Scale as Spacing;

/// A scale from an interval of values to an interval of places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Continuous {
    spacing: Spacing,
    /// In coordinates of the spacing.
    from: (f64, f64),
    to: (f64, f64),
}

impl Continuous {
    /// `values` least and greatest; equal ones are widened a little. A log scale needs positive ones, and is linear
    /// without.
    pub fn new(spacing: Spacing, values: (f64, f64), places: (f64, f64)) -> Self {
        let spacing = if values.0 > 0.0 { spacing } else { Spacing::Linear };
        let (mut low, mut high) = (spacing.coordinate(values.0), spacing.coordinate(values.1));
        if high - low <= f64::EPSILON * high.abs() {
            let room = if low == 0.0 { 1.0 } else { 0.05 * low.abs() };
            (low, high) = (low - room, high + room);
        }
        Self { spacing, from: (low, high), to: places }
    }

    /// The place of a value; not held to the interval.
    pub fn place(&self, value: f64) -> f64 {
        let share = (self.spacing.coordinate(value) - self.from.0) / (self.from.1 - self.from.0);
        self.to.0 + share * (self.to.1 - self.to.0)
    }

    /// Round values inside the interval, about `wanted` of them: multiples of 1, 2 or 5 times a power of ten; on a log
    /// scale over a factor of more than three, powers of ten times 1, 2 and 5, or 1 alone.
    pub fn ticks(&self, wanted: usize) -> Vec<f64> {
        let wanted = wanted.max(2);
        let (low, high) = (self.spacing.level(self.from.0), self.spacing.level(self.from.1));
        if self.spacing == Spacing::Log && high / low > 3.0 {
            let decades = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
            for digits in [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]] {
                let ticks: Vec<f64> = decades
                    .clone()
                    .flat_map(|decade| digits.iter().map(move |digit| round_power(*digit, decade)))
                    .filter(|tick| (low * (1.0 - SLACK)..=high * (1.0 + SLACK)).contains(tick))
                    .collect();
                if ticks.len() <= wanted + 1 {
                    return ticks;
                }
            }
        }
        let raw = (high - low) / wanted as f64;
        let power = raw.log10().floor() as i32;
        let step = [(1.0, 0), (2.0, 0), (5.0, 0), (1.0, 1)].into_iter().map(|(digit, more)| (digit, power + more));
        let step = step.map(|(digit, power)| round_power(digit, power)).find(|step| *step >= raw * (1.0 - SLACK));
        let step = step.unwrap_or(raw);
        let (first, last) = ((low / step - SLACK).ceil() as i64, (high / step + SLACK).floor() as i64);
        (first..=last).map(|n| tidy(n as f64 * step)).collect()
    }
}

/// What rounding may take from a tick at the end of an interval.
const SLACK: f64 = 1e-9;

fn round_power(digit: f64, power: i32) -> f64 {
    tidy(digit * 10f64.powi(power))
}

/// The shortest decimal within rounding.
fn tidy(x: f64) -> f64 {
    format!("{x:.9e}").parse().unwrap_or(x)
}

/// A number for an axis or a label: four significant digits at most, an exponent where zeros would fill it.
pub fn label(x: f64) -> String {
    if x == 0.0 {
        return "0".to_string();
    }
    if !x.is_finite() {
        return "no value".to_string();
    }
    let size = x.abs();
    if !(1e-3..1e5).contains(&size) {
        let text = format!("{x:.2e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'));
    }
    let decimals = (3 - size.log10().floor() as i32).max(0) as usize;
    let text = format!("{x:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests {
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
    fn labels_are_short() {
        let cases = [
            (0.103239118471, "0.1032"),
            (1.0, "1"),
            (12.5, "12.5"),
            (1e-5, "1e-5"),
            (-0.25, "-0.25"),
            (1234.5678, "1235"),
            (2.5e7, "2.5e7"),
        ];
        for (x, text) in cases {
            assert_eq!(label(x), text);
        }
    }
}
