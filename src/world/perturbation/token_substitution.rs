//! Tokens replaced by wrong ones.

use super::{Act, Perturbation, uniforms};
use crate::numerics::stream::Stream;
use crate::world::Modality;
use crate::world::text::{Slots, Token};

pub const PERTURBATION: Perturbation = Perturbation {
    name: "token_substitution",
    path: "text.substitution",
    modality: Modality::Text,
    doc: "replaces tokens by another bin of the same factor, independently; the strength is the probability of a token",
    levels: &[0.1, 0.3, 0.6, 0.9],
    cumulative: true,
    strength: |config| config.text.substitution,
    act: Act::Sentence(substitute),
};

/// All other bins of the factor are equally likely. Tokens that stand for no factor stay. A higher strength replaces
/// more tokens, and those that a lower one replaces by the same ones.
fn substitute(slots: &mut Slots, strength: f64, stream: &mut Stream) {
    for slot in &mut slots.0 {
        let [whether, which] = uniforms(stream);
        let Some((factor, bin)) = slot.and_then(Token::meaning) else { continue };
        if whether < strength {
            let other = bin + 1 + (which * (factor.bins() - 1) as f64) as usize;
            *slot = Token::of(factor, other % factor.bins());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::perturbation::fixture::{changed, sentences};

    #[test]
    fn strength_is_the_share_of_tokens_and_all_other_bins_of_the_factor_occur() {
        for (clean, all) in sentences(|slots, stream| substitute(slots, 1.0, stream), 400) {
            for (before, after) in clean.0.iter().flatten().zip(all.0.iter().flatten()) {
                assert_ne!(before, after);
                assert_eq!(before.meaning().map(|m| m.0), after.meaning().map(|m| m.0));
            }
        }
        let share = changed(|slots, stream| substitute(slots, 0.3, stream), 4000);
        // Five standard errors of a share of 5 x 4000 tokens.
        assert!((share - 0.3).abs() < 5.0 * (0.3 * 0.7 / 20_000.0f64).sqrt(), "{share}");
        let shape = Token::of(crate::world::Factor::Shape, 0);
        let seen: std::collections::BTreeSet<Option<Token>> = (0..200)
            .map(|item| {
                let mut slots = Slots(vec![shape]);
                substitute(&mut slots, 1.0, &mut crate::numerics::stream::Streams::new(0, "test").item(item));
                slots.0[0]
            })
            .collect();
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn a_higher_strength_replaces_more_and_the_same() {
        let low = sentences(|slots, stream| substitute(slots, 0.2, stream), 200);
        let high = sentences(|slots, stream| substitute(slots, 0.5, stream), 200);
        for ((clean, low), (_, high)) in low.iter().zip(&high) {
            for ((clean, low), high) in clean.0.iter().zip(&low.0).zip(&high.0) {
                assert!(low == clean || low == high);
            }
        }
    }
}
