//! The chapter's controls, switched on one at a time: what each buys where something is wrong, and costs where nothing is.

use super::super::expectation::{Expect, Expectation, expectation, ours};
use super::super::family::{Family, Place, REFERENCE, at};
use super::super::geometry::{ORIENTATION, RANK, RETRIEVAL};
use super::super::matters;
use super::{COLLAPSE, DOMINANCE, SHORTCUT, WRONG_PAIRS};

use Expect::{Higher, NotLower};

const OF_DOMINANCE: &str = "failures-control-dominance";
const OF_SHORTCUTS: &str = "failures-control-shortcut";
const OF_WRONG_PAIRS: &str = "failures-control-pairing";
const OF_COLLAPSE: &str = "failures-control-collapse";

pub(super) const FAMILIES: [Family; 4] = [
    Family {
        sweep: OF_DOMINANCE,
        title: "Controls of dominance",
        asks: "What do balanced directions, clipped gradients and variance terms buy and cost?",
        reference: &[
            ("image.gain", "1.0"),
            ("train.balance", "0.0"),
            ("train.clip_norm", "0.0"),
            ("train.variance_weight", "0.0"),
            ("train.covariance_weight", "0.0"),
        ],
        outcomes: DOMINANCE,
        conditions: &[],
        pictures: &[],
        quick: &["seed=seeds:4"],
    },
    Family {
        sweep: OF_SHORTCUTS,
        title: "Controls of shortcuts",
        asks: "What do the hygiene of one channel and fewer negatives buy and cost?",
        reference: &[("confounder.strength", "0.0"), ("confounder.modality", "both"), ("train.batch_size", "256")],
        outcomes: SHORTCUT,
        conditions: &["confounder-removed", "confounder-randomised"],
        pictures: &[],
        quick: &["seed=seeds:4"],
    },
    Family {
        sweep: OF_WRONG_PAIRS,
        title: "Controls of wrong pairs",
        asks: "What does an audit of the join buy, and what do the lost pairs cost?",
        reference: &[("pairing.rate", "0.0"), ("world.n_train", "4096")],
        outcomes: WRONG_PAIRS,
        conditions: &[],
        pictures: &[],
        quick: &["seed=seeds:4"],
    },
    Family {
        sweep: OF_COLLAPSE,
        title: "Controls of collapse",
        asks: "What do variance terms, redundancy reduction, clipping and warm-up buy and cost?",
        reference: &[
            ("train.temperature", "0.07"),
            ("train.variance_weight", "0.0"),
            ("train.covariance_weight", "0.0"),
            ("train.redundancy_weight", "0.0"),
            ("train.clip_norm", "0.0"),
            ("train.warmup_steps", "0"),
        ],
        outcomes: COLLAPSE,
        conditions: &[],
        pictures: &[],
        quick: &["seed=seeds:4"],
    },
];

const LOUD: Place = at(&[("image.gain", "64.0")]);
const LOUD_BALANCED: Place = at(&[("image.gain", "64.0"), ("train.balance", "0.1")]);
const LOUD_CLIPPED: Place = at(&[("image.gain", "64.0"), ("train.clip_norm", "0.5")]);
const LOUD_SPREAD: Place =
    at(&[("image.gain", "64.0"), ("train.variance_weight", "1.0"), ("train.covariance_weight", "0.04")]);
const SPREAD: Place = at(&[("train.variance_weight", "1.0"), ("train.covariance_weight", "0.04")]);
const CLIPPED: Place = at(&[("train.clip_norm", "0.5")]);

const CODED: Place = at(&[("confounder.strength", "0.3")]);
const CODED_IN_IMAGES: Place = at(&[("confounder.strength", "0.3"), ("confounder.modality", "img")]);
const CODED_FEW_NEGATIVES: Place = at(&[("confounder.strength", "0.3"), ("train.batch_size", "64")]);

const WRONG: Place = at(&[("pairing.rate", "0.4")]);
const AUDITED: Place = at(&[("pairing.rate", "0.142857"), ("world.n_train", "2867")]);
const FEWER: Place = at(&[("world.n_train", "2458")]);

const COLD: Place = at(&[("train.temperature", "0.005")]);
const COLD_SPREAD: Place =
    at(&[("train.temperature", "0.005"), ("train.variance_weight", "1.0"), ("train.covariance_weight", "0.04")]);
const COLD_REDUCED: Place = at(&[("train.temperature", "0.005"), ("train.redundancy_weight", "0.05")]);
const COLD_CLIPPED: Place = at(&[("train.temperature", "0.005"), ("train.clip_norm", "0.5")]);
const COLD_WARMED_UP: Place = at(&[("train.temperature", "0.005"), ("train.warmup_steps", "200")]);
const REDUCED: Place = at(&[("train.redundancy_weight", "0.05")]);
const WARMED_UP: Place = at(&[("train.warmup_steps", "200")]);

pub(super) const EXPECTATIONS: [Expectation; 17] = [
    expectation(
        "balance-helps-loud-images",
        "§2.4.5",
        "Weights that follow the directions' gradients compensate dominance in part: retrieval recovers.",
        OF_DOMINANCE,
        RETRIEVAL,
        (LOUD_BALANCED, LOUD),
        (Higher, matters::RETRIEVAL),
    ),
    expectation(
        "clipping-helps-loud-images",
        "§2.4.5",
        "Gradients clipped per modality keep one from dominating the updates: retrieval recovers.",
        OF_DOMINANCE,
        RETRIEVAL,
        (LOUD_CLIPPED, LOUD),
        (Higher, matters::RETRIEVAL),
    ),
    ours(expectation(
        "variance-terms-spread-loud-images",
        "§2.7.5",
        "Variance and covariance terms keep the rank up under dominance.",
        OF_DOMINANCE,
        RANK,
        (LOUD_SPREAD, LOUD),
        (Higher, matters::RANK),
    )),
    ours(expectation(
        "clipping-costs-a-healthy-model-nothing",
        "§2.4.5",
        "Clipping costs a healthy model no retrieval.",
        OF_DOMINANCE,
        RETRIEVAL,
        (CLIPPED, REFERENCE),
        (NotLower, matters::RETRIEVAL),
    )),
    ours(expectation(
        "variance-terms-cost-a-healthy-model-nothing",
        "§2.7.5",
        "Variance and covariance terms cost a healthy model no retrieval.",
        OF_DOMINANCE,
        RETRIEVAL,
        (SPREAD, REFERENCE),
        (NotLower, matters::RETRIEVAL),
    )),
    expectation(
        "hygiene-brings-orientation-back",
        "§2.5.5",
        "Kept out of one modality, a marker is no shortcut: orientation is encoded again.",
        OF_SHORTCUTS,
        ORIENTATION,
        (CODED_IN_IMAGES, CODED),
        (Higher, matters::EXPLAINED),
    ),
    ours(expectation(
        "hygiene-costs-nothing",
        "§2.5.5",
        "A marker that is left in one modality does not harm retrieval.",
        OF_SHORTCUTS,
        RETRIEVAL,
        (CODED_IN_IMAGES, REFERENCE),
        (NotLower, matters::RETRIEVAL),
    )),
    expectation(
        "fewer-negatives-strengthen-shortcuts",
        "§2.5.5",
        "With easier negatives a marker suffices, and factors are encoded less; here: with more negatives orientation is \
         encoded better beside a marker.",
        OF_SHORTCUTS,
        ORIENTATION,
        (CODED, CODED_FEW_NEGATIVES),
        (Higher, matters::EXPLAINED),
    ),
    expectation(
        "an-audit-brings-retrieval-back",
        "§2.6.5",
        "Filtering three of four wrong pairs out brings retrieval back.",
        OF_WRONG_PAIRS,
        RETRIEVAL,
        (AUDITED, WRONG),
        (Higher, matters::RETRIEVAL),
    ),
    ours(expectation(
        "an-audit-costs-little",
        "§2.6.5",
        "The pairs that a perfect audit takes out are not missed.",
        OF_WRONG_PAIRS,
        RETRIEVAL,
        (FEWER, REFERENCE),
        (NotLower, matters::RETRIEVAL),
    )),
    expectation(
        "variance-terms-prevent-collapse",
        "§2.7.5",
        "Variance and covariance terms keep the rank up at a temperature that collapses it.",
        OF_COLLAPSE,
        RANK,
        (COLD_SPREAD, COLD),
        (Higher, matters::RANK),
    ),
    expectation(
        "redundancy-reduction-prevents-collapse",
        "§2.7.5",
        "A redundancy-reduction term keeps the rank up at a temperature that collapses it.",
        OF_COLLAPSE,
        RANK,
        (COLD_REDUCED, COLD),
        (Higher, matters::RANK),
    ),
    expectation(
        "clipping-prevents-collapse",
        "§2.7.5",
        "Clipping keeps the rank up at a temperature that collapses it.",
        OF_COLLAPSE,
        RANK,
        (COLD_CLIPPED, COLD),
        (Higher, matters::RANK),
    ),
    expectation(
        "warm-up-prevents-collapse",
        "§2.7.5",
        "Warm-up of the learning rate keeps the rank up at a temperature that collapses it.",
        OF_COLLAPSE,
        RANK,
        (COLD_WARMED_UP, COLD),
        (Higher, matters::RANK),
    ),
    ours(expectation(
        "redundancy-reduction-costs-a-healthy-model-nothing",
        "§2.7.5",
        "A redundancy-reduction term costs a healthy model no rank.",
        OF_COLLAPSE,
        RANK,
        (REDUCED, REFERENCE),
        (NotLower, matters::RANK),
    )),
    ours(expectation(
        "warm-up-costs-a-healthy-model-nothing",
        "§2.7.5",
        "Warm-up costs a healthy model no retrieval.",
        OF_COLLAPSE,
        RETRIEVAL,
        (WARMED_UP, REFERENCE),
        (NotLower, matters::RETRIEVAL),
    )),
    ours(expectation(
        "variance-terms-bring-retrieval-back",
        "§2.7.5",
        "Where variance terms keep the rank up, retrieval follows.",
        OF_COLLAPSE,
        RETRIEVAL,
        (COLD_SPREAD, COLD),
        (Higher, matters::RETRIEVAL),
    )),
];
