//! A short hold on the files of a directory: of whoever writes and seals them, and of whoever reads many together.
//!
//! [`DirLock`](super::DirLock) says that somebody is at work on a run, for as long as that takes. This one is held for
//! the moments in which files change that must fit one another, by `report`, `gate` and `bundle` on a run that has
//! ended as by `run`, `refine` and `lab` at their beginning and end; who finds it taken waits.
//!
//! What is locked is the directory itself: that takes no file, and no right to write there. Where a system or file
//! system does not lock directories there is no hold, and commands that write into one run should not overlap.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::StoreError;
use super::lacking::{Service, done_without};

/// How long a writer waits for the others. Sealing hashes every file: a minute for a hundred gigabytes or so. A hold
/// that is longer is of a process that was stopped, and nothing is lost by giving up: the same command goes on.
const WRITER_PATIENCE: Duration = Duration::from_secs(600);
/// How long a reader waits. It can come again.
const READER_PATIENCE: Duration = Duration::from_secs(60);
/// From the first wait to the longest between two looks.
const PAUSES: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(50)];
/// Waits that are shorter need no word.
const WORTH_A_WORD: Duration = Duration::from_secs(1);

/// A hold on the files of a directory, given back when dropped or when the process dies, however it dies.
#[derive(Debug)]
pub struct FilesLock {
    /// None where directories are not locked, or there is none.
    _dir: Option<File>,
}

impl FilesLock {
    /// Keeps all others away. `waits` is called once, when it takes longer than a second.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when others do not let go.
    pub fn to_write(dir: &Path, waits: impl FnOnce()) -> Result<Self, StoreError> {
        take(dir, File::try_lock, WRITER_PATIENCE, waits)
    }

    /// Keeps writers away, not readers.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when a writer does not let go.
    pub fn to_read(dir: &Path, waits: impl FnOnce()) -> Result<Self, StoreError> {
        take(dir, File::try_lock_shared, READER_PATIENCE, waits)
    }
}

fn take(
    dir: &Path,
    attempt: impl Fn(&File) -> Result<(), TryLockError>,
    patience: Duration,
    waits: impl FnOnce(),
) -> Result<FilesLock, StoreError> {
    let Ok(file) = File::open(dir) else { return Ok(FilesLock { _dir: None }) };
    let started = Instant::now();
    let [mut pause, longest] = PAUSES;
    let mut waits = Some(waits);
    loop {
        match attempt(&file) {
            Ok(()) => return Ok(FilesLock { _dir: Some(file) }),
            Err(TryLockError::Error(error)) => {
                done_without(Service::Locks, dir, &error);
                return Ok(FilesLock { _dir: None });
            }
            Err(TryLockError::WouldBlock) if started.elapsed() > patience => {
                return Err(StoreError::Busy { dir: dir.to_path_buf() });
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if started.elapsed() > WORTH_A_WORD
            && let Some(waits) = waits.take()
        {
            waits();
        }
        std::thread::sleep(pause);
        pause = longest.min(pause * 2);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_writer_waits_for_all_and_readers_for_writers_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (FilesLock::to_read(dir.path(), || {}), FilesLock::to_read(dir.path(), || {}));
        let readers = [first.unwrap(), second.unwrap()];
        let written = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _writer = FilesLock::to_write(dir.path(), || {}).unwrap();
                written.store(true, Ordering::SeqCst);
            });
            std::thread::sleep(Duration::from_millis(60));
            assert!(!written.load(Ordering::SeqCst), "it waits for both readers");
            drop(readers);
        });
        assert!(written.load(Ordering::SeqCst));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left there");
    }

    #[test]
    fn who_does_not_get_it_is_told_by_and_by() {
        let dir = tempfile::tempdir().unwrap();
        let _held = FilesLock::to_write(dir.path(), || {}).unwrap();
        let mut told = 0;
        let patience = WORTH_A_WORD + Duration::from_millis(200);
        let refused = take(dir.path(), File::try_lock_shared, patience, || told += 1);
        assert!(matches!(refused, Err(StoreError::Busy { .. })), "{refused:?}");
        assert_eq!(told, 1);
        assert!(FilesLock::to_read(&dir.path().join("none"), || {}).is_ok(), "there is nothing to hold");
    }
}
