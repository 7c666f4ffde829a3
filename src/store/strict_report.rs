//! Strict reports: what was measured, apart from what is assumed, open, concluded and still to be asked.
//!
//! A report is plain data with exactly seven keys. Every number in its analysis is a citation, `{fact:name}`, of a fact
//! that says where the number stands; [`StrictReport::problems`] finds what is not so, and [`StrictReport::write`]
//! refuses it. Names with digits in them, such as `retrieval_at_1_i2t`, are cited as well: a fact's value may be text.
//!
//! Changing a key changes the schema in `strict_report.schema.json`: other people's tools are written against it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::atomic::write_replaceable;
use super::error::StoreError;
use crate::numerics::shown::rounded;

/// The JSON Schema (draft 2020-12) of a strict report.
pub const STRICT_REPORT_SCHEMA: &str = include_str!("strict_report.schema.json");
/// The one status that a report can have.
pub const NOT_VERIFIED: &str = "Not verified";

/// Where a fact stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A file of the directory.
    pub file: String,
    /// The column and what picks the row, or the key.
    pub at: String,
}

/// Something that was measured, counted, set or judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// A number, a text, a flag, or null.
    pub value: Value,
    /// Empty where there is none.
    pub unit: String,
    pub source: Source,
    /// Least and greatest value that are as plausible, 95% where the source says nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
}

impl Fact {
    /// A value, its unit, and the file and place it is from.
    pub fn new(value: impl Into<Value>, unit: &str, file: &str, at: &str) -> Self {
        let source = Source { file: file.to_string(), at: at.to_string() };
        Self { value: value.into(), unit: unit.to_string(), source, interval: None }
    }

    /// With an interval; none where an end is missing.
    pub fn within(self, low: Option<f64>, high: Option<f64>) -> Self {
        Self { interval: low.zip(high).map(|(low, high)| [low, high]), ..self }
    }

    /// The value, its unit and interval, for people.
    fn in_words(&self) -> String {
        let value = match &self.value {
            Value::String(text) => text.clone(),
            Value::Number(n) if n.is_f64() => rounded(n.as_f64().unwrap_or(f64::NAN)),
            Value::Null => "none".to_string(),
            other => other.to_string(),
        };
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        let interval =
            self.interval.map_or(String::new(), |[low, high]| format!(" [{}, {}]", rounded(low), rounded(high)));
        format!("{value}{unit}{interval}")
    }
}

/// A strict report. The keys are fixed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrictReport {
    /// By name: letters, digits, `.`, `_` and `-`.
    pub facts_provided: BTreeMap<String, Fact>,
    pub assumptions: Vec<String>,
    pub open_items: Vec<String>,
    /// Sentences, a paragraph a line; every number in them is a citation of a fact.
    pub analysis: String,
    /// Plain text for people, with the numbers in it.
    pub draft_output: String,
    /// Always [`NOT_VERIFIED`].
    pub verification_status: String,
    pub questions_to_verify: Vec<String>,
}

const OPEN: &str = "{fact:";

/// The citation of a fact.
pub fn cite(name: &str) -> String {
    format!("{OPEN}{name}}}")
}

/// A piece of a text: words between citations, or the name that is cited.
enum Piece<'a> {
    Words(&'a str),
    Cited(&'a str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let Some((name, after)) = after.split_once('}') else { break };
        pieces.extend([Piece::Words(before), Piece::Cited(name)]);
        rest = after;
    }
    pieces.push(Piece::Words(rest));
    pieces
}

impl StrictReport {
    /// A text with the facts that it cites in their places.
    pub fn resolve(&self, text: &str) -> String {
        let piece = |piece: &Piece<'_>| match piece {
            Piece::Words(words) => (*words).to_string(),
            Piece::Cited(name) => self.facts_provided.get(*name).map_or_else(|| cite(name), Fact::in_words),
        };
        pieces(text).iter().map(piece).collect()
    }

    /// What a strict report must not have: a citation of no fact, a number in the analysis that is no citation, a name
    /// that cannot be cited, a value that is a list or an object, a citation left in the text for people, another status.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let sayable = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        for (name, fact) in &self.facts_provided {
            if name.is_empty() || !name.chars().all(sayable) {
                problems.push(format!(
                    "facts_provided: {name:?} has other characters than letters, digits, '.', '-' and '_'"
                ));
            }
            if fact.value.is_array() || fact.value.is_object() {
                problems.push(format!("facts_provided: {name} has more than one value"));
            }
        }
        for piece in pieces(&self.analysis) {
            match piece {
                Piece::Cited(name) if !self.facts_provided.contains_key(name) => {
                    problems.push(format!("analysis: it cites {name}, which is no fact"));
                }
                Piece::Words(words) if words.contains(|c: char| c.is_numeric()) => {
                    problems.push(format!("analysis: a number without a fact in {:?}", words.trim()));
                }
                _ => {}
            }
        }
        if self.draft_output.contains(OPEN) {
            problems.push("draft_output: a citation that is not resolved".to_string());
        }
        if self.verification_status != NOT_VERIFIED {
            problems.push(format!("verification_status: {:?} is not {NOT_VERIFIED:?}", self.verification_status));
        }
        problems
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// [`StoreError::BadReport`] for one with [`problems`](Self::problems), [`StoreError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), StoreError> {
        let problems = self.problems();
        if !problems.is_empty() {
            return Err(StoreError::BadReport { path: path.to_path_buf(), reason: problems.join("; ") });
        }
        let mut text = serde_json::to_vec_pretty(self).expect("plain data");
        text.push(b'\n');
        write_replaceable(path, |out| out.write_all(&text))
    }
}

#[cfg(test)]
mod schema_check;
#[cfg(test)]
pub(crate) use schema_check::violations;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> StrictReport {
        let facts = [
            ("cells.planned", Fact::new(36, "cells", "manifest.json", "cells.planned")),
            ("gate.rank.metric", Fact::new("retrieval_at_1_i2t", "", "spec.toml", "gate[rank].metric")),
            ("edge", Fact::new(0.022969, "", "boundaries.parquet", "level").within(Some(0.0223), Some(0.02365))),
        ];
        let facts_provided: BTreeMap<String, Fact> = facts.map(|(name, fact)| (name.to_string(), fact)).into();
        let mut report = StrictReport {
            facts_provided,
            assumptions: vec!["A synthetic world.".to_string()],
            open_items: Vec::new(),
            analysis: "Of {fact:cells.planned} cells {fact:gate.rank.metric} flips at {fact:edge}.".to_string(),
            draft_output: String::new(),
            verification_status: NOT_VERIFIED.to_string(),
            questions_to_verify: Vec::new(),
        };
        report.draft_output = report.resolve(&report.analysis);
        report
    }

    #[test]
    fn citations_resolve_to_values_units_and_intervals() {
        let report = sample();
        assert_eq!(report.problems(), Vec::<String>::new());
        let expected = "Of 36 cells cells retrieval_at_1_i2t flips at 0.02297 [0.0223, 0.02365].";
        assert_eq!(report.resolve(&report.analysis), expected);
        assert_eq!(report.resolve("{fact:nothing} {fact:open"), "{fact:nothing} {fact:open");
    }

    #[test]
    fn each_way_of_being_loose_is_found() {
        let with = |edit: &dyn Fn(&mut StrictReport)| {
            let mut report = sample();
            edit(&mut report);
            report.problems()
        };
        type Edit<'a> = &'a dyn Fn(&mut StrictReport);
        let cases: [(Edit<'_>, &str); 7] = [
            (&|r| r.analysis.push_str(" It took 3 tries."), "a number without a fact"),
            (&|r| r.analysis.push_str(" ½ of them."), "a number without a fact"),
            (&|r| r.analysis.push_str(&cite("cells.lost")), "it cites cells.lost, which is no fact"),
            (&|r| r.verification_status = "Verified".to_string(), "verification_status"),
            (&|r| r.draft_output = cite("edge"), "a citation that is not resolved"),
            (&|r| drop(r.facts_provided.insert("a}b".into(), Fact::new(1, "", "f", "k"))), "other characters"),
            (
                &|r| drop(r.facts_provided.insert("list".into(), Fact::new(json!([1]), "", "f", "k"))),
                "more than one value",
            ),
        ];
        for (edit, expected) in cases {
            let problems = with(edit);
            assert!(problems.len() == 1 && problems[0].contains(expected), "{expected}: {problems:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        sample().write(&path).unwrap();
        let back: StrictReport = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(back, sample());
        let loose = StrictReport { analysis: "42".to_string(), ..sample() };
        assert!(loose.write(&path).unwrap_err().to_string().contains("a number without a fact"));
    }

    #[test]
    fn the_schema_takes_reports_and_nothing_looser() {
        let schema: Value = serde_json::from_str(STRICT_REPORT_SCHEMA).unwrap();
        let sound = serde_json::to_value(sample()).unwrap();
        assert_eq!(violations(&schema, &sound), Vec::<String>::new());
        let edits: [(&str, Value); 9] = [
            ("/verification_status", json!("Verified")),
            ("/analysis", json!("42 cells")),
            ("/analysis", json!(["a list"])),
            ("/facts_provided/edge/source/file", json!(1)),
            ("/facts_provided/edge/interval", json!([1])),
            ("/facts_provided/edge/value", json!({"a": 1})),
            ("/facts_provided/edge/source", json!({"file": "a", "at": "b", "more": 1})),
            ("/assumptions", json!("one text")),
            ("/open_items", json!([1])),
        ];
        for (pointer, value) in edits {
            let mut edited = sound.clone();
            *edited.pointer_mut(pointer).unwrap() = value;
            assert!(!violations(&schema, &edited).is_empty(), "{pointer}");
        }
        for key in sound.as_object().unwrap().keys() {
            let mut without = sound.clone();
            without.as_object_mut().unwrap().remove(key);
            assert!(!violations(&schema, &without).is_empty(), "without {key}");
        }
        let mut more = sound.clone();
        more["summary"] = json!("");
        assert!(!violations(&schema, &more).is_empty());
        let required = schema["required"].as_array().unwrap();
        assert_eq!(required.len(), sound.as_object().unwrap().len());
    }
}
