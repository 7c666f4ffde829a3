//! `compare`: what it names, what it counts, and its exit codes.

use serde_json::{Value, json};

use crate::common::Sandbox;
use crate::{contains_all, has_keys, refused};

/// Two temperatures, three seeds, steps enough to learn something.
const SPEC: &str =
    "name = \"c\"\npreset = \"tiny\"\n[axes]\nseed = { seeds = 3 }\n\"train.temperature\" = [0.1, 0.5]\n";

/// A sandbox with the finished run of [`SPEC`] in `a` and one under these flags in `b`.
fn two(flags: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("c.toml", SPEC);
    sandbox.ok("run c.toml -o a --backend flex");
    sandbox.ok(&format!("run c.toml -o b --backend flex {flags}"));
    sandbox
}

fn rows(document: &Value) -> &Vec<Value> {
    document["differences"].as_array().expect("rows")
}

#[test]
fn identical_runs_differ_by_exactly_zero() {
    let sandbox = two("");
    let before = sandbox.tree();
    let ran = sandbox.ok("compare a b");
    contains_all(&ran.stdout, &["settings: the same", "code and machine: the same"]);
    contains_all(&ran.stdout, &["6 pairs by seed, train.temperature; 6 of 6 finished in a", "6 ok in both"]);
    contains_all(
        &ran.stdout,
        &["same cells: 6 finished pairs are of one cell id, and all their checksums are the same"],
    );
    contains_all(&ran.stdout, &["differences: none; in ", " everything is exactly 0"]);
    assert_eq!(ran.stderr, "");
    let document = sandbox.ok("compare a b --json").json();
    assert_eq!(sandbox.tree(), before, "it writes nothing");
    has_keys(&document, &["format", "version", "a", "b", "spec", "environment", "outcomes", "boundaries"]);
    has_keys(&document, &["differences", "intervals", "metrics_only", "verification_statement"]);
    assert_eq!(document["environment"]["class"], Value::Null);
    let outcomes = &document["outcomes"];
    assert_eq!((&outcomes["same_cells"], &outcomes["same_cells_different"]), (&json!(6), &json!(0)));
    assert!(rows(&document).len() > 40, "every metric has its row");
    for row in rows(&document) {
        assert_eq!((&row["mean"], &row["interval"]), (&json!(0.0), &json!([0.0, 0.0])), "{row}");
        let counted =
            ["pairs", "missing_a", "missing_b", "missing_both"].map(|key| row[key].as_u64().expect("a count"));
        assert_eq!(counted.iter().sum::<u64>(), 6);
        assert_eq!(counted[1..3], [0, 0]);
    }
    assert_eq!(document["intervals"]["exclude_zero"], 0);
    // A run against itself, and against one that trained its cells anew.
    contains_all(&sandbox.ok("compare a a").stdout, &["differences: none"]);
    let apart = two("");
    let ran = sandbox.ok(&format!("compare a {}", apart.path("a").display()));
    contains_all(&ran.stdout, &["all their checksums are the same", "differences: none"]);
}

#[test]
fn one_training_setting_is_named_and_so_is_the_shift() {
    let sandbox = two("--set train.learning_rate=0.2");
    let ran = sandbox.ok("compare a b");
    contains_all(&ran.stdout, &["settings: 1 differs, ", "  train.learning_rate: ", " -> 0.2\n"]);
    contains_all(&ran.stdout, &["6 pairs by seed, train.temperature", "no finished pair is of one cell id"]);
    contains_all(
        &ran.stdout,
        &[
            "b - a",
            "95% interval",
            "moved furthest at train.temperature = ",
            " would by chance\nintervals: over 3 seeds from the least",
        ],
    );
    let document = sandbox.ok("compare a b --json").json();
    let settings = document["spec"]["settings"].as_object().expect("settings");
    assert_eq!(settings.keys().collect::<Vec<_>>(), ["train.learning_rate"]);
    assert_eq!(settings["train.learning_rate"]["b"], 0.2);
    assert_eq!(document["spec"]["axes"], json!([]));
    assert_eq!(document["outcomes"]["same_parameters"], 0);

    // The shift of one metric, from the cells themselves.
    let metric = "alignment";
    let row = rows(&document).iter().find(|row| row["metric"] == metric).expect("its row");
    let by_seed = |run: &str| {
        let plan = sandbox.ok(&format!("plan {run}/spec.toml --backend flex --no-calibration --cells --json"));
        let mut sums = [0.0; 3];
        for cell in plan.json()["cells"].as_array().expect("cells") {
            let cell = sandbox.ok(&format!("show {run} {}", cell["cell_id"].as_str().expect("an id"))).json();
            let seed = cell["config"]["seed"].as_u64().expect("a seed") as usize;
            sums[seed] += cell["metrics"][metric].as_f64().expect("a value") / 2.0;
        }
        sums
    };
    let (a, b) = (by_seed("a"), by_seed("b"));
    let shifts: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b - a).collect();
    // Rounding of a few sums of numbers of size one.
    let near = |value: &Value, expected: f64| (value.as_f64().expect("a number") - expected).abs() < 1e-12;
    assert!(shifts.iter().all(|shift| *shift != 0.0));
    assert!(near(&row["mean"], shifts.iter().sum::<f64>() / 3.0), "{row} {shifts:?}");
    let (low, high) = shifts.iter().fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
    assert!(near(&row["interval"][0], low) && near(&row["interval"][1], high), "{row} {shifts:?}");
    assert_eq!((&row["seeds"], &row["pairs"]), (&json!(3), &json!(6)));
    // What moved most for its spread comes first.
    let effects: Vec<f64> = rows(&document).iter().filter_map(|row| row["effect"].as_f64()).map(f64::abs).collect();
    assert!(effects.is_sorted_by(|x, y| x >= y), "{effects:?}");
}

/// Noise that takes images and sentences apart, and a gate that says how far.
const NOISY: &str = "name = \"n\"\npreset = \"tiny\"\n[axes]\nseed = { seeds = 3 }\n\"image.noise\" = [0.0, 2.0]\n\
                     [[gate]]\nname = \"near\"\nmetric = \"alignment\"\nmax = 1.0\n";

/// The cells of a run: seed, noise, alignment.
fn alignments(sandbox: &Sandbox, run: &str) -> Vec<(u64, f64, f64)> {
    let plan = sandbox.ok(&format!("plan {run}/spec.toml --backend flex --no-calibration --cells --json")).json();
    let cell = |cell: &Value| {
        let shown = sandbox.ok(&format!("show {run} {}", cell["cell_id"].as_str().expect("an id"))).json();
        let noise = shown["config"]["image"]["noise"].as_f64().expect("a level");
        let seed = shown["config"]["seed"].as_u64().expect("a seed");
        (seed, noise, shown["metrics"]["alignment"].as_f64().expect("a value"))
    };
    plan["cells"].as_array().expect("cells").iter().map(cell).collect()
}

#[test]
fn one_training_setting_shifts_a_boundary() {
    let sandbox = Sandbox::new();
    sandbox.write("n.toml", NOISY);
    sandbox.ok("run n.toml -o a --backend flex");
    sandbox.ok("run n.toml -o b --backend flex --set train.learning_rate=0.2");
    let ran = sandbox.ok("compare a b");
    contains_all(&ran.stdout, &["settings: 1 differs, ", "  train.learning_rate: ", " -> 0.2\n"]);
    contains_all(&ran.stdout, &["boundaries on 2 lines of both", "shift [95%]", "near", "image.noise", "above"]);
    let document = sandbox.ok("compare a b --json").json();
    let found = &document["boundaries"];
    assert_eq!((&found["lines"], &found["defined_differently"]), (&json!(2), &json!([])));
    let shift = &found["shifts"][0];
    assert_eq!(
        (&shift["constraint"], &shift["axis"], &shift["side"]),
        (&"near".into(), &"image.noise".into(), &"upper".into())
    );
    assert_eq!((&shift["scale"], &shift["seeds"], &shift["biased"]), (&"linear".into(), &json!(3), &json!(false)));
    // Where a straight line from noise 0 to 2 meets the bound, from the cells themselves.
    let edges = |run: &str| -> Vec<f64> {
        let cells = alignments(&sandbox, run);
        let at = |seed: u64, noise: f64| cells.iter().find(|c| c.0 == seed && c.1 == noise).expect("a cell").2;
        (0..3).map(|seed| 2.0 * (1.0 - at(seed, 0.0)) / (at(seed, 2.0) - at(seed, 0.0))).collect()
    };
    let shifts: Vec<f64> = edges("b").iter().zip(edges("a")).map(|(b, a)| b - a).collect();
    // Rounding of a few operations on numbers of size one.
    let near = |value: &Value, expected: f64| (value.as_f64().expect("a number") - expected).abs() < 1e-12;
    assert!(near(&shift["shift"], shifts.iter().sum::<f64>() / 3.0), "{shift} {shifts:?}");
    let (low, high) = shifts.iter().fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
    // All edges lie between the two levels, anywhere, in both runs.
    assert!(-2.0 <= low && high <= 2.0);
    assert_eq!((&shift["interval"], &shift["open"]), (&json!([-2.0, 2.0]), &json!([-2.0, 2.0])));
    contains_all(
        &ran.stdout,
        &["  intervals: over 3 seeds from the least value to the greatest", "never narrower than what the levels"],
    );

    // Against itself it is exactly where it was, and so it is against the same run with a level more.
    contains_all(
        &sandbox.ok("compare a a").stdout,
        &["none is known to have moved", "1 boundary is exactly where it was"],
    );
    sandbox.write("n.toml", format!("{NOISY}[[include]]\nimage.noise = 1.0\n"));
    sandbox.ok("run n.toml -o finer --backend flex");
    let ran = sandbox.ok("compare a finer");
    contains_all(&ran.stdout, &["only b has 1\n", "1 boundary is exactly where it was"]);
    let same = &sandbox.ok("compare a finer --json").json()["boundaries"]["shifts"][0];
    assert_eq!((&same["shift"], &same["interval"], &same["same"]), (&json!(0.0), &json!([0.0, 0.0]), &json!(3)));
    assert_ne!(same["level"]["a"], same["level"]["b"], "finer levels place it better");

    // A gate of the same name that asks for something else.
    sandbox.write("n.toml", NOISY.replace("max = 1.0", "max = 1.5"));
    sandbox.ok("run n.toml -o looser --backend flex");
    contains_all(&sandbox.ok("compare a looser").stdout, &["not compared: defined differently: near"]);
    // The table is of the gates that the run was made with.
    std::fs::copy(sandbox.path("looser/spec.toml"), sandbox.path("a/spec.toml")).expect("copied");
    let ran = sandbox.ok("compare a looser");
    contains_all(
        &ran.stdout,
        &["boundaries: not compared; a/boundaries.parquet is of other gates than its spec.toml has"],
    );
    assert_eq!(sandbox.ok("compare a looser --json").json()["boundaries"], Value::Null);
    // As an earlier version leaves a run.
    let path = sandbox.path("b/manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    manifest["tables"].as_object_mut().expect("tables").remove("boundaries.parquet").expect("it was there");
    std::fs::write(&path, manifest.to_string()).expect("written");
    std::fs::remove_file(sandbox.path("b/boundaries.parquet")).expect("removed");
    let ran = sandbox.ok("compare b looser");
    contains_all(&ran.stdout, &["boundaries: not compared; b has no boundaries.parquet", "b - a over seeds"]);
    assert_eq!(sandbox.ok("compare b looser --json").json()["boundaries"], Value::Null);
}

#[test]
fn levels_and_axes_of_one_run_only_are_named_and_the_rest_is_paired() {
    let sandbox = two("--axis train.temperature=0.5,0.9 --axis seed=1,2,3");
    contains_all(
        &sandbox.ok("compare a b").stdout,
        &[
            "settings: ",
            " are fixed in both and the same",
            "  train.temperature: 1 level in both; only a has 0.1; only b has 0.9",
        ],
    );
    let document = sandbox.ok("compare a b --json").json();
    let outcomes = &document["outcomes"];
    assert_eq!((&outcomes["pairs"], &outcomes["unpaired"]), (&json!(2), &json!({ "a": 4, "b": 4 })));
    assert_eq!(outcomes["same_cells"], 2);
    assert!(rows(&document).iter().all(|row| row["mean"] == 0.0 || row["pairs"] == 0));
    // One run has no such axis: the other is taken at its level.
    sandbox.ok("run c.toml -o fixed --backend flex --axis train.temperature=0.5");
    let ran = sandbox.ok("compare a fixed");
    contains_all(&ran.stdout, &["  train.temperature: 1 level in both; fixed to 0.5 in b; only a has 0.1"]);
    contains_all(&ran.stdout, &["3 pairs by seed, train.temperature", "3 cells in a only", "differences: none"]);
}

#[test]
fn unfinished_cells_are_counted() {
    let sandbox = two("--axis seed=0,1");
    // As a run that was stopped leaves it: two cells of six have no rows.
    std::fs::copy(sandbox.path("a/spec.toml"), sandbox.path("b/spec.toml")).expect("copied");
    let ran = sandbox.ok("compare a b");
    contains_all(&ran.stdout, &["settings: the same", "6 of 6 finished in a, 4 of 6 in b, 4 of the pairs in both"]);
    contains_all(&ran.stdout, &["4 ok in both, 2 ok -> unfinished", "same cells: 4 finished pairs"]);
    let document = sandbox.ok("compare b a --json").json();
    for row in rows(&document) {
        assert_eq!((&row["missing_b"], &row["mean"]), (&json!(0), &json!(0.0)), "{row}");
        let counted = ["pairs", "missing_a", "missing_both"].map(|key| row[key].as_u64().expect("a count"));
        assert_eq!(counted.iter().sum::<u64>(), 6);
    }
    let lost = rows(&document).iter().find(|row| row["metric"] == "lost").expect("its row");
    assert_eq!((&lost["pairs"], &lost["missing_a"]), (&json!(4), &json!(2)));
}

#[test]
fn other_gates_names_and_conditions_are_told() {
    let sandbox = two("");
    let gate = "[[gate]]\nmetric = \"effective_rank_img\"\nmin = ";
    sandbox.write("g.toml", format!("{SPEC}{gate}1.0\n"));
    sandbox.ok("run g.toml -o g --backend flex");
    contains_all(&sandbox.ok("compare a g").stdout, &["gates:\n  effective-rank-img: in b only", "differences: none"]);
    let condition = "[[condition]]\nname = \"noisy\"\nimage.noise = 0.5\n";
    sandbox.write("h.toml", format!("{SPEC}{gate}2.5\n{condition}").replace("\"c\"", "\"h\""));
    sandbox.ok("run h.toml -o h --backend flex");
    let ran = sandbox.ok("compare g h");
    contains_all(&ran.stdout, &["name (no setting): c -> h", "  effective-rank-img: min: 1 -> 2.5"]);
    // Conditions are part of the ids and of no training.
    contains_all(&ran.stdout, &["conditions:\n  noisy: in b only", "no finished pair is of one cell id; 6 pairs with"]);
    contains_all(&ran.stdout, &["differences: none"]);
}

#[test]
fn classes_are_compared_and_that_is_said_first() {
    let sandbox = two("");
    sandbox.ok("run c.toml -o n --backend ndarray");
    let ran = sandbox.ok("compare a n");
    let classes = ran.stdout.lines().nth(2).expect("a third line");
    contains_all(classes, &["The classes differ, so numbers differ by rounding"]);
    contains_all(&ran.stdout, &["settings: the same", "  backend: flex -> ndarray", "of them have different numbers"]);
    contains_all(&ran.stdout, &["6 ok in both", "b - a"]);
    let document = sandbox.ok("compare a n --json").json();
    contains_all(document["environment"]["class"]["b"].as_str().expect("a class"), &["ndarray"]);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let sandbox = two("--axis seed=7,8");
    refused(&sandbox, "compare a b", &["a and b cannot be compared", "they share no level of `seed`"]);
    refused(&sandbox, "compare a b --json", &["they share no level of `seed`"]);
    refused(&sandbox, "compare a nowhere", &["nowhere is not a run directory"]);
    refused(&sandbox, "compare a", &["required arguments", "<B>"]);
    sandbox.ok("run c.toml -o apart --backend flex --axis train.temperature=0.2,0.3");
    refused(&sandbox, "compare a apart", &["they share no level of `train.temperature`"]);
    crate::common::flip(&sandbox.path("apart/boundaries.parquet"), 100);
    refused(&sandbox, "compare a apart", &["apart/boundaries.parquet is not what manifest.json lists"]);
    crate::common::flip(&sandbox.path("b/cells.parquet"), 100);
    refused(&sandbox, "compare a b", &["b/cells.parquet is not what manifest.json lists"]);
    std::fs::remove_file(sandbox.path("b/conditions.parquet")).expect("removed");
    refused(&sandbox, "compare a b", &["b has no conditions.parquet yet"]);
}

#[test]
fn conditions_to_fail_on_decide_the_exit_code() {
    let sandbox = two("--set train.learning_rate=0.2");
    let row = |metric: &str| {
        let document = sandbox.ok("compare a b --json").json();
        rows(&document)
            .iter()
            .find(|row| row["metric"] == metric && row["condition"] == "clean")
            .expect("its row")
            .clone()
    };
    let row = row("alignment");
    let (low, high) = (row["interval"][0].as_f64().expect("an end"), row["interval"][1].as_f64().expect("an end"));
    assert_eq!(row["changed"], 6);
    // The interval lies above what is just below it, and below what is just above.
    let ran = sandbox.run(&format!("compare a b --fail-on alignment>{}", low - 0.001));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    contains_all(
        &ran.stdout,
        &[
            "fail on alignment>",
            ": holds: b - a is ",
            " over 3 seeds; interval ",
            "over 3 seeds from the least value to the greatest",
        ],
    );
    sandbox.ok(&format!("compare a b --fail-on alignment>{}", low + 0.001));
    assert_eq!(sandbox.run(&format!("compare a b --fail-on alignment<{}", high + 0.001)).code, Some(1));
    sandbox.ok(&format!("compare a b --fail-on alignment<{} --fail-on lost>0", high - 0.001));
    // One of several is enough.
    let both = format!("compare a b --fail-on lost>0 --fail-on alignment<{} --json", high + 0.001);
    let ran = sandbox.run(&both);
    assert_eq!(ran.code, Some(1));
    let document = ran.json();
    let answers: Vec<&Value> =
        document["fail_on"].as_array().expect("answers").iter().map(|one| &one["answer"]).collect();
    assert_eq!((answers, &document["exit_code"]), (vec![&json!("does_not_hold"), &json!("holds")], &json!(1)));
    // A change of a bit, and none.
    contains_all(
        &sandbox.run("compare a b --fail-on any-change").stdout,
        &["fail on any-change: holds: 6 pairs differ in id"],
    );
    contains_all(
        &sandbox.ok("compare a a --fail-on any-change").stdout,
        &["does not hold: all 6 pairs are the same to the bit"],
    );
    sandbox.ok("run c.toml -o fewer --backend flex --axis seed=0,1");
    let fewer = sandbox.run("compare a fewer --fail-on any-change");
    assert_eq!(fewer.code, Some(1));
    contains_all(&fewer.stdout, &["2 cells are in one run only"]);
    // Two seeds tell nothing, which is no all-clear.
    let few = sandbox.run("compare a fewer --fail-on alignment>5");
    assert_eq!(few.code, Some(1));
    contains_all(&few.stdout, &["cannot be judged, which counts as if it held", "it takes 3 seeds"]);
    let unmeasured = sandbox.run("compare a b --fail-on cca_mean<-0.1");
    assert_eq!(unmeasured.code, Some(1));
    contains_all(&unmeasured.stdout, &["no pair of cells has a value in both runs"]);
    // What cannot be meant.
    refused(
        &sandbox,
        "compare a b --fail-on alignmnt>0",
        &["there is no metric `alignmnt`; the nearest is `alignment`"],
    );
    refused(&sandbox, "compare a b --fail-on alignment@noisy>0", &["share no condition `noisy`; they share clean"]);
    refused(&sandbox, "compare a b --fail-on alignment", &["compares nothing", "any-change"]);
    refused(&sandbox, "compare a b --fail-on alignment>big", &["\"big\" is no number"]);
}
