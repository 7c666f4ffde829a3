//! What finished cells say about a constraint.

use polars_core::prelude::{DataFrame, PolarsResult};

use super::ranks::find;
use crate::spec::{CLEAN, Gate, LOST};
use crate::store::{RecordedStatus, metric_column};

/// What one cell says about a gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Seen<'a> {
    Value(f64),
    /// How it ended.
    Lost(&'a str),
    Unfinished,
    Undefined,
}

/// The columns of `cells.parquet` that [`outcomes`] reads.
pub fn columns_of_cells(gates: &[Gate]) -> Vec<String> {
    let clean = gates.iter().filter(|gate| gate.condition == CLEAN && gate.metric != LOST);
    let metrics = clean.map(|gate| metric_column(&gate.metric));
    distinct(["cell_id", "status"].map(String::from).into_iter().chain(metrics))
}

/// The columns of `conditions.parquet` that [`outcomes`] reads; none when no gate is under a condition.
pub fn columns_of_conditions(gates: &[Gate]) -> Vec<String> {
    let others: Vec<&Gate> = gates.iter().filter(|gate| gate.condition != CLEAN).collect();
    if others.is_empty() {
        return Vec::new();
    }
    let metrics = others.iter().map(|gate| metric_column(&gate.metric));
    distinct(["cell_id", "condition"].map(String::from).into_iter().chain(metrics))
}

fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    names.for_each(|name| {
        if !kept.contains(&name) {
            kept.push(name);
        }
    });
    kept
}

/// What each row of `cells` says about a gate; never [`Seen::Unfinished`]. A metric that is no column has no values.
///
/// # Errors
/// A column of another type than the tables have.
pub(super) fn outcomes<'a>(gate: &Gate, cells: &'a DataFrame, conditions: &DataFrame) -> PolarsResult<Vec<Seen<'a>>> {
    let values = values(gate, cells, conditions)?;
    let seen = cells.column("status")?.str()?.iter().zip(values).map(|(status, value)| {
        let status = status.unwrap_or_default();
        let lost = status != RecordedStatus::Ok.name();
        match value {
            _ if gate.metric == LOST => Seen::Value(f64::from(u8::from(lost))),
            Some(value) if value.is_finite() => Seen::Value(value),
            _ if lost => Seen::Lost(status),
            _ => Seen::Undefined,
        }
    });
    Ok(seen.collect())
}

/// The metric of a gate for each row of `cells`.
fn values(gate: &Gate, cells: &DataFrame, conditions: &DataFrame) -> PolarsResult<Vec<Option<f64>>> {
    let table = if gate.condition == CLEAN { cells } else { conditions };
    let Ok(column) = table.column(&metric_column(&gate.metric)) else { return Ok(vec![None; cells.height()]) };
    let column = column.f64()?;
    if gate.condition == CLEAN {
        return Ok(column.iter().collect());
    }
    let (ids, names) = (conditions.column("cell_id")?.str()?, conditions.column("condition")?.str()?);
    let here = ids.iter().zip(names.iter()).enumerate().filter(|(_, (_, name))| *name == Some(gate.condition.as_str()));
    let (rows, ids): (Vec<usize>, Vec<Option<&str>>) = here.map(|(row, (id, _))| (row, id)).unzip();
    let found = find(ids.into_iter(), cells.column("cell_id")?.str()?.iter());
    Ok(found.into_iter().map(|at| column.get(rows[at? as usize])).collect())
}
