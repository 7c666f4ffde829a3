//! Cells that other runs in the same directory of runs have already finished, and how far they are believed.
//!
//! What lies beside a run may be anybody's. A record of it is held to the rules that every record is held to, and to
//! having all that this program records ([`rules`]). Whether its numbers were ever computed only training can tell, so
//! a random sample of what each run offers is trained again before anything is taken over.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::ledger::LEDGER_FILE;
use super::manifest::RunManifest;
use super::part::{CellEntry, TOO_LARGE};
use super::place::{Holds, holds};
use super::plain::read_file;
use super::reader::{PARTS, RunReader};
use super::record::{CellRecord, Origin, RecordedStatus};
use super::rules;
use super::sample::sample_of;

/// Share of the cells of an offer that are trained again, at least one: taking over the others still spares 97% of the
/// training. `k` cells find a false record with probability `1 - (1 - f)^k` where a share `f` of the records is false: one
/// cell is enough where all are, as where another program or a broken machine made them; 30 of 1,000 find one in ten false
/// with 96%.
const SAMPLED_SHARE: f64 = 0.03;
/// Most cells that are trained again of one offer, however large: they find one in twenty false with 96%, one in fifty
/// with 73%, and more of them find little more.
const MOST_SAMPLED: usize = 64;

/// What a run beside this one could lend.
#[derive(Debug)]
pub struct Offer {
    reader: RunReader,
    origin: Origin,
    /// Parts and blocks that hold the cells.
    blocks: Vec<(u32, usize)>,
    cells: Vec<String>,
}

/// What lies beside a run.
#[derive(Debug, Default)]
pub struct Offers {
    /// By the name of the directory.
    pub offers: Vec<Offer>,
    /// Files and directories that could not be read, or were not believed, with the reason.
    pub skipped: Vec<(PathBuf, String)>,
}

/// A record of an offer that cannot be had, with the reason.
pub(crate) type Skipped = Vec<(PathBuf, String)>;

impl Offer {
    pub fn dir(&self) -> &Path {
        self.reader.dir()
    }

    /// Has records say another name of the run, where its own must not stand in theirs.
    pub fn call(&mut self, name: String) {
        self.origin.run = name;
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The cells of which a record is there, in the order in which they lie.
    pub fn cells(&self) -> &[String] {
        &self.cells
    }

    /// The record of one of its cells, of those that [`each_block`](Self::each_block) hands out. What was written there
    /// since is not looked at: a sample says something of nothing else.
    ///
    /// # Errors
    /// That it cannot be read any more.
    pub fn record(&self, cell_id: &str) -> Result<CellRecord, StoreError> {
        let no_such = || StoreError::NoSuchCell { dir: self.dir().to_path_buf(), prefix: cell_id.to_string() };
        self.reader.records_once(&[cell_id])?.pop().ok_or_else(no_such)
    }

    /// Hands its records to `take`, block by block, each with where it is from. What cannot be read any more is returned.
    pub(crate) fn each_block(
        &self,
        take: &mut dyn FnMut(Vec<CellRecord>) -> Result<(), StoreError>,
    ) -> Result<Skipped, StoreError> {
        let (mut left, mut skipped): (HashSet<&str>, _) = (self.cells.iter().map(String::as_str).collect(), Vec::new());
        for (number, block) in &self.blocks {
            let Some(part) = self.reader.parts.get(number) else { continue };
            let mut records = match part.records(*block) {
                Ok(records) => records,
                Err(error) => {
                    skipped.push((part.path.clone(), error.to_string()));
                    continue;
                }
            };
            // Of several copies of a cell the one that was judged, and that a sample looks at. The index has the hash
            // of the block, so that it is still the same.
            let mut slots = 0..;
            records.retain(|record| {
                let place = slots.next().map(|slot| (*number, *block, slot));
                self.reader.place(&record.cell_id) == place && left.remove(record.cell_id.as_str())
            });
            records.iter_mut().for_each(|record| record.reused_from = Some(self.origin.clone()));
            take(records)?;
        }
        Ok(skipped)
    }

    /// The cells to train again before any of it is believed: the same for the same seed, and nobody can tell which
    /// without it.
    pub fn sample(&self, seed: u64) -> Vec<&str> {
        sample(&self.cells, seed)
    }
}

fn sample(cells: &[String], seed: u64) -> Vec<&str> {
    let wanted = ((SAMPLED_SHARE * cells.len() as f64).ceil() as usize).clamp(1, MOST_SAMPLED);
    sample_of(cells.iter().map(String::as_str), wanted, seed)
}

/// Finds which of `wanted` are finished in the run directories directly below `siblings`, except `own`. Only records of the
/// class `class` that did not fail count, and that can be of the cells that they name; each cell is found once. Where a
/// run has several records of a cell, the one that counts there is taken or none.
///
/// Nothing is written and no lock is taken. What cannot be read, or not be believed, is in [`Offers::skipped`].
///
/// # Errors
/// [`StoreError::Io`] when `siblings` cannot be listed for another reason than permission.
pub fn find_offers(siblings: &Path, own: &Path, mut wanted: HashSet<&str>, class: &str) -> Result<Offers, StoreError> {
    let mut found = Offers::default();
    let runs = match sibling_runs(siblings, own) {
        // Others' folders can often be entered and not listed; what lies beside the run is no part of it.
        Err(StoreError::Io { path, source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
            found.skipped.push((path, format!("it cannot be listed: {source}")));
            Vec::new()
        }
        other => other?,
    };
    for dir in runs {
        if wanted.is_empty() {
            break;
        }
        let reader = match RunReader::open(&dir) {
            Ok(reader) => reader,
            Err(error) => {
                found.skipped.push((dir, error.to_string()));
                continue;
            }
        };
        for (name, reason) in reader.damaged() {
            found.skipped.push((dir.join(PARTS).join(name), reason.clone()));
        }
        let (mut blocks, mut cells) = (Vec::new(), Vec::new());
        for (number, part) in reader.parts.iter().filter(|(_, part)| part.index.class == class) {
            for (block, entry) in part.index.blocks.iter().enumerate() {
                let counts = |id: &str, slot: usize| reader.place(id) == Some((*number, block, slot));
                let of_use = |(slot, cell): (usize, &CellEntry)| {
                    let id = cell.cell_id.to_string();
                    cell.status != RecordedStatus::Failed && wanted.contains(id.as_str()) && counts(&id, slot)
                };
                if !entry.cells.iter().enumerate().any(of_use) {
                    continue;
                }
                let records = match part.records(block) {
                    Ok(records) => records,
                    Err(error) => {
                        let reason = error.to_string();
                        let too_large = reason.contains(TOO_LARGE);
                        found.skipped.push((part.path.clone(), reason));
                        if too_large { break } else { continue }
                    }
                };
                let before = cells.len();
                for (slot, record) in records.into_iter().enumerate() {
                    let id = record.cell_id.as_str();
                    if record.status == RecordedStatus::Failed || !wanted.contains(id) || !counts(id, slot) {
                        continue;
                    }
                    if let Some(reason) = rules::lack(&record) {
                        let reason = format!("cell {}: {reason}", record.cell_id);
                        found.skipped.push((part.path.clone(), reason));
                        continue;
                    }
                    wanted.remove(record.cell_id.as_str());
                    cells.push(record.cell_id);
                }
                if cells.len() > before {
                    blocks.push((*number, block));
                }
            }
        }
        if !cells.is_empty() {
            found.offers.push(Offer { origin: origin(&dir), reader, blocks, cells });
        }
    }
    Ok(found)
}

/// What a run says that it is.
fn origin(dir: &Path) -> Origin {
    let manifest = RunManifest::read(dir).ok().flatten();
    let ledger = read_file(&dir.join(LEDGER_FILE));
    Origin {
        run: dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        run_id: manifest.as_ref().map(|manifest| manifest.run_id.clone()).unwrap_or_default(),
        spec_blake3: manifest.map(|manifest| manifest.spec_blake3).unwrap_or_default(),
        ledger_blake3: ledger.map(|bytes| blake3::hash(&bytes).to_hex().to_string()).unwrap_or_default(),
    }
}

/// The run directories directly below `siblings`, except `own`, sorted by name.
fn sibling_runs(siblings: &Path, own: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let own = real(own);
    let mut runs = Vec::new();
    for entry in std::fs::read_dir(siblings).map_err(StoreError::io("list", siblings))? {
        let path = entry.map_err(StoreError::io("list", siblings))?.path();
        let foreign = || matches!(holds(&path), Ok(Holds::Other(_)));
        if RunReader::is_run(&path) && real(&path) != own && !foreign() {
            runs.push(path);
        }
    }
    runs.sort();
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_few_percent_at_least_one_at_most_some_and_follows_its_seed() {
        let cells: Vec<String> = (0..10_000).map(|n| format!("{n:032x}")).collect();
        for (cells_in_all, sampled) in [(1, 1), (12, 1), (34, 2), (1000, 30), (10_000, 64)] {
            assert_eq!(sample(&cells[..cells_in_all], 7).len(), sampled, "of {cells_in_all}");
        }
        let of = |seed| sample(&cells[..1000], seed);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        let reversed: Vec<String> = cells[..1000].iter().rev().cloned().collect();
        assert_eq!(sample(&reversed, 7), of(7), "it does not depend on the order");
        // Every cell is drawn at some seed: none can be hidden from a sample.
        let drawn: HashSet<String> = (0..400).flat_map(|seed| sample(&cells[..100], seed)).map(String::from).collect();
        assert_eq!(drawn.len(), 100);
    }
}
