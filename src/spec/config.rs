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
use super::params::Role::{Lane, Structure, Switch};
use super::params::{Kind, PARAMS, Param};

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
    /// Most points that are recorded of a cell: of its curves, and of the checkpoints among which one is selected.
    pub fn recorded_points(&self) -> u64 {
        self.recorded_points_by_key().iter().map(|(_, points)| points).sum()
    }

    /// Those points by the key that asks for them.
    pub fn recorded_points_by_key(&self) -> [(&'static str, u64); 4] {
        // The untrained cell and the last step are points beside the multiples.
        let points = |every: u64| self.train.steps.checked_div(every).map_or(0, |multiples| multiples + 2);
        let candidates = if self.checkpoint.select == Select::Best { self.checkpoint.every } else { 0 };
        [
            ("curves.every", points(self.curves.every)),
            ("curves.validate_every", points(self.curves.validate_every)),
            ("curves.structure_every", points(self.curves.structure_every)),
            ("checkpoint.every", points(candidates)),
        ]
    }

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

    /// The values at paths of the registry, in their order.
    pub fn values_at<'a>(&self, paths: impl Iterator<Item = &'a str>) -> Vec<Value> {
        let scalars = self.in_order();
        let index = |path: &str| PARAMS.iter().position(|param| param.path == path);
        paths.filter_map(index).map(|index| scalars[index].value(PARAMS[index].kind)).collect()
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
