//! Mean off-diagonal cosines (M2): how far embeddings crowd into one direction.

use super::{Descriptor, Evaluation, Family, Healthy, MetricError, Modality, Panel, Values};
use crate::numerics::linalg::dot;

/// Mean cosine between different samples, within each modality and across.
///
/// About 0 for directions spread evenly over the sphere; 1 when all are the same. From -1 / (N - 1) upwards within a
/// modality. An embedding without direction is an error.
pub(super) const FAMILY: Family = Family {
    name: "cosine",
    panel: Panel::Fast,
    about: "Means over all N (N - 1) ordered pairs of different rows. Missing where an embedding has no direction.",
    descriptors: &[
        cosine("mean_cosine_img", "mean cosine between image embeddings over ordered pairs i != j"),
        cosine("mean_cosine_txt", "mean cosine between text embeddings over ordered pairs i != j"),
        cosine("mean_cosine_cross", "mean cosine between image i and text j over ordered pairs i != j"),
    ],
    compute,
};

const fn cosine(name: &'static str, summary: &'static str) -> Descriptor {
    let source = "Multimodality Under Governance, 1.7.4 and 3.5.2";
    Descriptor { name, unit: "cosine", range: (-1.0, 1.0), healthy: Healthy::NearZero, source, summary }
}

fn compute(evaluation: &Evaluation) -> Values {
    let d = evaluation.dimension();
    let [img, txt] = [Modality::Img, Modality::Txt].map(|modality| (modality, sum_of_rows(evaluation.z(modality), d)));
    let mean = |a, b| mean_off_diagonal(evaluation, a, b);
    Ok(vec![mean(&img, &img), mean(&txt, &txt), mean(&img, &txt)])
}

/// Mean of a_i . b_j over i != j, for two modalities with their sums of rows. The sum over all pairs is the dot product
/// of these two, so this takes N D operations instead of N^2 D; the terms i = j are subtracted. Absolute error about
/// 1e-15.
fn mean_off_diagonal(
    evaluation: &Evaluation,
    (a, sum_a): &(Modality, Vec<f64>),
    (b, sum_b): &(Modality, Vec<f64>),
) -> Result<f64, MetricError> {
    evaluation.require_directions(*a)?;
    evaluation.require_directions(*b)?;
    let (n, d) = (evaluation.samples() as f64, evaluation.dimension());
    let (rows_a, rows_b) = (evaluation.z(*a), evaluation.z(*b));
    let diagonal: f64 = rows_a.chunks_exact(d).zip(rows_b.chunks_exact(d)).map(|(x, y)| dot(x, y)).sum();
    Ok((dot(sum_a, sum_b) - diagonal) / (n * (n - 1.0)))
}

fn sum_of_rows(rows: &[f64], d: usize) -> Vec<f64> {
    let mut sum = vec![0.0; d];
    for row in rows.chunks_exact(d) {
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fixture::{noisy_pairs, value_of};

    #[test]
    fn closed_forms() {
        // Images (1,0), (0,1), (-1,0): cosines 0, -1, 0. Texts all (0,1). Cross, i != j: 0, 0, 1, 1, 0, 0.
        let images = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0];
        let evaluation = Evaluation::new(&images, &[0.0, 1.0].repeat(3), 2, 1.0).unwrap();
        assert_eq!(value_of(&evaluation, "mean_cosine_img"), Ok(-1.0 / 3.0));
        assert_eq!(value_of(&evaluation, "mean_cosine_txt"), Ok(1.0));
        assert_eq!(value_of(&evaluation, "mean_cosine_cross"), Ok(1.0 / 3.0));
    }

    #[test]
    fn equals_the_mean_over_all_pairs() {
        let (n, d) = (40, 7);
        let evaluation = noisy_pairs(11, n, d, 0.4);
        let modalities = [
            ("mean_cosine_img", Modality::Img, Modality::Img),
            ("mean_cosine_txt", Modality::Txt, Modality::Txt),
            ("mean_cosine_cross", Modality::Img, Modality::Txt),
        ];
        for (name, a, b) in modalities {
            let row = |modality, i: usize| &evaluation.z(modality)[i * d..(i + 1) * d];
            let pairs = (0..n).flat_map(|i| (0..n).map(move |j| (i, j))).filter(|(i, j)| i != j);
            let sum: f64 = pairs.map(|(i, j)| dot(row(a, i), row(b, j))).sum();
            let expected = sum / (n * (n - 1)) as f64;
            assert!((value_of(&evaluation, name).unwrap() - expected).abs() < 1e-14, "{name}");
        }
    }

    #[test]
    fn an_embedding_without_direction_is_an_error_only_where_it_is_used() {
        let evaluation = Evaluation::new(&[1.0, 0.0, 0.0, 1.0], &[1.0, 0.0, 1e-9, 0.0], 2, 1.0).unwrap();
        assert_eq!(value_of(&evaluation, "mean_cosine_img"), Ok(0.0));
        for name in ["mean_cosine_txt", "mean_cosine_cross"] {
            let reason = value_of(&evaluation, name).unwrap_err();
            assert!(matches!(reason, MetricError::NoDirection { modality: Modality::Txt, sample: 1, .. }));
        }
    }
}
