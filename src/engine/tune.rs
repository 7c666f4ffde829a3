//! Pack size from measured throughput: a short trial of a few sizes before a long run.
//!
//! No result depends on it, so the trial may be as short and as noisy as it is.

use std::time::Duration;

use super::pack::Pack;
use super::plan::{training_flops, training_rates};
use super::scheduler::Trainer;
use crate::spec::Cell;

/// Runs that would take less than this train with the size they have.
const WORTH_TUNING_S: f64 = 60.0;

/// What a worker does at best with tiny matrices, in floating-point operations per second: by this a run is known to be
/// short without a trial.
const FLOPS_PER_WORKER: f64 = 250e9;

/// How long each size trains, beside preparation.
const TRIAL: Duration = Duration::from_millis(300);

/// Factors tried on the usual size, the usual size first.
const FACTORS: [f64; 5] = [1.0, 0.25, 0.5, 2.0, 4.0];

/// How much faster a size must be to be taken: less is noise of trials this short.
const WORTH_CHANGING: f64 = 1.05;

/// Speed at one pack size.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Trial {
    /// Of the usual size.
    pub factor: f64,
    /// Cells of a pack.
    pub cells: usize,
    /// Of all workers together.
    pub cell_steps_per_s: f64,
}

/// What was tried, the usual size first; nothing when the run is not worth it.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Tuning {
    pub trials: Vec<Trial>,
}

impl Tuning {
    /// The factor of the fastest size, where that is clearly faster than the usual one.
    pub fn factor(&self) -> f64 {
        let fastest = self.trials.iter().max_by(|a, b| a.cell_steps_per_s.total_cmp(&b.cell_steps_per_s));
        match (fastest, self.trials.first()) {
            (Some(fastest), Some(first)) if fastest.cell_steps_per_s > WORTH_CHANGING * first.cell_steps_per_s => {
                fastest.factor
            }
            _ => 1.0,
        }
    }
}

/// Tries sizes of the largest of `packs` on all workers, when training them takes long. `size` gives the cells of a
/// pack at a factor of the usual size, for a cell and how many are like it.
///
/// A size that fails, for memory or whatever else, is left out: if it is the usual one, training says so.
pub fn tune(
    cells: &[Cell],
    packs: &[Pack],
    trainer: &dyn Trainer,
    workers: usize,
    size: impl Fn(&Cell, usize, f64) -> usize,
) -> Tuning {
    let mut tuning = Tuning::default();
    let flops: f64 = packs.iter().flat_map(|p| &p.cells).map(|c| training_flops(&cells[*c].config)).sum();
    if flops / (FLOPS_PER_WORKER * workers as f64) < WORTH_TUNING_S {
        return tuning;
    }
    let Some(largest) = packs.iter().max_by_key(|pack| pack.cells.len()) else { return tuning };
    let first = &cells[largest.cells[0]];
    let key = first.config.pack_key();
    // Alike cells in the order of their packs, so that trials share data as packs do.
    let alike: Vec<usize> =
        packs.iter().filter(|p| cells[p.cells[0]].config.pack_key() == key).flat_map(|p| p.cells.clone()).collect();
    for factor in FACTORS {
        let size = size(first, alike.len(), factor).min(alike.len());
        if tuning.trials.iter().any(|trial| trial.cells == size) {
            continue;
        }
        let pack = Pack { cells: alike[..size].to_vec() };
        let speed = training_rates(cells, &pack, trainer, workers, TRIAL).ok().flatten();
        match speed {
            Some([_, mean, _]) => tuning.trials.push(Trial { factor, cells: size, cell_steps_per_s: mean }),
            // Nothing to compare with.
            None if tuning.trials.is_empty() => return tuning,
            None => {}
        }
    }
    tuning
}

#[cfg(test)]
mod tests {
    use super::super::{Control, Measuring, TrainError, make_packs};
    use super::*;
    use crate::spec::{Overrides, from_str};

    #[test]
    fn only_a_clearly_faster_size_is_taken() {
        let trial = |&(factor, cell_steps_per_s): &(f64, f64)| Trial { factor, cells: 8, cell_steps_per_s };
        let factor = |speeds: &[(f64, f64)]| Tuning { trials: speeds.iter().map(trial).collect() }.factor();
        assert_eq!(factor(&[]), 1.0);
        assert_eq!(factor(&[(1.0, 100.0), (0.5, 104.0), (2.0, 90.0)]), 1.0);
        assert_eq!(factor(&[(1.0, 100.0), (0.5, 104.0), (2.0, 110.0), (4.0, 109.0)]), 2.0);
    }

    /// Counts the packs that it is asked to train, and steps at once.
    struct Quick(std::sync::Mutex<Vec<usize>>);

    impl Trainer for Quick {
        fn train<'a>(&'a self, cells: &[&'a Cell], control: &Control) -> Result<Measuring<'a>, TrainError> {
            self.0.lock().expect("nobody panics").push(cells.len());
            if cells.len() > 4 {
                return Err(TrainError::Failed("too large".into()));
            }
            while !control.is_cancelled() {
                control.cell_steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(TrainError::Cancelled)
        }
    }

    #[test]
    fn long_runs_try_sizes_and_leave_out_those_that_fail_while_short_runs_try_none() {
        let tried = |steps: u64| {
            let text = format!(
                "name = \"t\"\npreset = \"reference\"\n[train]\nsteps = {steps}\n[axes]\nseed = {{ seeds = 40 }}\n"
            );
            let sweep = from_str(&text, "t.toml", &Overrides::default()).expect("a valid spec");
            let wanted: Vec<usize> = (0..sweep.cells.len()).collect();
            let size = |_: &Cell, _: usize, factor: f64| (4.0 * factor) as usize;
            let packs = make_packs(&sweep.cells, &wanted, |cell, alike| size(cell, alike, 1.0));
            let quick = Quick(Default::default());
            let tuning = tune(&sweep.cells, &packs, &quick, 1, size);
            tuning.trials.iter().map(|trial| trial.cells).collect::<Vec<_>>()
        };
        assert_eq!(tried(10), [0; 0]);
        assert_eq!(tried(100_000), [4, 1, 2]);
    }
}
