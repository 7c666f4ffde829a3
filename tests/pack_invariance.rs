//! A cell's result does not depend on its pack: not on its size, not on its mates, not on its place among them.
//!
//! Bit for bit on every backend at hand. Shapes are odd on purpose, so that vectorised loops have tails that fall on
//! other elements in other packs.

use std::io::Write;

use cliffline::aligner::backend::{Backend, Choice};
use cliffline::engine::{BurnTrainer, Control, Outcome, Status, Trainer};
use cliffline::spec::{Cell, Overrides, from_str};

const SPEC: &str = concat!(
    include_str!("fixtures/mixed.toml"),
    "seed = { seeds = 2 }\n",
    "\"train.temperature\" = [0.02, 0.3]\n",
    "\"train.learning_rate\" = [0.05, 300.0]\n",
    "\"train.weight_decay\" = [0.0, 100.0]\n",
);

/// Everything but the wall time.
fn fingerprint(mut outcome: Outcome) -> Outcome {
    outcome.wall_s = 0.0;
    outcome
}

fn train(trainer: &BurnTrainer, cells: &[&Cell]) -> Vec<Outcome> {
    let outcomes = trainer.train(cells, &Control::default()).expect("the pack trains")();
    outcomes.into_iter().map(fingerprint).collect()
}

/// Trains every cell alone, then in packs of the given sizes, forwards and backwards, and compares.
fn assert_invariant(backend: Backend, settings: &[&str], sizes: &[usize]) {
    assert_axes_invariant(backend, settings, &[], sizes);
}

fn assert_axes_invariant(backend: Backend, settings: &[&str], axes: &[&str], sizes: &[usize]) {
    assert_spec_invariant(SPEC, backend, settings, axes, sizes);
}

fn assert_spec_invariant(spec: &str, backend: Backend, settings: &[&str], axes: &[&str], sizes: &[usize]) {
    let [set, axis] = [settings, axes].map(|all| all.iter().map(|s| (*s).to_string()).collect());
    let sweep = from_str(spec, "invariance.toml", &Overrides { set, axis }).expect("a valid spec");
    let trainer = BurnTrainer::new(backend);
    let cells: Vec<&Cell> = sweep.cells.iter().collect();
    let solo: Vec<Outcome> = cells.iter().flat_map(|cell| train(&trainer, &[cell])).collect();
    for size in sizes {
        let packed: Vec<Outcome> = cells.chunks(*size).flat_map(|pack| train(&trainer, pack)).collect();
        assert_eq!(packed, solo, "packs of {size} on {} with {settings:?}", trainer.backend().name);
        let backwards: Vec<&Cell> = cells.iter().rev().copied().collect();
        let mut packed: Vec<Outcome> = backwards.chunks(*size).flat_map(|pack| train(&trainer, pack)).collect();
        packed.reverse();
        assert_eq!(packed, solo, "reversed packs of {size} on {} with {settings:?}", trainer.backend().name);
    }
}

/// As [`SPEC`], with options of training that differ from cell to cell of a pack.
const OPTIONS_SPEC: &str = concat!(
    include_str!("fixtures/mixed.toml"),
    "seed = { seeds = 1 }\n",
    "\"train.learning_rate\" = [0.05, 300.0]\n",
    "\"train.variance_weight\" = [0.5, 0.7]\n",
    "\"train.warmup_steps\" = [0, 9]\n",
    "\"model.output_gain_img\" = [1.0, 3.0]\n",
);

/// Every limit in force somewhere, so that cells are stopped by several rules, and the best checkpoint measured.
const WATCHED: &[&str] = &[
    "image.noise=0.4",
    "text.dropout=0.3",
    "checkpoint.select=best",
    "checkpoint.every=5",
    "checkpoint.symmetry_gap_ceiling=0.5",
    "stop.gradient_norm_above=1.0",
    "stop.hub_gini_above=0.9",
    "stop.patience=2",
    "warn.variance_below=0.1",
    "warn.gradient_norm_above=0.5",
    "curves.structure_every=7",
];
const PLAIN: &[&str] = &[];
/// Every option that adds to the loss or changes how it is followed.
const OPTIONS: &[&str] = &[
    "train.embedding_l2=0.01",
    "train.covariance_weight=0.1",
    "train.redundancy_weight=0.1",
    "train.balance=0.2",
    "model.output_gain_txt=0.5",
];
const EVERYTHING: &[&str] = &[
    "train.embedding_l2=0.01",
    "train.variance_weight=0.5",
    "train.covariance_weight=0.1",
    "train.redundancy_weight=0.1",
    "train.balance=0.2",
    "train.warmup_steps=9",
    "model.output_gain_img=3.0",
    "model.output_gain_txt=0.5",
    "image.noise=0.4",
    "image.mask=0.2",
    "text.dropout=0.3",
    "image.occlusion=0.1",
    "image.blur=0.4",
    "image.band=0.1",
    "image.quantisation=0.05",
    "image.compression=2.0",
    "image.gain=1.5",
    "text.substitution=0.1",
    "text.coarsening=0.5",
    "text.swap=0.1",
    "text.jitter=0.5",
    "text.insertion=0.2",
    "text.gain=0.7",
    "pairing.rate=0.3",
    "pairing.applies_to=both",
    "train.clip_norm=0.5",
    "train.optimiser=adamw",
];

/// Cells that see one world differently, or not at all disturbed, in one pack.
const VIEWS: &[&str] = &[
    "train.weight_decay=0.0",
    "train.learning_rate=0.05",
    "image.blur=0.0,0.6",
    "image.gain=1.0,2.0",
    "text.insertion=0.0,0.4",
];

#[test]
fn flex_is_bit_identical_in_packs_of_any_size() {
    let flex = || Choice::Flex.open().expect("flex needs nothing");
    assert_invariant(flex(), PLAIN, &[2, 5, 16]);
    assert_invariant(flex(), EVERYTHING, &[3, 7]);
    assert_spec_invariant(OPTIONS_SPEC, flex(), OPTIONS, &[], &[5, 16]);
    assert_invariant(flex(), WATCHED, &[5]);
    assert_invariant(flex(), &["text.features=token_position"], &[4]);
    assert_axes_invariant(flex(), &["text.features=bag_of_ngrams", "image.noise=0.2"], VIEWS, &[5]);
}

#[test]
fn ndarray_is_bit_identical_in_packs_of_any_size() {
    let ndarray = || Choice::Ndarray.open().expect("ndarray needs nothing");
    assert_invariant(ndarray(), PLAIN, &[2, 5, 16]);
    assert_invariant(ndarray(), EVERYTHING, &[3, 7]);
    assert_spec_invariant(OPTIONS_SPEC, ndarray(), OPTIONS, &[], &[5, 16]);
}

#[test]
fn native_is_bit_identical_in_packs_of_any_size() {
    let native = || Choice::Native.open().expect("native needs nothing");
    assert_invariant(native(), PLAIN, &[2, 5, 16]);
    assert_invariant(native(), EVERYTHING, &[3, 7]);
    assert_spec_invariant(OPTIONS_SPEC, native(), OPTIONS, &[], &[5, 16]);
    assert_invariant(native(), WATCHED, &[5]);
    assert_invariant(native(), &["text.features=token_position"], &[4]);
    assert_axes_invariant(native(), &["text.features=bag_of_ngrams", "image.noise=0.2"], VIEWS, &[5, 16]);
}

/// The same on WGPU, a software adapter included. Without any adapter it says so and checks nothing; with
/// `CLIFFLINE_REQUIRE_WGPU` set, as CI does, that is a failure.
#[test]
fn wgpu_is_bit_identical_in_packs_of_any_size() {
    match Choice::Wgpu.open() {
        Ok(wgpu) => {
            assert_invariant(wgpu.clone(), PLAIN, &[2, 5, 16]);
            assert_invariant(wgpu.clone(), EVERYTHING, &[7]);
            assert_spec_invariant(OPTIONS_SPEC, wgpu.clone(), OPTIONS, &[], &[16]);
            assert_invariant(wgpu, WATCHED, &[5]);
        }
        Err(error) if std::env::var_os("CLIFFLINE_REQUIRE_WGPU").is_some() => panic!("{error}"),
        // Written past the test harness, which keeps what a passing test prints to itself.
        Err(error) => {
            let skipped = format!("SKIPPED: pack invariance on WGPU was not checked: {error}");
            writeln!(std::io::stderr(), "{skipped}").expect("standard error");
        }
    }
}

#[test]
fn the_sweep_of_these_tests_has_cells_that_end_in_different_ways() {
    let sweep = from_str(SPEC, "invariance.toml", &Overrides::default()).expect("a valid spec");
    let cells: Vec<&Cell> = sweep.cells.iter().collect();
    for choice in [Choice::Flex, Choice::Native] {
        let trainer = BurnTrainer::new(choice.open().expect("CPU backends need nothing"));
        let outcomes = train(&trainer, &cells);
        for status in [Status::Ok, Status::Collapsed, Status::Diverged] {
            assert!(outcomes.iter().any(|o| o.status == status), "no cell ends {status:?} on {choice:?}");
        }
        let ends: std::collections::BTreeSet<u64> = outcomes.iter().map(|o| o.steps).collect();
        assert!(ends.len() > 2, "lanes must leave their packs at different steps on {choice:?}: {ends:?}");
    }
}

#[test]
fn the_limits_of_these_tests_stop_warn_and_refuse() {
    let set = WATCHED.iter().map(|s| (*s).to_string()).collect();
    let sweep = from_str(SPEC, "invariance.toml", &Overrides { set, axis: Vec::new() }).expect("a valid spec");
    let cells: Vec<&Cell> = sweep.cells.iter().collect();
    let outcomes = train(&BurnTrainer::new(Choice::Native.open().expect("native needs nothing")), &cells);
    let any = |what: &str, holds: &dyn Fn(&Outcome) -> bool| assert!(outcomes.iter().any(holds), "no cell {what}");
    any("is stopped for its gradient", &|o| o.status == Status::Collapsed && o.reason.contains("grad_norm"));
    any("is warned of its variance", &|o| o.crossings.iter().any(|c| c.limit == "warn.variance_below"));
    let selected = |o: &Outcome| o.selection.as_ref().and_then(|s| s.step.filter(|_| s.reason.is_empty()));
    any("is measured before its end", &|o| selected(o).is_some_and(|step| step < o.steps));
    any("is measured at its end for want of a candidate", &|o| o.status != Status::Diverged && selected(o).is_none());
}
