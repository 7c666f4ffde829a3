//! Update rules of one cell: the same as [`crate::aligner::optimiser`], in place.

use pulp::{Arch, Simd, WithSimd};

use super::encoder::{self, Encoder};
use super::matrix::Matrix;
use super::pointwise::sum_of_squares;
use super::product::{Finish, vectors_mut};
use crate::aligner::optimiser::CLIP_GUARD;
use crate::aligner::parameters::Widths;
use crate::spec::config::{Optimiser, TrainConfig};

/// What an update rule remembers between steps, for both encoders.
// There is one per cell, on the heap already.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum State {
    /// Without momentum the velocity is the gradient, and none is kept.
    Sgd {
        velocity: Option<[Encoder; 2]>,
    },
    Adamw {
        first: [Encoder; 2],
        second: [Encoder; 2],
    },
}

impl State {
    pub fn new(train: &TrainConfig, widths: [Widths; 2]) -> Self {
        let zeros = || widths.map(Encoder::zeros);
        match train.optimiser {
            Optimiser::Sgd => Self::Sgd { velocity: (train.momentum != 0.0).then(zeros) },
            Optimiser::Adamw => Self::Adamw { first: zeros(), second: zeros() },
        }
    }
}

/// Euclidean norm of a matrix.
pub fn norm(arch: Arch, matrix: &Matrix) -> f32 {
    arch.dispatch(SquaredNorm(matrix)).sqrt()
}

/// Euclidean norm of an encoder's gradient, and of each of its layers (weights and biases together).
pub fn gradient_norms(arch: Arch, gradient: &Encoder) -> [f32; 3] {
    let [w1, b1, w2, b2] = gradient.tensors().map(|t| arch.dispatch(SquaredNorm(t)));
    let (layer1, layer2) = (w1 + b1, w2 + b2);
    [(layer1 + layer2).sqrt(), layer1.sqrt(), layer2.sqrt()]
}

/// One update of all parameters; `step` counts from 1. Clips first, when clipping is on.
pub fn update(
    arch: Arch,
    parameters: &mut [Encoder; 2],
    gradients: &[Encoder; 2],
    state: &mut State,
    train: &TrainConfig,
    step: u64,
) {
    for m in 0..2 {
        let scale = match train.clip_norm > 0.0 {
            true => {
                let [norm, ..] = gradient_norms(arch, &gradients[m]);
                // A norm that is not a number must not become 1.
                let factor = train.clip_norm as f32 / (norm + CLIP_GUARD as f32);
                if factor > 1.0 { 1.0 } else { factor }
            }
            false => 1.0,
        };
        let tensors = parameters[m].tensors_mut().into_iter().zip(gradients[m].tensors());
        match state {
            State::Sgd { velocity } => {
                let [rate, momentum, decay] =
                    [train.learning_rate_at(step), train.momentum, train.weight_decay].map(|v| v as f32);
                match velocity {
                    Some(velocity) => {
                        for ((p, g), v) in tensors.zip(velocity[m].tensors_mut()) {
                            arch.dispatch(Momentum { p, g, v, scale, rate, momentum, decay });
                        }
                    }
                    None => tensors.for_each(|(p, g)| arch.dispatch(Sgd { p, g, scale, rate, decay })),
                }
            }
            State::Adamw { first, second } => {
                let settings = AdamwSettings::new(train, step);
                let moments = first[m].tensors_mut().into_iter().zip(second[m].tensors_mut());
                for ((p, g), (first, second)) in tensors.zip(moments) {
                    arch.dispatch(Adamw { p, g, first, second, scale, settings: &settings });
                }
            }
        }
    }
}

/// Whether an update is plain gradient descent, which needs no gradient but entry by entry.
pub fn descends(train: &TrainConfig) -> bool {
    train.optimiser == Optimiser::Sgd && train.momentum == 0.0 && train.clip_norm == 0.0
}

/// Plain gradient descent of one encoder from what the backward pass left, without storing the weights' gradients: the
/// same bits as [`update`], where [`descends`] says so. `scratch` holds the biases' gradients.
pub fn descend(
    arch: Arch,
    backward: &encoder::Workspace,
    scratch: &mut Encoder,
    parameters: &mut Encoder,
    train: &TrainConfig,
    step: u64,
) {
    let [rate, decay] = [train.learning_rate_at(step), train.weight_decay].map(|v| v as f32);
    backward.bias_gradients(arch, scratch);
    let Encoder { w1, b1, w2, b2 } = parameters;
    backward.weight_gradients(arch, &mut Descend { p: w1, rate, decay }, &mut Descend { p: w2, rate, decay });
    for (p, g) in [(b1, &scratch.b1), (b2, &scratch.b2)] {
        arch.dispatch(Sgd { p, g, scale: 1.0, rate, decay });
    }
}

/// Moves parameters against their gradients as these come out of a product.
struct Descend<'a> {
    p: &'a mut Matrix,
    rate: f32,
    decay: f32,
}

impl Finish for Descend<'_> {
    #[inline(always)]
    fn take<S: Simd, const V: usize>(&mut self, simd: S, row: usize, column: usize, entries: [S::f32s; V]) {
        let (rate, decay) = (simd.splat_f32s(self.rate), simd.splat_f32s(self.decay));
        for (p, g) in vectors_mut::<S, V>(self.p, row, column).iter_mut().zip(entries) {
            *p = simd.negate_mul_add_e_f32s(simd.mul_add_e_f32s(*p, decay, g), rate, *p);
        }
    }
}

struct SquaredNorm<'a>(&'a Matrix);

impl WithSimd for SquaredNorm<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        sum_of_squares(simd, self.0.padded())
    }
}

struct Sgd<'a> {
    p: &'a mut Matrix,
    g: &'a Matrix,
    scale: f32,
    rate: f32,
    decay: f32,
}

impl WithSimd for Sgd<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [scale, rate, decay] = [self.scale, self.rate, self.decay].map(|v| simd.splat_f32s(v));
        let p = S::as_mut_simd_f32s(self.p.padded_mut()).0;
        for (p, g) in p.iter_mut().zip(S::as_simd_f32s(self.g.padded()).0) {
            let gradient = simd.mul_add_e_f32s(*p, decay, simd.mul_f32s(*g, scale));
            *p = simd.negate_mul_add_e_f32s(gradient, rate, *p);
        }
    }
}

struct Momentum<'a> {
    p: &'a mut Matrix,
    g: &'a Matrix,
    v: &'a mut Matrix,
    scale: f32,
    rate: f32,
    momentum: f32,
    decay: f32,
}

impl WithSimd for Momentum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [scale, rate, momentum, decay] =
            [self.scale, self.rate, self.momentum, self.decay].map(|v| simd.splat_f32s(v));
        let p = S::as_mut_simd_f32s(self.p.padded_mut()).0;
        let (g, v) = (S::as_simd_f32s(self.g.padded()).0, S::as_mut_simd_f32s(self.v.padded_mut()).0);
        for ((p, g), v) in p.iter_mut().zip(g).zip(v) {
            let gradient = simd.mul_add_e_f32s(*p, decay, simd.mul_f32s(*g, scale));
            *v = simd.mul_add_e_f32s(*v, momentum, gradient);
            *p = simd.negate_mul_add_e_f32s(*v, rate, *p);
        }
    }
}

#[derive(Clone, Copy)]
struct AdamwSettings {
    beta: [f32; 2],
    complement: [f32; 2],
    /// Learning rate over the first bias correction.
    rate: f32,
    /// Square root of the second bias correction.
    correction: f32,
    shrinkage: f32,
    epsilon: f32,
}

impl AdamwSettings {
    /// Bias corrections in f64, where `1 - beta^step` does not cancel.
    fn new(train: &TrainConfig, step: u64) -> Self {
        let rate = train.learning_rate_at(step);
        let correction = |beta: f64| 1.0 - libm::pow(beta, step as f64);
        let betas = [train.beta1, train.beta2];
        Self {
            beta: betas.map(|b| b as f32),
            complement: betas.map(|b| (1.0 - b) as f32),
            rate: rate as f32 / correction(train.beta1) as f32,
            correction: correction(train.beta2).sqrt() as f32,
            shrinkage: (1.0 - rate * train.weight_decay) as f32,
            // Not below what f32 holds, as in the tensor program; padding has no gradient and must stay zero.
            epsilon: (train.epsilon as f32).max(f32::MIN_POSITIVE),
        }
    }
}

struct Adamw<'a> {
    p: &'a mut Matrix,
    g: &'a Matrix,
    first: &'a mut Matrix,
    second: &'a mut Matrix,
    scale: f32,
    settings: &'a AdamwSettings,
}

impl WithSimd for Adamw<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let s = self.settings;
        let scale = simd.splat_f32s(self.scale);
        let [beta1, beta2] = s.beta.map(|v| simd.splat_f32s(v));
        let [rest1, rest2] = s.complement.map(|v| simd.splat_f32s(v));
        let [rate, correction, shrinkage, epsilon] =
            [s.rate, s.correction, s.shrinkage, s.epsilon].map(|v| simd.splat_f32s(v));
        let p = S::as_mut_simd_f32s(self.p.padded_mut()).0;
        let g = S::as_simd_f32s(self.g.padded()).0;
        let first = S::as_mut_simd_f32s(self.first.padded_mut()).0;
        let second = S::as_mut_simd_f32s(self.second.padded_mut()).0;
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(first).zip(second) {
            let g = simd.mul_f32s(*g, scale);
            *m = simd.mul_add_e_f32s(*m, beta1, simd.mul_f32s(g, rest1));
            *v = simd.mul_add_e_f32s(*v, beta2, simd.mul_f32s(simd.mul_f32s(g, g), rest2));
            let divisor = simd.add_f32s(simd.div_f32s(simd.sqrt_f32s(*v), correction), epsilon);
            let moved = simd.div_f32s(simd.mul_f32s(*m, rate), divisor);
            *p = simd.sub_f32s(simd.mul_f32s(*p, shrinkage), moved);
        }
    }
}
