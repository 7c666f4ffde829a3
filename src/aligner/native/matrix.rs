//! Row-major matrices whose rows begin at cache lines and are padded with zeros to whole vectors.

/// Rows are a multiple of this many values long: the widest vector of any supported processor, and a cache line.
pub const LINE: usize = 16;

/// Bytes of a cache line.
const LINE_BYTES: usize = LINE * size_of::<f32>();

/// Rows of this many lines would all fall into few sets of a first-level cache when a column is walked.
const ALIASING_LINES: usize = 16;

/// A matrix of f32.
///
/// **Shapes**: `rows x columns`, stored with `stride >= columns` values per row. Values at and beyond `columns` are zero
/// and stay zero: every kernel writes zeros there or does not write.
#[derive(Debug)]
pub struct Matrix {
    /// Longer than needed by up to a line, so that the first row can begin at one.
    store: Vec<f32>,
    offset: usize,
    rows: usize,
    columns: usize,
    /// Columns rounded up to whole vectors of any width.
    width: usize,
    stride: usize,
}

impl Matrix {
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self::with_stride(rows, columns, columns.next_multiple_of(LINE))
    }

    /// A matrix that is walked by columns as well: its rows are a line longer where they would otherwise alias.
    pub fn walked_by_columns(rows: usize, columns: usize) -> Self {
        let stride = columns.next_multiple_of(LINE);
        let aliases = (stride / LINE).is_multiple_of(ALIASING_LINES);
        Self::with_stride(rows, columns, if aliases { stride + LINE } else { stride })
    }

    fn with_stride(rows: usize, columns: usize, stride: usize) -> Self {
        let store = vec![0.0; rows * stride + LINE];
        let offset = match store.as_ptr().align_offset(LINE_BYTES) {
            aligned if aligned < LINE => aligned,
            // Only speed depends on the alignment.
            _ => 0,
        };
        Self { store, offset, rows, columns, width: columns.next_multiple_of(LINE), stride }
    }

    /// From unpadded row-major values.
    ///
    /// # Panics
    /// When there are not `rows * columns` values.
    pub fn from_values(values: &[f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "{rows} x {columns} values");
        let mut matrix = Self::zeros(rows, columns);
        for (row, from) in values.chunks_exact(columns).enumerate() {
            matrix.row_mut(row)[..columns].copy_from_slice(from);
        }
        matrix
    }

    /// A matrix of zeros of the same shape.
    pub fn zeros_like(&self) -> Self {
        Self::with_stride(self.rows, self.columns, self.stride)
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Columns rounded up to whole vectors of any width: how far kernels work.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All rows with their padding.
    pub fn padded(&self) -> &[f32] {
        &self.store[self.offset..self.offset + self.rows * self.stride]
    }

    pub fn padded_mut(&mut self) -> &mut [f32] {
        &mut self.store[self.offset..self.offset + self.rows * self.stride]
    }

    /// One row, [`width`](Self::width) values.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.padded()[row * self.stride..][..self.width]
    }

    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let (width, stride) = (self.width, self.stride);
        &mut self.padded_mut()[row * stride..][..width]
    }

    /// Appends the first `rows` rows to `out`, without padding.
    pub fn append_to(&self, rows: usize, out: &mut Vec<f32>) {
        for row in 0..rows {
            out.extend_from_slice(&self.row(row)[..self.columns]);
        }
    }

    /// The values, row-major, without padding.
    pub fn values(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.rows * self.columns);
        self.append_to(self.rows, &mut out);
        out
    }

    /// Writes `scale` times the transpose of the first `rows` rows into `out`.
    ///
    /// # Panics
    /// When `out` is not `columns x rows`.
    pub fn transpose_into(&self, rows: usize, scale: f32, out: &mut Matrix) {
        assert_eq!((out.rows, out.columns), (self.columns, rows), "shape of a transpose");
        let stride = out.stride;
        let to = out.padded_mut();
        for row in 0..rows {
            let column = to[row..].iter_mut().step_by(stride);
            column.zip(&self.row(row)[..self.columns]).for_each(|(to, value)| *to = value * scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_padding_is_zero() {
        for (rows, columns) in [(1, 1), (3, 16), (5, 17), (2, 256)] {
            let values: Vec<f32> = (0..rows * columns).map(|i| i as f32 + 1.0).collect();
            let matrix = Matrix::from_values(&values, rows, columns);
            assert_eq!(matrix.values(), values);
            assert!(matrix.row(rows - 1)[columns..].iter().all(|v| *v == 0.0));
            let mut transposed = Matrix::walked_by_columns(columns, rows);
            matrix.transpose_into(rows, 2.0, &mut transposed);
            assert_eq!(transposed.row(columns - 1)[0], 2.0 * values[columns - 1]);
            let mut back = Matrix::zeros(rows, columns);
            transposed.transpose_into(columns, 0.5, &mut back);
            assert_eq!(back.values(), values);
        }
    }

    #[test]
    fn rows_begin_at_cache_lines() {
        let matrix = Matrix::zeros(3, 20);
        assert!((0..3).all(|row| matrix.row(row).as_ptr().addr().is_multiple_of(LINE_BYTES)));
    }
}
