//! The update rules, a launch per parameter tensor.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Device, Tensor, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use cubecl::prelude::*;

use super::fused;
use super::launch::{SIDE, argument, cubes, dims, owned, square};
use crate::aligner::optimiser::lane_tensor;

/// Settings of SGD, each `[C, 1, 1]`.
#[derive(Clone, Debug)]
pub struct Sgd {
    pub learning_rate: Tensor<3>,
    pub momentum: Tensor<3>,
    pub weight_decay: Tensor<3>,
}

/// `v = momentum v + (g + weight_decay p)`, `p -= learning_rate v`.
///
/// **Shapes**: `parameter`, `velocity` and `gradient` alike.
///
/// **Returns** the new parameter and velocity.
pub fn sgd(parameter: Tensor<3>, velocity: Tensor<3>, gradient: Tensor<3>, rule: &Sgd) -> (Tensor<3>, Tensor<3>) {
    if !fused(&parameter) {
        return plain_sgd(parameter, velocity, gradient, rule);
    }
    let (parameter, velocity) = Dispatch::sgd(
        parameter.into_dispatch(),
        velocity.into_dispatch(),
        gradient.into_dispatch(),
        rule.learning_rate.clone().into_dispatch(),
        rule.momentum.clone().into_dispatch(),
        rule.weight_decay.clone().into_dispatch(),
    );
    (Tensor::from_dispatch(parameter), Tensor::from_dispatch(velocity))
}

fn plain_sgd(parameter: Tensor<3>, velocity: Tensor<3>, gradient: Tensor<3>, rule: &Sgd) -> (Tensor<3>, Tensor<3>) {
    let decayed = gradient + parameter.clone() * rule.weight_decay.clone();
    let velocity = velocity * rule.momentum.clone() + decayed;
    (parameter - velocity.clone() * rule.learning_rate.clone(), velocity)
}

/// Settings of AdamW, each `[C, 1, 1]` but the last.
#[derive(Clone, Debug)]
pub struct Adamw {
    pub learning_rate: Tensor<3>,
    /// `1 - learning_rate weight_decay`.
    pub shrinkage: Tensor<3>,
    pub epsilon: Tensor<3>,
    /// Decays of the two moments, and what they leave, `1 - beta`.
    pub beta: [Tensor<3>; 2],
    pub complement: [Tensor<3>; 2],
    /// `[C, 1, 7]`, all of these in order: the fewest buffers that a device promises to bind do not hold them one by
    /// one.
    pub packed: Tensor<3>,
}

impl Adamw {
    /// From `learning_rate`, `shrinkage`, `epsilon`, `beta1`, `beta2`, `1 - beta1` and `1 - beta2`, one of each per cell.
    pub fn new(settings: [&[f64]; 7], device: &Device) -> Self {
        let [learning_rate, shrinkage, epsilon, beta1, beta2, rest1, rest2] =
            settings.map(|values| lane_tensor(values.iter().copied(), device));
        let cells = settings[0].len();
        let packed: Vec<f32> = (0..cells).flat_map(|c| settings.map(|values| values[c] as f32)).collect();
        let packed = Tensor::from_data(TensorData::new(packed, [cells, 1, settings.len()]), device);
        Self { learning_rate, shrinkage, epsilon, beta: [beta1, beta2], complement: [rest1, rest2], packed }
    }
}

/// `1 - beta1^t` and the root of `1 - beta2^t` at step `t`, each `[C, 1, 1]`.
pub type Corrections = [Tensor<3>; 2];

/// `p -= learning_rate weight_decay p`, then the bias-corrected Adam step.
///
/// **Shapes**: `parameter`, both `moments` and `gradient` alike.
///
/// **Returns** the new parameter and moments.
pub fn adamw(
    parameter: Tensor<3>,
    moments: [Tensor<3>; 2],
    gradient: Tensor<3>,
    rule: &Adamw,
    corrections: &Corrections,
) -> (Tensor<3>, [Tensor<3>; 2]) {
    if !fused(&parameter) {
        return plain_adamw(parameter, moments, gradient, rule, corrections);
    }
    let [first, second] = moments;
    let (parameter, first, second) = Dispatch::adamw(
        parameter.into_dispatch(),
        first.into_dispatch(),
        second.into_dispatch(),
        gradient.into_dispatch(),
        rule.packed.clone().into_dispatch(),
        corrections[0].clone().into_dispatch(),
        corrections[1].clone().into_dispatch(),
    );
    (Tensor::from_dispatch(parameter), [first, second].map(Tensor::from_dispatch))
}

fn plain_adamw(
    parameter: Tensor<3>,
    [first, second]: [Tensor<3>; 2],
    gradient: Tensor<3>,
    rule: &Adamw,
    [correction1, correction2]: &Corrections,
) -> (Tensor<3>, [Tensor<3>; 2]) {
    let [beta1, beta2] = rule.beta.clone();
    let [rest1, rest2] = rule.complement.clone();
    let first = first * beta1 + gradient.clone() * rest1;
    let second = second * beta2 + gradient.clone() * gradient * rest2;
    let rate = rule.learning_rate.clone() / correction1.clone();
    let root = second.clone().sqrt() / correction2.clone() + rule.epsilon.clone();
    (parameter * rule.shrinkage.clone() - first.clone() * rate / root, [first, second])
}

#[backend_extension(Cube)]
trait UpdateKernels: Backend {
    fn sgd(
        parameter: FloatTensor<Self>,
        velocity: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        learning_rate: FloatTensor<Self>,
        momentum: FloatTensor<Self>,
        weight_decay: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    fn adamw(
        parameter: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        settings: FloatTensor<Self>,
        correction1: FloatTensor<Self>,
        correction2: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl UpdateKernels for CubeBackend {
    fn sgd(
        parameter: FloatTensor<Self>,
        velocity: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        learning_rate: FloatTensor<Self>,
        momentum: FloatTensor<Self>,
        weight_decay: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let ([cells, rows, width], client) = (dims(&parameter), parameter.client.clone());
        let [parameter, velocity] = [parameter, velocity].map(owned);
        sgd_kernel::launch(
            &client,
            cubes((rows * width).div_ceil(SIDE * SIDE), cells),
            square(),
            argument(&parameter),
            argument(&velocity),
            argument(&into_contiguous(gradient)),
            argument(&into_contiguous(learning_rate)),
            argument(&into_contiguous(momentum)),
            argument(&into_contiguous(weight_decay)),
            rows * width,
        );
        (parameter, velocity)
    }

    fn adamw(
        parameter: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        settings: FloatTensor<Self>,
        correction1: FloatTensor<Self>,
        correction2: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let ([cells, rows, width], client) = (dims(&parameter), parameter.client.clone());
        let [parameter, first, second] = [parameter, first, second].map(owned);
        adamw_kernel::launch(
            &client,
            cubes((rows * width).div_ceil(SIDE * SIDE), cells),
            square(),
            argument(&parameter),
            argument(&first),
            argument(&second),
            argument(&into_contiguous(gradient)),
            argument(&into_contiguous(settings)),
            argument(&into_contiguous(correction1)),
            argument(&into_contiguous(correction2)),
            rows * width,
        );
        (parameter, first, second)
    }
}

/// A unit per number.
#[cube(launch)]
fn sgd_kernel(
    parameter: &mut [f32],
    velocity: &mut [f32],
    gradient: &[f32],
    learning_rate: &[f32],
    momentum: &[f32],
    weight_decay: &[f32],
    per_cell: usize,
) {
    let cell = CUBE_POS_Y as usize;
    let mut i = (CUBE_POS_X * CUBE_DIM + UNIT_POS) as usize;
    while i < per_cell {
        let at = cell * per_cell + i;
        let decayed = gradient[at] + parameter[at] * weight_decay[cell];
        let speed = velocity[at] * momentum[cell] + decayed;
        velocity[at] = speed;
        parameter[at] -= speed * learning_rate[cell];
        i += (CUBE_COUNT_X * CUBE_DIM) as usize;
    }
}

/// A unit per number.
#[cube(launch)]
fn adamw_kernel(
    parameter: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradient: &[f32],
    packed: &[f32],
    correction1: &[f32],
    correction2: &[f32],
    per_cell: usize,
) {
    let cell = CUBE_POS_Y as usize;
    let (learning_rate, shrinkage, epsilon) = (packed[cell * 7], packed[cell * 7 + 1], packed[cell * 7 + 2]);
    let (beta1, beta2) = (packed[cell * 7 + 3], packed[cell * 7 + 4]);
    let (rest1, rest2) = (packed[cell * 7 + 5], packed[cell * 7 + 6]);
    let rate = learning_rate / correction1[cell];
    let mut i = (CUBE_POS_X * CUBE_DIM + UNIT_POS) as usize;
    while i < per_cell {
        let at = cell * per_cell + i;
        let g = gradient[at];
        let m = first[at] * beta1 + g * rest1;
        let v = second[at] * beta2 + g * g * rest2;
        first[at] = m;
        second[at] = v;
        let root = v.sqrt() / correction2[cell] + epsilon;
        parameter[at] = parameter[at] * shrinkage - m * rate / root;
        i += (CUBE_COUNT_X * CUBE_DIM) as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{HEADROOM, SHAPES, assert_near, drawn, on_wgpu};
    use super::*;
    use crate::aligner::parameters::host;

    /// Something else for each cell.
    fn lanes(cells: usize, from: f64, by: f64) -> Vec<f64> {
        (0..cells).map(|c| from + by * c as f64).collect()
    }

    #[test]
    fn sgd_is_that_of_the_plain_program() {
        on_wgpu(|device| {
            for shape in SHAPES {
                let lane = |from, by| lane_tensor(lanes(shape[0], from, by).into_iter(), device);
                let rule =
                    Sgd { learning_rate: lane(0.1, 0.3), momentum: lane(0.9, -0.4), weight_decay: lane(0.0, 0.1) };
                let [p, v, g] = ["p", "v", "g"].map(|name| drawn(name, shape, device));
                let plain = plain_sgd(p.clone(), v.clone(), g.clone(), &rule);
                let before = host(p.clone());
                let (parameter, velocity) = sgd(p.clone(), v, g, &rule);
                assert_near("parameter", parameter, plain.0, HEADROOM);
                assert_near("velocity", velocity, plain.1, HEADROOM);
                assert_eq!(host(p), before, "what others hold is not written over");
            }
        });
    }

    #[test]
    fn adamw_is_that_of_the_plain_program() {
        on_wgpu(|device| {
            for shape in SHAPES {
                let c = shape[0];
                let settings =
                    [(0.1, 0.2), (0.9, 0.05), (1e-3, 1e-3), (0.9, -0.1), (0.99, -0.1), (0.1, 0.1), (0.01, 0.1)];
                let settings = settings.map(|(from, by)| lanes(c, from, by));
                let rule = Adamw::new(std::array::from_fn(|i| &settings[i][..]), device);
                let corrections = [0.1, 0.2].map(|from| lane_tensor(lanes(c, from, 0.1).into_iter(), device));
                let [p, m, v, g] = ["p", "m", "v", "g"].map(|name| drawn(name, shape, device));
                let moments = [m, v.clone() * v];
                let plain = plain_adamw(p.clone(), moments.clone(), g.clone(), &rule, &corrections);
                let (parameter, [first, second]) = adamw(p, moments, g, &rule, &corrections);
                assert_near("parameter", parameter, plain.0, HEADROOM);
                let [plain_first, plain_second] = plain.1;
                assert_near("first moment", first, plain_first, HEADROOM);
                assert_near("second moment", second, plain_second, HEADROOM);
            }
        });
    }
}
