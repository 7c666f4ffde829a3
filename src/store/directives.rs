//! `directives.jsonl`: what was asked for, step by step, one JSON object a line, only ever added to.
//!
//! What a line says is redacted, so that it can be handed on. A text of which nothing was replaced has its hash beside it. One
//! of which something was has none: whoever has the line could try what stood there until the hash is right. With a key of
//! the user's, which is not kept here, there is a keyed hash in its place, by which the holder of key and text can show that
//! it is the one.
//!
//! # Changelog of [`DIRECTIVES_VERSION`]
//! - 2: `text_blake3` is null where something was replaced; `text_keyed_blake3`.
//! - 1: first version; `text_blake3` is of the text before anything was replaced.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::atomic::sync_file;
use super::bounded::MOST_FILE_BYTES;
use super::error::StoreError;
use super::manifest::now_utc;
use super::own::start_of;
use super::plain::{open_in_place, read_text, stored_error};
use super::redact::{Redacted, Redactor};

/// Version of [`Directive`].
pub const DIRECTIVES_VERSION: u64 = 2;
/// Its name in a directory.
pub const DIRECTIVES_FILE: &str = "directives.jsonl";

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directive {
    pub version: u64,
    /// RFC 3339, whole seconds.
    pub utc: String,
    /// One word or two, such as `plan` or `train`.
    pub step: String,
    /// What the step is for.
    pub description: String,
    /// What was asked for, redacted.
    pub text: String,
    /// BLAKE3 of the text, 64 hex digits; none where something of it was replaced.
    pub text_blake3: Option<String>,
    /// BLAKE3 under the user's key of the text before anything was replaced; none where nothing was, or without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_keyed_blake3: Option<String>,
}

/// What a log leaves out, and the key that commits to it.
#[derive(Clone, Debug, Default)]
pub struct Redaction {
    pub redactor: Redactor,
    pub key: Option<RedactionKey>,
}

/// The key of keyed hashes, which whoever holds it keeps to themselves.
#[derive(Clone)]
pub struct RedactionKey([u8; blake3::KEY_LEN]);

/// What keys are derived for.
const KEY_CONTEXT: &str = "cliffline 2026-11 redacted text v1";
/// Fewest bytes of a key: fewer can be tried.
const LEAST_KEY: usize = 16;

impl std::fmt::Debug for RedactionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedactionKey")
    }
}

impl RedactionKey {
    /// Made of a secret; spaces and line breaks at its ends do not count. None where it has fewer than 16 bytes.
    pub fn of(secret: &[u8]) -> Option<Self> {
        let secret = secret.trim_ascii();
        (secret.len() >= LEAST_KEY).then(|| Self(blake3::derive_key(KEY_CONTEXT, secret)))
    }

    /// The keyed hash of a text, 64 hex digits.
    pub fn commit(&self, text: &str) -> String {
        blake3::keyed_hash(&self.0, text.as_bytes()).to_hex().to_string()
    }
}

/// The log of a directory, open for adding.
#[derive(Debug)]
pub struct Directives {
    path: PathBuf,
    file: File,
    redaction: Redaction,
}

impl Directives {
    /// Opens or begins the log of `dir`. A last line that a killed process left without its end is completed where all
    /// of it is there, and removed else; no other line is touched.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(dir: &Path, redaction: Redaction) -> Result<Self, StoreError> {
        let path = dir.join(DIRECTIVES_FILE);
        let open = open_in_place(&path, OpenOptions::new().append(true));
        let mut file = open.map_err(StoreError::io("open", &path))?;
        mend(&mut file).map_err(StoreError::io("mend", &path))?;
        Ok(Self { path, file, redaction })
    }

    /// Adds a line. It survives a kill once this returns, and a power cut once [`finish`](Self::finish) has.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn record(&mut self, step: &str, description: &str, text: &str) -> Result<(), StoreError> {
        let Redacted { text: shown, replaced } = self.redaction.redactor.redact(text);
        let key = self.redaction.key.as_ref().filter(|_| replaced);
        let directive = Directive {
            version: DIRECTIVES_VERSION,
            utc: now_utc(),
            step: step.to_string(),
            description: description.to_string(),
            text: shown,
            text_blake3: (!replaced).then(|| blake3::hash(text.as_bytes()).to_hex().to_string()),
            text_keyed_blake3: key.map(|key| key.commit(text)),
        };
        let line = serde_json::to_string(&directive).expect("plain data") + "\n";
        self.file.write_all(line.as_bytes()).map_err(StoreError::io("write", &self.path))
    }

    /// Makes sure that what was added is on the disk.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn finish(self) -> Result<(), StoreError> {
        sync_file(&self.file, &self.path)
    }
}

/// Longest first line by which a log is known.
const FIRST_LINE_BYTES: usize = 1 << 20;

/// Whether a file is a log of ours, if only the beginning of one.
pub(crate) fn is_log(path: &Path) -> bool {
    let text = start_of(path, FIRST_LINE_BYTES);
    let begins = "{\"version\":";
    match text.split_once('\n') {
        Some((line, _)) => serde_json::from_str::<Directive>(line).is_ok(),
        None => text.starts_with(begins) || begins.starts_with(&text),
    }
}

/// Brings the end of the log to the end of a line.
fn mend(file: &mut File) -> std::io::Result<()> {
    // A line that a killed process left is at the end, and no longer than a log may be.
    let skipped = file.metadata()?.len().saturating_sub(MOST_FILE_BYTES);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    Read::by_ref(file).take(MOST_FILE_BYTES).read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let torn = bytes.get(whole..).unwrap_or_default();
    if torn.is_empty() {
        return Ok(());
    }
    if serde_json::from_slice::<Directive>(torn).is_ok() {
        return file.write_all(b"\n");
    }
    file.set_len(skipped + whole as u64)?;
    file.seek(SeekFrom::End(0)).map(|_| ())
}

/// The lines of a log, in their order.
///
/// # Errors
/// [`StoreError::Io`], [`StoreError::Damaged`] for a line that is none.
pub fn read_directives(dir: &Path) -> Result<Vec<Directive>, StoreError> {
    let path = dir.join(DIRECTIVES_FILE);
    let text = read_text(&path).map_err(|error| stored_error("read", &path, error))?;
    let line = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| StoreError::damaged(&path, format!("line {}: {e}", number + 1)))
    };
    text.lines().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction() -> Redaction {
        Redaction { redactor: Redactor::new(&["s3cret".to_string()], "/home/ann", "vm"), key: None }
    }

    #[test]
    fn lines_have_the_hash_of_their_text_where_nothing_of_it_was_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let key = RedactionKey::of(b"0123456789abcdef\n").expect("long enough");
        for (text, key) in
            [("go", None), ("cd /home/ann\ngo", None), ("pin s3cret", Some(key.clone())), ("go", Some(key.clone()))]
        {
            let mut log = Directives::open(dir.path(), Redaction { key, ..redaction() }).unwrap();
            log.record("plan", "why", text).unwrap();
            log.finish().unwrap();
        }
        let lines = read_directives(dir.path()).unwrap();
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["go", "cd <home>\ngo", "pin <redacted>", "go"]);
        let plain = Some(blake3::hash(b"go").to_hex().to_string());
        assert_eq!(lines.iter().map(|line| &line.text_blake3).collect::<Vec<_>>(), [&plain, &None, &None, &plain]);
        let keyed: Vec<bool> = lines.iter().map(|line| line.text_keyed_blake3.is_some()).collect();
        assert_eq!(keyed, [false, false, true, false]);
        assert_eq!(lines[2].text_keyed_blake3, Some(key.commit("pin s3cret")));
        // No line gives away which of the few texts it could have been stood there.
        let log = std::fs::read_to_string(dir.path().join(DIRECTIVES_FILE)).unwrap();
        assert!(!log.contains(blake3::hash(b"pin s3cret").to_hex().as_str()));
        assert!(RedactionKey::of(b" 0123456789abcde ").is_none(), "too short");
    }

    #[test]
    fn lines_of_the_first_version_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let line = r#"{"version":1,"utc":"2026-11-20T10:00:00Z","step":"plan","description":"d","text":"t","text_blake3":"ab"}"#;
        std::fs::write(dir.path().join(DIRECTIVES_FILE), format!("{line}\n")).unwrap();
        let mut log = Directives::open(dir.path(), redaction()).unwrap();
        log.record("train", "", "").unwrap();
        let lines = read_directives(dir.path()).unwrap();
        assert_eq!(
            (lines.len(), lines[0].text_blake3.as_deref(), lines[1].version),
            (2, Some("ab"), DIRECTIVES_VERSION)
        );
    }

    #[test]
    fn wherever_a_write_was_cut_off_every_whole_line_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DIRECTIVES_FILE);
        let mut log = Directives::open(dir.path(), redaction()).unwrap();
        log.record("one", "first", "ü").unwrap();
        log.record("two", "second", "ü").unwrap();
        drop(log);
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut log = Directives::open(dir.path(), redaction()).unwrap();
            log.record("three", "third", "").unwrap();
            let steps: Vec<String> = read_directives(dir.path()).unwrap().into_iter().map(|line| line.step).collect();
            let complete = |end: usize| cut + 1 >= end;
            let expected = [("one", complete(first)), ("two", complete(whole.len())), ("three", true)];
            let expected: Vec<&str> = expected.iter().filter(|(_, there)| *there).map(|(step, _)| *step).collect();
            assert_eq!(steps, expected, "cut at {cut}");
        }
    }
}
