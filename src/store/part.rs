//! Part files: finished cells on disk, immutable once they appear.
//!
//! ```text
//! {"format":"cliffline-part","version":1,...}\n   header line, JSON
//! index                                           CBOR: which cells are in which block, the hash of each block
//! block, block, ...                               each zstd-compressed CBOR, a vector of records
//! ```
//! The hashes form a chain: the file is named by the hash of its header line, the header holds the hash of the index
//! and all lengths, the index holds the hash of every block. So opening a run reads only headers and indexes, one
//! record costs one block, and a flipped bit is pinned to one block, whose neighbours survive.
//!
//! That a part is named by the first 16 hex digits of the BLAKE3 of its header line holds in **every** version:
//! it is how an altered version number is told from a newer program's file.
//!
//! # Changelog of [`PART_VERSION`]
//! - 1: first version.

use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use super::bounded::unpack;
use super::cbor;
use super::error::StoreError;
use super::id::Id;
use super::own::start_of;
use super::plain::open_stored;
use super::record::{CellRecord, RECORD_VERSION, RecordedStatus};
use super::rules;
use crate::spec::MOST_CONDITIONS;
use crate::spec::config::Config;

mod columns;
mod write;

pub use columns::{Columns, ScalarKind};
pub(crate) use write::{Source, encode_blocks, prepare_part, write_part};

/// Version of the layout above.
pub const PART_VERSION: u64 = 1;
/// How the names of parts end.
pub(crate) const EXTENSION: &str = "part";
/// Records per block: enough for compression to find the repeated keys, few enough that one record is quick to read.
pub(crate) const BLOCK_CELLS: usize = 64;

const FORMAT: &str = "cliffline-part";
const NAME_DIGITS: usize = 16;
/// Longest header line that is read; today's has about 250 bytes.
const MAX_HEADER_BYTES: u64 = 4096;
/// zstd's own default: most of the gain at a speed that training never waits for.
const ZSTD_LEVEL: i32 = 3;

/// Most bytes of a block, packed or not. A block of 64 cells with 60,000 points of 13 curves each has 250 MiB; what a
/// cell may have at most, a quarter of a million points, fits several times.
const MOST_BLOCK_BYTES: u64 = 256 << 20;
/// Most bytes of a record: with a block that is nearly full it still fits one.
const MOST_RECORD_BYTES: u64 = MOST_BLOCK_BYTES - (FULL_BLOCK_BYTES as u64) - 16;
/// Records are collected into a block until they have this many bytes: more does not compress better.
const FULL_BLOCK_BYTES: usize = 16 << 20;
/// Most numbers, texts and lists of a block in all: an item of one byte takes 16 and more in memory.
const MOST_BLOCK_ITEMS: u64 = 1 << 26;
/// Most bytes of a record without its curves, its candidates and its conditions: a panel and spectra of thousands of
/// dimensions.
const MOST_PLAIN_BYTES: u64 = 8 << 20;
/// Most bytes of a condition: a hundred and fifty metrics, each with its name and a number or why there is none, are
/// some fifteen thousand.
const MOST_CONDITION_BYTES: usize = 1 << 15;
const _: () = assert!(
    MOST_PLAIN_BYTES + (MOST_CONDITIONS * MOST_CONDITION_BYTES) as u64 <= MOST_RECORD_BYTES,
    "a spec has no more conditions than a record can hold"
);
/// Most bytes of a configuration; a hundred parameters have four thousand.
const MOST_CONFIG_BYTES: usize = 1 << 16;
/// Bytes of a number and more than there are time series, so that a point of the curves has at most their product; a
/// candidate has fewer.
const MOST_POINT_BYTES: u64 = 9 * 128;
/// Most columns of all kinds; there are some four hundred.
const MOST_COLUMNS: usize = 10_000;
/// Most bytes of an index: two million cells of some hundred and twenty bytes.
const MOST_INDEX_BYTES: u64 = 256 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: String,
    version: u64,
    record_version: u64,
    cells: u64,
    /// Bytes of the index, which follows the header line.
    index_bytes: u64,
    /// Bytes of index and blocks together: all that follows the header line.
    bytes: u64,
    /// BLAKE3 of the index, 64 hex digits.
    blake3: String,
}

/// What a part says about its contents.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Index {
    pub sweep: String,
    pub class: String,
    pub columns: Columns,
    pub blocks: Vec<BlockEntry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BlockEntry {
    pub bytes: u64,
    pub blake3: String,
    pub cells: Vec<CellEntry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CellEntry {
    pub cell_id: Id,
    pub train_id: Id,
    pub status: RecordedStatus,
}

/// An open part: its index, and where its blocks lie.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub path: PathBuf,
    pub index: Index,
    /// Records in all blocks together.
    pub cells: usize,
    /// Where each block begins, and after them where the file ends.
    offsets: Vec<u64>,
    /// Per block, whether its records were found to be what they say, or come from this process.
    judged: Arc<[AtomicBool]>,
}

impl CellEntry {
    fn of(record: &CellRecord) -> Self {
        Self {
            cell_id: record.cell_id.as_str().into(),
            train_id: record.train_id.as_str().into(),
            status: record.status,
        }
    }
}

/// The name that a part with this header line must have.
fn name_of(header_line: &[u8]) -> String {
    blake3::hash(header_line).to_hex()[..NAME_DIGITS].to_string()
}

impl Index {
    pub(crate) fn cells(&self) -> impl Iterator<Item = &CellEntry> {
        self.blocks.iter().flat_map(|block| &block.cells)
    }

    /// Why no program wrote it; none where one may have.
    fn fault(&self) -> Option<String> {
        if self.columns.count() > MOST_COLUMNS {
            return Some(format!("it has {} columns", self.columns.count()));
        }
        let cells = |block: &BlockEntry| !(1..=BLOCK_CELLS).contains(&block.cells.len());
        let bytes = |block: &BlockEntry| block.bytes > MOST_BLOCK_BYTES;
        let block = self.blocks.iter().position(|block| cells(block) || bytes(block))?;
        Some(format!("its block {block} is larger than a block can be, or empty"))
    }
}

/// Room for so many bytes, where the machine has it.
fn room(bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut room = Vec::new();
    room.try_reserve_exact(usize::try_from(bytes).unwrap_or(usize::MAX)).map_err(|_| ErrorKind::OutOfMemory)?;
    Ok(room)
}

impl Part {
    fn new(path: PathBuf, index: Index, blocks_at: u64) -> Self {
        let mut offsets = vec![blocks_at];
        offsets.extend(index.blocks.iter().scan(blocks_at, |end, block| {
            *end = end.saturating_add(block.bytes);
            Some(*end)
        }));
        let cells = index.blocks.iter().map(|block| block.cells.len()).sum();
        let judged = index.blocks.iter().map(|_| AtomicBool::new(false)).collect();
        Self { path, index, cells, offsets, judged }
    }

    fn is_judged(&self, number: usize) -> bool {
        self.judged.get(number).is_some_and(|judged| judged.load(Ordering::Relaxed))
    }

    fn judged_is(&self, number: usize, verdict: bool) {
        if let Some(judged) = self.judged.get(number) {
            judged.store(verdict, Ordering::Relaxed);
        }
    }

    /// Reads header and index and checks them and the length of the file; blocks are checked as they are read.
    ///
    /// # Errors
    /// [`StoreError::Newer`] for a newer program's part, [`StoreError::Damaged`] for an altered or truncated header or
    /// index, [`StoreError::Io`] when it cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = open_stored(path)?;
        let file_bytes = file.metadata().map_err(StoreError::io("read", path))?.len();
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        reader.by_ref().take(MAX_HEADER_BYTES).read_until(b'\n', &mut line).map_err(StoreError::io("read", path))?;
        let header = parse_header(path, &line)?;
        let present = file_bytes.saturating_sub(line.len() as u64);
        if header.index_bytes > present {
            return Err(StoreError::damaged(path, format!("truncated: {present} of {} bytes", header.bytes)));
        }
        if header.index_bytes > MOST_INDEX_BYTES {
            let reason = format!("its index has {} bytes, more than any that can be read", header.index_bytes);
            return Err(StoreError::damaged(path, reason));
        }
        let mut index_bytes = room(header.index_bytes).map_err(StoreError::io("read", path))?;
        reader.take(header.index_bytes).read_to_end(&mut index_bytes).map_err(StoreError::io("read", path))?;
        if blake3::hash(&index_bytes).to_hex().as_str() != header.blake3 {
            return Err(StoreError::damaged(path, "the index was altered: its checksum does not match"));
        }
        let index: Index = ciborium::from_reader(index_bytes.as_slice())
            .map_err(|e| StoreError::damaged(path, format!("the index is unreadable: {e}")))?;
        if let Some(reason) = index.fault() {
            return Err(StoreError::damaged(path, format!("the index is unreadable: {reason}")));
        }
        Ok(Self::new(path.to_path_buf(), index, line.len() as u64 + header.index_bytes))
    }

    /// Reads every block; the numbers and faults of those that are truncated or altered, and the fault of a file that
    /// is longer than it should be.
    pub(crate) fn faults(&self) -> Result<Vec<(Option<usize>, String)>, StoreError> {
        let looked: Vec<Result<(), StoreError>> =
            (0..self.index.blocks.len()).into_par_iter().map(|number| self.block_bytes(number).map(drop)).collect();
        let mut faults = Vec::new();
        for (number, result) in looked.into_iter().enumerate() {
            match result {
                Ok(_) => {}
                Err(StoreError::Damaged { reason, .. }) => faults.push((Some(number), reason)),
                Err(other) => return Err(other),
            }
        }
        let (found, expected) = self.lengths()?;
        if found > expected {
            faults.push((None, format!("{} bytes follow its end", found - expected)));
        }
        Ok(faults)
    }

    /// Length of the file and the length it should have, bytes.
    fn lengths(&self) -> Result<(u64, u64), StoreError> {
        let found = std::fs::metadata(&self.path).map_err(StoreError::io("read", &self.path))?.len();
        Ok((found, self.offsets.last().copied().unwrap_or(0)))
    }

    /// What is wrong with the length of the file, if anything.
    pub(crate) fn wrong_length(&self) -> Result<Option<String>, StoreError> {
        let (found, expected) = self.lengths()?;
        Ok((found != expected).then(|| format!("it has {found} bytes instead of {expected}")))
    }

    /// What is wrong with blocks whose bytes are sound: that they cannot be read, or have records that cannot be of their
    /// cells. Every record is decoded.
    ///
    /// # Errors
    /// That a block is not what was written is none: see [`faults`](Self::faults).
    pub(crate) fn content_faults(&self) -> Result<Vec<(usize, String)>, StoreError> {
        // One block that unpacks to more than it may is enough to give the part up: a thousand of them take hours.
        let given_up = AtomicBool::new(false);
        let looked: Vec<Result<Option<String>, StoreError>> = (0..self.index.blocks.len())
            .into_par_iter()
            .map(|number| {
                if given_up.load(Ordering::Relaxed) {
                    return Ok(Some(self.said(number, "it stands beside one that is too large")));
                }
                match self.records(number) {
                    Ok(_) => Ok(None),
                    Err(StoreError::Damaged { reason, .. }) => {
                        given_up.fetch_or(reason.contains(TOO_LARGE), Ordering::Relaxed);
                        Ok(Some(reason))
                    }
                    Err(other) => Err(other),
                }
            })
            .collect();
        let looked = looked.into_iter().enumerate().filter_map(|(number, found)| Some((number, found.transpose()?)));
        looked.map(|(number, found)| found.map(|reason| (number, reason))).collect()
    }

    /// The records of block `number`, each held to what it says.
    pub(crate) fn records(&self, number: usize) -> Result<Vec<CellRecord>, StoreError> {
        self.decoded(number, !self.is_judged(number))
    }

    fn decoded(&self, number: usize, judge: bool) -> Result<Vec<CellRecord>, StoreError> {
        let unreadable = |e: &str| self.unreadable(number, e);
        let plain = self.plain_block(number)?;
        let elements = elements(&plain).ok_or_else(|| unreadable("its records cannot be told apart"))?;
        let listed = self.index.blocks.get(number).map(|block| block.cells.as_slice()).unwrap_or_default();
        let mut records = Vec::with_capacity(listed.len());
        for (bytes, listed) in elements.iter().zip(listed) {
            if judge && let Some(reason) = too_large(bytes) {
                return Err(unreadable(&reason));
            }
            let record: CellRecord = ciborium::from_reader(*bytes).map_err(|e| unreadable(&e.to_string()))?;
            if CellEntry::of(&record) != *listed {
                break;
            }
            if judge && let Some(reason) = self.fault(&record) {
                let reason = format!("block {number}: cell {} cannot be: {reason}", record.cell_id);
                return Err(StoreError::damaged(&self.path, reason));
            }
            records.push(record);
        }
        if records.len() != elements.len() || records.len() != listed.len() {
            return Err(unreadable("its cells are not those the index lists"));
        }
        if judge {
            self.judged_is(number, true);
        }
        Ok(records)
    }

    fn fault(&self, record: &CellRecord) -> Option<String> {
        if record.class != self.index.class {
            return Some(format!("it is of another class than its part, `{}`", record.class));
        }
        if !self.index.columns.hold(record) {
            return Some("the index does not list all that it has".to_string());
        }
        rules::fault(record)
    }

    /// The records of block `number` as they were encoded, a CBOR array, once they were held to what they say.
    pub(crate) fn judged_block(&self, number: usize) -> Result<Vec<u8>, StoreError> {
        if !self.is_judged(number) {
            self.records(number)?;
        }
        self.plain_block(number)
    }

    fn plain_block(&self, number: usize) -> Result<Vec<u8>, StoreError> {
        let packed = self.block_bytes(number)?;
        unpack(&packed, MOST_BLOCK_BYTES).map_err(|e| match e.kind() {
            // A machine without room says nothing of the part.
            ErrorKind::OutOfMemory => StoreError::io("unpack", &self.path)(e),
            ErrorKind::FileTooLarge => self.unreadable(number, &format!("{TOO_LARGE}: {e}")),
            _ => self.unreadable(number, &e.to_string()),
        })
    }

    fn said(&self, number: usize, reason: &str) -> String {
        format!("block {number} is unreadable: {reason}")
    }

    fn unreadable(&self, number: usize, reason: &str) -> StoreError {
        StoreError::damaged(&self.path, self.said(number, reason))
    }

    /// The bytes of block `number`, checked against the index.
    fn block_bytes(&self, number: usize) -> Result<Vec<u8>, StoreError> {
        let (Some(entry), Some(offset)) = (self.index.blocks.get(number), self.offsets.get(number)) else {
            return Err(StoreError::damaged(&self.path, format!("block {number} does not exist")));
        };
        let mut file = open_stored(&self.path)?;
        file.seek(SeekFrom::Start(*offset)).map_err(StoreError::io("read", &self.path))?;
        // A length from a damaged index must not decide how much memory is asked for.
        let there = self.lengths()?.0.saturating_sub(*offset);
        let mut bytes = room(entry.bytes.min(there)).map_err(StoreError::io("read", &self.path))?;
        file.take(entry.bytes).read_to_end(&mut bytes).map_err(StoreError::io("read", &self.path))?;
        if (bytes.len() as u64) < entry.bytes {
            let reason = format!("block {number} is truncated: {} of {} bytes", bytes.len(), entry.bytes);
            return Err(StoreError::damaged(&self.path, reason));
        }
        if blake3::hash(&bytes).to_hex().as_str() != entry.blake3 {
            let reason = format!("block {number} was altered: its checksum does not match");
            return Err(StoreError::damaged(&self.path, reason));
        }
        Ok(bytes)
    }
}

/// Whether a file has the name of a part.
pub(crate) fn has_part_name(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let digits = stem.len() == NAME_DIGITS && stem.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    digits && path.extension().is_some_and(|extension| extension == EXTENSION)
}

/// Whether a file is a part, whole or not, of whichever version.
pub(crate) fn is_part(path: &Path) -> bool {
    let begins = format!("{{\"format\":\"{FORMAT}\"");
    has_part_name(path) && start_of(path, begins.len()) == begins
}

/// How the fault of a block begins that unpacks to more than it may.
pub(crate) const TOO_LARGE: &str = "too large";

/// The records of an unpacked block, each as its bytes.
pub(crate) fn elements(plain: &[u8]) -> Option<Vec<&[u8]>> {
    cbor::elements(plain, BLOCK_CELLS, MOST_BLOCK_ITEMS)
}

/// Why an encoded record is larger than one of its configuration and so many conditions can be, or has no
/// configuration; none where it is not. What is written is held to it like what is read.
fn too_large(record: &[u8]) -> Option<String> {
    // Nearly every record: each of its parts has less than any bound.
    if record.len() <= MOST_CONDITION_BYTES.min(MOST_CONFIG_BYTES) {
        return None;
    }
    if record.len() as u64 > MOST_RECORD_BYTES {
        return Some(format!(
            "{TOO_LARGE}: a record has {} bytes, and at most {MOST_RECORD_BYTES} are read",
            record.len()
        ));
    }
    let bytes = cbor::entry(record, "config").filter(|bytes| bytes.len() <= MOST_CONFIG_BYTES);
    let config: Option<Config> = bytes.and_then(|bytes| ciborium::from_reader(bytes).ok());
    let Some(config) = config else { return Some("a record has no configuration that this version knows".to_string()) };
    let conditions = cbor::entry(record, "conditions");
    let conditions = conditions.and_then(|bytes| cbor::elements(bytes, MOST_CONDITIONS, MOST_BLOCK_ITEMS));
    let conditions = conditions.unwrap_or_default();
    if let Some(bytes) = conditions.iter().map(|bytes| bytes.len()).find(|bytes| *bytes > MOST_CONDITION_BYTES) {
        return Some(format!(
            "{TOO_LARGE}: a condition has {bytes} bytes, and at most {MOST_CONDITION_BYTES} are read"
        ));
    }
    let most = MOST_PLAIN_BYTES.saturating_add(config.recorded_points().saturating_mul(MOST_POINT_BYTES));
    let rest = record.len() - conditions.iter().map(|bytes| bytes.len()).sum::<usize>();
    (rest as u64 > most).then(|| {
        format!(
            "{TOO_LARGE}: a record has {rest} bytes beside its conditions, and with its curves at most {most} are read"
        )
    })
}

/// The header, after the checks that hold for every version.
fn parse_header(path: &Path, line: &[u8]) -> Result<Header, StoreError> {
    if line.last() != Some(&b'\n') {
        return Err(StoreError::damaged(path, "truncated or altered: it has no complete header line"));
    }
    if path.file_stem().and_then(|stem| stem.to_str()) != Some(name_of(line).as_str()) {
        return Err(StoreError::damaged(path, "altered: its name is not the hash of its header"));
    }
    let unreadable = |e: serde_json::Error| StoreError::damaged(path, format!("its header is unreadable: {e}"));
    let loose: serde_json::Value = serde_json::from_slice(line).map_err(unreadable)?;
    if loose.get("format").and_then(|f| f.as_str()) != Some(FORMAT) {
        return Err(StoreError::damaged(path, format!("its format is not `{FORMAT}`")));
    }
    for (key, supported) in [("version", PART_VERSION), ("record_version", RECORD_VERSION)] {
        let found = loose.get(key).and_then(|v| v.as_u64()).unwrap_or(0);
        if found > supported {
            return Err(StoreError::Newer { path: path.to_path_buf(), found, supported });
        }
    }
    serde_json::from_value(loose).map_err(unreadable)
}

#[cfg(test)]
mod tests;
