//! A mean with its interval, over as many values as there are seeds.

use std::collections::BTreeSet;

use serde::Serialize;

use super::bootstrap::{self, ALL_OF_THE_RANGE, mean_interval};
use super::interval::student_975;
use super::stats::{StatsError, mean, sample_sd};

/// A mean over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    pub n: usize,
    pub mean: f64,
    /// 95% interval of the mean; none for fewer than three values.
    pub low: Option<f64>,
    pub high: Option<f64>,
}

impl Estimate {
    /// With an interval that stays within the range of what was averaged. The mean lies there, so that nothing is lost of how
    /// often the interval holds it.
    pub fn within(self, (least, greatest): (f64, f64)) -> Self {
        // A range is kept but for rounding: the mean stays inside the interval.
        let low = self.low.map(|low| low.max(least).min(self.mean));
        let high = self.high.map(|high| high.min(greatest).max(self.mean));
        Self { low, high, ..self }
    }
}

/// Fewest values that have an interval.
const FEWEST: usize = 3;

/// The method of [`estimate`] in words, for these numbers of seeds. None when every number is below three.
pub fn method(counts: impl IntoIterator<Item = usize>) -> Option<String> {
    let counts: BTreeSet<usize> = counts.into_iter().filter(|n| *n >= FEWEST).collect();
    let few: Vec<String> = counts.range(..=ALL_OF_THE_RANGE).map(ToString::to_string).collect();
    let few = (!few.is_empty()).then(|| format!("over {} seeds Student's at 95%", few.join(", ")));
    let ways: Vec<String> =
        few.into_iter().chain(bootstrap::method(counts.range(bootstrap::FEWEST_COVERED..).copied())).collect();
    (!ways.is_empty()).then(|| format!("{}; held to the range of the quantity", ways.join("; ")))
}

/// The mean of values and its 95% interval.
///
/// **Shapes** `values` `[n]`, in any order.
/// **Returns** none for no values. Of three and four the interval is Student's, of more that of [`mean_interval`],
/// which for so few would be their range and hold the mean of a normal distribution in 75% and 88% of samples.
/// **Errors** a value that is not finite.
///
/// ```
/// let estimate = cliffline::numerics::estimate::estimate(&[3.0, 1.0, 2.0]).unwrap().unwrap();
/// assert_eq!((estimate.n, estimate.mean), (3, 2.0));
/// assert!((estimate.high.unwrap() - 4.484).abs() < 1e-3);
/// ```
pub fn estimate(values: &[f64]) -> Result<Option<Estimate>, StatsError> {
    if values.is_empty() {
        return Ok(None);
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (n, mean) = (sorted.len(), mean(&sorted)?);
    let interval = match n {
        0..FEWEST => None,
        FEWEST..=ALL_OF_THE_RANGE => {
            let half = student_975(n - 1) * sample_sd(&sorted)? / (n as f64).sqrt();
            Some((mean - half, mean + half))
        }
        _ => Some(mean_interval(&sorted, &mut Vec::new())?),
    };
    Ok(Some(Estimate { n, mean, low: interval.map(|ends| ends.0), high: interval.map(|ends| ends.1) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::stream::Streams;

    #[test]
    fn words_follow_the_number_of_seeds() {
        assert_eq!((method([]), method([2])), (None, None));
        let words = |counts: std::ops::RangeInclusive<usize>| method(counts).expect("some way");
        assert_eq!(words(3..=4), "over 3, 4 seeds Student's at 95%; held to the range of the quantity");
        let bootstrap =
            "a 95% percentile bootstrap over seeds at levels widened for few; held to the range of the quantity";
        assert_eq!(words(5..=64), bootstrap);
        let many = words(100..=100);
        assert!(many.starts_with("over more than 64 seeds Student's at 95%") && !many.contains("bootstrap"), "{many}");
    }

    #[test]
    fn intervals_hold_the_mean_of_normal_samples_as_often_as_they_say() {
        let streams = Streams::new(11, "test of estimates");
        for n in [3, 4, 8] {
            let held = (0..2000).filter(|i| {
                let mut draws = streams.item(*i);
                let values: Vec<f64> = (0..n).map(|_| draws.normal()).collect();
                let found = estimate(&values).expect("finite").expect("values");
                found.low.is_some_and(|low| low <= 0.0) && found.high.is_some_and(|high| high >= 0.0)
            });
            let share = held.count() as f64 / 2000.0;
            // Three standard errors of a share of 0.95 are 0.015.
            assert!((0.93..=0.97).contains(&share), "{n}: {share}");
        }
    }

    #[test]
    fn an_interval_stays_within_the_range_of_its_quantity() {
        // Student's of these three begins below 0, where no effective rank is.
        let found = estimate(&[1.0, 1.2, 2.3]).expect("finite").expect("values");
        assert!(found.low < Some(0.0), "{found:?}");
        let held = found.within((1.0, 2.5));
        assert_eq!((held.mean, held.low, held.high), (found.mean, Some(1.0), Some(2.5)));
        assert_eq!(found.within((f64::NEG_INFINITY, f64::INFINITY)), found);
        // A mean that lies beyond its range by a rounding stays in its interval.
        let cosine = Estimate { n: 3, mean: 1.0 + 1e-9, low: Some(0.9), high: Some(1.1) };
        assert_eq!(cosine.within((-1.0, 1.0)).high, Some(1.0 + 1e-9));
    }

    #[test]
    fn few_values_have_no_interval_and_none_no_mean() {
        assert_eq!(estimate(&[]), Ok(None));
        assert_eq!(estimate(&[2.0, 4.0]).map(|e| e.map(|e| (e.mean, e.low))), Ok(Some((3.0, None))));
        assert!(estimate(&[1.0, f64::NAN, 2.0]).is_err());
    }
}
