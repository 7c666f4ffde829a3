//! Retraining recorded cells and comparing them with their records: what `verify --rerun` and `embed` share.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::aligner::backend::{Backend, Choice};
use crate::engine::{BurnTrainer, Control, Outcome, Retrained};
use crate::spec::config::Config;
use crate::spec::{Cell, Overrides, Sweep};
use crate::store::{
    CellRecord, Holds, MANIFEST_FILE, NamedFault, RunManifest, SPEC_FILE, StoreError, TabledCell, differences,
    enclosing, hash_file, holds, is_own_as, read_text,
};

/// What to do about a derived file.
pub(super) const REMADE: &str = "the command that made the run writes it again";

/// Refuses what is no directory.
pub(super) fn require_directory(dir: &Path) -> anyhow::Result<()> {
    let shown = dir.display();
    anyhow::ensure!(
        !dir.is_file(),
        "{shown} is a file, not a run directory: unpack a bundle first, and name its folder"
    );
    anyhow::ensure!(dir.is_dir(), "{shown} is not a run directory: there is no such directory");
    Ok(())
}

/// The resolved spec of a run.
pub fn spec(dir: &Path) -> anyhow::Result<Sweep> {
    let path = dir.join(SPEC_FILE);
    let text = read_text(&path).with_context(|| format!("cannot read {}; {REMADE}", path.display()))?;
    Ok(crate::spec::from_str(&text, &path.display().to_string(), &Overrides::default())?)
}

/// The manifest of a run, if it is there and sound, and what is wrong with it: name and reason.
pub fn manifest(dir: &Path) -> anyhow::Result<(Option<RunManifest>, Option<NamedFault>)> {
    match RunManifest::read(dir) {
        Ok(manifest) => Ok((manifest, None)),
        Err(StoreError::Damaged { reason, .. }) => {
            Ok((None, Some((MANIFEST_FILE.to_string(), format!("{reason}; {REMADE}")))))
        }
        Err(other) => Err(other.into()),
    }
}

/// Makes sure that tables are the ones that the manifest lists, as far as it lists them.
pub fn require_tables(dir: &Path, manifest: &RunManifest, files: &[&str]) -> anyhow::Result<()> {
    for file in files {
        let Some(table) = manifest.tables.get(*file) else { continue };
        let path = dir.join(file);
        let sound = hash_file(&path).is_ok_and(|blake3| blake3 == table.blake3);
        anyhow::ensure!(sound, "{} is not what {MANIFEST_FILE} lists: {REMADE}", path.display());
    }
    Ok(())
}

/// Refuses to write `path` into a run, into a folder that is not there, or over a file that this program did not make,
/// before any work is done. `like` is the name, in a run, of a file of the kind that is to be written.
pub fn require_writable(path: &Path, like: &str) -> anyhow::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    anyhow::ensure!(folder.is_dir(), "cannot create {}: there is no folder {}", path.display(), folder.display());
    anyhow::ensure!(!path.is_dir(), "cannot create {}: it is a folder; name a file with -o", path.display());
    require_outside(path)?;
    let there = path.symlink_metadata().is_ok();
    anyhow::ensure!(
        !there || is_own_as(path, like)?,
        "{} is there already, and is not what this program writes: move it away, or choose another file with -o",
        path.display()
    );
    Ok(())
}

/// Refuses a directory that is a run or a laboratory, or lies inside of one, for what is to be written beside them.
pub fn require_neither(path: &Path) -> anyhow::Result<()> {
    require_outside(path)?;
    let what = match path.is_dir().then(|| holds(path)).transpose()? {
        Some(Holds::Run) => "a run",
        Some(Holds::Laboratory) => "a laboratory",
        Some(Holds::Nothing | Holds::Other(_)) | None => return Ok(()),
    };
    anyhow::bail!("{} is {what}, whose files are sealed: choose another directory with -o", path.display())
}

/// Refuses to write `path` into a run or a laboratory, which lists what it has.
pub fn require_outside(path: &Path) -> anyhow::Result<()> {
    let Some((inside, holds)) = enclosing(path) else { return Ok(()) };
    let what = if holds == Holds::Laboratory { "laboratory" } else { "run" };
    anyhow::bail!("{} would lie inside a {what}, {}; choose another path with -o", path.display(), inside.display())
}

/// A trainer of the class that made a record.
pub fn trainer_for(class: &str) -> anyhow::Result<BurnTrainer> {
    let name = class.split_whitespace().nth(1).context("the record names no backend")?;
    let backend: Backend = Choice::named(name)?.open()?;
    if backend.class != class {
        bail!(
            "the cell was made in the class `{class}`, this machine makes `{}`: only a machine of the same class can \
             be held to the same bits",
            backend.class
        );
    }
    Ok(BurnTrainer::new(backend))
}

/// A recorded cell.
pub fn cell(record: &CellRecord) -> anyhow::Result<Cell> {
    let config: Config = serde_json::from_value(record.config.clone())
        .with_context(|| format!("cell {} has a configuration that this version does not know", record.cell_id))?;
    let cell = Cell::new(config, record.conditions());
    if cell.id != record.cell_id {
        bail!("cell {} is recorded with a configuration whose id is {}", record.cell_id, cell.id);
    }
    Ok(cell)
}

/// Refuses to train a recorded cell again where it does not fit into memory.
pub fn require_memory(trainer: &BurnTrainer, record: &CellRecord) -> anyhow::Result<()> {
    super::require_memory_for(&[cell(record)?], trainer.backend().place())
}

/// Trains a recorded cell again.
pub fn retrain(trainer: &BurnTrainer, record: &CellRecord) -> anyhow::Result<Retrained> {
    Ok(trainer.retrain(&cell(record)?, &Control::default())?)
}

/// What differs between a cell as far as tables have it and the same cell trained again, checksums and all; empty when
/// nothing does.
pub fn differences_of_tabled(cell: &TabledCell, again: &Outcome) -> Vec<String> {
    let mut record = cell.record.clone();
    let first = again.crossings.iter().map(|c| (c.limit.clone(), c.step)).collect();
    let step = |step: Option<u64>| step.unwrap_or_default();
    let selected = [record.selection.as_ref().map(|s| step(s.step)), again.selection.as_ref().map(|s| step(s.step))];
    // What no table has is not held against it.
    let known = CellRecord::from_outcome(again.clone(), String::new(), String::new(), Value::Null, String::new());
    record.selection = known.selection;
    for condition in &mut record.conditions {
        let same = known.conditions.iter().find(|known| known.name == condition.name);
        condition.test_embeddings = same.map_or(String::new(), |known| known.test_embeddings.clone());
    }
    let mut found = differences(&record, again);
    let others = [("crossings", cell.crossings == first), ("selected checkpoint", selected[0] == selected[1])];
    found.extend(others.into_iter().filter(|(_, same)| !same).map(|(what, _)| what.to_string()));
    found
}
