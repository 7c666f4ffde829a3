//! `ledger.jsonl`: every file of a directory with its length and hash, so that nothing can change unnoticed.
//!
//! ```text
//! {"path":"cells.parquet","bytes":..,"blake3":".."}        one line per file, ascending by path
//! {"path":"manifest.json","bytes":..,"blake3":".."}        the manifest, after all others
//! {"format":"cliffline-ledger","version":1,"files":..,"ledger_blake3":".."}
//! ```
//! The digits of the last line are the BLAKE3 of all bytes of the file before them, in every version. The lines before the
//! manifest's are the leaves of a [Merkle tree](super::merkle) whose root the manifest carries; so the manifest vouches for
//! the files, the ledger for the manifest, and the last line for the ledger. Not in it are the ledger itself, the bundle that
//! is made of it, and lock files.
//!
//! # Changelog of [`LEDGER_VERSION`]
//! - 1: first version.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use super::atomic::{is_leftover, write_replaceable};
use super::error::StoreError;
use super::lock::LOCK_FILE;
use super::manifest::MANIFEST_FILE;
use super::merkle;
use super::reader::NamedFault;

/// Version of the layout above.
pub const LEDGER_VERSION: u64 = 1;
/// Its name in a directory.
pub const LEDGER_FILE: &str = "ledger.jsonl";
/// The bundle's name in a directory.
pub const BUNDLE_FILE: &str = "bundle.zip";

const FORMAT: &str = "cliffline-ledger";
/// Deeper than any run; a bound, so that a folder that contains itself through a link ends.
const DEEPEST: usize = 16;

/// One file, as a line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        let open = fs::File::open(&file).map_err(StoreError::io("open", &file))?;
        hasher.update_reader(open).map_err(StoreError::io("read", &file))?;
        let (bytes, blake3) = (hasher.count(), hasher.finalize().to_hex().to_string());
        Ok(Self { path: path.to_string(), bytes, blake3 })
    }

    fn line(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }
}

impl Ledger {
    /// The files that lie in a directory now, the manifest apart from the others.
    ///
    /// # Errors
    /// [`StoreError::Io`] for a folder or file that cannot be read, and for a name that is no text.
    pub fn of(dir: &Path) -> Result<Self, StoreError> {
        let paths = files(dir)?;
        let all: Result<Vec<Artifact>, StoreError> = paths.par_iter().map(|path| Artifact::of(dir, path)).collect();
        let (manifest, artifacts) = all?.into_iter().partition::<Vec<_>, _>(|a| a.path == MANIFEST_FILE);
        Ok(Self { artifacts, manifest: manifest.into_iter().next() })
    }

    /// Puts the lines of `paths` in place of earlier ones, as these files are now; of those that are gone, none.
    ///
    /// # Errors
    /// [`StoreError::Io`] for a file that cannot be read.
    pub fn update(&mut self, dir: &Path, paths: &BTreeSet<String>) -> Result<(), StoreError> {
        self.artifacts.retain(|artifact| !paths.contains(&artifact.path));
        for path in paths.iter().filter(|path| dir.join(path).is_file()) {
            self.artifacts.push(Artifact::of(dir, path)?);
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
        write_replaceable(&dir.join(LEDGER_FILE), |out| out.write_all(&self.to_bytes()))
    }

    /// Reads the ledger of a directory; none where there is none.
    ///
    /// # Errors
    /// [`StoreError::Newer`] for a newer program's, [`StoreError::Damaged`] for one that is not, byte for byte, what this
    /// program writes.
    pub fn read(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(LEDGER_FILE);
        match fs::read(&path) {
            Ok(bytes) => Self::parse(&path, &bytes).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::io("read", &path)(e)),
        }
    }

    /// The ledger that `bytes` are; `path` is for messages.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |reason: &str| StoreError::damaged(path, reason);
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
        let mut lines: Vec<&str> = text.lines().collect();
        let closing = lines.pop().ok_or_else(|| damaged("it is empty"))?;
        let ledger = Self::from_lines(&lines);
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

    fn from_lines(lines: &[&str]) -> Option<Self> {
        let mut artifacts: Vec<Artifact> =
            lines.iter().map(|line| serde_json::from_str(line).ok()).collect::<Option<_>>()?;
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

    /// What of it is not so in `dir`. `excused` says of a missing file that it need not be there.
    ///
    /// # Errors
    /// [`StoreError::Io`] for a folder that cannot be listed. A file that cannot be read is a fault.
    pub fn compare(&self, dir: &Path, excused: impl Fn(&str) -> bool + Sync) -> Result<Differences, StoreError> {
        let there: BTreeSet<String> = files(dir)?.into_iter().collect();
        let lines: Vec<&Artifact> = self.lines().collect();
        let listed: BTreeSet<&str> = lines.iter().map(|artifact| artifact.path.as_str()).collect();
        let fault = |artifact: &&Artifact| -> Option<NamedFault> {
            let reason = match there.contains(&artifact.path) {
                false if excused(&artifact.path) => return None,
                false => "missing, and the ledger lists it".to_string(),
                true => match Artifact::of(dir, &artifact.path) {
                    Ok(now) if now == **artifact => return None,
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
        let extra = there.iter().filter(|path| !listed.contains(path.as_str()));
        Ok(Differences { faults, extra: extra.map(|path| (path.clone(), extra_text(path))).collect() })
    }
}

/// How a directory differs from its ledger: path and reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Files that changed or are missing.
    pub faults: Vec<NamedFault>,
    /// Files that are not listed.
    pub extra: Vec<NamedFault>,
}

fn extra_text(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    match is_leftover(name) {
        true => "a killed process left it unfinished: remove it".to_string(),
        false => "not of this run: the ledger does not list it; keep files of your own elsewhere".to_string(),
    }
}

/// The files that a ledger of `dir` lists, ascending: all but the directory's own ledger and bundle, and lock files.
fn files(dir: &Path) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    walk(dir, "", 0, &mut found)?;
    found.retain(|path| path != LEDGER_FILE && path != BUNDLE_FILE);
    found.sort();
    Ok(found)
}

fn walk(dir: &Path, prefix: &str, depth: usize, found: &mut Vec<String>) -> Result<(), StoreError> {
    if depth > DEEPEST {
        return Err(StoreError::damaged(dir, "folders lie too deep in one another"));
    }
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let entry = entry.map_err(StoreError::io("list", dir))?;
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| StoreError::damaged(&path, "its name is no text"))?;
        if name == LOCK_FILE {
            continue;
        }
        let relative = format!("{prefix}{name}");
        if path.is_dir() {
            walk(&path, &format!("{relative}/"), depth + 1, found)?;
        } else {
            found.push(relative);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("parts/damaged")).unwrap();
        let files = ["b.txt", "a.json", "parts/1.part", "parts/damaged/old", "manifest.json", ".lock", BUNDLE_FILE];
        for name in files {
            fs::write(dir.path().join(name), format!("{name} has this")).unwrap();
        }
        dir
    }

    #[test]
    fn it_lists_every_file_but_itself_the_bundle_and_locks_and_reads_back() {
        let dir = directory();
        let ledger = Ledger::of(dir.path()).unwrap();
        let paths: Vec<&str> = ledger.lines().map(|artifact| artifact.path.as_str()).collect();
        assert_eq!(paths, ["a.json", "b.txt", "parts/1.part", "parts/damaged/old", "manifest.json"]);
        assert_eq!(Ledger::read(dir.path()).unwrap(), None);
        ledger.write(dir.path()).unwrap();
        assert_eq!(Ledger::read(dir.path()).unwrap().as_ref(), Some(&ledger));
        assert_eq!(ledger.compare(dir.path(), |_| false).unwrap(), Differences::default());
        let text = fs::read_to_string(dir.path().join(LEDGER_FILE)).unwrap();
        assert_eq!(text.lines().count(), 6);
        assert!(text.lines().last().unwrap().contains("\"version\":1"), "{text}");
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
        fs::write(dir.path().join("a.json"), "a.json has thIs").unwrap();
        fs::write(dir.path().join("manifest.json"), "shorter").unwrap();
        fs::remove_file(dir.path().join("parts/1.part")).unwrap();
        fs::write(dir.path().join("plots.txt"), "mine").unwrap();
        fs::write(dir.path().join("parts/.cliffline-1.tmp"), "half").unwrap();
        let Differences { faults, extra } = ledger.compare(dir.path(), |_| false).unwrap();
        let names = |faults: &[NamedFault]| faults.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&faults), ["a.json", "parts/1.part", "manifest.json"]);
        assert_eq!(names(&extra), ["parts/.cliffline-1.tmp", "plots.txt"]);
        assert!(extra[1].1.contains("keep files of your own elsewhere"), "{}", extra[1].1);
        assert!(extra[0].1.contains("left it unfinished"), "{}", extra[0].1);
        let excused = ledger.compare(dir.path(), |path| path.starts_with("parts/")).unwrap();
        assert_eq!(names(&excused.faults), ["a.json", "manifest.json"]);
        assert_eq!(excused.extra.len(), 2, "a missing part is excused, an extra one is not");
    }

    #[test]
    fn an_update_vouches_for_the_named_files_alone() {
        let dir = directory();
        let mut ledger = Ledger::of(dir.path()).unwrap();
        let before = ledger.root();
        fs::write(dir.path().join("a.json"), "new").unwrap();
        fs::write(dir.path().join("b.txt"), "tampered with").unwrap();
        fs::write(dir.path().join("c.txt"), "new as well").unwrap();
        fs::remove_file(dir.path().join("parts/damaged/old")).unwrap();
        let changed = ["a.json", "c.txt", "parts/damaged/old"].map(String::from);
        ledger.update(dir.path(), &BTreeSet::from(changed)).unwrap();
        let found = ledger.compare(dir.path(), |_| false).unwrap();
        assert_eq!((found.faults.len(), found.extra.len()), (1, 0), "{found:?}");
        assert_eq!(found.faults[0].0, "b.txt");
        assert_ne!(ledger.root(), before);
        let paths: Vec<&str> = ledger.artifacts.iter().map(|artifact| artifact.path.as_str()).collect();
        assert_eq!(paths, ["a.json", "b.txt", "c.txt", "parts/1.part"]);
    }
}
