//! One writer per run directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use super::error::StoreError;
use super::lacking::{Service, done_without, is_lacking};
use super::own::start_of;
use super::plain::{open_file, open_in_place, stored_error};
use super::reader::NamedFault;

/// The lock file of a run directory. It is never removed: removing it could let two processes lock two files.
pub(crate) const LOCK_FILE: &str = ".lock";

/// How often, and how long apart, a lock is tried. [`is_live`] takes the lock for an instant, which must not be
/// mistaken for a second writer.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Most bytes of what a holder writes of itself: its number, and the name of its host.
const MOST_HOLDER_BYTES: u64 = 1 << 12;

/// What the holder writes of itself begins with.
const HOLDER: &str = "process ";

/// Whether a file is a lock of ours: empty, or with a holder in it and nothing else.
pub(crate) fn is_lock(path: &Path) -> bool {
    let length = open_file(path).and_then(|file| file.metadata()).map(|about| about.len());
    let text = start_of(path, MOST_HOLDER_BYTES as usize);
    length.is_ok_and(|length| length == 0 || length <= MOST_HOLDER_BYTES && is_holder(&text))
}

/// Whether a text is what a holder writes of itself: one line, `process 12 on node-7`.
fn is_holder(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(HOLDER) else { return false };
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let host = after.strip_suffix('\n').unwrap_or(after);
    let named = host.strip_prefix(" on ").is_some_and(|name| !name.is_empty() && !name.contains(char::is_control));
    after.len() < rest.len() && (host.is_empty() || named)
}

/// An exclusive hold on a directory, given back when dropped or when the process dies, however it dies.
#[derive(Debug)]
pub struct DirLock {
    file: File,
}

impl DirLock {
    /// Takes the lock of `dir`, which must exist, and writes who holds it into the lock file.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process holds it, [`StoreError::Damaged`] for a file that is none of ours,
    /// [`StoreError::Io`]. Where the file system has no locks there is none, which is noted.
    pub fn acquire(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(LOCK_FILE);
        let mut file =
            open_in_place(&path, OpenOptions::new().write(true)).map_err(|error| stored_error("open", &path, error))?;
        if !is_lock(&path) {
            return Err(StoreError::damaged(&path, "it is not the lock of a run; move it out of the directory"));
        }
        for attempt in 1..=ATTEMPTS {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempt < ATTEMPTS => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    // Who holds it is a courtesy: the refusal stands even when it cannot be read.
                    let _ = (&file).take(MOST_HOLDER_BYTES).read_to_string(&mut holder);
                    let holder = match holder.trim() {
                        "" => "another process".to_string(),
                        known => known.to_string(),
                    };
                    return Err(StoreError::Locked { dir: dir.to_path_buf(), holder });
                }
                Err(TryLockError::Error(error)) if is_lacking(Service::Locks, &error) => {
                    done_without(Service::Locks, dir, &error);
                    break;
                }
                Err(TryLockError::Error(source)) => return Err(StoreError::io("lock", &path)(source)),
            }
        }
        let holder = format!("{HOLDER}{}{}\n", std::process::id(), on_host());
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(holder.as_bytes()))
            .map_err(StoreError::io("write", &path))?;
        Ok(Self { file })
    }
}

impl Drop for DirLock {
    /// Nobody holds it any more, and the file says nothing that could be changed unseen.
    fn drop(&mut self) {
        // A holder that stays named is no harm: the lock itself decides.
        let _ = self.file.set_len(0);
    }
}

/// Whether a process holds the run directory `dir` right now, as far as can be seen: one without a lock file is not live,
/// nor is one whose lock file may not be read or stands where there are no locks.
///
/// # Errors
/// [`StoreError::Io`] when the lock file cannot be opened or tried for another reason.
pub fn is_live(dir: &Path) -> Result<bool, StoreError> {
    let path = dir.join(LOCK_FILE);
    let file = match open_file(&path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => return Ok(false),
        Err(e) => return Err(stored_error("open", &path, e)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) if is_lacking(Service::Locks, &error) => Ok(false),
        Err(TryLockError::Error(source)) => Err(StoreError::io("lock", &path)(source)),
    }
}

/// As [`is_live`], for whoever names faults: a lock that is no plain file is one, and then nobody holds the directory.
///
/// # Errors
/// As [`is_live`], for anything else.
pub fn look_at_lock(dir: &Path) -> Result<(bool, Option<NamedFault>), StoreError> {
    match is_live(dir) {
        Err(StoreError::Damaged { reason, .. }) => Ok((false, Some((LOCK_FILE.to_string(), reason)))),
        live => live.map(|live| (live, None)),
    }
}

/// ` on NAME`, where the host has a name: on a cluster the process may be on another node.
fn on_host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { String::new() } else { format!(" on {}", name.trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_empty_or_names_its_holder_and_holds_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let is = |text: &str| {
            let path = dir.path().join(LOCK_FILE);
            std::fs::write(&path, text).unwrap();
            is_lock(&path)
        };
        assert!(is("") && is("process 12") && is("process 12\n") && is("process 12 on node-7\n"));
        for other in ["4711", "process ", "process x", "process 12 curl", "process 12\nmine", "process 12 on a\nmine\n"]
        {
            assert!(!is(other), "{other:?}");
        }
        assert!(!is(&format!("process 12 on {}", "x".repeat(1 << 13))));
        let held = tempfile::tempdir().unwrap();
        let _lock = DirLock::acquire(held.path()).unwrap();
        assert!(is_lock(&held.path().join(LOCK_FILE)), "what this program writes");
    }

    #[test]
    fn a_second_holder_is_refused_with_the_first_ones_pid_until_it_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_live(dir.path()).unwrap());
        let first = DirLock::acquire(dir.path()).unwrap();
        assert!(is_live(dir.path()).unwrap());
        let error = DirLock::acquire(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        assert!(error.contains(&dir.path().display().to_string()), "{error}");
        drop(first);
        assert!(!is_live(dir.path()).unwrap());
        DirLock::acquire(dir.path()).unwrap();
    }
}
