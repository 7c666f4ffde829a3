//! The same bytes however a sweep was computed: in any packs, order or threads, in one go or killed and resumed, from
//! scratch or on top of what is there, next to sibling runs and after damage.
//!
//! Runs in one sandbox are siblings and reuse each other's cells, so every run that is to be compared with another has
//! a sandbox of its own.

#[cfg(unix)]
#[path = "resume/chaos.rs"]
mod chaos;
mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use cliffline::store::read_table;
use common::{Ran, Sandbox, flip, parts};
use serde_json::Value;

const TABLES: [&str; 6] = [
    "cells.parquet",
    "conditions.parquet",
    "curves.parquet",
    "spectra.parquet",
    "surfaces.parquet",
    "exemplars.parquet",
];

/// Longest wait for a process to get somewhere.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between looks at what a process has done.
const LOOK: Duration = Duration::from_millis(2);

/// Hashes of the tables of a run.
fn tables(run: &Path) -> Vec<(&'static str, String)> {
    let hash = |name: &'static str| {
        let bytes = std::fs::read(run.join(name)).unwrap_or_else(|error| panic!("{}/{name}: {error}", run.display()));
        (name, blake3::hash(&bytes).to_hex().to_string())
    };
    TABLES.map(hash).to_vec()
}

/// The tables of a run with these arguments in a sandbox of its own.
fn fresh(arguments: &str) -> Vec<(&'static str, String)> {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("run {arguments} -o run --backend flex"));
    tables(&sandbox.path("run"))
}

/// How many cells were present, reused and trained.
fn counts(json: &Value) -> [u64; 3] {
    ["present", "reused", "trained"].map(|key| json[key].as_u64().unwrap_or_else(|| panic!("{key} in {json}")))
}

// ---- packs, order and threads

/// Cells that end in every way a cell can, at different steps, in several packs whatever the pack size.
const MIXED: &str = include_str!("fixtures/mixed.toml");

#[test]
fn packs_threads_and_order_leave_no_trace() {
    let axes = [
        ("seed", ["0", "1", "2"].as_slice()),
        ("train.temperature", &["0.02", "0.3"]),
        ("train.learning_rate", &["0.05", "300.0"]),
        ("train.weight_decay", &["0.0", "100.0"]),
        ("image.noise", &["0.0", "0.4"]),
    ];
    let write = |levels: &dyn Fn(&[&'static str]) -> Vec<&'static str>, reverse: bool| {
        let mut lines: Vec<String> =
            axes.iter().map(|(path, values)| format!("{path:?} = [{}]\n", levels(values).join(", "))).collect();
        if reverse {
            lines.reverse();
        }
        format!("{MIXED}{}", lines.concat())
    };
    let forwards = write(&|values| values.to_vec(), false);
    let backwards = write(&|values| values.iter().rev().copied().collect(), true);
    assert_ne!(forwards, backwards);
    let run = |text: &str, flags: &str| {
        let sandbox = Sandbox::new();
        sandbox.write("mixed.toml", text);
        let json = sandbox.ok(&format!("run mixed.toml -o run --backend flex --json {flags}")).json();
        assert_eq!(counts(&json), [0, 0, 48]);
        (tables(&sandbox.path("run")), json["by_status"].clone(), sandbox)
    };
    let (expected, by_status, sandbox) = run(&forwards, "");
    for status in ["ok", "collapsed", "diverged"] {
        assert!(by_status[status].as_u64().is_some_and(|n| n > 0), "no cell ends {status}: {by_status}");
    }
    let cells = read_table(&sandbox.path("run/cells.parquet")).expect("cells.parquet");
    let steps = cells.column("steps").expect("steps").i64().expect("int64").clone();
    assert!(steps.iter().collect::<BTreeSet<_>>().len() > 2, "lanes leave their packs at different steps");
    for flags in ["--pack 1", "--pack 7", "--threads 1", "--threads 2", "--pack 1 --threads 2", "--pack 7 --threads 1"]
    {
        assert_eq!(run(&forwards, flags).0, expected, "{flags}");
    }
    for flags in ["", "--pack 7 --threads 2"] {
        assert_eq!(run(&backwards, flags).0, expected, "reversed, {flags}");
    }
}

#[test]
fn the_smoke_sweep_has_the_same_bytes_in_other_packs_and_threads() {
    let expected = fresh("smoke");
    for flags in ["--pack 1 --threads 1", "--pack 7 --threads 2", "--pack 36"] {
        assert_eq!(fresh(&format!("smoke {flags}")), expected, "{flags}");
    }
    assert_ne!(fresh("smoke --set train.steps=41"), expected, "another sweep has other bytes");
}

// ---- killed, interrupted, held

/// A process that does not outlive its test.
struct Running(Option<Child>);

impl Running {
    fn start(sandbox: &Sandbox, arguments: &str) -> Self {
        Self(Some(sandbox.command(arguments).spawn().expect("the program starts")))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("not ended yet")
    }

    fn end(mut self) -> Ran {
        let child = self.0.take().expect("not ended yet");
        Ran::of(child.wait_with_output().expect("it ends"))
    }

    /// Waits until `there` holds; false when the process ended before.
    fn until(&mut self, there: impl Fn() -> bool) -> bool {
        let started = Instant::now();
        while !there() {
            assert!(started.elapsed() < PATIENCE, "nothing happened for {PATIENCE:?}");
            if self.child().try_wait().expect("its status").is_some() {
                return there();
            }
            std::thread::sleep(LOOK);
        }
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A second or so of work in 36 packs.
const LONG: &str = "smoke --set train.steps=300 --pack 1 --threads 2";

/// splitmix64, scaled to 0..1.
fn random(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Kills a run when `instant` says so, then runs it to its end and compares. Returns whether the kill came in time and
/// how many cells the killed process had finished.
fn kill_and_resume(expected: &[(&'static str, String)], instant: impl FnOnce(&Sandbox, &mut Running)) -> (bool, u64) {
    let sandbox = Sandbox::new();
    let mut running = Running::start(&sandbox, &format!("run {LONG} -o run --backend flex"));
    instant(&sandbox, &mut running);
    running.child().kill().expect("killed");
    let killed = running.end().code.is_none();
    if killed && sandbox.path("run/manifest.json").is_file() {
        let status = sandbox.run("status run --json");
        let json = status.json();
        // Killed after its last word to the manifest, a run is complete.
        let complete = json["finished"] == 36 && json["state"] == "complete";
        let dead = json["state"].as_str().is_some_and(|state| state.starts_with("dead"));
        assert_eq!((status.code, &json["live"]), (Some(if complete { 0 } else { 4 }), &false.into()), "{json}");
        assert!(complete || dead && json["complete"] == false, "{json}");
    }
    let json = sandbox.ok(&format!("run {LONG} -o run --backend flex --json")).json();
    let [present, reused, trained] = counts(&json);
    assert_eq!((present + trained, reused), (36, 0), "what is there is not computed again");
    assert_eq!(tables(&sandbox.path("run")), expected, "killed with {present} cells finished");
    let leftovers: Vec<String> = sandbox.tree().into_keys().filter(|name| name.contains(".tmp")).collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
    sandbox.ok("verify run");
    (killed, present)
}

#[test]
fn kill_9_at_any_instant_loses_no_finished_cell_and_no_byte() {
    const KILLS: u64 = 6;
    let started = Instant::now();
    let expected = fresh(LONG);
    let whole = started.elapsed();
    // One instant in each sixth of the run's time.
    let mut outcomes = Vec::new();
    for i in 0..KILLS {
        let share = (i as f64 + random(i)) / KILLS as f64;
        outcomes.push(kill_and_resume(&expected, |_, _| std::thread::sleep(whole.mul_f64(share))));
    }
    assert!(outcomes.iter().any(|(killed, _)| *killed), "no run of {whole:?} was interrupted: {outcomes:?}");
    // And for certain one in the middle of the work, on a machine of any speed.
    let (killed, present) = kill_and_resume(&expected, |sandbox, running| {
        running.until(|| !parts(&sandbox.path("run")).is_empty());
    });
    assert!(killed && (1..36).contains(&present), "killed: {killed}, with {present} cells");
}

/// Interrupts a run after its first part with a signal, and returns what it said.
#[cfg(unix)]
fn interrupted(sandbox: &Sandbox, signal: &str, arguments: &str) -> Ran {
    let mut running = Running::start(sandbox, arguments);
    assert!(running.until(|| !parts(&sandbox.path("run")).is_empty()), "ended too early: {:?}", running.end());
    let pid = running.child().id().to_string();
    let sent = std::process::Command::new("kill").args([signal, &pid]).status().expect("kill is there");
    assert!(sent.success());
    running.end()
}

/// Twelve cells one after the other, a second or so.
#[cfg(unix)]
const TWELVE: &str = "run smoke -o run --backend flex --axis seed=0 --set train.steps=600 --pack 1 --threads 1";

#[cfg(unix)]
#[test]
fn an_interrupt_ends_with_130_and_the_same_command_goes_on() {
    let sandbox = Sandbox::new();
    let ran = interrupted(&sandbox, "-INT", TWELVE);
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.stderr.contains("interrupted; the same command goes on from here"), "{}", ran.stderr);
    let status = sandbox.run("status run --json");
    assert_eq!((status.code, &status.json()["state"]), (Some(4), &"interrupted".into()));
    let finished = status.json()["finished"].as_u64().expect("a count");
    assert!((1..12).contains(&finished), "{finished} cells were finished");
    assert_eq!(sandbox.run("verify run").code, Some(4), "cells are missing");
    let cells = read_table(&sandbox.path("run/cells.parquet")).expect("what is finished is in the tables");
    assert_eq!(cells.height() as u64, finished);

    let json = sandbox.ok(&format!("{TWELVE} --json")).json();
    assert_eq!(counts(&json), [finished, 0, 12 - finished]);
    let whole = fresh("smoke --axis seed=0 --set train.steps=600 --threads 2");
    assert_eq!(tables(&sandbox.path("run")), whole);
    sandbox.ok("status run");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_counts_what_it_trained() {
    let sandbox = Sandbox::new();
    let ran = interrupted(&sandbox, "-TERM", &format!("{TWELVE} --json"));
    assert_eq!(ran.code, Some(130), "{ran:?}");
    let json = ran.json();
    assert_eq!((&json["interrupted"], &json["exit_code"]), (&true.into(), &130.into()));
    let finished = json["finished"].as_u64().expect("a count");
    assert!((1..12).contains(&finished), "{json}");
    assert_eq!(counts(&json), [0, 0, finished], "trained cells are those that are finished");
}

#[test]
fn a_second_process_is_refused_with_the_holder_named() {
    let sandbox = Sandbox::new();
    let arguments = "run smoke -o run --backend flex --set train.steps=1000000 --set curves.every=0 --axis seed=0";
    let mut first = Running::start(&sandbox, arguments);
    let pid = first.child().id().to_string();
    let holder = format!("process {pid}");
    let lock = sandbox.path("run/.lock");
    let held = || std::fs::read_to_string(&lock).is_ok_and(|text| text.contains(&holder));
    assert!(first.until(|| held() && sandbox.path("run/spec.toml").is_file()), "{:?}", first.end());
    // The first one is at work, and logs its steps.
    let tree = || sandbox.tree().into_iter().filter(|(name, _)| name != "run/directives.jsonl").collect::<Vec<_>>();
    let before = tree();
    let second = sandbox.run(arguments);
    assert_eq!((second.code, second.stdout.as_str()), (Some(2), ""));
    for phrase in ["run is in use by", &holder, "choose another directory with -o"] {
        assert!(second.stderr.contains(phrase), "{phrase:?} is not in {}", second.stderr);
    }
    assert_eq!(tree(), before);
    assert!(held(), "the refused process leaves the holder's name");
    let status = sandbox.run("status run --json");
    assert_eq!((status.code, &status.json()["live"], &status.json()["state"]), (Some(0), &true.into(), &"live".into()));
    assert!(first.child().try_wait().expect("its status").is_none(), "the first one goes on");
    drop(first);
    let status = sandbox.run("status run --json");
    assert_eq!((status.code, &status.json()["live"]), (Some(4), &false.into()), "a dead process holds nothing");
}

// ---- grown specs and sibling runs

#[test]
fn a_grown_axis_trains_only_its_new_cells() {
    let sandbox = Sandbox::new();
    let run = |flags: &str| sandbox.ok(&format!("run smoke -o run --backend flex --json {flags}")).json();
    assert_eq!(counts(&run("--axis seed=1,2 --axis train.temperature=0.02,0.5")), [0, 0, 16]);
    // A level between the others, then one before them.
    assert_eq!(counts(&run("--axis seed=1,2 --axis train.temperature=0.02,0.1,0.5")), [16, 0, 8]);
    assert_eq!(tables(&sandbox.path("run")), fresh("smoke --axis seed=1,2 --axis train.temperature=0.02,0.1,0.5"));
    let grown = run("");
    assert_eq!((counts(&grown), &grown["finished"]), ([24, 0, 12], &36.into()));
    assert_eq!(tables(&sandbox.path("run")), fresh("smoke"));
    // A new axis whose old value is among its levels.
    assert_eq!(counts(&run("--axis text.dropout=0,0.2")), [36, 0, 36]);
    assert_eq!(tables(&sandbox.path("run")), fresh("smoke --axis text.dropout=0,0.2"));
    sandbox.ok("verify run");
}

#[test]
fn sibling_runs_share_finished_cells_of_one_class() {
    let sandbox = Sandbox::new();
    let run = |arguments: &str| sandbox.ok(&format!("run smoke --json {arguments}"));
    run("-o parent/a --backend flex --set name=a --axis seed=0,1");
    let before = sandbox.tree();
    // 24 cells there, of which the 12 of seed 1 are wanted.
    let shared = "--set name=b --axis seed=1,2,3";
    let b = run(&format!("-o parent/b --backend flex {shared}"));
    assert_eq!(counts(&b.json()), [0, 12, 24]);
    assert!(b.stderr.contains("reused 12 cells from parent/a"), "{}", b.stderr);
    assert_eq!(tables(&sandbox.path("parent/b")), fresh(&format!("smoke {shared}")));
    let after = sandbox.tree();
    assert!(before.iter().all(|(name, hash)| after.get(name) == Some(hash)), "the sibling is only read");
    assert_eq!(counts(&run(&format!("-o parent/b --backend flex {shared}")).json()), [36, 0, 0]);
    // Everything there, nothing to train.
    assert_eq!(counts(&run("-o parent/c --backend flex --set name=c --axis seed=1").json()), [0, 12, 0]);
    // Another class, and another parent.
    assert_eq!(counts(&run("-o parent/d --backend ndarray --set name=d --axis seed=1").json()), [0, 0, 12]);
    assert_eq!(counts(&run("-o elsewhere/e --backend flex --set name=e --axis seed=1").json()), [0, 0, 12]);
}

// ---- damage

#[test]
fn a_damaged_part_is_named_and_only_its_cells_are_computed_again() {
    const RUN: &str = "run smoke -o run --backend flex --threads 1 --axis image.noise=0 --json";
    let sandbox = Sandbox::new();
    // One pack and so one part per run: packs that finish together are recorded together.
    for seeds in ["0", "0,1", "0,1,2"] {
        sandbox.ok(&format!("{RUN} --axis seed={seeds}"));
    }
    let run = sandbox.path("run");
    let expected = tables(&run);
    assert_eq!(parts(&run).len(), 3);
    // Nothing left; the header cut; the index cut; the last byte missing; and one byte altered in each of the three.
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 7] = [
        ("emptied", |bytes| bytes.clear()),
        ("header cut", |bytes| bytes.truncate(50)),
        ("index cut", |bytes| bytes.truncate(600)),
        ("end cut", |bytes| bytes.truncate(bytes.len() - 1)),
        ("header altered", |bytes| bytes[20] = !bytes[20]),
        ("index altered", |bytes| bytes[600] = !bytes[600]),
        ("block altered", |bytes| *bytes.last_mut().expect("a byte") ^= 1),
    ];
    for (what, damage) in damages {
        let part = parts(&run).swap_remove(0);
        let mut bytes = std::fs::read(&part).expect("a part");
        damage(&mut bytes);
        std::fs::write(&part, &bytes).expect("damaged");
        let name = part.file_name().expect("a name").to_string_lossy().into_owned();
        let kept_before = damaged(&run).len();

        let ran = sandbox.ok(RUN);
        assert!(ran.stderr.contains(&format!("{name} is damaged")), "{what}: {}", ran.stderr);
        assert!(ran.stderr.contains("moved to parts/damaged"), "{what}: {}", ran.stderr);
        assert_eq!(counts(&ran.json()), [12, 0, 6], "{what}");
        assert_eq!(tables(&run), expected, "{what}");
        let kept = damaged(&run);
        assert_eq!(kept.len(), kept_before + 1, "{what}");
        assert!(kept.contains(&bytes), "{what}: the damaged file is kept as it was found");
        sandbox.ok("verify run");
        let again = sandbox.ok(RUN);
        assert_eq!((counts(&again.json()), again.stderr.contains("damaged")), ([18, 0, 0], false), "{what}");
    }
}

/// The contents of the files in `parts/damaged`.
fn damaged(run: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(run.join("parts/damaged")) else { return Vec::new() };
    entries.map(|entry| std::fs::read(entry.expect("an entry").path()).expect("a file")).collect()
}

#[test]
fn the_sound_blocks_of_a_damaged_part_are_kept() {
    // 80 cells in one part: a block of 64 and one of 16.
    const RUN: &str = "run many.toml -o run --backend flex --pack 80 --json";
    let sandbox = Sandbox::new();
    let spec = "name = \"many\"\npreset = \"tiny\"\n[train]\nsteps = 2\n[axes]\nseed = { seeds = 80 }\n";
    sandbox.write("many.toml", spec);
    sandbox.ok(RUN);
    let run = sandbox.path("run");
    let expected = tables(&run);
    let part = parts(&run).swap_remove(0);
    flip(&part, -10);
    let ran = sandbox.ok(RUN);
    assert_eq!(counts(&ran.json()), [64, 0, 16]);
    assert!(ran.stderr.contains("16 cells will be computed again, 64 are kept"), "{}", ran.stderr);
    assert_eq!(tables(&run), expected);
    sandbox.ok("verify run");
}

#[test]
fn a_damaged_table_is_written_again_without_training() {
    const RUN: &str = "run smoke -o run --backend flex --json";
    let sandbox = Sandbox::new();
    sandbox.ok(RUN);
    let run = sandbox.path("run");
    let expected = tables(&run);
    for table in TABLES {
        flip(&run.join(table), 1000);
        assert_ne!(tables(&run), expected);
        assert_eq!(counts(&sandbox.ok(RUN).json()), [36, 0, 0]);
        assert_eq!(tables(&run), expected, "{table} altered");
        std::fs::remove_file(run.join(table)).expect("removed");
        assert_eq!(counts(&sandbox.ok(RUN).json()), [36, 0, 0]);
        assert_eq!(tables(&run), expected, "{table} missing");
    }
    sandbox.ok("verify run");
}
