//! Canonical correlations (M9): how strongly the two embeddings share linear structure, whatever it means.

use super::null;
use super::{Descriptor, Evaluation, Family, Healthy, MetricError, Modality, Panel, Values};
use crate::numerics::linalg::{LinalgError, dot, symmetric_eigenvalues};
use crate::numerics::spectral::{Eigen, cross_products, singular_values, symmetric_eigen};

/// What is added to every eigenvalue of a covariance before it is inverted, as shares of their mean.
const RIDGES: [f64; 4] = [1e-4, 1e-3, 1e-2, 1e-1];

/// Place in [`RIDGES`] of the one whose values are reported.
const REFERENCE: usize = 1;

/// Correlations in the mean: those of the strongest directions.
const TOP: usize = 5;

/// The largest canonical correlation and the mean of the five largest, of z centred and whitened with a ridge.
///
/// Reported at a ridge of 0.001 of the mean variance; the span is how much they change from 0.0001 to 0.1: where it is
/// large, as after a collapse, the correlations lie in directions with hardly any variance. In samples as many as a few
/// times D they are far from 0 by chance, which the excess leaves out: partners are permuted. With N at most 2 D + 1 some
/// correlation is 1 whatever the embeddings are: an error, as are constant embeddings.
pub(super) const FAMILY: Family = Family {
    name: "correlation",
    panel: Panel::Full,
    about: "C_i and C_t are the covariances of z_img and z_txt, and B is the covariance between them, all with N - 1 in the denominator; v_i is trace(C_i) / D, and v_t likewise. The correlations are the singular values of (C_i + r v_i I)^(-1/2) B (C_t + r v_t I)^(-1/2). Those above 1 by rounding are taken as 1. The ridge r is 0.001; the span is the largest less the smallest value over r = 0.0001, 0.001, 0.01 and 0.1. cca_mean is over the 5 largest, or all D where D is less. The null permutes partners. Needs 2 D + 2 samples; missing where embeddings are constant.",
    descriptors: &[
        correlation("cca_1", "largest canonical correlation between image and text embeddings, ridge 0.001"),
        excess("cca_1_excess", "cca_1 less its mean with partners permuted"),
        spread("cca_1_null_sd", "standard deviation of cca_1 with partners permuted"),
        spread("cca_1_ridge_span", "largest less smallest cca_1 over ridges from 0.0001 to 0.1"),
        correlation("cca_mean", "mean of the 5 largest canonical correlations, ridge 0.001"),
        excess("cca_mean_excess", "cca_mean less its mean with partners permuted"),
        spread("cca_mean_null_sd", "standard deviation of cca_mean with partners permuted"),
        spread("cca_mean_ridge_span", "largest less smallest cca_mean over ridges from 0.0001 to 0.1"),
    ],
    compute,
};

const SOURCE: &str = "Multimodality Under Governance, 2.8.2; Hotelling 1936; ridge of Vinod 1976; 200 permutations";

const fn correlation(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "correlation", range: (0.0, 1.0), healthy: Healthy::Higher, source: SOURCE, summary }
}
const fn excess(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "correlation", range: (-1.0, 1.0), healthy: Healthy::Higher, source: SOURCE, summary }
}
const fn spread(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "correlation", range: (0.0, 1.0), healthy: Healthy::Neither, source: SOURCE, summary }
}

fn compute(evaluation: &Evaluation) -> Values {
    let (samples, needed) = (evaluation.samples(), 2 * evaluation.dimension() + 2);
    if samples < needed {
        return Err(MetricError::TooFewSamples { samples, needed });
    }
    let spaces = [Space::new(evaluation, Modality::Img)?, Space::new(evaluation, Modality::Txt)?];
    let shared = shared(evaluation, &spaces)?;
    let by_ridge: Vec<[f64; 2]> = RIDGES
        .iter()
        .map(|ridge| Ok(summary(&correlations(&spaces, &shared, *ridge)?)))
        .collect::<Result<_, LinalgError>>()?;
    let null = null(evaluation, &spaces, RIDGES[REFERENCE])?;
    let mut values = vec![];
    for at in 0..2 {
        values.push(Ok(by_ridge[REFERENCE][at]));
        let null: Vec<f64> = null.iter().map(|drawn| drawn[at]).collect();
        values.extend(null::each(null::excess(by_ridge[REFERENCE][at], &null)));
        let over_ridges = || by_ridge.iter().map(|values| values[at]);
        values.push(Ok(over_ridges().fold(0.0, f64::max) - over_ridges().fold(1.0, f64::min)));
    }
    Ok(values)
}

/// The embeddings of one modality in the coordinates of their principal components.
struct Space<'a> {
    centred: &'a [f64],
    eigen: Eigen,
}

impl<'a> Space<'a> {
    fn new(evaluation: &'a Evaluation, modality: Modality) -> Result<Self, MetricError> {
        let centred = evaluation.centred(modality)?;
        let mut eigen = symmetric_eigen(evaluation.covariance(modality)?, evaluation.dimension())?;
        // Negative only by rounding, see `Evaluation::spectrum`.
        eigen.values.iter_mut().for_each(|l| *l = l.max(0.0));
        Ok(Self { centred, eigen })
    }

    /// What each component is multiplied with to whiten it, `[D]`.
    fn scales(&self, ridge: f64) -> Vec<f64> {
        let values = &self.eigen.values;
        let added = ridge * values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|l| (l + added).sqrt().recip()).collect()
    }

    /// Whitened embeddings, `[N, D]`.
    fn whitened(&self, ridge: f64) -> Vec<f64> {
        let scales = self.scales(ridge);
        let d = scales.len();
        let vectors: Vec<f64> =
            self.eigen.vectors.chunks_exact(d).zip(&scales).flat_map(|(v, s)| v.iter().map(move |x| x * s)).collect();
        self.centred.chunks_exact(d).flat_map(|row| vectors.chunks_exact(d).map(|v| dot(row, v))).collect()
    }
}

/// Covariances between the principal components of both modalities, `[D, D]`.
fn shared(evaluation: &Evaluation, [img, txt]: &[Space<'_>; 2]) -> Result<Vec<f64>, LinalgError> {
    let d = evaluation.dimension();
    let mut between = cross_products(img.centred, d, txt.centred, d)?;
    between.iter_mut().for_each(|x| *x /= (evaluation.samples() - 1) as f64);
    // U' B V with the eigenvectors as rows of U and V.
    let turned: Vec<f64> =
        between.chunks_exact(d).flat_map(|row| txt.eigen.vectors.chunks_exact(d).map(|v| dot(row, v))).collect();
    let columns = |j: usize| turned.iter().skip(j).step_by(d).copied().collect::<Vec<f64>>();
    let columns: Vec<Vec<f64>> = (0..d).map(columns).collect();
    Ok(img.eigen.vectors.chunks_exact(d).flat_map(|u| columns.iter().map(|column| dot(u, column))).collect())
}

/// Canonical correlations with this ridge, descending, `[D]`.
fn correlations(spaces: &[Space<'_>; 2], shared: &[f64], ridge: f64) -> Result<Vec<f64>, LinalgError> {
    let [img, txt] = spaces.each_ref().map(|space| space.scales(ridge));
    let d = img.len();
    let rows = shared.chunks_exact(d).zip(&img);
    let scaled: Vec<f64> = rows.flat_map(|(row, s)| row.iter().zip(&txt).map(move |(x, t)| x * s * t)).collect();
    singular_values(&scaled, d)
}

/// The largest correlation, and the mean of the [`TOP`] largest. Rounding can take a correlation past 1.
fn summary(descending: &[f64]) -> [f64; 2] {
    let top = &descending[..TOP.min(descending.len())];
    [top[0], top.iter().sum::<f64>() / top.len() as f64].map(|correlation| correlation.min(1.0))
}

/// The same with texts permuted, which leaves both whitenings as they are.
fn null(evaluation: &Evaluation, spaces: &[Space<'_>; 2], ridge: f64) -> Result<Vec<[f64; 2]>, LinalgError> {
    let d = evaluation.dimension();
    let [mut img, txt] = spaces.each_ref().map(|space| space.whitened(ridge));
    img.iter_mut().for_each(|x| *x /= (evaluation.samples() - 1) as f64);
    let mut permuted = vec![0.0; txt.len()];
    let of = |order: &[u32]| {
        for (to, &from) in permuted.chunks_exact_mut(d).zip(order) {
            to.copy_from_slice(&txt[from as usize * d..][..d]);
        }
        let between = cross_products(&img, d, &permuted, d)?;
        // Squares of singular values: a third of the cost, and exact to 1e-8, which is far below the spread of a null.
        let squares = symmetric_eigenvalues(&cross_products(&between, d, &between, d)?, d)?;
        Ok(summary(&squares.iter().map(|square| square.max(0.0).sqrt()).collect::<Vec<f64>>()))
    };
    evaluation.permutations().map(of).collect()
}

/// Canonical correlations at one ridge, for goldens.
#[cfg(test)]
pub(super) fn at_ridge(evaluation: &Evaluation, ridge: f64) -> Vec<f64> {
    let spaces = [Modality::Img, Modality::Txt].map(|modality| Space::new(evaluation, modality).unwrap());
    correlations(&spaces, &shared(evaluation, &spaces).unwrap(), ridge).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fixture::{noisy_pairs, raw_pairs, value_of};

    #[test]
    fn the_null_is_that_of_permuted_texts() {
        let (n, d, ridge) = (60, 5, RIDGES[REFERENCE]);
        let (img, txt) = raw_pairs(3, n, d, 0.5);
        let evaluation = Evaluation::new(&img, &txt, d, 1.0).unwrap();
        let spaces = [Modality::Img, Modality::Txt].map(|modality| Space::new(&evaluation, modality).unwrap());
        let null = null(&evaluation, &spaces, ridge).unwrap();
        for (order, null) in evaluation.permutations().zip(null).step_by(60) {
            let txt: Vec<f32> = order.iter().flat_map(|i| txt[*i as usize * d..][..d].to_vec()).collect();
            let moved = Evaluation::new(&img, &txt, d, 1.0).unwrap();
            let expected = summary(&at_ridge(&moved, ridge));
            for (got, expected) in null.iter().zip(expected) {
                assert!((got - expected).abs() < 1e-12, "{got} {expected}");
            }
        }
    }

    #[test]
    fn a_turned_copy_correlates_fully() {
        let (n, d) = (200, 6);
        let (img, _) = raw_pairs(3, n, d, 0.5);
        let turned: Vec<f32> = img
            .chunks_exact(d)
            .flat_map(|row| (0..d).map(|k| if k % 2 == 0 { row[d - 1 - k] } else { -row[d - 1 - k] }))
            .collect();
        let evaluation = Evaluation::new(&img, &turned, d, 1.0).unwrap();
        assert!(at_ridge(&evaluation, 0.0).iter().all(|correlation| (correlation - 1.0).abs() < 1e-9));
        // Each eigenvalue l becomes l / (l + ridge), and the eigenvalues are about equal.
        let value = value_of(&evaluation, "cca_mean").unwrap();
        assert!((0.998..1.0).contains(&value), "{value}");
        let span = value_of(&evaluation, "cca_1_ridge_span").unwrap();
        assert!((0.05..0.15).contains(&span), "{span}");
    }

    #[test]
    fn too_few_samples_and_collapse_have_a_reason() {
        let reason = value_of(&noisy_pairs(1, 13, 6, 0.5), "cca_1").unwrap_err();
        assert_eq!(reason, MetricError::TooFewSamples { samples: 13, needed: 14 });
        assert!(value_of(&noisy_pairs(1, 14, 6, 0.5), "cca_1").is_ok());
        let constant = [0.6, 0.8].repeat(40);
        let collapsed = Evaluation::new(&constant, &constant, 2, 1.0).unwrap();
        assert!(matches!(value_of(&collapsed, "cca_mean_excess"), Err(MetricError::NoVariance { .. })));
    }
}
