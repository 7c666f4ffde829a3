//! Weights of the two directions of the loss that follow their gradient norms.
//!
//! A direction whose gradient is consistently larger loses weight to the other. The gradient of a direction is what it
//! alone, at weight 1, sends into the encoders: its gradient with respect to the raw embeddings of both modalities. The
//! radial part of a gradient with respect to unit vectors, which the normalisation takes away, is no part of it.
//!
//! With `n` the Euclidean norms of the two, an average follows each, `e += rate (n - e)`, from the first norm on. With
//! `q = e_t2i / e_i2t`, clipped to `1 / 4 .. 4`, and the weights `a` and `b` of the spec, the weights in use are
//! `(a + b) a q / (a q + b)` and `(a + b) b / (a q + b)`: they keep their sum, and contributions go towards
//! the proportion of `a` to `b`. They are constants to the gradient: it is that of the loss with these weights fixed,
//! which is how `gradcheck` checks it. What changes is the loss that is followed, from step to step.
//!
//! **Source**: the inverse-norm rule of Chen et al. 2018 (GradNorm) in closed form, for two terms.

use burn::tensor::{Device, Tensor};

use super::encoder::Activations;
use super::info_nce::{Loss, LossSettings, info_nce};
use super::kernel::normalise::normalise_backward;
use super::kernel::norms::squared_norm;
use super::optimiser::lane_tensor;
use crate::spec::config::TrainConfig;

/// How far, as a factor, the ratio of the two weights may leave that of the spec: far enough for a twofold imbalance
/// that the average overshoots, and not so far that a direction is lost.
pub const BOUND: f32 = 4.0;

/// Keeps the ratio of two norms of zero at 1: far below a norm that moves a parameter, far above the smallest f32.
pub const TINY: f32 = 1e-30;

/// Names of the series of the weights in use.
pub const WEIGHT_NAMES: [&str; 2] = ["weight_i2t", "weight_t2i"];

/// Averages of the norms of a pack's directions, each `[C, 1, 1]`: image-to-text, text-to-image.
pub type Averages = [Tensor<3>; 2];

/// Settings of a pack whose weights follow.
#[derive(Clone, Debug)]
pub struct Balance {
    rate: Tensor<3>,
    /// The loss of each direction alone, at weight 1.
    sides: [LossSettings; 2],
}

/// The contrastive loss with the weights in use.
pub struct Balanced {
    pub loss: Loss,
    /// Gradients with respect to the normalised embeddings `[C, B, D]`: image, text.
    pub d_units: [Tensor<3>; 2],
    /// In the order of [`WEIGHT_NAMES`], each `[C, 1, 1]`.
    pub weights: [Tensor<3>; 2],
    pub averages: Averages,
}

impl Balance {
    /// That of the cells of a pack, when the first has it on: it is a switch.
    pub fn new(cells: &[&TrainConfig], loss: &LossSettings, device: &Device) -> Option<Self> {
        let on = cells.first().is_some_and(|c| c.balance > 0.0);
        let side = |weights: [f64; 2]| {
            let [weight_i2t, weight_t2i] = weights.map(|w| lane_tensor(cells.iter().map(|_| w), device));
            LossSettings { inverse_temperature: loss.inverse_temperature.clone(), weight_i2t, weight_t2i }
        };
        on.then(|| Self {
            rate: lane_tensor(cells.iter().map(|c| c.balance), device),
            sides: [side([1.0, 0.0]), side([0.0, 1.0])],
        })
    }

    /// The loss of a minibatch, with weights that take its own gradients into account.
    pub fn contrast(&self, loss: &LossSettings, [img, txt]: [&Activations; 2], before: Option<&Averages>) -> Balanced {
        let [one, other] = self.sides.each_ref().map(|side| info_nce(&img.unit, &txt.unit, side));
        let norm = |d_img: &Tensor<3>, d_txt: &Tensor<3>| {
            let squares = |d: &Tensor<3>, to: &Activations| {
                squared_norm(&normalise_backward(d.clone(), to.unit.clone(), to.norm.clone()).0)
            };
            (squares(d_img, img) + squares(d_txt, txt)).sqrt()
        };
        let norms = [norm(&one.1, &one.2), norm(&other.1, &other.2)];
        let averages = match before {
            Some([i2t, t2i]) => {
                let [n_i2t, n_t2i] = norms;
                let follow = |e: &Tensor<3>, n: Tensor<3>| e.clone() + (n - e.clone()) * self.rate.clone();
                [follow(i2t, n_i2t), follow(t2i, n_t2i)]
            }
            None => norms,
        };
        let [e_i2t, e_t2i] = averages.each_ref().map(|e| e.clone().add_scalar(TINY));
        let scaled = loss.weight_i2t.clone() * (e_t2i / e_i2t).clamp(1.0 / BOUND, BOUND);
        let share = (loss.weight_i2t.clone() + loss.weight_t2i.clone()) / (scaled.clone() + loss.weight_t2i.clone());
        let weights = [scaled * share.clone(), loss.weight_t2i.clone() * share];
        let mixed = |i2t: Tensor<3>, t2i: Tensor<3>| i2t * weights[0].clone() + t2i * weights[1].clone();
        let Loss { i2t, t2i, .. } = one.0;
        Balanced {
            loss: Loss { total: mixed(i2t.clone(), t2i.clone()), i2t, t2i },
            d_units: [mixed(one.1, other.1), mixed(one.2, other.2)],
            weights,
            averages,
        }
    }
}
