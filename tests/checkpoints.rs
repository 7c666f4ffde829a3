//! Which parameters of a cell are measured, and that what is measured is theirs.

use std::io::Write;

use cliffline::aligner::backend::{Backend, Choice};
use cliffline::aligner::embed::embed;
use cliffline::engine::{BurnTrainer, Control, Measured, Retrained, Status};
use cliffline::spec::{Cell, Config, Overrides, from_str};
use cliffline::world::perturbation::observed;
use cliffline::world::{Modality, SplitName, World, partners};

fn cell(settings: &[&str]) -> Cell {
    let set = settings.iter().map(|s| (*s).to_string()).collect();
    let text = "name = \"checkpoints\"\npreset = \"tiny\"\n[axes]\nseed = [3]\n";
    let mut sweep = from_str(text, "checkpoints.toml", &Overrides { set, axis: Vec::new() }).expect("a valid spec");
    sweep.cells.remove(0)
}

fn trainer(choice: Choice) -> BurnTrainer {
    BurnTrainer::new(choice.open().expect("CPU backends need nothing"))
}

fn train(trainer: &BurnTrainer, settings: &[&str]) -> Retrained {
    trainer.retrain(&cell(settings), &Control::default()).expect("it trains")
}

/// The test observations of a cell, made on the host without the aligner: image, text.
fn test_observations(config: &Config) -> [Vec<f32>; 2] {
    let world = World::generate(config.seed, &config.world, config.text.features).expect("a sound configuration");
    let split = world.split(SplitName::Test);
    let pairing = partners(config.seed, SplitName::Test, &config.pairing, &split.factors);
    let [img, txt] = Modality::ALL.map(|modality| observed(split, modality, config));
    let p = split.txt.background.len();
    let txt = pairing.partner.iter().flat_map(|row| &txt[*row as usize * p..][..p]).copied().collect();
    [img, txt]
}

/// Test embeddings of a cell that were made in a pack, and those of the same parameters and host-made observations.
fn both_ways(backend: Backend, settings: &[&str]) -> [Vec<f32>; 4] {
    let trainer = BurnTrainer::new(backend);
    let config = cell(settings).config;
    let made = train(&trainer, settings);
    let x = test_observations(&config);
    let again = embed(&trainer.backend().executor, &config.model, &made.parameters, [&x[0], &x[1]], None);
    [made.test.img, again.img, made.test.txt, again.txt]
}

/// More test samples than are embedded at once, and widths that are no whole vectors.
const ODD: &[&str] = &[
    "world.image_size=9",
    "world.n_train=64",
    "world.n_test=521",
    "model.hidden_img=13",
    "model.hidden_txt=21",
    "model.embedding=7",
    "train.steps=6",
    "train.batch_size=24",
    "pairing.rate=0.4",
    "pairing.applies_to=both",
];
const DISTURBED: &[&str] = &["image.noise=0.4", "image.mask=0.2", "text.dropout=0.3"];

#[test]
fn kept_parameters_embed_host_made_observations_as_their_pack_did() {
    // The CPU backends fuse nothing that observations are made of, so that noise makes no difference to the bits.
    for settings in [ODD.to_vec(), [ODD, DISTURBED].concat()] {
        for choice in [Choice::Native, Choice::Flex, Choice::Ndarray] {
            let [img, again_img, txt, again_txt] =
                both_ways(choice.open().expect("CPU backends need nothing"), &settings);
            assert_eq!((img, txt), (again_img, again_txt), "{choice:?} with {settings:?}");
        }
    }
}

/// Of embeddings of the order of 1, from observations that a device may fuse: one rounding of an observation, 2^-24 of
/// it, through two layers whose sums of tens of products it enters with random signs; 30 spacings are far above.
const FUSED: f32 = 30.0 * f32::EPSILON;

#[test]
fn so_they_do_on_wgpu_to_rounding() {
    let wgpu = match Choice::Wgpu.open() {
        Ok(wgpu) => wgpu,
        Err(error) if std::env::var_os("CLIFFLINE_REQUIRE_WGPU").is_some() => panic!("{error}"),
        // Written past the test harness, which keeps what a passing test prints to itself.
        Err(error) => {
            let skipped = format!("SKIPPED: embeddings of kept parameters on WGPU were not checked: {error}");
            return writeln!(std::io::stderr(), "{skipped}").expect("standard error");
        }
    };
    let [img, again_img, txt, again_txt] = both_ways(wgpu.clone(), ODD);
    assert_eq!((img, txt), (again_img, again_txt), "without noise nothing is left to fuse");
    let [img, again_img, txt, again_txt] = both_ways(wgpu, &[ODD, DISTURBED].concat());
    for (a, b) in img.iter().zip(&again_img).chain(txt.iter().zip(&again_txt)) {
        assert!((a - b).abs() <= FUSED, "{a} and {b}");
    }
}

/// Retrieval rises at first; then weight decay drags both encoders down.
const COLLAPSING: &[&str] =
    &["train.learning_rate=0.5", "train.momentum=0", "train.weight_decay=0.2", "checkpoint.every=5", "stop.every=10"];

/// Steps of a whole training of these.
const WHOLE: &str = "train.steps=60";

fn value(trained: &Retrained, name: &str) -> f64 {
    match &trained.outcome.metrics[name] {
        Measured::Value(value) => *value,
        Measured::Missing(reason) => panic!("{name}: {reason}"),
    }
}

#[test]
fn the_best_checkpoint_is_measured_and_the_record_says_which_it_was() {
    for choice in [Choice::Native, Choice::Flex] {
        let trainer = trainer(choice);
        let last = train(&trainer, &[COLLAPSING, &[WHOLE]].concat());
        let best = train(&trainer, &[COLLAPSING, &[WHOLE, "checkpoint.select=best"]].concat());
        let selection = best.outcome.selection.as_ref().expect("one was selected");
        let step = selection.step.expect("it did not diverge");
        assert!(step < 60, "the end is not the best: {selection:?}");
        assert_eq!(last.outcome.selection, None);
        assert_eq!(
            selection.candidates.iter().map(|c| c.step).collect::<Vec<_>>(),
            (5..=60).step_by(5).collect::<Vec<_>>()
        );
        // The training is the same; what is measured is not.
        assert_eq!(best.outcome.checksums.final_parameters, last.outcome.checksums.final_parameters);
        assert_ne!(selection.parameters, best.outcome.checksums.final_parameters);
        assert_eq!((best.outcome.status, best.outcome.steps), (last.outcome.status, last.outcome.steps));
        // A cell that was trained up to the selected step and no further.
        let stopped = train(&trainer, &[COLLAPSING, &[&format!("train.steps={step}")]].concat());
        assert_eq!(stopped.outcome.checksums.final_parameters, selection.parameters);
        assert_eq!(stopped.test, best.test);
        assert_eq!(
            (&stopped.outcome.metrics, &stopped.outcome.spectra),
            (&best.outcome.metrics, &best.outcome.spectra)
        );
    }
}

#[test]
fn a_collapsed_cell_stays_collapsed_and_says_that_its_metrics_are_of_a_checkpoint() {
    let trainer = trainer(Choice::Native);
    let rule = [COLLAPSING, &[WHOLE, "stop.effective_rank_below=2", "checkpoint.select=best"]].concat();
    let cell = train(&trainer, &rule);
    let step = cell.outcome.selection.as_ref().and_then(|s| s.step).expect("a healthy checkpoint");
    assert_eq!(cell.outcome.status, Status::Collapsed);
    assert!(step < cell.outcome.steps);
    let said = format!("; measured at its best checkpoint, step {step}");
    assert!(cell.outcome.reason.ends_with(&said), "{}", cell.outcome.reason);
    assert!(value(&cell, "effective_rank_img") > 2.0, "the checkpoint was healthy");
    assert_eq!(cell.outcome.crossings[0].limit, "stop.effective_rank_below");
    assert_eq!(cell.outcome.crossings[0].step, cell.outcome.steps);

    // No candidate keeps this floor: the end is measured, and the record says why.
    let cell = train(&trainer, &[rule.as_slice(), &["checkpoint.effective_rank_floor=9"]].concat());
    let selection = cell.outcome.selection.as_ref().expect("it was asked for");
    assert_eq!(selection.step, Some(cell.outcome.steps));
    assert!(selection.reason.starts_with("none of "), "{}", selection.reason);
    assert!(!cell.outcome.reason.contains("checkpoint"));
}

#[test]
fn a_diverged_cell_has_candidates_and_no_metrics() {
    let diverging = ["train.learning_rate=1", "train.weight_decay=100", "train.momentum=0"];
    let diverged =
        train(&trainer(Choice::Native), &[&diverging[..], &["checkpoint.select=best", "checkpoint.every=2"]].concat());
    let selection = diverged.outcome.selection.as_ref().expect("it was asked for");
    assert_eq!((diverged.outcome.status, selection.step), (Status::Diverged, None));
    assert!(!selection.candidates.is_empty());
    assert!(diverged.outcome.metrics.values().all(|m| matches!(m, Measured::Missing(_))));
}

#[test]
fn a_warning_is_recorded_and_stops_nothing() {
    let trainer = trainer(Choice::Flex);
    let quiet = train(&trainer, &[]).outcome;
    let warned = train(&trainer, &["warn.effective_rank_below=9", "warn.gradient_norm_above=1e-6"]).outcome;
    assert_eq!((warned.status, &warned.metrics, warned.steps), (quiet.status, &quiet.metrics, quiet.steps));
    assert_eq!((&warned.checksums, &warned.curves), (&quiet.checksums, &quiet.curves));
    let seen: Vec<(&str, &str, u64, u64)> =
        warned.crossings.iter().map(|c| (c.limit.as_str(), c.name.as_str(), c.step, c.checks)).collect();
    let expected = [
        ("warn.effective_rank_below", "effective_rank_img", 20, 2),
        ("warn.gradient_norm_above", "grad_norm_img", 20, 2),
    ];
    assert_eq!(seen, expected);
    assert_eq!(quiet.crossings, []);
}

#[test]
fn a_gradient_rule_sees_the_norm_that_the_curves_record_at_that_step() {
    let trainer = trainer(Choice::Native);
    let charted = train(&trainer, &["curves.every=1"]).outcome;
    let at_19 = charted.curves.step.iter().position(|step| *step == 19).expect("recorded");
    let norm = charted.curves.series["grad_norm_img"][at_19].expect("finite");
    let just_below = norm * (1.0 - 1e-6);
    let stopped = train(&trainer, &["curves.every=0", &format!("stop.gradient_norm_above={just_below}")]).outcome;
    assert_eq!((stopped.status, stopped.steps), (Status::Collapsed, 20), "{}", stopped.reason);
    assert_eq!(stopped.crossings[0].value, Some(norm));
    assert!(!stopped.curves.series.contains_key("grad_norm_img"), "a rule is no curve");
}

#[test]
fn structure_has_its_own_cadence_where_it_is_set() {
    let trainer = trainer(Choice::Flex);
    let recorded = |settings: &[&str], name: &str| -> Vec<u64> {
        let curves = train(&trainer, settings).outcome.curves;
        let values = curves.series.get(&format!("validation_{name}")).cloned().unwrap_or_default();
        curves.step.iter().zip(values).filter(|(_, value)| value.is_some()).map(|(step, _)| *step).collect()
    };
    assert_eq!(recorded(&[], "effective_rank_txt"), [0, 20, 40]);
    let slower = ["curves.structure_every=25"];
    assert_eq!(recorded(&slower, "effective_rank_txt"), [0, 25, 40]);
    assert_eq!(recorded(&slower, "mean_cosine_txt"), [0, 20, 40]);
}
