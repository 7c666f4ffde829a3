//! `lab`: a whole laboratory on tiny models, what it leaves, and that it goes on where it was.

use serde_json::{Value, json};

use crate::common::{Sandbox, flip};
use crate::{contains_all, has_keys, refused};

/// Worlds too small to conclude anything from, and curves too short.
const TINY: &str = "--backend native --set world.image_size=8 --set world.n_validation=64 --set \
                    model.embedding=4 --set curves.every=4 --set curves.validate_every=60 --set curves.structure_every=60 \
                    --set stop.every=60";

fn document(sandbox: &Sandbox) -> Value {
    serde_json::from_slice(&std::fs::read(sandbox.path("lab/lab.json")).expect("a file")).expect("JSON")
}

#[test]
fn a_laboratory_runs_its_families_and_judges_what_is_expected_of_them() {
    let sandbox = Sandbox::new();
    // An axis of one family, and one of all.
    let go = format!(
        "lab geometry --quick -o lab {TINY} --set world.n_train=512 --set world.n_test=64 --axis train.temperature=0.02,0.07,0.5 --axis seed=0,1,2"
    );
    let refused = sandbox.run(&format!("{go} --axis image.mask=0,0.1"));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    contains_all(&refused.stderr, &["no family of geometry varies image.mask", "train.temperature"]);
    let ran = sandbox.ok(&go);
    contains_all(
        &ran.stderr,
        &["gradients: ", "a cell trained twice has the same bits", "1 of 5: Trained and untrained."],
    );
    contains_all(&ran.stdout, &["training-aligns", "geometry-batch: ", "what the source says: ", "lab/report.html"]);
    let found = document(&sandbox);
    has_keys(
        &found,
        &["format", "version", "laboratory", "checks", "families", "findings", "verdicts", "verification_statement"],
    );
    assert_eq!(
        (&found["format"], &found["quick"], &found["complete"]),
        (&json!("cliffline-lab"), &json!(true), &json!(true))
    );
    assert_eq!(found["checks"]["passed"], true);
    let families = found["families"].as_array().expect("a list");
    assert_eq!(families.len(), 5);
    for family in families {
        let dir = family["dir"].as_str().expect("a path");
        sandbox.ok(&format!("verify lab/{dir}"));
    }
    let findings = found["findings"].as_array().expect("a list");
    let finding = findings.iter().find(|f| f["name"] == "training-aligns").expect("expected of the first family");
    has_keys(
        finding,
        &["source", "says", "quantity", "at", "against", "expects", "matters", "difference", "low", "high", "verdict"],
    );
    // The interval is of the pairs that are listed.
    let pairs = finding["pairs"].as_array().expect("pairs");
    let difference =
        |pair: &Value| pair["at"].as_f64().expect("a number") - pair["against"].as_f64().expect("a number");
    let mean = pairs.iter().map(difference).sum::<f64>() / pairs.len() as f64;
    assert!((mean - finding["difference"].as_f64().expect("a number")).abs() < 1e-12);

    let page = std::fs::read_to_string(sandbox.path("lab/report.html")).expect("a page");
    contains_all(
        &page,
        &["The geometry laboratory", "Not verified for live deployment", "runs/geometry-noise/report.html"],
    );
    assert!(!page.replace("http://www.w3.org/2000/svg", "").contains("http"), "it loads nothing");

    // What was changed stands first, everywhere, and its verdicts are exploratory.
    let first = "changed by the command line: --quick: fewer seeds and levels; --set world.image_size=8; ";
    assert!(ran.stdout.starts_with(first), "{}", ran.stdout);
    contains_all(
        &ran.stdout,
        &["the verdicts are exploratory: its sentences and thresholds were written for other settings: "],
    );
    contains_all(&ran.stdout, &["--axis train.temperature=0.02,0.07,0.5\n", " (exploratory)\n"]);
    let changed = page.find("Changed on the command line").expect("it says so");
    assert!(changed < page.find("Source: ").expect("what it is"), "before what the laboratory is");
    assert!(!page.contains("before a cell of it was trained"));
    assert_eq!((&found["standing"], &finding["standing"]), (&json!("exploratory"), &json!("exploratory")));
    assert_eq!(found["changed"][1], "--set world.image_size=8");
    let report: Value =
        serde_json::from_slice(&std::fs::read(sandbox.path("lab/report.json")).expect("a file")).expect("JSON");
    contains_all(
        report["analysis"].as_str().expect("text").lines().next().expect("a line"),
        &["Changed on the command line"],
    );
    // By what it is judged was recorded before cells were trained.
    let registration = &found["registration"];
    assert_eq!((&registration["cells_before"], &registration["changed_utc"]), (&json!(0), &Value::Null));
    assert_eq!(registration["families"][0]["seeds"], json!([0, 1, 2]));
    assert_eq!(registration["sentences"].as_array().expect("a list").len(), findings.len());
    let log = std::fs::read_to_string(sandbox.path("lab/directives.jsonl")).expect("a log");
    let steps: Vec<String> =
        log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["step"].to_string()).collect();
    assert_eq!(steps[..4], ["\"plan\"", "\"register\"", "\"check\"", "\"run\""]);

    let again = sandbox.ok(&go);
    contains_all(&again.stderr, &["nothing to do"]);
    assert!(!again.stderr.contains("training 1 of"), "{}", again.stderr);
    assert_eq!(document(&sandbox), found);
    what_was_not_recorded_or_trained_here_is_said(&sandbox, &go, &found);
}

/// Cells that families took over from one another are the laboratory's own; others are from outside of it. A record
/// that somebody changed counts as none.
fn what_was_not_recorded_or_trained_here_is_said(sandbox: &Sandbox, go: &str, found: &Value) {
    let families = found["families"].as_array().expect("a list");
    assert!(families.iter().any(|family| family["taken_over"].as_u64() > Some(0)), "families share their reference");
    assert_eq!(found["cells_taken_over"], 0);
    let reasons = |found: &Value| found["why_exploratory"].to_string();
    assert!(!reasons(found).contains("outside"), "{}", reasons(found));

    // A family whose run is gone takes its cells from a run that is none of the laboratory's.
    let runs = sandbox.path("lab/runs");
    std::fs::rename(runs.join("geometry-noise"), runs.join("elsewhere")).expect("moved");
    contains_all(&sandbox.ok(go).stderr, &["from lab/runs/elsewhere"]);
    let again = document(sandbox);
    let outside = again["cells_taken_over"].as_u64().expect("a count");
    assert!(outside > 0, "{again}");
    contains_all(
        &reasons(&again),
        &[&format!("{outside} of its cells were taken over from runs outside of this laboratory")],
    );
    assert_eq!((&again["registration"], &again["standing"]), (&found["registration"], &json!("exploratory")));

    let path = sandbox.path("lab/manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    manifest["registration"]["recorded_utc"] = json!("2026-01-01T00:00:00Z");
    std::fs::write(&path, manifest.to_string()).expect("written");
    contains_all(&sandbox.ok(go).stderr, &["is not what directives.jsonl has: it counts as not recorded"]);
    let late = document(sandbox);
    assert!(late["registration"]["changed_utc"].is_string(), "{}", late["registration"]);
    contains_all(&reasons(&late), &["when cells were finished that had been run under another record"]);
}

#[test]
fn a_sealed_laboratory_names_what_changed_and_mechanisms_are_attributed_by_it() {
    let sandbox = Sandbox::new();
    // Information needs more test samples than the rest.
    let go =
        format!("lab failures --quick -o lab {TINY} --set train.steps=60 --set world.n_test=256 --axis seed=0,1,2,3");
    let ran = sandbox.ok(&go);
    contains_all(
        &ran.stdout,
        &["attribution by the panel: balanced accuracy ", "attribution by retrieval and loss alone: "],
    );
    let passed = sandbox.ok("verify lab");
    contains_all(&passed.stdout, &["lab: passed: "]);
    let attribution = &document(&sandbox)["attribution"];
    let views = attribution["views"].as_array().expect("views");
    let cells: u64 = views[0]["roles"].as_array().expect("roles").iter().map(|r| r["cells"].as_u64().expect("n")).sum();
    let counted = |row: &Value| row.as_array().expect("a row").iter().map(|n| n.as_u64().expect("n")).sum::<u64>();
    let told: u64 = views[1]["confusion"].as_array().expect("rows").iter().map(counted).sum();
    assert_eq!(told, cells, "both views judge every cell");
    assert_eq!((&attribution["calibration_seeds"], &attribution["validation_seeds"]), (&json!([2, 3]), &json!([0, 1])));

    let attributed = sandbox.ok("attribute lab/runs/failures-noise --by lab --json").json();
    assert_eq!(attributed["rows"].as_array().expect("rows").len(), 6);
    assert_eq!(sandbox.run("attribute lab/runs/failures-noise --by lab/runs").code, Some(2));

    unpacked_elsewhere_it_reads_the_same(&sandbox, &attributed);
    // What the laboratory sealed is not renewed below it.
    let before = sandbox.tree();
    sandbox.ok("report lab/runs/failures-noise");
    refused(&sandbox, "bundle lab/runs/failures-noise --with-parts", &["belongs to the laboratory", "-o"]);
    assert_eq!(sandbox.tree(), before);

    for file in ["lab.json", "attribution.json", "ledger.jsonl", "runs/failures-noise/cells.parquet", "bundle.zip"] {
        let path = sandbox.path(&format!("lab/{file}"));
        let before = std::fs::read(&path).expect("a file");
        flip(&path, before.len() as i64 / 2);
        let found = sandbox.run("verify lab");
        assert_eq!(found.code, Some(1), "{file}: {found:?}");
        contains_all(&found.stdout, &[format!("{file}: ").as_str()]);
        std::fs::write(&path, before).expect("written");
    }
    // What somebody lays beside it is not sealed as if it were its own.
    sandbox.write("lab/notes.txt", "mine");
    contains_all(&sandbox.run("verify lab").stdout, &["notes.txt: "]);
    sandbox.ok(&go);
    contains_all(&sandbox.run("verify lab").stdout, &["notes.txt: "]);
}

fn unpacked_elsewhere_it_reads_the_same(sandbox: &Sandbox, attributed: &Value) {
    let bundle = std::fs::File::open(sandbox.path("lab/bundle.zip")).expect("a bundle");
    zip::ZipArchive::new(bundle).expect("a zip file").extract(sandbox.path("out")).expect("unpacked");
    let before = sandbox.tree();
    let status = sandbox.ok("status out --json").json();
    assert_eq!((&status["complete"], &status["unpacked_with_parts"]), (&json!(true), &json!(false)));
    contains_all(&sandbox.ok("verify out").stdout, &["out: passed: ", "parts/ is not in this bundle"]);
    let run = "out/runs/failures-noise";
    contains_all(&sandbox.ok(&format!("verify {run}")).stdout, &["passed: ", "parts/ is not in this bundle"]);
    contains_all(&sandbox.ok(&format!("status {run}")).stdout, &["complete, unpacked from a bundle without parts/"]);
    let again = sandbox.ok(&format!("attribute {run} --by out --json")).json();
    assert_eq!(again["rows"], attributed["rows"]);
    let boundary = |dir: &str| sandbox.ok(&format!("boundary {dir} --json")).json()["boundaries"].clone();
    assert_eq!(boundary(run), boundary("lab/runs/failures-noise"));
    sandbox.ok(&format!("report {run}"));
    refused(sandbox, "report out", &["out is a laboratory: name one of its runs", "out/runs"]);
    refused(sandbox, "lab failures --quick -o out", &["nothing can be trained here", "bundle --with-parts"]);
    assert_eq!(sandbox.tree(), before);
    std::fs::remove_dir_all(sandbox.path("out")).expect("removed");
}

#[test]
fn a_laboratory_at_work_or_killed_is_not_said_to_be_wrong() {
    let sandbox = Sandbox::new();
    let go = format!("lab geometry --quick -o lab {TINY}");
    let mut lab = sandbox.command(&go).spawn().expect("the program starts");
    let mut codes = std::collections::BTreeSet::new();
    while !sandbox.path("lab/runs/geometry-noise/parts").exists() {
        let begun = sandbox.path("lab/.lock").exists();
        let ran = sandbox.run("verify lab");
        assert!(ran.code == Some(4) || !begun && ran.code == Some(2), "{ran:?}");
        codes.insert(ran.code);
        assert!(lab.try_wait().expect("its status").is_none(), "it ended too early");
    }
    assert!(codes.contains(&Some(4)));
    let verified = sandbox.run("verify lab");
    contains_all(&verified.stdout, &["lab: the laboratory is at work, and seals its directory at its end"]);
    assert_eq!(verified.code, Some(4));
    contains_all(&sandbox.ok("status lab").stdout, &["lab: the laboratory geometry: live; "]);
    assert_eq!(sandbox.run("bundle lab").code, Some(4));
    lab.kill().and_then(|()| lab.wait()).expect("killed");
    let verified = sandbox.run("verify lab");
    assert_eq!(verified.code, Some(4), "{verified:?}");
    contains_all(&verified.stdout, &["lab: the laboratory was stopped before it sealed its directory"]);
    assert_eq!(sandbox.run("status lab").code, Some(4));
}

#[test]
fn an_unknown_laboratory_is_refused_with_those_that_there_are() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run("lab alchemy");
    assert_eq!(ran.code, Some(2));
    contains_all(&ran.stderr, &["alchemy", "geometry", "failures"]);
}
