//! How a cell ends, and what its record says of it.

use cliffline::aligner::backend::Choice;
use cliffline::engine::{BurnTrainer, Control, Measured, Outcome, Status, Trainer};
use cliffline::metric::descriptor;
use cliffline::spec::{Cell, Kind, LEAST, Overrides, PARAMS, from_str};
use cliffline::store::CellRecord;

/// Trains every cell of a tiny sweep with these settings, together.
fn train(settings: &[&str]) -> Vec<Outcome> {
    let set = settings.iter().map(|s| (*s).to_string()).collect();
    let text = "name = \"cells\"\npreset = \"tiny\"\n[axes]\nseed = [0, 1]\n";
    let sweep = from_str(text, "cells.toml", &Overrides { set, axis: Vec::new() }).expect("a valid spec");
    let cells: Vec<&Cell> = sweep.cells.iter().collect();
    let trainer = BurnTrainer::new(Choice::Flex.open().expect("flex needs nothing"));
    trainer.train(&cells, &Control::default()).expect("it trains")()
}

#[test]
fn embeddings_that_overflow_are_divergence_and_not_a_loss_of_ln_b() {
    // Weights grow by a factor of 99 a step. Squared norms overflow while weights are still finite; unit vectors are then
    // 0, the loss is exactly ln B and every gradient is 0.
    let settings = ["train.learning_rate=1", "train.weight_decay=100", "train.momentum=0", "train.steps=14"];
    for outcome in train(&settings) {
        assert_eq!(outcome.status, Status::Diverged, "{}", outcome.reason);
        assert!(outcome.reason.contains("non-finite at step"), "{}", outcome.reason);
        assert!(outcome.steps < 14);
        assert!(outcome.spectra.is_empty(), "a diverged cell has no geometry");
    }
}

#[test]
fn how_often_one_looks_changes_nothing_that_is_trained() {
    let diverging = ["train.learning_rate=1", "train.weight_decay=100", "train.momentum=0"];
    for training in [&[][..], &diverging[..]] {
        let look = |every: &str| {
            let every = format!("curves.validate_every={every}");
            let settings: Vec<&str> = training.iter().copied().chain([every.as_str()]).collect();
            train(&settings)
        };
        for (seldom, often) in look("0").iter().zip(look("3")) {
            assert_eq!(seldom.checksums, often.checksums);
            assert_eq!((seldom.status, &seldom.reason, seldom.steps), (often.status, &often.reason, often.steps));
            assert_eq!(seldom.metrics, often.metrics);
        }
    }
}

#[test]
fn a_rule_stops_a_cell_or_only_records_it() {
    // No embedding of 8 dimensions has an effective rank of 9.
    let rule = "stop.effective_rank_below=9";
    for outcome in train(&[rule]) {
        assert_eq!((outcome.status, outcome.steps), (Status::Collapsed, 20));
        assert!(outcome.reason.contains("is below 9 at step 20"), "{}", outcome.reason);
    }
    for outcome in train(&[rule, "stop.freeze=false"]) {
        assert_eq!((outcome.status, outcome.steps), (Status::Collapsed, 40));
        assert!(outcome.reason.contains("at step 40 (first seen at step 20)"), "{}", outcome.reason);
    }
}

#[test]
fn constant_embeddings_are_no_perfect_score() {
    // Nothing but background on either side: every embedding is the same.
    for outcome in train(&["image.mask=1", "text.dropout=1"]) {
        let metric = |name: &str| format!("{:?}", outcome.metrics[name]);
        assert_eq!(metric("retrieval_at_1_i2t"), "Value(0.0)", "ties count against the model");
        assert!(metric("effective_rank_img").starts_with("Missing"), "{}", metric("effective_rank_img"));
    }
    for outcome in train(&["image.mask=1", "text.dropout=1", "stop.effective_rank_below=1.5"]) {
        assert_eq!(outcome.status, Status::Collapsed, "a rule that cannot be checked is not satisfied");
    }
}

#[test]
fn cells_that_differ_in_a_strength_alone_share_their_draws() {
    // Common random numbers: a little more noise changes the first batch a little, another seed changes it altogether.
    let at = |noise: &str| train(&[&format!("image.noise={noise}"), "train.steps=0"]);
    let (a, b) = (at("0.2"), at("0.2001"));
    let rank = |o: &Outcome| match o.metrics["effective_rank_img"] {
        Measured::Value(v) => v,
        _ => f64::NAN,
    };
    assert!((rank(&a[0]) - rank(&b[0])).abs() < 1e-2, "{} and {}", rank(&a[0]), rank(&b[0]));
    assert!((rank(&a[0]) - rank(&a[1])).abs() > 1e-2, "{} and {}", rank(&a[0]), rank(&a[1]));
    assert_ne!(a[0].checksums.test_embeddings, b[0].checksums.test_embeddings);
}

#[test]
fn every_number_is_measured_at_both_ends_of_its_range_or_says_why_not() {
    let floats = PARAMS.iter().filter_map(|param| match param.kind {
        Kind::Float { min, max } => Some((param.path, [min, LEAST.max(min), max])),
        _ => None,
    });
    let mut tried = 0;
    for (path, values) in floats {
        for value in values {
            let setting = format!("{path}={value:e}");
            let small =
                ["train.steps=3", "world.n_train=64", "world.n_validation=32", "world.n_test=32", "stop.every=1"];
            let settings: Vec<&str> = small.into_iter().chain([setting.as_str()]).collect();
            for outcome in train(&settings) {
                assert_is_told(&setting, &outcome);
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "{tried}");
}

/// A record that can be kept, of which every metric is a value of its range or has a reason.
fn assert_is_told(setting: &str, outcome: &Outcome) {
    let config = serde_json::json!({});
    let record = CellRecord::from_outcome(outcome.clone(), String::new(), String::new(), config, String::new());
    record.check().unwrap_or_else(|error| panic!("{setting}: {error}"));
    let mut values = 0;
    for (name, measured) in &outcome.metrics {
        match measured {
            Measured::Value(value) => {
                let (low, high) = descriptor(name).expect("a metric").range;
                assert!(low <= *value && *value <= high, "{setting}: {name} is {value}");
                values += 1;
            }
            Measured::Missing(reason) => assert!(reason.len() > 8, "{setting}: {name} has no reason"),
        }
    }
    let ended = outcome.status;
    assert!(values > 0 || ended == Status::Diverged, "{setting}: {ended:?}, and nothing was measured");
    assert!(ended == Status::Ok || !outcome.reason.is_empty(), "{setting}: {ended:?} without a reason");
}
