//! Mutual information of two discrete variables from a table of counts.

/// What two variables with these frequencies know about each other, given how often their values meet.
///
/// Frequencies stay the same when one variable is permuted, so everything that depends on them alone is computed once.
#[derive(Clone, Debug)]
pub struct Dependence {
    /// n ln n for n from 0 to N.
    terms: Vec<f64>,
    samples: f64,
    /// N ln N less the terms of both frequencies.
    marginal: f64,
    /// Occurring values of both, less one.
    occurring: f64,
}

impl Dependence {
    /// **Shapes** `a` `[A]` and `b` `[B]`: how often each value occurs. Both sum to N > 0.
    /// **Panics** when the sums differ.
    pub fn new(a: &[u32], b: &[u32]) -> Self {
        let samples: u32 = a.iter().sum();
        assert_eq!(samples, b.iter().sum::<u32>(), "frequencies of different samples");
        let terms = (0..=samples).map(|n| f64::from(n) * libm::log(f64::from(n.max(1)))).collect::<Vec<f64>>();
        let marginal = terms[samples as usize] - sum(&terms, a).0 - sum(&terms, b).0;
        let occurring = |counts: &[u32]| counts.iter().filter(|n| **n > 0).count() as f64;
        Self { marginal, samples: f64::from(samples), occurring: occurring(a) + occurring(b) - 1.0, terms }
    }

    /// The plug-in estimate, from the observed shares as if they were probabilities.
    ///
    /// **Shapes** `joint` `[A, B]` in any order: how often each pair of values occurs.
    /// **Returns** nats, 0 or more up to rounding; biased upwards by about (A - 1)(B - 1) / 2N.
    /// **Source** Shannon 1948; `sklearn.metrics.mutual_info_score`.
    pub fn plug_in(&self, joint: &[u32]) -> f64 {
        (self.marginal + sum(&self.terms, joint).0) / self.samples
    }

    /// The plug-in estimate with each of its three entropies corrected by (occurring values - 1) / 2N.
    ///
    /// **Shapes** as [`Self::plug_in`].
    /// **Returns** nats; can be negative where there is no dependence.
    /// **Numerics** where most cells of the table are empty the correction takes away less than the bias.
    /// **Source** Miller 1955, "Note on the bias of information estimates".
    ///
    /// ```
    /// use cliffline::numerics::information::Dependence;
    /// let same = Dependence::new(&[4, 4], &[4, 4]);
    /// assert!((same.plug_in(&[4, 0, 0, 4]) - 2f64.ln()).abs() < 1e-15);
    /// assert!((same.miller_madow(&[4, 0, 0, 4]) - 2f64.ln() - 1.0 / 16.0).abs() < 1e-15);
    /// assert!((same.miller_madow(&[2, 2, 2, 2]) + 1.0 / 16.0).abs() < 1e-15);
    /// ```
    pub fn miller_madow(&self, joint: &[u32]) -> f64 {
        let (terms, cells) = sum(&self.terms, joint);
        (self.marginal + terms + (self.occurring - cells) / 2.0) / self.samples
    }
}

/// Terms of the counts, and how many of these are not zero.
fn sum(terms: &[f64], counts: &[u32]) -> (f64, f64) {
    let mut sum = 0.0;
    let mut cells = 0u32;
    for &n in counts {
        sum += terms[n as usize];
        cells += u32::from(n > 0);
    }
    (sum, f64::from(cells))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::stream::Streams;

    fn frequencies(values: &[usize], kinds: usize) -> Vec<u32> {
        let mut counts = vec![0; kinds];
        values.iter().for_each(|&v| counts[v] += 1);
        counts
    }

    fn estimates(a: &[usize], b: &[usize], kinds: [usize; 2]) -> [f64; 2] {
        let both: Vec<usize> = a.iter().zip(b).map(|(a, b)| a * kinds[1] + b).collect();
        let dependence = Dependence::new(&frequencies(a, kinds[0]), &frequencies(b, kinds[1]));
        let joint = frequencies(&both, kinds[0] * kinds[1]);
        [dependence.plug_in(&joint), dependence.miller_madow(&joint)]
    }

    /// scikit-learn 1.9.1, `mutual_info_score`; `golden_probes.py` in `metric` prints them.
    #[test]
    fn plug_in_matches_scikit_learn() {
        let a: Vec<usize> = (0..200).map(|i| (i * i + 3 * i) % 7 % 5).collect();
        let b: Vec<usize> = (0..200).map(|i| (i * i + 5 * (i / 9)) % 11 % 4).collect();
        let c: Vec<usize> = a.iter().zip(&b).map(|(a, b)| (a + b / 3) % 6).collect();
        for (got, golden) in
            [(estimates(&a, &b, [5, 4]), 0.01548420856234646), (estimates(&a, &c, [5, 6]), 0.9042086711050173)]
        {
            // Sums of some twenty terms n ln n below 1200, over 200.
            assert!((got[0] - golden).abs() < 1e-13, "{} is not {golden}", got[0]);
        }
    }

    #[test]
    fn the_correction_takes_away_most_of_the_bias() {
        let (n, kinds, repeats) = (400, [8, 6], 300);
        let mut mean = [0.0; 2];
        for item in 0..repeats {
            let mut stream = Streams::new(3, "information.tests").item(item);
            let mut draw = |kinds| (0..n).map(|_| stream.below(kinds)).collect::<Vec<usize>>();
            let (a, b) = (draw(kinds[0]), draw(kinds[1]));
            mean.iter_mut().zip(estimates(&a, &b, kinds)).for_each(|(m, x)| *m += x / repeats as f64);
        }
        // Independent: 2N times the plug-in estimate is about chi-square with 35 degrees of freedom, so its mean has a
        // standard error of sqrt(70 / 300) / 800 = 6e-4; four of them.
        assert!((mean[0] - 35.0 / 800.0).abs() < 2.5e-3, "{mean:?}");
        assert!(mean[1].abs() < 2.5e-3, "{mean:?}");
    }
}
