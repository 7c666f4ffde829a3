//! Which cells stand for which mechanism, and what they are for.

use serde::{Deserialize, Serialize};

use crate::lab::family::Level;

/// What was done to a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    Healthy,
    Dominance,
    Shortcut,
    WrongPairs,
    Collapse,
}

impl Mechanism {
    pub const ALL: [Self; 5] = [Self::Healthy, Self::Dominance, Self::Shortcut, Self::WrongPairs, Self::Collapse];

    /// The words for tables.
    pub fn words(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Dominance => "dominance",
            Self::Shortcut => "shortcut",
            Self::WrongPairs => "wrong pairs",
            Self::Collapse => "collapse",
        }
    }
}

/// What a case is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The model is fitted to its calibration seeds, and judged by its others.
    Calibration,
    /// A strength that no weight is fitted to.
    OtherStrength,
    /// A way to induce the failure that no weight is fitted to.
    UnseenVariant,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Calibration, Self::OtherStrength, Self::UnseenVariant];

    /// The words for tables.
    pub fn words(self) -> &'static str {
        match self {
            Self::Calibration => "other seeds",
            Self::OtherStrength => "other seeds and strengths",
            Self::UnseenVariant => "other seeds, unseen variants",
        }
    }
}

/// The cells at one place of a family.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub mechanism: Mechanism,
    pub role: Role,
    pub family: &'static str,
    pub levels: &'static [Level],
}

const fn fit(mechanism: Mechanism, family: &'static str, levels: &'static [Level]) -> Case {
    Case { mechanism, role: Role::Calibration, family, levels }
}
const fn weaker(mechanism: Mechanism, family: &'static str, levels: &'static [Level]) -> Case {
    Case { mechanism, role: Role::OtherStrength, family, levels }
}
const fn unseen(mechanism: Mechanism, family: &'static str, levels: &'static [Level]) -> Case {
    Case { mechanism, role: Role::UnseenVariant, family, levels }
}

use Mechanism::{Collapse, Dominance, Healthy, Shortcut, WrongPairs};

const GAIN: &str = "failures-input-gain";
const NOISE: &str = "failures-noise";
const CAPACITY: &str = "failures-capacity";
const CONFOUNDER: &str = "failures-confounder";
const PAIRING: &str = "failures-pairing";
const COLLAPSE: &str = "failures-collapse";
const OF_DOMINANCE: &str = "failures-control-dominance";
const OF_WRONG_PAIRS: &str = "failures-control-pairing";
const OF_COLLAPSE: &str = "failures-control-collapse";

/// Every case. Of each mechanism weights are fitted to the strong ends of some knobs; the model is judged there, at weaker strengths,
/// and on knobs that no weight is fitted to: narrow encoders, group tags, shuffled blocks, pairs that are wrong in evaluation
/// only, weight decay with a high learning rate, too high a temperature; and on healthy models that were trained otherwise.
pub const CASES: &[Case] = &[
    fit(Healthy, "failures-baseline", &[]),
    unseen(Healthy, OF_DOMINANCE, &[("train.clip_norm", "0.5")]),
    unseen(Healthy, OF_COLLAPSE, &[("train.warmup_steps", "200")]),
    unseen(Healthy, OF_WRONG_PAIRS, &[("world.n_train", "2458")]),
    fit(Dominance, GAIN, &[("image.gain", "64.0")]),
    fit(Dominance, GAIN, &[("text.gain", "64.0")]),
    weaker(Dominance, GAIN, &[("image.gain", "16.0")]),
    weaker(Dominance, GAIN, &[("text.gain", "16.0")]),
    fit(Dominance, NOISE, &[("image.noise", "0.4")]),
    fit(Dominance, NOISE, &[("text.dropout", "0.6")]),
    weaker(Dominance, NOISE, &[("image.noise", "0.2")]),
    weaker(Dominance, NOISE, &[("text.dropout", "0.4")]),
    unseen(Dominance, CAPACITY, &[("model.hidden_img", "2")]),
    unseen(Dominance, CAPACITY, &[("model.hidden_txt", "2")]),
    unseen(Dominance, CAPACITY, &[("model.hidden_img", "8")]),
    unseen(Dominance, CAPACITY, &[("model.hidden_txt", "8")]),
    fit(Shortcut, CONFOUNDER, &[("confounder.kind", "id_codebook"), ("confounder.strength", "1.0")]),
    fit(Shortcut, CONFOUNDER, &[("confounder.kind", "watermark"), ("confounder.strength", "1.0")]),
    fit(Shortcut, CONFOUNDER, &[("confounder.kind", "parity"), ("confounder.strength", "1.0")]),
    weaker(Shortcut, CONFOUNDER, &[("confounder.kind", "id_codebook"), ("confounder.strength", "0.3")]),
    weaker(Shortcut, CONFOUNDER, &[("confounder.kind", "watermark"), ("confounder.strength", "0.3")]),
    weaker(Shortcut, CONFOUNDER, &[("confounder.kind", "parity"), ("confounder.strength", "0.3")]),
    unseen(Shortcut, CONFOUNDER, &[("confounder.kind", "group_tags"), ("confounder.strength", "1.0")]),
    unseen(Shortcut, CONFOUNDER, &[("confounder.kind", "group_tags"), ("confounder.strength", "0.3")]),
    fit(WrongPairs, PAIRING, &[("pairing.kind", "swap"), ("pairing.rate", "0.1")]),
    fit(WrongPairs, PAIRING, &[("pairing.kind", "swap"), ("pairing.rate", "0.4")]),
    fit(WrongPairs, PAIRING, &[("pairing.kind", "group_swap"), ("pairing.rate", "0.4")]),
    fit(WrongPairs, PAIRING, &[("pairing.kind", "offset"), ("pairing.rate", "0.4")]),
    weaker(WrongPairs, PAIRING, &[("pairing.kind", "swap"), ("pairing.rate", "0.2")]),
    weaker(WrongPairs, PAIRING, &[("pairing.kind", "group_swap"), ("pairing.rate", "0.2")]),
    weaker(WrongPairs, PAIRING, &[("pairing.kind", "offset"), ("pairing.rate", "0.2")]),
    unseen(WrongPairs, PAIRING, &[("pairing.applies_to", "eval"), ("pairing.rate", "0.4")]),
    unseen(WrongPairs, PAIRING, &[("pairing.kind", "block"), ("pairing.rate", "0.2")]),
    unseen(WrongPairs, PAIRING, &[("pairing.kind", "block"), ("pairing.rate", "0.4")]),
    fit(Collapse, COLLAPSE, &[("train.temperature", "0.005")]),
    fit(Collapse, COLLAPSE, &[("train.learning_rate", "0.8")]),
    fit(Collapse, COLLAPSE, &[("train.temperature", "0.005"), ("train.learning_rate", "0.8")]),
    weaker(Collapse, COLLAPSE, &[("train.temperature", "0.02")]),
    weaker(Collapse, COLLAPSE, &[("train.temperature", "0.02"), ("train.learning_rate", "0.2")]),
    unseen(Collapse, COLLAPSE, &[("train.weight_decay", "0.01"), ("train.learning_rate", "0.8")]),
    unseen(Collapse, COLLAPSE, &[("train.temperature", "1.0")]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::laboratory;

    #[test]
    fn every_mechanism_is_calibrated_and_held_out() {
        for mechanism in Mechanism::ALL {
            let roles: Vec<Role> = CASES.iter().filter(|c| c.mechanism == mechanism).map(|c| c.role).collect();
            assert!(roles.contains(&Role::Calibration) && roles.contains(&Role::UnseenVariant), "{mechanism:?}");
            assert!(mechanism == Healthy || roles.contains(&Role::OtherStrength), "{mechanism:?}");
        }
        let lab = laboratory("failures").expect("there is one");
        assert!(CASES.iter().all(|case| lab.family(case.family).is_some()));
    }
}
