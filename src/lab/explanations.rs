//! What to know beside a finding: why a sentence cannot hold in a world like this one, or what a comparison confounds. Only what
//! follows from the definitions stands here; what a finding suggests beyond that is the reader's.

use super::expectation::Verdict;

/// When it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Disagrees,
    Always,
}

use When::{Always, Disagrees};

/// An exact normalisation.
const NORMALISED: &str = "Embeddings are normalised exactly, so that a gain on the raw output cancels: embeddings and loss stay what \
                          they are, and so do gradients, to rounding.";
/// One matrix, read by rows and by columns.
const ONE_MATRIX: &str = "Both directions rank by the same similarities. Noise in one modality disturbs the queries of one direction \
                          and the candidates of the other, and the definitions do not say which of the two costs more.";
/// The mean cosine of many samples.
const MEAN_COSINE: &str = "Over many samples the mean cosine is the squared length of the mean embedding. A spectrum can contract to \
                           two dimensions around the origin and leave it near zero.";

/// What two sizes of a minibatch do not share.
const SAMPLES: &str = "All sizes train for as many steps, so that a larger minibatch has also seen more pairs.";
/// What a smaller training set changes beside itself.
const OTHER_SPLITS: &str = "A training set of another size comes with another draw of the splits: pairs share the seed, and not the \
                            samples.";

const EXPLANATIONS: &[(&str, When, &str)] = &[
    ("output-gain-unbalances-gradients", Disagrees, NORMALISED),
    ("output-gain-opens-a-gap", Disagrees, NORMALISED),
    ("image-noise-hurts-image-queries", Disagrees, ONE_MATRIX),
    ("new-image-noise-hurts-image-queries", Disagrees, ONE_MATRIX),
    ("text-noise-hurts-text-queries", Disagrees, ONE_MATRIX),
    ("new-text-noise-hurts-text-queries", Disagrees, ONE_MATRIX),
    ("noisy-images-leave-text-queries-ahead", Disagrees, ONE_MATRIX),
    ("noisy-texts-leave-image-queries-ahead", Disagrees, ONE_MATRIX),
    ("cold-is-anisotropic", Disagrees, MEAN_COSINE),
    ("cold-raises-cosine", Disagrees, MEAN_COSINE),
    (
        "an-offset-is-learnt",
        Disagrees,
        "Samples are drawn independently and carry no trace of their order, so that the neighbour's text is as arbitrary a partner \
         as any other.",
    ),
    ("more-negatives-retrieve-better", Always, SAMPLES),
    ("more-negatives-are-anisotropic", Always, SAMPLES),
    ("more-negatives-cost-factor-smoothness", Always, SAMPLES),
    ("fewer-negatives-strengthen-shortcuts", Always, SAMPLES),
    ("an-audit-brings-retrieval-back", Always, OTHER_SPLITS),
    ("an-audit-costs-little", Always, OTHER_SPLITS),
];

/// What to know beside a finding.
pub(super) fn explanation(expectation: &str, verdict: Verdict) -> Option<&'static str> {
    let found = EXPLANATIONS.iter().find(|(name, _, _)| *name == expectation);
    let told = [Verdict::Disagrees, Verdict::TooSmall].contains(&verdict);
    found.filter(|(_, when, _)| *when == Always || told).map(|(_, _, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::LABORATORIES;

    #[test]
    fn explanations_are_of_expectations_that_there_are() {
        for (name, _, text) in EXPLANATIONS {
            let known = LABORATORIES.iter().flat_map(|lab| lab.expectations()).any(|e| e.name == *name);
            assert!(known && text.ends_with('.'), "{name}");
        }
    }
}
