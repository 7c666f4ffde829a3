//! Whose a directory is. One that this program began carries its marker, a small file that was written before all others;
//! those of earlier versions are known by a manifest or a part. A directory with anything else in it is somebody else's,
//! and is left exactly as it is.
//!
//! # Changelog of the marker
//! - 1: first version.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::atomic::{is_leftover, sync_directory, sync_file};
use super::directives::DIRECTIVES_FILE;
use super::error::StoreError;
use super::litter::is_litter;
use super::lock::{LOCK_FILE, is_lock};
use super::manifest::{MANIFEST_FILE, RUN_FORMAT};
use super::own::{FOLDERS, start_of};
use super::part::is_part;
use super::plain::{is_folder, open_file, open_in_place, read_file, require_one_name, require_plain};
use super::reader::PARTS;

/// The marker's name. It is not hidden: programs that copy results often leave hidden files out.
pub const MARKER_FILE: &str = "cliffline.json";
/// What a laboratory's `manifest.json` is called.
pub const LAB_FORMAT: &str = "cliffline-lab-manifest";

const FORMAT: &str = "cliffline-directory";
const VERSION: u64 = 1;
/// More than any marker has.
const MARKER_BYTES: usize = 4096;
/// Names of somebody else's files that a refusal lists.
const LISTED: usize = 3;

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// No file, or only what a process of this program leaves that is killed at birth.
    Nothing,
    Run,
    Laboratory,
    /// Something of somebody else's, in words.
    Other(String),
}

impl Holds {
    fn word(&self) -> &'static str {
        if *self == Self::Laboratory { "laboratory" } else { "run" }
    }

    /// The marker of such a directory: the same bytes always.
    fn marker(&self) -> String {
        let holds = self.word();
        format!("{{\"format\": \"{FORMAT}\", \"version\": {VERSION}, \"holds\": \"{holds}\"}}\n")
    }
}

/// What the marker says; none where there is none that this version wrote. A directory of a newer program is refused by
/// what else is in it.
fn marked(path: &Path) -> Option<Holds> {
    let text = start_of(path, MARKER_BYTES);
    [Holds::Run, Holds::Laboratory].into_iter().find(|holds| holds.marker() == text)
}

/// Whether a file is a marker of whichever version, or the beginning of one that a killed process left.
pub(crate) fn is_marker(path: &Path) -> bool {
    let text = start_of(path, MARKER_BYTES);
    let begun = [Holds::Run, Holds::Laboratory].iter().any(|holds| holds.marker().starts_with(&text));
    let format = || serde_json::from_str::<Value>(&text).is_ok_and(|marker| marker["format"] == FORMAT);
    open_file(path).is_ok() && (begun || format())
}

/// What shows that `dir` is ours, if anything does.
fn evidence(dir: &Path) -> Result<Option<Holds>, StoreError> {
    if let Some(holds) = marked(&dir.join(MARKER_FILE)) {
        return Ok(Some(holds));
    }
    // Earlier versions wrote no marker.
    let manifest = read_file(&dir.join(MANIFEST_FILE)).unwrap_or_default();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap_or_default();
    match manifest["format"].as_str() {
        Some(RUN_FORMAT) => return Ok(Some(Holds::Run)),
        Some(LAB_FORMAT) => return Ok(Some(Holds::Laboratory)),
        _ => {}
    }
    let parts = dir.join(PARTS);
    let has_part = is_folder(&parts) && list(&parts)?.iter().any(|path| is_part(path));
    Ok(has_part.then_some(Holds::Run))
}

/// What `dir` holds; a directory that is not there holds nothing.
///
/// # Errors
/// [`StoreError::Io`] for a directory that cannot be listed.
pub fn holds(dir: &Path) -> Result<Holds, StoreError> {
    if let Some(holds) = evidence(dir)? {
        return Ok(holds);
    }
    let mut others: Vec<String> = match list(dir) {
        Ok(entries) => entries.iter().filter(|path| !is_of_birth(dir, path)).map(|path| shown(path)).collect(),
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error),
    };
    others.sort();
    let more = others.len().saturating_sub(LISTED);
    others.truncate(LISTED);
    Ok(match (others.is_empty(), more) {
        (true, _) => Holds::Nothing,
        (false, 0) => Holds::Other(others.join(", ")),
        (false, more) => Holds::Other(format!("{} and {more} more", others.join(", "))),
    })
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(dir).map_err(StoreError::io("list", dir))?;
    entries.map(|entry| Ok(entry.map_err(StoreError::io("list", dir))?.path())).collect()
}

/// A file's name for a message, with what a terminal would obey made visible.
fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().escape_debug().to_string()
}

/// Whether an entry says nothing about whose the directory is: litter, or what a process killed at birth leaves.
fn is_of_birth(dir: &Path, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_str().unwrap_or_default();
    let ours = |name: &str| is_lock(&dir.join(name)) && !start_of(&dir.join(name), 1).is_empty();
    match name {
        LOCK_FILE => ours(name) || is_marker(&dir.join(MARKER_FILE)),
        MARKER_FILE => is_marker(path),
        // Earlier versions made this folder right after their lock.
        PARTS => is_folder(path) && list(path).is_ok_and(|inside| inside.is_empty()) && ours(LOCK_FILE),
        _ => is_litter(name) || (is_leftover(name) && open_file(path).is_ok()),
    }
}

/// Marks `dir` as one that holds `holds`, unless it is marked already.
///
/// # Errors
/// [`StoreError::Io`].
pub fn mark(dir: &Path, holds: &Holds) -> Result<(), StoreError> {
    let path = dir.join(MARKER_FILE);
    let text = holds.marker();
    if start_of(&path, MARKER_BYTES) == text {
        return Ok(());
    }
    // In place, not through another file: two processes that begin one directory write the same bytes, and neither may
    // take the other's unfinished file for a leftover.
    let mut file = open_in_place(&path, fs::OpenOptions::new().write(true)).map_err(StoreError::io("write", &path))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.set_len(text.len() as u64))
        .map_err(StoreError::io("write", &path))?;
    sync_file(&file, &path)?;
    sync_directory(dir)
}

/// Refuses a directory into which nothing of `wanted` may be written: one that holds something else, and one with links or
/// pipes where files of ours go. It is left as it is. Whether it holds `wanted` already.
///
/// # Errors
/// [`StoreError::NotOurs`], [`StoreError::NotPlain`], and those of [`holds`].
pub fn require_ours(dir: &Path, wanted: &Holds) -> Result<bool, StoreError> {
    let found = holds(dir)?;
    if found != Holds::Nothing && found != *wanted {
        return Err(StoreError::NotOurs { dir: dir.to_path_buf(), found, wanted: wanted.word() });
    }
    if fs::symlink_metadata(dir).is_ok() {
        require_plain(dir, &FOLDERS)?;
        // These are written in their place, all others replaced.
        [MARKER_FILE, LOCK_FILE, DIRECTIVES_FILE].iter().try_for_each(|file| require_one_name(&dir.join(file)))?;
    }
    Ok(found == *wanted)
}

/// The nearest directory above `path` that is a run or a laboratory of ours: above the place of that name and, should a
/// link lie there, above the place that it leads to.
pub fn enclosing(path: &Path) -> Option<(PathBuf, Holds)> {
    let real = path.canonicalize().ok().and_then(|real| real.parent().map(Path::to_path_buf));
    // `.` and `..` name no place in the folder before them.
    let named = if path.file_name().is_some() || real.is_none() { folder_of(path) } else { None };
    let at = |folder: &Path| Some((folder.to_path_buf(), evidence(folder).ok().flatten()?));
    [real, named].iter().flatten().find_map(|above| above.ancestors().find_map(at))
}

/// The nearest folder above `path` that is there.
fn folder_of(path: &Path) -> Option<PathBuf> {
    let above = path.ancestors().skip(1).find_map(|folder| folder.canonicalize().ok());
    above.or_else(|| std::env::current_dir().ok())
}

#[cfg(test)]
mod tests;
