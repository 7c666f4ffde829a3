//! Update rules: SGD with momentum and AdamW, in PyTorch's conventions.

use std::borrow::Cow;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::kernel::norms::squared_norm;
use super::kernel::update::{Adamw, Sgd, adamw, sgd};
use super::parameters::{Encoder, Parameters};
use crate::spec::config::{Optimiser, TrainConfig};

/// Added to a gradient norm before dividing by it, as in PyTorch's `clip_grad_norm_`.
pub const CLIP_GUARD: f64 = 1e-6;

/// Per-cell settings of the update.
#[derive(Clone, Debug)]
pub struct UpdateSettings {
    /// The rules at full learning rate.
    rules: Rules,
    cells: Vec<TrainConfig>,
    /// The step, counted from 1, from which on every cell has its full learning rate.
    warm: u64,
    /// AdamW's decays, in f64, where `1 - beta^t` does not cancel.
    betas: [Vec<f64>; 2],
    /// Largest gradient norm per modality, `[C, 1, 1]`, when clipping is on.
    clip_norm: Option<Tensor<3>>,
    device: Device,
}

/// The update rules at one step's learning rates.
#[derive(Clone, Debug)]
struct Rules {
    sgd: Sgd,
    adamw: Adamw,
}

impl Rules {
    /// `step` counts from 1.
    fn at(step: u64, cells: &[&TrainConfig], device: &Device) -> Self {
        let values = |f: &dyn Fn(&TrainConfig) -> f64| cells.iter().map(|c| f(c)).collect::<Vec<f64>>();
        let lanes = |f: &dyn Fn(&TrainConfig) -> f64| lane_tensor(values(f).into_iter(), device);
        let rate = |c: &TrainConfig| c.learning_rate_at(step);
        let adamw = [
            values(&rate),
            values(&|c| 1.0 - rate(c) * c.weight_decay),
            // Not below what f32 holds: zero would divide zero by zero where there is no gradient.
            values(&|c| c.epsilon.max(f64::from(f32::MIN_POSITIVE))),
            values(&|c| c.beta1),
            values(&|c| c.beta2),
            values(&|c| 1.0 - c.beta1),
            values(&|c| 1.0 - c.beta2),
        ];
        Self {
            sgd: Sgd {
                learning_rate: lanes(&rate),
                momentum: lanes(&|c| c.momentum),
                weight_decay: lanes(&|c| c.weight_decay),
            },
            adamw: Adamw::new(adamw.each_ref().map(Vec::as_slice), device),
        }
    }
}

impl UpdateSettings {
    /// The settings of the cells of a pack. Clipping is on when the first cell has it on: it is a switch, and packs do
    /// not mix switches.
    pub fn new(cells: &[&TrainConfig], device: &Device) -> Self {
        let values = |f: fn(&TrainConfig) -> f64| cells.iter().map(|c| f(c)).collect::<Vec<f64>>();
        let clips = cells.first().is_some_and(|c| c.clip_norm > 0.0);
        let warm = cells.iter().map(|c| c.warmup_steps).max().unwrap_or(0);
        Self {
            rules: Rules::at(warm, cells, device),
            cells: cells.iter().map(|c| (*c).clone()).collect(),
            warm,
            betas: [values(|c| c.beta1), values(|c| c.beta2)],
            clip_norm: clips.then(|| lane_tensor(values(|c| c.clip_norm).into_iter(), device)),
            device: device.clone(),
        }
    }

    /// The rules of a step: those at hand, or while a cell warms up, its own.
    fn rules_at(&self, step: u64) -> Cow<'_, Rules> {
        match step < self.warm {
            true => Cow::Owned(Rules::at(step, &self.cells.iter().collect::<Vec<_>>(), &self.device)),
            false => Cow::Borrowed(&self.rules),
        }
    }

    /// `1 - beta1^step` and the root of `1 - beta2^step`, each `[C, 1, 1]`.
    fn corrections(&self, step: u64) -> [Tensor<3>; 2] {
        let correction = |beta: &f64| 1.0 - libm::pow(*beta, step as f64);
        [
            lane_tensor(self.betas[0].iter().map(correction), &self.device),
            lane_tensor(self.betas[1].iter().map(correction).map(f64::sqrt), &self.device),
        ]
    }
}

/// One value per cell as `[C, 1, 1]`.
pub fn lane_tensor(values: impl Iterator<Item = f64>, device: &Device) -> Tensor<3> {
    let values: Vec<f32> = values.map(|v| v as f32).collect();
    let cells = values.len();
    Tensor::from_data(TensorData::new(values, [cells, 1, 1]), device)
}

/// What an update rule remembers between steps.
// There is one per pack; its size on the stack does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum State {
    Sgd { velocity: Parameters },
    Adamw { first: Parameters, second: Parameters },
}

impl State {
    pub fn new(rule: Optimiser, parameters: &Parameters) -> Self {
        match rule {
            Optimiser::Sgd => Self::Sgd { velocity: parameters.zeros_like() },
            Optimiser::Adamw => Self::Adamw { first: parameters.zeros_like(), second: parameters.zeros_like() },
        }
    }

    /// Keeps the lanes at `keep`, in that order.
    pub fn select(self, keep: &Tensor<1, Int>) -> Self {
        match self {
            Self::Sgd { velocity } => Self::Sgd { velocity: velocity.select(keep) },
            Self::Adamw { first, second } => Self::Adamw { first: first.select(keep), second: second.select(keep) },
        }
    }
}

/// Scales an encoder's gradient to a norm of at most `clip_norm [C, 1, 1]`, over all its tensors together.
///
/// **Returns** the gradient unchanged where its norm is smaller. A gradient that is not finite becomes not-a-number.
///
/// **Source**: Pascanu et al. 2013; PyTorch `clip_grad_norm_`.
pub fn clip(gradient: Encoder, clip_norm: &Tensor<3>) -> Encoder {
    let squares = gradient.tensors().map(squared_norm);
    let norm = squares.into_iter().reduce(|a, b| a + b).expect("an encoder has tensors").sqrt();
    let factor = (clip_norm.clone() / norm.add_scalar(CLIP_GUARD)).clamp_max(1.0);
    gradient.map(|g| g * factor.clone())
}

/// One update of all parameters; `step` counts from 1. Clips first, when clipping is on.
///
/// **Returns** the new parameters and the state for the next step.
///
/// SGD: `v = momentum v + (g + weight_decay p)`, `p -= learning_rate v`.
/// AdamW: `p -= learning_rate weight_decay p`, then the bias-corrected Adam step.
///
/// **Numerics**: AdamW's bias corrections are taken in f64 on the host, where `1 - beta^t` does not cancel. Weight decay
/// acts on biases too, as it does there.
///
/// Warm-up lowers the learning rate of the first steps, [`TrainConfig::learning_rate_at`], and with it AdamW's decay, as
/// a PyTorch scheduler does.
///
/// **Source**: PyTorch `torch.optim.SGD` and `torch.optim.AdamW`; Loshchilov & Hutter 2019.
pub fn update(
    parameters: Parameters,
    gradients: Parameters,
    state: State,
    settings: &UpdateSettings,
    step: u64,
) -> (Parameters, State) {
    let clipped = |g: Encoder| match &settings.clip_norm {
        Some(limit) => clip(g, limit),
        None => g,
    };
    let gradients = Parameters { img: clipped(gradients.img), txt: clipped(gradients.txt) };
    let (p, g) = (tensors(parameters), tensors(gradients));
    let rules = settings.rules_at(step);
    match state {
        State::Sgd { velocity } => {
            let each = p.into_iter().zip(tensors(velocity)).zip(g);
            let (p, velocity) = each.map(|((p, v), g)| sgd(p, v, g, &rules.sgd)).unzip();
            (from_tensors(p), State::Sgd { velocity: from_tensors(velocity) })
        }
        State::Adamw { first, second } => {
            let corrections = settings.corrections(step);
            let moments = tensors(first).into_iter().zip(tensors(second));
            let each = p.into_iter().zip(moments).zip(g);
            let (p, moments): (Vec<_>, Vec<_>) =
                each.map(|((p, (m, v)), g)| adamw(p, [m, v], g, &rules.adamw, &corrections)).unzip();
            let (first, second) = moments.into_iter().map(|[m, v]| (m, v)).unzip();
            (from_tensors(p), State::Adamw { first: from_tensors(first), second: from_tensors(second) })
        }
    }
}

/// All tensors, given away so that an update can reuse their buffers.
fn tensors(parameters: Parameters) -> Vec<Tensor<3>> {
    [parameters.img, parameters.txt].into_iter().flat_map(|e| [e.w1, e.b1, e.w2, e.b2]).collect()
}

/// The inverse of [`tensors`].
fn from_tensors(tensors: Vec<Tensor<3>>) -> Parameters {
    let mut tensors = tensors.into_iter();
    let mut next = || tensors.next().expect("as many as were given away");
    let mut encoder = || Encoder { w1: next(), b1: next(), w2: next(), b2: next() };
    Parameters { img: encoder(), txt: encoder() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aligner::parameters::host;
    use crate::aligner::regulariser::golden;

    /// Three updates of a three-vector, kept in an image encoder's `b2`; the rest is zero.
    fn run(rule: Optimiser, train: TrainConfig) -> Vec<f32> {
        let device = Device::flex();
        let vector = |values: [f32; 3]| Tensor::<3>::from_data(TensorData::new(values.to_vec(), [1, 1, 3]), &device);
        let zero = || Tensor::<3>::zeros([1, 1, 1], &device);
        let encoder = |b2: Tensor<3>| Encoder { w1: zero(), b1: zero(), w2: zero(), b2 };
        let both = |values| Parameters { img: encoder(vector(values)), txt: encoder(vector(values)) };
        let settings = UpdateSettings::new(&[&train], &device);
        let mut parameters = both([0.5, -1.25, 2.0]);
        let mut state = State::new(rule, &parameters);
        for (i, gradient) in [[0.1, -0.2, 0.3], [-0.05, 0.4, 0.1], [0.2, 0.1, -0.6]].into_iter().enumerate() {
            (parameters, state) = update(parameters, both(gradient), state, &settings, i as u64 + 1);
        }
        assert_eq!(host(parameters.img.b2.clone()), host(parameters.txt.b2));
        host(parameters.img.b2)
    }

    /// A few roundings of numbers of order 1.
    const TOLERANCE: f32 = 1e-6;

    fn assert_close(actual: &[f32], expected: [f32; 3]) {
        for (a, e) in actual.iter().zip(expected) {
            assert!((a - e).abs() < TOLERANCE, "{actual:?} is not {expected:?}");
        }
    }

    fn settings() -> TrainConfig {
        TrainConfig { learning_rate: 0.1, momentum: 0.9, ..TrainConfig::default() }
    }

    #[test]
    fn sgd_agrees_with_optax() {
        // optax 0.2.8, float64: chain(add_decayed_weights(0.01), sgd(0.1, momentum=0.9)).
        let train = TrainConfig { weight_decay: 0.01, ..settings() };
        assert_close(&run(Optimiser::Sgd, train), [0.459_630_4, -1.274_829_5, 1.948_613_6]);
    }

    #[test]
    fn adamw_agrees_with_optax() {
        // optax 0.2.8, float64: adamw(0.1, b1=0.8, b2=0.99, eps=1e-3, weight_decay=0.01).
        let train = TrainConfig { weight_decay: 0.01, beta1: 0.8, beta2: 0.99, epsilon: 1e-3, ..settings() };
        assert_close(&run(Optimiser::Adamw, train), [0.310_180_6, -1.233_970_2, 1.844_496_7]);
    }

    #[test]
    fn clipping_agrees_with_optax() {
        // optax 0.2.8, float64: chain(clip_by_global_norm(0.3), sgd(0.1, momentum=0.9)). The 1e-6 that is added to the
        // norm here moves the result by less than the tolerance.
        let train = TrainConfig { clip_norm: 0.3, ..settings() };
        assert_close(&run(Optimiser::Sgd, train), [0.475_763_2, -1.266_124_5, 1.949_202_3]);
    }

    #[test]
    fn warm_up_raises_the_rate_linearly_to_all_of_it() {
        let train = TrainConfig { warmup_steps: 4, ..settings() };
        let rates = [1, 2, 3, 4, 5].map(|step| train.learning_rate_at(step));
        assert_eq!(rates, [0.1 * 0.25, 0.1 * 0.5, 0.1 * 0.75, 0.1, 0.1]);
        assert_eq!(settings().learning_rate_at(1), 0.1, "none");
        // torch 2.15.0, float64: SGD and AdamW as above under LambdaLR(lambda t: min(1, (t + 1) / 4)); see golden.py
        // beside the regularisers.
        let sgd = TrainConfig { weight_decay: 0.01, warmup_steps: 4, ..settings() };
        assert_close(&run(Optimiser::Sgd, sgd), golden::WARM_SGD);
        let adamw =
            TrainConfig { weight_decay: 0.01, beta1: 0.8, beta2: 0.99, epsilon: 1e-3, warmup_steps: 4, ..settings() };
        assert_close(&run(Optimiser::Adamw, adamw), golden::WARM_ADAMW);
    }

    #[test]
    fn no_gradient_and_no_decay_change_nothing() {
        let device = Device::flex();
        let ones = |d: usize| Tensor::<3>::ones([1, 1, d], &device);
        let encoder = || Encoder { w1: ones(2), b1: ones(2), w2: ones(2), b2: ones(2) };
        for rule in [Optimiser::Sgd, Optimiser::Adamw] {
            let parameters = Parameters { img: encoder(), txt: encoder() };
            let gradients = parameters.zeros_like();
            let train = TrainConfig { clip_norm: 1.0, ..settings() };
            let state = State::new(rule, &parameters);
            let (after, _) = update(parameters, gradients, state, &UpdateSettings::new(&[&train], &device), 1);
            assert!(after.tensors().into_iter().all(|t| host(t.clone()) == [1.0, 1.0]), "{rule:?}");
        }
    }
}
