//! Terms added to the contrastive loss, against embeddings that shrink, crowd together or repeat themselves: one file
//! and one line of [`REGULARISERS`] each.
//!
//! A term is written three times: as tensors, which define it and which autodiff differentiates; as loops for the native
//! program; and in f64 from its textbook form, whose derivatives gradients are checked against.
//!
//! Variance, covariance and redundancy read the **normalised** embeddings, scaled by `sqrt(D)` so that isotropic unit
//! vectors have variance 1 along every axis, which is the target of the variance term. On raw embeddings a growing norm
//! would satisfy a floor on the variance while the directions, all that the contrastive loss sees, collapse. They are
//! functions of the second moments of the centred unit vectors, and so are their gradients: the centred vectors
//! of a modality times one `D x D` matrix, plus those of the other modality times another. See [`moments`].

use crate::spec::config::TrainConfig;

mod covariance;
mod embedding_l2;
pub mod moments;
mod redundancy;
mod variance;

use super::dual::Dual;
use super::native::regulariser as native;
use super::reference::Embedded;
use moments::{Lanes, Minibatch, Term};

/// A term of the loss.
pub struct Regulariser {
    /// Name of the series of its value, before its weight.
    pub series: &'static str,
    /// Path of its weight, which switches it off at 0.
    pub param: &'static str,
    /// What its value is, for the curves' columns.
    pub summary: &'static str,
    pub weight: fn(&TrainConfig) -> f64,
    pub set_weight: fn(&mut TrainConfig, f64),
    /// Whether it reads second moments; if not, it reads lengths alone.
    pub moments: bool,
    /// Its value and the pull of its weighted gradient, as tensors.
    pub tensors: fn(&Minibatch<'_>, &Lanes) -> Term,
    /// Adds its weighted pull, and returns its value before its weight.
    pub native: fn(&native::Minibatch, &TrainConfig, &mut native::Pull) -> f32,
    /// Its value before its weight, from its definition.
    pub reference: fn(&[Embedded; 2], usize, &TrainConfig) -> Dual,
}

/// Every regulariser, in the order of their series.
pub const REGULARISERS: &[Regulariser] =
    &[embedding_l2::EMBEDDING_L2, variance::VARIANCE, covariance::COVARIANCE, redundancy::REDUNDANCY];

/// Those that are on in a cell, and so in its pack: weights are switches.
pub fn active(train: &TrainConfig) -> impl Iterator<Item = &'static Regulariser> {
    REGULARISERS.iter().filter(|r| (r.weight)(train) != 0.0)
}

/// A weight at which a term's gradient is of the size of the contrastive loss's: both are of the order of the
/// inverse minibatch, and a contrastive one of the inverse temperature besides. Checks use it, to which a small term would
/// be lost in the rounding of a large one.
pub fn weight_of_note(train: &TrainConfig) -> f64 {
    1.0 / train.temperature
}

/// Switches every regulariser on at one weight, for checks.
pub fn switch_all_on(train: &mut TrainConfig, weight: f64) {
    REGULARISERS.iter().for_each(|r| (r.set_weight)(train, weight));
}

#[cfg(test)]
pub mod golden;

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};

    use super::golden::{GOLDEN, IMG, OFF_DIAGONAL, TXT};
    use super::*;
    use crate::aligner::kernel::fixture::on_wgpu;
    use crate::aligner::kernel::normalise::{bias_normalise, normalise_backward};
    use crate::aligner::optimiser::lane_tensor;
    use crate::aligner::parameters::host;
    use crate::spec::{Role, param_at};

    /// What golden.py found: values, and gradients with respect to raw embeddings, row-major.
    pub struct Golden {
        pub series: &'static str,
        pub value: f64,
        pub d_img: &'static [f64],
        pub d_txt: &'static [f64],
    }

    /// Roundings of f32 in sums of six products, relative to the largest entry, which centring and inverse deviations
    /// amplify.
    const TOLERANCE: f64 = 2e-6;

    fn assert_near(what: &str, actual: &[f64], expected: &[f64]) {
        let scale = expected.iter().fold(0.0_f64, |m, e| m.max(e.abs()));
        for (a, e) in actual.iter().zip(expected) {
            assert!((a - e).abs() <= TOLERANCE * scale, "{what}: {actual:?} is not {expected:?}");
        }
    }

    fn golden_on(device: &Device) {
        let [b, d] = [IMG.len(), IMG[0].len()];
        let raw = [IMG, TXT].map(|u| Tensor::<3>::from_data(TensorData::new(u.concat(), [1, b, d]), device));
        let zero = Tensor::zeros([1, 1, d], device);
        let [img, txt] = raw.map(|u| bias_normalise(u, zero.clone()));
        let ([n_img, z_img], [n_txt, z_txt]) = ([img.0, img.1], [txt.0, txt.1]);
        let minibatch = Minibatch::new([&z_img, &z_txt], [&n_img, &n_txt]);
        let lane = |value: f64| lane_tensor(std::iter::once(value), device);
        for (regulariser, golden) in REGULARISERS.iter().zip(GOLDEN) {
            assert_eq!(regulariser.series, golden.series);
            // The weight is in the gradient alone.
            let lanes = Lanes { weight: lane(2.0), off_diagonal: lane(OFF_DIAGONAL) };
            let term = (regulariser.tensors)(&minibatch, &lanes);
            let value = f64::from(host(term.value)[0]);
            assert_near(golden.series, &[value], &[golden.value]);
            let d_units = term.pull.add_to([z_img.zeros_like(), z_txt.zeros_like()], &minibatch, None);
            let expected = [golden.d_img, golden.d_txt];
            for (m, (d_unit, expected)) in d_units.into_iter().zip(expected).enumerate() {
                let (unit, norm) = (minibatch.units[m].clone(), minibatch.norms[m].clone());
                let mut d_raw = normalise_backward(d_unit, unit.clone(), norm.clone()).0;
                if let Some(pull) = &term.pull.raw {
                    d_raw = d_raw + unit * norm * pull.clone();
                }
                let actual: Vec<f64> = host(d_raw).into_iter().map(|v| f64::from(v) / 2.0).collect();
                assert_near(golden.series, &actual, expected);
            }
        }
    }

    #[test]
    fn values_and_gradients_agree_with_torch() {
        assert_eq!(REGULARISERS.len(), GOLDEN.len());
        golden_on(&Device::flex());
        on_wgpu(golden_on);
    }

    #[test]
    fn references_agree_with_torch() {
        let embedded = [IMG, TXT].map(|u| {
            let raw: Vec<Dual> = u.concat().into_iter().map(|u| Dual::exact(f64::from(u))).collect();
            let unit = raw.chunks(3).flat_map(|u| {
                let norm = u.iter().map(|u| u.square()).sum::<Dual>().sqrt();
                u.iter().map(move |u| *u / norm)
            });
            Embedded { unit: unit.collect(), raw }
        });
        let train = TrainConfig { redundancy_off_diagonal: OFF_DIAGONAL, ..TrainConfig::default() };
        for (regulariser, golden) in REGULARISERS.iter().zip(GOLDEN) {
            let value = (regulariser.reference)(&embedded, 3, &train).value.at;
            // The golden's digits.
            assert!((value - golden.value).abs() < 1e-8, "{}: {value}", golden.series);
        }
    }

    #[test]
    fn collapsed_embeddings_have_finite_terms() {
        let device = Device::flex();
        let (unit, norm) = (Tensor::<3>::ones([1, 5, 4], &device) * 0.5, Tensor::<3>::ones([1, 5, 1], &device));
        let minibatch = Minibatch::new([&unit, &unit], [&norm, &norm]);
        let lane = || lane_tensor(std::iter::once(1.0), &device);
        for (regulariser, expected) in REGULARISERS.iter().zip([1.0, 2.0 * (1.0 - 0.01), 0.0, 4.0]) {
            let term = (regulariser.tensors)(&minibatch, &Lanes { weight: lane(), off_diagonal: lane() });
            let value = host(term.value)[0];
            assert!((value - expected).abs() < 1e-5, "{}: {value}", regulariser.series);
            let gradients = term.pull.add_to([unit.zeros_like(), unit.zeros_like()], &minibatch, None);
            assert!(gradients.into_iter().flat_map(host).all(|d| d.abs() < 1e-5), "{}", regulariser.series);
        }
    }

    #[test]
    fn weights_are_switches_that_are_off_by_default() {
        for regulariser in REGULARISERS {
            let param = param_at(regulariser.param).expect("a registered parameter");
            assert_eq!(param.role, Role::Switch, "{}", param.path);
            assert!(regulariser.series.starts_with("loss_") && !regulariser.summary.is_empty());
        }
        assert_eq!(active(&TrainConfig::default()).count(), 0);
    }
}
