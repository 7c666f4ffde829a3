use std::path::Path;

use polars_core::prelude::{Column, DataFrame, NamedFrom, Series};

use super::*;
use crate::spec::{Overrides, from_str};

const SPEC: &str = r#"
name = "training"
[stop]
effective_rank_below = 2.0
[axes]
"seed" = [0, 1]
"train.temperature" = [0.01, 0.1, 1.0]
[[gate]]
name = "found"
metric = "retrieval_at_1_i2t"
min = 0.5
"#;

fn column<T, P>(name: &str, values: Vec<T>) -> Column
where
    Series: NamedFrom<Vec<T>, P>,
    P: ?Sized,
{
    Series::new(name.into(), values).into()
}

fn rows(columns: Vec<Column>) -> Rows {
    Rows::new(DataFrame::new_infer_height(columns).expect("columns"), Path::new("table.parquet"))
}

/// Two seeds at each of three temperatures; the lowest collapses.
fn training() -> Training {
    let sweep = from_str(SPEC, "training.toml", &Overrides::default()).expect("a sweep");
    let names = ["a0", "a1", "b0", "b1", "c0", "c1"];
    let cells = rows(vec![
        column("cell_id", names.to_vec()),
        column("param_train_temperature", vec![0.01, 0.01, 0.1, 0.1, 1.0, 1.0]),
        column("metric_retrieval_at_1_i2t", vec![Some(0.1), None, Some(0.9), Some(0.8), Some(0.4), Some(0.5)]),
        column("crossings", vec![Some("{\"stop.effective_rank_below\":50}"), None, None, None, None, None]),
    ]);
    let edges = rows(vec![
        column("constraint", vec!["all", "found"]),
        column("axis", vec!["train.temperature"; 2]),
        column("param_train_temperature", vec![None::<f64>; 2]),
        column("seed", vec![None::<i64>; 2]),
        column("level", vec![Some(0.02), Some(0.6)]),
    ]);
    let mut chosen = choose(&sweep, &cells, Some(&edges)).expect("columns");
    let ids = rows(vec![column("cell_id", names.iter().flat_map(|id| [*id; 3]).collect::<Vec<_>>())]);
    let value = |at: usize| (at % 3 != 1).then_some(10.0 / (1.0 + at as f64));
    let values = rows(vec![
        column("step", (0..18).map(|at| 50 * (at % 3)).collect::<Vec<i64>>()),
        column("loss", (0..18).map(|at| Some(1.0 + at as f64)).collect::<Vec<_>>()),
        column("validation_effective_rank_img", (0..18).map(value).collect::<Vec<_>>()),
    ]);
    for name in ["loss", "validation_effective_rank_img"] {
        add_series(&mut chosen, name, &ids, &values).expect("columns");
    }
    Training { chosen }
}

#[test]
fn the_best_the_worst_and_the_one_at_the_first_edge_are_chosen() {
    let training = training();
    let chosen: Vec<(&str, f64)> = training.chosen.iter().map(|c| (c.role.as_str(), c.retrieval)).collect();
    // A cell without a value counts as 0; 1.0 is nearer to 0.6 than 0.1 is, by ratio.
    assert_eq!(chosen, [("best", 0.8500000000000001), ("at the edge of found", 0.45), ("worst", 0.05)]);
    let worst = &training.chosen[2];
    assert_eq!(worst.crossings["stop.effective_rank_below"], [50]);
    assert_eq!(worst.limits, BTreeMap::from([("stop.effective_rank_below".to_string(), 2.0)]));
    // Of 1, 2, 3 and 4, 5, 6.
    assert_eq!(worst.median("loss"), [(0, 2.5), (50, 3.5), (100, 4.5)]);
    assert_eq!(worst.median("validation_effective_rank_img").len(), 2, "no value at step 50");
    insta::assert_debug_snapshot!(training);
}

#[test]
fn every_quantity_that_was_seen_has_a_line_of_pictures() {
    let figure = draw(&training());
    assert!(
        figure.alt.contains("stop.effective_rank_below is broken in 1 of 2 cells, first at step 50."),
        "{}",
        figure.alt
    );
    assert!(!figure.svg.contains("mean cosine"));
    assert!(figure.data.rows.iter().all(|row| row.len() == figure.data.header.len()));
    insta::assert_snapshot!(figure.svg);
}
