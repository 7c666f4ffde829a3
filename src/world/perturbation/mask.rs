//! Pixels replaced by the background.

use super::{Act, Perturbation};
use crate::world::Modality;
use crate::world::sample::{Split, uniform_f32};

pub const PERTURBATION: Perturbation = Perturbation {
    name: "mask",
    path: "image.mask",
    modality: Modality::Image,
    doc: "replaces pixels by the background, independently; the strength is the probability of a pixel",
    levels: &[0.1, 0.3, 0.6, 0.9],
    cumulative: true,
    strength: |config| config.image.mask,
    // A pixel is kept from its own threshold on, so that a higher strength only masks more.
    act: Act::Feature {
        draws,
        on_features: |config| config.image.mask,
        apply: |x, uniform, background, strength| if uniform >= strength { x } else { background },
    },
};

fn draws(split: &Split) -> Vec<f32> {
    split.draws("image.mask", split.img.p, |stream, row| row.iter_mut().for_each(|d| *d = uniform_f32(stream)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::config::{Config, TextFeatures, WorldConfig};
    use crate::world::view::observed;
    use crate::world::{SplitName, World};

    #[test]
    fn strength_is_the_share_of_masked_pixels_and_only_grows_the_mask() {
        let world = WorldConfig { image_size: 8, n_train: 400, n_validation: 8, n_test: 8 };
        let world = World::generate(2, &world, TextFeatures::BagOfTokens).expect("a sound configuration");
        let split = world.split(SplitName::Train);
        let masked = |strength: f64| -> Vec<bool> {
            let mut config = Config::default();
            config.image.mask = strength;
            let x = observed(split, Modality::Image, &config);
            x.iter().zip(split.img.background.iter().cycle()).map(|(x, b)| x == b).collect()
        };
        assert!(masked(1.0).iter().all(|&m| m), "everything is masked at strength 1");
        let (low, high) = (masked(0.2), masked(0.6));
        assert!(low.iter().zip(&high).all(|(low, high)| !low || *high));
        let n = high.len() as f64;
        let share = high.iter().filter(|&&m| m).count() as f64 / n;
        // Five standard errors of a share.
        assert!((share - 0.6).abs() < 5.0 * (0.6 * 0.4 / n).sqrt(), "{share}");
    }
}
