//! Intervals at 95%: Wilson's for a share, and the level at which a percentile bootstrap of few values covers.

use super::stats::StatsError;

/// The 97.5% quantile of the standard normal distribution.
pub const NORMAL_975: f64 = 1.959_963_984_540_054;

/// Wilson's 95% score interval for a share.
///
/// **Shapes** `successes` of `n`, n >= 1.
/// **Returns** the interval's ends, dimensionless, within 0 to 1; 0 and 1 themselves where no or every trial is one.
/// **Errors** no trials; more successes than trials.
/// **Numerics** closed form; relative error of a few roundings.
/// **Source** Wilson 1927, "Probable inference, the law of succession, and statistical inference"; no continuity
/// correction.
///
/// ```
/// let (low, high) = cliffline::numerics::interval::wilson(0, 4).unwrap();
/// assert!(low == 0.0 && (high - 0.48989).abs() < 1e-5);
/// ```
pub fn wilson(successes: u64, n: u64) -> Result<(f64, f64), StatsError> {
    if n == 0 {
        return Err(StatsError::TooFew { got: 0, needed: 1 });
    }
    let (count, trials, z2) = (successes as f64, n as f64, NORMAL_975 * NORMAL_975);
    if successes > n {
        return Err(StatsError::Probability(count / trials));
    }
    let centre = (count + z2 / 2.0) / (trials + z2);
    let half = NORMAL_975 / (trials + z2) * (count * (trials - count) / trials + z2 / 4.0).sqrt();
    let low = if successes == 0 { 0.0 } else { centre - half };
    let high = if successes == n { 1.0 } else { centre + half };
    Ok((low, high))
}

/// The order statistics between which the median of a distribution lies in at least 95% of samples, whatever the
/// distribution.
///
/// **Shapes** `n` values.
/// **Returns** the positions of the two ends among the sorted values, from 0; none for fewer than six, of which the least
/// and the greatest hold it in less than 95%.
/// **Numerics** exact below 1075 values, where 2 to the power of -n is representable; above by the normal approximation
/// with continuity correction.
/// **Source** Conover 1999, "Practical nonparametric statistics", section 3.2: the sign test turned round.
///
/// ```
/// assert_eq!(cliffline::numerics::interval::median_ranks(16), Some((3, 12)));
/// ```
pub fn median_ranks(n: usize) -> Option<(usize, usize)> {
    const MOST_EXACT: usize = 1000;
    let low = if n > MOST_EXACT {
        let half = NORMAL_975 * (n as f64).sqrt() / 2.0;
        (n as f64 / 2.0 - half - 0.5).floor() as usize
    } else {
        // The probability of at most k values below the median, while it is at most 2.5%.
        let (mut term, mut sum, mut k) = (0.5f64.powi(n as i32), 0.0, 0);
        while sum + term <= 0.025 && k < n {
            sum += term;
            term *= (n - k) as f64 / (k + 1) as f64;
            k += 1;
        }
        k.checked_sub(1)?
    };
    Some((low, n - 1 - low))
}

/// The 97.5% quantile of Student's t distribution.
///
/// **Shapes** `degrees` of freedom, at least 2.
/// **Returns** the quantile, dimensionless.
/// **Numerics** the Cornish-Fisher expansion to the fourth order in 1 / degrees: within 1e-3 at 4 degrees and 1e-4
/// from 6 on. The expansion is of no use below; 2 and 3 are rounded to the last digit.
/// **Source** Abramowitz and Stegun 26.7.5.
pub fn student_975(degrees: usize) -> f64 {
    debug_assert!(degrees >= 2, "a quantile of one degree of freedom is of no use");
    match degrees {
        2 => return 4.302_652_729_749_464,
        3 => return 3.182_446_305_283_71,
        _ => {}
    }
    let z = NORMAL_975;
    let powers = |coefficients: &[f64]| coefficients.iter().fold(0.0, |sum, c| sum * z * z + c) * z;
    let terms = [
        powers(&[1.0]),
        powers(&[1.0, 1.0]) / 4.0,
        powers(&[5.0, 16.0, 3.0]) / 96.0,
        powers(&[3.0, 19.0, 17.0, -15.0]) / 384.0,
        powers(&[79.0, 776.0, 1482.0, -1920.0, -945.0]) / 92_160.0,
    ];
    terms.iter().rev().fold(0.0, |sum, term| sum / degrees as f64 + term)
}

/// The lower of the two levels between which a percentile bootstrap of the mean of `n` values covers 95% of normal
/// samples, about; the upper is its complement.
///
/// The bootstrap distribution of a mean is too narrow twice: its variance has divisor n, and it is read off as if the
/// variance were known. Hesterberg's levels make up for both: Phi(-sqrt(n / (n - 1)) t(n - 1)) in place of 2.5%.
///
/// **Shapes** `n` >= 5.
/// **Returns** a probability below 0.025.
/// **Source** Hesterberg 2015, "What teachers should know about the bootstrap", section 5.4, expanded percentile.
pub fn expanded_level(n: usize) -> f64 {
    let x = (n as f64 / (n - 1) as f64).sqrt() * student_975(n - 1);
    0.5 * libm::erfc(x / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Closed forms in another order of operations.
    const ROUNDING: f64 = 1e-14;

    #[test]
    fn wilson_matches_statsmodels() {
        // statsmodels 0.15.0: proportion_confint(k, n, 0.05, "wilson").
        let golden = [
            (0, 4, 0.0, 0.4898908364545974),
            (1, 4, 0.0455872608097006, 0.6993581574175982),
            (3, 16, 0.06591599071428139, 0.43008880961974144),
            (16, 16, 0.8063923194655633, 1.0),
            (50, 100, 0.4038315303659956, 0.5961684696340044),
        ];
        for (k, n, low, high) in golden {
            let got = wilson(k, n).expect("trials");
            assert!((got.0 - low).abs() < ROUNDING && (got.1 - high).abs() < ROUNDING, "{k} of {n}: {got:?}");
        }
        assert_eq!(wilson(0, 0), Err(StatsError::TooFew { got: 0, needed: 1 }));
        assert!(wilson(2, 1).is_err());
    }

    #[test]
    fn quantiles_of_few_degrees_are_exact() {
        // The distribution function in closed form, at 2 and 3 degrees of freedom.
        let (two, three) = (student_975(2), student_975(3));
        assert!((0.5 + two / (2.0 * (2.0 + two * two).sqrt()) - 0.975).abs() < ROUNDING);
        let x = three / 3.0_f64.sqrt();
        assert!((0.5 + (x.atan() + x / (1.0 + x * x)) / std::f64::consts::PI - 0.975).abs() < ROUNDING);
    }

    #[test]
    fn levels_match_scipy() {
        // scipy 1.17.1: t.ppf(0.975, n - 1) and norm.cdf(-sqrt(n / (n - 1)) * t.ppf(0.975, n - 1)).
        let golden = [
            (5, 2.7764451051977934, 0.0009541005518824885),
            (8, 2.364624251592784, 0.0057375205170298715),
            (16, 2.131449545559776, 0.013855570404766664),
            (64, 1.998340542520741, 0.02199752622798416),
        ];
        for (n, t, level) in golden {
            assert!((student_975(n - 1) - t).abs() < 1e-3, "{n}");
            // An error of 1e-3 in t moves the level by less than half a percent of itself.
            assert!((expanded_level(n) / level - 1.0).abs() < 5e-3, "{n}: {}", expanded_level(n));
        }
    }
}
