//! Covariances between the axes of embeddings.

use super::Regulariser;
use super::moments::{Lanes, Minibatch, Pull, Term};
use crate::aligner::dual::Dual;
use crate::aligner::kernel::norms::squared_norm;
use crate::aligner::native::regulariser as native;
use crate::aligner::reference::{Embedded, centred, columns};
use crate::spec::config::TrainConfig;

/// `c(img) + c(txt)`, where `c` is the sum over pairs of different axes of the squared covariance, over `D`, with the
/// covariance over the minibatch, divided by `B - 1`, of the unit vectors scaled by `sqrt(D)`.
///
/// **Returns** a term of at least 0; 0 where no axis repeats another. A minibatch of `B` leaves about `(D - 1) / B` per
/// modality even of independent axes.
///
/// **Source**: Bardes et al. 2022 (VICReg), equations 3 and 4.
pub const COVARIANCE: Regulariser = Regulariser {
    series: "loss_covariance",
    param: "train.covariance_weight",
    summary: "covariance term of the minibatch's normalised embeddings, both modalities together, before its weight",
    weight: |train| train.covariance_weight,
    set_weight: |train, weight| train.covariance_weight = weight,
    moments: true,
    tensors,
    native,
    reference,
};

fn tensors(minibatch: &Minibatch<'_>, lanes: &Lanes) -> Term {
    let moments = minibatch.moments();
    let (width, freedom) = (moments.width, moments.batch - 1.0);
    let elsewhere = moments.eye.clone().neg().add_scalar(1.0) * (width / freedom);
    let covariances = moments.own.each_ref().map(|gram| gram.clone() * elsewhere.clone());
    let [img, txt] = covariances.each_ref().map(|c| squared_norm(c) / width);
    let own = covariances.map(|c| c * (lanes.weight.clone() * (4.0 / freedom)));
    Term { value: img + txt, pull: Pull { own: Some(own), ..Pull::default() } }
}

fn native(minibatch: &native::Minibatch, train: &TrainConfig, pull: &mut native::Pull) -> f32 {
    let (width, freedom) = (minibatch.width(), minibatch.batch() - 1.0);
    let (scale, slope) = (width / freedom, train.covariance_weight as f32 * (4.0 / freedom));
    let mut value = 0.0;
    for (own, pull) in minibatch.own.iter().zip(&mut pull.own) {
        for axis in 0..own.columns() {
            let mut squares = 0.0;
            let entries = own.row(axis)[..own.columns()].iter().zip(pull.row_mut(axis)).enumerate();
            for (_, (gram, pull)) in entries.filter(|(other, _)| *other != axis) {
                let covariance = gram * scale;
                squares += covariance * covariance;
                *pull += covariance * slope;
            }
            value += squares / width;
        }
    }
    value
}

fn reference(embedded: &[Embedded; 2], width: usize, _: &TrainConfig) -> Dual {
    let one = |e: &Embedded| {
        let columns: Vec<Vec<Dual>> = columns(e, width).map(centred).collect();
        let covariance = |a: &[Dual], b: &[Dual]| {
            a.iter().zip(b).map(|(a, b)| *a * *b).sum::<Dual>() / Dual::exact((a.len() - 1) as f64)
        };
        let pairs = (0..width).flat_map(|i| (0..width).map(move |j| (i, j))).filter(|(i, j)| i != j);
        pairs.map(|(i, j)| covariance(&columns[i], &columns[j]).square()).sum::<Dual>() / Dual::exact(width as f64)
    };
    embedded.iter().map(one).sum()
}
