//! A square of background in front of the image.

use super::{Act, Perturbation};
use crate::world::Modality;

pub const PERTURBATION: Perturbation = Perturbation {
    name: "occlusion",
    path: "image.occlusion",
    modality: Modality::Image,
    doc: "hides a square at a random place; the strength is the share of the image's area that it covers",
    levels: &[0.05, 0.15, 0.3, 0.6],
    // A large square hardly moves, and a small probe reads what it always leaves better than what varies.
    cumulative: false,
    strength: |config| config.image.occlusion,
    act: Act::Image(|side, config| {
        let strength = config.occlusion;
        Box::new(move |pixels, stream| {
            let (across, down) = (stream.uniform(), stream.uniform());
            occlude(pixels, side, strength, across, down);
        })
    }),
};

/// Hides a square of the share `strength` of the area. `across` and `down`, in 0 to 1, are the share of the free room
/// that lies left of it and above it, so that a larger square contains a smaller one.
///
/// **Shapes.** `pixels` is `[S * S]`, row by row.
///
/// **Numerics.** A pixel fades by the share of it that is covered, so that the covered area is exact and the image
/// continuous in the strength.
fn occlude(pixels: &mut [f64], side: usize, strength: f64, across: f64, down: f64) {
    let length = side as f64 * strength.sqrt();
    // How much of pixel `i` lies between the edges of the square, along one axis.
    let covered = |i: usize, share: f64| {
        let start = share * (side as f64 - length);
        let (low, high) = (start.max(i as f64), (start + length).min((i + 1) as f64));
        (high - low).clamp(0.0, 1.0)
    };
    for (row, values) in pixels.chunks_mut(side).enumerate() {
        let of_row = covered(row, down);
        for (column, value) in values.iter_mut().enumerate() {
            *value *= 1.0 - of_row * covered(column, across);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_by_hand() {
        // A quarter of 4 x 4 is a square of side 2; with half of the room to the left it starts at 1, at the top at 0.5.
        let mut pixels = vec![1.0; 16];
        occlude(&mut pixels, 4, 0.25, 0.5, 0.25);
        #[rustfmt::skip]
        assert_eq!(pixels, [
            1.0, 0.5, 0.5, 1.0,
            1.0, 0.0, 0.0, 1.0,
            1.0, 0.5, 0.5, 1.0,
            1.0, 1.0, 1.0, 1.0,
        ]);
    }

    #[test]
    fn strength_is_the_share_of_the_area_and_only_grows_the_square() {
        for (across, down) in [(0.0, 0.0), (0.3, 0.9), (1.0, 0.5)] {
            let mut before = vec![1.0; 81];
            for strength in [0.01, 0.2, 0.5, 0.8, 1.0] {
                let mut pixels = vec![1.0; 81];
                occlude(&mut pixels, 9, strength, across, down);
                let hidden = 1.0 - pixels.iter().sum::<f64>() / 81.0;
                // Roundings of 81 products of values of at most 1.
                assert!((hidden - strength).abs() < 1e-13, "{hidden} is not {strength}");
                // Edges of both squares are rounded.
                assert!(pixels.iter().zip(&before).all(|(now, before)| *now <= before + 1e-14));
                before = pixels;
            }
        }
    }
}
