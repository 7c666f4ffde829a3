//! Compression by blocks, as JPEG does it.

use super::{Act, Perturbation};
use crate::world::Modality;

pub const PERTURBATION: Perturbation = Perturbation {
    name: "compression",
    path: "image.compression",
    modality: Modality::Image,
    doc: "rounds the DCT coefficients of 8 x 8 blocks; the strength multiplies JPEG's luminance quantisation table",
    levels: &[1.0, 5.0, 20.0, 60.0],
    cumulative: false,
    strength: |config| config.image.compression,
    act: Act::Image(|side, config| {
        let (basis, strength) = (basis(), config.compression);
        Box::new(move |pixels, _| compress(pixels, side, strength, &basis))
    }),
};

/// Side of a block.
const BLOCK: usize = 8;

/// Steps of the luminance coefficients at quality 50, where intensities span 0 to 255: ITU-T T.81, table K.1.
#[rustfmt::skip]
const LUMINANCE: [u8; BLOCK * BLOCK] = [
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
];

/// What a step of the table is in intensity, which spans -1 to 1 here.
const UNIT: f64 = 2.0 / 255.0;

type Matrix = [[f64; BLOCK]; BLOCK];

/// The orthonormal DCT-II: row `k` is the cosine of `k` half-waves.
fn basis() -> Matrix {
    let n = BLOCK as f64;
    std::array::from_fn(|k| {
        let norm = if k == 0 { (1.0 / n).sqrt() } else { (2.0 / n).sqrt() };
        std::array::from_fn(|i| norm * libm::cos(std::f64::consts::PI * (2 * i + 1) as f64 * k as f64 / (2.0 * n)))
    })
}

/// `left block right`, transposing either factor where asked.
fn between(left: impl Fn(usize, usize) -> f64, block: &Matrix, right: impl Fn(usize, usize) -> f64) -> Matrix {
    let dot = |of: &dyn Fn(usize) -> f64| (0..BLOCK).map(of).sum::<f64>();
    let half: Matrix = std::array::from_fn(|i| std::array::from_fn(|j| dot(&|k| left(i, k) * block[k][j])));
    std::array::from_fn(|i| std::array::from_fn(|j| dot(&|k| half[i][k] * right(k, j))))
}

/// Compresses and decompresses an image.
///
/// Each 8 x 8 block is transformed by an orthonormal two-dimensional DCT-II, coefficient `(u, v)` is rounded to a
/// multiple of `strength * table[u, v] * 2 / 255`, and the block is transformed back. Sides that are no multiple of 8
/// are extended by their last row and column, and cut again. Strength 1 is what libjpeg calls quality 50; `q` below
/// 50 is `50 / q`, above it `2 - q / 50`. Intensities are not clipped, and colour, chroma and entropy coding have no
/// counterpart.
///
/// **Shapes.** `pixels` is `[S * S]`, row by row.
///
/// **Source.** Wallace, "The JPEG still picture compression standard" (1991).
fn compress(pixels: &mut [f64], side: usize, strength: f64, basis: &Matrix) {
    for (top, left) in (0..side).step_by(BLOCK).flat_map(|top| (0..side).step_by(BLOCK).map(move |left| (top, left))) {
        let inside = |at: usize| at.min(side - 1);
        let block: Matrix =
            std::array::from_fn(|i| std::array::from_fn(|j| pixels[inside(top + i) * side + inside(left + j)]));
        let mut coefficients = between(|i, k| basis[i][k], &block, |k, j| basis[j][k]);
        for (value, table) in coefficients.iter_mut().flatten().zip(LUMINANCE) {
            let step = strength * f64::from(table) * UNIT;
            *value = (*value / step).round_ties_even() * step;
        }
        let block = between(|i, k| basis[k][i], &coefficients, |k, j| basis[k][j]);
        for (i, row) in block.iter().enumerate().take(side - top) {
            for (j, value) in row.iter().enumerate().take(side - left) {
                pixels[(top + i) * side + left + j] = *value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::perturbation::golden::{COEFFICIENTS, COMPRESSED, IMAGE, IMAGE_SIDE};

    /// Goldens are printed to 15 digits; coefficients are sums of 64 products of values of at most 1.
    const ROUNDING: f64 = 1e-13;

    #[test]
    fn the_transform_is_the_dct_of_scipy() {
        let basis = basis();
        let block: Matrix = std::array::from_fn(|i| std::array::from_fn(|j| IMAGE[i * IMAGE_SIDE + j]));
        let coefficients = between(|i, k| basis[i][k], &block, |k, j| basis[j][k]);
        for (value, expected) in coefficients.iter().flatten().zip(COEFFICIENTS) {
            assert!((value - expected).abs() < ROUNDING, "{value} is not {expected}");
        }
    }

    #[test]
    fn images_of_any_side_come_back_as_numpy_has_them() {
        for (strength, expected) in COMPRESSED {
            let mut pixels = IMAGE.to_vec();
            compress(&mut pixels, IMAGE_SIDE, *strength, &basis());
            for (pixel, expected) in pixels.iter().zip(*expected) {
                assert!((pixel - expected).abs() < ROUNDING, "{pixel} is not {expected} at {strength}");
            }
        }
    }

    #[test]
    fn little_strength_changes_little() {
        let mut pixels = IMAGE.to_vec();
        compress(&mut pixels, IMAGE_SIDE, 1e-6, &basis());
        // Half a step in each of 64 coefficients, at the largest entry of the table.
        let bound = 1e-6 * 121.0 * UNIT * 0.5 * 8.0;
        assert!(pixels.iter().zip(IMAGE).all(|(a, b)| (a - b).abs() < bound));
    }
}
