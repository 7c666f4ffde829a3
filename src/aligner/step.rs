//! One training step of a pack: loss, analytic gradients and their norms.

use burn::tensor::Tensor;

use super::encoder::{backward, forward};
use super::fault::Fault;
use super::info_nce::{Loss, LossSettings, info_nce};
use super::optimiser::squared_norm;
use super::parameters::Parameters;

/// Loss and gradients of one minibatch.
#[derive(Clone, Debug)]
pub struct StepGradients {
    pub loss: Loss,
    pub gradients: Parameters,
    /// Normalised embeddings `[C, B, D]`.
    pub z_img: Tensor<3>,
    pub z_txt: Tensor<3>,
}

/// Loss and analytic gradients.
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
    let (z_img, z_txt) = (img.unit.clone(), txt.unit.clone());
    let (loss, d_img, d_txt) = info_nce(&z_img, &z_txt, settings);
    let d_img = Fault::InfoNceGradient.breaks(fault, d_img);
    let gradients = Parameters {
        img: backward(&parameters.img, x_img, img, d_img, fault),
        txt: backward(&parameters.txt, x_txt, txt, d_txt, fault),
    };
    StepGradients { loss, gradients, z_img, z_txt }
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
