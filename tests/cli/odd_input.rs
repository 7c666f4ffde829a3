//! Input that is nearly right: empty variables, standard input, other encodings, numbers of other programs.

use std::io::Write;
use std::process::Stdio;

use crate::common::{Ran, Sandbox};
use crate::{contains_all, refused};

/// Runs the program with `text` on its standard input.
fn with_input(sandbox: &Sandbox, arguments: &str, text: &[u8]) -> Ran {
    let mut child = sandbox.command(arguments).stdin(Stdio::piped()).spawn().expect("the program starts");
    // What reads nothing may be gone already.
    let _ = child.stdin.take().expect("a pipe").write_all(text);
    Ran::of(child.wait_with_output().expect("it ends"))
}

const SPEC: &str = "name = \"piped\"\npreset = \"tiny\"\n[train]\nsteps = 3\n[axes]\nseed = { seeds = 2 }\n";

#[test]
fn every_command_that_takes_a_spec_takes_it_from_standard_input() {
    let sandbox = Sandbox::new();
    let ok = |arguments: &str| {
        let ran = with_input(&sandbox, arguments, SPEC.as_bytes());
        assert_eq!(ran.code, Some(0), "{arguments}: {ran:?}");
        ran
    };
    let plan = ok("plan - --no-calibration --json").json();
    assert_eq!((&plan["sweep"], &plan["estimate"]["cells"]), (&"piped".into(), &2.into()));
    let run = ok("run - -o run --json").json();
    assert_eq!(run["trained"], 2);
    // The directory knows its spec, wherever that came from.
    sandbox.write("piped.toml", SPEC);
    assert_eq!(sandbox.ok("run piped.toml -o run --json").json()["trained"], 0);
    ok("world export - -o world.parquet");
    ok("gradcheck -");
    ok("agree - --backends flex,native");
    let wrong = with_input(&sandbox, "run -", b"name = \"a\"\n[train]\nstep = 3\n");
    assert_eq!(wrong.code, Some(2));
    contains_all(&wrong.stderr, &["standard input:3:1", "`train.steps`"]);
    let empty = with_input(&sandbox, "plan -", b"");
    assert_eq!(empty.code, Some(2));
    contains_all(&empty.stderr, &["standard input", "no `name`"]);
}

#[test]
fn empty_variables_count_as_unset_and_wrong_ones_are_named() {
    let sandbox = Sandbox::new();
    let with = |name: &str, value: &str| {
        let mut command = sandbox.command("plan smoke --no-calibration --json");
        Ran::of(command.env(name, value).output().expect("the program starts"))
    };
    for name in ["CLIFFLINE_PACK", "CLIFFLINE_THREADS", "CLIFFLINE_BACKEND", "CLIFFLINE_INSTRUCTIONS"] {
        let ran = with(name, "");
        assert_eq!(ran.code, Some(0), "{name}: {ran:?}");
    }
    for (name, value) in [("CLIFFLINE_PACK", "7.5"), ("CLIFFLINE_THREADS", "few"), ("CLIFFLINE_BACKEND", "gpu")] {
        let ran = with(name, value);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        contains_all(&ran.stderr, &[&format!("{name} is set to \"{value}\"")]);
    }
    // A flag goes before its variable, and is not blamed on it.
    let mut command = sandbox.command("plan smoke --pack x");
    let ran = Ran::of(command.env("CLIFFLINE_PACK", "4").output().expect("the program starts"));
    assert!(ran.code == Some(2) && !ran.stderr.contains("CLIFFLINE_PACK is set"), "{ran:?}");
}

#[test]
fn specs_in_other_encodings() {
    let sandbox = Sandbox::new();
    let utf_16: Vec<u8> = format!("\u{feff}{SPEC}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    sandbox.write("wide.toml", utf_16);
    refused(&sandbox, "run wide.toml", &["wide.toml", "UTF-16", "iconv -f UTF-16 -t UTF-8"]);
    sandbox.write("latin.toml", b"name = \"a\"\n# na\xefve\n");
    refused(&sandbox, "plan latin.toml", &["latin.toml", "line 2 has the byte 0xef", "iconv -f LATIN1"]);
    sandbox.write("table.toml", b"PAR1\0\x15\xff\xfe");
    refused(&sandbox, "plan table.toml", &["table.toml", "not UTF-8 text"]);
    sandbox.write("marked.toml", format!("\u{feff}{SPEC}"));
    sandbox.write("crlf.toml", SPEC.replace('\n', "\r\n"));
    sandbox.write("plain.toml", SPEC);
    let hash = |file: &str| sandbox.ok(&format!("plan {file} --no-calibration --json")).json()["spec_hash"].clone();
    assert_eq!(hash("marked.toml"), hash("plain.toml"));
    assert_eq!(hash("crlf.toml"), hash("plain.toml"));
    refused(&sandbox, "plan ./", &["cannot read the spec ./", "give the path of a TOML file"]);
    #[cfg(unix)]
    refused(&sandbox, "plan /dev/zero", &["/dev/zero", "larger than 64 MiB"]);
}

#[test]
fn values_of_other_programs_are_told_how_to_write_them() {
    let sandbox = Sandbox::new();
    let cases: &[(&str, &[&str])] = &[
        ("--set train.momentum=.07", &["not the text \".07\"", "write 0.07"]),
        ("--set train.clip_norm=7.", &["write 7.0"]),
        ("--set train.steps=3e2", &["not 300.0", "write 300"]),
        ("--set train.steps=40.0", &["write 40"]),
        ("--set stop.freeze=yes", &["write true"]),
        ("--set train.momentum=50%", &["write 0.5"]),
        ("--set train.momentum=0.1,0.2", &["for several levels write --axis train.momentum=0.1,0.2"]),
        ("--set train.momentum=[0.1,0.2]", &["for several levels write --axis train.momentum=0.1,0.2"]),
        ("--set train.momentum=linear:0:1:3", &["for several levels write --axis train.momentum=linear:0:1:3"]),
        ("--set train.momentum=", &["`train.momentum` is set to nothing", "takes a number from 0 to 1"]),
        ("--axis image.noise=", &["the axis `image.noise` is empty", "write --axis image.noise=v1,v2"]),
        ("--axis image.noise=0.1,,0.2", &["`0.1,,0.2` does not describe levels", "path=v1,v2"]),
        ("--axis image.noise=[0.1,0.2]", &["write 0.1,0.2"]),
        ("--axis image.noise=0:1:5", &["write linear:0:1:5 or log:0:1:5"]),
        ("--axis seed=0-3", &["write seeds:4 for 0 to 3"]),
        ("--axis seed=2..5", &["write seeds:4:2 for 2 to 5"]),
        ("--axis seed=1e1,2e1", &["write 10", "write 20"]),
    ];
    for (flags, phrases) in cases {
        refused(&sandbox, &format!("plan smoke {flags}"), phrases);
    }
    for (flags, phrases) in [
        ("run smoke --pack -3", "give a whole number"),
        ("run smoke --threads -1", "give a whole number from 0 to 1024"),
        ("refine run --budget 1e2", "give a whole number"),
        ("verify run --rerun -0.5", "--rerun -0.5 is not a share"),
    ] {
        refused(&sandbox, flags, &[phrases]);
    }
    sandbox.write("s.toml", "name = \"s\"\n[train]\ntemperature = .07\n");
    refused(&sandbox, "plan s.toml", &["not valid TOML", "s.toml:3:15", "write 0.07"]);
    // Digits may be grouped, in a spec and in a flag.
    let plan = |set: &str| sandbox.ok(&format!("plan smoke --no-calibration --json {set}")).json()["spec_hash"].clone();
    assert_eq!(plan("--set train.steps=1_000"), plan("--set train.steps=1000"));
}
