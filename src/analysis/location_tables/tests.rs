use std::collections::BTreeMap;

use polars_core::prelude::AnyValue;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::analysis::line::value_at;
use crate::numerics::stream::Streams;
use crate::spec::{Overrides, from_str};

/// Gates of a spec.
fn gates(text: &str) -> Vec<Gate> {
    let spec = format!("name = \"t\"\npreset = \"tiny\"\n{text}");
    from_str(&spec, "t.toml", &Overrides::default()).unwrap_or_else(|error| panic!("{error}")).gates
}

/// A cell: level along `image.noise`, level of `pairing.rate`, seed, status and rank.
type Cell = (f64, f64, i64, &'static str, Option<f64>);

fn table(cells: &[Cell]) -> DataFrame {
    let ids: Vec<String> = (0..cells.len()).map(|n| format!("{n:064x}")).collect();
    DataFrame::new_infer_height(vec![
        Series::new("cell_id".into(), ids).into(),
        Series::new("status".into(), cells.iter().map(|c| c.3).collect::<Vec<_>>()).into(),
        Series::new("param_image_noise".into(), cells.iter().map(|c| c.0).collect::<Vec<_>>()).into(),
        Series::new("param_pairing_rate".into(), cells.iter().map(|c| c.1).collect::<Vec<_>>()).into(),
        Series::new("param_seed".into(), cells.iter().map(|c| c.2).collect::<Vec<_>>()).into(),
        Series::new("metric_effective_rank_img".into(), cells.iter().map(|c| c.4).collect::<Vec<_>>()).into(),
    ])
    .expect("columns of one length")
}

fn levels(cells: &[Cell]) -> Vec<(String, Vec<Value>)> {
    let distinct = |get: &dyn Fn(&Cell) -> f64| {
        let mut levels: Vec<f64> = cells.iter().map(get).collect();
        levels.sort_by(f64::total_cmp);
        levels.dedup();
        levels.into_iter().map(Value::from).collect()
    };
    vec![
        ("image.noise".to_string(), distinct(&|cell| cell.0)),
        ("pairing.rate".to_string(), distinct(&|cell| cell.1)),
        ("seed".to_string(), Vec::new()),
    ]
}

fn located(gates: &[Gate], cells: &[Cell]) -> Located {
    let axes = levels(cells);
    locate(gates, &table(cells), &DataFrame::empty(), Grid { axes: &axes, zip: &[] }).expect("tables")
}

/// The rows that meet all conditions, as JSON.
fn rows(frame: &DataFrame, conditions: &[(&str, Value)]) -> Vec<BTreeMap<String, Value>> {
    let row = |row: usize| -> BTreeMap<String, Value> {
        frame.columns().iter().map(|c| (c.name().to_string(), value_at(c, row).expect("a row"))).collect()
    };
    let meets = |row: &BTreeMap<String, Value>| conditions.iter().all(|(name, value)| row[*name] == *value);
    (0..frame.height()).map(row).filter(meets).collect()
}

/// One seed per row of ranks, along noises 0 to 4, at one pairing rate; a rank below zero stands for a diverged cell,
/// NaN for a metric that is undefined, infinity for a cell that is not there.
fn line(ranks: &[[f64; 5]]) -> Vec<Cell> {
    let cells = ranks
        .iter()
        .zip(0i64..)
        .flat_map(|(ranks, seed)| ranks.iter().zip(0..).map(move |(r, x)| (f64::from(x), seed, *r)));
    cells
        .filter(|(_, _, rank)| *rank < f64::INFINITY || rank.is_nan())
        .map(|(x, seed, rank)| {
            let status = if rank < 0.0 { "diverged" } else { "ok" };
            (x, 0.0, seed, status, (rank >= 0.0).then_some(rank))
        })
        .collect()
}

const RANK: &str = "[[gate]]\nname = \"rank\"\nmetric = \"effective_rank_img\"\nmin = 8\n";
const NONE: f64 = f64::INFINITY;

#[test]
fn edges_worked_by_hand() {
    let cells = line(&[
        // Holds to 2, where the margin 1 meets -3: a quarter of the way to 3.
        [10.0, 9.0, 9.0, 5.0, 1.0],
        // On the bound is inside; the next cell diverged, so the edge is in the middle.
        [10.0, 8.0, -1.0, -1.0, -1.0],
        // Holds everywhere.
        [10.0, 10.0, 10.0, 10.0, 8.0],
        // An island of violation at 1: the widest run is from 2 on. Between 0 and 1, and 1 and 2, halfway each.
        [10.0, 6.0, 10.0, 10.0, 9.0],
        // Holds nowhere.
        [1.0, 1.0, 1.0, 1.0, 1.0],
        // Undefined at 1, and 2 is not of the plan: the edge is somewhere between 0 and 3; margins 2 and -1.
        [10.0, f64::NAN, NONE, 7.0, 7.0],
    ]);
    let found = located(&gates(RANK), &cells);
    let edge = |seed: i64, side: &str, main: bool| {
        let wanted =
            [("constraint", json!("rank")), ("seed", json!(seed)), ("side", json!(side)), ("main", json!(main))];
        let row = rows(&found.boundaries, &wanted).into_iter().next()?;
        Some(["state", "level", "bracket_low", "bracket_high", "interpolated"].map(|name| row[name].clone()))
    };
    let crossed = |level: f64, low: f64, high: f64, interpolated: bool| {
        Some([json!("crossed"), json!(level), json!(low), json!(high), json!(interpolated)])
    };
    let beyond = |low: Value, high: Value| Some([json!("beyond"), Value::Null, low, high, Value::Null]);
    assert_eq!(edge(0, "upper", true), crossed(2.25, 2.0, 3.0, true));
    assert_eq!(edge(0, "lower", true), beyond(Value::Null, json!(0.0)));
    assert_eq!(edge(1, "upper", true), crossed(1.5, 1.0, 2.0, false));
    assert_eq!(edge(2, "upper", true), beyond(json!(4.0), Value::Null));
    assert_eq!(edge(3, "upper", true), beyond(json!(4.0), Value::Null));
    assert_eq!(edge(3, "lower", true), crossed(1.5, 1.0, 2.0, true));
    assert_eq!(edge(3, "upper", false), crossed(0.5, 0.0, 1.0, true));
    assert_eq!(
        edge(4, "upper", true),
        Some([json!("never_holds"), Value::Null, Value::Null, Value::Null, Value::Null])
    );
    assert_eq!(edge(5, "upper", true), crossed(2.0, 0.0, 3.0, true));
    let across =
        rows(&found.boundaries, &[("constraint", json!("rank")), ("seed", Value::Null), ("side", json!("upper"))]);
    let counts = ["seeds", "crossed", "beyond", "never_holds", "unknown", "other_flips", "unknown_levels"];
    assert_eq!(counts.map(|name| across[0][name].as_u64().unwrap_or(99)), [6, 3, 2, 1, 0, 1, 1]);
    assert!(across[0]["level"].is_null(), "three seeds have no edge within the levels");
    assert!(across[0]["fit_level"].as_f64().is_some_and(|level| (1.0..4.0).contains(&level)), "{:?}", across[0]);
}

#[test]
fn margins_worked_by_hand() {
    let cells = line(&[
        [10.0, 9.0, 9.0, 5.0, 1.0],
        [10.0, 8.0, -1.0, -1.0, -1.0],
        [10.0, 10.0, 10.0, 10.0, 8.0],
        [10.0, 6.0, 10.0, 10.0, 9.0],
        [1.0, 1.0, 1.0, 9.0, 9.0],
        [10.0, f64::NAN, NONE, 7.0, 7.0],
    ]);
    let found = located(&gates(&format!("{RANK}share = 0.6\n")), &cells);
    let margin = |seed: Value, direction: &str| {
        let wanted = [("constraint", json!("rank")), ("seed", seed), ("direction", json!(direction))];
        let row = rows(&found.margins, &wanted).remove(0);
        ["margin", "next", "censored", "holds_again"].map(|name| row[name].clone())
    };
    let (none, no) = (Value::Null, json!(false));
    assert_eq!(margin(json!(0), "up"), [json!(2.0), json!(3.0), json!("no"), no.clone()]);
    assert_eq!(margin(json!(0), "down"), [none.clone(), json!(4.0), json!("always_violated"), json!(true)]);
    assert_eq!(margin(json!(1), "up"), [json!(1.0), json!(2.0), json!("no"), no.clone()]);
    assert_eq!(margin(json!(2), "up"), [json!(4.0), none.clone(), json!("never_reached"), no.clone()]);
    assert_eq!(margin(json!(3), "up"), [json!(0.0), json!(1.0), json!("no"), json!(true)]);
    assert_eq!(margin(json!(3), "down"), [json!(2.0), json!(1.0), json!("no"), json!(true)]);
    assert_eq!(margin(json!(4), "up"), [none.clone(), json!(0.0), json!("always_violated"), json!(true)]);
    assert_eq!(margin(json!(5), "up"), [json!(0.0), json!(1.0), json!("missing_evidence"), no.clone()]);
    // Of six seeds four must hold: five do at 0; at 1 three do, one is undefined and two violate; at 2 there are five
    // seeds in the plan, and three of them hold.
    assert_eq!(margin(none.clone(), "up"), [json!(0.0), json!(1.0), json!("missing_evidence"), json!(true)]);
    let across =
        rows(&found.margins, &[("constraint", json!("rank")), ("seed", none), ("direction", json!("up"))]).remove(0);
    let names = ["seeds", "never_reached", "always_violated", "missing_evidence"];
    assert_eq!(names.map(|name| across[name].as_u64().unwrap_or(99)), [6, 1, 1, 1]);
    // None, 0, 0 or more, 1, 2, and one beyond the last: the lower of the two in the middle is 0 at least and 1 at most.
    let levels = |row: &BTreeMap<String, Value>| ["least", "median", "greatest"].map(|name| row[name].clone());
    assert_eq!(levels(&across), [Value::Null, Value::Null, Value::Null]);
    // Downwards from 4 to 1, to 3 and to 2.
    let cells = line(&[[1.0, 9.0, 9.0, 9.0, 9.0], [1.0, 1.0, 1.0, 9.0, 9.0], [1.0, 1.0, 9.0, 9.0, 9.0]]);
    let down = [("constraint", json!("rank")), ("seed", Value::Null), ("direction", json!("down"))];
    let found = located(&gates(RANK), &cells);
    assert_eq!(levels(&rows(&found.margins, &down).remove(0)), [json!(1.0), json!(2.0), json!(3.0)]);
}

#[test]
fn all_gates_together_break_where_the_first_of_them_does() {
    let hubs = "[[gate]]\nname = \"not-many\"\nmetric = \"effective_rank_img\"\nmax = 11\nmin_seeds = 1\n";
    // Margins to 8: 2, -2; to 11: 1, -... only the first breaks upwards; from 12 down to 10 the second does.
    let cells = line(&[[12.0, 10.0, 10.0, 6.0, 6.0]]);
    let found = located(&gates(&format!("{RANK}min_seeds = 1\n{hubs}")), &cells);
    let level = |constraint: &str, side: &str| {
        let wanted = [("constraint", json!(constraint)), ("seed", json!(0)), ("side", json!(side))];
        rows(&found.boundaries, &wanted).remove(0)["level"].clone()
    };
    assert_eq!((level("rank", "upper"), level("not-many", "lower")), (json!(2.5), json!(0.5)));
    assert_eq!((level("all", "upper"), level("all", "lower")), (json!(2.5), json!(0.5)));
    let constraints: Vec<Value> = rows(&found.boundaries, &[]).iter().map(|row| row["constraint"].clone()).collect();
    assert!(["all", "rank", "not-many", "lost"].iter().all(|name| constraints.contains(&json!(name))));
}

#[test]
fn a_scope_ends_where_nothing_is_judged() {
    let scoped =
        format!("[axes]\nimage.noise = [0.0, 1.0, 2.0, 3.0, 4.0]\n{RANK}where = {{ image.noise = {{ max = 2.0 }} }}\n");
    let cells = line(&[[10.0, 10.0, 10.0, 5.0, 1.0]; 3]);
    let found = located(&gates(&scoped), &cells);
    let margin =
        rows(&found.margins, &[("constraint", json!("rank")), ("seed", Value::Null), ("direction", json!("up"))]);
    assert_eq!((&margin[0]["margin"], &margin[0]["censored"]), (&json!(2.0), &json!("never_reached")));
}

#[test]
fn rows_in_any_order_and_levels_off_the_grid() {
    let mut cells: Vec<Cell> = (0..2)
        .flat_map(|rate| {
            line(&[[10.0, 9.0, 9.0, 5.0, 1.0], [9.0, 9.0, 7.0, 5.0, 1.0]])
                .into_iter()
                .map(move |c| (c.0, f64::from(rate), c.2, c.3, c.4))
        })
        .collect();
    // Refinement of the noise at one rate only.
    cells.push((2.5, 0.0, 0, "ok", Some(7.0)));
    cells.push((2.5, 0.0, 1, "ok", Some(6.0)));
    let mut axes = levels(&cells);
    axes[0].1.retain(|level| *level != json!(2.5));
    let gates = gates(RANK);
    let locate = |cells: &[Cell]| {
        locate(&gates, &table(cells), &DataFrame::empty(), Grid { axes: &axes, zip: &[] }).expect("tables")
    };
    let found = locate(&cells);
    let refined = rows(
        &found.boundaries,
        &[
            ("constraint", json!("rank")),
            ("axis", json!("image.noise")),
            ("seed", json!(0)),
            ("param_pairing_rate", json!(0.0)),
            ("side", json!("upper")),
        ],
    );
    assert_eq!(refined[0]["bracket_high"], json!(2.5));
    let across_rates = rows(&found.boundaries, &[("axis", json!("pairing.rate")), ("param_image_noise", json!(2.5))]);
    assert!(across_rates.is_empty(), "no line through a level that only one rate has");
    // A line with every level of the grid is one, though its own level is beside the grid.
    let mut whole = cells.clone();
    whole.extend(line(&[[10.0, 9.0, 9.0, 5.0, 1.0]]).into_iter().map(|c| (c.0, 0.5, c.2, c.3, c.4)));
    let included = [("axis", json!("image.noise")), ("param_pairing_rate", json!(0.5))];
    assert!(!rows(&locate(&whole).boundaries, &included).is_empty());
    let mut turned = cells.clone();
    turned.reverse();
    let again = locate(&turned);
    assert!(found.margins.equals_missing(&again.margins) && found.boundaries.equals_missing(&again.boundaries));
    assert_eq!(
        found.margins.column("param_image_noise").expect("there").dtype(),
        &polars_core::prelude::DataType::Float64
    );
    assert_eq!(locate(&[]).margins.height(), 0);
    assert_ne!(AnyValue::Null, found.margins.column("axis").expect("there").get(0).expect("a row"));
}

#[test]
fn cells_of_the_plan_that_are_not_finished_are_unknown() {
    let text =
        format!("name = \"t\"\npreset = \"tiny\"\n[axes]\nseed = [0, 1, 2]\nimage.noise = [0.0, 1.0, 2.0]\n{RANK}");
    let sweep = from_str(&text, "t.toml", &Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
    // Two seeds at the first level, one at the second; nothing at the third, and nothing of the third seed.
    let done = [(0.0, 0, 10.0), (0.0, 1, 10.0), (1.0, 0, 9.0)];
    let id = |noise: f64, seed: u64| {
        let cell = sweep.cells.iter().find(|cell| cell.config.image.noise == noise && cell.config.seed == seed);
        cell.expect("a cell").id.clone()
    };
    let cells = DataFrame::new_infer_height(vec![
        Series::new("cell_id".into(), done.map(|(noise, seed, _)| id(noise, seed)).to_vec()).into(),
        Series::new("status".into(), vec!["ok"; 3]).into(),
        Series::new("param_image_noise".into(), done.map(|d| d.0).to_vec()).into(),
        Series::new("param_seed".into(), done.map(|d| d.1 as i64).to_vec()).into(),
        Series::new("metric_effective_rank_img".into(), done.map(|d| d.2).to_vec()).into(),
    ])
    .expect("columns of one length");
    let cells = with_unfinished(cells, &sweep).expect("the same columns");
    assert_eq!(cells.height(), 9);
    let (axes, zip) = grid_of(&sweep);
    let found = locate(&sweep.gates, &cells, &DataFrame::empty(), Grid { axes: &axes, zip: &zip }).expect("tables");
    let margin =
        rows(&found.margins, &[("constraint", json!("rank")), ("seed", Value::Null), ("direction", json!("up"))]);
    assert_eq!((&margin[0]["margin"], &margin[0]["censored"]), (&Value::Null, &json!("missing_evidence")));
    assert_eq!((&margin[0]["seeds"], &margin[0]["missing_evidence"]), (&json!(3), &json!(3)));
    let edges =
        rows(&found.boundaries, &[("constraint", json!("rank")), ("seed", Value::Null), ("side", json!("upper"))]);
    assert_eq!((&edges[0]["unknown"], &edges[0]["unknown_levels"]), (&json!(1), &json!(6)));
}

#[test]
fn a_zipped_axis_that_does_not_tell_its_group_has_no_lines() {
    // Noise 0, 1, 0 beside rates 0, 0.1, 0.2.
    let cells: Vec<Cell> = (0..3)
        .flat_map(|seed| {
            [(0.0, 0.0), (1.0, 0.1), (0.0, 0.2)].map(|(x, rate)| (x, rate, seed, "ok", Some(9.0 - 10.0 * rate)))
        })
        .collect();
    let axes = levels(&cells);
    let zip = [vec!["image.noise".to_string(), "pairing.rate".to_string()]];
    let found =
        locate(&gates(RANK), &table(&cells), &DataFrame::empty(), Grid { axes: &axes, zip: &zip }).expect("tables");
    assert!(rows(&found.boundaries, &[("axis", json!("image.noise"))]).is_empty());
    let along = [
        ("constraint", json!("rank")),
        ("axis", json!("pairing.rate")),
        ("seed", Value::Null),
        ("side", json!("upper")),
    ];
    assert_eq!(rows(&found.boundaries, &along)[0]["crossed"], json!(3));
}

/// Experiments with a planted boundary, one per level of `pairing.rate`: at 0.5 on average over 16 seeds, whose own differ
/// with a standard deviation of 0.1. A rank is 8 at a seed's own boundary and changes with `rank_at` the distance to it.
fn planted(experiments: u32, steps: u32, rank_at: impl Fn(f64) -> f64) -> Located {
    // Noise of a rank value: on a slope of 40 it moves an edge by 0.005.
    let noise = 0.2;
    let streams = Streams::new(u64::from(steps), "planted boundary");
    let mut cells = Vec::new();
    for experiment in 0..experiments {
        let mut stream = streams.item(u64::from(experiment));
        for seed in 0..16 {
            let own = TRUTH + 0.1 * stream.normal();
            for step in 0..=steps {
                let x = f64::from(step) / f64::from(steps);
                let rank = 8.0 + rank_at(own - x) + noise * stream.normal();
                let status = if x > own { "collapsed" } else { "ok" };
                cells.push((x, f64::from(experiment), seed, status, Some(rank.max(0.0))));
            }
        }
    }
    located(&gates(RANK), &cells)
}

const TRUTH: f64 = 0.5;

/// The share of the experiments with an interval whose interval holds the truth; half of them must have one.
fn covered(found: &Located, constraint: &str, [low, high]: [&str; 2]) -> f64 {
    let wanted = [
        ("constraint", json!(constraint)),
        ("axis", json!("image.noise")),
        ("side", json!("upper")),
        ("seed", Value::Null),
    ];
    let mut rows = rows(&found.boundaries, &wanted);
    let many = rows.len();
    rows.retain(|row| !row[low].is_null() && !row[high].is_null());
    assert!(2 * rows.len() > many, "{} of {many}", rows.len());
    let hits = rows.iter().filter(|row| {
        row[low].as_f64().is_some_and(|low| low <= TRUTH) && row[high].as_f64().is_some_and(|high| high >= TRUTH)
    });
    hits.count() as f64 / rows.len() as f64
}

const MEAN: [&str; 2] = ["interval_low", "interval_high"];
const FIT: [&str; 2] = ["fit_low", "fit_high"];

#[test]
fn intervals_hold_a_planted_boundary_at_their_nominal_rate() {
    // A thousand experiments: a rate of 0.95 has a standard error of 0.007.
    for steps in [20, 10] {
        let found = planted(1000, steps, |inside| 40.0 * inside);
        let methods = [
            ("mean, interpolated", covered(&found, "rank", MEAN)),
            ("mean, in the middle", covered(&found, "lost", MEAN)),
            ("fit, of margins", covered(&found, "rank", FIT)),
            ("fit, of losses", covered(&found, "lost", FIT)),
        ];
        println!("{steps} steps: {methods:?}");
        for (method, rate) in methods {
            // Of levels that are as far apart as seeds are, the interval of the mean is what they leave open, which is
            // wider than chance alone would make it.
            let most = if method.starts_with("mean") && steps == 10 { 1.0 } else { 0.98 };
            assert!((0.92..=most).contains(&rate), "{method}, {steps} steps: {rate}");
        }
    }
}

#[test]
fn intervals_hold_a_boundary_that_interpolation_puts_elsewhere() {
    // Beyond the boundary the rank falls a hundred times as steeply: between levels 0.2 apart, interpolation finds the
    // edge near the level below.
    let found = planted(300, 5, |inside| if inside > 0.0 { 4.0 * inside } else { 400.0 * inside });
    for method in [MEAN, FIT] {
        let rate = covered(&found, "rank", method);
        // Three standard errors of 0.0126 below the nominal rate.
        assert!(rate >= 0.912, "{method:?}: {rate}");
    }
}

/// Distinct levels, ascending: of any magnitude, neighbours as numbers, the least numbers there are, or thousands.
fn any_levels() -> impl Strategy<Value = Vec<f64>> {
    let bits = |low: u64, high: u64| prop::collection::vec(low..high, 2..12);
    let of = |bits: Vec<u64>| bits.into_iter().map(f64::from_bits).collect::<Vec<f64>>();
    let one = 1.0f64.to_bits();
    let levels = prop_oneof![
        bits(0, f64::MAX.to_bits()).prop_map(of),
        bits(0, 40).prop_map(of),
        bits(one, one + 40).prop_map(of),
        prop::collection::vec(-1e9f64..1e9, 2..12),
        Just(vec![0.0, f64::from_bits(1)]),
        Just((0..3000).map(|n| f64::from(n) / 3000.0).collect()),
    ];
    let distinct = |mut levels: Vec<f64>| {
        levels.sort_by(f64::total_cmp);
        levels.dedup();
        levels
    };
    levels.prop_map(distinct).prop_filter("two levels", |levels| levels.len() > 1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_distinct_levels_are_located(levels in any_levels(), outcomes: u64, seeds in 1i64..6) {
        let outcome = |at: usize, seed: i64| {
            let bits = outcomes.rotate_left((7 * at as u32 + 13 * seed as u32) % 64);
            ((bits % 16) as f64, bits % 5 != 0)
        };
        let cells: Vec<Cell> = (0..seeds)
            .flat_map(|seed| levels.iter().enumerate().map(move |(at, level)| (seed, at, *level)))
            .map(|(seed, at, level)| {
                let (rank, well) = outcome(at, seed);
                (level, 0.0, seed, if well { "ok" } else { "diverged" }, well.then_some(rank))
            })
            .collect();
        let found = located(&gates(RANK), &cells);
        for frame in [&found.margins, &found.boundaries] {
            for column in frame.columns().iter().filter_map(|column| column.f64().ok()) {
                prop_assert!(column.iter().flatten().all(f64::is_finite), "{}", column.name());
            }
        }
        let column = |name: &str| found.boundaries.column(name).and_then(|column| column.f64()).expect("numbers");
        for ((low, at), high) in column("bracket_low").iter().zip(column("level").iter()).zip(column("bracket_high").iter()) {
            let (Some(low), Some(at), Some(high)) = (low, at, high) else { continue };
            // Of means that are summed in two orders.
            let slack = 1e-12 * (low.abs() + high.abs());
            prop_assert!(low - slack <= at && at <= high + slack, "{} {} {}", low, at, high);
        }
    }
}
