//! Hubness (M4): do a few candidates answer most queries?

use super::{Descriptor, Evaluation, Family, Healthy, MetricError, Panel, Values};
use crate::numerics::stats::{self, StatsError};

/// Length of the neighbour lists that k-occurrence counts.
pub(super) const NEIGHBOURS: usize = 10;

/// Fewest samples for the skewness of k-occurrence. When the lists reach half of the candidates or more, ten hubs that
/// fill every list are no longer a tail: the skewness of a total collapse would be 0 at N = 20 and negative below.
const SKEWNESS_NEEDS: usize = 2 * NEIGHBOURS + 1;

/// Candidates of the wider top-hit share.
const TOP_HITS: usize = 5;

/// Concentration of top matches and of k-nearest-neighbour lists on few candidates, both ways.
///
/// The direction names query to candidate: `_i2t` counts how often each text is an image's match. Equally similar
/// candidates are taken lowest index first, which gathers ties on the same few candidates: constant embeddings have
/// the largest hubness there is, not an even share of random picks. Where a small N would fix or flatter a metric (the
/// top-5 share up to N = 5, the skewness up to N = 20) it is an error.
pub(super) const FAMILY: Family = Family {
    name: "hubness",
    panel: Panel::Fast,
    about: "The hits h of a candidate are the queries that are most similar to it of all candidates; of equally similar candidates the first row counts. Gini coefficient: sum over all i and j of abs(h_i - h_j), over 2 N sum h. Share of the top m: the hits of the m most-hit candidates, over N; needs N > m. Skewness: of how many queries have a candidate among their 10 most similar ones, own partner included, ties by row: the third central moment over the second to the power 1.5, moments with N in the denominator; needs 21 samples.",
    descriptors: &[
        share("hub_gini_i2t", "Gini coefficient of how often each text is an image's top match", GINI),
        share("hub_top1_share_i2t", "share of images whose top match is the most-hit text", SHARE),
        share("hub_top5_share_i2t", "share of images whose top match is one of the 5 most-hit texts", SHARE),
        skewness("k_occurrence_skewness_i2t", "skewness of how often each text is among an image's 10 nearest"),
        share("hub_gini_t2i", "Gini coefficient of how often each image is a text's top match", GINI),
        share("hub_top1_share_t2i", "share of texts whose top match is the most-hit image", SHARE),
        share("hub_top5_share_t2i", "share of texts whose top match is one of the 5 most-hit images", SHARE),
        skewness("k_occurrence_skewness_t2i", "skewness of how often each image is among a text's 10 nearest"),
    ],
    compute,
};

const GINI: &str = "Multimodality Under Governance, 3.5.2; Gini 1912, no small-sample correction";
const SHARE: &str = "Multimodality Under Governance, 3.5.2";

const fn share(name: &'static str, summary: &'static str, source: &'static str) -> Descriptor {
    let unit = "share";
    Descriptor { name, unit, range: (0.0, 1.0), healthy: Healthy::Lower, source, summary }
}
const fn skewness(name: &'static str, summary: &'static str) -> Descriptor {
    let range = (f64::NEG_INFINITY, f64::INFINITY);
    let source = "Radovanovic, Nanopoulos and Ivanovic 2010, k = 10; skewness g1, as scipy.stats.skew";
    Descriptor { name, unit: "skewness", range, healthy: Healthy::Lower, source, summary }
}

fn compute(evaluation: &Evaluation) -> Values {
    let n = evaluation.samples();
    Ok(evaluation.comparison()?.ways.iter().flat_map(|way| both(&count_matches(&way.nearest, n))).collect())
}

/// How often each candidate was a match, `[N]` each.
struct Matches {
    /// Queries whose top match it is.
    top: Vec<f64>,
    /// Queries that have it among their [`NEIGHBOURS`] nearest.
    near: Vec<f64>,
}

fn count_matches(nearest: &[u32], n: usize) -> Matches {
    let mut matches = Matches { top: vec![0.0; n], near: vec![0.0; n] };
    for list in nearest.chunks_exact(NEIGHBOURS.min(n)) {
        matches.top[list[0] as usize] += 1.0;
        list.iter().for_each(|candidate| matches.near[*candidate as usize] += 1.0);
    }
    matches
}

fn both(matches: &Matches) -> Vec<Result<f64, MetricError>> {
    vec![
        stats::gini(&matches.top).map_err(MetricError::from),
        top_share(&matches.top, 1),
        top_share(&matches.top, TOP_HITS),
        k_occurrence_skewness(&matches.near),
    ]
}

/// Share of all queries that the `most` most-hit candidates received.
fn top_share(hits: &[f64], most: usize) -> Result<f64, MetricError> {
    if hits.len() <= most {
        return Err(MetricError::TooFewSamples { samples: hits.len(), needed: most + 1 });
    }
    let mut descending = hits.to_vec();
    descending.sort_unstable_by(|a, b| b.total_cmp(a));
    Ok(descending[..most].iter().sum::<f64>() / hits.len() as f64)
}

fn k_occurrence_skewness(occurrences: &[f64]) -> Result<f64, MetricError> {
    if occurrences.len() < SKEWNESS_NEEDS {
        return Err(MetricError::TooFewSamples { samples: occurrences.len(), needed: SKEWNESS_NEEDS });
    }
    stats::skewness(occurrences).map_err(|error| match error {
        StatsError::NoSpread => MetricError::NoHubSpread,
        other => other.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fixture::{noisy_pairs, value_of};

    #[test]
    fn every_candidate_hit_once_is_no_hubness() {
        let d = 12;
        let axes: Vec<f32> = (0..d * d).map(|i| if i / d == i % d { 1.0 } else { 0.0 }).collect();
        let evaluation = Evaluation::new(&axes, &axes, d, 1.0).unwrap();
        for direction in ["i2t", "t2i"] {
            assert_eq!(value_of(&evaluation, &format!("hub_gini_{direction}")), Ok(0.0));
            assert_eq!(value_of(&evaluation, &format!("hub_top1_share_{direction}")), Ok(1.0 / 12.0));
            assert_eq!(value_of(&evaluation, &format!("hub_top5_share_{direction}")), Ok(5.0 / 12.0));
        }
    }

    #[test]
    fn one_hub_hand_worked() {
        // All images point at text 0, whose own image is image 0; the texts differ, so each has its own top image.
        let images = [1.0, 0.0, 0.9, 0.1, 0.9, -0.1];
        let texts = [1.0, 0.0, 0.0, 1.0, 0.0, -1.0];
        let evaluation = Evaluation::new(&images, &texts, 2, 1.0).unwrap();
        assert_eq!(value_of(&evaluation, "hub_gini_i2t"), Ok(2.0 / 3.0));
        assert_eq!(value_of(&evaluation, "hub_top1_share_i2t"), Ok(1.0));
        assert_eq!(value_of(&evaluation, "hub_gini_t2i"), Ok(0.0));
        assert_eq!(value_of(&evaluation, "hub_top1_share_t2i"), Ok(1.0 / 3.0));
        assert!(matches!(
            value_of(&evaluation, "hub_top5_share_t2i"),
            Err(MetricError::TooFewSamples { samples: 3, needed: 6 })
        ));
    }

    #[test]
    fn constant_embeddings_have_the_largest_hubness() {
        let constant = [0.3, -0.2, 0.9].repeat(30);
        let evaluation = Evaluation::new(&constant, &constant, 3, 1.0).unwrap();
        assert_eq!(value_of(&evaluation, "hub_gini_i2t"), Ok(29.0 / 30.0));
        assert_eq!(value_of(&evaluation, "hub_top1_share_t2i"), Ok(1.0));
        // A third of the candidates is in every list: skewness (1 - 2 p) / sqrt(p (1 - p)) of p = 1/3.
        let skewness = value_of(&evaluation, "k_occurrence_skewness_i2t").unwrap();
        assert!((skewness - 0.5f64.sqrt()).abs() < 1e-14, "{skewness}");
    }

    #[test]
    fn a_share_that_every_model_reaches_is_no_evidence() {
        let share = |n| value_of(&noisy_pairs(1, n, 4, 0.5), "hub_top5_share_i2t");
        assert_eq!(share(5), Err(MetricError::TooFewSamples { samples: 5, needed: 6 }));
        assert!(share(6).is_ok());
    }

    #[test]
    fn equal_k_occurrences_have_no_skewness() {
        assert_eq!(k_occurrence_skewness(&[10.0; 30]), Err(MetricError::NoHubSpread));
    }

    #[test]
    fn neighbour_lists_of_half_the_candidates_are_no_evidence() {
        let name = "k_occurrence_skewness_t2i";
        let reason = value_of(&noisy_pairs(1, 20, 4, 0.5), name).unwrap_err();
        assert_eq!(reason, MetricError::TooFewSamples { samples: 20, needed: 21 });
        assert!(value_of(&noisy_pairs(1, 21, 4, 0.5), name).is_ok());
    }
}
