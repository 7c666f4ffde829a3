use polars_core::prelude::{DataFrame, NamedFrom, Series};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::analysis::line::{Grid, Places};

/// A run over `image.noise` and `pairing.rate` whose cells are lost where an oracle says so.
struct Run<F> {
    lost: F,
    seeds: i64,
    /// Noise and rate.
    tried: Vec<(f64, f64)>,
    /// Noise and seed of what is not there yet.
    lacking: Vec<(f64, i64)>,
}

impl<F: Fn(f64, f64, i64) -> bool> Run<F> {
    fn known(&self) -> Vec<Known> {
        let cells: Vec<(f64, f64, i64)> = self
            .tried
            .iter()
            .flat_map(|(x, rate)| (0..self.seeds).map(move |seed| (*x, *rate, seed)))
            .filter(|(x, _, seed)| !self.lacking.contains(&(*x, *seed)))
            .collect();
        let status = |(x, rate, seed): &(f64, f64, i64)| if (self.lost)(*x, *rate, *seed) { "collapsed" } else { "ok" };
        let table = DataFrame::new_infer_height(vec![
            Series::new("status".into(), cells.iter().map(status).collect::<Vec<_>>()).into(),
            Series::new("param_image_noise".into(), cells.iter().map(|c| c.0).collect::<Vec<_>>()).into(),
            Series::new("param_pairing_rate".into(), cells.iter().map(|c| c.1).collect::<Vec<_>>()).into(),
            Series::new("param_seed".into(), cells.iter().map(|c| c.2).collect::<Vec<_>>()).into(),
        ])
        .expect("columns of one length");
        let rates: Vec<Value> = self.tried.iter().map(|(_, rate)| json!(rate)).collect();
        let axes = [("image.noise".to_string(), Vec::new()), ("pairing.rate".to_string(), rates)];
        let places = Places::new(&table, Grid { axes: &axes, zip: &[] }).expect("places");
        let constraints = Constraints::new(&[], &table, &DataFrame::empty(), &places).expect("a status");
        let lost = constraints.find("lost").expect("implied");
        known(&places.lines(0), &constraints, lost)
    }

    /// Refines, and returns the cells added.
    fn refine(&mut self, rules: Rules, budget: u64) -> u64 {
        let mut added = 0;
        loop {
            let known = self.known();
            let mut next = wanted(&known, rules);
            next.retain(|wanted| {
                added += wanted.cells;
                let fits = added <= budget;
                added -= if fits { 0 } else { wanted.cells };
                fits
            });
            if next.is_empty() {
                return added;
            }
            let rate = |line: usize| known[line].levels["pairing.rate"].as_f64().expect("a rate");
            self.tried.extend(next.iter().map(|wanted| (wanted.level, rate(wanted.line))));
        }
    }
}

/// Seeds are lost above 0.8 and a little, and from 0.31 to 0.36.
fn lost(x: f64, _: f64, seed: i64) -> bool {
    x > 0.8 + 0.01 * seed as f64 || (0.31..0.36).contains(&x)
}

const FINE: Rules = Rules { tolerance: 0.005, floor: None };

fn inside(found: &[[f64; 2]], level: f64) -> bool {
    found.iter().any(|[low, high]| *low <= level && level <= *high)
}

#[test]
fn a_floor_finds_an_island_that_bisection_misses() {
    let mut plain = Run { lost, seeds: 4, tried: vec![(0.0, 0.0), (1.0, 0.0)], lacking: Vec::new() };
    plain.refine(FINE, u64::MAX);
    let missed = report(&plain.known(), FINE);
    assert!((0..4).all(|seed| inside(&missed.lines[0].resolved, 0.8 + 0.01 * f64::from(seed))));
    assert!(!inside(&missed.lines[0].resolved, 0.31) && !inside(&missed.lines[0].resolved, 0.36));
    assert_eq!(missed.lines[0].widest_unexplored, Some([0.0, 0.5]), "and it says where it has not looked");

    let mut floored = Run { lost, seeds: 4, tried: vec![(0.0, 0.0), (1.0, 0.0)], lacking: Vec::new() };
    let rules = Rules { floor: Some(0.05), ..FINE };
    floored.refine(rules, u64::MAX);
    let found = report(&floored.known(), rules);
    assert!([0.31, 0.36, 0.8, 0.81, 0.82, 0.83].into_iter().all(|level| inside(&found.lines[0].resolved, level)));
    assert!(found.lines[0].widest_unexplored.is_some_and(|[low, high]| high - low <= 0.05));
    assert_eq!((found.open, found.wanted, found.lines[0].tried * 4), (0, 0, found.cells));
    assert_eq!(found.uniform_cells, 4 * 201);
    assert!(3 * found.cells < found.uniform_cells, "{} cells", found.cells);
    for line in &found.lines {
        assert!(line.resolved.iter().all(|[low, high]| high - low <= 0.005 * (1.0 + SLACK)), "{line:?}");
    }
}

#[test]
fn a_budget_is_kept_and_what_it_leaves_is_gone_on_with() {
    let start = || (0..=4).flat_map(|x| [0.0, 0.5].map(|rate| (f64::from(x) / 4.0, rate))).collect::<Vec<_>>();
    let mut whole = Run { lost, seeds: 3, tried: start(), lacking: Vec::new() };
    let needed = whole.refine(FINE, u64::MAX);
    let mut first = Run { lost, seeds: 3, tried: start(), lacking: Vec::new() };
    assert_eq!(first.refine(FINE, 7), 6, "two levels of three seeds; a third does not fit");
    assert!(report(&first.known(), FINE).open > 0);
    assert_eq!(first.refine(FINE, u64::MAX), needed - 6, "nothing is tried twice");
    let order = |run: &Run<_>| {
        let mut tried = run.tried.clone();
        tried.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
        tried
    };
    assert_eq!(order(&first), order(&whole));
    assert_eq!(whole.refine(FINE, u64::MAX), 0, "it has come to its end");
}

#[test]
fn the_floor_comes_first_and_then_the_widest_gap_with_a_flip() {
    let run = Run { lost, seeds: 1, tried: vec![(0.0, 0.0), (0.6, 0.0), (0.7, 0.0), (1.0, 0.0)], lacking: Vec::new() };
    let next = wanted(&run.known(), Rules { tolerance: 0.01, floor: Some(0.2) });
    assert_eq!(next.iter().map(|wanted| wanted.level).collect::<Vec<_>>(), [0.3, 0.85]);
    let next = wanted(&run.known(), Rules { tolerance: 0.01, floor: Some(0.4) });
    assert_eq!(next.iter().map(|wanted| wanted.level).collect::<Vec<_>>(), [0.3, 0.85]);
    let next = wanted(&run.known(), Rules { tolerance: 0.31, floor: None });
    assert!(next.is_empty(), "the gap with the flip is narrow enough: {next:?}");
}

#[test]
fn seeds_that_came_later_get_the_levels_of_the_others() {
    let mut run = Run { lost, seeds: 4, tried: vec![(0.0, 0.0), (0.6, 0.0), (1.0, 0.0)], lacking: Vec::new() };
    run.lacking = vec![(0.6, 1), (0.6, 3)];
    let next = wanted(&run.known(), Rules { tolerance: 1.0, floor: None });
    assert_eq!(next, [Wanted { line: 0, level: 0.6, cells: 2 }]);
}

#[test]
fn nothing_is_tried_where_no_gate_judges_it() {
    let text = "name = \"t\"\npreset = \"tiny\"\n[axes]\nseed = [0]\nimage.noise = [0.0, 1.0]\n\
                [[gate]]\nmetric = \"lost\"\nmax = 0\nwhere = { image.noise = [0.0, 1.0] }\n";
    let sweep = crate::spec::from_str(text, "t.toml", &crate::spec::Overrides::default()).expect("a valid spec");
    let table = DataFrame::new_infer_height(vec![
        Series::new("status".into(), ["ok", "collapsed"]).into(),
        Series::new("param_image_noise".into(), [0.0, 1.0]).into(),
        Series::new("param_seed".into(), [0i64, 0]).into(),
    ])
    .expect("columns of one length");
    let axes = [("image.noise".to_string(), vec![json!(0.0), json!(1.0)])];
    let places = Places::new(&table, Grid { axes: &axes, zip: &[] }).expect("places");
    let constraints = Constraints::new(&sweep.gates, &table, &DataFrame::empty(), &places).expect("a status");
    let known = known(&places.lines(0), &constraints, &constraints.all[0]);
    let report = report(&known, Rules { tolerance: 0.1, floor: None });
    assert_eq!((report.open, report.undecided, report.wanted), (0, 1, 0));
}

#[test]
fn whole_numbers_have_neighbours() {
    let batches = |levels: &[i64]| {
        let status: Vec<&str> = levels.iter().map(|batch| if *batch > 21 { "diverged" } else { "ok" }).collect();
        let table = DataFrame::new_infer_height(vec![
            Series::new("status".into(), status).into(),
            Series::new("param_train_batch_size".into(), levels).into(),
            Series::new("param_seed".into(), vec![0i64; levels.len()]).into(),
        ])
        .expect("columns of one length");
        let axes = [("train.batch_size".to_string(), Vec::new())];
        let places = Places::new(&table, Grid { axes: &axes, zip: &[] }).expect("places");
        let constraints = Constraints::new(&[], &table, &DataFrame::empty(), &places).expect("a status");
        known(&places.lines(0), &constraints, constraints.find("lost").expect("implied"))
    };
    let rules = Rules { tolerance: 1e-9, floor: None };
    let mut levels = vec![16, 32];
    loop {
        let next = wanted(&batches(&levels), rules);
        if next.is_empty() {
            break;
        }
        levels.extend(next.iter().map(|wanted| wanted.level as i64));
    }
    let found = report(&batches(&levels), rules);
    assert_eq!((found.lines[0].resolved.as_slice(), found.open), ([[21.0, 22.0]].as_slice(), 0));
    assert_eq!(found.uniform_cells, 17);
    // The middle on a log scale: the square root of 16 times 32 is 22.6.
    assert_eq!(levels[2], 23);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_two_levels_are_refined_until_nothing_lies_between(low: u64, away in 1u64..1 << 20, tolerance in 1e-12f64..1.0) {
        // Neighbours as numbers among them, and the least numbers there are.
        let low = f64::from_bits(low % (f64::MAX.to_bits() / 2));
        let (tried, rules) = (vec![(low, 0.0), (f64::from_bits(low.to_bits() + away), 0.0)], Rules { tolerance, floor: None });
        let above = f64::from_bits(low.to_bits() + away / 2);
        let mut run = Run { lost: |x: f64, _: f64, _: i64| x > above, seeds: 2, tried, lacking: Vec::new() };
        let added = run.refine(rules, 200);
        let found = report(&run.known(), rules);
        prop_assert!(added <= 200);
        prop_assert_eq!(found.resolved + found.open + found.undecided, 1);
    }
}
