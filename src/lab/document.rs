//! The results of a laboratory, from the directories of its runs alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::attribution::{AttributionError, INDICATORS, Model, Validation, calibrate_and_validate};
use super::expectation::{Finding, Verdict};
use super::family::{Family, Laboratory};
use super::margins::{Margin, margins};
use super::observed::{LabError, Largest, Observed, Quantity};
use super::outcomes::{OutcomeTable, outcome_table};
use super::registration::{Registration, Standing};
use crate::spec::Sweep;
use crate::store::{Origin, RUNS, RunManifest, StoreError, VERIFICATION_STATEMENT, read_file, read_reused};

/// Where the document is.
pub const LAB_FILE: &str = "lab.json";
/// The folder of the runs, one each.
pub const RUNS_FOLDER: &str = RUNS;

/// What the names of those gates begin with that decide whether something is accepted. The others are constraints whose
/// margins are mapped: they fail where the geometry does.
pub const ACCEPTANCE: &str = "accept-";

const FORMAT: &str = "cliffline-lab";
/// Version of [`LabDocument`].
///
/// # Changelog
/// - 1: first version.
/// - 2: `standing`, `why_exploratory`, `changed`, `registration`, `cells_taken_over`; `standing` of every finding.
/// - 3: `cells_taken_over` leaves out the cells that families took over from one another.
pub const LAB_VERSION: u64 = 3;

/// One family and its run.
#[derive(Debug)]
pub struct FamilyRun {
    pub family: &'static Family,
    pub sweep: Sweep,
    /// The run directory.
    pub dir: PathBuf,
}

/// The result of a family.
#[derive(Clone, Debug, Serialize)]
pub struct FamilyDocument {
    pub sweep: &'static str,
    pub title: &'static str,
    pub asks: &'static str,
    /// Of the run, beside the document.
    pub dir: String,
    pub run_id: String,
    pub spec_blake3: String,
    pub class: String,
    pub planned: u64,
    pub by_status: BTreeMap<String, u64>,
    /// Of them, those that were taken over from other runs.
    pub taken_over: u64,
    pub seeds: usize,
    /// Verdicts on its gates, as in `gates.json`; null where it has none.
    pub gates: Value,
    /// The verdict on the gates that decide acceptance, [`ACCEPTANCE`]; none where there are none.
    pub acceptance: Option<String>,
    /// How far each constraint holds along each numeric axis, the others at the reference.
    pub margins: Vec<Margin>,
    pub table: OutcomeTable,
}

/// `lab.json`.
#[derive(Clone, Debug, Serialize)]
pub struct LabDocument {
    pub format: &'static str,
    pub version: u64,
    pub laboratory: &'static str,
    /// Of every verdict.
    pub standing: Standing,
    pub why_exploratory: Vec<String>,
    /// What the command line changed of the laboratory.
    pub changed: Vec<String>,
    /// By what it was to be judged, as the manifest had it before cells were trained.
    pub registration: Registration,
    /// Cells that were taken over from runs outside of this laboratory.
    pub cells_taken_over: u64,
    pub title: &'static str,
    pub source: &'static str,
    pub about: &'static str,
    pub quick: bool,
    /// Whether every planned cell of every family is finished.
    pub complete: bool,
    /// The gradient check and the determinism audit.
    pub checks: Value,
    pub families: Vec<FamilyDocument>,
    pub findings: Vec<Finding>,
    /// Findings by verdict.
    pub verdicts: BTreeMap<Verdict, usize>,
    pub attribution: Option<Validation>,
    /// Why there is no attribution, where there should be.
    pub attribution_missing: Option<String>,
    pub verification_statement: &'static str,
}

/// Reads the runs of a laboratory and judges its expectations.
///
/// # Errors
/// A run without a manifest or tables, or with damaged ones.
pub fn assemble(
    laboratory: &Laboratory,
    runs: &[FamilyRun],
    registration: Registration,
    checks: Value,
) -> Result<(LabDocument, Vec<Model>), LabError> {
    let mut families = Vec::new();
    let (mut observed, mut largest) = (BTreeMap::new(), BTreeMap::new());
    for run in runs {
        let quantities = quantities(laboratory, run.family);
        let seen = Observed::read(&run.dir, &run.sweep, &quantities)?;
        families.push(family_document(run, &seen)?);
        observed.insert(run.family.sweep, seen);
        largest.insert(run.family.sweep, Largest::of(&run.sweep));
    }
    let outside = from_outside(runs)?;
    let standing = registration.standing(outside);
    let mut findings = Vec::new();
    for expectation in laboratory.expectations() {
        let found = observed.get(expectation.family).zip(largest.get(expectation.family));
        if let Some((family, (observed, largest))) = laboratory.family(expectation.family).zip(found) {
            findings.push(expectation.judge(family, observed, *largest, standing)?);
        }
    }
    let mut verdicts = BTreeMap::new();
    findings.iter().for_each(|finding| *verdicts.entry(finding.verdict).or_insert(0) += 1);
    let attributed: Option<Result<_, AttributionError>> =
        laboratory.attribution.then(|| calibrate_and_validate(laboratory, &observed));
    let (models, attribution, attribution_missing) = match attributed {
        None => (Vec::new(), None, None),
        Some(Ok((models, validation))) => (models, Some(validation), None),
        Some(Err(error)) => (Vec::new(), None, Some(error.to_string())),
    };
    let finished = |family: &FamilyDocument| family.by_status.values().sum::<u64>();
    let document = LabDocument {
        format: FORMAT,
        version: LAB_VERSION,
        laboratory: laboratory.name,
        standing,
        why_exploratory: registration.reasons(outside),
        changed: registration.changed(),
        cells_taken_over: outside,
        title: laboratory.title,
        source: laboratory.source,
        about: laboratory.about,
        quick: registration.changes.quick,
        registration,
        complete: families.iter().all(|family| finished(family) >= family.planned),
        checks,
        families,
        findings,
        verdicts,
        attribution,
        attribution_missing,
        verification_statement: VERIFICATION_STATEMENT,
    };
    Ok((document, models))
}

/// Everything that is read of a family's cells.
fn quantities(laboratory: &Laboratory, family: &Family) -> Vec<Quantity> {
    let of_table = family.outcomes.iter().copied();
    let expected = laboratory.expectations().filter(|e| e.family == family.sweep).map(|e| e.quantity);
    let indicators = INDICATORS.iter().map(|indicator| indicator.quantity).filter(|_| laboratory.attribution);
    of_table.chain(expected).chain(indicators).collect::<BTreeSet<_>>().into_iter().collect()
}

fn family_document(run: &FamilyRun, observed: &Observed) -> Result<FamilyDocument, LabError> {
    let Some(manifest) = RunManifest::read(&run.dir)? else {
        return Err(LabError::NoManifest { dir: run.dir.clone() });
    };
    let seeds = run.sweep.axes.iter().find(|axis| axis.path == "seed").map_or(1, |axis| axis.levels.len());
    let gates = gates(&run.dir)?;
    Ok(FamilyDocument {
        sweep: run.family.sweep,
        title: run.family.title,
        asks: run.family.asks,
        dir: format!("{RUNS_FOLDER}/{}", run.family.sweep),
        taken_over: taken_over(&manifest),
        run_id: manifest.run_id,
        spec_blake3: manifest.spec_blake3,
        class: manifest.class,
        planned: manifest.cells.planned,
        by_status: manifest.cells.by_status,
        seeds,
        acceptance: acceptance(&gates),
        gates,
        margins: margins(&run.dir, &run.sweep, run.family)?,
        table: outcome_table(run.family, &run.sweep, observed)?,
    })
}

/// The cells of a laboratory's runs that were trained in none of them: a family that took one over from another family
/// has it from where that one has it.
fn from_outside(runs: &[FamilyRun]) -> Result<u64, LabError> {
    let read = |run: &FamilyRun| Ok((run.family.sweep, read_reused(&run.dir)?));
    let taken: BTreeMap<&str, BTreeMap<String, Origin>> = runs.iter().map(read).collect::<Result<_, StoreError>>()?;
    let is_outside = |family: &str, cell: &str| {
        let mut at = family;
        // Each step leads to an earlier run, unless somebody wrote a circle.
        for _ in 0..=taken.len() {
            let Some(origin) = taken.get(at).and_then(|cells| cells.get(cell)) else { return false };
            let Some((inside, _)) = taken.get_key_value(origin.run.as_str()) else { return true };
            at = inside;
        }
        true
    };
    let of = |(family, cells): (&&str, &BTreeMap<String, Origin>)| {
        cells.keys().filter(|cell| is_outside(family, cell)).count() as u64
    };
    Ok(taken.iter().map(of).sum())
}

/// Cells that the sessions of a run took over from others.
fn taken_over(manifest: &RunManifest) -> u64 {
    let sessions = manifest.more.get("sessions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    sessions.iter().filter_map(|session| session["reused"].as_u64()).sum()
}

/// The worst verdict on the gates of acceptance.
fn acceptance(gates: &Value) -> Option<String> {
    let named = |gate: &&Value| gate["name"].as_str().is_some_and(|name| name.starts_with(ACCEPTANCE));
    let verdicts: Vec<&str> =
        gates["gates"].as_array()?.iter().filter(named).filter_map(|gate| gate["verdict"].as_str()).collect();
    let worst = ["fail", "insufficient_evidence", "pass"].into_iter().find(|verdict| verdicts.contains(verdict));
    worst.map(String::from)
}

/// The verdicts of a run; null where it has no gates.
fn gates(dir: &Path) -> Result<Value, LabError> {
    let path = dir.join("gates.json");
    match read_file(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| LabError::Unreadable { path, reason: e.to_string() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(error) => Err(LabError::Unreadable { path, reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn acceptance_is_the_worst_of_its_gates_alone() {
        let gate = |name: &str, verdict: &str| json!({"name": name, "verdict": verdict});
        let of = |gates: Vec<Value>| acceptance(&json!({ "gates": gates }));
        assert_eq!(of(vec![gate("rank", "fail")]), None);
        assert_eq!(of(vec![gate("rank", "fail"), gate("accept-rank", "pass")]).as_deref(), Some("pass"));
        let unsure = vec![gate("accept-a", "pass"), gate("accept-b", "insufficient_evidence")];
        assert_eq!(of(unsure).as_deref(), Some("insufficient_evidence"));
        assert_eq!(acceptance(&Value::Null), None);
    }

    #[test]
    fn a_cell_is_from_outside_when_no_run_of_the_laboratory_trained_it() {
        let dir = tempfile::tempdir().unwrap();
        let families: Vec<&'static Family> = super::super::LABORATORIES[0].families.iter().take(3).collect();
        let lines = |lines: &[(&str, &str)]| {
            let line = |(cell, run): &(&str, &str)| format!("{{\"cell_id\":\"{cell}\",\"run\":\"{run}\"}}\n");
            lines.iter().map(line).collect::<String>()
        };
        let [a, b, c] = [families[0].sweep, families[1].sweep, families[2].sweep];
        let runs = |of: [&[(&str, &str)]; 3]| {
            let run = |(family, own): (&&'static Family, &[(&str, &str)])| {
                let at = dir.path().join(family.sweep);
                std::fs::create_dir_all(&at).unwrap();
                std::fs::write(at.join(crate::store::REUSED_FILE), lines(own)).unwrap();
                let sweep = crate::spec::load(family.sweep, &crate::spec::Overrides::default()).unwrap();
                FamilyRun { family, sweep, dir: at }
            };
            from_outside(&families.iter().zip(of).map(run).collect::<Vec<_>>()).unwrap()
        };
        assert_eq!(runs([&[], &[("1", a), ("2", a)], &[("1", b), ("3", a)]]), 0);
        assert_eq!(runs([&[], &[("1", "elsewhere")], &[("3", a)]]), 1);
        // Taken over twice, from outside at first.
        assert_eq!(runs([&[("1", "elsewhere")], &[("1", a), ("2", a)], &[("1", b)]]), 3);
        assert_eq!(runs([&[("1", c)], &[("1", a)], &[("1", b)]]), 3, "a circle has no beginning here");
        std::fs::remove_file(dir.path().join(a).join(crate::store::REUSED_FILE)).unwrap();
        assert!(read_reused(&dir.path().join(a)).unwrap().is_empty());
    }
}
