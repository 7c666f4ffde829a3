//! Evaluation conditions: other operators under which every trained cell is measured, without training it again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::Config;
use super::params::{Param, param_at};

/// The condition under which a cell was trained; always there, never written in a spec.
pub const CLEAN: &str = "clean";

/// Most conditions of a sweep: a record with a full panel under each can still be read again.
pub(crate) const MOST_CONDITIONS: usize = 1 << 12;

/// Changes to the operators of a cell, under which its trained model is evaluated on the test split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Lower-case letters, digits and hyphens; unique in a sweep.
    pub name: String,
    /// Path of an operator ([`is_operator`]) to its value, canonical; at least one.
    pub changes: BTreeMap<String, Value>,
}

impl Condition {
    /// The configuration of a cell with the changes in it.
    ///
    /// **Returns.** None where a change is not of this version: its path is unknown, or its value not of its type.
    pub fn applied(&self, config: &Config) -> Option<Config> {
        let mut changed = config.clone();
        for (path, value) in &self.changes {
            let param = param_at(path).filter(|param| is_operator(param))?;
            changed.try_set(param, value)?;
        }
        Some(changed)
    }
}

/// Whether a condition may change a parameter: what is observed, how it is paired and how it is scored, but neither the
/// samples, nor the shape of what the encoders take, nor the training.
pub fn is_operator(param: &Param) -> bool {
    const SECTIONS: [&str; 5] = ["image", "text", "pairing", "confounder", "score"];
    let section = param.path.split_once('.').map(|(section, _)| section);
    section.is_some_and(|section| SECTIONS.contains(&section)) && param.path != "text.features"
}

/// Hash of a configuration and the conditions it is measured under: 32 hex digits. Without conditions it is
/// [`Config::cell_id`]. `conditions` are sorted by name.
pub(super) fn cell_id(config: &Config, conditions: &[Condition]) -> String {
    let id = config.cell_id();
    if conditions.is_empty() {
        return id;
    }
    let mut hasher = blake3::Hasher::new_derive_key("cliffline 2026-11 conditions v1");
    hasher.update(id.as_bytes());
    hasher.update(serde_json::to_string(conditions).expect("conditions are plain data").as_bytes());
    hasher.finalize().to_hex()[..32].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(name: &str, path: &str, value: impl Into<Value>) -> Condition {
        Condition { name: name.to_string(), changes: BTreeMap::from([(path.to_string(), value.into())]) }
    }

    #[test]
    fn changes_are_applied_to_operators_alone() {
        let config = Config::default();
        let noisy = condition("noisy", "image.noise", 0.5).applied(&config).expect("an operator");
        assert_eq!((noisy.image.noise, noisy.train.steps), (0.5, config.train.steps));
        assert_eq!(condition("longer", "train.steps", 3).applied(&config), None);
        assert_eq!(condition("unknown", "image.snow", 3.0).applied(&config), None);
        assert_eq!(condition("text", "image.noise", "high").applied(&config), None);
        assert_eq!(condition("shape", "text.features", "token_position").applied(&config), None);
    }

    #[test]
    fn ids_follow_conditions() {
        let config = Config::default();
        let (a, b) = (condition("a", "image.noise", 0.5), condition("b", "image.noise", 0.7));
        assert_eq!(cell_id(&config, &[]), config.cell_id());
        let both = cell_id(&config, &[a.clone(), b.clone()]);
        for other in [vec![], vec![a.clone()], vec![b], vec![a, condition("b", "image.noise", 0.8)]] {
            assert_ne!(both, cell_id(&config, &other));
        }
    }
}
