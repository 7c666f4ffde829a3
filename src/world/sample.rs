//! The samples of a world: drawn by index, divided into splits, observed and normalised.

use std::sync::Arc;

use rayon::prelude::*;

use crate::numerics::stream::{Stream, Streams};
use crate::spec::config::{TextFeatures, WorldConfig};
use crate::world::Modality;
use crate::world::factors::Factors;
use crate::world::image::Renderer;
use crate::world::text::{self, Sentence};

/// Why a world cannot be generated.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WorldError {
    #[error("world.n_{split} is 0: every split needs samples")]
    EmptySplit { split: &'static str },
    #[error("world.image_size is 0: an image needs pixels")]
    NoPixels,
    #[error("{samples} samples are more than 32-bit sample indices can count")]
    TooManySamples { samples: u64 },
    #[error(
        "all {modality} features are constant over the {n_train} training samples, so they have no scale; raise world.n_train"
    )]
    NoVariance { modality: &'static str, n_train: usize },
}

/// One part of a world's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitName {
    Train,
    Validation,
    Test,
}

impl SplitName {
    pub const ALL: [SplitName; 3] = [SplitName::Train, SplitName::Validation, SplitName::Test];

    pub fn name(self) -> &'static str {
        match self {
            SplitName::Train => "train",
            SplitName::Validation => "validation",
            SplitName::Test => "test",
        }
    }
}

/// Observations of one split in one modality, as an encoder takes them: clean in a [`Split`], or as the operators of a
/// configuration leave them (see [`crate::world::view`]).
///
/// A feature `v` is normalised to `(v - mean) / scale` with constants from the clean training split: the mean of each
/// feature, and one scale for the modality, such that the mean variance (over N) of the training features is 1. The
/// constants do not follow the strengths of perturbations. Were they to, an axis over a strength would also move the
/// measurement operator, and its curve would mix the two.
#[derive(Clone, Debug, PartialEq)]
pub struct Observations {
    /// Samples.
    pub n: usize,
    /// Features per sample.
    pub p: usize,
    /// Normalised features, `[N, P]` row by row.
    pub clean: Vec<f32>,
    /// What a feature becomes when it carries nothing (intensity 0, no token), normalised; `[P]`.
    pub background: Vec<f32>,
    /// Divisor of the normalisation, in units of the modality (intensity, tokens).
    pub scale: f64,
    /// Means of the training features, in units of the modality; `[P]`.
    pub mean: Vec<f64>,
}

impl Observations {
    /// The normalised form of a value of feature `j`.
    pub(crate) fn normalised(&self, value: f64, j: usize) -> f32 {
        normalised(value, self.mean[j], self.scale)
    }

    /// The value of feature `j`, in units of the modality, whose normalised form is `x`.
    pub(crate) fn value(&self, x: f32, j: usize) -> f64 {
        f64::from(x) * self.scale + self.mean[j]
    }
}

/// Adding 0 turns a negative zero into a positive one: a zero-strength noise added on the device then changes no bit.
fn normalised(value: f64, mean: f64, scale: f64) -> f32 {
    ((value - mean) / scale) as f32 + 0.0
}

/// One split: its samples in the order of their indices.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    pub name: SplitName,
    /// Sample indices, unique over the splits of a world, ascending.
    pub index: Vec<u32>,
    pub factors: Vec<Factors>,
    pub img: Arc<Observations>,
    pub txt: Arc<Observations>,
    pub text_features: TextFeatures,
    pub(crate) seed: u64,
}

/// Every split of one seed's samples.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    pub seed: u64,
    splits: [Split; 3],
}

impl World {
    /// Draws, divides, observes and normalises the samples of `seed`.
    ///
    /// The factors of a sample depend on the seed and on its index only; which split it is in also depends on the
    /// sizes of the splits, through one permutation of all indices.
    ///
    /// **Errors** when a split is empty, when there are too many samples to index, and when a modality does not vary
    /// over the training split.
    ///
    /// **Numerics.** Rendered and averaged in f64, kept as f32. The same on every platform and for every number of
    /// threads: samples are independent, and averages are taken in the order of the indices.
    pub fn generate(seed: u64, world: &WorldConfig, features: TextFeatures) -> Result<World, WorldError> {
        let sizes = [world.n_train, world.n_validation, world.n_test];
        if world.image_size == 0 {
            return Err(WorldError::NoPixels);
        }
        if let Some(empty) = SplitName::ALL.iter().zip(sizes).find(|(_, n)| *n == 0) {
            return Err(WorldError::EmptySplit { split: empty.0.name() });
        }
        let samples = sizes.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
        let total = u32::try_from(samples).map_err(|_| WorldError::TooManySamples { samples })?;

        let order = Streams::new(seed, "split").item(0).permutation(total as usize);
        let renderer = Renderer::new(world.image_size as usize);
        let mut start = 0;
        let mut splits = [SplitName::Train, SplitName::Validation, SplitName::Test].map(|name| {
            let end = start + sizes[name as usize] as usize;
            let mut index: Vec<u32> = order[start..end].iter().map(|&i| i as u32).collect();
            index.sort_unstable();
            start = end;
            Split::observe(seed, name, index, &renderer, features)
        });
        normalise(&mut splits, |split| Arc::make_mut(&mut split.img), "image")?;
        normalise(&mut splits, |split| Arc::make_mut(&mut split.txt), "text")?;
        Ok(World { seed, splits })
    }

    pub fn split(&self, name: SplitName) -> &Split {
        &self.splits[name as usize]
    }

    /// The three splits, in the order of [`SplitName::ALL`].
    pub fn splits(&self) -> &[Split; 3] {
        &self.splits
    }
}

impl Split {
    /// The split with raw features where the clean ones will be.
    fn observe(seed: u64, name: SplitName, index: Vec<u32>, renderer: &Renderer, features: TextFeatures) -> Split {
        let latents = Streams::new(seed, "latents");
        let factors: Vec<Factors> = index.par_iter().map(|&i| Factors::draw(&mut latents.item(u64::from(i)))).collect();
        let raw = |p: usize, fill: &(dyn Fn(&Factors, &mut [f32]) + Sync)| {
            let mut clean = vec![0.0; factors.len() * p];
            clean.par_chunks_mut(p).zip(&factors).for_each(|(row, factors)| fill(factors, row));
            let (background, mean) = (vec![0.0; p], vec![0.0; p]);
            Arc::new(Observations { n: factors.len(), p, clean, background, scale: 1.0, mean })
        };
        let img = raw(renderer.pixels(), &|factors, row| renderer.render(factors, row));
        let txt = raw(text::width(features), &|factors, row| Sentence::describing(factors).featurise(features, row));
        Split { name, index, factors, img, txt, text_features: features, seed }
    }

    /// The samples of the given numbers, in that order, with the draws that they have here.
    ///
    /// # Panics
    /// When a number is beyond the last sample.
    pub fn subset(&self, rows: &[usize]) -> Split {
        let of = |observations: &Arc<Observations>| {
            let Observations { p, background, scale, mean, .. } = observations.as_ref();
            let clean = rows.iter().flat_map(|row| &observations.clean[row * p..][..*p]).copied().collect();
            let (background, mean) = (background.clone(), mean.clone());
            Arc::new(Observations { n: rows.len(), p: *p, clean, background, scale: *scale, mean })
        };
        Split {
            name: self.name,
            index: rows.iter().map(|row| self.index[*row]).collect(),
            factors: rows.iter().map(|row| self.factors[*row]).collect(),
            img: of(&self.img),
            txt: of(&self.txt),
            text_features: self.text_features,
            seed: self.seed,
        }
    }

    /// Clean observations in one modality.
    pub fn observations(&self, modality: Modality) -> &Arc<Observations> {
        match modality {
            Modality::Image => &self.img,
            Modality::Text => &self.txt,
        }
    }

    /// The sentence of the split's sample number `i`; `None` beyond the last.
    pub fn sentence(&self, i: usize) -> Option<Sentence> {
        self.factors.get(i).map(Sentence::describing)
    }

    /// Draws for every feature, `[N, P]` row by row: `fill` gets a sample's own stream for `purpose` and its row.
    pub(crate) fn draws(&self, purpose: &str, p: usize, fill: impl Fn(&mut Stream, &mut [f32]) + Sync) -> Vec<f32> {
        let streams = Streams::new(self.seed, purpose);
        let mut out = vec![0.0; self.index.len() * p];
        out.par_chunks_mut(p).zip(&self.index).for_each(|(row, &index)| {
            fill(&mut streams.item(u64::from(index)), row);
        });
        out
    }
}

/// A uniform draw in `[0, 1)` on the grid of 2^-24, exact in f32: strictly below 1, so that a strength of 1 takes
/// everything, and never below 0, so that a strength of 0 takes nothing.
pub(crate) fn uniform_f32(stream: &mut Stream) -> f32 {
    const GRID: f64 = (1u32 << 24) as f64;
    ((stream.uniform() * GRID).floor() / GRID) as f32
}

/// Below this a modality is constant: what is left are roundings of averages, at most (n * 2^-53)^2 for values of at
/// most 1, and one deviating pixel of a million samples is above it.
const NO_VARIANCE: f64 = 1e-18;

/// Normalises one modality of all splits with constants from the training split, which comes first.
fn normalise(
    splits: &mut [Split; 3],
    of: fn(&mut Split) -> &mut Observations,
    modality: &'static str,
) -> Result<(), WorldError> {
    let train = of(&mut splits[SplitName::Train as usize]);
    let n = train.n as f64;
    let rows = || train.clean.chunks_exact(train.p);
    let mut mean = vec![0.0; train.p];
    for row in rows() {
        mean.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v) / n);
    }
    // Two passes: the deviations are taken from the mean, so that nothing cancels.
    let squares: f64 = rows().flat_map(|row| row.iter().zip(&mean).map(|(&v, m)| (f64::from(v) - m).powi(2))).sum();
    let variance = squares / (n * train.p as f64);
    if variance < NO_VARIANCE {
        return Err(WorldError::NoVariance { modality, n_train: train.n });
    }
    let scale = variance.sqrt();
    for split in splits {
        let observations = of(split);
        observations.scale = scale;
        observations.background = mean.iter().map(|m| normalised(0.0, *m, scale)).collect();
        observations.clean.par_chunks_mut(mean.len()).for_each(|row| {
            row.iter_mut().zip(&mean).for_each(|(v, m)| *v = normalised(f64::from(*v), *m, scale));
        });
        observations.mean.clone_from(&mean);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SMALL: WorldConfig = WorldConfig { image_size: 8, n_train: 200, n_validation: 30, n_test: 50 };

    fn small(seed: u64) -> World {
        World::generate(seed, &SMALL, TextFeatures::BagOfTokens).expect("a sound configuration")
    }

    #[test]
    fn splits_have_their_sizes_and_share_no_index() {
        let world = small(0);
        let sizes = SplitName::ALL.map(|name| world.split(name).index.len());
        assert_eq!(sizes, [200, 30, 50]);
        let all: BTreeSet<u32> = SplitName::ALL.iter().flat_map(|&name| world.split(name).index.clone()).collect();
        assert_eq!(all, (0..280).collect());
        for name in SplitName::ALL {
            let split = world.split(name);
            assert_eq!(split.name, name);
            assert_eq!((split.img.n, split.img.p, split.txt.p), (split.index.len(), 64, 64));
            assert_eq!(split.img.clean.len(), split.index.len() * 64);
        }
    }

    #[test]
    fn factors_depend_on_seed_and_index_only() {
        let (world, seed) = (small(4), 4);
        let larger = WorldConfig { n_train: 900, image_size: 12, ..SMALL };
        let larger = World::generate(seed, &larger, TextFeatures::TokenPosition).expect("a sound configuration");
        let of = |world: &World, sample: u32| {
            SplitName::ALL.iter().find_map(|&name| {
                let split = world.split(name);
                split.index.iter().position(|&i| i == sample).map(|i| split.factors[i])
            })
        };
        for sample in 0..280 {
            assert_eq!(of(&world, sample), of(&larger, sample));
        }
        assert_ne!(of(&world, 0), of(&small(5), 0));
    }

    #[test]
    fn constants_come_from_the_training_split_alone() {
        let world = small(1);
        let train = world.split(SplitName::Train);
        for observations in [&train.img, &train.txt] {
            let (n, p) = (observations.n as f64, observations.p);
            let column = |j: usize| observations.clean.iter().skip(j).step_by(p).map(|&v| f64::from(v));
            let mut variance = 0.0;
            for j in 0..p {
                // Sums of 200 f32 values of order 1.
                assert!((column(j).sum::<f64>() / n).abs() < 1e-6);
                variance += column(j).map(|v| v * v).sum::<f64>() / (n * p as f64);
            }
            assert!((variance - 1.0).abs() < 1e-6, "mean feature variance is {variance}");
        }
        // A raw value comes back from the normalised one and the background: clean - background = raw / scale.
        for name in SplitName::ALL {
            let split = world.split(name);
            let mut raw = vec![0.0; 64];
            Renderer::new(8).render(&split.factors[3], &mut raw);
            for ((clean, background), raw) in split.img.clean[3 * 64..].iter().zip(&split.img.background).zip(raw) {
                assert!((f64::from(clean - background) * split.img.scale - f64::from(raw)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn constant_features_are_only_centred() {
        let world = small(2);
        let train = world.split(SplitName::Train);
        // Fillers never occur in clean sentences.
        for filler in 52..64 {
            assert!(train.txt.clean.iter().skip(filler).step_by(64).all(|&v| v == 0.0));
            assert_eq!(train.txt.background[filler], 0.0);
        }
    }

    #[test]
    fn no_result_depends_on_the_number_of_threads() {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| small(3))
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn unsound_sizes_are_errors() {
        let generate = |config: WorldConfig| World::generate(0, &config, TextFeatures::BagOfTokens).unwrap_err();
        assert_eq!(generate(WorldConfig { n_test: 0, ..SMALL }), WorldError::EmptySplit { split: "test" });
        assert_eq!(generate(WorldConfig { image_size: 0, ..SMALL }), WorldError::NoPixels);
        let samples = (1u64 << 32) + 80;
        assert_eq!(generate(WorldConfig { n_train: 1 << 32, ..SMALL }), WorldError::TooManySamples { samples });
        assert_eq!(
            generate(WorldConfig { n_train: 1, ..SMALL }),
            WorldError::NoVariance { modality: "image", n_train: 1 }
        );
    }

    #[test]
    fn uniform_draws_lie_on_the_grid_below_one() {
        let mut stream = Streams::new(0, "test").item(0);
        for _ in 0..10_000 {
            let u = uniform_f32(&mut stream);
            assert!((0.0..1.0).contains(&u) && (u * 16_777_216.0).fract() == 0.0);
        }
    }
}
