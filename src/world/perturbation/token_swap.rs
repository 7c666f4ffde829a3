//! Tokens that change places.

use super::{Act, Perturbation, uniforms};
use crate::numerics::stream::Stream;
use crate::world::Modality;
use crate::world::text::Slots;

pub const PERTURBATION: Perturbation = Perturbation {
    name: "token_swap",
    path: "text.swap",
    modality: Modality::Text,
    doc: "exchanges tokens with another one of their sentence, whatever the distance; the strength is the probability of \
          a token. Bags of tokens cannot tell",
    levels: &[0.1, 0.2, 0.4, 0.8],
    cumulative: false,
    strength: |config| config.text.swap,
    act: Act::Sentence(swap),
};

/// Place by place, exchanges its content with that of another place, each equally likely. A higher strength makes more
/// exchanges, among them those of a lower one.
fn swap(slots: &mut Slots, strength: f64, stream: &mut Stream) {
    let n = slots.0.len();
    for place in 0..n {
        let [whether, which] = uniforms(stream);
        if whether < strength && n > 1 {
            slots.0.swap(place, (place + 1 + (which * (n - 1) as f64) as usize) % n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::perturbation::fixture::sentences;

    #[test]
    fn tokens_stay_and_their_places_change() {
        for (clean, swapped) in sentences(|slots, stream| swap(slots, 1.0, stream), 100) {
            let sorted = |slots: &Slots| {
                let mut tokens = slots.0.clone();
                tokens.sort_unstable();
                tokens
            };
            assert_eq!(sorted(&clean), sorted(&swapped));
        }
        // The share of sentences without any exchange.
        let untouched = sentences(|slots, stream| swap(slots, 0.1, stream), 4000);
        let share = untouched.iter().filter(|(clean, after)| clean == after).count() as f64 / 4000.0;
        let expected = 0.9f64.powi(5);
        // Five standard errors, and the chance that exchanges undo each other: two of them, for one place in four.
        assert!((share - expected).abs() < 5.0 * (expected * (1.0 - expected) / 4000.0).sqrt() + 0.02, "{share}");
    }
}
