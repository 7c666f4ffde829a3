//! `gradcheck`, `agree`, `devices`, and the documents that the program makes of its registries.

use std::collections::BTreeSet;

use cliffline::metric;
use cliffline::spec::PARAMS;
use serde_json::Value;

use crate::common::{Ran, Sandbox};
use crate::{contains_all, has_keys, refused};

const FAULTS: [(&str, &str); 4] = [
    ("tanh", "embeddings"),
    ("normalise", "embeddings"),
    ("info-nce-gradient", "gradients"),
    ("hidden-gradient", "gradients"),
];

const TENSORS: [&str; 8] = ["img.w1", "img.b1", "img.w2", "img.b2", "txt.w1", "txt.b1", "txt.w2", "txt.b2"];

/// The values of `key` among the entries of a list that did not pass.
fn failing<'a>(checks: &'a Value, key: &str) -> BTreeSet<&'a str> {
    let checks = checks.as_array().expect("a list");
    checks.iter().filter(|c| c["passed"] == false).filter_map(|c| c[key].as_str()).collect()
}

#[test]
fn gradcheck_passes_and_fails_on_every_fault() {
    let sandbox = Sandbox::new();
    let ran = sandbox.ok("gradcheck --backend flex");
    contains_all(&ran.stdout, &["against autodiff", "against f64", "tolerance", "the gradients are right"]);
    contains_all(&ran.stdout, &TENSORS);
    let json = sandbox.ok("gradcheck --backend flex --json").json();
    assert_eq!(json["passed"], true);
    let tensors: BTreeSet<&str> =
        json["checks"].as_array().expect("checks").iter().filter_map(|c| c["tensor"].as_str()).collect();
    assert_eq!(tensors, BTreeSet::from(TENSORS));
    for (fault, _) in FAULTS {
        let ran = sandbox.run(&format!("gradcheck --backend flex --fault {fault} --json"));
        assert_eq!((ran.code, &ran.json()["passed"]), (Some(1), &false.into()), "{fault}");
    }
    let words = sandbox.run("gradcheck --backend flex --fault tanh");
    assert_eq!(words.code, Some(1));
    contains_all(&words.stdout, &["WRONG", "the gradients are WRONG"]);
    // A fault in the hidden layer's gradient is pinned to the hidden layer's tensors.
    let hidden = sandbox.run("gradcheck --backend flex --fault hidden-gradient --json").json();
    let first_layer = BTreeSet::from(["img.w1", "img.b1", "txt.w1", "txt.b1"]);
    assert_eq!(failing(&hidden["checks"], "tensor"), first_layer);
    let unknown = refused(&sandbox, "gradcheck --backend flex --fault x", &["'x'", "'--fault <FAULT>'"]);
    FAULTS.iter().for_each(|(fault, _)| contains_all(&unknown.stderr, &[fault]));
}

/// A sweep with a loud encoder in some cells, whose loss drowns what the other encoder's gradient is checked by.
const LOUD: &str = r#"
name = "loud"
preset = "tiny"
[train]
steps = 5
embedding_l2 = 0.5
[axes]
seed = [4]
"model.output_gain_txt" = [3.0]
"#;

/// The verdict on the gradients in the manifest of a run.
fn recorded(sandbox: &Sandbox, run: &str) -> Value {
    let manifest = std::fs::read(sandbox.path(&format!("{run}/manifest.json"))).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    manifest["gradcheck"].clone()
}

#[test]
fn the_verdict_on_gradients_is_the_same_whatever_of_a_sweep_is_finished() {
    let gains = "model.output_gain_txt=3,700,90000";
    let grown = Sandbox::new();
    grown.write("loud.toml", LOUD);
    grown.ok("run loud.toml -o run --no-report");
    grown.ok(&format!("run loud.toml -o run --no-report --axis {gains}"));
    let at_once = Sandbox::new();
    at_once.write("loud.toml", LOUD);
    at_once.ok(&format!("run loud.toml -o run --no-report --axis {gains}"));
    let backwards = Sandbox::new();
    backwards.write("loud.toml", LOUD);
    backwards.ok("run loud.toml -o run --no-report --axis model.output_gain_txt=90000,700,3");
    let verdict = recorded(&at_once, "run");
    assert_eq!((&verdict["passed"], &verdict["failed"]), (&true.into(), &Value::Array(Vec::new())));
    assert_eq!(recorded(&grown, "run"), verdict);
    assert_eq!(recorded(&backwards, "run"), verdict);
}

#[test]
fn what_cannot_be_told_is_counted_and_said_and_no_alarm() {
    let sandbox = Sandbox::new();
    for (n, settings) in [
        "--set train.batch_size=2 --set train.redundancy_weight=300",
        "--set model.output_gain_img=1e-20 --set train.covariance_weight=1e5",
        "--set train.weight_i2t=2e-38 --set train.weight_t2i=0",
        "--axis train.temperature=1e-3 --set train.embedding_l2=1e6 --set model.output_gain_txt=1e6",
        "--axis train.temperature=100 --set train.weight_i2t=0 --set train.variance_weight=1e-37",
    ]
    .iter()
    .enumerate()
    {
        let ran = sandbox.run(&format!("run smoke -o run{n} --no-report --set train.steps=3 --axis seed=1 {settings}"));
        assert_ne!(ran.code, Some(1), "{settings}: {ran:?}");
        let verdict = recorded(&sandbox, &format!("run{n}"));
        assert_eq!(verdict["passed"], true, "{settings}: {verdict}");
        let inconclusive = verdict["inconclusive"].as_u64().expect("a count");
        let words = format!("{inconclusive} of {} checks of gradients cannot find a fault of 1%", verdict["checks"]);
        let said = ran.stderr.contains(&words);
        assert_eq!(said, inconclusive > 0, "{settings}: {ran:?}");
    }
    let ran = sandbox.ok("gradcheck smoke --set train.batch_size=2 --set train.redundancy_weight=300 --backend flex");
    contains_all(
        &ran.stdout,
        &["cannot tell", "checks of gradients cannot find a fault of 1%", "the gradients are right"],
    );
}

#[test]
fn agree_passes_and_names_the_stage_of_every_fault() {
    for second in ["ndarray", "native"] {
        agrees_and_names_the_stage_of_every_fault(second);
    }
    let sandbox = Sandbox::new();
    refused(&sandbox, "agree --backends flex", &["--backends needs at least two backends"]);
    refused(&sandbox, "agree --backends flex,foo", &["foo", "wgpu, flex, ndarray"]);
}

fn agrees_and_names_the_stage_of_every_fault(second: &str) {
    let sandbox = Sandbox::new();
    let agree = format!("agree --backends flex,{second}");
    let ran = sandbox.ok(&agree);
    contains_all(&ran.stdout, &[second, "against", "flex", &format!("flex, {second} agree")]);
    assert!(!ran.stdout.contains("DIFFERS"));
    let stages = ["embeddings", "loss", "gradients", "one step", "10 steps", "metrics"];
    contains_all(&ran.stdout, &stages);
    let json = sandbox.ok(&format!("{agree} --json")).json();
    assert_eq!((&json["passed"], json["against"].as_array().map(Vec::len)), (&true.into(), Some(1)));
    for (fault, first) in FAULTS {
        let arguments = format!("{agree} --fault {fault}");
        let ran = sandbox.run(&arguments);
        assert_eq!(ran.code, Some(1), "{fault}");
        contains_all(&ran.stdout, &["DIFFERS", &format!("flex, {second} do NOT agree")]);
        let differing: Vec<&str> = ran.stdout.lines().filter(|line| line.ends_with("DIFFERS")).collect();
        assert!(differing[0].starts_with(first), "{fault} breaks {first} first:\n{}", ran.stdout);
        let json = sandbox.run(&format!("{arguments} --json")).json();
        let failing = failing(&json["against"][0]["comparisons"], "stage");
        let before = stages.iter().take_while(|stage| **stage != first);
        assert!(failing.contains(first), "{fault}: {failing:?}");
        before.for_each(|stage| assert!(!failing.contains(stage), "{fault} cannot break {stage}"));
    }
}

#[test]
fn devices_lists_the_cpu_and_what_auto_takes() {
    let sandbox = Sandbox::new();
    let ran = sandbox.ok("devices");
    contains_all(&ran.stdout, &["native  CPU", "flex, ndarray  CPU", "CLIFFLINE_INSTRUCTIONS", "wgpu", "auto"]);
    let json = sandbox.ok("devices --json").json();
    has_keys(&json, &["version", "cpu", "adapters", "auto"]);
    assert!(json["cpu"]["cores"].as_u64().is_some_and(|n| n > 0));
    assert!(["wgpu", "native"].contains(&json["auto"]["backend"].as_str().expect("a name")));
}

/// Only the Vulkan loader of Linux can be told to find nothing.
#[cfg(target_os = "linux")]
#[test]
fn without_an_adapter_wgpu_says_what_to_install_and_auto_takes_the_cpu() {
    let sandbox = Sandbox::new();
    let blind = |arguments: &str| {
        let mut command = sandbox.command(arguments);
        command.env("VK_DRIVER_FILES", "/nonexistent").env("VK_ICD_FILENAMES", "/nonexistent");
        Ran::of(command.output().expect("the program starts"))
    };
    let asked = blind("run smoke -o run --backend wgpu");
    assert_eq!(asked.code, Some(2));
    contains_all(&asked.stderr, &["no graphics adapter was found", "looked for Vulkan", "Install", "--backend native"]);
    assert!(sandbox.tree().is_empty());
    let auto = blind("run smoke -o run --backend auto");
    assert_eq!(auto.code, Some(0), "{auto:?}");
    assert_eq!(auto.stderr.matches("auto found no graphics adapter, so it uses the CPU").count(), 1);
    contains_all(&blind("devices").stdout, &["no graphics adapter found", "mesa-vulkan-drivers"]);
}

#[test]
fn documents_come_from_the_registries() {
    let sandbox = Sandbox::new();
    let commands = ["run", "plan", "status", "verify", "show", "embed", "agree", "gradcheck", "world", "devices"];
    let help = sandbox.ok("--help");
    contains_all(&help.stdout, &commands);
    contains_all(&help.stdout, &["Exit codes", "130 interrupted"]);
    contains_all(&sandbox.ok("completions bash").stdout, &["_cliffline()", "complete -F _cliffline"]);
    contains_all(&sandbox.ok("completions bash").stdout, &commands);
    contains_all(&sandbox.ok("man").stdout, &[".TH cliffline"]);
    contains_all(&sandbox.ok("man").stdout, &commands);
    let run = sandbox.ok("run --help").stdout;
    contains_all(&run, &["--output", "--backend", "--threads", "--pack", "--set", "--axis", "--json"]);

    let reference = sandbox.ok("reference").stdout;
    for param in PARAMS {
        assert!(reference.contains(&format!("`{}`", param.path)), "{}", param.path);
    }
    for descriptor in metric::descriptors() {
        assert!(reference.contains(&format!("`{}`", descriptor.name)), "{}", descriptor.name);
    }
    let json = sandbox.ok("reference --json").json();
    let named: Vec<&str> =
        json["metrics"].as_array().expect("metrics").iter().filter_map(|m| m["name"].as_str()).collect();
    assert_eq!(named, metric::descriptors().map(|d| d.name).collect::<Vec<_>>());
    for family in metric::METRICS {
        assert!(reference.contains(family.about), "{}", family.name);
    }
    assert!(metric::CONVENTIONS.iter().all(|(_, meaning)| reference.contains(meaning)));
    assert_eq!(json["families"].as_array().map(Vec::len), Some(metric::METRICS.len()));
    assert!(json["spec_schema"].is_object());
    contains_all(&sandbox.ok("--version").stdout, &[env!("CARGO_PKG_VERSION")]);
}

#[test]
fn a_closed_pipe_ends_the_program_quietly() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.command("reference").spawn().expect("the program starts");
    drop(child.stdout.take());
    let ran = Ran::of(child.wait_with_output().expect("it ends"));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}
