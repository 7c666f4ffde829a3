//! The registry of parameters: each scalar of [`Config`](super::config::Config) once, with its path, type, range and role.

/// The least distance from 0 of a number that is not 0: the least normal `f32`, 2^-126 or 1.1755e-38, rounded up. What is
/// trained is computed in `f32`. Nearer to 0 it has fewer digits the nearer a number is, down to none, and some processors
/// take all of these numbers for 0: a cell would not be what its configuration says, or not everywhere.
pub const LEAST: f64 = 1.2e-38;

/// What a parameter accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A finite real number with `min <= x <= max` that is 0 or at least [`LEAST`] away from it.
    Float { min: f64, max: f64 },
    /// An integer with `min <= x <= max`.
    Int { min: u64, max: u64 },
    /// `true` or `false`.
    Bool,
    /// One of a fixed set of names.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// Whether a number is too near to 0 to be computed with.
    pub fn is_too_small(value: f64) -> bool {
        value != 0.0 && value.abs() < LEAST
    }

    /// The least and the greatest number that it accepts; infinite for what is no number.
    pub fn range(self) -> (f64, f64) {
        match self {
            Self::Float { min, max, .. } => (min, max),
            Self::Int { min, max } => (min as f64, max as f64),
            Self::Bool | Self::Choice(_) => (f64::NEG_INFINITY, f64::INFINITY),
        }
    }
}

/// How a parameter takes part in a pack of cells that train as one tensor program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Fixes the shape or the structure of the program: all cells of a pack share it.
    Structure,
    /// May differ from cell to cell of a pack.
    Lane,
    /// May differ from cell to cell, but whether it is zero changes the program: cells with zero and with non-zero
    /// values go to different packs.
    Switch,
}

/// One scalar of the resolved configuration.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Dotted path, for instance `train.temperature`.
    pub path: &'static str,
    pub kind: Kind,
    pub role: Role,
    /// What it is, with its unit.
    pub doc: &'static str,
    /// False when it changes only what is recorded, not what is trained.
    pub trains: bool,
    /// True for a parameter younger than the first stored cells: ids leave it out at its default, so that they stay.
    /// Its default can never change.
    pub late: bool,
}

const fn float(min: f64, max: f64) -> Kind {
    Kind::Float { min, max }
}
const fn positive(max: f64) -> Kind {
    Kind::Float { min: LEAST, max }
}
const fn int(min: u64, max: u64) -> Kind {
    Kind::Int { min, max }
}
const fn param(path: &'static str, kind: Kind, role: Role, doc: &'static str) -> Param {
    Param { path, kind, role, doc, trains: true, late: false }
}

/// A parameter that stored cells may not know: see [`Param::late`].
const fn later(path: &'static str, kind: Kind, role: Role, doc: &'static str) -> Param {
    Param { path, kind, role, doc, trains: true, late: true }
}
/// A later parameter that decides only what is recorded.
const fn recorded(path: &'static str, kind: Kind, role: Role, doc: &'static str) -> Param {
    Param { path, kind, role, doc, trains: false, late: true }
}

/// A gain of zero would leave nothing to normalise.
const GAIN: Kind = positive(1e6);

use Role::{Lane, Structure, Switch};

/// Every scalar of [`Config`], in the order of its fields.
pub const PARAMS: &[Param] = &[
    // TOML integers are signed 64-bit.
    param("seed", int(0, i64::MAX as u64), Lane, "seed of every random stream of the cell"),
    recorded(
        "panel",
        Kind::Choice(&["fast", "full"]),
        Lane,
        "how much of the measurement panel is computed: full adds the probes that permute, fit or step",
    ),
    param("world.image_size", int(8, 64), Structure, "image side, pixels"),
    param("world.n_train", int(8, 1 << 20), Structure, "training pairs"),
    param("world.n_validation", int(8, 1 << 14), Structure, "validation pairs"),
    param("world.n_test", int(8, 1 << 14), Structure, "test pairs"),
    param(
        "image.noise",
        float(0.0, 100.0),
        Switch,
        "standard deviation of additive Gaussian pixel noise, in intensity (clean images span -1 to 1), on every split",
    ),
    param(
        "image.mask",
        float(0.0, 1.0),
        Switch,
        "probability that a pixel is replaced by the background, 0, on every split",
    ),
    later(
        "image.occlusion",
        float(0.0, 1.0),
        Lane,
        "share of the image that a randomly placed square hides, on every split",
    ),
    later("image.blur", float(0.0, 64.0), Lane, "standard deviation of a Gaussian blur, pixels, on every split"),
    later(
        "image.band",
        float(0.0, 100.0),
        Lane,
        "standard deviation of additive noise within one octave of spatial frequencies, in intensity, on every split",
    ),
    later(
        "image.band_frequency",
        float(1.0, 32.0),
        Lane,
        "middle of the octave of image.band, cycles per image side; the texture has 1 to 3",
    ),
    later(
        "image.quantisation",
        float(0.0, 1.0),
        Lane,
        "largest rounding error of intensities; levels are twice this apart, on every split",
    ),
    later(
        "image.compression",
        float(0.0, 100.0),
        Lane,
        "multiplier of JPEG's luminance quantisation table; 1 is its quality 50, 5 its quality 10, on every split",
    ),
    later("image.gain", float(0.0, 1e6), Lane, "factor on everything that the image encoder takes in, noise included"),
    param(
        "text.features",
        Kind::Choice(&["bag_of_tokens", "token_position", "bag_of_ngrams"]),
        Structure,
        "what the text encoder sees",
    ),
    param("text.dropout", float(0.0, 1.0), Switch, "probability that a token is dropped, on every split"),
    later(
        "text.substitution",
        float(0.0, 1.0),
        Lane,
        "probability that a token is replaced by another bin of its factor, on every split",
    ),
    later(
        "text.coarsening",
        float(0.0, 4.0),
        Lane,
        "times that the bins of continuous factors double in width; between whole numbers, on average, on every split",
    ),
    later(
        "text.swap",
        float(0.0, 1.0),
        Lane,
        "probability, per token, that it changes places with another one, on every split; bags of tokens cannot tell",
    ),
    later(
        "text.jitter",
        float(0.0, 100.0),
        Lane,
        "standard deviation of the displacement of tokens, positions, on every split; bags of tokens cannot tell",
    ),
    later(
        "text.insertion",
        float(0.0, 1.0),
        Lane,
        "probability, per token, that a token that says nothing follows it, on every split; token_position loses what is \
         pushed beyond its 8 positions",
    ),
    later("text.gain", float(0.0, 1e6), Lane, "factor on everything that the text encoder takes in"),
    param("pairing.rate", float(0.0, 1.0), Lane, "share of samples whose pair is corrupted"),
    param("pairing.kind", Kind::Choice(&["swap", "group_swap", "offset", "block"]), Lane, "how wrong pairs are made"),
    param("pairing.applies_to", Kind::Choice(&["train", "eval", "both"]), Lane, "splits whose pairs are corrupted"),
    param("pairing.block_size", int(2, 1 << 16), Lane, "samples per block, for kind = \"block\""),
    later(
        "confounder.kind",
        Kind::Choice(&["id_codebook", "watermark", "parity", "group_tags"]),
        Lane,
        "what both modalities carry beside the factors",
    ),
    later(
        "confounder.strength",
        float(0.0, 100.0),
        Switch,
        "amplitude of the confounder, on every split: intensity in images, tokens in texts; of the ID codebook the root mean square of what it adds, clean features having 1; 0 switches every confounder option off",
    ),
    later(
        "confounder.prevalence",
        float(0.0, 1.0),
        Lane,
        "probability that a sample carries the confounder; a higher one keeps the carriers",
    ),
    later(
        "confounder.semantics",
        Kind::Bool,
        Lane,
        "whether the factors stay visible beside the confounder; false leaves the confounder alone on the background",
    ),
    later(
        "confounder.randomised",
        Kind::Bool,
        Lane,
        "whether each modality draws its own label or code, so that the confounder says nothing about the pair",
    ),
    later("confounder.modality", Kind::Choice(&["both", "img", "txt"]), Lane, "modalities the confounder acts on"),
    param("model.hidden_img", int(1, 4096), Structure, "hidden units of the image encoder"),
    param("model.hidden_txt", int(1, 4096), Structure, "hidden units of the text encoder"),
    param("model.embedding", int(2, 1024), Structure, "dimension of the shared embedding"),
    later("model.output_gain_img", GAIN, Lane, "factor of the image encoder's output, before normalisation"),
    later("model.output_gain_txt", GAIN, Lane, "factor of the text encoder's output, before normalisation"),
    param("train.steps", int(0, 1 << 24), Structure, "optimiser steps"),
    param("train.batch_size", int(2, 1 << 16), Structure, "pairs per minibatch"),
    param("train.temperature", float(1e-3, 100.0), Lane, "temperature that divides the cosine similarities"),
    param("train.weight_i2t", float(0.0, 100.0), Lane, "weight of the image-to-text loss"),
    param("train.weight_t2i", float(0.0, 100.0), Lane, "weight of the text-to-image loss"),
    param("train.optimiser", Kind::Choice(&["sgd", "adamw"]), Structure, "update rule"),
    param("train.learning_rate", float(0.0, 1e4), Lane, "learning rate"),
    param("train.momentum", float(0.0, 1.0), Lane, "SGD momentum; AdamW does not read it"),
    param("train.beta1", float(0.0, 0.999_999), Lane, "AdamW first-moment decay"),
    param("train.beta2", float(0.0, 0.999_999_9), Lane, "AdamW second-moment decay"),
    param("train.epsilon", positive(1.0), Lane, "AdamW denominator offset"),
    param(
        "train.weight_decay",
        float(0.0, 100.0),
        Lane,
        "weight decay: added to the gradient (SGD) or decoupled (AdamW)",
    ),
    param("train.clip_norm", float(0.0, 1e9), Switch, "largest gradient norm per modality; 0 switches clipping off"),
    later(
        "train.warmup_steps",
        int(0, 1 << 24),
        Lane,
        "steps over which the learning rate rises linearly to its value; 0 switches warm-up off",
    ),
    later(
        "train.embedding_l2",
        float(0.0, 1e6),
        Switch,
        "coefficient of the mean squared length of raw embeddings in the loss",
    ),
    later(
        "train.variance_weight",
        float(0.0, 1e6),
        Switch,
        "weight of the variance term in the loss: VICReg's, on embeddings of unit length times the root of their dimension, where VICReg has raw ones",
    ),
    later(
        "train.covariance_weight",
        float(0.0, 1e6),
        Switch,
        "weight of the covariance term in the loss: VICReg's, on embeddings of unit length times the root of their dimension, where VICReg has raw ones",
    ),
    later(
        "train.redundancy_weight",
        float(0.0, 1e6),
        Switch,
        "weight of the redundancy-reduction term in the loss: that of Barlow Twins, between the axes of images and texts, on embeddings of unit length",
    ),
    later(
        "train.redundancy_off_diagonal",
        float(0.0, 1e6),
        Lane,
        "share of the off-diagonal cross-correlations in the redundancy-reduction term",
    ),
    later(
        "train.balance",
        float(0.0, 0.999_999),
        Switch,
        "rate at which the weights of the two directions follow their gradient norms; 0 keeps them fixed",
    ),
    recorded(
        "score.temperature",
        float(0.0, 100.0),
        Lane,
        "temperature that divides the cosine similarities where they are scored; 0 takes that of training",
    ),
    param("stop.every", int(1, 1 << 24), Structure, "steps between checks of the stop rules"),
    param(
        "stop.effective_rank_below",
        float(0.0, 1e6),
        Lane,
        "a cell has collapsed when an effective rank on the validation split is below this; 0 switches the rule off",
    ),
    param(
        "stop.mean_cosine_above",
        float(-1.0, 1.0),
        Lane,
        "a cell has collapsed when a mean cosine on the validation split is above this; 1 switches the rule off",
    ),
    later(
        "stop.variance_below",
        float(0.0, 1.0),
        Lane,
        "a cell has collapsed when the least coordinate variance of a modality on the validation split is below this; 0 \
         switches the rule off",
    ),
    later(
        "stop.hub_gini_above",
        float(0.0, 1.0),
        Lane,
        "a cell has collapsed when a hub Gini coefficient on the validation split is above this; 1 switches the rule off",
    ),
    later(
        "stop.symmetry_gap_above",
        float(0.0, 1.0),
        Lane,
        "a cell has collapsed when retrieval@1 of the two directions on the validation split differs by more than this; \
         1 switches the rule off",
    ),
    later(
        "stop.gradient_norm_above",
        float(0.0, 1e9),
        Lane,
        "a cell is unstable, and recorded as collapsed, when a modality's gradient norm, before clipping, at the step \
         before a check is above this; 0 switches the rule off",
    ),
    later(
        "stop.patience",
        int(1, 1 << 24),
        Lane,
        "consecutive checks at which a stop rule must be violated before it counts",
    ),
    param("stop.freeze", Kind::Bool, Structure, "stop training a collapsed cell; false only records it"),
    recorded(
        "warn.effective_rank_below",
        float(0.0, 1e6),
        Lane,
        "the first check of the stop rules with a validation effective rank below this is recorded, and nothing stops; \
         0 switches the warning off",
    ),
    recorded(
        "warn.mean_cosine_above",
        float(-1.0, 1.0),
        Lane,
        "as warn.effective_rank_below, for a mean cosine above this; 1 switches the warning off",
    ),
    recorded(
        "warn.variance_below",
        float(0.0, 1.0),
        Lane,
        "as warn.effective_rank_below, for a least coordinate variance below this; 0 switches the warning off",
    ),
    recorded(
        "warn.hub_gini_above",
        float(0.0, 1.0),
        Lane,
        "as warn.effective_rank_below, for a hub Gini coefficient above this; 1 switches the warning off",
    ),
    recorded(
        "warn.symmetry_gap_above",
        float(0.0, 1.0),
        Lane,
        "as warn.effective_rank_below, for retrieval@1 of both directions further apart than this; 1 switches the \
         warning off",
    ),
    recorded(
        "warn.gradient_norm_above",
        float(0.0, 1e9),
        Lane,
        "as warn.effective_rank_below, for a modality's gradient norm above this; 0 switches the warning off",
    ),
    recorded(
        "checkpoint.select",
        Kind::Choice(&["last", "best"]),
        Structure,
        "which parameters of a cell are measured: those at its end, or those at the best candidate step. The best has the \
         highest validation retrieval@1, the mean of both directions, of the candidates that break no floor and no stop \
         rule but that on gradient norms. It is the earliest of equals, and the end where there is no candidate. Status, reason and steps stay those of the training: a cell \
         that collapsed stays collapsed, and its metrics are those of its checkpoint; a diverged cell has no metrics",
    ),
    recorded(
        "checkpoint.every",
        int(1, 1 << 24),
        Structure,
        "steps between candidates of select = \"best\"; the last step is one too, the untrained cell is none",
    ),
    recorded(
        "checkpoint.effective_rank_floor",
        float(0.0, 1e6),
        Lane,
        "a candidate needs validation effective ranks of at least this; 0 switches the floor off",
    ),
    recorded(
        "checkpoint.variance_floor",
        float(0.0, 1.0),
        Lane,
        "a candidate needs a least coordinate variance of at least this in both modalities on the validation split; 0 \
         switches the floor off",
    ),
    recorded(
        "checkpoint.symmetry_gap_ceiling",
        float(0.0, 1.0),
        Lane,
        "retrieval@1 of the two directions of a candidate may differ by this on the validation split; 1 switches the \
         ceiling off",
    ),
    Param {
        path: "curves.every",
        kind: int(0, 1 << 24),
        role: Structure,
        doc: "steps between points of the loss and gradient curves; 0 switches curves off",
        trains: false,
        late: false,
    },
    Param {
        path: "curves.validate_every",
        kind: int(0, 1 << 24),
        role: Structure,
        doc: "steps between validation points of the curves; 0 switches them off",
        trains: false,
        late: false,
    },
    recorded(
        "curves.structure_every",
        int(0, 1 << 24),
        Structure,
        "steps between points of the costlier series, effective ranks and separabilities; 0 records the effective ranks \
         at every validation point, and no separabilities",
    ),
];

/// The entry of [`PARAMS`] for `path`.
pub fn param_at(path: &str) -> Option<&'static Param> {
    PARAMS.iter().find(|p| p.path == path)
}
