//! Coordinate variances (M2): floors under the spread of the embedding, coordinate by coordinate.

use super::{Descriptor, Evaluation, Family, Healthy, MetricError, Modality, Panel, Values};
use crate::numerics::stats;

/// Minimum, 5th percentile and median of the D coordinate variances of each modality.
///
/// The variances are the diagonal of the sample covariance of z (divisor N - 1). They depend on the coordinate system:
/// a rotation of the embedding changes them, and with it these metrics, where the spectrum stays. Constant
/// embeddings have a variance of 0: the worst score, and true. Embeddings without direction take part as the zero
/// vectors they are.
pub(super) const FAMILY: Family = Family {
    name: "variance",
    panel: Panel::Fast,
    about: "Of the D variances of the columns of z, with N - 1 in the denominator.",
    descriptors: &[
        variance("variance_min_img", "smallest variance of a coordinate of the image embeddings"),
        variance("variance_p05_img", "5th percentile of the coordinate variances of the image embeddings"),
        variance("variance_median_img", "median of the coordinate variances of the image embeddings; 1 / D when even"),
        variance("variance_min_txt", "smallest variance of a coordinate of the text embeddings"),
        variance("variance_p05_txt", "5th percentile of the coordinate variances of the text embeddings"),
        variance("variance_median_txt", "median of the coordinate variances of the text embeddings; 1 / D when even"),
    ],
    compute,
};

const fn variance(name: &'static str, summary: &'static str) -> Descriptor {
    // A coordinate of a unit vector lies in -1 to 1, so its sample variance is at most N / (N - 1), 2 for two samples.
    let range = (0.0, 2.0);
    let source = "Multimodality Under Governance, 3.5.2; quantiles interpolate linearly, as numpy.quantile";
    Descriptor { name, unit: "variance", range, healthy: Healthy::Higher, source, summary }
}

fn compute(evaluation: &Evaluation) -> Values {
    let mut values = floors(evaluation, Modality::Img);
    values.extend(floors(evaluation, Modality::Txt));
    Ok(values)
}

fn floors(evaluation: &Evaluation, modality: Modality) -> Vec<Result<f64, MetricError>> {
    const PROBABILITIES: [f64; 3] = [0.0, 0.05, 0.5];
    let quantiles = || -> Result<Vec<f64>, MetricError> {
        let diagonal: Vec<f64> =
            evaluation.covariance(modality)?.iter().step_by(evaluation.dimension() + 1).copied().collect();
        Ok(stats::quantiles(&diagonal, &PROBABILITIES)?)
    };
    match quantiles() {
        Ok(values) => values.into_iter().map(Ok).collect(),
        Err(reason) => vec![Err(reason); PROBABILITIES.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fixture::value_of;

    #[test]
    fn closed_forms() {
        // Images on the three axes, once each way: every coordinate has squares 1, 1 and mean 0, so variance 2 / 5.
        let images = [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]].map(|r| r.map(|x| x as f32));
        // Texts move along the first axis only: variances 6 / 5, 0, 0, their 5th percentile and median 0.
        let texts = [[1, 0, 0], [-1, 0, 0], [1, 0, 0], [-1, 0, 0], [1, 0, 0], [-1, 0, 0]].map(|r| r.map(|x| x as f32));
        let evaluation = Evaluation::new(images.as_flattened(), texts.as_flattened(), 3, 1.0).unwrap();
        for name in ["variance_min_img", "variance_p05_img", "variance_median_img"] {
            assert_eq!(value_of(&evaluation, name), Ok(0.4));
        }
        for name in ["variance_min_txt", "variance_p05_txt", "variance_median_txt"] {
            assert_eq!(value_of(&evaluation, name), Ok(0.0));
        }
    }

    #[test]
    fn constant_embeddings_have_exactly_no_variance() {
        let constant = [0.3, -0.2, 0.9].repeat(100);
        let evaluation = Evaluation::new(&constant, &constant, 3, 1.0).unwrap();
        for descriptor in FAMILY.descriptors {
            assert_eq!(value_of(&evaluation, descriptor.name), Ok(0.0), "{}", descriptor.name);
        }
    }
}
