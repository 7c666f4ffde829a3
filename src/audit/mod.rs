//! What a run says about itself beside its results: which risks it runs and which controls are really on, and a strict
//! report that keeps what was measured apart from what is assumed and open. Made of the resolved spec, the manifest, the
//! verdicts and the tables; nothing is measured here.
//!
//! To add a risk: a line of [`RISKS`]. A control: a line of [`CONTROLS`], and a spec that switches it on in the tests.

mod controls;
mod evidence;
mod lab_report;
mod risk_log;
mod run_report;

pub use controls::{CONTROLS, Control, RISKS, Risk};
pub use evidence::{Evidence, GATES_CHANGED, Pointer, Reading};
pub use lab_report::{LabControl, LabRisk, LabRiskLog, lab_report, lab_risk_log, write_lab_risk_log};
pub use risk_log::{ControlState, RISK_LOG_FILE, RISK_LOG_VERSION, RiskEntry, RiskLog, risk_log, write_risk_log};
pub use run_report::{RUN_REPORT_FILE, run_report};
