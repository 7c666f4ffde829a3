//! What is measured of a trained cell: the panel on its test split, as trained and under every further condition.

use std::collections::BTreeMap;

use super::outcome::{ConditionOutcome, Measured, Outcome, Status, all_missing, checksum, panel};
use super::sensitivity::{Sensitivity, kinds, sensitivities};
use crate::aligner::embed::embed;
use crate::aligner::fault::Fault;
use crate::aligner::program::Executor;
use crate::aligner::train::RawEmbeddings;
use crate::metric::{self, Context, Evaluation, EvaluationError, Scale, Variable};
use crate::spec::config::{self, Config, ConfounderConfig};
use crate::spec::{Cell, Condition};
use crate::world::confounder::Confounder;
use crate::world::perturbation::observed;
use crate::world::{Factor, Modality, Split, SplitName, World, confounder, partners};

/// A trained model and what computes with it.
#[derive(Clone, Copy)]
pub(super) struct Model<'a> {
    pub executor: &'a Executor,
    /// Tensor by tensor.
    pub parameters: &'a [Vec<f32>],
    pub fault: Option<Fault>,
}

/// A trained cell, about to be measured.
pub(super) struct Measurement<'a> {
    pub cell: &'a Cell,
    pub world: &'a World,
    pub model: Model<'a>,
}

impl Measurement<'_> {
    /// Fills in the metrics and spectra of an outcome whose status is known, and its conditions. `test` are the raw test
    /// embeddings.
    pub fn take(&self, test: &RawEmbeddings, outcome: &mut Outcome) {
        let (config, conditions) = (&self.cell.config, &self.cell.conditions);
        if outcome.status == Status::Diverged {
            outcome.metrics = all_missing(config, &outcome.reason);
            let missing = |condition| ConditionOutcome::missing(condition, config, &outcome.reason);
            outcome.conditions = conditions.iter().map(missing).collect();
            return;
        }
        match self.evaluation(config, test) {
            Ok((evaluation, mut context)) => {
                if config.panel == config::Panel::Full {
                    context.sensitivity = sensitivities(config, self.world, &self.model);
                }
                (outcome.metrics, outcome.spectra) = measured(config, evaluation, context);
            }
            Err(error) => outcome.metrics = all_missing(config, &error.to_string()),
        }
        outcome.conditions = conditions.iter().map(|condition| self.under(condition)).collect();
    }

    /// What the model measures under a condition: on other observations of the same test samples.
    fn under(&self, condition: &Condition) -> ConditionOutcome {
        let Some(config) = condition.applied(&self.cell.config) else {
            let reason = "this version does not know what the condition changes";
            return ConditionOutcome::missing(condition, &self.cell.config, reason);
        };
        let embeddings = self.embed(&config);
        let metrics = match self.evaluation(&config, &embeddings) {
            Ok((evaluation, mut context)) => {
                context.sensitivity = not_measured("it is measured for the clean condition");
                measured(&config, evaluation, context).0
            }
            Err(error) => all_missing(&config, &error.to_string()),
        };
        let test_embeddings = checksum([&embeddings.img, &embeddings.txt]);
        ConditionOutcome { condition: condition.clone(), metrics, test_embeddings }
    }

    /// Raw embeddings of the test split as observed and paired under a configuration.
    pub fn embed(&self, config: &Config) -> RawEmbeddings {
        embed_pairs(config, &paired(config, self.world.split(SplitName::Test)), &self.model)
    }

    /// Test embeddings as a configuration scores them, and what is known of their samples.
    fn evaluation(&self, config: &Config, test: &RawEmbeddings) -> Result<(Evaluation, Context), EvaluationError> {
        let split = self.world.split(SplitName::Test);
        Ok((evaluation(config, test)?, context(split, config, &self.cell.config)))
    }
}

/// Why there are no sensitivities.
fn not_measured(reason: &str) -> BTreeMap<String, Sensitivity> {
    kinds().map(|kind| (kind.to_string(), Err(reason.to_string()))).collect()
}

/// The evaluation of raw embeddings as a cell of this configuration is scored.
pub(super) fn evaluation(config: &Config, embeddings: &RawEmbeddings) -> Result<Evaluation, EvaluationError> {
    let (train, score) = (config.train.temperature, config.score.temperature);
    let temperature = if score > 0.0 { score } else { train };
    Evaluation::new(&embeddings.img, &embeddings.txt, config.model.embedding as usize, temperature)
}

/// What is known of the pairs of a split as observed under `config`: what each image shows, and each text.
///
/// Confounder labels are of what the samples carry, or, where a condition takes the confounder away, of what they
/// carried in training.
pub(super) fn context(split: &Split, config: &Config, trained: &Config) -> Context {
    let partner = partners(config.seed, split.name, &config.pairing, &split.factors).partner;
    let labels = confounder::labels(split, carried(config, trained));
    let of = |modality: Modality| {
        let row = |i: usize| match modality {
            Modality::Image => i,
            Modality::Text => partner[i] as usize,
        };
        let rows = || (0..partner.len()).map(row);
        let factor = |factor: Factor| {
            let values = rows().map(|row| factor.value(&split.factors[row])).collect();
            Variable { name: factor.name().to_string(), values, scale: scale(factor) }
        };
        let confounder = labels.as_ref().map(|labels| {
            let numbers = labels.numbered(modality);
            let values = rows().map(|row| numbers[row] as f64).collect();
            Variable { name: "confounder".to_string(), values, scale: Scale::Kinds }
        });
        Factor::ALL.into_iter().map(factor).chain(confounder).collect::<Vec<_>>()
    };
    let [variables, texts] = Modality::ALL.map(of);
    let texts = (texts != variables).then_some(texts);
    let partial_groups = confounder::active(carried(config, trained)).is_some_and(Confounder::labels_are_partial);
    Context { seed: config.seed, variables, texts, partial_groups, ..Context::default() }
}

/// The confounder by which samples are labelled under `config`.
pub fn carried<'a>(config: &'a Config, trained: &'a Config) -> &'a ConfounderConfig {
    if config.confounder.strength > 0.0 { &config.confounder } else { &trained.confounder }
}

/// Bins are those of the grammar.
fn scale(factor: Factor) -> Scale {
    let (low, high) = factor.range();
    match factor {
        Factor::Shape => Scale::Kinds,
        circular if circular.is_circular() => Scale::Circle { period: high - low, bins: factor.bins() },
        _ => Scale::Line { low, high, bins: factor.bins() },
    }
}

type Panel = (BTreeMap<String, Measured>, BTreeMap<String, Vec<f64>>);

/// Every metric of the panel: its value, or why there is none; and the spectra that exist, by modality.
fn measured(config: &Config, evaluation: Evaluation, context: Context) -> Panel {
    let evaluation = match evaluation.with_context(context) {
        Ok(evaluation) => evaluation,
        Err(error) => return (all_missing(config, &error.to_string()), BTreeMap::new()),
    };
    let metrics = metric::measure(&evaluation, panel(config)).into_iter().map(|(name, value)| {
        let measured = value.map_or_else(|reason| Measured::Missing(reason.to_string()), Measured::Value);
        (name.to_string(), measured)
    });
    let spectrum = |m: metric::Modality| Some((m.name().to_string(), evaluation.spectrum(m).ok()?.to_vec()));
    let spectra = [metric::Modality::Img, metric::Modality::Txt].into_iter().filter_map(spectrum).collect();
    (metrics.collect(), spectra)
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
pub(super) fn embed_pairs(config: &Config, [img, txt]: &[Vec<f32>; 2], model: &Model<'_>) -> RawEmbeddings {
    embed(model.executor, &config.model, model.parameters, [img, txt], model.fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The room of metrics knows no factors, and prints how they are binned.
    #[test]
    fn the_printed_bins_are_those_of_the_factors() {
        let said = metric::CONVENTIONS.iter().find(|(term, _)| *term == "Groups").expect("a definition of groups").1;
        for factor in Factor::ALL {
            let (low, high) = factor.range();
            let expected = match factor {
                Factor::Shape => "disc, square".to_string(),
                Factor::Orientation | Factor::Phase => {
                    assert_eq!((low, high, factor.bins()), (0.0, std::f64::consts::TAU, 16));
                    "Orientation and phase have 16 bins from 0 to 2 pi".to_string()
                }
                _ => format!("{} {} from {low} to {high}", factor.name(), factor.bins()),
            };
            let said = if factor == Factor::Shape { metric::reference() } else { said.to_string() };
            assert!(said.contains(&expected), "{expected}");
        }
    }
}
