//! A floor under the spread of embeddings along every axis.

use super::Regulariser;
use super::moments::{Lanes, Minibatch, Pull, Term};
use crate::aligner::dual::Dual;
use crate::aligner::native::regulariser as native;
use crate::aligner::reference::{Embedded, centred, columns};
use crate::spec::config::TrainConfig;

/// Added to a variance before its root, as in VICReg: the root keeps a finite slope where an axis has collapsed.
const GUARD: f64 = 1e-4;

/// `v(img) + v(txt)`, where `v` is the mean over axes of `max(0, 1 - sqrt(var + 1e-4))`, with the variance over the
/// minibatch, divided by `B - 1`, of the unit vectors scaled by `sqrt(D)`.
///
/// **Returns** a term from 0, where every axis has a standard deviation of 1 or more, to nearly 2, where all embeddings
/// are one point.
///
/// **Numerics**: the hinge has a kink where a standard deviation is exactly 1; the gradient there is 0. Roundings away
/// from it, two programs may lie on different sides: a check of gradients knows such an axis by its error.
///
/// **Source**: Bardes et al. 2022 (VICReg), equation 1.
pub const VARIANCE: Regulariser = Regulariser {
    series: "loss_variance",
    param: "train.variance_weight",
    summary: "variance term of the minibatch's normalised embeddings, both modalities together, before its weight",
    weight: |train| train.variance_weight,
    set_weight: |train, weight| train.variance_weight = weight,
    moments: true,
    tensors,
    native,
    reference,
};

fn tensors(minibatch: &Minibatch<'_>, lanes: &Lanes) -> Term {
    let moments = minibatch.moments();
    let freedom = moments.batch - 1.0;
    let deviations = moments.own.each_ref().map(|gram| {
        let variances = moments.diagonal(gram) * (moments.width / freedom);
        variances.add_scalar(GUARD).sqrt()
    });
    let [img, txt] = deviations.each_ref().map(|d| d.clone().neg().add_scalar(1.0).clamp_min(0.0).mean_dim(2));
    let own = deviations.map(|deviation| {
        let falls_short = deviation.clone().lower_elem(1.0).float();
        let slopes = falls_short / deviation * (lanes.weight.clone() / -freedom);
        moments.eye.clone() * slopes
    });
    Term { value: img + txt, pull: Pull { own: Some(own), ..Pull::default() } }
}

fn native(minibatch: &native::Minibatch, train: &TrainConfig, pull: &mut native::Pull) -> f32 {
    let (width, freedom) = (minibatch.width(), minibatch.batch() - 1.0);
    let slope = train.variance_weight as f32 / freedom;
    let mut value = 0.0;
    for (own, pull) in minibatch.own.iter().zip(&mut pull.own) {
        for axis in 0..own.columns() {
            let deviation = (own.row(axis)[axis] * (width / freedom) + GUARD as f32).sqrt();
            // Not-a-number reaches the value.
            if deviation >= 1.0 {
                continue;
            }
            value += (1.0 - deviation) / width;
            pull.row_mut(axis)[axis] -= slope / deviation;
        }
    }
    value
}

fn reference(embedded: &[Embedded; 2], width: usize, _: &TrainConfig) -> Dual {
    let short = |column: Vec<Dual>| {
        let column = centred(column);
        let squares: Dual = column.iter().map(|s| s.square()).sum();
        let deviation = (squares / Dual::exact((column.len() - 1) as f64) + Dual::setting(GUARD)).sqrt();
        (Dual::ONE - deviation).positive_part()
    };
    embedded.iter().flat_map(|e| columns(e, width)).map(short).sum::<Dual>() / Dual::exact(width as f64)
}
