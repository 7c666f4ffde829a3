//! Rules across the parameters of one cell, which no parameter can check alone.

use super::config::{AppliesTo, Config, PairingKind};

/// Most points that may be recorded of a cell. Of forty curves they take up to a hundred megabytes; a picture shows a
/// thousand.
const MOST_POINTS: u64 = 1 << 18;

/// One rule.
pub(super) struct Rule {
    /// The parameters it reads, the likeliest culprit first.
    pub paths: &'static [&'static str],
    /// What is wrong with a configuration that breaks it.
    pub broken: fn(&Config) -> Option<String>,
    /// What to do.
    pub help: &'static str,
}

pub(super) const RULES: &[Rule] = &[
    Rule {
        paths: &["train.batch_size", "world.n_train"],
        broken: minibatch,
        help: "lower train.batch_size or raise world.n_train",
    },
    Rule {
        paths: &["train.weight_i2t", "train.weight_t2i"],
        broken: weights,
        help: "give at least one direction of the loss a positive weight",
    },
    Rule {
        paths: &["pairing.block_size", "world.n_train", "world.n_validation", "world.n_test", "pairing.applies_to"],
        broken: blocks,
        help: "lower pairing.block_size or enlarge the split",
    },
    Rule {
        paths: &["image.band_frequency", "world.image_size", "image.band"],
        broken: band,
        help: "lower image.band_frequency or raise world.image_size",
    },
    Rule {
        paths: &[
            "curves.every",
            "curves.validate_every",
            "curves.structure_every",
            "checkpoint.every",
            "train.steps",
            "checkpoint.select",
        ],
        broken: points,
        help: "raise that key; curves.every, curves.validate_every and curves.structure_every record nothing at 0, and \
               checkpoint.every counts with checkpoint.select = \"best\" alone",
    },
];

fn minibatch(config: &Config) -> Option<String> {
    let (batch, n) = (config.train.batch_size, config.world.n_train);
    (batch > n).then(|| format!("a minibatch of {batch} pairs cannot be drawn from {n} training pairs"))
}

fn weights(config: &Config) -> Option<String> {
    let zero = config.train.weight_i2t == 0.0 && config.train.weight_t2i == 0.0;
    zero.then(|| "both directional weights are zero: there is no loss to train on".to_string())
}

fn blocks(config: &Config) -> Option<String> {
    let (pairing, world) = (&config.pairing, &config.world);
    if pairing.kind != PairingKind::Block || pairing.rate == 0.0 {
        return None;
    }
    let train = (world.n_train, "training");
    let eval = [(world.n_validation, "validation"), (world.n_test, "test")];
    let touched = match pairing.applies_to {
        AppliesTo::Train => vec![train],
        AppliesTo::Eval => eval.to_vec(),
        AppliesTo::Both => [[train].as_slice(), &eval].concat(),
    };
    let (n, split) = touched.into_iter().min()?;
    let size = pairing.block_size;
    (size > n).then(|| format!("blocks of {size} samples do not fit the {split} split, which has {n}"))
}

fn band(config: &Config) -> Option<String> {
    let (frequency, size) = (config.image.band_frequency, config.world.image_size);
    // Beyond, there may be no frequency of the grid in the octave, and then no noise.
    let beyond = config.image.band > 0.0 && frequency > size as f64 / 2.0;
    beyond.then(|| format!("{frequency} cycles per side are more than an image of {size} pixels a side can show"))
}

fn points(config: &Config) -> Option<String> {
    let points = config.recorded_points();
    let (key, most) = config.recorded_points_by_key().into_iter().max_by_key(|(_, points)| *points)?;
    (points > MOST_POINTS).then(|| {
        format!("{points} points would be recorded of a cell, {most} of them by {key}, and {MOST_POINTS} can be in all")
    })
}

#[cfg(test)]
mod tests {
    use super::super::params::param_at;
    use super::super::preset::PRESETS;
    use super::*;

    #[test]
    fn rules_name_parameters_and_presets_keep_them() {
        for rule in RULES {
            assert!(rule.paths.iter().all(|path| param_at(path).is_some()));
            // What looks like a key in the advice is one.
            let keys = rule.help.split([' ', ',', ';']).filter(|word| word.contains('.') && !word.ends_with('.'));
            keys.for_each(|key| assert!(param_at(key).is_some(), "{key}"));
            for preset in PRESETS {
                assert_eq!((rule.broken)(&(preset.config)()), None, "{}", preset.name);
            }
        }
    }

    #[test]
    fn blocks_must_fit_the_smallest_split_they_touch() {
        let mut config = Config::default();
        config.pairing.block_size = 600;
        assert_eq!(blocks(&config), None, "swaps have no blocks");
        config.pairing.kind = PairingKind::Block;
        assert_eq!(blocks(&config), None, "rate 0 makes none");
        config.pairing.rate = 0.1;
        assert_eq!(blocks(&config), None, "600 fit the 4096 training pairs");
        config.pairing.applies_to = AppliesTo::Both;
        assert!(blocks(&config).is_some(), "600 do not fit 512 test pairs");
        config.world.n_test = 600;
        config.world.n_validation = 600;
        assert_eq!(blocks(&config), None);
    }

    #[test]
    fn a_band_of_noise_must_be_one_that_the_image_can_show() {
        let mut config = Config::default();
        config.image.band_frequency = 9.0;
        assert_eq!(band(&config), None, "without noise its band does not matter");
        config.image.band = 0.1;
        assert!(band(&config).is_some(), "16 pixels show up to 8 cycles");
        config.world.image_size = 18;
        assert_eq!(band(&config), None);
    }

    #[test]
    fn a_cell_is_not_recorded_more_often_than_can_be_kept() {
        let mut config = Config::default();
        config.train.steps = 1 << 24;
        assert!(points(&config).is_some_and(|why| why.contains("2013269 points")), "{:?}", points(&config));
        (config.curves.every, config.curves.validate_every) = (100, 1000);
        assert_eq!(points(&config), None);
        (config.checkpoint.select, config.checkpoint.every) = (super::super::config::Select::Best, 1);
        let why = points(&config).expect("every step is a candidate");
        assert!(why.contains("16777218 of them by checkpoint.every"), "{why}");
        config.train.steps = 0;
        assert_eq!(points(&config), None);
    }

    #[test]
    fn one_positive_weight_is_enough() {
        let mut config = Config::default();
        config.train.weight_i2t = 0.0;
        assert_eq!(weights(&config), None);
        config.train.weight_t2i = 0.0;
        assert!(weights(&config).is_some());
    }
}
