//! Bias and tanh after the first product, and the way back through both.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use cubecl::prelude::*;

use super::fused;
use super::launch::{SIDE, argument, cubes, dims, empty, line_sum, owned, partials, square};

/// `tanh(product + bias)`.
///
/// **Shapes**: `product [C, N, H]`, `bias [C, 1, H]`; returns `[C, N, H]`.
pub fn bias_tanh(product: Tensor<3>, bias: Tensor<3>) -> Tensor<3> {
    if !fused(&product) {
        return plain_bias_tanh(product, bias);
    }
    Tensor::from_dispatch(Dispatch::bias_tanh(product.into_dispatch(), bias.into_dispatch()))
}

fn plain_bias_tanh(product: Tensor<3>, bias: Tensor<3>) -> Tensor<3> {
    (product + bias).tanh()
}

/// Gradient before the tanh, `(1 - hidden^2) d_hidden`.
///
/// **Shapes**: `hidden` and `d_hidden [C, N, H]`.
///
/// **Returns** it, `[C, N, H]`, and its sum over rows, the gradient of the bias, `[C, 1, H]`.
pub fn tanh_backward(d_hidden: Tensor<3>, hidden: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    if !fused(&d_hidden) {
        return plain_tanh_backward(d_hidden, hidden);
    }
    let (d, d_bias) = Dispatch::tanh_backward(d_hidden.into_dispatch(), hidden.into_dispatch());
    (Tensor::from_dispatch(d), Tensor::from_dispatch(d_bias))
}

fn plain_tanh_backward(d_hidden: Tensor<3>, hidden: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    // (1 - h^2) d = d - h (h d)
    let d = d_hidden.clone() - hidden.clone() * (hidden * d_hidden);
    (d.clone(), d.sum_dim(1))
}

#[backend_extension(Cube)]
trait TanhKernels: Backend {
    fn bias_tanh(product: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self>;
    fn tanh_backward(d_hidden: FloatTensor<Self>, hidden: FloatTensor<Self>) -> (FloatTensor<Self>, FloatTensor<Self>);
}

impl TanhKernels for CubeBackend {
    fn bias_tanh(product: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let ([cells, rows, width], client) = (dims(&product), product.client.clone());
        let (out, bias) = (owned(product), into_contiguous(bias));
        let count = cubes((rows * width).div_ceil(SIDE * SIDE), cells);
        bias_tanh_kernel::launch(&client, count, square(), argument(&out), argument(&bias), rows * width, width);
        out
    }

    fn tanh_backward(d_hidden: FloatTensor<Self>, hidden: FloatTensor<Self>) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let ([cells, rows, width], client) = (dims(&d_hidden), d_hidden.client.clone());
        let (out, hidden) = (owned(d_hidden), into_contiguous(hidden));
        let d_bias = empty(&out, [cells, 1, width]);
        let count = cubes(width.div_ceil(SIDE), cells);
        let arguments = (argument(&out), argument(&hidden), argument(&d_bias));
        tanh_backward_kernel::launch(&client, count, square(), arguments.0, arguments.1, arguments.2, rows, width);
        (out, d_bias)
    }
}

/// A unit per number.
#[cube(launch)]
fn bias_tanh_kernel(values: &mut [f32], bias: &[f32], per_cell: usize, width: usize) {
    let cell = CUBE_POS_Y as usize;
    let mut i = (CUBE_POS_X * CUBE_DIM + UNIT_POS) as usize;
    while i < per_cell {
        let at = cell * per_cell + i;
        values[at] = (values[at] + bias[cell * width + i % width]).tanh();
        i += (CUBE_COUNT_X * CUBE_DIM) as usize;
    }
}

/// Columns along x; the units of a column share its rows.
#[cube(launch)]
fn tanh_backward_kernel(d: &mut [f32], hidden: &[f32], d_bias: &mut [f32], rows: usize, width: usize) {
    let cell = CUBE_POS_Y as usize;
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let mut partials = partials();
    let mut block = CUBE_POS_X as usize;
    while block * SIDE < width {
        let column = block * SIDE + x;
        let mut sum = 0.0f32;
        if column < width {
            let mut row = y;
            while row < rows {
                let at = (cell * rows + row) * width + column;
                let h = hidden[at];
                let before = d[at] - h * (h * d[at]);
                d[at] = before;
                sum += before;
                row += SIDE;
            }
        }
        let sum = line_sum(&mut partials, sum, x, y);
        if y == 0 && column < width {
            d_bias[cell * width + column] = sum;
        }
        block += CUBE_COUNT_X as usize;
    }
}
#[cfg(test)]
mod tests {
    use super::super::fixture::{HEADROOM, SHAPES, assert_near, drawn, on_wgpu};
    use super::*;

    #[test]
    fn bias_and_tanh_are_those_of_the_plain_program() {
        on_wgpu(|device| {
            for [cells, rows, width] in SHAPES {
                let product = drawn("product", [cells, rows, width], device).mul_scalar(5.0);
                let bias = drawn("bias", [cells, 1, width], device);
                let plain = plain_bias_tanh(product.clone(), bias.clone());
                assert_near("hidden", bias_tanh(product, bias), plain, HEADROOM);
            }
        });
    }

    #[test]
    fn the_way_back_through_the_tanh_is_that_of_the_plain_program() {
        on_wgpu(|device| {
            for [cells, rows, width] in SHAPES {
                let hidden = drawn("hidden", [cells, rows, width], device).tanh();
                let d_hidden = drawn("d_hidden", [cells, rows, width], device);
                let plain = plain_tanh_backward(d_hidden.clone(), hidden.clone());
                let (d, d_bias) = tanh_backward(d_hidden, hidden);
                assert_near("d", d, plain.0, HEADROOM);
                assert_near("bias", d_bias, plain.1, HEADROOM * (rows as f64).sqrt());
            }
        });
    }
}
