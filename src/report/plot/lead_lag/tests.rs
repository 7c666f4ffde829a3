use std::path::Path;

use polars_core::prelude::{Column, DataFrame, NamedFrom, Series};

use super::*;
use crate::spec::{Overrides, from_str};

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

const RANK: &str = "stop.effective_rank_below";
const COSINE: &str = "warn.mean_cosine_above";

#[test]
fn limits_stand_in_the_order_of_their_median_steps() {
    let both = |cosine: u64, rank: u64| Some(format!("{{\"{RANK}\":{rank},\"{COSINE}\":{cosine}}}"));
    let cells = rows(vec![column("crossings", vec![both(50, 200), both(100, 150), None, both(50, 300)])]);
    let found = crossings(&cells).expect("columns").expect("crossings");
    assert_eq!(
        found.limits.iter().map(|l| (l.limit.as_str(), l.median)).collect::<Vec<_>>(),
        [(COSINE, 50.0), (RANK, 200.0)]
    );
    let figure = draw_crossings(&found);
    assert!(figure.alt.contains("warn.mean_cosine_above at a median step of 50 in 3 cells"), "{}", figure.alt);
    insta::assert_debug_snapshot!(found);
    insta::assert_snapshot!(figure.svg);
    assert_eq!(crossings(&rows(vec![column("crossings", vec![None::<&str>; 2])])).expect("columns"), None);
}

#[test]
fn the_leader_stands_on_the_left_and_only_what_is_over_all_cells_counts() {
    let spec = "name = \"leads\"\n[axes]\n\"seed\" = [0, 1]\n\"image.noise\" = [0.0, 1.0]\n";
    let sweep = from_str(spec, "leads.toml", &Overrides::default()).expect("a sweep");
    let count = |name: &str, all: i64| column(name, vec![all, 1, 1]);
    let table = rows(vec![
        column("domain", vec!["training", "training", "axis"]),
        column("first", vec![RANK; 3]),
        column("second", vec![COSINE; 3]),
        column("param_image_noise", vec![None, Some(1.0), None]),
        count("cells", 10),
        count("both", 5),
        count("first_leads", 1),
        count("second_leads", 6),
        count("ties", 2),
        count("first_leads_from_start", 0),
        count("second_leads_from_start", 4),
        column("median_lead", vec![Some(-100.0), Some(0.0), None]),
    ]);
    let found = leads(&sweep, &table).expect("columns").expect("pairs");
    let [pair] = &found.pairs[..] else { panic!("one pair over all cells: {found:?}") };
    assert_eq!((pair.first.as_str(), pair.first_leads, pair.second_leads), (COSINE, 6, 1));
    assert_eq!((pair.median_lead, pair.from_start), (Some(100.0), (4, 0)));
    insta::assert_snapshot!(draw_leads(&found).svg);
}
