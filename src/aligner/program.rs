//! What training a pack needs of whatever does the arithmetic.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use burn::tensor::Device;

use super::train::RawEmbeddings;

/// Who does the arithmetic.
#[derive(Clone, Debug)]
pub enum Executor {
    /// Burn tensors on a device: the definition of what is computed.
    Tensors(Device),
    /// Fused loops on the CPU, held to the tensors by `agree`.
    Native,
}

/// A pack at work: parameters and optimiser state of its lanes, and the observations that they read. Every result of a
/// lane depends on that lane alone.
pub trait Program {
    /// Normalised embeddings of a minibatch, per lane. `rows[s]` are the rows of seed `s`'s training split.
    fn normalised(&mut self, rows: &[&[usize]]) -> Vec<RawEmbeddings>;

    /// One training step of every lane; `step` counts from 0.
    fn step(&mut self, rows: &[&[usize]], step: u64, record_norms: bool);

    /// Whether steps may still be under way when [`Self::step`] returns; they are done when [`Self::series`] does.
    fn runs_ahead(&self) -> bool;

    /// The series since the last call.
    fn series(&mut self) -> Series;

    /// Raw embeddings of a whole split (an index into `SeedData::splits`), per lane.
    fn embeddings(&mut self, split: usize) -> Vec<RawEmbeddings>;

    /// The parameters of a lane, tensor by tensor in the order of `Parameters::names`.
    fn parameters(&mut self, lane: usize) -> Vec<Vec<f32>>;

    /// Goes on with the given lanes alone, ascending; perhaps none.
    fn keep(&mut self, lanes: &[usize]);
}

/// Losses and gradient norms of consecutive steps.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// The first step.
    pub start: u64,
    /// Per lane, then per step: total, image-to-text and text-to-image loss.
    pub losses: Vec<Vec<[f32; 3]>>,
    /// Names of what a step records beside the losses, the same in all lanes.
    pub further_names: Vec<&'static str>,
    /// Per lane, one value per name and step, step after step.
    pub further: Vec<Vec<f32>>,
    /// Steps at which norms were recorded.
    pub norm_steps: Vec<u64>,
    /// Per lane, then per such step, in the order of `GRADIENT_NORM_NAMES`.
    pub norms: Vec<Vec<[f32; 6]>>,
}

/// A program whose time is counted.
pub struct Timed<'a, P> {
    pub program: P,
    /// Nanoseconds inside the program.
    pub busy_ns: &'a AtomicU64,
}

impl<P> Timed<'_, P> {
    fn time<R>(&mut self, f: impl FnOnce(&mut P) -> R) -> R {
        let started = Instant::now();
        let result = f(&mut self.program);
        self.busy_ns.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }
}

impl<P: Program> Program for Timed<'_, P> {
    fn normalised(&mut self, rows: &[&[usize]]) -> Vec<RawEmbeddings> {
        self.time(|p| p.normalised(rows))
    }

    fn step(&mut self, rows: &[&[usize]], step: u64, record_norms: bool) {
        self.time(|p| p.step(rows, step, record_norms));
    }

    fn runs_ahead(&self) -> bool {
        self.program.runs_ahead()
    }

    fn series(&mut self) -> Series {
        self.time(Program::series)
    }

    fn embeddings(&mut self, split: usize) -> Vec<RawEmbeddings> {
        self.time(|p| p.embeddings(split))
    }

    fn parameters(&mut self, lane: usize) -> Vec<Vec<f32>> {
        self.time(|p| p.parameters(lane))
    }

    fn keep(&mut self, lanes: &[usize]) {
        self.time(|p| p.keep(lanes));
    }
}
