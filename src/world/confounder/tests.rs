//! What holds of every confounder of the registry.

use std::collections::BTreeSet;

use super::*;
use crate::spec::config::{Config, WorldConfig};
use crate::spec::{Kind, param_at};
use crate::world::SplitName;
use crate::world::perturbation::observed;
use crate::world::probe::linear_r_squared;
use crate::world::view::Setting;

const SMALL: WorldConfig = WorldConfig { image_size: 8, n_train: 400, n_validation: 40, n_test: 200 };
/// Bounds of random shares, in standard deviations: a chance of about 1e-6 of failing.
const DEVIATIONS: f64 = 5.0;

fn world(features: TextFeatures) -> World {
    World::generate(5, &SMALL, features).expect("a sound configuration")
}

fn worlds() -> [World; 3] {
    [TextFeatures::BagOfTokens, TextFeatures::TokenPosition, TextFeatures::BagOfNgrams].map(world)
}

fn of(confounder: &Confounder, strength: f64) -> ConfounderConfig {
    ConfounderConfig { kind: confounder.kind, strength, ..ConfounderConfig::default() }
}

fn added(split: &Split, modality: Modality, config: &ConfounderConfig) -> Vec<f32> {
    let mut x = split.observations(modality).clean.clone();
    add(split, modality, config, &mut x);
    x
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn registry_entries_are_unique_documented_and_the_choices_of_the_kind() {
    let names: Vec<&str> = CONFOUNDERS.iter().map(|c| c.name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), CONFOUNDERS.len());
    let Some(Kind::Choice(choices)) = param_at("confounder.kind").map(|p| p.kind) else { panic!("kinds have names") };
    assert_eq!(names, choices);
    let world = world(TextFeatures::BagOfTokens);
    for confounder in CONFOUNDERS {
        assert_eq!(serde_json::to_value(confounder.kind).expect("a name"), confounder.name);
        assert!(confounder.doc.len() > 40 && confounder.doc.contains("strength"), "{}", confounder.name);
        assert!((1..=LONGEST_CODE).contains(&confounder.dimension) && confounder.groups >= 2);
        for split in world.splits() {
            for modality in Modality::ALL {
                let patterns = (confounder.patterns)(split, modality);
                assert_eq!(patterns.len(), confounder.dimension * 64);
                assert!(patterns.iter().all(|v| v.is_finite()));
                assert!(patterns.chunks(64).all(|pattern| pattern.iter().any(|v| *v != 0.0)), "{}", confounder.name);
            }
        }
    }
}

#[test]
fn zero_strength_is_the_identity_bit_for_bit_whatever_else_is_set() {
    for world in worlds() {
        for confounder in CONFOUNDERS {
            let off = ConfounderConfig { prevalence: 0.5, semantics: false, randomised: true, ..of(confounder, 0.0) };
            for split in world.splits() {
                for modality in Modality::ALL {
                    let clean = &split.observations(modality).clean;
                    assert_eq!(bits(&added(split, modality, &off)), bits(clean), "{}", confounder.name);
                    assert_ne!(bits(&added(split, modality, &of(confounder, 0.5))), bits(clean));
                    let config = Config { confounder: of(confounder, 0.5), ..Config::default() };
                    assert_eq!(observed(split, modality, &config), added(split, modality, &config.confounder));
                }
                assert_eq!(labels(split, &off), None);
            }
            assert!(realised(&world, &off).is_empty());
        }
    }
}

#[test]
fn one_modality_alone_can_carry_it() {
    let world = world(TextFeatures::BagOfTokens);
    let split = world.split(SplitName::Test);
    for (only, carries, spared) in [
        (ConfounderModality::Img, Modality::Image, Modality::Text),
        (ConfounderModality::Txt, Modality::Text, Modality::Image),
    ] {
        let config = ConfounderConfig { modality: only, semantics: false, ..of(&PARITY, 1.0) };
        let both = ConfounderConfig { modality: ConfounderModality::Both, ..config.clone() };
        assert_eq!(bits(&added(split, spared, &config)), bits(&split.observations(spared).clean));
        assert_eq!(bits(&added(split, carries, &config)), bits(&added(split, carries, &both)));
        assert_eq!(realised(&world, &config)["confounder_shared_test"], 0.0);
        assert_eq!(realised(&world, &both)["confounder_shared_test"], 1.0);
    }
}

#[test]
fn a_higher_prevalence_keeps_the_carriers_and_others_stay_as_they_are() {
    let world = world(TextFeatures::BagOfTokens);
    let split = world.split(SplitName::Train);
    for confounder in CONFOUNDERS {
        let at = |prevalence| ConfounderConfig { prevalence, ..of(confounder, 0.5) };
        let carried = |prevalence| labels(split, &at(prevalence)).expect("it is on").img;
        let (few, many) = (carried(0.3), carried(0.6));
        assert!(few.iter().zip(&many).all(|(few, many)| few.is_none() || few == many));
        assert!(carried(0.0).iter().all(Option::is_none) && carried(1.0).iter().all(Option::is_some));
        let share = many.iter().filter(|label| label.is_some()).count() as f64 / 400.0;
        assert!((share - 0.6).abs() < DEVIATIONS * (0.6 * 0.4 / 400.0f64).sqrt(), "{share}");
        assert_eq!(realised(&world, &at(0.6))["confounder_share_train"], share);
        for modality in Modality::ALL {
            let (x, clean) = (added(split, modality, &at(0.6)), &split.observations(modality).clean);
            for ((row, clean), label) in x.chunks_exact(64).zip(clean.chunks_exact(64)).zip(&many) {
                assert_eq!(bits(row) == bits(clean), label.is_none(), "{}", confounder.name);
            }
        }
    }
}

#[test]
fn labels_and_codes_are_the_same_at_every_strength_and_in_both_modalities() {
    for world in worlds() {
        let split = world.split(SplitName::Validation);
        for confounder in CONFOUNDERS {
            let at = |strength| labels(split, &of(confounder, strength)).expect("it is on");
            assert_eq!(at(0.1), at(10.0));
            assert_eq!(at(1.0).img, at(1.0).txt);
            assert_eq!(at(1.0).shared_share(), 1.0);
            assert!(at(1.0).numbered(Modality::Text).iter().all(|group| *group < confounder.groups));
            for modality in Modality::ALL {
                let clean = &split.observations(modality).clean;
                let (one, four) =
                    (added(split, modality, &of(confounder, 1.0)), added(split, modality, &of(confounder, 4.0)));
                for ((one, four), clean) in one.iter().zip(&four).zip(clean) {
                    // Values reach about 100, which f32 rounds by up to 4e-6, four times over.
                    assert!((4.0 * (one - clean) - (four - clean)).abs() < 5e-5, "{}", confounder.name);
                }
            }
        }
    }
}

#[test]
fn a_label_stays_with_its_sample_when_the_splits_change() {
    let larger = WorldConfig { n_train: 500, image_size: 12, ..SMALL };
    let larger = World::generate(5, &larger, TextFeatures::TokenPosition).expect("a sound configuration");
    let small = world(TextFeatures::BagOfTokens);
    for confounder in CONFOUNDERS {
        let by_index = |world: &World| -> std::collections::BTreeMap<u32, Option<u8>> {
            let of_split = |split: &Split| labels(split, &of(confounder, 1.0)).expect("it is on").img;
            world.splits().iter().flat_map(|split| split.index.iter().copied().zip(of_split(split))).collect()
        };
        let (in_small, in_larger) = (by_index(&small), by_index(&larger));
        assert!(in_small.iter().all(|(index, label)| in_larger[index] == *label), "{}", confounder.name);
    }
}

#[test]
fn randomised_labels_are_independent_of_each_other_and_of_the_ones_before() {
    let sizes = WorldConfig { n_train: 4000, ..SMALL };
    let world = World::generate(5, &sizes, TextFeatures::BagOfTokens).expect("a sound configuration");
    let split = world.split(SplitName::Train);
    for confounder in CONFOUNDERS {
        let config = ConfounderConfig { prevalence: 0.8, ..of(confounder, 1.0) };
        let before = labels(split, &config).expect("it is on");
        let after = labels(split, &ConfounderConfig { randomised: true, ..config }).expect("it is on");
        // What carries nothing is one more label: probabilities 0.2 and 0.8 / groups.
        let chance = 0.04 + 0.64 / confounder.groups as f64;
        for (a, b) in [(&after.img, &after.txt), (&before.img, &after.img), (&before.txt, &after.txt)] {
            let same = a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / 4000.0;
            let deviation = (chance * (1.0 - chance) / 4000.0).sqrt();
            assert!((same - chance).abs() < DEVIATIONS * deviation, "{}: {same}, not {chance}", confounder.name);
        }
    }
}

#[test]
fn every_label_is_about_as_frequent() {
    let sizes = WorldConfig { n_train: 4000, ..SMALL };
    let world = World::generate(6, &sizes, TextFeatures::BagOfTokens).expect("a sound configuration");
    for confounder in CONFOUNDERS {
        let labels = labels(world.split(SplitName::Train), &of(confounder, 1.0)).expect("it is on");
        let expected = 1.0 / confounder.groups as f64;
        for label in 0..confounder.groups {
            let share = labels.img.iter().filter(|l| **l == Some(label as u8)).count() as f64 / 4000.0;
            let deviation = (expected * (1.0 - expected) / 4000.0).sqrt();
            assert!((share - expected).abs() < DEVIATIONS * deviation, "{} {label}: {share}", confounder.name);
        }
    }
}

#[test]
fn without_semantics_only_the_confounder_is_left() {
    for world in worlds() {
        let split = world.split(SplitName::Train);
        for confounder in CONFOUNDERS {
            let config = ConfounderConfig { semantics: false, prevalence: 0.5, ..of(confounder, 1.0) };
            let labels = labels(split, &config).expect("it is on");
            for modality in Modality::ALL {
                let observations = split.observations(modality);
                let x = added(split, modality, &config);
                let rows: Vec<&[f32]> = x.chunks_exact(observations.p).collect();
                let mut seen = std::collections::BTreeMap::new();
                for (row, label) in rows.iter().zip(labels.of(modality)) {
                    assert_eq!(*row == observations.background, label.is_none(), "{}", confounder.name);
                    // Labelled samples look the same; codes are each sample's own.
                    let known = seen.entry(*label).or_insert(*row);
                    if label.is_none() || confounder.kind != ConfounderKind::IdCodebook {
                        assert_eq!(known, row, "{}", confounder.name);
                    }
                }
            }
        }
    }
}

#[test]
fn a_label_adds_its_filler_to_the_text_behind_the_factors() {
    let places = [
        (TextFeatures::BagOfTokens, 52),
        (TextFeatures::TokenPosition, 5 * 64 + 52),
        // Pairs of neighbours are of factors only.
        (TextFeatures::BagOfNgrams, 52),
    ];
    for (features, feature) in places {
        for k in 0..8 {
            let pattern = filler_pattern(features, k);
            assert_eq!(pattern.len(), text::width(features));
            assert!(pattern.iter().enumerate().all(|(j, v)| *v == f64::from(u8::from(j == feature + k))));
        }
    }
}

#[test]
fn a_linear_probe_reads_the_code_from_each_modality_and_nothing_of_it_from_clean_features() {
    for world in worlds() {
        let (train, test) = (world.split(SplitName::Train), world.split(SplitName::Test));
        for confounder in CONFOUNDERS {
            let config = ConfounderConfig { semantics: false, ..of(confounder, 0.5) };
            for modality in Modality::ALL {
                let [fit, truth] = [train, test].map(|split| codes(split, modality, &config));
                let read = |x: [&[f32]; 2]| {
                    linear_r_squared((x[0], &fit), (x[1], &truth), confounder.dimension).expect("features that vary")
                };
                let alone = [train, test].map(|split| added(split, modality, &config));
                let value = read([&alone[0], &alone[1]]);
                // Nothing is in the way: only the ridge keeps it below 1.
                assert!(value > 0.999, "{} from {}: {value}", confounder.name, modality.name());
                let value = read([train, test].map(|split| split.observations(modality).clean.as_slice()));
                // Fitting chance makes it worse than a guess.
                assert!(value < 0.1, "{} from clean {}: {value}", confounder.name, modality.name());
            }
        }
    }
}

#[test]
fn images_carry_it_before_they_are_disturbed_and_texts_after() {
    let world = world(TextFeatures::BagOfTokens);
    let split = world.split(SplitName::Test);
    let mut config = Config { confounder: of(&GROUP_TAGS, 1.0), ..Config::default() };
    (config.text.dropout, config.image.occlusion) = (1.0, 1.0);
    let alone = ConfounderConfig { semantics: false, ..config.confounder.clone() };
    assert_eq!(observed(split, Modality::Text, &config), added(split, Modality::Text, &alone));
    let hidden = Config { confounder: ConfounderConfig::default(), ..config.clone() };
    assert_eq!(observed(split, Modality::Image, &config), observed(split, Modality::Image, &hidden));
}

#[test]
fn cells_share_views_of_a_modality_on_which_the_confounder_does_not_differ() {
    let with = |modality, strength| {
        let confounder = ConfounderConfig { modality, ..of(&PARITY, strength) };
        Config { confounder, ..Config::default() }
    };
    let setting = |modality, strength, of| Setting::of(&with(modality, strength), of);
    let (img, txt) = (Modality::Image, Modality::Text);
    assert_eq!(setting(ConfounderModality::Img, 0.5, img), setting(ConfounderModality::Both, 0.5, img));
    assert_ne!(setting(ConfounderModality::Both, 0.4, img), setting(ConfounderModality::Both, 0.5, img));
    assert!(
        setting(ConfounderModality::Img, 0.5, txt).is_plain() && !setting(ConfounderModality::Txt, 0.5, txt).is_plain()
    );
    assert!(setting(ConfounderModality::Both, 0.0, img).is_plain());
}
