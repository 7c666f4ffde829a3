//! Separability in excess of chance (M5): the same ratio when the labels of samples are permuted.

use pulp::{Arch, Simd, WithSimd};

use super::context::Groups;
use super::null::{self, PERMUTATIONS};
use super::separability::{FACTORS, of};
use super::{Descriptor, Evaluation, Family, Healthy, MetricError, Modality, Panel, Values};
use crate::numerics::linalg::dot;

/// Separability less the mean of its permutation null, and the standard deviation of that null: without any relation the
/// excess lies within 2.6 standard deviations of 0 in about 99 of 100 cases.
pub(super) const FAMILY: Family = Family {
    name: "separability_null",
    panel: Panel::Full,
    about: "Separability with the label permuted, see the nulls above.",
    descriptors: &[
        excess("separability_shape_img_excess", "separability_shape_img less its mean with shape permuted"),
        null_sd("separability_shape_img_null_sd", "standard deviation of separability_shape_img with shape permuted"),
        excess(
            "separability_orientation_img_excess",
            "separability_orientation_img less its mean with orientation permuted",
        ),
        null_sd(
            "separability_orientation_img_null_sd",
            "standard deviation of separability_orientation_img with orientation permuted",
        ),
        excess("separability_frequency_img_excess", "separability_frequency_img less its mean with frequency permuted"),
        null_sd(
            "separability_frequency_img_null_sd",
            "standard deviation of separability_frequency_img with frequency permuted",
        ),
        excess("separability_phase_img_excess", "separability_phase_img less its mean with phase permuted"),
        null_sd("separability_phase_img_null_sd", "standard deviation of separability_phase_img with phase permuted"),
        excess("separability_thickness_img_excess", "separability_thickness_img less its mean with thickness permuted"),
        null_sd(
            "separability_thickness_img_null_sd",
            "standard deviation of separability_thickness_img with thickness permuted",
        ),
        excess("separability_shape_txt_excess", "separability_shape_txt less its mean with shape permuted"),
        null_sd("separability_shape_txt_null_sd", "standard deviation of separability_shape_txt with shape permuted"),
        excess(
            "separability_orientation_txt_excess",
            "separability_orientation_txt less its mean with orientation permuted",
        ),
        null_sd(
            "separability_orientation_txt_null_sd",
            "standard deviation of separability_orientation_txt with orientation permuted",
        ),
        excess("separability_frequency_txt_excess", "separability_frequency_txt less its mean with frequency permuted"),
        null_sd(
            "separability_frequency_txt_null_sd",
            "standard deviation of separability_frequency_txt with frequency permuted",
        ),
        excess("separability_phase_txt_excess", "separability_phase_txt less its mean with phase permuted"),
        null_sd("separability_phase_txt_null_sd", "standard deviation of separability_phase_txt with phase permuted"),
        excess("separability_thickness_txt_excess", "separability_thickness_txt less its mean with thickness permuted"),
        null_sd(
            "separability_thickness_txt_null_sd",
            "standard deviation of separability_thickness_txt with thickness permuted",
        ),
    ],
    compute,
};

const UNBOUNDED: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
const SOURCE: &str = "Multimodality Under Governance, 1.7.3; permutation null, Anderson 2001; 200 permutations";

const fn excess(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "ratio", range: UNBOUNDED, healthy: Healthy::Higher, source: SOURCE, summary }
}
const fn null_sd(name: &'static str, summary: &'static str) -> Descriptor {
    let range = (0.0, f64::INFINITY);
    Descriptor { name, unit: "ratio", range, healthy: Healthy::Neither, source: SOURCE, summary }
}

fn compute(evaluation: &Evaluation) -> Values {
    let all = [Modality::Img, Modality::Txt].map(|modality| by_factor(evaluation, modality));
    Ok(all.into_iter().flatten().flat_map(null::each).collect())
}

/// Excess and standard deviation of the null of each factor.
fn by_factor(evaluation: &Evaluation, modality: Modality) -> Vec<Result<[f64; 2], MetricError>> {
    let values = FACTORS.map(|factor| {
        let value = of(evaluation, modality, factor)?;
        Ok((value, evaluation.groups(modality, factor)?))
    });
    let groups: Vec<&Groups> = values.iter().flatten().map(|(_, groups)| *groups).collect();
    let nulls = match evaluation.centred(modality) {
        Ok(centred) => permuted(evaluation, centred, &groups),
        // Then no factor has a value that would ask for its null.
        Err(_) => vec![],
    };
    let mut nulls = nulls.into_iter();
    let summarise = |value: Result<(f64, &Groups), MetricError>| {
        let (value, _) = value?;
        null::excess(value, &nulls.next().unwrap_or_default())
    };
    values.into_iter().map(summarise).collect()
}

/// Separability under every permutation, for each of several groupings: `[groupings, 200]`.
///
/// Only the sizes of groups matter: permuted, the first group is any so many samples, the second the next. Each
/// permutation is therefore added up once for all groupings, and groups are differences between running sums.
fn permuted(evaluation: &Evaluation, centred: &[f64], groups: &[&Groups]) -> Vec<Vec<f64>> {
    let d = evaluation.dimension();
    let ends = |groups: &&Groups| -> Vec<usize> {
        let running = groups.sizes.iter().scan(0, |end, size| {
            *end += *size as usize;
            Some(*end)
        });
        running.collect()
    };
    let ends: Vec<Vec<usize>> = groups.iter().map(ends).collect();
    let mut stops: Vec<usize> = ends.iter().flatten().copied().collect();
    stops.sort_unstable();
    stops.dedup();
    let at = |end: &usize| stops.binary_search(end).unwrap_or(0);
    let places: Vec<Vec<usize>> = ends.iter().map(|ends| ends.iter().map(at).collect()).collect();

    let total = dot(centred, centred);
    let mut nulls = vec![Vec::with_capacity(PERMUTATIONS); groups.len()];
    let (mut sums, mut difference) = (vec![0.0; stops.len() * d], vec![0.0; d]);
    for order in evaluation.permutations() {
        Arch::new().dispatch(RunningSums { rows: centred, d, order, stops: &stops, sums: &mut sums });
        for ((null, groups), places) in nulls.iter_mut().zip(groups).zip(&places) {
            let (mut between, mut before) = (0.0, None);
            for (&place, &size) in places.iter().zip(&groups.sizes) {
                let sum = &sums[place * d..][..d];
                match before {
                    None => difference.copy_from_slice(sum),
                    Some(before) => {
                        let before: &[f64] = before;
                        difference.iter_mut().zip(sum).zip(before).for_each(|((to, a), b)| *to = a - b);
                    }
                }
                between += dot(&difference, &difference) / f64::from(size);
                before = Some(sum);
            }
            null.push(between / (total - between));
        }
    }
    nulls
}

/// Sums of the first rows in some order, up to each of several stops.
struct RunningSums<'a> {
    rows: &'a [f64],
    d: usize,
    order: &'a [u32],
    /// Ascending.
    stops: &'a [usize],
    /// `[stops, d]`.
    sums: &'a mut [f64],
}

impl WithSimd for RunningSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rows, d, order, stops, sums } = self;
        let mut sum = vec![0.0; d];
        let mut from = 0;
        for (&stop, out) in stops.iter().zip(sums.chunks_exact_mut(d)) {
            for &row in &order[from..stop] {
                sum.iter_mut().zip(&rows[row as usize * d..]).for_each(|(sum, x)| *sum += x);
            }
            out.copy_from_slice(&sum);
            from = stop;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fixture::{labelled, noisy_pairs};
    use crate::metric::{Context, Variable};
    use crate::numerics::stats;

    #[test]
    fn the_null_is_that_of_permuted_labels() {
        let (n, d) = (90, 6);
        let evaluation = labelled(noisy_pairs(2, n, d, 0.5), 1);
        let groups = FACTORS.map(|factor| evaluation.groups(Modality::Img, factor).unwrap());
        let nulls = permuted(&evaluation, evaluation.centred(Modality::Img).unwrap(), &groups);
        for (at, order) in evaluation.permutations().enumerate().step_by(67) {
            for (factor, (null, groups)) in FACTORS.iter().zip(nulls.iter().zip(groups)) {
                // The samples that the permutation names first get the labels of the first group, and so on.
                let mut sorted = groups.of.clone();
                sorted.sort_unstable();
                let mut values = vec![0.0; n];
                order.iter().zip(sorted).for_each(|(sample, group)| values[*sample as usize] = f64::from(group));
                let variables = vec![Variable { name: (*factor).into(), values, scale: crate::metric::Scale::Kinds }];
                let moved =
                    noisy_pairs(2, n, d, 0.5).with_context(Context { variables, ..Context::default() }).unwrap();
                let expected = of(&moved, Modality::Img, factor).unwrap();
                assert!((null[at] - expected).abs() < 1e-12, "{factor}: {} {expected}", null[at]);
            }
        }
    }

    #[test]
    fn the_mean_share_under_permutation_is_known() {
        // Between over total scatter has the mean (K - 1) / (N - 1) under permutation, whatever the embeddings.
        let (n, d) = (120, 5);
        let evaluation = labelled(noisy_pairs(4, n, d, 0.5), 2);
        let groups = evaluation.groups(Modality::Img, "phase").unwrap();
        let null = permuted(&evaluation, evaluation.centred(Modality::Txt).unwrap(), &[groups]).remove(0);
        let shares: Vec<f64> = null.iter().map(|ratio| ratio / (1.0 + ratio)).collect();
        let expected = (groups.sizes.len() - 1) as f64 / (n - 1) as f64;
        let standard_error = stats::sample_sd(&shares).unwrap() / (PERMUTATIONS as f64).sqrt();
        assert!((stats::mean(&shares).unwrap() - expected).abs() < 4.0 * standard_error);
    }
}
