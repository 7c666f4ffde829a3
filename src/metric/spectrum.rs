//! Covariance spectra (M3): how many directions the embedding really uses.

use super::{Descriptor, Evaluation, Family, Healthy, MetricError, Modality, Panel, Values};

/// Total variance at or below which an embedding counts as constant: a root-mean-square distance of 1e-6 from the mean,
/// in units of the sphere's radius. Raw embeddings come from `f32` arithmetic, some ten roundings of 6e-8 deep, so a
/// smaller spread is its noise: noise is isotropic, and would give a collapsed embedding the effective rank of a
/// perfect one.
pub const NO_VARIANCE: f64 = 1e-12;

/// Effective rank, top-eigenvalue share and participation ratio of each modality, and the difference between ranks.
///
/// All four are functions of the eigenvalues l of the centred covariance of z (divisor N - 1), and are unchanged by a
/// rotation of the embedding. With p = l / sum l: effective rank exp(-sum p ln p); participation ratio
/// (sum l)^2 / sum l^2; both 1 on a line and D when all directions are used evenly, the effective rank never below
/// the participation ratio. Total variance at or below [`NO_VARIANCE`] is an error: p is then 0 / 0 or noise.
/// With N <= D at most N - 1 eigenvalues are positive, which bounds both ranks.
pub(super) const FAMILY: Family = Family {
    name: "spectrum",
    panel: Panel::Fast,
    about: "l: the D eigenvalues of the covariance of z, with N - 1 in the denominator, those that rounding makes negative taken as 0; p = l / sum l. Effective rank: exp(-sum p ln p). Top share: the largest p. Participation ratio: (sum l)^2 / sum l^2. The l are the squares of the singular values of centred z, over N - 1; Roy and Vetterli 2007 take singular values themselves, of which the same formula gives more, and RankMe those of z as it is. Missing where embeddings are constant.",
    descriptors: &[
        rank("effective_rank_img", "exp of the entropy of the normalised covariance eigenvalues, images", ENTROPY),
        top_share("top_eigen_share_img", "largest covariance eigenvalue over their sum, images"),
        rank("participation_ratio_img", "(sum l)^2 / sum l^2 of the covariance eigenvalues l, images", PARTICIPATION),
        rank("effective_rank_txt", "exp of the entropy of the normalised covariance eigenvalues, texts", ENTROPY),
        top_share("top_eigen_share_txt", "largest covariance eigenvalue over their sum, texts"),
        rank("participation_ratio_txt", "(sum l)^2 / sum l^2 of the covariance eigenvalues l, texts", PARTICIPATION),
        Descriptor {
            name: "rank_divergence",
            unit: "dimensions",
            range: (f64::NEG_INFINITY, f64::INFINITY),
            healthy: Healthy::NearZero,
            source: "Multimodality Under Governance, 3.5.3",
            summary: "effective_rank_img - effective_rank_txt: negative when images use fewer directions",
        },
    ],
    compute,
};

const ENTROPY: &str = "Multimodality Under Governance, 3.5.3; the entropy of Roy and Vetterli 2007, of eigenvalues where they take singular values";
const PARTICIPATION: &str = "participation ratio of the spectrum, as in Gao et al. 2017";

const fn rank(name: &'static str, summary: &'static str, source: &'static str) -> Descriptor {
    let range = (1.0, f64::INFINITY);
    Descriptor { name, unit: "dimensions", range, healthy: Healthy::Higher, source, summary }
}
const fn top_share(name: &'static str, summary: &'static str) -> Descriptor {
    let source = "Multimodality Under Governance, 3.5.3";
    Descriptor { name, unit: "share", range: (0.0, 1.0), healthy: Healthy::Lower, source, summary }
}

fn compute(evaluation: &Evaluation) -> Values {
    let img = shape(evaluation, Modality::Img);
    let txt = shape(evaluation, Modality::Txt);
    let divergence = match (&img, &txt) {
        (Ok(img), Ok(txt)) => Ok(img[0] - txt[0]),
        (Err(reason), _) | (_, Err(reason)) => Err(reason.clone()),
    };
    let mut values = spread(img);
    values.extend(spread(txt));
    values.push(divergence);
    Ok(values)
}

/// Effective rank, top-eigenvalue share, participation ratio.
fn shape(evaluation: &Evaluation, modality: Modality) -> Result<[f64; 3], MetricError> {
    let eigenvalues = evaluation.spectrum(modality)?;
    let total: f64 = eigenvalues.iter().sum();
    if total <= NO_VARIANCE {
        return Err(MetricError::NoVariance { modality, total });
    }
    // The limit of p ln p at 0 is 0.
    let shares = || eigenvalues.iter().map(|l| l / total).filter(|p| *p > 0.0);
    let entropy = -shares().map(|p| p * p.ln()).sum::<f64>();
    let largest = shares().next().unwrap_or(0.0);
    Ok([entropy.exp(), largest, 1.0 / shares().map(|p| p * p).sum::<f64>()])
}

fn spread(values: Result<[f64; 3], MetricError>) -> Vec<Result<f64, MetricError>> {
    match values {
        Ok(values) => values.map(Ok).into(),
        Err(reason) => vec![Err(reason); 3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fixture::value_of;
    use crate::numerics::stream::Streams;

    /// Rounding of the solver and of a logarithm.
    const ROUNDING: f64 = 1e-12;

    /// Both ends of each of the first `axes` axes of `d`, `times` over: `axes` equal eigenvalues and the rest 0.
    fn cross(axes: usize, d: usize, times: usize) -> Vec<f32> {
        let ends = (0..axes).flat_map(|axis| [(axis, 1.0), (axis, -1.0)]);
        let mut rows = vec![];
        for (axis, sign) in ends {
            let mut row = vec![0.0; d];
            row[axis] = sign;
            rows.extend(row);
        }
        rows.repeat(times)
    }

    #[test]
    fn equal_eigenvalues_have_their_number_as_rank() {
        let (d, n) = (6, 24);
        let evaluation = Evaluation::new(&cross(6, d, 2), &cross(3, d, 4), d, 1.0).unwrap();
        let close = |name, expected: f64| {
            let got: f64 = value_of(&evaluation, name).unwrap();
            assert!((got - expected).abs() < ROUNDING, "{name}: {got}");
        };
        close("effective_rank_img", 6.0);
        close("participation_ratio_img", 6.0);
        close("top_eigen_share_img", 1.0 / 6.0);
        close("effective_rank_txt", 3.0);
        close("participation_ratio_txt", 3.0);
        close("top_eigen_share_txt", 1.0 / 3.0);
        close("rank_divergence", 3.0);
        // Sum of squares N spread over 3 axes, divisor N - 1.
        let top = evaluation.spectrum(Modality::Txt).unwrap()[0];
        assert!((top - n as f64 / 3.0 / (n - 1) as f64).abs() < ROUNDING);
    }

    #[test]
    fn unequal_eigenvalues_hand_worked() {
        // Axis 1 twice as often as axis 2: p = 2/3, 1/3. Entropy ln 3 - 2/3 ln 2; sum p^2 = 5/9.
        let rows = [cross(1, 2, 2), vec![0.0, 1.0, 0.0, -1.0]].concat();
        let evaluation = Evaluation::new(&rows, &rows, 2, 1.0).unwrap();
        assert!((value_of(&evaluation, "effective_rank_img").unwrap() - 3.0 / 4f64.cbrt()).abs() < ROUNDING);
        assert!((value_of(&evaluation, "participation_ratio_txt").unwrap() - 1.8).abs() < ROUNDING);
        assert!((value_of(&evaluation, "top_eigen_share_img").unwrap() - 2.0 / 3.0).abs() < ROUNDING);
    }

    #[test]
    fn one_direction_has_rank_one() {
        let line = [[0.6, 0.8, 0.0], [-0.6, -0.8, 0.0]].as_flattened().repeat(5);
        let evaluation = Evaluation::new(&line, &line, 3, 1.0).unwrap();
        assert!((value_of(&evaluation, "effective_rank_img").unwrap() - 1.0).abs() < ROUNDING);
        assert!((value_of(&evaluation, "top_eigen_share_img").unwrap() - 1.0).abs() < ROUNDING);
    }

    #[test]
    fn constant_embeddings_have_a_reason_instead_of_a_rank() {
        let (n, d) = (64, 8);
        let mut stream = Streams::new(3, "metric.tests").item(0);
        let direction: Vec<f32> = (0..d).map(|_| stream.normal() as f32).collect();
        // The same direction at different lengths: after normalisation only f32 rounding differs, in all directions.
        let rounding: Vec<f32> =
            (0..n).flat_map(|i| direction.clone().into_iter().map(move |x| x * (1.3 + i as f32))).collect();
        let evaluation = Evaluation::new(&direction.repeat(n), &rounding, d, 1.0).unwrap();
        let total: f64 = evaluation.spectrum(Modality::Txt).unwrap().iter().sum();
        assert!(total > 0.0, "the case must be the hard one");
        for descriptor in FAMILY.descriptors {
            let reason = value_of(&evaluation, descriptor.name).unwrap_err();
            assert!(matches!(reason, MetricError::NoVariance { .. }), "{}", descriptor.name);
        }
        let reason = value_of(&evaluation, "effective_rank_img").unwrap_err();
        insta::assert_snapshot!(reason, @"img embeddings are constant to f32 rounding (total variance 0.0e0)");
    }

    #[test]
    fn divergence_is_missing_when_one_side_is() {
        let evaluation = Evaluation::new(&cross(2, 2, 1), &[1.0, 0.0].repeat(4), 2, 1.0).unwrap();
        assert!(value_of(&evaluation, "effective_rank_img").is_ok());
        let reason = value_of(&evaluation, "rank_divergence").unwrap_err();
        assert!(matches!(reason, MetricError::NoVariance { modality: Modality::Txt, .. }));
    }
}
