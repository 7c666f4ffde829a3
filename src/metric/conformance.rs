//! What every line of the registry owes: names, documentation, one value per descriptor, values in range, and no
//! perfect score for a degenerate embedding.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::fixture::{labelled, noisy_pairs, raw_pairs, value_of, variables};
use super::{
    CONVENTIONS, Context, Evaluation, Healthy, METRICS, MetricError, Modality, Panel, RANGE_SLACK, Variable,
    descriptor, descriptors, descriptors_of, hold, measure, measure_named, reference,
};
use crate::numerics::linalg::dot;

/// Random embeddings of several shapes and qualities, and every kind of degenerate one, with and without labels.
fn evaluations() -> Vec<(String, Evaluation)> {
    let mut all = vec![];
    for (seed, (n, d, noise)) in
        [(2, 1, 0.5), (2, 3, 0.0), (9, 5, 0.3), (40, 2, 1.0), (64, 32, 0.2), (33, 48, 5.0), (300, 3, 0.4)]
            .into_iter()
            .enumerate()
    {
        all.push((format!("random {n} x {d}, noise {noise}"), noisy_pairs(seed as u64, n, d, noise)));
    }
    let (n, d) = (30, 4);
    let (img, txt) = raw_pairs(9, n, d, 0.3);
    let constant = [0.3f32, -0.2, 0.9, 0.1].repeat(n);
    let opposite: Vec<f32> = constant.iter().map(|x| -x).collect();
    let scaled = |by: f32| img.iter().map(|x| x * by).collect::<Vec<f32>>();
    let mut dead_row = txt.clone();
    dead_row[d..2 * d].fill(0.0);
    let mut add = |name: &str, img: &[f32], txt: &[f32], temperature| {
        let plain = || Evaluation::new(img, txt, d, temperature).unwrap();
        all.push((name.to_string(), plain()));
        all.push((format!("{name}, labelled"), labelled(plain(), 7)));
        // Enough samples for every probe.
        let copies = Evaluation::new(&img.repeat(12), &txt.repeat(12), d, temperature).unwrap();
        all.push((format!("{name}, many times over"), labelled(copies, 7)));
    };
    add("constant", &constant, &constant, 0.07);
    add("constant and opposite", &constant, &opposite, 1e-3);
    add("one modality constant", &img, &constant, 0.07);
    add("one modality zero", &vec![0.0; n * d], &txt, 0.07);
    add("both zero", &vec![0.0; n * d], &vec![0.0; n * d], 0.07);
    add("one zero row", &img, &dead_row, 0.07);
    add("huge", &scaled(1e37), &txt, 100.0);
    add("tiny", &scaled(1e-4), &txt, 1e-3);
    add("shorter than the guard", &scaled(1e-9), &txt, 0.07);
    add("subnormal", &scaled(1e-42), &txt, 0.07);
    add("same in both", &img, &img, 0.07);
    let negated: Vec<f32> = img.iter().map(|x| -x).collect();
    add("opposite in both", &img, &negated, 0.07);
    let poles: Vec<f32> = constant.iter().enumerate().map(|(i, x)| if i / d % 2 == 0 { *x } else { -x }).collect();
    add("two poles", &poles, &poles, 0.07);
    add("two poles, crossed", &poles, &opposite, 0.07);
    let mut but_one = constant.clone();
    but_one[..d].copy_from_slice(&[0.0, 0.0, 0.0, 1.0]);
    add("all but one the same", &but_one, &constant, 0.07);
    add(
        "on a line",
        &img.iter().enumerate().map(|(i, x)| if i % d == 0 { *x } else { 0.0 }).collect::<Vec<_>>(),
        &txt,
        0.07,
    );
    let long = lengthened(d).repeat(n);
    let away: Vec<f32> = long.iter().map(|x| -x).collect();
    add("longer than 1 by rounding", &long, &long, 0.07);
    add("longer than 1 by rounding, opposite", &long, &away, 0.07);
    for temperature in [1e-310, 0.0, -1.0, f64::INFINITY, f64::NAN, 1e-38, 1e-200] {
        add(&format!("temperature {temperature}"), &img, &txt, temperature);
    }
    all.extend(labelled_oddly());
    all
}

/// Of many directions in `d` dimensions the one that rounding to `f32` makes longest.
fn lengthened(d: usize) -> Vec<f32> {
    let (rows, _) = raw_pairs(3, 4000, d, 0.0);
    let length = |row: &[f32]| {
        let evaluation = Evaluation::new(&row.repeat(2), &row.repeat(2), d, 1.0).unwrap();
        let z = evaluation.z(Modality::Img)[..d].to_vec();
        dot(&z, &z)
    };
    rows.chunks_exact(d).max_by(|a, b| length(a).total_cmp(&length(b))).expect("rows").to_vec()
}

/// The label of a sample.
type Label = fn(usize) -> f64;

/// Few samples, one group, a group of each sample, and a group of one.
fn labelled_oddly() -> Vec<(String, Evaluation)> {
    let mut all = vec![];
    for n in [2, 3, 5, 21, 300] {
        let labels: [(&str, Label); 4] = [
            ("one group", |_| 1.0),
            ("a group of each", |i| i as f64),
            ("a group of one", |i| f64::from(u8::from(i == 0))),
            ("two groups", |i| (i % 2) as f64),
        ];
        for (name, label) in labels {
            let context = Context {
                variables: variables(1, n)
                    .into_iter()
                    .map(|variable| Variable { values: (0..n).map(label).collect(), ..variable })
                    .collect(),
                ..Context::default()
            };
            let evaluation = noisy_pairs(n as u64, n, 4, 0.3).with_context(context).unwrap();
            all.push((format!("{n} samples, {name}"), evaluation));
        }
    }
    all
}

#[test]
fn names_are_unique_and_columns() {
    let mut seen = BTreeSet::new();
    for d in descriptors() {
        assert!(seen.insert(d.name), "{} occurs twice", d.name);
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(!d.name.is_empty() && d.name.chars().all(allowed), "{}", d.name);
        assert_eq!(descriptor(d.name), Some(d));
    }
    let families: BTreeSet<&str> = METRICS.iter().map(|family| family.name).collect();
    assert_eq!(families.len(), METRICS.len());
    assert_eq!(descriptor("retrieval"), None);
}

#[test]
fn every_metric_is_documented() {
    for d in descriptors() {
        for text in [d.unit, d.source, d.summary] {
            assert!(!text.trim().is_empty(), "{}", d.name);
            assert!(!text.contains(['|', '\n']), "{} would break a Markdown table", d.name);
        }
        assert!(d.range.0 < d.range.1, "{}", d.name);
    }
}

#[test]
fn the_contract_names_are_there() {
    let both = |stem: &str, ends: [&str; 2]| ends.map(|end| format!("{stem}_{end}"));
    let directions = ["retrieval_at_1", "retrieval_at_5", "hub_gini", "hub_top1_share", "k_occurrence_skewness"];
    let modalities = [
        "mean_cosine",
        "variance_min",
        "variance_p05",
        "variance_median",
        "effective_rank",
        "top_eigen_share",
        "participation_ratio",
        "uniformity",
        "separability_shape",
        "separability_thickness",
        "mi_orientation",
        "mi_confounder",
    ];
    let names = directions.iter().flat_map(|stem| both(stem, ["i2t", "t2i"]));
    let names = names.chain(modalities.iter().flat_map(|stem| both(stem, ["img", "txt"])));
    let single = ["symmetry_gap_at_1", "cca_1", "cca_mean", "alignment", "modality_gap"];
    for name in names.chain(single.map(str::to_string)) {
        assert!(descriptor(&name).is_some(), "{name}");
    }
}

#[test]
fn every_family_returns_one_value_per_descriptor() {
    for (case, evaluation) in evaluations() {
        for family in METRICS {
            if let Ok(values) = (family.compute)(&evaluation) {
                assert_eq!(values.len(), family.descriptors.len(), "{} on {case}", family.name);
            }
        }
        let names: Vec<&str> = measure(&evaluation, Panel::Full).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, descriptors().map(|d| d.name).collect::<Vec<_>>());
    }
}

#[test]
fn values_lie_in_their_declared_range_and_reasons_have_words() {
    for (case, evaluation) in evaluations() {
        for (name, value) in measure(&evaluation, Panel::Full) {
            match value {
                Ok(value) => {
                    let (low, high) = descriptor(name).unwrap().range;
                    assert!(value.is_finite() && low <= value && value <= high, "{name} on {case}: {value}");
                }
                Err(reason) => assert_is_a_reason(&reason, name, &case),
            }
        }
    }
}

/// A reason is about the embeddings, not about a computation that went wrong.
fn assert_is_a_reason(reason: &MetricError, name: &str, case: &str) {
    let programming = [MetricError::NotComputed, MetricError::Unknown(name.to_string())];
    assert!(!programming.contains(reason), "{name} on {case}");
    let wrong = matches!(reason, MetricError::NotFinite(_) | MetricError::OutOfRange { .. });
    assert!(!wrong && reason.to_string().len() > 8, "{name} on {case}: {reason}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn random_embeddings_of_any_quality_are_in_range_or_missing_with_a_reason(
        seed in 0u64..1 << 32, n in 2usize..140, d in 1usize..20, noise in -8i32..3, copies in 1usize..4,
        scale in -6i32..6, panel_labels in any::<bool>(),
    ) {
        let (img, txt) = raw_pairs(seed, n, d, 10f64.powi(noise));
        let scaled = |rows: &[f32]| rows.iter().map(|x| x * 10f32.powi(scale)).collect::<Vec<_>>().repeat(copies);
        let evaluation = Evaluation::new(&scaled(&img), &scaled(&txt), d, 10f64.powi(noise)).unwrap();
        let evaluation = if panel_labels { labelled(evaluation, seed) } else { evaluation };
        for (name, value) in measure(&evaluation, Panel::Full) {
            let (low, high) = descriptor(name).unwrap().range;
            match value {
                Ok(value) => prop_assert!(low <= value && value <= high, "{}: {}", name, value),
                Err(reason) => assert_is_a_reason(&reason, name, "random embeddings"),
            }
        }
    }
}

#[test]
fn what_rounding_takes_past_a_range_is_its_end_and_what_is_further_out_is_no_value() {
    let long = lengthened(4).repeat(6);
    let evaluation = Evaluation::new(&long, &long, 4, 0.07).unwrap();
    let family = METRICS.iter().find(|family| family.name == "cosine").unwrap();
    let computed = (family.compute)(&evaluation).unwrap()[0].clone().unwrap();
    assert!(computed > 1.0 && computed < 1.0 + RANGE_SLACK, "{computed}: rounding shows");
    assert_eq!(value_of(&evaluation, "mean_cosine_img"), Ok(1.0));
    for (name, low, high) in [("mean_cosine_txt", -1.0, 1.0), ("alignment", 0.0, 4.0), ("variance_min_img", 0.0, 2.0)] {
        let d = descriptor(name).unwrap();
        assert_eq!((d.range, d.hold(high + 1e-7), d.hold(low - 1e-7)), ((low, high), Ok(high), Ok(low)));
        assert_eq!((d.hold(0.3), d.hold(high)), (Ok(0.3), Ok(high)));
        let value = high + 1e-5;
        assert_eq!(d.hold(value), Err(MetricError::OutOfRange { value, low, high }));
        assert!(d.hold(low - 1e-5).is_err() && matches!(d.hold(f64::NAN), Err(MetricError::NotFinite(_))));
    }
    insta::assert_snapshot!(hold(1.5, (0.0, 1.0)).unwrap_err(), @"computed as 1.5, outside its range 0 to 1");
    assert_eq!(hold(1e300, (1.0, f64::INFINITY)), Ok(1e300));
}

#[test]
fn a_temperature_that_divides_nothing_costs_the_logits_alone() {
    let (img, txt) = raw_pairs(1, 40, 4, 0.3);
    let at = |temperature| Evaluation::new(&img, &txt, 4, temperature).unwrap();
    let sound = measure(&at(0.07), Panel::Fast);
    for temperature in [1e-310, f64::from_bits(1), 0.0, -0.1, f64::INFINITY, f64::NAN] {
        for ((name, value), (_, sound)) in measure(&at(temperature), Panel::Fast).into_iter().zip(&sound) {
            if name.starts_with("logit") {
                assert!(matches!(value, Err(MetricError::Temperature(_))), "{name} at {temperature}: {value:?}");
            } else {
                assert_eq!(value, *sound, "{name} at {temperature}");
            }
        }
    }
    let reason = value_of(&at(1e-310), "logit_diagonal_mean").unwrap_err();
    insta::assert_snapshot!(reason, @"dividing by the temperature 1e-310 overflows");
    assert!(value_of(&at(1e-300), "logit_diagonal_mean").is_ok());
}

#[test]
fn a_collapsed_embedding_never_scores_perfect() {
    for (case, evaluation) in evaluations().into_iter().filter(|(case, _)| case.starts_with("constant")) {
        for (name, value) in measure(&evaluation, Panel::Full) {
            let d = descriptor(name).unwrap();
            let Ok(value) = value else { continue };
            let perfect = match d.healthy {
                Healthy::Higher => d.range.1 - RANGE_SLACK <= value,
                Healthy::Lower => value <= d.range.0 + RANGE_SLACK,
                Healthy::NearZero => value.abs() <= RANGE_SLACK,
                Healthy::Neither => false,
            };
            // Both directions fail alike, so the gap between them is truly 0: a gap is to be read beside its parts.
            let gap = name.starts_with("symmetry_gap");
            // What the engine hands in says nothing about the embedding.
            let given = name.starts_with("sensitivity");
            assert!(!perfect || gap || given, "{name} of the {case} embedding is {value}");
        }
    }
}

#[test]
fn a_healthy_embedding_has_every_metric() {
    for (name, value) in measure(&labelled(noisy_pairs(4, 256, 32, 0.2), 1), Panel::Full) {
        assert!(value.is_ok(), "{name}: {value:?}");
    }
}

#[test]
fn the_fast_panel_is_a_part_of_the_full_one_with_the_same_values() {
    let evaluation = labelled(noisy_pairs(4, 256, 8, 0.2), 1);
    let (fast, full) = (measure(&evaluation, Panel::Fast), measure(&evaluation, Panel::Full));
    let of_fast: Vec<&str> = descriptors_of(Panel::Fast).map(|d| d.name).collect();
    assert_eq!(fast.iter().map(|(name, _)| *name).collect::<Vec<_>>(), of_fast);
    assert!(of_fast.len() < full.len());
    let shared: Vec<_> = full.into_iter().filter(|(name, _)| of_fast.contains(name)).collect();
    assert_eq!(fast, shared);
}

#[test]
fn metrics_asked_by_name_are_those_of_the_panel() {
    let evaluation = labelled(noisy_pairs(5, 110, 6, 0.4), 2);
    for (name, value) in measure(&evaluation, Panel::Full) {
        assert_eq!(value_of(&evaluation, name), value);
    }
    let names = ["effective_rank_txt", "no_such_metric", "retrieval_at_1_i2t"];
    let got = measure_named(&evaluation, &names);
    assert_eq!(got.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
    assert_eq!(got[1].1, Err(MetricError::Unknown("no_such_metric".to_string())));
    assert!(got[0].1.is_ok() && got[2].1.is_ok());
}

#[test]
fn the_reference_has_a_row_per_metric() {
    let reference = reference();
    let rows: Vec<&str> = reference.lines().collect();
    let families = METRICS.iter().map(|family| format!("| {} |", family.name));
    assert!(families.into_iter().all(|name| rows.iter().any(|row| row.starts_with(&name))));
    assert!(METRICS.iter().all(|family| family.about.len() > 20));
    // Two heads, and an empty line between the tables.
    let said = rows.iter().take_while(|row| row.starts_with("- **")).count();
    assert_eq!(said, CONVENTIONS.len());
    let rows = &rows[said + 1..];
    assert_eq!(rows.len(), descriptors().count() + 2 + 1 + METRICS.len() + 2);
    let columns = |row: &&str| row.matches('|').count();
    let (metrics, families) = rows.split_at(descriptors().count() + 2);
    assert!(metrics.iter().all(|row| columns(row) == columns(&rows[0])));
    assert!(families[1..].iter().all(|row| columns(row) == columns(&families[1])));
    insta::assert_snapshot!(rows[..3].join("\n"), @r"
    | metric | family | unit | range | healthy | what it is | source |
    |---|---|---|---|---|---|---|
    | `retrieval_at_1_i2t` | retrieval | share | [0, 1] | higher | share of images whose own text is the most similar; ties count against | Multimodality Under Governance, 3.5.1 |
    ");
    assert!(reference.contains("| [1, inf) |") && reference.contains("| (-inf, inf) |"));
}
