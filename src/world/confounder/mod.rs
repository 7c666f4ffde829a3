//! What both modalities carry beside the factors: a shortcut to the pair that says nothing about the semantics.
//!
//! A confounder is one file and one line of [`CONFOUNDERS`]. It gives every sample a code, one-hot for a label, and
//! every modality one fixed pattern per entry of the code; what it adds to the features is
//! `strength * sum_k code_k pattern_k`. So the number of features stays as it is, zero strength is the identity, and
//! strengths of one seed share their codes, patterns and carriers. The normalisation of the features does not follow.

mod codebook;
mod group_tags;
mod parity;
pub mod soundness;
mod watermark;

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::numerics::stream::{Stream, Streams};
use crate::spec::config::{ConfounderConfig, ConfounderKind, ConfounderModality, TextFeatures};
use crate::world::Modality;
use crate::world::factors::Factor;
use crate::world::sample::{Split, World};
use crate::world::text::{self, Sentence, Token};

pub use codebook::CONFOUNDER as ID_CODEBOOK;
pub use group_tags::CONFOUNDER as GROUP_TAGS;
pub use parity::CONFOUNDER as PARITY;
pub use watermark::CONFOUNDER as WATERMARK;

/// One thing that both modalities can share beside the factors.
#[derive(Clone, Copy, Debug)]
pub struct Confounder {
    /// Its name as `confounder.kind`.
    pub name: &'static str,
    pub kind: ConfounderKind,
    /// What it does, in one line.
    pub doc: &'static str,
    /// Labels that samples can have: `0..groups`.
    pub groups: usize,
    /// Entries of a code, at most [`LONGEST_CODE`].
    pub dimension: usize,
    /// Fills in the code, zeros before, of the sample with this identity from the sample's own stream; returns its
    /// label. The identity is the index, or a random number when the confounder is randomised.
    pub code: fn(&mut Stream, u64, &mut [f64]) -> u8,
    /// What each entry of a code adds at strength 1, in units of the modality (intensity, tokens):
    /// `[dimension, P]` row by row, the same for every split.
    pub patterns: fn(&Split, Modality) -> Vec<f64>,
}

impl Confounder {
    /// Whether samples of one label still differ in what they carry, so that the label says less than the code.
    pub fn labels_are_partial(&self) -> bool {
        self.dimension != self.groups
    }
}

/// Every confounder, in the order of the names of `confounder.kind`.
pub const CONFOUNDERS: &[Confounder] = &[ID_CODEBOOK, WATERMARK, PARITY, GROUP_TAGS];

/// The longest code.
pub const LONGEST_CODE: usize = 16;

/// The labels of a split's samples.
///
/// They are those that the samples carry where the confounder acts, whatever its strength above 0 and its modality.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Labels are in `0..groups`.
    pub groups: usize,
    /// What each sample's image carries, in the order of the split; `None` for nothing.
    pub img: Vec<Option<u8>>,
    /// What each sample's own text carries. The same as `img`, unless the confounder is randomised.
    pub txt: Vec<Option<u8>>,
}

impl Labels {
    pub fn of(&self, modality: Modality) -> &[Option<u8>] {
        match modality {
            Modality::Image => &self.img,
            Modality::Text => &self.txt,
        }
    }

    /// The labels of one modality as group numbers in `0..=groups`: samples that carry nothing form the last group.
    pub fn numbered(&self, modality: Modality) -> Vec<usize> {
        self.of(modality).iter().map(|label| label.map_or(self.groups, usize::from)).collect()
    }

    /// Share of samples whose image or text carries something, averaged over the two; 0 for no samples.
    pub fn carried_share(&self) -> f64 {
        let carriers = self.img.iter().chain(&self.txt).filter(|label| label.is_some()).count();
        carriers as f64 / (self.img.len() + self.txt.len()).max(1) as f64
    }

    /// Share of samples whose image and own text carry the same label; 0 for no samples.
    pub fn shared_share(&self) -> f64 {
        let shared = self.img.iter().zip(&self.txt).filter(|(img, txt)| img.is_some() && img == txt).count();
        shared as f64 / self.img.len().max(1) as f64
    }
}

/// The confounder that a configuration asks for; `None` at strength 0.
pub fn active(config: &ConfounderConfig) -> Option<&'static Confounder> {
    CONFOUNDERS.iter().find(|c| c.kind == config.kind && config.strength > 0.0)
}

/// What a configuration asks for in one modality: all at its default where the confounder does not act.
pub fn acting(config: &ConfounderConfig, modality: Modality) -> ConfounderConfig {
    let acts = match config.modality {
        ConfounderModality::Both => true,
        ConfounderModality::Img => modality == Modality::Image,
        ConfounderModality::Txt => modality == Modality::Text,
    };
    if !acts || config.strength == 0.0 {
        return ConfounderConfig::default();
    }
    ConfounderConfig { modality: ConfounderModality::Both, ..config.clone() }
}

/// The labels of a split's samples; `None` at strength 0.
///
/// To label samples by a confounder that an evaluation condition removes, ask with the configuration they were
/// trained under.
///
/// **Numerics.** A label depends on the seed, the kind and the sample's index, and on no strength.
pub fn labels(split: &Split, config: &ConfounderConfig) -> Option<Labels> {
    let confounder = active(config)?;
    let of = |modality| {
        let draws = Draws::new(confounder, split.seed, modality, config);
        let mut code = [0.0; LONGEST_CODE];
        split.index.iter().map(|&index| draws.code(index, &mut code)).collect()
    };
    Some(Labels { groups: confounder.groups, img: of(Modality::Image), txt: of(Modality::Text) })
}

/// The codes of a split's samples in one modality, `[N, dimension]` row by row: zeros for what carries nothing. Empty
/// at strength 0.
pub(crate) fn codes(split: &Split, modality: Modality, config: &ConfounderConfig) -> Vec<f64> {
    let Some(confounder) = active(config) else { return Vec::new() };
    let draws = Draws::new(confounder, split.seed, modality, config);
    let of_sample = |&index: &u32| {
        let mut code = [0.0; LONGEST_CODE];
        draws.code(index, &mut code);
        code.into_iter().take(confounder.dimension)
    };
    split.index.iter().flat_map(of_sample).collect()
}

/// Facts about the confounder as it came out, by name: `confounder_share_<split>`, the share of samples that carry
/// it, and `confounder_shared_<split>`, the share whose image and own text carry the same label. Empty at strength 0.
pub fn realised(world: &World, config: &ConfounderConfig) -> BTreeMap<String, f64> {
    let mut facts = BTreeMap::new();
    for split in world.splits() {
        if let Some(labels) = labels(split, config) {
            // What acts on one modality alone is shared by none.
            let shared = if config.modality == ConfounderModality::Both { labels.shared_share() } else { 0.0 };
            facts.insert(format!("confounder_share_{}", split.name.name()), labels.carried_share());
            facts.insert(format!("confounder_shared_{}", split.name.name()), shared);
        }
    }
    facts
}

/// Adds the confounder of `config` to normalised features.
///
/// **Shapes.** `x` is `[N, P]` row by row, the samples and features of `split` in `modality`.
///
/// **Returns.** In place. At strength 0, and in a modality the confounder does not act on, `x` stays bit for bit;
/// elsewhere, without semantics, every sample becomes the background before anything is added, carrier or not.
///
/// **Numerics.** Summed in f64 and rounded to f32 once.
///
/// **Panics** when `x` has another length.
pub fn add(split: &Split, modality: Modality, config: &ConfounderConfig, x: &mut [f32]) {
    let clean = split.observations(modality);
    assert_eq!(x.len(), split.index.len() * clean.p, "a confounder needs every feature of the split");
    let Some(confounder) = active(&acting(config, modality)) else { return };
    let patterns: Vec<f64> =
        (confounder.patterns)(split, modality).into_iter().map(|v| v * config.strength / clean.scale).collect();
    let draws = Draws::new(confounder, split.seed, modality, config);
    x.par_chunks_mut(clean.p).zip(&split.index).for_each(|(row, &index)| {
        if !config.semantics {
            row.copy_from_slice(&clean.background);
        }
        let mut code = [0.0; LONGEST_CODE];
        if draws.code(index, &mut code).is_none() {
            return;
        }
        for (j, value) in row.iter_mut().enumerate() {
            let added: f64 = code.iter().zip(patterns.chunks_exact(clean.p)).map(|(weight, of)| weight * of[j]).sum();
            *value = (f64::from(*value) + added) as f32;
        }
    });
}

/// The draws of one confounder in one modality.
struct Draws {
    confounder: &'static Confounder,
    codes: Streams,
    carriers: Streams,
    prevalence: f64,
    randomised: bool,
}

impl Draws {
    fn new(confounder: &'static Confounder, seed: u64, modality: Modality, config: &ConfounderConfig) -> Self {
        let own = if config.randomised { format!(".{}", modality.name()) } else { String::new() };
        Self {
            confounder,
            codes: Streams::new(seed, &format!("confounder.{}{own}", confounder.name)),
            carriers: Streams::new(seed, &format!("confounder.carriers{own}")),
            prevalence: config.prevalence,
            randomised: config.randomised,
        }
    }

    /// The code of sample `index` and its label; `None` when it carries nothing.
    fn code(&self, index: u32, code: &mut [f64; LONGEST_CODE]) -> Option<u8> {
        let item = u64::from(index);
        // A sample carries from its own threshold on, so that a higher prevalence only adds carriers.
        if self.carriers.item(item).uniform() >= self.prevalence {
            return None;
        }
        let mut stream = self.codes.item(item);
        let identity = if self.randomised { stream.below(1 << 31) as u64 } else { item };
        code.fill(0.0);
        Some((self.confounder.code)(&mut stream, identity, &mut code[..self.confounder.dimension]))
    }
}

/// The code of a label.
fn one_hot(label: usize, code: &mut [f64]) -> u8 {
    code[label] = 1.0;
    label as u8
}

/// Patterns of labels: in images what `pixel(label, row, column, side)` says, in texts one more token, the filler of
/// the label's number.
fn label_patterns(
    split: &Split,
    modality: Modality,
    groups: usize,
    pixel: impl Fn(usize, usize, usize, usize) -> f64,
) -> Vec<f64> {
    match modality {
        Modality::Image => {
            let side = split.img.p.isqrt();
            let pixels = |label| (0..split.img.p).map(move |at| (label, at / side, at % side));
            (0..groups).flat_map(pixels).map(|(label, row, column)| pixel(label, row, column, side)).collect()
        }
        Modality::Text => (0..groups).flat_map(|label| filler_pattern(split.text_features, label)).collect(),
    }
}

/// What the filler `k` counts in when it follows the five tokens of the factors. It must not depend on what they are,
/// which features of neighbouring tokens would: so they are taken to be that filler, too.
fn filler_pattern(features: TextFeatures, k: usize) -> Vec<f64> {
    let width = text::width(features);
    let counts = |tokens: usize| {
        let mut out = vec![0.0; width];
        Sentence(Token::filler(k).into_iter().cycle().take(tokens).collect()).featurise(features, &mut out);
        out
    };
    let (before, after) = (counts(Factor::ALL.len()), counts(Factor::ALL.len() + 1));
    after.iter().zip(before).map(|(after, before)| f64::from(after - before)).collect()
}

#[cfg(test)]
mod tests;
