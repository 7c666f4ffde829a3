//! Trains a pack: many cells of one shape as one program, from initialisation to test embeddings.
//!
//! Losses and gradient norms stay with the [`Program`] between checks, where they come back in bulk. A lane that goes
//! non-finite or that the observer stops leaves the pack; the others go on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::batches::Batches;
use super::data::{Reading, SplitData, TEST, TRAIN, VALIDATION};
use super::embed::{embed, observations};
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
pub const LOSS_NAMES: [&str; 3] = ["loss", "loss_i2t", "loss_t2i"];

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
    /// Parameters to begin with (image, text) instead of those of the seed. Optimiser state begins afresh.
    pub start: Option<&'a [HostEncoder; 2]>,
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
    /// Parameters to be measured, tensor by tensor in the order of [`Parameters::names`]: those that the observer kept
    /// last, or those when the lane left the pack. A diverged lane, which leaves at the next check of the stop rules,
    /// always has the latter.
    pub parameters: Vec<Vec<f32>>,
    /// Test embeddings under `parameters`.
    pub test: RawEmbeddings,
    /// Set where `parameters` are what the observer kept.
    pub kept: Option<Kept>,
}

/// What the parameters to be measured were kept from.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Steps after which they were kept.
    pub step: u64,
    /// Parameters when the lane left the pack.
    pub last: Vec<Vec<f32>>,
}

/// What the observer says of a lane after a look at its validation embeddings.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Why the lane is to be stopped.
    pub stop: Option<String>,
    /// Whether its parameters are to be kept in place of those kept before.
    pub keep: bool,
}

/// What the observer wants of a cell after some number of steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// To see its validation embeddings.
    pub embeddings: bool,
    /// To see the gradient norms of the step just taken with them. Only at the checks of the stop rules.
    pub gradient_norms: bool,
}

/// A validation point of one lane.
pub struct ValidationPoint<'a> {
    /// Index of the cell among the pack's lanes.
    pub cell: usize,
    /// Optimiser steps taken.
    pub step: u64,
    pub embeddings: &'a RawEmbeddings,
    /// Of the step just taken, in the order of [`GRADIENT_NORM_NAMES`], where they were asked for.
    pub gradient_norms: Option<[f32; 6]>,
}

/// What a pack needs beside its lanes.
pub struct Run<'a> {
    pub executor: &'a Executor,
    pub seeds: &'a [SeedData<'a>],
    /// What the observer wants of this cell after this many steps.
    pub due: &'a (dyn Fn(usize, u64) -> Due + Sync),
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
/// find values there that are not finite. What it keeps is measured in place of the lane's end. All cells must share a
/// pack key. Returns one result per lane, in order.
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

    if pack.anyone_due(0, |due| due.embeddings) {
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
        let done = step + 1;
        pack.step(step, curve_every > 0 && step % curve_every == 0 || pack.anyone_due(done, |due| due.gradient_norms));
        taken += pack.active.len() as u64;
        // Never at a mere look in between: when a diverged lane leaves must not depend on how often one looks.
        if done % stop_every == 0 || done == steps {
            let diverged = pack.collect(curve_every);
            pack.retire(diverged, done);
            run.cell_steps.fetch_add(std::mem::take(&mut taken), Ordering::Relaxed);
        } else if !pack.program.runs_ahead() {
            run.cell_steps.fetch_add(std::mem::take(&mut taken), Ordering::Relaxed);
        }
        if pack.anyone_due(done, |due| due.embeddings) {
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
    lanes: &'a [Lane<'a>],
    program: P,
    /// Cell index of each active lane.
    active: Vec<usize>,
    batches: Vec<Batches>,
    series: Vec<BTreeMap<u64, BTreeMap<&'static str, f64>>>,
    first_batch: Vec<RawEmbeddings>,
    /// Gradient norms of the last step that was collected, where they were recorded.
    last_norms: Vec<Option<[f32; 6]>>,
    /// Step and parameters that the observer kept last.
    kept: Vec<Option<(u64, Vec<Vec<f32>>)>>,
    results: Vec<Option<Trained>>,
}

impl<'a, P: Program> Pack<'a, P> {
    fn start(run: &'a Run<'a>, lanes: &'a [Lane<'a>], mut program: P) -> Self {
        let batch_size = lanes[0].config.train.batch_size as usize;
        let mut batches: Vec<Batches> =
            run.seeds.iter().map(|s| Batches::new(s.seed, s.splits[TRAIN].n, batch_size)).collect();
        let rows: Vec<&[usize]> = batches.iter_mut().map(|b| b.at(0)).collect();
        let first_batch = program.normalised(&rows);
        Self {
            run,
            lanes,
            program,
            active: (0..lanes.len()).collect(),
            batches,
            series: vec![BTreeMap::new(); lanes.len()],
            first_batch,
            last_norms: vec![None; lanes.len()],
            kept: vec![None; lanes.len()],
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
            let charted = |s: &u64| *s < usable && curve_every > 0 && s.is_multiple_of(curve_every);
            for (step, row) in norm_steps.iter().zip(&norms).filter(|(s, _)| charted(s)) {
                record(&mut self.series[*cell], *step, &GRADIENT_NORM_NAMES, row);
            }
            let last = start + losses.len() as u64;
            let of_the_last = norm_steps.last().is_some_and(|step| step + 1 == last);
            self.last_norms[*cell] = norms.last().copied().filter(|_| of_the_last);
            ends.push(first_bad.map(|i| {
                let step = start + i as u64;
                (step, End::Diverged(format!("the loss became non-finite at step {step}")))
            }));
        }
        ends
    }

    fn anyone_due(&self, step: u64, what: fn(Due) -> bool) -> bool {
        self.active.iter().any(|cell| what((self.run.due)(*cell, step)))
    }

    /// Shows the observer the validation embeddings of every active lane that is due. A lane is judged at its own
    /// steps alone, never because a pack-mate is due; and whether it has diverged is judged by its losses and at its
    /// end alone, so that how often one looks changes nothing.
    fn validate(
        &mut self,
        step: u64,
        observer: &mut impl FnMut(ValidationPoint<'_>) -> Verdict,
    ) -> Vec<Option<(u64, End)>> {
        let all = self.program.embeddings(VALIDATION);
        let look = |(lane, embeddings): (usize, &RawEmbeddings)| {
            let cell = self.active[lane];
            let due = (self.run.due)(cell, step);
            if !due.embeddings {
                return None;
            }
            let gradient_norms = self.last_norms[cell].filter(|_| due.gradient_norms);
            let Verdict { stop, keep } = observer(ValidationPoint { cell, step, embeddings, gradient_norms });
            if keep {
                self.kept[cell] = Some((step, self.program.parameters(lane)));
            }
            Some((step, End::Stopped(stop?)))
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
            let trained = Trained {
                end,
                steps,
                series: std::mem::take(&mut self.series[cell]),
                first_batch: self.first_batch[cell].clone(),
                parameters,
                test,
                kept: None,
            };
            self.results[cell] = Some(match self.kept[cell].take() {
                Some((step, kept)) if !matches!(trained.end, End::Diverged(_)) => {
                    self.rolled_back(cell, trained, step, kept)
                }
                _ => trained,
            });
        }
        self.active = keep.iter().map(|lane| self.active[*lane]).collect();
        self.program.keep(&keep);
    }

    /// A lane's result with what was kept at `step` to be measured.
    fn rolled_back(&self, cell: usize, trained: Trained, step: u64, kept: Vec<Vec<f32>>) -> Trained {
        let lane = &self.lanes[cell];
        let x = observations(&self.run.seeds[lane.seed].splits[TEST], &reading(lane, TEST));
        let test = embed(self.run.executor, &lane.config.model, &kept, x.each_ref().map(Vec::as_slice), self.run.fault);
        Trained { parameters: kept, test, kept: Some(Kept { step, last: trained.parameters }), ..trained }
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
        // Draws are of images before the gain, which their data have in them.
        noise: [config.image.noise * config.image.gain, 0.0],
        drop: [config.image.mask, 0.0],
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

/// Parameters of both encoders that each lane of a pack begins with: Xavier's of its seed, where it brings none.
pub fn initial_parameters(run: &Run<'_>, lanes: &[Lane<'_>], widths: [Widths; 2]) -> Vec<[HostEncoder; 2]> {
    let xavier = |s: &SeedData<'_>| [0, 1].map(|m| xavier(s.seed, MODALITIES[m], widths[m]));
    let mut by_seed: Vec<Option<[HostEncoder; 2]>> = vec![None; run.seeds.len()];
    let of = |lane: &Lane<'_>| match lane.start {
        Some(start) => start.clone(),
        None => by_seed[lane.seed].get_or_insert_with(|| xavier(&run.seeds[lane.seed])).clone(),
    };
    lanes.iter().map(of).collect()
}
