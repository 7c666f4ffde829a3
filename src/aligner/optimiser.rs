//! Update rules: SGD with momentum and AdamW, in PyTorch's conventions.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::parameters::{Encoder, Parameters};
use crate::spec::config::{Optimiser, TrainConfig};

/// Added to a gradient norm before dividing by it, as in PyTorch's `clip_grad_norm_`.
pub const CLIP_GUARD: f64 = 1e-6;

/// Per-cell settings of the update; tensors are `[C, 1, 1]`.
#[derive(Clone, Debug)]
pub struct UpdateSettings {
    learning_rate: Tensor<3>,
    momentum: Tensor<3>,
    weight_decay: Tensor<3>,
    /// `1 - learning_rate weight_decay`, AdamW's shrinkage.
    shrinkage: Tensor<3>,
    epsilon: Tensor<3>,
    beta1: Decay,
    beta2: Decay,
    /// Largest gradient norm per modality, when clipping is on.
    clip_norm: Option<Tensor<3>>,
    device: Device,
}

/// An exponential moving average's decay. Kept in f64 on the host as well, where `1 - beta^t` does not cancel.
#[derive(Clone, Debug)]
struct Decay {
    host: Vec<f64>,
    beta: Tensor<3>,
    complement: Tensor<3>,
}

impl Decay {
    fn new(host: Vec<f64>, device: &Device) -> Self {
        let beta = lane_tensor(host.iter().copied(), device);
        let complement = lane_tensor(host.iter().map(|b| 1.0 - b), device);
        Self { host, beta, complement }
    }

    /// `1 - beta^step` per cell.
    fn correction(&self, step: u64) -> impl Iterator<Item = f64> {
        self.host.iter().map(move |b| 1.0 - libm::pow(*b, step as f64))
    }
}

impl UpdateSettings {
    /// The settings of the cells of a pack. Clipping is on when the first cell has it on: it is a switch, and packs do
    /// not mix switches.
    pub fn new(cells: &[&TrainConfig], device: &Device) -> Self {
        let lanes = |f: fn(&TrainConfig) -> f64| lane_tensor(cells.iter().map(|c| f(c)), device);
        let clips = cells.first().is_some_and(|c| c.clip_norm > 0.0);
        Self {
            learning_rate: lanes(|c| c.learning_rate),
            momentum: lanes(|c| c.momentum),
            weight_decay: lanes(|c| c.weight_decay),
            shrinkage: lanes(|c| 1.0 - c.learning_rate * c.weight_decay),
            epsilon: lanes(|c| c.epsilon),
            beta1: Decay::new(cells.iter().map(|c| c.beta1).collect(), device),
            beta2: Decay::new(cells.iter().map(|c| c.beta2).collect(), device),
            clip_norm: clips.then(|| lanes(|c| c.clip_norm)),
            device: device.clone(),
        }
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

/// Sum of squares over everything but the cell axis, `[C, 1, 1]`.
pub fn squared_norm(t: &Tensor<3>) -> Tensor<3> {
    (t.clone() * t.clone()).sum_dim(2).sum_dim(1)
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
    match state {
        State::Sgd { velocity } => {
            let velocity = zip3(velocity, gradients, parameters.clone(), |v, g, p| {
                v * settings.momentum.clone() + (g + p * settings.weight_decay.clone())
            });
            let parameters = zip(parameters, velocity.clone(), |p, v| p - v * settings.learning_rate.clone());
            (parameters, State::Sgd { velocity })
        }
        State::Adamw { first, second } => {
            let first = zip(first, gradients.clone(), |m, g| {
                m * settings.beta1.beta.clone() + g * settings.beta1.complement.clone()
            });
            let second = zip(second, gradients, |v, g| {
                v * settings.beta2.beta.clone() + g.clone() * g * settings.beta2.complement.clone()
            });
            let c1 = lane_tensor(settings.beta1.correction(step), &settings.device);
            let c2 = lane_tensor(settings.beta2.correction(step).map(f64::sqrt), &settings.device);
            let rate = settings.learning_rate.clone() / c1;
            let parameters = zip3(parameters, first.clone(), second.clone(), |p, m, v| {
                p * settings.shrinkage.clone() - m * rate.clone() / (v.sqrt() / c2.clone() + settings.epsilon.clone())
            });
            (parameters, State::Adamw { first, second })
        }
    }
}

fn zip(a: Parameters, b: Parameters, mut f: impl FnMut(Tensor<3>, Tensor<3>) -> Tensor<3>) -> Parameters {
    Parameters { img: a.img.zip(b.img, &mut f), txt: a.txt.zip(b.txt, &mut f) }
}

fn zip3(
    a: Parameters,
    b: Parameters,
    c: Parameters,
    mut f: impl FnMut(Tensor<3>, Tensor<3>, Tensor<3>) -> Tensor<3>,
) -> Parameters {
    let mut third: Vec<Tensor<3>> = c.tensors().into_iter().rev().cloned().collect();
    drop(c);
    zip(a, b, |x, y| f(x, y, third.pop().expect("same number of tensors")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aligner::parameters::host;

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
