//! One cell's encoder: forward and backward pass.

use pulp::{Arch, Simd, WithSimd};

use super::matrix::Matrix;
use super::pointwise::{sum_of_squares, tanh};
use super::product::{Finish, Left, Store, product, vector, vector_mut};
use crate::aligner::fault::Fault;
use crate::aligner::parameters::{HostEncoder, Widths};
use crate::numerics::linalg::NORM_GUARD;

/// Something of the shape of one encoder's parameters: parameters, gradients or optimiser state.
///
/// Shapes: `w1 [P, H]`, `b1 [1, H]`, `w2 [H, D]`, `b2 [1, D]`.
#[derive(Debug)]
pub struct Encoder {
    pub w1: Matrix,
    pub b1: Matrix,
    pub w2: Matrix,
    pub b2: Matrix,
}

impl Encoder {
    pub fn zeros(widths: Widths) -> Self {
        let Widths { inputs, hidden, embedding } = widths;
        Self {
            w1: Matrix::zeros(inputs, hidden),
            b1: Matrix::zeros(1, hidden),
            w2: Matrix::zeros(hidden, embedding),
            b2: Matrix::zeros(1, embedding),
        }
    }

    pub fn from_host([w1, b1, w2, b2]: &HostEncoder, widths: Widths) -> Self {
        let Widths { inputs, hidden, embedding } = widths;
        Self {
            w1: Matrix::from_values(w1, inputs, hidden),
            b1: Matrix::from_values(b1, 1, hidden),
            w2: Matrix::from_values(w2, hidden, embedding),
            b2: Matrix::from_values(b2, 1, embedding),
        }
    }

    pub fn tensors(&self) -> [&Matrix; 4] {
        [&self.w1, &self.b1, &self.w2, &self.b2]
    }

    pub fn tensors_mut(&mut self) -> [&mut Matrix; 4] {
        [&mut self.w1, &mut self.b1, &mut self.w2, &mut self.b2]
    }
}

/// What one modality's forward and backward passes work in. Reused from step to step and from cell to cell.
#[derive(Debug)]
pub struct Workspace {
    /// `[B, P]`, the observations.
    pub x: Matrix,
    /// `[B, H]`, after the tanh; the backward pass leaves the gradient of the pre-activations in `d_hidden`.
    hidden: Matrix,
    d_hidden: Matrix,
    /// `[B, D]`, raw embeddings.
    pub raw: Matrix,
    /// `[B, D]`, L2-normalised embeddings.
    pub unit: Matrix,
    /// `[B]`, inverse norms of the raw embeddings; zero for one that overflowed.
    inverse_norm: Vec<f32>,
    /// `[B, D]`, gradient with respect to `unit`; the backward pass makes it that with respect to `raw`.
    pub d_unit: Matrix,
    /// `[D, H]`.
    w2_transposed: Matrix,
}

impl Workspace {
    pub fn new(batch: usize, widths: Widths) -> Self {
        let Widths { inputs, hidden, embedding } = widths;
        Self {
            x: Matrix::walked_by_columns(batch, inputs),
            hidden: Matrix::zeros(batch, hidden),
            d_hidden: Matrix::zeros(batch, hidden),
            raw: Matrix::zeros(batch, embedding),
            unit: Matrix::zeros(batch, embedding),
            inverse_norm: vec![0.0; batch],
            d_unit: Matrix::zeros(batch, embedding),
            w2_transposed: Matrix::zeros(embedding, hidden),
        }
    }

    /// Whether every raw embedding has a finite norm. An infinite one makes the unit vector 0, the loss exactly `ln B`
    /// and every gradient 0: training would be over and look healthy.
    pub fn norms_are_finite(&self) -> bool {
        self.inverse_norm.iter().all(|inverse| *inverse > 0.0)
    }

    /// Raw embeddings of the first `rows` rows of `x`.
    pub fn embed(&mut self, arch: Arch, encoder: &Encoder, rows: usize, fault: Option<Fault>) {
        let (inputs, hidden) = (encoder.w1.rows(), encoder.w2.rows());
        let mut finish = Tanh { bias: &encoder.b1, out: &mut self.hidden };
        product(arch, rows, inputs, Left::Plain(&self.x), &encoder.w1, &mut finish);
        break_columns(Fault::Tanh, fault, &mut self.hidden);
        let mut finish = Bias { bias: &encoder.b2, out: &mut self.raw };
        product(arch, rows, hidden, Left::Plain(&self.hidden), &encoder.w2, &mut finish);
    }

    /// Raw and normalised embeddings of `x`: `unit = raw / sqrt(|raw|^2 + NORM_GUARD)`.
    pub fn forward(&mut self, arch: Arch, encoder: &Encoder, fault: Option<Fault>) {
        self.embed(arch, encoder, self.x.rows(), fault);
        arch.dispatch(Normalise { raw: &self.raw, unit: &mut self.unit, inverse_norm: &mut self.inverse_norm });
        break_columns(Fault::Normalise, fault, &mut self.unit);
    }

    /// Gradients of the parameters, from what the forward pass left and `d_unit`.
    pub fn backward(&mut self, arch: Arch, encoder: &Encoder, gradient: &mut Encoder, fault: Option<Fault>) {
        let batch = self.x.rows();
        let [inputs, hidden, embedding] = [encoder.w1.rows(), encoder.w2.rows(), encoder.w2.columns()];
        let (unit, inverse_norm) = (&self.unit, &self.inverse_norm[..]);
        arch.dispatch(NormaliseGradient { unit, inverse_norm, d: &mut self.d_unit });
        let d_raw = &self.d_unit;
        product(arch, hidden, batch, Left::Transposed(&self.hidden), d_raw, &mut Store { out: &mut gradient.w2 });
        arch.dispatch(ColumnSums { values: d_raw, out: &mut gradient.b2 });
        encoder.w2.transpose_into(hidden, 1.0, &mut self.w2_transposed);
        let mut finish = TanhGradient { hidden: &self.hidden, out: &mut self.d_hidden };
        product(arch, batch, embedding, Left::Plain(d_raw), &self.w2_transposed, &mut finish);
        break_columns(Fault::HiddenGradient, fault, &mut self.d_hidden);
        let d = &self.d_hidden;
        product(arch, inputs, batch, Left::Transposed(&self.x), d, &mut Store { out: &mut gradient.w1 });
        arch.dispatch(ColumnSums { values: d, out: &mut gradient.b1 });
    }
}

/// As [`Fault::breaks`].
pub fn break_columns(kernel: Fault, active: Option<Fault>, matrix: &mut Matrix) {
    if active == Some(kernel) {
        for row in 0..matrix.rows() {
            matrix.row_mut(row).iter_mut().enumerate().for_each(|(column, v)| *v *= Fault::factor(column));
        }
    }
}

/// Adds a bias.
struct Bias<'a> {
    bias: &'a Matrix,
    out: &'a mut Matrix,
}

impl Finish for Bias<'_> {
    #[inline(always)]
    fn take<S: Simd>(&mut self, simd: S, row: usize, column: usize, entries: S::f32s) {
        *vector_mut::<S>(self.out, row, column) = simd.add_f32s(entries, vector::<S>(self.bias, 0, column));
    }
}

/// Adds a bias and takes the hyperbolic tangent.
struct Tanh<'a> {
    bias: &'a Matrix,
    out: &'a mut Matrix,
}

impl Finish for Tanh<'_> {
    #[inline(always)]
    fn take<S: Simd>(&mut self, simd: S, row: usize, column: usize, entries: S::f32s) {
        let sum = simd.add_f32s(entries, vector::<S>(self.bias, 0, column));
        *vector_mut::<S>(self.out, row, column) = tanh(simd, sum);
    }
}

/// The gradient through the hyperbolic tangent: `(1 - h^2) d = d - h (h d)`.
struct TanhGradient<'a> {
    hidden: &'a Matrix,
    out: &'a mut Matrix,
}

impl Finish for TanhGradient<'_> {
    #[inline(always)]
    fn take<S: Simd>(&mut self, simd: S, row: usize, column: usize, entries: S::f32s) {
        let h = vector::<S>(self.hidden, row, column);
        let kept = simd.negate_mul_add_e_f32s(h, simd.mul_f32s(h, entries), entries);
        *vector_mut::<S>(self.out, row, column) = kept;
    }
}

struct Normalise<'a> {
    raw: &'a Matrix,
    unit: &'a mut Matrix,
    inverse_norm: &'a mut [f32],
}

impl WithSimd for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (row, inverse_norm) in self.inverse_norm.iter_mut().enumerate() {
            let raw = self.raw.row(row);
            *inverse_norm = 1.0 / (sum_of_squares(simd, raw) + NORM_GUARD as f32).sqrt();
            let factor = simd.splat_f32s(*inverse_norm);
            let unit = S::as_mut_simd_f32s(self.unit.row_mut(row)).0;
            for (unit, raw) in unit.iter_mut().zip(S::as_simd_f32s(raw).0) {
                *unit = simd.mul_f32s(*raw, factor);
            }
        }
    }
}

/// The gradient through the normalisation, in place: `(d - z (z . d)) / norm`, exact for the guarded norm too.
struct NormaliseGradient<'a> {
    unit: &'a Matrix,
    inverse_norm: &'a [f32],
    d: &'a mut Matrix,
}

impl WithSimd for NormaliseGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (row, inverse_norm) in self.inverse_norm.iter().enumerate() {
            let (unit, d) = (S::as_simd_f32s(self.unit.row(row)).0, S::as_mut_simd_f32s(self.d.row_mut(row)).0);
            let mut along = simd.splat_f32s(0.0);
            for (z, d) in unit.iter().zip(d.iter()) {
                along = simd.mul_add_e_f32s(*z, *d, along);
            }
            let (along, factor) = (simd.splat_f32s(simd.reduce_sum_f32s(along)), simd.splat_f32s(*inverse_norm));
            for (z, d) in unit.iter().zip(d) {
                *d = simd.mul_f32s(simd.negate_mul_add_e_f32s(*z, along, *d), factor);
            }
        }
    }
}

/// Sums over rows, in their order.
struct ColumnSums<'a> {
    values: &'a Matrix,
    out: &'a mut Matrix,
}

/// Sums that [`ColumnSums`] keeps in registers at once.
const SUMS: usize = 4;

impl WithSimd for ColumnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (group, out) in S::as_mut_simd_f32s(self.out.row_mut(0)).0.chunks_mut(SUMS).enumerate() {
            let mut sums = [simd.splat_f32s(0.0); SUMS];
            for row in 0..self.values.rows() {
                let row = &S::as_simd_f32s(self.values.row(row)).0[group * SUMS..];
                for (sum, v) in sums.iter_mut().zip(row) {
                    *sum = simd.add_f32s(*sum, *v);
                }
            }
            out.copy_from_slice(&sums[..out.len()]);
        }
    }
}
