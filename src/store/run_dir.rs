//! One process's exclusive hold on a run directory: resuming, appending, merging.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

use super::atomic::{remove_leftovers, sync_directory};
use super::error::StoreError;
use super::id::Id;
use super::lock::{DirLock, LOCK_FILE};
use super::manifest::{MANIFEST_FILE, RunManifest, RunState};
use super::part::{BLOCK_CELLS, BlockEntry, Columns, Part, Source, encode_blocks, prepare_part, write_part};
use super::place::{Holds, mark, require_ours};
use super::reader::{PARTS, RunReader, list_parts, name_of};
use super::record::{CellRecord, Origin, RecordedStatus};
use super::reuse::Offer;
use super::seal::is_sealed_manifest;

mod identity;

pub use identity::{Identity, Levels};

/// Where damaged parts are put, below `parts/`. Nothing there is ever read or removed.
const DAMAGED: &str = "damaged";

/// Parts of one size level that are merged into one of the next. Levels grow by the same factor, so a record is
/// rewritten at most once per level: five times in a run of a million cells, which has then at most 90 parts.
const FANOUT: usize = 16;

/// A block of this size is not packed again with others, however few its records are.
const LARGE_BLOCK_BYTES: u64 = 1 << 20;

/// What was in the directory when it was opened.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Files that were damaged; their originals are in `parts/damaged/`.
    pub damaged: Vec<Damaged>,
}

/// One damaged file that was moved aside.
#[derive(Clone, Debug, PartialEq)]
pub struct Damaged {
    pub name: String,
    pub reason: String,
    /// Cells whose records are lost, and will be computed again; `None` when the file cannot say.
    pub lost: Option<usize>,
    /// Cells whose records were intact and are kept.
    pub kept: usize,
}

/// A run directory held by this process.
#[derive(Debug)]
pub struct RunDir {
    reader: RunReader,
    sweep: String,
    class: String,
    damage: Unmended,
    _lock: DirLock,
}

/// What was found to be damaged and lies where it was found.
#[derive(Debug, Default)]
struct Unmended {
    manifest: Option<String>,
    /// Parts whose header or index cannot be read.
    broken: Broken,
    /// Parts with blocks that were altered.
    parts: Vec<(Part, BlockFaults)>,
}

impl RunDir {
    /// [Holds](Self::hold) `dir` for a run of `identity`, [mends](Self::mend) it, and says what is already there.
    ///
    /// # Errors
    /// Those of both.
    pub fn open(dir: &Path, identity: &Identity) -> Result<(Self, Found), StoreError> {
        let mut run = Self::hold(dir, identity)?;
        let found = run.mend()?;
        Ok((run, found))
    }

    /// Holds `dir` for a run of `identity`, creating it when missing.
    ///
    /// A plan that has grown since is accepted. What belongs to the run is left as it is, damaged or not; files that a
    /// killed process left unfinished are removed. A directory that is refused is left as it is.
    ///
    /// # Errors
    /// Refused: a directory in use ([`StoreError::Locked`]), one that is not a run ([`StoreError::NotOurs`]) or has links or
    /// pipes in it ([`StoreError::NotPlain`]), another sweep ([`StoreError::OtherSweep`]), another class ([`StoreError::OtherClass`]), cells that the plan lacks
    /// ([`StoreError::OtherPlan`]), a newer program's files ([`StoreError::Newer`]). A part that cannot be read for
    /// want of permission or a failing disk is [`StoreError::Io`]: it may be whole, so it is not given up.
    pub fn hold(dir: &Path, identity: &Identity) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
        let begun = require_ours(dir, &Holds::Run)?;
        let parts_dir = dir.join(PARTS);
        if !dir.join(LOCK_FILE).exists() && parts_dir.is_dir() {
            // Nobody is at work here, and a directory that is refused gets not even a lock file.
            check_manifest(dir, identity)?;
            refuse_other_plan(dir, identity, &open_parts(&parts_dir)?.0)?;
        }
        if !begun {
            // Before anything else, so that a kill leaves nothing that is not known again.
            mark(dir, &Holds::Run)?;
        }
        let lock = DirLock::acquire(dir)?;
        let manifest = check_manifest(dir, identity)?;
        fs::create_dir_all(&parts_dir).map_err(StoreError::io("create", &parts_dir))?;
        let (parts, broken) = open_parts(&parts_dir)?;
        refuse_other_plan(dir, identity, &parts)?;

        // From here on the directory is ours.
        remove_leftovers(dir)?;
        remove_leftovers(&parts_dir)?;
        let (mut reader, mut damage) = (RunReader::empty(dir), Unmended { manifest, broken, parts: Vec::new() });
        for part in parts {
            let faults = part.faults()?;
            if faults.is_empty() { reader.add(part) } else { damage.parts.push((part, faults)) }
        }
        Ok(Self { reader, sweep: identity.sweep.clone(), class: identity.class.clone(), damage, _lock: lock })
    }

    /// Whether something of it is damaged and was not [mended](Self::mend).
    pub fn is_damaged(&self) -> bool {
        let Unmended { manifest, broken, parts } = &self.damage;
        manifest.is_some() || !broken.is_empty() || !parts.is_empty()
    }

    /// Whether its manifest cannot be read, or is not the one that was sealed.
    pub fn has_damaged_manifest(&self) -> bool {
        self.damage.manifest.is_some()
    }

    /// Moves damaged files to `parts/damaged/`, and keeps the intact records of damaged parts; then packs parts
    /// together where there are many. Until then the cells of damaged parts count as not finished.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn mend(&mut self) -> Result<Found, StoreError> {
        let mut found = Found { damaged: self.set_manifest_aside()?.into_iter().collect() };
        let parts_dir = self.dir().join(PARTS);
        let Unmended { broken, parts, .. } = std::mem::take(&mut self.damage);
        for (path, reason) in broken {
            set_aside(&parts_dir, &path)?;
            found.damaged.push(Damaged { name: name_of(&path), reason, lost: None, kept: 0 });
        }
        for (part, faults) in parts {
            let (damage, kept) = salvage(&parts_dir, part, &faults)?;
            found.damaged.push(damage);
            kept.into_iter().for_each(|part| self.reader.add(part));
        }
        self.drop_redundant()?;
        self.merge_full_levels()?;
        Ok(found)
    }

    /// Moves a damaged manifest to `parts/damaged/`, so that another can be written.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn set_manifest_aside(&mut self) -> Result<Option<Damaged>, StoreError> {
        let Some(reason) = self.damage.manifest.take() else { return Ok(None) };
        set_aside(&self.dir().join(PARTS), &self.dir().join(MANIFEST_FILE))?;
        Ok(Some(Damaged { name: MANIFEST_FILE.into(), reason, lost: Some(0), kept: 0 }))
    }

    /// The run directory.
    pub fn dir(&self) -> &Path {
        self.reader.dir()
    }

    /// What is finished, including what this process appended.
    pub fn reader(&self) -> &RunReader {
        &self.reader
    }

    /// Records finished cells: when this returns they survive a kill and a power cut. One call makes one part.
    ///
    /// # Errors
    /// [`StoreError::OtherClass`] or [`StoreError::BadRecord`] for a record that does not belong or is not sound,
    /// [`StoreError::Io`] when they cannot be written; then none of `records` is there, and all before is. An error while
    /// merging older parts is returned too; then `records` are there.
    pub fn append(&mut self, records: &[CellRecord]) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        for record in records {
            record.check()?;
            if record.class != self.class {
                return Err(StoreError::OtherClass {
                    dir: self.dir().to_path_buf(),
                    found: self.class.clone(),
                    wanted: record.class.clone(),
                });
            }
        }
        let parts_dir = self.dir().join(PARTS);
        let mut columns = Columns::default();
        let blocks = encode_blocks(records, &mut columns, &parts_dir)?;
        let part = write_part(&parts_dir, &self.sweep, &self.class, columns, &blocks)?;
        self.reader.add(part);
        self.merge_full_levels()
    }

    /// Takes over the cells of an offer that are not finished here. What cannot be read of it any more is skipped and
    /// returned, with how many came.
    ///
    /// # Errors
    /// What appending meets.
    pub fn take_over(&mut self, offer: &Offer) -> Result<(usize, Vec<(PathBuf, String)>), StoreError> {
        // Records come block by block; gathering some blocks first makes fewer, larger parts.
        let (mut pending, mut taken): (Vec<CellRecord>, usize) = (Vec::new(), 0);
        let skipped = offer.each_block(&mut |mut records| {
            records.retain(|record| !self.reader.is_finished(&record.cell_id));
            taken += records.len();
            pending.extend(records);
            if pending.len() >= FANOUT * BLOCK_CELLS {
                self.append(&std::mem::take(&mut pending))?;
            }
            Ok(())
        })?;
        self.append(&pending)?;
        Ok((taken, skipped))
    }

    /// Reads every record, and sets aside the parts that have some that cannot be read, or cannot be of the cells that they
    /// name, though their bytes are what was written. Their other blocks are kept.
    ///
    /// # Errors
    /// [`StoreError::Io`] for what cannot be read, or for want of memory: the part may be whole, so it is not given up.
    pub fn set_aside_unbelievable(&mut self) -> Result<Vec<Damaged>, StoreError> {
        let mut faulty = Vec::new();
        for (number, part) in &self.reader.parts {
            let faults = part.content_faults()?;
            if !faults.is_empty() {
                faulty.push((*number, faults.into_iter().map(|(block, reason)| (Some(block), reason)).collect()));
            }
        }
        let mut damaged = Vec::new();
        for (number, faults) in faulty {
            let faults: BlockFaults = faults;
            let Some(part) = self.reader.parts.remove(&number) else { continue };
            let (damage, kept) = salvage(&self.dir().join(PARTS), part, &faults)?;
            damaged.push(damage);
            kept.into_iter().for_each(|part| self.reader.add(part));
        }
        if !damaged.is_empty() {
            self.reader.list_again();
        }
        Ok(damaged)
    }

    /// Gives up the cells that were taken over, at whatever time, from a run whose records came out differently; how
    /// many. The parts that had them are set aside.
    ///
    /// # Errors
    /// [`StoreError::Io`]; every cell is then there or in a part that was set aside.
    pub fn give_up(&mut self, origin: &Origin) -> Result<usize, StoreError> {
        let parts_dir = self.dir().join(PARTS);
        let foreign = |record: &CellRecord| record.reused_from.as_ref().is_some_and(|from| from.is_of_run(origin));
        let mut given_up = 0;
        for number in self.reader.parts.keys().copied().collect::<Vec<_>>() {
            let Some(part) = self.reader.parts.get(&number).cloned() else { continue };
            let (mut columns, mut whole, mut rest, before) = (Columns::default(), Vec::new(), Vec::new(), given_up);
            for block in 0..part.index.blocks.len() {
                let records = part.records(block)?;
                let (own, theirs): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| !foreign(record));
                given_up += theirs.len();
                if theirs.is_empty() { whole.push(block) } else { rest.extend(own) }
            }
            if given_up == before {
                continue;
            }
            columns.merge(&part.index.columns);
            let mut blocks: Vec<Source> = whole.into_iter().map(|block| Source::Copy(&part, block)).collect();
            blocks.extend(encode_blocks(&rest, &mut columns, &parts_dir)?);
            let kept = match blocks.is_empty() {
                true => None,
                false => Some(write_part(&parts_dir, &self.sweep, &self.class, columns, &blocks)?),
            };
            set_aside(&parts_dir, &part.path)?;
            self.reader.parts.remove(&number);
            kept.into_iter().for_each(|part| self.reader.add(part));
        }
        self.reader.list_again();
        Ok(given_up)
    }

    /// Merges the parts of a level once there are [`FANOUT`] of them, until no level is full.
    fn merge_full_levels(&mut self) -> Result<(), StoreError> {
        loop {
            let mut levels: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            for (number, part) in &self.reader.parts {
                levels.entry(part.cells.max(1).ilog(FANOUT)).or_default().push(*number);
            }
            let Some(full) = levels.into_values().find(|numbers| numbers.len() >= FANOUT) else { return Ok(()) };
            match self.merge(&full) {
                // A merge needs room for a copy; on a full disk the parts are as good unmerged, and the next append
                // says that the disk is full if it is.
                Err(error) if error.is_disk_full() => return Ok(()),
                result => result?,
            }
        }
    }

    /// Writes the parts `numbers` as one and then removes them. Killed in between, the records are there twice, which
    /// is harmless; opening the directory removes the smaller copies.
    fn merge(&mut self, numbers: &[u32]) -> Result<(), StoreError> {
        let parts: Vec<&Part> = numbers.iter().filter_map(|number| self.reader.parts.get(number)).collect();
        let (mut columns, mut blocks, mut small) = (Columns::default(), Vec::new(), Vec::new());
        for part in &parts {
            columns.merge(&part.index.columns);
            for (number, entry) in part.index.blocks.iter().enumerate() {
                // Copying a block costs nothing but the copy; many tiny blocks would compress badly.
                if entry.cells.len() >= BLOCK_CELLS / 2 || entry.bytes >= LARGE_BLOCK_BYTES {
                    blocks.push(Source::Copy(part, number));
                    continue;
                }
                match part.records(number) {
                    Ok(records) => small.extend(records),
                    // Merging judges nobody: whoever reads the records meets it, and sets it aside.
                    Err(StoreError::Damaged { .. }) => blocks.push(Source::Copy(part, number)),
                    Err(other) => return Err(other),
                }
            }
        }
        let parts_dir = self.dir().join(PARTS);
        blocks.extend(encode_blocks(&small, &mut columns, &parts_dir)?);
        let merged = write_part(&parts_dir, &self.sweep, &self.class, columns, &blocks)?;
        self.reader.add(merged);
        self.remove(numbers)
    }

    /// Removes parts whose records are all in larger parts too, each the same: what a merge killed half-way left. Which
    /// cells a part has its index says, which anybody can have written; so the records are compared before one goes.
    fn drop_redundant(&mut self) -> Result<(), StoreError> {
        let mut by_size: Vec<(u32, &Part)> = self.reader.parts.iter().map(|(number, part)| (*number, part)).collect();
        by_size.sort_by_key(|(_, part)| std::cmp::Reverse(part.cells));
        let mut seen: HashMap<(&Id, RecordedStatus), At> = HashMap::new();
        let mut redundant = Vec::new();
        for (number, part) in by_size {
            let copies = |block: &BlockEntry| -> Option<Vec<At>> {
                block.cells.iter().map(|cell| seen.get(&(&cell.cell_id, cell.status)).copied()).collect()
            };
            let copies: Option<Vec<_>> = part.index.blocks.iter().map(copies).collect();
            if let Some(copies) = copies
                && self.are_there_too(part, &copies)?
            {
                redundant.push(number);
                continue;
            }
            for (block, entry) in part.index.blocks.iter().enumerate() {
                for (slot, cell) in entry.cells.iter().enumerate() {
                    seen.entry((&cell.cell_id, cell.status)).or_insert(At { part: number, block, slot });
                }
            }
        }
        if redundant.is_empty() {
            return Ok(());
        }
        let keep: Vec<Part> = self
            .reader
            .parts
            .iter()
            .filter(|(number, _)| !redundant.contains(number))
            .map(|(_, p)| p.clone())
            .collect();
        self.remove(&redundant)?;
        self.reader = RunReader::empty(self.dir());
        keep.into_iter().for_each(|part| self.reader.add(part));
        Ok(())
    }

    /// Whether every record of a part is the same as the one at its place in `copies`, which are listed block by block.
    /// One that cannot be read, or not be believed, is the same as nothing.
    fn are_there_too(&self, part: &Part, copies: &[Vec<At>]) -> Result<bool, StoreError> {
        let readable = |records: Result<Vec<CellRecord>, StoreError>| match records {
            Err(StoreError::Damaged { .. }) => Ok(None),
            records => records.map(Some),
        };
        let in_block = |(block, copies): (usize, &Vec<At>)| -> Result<bool, StoreError> {
            let Some(records) = readable(part.records(block))? else { return Ok(false) };
            // Those of one block lie beside one another, in one other block or two.
            let mut read: Option<(u32, usize, Vec<CellRecord>)> = None;
            for (record, copy) in records.iter().zip(copies) {
                let there = match read.take().filter(|(part, block, _)| (*part, *block) == (copy.part, copy.block)) {
                    Some((_, _, there)) => there,
                    None => {
                        let Some(other) = self.reader.parts.get(&copy.part) else { return Ok(false) };
                        let Some(there) = readable(other.records(copy.block))? else { return Ok(false) };
                        there
                    }
                };
                if there.get(copy.slot) != Some(record) {
                    return Ok(false);
                }
                read = Some((copy.part, copy.block, there));
            }
            Ok(records.len() == copies.len())
        };
        copies.par_iter().enumerate().map(in_block).try_reduce(|| true, |a, b| Ok(a && b))
    }

    /// Removes the files of parts whose records all lie elsewhere.
    fn remove(&mut self, numbers: &[u32]) -> Result<(), StoreError> {
        for number in numbers {
            if let Some(part) = self.reader.parts.remove(number) {
                // A part merged with nothing new has the same content, and so the same file, as its merger.
                if self.reader.parts.values().any(|other| other.path == part.path) {
                    continue;
                }
                fs::remove_file(&part.path).map_err(StoreError::io("remove", &part.path))?;
            }
        }
        sync_directory(&self.dir().join(PARTS))
    }
}

/// Where a record lies.
#[derive(Clone, Copy, Debug)]
struct At {
    part: u32,
    block: usize,
    slot: usize,
}

/// Compares `manifest.json`, where there is one, with `identity`; the reason when it is damaged.
fn check_manifest(dir: &Path, identity: &Identity) -> Result<Option<String>, StoreError> {
    match RunManifest::read(dir) {
        Ok(None) => Ok(None),
        Ok(Some(manifest)) => {
            refuse_other(dir, identity, &manifest.sweep, &manifest.class)?;
            let other = manifest.state != RunState::Running && !is_sealed_manifest(dir)?;
            Ok(other.then(|| "it is not the one that was sealed".to_string()))
        }
        Err(StoreError::Damaged { reason, .. }) => Ok(Some(reason)),
        Err(other) => Err(other),
    }
}

fn refuse_other(dir: &Path, identity: &Identity, sweep: &str, class: &str) -> Result<(), StoreError> {
    let dir = dir.to_path_buf();
    if sweep != identity.sweep {
        return Err(StoreError::OtherSweep { dir, found: sweep.into(), wanted: identity.sweep.clone() });
    }
    if class != identity.class {
        return Err(StoreError::OtherClass { dir, found: class.into(), wanted: identity.class.clone() });
    }
    Ok(())
}

/// Refuses parts of another sweep or class, and cells that the plan lacks. What only an index says is no cell: where
/// the records beside it cannot be read, the part is damaged.
fn refuse_other_plan(dir: &Path, identity: &Identity, parts: &[Part]) -> Result<(), StoreError> {
    for part in parts {
        refuse_other(dir, identity, &part.index.sweep, &part.index.class)?;
    }
    let planned: HashSet<u128> = identity.cell_ids.iter().map(|id| Id::from(id.as_str()).key()).collect();
    let mut strangers = BTreeSet::new();
    for part in parts {
        for (number, block) in part.index.blocks.iter().enumerate() {
            let mut unplanned = block.cells.iter().filter(|cell| !planned.contains(&cell.cell_id.key())).peekable();
            if unplanned.peek().is_none() {
                continue;
            }
            match part.records(number) {
                Ok(_) => strangers.extend(unplanned.map(|cell| cell.cell_id.to_string())),
                Err(StoreError::Damaged { .. }) => {}
                Err(other) => return Err(other),
            }
        }
    }
    let Some(example) = strangers.first() else { return Ok(()) };
    let difference = config_of(parts, example)
        .map_or_else(|| "its record cannot be read".to_string(), |config| identity.levels.difference(&config));
    Err(StoreError::OtherPlan {
        dir: dir.to_path_buf(),
        count: strangers.len(),
        example: example.to_string(),
        difference,
    })
}

/// The configuration of a finished cell, where its block can be read.
fn config_of(parts: &[Part], cell_id: &str) -> Option<serde_json::Value> {
    let id = Id::from(cell_id);
    let holds = |block: &BlockEntry| block.cells.iter().any(|cell| cell.cell_id == id);
    let (part, block) = parts.iter().find_map(|part| Some((part, part.index.blocks.iter().position(holds)?)))?;
    part.records(block).ok()?.into_iter().find(|record| record.cell_id == cell_id).map(|record| record.config)
}

/// What is wrong with a part: the number of a block, or none for the file as a whole, with the reason.
type BlockFaults = Vec<(Option<usize>, String)>;

/// Paths of parts whose header or index is damaged, with the reason.
type Broken = Vec<(PathBuf, String)>;

/// The parts whose header and index are sound, and the paths of the others with the reason.
fn open_parts(parts_dir: &Path) -> Result<(Vec<Part>, Broken), StoreError> {
    let (mut parts, mut broken) = (Vec::new(), Broken::new());
    for path in list_parts(parts_dir)? {
        match Part::open(&path) {
            Ok(part) => parts.push(part),
            Err(StoreError::Damaged { path, reason }) => broken.push((path, reason)),
            Err(other) => return Err(other),
        }
    }
    Ok((parts, broken))
}

/// Writes the intact blocks of a damaged part as a new part and moves the damaged one aside.
fn salvage(
    parts_dir: &Path,
    part: Part,
    faults: &[(Option<usize>, String)],
) -> Result<(Damaged, Option<Part>), StoreError> {
    let bad: HashSet<usize> = faults.iter().filter_map(|(block, _)| *block).collect();
    let count = |block: usize| part.index.blocks.get(block).map_or(0, |b| b.cells.len());
    let good: Vec<usize> = (0..part.index.blocks.len()).filter(|block| !bad.contains(block)).collect();
    let damage = Damaged {
        name: name_of(&part.path),
        reason: faults.iter().map(|(_, reason)| reason.as_str()).collect::<Vec<_>>().join("; "),
        lost: Some(bad.iter().map(|block| count(*block)).sum()),
        kept: good.iter().map(|block| count(*block)).sum(),
    };
    if good.is_empty() {
        set_aside(parts_dir, &part.path)?;
        return Ok((damage, None));
    }
    let sources: Vec<Source> = good.into_iter().map(|block| Source::Copy(&part, block)).collect();
    let index = &part.index;
    // The copy is complete before the original moves, and takes its name only after: when nothing but its end was
    // wrong, both have the same name.
    let prepared = prepare_part(parts_dir, &index.sweep, &index.class, index.columns.clone(), &sources)?;
    set_aside(parts_dir, &part.path)?;
    Ok((damage, Some(prepared.commit()?)))
}

/// Moves a damaged file into `parts/damaged/`, next to earlier ones of the same name.
fn set_aside(parts_dir: &Path, path: &Path) -> Result<(), StoreError> {
    let dir = parts_dir.join(DAMAGED);
    fs::create_dir_all(&dir).map_err(StoreError::io("create", &dir))?;
    let name = name_of(path);
    let mut target = dir.join(&name);
    let mut copy = 1;
    while target.exists() {
        copy += 1;
        target = dir.join(format!("{name}.{copy}"));
    }
    fs::rename(path, &target).map_err(StoreError::io("move aside", path))?;
    sync_directory(&dir)?;
    sync_directory(parts_dir)
}

#[cfg(test)]
mod tests;
