//! Analytic gradients against Burn's autodiff and against the derivatives of an independent reference in f64.
//!
//! The derivatives are exact, and each says what rounding to f32 alone would do to it (see [`dual`](super::dual)). That
//! is what a gradient of f32 is held to: a few spacings where nothing cancels, more where a softmax has decided, where
//! correlations are all one, or where a term drowns another. Where rounding takes so much that a fault would drown too,
//! the check says that it cannot tell.

use std::collections::BTreeSet;

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use super::balance::WEIGHT_NAMES;
use super::dual::Rounded;
use super::encoder::forward;
use super::fault::Fault;
use super::held::{Losses, Problem};
use super::info_nce::info_nce;
use super::parameters::{HostEncoder, Parameters, Widths, host, xavier};
use super::program::Executor;
use super::reference::Reference;
use super::regulariser::moments::Minibatch;
use crate::numerics::shown::percent;
use crate::numerics::stream::Streams;
use crate::spec::config::TrainConfig;

/// Coordinates of each tensor that are held to the reference, unless a case says otherwise.
pub const COORDINATES: usize = 24;

/// Products of dual numbers that a case may take, some seconds of one core: embeddings of a thousand dimensions with
/// regularisers have fewer coordinates held to the reference, at least one of each tensor.
const PRODUCTS: usize = 1 << 27;

/// Spacings of f32 that any gradient may be off by, whatever its estimated error: half of the sum of a few hundred
/// roundings of random sign.
const SPACINGS: f64 = 16.0;

/// Estimated standard deviations of its error in f32 that a gradient may be off by. The estimate takes errors for
/// independent, so few deviations would raise false alarms: in 71,712 checks at 1,500 random settings, on `native` and
/// `flex`, sound gradients took a third of the tolerance at most, some ten deviations.
const DEVIATIONS: f64 = 32.0;

/// Largest tolerance that tells a right gradient from a wrong one: half of the smallest fault that is looked for, a
/// hundredth.
const TELLING: f64 = 5e-3;

/// Smallest gradient of which anything can be told: a program may multiply before it divides, by temperatures and
/// norms, and what underflows is then off by as much more.
const SMALLEST: f64 = f32::MIN_POSITIVE as f64 * 1e7;

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
    /// Coordinates of each tensor that are held to the reference; autodiff checks all of them.
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
    /// The same against the reference in f64, over sampled coordinates.
    pub worst_reference: f64,
    /// From the error that rounding to f32 makes; infinite, and null in JSON, where it takes every digit.
    pub tolerance: f64,
    /// Whether the tolerance is small enough to tell a fault from rounding.
    pub conclusive: bool,
    pub passed: bool,
}

/// What a list of verdicts comes to.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Tally {
    /// Whether no check failed, and each tensor has one that can tell a fault from rounding.
    pub passed: bool,
    pub checks: usize,
    /// Those that cannot tell a fault from rounding.
    pub inconclusive: usize,
    /// Tensors of which no check can.
    pub untold: BTreeSet<String>,
    /// The largest error of the others, over its tolerance.
    pub worst_share_of_tolerance: f64,
}

impl TensorCheck {
    /// The larger of its errors, over its tolerance.
    pub fn share(&self) -> f64 {
        largest(self.worst_autodiff, self.worst_reference) / self.tolerance
    }

    /// `ok`, `WRONG` or `cannot tell`.
    pub fn verdict(&self) -> &'static str {
        match (self.passed, self.conclusive) {
            (false, _) => "WRONG",
            (true, true) => "ok",
            (true, false) => "cannot tell",
        }
    }
}

impl Tally {
    pub fn of(checks: &[TensorCheck]) -> Self {
        let conclusive = || checks.iter().filter(|c| c.conclusive);
        let told: BTreeSet<&str> = conclusive().map(|c| c.tensor.as_str()).collect();
        let untold = checks.iter().filter(|c| !told.contains(c.tensor.as_str())).map(|c| c.tensor.clone());
        let untold: BTreeSet<String> = untold.collect();
        Self {
            passed: untold.is_empty() && checks.iter().all(|c| c.passed),
            checks: checks.len(),
            inconclusive: checks.len() - conclusive().count(),
            untold,
            worst_share_of_tolerance: conclusive().map(TensorCheck::share).fold(0.0, largest),
        }
    }

    /// How many cannot tell, in a sentence; None where all can.
    pub fn doubt(&self) -> Option<String> {
        let Self { checks, inconclusive, untold, .. } = self;
        (*inconclusive > 0).then(|| {
            let tensors: Vec<&str> = untold.iter().map(String::as_str).collect();
            let nowhere = match tensors.as_slice() {
                [] => String::new(),
                some => format!("; no check can for {}, so nothing vouches for it", some.join(", ")),
            };
            format!(
                "{inconclusive} of {checks} checks of gradients cannot find a fault of {}: their tolerance, {DEVIATIONS} times \
                 the estimated error of rounding to f32, is above half of that{nowhere}",
                percent(2.0 * TELLING)
            )
        })
    }
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
        let in_use = |name: &str| {
            let (_, values) = losses.further.iter().find(|(further, _)| *further == name)?;
            values.first().copied().map(f64::from)
        };
        if let [Some(i2t), Some(t2i)] = WEIGHT_NAMES.map(in_use) {
            // Weights too small for f32 have no ratio to balance; the reference says so of the spec's.
            if i2t.is_finite() && t2i.is_finite() {
                (fixed.train.weight_i2t, fixed.train.weight_t2i) = (i2t, t2i);
            }
        }
        fixed.train.balance = 0.0;
        fixed
    }

    /// Checks the gradients that `executor` trains with, for every parameter tensor.
    pub fn check(&self, executor: &Executor, fault: Option<Fault>) -> Vec<TensorCheck> {
        let (losses, analytic) = self.problem().hold(executor, fault).gradients();
        let device = match executor {
            Executor::Tensors(device) => device.clone(),
            Executor::Native => Device::flex(),
        };
        self.judge(&losses, &analytic, &device)
    }

    /// Holds gradients, tensor by tensor, to autodiff on a device and to the reference.
    fn judge(&self, losses: &Losses, analytic: &[Vec<f32>], device: &Device) -> Vec<TensorCheck> {
        let fixed = self.at_weights_of(losses);
        let autodiff = fixed.autodiff(device);
        let reference = fixed.reference();
        let affordable = PRODUCTS / (analytic.len() * reference.products()).max(1);
        let each = self.coordinates.min(affordable).max(1);
        let one = |(t, tensor): (usize, String)| {
            let derivatives = self.sampled(t, analytic[t].len(), each, &reference);
            self.verdict(tensor, &analytic[t], &autodiff[t], &derivatives)
        };
        Parameters::names().into_par_iter().enumerate().map(one).collect()
    }

    /// Derivatives along some coordinates of a tensor.
    fn sampled(&self, tensor: usize, length: usize, each: usize, reference: &Reference<'_>) -> Vec<(usize, Rounded)> {
        let mut order = Streams::new(self.seed, "gradcheck.coordinates").item(tensor as u64).permutation(length);
        order.truncate(each);
        let untold = self.has_no_ratio();
        let derivative = |index| {
            let derivative = reference.derivative(tensor, index);
            let variance = if untold { f64::INFINITY } else { derivative.variance };
            (index, Rounded { variance, ..derivative })
        };
        order.into_par_iter().map(derivative).collect()
    }

    /// Whether directions are balanced whose weights are so small that f32 may take them for zero: their ratio is then
    /// that of two zeros.
    fn has_no_ratio(&self) -> bool {
        let TrainConfig { weight_i2t, weight_t2i, balance, .. } = self.train;
        balance > 0.0 && weight_i2t.max(weight_t2i) < SMALLEST
    }

    fn verdict(
        &self,
        tensor: String,
        analytic: &[f32],
        autodiff: &[f32],
        derivatives: &[(usize, Rounded)],
    ) -> TensorCheck {
        let scale = root_mean_square(autodiff);
        let noise = derivatives.iter().map(|(_, e)| (e.error() + SMALLEST) / e.at.abs().max(scale)).fold(0.0, largest);
        let tolerance = SPACINGS * f64::from(f32::EPSILON) + DEVIATIONS * noise;
        // Beyond, no digit is left to compare; but a number stays a number.
        let tolerance = if tolerance > 1.0 { f64::INFINITY } else { tolerance };
        let is_number = |values: &[f32]| values.iter().all(|value| value.is_finite());
        let nothing_to_tell = is_number(analytic) || !is_number(autodiff);
        // Where there is no gradient there is nothing to be relative to.
        let is_flat = scale == 0.0 && derivatives.iter().all(|(_, e)| e.at == 0.0);
        let noise = derivatives.iter().map(|(_, e)| e.error()).fold(SMALLEST, largest);
        let stays_flat = !is_flat || analytic.iter().all(|value| f64::from(value.abs()) <= DEVIATIONS * noise);
        let worst_autodiff = worst(analytic, autodiff, scale);
        let of = |(index, e): &(usize, Rounded)| relative(f64::from(analytic[*index]), e.at, scale);
        let worst_reference = derivatives.iter().map(of).fold(0.0, largest);
        // Not-a-number must fail, so the comparison is written to be true only for good numbers.
        let agrees = worst_autodiff <= tolerance && worst_reference <= tolerance;
        TensorCheck {
            case: self.name.clone(),
            tensor,
            worst_autodiff,
            worst_reference,
            tolerance,
            conclusive: tolerance <= TELLING,
            passed: if tolerance.is_infinite() { nothing_to_tell && stays_flat } else { agrees },
        }
    }

    pub(super) fn reference(&self) -> Reference<'_> {
        let x = self.x.each_ref().map(|x| &x[..]);
        Reference::new(self.widths, x, self.parameters.each_ref(), self.gains, &self.train)
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
                let close = |(a, b): (&Vec<f32>, &Vec<f32>)| worst(a, b, root_mean_square(b)) < 1e-4;
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
            let reference = case.reference().loss();
            for executor in executors() {
                let (loss, _) = case.problem().hold(&executor, None).gradients();
                let terms = loss.further.into_iter().map(|(_, values)| values).zip(reference.terms.iter().copied());
                for (actual, expected) in
                    [(loss.total, reference.total), (loss.i2t, reference.i2t), (loss.t2i, reference.t2i)]
                        .into_iter()
                        .chain(terms)
                {
                    let (actual, expected) = (f64::from(actual[0]), expected.value.at);
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
    fn a_fault_in_any_tensor_is_found_in_that_tensor() {
        let mut loud = with_options(10.0);
        (loud.gains, loud.train.embedding_l2) = ([1.0, 1000.0], 1.0);
        let mut quiet = with_options(1.0);
        (quiet.gains, quiet.train.embedding_l2) = ([1e-10, 1.0], 1e-6);
        let mut found = 0;
        for case in [case(0.07, (0.5, 0.5)), case(1e-3, (0.3, 2.0)), with_options(0.1), loud, quiet] {
            for executor in executors() {
                let (losses, analytic) = case.problem().hold(&executor, None).gradients();
                for broken in 0..analytic.len() {
                    let mut gradients = analytic.clone();
                    gradients[broken].iter_mut().enumerate().for_each(|(i, d)| *d *= Fault::factor(i));
                    for (t, check) in case.judge(&losses, &gradients, &Device::flex()).iter().enumerate() {
                        assert!(check.passed || t == broken, "{}: {check:?}", case.name);
                        let expected = t == broken && check.conclusive;
                        assert!(!expected || !check.passed && check.share() > 1.5, "{}: {check:?}", case.name);
                        found += usize::from(expected);
                    }
                }
            }
        }
        // Of 5 cases, 2 executors and 8 tensors.
        assert!(found >= 60, "{found} could be told");
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

    #[test]
    fn a_gradient_that_overflows_alone_or_appears_from_nothing_is_wrong_whatever_the_tolerance() {
        let case = case(0.07, (0.5, 0.5));
        let verdict = |analytic: f32, autodiff: f32, at: f64, variance: f64| {
            case.verdict("img.w1".to_string(), &[analytic], &[autodiff], &[(0, Rounded { at, variance })])
        };
        let lost = f64::INFINITY;
        assert!(verdict(1.0, 2.0, 1.5, lost).passed, "rounding takes every digit");
        assert!(verdict(f32::NAN, f32::NAN, 1.5, lost).passed, "f32 has no number for it");
        assert!(!verdict(f32::NAN, 2.0, 1.5, lost).passed);
        assert!(!verdict(f32::INFINITY, 2.0, 1.5, lost).passed);
        assert!(verdict(0.0, 0.0, 0.0, 0.0).passed);
        assert!(!verdict(1e-3, 0.0, 0.0, 0.0).passed);
        assert!(verdict(1e-3, 0.0, 0.0, 1e-6).passed, "as much as rounding makes");
    }
}
