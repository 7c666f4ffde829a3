//! The whole training step on the CPU as fused loops over one cell's matrices: what the tensor program computes, with
//! every intermediate result in the cache of the core that needs it next.
//!
//! One room, no tensors: matrices padded to whole vectors ([`matrix`]), products that finish their entries while they
//! are in registers ([`product`]), the exponential and the hyperbolic tangent ([`pointwise`]), and from these the
//! encoders, the loss, the update rules and the program of a pack. Vectors are those of the widest instruction set that
//! the processor has, chosen at run time.
//!
//! The tensor program stays the definition: `agree` compares the two stage by stage, `gradcheck` holds these gradients
//! to autodiff and to f64 differences, and `--backend auto` takes this program only while a short comparison passes.

pub mod cell;
pub mod encoder;
pub mod info_nce;
pub mod matrix;
pub mod observe;
pub mod optimiser;
pub mod pointwise;
pub mod product;
mod program;

pub use program::NativeProgram;

use std::sync::OnceLock;

use pulp::{Arch, Simd, WithSimd};

use super::backend::{fingerprint_of, ramp};

/// Environment variable that names narrower vectors than the processor has, for results of another machine's class.
pub const INSTRUCTIONS: &str = "CLIFFLINE_INSTRUCTIONS";

/// Instruction sets by the names that [`INSTRUCTIONS`] and classes know, widest first; those of this processor.
pub fn instruction_sets() -> Vec<(&'static str, Arch)> {
    let mut sets = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        sets.extend(pulp::x86::V4::try_new().map(|v| ("avx512", Arch::V4(v))));
        sets.extend(pulp::x86::V3::try_new().map(|v| ("avx2+fma", Arch::V3(v))));
    }
    #[cfg(target_arch = "aarch64")]
    sets.extend(pulp::aarch64::Neon::try_new().map(|v| ("neon", Arch::Neon(v))));
    sets.push(("scalar", Arch::Scalar));
    sets
}

/// [`INSTRUCTIONS`] names something that this processor does not have.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{INSTRUCTIONS} asks for the instruction set `{wanted}`, which is none of this processor's: {available}")]
pub struct UnknownInstructions {
    wanted: String,
    available: String,
}

/// The widest vectors of this processor, or those that [`INSTRUCTIONS`] names, with the set's name.
pub fn instruction_set() -> Result<(&'static str, Arch), UnknownInstructions> {
    static CHOSEN: OnceLock<Result<(&'static str, Arch), UnknownInstructions>> = OnceLock::new();
    let choose = || {
        let sets = instruction_sets();
        let wanted = std::env::var_os(INSTRUCTIONS).map(|w| w.to_string_lossy().into_owned()).filter(|w| !w.is_empty());
        let found = sets.iter().find(|(name, _)| wanted.as_deref().is_none_or(|w| w == *name)).copied();
        found.ok_or_else(|| UnknownInstructions {
            wanted: wanted.unwrap_or_default(),
            available: sets.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
        })
    };
    CHOSEN.get_or_init(choose).clone()
}

/// The vectors of [`instruction_set`].
///
/// # Panics
/// When there is no such set; opening the backend has said so before.
pub fn arch() -> Arch {
    instruction_set().unwrap_or_else(|error| panic!("{error}")).1
}

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
    values.push(optimiser::norm(arch, &matrix::Matrix::from_values(&values[..4096], 64, 64)));
    let square = matrix::Matrix::from_values(&values[..64 * 64], 64, 64);
    let mut out = matrix::Matrix::zeros(64, 64);
    product::product(arch, 64, 64, product::Left::Plain(&square), &square, &mut product::Store { out: &mut out });
    values.extend(out.values());
    fingerprint_of(&values)
}
