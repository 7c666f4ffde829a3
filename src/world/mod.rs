//! The synthetic world: latent factors, the two operators that observe them, what disturbs the observations and the
//! pairing, and the checks that the world is fit to learn from.
//!
//! A sample is five [`Factors`]. An image operator ([`Renderer`]) and a text operator ([`Sentence`]) each observe all
//! of them; [`World::generate`] draws the samples, splits them and normalises the observations. [`confounder`] adds
//! what says nothing about them, [`perturbation`] disturbs observations, [`pairing`] disturbs which text belongs to
//! which image, [`check()`] reports whether a world is sound and [`Export`] lays it out in columns.
//!
//! Every draw is keyed by seed, purpose and sample index, and by no strength: cells that differ only in a strength
//! share their draws.

pub mod check;
pub mod confounder;
mod distribution;
mod export;
mod factors;
mod image;
mod leakage;
pub mod pairing;
pub mod perturbation;
mod probe;
mod sample;
mod strengths;
pub mod text;
pub mod view;

pub use check::{CheckReport, check};
pub use export::{Export, Lists};
pub use factors::{Factor, Factors, Shape};
pub use image::Renderer;
pub use pairing::{Pairing, partners};
pub use sample::{Observations, Split, SplitName, World, WorldError};
pub use strengths::{Fading, Point};
pub use text::{Sentence, Token};

/// One of the two ways a sample is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Modality {
    #[serde(rename = "img")]
    Image,
    #[serde(rename = "txt")]
    Text,
}

impl Modality {
    pub const ALL: [Modality; 2] = [Modality::Image, Modality::Text];

    /// The suffix that metric and column names use: `img` or `txt`.
    pub fn name(self) -> &'static str {
        match self {
            Modality::Image => "img",
            Modality::Text => "txt",
        }
    }
}
