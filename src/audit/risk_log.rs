//! `risk_log.json`: every risk, and of every control whether it is on in this run.
//!
//! # Changelog of [`RISK_LOG_VERSION`]
//! - 1: first version.

use std::path::Path;

use serde::Serialize;

use super::controls::{CONTROLS, Control, RISKS, Risk};
use super::evidence::{Evidence, Pointer, Reading};
use crate::store::strict_report::NOT_VERIFIED;
use crate::store::{StoreError, VERIFICATION_STATEMENT, write_replaceable};

/// Version of [`RiskLog`].
pub const RISK_LOG_VERSION: u64 = 1;
/// Its name in a directory.
pub const RISK_LOG_FILE: &str = "risk_log.json";

/// The document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RiskLog {
    pub format: &'static str,
    pub version: u64,
    pub run_id: String,
    pub sweep: String,
    pub risks: Vec<RiskEntry>,
    pub verification_status: &'static str,
    pub verification_statement: &'static str,
}

/// One risk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RiskEntry {
    pub id: &'static str,
    pub name: &'static str,
    pub why: &'static str,
    pub controls_on: usize,
    pub controls: Vec<ControlState>,
    pub open_items: Vec<String>,
}

/// One control of a risk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ControlState {
    pub id: &'static str,
    pub what: &'static str,
    pub implemented_by: &'static [Pointer],
    #[serde(flatten)]
    pub reading: Reading,
}

/// Reads every control from a run.
pub fn risk_log(evidence: &Evidence<'_>) -> RiskLog {
    let readings: Vec<(&Control, Reading)> =
        CONTROLS.iter().map(|control| (control, control.read.of(evidence))).collect();
    RiskLog {
        format: "cliffline-risk-log",
        version: RISK_LOG_VERSION,
        run_id: evidence.manifest.run_id.clone(),
        sweep: evidence.sweep.name.clone(),
        risks: RISKS.iter().map(|risk| entry(risk, &readings)).collect(),
        verification_status: NOT_VERIFIED,
        verification_statement: VERIFICATION_STATEMENT,
    }
}

fn entry(risk: &Risk, readings: &[(&Control, Reading)]) -> RiskEntry {
    let own = readings.iter().filter(|(control, _)| control.risks.contains(&risk.id));
    let controls: Vec<ControlState> = own
        .map(|(control, reading)| ControlState {
            id: control.id,
            what: control.what,
            implemented_by: control.implemented_by,
            reading: reading.clone(),
        })
        .collect();
    let off: Vec<&str> = controls.iter().filter(|control| !control.reading.on).map(|control| control.id).collect();
    let mut open_items: Vec<String> = risk.open.iter().map(ToString::to_string).collect();
    if !off.is_empty() {
        open_items.push(format!("Off in this run: {}.", off.join(", ")));
    }
    let controls_on = controls.len() - off.len();
    RiskEntry { id: risk.id, name: risk.name, why: risk.why, controls_on, controls, open_items }
}

impl RiskLog {
    /// The controls of all risks, each once.
    pub fn controls(&self) -> Vec<&ControlState> {
        let all = self.risks.iter().flat_map(|risk| &risk.controls);
        let mut controls: Vec<&ControlState> = Vec::new();
        all.for_each(|control| {
            if !controls.iter().any(|known| known.id == control.id) {
                controls.push(control);
            }
        });
        controls
    }
}

/// Writes it into `dir`.
///
/// # Errors
/// [`StoreError::Io`].
pub fn write_risk_log(dir: &Path, log: &RiskLog) -> Result<(), StoreError> {
    let mut text = serde_json::to_vec_pretty(log).expect("plain data");
    text.push(b'\n');
    write_replaceable(&dir.join(RISK_LOG_FILE), |out| out.write_all(&text))
}

#[cfg(test)]
mod tests;
