//! One training step of a pack: loss, analytic gradients and their norms.

use burn::tensor::Tensor;

use super::balance::Averages;
use super::encoder::{Upstream, backward, forward};
use super::fault::Fault;
use super::info_nce::{Loss, info_nce};
use super::kernel::norms::{mark_overflow, squared_norm};
use super::objective::Objective;
use super::parameters::Parameters;
use super::regulariser::moments::{Minibatch, Pull};

/// Loss and gradients of one minibatch.
#[derive(Clone, Debug)]
pub struct StepGradients {
    pub loss: Loss,
    /// Each `[C, 1, 1]`, in the order of [`further_series`](super::objective::further_series).
    pub further: Vec<Tensor<3>>,
    pub gradients: Parameters,
    /// For the next step, where the directions are balanced.
    pub averages: Option<Averages>,
}

/// Loss and analytic gradients.
///
/// **Returns** the total loss in nats, the terms added to it included, not-a-number for a cell whose embeddings
/// overflowed, and the gradients of the parameters.
///
/// **Shapes**: `x_img [C, B, P_img]`, `x_txt [C, B, P_txt]`; row `b` of both is a pair. `averages` are those of the step
/// before, if there was one.
pub fn loss_and_gradients(
    parameters: &Parameters,
    [x_img, x_txt]: [Tensor<3>; 2],
    objective: &Objective,
    averages: Option<&Averages>,
    fault: Option<Fault>,
) -> StepGradients {
    let img = forward(&parameters.img, x_img.clone(), objective.gain(0), fault);
    let txt = forward(&parameters.txt, x_txt.clone(), objective.gain(1), fault);
    let (mut loss, d_units, weights, averages) = match &objective.balance {
        None => {
            let (loss, d_img, d_txt) = info_nce(&img.unit, &txt.unit, &objective.loss);
            (loss, [d_img, d_txt], None, None)
        }
        Some(balance) => {
            let balanced = balance.contrast(&objective.loss, [&img, &txt], averages);
            (balanced.loss, balanced.d_units, Some(balanced.weights), Some(balanced.averages))
        }
    };
    loss.total = mark_overflow(loss.total, [&img.norm, &txt.norm]);
    let [d_img, d_txt] = d_units;
    let d_img = Fault::InfoNceGradient.breaks(fault, d_img);

    let minibatch = Minibatch::new([&img.unit, &txt.unit], [&img.norm, &txt.norm]);
    let (mut further, mut pull) = (Vec::new(), Pull::default());
    for (term, weight) in objective.terms(&minibatch) {
        loss.total = loss.total + term.value.clone() * weight.clone();
        pull = pull.plus(term.pull);
        further.push(term.value);
    }
    further.extend(weights.into_iter().flatten());
    let [d_img, d_txt] = pull.add_to([d_img, d_txt], &minibatch, fault);

    let upstream = |unit: Tensor<3>| Upstream { unit, raw: pull.raw.clone() };
    let gradients = Parameters {
        img: backward(&parameters.img, x_img, img, upstream(d_img), objective.gain(0), fault),
        txt: backward(&parameters.txt, x_txt, txt, upstream(d_txt), objective.gain(1), fault),
    };
    StepGradients { loss, further, gradients, averages }
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
