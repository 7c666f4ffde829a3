//! Trains a pack: many cells of one shape as one tensor program, from initialisation to test embeddings.
//!
//! Losses and gradient norms stay on the device between checks, where they come back in bulk. A lane that goes
//! non-finite or that the observer stops leaves the pack; the others go on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use burn::tensor::{Device, Tensor};

use super::batches::Batches;
use super::data::{DeviceSplit, PackView, Reading, SplitData, index_tensor};
use super::encoder::embed;
use super::fault::Fault;
use super::info_nce::LossSettings;
use super::optimiser::{State, UpdateSettings, update};
use super::parameters::{Encoder, HostEncoder, Parameters, Widths, host, xavier};
use super::step::{GRADIENT_NORM_NAMES, gradient_norms, loss_and_gradients};
use crate::spec::config::{Config, TrainConfig};

/// Rows embedded at a time on a validation or test split; bounds memory and does not depend on the pack.
pub const EVALUATION_ROWS: usize = 512;

/// Names of the loss series, in the order they are recorded.
const LOSS_NAMES: [&str; 3] = ["loss", "loss_i2t", "loss_t2i"];

/// The three splits of one seed's world.
#[derive(Clone, Copy, Debug)]
pub struct SeedData<'a> {
    pub seed: u64,
    pub train: SplitData<'a>,
    pub validation: SplitData<'a>,
    pub test: SplitData<'a>,
}

/// One cell of a pack.
#[derive(Clone, Copy, Debug)]
pub struct Lane<'a> {
    pub config: &'a Config,
    /// Index into the pack's seeds.
    pub seed: usize,
    /// Text row of each image row: train, validation, test.
    pub partners: [&'a [u32]; 3],
}

/// Raw embeddings `[N, D]`, row-major, before normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct RawEmbeddings {
    pub img: Vec<f32>,
    pub txt: Vec<f32>,
}

impl RawEmbeddings {
    fn is_finite(&self) -> bool {
        self.img.iter().chain(&self.txt).all(|x| x.is_finite())
    }
}

/// How a lane ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    Finished,
    /// The observer's stop rule, with its reason.
    Stopped(String),
    /// What became non-finite.
    Diverged(String),
}

/// What training one cell produced.
#[derive(Clone, Debug)]
pub struct Trained {
    pub end: End,
    /// Optimiser steps taken; for a lane whose loss became non-finite, the steps before it did.
    pub steps: u64,
    /// Step to series name to value, at the cadence of the curves.
    pub series: BTreeMap<u64, BTreeMap<&'static str, f64>>,
    /// Normalised embeddings of the first minibatch before any update.
    pub first_batch: RawEmbeddings,
    /// Parameters when the lane left the pack, tensor by tensor in the order of [`Parameters::names`]. A diverged lane
    /// leaves at the next check of the stop rules.
    pub parameters: Vec<Vec<f32>>,
    /// Test embeddings at the end.
    pub test: RawEmbeddings,
}

/// What the observer says of a lane after a look at its validation embeddings.
pub enum Verdict {
    Continue,
    Stop(String),
}

/// A validation point of one lane.
pub struct ValidationPoint<'a> {
    /// Index of the cell among the pack's lanes.
    pub cell: usize,
    /// Optimiser steps taken.
    pub step: u64,
    pub embeddings: &'a RawEmbeddings,
}

/// What a pack needs beside its lanes.
pub struct Run<'a> {
    pub device: &'a Device,
    pub seeds: &'a [SeedData<'a>],
    /// Whether the observer wants to see this cell's validation embeddings after this many steps.
    pub due: &'a (dyn Fn(usize, u64) -> bool + Sync),
    /// Set by another thread to abandon the pack.
    pub cancel: &'a AtomicBool,
    /// Counts cell-steps as they are taken.
    pub cell_steps: &'a AtomicU64,
    pub fault: Option<Fault>,
}

/// The pack was abandoned before its end.
#[derive(Debug, thiserror::Error)]
#[error("cancelled before the pack was finished")]
pub struct Cancelled;

/// Trains the cells of one pack.
///
/// `observe` sees a lane's validation embeddings at the steps, step 0 included, for which `run.due` says so; it may
/// find values there that are not finite. All cells must share a pack key. Returns one result per lane, in order.
pub fn train(
    run: &Run<'_>,
    lanes: &[Lane<'_>],
    mut observe: impl FnMut(ValidationPoint<'_>) -> Verdict,
) -> Result<Vec<Trained>, Cancelled> {
    let Some(first) = lanes.first() else { return Ok(Vec::new()) };
    let (steps, stop_every, curve_every) =
        (first.config.train.steps, first.config.stop.every, first.config.curves.every);
    let splits = PackSplits::new(run);
    let mut pack = Pack::start(run, lanes, &splits);
    let mut results: Vec<Option<Trained>> = lanes.iter().map(|_| None).collect();

    if pack.anyone_due(0) {
        let stopped = pack.validate(0, &mut observe);
        pack.retire(stopped, 0, &mut results);
    }
    let mut chunk = Series::default();
    for step in 0..steps {
        if pack.active.is_empty() {
            break;
        }
        if run.cancel.load(Ordering::Relaxed) {
            return Err(Cancelled);
        }
        pack.step(step, curve_every > 0 && step % curve_every == 0, &mut chunk);
        run.cell_steps.fetch_add(pack.active.len() as u64, Ordering::Relaxed);
        let done = step + 1;
        // Never at a mere look in between: when a diverged lane leaves must not depend on how often one looks.
        if done % stop_every == 0 || done == steps {
            let diverged = pack.collect(std::mem::take(&mut chunk), curve_every);
            pack.retire(diverged, done, &mut results);
        }
        if pack.anyone_due(done) {
            let stopped = pack.validate(done, &mut observe);
            pack.retire(stopped, done, &mut results);
        }
    }
    let everyone = pack.active.iter().map(|_| Some((steps, End::Finished))).collect();
    pack.retire(everyone, steps, &mut results);
    Ok(results.into_iter().map(|r| r.expect("every lane has left the pack")).collect())
}

/// The pack's data on the device.
struct PackSplits {
    train: DeviceSplit,
    validation: DeviceSplit,
    test: DeviceSplit,
}

impl PackSplits {
    fn new(run: &Run<'_>) -> Self {
        let upload = |get: for<'s> fn(&SeedData<'s>) -> SplitData<'s>| {
            let seeds: Vec<SplitData<'_>> = run.seeds.iter().map(get).collect();
            DeviceSplit::new(&seeds, run.device)
        };
        Self { train: upload(|s| s.train), validation: upload(|s| s.validation), test: upload(|s| s.test) }
    }
}

/// Losses and gradient norms of the steps since the last check, on the device.
#[derive(Default)]
struct Series {
    /// First step of the chunk.
    start: u64,
    /// `[C, 1, 3]` per step.
    losses: Vec<Tensor<3>>,
    /// Step and `[C, 1, 6]`.
    norms: Vec<(u64, Tensor<3>)>,
}

/// The lanes still training.
struct Pack<'a> {
    run: &'a Run<'a>,
    lanes: &'a [Lane<'a>],
    splits: &'a PackSplits,
    /// Cell index of each active lane.
    active: Vec<usize>,
    /// Moved out and back by each update, so that it can reuse the buffers.
    model: Option<Model>,
    settings: Settings<'a>,
    batches: Vec<Batches>,
    series: Vec<BTreeMap<u64, BTreeMap<&'static str, f64>>>,
    first_batch: Vec<RawEmbeddings>,
}

struct Model {
    parameters: Parameters,
    state: State,
}

/// Everything on the device that follows from which lanes are active.
struct Settings<'a> {
    loss: LossSettings,
    update: UpdateSettings,
    views: [PackView<'a>; 3],
}

impl<'a> Settings<'a> {
    fn new(run: &Run<'a>, lanes: &[Lane<'a>], active: &[usize], splits: &'a PackSplits) -> Self {
        let configs: Vec<&TrainConfig> = active.iter().map(|c| &lanes[*c].config.train).collect();
        let view = |which: usize, split: &'a DeviceSplit| {
            let readings = active.iter().map(|c| reading(&lanes[*c], which)).collect();
            PackView::new(split, readings, run.device)
        };
        Self {
            loss: LossSettings::new(&configs, run.device),
            update: UpdateSettings::new(&configs, run.device),
            views: [view(0, &splits.train), view(1, &splits.validation), view(2, &splits.test)],
        }
    }
}

fn reading<'a>(lane: &Lane<'a>, split: usize) -> Reading<'a> {
    let config = lane.config;
    Reading {
        seed: lane.seed,
        noise: [config.image.noise, 0.0],
        drop: [config.image.mask, config.text.dropout],
        partner: lane.partners[split],
    }
}

impl<'a> Pack<'a> {
    fn start(run: &'a Run<'a>, lanes: &'a [Lane<'a>], splits: &'a PackSplits) -> Self {
        let active: Vec<usize> = (0..lanes.len()).collect();
        let parameters = initial_parameters(run.seeds, lanes, run.device);
        let rule = lanes[0].config.train.optimiser;
        let batches =
            run.seeds.iter().map(|s| Batches::new(s.seed, s.train.n, lanes[0].config.train.batch_size as usize));
        let mut pack = Self {
            run,
            lanes,
            splits,
            model: Some(Model { state: State::new(rule, &parameters), parameters }),
            settings: Settings::new(run, lanes, &active, splits),
            active,
            batches: batches.collect(),
            series: vec![BTreeMap::new(); lanes.len()],
            first_batch: Vec::new(),
        };
        pack.first_batch = pack.normalised_first_batch();
        pack
    }

    fn parameters(&self) -> &Parameters {
        &self.model.as_ref().expect("only absent inside an update").parameters
    }

    fn normalised_first_batch(&mut self) -> Vec<RawEmbeddings> {
        let (x_img, x_txt) = self.minibatch(0);
        let img = super::encoder::forward(&self.parameters().img, x_img, self.run.fault).unit;
        let txt = super::encoder::forward(&self.parameters().txt, x_txt, self.run.fault).unit;
        split_lanes(img, txt)
    }

    fn minibatch(&mut self, step: u64) -> (Tensor<3>, Tensor<3>) {
        let rows: Vec<&[usize]> = self.batches.iter_mut().map(|b| b.at(step)).collect();
        let (lanes, active) = (self.lanes, &self.active);
        self.settings.views[0].observe(rows[0].len(), |c| rows[lanes[active[c]].seed])
    }

    fn step(&mut self, step: u64, record_norms: bool, chunk: &mut Series) {
        let (x_img, x_txt) = self.minibatch(step);
        let result = loss_and_gradients(self.parameters(), x_img, x_txt, &self.settings.loss, self.run.fault);
        if chunk.losses.is_empty() {
            chunk.start = step;
        }
        chunk.losses.push(Tensor::cat(vec![result.loss.total, result.loss.i2t, result.loss.t2i], 2));
        if record_norms {
            chunk.norms.push((step, Tensor::cat(gradient_norms(&result.gradients), 2)));
        }
        let Model { parameters, state } = self.model.take().expect("only absent inside an update");
        let (parameters, state) = update(parameters, result.gradients, state, &self.settings.update, step + 1);
        self.model = Some(Model { parameters, state });
    }

    /// Brings a chunk of series to the host. Returns, per active lane, the step of its first non-finite loss.
    fn collect(&mut self, chunk: Series, curve_every: u64) -> Vec<Option<(u64, End)>> {
        let taken = chunk.losses.len();
        let losses = host(Tensor::cat(chunk.losses, 2));
        let norm_steps: Vec<u64> = chunk.norms.iter().map(|(step, _)| *step).collect();
        let norms = if chunk.norms.is_empty() {
            Vec::new()
        } else {
            host(Tensor::cat(chunk.norms.into_iter().map(|(_, t)| t).collect(), 2))
        };
        let mut ends = Vec::with_capacity(self.active.len());
        for (lane, cell) in self.active.iter().enumerate() {
            let loss_rows = &losses[lane * taken * 3..(lane + 1) * taken * 3];
            let first_bad = loss_rows.chunks(3).position(|row| !row.iter().all(|x| x.is_finite()));
            let usable = first_bad.unwrap_or(taken) as u64;
            for step in (chunk.start..chunk.start + usable).filter(|s| curve_every > 0 && s % curve_every == 0) {
                let row = &loss_rows[(step - chunk.start) as usize * 3..][..3];
                record(&mut self.series[*cell], step, &LOSS_NAMES, row);
            }
            let width = GRADIENT_NORM_NAMES.len();
            for (i, step) in norm_steps.iter().enumerate().filter(|(_, s)| **s < chunk.start + usable) {
                let row = &norms[(lane * norm_steps.len() + i) * width..][..width];
                record(&mut self.series[*cell], *step, &GRADIENT_NORM_NAMES, row);
            }
            ends.push(first_bad.map(|i| {
                let step = chunk.start + i as u64;
                (step, End::Diverged(format!("the loss became non-finite at step {step}")))
            }));
        }
        ends
    }

    fn anyone_due(&self, step: u64) -> bool {
        self.active.iter().any(|cell| (self.run.due)(*cell, step))
    }

    /// Shows the observer the validation embeddings of every active lane that is due. A lane is judged at its own
    /// steps alone, never because a pack-mate is due; and whether it has diverged is judged by its losses and at its
    /// end alone, so that how often one looks changes nothing.
    fn validate(
        &mut self,
        step: u64,
        observe: &mut impl FnMut(ValidationPoint<'_>) -> Verdict,
    ) -> Vec<Option<(u64, End)>> {
        let all = self.embeddings(1, self.splits.validation.n());
        let look = |(lane, embeddings): (usize, &RawEmbeddings)| {
            if !(self.run.due)(self.active[lane], step) {
                return None;
            }
            match observe(ValidationPoint { cell: self.active[lane], step, embeddings }) {
                Verdict::Continue => None,
                Verdict::Stop(reason) => Some((step, End::Stopped(reason))),
            }
        };
        all.iter().enumerate().map(look).collect()
    }

    /// Takes the lanes that have an end out of the pack, leaving their results.
    fn retire(&mut self, ends: Vec<Option<(u64, End)>>, step: u64, results: &mut [Option<Trained>]) {
        if ends.iter().all(Option::is_none) {
            return;
        }
        let test = self.embeddings(2, self.splits.test.n());
        let mut keep = Vec::new();
        for (lane, (end, test)) in ends.into_iter().zip(test).enumerate() {
            let Some((steps, mut end)) = end else {
                keep.push(lane);
                continue;
            };
            let parameters = self.parameters().to_host(lane);
            if !matches!(end, End::Diverged(_)) {
                let sound = parameters.iter().flatten().all(|p| p.is_finite());
                let unsound = [("parameters", sound), ("test embeddings", test.is_finite())];
                if let Some((what, _)) = unsound.iter().find(|(_, finite)| !finite) {
                    end = End::Diverged(format!("the {what} are non-finite at step {step}"));
                }
            }
            let cell = self.active[lane];
            results[cell] = Some(Trained {
                end,
                steps,
                series: std::mem::take(&mut self.series[cell]),
                first_batch: self.first_batch[cell].clone(),
                parameters,
                test,
            });
        }
        self.active = keep.iter().map(|lane| self.active[*lane]).collect();
        if self.active.is_empty() {
            return;
        }
        let keep = index_tensor(keep.into_iter().map(|lane| lane as i32).collect(), self.run.device);
        let Model { parameters, state } = self.model.take().expect("only absent inside an update");
        self.model = Some(Model { parameters: parameters.select(&keep), state: state.select(&keep) });
        self.settings = Settings::new(self.run, self.lanes, &self.active, self.splits);
    }

    /// Raw embeddings of a whole split, per active lane.
    fn embeddings(&self, split: usize, n: usize) -> Vec<RawEmbeddings> {
        let rows: Vec<usize> = (0..n).collect();
        let mut all = vec![RawEmbeddings { img: Vec::new(), txt: Vec::new() }; self.active.len()];
        for part in rows.chunks(EVALUATION_ROWS) {
            let (x_img, x_txt) = self.settings.views[split].observe(part.len(), |_| part);
            let img = embed(&self.parameters().img, x_img, self.run.fault).0;
            let txt = embed(&self.parameters().txt, x_txt, self.run.fault).0;
            for (whole, piece) in all.iter_mut().zip(split_lanes(img, txt)) {
                whole.img.extend(piece.img);
                whole.txt.extend(piece.txt);
            }
        }
        all
    }
}

fn record(series: &mut BTreeMap<u64, BTreeMap<&'static str, f64>>, step: u64, names: &[&'static str], row: &[f32]) {
    let at = series.entry(step).or_default();
    for (name, value) in names.iter().zip(row) {
        at.insert(name, f64::from(*value));
    }
}

/// Cuts `[C, N, D]` tensors into one host matrix per lane.
fn split_lanes(img: Tensor<3>, txt: Tensor<3>) -> Vec<RawEmbeddings> {
    let lane = |t: Tensor<3>| {
        let [_, n, d] = t.dims();
        host(t).chunks(n * d).map(<[f32]>::to_vec).collect::<Vec<_>>()
    };
    lane(img).into_iter().zip(lane(txt)).map(|(img, txt)| RawEmbeddings { img, txt }).collect()
}

/// Xavier parameters of every cell, a function of its seed alone.
pub fn initial_parameters(seeds: &[SeedData<'_>], lanes: &[Lane<'_>], device: &Device) -> Parameters {
    let model = &lanes[0].config.model;
    let encoder = |modality: &str, inputs: usize, hidden: u64| {
        let widths = Widths { inputs, hidden: hidden as usize, embedding: model.embedding as usize };
        let by_seed: Vec<HostEncoder> = seeds.iter().map(|s| xavier(s.seed, modality, widths)).collect();
        let cells: Vec<HostEncoder> = lanes.iter().map(|lane| by_seed[lane.seed].clone()).collect();
        Encoder::from_host(&cells, widths, device)
    };
    let train = &seeds[0].train;
    Parameters {
        img: encoder("img", train.img.background.len(), model.hidden_img),
        txt: encoder("txt", train.txt.background.len(), model.hidden_txt),
    }
}
