//! Cells that another run in the same directory of runs has already finished.

use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::part::CellEntry;
use super::place::{Holds, holds};
use super::reader::{PARTS, RunReader};
use super::record::{CellRecord, RecordedStatus};

/// What a search among sibling runs found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reused {
    /// Cells taken from each directory.
    pub from: BTreeMap<PathBuf, usize>,
    /// Files and directories that could not be read, with the reason.
    pub skipped: Vec<(PathBuf, String)>,
}

impl Reused {
    /// Cells found in all directories together.
    pub fn cells(&self) -> usize {
        self.from.values().sum()
    }
}

/// Finds the cells `wanted` in the run directories directly below `siblings`, except `own`, and hands their records to
/// `take`, block by block. Only records of the class `class` that did not fail count; each cell is handed over once.
///
/// Nothing is written and no lock is taken. What cannot be read is reported in [`Reused::skipped`].
///
/// # Errors
/// Only those of `take`, and [`StoreError::Io`] when `siblings` cannot be listed for another reason than permission.
pub fn find_reusable(
    siblings: &Path,
    own: &Path,
    mut wanted: HashSet<&str>,
    class: &str,
    take: &mut dyn FnMut(Vec<CellRecord>) -> Result<(), StoreError>,
) -> Result<Reused, StoreError> {
    let mut reused = Reused::default();
    let runs = match sibling_runs(siblings, own) {
        // Others' folders can often be entered and not listed; what lies beside the run is no part of it.
        Err(StoreError::Io { path, source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
            reused.skipped.push((path, format!("it cannot be listed: {source}")));
            Vec::new()
        }
        other => other?,
    };
    for dir in runs {
        if wanted.is_empty() {
            break;
        }
        let reader = match RunReader::open(&dir) {
            Ok(reader) => reader,
            Err(error) => {
                reused.skipped.push((dir, error.to_string()));
                continue;
            }
        };
        for (name, reason) in reader.damaged() {
            reused.skipped.push((dir.join(PARTS).join(name), reason.clone()));
        }
        for part in reader.parts.values().filter(|part| part.index.class == class) {
            for (number, block) in part.index.blocks.iter().enumerate() {
                let of_use = |cell: &CellEntry| {
                    cell.status != RecordedStatus::Failed && wanted.contains(cell.cell_id.to_string().as_str())
                };
                if !block.cells.iter().any(of_use) {
                    continue;
                }
                let mut records = match part.records(number) {
                    Ok(records) => records,
                    Err(error) => {
                        reused.skipped.push((part.path.clone(), error.to_string()));
                        continue;
                    }
                };
                records
                    .retain(|record| record.status != RecordedStatus::Failed && wanted.remove(record.cell_id.as_str()));
                *reused.from.entry(dir.clone()).or_default() += records.len();
                take(records)?;
            }
        }
    }
    Ok(reused)
}

/// The run directories directly below `siblings`, except `own`, sorted by name.
fn sibling_runs(siblings: &Path, own: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let own = real(own);
    let mut runs = Vec::new();
    for entry in std::fs::read_dir(siblings).map_err(StoreError::io("list", siblings))? {
        let path = entry.map_err(StoreError::io("list", siblings))?.path();
        let foreign = || matches!(holds(&path), Ok(Holds::Other(_)));
        if RunReader::is_run(&path) && real(&path) != own && !foreign() {
            runs.push(path);
        }
    }
    runs.sort();
    Ok(runs)
}
