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

    /// The value, its unit and interval, for people: four digits.
    fn in_words(&self) -> String {
        let short = |x: f64| match x.abs() {
            0.0 => "0".to_string(),
            // Four significant digits, as the tables that the program prints.
            size => {
                let decimals = (3 - size.log10().floor() as i32).max(0) as usize;
                let text = format!("{x:.decimals$}");
                let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
                text.to_string()
            }
        };
        let value = match &self.value {
            Value::String(text) => text.clone(),
            Value::Number(n) if n.is_f64() => short(n.as_f64().unwrap_or(f64::NAN)),
            Value::Null => "none".to_string(),
            other => other.to_string(),
        };
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        let interval = self.interval.map_or(String::new(), |[low, high]| format!(" [{}, {}]", short(low), short(high)));
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
        let cases: [(&dyn Fn(&mut StrictReport), &str); 7] = [
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

/// As much of JSON Schema as the published schema uses, for tests: what `value` violates.
#[cfg(test)]
pub(crate) fn violations(schema: &Value, value: &Value) -> Vec<String> {
    fn is_a(name: &str, value: &Value) -> bool {
        match name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("the check knows no type {other}"),
        }
    }
    fn check(root: &Value, schema: &Value, value: &Value, at: &str, out: &mut Vec<String>) {
        let mut wrong = |what: String| out.push(format!("{at}: {what}"));
        let mut below = Vec::new();
        for (key, rule) in schema.as_object().expect("a schema") {
            match key.as_str() {
                "$schema" | "$id" | "$defs" | "title" | "description" => {}
                "$ref" => {
                    let name = rule.as_str().and_then(|r| r.strip_prefix('#')).expect("a reference inside");
                    below.push((root.pointer(name).expect("a definition"), value, at.to_string()));
                }
                "type" => {
                    let names = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                    if !names.iter().any(|name| is_a(name.as_str().expect("a name"), value)) {
                        wrong(format!("not {rule}"));
                    }
                }
                "const" if rule != value => wrong(format!("not {rule}")),
                "const" => {}
                "required" => {
                    for name in rule.as_array().expect("names").iter().filter_map(Value::as_str) {
                        if value.is_object() && value.get(name).is_none() {
                            wrong(format!("no {name}"));
                        }
                    }
                }
                "properties" => {
                    for (name, inner) in rule.as_object().expect("properties") {
                        below.extend(value.get(name).map(|value| (inner, value, format!("{at}/{name}"))));
                    }
                }
                "additionalProperties" => {
                    let known = |name: &str| schema["properties"].get(name).is_some();
                    for (name, inner) in value.as_object().into_iter().flatten().filter(|(name, _)| !known(name)) {
                        match rule {
                            Value::Bool(false) => wrong(format!("{name} is not allowed")),
                            rule => below.push((rule, inner, format!("{at}/{name}"))),
                        }
                    }
                }
                "items" => {
                    for (i, inner) in value.as_array().into_iter().flatten().enumerate() {
                        below.push((rule, inner, format!("{at}/{i}")));
                    }
                }
                "minItems" | "maxItems" => {
                    let length = value.as_array().map(|list| list.len() as u64);
                    let limit = rule.as_u64().expect("a count");
                    let within = |n: u64| if key == "minItems" { n >= limit } else { n <= limit };
                    if !length.is_none_or(within) {
                        wrong(format!("{key} {limit}"));
                    }
                }
                // The one pattern of values: text whose digits are all inside citations.
                "pattern" => {
                    let words = |piece: &Piece<'_>| matches!(piece, Piece::Words(w) if w.contains(|c: char| c.is_ascii_digit()));
                    assert_eq!(rule, r"^([^0-9{]|\{fact:[A-Za-z0-9._-]+\})*$");
                    if value.as_str().is_some_and(|text| pieces(text).iter().any(words)) {
                        wrong("a number without a fact".to_string());
                    }
                }
                "propertyNames" => {
                    assert_eq!(rule["pattern"], "^[A-Za-z0-9._-]+$");
                }
                other => panic!("the check knows no rule {other}"),
            }
        }
        below.into_iter().for_each(|(schema, value, at)| check(root, schema, value, &at, out));
    }
    let mut out = Vec::new();
    check(schema, schema, value, "", &mut out);
    out
}
