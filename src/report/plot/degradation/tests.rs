use std::path::Path;

use polars_core::prelude::{Column, DataFrame, NamedFrom, Series};

use super::*;
use crate::spec::{Overrides, from_str};

const SPEC: &str = r#"
name = "curves"
[axes]
"seed" = [0, 1, 2]
"image.noise" = [0.0, 0.5, 1.0]
"train.temperature" = [0.05, 0.2]
"pairing.kind" = ["swap", "offset"]
[[gate]]
name = "found"
metric = "retrieval_at_1_i2t"
min = 0.5
"#;

fn sweep() -> Sweep {
    from_str(SPEC, "curves.toml", &Overrides::default()).expect("a sweep")
}

fn column<T, P>(name: &str, values: Vec<T>) -> Column
where
    Series: NamedFrom<Vec<T>, P>,
    P: ?Sized,
{
    Series::new(name.into(), values).into()
}

/// Retrieval that falls with noise, less so at the higher temperature, and is lost at one corner.
fn surface() -> Rows {
    let (mut metric, mut noise, mut temperature, mut kind) = (vec![], vec![], vec![], vec![]);
    let (mut mean, mut low, mut high, mut n, mut share) = (vec![], vec![], vec![], vec![], vec![]);
    for name in ["retrieval_at_1_i2t", "retrieval_at_1_t2i", "alignment"] {
        for pairs in ["swap", "offset"] {
            for (x, t) in [(0.0, 0.05), (0.5, 0.05), (1.0, 0.05), (0.0, 0.2), (0.5, 0.2), (1.0, 0.2)] {
                if pairs == "offset" && x == 1.0 {
                    continue;
                }
                let value = 0.9 - 0.6 * x * if t > 0.1 { 0.5 } else { 1.0 };
                let gone = x == 1.0 && t > 0.1;
                metric.push(name);
                kind.push(pairs);
                noise.push(x);
                temperature.push(t);
                mean.push((!gone).then_some(value));
                low.push((!gone).then_some(value - 0.05));
                high.push((!gone).then_some(value + 0.05));
                n.push(if gone { 0i64 } else { 3 });
                share.push(if x == 1.0 { if gone { 0.0 } else { 2.0 / 3.0 } } else { 1.0 });
            }
        }
    }
    let rows = metric.len();
    let frame = DataFrame::new_infer_height(vec![
        column("metric", metric),
        column("condition", vec!["clean"; rows]),
        column("param_image_noise", noise),
        column("param_train_temperature", temperature),
        column("param_pairing_kind", kind),
        column("n", n),
        column("cells", vec![3i64; rows]),
        column("mean", mean),
        column("interval_low", low),
        column("interval_high", high),
        column("share_ok", share),
    ]);
    Rows::new(frame.expect("columns"), Path::new("surfaces.parquet"))
}

#[test]
fn an_axis_has_a_line_per_level_of_the_axis_that_matters_most() {
    let found = info(&sweep(), &surface()).expect("columns");
    let axes: Vec<(&str, Option<&str>)> = found.iter().map(|f| (f.axis.as_str(), f.line_axis.as_deref())).collect();
    let lines = [
        ("image.noise", Some("train.temperature")),
        ("pairing.kind", Some("image.noise")),
        ("train.temperature", Some("image.noise")),
    ];
    assert_eq!(axes, lines);
    // Swap is known at one level of noise more.
    assert_eq!(found[0].fixed, [("pairing.kind".to_string(), Level::Name("swap".to_string()))]);
    assert_eq!(found[1].scale, None, "names have no scale");
    insta::assert_debug_snapshot!(found[0]);
}

#[test]
fn a_caption_says_how_intervals_are_made_where_there_are_any() {
    let mut found = info(&sweep(), &surface()).expect("columns").remove(0);
    let of_three = "; bands or bars are intervals of the mean: over 3 seeds from the least value to the greatest";
    assert!(draw(&found).caption.contains(of_three), "{}", draw(&found).caption);
    let points = found.panels.iter_mut().flat_map(|panel| &mut panel.curves).flat_map(|curve| &mut curve.points);
    points.for_each(|point| point.interval = None);
    let caption = draw(&found).caption;
    assert!(caption.starts_with("Means over 3 seeds at each point. "), "{caption}");
}

#[test]
fn what_is_lost_and_what_is_missed_is_said() {
    let found = info(&sweep(), &surface()).expect("columns");
    let figure = draw(&found[0]);
    assert!(figure.alt.contains("1 of 5 means miss \u{2265} 0.5 of gate found."), "{}", figure.alt);
    assert!(figure.alt.contains("At 4 of 12 points cells were lost."), "{}", figure.alt);
    assert!(figure.caption.contains("Held where most is known: pairing.kind = swap."), "{}", figure.caption);
    assert_eq!(figure.data.rows.len(), 12);
    assert!(figure.data.rows.iter().all(|row| row.len() == figure.data.header.len()));
    insta::assert_snapshot!(figure.svg);
}
