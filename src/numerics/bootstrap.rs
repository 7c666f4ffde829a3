//! The percentile bootstrap of a mean.

use std::sync::OnceLock;

use super::interval::{expanded_level, student_975};
use super::stats::{Position, StatsError, at_positions, mean};
use super::stream::Streams;

/// Resamples of every interval: enough that Monte Carlo moves an end by 3% of the half-width for eight values (one
/// standard error), few enough that a million intervals take seconds.
pub const RESAMPLES: usize = 4000;

/// Most values that are resampled. For more, the bootstrap distribution of a mean is close to normal, and Student's
/// interval stands in for it, which costs the same for any number.
pub const MAX_RESAMPLED: usize = 64;

/// Up to here the levels lie below the probability of drawing the least value every time, n to the power of -n: the
/// interval goes from the least value to the greatest, whatever the resamples.
pub const ALL_OF_THE_RANGE: usize = 4;

const PURPOSE: &str = "bootstrap of the mean";

/// A 95% percentile bootstrap interval of the mean.
///
/// The values are drawn with replacement [`RESAMPLES`] times; the ends are quantiles of the resamples' means at
/// [`expanded_level`] and its complement rather than at 2.5% and 97.5%, between which the true mean of few values lies
/// too rarely. What is drawn depends on the number of values alone, so that equal samples have equal intervals, wherever
/// they are.
///
/// **Shapes** `ascending` `[n]`, sorted, n >= 2.
/// **Returns** the interval's ends, in the unit of the values, within their range.
/// **Errors** fewer than two values; a value that is not finite.
/// **Numerics** Of a normal distribution it covers the mean in 50% of samples for n = 2, 75% for 3, 87.5% for 4 (from
/// least to greatest value is all that so few can tell), and 93% to 95% from 5 on. Above [`MAX_RESAMPLED`] values it is
/// Student's interval, within their range. The result depends on the multiset of values alone.
/// **Source** Efron 1979; the levels Hesterberg 2015.
pub fn mean_interval(ascending: &[f64], scratch: &mut Vec<f64>) -> Result<(f64, f64), StatsError> {
    let n = ascending.len();
    let centre = mean(ascending)?;
    if n < 2 {
        return Err(StatsError::TooFew { got: n, needed: 2 });
    }
    let (least, greatest) = (ascending[0], ascending[n - 1]);
    let within = |x: f64| x.clamp(least, greatest);
    if n <= ALL_OF_THE_RANGE || least == greatest {
        return Ok((least, greatest));
    }
    if n > MAX_RESAMPLED {
        let squares: f64 = ascending.iter().map(|x| (x - centre) * (x - centre)).sum();
        let half = student_975(n - 1) * (squares / ((n - 1) as f64 * n as f64)).sqrt();
        return Ok((within(centre - half), within(centre + half)));
    }
    let resamples = Resamples::of(n);
    resamples.sums(ascending, centre, scratch);
    let spread = ascending.iter().map(|x| (x - centre) * (x - centre)).sum::<f64>().sqrt();
    let (sums, tail) = scratch.split_at_mut(RESAMPLES);
    let low = resamples.end(sums.iter().copied(), spread, tail);
    let high = -resamples.end(sums.iter().map(|x| -x), spread, tail);
    Ok((within(centre + low / n as f64), within(centre + high / n as f64)))
}

/// Sums of resamples this many standard deviations below their mean and further are where the end of an interval is
/// looked for first: some tenth of them, of which it needs at most the fortieth part.
const TAIL: f64 = 1.25;

/// How often each of `n` values is drawn in each resample.
struct Resamples {
    /// `[n, RESAMPLES]`.
    counts: Vec<f64>,
    /// Where the lower end of the interval lies among the sorted means; the upper lies as far from their end.
    end: Position,
}

impl Resamples {
    /// Those for `n` values, drawn once per process.
    fn of(n: usize) -> &'static Self {
        static DRAWN: [OnceLock<Resamples>; MAX_RESAMPLED + 1] = [const { OnceLock::new() }; MAX_RESAMPLED + 1];
        DRAWN[n].get_or_init(|| Self::draw(n))
    }

    fn draw(n: usize) -> Self {
        let mut stream = Streams::new(0, PURPOSE).item(n as u64);
        let mut counts = vec![0.0; n * RESAMPLES];
        for resample in 0..RESAMPLES {
            for _ in 0..n {
                counts[stream.below(n) * RESAMPLES + resample] += 1.0;
            }
        }
        let at = (RESAMPLES - 1) as f64 * expanded_level(n);
        Self { counts, end: Position { below: at as usize, share: at.fract() } }
    }

    /// The quantile of the sums at the lower end. `tail` is room for as many.
    fn end(&self, sums: impl Iterator<Item = f64> + Clone, spread: f64, tail: &mut [f64]) -> f64 {
        let mut gather = |cut: f64| {
            let mut length = 0;
            for sum in sums.clone() {
                // Written always and kept sometimes: no branch to predict.
                tail[length] = sum;
                length += usize::from(sum < cut);
            }
            length
        };
        let mut length = gather(-TAIL * spread);
        if length < self.end.below + 2 {
            length = gather(f64::INFINITY);
        }
        at_positions(&mut tail[..length], &[self.end])[0]
    }

    /// The resamples' sums of deviations from `centre`, which keeps their digits where the values share an offset.
    fn sums(&self, values: &[f64], centre: f64, sums: &mut Vec<f64>) {
        sums.clear();
        // And room for their tail, with one to spare for what is written and not kept.
        sums.resize(2 * RESAMPLES + 1, 0.0);
        let sums = &mut sums[..RESAMPLES];
        // No fused multiply-add, so that every instruction set gives the same bits.
        pulp::Arch::new().dispatch(|| {
            for (value, counts) in values.iter().zip(self.counts.chunks_exact(RESAMPLES)) {
                let deviation = value - centre;
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum += deviation * count;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(values: &[f64]) -> (f64, f64) {
        let mut ascending = values.to_vec();
        ascending.sort_by(f64::total_cmp);
        mean_interval(&ascending, &mut Vec::new()).expect("an interval")
    }

    #[test]
    fn it_matches_scipy_within_monte_carlo_error() {
        // scipy 1.17.1: stats.bootstrap((values,), np.mean, method="percentile", n_resamples=400000,
        // confidence_level=1 - 2 * level(n), random_state=1), level(n) as in `expanded_level`; standard_error last.
        let exponentials = [
            0.135, 0.177, 0.231, 0.301, 0.393, 0.513, 0.67, 0.875, 1.143, 1.492, 1.948, 2.543, 3.32, 4.335, 5.659,
            7.389,
        ];
        let golden: [(&[f64], f64, f64, f64); 4] = [
            (&[1.0, 2.0, 4.0, 8.0, 16.0], 1.2, 14.4, 2.4415),
            (&[3.0, -1.5, 0.25, 8.0, 2.0, 2.0, -4.0, 0.5], -1.46875, 4.375, 1.1626),
            (&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0], 1.0, 5.0, 0.93665),
            (&exponentials, 0.911875, 3.2106875, 0.5278),
        ];
        for (values, low, high, standard_error) in golden {
            // The end at level a varies by sqrt(a (1 - a) / 4000) / density standard errors: 0.24 for a of 0.00095,
            // 0.10 for 0.0057, 0.05 for 0.014. Four times that.
            let spread = if values.len() == 5 {
                0.24
            } else if values.len() == 8 {
                0.10
            } else {
                0.05
            };
            let got = interval(values);
            let off = |x: f64, y: f64| (x - y).abs() / standard_error;
            assert!(off(got.0, low) < 4.0 * spread && off(got.1, high) < 4.0 * spread, "{got:?} {low} {high}");
        }
    }

    #[test]
    fn degenerate_samples() {
        assert!(mean_interval(&[], &mut Vec::new()).is_err());
        assert!(mean_interval(&[1.0], &mut Vec::new()).is_err());
        assert!(mean_interval(&[1.0, f64::NAN], &mut Vec::new()).is_err());
        assert_eq!(interval(&[3.0, 1.0]), (1.0, 3.0));
        for n in [2, 8, 100] {
            assert_eq!(interval(&vec![0.1; n]), (0.1, 0.1));
        }
    }

    #[test]
    fn it_moves_and_scales_with_the_values() {
        let values = [3.0, -1.5, 0.25, 8.0, 2.0, 2.0, -4.0, 0.5];
        let (low, high) = interval(&values);
        let moved = interval(&values.map(|x| 2.0 * x + 1e6));
        // Digits that the offset takes.
        assert!((moved.0 - (2.0 * low + 1e6)).abs() < 1e-8 && (moved.1 - (2.0 * high + 1e6)).abs() < 1e-8);
    }

    #[test]
    fn it_covers_the_mean_of_a_normal_distribution() {
        // Twice the standard error of a rate of one half; six times that of the nominal rate is 0.018.
        let (samples, tolerance) = (5_000, 0.015);
        // From least to greatest of n it misses when all lie on one side: 2 / 2^n. Five cannot reach the nominal rate.
        for (n, rate) in [(2, 0.5), (3, 0.75), (4, 0.875), (5, 0.925), (8, 0.95), (16, 0.95), (64, 0.95), (65, 0.95)] {
            let mut scratch = Vec::new();
            let covered = (0..samples).filter(|item| {
                let mut stream = Streams::new(1, "coverage").item(*item);
                let mut values: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
                values.sort_by(f64::total_cmp);
                let (low, high) = mean_interval(&values, &mut scratch).expect("an interval");
                low <= 0.0 && 0.0 <= high
            });
            let got = covered.count() as f64 / samples as f64;
            assert!((got - rate).abs() < tolerance, "n = {n}: {got}");
        }
    }
}
