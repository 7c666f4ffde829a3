//! Small dense linear algebra in `f64`: dot products, covariance matrices, symmetric eigenvalues.
//!
//! Matrices are row-major slices. Nothing here depends on thread count: sums run in a fixed order and the
//! eigenvalue solver runs on the calling thread.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::{MatRef, Par};
use pulp::{Arch, Simd, WithSimd};

use super::similarity::{BLOCK, lanes};

/// Added to the squared norm of an embedding before the square root, wherever embeddings are normalised: in training, so
/// that the zero vector has a finite gradient, and in measuring, so that what is measured is what the loss saw. A zero
/// vector stays zero; embeddings have norms of order 1, where f32 does not see it.
pub const NORM_GUARD: f64 = 1e-12;

/// An embedding at unit length, and its length before.
///
/// **Shapes** `row` `[D]`, before normalisation.
/// **Returns** the coordinates over the square root of the squared length and [`NORM_GUARD`], rounded to f32, as
/// training has them; the length without the guard. **Numerics** A row of zeros stays at the origin. The guard shortens
/// one of length 1e-3 by 5e-7 of it.
pub fn normalised<T: Copy + Into<f64>>(row: &[T]) -> (impl Iterator<Item = f64> + '_, f64) {
    let squared: f64 = row.iter().map(|&u| u.into() * u.into()).sum();
    let guarded = (squared + NORM_GUARD).sqrt();
    (row.iter().map(move |&u| f64::from((u.into() / guarded) as f32)), squared.sqrt())
}

/// Entries mirrored across the diagonal may differ by this share of the largest entry: rounding of the products that
/// made them, with room. A larger difference means that the caller passed another matrix than it meant to.
const SYMMETRY_TOLERANCE: f64 = 1e-10;

/// Accumulators of [`dot`]: independent, so that they fill vector registers, and few enough for short vectors.
const LANES: usize = 8;

/// Why a matrix computation has no result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LinalgError {
    #[error("{len} values do not form rows of {columns}")]
    Shape { len: usize, columns: usize },
    #[error("needs at least {needed} rows, got {got}")]
    TooFewRows { got: usize, needed: usize },
    #[error("entry ({row}, {column}) is {value}, not finite")]
    NotFinite { row: usize, column: usize, value: f64 },
    #[error("entries ({row}, {column}) and ({column}, {row}) of a symmetric matrix differ")]
    NotSymmetric { row: usize, column: usize },
    #[error("the eigenvalues of a {size} x {size} matrix did not converge")]
    NoConvergence { size: usize },
}

/// The dot product of two vectors.
///
/// **Shapes** `a` `[d]`, `b` `[d]`.
/// **Returns** the sum of products.
/// **Panics** when the lengths differ.
/// **Numerics** eight accumulators, element k in accumulator k mod 8, added up in a fixed tree without fused
/// multiply-add: the same two vectors give the same bits on every platform, wherever they lie and in either order.
/// Equal vectors therefore tie exactly, which a blocked matrix product does not promise.
///
/// ```
/// assert_eq!(cliffline::numerics::linalg::dot(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 32.0);
/// ```
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "dot product of vectors of different lengths");
    let (a_blocks, a_tail) = a.as_chunks::<LANES>();
    let (b_blocks, b_tail) = b.as_chunks::<LANES>();
    let mut sum = [0.0; LANES];
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for ((lane, x), y) in sum.iter_mut().zip(x).zip(y) {
            *lane += x * y;
        }
    }
    for ((lane, x), y) in sum.iter_mut().zip(a_tail).zip(b_tail) {
        *lane += x * y;
    }
    ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]))
}

/// The sample covariance of the columns of a matrix: centred, divisor n - 1.
///
/// **Shapes** `values` `[n, d]`, n >= 2; returns `[d, d]`, exactly symmetric.
/// **Errors** a shape that does not fit; fewer than two rows; an entry that is not finite.
/// **Numerics** two passes: the means, then products of deviations, in row order: the same bits on every instruction
/// set.
///
/// ```
/// let c = cliffline::numerics::linalg::covariance(&[1.0, 5.0, 3.0, 1.0], 2);
/// assert_eq!(c, Ok(vec![2.0, -4.0, -4.0, 8.0]));
/// ```
pub fn covariance(values: &[f64], d: usize) -> Result<Vec<f64>, LinalgError> {
    let n = rows(values, d)?;
    if n < 2 {
        return Err(LinalgError::TooFewRows { got: n, needed: 2 });
    }
    require_finite(values, d)?;
    let mut mean = vec![0.0; d];
    for row in values.chunks_exact(d) {
        mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    mean.iter_mut().for_each(|sum| *sum /= n as f64);

    let blocks = d.div_ceil(BLOCK);
    let mut deviations = vec![[0.0; BLOCK]; n * blocks];
    for (out, row) in deviations.chunks_exact_mut(blocks).zip(values.chunks_exact(d)) {
        let out = out.as_flattened_mut().iter_mut();
        out.zip(row).zip(&mean).for_each(|((out, x), centre)| *out = x - centre);
    }
    let mut covariance = vec![0.0; d * d];
    for block in 0..blocks {
        for other in 0..=block {
            let sums = Arch::new().dispatch(Products { rows: &deviations, blocks, block, other });
            for (i, sums) in (block * BLOCK..d).zip(sums) {
                for (j, sum) in (other * BLOCK..=i).zip(sums) {
                    covariance[i * d + j] = sum / (n - 1) as f64;
                    covariance[j * d + i] = covariance[i * d + j];
                }
            }
        }
    }
    Ok(covariance)
}

/// Sums over rows of the products of eight columns with eight columns.
struct Products<'a> {
    /// `[n, blocks, 8]`.
    rows: &'a [[f64; BLOCK]],
    blocks: usize,
    block: usize,
    other: usize,
}

impl WithSimd for Products<'_> {
    type Output = [[f64; BLOCK]; BLOCK];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let mut products = [[0.0; BLOCK]; BLOCK];
        for vector in 0..BLOCK / S::F64_LANES {
            let mut sums = [simd.splat_f64s(0.0); BLOCK];
            for row in self.rows.chunks_exact(self.blocks) {
                let values = lanes::<S>(&row[self.other], vector);
                for (sum, x) in sums.iter_mut().zip(&row[self.block]) {
                    *sum = simd.add_f64s(*sum, simd.mul_f64s(simd.splat_f64s(*x), values));
                }
            }
            for (out, sum) in products.iter_mut().zip(sums) {
                S::as_mut_simd_f64s(out).0[vector] = sum;
            }
        }
        products
    }
}

/// The eigenvalues of a symmetric matrix, largest first.
///
/// **Shapes** `matrix` `[size, size]`; returns `[size]`.
/// **Returns** eigenvalues in the unit of the entries, descending.
/// **Errors** a shape that does not fit; an entry that is not finite; entries that differ across the diagonal by more
/// than rounding; no convergence.
/// **Numerics** tridiagonal reduction and implicit QR in `f64` (faer), absolute error about `size` times 1.1e-16 of
/// the largest magnitude, so a true zero may come out as a tiny number of either sign. One thread; the vector
/// instructions of the machine can change the last bits.
///
/// ```
/// let eigenvalues = cliffline::numerics::linalg::symmetric_eigenvalues(&[2.0, 1.0, 1.0, 2.0], 2).unwrap();
/// assert!((eigenvalues[0] - 3.0).abs() < 1e-14 && (eigenvalues[1] - 1.0).abs() < 1e-14);
/// ```
pub fn symmetric_eigenvalues(matrix: &[f64], size: usize) -> Result<Vec<f64>, LinalgError> {
    if rows(matrix, size)? != size {
        return Err(LinalgError::Shape { len: matrix.len(), columns: size });
    }
    require_finite(matrix, size)?;
    require_symmetric(matrix, size)?;
    let mut eigenvalues = Diag::<f64>::zeros(size);
    let scratch = self_adjoint_evd_scratch::<f64>(size, ComputeEigenvectors::No, Par::Seq, Default::default());
    self_adjoint_evd(
        MatRef::from_row_major_slice(matrix, size, size),
        eigenvalues.as_mut(),
        None,
        // The crate's default is a global setting that can use other threads.
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| LinalgError::NoConvergence { size })?;
    let mut descending: Vec<f64> = eigenvalues.column_vector().iter().copied().collect();
    if descending.iter().any(|x| !x.is_finite()) {
        return Err(LinalgError::NoConvergence { size });
    }
    descending.sort_unstable_by(|a, b| b.total_cmp(a));
    Ok(descending)
}

/// Rows of a row-major matrix with `columns` columns.
pub(super) fn rows(values: &[f64], columns: usize) -> Result<usize, LinalgError> {
    if columns == 0 || !values.len().is_multiple_of(columns) {
        return Err(LinalgError::Shape { len: values.len(), columns });
    }
    Ok(values.len() / columns)
}

pub(super) fn require_finite(values: &[f64], columns: usize) -> Result<(), LinalgError> {
    match values.iter().enumerate().find(|(_, x)| !x.is_finite()) {
        Some((at, &value)) => Err(LinalgError::NotFinite { row: at / columns, column: at % columns, value }),
        None => Ok(()),
    }
}

pub(super) fn require_symmetric(matrix: &[f64], size: usize) -> Result<(), LinalgError> {
    let allowed = SYMMETRY_TOLERANCE * matrix.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    for row in 0..size {
        for column in 0..row {
            if (matrix[row * size + column] - matrix[column * size + row]).abs() > allowed {
                return Err(LinalgError::NotSymmetric { row, column });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::stream::Streams;

    fn normals(seed: u64, len: usize) -> Vec<f64> {
        let mut stream = Streams::new(seed, "linalg.tests").item(0);
        (0..len).map(|_| stream.normal()).collect()
    }

    #[test]
    fn dot_has_the_same_bits_wherever_the_vectors_lie() {
        for d in [1, 7, 8, 9, 32, 100] {
            let (a, b) = (normals(1, d), normals(2, d));
            let expected = dot(&a, &b);
            assert_eq!(expected.to_bits(), dot(&b, &a).to_bits());
            for shift in 0..4 {
                let pad = vec![0.5; shift];
                let (moved_a, moved_b) = ([&pad[..], &a].concat(), [&pad[..], &pad, &b].concat());
                assert_eq!(expected.to_bits(), dot(&moved_a[shift..], &moved_b[2 * shift..]).to_bits());
            }
            let plain: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            // Two orders of the same d products differ by at most about d roundings of numbers of order d.
            assert!((expected - plain).abs() < 1e-15 * (d * d) as f64);
        }
    }

    #[test]
    fn covariance_hand_worked_and_unmoved_by_an_offset() {
        // Columns (1, 2, 6) and (0, 3, 0): deviations (-2, -1, 3) and (-1, 2, -1).
        let values = [1.0, 0.0, 2.0, 3.0, 6.0, 0.0];
        assert_eq!(covariance(&values, 2), Ok(vec![7.0, -1.5, -1.5, 3.0]));
        let shifted: Vec<f64> = values.iter().map(|x| x + 1e12).collect();
        assert_eq!(covariance(&shifted, 2), covariance(&values, 2));
    }

    #[test]
    fn eigenvalues_of_the_second_difference_matrix() {
        // 2 on the diagonal, -1 beside it: eigenvalues 2 - 2 cos(k pi / (size + 1)), k = size down to 1.
        // Sizes on both sides of the solver's blocking.
        for size in [1, 2, 5, 32, 65, 150] {
            let mut matrix = vec![0.0; size * size];
            for i in 0..size {
                matrix[i * size + i] = 2.0;
                if i + 1 < size {
                    matrix[i * size + i + 1] = -1.0;
                    matrix[(i + 1) * size + i] = -1.0;
                }
            }
            let got = symmetric_eigenvalues(&matrix, size).unwrap();
            for (k, got) in (1..=size).rev().zip(got) {
                let expected = 2.0 - 2.0 * (std::f64::consts::PI * k as f64 / (size + 1) as f64).cos();
                assert!((got - expected).abs() < 1e-13, "size {size}: {got} {expected}");
            }
        }
    }

    #[test]
    fn eigenvalues_keep_trace_and_frobenius_norm() {
        let (n, d) = (40, 12);
        let matrix = covariance(&normals(5, n * d), d).unwrap();
        let eigenvalues = symmetric_eigenvalues(&matrix, d).unwrap();
        let trace: f64 = (0..d).map(|i| matrix[i * d + i]).sum();
        assert!((eigenvalues.iter().sum::<f64>() - trace).abs() < 1e-12);
        let squares: f64 = matrix.iter().map(|x| x * x).sum();
        assert!((eigenvalues.iter().map(|x| x * x).sum::<f64>() - squares).abs() < 1e-11);
        assert!(eigenvalues.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn zero_and_tiny_matrices_have_eigenvalues() {
        assert_eq!(symmetric_eigenvalues(&[0.0; 9], 3), Ok(vec![0.0; 3]));
        let tiny = symmetric_eigenvalues(&[2e-34, 1e-34, 1e-34, 2e-34], 2).unwrap();
        assert!((tiny[0] - 3e-34).abs() < 1e-48 && (tiny[1] - 1e-34).abs() < 1e-48);
    }

    #[test]
    fn bad_input_is_an_error() {
        assert_eq!(covariance(&[1.0; 5], 2), Err(LinalgError::Shape { len: 5, columns: 2 }));
        assert_eq!(covariance(&[], 0), Err(LinalgError::Shape { len: 0, columns: 0 }));
        assert_eq!(covariance(&[1.0, 2.0], 2), Err(LinalgError::TooFewRows { got: 1, needed: 2 }));
        assert!(matches!(
            covariance(&[1.0, 2.0, 3.0, f64::NAN], 2),
            Err(LinalgError::NotFinite { row: 1, column: 1, .. })
        ));
        assert_eq!(symmetric_eigenvalues(&[1.0; 6], 3), Err(LinalgError::Shape { len: 6, columns: 3 }));
        assert_eq!(
            symmetric_eigenvalues(&[1.0, 2.0, 3.0, 4.0], 2),
            Err(LinalgError::NotSymmetric { row: 1, column: 0 })
        );
    }
}
