//! What a directory is held for: a plan, and the values in it that say how another one differs.

use std::collections::{BTreeMap, BTreeSet};

use crate::spec::config::flatten;

/// What the caller is about to compute, to be compared with what a directory holds.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Name of the sweep.
    pub sweep: String,
    /// Numerics version, backend and instruction set or adapter.
    pub class: String,
    /// Every cell of the plan.
    pub cell_ids: Vec<String>,
    /// The values in the plan, to say what differs when a directory holds another plan's cells.
    pub levels: Levels,
}

/// The values that each parameter takes in a plan.
#[derive(Clone, Debug, Default)]
pub struct Levels(BTreeMap<String, BTreeSet<String>>);

impl Levels {
    /// These paths of parameters and values of theirs.
    pub fn of(values: impl IntoIterator<Item = (String, serde_json::Value)>) -> Self {
        let mut levels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (path, value) in values {
            levels.entry(path).or_default().insert(value.to_string());
        }
        Self(levels)
    }

    /// One parameter of `config` whose value the plan does not know, in words.
    pub(super) fn difference(&self, config: &serde_json::Value) -> String {
        let there: BTreeMap<String, String> = flatten(config).into_iter().map(|(p, v)| (p, v.to_string())).collect();
        for (path, value) in &there {
            match self.0.get(path) {
                None => return format!("`{path}` is {value} there and does not exist here"),
                Some(here) if !here.contains(value) => {
                    return format!("`{path}` is {value} there and {} here", listed(here));
                }
                Some(_) => {}
            }
        }
        match self.0.iter().find(|(path, _)| !there.contains_key(*path)) {
            Some((path, here)) => format!("`{path}` is {} here and does not exist there", listed(here)),
            None => "each of its values occurs in this plan, but not in this combination, or it was measured under other conditions".into(),
        }
    }
}

/// A few of `values`, in words.
fn listed(values: &BTreeSet<String>) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<&str> = values.iter().take(SHOWN).map(String::as_str).collect();
    let rest = values.len().saturating_sub(SHOWN);
    if rest == 0 { shown.join(" or ") } else { format!("{} or {rest} other values", shown.join(", ")) }
}
