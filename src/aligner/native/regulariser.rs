//! The terms that are added to one cell's loss: second moments, the pulls that regularisers make of them, and the
//! products that carry these to the embeddings.
//!
//! Everything here runs only where a regulariser is on. Matrices of `D x D` are small beside the rest of a step, and
//! are walked by plain loops.

use pulp::{Arch, Simd, WithSimd};

use super::encoder::{self, ColumnSums, break_columns};
use super::matrix::Matrix;
use super::product::{Finish, Left, Store, product, vectors_mut};
use crate::aligner::fault::Fault;
use crate::aligner::regulariser::{Regulariser, active};
use crate::spec::config::TrainConfig;

/// What regularisers read, as [`crate::aligner::regulariser::moments`] defines it.
#[derive(Debug)]
pub struct Minibatch {
    /// `[B, D]`, centred unit vectors: image, text.
    centred: [Matrix; 2],
    /// `[1, D]`, sums of unit vectors.
    sums: Matrix,
    /// `[D, D]`, second moments of each modality.
    pub own: [Matrix; 2],
    /// `[D, D]`, of image axes with text axes.
    pub cross: Matrix,
    /// Sum of squared lengths of the raw embeddings of both modalities.
    pub squared_lengths: f32,
}

/// A gradient with respect to embeddings, in the form of [`crate::aligner::regulariser::moments::Pull`].
#[derive(Debug)]
pub struct Pull {
    pub own: [Matrix; 2],
    pub cross: Matrix,
    pub raw: f32,
    /// `[D]` for each modality, to work in.
    pub inverse: [Vec<f32>; 2],
}

/// What regularisers work in.
#[derive(Debug)]
pub struct Workspace {
    minibatch: Minibatch,
    pull: Pull,
    transposed: Matrix,
}

impl Minibatch {
    /// Pairs in the minibatch.
    pub fn batch(&self) -> f32 {
        self.centred[0].rows() as f32
    }

    /// Axes of an embedding.
    pub fn width(&self) -> f32 {
        self.cross.columns() as f32
    }

    fn take(&mut self, arch: Arch, modalities: &[encoder::Workspace; 2]) {
        let (batch, width) = (self.centred[0].rows(), self.cross.columns());
        for ((modality, centred), own) in modalities.iter().zip(&mut self.centred).zip(&mut self.own) {
            arch.dispatch(ColumnSums { values: &modality.z, out: &mut self.sums });
            arch.dispatch(Centre { values: &modality.z, sums: &self.sums, out: centred });
            product(arch, width, batch, Left::Transposed(centred), centred, &mut Store { out: own });
        }
        let [img, txt] = &self.centred;
        product(arch, width, batch, Left::Transposed(img), txt, &mut Store { out: &mut self.cross });
    }
}

impl Workspace {
    pub fn new(batch: usize, embedding: usize) -> Self {
        let square = || Matrix::walked_by_columns(embedding, embedding);
        Self {
            minibatch: Minibatch {
                centred: [0; 2].map(|_| Matrix::walked_by_columns(batch, embedding)),
                sums: Matrix::zeros(1, embedding),
                own: [square(), square()],
                cross: square(),
                squared_lengths: 0.0,
            },
            pull: Pull {
                own: [square(), square()],
                cross: square(),
                raw: 0.0,
                inverse: [0; 2].map(|_| vec![0.0; embedding]),
            },
            transposed: square(),
        }
    }

    /// Adds the gradients of the terms that are on to both modalities' `d_z`, and their values to `values`, before their
    /// weights.
    ///
    /// **Returns** the sum of the weighted values, and the factor of the raw embeddings in their own gradient.
    pub fn add(
        &mut self,
        arch: Arch,
        modalities: &mut [encoder::Workspace; 2],
        train: &TrainConfig,
        values: &mut Vec<f32>,
        fault: Option<Fault>,
    ) -> (f32, f32) {
        let Self { minibatch, pull, transposed } = self;
        let by_moments = active(train).any(|r| r.moments);
        minibatch.squared_lengths = modalities.iter().map(|m| m.squared_lengths(arch)).sum();
        if by_moments {
            minibatch.take(arch, modalities);
            pull.own.iter_mut().chain([&mut pull.cross]).for_each(|m| m.padded_mut().fill(0.0));
        }
        pull.raw = 0.0;
        let mut total = 0.0;
        for Regulariser { native, weight, .. } in active(train) {
            let value = native(minibatch, train, pull);
            values.push(value);
            total += weight(train) as f32 * value;
        }
        if by_moments {
            pull.cross.transpose_into(pull.cross.rows(), 1.0, transposed);
            let [img, txt] = &minibatch.centred;
            let [own_img, own_txt] = &mut pull.own;
            for (m, centred, by) in
                [(0, img, own_img), (1, txt, own_txt), (0, txt, transposed), (1, img, &mut pull.cross)]
            {
                break_columns(Fault::Regulariser, fault, by);
                let mut finish = Add { out: &mut modalities[m].d_z };
                product(arch, centred.rows(), by.rows(), Left::Plain(centred), by, &mut finish);
            }
        }
        let raw = if fault == Some(Fault::EmbeddingL2) { pull.raw * Fault::factor(0) } else { pull.raw };
        (total, raw)
    }
}

/// Takes the mean of each column from its values.
struct Centre<'a> {
    values: &'a Matrix,
    sums: &'a Matrix,
    out: &'a mut Matrix,
}

impl WithSimd for Centre<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let share = simd.splat_f32s(1.0 / self.values.rows() as f32);
        let sums = S::as_simd_f32s(self.sums.row(0)).0;
        for row in 0..self.values.rows() {
            let values = S::as_simd_f32s(self.values.row(row)).0;
            for ((out, v), sum) in S::as_mut_simd_f32s(self.out.row_mut(row)).0.iter_mut().zip(values).zip(sums) {
                *out = simd.negate_mul_add_e_f32s(*sum, share, *v);
            }
        }
    }
}

/// Adds the entries of a product.
struct Add<'a> {
    out: &'a mut Matrix,
}

impl Finish for Add<'_> {
    #[inline(always)]
    fn take<S: Simd, const V: usize>(&mut self, simd: S, row: usize, column: usize, entries: [S::f32s; V]) {
        for (out, entry) in vectors_mut::<S, V>(self.out, row, column).iter_mut().zip(entries) {
            *out = simd.add_f32s(*out, entry);
        }
    }
}
