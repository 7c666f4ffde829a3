//! The resolved configuration of one cell: every number that decides what is trained and what is recorded.
//!
//! [`PARAMS`] describes each field once: its path, type, range, default and role. Spec checking, `--set` and `--axis`,
//! help, the schema and the cell id all derive from it; a test holds the structs to it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::{Field, Scalar};

/// What a parameter accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A finite real number with `min <= x <= max` (`min < x` when `open`).
    Float { min: f64, max: f64, open: bool },
    /// An integer with `min <= x <= max`.
    Int { min: u64, max: u64 },
    /// `true` or `false`.
    Bool,
    /// One of a fixed set of names.
    Choice(&'static [&'static str]),
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

macro_rules! sections {
    ($($name:ident { $($field:ident : $ty:ty = $default:expr),* $(,)? })*) => {$(
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $(pub $field: $ty),* }
        impl Default for $name {
            fn default() -> Self { Self { $($field: $default),* } }
        }
        impl Field for $name {
            fn scalars_into(&self, out: &mut Vec<Scalar>) { $(self.$field.scalars_into(out);)* }
            fn assign(&mut self, at: &mut usize, value: &Value) { $(self.$field.assign(at, value);)* }
        }
    )*};
}

/// What the text encoder sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextFeatures {
    BagOfTokens,
    TokenPosition,
    /// Tokens, and pairs of neighbours.
    BagOfNgrams,
}

/// How wrong pairs are made (W6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairingKind {
    /// Pairs of samples exchange their texts.
    Swap,
    /// As `swap`, between samples of the same shape.
    GroupSwap,
    /// A run of samples takes the text of the next sample, as after an off-by-one join.
    Offset,
    /// Texts are permuted inside blocks of consecutive samples.
    Block,
}

/// Which splits the pairing corruption touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppliesTo {
    Train,
    Eval,
    Both,
}

/// What both modalities carry beside the factors (W7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfounderKind {
    /// A random code of each sample in a subspace that the modalities share.
    IdCodebook,
    /// One of four patterns over the image, one of four tokens.
    Watermark,
    /// Whether the sample's index is even or odd: a corner of the image, a token.
    Parity,
    /// One of eight groups: a piece of the image's border, a token.
    GroupTags,
}

/// Which modalities a confounder acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfounderModality {
    Both,
    Img,
    Txt,
}

/// How much of the measurement panel is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Panel {
    Fast,
    Full,
}

/// Which parameters of a cell are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// Those at its end.
    Last,
    /// Those at the candidate step with the best validation retrieval among candidates that keep every floor.
    Best,
}

/// The update rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimiser {
    Sgd,
    Adamw,
}

sections! {
    WorldConfig { image_size: u64 = 16, n_train: u64 = 4096, n_validation: u64 = 512, n_test: u64 = 512 }
    ImageConfig {
        noise: f64 = 0.0,
        mask: f64 = 0.0,
        occlusion: f64 = 0.0,
        blur: f64 = 0.0,
        band: f64 = 0.0,
        band_frequency: f64 = 2.0,
        quantisation: f64 = 0.0,
        compression: f64 = 0.0,
        gain: f64 = 1.0,
    }
    TextConfig {
        features: TextFeatures = TextFeatures::BagOfTokens,
        dropout: f64 = 0.0,
        substitution: f64 = 0.0,
        coarsening: f64 = 0.0,
        swap: f64 = 0.0,
        jitter: f64 = 0.0,
        insertion: f64 = 0.0,
        gain: f64 = 1.0,
    }
    PairingConfig {
        rate: f64 = 0.0,
        kind: PairingKind = PairingKind::Swap,
        applies_to: AppliesTo = AppliesTo::Train,
        block_size: u64 = 16,
    }
    ConfounderConfig {
        kind: ConfounderKind = ConfounderKind::IdCodebook,
        strength: f64 = 0.0,
        prevalence: f64 = 1.0,
        semantics: bool = true,
        randomised: bool = false,
        modality: ConfounderModality = ConfounderModality::Both,
    }
    ModelConfig {
        hidden_img: u64 = 64,
        hidden_txt: u64 = 64,
        embedding: u64 = 32,
        output_gain_img: f64 = 1.0,
        output_gain_txt: f64 = 1.0,
    }
    TrainConfig {
        steps: u64 = 600,
        batch_size: u64 = 256,
        temperature: f64 = 0.07,
        weight_i2t: f64 = 0.5,
        weight_t2i: f64 = 0.5,
        optimiser: Optimiser = Optimiser::Sgd,
        learning_rate: f64 = 0.05,
        momentum: f64 = 0.9,
        beta1: f64 = 0.9,
        beta2: f64 = 0.999,
        epsilon: f64 = 1e-8,
        weight_decay: f64 = 0.0,
        clip_norm: f64 = 0.0,
        warmup_steps: u64 = 0,
        embedding_l2: f64 = 0.0,
        variance_weight: f64 = 0.0,
        covariance_weight: f64 = 0.0,
        redundancy_weight: f64 = 0.0,
        redundancy_off_diagonal: f64 = 0.005,
        balance: f64 = 0.0,
    }
    ScoreConfig { temperature: f64 = 0.0 }
    StopConfig {
        every: u64 = 50,
        effective_rank_below: f64 = 0.0,
        mean_cosine_above: f64 = 1.0,
        variance_below: f64 = 0.0,
        hub_gini_above: f64 = 1.0,
        symmetry_gap_above: f64 = 1.0,
        gradient_norm_above: f64 = 0.0,
        patience: u64 = 1,
        freeze: bool = true,
    }
    WarnConfig {
        effective_rank_below: f64 = 0.0,
        mean_cosine_above: f64 = 1.0,
        variance_below: f64 = 0.0,
        hub_gini_above: f64 = 1.0,
        symmetry_gap_above: f64 = 1.0,
        gradient_norm_above: f64 = 0.0,
    }
    CheckpointConfig {
        select: Select = Select::Last,
        every: u64 = 50,
        effective_rank_floor: f64 = 0.0,
        variance_floor: f64 = 0.0,
        symmetry_gap_ceiling: f64 = 1.0,
    }
    CurvesConfig { every: u64 = 10, validate_every: u64 = 50, structure_every: u64 = 0 }
    Config {
        seed: u64 = 0,
        panel: Panel = Panel::Fast,
        world: WorldConfig = WorldConfig::default(),
        image: ImageConfig = ImageConfig::default(),
        text: TextConfig = TextConfig::default(),
        pairing: PairingConfig = PairingConfig::default(),
        confounder: ConfounderConfig = ConfounderConfig::default(),
        model: ModelConfig = ModelConfig::default(),
        train: TrainConfig = TrainConfig::default(),
        score: ScoreConfig = ScoreConfig::default(),
        stop: StopConfig = StopConfig::default(),
        warn: WarnConfig = WarnConfig::default(),
        checkpoint: CheckpointConfig = CheckpointConfig::default(),
        curves: CurvesConfig = CurvesConfig::default(),
    }
}

const fn float(min: f64, max: f64) -> Kind {
    Kind::Float { min, max, open: false }
}
const fn positive(max: f64) -> Kind {
    Kind::Float { min: 0.0, max, open: true }
}
const fn int(min: u64, max: u64) -> Kind {
    Kind::Int { min, max }
}
const fn param(path: &'static str, kind: Kind, role: Role, doc: &'static str) -> Param {
    Param { path, kind, role, doc, trains: true, late: false }
}

/// A parameter that stored cells may not know: see [`Param::late`].
#[allow(dead_code)]
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
        "probability, per token, that a token that says nothing follows it, on every split",
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
    param(
        "train.momentum",
        Kind::Float { min: 0.0, max: 1.0, open: false },
        Lane,
        "SGD momentum; AdamW does not read it",
    ),
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
        "weight of the variance term in the loss, as in VICReg, on normalised embeddings",
    ),
    later(
        "train.covariance_weight",
        float(0.0, 1e6),
        Switch,
        "weight of the covariance term in the loss, as in VICReg, on normalised embeddings",
    ),
    later(
        "train.redundancy_weight",
        float(0.0, 1e6),
        Switch,
        "weight of the redundancy-reduction term in the loss, as in Barlow Twins",
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
        "which parameters of a cell are measured: those at its end, or those at the candidate step with the highest mean \
         validation retrieval@1 of both directions among the candidates that break no floor and no stop rule (the \
         earliest of equals; the end where there is none). Status, reason and steps stay those of the training: a cell \
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

impl ModelConfig {
    /// Factors of the encoders' outputs: image, text.
    pub fn output_gains(&self) -> [f64; 2] {
        [self.output_gain_img, self.output_gain_txt]
    }
}

impl TrainConfig {
    /// The learning rate of a step, which counts from 1: from `1 / warmup_steps` of its value to all of it.
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        match step < self.warmup_steps {
            true => self.learning_rate * (step as f64 / self.warmup_steps as f64),
            false => self.learning_rate,
        }
    }
}

/// The entry of [`PARAMS`] for `path`.
pub fn param_at(path: &str) -> Option<&'static Param> {
    PARAMS.iter().find(|p| p.path == path)
}

/// [`PARAMS`] by path: the order of the canonical form.
static BY_PATH: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let mut order: Vec<usize> = (0..PARAMS.len()).collect();
    order.sort_by_key(|index| PARAMS[*index].path);
    order
});

/// The scalars of the default configuration, in the order of [`PARAMS`].
static DEFAULTS: LazyLock<Vec<Scalar>> = LazyLock::new(|| Config::default().in_order());

/// Calls `each` with every scalar of a JSON object and its dotted path, sorted by path inside each object.
pub fn walk<'a>(value: &'a Value, each: &mut dyn FnMut(&str, &'a Value)) {
    fn below<'a>(path: &mut String, value: &'a Value, each: &mut dyn FnMut(&str, &'a Value)) {
        let Value::Object(map) = value else { return each(path, value) };
        let length = path.len();
        for (key, inner) in map {
            if length > 0 {
                path.push('.');
            }
            path.push_str(key);
            below(path, inner, each);
            path.truncate(length);
        }
    }
    below(&mut String::new(), value, each);
}

/// The scalars of a JSON object by dotted path, sorted.
pub fn flatten(value: &Value) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    walk(value, &mut |path, scalar| {
        out.insert(path.to_string(), scalar.clone());
    });
    out
}

impl Config {
    /// Every scalar by dotted path, sorted: the canonical form that ids hash.
    pub fn scalars(&self) -> BTreeMap<String, Value> {
        flatten(&serde_json::to_value(self).expect("a config is plain data"))
    }

    /// Hash of the whole configuration: 32 hex digits. Two cells with the same id have the same results.
    pub fn cell_id(&self) -> String {
        self.hash("cliffline 2026-11 cell v1", |_| true)
    }

    /// Hash of the part that decides what is trained: cells that differ only in what they record share it.
    pub fn train_id(&self) -> String {
        self.hash("cliffline 2026-11 train v1", |p| p.trains)
    }

    /// Key of the packs this cell may join: all structure, and which switches are on.
    pub fn pack_key(&self) -> String {
        let mut key = String::with_capacity(512);
        for (param, scalar) in PARAMS.iter().zip(self.in_order()) {
            if param.role == Lane {
                continue;
            }
            if !key.is_empty() {
                key.push(' ');
            }
            key.push_str(param.path);
            key.push('=');
            match param.role {
                // Writing to a String cannot fail.
                Switch => drop(write!(key, "{}", scalar != Scalar::Float(0.0))),
                Structure | Lane => scalar.write_json(param.kind, &mut key),
            }
        }
        key
    }

    /// Every scalar, in the order of [`PARAMS`].
    fn in_order(&self) -> Vec<Scalar> {
        let mut scalars = Vec::with_capacity(PARAMS.len());
        self.scalars_into(&mut scalars);
        scalars
    }

    /// Sets the scalar of a parameter; None, with nothing changed, for a value of another type.
    pub(super) fn try_set(&mut self, param: &Param, value: &Value) -> Option<()> {
        let fits = match param.kind {
            Kind::Float { .. } => value.as_f64().is_some(),
            Kind::Int { .. } => value.as_u64().is_some(),
            Kind::Bool => value.is_boolean(),
            Kind::Choice(names) => names.iter().any(|name| Some(*name) == value.as_str()),
        };
        fits.then(|| self.set(param, value))
    }

    /// Sets the scalar of a parameter to a value that was checked against it.
    pub(crate) fn set(&mut self, param: &Param, value: &Value) {
        let index = PARAMS.iter().position(|known| known.path == param.path);
        let mut at = index.expect("the parameter is of the registry");
        self.assign(&mut at, value);
    }

    /// Hash of the canonical form: a JSON object of the kept scalars, sorted by path. It is written here without making
    /// an object first, because plans of many cells wait for it.
    fn hash(&self, context: &str, keep: impl Fn(&Param) -> bool) -> String {
        let scalars = self.in_order();
        let mut canonical = String::with_capacity(1024);
        for &index in BY_PATH.iter() {
            let (param, scalar) = (&PARAMS[index], scalars[index]);
            // A switch that is off, or a later parameter at its default, is left out: what is added later leaves the
            // ids of cells without it as they are.
            let off = param.role == Switch && scalar == Scalar::Float(0.0);
            if !keep(param) || off || param.late && scalar == DEFAULTS[index] {
                continue;
            }
            canonical.push(if canonical.is_empty() { '{' } else { ',' });
            // Writing to a String cannot fail.
            let _ = write!(canonical, "\"{}\":", param.path);
            scalar.write_json(param.kind, &mut canonical);
        }
        canonical.push('}');
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(canonical.as_bytes());
        hasher.finalize().to_hex()[..32].to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn registry_and_structs_name_the_same_scalars() {
        let fields: Vec<String> = Config::default().scalars().into_keys().collect();
        let mut registry: Vec<String> = PARAMS.iter().map(|p| p.path.to_string()).collect();
        registry.sort();
        assert_eq!(fields, registry);
    }

    #[test]
    fn ids_follow_the_values_and_train_id_ignores_what_only_records() {
        let base = Config::default();
        let mut hotter = base.clone();
        hotter.train.temperature = 0.5;
        assert_ne!(base.cell_id(), hotter.cell_id());
        assert_ne!(base.train_id(), hotter.train_id());
        assert_eq!(base.pack_key(), hotter.pack_key());
        let mut quiet = base.clone();
        quiet.curves.every = 0;
        assert_ne!(base.cell_id(), quiet.cell_id());
        assert_eq!(base.train_id(), quiet.train_id());
        let mut noisy = base.clone();
        noisy.image.noise = 0.1;
        assert_ne!(base.pack_key(), noisy.pack_key());
        assert_ne!(base.cell_id(), noisy.cell_id());
        // Pinned: an id that changes orphans every stored cell.
        assert_eq!(base.cell_id(), "0b95c9342389f7bbdb964005d8ee6840");
    }

    /// A value that a parameter accepts, from a number between 0 and 1 and some bits.
    fn accepted(param: &Param, share: f64, bits: u64) -> Value {
        match param.kind {
            Kind::Float { min, max, .. } => match bits % 3 {
                0 => Value::from(max),
                1 => Value::from(min.max(1e-12)),
                _ => Value::from(min + share * share * share * (max - min)),
            },
            Kind::Int { min, max } => Value::from(min + bits % (max - min + 1)),
            Kind::Bool => Value::from(bits.is_multiple_of(2)),
            Kind::Choice(names) => Value::from(names[bits as usize % names.len()]),
        }
    }

    /// What ids and pack keys are by definition, through JSON objects.
    fn by_definition(config: &Config, context: &str, keep: impl Fn(&Param) -> bool) -> (String, String) {
        let scalars = config.scalars();
        let off = |p: &Param| p.role == Switch && scalars[p.path].as_f64() == Some(0.0);
        let defaults = Config::default().scalars();
        let late = |p: &Param| p.late && scalars[p.path] == defaults[p.path];
        let kept: BTreeMap<_, _> =
            PARAMS.iter().filter(|p| keep(p) && !off(p) && !late(p)).map(|p| (p.path, &scalars[p.path])).collect();
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(serde_json::to_string(&kept).expect("plain data").as_bytes());
        let parts = PARAMS.iter().filter_map(|p| match p.role {
            Structure => Some(format!("{}={}", p.path, scalars[p.path])),
            Switch => Some(format!("{}={}", p.path, !off(p))),
            Lane => None,
        });
        (hasher.finalize().to_hex()[..32].to_string(), parts.collect::<Vec<_>>().join(" "))
    }

    proptest! {
        #[test]
        fn scalars_are_set_and_hashed_as_their_json_is(draws in proptest::collection::vec((0.0..1.0f64, any::<u64>()), PARAMS.len())) {
            let mut config = Config::default();
            for (param, (share, bits)) in PARAMS.iter().zip(draws) {
                let off = param.role == Switch && bits.is_multiple_of(5);
                let value = if off { Value::from(0.0) } else { accepted(param, share, bits) };
                config.set(param, &value);
                prop_assert_eq!(&config.scalars()[param.path], &value, "{}", param.path);
            }
            let (cell, key) = by_definition(&config, "cliffline 2026-11 cell v1", |_| true);
            let (train, _) = by_definition(&config, "cliffline 2026-11 train v1", |p| p.trains);
            prop_assert_eq!((config.cell_id(), config.train_id(), config.pack_key()), (cell, train, key));
        }
    }
}
