//! Reductions of a whole cell to one number: squared norms, and the watch over norms that overflow.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use cubecl::prelude::*;

use super::fused;
use super::launch::{SIDE, argument, cube_sum, cubes, dims, empty, owned, partials, square};

/// Sum of squares over everything but the cell axis.
///
/// **Shapes**: any `[C, N, W]`; returns `[C, 1, 1]`.
pub fn squared_norm(t: &Tensor<3>) -> Tensor<3> {
    if !fused(t) {
        return plain_squared_norm(t);
    }
    Tensor::from_dispatch(Dispatch::squared_norm(t.clone().into_dispatch()))
}

fn plain_squared_norm(t: &Tensor<3>) -> Tensor<3> {
    (t.clone() * t.clone()).sum_dim(2).sum_dim(1)
}

/// `loss [C, 1, 1]` where all norms `[C, B, 1]` of a cell are finite, else not-a-number.
///
/// An infinite norm makes the unit vector 0, the loss exactly `ln B` and every gradient 0: training would be over and
/// look healthy.
pub fn mark_overflow(loss: Tensor<3>, norms: [&Tensor<3>; 2]) -> Tensor<3> {
    if !fused(&loss) {
        return plain_mark_overflow(loss, norms);
    }
    let [img, txt] = norms.map(|norm| norm.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::mark_overflow(loss.into_dispatch(), img, txt))
}

fn plain_mark_overflow(loss: Tensor<3>, norms: [&Tensor<3>; 2]) -> Tensor<3> {
    norms.into_iter().fold(loss, |loss, norm| loss + (norm.clone() - norm.clone()).mean_dim(1))
}

#[backend_extension(Cube)]
trait NormKernels: Backend {
    fn squared_norm(t: FloatTensor<Self>) -> FloatTensor<Self>;
    fn mark_overflow(loss: FloatTensor<Self>, img: FloatTensor<Self>, txt: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl NormKernels for CubeBackend {
    fn squared_norm(t: FloatTensor<Self>) -> FloatTensor<Self> {
        let ([cells, rows, width], client) = (dims(&t), t.client.clone());
        let (t, out) = (into_contiguous(t.clone()), empty(&t, [cells, 1, 1]));
        squared_norm_kernel::launch(&client, cubes(1, cells), square(), argument(&t), argument(&out), rows * width);
        out
    }

    fn mark_overflow(loss: FloatTensor<Self>, img: FloatTensor<Self>, txt: FloatTensor<Self>) -> FloatTensor<Self> {
        let ([cells, rows, _], client) = (dims(&img), img.client.clone());
        let (out, img, txt) = (owned(loss), into_contiguous(img), into_contiguous(txt));
        let arguments = (argument(&out), argument(&img), argument(&txt));
        // A zero that a compiler cannot see: it may take any number for finite, and so its product with zero for zero.
        let zero = 0.0;
        let count = cubes(1, cells);
        mark_overflow_kernel::launch(&client, count, square(), arguments.0, arguments.1, arguments.2, zero, rows);
        out
    }
}

/// One cube per cell.
#[cube(launch)]
fn squared_norm_kernel(values: &[f32], out: &mut [f32], per_cell: usize) {
    let cell = CUBE_POS_Y as usize;
    let mut partials = partials();
    let mut sum = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < per_cell {
        let value = values[cell * per_cell + i];
        sum += value * value;
        i += SIDE * SIDE;
    }
    let sum = cube_sum(&mut partials, sum);
    if UNIT_POS == 0 {
        out[cell] = sum;
    }
}

/// One cube per cell.
#[cube(launch)]
fn mark_overflow_kernel(loss: &mut [f32], img: &[f32], txt: &[f32], zero: f32, rows: usize) {
    let cell = CUBE_POS_Y as usize;
    let mut partials = partials();
    let mut mark = 0.0f32;
    let mut row = UNIT_POS as usize;
    while row < rows {
        mark += img[cell * rows + row] * zero + txt[cell * rows + row] * zero;
        row += SIDE * SIDE;
    }
    let mark = cube_sum(&mut partials, mark);
    if UNIT_POS == 0 {
        loss[cell] += mark;
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{HEADROOM, SHAPES, assert_near, drawn, on_wgpu, tensor};
    use super::*;
    use crate::aligner::parameters::host;

    #[test]
    fn squared_norms_are_those_of_the_plain_program() {
        on_wgpu(|device| {
            for [cells, rows, width] in SHAPES {
                let t = drawn("t", [cells, rows, width], device);
                let spacings = HEADROOM * ((rows * width) as f64).sqrt();
                assert_near("squared norm", squared_norm(&t), plain_squared_norm(&t), spacings);
            }
        });
    }

    #[test]
    fn norms_that_overflow_mark_the_loss_of_their_own_cell() {
        on_wgpu(|device| {
            let rows = 300;
            for (place, bad) in [(0, f32::INFINITY), (299, f32::INFINITY), (17, f32::NAN)] {
                let mut norm = vec![1.0_f32; 3 * rows];
                norm[rows + place] = bad;
                norm[2 * rows] = 1.8e19;
                let [sick, sound] = [norm, vec![2.0; 3 * rows]].map(|v| tensor(&v, [3, rows, 1], device));
                for norms in [[&sick, &sound], [&sound, &sick]] {
                    let loss = || tensor(&[1.0, 2.0, 3.0], [3, 1, 1], device);
                    for marked in [mark_overflow(loss(), norms), plain_mark_overflow(loss(), norms)].map(host) {
                        assert!(marked[0] == 1.0 && marked[1].is_nan() && marked[2] == 3.0, "{marked:?}");
                    }
                }
            }
        });
    }
}
