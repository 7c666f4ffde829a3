//! What the training of a pack follows: the contrastive loss, the terms added to it, and the gains of the outputs.

use burn::tensor::{Device, Tensor};

use super::balance::{Balance, WEIGHT_NAMES};
use super::info_nce::LossSettings;
use super::optimiser::lane_tensor;
use super::regulariser::moments::{Lanes, Minibatch, Term};
use super::regulariser::{Regulariser, active};
use crate::spec::config::TrainConfig;

/// The settings of the cells of a pack. What is switched off costs nothing.
#[derive(Clone)]
pub struct Objective {
    pub loss: LossSettings,
    pub balance: Option<Balance>,
    regularisers: Vec<(&'static Regulariser, Lanes)>,
    /// Of the encoders' outputs, `[C, 1, 1]` each, unless all are 1: a factor of 1 changes no bit.
    gains: Option<[Tensor<3>; 2]>,
}

impl Objective {
    /// `gains` has a pair per cell: image, text.
    pub fn new(cells: &[&TrainConfig], gains: &[[f64; 2]], device: &Device) -> Self {
        let lanes = |f: fn(&TrainConfig) -> f64| lane_tensor(cells.iter().map(|c| f(c)), device);
        let loss = LossSettings::new(cells, device);
        let on = cells.first().into_iter().flat_map(|c| active(c));
        let off_diagonal = |c: &TrainConfig| c.redundancy_off_diagonal;
        Self {
            balance: Balance::new(cells, &loss, device),
            loss,
            regularisers: on
                .map(|r| (r, Lanes { weight: lanes(r.weight), off_diagonal: lanes(off_diagonal) }))
                .collect(),
            gains: gains
                .iter()
                .flatten()
                .any(|g| *g != 1.0)
                .then(|| [0, 1].map(|m| lane_tensor(gains.iter().map(|g| g[m]), device))),
        }
    }

    /// The gain of a modality's output.
    pub fn gain(&self, modality: usize) -> Option<&Tensor<3>> {
        self.gains.as_ref().map(|gains| &gains[modality])
    }

    /// The terms of a minibatch, with their weights `[C, 1, 1]`.
    pub fn terms(&self, minibatch: &Minibatch<'_>) -> Vec<(Term, &Tensor<3>)> {
        self.regularisers.iter().map(|(r, lanes)| ((r.tensors)(minibatch, lanes), &lanes.weight)).collect()
    }
}

/// Names of the series that a step has beside its losses: terms that are on, before their weights, and weights that are
/// balanced.
pub fn further_series(train: &TrainConfig) -> Vec<&'static str> {
    let weights = WEIGHT_NAMES.iter().filter(|_| train.balance > 0.0);
    active(train).map(|r| r.series).chain(weights.copied()).collect()
}
