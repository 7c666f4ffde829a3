//! What is ours in a directory: one line for each file that this program writes there, with how it is told from another of
//! the same name. Nothing else is ever replaced, removed, sealed or bundled.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::atomic::{directory_of, sync_directory};
use super::bundle::{BUNDLE_NOTE_FILE, is_bundle};
use super::directives::{DIRECTIVES_FILE, is_log};
use super::error::StoreError;
use super::ledger::{BUNDLE_FILE, LEDGER_FILE};
use super::litter::fits;
use super::lock::{LOCK_FILE, is_lock};
use super::manifest::{MANIFEST_FILE, VERIFICATION_STATEMENT};
use super::part::is_part;
use super::place::{MARKER_FILE, is_marker};
use super::plain::{is_not_plain, open_file};
use super::table::read_table_info;
use super::tables::{REUSED_FILE, is_list_of_reused};

/// The resolved spec of a run.
pub const SPEC_FILE: &str = "spec.toml";
/// The page of a report.
pub const REPORT_FILE: &str = "report.html";

/// The folder of the pictures of a run.
pub const PLOTS: &str = "plots";
/// The folder of a laboratory's runs.
pub const RUNS: &str = "runs";
/// The folders, beside those of [`RUNS`], that files of ours lie in.
pub(crate) const FOLDERS: [&str; 4] = [super::reader::PARTS, "parts/damaged", PLOTS, RUNS];

/// What the style of every picture begins with.
pub const PICTURE_MARK: &str = "svg{--ink:";
/// How JSON of ours says what it is, written in lines or without.
const FORMATS: [&str; 2] = ["\"format\": \"cliffline-", "\"format\":\"cliffline-"];
/// More than the longest name of a format, the statement or a first line before which those stand.
const CHUNK_BYTES: usize = 1 << 16;
/// What is added to the name of a file that is not ours and lies where one of ours must go.
const SET_ASIDE: &str = ".set-aside";

/// A file of ours: where it lies (`*` is any text without `/`), and whether the file there is ours.
type Own = (&'static str, fn(&Path) -> bool);

/// Every file that is written into the directory of a run or of a laboratory.
const OWN: [Own; 27] = [
    (MARKER_FILE, is_marker),
    (LOCK_FILE, is_lock),
    (MANIFEST_FILE, has_our_words),
    // It says nothing but values; whoever writes it looks whether another's would be lost.
    (SPEC_FILE, |_| true),
    ("cells.parquet", is_table),
    ("conditions.parquet", is_table),
    ("curves.parquet", is_table),
    ("spectra.parquet", is_table),
    ("surfaces.parquet", is_table),
    ("margins.parquet", is_table),
    ("boundaries.parquet", is_table),
    ("lead_lag.parquet", is_table),
    ("exemplars.parquet", is_table),
    (REUSED_FILE, is_list_of_reused),
    ("gates.json", has_our_words),
    ("refinement.json", has_our_words),
    (REPORT_FILE, has_our_words),
    ("plots/*.svg", is_picture),
    ("report.json", has_our_words),
    ("risk_log.json", has_our_words),
    (DIRECTIVES_FILE, is_log),
    (LEDGER_FILE, has_our_words),
    (BUNDLE_FILE, is_bundle),
    (BUNDLE_NOTE_FILE, has_our_words),
    ("parts/*.part", is_part),
    // A laboratory's; its runs have the files above, below runs/NAME/.
    ("lab.json", has_our_words),
    ("attribution.json", has_our_words),
];

/// Whether a file is a table whose footer says that this program wrote it, whichever version did.
fn is_table(path: &Path) -> bool {
    matches!(read_table_info(path), Ok(_) | Err(StoreError::Newer { .. }))
}

/// Whether a text of any length has the statement of every report, or names a format of ours.
fn has_our_words(path: &Path) -> bool {
    let words = [VERIFICATION_STATEMENT, FORMATS[0], FORMATS[1]];
    open_file(path).and_then(|file| has_any(file, &words, CHUNK_BYTES)).unwrap_or(false)
}

/// Whether a text has one of `words`. It is read in chunks of `bytes`, each with the end of the one before it, so that
/// a word across a border is found.
fn has_any(mut text: impl Read, words: &[&str], bytes: usize) -> io::Result<bool> {
    let longest = words.iter().map(|word| word.len()).max().unwrap_or(0);
    let mut seen: Vec<u8> = Vec::new();
    loop {
        let kept = seen.len().saturating_sub(longest.saturating_sub(1));
        seen.drain(..kept);
        if text.by_ref().take(bytes as u64).read_to_end(&mut seen)? == 0 {
            return Ok(false);
        }
        let chunk = String::from_utf8_lossy(&seen);
        if words.iter().any(|word| chunk.contains(word)) {
            return Ok(true);
        }
    }
}

fn is_picture(path: &Path) -> bool {
    let start = start_of(path, CHUNK_BYTES);
    start.starts_with("<svg") && start.contains(PICTURE_MARK)
}

/// The first bytes of a file as text; nothing where it cannot be read.
pub(crate) fn start_of(path: &Path, bytes: usize) -> String {
    let mut start = Vec::new();
    let read = open_file(path).and_then(|file| file.take(bytes as u64).read_to_end(&mut start));
    read.map_or(String::new(), |_| String::from_utf8_lossy(&start).into_owned())
}

/// `path` without the folder of a run of a laboratory, where it lies in one.
fn in_run(path: &str) -> &str {
    let below = path.strip_prefix(RUNS).and_then(|rest| rest.strip_prefix('/'));
    below.and_then(|rest| rest.split_once('/')).map_or(path, |(_, rest)| rest)
}

/// Whether a pattern of [`OWN`] is of this path.
fn is_at(pattern: &str, path: &str) -> bool {
    match (pattern.rsplit_once('/'), path.rsplit_once('/')) {
        (None, None) => fits(pattern, path),
        (Some((folder, pattern)), Some((place, name))) => folder == place && fits(pattern, name),
        _ => false,
    }
}

/// Whether the file at `path`, relative to `dir` and with `/` between folders, was made by this program. An empty file where
/// one of ours goes counts: a power cut leaves such, and nobody loses anything by it.
///
/// # Errors
/// [`StoreError::Io`] for a file that cannot be opened: whose it is cannot be told.
pub fn is_own(dir: &Path, path: &str) -> Result<bool, StoreError> {
    is_own_as(&dir.join(path), path)
}

/// Whether `file`, wherever it lies, is what this program writes at the place `path` in a directory of ours.
///
/// # Errors
/// As [`is_own`].
pub fn is_own_as(file: &Path, path: &str) -> Result<bool, StoreError> {
    let Some((_, is_ours)) = OWN.iter().find(|(pattern, _)| is_at(pattern, in_run(path))) else { return Ok(false) };
    match open_file(file).and_then(|open| open.metadata()) {
        Ok(found) => Ok(found.len() == 0 || is_ours(file)),
        Err(e) if is_not_plain(&e) || is_no_file(e.kind()) => Ok(false),
        Err(e) => Err(StoreError::io("read", file)(e)),
    }
}

/// Whether an error says that there is no file, and not that there is one that cannot be read.
fn is_no_file(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory)
}

/// Whether a path is that of the lock of a directory, or of a run of a laboratory.
pub(crate) fn is_lock_place(path: &str) -> bool {
    in_run(path) == LOCK_FILE
}

/// Whether a folder may hold files of ours.
pub(crate) fn may_hold_own(folder: &str) -> bool {
    let of_laboratory = folder.strip_prefix(RUNS).is_some_and(|rest| rest.matches('/').count() == 1);
    of_laboratory || FOLDERS.contains(&in_run(folder))
}

/// Whether a path is that of a file that was set aside, where a file of ours goes or as damaged.
pub(crate) fn is_set_aside(path: &str) -> bool {
    let number = |rest: &str| rest.is_empty() || rest.strip_prefix('-').is_some_and(|n| n.parse::<u32>().is_ok());
    let before = path.rsplit_once(SET_ASIDE).filter(|(_, rest)| number(rest)).map(|(before, _)| before);
    let aside = before.is_some_and(|before| OWN.iter().any(|(pattern, _)| is_at(pattern, in_run(before))));
    aside || in_run(path).starts_with("parts/damaged/")
}

/// Moves a file out of the way of one of ours, where it is none of ours itself; returns its new path.
///
/// # Errors
/// [`StoreError::Io`]; a folder in the way is left to whoever writes there.
pub fn make_way(dir: &Path, path: &str) -> Result<Option<PathBuf>, StoreError> {
    let there = fs::symlink_metadata(dir.join(path)).is_ok_and(|found| found.is_file());
    if there && !is_own(dir, path)? { set_aside(dir, path).map(Some) } else { Ok(None) }
}

/// Gives a file another name, beside itself, under which nothing is written; returns its new path.
///
/// # Errors
/// [`StoreError::Io`].
pub fn set_aside(dir: &Path, path: &str) -> Result<PathBuf, StoreError> {
    let file = dir.join(path);
    let mut free = dir.join(format!("{path}{SET_ASIDE}"));
    let mut number = 1;
    while fs::symlink_metadata(&free).is_ok() {
        number += 1;
        free = dir.join(format!("{path}{SET_ASIDE}-{number}"));
    }
    fs::rename(&file, &free).map_err(StoreError::io("set aside", &file))?;
    sync_directory(directory_of(&file))?;
    Ok(free)
}

/// As [`make_way`], of the files that every change of a directory writes, and of `files`: old and new path of what was set
/// aside.
///
/// # Errors
/// As [`make_way`].
pub fn make_way_for(dir: &Path, files: &[&str]) -> Result<Vec<(PathBuf, PathBuf)>, StoreError> {
    let mut moved = Vec::new();
    for path in [MARKER_FILE, MANIFEST_FILE, DIRECTIVES_FILE, LEDGER_FILE, BUNDLE_FILE].iter().chain(files) {
        moved.extend(make_way(dir, path)?.map(|aside| (dir.join(path), aside)));
    }
    Ok(moved)
}

/// Removes a file of ours; another's of that name stays. Whether it was removed.
///
/// # Errors
/// [`StoreError::Io`].
pub fn remove_own(dir: &Path, path: &str) -> Result<bool, StoreError> {
    let file = dir.join(path);
    if !is_own(dir, path)? {
        return Ok(false);
    }
    match fs::remove_file(&file) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(StoreError::io("remove", &file)(e)),
    }
}

/// Whether a path in a run is that of the page of a report, or of one of its pictures.
pub fn is_of_report(path: &str) -> bool {
    path == REPORT_FILE || path.strip_prefix(PLOTS).is_some_and(|below| below.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::super::bounded::MOST_FILE_BYTES;
    use super::*;

    const PICTURE: &str = "<svg xmlns=\"x\"><style>svg{--ink:#000}</style></svg>";

    #[test]
    fn a_file_is_ours_by_its_place_and_by_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let is = |path: &str, text: &str| {
            let file = dir.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
            is_own(dir.path(), path).unwrap()
        };
        assert!(is("gates.json", "{\n  \"format\": \"cliffline-gates\"}"));
        assert!(!is("gates.json", "{\"gates\": [\"north\"]}"));
        assert!(!is("mine.json", "{\"format\": \"cliffline-gates\"}"), "no file of ours has this name");
        assert!(is("report.html", &format!("<p>{VERIFICATION_STATEMENT}</p>")) && !is("report.html", "<p>Ann</p>"));
        assert!(is("report.html", ""), "nothing is lost");
        assert!(is("plots/a.svg", PICTURE) && !is("plots/a.svg", "<svg/>"));
        assert!(!is("plots/deep/a.svg", PICTURE) && !is("a.svg", PICTURE));
        assert!(is("runs/noise/plots/a.svg", PICTURE) && !is("runs/plots/a.svg", PICTURE));
        assert!(!is("cells.parquet", "PAR1PAR1"));
        for key in ["key.pem", "runs/noise/key.pem", "parts/key.pem", "parts/key.part", "parts/damaged/key.pem"] {
            assert!(!is(key, "secret"), "{key}");
        }
        assert!(!is_own(dir.path(), "bundle.zip").unwrap(), "not there");
    }

    #[test]
    fn folders_of_ours_are_those_of_a_run_and_of_a_laboratorys_runs() {
        for folder in ["parts", "plots", "parts/damaged", "runs", "runs/noise", "runs/noise/parts"] {
            assert!(may_hold_own(folder), "{folder}");
        }
        for folder in ["notes", "plots/mine", "runs/noise/notes", "parts/mine"] {
            assert!(!may_hold_own(folder), "{folder}");
        }
    }

    #[test]
    fn what_is_in_the_way_is_set_aside_whole_and_what_is_ours_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (round, end) in ["", "-2"].iter().enumerate() {
            fs::write(at("report.html"), format!("mine {round}")).unwrap();
            fs::write(at("gates.json"), VERIFICATION_STATEMENT).unwrap();
            let aside = at(&format!("report.html.set-aside{end}"));
            fs::write(at("exemplars.parquet"), "mine").unwrap();
            let moved = make_way_for(dir.path(), &["gates.json", "report.html"]).unwrap();
            assert_eq!(moved, [(at("report.html"), aside.clone())], "nothing is moved for what is not written");
            assert_eq!(fs::read_to_string(aside).unwrap(), format!("mine {round}"));
        }
        assert_eq!(make_way(dir.path(), "report.html").unwrap(), None, "nothing is there now");
        fs::write(at("refinement.json"), "mine").unwrap();
        assert!(!remove_own(dir.path(), "refinement.json").unwrap() && at("refinement.json").exists());
        assert!(remove_own(dir.path(), "gates.json").unwrap() && !at("gates.json").exists());
        assert!(!remove_own(dir.path(), "gates.json").unwrap());
    }

    #[test]
    fn what_was_set_aside_is_known_again() {
        for path in ["report.html.set-aside", "plots/a.svg.set-aside-3", "parts/damaged/x", "runs/a/parts/damaged/x"] {
            assert!(is_set_aside(path), "{path}");
        }
        // Only where a file of ours goes is anything set aside.
        for path in ["report.html", "set-aside", "gates.json.set-aside-x", "parts/x", "gates.json.set-aside.txt"]
            .into_iter()
            .chain(["key.pem.set-aside", "evil.sh.set-aside-2", "plots/deep/a.svg.set-aside", ".set-aside"])
        {
            assert!(!is_set_aside(path), "{path}");
        }
    }

    #[test]
    fn our_words_are_found_at_any_place_of_a_text_of_any_length() {
        let words = ["modality", "gap"];
        for text in ["the modality", "the gap", "gap", "modality gap"] {
            for chunk in 1..20 {
                assert!(has_any(text.as_bytes(), &words, chunk).unwrap(), "{text} in chunks of {chunk}");
            }
        }
        for text in ["", "modalit", "ga", "modal ity g ap"] {
            assert!((1..20).all(|chunk| !has_any(text.as_bytes(), &words, chunk).unwrap()), "{text}");
        }
        // More than is ever read as a whole; the hole takes no room on the disk.
        let dir = tempfile::tempdir().unwrap();
        let mut page = fs::File::create(dir.path().join("report.html")).unwrap();
        page.set_len(MOST_FILE_BYTES + 7).unwrap();
        io::Seek::seek(&mut page, io::SeekFrom::End(0)).unwrap();
        io::Write::write_all(&mut page, VERIFICATION_STATEMENT.as_bytes()).unwrap();
        assert!(is_own(dir.path(), "report.html").unwrap());
        assert_eq!(make_way(dir.path(), "report.html").unwrap(), None);
    }

    #[test]
    fn what_is_no_file_is_nobodys_and_what_cannot_be_opened_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("gates.json")).unwrap();
        assert!(!is_own(dir.path(), "gates.json").unwrap() && !is_own(dir.path(), "gates.json/spec.toml").unwrap());
        let open = |kind: ErrorKind| is_no_file(kind);
        assert!(open(ErrorKind::NotFound) && !open(ErrorKind::PermissionDenied));
        #[cfg(unix)]
        {
            let name = "report.html";
            std::os::unix::fs::symlink(name, dir.path().join(name)).unwrap();
            assert!(!is_own(dir.path(), name).unwrap(), "a link to itself");
            // Too long a name cannot be opened by anybody.
            let long = dir.path().join("x".repeat(300));
            assert!(is_own_as(&long, name).unwrap_err().to_string().contains("cannot read"), "not told apart");
        }
    }
}
