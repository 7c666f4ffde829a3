//! Descriptive statistics of a slice of finite `f64` values. Sums run in index order, so that the same values in the
//! same order always give the same bits.

/// Why a statistic has no value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StatsError {
    #[error("needs at least {needed} values, got {got}")]
    TooFew { got: usize, needed: usize },
    #[error("value {index} is {value}, not finite")]
    NotFinite { index: usize, value: f64 },
    #[error("value {index} is {value}, negative")]
    Negative { index: usize, value: f64 },
    #[error("all values are equal")]
    NoSpread,
    #[error("all values are zero")]
    AllZero,
    #[error("a probability must lie in 0 to 1, got {0}")]
    Probability(f64),
}

/// The arithmetic mean.
///
/// **Shapes** `values` `[n]`, n >= 1.
/// **Returns** the mean, in the unit of the values.
/// **Errors** no values; a value that is not finite.
/// **Numerics** plain summation in index order; relative error at most n times 1.1e-16 of the mean magnitude.
///
/// ```
/// assert_eq!(cliffline::numerics::stats::mean(&[1.0, 2.0, 6.0]), Ok(3.0));
/// ```
pub fn mean(values: &[f64]) -> Result<f64, StatsError> {
    require(values, 1)?;
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample variance, with divisor n - 1.
///
/// **Shapes** `values` `[n]`, n >= 2.
/// **Returns** the variance, in the squared unit of the values; 0 or more.
/// **Errors** fewer than two values; a value that is not finite.
/// **Numerics** two passes: the mean, then squared deviations from it, so a large common offset costs no digits.
///
/// ```
/// assert_eq!(cliffline::numerics::stats::sample_variance(&[1.0, 2.0, 6.0]), Ok(7.0));
/// ```
pub fn sample_variance(values: &[f64]) -> Result<f64, StatsError> {
    require(values, 2)?;
    let centre = mean(values)?;
    Ok(values.iter().map(|x| (x - centre) * (x - centre)).sum::<f64>() / (values.len() - 1) as f64)
}

/// The sample standard deviation: the square root of [`sample_variance`], under the same conditions.
pub fn sample_sd(values: &[f64]) -> Result<f64, StatsError> {
    sample_variance(values).map(f64::sqrt)
}

/// Quantiles by linear interpolation between order statistics (type 7 of Hyndman and Fan 1996, the default of
/// `numpy.quantile`).
///
/// **Shapes** `values` `[n]`, n >= 1; `probabilities` `[q]`, each in 0 to 1, in any order.
/// **Returns** `[q]` quantiles in the order of `probabilities`, in the unit of the values.
/// **Errors** no values; a value that is not finite; a probability outside 0 to 1.
/// **Numerics** selection on a copy, no full sort; interpolates from the nearer order statistic, as numpy does.
/// **Source** Hyndman and Fan 1996, "Sample quantiles in statistical packages", definition 7.
///
/// ```
/// assert_eq!(cliffline::numerics::stats::quantiles(&[4.0, 1.0, 3.0, 2.0], &[0.5, 1.0]), Ok(vec![2.5, 4.0]));
/// ```
pub fn quantiles(values: &[f64], probabilities: &[f64]) -> Result<Vec<f64>, StatsError> {
    require(values, 1)?;
    Ok(at_positions(&mut values.to_vec(), &positions(values.len(), probabilities)?))
}

/// One of the [`quantiles`] of values that are sorted already, which costs next to nothing; under the same conditions.
pub fn quantile_of_sorted(ascending: &[f64], probability: f64) -> Result<f64, StatsError> {
    require(ascending, 1)?;
    let Position { below, share } = position(ascending.len(), probability)?;
    let low = ascending[below];
    Ok(interpolate(low, ascending.get(below + 1).copied().unwrap_or(low), share))
}

/// Where a quantile lies among the sorted values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// Index of the order statistic at or below it.
    pub below: usize,
    /// How far it is from there to the next.
    pub share: f64,
}

/// The positions of quantiles among `n` sorted values.
pub(super) fn positions(n: usize, probabilities: &[f64]) -> Result<Vec<Position>, StatsError> {
    probabilities.iter().map(|p| position(n, *p)).collect()
}

fn position(n: usize, probability: f64) -> Result<Position, StatsError> {
    let last = n.checked_sub(1).ok_or(StatsError::TooFew { got: 0, needed: 1 })?;
    let at = last as f64 * probability;
    let inside = (0.0..=1.0).contains(&probability);
    inside
        .then_some(Position { below: at as usize, share: at - at.floor() })
        .ok_or(StatsError::Probability(probability))
}

/// The quantiles at `positions`; reorders the values.
pub(super) fn at_positions(values: &mut [f64], positions: &[Position]) -> Vec<f64> {
    // Ascending, so that each selection only searches the part that the one before it left unsorted.
    let mut order: Vec<usize> = (0..positions.len()).collect();
    order.sort_by_key(|&at| positions[at].below);
    let mut answers = vec![0.0; positions.len()];
    let mut settled = 0;
    for at in order {
        let Position { below, share } = positions[at];
        let (_, low, above) = values[settled..].select_nth_unstable_by(below - settled, f64::total_cmp);
        let low = *low;
        let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
        answers[at] = interpolate(low, high, share);
        settled = below;
    }
    answers
}

/// The quantile at one probability; see [`quantiles`].
pub fn quantile(values: &[f64], probability: f64) -> Result<f64, StatsError> {
    quantiles(values, &[probability])?.pop().ok_or(StatsError::TooFew { got: 0, needed: 1 })
}

/// The Gini coefficient of non-negative amounts: half the mean absolute difference between two of them, over their
/// mean.
///
/// **Shapes** `amounts` `[n]`, n >= 1.
/// **Returns** dimensionless, in 0 to (n - 1) / n: 0 when all amounts are equal, (n - 1) / n when one holds them all.
/// **Errors** no amounts; one that is negative or not finite; all zero (the ratio is 0 / 0).
/// **Numerics** one sort of a copy; exact for counts up to 2^53 in total, before the division.
/// **Source** Gini 1912, in its order-statistics form. No small-sample correction.
///
/// ```
/// assert_eq!(cliffline::numerics::stats::gini(&[0.0, 4.0, 0.0, 0.0]), Ok(0.75));
/// ```
pub fn gini(amounts: &[f64]) -> Result<f64, StatsError> {
    require(amounts, 1)?;
    if let Some((index, &value)) = amounts.iter().enumerate().find(|(_, x)| **x < 0.0) {
        return Err(StatsError::Negative { index, value });
    }
    let mut ascending = amounts.to_vec();
    ascending.sort_unstable_by(f64::total_cmp);
    let n = ascending.len() as f64;
    let total: f64 = ascending.iter().sum();
    if total == 0.0 {
        return Err(StatsError::AllZero);
    }
    let weighted: f64 = ascending.iter().enumerate().map(|(i, x)| (2.0 * (i + 1) as f64 - n - 1.0) * x).sum();
    Ok(weighted / (n * total))
}

/// The skewness: the third central moment over the 3/2 power of the second, both with divisor n.
///
/// **Shapes** `values` `[n]`, n >= 2.
/// **Returns** dimensionless; positive when the long tail is above the mean.
/// **Errors** fewer than two values; a value that is not finite; no spread (the ratio is 0 / 0).
/// **Numerics** two passes. As in scipy, a standard deviation within rounding of the mean counts as no spread.
/// **Source** Fisher-Pearson coefficient g1; `scipy.stats.skew` with `bias=True`, its default.
///
/// ```
/// assert_eq!(cliffline::numerics::stats::skewness(&[1.0, 2.0, 3.0]), Ok(0.0));
/// ```
pub fn skewness(values: &[f64]) -> Result<f64, StatsError> {
    require(values, 2)?;
    let n = values.len() as f64;
    let centre = mean(values)?;
    let moment = |power: i32| values.iter().map(|x| (x - centre).powi(power)).sum::<f64>() / n;
    let second = moment(2);
    if second.sqrt() <= f64::EPSILON * centre.abs() {
        return Err(StatsError::NoSpread);
    }
    Ok(moment(3) / (second * second.sqrt()))
}

fn require(values: &[f64], needed: usize) -> Result<(), StatsError> {
    if values.len() < needed {
        return Err(StatsError::TooFew { got: values.len(), needed });
    }
    match values.iter().enumerate().find(|(_, x)| !x.is_finite()) {
        Some((index, &value)) => Err(StatsError::NotFinite { index, value }),
        None => Ok(()),
    }
}

/// `low + share * (high - low)` from the nearer end, so that `share` of 0 and 1 return the ends themselves.
pub(super) fn interpolate(low: f64, high: f64, share: f64) -> f64 {
    if share < 0.5 { low + (high - low) * share } else { high - (high - low) * (1.0 - share) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hand-worked and golden values agree to rounding of a handful of operations.
    const ROUNDING: f64 = 1e-14;

    const SAMPLE: [f64; 8] = [3.0, -1.5, 0.25, 8.0, 2.0, 2.0, -4.0, 0.5];

    #[test]
    fn quantiles_match_numpy() {
        // numpy 2.4.6: numpy.quantile(SAMPLE, [0, .05, .1, .5, .9, .95, 1]), the default method "linear".
        let golden = [-4.0, -3.125, -2.25, 1.25, 4.499999999999999, 6.249999999999997, 8.0];
        let got = quantiles(&SAMPLE, &[0.0, 0.05, 0.1, 0.5, 0.9, 0.95, 1.0]).unwrap();
        for (got, golden) in got.iter().zip(golden) {
            assert!((got - golden).abs() < ROUNDING, "{got} {golden}");
        }
        // Unsorted probabilities come back in their own order.
        assert_eq!(quantiles(&SAMPLE, &[1.0, 0.5, 0.0, 0.5]), Ok(vec![8.0, 1.25, -4.0, 1.25]));
        assert_eq!(quantile(&[7.0], 0.3), Ok(7.0));
    }

    #[test]
    fn moments_match_scipy() {
        // scipy 1.17.1: scipy.stats.skew(SAMPLE). numpy 2.4.6: numpy.var(SAMPLE, ddof=1).
        assert!((skewness(&SAMPLE).unwrap() - 0.488_321_244_319_302_1).abs() < ROUNDING);
        assert!((sample_variance(&SAMPLE).unwrap() - 12.347_098_214_285_714).abs() < ROUNDING);
        assert_eq!(sample_sd(&[1.0, 3.0, 5.0]), Ok(2.0));
    }

    #[test]
    fn gini_closed_forms() {
        assert_eq!(gini(&[2.0; 5]), Ok(0.0));
        assert_eq!(gini(&[0.0, 0.0, 0.0, 0.0, 9.0]), Ok(0.8));
        // 1..=n has (n - 1) / (3 n): for n = 4, 1/4.
        assert_eq!(gini(&[4.0, 1.0, 2.0, 3.0]), Ok(0.25));
    }

    #[test]
    fn a_large_offset_costs_no_digits_of_the_variance() {
        let shifted: Vec<f64> = [1.0, 2.0, 6.0].iter().map(|x| x + 1e12).collect();
        assert_eq!(sample_variance(&shifted), Ok(7.0));
    }

    #[test]
    fn degenerate_input_is_an_error() {
        let few = |needed| StatsError::TooFew { got: needed - 1, needed };
        assert_eq!(mean(&[]), Err(few(1)));
        assert_eq!(quantile(&[], 0.5), Err(few(1)));
        assert_eq!(gini(&[]), Err(few(1)));
        assert_eq!(sample_variance(&[1.0]), Err(few(2)));
        assert_eq!(skewness(&[1.0]), Err(few(2)));
        assert_eq!(skewness(&[0.1; 7]), Err(StatsError::NoSpread));
        assert_eq!(skewness(&[0.0; 7]), Err(StatsError::NoSpread));
        assert_eq!(gini(&[0.0; 3]), Err(StatsError::AllZero));
        assert_eq!(gini(&[1.0, -2.0]), Err(StatsError::Negative { index: 1, value: -2.0 }));
        assert_eq!(quantile(&[1.0], 1.5), Err(StatsError::Probability(1.5)));
        assert!(matches!(quantile(&[1.0], f64::NAN), Err(StatsError::Probability(_))));
        for bad in [f64::NAN, f64::INFINITY] {
            assert!(matches!(mean(&[0.0, bad]), Err(StatsError::NotFinite { index: 1, .. })));
        }
    }

    proptest! {
        #[test]
        fn gini_equals_its_pairwise_definition(counts in prop::collection::vec(0u32..50, 1..20)) {
            let amounts: Vec<f64> = counts.iter().map(|&c| f64::from(c)).collect();
            let (n, total) = (amounts.len() as f64, amounts.iter().sum::<f64>());
            prop_assume!(total > 0.0);
            let pairs: f64 = amounts.iter().flat_map(|a| amounts.iter().map(move |b| (a - b).abs())).sum();
            let got = gini(&amounts).unwrap();
            prop_assert!((got - pairs / (2.0 * n * total)).abs() < ROUNDING);
            prop_assert!((0.0..=(n - 1.0) / n + ROUNDING).contains(&got));
        }

        #[test]
        fn quantiles_equal_those_of_the_sorted_values(
            values in prop::collection::vec(-1e3..1e3f64, 1..40), p in 0.0..=1.0f64
        ) {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let position = (values.len() - 1) as f64 * p;
            let (low, high) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
            let expected = low + (high - low) * position.fract();
            // The other end of the range must not disturb the selection.
            let got = quantiles(&values, &[1.0, p, 0.0]).unwrap();
            prop_assert!((got[1] - expected).abs() < 1e-12 * 1e3);
            prop_assert_eq!((got[0], got[2]), (sorted[values.len() - 1], sorted[0]));
            prop_assert_eq!(quantile_of_sorted(&sorted, p), Ok(got[1]));
        }
    }
}
