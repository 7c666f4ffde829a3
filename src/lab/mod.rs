//! The laboratories: what the book and the paper experiment on, as sweeps of the engine, and what they expect of them.
//!
//! A laboratory is a list of [`Family`]s, each a spec in `sweeps/`, and a list of [`Expectation`]s, each a sentence of the
//! source as a test that can come out either way, but for a few that definitions decide, which is said beside them. The engine trains the families like any sweep; what is here reads their
//! tables.
//!
//! | file | owns |
//! |---|---|
//! | `family` | a sweep of a laboratory: its question, its reference place, what its table shows |
//! | `observed` | the cells of a family's run by levels and seed, and quantities of them |
//! | `expectation` | a sentence of the source as a paired comparison, and the finding that comes of it |
//! | `explanations` | why some sentences cannot hold here |
//! | `margins` | how far the constraints of a family hold along its axes |
//! | `outcomes` | the table of a family: quantities at every combination of levels, with intervals over seeds |
//! | `document` | everything that came of a laboratory, from its runs' directories |
//! | `matters` | the smallest differences that matter |
//! | `registration` | what was fixed before cells were trained, and what the user changed |
//! | `geometry`, `failures` | the laboratories of chapters 1 and 2 |
//! | `attribution/` | which mechanism the panel of one cell supports |
//!
//! To add an expectation: one entry of its laboratory's list. To add a family: a spec and one entry.

pub mod attribution;
mod document;
mod expectation;
mod explanations;
mod failures;
mod family;
mod geometry;
mod margins;
mod matters;
mod observed;
mod outcomes;
mod registration;

pub use document::{ACCEPTANCE, FamilyDocument, FamilyRun, LAB_FILE, LAB_VERSION, LabDocument, RUNS_FOLDER, assemble};
pub use expectation::{Expect, Expectation, Finding, MIN_SEEDS, Origin, SeedPair, Verdict, judge};
pub use family::{Family, Laboratory, Level, Place};
pub use margins::Margin;
pub use matters::PILOT_SEEDS;
pub use observed::{LabError, Observed, Quantity};
pub use outcomes::{Outcome, OutcomeRow, OutcomeTable, outcome_table};
pub use registration::{Changes, REGISTER_STEP, RUN_STEP, RegisteredFamily, Registration, Standing};

/// Every laboratory.
pub const LABORATORIES: &[&Laboratory] = &[&geometry::GEOMETRY, &failures::FAILURES];

/// The laboratory called `name`.
pub fn laboratory(name: &str) -> Option<&'static Laboratory> {
    LABORATORIES.iter().copied().find(|laboratory| laboratory.name == name)
}
