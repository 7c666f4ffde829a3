//! Tokens that say nothing.

use super::{Act, Perturbation, uniforms};
use crate::numerics::stream::Stream;
use crate::world::Modality;
use crate::world::text::{FILLERS, Slots, Token};

pub const PERTURBATION: Perturbation = Perturbation {
    name: "token_insertion",
    path: "text.insertion",
    modality: Modality::Text,
    doc: "inserts filler tokens, which say nothing about the factors; the strength is the probability that one follows \
          a token",
    levels: &[0.1, 0.3, 0.6, 1.0],
    cumulative: true,
    strength: |config| config.text.insertion,
    act: Act::Sentence(insert),
};

/// Each filler is equally likely. A higher strength inserts more fillers, among them those of a lower one. What follows
/// moves on by a position, and is not represented by token positions once it is beyond the last.
fn insert(slots: &mut Slots, strength: f64, stream: &mut Stream) {
    let mut longer = Vec::with_capacity(2 * slots.0.len());
    for slot in &slots.0 {
        let [whether, which] = uniforms(stream);
        longer.push(*slot);
        if whether < strength {
            longer.push(Token::filler((which * FILLERS as f64) as usize));
        }
    }
    slots.0 = longer;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::perturbation::fixture::sentences;

    #[test]
    fn fillers_come_between_the_tokens_of_the_clean_sentence() {
        for (clean, after) in sentences(|slots, stream| insert(slots, 0.5, stream), 200) {
            let kept: Vec<_> = after.0.iter().copied().filter(|t| t.is_some_and(|t| t.meaning().is_some())).collect();
            assert_eq!(kept, clean.0);
        }
        let of = |strength: f64| sentences(move |slots, stream| insert(slots, strength, stream), 2000);
        assert!(of(1.0).iter().all(|(_, after)| after.0.len() == 10));
        let count: usize = of(0.3).iter().map(|(_, after)| after.0.len() - 5).sum();
        // Five standard errors of a share of 10000.
        assert!((count as f64 / 1e4 - 0.3).abs() < 5.0 * (0.21f64 / 1e4).sqrt(), "{count}");
    }
}
