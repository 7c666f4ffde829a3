//! Coarser bins.

use super::{Act, Perturbation, uniforms};
use crate::numerics::stream::Stream;
use crate::world::Modality;
use crate::world::factors::Factor;
use crate::world::text::{Slots, Token};

pub const PERTURBATION: Perturbation = Perturbation {
    name: "token_coarsening",
    path: "text.coarsening",
    modality: Modality::Text,
    doc: "merges neighbouring bins of the continuous factors; the strength counts how often their width doubles, on \
          average over tokens",
    levels: &[0.5, 1.0, 2.0, 3.0],
    cumulative: true,
    strength: |config| config.text.coarsening,
    act: Act::Sentence(coarsen),
};

/// A token becomes that of the first bin of its merged bin. With a strength between whole numbers, each token's own
/// draw decides which of the two it is rounded to, so that a higher strength never makes a token finer. Shapes are kinds
/// and have no neighbours: they stay.
fn coarsen(slots: &mut Slots, strength: f64, stream: &mut Stream) {
    for slot in &mut slots.0 {
        let [upwards] = uniforms(stream);
        let Some((factor, bin)) = slot.and_then(Token::meaning) else { continue };
        if factor != Factor::Shape {
            let doublings = (strength + upwards).floor() as u32;
            // Bins are fewer than 2^32, so that all are merged long before the shift overflows.
            *slot = Token::of(factor, bin.checked_shr(doublings).map_or(0, |merged| merged << doublings));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::stream::Streams;
    use crate::world::perturbation::fixture::sentences;

    #[test]
    fn bins_by_hand() {
        let coarse = |factor: Factor, bin: usize, strength: f64| {
            let mut slots = Slots(vec![Token::of(factor, bin)]);
            coarsen(&mut slots, strength, &mut Streams::new(0, "test").item(0));
            slots.0[0].and_then(Token::meaning).map(|m| m.1)
        };
        assert_eq!([1.0, 2.0, 3.0, 4.0].map(|s| coarse(Factor::Phase, 15, s)), [14, 12, 8, 0].map(Some));
        assert_eq!(coarse(Factor::Frequency, 5, 1.0), Some(4));
        assert_eq!(coarse(Factor::Shape, 3, 4.0), Some(3));
    }

    #[test]
    fn a_half_coarsens_half_of_the_tokens_and_nothing_gets_finer() {
        let at = |strength: f64| sentences(move |slots, stream| coarsen(slots, strength, stream), 2000);
        let bins = |slots: &Slots| -> Vec<usize> {
            slots.0.iter().skip(1).flatten().filter_map(|t| t.meaning()).map(|m| m.1).collect()
        };
        let (half, one) = (at(0.5), at(1.0));
        let (mut coarsened, mut odd) = (0.0, 0.0);
        for ((clean, half), (_, one)) in half.iter().zip(&one) {
            for ((clean, half), one) in bins(clean).into_iter().zip(bins(half)).zip(bins(one)) {
                assert!(half == clean || half == one);
                odd += f64::from(u8::from(clean % 2 == 1));
                coarsened += f64::from(u8::from(half != clean));
            }
        }
        // Five standard errors of a share; half of the tokens have even bins, which one doubling leaves.
        assert!((coarsened / odd - 0.5).abs() < 5.0 * (0.25f64 / odd).sqrt());
    }
}
