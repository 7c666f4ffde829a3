//! `report`: one page and its pictures.

use std::collections::BTreeSet;
use std::io::Write;

use cliffline::numerics::shown::{rounded, rounded_to};
use cliffline::numerics::stream::Streams;
use cliffline::report::{Report, RunData};
use cliffline::store::read_table;
use serde_json::Value;

use crate::common::{Sandbox, flip};
use crate::{RUN, contains_all, finished, has_keys, refused, texts};

/// The data that the page's script reads.
fn embedded(page: &str, id: &str) -> Value {
    let begin = format!("<script type=\"application/json\" id=\"{id}\">");
    let from = page.find(&begin).expect("the element") + begin.len();
    let text = &page[from..];
    serde_json::from_str(&text[..text.find("</script>").expect("its end")]).expect("JSON")
}

#[test]
fn a_report_is_one_page_that_loads_nothing_and_the_same_twice() {
    let sandbox = finished();
    let by_the_run = sandbox.tree();
    let ran = sandbox.ok("report run");
    contains_all(&ran.stdout, &["run/report.html: ", " figures, "]);
    assert_eq!(ran.stderr, "");
    assert_eq!(sandbox.tree(), by_the_run, "the run has drawn the same");
    let page = std::fs::read_to_string(sandbox.path("run/report.html")).expect("a page");
    assert!(page.len() < 5_000_000, "{}", page.len());
    contains_all(&page, &["Not verified for live deployment; human review required.", "<h1>smoke</h1>"]);
    contains_all(
        &page,
        &["All gates together: <span class=\"verdict pass\">pass</span>", "36</b> of 36 cells finished"],
    );
    contains_all(&page, &["effective_rank_img, over train.temperature and image.noise", "pairing.rate 0.25"]);
    let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"));
    assert!(!page.contains(sandbox.path("").to_str().expect("a path")), "no path of the machine");
    // Ids are unique, those inside of pictures included.
    let mut ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);

    let before = sandbox.tree();
    let json = sandbox.ok("report run --json").json();
    assert_eq!(sandbox.tree(), before, "the same bytes, the manifest's included");
    has_keys(&json, &["format", "version", "dir", "report", "bytes", "figures", "removed", "verification_statement"]);
    assert_eq!(json["bytes"], page.len());
    for figure in json["figures"].as_array().expect("figures") {
        let file = format!("run/{}", figure["file"].as_str().expect("a file"));
        let svg = std::fs::read_to_string(sandbox.path(&file)).expect("a picture");
        contains_all(&svg, &["<svg xmlns=", "<title>", "<desc>", "role=\"img\""]);
        assert!(svg.len() < 150_000, "{file}: {}", svg.len());
    }
}

/// Some picture of the run.
fn picture_of(sandbox: &Sandbox) -> std::path::PathBuf {
    let mut pictures = std::fs::read_dir(sandbox.path("run/plots")).expect("pictures");
    pictures.next().expect("a picture").expect("an entry").path()
}

#[test]
fn a_report_is_verified_with_its_run_and_pictures_that_are_no_more_are_removed() {
    let sandbox = finished();
    sandbox.ok("verify run");
    let picture = picture_of(&sandbox);
    std::fs::copy(picture, sandbox.path("run/plots/of-an-earlier-version.svg")).expect("copied");
    sandbox.write("run/plots/own.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>");
    assert_eq!(sandbox.ok("report run --json").json()["removed"], 1);
    assert!(!sandbox.path("run/plots/of-an-earlier-version.svg").exists());
    std::fs::remove_file(sandbox.path("run/plots/own.svg")).expect("somebody else's is still there");
    flip(&sandbox.path("run/report.html"), 100);
    let verified = sandbox.run("verify run");
    assert_eq!(verified.code, Some(1));
    contains_all(&verified.stdout, &["report.html: its BLAKE3 differs from the manifest's"]);
    sandbox.ok("report run");
    sandbox.ok("verify run");
    // A run that is not what its manifest says, and none at all.
    flip(&sandbox.path("run/surfaces.parquet"), 100);
    refused(&sandbox, "report run", &["surfaces.parquet is not what manifest.json lists"]);
    std::fs::remove_file(sandbox.path("run/surfaces.parquet")).expect("removed");
    refused(&sandbox, "report run", &["run has no surfaces.parquet yet: the command that made the run writes it"]);
    refused(&sandbox, "report nowhere", &["nowhere is not a run directory"]);
}

#[test]
fn a_run_draws_itself_and_leaves_no_report_of_other_tables() {
    let sandbox = Sandbox::new();
    let without = sandbox.ok(&format!("{RUN} --no-report"));
    assert!(!without.stdout.contains("report"), "{}", without.stdout);
    assert!(!sandbox.path("run/report.html").exists() && !sandbox.path("run/plots").exists());
    // What is complete is drawn when the run is asked for again, and then it is there.
    let ran = sandbox.ok(RUN);
    contains_all(&ran.stdout, &["report: run/report.html"]);
    contains_all(&ran.stderr, &["nothing to do"]);
    sandbox.ok("verify run");
    let drawn = sandbox.tree();
    let again = sandbox.ok(&format!("{RUN} --json")).json();
    assert_eq!((&again["report"], sandbox.tree()), (&"run/report.html".into(), drawn.clone()));

    const GROWN: &str = "--axis seed=0,1,2,3";
    let before = drawn["run/report.html"].clone();
    sandbox.ok(&format!("{RUN} {GROWN}"));
    assert_ne!(sandbox.tree()["run/report.html"], before, "of more seeds now");
    sandbox.ok("verify run");
    sandbox.write("run/plots/notes.txt", "mine");
    sandbox.ok(&format!("{RUN} --axis seed=0,1,2,3,4 --no-report"));
    let left: Vec<String> = sandbox.tree().into_keys().filter(|name| name.starts_with("run/plots/")).collect();
    assert_eq!(left, ["run/plots/notes.txt"]);
    assert!(!sandbox.path("run/report.html").exists());
    let verified = sandbox.run("verify run");
    assert_eq!(verified.code, Some(1));
    contains_all(&verified.stdout, &["plots/notes.txt: not of this run"]);
    std::fs::remove_file(sandbox.path("run/plots/notes.txt")).expect("removed");
    sandbox.ok("verify run");
}

#[test]
fn every_tile_leads_to_its_cells_and_the_chosen_ones_have_their_manifests() {
    let sandbox = finished();
    let page = std::fs::read_to_string(sandbox.path("run/report.html")).expect("a page");
    let cells = read_table(&sandbox.path("run/cells.parquet")).expect("cells");
    let known: BTreeSet<String> = texts(&cells, "cell_id").into_iter().map(|id| id[..12].to_string()).collect();
    let index = embedded(&page, "cells");
    let entries: Vec<&str> =
        index["cells"].as_object().expect("entries").values().map(|entry| entry.as_str().expect("text")).collect();
    let mut found = BTreeSet::new();
    for entry in &entries {
        let (all, ids) = entry.split_once(' ').expect("a count and ids");
        let ids: Vec<&str> = ids.split(' ').collect();
        assert_eq!(ids.len(), all.parse::<usize>().expect("a count"), "all of a small run");
        found.extend(ids.into_iter().map(String::from));
    }
    assert_eq!(found, known);
    let id = entries[0].split(' ').nth(1).expect("an id");
    assert!(sandbox.ok(&format!("show run {id}")).json()["cell_id"].as_str().expect("an id").starts_with(id));

    let run = RunData::open(&sandbox.path("run")).expect("a run");
    let chosen = Report::of(&run).expect("a report").chosen;
    assert!(!chosen.is_empty());
    for cell in chosen {
        let shown = sandbox.ok(&format!("show run {}", cell.short_id())).json();
        let embedded: Value = serde_json::from_str(cell.manifest.as_deref().expect("small")).expect("JSON");
        assert_eq!(embedded, shown, "{}", cell.role);
        contains_all(&page, &[&format!("id=\"cell-{}\"", cell.short_id())]);
    }
}

/// A number reads alike whether the program wrote it or the page's script.
#[test]
fn the_page_writes_numbers_as_the_program_does() {
    let script = include_str!("../../src/report/page.js");
    let (from, to) =
        (script.find("const shown =").expect("the function"), script.find("const exact").expect("its end"));
    let mut stream = Streams::new(7, "numbers").item(0);
    let mut numbers =
        vec![0.0, -0.0, 0.015625, 9999.96, 0.99996, 999_999.7, 123_456.7, 5e-324, f64::MAX, -12.345, 1e-5];
    numbers.extend((0..4000).map(|_| stream.normal() * 10f64.powi(stream.below(40) as i32 - 20)));
    numbers.extend((0..4096).map(|n| f64::from(n) / 4096.0));
    let told = "console.log(JSON.stringify(numbers.map(x => [shown(x, 3), shown(x), shown(x, 6)])));";
    let program = format!("{}\nconst numbers = {};\n{told}", &script[from..to], serde_json::json!(numbers));
    let sandbox = Sandbox::new();
    sandbox.write("numbers.js", &program);
    let ran = match std::process::Command::new("node").arg(sandbox.path("numbers.js")).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Written past the test harness, which keeps what a passing test prints to itself.
            let _ = writeln!(std::io::stderr(), "SKIPPED: the page's numbers were not compared: there is no node here");
            return;
        }
        ran => ran.expect("node runs"),
    };
    let texts: Vec<[String; 3]> = serde_json::from_slice(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    for (x, texts) in numbers.iter().zip(texts) {
        assert_eq!(texts, [rounded_to(*x, 3), rounded(*x), rounded_to(*x, 6)], "{x:?}");
    }
}

#[test]
fn the_explorer_has_every_value_of_a_small_run() {
    let sandbox = finished();
    let run = RunData::open(&sandbox.path("run")).expect("a run");
    let explorer = Report::of(&run).expect("a report").explorer.expect("three axes");
    let paths: Vec<&str> = explorer.axes.iter().map(|axis| axis.path.as_str()).collect();
    assert_eq!(paths, ["image.noise", "pairing.rate", "train.temperature"]);
    assert_eq!(explorer.missing(), "");
    let table = read_table(&sandbox.path("run/surfaces.parquet")).expect("surfaces");
    let number = |name: &str| table.column(name).expect("a column").f64().expect("numbers").clone();
    let (metric, mean) = (texts(&table, "metric"), number("mean"));
    let levels: Vec<_> = paths.iter().map(|path| number(&format!("param_{}", path.replace('.', "_")))).collect();
    let conditions = texts(&table, "condition");
    let mut compared = 0;
    for row in 0..table.height() {
        let place = explorer.axes.iter().zip(&levels).fold(0, |place, (axis, levels)| {
            let level = levels.get(row).expect("a level");
            let at = axis.levels.iter().position(|text| text.parse() == Ok(level)).expect("on the grid");
            place * axis.levels.len() + at
        });
        let own =
            explorer.metrics.iter().find(|shown| shown.metric == metric[row] && shown.condition == conditions[row]);
        assert_eq!(own.and_then(|shown| shown.values[place]), mean.get(row), "{} {row}", metric[row]);
        compared += usize::from(own.is_some());
    }
    assert!(compared > 800, "{compared}");
    let page = std::fs::read_to_string(sandbox.path("run/report.html")).expect("a page");
    assert_eq!(embedded(&page, "values"), explorer.json());
}
