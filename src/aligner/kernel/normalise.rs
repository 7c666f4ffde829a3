//! Bias and L2 normalisation after the second product, and the way back through both.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use cubecl::prelude::*;

use super::fused;
use super::launch::{SIDE, argument, cubes, dims, empty, line_sum, owned, partials, square};
use crate::numerics::linalg::NORM_GUARD;

/// Unit vectors `raw / norm` of `raw = product + bias`, with `norm = sqrt(|raw|^2 + NORM_GUARD)`.
///
/// **Shapes**: `product [C, N, D]`, `bias [C, 1, D]`.
///
/// **Returns** norms `[C, N, 1]` and unit vectors `[C, N, D]`.
///
/// **Numerics**: a row longer than 1.8e19 has an infinite norm and the unit vector 0.
pub fn bias_normalise(product: Tensor<3>, bias: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    if !fused(&product) {
        return plain_bias_normalise(product, bias);
    }
    let (norm, unit) = Dispatch::bias_normalise(product.into_dispatch(), bias.into_dispatch());
    (Tensor::from_dispatch(norm), Tensor::from_dispatch(unit))
}

fn plain_bias_normalise(product: Tensor<3>, bias: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    let raw = product + bias;
    let norm = (raw.clone() * raw.clone()).sum_dim(2).add_scalar(NORM_GUARD).sqrt();
    let unit = raw / norm.clone();
    (norm, unit)
}

/// Gradient before the normalisation, `(d - z (z . d)) / norm`.
///
/// **Shapes**: `d_unit` and `unit [C, N, D]`, `norm [C, N, 1]`.
///
/// **Returns** it, `[C, N, D]`, and its sum over rows, the gradient of the bias, `[C, 1, D]`.
///
/// **Numerics**: the normalisation's Jacobian `(I - z z') / norm` is exact for the guarded norm too.
pub fn normalise_backward(d_unit: Tensor<3>, unit: Tensor<3>, norm: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    if !fused(&d_unit) {
        return plain_normalise_backward(d_unit, unit, norm);
    }
    let (d, unit, norm) = (d_unit.into_dispatch(), unit.into_dispatch(), norm.into_dispatch());
    let (d_raw, d_bias) = Dispatch::normalise_backward(d, unit, norm);
    (Tensor::from_dispatch(d_raw), Tensor::from_dispatch(d_bias))
}

fn plain_normalise_backward(d_unit: Tensor<3>, unit: Tensor<3>, norm: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    let along = (d_unit.clone() * unit.clone()).sum_dim(2);
    let d_raw = (d_unit - unit * along) / norm;
    (d_raw.clone(), d_raw.sum_dim(1))
}

#[backend_extension(Cube)]
trait NormaliseKernels: Backend {
    fn bias_normalise(product: FloatTensor<Self>, bias: FloatTensor<Self>) -> (FloatTensor<Self>, FloatTensor<Self>);
    fn normalise_backward(
        d_unit: FloatTensor<Self>,
        unit: FloatTensor<Self>,
        norm: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

impl NormaliseKernels for CubeBackend {
    fn bias_normalise(product: FloatTensor<Self>, bias: FloatTensor<Self>) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let ([cells, rows, width], client) = (dims(&product), product.client.clone());
        let (unit, bias) = (owned(product), into_contiguous(bias));
        let norm = empty(&unit, [cells, rows, 1]);
        bias_normalise_kernel::launch(
            &client,
            cubes(rows.div_ceil(SIDE), cells),
            square(),
            argument(&unit),
            argument(&bias),
            argument(&norm),
            NORM_GUARD as f32,
            rows,
            width,
        );
        (norm, unit)
    }

    fn normalise_backward(
        d_unit: FloatTensor<Self>,
        unit: FloatTensor<Self>,
        norm: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let ([cells, rows, width], client) = (dims(&d_unit), d_unit.client.clone());
        let (d_raw, unit, norm) = (owned(d_unit), into_contiguous(unit), into_contiguous(norm));
        let d_bias = empty(&d_raw, [cells, 1, width]);
        normalise_backward_kernel::launch(
            &client,
            cubes(1, cells),
            square(),
            argument(&d_raw),
            argument(&unit),
            argument(&norm),
            argument(&d_bias),
            rows,
            width,
        );
        (d_raw, d_bias)
    }
}

/// Rows along y; the units of a row share its numbers, and each reads again only what it wrote itself.
#[cube(launch)]
fn bias_normalise_kernel(values: &mut [f32], bias: &[f32], norm: &mut [f32], guard: f32, rows: usize, width: usize) {
    let cell = CUBE_POS_Y as usize;
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let mut partials = partials();
    let mut block = CUBE_POS_X as usize;
    while block * SIDE < rows {
        let row = block * SIDE + y;
        let first = (cell * rows + row) * width;
        let mut squares = 0.0f32;
        if row < rows {
            let mut column = x;
            while column < width {
                let raw = values[first + column] + bias[cell * width + column];
                values[first + column] = raw;
                squares += raw * raw;
                column += SIDE;
            }
        }
        let length = (line_sum(&mut partials, squares, y, x) + guard).sqrt();
        if row < rows {
            if x == 0 {
                norm[cell * rows + row] = length;
            }
            let mut column = x;
            while column < width {
                values[first + column] /= length;
                column += SIDE;
            }
        }
        block += CUBE_COUNT_X as usize;
    }
}

/// One cube per cell: first along rows, then down columns for the bias. The unit at `(x, y)` owns the numbers whose row
/// is `y` and whose column is `x` modulo the side, so that it reads again only what it wrote itself.
#[cube(launch)]
fn normalise_backward_kernel(d: &mut [f32], unit: &[f32], norm: &[f32], d_bias: &mut [f32], rows: usize, width: usize) {
    let cell = CUBE_POS_Y as usize;
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let mut partials = partials();
    let mut block = 0usize;
    while block < rows {
        let row = block + y;
        let first = (cell * rows + row) * width;
        let mut along = 0.0f32;
        if row < rows {
            let mut column = x;
            while column < width {
                along += d[first + column] * unit[first + column];
                column += SIDE;
            }
        }
        let along = line_sum(&mut partials, along, y, x);
        if row < rows {
            let length = norm[cell * rows + row];
            let mut column = x;
            while column < width {
                d[first + column] = (d[first + column] - unit[first + column] * along) / length;
                column += SIDE;
            }
        }
        block += SIDE;
    }
    let mut block = 0usize;
    while block < width {
        let column = block + x;
        let mut sum = 0.0f32;
        if column < width {
            let mut row = y;
            while row < rows {
                sum += d[(cell * rows + row) * width + column];
                row += SIDE;
            }
        }
        let sum = line_sum(&mut partials, sum, x, y);
        if y == 0 && column < width {
            d_bias[cell * width + column] = sum;
        }
        block += SIDE;
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{HEADROOM, SHAPES, assert_near, drawn, on_wgpu, tensor};
    use super::*;
    use crate::aligner::parameters::host;

    #[test]
    fn bias_and_normalisation_are_those_of_the_plain_program() {
        on_wgpu(|device| {
            for [cells, rows, width] in SHAPES {
                let product = drawn("product", [cells, rows, width], device);
                let bias = drawn("bias", [cells, 1, width], device);
                let (norm, unit) = plain_bias_normalise(product.clone(), bias.clone());
                let (fused_norm, fused_unit) = bias_normalise(product, bias);
                assert_near("unit", fused_unit, unit, HEADROOM * (width as f64).sqrt());
                assert_near("norm", fused_norm, norm, HEADROOM * (width as f64).sqrt());
            }
        });
    }

    #[test]
    fn the_way_back_through_the_normalisation_is_that_of_the_plain_program() {
        on_wgpu(|device| {
            for [cells, rows, width] in SHAPES {
                let raw = drawn("raw", [cells, rows, width], device);
                let (norm, unit) = plain_bias_normalise(raw, Tensor::zeros([cells, 1, width], device));
                // Bounded away from zero, so that the gradient's scale is that of the draws.
                let norm = norm.add_scalar(1.0);
                let d_unit = drawn("d_unit", [cells, rows, width], device);
                let plain = plain_normalise_backward(d_unit.clone(), unit.clone(), norm.clone());
                let (d_raw, d_bias) = normalise_backward(d_unit, unit, norm);
                assert_near("d_raw", d_raw, plain.0, HEADROOM * (width as f64).sqrt());
                assert_near("bias", d_bias, plain.1, HEADROOM * ((width + rows) as f64).sqrt());
            }
        });
    }

    #[test]
    fn rows_of_zeros_and_rows_that_overflow_end_as_in_the_plain_program() {
        on_wgpu(|device| {
            let rows = [[0.0, 0.0, 0.0], [1e-20, 0.0, 0.0], [3e19, 1.0, -4.0], [f32::NAN, 0.0, 0.0], [3.0, 0.0, 4.0]];
            let product = tensor(&rows.concat(), [1, 5, 3], device);
            let bias = Tensor::zeros([1, 1, 3], device);
            let (norm, unit) = plain_bias_normalise(product.clone(), bias.clone());
            let (fused_norm, fused_unit) = bias_normalise(product, bias);
            assert_eq!(host(fused_norm.clone())[2], f32::INFINITY);
            assert_near("unit", fused_unit, unit, HEADROOM);
            assert_near("norm", fused_norm, norm, HEADROOM);
        });
    }
}
