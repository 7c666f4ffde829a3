//! Alignment and modality gap (M6): how far the two embeddings of a sample, and the two clouds, lie apart.

use super::{Descriptor, Evaluation, Family, Healthy, MetricError, Modality, Panel, Values};

/// Mean squared distance between partners, and distance between the means of both modalities.
///
/// Both are smallest, 0, when both encoders say the same about everything, so both are errors when either does not tell
/// samples apart at all. That a narrow gap is better is not what its source found. By chance, with directions spread
/// evenly over the sphere, the alignment is 2.
pub(super) const FAMILY: Family = Family {
    name: "alignment",
    panel: Panel::Fast,
    about: "Alignment: the mean of the squared length of z_img - z_txt over pairs. Modality gap: the length of the mean of z_img less the mean of z_txt. Missing where either modality is constant, because encoders that tell no samples apart could score best.",
    descriptors: &[
        Descriptor {
            name: "alignment",
            unit: "squared distance",
            range: (0.0, 4.0),
            healthy: Healthy::Lower,
            source: "Wang and Isola 2020, exponent 2",
            summary: "mean squared distance between the embeddings of a pair; 2 by chance",
        },
        Descriptor {
            name: "modality_gap",
            unit: "distance",
            range: (0.0, 2.0),
            healthy: Healthy::Neither,
            source: "Liang et al. 2022, who find tasks on which a wider gap does better",
            summary: "distance between the mean image embedding and the mean text embedding",
        },
    ],
    compute,
};

fn compute(evaluation: &Evaluation) -> Values {
    for modality in [Modality::Img, Modality::Txt] {
        evaluation.require_directions(modality)?;
        evaluation.centred(modality)?;
    }
    let pairs = squared_distance(evaluation.z(Modality::Img), evaluation.z(Modality::Txt));
    let gap = squared_distance(&evaluation.mean(Modality::Img), &evaluation.mean(Modality::Txt)).sqrt();
    Ok(vec![Ok::<_, MetricError>(pairs / evaluation.samples() as f64), Ok(gap)])
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fixture::value_of;

    #[test]
    fn closed_forms() {
        // Pairs at angles of 0, 90 and 180 degrees: squared distances 0, 2, 4. Means (0, 1/3) and (1/3, 0).
        let images = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0];
        let texts = [1.0, 0.0, -1.0, 0.0, 1.0, 0.0];
        let evaluation = Evaluation::new(&images, &texts, 2, 1.0).unwrap();
        assert_eq!(value_of(&evaluation, "alignment"), Ok(2.0));
        let gap = value_of(&evaluation, "modality_gap").unwrap();
        assert!((gap - 2f64.sqrt() / 3.0).abs() < 1e-15, "{gap}");
    }

    #[test]
    fn encoders_that_say_nothing_are_not_aligned() {
        let images = [0.6, 0.8, 0.0, 1.0];
        let evaluation = Evaluation::new(&images, &[0.6, 0.8, 0.6, 0.8], 2, 1.0).unwrap();
        for descriptor in FAMILY.descriptors {
            let reason = value_of(&evaluation, descriptor.name).unwrap_err();
            assert!(matches!(reason, MetricError::NoVariance { modality: Modality::Txt, .. }));
        }
    }
}
