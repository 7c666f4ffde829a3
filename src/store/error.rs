//! What can go wrong with a run directory, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::place::Holds;
use crate::numerics::printable::on_one_line;

/// A path in a sentence, whatever its name holds.
fn shown(path: &Path) -> String {
    on_one_line(&path.display().to_string()).into_owned()
}

/// An error of the store. Every variant names the path and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {action} {}: {source}{}", shown(path), hint(source))]
    Io { action: &'static str, path: PathBuf, source: io::Error },

    #[error(
        "{} is in use by {}: wait for it, stop it, or choose another directory with -o",
        shown(dir),
        on_one_line(holder)
    )]
    Locked { dir: PathBuf, holder: String },

    #[error("{} {}: choose another directory with -o", shown(dir), instead(found, wanted))]
    NotOurs { dir: PathBuf, found: Holds, wanted: &'static str },

    #[error(
        "{} is not a run directory: it holds {}, and none of what this program knows its own by (cliffline.json, \
         manifest.json, parts/)",
        shown(dir),
        on_one_line(found)
    )]
    Foreign { dir: PathBuf, found: String },

    #[error(
        "{} is {what}: a run has plain files and folders alone, and nothing is written through others; remove it, or put \
         there what it stands for",
        shown(path)
    )]
    NotPlain { path: PathBuf, what: &'static str },

    #[error("another command is writing in {}, and has not ended: try again when it has", shown(dir))]
    Busy { dir: PathBuf },

    #[error("{} is not a run directory: it has no parts/", shown(dir))]
    NoRun { dir: PathBuf },

    #[error(
        "{} was unpacked from a bundle without parts/, in which the cells are: `cliffline bundle --with-parts` on the run \
         that it was made of puts them in",
        shown(dir)
    )]
    NoParts { dir: PathBuf },

    #[error(
        "{} holds the sweep `{}`, not `{wanted}`: choose another directory with -o",
        shown(dir),
        on_one_line(found)
    )]
    OtherSweep { dir: PathBuf, found: String, wanted: String },

    #[error(
        "{} was computed in the class `{}`, this process computes in `{wanted}`; classes are never silently \
         mixed: go on where the run began (backend, machine kind, version), or choose another directory with -o",
        shown(dir),
        on_one_line(found)
    )]
    OtherClass { dir: PathBuf, found: String, wanted: String },

    #[error(
        "{} holds {count} cells that this plan does not contain (such as {example}): it was made from a different \
         spec; {difference}; choose another directory with -o, or restore the spec",
        shown(dir)
    )]
    OtherPlan { dir: PathBuf, count: usize, example: String, difference: String },

    #[error("{} has format version {found}, this program reads up to {supported}: upgrade cliffline", shown(path))]
    Newer { path: PathBuf, found: u64, supported: u64 },

    #[error("{} is damaged: {}", shown(path), on_one_line(reason))]
    Damaged { path: PathBuf, reason: String },

    #[error("cannot record cell {cell_id}: {reason}")]
    BadRecord { cell_id: String, reason: String },

    #[error("{} is no strict report, which is a mistake of the program: {reason}", shown(path))]
    BadReport { path: PathBuf, reason: String },

    #[error("no finished cell of {} has an id that begins with `{prefix}`", shown(dir))]
    NoSuchCell { dir: PathBuf, prefix: String },

    #[error(
        "`{prefix}` is the beginning of {} cell ids, such as {} and {}: give more digits",
        matches.len(), matches.first().map_or("", String::as_str), matches.last().map_or("", String::as_str)
    )]
    AmbiguousCell { prefix: String, matches: Vec<String> },

    #[error("cannot make the table {}: {reason}", shown(path))]
    Table { path: PathBuf, reason: String },
}

impl StoreError {
    /// An IO error with what was being done, for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source: plain(source) }
    }

    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_path_buf(), reason: reason.into() }
    }

    /// True when a file that was listed has gone, as happens to a reader while the owner merges parts.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// True when there is no room left to write to.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }
}

/// An error without the name of a temporary file, which nobody asked for; that is in its text alone.
fn plain(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() {
        return error;
    }
    let text = error.to_string();
    let code = text.split_once("(os error ").and_then(|(_, rest)| rest.split_once(')')?.0.parse().ok());
    code.map_or(error, io::Error::from_raw_os_error)
}

/// What is in a directory where a run or a laboratory should go.
fn instead(found: &Holds, wanted: &str) -> String {
    match found {
        Holds::Other(names) => format!(
            "is not empty and is not a {wanted} directory (it holds {names}, and no cliffline.json, manifest or part that \
             this program wrote)"
        ),
        Holds::Run => format!("holds a run and no {wanted}"),
        Holds::Laboratory => format!("holds a laboratory and no {wanted}"),
        Holds::Nothing => format!("holds no {wanted}"),
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// What a person can do about an IO error, appended to its message.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::FileTooLarge => {
            " (the file would be larger than `ulimit -f` or the file system allows: raise the limit and run the same command \
             again; every finished cell is kept)"
        }
        _ if is_full(error) => {
            " (the disk is full: free some space and run the same command again; every finished cell is kept)"
        }
        io::ErrorKind::PermissionDenied => " (check the permissions, then run the same command again)",
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            " (a file is in the way: remove it, or choose another path with -o)"
        }
        io::ErrorKind::ReadOnlyFilesystem => " (the file system is read-only: choose another directory with -o)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_what_to_do() {
        let error = StoreError::io("write", Path::new("run/parts/a.part"))(io::ErrorKind::StorageFull.into());
        let text = error.to_string();
        assert!(text.starts_with("cannot write run/parts/a.part: "), "{text}");
        assert!(text.contains("free some space and run the same command again"), "{text}");
        let named = io::Error::other("File too large (os error 27) at path \"/run/parts/.cliffline-1.tmp\"");
        let error = StoreError::io("write", Path::new("run/parts/a.part"))(named);
        assert!(!error.to_string().contains(".cliffline-1.tmp"), "{error}");
        assert!(error.is_disk_full() && error.to_string().contains("ulimit -f"), "{error}");
    }
}
