//! What is measured of a trained cell: the panel on its test split, as trained and under every further condition.

use std::collections::BTreeMap;

use super::outcome::{ConditionOutcome, Measured, all_missing, checksum};
use crate::aligner::embed::embed;
use crate::aligner::fault::Fault;
use crate::aligner::program::Executor;
use crate::aligner::train::RawEmbeddings;
use crate::metric::{self, Evaluation, EvaluationError};
use crate::spec::config::Config;
use crate::spec::{Cell, Condition};
use crate::world::perturbation::observed;
use crate::world::{Modality, Split, partners};

/// A trained model and what computes with it.
#[derive(Clone, Copy)]
pub(super) struct Model<'a> {
    pub executor: &'a Executor,
    /// Tensor by tensor.
    pub parameters: &'a [Vec<f32>],
    pub fault: Option<Fault>,
}

/// The evaluation of raw embeddings as a cell of this configuration is scored.
pub(super) fn evaluation(config: &Config, embeddings: &RawEmbeddings) -> Result<Evaluation, EvaluationError> {
    let (train, score) = (config.train.temperature, config.score.temperature);
    let temperature = if score > 0.0 { score } else { train };
    Evaluation::new(&embeddings.img, &embeddings.txt, config.model.embedding as usize, temperature)
}

/// Every metric of the registry: its value, or why there is none.
pub(super) fn panel(evaluation: &Evaluation) -> BTreeMap<String, Measured> {
    let measured = metric::measure(evaluation).into_iter().map(|(name, value)| {
        let measured = value.map_or_else(|reason| Measured::Missing(reason.to_string()), Measured::Value);
        (name.to_string(), measured)
    });
    measured.collect()
}

/// Modality to covariance eigenvalues, where they exist.
pub(super) fn spectra(evaluation: &Evaluation) -> BTreeMap<String, Vec<f64>> {
    let spectrum = |m: metric::Modality| Some((m.name().to_string(), evaluation.spectrum(m).ok()?.to_vec()));
    [metric::Modality::Img, metric::Modality::Txt].into_iter().filter_map(spectrum).collect()
}

/// What a trained cell measures under a condition: its model on other observations of the same test samples.
///
/// `diverged` is why there is no model to speak of, if there is none.
pub(super) fn under(
    condition: &Condition,
    cell: &Cell,
    split: &Split,
    model: &Model<'_>,
    diverged: Option<&str>,
) -> ConditionOutcome {
    let missing = |reason: &str| ConditionOutcome::missing(condition, reason);
    if let Some(reason) = diverged {
        return missing(reason);
    }
    let Some(config) = condition.applied(&cell.config) else {
        return missing("this version does not know what the condition changes");
    };
    let embeddings = embed_split(&config, &paired(&config, split), model);
    let metrics = match evaluation(&config, &embeddings) {
        Ok(evaluation) => panel(&evaluation),
        Err(error) => all_missing(&error.to_string()),
    };
    let test_embeddings = checksum([&embeddings.img, &embeddings.txt]);
    ConditionOutcome { condition: condition.clone(), metrics, test_embeddings }
}

/// A split as observed and paired under a configuration: row `b` of images and texts is a pair.
pub(super) fn paired(config: &Config, split: &Split) -> [Vec<f32>; 2] {
    let [img, txt] = Modality::ALL.map(|modality| observed(split, modality, config));
    let p = split.txt.p;
    let partner = partners(config.seed, split.name, &config.pairing, &split.factors).partner;
    let txt = partner.iter().flat_map(|row| &txt[*row as usize * p..][..p]).copied().collect();
    [img, txt]
}

/// Raw embeddings of pairs.
pub(super) fn embed_split(config: &Config, [img, txt]: &[Vec<f32>; 2], model: &Model<'_>) -> RawEmbeddings {
    embed(model.executor, &config.model, model.parameters, [img, txt], model.fault)
}
