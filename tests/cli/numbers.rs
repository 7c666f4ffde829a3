//! What is shown is what is: levels that are close, seeds that no double holds, in everything that people read.

use cliffline::store::read_table;
use serde_json::Value;

use crate::common::{Ran, Sandbox};
use crate::contains_all;

/// Learning rates that six decimals turn into 0 and four digits into two of a kind; seeds next to each other above 2^53.
const SPEC: &str = "name = \"close\"\npreset = \"tiny\"\n[train]\nsteps = 5\n[curves]\nevery = 1\n[axes]\n\
                    seed = [9007199254740995, 9007199254740996, 9007199254740997]\n\
                    \"train.learning_rate\" = [3e-9, 3.00002e-9, 0.02]\n\"train.temperature\" = [0.3, 0.7]\n\
                    [[gate]]\nname = \"late\"\nmetric = \"lost\"\nmax = 0.0\nmin_seeds = 1\n\
                    where = { seed = { min = 9007199254740997 } }\n";

const RATES: [&str; 3] = ["3e-9", "3.00002e-9", "0.02"];
const SEEDS: [&str; 3] = ["9007199254740995", "9007199254740996", "9007199254740997"];

/// A sandbox with the finished run in `run`, what running printed, and the summary of its job.
fn ran() -> (Sandbox, Ran, String) {
    let sandbox = Sandbox::new();
    sandbox.write("close.toml", SPEC);
    let mut command = sandbox.command("run close.toml -o run --backend flex");
    command.env("GITHUB_STEP_SUMMARY", sandbox.path("summary.md"));
    let ran = Ran::of(command.output().expect("the program starts"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let summary = std::fs::read_to_string(sandbox.path("summary.md")).expect("a summary");
    (sandbox, ran, summary)
}

/// The data under a picture of the page, as text.
fn csv(page: &str, figure: &str) -> String {
    let from = page.find(&format!("data-name=\"{figure}\"")).unwrap_or_else(|| panic!("no {figure}"));
    let text = &page[from + page[from..].find("<pre>").expect("data") + 5..];
    text[..text.find("</pre>").expect("its end")].to_string()
}

#[test]
fn close_levels_and_large_seeds_are_told_apart_wherever_they_are_shown() {
    let (sandbox, ran, summary) = ran();
    let plan = sandbox.ok("plan close.toml --backend flex --no-calibration --cells");
    contains_all(&plan.stdout, &[&RATES.join(", "), &SEEDS.join(", ")]);
    assert_eq!(plan.stdout.lines().filter(|line| line.contains("learning_rate=3.00002e-9 ")).count(), 6);
    for text in [&ran.stdout, &summary] {
        let starts = |rate: &str| text.lines().any(|line| line.split_whitespace().next() == Some(rate));
        assert!(RATES.iter().all(|rate| starts(rate)), "{text}");
    }
    // Of three seeds next to each other the last one is judged, and named.
    let gate = sandbox.ok("gate run");
    contains_all(&gate.stdout, &["where seed >= 9007199254740997", "1 of 1 seeds hold", "seed 9007199254740997 has 0"]);
    let verdicts = sandbox.ok("gate run --json").json();
    assert_eq!(verdicts["gates"][0]["cells"]["planned"], 6, "one seed at six combinations");

    let page = std::fs::read_to_string(sandbox.path("run/report.html")).expect("a page");
    contains_all(&page, &[&SEEDS.join(", "), &RATES.join(", "), "seed 9007199254740997 has 0"]);
    let degradation = csv(&page, "degradation-effective-rank-along-train-temperature");
    for rate in RATES {
        assert!(degradation.lines().any(|line| line.split(',').nth(1) == Some(rate)), "{rate}: {degradation}");
    }
    // The manifest of a chosen cell is on the page as it is, to the last digit.
    assert!(page.contains("&quot;seed&quot;: 9007199254740995"), "no manifest with its seed");
}

#[test]
fn data_under_pictures_are_those_of_the_tables_with_all_their_digits() {
    let (sandbox, ..) = ran();
    let page = std::fs::read_to_string(sandbox.path("run/report.html")).expect("a page");
    let table = read_table(&sandbox.path("run/surfaces.parquet")).expect("surfaces");
    let number = |name: &str| -> Vec<Option<f64>> {
        table.column(name).expect("a column").f64().expect("numbers").iter().collect()
    };
    let metric: Vec<_> = table.column("metric").expect("a column").str().expect("names").iter().collect();
    let (rate, temperature, mean) =
        (number("param_train_learning_rate"), number("param_train_temperature"), number("mean"));
    let known: Vec<[f64; 3]> = (0..table.height())
        .filter(|row| metric[*row] == Some("effective_rank_img"))
        .filter_map(|row| Some([temperature[row]?, rate[row]?, mean[row]?]))
        .collect();
    let csv = csv(&page, "heatmap-effective-rank-img");
    let shown: Vec<[f64; 3]> = csv
        .lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<f64> = line.split(',').take(3).map(|field| field.parse().expect("a number")).collect();
            [fields[0], fields[1], fields[2]]
        })
        .collect();
    assert_eq!(shown.len(), 6, "{csv}");
    for row in &shown {
        assert!(known.contains(row), "{row:?} is not in the table");
    }
    // Seeds of a table in which some rows have none.
    let margins = read_table(&sandbox.path("run/margins.parquet")).expect("margins");
    let mut seeds: Vec<i64> = margins.column("seed").expect("there").i64().expect("whole").iter().flatten().collect();
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.iter().map(i64::to_string).collect::<Vec<_>>(), SEEDS[2..], "the gate judges the last alone");
    let shown: Value = sandbox.ok("boundary run --json").json();
    assert!(shown["margins"].as_array().expect("rows").iter().any(|row| row["seed"] == 9_007_199_254_740_997_i64));
}
