//! Writing parts: records into blocks, blocks into a file that appears at once.

use std::io::Write;
use std::path::Path;

use super::{
    BLOCK_CELLS, BlockEntry, CellEntry, Columns, EXTENSION, FORMAT, FULL_BLOCK_BYTES, Header, Index, PART_VERSION,
    Part, ZSTD_LEVEL, name_of, too_large,
};
use crate::store::atomic::Pending;
use crate::store::cbor;
use crate::store::error::StoreError;
use crate::store::record::{CellRecord, RECORD_VERSION};

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
        // What could not be read again is not written.
        if let Some(reason) = plain.get(before..).and_then(too_large) {
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
