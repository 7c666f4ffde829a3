//! Whether the thresholds that judge a run were written down before its results.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use crate::audit::GATES_CHANGED;
use crate::spec::Gate;
use crate::store::{RunManifest, SPEC_FILE};

/// What the keys of gates begin with.
const KEY: &str = "gate.";

/// The gates of a spec, under their keys among the thresholds of a manifest.
pub fn thresholds(gates: &[Gate]) -> BTreeMap<String, Value> {
    gates.iter().map(|gate| (format!("{KEY}{}", gate.name), json!(gate))).collect()
}

/// The gates among the thresholds of a manifest.
pub fn recorded(manifest: &RunManifest) -> BTreeMap<String, Value> {
    manifest.thresholds.iter().filter(|(key, _)| key.starts_with(KEY)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// How the verdicts on a run are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The manifest had these gates before the first cell was finished.
    Registered,
    /// It did not: who chose them may have known the results.
    Exploratory,
}

/// A gate that is not as the manifest has it; null on the side that has none of its name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Differs {
    pub gate: String,
    pub recorded: Option<Value>,
    pub judged: Option<Value>,
}

/// Where the gates that judge a run come from, and how they relate to those that it was begun with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Registration {
    /// The spec that has them.
    pub from: String,
    pub standing: Standing,
    /// Those that the manifest does not record as they are here, by name.
    pub differ: Vec<Differs>,
    /// When the run's own gates were changed although cells were finished; null where they never were.
    pub changed_utc: Option<String>,
}

impl Registration {
    /// Of `gates`, which come from the spec `from`, or from the run's own.
    pub fn of(from: Option<&str>, manifest: &RunManifest, gates: &[Gate]) -> Self {
        let (recorded, judged) = (recorded(manifest), thresholds(gates));
        let keys: BTreeSet<&String> = recorded.keys().chain(judged.keys()).collect();
        let differs = |key: &&String| recorded.get(*key) != judged.get(*key);
        let differ: Vec<Differs> = keys
            .into_iter()
            .filter(differs)
            .map(|key| Differs {
                gate: key.trim_start_matches(KEY).to_string(),
                recorded: recorded.get(key).cloned(),
                judged: judged.get(key).cloned(),
            })
            .collect();
        let changed_utc = manifest.more.get(GATES_CHANGED).and_then(Value::as_str).map(ToString::to_string);
        let registered = differ.is_empty() && changed_utc.is_none();
        let standing = if registered { Standing::Registered } else { Standing::Exploratory };
        Self { from: from.unwrap_or(SPEC_FILE).to_string(), standing, differ, changed_utc }
    }

    /// What a reader of the verdicts must know; nothing where the gates are those that the run was begun with.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.differ.is_empty() {
            lines.push(format!(
                "exploratory: these are the gates of {}, not those that the run was begun with; who chose them may have known \
                 the results",
                self.from
            ));
            lines.extend(self.differ.iter().map(|differs| format!("  {}", differs.describe())));
        }
        if let Some(utc) = &self.changed_utc {
            lines.push(format!(
                "exploratory: the gates of this run were changed at {utc}, when cells were finished already"
            ));
        }
        lines
    }
}

impl Differs {
    fn describe(&self) -> String {
        let (Some(recorded), Some(judged)) = (&self.recorded, &self.judged) else {
            let how = if self.judged.is_some() { "the run was begun without it" } else { "left out here" };
            return format!("{}: {how}", self.gate);
        };
        let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let (recorded, judged) = (fields(recorded), fields(judged));
        let changed = judged.iter().filter(|(key, value)| recorded.get(*key) != Some(value));
        let text = |value: Option<&Value>| match value {
            None | Some(Value::Null) => "none".to_string(),
            Some(value) => value.as_str().map_or_else(|| value.to_string(), ToString::to_string),
        };
        let changed = changed.map(|(key, value)| format!("{key} {} -> {}", text(recorded.get(key)), text(Some(value))));
        format!("{}: {}", self.gate, changed.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Overrides, from_str};
    use crate::store::{Code, Environment};

    fn gates(text: &str) -> Vec<Gate> {
        let text = format!("name = \"t\"\npreset = \"tiny\"\n[axes]\nseed = {{ seeds = 3 }}\n{text}");
        from_str(&text, "t.toml", &Overrides::default()).unwrap_or_else(|error| panic!("{error}")).gates
    }

    fn begun_with(gates: &[Gate]) -> RunManifest {
        let environment = Environment::detect("flex", None, None);
        let mut manifest = RunManifest::begin("t", "ab", json!({}), "n1 flex", environment, Code::default());
        manifest.thresholds.insert("stop.effective_rank_min".to_string(), json!(2.0));
        manifest.thresholds.extend(thresholds(gates));
        manifest
    }

    #[test]
    fn gates_are_those_of_the_manifest_by_name_and_by_every_key() {
        let rank = "[[gate]]\nname = \"rank\"\nmetric = \"effective_rank_img\"\nmin = 2.0\n";
        let lost = "[[gate]]\nmetric = \"lost\"\nmax = 0.0\n";
        let manifest = begun_with(&gates(&format!("{rank}{lost}")));
        let same = Registration::of(None, &manifest, &gates(&format!("{lost}{rank}")));
        assert_eq!((same.standing, same.from.as_str(), same.lines()), (Standing::Registered, "spec.toml", Vec::new()));
        let milder = rank.replace("2.0", "1.5") + "share = 0.5\n";
        let other = Registration::of(
            Some("x.toml"),
            &manifest,
            &gates(&format!("{milder}{}", lost.replace("lost", "alignment"))),
        );
        assert_eq!(other.standing, Standing::Exploratory);
        let lines = other.lines();
        assert!(lines[0].starts_with("exploratory: these are the gates of x.toml"), "{lines:?}");
        assert_eq!(
            lines[1..],
            [
                "  alignment: the run was begun without it",
                "  lost: left out here",
                "  rank: min 2.0 -> 1.5, share 1.0 -> 0.5"
            ]
        );
    }

    #[test]
    fn gates_that_were_changed_late_stay_exploratory() {
        let lost = gates("[[gate]]\nmetric = \"lost\"\nmax = 0.0\n");
        let mut manifest = begun_with(&lost);
        manifest.more.insert(GATES_CHANGED.to_string(), json!("2026-11-20T10:00:00Z"));
        let changed = Registration::of(None, &manifest, &lost);
        assert_eq!((changed.standing, changed.differ.len()), (Standing::Exploratory, 0));
        assert_eq!(changed.lines().len(), 1);
    }
}
