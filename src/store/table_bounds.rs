//! What a table may ask for before it is read: a footer and a page header are a few bytes that anybody can write, and the
//! reader takes memory by what they say.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use polars_parquet::parquet::page::CompressedPage;
use polars_parquet::parquet::read::PageReader;
use polars_parquet::read::{ColumnChunkMetadata, FileMetadata};

use super::error::StoreError;
use super::plain::open_stored;
use super::table::ROW_GROUP_ROWS;
use crate::machine::{caught, memory_available};

/// Most bytes of a page, packed or not: those of this program have one megabyte, and the longest text in one.
const MOST_PAGE_BYTES: usize = 64 << 20;
/// Most bytes that a page of any table may unpack to, per byte that it has: what repeats is in dictionaries before it is
/// packed, so what is left packs by less than a hundred.
const MOST_RATIO: u64 = 1000;
/// As many bytes are unpacked whatever the ratio: a column that is null all over is a few bytes.
const FREE_BYTES: u64 = 64 << 20;
/// Bytes of a value in memory, its share of masks and offsets included.
const VALUE_BYTES: u64 = 16;
/// Fewest bytes of a value in a dictionary: a single-precision number, or the length of a text.
const LEAST_VALUE_BYTES: usize = 4;
/// Share of the memory that is to be had which a table may take.
const MEMORY_SHARE: u64 = 2;
/// A list has at most this many numbers in a row: embeddings have 1024 at most, images 4096.
const MOST_IN_A_ROW: u64 = 1 << 14;

/// Refuses a table that would take more than it can be worth, of those of its columns that are to be read.
///
/// # Errors
/// [`StoreError::Table`] with what it asks for.
pub(super) fn check(path: &Path, metadata: &FileMetadata, columns: Option<&[String]>) -> Result<(), StoreError> {
    let table_error = |reason: String| StoreError::Table { path: path.to_path_buf(), reason };
    let mut file = open_stored(path)?;
    let length = file.metadata().map_err(StoreError::io("read", path))?.len();
    let (mut values, mut unpacked) = (0u64, 0u64);
    for group in &metadata.row_groups {
        if group.num_rows() > ROW_GROUP_ROWS {
            return Err(table_error(format!(
                "a row group has {} rows, more than this program writes",
                group.num_rows()
            )));
        }
        for column in group.parquet_columns() {
            let name = column.descriptor().path_in_schema.first().map(|name| name.as_str()).unwrap_or_default();
            if columns.is_some_and(|columns| !columns.iter().any(|wanted| wanted == name)) {
                continue;
            }
            let (start, bytes) =
                place(column, length).ok_or_else(|| table_error(format!("`{name}` lies outside of it")))?;
            let rows = group.num_rows() as u64;
            let in_a_row = if column.descriptor().descriptor.max_rep_level == 0 { 1 } else { MOST_IN_A_ROW };
            let own = u64::try_from(column.num_values()).unwrap_or(u64::MAX);
            if own > rows.saturating_mul(in_a_row) {
                return Err(table_error(format!("`{name}` has {} values in {rows} rows", column.num_values())));
            }
            values = values.saturating_add(own.max(rows));
            let mut chunk = Vec::new();
            chunk
                .try_reserve_exact(bytes as usize)
                .map_err(|_| table_error("there is no memory for it".to_string()))?;
            file.seek(SeekFrom::Start(start)).map_err(StoreError::io("read", path))?;
            (&mut file).take(bytes).read_to_end(&mut chunk).map_err(StoreError::io("read", path))?;
            unpacked =
                unpacked.saturating_add(pages(column, chunk).map_err(|why| table_error(format!("`{name}`: {why}")))?);
        }
    }
    if unpacked > FREE_BYTES.saturating_add(length.saturating_mul(MOST_RATIO)) {
        return Err(table_error(format!("its {length} bytes unpack to {unpacked}")));
    }
    let (wanted, there) = (values.saturating_mul(VALUE_BYTES).saturating_add(unpacked), memory_available());
    if wanted > FREE_BYTES && wanted > there / MEMORY_SHARE {
        return Err(table_error(format!(
            "it would take {} MiB of memory, and {} MiB are to be had: read fewer columns, or on a larger machine",
            wanted >> 20,
            there >> 20
        )));
    }
    Ok(())
}

/// Where a column chunk begins and how long it is, where that is inside the file.
fn place(column: &ColumnChunkMetadata, length: u64) -> Option<(u64, u64)> {
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let (start, bytes) = (u64::try_from(start).ok()?, u64::try_from(column.compressed_size()).ok()?);
    (start.checked_add(bytes)? <= length).then_some((start, bytes))
}

/// Bytes that the pages of a chunk unpack to.
fn pages(column: &ColumnChunkMetadata, chunk: Vec<u8>) -> Result<u64, String> {
    let dictionary = dictionary(&chunk);
    let mut pages = PageReader::new(Cursor::new(chunk.into()), column, Vec::new(), MOST_PAGE_BYTES);
    let mut unpacked = 0u64;
    let mut add = |bytes: usize| -> Result<(), String> {
        unpacked = unpacked.saturating_add(bytes as u64);
        if bytes > MOST_PAGE_BYTES { Err(format!("a page unpacks to {bytes} bytes")) } else { Ok(()) }
    };
    if pages.read_dict().map_err(|e| e.to_string())?.is_some() {
        let (bytes, values) = dictionary.ok_or("its dictionary has a header that this program does not write")?;
        add(bytes)?;
        if values > bytes / LEAST_VALUE_BYTES {
            return Err(format!("a dictionary has {values} values in {bytes} bytes"));
        }
    }
    for page in pages {
        match page.map_err(|e| e.to_string())? {
            CompressedPage::Data(page) => {
                add(page.uncompressed_size())?;
                if page.num_values() as i64 > column.num_values() {
                    return Err(format!("a page has {} values of {}", page.num_values(), column.num_values()));
                }
            }
            CompressedPage::Dict(_) => return Err("a dictionary follows its pages".to_string()),
        }
    }
    Ok(unpacked)
}

/// What a dictionary at the beginning of a chunk unpacks to, and how many values it has: two fields of its header, which
/// the reader believes and does not tell. They are 32-bit integers of Thrift's compact protocol.
fn dictionary(chunk: &[u8]) -> Option<(usize, usize)> {
    /// The field after the one before it, a 32-bit integer.
    const NEXT_I32: u8 = 0x15;
    /// The field four after the one before it, a structure: field 7, the header of a dictionary, after the sizes.
    const DICTIONARY: u8 = 0x4c;
    let number = |bytes: &[u8]| -> Option<(usize, usize)> {
        let (head, after) = bytes.split_first()?;
        let length = after.iter().position(|byte| byte & 0x80 == 0).filter(|last| *last < 5)? + 1;
        let zigzag = after.get(..length)?.iter().rev().fold(0u64, |number, byte| number << 7 | u64::from(byte & 0x7f));
        // Negative numbers are odd here, and no sizes.
        (*head == NEXT_I32 && zigzag % 2 == 0).then_some(((zigzag / 2) as usize, 1 + length))
    };
    let mut at = 0;
    let mut sizes = [0; 3];
    for size in &mut sizes {
        let (value, length) = number(chunk.get(at..)?)?;
        (*size, at) = (value, at + length);
    }
    (*chunk.get(at)? == DICTIONARY).then_some(())?;
    let (values, _) = number(chunk.get(at + 1..)?)?;
    Some((sizes[1], values))
}

/// What `read` returns of a table. The reader of tables takes some footers at their word and panics on what they point to:
/// that is damage of the table, and no fault of this program.
///
/// # Errors
/// Those of `read`, and [`StoreError::Table`] where it panics.
pub(super) fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    caught(read).unwrap_or_else(|_| {
        let reason = "its footer does not describe what it holds".to_string();
        Err(StoreError::Table { path: path.to_path_buf(), reason })
    })
}
