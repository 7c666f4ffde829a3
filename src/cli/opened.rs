//! A run that is open for reading, however it stands: at work, killed, ended, or unpacked from a bundle.
//!
//! Whoever reads tables asks for them here. A run that has ended has them; of one that has not, they are made of the
//! parts that are there, in a folder of their own, and nothing is written into the run.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Context;
use tempfile::TempDir;
use thiserror::Error;

use super::{checked, columns, gate, output};
use crate::analysis::write_derived;
use crate::lab::RUNS_FOLDER;
use crate::report::RunData;
use crate::spec::Sweep;
use crate::store::{
    CELLS_TABLE, CONDITIONS_TABLE, CURVES_TABLE, CellRecord, FilesLock, Holds, MANIFEST_FILE, NamedFault, RUN_TABLES,
    RunManifest, RunReader, RunState, SPEC_FILE, SPECTRA_TABLE, StoreError, TabledCell, TabledCells, end_cut_short,
    holds, is_folder, is_live, odd_entry, unpacked, write_atomic,
};

/// What to do about a table that is not there.
pub(super) const WRITES: &str = "the command that made the run writes it, and trains nothing that is there";

/// How often tables are made anew because the owner merged parts meanwhile.
const ATTEMPTS: usize = 5;

/// Tables that are made of the records; the others are made of these.
const TABLES_OF_RECORDS: [&str; 4] = [CELLS_TABLE, CONDITIONS_TABLE, CURVES_TABLE, SPECTRA_TABLE];

/// There is nothing to read yet, and there will be: exit code 4.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct NotYet(pub(super) String);

/// How a run stands, for whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A process is at work on it, and its tables are not written yet.
    AtWork,
    /// The process is gone and its tables were not written.
    Killed,
    /// Its last process wrote the tables, complete or not.
    Ended,
    /// Unpacked from a bundle without parts.
    Packed,
}

/// A run that is open for reading. No writer changes its files until it is dropped, so that should happen before
/// anything is printed.
#[derive(Debug)]
pub(super) struct Opened {
    pub dir: PathBuf,
    pub state: State,
    /// None of a bundle without parts.
    parts: Option<RunReader>,
    manifest: Option<RunManifest>,
    damage: Option<NamedFault>,
    /// Where tables that had to be made lie: those of the records, and with the others.
    made: OnceLock<TempDir>,
    derived: OnceLock<()>,
    hold: FilesLock,
}

/// A finished cell as far as it can be read.
#[derive(Clone, Debug)]
pub(super) enum Recorded {
    Whole(CellRecord),
    /// Of a bundle without parts.
    Tabled(TabledCell),
}

impl Recorded {
    pub(super) fn record(&self) -> &CellRecord {
        match self {
            Self::Whole(record) => record,
            Self::Tabled(cell) => &cell.record,
        }
    }
}

/// Says that others are waited for.
pub(super) fn waits(dir: &Path) -> impl FnOnce() + '_ {
    || output::note(&format!("{}: waiting for another command that is writing there", dir.display()))
}

/// Holds the files of `dir` to write them, and ends what a process began that was killed while it sealed them.
///
/// # Errors
/// Those of [`FilesLock::to_write`].
pub(super) fn to_write(dir: &Path) -> Result<FilesLock, StoreError> {
    let hold = FilesLock::to_write(dir, waits(dir))?;
    end_cut_short(dir)?;
    Ok(hold)
}

/// Whether an error says that this user may not write here.
pub(super) fn may_not_write(error: &anyhow::Error) -> bool {
    let denied = |kind| matches!(kind, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem);
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|error| denied(error.kind())))
}

/// Whether a directory is that of a laboratory.
pub(super) fn is_laboratory(dir: &Path) -> bool {
    holds(dir).is_ok_and(|held| held == Holds::Laboratory)
}

/// The directories of a laboratory's runs, by name. A link leads elsewhere, and is none of them.
pub(super) fn runs_of(laboratory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut runs = in_runs_folder(laboratory)?;
    runs.retain(|run| is_folder(run) && (run.join(MANIFEST_FILE).is_file() || RunReader::is_run(run)));
    Ok(runs)
}

/// What lies where the runs of a laboratory go and is neither a file nor a folder.
pub(super) fn odd_among_runs(laboratory: &Path) -> anyhow::Result<Vec<NamedFault>> {
    let places = [laboratory.join(RUNS_FOLDER)].into_iter().chain(in_runs_folder(laboratory)?);
    let odd = places.filter_map(|place| Some((odd_entry(&place)?, place)));
    let name = |place: &Path| place.strip_prefix(laboratory).unwrap_or(place).display().to_string();
    Ok(odd.map(|(what, place)| (name(&place), format!("it is {what}, and not followed"))).collect())
}

/// All that lies in the folder of a laboratory's runs, by name.
fn in_runs_folder(laboratory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = laboratory.join(RUNS_FOLDER);
    if !is_folder(&folder) {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let all = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>();
    let mut all = all.with_context(|| format!("cannot list {}", folder.display()))?;
    all.sort();
    Ok(all)
}

/// The laboratory whose run `dir` is.
fn laboratory_of(dir: &Path) -> Option<PathBuf> {
    let dir = dir.canonicalize().ok()?;
    let runs = dir.parent().filter(|runs| runs.file_name().is_some_and(|name| name == RUNS_FOLDER))?;
    runs.parent().filter(|above| is_laboratory(above)).map(Path::to_path_buf)
}

/// Why commands that read a run leave its files as they are, where they must: it came from elsewhere, or a seal has it
/// that they cannot renew.
pub(super) fn left_alone(dir: &Path) -> Option<String> {
    match unpacked(dir) {
        Some(false) => return Some("it was unpacked from a bundle without parts/".to_string()),
        Some(true) => return Some("it was unpacked from a bundle".to_string()),
        None => {}
    }
    laboratory_of(dir).map(|above| format!("it belongs to the laboratory {}, which sealed it", above.display()))
}

/// Refuses to train where the cells that are there cannot be seen.
pub(super) fn refuse_packed(dir: &Path) -> anyhow::Result<()> {
    if unpacked(dir) == Some(false) {
        let error = anyhow::Error::from(StoreError::NoParts { dir: dir.to_path_buf() });
        return Err(error.context("nothing can be trained here; choose another directory with -o"));
    }
    Ok(())
}

/// Something is being made in `dir` and is not there yet.
pub(super) fn begun(dir: &Path) -> anyhow::Error {
    NotYet(format!("{}: a process is at work here and has written nothing that could be read yet", dir.display()))
        .into()
}

impl Opened {
    /// Opens a run.
    ///
    /// # Errors
    /// What is no run, and a laboratory: its runs are to be named.
    pub(super) fn run(dir: &Path) -> anyhow::Result<Self> {
        let hold = FilesLock::to_read(dir, waits(dir))?;
        Self::under(hold, dir)
    }

    /// As [`run`](Self::run), for whoever holds its files already.
    pub(super) fn under(hold: FilesLock, dir: &Path) -> anyhow::Result<Self> {
        let live = is_live(dir)?;
        if !RunReader::is_run(dir) {
            anyhow::ensure!(
                !is_laboratory(dir),
                "{} is a laboratory: name one of its runs, which are the folders in {}",
                dir.display(),
                dir.join(RUNS_FOLDER).display()
            );
            if live {
                return Err(begun(dir));
            }
        }
        let parts = match RunReader::open(dir) {
            Err(StoreError::NoParts { .. }) => None,
            parts => Some(parts?),
        };
        let (manifest, damage) = checked::manifest(dir)?;
        let ended = manifest.as_ref().is_some_and(|manifest| manifest.state != RunState::Running);
        let state = match (&parts, ended) {
            (None, _) => State::Packed,
            // The last words of a process that is about to end.
            (Some(_), true) => State::Ended,
            (Some(_), false) if live => State::AtWork,
            (Some(_), false) => State::Killed,
        };
        let dir = dir.to_path_buf();
        let (made, derived) = (OnceLock::new(), OnceLock::new());
        Ok(Self { dir, state, parts, manifest, damage, made, derived, hold })
    }

    /// What keeps others from its files.
    pub(super) fn hold(&self) -> &FilesLock {
        &self.hold
    }

    /// Its manifest.
    ///
    /// # Errors
    /// [`NotYet`] while there is none, or with what is wrong with it.
    pub(super) fn manifest(&self) -> anyhow::Result<&RunManifest> {
        if let Some(manifest) = &self.manifest {
            return Ok(manifest);
        }
        if self.damage.is_none() && self.finished() == 0 {
            return Err(self.nothing_yet());
        }
        let missing = format!("missing; {}", checked::REMADE);
        let why = self.damage.as_ref().map_or(missing.as_str(), |(_, why)| why);
        anyhow::bail!("{}: {why}", self.dir.join(MANIFEST_FILE).display())
    }

    /// The manifest, if it can be read, and what is wrong with it else.
    pub(super) fn loose_manifest(&self) -> (Option<&RunManifest>, Option<&NamedFault>) {
        (self.manifest.as_ref(), self.damage.as_ref())
    }

    /// Its resolved spec.
    ///
    /// # Errors
    /// [`NotYet`] where the process that begins with it has not written it.
    pub(super) fn sweep(&self) -> anyhow::Result<Sweep> {
        let unsettled = matches!(self.state, State::AtWork | State::Killed);
        if unsettled && !self.dir.join(SPEC_FILE).exists() {
            return Err(self.nothing_yet());
        }
        let sweep = checked::spec(&self.dir)?;
        // Killed between one file and the next, at the beginning of a session that changes the plan.
        let other = self.manifest.as_ref().is_some_and(|manifest| manifest.spec_blake3 != sweep.hash());
        if unsettled && other {
            return Err(self.nothing_yet());
        }
        Ok(sweep)
    }

    /// Cells with a row in its tables.
    fn finished(&self) -> usize {
        match (&self.parts, &self.manifest) {
            (Some(parts), _) => parts.len(),
            (None, Some(manifest)) => manifest.cells.by_status.values().sum::<u64>() as usize,
            (None, None) => 0,
        }
    }

    /// Its parts.
    ///
    /// # Errors
    /// [`StoreError::NoParts`].
    pub(super) fn parts(&self) -> anyhow::Result<&RunReader> {
        Ok(self.parts.as_ref().ok_or_else(|| StoreError::NoParts { dir: self.dir.clone() })?)
    }

    /// The cell whose id is, or uniquely begins with, `prefix`.
    pub(super) fn cell(&self, prefix: &str) -> anyhow::Result<Recorded> {
        if let Some(parts) = &self.parts {
            if parts.is_empty() && self.state != State::Ended {
                return Err(self.nothing_yet());
            }
            return Ok(Recorded::Whole(parts.record(prefix)?));
        }
        let (sweep, manifest) = (self.sweep()?, self.manifest()?);
        let cells = TabledCells::open(self.tables(&sweep, &TABLES_OF_RECORDS)?)?;
        let id = cells.find(prefix)?;
        let planned = sweep.cells.iter().find(|cell| cell.id == id);
        let planned = planned.with_context(|| format!("cell {id} is not of {}", self.dir.join(SPEC_FILE).display()))?;
        Ok(Recorded::Tabled(cells.cell(planned, &manifest.class)?))
    }

    /// The folder in which these tables lie: the run's own, or one of tables that were made of its parts.
    ///
    /// # Errors
    /// [`NotYet`] where no cell is finished; a table that is not what the manifest lists, or that nothing can make.
    pub(super) fn tables(&self, sweep: &Sweep, wanted: &[&str]) -> anyhow::Result<&Path> {
        let listed = |file: &&&str| self.manifest.as_ref().is_some_and(|m| m.tables.contains_key(**file));
        let absent = wanted.iter().find(|file| !listed(file));
        let parts = match (&self.parts, self.why_made(absent.copied())) {
            (Some(parts), Some(why)) => self.make(parts, sweep, wanted, &why)?,
            _ => return self.require(wanted).map(|()| self.dir.as_path()),
        };
        Ok(parts)
    }

    /// Why tables cannot be those in the directory; `absent` is one that its manifest does not list.
    fn why_made(&self, absent: Option<&str>) -> Option<String> {
        let finished = self.finished();
        let planned = self.manifest.as_ref().map_or(finished as u64, |manifest| manifest.cells.planned);
        let of = format!("{finished} of {planned} cells");
        match (self.state, absent) {
            (State::Packed, _) => None,
            (State::AtWork, _) => Some(format!("the run is at work: this is of the {of} that are finished so far")),
            (State::Killed, _) => Some(format!(
                "the run was killed: this is of the {of} that were finished; the command that made it goes on"
            )),
            (State::Ended, _) if self.is_stale() => {
                Some(format!("the tables are older than the parts: this is of the {of} that are finished"))
            }
            (State::Ended, Some(file)) => {
                Some(format!("the run has no {file}, as those of earlier versions: it is made of the parts"))
            }
            (State::Ended, None) => None,
        }
    }

    /// Whether parts have results that the tables lack: the next session was killed before it said that it began.
    fn is_stale(&self) -> bool {
        let (Some(parts), Some(manifest)) = (&self.parts, &self.manifest) else { return false };
        let results = |counts: &std::collections::BTreeMap<String, u64>| -> u64 {
            counts.iter().filter(|(status, _)| *status != "failed").map(|(_, n)| n).sum()
        };
        results(&parts.counts()) > results(&manifest.cells.by_status)
    }

    /// Refuses tables of the run that are not there, or not those that the manifest lists.
    fn require(&self, wanted: &[&str]) -> anyhow::Result<()> {
        let manifest = self.manifest()?;
        for file in wanted {
            let there = manifest.tables.contains_key(*file) && self.dir.join(file).is_file();
            anyhow::ensure!(there, "{} has no {file} yet: {WRITES}", self.dir.display());
        }
        checked::require_tables(&self.dir, manifest, wanted)
    }

    /// Makes the tables of the parts, once, and says why.
    fn make(&self, parts: &RunReader, sweep: &Sweep, wanted: &[&str], why: &str) -> anyhow::Result<&Path> {
        if parts.is_empty() {
            return Err(self.nothing_yet());
        }
        let made = match self.made.get() {
            Some(made) => made,
            None => {
                output::note(&format!("{}: {why}", self.dir.display()));
                let made = self.tables_of_parts(sweep)?;
                self.made.get_or_init(|| made)
            }
        };
        let of_records = |file: &&str| TABLES_OF_RECORDS.contains(file);
        if self.derived.get().is_none() && !wanted.iter().all(of_records) {
            write_derived(made.path(), sweep)?;
            self.derived.get_or_init(|| ());
        }
        Ok(made.path())
    }

    fn tables_of_parts(&self, sweep: &Sweep) -> anyhow::Result<TempDir> {
        let folder = tempfile::Builder::new().prefix("cliffline-").tempdir();
        let folder = folder.context("cannot make a folder for temporary files")?;
        let planned: Vec<&str> = sweep.cells.iter().map(|cell| cell.id.as_str()).collect();
        let mut ids = planned.clone();
        for _ in 0..ATTEMPTS {
            let parts = RunReader::open(&self.dir)?;
            match columns::write_run_tables(&parts, folder.path(), sweep, &ids) {
                Ok(_) => return Ok(folder),
                // Its owner merged parts meanwhile.
                Err(error) if error.is_not_found() => {}
                Err(StoreError::Damaged { path, reason }) => {
                    let sound = parts.sound_cells()?.cells;
                    ids = planned.iter().copied().filter(|id| sound.contains_key(*id)).collect();
                    let lost = parts.len().saturating_sub(ids.len());
                    let lost = output::count(lost, "cell");
                    output::note(&format!("{} is damaged ({reason}); {lost} are left out", path.display()));
                }
                Err(other) => return Err(other.into()),
            }
        }
        anyhow::bail!("{}: its parts do not hold still long enough to be read; try again", self.dir.display())
    }

    /// What a report is drawn of.
    ///
    /// # Errors
    /// As those of [`tables`](Self::tables): without surfaces there is nothing to report.
    pub(super) fn report_data(&self, required: &[&str]) -> anyhow::Result<RunData<'static>> {
        let (mut manifest, sweep) = (self.manifest()?.clone(), self.sweep()?);
        let dir = self.tables(&sweep, required)?.to_path_buf();
        match &self.parts {
            Some(parts) if dir != self.dir => {
                manifest.cells.by_status = parts.counts();
                if let Some(verdicts) = gate::file_text(&gate::judge(&dir, &sweep)?)? {
                    write_atomic(&dir.join(gate::GATES_FILE), |out| out.write_all(&verdicts))?;
                }
            }
            _ => checked::require_tables(&dir, &manifest, &RUN_TABLES)?,
        }
        Ok(RunData { dir, manifest, sweep: std::borrow::Cow::Owned(sweep) })
    }

    /// Why there is nothing to read yet.
    fn nothing_yet(&self) -> anyhow::Error {
        let dir = self.dir.display();
        let changing = self.finished() > 0;
        let why = match self.state {
            State::AtWork if changing => "the run is at work, and is changing its plan: try again in a moment",
            State::Killed if changing => {
                "the run was killed while its plan was being changed: the same command goes on"
            }
            State::AtWork => "the run is at work, and no cell is finished yet",
            State::Ended | State::Packed => "no cell is finished; the command that made the run goes on",
            State::Killed => "the run was killed before a cell was finished: the same command begins it again",
        };
        NotYet(format!("{dir}: {why}")).into()
    }
}
