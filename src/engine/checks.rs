//! `agree` on the cells of a sweep: what the aligner's comparison needs from world and metrics.

use super::burn_trainer::BurnTrainer;
use super::outcome::{Measured, Outcome};
use super::scheduler::{Control, TrainError};
use crate::aligner::agree::Comparison;
use crate::aligner::backend::{Backend, BackendError};
use crate::aligner::batches::Batches;
use crate::aligner::fault::Fault;
use crate::aligner::held::Problem;
use crate::aligner::parameters::{MODALITIES, Widths, xavier};
use crate::spec::Cell;
use crate::spec::config::Config;
use crate::world::view::observed;
use crate::world::{Modality, SplitName, World, WorldError, partners};

/// Cells that `agree` compares at once.
const CELLS: usize = 4;

/// Steps of the short training whose metrics `agree` compares.
const METRIC_STEPS: u64 = 10;

/// Queries whose nearest candidate may change between backends: near ties are decided by the last bits. On the built-in
/// sweeps none did, between flex, ndarray and a software adapter.
const FLIPPED_QUERIES: f64 = 3.0;

#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    World(#[from] WorldError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error("the sweep has no cells")]
    NoCells,
    #[error("training on {backend} failed: {source}")]
    Train { backend: String, source: TrainError },
}

/// A minibatch of one cell, as its encoders see it, row-major: image, text.
fn minibatch(config: &Config) -> Result<([Vec<f32>; 2], usize), WorldError> {
    let world = World::generate(config.seed, &config.world, config.text.features)?;
    let split = world.split(SplitName::Train);
    let pairing = partners(config.seed, SplitName::Train, &config.pairing, &split.factors);
    let mut batches = Batches::new(config.seed, split.index.len(), config.train.batch_size as usize);
    let rows: Vec<usize> = batches.at(0).to_vec();
    let gather = |modality: Modality, row: &dyn Fn(usize) -> usize| {
        let x = observed(split, modality, config);
        let p = x.len() / split.index.len();
        rows.iter().flat_map(|r| x[row(*r) * p..(row(*r) + 1) * p].to_vec()).collect::<Vec<f32>>()
    };
    let img = gather(Modality::Image, &|r| r);
    let txt = gather(Modality::Text, &|r| pairing.partner[r] as usize);
    Ok(([img, txt], rows.len()))
}

/// Compares `second` against `first` on the first few cells of one pack key: embeddings, loss, gradients, one step,
/// ten steps, and the metrics of a short training.
pub fn agree(
    cells: &[Cell],
    first: &Backend,
    second: &Backend,
    fault: Option<Fault>,
) -> Result<Vec<Comparison>, CheckError> {
    let key = cells.first().ok_or(CheckError::NoCells)?.config.pack_key();
    // Spread over the sweep, so that the extremes of its axes are among them.
    let alike: Vec<&Cell> = cells.iter().filter(|c| c.config.pack_key() == key).collect();
    let count = alike.len().min(CELLS);
    let chosen: Vec<&Cell> = (0..count).map(|i| alike[i * (alike.len() - 1) / (count - 1).max(1)]).collect();
    let problem = problem(&chosen)?;
    let mut comparisons = problem.compare(&first.executor, &second.executor, fault);
    comparisons.extend(compare_metrics(&problem, &chosen, first, second, fault)?);
    Ok(comparisons)
}

fn problem<'a>(cells: &[&'a Cell]) -> Result<Problem<'a>, CheckError> {
    let (mut x, mut batch) = ([Vec::new(), Vec::new()], 0);
    for cell in cells {
        let ([img, txt], rows) = minibatch(&cell.config)?;
        x[0].extend(img);
        x[1].extend(txt);
        batch = rows;
    }
    let model = &cells[0].config.model;
    let hidden = [model.hidden_img as usize, model.hidden_txt as usize];
    let widths = [0, 1].map(|m| {
        let inputs = x[m].len() / (batch * cells.len());
        Widths { inputs, hidden: hidden[m], embedding: model.embedding as usize }
    });
    let parameters =
        [0, 1].map(|m| cells.iter().map(|c| xavier(c.config.seed, MODALITIES[m], widths[m])).collect::<Vec<_>>());
    let train = cells.iter().map(|c| &c.config.train).collect();
    let gains = cells.iter().map(|c| c.config.model.output_gains()).collect();
    Ok(Problem { widths, x, batch, parameters, train, gains })
}

/// Compares the metrics of a short training. A continuous metric is a mean, a quantile or an entropy of what the
/// parameters make, so it gets their tolerance.
fn compare_metrics(
    problem: &Problem<'_>,
    cells: &[&Cell],
    first: &Backend,
    second: &Backend,
    fault: Option<Fault>,
) -> Result<Vec<Comparison>, CheckError> {
    let short: Vec<Cell> = cells
        .iter()
        .map(|cell| {
            let mut cell = (*cell).clone();
            cell.config.train.steps = METRIC_STEPS;
            cell
        })
        .collect();
    let train = |backend: &Backend, fault: Option<Fault>| {
        let mut trainer = BurnTrainer::new(backend.clone());
        trainer.fault = fault;
        let lanes: Vec<&Cell> = short.iter().collect();
        let train = super::Trainer::train(&trainer, &lanes, &Control::default());
        train
            .map(|measuring| measuring())
            .map_err(|source| CheckError::Train { backend: backend.name.to_string(), source })
    };
    let (expected, actual) = (train(first, None)?, train(second, fault)?);
    let n = cells[0].config.world.n_test as f64;
    let mut comparisons = Vec::new();
    for (name, counts) in COMPARED_METRICS {
        for (i, (e, a)) in expected.iter().zip(&actual).enumerate() {
            let tolerance = match counts {
                true => FLIPPED_QUERIES / n,
                false => problem.tolerance("metrics", cells[i].config.train.temperature),
            };
            let difference = difference(name, e, a, counts);
            comparisons.push(Comparison::new("metrics", format!("{name}, cell {i}"), difference, tolerance));
        }
    }
    Ok(comparisons)
}

/// Metrics compared after the short training, and whether they count queries.
const COMPARED_METRICS: [(&str, bool); 8] = [
    ("retrieval_at_1_i2t", true),
    ("retrieval_at_1_t2i", true),
    ("effective_rank_img", false),
    ("effective_rank_txt", false),
    ("mean_cosine_img", false),
    ("mean_cosine_txt", false),
    ("variance_median_img", false),
    ("variance_median_txt", false),
];

/// Difference of a metric: absolute for shares of queries and for cosines near zero, else relative.
fn difference(name: &str, expected: &Outcome, actual: &Outcome, absolute: bool) -> f64 {
    match (expected.metrics.get(name), actual.metrics.get(name)) {
        (Some(Measured::Value(e)), Some(Measured::Value(a))) => {
            (e - a).abs()
                / if absolute || name.starts_with("mean_cosine") { 1.0 } else { e.abs().max(f64::MIN_POSITIVE) }
        }
        (Some(Measured::Missing(_)), Some(Measured::Missing(_))) => 0.0,
        _ => f64::INFINITY,
    }
}
