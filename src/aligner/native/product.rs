//! Products of one cell's matrices, with what follows each product done while its values are in registers.
//!
//! An entry is a sum of products in the order of the inner index, each step fused where the processor can, whatever the
//! tile it falls in and whatever the size of the matrix: its bits depend on its row and column alone.
//!
//! **Numerics**: `inner` roundings of a running sum; with entries of random sign the error grows like `sqrt(inner)`
//! spacings of f32.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::matrix::Matrix;

/// The left operand of a product, by rows or by columns.
#[derive(Clone, Copy, Debug)]
pub enum Left<'a> {
    /// The matrix itself.
    Plain(&'a Matrix),
    /// Its transpose.
    Transposed(&'a Matrix),
}

impl Left<'_> {
    /// Values, distance of rows, distance along the inner index.
    fn parts(&self) -> (&[f32], usize, usize) {
        match self {
            Left::Plain(m) => (m.padded(), m.stride(), 1),
            Left::Transposed(m) => (m.padded(), 1, m.stride()),
        }
    }
}

/// What is done with the entries of a product.
pub trait Finish {
    /// Takes some vectors of entries: row `row`, columns from `column` on. Called once for each entry, for the rows of a
    /// set of columns in ascending order; beyond the columns of the right operand, entries are zero.
    fn take<S: Simd, const V: usize>(&mut self, simd: S, row: usize, column: usize, entries: [S::f32s; V]);
}

/// Multiplies the first `rows` rows of `left` with the first `inner` rows of `right`.
///
/// **Shapes**: left `[rows, inner]`, right `[inner, width]`.
///
/// # Panics
/// When an operand is smaller than that.
pub fn product<F: Finish>(arch: Arch, rows: usize, inner: usize, left: Left<'_>, right: &Matrix, finish: &mut F) {
    product_rows(arch, 0..rows, inner, left, right, finish);
}

/// As [`product`], of some rows alone.
pub fn product_rows<F: Finish>(
    arch: Arch,
    rows: Range<usize>,
    inner: usize,
    left: Left<'_>,
    right: &Matrix,
    finish: &mut F,
) {
    let (values, row_stride, inner_stride) = left.parts();
    assert!(inner > 0, "a product over nothing");
    let along = |n: usize, stride: usize| n.saturating_sub(1).checked_mul(stride);
    let furthest = along(rows.end, row_stride).zip(along(inner, inner_stride)).and_then(|(a, b)| a.checked_add(b));
    let fits = furthest.is_some_and(|furthest| furthest < values.len()) && inner <= right.rows();
    assert!(fits, "operands smaller than rows {rows:?}, inner {inner}");
    let vectors = Vectors { values, row_stride, inner_stride, right: right.padded(), right_stride: right.stride() };
    arch.dispatch(Product { rows, inner, width: right.width(), vectors, finish });
}

struct Product<'a, F> {
    rows: Range<usize>,
    inner: usize,
    width: usize,
    vectors: Vectors<'a>,
    finish: &'a mut F,
}

#[derive(Clone, Copy)]
struct Vectors<'a> {
    values: &'a [f32],
    row_stride: usize,
    inner_stride: usize,
    right: &'a [f32],
    right_stride: usize,
}

impl<F: Finish> WithSimd for Product<'_, F> {
    type Output = ();

    // Tiles of R rows by V vectors: as many sums as fit the registers beside V vectors of the right operand and one
    // broadcast value, and at least the eight that hide the latency of a fused multiply-add.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rows, inner, width, vectors, finish } = self;
        let total = width / S::F32_LANES;
        let mut at = 0;
        if S::REGISTER_COUNT >= 32 {
            while at + 4 <= total {
                panel::<S, F, 6, 2, 4>(simd, rows.clone(), inner, at, vectors, finish);
                at += 4;
            }
            while at + 2 <= total {
                panel::<S, F, 12, 4, 2>(simd, rows.clone(), inner, at, vectors, finish);
                at += 2;
            }
            while at < total {
                panel::<S, F, 12, 4, 1>(simd, rows.clone(), inner, at, vectors, finish);
                at += 1;
            }
        } else {
            // Rows are padded to whole lines, which hold an even number of these narrower vectors, or of single values on
            // processors without vectors.
            debug_assert!(total.is_multiple_of(2), "{width} columns");
            while at + 2 <= total {
                panel::<S, F, 6, 2, 2>(simd, rows.clone(), inner, at, vectors, finish);
                at += 2;
            }
        }
    }
}

/// All rows of `V` vectors of columns, from vector `at` on: tiles of `R` rows, then of `T`, then single rows.
#[inline(always)]
fn panel<S: Simd, F: Finish, const R: usize, const T: usize, const V: usize>(
    simd: S,
    rows: Range<usize>,
    inner: usize,
    at: usize,
    vectors: Vectors<'_>,
    finish: &mut F,
) {
    let Range { start: mut row, end } = rows;
    while row + R <= end {
        tile::<S, F, R, V>(simd, row, inner, at, vectors, finish);
        row += R;
    }
    while row + T <= end {
        tile::<S, F, T, V>(simd, row, inner, at, vectors, finish);
        row += T;
    }
    while row < end {
        tile::<S, F, 1, V>(simd, row, inner, at, vectors, finish);
        row += 1;
    }
}

#[inline(always)]
fn tile<S: Simd, F: Finish, const R: usize, const V: usize>(
    simd: S,
    row: usize,
    inner: usize,
    at: usize,
    vectors: Vectors<'_>,
    finish: &mut F,
) {
    let Vectors { values, row_stride, inner_stride, right, right_stride } = vectors;
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    // SAFETY: `product_rows` has checked that the last value of the left operand, at the last row and inner index
    // `inner - 1`, lies in `values`, and that `right` has `inner` rows of `right_stride >= width` values. Tiles stay
    // within those rows and `width` columns, which are whole lines, so that vectors of any width divide them.
    unsafe {
        let mut a = values.as_ptr().add(row * row_stride);
        let mut b = right.as_ptr().add(at * S::F32_LANES);
        for _ in 0..inner {
            let mut columns = [simd.splat_f32s(0.0); V];
            for (v, column) in columns.iter_mut().enumerate() {
                *column = b.add(v * S::F32_LANES).cast::<S::f32s>().read_unaligned();
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let value = simd.splat_f32s(*a.add(r * row_stride));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = simd.mul_add_e_f32s(value, column, *sum);
                }
            }
            // Beyond the end only after the last round, where they are not read.
            a = a.wrapping_add(inner_stride);
            b = b.wrapping_add(right_stride);
        }
    }
    for (r, sums) in sums.into_iter().enumerate() {
        finish.take(simd, row + r, at * S::F32_LANES, sums);
    }
}

/// Stores the entries of a product.
pub struct Store<'a> {
    pub out: &'a mut Matrix,
}

impl Finish for Store<'_> {
    #[inline(always)]
    fn take<S: Simd, const V: usize>(&mut self, _: S, row: usize, column: usize, entries: [S::f32s; V]) {
        *vectors_mut::<S, V>(self.out, row, column) = entries;
    }
}

/// The vectors at a row and a column.
#[inline(always)]
pub fn vectors<S: Simd, const V: usize>(matrix: &Matrix, row: usize, column: usize) -> &[S::f32s; V] {
    let (vectors, _) = S::as_simd_f32s(&matrix.row(row)[column..column + V * S::F32_LANES]);
    vectors.first_chunk().expect("as many vectors as were cut out")
}

#[inline(always)]
pub fn vectors_mut<S: Simd, const V: usize>(matrix: &mut Matrix, row: usize, column: usize) -> &mut [S::f32s; V] {
    let (vectors, _) = S::as_mut_simd_f32s(&mut matrix.row_mut(row)[column..column + V * S::F32_LANES]);
    vectors.first_chunk_mut().expect("as many vectors as were cut out")
}

#[cfg(test)]
mod tests {
    use super::super::instruction_sets;
    use super::*;
    use crate::numerics::stream::Streams;

    fn normals(item: u64, n: usize) -> Vec<f32> {
        let mut stream = Streams::new(0, "native.product").item(item);
        (0..n).map(|_| stream.normal() as f32).collect()
    }

    /// Four standard deviations of a random walk of roundings.
    const HEADROOM: f64 = 4.0;

    #[test]
    fn products_agree_with_f64_for_every_remainder_of_tiles() {
        let shapes = [(1, 1, 1), (2, 3, 5), (6, 7, 64), (13, 32, 48), (17, 9, 33), (31, 40, 100), (12, 256, 32)];
        let everywhere = instruction_sets().into_iter().flat_map(|set| shapes.map(|shape| (set, shape)));
        for ((set, arch), (rows, inner, columns)) in everywhere {
            let (a, b) = (normals(1, rows * inner), normals(2, inner * columns));
            let left = Matrix::from_values(&a, rows, inner);
            let mut transposed = Matrix::walked_by_columns(inner, rows);
            left.transpose_into(rows, 1.0, &mut transposed);
            let right = Matrix::from_values(&b, inner, columns);
            let run = |left: Left<'_>| {
                let mut out = Matrix::zeros(rows, columns);
                product(arch, rows, inner, left, &right, &mut Store { out: &mut out });
                assert!((0..rows).all(|r| out.row(r)[columns..].iter().all(|v| *v == 0.0)), "padding");
                out.values()
            };
            let got = run(Left::Plain(&left));
            assert_eq!(got, run(Left::Transposed(&transposed)), "{set}: {rows} {inner} {columns}");
            let tolerance = HEADROOM * f64::from(f32::EPSILON) * (inner as f64);
            for (i, got) in got.iter().enumerate() {
                let (row, column) = (i / columns, i % columns);
                let term = |k: usize| f64::from(a[row * inner + k]) * f64::from(b[k * columns + column]);
                let expected: f64 = (0..inner).map(term).sum();
                assert!(
                    (f64::from(*got) - expected).abs() < tolerance,
                    "{set}: {rows} {inner} {columns}: {got} {expected}"
                );
            }
        }
    }

    #[test]
    fn an_entry_does_not_depend_on_the_rows_and_columns_around_it() {
        let (rows, inner, columns) = (29, 37, 70);
        let (a, b) = (normals(3, rows * inner), normals(4, inner * columns));
        let entry = |arch: Arch, rows: usize, columns_kept: usize| {
            let left = Matrix::from_values(&a[..rows * inner], rows, inner);
            let kept: Vec<f32> = b.chunks(columns).flat_map(|row| row[..columns_kept].to_vec()).collect();
            let right = Matrix::from_values(&kept, inner, columns_kept);
            let mut out = Matrix::zeros(rows, columns_kept);
            product(arch, rows, inner, Left::Plain(&left), &right, &mut Store { out: &mut out });
            out.row(2)[3].to_bits()
        };
        for (set, arch) in instruction_sets() {
            for (rows, columns) in [(3, 4), (8, 16), (13, 40), (29, 70)] {
                assert_eq!(entry(arch, rows, columns), entry(arch, 29, 70), "{set}: {rows} rows, {columns} columns");
            }
        }
    }
}
