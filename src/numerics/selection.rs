//! Exact quantiles of values that are too many to hold: they pass by twice, once to be counted in bins and once to
//! pick those in the bins where the quantiles are.

use std::collections::BTreeSet;

use pulp::Simd;

use super::similarity::any;
use super::stats::{self, Position, StatsError};

/// Bins of equal width, a power of two. Some hundred thousand values leave a few hundred per bin to be picked.
const BINS: usize = 2048;

/// The quantiles of the sample between which the bins lie. Values outside fall into the first and the last bin.
const SAMPLE_RANGE: [f64; 2] = [0.01, 0.99];

/// Adding this puts the nearest integer into the low bits of the mantissa, for magnitudes below 2^51.
const ROUNDER: f64 = 4_503_599_627_370_496.0;

/// Maps a value to a bin. It never decreases with the value, and has the same bits on every instruction set.
#[derive(Clone, Copy, Debug)]
struct Binning {
    low: f64,
    scale: f64,
}

impl Binning {
    /// The number of the bin, as [`ROUNDER`] plus it.
    #[inline(always)]
    fn key(self, value: f64) -> f64 {
        let place = (value - self.low) * self.scale;
        // `clamp` costs more, for values that are not numbers.
        let place = if place > 0.0 { place } else { 0.0 };
        let last = (BINS - 1) as f64;
        (if place < last { place } else { last }) + ROUNDER
    }

    #[inline(always)]
    fn keys<S: Simd>(self, simd: S, values: S::f64s) -> S::f64s {
        let splat = |value| simd.splat_f64s(value);
        let place = simd.mul_f64s(simd.sub_f64s(values, splat(self.low)), splat(self.scale));
        let place = simd.min_f64s(simd.max_f64s(place, splat(0.0)), splat((BINS - 1) as f64));
        simd.add_f64s(place, splat(ROUNDER))
    }
}

fn bin(key: f64) -> usize {
    key.to_bits() as usize % BINS
}

/// The first pass: counts values, and adds them up.
#[derive(Debug)]
pub struct Bins {
    binning: Binning,
    /// Two counts per bin, taken in turns, so that equal values in a row do not wait for each other.
    counts: Vec<[u32; 2]>,
    sum: f64,
}

impl Bins {
    /// Bins for values of which `sample` is a rough picture: it decides the speed, never the result.
    ///
    /// **Errors** an empty sample; a value that is not finite.
    pub fn new(sample: &[f64]) -> Result<Self, StatsError> {
        let range = stats::quantiles(sample, &SAMPLE_RANGE)?;
        // Values that hardly differ, or do not: a bin for all below or equal, and another for all above.
        let scale = ((BINS - 1) as f64 / (range[1] - range[0])).min(f64::MAX);
        // Minus zero is what sums of nothing begin with: a sum of minus zeros stays one.
        Ok(Self { binning: Binning { low: range[0], scale }, counts: vec![[0; 2]; BINS], sum: -0.0 })
    }

    /// Counts finite values; at most 2^32 in all.
    #[inline(always)]
    pub fn add(&mut self, values: impl Iterator<Item = f64>) {
        let counts: &mut [[u32; 2]; BINS] = self.counts.as_mut_slice().try_into().expect("made with this length");
        let mut sum = self.sum;
        for (at, value) in values.enumerate() {
            sum += value;
            counts[bin(self.binning.key(value))][at % 2] += 1;
        }
        self.sum = sum;
    }

    /// The sum of all values in the order in which they came.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// What the second pass has to pick for these quantiles.
    ///
    /// **Errors** no values counted; a probability outside 0 to 1.
    pub fn pick(&self, probabilities: &[f64]) -> Result<Picked, StatsError> {
        let counts: Vec<usize> = self.counts.iter().map(|[a, b]| (a + b) as usize).collect();
        let ends: Vec<usize> = counts.iter().scan(0, |end, count| Some(cumulate(end, *count))).collect();
        let total = ends[BINS - 1];
        let mut positions = stats::positions(total, probabilities)?;
        let bin_of = |rank: usize| ends.partition_point(|end| *end <= rank);
        // A quantile lies between an order statistic and the next.
        let ranks = positions.iter().flat_map(|p| [p.below, (p.below + 1).min(total - 1)]);
        let bins: BTreeSet<usize> = ranks.map(bin_of).collect();
        // Positions among all become positions among those that will be picked.
        for position in &mut positions {
            let home = bin_of(position.below);
            let before: usize = bins.iter().filter(|bin| **bin < home).map(|bin| counts[*bin]).sum();
            position.below = position.below + counts[home] - ends[home] + before;
        }
        let needed = bins.iter().map(|bin| counts[*bin]).sum();
        let keys = bins.into_iter().map(|bin| ROUNDER + bin as f64).collect();
        Ok(Picked { binning: self.binning, keys, positions, needed, values: Vec::with_capacity(needed) })
    }
}

fn cumulate(end: &mut usize, count: usize) -> usize {
    *end += count;
    *end
}

/// The second pass: picks the values of the bins where the quantiles are.
#[derive(Debug)]
pub struct Picked {
    binning: Binning,
    keys: Vec<f64>,
    positions: Vec<Position>,
    /// How many values there are to pick.
    needed: usize,
    values: Vec<f64>,
}

impl Picked {
    /// Whether one of these values is to be picked.
    #[inline(always)]
    pub fn wants_any<S: Simd>(&self, simd: S, values: S::f64s) -> bool {
        let keys = self.binning.keys(simd, values);
        let mut wanted = simd.less_than_f64s(keys, keys);
        for key in &self.keys {
            wanted = simd.or_m64s(wanted, simd.equal_f64s(keys, simd.splat_f64s(*key)));
        }
        any(simd, wanted)
    }

    /// Picks a value if it is one of those.
    #[inline(always)]
    pub fn take(&mut self, value: f64) {
        if self.keys.contains(&self.binning.key(value)) {
            self.values.push(value);
        }
    }

    /// The quantiles, in the order in which they were asked for: those of [`stats::quantiles`], to the last bit.
    ///
    /// **Errors** when other values passed by than were counted.
    pub fn quantiles(mut self) -> Result<Vec<f64>, StatsError> {
        if self.values.len() != self.needed {
            return Err(StatsError::TooFew { got: self.values.len(), needed: self.needed });
        }
        Ok(stats::at_positions(&mut self.values, &self.positions))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pulp::WithSimd;

    use super::*;
    use crate::numerics::instructions::instruction_sets;

    struct WantsAny<'a>(&'a Picked, f64);

    impl WithSimd for WantsAny<'_> {
        type Output = bool;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> bool {
            self.0.wants_any(simd, simd.splat_f64s(self.1))
        }
    }

    fn two_passes(values: &[f64], sample: &[f64], probabilities: &[f64]) -> Vec<f64> {
        let mut bins = Bins::new(sample).unwrap();
        bins.add(values.iter().copied());
        assert_eq!(bins.sum().to_bits(), values.iter().sum::<f64>().to_bits());
        let mut picked = bins.pick(probabilities).unwrap();
        for value in values {
            let before = picked.values.len();
            picked.take(*value);
            for (_, arch) in instruction_sets() {
                assert_eq!(arch.dispatch(WantsAny(&picked, *value)), picked.values.len() > before, "{value}");
            }
        }
        picked.quantiles().unwrap()
    }

    const PROBABILITIES: [f64; 5] = [0.5, 0.05, 1.0, 0.95, 0.0];

    fn same(values: &[f64], sample: &[f64]) -> Result<(), TestCaseError> {
        let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<u64>>();
        let expected = stats::quantiles(values, &PROBABILITIES).unwrap();
        prop_assert_eq!(bits(two_passes(values, sample, &PROBABILITIES)), bits(expected));
        Ok(())
    }

    proptest! {
        #[test]
        fn equal_to_quantiles_of_held_values_whatever_the_sample(
            values in prop::collection::vec(-1e3..1e3f64, 1..200),
            sample in prop::collection::vec(-1e2..1e2f64, 1..20),
            ties in 1usize..4,
        ) {
            same(&values, &values)?;
            same(&values, &sample)?;
            same(&values.iter().map(|v| (v / 300.0).round()).collect::<Vec<_>>().repeat(ties), &values)?;
        }
    }

    #[test]
    fn minus_zero_stays() {
        same(&[-0.0], &[0.0]).unwrap();
        same(&[0.0, -0.0], &[0.0]).unwrap();
    }

    #[test]
    fn equal_values_and_one_stray() {
        let mut values = vec![0.3; 50];
        same(&values, &values).unwrap();
        for stray in [-1.0, 0.3f64.next_down(), 0.3f64.next_up(), 1.0] {
            values[7] = stray;
            same(&values, &[0.3, 0.3]).unwrap();
        }
    }

    #[test]
    fn few_values_are_picked_when_they_are_spread() {
        let values: Vec<f64> = (0..100_000).map(|i| f64::from(i % 1000) + f64::from(i) * 1e-5).collect();
        let mut bins = Bins::new(&values[..1000]).unwrap();
        bins.add(values.iter().copied());
        assert!(bins.pick(&[0.05, 0.5, 0.95]).unwrap().needed < 1000);
    }

    #[test]
    fn bad_input_is_an_error() {
        assert_eq!(Bins::new(&[]).unwrap_err(), StatsError::TooFew { got: 0, needed: 1 });
        let mut bins = Bins::new(&[1.0, 2.0]).unwrap();
        assert_eq!(bins.pick(&[0.5]).unwrap_err(), StatsError::TooFew { got: 0, needed: 1 });
        bins.add([1.0, 2.0].into_iter());
        assert_eq!(bins.pick(&[1.5]).unwrap_err(), StatsError::Probability(1.5));
        assert_eq!(bins.pick(&[0.5]).unwrap().quantiles(), Err(StatsError::TooFew { got: 0, needed: 2 }));
    }
}
