//! Which mechanism the panel of one cell supports, with the evidence for and against, or that it does not tell.
//!
//! A [`Model`] knows the accepted baseline and, as a multinomial logistic regression, what tells mechanisms apart: how far each
//! indicator is from the baseline, and to which side. It is fitted to calibration seeds, and judged by other seeds, at other
//! strengths and on variants of each failure that it has not seen ([`Validation`]), beside the same model that looks at
//! retrieval and loss alone.
//!
//! | file | owns |
//! |---|---|
//! | `indicators` | what is looked at, and in which units |
//! | `cases` | which cells of which family stand for which mechanism, and what they are for |
//! | `model` | fitting, and the verdict on one cell |
//! | `validation` | accuracy on seeds, strengths and variants that the model has not seen |

mod cases;
mod indicators;
mod model;
mod validation;

pub use cases::{CASES, Case, Mechanism, Role};
pub use indicators::{INDICATORS, Indicator, View};
pub use model::{AttributionError, Evidence, Model, Opinion, Verdict};
pub use validation::{CaseReport, Confusion, Validation, ViewReport, calibrate_and_validate};
