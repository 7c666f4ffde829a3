//! Bad input: code 2, what is wrong, where, what to do; and nothing written.

use insta::assert_snapshot;

use crate::common::{Ran, Sandbox};
use crate::{RUN, contains_all, finished, refused};

/// Runs a spec whose first three lines are sound and whose others are `lines`.
fn refused_spec(lines: &str, phrases: &[&str]) -> Ran {
    let sandbox = Sandbox::new();
    sandbox.write("s.toml", format!("# a comment\nname = \"s\"\npreset = \"tiny\"\n{lines}\n"));
    let ran = refused(&sandbox, "run s.toml --backend flex", phrases);
    refused(&sandbox, "plan s.toml --backend flex", phrases);
    ran
}

#[test]
fn a_misspelt_key() {
    let ran = refused_spec("[train]\ntemprature = 0.1", &[]);
    assert_snapshot!(ran.stderr, @r"
    error: there is no parameter `train.temprature`
     --> s.toml:5:1
      |
    5 | temprature = 0.1
      | ^^^^^^^^^^ the nearest is `train.temperature`
      |
      = help: `train.temperature` (temperature that divides the cosine similarities) takes a number from 0.001 to 100
    ");
}

#[test]
fn an_empty_axis() {
    let ran = refused_spec("[axes]\nseed = []", &[]);
    assert_snapshot!(ran.stderr, @r"
    error: the axis `seed` is empty
     --> s.toml:5:8
      |
    5 | seed = []
      |        ^^
      |
      = help: give it at least one level, or remove the axis to keep the base value
    ");
}

#[test]
fn an_unknown_spec() {
    let ran = refused(&Sandbox::new(), "run smok --backend flex", &[]);
    assert_snapshot!(ran.stderr, @r"
    error: no spec is called `smok`: the nearest is `smoke`
      = help: give the path of a TOML file, or one of: collapse, confounder, corruption, failures-baseline, failures-capacity, failures-collapse, failures-confounder, failures-confounder-only, failures-control-collapse, failures-control-dominance, failures-control-pairing, failures-control-shortcut, failures-input-gain, failures-noise, failures-output-gain, failures-pairing, geometry-baseline, geometry-batch, geometry-noise, geometry-pairing, geometry-temperature, noise, reference, smoke
    ");
}

#[test]
fn a_directory_of_another_sweep() {
    let ran = refused(&finished(), "run noise -o run --backend flex", &[]);
    assert_snapshot!(ran.stderr, @r"
    backend flex: as asked
    error: run holds the sweep `smoke`, not `noise`: choose another directory with -o
    ");
}

#[test]
fn bad_specs() {
    let temperature = "takes a number from 0.001 to 100";
    let cases: &[(&str, &[&str])] = &[
        ("[train]\nsteps = \"many\"", &["s.toml:5:9", "`train.steps` takes a whole number, not the text \"many\""]),
        ("[train]\nsteps = 1.5", &["s.toml:5:9", "a whole number, not 1.5", "from 0 to 16777216"]),
        ("[train]\ntemperature = true", &["s.toml:5:15", "`train.temperature`", temperature]),
        ("[train]\ntemperature = -0.1", &["s.toml:5:15", "`train.temperature` cannot be -0.1", temperature]),
        ("[axes]\n\"train.temperature\" = [0.1, -0.5]", &["s.toml:5:29", "cannot be -0.5", temperature]),
        // A number that the arithmetic of training cannot hold, or takes for 0.
        (
            "[score]\ntemperature = 3e-309",
            &["s.toml:5:15", "cannot be 3e-309, which is too near to 0", "write 0, or a number at least 1.2e-38 away"],
        ),
        ("[axes]\n\"image.band\" = [0.5, 1e-45]", &["s.toml:5:22", "`image.band` cannot be 1e-45", "from 0 to 100"]),
        ("[axes]\n\"text.gain\" = { linear = [0.0, 1e-37], n = 21 }", &["s.toml:5:15", "`text.gain` cannot be 5e-39"]),
        ("[model]\noutput_gain_img = 1e-40", &["`model.output_gain_img` cannot be 1e-40", "from 1.2e-38 to 1000000"]),
        ("[axes]\n\"train.temperature\" = []", &["s.toml:5:23", "is empty", "at least one level"]),
        ("[axes]\ntrain = [0.1, 0.5]", &["s.toml:5:1", "`train` is a section", "name one of its parameters"]),
        ("[axes]\n\"image.noize\" = [0.1]", &["s.toml:5:1", "the nearest is `image.noise`"]),
        ("[axes]\nseed = { sedes = 3 }", &["s.toml:5:", "sedes", "seeds"]),
        ("[pairing]\nkind = \"swop\"", &["s.toml:5:8", "swop", "swap"]),
        ("[trian]\nsteps = 3", &["s.toml:4:2", "trian", "train"]),
        ("[axes\nseed = 3", &["s.toml:4:", "not valid TOML"]),
        (
            "[axes]\nseed = { seeds = 1000000000 }\n\"image.noise\" = { linear = [0.0, 1.0], n = 1000000 }",
            &["s.toml:5:1", "1,000,000,000,000,000 cells", "are available", "fewer levels"],
        ),
        ("train.batch_size = 1025", &["s.toml:4:", "1025", "1024", "lower train.batch_size or raise world.n_train"]),
    ];
    for (lines, phrases) in cases {
        refused_spec(lines, phrases);
    }
    let sandbox = Sandbox::new();
    sandbox.write("s.toml", "name = \"s\"\npreset = \"tinny\"\n");
    let phrases =
        ["s.toml:2:10", "there is no preset \"tinny\"", "the nearest is \"tiny\"", "baseline, tiny, reference"];
    refused(&sandbox, "run s.toml --backend flex", &phrases);
    sandbox.write("s.toml", "preset = \"tiny\"\n");
    refused(&sandbox, "run s.toml --backend flex", &["s.toml", "this spec has no `name`", "write name = "]);
    sandbox.write("s.toml", [0xff, 0xfe, b'a']);
    refused(&sandbox, "run s.toml --backend flex", &["s.toml", "UTF-8"]);
}

#[test]
fn every_mistake_of_a_spec_is_named_at_once() {
    let ran = refused_spec("[train]\ntemprature = 0.1\nsteps = \"many\"\n[axes]\nseed = []", &[]);
    contains_all(&ran.stderr, &["s.toml:5:1", "s.toml:6:9", "s.toml:8:8"]);
}

#[test]
fn files_that_are_not_there() {
    let sandbox = Sandbox::new();
    let phrases = ["./nope.toml", "No such file", "give the path of a TOML file", "smoke"];
    refused(&sandbox, "run ./nope.toml --backend flex", &phrases);
    refused(&sandbox, "run nope.toml --backend flex", &["nope.toml", "give the path of a TOML file", "smoke"]);
}

#[test]
fn bad_flags() {
    let sandbox = Sandbox::new();
    let cases: &[(&str, &[&str])] = &[
        ("--set train.temprature=0.1", &["--set train.temprature=0.1", "the nearest is `train.temperature`"]),
        ("--set train.momentum=warm", &["--set train.momentum=warm", "takes a number, not the text \"warm\""]),
        ("--set train.momentum=-1", &["`train.momentum` cannot be -1", "from 0 to 1"]),
        ("--set train=1", &["`train` is a section"]),
        ("--set nothing", &["`nothing` has no `=`", "write --set path=value"]),
        ("--set seed=3", &["`seed` is an axis", "--axis seed=3"]),
        ("--axis seed", &["`seed` has no `=`", "write --axis path=v1,v2"]),
        ("--axis image.noize=0,1", &["--axis image.noize=0,1", "the nearest is `image.noise`"]),
        ("--axis image.noise=", &["the axis `image.noise` is empty"]),
        ("--axis image.noise=log:0:1:3", &["a logarithmic axis cannot reach 0", "linear"]),
        ("--axis image.noise=0,0", &["repeated", "image.noise"]),
        ("--threads x", &["'x'", "--threads <N>"]),
        ("--pack 1.5", &["'1.5'", "--pack <N>"]),
        ("--bakcend flex", &["--bakcend", "--backend"]),
    ];
    for (flags, phrases) in cases {
        refused(&sandbox, &format!("run smoke {flags}"), phrases);
    }
    refused(&sandbox, "run smoke --backend cuda", &["'cuda'", "wgpu", "flex", "ndarray"]);
    refused(&sandbox, "run --backend flex", &["<SPEC>"]);
    refused(&sandbox, "rnu smoke", &["'rnu'", "Usage"]);
    refused(&sandbox, "completions fsh", &["'fsh'", "fish"]);
}

#[test]
fn directories_that_are_not_this_sweeps_run() {
    let sandbox = finished();
    std::fs::create_dir(sandbox.path("full")).expect("a folder");
    sandbox.write("full/notes.txt", "mine");
    let advice = "choose another directory with -o";
    refused(&sandbox, "run smoke -o full --backend flex", &["full is not empty and is not a run directory", advice]);
    refused(&sandbox, "run noise -o run --backend flex", &["run holds the sweep `smoke`, not `noise`", advice]);
    let other_class = ["run was computed in the class", "flex", "ndarray", "never silently mixed", advice];
    refused(&sandbox, "run smoke -o run --backend ndarray", &other_class);
    let other_plan = ["36 cells that this plan does not contain", "`train.steps` is 200 there and 41 here", advice];
    refused(&sandbox, "run smoke -o run --backend flex --set train.steps=41", &other_plan);
    let fewer = ["24 cells that this plan does not contain", "`seed` is ", advice];
    refused(&sandbox, "run smoke -o run --backend flex --axis seed=0", &fewer);
}

/// A run that came without its lock file, as from an archive or a repository, is refused without a trace too.
#[test]
fn a_refused_directory_gets_no_lock_file() {
    let sandbox = finished();
    std::fs::remove_file(sandbox.path("run/.lock")).expect("removed");
    refused(&sandbox, "run noise -o run --backend flex", &["run holds the sweep `smoke`"]);
}

#[test]
fn an_output_path_that_is_a_file() {
    let sandbox = Sandbox::new();
    sandbox.write("taken", "mine");
    let direct = refused(&sandbox, "run smoke -o taken --backend flex", &["taken"]);
    let below = refused(&sandbox, "run smoke -o taken/run --backend flex", &["taken"]);
    for ran in [direct, below] {
        let last = ran.stderr.lines().last().unwrap_or_default();
        assert!(last.contains("-o"), "says what to do: {last}");
        assert_eq!(last.matches("os error").count(), 1, "says it once: {last}");
    }
}

#[test]
fn a_damaged_manifest_is_named_with_what_to_do() {
    let sandbox = finished();
    sandbox.write("run/manifest.json", "{");
    let before = sandbox.tree();
    let ran = sandbox.run("verify run");
    assert_eq!(ran.code, Some(1), "verify says no: {ran:?}");
    contains_all(&ran.stdout, &["manifest.json"]);
    assert_eq!(sandbox.tree(), before);
    let repaired = sandbox.ok(RUN);
    contains_all(&repaired.stderr, &["manifest.json is damaged", "moved to parts/damaged"]);
    sandbox.ok("verify run");
    assert!(sandbox.path("run/parts/damaged/manifest.json").is_file());
}
