//! Pairing corruption: which sample's text each image is shown with.
//!
//! A kind of corruption fixes, from the seed, an order in which pairs go wrong; the rate says how far into that order
//! to go. So a higher rate keeps every wrong pair of a lower one and adds to them. For `offset` that holds for which
//! samples are wrong; the last sample of the run takes another wrong text when the run grows.

use crate::numerics::stream::Streams;
use crate::spec::config::{AppliesTo, PairingConfig, PairingKind};
use crate::world::factors::{Factors, Shape};
use crate::world::sample::SplitName;

/// Who is paired with whom in one split.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairing {
    /// Sample number `i` of the split shows its image with the text of number `partner[i]`. A permutation.
    pub partner: Vec<u32>,
    /// Share of samples with another sample's text, in 0 to 1; 0 for no samples. May differ from the rate asked for:
    /// exchanges come in twos, blocks whole, and a group can run out of exchanges.
    pub corrupted_share: f64,
}

/// The pairing of a split under `config`.
///
/// **Shapes.** `factors` is `[N]`, in the order of the split; so is [`Pairing::partner`].
///
/// **Returns.** The identity when the rate is 0 or when `config.applies_to` spares this split.
///
/// **Numerics.** Draws depend on the seed, the split and its size, never on the rate. Rates outside 0 to 1 count as
/// the nearer end.
///
/// ```
/// use cliffline::spec::config::PairingConfig;
/// use cliffline::world::{Factors, Shape, SplitName, partners};
/// let factors = vec![Factors { shape: Shape::Disc, orientation: 0.0, frequency: 1.0, phase: 0.0, thickness: 0.05 }; 10];
/// let half_wrong = PairingConfig { rate: 0.4, ..PairingConfig::default() };
/// assert_eq!(partners(0, SplitName::Train, &half_wrong, &factors).corrupted_share, 0.4);
/// assert_eq!(partners(0, SplitName::Test, &half_wrong, &factors).corrupted_share, 0.0);
/// ```
pub fn partners(seed: u64, split: SplitName, config: &PairingConfig, factors: &[Factors]) -> Pairing {
    let n = factors.len();
    let mut partner: Vec<u32> = (0..n as u32).collect();
    let applies = match config.applies_to {
        AppliesTo::Train => split == SplitName::Train,
        AppliesTo::Eval => split != SplitName::Train,
        AppliesTo::Both => true,
    };
    if applies && config.rate > 0.0 {
        let rate = config.rate.min(1.0);
        let streams = Streams::new(seed, &format!("pairing.{}", split.name()));
        match config.kind {
            PairingKind::Swap => exchange(&mut partner, &swaps(&streams, n), rate),
            PairingKind::GroupSwap => exchange(&mut partner, &group_swaps(&streams, factors), rate),
            PairingKind::Offset => offset(&mut partner, &streams, rate),
            PairingKind::Block => shuffle_blocks(&mut partner, &streams, rate, config.block_size),
        }
    }
    let wrong = partner.iter().enumerate().filter(|&(i, &p)| i as u32 != p).count();
    let corrupted_share = if n == 0 { 0.0 } else { wrong as f64 / n as f64 };
    Pairing { partner, corrupted_share }
}

/// Slack for products such as 0.58 * 50, which rounding leaves a little below 29; far below the 1 / n of any split.
const ROUNDING_SLACK: f64 = 1e-9;

/// The first `floor(rate * n / 2)` of `exchanges`, applied.
fn exchange(partner: &mut [u32], exchanges: &[(usize, usize)], rate: f64) {
    let wanted = (rate * partner.len() as f64 / 2.0 + ROUNDING_SLACK).floor() as usize;
    for &(a, b) in exchanges.iter().take(wanted) {
        partner.swap(a, b);
    }
}

/// Disjoint exchanges over all samples, in random order.
fn swaps(streams: &Streams, n: usize) -> Vec<(usize, usize)> {
    streams.item(0).permutation(n).chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}

/// Disjoint exchanges between samples of one shape, those of all shapes mixed in random order.
fn group_swaps(streams: &Streams, factors: &[Factors]) -> Vec<(usize, usize)> {
    let mut by_shape = Vec::new();
    for (group, shape) in Shape::ALL.into_iter().enumerate() {
        let members: Vec<usize> = (0..factors.len()).filter(|&i| factors[i].shape == shape).collect();
        let order = streams.item(1 + group as u64).permutation(members.len());
        by_shape.extend(order.chunks_exact(2).map(|pair| (members[pair[0]], members[pair[1]])));
    }
    streams.item(0).permutation(by_shape.len()).into_iter().map(|i| by_shape[i]).collect()
}

/// A run of `round(rate * n)` consecutive samples, wrapping at the end of the split, takes the text of the next one;
/// the last of the run takes the first's. A run of one is not wrong.
fn offset(partner: &mut [u32], streams: &Streams, rate: f64) {
    let n = partner.len();
    let run = (rate * n as f64).round() as usize;
    if run < 2 {
        return;
    }
    let start = streams.item(0).below(n);
    for k in 0..run {
        partner[(start + k) % n] = ((start + (k + 1) % run) % n) as u32;
    }
}

/// Blocks in random order, as many as come nearest to `rate * n` samples, each permuted by a random cycle through all
/// its samples (Sattolo 1986), so that every one of them is wrong. Samples are counted and not blocks, since the last
/// block may be shorter; one sample alone stays.
fn shuffle_blocks(partner: &mut [u32], streams: &Streams, rate: f64, block_size: u64) {
    let size = usize::try_from(block_size).unwrap_or(usize::MAX).max(1);
    let blocks = partner.len().div_ceil(size);
    let wanted = rate * partner.len() as f64 + ROUNDING_SLACK;
    let mut taken = 0;
    for block in streams.item(0).permutation(blocks) {
        let mut draws = streams.item(1 + block as u64);
        let start = block * size;
        let end = start.saturating_add(size).min(partner.len());
        // Stopping at the first block that would overshoot by more than half of it keeps the blocks of a lower rate
        // among those of a higher one.
        if taken as f64 + (end - start) as f64 / 2.0 > wanted {
            break;
        }
        taken += end - start;
        let members = &mut partner[start..end];
        for i in (1..members.len()).rev() {
            members.swap(i, draws.below(i));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [PairingKind; 4] =
        [PairingKind::Swap, PairingKind::GroupSwap, PairingKind::Offset, PairingKind::Block];

    fn config(kind: PairingKind, rate: f64) -> PairingConfig {
        PairingConfig { kind, rate, applies_to: AppliesTo::Both, block_size: 4 }
    }

    fn factors(seed: u64, n: usize) -> Vec<Factors> {
        let streams = Streams::new(seed, "latents");
        (0..n as u64).map(|i| Factors::draw(&mut streams.item(i))).collect()
    }

    fn train(kind: PairingKind, rate: f64, factors: &[Factors]) -> Pairing {
        partners(7, SplitName::Train, &config(kind, rate), factors)
    }

    #[test]
    fn rate_zero_is_the_identity_and_splits_are_spared_as_asked() {
        let factors = factors(0, 40);
        let identity: Vec<u32> = (0..40).collect();
        for kind in KINDS {
            assert_eq!(train(kind, 0.0, &factors), Pairing { partner: identity.clone(), corrupted_share: 0.0 });
            for (applies_to, expected) in [
                (AppliesTo::Train, [true, false, false]),
                (AppliesTo::Eval, [false, true, true]),
                (AppliesTo::Both, [true, true, true]),
            ] {
                let config = PairingConfig { applies_to, ..config(kind, 0.5) };
                let touched = SplitName::ALL.map(|s| partners(7, s, &config, &factors).corrupted_share > 0.0);
                assert_eq!(touched, expected, "{kind:?} {applies_to:?}");
            }
        }
    }

    #[test]
    fn realised_shares_by_hand() {
        let hundred = factors(0, 100);
        let share = |kind, rate| train(kind, rate, &hundred).corrupted_share;
        assert_eq!([share(PairingKind::Swap, 0.3), share(PairingKind::Swap, 0.29)], [0.3, 0.28]);
        assert_eq!(share(PairingKind::Swap, 0.58), 0.58);
        assert_eq!(share(PairingKind::GroupSwap, 0.3), 0.3);
        assert_eq!([share(PairingKind::Offset, 0.01), share(PairingKind::Offset, 0.37)], [0.0, 0.37]);
        // Blocks of 4 samples: 25 of them, of which round(0.3 * 25) = 8.
        assert_eq!(share(PairingKind::Block, 0.3), 0.32);
        for kind in [PairingKind::Swap, PairingKind::Offset, PairingKind::Block] {
            assert_eq!(share(kind, 1.0), 1.0, "{kind:?}");
        }
    }

    #[test]
    fn runs_and_blocks_stay_together() {
        let factors = factors(0, 20);
        let offset = train(PairingKind::Offset, 0.5, &factors).partner;
        let next = offset.iter().enumerate().filter(|&(i, &p)| p as usize == (i + 1) % 20).count();
        assert_eq!(next, 9, "ten samples of which all but the last take the next one's text: {offset:?}");
        let block = train(PairingKind::Block, 1.0, &factors[..18]).partner;
        assert!(block.iter().enumerate().all(|(i, &p)| i / 4 == p as usize / 4 && i != p as usize), "{block:?}");
    }

    #[test]
    fn a_short_last_block_does_not_count_as_a_whole_one() {
        // 38 blocks of four and one sample. Found by the property below, when 35 of "39 blocks" were taken: 140 samples,
        // where 0.8865 of 153 is 135.6.
        let config = config(PairingKind::Block, 0.886_482_531_986_364_7);
        let seed = 12_616_153_411_023_560_684;
        let pairing = partners(seed, SplitName::Test, &config, &factors(seed, 153));
        assert_eq!(pairing.corrupted_share, 136.0 / 153.0);
        // Whole blocks: the nearest number of them, as before.
        for (rate, blocks) in [(0.1, 1), (0.125, 1), (0.3, 3), (0.5, 5), (1.0, 10)] {
            let wrong = train(PairingKind::Block, rate, &factors(0, 40)).corrupted_share * 40.0;
            assert_eq!(wrong.round() as usize, 4 * blocks, "rate {rate}");
        }
    }

    #[test]
    fn no_samples_or_one_stay_as_they_are() {
        for kind in KINDS {
            for n in [0, 1] {
                let pairing = train(kind, 1.0, &factors(0, n));
                assert_eq!(pairing, Pairing { partner: (0..n as u32).collect(), corrupted_share: 0.0 });
            }
        }
    }

    fn kinds() -> impl Strategy<Value = PairingKind> {
        prop::sample::select(KINDS.to_vec())
    }

    proptest! {
        #[test]
        fn partners_are_a_permutation(kind in kinds(), rate in 0.0..=1.0, n in 0usize..200, seed: u64) {
            let pairing = partners(seed, SplitName::Test, &config(kind, rate), &factors(seed, n));
            let mut sorted = pairing.partner.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..n as u32).collect::<Vec<_>>());
            // At most half a block of four, or half a sample, more than asked for; and the slack of a rounding.
            prop_assert!(pairing.corrupted_share * n as f64 <= rate * n as f64 + 2.0 + 1e-6);
        }

        #[test]
        fn raising_the_rate_only_adds_wrong_pairs(kind in kinds(), a in 0.0..=1.0, b in 0.0..=1.0, n in 0usize..200) {
            let factors = factors(1, n);
            let (low, high) = (train(kind, f64::min(a, b), &factors), train(kind, f64::max(a, b), &factors));
            let mut rewired = 0;
            for (i, (&l, &h)) in low.partner.iter().zip(&high.partner).enumerate() {
                if l as usize != i {
                    prop_assert!(h as usize != i, "sample {} is right again", i);
                    rewired += usize::from(l != h);
                }
            }
            // The end of an offset run is the one pair that may change.
            prop_assert!(rewired <= usize::from(kind == PairingKind::Offset));
        }

        #[test]
        fn group_swaps_keep_the_shape(rate in 0.0..=1.0, n in 0usize..200) {
            let factors = factors(2, n);
            let pairing = train(PairingKind::GroupSwap, rate, &factors);
            for (i, &p) in pairing.partner.iter().enumerate() {
                prop_assert_eq!(factors[i].shape, factors[p as usize].shape);
            }
        }
    }
}
