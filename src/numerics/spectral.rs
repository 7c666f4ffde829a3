//! Eigenvectors, singular values and products of whole matrices, through faer on the calling thread.
//!
//! Matrices are row-major slices. The vector instructions of the machine can change the last bits; the number of
//! threads cannot.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::matmul;
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{Accum, Mat, MatMut, MatRef, Par};

use super::linalg::{LinalgError, require_finite, require_symmetric, rows};

/// Eigenvalues of a symmetric matrix with their eigenvectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Eigen {
    /// Descending, `[size]`.
    pub values: Vec<f64>,
    /// One eigenvector of length 1 per row, in the order of `values`, `[size, size]`. The sign is arbitrary.
    pub vectors: Vec<f64>,
}

/// The eigenvalues and eigenvectors of a symmetric matrix, largest eigenvalue first.
///
/// **Shapes** `matrix` `[size, size]`.
/// **Returns** see [`Eigen`].
/// **Errors** a shape that does not fit; an entry that is not finite; entries that differ across the diagonal by more
/// than rounding; no convergence.
/// **Numerics** as [`symmetric_eigenvalues`](super::linalg::symmetric_eigenvalues). Eigenvectors of eigenvalues that
/// are equal up to rounding are some orthonormal basis of their space.
///
/// ```
/// let eigen = cliffline::numerics::spectral::symmetric_eigen(&[2.0, 1.0, 1.0, 2.0], 2).unwrap();
/// assert!((eigen.values[0] - 3.0).abs() < 1e-14 && (eigen.vectors[0] - eigen.vectors[1]).abs() < 1e-14);
/// ```
pub fn symmetric_eigen(matrix: &[f64], size: usize) -> Result<Eigen, LinalgError> {
    if rows(matrix, size)? != size {
        return Err(LinalgError::Shape { len: matrix.len(), columns: size });
    }
    require_finite(matrix, size)?;
    require_symmetric(matrix, size)?;
    let mut values = Diag::<f64>::zeros(size);
    let mut vectors = Mat::<f64>::zeros(size, size);
    let scratch = self_adjoint_evd_scratch::<f64>(size, ComputeEigenvectors::Yes, Par::Seq, Default::default());
    self_adjoint_evd(
        MatRef::from_row_major_slice(matrix, size, size),
        values.as_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| LinalgError::NoConvergence { size })?;
    let values: Vec<f64> = values.column_vector().iter().copied().collect();
    if values.iter().any(|x| !x.is_finite()) {
        return Err(LinalgError::NoConvergence { size });
    }
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    let vectors = order.iter().flat_map(|&k| vectors.col(k).iter().copied()).collect();
    Ok(Eigen { values: order.iter().map(|&k| values[k]).collect(), vectors })
}

/// The singular values of a square matrix, largest first.
///
/// **Shapes** `matrix` `[size, size]`; returns `[size]`.
/// **Errors** a shape that does not fit; an entry that is not finite; no convergence.
/// **Numerics** bidiagonal reduction, then implicit QR or divide and conquer: absolute error about `size` times
/// 1.1e-16 of the largest.
///
/// ```
/// let values = cliffline::numerics::spectral::singular_values(&[0.0, 2.0, -3.0, 0.0], 2).unwrap();
/// assert!((values[0] - 3.0).abs() < 1e-14 && (values[1] - 2.0).abs() < 1e-14);
/// ```
pub fn singular_values(matrix: &[f64], size: usize) -> Result<Vec<f64>, LinalgError> {
    if rows(matrix, size)? != size {
        return Err(LinalgError::Shape { len: matrix.len(), columns: size });
    }
    require_finite(matrix, size)?;
    let mut values = Diag::<f64>::zeros(size);
    let none = ComputeSvdVectors::No;
    let scratch = svd_scratch::<f64>(size, size, none, none, Par::Seq, Default::default());
    svd(
        MatRef::from_row_major_slice(matrix, size, size),
        values.as_mut(),
        None,
        None,
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| LinalgError::NoConvergence { size })?;
    let mut descending: Vec<f64> = values.column_vector().iter().copied().collect();
    if descending.iter().any(|x| !x.is_finite()) {
        return Err(LinalgError::NoConvergence { size });
    }
    descending.sort_unstable_by(|a, b| b.total_cmp(a));
    Ok(descending)
}

/// The product of a transposed matrix with another of as many rows.
///
/// **Shapes** `a` `[n, p]`, `b` `[n, q]`; returns `[p, q]`, entry (i, j) the sum over rows of a_i b_j.
/// **Errors** shapes that do not fit together.
/// **Numerics** a blocked product: the order of sums is faer's.
///
/// ```
/// let product = cliffline::numerics::spectral::cross_products(&[1.0, 2.0], 1, &[3.0, 4.0, 5.0, 6.0], 2);
/// assert_eq!(product, Ok(vec![13.0, 16.0]));
/// ```
pub fn cross_products(a: &[f64], p: usize, b: &[f64], q: usize) -> Result<Vec<f64>, LinalgError> {
    let n = rows(a, p)?;
    if rows(b, q)? != n {
        return Err(LinalgError::Shape { len: b.len(), columns: q });
    }
    let mut product = vec![0.0; p * q];
    matmul(
        MatMut::from_row_major_slice_mut(&mut product, p, q),
        Accum::Replace,
        MatRef::from_row_major_slice(a, n, p).transpose(),
        MatRef::from_row_major_slice(b, n, q),
        1.0,
        Par::Seq,
    );
    Ok(product)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::linalg::{covariance, dot, symmetric_eigenvalues};
    use crate::numerics::stream::Streams;

    /// Rounding of a decomposition of some ten rows with entries of order 1.
    const ROUNDING: f64 = 1e-12;

    fn normals(seed: u64, len: usize) -> Vec<f64> {
        let mut stream = Streams::new(seed, "spectral.tests").item(0);
        (0..len).map(|_| stream.normal()).collect()
    }

    #[test]
    fn eigenvectors_are_orthonormal_and_are_stretched_by_their_eigenvalues() {
        for d in [1, 2, 7, 12] {
            let matrix = covariance(&normals(5, 40 * d), d).unwrap();
            let eigen = symmetric_eigen(&matrix, d).unwrap();
            let expected = symmetric_eigenvalues(&matrix, d).unwrap();
            for (k, v) in eigen.vectors.chunks_exact(d).enumerate() {
                assert!((eigen.values[k] - expected[k]).abs() < ROUNDING);
                for (other, w) in eigen.vectors.chunks_exact(d).enumerate() {
                    assert!((dot(v, w) - f64::from(u8::from(k == other))).abs() < ROUNDING);
                }
                for (row, x) in matrix.chunks_exact(d).zip(v) {
                    assert!((dot(row, v) - eigen.values[k] * x).abs() < ROUNDING);
                }
            }
        }
    }

    #[test]
    fn squares_of_singular_values_are_eigenvalues_of_the_products() {
        for d in [1, 3, 8, 33] {
            let matrix = normals(7, d * d);
            let squares = symmetric_eigenvalues(&cross_products(&matrix, d, &matrix, d).unwrap(), d).unwrap();
            for (value, square) in singular_values(&matrix, d).unwrap().iter().zip(squares) {
                assert!((value * value - square).abs() < 1e2 * ROUNDING, "{d}: {value} {square}");
            }
        }
    }

    #[test]
    fn products_follow_the_definition() {
        let (n, p, q) = (11, 3, 5);
        let (a, b) = (normals(1, n * p), normals(2, n * q));
        let product = cross_products(&a, p, &b, q).unwrap();
        for i in 0..p {
            for j in 0..q {
                let expected: f64 = (0..n).map(|row| a[row * p + i] * b[row * q + j]).sum();
                assert!((product[i * q + j] - expected).abs() < ROUNDING);
            }
        }
    }

    #[test]
    fn bad_input_is_an_error() {
        assert_eq!(symmetric_eigen(&[1.0; 6], 3), Err(LinalgError::Shape { len: 6, columns: 3 }));
        assert_eq!(singular_values(&[1.0; 6], 3), Err(LinalgError::Shape { len: 6, columns: 3 }));
        assert!(matches!(singular_values(&[f64::NAN], 1), Err(LinalgError::NotFinite { .. })));
        assert_eq!(cross_products(&[1.0; 4], 2, &[1.0; 3], 1), Err(LinalgError::Shape { len: 3, columns: 1 }));
    }
}
