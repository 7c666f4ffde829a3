//! `exemplars.parquet`: what a run keeps of chosen cells, and what the report draws of it.

use cliffline::numerics::stats::gini;
use cliffline::report::RunData;
use cliffline::report::plot::geometry::{exemplars, figures, hubs, spectra};
use cliffline::store::read_table;

use crate::common::Sandbox;
use crate::{contains_all, lists};

/// Unit embeddings are stored in f32, with an error of 6e-8 each; the recorded rank is of their f64.
const ROUNDING: f64 = 1e-6;

const RUN: &str = "run cliff.toml --backend flex -o run";
/// Retrieval among five of 128 is near 0.45 without noise and near chance, 0.04, from a standard deviation of 1 on.
const SPEC: &str = "name = \"cliff\"\npreset = \"tiny\"\ntrain.steps = 200\npairing.rate = 0.1\n[axes]\nseed = [0, 1]\n\
                    image.noise = [0.0, 1.0, 2.0, 4.0, 9.0]\n\
                    [[gate]]\nname = \"found\"\nmetric = \"retrieval_at_5_i2t\"\nmin = 0.2\n";

fn finished(flags: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("cliff.toml", SPEC);
    sandbox.ok(&format!("{RUN} {flags}"));
    sandbox
}

#[test]
fn a_complete_run_has_the_embeddings_of_chosen_cells_as_embed_makes_them() {
    let sandbox = finished("");
    let table = read_table(&sandbox.path("run/exemplars.parquet")).expect("exemplars.parquet");
    let text = |name: &str, row: usize| {
        let column = table.column(name).expect("a column").str().expect("text");
        column.get(row).expect("no null").to_string()
    };
    let roles: Vec<String> = (0..table.height()).step_by(128).map(|row| text("role", row)).collect();
    assert_eq!(roles, ["baseline", "worst", "boundary"], "128 samples each");
    for (number, role) in roles.iter().enumerate() {
        let (from, cell) = (number * 128, text("cell_id", number * 128));
        assert!((from..from + 128).all(|row| text("cell_id", row) == cell && text("role", row) == *role));
        sandbox.ok(&format!("embed run {cell} -o {role}.parquet"));
        let own = read_table(&sandbox.path(&format!("{role}.parquet"))).expect("embeddings");
        for name in ["raw_img", "raw_txt", "z_img", "z_txt"] {
            assert_eq!(lists(&table, name)[from..from + 128], lists(&own, name), "{role} {name}");
        }
        let slice = table.slice(from as i64, 128);
        for name in ["index", "index_txt", "shape", "phase"] {
            assert!(slice.column(name).expect("a column").equals(own.column(name).expect("a column")), "{name}");
        }
    }
    sandbox.ok("verify run");
    let before = sandbox.tree();
    contains_all(&sandbox.ok(RUN).stderr, &["nothing to do"]);
    assert_eq!(sandbox.tree(), before);
}

#[test]
fn a_run_can_do_without_and_an_incomplete_plan_has_none() {
    let sandbox = finished("--no-exemplars");
    assert!(!sandbox.path("run/exemplars.parquet").exists());
    contains_all(&sandbox.ok(RUN).stderr, &["nothing to do"]);
    assert!(!sandbox.path("run/exemplars.parquet").exists(), "what is complete is left as it is");
    const GROWN: &str = "--axis image.noise=0,0.7,1,2,4,9";
    let grown = finished("");
    grown.ok(&format!("{RUN} --no-exemplars {GROWN}"));
    assert!(!grown.path("run/exemplars.parquet").exists(), "none of an earlier plan is left");
    let grown = finished("");
    let before = grown.tree()["run/exemplars.parquet"].clone();
    grown.ok(&format!("{RUN} {GROWN}"));
    let after = grown.tree()["run/exemplars.parquet"].clone();
    assert_ne!(after, before, "another level is nearer to the boundary");
    assert_eq!(after, finished(GROWN).tree()["run/exemplars.parquet"]);
}

#[test]
fn pictures_say_what_the_tables_say() {
    let sandbox = finished("");
    let run = RunData::open(&sandbox.path("run")).expect("a run");
    let cells = exemplars(&run).expect("exemplars");
    assert_eq!(cells.len(), 3);
    let hubs = hubs::info(&cells).expect("hubs");
    for cell in &hubs.cells {
        let hits: Vec<f64> = cell.hits.iter().map(|hits| f64::from(*hits)).collect();
        assert_eq!(gini(&hits).ok(), cell.gini, "{}", cell.role);
    }
    for line in spectra::info(&cells).expect("spectra").lines {
        let total: f64 = line.eigenvalues.iter().sum();
        let shares = line.eigenvalues.iter().map(|l| l / total).filter(|share| *share > 0.0);
        let rank = shares.map(|share| -share * share.ln()).sum::<f64>().exp();
        let recorded = line.effective_rank.expect("recorded");
        assert!((rank - recorded).abs() < ROUNDING, "{} {}: {rank} and {recorded}", line.role, line.modality);
    }
    let drawn = figures(&run).expect("figures");
    let names: Vec<&str> = drawn.iter().map(|figure| figure.name.as_str()).collect();
    let pca = ["geometry-pca-baseline", "geometry-pca-worst", "geometry-pca-boundary"];
    let others = ["geometry-similarity", "geometry-spectra", "geometry-hubs", "geometry-norms"];
    assert_eq!(names, [&pca[..], &others].concat());
    for figure in &drawn {
        assert!(figure.svg.len() < 150_000 && figure.data.rows.len() <= 2_000, "{} is too large", figure.name);
        assert!(figure.data.rows.iter().all(|row| row.len() == figure.data.header.len()), "{}", figure.name);
    }
    assert_eq!(figures(&run).expect("figures"), drawn, "the same again");
}
