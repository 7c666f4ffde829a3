//! The percentile bootstrap of a mean.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use pulp::{Arch, Simd, WithSimd};

use super::interval::{expanded_level, student_975};
use super::stats::{Position, StatsError, interpolate, mean};
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

/// Fewest values whose interval holds the mean about as often as it says.
pub const FEWEST_COVERED: usize = ALL_OF_THE_RANGE + 1;

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
    let (low, high) = Resamples::of(n).ends(ascending, centre, scratch);
    Ok((within(centre + low / n as f64), within(centre + high / n as f64)))
}

/// How often, in percent, the range of so many values of a normal distribution holds its mean.
const COVERED: [(usize, u32); 3] = [(2, 50), (3, 75), (4, 88)];

/// Numbers of values of which every way of making an interval is one: for texts about any number of seeds.
pub const ANY_COUNT: std::ops::RangeInclusive<usize> = 2..=MAX_RESAMPLED + 1;

/// The method of [`mean_interval`] in words, for means over these numbers of seeds. It continues a sentence that names
/// the means. None when every number is below two, since such a mean has no interval. Every text that shows an interval
/// of a mean takes its words from here.
pub fn method(counts: impl IntoIterator<Item = usize>) -> Option<String> {
    let counts: BTreeSet<usize> = counts.into_iter().filter(|n| *n >= 2).collect();
    let most = *counts.last()?;
    let mut ways = Vec::new();
    let few = COVERED.iter().filter(|(n, _)| counts.contains(n));
    let (seeds, shares): (Vec<String>, Vec<String>) = few.map(|(n, share)| (n.to_string(), share.to_string())).unzip();
    if !seeds.is_empty() {
        ways.push(format!(
            "over {} seeds from the least value to the greatest, which holds the mean of a normal distribution in {}% of \
             samples",
            seeds.join(", "),
            shares.join(", ")
        ));
    }
    if counts.range(FEWEST_COVERED..=MAX_RESAMPLED).next().is_some() {
        ways.push("a 95% percentile bootstrap over seeds at levels widened for few".to_string());
    }
    if most > MAX_RESAMPLED {
        ways.push(format!("over more than {MAX_RESAMPLED} seeds Student's at 95%, within the range of the values"));
    }
    Some(ways.join("; "))
}

/// Resamples whose sums are formed at a time, in registers: five of the widest vectors, twenty of the narrowest.
const BLOCK: usize = 160;
/// Sums that are looked at together: one of the widest vectors.
const WIDTH: usize = 32;
const _: () = assert!(RESAMPLES.is_multiple_of(BLOCK) && BLOCK.is_multiple_of(WIDTH) && RESAMPLES <= i16::MAX as usize);

/// Resamples left between the bounds of an end when the search for it stops: so few that their exact sums cost about
/// what one more step would.
const FEW: usize = 8;

/// Where the search for an end starts, in standard deviations around the normal one, as a fraction of one: some thirty
/// resamples' worth.
const FIRST_STEP: f64 = 0.125;

/// Sums of resamples in whole numbers: of deviations that are rounded so that no sum leaves the type.
type Rounded = [i16; RESAMPLES];

/// How often each of `n` values is drawn in each resample.
struct Resamples {
    n: usize,
    /// `[RESAMPLES / BLOCK, n, BLOCK]`, for the sums of all.
    blocks: Vec<i16>,
    /// `[RESAMPLES, n]`, for the sum of one.
    rows: Vec<u8>,
    /// Where the lower end of the interval lies among the sorted means; the upper lies as far from their end.
    end: Position,
    /// Where it lies in a normal distribution, in standard deviations from its mean.
    reach: f64,
}

impl Resamples {
    /// Those for `n` values, drawn once per process.
    fn of(n: usize) -> &'static Self {
        static DRAWN: [OnceLock<Resamples>; MAX_RESAMPLED + 1] = [const { OnceLock::new() }; MAX_RESAMPLED + 1];
        DRAWN[n].get_or_init(|| Self::draw(n))
    }

    fn draw(n: usize) -> Self {
        let mut stream = Streams::new(0, PURPOSE).item(n as u64);
        let (mut blocks, mut rows) = (vec![0; n * RESAMPLES], vec![0; n * RESAMPLES]);
        for resample in 0..RESAMPLES {
            for _ in 0..n {
                let value = stream.below(n);
                blocks[(resample / BLOCK * n + value) * BLOCK + resample % BLOCK] += 1;
                rows[resample * n + value] += 1;
            }
        }
        let at = (RESAMPLES - 1) as f64 * expanded_level(n);
        let reach = (n as f64 / (n - 1) as f64).sqrt() * student_975(n - 1);
        Self { n, blocks, rows, end: Position { below: at as usize, share: at.fract() }, reach }
    }

    /// The interval of the resamples' sums of deviations from `centre`, which keeps their digits where the values share
    /// an offset.
    ///
    /// Rounded sums find the few resamples that can be an end; their exact sums, added up in the order of the values,
    /// decide. So the result is that of sorting all exact sums, and whole numbers are the same in vectors of any width.
    fn ends(&self, values: &[f64], centre: f64, exact: &mut Vec<f64>) -> (f64, f64) {
        let greatest = values.iter().fold(0.0f64, |most, x| most.max((x - centre).abs()));
        // So that n of them fit.
        let unit = (usize::from(i16::MAX.unsigned_abs()) / self.n) as f64;
        let mut rounded = [0i16; MAX_RESAMPLED];
        let mut squares = 0.0;
        for (rounded, x) in rounded.iter_mut().zip(values) {
            let deviation = ((x - centre) / greatest * unit).round_ties_even();
            squares += deviation * deviation;
            *rounded = deviation as i16;
        }
        Arch::new().dispatch(Ends {
            resamples: self,
            values,
            centre,
            rounded: &rounded[..self.n],
            spread: squares.sqrt(),
            exact,
        })
    }
}

/// The ends of an interval, in the widest vectors there are.
struct Ends<'a> {
    resamples: &'a Resamples,
    values: &'a [f64],
    centre: f64,
    /// The values' deviations from `centre`, rounded, and the standard deviation of a resample's sum of them.
    rounded: &'a [i16],
    spread: f64,
    exact: &'a mut Vec<f64>,
}

impl WithSimd for Ends<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) -> (f64, f64) {
        let mut sums = [0i16; RESAMPLES];
        self.sums(&mut sums);
        let Position { below, share } = self.resamples.end;
        let (reach, step) = (self.resamples.reach * self.spread, FIRST_STEP * self.spread);
        let low = self.pair(&sums, below, bounds(&sums, below, -reach, step));
        let below = RESAMPLES - 2 - below;
        let high = self.pair(&sums, below, bounds(&sums, below, reach, step));
        (interpolate(low.0, low.1, share), interpolate(high.1, high.0, share))
    }
}

impl Ends<'_> {
    #[inline(always)]
    fn sums(&self, sums: &mut Rounded) {
        let blocks = self.resamples.blocks.chunks_exact(self.rounded.len() * BLOCK);
        for (sums, counts) in sums.chunks_exact_mut(BLOCK).zip(blocks) {
            let mut block = [0i16; BLOCK];
            for (deviation, counts) in self.rounded.iter().zip(counts.chunks_exact(BLOCK)) {
                for (sum, count) in block.iter_mut().zip(counts) {
                    *sum = sum.wrapping_add(deviation.wrapping_mul(*count));
                }
            }
            sums.copy_from_slice(&block);
        }
    }

    /// The order statistic `below` of the exact sums, and the next; rounded they lie within the bounds.
    #[inline(always)]
    fn pair(&mut self, sums: &Rounded, below: usize, (from, to): (i16, i16)) -> (f64, f64) {
        let n = self.values.len();
        // A rounded sum is off by less than half a unit per value and one for all roundings of the exact one; two sums
        // further apart than twice that are in the same order exactly.
        let slack = n as i16 + 2;
        let (from, to) = (from.saturating_sub(slack), to.saturating_add(slack));
        self.exact.clear();
        for (at, sums) in sums.chunks_exact(WIDTH).enumerate() {
            if sums.iter().fold(false, |any, x| any | ((*x >= from) & (*x <= to))) {
                for (at, _) in (at * WIDTH..).zip(sums).filter(|(_, x)| (from..=to).contains(*x)) {
                    let row = &self.resamples.rows[at * n..][..n];
                    // No fused multiply-add, so that every instruction set gives the same bits.
                    let add = |sum, (x, n): (&f64, &u8)| sum + (x - self.centre) * f64::from(*n);
                    self.exact.push(self.values.iter().zip(row).fold(0.0, add));
                }
            }
        }
        let (_, low, above) = self.exact.select_nth_unstable_by(below - under(sums, from), f64::total_cmp);
        let low = *low;
        (low, above.iter().copied().min_by(f64::total_cmp).unwrap_or(low))
    }
}

/// How many sums are less than `limit`.
#[inline(always)]
fn under(sums: &Rounded, limit: i16) -> usize {
    sums.iter().map(|x| u16::from(*x < limit)).sum::<u16>().into()
}

/// Bounds, inclusive, of the order statistic `below` and the next. Looks around `guess` first, a `step` further each time.
#[inline(always)]
fn bounds(sums: &Rounded, below: usize, guess: f64, step: f64) -> (i16, i16) {
    let (least, greatest) = (i32::from(i16::MIN), i32::from(i16::MAX));
    let (mut from, mut to) = (least, greatest);
    let (mut under_from, mut up_to) = (0, RESAMPLES);
    let mut probe = (guess as i32).clamp(least + 1, greatest);
    let mut step = (step as i32).max(1);
    while up_to - under_from > FEW && from < to {
        let count = under(sums, probe as i16);
        if count <= below {
            (from, under_from) = (probe, count);
        } else {
            (to, up_to) = (probe - 1, count);
        }
        probe = if to == greatest {
            from.saturating_add(step)
        } else if from == least {
            to.saturating_sub(step - 1)
        } else {
            (from + to + 1).div_euclid(2)
        };
        probe = probe.clamp(least + 1, greatest);
        step = step.saturating_mul(2);
    }
    let mut to = to as i16;
    if up_to < below + 2 {
        // The next is the least above.
        to = sums.iter().map(|x| if *x > to { *x } else { i16::MAX }).min().unwrap_or(to);
    }
    (from as i16, to)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn interval(values: &[f64]) -> (f64, f64) {
        let mut ascending = values.to_vec();
        ascending.sort_by(f64::total_cmp);
        mean_interval(&ascending, &mut Vec::new()).expect("an interval")
    }

    #[test]
    fn words_follow_the_number_of_values() {
        let method = |counts: std::ops::RangeInclusive<usize>| super::method(counts).expect("some way");
        assert_eq!((super::method([]), super::method([1])), (None, None), "no interval is made in no way");
        let few = "seeds from the least value to the greatest, which holds the mean of a normal distribution in";
        assert_eq!(method(4..=4), format!("over 4 {few} 88% of samples"));
        assert_eq!(method(2..=4), format!("over 2, 3, 4 {few} 50, 75, 88% of samples"));
        assert_eq!(method(5..=16), "a 95% percentile bootstrap over seeds at levels widened for few");
        assert_eq!(method(3..=100).matches("; ").count(), 2);
        assert!(method(65..=100).starts_with("over more than 64 seeds Student's at 95%"));
        assert_eq!(method(ANY_COUNT).matches("; ").count(), 2);
        // What no interval is over is not said.
        assert_eq!(super::method([2, 8]).map(|text| text.starts_with(&format!("over 2 {few} 50% of"))), Some(true));
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

    /// By its definition: every sum, sorted.
    fn by_sorting(ascending: &[f64]) -> (f64, f64) {
        let n = ascending.len();
        let centre = mean(ascending).expect("finite");
        let resamples = Resamples::of(n);
        let sum = |row: &[u8]| ascending.iter().zip(row).map(|(x, count)| (x - centre) * f64::from(*count)).sum();
        let mut sums: Vec<f64> = resamples.rows.chunks_exact(n).map(sum).collect();
        sums.sort_by(f64::total_cmp);
        let Position { below, share } = resamples.end;
        let from_end = RESAMPLES - 1 - below;
        let low = interpolate(sums[below], sums[below + 1], share);
        let high = interpolate(sums[from_end], sums[from_end - 1], share);
        let within = |x: f64| (centre + x / n as f64).clamp(ascending[0], ascending[n - 1]);
        (within(low), within(high))
    }

    #[test]
    fn the_search_ends_where_sorting_does() {
        let mut scratch = Vec::new();
        for n in [5, 6, 7, 8, 9, 16, 31, 64] {
            for item in 0..20 {
                let mut stream = Streams::new(2, "search").item(item);
                let normal: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
                let heavy = |x: &f64| x.powi(5);
                // Few distinct values, of which most sums are equal; sums that differ by less than they are rounded.
                let ties = |x: &f64| x.round().max(0.0);
                let close = |x: &f64| if *x > 1.5 { 1e9 } else { *x };
                let (tiny, huge) = (|x: &f64| x * 1e-310, |x: &f64| x * 1e300);
                for shape in [heavy as fn(&f64) -> f64, ties, close, tiny, huge, |x| x + 1e6, |x| -x.exp()] {
                    let mut values: Vec<f64> = normal.iter().map(shape).collect();
                    values.sort_by(f64::total_cmp);
                    let got = mean_interval(&values, &mut scratch).expect("an interval");
                    let expected =
                        if values[0] == values[n - 1] { (values[0], values[0]) } else { by_sorting(&values) };
                    assert_eq!(got, expected, "{values:?}");
                }
            }
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

    /// Values of one magnitude, whichever, or neighbours as numbers, or the least numbers there are.
    fn any_values() -> impl Strategy<Value = Vec<f64>> {
        let power = prop_oneof![-320i32..300, Just(0)];
        let scaled = (prop::collection::vec(-1.0f64..1.0, 2..80), power)
            .prop_map(|(values, power)| values.into_iter().map(|x| x * 10f64.powi(power)).collect());
        let near = prop::collection::vec(0u64..5, 2..80);
        let ones = near.clone().prop_map(|away| away.iter().map(|n| f64::from_bits(1.0f64.to_bits() + n)).collect());
        let least = near.prop_map(|bits| bits.into_iter().map(f64::from_bits).collect());
        prop_oneof![scaled, ones, least]
    }

    proptest! {
        #[test]
        fn any_finite_values_have_an_interval_within_their_range(mut values in any_values()) {
            values.sort_by(f64::total_cmp);
            let (low, high) = mean_interval(&values, &mut Vec::new()).expect("finite");
            prop_assert!(values[0] <= low && low <= high && high <= values[values.len() - 1], "{} {}", low, high);
        }
    }
}
