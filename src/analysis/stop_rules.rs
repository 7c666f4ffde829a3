//! Which stop rules are on in a sweep: without one no cell can be called collapsed, whatever its embedding looks like.

use serde::Serialize;

use crate::engine::{Act, LIMITS};
use crate::spec::Sweep;

/// The stop rules of a sweep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StopRules {
    /// Paths of those that are on in some cell, in the order of the registry.
    pub on: Vec<&'static str>,
    /// Cells in which at least one is on.
    pub cells: usize,
    /// All cells of the sweep.
    pub of: usize,
}

impl StopRules {
    pub fn of(sweep: &Sweep) -> Self {
        let rules: Vec<_> = LIMITS.iter().filter(|limit| limit.act == Act::Stop).collect();
        let mut on = vec![false; rules.len()];
        let mut cells = 0;
        for cell in &sweep.cells {
            let mut any = false;
            for (on, rule) in on.iter_mut().zip(&rules) {
                let here = rule.threshold(&cell.config).is_some();
                *on |= here;
                any |= here;
            }
            cells += usize::from(any);
        }
        let on = rules.iter().zip(on).filter(|(_, on)| *on).map(|(rule, _)| rule.path).collect();
        Self { on, cells, of: sweep.cells.len() }
    }

    /// Whether every cell can be called collapsed by some rule.
    pub fn are_everywhere(&self) -> bool {
        self.cells == self.of
    }

    /// What that means for the statuses of cells, in a phrase.
    pub fn describe(&self) -> String {
        let on = self.on.join(", ");
        match self.cells {
            0 => "none is on, so no cell can be called collapsed".to_string(),
            cells if cells < self.of => {
                format!("{on}, in {cells} of {} cells: none of the others can be called collapsed", self.of)
            }
            _ => format!("{on}, in every cell"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Overrides, from_str};

    fn rules(more: &str) -> StopRules {
        let text = format!("name = \"t\"\npreset = \"tiny\"\n{more}");
        StopRules::of(&from_str(&text, "t.toml", &Overrides::default()).expect("a valid spec"))
    }

    #[test]
    fn cells_are_counted_that_a_rule_can_call_collapsed() {
        let none = rules("[axes]\nseed = [1, 2, 3]\n");
        assert_eq!((none.cells, none.of, none.are_everywhere()), (0, 3, false));
        assert_eq!(none.describe(), "none is on, so no cell can be called collapsed");
        // A warning is no stop rule, and a threshold that no value can pass is none either.
        assert_eq!(rules("[warn]\nmean_cosine_above = 0.5\n[stop]\nmean_cosine_above = 1.0\n").cells, 0);
        let some = rules("[axes]\n\"stop.variance_below\" = [0.0, 1e-6, 1e-5]\n");
        assert_eq!(some.describe(), "stop.variance_below, in 2 of 3 cells: none of the others can be called collapsed");
        let all = rules("[stop]\neffective_rank_below = 2.0\nhub_gini_above = 0.9\n[axes]\nseed = [1, 2]\n");
        assert!(all.are_everywhere());
        assert_eq!(all.describe(), "stop.effective_rank_below, stop.hub_gini_above, in every cell");
    }
}
