//! Records in the order of the plan, from parts that hold them in the order in which they finished.
//!
//! The two orders can be as different as rows and columns: packs go through the plan seed by seed. Reading the plan in
//! portions would then decode every block again for every portion. So blocks whose cells lie in several portions are
//! first taken apart, record by record, into a temporary file with one heap per portion. Every block is decompressed
//! once and every record decoded once, whatever the orders, with one portion in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::error::StoreError;
use super::part::{Part, elements};
use super::reader::RunReader;
use super::record::CellRecord;

/// Bytes that wait in memory for the temporary file, all portions together.
const WAITING_BYTES: usize = 16 << 20;

/// zstd's fastest ordinary level: the temporary file is read once, by the process that wrote it.
const ZSTD_LEVEL: i32 = 1;

/// What receives the records of a portion.
type Take<'a> = &'a mut dyn FnMut(Vec<CellRecord>) -> Result<(), StoreError>;

/// Hands the records of `ids`, all of which are finished, to `take` in this order, `portion_cells` at a time.
///
/// # Errors
/// Those of `take`; [`StoreError::Damaged`] for a damaged block; [`StoreError::Io`] when a part cannot be read or the
/// temporary file in `dir` not be written.
pub(super) fn in_order(
    reader: &RunReader,
    dir: &Path,
    ids: &[&str],
    portion_cells: usize,
    take: Take<'_>,
) -> Result<(), StoreError> {
    let portions = ids.len().div_ceil(portion_cells);
    let portion_of = |position: u32| position as usize / portion_cells;
    let mut whole: Vec<Vec<Block>> = (0..portions).map(|_| Vec::new()).collect();
    let mut heaps = Heaps::new(dir, portions);
    for block in blocks(reader, ids) {
        let mut places = block.wanted.iter().map(|wanted| portion_of(wanted.position));
        let Some(first) = places.next() else { continue };
        if places.all(|portion| portion == first) {
            whole[first].push(block);
            continue;
        }
        let plain = block.part.judged_block(block.number)?;
        let records = elements(&plain).ok_or_else(|| block.damaged("its records cannot be told apart"))?;
        for wanted in &block.wanted {
            let bytes = records.get(wanted.slot as usize).ok_or_else(|| block.damaged("it lacks a record"))?;
            heaps.add(portion_of(wanted.position), wanted.position, bytes)?;
        }
    }
    for (portion, blocks) in whole.into_iter().enumerate() {
        let start = portion * portion_cells;
        let mut found: Vec<Option<CellRecord>> = vec![None; portion_cells.min(ids.len() - start)];
        let mut put = |position: u32, record: CellRecord| {
            let place = found.get_mut(position as usize - start);
            // The index says where a record lies; that it lies there is checked for whole blocks, and here for others.
            if let Some(place) = place.filter(|_| ids.get(position as usize) == Some(&record.cell_id.as_str())) {
                *place = Some(record);
            }
        };
        for block in blocks {
            let mut records: Vec<Option<CellRecord>> =
                block.part.records(block.number)?.into_iter().map(Some).collect();
            for wanted in &block.wanted {
                if let Some(record) = records.get_mut(wanted.slot as usize).and_then(Option::take) {
                    put(wanted.position, record);
                }
            }
        }
        heaps.take(portion, &mut put)?;
        let lost = found.iter().position(Option::is_none);
        if let Some(lost) = lost {
            let reason = format!("the record of cell {} is not where the index says", ids[start + lost]);
            return Err(StoreError::damaged(reader.dir(), reason));
        }
        take(found.into_iter().flatten().collect())?;
    }
    Ok(())
}

/// A block of which some records are wanted.
struct Block<'a> {
    part: &'a Part,
    number: usize,
    wanted: Vec<Wanted>,
}

/// A record of a block, and its place among those that are wanted.
struct Wanted {
    position: u32,
    slot: u32,
}

impl Block<'_> {
    fn damaged(&self, reason: &str) -> StoreError {
        StoreError::damaged(&self.part.path, format!("block {} is unreadable: {reason}", self.number))
    }
}

/// The blocks that hold the records of `ids`, in the order in which they lie on disk.
fn blocks<'a>(reader: &'a RunReader, ids: &[&str]) -> Vec<Block<'a>> {
    let mut wanted: BTreeMap<(u32, usize), Vec<Wanted>> = BTreeMap::new();
    for (position, id) in (0u32..).zip(ids) {
        if let Some((part, block, slot)) = reader.place(id) {
            wanted.entry((part, block)).or_default().push(Wanted { position, slot: slot as u32 });
        }
    }
    let block = |((part, number), wanted)| Some(Block { part: reader.parts.get(&part)?, number, wanted });
    wanted.into_iter().filter_map(block).collect()
}

/// Encoded records in a temporary file, apart by portion.
struct Heaps<'a> {
    dir: &'a Path,
    file: Option<File>,
    end: u64,
    /// Per portion, what waits to be written.
    waiting: Vec<Vec<u8>>,
    waiting_bytes: usize,
    /// Per portion, offset and length of what was written.
    written: Vec<Vec<(u64, usize)>>,
}

impl<'a> Heaps<'a> {
    fn new(dir: &'a Path, portions: usize) -> Self {
        let empty = || (0..portions).map(|_| Vec::new()).collect();
        let written = (0..portions).map(|_| Vec::new()).collect();
        Self { dir, file: None, end: 0, waiting: empty(), waiting_bytes: 0, written }
    }

    fn add(&mut self, portion: usize, position: u32, record: &[u8]) -> Result<(), StoreError> {
        let heap = &mut self.waiting[portion];
        heap.extend(position.to_le_bytes());
        heap.extend((record.len() as u32).to_le_bytes());
        heap.extend(record);
        self.waiting_bytes += record.len();
        if self.waiting_bytes > WAITING_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let error = || StoreError::io("write a temporary file in", self.dir);
        let file = match &mut self.file {
            Some(file) => file,
            // It has no name, so nothing is left of it however the process ends.
            none => none.insert(tempfile::tempfile_in(self.dir).map_err(error())?),
        };
        for (heap, written) in self.waiting.iter_mut().zip(&mut self.written) {
            if heap.is_empty() {
                continue;
            }
            let packed = zstd::encode_all(heap.as_slice(), ZSTD_LEVEL).map_err(error())?;
            file.write_all(&packed).map_err(error())?;
            written.push((self.end, packed.len()));
            self.end += packed.len() as u64;
            // What a portion collects comes and goes in bursts: cleared, every heap would keep the room of its largest.
            *heap = Vec::new();
        }
        self.waiting_bytes = 0;
        Ok(())
    }

    /// Hands the records of a portion to `put`.
    fn take(&mut self, portion: usize, put: &mut dyn FnMut(u32, CellRecord)) -> Result<(), StoreError> {
        let error = || StoreError::io("read a temporary file in", self.dir);
        for (offset, length) in std::mem::take(&mut self.written[portion]) {
            let Some(file) = &mut self.file else { continue };
            let mut packed = vec![0; length];
            file.seek(SeekFrom::Start(offset)).map_err(error())?;
            file.read_exact(&mut packed).map_err(error())?;
            let heap = zstd::decode_all(packed.as_slice()).map_err(error())?;
            self.decode(&heap, put)?;
        }
        let waiting = std::mem::take(&mut self.waiting[portion]);
        self.decode(&waiting, put)
    }

    fn decode(&self, mut heap: &[u8], put: &mut dyn FnMut(u32, CellRecord)) -> Result<(), StoreError> {
        let unreadable = |reason: String| StoreError::damaged(self.dir, format!("a record is unreadable: {reason}"));
        let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        while let Some((head, rest)) = heap.split_at_checked(8) {
            let (position, length) = (number(&head[..4]), number(&head[4..]) as usize);
            let (record, rest) =
                rest.split_at_checked(length).ok_or_else(|| unreadable("it is cut off".to_string()))?;
            put(position, ciborium::from_reader(record).map_err(|e| unreadable(e.to_string()))?);
            heap = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::tests::sample;
    use crate::store::{Identity, RunDir};

    /// A run whose cells finished column by column of a plan with `rows` rows.
    fn transposed(dir: &Path, rows: u64, columns: u64) -> (RunDir, Vec<String>) {
        let cell_ids: Vec<String> = (0..rows * columns).map(|n| sample(n).cell_id).collect();
        let identity =
            Identity { sweep: "s".into(), class: sample(0).class, cell_ids: cell_ids.clone(), ..Identity::default() };
        let (mut run, _) = RunDir::open(dir, &identity).unwrap();
        for column in 0..columns {
            let records: Vec<CellRecord> = (0..rows).map(|row| sample(row * columns + column)).collect();
            run.append(&records).unwrap();
        }
        (run, cell_ids)
    }

    #[test]
    fn records_come_in_order_in_portions_of_any_size() {
        let dir = tempfile::tempdir().unwrap();
        let (rows, columns) = (70, 5);
        let (run, cell_ids) = transposed(dir.path(), rows, columns);
        let files = || std::fs::read_dir(dir.path()).unwrap().count();
        let before = files();
        let ids: Vec<&str> = cell_ids.iter().map(String::as_str).collect();
        for portion in [1, 7, 64, 350, 1000] {
            let mut found = Vec::new();
            in_order(run.reader(), dir.path(), &ids, portion, &mut |records| {
                assert!(records.len() == portion || found.len() + records.len() == ids.len());
                found.extend(records);
                assert_eq!(files(), before, "the temporary file has no name");
                Ok(())
            })
            .unwrap();
            assert!(found.into_iter().eq((0..rows * columns).map(sample)), "portions of {portion}");
        }
        in_order(run.reader(), dir.path(), &[], 7, &mut |_| panic!("there is nothing")).unwrap();
    }

    #[test]
    fn heaps_that_outgrow_memory_are_read_back_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut heaps = Heaps::new(dir.path(), 2);
        for n in 0..6 {
            let mut bytes = Vec::new();
            ciborium::into_writer(&sample(n), &mut bytes).unwrap();
            heaps.add(n as usize % 2, n as u32, &bytes).unwrap();
            if n == 1 || n == 3 {
                heaps.flush().unwrap();
            }
        }
        for portion in [1, 0] {
            let mut found = Vec::new();
            heaps.take(portion, &mut |position, record| found.push((u64::from(position), record))).unwrap();
            let expected = [0, 2, 4].map(|n| n + portion as u64).map(|n| (n, sample(n)));
            assert_eq!(found, expected);
        }
    }
}
