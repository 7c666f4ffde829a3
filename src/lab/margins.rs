//! How far the constraints of a family hold along its axes, from the reference on.

use std::path::Path;

use polars_core::prelude::PolarsResult;
use serde::Serialize;
use serde_json::Value;

use super::family::{Family, Level};
use super::observed::{LabError, key_of, key_of_text};
use crate::analysis::line::value_at;
use crate::spec::{Scale, Sweep};
use crate::store::{MARGINS_TABLE, param_column, read_table};

/// Where a constraint holds for every seed along one axis, the others at the family's reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Margin {
    pub constraint: String,
    pub axis: String,
    /// Least and greatest level of the widest run of levels at which it holds; none where it holds at no level.
    pub holds: Option<[f64; 2]>,
    pub seeds: u64,
}

/// Reads the margins across seeds of a family's run on the lines through its reference, in the order of the table.
///
/// # Errors
/// A table that cannot be read.
pub fn margins(dir: &Path, sweep: &Sweep, family: &Family) -> Result<Vec<Margin>, LabError> {
    let numeric = |axis: &&crate::spec::Axis| {
        let numbers = axis.levels.iter().filter_map(Value::as_f64);
        axis.path != "seed" && axis.levels.len() > 1 && Scale::of(&axis.path, numbers).is_some()
    };
    if sweep.gates.is_empty() || !sweep.axes.iter().any(|axis| numeric(&axis)) {
        return Ok(Vec::new());
    }
    let path = dir.join(MARGINS_TABLE);
    let table = read_table(&path)?;
    let failed = |source| LabError::Table { path: path.clone(), source };
    let at = |name: &str, row: usize| -> PolarsResult<Value> { value_at(table.column(name)?, row) };
    let mut found = Vec::new();
    for row in 0..table.height() {
        let read = || -> PolarsResult<Option<Margin>> {
            let axis = at("axis", row)?.as_str().unwrap_or_default().to_string();
            let across = at("seed", row)?.is_null() && at("direction", row)? == "up";
            let others = family.reference.iter().filter(|(path, _)| *path != axis);
            let here = |(path, level): &Level| -> PolarsResult<bool> {
                Ok(key_of(&at(&param_column(path), row)?) == key_of_text(level))
            };
            if !across || !others.map(here).collect::<PolarsResult<Vec<bool>>>()?.into_iter().all(|here| here) {
                return Ok(None);
            }
            let ends = at("run_low", row)?.as_f64().zip(at("run_high", row)?.as_f64());
            Ok(Some(Margin {
                constraint: at("constraint", row)?.as_str().unwrap_or_default().to_string(),
                axis,
                holds: ends.map(|(low, high)| [low, high]),
                seeds: at("seeds", row)?.as_f64().unwrap_or_default() as u64,
            }))
        };
        found.extend(read().map_err(failed)?);
    }
    Ok(found)
}
