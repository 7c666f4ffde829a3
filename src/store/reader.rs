//! Looking at a run: which cells are finished, and their records. Needs no lock, so it works on a live run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::bundle::unpacked;
use super::cell_tree::CellTree;
use super::error::StoreError;
use super::id::Id;
use super::manifest::RunManifest;
use super::part::{Columns, Part, TOO_LARGE, has_part_name};
use super::place::{Holds, holds};
use super::plain::is_folder;
use super::record::{CellRecord, RecordedStatus};
use crate::engine::Status;

/// Where the parts of a run lie.
pub(crate) const PARTS: &str = "parts";

/// How often a directory is read again because its owner merged parts under the reader's eyes. A merge happens once
/// per many packs, so a second collision in a row is already rare.
const ATTEMPTS: usize = 5;

/// The finished cells of a run directory, as of when it was opened.
#[derive(Debug)]
pub struct RunReader {
    dir: PathBuf,
    pub(crate) parts: BTreeMap<u32, Part>,
    next_part: u32,
    cells: HashMap<u128, Place>,
    damaged: Vec<NamedFault>,
}

/// Where a record lies. One is in memory per finished cell, so it is small.
#[derive(Clone, Copy, Debug)]
struct Place {
    part: u32,
    block: u32,
    slot: u32,
    status: RecordedStatus,
}

fn key(cell_id: &str) -> u128 {
    Id::from(cell_id).key()
}

impl RunReader {
    /// Reads the indexes of the parts of `dir`. Damaged parts are left where they are and reported by
    /// [`damaged`](Self::damaged).
    ///
    /// # Errors
    /// [`StoreError::Foreign`] when `dir` is somebody else's, [`StoreError::NoRun`] when it has no `parts/`,
    /// [`StoreError::NoParts`] for an unpacked bundle without them,
    /// [`StoreError::Newer`] for a newer program's part.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        if let Holds::Other(found) = holds(dir)? {
            return Err(StoreError::Foreign { dir: dir.to_path_buf(), found });
        }
        if !Self::is_run(dir) {
            let dir = dir.to_path_buf();
            return Err(match unpacked(&dir) {
                Some(_) => StoreError::NoParts { dir },
                None => StoreError::NoRun { dir },
            });
        }
        retry_while_merged(|| {
            let mut reader = Self::empty(dir);
            for path in list_parts(&dir.join(PARTS))? {
                match Part::open(&path) {
                    Ok(part) => reader.add(part),
                    Err(StoreError::Damaged { path, reason }) => reader.damaged.push((name_of(&path), reason)),
                    Err(other) => return Err(other),
                }
            }
            Ok(reader)
        })
    }

    /// Whether `dir` holds, or held, parts.
    pub fn is_run(dir: &Path) -> bool {
        is_folder(&dir.join(PARTS))
    }

    pub(crate) fn empty(dir: &Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
            parts: BTreeMap::new(),
            next_part: 0,
            cells: HashMap::new(),
            damaged: Vec::new(),
        }
    }

    /// Adds an open part. Of two records of one cell with the same status the last counts; any result replaces a failure, and no
    /// other result.
    pub(crate) fn add(&mut self, part: Part) {
        let number = self.next_part;
        self.next_part += 1;
        for (block, entry) in part.index.blocks.iter().enumerate() {
            for (slot, cell) in entry.cells.iter().enumerate() {
                let place = Place { part: number, block: block as u32, slot: slot as u32, status: cell.status };
                let key = cell.cell_id.key();
                let known = self.cells.get(&key);
                // A part that merges others takes over their cells: the files it came from are about to go.
                if known.is_none_or(|known| known.status == RecordedStatus::Failed || known.status == place.status) {
                    self.cells.insert(key, place);
                }
            }
        }
        self.parts.insert(number, part);
    }

    /// Lists the cells of the open parts anew, where some went.
    pub(crate) fn list_again(&mut self) {
        self.cells.clear();
        std::mem::take(&mut self.parts).into_values().for_each(|part| self.add(part));
    }

    /// The run directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Number of finished cells.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// True when no cell is finished.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// How the cell with this id ended; `None` when it is not finished.
    pub fn status(&self, cell_id: &str) -> Option<Status> {
        self.cells.get(&key(cell_id)).map(|place| place.status.into())
    }

    /// Whether the cell needs no more work: it has a result. A failed cell is tried again.
    pub fn is_finished(&self, cell_id: &str) -> bool {
        self.status(cell_id).is_some_and(|status| status != Status::Failed)
    }

    /// Part, block and slot of a record.
    pub(super) fn place(&self, cell_id: &str) -> Option<(u32, usize, usize)> {
        self.cells.get(&key(cell_id)).map(|place| (place.part, place.block as usize, place.slot as usize))
    }

    /// Every recorded cell, in no particular order.
    pub fn cells(&self) -> impl Iterator<Item = (String, Status)> {
        self.cells.values().filter_map(|place| Some((self.id_at(place)?, place.status.into())))
    }

    fn id_at(&self, place: &Place) -> Option<String> {
        let block = self.parts.get(&place.part)?.index.blocks.get(place.block as usize)?;
        block.cells.get(place.slot as usize).map(|cell| cell.cell_id.to_string())
    }

    /// Finished cells by the name of their status; every status is there, zero included.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        use RecordedStatus::{Collapsed, Diverged, Failed, Ok};
        let mut counts: BTreeMap<String, u64> =
            [Ok, Collapsed, Diverged, Failed].map(|status| (status.name().to_string(), 0)).into();
        for place in self.cells.values() {
            *counts.entry(place.status.name().to_string()).or_default() += 1;
        }
        counts
    }

    /// The class of the finished cells; `None` when there are none.
    pub fn class(&self) -> Option<&str> {
        self.parts.values().next().map(|part| part.index.class.as_str())
    }

    /// The name of the sweep; `None` when no cell is finished.
    pub fn sweep(&self) -> Option<&str> {
        self.parts.values().next().map(|part| part.index.sweep.as_str())
    }

    /// Parts whose header or index is damaged: name and reason. A part's blocks are checked when they are read.
    pub fn damaged(&self) -> &[NamedFault] {
        &self.damaged
    }

    /// What a look without reading blocks shows to be damaged: headers, indexes and lengths; name and reason.
    pub fn visible_damage(&self) -> Result<Vec<NamedFault>, StoreError> {
        let mut damage = self.damaged.clone();
        for part in self.parts.values() {
            damage.extend(part.wrong_length()?.map(|fault| (name_of(&part.path), fault)));
        }
        Ok(damage)
    }

    /// What is wrong with the parts that `vouched` does not vouch for by their names: every record of them is read.
    pub fn unvouched_damage(&self, vouched: impl Fn(&str) -> bool) -> Result<Vec<NamedFault>, StoreError> {
        let mut damage = Vec::new();
        for part in self.parts.values().filter(|part| !vouched(&name_of(&part.path))) {
            let faults = part.content_faults()?;
            damage.extend(faults.into_iter().map(|(_, reason)| (name_of(&part.path), reason)));
        }
        Ok(damage)
    }

    /// The columns that the finished cells need in tables.
    pub fn columns(&self) -> Columns {
        let mut columns = Columns::default();
        self.parts.values().for_each(|part| columns.merge(&part.index.columns));
        columns
    }

    /// The run manifest; `None` when there is none yet.
    pub fn manifest(&self) -> Result<Option<RunManifest>, StoreError> {
        RunManifest::read(&self.dir)
    }

    /// The record of the cell whose id is, or uniquely begins with, `prefix`.
    ///
    /// # Errors
    /// [`StoreError::NoSuchCell`], [`StoreError::AmbiguousCell`], or what reading the part met.
    pub fn record(&self, prefix: &str) -> Result<CellRecord, StoreError> {
        let id = match self.status(prefix) {
            Some(_) => prefix.to_string(),
            None => one_beginning_with(&self.dir, prefix, self.cells().map(|(id, _)| id))?,
        };
        let no_such = || StoreError::NoSuchCell { dir: self.dir.clone(), prefix: prefix.to_string() };
        self.records(std::slice::from_ref(&id))?.pop().ok_or_else(no_such)
    }

    /// The records of those of `ids` that are finished, in the order of `ids`. All of them are in memory at once.
    pub fn records<S: AsRef<str>>(&self, ids: &[S]) -> Result<Vec<CellRecord>, StoreError> {
        match self.records_once(ids) {
            Err(error) if error.is_not_found() => retry_while_merged(|| Self::open(&self.dir)?.records_once(ids)),
            result => result,
        }
    }

    /// Every cell whose record can be read, and the parts that are damaged. Every block is read and decoded, one at a
    /// time.
    pub fn sound_cells(&self) -> Result<SoundCells, StoreError> {
        match self.sound_cells_once() {
            Err(error) if error.is_not_found() => retry_while_merged(|| Self::open(&self.dir)?.sound_cells_once()),
            result => result,
        }
    }

    fn sound_cells_once(&self) -> Result<SoundCells, StoreError> {
        let mut sound = SoundCells { faults: self.damaged.clone(), ..SoundCells::default() };
        for (number, part) in &self.parts {
            let faults = part.faults()?;
            let altered: Vec<usize> = faults.iter().filter_map(|(block, _)| *block).collect();
            sound.faults.extend(faults.into_iter().map(|(_, reason)| (name_of(&part.path), reason)));
            for block in (0..part.index.blocks.len()).filter(|block| !altered.contains(block)) {
                let mut records = match part.records(block) {
                    Ok(records) => records,
                    Err(StoreError::Damaged { reason, .. }) => {
                        let too_large = reason.contains(TOO_LARGE);
                        sound.faults.push((name_of(&part.path), reason));
                        // One is enough: a thousand of them take hours.
                        if too_large { break } else { continue }
                    }
                    Err(other) => return Err(other),
                };
                let mut slots = 0..;
                records.retain(|record| self.place(&record.cell_id) == slots.next().map(|slot| (*number, block, slot)));
                sound.tree.add(&records);
                let reused = records.iter().filter(|record| record.reused_from.is_some());
                sound.reused.extend(reused.map(|record| record.cell_id.clone()));
                sound.cells.extend(records.into_iter().map(|record| (record.cell_id, record.status.into())));
            }
        }
        Ok(sound)
    }

    /// As [`records`](Self::records), of the files that were there when it was opened.
    pub(super) fn records_once<S: AsRef<str>>(&self, ids: &[S]) -> Result<Vec<CellRecord>, StoreError> {
        // Each block is decoded once, whatever the order of the ids.
        let mut wanted: BTreeMap<(u32, usize), Vec<(usize, usize)>> = BTreeMap::new();
        for (position, id) in ids.iter().enumerate() {
            if let Some((part, block, slot)) = self.place(id.as_ref()) {
                wanted.entry((part, block)).or_default().push((position, slot));
            }
        }
        let mut found = Vec::with_capacity(ids.len());
        for ((number, block), places) in wanted {
            let Some(part) = self.parts.get(&number) else { continue };
            let mut records: Vec<Option<CellRecord>> = part.records(block)?.into_iter().map(Some).collect();
            for (position, slot) in places {
                // `Part::records` has checked that the block holds the cells that the index lists.
                if let Some(record) = records.get_mut(slot).and_then(Option::take) {
                    found.push((position, record));
                }
            }
        }
        found.sort_by_key(|(position, _)| *position);
        Ok(found.into_iter().map(|(_, record)| record).collect())
    }
}

/// The one of `ids` that is, or begins with, `prefix`.
///
/// # Errors
/// [`StoreError::NoSuchCell`], [`StoreError::AmbiguousCell`].
pub(super) fn one_beginning_with<S: AsRef<str>>(
    dir: &Path,
    prefix: &str,
    ids: impl Iterator<Item = S>,
) -> Result<String, StoreError> {
    let matches = ids.filter(|id| id.as_ref().starts_with(prefix)).map(|id| id.as_ref().to_string());
    let mut matches: Vec<String> = matches.collect();
    matches.sort();
    match matches.as_slice() {
        [] => Err(StoreError::NoSuchCell { dir: dir.to_path_buf(), prefix: prefix.to_string() }),
        [one] => Ok(one.clone()),
        [first, ..] if first == prefix => Ok(first.clone()),
        _ => Err(StoreError::AmbiguousCell { prefix: prefix.to_string(), matches }),
    }
}

/// The cells of a run whose records can be read.
#[derive(Clone, Debug, Default)]
pub struct SoundCells {
    /// By ascending id, how each ended.
    pub cells: BTreeMap<String, Status>,
    /// Those of them that were reused from another run.
    pub reused: BTreeSet<String>,
    pub tree: CellTree,
    /// Damaged parts: name and reason.
    pub faults: Vec<NamedFault>,
}

/// A damaged file: its name and what is wrong with it.
pub type NamedFault = (String, String);

/// Runs `read` again while files vanish that were just listed.
fn retry_while_merged<T>(read: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let mut result = read();
    for _ in 1..ATTEMPTS {
        match &result {
            Err(error) if error.is_not_found() => result = read(),
            _ => break,
        }
    }
    result
}

/// The paths of the parts in `parts_dir`, sorted by name.
pub(crate) fn list_parts(parts_dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(parts_dir).map_err(StoreError::io("list", parts_dir))? {
        let path = entry.map_err(StoreError::io("list", parts_dir))?.path();
        if has_part_name(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The file name of `path`, for messages.
pub(crate) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
