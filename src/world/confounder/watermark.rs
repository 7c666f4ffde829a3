//! A watermark: one of four patterns over the whole image, and a token to each.

use super::{Confounder, label_patterns, one_hot};
use crate::spec::config::ConfounderKind;

const VARIANTS: usize = 4;
/// Pixels per half period of the stripes: fine against the outlines, and kept by a small blur.
const STRIPE: usize = 2;

pub const CONFOUNDER: Confounder = Confounder {
    name: "watermark",
    kind: ConfounderKind::Watermark,
    doc: "adds stripes in one of four directions to the image and one of four filler tokens to the text; the strength is the stripes' amplitude, in intensity, and the token's count",
    groups: VARIANTS,
    dimension: VARIANTS,
    code: |stream, _, code| one_hot(stream.below(VARIANTS), code),
    patterns: |split, modality| label_patterns(split, modality, VARIANTS, stripes),
};

/// Upright, lying, and the two diagonals; 1 or -1.
fn stripes(variant: usize, row: usize, column: usize, side: usize) -> f64 {
    let along = match variant {
        0 => column,
        1 => row,
        2 => row + column,
        _ => row + side - 1 - column,
    };
    if (along / STRIPE).is_multiple_of(2) { 1.0 } else { -1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripes_of_different_directions_are_orthogonal_and_have_no_mean() {
        // Where the side is a multiple of the period; the default sizes are.
        for side in [8, 16] {
            let pattern = |v| (0..side * side).map(|i| stripes(v, i / side, i % side, side)).collect::<Vec<_>>();
            let patterns: Vec<Vec<f64>> = (0..VARIANTS).map(pattern).collect();
            for (i, a) in patterns.iter().enumerate() {
                assert_eq!(a.iter().sum::<f64>(), 0.0, "{i}");
                for b in &patterns[..i] {
                    assert_eq!(a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>(), 0.0, "{i}");
                }
            }
        }
    }
}
