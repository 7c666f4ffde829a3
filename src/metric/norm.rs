//! Norms before normalisation: a scale that the loss cannot see, but that sets the size of gradients.

use super::{Descriptor, Evaluation, Family, Healthy, Modality, Panel, Values};
use crate::numerics::stats;

/// Mean and standard deviation of the raw embedding norms of each modality.
pub(super) const FAMILY: Family = Family {
    name: "norm",
    panel: Panel::Fast,
    about: "Of the Euclidean lengths of embeddings before normalisation, `raw_img` and `raw_txt`.",
    descriptors: &[
        norm("norm_mean_img", "mean Euclidean norm of the image embeddings before normalisation"),
        norm("norm_sd_img", "standard deviation (N - 1) of the norms of the image embeddings before normalisation"),
        norm("norm_mean_txt", "mean Euclidean norm of the text embeddings before normalisation"),
        norm("norm_sd_txt", "standard deviation (N - 1) of the norms of the text embeddings before normalisation"),
    ],
    compute,
};

const fn norm(name: &'static str, summary: &'static str) -> Descriptor {
    let source = "Multimodality Under Governance, 1.7.5";
    Descriptor { name, unit: "norm", range: (0.0, f64::INFINITY), healthy: Healthy::Neither, source, summary }
}

fn compute(evaluation: &Evaluation) -> Values {
    let [img, txt] = [Modality::Img, Modality::Txt].map(|modality| evaluation.raw_norms(modality));
    Ok(vec![Ok(stats::mean(img)?), Ok(stats::sample_sd(img)?), Ok(stats::mean(txt)?), Ok(stats::sample_sd(txt)?)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fixture::value_of;

    #[test]
    fn closed_forms() {
        let evaluation = Evaluation::new(&[3.0, 4.0, 0.0, 7.0], &[0.0, 0.0, 0.0, 2.0], 2, 1.0).unwrap();
        assert_eq!(value_of(&evaluation, "norm_mean_img"), Ok(6.0));
        assert_eq!(value_of(&evaluation, "norm_sd_img"), Ok(2f64.sqrt()));
        assert_eq!(value_of(&evaluation, "norm_mean_txt"), Ok(1.0));
        assert_eq!(value_of(&evaluation, "norm_sd_txt"), Ok(2f64.sqrt()));
    }
}
