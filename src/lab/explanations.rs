//! Why a sentence of the source cannot hold, or need not, in a world like this one: said beside a finding that disagrees. Only
//! what follows from the definitions stands here; what a finding suggests beyond that is the reader's.

/// An exact normalisation.
const NORMALISED: &str = "Embeddings are normalised exactly, so that a gain on the raw output cancels: embeddings and loss stay what \
                          they are, and so do gradients, to the bit for powers of two.";
/// One matrix, read by rows and by columns.
const ONE_MATRIX: &str = "Both directions rank by the same similarities. Noise in one modality disturbs the queries of one direction \
                          and the candidates of the other, and nothing says which of the two costs more.";
/// The mean cosine of many samples.
const MEAN_COSINE: &str = "Over many samples the mean cosine is the squared length of the mean embedding. A spectrum can contract to \
                           two dimensions around the origin and leave it near zero.";

const EXPLANATIONS: &[(&str, &str)] = &[
    ("output-gain-unbalances-gradients", NORMALISED),
    ("output-gain-opens-a-gap", NORMALISED),
    ("image-noise-hurts-image-queries", ONE_MATRIX),
    ("new-image-noise-hurts-image-queries", ONE_MATRIX),
    ("text-noise-hurts-text-queries", ONE_MATRIX),
    ("new-text-noise-hurts-text-queries", ONE_MATRIX),
    ("noisy-images-leave-text-queries-ahead", ONE_MATRIX),
    ("noisy-texts-leave-image-queries-ahead", ONE_MATRIX),
    ("cold-is-anisotropic", MEAN_COSINE),
    ("cold-raises-cosine", MEAN_COSINE),
    (
        "an-offset-is-learnt",
        "Samples are drawn independently and carry no trace of their order, so that the neighbour's text is as arbitrary a partner \
         as any other.",
    ),
    (
        "cold-costs-information-on-shape",
        "The proxy reads the three leading components. When few dimensions are left and they hold the shape, these components tell \
         more of it, not less.",
    ),
    (
        "more-negatives-cost-factor-smoothness",
        "All sizes train for as many steps, so that a larger minibatch has also seen more pairs.",
    ),
];

/// The explanation of a finding that disagrees.
pub(super) fn explanation(expectation: &str) -> Option<&'static str> {
    EXPLANATIONS.iter().find(|(name, _)| *name == expectation).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::LABORATORIES;

    #[test]
    fn explanations_are_of_expectations_that_there_are() {
        for (name, text) in EXPLANATIONS {
            let known = LABORATORIES.iter().flat_map(|lab| lab.expectations()).any(|e| e.name == *name);
            assert!(known && text.ends_with('.'), "{name}");
        }
    }
}
