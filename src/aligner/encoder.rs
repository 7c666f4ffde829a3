//! The two-layer tanh encoder: forward pass and analytic backward pass.

use burn::tensor::Tensor;

use super::fault::Fault;
use super::kernel::normalise::{bias_normalise, normalise_backward};
use super::kernel::tanh::{bias_tanh, tanh_backward};
use super::parameters::Encoder;

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
/// **Shapes**: `x [C, N, P]`, `gain [C, 1, 1]`; none is a gain of 1, to the bit.
///
/// **Returns** raw embeddings `[C, N, D]`, the output times the gain, and the hidden activations `[C, N, H]`, in -1 to 1.
pub fn embed(
    encoder: &Encoder,
    x: Tensor<3>,
    gain: Option<&Tensor<3>>,
    fault: Option<Fault>,
) -> (Tensor<3>, Tensor<3>) {
    let hidden = hidden(encoder, x, fault);
    let output = hidden.clone().matmul(encoder.w2.clone()) + encoder.b2.clone();
    (amplified(output, gain), hidden)
}

fn amplified(output: Tensor<3>, gain: Option<&Tensor<3>>) -> Tensor<3> {
    match gain {
        Some(gain) => output * gain.clone(),
        None => output,
    }
}

fn hidden(encoder: &Encoder, x: Tensor<3>, fault: Option<Fault>) -> Tensor<3> {
    Fault::Tanh.breaks(fault, bias_tanh(x.matmul(encoder.w1.clone()), encoder.b1.clone()))
}

/// Forward pass: `unit = raw / sqrt(|raw|^2 + NORM_GUARD)`.
///
/// **Shapes**: `x [C, N, P]`, `gain [C, 1, 1]`.
///
/// **Numerics**: a raw embedding longer than 1.8e19 overflows: its norm is infinite and its unit vector 0, which no
/// loss notices. [`loss_and_gradients`](super::step::loss_and_gradients) therefore looks at the norms.
pub fn forward(encoder: &Encoder, x: Tensor<3>, gain: Option<&Tensor<3>>, fault: Option<Fault>) -> Activations {
    let (hidden, norm, unit) = match gain {
        // The bias goes in with the normalisation.
        None => {
            let hidden = hidden(encoder, x, fault);
            let (norm, unit) = bias_normalise(hidden.clone().matmul(encoder.w2.clone()), encoder.b2.clone());
            (hidden, norm, unit)
        }
        Some(_) => {
            let (raw, hidden) = embed(encoder, x, gain, fault);
            let (norm, unit) = bias_normalise(raw, encoder.b2.zeros_like());
            (hidden, norm, unit)
        }
    };
    Activations { hidden, norm, unit: Fault::Normalise.breaks(fault, unit) }
}

/// A loss's gradient with respect to an encoder's embeddings.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// `[C, B, D]`, with respect to the normalised ones.
    pub unit: Tensor<3>,
    /// `[C, 1, 1]`: times the raw embeddings, what it is with respect to these beyond that.
    pub raw: Option<Tensor<3>>,
}

/// Gradients of a loss with respect to the parameters, given its gradient with respect to the embeddings.
///
/// **Shapes**: `x [C, B, P]`, `gain [C, 1, 1]`.
///
/// **Returns** gradients of the shapes of `encoder`.
pub fn backward(
    encoder: &Encoder,
    x: Tensor<3>,
    activations: Activations,
    upstream: Upstream,
    gain: Option<&Tensor<3>>,
    fault: Option<Fault>,
) -> Encoder {
    let Activations { hidden, norm, unit } = activations;
    let along = upstream.raw.map(|pull| {
        let along = unit.clone() * norm.clone() * pull;
        Fault::EmbeddingL2.breaks(fault, along)
    });
    let (mut d_raw, mut b2) = normalise_backward(upstream.unit, unit, norm);
    if let Some(along) = along {
        (d_raw, b2) = (d_raw + along.clone(), b2 + along.sum_dim(1));
    }
    if gain.is_some() {
        [d_raw, b2] = [d_raw, b2].map(|d| Fault::OutputGain.breaks(fault, amplified(d, gain)));
    }
    let w2 = hidden.clone().transpose().matmul(d_raw.clone());
    let d_hidden = d_raw.matmul(encoder.w2.clone().transpose());
    let (d_preactivation, b1) = tanh_backward(d_hidden, hidden);
    let [d_preactivation, b1] = [d_preactivation, b1].map(|d| Fault::HiddenGradient.breaks(fault, d));
    let w1 = x.transpose().matmul(d_preactivation);
    Encoder { w1, b1, w2, b2 }
}
