//! What finished cells say about a constraint.

use std::collections::HashSet;

use polars_core::prelude::{Column, DataFrame, DataType, NamedFrom, PolarsResult, Series};

use super::ranks::find;
use crate::spec::{CLEAN, Cell, Gate, LOST, PARAMS, Sweep};
use crate::store::{RecordedStatus, metric_column, param_column};

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

/// The status, in [`with_unfinished`], of a cell of the plan that has no row in the table of cells.
pub(super) const UNFINISHED: &str = "unfinished";

/// A table of cells and, at its end, a row for every cell of the plan that it lacks: with its parameters, without
/// metrics. A table of no cells knows no parameters, and stays as it is.
///
/// # Errors
/// A column of another type than the tables have.
pub fn with_unfinished(cells: DataFrame, sweep: &Sweep) -> PolarsResult<DataFrame> {
    if cells.height() == 0 || cells.height() >= sweep.cells.len() {
        return Ok(cells);
    }
    let known: HashSet<&str> = cells.column("cell_id")?.str()?.iter().flatten().collect();
    let missing: Vec<&Cell> = sweep.cells.iter().filter(|cell| !known.contains(cell.id.as_str())).collect();
    let column = |known: &Column| -> Column {
        let name = known.name().clone();
        if name == "cell_id" {
            return Series::new(name, missing.iter().map(|cell| cell.id.as_str()).collect::<Vec<_>>()).into();
        }
        if name == "status" {
            return Series::new(name, vec![UNFINISHED; missing.len()]).into();
        }
        let Some(param) = PARAMS.iter().find(|param| param_column(param.path) == name.as_str()) else {
            return Column::full_null(name, missing.len(), known.dtype());
        };
        let values = missing.iter().map(|cell| cell.config.values_at(std::iter::once(param.path)).into_iter().next());
        match known.dtype() {
            DataType::Int64 => Series::new(name, values.map(|v| v?.as_i64()).collect::<Vec<_>>()).into(),
            DataType::Float64 => Series::new(name, values.map(|v| v?.as_f64()).collect::<Vec<_>>()).into(),
            DataType::Boolean => Series::new(name, values.map(|v| v?.as_bool()).collect::<Vec<_>>()).into(),
            _ => Series::new(name, values.map(|v| Some(v?.as_str()?.to_string())).collect::<Vec<_>>()).into(),
        }
    };
    let more = DataFrame::new(missing.len(), cells.columns().iter().map(column).collect())?;
    let mut all = cells.clone();
    all.vstack_mut(&more)?;
    Ok(all)
}

/// What each row of `cells` says about a gate. A metric that is no column has no values.
///
/// # Errors
/// A column of another type than the tables have.
pub(super) fn outcomes<'a>(gate: &Gate, cells: &'a DataFrame, conditions: &DataFrame) -> PolarsResult<Vec<Seen<'a>>> {
    let values = values(gate, cells, conditions)?;
    let seen = cells.column("status")?.str()?.iter().zip(values).map(|(status, value)| {
        let status = status.unwrap_or_default();
        if status == UNFINISHED {
            return Seen::Unfinished;
        }
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
