//! One training step of a pack: loss, analytic gradients and their norms.

use burn::tensor::Tensor;

use super::encoder::{backward, forward};
use super::fault::Fault;
use super::info_nce::{Loss, LossSettings, info_nce};
use super::kernel::norms::{mark_overflow, squared_norm};
use super::parameters::Parameters;

/// Loss and gradients of one minibatch.
#[derive(Clone, Debug)]
pub struct StepGradients {
    pub loss: Loss,
    pub gradients: Parameters,
}

/// Loss and analytic gradients.
///
/// **Returns** the total loss in nats, not-a-number for a cell whose embeddings overflowed, and the gradients of the
/// parameters.
///
/// **Shapes**: `x_img [C, B, P_img]`, `x_txt [C, B, P_txt]`; row `b` of both is a pair.
pub fn loss_and_gradients(
    parameters: &Parameters,
    x_img: Tensor<3>,
    x_txt: Tensor<3>,
    settings: &LossSettings,
    fault: Option<Fault>,
) -> StepGradients {
    let img = forward(&parameters.img, x_img.clone(), fault);
    let txt = forward(&parameters.txt, x_txt.clone(), fault);
    let (mut loss, d_img, d_txt) = info_nce(&img.unit, &txt.unit, settings);
    loss.total = mark_overflow(loss.total, [&img.norm, &txt.norm]);
    let d_img = Fault::InfoNceGradient.breaks(fault, d_img);
    let gradients = Parameters {
        img: backward(&parameters.img, x_img, img, d_img, fault),
        txt: backward(&parameters.txt, x_txt, txt, d_txt, fault),
    };
    StepGradients { loss, gradients }
}

/// Names of the gradient-norm series, in the order of [`gradient_norms`].
pub const GRADIENT_NORM_NAMES: [&str; 6] = [
    "grad_norm_img",
    "grad_norm_img_layer1",
    "grad_norm_img_layer2",
    "grad_norm_txt",
    "grad_norm_txt_layer1",
    "grad_norm_txt_layer2",
];

/// Euclidean norms of the gradient before clipping, per modality and per layer (weights and biases together), each
/// `[C, 1, 1]`.
pub fn gradient_norms(gradients: &Parameters) -> Vec<Tensor<3>> {
    let mut norms = Vec::with_capacity(GRADIENT_NORM_NAMES.len());
    for encoder in gradients.encoders() {
        let layer1 = squared_norm(&encoder.w1) + squared_norm(&encoder.b1);
        let layer2 = squared_norm(&encoder.w2) + squared_norm(&encoder.b2);
        norms.push((layer1.clone() + layer2.clone()).sqrt());
        norms.push(layer1.sqrt());
        norms.push(layer2.sqrt());
    }
    norms
}
