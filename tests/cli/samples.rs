//! `embed`, `world check` and `world export`: tables of samples.

use std::collections::{BTreeMap, BTreeSet};

use cliffline::store::{read_table, read_table_info};
use polars_core::prelude::DataFrame;

use crate::common::Sandbox;
use crate::{CELLS, DIMENSION, SAMPLES, column_names, contains_all, finished, ids, lists, refused, texts};

/// Share of the queries whose own candidate is the only one as similar as it.
fn retrieval_at_1(queries: &[Vec<f64>], candidates: &[Vec<f64>]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(x, y)| x * y).sum() };
    let found = |i: &usize| {
        let own = dot(&queries[*i], &candidates[*i]);
        candidates.iter().filter(|candidate| dot(&queries[*i], candidate) >= own).count() == 1
    };
    (0..queries.len()).filter(found).count() as f64 / queries.len() as f64
}

fn mean_cosine(z: &[Vec<f64>]) -> f64 {
    let (mut sum, mut pairs) = (0.0, 0.0);
    for (i, a) in z.iter().enumerate() {
        for (j, b) in z.iter().enumerate() {
            if i != j {
                sum += a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
                pairs += 1.0;
            }
        }
    }
    sum / pairs
}

#[test]
fn embed_writes_the_embeddings_that_the_metrics_were_computed_from() {
    let sandbox = finished();
    let ids = ids(&sandbox);
    let mut seen = BTreeSet::new();
    // Clean and perturbed, cold and warm.
    for id in [&ids[0], &ids[20], &ids[CELLS - 1]] {
        let ran = sandbox.ok(&format!("embed run {id} -o e.parquet"));
        contains_all(&ran.stdout, &["e.parquet: 128 rows", id]);
        let table = read_table(&sandbox.path("e.parquet")).expect("e.parquet");
        assert_eq!(table.height(), SAMPLES);
        assert_eq!(
            column_names(&table),
            [
                "index",
                "shape",
                "orientation",
                "frequency",
                "phase",
                "thickness",
                "index_txt",
                "raw_img",
                "raw_txt",
                "z_img",
                "z_txt"
            ]
        );
        let (img, txt) = (lists(&table, "z_img"), lists(&table, "z_txt"));
        for (z, raw) in [(&img, lists(&table, "raw_img")), (&txt, lists(&table, "raw_txt"))] {
            for (z, raw) in z.iter().zip(&raw) {
                assert_eq!((z.len(), raw.len()), (DIMENSION, DIMENSION));
                let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
                assert!((norm(z) - 1.0).abs() < 1e-6, "the norm is {}", norm(z));
                for (z, raw_x) in z.iter().zip(raw) {
                    assert!((z - raw_x / norm(raw)).abs() < 1e-6, "{z} is not {raw_x} normalised");
                }
            }
        }
        let shown = sandbox.ok(&format!("show run {id}")).json();
        let recomputed = [
            ("retrieval_at_1_i2t", retrieval_at_1(&img, &txt)),
            ("retrieval_at_1_t2i", retrieval_at_1(&txt, &img)),
            ("mean_cosine_img", mean_cosine(&img)),
            ("mean_cosine_txt", mean_cosine(&txt)),
        ];
        for (name, value) in recomputed {
            let recorded = shown["metrics"][name].as_f64().expect("a value");
            assert!((recorded - value).abs() < 1e-9, "{name} of {id}: recorded {recorded}, recomputed {value}");
            seen.insert(value.to_bits());
        }
        let info = read_table_info(&sandbox.path("e.parquet")).expect("described");
        assert_eq!(info.table, "embeddings");
    }
    assert!(seen.len() > 6, "the three cells differ");
    let json = sandbox.ok(&format!("embed run {} -o e2.parquet --json", ids[CELLS - 1])).json();
    assert_eq!((&json["rows"], &json["file"]), (&SAMPLES.into(), &"e2.parquet".into()));
    let bytes = |name: &str| std::fs::read(sandbox.path(name)).expect("a table");
    assert_eq!(bytes("e.parquet"), bytes("e2.parquet"), "the same cell, the same bytes");
    assert_eq!(json["blake3"], blake3::hash(&bytes("e2.parquet")).to_hex().as_str());
}

/// What `embed` writes, `show` shows and the tables hold of a cell is of the checkpoint that was selected.
#[test]
fn embeddings_of_a_selected_checkpoint_are_written_shown_and_verified() {
    let sandbox = Sandbox::new();
    let settings = "--set checkpoint.select=best --set checkpoint.every=4 --set train.learning_rate=0.5 \
                    --set train.weight_decay=0.2 --set train.momentum=0 --set warn.mean_cosine_above=-1";
    sandbox.write("best.toml", "name = \"best\"\npreset = \"tiny\"\n[axes]\nseed = [0, 1]\n");
    sandbox.ok(&format!("run best.toml -o run --backend native {settings}"));
    let cells = read_table(&sandbox.path("run/cells.parquet")).expect("cells.parquet");
    let selected = cells.column("selected_step").expect("the column").i64().expect("int64").clone();
    for (row, id) in texts(&cells, "cell_id").iter().enumerate() {
        let shown = sandbox.ok(&format!("show run {id}")).json();
        let selection = &shown["selection"];
        assert_eq!(selection["step"].as_i64(), selected.get(row));
        assert!(selection["step"].as_u64() < shown["steps"].as_u64(), "not the end: {selection}");
        assert_ne!(selection["parameters"], shown["checksums"]["final_parameters"]);
        let best = selection["candidates"].as_array().expect("a list").iter().find(|c| c["step"] == selection["step"]);
        assert_eq!(best.expect("a candidate")["score"], selection["score"]);
        assert_eq!(shown["crossings"][0]["limit"], "warn.mean_cosine_above");
        sandbox.ok(&format!("embed run {id} -o e.parquet"));
        let table = read_table(&sandbox.path("e.parquet")).expect("e.parquet");
        let recomputed = retrieval_at_1(&lists(&table, "z_img"), &lists(&table, "z_txt"));
        let recorded = shown["metrics"]["retrieval_at_1_i2t"].as_f64().expect("a value");
        assert!((recorded - recomputed).abs() < 1e-9, "recorded {recorded}, recomputed {recomputed}");
    }
    sandbox.ok("verify run --rerun 1");
}

#[test]
fn embed_refuses_what_it_cannot_do_and_leaves_nothing() {
    let sandbox = finished();
    let id = ids(&sandbox).swap_remove(0);
    refused(&sandbox, "embed run zz -o e.parquet", &["no finished cell of run", "`zz`"]);
    refused(&sandbox, "embed nowhere 00 -o e.parquet", &["nowhere is not a run directory"]);
    refused(&sandbox, &format!("embed run {id} -o missing/e.parquet"), &["missing"]);
}

#[test]
fn a_missing_folder_is_named_and_not_the_temporary_file_in_it() {
    let sandbox = finished();
    let id = ids(&sandbox).swap_remove(0);
    let embed = format!("embed run {id} -o missing/e.parquet");
    for arguments in [embed.as_str(), "world export smoke -o missing/w.parquet"] {
        let ran = refused(&sandbox, arguments, &["missing"]);
        assert!(!ran.stderr.contains(".tmp"), "{}", ran.stderr);
        assert_eq!(ran.stderr.matches("missing/").count(), 1, "says it once: {}", ran.stderr);
    }
}

#[test]
fn world_check_says_what_can_be_recovered() {
    let sandbox = Sandbox::new();
    let ran = sandbox.ok("world check");
    contains_all(&ran.stdout, &["recoverability", "orientation", "nonlinear", "0 shared latents", "passed"]);
    let ran = sandbox.ok("world check smoke --set confounder.strength=0.5 --set confounder.kind=watermark");
    contains_all(&ran.stdout, &["carry the watermark", "labels and factors", "watermark from txt", "passed"]);
    // 256 training samples are too few to read two factors from.
    sandbox.ok("world check smoke");
    let tiny = sandbox.run("world check smoke --set world.n_train=256 --json");
    let json = tiny.json();
    assert_eq!((tiny.code, &json["passed"]), (Some(1), &false.into()));
    assert!(json["reasons"].as_array().is_some_and(|reasons| !reasons.is_empty()), "{json}");
    let in_words = sandbox.run("world check smoke --set world.n_train=256");
    assert_eq!(in_words.code, Some(1));
    contains_all(&in_words.stdout, &["FAILED: ", "too few"]);
    assert!(sandbox.tree().is_empty());
}

#[test]
fn labels_of_a_confounder_are_written_with_the_samples() {
    let sandbox = Sandbox::new();
    let set = "--set confounder.strength=0.5 --set confounder.kind=parity --set confounder.prevalence=0.5";
    sandbox.ok(&format!("world export smoke {set} -o w.parquet"));
    let world = read_table(&sandbox.path("w.parquet")).expect("w.parquet");
    sandbox.ok(&format!("run smoke {set} --set train.steps=0 --axis seed=0 --axis train.temperature=0.1 -o run"));
    let cells = read_table(&sandbox.path("run/cells.parquet")).expect("cells.parquet");
    sandbox.ok(&format!("embed run {} -o e.parquet", texts(&cells, "cell_id")[0]));
    let embedded = read_table(&sandbox.path("e.parquet")).expect("e.parquet");
    let of = |table: &DataFrame, name: &str| -> BTreeMap<u32, Option<u32>> {
        let column = |name: &str| table.column(name).expect("the column").u32().expect("uint32").clone();
        column("index").iter().flatten().zip(column(name).iter()).collect()
    };
    for name in ["confounder_img", "confounder_txt"] {
        let (in_world, in_test) = (of(&world, name), of(&embedded, name));
        assert_eq!((in_world.len(), in_test.len()), (1280, 128));
        assert!(in_world.iter().all(|(index, label)| label.is_none_or(|label| label == index % 2)));
        assert!(in_test.iter().all(|(index, label)| in_world[index] == *label));
        let carriers = in_world.values().flatten().count();
        // Five standard deviations of a binomial count, sqrt(1280) / 2 each.
        assert!(carriers.abs_diff(640) < 90, "{carriers}");
        let shown = sandbox.ok(&format!("show run {}", texts(&cells, "cell_id")[0])).json();
        let share = in_test.values().flatten().count() as f64 / 128.0;
        for fact in ["confounder_share_test", "confounder_shared_test"] {
            assert_eq!(shown["realised"][fact].as_f64(), Some(share), "{fact}: {shown}");
        }
    }
}

#[test]
fn world_export_writes_one_row_per_sample() {
    let sandbox = finished();
    let before = sandbox.tree();
    let json = sandbox.ok("world export smoke -o w.parquet --json").json();
    let table = read_table(&sandbox.path("w.parquet")).expect("w.parquet");
    assert_eq!((table.height(), &json["rows"]), (1024 + 128 + 128, &1280.into()));
    let columns = column_names(&table);
    for name in ["index", "split", "shape", "orientation", "frequency", "phase", "thickness", "sentence", "text_of"] {
        assert!(columns.contains(&name), "{name} is not among {columns:?}");
    }
    assert!(lists(&table, "image").iter().all(|image| image.len() == 64), "8 x 8 pixels");
    let mut splits: BTreeMap<String, usize> = BTreeMap::new();
    texts(&table, "split").into_iter().for_each(|split| *splits.entry(split).or_default() += 1);
    let counts = [("train", 1024), ("validation", 128), ("test", 128)].map(|(name, n)| (name.to_string(), n));
    assert_eq!(splits, BTreeMap::from(counts));

    // The first cell's embeddings are of this world's test samples.
    sandbox.ok(&format!("embed run {} -o e.parquet", ids(&sandbox)[0]));
    let embedded = read_table(&sandbox.path("e.parquet")).expect("e.parquet");
    let split = texts(&table, "split");
    let test: Vec<usize> = (0..table.height()).filter(|i| split[*i] == "test").collect();
    let shapes = texts(&table, "shape");
    assert_eq!(texts(&embedded, "shape"), test.iter().map(|i| shapes[*i].clone()).collect::<Vec<_>>());
    for name in ["orientation", "frequency", "phase", "thickness"] {
        let column = |frame: &DataFrame| frame.column(name).expect("the factor").f64().expect("float64").clone();
        let (exported, embedded) = (column(&table), column(&embedded));
        let exported: Vec<_> = test.iter().map(|i| exported.get(*i)).collect();
        assert_eq!(embedded.iter().collect::<Vec<_>>(), exported, "{name}");
    }
    let after: BTreeSet<String> = sandbox.tree().into_keys().collect();
    let new: Vec<&String> = after.iter().filter(|name| !before.contains_key(*name)).collect();
    assert_eq!(new, ["e.parquet", "w.parquet"]);
}
