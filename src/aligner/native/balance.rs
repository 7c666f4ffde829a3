//! Weights of the two directions that follow their gradient norms: the same as [`crate::aligner::balance`].

use pulp::Arch;

use super::encoder;
use super::info_nce::{self, Loss, LossSettings};
use super::matrix::Matrix;
use crate::aligner::balance::{BOUND, TINY};

/// Averages of the norms of a cell's directions, once there are any: image-to-text, text-to-image.
pub type Averages = Option<[f32; 2]>;

/// What balancing works in: the gradients of the second direction, `[B, D]`.
#[derive(Debug)]
pub struct Workspace {
    d_units: [Matrix; 2],
}

impl Workspace {
    pub fn new(batch: usize, embedding: usize) -> Self {
        Self { d_units: [0; 2].map(|_| Matrix::zeros(batch, embedding)) }
    }

    /// The loss of the embeddings in both modalities' `z`, its gradients into their `d_z`, with weights that take these
    /// into account.
    ///
    /// **Returns** the loss and the weights in use.
    pub fn contrast(
        &mut self,
        arch: Arch,
        loss: &mut info_nce::Workspace,
        modalities: &mut [encoder::Workspace; 2],
        settings: LossSettings,
        rate: f32,
        averages: &mut Averages,
    ) -> (Loss, [f32; 2]) {
        let side = |[weight_i2t, weight_t2i]: [f32; 2]| LossSettings { weight_i2t, weight_t2i, ..settings };
        let [img, txt] = &mut *modalities;
        let z = [&img.z, &txt.z];
        let [_, i2t, t2i] = loss.info_nce(arch, z, [&mut img.d_z, &mut txt.d_z], side([1.0, 0.0]));
        let [other_img, other_txt] = &mut self.d_units;
        loss.info_nce(arch, z, [other_img, other_txt], side([0.0, 1.0]));

        let norm = |d: [&Matrix; 2]| {
            let squares = modalities.iter().zip(d).map(|(m, d)| m.squared_norm_before(arch, d));
            squares.sum::<f32>().sqrt()
        };
        let norms = [norm([&modalities[0].d_z, &modalities[1].d_z]), norm(self.d_units.each_ref())];
        let followed = match *averages {
            Some(before) => [0, 1].map(|i| before[i] + (norms[i] - before[i]) * rate),
            None => norms,
        };
        *averages = Some(followed);
        let [a, b] = [settings.weight_i2t, settings.weight_t2i];
        let scaled = a * ((followed[1] + TINY) / (followed[0] + TINY)).clamp(1.0 / BOUND, BOUND);
        let share = (a + b) / (scaled + b);
        let weights = [scaled * share, b * share];
        for (modality, other) in modalities.iter_mut().zip(&self.d_units) {
            let each = modality.d_z.padded_mut().iter_mut().zip(other.padded());
            each.for_each(|(d, other)| *d = *d * weights[0] + other * weights[1]);
        }
        ([i2t * weights[0] + t2i * weights[1], i2t, t2i], weights)
    }
}
