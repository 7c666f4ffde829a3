//! `status`, `show` and `verify`: commands that look at a run and change nothing.

use std::collections::BTreeSet;

use cliffline::metric;
use serde_json::Value;

use crate::common::{Sandbox, flip, parts};
use crate::{CELLS, RUN, contains_all, finished, has_keys, ids, keys};

#[test]
fn status_of_a_finished_run_and_of_something_else() {
    let sandbox = finished();
    let before = sandbox.tree();
    let ran = sandbox.ok("status run");
    contains_all(&ran.stdout, &["run: complete; 36 of 36 cells finished", "36 ok"]);
    let json = sandbox.ok("status run --json").json();
    has_keys(
        &json,
        &["version", "dir", "state", "live", "complete", "planned", "finished", "by_status", "damaged", "class"],
    );
    assert_eq!((&json["state"], &json["live"], &json["complete"]), (&"complete".into(), &false.into(), &true.into()));
    assert_eq!((&json["planned"], &json["finished"]), (&CELLS.into(), &CELLS.into()));
    assert_eq!(sandbox.tree(), before);
    for command in ["status", "verify"] {
        let refused = sandbox.run(&format!("{command} nowhere"));
        assert_eq!(refused.code, Some(2));
        contains_all(&refused.stderr, &["nowhere is not a run directory"]);
    }
}

#[test]
fn status_of_a_run_that_has_lost_its_cells_is_not_complete() {
    let sandbox = finished();
    for part in parts(&sandbox.path("run")) {
        std::fs::remove_file(part).expect("removed");
    }
    let ran = sandbox.run("status run --json");
    assert_eq!(ran.json()["finished"], 0);
    assert_eq!((ran.code, &ran.json()["complete"]), (Some(4), &false.into()), "{}", ran.stdout);
}

#[test]
fn show_prints_a_cells_audit_manifest() {
    let sandbox = finished();
    let ids = ids(&sandbox);
    let id = &ids[7];
    let json = sandbox.ok(&format!("show run {id}")).json();
    has_keys(
        &json,
        &[
            "format",
            "version",
            "cell_id",
            "train_id",
            "run_id",
            "sweep",
            "made_by",
            "class",
            "backend",
            "config",
            "axes",
            "seeds",
            "status",
            "reason",
            "steps",
            "crossings",
            "selection",
            "metrics",
            "missing_metrics",
            "spectra",
            "curves",
            "realised",
            "checksums",
            "wall_s",
            "finished_utc",
            "verification_statement",
        ],
    );
    assert_eq!(json["cell_id"], id.as_str());
    assert_eq!(json["verification_statement"], "Not verified for live deployment; human review required.");
    assert_eq!(keys(&json["axes"]), BTreeSet::from(["image.noise", "pairing.rate", "seed", "train.temperature"]));
    let registry: BTreeSet<&str> = metric::descriptors_of(metric::Panel::Fast).map(|d| d.name).collect();
    assert_eq!(keys(&json["metrics"]), registry);

    let other_ids: Vec<&String> = ids.iter().filter(|other| *other != id).collect();
    let unique = (1..=32).map(|n| &id[..n]).find(|prefix| !other_ids.iter().any(|other| other.starts_with(prefix)));
    let by_prefix = sandbox.ok(&format!("show run {} --json", unique.expect("ids differ"))).json();
    assert_eq!(by_prefix, json);

    let unknown = sandbox.run("show run zz");
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(2), ""));
    contains_all(&unknown.stderr, &["no finished cell of run has an id that begins with `zz`"]);

    // More cells than hexadecimal digits, so some digit begins two ids.
    let digit = |id: &str| id[..1].to_string();
    let shared = ids.iter().map(|a| digit(a)).find(|d| ids.iter().filter(|b| digit(b) == *d).count() > 1);
    let shared = shared.expect("more cells than digits");
    let ambiguous = sandbox.run(&format!("show run {shared}"));
    assert_eq!((ambiguous.code, ambiguous.stdout.as_str()), (Some(2), ""));
    let named = ids.iter().filter(|id| id.starts_with(&shared) && ambiguous.stderr.contains(id.as_str())).count();
    assert!(named >= 2, "names two of them: {}", ambiguous.stderr);
    contains_all(&ambiguous.stderr, &["give more digits"]);
}

/// `spec.toml` belongs to the run: commands read it.
#[test]
fn a_lost_spec_is_written_again() {
    let sandbox = finished();
    let spec = sandbox.path("run/spec.toml");
    let text = std::fs::read_to_string(&spec).expect("the spec");
    std::fs::remove_file(&spec).expect("removed");
    sandbox.ok(RUN);
    assert!(spec.is_file(), "spec.toml is still missing");
    assert_eq!(std::fs::read_to_string(&spec).expect("the spec"), text);
}

#[test]
fn verify_accepts_what_was_written() {
    let sandbox = finished();
    let before = sandbox.tree();
    contains_all(&sandbox.ok("verify run").stdout, &["run: passed: 36 cells read, 0 trained again"]);
    let again = sandbox.ok("verify run --rerun 0.1 --json");
    let json = again.json();
    assert_eq!((&json["passed"], &json["cells"]), (&true.into(), &CELLS.into()));
    assert_eq!(json["retrained"].as_array().map(Vec::len), Some(4), "a tenth of 36, rounded up");
    assert_eq!(json["problems"], Value::Array(Vec::new()));
    contains_all(&again.stderr, &["training cell ", "(4 of 4)"]);
    assert_eq!(sandbox.tree(), before);
    let refused = sandbox.run("verify run --rerun 2");
    assert_eq!(refused.code, Some(2));
    contains_all(&refused.stderr, &["--rerun 2 is not a share between 0 and 1"]);
}

/// The cells that `verify --rerun` trains again, and the seed that it prints.
fn sampled(sandbox: &Sandbox, arguments: &str) -> (Vec<String>, u64) {
    let ran = sandbox.ok(&format!("verify run --json {arguments}"));
    let json = ran.json();
    let seed = json["sample_seed"].as_u64().expect("a seed");
    contains_all(&ran.stderr, &[&format!("--sample-seed {seed} repeats it")]);
    let ids = json["retrained"].as_array().expect("ids").iter().filter_map(|id| id.as_str()).map(str::to_string);
    (ids.collect(), seed)
}

#[test]
fn verify_trains_a_random_sample_again_and_the_same_one_when_asked() {
    let sandbox = finished();
    // Three of 36 at random twice: the chance that all are the same is one in 7,140.
    let [first, second] = [0; 2].map(|_| sampled(&sandbox, "--rerun 0.06"));
    assert_eq!((first.0.len(), second.0.len()), (3, 3));
    assert_ne!(first, second);
    assert_eq!(sampled(&sandbox, &format!("--rerun 0.06 --sample-seed {}", first.1)), first);
    // However small the share, it is a cell, and with the same seed one of the others' sample.
    let one = sampled(&sandbox, &format!("--rerun 1e-9 --sample-seed {}", first.1));
    assert_eq!(one.0.len(), 1);
    assert!(first.0.contains(&one.0[0]));
    let text = sandbox.ok("verify run --rerun 0.03 --sample-seed 18446744073709551615");
    contains_all(&text.stdout, &["2 trained again (sample seed 18446744073709551615)"]);
    assert_eq!(sandbox.ok("verify run --json").json()["sample_seed"], Value::Null);
    let refused = sandbox.run("verify run --sample-seed 3");
    assert_eq!(refused.code, Some(2), "{refused:?}");
    contains_all(&refused.stderr, &["--rerun"]);
}

/// Runs `verify`, which must say no and name `file`, as text and as JSON.
fn verify_names(sandbox: &Sandbox, file: &str) {
    let ran = sandbox.run("verify run");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    contains_all(&ran.stdout, &[file, "FAILED"]);
    let ran = sandbox.run("verify run --json");
    assert_eq!((ran.code, &ran.json()["passed"]), (Some(1), &false.into()));
    assert!(ran.json()["problems"].to_string().contains(file), "{}", ran.stdout);
}

#[test]
fn verify_finds_one_flipped_byte_wherever_it_is() {
    let sandbox = finished();
    let part = parts(&sandbox.path("run")).swap_remove(0);
    let part_name = part.file_name().expect("a name").to_string_lossy().into_owned();
    // In the header, in the index behind it, and in the last block.
    for at in [20, 600, -10] {
        let sound = std::fs::read(&part).expect("a part");
        flip(&part, at);
        verify_names(&sandbox, &part_name);
        std::fs::write(&part, sound).expect("mended");
    }
    for table in ["cells.parquet", "conditions.parquet", "curves.parquet", "spectra.parquet", "surfaces.parquet"] {
        let path = sandbox.path("run").join(table);
        let sound = std::fs::read(&path).expect("a table");
        flip(&path, 1000);
        verify_names(&sandbox, table);
        std::fs::remove_file(&path).expect("removed");
        verify_names(&sandbox, table);
        std::fs::write(&path, sound).expect("mended");
    }
    sandbox.ok("verify run");
}

#[test]
fn verify_names_every_damaged_part_and_reads_the_others() {
    let sandbox = Sandbox::new();
    // One pack and so one part per run: packs that finish together are recorded together.
    for seeds in ["0", "0,1", "0,1,2"] {
        sandbox.ok(&format!("{RUN} --threads 1 --axis image.noise=0 --axis seed={seeds}"));
    }
    let parts = parts(&sandbox.path("run"));
    assert_eq!(parts.len(), 3);
    flip(&parts[0], -10);
    flip(&parts[1], -10);
    for part in &parts[..2] {
        verify_names(&sandbox, &part.file_name().expect("a name").to_string_lossy());
    }
    let cells = sandbox.run("verify run --json").json()["cells"].as_u64();
    assert_eq!(cells, Some(6), "two parts of six cells are lost, the others can be read");
}
