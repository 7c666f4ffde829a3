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
mod tests {
    use std::fs::File;

    use polars_core::prelude::{IntoColumn, IntoSeries, ListChunked, NamedFrom};

    use super::*;

    fn frame(n: usize) -> (DataFrame, TableInfo) {
        let vectors: ListChunked = (0..n).map(|i| Some(Series::new("".into(), vec![i as f32, 0.5, -1.0]))).collect();
        let columns = vec![
            Column::new("index".into(), (0..n as i64).collect::<Vec<_>>()),
            Column::new("shape".into(), (0..n).map(|i| format!("shape {}", i % 4)).collect::<Vec<_>>()),
            Column::new("orientation".into(), (0..n).map(|i| (i > 0).then_some(i as f64)).collect::<Vec<_>>()),
            vectors.into_series().with_name("z_img".into()).into(),
        ];
        let info = ["index", "shape", "orientation", "z_img"]
            .map(|name| (name.to_string(), ColumnInfo::new("value", "1", format!("the {name}"))));
        (DataFrame::new_infer_height(columns).unwrap(), TableInfo::new("samples", info))
    }

    #[test]
    fn tables_come_back_with_types_nulls_lists_and_metadata() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.parquet");
        let (frame, info) = frame(5);
        let written = write_table(&path, &frame, &info).unwrap();
        assert!(read_table(&path).unwrap().equals_missing(&frame));
        assert_eq!(read_table_info(&path).unwrap(), info);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!((written.bytes, written.rows), (bytes.len() as u64, 5));
        assert_eq!(written.blake3, blake3::hash(&bytes).to_hex().as_str());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn whole_numbers_that_can_be_missing_stay_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        let seeds = [Some(9_007_199_254_740_993i64), None, Some(9_007_199_254_740_992)];
        let columns = vec![
            Column::new("seed".into(), seeds),
            Column::new("label".into(), [Some(3u32), None, None]),
            Column::new("n".into(), [1i64, 2, 3]),
            Column::new("x".into(), [Some(0.5), None, None]),
        ];
        let frame = DataFrame::new_infer_height(columns).unwrap();
        let about = |name: &str| ColumnInfo::new("value", "1", name);
        let info = |name: &str| (name.to_string(), if name == "n" { about(name) } else { about(name).or_null() });
        let info = TableInfo::new("t", ["seed", "label", "n", "x"].map(info));
        write_table(&path, &frame, &info).unwrap();
        assert!(read_table(&path).unwrap().equals_missing(&frame));
        assert_eq!(read_table_info(&path).unwrap(), info);
        let told: serde_json::Value = serde_json::from_str(&for_pandas(frame.schema(), &info).unwrap()).unwrap();
        let types: Vec<_> =
            told["columns"].as_array().unwrap().iter().map(|c| (&c["name"], &c["numpy_type"])).collect();
        assert_eq!(types, [(&json!("seed"), &json!("Int64")), (&json!("label"), &json!("UInt32"))]);
        // Where readers look for it: as text within the schema, beside the descriptions of its fields.
        let mut reader = ParquetReader::new(File::open(&path).unwrap());
        let metadata = reader.get_metadata().unwrap().key_value_metadata().clone().unwrap();
        let schema = metadata.iter().find(|pair| pair.key == "ARROW:schema").and_then(|pair| pair.value.clone());
        let schema = BASE64_STANDARD.decode(schema.unwrap()).unwrap();
        let has = |text: &str| schema.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(has("pandas") && has(&told.to_string()) && has("description"));
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused_wherever_they_stand_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        let info = TableInfo::new("t", [("x".to_string(), ColumnInfo::new("value", "1", "a number"))]);
        let lists = |rows: [[f32; 2]; 3]| -> Column {
            let lists: ListChunked = rows.into_iter().map(|row| Some(Series::new("".into(), row))).collect();
            lists.into_series().with_name("x".into()).into_column()
        };
        let plain = |value: f64| Series::new("x".into(), [Some(1.0), None, Some(value)]).into_column();
        let single = |value: f32| Series::new("x".into(), [0.5, f32::MAX, value]).into_column();
        let list = |value: f32| lists([[1.0, 2.0], [f32::MIN, 0.0], [0.0, value]]);
        let write = |column: Column| write_table(&path, &DataFrame::new_infer_height(vec![column]).unwrap(), &info);
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for column in [plain(f64::from(wrong)), single(wrong), list(wrong)] {
                let error = write(column).unwrap_err().to_string();
                assert!(error.contains("`x`") && error.contains(&format!("{wrong} in row 2")), "{error}");
                assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
            }
        }
        // In a later portion rows count on.
        let mut writer =
            TableWriter::create(&path, DataFrame::new_infer_height(vec![plain(1.0)]).unwrap().schema(), &info);
        let writer = writer.as_mut().unwrap();
        writer.write(&DataFrame::new_infer_height(vec![plain(f64::MAX)]).unwrap()).unwrap();
        let error = writer.write(&DataFrame::new_infer_height(vec![plain(f64::NAN)]).unwrap()).unwrap_err();
        assert!(error.to_string().contains("NaN in row 5"), "{error}");
        for column in [plain(-0.0), single(f32::MIN_POSITIVE), list(-1.0)] {
            assert!(write(column).is_ok());
        }
    }

    /// What writes Parquet elsewhere would not be held to that.
    #[test]
    fn every_table_is_written_here() {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut read = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("store/table.rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let writers = ["ParquetWriter", "BatchedWriter", "IpcWriter", "CsvWriter", "JsonWriter"];
                    assert!(
                        !writers.iter().any(|writer| text.contains(writer)),
                        "{} writes tables itself",
                        path.display()
                    );
                    read += 1;
                }
            }
        }
        assert!(read > 100, "the sources were read");
    }

    #[test]
    fn an_empty_table_keeps_its_columns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.parquet");
        let (frame, info) = frame(0);
        write_table(&path, &frame, &info).unwrap();
        let back = read_table(&path).unwrap();
        assert_eq!((back.height(), back.schema()), (0, frame.schema()));
    }

    #[test]
    fn large_tables_are_cut_into_row_groups_however_the_frame_is_chunked() {
        let dir = tempfile::tempdir().unwrap();
        let values = |range: std::ops::Range<i64>| {
            DataFrame::new_infer_height(vec![Column::new("index".into(), range.collect::<Vec<_>>())]).unwrap()
        };
        let n = ROW_GROUP_ROWS as i64 + 10;
        let whole = values(0..n);
        let stacked = values(0..7).vstack(&values(7..n)).unwrap();
        let info = TableInfo::new("t", [("index".to_string(), ColumnInfo::new("index", "", "row"))]);
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        assert_eq!(write_table(&a, &whole, &info).unwrap(), write_table(&b, &stacked, &info).unwrap());
        let mut reader = ParquetReader::new(File::open(&a).unwrap());
        assert_eq!(reader.get_metadata().unwrap().row_groups.len(), 2);
    }

    #[test]
    fn row_groups_do_not_depend_on_how_the_rows_came() {
        let dir = tempfile::tempdir().unwrap();
        let rows = ROW_GROUP_ROWS + 50;
        let (mut whole, mut info) = frame(rows);
        // Lists are encoded after the buffers that they lie in; run tables have none.
        whole.drop_in_place("z_img").unwrap();
        info.columns.remove("z_img");
        let write = |name: &str, portions: &[usize], cut: bool| {
            let path = dir.path().join(name);
            let mut writer = TableWriter::create(&path, whole.schema(), &info).unwrap();
            let mut start = 0;
            for portion in portions {
                writer.write(&whole.slice(start, *portion)).unwrap();
                start += *portion as i64;
                if cut {
                    writer.cut().unwrap();
                }
            }
            assert_eq!(start as usize, rows);
            writer.finish().unwrap();
            let file = File::open(&path).unwrap();
            let groups = ParquetReader::new(file).get_metadata().unwrap().row_groups.len();
            (std::fs::read(path).unwrap(), groups)
        };
        let one = write("a.parquet", &[rows], false);
        assert_eq!(one.1, 2);
        assert!(write("b.parquet", &[100, rows - 120, 0, 20], false) == one);
        assert_eq!(write("c.parquet", &[100, rows - 100], true).1, 2);
        assert_eq!(write("d.parquet", &[100, 100, rows - 200], true).1, 3);
    }

    #[test]
    fn single_columns_are_read_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.parquet");
        let (frame, info) = frame(3);
        let written = write_table(&path, &frame, &info).unwrap();
        let read = read_columns(&path, &["shape", "absent"].map(String::from)).unwrap();
        assert_eq!(read.get_column_names(), ["shape"]);
        assert_eq!(read.height(), 3);
        assert_eq!(hash_file(&path).unwrap(), written.blake3);
    }

    #[test]
    fn undescribed_columns_and_strangers_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.parquet");
        let (frame, mut info) = frame(2);
        let shape = info.columns.remove("shape").unwrap();
        let error = write_table(&path, &frame, &info).unwrap_err().to_string();
        assert!(error.contains("column `shape` is not described"), "{error}");
        info.columns.insert("shape".into(), shape.clone());
        info.columns.insert("colour".into(), shape);
        let error = write_table(&path, &frame, &info).unwrap_err().to_string();
        assert!(error.contains("no column `colour`"), "{error}");
        std::fs::write(&path, b"PAR1 this is no table PAR1").unwrap();
        assert!(matches!(read_table(&path), Err(StoreError::Table { .. })));
        assert!(matches!(read_table_info(&path), Err(StoreError::Table { .. })));
    }

    #[test]
    fn a_table_that_unpacks_to_more_than_it_is_worth_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.parquet");
        let long = "0".repeat(1 << 20);
        let texts: Vec<String> = (0..200).map(|n| format!("{n}{long}")).collect();
        let frame = DataFrame::new_infer_height(vec![Column::new("text".into(), texts)]).unwrap();
        let info = TableInfo::new("t", [("text".to_string(), ColumnInfo::new("value", "", "zeros"))]);
        let written = write_table(&path, &frame, &info).unwrap();
        assert!(written.bytes < 1 << 18, "{} bytes", written.bytes);
        let error = read_table(&path).unwrap_err().to_string();
        assert!(error.contains("unpack"), "{error}");
        assert_eq!(read_columns(&path, &[]).unwrap().width(), 0, "what is not read takes nothing");
        assert_eq!(read_table_info(&path).unwrap(), info);
    }

    #[test]
    fn a_footer_that_points_elsewhere_is_damage_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.parquet");
        let (frame, info) = frame(50);
        write_table(&path, &frame, &info).unwrap();
        let sound = std::fs::read(&path).unwrap();
        let length = u32::from_le_bytes(sound[sound.len() - 8..][..4].try_into().unwrap()) as usize;
        let (footer, mut refused) = (sound.len() - 8 - length, 0);
        for at in footer..sound.len() {
            let mut changed = sound.clone();
            changed[at] = !changed[at];
            std::fs::write(&path, changed).unwrap();
            refused += u32::from(matches!(read_table(&path), Err(StoreError::Table { .. })));
        }
        assert!(refused > 50, "{refused} of {length}");
    }
}
