//! The squared length of raw embeddings.

use burn::tensor::Tensor;

use super::Regulariser;
use super::moments::{Lanes, Minibatch, Pull, Term};
use crate::aligner::dual::Dual;
use crate::aligner::kernel::norms::squared_norm;
use crate::aligner::native::regulariser as native;
use crate::aligner::reference::Embedded;
use crate::spec::config::TrainConfig;

/// The mean over a minibatch and both modalities of `|u|^2`, where `u` is the raw embedding, output gain included.
///
/// **Returns** a term of at least 0; small is short. Its gradient with respect to `u` is `u / B`, and what the
/// normalisation's gradient lacks: it points along the embedding.
///
/// **Numerics**: `u` is taken as the unit vector times the norm; an embedding far below the normalisation's guard, 1e-6,
/// keeps its length.
///
/// **Source**: the ridge penalty of Hoerl & Kennard 1970, on activations.
pub const EMBEDDING_L2: Regulariser = Regulariser {
    series: "loss_embedding_l2",
    param: "train.embedding_l2",
    summary: "mean squared length of the minibatch's raw embeddings, before its coefficient",
    weight: |train| train.embedding_l2,
    set_weight: |train, weight| train.embedding_l2 = weight,
    moments: false,
    tensors,
    native,
    reference,
};

fn tensors(minibatch: &Minibatch<'_>, lanes: &Lanes) -> Term {
    let batch = minibatch.batch();
    let squares = |m: usize| squared_norm(&(minibatch.units[m].clone() * minibatch.norms[m].clone()));
    let value: Tensor<3> = (squares(0) + squares(1)) / (2.0 * batch);
    Term { value, pull: Pull { raw: Some(lanes.weight.clone() / batch), ..Pull::default() } }
}

fn native(minibatch: &native::Minibatch, train: &TrainConfig, pull: &mut native::Pull) -> f32 {
    pull.raw += train.embedding_l2 as f32 / minibatch.batch();
    minibatch.squared_lengths / (2.0 * minibatch.batch())
}

fn reference(embedded: &[Embedded; 2], width: usize, _: &TrainConfig) -> Dual {
    let squares = |e: &Embedded| e.raw.iter().map(|u| u.square()).sum::<Dual>();
    let mean = |e: &Embedded| squares(e) / Dual::exact((e.raw.len() / width) as f64);
    embedded.iter().map(mean).sum::<Dual>() / Dual::exact(2.0)
}
