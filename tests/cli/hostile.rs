//! Names and texts of others, which hold what a terminal obeys: shown, never obeyed.

use serde_json::Value;

use crate::common::{Ran, Sandbox};
use crate::contains_all;

const SPEC: &str = "name = \"plain\"\npreset = \"tiny\"\n[train]\nsteps = 5\n[axes]\nseed = { seeds = 3 }\n";

/// Clears the screen, names the window, goes a line up, turns what follows round, and ends the line.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;mine\u{7}\u{1b}[1A\u{9b}31m\u{202e}desrever\u{2066}\u{7f}";

fn finished() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("plain.toml", SPEC);
    sandbox.ok("run plain.toml -o run --backend flex");
    sandbox
}

/// Nothing that a terminal obeys is in what was printed, and no line begins with `forged`.
fn is_harmless(ran: &Ran, forged: &str) {
    for text in [&ran.stdout, &ran.stderr] {
        let obeyed =
            |c: &char| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c) || *c == '\u{2066}';
        assert_eq!(text.chars().find(obeyed), None, "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with(forged)), "{text}");
    }
}

#[test]
fn a_file_name_is_shown_and_forges_no_line() {
    let sandbox = finished();
    let name = format!("x{HOSTILE}\nrun: passed: 3 cells");
    sandbox.write(&format!("run/{name}"), "mine");
    sandbox.write(&format!("run/parts/{name}.part"), "no part");
    for command in ["verify run", "status run", "report run"] {
        is_harmless(&sandbox.run(command), "run: passed");
    }
    let ran = sandbox.run("verify run");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    contains_all(
        &ran.stdout,
        &["x\\u{1b}[2J\\u{1b}]0;mine\\u{7}", "\\u{9b}31m\\u{202e}desrever\\u{2066}\\u{7f}\\nrun: passed"],
    );
    // JSON has the same values, written so that nothing is obeyed either.
    let ran = sandbox.run("verify run --json");
    is_harmless(&ran, "run: passed");
    assert!(ran.json()["problems"].to_string().contains("desrever"));
}

#[test]
fn a_manifest_of_others_is_shown_and_forges_no_line() {
    let sandbox = finished();
    sandbox.ok("run plain.toml -o b --backend flex");
    let path = sandbox.path("b/manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    let forged = format!("{HOSTILE}\ndifferences: none");
    for key in ["sweep", "run_id", "class"] {
        manifest[key] = forged.clone().into();
    }
    manifest["environment"]["cpu"] = forged.clone().into();
    manifest["code"]["git_commit"] = forged.clone().into();
    std::fs::write(&path, manifest.to_string()).expect("written");
    for command in
        ["compare run b", "compare run b --json", "status b", "status b --json", "verify b", "gate b", "report b"]
    {
        is_harmless(&sandbox.run(command), "differences: none in");
    }
    let text = sandbox.ok("compare run b").stdout;
    contains_all(&text, &["b: b (\\u{1b}[2J", "\\u{202e}desrever", "\\ndifferences: none"]);
    assert_eq!(text.lines().filter(|line| line.starts_with("differences: none")).count(), 1, "its own: {text}");
    let document = sandbox.ok("compare run b --json").json();
    assert_eq!(document["b"]["sweep"], forged.as_str(), "JSON keeps the value");
}

#[test]
fn errors_quote_specs_and_arguments_without_obeying_them() {
    let sandbox = finished();
    let bad = format!("name = \"plain\"\n# {HOSTILE}\npreset = \"{HOSTILE}\"\n[train]\nsteps{HOSTILE} = 1\n");
    sandbox.write("bad\u{1b}[7m.toml", &bad);
    sandbox.write("bad.toml", bad);
    for arguments in [
        vec!["run".to_string(), "bad\u{1b}[7m.toml".to_string()],
        vec!["plan".to_string(), "bad.toml".to_string()],
        vec!["plan".to_string(), HOSTILE.to_string()],
        vec!["plan".to_string(), "plain.toml".to_string(), "--set".to_string(), format!("train.{HOSTILE}=1")],
        vec!["status".to_string(), format!("nowhere{HOSTILE}")],
        vec![format!("--{HOSTILE}")],
        vec!["compare".to_string(), "run".to_string(), "run".to_string(), "--fail-on".to_string(), HOSTILE.to_string()],
    ] {
        let ran = Ran::of(sandbox.command("").args(&arguments).output().expect("it runs"));
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
        is_harmless(&ran, "desrever");
        assert!(!ran.stderr.is_empty());
    }
}

#[test]
fn the_summary_of_a_job_holds_a_path_as_text() {
    let sandbox = Sandbox::new();
    sandbox.write("plain.toml", SPEC);
    let mut command = sandbox.command("run plain.toml --backend flex -o");
    command.arg("`<img src=x>`_[a](b)").env("GITHUB_STEP_SUMMARY", sandbox.path("summary.md"));
    assert_eq!(Ran::of(command.output().expect("it runs")).code, Some(0));
    let summary = std::fs::read_to_string(sandbox.path("summary.md")).expect("a page");
    assert!(summary.starts_with("### \\`\\<img src\\=x\\>\\`\\_\\[a\\]\\(b\\)\n"), "{summary}");
}
