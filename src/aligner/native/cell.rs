//! One cell's model, and one training step of it.

use pulp::Arch;

use super::encoder::{self, Encoder, break_columns};
use super::info_nce::{self, Loss, LossSettings};
use super::optimiser::{State, descend, descends, gradient_norms, update};
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
        Self { parameters, state: State::new(train, widths) }
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

    /// Normalised embeddings of both modalities' `x`, into their `z`.
    pub fn forward(&mut self, parameters: &[Encoder; 2], fault: Option<Fault>) {
        for (modality, encoder) in self.modalities.iter_mut().zip(parameters) {
            modality.forward(self.arch, encoder, fault);
        }
    }

    /// Loss of the minibatch in both modalities' `x`, and the backward pass up to the weights.
    ///
    /// **Returns** the loss; the total is not-a-number for a cell whose embeddings overflowed.
    fn loss(&mut self, parameters: &[Encoder; 2], settings: LossSettings, fault: Option<Fault>) -> Loss {
        self.forward(parameters, fault);
        let [img, txt] = &mut self.modalities;
        let z = [&img.z, &txt.z];
        let mut loss = self.loss.info_nce(self.arch, z, [&mut img.d_z, &mut txt.d_z], settings);
        if !self.modalities.iter().all(encoder::Workspace::norms_are_finite) {
            loss[0] = f32::NAN;
        }
        for (modality, encoder) in self.modalities.iter_mut().zip(parameters) {
            break_columns(Fault::InfoNceGradient, fault, &mut modality.d_z);
            modality.backward(self.arch, encoder, fault);
        }
        loss
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
        let loss = self.loss(parameters, settings, fault);
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
        train: &TrainConfig,
        settings: LossSettings,
        step: u64,
        record_norms: bool,
        fault: Option<Fault>,
    ) -> (Loss, Option<[f32; 6]>) {
        if !record_norms && descends(train) {
            let loss = self.loss(&model.parameters, settings, fault);
            let modalities = self.modalities.iter().zip(&mut self.gradients);
            for ((modality, scratch), parameters) in modalities.zip(&mut model.parameters) {
                descend(self.arch, modality, scratch, parameters, train);
            }
            return (loss, None);
        }
        let loss = self.loss_and_gradients(&model.parameters, settings, fault);
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
            let settings = LossSettings::of(&train);
            let losses: Vec<Loss> =
                (1..=5).map(|step| workspace.step(&mut model, &train, settings, step, record_norms, None).0).collect();
            (losses, model.to_host())
        };
        assert_eq!(run(true), run(false));
    }
}
