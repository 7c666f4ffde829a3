//! Records that were never trained, with right hashes: beside a run, in it, and among its exemplars.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use ciborium::Value;
use serde_json::Value as Json;

use crate::common::{Sandbox, parts};
use crate::contains_all;
use crate::forge::{Block, Forge, get, set};

const SPEC: &str = "name = \"few\"\npreset = \"tiny\"\ntrain.steps = 30\n[axes]\nseed = [0, 1, 2]\n\
                    train.temperature = [0.05, 0.2]\n";
const CELLS: usize = 6;
/// One pack, so one part.
const RUN: &str = "run few.toml --backend native --no-report --threads 1 --pack 6";

/// A sandbox with an honest run in `honest`.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("few.toml", SPEC);
    sandbox.ok(&format!("{RUN} -o elsewhere/honest"));
    sandbox
}

/// Changes the only part of a run, and leaves every hash of it right.
fn forge(run: &Path, change: impl FnOnce(&mut Forge)) {
    let path = parts(run).remove(0);
    let mut part = Forge::of(&path);
    change(&mut part);
    part.list_again();
    std::fs::remove_file(&path).expect("the sound part");
    part.write(&run.join("parts"));
}

/// A run made of the honest one's part with a change of every record, in a folder of its own beside `own`.
fn neighbour(sandbox: &Sandbox, change: impl Fn(&mut Value)) {
    let run = sandbox.path("runs/forged");
    std::fs::create_dir_all(run.join("parts")).expect("a folder");
    let honest = sandbox.path("elsewhere/honest");
    for file in ["manifest.json", "spec.toml"] {
        std::fs::copy(honest.join(file), run.join(file)).expect("a file of the run");
    }
    let part = parts(&honest).remove(0);
    std::fs::copy(&part, run.join("parts").join(part.file_name().expect("a name"))).expect("the part");
    forge(&run, |part| part.records().iter_mut().for_each(change));
}

fn metric(record: &mut Value, name: &str) -> f64 {
    let value = get(record, "metrics").and_then(|metrics| get(metrics, name)).and_then(|metric| get(metric, "value"));
    value.and_then(|value| value.as_float()).expect("a value")
}

fn set_metric(record: &mut Value, name: &str, value: f64) {
    let metrics = get(record, "metrics").expect("metrics");
    set(metrics, name, Value::Map(vec![("value".into(), value.into())]));
}

/// Takes a key out of a section of the configuration.
fn remove(record: &mut Value, section: &str, key: &str) {
    let section = get(record, "config").and_then(|config| get(config, section)).and_then(Value::as_map_mut);
    section.expect("a section").retain(|(name, _)| name.as_text() != Some(key));
}

/// Halves a metric of a record, which stays plausible.
fn halve_gap(record: &mut Value) {
    let gap = metric(record, "modality_gap");
    set_metric(record, "modality_gap", gap * 0.5);
}

/// Makes the only block of a part two: the records as they are changed, then as they were.
fn changed_then_honest(part: &mut Forge, change: impl Fn(&mut Value)) {
    let mut changed = part.records().clone();
    changed.iter_mut().for_each(change);
    part.blocks.insert(0, Block::Records(changed));
    let blocks = get(&mut part.index, "blocks").and_then(Value::as_array_mut).expect("blocks");
    blocks.push(blocks[0].clone());
}

fn tables(run: &Path) -> Vec<Vec<u8>> {
    let names = ["cells.parquet", "conditions.parquet", "curves.parquet", "spectra.parquet", "surfaces.parquet"];
    names.map(|name| std::fs::read(run.join(name)).expect("a table")).into()
}

fn counts(json: &Json) -> [usize; 3] {
    ["present", "reused", "trained"].map(|key| json[key].as_u64().expect("a count") as usize)
}

#[test]
fn a_neighbour_whose_numbers_are_plausible_and_false_fails_the_run_by_name_before_anything_is_trained() {
    let sandbox = sandbox();
    neighbour(&sandbox, |record| {
        let rank = metric(record, "effective_rank_img");
        set_metric(record, "effective_rank_img", rank * 1.01);
    });
    let ran = sandbox.run(&format!("{RUN} -o runs/own --json"));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let why = ["runs/forged came out differently", "metric effective_rank_img", "none of its 6 cells", "--no-reuse"];
    contains_all(&ran.stderr, &why);
    let said = ran.json();
    contains_all(said["refused"].as_str().expect("a reason"), &why);
    assert_eq!((said["exit_code"].as_u64(), said["trained"].as_u64()), (Some(1), Some(0)));
    assert!(!sandbox.path("runs/own/cells.parquet").exists() && parts(&sandbox.path("runs/own")).is_empty());
    // Without it the run is what it is.
    let json = sandbox.ok(&format!("{RUN} -o runs/own --no-reuse --json")).json();
    assert_eq!(counts(&json), [0, 0, CELLS]);
    assert_eq!(tables(&sandbox.path("runs/own")), tables(&sandbox.path("elsewhere/honest")));
    sandbox.ok("verify runs/own");
}

#[test]
fn whatever_is_false_in_a_record_is_found_where_its_cell_is_trained_again() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 4] = [
        ("curve loss", |record| {
            let curves = get(record, "curves").and_then(|curves| get(curves, "series")).expect("series");
            let loss = get(curves, "loss").and_then(Value::as_array_mut).expect("the loss");
            loss[0] = 1.5.into();
        }),
        ("spectra", |record| {
            let img = get(record, "spectra").and_then(|spectra| get(spectra, "img")).expect("a spectrum");
            let last = img.as_array_mut().and_then(|values| values.last_mut()).expect("values");
            *last = 0.0.into();
        }),
        ("checksum of the final parameters", |record| {
            let checksums = get(record, "checksums").expect("checksums");
            set(checksums, "final_parameters", "0f".repeat(32));
        }),
        ("corrupted_share_train", |record| {
            let realised = get(record, "realised").expect("facts");
            set(realised, "corrupted_share_train", 0.5);
        }),
    ];
    for (what, change) in changes {
        let sandbox = sandbox();
        neighbour(&sandbox, change);
        let ran = sandbox.run(&format!("{RUN} -o runs/own"));
        assert_eq!(ran.code, Some(1), "{what}: {ran:?}");
        contains_all(&ran.stderr, &[what, "runs/forged came out differently"]);
    }
}

#[test]
fn records_that_cannot_be_are_not_taken_over_and_their_cells_are_trained() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 8] = [
        ("its configuration lacks `image.noise`", |record| remove(record, "image", "noise")),
        ("its configuration lacks `text.", |record| {
            let config = get(record, "config").and_then(Value::as_map_mut).expect("a configuration");
            config.retain(|(name, _)| name.as_text() != Some("text"));
        }),
        ("effective_rank_img is 9999", |record| set_metric(record, "effective_rank_img", 9999.0)),
        ("retrieval_at_1_i2t is 5", |record| set_metric(record, "retrieval_at_1_i2t", 5.0)),
        ("only finite numbers", |record| set_metric(record, "modality_gap", f64::NAN)),
        ("its training is recorded as", |record| {
            let train = get(record, "config").and_then(|config| get(config, "train")).expect("a section");
            set(train, "learning_rate", 0.5);
        }),
        ("after 3 steps of 30", |record| set(record, "steps", 3)),
        ("it has no alignment", |record| {
            let metrics = get(record, "metrics").and_then(Value::as_map_mut).expect("metrics");
            metrics.retain(|(name, _)| name.as_text() != Some("alignment"));
        }),
    ];
    for (words, change) in changes {
        let sandbox = sandbox();
        neighbour(&sandbox, change);
        let ran = sandbox.ok(&format!("{RUN} -o runs/own --json"));
        contains_all(&ran.stderr, &["could not reuse runs/forged/parts/", words]);
        assert_eq!(counts(&ran.json()), [0, 0, CELLS], "{words}");
        assert_eq!(tables(&sandbox.path("runs/own")), tables(&sandbox.path("elsewhere/honest")), "{words}");
    }
}

#[test]
fn cells_that_are_taken_over_say_from_where_in_a_table_of_their_own_the_manifest_and_their_audit() {
    let sandbox = sandbox();
    std::fs::rename(sandbox.path("elsewhere"), sandbox.path("runs")).expect("renamed");
    let before = tables(&sandbox.path("runs/honest"));
    let ran = sandbox.ok(&format!("{RUN} -o runs/own --json --reuse-seed 5"));
    assert_eq!(counts(&ran.json()), [0, CELLS, 0]);
    contains_all(
        &ran.stderr,
        &["reused 6 cells from runs/honest: 1 of them trained again, and the same (--reuse-seed 5)"],
    );
    let own = sandbox.path("runs/own");
    assert_eq!(tables(&own), before, "what lies beside a run does not change its tables");
    let read = |run: &str| -> Json {
        serde_json::from_slice(&std::fs::read(sandbox.path(run).join("manifest.json")).expect("a manifest"))
            .expect("JSON")
    };
    let (manifest, theirs) = (read("runs/own"), read("runs/honest"));
    let session = &manifest["sessions"][0]["reused_from"][0];
    assert_eq!(session["from"]["run"], "honest");
    assert_eq!(session["from"]["run_id"], theirs["run_id"]);
    assert_eq!(session["from"]["spec_blake3"], theirs["spec_blake3"]);
    let ledger = std::fs::read(sandbox.path("runs/honest/ledger.jsonl")).expect("a ledger");
    assert_eq!(session["from"]["ledger_blake3"], blake3::hash(&ledger).to_hex().as_str());
    assert_eq!((&session["cells"], &session["seed"]), (&6.into(), &5.into()));
    let sampled = session["retrained"].as_array().expect("a list");
    assert_eq!(sampled.len(), 1);
    let text = std::fs::read_to_string(own.join("reused.jsonl")).expect("reused.jsonl");
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), CELLS);
    assert!(lines.iter().any(|line| line["cell_id"] == sampled[0]));
    assert!(lines.iter().all(|line| line["run"] == "honest" && line["run_id"] == theirs["run_id"]));
    let id = lines[0]["cell_id"].as_str().expect("an id");
    assert_eq!(sandbox.ok(&format!("show runs/own {id}")).json()["reused_from"]["run"], "honest");
    assert_eq!(sandbox.ok(&format!("show runs/honest {id}")).json()["reused_from"], Json::Null);
    assert!(!sandbox.path("runs/honest/reused.jsonl").exists());
    sandbox.ok("verify runs/own --rerun 1");
    contains_all(&sandbox.ok(&format!("{RUN} -o runs/own")).stderr, &["nothing to do"]);
}

#[test]
fn of_two_copies_of_a_cell_the_one_that_is_trained_again_is_the_one_that_is_taken_over() {
    for honest_last in [true, false] {
        let sandbox = sandbox();
        neighbour(&sandbox, |_| {});
        forge(&sandbox.path("runs/forged"), |part| {
            changed_then_honest(part, halve_gap);
            if !honest_last {
                part.blocks.reverse();
            }
        });
        let ran = sandbox.run(&format!("{RUN} -o runs/own --json"));
        if honest_last {
            assert_eq!((ran.code, counts(&ran.json())), (Some(0), [0, CELLS, 0]), "{}", ran.stderr);
            assert_eq!(tables(&sandbox.path("runs/own")), tables(&sandbox.path("elsewhere/honest")));
        } else {
            assert_eq!(ran.code, Some(1), "{ran:?}");
            contains_all(&ran.stderr, &["runs/forged came out differently", "modality_gap"]);
        }
    }
}

#[test]
fn a_part_that_only_claims_to_have_the_cells_of_another_removes_nothing() {
    let sandbox = sandbox();
    let run = sandbox.path("elsewhere/honest");
    let (before, honest) = (tables(&run), parts(&run).remove(0));
    let bytes = std::fs::read(&honest).expect("a part");
    let mut claim = Forge::of(&honest);
    changed_then_honest(&mut claim, |_| {});
    claim.list_again();
    claim.blocks = vec![Block::Packed(b"no zstd".to_vec()), Block::Packed(b"nor this".to_vec())];
    let claim = claim.write(&run.join("parts"));
    assert_eq!(sandbox.run("verify elsewhere/honest").code, Some(1));
    let ran = sandbox.ok(&format!("{RUN} -o elsewhere/honest --json"));
    contains_all(&ran.stderr, &["is unreadable", "moved to parts/damaged"]);
    assert_eq!(counts(&ran.json()), [CELLS, 0, 0]);
    assert_eq!((std::fs::read(&honest).expect("still there"), claim.exists()), (bytes, false));
    assert_eq!(tables(&run), before);
    sandbox.ok("verify elsewhere/honest");
    contains_all(&sandbox.ok(&format!("{RUN} -o elsewhere/honest")).stderr, &["nothing to do"]);
}

#[test]
fn a_run_that_is_refused_is_as_it_was_whatever_lies_beside_it() {
    let sandbox = Sandbox::new();
    sandbox.write("few.toml", SPEC);
    sandbox.ok(&format!("{RUN} -o runs/a --redact zzz"));
    // What it could take over, and what is damaged in it and would be set aside.
    let more = "--axis seed=0,1,2,3,4";
    sandbox.ok(&format!("{RUN} -o runs/b {more}"));
    crate::refused(&sandbox, &format!("{RUN} -o runs/a {more}"), &["give the same --redact again"]);
    sandbox.ok("verify runs/a");
    forge(&sandbox.path("runs/a"), |part| set_metric(&mut part.records()[2], "effective_rank_img", 9999.0));
    let part = parts(&sandbox.path("runs/a")).remove(0);
    crate::refused(&sandbox, &format!("{RUN} -o runs/a {more}"), &["give the same --redact again"]);
    crate::common::flip(&part, -1);
    crate::refused(&sandbox, &format!("{RUN} -o runs/a {more}"), &["give the same --redact again"]);
    let ran = sandbox.ok(&format!("{RUN} -o runs/a {more} --redact zzz --json"));
    contains_all(&ran.stderr, &["was altered", "moved to parts/damaged", "reused 10 cells from runs/b"]);
    assert_eq!(counts(&ran.json()), [0, 10, 0]);
    assert_eq!(tables(&sandbox.path("runs/a")), tables(&sandbox.path("runs/b")));
    sandbox.ok("verify runs/a");
}

/// A block that begins well and unpacks to 8 GiB.
fn bomb() -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
    std::io::copy(&mut std::io::repeat(0x80).take(8 << 30), &mut encoder).expect("packed");
    encoder.finish().expect("packed")
}

/// What is changed of a record.
type Change = Box<dyn Fn(&mut Forge)>;

/// Changes of a finished run's own part after which its bytes are right and its content is not.
fn unbelievable() -> Vec<(&'static str, Change)> {
    let bomb = bomb();
    vec![
        (
            "is 9999, and lies between",
            Box::new(|part: &mut Forge| set_metric(&mut part.records()[2], "effective_rank_img", 9999.0)),
        ),
        ("is unreadable", Box::new(|part: &mut Forge| part.blocks = vec![Block::Plain(b"no records".to_vec())])),
        ("is unreadable", Box::new(|part: &mut Forge| part.blocks = vec![Block::Packed(b"no zstd".to_vec())])),
        ("is unreadable", Box::new(|part: &mut Forge| set(&mut part.records()[1], "metrics", 3))),
        ("too large", Box::new(move |part: &mut Forge| part.blocks = vec![Block::Packed(bomb.clone())])),
    ]
}

#[test]
fn an_index_that_names_a_cell_of_no_plan_is_damage_and_its_cells_are_trained_again() {
    for id in ["zz", &"f".repeat(32)] {
        let sandbox = sandbox();
        let run = sandbox.path("elsewhere/honest");
        let before = tables(&run);
        let sound = parts(&run).remove(0);
        let mut part = Forge::of(&sound);
        let block = get(&mut part.index, "blocks").and_then(|blocks| blocks.as_array_mut()?.first_mut());
        let cell = block.and_then(|block| get(block, "cells")?.as_array_mut()?.first_mut()).expect("a cell");
        set(cell, "cell_id", id);
        std::fs::remove_file(&sound).expect("the sound part");
        part.write(&run.join("parts"));
        let ran = sandbox.ok(&format!("{RUN} -o elsewhere/honest --json"));
        contains_all(&ran.stderr, &["not those the index lists", "moved to parts/damaged"]);
        assert_eq!(counts(&ran.json())[2], CELLS, "{id}");
        assert_eq!(tables(&run), before, "{id}");
        sandbox.ok("verify elsewhere/honest");
    }
}

#[test]
fn a_part_whose_hash_is_right_and_whose_content_is_not_is_named_set_aside_and_computed_again() {
    for (words, change) in unbelievable() {
        let sandbox = sandbox();
        let run = sandbox.path("elsewhere/honest");
        let before = tables(&run);
        forge(&run, &change);
        let name = parts(&run)[0].file_name().expect("a name").to_string_lossy().into_owned();
        let started = Instant::now();
        let status = sandbox.run("status elsewhere/honest");
        assert_eq!(status.code, Some(4), "{words}: {status:?}");
        contains_all(&status.stdout, &["cells are missing or damaged", &format!("damaged: {name}"), words]);
        let verified = sandbox.run("verify elsewhere/honest");
        assert_eq!(verified.code, Some(1), "{verified:?}");
        contains_all(&verified.stdout, &[&format!("parts/{name}: "), words]);
        let ran = sandbox.ok(&format!("{RUN} -o elsewhere/honest --json"));
        contains_all(&ran.stderr, &[&name, words, "moved to parts/damaged"]);
        assert_eq!(counts(&ran.json())[2], CELLS, "{words}");
        assert_eq!(tables(&run), before, "{words}");
        assert!(started.elapsed() < Duration::from_secs(60), "{words}: {:?}", started.elapsed());
        sandbox.ok("verify elsewhere/honest");
        assert!(run.join("parts/damaged").join(&name).exists(), "nothing is thrown away");
    }
}

#[test]
fn a_neighbours_name_is_redacted_wherever_it_would_be_recorded() {
    let sandbox = sandbox();
    neighbour(&sandbox, |_| {});
    let json = sandbox.ok(&format!("{RUN} -o runs/own --redact forge --json")).json();
    assert_eq!(counts(&json)[1], CELLS);
    for file in ["manifest.json", "reused.jsonl", "directives.jsonl", "ledger.jsonl"] {
        let text = std::fs::read_to_string(sandbox.path("runs/own").join(file)).expect(file);
        assert!(!text.contains("forge"), "{file}");
    }
    assert!(std::fs::read_to_string(sandbox.path("runs/own/reused.jsonl")).expect("a list").contains("<redacted>d"));
}

#[test]
fn a_neighbours_part_that_unpacks_to_eight_gibibytes_is_refused_from_its_bounds() {
    let sandbox = sandbox();
    neighbour(&sandbox, |_| {});
    forge(&sandbox.path("runs/forged"), |part| part.blocks = vec![Block::Packed(bomb())]);
    let part = parts(&sandbox.path("runs/forged")).remove(0);
    assert!(part.metadata().expect("a file").len() < 1 << 20);
    let ran = sandbox.ok(&format!("{RUN} -o runs/own --json"));
    contains_all(&ran.stderr, &["could not reuse", "too large: it unpacks to more than"]);
    assert_eq!(counts(&ran.json()), [0, 0, CELLS]);
}

#[test]
fn an_exemplar_that_comes_out_differently_fails_the_run_and_what_came_with_it_goes() {
    let sandbox = sandbox();
    let honest = sandbox.path("elsewhere/honest");
    let ids = |part: &mut Forge| -> Vec<String> {
        let id = |record: &mut Value| get(record, "cell_id").and_then(|id| id.as_text()).map(String::from);
        part.records().iter_mut().filter_map(id).collect()
    };
    // The cell that the report would show as the baseline: the first seed of the best temperature.
    let table = cliffline::store::read_table(&honest.join("exemplars.parquet")).expect("exemplars.parquet");
    let baseline = crate::texts(&table, "cell_id").swap_remove(0);
    neighbour(&sandbox, |record| {
        if get(record, "cell_id").and_then(|id| id.as_text()) == Some(baseline.as_str()) {
            halve_gap(record);
        }
    });
    assert_eq!(ids(&mut Forge::of(&parts(&sandbox.path("runs/forged"))[0])).len(), CELLS);
    // One cell of six is drawn: some seed draws another one.
    let ran = (0..50).find_map(|seed| {
        let ran = sandbox.run(&format!("{RUN} -o runs/own --reuse-seed {seed}"));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        ran.stderr.contains("reused 6 cells").then_some(ran)
    });
    let ran = ran.expect("a sample that misses the forged record");
    contains_all(
        &ran.stderr,
        &[&baseline, "metric modality_gap", "taken over from forged", "none of the 6 cells", "--no-reuse"],
    );
    let status = sandbox.run("status runs/own");
    assert_eq!(status.code, Some(4), "{status:?}");
    let ran = sandbox.ok(&format!("{RUN} -o runs/own --no-reuse --json"));
    assert_eq!(counts(&ran.json()), [0, 0, CELLS]);
    assert_eq!(tables(&sandbox.path("runs/own")), tables(&honest));
    sandbox.ok("verify runs/own");
}

#[test]
fn an_exemplar_of_the_runs_own_that_comes_out_differently_fails_it_too() {
    let sandbox = sandbox();
    let run = sandbox.path("elsewhere/honest");
    forge(&run, |part| {
        part.records().iter_mut().for_each(halve_gap);
    });
    let ran = sandbox.run(&format!("{RUN} -o elsewhere/honest"));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    contains_all(&ran.stderr, &["came out differently", "metric modality_gap", "verify elsewhere/honest --rerun 1"]);
    assert_eq!(sandbox.run(&format!("{RUN} -o elsewhere/honest")).code, Some(1), "and again: it is not forgotten");
}
