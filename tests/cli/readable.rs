//! Commands that read a run, whatever became of it: at work, killed, unpacked from its bundle, somebody else's.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Ran, Sandbox, parts};
use crate::{contains_all, refused};

/// Flips of a gate and of another along one axis, a further condition, a limit that is broken on the way.
const SPEC: &str = r#"
name = "readable"
preset = "tiny"
[train]
steps = 30
[stop]
every = 10
[warn]
hub_gini_above = 0.2
[axes]
seed = { seeds = 3 }
"train.temperature" = [0.04, 0.3, 0.9]
[[condition]]
name = "grey"
"image.noise" = 0.5
[[gate]]
metric = "effective_rank_img"
min = 5.0
[[gate]]
metric = "lost"
max = 0.0
"#;
const GO: &str = "run r.toml -o run --backend flex";
/// Commands that read a run and print what it comes to.
const READERS: [&str; 4] = ["status run", "gate run --json", "boundary run --json", "compare run run --json"];

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("r.toml", SPEC);
    sandbox
}

fn ended() -> Sandbox {
    let sandbox = sandbox();
    sandbox.ok(GO);
    sandbox
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

fn first_id(sandbox: &Sandbox) -> String {
    let plan = sandbox.ok("plan r.toml --backend flex --no-calibration --cells --json").json();
    plan["cells"][0]["cell_id"].as_str().expect("an id").to_string()
}

/// Makes a run what a process leaves that is killed after its last cell and before its first table.
fn as_killed(sandbox: &Sandbox, run: &str) {
    let dir = sandbox.path(run);
    for entry in std::fs::read_dir(&dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        let kept = ["spec.toml", "manifest.json", "directives.jsonl", "cliffline.json"];
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_string();
        if path.is_file() && !name.starts_with('.') && !kept.contains(&name.as_str()) {
            std::fs::remove_file(path).expect("removed");
        }
    }
    std::fs::remove_dir_all(dir.join("plots")).expect("removed");
    begun_again(sandbox, run);
}

/// Makes the manifest say that a session began.
fn begun_again(sandbox: &Sandbox, run: &str) {
    let path = sandbox.path(run).join("manifest.json");
    let mut manifest = read(&path);
    for key in ["merkle_root", "cells_merkle_root", "bundle"] {
        manifest.as_object_mut().expect("an object").remove(key);
    }
    (manifest["state"], manifest["tables"]) = (json!("running"), json!({}));
    std::fs::write(path, manifest.to_string()).expect("written");
}

fn without<const N: usize>(mut value: Value, keys: [&str; N]) -> Value {
    for key in keys {
        value.as_object_mut().expect("an object").remove(key);
    }
    value
}

#[test]
fn a_killed_run_reads_as_the_same_run_with_its_tables() {
    let sandbox = ended();
    let id = first_id(&sandbox);
    let asked = ["gate run --json", "boundary run --json", "compare run run --json"].map(String::from);
    let asked = [asked.to_vec(), vec![format!("show run {id}")]].concat();
    let before: Vec<Value> = asked.iter().map(|asked| sandbox.run(asked).json()).collect();
    let page = std::fs::read_to_string(sandbox.path("run/report.html")).expect("a page");

    as_killed(&sandbox, "run");
    let killed = sandbox.tree();
    for (asked, before) in asked.iter().zip(before) {
        let ran = sandbox.run(asked);
        // What says when and how the run ended differs, and nothing else.
        let same = |value: Value| {
            let mut value = without(value, ["environment"]);
            for side in ["a", "b"] {
                value.as_object_mut().expect("an object").remove(side);
            }
            value
        };
        assert_eq!(same(ran.json()), same(before), "{asked}");
        if !asked.starts_with("show") {
            contains_all(&ran.stderr, &["run: the run was killed: this is of the 9 of 9 cells that were finished"]);
        }
    }
    assert_eq!(sandbox.tree(), killed, "nothing is written into it");
    contains_all(&sandbox.run("gate run").stderr, &["gates.json is left as it is"]);
    let verified = sandbox.run("verify run");
    assert_eq!(verified.code, Some(4), "{verified:?}");
    contains_all(&verified.stderr, &["the run was killed before it wrote a ledger"]);
    assert_eq!(sandbox.run("status run").code, Some(4));

    let ran = sandbox.ok("report run -o page.html");
    contains_all(&ran.stdout, &["page.html: "]);
    assert_eq!(sandbox.tree().len(), killed.len() + 1);
    let drawn = std::fs::read_to_string(sandbox.path("page.html")).expect("a page");
    contains_all(&drawn, &["<li><b>9</b> of 9 cells finished</li>", "The run was at work, or was killed"]);
    // The same pictures but those of embeddings, which need the run's end.
    let figures = |page: &str| page.matches("<figure").count();
    assert!(figures(&drawn) > 3 && figures(&drawn) <= figures(&page), "{} {}", figures(&drawn), figures(&page));
    contains_all(&sandbox.ok("report run").stderr, &["its manifest does not list this report"]);
    // And then it goes on as if nobody had looked.
    sandbox.ok(GO);
    let again = std::fs::read_to_string(sandbox.path("run/report.html")).expect("a page");
    // It says that another process ended it.
    assert_eq!(again.replacen(" (last of 2 processes)", "", 1), page);
    assert_ne!(again, page);
    sandbox.ok("verify run");
}

#[test]
fn tables_of_an_earlier_session_are_not_taken_for_those_of_a_killed_one() {
    let sandbox = sandbox();
    let tables = ["cells.parquet", "conditions.parquet", "margins.parquet", "boundaries.parquet", "lead_lag.parquet"];
    sandbox.ok(&format!("{GO} --axis seed=0,1"));
    let old = tables.map(|file| std::fs::read(sandbox.path(&format!("run/{file}"))).expect("a table"));
    sandbox.ok(GO);
    let now = sandbox.run("boundary run --json").json();
    for (file, old) in tables.iter().zip(old) {
        sandbox.write(&format!("run/{file}"), old);
    }
    begun_again(&sandbox, "run");
    assert_eq!(sandbox.ok("boundary run --json").json(), now, "of three seeds");
    // Nor those of a session that took cells over from a sibling and was killed before it said so.
    let sandbox = self::sandbox();
    sandbox.ok(&format!("{GO} --axis seed=0,1"));
    let few = sandbox.ok("boundary run --json").json();
    let path = sandbox.path("run/manifest.json");
    let (before, spec) = (std::fs::read(&path), std::fs::read(sandbox.path("run/spec.toml")));
    let tables_before = tables.map(|file| std::fs::read(sandbox.path(&format!("run/{file}"))).expect("a table"));
    sandbox.ok(GO);
    for (file, old) in tables.iter().zip(tables_before) {
        sandbox.write(&format!("run/{file}"), old);
    }
    std::fs::write(&path, before.expect("a manifest")).expect("written");
    let ran = sandbox.ok("boundary run --json");
    assert_ne!(ran.json(), few);
    contains_all(&ran.stderr, &["the tables are older than the parts"]);
    sandbox.write("run/spec.toml", spec.expect("a spec"));
    assert_eq!(sandbox.ok("boundary run --json").json(), few, "the cells of that plan");
}

/// A process that does not outlive its test.
struct Running(Child);

impl Running {
    fn start(sandbox: &Sandbox, arguments: &str) -> Self {
        Self(sandbox.command(arguments).spawn().expect("the program starts"))
    }

    /// Does `look` again and again, until it says that it has seen enough.
    fn while_at_work(&mut self, mut look: impl FnMut() -> bool) {
        let started = Instant::now();
        while look() {
            assert!(started.elapsed() < Duration::from_secs(120), "nothing happens");
            assert!(self.0.try_wait().expect("its status").is_none(), "it ended too early");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One pack per cell, and more of them than the test waits for.
const LONG: &str =
    "run r.toml -o run --backend flex --threads 1 --pack 1 --set train.steps=4000 --axis seed=seeds:30 --no-report";

#[test]
fn a_run_at_work_is_read_and_nothing_of_it_is_said_to_be_wrong() {
    let sandbox = sandbox();
    let mut running = Running::start(&sandbox, LONG);
    let lock = sandbox.path("run/.lock");
    running.while_at_work(|| !lock.exists());
    // From its first instant on: it is at work, and not wrong.
    let mut looks = 0;
    running.while_at_work(|| {
        for (command, codes) in [
            ("verify run --json", &[4][..]),
            ("status run --json", &[0]),
            ("gate run --json", &[4, 1]),
            ("boundary run --json", &[4, 0]),
            ("report run -o page.html --json", &[4, 0]),
            ("compare run run --json", &[4, 0]),
        ] {
            let Ran { code, stdout, stderr } = sandbox.run(command);
            assert!(code.is_some_and(|code| codes.contains(&code)), "{command}: {code:?} {stdout} {stderr}");
            assert!(!stdout.contains("FAILED") && !stderr.contains("error"), "{command}: {stdout} {stderr}");
            if code == Some(4) {
                contains_all(&(stderr + &stdout), &["live"][..usize::from(command.starts_with("verify"))]);
            }
        }
        looks += 1;
        parts(&sandbox.path("run")).len() < 2
    });
    assert!(looks > 1);
    let boundary = sandbox.ok("boundary run");
    contains_all(
        &boundary.stderr,
        &["run: the run is at work: this is of the ", " of 90 cells that are finished so far"],
    );
    let gate = sandbox.run("gate run");
    contains_all(&gate.stderr, &["the command that made the run writes it at its end"]);
    let report = sandbox.ok("report run");
    contains_all(&report.stderr, &["its manifest does not list this report"]);
    assert!(sandbox.path("run/report.html").is_file());
    let verified = sandbox.run("verify run");
    assert_eq!(verified.code, Some(4), "{verified:?}");
    contains_all(&verified.stdout, &["run: at work, and sound so far: "]);
    refused_with(&sandbox, "bundle run", 4, &["run is at work: it makes its bundle at its end"]);

    // Killed, it reads the same.
    drop(running);
    let boundary = sandbox.ok("boundary run");
    contains_all(&boundary.stderr, &["run: the run was killed: this is of the "]);
    assert_eq!(sandbox.run("verify run").code, Some(4));
}

fn refused_with(sandbox: &Sandbox, arguments: &str, code: i32, phrases: &[&str]) {
    let ran = sandbox.run(arguments);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{arguments}: {ran:?}");
    contains_all(&ran.stderr, phrases);
}

#[test]
fn what_was_killed_before_it_wrote_anything_is_said_to_be_that() {
    let sandbox = sandbox();
    std::fs::create_dir_all(sandbox.path("run/parts")).expect("a folder");
    sandbox.write("run/.lock", "");
    sandbox.write("run/cliffline.json", "{\"format\": \"cliffline-directory\", \"version\": 1, \"holds\": \"run\"}\n");
    let before = sandbox.tree();
    for command in ["gate run", "boundary run", "report run", "compare run run", "show run 0"] {
        refused_with(&sandbox, command, 4, &["run: the run was killed before a cell was finished"]);
    }
    let verified = sandbox.run("verify run");
    assert_eq!(verified.code, Some(4), "{verified:?}");
    contains_all(&verified.stderr, &["the run was killed before it wrote a manifest"]);
    assert_eq!(sandbox.tree(), before);
    sandbox.ok(GO);
    sandbox.ok("verify run");
}

/// A session that grows the plan writes its manifest first, then the spec.
#[test]
fn a_run_that_was_killed_while_its_plan_was_changed_is_said_to_be_that() {
    let sandbox = ended();
    begun_again(&sandbox, "run");
    let path = sandbox.path("run/manifest.json");
    let mut manifest = read(&path);
    manifest["spec_blake3"] = json!("00".repeat(32));
    std::fs::write(&path, manifest.to_string()).expect("written");
    contains_all(&sandbox.run("status run").stdout, &["9 of 9 cells finished"]);
    for command in ["gate run", "boundary run", "report run", "compare run run"] {
        let said = "run: the run was killed while its plan was being changed: the same command goes on";
        refused_with(&sandbox, command, 4, &[said]);
    }
    sandbox.ok(GO);
    sandbox.ok("verify run");
}

fn unpack(sandbox: &Sandbox, bundle: &str, to: &str) {
    let file = std::fs::File::open(sandbox.path(bundle)).expect("a bundle");
    zip::ZipArchive::new(file).expect("a zip file").extract(sandbox.path(to)).expect("unpacked");
}

#[test]
fn a_bundle_without_parts_is_read_by_every_command_and_changed_by_none() {
    let sandbox = ended();
    unpack(&sandbox, "run/bundle.zip", "out");
    let before = sandbox.tree();
    contains_all(
        &sandbox.ok("status out").stdout,
        &["out: complete, unpacked from a bundle without parts/; 9 of 9 cells finished", "9 ok"],
    );
    for reader in &READERS[1..] {
        let (there, here) = (sandbox.run(reader), sandbox.run(&reader.replace("run", "out")));
        let same = |ran: &Ran| ran.stdout.replace("\"out\"", "\"run\"");
        assert_eq!((there.code, there.stdout.clone()), (here.code, same(&here)), "{reader}: {}", here.stderr);
    }
    contains_all(&sandbox.ok("compare run out").stdout, &["differences: none"]);
    let json = sandbox.ok("report out --json").json();
    assert_eq!(json["report"], "out/report.html");
    contains_all(&sandbox.ok("verify out").stdout, &["out: passed"]);
    sandbox.ok("bundle out -o again.zip");
    let bundle = |path: &str| std::fs::read(sandbox.path(path)).expect("a bundle");
    assert_eq!(bundle("again.zip"), bundle("run/bundle.zip"), "the bytes that it was unpacked from");
    std::fs::remove_file(sandbox.path("again.zip")).expect("removed");
    assert_eq!(sandbox.tree(), before);

    sandbox.ok("report out -o drawn");
    assert!(sandbox.path("drawn/report.html").is_file() && sandbox.path("drawn/plots").is_dir());
    let named = "was unpacked from a bundle without parts/";
    for command in ["refine out", "bundle out --with-parts -o x.zip", "run r.toml -o out --backend flex"] {
        refused(&sandbox, command, &[named, "bundle --with-parts"]);
    }
    refused(&sandbox, "bundle out", &[named, "-o writes the bundle elsewhere"]);
    refused(&sandbox, "verify out --rerun 0.1", &["so none can be trained again"]);
    refused(&sandbox, "report out -o out/mine.html", &["would lie inside a run"]);
    refused(&sandbox, "report out -o out/mine", &["would lie inside a run"]);
}

#[test]
fn a_cell_of_a_bundle_without_parts_is_shown_and_trained_again_as_far_as_tables_have_it() {
    let sandbox = ended();
    unpack(&sandbox, "run/bundle.zip", "out");
    let id = first_id(&sandbox);
    let whole = sandbox.ok(&format!("show run {id}")).json();
    let ran = sandbox.ok(&format!("show out {}", &id[..10]));
    contains_all(&ran.stderr, &["this is what the tables of a bundle without parts/ have of the cell"]);
    let tabled = ran.json();
    let lacks = ["wall_s", "finished_utc", "made_by", "crossings", "conditions"];
    assert_eq!(without(without(tabled.clone(), lacks), ["not_in_the_tables"]), without(whole.clone(), lacks));
    for key in &lacks[..3] {
        assert!(tabled[*key].is_null() && !whole[*key].is_null(), "{key}");
    }
    let steps = |shown: &Value| -> Vec<(Value, Value)> {
        let crossings = shown["crossings"].as_array().expect("a list").iter();
        crossings.map(|crossing| (crossing["limit"].clone(), crossing["step"].clone())).collect()
    };
    assert!(!steps(&whole).is_empty() && steps(&whole) == steps(&tabled), "{tabled:#}");
    let grey = |shown: &Value| shown["conditions"]["grey"].clone();
    assert_eq!(without(grey(&tabled), ["checksums"]), without(grey(&whole), ["checksums"]));
    assert!(grey(&tabled)["checksums"].is_null());
    contains_all(&tabled["not_in_the_tables"].to_string(), &["finished_utc", "checksums under further conditions"]);
    refused_with(&sandbox, "show out zz", 2, &["no finished cell of out has an id that begins with `zz`"]);
    refused_with(&sandbox, &format!("show out {id} --proof"), 2, &["without parts/"]);

    for (dir, file) in [("run", "a.parquet"), ("out", "b.parquet")] {
        sandbox.ok(&format!("embed {dir} {id} -o {file} --condition grey"));
    }
    let bytes = |file: &str| std::fs::read(sandbox.path(file)).expect("a table");
    assert_eq!(bytes("a.parquet"), bytes("b.parquet"));
}

#[test]
fn a_bundle_with_parts_is_a_run_that_goes_on() {
    let sandbox = ended();
    sandbox.ok("bundle run --with-parts -o all.zip");
    sandbox.ok("verify run");
    assert_eq!(read(&sandbox.path("run/manifest.json"))["bundle"]["parts"], false, "the run is as it was");
    // Away from its siblings.
    let elsewhere = self::sandbox();
    std::fs::copy(sandbox.path("all.zip"), elsewhere.path("all.zip")).expect("copied");
    unpack(&elsewhere, "all.zip", "run");
    contains_all(&elsewhere.ok("status run").stdout, &["unpacked from a bundle; 9 of 9"]);
    // What only looks leaves it as it came, whatever is missing.
    let gates = elsewhere.path("run/gates.json");
    let kept = std::fs::read(&gates).expect("verdicts");
    std::fs::remove_file(&gates).expect("removed");
    let tree = elsewhere.tree();
    let judged = elsewhere.run("gate run");
    contains_all(&judged.stderr, &["gates.json is left as it is: it was unpacked from a bundle"]);
    elsewhere.run("gate run --json");
    assert_eq!(elsewhere.tree(), tree);
    std::fs::write(&gates, kept).expect("as it was");
    elsewhere.ok("verify run --rerun 0.1");
    let grown = elsewhere.ok(&format!("{GO} --axis seed=seeds:4 --json")).json();
    assert_eq!((&grown["present"], &grown["trained"]), (&json!(9), &json!(3)));
    assert!(!elsewhere.path("run/bundle.json").exists(), "it is not what was unpacked any more");
    elsewhere.ok("verify run");
}

/// Runs the program as somebody who may read the sandbox and not write there.
#[cfg(unix)]
fn as_a_stranger(sandbox: &Sandbox, arguments: &str) -> Ran {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    const NOBODY: u32 = 65534;
    let program = sandbox.path("cliffline");
    if !program.exists() {
        std::fs::copy(env!("CARGO_BIN_EXE_cliffline"), &program).expect("a copy where anybody may run it");
        std::fs::set_permissions(sandbox.path(""), PermissionsExt::from_mode(0o755)).expect("open to all");
        std::fs::create_dir(sandbox.path("shared")).expect("a folder");
        std::fs::set_permissions(sandbox.path("shared"), PermissionsExt::from_mode(0o777)).expect("open to all");
    }
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).current_dir(sandbox.path("")).env("NO_COLOR", "1").stdin(Stdio::null());
    let root = std::process::Command::new("id").arg("-u").output().expect("id is there").stdout == b"0\n";
    if root {
        command.uid(NOBODY).gid(NOBODY);
    }
    Ran::of(command.output().expect("the program starts"))
}

#[cfg(unix)]
#[test]
fn a_run_of_somebody_else_is_read_where_it_is_and_drawn_and_bundled_elsewhere() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = ended();
    sandbox.ok(&format!("{} --no-report", GO.replace("-o run", "-o plain")));
    as_killed_copy(&sandbox);
    for dir in ["run", "run/parts", "run/plots", "plain", "plain/parts", "killed", "killed/parts"] {
        std::fs::set_permissions(sandbox.path(dir), PermissionsExt::from_mode(0o555)).expect("read only");
    }
    let ok = |arguments: &str| {
        let ran = as_a_stranger(&sandbox, arguments);
        assert!(ran.code == Some(0), "{arguments}: {ran:?}");
        ran
    };
    ok("status run");
    let before = sandbox.tree();
    for command in ["verify run", "boundary run", "compare run plain", "report run", "boundary killed", "status run"] {
        ok(command);
    }
    let id = first_id(&sandbox);
    ok(&format!("show run {id}"));
    assert_eq!(as_a_stranger(&sandbox, "gate run").code, sandbox.run("gate run").code);
    let refused = as_a_stranger(&sandbox, "report plain");
    assert_eq!(refused.code, Some(2), "{refused:?}");
    contains_all(&refused.stderr, &["-o draws the report elsewhere"]);
    let refused = as_a_stranger(&sandbox, "bundle run --with-parts");
    assert_eq!(refused.code, Some(2), "{refused:?}");
    contains_all(&refused.stderr, &["-o writes the bundle elsewhere"]);
    assert_eq!(sandbox.tree(), before);
    ok("report plain -o shared/page.html");
    ok("report killed -o shared/killed");
    ok("bundle run -o shared/run.zip");
    let same =
        |a: &str, b: &str| std::fs::read(sandbox.path(a)).expect("a") == std::fs::read(sandbox.path(b)).expect("b");
    assert!(same("shared/run.zip", "run/bundle.zip"));
    assert!(sandbox.path("shared/killed/report.html").is_file() && sandbox.path("shared/page.html").is_file());
    for dir in ["run", "run/parts", "run/plots", "plain", "plain/parts", "killed", "killed/parts"] {
        std::fs::set_permissions(sandbox.path(dir), PermissionsExt::from_mode(0o755)).expect("writable");
    }
}

#[cfg(unix)]
fn as_killed_copy(sandbox: &Sandbox) {
    sandbox.ok(&GO.replace("-o run", "-o killed"));
    as_killed(sandbox, "killed");
}
