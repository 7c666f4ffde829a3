//! What a sweep will cost: steps, memory, bytes and time, before anything is trained.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::burn_trainer::{WORLDS_KEPT, views_kept};
use super::pack::{Pack, view_key};
use super::scheduler::{Control, TrainError, Trainer};
use super::watch::{SPECTRAL_SERIES, STRUCTURE_SERIES, VALIDATION_SERIES};
use crate::aligner::backend::Place;
use crate::aligner::objective::further_series;
use crate::aligner::regulariser::active;
use crate::aligner::train::EVALUATION_ROWS;
use crate::spec::Cell;
use crate::spec::config::{Config, Panel, Select};
use crate::world::Modality;
use crate::world::perturbation::{Act, PERTURBATIONS};
use crate::world::view::Setting;

/// Cells of a native pack unless told otherwise: cells of one seed that differ in, say, temperature share the gathering
/// of a minibatch. On the reference workload packs of 1 to 16 take the same processor time within 7%, 8 the least.
const NATIVE_PACK: usize = 8;

/// Working set of a pack of tensors on the CPU: about one core's share of the outer caches. On the reference workload
/// packs of 2 to 4 cells were fastest, packs of 16 a quarter slower.
const CPU_WORKING_SET: u64 = 8 << 20;

/// Cells of a GPU pack unless memory says less: enough to fill the device with tiny matrices.
const GPU_PACK: usize = 64;

/// Most cells a CPU pack holds: a pack is what a kill loses.
const CPU_PACK: usize = 16;

/// Device memory that a pack may take.
const GPU_MEMORY: u64 = 2 << 30;

/// Packs per worker that a sweep is cut into at least, so that none is idle for long while the last ones train.
const PACKS_PER_WORKER: usize = 4;

/// Bytes on disk of a run without cells: what the tables say of their columns.
const BYTES_PER_RUN: u64 = 370_000;

/// Bytes on disk of a finished cell beside its curves, with the fast panel: its record, its table rows and spectra. 270
/// more cells of the smoke sweep take 2,280 each, and 32 dimensions 500 more.
const BYTES_PER_CELL: u64 = 2_800;

/// What the full panel adds to a cell: 1,220 there.
const BYTES_OF_FULL_PANEL: u64 = 1_200;

/// Bytes on disk of a cell's measurement under a further condition: record and table row.
fn condition_bytes(config: &Config) -> u64 {
    if config.panel == Panel::Full { 1_800 } else { 900 }
}

/// Bytes on disk of the surfaces at one combination of levels under one condition. 1,250 of the smoke sweep take 4,160
/// each with the fast panel.
const BYTES_PER_SURFACE: u64 = 4_200;

/// Bytes on disk of one point of one series, compressed, in a part and in the table. The collapse sweep takes 8.4.
const BYTES_PER_POINT: u64 = 9;

/// Series of a training step: three losses and the gradient norms.
const TRAINING_SERIES: u64 = 3 + crate::aligner::step::GRADIENT_NORM_NAMES.len() as u64;

/// Features of one sample: image, text.
pub(super) fn features(config: &Config) -> [u64; 2] {
    [config.world.image_size.pow(2), crate::world::text::width(config.text.features) as u64]
}

fn parameters(config: &Config) -> u64 {
    let model = &config.model;
    let [img, txt] = features(config);
    let encoder = |inputs: u64, hidden: u64| inputs * hidden + hidden + hidden * model.embedding + model.embedding;
    encoder(img, model.hidden_img) + encoder(txt, model.hidden_txt)
}

/// Floating-point operations of training one cell, two per multiply-add: its matrix products alone. Per step both
/// encoders go forward and backward (no gradient with respect to the inputs), and the similarities and both their
/// gradients are one product each, twice where the directions are balanced. Regularisers that read second moments take
/// three products for these and four for their gradients.
pub fn training_flops(config: &Config) -> f64 {
    let (b, d) = (config.train.batch_size as f64, config.model.embedding as f64);
    let [img, txt] = features(config).map(|p| p as f64);
    let [hidden_img, hidden_txt] = [config.model.hidden_img as f64, config.model.hidden_txt as f64];
    let first_layers = 2.0 * (img * hidden_img + txt * hidden_txt);
    let second_layers = 3.0 * (hidden_img + hidden_txt) * d;
    let contrast = if config.train.balance > 0.0 { 6.0 } else { 3.0 } * b * d;
    let moments = if active(&config.train).any(|r| r.moments) { 7.0 * d * d } else { 0.0 };
    config.train.steps as f64 * 2.0 * b * (first_layers + second_layers + contrast + moments)
}

/// Values of the minibatch, activations and about four B x B matrices of one cell; or of its evaluation, where that is
/// larger.
fn step_values(config: &Config) -> u64 {
    let b = config.train.batch_size;
    let [img, txt] = features(config);
    let hidden = config.model.hidden_img + config.model.hidden_txt;
    let rows = |n: u64| n * (img + txt + 3 * hidden + 8 * config.model.embedding);
    let training = rows(b) + 4 * b * b;
    let evaluation = rows(config.world.n_validation.max(config.world.n_test).min(EVALUATION_ROWS as u64));
    training.max(evaluation)
}

/// Bytes that one cell adds to a pack of tensors while it trains: the values of a step, parameters, gradients and
/// optimiser state.
fn lane_bytes(config: &Config) -> u64 {
    4 * (step_values(config) + 5 * parameters(config))
}

/// Bytes of a pack while it trains, without its data. The native program works in one workspace, which its cells share;
/// each has its parameters and optimiser state.
fn pack_bytes(configs: &[&Config], place: Place) -> u64 {
    match place {
        Place::Native => {
            let workspace = configs.first().map_or(0, |c| 4 * (step_values(c) + parameters(c)));
            workspace + configs.iter().map(|c| 4 * 3 * parameters(c)).sum::<u64>()
        }
        Place::Cpu => configs.iter().map(|c| lane_bytes(c)).sum(),
        // In the adapter's memory.
        Place::Adapter => 0,
    }
}

/// Samples of a world.
pub(super) fn samples(config: &Config) -> u64 {
    config.world.n_train + config.world.n_validation + config.world.n_test
}

/// Bytes of one seed's data: clean observations and the draws that are switched on.
fn seed_bytes(config: &Config) -> u64 {
    let drawn = |modality: Modality| {
        let on_device = PERTURBATIONS.iter().filter(|p| p.modality == modality && matches!(p.act, Act::Feature { .. }));
        1 + on_device.filter(|p| p.is_on(config)).count() as u64
    };
    let each = features(config).into_iter().zip(Modality::ALL);
    4 * samples(config) * each.map(|(p, modality)| p * drawn(modality)).sum::<u64>()
}

/// Bytes of the views of one configuration that are not the clean data.
fn view_bytes(config: &Config) -> u64 {
    let each = features(config).into_iter().zip(Modality::ALL);
    let seen = each.filter(|(_, modality)| !Setting::of(config, *modality).is_plain());
    4 * samples(config) * seen.map(|(p, _)| p).sum::<u64>()
}

/// Cells per pack for `alike` cells like this one on `workers` workers: `factor` times the usual size, within what
/// memory, a kill and idle workers allow.
pub fn pack_size(config: &Config, alike: usize, workers: usize, place: Place, factor: f64) -> usize {
    let (usual, most) = match place {
        Place::Native => (NATIVE_PACK, CPU_PACK),
        Place::Cpu => (fitting(CPU_WORKING_SET, config).min(CPU_PACK), CPU_PACK),
        Place::Adapter => (fitting(GPU_MEMORY, config).min(GPU_PACK), fitting(GPU_MEMORY, config)),
    };
    // A single worker is never idle.
    let shared = if workers > 1 { alike.div_ceil(PACKS_PER_WORKER * workers) } else { alike };
    ((usual as f64 * factor) as usize).min(most).min(shared).max(1)
}

/// Cells whose lanes take at most `bytes`, should each have views of its own.
fn fitting(bytes: u64, config: &Config) -> usize {
    (bytes / (lane_bytes(config) + view_bytes(config)).max(1)) as usize
}

/// Memory that a run takes without its cells: the smallest takes 57 MiB.
const PROGRAM_BYTES: u64 = 72 << 20;

/// Memory for the tables and the report of a run, for each cell and for each combination of levels beside the seed, beside
/// buffers that grow by so much for each cell up to a size. Runs of 1,000 to 72,000 tiny cells took 34 to 310 MiB for
/// theirs, at most nine tenths of this.
const TABLE_BYTES_PER_CELL: u64 = 2 << 10;
const TABLE_BYTES_PER_COMBINATION: u64 = 8 << 10;
const TABLE_BUFFERS: u64 = 180 << 20;
const BUFFERS_PER_CELL: u64 = 35 << 10;

/// Memory for one point of one series while tables are made. 400 cells of 1,000 and of 4,000 points took 70 bytes.
const MEMORY_PER_POINT: u64 = 72;

/// Address space that a run takes beside its memory, where the allocator is told to spare it: stacks and libraries.
const MAPPED_BYTES: u64 = 32 << 20;

/// Stack of a thread, and how many threads there are for each that trains: one more renders and draws.
const STACK_BYTES: u64 = 2 << 20;
const STACKS_PER_WORKER: u64 = 2;

/// Costs of training some packs.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Estimate {
    pub cells: usize,
    pub packs: usize,
    /// Cells of the largest pack.
    pub largest_pack: usize,
    /// Optimiser steps, summed over cells.
    pub cell_steps: u64,
    /// Memory at the peak, bytes: for data and training, or for tables and report after it, and for the program itself.
    pub memory_bytes: u64,
    /// Address space at the peak, bytes: that memory, and what is mapped without being used.
    pub mapped_bytes: u64,
    /// What the run directory will take, bytes, roughly.
    pub disk_bytes: u64,
}

/// Counts what `packs` will cost on `workers` workers. On a GPU the lanes are not in the host's memory.
pub fn estimate(cells: &[Cell], packs: &[Pack], workers: usize, place: Place) -> Estimate {
    let each = || packs.iter().flat_map(|p| &p.cells).map(|c| &cells[*c].config);
    // Worlds in use; tensors have a copy of their own, which passes through a second one on its way.
    let copies = if place == Place::Native { 1 } else { 3 };
    let of_pack = |pack: &Pack| -> u64 {
        let configs: Vec<&Config> = pack.cells.iter().map(|c| &cells[*c].config).collect();
        // Selected checkpoints stay on the host until their cells are measured.
        let checkpoint = if configs[0].checkpoint.select == Select::Best { 4 * parameters(configs[0]) } else { 0 };
        // Every view stands for a copy of both modalities, though it may share one of them.
        let seeds: BTreeSet<u64> = configs.iter().map(|c| c.seed).collect();
        let seen: BTreeMap<(u64, String), u64> =
            configs.iter().map(|c| ((c.seed, view_key(c)), view_bytes(c))).collect();
        let uploaded = (copies - 1) * seen.len() as u64 * seed_bytes(configs[0]);
        seeds.len() as u64 * seed_bytes(configs[0])
            + seen.values().sum::<u64>()
            + uploaded
            + pack_bytes(&configs, place)
            + checkpoint * configs.len() as u64
    };
    let most = |bytes: &dyn Fn(&Config) -> u64| each().map(bytes).max().unwrap_or(0);
    let kept = WORLDS_KEPT as u64 * most(&seed_bytes) + most(&|c| view_bytes(c) * views_kept(c) as u64);
    let points = |config: &Config| {
        let taken = |every: u64| config.train.steps.checked_div(every).unwrap_or(0);
        let structure = match config.curves.structure_every {
            0 => taken(config.curves.validate_every) * SPECTRAL_SERIES.len() as u64,
            every => taken(every) * (SPECTRAL_SERIES.len() + STRUCTURE_SERIES.len()) as u64,
        };
        taken(config.curves.every) * (TRAINING_SERIES + further_series(&config.train).len() as u64)
            + taken(config.curves.validate_every) * VALIDATION_SERIES.len() as u64
            + structure
    };
    let seeds = each().map(|c| c.seed).collect::<BTreeSet<u64>>().len().max(1) as u64;
    let bytes_of = |cell: &Cell| {
        let config = &cell.config;
        let full = if config.panel == Panel::Full { BYTES_OF_FULL_PANEL } else { 0 };
        let conditions = cell.conditions.len() as u64 * condition_bytes(config);
        // A surface is shared by the cells that differ in their seeds.
        let surfaces = BYTES_PER_SURFACE * (1 + cell.conditions.len() as u64) / seeds;
        BYTES_PER_CELL + full + conditions + surfaces + points(config) * BYTES_PER_POINT
    };
    let training = kept + packs.iter().map(of_pack).max().unwrap_or(0) * workers.min(packs.len()) as u64;
    // The tables are of all cells of the sweep, trained now or before.
    let n = cells.len() as u64;
    let series = cells.iter().map(|c| points(&c.config)).sum::<u64>();
    let tables = n * TABLE_BYTES_PER_CELL
        + n / seeds * TABLE_BYTES_PER_COMBINATION
        + TABLE_BUFFERS.min(n * BUFFERS_PER_CELL)
        + series * MEMORY_PER_POINT;
    // Worlds stay until the end.
    let memory_bytes = PROGRAM_BYTES + training.max(kept + tables);
    Estimate {
        cells: each().count(),
        packs: packs.len(),
        largest_pack: packs.iter().map(|p| p.cells.len()).max().unwrap_or(0),
        cell_steps: each().map(|c| c.train.steps).sum(),
        memory_bytes,
        mapped_bytes: memory_bytes + MAPPED_BYTES + STACKS_PER_WORKER * STACK_BYTES * workers as u64,
        disk_bytes: BYTES_PER_RUN + packs.iter().flat_map(|p| &p.cells).map(|c| bytes_of(&cells[*c])).sum::<u64>(),
    }
}

/// A short measurement of how fast packs train here.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Calibration {
    /// Cell-steps per second of all workers together: slowest block, mean and fastest block of what was measured. None
    /// when there were not two steps to measure between.
    pub cell_steps_per_s: Option<[f64; 3]>,
    /// Seconds that measuring one trained cell takes on one worker, under all of its conditions.
    pub panel_s: f64,
    /// The same, were the panel the fast one.
    pub panel_fast_s: f64,
    /// The same, were the panel the full one.
    pub panel_full_s: f64,
    /// Seconds that the measurement took.
    pub took_s: f64,
}

/// How often the calibration reads the step counter.
const SAMPLE: Duration = Duration::from_millis(20);

/// Blocks of the measurement whose rates give the range.
const BLOCKS: usize = 5;

/// Measures how fast a pack trains on `workers` workers, for about `budget`, and what measuring its first cell takes.
pub fn calibrate(
    cells: &[Cell],
    pack: &Pack,
    trainer: &dyn Trainer,
    workers: usize,
    budget: Duration,
) -> Result<Calibration, TrainError> {
    let started = Instant::now();
    let cell_steps_per_s = training_rates(cells, pack, trainer, workers, budget)?;
    let first = &cells[pack.cells[0]];
    let panel_fast_s = measuring_seconds(first, Panel::Fast, trainer)?;
    let panel_full_s = measuring_seconds(first, Panel::Full, trainer)?;
    let panel_s = if first.config.panel == Panel::Full { panel_full_s } else { panel_fast_s };
    Ok(Calibration { cell_steps_per_s, panel_s, panel_fast_s, panel_full_s, took_s: started.elapsed().as_secs_f64() })
}

/// Trains a pack on each of `workers` workers, over and over, for about `budget` after the first step, and abandons it.
///
/// Preparation before the first step does not count: it is shared by all packs of a seed. Everything after does,
/// validation and panels included.
///
/// **Returns** cell-steps per second of all workers together: slowest block, mean and fastest block of what was measured.
/// None when there were not two steps to measure between.
pub fn training_rates(
    cells: &[Cell],
    pack: &Pack,
    trainer: &dyn Trainer,
    workers: usize,
    budget: Duration,
) -> Result<Option<[f64; 3]>, TrainError> {
    let lanes: Vec<&Cell> = pack.cells.iter().map(|c| &cells[*c]).collect();
    let control = Control::default();
    let again = || {
        loop {
            trainer.train(&lanes, &control)?();
            // Without steps there is nothing to count, and one round says what it costs.
            if control.cell_steps.load(Ordering::Relaxed) == 0 {
                return Ok(());
            }
        }
    };
    let mut readings: Vec<(Instant, u64)> = Vec::new();
    std::thread::scope(|scope| {
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, again);
        let (handles, refused): (Vec<_>, Vec<_>) = (0..workers.max(1)).map(start).partition(Result::is_ok);
        let handles: Vec<_> = handles.into_iter().flatten().collect();
        if let (true, Some(Err(error))) = (handles.is_empty(), refused.first()) {
            return Err(TrainError::Failed(format!("cannot start a thread: {error}")));
        }
        // Two readings make a rate, however long a step takes.
        let enough = |r: &[(Instant, u64)]| r.len() > 1 && r[0].0.elapsed() >= budget;
        while handles.iter().any(|h| !h.is_finished()) && !enough(&readings) {
            std::thread::sleep(SAMPLE);
            let steps = control.cell_steps.load(Ordering::Relaxed);
            // Only where the counter moved: a step may take longer than a sample.
            if steps > readings.last().map_or(0, |(_, steps)| *steps) {
                readings.push((Instant::now(), steps));
            }
        }
        control.cancel.store(true, Ordering::Relaxed);
        handles.into_iter().try_for_each(|handle| match handle.join() {
            Ok(Err(TrainError::Failed(reason))) => Err(TrainError::Failed(reason)),
            Ok(_) => Ok(()),
            Err(_) => Err(TrainError::Failed("the trainer panicked while calibrating".into())),
        })
    })?;
    Ok(rates(&readings))
}

/// Slowest block, mean and fastest block of a step counter's readings; a single reading gives nothing.
fn rates(readings: &[(Instant, u64)]) -> Option<[f64; 3]> {
    let rate = |from: (Instant, u64), to: (Instant, u64)| (to.1 - from.1) as f64 / (to.0 - from.0).as_secs_f64();
    let (first, last) = (*readings.first()?, *readings.last()?);
    if readings.len() < 2 {
        return None;
    }
    // Blocks share their end points, so that no interval is left out.
    let blocks = BLOCKS.min(readings.len() - 1);
    let edge = |i: usize| readings[i * (readings.len() - 1) / blocks];
    let rates: Vec<f64> = (0..blocks).map(|i| rate(edge(i), edge(i + 1))).collect();
    let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let fastest = rates.iter().copied().fold(0.0, f64::max);
    Some([slowest, rate(first, last), fastest])
}

/// Times measuring a cell of this configuration, untrained, under all of its conditions, with another panel.
fn measuring_seconds(cell: &Cell, panel: Panel, trainer: &dyn Trainer) -> Result<f64, TrainError> {
    let mut config = cell.config.clone();
    (config.train.steps, config.panel) = (0, panel);
    let untrained = Cell::new(config, cell.conditions.clone());
    let measure = trainer.train(&[&untrained], &Control::default())?;
    let started = Instant::now();
    std::hint::black_box(measure());
    Ok(started.elapsed().as_secs_f64())
}

impl Calibration {
    /// Seconds for `estimate` on `threads` workers: fastest, expected, slowest.
    pub fn seconds(&self, estimate: &Estimate, threads: usize) -> [f64; 3] {
        let panels = estimate.cells as f64 * self.panel_s / threads.min(estimate.packs).max(1) as f64;
        let training = match self.cell_steps_per_s {
            Some([slow, median, fast]) => [fast, median, slow].map(|rate| estimate.cell_steps as f64 / rate),
            None => [0.0; 3],
        };
        training.map(|seconds| seconds + panels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::make_packs;
    use crate::spec::{Overrides, load};

    #[test]
    fn counts_are_those_of_the_sweep() {
        let sweep = load("reference", &Overrides::default()).expect("a built-in");
        let wanted: Vec<usize> = (0..sweep.cells.len()).collect();
        let packs = make_packs(&sweep.cells, &wanted, |_, _| 8);
        let estimate = estimate(&sweep.cells, &packs, 2, Place::Native);
        assert_eq!((estimate.cells, estimate.packs, estimate.largest_pack), (64, 8, 8));
        assert_eq!(estimate.cell_steps, 64 * 300);
        // One encoder pair: (256 + 1) 64 + (64 + 1) 32 for images, (64 + 1) 64 + (64 + 1) 32 for text.
        assert_eq!(parameters(&sweep.cells[0].config), 257 * 64 + 65 * 32 + 65 * 64 + 65 * 32);
        // 39.8 MFLOP per step.
        assert_eq!(training_flops(&sweep.cells[0].config), 300.0 * 39_845_888.0);
        assert_eq!(seed_bytes(&sweep.cells[0].config), 4 * (4096 + 512 + 512) * (256 + 64));
    }

    #[test]
    fn views_and_draws_count_for_the_modality_that_has_them() {
        let mut config = Config::default();
        assert_eq!(view_bytes(&config), 0);
        (config.image.noise, config.text.dropout) = (0.1, 0.2);
        assert_eq!((seed_bytes(&config), view_bytes(&config)), (4 * 5120 * (2 * 256 + 64), 4 * 5120 * 64));
        config.image.gain = 2.0;
        assert_eq!(view_bytes(&config), 4 * 5120 * (256 + 64));
    }

    #[test]
    fn packs_shrink_with_the_cell_and_never_vanish() {
        let mut config = Config::default();
        for place in [Place::Native, Place::Cpu, Place::Adapter] {
            assert!(pack_size(&config, 1000, 1, place, 1.0) > 1);
            assert_eq!(pack_size(&config, 1, 4, place, 4.0), 1);
            assert_eq!(pack_size(&config, 16, 2, place, 4.0), 2, "every worker gets a few packs");
        }
        assert!(pack_size(&config, 1000, 1, Place::Adapter, 1.0) > pack_size(&config, 1000, 1, Place::Cpu, 1.0));
        config.train.batch_size = 1 << 14;
        assert_eq!(pack_size(&config, 1000, 1, Place::Cpu, 1.0), 1);
    }
}
