//! Chapter 2: dominance, shortcuts, wrong pairs and collapse, each induced one knob at a time, and what controls buy.

mod controls;
mod expectations;

use super::family::{Family, Laboratory};
use super::geometry::{COSINE, GAP, HUBNESS, ORIENTATION, RANK, RETRIEVAL, SHAPE, TOP_SHARE};
use super::observed::Quantity;

use Quantity::{Late, LogRatio, Mean, Metric, Unrest};

pub(super) const FAILURES: Laboratory = Laboratory {
    name: "failures",
    title: "The failure-mode laboratory",
    source: "Multimodality Under Governance, chapter 2",
    about: "A fixed, accepted baseline and four ways to break it: one modality dominates, a marker replaces the meaning, pairs \
            are wrong, the geometry collapses. What each does to outcomes, signatures and probes, what is left under \
            counterfactual evaluation, and what the chapter's controls buy and cost.",
    families: FAMILIES,
    expectations: &[expectations::EXPECTATIONS, &controls::EXPECTATIONS],
    attribution: true,
};

/// Gradient norms of the image encoder over those of the text encoder.
pub(super) const GRADIENTS: Quantity = LogRatio("grad_norm_img", "grad_norm_txt");
pub(super) const RANK_DIVERGENCE: Quantity = Metric("rank_divergence");
pub(super) const MI_ORIENTATION: Quantity = Mean("mi_orientation_img_excess", "mi_orientation_txt_excess");
pub(super) const MI_SHAPE: Quantity = Mean("mi_shape_img_excess", "mi_shape_txt_excess");
pub(super) const MI_CONFOUNDER: Quantity = Mean("mi_confounder_img_excess", "mi_confounder_txt_excess");
pub(super) const SENSITIVITY: Quantity = Metric("sensitivity_pairing");

const DOMINANCE: &[Quantity] = &[
    Metric("retrieval_at_1_i2t"),
    Metric("retrieval_at_1_t2i"),
    GAP,
    GRADIENTS,
    Metric("effective_rank_img"),
    Metric("effective_rank_txt"),
    Metric("hub_gini_i2t"),
    Metric("hub_gini_t2i"),
    Metric("norm_divergence"),
    SHAPE,
    ORIENTATION,
    Metric("cca_1"),
    Metric("cca_mean"),
];
const SHORTCUT: &[Quantity] = &[
    RETRIEVAL,
    GAP,
    RANK,
    HUBNESS,
    SHAPE,
    ORIENTATION,
    MI_SHAPE,
    MI_ORIENTATION,
    MI_CONFOUNDER,
    Mean("retrieval_within_group_i2t", "retrieval_within_group_t2i"),
    Mean("retrieval_across_group_i2t", "retrieval_across_group_t2i"),
];
const WRONG_PAIRS: &[Quantity] =
    &[RETRIEVAL, GAP, RANK, HUBNESS, SHAPE, ORIENTATION, MI_ORIENTATION, Late("loss"), Unrest("loss"), SENSITIVITY];
const COLLAPSE: &[Quantity] = &[
    RETRIEVAL,
    RANK,
    TOP_SHARE,
    COSINE,
    Mean("variance_p05_img", "variance_p05_txt"),
    HUBNESS,
    MI_SHAPE,
    MI_ORIENTATION,
    SENSITIVITY,
];

const NOISES: &[&str] = &["noisy-images", "noisy-texts", "noisy-both"];

const INDUCED: [Family; 9] = [
    Family {
        sweep: "failures-baseline",
        title: "The accepted baseline",
        asks: "Is the reference healthy, on every seed?",
        reference: &[],
        outcomes: &[
            RETRIEVAL,
            Mean("retrieval_at_5_i2t", "retrieval_at_5_t2i"),
            GAP,
            GRADIENTS,
            RANK,
            RANK_DIVERGENCE,
            COSINE,
            Mean("variance_p05_img", "variance_p05_txt"),
            HUBNESS,
            SHAPE,
            ORIENTATION,
            MI_SHAPE,
            MI_ORIENTATION,
            Metric("cca_mean"),
            SENSITIVITY,
        ],
        conditions: &[],
        pictures: &["geometry-pca-baseline", "geometry-similarity", "training"],
        quick: &["seed=seeds:4"],
    },
    Family {
        sweep: "failures-input-gain",
        title: "Dominance by input scale",
        asks: "Does a louder input make its modality dominate?",
        reference: &[("image.gain", "1.0"), ("text.gain", "1.0")],
        outcomes: DOMINANCE,
        conditions: NOISES,
        pictures: &["degradation-retrieval-along-image-gain", "heatmap-effective-rank-img"],
        quick: &["seed=seeds:4", "image.gain=1.0,16.0,64.0", "text.gain=1.0,64.0"],
    },
    Family {
        sweep: "failures-output-gain",
        title: "Dominance by output scale",
        asks: "Does a gain on one encoder's output change anything, where embeddings are normalised?",
        reference: &[("model.output_gain_img", "1.0"), ("model.output_gain_txt", "1.0")],
        outcomes: DOMINANCE,
        conditions: NOISES,
        pictures: &["degradation-retrieval-along-model-output-gain-img"],
        quick: &["seed=seeds:4", "model.output_gain_img=1.0,64.0", "model.output_gain_txt=1.0,64.0"],
    },
    Family {
        sweep: "failures-noise",
        title: "Dominance by noise",
        asks: "Does the cleaner modality dominate when the other is learnt from noise?",
        reference: &[("image.noise", "0.0"), ("text.dropout", "0.0")],
        outcomes: DOMINANCE,
        conditions: NOISES,
        pictures: &["degradation-retrieval-along-image-noise", "degradation-retrieval-along-text-dropout"],
        quick: &["seed=seeds:4", "image.noise=0.0,0.2,0.4", "text.dropout=0.0,0.4"],
    },
    Family {
        sweep: "failures-capacity",
        title: "Dominance by capacity",
        asks: "Does the wider encoder dominate?",
        reference: &[("model.hidden_img", "64"), ("model.hidden_txt", "64")],
        outcomes: DOMINANCE,
        conditions: NOISES,
        pictures: &["degradation-retrieval-along-model-hidden-img", "heatmap-effective-rank-img"],
        quick: &["seed=seeds:4", "model.hidden_img=2,8,64", "model.hidden_txt=2,8,64"],
    },
    Family {
        sweep: "failures-confounder",
        title: "Shortcuts",
        asks: "Which shared markers replace the factors, and from which strength on?",
        reference: &[
            ("confounder.kind", "id_codebook"),
            ("confounder.strength", "0.0"),
            ("confounder.prevalence", "1.0"),
        ],
        outcomes: SHORTCUT,
        conditions: &[
            "confounder-removed",
            "confounder-randomised",
            "confounder-removed-from-images",
            "confounder-removed-from-texts",
        ],
        pictures: &[
            "degradation-retrieval-along-confounder-strength",
            "degradation-separability-orientation-img-along-confounder-strength",
        ],
        quick: &["seed=seeds:4", "confounder.strength=0.0,0.1,0.3,1.0", "confounder.prevalence=1.0"],
    },
    Family {
        sweep: "failures-confounder-only",
        title: "Shortcuts without semantics",
        asks: "What retrieval can be had from each marker alone?",
        reference: &[
            ("confounder.kind", "id_codebook"),
            ("confounder.strength", "1.0"),
            ("confounder.semantics", "false"),
        ],
        outcomes: SHORTCUT,
        conditions: &["confounder-removed"],
        pictures: &["degradation-retrieval-along-confounder-strength"],
        quick: &["seed=seeds:4", "confounder.strength=1.0"],
    },
    Family {
        sweep: "failures-pairing",
        title: "Wrong pairs",
        asks: "Which wrong pairs does alignment survive, and what do they leave to see?",
        reference: &[("pairing.rate", "0.0"), ("pairing.kind", "swap"), ("pairing.applies_to", "train")],
        outcomes: WRONG_PAIRS,
        conditions: &["right-pairs", "wrong-pairs"],
        pictures: &["degradation-retrieval-along-pairing-rate", "degradation-effective-rank-along-pairing-rate"],
        quick: &["seed=seeds:4", "pairing.rate=0.0,0.2,0.4", "pairing.applies_to=train,both"],
    },
    Family {
        sweep: "failures-collapse",
        title: "Collapse",
        asks: "Where do temperature, learning rate and weight decay, alone and together, collapse the geometry?",
        reference: &[("train.temperature", "0.07"), ("train.learning_rate", "0.05"), ("train.weight_decay", "0.0")],
        outcomes: COLLAPSE,
        conditions: &[],
        pictures: &[
            "heatmap-effective-rank-img",
            "degradation-effective-rank-along-train-temperature",
            "first-crossings",
        ],
        quick: &[
            "seed=seeds:4",
            "train.temperature=0.005,0.02,0.07",
            "train.learning_rate=0.05,0.2,0.8",
            "train.weight_decay=0.0,0.01",
        ],
    },
];

/// Those that induce failures, then those that switch controls on.
const FAMILIES: &[Family] = &{
    let [base, gain, output, noise, capacity, confounder, only, pairing, collapse] = INDUCED;
    let [dominance, shortcuts, wrong_pairs, collapsing] = controls::FAMILIES;
    [
        base,
        gain,
        output,
        noise,
        capacity,
        dominance,
        confounder,
        only,
        shortcuts,
        pairing,
        wrong_pairs,
        collapse,
        collapsing,
    ]
};
