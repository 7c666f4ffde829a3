//! The aligner again, for one cell, in plain f64 loops: the independent reference that gradients and losses are
//! checked against. Written from the definitions, not from the tensor program; slow on purpose.

use super::parameters::Widths;
use super::regulariser::active;
use crate::numerics::linalg::NORM_GUARD;
use crate::spec::config::TrainConfig;

/// One cell's loss at a minibatch.
#[derive(Clone, Debug)]
pub struct Reference<'a> {
    pub widths: [Widths; 2],
    /// Row-major `[B, P]`, image then text.
    pub x: [&'a [f64]; 2],
    /// Factors of the encoders' outputs.
    pub gains: [f64; 2],
    /// Directions have the weights that stand here: none are balanced.
    pub train: &'a TrainConfig,
}

/// Embeddings of one modality, row-major `[B, D]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    pub raw: Vec<f64>,
    /// Normalised.
    pub unit: Vec<f64>,
}

/// The columns of unit vectors of `width` entries, scaled by its root: isotropic ones have variance 1.
pub fn columns(embedded: &Embedded, width: usize) -> impl Iterator<Item = Vec<f64>> {
    let scale = (width as f64).sqrt();
    (0..width).map(move |axis| embedded.unit.iter().skip(axis).step_by(width).map(|z| z * scale).collect())
}

/// Loss values.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceLoss {
    pub total: f64,
    pub i2t: f64,
    pub t2i: f64,
    /// Of the regularisers that are on, in their order, before their weights.
    pub terms: Vec<f64>,
}

impl Reference<'_> {
    /// Embeddings of modality `m` (0 image, 1 text) under `[w1, b1, w2, b2]`.
    pub fn embed(&self, m: usize, parameters: &[Vec<f64>]) -> Embedded {
        let Widths { inputs, hidden, embedding } = self.widths[m];
        let mut out = Embedded { raw: Vec::new(), unit: Vec::new() };
        for row in self.x[m].chunks(inputs) {
            let h = dense(row, &parameters[0], &parameters[1], hidden).into_iter().map(f64::tanh).collect::<Vec<_>>();
            let mut raw = dense(&h, &parameters[2], &parameters[3], embedding);
            raw.iter_mut().for_each(|u| *u *= self.gains[m]);
            let norm = (raw.iter().map(|u| u * u).sum::<f64>() + NORM_GUARD).sqrt();
            out.unit.extend(raw.iter().map(|u| u / norm));
            out.raw.extend(raw);
        }
        out
    }

    /// The loss under all eight tensors, in the order of `Parameters::names`, in nats.
    pub fn loss(&self, parameters: &[Vec<f64>]) -> ReferenceLoss {
        self.loss_of(&[self.embed(0, &parameters[..4]), self.embed(1, &parameters[4..])])
    }

    /// The loss of embeddings.
    pub fn loss_of(&self, embedded: &[Embedded; 2]) -> ReferenceLoss {
        let d = self.widths[0].embedding;
        let [z_img, z_txt] = embedded.each_ref().map(|e| &e.unit);
        let b = z_img.len() / d;
        let logit = |i: usize, j: usize| {
            let dot: f64 = (0..d).map(|k| z_img[i * d + k] * z_txt[j * d + k]).sum();
            dot / self.train.temperature
        };
        let mean = |f: &dyn Fn(usize) -> f64| (0..b).map(f).sum::<f64>() / b as f64;
        let i2t = mean(&|i| log_sum_exp((0..b).map(|j| logit(i, j))) - logit(i, i));
        let t2i = mean(&|j| log_sum_exp((0..b).map(|i| logit(i, j))) - logit(j, j));
        let mut total = self.train.weight_i2t * i2t + self.train.weight_t2i * t2i;
        let terms: Vec<f64> = active(self.train).map(|r| (r.reference)(embedded, d, self.train)).collect();
        total += active(self.train).zip(&terms).map(|(r, term)| (r.weight)(self.train) * term).sum::<f64>();
        ReferenceLoss { total, i2t, t2i, terms }
    }

    /// Central difference of the total loss along coordinate `index` of tensor `tensor`.
    ///
    /// **Numerics**: the loss bends on the scale of the temperature, so the step shrinks with it. The truncation error
    /// is then of order 1e-10 of the gradient; the rounding error, of order 1e-16 times the loss over the step, reaches
    /// 1e-8 of a gradient of order `1 / temperature` at a temperature of 1e-3.
    pub fn central_difference(&self, parameters: &[Vec<f64>], tensor: usize, index: usize) -> f64 {
        let step = CENTRAL_STEP * parameters[tensor][index].abs().max(1.0) * self.train.temperature.min(1.0);
        // Only the encoder that holds the tensor moves.
        let (moving, own) = (tensor / 4, if tensor < 4 { 0..4 } else { 4..8 });
        let mut embedded = [self.embed(0, &parameters[..4]), self.embed(1, &parameters[4..])];
        let mut moved = parameters[own].to_vec();
        let mut at = |offset: f64| {
            moved[tensor % 4][index] = parameters[tensor][index] + offset;
            embedded[moving] = self.embed(moving, &moved);
            self.loss_of(&embedded).total
        };
        (at(step) - at(-step)) / (2.0 * step)
    }
}

/// Step of the central differences, times the temperature when that is below 1: the loss bends on that scale.
const CENTRAL_STEP: f64 = 1e-5;

fn dense(x: &[f64], w: &[f64], b: &[f64], width: usize) -> Vec<f64> {
    let mut out = b.to_vec();
    for (v, row) in x.iter().zip(w.chunks_exact(width)) {
        out.iter_mut().zip(row).for_each(|(o, w)| *o += v * w);
    }
    out
}

fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let max = values.clone().fold(f64::NEG_INFINITY, f64::max);
    max + values.map(|v| (v - max).exp()).sum::<f64>().ln()
}
