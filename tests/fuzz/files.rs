//! The files beside parts: manifest, ledger, log of directives, the note of a bundle.

use std::path::Path;

use cliffline::store::{
    BUNDLE_NOTE_FILE, DIRECTIVES_FILE, Directives, LEDGER_FILE, Ledger, MANIFEST_FILE, Redaction, RunManifest,
    StoreError, check_seal, read_directives,
};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::mutation::{self, Cut, Edit, cut, cuts, edit_json, edits};
use super::{Fuzz, Verdict};

const MANIFEST: &[u8] = include_bytes!("../fixtures/fuzz/manifest.json");
const LEDGER: &[u8] = include_bytes!("../fixtures/fuzz/ledger.jsonl");
const DIRECTIVES: &[u8] = include_bytes!("../fixtures/fuzz/directives.jsonl");
const BUNDLE_NOTE: &[u8] = include_bytes!("../fixtures/fuzz/bundle.json");

/// A change of a document, or of one line of a log.
#[derive(Clone, Debug)]
enum Change {
    Tree(Vec<Edit>),
    Bytes(Vec<Cut>),
    /// A line; where in the file, and the changes of its tree.
    Line(f64, Vec<Edit>),
    /// A line put in the place of another.
    Moved(f64, f64),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![edits().prop_map(Change::Tree), cuts().prop_map(Change::Bytes)]
}

fn change_of_lines() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0.0..1.0f64, edits()).prop_map(|(at, edits)| Change::Line(at, edits)),
        1 => (0.0..1.0f64, 0.0..1.0f64).prop_map(|(from, to)| Change::Moved(from, to)),
        2 => cuts().prop_map(Change::Bytes),
    ]
}

fn changed(sound: &[u8], change: &Change) -> Vec<u8> {
    let text = || std::str::from_utf8(sound).expect("a seed is text");
    let joined = |lines: Vec<String>| (lines.join("\n") + "\n").into_bytes();
    match change {
        Change::Tree(edits) => {
            let document = serde_json::from_slice(sound).expect("a seed is JSON");
            let document = edit_json(&document, edits);
            // As the program writes it; but the indentation of a list deep inside would make it a gigabyte.
            let is_deep = edits.iter().any(|edit| matches!(edit.change, mutation::Change::Nest(depth) if depth > 300));
            if is_deep { serde_json::to_vec(&document) } else { serde_json::to_vec_pretty(&document) }
                .expect("plain data")
        }
        Change::Bytes(cuts) => {
            let mut bytes = sound.to_vec();
            cut(&mut bytes, cuts);
            bytes
        }
        Change::Line(at, edits) => {
            let mut lines: Vec<String> = text().lines().map(String::from).collect();
            let place = (at * lines.len() as f64) as usize;
            let line = serde_json::from_str(&lines[place]).expect("a line is JSON");
            lines[place] = serde_json::to_string(&edit_json(&line, edits)).expect("plain data");
            joined(lines)
        }
        Change::Moved(from, to) => {
            let mut lines: Vec<String> = text().lines().map(String::from).collect();
            let place = |share: &f64| (share * lines.len() as f64) as usize;
            let (from, to) = (place(from), place(to));
            let line = lines.remove(from);
            lines.insert(to.min(lines.len()), line);
            joined(lines)
        }
    }
}

/// Refused in words; a disk that fails is no answer.
fn refused(error: StoreError) -> Result<Verdict, TestCaseError> {
    match error {
        StoreError::Io { source, .. } if source.kind() != std::io::ErrorKind::InvalidData => {
            Err(TestCaseError::fail(format!("no fault of a disk: {source}")))
        }
        error => {
            prop_assert!(!error.to_string().is_empty());
            Ok(Verdict::Refused)
        }
    }
}

/// A directory that has one file beside what a seal needs.
fn directory(file: &str, bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, sound) in [(MANIFEST_FILE, MANIFEST), (LEDGER_FILE, LEDGER), (DIRECTIVES_FILE, DIRECTIVES)] {
        std::fs::write(dir.path().join(name), if name == file { bytes } else { sound }).expect("a file");
    }
    if file == BUNDLE_NOTE_FILE {
        std::fs::write(dir.path().join(file), bytes).expect("a file");
    }
    dir
}

/// Nothing is sound about a directory that lacks its tables, whatever is changed of the rest.
fn seal_is_broken(dir: &Path) -> Result<(), TestCaseError> {
    match check_seal(dir) {
        Ok(found) => prop_assert!(!found.faults.is_empty() || found.ledger.is_none() || found.unpacked.is_some()),
        Err(error) => {
            refused(error)?;
        }
    }
    Ok(())
}

/// Whether the seal of a directory finds that a file was changed.
fn is_named(dir: &Path, file: &str) -> bool {
    check_seal(dir).is_ok_and(|found| found.names(file))
}

pub fn manifest(fuzz: &mut Fuzz) {
    let sound: RunManifest = {
        let dir = directory(MANIFEST_FILE, MANIFEST);
        RunManifest::read(dir.path()).expect("a sound manifest").expect("there is one")
    };
    fuzz.check(change(), |change| {
        let dir = directory(MANIFEST_FILE, &changed(MANIFEST, &change));
        seal_is_broken(dir.path())?;
        let mut read = match RunManifest::read(dir.path()) {
            Ok(Some(read)) => read,
            Ok(None) => return Err(TestCaseError::fail("it is there".to_string())),
            Err(error) => return refused(error),
        };
        let same = read == sound;
        prop_assert!(same || is_named(dir.path(), MANIFEST_FILE), "a changed manifest is named");
        // What was read is written and read as the same.
        read.write(dir.path()).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let again = RunManifest::read(dir.path()).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(again.as_ref(), Some(&read));
        Ok(if same { Verdict::Unchanged } else { Verdict::Told })
    });
}

/// The digits of the last line of a ledger are of all before them.
fn signed(bytes: Vec<u8>) -> Vec<u8> {
    const KEY: &[u8] = b"\"ledger_blake3\":\"";
    let Some(at) = bytes.windows(KEY.len()).rposition(|window| window == KEY) else { return bytes };
    let before = &bytes[..at + KEY.len()];
    let digits = blake3::hash(before).to_hex();
    [before, digits.as_bytes(), b"\"}\n"].concat()
}

pub fn ledger(fuzz: &mut Fuzz) {
    let sound = {
        let dir = directory(LEDGER_FILE, LEDGER);
        Ledger::read(dir.path()).expect("a sound ledger").expect("there is one")
    };
    fuzz.check((change_of_lines(), prop::bool::weighted(0.9)), |(change, sign)| {
        let mut bytes = changed(LEDGER, &change);
        if sign {
            bytes = signed(bytes);
        }
        let dir = directory(LEDGER_FILE, &bytes);
        seal_is_broken(dir.path())?;
        let read = match Ledger::read(dir.path()) {
            Ok(Some(read)) => read,
            Ok(None) => return Err(TestCaseError::fail("it is there".to_string())),
            Err(error) => return refused(error),
        };
        prop_assert_eq!(read.to_bytes(), bytes, "what is taken is what this program writes, to the byte");
        for line in read.lines() {
            let inside =
                line.path.split('/').all(|folder| !["", ".", ".."].contains(&folder)) && !line.path.contains('\\');
            prop_assert!(inside, "{:?} leads out of the directory", line.path);
        }
        let compared = read.compare(dir.path(), |_| false).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert!(!compared.faults.is_empty(), "its tables are not there");
        Ok(if read == sound { Verdict::Unchanged } else { Verdict::Told })
    });
}

pub fn directives(fuzz: &mut Fuzz) {
    let sound = {
        let dir = directory(DIRECTIVES_FILE, DIRECTIVES);
        read_directives(dir.path()).expect("a sound log")
    };
    fuzz.check(change_of_lines(), |change| {
        let bytes = changed(DIRECTIVES, &change);
        let dir = directory(DIRECTIVES_FILE, &bytes);
        let before = read_directives(dir.path());
        // Adding to it touches no whole line of it.
        let opened = Directives::open(dir.path(), Redaction::default()).and_then(|mut log| log.record("fuzz", "", ""));
        opened.map_err(|e| TestCaseError::fail(e.to_string()))?;
        let after = std::fs::read(dir.path().join(DIRECTIVES_FILE)).expect("the log");
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        prop_assert!(after.starts_with(&bytes[..whole]));
        match before {
            Ok(lines) if lines == sound => Ok(Verdict::Unchanged),
            Ok(_) => {
                std::fs::write(dir.path().join(DIRECTIVES_FILE), &bytes).expect("a file");
                prop_assert!(is_named(dir.path(), DIRECTIVES_FILE), "a changed log is named");
                Ok(Verdict::Told)
            }
            Err(error) => refused(error),
        }
    });
}

pub fn bundle(fuzz: &mut Fuzz) {
    fuzz.check(change(), |change| {
        let bytes = changed(BUNDLE_NOTE, &change);
        let dir = directory(BUNDLE_NOTE_FILE, &bytes);
        match check_seal(dir.path()) {
            Ok(found) => {
                // Whatever the note says, files that are no parts are missed.
                prop_assert!(found.faults.iter().any(|(name, _)| name == "cells.parquet"), "{:?}", found.faults);
                let same = bytes == BUNDLE_NOTE;
                let named = found.faults.iter().any(|(name, _)| name == BUNDLE_NOTE_FILE);
                prop_assert!(same || named, "a changed note is named");
                Ok(if same { Verdict::Unchanged } else { Verdict::Told })
            }
            Err(error) => refused(error),
        }
    });
}
