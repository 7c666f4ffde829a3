//! What differs between the programs and the machines of two runs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::Each;
use crate::store::RunManifest;

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct What {
    pub what: String,
    pub a: Value,
    pub b: Value,
}

/// What differs in what computed two runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EnvironmentDiff {
    /// The classes of the results, where they are not one: then numbers differ by rounding at least.
    pub class: Option<Each<String>>,
    /// Code, crates that numbers depend on, machine; null for what is unknown or not there.
    pub differences: Vec<What>,
    /// Whether a commit names the code of both runs exactly: known, and built from an unchanged tree.
    pub code_is_certain: bool,
    /// Name with its unit to the timings of each run; they differ from run to run and are no result.
    pub timings: BTreeMap<String, Each<Option<f64>>>,
}

/// Compares where and by what two runs were computed.
pub fn compare_environments(a: &RunManifest, b: &RunManifest) -> EnvironmentDiff {
    let (facts_a, facts_b) = (facts(a), facts(b));
    let mut names: Vec<&String> = facts_a.iter().chain(&facts_b).map(|(name, _)| name).collect();
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    let find = |facts: &[(String, Value)], name: &String| {
        facts.iter().find(|(known, _)| known == name).map_or(Value::Null, |(_, value)| value.clone())
    };
    let both =
        names.into_iter().map(|name| What { what: name.clone(), a: find(&facts_a, name), b: find(&facts_b, name) });
    let certain = |run: &RunManifest| run.code.git_commit.is_some() && run.code.git_dirty == Some(false);
    let timings: BTreeSet<&String> = a.timings.keys().chain(b.timings.keys()).collect();
    let timing = |name: &String| Each { a: a.timings.get(name).copied(), b: b.timings.get(name).copied() };
    EnvironmentDiff {
        class: Each::if_different(a.class.clone(), b.class.clone()),
        differences: both.filter(|what| what.a != what.b).collect(),
        code_is_certain: certain(a) && certain(b),
        timings: timings.into_iter().map(|name| (name.clone(), timing(name))).collect(),
    }
}

/// What is known of a run's code and machine, in the order of reports.
fn facts(run: &RunManifest) -> Vec<(String, Value)> {
    let (code, place) = (&run.code, &run.environment);
    let known = [
        ("cliffline", json!(code.version)),
        ("commit", json!(code.git_commit)),
        ("changed since the commit", json!(code.git_dirty)),
        ("backend", json!(place.backend)),
        ("adapter", json!(place.adapter)),
        ("driver", json!(place.driver)),
        ("os", json!(place.os)),
        ("architecture", json!(place.arch)),
        ("cpu", json!(place.cpu)),
        ("cores", json!(place.cores)),
    ];
    let crates = code.crates.iter().map(|(name, version)| (format!("crate {name}"), json!(version)));
    known.into_iter().map(|(name, value)| (name.to_string(), value)).chain(crates).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Code, Environment};

    fn manifest(class: &str, code: Code) -> RunManifest {
        let place = Environment { cpu: Some("one".to_string()), cores: 2, ..Environment::default() };
        RunManifest::begin("t", "ab", Value::Null, class, place, code)
    }

    #[test]
    fn code_crates_machine_and_class_are_told_apart() {
        let code = Code {
            version: "1".to_string(),
            git_commit: Some("c0".to_string()),
            git_dirty: Some(false),
            crates: [("burn", "1"), ("faer", "1")].map(|(k, v)| (k.to_string(), v.to_string())).into(),
        };
        let a = manifest("n1 flex", code.clone());
        let mut b = a.clone();
        b.timings.insert("wall_s".to_string(), 2.0);
        let same = compare_environments(&a, &b);
        assert_eq!((same.class, same.differences), (None, vec![]));
        assert!(same.code_is_certain);
        assert_eq!(same.timings, [("wall_s".to_string(), Each { a: None, b: Some(2.0) })].into());

        b.class = "n1 wgpu".to_string();
        b.code.git_dirty = Some(true);
        b.code.crates = [("burn", "2"), ("wgpu", "1")].map(|(k, v)| (k.to_string(), v.to_string())).into();
        b.environment.cpu = None;
        b.environment.adapter = Some("GPU".to_string());
        let diff = compare_environments(&a, &b);
        assert_eq!(diff.class, Some(Each { a: "n1 flex".to_string(), b: "n1 wgpu".to_string() }));
        assert!(!diff.code_is_certain);
        let what = |what: &str, a: Value, b: Value| What { what: what.to_string(), a, b };
        let expected = [
            what("changed since the commit", json!(false), json!(true)),
            what("adapter", Value::Null, json!("GPU")),
            what("cpu", json!("one"), Value::Null),
            what("crate burn", json!("1"), json!("2")),
            what("crate faer", json!("1"), Value::Null),
            what("crate wgpu", Value::Null, json!("1")),
        ];
        assert_eq!(diff.differences, expected);
    }
}
