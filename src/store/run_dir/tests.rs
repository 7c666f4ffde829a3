use proptest::prelude::*;

use super::*;
use crate::engine::Status;
use crate::spec::config::flatten;
use crate::store::RecordedMetric;
use crate::store::record::tests::sample;
use crate::store::reuse::find_offers;
use crate::store::tables::{TableSpec, write_run_tables};

const CLASS: &str = "n1 flex x86_64";

mod siblings;

fn identity(cells: u64) -> Identity {
    let records: Vec<CellRecord> = (0..cells).map(sample).collect();
    Identity {
        sweep: "smoke".into(),
        class: CLASS.into(),
        cell_ids: records.iter().map(|record| record.cell_id.clone()).collect(),
        levels: Levels::of(records.iter().flat_map(|record| flatten(&record.config))),
    }
}

fn samples(range: std::ops::Range<u64>) -> Vec<CellRecord> {
    range.map(sample).collect()
}

/// A closed run with the first `cells` cells of a plan of as many, appended in packs of `pack`.
fn run_with(dir: &Path, cells: u64, pack: u64) {
    let (mut run, _) = RunDir::open(dir, &identity(cells)).unwrap();
    for start in (0..cells).step_by(pack as usize) {
        run.append(&samples(start..(start + pack).min(cells))).unwrap();
    }
}

fn part_paths(dir: &Path) -> Vec<PathBuf> {
    list_parts(&dir.join(PARTS)).unwrap()
}

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| name_of(&entry.unwrap().path())).collect()
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn tables(run: &RunDir, cells: u64) -> Vec<Vec<u8>> {
    let cell_ids = identity(cells).cell_ids;
    let cell_ids: Vec<&str> = cell_ids.iter().map(String::as_str).collect();
    let spec = TableSpec { cell_ids: &cell_ids, ..TableSpec::default() };
    write_run_tables(run.reader(), &spec)
        .unwrap()
        .tables
        .into_keys()
        .map(|file| fs::read(run.dir().join(file)).unwrap())
        .collect()
}

#[test]
fn what_was_appended_is_there_when_the_run_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep").join("run");
    run_with(&path, 6, 2);
    let (run, found) = RunDir::open(&path, &identity(6)).unwrap();
    let expected: BTreeMap<String, Status> = samples(0..6).into_iter().map(|r| (r.cell_id, r.status.into())).collect();
    let present: BTreeMap<String, Status> = run.reader().cells().collect();
    assert_eq!(present, expected);
    assert!(found.damaged.is_empty());
    assert_eq!(run.reader().record(&sample(4).cell_id[..12]).unwrap(), sample(4));
    assert_eq!(
        run.reader().counts(),
        [("ok", 5), ("collapsed", 1), ("diverged", 0), ("failed", 0)].map(|(s, n)| (s.to_string(), n)).into()
    );
    assert!(matches!(run.reader().record("zz"), Err(StoreError::NoSuchCell { .. })));
    assert!(matches!(run.reader().record(""), Err(StoreError::AmbiguousCell { .. })));
}

#[test]
fn many_small_parts_become_few_and_keep_every_record() {
    let dir = tempfile::tempdir().unwrap();
    let cells = 600;
    run_with(dir.path(), cells, 1);
    // 600 = 2 * 16^2 + 5 * 16 + 8.
    assert_eq!(part_paths(dir.path()).len(), 2 + 5 + 8);
    let (run, _) = RunDir::open(dir.path(), &identity(cells)).unwrap();
    assert_eq!(run.reader().len(), cells as usize);
    let ids = identity(cells).cell_ids;
    assert_eq!(run.reader().records(&ids).unwrap(), samples(0..cells));
    // Tiny blocks were packed together.
    assert!(run.reader().parts.values().all(|part| part.index.blocks.len() <= 5));
}

#[test]
fn a_merge_killed_before_it_removed_its_sources_is_tidied_up() {
    let (dir, before) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut run, _) = RunDir::open(dir.path(), &identity(16)).unwrap();
    for n in 0..15 {
        run.append(&[sample(n)]).unwrap();
    }
    copy_tree(&dir.path().join(PARTS), before.path());
    run.append(&[sample(15)]).unwrap();
    drop(run);
    let merged = part_paths(dir.path());
    assert_eq!(merged.len(), 1);
    copy_tree(before.path(), &dir.path().join(PARTS));
    assert_eq!(part_paths(dir.path()).len(), 16);
    let (run, found) = RunDir::open(dir.path(), &identity(16)).unwrap();
    assert_eq!((run.reader().len(), found.damaged.len()), (16, 0));
    assert_eq!(part_paths(dir.path()), merged);
    assert_eq!(run.reader().records(&identity(16).cell_ids).unwrap(), samples(0..16));
}

/// A part of these blocks in a run of sample cells, each with the cells that it lists.
fn put_part(dir: &Path, blocks: Vec<(Vec<u8>, Vec<CellRecord>)>) -> PathBuf {
    let parts_dir = dir.join(PARTS);
    let mut columns = Columns::default();
    let mut sources = Vec::new();
    for (bytes, records) in blocks {
        for source in encode_blocks(&records, &mut columns, &parts_dir).unwrap() {
            let Source::New(sound, mut entry) = source else { panic!("a new block") };
            let bytes = if bytes.is_empty() { sound } else { bytes.clone() };
            (entry.bytes, entry.blake3) = (bytes.len() as u64, blake3::hash(&bytes).to_hex().to_string());
            sources.push(Source::New(bytes, entry));
        }
    }
    write_part(&parts_dir, "smoke", CLASS, columns, &sources).unwrap().path
}

#[test]
fn no_part_goes_on_the_word_of_an_index() {
    let garbage = || b"no records".to_vec();
    let slower = |record: CellRecord| CellRecord { wall_s: 7.0, ..record };
    // Larger parts that claim to have the six cells too: with blocks that cannot be read, with records that cannot be,
    // and with records that can be and are not the same.
    let claims: [Vec<(Vec<u8>, Vec<CellRecord>)>; 4] = [
        vec![(garbage(), samples(0..6)), (garbage(), samples(0..6))],
        vec![(Vec::new(), samples(6..8)), (garbage(), samples(0..6))],
        vec![(
            Vec::new(),
            samples(0..6).into_iter().map(|r| CellRecord { steps: 7, ..r }).chain(samples(6..8)).collect(),
        )],
        vec![(Vec::new(), samples(0..6).into_iter().map(slower).chain(samples(6..8)).collect())],
    ];
    for (number, blocks) in claims.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        run_with(dir.path(), 6, 6);
        let honest = part_paths(dir.path()).remove(0);
        let bytes = fs::read(&honest).unwrap();
        put_part(dir.path(), blocks);
        let (mut run, _) = RunDir::open(dir.path(), &identity(8)).unwrap();
        assert_eq!(fs::read(&honest).unwrap(), bytes, "claim {number}");
        let damaged = run.set_aside_unbelievable().unwrap();
        assert_eq!(damaged.len(), usize::from(number < 3), "claim {number}: {damaged:?}");
        let records = run.reader().records(&identity(6).cell_ids).unwrap();
        let same = records.iter().cloned().map(slower).eq(samples(0..6).into_iter().map(slower));
        assert!(same, "claim {number}: {records:?}");
    }
    // The same records in another part are enough.
    let dir = tempfile::tempdir().unwrap();
    run_with(dir.path(), 6, 6);
    let honest = part_paths(dir.path()).remove(0);
    put_part(dir.path(), vec![(Vec::new(), samples(4..8)), (Vec::new(), samples(0..4))]);
    let (run, _) = RunDir::open(dir.path(), &identity(8)).unwrap();
    assert!(!honest.exists());
    assert_eq!(run.reader().records(&identity(8).cell_ids).unwrap(), samples(0..8));
}

#[test]
fn holding_a_run_changes_nothing_of_it_until_it_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    run_with(dir.path(), 6, 6);
    put_part(dir.path(), vec![(Vec::new(), samples(0..7))]);
    let damaged = put_part(dir.path(), vec![(Vec::new(), samples(7..8)), (Vec::new(), samples(8..9))]);
    let mut bytes = fs::read(&damaged).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&damaged, bytes).unwrap();
    fs::write(dir.path().join(MANIFEST_FILE), b"{").unwrap();
    let files = || -> Vec<(PathBuf, Vec<u8>)> {
        let paths = part_paths(dir.path()).into_iter().chain([dir.path().join(MANIFEST_FILE)]);
        paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    };
    let before = files();
    let mut run = RunDir::hold(dir.path(), &identity(9)).unwrap();
    assert!(run.is_damaged());
    assert_eq!((run.reader().len(), files() == before), (7, true), "a damaged part counts once it is mended");
    let found = run.mend().unwrap();
    assert_eq!((found.damaged.len(), run.is_damaged(), run.reader().len()), (2, false, 8));
    assert_eq!(part_paths(dir.path()).len(), 2, "one was redundant");
    assert!(run.mend().unwrap().damaged.is_empty());
}

#[test]
fn leftovers_of_a_kill_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    run_with(dir.path(), 2, 2);
    for leftover in [".cliffline-abc.tmp", "parts/.cliffline-def.tmp"] {
        fs::write(dir.path().join(leftover), b"{\"format\":\"cliffline-part\",").unwrap();
    }
    let (run, found) = RunDir::open(dir.path(), &identity(2)).unwrap();
    assert_eq!((run.reader().len(), found.damaged.len()), (2, 0));
    assert_eq!(names(dir.path()), [".lock", "cliffline.json", "parts"].map(String::from).into());
    assert_eq!(names(&dir.path().join(PARTS)).len(), 1);
}

#[test]
fn two_processes_cannot_hold_one_directory_but_a_reader_may_look() {
    let dir = tempfile::tempdir().unwrap();
    let (mut run, _) = RunDir::open(dir.path(), &identity(3)).unwrap();
    run.append(&samples(0..2)).unwrap();
    let error = RunDir::open(dir.path(), &identity(3)).unwrap_err();
    assert!(matches!(&error, StoreError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    let reader = RunReader::open(dir.path()).unwrap();
    assert_eq!((reader.len(), reader.class(), reader.sweep()), (2, Some(CLASS), Some("smoke")));
    assert_eq!(reader.status(&sample(1).cell_id), Some(Status::Ok));
}

#[test]
fn a_reader_follows_a_merge_that_happens_under_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut run, _) = RunDir::open(dir.path(), &identity(16)).unwrap();
    for n in 0..15 {
        run.append(&[sample(n)]).unwrap();
    }
    let reader = RunReader::open(dir.path()).unwrap();
    run.append(&[sample(15)]).unwrap();
    assert_eq!(reader.record(&sample(3).cell_id).unwrap(), sample(3));
}

#[test]
fn directories_that_are_not_this_run_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("thesis");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("chapter.tex"), b"x").unwrap();
    assert!(matches!(RunDir::open(&foreign, &identity(1)), Err(StoreError::NotOurs { .. })));
    assert_eq!(names(&foreign), ["chapter.tex".to_string()].into());

    let path = dir.path().join("run");
    run_with(&path, 3, 3);
    let before = names(&path.join(PARTS));
    let refused = |change: &dyn Fn(&mut Identity)| {
        let mut identity = identity(3);
        change(&mut identity);
        RunDir::open(&path, &identity).unwrap_err().to_string()
    };
    let error = refused(&|id| id.sweep = "other".into());
    assert!(error.contains("holds the sweep `smoke`, not `other`"), "{error}");
    let error = refused(&|id| id.class = "n1 wgpu".into());
    assert!(error.contains("class `n1 flex x86_64`") && error.contains("`n1 wgpu`"), "{error}");
    assert_eq!(names(&path.join(PARTS)), before);
}

#[test]
fn another_spec_is_refused_with_what_differs_and_a_grown_one_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    run_with(dir.path(), 3, 3);
    let (run, _) = RunDir::open(dir.path(), &identity(5)).unwrap();
    assert_eq!(run.reader().len(), 3);
    drop(run);

    let differs = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut configs: Vec<_> = samples(0..3).into_iter().map(|record| record.config).collect();
        configs.iter_mut().for_each(change);
        let cell_ids = vec![sample(9).cell_id, sample(0).cell_id];
        let identity = Identity { cell_ids, levels: Levels::of(configs.iter().flat_map(flatten)), ..identity(0) };
        RunDir::open(dir.path(), &identity).unwrap_err().to_string()
    };
    let error = differs(&|config| config["train"]["steps"] = 300.into());
    assert!(error.contains("holds 2 cells") && error.contains("`train.steps` is 20 there and 300 here"), "{error}");
    assert!(error.contains("-o"), "{error}");
    let error = differs(&|config| config["train"]["steps"] = serde_json::json!({"warm": 1}));
    assert!(error.contains("`train.steps` is 20 there and does not exist here"), "{error}");
    let error = differs(&|config| config["image"]["snow"] = 0.0.into());
    assert!(error.contains("`image.snow` is 0.0 here and does not exist there"), "{error}");
    let error = differs(&|_| {});
    assert!(error.contains("not in this combination"), "{error}");
}

#[test]
fn a_manifest_of_another_class_refuses_and_a_damaged_one_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    drop(RunDir::open(dir.path(), &identity(1)).unwrap());
    let environment = crate::store::Environment::default();
    RunManifest::begin("smoke", "", serde_json::Value::Null, "n1 ndarray", environment, Default::default())
        .write(dir.path())
        .unwrap();
    assert!(matches!(RunDir::open(dir.path(), &identity(1)), Err(StoreError::OtherClass { .. })));
    fs::write(dir.path().join(MANIFEST_FILE), b"{\"format\": \"cliff").unwrap();
    let (_run, found) = RunDir::open(dir.path(), &identity(1)).unwrap();
    assert_eq!(found.damaged[0].name, MANIFEST_FILE);
    assert!(dir.path().join(PARTS).join(DAMAGED).join(MANIFEST_FILE).exists());
}

#[test]
fn records_that_do_not_belong_are_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (mut run, _) = RunDir::open(dir.path(), &identity(2)).unwrap();
    let other = CellRecord { class: "n1 wgpu".into(), ..sample(1) };
    assert!(matches!(run.append(&[sample(0), other]), Err(StoreError::OtherClass { .. })));
    let unsound = CellRecord { wall_s: f64::NAN, ..sample(1) };
    assert!(matches!(run.append(&[sample(0), unsound]), Err(StoreError::BadRecord { .. })));
    assert!(part_paths(dir.path()).is_empty());
}

#[test]
fn an_append_that_cannot_be_written_loses_nothing_and_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let (mut run, _) = RunDir::open(dir.path(), &identity(2)).unwrap();
    run.append(&samples(0..1)).unwrap();
    let (parts, away) = (dir.path().join(PARTS), dir.path().join("away"));
    fs::rename(&parts, &away).unwrap();
    let error = run.append(&samples(1..2)).unwrap_err();
    assert!(matches!(&error, StoreError::Io { path, .. } if path.starts_with(&parts)), "{error}");
    assert_eq!(run.reader().len(), 1);
    fs::rename(&away, &parts).unwrap();
    run.append(&samples(1..2)).unwrap();
    assert_eq!(run.reader().records(&identity(2).cell_ids).unwrap(), samples(0..2));
}

#[test]
fn a_result_replaces_a_failure_whatever_the_order() {
    let dir = tempfile::tempdir().unwrap();
    let failed = |n| CellRecord { status: crate::store::RecordedStatus::Failed, ..sample(n) };
    let (mut run, _) = RunDir::open(dir.path(), &identity(2)).unwrap();
    for record in [failed(0), sample(0), sample(1), failed(1)] {
        run.append(&[record]).unwrap();
    }
    assert_eq!(run.reader().records(&identity(2).cell_ids).unwrap(), samples(0..2));
    drop(run);
    let (run, _) = RunDir::open(dir.path(), &identity(2)).unwrap();
    assert_eq!(run.reader().records(&identity(2).cell_ids).unwrap(), samples(0..2));
}

#[test]
fn newer_parts_stop_everything_and_stay_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    run_with(dir.path(), 1, 1);
    let line = b"{\"format\":\"cliffline-part\",\"version\":2}\n";
    let name = &blake3::hash(line).to_hex()[..16];
    let path = dir.path().join(PARTS).join(format!("{name}.part"));
    fs::write(&path, line).unwrap();
    let error = RunDir::open(dir.path(), &identity(1)).unwrap_err().to_string();
    assert!(error.contains(name) && error.contains("upgrade cliffline"), "{error}");
    assert!(path.exists());
    assert!(matches!(RunReader::open(dir.path()), Err(StoreError::Newer { .. })));
}

#[test]
fn what_cannot_be_read_or_believed_is_set_aside_block_by_block_and_the_rest_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cells = BLOCK_CELLS as u64 + 5;
    let mut records = samples(0..cells);
    records[3].steps = 7;
    let (mut run, _) = RunDir::open(dir.path(), &identity(cells)).unwrap();
    run.append(&records).unwrap();
    assert!(run.set_aside_unbelievable().unwrap().is_empty(), "this process made them itself");
    drop(run);
    let (mut run, found) = RunDir::open(dir.path(), &identity(cells)).unwrap();
    assert!(found.damaged.is_empty(), "their bytes are what was written");
    assert_eq!(run.reader().len(), cells as usize);
    let reader = RunReader::open(dir.path()).unwrap();
    let sound = reader.sound_cells().unwrap();
    assert_eq!((sound.cells.len(), sound.faults.len()), (5, 1));
    let words = format!("block 0: cell {} cannot be: it is ok after 7 steps of 20", records[3].cell_id);
    assert!(sound.faults[0].1.contains(&words), "{:?}", sound.faults);
    assert_eq!(reader.unvouched_damage(|_| true).unwrap(), []);
    assert_eq!(reader.unvouched_damage(|_| false).unwrap(), sound.faults);
    let damaged = run.set_aside_unbelievable().unwrap();
    assert_eq!((damaged.len(), damaged[0].lost, damaged[0].kept), (1, Some(BLOCK_CELLS), 5));
    assert_eq!(run.reader().len(), 5);
    assert!(run.set_aside_unbelievable().unwrap().is_empty());
    run.append(&samples(0..BLOCK_CELLS as u64)).unwrap();
    drop(run);
    let (run, _) = RunDir::open(dir.path(), &identity(cells)).unwrap();
    assert_eq!(run.reader().records(&identity(cells).cell_ids).unwrap(), samples(0..cells));
}

#[test]
fn parts_that_cannot_be_read_do_not_stop_others_from_being_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let (mut run, _) = RunDir::open(dir.path(), &identity(FANOUT as u64)).unwrap();
    let mut unsound = sample(0);
    unsound.steps = 7;
    run.append(&[unsound]).unwrap();
    drop(run);
    let (mut run, _) = RunDir::open(dir.path(), &identity(FANOUT as u64)).unwrap();
    // The last of them makes a merge.
    (1..FANOUT as u64).for_each(|n| run.append(&[sample(n)]).unwrap());
    assert_eq!(part_paths(dir.path()).len(), 1);
    let damaged = run.set_aside_unbelievable().unwrap();
    assert_eq!((damaged.len(), damaged[0].lost, damaged[0].kept), (1, Some(1), FANOUT - 1));
}

/// What a run does after damage: opens, keeps what is sound, computes the rest again and ends in the same bytes.
fn recovers(original: &Path, cells: u64, damage: impl FnOnce(&Path)) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    copy_tree(original, dir.path());
    let victim = part_paths(dir.path()).remove(0);
    damage(&victim);
    let (mut run, found) =
        RunDir::open(dir.path(), &identity(cells)).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(found.damaged.len(), 1);
    prop_assert_eq!(&found.damaged[0].name, &name_of(&victim));
    prop_assert!(dir.path().join(PARTS).join(DAMAGED).join(name_of(&victim)).exists());
    if let Some(lost) = found.damaged[0].lost {
        prop_assert_eq!(run.reader().len() + lost, cells as usize);
        prop_assert!(lost <= BLOCK_CELLS || found.damaged[0].reason.contains("truncated"));
    }
    let (kept, lost): (Vec<_>, Vec<_>) =
        samples(0..cells).into_iter().partition(|record| run.reader().is_finished(&record.cell_id));
    let kept_ids: Vec<String> = kept.iter().map(|record| record.cell_id.clone()).collect();
    prop_assert_eq!(run.reader().records(&kept_ids).unwrap(), kept);
    run.append(&lost).unwrap();
    let clean = tempfile::tempdir().unwrap();
    copy_tree(original, clean.path());
    let (clean, _) = RunDir::open(clean.path(), &identity(cells)).unwrap();
    prop_assert_eq!(tables(&run, cells), tables(&clean, cells));
    drop(run);
    let (run, again) = RunDir::open(dir.path(), &identity(cells)).unwrap();
    prop_assert!(again.damaged.is_empty());
    prop_assert_eq!(run.reader().len(), cells as usize);
    Ok(())
}

/// Cells of the run that is damaged: three blocks in one part.
const DAMAGE_CELLS: u64 = 2 * BLOCK_CELLS as u64 + 9;

#[test]
fn bytes_behind_the_end_of_a_part_cost_no_record() {
    let dir = tempfile::tempdir().unwrap();
    run_with(dir.path(), 3, 3);
    let victim = part_paths(dir.path()).remove(0);
    let mut bytes = fs::read(&victim).unwrap();
    bytes.extend(b"more");
    fs::write(&victim, bytes).unwrap();
    let (run, found) = RunDir::open(dir.path(), &identity(3)).unwrap();
    let reason = "4 bytes follow its end".to_string();
    assert_eq!(found.damaged, [Damaged { name: name_of(&victim), reason, lost: Some(0), kept: 3 }]);
    assert_eq!(run.reader().len(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_anywhere_costs_at_most_what_it_hit(position in 0.0..1.0f64, bit in 0..8u32) {
        let dir = tempfile::tempdir().unwrap();
        run_with(dir.path(), DAMAGE_CELLS, DAMAGE_CELLS);
        recovers(dir.path(), DAMAGE_CELLS, |victim| {
            let mut bytes = fs::read(victim).unwrap();
            let at = (position * bytes.len() as f64) as usize;
            bytes[at] ^= 1 << bit;
            fs::write(victim, bytes).unwrap();
        })?;
    }

    #[test]
    fn a_part_cut_off_anywhere_costs_at_most_what_it_held(share in 0.0..1.0f64) {
        let dir = tempfile::tempdir().unwrap();
        run_with(dir.path(), DAMAGE_CELLS, DAMAGE_CELLS);
        recovers(dir.path(), DAMAGE_CELLS, |victim| {
            let file = fs::File::options().write(true).open(victim).unwrap();
            let length = file.metadata().unwrap().len();
            file.set_len((share * length as f64) as u64).unwrap();
        })?;
    }
}
