//! Taking over cells from runs beside this one, once a sample of them was trained again.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::{checked, interrupt, output};
use crate::engine::{BurnTrainer, Control, TrainError};
use crate::store::{Offer, Offers, Redaction, RunDir, differences, find_offers};

/// Whether cells are taken over, and which are trained again first.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ReuseArgs {
    /// Take no cells over from the runs beside this one, but train all that is missing
    #[arg(long)]
    pub no_reuse: bool,
    /// Seed of the sample of such cells that is trained again before they are believed [default: drawn anew, and told]
    #[arg(long, value_name = "SEED")]
    reuse_seed: Option<u64>,
}

/// The cells that were taken over.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// How many.
    pub cells: usize,
    /// Of each run that lent some, for the manifest: what it is, how many cells, which were trained again.
    pub runs: Vec<Value>,
}

/// What runs beside this one have of the cells that are wanted; nothing of it is believed yet.
#[derive(Debug, Default)]
pub(super) struct Found {
    offers: Vec<Offer>,
    skipped: Vec<(PathBuf, String)>,
}

/// Offers of which a sample came out the same.
#[derive(Debug, Default)]
pub(super) struct Lent {
    /// Each with the cells that were trained again.
    offers: Vec<(Offer, Vec<String>)>,
    skipped: Vec<(PathBuf, String)>,
    seed: u64,
}

/// Why nothing was taken over, nor anything else done.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A record came out differently; in words.
    Differs(String),
    Interrupted,
}

impl ReuseArgs {
    /// Nobody who made a record can know it beforehand.
    fn seed(&self) -> u64 {
        self.reuse_seed.unwrap_or_else(unchosen_seed)
    }

    /// What runs beside `dir` have of `wanted`.
    pub fn find(&self, dir: &Path, wanted: &[&str], class: &str) -> anyhow::Result<Found> {
        if self.no_reuse || wanted.is_empty() {
            return Ok(Found::default());
        }
        let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Offers { offers, skipped } = find_offers(parent, dir, wanted.iter().copied().collect(), class)?;
        Ok(Found { offers, skipped })
    }

    /// Trains a sample of what was found again. Where one cell comes out differently, nothing is taken over from any
    /// run. Nothing is written.
    pub fn sample(&self, found: Found, trainer: &BurnTrainer) -> anyhow::Result<Result<Lent, Refusal>> {
        let mut lent = Lent { skipped: found.skipped, seed: self.seed(), ..Lent::default() };
        for offer in found.offers {
            match agrees(&offer, lent.seed, trainer)? {
                Sampled::Agrees(sample) => lent.offers.push((offer, sample)),
                Sampled::Gone(reason) => lent.skipped.push((offer.dir().to_path_buf(), reason)),
                Sampled::Refused(refusal) => return Ok(Err(refusal)),
            }
        }
        Ok(Ok(lent))
    }
}

impl Found {
    /// Names the other runs as this one may show them.
    pub fn redacted(mut self, redaction: &Redaction) -> Self {
        for offer in &mut self.offers {
            offer.call(redaction.redactor.redact(&offer.origin().run).text);
        }
        self
    }

    /// The cells of which a record is there.
    pub fn cells(&self) -> HashSet<&str> {
        self.offers.iter().flat_map(|offer| offer.cells()).map(String::as_str).collect()
    }
}

impl Lent {
    /// Takes them over into the run, whose manifest says that it is at work.
    pub fn take_over(&self, run: &mut RunDir) -> anyhow::Result<Taken> {
        let mut taken = Taken::default();
        for (offer, sample) in &self.offers {
            let (cells, lost) = run.take_over(offer)?;
            taken.cells += cells;
            taken.runs.push(json!({
                "from": offer.origin(), "cells": cells, "retrained": sample, "seed": self.seed,
            }));
            output::note(&format!(
                "reused {cells} cells from {}: {} of them trained again, and the same (--reuse-seed {})",
                output::shown(offer.dir().display()),
                sample.len(),
                self.seed
            ));
            lost.iter().for_each(|(path, reason)| not_reused(path, reason));
        }
        self.skipped.iter().for_each(|(path, reason)| not_reused(path, reason));
        Ok(taken)
    }
}

fn not_reused(path: &Path, reason: &str) {
    output::note(&format!("could not reuse {}: {}", output::shown(path.display()), output::shown(reason)));
}

/// The result of training the sample of an offer again.
enum Sampled {
    /// The ids of its cells.
    Agrees(Vec<String>),
    Refused(Refusal),
    /// It cannot be read any more, and why.
    Gone(String),
}

/// Trains the sample of an offer again.
fn agrees(offer: &Offer, seed: u64, trainer: &BurnTrainer) -> anyhow::Result<Sampled> {
    let sample = offer.sample(seed);
    let control = Arc::new(Control::default());
    interrupt::watch(&control);
    for cell_id in &sample {
        let record = match offer.record(cell_id) {
            Ok(record) => record,
            Err(error) => return Ok(Sampled::Gone(error.to_string())),
        };
        let again = match trainer.retrain(&checked::cell(&record)?, &control) {
            Err(TrainError::Cancelled) => return Ok(Sampled::Refused(Refusal::Interrupted)),
            other => other?,
        };
        let differing = differences(&record, &again.outcome);
        if !differing.is_empty() {
            return Ok(Sampled::Refused(Refusal::Differs(format!(
                "cell {cell_id} of {} came out differently when it was trained again ({}): none of its {} is taken over, \
                 and nothing is trained; move that directory elsewhere, or train everything here with --no-reuse",
                output::shown(offer.dir().display()),
                in_short(&differing),
                output::count(offer.cells().len(), "cell"),
            ))));
        }
    }
    Ok(Sampled::Agrees(sample.into_iter().map(String::from).collect()))
}

/// The seed of a sample that nobody can know beforehand, short enough to be typed.
pub(super) fn unchosen_seed() -> u64 {
    // The keys of a new hasher are the operating system's random numbers.
    RandomState::new().build_hasher().finish() >> 32
}

/// The first few of what differs.
pub(super) fn in_short(differing: &[String]) -> String {
    const SHOWN: usize = 4;
    let more = differing.len().saturating_sub(SHOWN);
    let shown = differing.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    output::shown(if more > 0 { format!("{shown} and {more} more") } else { shown })
}
