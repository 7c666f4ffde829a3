//! `refine` and `boundary`: where a constraint flips, ever more closely.

use cliffline::store::read_table;
use serde_json::{Value, json};

use crate::common::Sandbox;
use crate::{contains_all, refused};

/// Retrieval among five of 128 is near 0.7 without noise and near chance, 0.04, at a standard deviation of 4.
const SPEC: &str = "name = \"cliff\"\npreset = \"tiny\"\ntrain.steps = 200\n[axes]\nseed = [0, 1, 2]\n\
                    image.noise = [0.0, 2.0, 4.0]\n\
                    [[gate]]\nname = \"found\"\nmetric = \"retrieval_at_5_i2t\"\nmin = 0.3\n";
const RUN: &str = "run cliff.toml --backend flex -o run";
const REFINE: &str = "refine run --tolerance 0.25 --json";

fn finished(spec: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("cliff.toml", spec);
    sandbox.ok(RUN);
    sandbox
}

/// Widths of the gaps with a flip.
fn widths(refinement: &Value) -> Vec<f64> {
    let gaps = refinement["lines"][0]["resolved"].as_array().expect("gaps");
    gaps.iter().map(|gap| gap[1].as_f64().expect("a level") - gap[0].as_f64().expect("a level")).collect()
}

#[test]
fn refine_brackets_every_flip_and_then_has_nothing_to_do() {
    let sandbox = finished(SPEC);
    let refined = sandbox.ok(REFINE).json();
    assert_eq!(
        (&refined["axis"], &refined["constraint"], &refined["open"]),
        (&json!("image.noise"), &json!("found"), &json!(0))
    );
    let found = widths(&refined);
    assert!(!found.is_empty() && found.iter().all(|width| *width <= 0.25), "{refined}");
    let tried = refined["lines"][0]["tried"].as_u64().expect("a count");
    assert_eq!(
        (refined["cells"].as_u64(), refined["cells_trained_now"].as_u64()),
        (Some(3 * tried), Some(3 * tried - 9))
    );
    assert_eq!(refined["uniform_cells"], 3 * 17);
    assert!(3 * tried < 3 * 17, "{refined}");
    let edges = sandbox.ok("boundary run --axis image.noise --constraint found --json").json();
    for edge in edges["boundaries"].as_array().expect("rows").iter().filter(|row| row["state"] == "crossed") {
        let bracket = ["bracket_low", "bracket_high"].map(|end| edge[end].as_f64().expect("a level"));
        assert!(bracket[1] - bracket[0] <= 0.25, "{edge}");
    }
    let before = sandbox.tree();
    let again = sandbox.ok(REFINE).json();
    assert_eq!(again["cells_trained_now"], 0);
    let ran = sandbox.ok(RUN);
    contains_all(&ran.stderr, &["keeping", "nothing to do"]);
    let changed: Vec<String> = sandbox
        .tree()
        .into_iter()
        .filter(|(name, hash)| before.get(name) != Some(hash))
        .map(|(name, _)| name)
        .collect();
    let expected = ["bundle.zip", "directives.jsonl", "ledger.jsonl", "manifest.json", "refinement.json"];
    let expected = expected.map(|file| format!("run/{file}"));
    assert_eq!(changed, expected, "it says now that nothing was trained, and that is sealed");
    sandbox.ok("verify run");
}

#[test]
fn a_budget_ends_it_early_and_the_same_command_goes_on_to_the_same_bytes() {
    let whole = finished(SPEC);
    let needed = whole.ok(REFINE).json()["cells_trained_now"].as_u64().expect("a count");
    let parts = finished(SPEC);
    let too_small = parts.run(&format!("{REFINE} --budget 2"));
    assert_eq!(too_small.code, Some(4), "{too_small:?}");
    contains_all(&too_small.stderr, &["the next level takes 3 cells, and 2 are left"]);
    let first = parts.run(&format!("{REFINE} --budget 4"));
    assert_eq!(first.code, Some(4), "{first:?}");
    let first = first.json();
    assert_eq!(first["cells_trained_now"], 3, "a level takes three cells");
    assert!(first["open"].as_u64().is_some_and(|open| open > 0));
    assert_eq!(parts.ok(REFINE).json()["cells_trained_now"], needed - 3);
    for table in ["cells.parquet", "boundaries.parquet", "margins.parquet", "surfaces.parquet"] {
        let bytes = |sandbox: &Sandbox| std::fs::read(sandbox.path("run").join(table)).expect("a table");
        assert!(bytes(&whole) == bytes(&parts), "{table} depends on how it came about");
    }
}

#[test]
fn later_seeds_get_the_levels_of_the_earlier() {
    let sandbox = finished(SPEC);
    sandbox.ok(REFINE);
    sandbox.write("cliff.toml", SPEC.replace("[0, 1, 2]", "[0, 1, 2, 3]"));
    sandbox.ok(RUN);
    sandbox.ok(REFINE);
    let cells = read_table(&sandbox.path("run").join("cells.parquet")).expect("cells");
    let noises: Vec<f64> =
        cells.column("param_image_noise").and_then(|c| Ok(c.f64()?.into_no_null_iter().collect())).expect("noises");
    let mut distinct = noises.clone();
    distinct.sort_by(f64::total_cmp);
    distinct.dedup();
    assert_eq!(noises.len(), 4 * distinct.len(), "four seeds at every level");
}

#[test]
fn refine_and_boundary_say_what_they_cannot_do() {
    let two = SPEC
        .replace(
            "image.noise = [0.0, 2.0, 4.0]",
            "image.noise = [0.0, 4.0]\ntext.dropout = [0.0, 0.5]\npairing.kind = [\"swap\", \"block\"]",
        )
        .replace("[axes]", "zip = [[\"image.noise\", \"text.dropout\"]]\n[axes]")
        .replace("steps = 200", "steps = 4");
    let sandbox = finished(&two);
    refused(&sandbox, "refine run --axis image.noise", &["advances together", "image.noise"]);
    refused(&sandbox, "refine run --axis pairing.kind", &["pairing.kind", "image.noise, text.dropout"]);
    refused(&sandbox, "refine run --tolerance 0", &["above 0"]);
    refused(&sandbox, "refine nowhere", &["nowhere"]);
    refused(&sandbox, "boundary run --constraint lots", &["no constraint \"lots\"", "found", "lost"]);
    refused(&sandbox, "boundary run --axis pairing.kind", &["no axis \"pairing.kind\"", "image.noise"]);
    let plain = finished("name = \"cliff\"\npreset = \"tiny\"\ntrain.steps = 4\n[axes]\nseed = [0, 1]\n");
    refused(&plain, "refine run", &["nothing to refine"]);
    contains_all(&plain.ok("boundary run").stdout, &["nothing can be located"]);
    let negative = refused(&plain, "refine run --tolerance -1", &["above 0"]);
    assert!(!negative.stderr.contains("-- -1"), "{}", negative.stderr);
    let single = finished(&SPEC.replace("steps = 200", "steps = 4"));
    refused(&single, "refine run --constraint lots", &["no constraint \"lots\"", "found, lost"]);
    std::fs::remove_file(single.path("run").join("boundaries.parquet")).expect("removed");
    refused(&single, "boundary run", &["boundaries.parquet", "writes it"]);
}
