//! Cells beside the grid: trained once, kept by a run whose spec does not name them.

use cliffline::store::read_table;
use serde_json::Value;

use crate::common::{Ran, Sandbox};
use crate::{contains_all, refused, texts};

/// Four cells, trained in no time.
const SPEC: &str = "name = \"partial\"\npreset = \"tiny\"\ntrain.steps = 4\n[axes]\nseed = [0, 1]\n\
                    train.temperature = [0.05, 0.5]\n[[gate]]\nmetric = \"lost\"\nmax = 0.0\nmin_seeds = 2\n";
/// Two cells more.
const INCLUDE: &str = "\n[[include]]\n\"train.temperature\" = 0.2\n";
const RUN: &str = "run partial.toml --backend flex";

fn run(sandbox: &Sandbox, arguments: &str) -> (Ran, Value) {
    let ran = sandbox.ok(&format!("{arguments} --json"));
    let json = ran.json();
    (ran, json)
}

/// Writes an include into the spec of a run, as `refine` does. The tables are those of the smaller plan until it runs.
fn grow(sandbox: &Sandbox, dir: &str) {
    let spec = format!("{dir}/spec.toml");
    let text = std::fs::read_to_string(sandbox.path(&spec)).expect("a resolved spec");
    sandbox.write(&spec, format!("{text}{INCLUDE}"));
}

#[test]
fn an_include_trains_its_cells_and_no_other_again() {
    let sandbox = Sandbox::new();
    sandbox.write("partial.toml", SPEC);
    sandbox.ok(&format!("{RUN} -o run"));
    sandbox.write("partial.toml", format!("{SPEC}{INCLUDE}"));
    let plan = sandbox.ok("plan partial.toml -o run --backend flex --no-calibration --json").json();
    assert_eq!((&plan["present"], &plan["estimate"]["cells"]), (&4.into(), &2.into()));
    let (_, json) = run(&sandbox, &format!("{RUN} -o run"));
    assert_eq!((&json["trained"], &json["cells"], &json["finished"]), (&2.into(), &6.into(), &6.into()));
    let summary = &json["summary"][0];
    assert_eq!((&summary["rows"], &summary["unplaced"]), (&serde_json::json!([0.05, 0.5]), &2.into()));
    let again = sandbox.ok(&format!("{RUN} -o run"));
    contains_all(&again.stderr, &["all 6 cells are there"]);
    contains_all(&again.stdout, &["mean over 2 cells each; 2 cells at levels beside the grid's not shown"]);
}

#[test]
fn a_run_keeps_the_cells_that_were_added_to_it() {
    let sandbox = Sandbox::new();
    sandbox.write("partial.toml", SPEC);
    // Where it lands is named by the spec as it is written.
    let (_, json) = run(&sandbox, RUN);
    let dir = json["dir"].as_str().expect("a directory").to_string();
    grow(&sandbox, &dir);
    let planned = sandbox.ok("plan partial.toml --backend flex --no-calibration");
    contains_all(&planned.stdout, &["2 to train, 4 there already", "2 cells beside the grid"]);
    let (ran, json) = run(&sandbox, RUN);
    assert_eq!((json["dir"].as_str(), &json["trained"], &json["cells"]), (Some(dir.as_str()), &2.into(), &6.into()));
    contains_all(&ran.stderr, &["keeping 2 cells that refine added"]);
    let before = sandbox.tree();
    let (ran, json) = run(&sandbox, RUN);
    contains_all(&ran.stderr, &["keeping 2 cells", "all 6 cells are there; nothing to do"]);
    assert_eq!((&json["trained"], sandbox.tree()), (&0.into(), before));

    // Everything that looks at a run finds them.
    let cells = read_table(&sandbox.path(&dir).join("cells.parquet")).expect("cells.parquet");
    let temperatures: Vec<f64> = cells
        .column("param_train_temperature")
        .and_then(|column| Ok(column.f64()?.into_no_null_iter().collect()))
        .expect("temperatures");
    assert_eq!(temperatures, [0.05, 0.2, 0.5, 0.05, 0.2, 0.5], "rows follow the plan");
    let status = sandbox.ok(&format!("status {dir} --json")).json();
    assert_eq!((&status["state"], &status["planned"]), (&"complete".into(), &6.into()));
    sandbox.ok(&format!("verify {dir} --rerun 1"));
    let gate = sandbox.ok(&format!("gate {dir} --json")).json();
    assert_eq!(gate["gates"][0]["combinations"]["pass"], 3);
    let id = &texts(&cells, "cell_id")[1];
    let shown = sandbox.ok(&format!("show {dir} {id}"));
    contains_all(&shown.stdout, &["\"train.temperature\": 0.2"]);
    sandbox.ok(&format!("embed {dir} {id} -o embeddings.parquet"));

    // A grid that grows keeps them as they are; one that reaches them has them.
    sandbox.write("partial.toml", SPEC.replace("[0, 1]", "[0, 1, 2]"));
    let (ran, json) = run(&sandbox, &format!("{RUN} -o {dir}"));
    contains_all(&ran.stderr, &["keeping 2 cells"]);
    assert_eq!((&json["trained"], &json["cells"]), (&2.into(), &8.into()));
    sandbox.write("partial.toml", SPEC.replace("[0, 1]", "[0, 1, 2]").replace("[0.05,", "[0.05, 0.2,"));
    let (ran, json) = run(&sandbox, &format!("{RUN} -o {dir}"));
    assert!(!ran.stderr.contains("keeping"), "{}", ran.stderr);
    assert_eq!((&json["trained"], &json["cells"]), (&1.into(), &9.into()));

    // A grid that has lost cells is still refused, and so is another training.
    sandbox.write("partial.toml", SPEC);
    refused(&sandbox, &format!("{RUN} -o {dir}"), &["cells"]);
    sandbox.write("partial.toml", SPEC.replace("steps = 4", "steps = 5"));
    let ran = refused(&sandbox, &format!("{RUN} -o {dir}"), &["train.steps"]);
    assert!(!ran.stderr.contains("keeping"), "{}", ran.stderr);
    let planned = sandbox.ok(&format!("plan partial.toml -o {dir} --backend flex --no-calibration"));
    assert!(!planned.stderr.contains("keeping"), "{}", planned.stderr);
}
