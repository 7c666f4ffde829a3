//! Symmetric InfoNCE and its gradient.

use burn::tensor::{Device, Tensor};

use super::optimiser::lane_tensor;
use crate::spec::config::TrainConfig;

/// Per-cell settings of the loss, each `[C, 1, 1]`.
#[derive(Clone, Debug)]
pub struct LossSettings {
    pub inverse_temperature: Tensor<3>,
    pub weight_i2t: Tensor<3>,
    pub weight_t2i: Tensor<3>,
}

/// The value of the loss, each `[C, 1, 1]`.
#[derive(Clone, Debug)]
pub struct Loss {
    /// `weight_i2t * i2t + weight_t2i * t2i`.
    pub total: Tensor<3>,
    pub i2t: Tensor<3>,
    pub t2i: Tensor<3>,
}

/// Symmetric InfoNCE over in-batch negatives, and its gradient with respect to the normalised embeddings.
///
/// With logits `S = z_img z_txt' / temperature`, the image-to-text loss is the mean over rows of
/// `logsumexp(S_i.) - S_ii`, the text-to-image loss the same over columns.
///
/// **Shapes**: embeddings `[C, B, D]`; returns the loss and the gradients for image and text, `[C, B, D]`.
///
/// **Numerics**: each direction subtracts its own maximum before the exponential, so that no row or column overflows
/// or vanishes at temperatures down to 1e-3.
///
/// **Source**: van den Oord et al. 2018 (InfoNCE); Radford et al. 2021 (the symmetric form).
pub fn info_nce(z_img: &Tensor<3>, z_txt: &Tensor<3>, settings: &LossSettings) -> (Loss, Tensor<3>, Tensor<3>) {
    let batch = z_img.dims()[1] as f64;
    let scaled_img = z_img.clone() * settings.inverse_temperature.clone();
    let logits = scaled_img.clone().matmul(z_txt.clone().transpose());
    let own = (scaled_img * z_txt.clone()).sum_dim(2).mean_dim(1);

    let (softmax_i2t, mean_lse_i2t) = softmax_and_lse(&logits, 2);
    let (softmax_t2i, mean_lse_t2i) = softmax_and_lse(&logits, 1);
    let i2t = mean_lse_i2t - own.clone();
    let t2i = mean_lse_t2i - own;
    let total = i2t.clone() * settings.weight_i2t.clone() + t2i.clone() * settings.weight_t2i.clone();

    // dL/dS = (weighted softmaxes - (sum of weights) I) / B; the identity is applied to the embeddings directly.
    let weights = settings.weight_i2t.clone() + settings.weight_t2i.clone();
    let scale = settings.inverse_temperature.clone() / batch;
    let pull = softmax_i2t.weighted(&settings.weight_i2t) + softmax_t2i.weighted(&settings.weight_t2i);
    let d_img = (pull.clone().matmul(z_txt.clone()) - z_txt.clone() * weights.clone()) * scale.clone();
    let d_txt = (pull.transpose().matmul(z_img.clone()) - z_img.clone() * weights) * scale;
    (Loss { total, i2t, t2i }, d_img, d_txt)
}

/// Shifted exponentials and their sums along one dimension.
struct Softmax {
    exponentials: Tensor<3>,
    sums: Tensor<3>,
}

impl Softmax {
    /// `weight * softmax`, with the weight folded into the small tensor.
    fn weighted(self, weight: &Tensor<3>) -> Tensor<3> {
        self.exponentials * (weight.clone() / self.sums)
    }
}

/// Softmax of `logits [C, B, B]` along `dim`, and the mean log-sum-exp `[C, 1, 1]` over the other.
fn softmax_and_lse(logits: &Tensor<3>, dim: usize) -> (Softmax, Tensor<3>) {
    let max = logits.clone().max_dim(dim);
    let exponentials = (logits.clone() - max.clone()).exp();
    let sums = exponentials.clone().sum_dim(dim);
    let mean_lse = (sums.clone().log() + max).mean_dim(3 - dim);
    (Softmax { exponentials, sums }, mean_lse)
}

impl LossSettings {
    /// The settings of the cells of a pack.
    pub fn new(cells: &[&TrainConfig], device: &Device) -> Self {
        let lanes = |f: fn(&TrainConfig) -> f64| lane_tensor(cells.iter().map(|c| f(c)), device);
        Self {
            inverse_temperature: lanes(|c| 1.0 / c.temperature),
            weight_i2t: lanes(|c| c.weight_i2t),
            weight_t2i: lanes(|c| c.weight_t2i),
        }
    }
}
