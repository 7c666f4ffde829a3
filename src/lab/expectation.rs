//! A sentence of the source as a paired comparison, and the finding that comes of it.
//!
//! Cells are paired by seed: the same latents, draws and initial parameters at two places that differ in what the sentence
//! is about. What is expected, and the smallest difference that would matter, are written down before the run.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::explanations::explanation;
use super::family::{Family, Place, ZERO};
use super::observed::{Largest, Observed, Quantity};
use super::registration::Standing;
use crate::numerics::estimate::estimate;
use crate::numerics::stats::{StatsError, mean};

/// What a sentence says of a quantity at one place against another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    Higher,
    Lower,
    /// Closer to one another than what matters.
    Same,
    /// Not lower by what matters.
    NotLower,
    /// Not higher by what matters.
    NotHigher,
    /// Higher or lower.
    Different,
}

impl Expect {
    /// The words for tables.
    pub fn words(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
            Self::Same => "the same",
            Self::NotLower => "not lower",
            Self::NotHigher => "not higher",
            Self::Different => "different",
        }
    }
}

/// Whose sentence it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The source says that it is so.
    Says,
    /// The source says that it can be so: that it is not here contradicts nothing.
    May,
    /// The laboratory's own, which the source suggests at most.
    Ours,
}

impl Origin {
    pub const ALL: [Self; 3] = [Self::Says, Self::May, Self::Ours];

    /// A heading.
    pub fn words(self) -> &'static str {
        match self {
            Self::Says => "what the source says",
            Self::May => "what the source says can happen",
            Self::Ours => "what the laboratory adds",
        }
    }
}

/// A sentence of the source as a test.
#[derive(Clone, Copy, Debug)]
pub struct Expectation {
    /// Lower-case letters, digits and hyphens; unique in a laboratory.
    pub name: &'static str,
    pub origin: Origin,
    /// Section of the book; of our own sentences the one that they belong to.
    pub source: &'static str,
    /// What it says, in our words.
    pub says: &'static str,
    /// The family whose cells decide.
    pub family: &'static str,
    pub quantity: Quantity,
    pub at: Place,
    /// [`ZERO`] where the quantity itself is the difference.
    pub against: Place,
    pub expects: Expect,
    /// The smallest difference that matters, in the unit of the quantity; above 0.
    pub matters: f64,
}

/// An expectation: places are where it is looked at and against what, the last pair what is expected and what matters.
pub(super) const fn expectation(
    name: &'static str,
    source: &'static str,
    says: &'static str,
    family: &'static str,
    quantity: Quantity,
    (at, against): (Place, Place),
    (expects, matters): (Expect, f64),
) -> Expectation {
    Expectation { name, origin: Origin::Says, source, says, family, quantity, at, against, expects, matters }
}

/// As the source says it can be.
pub(super) const fn may(expectation: Expectation) -> Expectation {
    Expectation { origin: Origin::May, ..expectation }
}

/// As the laboratory expects.
pub(super) const fn ours(expectation: Expectation) -> Expectation {
    Expectation { origin: Origin::Ours, ..expectation }
}

/// The result of an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The mean difference is as expected and matters, and its interval does not reach the other side.
    Agrees,
    /// There is a difference as expected, and the whole interval is below what matters.
    TooSmall,
    /// A difference as expected that matters is outside of the interval, and none as expected is certain.
    Disagrees,
    /// The interval tells neither.
    Undecided,
    /// Too few seeds have a value at both places.
    NotMeasured,
}

impl Verdict {
    pub const ALL: [Self; 5] = [Self::Agrees, Self::TooSmall, Self::Disagrees, Self::Undecided, Self::NotMeasured];

    /// The words for tables.
    pub fn words(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::TooSmall => "too small to matter",
            Self::Disagrees => "disagrees",
            Self::Undecided => "undecided",
            Self::NotMeasured => "not measured",
        }
    }
}

/// A seed's values at both places.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SeedPair {
    pub seed: i64,
    pub at: f64,
    pub against: f64,
}

/// An expectation and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    pub name: &'static str,
    pub origin: Origin,
    pub source: &'static str,
    pub says: &'static str,
    pub family: &'static str,
    pub quantity: String,
    pub unit: &'static str,
    pub at: BTreeMap<&'static str, &'static str>,
    pub at_condition: &'static str,
    pub against: BTreeMap<&'static str, &'static str>,
    pub against_condition: &'static str,
    pub expects: Expect,
    pub matters: f64,
    /// Seeds with a value at both places.
    pub seeds: usize,
    /// Seeds that lack one: diverged, failed, undefined, or not there.
    pub without_value: usize,
    pub mean_at: Option<f64>,
    pub mean_against: Option<f64>,
    /// Mean over seeds of the value at the place less that at the other, and its 95% interval, within the
    /// range of such a difference.
    pub difference: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub verdict: Verdict,
    /// Of the laboratory: whether the verdict is by what was fixed before.
    pub standing: Standing,
    /// What to know beside it.
    pub explanation: Option<&'static str>,
    pub pairs: Vec<SeedPair>,
}

impl Finding {
    /// The verdict in words, and that it is exploratory where it is.
    pub fn verdict_words(&self) -> String {
        match self.standing {
            Standing::Registered => self.verdict.words().to_string(),
            Standing::Exploratory => format!("{} (exploratory)", self.verdict.words()),
        }
    }
}

/// Fewest pairs of seeds on which a verdict rests: fewer have no interval.
pub const MIN_SEEDS: usize = 3;

impl Expectation {
    /// Judges it by the cells of its family.
    ///
    /// # Errors
    /// Values that are not finite, which the reading of them excludes.
    pub fn judge(
        &self,
        family: &Family,
        observed: &Observed,
        largest: Largest,
        standing: Standing,
    ) -> Result<Finding, StatsError> {
        let at = observed.at(family, &self.at, self.quantity);
        let against = match self.against {
            ZERO => at.keys().map(|seed| (*seed, Some(0.0))).collect(),
            against => observed.at(family, &against, self.quantity),
        };
        let seeds: BTreeSet<i64> = at.keys().chain(against.keys()).copied().collect();
        let value = |values: &BTreeMap<i64, Option<f64>>, seed: i64| values.get(&seed).copied().flatten();
        let pair =
            |seed: &i64| Some(SeedPair { seed: *seed, at: value(&at, *seed)?, against: value(&against, *seed)? });
        let pairs: Vec<SeedPair> = seeds.iter().filter_map(pair).collect();
        let without_value = seeds.len() - pairs.len();
        let of = |value: fn(&SeedPair) -> f64| pairs.iter().map(value).collect::<Vec<f64>>();
        let (least, greatest) = self.quantity.range(largest);
        let range = if self.against == ZERO { (least, greatest) } else { (least - greatest, greatest - least) };
        let differences = estimate(&of(|pair| pair.at - pair.against))?.map(|found| found.within(range));
        let interval = differences.and_then(|found| found.low.zip(found.high));
        let centre = differences.map(|found| found.mean).filter(|_| pairs.len() >= MIN_SEEDS);
        let verdict = match (centre, interval) {
            (Some(centre), Some(interval)) => judge(self.expects, self.matters, centre, interval),
            _ => Verdict::NotMeasured,
        };
        Ok(Finding {
            name: self.name,
            origin: self.origin,
            source: self.source,
            says: self.says,
            family: self.family,
            quantity: self.quantity.label(),
            unit: self.quantity.unit(),
            at: self.at.levels.iter().copied().collect(),
            at_condition: self.at.condition,
            against: self.against.levels.iter().copied().collect(),
            against_condition: self.against.condition,
            expects: self.expects,
            matters: self.matters,
            seeds: pairs.len(),
            without_value,
            mean_at: mean(&of(|pair| pair.at)).ok(),
            mean_against: mean(&of(|pair| pair.against)).ok(),
            difference: centre,
            low: interval.map(|ends| ends.0),
            high: interval.map(|ends| ends.1),
            verdict,
            standing,
            explanation: explanation(self.name, verdict),
            pairs,
        })
    }
}

/// The verdict on a mean difference with its interval.
///
/// For `Higher` it agrees when the interval is above 0 and the mean at least `matters`; when the whole interval is
/// below `matters`, it is too small to matter where it is above 0, and disagrees where not. `Lower` is its mirror image. `Same` agrees when
/// the whole interval is within `matters` of 0, and disagrees when it is wholly outside of that. `NotLower` agrees when the whole
/// interval is above `-matters`, and disagrees when it is below. `Different` agrees when the interval is on one side of 0 and the
/// mean matters, and disagrees when the whole interval is within `matters` of 0.
pub fn judge(expects: Expect, matters: f64, mean: f64, (low, high): (f64, f64)) -> Verdict {
    let higher = |mean: f64, low: f64, high: f64| match () {
        () if low > 0.0 && mean >= matters => Verdict::Agrees,
        () if low > 0.0 && high < matters => Verdict::TooSmall,
        () if high < matters => Verdict::Disagrees,
        () => Verdict::Undecided,
    };
    let different = |mean: f64, low: f64, high: f64| match () {
        () if low > 0.0 && mean >= matters => Verdict::Agrees,
        () if low > 0.0 && high < matters => Verdict::TooSmall,
        () if low > -matters && high < matters => Verdict::Disagrees,
        () => Verdict::Undecided,
    };
    let not_lower = |low: f64, high: f64| match () {
        () if low > -matters => Verdict::Agrees,
        () if high <= -matters => Verdict::Disagrees,
        () => Verdict::Undecided,
    };
    match expects {
        // The interval of what is different does not reach 0, and its mean matters.
        Expect::Different if mean < 0.0 => different(-mean, -high, -low),
        Expect::Different => different(mean, low, high),
        Expect::NotLower => not_lower(low, high),
        Expect::NotHigher => not_lower(-high, -low),
        Expect::Higher => higher(mean, low, high),
        Expect::Lower => higher(-mean, -high, -low),
        Expect::Same if low > -matters && high < matters => Verdict::Agrees,
        Expect::Same if low >= matters || high <= -matters => Verdict::Disagrees,
        Expect::Same => Verdict::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn verdicts_by_hand() {
        let of = |expects, mean, low, high| judge(expects, 0.1, mean, (low, high));
        assert_eq!(of(Expect::Higher, 0.3, 0.2, 0.4), Verdict::Agrees);
        assert_eq!(of(Expect::Higher, 0.3, -0.1, 0.7), Verdict::Undecided);
        // There is an effect, and it is too small to matter.
        assert_eq!(of(Expect::Higher, 0.05, 0.02, 0.08), Verdict::TooSmall);
        assert_eq!(of(Expect::Higher, 0.05, -0.01, 0.08), Verdict::Disagrees);
        assert_eq!(of(Expect::Higher, 0.05, 0.02, 0.12), Verdict::Undecided);
        assert_eq!(of(Expect::Higher, -0.3, -0.4, -0.2), Verdict::Disagrees);
        assert_eq!(of(Expect::Lower, -0.3, -0.4, -0.2), Verdict::Agrees);
        assert_eq!(of(Expect::Lower, 0.3, 0.2, 0.4), Verdict::Disagrees);
        assert_eq!(of(Expect::Same, 0.05, -0.02, 0.09), Verdict::Agrees);
        assert_eq!(of(Expect::Same, 0.09, 0.05, 0.13), Verdict::Undecided);
        assert_eq!(of(Expect::Same, 0.3, 0.2, 0.4), Verdict::Disagrees);
        assert_eq!(of(Expect::NotLower, 0.3, 0.2, 0.4), Verdict::Agrees);
        assert_eq!(of(Expect::NotLower, -0.1, -0.12, -0.05), Verdict::Undecided);
        assert_eq!(of(Expect::NotHigher, 0.3, 0.2, 0.4), Verdict::Disagrees);
        assert_eq!(of(Expect::Different, -0.3, -0.4, -0.2), Verdict::Agrees);
        assert_eq!(of(Expect::Different, 0.02, -0.05, 0.09), Verdict::Disagrees);
        assert_eq!(of(Expect::Different, 0.2, -0.05, 0.45), Verdict::Undecided);
    }

    proptest! {
        #[test]
        fn lower_is_higher_turned_round_and_no_interval_agrees_with_both(
            low in -1.0..1.0f64, width in 0.0..1.0f64, share in 0.0..1.0f64, matters in 0.01..0.5f64,
        ) {
            let (high, mean) = (low + width, low + share * width);
            let of = |expects| judge(expects, matters, mean, (low, high));
            prop_assert_eq!(of(Expect::Lower), judge(Expect::Higher, matters, -mean, (-high, -low)));
            let agreeing = [Expect::Higher, Expect::Lower, Expect::Same].map(of).into_iter();
            prop_assert!(agreeing.filter(|verdict| *verdict == Verdict::Agrees).count() <= 1);
        }
    }
}
