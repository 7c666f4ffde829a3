//! Logits (M11): cosines over the temperature, the scale on which the loss and any calibrated score see them.

use super::comparison::{Comparison, Way};
use super::{Descriptor, Evaluation, Family, Healthy, Panel, Values};
use crate::numerics::stats;

/// Quantiles of logits.
pub(super) const PROBABILITIES: [f64; 3] = [0.05, 0.5, 0.95];

/// Logits of pairs (diagonal), of non-pairs (off-diagonal), and the margin between a query's own partner and its best
/// other candidate: positive where the query is answered rightly, 0 at a tie.
///
/// All scale with 1 / temperature, which retrieval does not see: they show a change of scoring scale.
pub(super) const FAMILY: Family = Family {
    name: "logits",
    panel: Panel::Fast,
    about: "A logit is a similarity over the scoring temperature: score.temperature, or train.temperature where that is 0. The diagonal holds the N pairs, the rest is N (N - 1) others. The margin of a query is the logit of its partner less the largest logit of another candidate.",
    descriptors: &[
        logit("logit_diagonal_mean", "mean logit of pairs"),
        logit("logit_diagonal_p05", "5th percentile of the logits of pairs"),
        logit("logit_diagonal_p50", "median logit of pairs"),
        logit("logit_diagonal_p95", "95th percentile of the logits of pairs"),
        logit("logit_off_diagonal_mean", "mean logit of non-pairs"),
        logit("logit_off_diagonal_p05", "5th percentile of the logits of non-pairs"),
        logit("logit_off_diagonal_p50", "median logit of non-pairs"),
        logit("logit_off_diagonal_p95", "95th percentile of the logits of non-pairs"),
        margin("logit_margin_mean_i2t", "mean over images of the own text's logit minus the best other text's"),
        margin("logit_margin_p05_i2t", "5th percentile over images of the own text's logit minus the best other's"),
        margin("logit_margin_mean_t2i", "mean over texts of the own image's logit minus the best other image's"),
        margin("logit_margin_p05_t2i", "5th percentile over texts of the own image's logit minus the best other's"),
    ],
    compute,
};

const UNBOUNDED: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
const SOURCE: &str =
    "Multimodality Under Governance, 3.3.3 (logits); quantiles interpolate linearly, as numpy.quantile";

const fn logit(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "logit", range: UNBOUNDED, healthy: Healthy::Neither, source: SOURCE, summary }
}
const fn margin(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "logit", range: UNBOUNDED, healthy: Healthy::Higher, source: SOURCE, summary }
}

fn compute(evaluation: &Evaluation) -> Values {
    let temperature = evaluation.temperature()?;
    let Comparison { ways: [i2t, t2i], pairs, others_mean, others_quantiles } = evaluation.comparison()?;
    // Dividing by the temperature is monotonic, so it can follow the quantiles.
    let mut cosines = vec![stats::mean(pairs)?];
    cosines.extend(stats::quantiles(pairs, &PROBABILITIES)?);
    cosines.push(*others_mean);
    cosines.extend(others_quantiles);
    for Way { margins, .. } in [i2t, t2i] {
        cosines.push(stats::mean(margins)?);
        cosines.extend(stats::quantiles(margins, &PROBABILITIES[..1])?);
    }
    Ok(cosines.into_iter().map(|cosine| Ok(cosine / temperature)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fixture::value_of;

    #[test]
    fn hand_worked() {
        // Cosines, images down and texts across: (1, 0.6), (0, 0.8). Margins i2t 0.4, 0.8; t2i 1, 0.2.
        let evaluation = Evaluation::new(&[1.0, 0.0, 0.0, 1.0], &[1.0, 0.0, 0.6, 0.8], 2, 0.5).unwrap();
        let close = |name, cosine: f64| {
            let got: f64 = value_of(&evaluation, name).unwrap();
            // 0.6 and 0.8 are rounded to f32.
            assert!((got - cosine / 0.5).abs() < 2e-7, "{name}: {got}");
        };
        close("logit_diagonal_mean", 0.9);
        close("logit_diagonal_p05", 0.81);
        close("logit_diagonal_p50", 0.9);
        close("logit_diagonal_p95", 0.99);
        close("logit_off_diagonal_mean", 0.3);
        close("logit_off_diagonal_p05", 0.03);
        close("logit_off_diagonal_p50", 0.3);
        close("logit_off_diagonal_p95", 0.57);
        close("logit_margin_mean_i2t", 0.6);
        close("logit_margin_p05_i2t", 0.42);
        close("logit_margin_mean_t2i", 0.6);
        close("logit_margin_p05_t2i", 0.24);
    }

    #[test]
    fn constant_embeddings_have_no_margin() {
        let constant = [0.3, -0.2, 0.9].repeat(9);
        let evaluation = Evaluation::new(&constant, &constant, 3, 1e-3).unwrap();
        for name in ["logit_margin_mean_i2t", "logit_margin_p05_i2t", "logit_margin_mean_t2i", "logit_margin_p05_t2i"] {
            assert_eq!(value_of(&evaluation, name), Ok(0.0));
        }
    }
}
