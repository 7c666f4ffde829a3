//! Symmetric InfoNCE and its gradient.

use burn::tensor::{Device, Tensor};

use super::kernel::info_nce::{losses_and_pull, takes};
use super::optimiser::lane_tensor;
use crate::spec::config::TrainConfig;

/// Per-cell settings of the loss, each `[C, 1, 1]`.
#[derive(Clone, Debug)]
pub struct LossSettings {
    pub inverse_temperature: Tensor<3>,
    pub weight_i2t: Tensor<3>,
    pub weight_t2i: Tensor<3>,
}

/// The value of the loss, each `[C, 1, 1]`.
#[derive(Clone, Debug)]
pub struct Loss {
    /// `weight_i2t * i2t + weight_t2i * t2i`.
    pub total: Tensor<3>,
    pub i2t: Tensor<3>,
    pub t2i: Tensor<3>,
}

/// Symmetric InfoNCE over in-batch negatives, and its gradient with respect to the normalised embeddings.
///
/// With logits `S = z_img z_txt' / temperature`, the image-to-text loss is the mean over rows of
/// `logsumexp(S_i.) - S_ii`, the text-to-image loss the same over columns.
///
/// **Shapes**: embeddings `[C, B, D]`, normalised; row `b` of both is a pair.
///
/// **Returns** the loss in nats, at least 0 up to rounding and `ln B` when nothing is told apart, lower is better; then
/// its gradients with respect to the image and the text embeddings, `[C, B, D]`.
///
/// **Numerics**: each direction subtracts its own maximum before the exponential, so that no row or column overflows
/// or vanishes at temperatures down to 1e-3.
///
/// **Source**: van den Oord et al. 2018 (InfoNCE); Radford et al. 2021 (the symmetric form).
pub fn info_nce(z_img: &Tensor<3>, z_txt: &Tensor<3>, settings: &LossSettings) -> (Loss, Tensor<3>, Tensor<3>) {
    if !takes(z_img) {
        return plain_info_nce(z_img, z_txt, settings);
    }
    let cosines = z_img.clone().matmul(z_txt.clone().transpose());
    let (loss, pull) = losses_and_pull(cosines, settings);
    let d_img = pull.clone().matmul(z_txt.clone());
    let d_txt = pull.transpose().matmul(z_img.clone());
    (loss, d_img, d_txt)
}

/// [`info_nce`] by its definition.
pub(super) fn plain_info_nce(
    z_img: &Tensor<3>,
    z_txt: &Tensor<3>,
    settings: &LossSettings,
) -> (Loss, Tensor<3>, Tensor<3>) {
    let batch = z_img.dims()[1] as f64;
    let scaled_img = z_img.clone() * settings.inverse_temperature.clone();
    let logits = scaled_img.clone().matmul(z_txt.clone().transpose());
    let own = (scaled_img * z_txt.clone()).sum_dim(2).mean_dim(1);

    let (softmax_i2t, mean_lse_i2t) = softmax_and_lse(&logits, 2);
    let (softmax_t2i, mean_lse_t2i) = softmax_and_lse(&logits, 1);
    let i2t = mean_lse_i2t - own.clone();
    let t2i = mean_lse_t2i - own;
    let total = i2t.clone() * settings.weight_i2t.clone() + t2i.clone() * settings.weight_t2i.clone();

    // dL/dS = (weighted softmaxes - (sum of weights) I) / B; the identity is applied to the embeddings directly.
    let weights = settings.weight_i2t.clone() + settings.weight_t2i.clone();
    let scale = settings.inverse_temperature.clone() / batch;
    let pull = softmax_i2t.weighted(&settings.weight_i2t) + softmax_t2i.weighted(&settings.weight_t2i);
    let d_img = (pull.clone().matmul(z_txt.clone()) - z_txt.clone() * weights.clone()) * scale.clone();
    let d_txt = (pull.transpose().matmul(z_img.clone()) - z_img.clone() * weights) * scale;
    (Loss { total, i2t, t2i }, d_img, d_txt)
}

/// Shifted exponentials and their sums along one dimension.
struct Softmax {
    exponentials: Tensor<3>,
    sums: Tensor<3>,
}

impl Softmax {
    /// `weight * softmax`, with the weight folded into the small tensor.
    fn weighted(self, weight: &Tensor<3>) -> Tensor<3> {
        self.exponentials * (weight.clone() / self.sums)
    }
}

/// Softmax of `logits [C, B, B]` along `dim`, and the mean log-sum-exp `[C, 1, 1]` over the other.
fn softmax_and_lse(logits: &Tensor<3>, dim: usize) -> (Softmax, Tensor<3>) {
    let max = logits.clone().max_dim(dim);
    let exponentials = (logits.clone() - max.clone()).exp();
    let sums = exponentials.clone().sum_dim(dim);
    let mean_lse = (sums.clone().log() + max).mean_dim(3 - dim);
    (Softmax { exponentials, sums }, mean_lse)
}

impl LossSettings {
    /// The settings of the cells of a pack.
    pub fn new(cells: &[&TrainConfig], device: &Device) -> Self {
        let lanes = |f: fn(&TrainConfig) -> f64| lane_tensor(cells.iter().map(|c| f(c)), device);
        Self {
            inverse_temperature: lanes(|c| 1.0 / c.temperature),
            weight_i2t: lanes(|c| c.weight_i2t),
            weight_t2i: lanes(|c| c.weight_t2i),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::aligner::parameters::host;

    const Z_IMG: [f32; 12] = [0.189, -0.198, 0.962, 0.16, -0.818, 0.552, 0.742, 0.539, -0.4, -0.897, -0.442, 0.029];
    const Z_TXT: [f32; 12] =
        [-0.878, -0.083, -0.471, -0.758, -0.564, -0.328, 0.365, 0.924, -0.114, 0.876, -0.426, 0.225];

    fn run(img: &[f32], txt: &[f32], d: usize, train: &TrainConfig) -> ([f32; 3], Vec<f32>, Vec<f32>) {
        let device = Device::flex();
        let z = |v: &[f32]| Tensor::<3>::from_data(TensorData::new(v.to_vec(), [1, v.len() / d, d]), &device);
        let (loss, d_img, d_txt) = info_nce(&z(img), &z(txt), &LossSettings::new(&[train], &device));
        ([host(loss.total)[0], host(loss.i2t)[0], host(loss.t2i)[0]], host(d_img), host(d_txt))
    }

    fn settings(temperature: f64, weight_i2t: f64, weight_t2i: f64) -> TrainConfig {
        TrainConfig { temperature, weight_i2t, weight_t2i, ..TrainConfig::default() }
    }

    fn assert_close(actual: &[f32], expected: &[f32], relative: f32) {
        let scale = expected.iter().fold(0.0_f32, |m, e| m.max(e.abs()));
        for (a, e) in actual.iter().zip(expected) {
            assert!((a - e).abs() <= relative * scale, "{actual:?} is not {expected:?}");
        }
    }

    #[test]
    fn loss_and_gradients_agree_with_jax() {
        // jax 0.10.2, float64, value_and_grad of 0.3 i2t + 0.7 t2i on the matrices above.
        let (loss, d_img, d_txt) = run(&Z_IMG, &Z_TXT, 3, &settings(0.1, 0.3, 0.7));
        assert_close(&loss, &[8.253_943, 7.660_972, 8.508_074], 1e-6);
        assert_close(
            &d_img,
            &[
                3.125_833_5,
                -0.244_494,
                1.416_381_3,
                3.726_168,
                0.511_251_7,
                1.289_141,
                0.073_467_8,
                -0.042_267,
                0.020_101_965,
                -5.643_436,
                -0.399_060,
                -2.233_414,
            ],
            1e-6,
        );
        assert_close(
            &d_txt,
            &[
                -2.211_347_8,
                -0.361_897_23,
                -2.348_724,
                -2.471_125_5,
                1.016_484_1,
                -1.307_917_4,
                -0.004_250_947,
                -0.003_360_167_5,
                0.003_152_965_8,
                2.843_059,
                -0.775_053_45,
                2.073_193_8,
            ],
            1e-6,
        );
        let (loss, d_img, _) = run(&Z_IMG, &Z_TXT, 3, &settings(1e-3, 0.3, 0.7));
        assert_close(&loss, &[818.600_7, 758.360_2, 844.418], 1e-6);
        assert_close(
            &d_img,
            &[285.2, -11.2, 134.625, 408.5, 34.5, 138.25, 0.0, 0.0, 0.0, -562.15, -49.025, -220.675],
            1e-6,
        );
    }

    #[test]
    fn equal_rows_give_the_logarithm_of_the_batch_and_no_gradient_apart() {
        let rows: Vec<f32> = std::iter::repeat_n([0.6, 0.8], 5).flatten().collect();
        for temperature in [1e-3, 0.07, 10.0] {
            let (loss, d_img, d_txt) = run(&rows, &rows, 2, &settings(temperature, 0.5, 0.5));
            assert!(loss.iter().all(|l| (l - 5f32.ln()).abs() < 1e-4), "{loss:?} at {temperature}");
            // Every candidate pulls and pushes the same way: what is left is rounding, over the temperature.
            let largest = d_img.iter().chain(&d_txt).fold(0.0_f32, |m, d| m.max(d.abs()));
            assert!(f64::from(largest) < 1e-6 / temperature, "{largest} at {temperature}");
        }
    }

    #[test]
    fn one_huge_logit_neither_overflows_nor_vanishes() {
        // Row 0 matches candidate 0 perfectly, rows 1 and 2 match the wrong one perfectly, at logits of 1000.
        let img = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0];
        let txt = [1.0, 0.0, 0.0, -1.0, 0.0, 1.0];
        let (loss, d_img, d_txt) = run(&img, &txt, 2, &settings(1e-3, 0.5, 0.5));
        assert!(loss.iter().chain(&d_img).chain(&d_txt).all(|v| v.is_finite()));
        // Row 1 loses 2000 nats to candidate 2, column 1 loses 1000 to image 0; the rest is ties or won.
        assert!((loss[1] - 2000.0 / 3.0).abs() < 1.0, "{loss:?}");
    }

    #[test]
    fn exchanging_the_modalities_exchanges_the_directions() {
        let (a, a_img, a_txt) = run(&Z_IMG, &Z_TXT, 3, &settings(0.2, 0.9, 0.4));
        let (b, b_img, b_txt) = run(&Z_TXT, &Z_IMG, 3, &settings(0.2, 0.4, 0.9));
        assert_close(&a, &[b[0], b[2], b[1]], 1e-6);
        assert_close(&a_img, &b_txt, 1e-5);
        assert_close(&a_txt, &b_img, 1e-5);
    }
}
