use super::*;
use crate::store::record::tests::{first_sample, sample};
use crate::store::record::{RecordedCondition, RecordedMetric};

/// Written by version 1 of this module (zstd 0.13, ciborium 0.2) from the first three sample records. It must open
/// for ever; it is never regenerated.
const V1_NAME: &str = "92dec406e50f6af9.part";
const V1_BYTES: &[u8] = include_bytes!("../../../tests/fixtures/92dec406e50f6af9.part");

fn written(dir: &Path, cells: u64) -> (Part, Vec<CellRecord>) {
    let records: Vec<CellRecord> = (0..cells).map(sample).collect();
    let mut columns = Columns::default();
    let blocks = encode_blocks(&records, &mut columns, dir).unwrap();
    (write_part(dir, "smoke", "n1 flex x86_64", columns, &blocks).unwrap(), records)
}

#[test]
fn records_come_back_as_they_were_from_the_written_and_the_reopened_part() {
    let dir = tempfile::tempdir().unwrap();
    let (part, records) = written(dir.path(), BLOCK_CELLS as u64 + 3);
    for part in [&part, &Part::open(&part.path).unwrap()] {
        assert_eq!(part.index.blocks.len(), 2);
        assert_eq!([part.records(0).unwrap(), part.records(1).unwrap()].concat(), records);
        assert!(part.faults().unwrap().is_empty());
        assert_eq!(part.index.sweep, "smoke");
        assert!(part.records(2).is_err());
    }
}

#[test]
fn a_part_of_version_1_opens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(V1_NAME);
    std::fs::write(&path, V1_BYTES).unwrap();
    let part = Part::open(&path).unwrap();
    assert!(part.faults().unwrap().is_empty());
    // They are no cells: their ids do not follow from their configurations.
    assert_eq!(part.decoded(0, false).unwrap(), [0, 1, 2].map(first_sample));
    let error = part.records(0).unwrap_err().to_string();
    assert!(error.contains("its training is recorded as"), "{error}");
}

/// A part with another header, under the name that this header asks for.
fn with_header(dir: &Path, change: impl Fn(&mut serde_json::Value)) -> PathBuf {
    let (part, _) = written(dir, 2);
    let bytes = std::fs::read(&part.path).unwrap();
    let end = bytes.iter().position(|b| *b == b'\n').unwrap();
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[..end]).unwrap();
    change(&mut header);
    let mut line = serde_json::to_vec(&header).unwrap();
    line.push(b'\n');
    let path = dir.join(format!("{}.{EXTENSION}", name_of(&line)));
    std::fs::write(&path, [line.as_slice(), &bytes[end + 1..]].concat()).unwrap();
    path
}

#[test]
fn newer_parts_are_refused_even_when_the_rest_of_their_header_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    for key in ["version", "record_version"] {
        let path = with_header(dir.path(), |header| {
            header[key] = 2.into();
            header["blake3"] = serde_json::Value::Null;
        });
        let error = Part::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 2, supported: 1, .. }), "{error}");
    }
}

#[test]
fn a_version_altered_in_place_is_damage_and_not_a_newer_part() {
    let dir = tempfile::tempdir().unwrap();
    let (part, _) = written(dir.path(), 2);
    let text = std::fs::read(&part.path).unwrap();
    let at = text.windows(11).position(|w| w == b"\"version\":1").unwrap() + 10;
    let mut altered = text.clone();
    altered[at] = b'7';
    std::fs::write(&part.path, altered).unwrap();
    let error = Part::open(&part.path).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { reason, .. } if reason.contains("hash of its header")), "{error}");
}

#[test]
fn a_header_that_promises_more_than_the_file_holds_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = with_header(dir.path(), |header| header["index_bytes"] = (1u64 << 60).into());
    assert!(matches!(Part::open(&path), Err(StoreError::Damaged { .. })));
}

/// A part of these blocks, whatever they are, that lists two cells in each.
fn with_blocks(dir: &Path, packed: &[Vec<u8>]) -> Part {
    let records = [sample(0), sample(1)];
    let mut columns = Columns::default();
    records.iter().for_each(|record| columns.add(record));
    let block = |bytes: &Vec<u8>| {
        let (bytes, cells) = (bytes.clone(), records.iter().map(CellEntry::of).collect());
        let blake3 = blake3::hash(&bytes).to_hex().to_string();
        let entry = BlockEntry { bytes: bytes.len() as u64, blake3, cells };
        Source::New(bytes, entry)
    };
    let blocks: Vec<Source> = packed.iter().map(block).collect();
    let part = write_part(dir, "smoke", "n1 flex x86_64", columns, &blocks).unwrap();
    Part::open(&part.path).unwrap()
}

fn packed(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, ZSTD_LEVEL).unwrap()
}

fn cbor(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_block_that_unpacks_to_more_than_its_records_can_be_is_refused_and_the_part_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut zeros = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    std::io::copy(&mut std::io::repeat(0).take(8 << 30), &mut zeros).unwrap();
    let bomb = zeros.finish().unwrap();
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    let sound = packed(&cbor(&[sample(0), sample(1)]));
    let part = with_blocks(dir.path(), &[vec![bomb], vec![sound; 300]].concat());
    let error = part.records(0).unwrap_err().to_string();
    assert!(error.contains("too large: it unpacks to more than 268435456 bytes"), "{error}");
    assert!(part.faults().unwrap().is_empty(), "its bytes are what was written");
    let faults = part.content_faults().unwrap();
    assert!(faults.iter().any(|(block, _)| *block == 0), "{faults:?}");
}

#[test]
fn a_record_is_no_larger_than_its_configuration_allows_whatever_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    // Nine million nulls where twenty steps were recorded three times.
    let mut long = sample(0);
    long.curves.series.insert("loss".into(), vec![None; 9 << 20]);
    let part = with_blocks(dir.path(), &[packed(&cbor(&[&long, &sample(1)]))]);
    let error = part.records(0).unwrap_err().to_string();
    assert!(error.contains("too large: a record has 94"), "{error}");
    assert!(part.decoded(0, false).is_ok(), "it is the judge that refuses it");
}

#[test]
fn what_is_no_list_of_the_listed_records_is_unreadable_whatever_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    let both = cbor(&[sample(0), sample(1)]);
    let cases = [
        (vec![0x9f, 0xff], "cannot be told apart"),
        (vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "cannot be told apart"),
        (vec![0x81; 5000], "cannot be told apart"),
        (both[..both.len() - 1].to_vec(), "cannot be told apart"),
        (cbor(&[1, 2]), "is unreadable"),
        (cbor(&["x".repeat(1 << 17), String::new()]), "no configuration"),
        (cbor(&[sample(0)]), "not those the index lists"),
        (cbor(&[sample(1), sample(0)]), "not those the index lists"),
        (cbor(&[sample(0), sample(2)]), "not those the index lists"),
        (cbor(&[sample(0), CellRecord { status: RecordedStatus::Failed, ..sample(1) }]), "not those the index lists"),
        (cbor(&[sample(0), CellRecord { class: "n1 wgpu".into(), ..sample(1) }]), "another class"),
        (cbor(&[sample(0), CellRecord { steps: 3, ..sample(1) }]), "cannot be: it is ok after 3 steps of 20"),
    ];
    for (plain, words) in cases {
        let part = with_blocks(dir.path(), &[packed(&plain)]);
        let error = part.records(0).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { reason, .. } if reason.contains(words)), "{words}: {error}");
        assert!(part.faults().unwrap().is_empty(), "{words}");
        assert_eq!(part.content_faults().unwrap().len(), 1, "{words}");
        assert!(part.judged_block(0).is_err(), "{words}");
    }
    let mut unlisted = sample(1);
    unlisted.metrics.insert("of_another_version".into(), RecordedMetric::Value(1.0));
    let error = with_blocks(dir.path(), &[packed(&cbor(&[sample(0), unlisted]))]).records(0).unwrap_err().to_string();
    assert!(error.contains("does not list all that it has"), "{error}");
}

#[test]
fn an_index_that_no_program_writes_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let cell = CellEntry::of(&sample(0));
    let block =
        |cells: usize, bytes: u64| BlockEntry { bytes, blake3: "00".repeat(32), cells: vec![cell.clone(); cells] };
    let index = |blocks| Index { sweep: "s".into(), class: "c".into(), columns: Columns::default(), blocks };
    assert_eq!(index(vec![block(64, 1), block(1, MOST_BLOCK_BYTES)]).fault(), None);
    for blocks in [vec![block(0, 1)], vec![block(1, 1), block(65, 1)], vec![block(1, MOST_BLOCK_BYTES + 1)]] {
        assert!(index(blocks).fault().is_some());
    }
    let names = (0..=MOST_COLUMNS).map(|n| n.to_string()).collect();
    let columns = Columns { metrics: names, ..Columns::default() };
    assert!(Index { columns, ..index(Vec::new()) }.fault().is_some());
    // A length that only a sparse file has.
    let path = with_header(dir.path(), |header| header["index_bytes"] = (1u64 << 40).into());
    std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 41).unwrap();
    let error = Part::open(&path).unwrap_err().to_string();
    assert!(error.contains("more than any that can be read"), "{error}");
}

#[test]
fn large_records_make_blocks_of_their_own_and_too_large_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let large = |n: u64| {
        let mut record = sample(n);
        // As many points as its configuration has looks.
        record.config["train"]["steps"] = 20_000.into();
        record.config["curves"]["every"] = 1.into();
        record.curves.series.insert("loss".into(), vec![Some(0.1 + n as f64); FULL_BLOCK_BYTES / 9]);
        record
    };
    let records: Vec<CellRecord> = [sample(0), large(1), sample(2), sample(3)].into();
    let mut columns = Columns::default();
    let blocks = encode_blocks(&records, &mut columns, dir.path()).unwrap();
    let part = write_part(dir.path(), "smoke", "n1 flex x86_64", columns, &blocks).unwrap();
    let cells: Vec<usize> = part.index.blocks.iter().map(|block| block.cells.len()).collect();
    assert_eq!(cells, [2, 2]);
    assert_eq!([part.records(0).unwrap(), part.records(1).unwrap()].concat(), records);
    let mut huge = sample(5);
    huge.reason = "x".repeat(MOST_RECORD_BYTES as usize);
    let error = encode_blocks(&[huge], &mut Columns::default(), dir.path()).unwrap_err();
    assert!(matches!(&error, StoreError::BadRecord { reason, .. } if reason.contains("at most")), "{error}");
}

/// A record of a cell that was measured under so many conditions, with every metric there is, each without a value for
/// `reason`.
fn under_conditions(conditions: usize, reason: &str) -> CellRecord {
    let mut record = sample(0);
    let of_one = record.conditions.remove(0);
    let missing = |d: &crate::metric::Descriptor| (d.name.to_string(), RecordedMetric::Missing(reason.to_string()));
    let metrics: std::collections::BTreeMap<_, _> = crate::metric::descriptors().map(missing).collect();
    record.metrics.extend(metrics.clone());
    record.conditions = (0..conditions)
        .map(|n| RecordedCondition {
            name: format!("noise-{n:04}"),
            changes: [("image.noise".to_string(), (1.0 + n as f64).into())].into(),
            metrics: metrics.clone(),
            ..of_one.clone()
        })
        .collect();
    let config: Config = serde_json::from_value(record.config.clone()).unwrap();
    record.cell_id = crate::spec::Cell::new(config, record.conditions()).id;
    record
}

#[test]
fn what_can_be_written_can_be_read_however_many_conditions_a_cell_has() {
    let dir = tempfile::tempdir().unwrap();
    let reason = "fewer than 64 samples have the group that it compares them with";
    for conditions in [1, 1000] {
        let record = under_conditions(conditions, reason);
        let mut columns = Columns::default();
        let blocks = encode_blocks(std::slice::from_ref(&record), &mut columns, dir.path()).unwrap();
        let part = write_part(dir.path(), "smoke", "n1 flex x86_64", columns, &blocks).unwrap();
        let read = Part::open(&part.path).unwrap().records(0).unwrap();
        assert!(read == [record], "{conditions} conditions");
    }
    // What the reader would not take is refused before it is written, by the same rule and in the same words.
    let unread = [
        (under_conditions(3, &"x".repeat(1000)), "a condition has "),
        (CellRecord { reason: "x".repeat(9 << 20), ..sample(0) }, "beside its conditions"),
        (
            CellRecord { config: serde_json::json!({ "train": 3 }), reason: "x".repeat(1 << 17), ..sample(0) },
            "no configuration",
        ),
    ];
    for (record, words) in unread {
        let error = encode_blocks(std::slice::from_ref(&record), &mut Columns::default(), dir.path()).unwrap_err();
        assert!(matches!(&error, StoreError::BadRecord { reason, .. } if reason.contains(words)), "{words}: {error}");
        let part = with_blocks(dir.path(), &[packed(&cbor(&[&record, &sample(1)]))]);
        let error = part.records(0).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}
