//! From what is drawn to the cells behind it: which cells a tile stands for, and the manifests of the chosen ones.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::explorer::varied;
use super::figure::Figure;
use super::page::TILES;
use super::rows::{Level, Rows};
use super::run_data::{ReportError, RunData};
use crate::store::{CELLS_TABLE, EXEMPLARS_TABLE, RunReader, TabledCells, audit_manifest, param_column};

/// Digits of an id on the page: `show` takes the beginning of one, and 48 bits tell a million cells apart.
const ID_DIGITS: usize = 12;
/// Most bytes of the ids of tiles on the page.
const MAX_BYTES: usize = 250_000;
/// Most ids of a combination: nobody goes through more by hand.
const MOST_IDS: usize = 32;
/// Bytes of an id with the space before it, and of what else an entry has about.
const ID_BYTES: usize = ID_DIGITS + 1;
const ENTRY_BYTES: usize = 14;
const LEVEL_BYTES: usize = 4;
/// Most bytes of one embedded manifest, with its line breaks.
const MAX_MANIFEST: usize = 50_000;

/// The cells at combinations of levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellIndex {
    /// Paths of the axes that pictures have, and the levels of cells along them, ascending.
    pub axes: Vec<(String, Vec<Level>)>,
    /// By numbers of the levels: how many cells there are, and beginnings of the ids of the first of them.
    pub cells: BTreeMap<Vec<usize>, (usize, Vec<String>)>,
    /// Combinations that there is no room for.
    pub left_out: usize,
}

/// A cell of which the report draws more than numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenCell {
    /// `baseline`, `worst` or `boundary`.
    pub role: String,
    pub cell_id: String,
    /// Its audit manifest as JSON; none where it is too large or cannot be read.
    pub manifest: Option<String>,
}

/// The cells of a run by their levels. Where there are too many, those come first that `figures` have tiles of.
///
/// # Errors
/// A table that cannot be read.
pub fn cell_index(run: &RunData, figures: &[Figure]) -> Result<CellIndex, ReportError> {
    let paths: Vec<String> = varied(&run.sweep).into_iter().map(|axis| axis.path.clone()).collect();
    let names = std::iter::once("cell_id".to_string()).chain(paths.iter().map(|path| param_column(path)));
    let Some(rows) = Rows::read(run, CELLS_TABLE, &names.collect::<Vec<_>>())? else { return Ok(CellIndex::default()) };
    let ids = rows.texts("cell_id")?;
    let mut axes: Vec<(String, Vec<Level>)> = Vec::new();
    let mut places: Vec<Vec<usize>> = vec![Vec::new(); rows.len()];
    for path in paths.into_iter().filter(|path| rows.has(&param_column(path))) {
        let levels = rows.levels(&param_column(&path))?;
        let all: BTreeSet<&Level> = levels.iter().flatten().collect();
        let number: BTreeMap<&Level, usize> = all.iter().enumerate().map(|(at, level)| (*level, at)).collect();
        for (place, level) in places.iter_mut().zip(&levels) {
            // A cell without a level has none that a tile could have.
            place.push(level.as_ref().and_then(|level| number.get(level).copied()).unwrap_or(all.len()));
        }
        axes.push((path, all.into_iter().cloned().collect()));
    }
    let mut found: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
    for (row, place) in places.into_iter().enumerate() {
        found.entry(place).or_default().push(row);
    }
    let pictured = pictured(&axes, figures);
    let mut order: Vec<&Vec<usize>> = found.keys().filter(|place| pictured.contains(*place)).collect();
    order.extend(found.keys().filter(|place| !pictured.contains(*place)));
    let entry = ENTRY_BYTES + LEVEL_BYTES * axes.len();
    order.truncate(MAX_BYTES / (entry + ID_BYTES));
    let room = MAX_BYTES.saturating_sub(entry * order.len()) / ID_BYTES;
    let each = (room / order.len().max(1)).clamp(1, MOST_IDS);
    let left_out = found.len() - order.len();
    let begin = |row: &usize| ids[*row].map(|id| id.get(..ID_DIGITS).unwrap_or(id).to_string());
    let cells = order.into_iter().filter_map(|place| Some((place, found.get(place)?)));
    let cells =
        cells.map(|(place, rows)| (place.clone(), (rows.len(), rows.iter().take(each).filter_map(begin).collect())));
    Ok(CellIndex { cells: cells.collect(), axes, left_out })
}

/// The combinations that pictures have tiles of.
fn pictured(axes: &[(String, Vec<Level>)], figures: &[Figure]) -> BTreeSet<Vec<usize>> {
    let mut pictured = BTreeSet::new();
    let number = |(at, level): (usize, &Level)| (level.exact(), at);
    let numbers: Vec<BTreeMap<String, usize>> =
        axes.iter().map(|(_, levels)| levels.iter().enumerate().map(number).collect()).collect();
    for figure in figures.iter().filter(|figure| figure.svg.contains(TILES)) {
        let columns: Vec<Option<usize>> =
            axes.iter().map(|(path, _)| figure.data.header.iter().position(|name| name == path)).collect();
        for row in &figure.data.rows {
            let place =
                numbers.iter().zip(&columns).map(|(numbers, column)| numbers.get(row.get((*column)?)?).copied());
            pictured.extend(place.collect::<Option<Vec<usize>>>());
        }
    }
    pictured
}

/// The cells whose embeddings the run kept, with their manifests.
///
/// # Errors
/// A table that cannot be read.
pub fn chosen_cells(run: &RunData) -> Result<Vec<ChosenCell>, ReportError> {
    let names = ["role", "cell_id"].map(String::from);
    let Some(rows) = Rows::read(run, EXEMPLARS_TABLE, &names)? else { return Ok(Vec::new()) };
    let (roles, ids) = (rows.texts("role")?, rows.texts("cell_id")?);
    let mut pairs: Vec<(&str, &str)> = roles.into_iter().flatten().zip(ids.into_iter().flatten()).collect();
    pairs.dedup();
    let axes: Vec<String> = run.sweep.axes.iter().map(|axis| axis.path.clone()).collect();
    let parts = RunReader::is_run(&run.dir).then(|| RunReader::open(&run.dir)).transpose()?;
    let of_tables = |id: &str| {
        let planned = run.sweep.cells.iter().find(|cell| cell.id == id)?;
        let cell = TabledCells::open(&run.dir).ok()?.cell(planned, &run.manifest.class).ok()?;
        Some(cell.audit_manifest(&axes, Some(&run.manifest)))
    };
    let cell = |(role, id): (&str, &str)| {
        // What is damaged is for verify to judge: the page says that there is none here.
        let manifest = match &parts {
            Some(parts) => parts.record(id).ok().map(|record| audit_manifest(&record, &axes, Some(&run.manifest))),
            None => of_tables(id),
        };
        let manifest = manifest.map(|manifest| format!("{manifest:#}")).filter(|text| text.len() <= MAX_MANIFEST);
        ChosenCell { role: role.to_string(), cell_id: id.to_string(), manifest }
    };
    Ok(pairs.into_iter().map(cell).collect())
}

impl ChosenCell {
    /// As much of the id as `show` needs.
    pub fn short_id(&self) -> &str {
        self.cell_id.get(..ID_DIGITS).unwrap_or(&self.cell_id)
    }
}

impl CellIndex {
    /// What the script reads.
    pub fn json(&self) -> Value {
        // As data has them: a script's numbers have not the digits of a large whole one.
        let texts = |levels: &[Level], text: fn(&Level) -> String| levels.iter().map(text).collect::<Vec<_>>();
        let axis = |(path, levels): &(String, Vec<Level>)| json!({"path": path, "levels": texts(levels, Level::exact), "labels": texts(levels, Level::to_string)});
        let key = |place: &[usize]| place.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let entry = |(place, (all, ids)): (&Vec<usize>, &(usize, Vec<String>))| {
            (key(place), json!(format!("{all} {}", ids.join(" "))))
        };
        json!({
            "axes": self.axes.iter().map(axis).collect::<Vec<_>>(),
            "cells": self.cells.iter().map(entry).collect::<serde_json::Map<_, _>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::shown::Levels;
    use crate::report::svg::Svg;
    use crate::report::{Data, Section};

    fn axes() -> Vec<(String, Vec<Level>)> {
        let name = |name: &str| Level::Name(name.to_string());
        vec![
            ("a".to_string(), [0.0, 0.25, 1.0].map(|x| Level::Number(x, Levels::EXACT)).to_vec()),
            ("kind".to_string(), vec![name("offset"), name("swap")]),
        ]
    }

    #[test]
    fn tiles_are_found_by_their_levels() {
        let svg = |tiles: bool| {
            let mut svg = Svg::new(1.0, 1.0);
            svg.open("g", &[("class", &if tiles { "tiles" } else { "lines" })]);
            svg.close("g");
            svg.finish("t", "a")
        };
        let row = |fields: [&str; 3]| fields.map(String::from).to_vec();
        let rows = vec![row(["swap", "1", "2.5"]), row(["swap", "0.25", ""]), row(["offset", "7", "2.5"])];
        let figure = |tiles: bool| Figure {
            section: Section::Surfaces,
            name: "n".into(),
            title: String::new(),
            alt: String::new(),
            caption: String::new(),
            svg: svg(tiles),
            data: Data { header: row(["kind", "a", "mean"]), rows: rows.clone() },
        };
        let found = pictured(&axes(), &[figure(true), figure(false)]);
        assert_eq!(found, BTreeSet::from([vec![1, 1], vec![2, 1]]), "no cell has level 7");
        assert!(pictured(&axes(), &[figure(false)]).is_empty());
    }

    #[test]
    fn the_script_finds_levels_numbers_and_ids() {
        let cells = BTreeMap::from([(vec![2, 0], (3, vec!["00ff".to_string(), "01".to_string()]))]);
        let json = CellIndex { axes: axes(), cells, left_out: 0 }.json();
        assert_eq!(
            json["axes"][1],
            json!({"path": "kind", "levels": ["offset", "swap"], "labels": ["offset", "swap"]})
        );
        assert_eq!(json["axes"][0]["levels"], json!(["0", "0.25", "1"]));
        assert_eq!(json["cells"], json!({"2,0": "3 00ff 01"}));
    }
}
