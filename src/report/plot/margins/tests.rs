use std::path::Path;

use polars_core::prelude::{Column, DataFrame, NamedFrom, Series};

use super::*;
use crate::spec::{Overrides, from_str};

const SPEC: &str = r#"
name = "margins"
[axes]
"seed" = [0, 1]
"image.noise" = [0.0, 0.5, 1.0]
"train.temperature" = [0.05, 0.2]
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

/// A row of `boundaries.parquet` along noise: constraint, side, temperature, seed, level; then crossed and beyond of two
/// seeds.
type Given = (&'static str, &'static str, f64, Option<i64>, Option<f64>, i64, i64);

fn boundaries() -> Rows {
    let given: Vec<Given> = vec![
        ("found", "lower", 0.05, None, None, 0, 2),
        ("found", "upper", 0.05, None, Some(0.6), 2, 0),
        ("found", "upper", 0.05, Some(0), Some(0.55), 0, 0),
        ("found", "upper", 0.05, Some(1), Some(0.65), 0, 0),
        ("found", "lower", 0.2, None, None, 0, 2),
        ("found", "upper", 0.2, None, None, 1, 1),
        ("found", "upper", 0.2, Some(0), Some(0.9), 0, 0),
        ("lost", "lower", 0.05, None, None, 0, 2),
        ("lost", "upper", 0.05, None, None, 0, 2),
    ];
    let pooled = |row: &Given| row.3.is_none();
    let count = |get: fn(&Given) -> i64| given.iter().map(|row| pooled(row).then(|| get(row))).collect::<Vec<_>>();
    let around = |by: f64| given.iter().map(|row| row.4.filter(|_| pooled(row)).map(|x| x + by)).collect::<Vec<_>>();
    let frame = DataFrame::new_infer_height(vec![
        column("constraint", given.iter().map(|row| row.0).collect::<Vec<_>>()),
        column("axis", vec!["image.noise"; given.len()]),
        column("scale", vec!["linear"; given.len()]),
        column("side", given.iter().map(|row| row.1).collect::<Vec<_>>()),
        column("param_image_noise", vec![None::<f64>; given.len()]),
        column("param_train_temperature", given.iter().map(|row| row.2).collect::<Vec<_>>()),
        column("seed", given.iter().map(|row| row.3).collect::<Vec<_>>()),
        column("level", given.iter().map(|row| row.4).collect::<Vec<_>>()),
        column("interval_low", around(-0.1)),
        column("interval_high", around(0.1)),
        column("fit_level", around(0.02)),
        column("fit_low", around(-0.15)),
        column("fit_high", around(0.15)),
        column("state", given.iter().map(|row| row.3.map(|_| "crossed")).collect::<Vec<_>>()),
        column("main", given.iter().map(|row| row.3.map(|_| true)).collect::<Vec<_>>()),
        column("seeds", count(|_| 2)),
        column("crossed", count(|row| row.5)),
        column("beyond", count(|row| row.6)),
        column("never_holds", count(|_| 0)),
        column("unknown", count(|_| 0)),
    ]);
    Rows::new(frame.expect("columns"), Path::new("boundaries.parquet"))
}

#[test]
fn a_row_per_line_with_the_edges_of_its_seeds() {
    let sweep = from_str(SPEC, "margins.toml", &Overrides::default()).expect("a sweep");
    let found = info(&sweep, &boundaries()).expect("columns");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].quiet, ["lost holds at every level on all 1 lines"]);
    assert_eq!(found[0].held, ["train.temperature"]);
    let figure = draw(&found[0]);
    assert_eq!(figure.alt, "found: lower edge beyond the tested range on 2 of 2 lines, upper edge at 0.6.");
    assert_eq!(figure.data.rows.len(), 4);
    assert!(figure.data.rows.iter().all(|row| row.len() == figure.data.header.len()));
    let made = "over 2 seeds from the least value to the greatest";
    assert!(figure.caption.contains(&format!("leave open: {made}")), "{}", figure.caption);
    insta::assert_debug_snapshot!(found);
    insta::assert_snapshot!(figure.svg);
}

#[test]
fn a_caption_without_an_interval_says_nothing_of_how_one_is_made() {
    let sweep = from_str(SPEC, "margins.toml", &Overrides::default()).expect("a sweep");
    let mut found = info(&sweep, &boundaries()).expect("columns").remove(0);
    for row in found.constraints.iter_mut().flat_map(|(_, rows)| rows) {
        for edge in [&mut row.lower, &mut row.upper] {
            (edge.mean, edge.interval) = (None, None);
        }
    }
    let caption = draw(&found).caption;
    assert!(caption.contains("Diamonds: their mean. Below:") && !caption.contains("one seed"), "{caption}");
}
