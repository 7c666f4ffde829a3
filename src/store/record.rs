//! What is kept of one finished cell.
//!
//! These types are what lies on disk. They are apart from [`crate::engine::outcome`] so that the engine may change
//! without old runs becoming unreadable.
//!
//! # Changelog of [`RECORD_VERSION`]
//! - 1: first version. `made_by` was added; absent it reads as empty. `conditions` was added; absent there are none.
//!   `crossings` and `selection` were added; absent they read as none: no limit but the stop rules was known, and every
//!   cell was measured at its end. Values are in the ranges of their metrics; older ones can be past an end by rounding,
//!   and read as that end. `reused_from` was added; absent the run that holds the record trained the cell, or took it over
//!   before origins were recorded.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use crate::engine::{Candidate, Checksums, ConditionOutcome, Crossing, Curves, Measured, Outcome, Selection, Status};
use crate::metric::descriptor;
use crate::spec::Condition;

/// Version of [`CellRecord`]. Raise it when a reader of the previous version would misread a new record; a field that
/// is merely added gets `#[serde(default)]` and a line in the changelog above.
pub const RECORD_VERSION: u64 = 1;

/// How a cell ended, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedStatus {
    Ok,
    Collapsed,
    Diverged,
    Failed,
}

impl RecordedStatus {
    /// The name used in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Collapsed => "collapsed",
            Self::Diverged => "diverged",
            Self::Failed => "failed",
        }
    }
}

impl From<Status> for RecordedStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Ok => Self::Ok,
            Status::Collapsed => Self::Collapsed,
            Status::Diverged => Self::Diverged,
            Status::Failed => Self::Failed,
        }
    }
}

impl From<RecordedStatus> for Status {
    fn from(status: RecordedStatus) -> Self {
        match status {
            RecordedStatus::Ok => Self::Ok,
            RecordedStatus::Collapsed => Self::Collapsed,
            RecordedStatus::Diverged => Self::Diverged,
            RecordedStatus::Failed => Self::Failed,
        }
    }
}

/// One metric, as stored: a finite value, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedMetric {
    Value(f64),
    Missing(String),
}

/// The time series, as stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecordedCurves {
    pub step: Vec<u64>,
    pub series: BTreeMap<String, Vec<Option<f64>>>,
}

/// BLAKE3 checksums, 64 hex digits each, as stored; empty where the cell never got that far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecordedChecksums {
    pub first_batch_embeddings: String,
    pub final_parameters: String,
    pub test_embeddings: String,
}

/// What a cell measured under a further condition, as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedCondition {
    pub name: String,
    /// Path to value.
    pub changes: BTreeMap<String, serde_json::Value>,
    pub metrics: BTreeMap<String, RecordedMetric>,
    /// BLAKE3 over the raw test embeddings, 64 hex digits; empty where there are none.
    pub test_embeddings: String,
}

impl RecordedCondition {
    fn condition(&self) -> Condition {
        Condition { name: self.name.clone(), changes: self.changes.clone() }
    }
}

/// The first time that a cell was outside a limit, as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedCrossing {
    pub limit: String,
    pub threshold: f64,
    pub name: String,
    pub step: u64,
    pub value: Option<f64>,
    pub checks: u64,
}

/// A step whose parameters could have been selected, as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedCandidate {
    pub step: u64,
    pub score: Option<f64>,
    pub refused_by: Vec<String>,
}

/// Which checkpoint was measured, as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedSelection {
    pub step: Option<u64>,
    pub score: Option<f64>,
    pub reason: String,
    /// BLAKE3 checksum of the selected parameters; empty when none were selected.
    pub parameters: String,
    pub candidates: Vec<RecordedCandidate>,
}

/// The run beside its own from which a record was taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// Name of its directory.
    pub run: String,
    /// As its manifest had it; empty where there was none.
    #[serde(default)]
    pub run_id: String,
    /// Hash of its resolved spec, as its manifest had it.
    #[serde(default)]
    pub spec_blake3: String,
    /// BLAKE3 of its ledger's file; empty where it was not sealed.
    #[serde(default)]
    pub ledger_blake3: String,
}

impl Origin {
    /// Whether it is of the same run, as it was then or at another time: one by that name, or with that id.
    pub(crate) fn is_of_run(&self, other: &Self) -> bool {
        self.run == other.run || !self.run_id.is_empty() && self.run_id == other.run_id
    }
}

/// One finished cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellRecord {
    pub cell_id: String,
    /// Shared by cells that differ only in what they record.
    pub train_id: String,
    /// Numerics version, backend and instruction set or adapter, such as `n1 flex x86_64+avx512f`.
    pub class: String,
    /// The resolved configuration.
    pub config: serde_json::Value,
    pub status: RecordedStatus,
    /// Why the status; for ok empty, or that a stop rule was violated on the way and the cell recovered.
    pub reason: String,
    /// Optimiser steps taken.
    pub steps: u64,
    pub metrics: BTreeMap<String, RecordedMetric>,
    /// Modality to covariance eigenvalues of the test embeddings, descending.
    pub spectra: BTreeMap<String, Vec<f64>>,
    pub curves: RecordedCurves,
    pub checksums: RecordedChecksums,
    /// Stop rules and warnings that were broken at some check, with the first time. Empty in records older than this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crossings: Vec<RecordedCrossing>,
    /// Which checkpoint was measured; none where cells are measured at their ends, as in records older than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<RecordedSelection>,
    /// Facts about the cell's data that the configuration only asks for.
    pub realised: BTreeMap<String, f64>,
    /// Sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<RecordedCondition>,
    /// The cell's share of the wall time of its pack, seconds. Never in a table.
    pub wall_s: f64,
    /// When the cell was finished, RFC 3339. Never in a table.
    pub finished_utc: String,
    /// The program, its commit and the processor that made it. Never in a table; empty in records older than this.
    #[serde(default)]
    pub made_by: String,
    /// The run from which it was taken over; none where its own run trained it. Never in a table of numbers, whose bytes
    /// would tell what lay beside a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused_from: Option<Origin>,
}

impl CellRecord {
    /// The record of `outcome`, with what the engine knows around it.
    ///
    /// A value that is not finite is stored as missing with that reason: a table never holds NaN or an infinity.
    pub fn from_outcome(
        outcome: Outcome,
        train_id: String,
        class: String,
        config: serde_json::Value,
        finished_utc: String,
    ) -> Self {
        let recorded = |metrics: BTreeMap<String, Measured>| {
            metrics.into_iter().map(|(name, measured)| (name, measured.into())).collect()
        };
        let conditions = outcome
            .conditions
            .into_iter()
            .map(|c| RecordedCondition {
                name: c.condition.name,
                changes: c.condition.changes,
                metrics: recorded(c.metrics),
                test_embeddings: c.test_embeddings,
            })
            .collect();
        let series = outcome
            .curves
            .series
            .into_iter()
            .map(|(name, values)| (name, values.into_iter().map(|v| v.filter(|v| v.is_finite())).collect()))
            .collect();
        Self {
            cell_id: outcome.cell_id,
            train_id,
            class,
            config,
            status: outcome.status.into(),
            reason: outcome.reason,
            steps: outcome.steps,
            metrics: recorded(outcome.metrics),
            spectra: outcome.spectra,
            curves: RecordedCurves { step: outcome.curves.step, series },
            checksums: RecordedChecksums {
                first_batch_embeddings: outcome.checksums.first_batch_embeddings,
                final_parameters: outcome.checksums.final_parameters,
                test_embeddings: outcome.checksums.test_embeddings,
            },
            crossings: outcome.crossings.into_iter().map(Into::into).collect(),
            selection: outcome.selection.map(Into::into),
            realised: outcome.realised,
            conditions,
            wall_s: outcome.wall_s,
            finished_utc,
            made_by: String::new(),
            reused_from: None,
        }
    }

    /// The conditions it was evaluated under, beside the one it was trained under.
    pub fn conditions(&self) -> Arc<[Condition]> {
        self.conditions.iter().map(RecordedCondition::condition).collect()
    }

    /// The engine's view of this record.
    pub fn to_outcome(&self) -> Outcome {
        Outcome {
            cell_id: self.cell_id.clone(),
            status: self.status.into(),
            reason: self.reason.clone(),
            steps: self.steps,
            metrics: measured(&self.metrics),
            spectra: self.spectra.clone(),
            curves: Curves { step: self.curves.step.clone(), series: self.series_held() },
            checksums: Checksums {
                first_batch_embeddings: self.checksums.first_batch_embeddings.clone(),
                final_parameters: self.checksums.final_parameters.clone(),
                test_embeddings: self.checksums.test_embeddings.clone(),
            },
            crossings: self.crossings.iter().cloned().map(Into::into).collect(),
            selection: self.selection.clone().map(Into::into),
            realised: self.realised.clone(),
            conditions: self
                .conditions
                .iter()
                .map(|c| ConditionOutcome {
                    condition: c.condition(),
                    metrics: measured(&c.metrics),
                    test_embeddings: c.test_embeddings.clone(),
                })
                .collect(),
            wall_s: self.wall_s,
        }
    }

    fn series_held(&self) -> BTreeMap<String, Vec<Option<f64>>> {
        let of = |(name, values): (&String, &Vec<Option<f64>>)| {
            let metric = name.strip_prefix("validation_").unwrap_or(name);
            (name.clone(), values.iter().map(|value| value.map(|value| held(metric, value))).collect())
        };
        self.curves.series.iter().map(of).collect()
    }

    /// Checks what tables rely on.
    ///
    /// # Errors
    /// [`StoreError::BadRecord`] for an empty id, a configuration that is not an object, a series whose length differs
    /// from the number of steps, steps that do not ascend, or a stored number that is not finite.
    pub fn check(&self) -> Result<(), StoreError> {
        let bad = |reason: String| Err(StoreError::BadRecord { cell_id: self.cell_id.clone(), reason });
        if self.cell_id.is_empty() {
            return bad("the cell id is empty".into());
        }
        if !self.config.is_object() {
            return bad("its configuration is not an object".into());
        }
        let points = self.curves.step.len();
        if let Some((name, values)) = self.curves.series.iter().find(|(_, values)| values.len() != points) {
            return bad(format!("series `{name}` has {} values for {points} steps", values.len()));
        }
        if self.curves.step.windows(2).any(|pair| pair[0] >= pair[1]) {
            return bad("the steps of its curves do not ascend".into());
        }
        let mut numbers: Vec<(&str, f64)> = vec![("wall_s", self.wall_s)];
        for (name, values) in &self.curves.series {
            numbers.extend(values.iter().flatten().map(|value| (name.as_str(), *value)));
        }
        for crossing in &self.crossings {
            numbers.push((&crossing.limit, crossing.threshold));
            numbers.extend(crossing.value.map(|value| (crossing.limit.as_str(), value)));
        }
        if let Some(selection) = &self.selection {
            let scores = selection.candidates.iter().map(|c| c.score).chain([selection.score]);
            numbers.extend(scores.flatten().map(|score| ("selection", score)));
        }
        numbers.extend(self.realised.iter().map(|(name, value)| (name.as_str(), *value)));
        numbers.extend(self.spectra.iter().flat_map(|(name, values)| values.iter().map(move |v| (name.as_str(), *v))));
        let metrics = self.metrics.iter().chain(self.conditions.iter().flat_map(|c| &c.metrics));
        numbers.extend(metrics.filter_map(|(name, metric)| match metric {
            RecordedMetric::Value(value) => Some((name.as_str(), *value)),
            RecordedMetric::Missing(_) => None,
        }));
        match numbers.iter().find(|(_, value)| !value.is_finite()) {
            Some((name, value)) => bad(format!("`{name}` is {value}; only finite numbers are stored")),
            None => Ok(()),
        }
    }
}

fn measured(metrics: &BTreeMap<String, RecordedMetric>) -> BTreeMap<String, Measured> {
    let measured = |(name, metric): (&String, &RecordedMetric)| match metric {
        RecordedMetric::Value(value) => (name.clone(), Measured::Value(held(name, *value))),
        RecordedMetric::Missing(reason) => (name.clone(), Measured::Missing(reason.clone())),
    };
    metrics.iter().map(measured).collect()
}

/// A recorded value as it would be measured now. Records from before values were held to their ranges have what rounding
/// took past an end; what is further out is left for whoever judges the record.
fn held(name: &str, value: f64) -> f64 {
    descriptor(name).and_then(|descriptor| descriptor.hold(value).ok()).unwrap_or(value)
}

impl From<Measured> for RecordedMetric {
    fn from(measured: Measured) -> Self {
        match measured {
            Measured::Value(value) if value.is_finite() => Self::Value(value),
            Measured::Value(value) => Self::Missing(format!("computed as {value}, which is not finite")),
            Measured::Missing(reason) => Self::Missing(reason),
        }
    }
}

impl From<Crossing> for RecordedCrossing {
    fn from(crossing: Crossing) -> Self {
        let Crossing { limit, threshold, name, step, value, checks } = crossing;
        Self { limit, threshold, name, step, value, checks }
    }
}

impl From<RecordedCrossing> for Crossing {
    fn from(crossing: RecordedCrossing) -> Self {
        let RecordedCrossing { limit, threshold, name, step, value, checks } = crossing;
        let value = value.map(|value| held(&name, value));
        Self { limit, threshold, name, step, value, checks }
    }
}

impl From<Selection> for RecordedSelection {
    fn from(selection: Selection) -> Self {
        let Selection { step, score, reason, parameters, candidates } = selection;
        let candidate =
            |Candidate { step, score, refused_by }: Candidate| RecordedCandidate { step, score, refused_by };
        Self { step, score, reason, parameters, candidates: candidates.into_iter().map(candidate).collect() }
    }
}

impl From<RecordedSelection> for Selection {
    fn from(selection: RecordedSelection) -> Self {
        let RecordedSelection { step, score, reason, parameters, candidates } = selection;
        let candidate =
            |RecordedCandidate { step, score, refused_by }: RecordedCandidate| Candidate { step, score, refused_by };
        Self { step, score, reason, parameters, candidates: candidates.into_iter().map(candidate).collect() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::metric::{Descriptor, Panel, descriptors_of};
    use crate::spec::Cell;
    use crate::spec::config::{Config, Select};

    /// The configuration of [`sample`].
    fn config(n: u64) -> Config {
        let mut config = Config { seed: n, ..Config::default() };
        config.train.temperature = 0.07 * (n as f64 + 1.0);
        (config.train.steps, config.model.embedding) = (20, 3);
        (config.curves.every, config.curves.validate_every) = (10, 10);
        (config.stop.effective_rank_below, config.stop.every) = (1.75, 10);
        if n % 5 == 4 {
            (config.checkpoint.select, config.checkpoint.every) = (Select::Best, 10);
        }
        config
    }

    /// A record with everything in it, different for every `n`, that passes for one of a cell.
    pub(crate) fn sample(n: u64) -> CellRecord {
        let x = n as f64;
        let config = config(n);
        let noisy = Condition { name: "noisy".into(), changes: BTreeMap::from([("image.noise".into(), 0.5.into())]) };
        let cell = Cell::new(config.clone(), vec![noisy.clone()].into());
        let collapsed = n % 5 == 4;
        let metrics = |rank: f64| {
            let missing = |d: &Descriptor| (d.name.to_string(), Measured::Missing("too few samples".into()));
            let mut metrics: BTreeMap<String, Measured> = descriptors_of(Panel::Fast).map(missing).collect();
            metrics.insert("effective_rank_img".into(), Measured::Value(rank));
            metrics
        };
        let outcome = Outcome {
            cell_id: cell.id.clone(),
            status: if collapsed { Status::Collapsed } else { Status::Ok },
            reason: if collapsed { "effective rank below 1.75".into() } else { String::new() },
            steps: 20,
            metrics: metrics(1.0 + 1.0 / (x + 3.0)),
            spectra: BTreeMap::from([("img".into(), vec![0.7, 0.2, 0.1]), ("txt".into(), vec![0.5, 0.25, 1e-17])]),
            curves: Curves {
                step: vec![0, 10, 20],
                series: BTreeMap::from([
                    ("loss".into(), vec![Some(5.5), Some(4.25 + x), Some(0.1)]),
                    ("validation_retrieval_at_1_i2t".into(), vec![Some(0.0), None, Some(0.9)]),
                ]),
            },
            checksums: Checksums {
                first_batch_embeddings: "a1".repeat(32),
                final_parameters: blake3::hash(cell.id.as_bytes()).to_hex().to_string(),
                test_embeddings: "c3".repeat(32),
            },
            crossings: collapsed.then(crossing).into_iter().collect(),
            selection: collapsed.then(selection),
            realised: BTreeMap::from([("corrupted_share_train".into(), 1.0 / (x + 2.0))]),
            conditions: vec![ConditionOutcome {
                condition: noisy,
                metrics: metrics(1.0 + 1.0 / (x + 4.0)),
                test_embeddings: "b2".repeat(32),
            }],
            wall_s: 0.125,
        };
        let plain = serde_json::to_value(&config).expect("plain data");
        let utc = "2026-11-20T10:00:00Z".to_string();
        CellRecord::from_outcome(outcome, config.train_id(), "n1 flex x86_64".into(), plain, utc)
    }

    /// As the first version of [`sample`] was, of which a part is kept: no record of a cell.
    pub(crate) fn first_sample(n: u64) -> CellRecord {
        let x = n as f64;
        let cell_id = blake3::hash(&n.to_le_bytes()).to_hex()[..32].to_string();
        let rank = RecordedMetric::Value(1.0 / (x + 3.0));
        let missing = RecordedMetric::Missing("too few samples".into());
        CellRecord {
            train_id: cell_id.chars().rev().collect(),
            config: serde_json::json!({
                "seed": n,
                "train": { "temperature": 0.07 * (x + 1.0), "steps": 20, "optimiser": "sgd" },
                "stop": { "freeze": true },
            }),
            metrics: BTreeMap::from([("effective_rank_img".into(), rank), ("cca_1".into(), missing)]),
            spectra: BTreeMap::from([("img".into(), vec![0.7, 0.2, 0.1]), ("txt".into(), vec![0.5, 1e-17])]),
            curves: RecordedCurves {
                step: vec![0, 10, 20],
                series: BTreeMap::from([
                    ("loss".into(), vec![Some(5.5), Some(4.25 + x), Some(0.1)]),
                    ("retrieval_at_1_i2t".into(), vec![Some(0.0), None, Some(0.9)]),
                ]),
            },
            checksums: RecordedChecksums {
                first_batch_embeddings: "a1".repeat(32),
                final_parameters: blake3::hash(cell_id.as_bytes()).to_hex().to_string(),
                test_embeddings: String::new(),
            },
            realised: BTreeMap::from([("pairing_rate_train".into(), 0.0625 * x)]),
            conditions: Vec::new(),
            cell_id,
            ..sample(n)
        }
    }

    fn crossing() -> Crossing {
        let (limit, name) = ("stop.effective_rank_below".to_string(), "effective_rank_img".to_string());
        Crossing { limit, threshold: 1.75, name, step: 10, value: Some(1.5), checks: 2 }
    }

    fn selection() -> Selection {
        let candidate = |step: u64, score: f64, refused_by: &[&str]| Candidate {
            step,
            score: Some(score),
            refused_by: refused_by.iter().map(ToString::to_string).collect(),
        };
        Selection {
            step: Some(10),
            score: Some(0.5),
            reason: String::new(),
            parameters: "b2".repeat(32),
            candidates: vec![candidate(10, 0.5, &[]), candidate(20, 0.75, &["checkpoint.effective_rank_floor"])],
        }
    }

    #[test]
    fn an_outcome_survives_the_round_trip() {
        // One with crossings and a selection.
        let record = sample(4);
        assert!(!record.crossings.is_empty() && record.selection.is_some());
        let back = CellRecord::from_outcome(
            record.to_outcome(),
            record.train_id.clone(),
            record.class.clone(),
            record.config.clone(),
            record.finished_utc.clone(),
        );
        assert_eq!(back, record);
        record.check().unwrap();
    }

    #[test]
    fn what_rounding_took_past_its_range_is_read_as_the_end_of_it() {
        let mut record = sample(0);
        let value = |value| RecordedMetric::Value(value);
        record.metrics.insert("mean_cosine_img".into(), value(1.000_000_06));
        record.metrics.insert("alignment".into(), value(9.0));
        record.curves.series.insert("validation_mean_cosine_txt".into(), vec![Some(-1.000_000_1), None, Some(0.5)]);
        let outcome = record.to_outcome();
        assert_eq!(outcome.metrics["mean_cosine_img"], Measured::Value(1.0));
        assert_eq!(outcome.metrics["alignment"], Measured::Value(9.0), "no rounding: left as it is, to be seen");
        assert_eq!(outcome.curves.series["validation_mean_cosine_txt"], [Some(-1.0), None, Some(0.5)]);
    }

    #[test]
    fn numbers_that_are_not_finite_become_missing_or_are_refused() {
        let mut outcome = sample(1).to_outcome();
        outcome.metrics.insert("cca_1".into(), Measured::Value(f64::NAN));
        outcome.curves.series.insert("loss".into(), vec![Some(f64::INFINITY), Some(1.0), None]);
        let record = CellRecord::from_outcome(outcome, String::new(), String::new(), sample(1).config, String::new());
        assert_eq!(record.metrics["cca_1"], RecordedMetric::Missing("computed as NaN, which is not finite".into()));
        assert_eq!(record.curves.series["loss"], [None, Some(1.0), None]);
        record.check().unwrap();

        let mut infinite = sample(1);
        infinite.realised.insert("corrupted_share_train".into(), f64::INFINITY);
        assert!(infinite.check().unwrap_err().to_string().contains("`corrupted_share_train` is inf"));
        let mut curved = sample(1);
        curved.curves.series.insert("loss".into(), vec![None, Some(f64::NEG_INFINITY), None]);
        assert!(curved.check().unwrap_err().to_string().contains("`loss` is -inf"));
        let mut unscored = sample(4);
        unscored.selection.as_mut().expect("a selection").candidates[1].score = Some(f64::NAN);
        assert!(unscored.check().unwrap_err().to_string().contains("`selection` is NaN"));
        let mut short = sample(1);
        short.curves.step.pop();
        assert!(short.check().unwrap_err().to_string().contains("has 3 values for 2 steps"));
    }
}
