//! A world as the cells of one configuration see it.
//!
//! A scene becomes an observation in this order: factors are rendered or described; in images the confounder joins, as
//! part of what is pictured; the host's [`PERTURBATIONS`] act on intensities or tokens; features are made of them and
//! normalised with the constants of the clean training split; in texts the confounder joins, as what a pipeline attaches
//! to them; the gain multiplies all. On the device, noise and mask act last, minibatch by minibatch, with
//! the gain in the noise's strength and in the mask's background, so that a gain scales all that an encoder takes in.
//!
//! What the host does makes a *view*: the observations of every split under one [`Setting`]. Where a setting is plain,
//! the view is the clean data itself, shared and not copied. [`observed`] adds what the device does, and is the
//! reference of both.

use std::borrow::Cow;
use std::sync::Arc;

use rayon::prelude::*;

use crate::numerics::stream::Streams;
use crate::spec::config::{Config, ImageConfig, TextConfig};
use crate::world::perturbation::{Act, ImageOperator, PERTURBATIONS, Perturbation};
use crate::world::sample::{Observations, Split, SplitName, World};
use crate::world::{Modality, confounder};

/// What the host does to the observations of one modality: views of one world under equal settings are equal.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    modality: Modality,
    /// Of a configuration, what the view depends on; everything else is at its default.
    config: Config,
}

/// The observations of one modality under a setting: train, validation, test.
pub type View = [Arc<Observations>; 3];

impl Setting {
    pub fn of(config: &Config, modality: Modality) -> Self {
        let plain = Config { confounder: confounder::acting(&config.confounder, modality), ..Config::default() };
        let reduced = match modality {
            Modality::Image => {
                let mut image =
                    ImageConfig { noise: plain.image.noise, mask: plain.image.mask, ..config.image.clone() };
                if image.band == 0.0 {
                    image.band_frequency = plain.image.band_frequency;
                }
                Config { image, ..plain }
            }
            Modality::Text => {
                // The features are the world's.
                let text = TextConfig { features: plain.text.features, ..config.text.clone() };
                Config { text, ..plain }
            }
        };
        Self { modality, config: reduced }
    }

    /// Whether the host does nothing, so that the view is the clean data.
    pub fn is_plain(&self) -> bool {
        self.config == Config::default()
    }

    /// The world's observations under this setting.
    pub fn view(&self, world: &World) -> View {
        SplitName::ALL.map(|name| self.of_split(world.split(name)))
    }

    /// One split's observations under this setting.
    fn of_split(&self, split: &Split) -> Arc<Observations> {
        let clean = split.observations(self.modality);
        if self.is_plain() {
            return clean.clone();
        }
        let mut seen = clean.as_ref().clone();
        match self.modality {
            Modality::Image => {
                confounder::add(split, self.modality, &self.config.confounder, &mut seen.clean);
                self.images(split, &mut seen);
            }
            Modality::Text => {
                self.texts(split, &mut seen);
                confounder::add(split, self.modality, &self.config.confounder, &mut seen.clean);
            }
        }
        let gain = gain(&self.config, self.modality);
        if gain != 1.0 {
            seen.clean.par_iter_mut().for_each(|x| *x = amplified(*x, gain));
            seen.background.iter_mut().for_each(|x| *x = amplified(*x, gain));
        }
        Arc::new(seen)
    }

    /// The perturbations of the modality that are on, with their streams.
    fn on(&self, seed: u64) -> impl Iterator<Item = (&'static Perturbation, Streams)> + '_ {
        let on = PERTURBATIONS.iter().filter(|p| p.modality == self.modality && p.is_on(&self.config));
        on.map(move |p| (p, Streams::new(seed, p.path)))
    }

    fn images(&self, split: &Split, seen: &mut Observations) {
        let clean = split.img.as_ref();
        let side = clean.p.isqrt();
        let operator = |(p, streams): (&Perturbation, Streams)| match p.act {
            Act::Image(of) => Some((of(side, &self.config.image), streams)),
            Act::Feature { .. } | Act::Sentence(_) => None,
        };
        let operators: Vec<(ImageOperator, Streams)> = self.on(split.seed).filter_map(operator).collect();
        if operators.is_empty() {
            return;
        }
        let rows = seen.clean.par_chunks_mut(clean.p).zip(&split.index);
        rows.for_each_init(
            || vec![0.0; clean.p],
            |pixels, (row, &index)| {
                pixels.iter_mut().zip(&*row).enumerate().for_each(|(j, (v, x))| *v = clean.value(*x, j));
                for (operator, streams) in &operators {
                    operator(pixels, &mut streams.item(u64::from(index)));
                }
                row.iter_mut().zip(&*pixels).enumerate().for_each(|(j, (x, v))| *x = clean.normalised(*v, j));
            },
        );
    }

    fn texts(&self, split: &Split, seen: &mut Observations) {
        let clean = split.txt.as_ref();
        let operator = |(p, streams): (&'static Perturbation, Streams)| match p.act {
            Act::Sentence(disturb) => Some((disturb, (p.strength)(&self.config), streams)),
            Act::Feature { .. } | Act::Image(_) => None,
        };
        let operators: Vec<_> = self.on(split.seed).filter_map(operator).collect();
        if operators.is_empty() {
            return;
        }
        let rows = seen.clean.par_chunks_mut(clean.p).zip(&split.index).enumerate();
        rows.for_each(|(i, (row, &index))| {
            let Some(sentence) = split.sentence(i) else { return };
            let mut slots = sentence.slots();
            for (disturb, strength, streams) in &operators {
                disturb(&mut slots, *strength, &mut streams.item(u64::from(index)));
            }
            slots.featurise(split.text_features, row);
            row.iter_mut().enumerate().for_each(|(j, x)| *x = clean.normalised(f64::from(*x), j));
        });
    }
}

/// Factor on everything that the encoder of a modality takes in.
fn gain(config: &Config, modality: Modality) -> f64 {
    match modality {
        Modality::Image => config.image.gain,
        Modality::Text => config.text.gain,
    }
}

/// A positive zero for any zero, as in clean data.
fn amplified(x: f32, gain: f64) -> f32 {
    (f64::from(x) * gain) as f32 + 0.0
}

/// The observations of a split as the encoder of `modality` sees them under `config`: the host's view, and what the
/// device does to it.
///
/// **Shapes.** `[N, P]` row by row.
///
/// **Returns.** Normalised features. With all strengths at 0 and gains at 1, the clean observations bit for bit.
///
/// **Numerics.** Intensities in f64 on the host; f32 without fused multiply-add for what the device does; one that fuses
/// may differ in the last bit.
pub fn observed(split: &Split, modality: Modality, config: &Config) -> Vec<f32> {
    let view = Setting::of(config, modality).of_split(split);
    on_features(&view, modality, config, |_, draws| Cow::Owned(draws(split)))
}

/// What the device does to a view: features under the perturbations that act on them. `draws_of` gives the draws of one,
/// from its path and from what makes them for a split.
pub fn on_features<'a>(
    view: &Observations,
    modality: Modality,
    config: &Config,
    draws_of: impl Fn(&str, fn(&Split) -> Vec<f32>) -> Cow<'a, [f32]>,
) -> Vec<f32> {
    let mut x = view.clean.clone();
    for perturbation in PERTURBATIONS.iter().filter(|p| p.modality == modality && p.is_on(config)) {
        let Act::Feature { draws, on_features, apply } = perturbation.act else { continue };
        let (draws, strength) = (draws_of(perturbation.path, draws), on_features(config) as f32);
        for (row, draws) in x.chunks_mut(view.p).zip(draws.chunks(view.p)) {
            for ((x, &draw), &background) in row.iter_mut().zip(draws).zip(&view.background) {
                *x = apply(*x, draw, background, strength);
            }
        }
    }
    x
}
