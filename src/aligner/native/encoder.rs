//! One cell's encoder: forward and backward pass.

use pulp::{Arch, Simd, WithSimd};

use super::matrix::Matrix;
use super::pointwise::{sum_of_squares, tanh};
use super::product::{Finish, Left, Store, product, vectors, vectors_mut};
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
    /// `[B, H]`, after the tanh.
    hidden: Matrix,
    /// `[B, H]`, gradient with respect to what goes into the tanh.
    d_hidden: Matrix,
    /// `[B, D]`, embeddings: raw, then L2-normalised in place.
    pub z: Matrix,
    /// `[B]`, inverse norms of the raw embeddings; zero for one that overflowed.
    inverse_norm: Vec<f32>,
    /// `[B, D]`, gradient with respect to the normalised embeddings; the backward pass makes it that with respect to the
    /// raw ones.
    pub d_z: Matrix,
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
            z: Matrix::zeros(batch, embedding),
            inverse_norm: vec![0.0; batch],
            d_z: Matrix::zeros(batch, embedding),
            w2_transposed: Matrix::zeros(embedding, hidden),
        }
    }

    /// Whether every raw embedding has a finite norm. An infinite one makes the unit vector 0, the loss exactly `ln B`
    /// and every gradient 0: training would be over and look healthy.
    pub fn norms_are_finite(&self) -> bool {
        self.inverse_norm.iter().all(|inverse| *inverse > 0.0)
    }

    /// Raw embeddings of the first `rows` rows of `x`, the output times `gain`, into `z`.
    pub fn embed(&mut self, arch: Arch, encoder: &Encoder, gain: f32, rows: usize, fault: Option<Fault>) {
        let (inputs, hidden) = (encoder.w1.rows(), encoder.w2.rows());
        let mut finish = Tanh { bias: &encoder.b1, out: &mut self.hidden };
        product(arch, rows, inputs, Left::Plain(&self.x), &encoder.w1, &mut finish);
        break_columns(Fault::Tanh, fault, &mut self.hidden);
        let mut finish = Output { bias: &encoder.b2, gain, out: &mut self.z };
        product(arch, rows, hidden, Left::Plain(&self.hidden), &encoder.w2, &mut finish);
    }

    /// Normalised embeddings of `x`, into `z`: `raw / sqrt(|raw|^2 + NORM_GUARD)`.
    pub fn forward(&mut self, arch: Arch, encoder: &Encoder, gain: f32, fault: Option<Fault>) {
        self.embed(arch, encoder, gain, self.x.rows(), fault);
        arch.dispatch(Normalise { z: &mut self.z, inverse_norm: &mut self.inverse_norm });
        break_columns(Fault::Normalise, fault, &mut self.z);
    }

    /// Sum of squared lengths of the raw embeddings that `z` holds normalised.
    pub fn squared_lengths(&self, arch: Arch) -> f32 {
        arch.dispatch(SquaredLengths { z: &self.z, inverse_norm: &self.inverse_norm })
    }

    /// Squared norm of the gradient with respect to the raw embeddings, given that with respect to the normalised ones.
    pub fn squared_norm_before(&self, arch: Arch, d_z: &Matrix) -> f32 {
        arch.dispatch(SquaredNormBefore { z: &self.z, inverse_norm: &self.inverse_norm, d: d_z })
    }

    /// From `d_z` to the gradients with respect to the output before its gain, in place, and to what goes into the tanh.
    /// `along` times the raw embeddings is added to the gradient with respect to these.
    pub fn backward(&mut self, arch: Arch, encoder: &Encoder, gain: f32, along: f32, fault: Option<Fault>) {
        let (z, inverse_norm) = (&self.z, &self.inverse_norm[..]);
        arch.dispatch(NormaliseGradient { z, inverse_norm, d: &mut self.d_z });
        if along != 0.0 || gain != 1.0 {
            arch.dispatch(OutputGradient { z, inverse_norm, along, gain, d: &mut self.d_z });
            break_columns(Fault::OutputGain, fault, &mut self.d_z);
        }
        encoder.w2.transpose_into(encoder.w2.rows(), 1.0, &mut self.w2_transposed);
        let mut finish = TanhGradient { hidden: &self.hidden, out: &mut self.d_hidden };
        let (batch, embedding) = (self.x.rows(), self.z.columns());
        product(arch, batch, embedding, Left::Plain(&self.d_z), &self.w2_transposed, &mut finish);
        break_columns(Fault::HiddenGradient, fault, &mut self.d_hidden);
    }

    /// Gradients of the parameters, from what the backward pass left.
    pub fn gradients(&self, arch: Arch, gradient: &mut Encoder) {
        self.weight_gradients(arch, &mut Store { out: &mut gradient.w1 }, &mut Store { out: &mut gradient.w2 });
        self.bias_gradients(arch, gradient);
    }

    /// Gradients of both weight matrices, entry by entry.
    pub fn weight_gradients(&self, arch: Arch, w1: &mut impl Finish, w2: &mut impl Finish) {
        let (batch, inputs, hidden) = (self.x.rows(), self.x.columns(), self.hidden.columns());
        product(arch, hidden, batch, Left::Transposed(&self.hidden), &self.d_z, w2);
        product(arch, inputs, batch, Left::Transposed(&self.x), &self.d_hidden, w1);
    }

    /// Gradients of both biases.
    pub fn bias_gradients(&self, arch: Arch, gradient: &mut Encoder) {
        arch.dispatch(ColumnSums { values: &self.d_z, out: &mut gradient.b2 });
        arch.dispatch(ColumnSums { values: &self.d_hidden, out: &mut gradient.b1 });
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

/// Adds a bias and multiplies by the gain; by 1, no bit changes.
struct Output<'a> {
    bias: &'a Matrix,
    gain: f32,
    out: &'a mut Matrix,
}

impl Finish for Output<'_> {
    #[inline(always)]
    fn take<S: Simd, const V: usize>(&mut self, simd: S, row: usize, column: usize, entries: [S::f32s; V]) {
        let gain = simd.splat_f32s(self.gain);
        let (out, bias) = (vectors_mut::<S, V>(self.out, row, column), vectors::<S, V>(self.bias, 0, column));
        for ((out, bias), entry) in out.iter_mut().zip(bias).zip(entries) {
            *out = simd.mul_f32s(simd.add_f32s(entry, *bias), gain);
        }
    }
}

/// Adds a bias and takes the hyperbolic tangent.
struct Tanh<'a> {
    bias: &'a Matrix,
    out: &'a mut Matrix,
}

impl Finish for Tanh<'_> {
    #[inline(always)]
    fn take<S: Simd, const V: usize>(&mut self, simd: S, row: usize, column: usize, entries: [S::f32s; V]) {
        let (out, bias) = (vectors_mut::<S, V>(self.out, row, column), vectors::<S, V>(self.bias, 0, column));
        for ((out, bias), entry) in out.iter_mut().zip(bias).zip(entries) {
            *out = tanh(simd, simd.add_f32s(entry, *bias));
        }
    }
}

/// The gradient through the hyperbolic tangent: `(1 - h^2) d = d - h (h d)`.
struct TanhGradient<'a> {
    hidden: &'a Matrix,
    out: &'a mut Matrix,
}

impl Finish for TanhGradient<'_> {
    #[inline(always)]
    fn take<S: Simd, const V: usize>(&mut self, simd: S, row: usize, column: usize, entries: [S::f32s; V]) {
        let (out, hidden) = (vectors_mut::<S, V>(self.out, row, column), vectors::<S, V>(self.hidden, row, column));
        for ((out, h), d) in out.iter_mut().zip(hidden).zip(entries) {
            *out = simd.negate_mul_add_e_f32s(*h, simd.mul_f32s(*h, d), d);
        }
    }
}

struct Normalise<'a> {
    z: &'a mut Matrix,
    inverse_norm: &'a mut [f32],
}

impl WithSimd for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (row, inverse_norm) in self.inverse_norm.iter_mut().enumerate() {
            let z = self.z.row_mut(row);
            *inverse_norm = 1.0 / (sum_of_squares(simd, z) + NORM_GUARD as f32).sqrt();
            let factor = simd.splat_f32s(*inverse_norm);
            for z in S::as_mut_simd_f32s(z).0 {
                *z = simd.mul_f32s(*z, factor);
            }
        }
    }
}

/// The gradient through the normalisation, in place: `(d - z (z . d)) / norm`, exact for the guarded norm too.
struct NormaliseGradient<'a> {
    z: &'a Matrix,
    inverse_norm: &'a [f32],
    d: &'a mut Matrix,
}

impl WithSimd for NormaliseGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (row, inverse_norm) in self.inverse_norm.iter().enumerate() {
            let (z, d) = (S::as_simd_f32s(self.z.row(row)).0, S::as_mut_simd_f32s(self.d.row_mut(row)).0);
            let mut along = simd.splat_f32s(0.0);
            for (z, d) in z.iter().zip(d.iter()) {
                along = simd.mul_add_e_f32s(*z, *d, along);
            }
            let (along, factor) = (simd.splat_f32s(simd.reduce_sum_f32s(along)), simd.splat_f32s(*inverse_norm));
            for (z, d) in z.iter().zip(d) {
                *d = simd.mul_f32s(simd.negate_mul_add_e_f32s(*z, along, *d), factor);
            }
        }
    }
}

/// What a penalty on lengths and the gain do to a gradient with respect to raw embeddings, in place:
/// `(d + along u) gain`, with the raw embedding `u = z norm`.
struct OutputGradient<'a> {
    z: &'a Matrix,
    inverse_norm: &'a [f32],
    along: f32,
    gain: f32,
    d: &'a mut Matrix,
}

impl WithSimd for OutputGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let gain = simd.splat_f32s(self.gain);
        for (row, inverse_norm) in self.inverse_norm.iter().enumerate() {
            let (z, d) = (S::as_simd_f32s(self.z.row(row)).0, S::as_mut_simd_f32s(self.d.row_mut(row)).0);
            // Without a penalty nothing is added, whatever the norm.
            let along = if self.along == 0.0 { 0.0 } else { self.along / inverse_norm };
            let along = simd.splat_f32s(along);
            for (z, d) in z.iter().zip(d) {
                *d = simd.mul_f32s(simd.mul_add_e_f32s(*z, along, *d), gain);
            }
        }
    }
}

struct SquaredLengths<'a> {
    z: &'a Matrix,
    inverse_norm: &'a [f32],
}

impl WithSimd for SquaredLengths<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let rows = self.inverse_norm.iter().enumerate();
        rows.fold(0.0, |sum, (row, inverse)| sum + sum_of_squares(simd, self.z.row(row)) / (inverse * inverse))
    }
}

/// As [`NormaliseGradient`], of which it takes the squared norm.
struct SquaredNormBefore<'a> {
    z: &'a Matrix,
    inverse_norm: &'a [f32],
    d: &'a Matrix,
}

impl WithSimd for SquaredNormBefore<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let mut sum = 0.0;
        for (row, inverse_norm) in self.inverse_norm.iter().enumerate() {
            let (z, d) = (S::as_simd_f32s(self.z.row(row)).0, S::as_simd_f32s(self.d.row(row)).0);
            let mut along = simd.splat_f32s(0.0);
            for (z, d) in z.iter().zip(d) {
                along = simd.mul_add_e_f32s(*z, *d, along);
            }
            let along = simd.splat_f32s(simd.reduce_sum_f32s(along));
            let mut squares = simd.splat_f32s(0.0);
            for (z, d) in z.iter().zip(d) {
                let across = simd.negate_mul_add_e_f32s(*z, along, *d);
                squares = simd.mul_add_e_f32s(across, across, squares);
            }
            sum += simd.reduce_sum_f32s(squares) * (inverse_norm * inverse_norm);
        }
        sum
    }
}

/// Sums over rows, in their order.
pub struct ColumnSums<'a> {
    pub values: &'a Matrix,
    pub out: &'a mut Matrix,
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
