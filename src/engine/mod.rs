//! From planned cells to outcomes: packs, the trainer that runs them, and the scheduler that spreads them over threads.
//!
//! The scheduler knows neither Burn nor a disk: it hands packs to a [`Trainer`] and tells the caller what happened
//! through [`Event`]s.

mod burn_trainer;
mod cache;
mod checks;
mod gradcheck;
mod limits;
mod measure;
mod outcome;
mod pack;
mod plan;
mod scheduler;
mod selection;
mod sensitivity;
mod tune;
mod watch;

pub use burn_trainer::{BurnTrainer, Observed, Retrained};
pub use checks::{CheckError, agree};
pub use gradcheck::{Settings, gradcheck};
pub use limits::{Act, LIMITS, Limit};
pub use measure::carried;
pub use outcome::{
    Candidate, Checksums, ConditionOutcome, Crossing, Curves, Measured, Outcome, Selection, Status, panel,
};
pub use pack::{Pack, make_packs};
pub use plan::{Calibration, Estimate, calibrate, estimate, pack_size, training_flops};
pub use scheduler::{Control, Event, Measuring, TrainError, Trainer, Workers, run_packs};
pub use tune::{Trial, Tuning, tune};
pub use watch::{SPECTRAL_SERIES, STRUCTURE_SERIES, VALIDATION_SERIES};
