//! What a probe reads where there is nothing to read: its distribution when labels or partners are permuted.

use super::MetricError;
use crate::numerics::stats;
use crate::numerics::stream::Streams;

/// Permutations behind a null distribution. Its standard deviation is then known to 5%, its mean to 7% of one standard
/// deviation.
pub(super) const PERMUTATIONS: usize = 200;

/// Standard deviations of the null that make up a two-sided interval of 99% around zero excess, if the null is normal.
#[cfg(test)]
pub(super) const INTERVAL_99: f64 = 2.576;

/// Permutations of the samples, one after the other, `[200, N]`: the same for every probe of an evaluation.
pub(super) fn permutations(seed: u64, samples: usize) -> Vec<u32> {
    let streams = Streams::new(seed, "metric.permutation");
    (0..PERMUTATIONS as u64).flat_map(|at| streams.item(at).permutation(samples)).map(|i| i as u32).collect()
}

/// A value in excess of the mean of its null, and the standard deviation of that null.
///
/// **Errors** a null without spread, under which the excess means nothing.
pub(super) fn excess(value: f64, null: &[f64]) -> Result<[f64; 2], MetricError> {
    let sd = stats::sample_sd(null)?;
    let mean = stats::mean(null)?;
    // Permutations that all give the same differ by rounding.
    if sd <= 1e2 * f64::EPSILON * mean.abs() {
        return Err(MetricError::NoNullSpread);
    }
    Ok([value - mean, sd])
}

/// The same reason for each of several values, or the values.
pub(super) fn each<const K: usize>(values: Result<[f64; K], MetricError>) -> Vec<Result<f64, MetricError>> {
    match values {
        Ok(values) => values.map(Ok).into(),
        Err(reason) => vec![Err(reason); K],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_depend_on_the_seed_and_hold_every_sample() {
        let (a, b) = (permutations(1, 7), permutations(2, 7));
        assert_eq!(a, permutations(1, 7));
        assert_ne!(a, b);
        for order in a.chunks_exact(7) {
            let mut sorted = order.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..7).collect::<Vec<u32>>());
        }
    }

    #[test]
    fn excess_hand_worked() {
        assert_eq!(excess(7.0, &[1.0, 2.0, 6.0]), Ok([4.0, 7f64.sqrt()]));
        assert_eq!(excess(7.0, &[0.1 + 0.2, 0.3, 0.3]), Err(MetricError::NoNullSpread));
    }
}
