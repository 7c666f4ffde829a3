//! The gradient check of a sweep: which settings of the loss it goes through.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::checks::CheckError;
use super::plan::features;
use crate::aligner::backend::Backend;
use crate::aligner::fault::Fault;
use crate::aligner::gradcheck::{COORDINATES, Case, TensorCheck};
use crate::aligner::regulariser::{REGULARISERS, active, switch_all_on, weight_of_note};
use crate::numerics::shown::exact;
use crate::numerics::stream::Streams;
use crate::spec::Cell;
use crate::spec::config::{Config, TrainConfig};

/// Largest minibatch that the gradient check uses: the reference's derivatives cost its square per coordinate.
const BATCH: usize = 24;

/// Coordinates of each tensor that are held to the reference before a run, which should not wait long for them: enough
/// for a tensor that autodiff gets wrong throughout, which is what they are for.
const OWN_COORDINATES: usize = 6;

/// Temperatures that `gradcheck` goes through.
const TEMPERATURES: [f64; 3] = [1e-3, 0.1, 10.0];

/// Temperature at which rounding takes little of a gradient.
const MILD_TEMPERATURE: f64 = 0.1;

/// Gains of checked outputs, on both sides of 1.
const CHECKED_GAINS: [f64; 2] = [3.0, 0.25];

/// Rate of checked balancing.
const CHECKED_BALANCE: f64 = 0.1;

/// Share of the off-diagonal correlations at which neither they nor the diagonal ones are lost among the others.
const CHECKED_OFF_DIAGONAL: f64 = 0.05;

/// Crowds embeddings so far that each axis falls short of what the variance term asks for, at any width: where none
/// does, the term is flat. It also keeps embeddings of one hidden unit away from zero, where their directions are rounding.
const CROWDING: f32 = 1.0;

/// Seed of a check's inputs: whether a gradient is right does not depend on them.
const SEED: u64 = 0;

/// Which settings of the loss a gradient check goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settings {
    /// Of each shape InfoNCE alone at mild settings; then, for each set of options that are on together, mild settings,
    /// at which a fault of theirs shows, and those of the cells at the ends of its parameters. They follow from which
    /// cells there are, not from their order nor from which of them are finished.
    Own,
    /// Those of the first cell and around them: every option that changes the loss, and temperatures from 1e-3 to 10.
    All,
}

/// Settings that change the loss.
struct Variant {
    name: String,
    batch: usize,
    train: TrainConfig,
    gains: [f64; 2],
    /// Added to the biases of the outputs.
    crowding: f32,
}

/// Checks the analytic gradients of the models of `cells`, for every parameter tensor, on `backend`.
pub fn gradcheck<'a>(
    cells: impl IntoIterator<Item = &'a Cell>,
    backend: &Backend,
    settings: Settings,
    fault: Option<Fault>,
) -> Result<Vec<TensorCheck>, CheckError> {
    let mut cells = cells.into_iter().peekable();
    let first: &'a Cell = cells.peek().ok_or(CheckError::NoCells)?;
    let first = &first.config;
    let variants: Vec<(&Config, Variant)> = match settings {
        Settings::All => {
            mild_ones([first]).chain(loss_variants(first).into_iter().map(|variant| (first, variant))).collect()
        }
        Settings::Own => {
            let mut sets: BTreeMap<Options, Ends<'a>> = BTreeMap::new();
            cells.for_each(|cell| sets.entry(options(&cell.config)).or_default().take(&cell.config));
            let mild = mild_ones(sets.values().flat_map(Ends::shapes));
            mild.chain(sets.values().flat_map(Ends::all).map(|config| (config, own(config)))).collect()
        }
    };
    let variants = told_apart(variants);
    let coordinates = if settings == Settings::All { COORDINATES } else { OWN_COORDINATES };
    let check = |(config, variant)| check(config, variant, coordinates, backend, fault);
    Ok(variants.into_par_iter().flat_map_iter(check).collect())
}

fn check(
    config: &Config,
    variant: Variant,
    coordinates: usize,
    backend: &Backend,
    fault: Option<Fault>,
) -> Vec<TensorCheck> {
    let Variant { name, batch, train, gains, crowding } = variant;
    // Standard normal inputs rather than the cell's world: data that tell nothing apart have gradients that are all
    // rounding.
    let x = [0, 1].map(|m| {
        let mut stream = Streams::new(SEED, "gradcheck.inputs").item(m as u64);
        (0..batch * features(config)[m] as usize).map(|_| stream.normal() as f32).collect::<Vec<f32>>()
    });
    let model = &config.model;
    let hidden = [model.hidden_img as usize, model.hidden_txt as usize];
    let mut case = Case::new(name, x, batch, hidden, train, model.embedding as usize);
    case.parameters.iter_mut().flat_map(|[.., b2]| b2).for_each(|b| *b += crowding);
    Case { gains, coordinates, ..case }.check(&backend.executor, fault)
}

/// Which options that change the loss are on in a cell: terms, balancing, and the gain of each output.
type Options = (Vec<&'static str>, bool, [bool; 2]);

fn options(config: &Config) -> Options {
    let gains = config.model.output_gains().map(|gain| gain != 1.0);
    (active(&config.train).map(|r| r.param).collect(), config.train.balance > 0.0, gains)
}

/// A set's configurations with the least and the greatest value of each parameter that a gradient depends on.
#[derive(Default)]
struct Ends<'a> {
    /// For each parameter the least and the greatest, by its value, then by all of them.
    each: Vec<[(Key, &'a Config); 2]>,
}

/// Values of the parameters that a gradient depends on, as the bits of numbers that are not negative, which sort like
/// them: shapes, then settings.
type Key = Vec<u64>;

/// How many of a key's values are shapes.
const SHAPES: usize = 5;

fn key(config: &Config) -> Key {
    let (model, train) = (&config.model, &config.train);
    let [img, txt] = features(config);
    let shapes: [u64; SHAPES] = [img, txt, model.hidden_img, model.hidden_txt, model.embedding];
    let off_diagonal = if train.redundancy_weight > 0.0 { train.redundancy_off_diagonal } else { 0.0 };
    let settings = [train.temperature, train.weight_i2t, train.weight_t2i, train.balance, off_diagonal];
    let weights = REGULARISERS.iter().map(|r| (r.weight)(train));
    let numbers = settings.into_iter().chain(config.model.output_gains()).chain(weights);
    // A negative zero would sort last.
    let numbers = numbers.map(|number| (number + 0.0).to_bits());
    shapes.into_iter().chain([own_batch(config) as u64]).chain(numbers).collect()
}

impl<'a> Ends<'a> {
    fn take(&mut self, config: &'a Config) {
        let key = key(config);
        if self.each.is_empty() {
            self.each = key.iter().map(|_| [(key.clone(), config), (key.clone(), config)]).collect();
        }
        for (at, [least, greatest]) in self.each.iter_mut().enumerate() {
            let order = |other: &Key| key[at].cmp(&other[at]).then_with(|| key.cmp(other));
            if order(&least.0).is_lt() {
                *least = (key.clone(), config);
            }
            if order(&greatest.0).is_gt() {
                *greatest = (key.clone(), config);
            }
        }
    }

    /// Each once.
    fn all(&self) -> impl Iterator<Item = &'a Config> {
        self.each.iter().flatten().map(|(key, config)| (key, *config)).collect::<BTreeMap<_, _>>().into_values()
    }

    /// One of each shape.
    fn shapes(&self) -> impl Iterator<Item = &'a Config> {
        let mut seen = BTreeSet::new();
        self.all().filter(move |config| seen.insert(key(config)[..SHAPES].to_vec()))
    }
}

fn own_batch(config: &Config) -> usize {
    BATCH.min(config.train.batch_size as usize)
}

/// A cell's own settings, each option that is on with its value.
fn own(config: &Config) -> Variant {
    let (train, gains) = (&config.train, config.model.output_gains());
    let [temperature, i2t, t2i] = [train.temperature, train.weight_i2t, train.weight_t2i].map(exact);
    let mut name = format!("temperature {temperature} (the spec's), weights {i2t} and {t2i}");
    let mut add = |what: &str, value: f64| name += &format!(", {what} {}", exact(value));
    active(train).for_each(|r| add(r.param, (r.weight)(train)));
    if train.redundancy_weight > 0.0 {
        add("train.redundancy_off_diagonal", train.redundancy_off_diagonal);
    }
    if train.balance > 0.0 {
        add("train.balance", train.balance);
    }
    for (what, gain) in ["model.output_gain_img", "model.output_gain_txt"].into_iter().zip(gains) {
        if gain != 1.0 {
            add(what, gain);
        }
    }
    Variant { name, batch: own_batch(config), train: train.clone(), gains, crowding: 0.0 }
}

/// The mild settings of some configurations: without options once of each shape, since a fault of InfoNCE can drown in
/// the other terms, and with the options that are on.
fn mild_ones<'a>(configs: impl IntoIterator<Item = &'a Config>) -> impl Iterator<Item = (&'a Config, Variant)> {
    let none = (Vec::new(), false, [false; 2]);
    let mut shapes = BTreeSet::new();
    configs.into_iter().flat_map(move |config| {
        let alone = shapes.insert(key(config)[..SHAPES].to_vec()).then(|| mild(config, none.clone()));
        let on = options(config);
        let together = (on != none).then(|| mild(config, on));
        alone.into_iter().chain(together).map(move |variant| (config, variant))
    })
}

/// The variants, with their shapes in their names where those are not enough to tell them apart.
fn told_apart(mut variants: Vec<(&Config, Variant)>) -> Vec<(&Config, Variant)> {
    let names: BTreeSet<&str> = variants.iter().map(|(_, variant)| variant.name.as_str()).collect();
    if names.len() < variants.len() {
        for (config, variant) in &mut variants {
            let ([img, txt], model) = (features(config), &config.model);
            variant.name += &format!(
                ", widths {img}-{}-{d} and {txt}-{}-{d}, minibatch {}",
                model.hidden_img,
                model.hidden_txt,
                variant.batch,
                d = model.embedding
            );
        }
    }
    variants
}

/// Settings at which rounding takes little, with some options: each at a value of note.
fn mild(config: &Config, (on, balanced, gained): Options) -> Variant {
    let mut train = TrainConfig {
        temperature: MILD_TEMPERATURE,
        // Unlike each other, so that directions that were exchanged show.
        weight_i2t: 0.3,
        weight_t2i: 0.6,
        balance: if balanced { CHECKED_BALANCE } else { 0.0 },
        redundancy_off_diagonal: CHECKED_OFF_DIAGONAL,
        ..config.train.clone()
    };
    let weight = weight_of_note(&train);
    for regulariser in REGULARISERS {
        let is_on = on.contains(&regulariser.param);
        (regulariser.set_weight)(&mut train, if is_on { weight } else { 0.0 });
    }
    let gains = [0, 1].map(|m| if gained[m] { CHECKED_GAINS[m] } else { 1.0 });
    let gain = gained.contains(&true).then_some("model.output_gain");
    let names = on.into_iter().chain(balanced.then_some("train.balance")).chain(gain);
    let name = names.fold("mild settings".to_string(), |name, option| name + ", " + option);
    Variant { name, batch: BATCH, train, gains, crowding: CROWDING }
}

/// The settings that change the loss, around a cell's own: temperatures from 1e-3 to 10, one-sided weights, and every
/// option, alone and all together.
fn loss_variants(config: &Config) -> Vec<Variant> {
    let with = |name: String, change: &dyn Fn(&mut TrainConfig)| {
        let mut train = config.train.clone();
        change(&mut train);
        Variant { name, batch: BATCH, train, gains: config.model.output_gains(), crowding: 0.0 }
    };
    let mut variants = vec![own(config)];
    for t in TEMPERATURES {
        variants.push(with(format!("temperature {t}"), &move |train| train.temperature = t));
    }
    for (i2t, t2i) in [(1.0, 0.0), (0.0, 1.0), (0.3, 2.0)] {
        variants.push(with(format!("weights {i2t} and {t2i}"), &move |train| {
            (train.weight_i2t, train.weight_t2i) = (i2t, t2i);
        }));
    }
    for t in TEMPERATURES {
        for regulariser in REGULARISERS {
            variants.push(with(format!("{}, temperature {t}", regulariser.param), &move |train| {
                train.temperature = t;
                let weight = weight_of_note(train);
                (regulariser.set_weight)(train, weight);
            }));
        }
        let every = with(format!("every option, temperature {t}"), &move |train| {
            (train.temperature, train.balance) = (t, CHECKED_BALANCE);
            let weight = weight_of_note(train);
            switch_all_on(train, weight);
        });
        variants.push(Variant { gains: CHECKED_GAINS, ..every });
    }
    variants
}

#[cfg(test)]
mod tests;
