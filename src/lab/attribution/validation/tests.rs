use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::lab::attribution::INDICATORS;
use crate::lab::{Family, Quantity, laboratory};

/// A cell: its levels, its seed, the values of its indicators.
type Made = (Vec<Value>, i64, Vec<Option<f64>>);

/// The level of an axis at a case, as a number or a name.
fn level(case: &Case, family: &Family, path: &str) -> Value {
    let of = |levels: &[(&str, &str)]| levels.iter().find(|(p, _)| *p == path).map(|(_, level)| (*level).to_string());
    let text = of(case.levels).or_else(|| of(family.reference)).expect("of the family");
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

/// Runs of all families with the cells of every case at four seeds. The n-th mechanism moves the indicators whose number is
/// n modulo 5 by ten units, but for `odd`, a seed whose cells of collapse look like those of dominance.
fn runs(odd: Option<i64>) -> BTreeMap<&'static str, Observed> {
    let lab = laboratory("failures").expect("there is one");
    let quantities: BTreeSet<Quantity> = INDICATORS.iter().map(|indicator| indicator.quantity).collect();
    let quantities: Vec<Quantity> = quantities.into_iter().collect();
    let unit = |quantity: &Quantity| INDICATORS.iter().find(|i| i.quantity == *quantity).map_or(1.0, |i| i.unit);
    let mut cells: BTreeMap<&str, Vec<Made>> = BTreeMap::new();
    for case in CASES {
        let family = lab.family(case.family).expect("a family");
        let levels: Vec<Value> = family.reference.iter().map(|(path, _)| level(case, family, path)).collect();
        for seed in 0..4 {
            let mechanism = match case.mechanism {
                Mechanism::Collapse if odd == Some(seed) => Mechanism::Dominance,
                mechanism => mechanism,
            };
            let moved = |at: usize| mechanism != Mechanism::Healthy && at % 5 == mechanism as usize;
            let value = |(at, quantity): (usize, &Quantity)| {
                let far = if moved(at) { 10.0 } else { 0.0 };
                Some(unit(quantity) * (far + 0.01 * seed as f64))
            };
            let values = quantities.iter().enumerate().map(value).collect();
            cells.entry(case.family).or_default().push((levels.clone(), seed, values));
        }
    }
    let observed = cells.into_iter().map(|(name, cells)| {
        let family = lab.family(name).expect("a family");
        let axes = family.reference.iter().map(|(path, _)| (*path).to_string()).collect();
        (family.sweep, Observed::of(axes, quantities.clone(), cells))
    });
    observed.collect()
}

fn validated(odd: Option<i64>) -> (Vec<Model>, Validation) {
    calibrate_and_validate(laboratory("failures").expect("there is one"), &runs(odd)).expect("calibrates")
}

#[test]
fn mechanisms_that_leave_marks_of_their_own_are_told_by_the_panel() {
    let (_, found) = validated(None);
    assert_eq!((&found.calibration_seeds, &found.validation_seeds), (&vec![2, 3], &vec![0, 1]));
    assert_eq!((found.absent, found.cases.len()), (0, CASES.len()));
    let panel = &found.views[1];
    assert_eq!(panel.view, View::Panel);
    let cells: u64 = panel.roles.iter().map(|role| role.cells).sum();
    assert_eq!(cells, 2 * CASES.len() as u64);
    assert!(panel.roles.iter().all(|role| role.right == role.cells && role.insufficient == 0), "{panel:?}");
    for (row, mechanism) in panel.confusion.iter().zip(Mechanism::ALL) {
        let own = 2 * CASES.iter().filter(|case| case.mechanism == mechanism).count() as u64;
        assert_eq!((row[mechanism as usize], row.iter().sum::<u64>()), (own, own), "{mechanism:?}");
    }
    assert_eq!(
        panel.balanced_accuracy.map(|share| (share.mean, share.low)),
        Some((1.0, None)),
        "two seeds: no interval"
    );
}

#[test]
fn a_seed_that_is_judged_wrongly_lowers_the_recall_of_its_mechanism_alone() {
    let (_, found) = validated(Some(0));
    let panel = &found.views[1];
    let collapse = &panel.confusion[Mechanism::Collapse as usize];
    let own = CASES.iter().filter(|case| case.mechanism == Mechanism::Collapse).count() as u64;
    assert_eq!((collapse[Mechanism::Dominance as usize], collapse[Mechanism::Collapse as usize]), (own, own));
    // Seed 0 has four of five mechanisms right, seed 1 all.
    assert!((panel.balanced_accuracy.expect("seeds").mean - 0.9).abs() < 1e-12);
}

#[test]
fn what_is_validated_on_does_not_reach_the_model() {
    let (models, _) = validated(None);
    assert_eq!(validated(Some(1)).0, models, "a validation seed");
    assert_ne!(validated(Some(3)).0, models, "a calibration seed");
}
