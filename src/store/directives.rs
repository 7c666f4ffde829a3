//! `directives.jsonl`: what was asked for, step by step, one JSON object a line, only ever added to.
//!
//! What a line says is redacted, so that it can be handed on; the hash is of the text before that, so that who has the
//! text can show that it is the one.
//!
//! # Changelog of [`DIRECTIVES_VERSION`]
//! - 1: first version.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::atomic::sync_file;
use super::error::StoreError;
use super::manifest::now_utc;
use super::own::start_of;
use super::plain::{open_in_place, read_text, stored_error};

/// Version of [`Directive`].
pub const DIRECTIVES_VERSION: u64 = 1;
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
    /// BLAKE3 of what was asked for before that, 64 hex digits.
    pub text_blake3: String,
}

/// Replaces what must not be handed on.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    /// What is replaced, and by what.
    pairs: Vec<(String, String)>,
}

impl Redactor {
    /// Replaces the first of each pair by the second, where it stands as a word of its own; longer ones first. What is
    /// empty, or a lone `/`, is left.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().filter(|(what, _)| !what.is_empty() && what != "/").collect();
        pairs.sort_by_key(|(what, _)| std::cmp::Reverse(what.len()));
        Self { pairs }
    }

    /// Replaces the home directory, the host's name, and what the user marked.
    pub fn of_this_machine(marked: &[String]) -> Self {
        let home = std::env::var("HOME").unwrap_or_default();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let own = [(home.trim_end_matches('/'), "<home>"), (host.trim(), "<host>")];
        let own = own.map(|(what, by)| (what.to_string(), by.to_string()));
        Self::new(own.into_iter().chain(marked.iter().map(|what| (what.clone(), "<redacted>".to_string()))))
    }

    /// The text with replacements.
    pub fn redact(&self, text: &str) -> String {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut text = text.to_string();
        for (what, by) in &self.pairs {
            let mut out = String::with_capacity(text.len());
            let mut rest = text.as_str();
            while let Some(at) = rest.find(what.as_str()) {
                let (before, found) = rest.split_at(at);
                let (found, after) = found.split_at(what.len());
                out.push_str(before);
                let borders = |inner: Option<char>, outer: Option<char>| {
                    !(inner.is_some_and(is_word) && outer.is_some_and(is_word))
                };
                let alone = borders(what.chars().next(), out.chars().next_back())
                    && borders(what.chars().next_back(), after.chars().next());
                out.push_str(if alone { by } else { found });
                rest = after;
            }
            out.push_str(rest);
            text = out;
        }
        text
    }
}

/// The log of a directory, open for adding.
#[derive(Debug)]
pub struct Directives {
    path: PathBuf,
    file: File,
    redactor: Redactor,
}

impl Directives {
    /// Opens or begins the log of `dir`. A last line that a killed process left without its end is completed where all
    /// of it is there, and removed else; no other line is touched.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(dir: &Path, redactor: Redactor) -> Result<Self, StoreError> {
        let path = dir.join(DIRECTIVES_FILE);
        let open = open_in_place(&path, OpenOptions::new().append(true));
        let mut file = open.map_err(StoreError::io("open", &path))?;
        mend(&mut file).map_err(StoreError::io("mend", &path))?;
        Ok(Self { path, file, redactor })
    }

    /// Adds a line. It survives a kill once this returns, and a power cut once [`finish`](Self::finish) has.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn record(&mut self, step: &str, description: &str, text: &str) -> Result<(), StoreError> {
        let directive = Directive {
            version: DIRECTIVES_VERSION,
            utc: now_utc(),
            step: step.to_string(),
            description: description.to_string(),
            text: self.redactor.redact(text),
            text_blake3: blake3::hash(text.as_bytes()).to_hex().to_string(),
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
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let torn = bytes.get(whole..).unwrap_or_default();
    if torn.is_empty() {
        return Ok(());
    }
    if serde_json::from_slice::<Directive>(torn).is_ok() {
        return file.write_all(b"\n");
    }
    file.set_len(whole as u64)?;
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

    fn redactor() -> Redactor {
        let pairs = [("/home/ann", "<home>"), ("vm", "<host>"), ("s3cret", "<redacted>"), ("/", "?"), ("", "?")];
        Redactor::new(pairs.map(|(a, b)| (a.to_string(), b.to_string())))
    }

    #[test]
    fn whole_words_are_replaced_and_parts_of_others_stay() {
        let cases = [
            ("run /home/ann/specs/a.toml -o /home/ann", "run <home>/specs/a.toml -o <home>"),
            ("/home/anna and /mnt/home/ann", "/home/anna and /mnt<home>"),
            ("on vm, vm.local, not vmware or kvm", "on <host>, <host>.local, not vmware or kvm"),
            ("--redact s3cret", "--redact <redacted>"),
            ("vm", "<host>"),
            ("", ""),
            ("naïve ünïcode /home/ann/ü", "naïve ünïcode <home>/ü"),
        ];
        for (text, expected) in cases {
            assert_eq!(redactor().redact(text), expected);
        }
    }

    #[test]
    fn lines_are_added_redacted_with_the_hash_of_the_whole_text() {
        let dir = tempfile::tempdir().unwrap();
        for step in ["plan", "train"] {
            let mut log = Directives::open(dir.path(), redactor()).unwrap();
            log.record(step, "why", "cd /home/ann\ngo").unwrap();
            log.finish().unwrap();
        }
        let lines = read_directives(dir.path()).unwrap();
        assert_eq!(lines.iter().map(|line| line.step.as_str()).collect::<Vec<_>>(), ["plan", "train"]);
        assert_eq!(lines[1].text, "cd <home>\ngo");
        assert_eq!(lines[1].text_blake3, blake3::hash(b"cd /home/ann\ngo").to_hex().as_str());
        assert_eq!(lines[0].version, DIRECTIVES_VERSION);
    }

    #[test]
    fn wherever_a_write_was_cut_off_every_whole_line_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DIRECTIVES_FILE);
        let mut log = Directives::open(dir.path(), redactor()).unwrap();
        log.record("one", "first", "ü").unwrap();
        log.record("two", "second", "ü").unwrap();
        drop(log);
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut log = Directives::open(dir.path(), redactor()).unwrap();
            log.record("three", "third", "").unwrap();
            let steps: Vec<String> = read_directives(dir.path()).unwrap().into_iter().map(|line| line.step).collect();
            let complete = |end: usize| cut + 1 >= end;
            let expected = [("one", complete(first)), ("two", complete(whole.len())), ("three", true)];
            let expected: Vec<&str> = expected.iter().filter(|(_, there)| *there).map(|(step, _)| *step).collect();
            assert_eq!(steps, expected, "cut at {cut}");
        }
    }
}
