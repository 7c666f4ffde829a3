//! What training and measuring one cell produced.

use std::collections::BTreeMap;

use crate::metric;
use crate::spec::Condition;
use crate::spec::config::{self, Config};

/// How a cell ended. A collapsed or diverged cell is a result, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Trained to its last step, every stop rule satisfied there.
    Ok,
    /// A declared stop rule stopped it, or was violated at its end.
    Collapsed,
    /// The loss became non-finite, or parameters or embeddings were at the end.
    Diverged,
    /// Could not be computed; `reason` says why.
    Failed,
}

/// One measured metric: a value, or the reason why there is none.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Measured {
    Value(f64),
    Missing(String),
}

/// Columns of the time series: one name and one value per recorded step; `None` where a series has a slower cadence
/// or the value was not finite.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Curves {
    /// Recorded steps, strictly ascending; step 0 is before the first update.
    pub step: Vec<u64>,
    /// Column name to values, each as long as `step`.
    pub series: BTreeMap<String, Vec<Option<f64>>>,
}

/// BLAKE3 checksums, 64 hex digits, over little-endian f32 bytes.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Checksums {
    /// Normalised embeddings of the first minibatch before any update, image then text.
    pub first_batch_embeddings: String,
    /// All parameters at the end: w1, b1, w2, b2 of the image encoder, then of the text encoder.
    pub final_parameters: String,
    /// Raw test embeddings of the parameters that were measured, image then text.
    pub test_embeddings: String,
}

/// What a trained cell measured under a further condition.
#[derive(Clone, Debug, PartialEq)]
pub struct ConditionOutcome {
    pub condition: Condition,
    /// Metric name to value, every name of its panel present.
    pub metrics: BTreeMap<String, Measured>,
    /// BLAKE3 over the raw test embeddings, as in [`Checksums`]; empty where there are none.
    pub test_embeddings: String,
}

impl ConditionOutcome {
    /// Nothing could be measured under the condition.
    pub fn missing(condition: &Condition, config: &Config, reason: &str) -> Self {
        Self { condition: condition.clone(), metrics: all_missing(config, reason), test_embeddings: String::new() }
    }
}

/// How much of the panel a cell gets.
pub fn panel(config: &Config) -> metric::Panel {
    match config.panel {
        config::Panel::Fast => metric::Panel::Fast,
        config::Panel::Full => metric::Panel::Full,
    }
}

/// Every metric of a cell's panel without a value.
pub fn all_missing(config: &Config, reason: &str) -> BTreeMap<String, Measured> {
    let missing = |d: &metric::Descriptor| (d.name.to_string(), Measured::Missing(reason.to_string()));
    metric::descriptors_of(panel(config)).map(missing).collect()
}

/// The first time that a cell was outside a limit.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Crossing {
    /// Path of the limit, such as `warn.effective_rank_below`.
    pub limit: String,
    pub threshold: f64,
    /// What was outside: a metric of the validation embeddings, or a series of gradient norms.
    pub name: String,
    /// Steps after which it was first seen there.
    pub step: u64,
    /// Its value then; none where it was undefined or not finite.
    pub value: Option<f64>,
    /// At how many checks of the stop rules the limit was broken, this one included.
    pub checks: u64,
}

/// A step whose parameters could have been selected.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Candidate {
    pub step: u64,
    /// Mean validation retrieval@1 of both directions; none where there is no evaluation.
    pub score: Option<f64>,
    /// Paths of the floors and stop rules that it breaks, or why it has no score; empty for one that may be selected.
    pub refused_by: Vec<String>,
}

/// Which checkpoint was measured, and why that one.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Selection {
    /// Steps after which the measured parameters were taken; none for a cell that diverged, of which nothing is
    /// measured.
    pub step: Option<u64>,
    /// Mean validation retrieval@1 of both directions there; none where no candidate was looked at there.
    pub score: Option<f64>,
    /// Why no candidate was selected; empty when one was.
    pub reason: String,
    /// Checksum of the selected candidate's parameters; empty when there is none.
    pub parameters: String,
    /// Every candidate, by step.
    pub candidates: Vec<Candidate>,
}

/// Everything one cell left behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub cell_id: String,
    pub status: Status,
    /// Why the status; for `Ok` empty, or that a stop rule was violated on the way and the cell recovered. Where a
    /// collapsed cell is measured at a checkpoint before its end, that too.
    pub reason: String,
    /// Optimiser steps taken.
    pub steps: u64,
    /// Metric name to value, every name of its panel present.
    pub metrics: BTreeMap<String, Measured>,
    /// Modality (`img`, `txt`) to covariance eigenvalues of the test embeddings, descending. Empty when not finite.
    pub spectra: BTreeMap<String, Vec<f64>>,
    pub curves: Curves,
    pub checksums: Checksums,
    /// Stop rules and warnings that were broken at some check, in the order of the registry of limits.
    pub crossings: Vec<Crossing>,
    /// Which checkpoint was measured; none when cells are measured at their ends.
    pub selection: Option<Selection>,
    /// Facts about the cell's data that the configuration only asks for, such as the realised share of wrong pairs.
    pub realised: BTreeMap<String, f64>,
    /// In the order of the cell's conditions.
    pub conditions: Vec<ConditionOutcome>,
    /// The cell's share of the wall time of its pack, seconds. Recorded for audit, never in a table.
    pub wall_s: f64,
}

/// BLAKE3 over the little-endian bytes of the tensors, in order. Every not-a-number counts as the same one: which bits
/// it has is up to the processor.
pub fn checksum<'a>(tensors: impl IntoIterator<Item = &'a Vec<f32>>) -> String {
    let mut hasher = blake3::Hasher::new();
    for tensor in tensors {
        let bytes: Vec<u8> = tensor.iter().flat_map(|v| if v.is_nan() { f32::NAN } else { *v }.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
    hasher.finalize().to_hex().to_string()
}
