//! Pack size from measured throughput: a short trial of a few sizes before a long run.
//!
//! No result depends on it, so the trial may be as short and as noisy as it is.

use std::time::Duration;

use super::pack::Pack;
use super::plan::{calibrate, training_flops};
use super::scheduler::{TrainError, Trainer};
use crate::spec::Cell;

/// Runs that would take less than this train with the size they have.
const WORTH_TUNING_S: f64 = 60.0;

/// What a worker does at best with tiny matrices, in floating-point operations per second: by this a run is known to be
/// short without a trial.
const FLOPS_PER_WORKER: f64 = 250e9;

/// How long each size trains, beside preparation.
const TRIAL: Duration = Duration::from_millis(300);

/// Sizes tried, over the size at hand.
const FACTORS: [f64; 4] = [0.25, 0.5, 2.0, 4.0];

/// How much faster a size must be to be taken: less is noise of trials this short.
const WORTH_CHANGING: f64 = 1.05;

/// Speed at one pack size.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Trial {
    /// Cells of a pack.
    pub cells: usize,
    /// Of all workers together.
    pub cell_steps_per_s: f64,
}

/// What was tried, the size at hand first; nothing when the run is not worth it.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Tuning {
    pub trials: Vec<Trial>,
}

impl Tuning {
    /// The fastest size over the size at hand, where it is clearly faster.
    pub fn factor(&self) -> f64 {
        let fastest = self.trials.iter().max_by(|a, b| a.cell_steps_per_s.total_cmp(&b.cell_steps_per_s));
        match (fastest, self.trials.first()) {
            (Some(fastest), Some(first)) if fastest.cell_steps_per_s > WORTH_CHANGING * first.cell_steps_per_s => {
                fastest.cells as f64 / first.cells as f64
            }
            _ => 1.0,
        }
    }
}

/// Tries pack sizes around that of the largest of `packs`, on all workers, when training them takes long.
///
/// **Errors** those of the trainer at the size at hand; a larger size that fails (for memory, say) is left out.
pub fn tune(cells: &[Cell], packs: &[Pack], trainer: &dyn Trainer, workers: usize) -> Result<Tuning, TrainError> {
    let mut tuning = Tuning::default();
    let flops: f64 = packs.iter().flat_map(|p| &p.cells).map(|c| training_flops(&cells[*c].config)).sum();
    if flops / (FLOPS_PER_WORKER * workers as f64) < WORTH_TUNING_S {
        return Ok(tuning);
    }
    let Some(largest) = packs.iter().max_by_key(|pack| pack.cells.len()) else { return Ok(tuning) };
    let key = cells[largest.cells[0]].config.pack_key();
    // Alike cells in the order of their packs, so that trials share data as packs do.
    let alike: Vec<usize> =
        packs.iter().filter(|p| cells[p.cells[0]].config.pack_key() == key).flat_map(|p| p.cells.clone()).collect();
    let at_hand = largest.cells.len();
    let speed = |size: usize| -> Result<Option<f64>, TrainError> {
        let pack = Pack { cells: alike[..size].to_vec() };
        Ok(calibrate(cells, &pack, trainer, workers, TRIAL)?.cell_steps_per_s.map(|[_, mean, _]| mean))
    };
    let Some(first) = speed(at_hand)? else { return Ok(tuning) };
    tuning.trials.push(Trial { cells: at_hand, cell_steps_per_s: first });
    for factor in FACTORS {
        let size = (at_hand as f64 * factor) as usize;
        if size == 0 || size > alike.len() {
            continue;
        }
        match speed(size) {
            Ok(Some(cell_steps_per_s)) => tuning.trials.push(Trial { cells: size, cell_steps_per_s }),
            Ok(None) | Err(TrainError::Failed(_)) => {}
            Err(TrainError::Cancelled) => return Err(TrainError::Cancelled),
        }
    }
    Ok(tuning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clearly_faster_size_is_taken() {
        let tuning = |speeds: &[(usize, f64)]| Tuning {
            trials: speeds.iter().map(|&(cells, cell_steps_per_s)| Trial { cells, cell_steps_per_s }).collect(),
        };
        assert_eq!(tuning(&[]).factor(), 1.0);
        assert_eq!(tuning(&[(8, 100.0), (4, 104.0), (16, 90.0)]).factor(), 1.0);
        assert_eq!(tuning(&[(8, 100.0), (4, 104.0), (16, 110.0), (32, 109.0)]).factor(), 2.0);
    }
}
