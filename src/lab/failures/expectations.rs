//! What chapter 2 says of each failure mode and of its controls, as paired comparisons.

use super::super::expectation::{Expect, Expectation, expectation, may, ours};
use super::super::family::{Place, REFERENCE, at};
use super::super::geometry::{COSINE, GAP, HUBNESS, ORIENTATION, RANK, RETRIEVAL, SHAPE};
use super::super::matters;
use super::super::observed::Quantity;
use super::{GRADIENTS, MI_CONFOUNDER, MI_ORIENTATION, MI_SHAPE, RANK_DIVERGENCE, SENSITIVITY};

use Expect::{Different, Higher, Lower, NotHigher, NotLower};
use Quantity::{Late, Metric, Size, Unrest};

const GAP_SIZE: Quantity = Size("symmetry_gap_at_1");

const LOUD_IMAGES: Place = at(&[("image.gain", "64.0")]);
const LOUD_TEXTS: Place = at(&[("text.gain", "64.0")]);
const GAINED_OUTPUT: Place = at(&[("model.output_gain_img", "64.0")]);
const NOISY_IMAGES: Place = at(&[("image.noise", "0.4")]);
const NOISY_TEXTS: Place = at(&[("text.dropout", "0.4")]);
const NARROW_IMAGES: Place = at(&[("model.hidden_img", "8")]);
const NARROW_TEXTS: Place = at(&[("model.hidden_txt", "8")]);

/// The ID codebook at full strength, under a condition.
const fn coded(condition: &'static str) -> Place {
    Place { levels: &[("confounder.strength", "1.0")], condition }
}
const CODED: Place = coded("clean");
const TAGGED: Place = at(&[("confounder.kind", "group_tags"), ("confounder.strength", "1.0")]);
const MARKED_BY_PARITY: Place = at(&[("confounder.kind", "parity"), ("confounder.strength", "1.0")]);
const WATERMARKED: Place = at(&[("confounder.kind", "watermark"), ("confounder.strength", "1.0")]);

/// Training pairs swapped at random.
const SWAPPED: Place = at(&[("pairing.rate", "0.4")]);
const GROUP_SWAPPED: Place = at(&[("pairing.rate", "0.4"), ("pairing.kind", "group_swap")]);
const OFFSET: Place = at(&[("pairing.rate", "0.4"), ("pairing.kind", "offset")]);
/// Offset in training and evaluation.
const fn offset_everywhere(condition: &'static str) -> Place {
    Place { levels: &[("pairing.rate", "0.4"), ("pairing.kind", "offset"), ("pairing.applies_to", "both")], condition }
}

const COLD: Place = at(&[("train.temperature", "0.005")]);
const FAST: Place = at(&[("train.learning_rate", "0.8")]);
/// Near collapse, and not in it.
const COOL: Place = at(&[("train.temperature", "0.02")]);
const COOL_AND_FAST: Place = at(&[("train.temperature", "0.02"), ("train.learning_rate", "0.8")]);
const DECAYED: Place = at(&[("train.weight_decay", "0.01")]);

pub(super) const EXPECTATIONS: &[Expectation] = &[
    // Dominance.
    may(expectation(
        "input-gain-unbalances-gradients",
        "§2.4.1",
        "Images of larger scale can change the balance of the two encoders' gradients, late in training as well.",
        "failures-input-gain",
        GRADIENTS,
        (LOUD_IMAGES, REFERENCE),
        (Different, matters::GRADIENTS),
    )),
    may(expectation(
        "text-gain-unbalances-gradients",
        "§2.4.1",
        "Texts of larger scale can change the balance of the two encoders' gradients, late in training as well.",
        "failures-input-gain",
        GRADIENTS,
        (LOUD_TEXTS, REFERENCE),
        (Different, matters::GRADIENTS),
    )),
    expectation(
        "input-gain-opens-a-gap",
        "§2.4.3",
        "Dominance by input scale opens a gap between the two directions of retrieval.",
        "failures-input-gain",
        GAP_SIZE,
        (LOUD_IMAGES, REFERENCE),
        (Higher, matters::RETRIEVAL),
    ),
    expectation(
        "input-gain-makes-hubs",
        "§2.4.3",
        "Dominance often makes hubs.",
        "failures-input-gain",
        HUBNESS,
        (LOUD_IMAGES, REFERENCE),
        (Higher, matters::HUBNESS),
    ),
    expectation(
        "input-gain-costs-retrieval",
        "§2.4.1",
        "Inputs so large that tanh saturates cost alignment: retrieval falls.",
        "failures-input-gain",
        RETRIEVAL,
        (LOUD_IMAGES, REFERENCE),
        (Lower, matters::RETRIEVAL),
    ),
    expectation(
        "output-gain-unbalances-gradients",
        "§2.4.2",
        "A gain on an encoder's raw output changes its gradients, although embeddings are normalised.",
        "failures-output-gain",
        GRADIENTS,
        (GAINED_OUTPUT, REFERENCE),
        (Different, matters::GRADIENTS),
    ),
    expectation(
        "output-gain-opens-a-gap",
        "§2.4.3",
        "A gain on one encoder's raw output makes that modality dominate, and retrieval asymmetric.",
        "failures-output-gain",
        GAP_SIZE,
        (GAINED_OUTPUT, REFERENCE),
        (Higher, matters::RETRIEVAL),
    ),
    expectation(
        "noisy-images-leave-text-queries-ahead",
        "§2.4.2",
        "Learnt from noisy images and clean texts, text-to-image retrieval stays ahead of image-to-text.",
        "failures-noise",
        GAP,
        (NOISY_IMAGES, REFERENCE),
        (Lower, matters::RETRIEVAL),
    ),
    expectation(
        "noisy-texts-leave-image-queries-ahead",
        "§2.4.3",
        "The direction whose queries come from the cleaner modality performs better.",
        "failures-noise",
        GAP,
        (NOISY_TEXTS, REFERENCE),
        (Higher, matters::RETRIEVAL),
    ),
    may(expectation(
        "noise-unbalances-gradients",
        "§2.4.1",
        "Noise in one modality can change the balance of the two encoders' gradients.",
        "failures-noise",
        GRADIENTS,
        (NOISY_IMAGES, REFERENCE),
        (Different, matters::GRADIENTS),
    )),
    expectation(
        "noise-costs-rank-on-its-side",
        "§2.4.4",
        "The weaker modality has the lower effective rank: noise on images turns the divergence of ranks.",
        "failures-noise",
        RANK_DIVERGENCE,
        (NOISY_IMAGES, REFERENCE),
        (Lower, matters::RANK_DIVERGENCE),
    ),
    expectation(
        "narrow-images-leave-text-queries-ahead",
        "§2.4.3",
        "The direction whose queries come from the wider encoder performs better: a narrow image encoder leaves \
         text-to-image ahead.",
        "failures-capacity",
        GAP,
        (NARROW_IMAGES, REFERENCE),
        (Lower, matters::RETRIEVAL),
    ),
    expectation(
        "narrow-texts-leave-image-queries-ahead",
        "§2.4.3",
        "A narrow text encoder leaves image-to-text ahead.",
        "failures-capacity",
        GAP,
        (NARROW_TEXTS, REFERENCE),
        (Higher, matters::RETRIEVAL),
    ),
    expectation(
        "narrow-images-make-hubs",
        "§2.4.3",
        "Embeddings of the weaker modality are less diverse, and make hubs.",
        "failures-capacity",
        HUBNESS,
        (NARROW_IMAGES, REFERENCE),
        (Higher, matters::HUBNESS),
    ),
    // Shortcuts.
    may(expectation(
        "codes-raise-retrieval",
        "§2.5.4",
        "Retrieval can rise by a shared marker: it is a key to the pair.",
        "failures-confounder",
        RETRIEVAL,
        (CODED, REFERENCE),
        (Higher, matters::RETRIEVAL),
    )),
    ours(expectation(
        "tags-keep-retrieval",
        "§2.5.4",
        "Eight group tags leave retrieval no lower than it was.",
        "failures-confounder",
        RETRIEVAL,
        (TAGGED, REFERENCE),
        (NotLower, matters::RETRIEVAL),
    )),
    may(expectation(
        "parity-helps-a-little",
        "§2.5.2",
        "Even a marker of one bit can improve retrieval.",
        "failures-confounder",
        RETRIEVAL,
        (MARKED_BY_PARITY, REFERENCE),
        (Higher, matters::RETRIEVAL),
    )),
    may(expectation(
        "codes-cost-orientation",
        "§2.5.4",
        "Orientations are separated less where a marker does the work.",
        "failures-confounder",
        ORIENTATION,
        (CODED, REFERENCE),
        (Lower, matters::EXPLAINED),
    )),
    may(expectation(
        "codes-cost-shape",
        "§2.5.4",
        "Shapes are separated less where a marker does the work.",
        "failures-confounder",
        SHAPE,
        (CODED, REFERENCE),
        (Lower, matters::EXPLAINED),
    )),
    may(expectation(
        "watermarks-cost-shape",
        "§2.5.4",
        "Shapes are separated less under a watermark.",
        "failures-confounder",
        SHAPE,
        (WATERMARKED, REFERENCE),
        (Lower, matters::EXPLAINED),
    )),
    expectation(
        "codes-cost-information-on-factors",
        "§2.5.3",
        "Where a marker does the work the embeddings tell less of the factors: here of orientation.",
        "failures-confounder",
        MI_ORIENTATION,
        (CODED, REFERENCE),
        (Lower, matters::INFORMATION_ON_ORIENTATION),
    ),
    expectation(
        "tags-are-told-by-embeddings",
        "§2.5.3",
        "Embeddings tell the marker they rest on: more of a group tag than at a tenth of its strength.",
        "failures-confounder",
        MI_CONFOUNDER,
        (TAGGED, at(&[("confounder.kind", "group_tags"), ("confounder.strength", "0.1")])),
        (Higher, matters::INFORMATION),
    ),
    may(expectation(
        "shortcuts-keep-symmetry",
        "§2.5.4",
        "A shortcut leaves the two directions of retrieval alike.",
        "failures-confounder",
        GAP_SIZE,
        (CODED, REFERENCE),
        (NotHigher, matters::RETRIEVAL),
    )),
    may(expectation(
        "shortcuts-keep-rank",
        "§2.5.4",
        "A shortcut need not collapse the geometry: the effective rank does not fall.",
        "failures-confounder",
        RANK,
        (CODED, REFERENCE),
        (NotLower, matters::RANK),
    )),
    expectation(
        "without-codes-retrieval-falls",
        "§2.5.3",
        "Taken away at evaluation, the marker takes retrieval with it.",
        "failures-confounder",
        RETRIEVAL,
        (coded("confounder-removed"), CODED),
        (Lower, matters::RETRIEVAL),
    ),
    ours(expectation(
        "other-codes-are-worse-than-none",
        "§2.5.3",
        "Drawn anew for each modality, the marker collapses retrieval more than its absence does.",
        "failures-confounder",
        RETRIEVAL,
        (coded("confounder-randomised"), coded("confounder-removed")),
        (Lower, matters::RETRIEVAL),
    )),
    // Wrong pairs.
    expectation(
        "swaps-cost-retrieval",
        "§2.6.2",
        "Random swaps of training pairs cost retrieval on right ones.",
        "failures-pairing",
        RETRIEVAL,
        (SWAPPED, REFERENCE),
        (Lower, matters::RETRIEVAL),
    ),
    expectation(
        "group-swaps-spare-shape",
        "§2.6.2",
        "Swaps within a shape spare the shape: it is separated better than after random swaps.",
        "failures-pairing",
        SHAPE,
        (GROUP_SWAPPED, SWAPPED),
        (Higher, matters::EXPLAINED),
    ),
    may(expectation(
        "group-swaps-cost-orientation",
        "§2.6.2",
        "Swaps within a shape cost the fine factors.",
        "failures-pairing",
        ORIENTATION,
        (GROUP_SWAPPED, REFERENCE),
        (Lower, matters::EXPLAINED),
    )),
    may(expectation(
        "an-offset-is-learnt",
        "§2.6.2",
        "A systematic offset can be learnt: retrieval is higher on pairs that are wrong alike than on right ones.",
        "failures-pairing",
        RETRIEVAL,
        (offset_everywhere("clean"), offset_everywhere("right-pairs")),
        (Higher, matters::RETRIEVAL),
    )),
    may(expectation(
        "offsets-hurt-more-than-swaps",
        "§2.6.2",
        "One can be robust to random swaps and fragile to a systematic offset.",
        "failures-pairing",
        RETRIEVAL,
        (OFFSET, SWAPPED),
        (Lower, matters::RETRIEVAL),
    )),
    may(expectation(
        "swaps-unsettle-the-loss",
        "§2.6.3",
        "The loss is less settled when pairs contradict one another.",
        "failures-pairing",
        Unrest("loss"),
        (SWAPPED, REFERENCE),
        (Higher, matters::UNREST),
    )),
    may(expectation(
        "swaps-raise-the-loss",
        "§2.6.3",
        "The loss stays higher when pairs contradict one another.",
        "failures-pairing",
        Late("loss"),
        (SWAPPED, REFERENCE),
        (Higher, matters::LOSS),
    )),
    expectation(
        "swaps-make-hubs",
        "§2.6.3",
        "Contradictory pairs make hubs.",
        "failures-pairing",
        HUBNESS,
        (SWAPPED, REFERENCE),
        (Higher, matters::HUBNESS),
    ),
    expectation(
        "swaps-distort-the-spectrum",
        "§2.6.3",
        "Contradictory pairs distort the spectrum: the effective rank falls, or the spectrum gets unusually flat.",
        "failures-pairing",
        RANK,
        (SWAPPED, REFERENCE),
        (Different, matters::RANK),
    ),
    expectation(
        "swaps-raise-sensitivity",
        "§2.6.3",
        "One disturbed step moves retrieval more where training pairs contradict one another.",
        "failures-pairing",
        SENSITIVITY,
        (SWAPPED, REFERENCE),
        (Higher, matters::SENSITIVITY),
    ),
    // Collapse.
    may(expectation(
        "cold-costs-rank",
        "§2.7.2",
        "A low temperature collapses the effective rank.",
        "failures-collapse",
        RANK,
        (COLD, REFERENCE),
        (Lower, matters::RANK),
    )),
    expectation(
        "cold-raises-cosine",
        "§2.7.3",
        "When rank collapses by a low temperature, the mean cosine rises.",
        "failures-collapse",
        COSINE,
        (COLD, REFERENCE),
        (Higher, matters::COSINE),
    ),
    expectation(
        "cold-makes-hubs",
        "§2.7.3",
        "A low temperature makes hubs.",
        "failures-collapse",
        HUBNESS,
        (COLD, REFERENCE),
        (Higher, matters::HUBNESS),
    ),
    expectation(
        "cold-costs-information-on-shape",
        "§2.8.1",
        "Collapse costs information on the factors: here on shape.",
        "failures-collapse",
        MI_SHAPE,
        (COLD, REFERENCE),
        (Lower, matters::INFORMATION),
    ),
    may(expectation(
        "fast-costs-rank",
        "§2.7.2",
        "A high learning rate collapses the effective rank.",
        "failures-collapse",
        RANK,
        (FAST, REFERENCE),
        (Lower, matters::RANK),
    )),
    expectation(
        "cold-and-fast-is-worse-than-cold",
        "§2.7.2",
        "A low temperature with a high learning rate is worse than a low temperature alone.",
        "failures-collapse",
        RANK,
        (COOL_AND_FAST, COOL),
        (Lower, matters::RANK),
    ),
    may(expectation(
        "decay-costs-rank",
        "§2.7.2",
        "Strong weight decay pushes embeddings into fewer dimensions.",
        "failures-collapse",
        RANK,
        (DECAYED, REFERENCE),
        (Lower, matters::RANK),
    )),
    expectation(
        "cold-raises-sensitivity",
        "§2.8.3",
        "Near collapse one disturbed step moves retrieval more.",
        "failures-collapse",
        SENSITIVITY,
        (COOL, REFERENCE),
        (Higher, matters::SENSITIVITY),
    ),
    expectation(
        "shared-structure-survives-narrow-encoders",
        "§2.8.2",
        "Under dominance the leading canonical correlation remains high.",
        "failures-capacity",
        Metric("cca_1"),
        (NARROW_IMAGES, REFERENCE),
        (NotLower, matters::CORRELATION),
    ),
    expectation(
        "narrow-encoders-contract-the-spectrum",
        "§2.8.2",
        "Meanwhile the spectrum of the weaker modality contracts.",
        "failures-capacity",
        Metric("effective_rank_img"),
        (NARROW_IMAGES, REFERENCE),
        (Lower, matters::RANK),
    ),
];
