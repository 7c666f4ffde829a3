//! Additive Gaussian noise on pixels.

use super::{Act, Perturbation};
use crate::world::Modality;
use crate::world::sample::Split;

pub const PERTURBATION: Perturbation = Perturbation {
    name: "gaussian_noise",
    path: "image.noise",
    modality: Modality::Image,
    doc: "adds independent Gaussian noise to every pixel; the strength is its standard deviation, in intensity",
    levels: &[0.1, 0.3, 1.0, 3.0],
    cumulative: true,
    strength: |config| config.image.noise,
    act: Act::Feature {
        draws,
        on_features: |config| config.image.noise * config.image.gain,
        apply: |x, noise, _, strength| x + strength * noise,
    },
};

/// Standard normal draws in normalised units: divided by the scale, as the intensities were.
fn draws(split: &Split) -> Vec<f32> {
    let scale = split.img.scale;
    split.draws("image.noise", split.img.p, |stream, row| {
        row.iter_mut().for_each(|d| *d = (stream.normal() / scale) as f32);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::config::{Config, TextFeatures, WorldConfig};
    use crate::world::view::observed;
    use crate::world::{SplitName, World};

    #[test]
    fn strength_is_the_standard_deviation_in_intensity() {
        let world = WorldConfig { image_size: 16, n_train: 400, n_validation: 8, n_test: 8 };
        let world = World::generate(2, &world, TextFeatures::BagOfTokens).expect("a sound configuration");
        let split = world.split(SplitName::Train);
        let mut config = Config::default();
        config.image.noise = 0.3;
        let noisy = observed(split, Modality::Image, &config);
        let added = noisy.iter().zip(&split.img.clean).map(|(x, c)| f64::from(x - c) * split.img.scale);
        let n = noisy.len() as f64;
        let (sum, squares) = added.fold((0.0, 0.0), |(sum, squares), d| (sum + d, squares + d * d));
        // Five standard errors of the mean, sd / sqrt n, and of the variance, sd^2 sqrt(2 / n).
        assert!((sum / n).abs() < 5.0 * 0.3 / n.sqrt());
        assert!((squares / n - 0.09).abs() < 5.0 * 0.09 * (2.0 / n).sqrt());
    }
}
