//! Gaussian blur.

use super::{Act, Perturbation};
use crate::world::Modality;

pub const PERTURBATION: Perturbation = Perturbation {
    name: "blur",
    path: "image.blur",
    modality: Modality::Image,
    doc: "convolves the image with a Gaussian; the strength is its standard deviation, in pixels",
    levels: &[0.5, 1.0, 2.0, 4.0],
    cumulative: true,
    strength: |config| config.image.blur,
    act: Act::Image(|side, config| {
        let kernel = kernel(config.blur);
        Box::new(move |pixels, _| blur(pixels, side, &kernel))
    }),
};

/// Standard deviations after which the Gaussian is cut off; scipy's default. The rest weighs 6e-5.
const TRUNCATE: f64 = 4.0;

/// Half of the kernel: weights at distances 0, 1, ... pixels. Both halves sum to 1. Below a standard deviation of an
/// eighth of a pixel it is the middle alone, which is the identity: a neighbour would weigh less than 1e-13.
fn kernel(sd: f64) -> Vec<f64> {
    let radius = (TRUNCATE * sd + 0.5) as usize;
    let half: Vec<f64> = (0..=radius).map(|d| libm::exp(-0.5 * (d as f64 / sd) * (d as f64 / sd))).collect();
    let sum = 2.0 * half.iter().sum::<f64>() - half[0];
    half.into_iter().map(|weight| weight / sum).collect()
}

/// Convolves rows, then columns. What is beyond the edges is background, 0.
///
/// **Shapes.** `pixels` is `[S * S]`, row by row; `kernel` its weights by distance.
///
/// **Source.** `scipy.ndimage.gaussian_filter(image, sd, mode="constant", cval=0, truncate=4)`.
fn blur(pixels: &mut [f64], side: usize, kernel: &[f64]) {
    let mut line = vec![0.0; side];
    let mut along = |start: usize, step: usize| {
        line.iter_mut().enumerate().for_each(|(i, v)| *v = pixels[start + i * step]);
        for i in 0..side {
            let near = kernel.iter().enumerate().skip(1).take(side);
            let beside = |d: usize| {
                let before = i.checked_sub(d).map_or(0.0, |at| line[at]);
                before + line.get(i + d).copied().unwrap_or(0.0)
            };
            pixels[start + i * step] = kernel[0] * line[i] + near.map(|(d, weight)| weight * beside(d)).sum::<f64>();
        }
    };
    (0..side).for_each(|row| along(row * side, 1));
    (0..side).for_each(|column| along(column, side));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::perturbation::golden::{BLURRED, IMAGE, IMAGE_SIDE};

    #[test]
    fn it_is_the_filter_of_scipy() {
        for (sd, expected) in BLURRED {
            let mut pixels = IMAGE.to_vec();
            blur(&mut pixels, IMAGE_SIDE, &kernel(*sd));
            for (pixel, expected) in pixels.iter().zip(*expected) {
                // Goldens are printed to 15 digits; sums of up to 33 products of values of at most 1.
                assert!((pixel - expected).abs() < 1e-13, "{pixel} is not {expected} at {sd}");
            }
        }
    }

    #[test]
    fn a_point_keeps_its_mass_in_the_middle_and_loses_some_at_the_edge() {
        let mass = |at: usize| {
            let mut pixels = vec![0.0; 17 * 17];
            pixels[at] = 1.0;
            blur(&mut pixels, 17, &kernel(1.5));
            pixels.iter().sum::<f64>()
        };
        assert!((mass(8 * 17 + 8) - 1.0).abs() < 1e-14);
        assert!(mass(0) < 0.5);
    }
}
