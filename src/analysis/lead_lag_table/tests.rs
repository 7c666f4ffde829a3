use serde_json::{Value, json};

use super::*;
use crate::analysis::line::value_at;
use crate::numerics::interval::wilson;
use crate::numerics::stream::Streams;
use crate::spec::{Overrides, from_str};

/// A cell: level of the axis, level of `pairing.rate`, seed, status, both ranks and crossings.
type Cell = (f64, f64, i64, &'static str, [Option<f64>; 2], Option<&'static str>);

const EVERY_STEPS: i64 = 50;

fn table(axis: &str, cells: &[Cell]) -> DataFrame {
    let ids: Vec<String> = (0..cells.len()).map(|n| format!("{n:064x}")).collect();
    let ranks = |of: usize| cells.iter().map(|c| c.4[of]).collect::<Vec<_>>();
    DataFrame::new_infer_height(vec![
        Series::new("cell_id".into(), ids).into(),
        Series::new("status".into(), cells.iter().map(|c| c.3).collect::<Vec<_>>()).into(),
        Series::new("crossings".into(), cells.iter().map(|c| c.5).collect::<Vec<_>>()).into(),
        Series::new(param_column(axis).into(), cells.iter().map(|c| c.0).collect::<Vec<_>>()).into(),
        Series::new("param_pairing_rate".into(), cells.iter().map(|c| c.1).collect::<Vec<_>>()).into(),
        Series::new("param_seed".into(), cells.iter().map(|c| c.2).collect::<Vec<_>>()).into(),
        Series::new("param_stop_every".into(), vec![EVERY_STEPS; cells.len()]).into(),
        Series::new("metric_effective_rank_img".into(), ranks(0)).into(),
        Series::new("metric_effective_rank_txt".into(), ranks(1)).into(),
    ])
    .expect("columns of one length")
}

/// The rows of the table as JSON; `gated` by a floor of 8 on either rank.
fn found(axis: &str, cells: &[Cell], gated: bool) -> PolarsResult<Vec<serde_json::Map<String, Value>>> {
    let gate = |name: &str| format!("[[gate]]\nname = \"{name}\"\nmetric = \"effective_rank_{name}\"\nmin = 8\n");
    let spec = format!("name = \"t\"\npreset = \"tiny\"\n{}{}", gate("img"), gate("txt"));
    let gates = from_str(&spec, "t.toml", &Overrides::default()).unwrap_or_else(|error| panic!("{error}")).gates;
    let levels = |get: fn(&Cell) -> f64| {
        let mut levels: Vec<f64> = cells.iter().map(get).collect();
        levels.sort_by(f64::total_cmp);
        levels.dedup();
        levels.into_iter().map(Value::from).collect::<Vec<_>>()
    };
    let axes = [(axis.to_string(), levels(|c| c.0)), ("pairing.rate".to_string(), levels(|c| c.1))];
    let gates = if gated { &gates[..] } else { &[] };
    let frame = lead_lag(gates, &table(axis, cells), &DataFrame::empty(), Grid { axes: &axes, zip: &[] })?;
    let row = |row: usize| frame.columns().iter().map(|c| (c.name().to_string(), value_at(c, row).unwrap())).collect();
    Ok((0..frame.height()).map(row).collect())
}

fn of(row: &serde_json::Map<String, Value>, columns: &[&str]) -> Value {
    columns.iter().map(|column| row[*column].clone()).collect()
}

const COUNTS: [&str; 9] = [
    "cells",
    "both",
    "first_leads",
    "second_leads",
    "ties",
    "neither",
    "unknown",
    "first_leads_from_start",
    "second_leads_from_start",
];

#[test]
fn limits_in_training_worked_by_hand() {
    let cell =
        |noise: f64, seed: i64, status: &'static str, crossings| (noise, 0.0, seed, status, [None; 2], crossings);
    let cells = [
        cell(0.0, 0, "ok", Some(r#"{"a":50,"b":100}"#)),
        cell(0.0, 1, "ok", Some(r#"{"a":150,"b":100}"#)),
        cell(0.0, 2, "collapsed", Some(r#"{"a":100,"b":100}"#)),
        cell(0.0, 3, "diverged", Some(r#"{"a":200}"#)),
        cell(0.0, 4, "ok", Some(r#"{"b":300}"#)),
        cell(0.0, 5, "ok", None),
        cell(0.0, 6, "failed", None),
        // Nothing breaks here.
        cell(1.0, 0, "ok", None),
        cell(1.0, 1, "failed", None),
        cell(2.0, 0, "ok", Some(r#"{"c":50}"#)),
    ];
    let rows = found("image.noise", &cells, false).expect("a table");
    let training = |first: &str, second: &str, noise: Value| {
        let names = json!(["training", null, null, first, second, noise, "steps"]);
        let columns = ["domain", "axis", "direction", "first", "second", "param_image_noise", "unit"];
        rows.iter().find(|row| of(row, &columns) == names)
    };
    let here = training("a", "b", json!(0.0)).expect("a row");
    assert_eq!(of(here, &COUNTS), json!([7, 3, 2, 2, 1, 1, 1, 1, 0]));
    // Leads 50, -50 and 0.
    let (low, high) = wilson(2, 4).expect("trials");
    let shares = ["share_first_leads", "share_low", "share_high", "median_lead", "median_low"];
    assert_eq!(of(here, &shares), json!([0.5, low, high, 0.0, null]));
    let pooled = training("a", "b", Value::Null).expect("a row");
    assert_eq!(of(pooled, &COUNTS), json!([10, 3, 2, 2, 1, 3, 2, 1, 0]));
    assert_eq!(of(pooled, &shares), json!([0.5, null, null, 0.0, null]));
    assert_eq!(of(training("b", "c", json!(2.0)).expect("a row"), &COUNTS), json!([1, 0, 0, 1, 0, 0, 0, 0, 1]));
    assert!(training("a", "b", json!(1.0)).is_none() && training("a", "b", json!(2.0)).is_none());
    // Three pooled rows; at noise 0 three pairs, of which c breaks nowhere there; at noise 2 those with c. Along axes
    // there is but one constraint, that none is lost.
    assert_eq!(rows.iter().filter(|row| row["domain"] == "training").count(), 3 + 3 + 2);
    assert_eq!(rows.iter().filter(|row| row["domain"] == "axis").count(), 0);
}

/// One seed along levels 0 to 4; a rank below zero stands for a diverged cell.
fn seed(number: i64, img: [f64; 5], txt: [f64; 5]) -> Vec<Cell> {
    let value = |rank: f64| (rank.is_finite() && rank >= 0.0).then_some(rank);
    let level = |at: usize| {
        let status = if img[at] < 0.0 { "diverged" } else { "ok" };
        (at as f64, 0.0, number, status, [value(img[at]), value(txt[at])], None)
    };
    (0..5).map(level).collect()
}

#[test]
fn constraints_along_an_axis_worked_by_hand() {
    let nan = f64::NAN;
    let late = [10.0, 10.0, 10.0, 6.0, 6.0];
    let cells = [
        // At 1.5, where the margins 1 and -1 meet, and at 2.5.
        seed(0, [10.0, 9.0, 7.0, 6.0, 6.0], late),
        // Violated at the first level.
        seed(1, [5.0; 5], late),
        seed(2, [10.0; 5], late),
        seed(3, [10.0; 5], [8.0; 5]),
        // Lost from 3 on: somewhere between 2 and 3, both.
        seed(4, [10.0, 10.0, 10.0, -1.0, -1.0], [9.0, 9.0, 9.0, -1.0, -1.0]),
        // Nobody knows whether it breaks before 2.5.
        seed(5, [10.0, 10.0, 10.0, nan, nan], late),
        seed(6, [5.0; 5], [5.0; 5]),
    ];
    let rows = found("image.noise", &cells.concat(), true).expect("a table");
    let row = |direction: &str, first: &str, second: &str| {
        let names = json!(["axis", "image.noise", direction, first, second, "difference", null, 0.0]);
        let columns =
            ["domain", "axis", "direction", "first", "second", "unit", "param_image_noise", "param_pairing_rate"];
        rows.iter().find(|row| of(row, &columns) == names).expect("a row")
    };
    let up = row("up", "img", "txt");
    assert_eq!(of(up, &COUNTS), json!([7, 2, 2, 1, 2, 1, 1, 1, 0]));
    // Leads 1, and 0 of the tie.
    assert_eq!(of(up, &["median_lead", "median_low"]), json!([0.5, null]));
    let (low, high) = wilson(2, 3).expect("trials");
    assert_eq!(of(up, &["share_first_leads", "share_low", "share_high"]), json!([2.0 / 3.0, low, high]));
    assert_eq!(of(row("up", "img", "lost"), &COUNTS), json!([7, 1, 3, 0, 1, 3, 0, 2, 0]));
    // From the other end: seeds 0, 1, 4 and 6 begin with both violated, 2 with the second; of 5 the first is unknown.
    assert_eq!(of(row("down", "img", "txt"), &COUNTS), json!([7, 0, 0, 1, 4, 1, 1, 0, 1]));
    assert_eq!(rows.len(), 6, "three pairs in both directions: {rows:?}");
}

#[test]
fn downwards_the_higher_level_breaks_first_and_ratios_are_of_positive_parameters() {
    let cells = seed(0, [5.0, 7.0, 9.0, 10.0, 10.0], [5.0, 5.0, 5.0, 5.0, 10.0]);
    let rows = found("image.noise", &cells, true).expect("a table");
    let down = rows.iter().find(|row| of(row, &["direction", "second"]) == json!(["down", "txt"])).expect("a row");
    // At 1.5 and at 4 - 2 / 5.
    assert_eq!(of(down, &["both", "second_leads", "unit"]), json!([1, 1, "difference"]));
    assert!((down["median_lead"].as_f64().expect("a number") + 2.1).abs() < 1e-12);

    let cell = |level: f64, img: f64, txt: f64| (level, 0.0, 0, "ok", [Some(img), Some(txt)], None);
    let cells = [cell(0.01, 10.0, 10.0), cell(0.1, 10.0, 6.0), cell(1.0, 6.0, 6.0)];
    let rows = found("train.temperature", &cells, true).expect("a table");
    let up = rows.iter().find(|row| of(row, &["direction", "second"]) == json!(["up", "txt"])).expect("a row");
    assert_eq!(of(up, &["second_leads", "unit"]), json!([1, "log_ratio"]));
    // One decade.
    assert!((up["median_lead"].as_f64().expect("a number") + std::f64::consts::LN_10).abs() < 1e-12);
}

#[test]
fn the_interval_of_two_indicators_that_are_exchangeable_holds_one_half_at_its_rate() {
    const LINES: usize = 1000;
    const SEEDS: usize = 20;
    // scipy 1.17.1, statsmodels 0.15.0: the probability of k of 20 at 0.5, summed where
    // proportion_confint(k, 20, 0.05, "wilson") holds 0.5. Four standard deviations of 1000 lines.
    const RATE: f64 = 0.958_610_534_667_968_8;
    let tolerance = 4.0 * (RATE * (1.0 - RATE) / LINES as f64).sqrt();
    let streams = Streams::new(5, "exchangeable");
    let mut cells = Vec::new();
    for walk in 0..LINES * SEEDS {
        let mut stream = streams.item(walk as u64);
        // Margins that fall along the axis and are zero somewhere within it.
        let zero = [0; 2].map(|_| 4.0 * stream.uniform());
        let rate = (walk / SEEDS) as f64 / LINES as f64;
        let level = |x: f64| (x, rate, (walk % SEEDS) as i64, "ok", zero.map(|zero| Some(8.0 + zero - x)), None);
        cells.extend((0..5).map(|x| level(f64::from(x))));
    }
    let rows = found("image.noise", &cells, true).expect("a table");
    let names = json!(["image.noise", "up", "img", "txt"]);
    let of_pair = |row: &&serde_json::Map<String, Value>| of(row, &["axis", "direction", "first", "second"]) == names;
    let rows: Vec<_> = rows.iter().filter(of_pair).collect();
    assert_eq!(rows.len(), LINES);
    let number = |row: &serde_json::Map<String, Value>, column: &str| row[column].as_f64().expect("a number");
    let share = |holds: &dyn Fn(&serde_json::Map<String, Value>) -> bool| {
        rows.iter().filter(|row| holds(row)).count() as f64 / LINES as f64
    };
    let covered = share(&|row| number(row, "share_low") <= 0.5 && 0.5 <= number(row, "share_high"));
    assert!((covered - RATE).abs() < tolerance, "{covered}");
    // The lead is symmetric about 0: of 20 values the sixth and the fifteenth hold the median in 95.9%, as it happens the
    // same probability.
    let covered = share(&|row| number(row, "median_low") <= 0.0 && 0.0 <= number(row, "median_high"));
    assert!((covered - RATE).abs() < tolerance, "{covered}");
}

#[test]
fn without_cells_or_with_damaged_crossings() {
    assert!(found("image.noise", &[], true).expect("a table").is_empty());
    let cells = [(0.0, 0.0, 0, "ok", [None; 2], Some("{\"a\":"))];
    let error = found("image.noise", &cells, false).expect_err("no JSON").to_string();
    assert!(error.contains("crossings, row 0"), "{error}");
}
