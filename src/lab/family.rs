//! A laboratory and its sweeps.

use super::expectation::Expectation;
use super::observed::Quantity;
use crate::spec::CLEAN;

/// An axis path and a level of it, as a spec writes the level.
pub type Level = (&'static str, &'static str);

/// Where in a run, and under which condition, cells are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Levels of some axes; the others are at the family's reference.
    pub levels: &'static [Level],
    pub condition: &'static str,
}

/// A place as trained.
pub(super) const fn at(levels: &'static [Level]) -> Place {
    Place { levels, condition: CLEAN }
}

/// The reference as trained.
pub(super) const REFERENCE: Place = at(&[]);

/// No place: what is compared with it is compared with 0.
pub(super) const ZERO: Place = Place { levels: &[], condition: "" };

/// One sweep of a laboratory.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Name of a built-in spec, and of the run.
    pub sweep: &'static str,
    pub title: &'static str,
    /// What it asks, in a sentence.
    pub asks: &'static str,
    /// The level of every axis but the seed at which nothing is wrong.
    pub reference: &'static [Level],
    /// The columns of its table.
    pub outcomes: &'static [Quantity],
    /// Conditions that its table shows beside `clean`.
    pub conditions: &'static [&'static str],
    /// Pictures of its run that the laboratory's report shows, by name; those that the run does not have are left out.
    pub pictures: &'static [&'static str],
    /// Axes of `--quick`, as `--axis` takes them.
    pub quick: &'static [&'static str],
}

/// A laboratory.
#[derive(Debug)]
pub struct Laboratory {
    pub name: &'static str,
    pub title: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    pub about: &'static str,
    pub families: &'static [Family],
    /// Lists that are one.
    pub expectations: &'static [&'static [Expectation]],
    /// Whether its runs are attributed to mechanisms.
    pub attribution: bool,
}

impl Laboratory {
    /// Every expectation.
    pub fn expectations(&self) -> impl Iterator<Item = &'static Expectation> {
        self.expectations.iter().copied().flatten()
    }

    /// The family called `sweep`.
    pub fn family(&self, sweep: &str) -> Option<&'static Family> {
        self.families.iter().find(|family| family.sweep == sweep)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ZERO;
    use crate::lab::observed::{key_of, key_of_text};
    use crate::lab::{Expectation, Family, LABORATORIES, Laboratory, Place};
    use crate::spec::{BUILTINS, CLEAN, Overrides, Sweep, from_str};

    fn sweep(family: &Family, overrides: &Overrides) -> Sweep {
        let builtin = BUILTINS.iter().find(|builtin| builtin.name == family.sweep).expect("a built-in spec");
        from_str(builtin.text, builtin.name, overrides).unwrap_or_else(|error| panic!("{}:\n{error}", family.sweep))
    }

    fn quick(family: &Family) -> Overrides {
        Overrides { set: Vec::new(), axis: family.quick.iter().map(ToString::to_string).collect() }
    }

    /// Whether a sweep has cells at a place.
    fn has(sweep: &Sweep, family: &Family, place: &Place) -> bool {
        let known = |name: &str| name == CLEAN || sweep.conditions.iter().any(|condition| condition.name == name);
        let level = |path: &str| {
            let of = |levels: &'static [super::Level]| levels.iter().find(|(p, _)| *p == path).map(|(_, level)| *level);
            of(place.levels).or(of(family.reference))
        };
        let wanted: Vec<(String, String)> = sweep
            .axes
            .iter()
            .filter(|axis| axis.path != "seed")
            .map(|axis| (axis.path.clone(), key_of_text(level(&axis.path).expect("named or of the reference"))))
            .collect();
        known(place.condition)
            && sweep.cells.iter().any(|cell| {
                let levels = sweep.levels(cell);
                wanted.iter().all(|(path, level)| key_of(&levels[path]) == *level)
            })
    }

    #[test]
    fn families_are_built_in_sweeps_with_their_reference_in_full_and_quick() {
        for laboratory in LABORATORIES {
            let mut seen = BTreeSet::new();
            for family in laboratory.families {
                assert!(seen.insert(family.sweep), "{} twice", family.sweep);
                assert!(!family.title.is_empty() && family.asks.ends_with('?'), "{}", family.sweep);
                let reference = Place { levels: &[], condition: CLEAN };
                for sweep in [sweep(family, &Overrides::default()), sweep(family, &quick(family))] {
                    let axes: BTreeSet<&str> =
                        sweep.axes.iter().map(|a| a.path.as_str()).filter(|path| *path != "seed").collect();
                    assert_eq!(axes, family.reference.iter().map(|(path, _)| *path).collect(), "{}", family.sweep);
                    assert!(has(&sweep, family, &reference), "{}: its reference", family.sweep);
                    for condition in family.conditions {
                        assert!(
                            has(&sweep, family, &Place { levels: &[], condition }),
                            "{}: {condition}",
                            family.sweep
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn full_sweeps_have_eight_seeds_or_more_and_every_place_that_is_expected_of() {
        for laboratory in LABORATORIES {
            for family in laboratory.families {
                let sweep = sweep(family, &Overrides::default());
                let seeds = sweep.axes.iter().find(|axis| axis.path == "seed").expect("seeds").levels.len();
                assert!(seeds >= 8, "{} has {seeds} seeds", family.sweep);
            }
            for expectation in laboratory.expectations() {
                check(laboratory, expectation);
            }
        }
    }

    fn check(laboratory: &Laboratory, expectation: &Expectation) {
        let family = laboratory.family(expectation.family).unwrap_or_else(|| panic!("{}", expectation.name));
        let sweep = sweep(family, &Overrides::default());
        for place in [&expectation.at, &expectation.against].into_iter().filter(|place| **place != ZERO) {
            assert!(has(&sweep, family, place), "{}: no cell at {place:?}", expectation.name);
        }
        assert!(expectation.matters > 0.0, "{}", expectation.name);
        assert!(expectation.at != expectation.against, "{} compares a place with itself", expectation.name);
    }

    #[test]
    fn expectations_have_names_of_their_own_and_a_source() {
        for laboratory in LABORATORIES {
            let mut seen = BTreeSet::new();
            for e in laboratory.expectations() {
                assert!(seen.insert(e.name), "{} twice", e.name);
                assert!(e.source.starts_with('§') && e.says.ends_with('.'), "{}", e.name);
            }
        }
    }
}
