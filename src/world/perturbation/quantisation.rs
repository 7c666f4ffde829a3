//! Fewer intensity levels.

use super::{Act, Perturbation};
use crate::world::Modality;

pub const PERTURBATION: Perturbation = Perturbation {
    name: "quantisation",
    path: "image.quantisation",
    modality: Modality::Image,
    doc: "rounds intensities to equally spaced levels; the strength is the largest rounding error, half their distance",
    levels: &[0.1, 0.3, 0.5, 0.8],
    cumulative: false,
    strength: |config| config.image.quantisation,
    act: Act::Image(|_, config| {
        let strength = config.quantisation;
        Box::new(move |pixels, _| pixels.iter_mut().for_each(|v| *v = rounded(*v, strength)))
    }),
};

/// The nearest multiple of `2 * error`. The background, 0, is a level; about `1 + 1 / error` levels lie within -1 to 1,
/// and at an error of 1 the background alone. Halfway between two levels, the one that is an even multiple is taken.
fn rounded(value: f64, error: f64) -> f64 {
    let step = 2.0 * error;
    (value / step).round_ties_even() * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_by_hand() {
        assert_eq!([-1.0, -0.3, 0.2, 0.25, 0.6].map(|v| rounded(v, 0.25)), [-1.0, -0.5, 0.0, 0.0, 0.5]);
        assert_eq!([-1.0, -0.3, 0.9, 1.0].map(|v| rounded(v, 1.0)), [0.0; 4]);
        for error in [0.01, 0.3, 0.7] {
            for value in (-50..=50).map(|i| f64::from(i) / 50.0) {
                // A rounding of the quotient and of the product.
                assert!((rounded(value, error) - value).abs() <= error * (1.0 + 1e-12));
            }
        }
    }
}
