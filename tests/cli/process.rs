//! What surrounds a process: signals, limits of memory, processes and files, and paths that are no text.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Ran, Sandbox, parts};
use crate::{RUN, contains_all, finished, ids};

/// The program under what a shell says before it starts.
fn under(sandbox: &Sandbox, before: &str, arguments: &str) -> Command {
    let plain = sandbox.command(arguments);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{before}; exec \"$0\" \"$@\"")).arg(plain.get_program()).args(plain.get_args());
    command.current_dir(sandbox.path("")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn run_under(sandbox: &Sandbox, before: &str, arguments: &str) -> Ran {
    Ran::of(under(sandbox, before, arguments).output().expect("sh is there"))
}

/// Cells one after the other, a second or so, so that there is something to stop.
const SLOW: &str = "run smoke -o run --backend flex --axis seed=0 --set train.steps=700 --pack 1 --threads 1";
const CELLS: u64 = 12;

/// Waits for the first part of a run, then sends it signals, one right after the other.
fn signalled(sandbox: &Sandbox, mut child: Child, signals: &[&str]) -> Ran {
    let started = Instant::now();
    while parts(&sandbox.path("run")).is_empty() {
        let ended = child.try_wait().expect("its status");
        assert!(ended.is_none() && started.elapsed() < Duration::from_secs(60), "no part: {ended:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    let kill = signals.iter().map(|signal| format!("kill -{signal} {}", child.id())).collect::<Vec<_>>().join(" && ");
    assert!(Command::new("sh").arg("-c").arg(kill).status().expect("sh is there").success());
    Ran::of(child.wait_with_output().expect("it ends"))
}

#[test]
fn signals_that_announce_an_end_end_a_run_cleanly_and_are_named() {
    let cases: [(&[&str], &str); 6] = [
        (&["HUP"], "SIGHUP"),
        (&["USR2"], "SIGUSR2"),
        (&["XCPU", "XCPU"], "SIGXCPU"),
        (&["XFSZ"], "SIGXFSZ"),
        // As `timeout` sends it, and as a terminal that closes does.
        (&["TERM", "TERM"], "SIGTERM"),
        // Whichever of them the system hands over first.
        (&["USR1", "TERM", "HUP"], "SIG"),
    ];
    for (signals, name) in cases {
        let sandbox = Sandbox::new();
        let ran = signalled(&sandbox, sandbox.command(SLOW).spawn().expect("it starts"), signals);
        assert_eq!(ran.code, Some(130), "{signals:?}: {ran:?}");
        contains_all(&ran.stderr, &[name, "stopping", "interrupted; the same command goes on from here"]);
        let status = sandbox.run("status run --json").json();
        let finished = status["finished"].as_u64().expect("a count");
        assert!(status["state"] == "interrupted" && (1..CELLS).contains(&finished), "{signals:?}: {status}");
        assert!(sandbox.path("run/cells.parquet").is_file(), "the tables are written");
        if signals.len() == 1 {
            continue;
        }
        // However many came, the same command goes on.
        let again = sandbox.ok(&format!("{SLOW} --json")).json();
        assert_eq!((&again["present"], &again["finished"]), (&finished.into(), &CELLS.into()));
    }
}

#[test]
fn signals_that_were_ignored_stay_ignored() {
    let sandbox = Sandbox::new();
    let ignoring = under(&sandbox, "trap '' HUP INT USR1 XCPU", SLOW).spawn().expect("it starts");
    let ran = signalled(&sandbox, ignoring, &["HUP", "INT", "USR1", "XCPU"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(sandbox.ok("status run --json").json()["finished"], CELLS);
    assert!(!ran.stderr.contains("SIG") && !ran.stderr.contains("stopping"), "{}", ran.stderr);
}

#[test]
fn what_trains_nothing_ends_at_once_with_the_same_code() {
    for (signal, says) in [("INT", "interrupted: stopped"), ("USR1", "SIGUSR1: stopped"), ("XFSZ", "SIGXFSZ: stopped")]
    {
        let sandbox = Sandbox::new();
        // Waits for a spec that never comes.
        let mut command = sandbox.command("run -");
        let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
        let held = child.stdin.take();
        let waits = || {
            let state = std::fs::read_to_string(format!("/proc/{}/wchan", child.id())).unwrap_or_default();
            state.contains("pipe")
        };
        let started = Instant::now();
        while !waits() && started.elapsed() < Duration::from_millis(700) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().expect("kill is there");
        let ran = Ran::of(child.wait_with_output().expect("it ends"));
        drop(held);
        assert_eq!((ran.code, ran.stderr.trim()), (Some(130), says));
        assert!(sandbox.tree().is_empty());
    }
}

#[test]
fn a_limit_on_file_sizes_is_an_error_like_a_full_disk() {
    let sandbox = Sandbox::new();
    // Enough for a part, and too little for the tables; in blocks of 512 bytes, or 1024 in some shells.
    let ran = run_under(&sandbox, "ulimit -f 40", RUN);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    contains_all(&ran.stderr, &["error: ", "ulimit -f", "every finished cell is kept"]);
    let again = sandbox.ok(&format!("{RUN} --json")).json();
    assert_eq!(again["finished"], 36);
    sandbox.ok("verify run");
}

/// Codes and messages of the program at many limits of its address space.
#[cfg(target_os = "linux")]
#[test]
fn at_every_limit_of_memory_a_run_goes_through_or_is_refused_with_numbers() {
    let mut codes = std::collections::BTreeSet::new();
    // From where the loader itself fails, in KiB.
    for mib in [150, 180, 220, 260, 300, 350, 400, 500, 700, 1200] {
        let sandbox = Sandbox::new();
        let ran =
            run_under(&sandbox, &format!("ulimit -v {}", mib << 10), "run smoke -o run --axis seed=0 --threads 2");
        match ran.code {
            Some(0) => assert!(sandbox.path("run/bundle.zip").is_file()),
            Some(2) => {
                contains_all(&ran.stderr, &["MiB", "ulimit -v"]);
                assert!(!sandbox.path("run").exists(), "nothing is begun at {mib} MiB");
            }
            // The loader, before there is a program.
            Some(127) => assert!(ran.stderr.contains("shared libraries"), "{ran:?}"),
            _ => panic!("{mib} MiB: {ran:?}"),
        }
        codes.insert(ran.code);
    }
    assert!(codes.contains(&Some(0)) && codes.contains(&Some(2)), "{codes:?}");
    let sandbox = Sandbox::new();
    for command in
        ["gradcheck", "agree --backends flex,native", "world check smoke", "plan smoke", "lab geometry --quick"]
    {
        let large = "--set world.n_train=1048576 --set world.image_size=24";
        let large = if command.starts_with("lab") { "--set world.n_train=1048576" } else { large };
        let ran = run_under(&sandbox, "ulimit -v 600000", &format!("{command} {large}"));
        assert_eq!(ran.code, Some(2), "{command}: {ran:?}");
        contains_all(&ran.stderr, &["of memory", "the address space (ulimit -v)"]);
    }
    assert!(sandbox.tree().is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn a_finished_run_that_is_refused_for_want_of_memory_takes_nothing_over_and_keeps_its_seal() {
    let sandbox = Sandbox::new();
    let spec = "name = \"big\"\npreset = \"tiny\"\ntrain.steps = 5\nworld.image_size = 24\n[axes]\nseed = [0, 1]\n\
                world.n_train = [256, 1048576]\n";
    sandbox.write("big.toml", spec);
    let run = "run big.toml --backend native --no-report --no-exemplars --threads 1";
    sandbox.ok(&format!("{run} -o runs/a --axis world.n_train=256 --axis seed=0"));
    sandbox.ok(&format!("{run} -o runs/b --axis world.n_train=256 --no-reuse"));
    let before = sandbox.tree();
    let ran = run_under(&sandbox, "ulimit -v 1200000", &format!("{run} -o runs/a"));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    contains_all(&ran.stderr, &["of memory", "the address space (ulimit -v)"]);
    assert_eq!(sandbox.tree(), before);
    sandbox.ok("verify runs/a");
}

#[test]
fn few_open_files_are_an_error_in_words() {
    let run = "run smoke -o run --axis seed=0 --backend native";
    for files in [4, 7, 12, 40] {
        let sandbox = Sandbox::new();
        let ran = run_under(&sandbox, &format!("ulimit -n {files}"), run);
        assert_eq!(ran.code, Some(2), "{files} files: {ran:?}");
        contains_all(&ran.stderr, &[&format!("{files} files may be open at once (ulimit -n)")]);
        assert!(!sandbox.path("run").exists(), "nothing is begun");
    }
    // What may be raised is raised.
    let sandbox = Sandbox::new();
    assert_eq!(run_under(&sandbox, "ulimit -S -n 12", run).code, Some(0));
}

/// The program as somebody who may have so many processes; none where this test may not become somebody else.
fn with_processes(sandbox: &Sandbox, most: u32, arguments: &str) -> Option<Ran> {
    let everyone = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(sandbox.path(""), everyone.clone()).ok()?;
    let program = sandbox.path("cliffline-of-everyone");
    if !program.exists() {
        std::fs::copy(sandbox.command("").get_program(), &program).expect("a copy of the program");
        std::fs::set_permissions(&program, everyone).expect("for everyone");
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=54321", "--regid=54321", "--clear-groups", "prlimit", &format!("--nproc={most}")]);
    command.arg(program).args(arguments.split_whitespace()).current_dir(sandbox.path(""));
    let output = command.output().ok()?;
    let became = output.status.code() != Some(1) || !output.stderr.starts_with(b"setpriv");
    became.then(|| Ran::of(output))
}

#[test]
fn without_threads_nothing_is_begun_and_what_needs_none_works() {
    let sandbox = finished();
    let Some(ran) = with_processes(&sandbox, 1, "run smoke -o other --backend flex") else {
        eprintln!("SKIPPED: this test needs root, setpriv and prlimit to become a user with a limit on processes");
        return;
    };
    assert_eq!(ran.code, Some(2), "{ran:?}");
    contains_all(&ran.stderr, &["cannot start", "ulimit -u"]);
    assert!(!sandbox.path("other").exists(), "nothing is begun");
    let lab = with_processes(&sandbox, 1, "lab geometry --quick -o lab --backend native").expect("as before");
    assert_eq!(lab.code, Some(2), "{lab:?}");
    assert!(!sandbox.path("lab").exists());
    for command in ["status run", "verify run", "plan smoke --no-calibration", "gradcheck"] {
        let ran = with_processes(&sandbox, 1, command).expect("as before");
        assert_eq!(ran.code, Some(0), "{command}: {ran:?}");
    }
    // The adapter is missed, and said to be, where there is one.
    let agreed = with_processes(&sandbox, 1, "agree smoke --backends flex,wgpu").expect("as before");
    assert!([Some(0), Some(1), Some(2)].contains(&agreed.code), "{agreed:?}");
    for command in ["compare run run", "report run", "boundary run", "world check smoke", "plan smoke"] {
        let ran = with_processes(&sandbox, 1, command).expect("as before");
        assert_eq!(ran.code, Some(2), "{command}: {ran:?}");
        contains_all(&ran.stderr, &["error: cannot start"]);
    }
    for most in [2, 3, 4, 5] {
        let ran = with_processes(&sandbox, most, "run smoke -o few --backend native --axis seed=0").expect("as before");
        assert!([Some(0), Some(2)].contains(&ran.code), "{most}: {ran:?}");
    }
}

#[test]
fn paths_that_are_no_text_are_shown_with_a_mark() {
    let sandbox = Sandbox::new();
    let odd = |name: &[u8]| OsStr::from_bytes(name).to_os_string();
    let (dir, spec) = (odd(b"caf\xe9"), odd(b"na\xefve.toml"));
    std::fs::write(sandbox.path("").join(&spec), "name = \"a\"\npreset = \"tiny\"\ntrain.steps = 5\naxes.seed = { seeds = 3 }\n[[gate]]\nmetric = \"effective_rank_img\"\nmin = 0.0\n")
        .expect("written");
    let run = |arguments: &[OsString]| {
        let mut command = sandbox.command("");
        Ran::of(command.args(arguments).output().expect("the program starts"))
    };
    let with = |words: &str, and: &[&OsString]| {
        let words = words.split_whitespace().map(OsString::from);
        run(&words.chain(and.iter().map(|and| (*and).clone())).collect::<Vec<_>>())
    };
    let ok = |ran: Ran| {
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran
    };
    ok(with("plan --no-calibration --json -o", &[&dir, &spec]));
    let ran = ok(with("run --backend flex --json -o", &[&dir, &spec]));
    assert_eq!(ran.json()["dir"], "caf\u{fffd}");
    let plan = ok(with("plan smoke --no-calibration --json --cells -o", &[&dir])).json();
    assert!(plan["cells"].is_array());
    let cells = ok(with("plan --no-calibration --json --cells -o", &[&dir, &spec])).json()["cells"].clone();
    let id = OsString::from(cells[0]["cell_id"].as_str().expect("an id"));
    for command in ["status", "gate", "boundary", "report", "bundle", "verify", "verify --rerun 0.3"] {
        ok(with(command, &[&dir]));
        let json: Value = ok(with(&format!("{command} --json"), &[&dir])).json();
        assert_eq!(json["dir"], "caf\u{fffd}", "{command}");
    }
    ok(with("gate --json --spec", &[&spec, &dir]));
    ok(with("show", &[&dir, &id]));
    ok(with("compare --json", &[&dir, &dir]));
    let table = odd(b"z\xff.parquet");
    let json = ok(with("embed --json", &[&dir, &id, &OsString::from("-o"), &table])).json();
    assert_eq!(json["file"], "z\u{fffd}.parquet");
    let json = ok(with("world export smoke --json -o", &[&table])).json();
    assert_eq!(json["file"], "z\u{fffd}.parquet");
    let refined = with("refine --json --axis seed", &[&dir]);
    assert_eq!(refined.code, Some(2), "{refined:?}");
    let missing = odd(b"no\xffthing");
    for command in ["status", "gate", "boundary", "report", "bundle", "verify", "refine", "run", "plan", "compare x"] {
        let ran = with(command, &[&missing]);
        assert_eq!(ran.code, Some(2), "{command}: {ran:?}");
        assert!(ran.stderr.contains("no\u{fffd}thing") || command == "compare x", "{command}: {ran:?}");
    }
    // Values are text, and paths in them are none.
    let ran = with("plan smoke --set", &[&odd(b"name=\xff")]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
}

#[test]
fn a_closed_standard_error_ends_nothing() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.command(RUN).spawn().expect("it starts");
    drop(child.stderr.take());
    let mut out = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut out).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(!ids(&sandbox).is_empty() && out.contains("36 of 36"));
}
