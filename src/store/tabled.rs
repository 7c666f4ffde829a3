//! Finished cells as far as the tables of a run have them: what is left of a record in a bundle without parts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polars_core::prelude::{DataFrame, PolarsError, PolarsResult};
use serde_json::{Map, Value, json};

use super::audit::audit_manifest;
use super::error::StoreError;
use super::manifest::RunManifest;
use super::reader::one_beginning_with;
use super::record::{
    CellRecord, RecordedChecksums, RecordedCondition, RecordedCurves, RecordedMetric, RecordedSelection, RecordedStatus,
};
use super::table::{read_columns, read_rows, read_table_info};
use super::tables::{CELLS_TABLE, CONDITIONS_TABLE, CURVES_TABLE, SPECTRA_TABLE};
use crate::spec::{CLEAN, Cell};

/// What a record holds and no table does, in the words of the audit manifest.
const NOT_IN_TABLES: [&str; 6] = [
    "thresholds and values of crossings",
    "score and candidates of the selection",
    "checksums under further conditions",
    "wall_s",
    "finished_utc",
    "made_by",
];

/// The cells that the tables of a run have.
#[derive(Debug)]
pub struct TabledCells {
    dir: PathBuf,
    ids: Vec<String>,
}

/// A cell as its rows have it.
#[derive(Clone, Debug, PartialEq)]
pub struct TabledCell {
    /// Without what tables lack: no crossings, no score of a selection, no checksums under further conditions.
    pub record: CellRecord,
    /// Limit to the step at which it was first broken.
    pub crossings: BTreeMap<String, u64>,
}

impl TabledCells {
    /// Reads which cells there are.
    ///
    /// # Errors
    /// [`StoreError`] where there is no table of cells, or a damaged one.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(CELLS_TABLE);
        let frame = read_columns(&path, &["cell_id".to_string()])?;
        let ids = frame.column("cell_id").and_then(|ids| ids.str()).map_err(failed(&path))?;
        Ok(Self { dir: dir.to_path_buf(), ids: ids.iter().flatten().map(ToString::to_string).collect() })
    }

    /// The id that is, or uniquely begins with, `prefix`.
    ///
    /// # Errors
    /// [`StoreError::NoSuchCell`], [`StoreError::AmbiguousCell`].
    pub fn find(&self, prefix: &str) -> Result<&str, StoreError> {
        let id = one_beginning_with(&self.dir, prefix, self.ids.iter().map(String::as_str))?;
        Ok(self.ids.iter().find(|known| **known == id).map_or("", String::as_str))
    }

    /// What the tables have of a cell of the run's spec; `class` is that of its manifest.
    ///
    /// # Errors
    /// [`StoreError`] where a table cannot be read or lacks a column.
    pub fn cell(&self, cell: &Cell, class: &str) -> Result<TabledCell, StoreError> {
        let no_such = || StoreError::NoSuchCell { dir: self.dir.clone(), prefix: cell.id.clone() };
        let row = self.ids.iter().position(|id| *id == cell.id).ok_or_else(no_such)?;
        let path = self.dir.join(CELLS_TABLE);
        let row = Rows::read(&path, row, 1)?;
        let config = serde_json::to_value(&cell.config).map_err(|e| StoreError::damaged(&path, e.to_string()))?;
        let read = || -> PolarsResult<(CellRecord, BTreeMap<String, u64>)> {
            let checksum = |name: &str| row.text(name, 0).map(Option::unwrap_or_default);
            let crossings = row.text("crossings", 0)?;
            let record = CellRecord {
                cell_id: cell.id.clone(),
                train_id: cell.config.train_id(),
                class: class.to_string(),
                config,
                status: status(&row.text("status", 0)?.unwrap_or_default()),
                reason: row.text("reason", 0)?.unwrap_or_default(),
                steps: row.whole("steps", 0)?.unwrap_or_default(),
                metrics: row.metrics(0)?,
                spectra: BTreeMap::new(),
                curves: RecordedCurves::default(),
                checksums: RecordedChecksums {
                    first_batch_embeddings: checksum("checksum_first_batch_embeddings")?,
                    final_parameters: checksum("checksum_final_parameters")?,
                    test_embeddings: checksum("checksum_test_embeddings")?,
                },
                crossings: Vec::new(),
                selection: row.whole("selected_step", 0)?.map(|step| RecordedSelection {
                    step: Some(step),
                    score: None,
                    reason: String::new(),
                    parameters: String::new(),
                    candidates: Vec::new(),
                }),
                realised: row.numbers("realised", "realised_", 0)?,
                conditions: Vec::new(),
                wall_s: 0.0,
                finished_utc: String::new(),
                made_by: String::new(),
                reused_from: None,
            };
            Ok((record, crossings.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()))
        };
        let (mut record, crossings) = read().map_err(failed(&path))?;
        self.add_conditions(&mut record, cell)?;
        self.add_curves(&mut record)?;
        self.add_spectra(&mut record)?;
        Ok(TabledCell { record, crossings })
    }

    /// The rows of a cell in a table in which they lie together.
    fn rows(&self, file: &str, cell_id: &str) -> Result<Rows, StoreError> {
        let path = self.dir.join(file);
        let frame = read_columns(&path, &["cell_id".to_string()])?;
        let ids = frame.column("cell_id").and_then(|ids| ids.str()).map_err(failed(&path))?;
        let from = ids.iter().position(|id| id == Some(cell_id));
        let rows = ids.iter().skip(from.unwrap_or(0)).take_while(|id| *id == Some(cell_id)).count();
        Rows::read(&path, from.unwrap_or(0), rows)
    }

    fn add_conditions(&self, record: &mut CellRecord, cell: &Cell) -> Result<(), StoreError> {
        let rows = self.rows(CONDITIONS_TABLE, &record.cell_id)?;
        for row in 0..rows.frame.height() {
            let read = || Ok((rows.text("condition", row)?.unwrap_or_default(), rows.metrics(row)?));
            let (name, metrics) = read().map_err(failed(&rows.path))?;
            if name != CLEAN {
                let changes = cell.conditions.iter().find(|c| c.name == name).map(|c| c.changes.clone());
                let changes = changes.unwrap_or_default();
                record.conditions.push(RecordedCondition { name, changes, metrics, test_embeddings: String::new() });
            }
        }
        Ok(())
    }

    fn add_curves(&self, record: &mut CellRecord) -> Result<(), StoreError> {
        let rows = self.rows(CURVES_TABLE, &record.cell_id)?;
        let read = || -> PolarsResult<RecordedCurves> {
            let steps = (0..rows.frame.height()).map(|row| rows.whole("step", row));
            let step: Vec<u64> = steps.map(|step| Ok(step?.unwrap_or_default())).collect::<PolarsResult<_>>()?;
            let mut series = BTreeMap::new();
            for name in rows.of_role("series") {
                let values: Vec<Option<f64>> = rows.frame.column(name)?.f64()?.iter().collect();
                // A series that only other cells of the run have is a column of nulls here.
                if values.iter().any(Option::is_some) {
                    series.insert(name.to_string(), values);
                }
            }
            Ok(RecordedCurves { step, series })
        };
        record.curves = read().map_err(failed(&rows.path))?;
        Ok(())
    }

    fn add_spectra(&self, record: &mut CellRecord) -> Result<(), StoreError> {
        let rows = self.rows(SPECTRA_TABLE, &record.cell_id)?;
        for row in 0..rows.frame.height() {
            let read = || Ok((rows.text("modality", row)?.unwrap_or_default(), rows.number("eigenvalue", row)?));
            let (modality, value) = read().map_err(failed(&rows.path))?;
            record.spectra.entry(modality).or_default().extend(value);
        }
        Ok(())
    }
}

impl TabledCell {
    /// As [`audit_manifest`], with null for what the tables lack, which `not_in_the_tables` names.
    pub fn audit_manifest(&self, axes: &[String], manifest: Option<&RunManifest>) -> Value {
        let mut shown = audit_manifest(&self.record, axes, manifest);
        for key in ["wall_s", "finished_utc", "made_by"] {
            shown[key] = Value::Null;
        }
        let crossing = |(limit, step): (&String, &u64)| json!({ "limit": limit, "step": step });
        shown["crossings"] = self.crossings.iter().map(crossing).collect();
        shown["selection"] = self.record.selection.as_ref().map_or(Value::Null, |s| json!({ "step": s.step }));
        let conditions: Map<String, Value> = shown["conditions"].as_object().cloned().unwrap_or_default();
        for name in conditions.keys() {
            shown["conditions"][name]["checksums"] = Value::Null;
        }
        shown["not_in_the_tables"] = json!(NOT_IN_TABLES);
        shown
    }
}

fn status(name: &str) -> RecordedStatus {
    use RecordedStatus::{Collapsed, Diverged, Failed, Ok};
    [Ok, Collapsed, Diverged].into_iter().find(|status| status.name() == name).unwrap_or(Failed)
}

fn failed(path: &Path) -> impl Fn(PolarsError) -> StoreError + '_ {
    move |error| StoreError::Table { path: path.to_path_buf(), reason: error.to_string() }
}

/// Some rows of a table, with what its columns are.
struct Rows {
    path: PathBuf,
    frame: DataFrame,
    /// Column to role.
    roles: BTreeMap<String, String>,
}

impl Rows {
    fn read(path: &Path, from: usize, rows: usize) -> Result<Self, StoreError> {
        let columns = read_table_info(path)?.columns;
        let names: Vec<String> = columns.keys().cloned().collect();
        let roles = columns.into_iter().map(|(name, info)| (name, info.role)).collect();
        Ok(Self { path: path.to_path_buf(), frame: read_rows(path, &names, from, rows)?, roles })
    }

    fn of_role<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a str> {
        self.roles.iter().filter(move |(_, of)| *of == role).map(|(name, _)| name.as_str())
    }

    /// None where the row has none, or the table no such column, as those of earlier versions.
    fn text(&self, name: &str, row: usize) -> PolarsResult<Option<String>> {
        match self.roles.contains_key(name) {
            true => Ok(self.frame.column(name)?.str()?.get(row).map(ToString::to_string)),
            false => Ok(None),
        }
    }

    fn whole(&self, name: &str, row: usize) -> PolarsResult<Option<u64>> {
        match self.roles.contains_key(name) {
            true => Ok(self.frame.column(name)?.i64()?.get(row).and_then(|value| u64::try_from(value).ok())),
            false => Ok(None),
        }
    }

    fn number(&self, name: &str, row: usize) -> PolarsResult<Option<f64>> {
        Ok(self.frame.column(name)?.f64()?.get(row))
    }

    /// The numbers of a row in the columns of a role, under their names without `prefix`.
    fn numbers(&self, role: &str, prefix: &str, row: usize) -> PolarsResult<BTreeMap<String, f64>> {
        let mut found = BTreeMap::new();
        for column in self.of_role(role) {
            let name = column.strip_prefix(prefix).unwrap_or(column).to_string();
            found.extend(self.number(column, row)?.map(|value| (name, value)));
        }
        Ok(found)
    }

    /// Values, and the reasons of those that are missing. What was not measured has neither.
    fn metrics(&self, row: usize) -> PolarsResult<BTreeMap<String, RecordedMetric>> {
        let values = self.numbers("metric", "metric_", row)?;
        let missing = self.text("missing_metrics", row)?;
        let missing: BTreeMap<String, String> =
            missing.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let missing = missing.into_iter().map(|(name, reason)| (name, RecordedMetric::Missing(reason)));
        Ok(values.into_iter().map(|(name, value)| (name, RecordedMetric::Value(value))).chain(missing).collect())
    }
}
