//! What every line of the registry owes: names, documentation, one value per descriptor, values in range, and no
//! perfect score for a degenerate embedding.

use std::collections::BTreeSet;

use super::fixture::{labelled, noisy_pairs, raw_pairs, value_of};
use super::{
    Evaluation, Healthy, METRICS, MetricError, Panel, RANGE_SLACK, descriptor, descriptors, descriptors_of, measure,
    measure_named, reference,
};

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
                    let inside = low - RANGE_SLACK <= value && value <= high + RANGE_SLACK;
                    assert!(value.is_finite() && inside, "{name} on {case}: {value}");
                }
                Err(reason) => {
                    let programming = [MetricError::NotComputed, MetricError::Unknown(name.to_string())];
                    assert!(!programming.contains(&reason), "{name} on {case}");
                    assert!(!matches!(reason, MetricError::NotFinite(_)), "{name} on {case}: {reason}");
                    assert!(reason.to_string().len() > 8, "{name} on {case}: {reason}");
                }
            }
        }
    }
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
