//! Which cells of a run stand for it where single cells are looked at: its best, its worst, and one at a boundary.

use std::collections::BTreeMap;

use polars_core::prelude::{DataFrame, PolarsResult};

use super::line::{Grid, Places, value_at};
use crate::spec::Scale;
use crate::store::{metric_column, param_column};

/// What combinations of levels are ranked by.
pub const RANKED_BY: &str = "retrieval_at_1_i2t";

/// What a cell stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Baseline,
    Worst,
    Boundary,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Worst => "worst",
            Self::Boundary => "boundary",
        }
    }
}

/// A chosen cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemplar {
    pub role: Role,
    pub cell_id: String,
}

/// Cells at one combination of levels of every axis but the seed, those that have a value.
struct Combination {
    /// Rank on every axis.
    ranks: Vec<u32>,
    /// The first of them in the table.
    row: usize,
    mean: f64,
}

/// The columns of a table like `cells.parquet` that [`exemplars`] reads.
pub fn columns_of_exemplars(grid: Grid<'_>) -> Vec<String> {
    let axes = grid.axes.iter().map(|(path, _)| path.as_str()).filter(|path| *path != "seed");
    let levels = axes.chain(["seed"]).map(param_column);
    ["cell_id".to_string(), metric_column(RANKED_BY)].into_iter().chain(levels).collect()
}

/// Chooses the baseline, the worst and one at a boundary, in this order and each combination of levels once: the first
/// cell, in the order of `cells`, of each.
///
/// The baseline is the combination with the greatest mean of [`RANKED_BY`] over the seeds that have a value, the worst
/// the one with the least: diverged and failed cells have none, and no embeddings to look at. Of equal ones the first in
/// the table is taken. The boundary is that of the first constraint of `boundaries`, a table like `boundaries.parquet`,
/// that has one across seeds along the numeric axis with the most levels; on the baseline's line where it has one
/// there, else on the first line that has. The combination with the nearest level, on the axis's scale, stands for it.
///
/// # Errors
/// A column that is not there or of another type.
pub fn exemplars(cells: &DataFrame, boundaries: &DataFrame, grid: Grid<'_>) -> PolarsResult<Vec<Exemplar>> {
    let places = Places::new(cells, grid)?;
    let all = combinations(cells, &places)?;
    let Some(baseline) = all.iter().reduce(|best, other| if other.mean > best.mean { other } else { best }) else {
        return Ok(Vec::new());
    };
    let worst = all.iter().reduce(|worst, other| if other.mean < worst.mean { other } else { worst });
    let boundary = at_boundary(&all, baseline, boundaries, &places)?;
    let ids = cells.column("cell_id")?.str()?;
    let candidates = [(Role::Baseline, Some(baseline)), (Role::Worst, worst), (Role::Boundary, boundary)];
    let mut rows = Vec::new();
    let mut chosen = Vec::new();
    for (role, combination) in candidates {
        let Some(row) = combination.map(|combination| combination.row).filter(|row| !rows.contains(row)) else {
            continue;
        };
        rows.push(row);
        chosen.push(Exemplar { role, cell_id: ids.get(row).unwrap_or_default().to_string() });
    }
    Ok(chosen)
}

/// In the order of their first cells.
fn combinations(cells: &DataFrame, places: &Places) -> PolarsResult<Vec<Combination>> {
    let values = cells.column(&metric_column(RANKED_BY))?.f64()?;
    let mut of_ranks: BTreeMap<Vec<u32>, (usize, Vec<f64>)> = BTreeMap::new();
    for (row, value) in values.iter().enumerate() {
        let Some(value) = value.filter(|value| value.is_finite()) else { continue };
        let ranks = places.axes.iter().map(|axis| axis.of_row[row]).collect();
        of_ranks.entry(ranks).or_insert((row, Vec::new())).1.push(value);
    }
    let mut all: Vec<Combination> = of_ranks
        .into_iter()
        .map(|(ranks, (row, values))| Combination {
            ranks,
            row,
            mean: values.iter().sum::<f64>() / values.len() as f64,
        })
        .collect();
    all.sort_by_key(|combination| combination.row);
    Ok(all)
}

/// A boundary across seeds.
struct Edge {
    /// For each axis the text of the level that its line fixes.
    fixed: Vec<(usize, String)>,
    coordinate: f64,
}

fn at_boundary<'a>(
    all: &'a [Combination],
    baseline: &Combination,
    boundaries: &DataFrame,
    places: &Places,
) -> PolarsResult<Option<&'a Combination>> {
    let most = places.numeric_axes().collect::<Vec<_>>();
    // The first of those that have as many.
    let Some(axis) = most.into_iter().rev().max_by_key(|axis| places.axes[*axis].levels.len()) else {
        return Ok(None);
    };
    let along = &places.axes[axis];
    let edges = edges(boundaries, places, axis)?;
    let on_line = |edge: &Edge, combination: &Combination| {
        let same = |(other, level): &(usize, String)| {
            let own = places.axes[*other].levels[combination.ranks[*other] as usize].to_string();
            own == *level
        };
        edge.fixed.iter().all(same)
    };
    let Some(edge) = edges.iter().find(|edge| on_line(edge, baseline)).or(edges.first()) else { return Ok(None) };
    let distance =
        |combination: &Combination| (along.coordinates[combination.ranks[axis] as usize] - edge.coordinate).abs();
    let near = all.iter().filter(|combination| on_line(edge, combination));
    Ok(near.min_by(|a, b| distance(a).total_cmp(&distance(b))))
}

/// The boundaries across seeds along an axis, of the first constraint that has one: the mean of the seeds' edges, or the
/// fitted one where some seeds have no edge.
fn edges(boundaries: &DataFrame, places: &Places, axis: usize) -> PolarsResult<Vec<Edge>> {
    let along = &places.axes[axis];
    let scale = along.scale.unwrap_or(Scale::Linear);
    let text = |name: &str| PolarsResult::Ok(boundaries.column(name)?.str()?.clone());
    let level = |name: &str| PolarsResult::Ok(boundaries.column(name)?.f64()?.clone());
    let (constraints, axes) = (text("constraint")?, text("axis")?);
    let (means, fits) = (level("level")?, level("fit_level")?);
    let seeds = boundaries.column("seed")?.is_not_null();
    let fixed = places.fixed(axis);
    let mut first: Option<&str> = None;
    let mut edges = Vec::new();
    for row in 0..boundaries.height() {
        let across = axes.get(row) == Some(along.path.as_str()) && seeds.get(row) == Some(false);
        let Some(level) = means.get(row).or(fits.get(row)).filter(|_| across) else { continue };
        if *first.get_or_insert(constraints.get(row).unwrap_or_default()) != constraints.get(row).unwrap_or_default() {
            break;
        }
        let at = |other: &usize| {
            let level = value_at(boundaries.column(&param_column(&places.axes[*other].path))?, row)?;
            Ok((*other, level.to_string()))
        };
        let fixed = fixed.iter().map(at).collect::<PolarsResult<_>>()?;
        edges.push(Edge { fixed, coordinate: scale.coordinate(level) });
    }
    Ok(edges)
}

#[cfg(test)]
mod tests {
    use polars_core::prelude::{NamedFrom, Series};
    use serde_json::{Value, json};

    use super::*;
    use crate::analysis::{AxisLevels, locate};
    use crate::spec::{Overrides, from_str};

    /// Noise, pairing rate, seed, status, retrieval.
    type Row = (f64, f64, i64, &'static str, Option<f64>);

    fn table(rows: &[Row]) -> DataFrame {
        let ids: Vec<String> = (0..rows.len()).map(|row| format!("cell-{row}")).collect();
        DataFrame::new_infer_height(vec![
            Series::new("cell_id".into(), ids).into(),
            Series::new("status".into(), rows.iter().map(|r| r.3).collect::<Vec<_>>()).into(),
            Series::new("param_image_noise".into(), rows.iter().map(|r| r.0).collect::<Vec<_>>()).into(),
            Series::new("param_pairing_rate".into(), rows.iter().map(|r| r.1).collect::<Vec<_>>()).into(),
            Series::new("param_seed".into(), rows.iter().map(|r| r.2).collect::<Vec<_>>()).into(),
            Series::new("metric_retrieval_at_1_i2t".into(), rows.iter().map(|r| r.4).collect::<Vec<_>>()).into(),
        ])
        .expect("columns of one length")
    }

    fn levels(noise: &[f64], rate: &[f64]) -> Vec<AxisLevels> {
        let of = |levels: &[f64]| levels.iter().map(|x| json!(x)).collect::<Vec<Value>>();
        vec![("image.noise".into(), of(noise)), ("pairing.rate".into(), of(rate)), ("seed".into(), vec![])]
    }

    /// Roles and rows.
    fn chosen(rows: &[Row], axes: &[AxisLevels], gates: &str) -> Vec<(&'static str, String)> {
        let spec = format!("name = \"t\"\npreset = \"tiny\"\n{gates}");
        let gates = from_str(&spec, "t.toml", &Overrides::default()).unwrap_or_else(|e| panic!("{e}")).gates;
        let grid = Grid { axes, zip: &[] };
        let cells = table(rows);
        let located = locate(&gates, &cells, &DataFrame::empty(), grid).expect("located");
        let found = exemplars(&cells, &located.boundaries, grid).expect("chosen");
        found.into_iter().map(|e| (e.role.name(), e.cell_id)).collect()
    }

    const GATE: &str = "[[gate]]\nname = \"found\"\nmetric = \"retrieval_at_1_i2t\"\nmin = 0.4\n";
    const NOISES: [f64; 4] = [0.0, 1.0, 2.0, 3.0];

    /// Two seeds along four noises at two rates; the second seed of the last level has diverged.
    fn grid() -> Vec<Row> {
        let values = |rate: f64| if rate == 0.0 { [0.8, 0.7, 0.3, 0.1] } else { [0.9, 0.5, 0.45, 0.2] };
        let mut rows: Vec<Row> = Vec::new();
        for seed in [0, 1] {
            for rate in [0.0, 0.5] {
                let each = NOISES.into_iter().zip(values(rate));
                rows.extend(each.map(|(noise, value)| (noise, rate, seed, "ok", Some(value))));
            }
        }
        rows
    }

    fn named(found: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        found.iter().map(|(role, id)| (*role, id.to_string())).collect()
    }

    #[test]
    fn best_worst_and_the_nearest_to_the_boundary_on_the_baselines_line() {
        let axes = levels(&NOISES, &[0.0, 0.5]);
        // At the rate 0.5 the margins 0.05 and -0.2 put the edge at 2.2; at the rate 0, which has one too, at 1.75.
        assert_eq!(
            chosen(&grid(), &axes, GATE),
            named(&[("baseline", "cell-4"), ("worst", "cell-3"), ("boundary", "cell-6")])
        );
        // The baseline's line has no edge any more: the first line has.
        let mut rows = grid();
        rows.iter_mut().filter(|r| r.1 == 0.5).for_each(|r| r.4 = Some(0.9));
        assert_eq!(chosen(&rows, &axes, GATE)[2], named(&[("boundary", "cell-2")])[0]);
    }

    #[test]
    fn without_a_boundary_there_is_none_and_each_combination_stands_once() {
        let axes = levels(&NOISES, &[0.0, 0.5]);
        assert_eq!(chosen(&grid(), &axes, ""), named(&[("baseline", "cell-4"), ("worst", "cell-3")]));
        let one: Vec<Row> = [0, 1].map(|seed| (0.0, 0.0, seed, "ok", Some(0.5))).to_vec();
        assert_eq!(chosen(&one, &levels(&[0.0], &[0.0]), GATE), named(&[("baseline", "cell-0")]));
        assert_eq!(chosen(&[], &levels(&[0.0], &[0.0]), GATE), []);
        // The nearest level to the edge at 0.8 is the worst one.
        let two: Vec<Row> = vec![(0.0, 0.0, 0, "ok", Some(0.8)), (1.0, 0.0, 0, "ok", Some(0.3))];
        let found = chosen(&two, &levels(&[0.0, 1.0], &[0.0]), GATE);
        assert_eq!(found, named(&[("baseline", "cell-0"), ("worst", "cell-1")]));
    }

    #[test]
    fn cells_without_embeddings_are_passed_over() {
        let mut rows = grid();
        // The first seed of the best combination diverged, and so did both of the worst.
        for (row, status) in [(4, "diverged"), (3, "failed"), (11, "diverged")] {
            (rows[row].3, rows[row].4) = (status, None);
        }
        let found = chosen(&rows, &levels(&NOISES, &[0.0, 0.5]), GATE);
        assert_eq!(found[..2], named(&[("baseline", "cell-12"), ("worst", "cell-7")])[..]);
    }
}
