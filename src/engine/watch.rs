//! What is seen of one cell while it trains: its validation series, the limits it crosses, and its best checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use super::limits::{Act, Indicator, Limit, Values, in_force};
use super::measure::evaluation;
use super::outcome::{Crossing, Status};
use super::selection::{SCORED_BY, Selector};
use crate::aligner::step::GRADIENT_NORM_NAMES;
use crate::aligner::train::{Due, End, ValidationPoint, Verdict};
use crate::metric::{self, Context, Evaluation, EvaluationError};
use crate::spec::config::{Config, Select};

/// Metrics of the validation series.
pub const VALIDATION_SERIES: [&str; 14] = [
    "retrieval_at_1_i2t",
    "retrieval_at_1_t2i",
    "retrieval_at_5_i2t",
    "retrieval_at_5_t2i",
    "mean_cosine_img",
    "mean_cosine_txt",
    "variance_min_img",
    "variance_min_txt",
    "variance_median_img",
    "variance_median_txt",
    "norm_mean_img",
    "norm_sd_img",
    "norm_mean_txt",
    "norm_sd_txt",
];

/// Metrics of the validation series that take a decomposition: recorded at every validation point, or at
/// `curves.structure_every` where that is set.
pub const SPECTRAL_SERIES: [&str; 2] = ["effective_rank_img", "effective_rank_txt"];

/// Further metrics of the validation series, recorded at `curves.structure_every` alone.
pub const STRUCTURE_SERIES: [&str; 10] = [
    "separability_shape_img",
    "separability_orientation_img",
    "separability_frequency_img",
    "separability_phase_img",
    "separability_thickness_img",
    "separability_shape_txt",
    "separability_orientation_txt",
    "separability_frequency_txt",
    "separability_phase_txt",
    "separability_thickness_txt",
];

/// What is seen of one cell while it trains.
pub struct Watch {
    config: Config,
    pub series: BTreeMap<u64, BTreeMap<&'static str, f64>>,
    limits: Vec<(&'static Limit, f64)>,
    /// Per limit in force, the first time that it was broken, and how many checks in a row it is by now.
    crossed: Vec<(Option<Crossing>, u64)>,
    /// First step at which a stop rule counted, and what the last check said.
    first_stop: Option<(u64, String)>,
    last_stop: Option<String>,
    pub selector: Option<Selector>,
    /// What is known of the validation samples, where the curves ask for it.
    context: Option<Context>,
}

impl Watch {
    /// `known` tells what is known of the validation samples.
    pub fn new(config: &Config, known: impl FnOnce() -> Context) -> Self {
        let limits = in_force(config);
        let selector = (config.checkpoint.select == Select::Best).then(Selector::default);
        Self {
            config: config.clone(),
            series: BTreeMap::new(),
            crossed: vec![(None, 0); limits.len()],
            limits,
            first_stop: None,
            last_stop: None,
            selector,
            context: (config.curves.structure_every > 0).then(known),
        }
    }

    /// Whether `step` is one of every so many steps, or the last one; with 0, never.
    fn is_time(config: &Config, every: u64, step: u64) -> bool {
        every > 0 && (step.is_multiple_of(every) || step == config.train.steps)
    }

    fn charts(config: &Config, step: u64) -> bool {
        Self::is_time(config, config.curves.validate_every, step)
    }

    fn charts_structure(config: &Config, step: u64) -> bool {
        Self::is_time(config, config.curves.structure_every, step)
    }

    /// Whether limits of a kind are checked.
    fn checks(config: &Config, step: u64, of: fn(&Indicator) -> bool) -> bool {
        let checked = |(limit, _): &(&Limit, f64)| limit.act != Act::Refuse && of(limit.indicator);
        step > 0 && Self::is_time(config, config.stop.every, step) && in_force(config).iter().any(checked)
    }

    /// Whether parameters may be selected. Those that no step has trained are no checkpoint, unless that is all there is.
    fn is_candidate(config: &Config, step: u64) -> bool {
        let is_time = Self::is_time(config, config.checkpoint.every, step);
        config.checkpoint.select == Select::Best && is_time && (step > 0 || config.train.steps == 0)
    }

    /// What is wanted of a cell after `step` steps.
    pub fn due(config: &Config, step: u64) -> Due {
        let checks = Self::checks(config, step, |_| true);
        let charts = Self::charts(config, step) || Self::charts_structure(config, step);
        Due {
            embeddings: checks || charts || Self::is_candidate(config, step),
            gradient_norms: checks && Self::checks(config, step, Indicator::is_of_the_step),
        }
    }

    /// Looks at validation embeddings for all that is due.
    pub fn look(&mut self, point: ValidationPoint<'_>) -> Verdict {
        let is_candidate = Self::is_candidate(&self.config, point.step);
        let Ok(evaluation) = self.evaluation(&point) else {
            // Not finite, or too few samples: the lane's losses and its end say so, not a look in between.
            if let Some(selector) = self.selector.as_mut().filter(|_| is_candidate) {
                selector.is_best(point.step, &self.limits, None);
            }
            return Verdict::default();
        };
        self.chart(point.step, &evaluation);
        let checks = Self::checks(&self.config, point.step, |_| true);
        if !checks && !is_candidate {
            return Verdict::default();
        }
        let values = self.values(&evaluation, point.gradient_norms);
        let mut verdict = Verdict::default();
        if let Some(selector) = self.selector.as_mut().filter(|_| is_candidate) {
            verdict.keep = selector.is_best(point.step, &self.limits, Some(&values));
        }
        if checks {
            verdict.stop = self.check(point.step, &values);
        }
        verdict
    }

    fn evaluation(&self, point: &ValidationPoint<'_>) -> Result<Evaluation, EvaluationError> {
        let evaluation = evaluation(&self.config, point.embeddings)?;
        match &self.context {
            Some(context) if Self::charts_structure(&self.config, point.step) => {
                evaluation.with_context(context.clone())
            }
            _ => Ok(evaluation),
        }
    }

    /// Adds what the curves want at this step.
    fn chart(&mut self, step: u64, evaluation: &Evaluation) {
        let structure = Self::charts_structure(&self.config, step);
        let mut names: Vec<&'static str> = Vec::new();
        if Self::charts(&self.config, step) {
            names.extend(VALIDATION_SERIES);
        }
        if structure || self.config.curves.structure_every == 0 && !names.is_empty() {
            names.extend(SPECTRAL_SERIES);
        }
        if structure {
            names.extend(STRUCTURE_SERIES);
        }
        if !names.is_empty() {
            let values = metric::measure_named(evaluation, &names);
            let finite = values.into_iter().filter_map(|(name, value)| value.ok().map(|v| (name, v)));
            self.series.insert(step, finite.collect());
        }
    }

    /// What the limits look at, and what candidates are judged by.
    fn values(&self, evaluation: &Evaluation, gradient_norms: Option<[f32; 6]>) -> Values {
        let scored = SCORED_BY.iter().filter(|_| self.selector.is_some());
        let limited = self.limits.iter().flat_map(|(limit, _)| limit.indicator.names);
        let names: BTreeSet<&'static str> = limited.chain(scored).copied().collect();
        let of_the_step = |name: &&str| GRADIENT_NORM_NAMES.contains(name);
        let (_, measured): (Vec<_>, Vec<&'static str>) = names.into_iter().partition(of_the_step);
        let measured = metric::measure_named(evaluation, &measured);
        let measured = measured.into_iter().map(|(name, value)| (name, value.map_err(|e| e.to_string())));
        let norms = gradient_norms.into_iter().flat_map(|norms| GRADIENT_NORM_NAMES.into_iter().zip(norms));
        measured.chain(norms.map(|(name, norm)| (name, Ok(f64::from(norm))))).collect()
    }

    /// Checks every stop rule and warning. Returns why the cell is to be stopped.
    fn check(&mut self, step: u64, values: &Values) -> Option<String> {
        let patience = self.config.stop.patience;
        self.last_stop = None;
        for ((limit, threshold), (crossing, streak)) in self.limits.iter().zip(&mut self.crossed) {
            if limit.act == Act::Refuse {
                continue;
            }
            let Some(violation) = limit.violation(*threshold, values) else {
                *streak = 0;
                continue;
            };
            *streak += 1;
            let first = || Crossing {
                limit: limit.path.to_string(),
                threshold: *threshold,
                name: violation.name.to_string(),
                step,
                value: violation.value,
                checks: 0,
            };
            crossing.get_or_insert_with(first).checks += 1;
            if limit.act == Act::Stop && *streak >= patience && self.last_stop.is_none() {
                self.last_stop = Some(format!("{} at step {step}", violation.what));
            }
        }
        let what = self.last_stop.clone()?;
        self.first_stop.get_or_insert_with(|| (step, what.clone()));
        self.config.stop.freeze.then_some(what)
    }

    /// How the cell ended, and why.
    pub fn status(&self, end: &End, steps: u64) -> (Status, String) {
        match (end, &self.last_stop) {
            (End::Diverged(reason), _) => (Status::Diverged, reason.clone()),
            (End::Stopped(reason), _) => (Status::Collapsed, reason.clone()),
            (End::Finished, Some(reason)) => {
                let first = self.first_stop.as_ref().map_or(steps, |(step, _)| *step);
                (Status::Collapsed, format!("{reason} (first seen at step {first})"))
            }
            (End::Finished, None) => {
                let recovered = |(_, what): &(u64, String)| format!("{what}, and recovered");
                (Status::Ok, self.first_stop.as_ref().map(recovered).unwrap_or_default())
            }
        }
    }

    /// The limits that were crossed.
    pub fn crossings(&self) -> Vec<Crossing> {
        self.crossed.iter().filter_map(|(crossing, _)| crossing.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(set: impl Fn(&mut Config)) -> Config {
        let mut config = Config::default();
        (config.train.steps, config.stop.every) = (60, 10);
        set(&mut config);
        config
    }

    /// Checks a cell at a sequence of effective ranks; the step at which it is stopped, and the watch.
    fn watch(config: &Config, ranks: &[f64]) -> (Option<u64>, Watch) {
        let mut watch = Watch::new(config, Context::default);
        for (i, rank) in ranks.iter().enumerate() {
            let step = 10 * (i as u64 + 1);
            let values = Values::from([("effective_rank_img", Ok(*rank)), ("effective_rank_txt", Ok(9.0))]);
            if watch.check(step, &values).is_some() {
                return (Some(step), watch);
            }
        }
        (None, watch)
    }

    #[test]
    fn patience_counts_consecutive_checks_and_the_first_crossing_is_recorded_either_way() {
        let ranks = [1.0, 3.0, 1.5, 1.2, 1.1, 3.0];
        let rule = |patience: u64| {
            config(|c| {
                (c.stop.effective_rank_below, c.stop.patience) = (2.0, patience);
                c.warn.effective_rank_below = 3.5;
            })
        };
        let stops: Vec<Option<u64>> = [1, 2, 3, 4].map(|patience| watch(&rule(patience), &ranks).0).into();
        assert_eq!(stops, [Some(10), Some(40), Some(50), None]);
        let (_, patient) = watch(&rule(4), &ranks);
        assert_eq!(patient.status(&End::Finished, 60), (Status::Ok, String::new()));
        let crossings = patient.crossings();
        let seen: Vec<(&str, u64, Option<f64>, u64)> =
            crossings.iter().map(|c| (c.limit.as_str(), c.step, c.value, c.checks)).collect();
        let expected =
            [("stop.effective_rank_below", 10, Some(1.0), 4), ("warn.effective_rank_below", 10, Some(1.0), 6)];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_cell_that_is_not_frozen_collapsed_where_its_end_did() {
        let rule = config(|c| (c.stop.effective_rank_below, c.stop.freeze) = (2.0, false));
        let (stopped, recovered) = watch(&rule, &[3.0, 1.0, 3.0]);
        assert_eq!(stopped, None);
        let (status, reason) = recovered.status(&End::Finished, 30);
        assert_eq!(status, Status::Ok);
        assert_eq!(reason, "validation effective_rank_img 1.000 is below 2 at step 20, and recovered");
        let (status, reason) = watch(&rule, &[3.0, 1.0, 1.5]).1.status(&End::Finished, 30);
        assert_eq!(status, Status::Collapsed);
        assert_eq!(reason, "validation effective_rank_img 1.500 is below 2 at step 30 (first seen at step 20)");
    }

    #[test]
    fn a_cell_is_looked_at_when_something_is_due_and_norms_are_asked_for_when_a_limit_reads_them() {
        let quiet = config(|c| c.curves.validate_every = 0);
        type Which = fn(Due) -> bool;
        let steps = |config: &Config, of: Which| -> Vec<u64> {
            (0..=config.train.steps).filter(|step| of(Watch::due(config, *step))).collect()
        };
        let (looks, norms): (Which, Which) = (|due| due.embeddings, |due| due.gradient_norms);
        assert!(steps(&quiet, looks).is_empty());
        let mut best = quiet.clone();
        (best.checkpoint.select, best.checkpoint.every) = (Select::Best, 25);
        assert_eq!(steps(&best, looks), [25, 50, 60]);
        best.checkpoint.effective_rank_floor = 2.0;
        assert_eq!(steps(&best, looks), [25, 50, 60], "a floor is checked at candidates alone");
        let mut warned = quiet.clone();
        (warned.stop.every, warned.warn.gradient_norm_above) = (20, 1.0);
        assert_eq!((steps(&warned, looks), steps(&warned, norms)), (vec![20, 40, 60], vec![20, 40, 60]));
        let mut structure = quiet;
        structure.curves.structure_every = 40;
        assert_eq!((steps(&structure, looks), steps(&structure, norms)), (vec![0, 40, 60], vec![]));
    }
}
