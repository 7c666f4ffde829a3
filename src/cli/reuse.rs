//! Taking over cells from runs beside this one, once a sample of them was trained again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::{checked, interrupt, output};
use crate::engine::{BurnTrainer, Control, TrainError};
use crate::store::{Offer, Offers, RunDir, differences, find_offers};

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

/// The cells that were taken over, and why none were.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Cells that were taken over.
    pub cells: usize,
    /// Of each run that lent some, for the manifest: what it is, how many cells, which were trained again.
    pub runs: Vec<Value>,
    pub refusal: Option<Refusal>,
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

    /// Takes over those of `wanted` that runs beside `dir` have. Where one cell of a sample comes out differently when it
    /// is trained again, nothing is taken over from any of them.
    pub fn take_over(
        &self,
        run: &mut RunDir,
        dir: &Path,
        wanted: &[&str],
        trainer: &BurnTrainer,
    ) -> anyhow::Result<Taken> {
        let mut taken = Taken::default();
        if self.no_reuse || wanted.is_empty() {
            return Ok(taken);
        }
        let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Offers { offers, skipped } =
            find_offers(parent, dir, wanted.iter().copied().collect(), &trainer.backend().class)?;
        let seed = self.seed();
        let mut sampled = Vec::new();
        for offer in &offers {
            match agrees(offer, seed, trainer)? {
                Ok(sample) => sampled.push(sample),
                Err(refusal) => return Ok(Taken { refusal: Some(refusal), ..taken }),
            }
        }
        for (offer, sample) in offers.iter().zip(&sampled) {
            let (cells, lost) = run.take_over(offer)?;
            taken.cells += cells;
            taken.runs.push(json!({
                "from": offer.origin(), "cells": cells, "retrained": sample, "seed": seed,
            }));
            output::note(&format!(
                "reused {cells} cells from {}: {} of them trained again, and the same (--reuse-seed {seed})",
                output::shown(offer.dir().display()),
                sample.len()
            ));
            lost.iter().for_each(|(path, reason)| not_reused(path, reason));
        }
        skipped.iter().for_each(|(path, reason)| not_reused(path, reason));
        Ok(taken)
    }
}

fn not_reused(path: &Path, reason: &str) {
    output::note(&format!("could not reuse {}: {}", output::shown(path.display()), output::shown(reason)));
}

/// Trains the sample of an offer again: the ids of its cells, or why the offer is refused.
fn agrees(offer: &Offer, seed: u64, trainer: &BurnTrainer) -> anyhow::Result<Result<Vec<String>, Refusal>> {
    let sample = offer.sample(seed);
    let control = Arc::new(Control::default());
    interrupt::watch(&control);
    for cell_id in &sample {
        let record = offer.record(cell_id)?;
        let again = match trainer.retrain(&checked::cell(&record)?, &control) {
            Err(TrainError::Cancelled) => return Ok(Err(Refusal::Interrupted)),
            other => other?,
        };
        let differing = differences(&record, &again.outcome);
        if !differing.is_empty() {
            return Ok(Err(Refusal::Differs(format!(
                "cell {cell_id} of {} came out differently when it was trained again ({}): none of its {} is taken over, \
                 and nothing is trained; move that directory elsewhere, or train everything here with --no-reuse",
                output::shown(offer.dir().display()),
                in_short(&differing),
                output::count(offer.cells().len(), "cell"),
            ))));
        }
    }
    Ok(Ok(sample.into_iter().map(String::from).collect()))
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
