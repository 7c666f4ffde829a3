use serde_json::{Value, json};

use super::*;
use crate::analysis::line::value_at;
use crate::numerics::interval::wilson;
use crate::numerics::stream::Streams;
use crate::spec::{Overrides, Scope, from_str};

/// A cell: level of the axis, level of `pairing.rate`, seed, status, both ranks and crossings.
type Cell<'a> = (f64, f64, i64, &'static str, [Option<f64>; 2], Option<&'a str>);

const EVERY_STEPS: i64 = 50;

fn table(axis: &str, cells: &[Cell<'_>]) -> DataFrame {
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

/// A floor of 8 on either rank.
fn floors() -> Vec<Gate> {
    let gate = |name: &str| format!("[[gate]]\nname = \"{name}\"\nmetric = \"effective_rank_{name}\"\nmin = 8\n");
    let spec = format!("name = \"t\"\npreset = \"tiny\"\n{}{}", gate("img"), gate("txt"));
    from_str(&spec, "t.toml", &Overrides::default()).unwrap_or_else(|error| panic!("{error}")).gates
}

type Rows = PolarsResult<Vec<serde_json::Map<String, Value>>>;

/// The rows of the table as JSON; `gated` by [`floors`].
fn found(axis: &str, cells: &[Cell<'_>], gated: bool) -> Rows {
    found_in(axis, cells, &table(axis, cells), if gated { floors() } else { Vec::new() })
}

fn found_in(axis: &str, cells: &[Cell<'_>], table: &DataFrame, gates: Vec<Gate>) -> Rows {
    let levels = |get: fn(&Cell<'_>) -> f64| {
        let mut levels: Vec<f64> = cells.iter().map(get).collect();
        levels.sort_by(f64::total_cmp);
        levels.dedup();
        levels.into_iter().map(Value::from).collect::<Vec<_>>()
    };
    let axes = [(axis.to_string(), levels(|c| c.0)), ("pairing.rate".to_string(), levels(|c| c.1))];
    let frame = lead_lag(&gates, table, &DataFrame::empty(), Grid { axes: &axes, zip: &[] })?;
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
        cell(0.0, 7, "unfinished", None),
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
    assert_eq!(of(here, &COUNTS), json!([8, 3, 2, 2, 1, 1, 2, 1, 0]));
    // Leads 50, -50 and 0, and what breaks alone either way.
    let (low, high) = wilson(2, 4).expect("trials");
    let shares = ["share_first_leads", "share_low", "share_high", "median_lead", "median_low"];
    assert_eq!(of(here, &shares), json!([0.5, low, high, 0.0, null]));
    let pooled = training("a", "b", Value::Null).expect("a row");
    assert_eq!(of(pooled, &COUNTS), json!([11, 3, 2, 2, 1, 3, 3, 1, 0]));
    assert_eq!(of(pooled, &shares), json!([0.5, null, null, 0.0, null]));
    assert_eq!(of(training("b", "c", json!(2.0)).expect("a row"), &COUNTS), json!([1, 0, 0, 1, 0, 0, 0, 0, 1]));
    assert!(training("a", "b", json!(1.0)).is_none() && training("a", "b", json!(2.0)).is_none());
    // Three pooled rows; at noise 0 three pairs, of which c breaks nowhere there; at noise 2 those with c. Along axes
    // there is but one constraint, that none is lost.
    assert_eq!(rows.iter().filter(|row| row["domain"] == "training").count(), 3 + 3 + 2);
    assert_eq!(rows.iter().filter(|row| row["domain"] == "axis").count(), 0);
}

/// One seed along levels 0 to 4; a rank below zero stands for a diverged cell.
fn seed(number: i64, img: [f64; 5], txt: [f64; 5]) -> Vec<Cell<'static>> {
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
    // Leads 1, 0 of the ties, infinity of seed 1 and minus infinity of seed 2.
    assert_eq!(of(up, &["median_lead", "median_low"]), json!([0.0, null]));
    // Over `lost`: infinity thrice, of what was violated at the first level or alone, and a tie.
    assert_eq!(row("up", "img", "lost")["median_lead"], Value::Null);
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
fn a_limit_that_is_on_and_never_broken_is_one_of_a_pair() {
    let cell = |noise: f64, seed: i64, crossings| (noise, 0.0, seed, "ok", [None; 2], crossings);
    let alone = Some(r#"{"warn.hub_gini_above":50}"#);
    let cells = [cell(0.0, 0, alone), cell(0.0, 1, None), cell(1.0, 0, None), cell(1.0, 1, None)];
    let mut table = table("image.noise", &cells);
    let mut add = |path: &str, thresholds: [f64; 4]| {
        table.with_column(Series::new(param_column(path).into(), thresholds).into()).expect("as long");
    };
    // A variance is never below 0 and no cosine above 1; a norm limited by 0 is not limited.
    add("stop.effective_rank_below", [0.0, 2.0, 2.0, 2.0]);
    add("stop.mean_cosine_above", [1.0; 4]);
    add("warn.hub_gini_above", [0.9; 4]);
    add("warn.variance_below", [0.0; 4]);
    add("warn.gradient_norm_above", [0.0; 4]);
    add("warn.symmetry_gap_above", [0.5; 4]);
    // A floor of checkpoints is no limit that is recorded.
    add("checkpoint.variance_floor", [0.5; 4]);
    let rows = found_in("image.noise", &cells, &table, Vec::new()).expect("a table");
    let shown: Vec<Value> = rows
        .iter()
        .map(|row| of(row, &["first", "second", "param_image_noise", "first_leads", "second_leads"]))
        .collect();
    let (rank, gap, hub) = ("stop.effective_rank_below", "warn.symmetry_gap_above", "warn.hub_gini_above");
    // Neither at noise 1 nor of the pair without hubs is there anything to say.
    let expected =
        json!([[rank, hub, null, 0, 1], [rank, hub, 0.0, 0, 1], [hub, gap, null, 1, 0], [hub, gap, 0.0, 1, 0],]);
    assert_eq!(Value::from(shown), expected);
    assert_eq!(of(&rows[1], &COUNTS), json!([2, 0, 0, 1, 0, 1, 0, 0, 1]));
}

#[test]
fn a_seed_that_one_of_the_two_does_not_judge_is_unknown() {
    let late = [10.0, 10.0, 10.0, 6.0, 6.0];
    let cells = [seed(0, [10.0, 9.0, 7.0, 6.0, 6.0], late), seed(1, [10.0; 5], late), seed(2, [10.0; 5], late)];
    let judged = |img: &[i64], txt: &[i64]| {
        let mut gates = floors();
        for (gate, seeds) in gates.iter_mut().zip([img, txt]) {
            gate.scope.insert("seed".to_string(), Scope::AnyOf(seeds.iter().copied().map(Value::from).collect()));
        }
        let cells = cells.concat();
        let rows = found_in("image.noise", &cells, &table("image.noise", &cells), gates).expect("a table");
        let up = rows.iter().find(|row| of(row, &["direction", "first", "second"]) == json!(["up", "img", "txt"]));
        up.map(|row| of(row, &["cells", "first_leads", "second_leads", "neither", "unknown"]))
    };
    assert_eq!(judged(&[0, 1, 2], &[0, 1, 2]), Some(json!([3, 1, 2, 0, 0])));
    assert_eq!(judged(&[0], &[0, 1, 2]), Some(json!([3, 1, 0, 0, 2])));
    assert_eq!(judged(&[0, 1], &[0]), Some(json!([2, 1, 0, 0, 1])), "seed 2 is judged by neither");
    assert_eq!(judged(&[0], &[1, 2]), None, "no seed by both");
}

#[test]
fn combinations_are_told_apart_on_more_axes_than_a_product_of_their_levels_can_be_written_for() {
    // 2 to the power of 130 combinations; the third cell is apart from the first on the first axis only.
    const AXES: usize = 130;
    let axes: Vec<(String, Vec<Value>)> = (0..AXES).map(|n| (format!("a{n}"), vec![json!(0.0), json!(1.0)])).collect();
    let level = |n: usize| [0.0, 1.0, if n == 0 { 1.0 } else { 0.0 }, 0.0];
    let mut columns: Vec<Column> =
        (0..AXES).map(|n| Series::new(param_column(&axes[n].0).into(), level(n)).into()).collect();
    columns.push(Series::new("param_seed".into(), [0i64, 0, 0, 1]).into());
    let cells = DataFrame::new_infer_height(columns).expect("columns of one length");
    let found = combinations(&Places::new(&cells, Grid { axes: &axes, zip: &[] }).expect("places"));
    let rows: Vec<&[u32]> = (0..found.ends.len()).map(|number| found.rows(number)).collect();
    assert_eq!(rows, [&[0, 3][..], &[2], &[1]]);
}

/// Walks at each combination in the tests of exchangeable indicators, and how many combinations.
const SEEDS: usize = 20;
const LINES: usize = 1000;

/// Where intervals of a share of 20 walks hold 0.5. scipy 1.17.1, statsmodels 0.15.0: the probability of k of 20 at 0.5,
/// summed where proportion_confint(k, 20, 0.05, "wilson") holds 0.5. Of 20 values the sixth and the fifteenth hold the
/// median in 95.9%, as it happens the same probability.
const RATE: f64 = 0.958_610_534_667_968_8;

/// The share of the lines for which something is so, and whether it is `rate` but for four standard deviations.
fn assert_rate(
    rows: &[serde_json::Map<String, Value>],
    rate: f64,
    what: &str,
    holds: impl Fn(&serde_json::Map<String, Value>) -> bool,
) {
    let share = rows.iter().filter(|row| holds(row)).count() as f64 / LINES as f64;
    let tolerance = 4.0 * (rate * (1.0 - rate) / LINES as f64).sqrt();
    assert!((share - rate).abs() < tolerance, "{what}: {share} and not {rate}");
}

/// Whether an interval holds a value. An end that is null is plus infinity, as nothing in these tests is at the other one.
fn holds(row: &serde_json::Map<String, Value>, [low, high]: [&str; 2], value: f64) -> bool {
    let end = |column: &str| row[column].as_f64().unwrap_or(f64::INFINITY);
    end(low) <= value && value <= end(high)
}

#[test]
fn the_interval_of_two_indicators_that_are_exchangeable_holds_one_half_at_its_rate() {
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
    let mut rows = found("image.noise", &cells, true).expect("a table");
    rows.retain(|row| of(row, &["axis", "direction", "first", "second"]) == json!(["image.noise", "up", "img", "txt"]));
    assert_eq!(rows.len(), LINES);
    assert!(rows.iter().all(|row| !row["median_low"].is_null() && !row["median_high"].is_null()));
    assert_rate(&rows, RATE, "share", |row| holds(row, ["share_low", "share_high"], 0.5));
    // The lead is symmetric about 0.
    assert_rate(&rows, RATE, "median", |row| holds(row, ["median_low", "median_high"], 0.0));
}

#[test]
fn nor_does_it_lean_to_one_side_where_one_of_the_two_ends_the_walk() {
    // scipy 1.17.1: binom.sf(10, 20, 0.5), the warning earlier on more than half of the walks, for then the median is
    // among the leads that are seen.
    const FINITE: f64 = 0.411_901_473_999_023_44;
    const STEPS: f64 = 1e9;
    let streams = Streams::new(6, "exchangeable");
    let written: Vec<String> = (0..LINES * SEEDS)
        .map(|walk| {
            let mut stream = streams.item(walk as u64);
            let [stop, warn] = [0; 2].map(|_| 100 + (STEPS * stream.uniform()) as u64);
            let seen = if warn <= stop { format!(",\"warn.x\":{warn}") } else { String::new() };
            format!("{{\"stop.x\":{stop}{seen}}}")
        })
        .collect();
    let cell = |walk: usize| {
        let at = (walk / SEEDS) as f64 / LINES as f64;
        (0.0, at, (walk % SEEDS) as i64, "collapsed", [None; 2], Some(written[walk].as_str()))
    };
    let cells: Vec<_> = (0..LINES * SEEDS).map(cell).collect();
    let mut rows = found("image.noise", &cells, false).expect("a table");
    rows.retain(|row| row["domain"] == "training" && !row["param_pairing_rate"].is_null());
    assert_eq!(rows.len(), LINES);
    assert_rate(&rows, RATE, "share", |row| holds(row, ["share_low", "share_high"], 0.5));
    assert_rate(&rows, RATE, "median", |row| holds(row, ["median_low", "median_high"], 0.0));
    assert_rate(&rows, FINITE, "finite", |row| !row["median_lead"].is_null());
}

#[test]
fn without_cells_or_with_damaged_crossings() {
    assert!(found("image.noise", &[], true).expect("a table").is_empty());
    let cells = [(0.0, 0.0, 0, "ok", [None; 2], Some("{\"a\":"))];
    let error = found("image.noise", &cells, false).expect_err("no JSON").to_string();
    assert!(error.contains("crossings, row 0"), "{error}");
}
