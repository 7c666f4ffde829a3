//! The columns that records need, kept in the index of each part.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::spec::config::walk;
use crate::store::record::CellRecord;

/// The type of a configuration scalar as a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScalarKind {
    Int,
    Float,
    Bool,
    Text,
}

impl ScalarKind {
    fn of(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::Null => None,
            serde_json::Value::Bool(_) => Some(Self::Bool),
            serde_json::Value::Number(n) if n.is_i64() => Some(Self::Int),
            serde_json::Value::Number(_) => Some(Self::Float),
            _ => Some(Self::Text),
        }
    }

    /// The narrowest kind that holds values of both.
    fn union(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Int, Self::Float) | (Self::Float, Self::Int) => Self::Float,
            _ => Self::Text,
        }
    }
}

/// The columns that a set of records needs, kept in the index so that tables can be streamed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Columns {
    /// Configuration paths and their types.
    pub params: BTreeMap<String, ScalarKind>,
    pub metrics: BTreeSet<String>,
    pub realised: BTreeSet<String>,
    /// Names of the time series.
    pub series: BTreeSet<String>,
}

impl Columns {
    pub(super) fn add(&mut self, record: &CellRecord) {
        walk(&record.config, &mut |path, value| {
            if let Some(kind) = ScalarKind::of(value) {
                self.add_param(path, kind);
            }
        });
        add_names(&mut self.metrics, record.metrics.keys());
        add_names(&mut self.realised, record.realised.keys());
        add_names(&mut self.series, record.curves.series.keys());
    }

    /// Whether a record needs no column beside these.
    pub(super) fn hold(&self, record: &CellRecord) -> bool {
        let mut all = true;
        walk(&record.config, &mut |path, value| {
            let kind = ScalarKind::of(value);
            let known = self.params.get(path).copied();
            all &= kind.is_none_or(|kind| known.is_some_and(|known| known.union(kind) == known));
        });
        all && record.metrics.keys().all(|name| self.metrics.contains(name))
            && record.realised.keys().all(|name| self.realised.contains(name))
            && record.curves.series.keys().all(|name| self.series.contains(name))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.params.len() + self.metrics.len() + self.realised.len() + self.series.len()
    }

    fn add_param(&mut self, path: &str, kind: ScalarKind) {
        match self.params.get_mut(path) {
            Some(known) => *known = known.union(kind),
            None => drop(self.params.insert(path.to_string(), kind)),
        }
    }

    /// Adds the columns of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (path, kind) in &other.params {
            self.add_param(path, *kind);
        }
        add_names(&mut self.metrics, &other.metrics);
        add_names(&mut self.realised, &other.realised);
        add_names(&mut self.series, &other.series);
    }
}

/// Adds those of `names` that are not there: nearly always none, so that nothing is copied.
fn add_names<'a>(known: &mut BTreeSet<String>, names: impl IntoIterator<Item = &'a String>) {
    for name in names {
        if !known.contains(name) {
            known.insert(name.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_types_widen_where_cells_differ() {
        let kind = |a: &str, b: &str| {
            let parse = |text: &str| ScalarKind::of(&serde_json::from_str(text).unwrap()).unwrap();
            parse(a).union(parse(b))
        };
        assert_eq!(kind("1", "2"), ScalarKind::Int);
        assert_eq!(kind("1", "2.5"), ScalarKind::Float);
        assert_eq!(kind("true", "1"), ScalarKind::Text);
        assert_eq!(kind("18446744073709551615", "1"), ScalarKind::Float);
    }
}
