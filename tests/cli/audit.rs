//! The audit trail of a run: the ledger and what verify finds by it, the bundle, proofs, directives, reports.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use cliffline::numerics::stream::Streams;
use cliffline::store::Ledger;
use serde_json::Value;

use super::{contains_all, has_keys, keys, refused};
use crate::common::Sandbox;

/// Two gates, two levels of noise, three seeds: six tiny cells.
const SPEC: &str = "name = \"audit\"\ndescription = \"For vm-17 and ~.\"\npreset = \"tiny\"\n[train]\nsteps = 20\n[axes]\n\
                    seed = { seeds = 3 }\n\"image.noise\" = [0.0, 0.5]\n[[gate]]\nmetric = \"lost\"\nmax = 0.0\n[[gate]]\n\
                    metric = \"retrieval_at_5_i2t\"\nmin = 0.0\n";
const GO: &str = "run audit.toml -o run --backend flex --threads 1";

/// Flips of one test run; each takes two runs of the program. `CLIFFLINE_FLIPS` asks for another number.
const FLIPS: usize = 24;

fn audited() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("audit.toml", SPEC);
    sandbox.ok(GO);
    sandbox
}

fn json(sandbox: &Sandbox, inside: &str) -> Value {
    serde_json::from_slice(&std::fs::read(sandbox.path(inside)).expect("a file")).expect("JSON")
}

/// Files of a directory, without lock files.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false if path.ends_with(".lock") => {}
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// The names that verify finds fault with.
fn named(sandbox: &Sandbox, dir: &str) -> Vec<String> {
    let ran = sandbox.run(&format!("verify {dir} --json"));
    let document = ran.json();
    let problems = document["problems"].as_array().expect("a list").clone();
    assert_eq!(ran.code, Some(if problems.is_empty() { 0 } else { 1 }), "{ran:?}");
    // Cells that a damaged part does not give are counted beside it.
    let problems = problems.iter().filter_map(Value::as_str).filter(|text| !text.ends_with("cells are not there"));
    problems.map(|text| text.split(": ").next().expect("a name").to_string()).collect()
}

#[test]
fn verify_names_the_file_of_any_flipped_bit() {
    let sandbox = audited();
    sandbox.ok("report run");
    let run = sandbox.path("run");
    let all = files(&run);
    let kinds = ["manifest.json", "ledger.jsonl", "bundle.zip", "directives.jsonl", "risk_log.json", "report.json"];
    let kinds = kinds.into_iter().chain(["report.html", "cells.parquet", "spec.toml", "gates.json"]);
    for kind in kinds {
        assert!(all.contains(&run.join(kind)), "{kind}");
    }
    assert_eq!(named(&sandbox, "run"), Vec::<String>::new());
    let flips = std::env::var("CLIFFLINE_FLIPS").ok().and_then(|n| n.parse().ok()).unwrap_or(FLIPS);
    let mut stream = Streams::new(7, "flips").item(0);
    let mut pick = |n: usize| ((stream.uniform() * n as f64) as usize).min(n - 1);
    for round in 0..flips {
        // Every file once, then at random.
        let path = all.get(round).unwrap_or_else(|| &all[pick(all.len())]);
        let name = path.strip_prefix(&run).expect("inside").display().to_string();
        let sound = std::fs::read(path).expect("a file");
        let bit = pick(sound.len() * 8);
        let mut changed = sound.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(path, changed).expect("damaged");
        assert_eq!(named(&sandbox, "run"), [name.as_str()], "bit {bit} of {name}");
        std::fs::write(path, sound).expect("mended");
    }
    assert_eq!(named(&sandbox, "run"), Vec::<String>::new());
}

#[test]
fn verify_names_missing_and_extra_files() {
    let sandbox = audited();
    let run = sandbox.path("run");
    for path in files(&run) {
        let sound = std::fs::read(&path).expect("a file");
        std::fs::remove_file(&path).expect("removed");
        let name = path.strip_prefix(&run).expect("inside").display().to_string();
        assert_eq!(named(&sandbox, "run"), [name]);
        std::fs::write(&path, sound).expect("there again");
    }
    for extra in ["notes.txt", "plots.svg", "parts/mine.txt"] {
        sandbox.write(&format!("run/{extra}"), "mine");
        let ran = sandbox.run("verify run");
        assert_eq!(ran.code, Some(1));
        contains_all(&ran.stdout, &[extra, "the ledger does not list it", "FAILED"]);
        std::fs::remove_file(run.join(extra)).expect("removed");
    }
    sandbox.ok("verify run");
    // What a user put there is not taken over by the next session, and what was lost is made again.
    sandbox.write("run/notes.txt", "mine");
    std::fs::remove_file(run.join("risk_log.json")).expect("removed");
    sandbox.ok(GO);
    assert_eq!(named(&sandbox, "run"), ["notes.txt"]);
    let before = sandbox.tree();
    contains_all(&sandbox.ok(GO).stderr, &["nothing to do"]);
    assert_eq!(sandbox.tree(), before);
}

#[test]
fn a_run_without_a_ledger_verifies_as_before_and_gains_one() {
    let sandbox = audited();
    let run = sandbox.path("run");
    for later in ["ledger.jsonl", "bundle.zip", "risk_log.json", "report.json", "directives.jsonl"] {
        std::fs::remove_file(run.join(later)).expect("removed");
    }
    let mut manifest = json(&sandbox, "run/manifest.json");
    for key in ["merkle_root", "cells_merkle_root", "bundle"] {
        manifest.as_object_mut().expect("an object").remove(key).expect("it was there");
    }
    sandbox.write("run/manifest.json", manifest.to_string());
    let verified = sandbox.ok("verify run");
    contains_all(&verified.stdout, &["run: passed: 6 cells read"]);
    contains_all(&verified.stderr, &["the run has no ledger, as those of older versions"]);
    refused(&sandbox, "bundle run", &["has no ledger.jsonl", "trains nothing that is there"]);
    let id = ids_of(&sandbox).swap_remove(0);
    refused(&sandbox, &format!("show run {id} --proof"), &["has no cells_merkle_root"]);
    // Its report adds no ledger: who draws it did not see the files being made.
    sandbox.ok("report run");
    assert!(!run.join("ledger.jsonl").exists());
    assert_eq!(sandbox.ok(&format!("{GO} --json")).json()["trained"], 0);
    assert_eq!(named(&sandbox, "run"), Vec::<String>::new());
    assert!(run.join("ledger.jsonl").exists());
}

fn ids_of(sandbox: &Sandbox) -> Vec<String> {
    let reader = cliffline::store::RunReader::open(&sandbox.path("run")).expect("a run");
    let mut ids: Vec<String> = reader.cells().map(|(id, _)| id).collect();
    ids.sort();
    ids
}

#[test]
fn a_cell_is_proven_to_be_in_the_root_by_hashing_alone() {
    let sandbox = audited();
    let root = json(&sandbox, "run/manifest.json")["cells_merkle_root"].as_str().expect("a root").to_string();
    for (index, id) in ids_of(&sandbox).iter().enumerate() {
        let shown = sandbox.ok(&format!("show run {id} --proof")).json();
        assert_eq!(keys(&shown), BTreeSet::from(["record", "proof", "cells_merkle_root", "proven"]));
        assert_eq!((&shown["proven"], &shown["record"]["cell_id"]), (&true.into(), &Value::from(id.as_str())));
        let proof = &shown["proof"];
        assert_eq!((&proof["index"], &proof["cells"]), (&index.into(), &6.into()));
        // As another program would do it.
        let text = proof["leaf_text"].as_str().expect("text");
        assert!(text.contains(id.as_str()));
        let mut hash = *blake3::hash(&[b"\0", text.as_bytes()].concat()).as_bytes();
        for step in proof["path"].as_array().expect("steps") {
            let other = blake3::Hash::from_hex(step["hash"].as_str().expect("a hash")).expect("hex");
            let (left, right) =
                if step["side"] == "left" { (*other.as_bytes(), hash) } else { (hash, *other.as_bytes()) };
            hash = *blake3::hash(&[&[1][..], &left, &right].concat()).as_bytes();
        }
        assert_eq!(blake3::Hash::from_bytes(hash).to_hex().as_str(), root);
    }
    // The root is of results, not of the day: another run of the same has the same.
    let other = audited();
    assert_eq!(json(&other, "run/manifest.json")["cells_merkle_root"], root.as_str());
    // A root that is not of these cells is noticed, even where the ledger was made to fit.
    let mut manifest = json(&sandbox, "run/manifest.json");
    manifest["cells_merkle_root"] = "00".repeat(32).into();
    sandbox.write("run/manifest.json", manifest.to_string());
    let id = ids_of(&sandbox).swap_remove(0);
    let unproven = sandbox.run(&format!("show run {id} --proof"));
    assert_eq!((unproven.code, &unproven.json()["proven"]), (Some(1), &false.into()));
    std::fs::remove_file(sandbox.path("run/ledger.jsonl")).expect("removed");
    contains_all(&sandbox.run("verify run").stdout, &["not the cells_merkle_root", "ledger.jsonl: missing"]);
}

/// A file whose name says that a process was killed while it sealed the run.
#[test]
fn a_claim_that_sealing_was_cut_short_hides_no_change() {
    let sandbox = audited();
    let (log, claim) = (sandbox.path("run/risk_log.json"), sandbox.path("run/.cliffline-ledger.tmp"));
    let sound = std::fs::read(&log).expect("a risk log");
    let ledger = std::fs::read(sandbox.path("run/ledger.jsonl")).expect("a ledger");
    let pending = {
        let mut ledger = Ledger::read(&sandbox.path("run")).expect("readable").expect("a ledger");
        ledger.manifest = None;
        ledger.to_bytes()
    };
    // What a process leaves that was killed at the last step.
    std::fs::write(&claim, &pending).expect("written");
    let verified = sandbox.run("verify run");
    assert_eq!(verified.code, Some(4), "{verified:?}");
    contains_all(&verified.stdout, &["a process was killed while it sealed the directory"]);
    for claimed in [&pending, &ledger, &b"".to_vec(), &b"mine".to_vec()] {
        std::fs::write(&claim, claimed).expect("written");
        std::fs::write(&log, "{}").expect("changed");
        let verified = sandbox.run("verify run");
        assert_eq!(verified.code, Some(1), "{verified:?}");
        contains_all(&verified.stdout, &["risk_log.json: ", "FAILED"]);
        let document = sandbox.run("verify run --json").json();
        assert_eq!(document["passed"], false);
        assert!(document["problems"].to_string().contains("risk_log.json: "), "{document}");
        std::fs::write(&log, &sound).expect("as it was");
    }
    sandbox.ok("report run");
    sandbox.ok("verify run");
}

#[test]
fn a_bundle_is_the_directory_without_parts_and_verifies_where_it_is_unpacked() {
    let sandbox = audited();
    let bundle = sandbox.path("run/bundle.zip");
    let made = std::fs::read(&bundle).expect("a run makes one");
    std::fs::remove_file(&bundle).expect("removed");
    assert_eq!(named(&sandbox, "run"), ["bundle.zip"]);
    let again = sandbox.ok("bundle run --json").json();
    assert_eq!((&again["parts"], again["bytes"].as_u64()), (&false.into(), Some(made.len() as u64)));
    assert_eq!(std::fs::read(&bundle).expect("a bundle"), made, "the same bytes");
    assert_eq!(named(&sandbox, "run"), Vec::<String>::new());

    let unpack = |to: &str| {
        let file = std::fs::File::open(&bundle).expect("a bundle");
        zip::ZipArchive::new(file).expect("a zip file").extract(sandbox.path(to)).expect("unpacked");
    };
    unpack("out");
    assert!(!sandbox.path("out/parts").exists());
    let verified = sandbox.ok("verify out");
    contains_all(&verified.stdout, &["out: passed", "parts/ is not in this bundle", "no cell was read"]);
    refused(&sandbox, "verify out --rerun 0.5", &["parts/ is not in this bundle, so none can be trained again"]);
    crate::common::flip(&sandbox.path("out/cells.parquet"), 99);
    assert_eq!(named(&sandbox, "out"), ["cells.parquet"]);

    let with = sandbox.ok("bundle run --with-parts").stdout;
    assert!(!with.contains("without parts"), "{with}");
    sandbox.ok("verify run");
    unpack("whole");
    let verified = sandbox.ok("verify whole --rerun 0.1");
    contains_all(&verified.stdout, &["whole: passed: 6 cells read, 1 trained again"]);
    // A bundle that lacks the newest files is told from one that is damaged.
    std::fs::write(&bundle, made).expect("the earlier one");
    let stale = sandbox.run("verify run");
    contains_all(&stale.stdout, &["bundle.zip: ", "is not the one of this directory"]);
    refused(&sandbox, "bundle nowhere", &["nowhere"]);
}

#[test]
fn directives_are_added_to_redacted_and_mended() {
    let sandbox = Sandbox::new();
    sandbox.write("audit.toml", SPEC);
    let mut command: Command = sandbox.command(&format!("{GO} --no-report --redact vm-17"));
    command.env("HOME", sandbox.path(""));
    let path = sandbox.path("audit.toml").display().to_string();
    command.arg("--axis").arg("seed=0,1,2");
    assert!(command.output().expect("it runs").status.success());
    let read = || {
        let text = std::fs::read_to_string(sandbox.path("run/directives.jsonl")).expect("a log");
        text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON")).collect::<Vec<_>>()
    };
    let steps =
        |lines: &[Value]| lines.iter().map(|l| l["step"].as_str().expect("a step").to_string()).collect::<Vec<_>>();
    let first = read();
    assert_eq!(steps(&first), ["plan", "gradcheck", "train", "tables", "gates", "seal"]);
    for line in &first {
        has_keys(line, &["utc", "step", "description", "text", "text_blake3"]);
    }
    let plan = first[0]["text"].as_str().expect("text");
    contains_all(plan, &["run audit.toml -o run", "question: For <redacted> and ~.", "--redact <redacted>"]);
    assert!(!plan.contains("vm-17") && !plan.contains(&path));
    assert_eq!(first[0]["text_blake3"], Value::Null, "what stood there cannot be tried out");
    let tables = first[3]["text"].as_str().expect("text");
    assert_eq!(first[3]["text_blake3"], blake3::hash(tables.as_bytes()).to_hex().as_str());

    // A kill in the middle of a line, then a larger plan.
    let log = sandbox.path("run/directives.jsonl");
    let mut torn = std::fs::read(&log).expect("a log");
    torn.extend(b"{\"version\":1,\"utc\":\"2026");
    std::fs::write(&log, torn).expect("torn");
    let more = format!("{GO} --no-report --axis seed=0,1,2,3");
    refused(&sandbox, &more, &["run was made with --redact", "give the same --redact again"]);
    sandbox.ok(&format!("{more} --redact vm-17"));
    let second = read();
    assert_eq!(second[..first.len()], first[..]);
    assert_eq!(steps(&second)[first.len()..], ["notice", "plan", "gradcheck", "train", "tables", "gates", "seal"]);
    sandbox.ok("report run");
    assert_eq!(steps(&read()).last().map(String::as_str), Some("report"));
    contains_all(
        &read().last().expect("a line")["text"].to_string(),
        &["not recorded: an earlier command redacted this run"],
    );
    sandbox.ok("verify run");
}

/// The files of a directory that hold one of these texts in any case; a bundle's entries are stored as they are.
fn holding(dir: &Path, texts: &[&str]) -> Vec<String> {
    let holds = |path: &PathBuf| {
        let bytes = std::fs::read(path).expect("a file").to_ascii_lowercase();
        let text = texts.iter().find(|text| bytes.windows(text.len()).any(|window| window == text.as_bytes()))?;
        Some(format!("{}: {text}", path.display()))
    };
    files(dir).iter().filter_map(holds).collect()
}

#[test]
fn what_is_marked_stands_in_no_file_of_the_run() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("Quarzlab%20x")).expect("a folder");
    let spec = SPEC.replace("For vm-17 and ~.", "What quarzLABs ask of O'Brien & Co");
    sandbox.write("Quarzlab%20x/QUARZLAB_prod.toml", spec);
    let mut command = sandbox.command("run Quarzlab%20x/QUARZLAB_prod.toml -o quarzlab-out/run --backend flex");
    command.args(["--redact", "quarzlab", "--redact", "o'brien & co"]);
    let ran = crate::common::Ran::of(command.output().expect("it runs"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!ran.stderr.contains("could not be redacted"), "{}", ran.stderr);
    let run = sandbox.path("quarzlab-out/run");
    let marked = ["quarzlab", "o'brien", "o&#39;brien"];
    assert_eq!(holding(&run, &marked), [""; 0]);
    assert!(run.join("bundle.zip").is_file());
    let spec = std::fs::read_to_string(run.join("spec.toml")).expect("a spec");
    contains_all(&spec, &["description = \"What <redacted>s ask of <redacted>\""]);
    let page = std::fs::read_to_string(run.join("report.html")).expect("a page");
    contains_all(&page, &["What &lt;redacted&gt;s ask of &lt;redacted&gt;"]);
    // What comes later is not told what to leave out, and writes none of it.
    sandbox.ok("report quarzlab-out/run");
    sandbox.ok("bundle quarzlab-out/run --with-parts");
    assert_eq!(holding(&run, &marked), [""; 0]);
    sandbox.ok("verify quarzlab-out/run");
    let mut empty = sandbox.command("run Quarzlab%20x/QUARZLAB_prod.toml -o x --redact");
    let empty = crate::common::Ran::of(empty.arg(" ").output().expect("it runs"));
    assert_eq!(empty.code, Some(2), "{empty:?}");
    contains_all(&empty.stderr, &["it is empty"]);
}

#[test]
fn what_cannot_be_redacted_is_said_and_not_bundled() {
    let sandbox = Sandbox::new();
    let level = "name = \"quarzlab-2\"\npreset = \"tiny\"\n[train]\nsteps = 5\n[axes]\nseed = [0, 8243, 2]\n\
                 [[gate]]\nname = \"quarzlab-rank\"\nmetric = \"effective_rank_img\"\nmin = 0.5\n";
    sandbox.write("named.toml", level);
    sandbox.write("short.key", "fifteen bytes..");
    sandbox.write("long.key", "sixteen bytes...\n");
    let go = "run named.toml -o run --backend flex --redact QUARZLAB --redact 8243 --redact-key";
    refused(&sandbox, &format!("{go} short.key"), &["short.key has fewer than 16 bytes"]);
    refused(&sandbox, &format!("{go} nowhere"), &["--redact-key: cannot read nowhere"]);
    let ran = sandbox.ok(&format!("{go} long.key"));
    contains_all(&ran.stderr, &["could not be redacted: what --redact marks stands in manifest.json at ", "no bundle"]);
    assert!(!ran.stderr.to_lowercase().contains("quarzlab"), "{}", ran.stderr);
    let said = &json(&sandbox, "run/manifest.json")["redaction"];
    assert_eq!(said["texts"], 2);
    let left: Vec<&str> = said["left_in"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    for place in ["sweep", "spec.name", "spec.axes.seed", "spec.gate.name", "thresholds.gate.<redacted>-rank"] {
        assert!(left.contains(&place), "{place} is not among {left:?}");
    }
    let log = std::fs::read_to_string(sandbox.path("run/directives.jsonl")).expect("a log");
    assert!(!log.to_lowercase().contains("quarzlab"), "{log}");
    let plan: Value = serde_json::from_str(log.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&plan["text_blake3"], plan["text_keyed_blake3"].as_str().map(str::len)), (&Value::Null, Some(64)));
    // It is in no bundle unless it is asked for.
    assert!(!sandbox.path("run/bundle.zip").exists());
    sandbox.ok("report run");
    assert!(!sandbox.path("run/bundle.zip").exists());
    refused(&sandbox, "bundle run", &["something that --redact marks stands in the files of run", "--with-unredacted"]);
    sandbox.ok("verify run");
    sandbox.ok("bundle run --with-unredacted");
    // A line of before stays where it is, and that is said as well.
    sandbox.write("plain.toml", level.replace("quarzlab", "plain").replace("8243", "1"));
    sandbox.ok("run plain.toml -o plain --backend flex");
    let later = sandbox.ok("run plain.toml -o plain --backend flex --redact plain.toml --axis seed=0,1,2,3");
    contains_all(&later.stderr, &["could not be redacted: ", " directives.jsonl"]);
}

#[test]
fn the_report_is_strict_and_its_schema_is_published() {
    let sandbox = audited();
    let report = json(&sandbox, "run/report.json");
    let schema = sandbox.ok("reference --schema report").json();
    let required: BTreeSet<&str> =
        schema["required"].as_array().expect("keys").iter().filter_map(Value::as_str).collect();
    assert_eq!(keys(&report), required);
    assert_eq!(
        (&schema["additionalProperties"], &report["verification_status"]),
        (&false.into(), &"Not verified".into())
    );
    let facts = &report["facts_provided"];
    assert_eq!(facts["cells.ok"]["value"], 6);
    // No digit of the analysis is outside of a citation, and every citation is of a fact.
    let mut rest = report["analysis"].as_str().expect("text");
    let mut cited = 0;
    while let Some((before, after)) = rest.split_once("{fact:") {
        assert!(!before.contains(|c: char| c.is_ascii_digit()), "{before}");
        let (name, after) = after.split_once('}').expect("an end");
        assert!(facts.get(name).is_some(), "{name}");
        (rest, cited) = (after, cited + 1);
    }
    assert!(!rest.contains(|c: char| c.is_ascii_digit()) && cited > 20, "{cited}: {rest}");
    for fact in facts.as_object().expect("facts").values() {
        let file = fact["source"]["file"].as_str().expect("a file");
        assert!(sandbox.path("run").join(file).is_file(), "{file}");
    }
    contains_all(&report["open_items"].to_string(), &["Not verified for live deployment; human review required."]);
    let risks = json(&sandbox, "run/risk_log.json");
    assert_eq!(risks["verification_status"], "Not verified");
    assert_eq!(sandbox.ok("reference --schema spec").json()["type"], "object");
}

#[test]
fn a_run_at_work_has_no_ledger_until_it_ends() {
    let sandbox = audited();
    // The next session takes the seal away first; here it stops where nothing fits.
    std::fs::remove_file(sandbox.path("run/ledger.jsonl")).expect("removed");
    std::fs::remove_file(sandbox.path("run/bundle.zip")).expect("removed");
    let mut manifest = json(&sandbox, "run/manifest.json");
    manifest["state"] = "running".into();
    for key in ["merkle_root", "bundle"] {
        manifest.as_object_mut().expect("an object").remove(key);
    }
    sandbox.write("run/manifest.json", manifest.to_string());
    let verified = sandbox.run("verify run");
    assert_eq!(verified.code, Some(4), "{verified:?}");
    contains_all(&verified.stderr, &["the run was killed before it wrote a ledger"]);
    sandbox.ok(GO);
    sandbox.ok("verify run");
}
