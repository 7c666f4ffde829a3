//! What disturbs an observation while the factors stay as they are.
//!
//! A perturbation is one file and one line of [`PERTURBATIONS`]. Each takes an observation elementwise to another,
//! `(x, draw, background, strength) -> x`, with draws that do not depend on the strength: strengths of one seed share
//! them, so that curves over a strength are smooth. The training program applies the same formulas on the device;
//! what is here is their reference, and what the host uses.

mod gaussian_noise;
mod mask;
mod token_dropout;

use crate::spec::config::Config;
use crate::world::sample::Split;
use crate::world::{Modality, confounder};

pub use gaussian_noise::PERTURBATION as GAUSSIAN_NOISE;
pub use mask::PERTURBATION as MASK;
pub use token_dropout::PERTURBATION as TOKEN_DROPOUT;

/// One way to disturb the observations of one modality.
#[derive(Clone, Copy, Debug)]
pub struct Perturbation {
    pub name: &'static str,
    /// Path of its strength in the configuration. Strength 0 is the identity, bit for bit.
    pub path: &'static str,
    pub modality: Modality,
    /// What it does, in one line.
    pub doc: &'static str,
    /// Its strength in a configuration.
    pub strength: fn(&Config) -> f64,
    /// Its draws for a split, `[N, P]` row by row, the same at every strength.
    pub draws: fn(&Split) -> Vec<f32>,
    /// One disturbed feature from the feature, its draw, its background and the strength.
    pub apply: fn(f32, f32, f32, f32) -> f32,
}

/// Every perturbation, in the order in which they act on one observation.
pub const PERTURBATIONS: &[Perturbation] = &[GAUSSIAN_NOISE, MASK, TOKEN_DROPOUT];

/// The observations of a split as the encoder of `modality` sees them under the strengths of `config`: a confounder is
/// part of what is observed, so it comes before the perturbations.
///
/// **Shapes.** `[N, P]` row by row.
///
/// **Returns.** Normalised features. With all strengths at 0, the clean observations bit for bit.
///
/// **Numerics.** f32 without fused multiply-add; a device that fuses may differ in the last bit.
pub fn observed(split: &Split, modality: Modality, config: &Config) -> Vec<f32> {
    let clean = split.observations(modality);
    let mut x = clean.clean.clone();
    confounder::add(split, modality, &config.confounder, &mut x);
    for perturbation in PERTURBATIONS.iter().filter(|p| p.modality == modality) {
        let strength = (perturbation.strength)(config) as f32;
        if strength != 0.0 {
            let draws = (perturbation.draws)(split);
            apply(perturbation, &mut x, &draws, &clean.background, strength);
        }
    }
    x
}

/// Applies `perturbation` in place. `x` and `draws` are `[N, P]`, `background` is `[P]`.
fn apply(perturbation: &Perturbation, x: &mut [f32], draws: &[f32], background: &[f32], strength: f32) {
    // A world has at least one feature per modality; chunks of none would panic.
    let p = background.len().max(1);
    for (row, draws) in x.chunks_mut(p).zip(draws.chunks(p)) {
        for ((x, &draw), &background) in row.iter_mut().zip(draws).zip(background) {
            *x = (perturbation.apply)(*x, draw, background, strength);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::spec::config::{Kind, Role, TextFeatures, WorldConfig, param_at};
    use crate::world::{SplitName, World};

    const SMALL: WorldConfig = WorldConfig { image_size: 8, n_train: 64, n_validation: 8, n_test: 8 };

    fn worlds() -> [World; 2] {
        [TextFeatures::BagOfTokens, TextFeatures::TokenPosition]
            .map(|features| World::generate(0, &SMALL, features).expect("a sound configuration"))
    }

    fn clean_of(split: &Split, perturbation: &Perturbation) -> (Vec<f32>, Vec<f32>) {
        let observations = match perturbation.modality {
            Modality::Image => &split.img,
            Modality::Text => &split.txt,
        };
        (observations.clean.clone(), observations.background.clone())
    }

    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|v| v.to_bits()).collect()
    }

    fn at(split: &Split, perturbation: &Perturbation, strength: f32) -> Vec<f32> {
        let (mut x, background) = clean_of(split, perturbation);
        apply(perturbation, &mut x, &(perturbation.draws)(split), &background, strength);
        x
    }

    #[test]
    fn registry_entries_are_unique_documented_and_configurable() {
        let unique = |of: fn(&Perturbation) -> &'static str| PERTURBATIONS.iter().map(of).collect::<BTreeSet<_>>();
        assert_eq!(unique(|p| p.name).len(), PERTURBATIONS.len());
        assert_eq!(unique(|p| p.path).len(), PERTURBATIONS.len());
        for perturbation in PERTURBATIONS {
            assert!(perturbation.doc.len() > 20, "{} says too little", perturbation.name);
            let param = param_at(perturbation.path).expect("its path is a parameter");
            assert!(matches!(param.kind, Kind::Float { min: 0.0, open: false, .. }), "{}", perturbation.path);
            assert_eq!(param.role, Role::Switch, "zero strength of {} must leave the program alone", perturbation.name);
            assert_eq!((perturbation.strength)(&Config::default()), 0.0);
        }
    }

    #[test]
    fn strengths_are_read_from_the_path_that_names_them() {
        for perturbation in PERTURBATIONS {
            let mut tree = serde_json::to_value(Config::default()).expect("plain data");
            let pointer = format!("/{}", perturbation.path.replace('.', "/"));
            *tree.pointer_mut(&pointer).expect("a known path") = 0.25.into();
            let config: Config = serde_json::from_value(tree).expect("a valid configuration");
            assert_eq!((perturbation.strength)(&config), 0.25, "{}", perturbation.name);
        }
    }

    #[test]
    fn zero_strength_is_the_identity_bit_for_bit_and_a_half_is_not() {
        for world in worlds() {
            let split = world.split(SplitName::Train);
            for perturbation in PERTURBATIONS {
                let (clean, _) = clean_of(split, perturbation);
                assert_eq!(bits(&at(split, perturbation, 0.0)), bits(&clean), "{}", perturbation.name);
                assert_ne!(bits(&at(split, perturbation, 0.5)), bits(&clean), "{}", perturbation.name);
            }
            for modality in Modality::ALL {
                let observations = if modality == Modality::Image { &split.img } else { &split.txt };
                assert_eq!(bits(&observed(split, modality, &Config::default())), bits(&observations.clean));
            }
        }
    }

    #[test]
    fn zero_strength_keeps_a_feature_even_at_the_edge_of_the_draws() {
        for perturbation in PERTURBATIONS {
            for draw in [0.0, 1.0 - f32::EPSILON / 2.0] {
                assert_eq!((perturbation.apply)(1.5, draw, -2.0, 0.0), 1.5, "{}", perturbation.name);
            }
        }
    }

    #[test]
    fn draws_fill_the_shape_are_finite_and_stay_with_the_sample_when_splits_change() {
        let other = WorldConfig { n_train: 80, ..SMALL };
        let other = World::generate(0, &other, TextFeatures::BagOfTokens).expect("a sound configuration");
        let [world, _] = worlds();
        for perturbation in PERTURBATIONS {
            let split = world.split(SplitName::Train);
            let draws = (perturbation.draws)(split);
            assert_eq!(draws.len(), clean_of(split, perturbation).0.len());
            assert!(draws.iter().all(|d| d.is_finite()));
            let elsewhere = other.split(SplitName::Train);
            let moved = (perturbation.draws)(elsewhere);
            let shared = split.index.iter().position(|i| elsewhere.index.contains(i)).expect("a shared sample");
            let there = elsewhere.index.iter().position(|i| *i == split.index[shared]).expect("just found");
            let ratio = split.img.scale / elsewhere.img.scale;
            for j in 0..64 {
                // Noise is in units of its world's scale; the other draws have none.
                let (a, b) = (f64::from(draws[shared * 64 + j]), f64::from(moved[there * 64 + j]));
                assert!((a - b).abs() < 1e-6 || (a * ratio - b).abs() < 1e-6, "{}: {a} is not {b}", perturbation.name);
            }
        }
    }

    #[test]
    fn image_perturbations_act_in_the_order_of_the_registry() {
        let [world, _] = worlds();
        let split = world.split(SplitName::Test);
        let mut config = Config::default();
        (config.image.noise, config.image.mask) = (0.3, 0.5);
        let both = observed(split, Modality::Image, &config);
        config.image.mask = 0.0;
        let noisy = observed(split, Modality::Image, &config);
        let masked = (MASK.draws)(split);
        for (i, x) in both.iter().enumerate() {
            // Noise does not show through the mask.
            let expected = if masked[i] >= 0.5 { noisy[i] } else { split.img.background[i % 64] };
            assert_eq!(x.to_bits(), expected.to_bits());
        }
    }
}
