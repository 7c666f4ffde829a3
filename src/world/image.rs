//! The image operator: factors to a square image of intensities.
//!
//! Inside one of four outlines in a fixed pose lies a texture, the sum of a sinusoidal grating and of a linear shading
//! in the same direction; the outline itself is drawn on top. Without the shading a grating turned by half a turn and
//! with its phase negated would be the same image. The image is infinitely differentiable in every continuous factor
//! and periodic in the circular ones.

use crate::world::factors::{Factors, Shape};

/// Half the extent of an outline; the image spans -1 to 1. Leaves the outline's soft rim room inside the image.
const RADIUS: f64 = 0.8;
/// Half the side of the square: the area then lies between those of the disc and of the cross.
const SQUARE_HALF_SIDE: f64 = 0.85 * RADIUS;
/// Distance from the triangle's centre to its sides.
const TRIANGLE_INRADIUS: f64 = 0.55 * RADIUS;
/// Half the width of the cross's arms.
const CROSS_HALF_WIDTH: f64 = 0.4 * RADIUS;
/// Length over which the texture fades out across the outline: about half a pixel at 16 x 16, so that edges are
/// antialiased and not blurred.
const SOFTNESS: f64 = 0.08;
/// Amplitudes of grating and shading. Equal, because a small network decodes orientation from the shading and
/// frequency and phase from the grating; their sum is at most 1 inside the outline.
const GRATING: f64 = 0.5;
const SHADING: f64 = 0.5;
/// Intensity of the outline's middle. Below 1, so that outlines, which alone differ between shapes, do not take most
/// of the variance.
const OUTLINE: f64 = 0.75;
/// sin and cos of 60 degrees, the directions of the triangle's sides.
const SIN_60: f64 = 0.866_025_403_784_438_6;
const COS_60: f64 = 0.5;

/// Signed distance from `(x, y)` to a box with half sides `(half_x, half_y)`, negative inside.
fn distance_to_box(x: f64, y: f64, half_x: f64, half_y: f64) -> f64 {
    let (dx, dy) = (x.abs() - half_x, y.abs() - half_y);
    libm::hypot(dx.max(0.0), dy.max(0.0)) + dx.max(dy).min(0.0)
}

/// Signed distance from `(x, y)` to the outline of `shape`, negative inside. Beyond the triangle's corners and in the
/// middle of the cross its absolute value is a lower bound of the distance, which mitres strokes there.
fn signed_distance(shape: Shape, x: f64, y: f64) -> f64 {
    match shape {
        Shape::Disc => libm::hypot(x, y) - RADIUS,
        Shape::Square => distance_to_box(x, y, SQUARE_HALF_SIDE, SQUARE_HALF_SIDE),
        Shape::Triangle => {
            let slanted = x.abs() * SIN_60 + y * COS_60;
            slanted.max(-y) - TRIANGLE_INRADIUS
        }
        Shape::Cross => {
            let upright = distance_to_box(x, y, CROSS_HALF_WIDTH, RADIUS);
            let lying = distance_to_box(x, y, RADIUS, CROSS_HALF_WIDTH);
            upright.min(lying)
        }
    }
}

/// Renders factors to images of one size. What depends on pixel and shape only is computed once.
///
/// ```
/// use cliffline::world::{Factors, Renderer, Shape};
/// let renderer = Renderer::new(16);
/// let factors = Factors { shape: Shape::Disc, orientation: 0.3, frequency: 2.0, phase: 1.0, thickness: 0.05 };
/// let mut pixels = vec![0f32; renderer.pixels()];
/// renderer.render(&factors, &mut pixels);
/// assert!(pixels.iter().all(|v| (-1.0..=1.0).contains(v)));
/// ```
#[derive(Clone, Debug)]
pub struct Renderer {
    /// Pixel centres, row by row from the top left; x to the right, y upwards, the image spanning -1 to 1.
    centres: Vec<(f64, f64)>,
    /// Per shape and pixel: signed distance to the outline, and how far the texture shows, in 0 to 1.
    outlines: [Vec<(f64, f64)>; 4],
}

impl Renderer {
    /// A renderer for `image_size` x `image_size` images.
    pub fn new(image_size: usize) -> Self {
        let coordinate = |i: usize| (2 * i + 1) as f64 / image_size as f64 - 1.0;
        let centres: Vec<(f64, f64)> = (0..image_size * image_size)
            .map(|pixel| (coordinate(pixel % image_size), -coordinate(pixel / image_size)))
            .collect();
        let outlines = Shape::ALL.map(|shape| {
            let of_pixel = |&(x, y): &(f64, f64)| {
                let distance = signed_distance(shape, x, y);
                (distance, 1.0 / (1.0 + libm::exp(distance / SOFTNESS)))
            };
            centres.iter().map(of_pixel).collect()
        });
        Self { centres, outlines }
    }

    /// Pixels per image.
    pub fn pixels(&self) -> usize {
        self.centres.len()
    }

    /// Renders one image.
    ///
    /// **Shapes.** `out` is `[S * S]`, row by row from the top left; `Renderer::pixels` of them.
    ///
    /// **Returns.** Intensities in `[-1, 1]`; the background is 0.
    ///
    /// **Numerics.** Computed in f64 with `libm`, then rounded to f32, so that the bytes are the same everywhere.
    ///
    /// **Panics** when `out` has another length.
    pub fn render(&self, factors: &Factors, out: &mut [f32]) {
        assert_eq!(out.len(), self.pixels(), "Renderer::render needs one value per pixel");
        let (sin, cos) = libm::sincos(factors.orientation);
        // The image is two units wide: `frequency` cycles per side are `frequency * pi` radians per unit.
        let radians_per_unit = std::f64::consts::PI * factors.frequency;
        let thickness = 2.0 * factors.thickness;
        let outline = &self.outlines[factors.shape as usize];
        for ((value, &(x, y)), &(distance, inside)) in out.iter_mut().zip(&self.centres).zip(outline) {
            let along = x * cos + y * sin;
            let texture = GRATING * libm::cos(radians_per_unit * along + factors.phase) + SHADING * along;
            let stroke = libm::exp(-0.5 * (distance / thickness) * (distance / thickness));
            *value = ((1.0 - stroke) * inside * texture + stroke * OUTLINE) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::{PI, TAU};

    use super::*;
    use crate::numerics::stream::Streams;
    use crate::world::factors::Factor;

    fn image(factors: &Factors, size: usize) -> Vec<f32> {
        let renderer = Renderer::new(size);
        let mut out = vec![0.0; renderer.pixels()];
        renderer.render(factors, &mut out);
        out
    }

    fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
    }

    fn samples(n: usize) -> Vec<Factors> {
        let mut stream = Streams::new(1, "test").item(0);
        (0..n).map(|_| Factors::draw(&mut stream)).collect()
    }

    #[test]
    fn signed_distances_by_hand() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} is not {b}");
        for shape in Shape::ALL {
            assert!(signed_distance(shape, 0.0, 0.0) < -0.3, "the centre is inside {}", shape.name());
            assert!(signed_distance(shape, 1.0, 1.0) > 0.2, "the corner is outside {}", shape.name());
        }
        close(signed_distance(Shape::Disc, 0.3, 0.4), 0.5 - RADIUS);
        close(signed_distance(Shape::Square, SQUARE_HALF_SIDE, 0.1), 0.0);
        close(signed_distance(Shape::Square, SQUARE_HALF_SIDE + 0.3, SQUARE_HALF_SIDE + 0.4), 0.5);
        close(signed_distance(Shape::Triangle, 0.0, -TRIANGLE_INRADIUS), 0.0);
        close(signed_distance(Shape::Triangle, 0.0, 2.0 * TRIANGLE_INRADIUS), 0.0);
        close(signed_distance(Shape::Cross, RADIUS, 0.0), 0.0);
        close(signed_distance(Shape::Cross, 0.5 * RADIUS, 0.5 * RADIUS), 0.1 * RADIUS);
    }

    #[test]
    fn pixels_by_hand() {
        // The middle of a 9 x 9 image is the centre: no shading, no stroke, and the grating at its phase.
        let factors = Factors { shape: Shape::Disc, orientation: 1.2, frequency: 2.3, phase: 0.7, thickness: 0.03 };
        let middle = f64::from(image(&factors, 9)[40]);
        let inside = 1.0 / (1.0 + (-RADIUS / SOFTNESS).exp());
        assert!((middle - inside * GRATING * 0.7f64.cos()).abs() < 1e-7);
        // Orientation 0 brightens to the right, a quarter turn brightens upwards (the first row is the top).
        let mean = |pixels: &[f32], keep: fn(usize) -> bool| -> f32 {
            (0..256).filter(|&i| keep(i)).map(|i| pixels[i]).sum::<f32>() / 128.0
        };
        let cross = Factors { phase: PI / 2.0, orientation: 0.0, shape: Shape::Cross, ..factors };
        let right = image(&cross, 16);
        assert!(mean(&right, |i| i % 16 >= 8) > mean(&right, |i| i % 16 < 8));
        let up = image(&Factors { orientation: PI / 2.0, ..cross }, 16);
        assert!(mean(&up, |i| i < 128) > mean(&up, |i| i >= 128));
    }

    #[test]
    fn intensities_stay_in_range() {
        for size in [8, 16, 24] {
            for factors in samples(500) {
                assert!(image(&factors, size).iter().all(|v| (-1.0..=1.0).contains(v)), "{factors:?}");
            }
        }
    }

    /// The image must not move further than a bound times the step, however small the step: no jumps, no kinks steeper
    /// than the bound, and none where a circular factor starts over.
    #[test]
    fn images_are_smooth_in_every_continuous_factor() {
        let shift = |f: &Factors, factor: Factor, by: f64| {
            let mut f = *f;
            match factor {
                Factor::Shape => unreachable!("shape is not continuous"),
                Factor::Orientation => f.orientation += by,
                Factor::Frequency => f.frequency += by,
                Factor::Phase => f.phase += by,
                Factor::Thickness => f.thickness += by,
            }
            f
        };
        for factor in &Factor::ALL[1..] {
            // Bounds on |d image / d factor| from the formula: the grating turns by at most pi * frequency * sqrt 2
            // radians per radian of orientation and pi * sqrt 2 per cycle; the stroke's profile changes by at most
            // 2 sup |q^2 exp(-q^2 / 2)| / (2 thickness), with q^2 = 2 at the supremum, times the contrast it covers.
            let slope = match factor {
                Factor::Shape => 0.0,
                Factor::Orientation => (GRATING * 3.0 * PI + SHADING) * 2f64.sqrt(),
                Factor::Frequency => GRATING * PI * 2f64.sqrt(),
                Factor::Phase => GRATING,
                Factor::Thickness => 2.0 * (-1f64).exp() / 0.03 * (1.0 + OUTLINE),
            };
            for mut factors in samples(100) {
                if factor.is_circular() && factors.frequency > 2.0 {
                    // Half the samples sit where the factor starts over.
                    let here = factor.value(&factors);
                    factors = shift(&factors, *factor, -here);
                }
                for step in [1e-1, 1e-3, 1e-5].map(|s| if *factor == Factor::Thickness { 0.05 * s } else { s }) {
                    let low = image(&shift(&factors, *factor, -step / 2.0), 16);
                    let high = image(&shift(&factors, *factor, step / 2.0), 16);
                    let moved = f64::from(largest_difference(&low, &high));
                    // Two f32 roundings of values of at most 1.
                    let rounding = f64::from(f32::EPSILON);
                    assert!(moved <= 1.2 * slope * step + rounding, "{} {moved} {step} {factors:?}", factor.name());
                }
            }
        }
    }

    #[test]
    fn circular_factors_start_over_and_half_a_turn_is_another_image() {
        for factors in samples(50) {
            let here = image(&factors, 16);
            let turned = |by: f64| image(&Factors { orientation: factors.orientation + by, ..factors }, 16);
            let shifted = |by: f64| image(&Factors { phase: factors.phase + by, ..factors }, 16);
            assert!(largest_difference(&here, &turned(TAU)) < 1e-6);
            assert!(largest_difference(&here, &shifted(TAU)) < 1e-6);
            let mirrored = Factors { orientation: factors.orientation + PI, phase: TAU - factors.phase, ..factors };
            let difference = largest_difference(&here, &image(&mirrored, 16));
            assert!(difference > 0.1, "half a turn hides behind the phase: {difference} {factors:?}");
        }
    }

    #[test]
    fn shapes_are_distinct_whatever_the_other_factors_are() {
        for factors in samples(50) {
            for (a, b) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
                let of = |shape: usize| image(&Factors { shape: Shape::ALL[shape], ..factors }, 8);
                assert!(largest_difference(&of(a), &of(b)) > 0.2, "shapes {a} and {b} look alike: {factors:?}");
            }
        }
    }

    #[test]
    fn bytes_are_pinned() {
        // Golden of this implementation: results depend on these bytes, so they must not change silently.
        let mut hasher = blake3::Hasher::new();
        for factors in samples(64) {
            for value in image(&factors, 16) {
                hasher.update(&value.to_le_bytes());
            }
        }
        insta::assert_snapshot!(hasher.finalize().to_hex(), @"e8eafba135b285cfe9948b821d0869df3dab63f7c440d4cd24ad7238558db80c");
    }
}
