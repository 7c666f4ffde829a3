//! The record of a run: finished cells on disk, the tables made from them, and the run manifest.
//!
//! A [`RunDir`] is one process's exclusive hold on a run directory; a [`RunReader`] looks at the same directory
//! without a lock, dead or alive. Both see *parts*: immutable files of finished cells, named by their content, that
//! appear whole or not at all. Tables are derived from parts and can always be made again.
//!
//! When files have come to rest, [`seal`] lists them in a ledger, and [`check_seal`] finds whatever is no longer so.

mod agreement;
mod atomic;
mod audit;
mod bounded;
mod bundle;
mod cbor;
mod cell_tree;
mod directives;
mod error;
mod files_lock;
mod id;
mod lacking;
mod ledger;
mod litter;
mod lock;
mod manifest;
mod merkle;
mod ordered;
mod own;
mod part;
mod place;
mod plain;
mod reader;
mod record;
mod redact;
mod reuse;
mod rules;
mod run_dir;
mod sample;
mod seal;
pub mod strict_report;
mod table;
mod table_bounds;
mod tabled;
mod tables;

pub use agreement::differences;
pub use atomic::{write_atomic, write_replaceable};
pub use audit::audit_manifest;
pub use bundle::{BUNDLE_NOTE_FILE, BUNDLE_VERSION, BundleNote, SMALL_BUNDLE_BYTES, bundle_bytes, unpacked};
pub use cell_tree::{CELL_TREE_VERSION, CellProof, CellTree, leaf_text};
pub use directives::{
    DIRECTIVES_FILE, DIRECTIVES_VERSION, Directive, Directives, Redaction, RedactionKey, read_directives,
};
pub use error::StoreError;
pub use files_lock::FilesLock;
pub use lacking::take_lacking;
pub use ledger::{
    Artifact, BUNDLE_FILE, Differences, LEDGER_FILE, LEDGER_VERSION, Ledger, OTHER_LINE_ENDS, has_other_line_ends,
};
pub use lock::{DirLock, is_live, look_at_lock};
pub use manifest::{
    Cells, Code, Environment, MANIFEST_FILE, MANIFEST_VERSION, RunManifest, RunState, VERIFICATION_STATEMENT, now_utc,
};
pub use own::{
    PICTURE_MARK, PLOTS, REPORT_FILE, RUNS, SPEC_FILE, is_of_report, is_own, is_own_as, make_way, make_way_for,
    remove_own, set_aside,
};
pub use part::{Columns, PART_VERSION, ScalarKind};
pub use place::{Holds, LAB_FORMAT, MARKER_FILE, enclosing, holds, mark, require_ours};
pub(crate) use plain::{is_folder, odd_entry};
pub use plain::{open_file, read_file, read_text};
pub use reader::{NamedFault, RunReader, SoundCells};
pub use record::{
    CellRecord, Origin, RECORD_VERSION, RecordedCandidate, RecordedChecksums, RecordedCrossing, RecordedCurves,
    RecordedMetric, RecordedSelection, RecordedStatus,
};
pub use redact::{REDACTED, Redacted, Redactor};
pub use reuse::{Offer, Offers, find_offers};
pub use run_dir::{Damaged, Found, Identity, Levels, RunDir};
pub use sample::sample_of;
pub use seal::{
    Bundling, CutShort, Scope, Seal, SealCheck, Sealed, announce, bundle, bundle_to, check_cut_short, check_seal,
    end_cut_short, is_cut_short, seal, seal_manifest, unseal,
};
pub use strict_report::{Fact, STRICT_REPORT_SCHEMA, Source, StrictReport};
pub use table::{
    ColumnInfo, FOOTER_KEY, TABLE_VERSION, TableBytes, TableInfo, TableWriter, hash_file, read_columns, read_rows,
    read_table, read_table_info, write_table,
};
pub use tabled::{TabledCell, TabledCells};
pub use tables::{
    BOUNDARIES_TABLE, CELLS_TABLE, CONDITIONS_TABLE, CURVES_TABLE, EXEMPLARS_TABLE, LEAD_LAG_TABLE, MARGINS_TABLE,
    MetricColumn, ParamColumn, REUSED_FILE, RUN_TABLES, RunTables, SPECTRA_TABLE, SURFACES_TABLE, TableSpec,
    metric_column, param_column, read_reused, write_run_tables, write_run_tables_to,
};
