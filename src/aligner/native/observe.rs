//! Observations of a minibatch, as one cell reads them.

use pulp::{Arch, Simd, WithSimd};

use super::matrix::Matrix;
use crate::aligner::data::ModalityData;

/// Fills the first rows of `x` with rows of a modality: `keep ? clean + noise_strength * noise : background`, where
/// `keep = uniform >= drop_strength`.
///
/// **Shapes**: `x [>= rows, P]`; row numbers below the split's size.
pub struct Observe<'a, R> {
    pub data: &'a ModalityData<'a>,
    pub noise: f32,
    pub drop: f32,
    pub rows: R,
    pub x: &'a mut Matrix,
}

impl<R: Iterator<Item = usize>> Observe<'_, R> {
    pub fn run(self, arch: Arch) {
        arch.dispatch(self);
    }
}

impl<R: Iterator<Item = usize>> WithSimd for Observe<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { data, noise, drop, rows, x } = self;
        let p = data.background.len();
        let (strength, limit) = (simd.splat_f32s(noise), simd.splat_f32s(drop));
        for (to, row) in rows.enumerate() {
            let from = row * p..(row + 1) * p;
            let x = x.row_mut(to);
            match (data.noise, data.uniform) {
                (None, None) => x[..p].copy_from_slice(&data.clean[from]),
                (noise, uniform) => {
                    let clean = vectors::<S>(&data.clean[from.clone()]);
                    let mut noise = noise.map(|n| vectors::<S>(&n[from.clone()]));
                    let mut dropping = uniform.map(|u| (vectors::<S>(&u[from]), vectors::<S>(data.background)));
                    for (x, clean) in x.chunks_mut(S::F32_LANES).zip(clean) {
                        let mut value = simd.partial_load_f32s(clean);
                        if let Some(noise) = noise.as_mut().and_then(Iterator::next) {
                            // Two roundings, as in the tensor program, so that both see the same observations.
                            let noise = simd.mul_f32s(simd.partial_load_f32s(noise), strength);
                            value = simd.add_f32s(value, noise);
                        }
                        if let Some((uniform, background)) = &mut dropping {
                            let (Some(uniform), Some(background)) = (uniform.next(), background.next()) else {
                                continue;
                            };
                            let dropped = simd.less_than_f32s(simd.partial_load_f32s(uniform), limit);
                            value = simd.select_f32s(dropped, simd.partial_load_f32s(background), value);
                        }
                        simd.partial_store_f32s(&mut x[..clean.len()], value);
                    }
                }
            }
        }
    }
}

/// Pieces of a vector's length, the last one perhaps shorter.
#[inline(always)]
fn vectors<S: Simd>(values: &[f32]) -> std::slice::Chunks<'_, f32> {
    values.chunks(S::F32_LANES)
}
