//! What is known about the samples of an evaluation besides their embeddings: their factors, their confounder, and
//! what an experiment on the model found out.

use std::collections::BTreeMap;

use super::MetricError;

/// Name of the variable whose groups are confounder groups.
pub(super) const CONFOUNDER: &str = "confounder";

/// Known facts that probes compare embeddings with. Empty by default: probes that need one then give a reason.
///
/// ```
/// use cliffline::metric::{Context, Evaluation, Scale, Variable, measure_named};
/// let shape = Variable { name: "shape".into(), values: vec![0.0, 0.0, 1.0, 1.0], scale: Scale::Kinds };
/// let context = Context { seed: 7, variables: vec![shape], ..Context::default() };
/// let rows = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -1.0];
/// let evaluation = Evaluation::new(&rows, &rows, 2, 0.07)?.with_context(context)?;
/// assert_eq!(measure_named(&evaluation, &["separability_shape_img"])[0].1, Ok(1.0));
/// # Ok::<(), cliffline::metric::EvaluationError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// Seed of the permutations behind null distributions.
    pub seed: u64,
    /// Factors by their names (`shape`, `orientation`, `frequency`, `phase`, `thickness`), and `confounder`.
    pub variables: Vec<Variable>,
    /// The same of the texts, where an image can be paired with the text of another sample; none where pairs are samples.
    pub texts: Option<Vec<Variable>>,
    /// Whether samples of one confounder group still differ in what confounds them, as with a code of each: groups then
    /// cannot tell what the confounder is worth.
    pub partial_groups: bool,
    /// Mean and spread over batches of each one-step sensitivity by its name, without `sensitivity_`; or why there is
    /// none.
    pub sensitivity: BTreeMap<String, Result<[f64; 2], String>>,
}

/// A known label of each sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    pub name: String,
    /// One value per sample, `[N]`.
    pub values: Vec<f64>,
    pub scale: Scale,
}

/// What the values of a variable mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Names without order: equal values are one group.
    Kinds,
    /// A quantity, grouped into equal-width bins of this range; values outside it count into the bin at that end.
    Line { low: f64, high: f64, bins: usize },
    /// A quantity from 0 to a period, whose ends are the same state, grouped into equal-width bins.
    Circle { period: f64, bins: usize },
}

/// Samples by the value of one variable.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Groups {
    /// Group of each sample, `[N]`, groups counted from 0.
    pub of: Vec<u32>,
    /// Samples of each group, `[K]`, none of them 0, K >= 2.
    pub sizes: Vec<u32>,
}

impl Variable {
    /// The samples grouped by value, quantities into at most `most` bins. Bins without samples do not count.
    ///
    /// **Errors** one group only; fewer than two samples per group on average.
    pub(super) fn groups(&self, most: usize) -> Result<Groups, MetricError> {
        let places: Vec<u64> = self.values.iter().map(|value| self.scale.place(*value, most)).collect();
        let mut sizes = BTreeMap::<u64, u32>::new();
        places.iter().for_each(|place| *sizes.entry(*place).or_default() += 1);
        let index: BTreeMap<u64, u32> = sizes.keys().copied().zip(0..).collect();
        let (groups, samples) = (sizes.len(), places.len());
        if groups < 2 {
            return Err(MetricError::OneGroup { variable: self.name.clone() });
        }
        if samples < 2 * groups {
            return Err(MetricError::TooManyGroups { variable: self.name.clone(), groups, samples });
        }
        Ok(Groups { of: places.iter().map(|place| index[place]).collect(), sizes: sizes.into_values().collect() })
    }
}

impl Scale {
    /// A number that is the same for values of one group.
    fn place(self, value: f64, most: usize) -> u64 {
        // Casting to an integer also takes what lies below the range into the first bin.
        let bin = |share: f64, bins: usize| {
            let bins = bins.clamp(1, most);
            ((share * bins as f64) as u64).min(bins as u64 - 1)
        };
        match self {
            // Adding zero makes the two zeros one value.
            Scale::Kinds => (value + 0.0).to_bits(),
            Scale::Line { low, high, bins } => bin((value - low) / (high - low), bins),
            Scale::Circle { period, bins } => bin((value / period).rem_euclid(1.0), bins),
        }
    }
}

impl Groups {
    /// Samples of the smallest group.
    pub(super) fn smallest(&self) -> usize {
        self.sizes.iter().copied().min().unwrap_or(0) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn groups(scale: Scale, values: &[f64], most: usize) -> Result<Groups, MetricError> {
        Variable { name: "test".to_string(), values: values.to_vec(), scale }.groups(most)
    }

    #[test]
    fn bins_are_equally_wide_and_wrap_only_on_a_circle() {
        let line = Scale::Line { low: 1.0, high: 3.0, bins: 4 };
        let place = |value| line.place(value, 100);
        assert_eq!([0.0, 1.0, 1.49, 1.5, 2.99, 3.0, 9.0].map(place), [0, 0, 0, 1, 3, 3, 3]);
        assert_eq!([1.9, 2.1].map(|value| line.place(value, 2)), [0, 1]);
        let circle = Scale::Circle { period: TAU, bins: 16 };
        assert_eq!([0.0, TAU * 0.999, TAU, -0.01, 7.0 * TAU + 1.0].map(|v| circle.place(v, 16)), [0, 15, 0, 15, 2]);
    }

    #[test]
    fn groups_without_samples_do_not_count() {
        let got = groups(Scale::Line { low: 0.0, high: 10.0, bins: 10 }, &[9.5, 0.5, 9.1, 0.2], 16).unwrap();
        assert_eq!(got, Groups { of: vec![1, 0, 1, 0], sizes: vec![2, 2] });
        let kinds = groups(Scale::Kinds, &[7.0, -0.0, 0.0, 7.0, 7.0], 2).unwrap();
        assert_eq!((kinds.smallest(), kinds.of), (2, vec![1, 0, 0, 1, 1]));
    }

    #[test]
    fn what_cannot_be_compared_says_why() {
        let one = groups(Scale::Kinds, &[3.0; 9], 16).unwrap_err();
        insta::assert_snapshot!(one, @"all samples have the same test");
        let many = groups(Scale::Kinds, &[1.0, 2.0, 3.0], 16).unwrap_err();
        insta::assert_snapshot!(many, @"3 groups of test are too many for 3 samples");
    }
}
