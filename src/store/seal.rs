//! Sealing a directory: its ledger, the root in its manifest, its bundle, in the only order in which each can vouch for
//! the one before; and checking all of that again.
//!
//! A directory is whatever holds files and a `manifest.json`: a run, or a folder of several runs with files of its own.
//! Directories below are sealed first: their ledgers, manifests and bundles are files like any other to the one above.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::atomic::{is_leftover, remove_leftovers, sync_directory, write_atomic};
use super::bundle::{
    BUNDLE_NOTE_FILE, BundleNote, SMALL_BUNDLE_BYTES, bundle_bytes, bundle_fault, is_left_out, promise, promised,
    unpacked, unpacked_above, write_bundle,
};
use super::directives::DIRECTIVES_FILE;
use super::error::StoreError;
use super::ledger::{Artifact, BUNDLE_FILE, Differences, LEDGER_FILE, Ledger};
use super::lock::is_live;
use super::manifest::MANIFEST_FILE;
use super::own::{PLOTS, is_of_report, remove_own};
use super::plain::{read_file, stored_error};
use super::reader::NamedFault;
use super::table::TableBytes;

/// The ledger of a seal that is being made, without its line for the manifest. The name is that of an unfinished file:
/// it belongs to no seal, and opening a run removes it.
const PENDING_LEDGER_FILE: &str = ".cliffline-ledger.tmp";

/// Which files a seal vouches for anew.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// All of ours that are there: the caller made or checked each.
    Own,
    /// These, in a directory that is sealed: what another file was before, it must still be.
    Changed(&'a BTreeSet<String>),
}

/// Whether a bundle is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bundling {
    No,
    /// Without parts, where its files have at most [`SMALL_BUNDLE_BYTES`] together.
    IfSmall,
    Yes {
        parts: bool,
    },
}

/// What the manifest must say of a seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Root over the lines of the ledger before the manifest's, 64 hex digits.
    pub merkle_root: String,
    /// Whether there will be a bundle, and whether with parts.
    pub bundle: Option<bool>,
}

/// What sealing did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub seal: Seal,
    /// Lines of the ledger.
    pub files: usize,
    /// Bytes of the files that a bundle without parts holds, made or not.
    pub bundle_bytes: u64,
}

/// Seals `dir`. `write_manifest` is called once and must leave a `manifest.json` with the seal in it; see
/// [`RunManifest::write_sealed`](super::RunManifest::write_sealed).
///
/// # Errors
/// [`StoreError::Io`]; with [`Scope::Changed`] also [`StoreError::Damaged`] for a ledger or manifest that is not what
/// was sealed, before the manifest is written.
pub fn seal(
    dir: &Path,
    scope: Scope<'_>,
    bundling: Bundling,
    write_manifest: impl FnOnce(&Seal) -> Result<(), StoreError>,
) -> Result<Sealed, StoreError> {
    let mut ledger = match scope {
        Scope::Own => {
            unseal(dir)?;
            Ledger::of(dir)?
        }
        Scope::Changed(paths) => {
            let mut ledger = sealed_ledger(dir)?;
            remove(dir, BUNDLE_NOTE_FILE)?;
            ledger.update(dir, paths)?;
            ledger
        }
    };
    let small = bundle_bytes(&ledger, false);
    // Should the process be killed from here on, this tells whether the manifest is the new one: see [`end_cut_short`].
    ledger.manifest = None;
    ledger.write_to(&dir.join(PENDING_LEDGER_FILE))?;
    let bundle = match bundling {
        Bundling::Yes { parts } => Some(parts),
        Bundling::IfSmall if small <= SMALL_BUNDLE_BYTES => Some(false),
        Bundling::IfSmall | Bundling::No => None,
    };
    let seal = Seal { merkle_root: ledger.root(), bundle };
    write_manifest(&seal)?;
    end(dir, &mut ledger, bundle)?;
    Ok(Sealed { seal, files: ledger.lines().count(), bundle_bytes: small })
}

/// Says what is about to become of files of a sealed directory, before any of them changes: `files` are written with
/// these bytes and hashes, `gone` are removed. A process that is then killed leaves each file as it was or as it was to
/// be, which [`check_cut_short`] tells from damage. A directory without a seal is left as it is.
///
/// # Errors
/// As [`seal`] with [`Scope::Changed`].
pub fn announce<'a>(
    dir: &Path,
    files: impl IntoIterator<Item = (&'a String, &'a TableBytes)>,
    gone: &[String],
) -> Result<(), StoreError> {
    if !dir.join(LEDGER_FILE).exists() {
        return Ok(());
    }
    let mut ledger = sealed_ledger(dir)?;
    for (path, file) in files {
        ledger.artifacts.retain(|artifact| artifact.path != *path);
        ledger.artifacts.push(Artifact { path: path.clone(), bytes: file.bytes, blake3: file.blake3.clone() });
    }
    ledger.artifacts.retain(|artifact| !gone.contains(&artifact.path));
    ledger.artifacts.sort_by(|a, b| a.path.cmp(&b.path));
    ledger.manifest = None;
    ledger.write_to(&dir.join(PENDING_LEDGER_FILE))
}

/// What follows once the manifest has the root over `ledger`.
fn end(dir: &Path, ledger: &mut Ledger, bundle: Option<bool>) -> Result<(), StoreError> {
    ledger.manifest = Some(Artifact::of(dir, MANIFEST_FILE)?);
    ledger.write(dir)?;
    let bundled = match bundle {
        Some(parts) => write_bundle(dir, &dir.join(BUNDLE_FILE), ledger, parts),
        None => remove(dir, BUNDLE_FILE),
    };
    // A full disk can have room later; what is not as the ledger lists it stays so.
    if !matches!(bundled, Err(StoreError::Io { .. })) {
        remove_pending(dir)?;
    }
    bundled
}

/// Whether a process was killed while it sealed `dir`, as far as nobody seals it now.
pub fn is_cut_short(dir: &Path) -> bool {
    dir.join(PENDING_LEDGER_FILE).symlink_metadata().is_ok_and(|found| found.is_file())
}

/// Ends what a process began that was killed while it sealed `dir`: where the manifest has its root already the seal is
/// completed, and else it is as it was before. Files that it left unfinished go, unless a run is at work, which writes
/// some of its own. Whoever calls this keeps others from the files.
///
/// # Errors
/// [`StoreError::Io`].
pub fn end_cut_short(dir: &Path) -> Result<(), StoreError> {
    end_seal(dir)?;
    if !is_live(dir)? {
        let is_folder = |folder: &&PathBuf| folder.symlink_metadata().is_ok_and(|found| found.is_dir());
        for folder in [dir.to_path_buf(), dir.join(PLOTS)].iter().filter(is_folder) {
            remove_leftovers(folder)?;
        }
    }
    Ok(())
}

/// Completes a seal that was cut short, or takes it back.
fn end_seal(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(PENDING_LEDGER_FILE);
    if !is_cut_short(dir) {
        return Ok(());
    }
    let bytes = read_file(&path).map_err(StoreError::io("read", &path))?;
    let manifest = loose_manifest(dir);
    match Ledger::parse(&path, &bytes) {
        Ok(mut ledger) if manifest["merkle_root"].as_str() == Some(&ledger.root()) => {
            match end(dir, &mut ledger, promised(&manifest)) {
                // For verify to name.
                Err(StoreError::Damaged { .. }) => Ok(()),
                ended => ended,
            }
        }
        Ok(ledger) => {
            remove_new(dir, &ledger)?;
            remove_pending(dir)
        }
        Err(_) => remove_pending(dir),
    }
}

/// Removes the files that a seal was to have and the last one has not. Those that were to be replaced stay as they are:
/// whoever began that makes them again.
fn remove_new(dir: &Path, pending: &Ledger) -> Result<(), StoreError> {
    let Ok(Some(before)) = Ledger::read(dir) else { return Ok(()) };
    let known: BTreeSet<&str> = before.lines().map(|line| line.path.as_str()).collect();
    for new in pending.artifacts.iter().filter(|artifact| !known.contains(artifact.path.as_str())) {
        if is_of_report(&new.path) {
            remove_own(dir, &new.path)?;
        }
    }
    Ok(())
}

/// Makes the bundle of a sealed directory. `write_manifest` is called where the manifest promises none, or another.
///
/// # Errors
/// As [`seal`] with [`Scope::Changed`], and for a file that is not what the ledger lists.
pub fn bundle(
    dir: &Path,
    parts: bool,
    write_manifest: impl FnOnce(&Seal) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let ledger = sealed_ledger(dir)?;
    if promised(&loose_manifest(dir)) == Some(parts) {
        return write_bundle(dir, &dir.join(BUNDLE_FILE), &ledger, parts);
    }
    seal(dir, Scope::Changed(&BTreeSet::new()), Bundling::Yes { parts }, write_manifest).map(drop)
}

/// Makes the bundle of a sealed directory elsewhere, which leaves that as it is.
///
/// # Errors
/// [`StoreError::Damaged`] for a file that is not what the ledger lists, [`StoreError::Io`].
pub fn bundle_to(dir: &Path, parts: bool, path: &Path) -> Result<(), StoreError> {
    write_bundle(dir, path, &sealed_ledger(dir)?, parts)
}

/// Puts a seal into the manifest of a directory that is no run, whatever else that holds.
///
/// # Errors
/// [`StoreError::Damaged`] for a manifest that is no JSON object, [`StoreError::Io`].
pub fn seal_manifest(dir: &Path, seal: &Seal) -> Result<(), StoreError> {
    let path = dir.join(MANIFEST_FILE);
    let mut manifest = loose_manifest(dir);
    let Some(keys) = manifest.as_object_mut() else {
        return Err(StoreError::damaged(&path, "it is no JSON object"));
    };
    keys.insert("merkle_root".to_string(), seal.merkle_root.clone().into());
    keys.remove("bundle");
    keys.extend(seal.bundle.map(|parts| ("bundle".to_string(), promise(parts))));
    let text = serde_json::to_string_pretty(&manifest).expect("plain data") + "\n";
    write_atomic(&path, |out| out.write_all(text.as_bytes()))
}

/// The ledger of a sealed directory whose manifest is the one that was sealed.
fn sealed_ledger(dir: &Path) -> Result<Ledger, StoreError> {
    let ledger = Ledger::read(dir)?.ok_or_else(|| StoreError::damaged(&dir.join(LEDGER_FILE), "it is missing"))?;
    let manifest = Artifact::of(dir, MANIFEST_FILE)?;
    match ledger.manifest.as_ref() == Some(&manifest) {
        true => Ok(ledger),
        false => Err(StoreError::damaged(&dir.join(MANIFEST_FILE), format!("it is not what {LEDGER_FILE} lists"))),
    }
}

/// Whether the manifest of a directory is the one that its seal has, as far as there is a seal that can be read.
///
/// # Errors
/// [`StoreError::Io`].
pub(crate) fn is_sealed_manifest(dir: &Path) -> Result<bool, StoreError> {
    let Ok(Some(ledger)) = Ledger::read(dir) else { return Ok(true) };
    Ok(is_cut_short(dir) || ledger.manifest == Some(Artifact::of(dir, MANIFEST_FILE)?))
}

/// Removes ledger and bundle: from now on files change.
///
/// # Errors
/// [`StoreError::Io`].
pub fn unseal(dir: &Path) -> Result<(), StoreError> {
    remove(dir, BUNDLE_FILE)?;
    // What is sealed anew is no longer what was unpacked.
    remove(dir, BUNDLE_NOTE_FILE)?;
    remove(dir, LEDGER_FILE)
}

fn remove(dir: &Path, file: &str) -> Result<(), StoreError> {
    if remove_own(dir, file)? { sync_directory(dir) } else { Ok(()) }
}

fn remove_pending(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(PENDING_LEDGER_FILE);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove", &path)(e)),
        _ => Ok(()),
    }
}

/// What a look at every file of a directory found.
#[derive(Clone, Debug, Default)]
pub struct SealCheck {
    /// The ledger, where there is one that can be believed.
    pub ledger: Option<Ledger>,
    /// Files that are not what was sealed: path and reason, each path once.
    pub faults: Vec<NamedFault>,
    /// Files that were not sealed, likewise.
    pub extra: Vec<NamedFault>,
    /// Those of them that are no fault: litter, and what was set aside.
    pub harmless: Vec<NamedFault>,
    /// Set for an unpacked bundle: whether it has parts.
    pub unpacked: Option<bool>,
    /// Files that a bundle without parts leaves out.
    pub left_out: usize,
}

impl SealCheck {
    /// Whether a file is among the faults.
    pub fn names(&self, path: &str) -> bool {
        self.faults.iter().any(|(name, _)| name == path)
    }

    /// Whether the directory is sealed and as it was then.
    pub fn is_intact(&self) -> bool {
        self.lacks_nothing() && self.extra.is_empty()
    }

    /// As [`is_intact`](Self::is_intact), whatever lies beside what was sealed.
    pub fn lacks_nothing(&self) -> bool {
        self.ledger.is_some() && self.faults.is_empty()
    }
}

/// Compares a directory with its seal. One that was never sealed has no ledger and no faults.
///
/// # Errors
/// [`StoreError::Io`] for a folder that cannot be listed, [`StoreError::Newer`] for a newer program's ledger.
pub fn check_seal(dir: &Path) -> Result<SealCheck, StoreError> {
    let named = |file: &str, reason: String| vec![(file.to_string(), reason)];
    let ledger = match Ledger::read(dir) {
        Ok(Some(ledger)) => ledger,
        Ok(None) if loose_manifest(dir)["merkle_root"].is_string() => {
            let faults = named(LEDGER_FILE, "missing, and the manifest has its Merkle root".to_string());
            return Ok(SealCheck { faults, ..SealCheck::default() });
        }
        Ok(None) => return Ok(SealCheck::default()),
        Err(StoreError::Damaged { reason, .. }) => {
            return Ok(SealCheck { faults: named(LEDGER_FILE, reason), ..SealCheck::default() });
        }
        Err(other) => return Err(other),
    };
    let note = BundleNote::read(dir);
    let unpacked = note.as_ref().map(|note| note.parts).or_else(|| unpacked_above(dir));
    let Differences { mut faults, extra, harmless } =
        ledger.compare(dir, |path| unpacked == Some(false) && is_left_out(path))?;
    if note.as_ref().is_some_and(|note| !note.is_of(dir, &ledger)) {
        faults.push((BUNDLE_NOTE_FILE.to_string(), "not the note of a bundle of this ledger".to_string()));
    }
    let left_out = ledger.lines().filter(|a| unpacked == Some(false) && is_left_out(&a.path)).count();
    let mut extra = extra;
    if note.is_none() && dir.join(BUNDLE_NOTE_FILE).symlink_metadata().is_ok() {
        extra.push((BUNDLE_NOTE_FILE.to_string(), "not of this run: it cannot be read as the note of a bundle".into()));
    }
    let mut check = SealCheck { ledger: None, faults, extra, harmless, unpacked, left_out };
    let manifest = if check.names(MANIFEST_FILE) { Value::Null } else { loose_manifest(dir) };
    if manifest["merkle_root"].as_str().is_some_and(|root| root != ledger.root()) {
        check.faults.push((LEDGER_FILE.to_string(), "its Merkle root is not the manifest's".to_string()));
    }
    let there = dir.join(BUNDLE_FILE).symlink_metadata().is_ok();
    let of_bundle = |reason: String| (BUNDLE_FILE.to_string(), reason);
    match (unpacked, promised(&manifest)) {
        (None, Some(parts)) => check.faults.extend(bundle_fault(dir, &ledger, parts).map(of_bundle)),
        // What the manifest would promise is not known; either kind is as good.
        (None, None) if manifest.is_null() && there => {
            let fault = bundle_fault(dir, &ledger, false).and(bundle_fault(dir, &ledger, true));
            check.faults.extend(fault.map(of_bundle));
        }
        (_, _) if there => check.extra.push(of_bundle("its manifest knows of no bundle here".to_string())),
        _ => {}
    }
    check.ledger = Some(ledger);
    Ok(check)
}

/// What became of a directory whose sealing was cut short.
#[derive(Clone, Debug, Default)]
pub struct CutShort {
    /// Files that are neither what was being sealed nor what was sealed before: path and reason.
    pub faults: Vec<NamedFault>,
    /// Files that changed since the last seal, and are as the seal that was being made lists them.
    pub changed: Vec<String>,
    /// Files that lie beside and are no fault.
    pub harmless: Vec<NamedFault>,
}

/// Holds a directory whose [sealing was cut short](is_cut_short) to the seal that was being made. None where nothing
/// was cut short: what lies at the place of that seal, if anything, is none.
///
/// # Errors
/// As [`check_seal`].
pub fn check_cut_short(dir: &Path) -> Result<Option<CutShort>, StoreError> {
    let path = dir.join(PENDING_LEDGER_FILE);
    if !is_cut_short(dir) {
        return Ok(None);
    }
    let bytes = read_file(&path).map_err(|error| stored_error("read", &path, error));
    let pending = match bytes.and_then(|bytes| Ledger::parse(&path, &bytes)) {
        // Its line for the manifest is still to come.
        Ok(pending) if pending.manifest.is_none() => pending,
        Ok(_) | Err(StoreError::Damaged { .. }) => return Ok(None),
        Err(other) => return Err(other),
    };
    let unpacked = unpacked(dir);
    let Differences { mut faults, mut extra, harmless } =
        pending.compare(dir, |path| unpacked == Some(false) && is_left_out(path))?;
    extra.retain(|(file, _)| file != MANIFEST_FILE && !is_left_by_the_sealer(file));
    faults.append(&mut extra);
    // A file that is as it was before had not its turn yet.
    let before = Ledger::read(dir).ok().flatten().unwrap_or_default();
    let is_as_before = |path: &str| match before.artifacts.iter().find(|artifact| artifact.path == path) {
        Some(artifact) => Artifact::of(dir, path).is_ok_and(|found| found == *artifact),
        None => dir.join(path).symlink_metadata().is_err(),
    };
    let only_grew = |file: &str| file == DIRECTIVES_FILE && before.is_beginning_of(dir, DIRECTIVES_FILE);
    faults.retain(|(file, _)| !is_as_before(file) && !only_grew(file));
    let mut changed = Vec::new();
    let manifest = loose_manifest(dir);
    if manifest["merkle_root"].as_str() != Some(&pending.root()) {
        let mut fault = |file: &str, why: &str| faults.push((file.to_string(), why.to_string()));
        match Ledger::read(dir) {
            Ok(Some(before))
                if before.manifest.is_some() && before.manifest == Artifact::of(dir, MANIFEST_FILE).ok() =>
            {
                changed = differing(&before, &pending);
            }
            // A run at work, or a laboratory, had no seal.
            Ok(None) if manifest.is_object() && manifest["merkle_root"].is_null() => {}
            Ok(_) => fault(MANIFEST_FILE, "neither the one of the last seal nor that of the one that was being made"),
            Err(StoreError::Damaged { reason, .. }) => fault(LEDGER_FILE, &reason),
            Err(other) => return Err(other),
        }
    }
    Ok(Some(CutShort { faults, changed, harmless }))
}

/// Whether a file is one that [`end_cut_short`] removes.
fn is_left_by_the_sealer(path: &str) -> bool {
    let name = path.strip_prefix(PLOTS).and_then(|below| below.strip_prefix('/')).unwrap_or(path);
    is_leftover(name)
}

/// Paths that one of two ledgers lists and the other does not, or otherwise.
fn differing(before: &Ledger, after: &Ledger) -> Vec<String> {
    let lines = |ledger: &Ledger| ledger.artifacts.iter().cloned().collect::<BTreeSet<_>>();
    let (before, after) = (lines(before), lines(after));
    let paths: BTreeSet<String> = before.symmetric_difference(&after).map(|artifact| artifact.path.clone()).collect();
    paths.into_iter().collect()
}

/// `manifest.json` as far as it is JSON; null where it is not.
fn loose_manifest(dir: &Path) -> Value {
    let bytes = read_file(&dir.join(MANIFEST_FILE)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests;
