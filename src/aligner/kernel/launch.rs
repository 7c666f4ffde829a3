//! What the kernels and their launches share.

use burn::backend::TensorMetadata;
use burn::tensor::{Shape, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// Side of the square that the units of a cube form. Sixteen squared is the largest cube that every WebGPU device
/// promises, and sixteen numbers side by side are a memory transaction.
pub const SIDE: usize = 16;

/// Shared memory of the reductions: a line of partial results per side, a number longer than the side, so that the
/// lines of a column start in different memory banks.
const PARTIALS: usize = SIDE * (SIDE + 1);

/// Most cubes along one axis of a launch that every WebGPU device promises.
const MOST_CUBES: usize = 65_535;

/// Units in a square.
pub fn square() -> CubeDim {
    CubeDim::new_2d(SIDE as u32, SIDE as u32)
}

/// Cubes for `per_cell` independent pieces of work in each of `cells` cells: cells along y, pieces along x. Kernels
/// walk on by the width of x, so that a cell of any size is covered.
pub fn cubes(per_cell: usize, cells: usize) -> CubeCount {
    CubeCount::Static(per_cell.clamp(1, MOST_CUBES) as u32, cells as u32, 1)
}

/// Whether a pack of this size has a cube along y for each of its cells.
pub fn fits<const R: usize>(tensor: &Tensor<R>) -> bool {
    tensor.dims()[0] <= MOST_CUBES
}

/// A row-major tensor that nobody else holds, to be written in place.
pub fn owned(tensor: CubeTensor) -> CubeTensor {
    let tensor = into_contiguous(tensor);
    if tensor.can_mut() { tensor } else { tensor.copy() }
}

/// An uninitialised row-major tensor on the device of `like`.
pub fn empty(like: &CubeTensor, shape: [usize; 3]) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), Shape::from(shape), like.dtype)
}

/// The three dimensions of a tensor of the aligner.
pub fn dims(tensor: &CubeTensor) -> [usize; 3] {
    tensor.shape().dims()
}

/// A row-major tensor as a kernel's argument.
pub fn argument(tensor: &CubeTensor) -> BufferArg {
    tensor.clone().into_buffer_arg()
}

/// Shared memory for [`line_sum`] and [`line_max`].
#[cube]
pub fn partials() -> Shared<[f32]> {
    Shared::<[f32]>::new_slice(PARTIALS)
}

/// Sum of `value` over the units of a line, handed to each of them. All units of the cube must come here together.
#[cube]
pub fn line_sum(partials: &mut Shared<[f32]>, value: f32, line: usize, unit: usize) -> f32 {
    partials[line * (SIDE + 1) + unit] = value;
    sync_cube();
    let mut sum = 0.0f32;
    for other in 0..SIDE {
        sum += partials[line * (SIDE + 1) + other];
    }
    sync_cube();
    sum
}

/// Largest `value` over the units of a line, handed to each of them. All units of the cube must come here together.
#[cube]
pub fn line_max(partials: &mut Shared<[f32]>, value: f32, line: usize, unit: usize) -> f32 {
    partials[line * (SIDE + 1) + unit] = value;
    sync_cube();
    let mut largest = value;
    for other in 0..SIDE {
        largest = largest.max(partials[line * (SIDE + 1) + other]);
    }
    sync_cube();
    largest
}

/// Sum of `value` over all units of the cube.
#[cube]
pub fn cube_sum(partials: &mut Shared<[f32]>, value: f32) -> f32 {
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let along = line_sum(partials, value, y, x);
    line_sum(partials, along, x, y)
}

/// Largest `value` over all units of the cube.
#[cube]
pub fn cube_max(partials: &mut Shared<[f32]>, value: f32) -> f32 {
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let along = line_max(partials, value, y, x);
    line_max(partials, along, x, y)
}
