use std::path::Path;

use super::*;
use crate::store::RunReader;
use crate::store::record::tests::{first_sample, sample};

/// Cell 4 collapsed, has crossings and a selected checkpoint.
const COLLAPSED: u64 = 4;

#[test]
fn sound_records_pass_and_lack_nothing() {
    for n in 0..10 {
        assert_eq!((fault(&sample(n)), lack(&sample(n))), (None, None), "{n}");
    }
    // What a failed cell leaves.
    let mut failed = sample(1);
    failed.status = RecordedStatus::Failed;
    (failed.reason, failed.steps) = ("out of memory".into(), 0);
    let missing = RecordedMetric::Missing("the cell failed".into());
    failed.metrics.values_mut().for_each(|metric| *metric = missing.clone());
    failed.conditions.iter_mut().flat_map(|c| c.metrics.values_mut()).for_each(|metric| *metric = missing.clone());
    failed.spectra.clear();
    (failed.curves, failed.checksums, failed.selection) = Default::default();
    failed.realised.clear();
    assert_eq!(fault(&failed), None);
    assert_eq!(lack(&failed).as_deref(), Some("it lacks a checksum"));
}

#[test]
fn the_published_run_passes() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/published/collapse");
    let sound = RunReader::open(&dir).unwrap().sound_cells().unwrap();
    assert_eq!((sound.faults, sound.cells.len()), (Vec::new(), 128));
}

#[test]
fn what_cannot_be_of_a_cell_is_refused_with_what_it_is() {
    type Change = fn(&mut CellRecord);
    let cases: &[(&str, Change)] = &[
        ("those of cell", |r| r.cell_id = sample(7).cell_id),
        ("its training is recorded as", |r| r.train_id = sample(7).train_id),
        ("those of cell", |r| {
            r.train_id = with_noise(r).train_id();
            r.config["image"]["noise"] = 0.25.into();
        }),
        ("those of cell", |r| r.conditions.clear()),
        ("has `image.blur` as -0.0", |r| r.config["image"]["blur"] = (-0.0).into()),
        ("it took -1e308 s", |r| r.wall_s = -1e308),
        ("no line of text", |r| r.made_by = "a\u{1b}[2J".into()),
        ("no line of text", |r| r.made_by = "long ".repeat(100)),
        ("none of RFC 3339", |r| r.finished_utc = "yesterday".into()),
        ("none of RFC 3339", |r| r.finished_utc.push_str("\u{1b}[2J")),
        ("those of cell", |r| drop(r.conditions[0].changes.insert("image.blur".into(), 1.0.into()))),
        ("no condition", |r| r.conditions[0].name = "clean".into()),
        ("in the order of their names", |r| r.conditions.push(r.conditions[0].clone())),
        ("none that this version knows", |r| r.config["train"]["magic"] = 1.into()),
        ("none that this version knows", |r| r.config["train"]["steps"] = "many".into()),
        ("has `train.temperature` as 1", |r| r.config["train"]["temperature"] = 1.into()),
        ("is not an object", |r| r.config = 3.into()),
        ("21 steps of 20", |r| r.steps = 21),
        ("ok after 19 steps of 20", |r| (r.status, r.steps) = (RecordedStatus::Ok, 19)),
        ("without a reason", |r| r.reason.clear()),
        ("it took -1 s", |r| r.wall_s = -1.0),
        ("`wall_s` is NaN", |r| r.wall_s = f64::NAN),
        ("lies between 1 and 3", |r| metric(r, "effective_rank_img", 9999.0)),
        ("lies between 1 and 3", |r| metric(r, "participation_ratio_txt", 3.1)),
        ("lies between 1 and 3", |r| metric(r, "effective_rank_img", 0.9)),
        ("lies between -3 and 3", |r| metric(r, "rank_divergence", -4.0)),
        ("lies between 0 and 1", |r| metric(r, "retrieval_at_1_i2t", 5.0)),
        ("lies between -1 and 1", |r| metric(r, "mean_cosine_txt", -1.1)),
        ("only finite numbers", |r| metric(r, "modality_gap", f64::NAN)),
        ("only finite numbers", |r| metric(r, "logit_margin_mean_i2t", f64::INFINITY)),
        ("missing without a reason", |r| {
            drop(r.metrics.insert("alignment".into(), RecordedMetric::Missing("".into())))
        }),
        ("between 0 and 1 under noisy", |r| {
            drop(r.conditions[0].metrics.insert("hub_gini_t2i".into(), RecordedMetric::Value(1.5)));
        }),
        ("it failed, and has a value", |r| r.status = RecordedStatus::Failed),
        ("it diverged, and has a value", |r| r.status = RecordedStatus::Diverged),
        ("no share from 0 to 1", |r| realised(r, -0.5)),
        ("only finite numbers", |r| realised(r, f64::NAN)),
        ("2 eigenvalues for 3 dimensions", |r| r.spectra.get_mut("img").unwrap().truncate(2)),
        ("a spectrum of `sound`", |r| drop(r.spectra.insert("sound".into(), vec![0.5, 0.3, 0.2]))),
        ("descending variances", |r| drop(r.spectra.insert("img".into(), vec![0.2, 0.3, 0.1]))),
        ("descending variances", |r| drop(r.spectra.insert("img".into(), vec![0.2, 0.1, -0.1]))),
        ("it diverged, and has spectra", |r| {
            r.status = RecordedStatus::Diverged;
            let of_conditions = r.conditions.iter_mut().flat_map(|c| c.metrics.values_mut());
            r.metrics.values_mut().chain(of_conditions).for_each(|m| *m = RecordedMetric::Missing("no loss".into()));
        }),
        ("a point at step 11", |r| r.curves.step[1] = 11),
        ("a point at step 30", |r| r.curves.step[2] = 30),
        ("a point at step 20", |r| r.steps = 15),
        ("do not ascend", |r| r.curves.step[2] = 10),
        ("no time series is called `spy`", |r| drop(r.curves.series.insert("spy".into(), vec![None; 3]))),
        ("no time series", |r| drop(r.curves.series.insert("validation_spy".into(), vec![None; 3]))),
        ("on the validation split its hub_gini_i2t is 2", |r| {
            drop(r.curves.series.insert("validation_hub_gini_i2t".into(), vec![None, Some(2.0), None]));
        }),
        ("`loss` is inf", |r| drop(r.curves.series.insert("loss".into(), vec![Some(f64::INFINITY), None, None]))),
        ("has 2 values for 3 steps", |r| drop(r.curves.series.insert("loss".into(), vec![None; 2]))),
        ("checksum of its final parameters is not 64 hex digits", |r| r.checksums.final_parameters.truncate(63)),
        ("checksum of its test embeddings is not 64 hex digits", |r| r.checksums.test_embeddings = "C3".repeat(32)),
        ("checksum of its test embeddings under a condition", |r| r.conditions[0].test_embeddings = "none".into()),
        ("checksum of its selected parameters", |r| selection(r).parameters = "0".into()),
        ("no limit that can be crossed", |r| r.crossings[0].limit = "stop.patience".into()),
        ("no limit that can be crossed", |r| r.crossings[0].limit = "checkpoint.variance_floor".into()),
        ("at another threshold", |r| r.crossings[0].threshold = 1.5),
        ("at another threshold", |r| r.crossings[0].limit = "warn.effective_rank_below".into()),
        ("is not what stop.effective_rank_below looks at", |r| r.crossings[0].name = "hub_gini_i2t".into()),
        ("lies between 1 and 3", |r| r.crossings[0].value = Some(17.0)),
        ("which no check saw", |r| r.crossings[0].step = 7),
        ("which no check saw", |r| r.crossings[0].step = 0),
        ("which no check saw", |r| r.crossings[0].checks = 0),
        ("which no check saw", |r| r.crossings[0].checks = 9),
        ("crossed twice", |r| r.crossings.push(r.crossings[0].clone())),
        ("not those of its configuration", |r| selection(r).candidates[0].step = 3),
        ("not those of its configuration", |r| selection(r).candidates.reverse()),
        ("a step that it did not take", |r| selection(r).step = Some(21)),
        ("a score of 1.5", |r| selection(r).score = Some(1.5)),
        ("`selection` is NaN", |r| selection(r).candidates[1].score = Some(f64::NAN)),
    ];
    for (number, (words, change)) in cases.iter().enumerate() {
        let mut record = sample(COLLAPSED);
        change(&mut record);
        let found = fault(&record).unwrap_or_else(|| panic!("case {number}, {words}: it passes"));
        assert!(found.contains(words), "case {number}: {found:?} does not say {words:?}");
    }
    let mut unasked = sample(0);
    unasked.selection = sample(COLLAPSED).selection;
    assert!(fault(&unasked).is_some_and(|why| why.contains("selects none")));
    assert!(fault(&first_sample(0)).is_some(), "no record of a cell");
}

fn metric(record: &mut CellRecord, name: &str, value: f64) {
    assert!(METRICS_BY_NAME.contains_key(name), "{name}");
    record.metrics.insert(name.into(), RecordedMetric::Value(value));
}

fn realised(record: &mut CellRecord, value: f64) {
    record.realised.insert("corrupted_share_test".into(), value);
}

fn selection(record: &mut CellRecord) -> &mut RecordedSelection {
    record.selection.as_mut().expect("a selected checkpoint")
}

fn with_noise(record: &CellRecord) -> Config {
    let mut config: Config = serde_json::from_value(record.config.clone()).expect("a configuration");
    config.image.noise = 0.25;
    config
}

#[test]
fn rounding_at_the_ends_of_ranges_and_metrics_of_other_versions_pass() {
    let mut record = sample(0);
    metric(&mut record, "mean_cosine_img", 1.000_000_06);
    metric(&mut record, "effective_rank_txt", 3.000_000_1);
    record.metrics.insert("of_another_version".into(), RecordedMetric::Value(-1e9));
    record.realised.insert("kind_of_noise".into(), 17.0);
    record.metrics.remove("alignment");
    assert_eq!(fault(&record), None);
}

#[test]
fn a_neighbour_has_to_have_all_that_would_have_been_recorded() {
    type Change = fn(&mut CellRecord);
    let cases: &[(&str, Change)] = &[
        ("its configuration lacks `image.noise`", |r| drop(r.config["image"].as_object_mut().unwrap().remove("noise"))),
        ("its configuration lacks `text.", |r| drop(r.config.as_object_mut().unwrap().remove("text"))),
        ("it has no alignment", |r| drop(r.metrics.remove("alignment"))),
        ("it has no alignment under noisy", |r| drop(r.conditions[0].metrics.remove("alignment"))),
        ("no `of_another_version`", |r| metric_of_another(&mut r.metrics)),
        ("it lacks a checksum", |r| r.checksums.test_embeddings.clear()),
        ("which checkpoint was measured", |r| r.selection = None),
        ("an end of its range today", |r| metric(r, "mean_cosine_txt", 1.000_000_06)),
    ];
    for (words, change) in cases {
        let mut record = sample(COLLAPSED);
        change(&mut record);
        assert_eq!(fault(&record), None, "{words}: an older version may have made it");
        let found = lack(&record).unwrap_or_else(|| panic!("{words}: nothing is lacking"));
        assert!(found.contains(words), "{found:?} does not say {words:?}");
    }
}

fn metric_of_another(metrics: &mut std::collections::BTreeMap<String, RecordedMetric>) {
    metrics.insert("of_another_version".into(), RecordedMetric::Value(0.5));
}
