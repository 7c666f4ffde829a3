//! Trains a pack: many cells of one shape as one program, from initialisation to test embeddings.
//!
//! Losses and gradient norms stay with the [`Program`] between checks, where they come back in bulk. A lane that goes
//! non-finite or that the observer stops leaves the pack; the others go on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::batches::Batches;
use super::data::{Reading, SplitData, TEST, TRAIN, VALIDATION};
use super::fault::Fault;
use super::native::NativeProgram;
use super::parameters::{HostEncoder, MODALITIES, Widths, xavier};
use super::program::{Executor, Program, Series, Timed};
use super::step::GRADIENT_NORM_NAMES;
use super::tensor_program::{PackSplits, TensorProgram};
use crate::spec::config::Config;

/// Rows embedded at a time on a validation or test split; bounds memory and does not depend on the pack.
pub const EVALUATION_ROWS: usize = 512;

/// Names of the loss series, in the order they are recorded.
const LOSS_NAMES: [&str; 3] = ["loss", "loss_i2t", "loss_t2i"];

/// The three splits of one seed's world.
#[derive(Clone, Copy, Debug)]
pub struct SeedData<'a> {
    pub seed: u64,
    /// Train, validation, test.
    pub splits: [SplitData<'a>; 3],
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
    pub executor: &'a Executor,
    pub seeds: &'a [SeedData<'a>],
    /// Whether the observer wants to see this cell's validation embeddings after this many steps.
    pub due: &'a (dyn Fn(usize, u64) -> bool + Sync),
    /// Set by another thread to abandon the pack.
    pub cancel: &'a AtomicBool,
    /// Counts cell-steps as they are taken.
    pub cell_steps: &'a AtomicU64,
    /// Counts the nanoseconds that the program takes: those for which its device is fed or waited for.
    pub busy_ns: &'a AtomicU64,
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
    observe: impl FnMut(ValidationPoint<'_>) -> Verdict,
) -> Result<Vec<Trained>, Cancelled> {
    if lanes.is_empty() {
        return Ok(Vec::new());
    }
    match run.executor {
        Executor::Tensors(device) => {
            let splits = PackSplits::new(run.seeds, device);
            drive(run, lanes, TensorProgram::new(run, lanes, &splits, device), observe)
        }
        Executor::Native => drive(run, lanes, NativeProgram::new(run, lanes), observe),
    }
}

fn drive(
    run: &Run<'_>,
    lanes: &[Lane<'_>],
    program: impl Program,
    mut observe: impl FnMut(ValidationPoint<'_>) -> Verdict,
) -> Result<Vec<Trained>, Cancelled> {
    let first = lanes[0].config;
    let (steps, stop_every, curve_every) = (first.train.steps, first.stop.every, first.curves.every);
    let mut pack = Pack::start(run, lanes, Timed { program, busy_ns: run.busy_ns });

    if pack.anyone_due(0) {
        let stopped = pack.validate(0, &mut observe);
        pack.retire(stopped, 0);
    }
    // Steps that are not counted yet: a device that runs ahead has perhaps not taken them.
    let mut taken = 0;
    for step in 0..steps {
        if pack.active.is_empty() {
            break;
        }
        if run.cancel.load(Ordering::Relaxed) {
            return Err(Cancelled);
        }
        pack.step(step, curve_every > 0 && step % curve_every == 0);
        taken += pack.active.len() as u64;
        let done = step + 1;
        // Never at a mere look in between: when a diverged lane leaves must not depend on how often one looks.
        if done % stop_every == 0 || done == steps {
            let diverged = pack.collect(curve_every);
            pack.retire(diverged, done);
            run.cell_steps.fetch_add(std::mem::take(&mut taken), Ordering::Relaxed);
        } else if !pack.program.runs_ahead() {
            run.cell_steps.fetch_add(std::mem::take(&mut taken), Ordering::Relaxed);
        }
        if pack.anyone_due(done) {
            let stopped = pack.validate(done, &mut observe);
            pack.retire(stopped, done);
        }
    }
    let everyone = pack.active.iter().map(|_| Some((steps, End::Finished))).collect();
    pack.retire(everyone, steps);
    Ok(pack.results.into_iter().map(|r| r.expect("every lane has left the pack")).collect())
}

/// The lanes still training.
struct Pack<'a, P> {
    run: &'a Run<'a>,
    program: P,
    /// Cell index of each active lane.
    active: Vec<usize>,
    batches: Vec<Batches>,
    series: Vec<BTreeMap<u64, BTreeMap<&'static str, f64>>>,
    first_batch: Vec<RawEmbeddings>,
    results: Vec<Option<Trained>>,
}

impl<'a, P: Program> Pack<'a, P> {
    fn start(run: &'a Run<'a>, lanes: &[Lane<'_>], mut program: P) -> Self {
        let batch_size = lanes[0].config.train.batch_size as usize;
        let mut batches: Vec<Batches> =
            run.seeds.iter().map(|s| Batches::new(s.seed, s.splits[TRAIN].n, batch_size)).collect();
        let rows: Vec<&[usize]> = batches.iter_mut().map(|b| b.at(0)).collect();
        let first_batch = program.normalised(&rows);
        Self {
            run,
            program,
            active: (0..lanes.len()).collect(),
            batches,
            series: vec![BTreeMap::new(); lanes.len()],
            first_batch,
            results: lanes.iter().map(|_| None).collect(),
        }
    }

    fn step(&mut self, step: u64, record_norms: bool) {
        let rows: Vec<&[usize]> = self.batches.iter_mut().map(|b| b.at(step)).collect();
        self.program.step(&rows, step, record_norms);
    }

    /// Brings the series since the last time to the host. Returns, per active lane, the step of its first non-finite
    /// loss.
    fn collect(&mut self, curve_every: u64) -> Vec<Option<(u64, End)>> {
        let Series { start, losses, further_names, further, norm_steps, norms } = self.program.series();
        let mut ends = Vec::with_capacity(self.active.len());
        for (((cell, losses), norms), further) in self.active.iter().zip(losses).zip(norms).zip(further) {
            let first_bad = losses.iter().position(|row| !row.iter().all(|x| x.is_finite()));
            let usable = start + first_bad.unwrap_or(losses.len()) as u64;
            for (step, row) in (start..usable).zip(&losses).filter(|(s, _)| curve_every > 0 && s % curve_every == 0) {
                record(&mut self.series[*cell], step, &LOSS_NAMES, row);
                let beside = further.chunks_exact(further_names.len().max(1)).nth((step - start) as usize);
                record(&mut self.series[*cell], step, &further_names, beside.unwrap_or_default());
            }
            for (step, row) in norm_steps.iter().zip(&norms).filter(|(s, _)| **s < usable) {
                record(&mut self.series[*cell], *step, &GRADIENT_NORM_NAMES, row);
            }
            ends.push(first_bad.map(|i| {
                let step = start + i as u64;
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
        let all = self.program.embeddings(VALIDATION);
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
    fn retire(&mut self, ends: Vec<Option<(u64, End)>>, step: u64) {
        if ends.iter().all(Option::is_none) {
            return;
        }
        let test = self.program.embeddings(TEST);
        let mut keep = Vec::new();
        for (lane, (end, test)) in ends.into_iter().zip(test).enumerate() {
            let Some((steps, mut end)) = end else {
                keep.push(lane);
                continue;
            };
            let parameters = self.program.parameters(lane);
            if !matches!(end, End::Diverged(_)) {
                let sound = parameters.iter().flatten().all(|p| p.is_finite());
                let unsound = [("parameters", sound), ("test embeddings", test.is_finite())];
                if let Some((what, _)) = unsound.iter().find(|(_, finite)| !finite) {
                    end = End::Diverged(format!("the {what} are non-finite at step {step}"));
                }
            }
            let cell = self.active[lane];
            self.results[cell] = Some(Trained {
                end,
                steps,
                series: std::mem::take(&mut self.series[cell]),
                first_batch: self.first_batch[cell].clone(),
                parameters,
                test,
            });
        }
        self.active = keep.iter().map(|lane| self.active[*lane]).collect();
        self.program.keep(&keep);
    }
}

fn record(series: &mut BTreeMap<u64, BTreeMap<&'static str, f64>>, step: u64, names: &[&'static str], row: &[f32]) {
    let at = series.entry(step).or_default();
    for (name, value) in names.iter().zip(row) {
        at.insert(name, f64::from(*value));
    }
}

/// What a lane reads of a split.
pub fn reading<'a>(lane: &Lane<'a>, split: usize) -> Reading<'a> {
    let config = lane.config;
    Reading {
        seed: lane.seed,
        noise: [config.image.noise, 0.0],
        drop: [config.image.mask, config.text.dropout],
        partner: lane.partners[split],
    }
}

/// Widths of both encoders of a pack's cells.
pub fn widths(run: &Run<'_>, lanes: &[Lane<'_>]) -> [Widths; 2] {
    let (model, train) = (&lanes[0].config.model, &run.seeds[0].splits[TRAIN]);
    let width =
        |inputs: usize, hidden: u64| Widths { inputs, hidden: hidden as usize, embedding: model.embedding as usize };
    [width(train.img.background.len(), model.hidden_img), width(train.txt.background.len(), model.hidden_txt)]
}

/// Xavier parameters of both encoders for every seed of a pack.
pub fn initial_parameters(run: &Run<'_>, widths: [Widths; 2]) -> Vec<[HostEncoder; 2]> {
    run.seeds.iter().map(|s| [0, 1].map(|m| xavier(s.seed, MODALITIES[m], widths[m]))).collect()
}
