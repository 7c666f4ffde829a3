//! Analytic gradients against Burn's autodiff and against f64 central differences of an independent reference.

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use super::encoder::forward;
use super::fault::Fault;
use super::held::{Losses, Problem};
use super::info_nce::info_nce;
use super::parameters::{HostEncoder, Parameters, Widths, host, xavier};
use super::program::Executor;
use super::reference::Reference;
use super::regulariser::moments::Minibatch;
use crate::numerics::stream::Streams;
use crate::spec::config::TrainConfig;

/// Coordinates of each tensor that central differences visit, unless a case says otherwise.
pub const COORDINATES: usize = 24;

/// Spacings of f32 allowed for a gradient at temperature 1. A gradient coordinate is a sum over a few hundred products
/// whose rounding errors of random sign grow with the square root, so 32 covers a thousand products; four times that
/// leaves room for terms that cancel, as they do in an embedding of two dimensions.
const ROUNDINGS: f64 = 128.0;

/// One case: a minibatch, parameters, and the settings that change the loss.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub widths: [Widths; 2],
    /// Row-major `[B, P]`, image then text.
    pub x: [Vec<f32>; 2],
    pub batch: usize,
    pub parameters: [HostEncoder; 2],
    pub train: TrainConfig,
    /// Factors of the encoders' outputs.
    pub gains: [f64; 2],
    /// Seed of the choice of coordinates.
    pub seed: u64,
    /// Coordinates of each tensor that central differences visit; autodiff checks all of them.
    pub coordinates: usize,
}

/// The verdict on one parameter tensor.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TensorCheck {
    pub case: String,
    pub tensor: String,
    /// Worst error against autodiff over all coordinates, relative to the larger of the coordinate and the tensor's
    /// root mean square.
    pub worst_autodiff: f64,
    /// The same against f64 central differences, over sampled coordinates.
    pub worst_difference: f64,
    pub tolerance: f64,
    pub passed: bool,
}

/// Largest relative error allowed at a temperature.
///
/// A logit is a cosine over the temperature, so a rounding of the cosine becomes a relative error of the softmax that
/// is larger by the inverse of the temperature. That is the worst case, a softmax undecided between candidates; a
/// decided one forgets its logits, and what is measured lies one to five orders below.
pub fn tolerance(temperature: f64) -> f64 {
    ROUNDINGS * f64::from(f32::EPSILON) * (1.0 + 1.0 / temperature)
}

impl Case {
    /// A case on the given observations with Xavier parameters and small random biases (zero biases would leave their
    /// effect on the forward pass untested).
    pub fn new(name: String, x: [Vec<f32>; 2], batch: usize, hidden: [usize; 2], train: TrainConfig, d: usize) -> Self {
        let seed = 0;
        let width = |m: usize| Widths { inputs: x[m].len() / batch, hidden: hidden[m], embedding: d };
        let widths = [width(0), width(1)];
        let parameters = [0, 1].map(|m| {
            let mut encoder = xavier(seed, super::parameters::MODALITIES[m], widths[m]);
            for tensor in [1, 3] {
                let mut stream = Streams::new(seed, "gradcheck.bias").item((m * 4 + tensor) as u64);
                encoder[tensor].iter_mut().for_each(|b| *b = (0.1 * stream.normal()) as f32);
            }
            encoder
        });
        Self { name, widths, x, batch, parameters, train, gains: [1.0; 2], seed, coordinates: COORDINATES }
    }

    fn problem(&self) -> Problem<'_> {
        Problem {
            widths: self.widths,
            x: self.x.clone(),
            batch: self.batch,
            parameters: self.parameters.each_ref().map(|p| vec![p.clone()]),
            train: vec![&self.train],
            gains: vec![self.gains],
        }
    }

    /// The case with directional weights fixed at those in use, where they follow gradients: they are constants to the
    /// gradient.
    fn at_weights_of(&self, losses: &Losses) -> Self {
        let mut fixed = self.clone();
        for (name, values) in &losses.further {
            match *name {
                "weight_i2t" => fixed.train.weight_i2t = f64::from(values[0]),
                "weight_t2i" => fixed.train.weight_t2i = f64::from(values[0]),
                _ => {}
            }
        }
        fixed.train.balance = 0.0;
        fixed
    }

    /// Checks the gradients that `executor` trains with, for every parameter tensor.
    pub fn check(&self, executor: &Executor, fault: Option<Fault>) -> Vec<TensorCheck> {
        let (losses, analytic) = self.problem().hold(executor, fault).gradients();
        let fixed = self.at_weights_of(&losses);
        let autodiff = match executor {
            Executor::Tensors(device) => fixed.autodiff(device),
            Executor::Native => fixed.autodiff(&Device::flex()),
        };
        let tolerance = tolerance(self.train.temperature);
        let names = Parameters::names();
        (0..names.len())
            .into_par_iter()
            .map(|t| {
                let rms = root_mean_square(&autodiff[t]);
                let worst_autodiff = worst(&analytic[t], &autodiff[t], rms);
                let worst_difference = fixed.worst_difference(t, &analytic[t], rms);
                // Not-a-number must fail, so the comparison is written to be true only for good numbers.
                let passed = worst_autodiff <= tolerance && worst_difference <= tolerance;
                let (case, tensor) = (self.name.clone(), names[t].clone());
                TensorCheck { case, tensor, worst_autodiff, worst_difference, tolerance, passed }
            })
            .collect()
    }

    /// Burn's gradients of the same forward pass.
    fn autodiff(&self, device: &Device) -> Vec<Vec<f32>> {
        let (parameters, [x_img, x_txt], objective) = self.problem().on(&device.clone().autodiff());
        let parameters = parameters.map(Tensor::require_grad);
        let img = forward(&parameters.img, x_img, objective.gain(0), None);
        let txt = forward(&parameters.txt, x_txt, objective.gain(1), None);
        let contrast = info_nce(&img.unit, &txt.unit, &objective.loss).0.total;
        let minibatch = Minibatch::new([&img.unit, &txt.unit], [&img.norm, &txt.norm]);
        let terms = objective.terms(&minibatch).into_iter();
        let total = terms.fold(contrast, |total, (term, weight)| total + term.value * weight.clone());
        let gradients = total.sum().backward();
        let gradient = |t: &Tensor<3>| t.grad(&gradients).map(host).unwrap_or_default();
        parameters.tensors().into_iter().map(gradient).collect()
    }

    fn worst_difference(&self, tensor: usize, analytic: &[f32], rms: f64) -> f64 {
        let x: [Vec<f64>; 2] = [0, 1].map(|m| widen(&self.x[m]));
        let parameters: Vec<Vec<f64>> = self.parameters.iter().flatten().map(|t| widen(t)).collect();
        let reference = Reference { widths: self.widths, x: [&x[0], &x[1]], gains: self.gains, train: &self.train };
        let mut order = Streams::new(self.seed, "gradcheck.coordinates").item(tensor as u64);
        let mut chosen = order.permutation(analytic.len());
        chosen.truncate(self.coordinates);
        chosen.into_iter().fold(0.0, |worst: f64, i| {
            let expected = reference.central_difference(&parameters, tensor, i);
            largest(worst, relative(f64::from(analytic[i]), expected, rms))
        })
    }
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

fn root_mean_square(values: &[f32]) -> f64 {
    (values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len().max(1) as f64).sqrt()
}

fn relative(actual: f64, expected: f64, scale: f64) -> f64 {
    let scale = expected.abs().max(scale);
    if scale == 0.0 { if actual == 0.0 { 0.0 } else { f64::INFINITY } } else { (actual - expected).abs() / scale }
}

/// The larger of two, where not-a-number counts as largest.
pub(super) fn largest(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// Worst relative error; infinite when the lengths differ.
pub(super) fn worst(actual: &[f32], expected: &[f32], scale: f64) -> f64 {
    if actual.len() != expected.len() {
        return f64::INFINITY;
    }
    let each = actual.iter().zip(expected).map(|(a, e)| relative(f64::from(*a), f64::from(*e), scale));
    each.fold(0.0, largest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aligner::regulariser::{REGULARISERS, switch_all_on, weight_of_note};

    fn executors() -> [Executor; 2] {
        [Executor::Tensors(Device::flex()), Executor::Native]
    }

    fn case(temperature: f64, weights: (f64, f64)) -> Case {
        let mut stream = Streams::new(1, "gradcheck.test").item(0);
        let mut draw = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        let x = [draw(12 * 10), draw(12 * 7)];
        let train = TrainConfig { temperature, weight_i2t: weights.0, weight_t2i: weights.1, ..TrainConfig::default() };
        Case::new(format!("t={temperature}"), x, 12, [9, 6], train, 5)
    }

    /// Every option that changes the loss.
    fn with_options(temperature: f64) -> Case {
        let mut case = case(temperature, (0.3, 0.6));
        case.gains = [3.0, 0.25];
        let weight = weight_of_note(&case.train);
        switch_all_on(&mut case.train, weight);
        case.train.redundancy_off_diagonal = 0.05;
        case
    }

    #[test]
    fn gradients_of_every_option_agree_from_temperature_1e_3_to_10() {
        for temperature in [1e-3, 0.07, 10.0] {
            let alone = REGULARISERS.iter().map(|r| {
                let mut case = case(temperature, (0.5, 0.5));
                let weight = weight_of_note(&case.train);
                (r.set_weight)(&mut case.train, weight);
                case
            });
            let mut balanced = with_options(temperature);
            balanced.train.balance = 0.1;
            for case in alone.chain([with_options(temperature), balanced]) {
                for executor in executors() {
                    for check in case.check(&executor, None) {
                        assert!(check.passed, "{executor:?}, {:?}: {check:?}", case.train);
                    }
                }
            }
        }
    }

    #[test]
    fn a_gain_changes_no_gradient_but_through_the_length_of_embeddings() {
        for executor in executors() {
            let gradients = |gains: [f64; 2], embedding_l2: f64| {
                let mut case = case(0.07, (0.5, 0.5));
                (case.gains, case.train.embedding_l2) = (gains, embedding_l2);
                case.problem().hold(&executor, None).gradients().1
            };
            let alike = |a: &[Vec<f32>], b: &[Vec<f32>]| {
                let close = |(a, b): (&Vec<f32>, &Vec<f32>)| worst(a, b, root_mean_square(b)) < tolerance(0.07);
                a.iter().zip(b).all(close)
            };
            let [plain, amplified] = [[1.0, 1.0], [4.0, 0.5]].map(|gains| gradients(gains, 0.0));
            assert!(alike(&amplified, &plain), "{executor:?}");
            let [plain, amplified] = [[1.0, 1.0], [4.0, 0.5]].map(|gains| gradients(gains, 1.0));
            assert!(!alike(&amplified, &plain), "{executor:?}");
        }
    }

    #[test]
    fn analytic_gradients_agree_from_temperature_1e_3_to_10() {
        for (temperature, weights) in
            [(1e-3, (0.5, 0.5)), (0.07, (0.5, 0.5)), (10.0, (0.5, 0.5)), (0.2, (1.0, 0.0)), (0.2, (0.3, 2.0))]
        {
            for executor in executors() {
                for check in case(temperature, weights).check(&executor, None) {
                    assert!(check.passed, "{executor:?}: {check:?}");
                }
            }
        }
    }

    #[test]
    fn the_loss_agrees_with_the_f64_reference() {
        let plain = [(1e-3, (0.5, 0.5)), (0.07, (0.3, 2.0)), (10.0, (1.0, 0.0))].map(|(t, w)| case(t, w));
        for case in plain.into_iter().chain([1e-3, 0.07, 10.0].map(with_options)) {
            let x: [Vec<f64>; 2] = [0, 1].map(|m| widen(&case.x[m]));
            let wide: Vec<Vec<f64>> = case.parameters.iter().flatten().map(|t| widen(t)).collect();
            let reference =
                Reference { widths: case.widths, x: [&x[0], &x[1]], gains: case.gains, train: &case.train }.loss(&wide);
            for executor in executors() {
                let (loss, _) = case.problem().hold(&executor, None).gradients();
                let terms = loss.further.into_iter().map(|(_, values)| values).zip(reference.terms.iter().copied());
                for (actual, expected) in
                    [(loss.total, reference.total), (loss.i2t, reference.i2t), (loss.t2i, reference.t2i)]
                        .into_iter()
                        .chain(terms)
                {
                    let actual = f64::from(actual[0]);
                    assert!((actual - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{actual} is not {expected}");
                }
            }
        }
    }

    #[test]
    fn every_fault_is_caught() {
        for (name, fault) in Fault::ALL {
            for executor in executors() {
                let case = if fault.optional() { with_options(0.07) } else { case(0.07, (0.5, 0.5)) };
                let checks = case.check(&executor, Some(fault));
                assert!(checks.iter().any(|c| !c.passed), "{name} went unnoticed on {executor:?}");
            }
        }
    }

    #[test]
    fn not_a_number_is_never_a_pass() {
        assert!(worst(&[f32::NAN], &[1.0], 1.0).is_nan());
        let mut case = case(0.07, (0.5, 0.5));
        case.x[0][3] = f32::NAN;
        for executor in executors() {
            assert!(case.check(&executor, None).iter().any(|c| !c.passed));
        }
    }
}
