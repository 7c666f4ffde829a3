//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::error::StoreError;
use super::lacking::{Service, done_without, is_lacking};

/// How the names of unfinished files begin and end. Only names with both are ever removed as leftovers.
const TEMP_PREFIX: &str = ".cliffline-";
const TEMP_SUFFIX: &str = ".tmp";

/// Writes `path` so that after a kill or a power cut it holds either its old content or all of the new.
///
/// `fill` writes into a temporary file in the same directory, which is then synced and renamed over `path`; the
/// directory is synced last. When `fill` fails, `path` is untouched and the temporary file is gone.
///
/// # Errors
/// [`StoreError::Io`] naming `path`.
pub fn write_atomic(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), StoreError> {
    let mut pending = Pending::create(path)?;
    fill(pending.writer()).map_err(StoreError::io("write", path))?;
    pending.commit(path)
}

/// As [`write_atomic`], for what can be made again: a kill leaves the old content or the new, but nothing waits for the
/// disk, so that after a power cut the file may be empty or gone.
pub fn write_replaceable(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), StoreError> {
    let mut pending = Pending::create(path)?;
    fill(pending.writer()).map_err(StoreError::io("write", path))?;
    pending.replace(path)
}

/// A temporary file on its way to becoming a finished one; dropped, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Pending {
    writer: BufWriter<tempfile::NamedTempFile>,
}

impl Pending {
    /// Opens a temporary file in the directory of `path`.
    ///
    /// # Errors
    /// [`StoreError::Io`], also where something lies at `path` that is no plain file: a device would be gone after the
    /// rename, and whoever reads a pipe would wait for ever.
    pub(crate) fn create(path: &Path) -> Result<Self, StoreError> {
        if let Some(kind) = special(path) {
            let reason = format!("there is {kind}, and only a plain file is replaced: name another file");
            return Err(StoreError::io("write", path)(io::Error::new(io::ErrorKind::AlreadyExists, reason)));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMP_PREFIX).suffix(TEMP_SUFFIX);
        // Results are for sharing: the umask decides, not the private mode that temporary files get by default.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(directory_of(path)).map_err(StoreError::io("create", path))?;
        Ok(Self { writer: BufWriter::with_capacity(1 << 20, file) })
    }

    pub(crate) fn writer(&mut self) -> &mut BufWriter<tempfile::NamedTempFile> {
        &mut self.writer
    }

    /// Syncs the file, renames it to `path` and syncs the directory.
    pub(crate) fn commit(mut self, path: &Path) -> Result<(), StoreError> {
        self.writer.flush().map_err(StoreError::io("write", path))?;
        sync_file(self.writer.get_ref().as_file(), path)?;
        self.replace(path)?;
        sync_directory(directory_of(path))
    }

    /// Renames the file to `path`.
    pub(crate) fn replace(self, path: &Path) -> Result<(), StoreError> {
        let file = self.writer.into_inner().map_err(|e| StoreError::io("write", path)(e.into_error()))?;
        file.persist(path).map_err(|e| StoreError::io("rename a temporary file to", path)(e.error))?;
        Ok(())
    }
}

/// What lies at `path`, where that is no plain file.
fn special(path: &Path) -> Option<&'static str> {
    let kind = fs::symlink_metadata(path).ok()?.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_symlink() => Some("a link"),
        () => Some("a device, a pipe or a socket"),
    }
}

/// The directory that holds `path`; `.` for a bare file name.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes renames and removals in `dir` durable. Where directories cannot be opened (Windows) the system does it.
pub(crate) fn sync_directory(dir: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        let opened = File::open(dir).map_err(StoreError::io("sync", dir))?;
        return synced(opened.sync_all(), dir, dir);
    }
    Ok(())
}

/// Waits until what was written into the file at `path` is on the disk.
pub(crate) fn sync_file(file: &File, path: &Path) -> Result<(), StoreError> {
    synced(file.sync_all(), path, directory_of(path))
}

/// Where there is no such service the file is as sound as any there.
fn synced(result: io::Result<()>, path: &Path, dir: &Path) -> Result<(), StoreError> {
    match result {
        Err(error) if is_lacking(Service::Syncing, &error) => {
            done_without(Service::Syncing, dir, &error);
            Ok(())
        }
        other => other.map_err(StoreError::io("sync", path)),
    }
}

/// True for the name of an unfinished file of this program.
pub(crate) fn is_leftover(name: &str) -> bool {
    name.starts_with(TEMP_PREFIX) && name.ends_with(TEMP_SUFFIX)
}

/// Removes what writers killed in `dir` left unfinished. The caller holds the lock, so no writer is at work there.
pub(crate) fn remove_leftovers(dir: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let entry = entry.map_err(StoreError::io("list", dir))?;
        let plain = entry.file_type().is_ok_and(|kind| kind.is_file());
        if plain && entry.file_name().to_str().is_some_and(is_leftover) {
            fs::remove_file(entry.path()).map_err(StoreError::io("remove", &entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.json");
        write_atomic(&path, |w| w.write_all(b"old")).unwrap();
        let error = write_atomic(&path, |w| {
            w.write_all(&[b'x'; 1 << 21])?;
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert!(error.to_string().contains("the disk is full"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn leftovers_go_and_everything_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".cliffline-x1.tmp", ".other.tmp", "notes.tmp"] {
            fs::write(dir.path().join(name), b"x").unwrap();
        }
        remove_leftovers(dir.path()).unwrap();
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".other.tmp", "notes.tmp"]);
    }

    #[cfg(unix)]
    #[test]
    fn finished_files_follow_the_umask() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (ours, plain) = (dir.path().join("a"), dir.path().join("b"));
        write_atomic(&ours, |w| w.write_all(b"x")).unwrap();
        fs::write(&plain, b"x").unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }

    #[test]
    #[cfg(unix)]
    fn only_plain_files_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        std::os::unix::fs::symlink("/dev/null", at("link")).unwrap();
        for (name, kind) in [("socket", "a socket"), ("folder", "a directory"), ("link", "a link")] {
            let error = write_atomic(&at(name), |w| w.write_all(b"new")).unwrap_err();
            assert!(std::error::Error::source(&error).unwrap().to_string().contains(kind), "{error:?}");
        }
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing unfinished is left");
    }
}
