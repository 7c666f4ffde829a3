//! `exemplars.parquet`: the test embeddings of the few cells of a complete run that stand for it.
//!
//! A run keeps no embeddings, so these cells are trained once more and held to their records, as `embed` does.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use clap::Args;
use polars_core::prelude::{Column, DataFrame, DataType, IntoColumn, NamedFrom, Series};

use super::finish::say_set_aside;
use super::{checked, embed, output};
use crate::analysis::exemplars::{Exemplar, columns_of_exemplars, exemplars};
use crate::analysis::grid_of;
use crate::analysis::line::Grid;
use crate::engine::{BurnTrainer, training_flops};
use crate::numerics::shown::rounded;
use crate::spec::{Cell, Sweep};
use crate::store::{
    BOUNDARIES_TABLE, CELLS_TABLE, CellRecord, ColumnInfo, EXEMPLARS_TABLE, RunReader, TableBytes, TableInfo,
    differences, make_way, read_columns, read_table, remove_own, write_table,
};

/// Most of a run's training that may be done a second time for pictures.
const LARGEST_SHARE: f64 = 0.1;

/// Floating-point operations of matrix products that a core of the CPU does in a second or so: cells that take no more
/// are trained again however short the run was.
const A_SECOND: f64 = 2e10;

/// Cells that take more are not trained again, however long the run was: a minute or so of one core.
const MOST: f64 = 60.0 * A_SECOND;

/// Whether chosen cells are trained once more for their embeddings.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ExemplarArgs {
    /// Write no embeddings of the best, the worst and a boundary cell, of which the report draws pictures
    #[arg(long)]
    pub no_exemplars: bool,
}

/// Which training a second time is worth the pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// None.
    None,
    /// What takes a small part of the run, or a second or so.
    Small,
    /// Whatever takes a minute or so at most.
    Any,
}

/// The outcome of writing exemplars.
pub(super) enum Written {
    Table(TableBytes),
    None,
    /// A cell came out differently than its record says, and how.
    Differs(Box<CellRecord>, Vec<String>),
}

/// Chooses the cells, from the tables that are in `dir`, and writes their embeddings; none, and no earlier table left,
/// where there is none to choose or their training is too long. Whether it is does not depend on the machine, so that
/// neither does what a run ends with.
pub(super) fn write(
    dir: &Path,
    sweep: &Sweep,
    reader: &RunReader,
    trainer: &BurnTrainer,
    effort: Effort,
) -> anyhow::Result<Written> {
    remove(dir)?;
    let (axes, zip) = grid_of(sweep);
    let grid = Grid { axes: &axes, zip: &zip };
    let cells = read_columns(&dir.join(CELLS_TABLE), &columns_of_exemplars(grid))?;
    let chosen = exemplars(&cells, &read_table(&dir.join(BOUNDARIES_TABLE))?, grid)?;
    let found: BTreeMap<&str, &Cell> = sweep.cells.iter().map(|cell| (cell.id.as_str(), cell)).collect();
    let flops = |cell: &&Cell| training_flops(&cell.config);
    let again: f64 = chosen.iter().filter_map(|e| found.get(e.cell_id.as_str())).map(flops).sum();
    let all: f64 = sweep.cells.iter().map(|cell| flops(&cell)).sum();
    let too_much = effort != Effort::Any && again > A_SECOND.max(LARGEST_SHARE * all);
    if again > MOST || too_much {
        output::note(&format!(
            "no {EXEMPLARS_TABLE}: training {} again takes {} of the run",
            output::count(chosen.len(), "cell"),
            rounded(again / all)
        ));
        return Ok(Written::None);
    }
    let mut tables = Vec::new();
    for exemplar in &chosen {
        let record = reader.record(&exemplar.cell_id)?;
        let retrained = checked::retrain(trainer, &record)?;
        let differing = differences(&record, &retrained.outcome);
        if !differing.is_empty() {
            return Ok(Written::Differs(Box::new(record), differing));
        }
        let config = checked::cell(&record)?.config;
        tables.push((exemplar, embed::table(&config, &config.confounder, &retrained.test)?));
    }
    if tables.is_empty() {
        return Ok(Written::None);
    }
    let (frame, info) = together(tables)?;
    let path = dir.join(EXEMPLARS_TABLE);
    make_way(dir, EXEMPLARS_TABLE)?.iter().for_each(|aside| say_set_aside(&path, aside));
    Ok(Written::Table(write_table(&path, &frame, &info)?))
}

/// Removes the table of an earlier state of the run.
pub(super) fn remove(dir: &Path) -> anyhow::Result<()> {
    remove_own(dir, EXEMPLARS_TABLE)?;
    Ok(())
}

/// One table of all cells, with the columns that any of them has: null where a cell lacks one.
fn together(tables: Vec<(&Exemplar, (DataFrame, TableInfo))>) -> anyhow::Result<(DataFrame, TableInfo)> {
    let own = |name: &str, role: &str, about: &str| (name.to_string(), ColumnInfo::new(role, "", about));
    let mut columns: BTreeMap<String, ColumnInfo> = BTreeMap::from([
        own(
            "role",
            "index",
            "what the cell stands for: baseline, the greatest mean of retrieval_at_1_i2t over seeds; worst, the least; \
             boundary, the nearest to where a constraint flips",
        ),
        own("cell_id", "id", "the first seed's cell of that combination of levels"),
    ]);
    columns.extend(tables.iter().flat_map(|(_, (_, info))| info.columns.clone()));
    // The widest table has the order of all.
    let widest = tables.iter().map(|(_, (frame, _))| frame).max_by_key(|frame| frame.width());
    let order: Vec<(String, DataType)> = widest
        .map(|frame| frame.columns().iter().map(|c| (c.name().to_string(), c.dtype().clone())).collect())
        .unwrap_or_default();
    let mut all: Option<DataFrame> = None;
    for (exemplar, (frame, _)) in &tables {
        let rows = frame.height();
        let constant =
            |name: &str, value: &str| -> Column { Series::new(name.into(), vec![value; rows]).into_column() };
        let mut columns = vec![constant("role", exemplar.role.name()), constant("cell_id", &exemplar.cell_id)];
        for (name, dtype) in &order {
            columns.push(match frame.column(name) {
                Ok(column) => column.clone(),
                Err(_) => Column::full_null(name.as_str().into(), rows, dtype),
            });
        }
        let frame = DataFrame::new_infer_height(columns)?;
        match &mut all {
            Some(all) => {
                all.vstack_mut(&frame)?;
            }
            None => all = Some(frame),
        }
    }
    let frame = all.context("no cells")?;
    Ok((frame, TableInfo::new("exemplars", columns)))
}
