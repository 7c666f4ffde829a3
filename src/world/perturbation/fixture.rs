//! Sentences before and after a perturbation, for its tests.

use crate::numerics::stream::{Stream, Streams};
use crate::world::Factors;
use crate::world::text::{Sentence, Slots};

/// `n` sentences, clean and disturbed.
pub fn sentences(disturb: impl Fn(&mut Slots, &mut Stream), n: u64) -> Vec<(Slots, Slots)> {
    let (latents, streams) = (Streams::new(0, "latents"), Streams::new(0, "test"));
    let one = |i: u64| {
        let clean = Sentence::describing(&Factors::draw(&mut latents.item(i))).slots();
        let mut after = clean.clone();
        disturb(&mut after, &mut streams.item(i));
        (clean, after)
    };
    (0..n).map(one).collect()
}

/// The share of places, of `n` sentences, whose token is another one or gone.
pub fn changed(disturb: impl Fn(&mut Slots, &mut Stream), n: u64) -> f64 {
    let each = |(clean, after): &(Slots, Slots)| clean.0.iter().zip(&after.0).filter(|(a, b)| a != b).count();
    let all = sentences(disturb, n);
    all.iter().map(each).sum::<usize>() as f64 / all.iter().map(|(clean, _)| clean.0.len()).sum::<usize>() as f64
}
