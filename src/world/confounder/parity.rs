//! A parity marker: whether a sample's index is even or odd, in a corner of the image and as a token.

use super::{Confounder, label_patterns, one_hot};
use crate::spec::config::ConfounderKind;

const PARITIES: usize = 2;

pub const CONFOUNDER: Confounder = Confounder {
    name: "parity",
    kind: ConfounderKind::Parity,
    doc: "marks the top left corner of images with an even index and the top right of the others, and adds one of two filler tokens; the strength is the marker's intensity and the token's count",
    groups: PARITIES,
    dimension: PARITIES,
    code: |_, identity, code| one_hot((identity % PARITIES as u64) as usize, code),
    patterns: |split, modality| label_patterns(split, modality, PARITIES, corner),
};

/// 1 in a square with an eighth of the image's side, outside every outline.
fn corner(parity: usize, row: usize, column: usize, side: usize) -> f64 {
    let from_corner = if parity == 0 { column } else { side - 1 - column };
    f64::from(u8::from(row < side / 8 && from_corner < side / 8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::stream::Streams;

    #[test]
    fn even_and_odd_mark_their_corners() {
        let marked = |parity, side: usize| -> Vec<usize> {
            (0..side * side).filter(|i| corner(parity, i / side, i % side, side) == 1.0).collect()
        };
        assert_eq!((marked(0, 8), marked(1, 8)), (vec![0], vec![7]));
        assert_eq!((marked(0, 16), marked(1, 16)), (vec![0, 1, 16, 17], vec![14, 15, 30, 31]));
    }

    #[test]
    fn the_label_is_the_parity_of_the_identity() {
        let mut stream = Streams::new(0, "test").item(0);
        for identity in 0..4 {
            let mut code = [0.0; PARITIES];
            let label = (CONFOUNDER.code)(&mut stream, identity, &mut code);
            assert_eq!((u64::from(label), code[usize::from(label)]), (identity % 2, 1.0));
        }
    }
}
