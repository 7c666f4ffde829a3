//! Plain files and folders: what a run directory consists of. A directory that came from elsewhere may hold links to
//! places outside, pipes that never end, and devices; none of them is followed, waited for or written through.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::bounded::MOST_FILE_BYTES;
use super::error::StoreError;
use super::litter::is_litter;

/// What an entry is that is neither a file nor a folder; none for those.
pub(crate) fn odd_kind(kind: FileType) -> Option<&'static str> {
    if kind.is_symlink() {
        return Some("a symbolic link");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Some("a named pipe");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
        if kind.is_block_device() || kind.is_char_device() {
            return Some("a device");
        }
    }
    (!kind.is_file() && !kind.is_dir()).then_some("no plain file")
}

/// What lies at `path`, where that is neither a file nor a folder.
pub(crate) fn odd_entry(path: &Path) -> Option<&'static str> {
    fs::symlink_metadata(path).ok().and_then(|found| odd_kind(found.file_type()))
}

/// Carried inside an IO error, so that what is no plain file is told from what cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("it is {0}, and a run has plain files and folders alone")]
struct NotPlain(&'static str);

fn not_plain(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, NotPlain(what))
}

/// Whether an error is that of a file that is no plain file.
pub(crate) fn is_not_plain(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NotPlain>())
}

/// Refuses what is no plain file before it is opened: opening alone can wait for ever, or wind a tape.
fn require_file(path: &Path) -> io::Result<()> {
    match odd_kind(fs::symlink_metadata(path)?.file_type()) {
        Some(what) => Err(not_plain(what)),
        None => Ok(()),
    }
}

/// Opens with `options`, and neither follows a link nor waits, should the entry have been exchanged meanwhile.
fn open_plainly(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    }
    let file = options.open(path)?;
    match file.metadata()?.file_type() {
        kind if kind.is_file() => Ok(file),
        kind if kind.is_dir() => Err(ErrorKind::IsADirectory.into()),
        kind => Err(not_plain(odd_kind(kind).unwrap_or("no plain file"))),
    }
}

/// Opens a plain file for reading.
///
/// # Errors
/// Those of the system, and that it is a link, a pipe, a socket or a device.
pub fn open_file(path: &Path) -> io::Result<File> {
    require_file(path)?;
    open_plainly(path, OpenOptions::new().read(true))
}

/// Opens a plain file to read and to write in its place, and creates it where it is missing. A file that has another name
/// elsewhere is refused: it would change there as well.
///
/// # Errors
/// As [`open_file`].
pub(crate) fn open_in_place(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    match require_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        other => other?,
    }
    let file = open_plainly(path, options.read(true).create(true))?;
    if has_second_name(&file.metadata()?) { Err(not_plain(SECOND_NAME)) } else { Ok(file) }
}

/// What a file is that has a second name.
const SECOND_NAME: &str = "a file with a second name elsewhere (a hard link), which would change as well";

#[cfg(unix)]
fn has_second_name(about: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(about) > 1
}

#[cfg(not(unix))]
fn has_second_name(_: &fs::Metadata) -> bool {
    false
}

/// Refuses a file that is written in its place and has a second name, before anything else is changed.
///
/// # Errors
/// [`StoreError::NotPlain`].
pub(crate) fn require_one_name(path: &Path) -> Result<(), StoreError> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_file() && has_second_name(&about) => {
            Err(StoreError::NotPlain { path: path.to_path_buf(), what: SECOND_NAME })
        }
        _ => Ok(()),
    }
}

/// The bytes of a plain file that has at most [`MOST_FILE_BYTES`].
///
/// # Errors
/// As [`open_file`]; [`ErrorKind::FileTooLarge`] for a larger one, of which nothing is read.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    read_up_to(path, MOST_FILE_BYTES)
}

fn read_up_to(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open_file(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    if length <= most {
        bytes.try_reserve_exact(length as usize).map_err(|_| ErrorKind::OutOfMemory)?;
        // It may grow while it is read.
        file.take(most + 1).read_to_end(&mut bytes)?;
    }
    let length = length.max(bytes.len() as u64);
    if length > most {
        let text = format!("it has {length} bytes, and a file of its kind has {most} at most");
        return Err(io::Error::new(ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// The text of a plain file.
///
/// # Errors
/// As [`read_file`], and for what is no UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_file(path)?).map_err(|e| io::Error::new(ErrorKind::InvalidData, e))
}

/// As [`open_file`], for the store: what is no plain file is damage, and named as such.
pub(crate) fn open_stored(path: &Path) -> Result<File, StoreError> {
    open_file(path).map_err(|error| stored_error("open", path, error))
}

/// An error of reading, where what is no plain file, or larger than one of its kind can be, counts as damage.
pub(crate) fn stored_error(action: &'static str, path: &Path, error: io::Error) -> StoreError {
    if is_not_plain(&error) || error.kind() == ErrorKind::FileTooLarge {
        StoreError::damaged(path, error.to_string())
    } else {
        StoreError::io(action, path)(error)
    }
}

/// Whether `path` is a folder and no link to one.
pub(crate) fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Refuses a directory that has anything but files and folders at its top, or in those of `folders` that it has.
///
/// # Errors
/// [`StoreError::NotPlain`], [`StoreError::Io`] for a folder that cannot be listed.
pub(crate) fn require_plain(dir: &Path, folders: &[&str]) -> Result<(), StoreError> {
    let below = folders.iter().map(|folder| dir.join(folder));
    for folder in std::iter::once(dir.to_path_buf()).chain(below) {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if folder != dir && matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(e) => return Err(StoreError::io("list", &folder)(e)),
        };
        for entry in entries {
            let entry = entry.map_err(StoreError::io("list", &folder))?;
            let kind = entry.file_type().map_err(StoreError::io("look at", &entry.path()))?;
            // Some editors keep their locks as links that lead nowhere.
            let litter = entry.file_name().to_str().is_some_and(is_litter);
            if let Some(what) = odd_kind(kind).filter(|_| !litter) {
                return Err(StoreError::NotPlain { path: entry.path(), what });
            }
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn pipe(path: &Path) {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[test]
    fn links_pipes_sockets_and_devices_are_told_from_files_and_nothing_waits_for_them() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("plain"), "mine").unwrap();
        symlink(at("plain"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        pipe(&at("pipe"));
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for (name, what) in [("link", "link"), ("dangling", "link"), ("pipe", "pipe"), ("socket", "socket")] {
            let error = open_file(&at(name)).unwrap_err();
            assert!(is_not_plain(&error) && error.to_string().contains(what), "{name}: {error}");
            let mut options = OpenOptions::new();
            assert!(is_not_plain(&open_in_place(&at(name), options.append(true)).unwrap_err()), "{name}");
            // Even where it took the place of a file after that was looked at.
            assert!(open_plainly(&at(name), OpenOptions::new().read(true)).is_err(), "{name}");
        }
        assert!(is_not_plain(&open_file(Path::new("/dev/zero")).unwrap_err()));
        assert!(!at("nowhere").exists(), "nothing was made through a link");
        assert_eq!(read_file(&at("plain")).unwrap(), b"mine");
        assert_eq!(open_file(&at("missing")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(open_file(dir.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
    }

    #[test]
    fn what_is_larger_than_may_be_is_refused_and_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.json");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_up_to(&path, 5).unwrap(), b"12345");
        assert_eq!(read_up_to(&path, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        // A hole of a terabyte takes no room on the disk.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let error = read_file(&path).map_err(|e| stored_error("read", &path, e)).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { reason, .. } if reason.contains("1099511627776")), "{error}");
    }

    #[test]
    fn a_file_with_a_second_name_is_read_and_not_written_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        fs::write(&one, "mine").unwrap();
        fs::hard_link(&one, &other).unwrap();
        assert_eq!(read_text(&other).unwrap(), "mine");
        let error = open_in_place(&other, OpenOptions::new().append(true)).unwrap_err();
        assert!(error.to_string().contains("hard link"), "{error}");
        fs::remove_file(&one).unwrap();
        open_in_place(&other, OpenOptions::new().append(true)).unwrap();
    }

    #[test]
    fn what_is_no_file_is_found_in_the_folders_that_count_and_editors_locks_are_let_be() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("plots/mine")).unwrap();
        fs::create_dir_all(at("notes")).unwrap();
        symlink("ann@host.123:456", at("plots/.#report.html")).unwrap();
        symlink("/", at("notes/root")).unwrap();
        require_plain(dir.path(), &["plots", "parts"]).unwrap();
        symlink("/etc/hosts", at("plots/a.svg")).unwrap();
        let error = require_plain(dir.path(), &["plots", "parts"]).unwrap_err().to_string();
        assert!(error.contains("plots/a.svg is a symbolic link"), "{error}");
        fs::remove_file(at("plots/a.svg")).unwrap();
        symlink(at("notes"), at("parts")).unwrap();
        let error = require_plain(dir.path(), &["plots", "parts"]).unwrap_err().to_string();
        assert!(error.contains("parts is a symbolic link"), "{error}");
    }
}
