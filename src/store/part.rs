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

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use super::atomic::Pending;
use super::bounded::unpack;
use super::cbor;
use super::error::StoreError;
use super::id::Id;
use super::own::start_of;
use super::plain::open_stored;
use super::record::{CellRecord, RECORD_VERSION, RecordedStatus};
use super::rules;
use crate::spec::config::{Config, walk};

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
/// Most bytes of a record without its curves, its spectra and its candidates: a thousand conditions with a panel each.
const MOST_PLAIN_BYTES: u64 = 8 << 20;
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

/// The type of a configuration scalar as a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScalarKind {
    Int,
    Float,
    Bool,
    Text,
}

impl ScalarKind {
    fn of(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::Null => None,
            serde_json::Value::Bool(_) => Some(Self::Bool),
            serde_json::Value::Number(n) if n.is_i64() => Some(Self::Int),
            serde_json::Value::Number(_) => Some(Self::Float),
            _ => Some(Self::Text),
        }
    }

    /// The narrowest kind that holds values of both.
    fn union(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Int, Self::Float) | (Self::Float, Self::Int) => Self::Float,
            _ => Self::Text,
        }
    }
}

/// The columns that a set of records needs, kept in the index so that tables can be streamed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Columns {
    /// Configuration paths and their types.
    pub params: BTreeMap<String, ScalarKind>,
    pub metrics: BTreeSet<String>,
    pub realised: BTreeSet<String>,
    /// Names of the time series.
    pub series: BTreeSet<String>,
}

impl Columns {
    fn add(&mut self, record: &CellRecord) {
        walk(&record.config, &mut |path, value| {
            if let Some(kind) = ScalarKind::of(value) {
                self.add_param(path, kind);
            }
        });
        add_names(&mut self.metrics, record.metrics.keys());
        add_names(&mut self.realised, record.realised.keys());
        add_names(&mut self.series, record.curves.series.keys());
    }

    /// Whether a record needs no column beside these.
    fn hold(&self, record: &CellRecord) -> bool {
        let mut all = true;
        walk(&record.config, &mut |path, value| {
            let kind = ScalarKind::of(value);
            let known = self.params.get(path).copied();
            all &= kind.is_none_or(|kind| known.is_some_and(|known| known.union(kind) == known));
        });
        all && record.metrics.keys().all(|name| self.metrics.contains(name))
            && record.realised.keys().all(|name| self.realised.contains(name))
            && record.curves.series.keys().all(|name| self.series.contains(name))
    }

    /// How many there are.
    fn count(&self) -> usize {
        self.params.len() + self.metrics.len() + self.realised.len() + self.series.len()
    }

    fn add_param(&mut self, path: &str, kind: ScalarKind) {
        match self.params.get_mut(path) {
            Some(known) => *known = known.union(kind),
            None => drop(self.params.insert(path.to_string(), kind)),
        }
    }

    /// Adds the columns of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (path, kind) in &other.params {
            self.add_param(path, *kind);
        }
        add_names(&mut self.metrics, &other.metrics);
        add_names(&mut self.realised, &other.realised);
        add_names(&mut self.series, &other.series);
    }
}

/// Adds those of `names` that are not there: nearly always none, so that nothing is copied.
fn add_names<'a>(known: &mut BTreeSet<String>, names: impl IntoIterator<Item = &'a String>) {
    for name in names {
        if !known.contains(name) {
            known.insert(name.clone());
        }
    }
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

/// One block of a part to be written.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    New(Vec<u8>, BlockEntry),
    /// Block number `.1` of a part, copied as it is.
    Copy(&'a Part, usize),
}

/// Compresses records into blocks of [`BLOCK_CELLS`], or fewer where those are full before, adding what they need to
/// `columns`.
///
/// # Errors
/// [`StoreError::BadRecord`] for a record that could not be read again, because it is too large.
pub(crate) fn encode_blocks<'a>(
    records: &[CellRecord],
    columns: &mut Columns,
    at: &Path,
) -> Result<Vec<Source<'a>>, StoreError> {
    let mut blocks = Vec::new();
    let (mut plain, mut cells) = (Vec::new(), Vec::new());
    for record in records {
        let before = plain.len();
        ciborium::into_writer(record, &mut plain)
            .map_err(|e| StoreError::io("encode records for", at)(std::io::Error::other(e.to_string())))?;
        if (plain.len() - before) as u64 > MOST_RECORD_BYTES {
            let reason =
                format!("its record has {} bytes, and at most {MOST_RECORD_BYTES} can be read", plain.len() - before);
            return Err(StoreError::BadRecord { cell_id: record.cell_id.clone(), reason });
        }
        columns.add(record);
        cells.push(CellEntry::of(record));
        if cells.len() == BLOCK_CELLS || plain.len() >= FULL_BLOCK_BYTES {
            blocks.push(new_block(&std::mem::take(&mut plain), std::mem::take(&mut cells), at)?);
        }
    }
    if !cells.is_empty() {
        blocks.push(new_block(&plain, cells, at)?);
    }
    Ok(blocks)
}

/// A block of records that are encoded one after the other.
fn new_block<'a>(records: &[u8], cells: Vec<CellEntry>, at: &Path) -> Result<Source<'a>, StoreError> {
    let mut plain = cbor::array_head(cells.len());
    plain.extend_from_slice(records);
    let bytes = zstd::encode_all(plain.as_slice(), ZSTD_LEVEL).map_err(StoreError::io("compress records for", at))?;
    let entry = BlockEntry { bytes: bytes.len() as u64, blake3: blake3::hash(&bytes).to_hex().to_string(), cells };
    Ok(Source::New(bytes, entry))
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

/// A part whose bytes are in a temporary file.
pub(crate) struct Prepared {
    pending: Pending,
    part: Part,
}

impl Prepared {
    /// Gives the part its name.
    pub(crate) fn commit(self) -> Result<Part, StoreError> {
        self.pending.commit(&self.part.path)?;
        Ok(self.part)
    }
}

/// Writes one part into `dir`, atomically, and opens it.
pub(crate) fn write_part(
    dir: &Path,
    sweep: &str,
    class: &str,
    columns: Columns,
    blocks: &[Source<'_>],
) -> Result<Part, StoreError> {
    prepare_part(dir, sweep, class, columns, blocks)?.commit()
}

/// As [`write_part`], up to the moment when the part appears.
pub(crate) fn prepare_part(
    dir: &Path,
    sweep: &str,
    class: &str,
    columns: Columns,
    blocks: &[Source<'_>],
) -> Result<Prepared, StoreError> {
    let entries: Vec<BlockEntry> = blocks.iter().map(|block| block.entry().clone()).collect();
    let index = Index { sweep: sweep.into(), class: class.into(), columns, blocks: entries };
    let mut index_bytes = Vec::new();
    ciborium::into_writer(&index, &mut index_bytes)
        .map_err(|e| StoreError::io("encode an index in", dir)(std::io::Error::other(e.to_string())))?;
    let header = Header {
        format: FORMAT.into(),
        version: PART_VERSION,
        record_version: RECORD_VERSION,
        cells: index.cells().count() as u64,
        index_bytes: index_bytes.len() as u64,
        bytes: index_bytes.len() as u64 + index.blocks.iter().map(|b| b.bytes).sum::<u64>(),
        blake3: blake3::hash(&index_bytes).to_hex().to_string(),
    };
    let mut line = serde_json::to_vec(&header).map_err(|e| StoreError::io("encode a header in", dir)(e.into()))?;
    line.push(b'\n');

    let path = dir.join(format!("{}.{EXTENSION}", name_of(&line)));
    let mut pending = Pending::create(&path)?;
    let mut write = |bytes: &[u8]| pending.writer().write_all(bytes).map_err(StoreError::io("write", &path));
    write(&line)?;
    write(&index_bytes)?;
    for block in blocks {
        match block {
            Source::New(bytes, _) => write(bytes)?,
            Source::Copy(part, number) => write(&part.block_bytes(*number)?)?,
        }
    }
    let part = Part::new(path, index, (line.len() + index_bytes.len()) as u64);
    for (number, block) in blocks.iter().enumerate() {
        // What this process made needs no judge; what it copies keeps its verdict.
        part.judged_is(
            number,
            match block {
                Source::New(..) => true,
                Source::Copy(from, copied) => from.is_judged(*copied),
            },
        );
    }
    Ok(Prepared { pending, part })
}

impl Source<'_> {
    fn entry(&self) -> &BlockEntry {
        match self {
            Source::New(_, entry) => entry,
            Source::Copy(part, number) => &part.index.blocks[*number],
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
}

impl Index {
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
    cbor::elements(plain, MOST_BLOCK_ITEMS)
}

/// Why an encoded record is larger than one of its configuration can be, or has none; none where it is not.
fn too_large(record: &[u8]) -> Option<String> {
    let bytes = cbor::entry(record, "config").filter(|bytes| bytes.len() <= MOST_CONFIG_BYTES);
    let config: Option<Config> = bytes.and_then(|bytes| ciborium::from_reader(bytes).ok());
    let Some(config) = config else { return Some("a record has no configuration that this version knows".to_string()) };
    let most = MOST_PLAIN_BYTES.saturating_add(config.recorded_points().saturating_mul(MOST_POINT_BYTES));
    (record.len() as u64 > most).then(|| format!("{TOO_LARGE}: a record has {} bytes", record.len()))
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
mod tests {
    use super::*;
    use crate::store::record::tests::{first_sample, sample};

    /// Written by version 1 of this module (zstd 0.13, ciborium 0.2) from the first three sample records. It must open
    /// for ever; it is never regenerated.
    const V1_NAME: &str = "92dec406e50f6af9.part";
    const V1_BYTES: &[u8] = include_bytes!("../../tests/fixtures/92dec406e50f6af9.part");

    fn written(dir: &Path, cells: u64) -> (Part, Vec<CellRecord>) {
        let records: Vec<CellRecord> = (0..cells).map(sample).collect();
        let mut columns = Columns::default();
        let blocks = encode_blocks(&records, &mut columns, dir).unwrap();
        (write_part(dir, "smoke", "n1 flex x86_64", columns, &blocks).unwrap(), records)
    }

    #[test]
    fn records_come_back_as_they_were_from_the_written_and_the_reopened_part() {
        let dir = tempfile::tempdir().unwrap();
        let (part, records) = written(dir.path(), BLOCK_CELLS as u64 + 3);
        for part in [&part, &Part::open(&part.path).unwrap()] {
            assert_eq!(part.index.blocks.len(), 2);
            assert_eq!([part.records(0).unwrap(), part.records(1).unwrap()].concat(), records);
            assert!(part.faults().unwrap().is_empty());
            assert_eq!(part.index.sweep, "smoke");
            assert!(part.records(2).is_err());
        }
    }

    #[test]
    fn a_part_of_version_1_opens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(V1_NAME);
        std::fs::write(&path, V1_BYTES).unwrap();
        let part = Part::open(&path).unwrap();
        assert!(part.faults().unwrap().is_empty());
        // They are no cells: their ids do not follow from their configurations.
        assert_eq!(part.decoded(0, false).unwrap(), [0, 1, 2].map(first_sample));
        let error = part.records(0).unwrap_err().to_string();
        assert!(error.contains("its training is recorded as"), "{error}");
    }

    /// A part with another header, under the name that this header asks for.
    fn with_header(dir: &Path, change: impl Fn(&mut serde_json::Value)) -> PathBuf {
        let (part, _) = written(dir, 2);
        let bytes = std::fs::read(&part.path).unwrap();
        let end = bytes.iter().position(|b| *b == b'\n').unwrap();
        let mut header: serde_json::Value = serde_json::from_slice(&bytes[..end]).unwrap();
        change(&mut header);
        let mut line = serde_json::to_vec(&header).unwrap();
        line.push(b'\n');
        let path = dir.join(format!("{}.{EXTENSION}", name_of(&line)));
        std::fs::write(&path, [line.as_slice(), &bytes[end + 1..]].concat()).unwrap();
        path
    }

    #[test]
    fn newer_parts_are_refused_even_when_the_rest_of_their_header_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        for key in ["version", "record_version"] {
            let path = with_header(dir.path(), |header| {
                header[key] = 2.into();
                header["blake3"] = serde_json::Value::Null;
            });
            let error = Part::open(&path).unwrap_err();
            assert!(matches!(error, StoreError::Newer { found: 2, supported: 1, .. }), "{error}");
        }
    }

    #[test]
    fn a_version_altered_in_place_is_damage_and_not_a_newer_part() {
        let dir = tempfile::tempdir().unwrap();
        let (part, _) = written(dir.path(), 2);
        let text = std::fs::read(&part.path).unwrap();
        let at = text.windows(11).position(|w| w == b"\"version\":1").unwrap() + 10;
        let mut altered = text.clone();
        altered[at] = b'7';
        std::fs::write(&part.path, altered).unwrap();
        let error = Part::open(&part.path).unwrap_err();
        assert!(
            matches!(&error, StoreError::Damaged { reason, .. } if reason.contains("hash of its header")),
            "{error}"
        );
    }

    #[test]
    fn a_header_that_promises_more_than_the_file_holds_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = with_header(dir.path(), |header| header["index_bytes"] = (1u64 << 60).into());
        assert!(matches!(Part::open(&path), Err(StoreError::Damaged { .. })));
    }

    /// A part of these blocks, whatever they are, that lists two cells in each.
    fn with_blocks(dir: &Path, packed: &[Vec<u8>]) -> Part {
        let records = [sample(0), sample(1)];
        let mut columns = Columns::default();
        records.iter().for_each(|record| columns.add(record));
        let block = |bytes: &Vec<u8>| {
            let (bytes, cells) = (bytes.clone(), records.iter().map(CellEntry::of).collect());
            let blake3 = blake3::hash(&bytes).to_hex().to_string();
            let entry = BlockEntry { bytes: bytes.len() as u64, blake3, cells };
            Source::New(bytes, entry)
        };
        let blocks: Vec<Source> = packed.iter().map(block).collect();
        let part = write_part(dir, "smoke", "n1 flex x86_64", columns, &blocks).unwrap();
        Part::open(&part.path).unwrap()
    }

    fn packed(plain: &[u8]) -> Vec<u8> {
        zstd::encode_all(plain, ZSTD_LEVEL).unwrap()
    }

    fn cbor(value: &impl Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_block_that_unpacks_to_more_than_its_records_can_be_is_refused_and_the_part_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut zeros = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        std::io::copy(&mut std::io::repeat(0).take(8 << 30), &mut zeros).unwrap();
        let bomb = zeros.finish().unwrap();
        assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
        let sound = packed(&cbor(&[sample(0), sample(1)]));
        let part = with_blocks(dir.path(), &[vec![bomb], vec![sound; 300]].concat());
        let error = part.records(0).unwrap_err().to_string();
        assert!(error.contains("too large: it unpacks to more than 268435456 bytes"), "{error}");
        assert!(part.faults().unwrap().is_empty(), "its bytes are what was written");
        let faults = part.content_faults().unwrap();
        assert!(faults.iter().any(|(block, _)| *block == 0), "{faults:?}");
    }

    #[test]
    fn a_record_is_no_larger_than_its_configuration_allows_whatever_its_hash() {
        let dir = tempfile::tempdir().unwrap();
        // Nine million nulls where twenty steps were recorded three times.
        let mut long = sample(0);
        long.curves.series.insert("loss".into(), vec![None; 9 << 20]);
        let part = with_blocks(dir.path(), &[packed(&cbor(&[&long, &sample(1)]))]);
        let error = part.records(0).unwrap_err().to_string();
        assert!(error.contains("too large: a record has 94"), "{error}");
        assert!(part.decoded(0, false).is_ok(), "it is the judge that refuses it");
    }

    #[test]
    fn what_is_no_list_of_the_listed_records_is_unreadable_whatever_its_hash() {
        let dir = tempfile::tempdir().unwrap();
        let both = cbor(&[sample(0), sample(1)]);
        let cases = [
            (vec![0x9f, 0xff], "cannot be told apart"),
            (vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "cannot be told apart"),
            (vec![0x81; 5000], "cannot be told apart"),
            (both[..both.len() - 1].to_vec(), "cannot be told apart"),
            (cbor(&[1, 2]), "no configuration"),
            (cbor(&[sample(0)]), "not those the index lists"),
            (cbor(&[sample(1), sample(0)]), "not those the index lists"),
            (cbor(&[sample(0), sample(2)]), "not those the index lists"),
            (
                cbor(&[sample(0), CellRecord { status: RecordedStatus::Failed, ..sample(1) }]),
                "not those the index lists",
            ),
            (cbor(&[sample(0), CellRecord { class: "n1 wgpu".into(), ..sample(1) }]), "another class"),
            (cbor(&[sample(0), CellRecord { steps: 3, ..sample(1) }]), "cannot be: it is ok after 3 steps of 20"),
        ];
        for (plain, words) in cases {
            let part = with_blocks(dir.path(), &[packed(&plain)]);
            let error = part.records(0).unwrap_err();
            assert!(matches!(&error, StoreError::Damaged { reason, .. } if reason.contains(words)), "{words}: {error}");
            assert!(part.faults().unwrap().is_empty(), "{words}");
            assert_eq!(part.content_faults().unwrap().len(), 1, "{words}");
            assert!(part.judged_block(0).is_err(), "{words}");
        }
        let mut unlisted = sample(1);
        unlisted.metrics.insert("of_another_version".into(), super::super::RecordedMetric::Value(1.0));
        let error =
            with_blocks(dir.path(), &[packed(&cbor(&[sample(0), unlisted]))]).records(0).unwrap_err().to_string();
        assert!(error.contains("does not list all that it has"), "{error}");
    }

    #[test]
    fn an_index_that_no_program_writes_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let cell = CellEntry::of(&sample(0));
        let block =
            |cells: usize, bytes: u64| BlockEntry { bytes, blake3: "00".repeat(32), cells: vec![cell.clone(); cells] };
        let index = |blocks| Index { sweep: "s".into(), class: "c".into(), columns: Columns::default(), blocks };
        assert_eq!(index(vec![block(64, 1), block(1, MOST_BLOCK_BYTES)]).fault(), None);
        for blocks in [vec![block(0, 1)], vec![block(1, 1), block(65, 1)], vec![block(1, MOST_BLOCK_BYTES + 1)]] {
            assert!(index(blocks).fault().is_some());
        }
        let names = (0..=MOST_COLUMNS).map(|n| n.to_string()).collect();
        let columns = Columns { metrics: names, ..Columns::default() };
        assert!(Index { columns, ..index(Vec::new()) }.fault().is_some());
        // A length that only a sparse file has.
        let path = with_header(dir.path(), |header| header["index_bytes"] = (1u64 << 40).into());
        std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 41).unwrap();
        let error = Part::open(&path).unwrap_err().to_string();
        assert!(error.contains("more than any that can be read"), "{error}");
    }

    #[test]
    fn large_records_make_blocks_of_their_own_and_too_large_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let large = |n: u64| {
            let mut record = sample(n);
            record.curves.series.insert("loss".into(), vec![Some(0.1 + n as f64); FULL_BLOCK_BYTES / 9]);
            record
        };
        let records: Vec<CellRecord> = [sample(0), large(1), sample(2), sample(3)].into();
        let mut columns = Columns::default();
        let blocks = encode_blocks(&records, &mut columns, dir.path()).unwrap();
        let part = write_part(dir.path(), "smoke", "n1 flex x86_64", columns, &blocks).unwrap();
        let cells: Vec<usize> = part.index.blocks.iter().map(|block| block.cells.len()).collect();
        assert_eq!(cells, [2, 2]);
        assert_eq!([part.records(0).unwrap(), part.records(1).unwrap()].concat(), records);
        let mut huge = sample(5);
        huge.reason = "x".repeat(MOST_RECORD_BYTES as usize);
        let error = encode_blocks(&[huge], &mut Columns::default(), dir.path()).unwrap_err();
        assert!(matches!(&error, StoreError::BadRecord { reason, .. } if reason.contains("at most")), "{error}");
    }

    #[test]
    fn parameter_types_widen_where_cells_differ() {
        let kind = |a: &str, b: &str| {
            let parse = |text: &str| ScalarKind::of(&serde_json::from_str(text).unwrap()).unwrap();
            parse(a).union(parse(b))
        };
        assert_eq!(kind("1", "2"), ScalarKind::Int);
        assert_eq!(kind("1", "2.5"), ScalarKind::Float);
        assert_eq!(kind("true", "1"), ScalarKind::Text);
        assert_eq!(kind("18446744073709551615", "1"), ScalarKind::Float);
    }
}
