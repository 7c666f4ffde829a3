//! The registries: what can go wrong, and what is done about it.

use super::evidence::{
    Pointer, Read, ablates, both_ways, gradients, is_geometry, is_semantics, is_symmetry, judges_without_shortcut,
    made_again, randomises, registered, right_pairs, selected_with_floors, several_kinds, several_seeds,
};
use crate::engine::Act::{Stop, Warn};
use crate::spec::LOST;
use crate::spec::config::Panel;
use Pointer::{Manifest, Module, Parameter, Spec as InSpec};
use Read::{Always, Cells, Conditions, Gates, Limits, Run, Spec, Swept};

/// Something that can go wrong without being seen.
#[derive(Clone, Copy, Debug)]
pub struct Risk {
    pub id: &'static str,
    pub name: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// What no control of this program can settle.
    pub open: &'static [&'static str],
}

/// Something that is done about one or several risks.
#[derive(Clone, Copy)]
pub struct Control {
    pub id: &'static str,
    /// Ids of [`RISKS`].
    pub risks: &'static [&'static str],
    pub what: &'static str,
    pub implemented_by: &'static [Pointer],
    pub read: Read,
}

const fn risk(id: &'static str, name: &'static str, why: &'static str, open: &'static [&'static str]) -> Risk {
    Risk { id, name, why, open }
}

const fn control(
    id: &'static str,
    risks: &'static [&'static str],
    what: &'static str,
    implemented_by: &'static [Pointer],
    read: Read,
) -> Control {
    Control { id, risks, what, implemented_by, read }
}

const SHORTCUT: &str = "shortcut";
const DOMINANCE: &str = "dominance";
const PAIRING: &str = "pairing";
const COLLAPSE: &str = "collapse";
const LEAKAGE: &str = "leakage";
const METRIC_HACKING: &str = "metric-hacking";
const INSTABILITY: &str = "instability";

/// Every risk.
pub const RISKS: &[Risk] = &[
    risk(
        SHORTCUT,
        "Spurious correlation and shortcut learning",
        "Something that both modalities carry beside the factors can make retrieval perfect; the embedding then encodes \
         that, and fails as soon as it is gone or changes.",
        &[
            "Which shortcuts real data carry is not known here: only confounders that the spec plants can be taken away.",
        ],
    ),
    risk(
        DOMINANCE,
        "Modality dominance",
        "One modality can shape the common space alone: retrieval gets better in one direction than in the other, a few \
         items become everybody's neighbour, and a mean over both directions hides it.",
        &["Whether encoders of unlike architecture are as balanced as two of the same kind has not been tried."],
    ),
    risk(
        PAIRING,
        "Pairing corruption",
        "Wrong pairs teach that unlike things are alike. Losses still fall, while neighbourhoods become unstable and \
         sensitive to small updates.",
        &["The share and the kind of wrong pairs in real data are not known; the kinds here are four simple ones."],
    ),
    risk(
        COLLAPSE,
        "Representation collapse",
        "Embeddings can lose their diversity: variance concentrates in few directions while retrieval on familiar data \
         stays high, until a small shift breaks it at once.",
        &["At which rank or variance a real system is in danger cannot be read from a world of five factors."],
    ),
    risk(
        LEAKAGE,
        "Train-test leakage",
        "What evaluation shares with training is measured as if it had been learnt.",
        &["How many sentences the splits share by chance is counted by `cliffline world check`, not by a run."],
    ),
    risk(
        METRIC_HACKING,
        "Metric hacking",
        "What is selected or accepted by a single metric gets better in that metric, and may get worse in all that it was \
         meant to stand for.",
        &[
            "Gates that were chosen after looking at results of other runs are no less tuned to them: that cannot be seen here.",
        ],
    ),
    risk(
        INSTABILITY,
        "Numerical instability",
        "Overflow in the softmax, exploding gradients or a wrong gradient end in numbers that look like results.",
        &[
            "Other processors, adapters and drivers agree within tolerances, not to the bit: `cliffline agree` compares them.",
        ],
    ),
];

const RANK_AND_SPREAD: &[&str] = &["effective_rank_img", "mean_cosine_img", "variance_min_img", "hub_gini_i2t"];
const GAP: &[&str] = &["symmetry_gap_at_1"];
const GRADIENTS: &[&str] = &["grad_norm_img"];

/// Every control, each beside the risks that it is for.
pub const CONTROLS: &[Control] = &[
    control(
        "confounder-ablated",
        &[SHORTCUT],
        "every trained cell is measured once more without the confounder",
        &[InSpec("condition"), Parameter("confounder.strength")],
        Conditions(ablates),
    ),
    control(
        "confounder-randomised",
        &[SHORTCUT],
        "every trained cell is measured once more with confounders that say nothing of the partner",
        &[InSpec("condition"), Parameter("confounder.randomised")],
        Conditions(randomises),
    ),
    control(
        "gate-without-shortcut",
        &[SHORTCUT, METRIC_HACKING],
        "a gate judges where the confounder is taken away or randomised",
        &[InSpec("gate"), InSpec("condition")],
        Gates(judges_without_shortcut),
    ),
    control(
        "gate-on-semantics",
        &[SHORTCUT],
        "a gate bounds what the embedding encodes of factors, neighbours or groups",
        &[InSpec("gate")],
        Gates(|gate, _| is_semantics(gate)),
    ),
    control(
        "factors-measured",
        &[SHORTCUT, METRIC_HACKING],
        "separability by factor and what neighbours share are measured beside retrieval",
        &[Module("src/metric/separability.rs"), Module("src/metric/neighbours.rs")],
        Always("they are in the fast panel, which every finished cell has"),
    ),
    control(
        "probes-with-nulls",
        &[SHORTCUT],
        "information on factors and confounder is measured against a permutation null, and retrieval across groups",
        &[Parameter("panel"), Module("src/metric/information.rs"), Module("src/metric/cross_group.rs")],
        Cells(|config| config.panel == Panel::Full),
    ),
    control(
        "symmetric-loss",
        &[DOMINANCE],
        "both directions weigh the same in the loss",
        &[Parameter("train.weight_i2t"), Parameter("train.weight_t2i")],
        Cells(|config| config.train.weight_i2t == config.train.weight_t2i),
    ),
    control(
        "clipped-gradients",
        &[DOMINANCE, INSTABILITY],
        "gradients are clipped, each modality by itself",
        &[Parameter("train.clip_norm")],
        Cells(|config| config.train.clip_norm > 0.0),
    ),
    control(
        "balanced-losses",
        &[DOMINANCE],
        "the weights of the two directions follow their gradients",
        &[Parameter("train.balance"), Module("src/aligner/balance.rs")],
        Cells(|config| config.train.balance > 0.0),
    ),
    control(
        "gate-on-symmetry",
        &[DOMINANCE],
        "a gate bounds a difference between directions or modalities",
        &[InSpec("gate")],
        Gates(|gate, _| is_symmetry(gate)),
    ),
    control(
        "gates-both-ways",
        &[DOMINANCE],
        "retrieval has a gate in each direction",
        &[InSpec("gate")],
        Spec(both_ways),
    ),
    control(
        "stop-on-asymmetry",
        &[DOMINANCE],
        "a stop rule ends cells whose directions part",
        &[Parameter("stop.symmetry_gap_above")],
        Limits(Stop, GAP),
    ),
    control(
        "warn-on-asymmetry",
        &[DOMINANCE],
        "when directions part is recorded",
        &[Parameter("warn.symmetry_gap_above")],
        Limits(Warn, GAP),
    ),
    control(
        "operators-swept",
        &[DOMINANCE],
        "what disturbs images or sentences is swept, so that margins are known on either side",
        &[InSpec("axes")],
        Swept(&["image.", "text."]),
    ),
    control(
        "wrong-pairs-counted",
        &[PAIRING],
        "the share of wrong pairs that came about is recorded for each cell and split",
        &[Module("src/world/pairing.rs")],
        Always("every record has it, as the columns realised_corrupted_share_*"),
    ),
    control(
        "right-pairs-measured",
        &[PAIRING],
        "results are also those of right pairs",
        &[Parameter("pairing.applies_to"), InSpec("condition")],
        Spec(right_pairs),
    ),
    control(
        "sensitivity-measured",
        &[PAIRING, INSTABILITY],
        "how much one disturbed update moves retrieval is measured",
        &[Parameter("panel"), Module("src/metric/sensitivity.rs")],
        Cells(|config| config.panel == Panel::Full),
    ),
    control(
        "pairing-swept",
        &[PAIRING],
        "wrong pairs are swept, so that their margin is known",
        &[InSpec("axes"), Parameter("pairing.rate")],
        Swept(&["pairing."]),
    ),
    control(
        "stop-on-collapse",
        &[COLLAPSE],
        "a stop rule on rank, cosine, variance or hubness says which cells collapsed",
        &[Parameter("stop.effective_rank_below"), Module("src/engine/limits.rs")],
        Limits(Stop, RANK_AND_SPREAD),
    ),
    control(
        "warn-on-collapse",
        &[COLLAPSE],
        "when rank, cosine, variance or hubness passes a threshold is recorded",
        &[Parameter("warn.effective_rank_below"), Module("src/engine/limits.rs")],
        Limits(Warn, RANK_AND_SPREAD),
    ),
    control(
        "gate-on-geometry",
        &[COLLAPSE, METRIC_HACKING],
        "a gate bounds rank, spread or hubness",
        &[InSpec("gate")],
        Gates(|gate, _| is_geometry(gate)),
    ),
    control(
        "gate-on-lost",
        &[COLLAPSE, INSTABILITY],
        "a gate bounds the cells that collapsed, diverged or failed",
        &[InSpec("gate")],
        Gates(|gate, _| gate.metric == LOST),
    ),
    control(
        "spread-rewarded",
        &[COLLAPSE],
        "a term of the loss keeps variance up, or coordinates apart",
        &[
            Parameter("train.variance_weight"),
            Parameter("train.covariance_weight"),
            Parameter("train.redundancy_weight"),
        ],
        Cells(|config| {
            let train = &config.train;
            train.variance_weight > 0.0 || train.covariance_weight > 0.0 || train.redundancy_weight > 0.0
        }),
    ),
    control(
        "temperature-swept",
        &[COLLAPSE],
        "the temperature is swept, so that the boundary of collapse is known",
        &[InSpec("axes"), Parameter("train.temperature")],
        Swept(&["train.temperature"]),
    ),
    control(
        "disjoint-splits",
        &[LEAKAGE],
        "no sample is in two splits, and corruption stays in its own",
        &[Module("src/world/sample.rs"), Module("src/world/leakage.rs")],
        Always("splits are cut from one list of indices"),
    ),
    control(
        "train-normalisation",
        &[LEAKAGE],
        "what features are normalised by is of the training split",
        &[Module("src/world/sample.rs")],
        Always("no other split is looked at for it"),
    ),
    control(
        "selected-on-validation",
        &[LEAKAGE, METRIC_HACKING],
        "limits and checkpoints look at the validation split, results are of the test split",
        &[Module("src/engine/watch.rs"), Module("src/engine/selection.rs")],
        Always("the test split is observed after training alone"),
    ),
    control(
        "registered-gates",
        &[METRIC_HACKING],
        "thresholds were written down before the results were seen",
        &[Manifest("thresholds"), InSpec("gate")],
        Run(registered),
    ),
    control(
        "gates-of-several-kinds",
        &[METRIC_HACKING],
        "gates look at more than one of performance, symmetry, geometry and semantics",
        &[InSpec("gate")],
        Spec(several_kinds),
    ),
    control(
        "selection-keeps-floors",
        &[METRIC_HACKING, COLLAPSE],
        "no checkpoint is selected by a metric, or those selected keep a floor of geometry",
        &[Parameter("checkpoint.select"), Parameter("checkpoint.effective_rank_floor")],
        Cells(selected_with_floors),
    ),
    control(
        "several-seeds",
        &[METRIC_HACKING, INSTABILITY],
        "results are over several seeds",
        &[InSpec("axes"), Parameter("seed")],
        Spec(several_seeds),
    ),
    control(
        "gradients-checked",
        &[INSTABILITY],
        "analytic gradients were compared with autodiff and with derivatives in f64 before training",
        &[Manifest("gradcheck"), Module("src/aligner/gradcheck.rs")],
        Run(gradients),
    ),
    control(
        "stable-softmax",
        &[INSTABILITY],
        "the loss is computed from shifted exponents",
        &[Module("src/aligner/info_nce.rs")],
        Always("there is no other loss; it is tested down to a temperature of 1e-3"),
    ),
    control(
        "divergence-recorded",
        &[INSTABILITY],
        "a cell with a value that is not finite is ended and recorded as diverged",
        &[Module("src/engine/watch.rs")],
        Always("every step is checked"),
    ),
    control(
        "stop-on-gradients",
        &[INSTABILITY],
        "a stop rule ends cells whose gradients grow beyond a bound",
        &[Parameter("stop.gradient_norm_above")],
        Limits(Stop, GRADIENTS),
    ),
    control(
        "warm-up",
        &[INSTABILITY],
        "the learning rate grows to its value",
        &[Parameter("train.warmup_steps")],
        Cells(|config| config.train.warmup_steps > 0),
    ),
    control(
        "made-again",
        &[INSTABILITY],
        "cells of this run were trained a second time and came out the same",
        &[Manifest("tables"), Module("src/cli/exemplars.rs")],
        Run(made_again),
    ),
];
