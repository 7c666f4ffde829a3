//! Separability (M5): how far apart the groups of a factor lie, next to their own spread.

use super::context::Groups;
use super::{Descriptor, Evaluation, Family, Healthy, MetricError, Modality, NO_VARIANCE, Panel, Values};

/// Factors by name, in the order of columns.
pub(super) const FACTORS: [&str; 5] = ["shape", "orientation", "frequency", "phase", "thickness"];

/// Between-group over within-group scatter of z by factor, quantities in equal-width bins.
///
/// With K groups of N samples the ratio times (N - K) / (K - 1) is the F of a one-way analysis of variance whose sums of
/// squares are added up over coordinates. Without any relation it is about (K - 1) / (N - K), not 0: see its excess.
/// Constant embeddings, one group, more groups than half the samples, and groups without any spread within are errors.
pub(super) const FAMILY: Family = Family {
    name: "separability",
    panel: Panel::Fast,
    about: "With groups g of n_g rows by the label of each, means m_g and grand mean m: the sum of n_g times the squared length of m_g - m, over the sum of the squared lengths of z_i - m_g(i). Times (N - K) / (K - 1) with K groups it is the pseudo-F of Anderson 2001; by itself it is neither an F nor Fisher's discriminant, and by chance about (K - 1) / (N - K). Missing where groups have no spread within.",
    descriptors: &[
        ratio("separability_shape_img", "scatter of image embeddings between groups of shape, over that within"),
        ratio(
            "separability_orientation_img",
            "scatter of image embeddings between groups of orientation, over that within",
        ),
        ratio(
            "separability_frequency_img",
            "scatter of image embeddings between groups of frequency, over that within",
        ),
        ratio("separability_phase_img", "scatter of image embeddings between groups of phase, over that within"),
        ratio(
            "separability_thickness_img",
            "scatter of image embeddings between groups of thickness, over that within",
        ),
        ratio("separability_shape_txt", "scatter of text embeddings between groups of shape, over that within"),
        ratio(
            "separability_orientation_txt",
            "scatter of text embeddings between groups of orientation, over that within",
        ),
        ratio("separability_frequency_txt", "scatter of text embeddings between groups of frequency, over that within"),
        ratio("separability_phase_txt", "scatter of text embeddings between groups of phase, over that within"),
        ratio("separability_thickness_txt", "scatter of text embeddings between groups of thickness, over that within"),
    ],
    compute,
};

const fn ratio(name: &'static str, summary: &'static str) -> Descriptor {
    let range = (0.0, f64::INFINITY);
    let source = "Multimodality Under Governance, 1.7.3, S_B / S_W";
    Descriptor { name, unit: "ratio", range, healthy: Healthy::Higher, source, summary }
}

fn compute(evaluation: &Evaluation) -> Values {
    let all = [Modality::Img, Modality::Txt].map(|modality| FACTORS.map(|factor| of(evaluation, modality, factor)));
    Ok(all.into_iter().flatten().collect())
}

/// The separability of one factor in one modality.
pub(super) fn of(evaluation: &Evaluation, modality: Modality, factor: &str) -> Result<f64, MetricError> {
    let groups = evaluation.groups(modality, factor)?;
    let [between, within] = scatter(evaluation.centred(modality)?, evaluation.dimension(), groups);
    if within <= NO_VARIANCE * (evaluation.samples() - groups.sizes.len()) as f64 {
        return Err(MetricError::NoSpreadWithin { variable: factor.to_string() });
    }
    Ok(between / within)
}

/// Sums of squares between and within groups, over all coordinates.
///
/// **Shapes** `centred` `[N, d]` with a mean of zero.
fn scatter(centred: &[f64], d: usize, groups: &Groups) -> [f64; 2] {
    let mut means = vec![0.0; groups.sizes.len() * d];
    for (row, &group) in centred.chunks_exact(d).zip(&groups.of) {
        let sum = &mut means[group as usize * d..][..d];
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    let mut between = 0.0;
    for (mean, &size) in means.chunks_exact_mut(d).zip(&groups.sizes) {
        mean.iter_mut().for_each(|sum| *sum /= f64::from(size));
        between += f64::from(size) * mean.iter().map(|x| x * x).sum::<f64>();
    }
    let apart = |(row, group): (&[f64], &u32)| -> f64 {
        row.iter().zip(&means[*group as usize * d..]).map(|(x, mean)| (x - mean) * (x - mean)).sum()
    };
    [between, centred.chunks_exact(d).zip(&groups.of).map(apart).sum()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fixture::{labelled, noisy_pairs, value_of};
    use crate::metric::{Context, Scale, Variable};

    fn with_shape(evaluation: Evaluation, values: Vec<f64>) -> Evaluation {
        let variables = vec![Variable { name: "shape".into(), values, scale: Scale::Kinds }];
        evaluation.with_context(Context { variables, ..Context::default() }).unwrap()
    }

    #[test]
    fn hand_worked() {
        // Two images each way on two axes. Groups {right, up} and {left, down}: means (1/2, 1/2) and its opposite, so 4
        // samples at 1/2 between, and 4 at 1/2 within.
        let images = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -1.0];
        let evaluation =
            |labels: [f64; 4]| with_shape(Evaluation::new(&images, &images, 2, 1.0).unwrap(), labels.into());
        assert_eq!(value_of(&evaluation([5.0, 5.0, 7.0, 7.0]), "separability_shape_img"), Ok(1.0));
        // Groups {right, left} and {up, down} have the same mean.
        assert_eq!(value_of(&evaluation([5.0, 7.0, 5.0, 7.0]), "separability_shape_txt"), Ok(0.0));
        assert!(value_of(&evaluation([5.0, 7.0, 5.0, 7.0]), "separability_phase_txt").is_err());
    }

    #[test]
    fn scatter_adds_up_to_the_total() {
        let evaluation = labelled(noisy_pairs(2, 100, 7, 0.5), 1);
        let centred = evaluation.centred(Modality::Txt).unwrap();
        let total: f64 = centred.iter().map(|x| x * x).sum();
        for factor in FACTORS {
            let groups = evaluation.groups(Modality::Img, factor).unwrap();
            let [between, within] = scatter(centred, 7, groups);
            assert!((between + within - total).abs() < 1e-12 * total, "{factor}");
        }
    }

    #[test]
    fn groups_that_are_points_have_a_reason_instead_of_infinity() {
        let images = [1.0, 0.0, 0.0, 1.0].repeat(8);
        let evaluation = with_shape(Evaluation::new(&images, &images, 2, 1.0).unwrap(), [3.0, 4.0].repeat(8));
        let reason = value_of(&evaluation, "separability_shape_img").unwrap_err();
        insta::assert_snapshot!(reason, @"embeddings within each group of shape are constant to f32 rounding");
    }
}
