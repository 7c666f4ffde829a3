//! What a run directory holds, as far as the report reads it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use polars_core::prelude::{DataFrame, PolarsError};
use thiserror::Error;

use crate::spec::{Overrides, SpecError, Sweep, from_str};
use crate::store::{
    MANIFEST_FILE, RUN_TABLES, RunManifest, SPEC_FILE, StoreError, TableInfo, read_columns, read_rows, read_table,
    read_table_info, read_text,
};

/// Why a report cannot be made.
#[derive(Debug, Error)]
pub enum ReportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Spec(#[from] Box<SpecError>),
    #[error("{path}: {source}")]
    Table { path: PathBuf, source: PolarsError },
    #[error("{path} cannot be read: {reason}")]
    Unreadable { path: PathBuf, reason: String },
    #[error("{dir} has no {file}: the command that made the run writes it, and trains nothing that is there")]
    Missing { dir: PathBuf, file: &'static str },
}

/// A run directory that is read from.
#[derive(Debug)]
pub struct RunData<'a> {
    pub dir: PathBuf,
    pub manifest: RunManifest,
    /// Whoever trained the run has it already, and it may be large.
    pub sweep: Cow<'a, Sweep>,
}

impl RunData<'_> {
    /// Reads manifest and spec; tables are read when they are asked for.
    ///
    /// # Errors
    /// No manifest or spec, or damaged ones.
    pub fn open(dir: &Path) -> Result<Self, ReportError> {
        let missing = |file| ReportError::Missing { dir: dir.to_path_buf(), file };
        let manifest = RunManifest::read(dir)?.ok_or_else(|| missing(MANIFEST_FILE))?;
        let path = dir.join(SPEC_FILE);
        let text = read_text(&path).map_err(|_| missing(SPEC_FILE))?;
        let sweep = from_str(&text, &path.display().to_string(), &Overrides::default()).map_err(Box::new)?;
        Ok(Self { dir: dir.to_path_buf(), manifest, sweep: Cow::Owned(sweep) })
    }

    /// Where a table of the run is, if there is one. Not every run has each; then another's file may lie there.
    fn path(&self, file: &str) -> Option<PathBuf> {
        let path = self.dir.join(file);
        let own = RUN_TABLES.contains(&file) || self.manifest.tables.contains_key(file);
        (own && path.is_file()).then_some(path)
    }

    /// A whole table; none where the run has no such file.
    ///
    /// # Errors
    /// A table that cannot be read.
    pub fn table(&self, file: &str) -> Result<Option<DataFrame>, ReportError> {
        let Some(path) = self.path(file) else { return Ok(None) };
        Ok(Some(read_table(&path)?))
    }

    /// Some columns of a table; none where the run has no such file. Names that it does not have are left out.
    ///
    /// # Errors
    /// A table that cannot be read.
    pub fn columns(&self, file: &str, names: &[&str]) -> Result<Option<DataFrame>, ReportError> {
        let Some(path) = self.path(file) else { return Ok(None) };
        let known = read_table_info(&path)?.columns;
        let names: Vec<String> =
            names.iter().filter(|name| known.contains_key(**name)).map(ToString::to_string).collect();
        Ok(Some(read_columns(&path, &names)?))
    }

    /// As [`columns`](Self::columns), of `rows` rows from row `from` on.
    ///
    /// # Errors
    /// A table that cannot be read.
    pub fn rows(&self, file: &str, names: &[&str], from: usize, rows: usize) -> Result<Option<DataFrame>, ReportError> {
        let Some(path) = self.path(file) else { return Ok(None) };
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        Ok(Some(read_rows(&path, &names, from, rows)?))
    }

    /// What the columns of a table mean; none where the run has no such file.
    ///
    /// # Errors
    /// A table that cannot be read.
    pub fn info(&self, file: &str) -> Result<Option<TableInfo>, ReportError> {
        let Some(path) = self.path(file) else { return Ok(None) };
        Ok(Some(read_table_info(&path)?))
    }
}
