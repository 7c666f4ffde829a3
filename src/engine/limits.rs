//! Limits on what is seen of a cell while it trains: stop rules, early warnings and the floors of checkpoints.
//!
//! To add a limit: a parameter of the configuration and a line of [`LIMITS`]; a new indicator is one more constant.

use std::collections::BTreeMap;

use crate::aligner::step::GRADIENT_NORM_NAMES;
use crate::numerics::shown::Levels;
use crate::spec::config::Config;

/// Which way an indicator leaves its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Below,
    Above,
    /// Its absolute value is above.
    Beyond,
}

/// What a limit looks at.
#[derive(Clone, Copy, Debug)]
pub struct Indicator {
    /// Metrics of the validation embeddings, or series of gradient norms; any one of them outside is enough.
    pub names: &'static [&'static str],
    pub side: Side,
    /// The threshold that no value can be outside of, or that would make no sense: it switches a limit off.
    pub off: f64,
    /// Digits of a value in a reason after its decimal point, unless a value so near its threshold needs more.
    digits: usize,
}

/// What happens to a cell outside a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It has collapsed, and is frozen unless `stop.freeze` is off.
    Stop,
    /// That is recorded.
    Warn,
    /// It is no candidate for a checkpoint.
    Refuse,
}

/// One limit.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Path of its threshold in the configuration.
    pub path: &'static str,
    pub act: Act,
    pub indicator: &'static Indicator,
    threshold: fn(&Config) -> f64,
}

const EFFECTIVE_RANK: Indicator =
    Indicator { names: &["effective_rank_img", "effective_rank_txt"], side: Side::Below, off: 0.0, digits: 3 };
const MEAN_COSINE: Indicator =
    Indicator { names: &["mean_cosine_img", "mean_cosine_txt"], side: Side::Above, off: 1.0, digits: 4 };
const VARIANCE: Indicator =
    Indicator { names: &["variance_min_img", "variance_min_txt"], side: Side::Below, off: 0.0, digits: 6 };
const HUBNESS: Indicator =
    Indicator { names: &["hub_gini_i2t", "hub_gini_t2i"], side: Side::Above, off: 1.0, digits: 4 };
const SYMMETRY_GAP: Indicator = Indicator { names: &["symmetry_gap_at_1"], side: Side::Beyond, off: 1.0, digits: 4 };
const GRADIENT_NORM: Indicator =
    Indicator { names: &[GRADIENT_NORM_NAMES[0], GRADIENT_NORM_NAMES[3]], side: Side::Above, off: 0.0, digits: 3 };

/// Every limit. Of several stop rules that a cell breaks at once, the first here is the reason.
pub const LIMITS: &[Limit] = &[
    stop("stop.effective_rank_below", &EFFECTIVE_RANK, |c| c.stop.effective_rank_below),
    stop("stop.mean_cosine_above", &MEAN_COSINE, |c| c.stop.mean_cosine_above),
    stop("stop.variance_below", &VARIANCE, |c| c.stop.variance_below),
    stop("stop.hub_gini_above", &HUBNESS, |c| c.stop.hub_gini_above),
    stop("stop.symmetry_gap_above", &SYMMETRY_GAP, |c| c.stop.symmetry_gap_above),
    stop("stop.gradient_norm_above", &GRADIENT_NORM, |c| c.stop.gradient_norm_above),
    warn("warn.effective_rank_below", &EFFECTIVE_RANK, |c| c.warn.effective_rank_below),
    warn("warn.mean_cosine_above", &MEAN_COSINE, |c| c.warn.mean_cosine_above),
    warn("warn.variance_below", &VARIANCE, |c| c.warn.variance_below),
    warn("warn.hub_gini_above", &HUBNESS, |c| c.warn.hub_gini_above),
    warn("warn.symmetry_gap_above", &SYMMETRY_GAP, |c| c.warn.symmetry_gap_above),
    warn("warn.gradient_norm_above", &GRADIENT_NORM, |c| c.warn.gradient_norm_above),
    refuse("checkpoint.effective_rank_floor", &EFFECTIVE_RANK, |c| c.checkpoint.effective_rank_floor),
    refuse("checkpoint.variance_floor", &VARIANCE, |c| c.checkpoint.variance_floor),
    refuse("checkpoint.symmetry_gap_ceiling", &SYMMETRY_GAP, |c| c.checkpoint.symmetry_gap_ceiling),
];

const fn stop(path: &'static str, indicator: &'static Indicator, threshold: fn(&Config) -> f64) -> Limit {
    Limit { path, act: Act::Stop, indicator, threshold }
}
const fn warn(path: &'static str, indicator: &'static Indicator, threshold: fn(&Config) -> f64) -> Limit {
    Limit { path, act: Act::Warn, indicator, threshold }
}
const fn refuse(path: &'static str, indicator: &'static Indicator, threshold: fn(&Config) -> f64) -> Limit {
    Limit { path, act: Act::Refuse, indicator, threshold }
}

/// Values by name, or the reason why there is none.
pub type Values = BTreeMap<&'static str, Result<f64, String>>;

/// An indicator outside a limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Which of the indicator's names.
    pub name: &'static str,
    /// None where it is undefined.
    pub value: Option<f64>,
    /// What is wrong, for a reason.
    pub what: String,
}

impl Indicator {
    /// Whether it is seen in the step itself instead of in embeddings.
    pub fn is_of_the_step(&self) -> bool {
        self.names.iter().all(|name| GRADIENT_NORM_NAMES.contains(name))
    }

    /// A value outside of a threshold, rounded so that what is read is outside of it as well.
    fn shown(&self, value: f64, threshold: f64) -> String {
        let short = format!("{value:.*}", self.digits);
        if short.parse().is_ok_and(|read| self.is_outside(read, threshold)) {
            return short;
        }
        let size = if self.side == Side::Beyond { value.abs() } else { value };
        Levels::of_numbers([size, threshold]).number(value)
    }

    fn is_outside(&self, value: f64, threshold: f64) -> bool {
        match self.side {
            Side::Below => value < threshold,
            Side::Above => value > threshold,
            Side::Beyond => value.abs() > threshold,
        }
    }
}

impl Limit {
    /// Its threshold for a cell; none where it is switched off.
    pub fn threshold(&self, config: &Config) -> Option<f64> {
        Some((self.threshold)(config)).filter(|threshold| *threshold != self.indicator.off)
    }

    /// How values break it, if they do. One that is undefined does: a limit that cannot be checked is not kept.
    pub fn violation(&self, threshold: f64, values: &Values) -> Option<Violation> {
        let indicator = self.indicator;
        let place = if indicator.is_of_the_step() { "" } else { "validation " };
        let side = if indicator.side == Side::Below { "below" } else { "above" };
        indicator.names.iter().find_map(|&name| match values.get(name) {
            Some(Ok(value)) if indicator.is_outside(*value, threshold) => {
                let what = format!("{place}{name} {} is {side} {threshold}", indicator.shown(*value, threshold));
                let absolute = if indicator.side == Side::Beyond { "absolute " } else { "" };
                Some(Violation {
                    name,
                    value: Some(*value).filter(|v| v.is_finite()),
                    what: format!("{absolute}{what}"),
                })
            }
            Some(Ok(_)) => None,
            Some(Err(reason)) => Some(undefined(place, name, reason)),
            None => Some(undefined(place, name, "it was not measured")),
        })
    }
}

fn undefined(place: &str, name: &'static str, reason: &str) -> Violation {
    Violation { name, value: None, what: format!("{place}{name} is undefined: {reason}") }
}

/// Limits that are in force for a cell, with their thresholds.
pub fn in_force(config: &Config) -> Vec<(&'static Limit, f64)> {
    LIMITS.iter().filter_map(|limit| Some((limit, limit.threshold(config)?))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::metric;
    use crate::spec::{Kind, PARAMS};

    #[test]
    fn limits_are_parameters_of_their_own_off_by_default_and_look_at_what_there_is() {
        let paths: BTreeSet<&str> = LIMITS.iter().map(|limit| limit.path).collect();
        assert_eq!(paths.len(), LIMITS.len());
        assert!(in_force(&Config::default()).is_empty());
        for limit in LIMITS {
            let param = PARAMS.iter().find(|p| p.path == limit.path).expect("a parameter");
            let Kind::Float { min, max } = param.kind else { panic!("{} takes a number", limit.path) };
            assert!((min..=max).contains(&limit.indicator.off), "{}", limit.path);
            for name in limit.indicator.names {
                let known = metric::descriptor(name).is_some() || GRADIENT_NORM_NAMES.contains(name);
                assert!(known, "{}: {name}", limit.path);
            }
            // The threshold that it reads is the one that its path names.
            let mut tree = serde_json::to_value(Config::default()).expect("plain data");
            let pointer = format!("/{}", limit.path.replace('.', "/"));
            *tree.pointer_mut(&pointer).expect("a known path") = 0.25.into();
            let config: Config = serde_json::from_value(tree).expect("a valid configuration");
            let found: Vec<(&str, f64)> = in_force(&config).iter().map(|(l, t)| (l.path, *t)).collect();
            assert_eq!(found, [(limit.path, 0.25)]);
        }
    }

    #[test]
    fn a_reason_never_shows_a_value_that_would_keep_its_limit() {
        let violated = |path: &str, threshold: f64, value: f64| {
            let limit = LIMITS.iter().find(|limit| limit.path == path).expect("a limit");
            let values = limit.indicator.names.iter().map(|name| (*name, Ok(value))).collect();
            limit.violation(threshold, &values).expect("outside").what
        };
        let rank = |threshold: f64, value: f64| violated("checkpoint.effective_rank_floor", threshold, value);
        assert_eq!(rank(2.0, 1.9284), "validation effective_rank_img 1.928 is below 2");
        assert_eq!(rank(1.928, 1.92764), "validation effective_rank_img 1.9276 is below 1.928");
        // Rounded alone it would be above.
        assert_eq!(rank(1.92865, 1.9286), "validation effective_rank_img 1.9286 is below 1.92865");
        assert_eq!(rank(0.1 + 0.2, 0.3), "validation effective_rank_img 0.300 is below 0.30000000000000004");
        let gap = violated("warn.symmetry_gap_above", 0.5, -0.50001);
        assert_eq!(gap, "absolute validation symmetry_gap_at_1 -0.50001 is above 0.5");
    }

    #[test]
    fn a_value_at_its_limit_keeps_it_and_one_beyond_or_undefined_breaks_it() {
        for limit in LIMITS {
            let [first, rest @ ..] = limit.indicator.names else { panic!("{} looks at nothing", limit.path) };
            let (healthy, ill) = match limit.indicator.side {
                Side::Below => (0.9, 0.1),
                Side::Above => (0.1, 0.9),
                Side::Beyond => (0.1, -0.9),
            };
            let values = |first_value: Result<f64, String>| -> Values {
                rest.iter().map(|n| (*n, Ok(healthy))).chain([(*first, first_value)]).collect()
            };
            assert_eq!(limit.violation(0.5, &values(Ok(healthy))), None, "{}", limit.path);
            assert_eq!(limit.violation(0.5, &values(Ok(0.5))), None, "{}", limit.path);
            let broken = limit.violation(0.5, &values(Ok(ill))).expect("outside");
            assert_eq!((broken.name, broken.value), (*first, Some(ill)));
            let undefined = limit.violation(0.5, &values(Err("constant".into()))).expect("cannot be checked");
            assert_eq!(undefined.value, None);
            assert!(undefined.what.ends_with("is undefined: constant"), "{}", undefined.what);
            assert!(limit.violation(0.5, &Values::new()).is_some(), "{}", limit.path);
        }
    }
}
