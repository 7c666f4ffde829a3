//! The tables of a run that are made of its tables of cells and conditions.

use std::collections::BTreeMap;
use std::path::Path;

use super::lead_lag_table::write_lead_lag;
use super::location_tables::write_locations;
use super::surface_table::write_surfaces;
use crate::spec::Sweep;
use crate::store::{SURFACES_TABLE, StoreError, TableBytes};

/// Writes surfaces, margins, boundaries and lead-lag of a run beside its other tables; sizes and hashes by file name.
///
/// # Errors
/// [`StoreError`] when a table cannot be read, lacks a column, or a new one cannot be written.
pub fn write_derived(dir: &Path, sweep: &Sweep) -> Result<BTreeMap<String, TableBytes>, StoreError> {
    let paths: Vec<String> = sweep.axes.iter().map(|axis| axis.path.clone()).collect();
    let surfaces = [(SURFACES_TABLE, write_surfaces(dir, &paths)?)].into_iter();
    let located = write_locations(dir, sweep)?;
    let all = surfaces.chain(located).chain([write_lead_lag(dir, sweep)?]);
    Ok(all.map(|(file, table)| (file.to_string(), table)).collect())
}
