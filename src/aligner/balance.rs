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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aligner::parameters::host;
    use crate::numerics::stream::Streams;

    const SHAPE: [usize; 3] = [2, 7, 4];

    /// Roundings of norms and quotients.
    const TOLERANCE: f64 = 1e-5;

    fn activations(item: u64, crowded: bool, device: &Device) -> Activations {
        let mut stream = Streams::new(0, "balance").item(item);
        let mut draw = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        let [cells, batch, width] = SHAPE;
        let tensor = |values: Vec<f32>, width: usize| {
            Tensor::<3>::from_data(burn::tensor::TensorData::new(values, [cells, batch, width]), device)
        };
        let mut raw = tensor(draw(cells * batch * width), width);
        if crowded {
            raw = raw * 0.1 + tensor([3.0, 0.0, 0.0, 0.0].repeat(cells * batch), width);
        }
        let norm = (raw.clone() * raw.clone()).sum_dim(2).sqrt();
        Activations { hidden: raw.clone(), unit: raw / norm.clone(), norm }
    }

    /// Squared norm, cell by cell, of what a gradient is before a normalisation: by the Jacobian, in f64.
    fn squares(d: &Tensor<3>, to: &Activations) -> Vec<f64> {
        let [_, batch, width] = SHAPE;
        let [d, z] = [d, &to.unit].map(|t| host(t.clone()).into_iter().map(f64::from).collect::<Vec<f64>>());
        let norms = host(to.norm.clone());
        let row = |row: usize| {
            let at = row * width..(row + 1) * width;
            let along: f64 = d[at.clone()].iter().zip(&z[at.clone()]).map(|(d, z)| d * z).sum();
            let across =
                d[at.clone()].iter().zip(&z[at]).map(|(d, z)| ((d - z * along) / f64::from(norms[row])).powi(2));
            across.sum::<f64>()
        };
        (0..SHAPE[0]).map(|c| (c * batch..(c + 1) * batch).map(row).sum()).collect()
    }

    #[test]
    fn weights_keep_their_sum_even_out_contributions_and_follow_at_their_rate() {
        let device = Device::flex();
        // A crowded side makes its candidates hard to tell apart, and the two directions' gradients differ.
        let (img, txt) = (activations(0, true, &device), activations(1, false, &device));
        let trains = [(0.3, 0.6), (0.5, 0.5)].map(|(weight_i2t, weight_t2i)| TrainConfig {
            weight_i2t,
            weight_t2i,
            balance: 0.25,
            temperature: 0.2,
            ..TrainConfig::default()
        });
        let cells: Vec<&TrainConfig> = trains.iter().collect();
        let loss = LossSettings::new(&cells, &device);
        let balance = Balance::new(&cells, &loss, &device).expect("it is on");
        let first = balance.contrast(&loss, [&img, &txt], None);

        let norms = balance.sides.each_ref().map(|side| {
            let (_, d_img, d_txt) = info_nce(&img.unit, &txt.unit, side);
            let sums = squares(&d_img, &img).into_iter().zip(squares(&d_txt, &txt));
            sums.map(|(a, b)| (a + b).sqrt()).collect::<Vec<f64>>()
        });
        let weights =
            first.weights.each_ref().map(|w| host(w.clone()).into_iter().map(f64::from).collect::<Vec<f64>>());
        for (c, train) in trains.iter().enumerate() {
            let sum = train.weight_i2t + train.weight_t2i;
            assert!((weights[0][c] + weights[1][c] - sum).abs() < TOLERANCE * sum);
            let ratio = norms[0][c] / norms[1][c];
            assert!((ratio - 1.0).abs() > 0.05, "norms differ, or there is nothing to even out: {ratio}");
            let contributions = weights[0][c] * norms[0][c] / (weights[1][c] * norms[1][c]);
            let expected = train.weight_i2t / train.weight_t2i;
            assert!((contributions / expected - 1.0).abs() < TOLERANCE, "{contributions}, not {expected}");
        }

        // From averages far apart, a quarter of the way, where the bound still holds.
        let before: Averages = [1e3, 1.0].map(|e| lane_tensor([e, e].into_iter(), &device));
        let next = balance.contrast(&loss, [&img, &txt], Some(&before));
        let (followed, weights) = (next.averages.map(host), next.weights.map(host));
        for (c, train) in trains.iter().enumerate() {
            let expected = 1e3 + 0.25 * (norms[0][c] - 1e3);
            assert!((f64::from(followed[0][c]) / expected - 1.0).abs() < TOLERANCE);
            let ratio = f64::from(weights[0][c] / weights[1][c]) / (train.weight_i2t / train.weight_t2i);
            assert!((ratio * f64::from(BOUND) - 1.0).abs() < TOLERANCE, "{ratio}");
        }
    }

    #[test]
    fn one_direction_alone_keeps_its_weight() {
        let device = Device::flex();
        let (img, txt) = (activations(0, true, &device), activations(1, false, &device));
        let train = TrainConfig { weight_i2t: 0.0, weight_t2i: 0.8, balance: 0.5, ..TrainConfig::default() };
        let cells = [&train, &train];
        let loss = LossSettings::new(&cells, &device);
        let balance = Balance::new(&cells, &loss, &device).expect("it is on");
        let [i2t, t2i] = balance.contrast(&loss, [&img, &txt], None).weights.map(host);
        assert_eq!(i2t, [0.0, 0.0]);
        assert!(t2i.iter().all(|w| (w - 0.8).abs() < 1e-6), "{t2i:?}");
    }
}
