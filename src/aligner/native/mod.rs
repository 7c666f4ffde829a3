//! The whole training step on the CPU as fused loops over one cell's matrices: what the tensor program computes, with
//! every intermediate result in the cache of the core that needs it next.
//!
//! One room, no tensors: matrices padded to whole vectors ([`matrix`]), products that finish their entries while they
//! are in registers ([`product`]), the exponential and the hyperbolic tangent ([`pointwise`]), and from these the
//! encoders, the loss and the terms added to it, the update rules and the program of a pack. Vectors are those of the widest instruction set that
//! the processor has, chosen at run time.
//!
//! The tensor program stays the definition: `agree` compares the two stage by stage, `gradcheck` holds these gradients
//! to autodiff and to derivatives in f64, and `--backend auto` takes this program only while a short comparison passes.

mod balance;
pub mod cell;
pub mod encoder;
pub mod info_nce;
pub mod matrix;
pub mod observe;
pub mod optimiser;
pub mod pointwise;
pub mod product;
mod program;
pub mod regulariser;

pub use program::NativeProgram;

use pulp::{Simd, WithSimd};

use super::backend::{fingerprint_of, ramp};
pub use crate::numerics::instructions::{INSTRUCTIONS, UnknownInstructions, arch, instruction_set, instruction_sets};

/// Hash of what the loops make of a fixed set of arguments: products, sums, exponentials, tangents, roots, quotients.
pub(super) fn fingerprint() -> String {
    struct Pointwise(Vec<f32>);
    impl WithSimd for Pointwise {
        type Output = Vec<f32>;
        #[inline(always)]
        fn with_simd<S: Simd>(mut self, simd: S) -> Vec<f32> {
            for v in S::as_mut_simd_f32s(&mut self.0).0 {
                let (tangent, power) = (pointwise::tanh(simd, *v), pointwise::exp(simd, *v));
                let root = simd.sqrt_f32s(simd.mul_f32s(*v, *v));
                *v = simd.mul_add_e_f32s(tangent, root, simd.div_f32s(power, root));
            }
            self.0
        }
    }
    let arch = arch();
    let mut values = arch.dispatch(Pointwise(ramp()));
    // Sums across lanes depend on how many there are.
    let rows: Vec<matrix::Matrix> = values.chunks_exact(64).map(|v| matrix::Matrix::from_values(v, 1, 64)).collect();
    values.extend(rows.iter().map(|row| optimiser::norm(arch, row)));
    let square = matrix::Matrix::from_values(&values[..64 * 64], 64, 64);
    let mut out = matrix::Matrix::zeros(64, 64);
    product::product(arch, 64, 64, product::Left::Plain(&square), &square, &mut product::Store { out: &mut out });
    values.extend(out.values());
    fingerprint_of(&values)
}
