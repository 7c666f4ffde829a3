//! Tokens left out of the sentence.

use super::Perturbation;
use crate::world::Modality;
use crate::world::sample::{Split, uniform_f32};
use crate::world::text::Sentence;

pub const PERTURBATION: Perturbation = Perturbation {
    name: "token_dropout",
    path: "text.dropout",
    modality: Modality::Text,
    doc: "drops tokens from the sentence, independently; the strength is the probability of a token",
    strength: |config| config.text.dropout,
    draws,
    apply: |x, uniform, background, strength| if uniform >= strength { x } else { background },
};

/// One uniform draw per token, given to the feature that counts it. In a clean sentence no two tokens count in one
/// feature. A feature that counts none of its tokens has the draw 1 and is never dropped: it equals its background
/// already, or holds what a confounder added.
fn draws(split: &Split) -> Vec<f32> {
    split.draws("text.dropout", split.txt.p, |stream, i, row| {
        row.fill(1.0);
        let Some(factors) = split.factors.get(i) else { return };
        for (_, feature) in Sentence::describing(factors).carried(split.text_features) {
            row[feature] = uniform_f32(stream);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::config::{Config, TextFeatures, WorldConfig};
    use crate::world::perturbation::observed;
    use crate::world::{SplitName, World};

    fn observed_at(split: &Split, strength: f64) -> Vec<f32> {
        let mut config = Config::default();
        config.text.dropout = strength;
        observed(split, Modality::Text, &config)
    }

    /// How many tokens each sample still has, from its features.
    fn tokens_left(split: &Split, x: &[f32]) -> Vec<f64> {
        let left = |row: &[f32]| {
            let above = row.iter().zip(&split.txt.background).map(|(x, b)| f64::from(x - b) * split.txt.scale);
            above.sum::<f64>().round()
        };
        x.chunks_exact(split.txt.p).map(left).collect()
    }

    #[test]
    fn strength_is_the_share_of_dropped_tokens_whatever_the_features() {
        let config = WorldConfig { image_size: 8, n_train: 2000, n_validation: 8, n_test: 8 };
        let [bag, slots] = [TextFeatures::BagOfTokens, TextFeatures::TokenPosition].map(|features| {
            let world = World::generate(2, &config, features).expect("a sound configuration");
            let split = world.split(SplitName::Train);
            assert!(tokens_left(split, &observed_at(split, 0.0)).iter().all(|&left| left == 5.0));
            assert!(tokens_left(split, &observed_at(split, 1.0)).iter().all(|&left| left == 0.0));
            tokens_left(split, &observed_at(split, 0.3))
        });
        // The same tokens go, however the sentence is represented.
        assert_eq!(bag, slots);
        let share = bag.iter().sum::<f64>() / (5.0 * bag.len() as f64);
        assert!((share - 0.7).abs() < 5.0 * (0.3 * 0.7 / (5.0 * bag.len() as f64)).sqrt(), "{share}");
    }

    #[test]
    fn everything_dropped_is_the_background() {
        let config = WorldConfig { image_size: 8, n_train: 50, n_validation: 8, n_test: 8 };
        let world = World::generate(2, &config, TextFeatures::BagOfTokens).expect("a sound configuration");
        let split = world.split(SplitName::Test);
        assert!(observed_at(split, 1.0).chunks_exact(64).all(|row| row == split.txt.background));
    }
}
