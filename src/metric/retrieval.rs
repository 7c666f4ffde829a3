//! Retrieval (M1): does each query find its own partner, and does it do so equally well both ways?

use super::{Descriptor, Evaluation, Family, Healthy, MetricError, Panel, Values};
use crate::numerics::stats;

const SOURCE: &str = "Multimodality Under Governance, 3.5.1";
const RANKS: &str = "the rank whose cut-off shares are retrieval@k (3.5.1)";

/// Retrieval at 1 and 5, symmetry gaps and partner ranks.
///
/// The rank of a query's partner is the number of candidates at least as similar as the partner, itself included: 1 is
/// best, and ties count against the model. Constant embeddings therefore have every partner at rank N, and a
/// retrieval of 0: a true score, not an error. Retrieval@k needs N > k, below which it is 1 whatever the model does.
pub(super) const FAMILY: Family = Family {
    name: "retrieval",
    panel: Panel::Fast,
    about: "The rank of a query's partner is the number of candidates whose similarity to the query is at least the partner's, itself included: 1 is best, and ties count against. Retrieval at k is the share of queries whose partner has a rank of at most k; it needs N > k. Images ask among all texts (i2t), texts among all images (t2i).",
    descriptors: &[
        share("retrieval_at_1_i2t", "share of images whose own text is the most similar; ties count against"),
        share("retrieval_at_1_t2i", "share of texts whose own image is the most similar; ties count against"),
        share("retrieval_at_5_i2t", "share of images whose own text is among the 5 most similar; ties count against"),
        share("retrieval_at_5_t2i", "share of texts whose own image is among the 5 most similar; ties count against"),
        gap("symmetry_gap_at_1", "retrieval_at_1_i2t - retrieval_at_1_t2i"),
        gap("symmetry_gap_at_5", "retrieval_at_5_i2t - retrieval_at_5_t2i"),
        rank("mean_rank_i2t", "mean rank of an image's own text, 1 is best; (N + 1) / 2 by chance"),
        rank("mean_rank_t2i", "mean rank of a text's own image, 1 is best; (N + 1) / 2 by chance"),
        rank("median_rank_i2t", "median rank of an image's own text, 1 is best"),
        rank("median_rank_t2i", "median rank of a text's own image, 1 is best"),
    ],
    compute,
};

const fn share(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "share", range: (0.0, 1.0), healthy: Healthy::Higher, source: SOURCE, summary }
}
const fn gap(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "share", range: (-1.0, 1.0), healthy: Healthy::NearZero, source: SOURCE, summary }
}
const fn rank(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "rank", range: (1.0, f64::INFINITY), healthy: Healthy::Lower, source: RANKS, summary }
}

fn compute(evaluation: &Evaluation) -> Values {
    let [i2t, t2i] = evaluation.ranks()?;
    let gap = |k| Ok(share_within(i2t, k)? - share_within(t2i, k)?);
    Ok(vec![
        share_within(i2t, 1),
        share_within(t2i, 1),
        share_within(i2t, 5),
        share_within(t2i, 5),
        gap(1),
        gap(5),
        Ok(stats::mean(i2t)?),
        Ok(stats::mean(t2i)?),
        Ok(stats::quantile(i2t, 0.5)?),
        Ok(stats::quantile(t2i, 0.5)?),
    ])
}

fn share_within(ranks: &[f64], k: u32) -> Result<f64, MetricError> {
    let needed = k as usize + 1;
    if ranks.len() < needed {
        return Err(MetricError::TooFewSamples { samples: ranks.len(), needed });
    }
    Ok(ranks.iter().filter(|rank| **rank <= f64::from(k)).count() as f64 / ranks.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fixture::value_of;

    /// Unit vectors at these angles, degrees.
    fn at(degrees: &[f32]) -> Vec<f32> {
        degrees.iter().flat_map(|a| [a.to_radians().cos(), a.to_radians().sin()]).collect()
    }

    #[test]
    fn ranks_hand_worked() {
        // Similarity falls with the angle between them. Image at 0: texts at 10, 50, 90, own first. Image at 40: its
        // own text at 50 is first. Image at 60: nearest are 50, then its own 90 (30 away), then 10. Text at 90: its
        // own image at 60 is first; text at 50: images at 40 and 60 are equally near up to rounding, so it is moved.
        let evaluation = Evaluation::new(&at(&[0.0, 40.0, 60.0]), &at(&[10.0, 49.0, 90.0]), 2, 1.0).unwrap();
        assert_eq!(evaluation.ranks(), Ok([[1.0, 1.0, 2.0], [1.0, 1.0, 1.0]].each_ref().map(|ranks| &ranks[..])));
        assert_eq!(value_of(&evaluation, "retrieval_at_1_i2t"), Ok(2.0 / 3.0));
        assert_eq!(value_of(&evaluation, "retrieval_at_1_t2i"), Ok(1.0));
        assert_eq!(value_of(&evaluation, "symmetry_gap_at_1"), Ok(2.0 / 3.0 - 1.0));
        assert_eq!(value_of(&evaluation, "mean_rank_i2t"), Ok(4.0 / 3.0));
        assert_eq!(value_of(&evaluation, "median_rank_i2t"), Ok(1.0));
        assert_eq!(
            value_of(&evaluation, "retrieval_at_5_i2t"),
            Err(MetricError::TooFewSamples { samples: 3, needed: 6 })
        );
    }

    #[test]
    fn ties_count_against_the_model() {
        // Texts 0 and 1 are the same, so neither of their images can claim its own; text 2 stands alone.
        let images = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let evaluation = Evaluation::new(&images, &images, 2, 1.0).unwrap();
        assert_eq!(evaluation.ranks().unwrap()[0], [2.0, 2.0, 1.0]);
        assert_eq!(value_of(&evaluation, "retrieval_at_1_t2i"), Ok(1.0 / 3.0));
    }

    #[test]
    fn a_cut_off_that_every_rank_passes_is_no_evidence() {
        assert_eq!(share_within(&[5.0; 5], 5), Err(MetricError::TooFewSamples { samples: 5, needed: 6 }));
        assert_eq!(share_within(&[5.0, 6.0, 1.0, 2.0, 6.0, 6.0], 5), Ok(0.5));
    }

    #[test]
    fn constant_embeddings_retrieve_nothing() {
        let n = 8;
        let constant = [0.3, -0.2, 0.9].repeat(n);
        let evaluation = Evaluation::new(&constant, &constant, 3, 1.0).unwrap();
        for name in ["retrieval_at_1_i2t", "retrieval_at_1_t2i", "retrieval_at_5_i2t", "retrieval_at_5_t2i"] {
            assert_eq!(value_of(&evaluation, name), Ok(0.0), "{name}");
        }
        assert_eq!(value_of(&evaluation, "mean_rank_t2i"), Ok(n as f64));
    }
}
