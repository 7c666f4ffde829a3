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
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use super::atomic::Pending;
use super::error::StoreError;
use super::id::Id;
use super::own::start_of;
use super::plain::open_stored;
use super::record::{CellRecord, RECORD_VERSION, RecordedStatus};
use crate::spec::config::walk;

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
}

/// One block of a part to be written.
pub(crate) enum Source<'a> {
    New(Vec<u8>, BlockEntry),
    /// Block number `.1` of a part, copied as it is.
    Copy(&'a Part, usize),
}

/// Compresses records into blocks of [`BLOCK_CELLS`], adding what they need to `columns`.
pub(crate) fn encode_blocks<'a>(
    records: &[CellRecord],
    columns: &mut Columns,
    at: &Path,
) -> Result<Vec<Source<'a>>, StoreError> {
    let mut blocks = Vec::new();
    for chunk in records.chunks(BLOCK_CELLS) {
        let mut plain = Vec::new();
        ciborium::into_writer(chunk, &mut plain)
            .map_err(|e| StoreError::io("encode records for", at)(std::io::Error::other(e.to_string())))?;
        let bytes =
            zstd::encode_all(plain.as_slice(), ZSTD_LEVEL).map_err(StoreError::io("compress records for", at))?;
        let cells = chunk.iter().map(CellEntry::of).collect();
        chunk.iter().for_each(|record| columns.add(record));
        let entry = BlockEntry { bytes: bytes.len() as u64, blake3: blake3::hash(&bytes).to_hex().to_string(), cells };
        blocks.push(Source::New(bytes, entry));
    }
    Ok(blocks)
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

impl Part {
    fn new(path: PathBuf, index: Index, blocks_at: u64) -> Self {
        let mut offsets = vec![blocks_at];
        offsets.extend(index.blocks.iter().scan(blocks_at, |end, block| {
            *end = end.saturating_add(block.bytes);
            Some(*end)
        }));
        let cells = index.blocks.iter().map(|block| block.cells.len()).sum();
        Self { path, index, cells, offsets }
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
        let mut index_bytes = vec![0; header.index_bytes as usize];
        reader.read_exact(&mut index_bytes).map_err(StoreError::io("read", path))?;
        if blake3::hash(&index_bytes).to_hex().as_str() != header.blake3 {
            return Err(StoreError::damaged(path, "the index was altered: its checksum does not match"));
        }
        let index: Index = ciborium::from_reader(index_bytes.as_slice())
            .map_err(|e| StoreError::damaged(path, format!("the index is unreadable: {e}")))?;
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

    /// The records of block `number`.
    pub(crate) fn records(&self, number: usize) -> Result<Vec<CellRecord>, StoreError> {
        let unreadable = |e: String| self.unreadable(number, &e);
        let plain = self.plain_block(number)?;
        let records: Vec<CellRecord> =
            ciborium::from_reader(plain.as_slice()).map_err(|e| unreadable(e.to_string()))?;
        let listed = self.index.blocks.get(number).map(|block| block.cells.iter().map(|cell| cell.cell_id.clone()));
        if !listed.is_some_and(|ids| ids.eq(records.iter().map(|record| Id::from(record.cell_id.as_str())))) {
            return Err(unreadable("its cells are not those the index lists".into()));
        }
        Ok(records)
    }

    /// The records of block `number` as they were encoded: a CBOR array.
    pub(crate) fn plain_block(&self, number: usize) -> Result<Vec<u8>, StoreError> {
        let packed = self.block_bytes(number)?;
        zstd::decode_all(packed.as_slice()).map_err(|e| self.unreadable(number, &e.to_string()))
    }

    fn unreadable(&self, number: usize, reason: &str) -> StoreError {
        StoreError::damaged(&self.path, format!("block {number} is unreadable: {reason}"))
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
        let mut bytes = Vec::with_capacity(entry.bytes.min(there) as usize);
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
    use crate::store::record::tests::sample;

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
        // Before there were conditions.
        let expected = [0, 1, 2].map(|n| CellRecord { conditions: Vec::new(), ..sample(n) });
        assert_eq!(part.records(0).unwrap(), expected);
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
