//! Tokens left out of the sentence.

use super::{Act, Perturbation};
use crate::numerics::stream::Stream;
use crate::world::Modality;
use crate::world::sample::uniform_f32;
use crate::world::text::Slots;

pub const PERTURBATION: Perturbation = Perturbation {
    name: "token_dropout",
    path: "text.dropout",
    modality: Modality::Text,
    doc: "drops tokens from the sentence, independently; the strength is the probability of a token",
    levels: &[0.1, 0.3, 0.6, 0.9],
    cumulative: true,
    strength: |config| config.text.dropout,
    act: Act::Sentence(drop_tokens),
};

/// Leaves places empty. A token is kept from its own threshold on, so that a higher strength only drops more.
fn drop_tokens(slots: &mut Slots, strength: f64, stream: &mut Stream) {
    for slot in &mut slots.0 {
        if uniform_f32(stream) < strength as f32 {
            *slot = None;
        }
    }
}
