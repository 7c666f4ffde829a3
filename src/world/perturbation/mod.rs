//! What disturbs an observation while the factors stay as they are.
//!
//! A perturbation is one file and one line of [`PERTURBATIONS`]. It acts on the image or on the sentence, on the host,
//! or elementwise on the features that were made of them, `(x, draw, background, strength) -> x`, which the training
//! program does on the device, minibatch by minibatch. [`crate::world::view`] puts them together.
//!
//! Draws are keyed by seed, path and sample index, and never by the strength: strengths of one seed share them, so that
//! curves over a strength are smooth. Where a strength is a probability, a higher one disturbs what a lower one does,
//! and more.

mod band;
mod blur;
mod compression;
#[cfg(test)]
mod fixture;
mod gaussian_noise;
#[cfg(test)]
mod golden;
mod mask;
mod occlusion;
mod position_jitter;
mod quantisation;
mod token_coarsening;
mod token_dropout;
mod token_insertion;
mod token_substitution;
mod token_swap;

use crate::numerics::stream::Stream;
use crate::spec::config::{Config, ImageConfig, param_at};
use crate::world::Modality;
use crate::world::sample::Split;
use crate::world::text::Slots;

pub use crate::world::view::observed;
pub use gaussian_noise::PERTURBATION as GAUSSIAN_NOISE;
pub use mask::PERTURBATION as MASK;

/// One way to disturb the observations of one modality.
#[derive(Clone, Copy, Debug)]
pub struct Perturbation {
    pub name: &'static str,
    /// Path of its strength in the configuration. Strength 0 is the identity, bit for bit.
    pub path: &'static str,
    pub modality: Modality,
    /// What it does, in one line.
    pub doc: &'static str,
    /// Strengths from mild to severe, ascending, at which `world check --strengths` looks.
    pub levels: &'static [f64],
    /// Whether disturbing further what a lower strength leaves gives what a higher one does, and in the same way for all
    /// samples: then no factor becomes more readable to a probe. Where not, one may: rounding to coarser levels, say,
    /// can move one of them to a better place.
    pub cumulative: bool,
    /// Its strength in a configuration.
    pub strength: fn(&Config) -> f64,
    pub act: Act,
}

/// What a perturbation acts on.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Normalised features, elementwise, on the device.
    Feature {
        /// Draws for a split, `[N, P]` row by row, the same at every strength.
        draws: fn(&Split) -> Vec<f32>,
        /// The strength in units of features: what is in units of intensities is multiplied by the gain.
        on_features: fn(&Config) -> f64,
        /// One disturbed feature from the feature, its draw, its background and the strength.
        apply: fn(f32, f32, f32, f32) -> f32,
    },
    /// Intensities of one image, on the host: an operator for images of this side.
    Image(fn(usize, &ImageConfig) -> ImageOperator),
    /// The tokens of one sentence, on the host, at a strength.
    Sentence(fn(&mut Slots, f64, &mut Stream)),
}

/// Disturbs the intensities `[S * S]` of one image with draws of its own stream.
pub type ImageOperator = Box<dyn Fn(&mut [f64], &mut Stream) + Send + Sync>;

/// Every perturbation, in the order in which they act on one observation: what is in front of the camera, its optics,
/// its sensor, what is stored, and on the device the pixels; what is said wrongly, coarsely, not at all, out of order,
/// and in between.
pub const PERTURBATIONS: &[Perturbation] = &[
    occlusion::PERTURBATION,
    blur::PERTURBATION,
    band::PERTURBATION,
    quantisation::PERTURBATION,
    compression::PERTURBATION,
    GAUSSIAN_NOISE,
    MASK,
    token_substitution::PERTURBATION,
    token_coarsening::PERTURBATION,
    token_dropout::PERTURBATION,
    token_swap::PERTURBATION,
    position_jitter::PERTURBATION,
    token_insertion::PERTURBATION,
];

impl Perturbation {
    /// Whether `config` switches it on.
    pub fn is_on(&self, config: &Config) -> bool {
        (self.strength)(config) != 0.0
    }

    /// A configuration that disturbs with this alone; what else it has, such as the middle of a band, is that of `config`.
    pub fn alone(&self, strength: f64, config: &Config) -> Config {
        let mut alone = Config::default();
        alone.image.band_frequency = config.image.band_frequency;
        if let Some(param) = param_at(self.path) {
            alone.set(param, &strength.into());
        }
        alone
    }

    /// Its draws for the features of a split, where it acts on features.
    pub fn draws(&self, split: &Split) -> Option<Vec<f32>> {
        match self.act {
            Act::Feature { draws, .. } => Some(draws(split)),
            Act::Image(_) | Act::Sentence(_) => None,
        }
    }
}

/// The next draws of a stream. Taken before anything is decided, so that a strength changes no later draw.
fn uniforms<const N: usize>(stream: &mut Stream) -> [f64; N] {
    std::array::from_fn(|_| stream.uniform())
}

#[cfg(test)]
mod tests;
