//! Chapter 1: the healthy geometry and its four stresses.

use super::expectation::{Expect, Expectation, expectation, may, ours};
use super::family::{Family, Laboratory, Place, REFERENCE, ZERO, at};
use super::matters;
use super::observed::Quantity;

use Quantity::{Explained, ExplainedDifference, Mean, Metric};

pub(super) const GEOMETRY: Laboratory = Laboratory {
    name: "geometry",
    title: "The geometry laboratory",
    source: "Multimodality Under Governance, chapter 1",
    about: "What training makes of the shared space, what its geometry encodes, and how it bends under noise on one side, \
            wrong pairs, temperature and the number of negatives.",
    families: FAMILIES,
    expectations: &[EXPECTATIONS],
    attribution: false,
};

pub(super) const RETRIEVAL: Quantity = Mean("retrieval_at_1_i2t", "retrieval_at_1_t2i");
pub(super) const RANK: Quantity = Mean("effective_rank_img", "effective_rank_txt");
pub(super) const COSINE: Quantity = Mean("mean_cosine_img", "mean_cosine_txt");
pub(super) const HUBNESS: Quantity = Mean("hub_gini_i2t", "hub_gini_t2i");
pub(super) const TOP_SHARE: Quantity = Mean("top_eigen_share_img", "top_eigen_share_txt");
pub(super) const GAP: Quantity = Metric("symmetry_gap_at_1");
pub(super) const SHAPE: Quantity = Explained("separability_shape_img", "separability_shape_txt");
pub(super) const ORIENTATION: Quantity = Explained("separability_orientation_img", "separability_orientation_txt");
const SHARED_SHAPE: Quantity = Mean("neighbour_shape_i2t", "neighbour_shape_t2i");

const FAMILIES: &[Family] = &[
    Family {
        sweep: "geometry-baseline",
        title: "Trained and untrained",
        asks: "What does training buy, and is the trained model fit to be a reference?",
        reference: &[("train.steps", "600")],
        outcomes: &[
            RETRIEVAL,
            Mean("retrieval_at_5_i2t", "retrieval_at_5_t2i"),
            GAP,
            RANK,
            COSINE,
            Mean("variance_p05_img", "variance_p05_txt"),
            HUBNESS,
            Metric("modality_gap"),
            SHAPE,
            ORIENTATION,
            Explained("separability_frequency_img", "separability_frequency_txt"),
            Explained("separability_phase_img", "separability_phase_txt"),
            Explained("separability_thickness_img", "separability_thickness_txt"),
            SHARED_SHAPE,
            Metric("cca_mean"),
        ],
        conditions: &[],
        pictures: &["geometry-pca-baseline", "geometry-pca-worst", "geometry-similarity", "geometry-spectra"],
        quick: &["seed=seeds:3"],
    },
    Family {
        sweep: "geometry-noise",
        title: "Noise on one side",
        asks: "Which direction of retrieval degrades first when one modality gets noisier?",
        reference: &[("image.noise", "0.0"), ("text.dropout", "0.0")],
        outcomes: &[
            Metric("retrieval_at_1_i2t"),
            Metric("retrieval_at_1_t2i"),
            GAP,
            Metric("effective_rank_img"),
            Metric("effective_rank_txt"),
            COSINE,
            Metric("hub_gini_i2t"),
            Metric("hub_gini_t2i"),
            SHAPE,
            ORIENTATION,
        ],
        conditions: &["noisier-images", "noisier-texts"],
        pictures: &[
            "degradation-retrieval-along-image-noise",
            "degradation-retrieval-along-text-dropout",
            "heatmap-retrieval-at-1-i2t",
        ],
        quick: &["seed=seeds:3", "image.noise=0.0,0.1,0.4", "text.dropout=0.0,0.2,0.4"],
    },
    Family {
        sweep: "geometry-pairing",
        title: "Wrong pairs",
        asks: "How many wrong training pairs does alignment survive, and does their pattern matter?",
        reference: &[("pairing.rate", "0.0"), ("pairing.kind", "swap")],
        outcomes: &[RETRIEVAL, GAP, RANK, COSINE, HUBNESS, SHAPE, ORIENTATION, SHARED_SHAPE, Quantity::Late("loss")],
        conditions: &[],
        pictures: &["degradation-retrieval-along-pairing-rate", "degradation-effective-rank-along-pairing-rate"],
        quick: &["seed=seeds:3", "pairing.rate=0.0,0.05,0.4", "pairing.kind=swap,group_swap,offset,block"],
    },
    Family {
        sweep: "geometry-temperature",
        title: "Temperature",
        asks: "What does a sharper softmax gain in retrieval, and what does it cost in diversity?",
        reference: &[("train.temperature", "0.07")],
        outcomes: &[
            RETRIEVAL,
            GAP,
            RANK,
            TOP_SHARE,
            COSINE,
            Mean("variance_p05_img", "variance_p05_txt"),
            HUBNESS,
            SHAPE,
            ORIENTATION,
            Mean("uniformity_img", "uniformity_txt"),
            Metric("alignment"),
        ],
        conditions: &[],
        pictures: &[
            "degradation-retrieval-along-train-temperature",
            "degradation-effective-rank-along-train-temperature",
        ],
        quick: &["seed=seeds:3"],
    },
    Family {
        sweep: "geometry-batch",
        title: "Batch size",
        asks: "What does the number of negatives change in retrieval and geometry?",
        reference: &[("train.batch_size", "256")],
        outcomes: &[RETRIEVAL, GAP, RANK, TOP_SHARE, COSINE, HUBNESS, SHAPE, ORIENTATION, SHARED_SHAPE],
        conditions: &[],
        pictures: &[
            "degradation-retrieval-along-train-batch-size",
            "degradation-effective-rank-along-train-batch-size",
        ],
        quick: &["seed=seeds:3", "train.batch_size=16,64,256"],
    },
];

const UNTRAINED: Place = at(&[("train.steps", "0")]);
const NOISY_IMAGES: Place = at(&[("image.noise", "0.4")]);
const NOISY_TEXTS: Place = at(&[("text.dropout", "0.4")]);
const SWAPPED: Place = at(&[("pairing.rate", "0.4")]);
const COLD: Place = at(&[("train.temperature", "0.02")]);
const WARM: Place = at(&[("train.temperature", "0.5")]);
const SMALL_BATCH: Place = at(&[("train.batch_size", "16")]);

use Expect::{Higher, Lower, Same};

const EXPECTATIONS: &[Expectation] = &[
    ours(expectation(
        "training-aligns",
        "§1.6.2",
        "Training raises retrieval far above that of an untrained model.",
        "geometry-baseline",
        RETRIEVAL,
        (REFERENCE, UNTRAINED),
        (Higher, matters::RETRIEVAL),
    )),
    ours(expectation(
        "training-encodes-shape",
        "§1.7.3",
        "Training separates the shapes better than random encoders do.",
        "geometry-baseline",
        SHAPE,
        (REFERENCE, UNTRAINED),
        (Higher, matters::EXPLAINED),
    )),
    ours(expectation(
        "training-encodes-orientation",
        "§1.7.3",
        "Training separates the orientations better than random encoders do.",
        "geometry-baseline",
        ORIENTATION,
        (REFERENCE, UNTRAINED),
        (Higher, matters::EXPLAINED),
    )),
    may(expectation(
        "factors-differ",
        "§1.7.3",
        "A space may encode shape strongly and orientation weakly: shapes are separated better than orientations.",
        "geometry-baseline",
        ExplainedDifference("separability_shape_img", "separability_orientation_img"),
        (REFERENCE, ZERO),
        (Higher, matters::EXPLAINED),
    )),
    ours(expectation(
        "neighbours-share-shape",
        "§1.7.2",
        "The nearest neighbours of an aligned space share their shape more often than those of an untrained one.",
        "geometry-baseline",
        SHARED_SHAPE,
        (REFERENCE, UNTRAINED),
        (Higher, matters::NEIGHBOURS),
    )),
    expectation(
        "image-noise-hurts-image-queries",
        "§1.8.1",
        "When images get noisier, image-to-text retrieval degrades faster than text-to-image.",
        "geometry-noise",
        GAP,
        (NOISY_IMAGES, REFERENCE),
        (Lower, matters::RETRIEVAL),
    ),
    expectation(
        "text-noise-hurts-text-queries",
        "§1.8.1",
        "When texts get noisier, text-to-image retrieval degrades faster than image-to-text.",
        "geometry-noise",
        GAP,
        (NOISY_TEXTS, REFERENCE),
        (Higher, matters::RETRIEVAL),
    ),
    expectation(
        "new-image-noise-hurts-image-queries",
        "§1.8.1",
        "A model that was trained on clean images and meets noisy ones loses more of image-to-text retrieval.",
        "geometry-noise",
        GAP,
        (Place { levels: &[], condition: "noisier-images" }, REFERENCE),
        (Lower, matters::RETRIEVAL),
    ),
    expectation(
        "new-text-noise-hurts-text-queries",
        "§1.8.1",
        "A model that was trained on whole texts and meets texts with gaps loses more of text-to-image retrieval.",
        "geometry-noise",
        GAP,
        (Place { levels: &[], condition: "noisier-texts" }, REFERENCE),
        (Higher, matters::RETRIEVAL),
    ),
    may(expectation(
        "noise-makes-hubs",
        "§1.8.1",
        "Noise in one modality may make hubs: many queries go to few candidates.",
        "geometry-noise",
        HUBNESS,
        (NOISY_IMAGES, REFERENCE),
        (Higher, matters::HUBNESS),
    )),
    expectation(
        "wrong-pairs-cost-retrieval",
        "§1.8.2",
        "Retrieval degrades when pairs are wrong.",
        "geometry-pairing",
        RETRIEVAL,
        (SWAPPED, REFERENCE),
        (Lower, matters::RETRIEVAL),
    ),
    ours(expectation(
        "five-per-cent-of-wrong-pairs-cost-nothing",
        "§1.8.2",
        "At 5% of wrong pairs retrieval stays what it was.",
        "geometry-pairing",
        RETRIEVAL,
        (at(&[("pairing.rate", "0.05")]), REFERENCE),
        (Same, matters::RETRIEVAL),
    )),
    may(expectation(
        "wrong-pairs-make-hubs",
        "§1.8.2",
        "The geometry can become hub-like as the model tries to resolve contradictions.",
        "geometry-pairing",
        HUBNESS,
        (SWAPPED, REFERENCE),
        (Higher, matters::HUBNESS),
    )),
    may(expectation(
        "wrong-pairs-cost-rank",
        "§1.8.2",
        "The geometry can collapse as the model tries to resolve contradictions.",
        "geometry-pairing",
        RANK,
        (SWAPPED, REFERENCE),
        (Lower, matters::RANK),
    )),
    may(expectation(
        "cold-retrieves-better",
        "§1.8.3",
        "A low temperature can improve retrieval.",
        "geometry-temperature",
        RETRIEVAL,
        (COLD, REFERENCE),
        (Higher, matters::RETRIEVAL),
    )),
    may(expectation(
        "cold-costs-rank",
        "§1.8.3",
        "A low temperature contracts the spectrum: the effective rank falls.",
        "geometry-temperature",
        RANK,
        (COLD, REFERENCE),
        (Lower, matters::RANK),
    )),
    may(expectation(
        "cold-is-anisotropic",
        "§1.8.3",
        "At a low temperature the embeddings cluster into a narrow cone: their mean cosine rises.",
        "geometry-temperature",
        COSINE,
        (COLD, REFERENCE),
        (Higher, matters::COSINE),
    )),
    may(expectation(
        "cold-makes-hubs",
        "§1.8.3",
        "A low temperature makes hubs.",
        "geometry-temperature",
        HUBNESS,
        (COLD, REFERENCE),
        (Higher, matters::HUBNESS),
    )),
    may(expectation(
        "warm-stays-diverse",
        "§1.8.3",
        "At a high temperature the geometry may remain more diverse than at a low one: its effective rank is higher.",
        "geometry-temperature",
        RANK,
        (WARM, COLD),
        (Higher, matters::RANK),
    )),
    may(expectation(
        "warm-costs-retrieval",
        "§1.8.3",
        "At a high temperature retrieval may be weaker than at a low one.",
        "geometry-temperature",
        RETRIEVAL,
        (WARM, COLD),
        (Lower, matters::RETRIEVAL),
    )),
    may(expectation(
        "more-negatives-retrieve-better",
        "§1.8.4",
        "A larger minibatch separates more aggressively and can improve retrieval.",
        "geometry-batch",
        RETRIEVAL,
        (REFERENCE, SMALL_BATCH),
        (Higher, matters::RETRIEVAL),
    )),
    may(expectation(
        "more-negatives-are-anisotropic",
        "§1.8.4",
        "A larger minibatch may cost anisotropy: more of the variance lies in the first direction.",
        "geometry-batch",
        TOP_SHARE,
        (REFERENCE, SMALL_BATCH),
        (Higher, matters::TOP_SHARE),
    )),
    may(expectation(
        "more-negatives-cost-factor-smoothness",
        "§1.8.4",
        "A larger minibatch pushes alike samples apart, so that neighbours share their shape less often.",
        "geometry-batch",
        SHARED_SHAPE,
        (REFERENCE, SMALL_BATCH),
        (Lower, matters::NEIGHBOURS),
    )),
];
