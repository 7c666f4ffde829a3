//! One cell's model, and one training step of it.

use pulp::Arch;

use super::balance::{self, Averages};
use super::encoder::{self, Encoder, break_columns};
use super::info_nce::{self, Loss, LossSettings};
use super::optimiser::{State, descend, descends, gradient_norms, update};
use super::regulariser;
use crate::aligner::fault::Fault;
use crate::aligner::parameters::{HostEncoder, Widths};
use crate::aligner::regulariser::active;
use crate::spec::config::TrainConfig;

/// Parameters and state of one cell.
#[derive(Debug)]
pub struct Model {
    /// Image, text.
    pub parameters: [Encoder; 2],
    state: State,
    averages: Averages,
}

/// What one cell follows and how it moves.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    pub train: &'a TrainConfig,
    loss: LossSettings,
    /// Factors of the encoders' outputs: image, text.
    pub gains: [f32; 2],
    regularises: bool,
}

impl<'a> Settings<'a> {
    pub fn new(train: &'a TrainConfig, gains: [f64; 2]) -> Self {
        let regularises = active(train).next().is_some();
        Self { train, loss: LossSettings::of(train), gains: gains.map(|g| g as f32), regularises }
    }
}

impl Model {
    pub fn new(parameters: [&HostEncoder; 2], widths: [Widths; 2], train: &TrainConfig) -> Self {
        let parameters = [0, 1].map(|m| Encoder::from_host(parameters[m], widths[m]));
        Self { parameters, state: State::new(train, widths), averages: None }
    }

    /// All parameters, tensor by tensor in the order of `Parameters::names`.
    pub fn to_host(&self) -> Vec<Vec<f32>> {
        tensors(&self.parameters)
    }
}

/// The tensors of both encoders on the host.
pub fn tensors(encoders: &[Encoder; 2]) -> Vec<Vec<f32>> {
    encoders.iter().flat_map(|e| e.tensors().map(|t| t.values())).collect()
}

impl LossSettings {
    pub fn of(train: &TrainConfig) -> Self {
        Self {
            inverse_temperature: (1.0 / train.temperature) as f32,
            weight_i2t: train.weight_i2t as f32,
            weight_t2i: train.weight_t2i as f32,
        }
    }
}

/// What a step works in: one per thread, for cells of one shape. Nothing is allocated after the first step.
#[derive(Debug)]
pub struct Workspace {
    arch: Arch,
    /// Image, text.
    pub modalities: [encoder::Workspace; 2],
    loss: info_nce::Workspace,
    /// Made by the first step that needs it.
    regulariser: Option<regulariser::Workspace>,
    balance: Option<balance::Workspace>,
    /// See [`Self::further`].
    further: Vec<f32>,
    pub gradients: [Encoder; 2],
}

impl Workspace {
    pub fn new(batch: usize, widths: [Widths; 2]) -> Self {
        Self {
            arch: super::arch(),
            modalities: widths.map(|w| encoder::Workspace::new(batch, w)),
            loss: info_nce::Workspace::new(batch, widths[0].embedding),
            regulariser: None,
            balance: None,
            further: Vec::new(),
            gradients: widths.map(Encoder::zeros),
        }
    }

    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// Rows that `x` holds.
    pub fn batch(&self) -> usize {
        self.modalities[0].x.rows()
    }

    /// What the last step recorded beside its loss, by the names of
    /// [`further_series`](crate::aligner::objective::further_series).
    pub fn further(&self) -> &[f32] {
        &self.further
    }

    /// Normalised embeddings of both modalities' `x`, into their `z`.
    pub fn forward(&mut self, parameters: &[Encoder; 2], gains: [f32; 2], fault: Option<Fault>) {
        for ((modality, encoder), gain) in self.modalities.iter_mut().zip(parameters).zip(gains) {
            modality.forward(self.arch, encoder, gain, fault);
        }
    }

    /// The contrastive loss of both modalities' `z`, its gradients into their `d_z`; the weights in use where they
    /// follow gradients.
    fn contrast(&mut self, averages: &mut Averages, settings: Settings<'_>) -> (Loss, Option<[f32; 2]>) {
        let (arch, Settings { loss, train, .. }) = (self.arch, settings);
        if train.balance > 0.0 {
            let (batch, embedding) = (self.batch(), self.modalities[0].z.columns());
            let balance = self.balance.get_or_insert_with(|| balance::Workspace::new(batch, embedding));
            let (contrast, modalities) = (&mut self.loss, &mut self.modalities);
            let (loss, weights) = balance.contrast(arch, contrast, modalities, loss, train.balance as f32, averages);
            return (loss, Some(weights));
        }
        let [img, txt] = &mut self.modalities;
        (self.loss.info_nce(arch, [&img.z, &txt.z], [&mut img.d_z, &mut txt.d_z], loss), None)
    }

    /// Loss of the minibatch in both modalities' `x`, and the backward pass up to the weights.
    ///
    /// **Returns** the loss; the total is not-a-number for a cell whose embeddings overflowed.
    fn loss(&mut self, model: &mut Model, settings: Settings<'_>, fault: Option<Fault>) -> Loss {
        self.forward(&model.parameters, settings.gains, fault);
        let (mut loss, weights) = self.contrast(&mut model.averages, settings);
        if !self.modalities.iter().all(encoder::Workspace::norms_are_finite) {
            loss[0] = f32::NAN;
        }
        for modality in &mut self.modalities {
            break_columns(Fault::InfoNceGradient, fault, &mut modality.d_z);
        }
        self.further.clear();
        let mut along = 0.0;
        if settings.regularises {
            let (batch, embedding) = (self.batch(), self.modalities[0].z.columns());
            let workspace = self.regulariser.get_or_insert_with(|| regulariser::Workspace::new(batch, embedding));
            let (modalities, further) = (&mut self.modalities, &mut self.further);
            let (terms, pull) = workspace.add(self.arch, modalities, settings.train, further, fault);
            (loss[0], along) = (loss[0] + terms, pull);
        }
        self.further.extend(weights.into_iter().flatten());
        let modalities = self.modalities.iter_mut().zip(&model.parameters);
        for ((modality, encoder), gain) in modalities.zip(settings.gains) {
            modality.backward(self.arch, encoder, gain, along, fault);
        }
        loss
    }

    /// Loss of the minibatch in both modalities' `x`, and its gradients, into `gradients`.
    ///
    /// **Returns** the loss; the total is not-a-number for a cell whose embeddings overflowed.
    pub fn loss_and_gradients(&mut self, model: &mut Model, settings: Settings<'_>, fault: Option<Fault>) -> Loss {
        let loss = self.loss(model, settings, fault);
        for (modality, gradient) in self.modalities.iter().zip(&mut self.gradients) {
            modality.gradients(self.arch, gradient);
        }
        loss
    }

    /// Updates a model with the gradients at hand; `step` counts from 1.
    pub fn update(&self, model: &mut Model, train: &TrainConfig, step: u64) {
        update(self.arch, &mut model.parameters, &self.gradients, &mut model.state, train, step);
    }

    /// One training step of a model on the minibatch in both modalities' `x`; `step` counts from 1.
    ///
    /// **Returns** the loss before the update and, if asked for, the norms of the gradients.
    pub fn step(
        &mut self,
        model: &mut Model,
        settings: Settings<'_>,
        step: u64,
        record_norms: bool,
        fault: Option<Fault>,
    ) -> (Loss, Option<[f32; 6]>) {
        let train = settings.train;
        if !record_norms && descends(train) {
            let loss = self.loss(model, settings, fault);
            let modalities = self.modalities.iter().zip(&mut self.gradients);
            for ((modality, scratch), parameters) in modalities.zip(&mut model.parameters) {
                descend(self.arch, modality, scratch, parameters, train, step);
            }
            return (loss, None);
        }
        let loss = self.loss_and_gradients(model, settings, fault);
        let norms = record_norms.then(|| {
            let [img, txt] = self.gradients.each_ref().map(|g| gradient_norms(self.arch, g));
            [img[0], img[1], img[2], txt[0], txt[1], txt[2]]
        });
        self.update(model, train, step);
        (loss, norms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aligner::parameters::{MODALITIES, xavier};
    use crate::numerics::stream::Streams;

    #[test]
    fn a_step_has_the_same_bits_whether_or_not_its_gradients_are_looked_at() {
        let widths = [(30, 20), (19, 7)].map(|(inputs, hidden)| Widths { inputs, hidden, embedding: 5 });
        let host = [0, 1].map(|m| xavier(1, MODALITIES[m], widths[m]));
        let train = TrainConfig {
            optimiser: crate::spec::config::Optimiser::Sgd,
            momentum: 0.0,
            weight_decay: 0.01,
            learning_rate: 0.3,
            ..TrainConfig::default()
        };
        assert!(descends(&train));
        let run = |record_norms: bool| {
            let mut workspace = Workspace::new(11, widths);
            let mut stream = Streams::new(0, "native.cell").item(0);
            for modality in &mut workspace.modalities {
                let columns = modality.x.columns();
                for row in 0..11 {
                    modality.x.row_mut(row)[..columns].iter_mut().for_each(|v| *v = stream.normal() as f32);
                }
            }
            let mut model = Model::new(host.each_ref(), widths, &train);
            let settings = Settings::new(&train, [1.0, 1.0]);
            let losses: Vec<Loss> =
                (1..=5).map(|step| workspace.step(&mut model, settings, step, record_norms, None).0).collect();
            (losses, model.to_host())
        };
        assert_eq!(run(true), run(false));
    }
}
