//! Commands that write into one run at the same time: whatever comes first, the seal is right at the end.

use std::process::Child;

use crate::common::{Ran, Sandbox};
use crate::contains_all;

/// As little as can be trained.
const SPEC: &str = "name = \"together\"\npreset = \"tiny\"\n[train]\nsteps = 4\n[axes]\nseed = { seeds = 1 }\n\
                    [[gate]]\nmetric = \"lost\"\nmax = 0.0\nmin_seeds = 1\n";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("t.toml", SPEC);
    sandbox
}

/// Starts all of `commands` at once, in this order.
fn start(sandbox: &Sandbox, commands: &[String]) -> Vec<Child> {
    commands.iter().map(|command| sandbox.command(command).spawn().expect("the program starts")).collect()
}

/// The ends of what was started; `allowed` says which exit codes a command may end with.
fn ends(commands: &[String], children: Vec<Child>, allowed: impl Fn(&str) -> Vec<i32>) -> Vec<Ran> {
    let end = |(command, child): (&String, Child)| {
        let ran = Ran::of(child.wait_with_output().expect("it ends"));
        assert!(ran.code.is_some_and(|code| allowed(command).contains(&code)), "{command}: {ran:?}");
        ran
    };
    commands.iter().zip(children).map(end).collect()
}

/// The same commands in another order for every number.
fn turned(commands: &[&str], by: usize) -> Vec<String> {
    let mut commands: Vec<String> = commands.iter().map(ToString::to_string).collect();
    let n = commands.len();
    commands.rotate_left(by % n);
    if (by / n) % 2 == 1 {
        commands.reverse();
    }
    commands
}

fn passes(sandbox: &Sandbox, when: &str) {
    let verified = sandbox.run("verify run");
    assert_eq!(verified.code, Some(0), "{when}: {verified:?}");
    contains_all(&verified.stdout, &["run: passed"]);
}

#[test]
fn a_run_that_has_ended_is_sealed_right_by_whoever_comes_last() {
    let sandbox = sandbox();
    let commands = [
        "report run",
        "gate run",
        "bundle run --with-parts",
        "bundle run",
        "verify run",
        "report run -o page.html",
        "bundle run -o away.zip",
        "status run",
    ];
    for trial in 0..16 {
        std::fs::remove_dir_all(sandbox.path("run")).ok();
        // Without its report and verdicts, so that there is something to write.
        sandbox.ok("run t.toml -o run --backend flex --no-report --no-exemplars");
        let commands = turned(&commands, trial);
        let children = start(&sandbox, &commands);
        let code = |command: &str| if command.starts_with("verify") { vec![0, 4] } else { vec![0] };
        ends(&commands, children, code);
        passes(&sandbox, &format!("trial {trial}: {commands:?}"));
        assert!(sandbox.path("run/report.html").is_file() && sandbox.path("page.html").is_file());
        let log = std::fs::read_to_string(sandbox.path("run/directives.jsonl")).expect("a log");
        assert_eq!(log.matches("\"step\":\"report\"").count(), 1, "it was drawn into the run once");
    }
}

#[test]
fn what_comes_while_a_run_ends_does_not_break_its_seal() {
    let sandbox = sandbox();
    // Each round is a session on the same run, with a cell more.
    for round in 1..=12 {
        let axis = format!("--axis seed=seeds:{round}");
        let report = if round % 3 == 0 { "--no-report" } else { "" };
        let run = format!("run t.toml -o run --backend flex --no-exemplars {axis} {report}");
        let mut session = sandbox.command(&run).spawn().expect("the program starts");
        let mut looks = 0;
        while session.try_wait().expect("its status").is_none() {
            let commands = turned(&["report run", "gate run", "bundle run", "verify run", "status run"], looks);
            let children = start(&sandbox, &commands);
            // Before the directory is there, and while nothing is in it.
            let begun = round == 1;
            let others = |command: &str| match command.split_whitespace().next() {
                Some("bundle") => vec![0, 4],
                Some("verify") => vec![0, 4],
                Some("gate") => vec![0, 1, 4],
                _ => vec![0, 4],
            };
            ends(&commands, children, |command| [others(command), vec![2; usize::from(begun)]].concat());
            looks += 1;
        }
        let ended = Ran::of(session.wait_with_output().expect("it ends"));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(looks > 0);
        passes(&sandbox, &format!("round {round}, after {looks} looks"));
    }
}
