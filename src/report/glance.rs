//! The run at a glance: what was swept, how its cells ended, what its gates say, and what computed it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::run_data::{ReportError, RunData};
use crate::analysis::StopRules;
use crate::numerics::shown::{Levels, exact, percent, rounded_to};
use crate::spec::{Axis, CLEAN, Gate, Sweep};
use crate::store::{RunState, VERIFICATION_STATEMENT, read_file};

/// Where `run` and `gate` write the verdicts.
const GATES_FILE: &str = "gates.json";

/// Levels of an axis that are listed one by one.
const LISTED: usize = 8;
/// The order of statuses.
const STATUSES: [&str; 4] = ["ok", "collapsed", "diverged", "failed"];
/// Said of a gate without a verdict.
const NOT_JUDGED: &str = "not judged";
/// Digits of hashes that name something to people.
const HASH_DIGITS: usize = 12;

/// What the top of the page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glance {
    pub sweep: String,
    pub description: String,
    /// None for a run that is complete; else what it is.
    pub unfinished: Option<String>,
    pub axes: Vec<SweptAxis>,
    pub planned: u64,
    /// Status and finished cells with it.
    pub by_status: Vec<(String, u64)>,
    /// Which stop rules are on, without which no cell can be called collapsed.
    pub stop_rules: String,
    /// Of all gates together.
    pub verdict: String,
    pub gates: Vec<JudgedGate>,
    /// What computed it: name and value.
    pub facts: Vec<(&'static str, String)>,
    pub statement: &'static str,
}

/// An axis and its levels in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweptAxis {
    pub path: String,
    pub levels: String,
    pub count: usize,
    /// Levels that only cells beside the grid have.
    pub added: usize,
}

/// A gate, its verdict, and the place that the verdict comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedGate {
    pub name: String,
    pub constraint: String,
    /// `pass`, `fail` or `insufficient_evidence`, as in the file; `not judged` without one.
    pub verdict: String,
    /// Combinations of levels by verdict, in words.
    pub combinations: String,
    pub worst: String,
}

/// Reads what the top of the page says.
///
/// # Errors
/// Verdicts that cannot be read.
pub fn glance(run: &RunData) -> Result<Glance, ReportError> {
    let manifest = &run.manifest;
    let unfinished = match manifest.state {
        RunState::Complete => None,
        RunState::Running => Some("The run was at work, or was killed, when this was made.".to_string()),
        RunState::Interrupted => Some("The run was interrupted.".to_string()),
        RunState::Incomplete => Some("The run is incomplete.".to_string()),
    };
    let verdicts = verdicts(run)?;
    let all = |axis: &Axis| run.sweep.all_levels(axis).len() - axis.levels.len();
    Ok(Glance {
        sweep: run.sweep.name.clone(),
        description: run.sweep.description.clone(),
        unfinished,
        axes: run.sweep.axes.iter().map(|axis| swept(axis, run.sweep.shown(&axis.path), all(axis))).collect(),
        planned: manifest.cells.planned,
        by_status: by_status(&manifest.cells.by_status),
        stop_rules: StopRules::of(&run.sweep).describe(),
        verdict: verdicts.as_ref().and_then(|v| v["verdict"].as_str()).unwrap_or(NOT_JUDGED).to_string(),
        gates: run.sweep.gates.iter().map(|gate| judged(&run.sweep, gate, verdicts.as_ref())).collect(),
        facts: facts(run),
        statement: VERIFICATION_STATEMENT,
    })
}

/// Statuses in the order of other tables, those of later versions last.
fn by_status(counts: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let order = |status: &str| STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len());
    let mut counts: Vec<(String, u64)> = counts.iter().map(|(status, n)| (status.clone(), *n)).collect();
    counts.sort_by_key(|(status, _)| order(status));
    counts
}

fn verdicts(run: &RunData) -> Result<Option<Value>, ReportError> {
    if run.sweep.gates.is_empty() {
        return Ok(None);
    }
    let path = run.dir.join(GATES_FILE);
    let text = match read_file(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReportError::Unreadable { path, reason: error.to_string() }),
    };
    let read = serde_json::from_slice(&text);
    read.map(Some).map_err(|error| ReportError::Unreadable { path, reason: error.to_string() })
}

fn swept(axis: &Axis, shown: Levels, added: usize) -> SweptAxis {
    let levels: Vec<String> = axis.levels.iter().map(|level| shown.text(level)).collect();
    let text = match (levels.first(), levels.last()) {
        (Some(first), Some(last)) if levels.len() > LISTED => format!("{first} to {last}"),
        _ => levels.join(", "),
    };
    SweptAxis { path: axis.path.clone(), levels: text, count: levels.len(), added }
}

/// The bounds of a gate in words.
pub fn bounds(min: Option<f64>, max: Option<f64>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("from {} to {}", exact(min), exact(max)),
        (Some(min), None) => format!("at least {}", exact(min)),
        (_, max) => format!("at most {}", max.map_or_else(String::new, exact)),
    }
}

fn constraint(gate: &Gate) -> String {
    let condition = if gate.condition == CLEAN { String::new() } else { format!(" under {}", gate.condition) };
    let share = if gate.share == 1.0 { "every seed".into() } else { format!("{} of seeds", percent(gate.share)) };
    let scope: Vec<String> = gate.scope.iter().map(|(path, scope)| format!("{path} {}", scope.describe())).collect();
    let scope = if scope.is_empty() { String::new() } else { format!(", where {}", scope.join(" and ")) };
    format!(
        "{} {}{condition}, for {share} of at least {}{scope}",
        gate.metric,
        bounds(gate.min, gate.max),
        gate.min_seeds
    )
}

fn judged(sweep: &Sweep, gate: &Gate, verdicts: Option<&Value>) -> JudgedGate {
    let found = verdicts.and_then(|v| v["gates"].as_array()?.iter().find(|g| g["name"] == gate.name.as_str()));
    let Some(found) = found else {
        let verdict = NOT_JUDGED.to_string();
        let (combinations, worst) = (String::new(), String::new());
        return JudgedGate { name: gate.name.clone(), constraint: constraint(gate), verdict, combinations, worst };
    };
    let counts = ["pass", "fail", "insufficient_evidence"].map(|key| (key, found["combinations"][key].as_u64()));
    let total: u64 = counts.iter().filter_map(|(_, n)| *n).sum();
    let some = counts.iter().filter_map(|(key, n)| n.filter(|n| *n > 0).map(|n| format!("{n} {}", words(key))));
    let combinations = format!("of {total}: {}", some.collect::<Vec<_>>().join(", "));
    JudgedGate {
        name: gate.name.clone(),
        constraint: constraint(gate),
        verdict: found["verdict"].as_str().unwrap_or(NOT_JUDGED).to_string(),
        combinations: if total == 0 { "judges no cell of this run".to_string() } else { combinations },
        worst: worst(sweep, gate, &found["worst"]),
    }
}

/// A verdict without underscores.
pub fn words(verdict: &str) -> String {
    verdict.replace('_', " ")
}

/// Where a gate is furthest from holding, or tightest.
fn worst(sweep: &Sweep, gate: &Gate, found: &Value) -> String {
    let Some(levels) = found["levels"].as_object() else { return String::new() };
    let level = |(path, level): (&String, &Value)| format!("{path} {}", sweep.shown(path).text(level));
    let levels: Vec<String> = levels.iter().map(level).collect();
    let at = if levels.is_empty() { "everywhere".to_string() } else { levels.join(", ") };
    let seeds = &found["seeds"];
    let count = |key: &str| seeds[key].as_u64().unwrap_or(0);
    let seed = &found["worst"];
    let value = match (seed["value"].as_f64(), seed["ended"].as_str()) {
        (Some(value), _) => format!("; seed {} has {}", seed["seed"], gate.beside_bounds(value)),
        (None, Some(ended)) => format!("; seed {} {ended}", seed["seed"]),
        (None, None) => String::new(),
    };
    format!("{at}: {} of {} seeds hold{value}", count("hold"), count("planned"))
}

fn facts(run: &RunData) -> Vec<(&'static str, String)> {
    let m = &run.manifest;
    let short = |hash: &str| hash.chars().take(HASH_DIGITS).collect::<String>();
    let timing = |key: &str| m.timings.get(key).copied();
    let dirty = match m.code.git_dirty {
        Some(true) => ", with uncommitted changes",
        Some(false) => ", no uncommitted changes",
        None => ", uncommitted changes not known",
    };
    let commit = m.code.git_commit.as_ref().map(|commit| format!(", commit {}{dirty}", short(commit)));
    let processes = m.more.get("sessions").and_then(Value::as_array).map_or(0, Vec::len);
    let of_last = if processes > 1 { format!(" (last of {processes} processes)") } else { String::new() };
    let facts = [
        ("Training time", timing("wall_s").map(|s| format!("{}{of_last}", duration(s)))),
        (
            "Speed",
            timing("train_cell_steps_per_s").map(|n| format!("{} cell-steps per second", thousands(n.round() as u64))),
        ),
        ("Backend", Some(m.backend.clone())),
        ("Class", Some(m.class.clone())),
        ("Processor", m.environment.adapter.clone().or_else(|| m.environment.cpu.clone())),
        ("Code", Some(format!("cliffline {}{}", m.code.version, commit.unwrap_or_default()))),
        ("Spec hash", Some(short(&m.spec_blake3))),
        ("Run", Some(format!("{}, begun {}", m.run_id, m.created_utc))),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).filter(|(_, value)| !value.is_empty()).collect()
}

/// A duration in words: `3.2 s`, `3 min 20 s`, `2 h 5 min`.
fn duration(s: f64) -> String {
    match s {
        s if s < 120.0 => format!("{} s", rounded_to(s, 2)),
        s if s < 7200.0 => format!("{:.0} min {:.0} s", (s / 60.0).floor(), (s % 60.0).floor()),
        s => format!("{:.0} h {:.0} min", (s / 3600.0).floor(), ((s % 3600.0) / 60.0).floor()),
    }
}

/// A count with its thousands apart.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Overrides, from_str};

    #[test]
    fn counts_and_durations_are_words() {
        assert_eq!([0, 999, 1000, 1234567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([3.21, 119.96, 200.0, 7500.0].map(duration), ["3.2 s", "120 s", "3 min 20 s", "2 h 5 min"]);
    }

    #[test]
    fn a_place_is_told_with_its_seeds() {
        let found = serde_json::json!({
            "levels": {"a.b": 0.1, "c": "x", "image.noise": 0.12345}, "seeds": {"hold": 1, "planned": 3},
            "worst": {"seed": 2, "value": 1.23456, "ended": null},
        });
        let spec = "name = \"g\"\npreset = \"tiny\"\n[axes]\nimage.noise = [0.12345, 0.12346]\n\
                    [[gate]]\nmetric = \"effective_rank_img\"\nmin = 1.2346\n";
        let sweep = from_str(spec, "g", &Overrides::default()).unwrap();
        let told = "a.b 0.1, c x, image.noise 0.12345: 1 of 3 seeds hold; seed 2 has 1.23456";
        assert_eq!(worst(&sweep, &sweep.gates[0], &found), told);
        assert_eq!(worst(&sweep, &sweep.gates[0], &Value::Null), "");
    }
}
