//! Comparing the distribution of a factor between two splits.

use std::f64::consts::PI;

/// A two-sample test of equal distributions.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Comparison {
    pub statistic: f64,
    /// The statistic's critical value at the 1% level, for this comparison alone.
    pub critical_1_percent: f64,
    /// Probability of a statistic at least as large if the distributions are equal, in 0 to 1.
    pub p_value: f64,
}

/// The two-sample Kolmogorov-Smirnov test.
///
/// **Returns.** The largest difference between the two empirical distribution functions, in 0 to 1, with the
/// asymptotic critical value and p-value; `None` when a sample is empty or holds a NaN.
///
/// **Numerics.** The asymptotic distribution, good from a few dozen samples on and conservative below.
///
/// **Source.** Smirnov (1948); the critical value is `sqrt(-ln(0.01 / 2) / 2) sqrt((n + m) / (n m))`.
pub(crate) fn kolmogorov_smirnov(a: &[f64], b: &[f64]) -> Option<Comparison> {
    if a.is_empty() || b.is_empty() || a.iter().chain(b).any(|v| v.is_nan()) {
        return None;
    }
    let sorted = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values
    };
    let (a, b) = (sorted(a), sorted(b));
    let (n, m) = (a.len() as f64, b.len() as f64);
    let statistic = a
        .iter()
        .chain(&b)
        .map(|v| {
            let below = |values: &[f64]| values.partition_point(|x| x <= v) as f64;
            (below(&a) / n - below(&b) / m).abs()
        })
        .fold(0.0, f64::max);
    let spread = ((n + m) / (n * m)).sqrt();
    let critical_1_percent = (-(0.01f64 / 2.0).ln() / 2.0).sqrt() * spread;
    Some(Comparison { statistic, critical_1_percent, p_value: kolmogorov_survival(statistic / spread) })
}

/// `P(K > x)` of the Kolmogorov distribution.
fn kolmogorov_survival(x: f64) -> f64 {
    // Below 0.2 the probability differs from 1 by less than 1e-12, and the alternating series converges slowly.
    if x < 0.2 {
        return 1.0;
    }
    // Terms fall off as exp(-2 k^2 x^2): at x = 0.2 the 30th is below 1e-31.
    let terms = (1..=30).map(|k| {
        let k = f64::from(k);
        let sign = if k % 2.0 == 1.0 { 1.0 } else { -1.0 };
        sign * (-2.0 * k * k * x * x).exp()
    });
    (2.0 * terms.sum::<f64>()).clamp(0.0, 1.0)
}

/// Below this expected count the chi-square approximation is not trusted (Cochran 1954).
const SMALLEST_EXPECTED_COUNT: f64 = 5.0;
/// 99% quantile of the chi-square distribution with 3 degrees of freedom.
const CHI_SQUARE_3_AT_1_PERCENT: f64 = 11.344_866_730_144_37;

/// Pearson's chi-square test that two samples have the same distribution over four categories.
///
/// **Returns.** The statistic, with 3 degrees of freedom; `None` when a category is expected less than five times in
/// a sample.
///
/// **Source.** Pearson (1900).
pub(crate) fn chi_square(a: &[usize; 4], b: &[usize; 4]) -> Option<Comparison> {
    let total = |counts: &[usize; 4]| counts.iter().sum::<usize>() as f64;
    let (n, m) = (total(a), total(b));
    let mut statistic = 0.0;
    for (&in_a, &in_b) in a.iter().zip(b) {
        let share = (in_a + in_b) as f64 / (n + m);
        for (observed, size) in [(in_a, n), (in_b, m)] {
            let expected = share * size;
            // Two empty samples expect NaN.
            if expected.is_nan() || expected < SMALLEST_EXPECTED_COUNT {
                return None;
            }
            statistic += (observed as f64 - expected).powi(2) / expected;
        }
    }
    let p_value = chi_square_survival(statistic, 3);
    Some(Comparison { statistic, critical_1_percent: CHI_SQUARE_3_AT_1_PERCENT, p_value })
}

/// A test that two labels of the same samples are independent.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Independence {
    pub statistic: f64,
    pub degrees_of_freedom: usize,
    /// Probability of a statistic at least as large if the labels are independent, in 0 to 1.
    pub p_value: f64,
}

/// Pearson's chi-square test of independence.
///
/// **Shapes.** `table` has one row per value of one label, all rows as long: counts per value of the other. Rows and
/// columns without a sample do not count.
///
/// **Returns.** `None` when fewer than two rows or columns are left, or a place expects fewer than five samples.
///
/// **Source.** Pearson (1900), without a correction for continuity.
pub(crate) fn independence(table: &[Vec<usize>]) -> Option<Independence> {
    let of_row = |row: &[usize]| row.iter().sum::<usize>() as f64;
    let rows: Vec<&Vec<usize>> = table.iter().filter(|row| of_row(row) > 0.0).collect();
    let of_column = |j: usize| rows.iter().filter_map(|row| row.get(j)).sum::<usize>() as f64;
    let columns: Vec<usize> = (0..rows.first()?.len()).filter(|&j| of_column(j) > 0.0).collect();
    if rows.len() < 2 || columns.len() < 2 {
        return None;
    }
    let total: f64 = rows.iter().map(|row| of_row(row)).sum();
    let mut statistic = 0.0;
    for row in &rows {
        for &j in &columns {
            let expected = of_row(row) * of_column(j) / total;
            if expected < SMALLEST_EXPECTED_COUNT {
                return None;
            }
            statistic += (row[j] as f64 - expected).powi(2) / expected;
        }
    }
    let degrees_of_freedom = (rows.len() - 1) * (columns.len() - 1);
    Some(Independence { statistic, degrees_of_freedom, p_value: chi_square_survival(statistic, degrees_of_freedom) })
}

/// `P(X > x)` of the chi-square distribution, with one degree of freedom at least.
///
/// **Numerics.** The finite sum of positive terms that the recursion `Q(a + 1, h) = Q(a, h) + h^a e^-h / Gamma(a + 1)`
/// makes of the regularised incomplete gamma function, from `Q(1/2, h) = erfc(sqrt h)` or `Q(1, h) = e^-h`.
fn chi_square_survival(x: f64, degrees_of_freedom: usize) -> f64 {
    let half = x / 2.0;
    let decay = (-half).exp();
    let (mut survival, mut degrees, mut term) = if degrees_of_freedom.is_multiple_of(2) {
        (decay, 2, half * decay)
    } else {
        (libm::erfc(half.sqrt()), 1, 2.0 * (half / PI).sqrt() * decay)
    };
    while degrees < degrees_of_freedom {
        survival += term;
        degrees += 2;
        term *= half / (degrees as f64 / 2.0);
    }
    survival.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kolmogorov_smirnov_by_hand() {
        let test = kolmogorov_smirnov(&[1.0, 2.0, 3.0, 4.0], &[3.5, 4.5, 5.5, 6.5]).expect("two samples");
        assert_eq!(test.statistic, 0.75);
        assert!((test.critical_1_percent - 1.627_623_6 * 0.5f64.sqrt()).abs() < 1e-6);
        let same = kolmogorov_smirnov(&[1.0, 2.0], &[2.0, 1.0]).expect("two samples");
        assert_eq!((same.statistic, same.p_value), (0.0, 1.0));
        assert_eq!(kolmogorov_smirnov(&[], &[1.0]), None);
        assert_eq!(kolmogorov_smirnov(&[f64::NAN], &[1.0]), None);
    }

    #[test]
    fn survival_functions_match_known_values() {
        // scipy 1.17.1: stats.kstwobign.sf.
        for (x, p) in [
            (0.25, 0.9999999731761899),
            (0.5, 0.9639452436648751),
            (1.0, 0.26999967167735456),
            (1.6276236307187293, 0.009999998749999996),
        ] {
            assert!((kolmogorov_survival(x) - p).abs() < 1e-12, "P(K > {x})");
        }
        assert_eq!(kolmogorov_survival(0.0), 1.0);
        // scipy 1.17.1: stats.chi2_contingency([[10, 20, 30, 40], [15, 25, 20, 40]], correction=False).
        let test = chi_square(&[10, 20, 30, 40], &[15, 25, 20, 40]).expect("large enough counts");
        assert!((test.statistic - 3.5555555555555554).abs() < 1e-12);
        assert!((test.p_value - 0.3136279108798508).abs() < 1e-12);
        // scipy 1.17.1: stats.chi2.sf(CHI_SQUARE_3_AT_1_PERCENT, 3) is 0.01.
        assert!((chi_square_survival(CHI_SQUARE_3_AT_1_PERCENT, 3) - 0.01).abs() < 1e-12);
        // scipy 1.17.1: stats.chi2.sf(x, degrees).
        for (x, degrees, p) in [
            (0.0, 9, 1.0),
            (0.5, 1, 0.47950012218695337),
            (0.5, 2, 0.7788007830714049),
            (3.2, 12, 0.9939597088884187),
            (21.0, 21, 0.4589442088928217),
            (60.0, 24, 6.387702539927327e-05),
        ] {
            assert!((chi_square_survival(x, degrees) / p - 1.0).abs() < 1e-12, "P(X > {x}), {degrees} degrees");
        }
        // scipy 1.17.1: stats.chi2_contingency(rows 0, 1 and 3, correction=False).
        let table = [vec![12, 30, 0, 25], vec![18, 22, 0, 31], vec![0; 4], vec![9, 14, 0, 40]];
        let test = independence(&table).expect("large enough counts");
        assert_eq!(test.degrees_of_freedom, 4);
        assert!((test.statistic - 12.411860146895359).abs() < 1e-12);
        assert!((test.p_value - 0.014537470867372728).abs() < 1e-12);
    }

    #[test]
    fn too_few_counts_are_not_tested() {
        assert_eq!(chi_square(&[4, 20, 30, 40], &[4, 20, 30, 40]), None);
        assert_eq!(chi_square(&[0; 4], &[0; 4]), None);
        for table in [vec![], vec![vec![]], vec![vec![9, 9]], vec![vec![9, 9], vec![9, 2]], vec![vec![9], vec![9]]] {
            assert_eq!(independence(&table), None, "{table:?}");
        }
    }
}
