//! One cell's model, and one training step of it.

use pulp::Arch;

use super::encoder::{self, Encoder, break_columns};
use super::info_nce::{self, Loss, LossSettings};
use super::optimiser::{State, update};
use crate::aligner::fault::Fault;
use crate::aligner::parameters::{HostEncoder, Widths};
use crate::spec::config::TrainConfig;

/// Parameters and optimiser state of one cell.
#[derive(Debug)]
pub struct Model {
    /// Image, text.
    pub parameters: [Encoder; 2],
    state: State,
}

impl Model {
    pub fn new(parameters: [&HostEncoder; 2], widths: [Widths; 2], train: &TrainConfig) -> Self {
        let parameters = [0, 1].map(|m| Encoder::from_host(parameters[m], widths[m]));
        Self { parameters, state: State::new(train.optimiser, widths) }
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
    pub gradients: [Encoder; 2],
}

impl Workspace {
    pub fn new(batch: usize, widths: [Widths; 2]) -> Self {
        Self {
            arch: super::arch(),
            modalities: widths.map(|w| encoder::Workspace::new(batch, w)),
            loss: info_nce::Workspace::new(batch, widths[0].embedding),
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

    /// Normalised embeddings of both modalities' `x`, into their `unit`.
    pub fn forward(&mut self, parameters: &[Encoder; 2], fault: Option<Fault>) {
        for (modality, encoder) in self.modalities.iter_mut().zip(parameters) {
            modality.forward(self.arch, encoder, fault);
        }
    }

    /// Loss of the minibatch in both modalities' `x`, and its gradients, into `gradients`.
    ///
    /// **Returns** the loss; the total is not-a-number for a cell whose embeddings overflowed.
    pub fn loss_and_gradients(
        &mut self,
        parameters: &[Encoder; 2],
        settings: LossSettings,
        fault: Option<Fault>,
    ) -> Loss {
        self.forward(parameters, fault);
        let [img, txt] = &mut self.modalities;
        let units = [&img.unit, &txt.unit];
        let mut loss = self.loss.info_nce(self.arch, units, [&mut img.d_unit, &mut txt.d_unit], settings);
        if !self.modalities.iter().all(encoder::Workspace::norms_are_finite) {
            loss[0] = f32::NAN;
        }
        for (m, modality) in self.modalities.iter_mut().enumerate() {
            break_columns(Fault::InfoNceGradient, fault, &mut modality.d_unit);
            modality.backward(self.arch, &parameters[m], &mut self.gradients[m], fault);
        }
        loss
    }

    /// Updates a model with the gradients at hand; `step` counts from 1.
    pub fn update(&self, model: &mut Model, train: &TrainConfig, step: u64) {
        update(self.arch, &mut model.parameters, &self.gradients, &mut model.state, train, step);
    }
}
