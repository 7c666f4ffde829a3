//! What runs beside one another lend.

use super::*;

#[test]
fn of_several_records_of_a_cell_a_neighbour_lends_the_one_that_a_sample_looks_at_or_none() {
    let runs = tempfile::tempdir().unwrap();
    let forged = |record: CellRecord| {
        let mut record = record;
        record.metrics.insert("modality_gap".into(), RecordedMetric::Value(0.25));
        record
    };
    let lacking = |mut record: CellRecord| {
        record.metrics.remove("alignment");
        record
    };
    let put = |name: &str, blocks: Vec<Vec<CellRecord>>| {
        let dir = runs.path().join(name);
        run_with(&dir, 0, 1);
        put_part(&dir, blocks.into_iter().map(|records| (Vec::new(), records)).collect());
    };
    let all = |change: &dyn Fn(CellRecord) -> CellRecord| samples(0..6).into_iter().map(change).collect::<Vec<_>>();
    // Forged ones before honest ones, in a block of their own or one by one; and before ones that lack something.
    put("a", vec![all(&forged), samples(0..6)]);
    put("b", vec![samples(6..9).into_iter().flat_map(|record| [forged(record.clone()), record]).collect()]);
    put("c", vec![samples(9..11).into_iter().map(forged).collect(), samples(9..11).into_iter().map(lacking).collect()]);
    let wanted = identity(11).cell_ids;
    let found = find_offers(runs.path(), Path::new("own"), wanted.iter().map(String::as_str).collect(), CLASS).unwrap();
    assert_eq!(found.offers.iter().map(|offer| offer.cells().len()).collect::<Vec<_>>(), [6, 3]);
    assert_eq!(found.skipped.len(), 2, "{:?}", found.skipped);
    for offer in &found.offers {
        let mut lent = Vec::new();
        let mut take = |records| {
            lent.extend(records);
            Ok(())
        };
        offer.each_block(&mut take).unwrap();
        assert_eq!(lent.len(), offer.cells().len());
        for record in lent {
            let sampled = offer.record(&record.cell_id).unwrap();
            assert_eq!(CellRecord { reused_from: None, ..record }, sampled, "what is sampled is what is lent");
        }
    }
    // What changed since is not looked at.
    let part = part_paths(&runs.path().join("a")).remove(0);
    fs::remove_file(&part).unwrap();
    put("a", vec![all(&forged)]);
    let offer = &found.offers[0];
    assert!(offer.record(&offer.cells()[0]).is_err());
    let mut lent = Vec::new();
    let mut take = |records| {
        lent.extend(records);
        Ok(())
    };
    let skipped = offer.each_block(&mut take).unwrap();
    assert!(lent.is_empty(), "{lent:?}");
    assert!(!skipped.is_empty());
}

#[test]
fn siblings_lend_what_they_finished_in_the_same_class() {
    let runs = tempfile::tempdir().unwrap();
    let at = |name: &str| runs.path().join(name);
    run_with(&at("a"), 3, 3);
    run_with(&at("b"), 5, 2);
    // Another class, a damaged run, a failure, and things that are no runs.
    let other = Identity { class: "n1 wgpu".into(), ..identity(8) };
    let (mut run, _) = RunDir::open(&at("c"), &other).unwrap();
    run.append(&[CellRecord { class: "n1 wgpu".into(), ..sample(6) }]).unwrap();
    drop(run);
    let (mut run, _) = RunDir::open(&at("d"), &identity(8)).unwrap();
    run.append(&[CellRecord { status: crate::store::RecordedStatus::Failed, ..sample(6) }]).unwrap();
    drop(run);
    run_with(&at("e"), 8, 8);
    let victim = part_paths(&at("e")).remove(0);
    let length = fs::metadata(&victim).unwrap().len();
    fs::File::options().write(true).open(&victim).unwrap().set_len(length - 1).unwrap();
    fs::create_dir(at("notes")).unwrap();
    fs::write(at("readme.txt"), b"x").unwrap();

    let (mut run, _) = RunDir::open(&at("own"), &identity(8)).unwrap();
    run.append(&[sample(1)]).unwrap();
    let wanted = identity(8).cell_ids;
    let missing = wanted.iter().map(String::as_str).filter(|id| !run.reader().is_finished(id)).collect();
    let found = find_offers(runs.path(), &at("own"), missing, CLASS).unwrap();
    let offered: Vec<(&Path, usize)> = found.offers.iter().map(|offer| (offer.dir(), offer.cells().len())).collect();
    assert_eq!(offered, [(at("a").as_path(), 2), (at("b").as_path(), 2)]);
    assert_eq!(found.skipped.len(), 1);
    assert_eq!(found.skipped[0].0, victim);
    assert!(found.skipped[0].1.contains("truncated"), "{}", found.skipped[0].1);
    for offer in &found.offers {
        assert_eq!(run.take_over(offer).unwrap(), (2, Vec::new()));
    }
    let from = |run: &str| Some(Origin { run: run.into(), ..Origin::default() });
    let origins = [from("a"), None, from("a"), from("b"), from("b")];
    let expected: Vec<CellRecord> = samples(0..5)
        .into_iter()
        .zip(origins)
        .map(|(record, reused_from)| CellRecord { reused_from, ..record })
        .collect();
    assert_eq!(run.reader().records(&identity(8).cell_ids).unwrap(), expected);

    // One of them turns out not to be believed, of which nothing was known but the name when it lent them.
    let sealed = Origin { run_id: "7".into(), ledger_blake3: "c4".repeat(32), ..from("b").unwrap() };
    assert_eq!(run.give_up(&sealed).unwrap(), 2);
    assert_eq!(run.reader().len(), 3);
    assert_eq!(run.reader().records(&identity(8).cell_ids).unwrap(), expected[..3]);
    assert!(fs::read_dir(at("own").join(PARTS).join(DAMAGED)).unwrap().count() > 0, "nothing is lost");
    drop(run);
    let (run, found) = RunDir::open(&at("own"), &identity(8)).unwrap();
    assert_eq!((run.reader().len(), found.damaged.len()), (3, 0));
}

#[test]
fn records_that_cannot_be_of_their_cells_are_not_taken_over_and_lack_nothing_that_counts() {
    let runs = tempfile::tempdir().unwrap();
    let changes: [fn(&mut CellRecord); 3] = [
        |r| drop(r.metrics.insert("effective_rank_img".into(), RecordedMetric::Value(9999.0))),
        |r| r.config["seed"] = 77.into(),
        // Sound, as of an older version: but there is more to record today.
        |r| drop(r.metrics.remove("alignment")),
    ];
    for (n, change) in changes.iter().enumerate() {
        let (mut run, _) = RunDir::open(&runs.path().join(format!("forged-{n}")), &identity(3)).unwrap();
        let mut record = sample(n as u64);
        change(&mut record);
        run.append(&[record]).unwrap();
    }
    let wanted = identity(3).cell_ids;
    let found = find_offers(runs.path(), Path::new("own"), wanted.iter().map(String::as_str).collect(), CLASS).unwrap();
    assert!(found.offers.is_empty(), "{:?}", found.offers);
    let reasons: Vec<&str> = found.skipped.iter().map(|(_, reason)| reason.as_str()).collect();
    for (reason, words) in
        reasons.iter().zip(["is 9999, and lies between 1 and 3", "its training is recorded as", "it has no alignment"])
    {
        assert!(reason.contains(words), "{reason}");
    }
    assert_eq!(reasons.len(), 3);
}
