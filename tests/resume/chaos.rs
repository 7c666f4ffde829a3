//! Killed at random instants, and beside one another: whatever happens to a command, the same command afterwards ends
//! in the same bytes, and `verify` passes.
//!
//! A few trials run in every `cargo test`; `CLIFFLINE_KILLS` and `CLIFFLINE_TRIALS` ask for more of them, and
//! `CLIFFLINE_CHAOS_SEED` for others.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::common::{Ran, Sandbox};

/// Twelve cells, two gates and a margin to refine, in half a second.
const SPEC: &str = "name = \"chaos\"\npreset = \"tiny\"\ntrain.steps = 40\n[axes]\nseed = [3, 5, 8]\n\
                    image.noise = [0.0, 1.0, 2.0, 4.0]\n\
                    [[gate]]\nname = \"found\"\nmetric = \"retrieval_at_5_i2t\"\nmin = 0.2\n\
                    [[gate]]\nname = \"spread\"\nmetric = \"effective_rank_img\"\nmin = 1.5\n";
const RUN: &str = "run chaos.toml -o run --backend native --pack 1 --threads 2";
const REFINE: &str = "refine run --tolerance 0.5 --backend native --threads 2";
/// A laboratory too small to conclude anything from, and no seed that calibrates one.
const LAB: &str = "lab geometry --quick -o run --backend native --threads 2 --no-exemplars --set world.image_size=8 \
                   --set world.n_validation=64 --set world.n_train=256 --set world.n_test=64 --set model.embedding=4 \
                   --set curves.every=40 --set curves.validate_every=40 --set curves.structure_every=40 --set stop.every=40 \
                   --axis train.temperature=0.02,0.07,0.5 --axis seed=0,1,2";

/// Longest time that a command may take: a deadlock fails the test instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Files whose bytes depend on what is computed alone.
fn results(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk(dir, "", &mut found);
    found
}

fn walk(dir: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = format!("{prefix}{}", path.file_name().expect("a name").to_string_lossy());
        assert!(!name.contains(".tmp"), "{name} was left unfinished");
        if path.is_dir() {
            if !name.ends_with("parts") {
                walk(&path, &format!("{name}/"), found);
            }
        } else if [".parquet", ".svg", "gates.json", "refinement.json"].iter().any(|end| name.ends_with(end)) {
            // How many cells the last session trained is of that session.
            let mut bytes = std::fs::read(&path).expect("a file");
            if name.ends_with("refinement.json") {
                let mut json: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
                json["cells_trained_now"] = 0.into();
                bytes = json.to_string().into_bytes();
            }
            found.insert(name, blake3::hash(&bytes).to_hex().to_string());
        }
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0..1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn choose<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[(self.next() % from.len() as u64) as usize]
    }
}

/// A number from the environment, else `usual`.
fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map_or(usual, |text| text.parse().expect("a number"))
}

fn start(sandbox: &Sandbox, arguments: &str) -> Child {
    sandbox.command(arguments).spawn().expect("the program starts")
}

/// Waits for a command to end, for [`PATIENCE`] at most.
fn end(mut child: Child, arguments: &str) -> Ran {
    let started = Instant::now();
    // What it prints is small enough for the pipes.
    while child.try_wait().expect("its status").is_none() {
        if started.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("`{arguments}` hangs: {:?}", Ran::of(child.wait_with_output().expect("it ends")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ran::of(child.wait_with_output().expect("it ends"))
}

/// A copy of a sandbox, in which the paths that its files mention are the same.
fn copy(from: &Sandbox) -> Sandbox {
    let to = Sandbox::new();
    copy_folder(&from.path(""), &to.path(""));
    to
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("a copy");
        }
    }
}

/// A sandbox after these commands.
fn after(commands: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("chaos.toml", SPEC);
    for command in commands {
        let ran = sandbox.run(command);
        assert!(matches!(ran.code, Some(0 | 1)), "{command}: {ran:?}");
    }
    sandbox
}

/// What is killed: the commands before it, itself, its share of all kills, and its exit codes when it is let alone.
const KILLED: [(&[&str], &str, u64); 7] = [
    (&[], RUN, 8),
    // Complete and sealed with fewer seeds, beside one that lends some of the others.
    (
        &[
            "run chaos.toml -o run --backend native --axis seed=3",
            "run chaos.toml -o other --backend native --no-report --axis seed=5,8 --axis image.noise=0,1,2",
        ],
        RUN,
        4,
    ),
    (&[RUN], REFINE, 5),
    (&[RUN, "report run"], "report run", 3),
    (&["run chaos.toml -o run --backend native --no-report"], "report run", 2),
    (&[RUN], "bundle run --with-parts", 2),
    (&[], LAB, 1),
];

#[test]
fn a_command_killed_at_any_instant_ends_in_the_same_bytes_when_it_is_given_again() {
    let kills = setting("CLIFFLINE_KILLS", 14);
    let seed = setting("CLIFFLINE_CHAOS_SEED", 1);
    let shares: u64 = KILLED.iter().map(|(.., share)| share).sum();
    let (mut done, mut in_time) = (0, 0);
    for (before, command, share) in KILLED {
        let wanted = (kills * share).div_ceil(shares);
        let prepared = after(before);
        let whole = copy(&prepared);
        let started = Instant::now();
        let ran = end(start(&whole, command), command);
        let whole_time = started.elapsed();
        assert_eq!(ran.code, Some(0), "{command}: {ran:?}");
        let expected = results(&whole.path("run"));
        let mut caught = 0;
        for trial in 0..wanted {
            let mut random = Random(seed ^ blake3_u64(&format!("{command} {trial}")));
            let sandbox = copy(&prepared);
            let mut child = start(&sandbox, command);
            // One instant in each part of the time that the command takes, and a little beyond.
            let share = 1.05 * (trial as f64 + random.share()) / wanted as f64;
            std::thread::sleep(whole_time.mul_f64(share));
            child.kill().expect("killed");
            let killed = end(child, command).code.is_none();
            caught += u64::from(killed);
            if sandbox.path("run").is_dir() {
                // Looking at what was left neither fails nor calls it damaged.
                let looked = sandbox.run("verify run");
                assert!(
                    matches!(looked.code, Some(0 | 4 | 2)),
                    "verify after a kill at {share:.3} of {command}: {looked:?}"
                );
                assert!(looked.code != Some(2) || command == LAB || !sandbox.path("run/parts").is_dir(), "{looked:?}");
            }
            let again = end(start(&sandbox, command), command);
            assert_eq!(again.code, Some(0), "{command} after a kill at {share:.3} of it: {again:?}");
            let found = results(&sandbox.path("run"));
            let differing: Vec<&String> =
                found.keys().chain(expected.keys()).filter(|k| found.get(*k) != expected.get(*k)).collect();
            assert!(differing.is_empty(), "{command} killed at {share:.3} of it: {differing:?}");
            let verified = sandbox.run("verify run");
            assert_eq!(verified.code, Some(0), "{command} killed at {share:.3} of it: {verified:?}");
        }
        println!("{caught} of {wanted} kills in time: {command}");
        (done, in_time) = (done + wanted, in_time + caught);
    }
    println!("{in_time} of {done} kills in time, each ended in the same bytes and verified");
    assert!(2 * in_time >= done, "most kills came too late: {in_time} of {done}");
}

fn blake3_u64(text: &str) -> u64 {
    let hash = blake3::hash(text.as_bytes());
    hash.as_bytes().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Commands beside one another, and how each may end: 2 where another process holds the directory, 4 where the run is
/// not complete yet.
const BESIDE: [&str; 9] = [
    RUN,
    "report run",
    "gate run",
    "bundle run",
    "bundle run --with-parts",
    "verify run",
    "status run",
    "boundary run",
    REFINE,
];

#[test]
fn commands_beside_one_another_leave_one_seal_that_holds() {
    let trials = setting("CLIFFLINE_TRIALS", 6);
    let seed = setting("CLIFFLINE_CHAOS_SEED", 1);
    let complete = after(&[RUN]);
    let fresh = after(&[]);
    let expected = results(&complete.path("run"));
    let refined = results(&after(&[RUN, REFINE]).path("run"));
    for trial in 0..trials {
        let mut random = Random(seed ^ blake3_u64(&format!("beside {trial}")));
        // Half of the trials begin with nothing, so that others meet a run from its first instant to its end.
        let begun = random.next().is_multiple_of(2);
        let sandbox = copy(if begun { &complete } else { &fresh });
        let count = 2 + random.next() % 4;
        let mut chosen: Vec<&str> = (0..count).map(|_| random.choose(&BESIDE)).collect();
        if !begun {
            chosen.insert(0, RUN);
        }
        // All at once, or one after another while the ones before are at work.
        let apart = [1, 120][(random.next() % 2) as usize];
        let children: Vec<(Child, &str)> = chosen
            .iter()
            .map(|command| {
                let child = start(&sandbox, command);
                std::thread::sleep(Duration::from_millis(random.next() % apart));
                (child, *command)
            })
            .collect();
        for (child, command) in children {
            let ran = end(child, command);
            let told = format!("trial {trial}: {command} beside {chosen:?}: {ran:?}");
            assert!(matches!(ran.code, Some(0 | 1 | 2 | 4)), "{told}");
            // A run beside others is complete or refused; a verdict of no is a gate's alone.
            assert!(ran.code != Some(1) || command.starts_with("gate"), "{told}");
            assert!(!ran.stderr.contains("panicked"), "{told}");
        }
        // The last of them left a seal that holds; where every one was refused, there is a run to go on with.
        let verified = sandbox.run("verify run");
        let ended = verified.code == Some(0) || !begun && verified.code == Some(4);
        assert!(ended, "trial {trial}, right after {chosen:?}: {verified:?}");
        // Whoever was refused comes again.
        let ran = sandbox.run(RUN);
        assert_eq!(ran.code, Some(0), "trial {trial}, after {chosen:?}: {ran:?}");
        let found = results(&sandbox.path("run"));
        let wanted = if found.contains_key("refinement.json") { &refined } else { &expected };
        let differing: Vec<&String> =
            found.keys().chain(wanted.keys()).filter(|k| found.get(*k) != wanted.get(*k)).collect();
        assert!(differing.is_empty(), "trial {trial}: {differing:?} differ after {chosen:?}");
        let verified = sandbox.run("verify run");
        assert_eq!(verified.code, Some(0), "trial {trial}, after {chosen:?}: {verified:?}");
    }
    println!("{trials} trials of commands beside one another ended in the same bytes and verified");
}
