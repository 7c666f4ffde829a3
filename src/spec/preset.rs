//! Named starting points: a spec's keys override those of its preset.

use super::config::Config;

/// A named configuration.
pub struct Preset {
    pub name: &'static str,
    /// What it is for.
    pub doc: &'static str,
    pub config: fn() -> Config,
}

/// Every preset; the first is used when a spec names none.
pub const PRESETS: &[Preset] = &[
    Preset { name: "baseline", doc: "every parameter at its default", config: Config::default },
    Preset { name: "tiny", doc: "8 x 8 images, 16 hidden units, 40 steps: for tests and smoke sweeps", config: tiny },
    Preset {
        name: "reference",
        doc: "the workload of speed claims: plain SGD, no curves, evaluated once",
        config: reference,
    },
];

/// The preset called `name`.
pub fn preset_named(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

fn tiny() -> Config {
    let mut config = Config::default();
    config.world.image_size = 8;
    config.world.n_train = 1024;
    config.world.n_validation = 128;
    config.world.n_test = 128;
    config.model.hidden_img = 16;
    config.model.hidden_txt = 16;
    config.model.embedding = 8;
    config.train.batch_size = 32;
    config.train.steps = 40;
    config.curves.every = 10;
    config.curves.validate_every = 20;
    config.stop.every = 20;
    config
}

/// Every number the workload is defined by is written out, so that a changed default cannot change it.
fn reference() -> Config {
    let mut config = Config::default();
    config.world.image_size = 16;
    config.world.n_train = 4096;
    config.world.n_validation = 512;
    config.world.n_test = 512;
    config.model.hidden_img = 64;
    config.model.hidden_txt = 64;
    config.model.embedding = 32;
    config.train.batch_size = 256;
    config.train.steps = 300;
    config.train.optimiser = super::config::Optimiser::Sgd;
    config.train.momentum = 0.0;
    config.train.weight_decay = 0.0;
    config.curves.every = 0;
    config.curves.validate_every = 0;
    config
}

#[cfg(test)]
mod tests {
    use super::super::params::param_at;
    use super::super::scalar::check;
    use super::super::tree::{At, parse_value};
    use super::*;
    use crate::spec::Site;

    #[test]
    fn presets_are_named_once_documented_and_in_range() {
        for (index, preset) in PRESETS.iter().enumerate() {
            assert!(!preset.doc.is_empty());
            assert!(PRESETS[..index].iter().all(|other| other.name != preset.name), "{} twice", preset.name);
            for (path, value) in (preset.config)().scalars() {
                let param = param_at(&path).expect("every scalar is registered");
                let site = Site { source: 0, start: 0, end: 0 };
                let node = At { value: parse_value(&value.to_string()), site };
                assert_eq!(check(param, &node).as_ref(), Ok(&value), "{path} of {}", preset.name);
            }
        }
    }
}
