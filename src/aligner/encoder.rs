//! The two-layer tanh encoder: forward pass and analytic backward pass.

use burn::tensor::Tensor;

use super::fault::Fault;
use super::parameters::Encoder;
use crate::numerics::linalg::NORM_GUARD;

/// What the forward pass leaves for the backward pass.
#[derive(Clone, Debug)]
pub struct Activations {
    /// `[C, B, H]`, after the tanh.
    pub hidden: Tensor<3>,
    /// `[C, B, 1]`, norms of the raw embeddings.
    pub norm: Tensor<3>,
    /// `[C, B, D]`, L2-normalised embeddings.
    pub unit: Tensor<3>,
}

/// Raw embeddings, before normalisation.
///
/// **Shapes**: `x [C, N, P]`.
///
/// **Returns** raw embeddings `[C, N, D]` and the hidden activations `[C, N, H]`, in -1 to 1.
pub fn embed(encoder: &Encoder, x: Tensor<3>, fault: Option<Fault>) -> (Tensor<3>, Tensor<3>) {
    let hidden = Fault::Tanh.breaks(fault, (x.matmul(encoder.w1.clone()) + encoder.b1.clone()).tanh());
    let raw = hidden.clone().matmul(encoder.w2.clone()) + encoder.b2.clone();
    (raw, hidden)
}

/// Forward pass: `unit = raw / sqrt(|raw|^2 + NORM_GUARD)`.
///
/// **Shapes**: `x [C, N, P]`.
///
/// **Numerics**: a raw embedding longer than 1.8e19 overflows: its norm is infinite and its unit vector 0, which no
/// loss notices. [`loss_and_gradients`](super::step::loss_and_gradients) therefore looks at the norms.
pub fn forward(encoder: &Encoder, x: Tensor<3>, fault: Option<Fault>) -> Activations {
    let (raw, hidden) = embed(encoder, x, fault);
    let norm = (raw.clone() * raw.clone()).sum_dim(2).add_scalar(NORM_GUARD).sqrt();
    let unit = Fault::Normalise.breaks(fault, raw / norm.clone());
    Activations { hidden, norm, unit }
}

/// Gradients of a loss with respect to the parameters, given its gradient with respect to the normalised embeddings.
///
/// **Shapes**: `x [C, B, P]`, `d_unit [C, B, D]`.
///
/// **Returns** gradients of the shapes of `encoder`.
///
/// **Numerics**: the normalisation's Jacobian `(I - z z') / norm` is exact for the guarded norm too.
pub fn backward(
    encoder: &Encoder,
    x: Tensor<3>,
    activations: Activations,
    d_unit: Tensor<3>,
    fault: Option<Fault>,
) -> Encoder {
    let Activations { hidden, norm, unit } = activations;
    let along = (d_unit.clone() * unit.clone()).sum_dim(2);
    let d_raw = (d_unit - unit * along) / norm;
    let w2 = hidden.clone().transpose().matmul(d_raw.clone());
    let b2 = d_raw.clone().sum_dim(1);
    let d_hidden = d_raw.matmul(encoder.w2.clone().transpose());
    // (1 - h^2) d = d - h (h d)
    let d_preactivation = d_hidden.clone() - hidden.clone() * (hidden * d_hidden);
    let d_preactivation = Fault::HiddenGradient.breaks(fault, d_preactivation);
    let w1 = x.transpose().matmul(d_preactivation.clone());
    let b1 = d_preactivation.sum_dim(1);
    Encoder { w1, b1, w2, b2 }
}
