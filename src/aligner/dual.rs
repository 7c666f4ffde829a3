//! Numbers with a derivative, in f64, that know what rounding to f32 would have done to them.
//!
//! A dual number carries a value and its derivative along one parameter through every operation, so the derivative of
//! whatever is computed with it is exact up to the roundings of f64: there is no step to choose, and nothing cancels
//! that does not cancel in the loss itself. Beside both goes the variance of the error that they would have, had every
//! operation been rounded to f32. Where that is as large as the derivative, a program in f32 can be right and still
//! have no digit of it.
//!
//! **Source**: forward-mode differentiation, Griewank & Walther 2008, chapter 3; the propagation of first-order error,
//! Higham 2002, section 3.3, with errors of random sign, which add as their squares.

use std::iter::Sum;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// Largest relative error of one rounding to f32, taken as the standard deviation of all of them.
const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

/// Roundings that an exponential, a logarithm or a hyperbolic tangent of f32 is off by: libraries and shaders promise
/// two to four units in the last place.
const FUNCTION: f64 = 4.0 * ROUNDING;

/// What a product or a quotient may lose to underflow: devices may flush what is below the smallest normal f32.
const UNDERFLOW: f64 = f32::MIN_POSITIVE as f64;

/// Standard deviations from its kink at which a hinge may already lie on the other side in f32.
const KINK: f64 = 16.0;

/// A number of f64, and the variance of the error that it would have in f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounded {
    pub at: f64,
    /// Infinite where f32 overflows, not-a-number where the number is.
    pub variance: f64,
}

impl Rounded {
    const ZERO: Self = Self { at: 0.0, variance: 0.0 };

    /// A number that f32 has.
    pub const fn exact(at: f64) -> Self {
        Self { at, variance: 0.0 }
    }

    /// A setting, which is rounded to f32 before anything is done with it.
    pub fn setting(at: f64) -> Self {
        Self::of(at, variance_of_rounding(at) + UNDERFLOW * UNDERFLOW)
    }

    fn of(at: f64, variance: f64) -> Self {
        let variance = match variance.is_nan() || at.abs() > f64::from(f32::MAX) {
            _ if at.is_nan() => f64::NAN,
            true => f64::INFINITY,
            false => variance,
        };
        Self { at, variance }
    }

    /// Standard deviation of its error in f32.
    pub fn error(self) -> f64 {
        self.variance.sqrt()
    }

    /// What `f` makes of it, given the slope of `f` there.
    fn function(self, at: f64, slope: f64, relative: f64) -> Self {
        Self::of(at, slope * slope * self.variance + (relative * at).powi(2) + UNDERFLOW * UNDERFLOW)
    }
}

fn variance_of_rounding(at: f64) -> f64 {
    (ROUNDING * at).powi(2)
}

impl Add for Rounded {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let at = self.at + other.at;
        Self::of(at, self.variance + other.variance + variance_of_rounding(at))
    }
}

impl Neg for Rounded {
    type Output = Self;
    fn neg(self) -> Self {
        Self { at: -self.at, ..self }
    }
}

impl Sub for Rounded {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Rounded {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let at = self.at * other.at;
        let inherited = self.at * self.at * other.variance + other.at * other.at * self.variance;
        Self::of(at, inherited + variance_of_rounding(at) + UNDERFLOW * UNDERFLOW)
    }
}

impl Div for Rounded {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let at = self.at / other.at;
        let inherited = (self.variance + at * at * other.variance) / (other.at * other.at);
        Self::of(at, inherited + variance_of_rounding(at) + UNDERFLOW * UNDERFLOW)
    }
}

/// A number and its derivative along one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dual {
    pub value: Rounded,
    pub slope: Rounded,
}

impl Dual {
    pub const ZERO: Self = Self::constant(Rounded::ZERO);
    pub const ONE: Self = Self::exact(1.0);

    /// A number that does not depend on the parameter.
    pub const fn constant(value: Rounded) -> Self {
        Self { value, slope: Rounded::ZERO }
    }

    /// See [`Rounded::exact`].
    pub const fn exact(at: f64) -> Self {
        Self::constant(Rounded::exact(at))
    }

    /// See [`Rounded::setting`].
    pub fn setting(at: f64) -> Self {
        Self::constant(Rounded::setting(at))
    }

    pub fn square(self) -> Self {
        self * self
    }

    pub fn exp(self) -> Self {
        let at = self.value.at.exp();
        let value = self.value.function(at, at, FUNCTION);
        Self { value, slope: self.slope * value }
    }

    pub fn ln(self) -> Self {
        let Self { value, slope } = self;
        Self { value: value.function(value.at.ln(), 1.0 / value.at, FUNCTION), slope: slope / value }
    }

    pub fn sqrt(self) -> Self {
        let at = self.value.at.sqrt();
        let value = self.value.function(at, 0.5 / at, ROUNDING);
        Self { value, slope: self.slope / (value + value) }
    }

    pub fn tanh(self) -> Self {
        let at = self.value.at.tanh();
        let value = self.value.function(at, 1.0 - at * at, FUNCTION);
        Self { value, slope: self.slope * (Rounded::exact(1.0) - value * value) }
    }

    /// It where it is positive, else zero. So near to zero that f32 may be on the other side, the whole derivative is in
    /// doubt.
    pub fn positive_part(self) -> Self {
        let is_kept = self.value.at > 0.0 || self.value.at.is_nan();
        let mut part = if is_kept { self } else { Self::ZERO };
        if self.value.at.abs() <= KINK * self.value.error() {
            part.slope.variance += self.slope.at.powi(2) + self.slope.variance;
        }
        part
    }
}

impl Add for Dual {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { value: self.value + other.value, slope: self.slope + other.slope }
    }
}

impl Neg for Dual {
    type Output = Self;
    fn neg(self) -> Self {
        Self { value: -self.value, slope: -self.slope }
    }
}

impl Sub for Dual {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Dual {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self { value: self.value * other.value, slope: self.slope * other.value + self.value * other.slope }
    }
}

impl Div for Dual {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        Self { value, slope: (self.slope - value * other.slope) / other.value }
    }
}

impl Sum for Dual {
    fn sum<I: Iterator<Item = Self>>(numbers: I) -> Self {
        numbers.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `x` as the parameter itself.
    fn variable(x: f64) -> Dual {
        Dual { value: Rounded::exact(x), slope: Rounded::exact(1.0) }
    }

    #[test]
    fn derivatives_are_those_of_calculus() {
        let x = 0.7_f64;
        let [t, e] = [x.tanh(), x.exp()];
        let cases: [(Dual, f64, f64); 8] = [
            (variable(x).exp(), e, e),
            (variable(x).ln(), x.ln(), 1.0 / x),
            (variable(x).sqrt(), x.sqrt(), 0.5 / x.sqrt()),
            (variable(x).tanh(), t, 1.0 - t * t),
            (variable(x).square(), x * x, 2.0 * x),
            (Dual::ONE / variable(x), 1.0 / x, -1.0 / (x * x)),
            (variable(x).exp() / variable(x).tanh(), e / t, (e * t - e * (1.0 - t * t)) / (t * t)),
            ((Dual::exact(2.0) - variable(x)).positive_part(), 2.0 - x, -1.0),
        ];
        for (dual, value, slope) in cases {
            assert!((dual.value.at - value).abs() <= 1e-15 * value.abs(), "{dual:?} is not {value}");
            assert!((dual.slope.at - slope).abs() <= 1e-14 * slope.abs(), "{dual:?} has not the slope {slope}");
        }
        assert_eq!((variable(x) - Dual::ONE).positive_part(), Dual::ZERO);
    }

    #[test]
    fn errors_are_those_that_f32_makes() {
        // (1 + x) - 1 and (x + y) z + tanh(y), over many x: the root mean square of what f32 is off by.
        let (mut actual, mut expected) = ([0.0_f64; 2], [0.0_f64; 2]);
        for i in 0..1000 {
            let [x, y, z] = [1e-3, 0.37, 1.9].map(|scale: f32| scale * (1.0 + (i as f32) / 777.0));
            let [a, b, c] = [x, y, z].map(|v| Dual::exact(f64::from(v)));
            let duals = [Dual::ONE + a - Dual::ONE, (a + b) * c + b.tanh()];
            let singles = [(1.0 + x) - 1.0, (x + y) * z + y.tanh()];
            for k in 0..2 {
                actual[k] += (f64::from(singles[k]) - duals[k].value.at).powi(2);
                expected[k] += duals[k].value.variance;
            }
        }
        for k in 0..2 {
            let ratio = (expected[k] / actual[k]).sqrt();
            // Roundings are uniform within their bound, and functions better than promised.
            assert!((1.0..8.0).contains(&ratio), "{ratio}");
        }
    }

    #[test]
    fn overflow_underflow_kinks_and_not_a_number_are_known() {
        let large = Dual::exact(1e30);
        assert_eq!((large * large).value.variance, f64::INFINITY);
        assert_eq!((Dual::ONE / (large * large)).value.error(), f64::INFINITY);
        let small = Dual::setting(1e-40);
        assert!(small.value.error() > 1e-40 && (small + Dual::ONE).value.error() < 1e-6);
        assert!(Dual::exact(f64::NAN).value.at.is_nan());
        assert!((Dual::exact(f64::NAN) * large).value.variance.is_nan());
        let near = (variable(1.0) / Dual::exact(3.0) - Dual::setting(1.0 / 3.0)).positive_part();
        assert!(near.slope.error() > 0.3, "{near:?}");
    }
}
