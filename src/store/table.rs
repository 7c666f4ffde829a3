//! Parquet tables with metadata in the footer, whose bytes depend on their rows and nothing else.
//!
//! # Changelog of [`TABLE_VERSION`]
//! - 1: first version. Later `nullable`, and what pandas is told in the Arrow schema: older programs read past both.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use polars_arrow::io::ipc::write::{default_ipc_fields, schema_to_bytes};
use polars_core::prelude::{
    ArrowField, ArrowSchema, Column, CompatLevel, DataFrame, DataType, PlSmallStr, PolarsError, Schema, SchemaExt,
    Series,
};
use polars_io::SerReader;
use polars_io::parquet::read::{ParallelStrategy, ParquetReader};
use polars_io::parquet::write::{
    BatchedWriter, KeyValueMetadata, ParquetCompression, ParquetWriter, StatisticsOptions,
};
use polars_parquet::write::{ZstdLevel, schema_to_metadata_key};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::atomic::Pending;
use super::error::StoreError;
use super::plain::{open_file, open_stored};
use super::table_bounds::{self, guarded};

/// Version of [`TableInfo`].
pub const TABLE_VERSION: u64 = 1;
/// The footer key under which [`TableInfo`] is found, as JSON.
pub const FOOTER_KEY: &str = "cliffline";

/// Pinned, because the bytes of a table must not change with a library's default: zstd's own default level, and row
/// groups of 2^17 rows, of which a reader with one thread and little memory can hold one.
const ZSTD_LEVEL: i32 = 3;
pub(super) const ROW_GROUP_ROWS: usize = 1 << 17;
const DATA_PAGE_BYTES: usize = 1 << 20;

/// What one column means.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColumnInfo {
    /// `1` for a pure number, empty where a unit makes no sense.
    pub unit: String,
    /// `id`, `status`, `axis`, `param`, `metric`, `realised`, `checksum`, `index`, `series` or `value`.
    pub role: String,
    pub description: String,
    /// Least and greatest possible value; `None` where there is no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[Option<f64>; 2]>,
    /// Whether rows can be without a value though the column is of whole numbers: a reader without integers that can be
    /// missing makes doubles of them, which do not tell large seeds apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nullable: bool,
}

impl ColumnInfo {
    /// A column without a range.
    pub fn new(role: &str, unit: &str, description: impl Into<String>) -> Self {
        Self { unit: unit.into(), role: role.into(), description: description.into(), ..Self::default() }
    }

    /// Of whole numbers that some rows are without.
    pub fn or_null(self) -> Self {
        Self { nullable: true, ..self }
    }
}

/// What a table is, kept in its footer under [`FOOTER_KEY`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableInfo {
    pub version: u64,
    /// Name of the table, such as `cells`.
    pub table: String,
    pub columns: BTreeMap<String, ColumnInfo>,
}

impl TableInfo {
    pub fn new(table: &str, columns: impl IntoIterator<Item = (String, ColumnInfo)>) -> Self {
        Self { version: TABLE_VERSION, table: table.into(), columns: columns.into_iter().collect() }
    }
}

/// Size and hash of a written table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableBytes {
    pub bytes: u64,
    /// 64 hex digits.
    pub blake3: String,
    pub rows: u64,
}

/// Writes `frame` to `path` as Parquet, atomically.
///
/// # Errors
/// [`StoreError::Table`] when `info` and `frame` do not name the same columns, or when a number is not finite: a null says
/// that there is no value, an infinity or NaN would pass for one. [`StoreError::Io`] when it cannot be written; then
/// `path` is as it was.
pub fn write_table(path: &Path, frame: &DataFrame, info: &TableInfo) -> Result<TableBytes, StoreError> {
    let mut writer = TableWriter::create(path, frame.schema(), info)?;
    writer.write(frame)?;
    writer.finish()
}

/// Writes a table in several goes. Row groups are full, at 2^17 rows, or end where [`cut`](Self::cut) says, however the
/// rows came. Dropped before [`finish`](Self::finish) it leaves nothing behind.
pub struct TableWriter {
    path: PathBuf,
    writer: BatchedWriter<SharedSink>,
    sink: Rc<RefCell<Sink>>,
    /// Rows of the row group to come.
    waiting: Option<DataFrame>,
    rows: u64,
}

impl TableWriter {
    /// Begins the table `path` with the columns of `schema`, each of which `info` must describe.
    pub fn create(path: &Path, schema: &Schema, info: &TableInfo) -> Result<Self, StoreError> {
        let undescribed = schema.iter_names().find(|name| !info.columns.contains_key(name.as_str()));
        let unknown = info.columns.keys().find(|name| !schema.contains(name));
        let table_error = |reason: String| StoreError::Table { path: path.to_path_buf(), reason };
        if let Some(name) = undescribed {
            return Err(table_error(format!("its column `{name}` is not described")));
        }
        if let Some(name) = unknown {
            return Err(table_error(format!("it has no column `{name}`, which is described")));
        }
        let json = serde_json::to_string(info).map_err(|e| table_error(e.to_string()))?;
        let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(|e| table_error(e.to_string()))?;
        let footer = vec![arrow_key(schema, info), (FOOTER_KEY.to_string(), json)];
        let sink = Rc::new(RefCell::new(Sink {
            pending: Pending::create(path)?,
            hasher: blake3::Hasher::new(),
            bytes: 0,
            error: None,
        }));
        let writer = ParquetWriter::new(SharedSink(Rc::clone(&sink)))
            .with_compression(ParquetCompression::Zstd(Some(level)))
            .with_statistics(StatisticsOptions::default())
            .with_row_group_size(Some(ROW_GROUP_ROWS))
            .with_data_page_size(Some(DATA_PAGE_BYTES))
            .set_parallel(false)
            .with_key_value_metadata(Some(KeyValueMetadata::from_static(footer)))
            .batched(schema)
            .map_err(|e| table_error(e.to_string()))?;
        Ok(Self { path: path.to_path_buf(), writer, sink, waiting: None, rows: 0 })
    }

    /// Appends the rows of `frame`.
    ///
    /// # Errors
    /// [`StoreError::Table`] for a number that is not finite, in a list or by itself: no table has one, see
    /// [`write_table`].
    pub fn write(&mut self, frame: &DataFrame) -> Result<(), StoreError> {
        if let Some(reason) = frame.columns().iter().find_map(|column| not_finite(column, self.rows)) {
            return Err(StoreError::Table { path: self.path.clone(), reason });
        }
        self.rows += frame.height() as u64;
        let mut rows = match self.waiting.take() {
            Some(mut rows) => {
                rows.vstack_mut(frame).map_err(|e| self.error(e))?;
                rows
            }
            None => frame.clone(),
        };
        while rows.height() >= ROW_GROUP_ROWS {
            self.write_group(rows.slice(0, ROW_GROUP_ROWS))?;
            rows = rows.slice(ROW_GROUP_ROWS as i64, usize::MAX);
        }
        self.waiting = (rows.height() > 0).then_some(rows);
        Ok(())
    }

    /// Ends the row group: what comes next begins another.
    pub fn cut(&mut self) -> Result<(), StoreError> {
        self.waiting.take().map_or(Ok(()), |rows| self.write_group(rows))
    }

    fn write_group(&mut self, mut rows: DataFrame) -> Result<(), StoreError> {
        // One chunk per column, so that one row group comes out however the frame was put together.
        rows.rechunk_mut();
        let result = self.writer.write_batch(&rows);
        result.map_err(|e| self.error(e))
    }

    /// Writes the footer and gives the table its name.
    pub fn finish(mut self) -> Result<TableBytes, StoreError> {
        self.cut()?;
        let result = self.writer.finish();
        result.map_err(|e| self.error(e))?;
        let Self { path, writer, sink, rows, .. } = self;
        drop(writer);
        let sink = Rc::into_inner(sink)
            .ok_or_else(|| StoreError::Table { path: path.clone(), reason: "its writer is still in use".into() })?
            .into_inner();
        sink.pending.commit(&path)?;
        Ok(TableBytes { bytes: sink.bytes, blake3: sink.hasher.finalize().to_hex().to_string(), rows })
    }

    /// The IO error behind `error`, where there is one: polars passes on only its text.
    fn error(&self, error: PolarsError) -> StoreError {
        match self.sink.borrow_mut().error.take() {
            Some(source) => StoreError::io("write", &self.path)(source),
            None => StoreError::Table { path: self.path.clone(), reason: error.to_string() },
        }
    }
}

/// What is wrong with the first number of a column that is not finite; `before` rows are in the table already.
fn not_finite(column: &Column, before: u64) -> Option<String> {
    let name = column.name();
    let says = |value: f64, row: usize| {
        let row = before + row as u64;
        format!("its column `{name}` has {value} in row {row}, counted from 0; tables hold finite numbers and nulls")
    };
    match column.dtype() {
        DataType::Float64 | DataType::Float32 => {
            let (row, value) = first_not_finite(column.as_materialized_series())?;
            Some(says(value, row))
        }
        DataType::List(inner) if inner.is_float() => {
            let lists = column.list().ok()?;
            let in_row = |row: usize| Some(says(first_not_finite(&lists.get_as_series(row)?)?.1, row));
            (0..lists.len()).find_map(in_row)
        }
        _ => None,
    }
}

/// Place and value of the first number that is not finite.
fn first_not_finite(series: &Series) -> Option<(usize, f64)> {
    fn first(values: impl Iterator<Item = Option<f64>>) -> Option<(usize, f64)> {
        values.enumerate().find_map(|(row, value)| Some((row, value.filter(|value| !value.is_finite())?)))
    }
    match series.dtype() {
        DataType::Float32 => first(series.f32().ok()?.iter().map(|value| value.map(f64::from))),
        _ => first(series.f64().ok()?.iter()),
    }
}

/// The Arrow schema that readers find in the footer: strings as the long-standing `LargeUtf8` rather than as views,
/// which older readers do not know, and unit, role and description with every field.
fn arrow_schema(schema: &Schema, info: &TableInfo) -> ArrowSchema {
    let describe = |mut field: ArrowField| {
        if let Some(column) = info.columns.get(field.name.as_str()) {
            let pairs = [("unit", &column.unit), ("role", &column.role), ("description", &column.description)];
            let pairs = pairs.into_iter().map(|(key, text)| (PlSmallStr::from_static(key), text.as_str().into()));
            field.metadata = Some(Arc::new(pairs.collect()));
        }
        (field.name.clone(), field)
    };
    schema.to_arrow(CompatLevel::oldest()).iter_values().cloned().map(describe).collect()
}

/// The footer's entry with the Arrow schema. What pandas is told has its place in the schema's own metadata: Arrow's
/// readers look for no other where there is a schema.
fn arrow_key(schema: &Schema, info: &TableInfo) -> (String, String) {
    let arrow = arrow_schema(schema, info);
    let plain = schema_to_metadata_key(&arrow);
    let Some(pandas) = for_pandas(schema, info) else { return (plain.key, plain.value.unwrap_or_default()) };
    let metadata = BTreeMap::from([(PlSmallStr::from_static("pandas"), PlSmallStr::from_string(pandas))]);
    let bytes = schema_to_bytes(&arrow, &default_ipc_fields(arrow.iter_values()), Some(&metadata));
    // As Arrow frames a message: a marker, the length, the message.
    let framed = [&[0xff; 4], &(bytes.len() as u32).to_le_bytes()[..], &bytes].concat();
    (plain.key, BASE64_STANDARD.encode(framed))
}

/// What pandas is told, so that whole numbers that some rows are without stay whole: the type of each such column. None
/// where there is none, and for tables with lists, whose schema is written otherwise: their whole numbers are small.
fn for_pandas(schema: &Schema, info: &TableInfo) -> Option<String> {
    let column = |(name, dtype): (&PlSmallStr, &DataType)| {
        info.columns.get(name.as_str()).filter(|info| info.nullable)?;
        let (plain, nullable) = match dtype {
            DataType::Int64 => ("int64", "Int64"),
            DataType::Int32 => ("int32", "Int32"),
            DataType::UInt32 => ("uint32", "UInt32"),
            _ => return None,
        };
        let name = name.as_str();
        Some(json!({"name": name, "field_name": name, "pandas_type": plain, "numpy_type": nullable, "metadata": null}))
    };
    if schema.iter_values().any(DataType::is_nested) {
        return None;
    }
    let columns: Vec<serde_json::Value> = schema.iter().filter_map(column).collect();
    let text = || json!({"index_columns": [], "column_indexes": [], "columns": columns}).to_string();
    (!columns.is_empty()).then(text)
}

/// Where a table's bytes go: the unfinished file and its hash.
struct Sink {
    pending: Pending,
    hasher: blake3::Hasher,
    bytes: u64,
    error: Option<io::Error>,
}

/// The handle that polars keeps until the table is finished.
struct SharedSink(Rc<RefCell<Sink>>);

impl Write for SharedSink {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut sink = self.0.borrow_mut();
        if let Err(error) = sink.pending.writer().write_all(buffer) {
            let kind = error.kind();
            sink.error = Some(error);
            return Err(kind.into());
        }
        sink.hasher.update(buffer);
        sink.bytes += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut sink = self.0.borrow_mut();
        sink.pending.writer().flush().map_err(|error| {
            let kind = error.kind();
            sink.error = Some(error);
            kind.into()
        })
    }
}

/// Reads a Parquet table into memory.
pub fn read_table(path: &Path) -> Result<DataFrame, StoreError> {
    read_some(path, None, None)
}

/// Reads those of `columns` that a Parquet table has, and leaves the rest where it is.
pub fn read_columns(path: &Path, columns: &[String]) -> Result<DataFrame, StoreError> {
    read_rows(path, columns, 0, usize::MAX)
}

/// As [`read_columns`], of at most `rows` rows from row `from` on; row groups beside them are not read.
pub fn read_rows(path: &Path, columns: &[String], from: usize, rows: usize) -> Result<DataFrame, StoreError> {
    read_some(path, Some(columns), (from > 0 || rows < usize::MAX).then_some((from, rows)))
}

fn read_some(path: &Path, columns: Option<&[String]>, slice: Option<(usize, usize)>) -> Result<DataFrame, StoreError> {
    let table_error = |e: PolarsError| StoreError::Table { path: path.to_path_buf(), reason: e.to_string() };
    guarded(path, || {
        let file = open_stored(path)?;
        let mut reader = ParquetReader::new(file).read_parallel(ParallelStrategy::None);
        table_bounds::check(path, reader.get_metadata().map_err(table_error)?, columns)?;
        let schema = reader.schema().map_err(table_error)?;
        let there = |columns: &[String]| columns.iter().filter(|name| schema.contains(name)).cloned().collect();
        reader.with_columns(columns.map(there)).with_slice(slice).finish().map_err(table_error)
    })
}

/// BLAKE3 of a file, 64 hex digits.
pub fn hash_file(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(open_file(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Reads what a table says about itself.
///
/// # Errors
/// [`StoreError::Table`] when it is not one of our tables, [`StoreError::Newer`] for a newer program's.
pub fn read_table_info(path: &Path) -> Result<TableInfo, StoreError> {
    let table_error = |reason: String| StoreError::Table { path: path.to_path_buf(), reason };
    let json = guarded(path, || {
        let file = open_stored(path)?;
        let mut reader = ParquetReader::new(file);
        let metadata = reader.get_metadata().map_err(|e| table_error(e.to_string()))?;
        let mut pairs = metadata.key_value_metadata().iter().flatten();
        let pair = pairs.find(|pair| pair.key == FOOTER_KEY).and_then(|pair| pair.value.clone());
        pair.ok_or_else(|| table_error(format!("its footer has no key `{FOOTER_KEY}`")))
    })?;
    let info: serde_json::Value = serde_json::from_str(&json).map_err(|e| table_error(e.to_string()))?;
    let found = info.get("version").and_then(|v| v.as_u64()).unwrap_or(0);
    if found > TABLE_VERSION {
        return Err(StoreError::Newer { path: path.to_path_buf(), found, supported: TABLE_VERSION });
    }
    serde_json::from_value(info).map_err(|e| table_error(e.to_string()))
}

#[cfg(test)]
mod tests;
