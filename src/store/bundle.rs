//! `bundle.zip`: a directory as one file to hand on, whose bytes follow from the ledger alone.
//!
//! Entries are stored, not compressed (tables and pictures hardly shrink, and no compressor's version decides the bytes),
//! sorted by name, with one fixed time. The archive's comment ends with the BLAKE3 of every byte before those digits.
//! Beside the files that the ledger lists there are the ledger, and a note that says what was left out.
//!
//! # Changelog of [`BUNDLE_VERSION`]
//! - 1: first version.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipArchive, ZipWriter};

use super::atomic::Pending;
use super::error::StoreError;
use super::ledger::{Artifact, BUNDLE_FILE, LEDGER_FILE, Ledger};
use super::manifest::{MANIFEST_FILE, VERIFICATION_STATEMENT};
use super::plain::{open_file, open_stored, read_file};
use super::reader::PARTS;

/// Version of the layout above.
pub const BUNDLE_VERSION: u64 = 1;
/// The note's name in the archive; a directory that has it was unpacked from a bundle.
pub const BUNDLE_NOTE_FILE: &str = "bundle.json";
/// Most bytes of a bundle that is made without being asked for: what can be sent by mail or put on a course page.
pub const SMALL_BUNDLE_BYTES: u64 = 64 << 20;

const FORMAT: &str = "cliffline-bundle";
/// How far below an unpacked bundle the runs that it holds lie: those of a laboratory are two folders down.
const DEEPEST_RUN: usize = 2;
/// What the comment begins with; the digits follow.
const COMMENT: &str = "cliffline bundle; the last 64 characters are the BLAKE3 of all before them: ";
const DIGITS: usize = 64;
/// Files from this size on need ZIP64 headers; what has them needs no other choice later.
const LARGE: u64 = u32::MAX as u64;

/// `bundle.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleNote {
    pub format: String,
    pub version: u64,
    /// BLAKE3 of the ledger's file, 64 hex digits.
    pub ledger_blake3: String,
    /// Whether the parts, from which tables are made, are in it.
    pub parts: bool,
    /// Files of the ledger that are not.
    pub left_out: usize,
    pub verification_statement: String,
}

impl BundleNote {
    fn of(ledger: &Ledger, parts: bool) -> Self {
        Self {
            format: FORMAT.into(),
            version: BUNDLE_VERSION,
            ledger_blake3: blake3::hash(&ledger.to_bytes()).to_hex().to_string(),
            parts,
            left_out: ledger.lines().filter(|artifact| !parts && is_left_out(&artifact.path)).count(),
            verification_statement: VERIFICATION_STATEMENT.into(),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("plain data");
        text.push(b'\n');
        text
    }

    /// The note of an unpacked bundle; none where `dir` is none. A note that is damaged speaks of no parts.
    pub(crate) fn read(dir: &Path) -> Option<Self> {
        let bytes = read_file(&dir.join(BUNDLE_NOTE_FILE)).ok()?;
        let unreadable = Self::of(&Ledger::default(), false);
        Some(serde_json::from_slice(&bytes).unwrap_or(unreadable))
    }

    /// Whether the note in `dir` is the one of `ledger`, to the byte.
    pub(crate) fn is_of(&self, dir: &Path, ledger: &Ledger) -> bool {
        read_file(&dir.join(BUNDLE_NOTE_FILE)).is_ok_and(|bytes| bytes == Self::of(ledger, self.parts).to_bytes())
    }
}

/// Whether `dir` was unpacked from a bundle, on its own or as a run of a laboratory, and whether that had parts.
pub fn unpacked(dir: &Path) -> Option<bool> {
    BundleNote::read(dir).map(|note| note.parts).or_else(|| unpacked_above(dir))
}

/// As [`unpacked`] where the note lies above: the bundle's ledger lists the run.
pub(crate) fn unpacked_above(dir: &Path) -> Option<bool> {
    let dir = dir.canonicalize().ok()?;
    dir.ancestors().skip(1).take(DEEPEST_RUN).find_map(|above| {
        let note = BundleNote::read(above)?;
        let below = dir.strip_prefix(above).ok()?.join(MANIFEST_FILE);
        let names: Option<Vec<&str>> = below.iter().map(|name| name.to_str()).collect();
        let manifest = names?.join("/");
        let ledger = Ledger::read(above).ok()??;
        ledger.lines().any(|artifact| artifact.path == manifest).then_some(note.parts)
    })
}

/// Whether a bundle without parts leaves a file out: one of parts, or the bundle of a directory below.
pub(crate) fn is_left_out(path: &str) -> bool {
    let mut folders: Vec<&str> = path.split('/').collect();
    let name = folders.pop();
    folders.contains(&PARTS) || name == Some(BUNDLE_FILE)
}

/// Bytes of the files that a bundle holds.
pub fn bundle_bytes(ledger: &Ledger, parts: bool) -> u64 {
    ledger.lines().filter(|artifact| parts || !is_left_out(&artifact.path)).map(|artifact| artifact.bytes).sum()
}

/// Where the content of an entry comes from.
enum Content {
    Listed(Artifact),
    Made(Vec<u8>),
}

/// The entries, ascending by name.
fn entries(ledger: &Ledger, parts: bool) -> Vec<(String, Content)> {
    let listed = ledger.lines().filter(|artifact| parts || !is_left_out(&artifact.path));
    let mut entries: Vec<(String, Content)> =
        listed.map(|artifact| (artifact.path.clone(), Content::Listed(artifact.clone()))).collect();
    entries.push((LEDGER_FILE.to_string(), Content::Made(ledger.to_bytes())));
    entries.push((BUNDLE_NOTE_FILE.to_string(), Content::Made(BundleNote::of(ledger, parts).to_bytes())));
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries
}

/// Writes the bundle of `dir` to `path`.
///
/// # Errors
/// [`StoreError::Io`], and [`StoreError::Damaged`] for a file that is not what the ledger lists.
pub(crate) fn write_bundle(dir: &Path, path: &Path, ledger: &Ledger, parts: bool) -> Result<(), StoreError> {
    let mut pending = Pending::create(path)?;
    let zip_error = |e: zip::result::ZipError| StoreError::io("write", path)(io::Error::other(e));
    let mut archive = ZipWriter::new(pending.writer());
    for (name, content) in entries(ledger, parts) {
        let large = matches!(&content, Content::Listed(artifact) if artifact.bytes >= LARGE);
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .system(System::Unix)
            .unix_permissions(0o644)
            .large_file(large);
        archive.start_file(&name, options).map_err(zip_error)?;
        match content {
            Content::Made(bytes) => archive.write_all(&bytes).map_err(StoreError::io("write", path))?,
            Content::Listed(artifact) => copy(dir, &artifact, path, &mut archive)?,
        }
    }
    let unknown = "0".repeat(DIGITS);
    archive.set_comment(format!("{COMMENT}{unknown}")).map_err(zip_error)?;
    archive.finish().map_err(zip_error)?;
    sign(pending.writer()).map_err(StoreError::io("write", path))?;
    // The directory makes it again.
    pending.replace(path)
}

/// Copies a file into the archive `to` and holds it to its line of the ledger.
fn copy(dir: &Path, artifact: &Artifact, to: &Path, out: &mut impl Write) -> Result<(), StoreError> {
    let path = dir.join(&artifact.path);
    let mut file = open_stored(&path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).map_err(StoreError::io("read", &path))?;
        if read == 0 {
            break;
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        hasher.update(bytes);
        out.write_all(bytes).map_err(StoreError::io("write", to))?;
    }
    match hasher.finalize().to_hex().as_str() == artifact.blake3 {
        true => Ok(()),
        false => Err(StoreError::damaged(&path, format!("it is not what {LEDGER_FILE} lists; nothing is bundled"))),
    }
}

/// Puts the hash of all before it at the end.
fn sign(writer: &mut io::BufWriter<tempfile::NamedTempFile>) -> io::Result<()> {
    writer.flush()?;
    let file = writer.get_mut();
    let length = file.seek(SeekFrom::End(0))?;
    let before = length.saturating_sub(DIGITS as u64);
    file.seek(SeekFrom::Start(0))?;
    let hash = hash_of(&mut file.take(before))?;
    file.seek(SeekFrom::Start(before))?;
    file.write_all(hash.as_bytes())
}

fn hash_of(reader: &mut impl Read) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(reader)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// What is wrong with `dir/bundle.zip`: that it is damaged, or that it is not of this ledger.
pub(crate) fn bundle_fault(dir: &Path, ledger: &Ledger, parts: bool) -> Option<String> {
    let path = dir.join(BUNDLE_FILE);
    let unreadable = |e: io::Error| format!("cannot be read: {e}");
    match is_signed(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some("missing, and the manifest has it".into());
        }
        Err(error) => return Some(unreadable(error)),
        Ok(false) => return Some("its last characters are not the BLAKE3 of all before them".into()),
        Ok(true) => {}
    }
    let differs =
        |name: &str| format!("its {name} is not the one of this directory; `cliffline bundle` makes it again");
    let opened = open_file(&path).and_then(|f| ZipArchive::new(f).map_err(io::Error::other));
    let mut archive = match opened {
        Ok(archive) => archive,
        Err(error) => return Some(unreadable(error)),
    };
    let expected = entries(ledger, parts);
    if archive.len() != expected.len() {
        return Some(differs("list of files"));
    }
    for (number, (name, content)) in expected.iter().enumerate() {
        let hash = match content {
            Content::Listed(artifact) => artifact.blake3.clone(),
            Content::Made(bytes) => blake3::hash(bytes).to_hex().to_string(),
        };
        let same = archive.by_index(number).map_err(io::Error::other).and_then(|mut entry| {
            let named = entry.name().ok().as_deref() == Some(name.as_str());
            Ok(named && hash_of(&mut entry)? == hash)
        });
        match same {
            Ok(true) => {}
            Ok(false) => return Some(differs(name)),
            Err(error) => return Some(unreadable(error)),
        }
    }
    None
}

/// Whether a file is a bundle of ours, damaged or not.
pub(crate) fn is_bundle(path: &Path) -> bool {
    let end = || -> io::Result<Vec<u8>> {
        let mut file = open_file(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub((COMMENT.len() + DIGITS) as u64)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end).map(|_| end)
    };
    end().is_ok_and(|end| end.starts_with(COMMENT.as_bytes()))
}

/// Whether the last characters are the hash of all before them.
fn is_signed(path: &Path) -> io::Result<bool> {
    let mut file = open_file(path)?;
    let Some(before) = file.metadata()?.len().checked_sub(DIGITS as u64) else { return Ok(false) };
    let hash = hash_of(&mut (&mut file).take(before))?;
    let mut digits = Vec::new();
    file.seek(SeekFrom::Start(before))?;
    file.read_to_end(&mut digits)?;
    Ok(hash.as_bytes() == digits)
}

/// Whether a manifest, read loosely, says that there is a bundle; and whether that has parts.
pub(crate) fn promised(manifest: &serde_json::Value) -> Option<bool> {
    manifest.get("bundle").filter(|bundle| bundle.is_object()).map(|bundle| bundle["parts"] == true)
}

/// What a manifest says of a bundle.
pub(crate) fn promise(parts: bool) -> serde_json::Value {
    serde_json::json!({ "file": BUNDLE_FILE, "parts": parts })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::MANIFEST_FILE;

    const PART: &str = "parts/0123456789abcdef.part";

    fn statement(of: &str) -> String {
        format!("{{\"of\": \"{of}\", \"statement\": \"{VERIFICATION_STATEMENT}\"}}")
    }

    fn directory() -> (tempfile::TempDir, Ledger) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("parts")).unwrap();
        fs::create_dir_all(dir.path().join("plots")).unwrap();
        let svg = format!("<svg>{}</svg>", crate::store::PICTURE_MARK);
        let part = "{\"format\":\"cliffline-part\"".to_string();
        let files =
            [("risk_log.json", statement("one")), ("plots/a.svg", svg), (PART, part), (MANIFEST_FILE, statement(""))];
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        fs::write(dir.path().join("key.pem"), "secret").unwrap();
        let ledger = Ledger::of(dir.path()).unwrap();
        ledger.write(dir.path()).unwrap();
        (dir, ledger)
    }

    #[test]
    fn it_holds_all_but_parts_and_is_the_same_bytes_again() {
        let (dir, ledger) = directory();
        write_bundle(dir.path(), &dir.path().join(BUNDLE_FILE), &ledger, false).unwrap();
        let first = fs::read(dir.path().join(BUNDLE_FILE)).unwrap();
        let archive = ZipArchive::new(io::Cursor::new(&first)).unwrap();
        let names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, [BUNDLE_NOTE_FILE, LEDGER_FILE, MANIFEST_FILE, "plots/a.svg", "risk_log.json"]);
        assert_eq!(bundle_fault(dir.path(), &ledger, false), None);
        std::thread::sleep(std::time::Duration::from_millis(20));
        write_bundle(dir.path(), &dir.path().join(BUNDLE_FILE), &ledger, false).unwrap();
        assert_eq!(fs::read(dir.path().join(BUNDLE_FILE)).unwrap(), first);
        write_bundle(dir.path(), &dir.path().join(BUNDLE_FILE), &ledger, true).unwrap();
        assert_eq!(bundle_fault(dir.path(), &ledger, true), None);
        assert!(bundle_fault(dir.path(), &ledger, false).unwrap().contains("list of files"));
        assert!(bundle_bytes(&ledger, true) > bundle_bytes(&ledger, false));
    }

    #[test]
    fn no_bit_of_it_can_change_unnoticed() {
        let (dir, ledger) = directory();
        write_bundle(dir.path(), &dir.path().join(BUNDLE_FILE), &ledger, false).unwrap();
        let path = dir.path().join(BUNDLE_FILE);
        let sound = fs::read(&path).unwrap();
        for bit in (0..sound.len() * 8).step_by(5) {
            let mut changed = sound.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, changed).unwrap();
            assert!(bundle_fault(dir.path(), &ledger, false).is_some(), "bit {bit}");
        }
        for cut in [0, 10, 63, sound.len() - 1] {
            fs::write(&path, &sound[..cut]).unwrap();
            assert!(bundle_fault(dir.path(), &ledger, false).is_some(), "cut to {cut}");
        }
        fs::remove_file(&path).unwrap();
        assert!(bundle_fault(dir.path(), &ledger, false).unwrap().contains("missing"));
    }

    #[test]
    fn a_stale_bundle_is_named_with_what_differs_and_a_changed_file_is_not_bundled() {
        let (dir, ledger) = directory();
        write_bundle(dir.path(), &dir.path().join(BUNDLE_FILE), &ledger, false).unwrap();
        fs::write(dir.path().join("risk_log.json"), statement("other")).unwrap();
        let newer = Ledger::of(dir.path()).unwrap();
        assert!(bundle_fault(dir.path(), &newer, false).unwrap().contains("its bundle.json is not"));
        let error = write_bundle(dir.path(), &dir.path().join(BUNDLE_FILE), &ledger, false).unwrap_err().to_string();
        assert!(error.contains("risk_log.json") && error.contains("nothing is bundled"), "{error}");
        assert_eq!(bundle_fault(dir.path(), &ledger, false), None, "the earlier one is left as it was");
    }

    #[test]
    fn parts_and_bundles_of_directories_below_are_left_out() {
        for (path, left_out) in [
            ("parts/a.part", true),
            ("runs/noise/parts/a.part", true),
            ("runs/noise/bundle.zip", true),
            ("parts.json", false),
            ("runs/noise/manifest.json", false),
        ] {
            assert_eq!(is_left_out(path), left_out, "{path}");
        }
    }
}
