//! The record of a run: finished cells on disk, the tables made from them, and the run manifest.
//!
//! A [`RunDir`] is one process's exclusive hold on a run directory; a [`RunReader`] looks at the same directory
//! without a lock, dead or alive. Both see *parts*: immutable files of finished cells, named by their content, that
//! appear whole or not at all. Tables are derived from parts and can always be made again.

mod atomic;
mod audit;
mod error;
mod id;
mod lock;
mod manifest;
mod ordered;
mod part;
mod reader;
mod record;
mod reuse;
mod run_dir;
mod table;
mod tables;

pub use atomic::write_atomic;
pub use audit::audit_manifest;
pub use error::StoreError;
pub use lock::is_live;
pub use manifest::{
    Cells, Code, Environment, MANIFEST_VERSION, RunManifest, RunState, VERIFICATION_STATEMENT, now_utc,
};
pub use part::{Columns, PART_VERSION, ScalarKind};
pub use reader::{NamedFault, RunReader};
pub use record::{
    CellRecord, RECORD_VERSION, RecordedCandidate, RecordedChecksums, RecordedCrossing, RecordedCurves, RecordedMetric,
    RecordedSelection, RecordedStatus,
};
pub use reuse::{Reused, find_reusable};
pub use run_dir::{Damaged, Found, Identity, Levels, RunDir};
pub use table::{
    ColumnInfo, FOOTER_KEY, TABLE_VERSION, TableBytes, TableInfo, TableWriter, hash_file, read_columns, read_rows,
    read_table, read_table_info, write_table,
};
pub use tables::{
    BOUNDARIES_TABLE, CELLS_TABLE, CONDITIONS_TABLE, CURVES_TABLE, EXEMPLARS_TABLE, LEAD_LAG_TABLE, MARGINS_TABLE,
    MetricColumn, ParamColumn, RUN_TABLES, SURFACES_TABLE, TableSpec, metric_column, param_column, write_run_tables,
};
