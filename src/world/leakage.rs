//! What two splits share: indices, exact factors, and factors up to the bins of the text operator.

use std::collections::HashSet;

use crate::world::factors::{Factor, Factors};
use crate::world::sample::Split;

/// Indices that occur in both splits.
pub(crate) fn shared_indices(a: &Split, b: &Split) -> usize {
    let seen: HashSet<u32> = a.index.iter().copied().collect();
    b.index.iter().filter(|i| seen.contains(i)).count()
}

/// Samples of `b` whose factors occur, bit for bit, in `a`.
pub(crate) fn shared_factors(a: &Split, b: &Split) -> usize {
    let bits = |f: &Factors| Factor::ALL.map(|factor| factor.value(f).to_bits());
    let seen: HashSet<_> = a.factors.iter().map(bits).collect();
    b.factors.iter().filter(|f| seen.contains(&bits(f))).count()
}

/// Samples of an evaluation split whose sentence is also the sentence of a training sample.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct SharedSentences {
    pub count: usize,
    /// Share of the evaluation split, in 0 to 1.
    pub share: f64,
    /// Share expected of independent draws: `1 - (1 - 1 / sentences)^n_train`.
    pub expected_share: f64,
    /// Largest count that chance explains.
    pub bound: usize,
}

/// How many binomial standard deviations above its mean a count may be: a chance of about 1e-6 per comparison.
const DEVIATIONS: f64 = 5.0;

/// Counts the samples of `eval` whose binned factors occur in `train`. All combinations of bins are equally likely.
pub(crate) fn shared_sentences(train: &Split, eval: &Split) -> SharedSentences {
    let bins = |f: &Factors| Factor::ALL.map(|factor| factor.bin(f));
    let seen: HashSet<_> = train.factors.iter().map(bins).collect();
    let count = eval.factors.iter().filter(|f| seen.contains(&bins(f))).count();
    let sentences: usize = Factor::ALL.iter().map(|f| f.bins()).product();
    let expected_share = -libm::expm1(train.factors.len() as f64 * libm::log1p(-1.0 / sentences as f64));
    let n = eval.factors.len() as f64;
    let deviation = (n * expected_share * (1.0 - expected_share)).sqrt();
    // One more, because the normal approximation is too tight where less than one is expected.
    let bound = (n * expected_share + DEVIATIONS * deviation + 1.0).floor().min(n) as usize;
    SharedSentences { count, share: if n == 0.0 { 0.0 } else { count as f64 / n }, expected_share, bound }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::config::{TextFeatures, WorldConfig};
    use crate::world::{SplitName, World};

    fn world() -> World {
        let config = WorldConfig { image_size: 8, n_train: 4096, n_validation: 512, n_test: 512 };
        World::generate(0, &config, TextFeatures::BagOfTokens).expect("a sound configuration")
    }

    #[test]
    fn a_split_shares_everything_with_itself_and_nothing_exact_with_another() {
        let world = world();
        let (train, test) = (world.split(SplitName::Train), world.split(SplitName::Test));
        assert_eq!((shared_indices(test, test), shared_factors(test, test)), (512, 512));
        assert_eq!((shared_indices(train, test), shared_factors(train, test)), (0, 0));
        assert_eq!(shared_sentences(test, test).count, 512);
        assert!(shared_sentences(test, test).bound < 512, "copies of the training samples exceed the bound");
    }

    #[test]
    fn shared_sentences_are_about_as_many_as_expected() {
        let world = world();
        let shared = shared_sentences(world.split(SplitName::Train), world.split(SplitName::Test));
        // 1 - (1 - 1 / 65536)^4096 = 1 - exp(-1 / 16) to five digits; 31 of 512.
        assert!((shared.expected_share - (1.0 - (-1.0f64 / 16.0).exp())).abs() < 1e-5);
        // 31.02 + 5 sqrt(31.02 * 0.9394) + 1 = 59.01.
        assert_eq!(shared.bound, 59);
        assert!(shared.count > 5 && shared.count <= shared.bound, "{shared:?}");
    }
}
