//! The text operator: factors to a sentence of tokens, and sentences to features.
//!
//! A sentence has one token per factor, in a fixed order. The vocabulary holds every bin of every factor and some
//! filler tokens that say nothing about the factors. Nothing here is a language model.

use std::fmt;

use crate::spec::config::TextFeatures;
use crate::world::factors::{Factor, Factors, Shape};

/// Tokens that say nothing about a factor.
pub const FILLERS: usize = 12;
/// Tokens in the vocabulary: the bins of all factors (4 + 16 + 8 + 16 + 8), then the fillers.
pub const VOCABULARY: usize = 64;
/// Positions that [`TextFeatures::TokenPosition`] can represent; a sentence fills the first five.
pub const SLOTS: usize = 8;

/// One word of the vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u8);

impl Token {
    /// The token for bin `bin` of `factor`; `None` when the factor has no such bin.
    pub fn of(factor: Factor, bin: usize) -> Option<Self> {
        let before: usize = Factor::ALL.iter().take_while(|&&f| f != factor).map(|f| f.bins()).sum();
        (bin < factor.bins()).then_some(Self((before + bin) as u8))
    }

    /// The filler `k`; `None` when there are fewer.
    pub fn filler(k: usize) -> Option<Self> {
        (k < FILLERS).then_some(Self((VOCABULARY - FILLERS + k) as u8))
    }

    /// Every token, in the order of their ids.
    pub fn all() -> impl Iterator<Item = Token> {
        (0..VOCABULARY as u8).map(Token)
    }

    /// The token's place in the vocabulary, in `0..VOCABULARY`.
    pub fn id(self) -> usize {
        usize::from(self.0)
    }

    /// The factor and bin the token stands for; `None` for a filler.
    pub fn meaning(self) -> Option<(Factor, usize)> {
        let mut bin = self.id();
        for factor in Factor::ALL {
            if bin < factor.bins() {
                return Some((factor, bin));
            }
            bin -= factor.bins();
        }
        None
    }
}

/// `disc`, `orientation-03`, `filler-11`.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning() {
            Some((Factor::Shape, bin)) => f.write_str(Shape::ALL[bin].name()),
            Some((factor, bin)) => write!(f, "{}-{bin:02}", factor.name()),
            None => write!(f, "filler-{:02}", self.id() + FILLERS - VOCABULARY),
        }
    }
}

/// Tokens in order.
///
/// ```
/// use cliffline::world::{Factors, Sentence, Shape};
/// let factors = Factors { shape: Shape::Cross, orientation: 0.3, frequency: 2.0, phase: 6.2, thickness: 0.05 };
/// let sentence = Sentence::describing(&factors);
/// assert_eq!(sentence.to_string(), "cross orientation-00 frequency-04 phase-15 thickness-02");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sentence(pub Vec<Token>);

impl Sentence {
    /// The sentence for `factors`: shape, orientation, frequency, phase, thickness.
    pub fn describing(factors: &Factors) -> Self {
        Self(Factor::ALL.iter().filter_map(|f| Token::of(*f, f.bin(factors))).collect())
    }

    /// Every token in its place.
    pub fn slots(&self) -> Slots {
        Slots(self.0.iter().copied().map(Some).collect())
    }

    /// The features of the sentence: those of [`Slots::featurise`].
    pub fn featurise(&self, features: TextFeatures, out: &mut [f32]) {
        count(self.0.iter().copied().map(Some), features, out);
    }
}

/// Tokens in their places. A place whose token was lost stays, empty, so that the other tokens keep theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots(pub Vec<Option<Token>>);

impl Slots {
    /// The features: how many tokens, or pairs of neighbours, each of them stands for.
    ///
    /// **Shapes.** `out` is `[P]` with `P = width(features)`; what it held is overwritten.
    ///
    /// **Numerics.** Counts, exact in f32. Token positions do not represent tokens beyond the last of [`SLOTS`]; bags
    /// of n-grams count no pair of neighbours but those of two factors that follow each other in a clean sentence. An
    /// empty place has no neighbours.
    pub fn featurise(&self, features: TextFeatures, out: &mut [f32]) {
        count(self.0.iter().copied(), features, out);
    }
}

fn count(places: impl Iterator<Item = Option<Token>>, features: TextFeatures, out: &mut [f32]) {
    out.fill(0.0);
    let mut before: Option<Token> = None;
    for (place, token) in places.enumerate() {
        let Some(here) = token else {
            before = None;
            continue;
        };
        match features {
            TextFeatures::BagOfTokens => out[here.id()] += 1.0,
            TextFeatures::TokenPosition if place < SLOTS => out[place * VOCABULARY + here.id()] += 1.0,
            TextFeatures::TokenPosition => {}
            TextFeatures::BagOfNgrams => {
                out[here.id()] += 1.0;
                if let Some(pair) = before.and_then(|before| pair_of(before, here)) {
                    out[VOCABULARY + pair] += 1.0;
                }
            }
        }
        before = Some(here);
    }
}

/// Pairs of neighbours that a clean sentence can have: one bin each of two factors in a row, 4 x 16 + 16 x 8 + 8 x 16
/// + 16 x 8 of them. Each has a feature of its own, so that nothing collides.
pub const PAIRS: usize = 448;

/// The number of a pair of neighbours, in `0..PAIRS`; `None` unless their factors follow each other.
fn pair_of(first: Token, second: Token) -> Option<usize> {
    let ((left, left_bin), (right, right_bin)) = (first.meaning()?, second.meaning()?);
    let mut start = 0;
    for neighbours in Factor::ALL.windows(2) {
        if neighbours == [left, right] {
            return Some(start + left_bin * right.bins() + right_bin);
        }
        start += neighbours[0].bins() * neighbours[1].bins();
    }
    None
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, token) in self.0.iter().enumerate() {
            write!(f, "{}{token}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// The number of text features.
pub fn width(features: TextFeatures) -> usize {
    match features {
        TextFeatures::BagOfTokens => VOCABULARY,
        TextFeatures::TokenPosition => SLOTS * VOCABULARY,
        TextFeatures::BagOfNgrams => VOCABULARY + PAIRS,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const FACTORS: Factors =
        Factors { shape: Shape::Triangle, orientation: 1.0, frequency: 1.3, phase: 0.0, thickness: 0.0999 };

    #[test]
    fn vocabulary_is_the_bins_and_the_fillers_under_unique_names() {
        assert_eq!(Factor::ALL.iter().map(|f| f.bins()).sum::<usize>() + FILLERS, VOCABULARY);
        assert_eq!(Token::all().map(|t| t.to_string()).collect::<BTreeSet<_>>().len(), VOCABULARY);
        for token in Token::all() {
            let again = match token.meaning() {
                Some((factor, bin)) => Token::of(factor, bin),
                None => Token::filler(token.id() - (VOCABULARY - FILLERS)),
            };
            assert_eq!(again, Some(token));
        }
        assert_eq!(Token::of(Factor::Shape, 4), None);
        assert_eq!(Token::filler(FILLERS), None);
    }

    #[test]
    fn sentence_by_hand() {
        // 1.0 / (2 pi / 16) = 2.5; (1.3 - 1) / 0.25 = 1.2; (0.0999 - 0.03) / 0.00875 = 7.99.
        let sentence = Sentence::describing(&FACTORS);
        assert_eq!(sentence.to_string(), "triangle orientation-02 frequency-01 phase-00 thickness-07");
        let ids: Vec<usize> = sentence.0.iter().map(|t| t.id()).collect();
        assert_eq!(ids, [2, 4 + 2, 20 + 1, 28, 44 + 7]);
    }

    #[test]
    fn features_by_hand() {
        let sentence = Sentence::describing(&FACTORS);
        let ones = |features| {
            let mut out = vec![9.0; width(features)];
            sentence.featurise(features, &mut out);
            assert!(out.iter().all(|&v| v == 0.0 || v == 1.0));
            (0..out.len()).filter(|&j| out[j] == 1.0).collect::<Vec<_>>()
        };
        assert_eq!(ones(TextFeatures::BagOfTokens), [2, 6, 21, 28, 51]);
        assert_eq!(ones(TextFeatures::TokenPosition), [2, 64 + 6, 128 + 21, 192 + 28, 256 + 51]);
        // Bins 2, 2, 1, 0 and 7: pairs 2 16 + 2, 64 + 2 8 + 1, 192 + 1 16 + 0 and 320 + 0 8 + 7, after the 64 tokens.
        assert_eq!(ones(TextFeatures::BagOfNgrams), [2, 6, 21, 28, 51, 98, 145, 272, 391]);
    }

    #[test]
    fn every_pair_that_a_clean_sentence_can_have_has_a_feature_of_its_own() {
        let pairs: Vec<usize> = Token::all().flat_map(|a| Token::all().filter_map(move |b| pair_of(a, b))).collect();
        assert_eq!(pairs.len(), PAIRS);
        assert_eq!(pairs.into_iter().collect::<BTreeSet<_>>(), (0..PAIRS).collect());
    }

    #[test]
    fn an_empty_place_keeps_the_others_where_they_are_and_parts_its_neighbours() {
        let mut slots = Sentence::describing(&FACTORS).slots();
        slots.0[1] = None;
        let ones = |features| {
            let mut out = vec![9.0; width(features)];
            slots.featurise(features, &mut out);
            (0..out.len()).filter(|&j| out[j] == 1.0).collect::<Vec<_>>()
        };
        assert_eq!(ones(TextFeatures::BagOfTokens), [2, 21, 28, 51]);
        assert_eq!(ones(TextFeatures::TokenPosition), [2, 128 + 21, 192 + 28, 256 + 51]);
        assert_eq!(ones(TextFeatures::BagOfNgrams), [2, 21, 28, 51, 272, 391]);
    }

    #[test]
    fn bags_count_and_forget_order_while_positions_keep_it_and_end_at_the_last_slot() {
        let filler = Token::filler(0).expect("there are fillers");
        let sentence = Sentence(vec![filler; SLOTS + 1]);
        let mut bag = vec![0.0; VOCABULARY];
        sentence.featurise(TextFeatures::BagOfTokens, &mut bag);
        assert_eq!(bag[filler.id()], (SLOTS + 1) as f32);
        let mut slots = vec![0.0; SLOTS * VOCABULARY];
        sentence.featurise(TextFeatures::TokenPosition, &mut slots);
        assert_eq!(slots.iter().sum::<f32>(), SLOTS as f32);
    }
}
