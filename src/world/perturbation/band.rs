//! Noise in a band of spatial frequencies.

use std::f64::consts::{SQRT_2, TAU};

use super::{Act, Perturbation};
use crate::numerics::stream::Stream;
use crate::world::Modality;

pub const PERTURBATION: Perturbation = Perturbation {
    name: "band_noise",
    path: "image.band",
    modality: Modality::Image,
    doc: "adds Gaussian noise of one octave of spatial frequencies, around image.band_frequency; the strength is its \
          standard deviation, in intensity",
    levels: &[0.1, 0.3, 1.0, 3.0],
    cumulative: true,
    strength: |config| config.image.band,
    act: Act::Image(|side, config| {
        let (band, strength) = (Band::new(side, config.band_frequency), config.band);
        Box::new(move |pixels, stream| band.add(pixels, strength, stream))
    }),
};

/// The waves of an octave on one grid of pixels.
struct Band {
    side: usize,
    /// Cycles per side down the image, of the waves that share their cycles across it: `(across, downs)`. One of each
    /// pair of opposite waves, which are the same one.
    waves: Vec<(i64, Vec<i64>)>,
    /// cos and sin of `k / S` turns.
    turns: Vec<(f64, f64)>,
}

impl Band {
    /// All waves with `frequency / sqrt 2 <= cycles <= frequency sqrt 2` that the grid can tell apart, whatever their
    /// direction. There is one for every frequency from 1 to half the side.
    fn new(side: usize, frequency: f64) -> Self {
        let (low, high) = (frequency / SQRT_2, frequency * SQRT_2);
        // Strictly below half a cycle per pixel, where sine waves vanish on the grid.
        let most = (side as i64 - 1) / 2;
        let inside = |across: i64, down: i64| (low..=high).contains(&libm::hypot(across as f64, down as f64));
        let waves = (0..=most).map(|across| {
            let first = if across == 0 { 1 } else { -most };
            (across, (first..=most).filter(|&down| inside(across, down)).collect::<Vec<_>>())
        });
        let turns = (0..side).map(|k| libm::sincos(TAU * k as f64 / side as f64)).map(|(sin, cos)| (cos, sin));
        Self { side, waves: waves.filter(|(_, downs)| !downs.is_empty()).collect(), turns: turns.collect() }
    }

    fn turn(&self, cycles: i64, pixel: usize) -> (f64, f64) {
        self.turns[(cycles * pixel as i64).rem_euclid(self.side as i64) as usize]
    }

    /// Adds `strength` times a Gaussian field of variance 1 that repeats beyond the edges: each wave has a cosine and a
    /// sine part with standard normal amplitudes.
    fn add(&self, pixels: &mut [f64], strength: f64, stream: &mut Stream) {
        let count: usize = self.waves.iter().map(|(_, downs)| downs.len()).sum();
        let scale = strength / (count as f64).sqrt();
        let mut columns = vec![(0.0, 0.0); self.side];
        for (across, downs) in &self.waves {
            // The waves that share `across`, summed for every row, then spread over its pixels: `a cos(u + v) +
            // b sin(u + v)` is a product of complex numbers.
            columns.fill((0.0, 0.0));
            for &down in downs {
                let (a, b) = (stream.normal(), stream.normal());
                for (row, (real, imaginary)) in columns.iter_mut().enumerate() {
                    let (cos, sin) = self.turn(down, row);
                    *real += a * cos + b * sin;
                    *imaginary += a * sin - b * cos;
                }
            }
            for (values, (real, imaginary)) in pixels.chunks_mut(self.side).zip(&columns) {
                for (column, value) in values.iter_mut().enumerate() {
                    let (cos, sin) = self.turn(*across, column);
                    *value += scale * (real * cos - imaginary * sin);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::stream::Streams;

    fn field(side: usize, frequency: f64, item: u64) -> Vec<f64> {
        let mut pixels = vec![0.0; side * side];
        Band::new(side, frequency).add(&mut pixels, 1.0, &mut Streams::new(1, "test").item(item));
        pixels
    }

    #[test]
    fn power_is_in_the_octave_and_nowhere_else() {
        for (side, frequency) in [(8, 2.0), (9, 3.0), (16, 5.0)] {
            let pixels = field(side, frequency, 0);
            let (mut inside, mut outside) = (0.0, 0.0f64);
            for (down, across) in (0..side).flat_map(|down| (0..side).map(move |across| (down, across))) {
                let (mut cos, mut sin) = (0.0, 0.0);
                for (i, value) in pixels.iter().enumerate() {
                    let angle = TAU * (down * (i / side) + across * (i % side)) as f64 / side as f64;
                    cos += value * angle.cos();
                    sin += value * angle.sin();
                }
                let folded = |k: usize| k.min(side - k) as f64;
                let cycles = libm::hypot(folded(down), folded(across));
                let power = cos * cos + sin * sin;
                if cycles >= frequency / SQRT_2 && cycles <= frequency * SQRT_2 {
                    inside += power;
                } else {
                    outside = outside.max(power);
                }
            }
            // Parseval: the powers sum to S^2 times the sum of squares. Outside are roundings of order 1e-16 of S^2
            // values, squared.
            let squares: f64 = pixels.iter().map(|v| v * v).sum();
            assert!((inside / (side * side) as f64 / squares - 1.0).abs() < 1e-12);
            assert!(outside < 1e-22, "{outside}");
        }
    }

    #[test]
    fn strength_is_the_standard_deviation_of_every_pixel() {
        let n = 4000;
        let mut squares = vec![0.0; 64];
        for item in 0..n {
            squares.iter_mut().zip(field(8, 2.0, item)).for_each(|(s, v)| *s += v * v / n as f64);
        }
        // Five standard errors of a variance, sqrt(2 / n).
        assert!(squares.iter().all(|s| (s - 1.0).abs() < 5.0 * (2.0 / n as f64).sqrt()), "{squares:?}");
    }

    #[test]
    fn every_frequency_that_a_spec_may_ask_for_has_waves() {
        for side in 8..=64 {
            for frequency in (0..=200).map(|i| 1.0 + (side as f64 / 2.0 - 1.0) * f64::from(i) / 200.0) {
                assert!(!Band::new(side, frequency).waves.is_empty(), "{frequency} cycles on {side} pixels");
            }
        }
    }
}
