//! `ledger.jsonl`: every file of ours in a directory with its length and hash, so that nothing can change unnoticed.
//!
//! ```text
//! {"path":"cells.parquet","bytes":..,"blake3":".."}        one line per file, ascending by path
//! {"path":"manifest.json","bytes":..,"blake3":".."}        the manifest, after all others
//! {"format":"cliffline-ledger","version":1,"files":..,"ledger_blake3":".."}
//! ```
//! The digits of the last line are the BLAKE3 of all bytes of the file before them, in every version. The lines before the
//! manifest's are the leaves of a [Merkle tree](super::merkle) whose root the manifest carries; so the manifest vouches for
//! the files, the ledger for the manifest, and the last line for the ledger. Not in it are the ledger itself, the bundle that
//! is made of it, lock files, and [whatever is not ours](super::own).
//!
//! # Changelog of [`LEDGER_VERSION`]
//! - 1: first version.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use super::atomic::{is_leftover, write_replaceable};
use super::bundle::BUNDLE_NOTE_FILE;
use super::error::StoreError;
use super::litter::{is_litter, lies_in_litter};
use super::lock::is_lock;
use super::manifest::MANIFEST_FILE;
use super::merkle;
use super::own::{is_lock_place, is_own, is_set_aside, may_hold_own};
use super::plain::{odd_kind, open_file, open_stored, read_file, stored_error};
use super::reader::NamedFault;

/// Version of the layout above.
pub const LEDGER_VERSION: u64 = 1;
/// Its name in a directory.
pub const LEDGER_FILE: &str = "ledger.jsonl";
/// The bundle's name in a directory.
pub const BUNDLE_FILE: &str = "bundle.zip";

const FORMAT: &str = "cliffline-ledger";
/// Deeper than any run; a bound on what is looked through.
const DEEPEST: usize = 16;

/// One file, as a line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Relative to the directory, with `/` between folders.
    pub path: String,
    pub bytes: u64,
    /// 64 hex digits.
    pub blake3: String,
}

/// What follows the digits.
const END: &str = "\"}\n";
const DIGITS: usize = 64;

/// The files of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Ascending by path, without the manifest.
    pub artifacts: Vec<Artifact>,
    pub manifest: Option<Artifact>,
}

impl Artifact {
    /// A file as it lies on disk.
    pub(crate) fn of(dir: &Path, path: &str) -> Result<Self, StoreError> {
        let file = dir.join(path);
        let mut hasher = blake3::Hasher::new();
        let open = open_stored(&file)?;
        hasher.update_reader(open).map_err(StoreError::io("read", &file))?;
        let (bytes, blake3) = (hasher.count(), hasher.finalize().to_hex().to_string());
        Ok(Self { path: path.to_string(), bytes, blake3 })
    }

    fn line(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }
}

impl Ledger {
    /// The files of ours that lie in a directory now, the manifest apart from the others.
    ///
    /// # Errors
    /// [`StoreError::Io`] for a folder or file that cannot be read.
    pub fn of(dir: &Path) -> Result<Self, StoreError> {
        let entries = entries(dir, &may_hold_own)?;
        let plain = entries.par_iter().filter(|entry| entry.odd.is_none());
        let own = plain.filter_map(|entry| match is_own(dir, &entry.path) {
            Ok(false) => None,
            Ok(true) => Some(Artifact::of(dir, &entry.path)),
            Err(error) => Some(Err(error)),
        });
        let all = own.collect::<Result<Vec<Artifact>, StoreError>>()?;
        let (manifest, artifacts) = all.into_iter().partition::<Vec<_>, _>(|a| a.path == MANIFEST_FILE);
        Ok(Self { artifacts, manifest: manifest.into_iter().next() })
    }

    /// Puts the lines of `paths` in place of earlier ones, as these files are now; of those that are gone, none.
    ///
    /// # Errors
    /// [`StoreError::Io`] for a file that cannot be read.
    pub fn update(&mut self, dir: &Path, paths: &BTreeSet<String>) -> Result<(), StoreError> {
        self.artifacts.retain(|artifact| !paths.contains(&artifact.path));
        for path in paths {
            if is_own(dir, path)? {
                self.artifacts.push(Artifact::of(dir, path)?);
            }
        }
        self.artifacts.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }

    /// Root of the tree over the lines before the manifest's, 64 hex digits.
    pub fn root(&self) -> String {
        let leaves: Vec<_> = self.artifacts.iter().map(|a| merkle::leaf(a.line().as_bytes())).collect();
        merkle::hex(&merkle::root(&leaves))
    }

    /// Every line, the manifest's last.
    pub fn lines(&self) -> impl Iterator<Item = &Artifact> {
        self.artifacts.iter().chain(&self.manifest)
    }

    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text: String = self.lines().map(|artifact| artifact.line() + "\n").collect();
        let files = self.lines().count();
        text.push_str(&format!(
            "{{\"format\":\"{FORMAT}\",\"version\":{LEDGER_VERSION},\"files\":{files},\"ledger_blake3\":\""
        ));
        let digits = blake3::hash(text.as_bytes()).to_hex();
        text.push_str(&digits);
        text.push_str(END);
        text.into_bytes()
    }

    /// Writes it into `dir`. The command that made the files makes it again where it is lost.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), StoreError> {
        self.write_to(&dir.join(LEDGER_FILE))
    }

    pub(super) fn write_to(&self, path: &Path) -> Result<(), StoreError> {
        write_replaceable(path, |out| out.write_all(&self.to_bytes()))
    }

    /// Reads the ledger of a directory; none where there is none.
    ///
    /// # Errors
    /// [`StoreError::Newer`] for a newer program's, [`StoreError::Damaged`] for one that is not, byte for byte, what this
    /// program writes.
    pub fn read(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(LEDGER_FILE);
        match read_file(&path) {
            Ok(bytes) => Self::parse(&path, &bytes).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(stored_error("read", &path, e)),
        }
    }

    /// The ledger that `bytes` are; `path` is for messages.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |reason: &str| StoreError::damaged(path, reason);
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
        let mut lines: Vec<&str> = text.lines().collect();
        let closing = lines.pop().ok_or_else(|| damaged("it is empty"))?;
        let ledger = Self::from_lines(&lines);
        if let Some(fault) = ledger.as_ref().and_then(Self::fault) {
            return Err(damaged(&fault));
        }
        if ledger.as_ref().is_some_and(|ledger| ledger.to_bytes() == bytes) {
            return ledger.ok_or_else(|| damaged("it has no lines"));
        }
        // Only a whole file of a newer program is believed to be one.
        let whole = text.strip_suffix(END).and_then(|text| text.split_at_checked(text.len().checked_sub(DIGITS)?));
        let closing: serde_json::Value = serde_json::from_str(closing).unwrap_or_default();
        match (whole, closing["version"].as_u64()) {
            (Some((before, digits)), Some(found))
                if found > LEDGER_VERSION && blake3::hash(before.as_bytes()).to_hex().as_str() == digits =>
            {
                Err(StoreError::Newer { path: path.to_path_buf(), found, supported: LEDGER_VERSION })
            }
            _ => Err(damaged("its last line does not match what is before it")),
        }
    }

    /// Why no program made it of a directory: two lines of one file, or lines in another order.
    fn fault(&self) -> Option<String> {
        let unordered = self.artifacts.windows(2).find(|pair| pair[0].path >= pair[1].path)?;
        Some(format!("it lists {:?} after {:?}", unordered[1].path, unordered[0].path))
    }

    fn from_lines(lines: &[&str]) -> Option<Self> {
        let mut artifacts: Vec<Artifact> =
            lines.iter().map(|line| serde_json::from_str(line).ok()).collect::<Option<_>>()?;
        if !artifacts.iter().all(|artifact| lies_inside(&artifact.path)) {
            return None;
        }
        let manifest = match artifacts.last() {
            Some(last) if last.path == MANIFEST_FILE => artifacts.pop(),
            _ => None,
        };
        Some(Self { artifacts, manifest })
    }

    /// Whether a file is the one that it lists.
    pub fn is_current(&self, dir: &Path, path: &str) -> bool {
        let listed = self.lines().find(|artifact| artifact.path == path);
        listed.is_some_and(|listed| Artifact::of(dir, path).is_ok_and(|now| now == *listed))
    }

    /// Whether a file is the one that it lists, or that with more after it.
    pub fn is_beginning_of(&self, dir: &Path, path: &str) -> bool {
        let Some(listed) = self.lines().find(|artifact| artifact.path == path) else { return false };
        let Ok(file) = open_stored(&dir.join(path)) else { return false };
        let mut hasher = blake3::Hasher::new();
        let read = hasher.update_reader(file.take(listed.bytes)).is_ok();
        read && hasher.count() == listed.bytes && hasher.finalize().to_hex().as_str() == listed.blake3
    }

    /// What of it is not so in `dir`. `excused` says of a missing file that it need not be there.
    ///
    /// # Errors
    /// [`StoreError::Io`] for a folder that cannot be listed. A file that cannot be read is a fault.
    pub fn compare(&self, dir: &Path, excused: impl Fn(&str) -> bool + Sync) -> Result<Differences, StoreError> {
        let entries = entries(dir, &|_| true)?;
        let there: BTreeSet<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
        let lines: Vec<&Artifact> = self.lines().collect();
        let listed: BTreeSet<&str> = lines.iter().map(|artifact| artifact.path.as_str()).collect();
        let fault = |artifact: &&Artifact| -> Option<NamedFault> {
            let reason = match there.contains(artifact.path.as_str()) {
                false if excused(&artifact.path) => return None,
                false => "missing, and the ledger lists it".to_string(),
                true => match Artifact::of(dir, &artifact.path) {
                    Ok(now) if now == **artifact => return None,
                    Ok(_) if has_other_line_ends(&dir.join(&artifact.path), &artifact.blake3) => {
                        OTHER_LINE_ENDS.to_string()
                    }
                    Ok(now) if now.bytes != artifact.bytes => {
                        format!("{} bytes, where the ledger lists {}", now.bytes, artifact.bytes)
                    }
                    Ok(_) => "its BLAKE3 differs from the ledger's".to_string(),
                    Err(error) => error.to_string(),
                },
            };
            Some((artifact.path.clone(), reason))
        };
        let faults = lines.par_iter().filter_map(fault).collect();
        let mut found = Differences { faults, ..Differences::default() };
        for entry in entries.iter().filter(|entry| !listed.contains(entry.path.as_str())) {
            let (harmless, why) = why_extra(entry);
            let list = if harmless { &mut found.harmless } else { &mut found.extra };
            list.push((entry.path.clone(), why));
        }
        Ok(found)
    }
}

/// Whether a path stays inside of the directory: one from elsewhere may name any file of this machine.
fn lies_inside(path: &str) -> bool {
    path.split('/').all(|name| !matches!(name, "" | "." | "..") && !name.contains(['\\', '\0']))
}

/// What to say of a file with [other line ends](has_other_line_ends).
pub const OTHER_LINE_ENDS: &str = "its line ends were changed from LF to CRLF, as git does with core.autocrlf, and nothing \
    else; `-text` in .gitattributes keeps them";

/// Whether a file would have this BLAKE3 but for the ends of its lines.
pub fn has_other_line_ends(path: &Path, blake3: &str) -> bool {
    let text = read_file(path).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let lines = text.filter(|text| text.contains("\r\n")).map(|text| text.replace("\r\n", "\n"));
    lines.is_some_and(|lines| blake3::hash(lines.as_bytes()).to_hex().as_str() == blake3)
}

/// How a directory differs from its ledger: path and reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Files that changed or are missing.
    pub faults: Vec<NamedFault>,
    /// Files that are not listed.
    pub extra: Vec<NamedFault>,
    /// Files that are not listed and need not trouble anybody: litter, and what was set aside.
    pub harmless: Vec<NamedFault>,
}

/// Why a file is not listed, and whether that is no fault.
fn why_extra(entry: &Entry) -> (bool, String) {
    let name = entry.path.rsplit('/').next().unwrap_or(&entry.path);
    let (harmless, why) = match &entry.odd {
        _ if lies_in_litter(&entry.path) => {
            (true, "left by a file manager, an editor or the file system; not of this run")
        }
        _ if is_set_aside(&entry.path) => {
            (true, "set aside by the program; not of this run: look at it, then remove it")
        }
        Some(odd) => return (false, format!("not of this run: it is {odd}")),
        None if is_leftover(name) => {
            (true, "a killed process left it unfinished; the next command that writes here removes it")
        }
        None => (false, "not of this run: the ledger does not list it; keep files of your own elsewhere"),
    };
    (harmless, why.to_string())
}

/// A file, or something else that is no folder.
struct Entry {
    /// Relative to the directory, with `/` between folders.
    path: String,
    /// What it is where it is no plain file.
    odd: Option<String>,
}

/// What a ledger of `dir` may list, ascending: all but the directory's own ledger, bundle and its note, and the locks
/// of the directory and its runs. Of folders below only those of which `descend` says so.
fn entries(dir: &Path, descend: &dyn Fn(&str) -> bool) -> Result<Vec<Entry>, StoreError> {
    let mut found = Vec::new();
    walk(dir, "", 0, descend, &mut found)?;
    found.retain(|entry| ![LEDGER_FILE, BUNDLE_FILE, BUNDLE_NOTE_FILE].contains(&entry.path.as_str()));
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn walk(
    dir: &Path,
    prefix: &str,
    depth: usize,
    descend: &dyn Fn(&str) -> bool,
    found: &mut Vec<Entry>,
) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let entry = entry.map_err(StoreError::io("list", dir))?;
        let path = entry.path();
        // A name that is no text is none of ours, and is shown as far as it is one.
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().map_err(StoreError::io("look at", &path))?;
        let relative = format!("{prefix}{name}");
        if is_lock_place(&relative) && kind.is_file() && (is_lock(&path) || may_not_be_read(&path)) {
            continue;
        }
        let odd = match (odd_kind(kind), kind.is_dir()) {
            (None, true) if is_litter(&name) => Some("a folder".to_string()),
            (None, true) if !descend(&relative) => continue,
            (None, true) if depth >= DEEPEST => Some("a folder too deep in others".to_string()),
            (None, true) => match walk(&path, &format!("{relative}/"), depth + 1, descend, found) {
                Err(StoreError::Io { action: "list", path: at, source }) if at == path && !may_hold_own(&relative) => {
                    Some(format!("a folder that cannot be listed ({source})"))
                }
                result => {
                    result?;
                    continue;
                }
            },
            (what, _) => what.map(String::from),
        };
        found.push(Entry { path: relative, odd });
    }
    Ok(())
}

/// Whether somebody else's lock lies there, which says nothing to this user.
fn may_not_be_read(lock: &Path) -> bool {
    open_file(lock).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::VERIFICATION_STATEMENT;

    const PART: &str = "parts/0123456789abcdef.part";

    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("parts/damaged")).unwrap();
        for name in ["risk_log.json", "gates.json", "manifest.json", BUNDLE_FILE] {
            fs::write(dir.path().join(name), format!("{name}: {VERIFICATION_STATEMENT}")).unwrap();
        }
        fs::write(dir.path().join(".lock"), "").unwrap();
        fs::write(dir.path().join(PART), "{\"format\":\"cliffline-part\"").unwrap();
        fs::write(dir.path().join("parts/damaged/old"), "old").unwrap();
        dir
    }

    #[test]
    fn it_lists_every_file_of_ours_but_itself_the_bundle_and_locks_and_reads_back() {
        let dir = directory();
        // What others put there, at a place of ours or not.
        for name in ["key.pem", "parts/mine.part", "report.html", "plots/own.svg", ".DS_Store"] {
            fs::create_dir_all(dir.path().join("plots")).unwrap();
            fs::write(dir.path().join(name), "mine").unwrap();
        }
        let ledger = Ledger::of(dir.path()).unwrap();
        let paths: Vec<&str> = ledger.lines().map(|artifact| artifact.path.as_str()).collect();
        assert_eq!(paths, ["gates.json", PART, "risk_log.json", "manifest.json"]);
        assert_eq!(Ledger::read(dir.path()).unwrap(), None);
        ledger.write(dir.path()).unwrap();
        assert_eq!(Ledger::read(dir.path()).unwrap().as_ref(), Some(&ledger));
        let Differences { faults, extra, harmless } = ledger.compare(dir.path(), |_| false).unwrap();
        assert_eq!(faults, []);
        let names = |list: Vec<NamedFault>| list.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(extra), ["key.pem", "parts/mine.part", "plots/own.svg", "report.html"]);
        assert_eq!(names(harmless), [".DS_Store", "parts/damaged/old"]);
        let text = fs::read_to_string(dir.path().join(LEDGER_FILE)).unwrap();
        assert_eq!(text.lines().count(), 5);
        assert!(text.lines().last().unwrap().contains("\"version\":1"), "{text}");
    }

    #[test]
    fn only_a_lock_of_ours_where_one_goes_is_passed_over() {
        let dir = directory();
        for folder in ["plots/.lock", "runs/noise", "notes"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join(".lock"), "process 12 on node-7\n").unwrap();
        let ledger = Ledger::of(dir.path()).unwrap();
        let extra = || {
            let extra = ledger.compare(dir.path(), |_| false).unwrap().extra;
            extra.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        fs::write(dir.path().join("runs/noise/.lock"), "").unwrap();
        assert_eq!(extra(), Vec::<String>::new());
        let others = ["notes/.lock", "parts/.lock", "plots/.lock/key.pem", "runs/.lock", "runs/noise/.lock"];
        others.iter().for_each(|name| fs::write(dir.path().join(name), "mine").unwrap());
        assert_eq!(extra(), others);
        // What begins like a lock and goes on is none.
        fs::write(dir.path().join(".lock"), format!("process {}", "x".repeat(1 << 13))).unwrap();
        assert_eq!(extra()[0], ".lock");
    }

    #[test]
    fn a_file_that_grew_begins_as_it_is_listed_and_no_link_is_followed() {
        let dir = directory();
        let ledger = Ledger::of(dir.path()).unwrap();
        let log = dir.path().join("risk_log.json");
        let text = fs::read_to_string(&log).unwrap();
        let begins = |text: &str| {
            fs::write(&log, text).unwrap();
            ledger.is_beginning_of(dir.path(), "risk_log.json")
        };
        assert!(begins(&text) && begins(&format!("{text}more")));
        assert!(!begins(&text[1..]) && !begins(&text[..text.len() - 1]) && !begins(""));
        assert!(!ledger.is_beginning_of(dir.path(), "key.pem"), "not listed");
        #[cfg(unix)]
        {
            fs::write(dir.path().join("elsewhere"), &text).unwrap();
            fs::remove_file(&log).unwrap();
            std::os::unix::fs::symlink("elsewhere", &log).unwrap();
            assert!(!ledger.is_beginning_of(dir.path(), "risk_log.json"));
        }
    }

    #[test]
    fn no_bit_of_it_can_change_unnoticed() {
        let dir = directory();
        let bytes = Ledger::of(dir.path()).unwrap().to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let error = Ledger::parse(Path::new(LEDGER_FILE), &changed).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "bit {bit}: {error}");
        }
        assert!(Ledger::parse(Path::new(LEDGER_FILE), b"").is_err());
        assert!(Ledger::parse(Path::new(LEDGER_FILE), &bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn lines_that_lead_out_of_the_directory_or_repeat_are_none_of_ours() {
        let file = |path: &str| Artifact { path: path.into(), bytes: 1, blake3: "00".repeat(32) };
        let parsed = |paths: &[&str]| {
            let artifacts = paths.iter().map(|path| file(path)).collect();
            Ledger::parse(Path::new(LEDGER_FILE), &Ledger { artifacts, manifest: None }.to_bytes())
        };
        parsed(&["a", "b/c", "b/d..e"]).unwrap();
        for bad in [
            &["../key.pem"][..],
            &["/etc/passwd"],
            &["a/./b"],
            &["a//b"],
            &["a\\..\\b"],
            &[""],
            &["a", "a"],
            &["b", "a"],
        ] {
            let error = parsed(bad).unwrap_err();
            assert!(matches!(&error, StoreError::Damaged { .. }), "{bad:?}: {error}");
        }
    }

    #[test]
    fn a_newer_one_is_refused_as_such() {
        let before = "{\"path\":\"a\",\"size\":1}\n{\"version\":2,\"ledger_blake3\":\"";
        let text = format!("{before}{}{END}", blake3::hash(before.as_bytes()).to_hex());
        let error = Ledger::parse(Path::new(LEDGER_FILE), text.as_bytes()).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 2, .. }), "{error}");
    }

    #[test]
    fn changed_missing_and_extra_files_are_named() {
        let dir = directory();
        let ledger = Ledger::of(dir.path()).unwrap();
        let gates = fs::read_to_string(dir.path().join("gates.json")).unwrap();
        fs::write(dir.path().join("gates.json"), gates.to_uppercase()).unwrap();
        fs::write(dir.path().join("manifest.json"), "shorter").unwrap();
        fs::remove_file(dir.path().join(PART)).unwrap();
        fs::write(dir.path().join("plots.txt"), "mine").unwrap();
        fs::write(dir.path().join("parts/.cliffline-1.tmp"), "half").unwrap();
        let Differences { faults, extra, harmless } = ledger.compare(dir.path(), |_| false).unwrap();
        let names = |faults: &[NamedFault]| faults.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&faults), ["gates.json", PART, "manifest.json"]);
        assert_eq!(names(&extra), ["plots.txt"]);
        assert!(extra[0].1.contains("keep files of your own elsewhere"), "{}", extra[0].1);
        let left = harmless.iter().find(|(name, _)| name == "parts/.cliffline-1.tmp").expect("it is named");
        assert!(left.1.contains("left it unfinished"), "{}", left.1);
        let excused = ledger.compare(dir.path(), |path| path.starts_with("parts/")).unwrap();
        assert_eq!(names(&excused.faults), ["gates.json", "manifest.json"]);
        assert_eq!(excused.extra.len(), 1, "a missing part is excused, an extra file is not");
    }

    #[test]
    fn an_update_vouches_for_the_named_files_alone() {
        let dir = directory();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("lab.json", VERIFICATION_STATEMENT);
        let mut ledger = Ledger::of(dir.path()).unwrap();
        let before = ledger.root();
        write("gates.json", &format!("new: {VERIFICATION_STATEMENT}"));
        write("risk_log.json", "tampered with");
        write("report.json", &format!("new as well: {VERIFICATION_STATEMENT}"));
        write("report.html", "mine");
        fs::remove_file(dir.path().join("lab.json")).unwrap();
        let changed = ["gates.json", "report.json", "report.html", "lab.json"].map(String::from);
        ledger.update(dir.path(), &BTreeSet::from(changed)).unwrap();
        let found = ledger.compare(dir.path(), |_| false).unwrap();
        assert_eq!((found.faults.len(), found.extra.len()), (1, 1), "{found:?}");
        assert_eq!((found.faults[0].0.as_str(), found.extra[0].0.as_str()), ("risk_log.json", "report.html"));
        assert_ne!(ledger.root(), before);
        let paths: Vec<&str> = ledger.artifacts.iter().map(|artifact| artifact.path.as_str()).collect();
        assert_eq!(paths, ["gates.json", PART, "report.json", "risk_log.json"]);
    }

    #[test]
    fn a_ledger_from_elsewhere_names_no_file_outside() {
        for path in ["/etc/hosts", "../mine", "a/../../mine", "a//b", "./a", "a\\..\\b", ""] {
            let artifact = Artifact { path: path.to_string(), bytes: 1, blake3: "0".repeat(DIGITS) };
            let bytes = Ledger { artifacts: vec![artifact], manifest: None }.to_bytes();
            assert!(Ledger::parse(Path::new(LEDGER_FILE), &bytes).is_err(), "{path}");
        }
    }

    #[test]
    fn changed_line_ends_are_told_from_other_changes() {
        let dir = directory();
        let gates = dir.path().join("gates.json");
        fs::write(&gates, format!("{{\n\"a\": \"{VERIFICATION_STATEMENT}\"\n}}\n")).unwrap();
        let ledger = Ledger::of(dir.path()).unwrap();
        let text = fs::read_to_string(&gates).unwrap();
        let why = |text: String| {
            fs::write(&gates, text).unwrap();
            ledger.compare(dir.path(), |_| false).unwrap().faults.remove(0).1
        };
        assert!(why(text.replace('\n', "\r\n")).contains("core.autocrlf"));
        assert!(!why(text.replace('\n', "\r\n").replace("\"a\"", "\"b\"")).contains("core.autocrlf"));
    }

    /// Folders of others may be unreadable, endless or full of links: nothing of that is looked into.
    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_named_and_never_followed() {
        let dir = directory();
        let ledger = Ledger::of(dir.path()).unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("plots")).unwrap();
        fs::remove_file(dir.path().join("gates.json")).unwrap();
        std::os::unix::fs::symlink("risk_log.json", dir.path().join("gates.json")).unwrap();
        let deep = (0..20).map(|n| n.to_string()).collect::<Vec<_>>().join("/");
        fs::create_dir_all(dir.path().join("mine").join(deep)).unwrap();
        let found = ledger.compare(dir.path(), |_| false).unwrap();
        assert_eq!(found.faults.len(), 1, "{found:?}");
        assert!(found.faults[0].1.contains("symbolic link"), "{found:?}");
        let extra: Vec<&str> = found.extra.iter().map(|(_, why)| why.as_str()).collect();
        assert!(extra.iter().any(|why| why.contains("a symbolic link")), "{extra:?}");
        assert!(extra.iter().any(|why| why.contains("too deep")), "{extra:?}");
        let paths: Vec<String> =
            Ledger::of(dir.path()).unwrap().lines().map(|artifact| artifact.path.clone()).collect();
        assert_eq!(paths, [PART, "risk_log.json", "manifest.json"]);
    }
}
