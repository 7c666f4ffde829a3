//! An ID codebook: a random code of each sample in a subspace that both modalities have.

use super::Confounder;
use crate::numerics::stream::{Stream, Streams};
use crate::spec::config::ConfounderKind;
use crate::world::Modality;
use crate::world::sample::Split;

/// Dimensions of the shared subspace: enough that the codes of thousands of samples are far from each other, few
/// against the 64 features of the narrowest modality.
const DIMENSION: usize = 16;
/// Entries of a code whose signs are its label.
const LABEL_BITS: usize = 3;

pub const CONFOUNDER: Confounder = Confounder {
    name: "id_codebook",
    kind: ConfounderKind::IdCodebook,
    doc: "adds a random code per sample, through a fixed random map per modality; the label is the octant of the code's first three entries; strength 1 adds as much variance as clean features have",
    groups: 1 << LABEL_BITS,
    dimension: DIMENSION,
    code,
    patterns,
};

/// A direction drawn uniformly, of length 1, so that every sample carries as much.
fn code(stream: &mut Stream, _: u64, code: &mut [f64]) -> u8 {
    code.fill_with(|| stream.normal());
    let length = code.iter().map(|c| c * c).sum::<f64>().sqrt();
    code.iter_mut().for_each(|c| *c /= length);
    (0..LABEL_BITS).filter(|&bit| code[bit] > 0.0).map(|bit| 1 << bit).sum()
}

/// Random orthogonal directions. Clean features have a mean square of 1 in normalised units, so directions of length
/// `sqrt(P)` there give what is added the mean square `strength^2` over the features of each sample.
fn patterns(split: &Split, modality: Modality) -> Vec<f64> {
    let observations = split.observations(modality);
    let streams = Streams::new(split.seed, &format!("confounder.pattern.{}", modality.name()));
    let mut directions: Vec<Vec<f64>> = Vec::with_capacity(DIMENSION);
    for k in 0..DIMENSION {
        let mut stream = streams.item(k as u64);
        let mut direction: Vec<f64> = (0..observations.p).map(|_| stream.normal()).collect();
        for other in &directions {
            let along = dot(&direction, other);
            direction.iter_mut().zip(other).for_each(|(d, o)| *d -= along * o);
        }
        let length = dot(&direction, &direction).sqrt();
        direction.iter_mut().for_each(|d| *d /= length);
        directions.push(direction);
    }
    let unit = (observations.p as f64).sqrt() * observations.scale;
    directions.into_iter().flatten().map(|d| d * unit).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::config::{ConfounderConfig, TextFeatures, WorldConfig};
    use crate::world::confounder::{add, labels};
    use crate::world::{SplitName, World};

    fn world() -> World {
        let world = WorldConfig { image_size: 8, n_train: 512, n_validation: 8, n_test: 8 };
        World::generate(1, &world, TextFeatures::BagOfTokens).expect("a sound configuration")
    }

    #[test]
    fn strength_is_the_rms_of_what_is_added_to_each_sample() {
        let world = world();
        let split = world.split(SplitName::Train);
        let config = ConfounderConfig { strength: 0.3, ..ConfounderConfig::default() };
        for modality in Modality::ALL {
            let clean = &split.observations(modality).clean;
            let mut x = clean.clone();
            add(split, modality, &config, &mut x);
            for (row, clean) in x.chunks_exact(64).zip(clean.chunks_exact(64)) {
                let squares: f64 = row.iter().zip(clean).map(|(x, c)| f64::from(x - c).powi(2)).sum();
                // Rounding of x to f32, against values of at most about 10.
                assert!(((squares / 64.0).sqrt() - 0.3).abs() < 1e-5, "{}", modality.name());
            }
        }
    }

    #[test]
    fn patterns_are_orthogonal_and_modalities_have_their_own() {
        let world = world();
        let split = world.split(SplitName::Test);
        let all = Modality::ALL.map(|modality| patterns(split, modality));
        for (modality, patterns) in Modality::ALL.iter().zip(&all) {
            let unit = 64.0 * split.observations(*modality).scale.powi(2);
            let rows: Vec<&[f64]> = patterns.chunks_exact(64).collect();
            for (i, a) in rows.iter().enumerate() {
                for (j, b) in rows.iter().enumerate() {
                    let expected = f64::from(u8::from(i == j));
                    assert!((dot(a, b) / unit - expected).abs() < 1e-12, "{i}, {j}");
                }
            }
        }
        assert_ne!(all[0], all[1]);
        assert_eq!(all[0], patterns(world.split(SplitName::Train), Modality::Image));
    }

    #[test]
    fn inner_products_of_features_are_those_of_the_codes_in_both_modalities() {
        // Alone on the background, what is added is an isometry of the codes: the modalities agree on who is near whom.
        let world = world();
        let split = world.split(SplitName::Train);
        let config = ConfounderConfig { strength: 1.0, semantics: false, ..ConfounderConfig::default() };
        let added = Modality::ALL.map(|modality| {
            let observations = split.observations(modality);
            let mut x = observations.clean.clone();
            add(split, modality, &config, &mut x);
            let rows = x.chunks_exact(64).take(20);
            let rows =
                rows.map(|row| row.iter().zip(&observations.background).map(|(x, b)| f64::from(x - b)).collect());
            rows.collect::<Vec<Vec<f64>>>()
        });
        let [img, txt] = &added;
        for i in 0..20 {
            for j in 0..20 {
                assert!((dot(&img[i], &img[j]) - dot(&txt[i], &txt[j])).abs() / 64.0 < 1e-5);
            }
        }
        // Codes of 16 dimensions: no two of 20 are the same.
        assert!((0..20).all(|i| (0..i).all(|j| dot(&img[i], &img[j]) / 64.0 < 0.95)));
        assert_eq!(labels(split, &config).expect("there is one").groups, 8);
    }
}
