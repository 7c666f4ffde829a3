use std::borrow::Cow;
use std::path::Path;

use polars_core::prelude::{Column, DataFrame, NamedFrom, Series};

use super::*;
use crate::report::Section;
use crate::spec::{Overrides, from_str};
use crate::store::{
    BOUNDARIES_TABLE, Code, ColumnInfo, Environment, RunManifest, SURFACES_TABLE, TableInfo, write_table,
};

const SPEC: &str = "name = \"hand-made\"\npreset = \"tiny\"\n[axes]\nseed = { seeds = 4 }\n\
                    \"train.temperature\" = [0.01, 0.1, 1.0]\n\"image.noise\" = [0.0, 0.5]\n\
                    [[include]]\n\"train.temperature\" = [0.05]\n\"image.noise\" = 0.5\n\
                    [[gate]]\nname = \"rank\"\nmetric = \"effective_rank_img\"\nmin = 2.0\n";

fn floats(name: &str, values: &[Option<f64>]) -> Column {
    Series::new(name.into(), values).into()
}

fn texts(name: &str, values: &[&str]) -> Column {
    Series::new(name.into(), values).into()
}

fn write(dir: &Path, file: &str, columns: Vec<Column>) {
    let described = |column: &Column| (column.name().to_string(), ColumnInfo::new("value", "1", "by hand"));
    let info = TableInfo::new("by hand", columns.iter().map(described));
    write_table(&dir.join(file), &DataFrame::new_infer_height(columns).unwrap(), &info).unwrap();
}

/// A run of three temperatures, two strengths of noise, and one temperature beside the grid. At the second strength the
/// lowest temperature has no value, the highest no cells.
fn hand_made(dir: &Path) -> RunData<'static> {
    let noise = [0.0, 0.0, 0.0, 0.5, 0.5, 0.5].map(Some);
    let temperature = [0.01, 0.1, 1.0, 0.01, 0.05, 0.1].map(Some);
    let mean = [Some(1.0), Some(3.0), Some(1.5), None, Some(2.5), Some(4.0)];
    let shifted = |by: f64| mean.map(|mean| mean.map(|mean| mean + by));
    let lost = [0.0, 0.0, 0.25, 1.0, 0.0, 0.0];
    let counts = |name: &str, values: [i64; 6]| -> Column { Series::new(name.into(), values).into() };
    let mut columns = vec![
        texts("metric", &["effective_rank_img"; 6]),
        texts("condition", &["clean"; 6]),
        floats("param_image_noise", &noise),
        floats("param_train_temperature", &temperature),
        counts("n", [4, 4, 4, 0, 4, 4]),
        counts("cells", [4; 6]),
        floats("mean", &mean),
        floats("interval_low", &shifted(-0.5)),
        floats("interval_high", &shifted(0.25)),
        floats("share_ok", &lost.map(|share| Some(1.0 - share))),
        floats("share_collapsed", &[0.0, 0.0, 0.25, 0.0, 0.0, 0.0].map(Some)),
        floats("share_diverged", &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0].map(Some)),
        floats("share_failed", &[0.0; 6].map(Some)),
    ];
    columns.extend([floats("lost_low", &lost.map(Some)), floats("lost_high", &lost.map(|share| Some(share + 0.1)))]);
    write(dir, SURFACES_TABLE, columns);
    // A mean at the first strength of noise, a fit at the second, and what must not be drawn: a seed's own.
    let columns = vec![
        texts("constraint", &["rank", "rank", "rank", "other"]),
        texts("axis", &["train.temperature"; 4]),
        texts("side", &["lower"; 4]),
        floats("param_image_noise", &[0.0, 0.5, 0.5, 0.0].map(Some)),
        floats("param_train_temperature", &[None; 4]),
        Series::new("seed".into(), [None, None, Some(1_i64), None]).into(),
        floats("level", &[Some(0.03), None, Some(0.5), Some(0.5)]),
        floats("interval_low", &[Some(0.02), None, None, None]),
        floats("interval_high", &[Some(0.05), None, None, None]),
        floats("fit_level", &[Some(0.04), Some(0.02), None, None]),
        floats("fit_low", &[None; 4]),
        floats("fit_high", &[None; 4]),
    ];
    write(dir, BOUNDARIES_TABLE, columns);
    let sweep = from_str(SPEC, "hand-made", &Overrides::default()).unwrap();
    let environment = Environment::detect("native", None, None);
    let manifest =
        RunManifest::begin("hand-made", &sweep.hash(), serde_json::Value::Null, "c", environment, Code::default());
    RunData { dir: dir.to_path_buf(), manifest, sweep: Cow::Owned(sweep) }
}

fn info_of(run: &RunData, metric: &str) -> Option<HeatmapInfo> {
    let layout = layout::Layout::of(&run.sweep).unwrap();
    info(run, &layout, &Subject { metric: metric.to_string(), condition: CLEAN.to_string() }).unwrap()
}

#[test]
fn the_data_of_a_heatmap_are_those_of_its_tables() {
    let dir = tempfile::tempdir().unwrap();
    let run = hand_made(dir.path());
    insta::assert_debug_snapshot!("info", info_of(&run, "effective_rank_img").unwrap());
    assert_eq!(info_of(&run, "effective_rank_txt"), None, "it has no rows");
    let lost = info_of(&run, LOST).unwrap();
    let values: Vec<Option<f64>> = lost.panels[0].tiles.iter().map(|tile| tile.value).collect();
    assert_eq!(values, [0.0, 0.0, 0.25, 1.0, 0.0, 0.0].map(Some));
    assert_eq!((lost.range, lost.constraints[0].name.as_str()), ((0.0, 1.0), "lost"));
}

#[test]
fn the_picture_of_a_heatmap_is_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let run = hand_made(dir.path());
    let figure = draw(&info_of(&run, "effective_rank_img").unwrap());
    insta::assert_snapshot!("picture", figure.svg.replace('>', ">\n"));
    insta::assert_snapshot!(
        "words",
        format!("{}\n{}\n{}\n{}\n{}", figure.name, figure.title, figure.alt, figure.caption, figure.data.csv())
    );
    assert_eq!(figure.section, Section::Surfaces);
    assert_eq!(heatmaps(&run).unwrap(), heatmaps(&run).unwrap());
    assert_eq!(figure.svg.matches("<rect").count() - 1 - 32, figure.data.rows.len(), "a tile per row, a frame, a bar");
}

#[test]
fn large_grids_are_thinned_by_a_rule_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = hand_made(dir.path());
    let levels = |n: usize| (0..n).map(|i| (i as f64 / n as f64).to_string()).collect::<Vec<_>>().join(", ");
    let spec = format!(
        "name = \"large\"\npreset = \"tiny\"\n[axes]\n\"image.noise\" = [{}]\n\"text.dropout\" = [{}]\n",
        levels(300),
        levels(310)
    );
    run.sweep = Cow::Owned(from_str(&spec, "large", &Overrides::default()).unwrap());
    let layout = layout::Layout::of(&run.sweep).unwrap();
    assert_eq!((layout.x.path.as_str(), layout.y.path.as_str()), ("text.dropout", "image.noise"));
    let row = tables::Row { value: Some(1.0), interval: None, n: 1, cells: 1, shares: [1.0, 0.0, 0.0, 0.0] };
    let surface =
        (0..300).flat_map(|y| (0..310).map(move |x| (Vec::new(), y, x))).map(|at| (at, row.clone())).collect();
    let view = layout.view(&surface);
    let tiles = view.tiles(&view.panels[0], &surface);
    assert!((1_000..=2_000).contains(&tiles.len()), "{}", tiles.len());
    let LeftOut { x_every, y_every, .. } = view.left_out;
    assert_eq!(tiles.len(), 310usize.div_ceil(x_every) * 300usize.div_ceil(y_every));
    let (first, last) = (tiles.first().unwrap(), tiles.last().unwrap());
    assert_eq!((first.across.0, first.up.0, last.across.1, last.up.1), (0.0, 0.0, 1.0, 1.0));
}

#[test]
fn one_axis_makes_no_heatmap_and_axes_that_advance_together_are_one() {
    let of = |axes: &str| {
        let spec = format!("name = \"a\"\npreset = \"tiny\"\n{axes}");
        layout::Layout::of(&from_str(&spec, "a", &Overrides::default()).unwrap())
    };
    assert!(of("[axes]\nseed = { seeds = 3 }\n\"image.noise\" = [0.0, 0.5]\n").is_none());
    let zipped = "zip = [[\"image.noise\", \"text.dropout\"]]\n[axes]\n\"image.noise\" = [0.0, 0.5]\n\"text.dropout\" = [0.0, 0.1]\n";
    assert!(of(zipped).is_none());
    // Numbers go across, whatever has more levels.
    let kinds = "[pairing]\nrate = 0.5\n[axes]\n\"image.noise\" = [0.0, 0.5]\n\"pairing.kind\" = [\"swap\", \"offset\", \"block\"]\n";
    let layout = of(kinds).unwrap();
    assert_eq!((layout.x.path.as_str(), layout.y.path.as_str()), ("image.noise", "pairing.kind"));
}
