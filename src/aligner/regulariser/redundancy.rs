//! Cross-correlations between the axes of the two modalities.

use burn::tensor::Tensor;

use super::Regulariser;
use super::moments::{Lanes, Minibatch, Pull, Term};
use crate::aligner::dual::Dual;
use crate::aligner::native::regulariser as native;
use crate::aligner::reference::{Embedded, centred, columns, mean};
use crate::spec::config::TrainConfig;

/// Added to a variance before its root, as PyTorch's batch normalisation does, which Barlow Twins standardises with.
const GUARD: f64 = 1e-5;

/// `sum_i (1 - R_ii)^2 + off_diagonal sum_(i != j) R_ij^2`, where `R` is the cross-correlation of image axis `i` with
/// text axis `j` over the minibatch: each axis of the unit vectors scaled by `sqrt(D)` is centred and divided by
/// `sqrt(var + 1e-5)`, with variances and products divided by `B`.
///
/// **Returns** a term of at least 0; 0 where each axis says the same in both modalities and no two axes say the same;
/// `D` where nothing correlates.
///
/// **Source**: Zbontar et al. 2021 (Barlow Twins), equations 1 and 2, and their published code for the guard.
pub const REDUNDANCY: Regulariser = Regulariser {
    series: "loss_redundancy",
    param: "train.redundancy_weight",
    summary: "redundancy-reduction term of the minibatch's normalised embeddings, before its weight",
    weight: |train| train.redundancy_weight,
    set_weight: |train, weight| train.redundancy_weight = weight,
    moments: true,
    tensors,
    native,
    reference,
};

fn tensors(minibatch: &Minibatch<'_>, lanes: &Lanes) -> Term {
    let moments = minibatch.moments();
    let share = moments.width / moments.batch;
    let [img, txt] = moments.own.each_ref().map(|gram| {
        let variances = moments.diagonal(gram) * share;
        variances.add_scalar(GUARD).sqrt().recip()
    });
    let img = img.transpose();
    let scale = img.clone() * txt.clone() * share;
    let correlations = moments.cross.clone() * scale.clone();
    let elsewhere = moments.eye.clone().neg().add_scalar(1.0);
    let importance = moments.eye.clone() + elsewhere * lanes.off_diagonal.clone();
    let off = correlations.clone() - moments.eye.clone();
    let slope = off.clone() * importance;
    let value = (off * slope.clone()).sum_dim(2).sum_dim(1);

    let slope = slope * (lanes.weight.clone() * 2.0);
    // What the standardisation holds back: it keeps an axis from growing.
    let along = slope.clone() * correlations;
    let held = |along: Tensor<3>, inverse: Tensor<3>| along * inverse.clone() * inverse * -share;
    let own = [held(along.clone().sum_dim(2), img), held(along.sum_dim(1), txt)];
    let own = own.map(|held| moments.eye.clone() * held);
    Term { value, pull: Pull { own: Some(own), cross: Some(slope * scale), raw: None } }
}

fn native(minibatch: &native::Minibatch, train: &TrainConfig, pull: &mut native::Pull) -> f32 {
    let share = minibatch.width() / minibatch.batch();
    let (weight, off_diagonal) = (train.redundancy_weight as f32, train.redundancy_off_diagonal as f32);
    let native::Pull { own: [own_img, own_txt], cross, inverse: [inverse_img, inverse_txt], .. } = pull;
    for (own, inverse) in minibatch.own.iter().zip([&mut *inverse_img, &mut *inverse_txt]) {
        for (axis, inverse) in inverse.iter_mut().enumerate() {
            *inverse = 1.0 / (own.row(axis)[axis] * share + GUARD as f32).sqrt();
        }
    }
    let mut value = 0.0;
    for (i, of_img) in inverse_img.iter().enumerate() {
        let (mut terms, mut held) = (0.0, 0.0);
        for (j, of_txt) in inverse_txt.iter().enumerate() {
            let scale = of_img * of_txt * share;
            let correlation = minibatch.cross.row(i)[j] * scale;
            let (target, importance) = if i == j { (1.0, 1.0) } else { (0.0, off_diagonal) };
            let off = correlation - target;
            terms += off * off * importance;
            let slope = off * importance * (weight * 2.0);
            cross.row_mut(i)[j] += slope * scale;
            held += slope * correlation;
            own_txt.row_mut(j)[j] -= slope * correlation * of_txt * of_txt * share;
        }
        own_img.row_mut(i)[i] -= held * of_img * of_img * share;
        value += terms;
    }
    value
}

fn reference(embedded: &[Embedded; 2], width: usize, train: &TrainConfig) -> Dual {
    let standardise = |column: Vec<Dual>| -> Vec<Dual> {
        let column = centred(column);
        let variance = mean(&column.iter().map(|s| s.square()).collect::<Vec<Dual>>());
        let deviation = (variance + Dual::setting(GUARD)).sqrt();
        column.into_iter().map(|s| s / deviation).collect()
    };
    let [img, txt] = embedded.each_ref().map(|e| columns(e, width).map(standardise).collect::<Vec<_>>());
    let off_diagonal = Dual::setting(train.redundancy_off_diagonal);
    let mut value = Dual::ZERO;
    for (i, a) in img.iter().enumerate() {
        for (j, b) in txt.iter().enumerate() {
            let products = a.iter().zip(b).map(|(a, b)| *a * *b).sum::<Dual>();
            let correlation = products / Dual::exact(a.len() as f64);
            value = value
                + match i == j {
                    true => (Dual::ONE - correlation).square(),
                    false => off_diagonal * correlation.square(),
                };
        }
    }
    value
}
