//! Exponential and hyperbolic tangent of vectors, and loops over slices of whole vectors.

use pulp::Simd;

/// Below this the exponential is not a normal number and counts as zero; a softmax's terms that small are lost in
/// its largest, which is 1.
const EXP_LOWEST: f32 = -87.0;

/// From here on the hyperbolic tangent rounds to 1.
const TANH_SATURATES: f32 = 9.02;

/// Adding and subtracting this rounds to the nearest integer, for magnitudes below 2^22.
const ROUNDER: f32 = 12_582_912.0;

/// ln 2 in two parts: the first has so few digits that its product with an exponent is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// `(e^r - 1 - r) / r^2` on |r| <= ln 2 / 2: its Taylor coefficients 1/2! to 1/7!; the first term left out is below
/// 2e-8 there, a sixth of a spacing of f32 at 1.
const EXPONENTIAL: [f32; 6] = [1.0 / 2.0, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0, 1.0 / 5040.0];

/// `x = n ln 2 + r`: 2^n, and e^r - 1. For |x| up to 88.
#[inline(always)]
fn split<S: Simd>(simd: S, x: S::f32s) -> (S::f32s, S::f32s) {
    let rounder = simd.splat_f32s(ROUNDER);
    let shifted = simd.mul_add_e_f32s(x, simd.splat_f32s(std::f32::consts::LOG2_E), rounder);
    let n = simd.sub_f32s(shifted, rounder);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN_2_HIGH), x);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN_2_LOW), r);
    let mut poly = simd.splat_f32s(EXPONENTIAL[5]);
    for coefficient in EXPONENTIAL[..5].iter().rev() {
        poly = simd.mul_add_e_f32s(poly, r, simd.splat_f32s(*coefficient));
    }
    let below_one = simd.mul_add_e_f32s(simd.mul_f32s(poly, r), r, r);
    // The integer is in the low bits of the mantissa; what lies above them is shifted out.
    let exponent = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    let one = simd.transmute_u32s_f32s(simd.splat_f32s(1.0));
    let power = simd.transmute_f32s_u32s(simd.add_u32s(exponent, one));
    (power, below_one)
}

/// The exponential of at most 88.
///
/// **Numerics**: within 2 spacings of the result, given fused multiply-add; zero below -87; not-a-number stays.
#[inline(always)]
pub fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let (power, below_one) = split(simd, x);
    let value = simd.mul_add_e_f32s(power, below_one, power);
    let vanishes = simd.less_than_f32s(x, simd.splat_f32s(EXP_LOWEST));
    simd.select_f32s(vanishes, simd.splat_f32s(0.0), value)
}

/// The hyperbolic tangent: `e / (e + 2)` with `e = exp(2x) - 1`, which does not cancel near zero.
///
/// **Numerics**: within 4 spacings of the result, given fused multiply-add; not-a-number stays.
#[inline(always)]
pub fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let limit = |x, side: f32| {
        let limit = simd.splat_f32s(side * TANH_SATURATES);
        let beyond = if side > 0.0 { simd.greater_than_f32s(x, limit) } else { simd.less_than_f32s(x, limit) };
        simd.select_f32s(beyond, limit, x)
    };
    let x = limit(limit(x, 1.0), -1.0);
    let (power, below_one) = split(simd, simd.add_f32s(x, x));
    let minus_one = simd.sub_f32s(power, simd.splat_f32s(1.0));
    let e = simd.mul_add_e_f32s(power, below_one, minus_one);
    simd.div_f32s(e, simd.add_f32s(e, simd.splat_f32s(2.0)))
}

/// Sum of squares of whole vectors.
#[inline(always)]
pub fn sum_of_squares<S: Simd>(simd: S, values: &[f32]) -> f32 {
    let (vectors, tail) = S::as_simd_f32s(values);
    debug_assert!(tail.is_empty(), "slices are whole vectors");
    let mut sums = [simd.splat_f32s(0.0); 4];
    let (fours, rest) = vectors.as_chunks::<4>();
    for four in fours {
        for (sum, v) in sums.iter_mut().zip(four) {
            *sum = simd.mul_add_e_f32s(*v, *v, *sum);
        }
    }
    for (sum, v) in sums.iter_mut().zip(rest) {
        *sum = simd.mul_add_e_f32s(*v, *v, *sum);
    }
    let [a, b, c, d] = sums;
    simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)))
}

#[cfg(test)]
mod tests {
    use pulp::{Arch, WithSimd};

    use super::super::instruction_sets;
    use super::*;

    struct Each<'a>(&'a mut [f32], bool);

    impl WithSimd for Each<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for v in S::as_mut_simd_f32s(self.0).0 {
                *v = if self.1 { tanh(simd, *v) } else { exp(simd, *v) };
            }
        }
    }

    /// Largest error in spacings of the result over `n` arguments between two bounds.
    fn worst(is_tanh: bool, from: f32, to: f32, n: usize, exact: fn(f64) -> f64) -> f64 {
        let x: Vec<f32> = (0..n).map(|i| from + (to - from) * (i as f32 / n as f32)).collect();
        let spacing =
            |v: f64| f64::from((v as f32).abs().max(f32::MIN_POSITIVE).next_up()) - f64::from((v as f32).abs());
        let error = |(x, y): (&f32, &f32)| {
            let exact = exact(f64::from(*x));
            (f64::from(*y) - exact).abs() / spacing(exact)
        };
        let mut worst = 0.0_f64;
        // Without fused multiply-add errors are larger.
        for (_, arch) in instruction_sets().into_iter().filter(|(name, _)| *name != "scalar") {
            let mut y = x.clone();
            arch.dispatch(Each(&mut y, is_tanh));
            worst = x.iter().zip(&y).map(error).fold(worst, f64::max);
        }
        worst
    }

    const MANY: usize = 1 << 20;

    #[test]
    fn the_exponential_is_within_two_spacings() {
        for (from, to) in [(-86.9, 0.0), (-1.0, 1.0), (0.0, 88.0)] {
            let worst = worst(false, from, to, MANY, f64::exp);
            assert!(worst < 2.0, "{worst} spacings from {from} to {to}");
        }
    }

    #[test]
    fn the_tangent_is_within_four_spacings_down_to_tiny_arguments() {
        for (from, to) in [(-10.0, 10.0), (-0.5, 0.5), (-1e-3, 1e-3), (-1e-20, 1e-20)] {
            let worst = worst(true, from, to, MANY, f64::tanh);
            assert!(worst < 4.0, "{worst} spacings from {from} to {to}");
        }
    }

    #[test]
    fn edges() {
        for (_, arch) in instruction_sets() {
            edges_on(arch);
        }
    }

    fn edges_on(arch: Arch) {
        let run = |x: f32, is_tanh: bool| {
            let mut values = [x; 16];
            arch.dispatch(Each(&mut values, is_tanh));
            values[0]
        };
        assert_eq!([-87.1, -1e30, f32::NEG_INFINITY].map(|x| run(x, false)), [0.0; 3]);
        assert_eq!(run(0.0, false), 1.0);
        assert_eq!([0.0, -0.0, 1e30, f32::INFINITY].map(|x| run(x, true)), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!([-1e30, f32::NEG_INFINITY].map(|x| run(x, true)), [-1.0; 2]);
        assert!(run(f32::NAN, true).is_nan() && run(f32::NAN, false).is_nan());
        assert!(run(-f32::NAN, true).is_nan() && run(-f32::NAN, false).is_nan());
    }
}
