//! What every perturbation must do, and all of them together.

use std::collections::BTreeSet;

use super::*;
use crate::spec::config::{TextFeatures, WorldConfig};
use crate::spec::{Kind, Role};
use crate::world::view::Setting;
use crate::world::{SplitName, World};

const SMALL: WorldConfig = WorldConfig { image_size: 8, n_train: 64, n_validation: 8, n_test: 8 };

const FEATURES: [TextFeatures; 3] = [TextFeatures::BagOfTokens, TextFeatures::TokenPosition, TextFeatures::BagOfNgrams];

fn worlds() -> [World; 3] {
    FEATURES.map(|features| World::generate(0, &SMALL, features).expect("a sound configuration"))
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

/// A configuration with one parameter set.
fn with(path: &str, value: f64) -> Config {
    let mut tree = serde_json::to_value(Config::default()).expect("plain data");
    *tree.pointer_mut(&format!("/{}", path.replace('.', "/"))).expect("a known path") = value.into();
    serde_json::from_value(tree).expect("a valid configuration")
}

fn at(split: &Split, perturbation: &Perturbation, strength: f64) -> Vec<f32> {
    observed(split, perturbation.modality, &perturbation.alone(strength, &Config::default()))
}

/// Bags of tokens cannot see where a token is.
fn is_blind(perturbation: &Perturbation, split: &Split) -> bool {
    split.text_features == TextFeatures::BagOfTokens && ["text.swap", "text.jitter"].contains(&perturbation.path)
}

#[test]
fn registry_entries_are_unique_documented_and_configurable() {
    let unique = |of: fn(&Perturbation) -> &'static str| PERTURBATIONS.iter().map(of).collect::<BTreeSet<_>>();
    assert_eq!(unique(|p| p.name).len(), PERTURBATIONS.len());
    assert_eq!(unique(|p| p.path).len(), PERTURBATIONS.len());
    for perturbation in PERTURBATIONS {
        assert!(perturbation.doc.len() > 20, "{} says too little", perturbation.name);
        let param = param_at(perturbation.path).expect("its path is a parameter");
        let Kind::Float { min: 0.0, max } = param.kind else { panic!("{}", perturbation.path) };
        assert!(perturbation.levels.is_sorted() && perturbation.levels.iter().all(|l| (1e-9..=max).contains(l)));
        assert_eq!((perturbation.strength)(&Config::default()), 0.0);
        assert_eq!((perturbation.strength)(&with(perturbation.path, 0.25)), 0.25, "{}", perturbation.name);
        if matches!(perturbation.act, Act::Feature { .. }) {
            assert_eq!(param.role, Role::Switch, "zero of {} must leave the device's program alone", perturbation.name);
        }
    }
}

#[test]
fn zero_strength_is_the_identity_bit_for_bit_and_every_level_is_not() {
    for world in worlds() {
        for name in SplitName::ALL {
            let split = world.split(name);
            for perturbation in PERTURBATIONS {
                let clean = bits(&split.observations(perturbation.modality).clean);
                assert_eq!(bits(&at(split, perturbation, 0.0)), clean, "{}", perturbation.name);
                let severe = perturbation.levels.iter().rev().take(if name == SplitName::Train { 4 } else { 1 });
                for &level in severe {
                    let same = bits(&at(split, perturbation, level)) == clean;
                    assert_eq!(same, is_blind(perturbation, split), "{} at {level}", perturbation.name);
                }
            }
        }
    }
}

#[test]
fn what_the_host_does_is_a_setting_and_what_the_device_does_is_not() {
    for perturbation in PERTURBATIONS {
        let config = with(perturbation.path, 0.25);
        for modality in Modality::ALL {
            let on_host = !matches!(perturbation.act, Act::Feature { .. }) && modality == perturbation.modality;
            assert_eq!(Setting::of(&config, modality).is_plain(), !on_host, "{}", perturbation.name);
        }
    }
    // The middle of a band that is off does not matter.
    assert!(Setting::of(&with("image.band_frequency", 3.0), Modality::Image).is_plain());
}

#[test]
fn zero_strength_keeps_a_feature_even_at_the_edge_of_the_draws() {
    for perturbation in PERTURBATIONS {
        let Act::Feature { apply, .. } = perturbation.act else { continue };
        for draw in [0.0, 1.0 - f32::EPSILON / 2.0] {
            assert_eq!(apply(1.5, draw, -2.0, 0.0), 1.5, "{}", perturbation.name);
        }
    }
}

#[test]
fn draws_stay_with_the_sample_when_splits_change() {
    let other = WorldConfig { n_train: 80, ..SMALL };
    for (world, features) in worlds().into_iter().zip(FEATURES) {
        let other = World::generate(0, &other, features).expect("a sound configuration");
        let (split, elsewhere) = (world.split(SplitName::Train), other.split(SplitName::Train));
        let here = split.index.iter().position(|i| elsewhere.index.contains(i)).expect("a shared sample");
        let there = elsewhere.index.iter().position(|i| *i == split.index[here]).expect("just found");
        for perturbation in PERTURBATIONS {
            // What was disturbed, in units of the modality, which the constants of the world do not change.
            let value = |split: &Split, i: usize| -> Vec<f64> {
                let observations = split.observations(perturbation.modality);
                let (x, p) = (at(split, perturbation, perturbation.levels[1]), observations.p);
                x[i * p..][..p].iter().enumerate().map(|(j, x)| observations.value(*x, j)).collect()
            };
            for (a, b) in value(split, here).into_iter().zip(value(elsewhere, there)) {
                // Roundings to f32 of values of at most 10.
                assert!((a - b).abs() < 1e-5, "{}: {a} is not {b}", perturbation.name);
            }
        }
    }
}

/// How far observations move with the strength, in units of the features' own spread.
#[test]
fn a_higher_strength_moves_observations_further() {
    for world in worlds() {
        let split = world.split(SplitName::Train);
        for perturbation in PERTURBATIONS {
            let clean = &split.observations(perturbation.modality).clean;
            let mut before = 0.0;
            for &level in perturbation.levels {
                let x = at(split, perturbation, level);
                let moved: f64 = x.iter().zip(clean).map(|(x, c)| f64::from(x - c).powi(2)).sum();
                assert!(moved > before || is_blind(perturbation, split), "{} at {level}", perturbation.name);
                before = moved;
            }
        }
    }
}

#[test]
fn perturbations_act_in_the_order_of_the_registry() {
    let [world, ..] = worlds();
    let split = world.split(SplitName::Test);
    let mut config = Config::default();
    (config.image.noise, config.image.mask, config.image.blur) = (0.3, 0.5, 1.0);
    let all = observed(split, Modality::Image, &config);
    config.image.mask = 0.0;
    let noisy = observed(split, Modality::Image, &config);
    let masked = MASK.draws(split).expect("acts on features");
    for (i, x) in all.iter().enumerate() {
        // Noise does not show through the mask.
        let expected = if masked[i] >= 0.5 { noisy[i] } else { split.img.background[i % 64] };
        assert_eq!(x.to_bits(), expected.to_bits());
    }
    config.image.noise = 0.0;
    let blurred = observed(split, Modality::Image, &config);
    let noise = GAUSSIAN_NOISE.draws(split).expect("acts on features");
    // Noise is not blurred.
    for ((x, blurred), noise) in noisy.iter().zip(blurred).zip(noise) {
        assert_eq!(x.to_bits(), (blurred + 0.3 * noise).to_bits());
    }
}

#[test]
fn a_pixel_or_token_that_nothing_touches_keeps_its_bits() {
    for world in worlds() {
        let split = world.split(SplitName::Train);
        // Nothing is within a hundredth of a pixel's blur, and dropout leaves most tokens.
        let blurred = observed(split, Modality::Image, &with("image.blur", 0.01));
        assert_eq!(bits(&blurred), bits(&split.img.clean));
        let dropped = observed(split, Modality::Text, &with("text.dropout", 0.3));
        let background = split.txt.background.iter().cycle();
        let mut lost = 0;
        for ((x, clean), background) in dropped.iter().zip(&split.txt.clean).zip(background) {
            lost += usize::from(x.to_bits() != clean.to_bits());
            assert!(x.to_bits() == clean.to_bits() || x.to_bits() == background.to_bits());
        }
        assert!(lost > 64);
    }
}

#[test]
fn dropped_tokens_are_those_of_the_draws_whatever_the_features() {
    // The draws of one uniform number per token that the first recorded cells were trained with.
    let [world, slots, _] = worlds();
    for world in [world, slots] {
        let split = world.split(SplitName::Train);
        let x = observed(split, Modality::Text, &with("text.dropout", 0.4));
        let streams = crate::numerics::stream::Streams::new(0, "text.dropout");
        for (i, index) in split.index.iter().enumerate() {
            let mut stream = streams.item(u64::from(*index));
            let sentence = split.sentence(i).expect("a sample");
            for (place, token) in sentence.0.iter().enumerate() {
                let dropped = crate::world::sample::uniform_f32(&mut stream) < 0.4;
                let is_bag = split.text_features == TextFeatures::BagOfTokens;
                let j = if is_bag { token.id() } else { place * crate::world::text::VOCABULARY + token.id() };
                let at = i * split.txt.p + j;
                let expected = if dropped { split.txt.background[j] } else { split.txt.clean[at] };
                assert_eq!(x[at].to_bits(), expected.to_bits());
            }
        }
    }
}

#[test]
fn a_gain_multiplies_everything_that_an_encoder_takes_in() {
    for world in worlds() {
        let split = world.split(SplitName::Train);
        let mut config = Config::default();
        (config.image.noise, config.image.mask, config.image.occlusion) = (0.3, 0.2, 0.1);
        (config.text.dropout, config.text.insertion) = (0.3, 0.3);
        let plain = Modality::ALL.map(|modality| observed(split, modality, &config));
        // A power of two, so that no rounding differs.
        (config.image.gain, config.text.gain) = (4.0, 0.25);
        for ((modality, plain), gain) in Modality::ALL.into_iter().zip(plain).zip([4.0, 0.25]) {
            let expected: Vec<f32> = plain.iter().map(|x| gain * x).collect();
            assert_eq!(observed(split, modality, &config), expected);
        }
    }
}
