//! Tokens that drift along the sentence.

use super::{Act, Perturbation};
use crate::numerics::stream::Stream;
use crate::world::Modality;
use crate::world::text::Slots;

pub const PERTURBATION: Perturbation = Perturbation {
    name: "position_jitter",
    path: "text.jitter",
    modality: Modality::Text,
    doc: "displaces tokens and sorts them again; the strength is the standard deviation of the displacement, in \
          positions. Bags of tokens cannot tell",
    levels: &[0.3, 1.0, 3.0, 10.0],
    cumulative: false,
    strength: |config| config.text.jitter,
    act: Act::Sentence(jitter),
};

/// Moves every token from its position by `strength` times a standard normal draw of its own, and lines all up again in
/// the order in which they have come to stand: neighbours change places first, distant ones only as it grows.
fn jitter(slots: &mut Slots, strength: f64, stream: &mut Stream) {
    let place = |(place, slot)| (place as f64 + strength * stream.normal(), slot);
    let mut moved: Vec<_> = slots.0.iter().copied().enumerate().map(place).collect();
    moved.sort_by(|a, b| a.0.total_cmp(&b.0));
    slots.0 = moved.into_iter().map(|(_, slot)| slot).collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::perturbation::fixture::sentences;

    /// The share of neighbours, and of the two ends, that have changed places.
    fn exchanged(strength: f64) -> [f64; 2] {
        let all = sentences(move |slots, stream| jitter(slots, strength, stream), 4000);
        let mut shares = [0.0; 2];
        for (clean, after) in &all {
            let place = |i: usize| after.0.iter().position(|t| *t == clean.0[i]);
            shares[0] += f64::from(u8::from(place(0) > place(1))) / 4000.0;
            shares[1] += f64::from(u8::from(place(0) > place(4))) / 4000.0;
        }
        shares
    }

    #[test]
    fn neighbours_change_places_as_often_as_two_normal_draws_cross() {
        // The difference of two draws has a standard deviation of sqrt 2 times the strength: P(z > d / (sqrt 2 s)),
        // from scipy.stats.norm.sf.
        for (strength, expected) in [(0.5, [0.078_649_6, 7.7e-9]), (2.0, [0.361_836_8, 0.078_649_6])] {
            for (share, expected) in exchanged(strength).into_iter().zip(expected) {
                let error = (expected * (1.0 - expected) / 4000.0f64).sqrt();
                // Five standard errors of a share.
                assert!((share - expected).abs() < 5.0 * error + 1e-6, "{share} is not {expected}");
            }
        }
    }
}
