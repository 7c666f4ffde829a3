//! Uniformity (M6): how evenly embeddings cover the sphere.

use pulp::{Arch, Simd, WithSimd};

use super::{Descriptor, Evaluation, Family, Healthy, MetricError, Modality, Panel, Values};
use crate::numerics::similarity::{BLOCK, Candidates, Queries, lanes, similarities};

/// What multiplies squared distances in the potential.
const SCALE: f64 = 2.0;

/// Log of the mean Gaussian potential of two different samples, of each modality.
///
/// Constant embeddings have a uniformity of 0: the worst score, and true. On a sphere of many dimensions, evenly covered,
/// it is a little above -4. An embedding without direction is an error. Squared distances are 2 - 2 cosine, as on the
/// sphere itself: that lengths of z are rounded to `f32` moves them by at most 2.4e-7.
pub(super) const FAMILY: Family = Family {
    name: "uniformity",
    panel: Panel::Fast,
    about: "Logarithm of the mean of exp(-2 d) over all pairs of different rows of one modality, where d = 2 - 2 similarity stands for their squared distance. What rounding takes above 0 is 0.",
    descriptors: &[
        uniformity(
            "uniformity_img",
            "log of the mean of exp(-2 squared distance) over pairs of images; 0 when constant",
        ),
        uniformity(
            "uniformity_txt",
            "log of the mean of exp(-2 squared distance) over pairs of texts; 0 when constant",
        ),
    ],
    compute,
};

const fn uniformity(name: &'static str, summary: &'static str) -> Descriptor {
    // Squared distances lie between 0 and 4.
    let range = (-4.0 * SCALE, 0.0);
    let source = "Wang and Isola 2020, t = 2";
    Descriptor { name, unit: "log potential", range, healthy: Healthy::Lower, source, summary }
}

fn compute(evaluation: &Evaluation) -> Values {
    Ok([Modality::Img, Modality::Txt].map(|modality| of(Arch::new(), evaluation, modality)).into())
}

fn of(arch: Arch, evaluation: &Evaluation, modality: Modality) -> Result<f64, MetricError> {
    evaluation.require_directions(modality)?;
    let (n, d) = (evaluation.samples(), evaluation.dimension());
    let z = evaluation.z(modality);
    let sum = arch.dispatch(Potential { n, queries: &Queries::new(z, d), candidates: &Candidates::new(z, d) });
    // The mean of equal embeddings is 1 up to the rounding of their lengths.
    Ok((sum / (n * (n - 1) / 2) as f64).ln().min(0.0))
}

/// The sum of potentials over all pairs of different samples.
struct Potential<'a> {
    n: usize,
    queries: &'a Queries,
    candidates: &'a Candidates<'a>,
}

impl WithSimd for Potential<'_> {
    type Output = f64;

    /// **Numerics** one sum per query in the order of candidates, then over queries: the same bits on every instruction
    /// set.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let mut block = vec![[0.0; BLOCK]; self.n];
        let mut total = 0.0;
        for (at, queries) in self.queries.blocks().enumerate() {
            // Each pair once: candidates before the query.
            let first = at * BLOCK;
            let block = &mut block[..self.n.min(first + BLOCK)];
            similarities(simd, queries, self.candidates, block);
            let asked = BLOCK.min(self.n - first);
            for (row, values) in block[first..].iter_mut().enumerate() {
                values[..=row].fill(1.0);
            }
            let mut sums = [0.0; BLOCK];
            for vector in 0..BLOCK / S::F64_LANES {
                let mut sum = simd.splat_f64s(0.0);
                for row in &*block {
                    sum = simd.add_f64s(sum, potential(simd, lanes::<S>(row, vector)));
                }
                S::as_mut_simd_f64s(&mut sums).0[vector] = sum;
            }
            // What was left out has counted as equal: a potential of exactly 1.
            total += sums[..asked].iter().enumerate().map(|(lane, sum)| sum - (asked - lane) as f64).sum::<f64>();
        }
        total
    }
}

/// How often the exponential is squared: its argument, -8 at the lowest, is then -1/8, where nine terms of the series
/// are exact to 3e-16. Squaring makes that 64 times as much: a relative error of 2e-14.
const SQUARINGS: i32 = 6;

/// 1 / k! for k from 8 to 0: what follows 1 / 9! in Horner's order.
const SERIES: [f64; 9] =
    [1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 1.0 / 2.0, 1.0, 1.0];

/// exp(-2 (2 - 2 cosine)). Lengths are off 1 by rounding, so cosines can pass 1 a little.
#[inline(always)]
fn potential<S: Simd>(simd: S, cosine: S::f64s) -> S::f64s {
    let scale = simd.splat_f64s(2.0 * SCALE / f64::from(1 << SQUARINGS));
    let x = simd.mul_f64s(simd.sub_f64s(cosine, simd.splat_f64s(1.0)), scale);
    let mut y = simd.splat_f64s(1.0 / 362_880.0);
    for coefficient in SERIES {
        y = simd.add_f64s(simd.mul_f64s(x, y), simd.splat_f64s(coefficient));
    }
    for _ in 0..SQUARINGS {
        y = simd.mul_f64s(y, y);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fixture::{noisy_pairs, value_of};
    use crate::numerics::instructions::instruction_sets;
    use crate::numerics::linalg::dot;

    #[test]
    fn equal_to_the_definition_on_every_instruction_set() {
        for (n, d) in [(2, 1), (3, 2), (8, 3), (9, 8), (31, 5), (64, 32), (130, 9)] {
            let evaluation = noisy_pairs(n as u64, n, d, 0.5);
            let rows: Vec<&[f64]> = evaluation.z(Modality::Img).chunks_exact(d).collect();
            let pairs = (0..n).flat_map(|i| (0..i).map(move |j| (i, j)));
            let potential: f64 = pairs.map(|(i, j)| (-2.0 * (2.0 - 2.0 * dot(rows[i], rows[j]))).exp()).sum();
            let expected = (potential / (n * (n - 1) / 2) as f64).ln().min(0.0);
            let reference = of(Arch::Scalar, &evaluation, Modality::Img).unwrap();
            // See SQUARINGS; the sum adds some n^2 / 2 roundings of 1e-16, and the logarithm is absolute.
            assert!((reference - expected).abs() < 1e-13, "{n} x {d}: {reference} {expected}");
            for (name, arch) in instruction_sets() {
                let got = of(arch, &evaluation, Modality::Img).unwrap();
                assert_eq!(got.to_bits(), reference.to_bits(), "{name}, {n} x {d}");
            }
        }
    }

    #[test]
    fn closed_forms() {
        // Images on the ends of two axes: of six pairs four at a squared distance of 2, two at 4. Texts all the same.
        let images = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -1.0];
        let evaluation = Evaluation::new(&images, &[0.0, 1.0].repeat(4), 2, 1.0).unwrap();
        let expected = ((4.0 * (-4f64).exp() + 2.0 * (-8f64).exp()) / 6.0).ln();
        assert!((value_of(&evaluation, "uniformity_img").unwrap() - expected).abs() < 1e-13);
        assert_eq!(value_of(&evaluation, "uniformity_txt"), Ok(0.0));
    }
}
