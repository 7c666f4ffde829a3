//! Parts whose records, index or header were changed and whose hashes are right, and parts whose bytes were changed.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use cliffline::metric::{descriptor, hold};
use cliffline::spec::Config;
use cliffline::store::{
    CellRecord, Holds, REUSED_FILE, RecordedMetric, RunReader, StoreError, TableSpec, differences, find_offers,
    leaf_text, mark, write_run_tables,
};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::forge::{Block, Forge, encoded};
use super::mutation::{Cut, Edit, cut, cuts, edit, edits};
use super::{Fuzz, Verdict};

/// Cells that a small run trained, which ended in every way: with a condition, limits, and a selected checkpoint.
const PART: &[u8] = include_bytes!("../fixtures/fuzz/cells.part");
/// How many they are.
const CELLS: usize = 8;

/// What of a part is changed.
#[derive(Clone, Debug)]
enum Change {
    /// A record; whether the index lists again what the records say.
    Record(usize, Vec<Edit>, bool),
    Index(Vec<Edit>),
    Header(Vec<Edit>),
    /// The CBOR of a block.
    Plain(Vec<Cut>),
    /// A block as it is packed.
    Packed(Vec<Cut>),
    /// The values of one record in another.
    Between(usize, usize, String),
    /// A block that unpacks to much more than a record has.
    Bomb(u8, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let fields = [
        "config",
        "metrics",
        "status",
        "steps",
        "spectra",
        "curves",
        "checksums",
        "conditions",
        "train_id",
        "selection",
    ];
    prop_oneof![
        12 => (0..CELLS, edits(), prop::bool::weighted(0.9)).prop_map(|(n, edits, again)| Change::Record(n, edits, again)),
        2 => edits().prop_map(Change::Index),
        1 => edits().prop_map(Change::Header),
        2 => cuts().prop_map(Change::Plain),
        1 => cuts().prop_map(Change::Packed),
        2 => (0..CELLS, 0..CELLS, prop::sample::select(fields.to_vec())).prop_map(|(to, from, field)| Change::Between(to, from, field.to_string())),
    ]
}

/// A few of them are slow, and are tried by themselves.
fn bombs() -> impl Strategy<Value = Change> {
    (prop::sample::select(vec![0xf6u8, 0x00, 0x80, 0x9f]), (1usize << 20)..(1 << 28))
        .prop_map(|(byte, n)| Change::Bomb(byte, n))
}

fn made(change: &Change) -> (String, Vec<u8>) {
    let mut part = Forge::of_bytes(PART);
    match change {
        Change::Record(number, edits, again) => {
            let records = part.records();
            edit(&mut records[*number], edits);
            if *again {
                part.list_again();
            }
        }
        Change::Index(edits) => edit(&mut part.index, edits),
        Change::Header(edits) => part.header = super::mutation::edit_json(&part.header, edits),
        Change::Plain(cuts) => {
            let mut plain = encoded(&ciborium::Value::Array(part.records().clone()));
            cut(&mut plain, cuts);
            part.blocks = vec![Block::Plain(plain)];
        }
        Change::Packed(cuts) => {
            let plain = encoded(&ciborium::Value::Array(part.records().clone()));
            let mut packed = zstd::encode_all(plain.as_slice(), 1).expect("packed in memory");
            cut(&mut packed, cuts);
            part.blocks = vec![Block::Packed(packed)];
        }
        Change::Between(to, from, field) => {
            let records = part.records();
            let value = super::forge::get(&mut records[*from], field).cloned();
            if let Some(value) = value {
                super::forge::set(&mut records[*to], field, value);
            }
            part.list_again();
        }
        Change::Bomb(byte, length) => {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
            std::io::copy(&mut std::io::Read::take(std::io::repeat(*byte), *length as u64), &mut encoder)
                .expect("packed");
            part.blocks = vec![Block::Packed(encoder.finish().expect("packed"))];
        }
    }
    part.bytes()
}

/// The sound records by their ids.
fn originals() -> BTreeMap<String, CellRecord> {
    let dir = tempfile::tempdir().expect("a folder");
    let (name, bytes) = Forge::of_bytes(PART).bytes();
    let records = read(dir.path(), &name, &bytes).expect("a sound part").1;
    assert_eq!(records.len(), CELLS, "the seed is sound");
    records.into_iter().map(|record| (record.cell_id.clone(), record)).collect()
}

/// Records of a run that has this part alone, each by itself; how many faults it has.
fn read(dir: &Path, name: &str, bytes: &[u8]) -> Result<(usize, Vec<CellRecord>), StoreError> {
    let parts = dir.join("run/parts");
    std::fs::create_dir_all(&parts).expect("a folder");
    std::fs::write(parts.join(name), bytes).expect("a part");
    mark(&dir.join("run"), &Holds::Run).expect("a mark");
    let reader = RunReader::open(&dir.join("run"))?;
    let sound = reader.sound_cells()?;
    let ids: Vec<&String> = sound.cells.keys().collect();
    let records = reader.records(&ids)?;
    Ok((sound.faults.len(), records))
}

/// Of what a record was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Taken {
    /// The run's own: keys that an older version did not know are read as their defaults.
    Own,
    /// A neighbour's: all is written that this version writes.
    Lent,
}

/// A record that was taken: the one that it was, or one whose change is told.
fn judged(record: &CellRecord, originals: &BTreeMap<String, CellRecord>, taken: Taken) -> Result<bool, TestCaseError> {
    let original = originals.get(&record.cell_id);
    let Some(original) = original else {
        return Err(TestCaseError::fail(format!(
            "cell {} was taken, and is none of those that were trained",
            record.cell_id
        )));
    };
    for (name, metric) in record.metrics.iter().chain(record.conditions.iter().flat_map(|c| &c.metrics)) {
        if let (RecordedMetric::Value(value), Some(known)) = (metric, descriptor(name)) {
            prop_assert!(hold(*value, known.range).is_ok(), "{} of {} was taken as {}", name, record.cell_id, value);
        }
    }
    let meant =
        |record: &CellRecord| serde_json::from_value::<Config>(record.config.clone()).map_err(|e| e.to_string());
    prop_assert_eq!(meant(record), meant(original));
    prop_assert!(taken == Taken::Own || record.config == original.config, "{} lacks a key", record.cell_id);
    prop_assert_eq!(&record.train_id, &original.train_id);
    let same = leaf_text(record) == leaf_text(original);
    let told = !differences(record, &original.to_outcome()).is_empty();
    // What is only missing is told by the root over all cells, and to a run that would take the record over as what it lacks.
    let lacks = !differences(original, &record.to_outcome()).is_empty();
    let lacks = lacks || record.config != original.config;
    prop_assert!(same || told || lacks, "cell {} was taken with a change that nothing tells", record.cell_id);
    Ok(same)
}

fn check(name: &str, bytes: &[u8], originals: &BTreeMap<String, CellRecord>) -> Result<Verdict, TestCaseError> {
    let dir = tempfile::tempdir().expect("a folder");
    let (faults, records) = match read(dir.path(), name, bytes) {
        Err(StoreError::Io { source, .. }) => return Err(TestCaseError::fail(format!("no fault of a disk: {source}"))),
        Err(_) => return Ok(Verdict::Refused),
        Ok(found) => found,
    };
    let mut same = true;
    for record in &records {
        same &= judged(record, originals, Taken::Own)?;
    }
    // What a reader takes makes tables, and what it does not take makes none. They take longer than all else, so that few
    // inputs come to them.
    let ids: Vec<&str> = originals.keys().map(String::as_str).collect();
    let spec = TableSpec { cell_ids: &ids, ..TableSpec::default() };
    let reader = RunReader::open(&dir.path().join("run")).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let is_drawn = blake3::hash(bytes).as_bytes()[0].is_multiple_of(16);
    match if is_drawn { write_run_tables(&reader, &spec).map(Some) } else { Ok(None) } {
        Ok(None) => {}
        Ok(Some(tables)) => {
            prop_assert_eq!(tables.tables["cells.parquet"].rows as usize, records.len());
            prop_assert!(
                !dir.path().join("run").join(REUSED_FILE).exists() || records.iter().any(|r| r.reused_from.is_some())
            );
        }
        Err(StoreError::Damaged { .. } | StoreError::Table { .. }) => {}
        Err(other) => return Err(TestCaseError::fail(other.to_string())),
    }
    // A run beside it takes no more than that, and nothing that lacks what this version records.
    let class = originals.values().next().map(|record| record.class.clone()).unwrap_or_default();
    let wanted: HashSet<&str> = ids.iter().copied().collect();
    let found = find_offers(dir.path(), &dir.path().join("own"), wanted, &class);
    let found = found.map_err(|e| TestCaseError::fail(e.to_string()))?;
    for offer in &found.offers {
        for id in offer.cells() {
            let record = offer.record(id).map_err(|e| TestCaseError::fail(e.to_string()))?;
            judged(&record, originals, Taken::Lent)?;
            prop_assert!(record.metrics.len() == originals[id].metrics.len());
        }
    }
    match (faults == 0 && records.len() == originals.len(), same) {
        (true, true) => Ok(Verdict::Unchanged),
        (_, false) => Ok(Verdict::Told),
        (false, true) => Ok(Verdict::Refused),
    }
}

pub fn records(fuzz: &mut Fuzz) {
    let originals = originals();
    fuzz.check(change(), |change| {
        let (name, bytes) = made(&change);
        check(&name, &bytes, &originals)
    });
    let all = std::mem::replace(&mut fuzz.cases, 0);
    fuzz.cases = (all / 500).max(2);
    fuzz.check(bombs(), |change| {
        let (name, bytes) = made(&change);
        check(&name, &bytes, &originals)
    });
    fuzz.cases = all;
}

pub fn parts(fuzz: &mut Fuzz) {
    let originals = originals();
    let (name, sound) = Forge::of_bytes(PART).bytes();
    fuzz.check((cuts(), any::<bool>()), |(cuts, renamed)| {
        let mut bytes = sound.clone();
        cut(&mut bytes, &cuts);
        let name = match bytes.iter().position(|byte| *byte == b'\n') {
            // As whoever changes a header by hand names the file anew.
            Some(end) if renamed => format!("{}.part", &blake3::hash(&bytes[..=end]).to_hex()[..16]),
            _ => name.clone(),
        };
        let verdict = check(&name, &bytes, &originals)?;
        prop_assert!(verdict != Verdict::Told, "no byte of a part changes without its hashes");
        Ok(verdict)
    });
}
