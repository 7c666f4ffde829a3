//! Which checkpoint of a cell is measured.

use super::limits::{Act, Limit, Values};
use super::outcome::{Candidate, Selection};

/// What a candidate is judged by: the mean of both is its score.
pub const SCORED_BY: [&str; 2] = ["retrieval_at_1_i2t", "retrieval_at_1_t2i"];

/// Candidates seen so far, and the best of them.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    candidates: Vec<Candidate>,
    /// Index among the candidates.
    best: Option<usize>,
}

impl Selector {
    /// Judges a candidate by what its validation embeddings show; no values where they cannot be evaluated.
    ///
    /// **Returns** whether it is the best so far: it breaks no floor and no stop rule on embeddings (gradient norms are
    /// known at checks only), and its score is above that of every such candidate before it. Of equals the earliest is
    /// the best.
    pub fn is_best(&mut self, step: u64, limits: &[(&'static Limit, f64)], values: Option<&Values>) -> bool {
        let judged = |limit: &Limit| limit.act != Act::Warn && !limit.indicator.is_of_the_step();
        let broken = |values: &Values| -> Vec<String> {
            let broken = limits.iter().filter(|(l, threshold)| judged(l) && l.violation(*threshold, values).is_some());
            broken.map(|(limit, _)| limit.path.to_string()).collect()
        };
        let score = values.and_then(|values| {
            let [i2t, t2i] = SCORED_BY.map(|name| values.get(name)?.as_ref().ok().copied());
            Some(f64::midpoint(i2t?, t2i?))
        });
        let mut refused_by = values.map(broken).unwrap_or_default();
        if score.is_none() {
            refused_by.push(NO_SCORE.to_string());
        }
        let sound = refused_by.is_empty();
        self.candidates.push(Candidate { step, score, refused_by });
        let best = self.best.and_then(|at| self.candidates[at].score);
        let is_best = sound && score.is_some_and(|score| best.is_none_or(|best| score > best));
        if is_best {
            self.best = Some(self.candidates.len() - 1);
        }
        is_best
    }

    /// What was selected, for the record. `last` is the cell's last step; `kept` the candidate whose parameters were
    /// kept, with their checksum.
    pub fn selection(self, last: u64, kept: Option<(u64, String)>, diverged: bool) -> Selection {
        let candidates = self.candidates;
        let score = |step: u64| candidates.iter().find(|c| c.step == step).and_then(|c| c.score);
        let (step, parameters, reason) = match kept {
            _ if diverged => (None, String::new(), "the cell diverged: nothing of it is measured".to_string()),
            Some((step, parameters)) => (Some(step), parameters, String::new()),
            None => {
                let reason = format!(
                    "none of {} candidates keeps every floor and stop rule: the cell is measured at its end",
                    candidates.len()
                );
                (Some(last), String::new(), reason)
            }
        };
        Selection { step, score: step.and_then(score), reason, parameters, candidates }
    }
}

/// What refuses a candidate that has no score.
pub const NO_SCORE: &str = "no validation retrieval";

#[cfg(test)]
mod tests {
    use super::super::limits::in_force;
    use super::*;
    use crate::spec::config::Config;

    /// Judges a sequence of candidates, 10 steps apart: mean retrieval, effective rank of the texts, symmetry gap.
    fn select(config: &Config, sequence: &[(f64, f64, f64)]) -> (Selector, Option<u64>) {
        let limits = in_force(config);
        let mut selector = Selector::default();
        let mut kept = None;
        for (i, (mean, rank, gap)) in sequence.iter().enumerate() {
            let values = Values::from([
                (SCORED_BY[0], Ok(mean + gap / 2.0)),
                (SCORED_BY[1], Ok(mean - gap / 2.0)),
                ("symmetry_gap_at_1", Ok(*gap)),
                ("effective_rank_img", Ok(9.0)),
                ("effective_rank_txt", Ok(*rank)),
                ("variance_min_img", Ok(0.1)),
                ("variance_min_txt", Ok(0.1)),
            ]);
            let step = 10 * (i as u64 + 1);
            if selector.is_best(step, &limits, Some(&values)) {
                kept = Some(step);
            }
        }
        (selector, kept)
    }

    const SEQUENCE: &[(f64, f64, f64)] =
        &[(0.2, 8.0, 0.0), (0.5, 6.0, 0.0), (0.5, 7.0, 0.0), (0.7, 5.0, -0.4), (0.9, 2.0, 0.0), (0.6, 3.0, 0.1)];

    #[test]
    fn the_best_is_the_highest_mean_retrieval_that_keeps_every_floor_and_the_earliest_of_equals() {
        let mut config = Config::default();
        let kept = |config: &Config| select(config, SEQUENCE).1;
        assert_eq!(kept(&config), Some(50), "without floors the highest");
        config.checkpoint.effective_rank_floor = 4.0;
        assert_eq!(kept(&config), Some(40));
        config.checkpoint.symmetry_gap_ceiling = 0.3;
        assert_eq!(kept(&config), Some(20), "the earlier of two with 0.5");
        config.checkpoint.effective_rank_floor = 6.5;
        assert_eq!(kept(&config), Some(30));
        config.checkpoint.effective_rank_floor = 8.0;
        assert_eq!(kept(&config), Some(10), "a value at its floor keeps it");
        config.checkpoint.effective_rank_floor = 8.1;
        assert_eq!(kept(&config), None);
    }

    #[test]
    fn a_stop_rule_refuses_a_candidate_and_a_warning_does_not() {
        let mut config = Config::default();
        config.warn.effective_rank_below = 4.0;
        assert_eq!(select(&config, SEQUENCE).1, Some(50));
        config.stop.effective_rank_below = 4.0;
        config.stop.gradient_norm_above = 1e-9;
        let (selector, kept) = select(&config, SEQUENCE);
        assert_eq!(kept, Some(40));
        let selection = selector.selection(60, kept.map(|step| (step, "ab".into())), false);
        assert_eq!((selection.step, selection.reason.as_str()), (Some(40), ""));
        assert!((selection.score.expect("scored") - 0.7).abs() < 1e-12);
        let refused: Vec<u64> =
            selection.candidates.iter().filter(|c| !c.refused_by.is_empty()).map(|c| c.step).collect();
        assert_eq!(refused, [50, 60]);
        assert_eq!(selection.candidates[4].refused_by, ["stop.effective_rank_below"]);
    }

    #[test]
    fn where_no_candidate_is_sound_the_end_is_measured_and_the_record_says_why() {
        let mut config = Config::default();
        config.checkpoint.variance_floor = 0.2;
        let (mut selector, kept) = select(&config, SEQUENCE);
        assert_eq!(kept, None);
        assert!(!selector.is_best(70, &in_force(&config), None), "not finite");
        let selection = selector.clone().selection(73, None, false);
        assert_eq!((selection.step, selection.score), (Some(73), None));
        assert!(selection.reason.starts_with("none of 7 candidates"), "{}", selection.reason);
        assert_eq!(selection.candidates[6].refused_by, [NO_SCORE]);
        assert_eq!(selector.clone().selection(60, None, false).score, Some(0.6), "the end was a candidate");
        let diverged = selector.selection(73, Some((10, "ab".into())), true);
        assert_eq!((diverged.step, diverged.score, diverged.parameters.as_str()), (None, None, ""));
    }
}
