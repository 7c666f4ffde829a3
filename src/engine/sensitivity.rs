//! How much one training step on a disturbed minibatch changes retrieval, against the same step undisturbed (M10).
//!
//! From the parameters of a trained cell, its own update rule takes one step on a minibatch, and one on the same
//! minibatch disturbed: an estimate of how fragile further training would be. One step says nothing about many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::measure::{Model, embed_pairs, evaluation, paired};
use crate::aligner::data::{ModalityData, SplitData};
use crate::aligner::parameters::{HostEncoder, TENSOR_NAMES};
use crate::aligner::train::{Due, Lane, Run, SeedData, Verdict, train};
use crate::metric;
use crate::numerics::stream::Streams;
use crate::spec::config::{AppliesTo, Config, ConfounderModality, PairingConfig, PairingKind};
use crate::world::perturbation::observed;
use crate::world::{Modality, Split, SplitName, World, partners};

/// Minibatches over which a sensitivity is averaged.
pub const BATCHES: usize = 4;

/// How far each disturbance goes: a quarter of the pairs, of the intensity's range per side, of the tokens.
const AMOUNT: f64 = 0.25;

/// What a disturbance does to the operators under which a cell was trained.
type Change = fn(&mut Config);

/// A way to disturb a minibatch.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    /// The modality whose operators it changes, and how, from those under which the cell was trained.
    operators: Option<(Modality, Change)>,
    /// Share of the minibatch's pairs that it swaps.
    swapped: f64,
}

const KINDS: [Kind; 5] = [
    Kind { name: "pairing", operators: None, swapped: AMOUNT },
    Kind { name: "noise_img", operators: Some((Modality::Image, |c| c.image.noise += AMOUNT)), swapped: 0.0 },
    Kind { name: "dropout_txt", operators: Some((Modality::Text, drop_tokens)), swapped: 0.0 },
    Kind { name: "confounder_img", operators: Some((Modality::Image, confound)), swapped: 0.0 },
    Kind { name: "confounder_txt", operators: Some((Modality::Text, confound)), swapped: 0.0 },
];

fn drop_tokens(config: &mut Config) {
    config.text.dropout = (config.text.dropout + AMOUNT).min(1.0);
}

/// More of the confounder that the cell names, an ID codebook unless it names another.
fn confound(config: &mut Config) {
    // At strength 0 the factors are visible whatever `semantics` says, and adding a confounder leaves them so.
    config.confounder.semantics |= config.confounder.strength == 0.0;
    config.confounder.strength += AMOUNT;
    config.confounder.modality = ConfounderModality::Both;
}

/// Names of the kinds, as the metrics call them.
pub(super) fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name)
}

/// Mean over minibatches of the absolute difference of validation retrieval@1, averaged over both directions, and its
/// standard deviation over minibatches; or why there is neither.
pub type Sensitivity = Result<[f64; 2], String>;

/// The sensitivities of a trained cell by the name of the kind. One that leads to embeddings which cannot be evaluated
/// leaves the others as they are.
///
/// **Source** Koh & Liang 2017 for what it approximates; one finite step in place of the Hessian.
pub(super) fn sensitivities(config: &Config, world: &World, model: &Model<'_>) -> BTreeMap<String, Sensitivity> {
    let batches: Vec<Minibatch> = (0..BATCHES).flat_map(|b| minibatches(config, world, b)).collect();
    let after = match retrieval_after_a_step(config, world, model, &batches) {
        Ok(after) => after,
        Err(reason) => return kinds().map(|kind| (kind.to_string(), Err(reason.clone()))).collect(),
    };
    // Undisturbed first, then the kinds.
    let per_batch: Vec<&[Result<f64, String>]> = after.chunks(1 + KINDS.len()).collect();
    let of = |(k, kind): (usize, &Kind)| (kind.name.to_string(), summary(per_batch.iter().map(|r| [&r[0], &r[1 + k]])));
    KINDS.iter().enumerate().map(of).collect()
}

/// Mean and standard deviation of absolute differences, one pair per minibatch.
fn summary<'a>(pairs: impl Iterator<Item = [&'a Result<f64, String>; 2]>) -> Sensitivity {
    let difference = |[plain, disturbed]: [&Result<f64, String>; 2]| Ok((disturbed.clone()? - plain.clone()?).abs());
    let differences = pairs.map(difference).collect::<Result<Vec<f64>, String>>()?;
    let mean = differences.iter().sum::<f64>() / BATCHES as f64;
    let squares: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum();
    Ok([mean, (squares / (BATCHES - 1) as f64).sqrt()])
}

/// Observations of a minibatch, row by row: image, text.
struct Minibatch {
    x: [Vec<f32>; 2],
    background: [Vec<f32>; 2],
    rows: usize,
}

/// A minibatch of the cell's training pairs, undisturbed and then disturbed in each way.
fn minibatches(config: &Config, world: &World, number: usize) -> Vec<Minibatch> {
    let split = world.split(SplitName::Train);
    let rows = config.train.batch_size as usize;
    let streams = Streams::new(config.seed, "sensitivity");
    let mut drawn = streams.item(number as u64).permutation(split.index.len());
    drawn.truncate(rows);
    let partner = partners(config.seed, SplitName::Train, &config.pairing, &split.factors).partner;
    let texts: Vec<usize> = drawn.iter().map(|row| partner[*row] as usize).collect();
    let (img, txt) = (split.subset(&drawn), split.subset(&texts));
    let undisturbed = Kind { name: "none", operators: None, swapped: 0.0 };
    std::iter::once(&undisturbed).chain(&KINDS).map(|kind| disturbed(config, [&img, &txt], kind)).collect()
}

fn disturbed(config: &Config, [img, txt]: [&Split; 2], kind: &Kind) -> Minibatch {
    let of = |modality: Modality, split: &Split| {
        let mut operators = config.clone();
        if let Some((_, change)) = kind.operators.filter(|(changed, _)| *changed == modality) {
            change(&mut operators);
        }
        observed(split, modality, &operators)
    };
    let (x_img, x_txt) = (of(Modality::Image, img), of(Modality::Text, txt));
    let swaps = PairingConfig {
        rate: kind.swapped,
        kind: PairingKind::Swap,
        applies_to: AppliesTo::Both,
        ..PairingConfig::default()
    };
    // By place in the minibatch, whose samples are drawn anew each time.
    let partner = partners(config.seed, SplitName::Train, &swaps, &txt.factors).partner;
    let p = txt.txt.p;
    let x_txt = partner.iter().flat_map(|row| &x_txt[*row as usize * p..][..p]).copied().collect();
    let background = [img.img.background.clone(), txt.txt.background.clone()];
    Minibatch { x: [x_img, x_txt], background, rows: img.index.len() }
}

/// Validation retrieval@1, averaged over both directions, after one step from the model's parameters on each minibatch.
fn retrieval_after_a_step(
    config: &Config,
    world: &World,
    model: &Model<'_>,
    batches: &[Minibatch],
) -> Result<Vec<Result<f64, String>>, String> {
    // What disturbs the observations is in them already.
    let mut step = config.clone();
    (step.train.steps, step.curves.every, step.curves.validate_every) = (1, 0, 0);
    // The step is taken from where warm-up has ended.
    step.train.warmup_steps = 0;
    (step.image, step.text, step.confounder) = Default::default();
    let seeds: Vec<SeedData<'_>> = batches.iter().map(|b| seed_data(config.seed, b)).collect();
    let start = encoders(model.parameters).ok_or("the parameters are not those of two encoders")?;
    let identity: Vec<u32> = (0..config.train.batch_size as u32).collect();
    let lane = |seed: usize| Lane { config: &step, seed, partners: [&identity; 3], start: Some(&start) };
    let lanes: Vec<Lane<'_>> = (0..seeds.len()).map(lane).collect();
    let run = Run {
        executor: model.executor,
        seeds: &seeds,
        due: &|_, _| Due::default(),
        cancel: &AtomicBool::new(false),
        cell_steps: &AtomicU64::new(0),
        busy_ns: &AtomicU64::new(0),
        fault: model.fault,
    };
    let trained = train(&run, &lanes, |_| Verdict::default()).map_err(|e| e.to_string())?;
    let split = world.split(SplitName::Validation);
    let observations = paired(config, split);
    let retrieval = |parameters: &[Vec<f32>]| {
        let embeddings = embed_pairs(config, &observations, &Model { parameters, ..*model });
        let evaluation = evaluation(config, &embeddings).map_err(|e| e.to_string())?;
        let both = metric::measure_named(&evaluation, &["retrieval_at_1_i2t", "retrieval_at_1_t2i"]);
        both.into_iter().try_fold(0.0, |sum, (_, value)| Ok(sum + value.map_err(|e| e.to_string())? / 2.0))
    };
    Ok(trained.iter().map(|t| retrieval(&t.parameters)).collect())
}

/// A minibatch as the whole data of a seed; only its training split is looked at.
fn seed_data(seed: u64, batch: &Minibatch) -> SeedData<'_> {
    let modality =
        |m: usize| ModalityData { clean: &batch.x[m], background: &batch.background[m], noise: None, uniform: None };
    let split = SplitData { n: batch.rows, img: modality(0), txt: modality(1) };
    SeedData { seed, splits: [split; 3] }
}

/// The encoders of parameters that are listed tensor by tensor: image, text.
fn encoders(parameters: &[Vec<f32>]) -> Option<[HostEncoder; 2]> {
    let (img, txt) = parameters.split_at_checked(TENSOR_NAMES.len())?;
    Some([img.to_vec().try_into().ok()?, txt.to_vec().try_into().ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aligner::backend::Choice;
    use crate::engine::{BurnTrainer, Control};
    use crate::spec::{Cell, preset_named};

    fn tiny() -> Config {
        (preset_named("tiny").expect("a preset").config)()
    }

    fn measured(choice: Choice, trained: &Config, stepped: &Config) -> BTreeMap<String, [f64; 2]> {
        let backend = choice.open().expect("the CPU needs nothing");
        let trainer = BurnTrainer::new(backend);
        let cell = Cell::new(trained.clone(), [].into());
        let parameters = trainer.retrain(&cell, &Control::default()).expect("it trains").parameters;
        let world = World::generate(stepped.seed, &stepped.world, stepped.text.features).expect("a sound world");
        let executor = &trainer.backend().executor;
        let model = Model { executor, parameters: &parameters, fault: None };
        let all = sensitivities(stepped, &world, &model);
        all.into_iter().map(|(kind, value)| (kind, value.expect("finite embeddings"))).collect()
    }

    #[test]
    fn no_step_changes_nothing_and_a_long_one_does() {
        let trained = tiny();
        let mut stepped = trained.clone();
        stepped.train.learning_rate = 0.0;
        assert!(measured(Choice::Native, &trained, &stepped).values().all(|s| *s == [0.0, 0.0]));
        stepped.train.learning_rate = 5.0;
        for (kind, [mean, _]) in measured(Choice::Native, &trained, &stepped) {
            assert!(mean > 0.0 && mean <= 1.0, "{kind}: {mean}");
        }
    }

    #[test]
    fn every_kind_has_its_columns_and_no_column_is_without_its_kind() {
        let names: Vec<&str> =
            metric::descriptors().map(|d| d.name).filter(|name| name.starts_with("sensitivity_")).collect();
        let expected: Vec<String> =
            kinds().flat_map(|kind| [format!("sensitivity_{kind}"), format!("sensitivity_{kind}_sd")]).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_confounder_that_is_switched_on_adds_to_the_factors() {
        let mut config = tiny();
        config.confounder.semantics = false;
        confound(&mut config);
        assert!(config.confounder.semantics && config.confounder.strength == AMOUNT);
        config.confounder.semantics = false;
        confound(&mut config);
        assert!(!config.confounder.semantics, "where the factors are hidden already, they stay so");
    }

    #[test]
    fn executors_agree_with_every_operator_on() {
        let mut config = tiny();
        (config.image.noise, config.image.mask, config.text.dropout, config.pairing.rate) = (0.2, 0.1, 0.9, 0.3);
        config.train.learning_rate = 1.0;
        let [native, flex] = [Choice::Native, Choice::Flex].map(|choice| measured(choice, &config, &config));
        for (kind, [mean, _]) in &native {
            // A rounding may turn the rank of a query or two, of 128 each way.
            assert!((mean - flex[kind][0]).abs() < 3.0 / 256.0, "{kind}: {mean}, {:?}", flex[kind]);
        }
    }
}
