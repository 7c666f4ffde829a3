//! Symmetry of the modalities (M6): do both encoders use the same lengths and as many directions?

use super::{Descriptor, Evaluation, Family, Healthy, MetricError, Modality, NO_DIRECTION_NORM, Panel, Values};
use crate::numerics::stats;

/// How far the distributions of raw norms, and the covariance spectra, of both modalities differ.
///
/// Two collapsed encoders are alike in every respect, so each is an error when either modality is constant.
pub(super) const FAMILY: Family = Family {
    name: "symmetry",
    panel: Panel::Fast,
    about: "Norm divergence: lengths before normalisation are sorted in each modality. The value is the mean over ranks of their absolute differences, over the mean of all 2 N lengths. Spectrum divergence: p and q are the descending eigenvalues of the covariances of z_img and z_txt, each over their sum, and m = (p + q) / 2. The value is half of the sum of p ln(p / m) + q ln(q / m). Missing where either modality is constant.",
    descriptors: &[
        Descriptor {
            name: "norm_divergence",
            unit: "share of the mean norm",
            range: (0.0, 2.0),
            healthy: Healthy::Lower,
            source: "Multimodality Under Governance, 1.7.5; Wasserstein-1 distance over the mean norm of both",
            summary: "how far the raw norms of one modality have to move to be distributed as those of the other",
        },
        Descriptor {
            name: "spectrum_divergence",
            unit: "nats",
            range: (0.0, std::f64::consts::LN_2),
            healthy: Healthy::Lower,
            source: "Multimodality Under Governance, 1.7.5; Jensen-Shannon divergence, Lin 1991",
            summary: "Jensen-Shannon divergence between the normalised covariance spectra, largest with largest",
        },
    ],
    compute,
};

fn compute(evaluation: &Evaluation) -> Values {
    for modality in [Modality::Img, Modality::Txt] {
        evaluation.centred(modality)?;
    }
    Ok(vec![norm_divergence(evaluation), spectrum_divergence(evaluation)])
}

/// The mean distance between norms of equal rank, over the mean of all.
fn norm_divergence(evaluation: &Evaluation) -> Result<f64, MetricError> {
    let sorted = |modality| {
        let mut norms = evaluation.raw_norms(modality).to_vec();
        norms.sort_unstable_by(f64::total_cmp);
        norms
    };
    let [img, txt] = [Modality::Img, Modality::Txt].map(sorted);
    let mean = (stats::mean(&img)? + stats::mean(&txt)?) / 2.0;
    if mean < NO_DIRECTION_NORM {
        return Err(MetricError::NoDirection { modality: Modality::Img, sample: 0, norm: mean });
    }
    let apart: Vec<f64> = img.iter().zip(&txt).map(|(a, b)| (a - b).abs()).collect();
    Ok(stats::mean(&apart)? / mean)
}

fn spectrum_divergence(evaluation: &Evaluation) -> Result<f64, MetricError> {
    let shares = |modality| -> Result<Vec<f64>, MetricError> {
        let eigenvalues = evaluation.spectrum(modality)?;
        let total: f64 = eigenvalues.iter().sum();
        Ok(eigenvalues.iter().map(|l| l / total).collect())
    };
    let (img, txt) = (shares(Modality::Img)?, shares(Modality::Txt)?);
    // The limit of p ln p at 0 is 0.
    let relative = |p: &f64, m: f64| if *p > 0.0 { p * (p / m).ln() } else { 0.0 };
    let terms = img.iter().zip(&txt).map(|(p, q)| (relative(p, (p + q) / 2.0) + relative(q, (p + q) / 2.0)) / 2.0);
    // Equal spectra can come out below 0 by rounding.
    Ok(terms.sum::<f64>().max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fixture::value_of;

    #[test]
    fn closed_forms() {
        // Norms 1, 1, 1, 1 and 3, 1, 3, 1: equal ranks differ by 0, 0, 2, 2; the mean norm is 1.5. Image variances lie on
        // two axes evenly, text variances on one: shares (1/2, 1/2) and (1, 0).
        let images = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -1.0];
        let texts = [3.0, 0.0, -1.0, 0.0, 3.0, 0.0, -1.0, 0.0];
        let evaluation = Evaluation::new(&images, &texts, 2, 1.0).unwrap();
        assert_eq!(value_of(&evaluation, "norm_divergence"), Ok(1.0 / 1.5));
        let expected = (0.5 * (2f64 / 3.0).ln() + 0.5 * 2f64.ln() + (4f64 / 3.0).ln()) / 2.0;
        assert!((value_of(&evaluation, "spectrum_divergence").unwrap() - expected).abs() < 1e-15);
    }

    #[test]
    fn collapsed_encoders_are_not_called_alike() {
        let constant = [0.6, 0.8].repeat(4);
        let evaluation = Evaluation::new(&constant, &constant, 2, 1.0).unwrap();
        for descriptor in FAMILY.descriptors {
            let reason = value_of(&evaluation, descriptor.name).unwrap_err();
            assert!(matches!(reason, MetricError::NoVariance { .. }), "{}", descriptor.name);
        }
    }
}
