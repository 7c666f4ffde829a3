//! Lines through a run: one axis varies, the others but the seed are fixed.

use std::collections::HashMap;
use std::ops::Range;

use polars_core::prelude::{AnyValue, Column, DataFrame, PolarsResult};
use rayon::slice::ParallelSliceMut;
use serde_json::Value;

use super::ranks::{paired, ranks_of};
use super::summary::AxisLevels;
use crate::spec::{Gate, Scale};
use crate::store::param_column;

/// The value of a column of levels at a row.
pub fn value_at(column: &Column, row: usize) -> PolarsResult<Value> {
    Ok(match column.get(row)? {
        AnyValue::Int64(value) => Value::from(value),
        AnyValue::Float64(value) => Value::from(value),
        AnyValue::Boolean(value) => Value::from(value),
        AnyValue::String(value) => Value::from(value),
        _ => Value::Null,
    })
}

/// One axis of a table of cells.
#[derive(Clone, Debug)]
pub struct AxisRanks {
    pub path: String,
    /// None where levels are not numbers.
    pub scale: Option<Scale>,
    /// The distinct levels of the table, ascending.
    pub levels: Vec<Value>,
    /// Where each level lies on the scale; empty without one.
    pub coordinates: Vec<f64>,
    /// For each row of the table the rank of its level.
    pub of_row: Vec<u32>,
    /// For each level whether the grid of the sweep has it; refinement adds others.
    on_grid: Vec<bool>,
}

impl AxisRanks {
    fn new(cells: &DataFrame, path: &str, grid: Option<&[Value]>) -> PolarsResult<Self> {
        let column = cells.column(&param_column(path))?;
        let of_row = ranks_of(column)?;
        let mut first: Vec<usize> = vec![0; of_row.iter().max().map_or(0, |most| *most as usize + 1)];
        of_row.iter().enumerate().rev().for_each(|(row, rank)| first[*rank as usize] = row);
        let levels = first.iter().map(|row| value_at(column, *row)).collect::<PolarsResult<Vec<_>>>()?;
        let numbers: Option<Vec<f64>> = levels.iter().map(Value::as_f64).collect();
        let scale = numbers.as_ref().and_then(|numbers| Scale::of(path, numbers.iter().copied()));
        let coordinates =
            scale.zip(numbers).map(|(scale, numbers)| numbers.iter().map(|x| scale.coordinate(*x)).collect());
        // Numbers that are equal are written alike.
        let known: Option<HashMap<String, ()>> = grid.map(|g| g.iter().map(|level| (level.to_string(), ())).collect());
        let on_grid = |level: &Value| known.as_ref().is_none_or(|known| known.contains_key(&level.to_string()));
        let on_grid = levels.iter().map(on_grid).collect();
        Ok(Self {
            path: path.to_string(),
            scale,
            levels,
            coordinates: coordinates.unwrap_or_default(),
            of_row,
            on_grid,
        })
    }

    /// The level of a rank as a number; NaN where it is none.
    pub fn number(&self, rank: u32) -> f64 {
        self.levels.get(rank as usize).and_then(Value::as_f64).unwrap_or(f64::NAN)
    }

    /// Whether the grid of the sweep has a level.
    pub fn is_on_grid(&self, rank: u32) -> bool {
        self.on_grid[rank as usize]
    }

    /// Whether levels are whole numbers.
    pub fn is_whole(&self) -> bool {
        self.levels.iter().all(Value::is_i64)
    }
}

/// Where the cells of a table lie on the axes of their sweep.
#[derive(Clone, Debug)]
pub struct Places {
    /// The axes of the sweep but the seed.
    pub axes: Vec<AxisRanks>,
    pub seeds: AxisRanks,
    /// For each axis those that advance with it, itself included.
    zipped: Vec<Vec<usize>>,
}

/// What fixes a run's lines, beside its table of cells.
#[derive(Clone, Copy, Debug)]
pub struct Grid<'a> {
    /// Every axis with the levels of its grid.
    pub axes: &'a [AxisLevels],
    /// Groups of axes that advance together.
    pub zip: &'a [Vec<String>],
}

impl Places {
    /// Places the rows of `cells`, a table like `cells.parquet`. A table without rows has no places.
    ///
    /// # Errors
    /// A column of a parameter that is not there.
    pub fn new(cells: &DataFrame, grid: Grid<'_>) -> PolarsResult<Self> {
        let none = DataFrame::new_infer_height(vec![Column::new_empty(
            "param_seed".into(),
            &polars_core::prelude::DataType::Int64,
        )])?;
        let empty = cells.height() == 0;
        let axes: Vec<&AxisLevels> = grid.axes.iter().filter(|(path, _)| path != "seed" && !empty).collect();
        let seeds = AxisRanks::new(if empty { &none } else { cells }, "seed", None)?;
        let axes = axes
            .into_iter()
            .map(|(path, levels)| AxisRanks::new(cells, path, Some(levels)))
            .collect::<PolarsResult<Vec<_>>>()?;
        let together = |axis: usize| {
            let group = grid.zip.iter().find(|group| group.contains(&axes[axis].path));
            let member =
                |other: &usize| *other == axis || group.is_some_and(|group| group.contains(&axes[*other].path));
            (0..axes.len()).filter(member).collect()
        };
        let zipped = (0..axes.len()).map(together).collect();
        Ok(Self { axes, seeds, zipped })
    }

    /// The axes along which something can be located: of numbers, with two levels or more, and of a group that advances
    /// together only one whose levels differ in every row of the group, since others say where it is and not it alone.
    pub fn numeric_axes(&self) -> impl Iterator<Item = usize> {
        (0..self.axes.len()).filter(|axis| self.axes[*axis].coordinates.len() > 1 && self.tells_its_group(*axis))
    }

    fn tells_its_group(&self, axis: usize) -> bool {
        let along = &self.axes[axis];
        self.zipped[axis].iter().filter(|other| **other != axis).all(|other| {
            let mut partner: Vec<Option<u32>> = vec![None; along.levels.len()];
            let rows = along.of_row.iter().zip(&self.axes[*other].of_row);
            rows.into_iter().all(|(rank, other)| *partner[*rank as usize].get_or_insert(*other) == *other)
        })
    }

    /// The axes that are fixed on the lines along `axis`.
    pub fn fixed(&self, axis: usize) -> Vec<usize> {
        (0..self.axes.len()).filter(|other| !self.zipped[axis].contains(other)).collect()
    }

    /// For each row whether a gate judges it.
    pub fn covered(&self, gate: &Gate) -> Vec<bool> {
        let mut covered = vec![true; self.seeds.of_row.len()];
        for (path, scope) in &gate.scope {
            let Some(axis) = self.axes.iter().chain([&self.seeds]).find(|axis| axis.path == *path) else {
                covered.fill(false);
                continue;
            };
            let inside: Vec<bool> = axis.levels.iter().map(|level| scope.covers(level)).collect();
            covered.iter_mut().zip(&axis.of_row).for_each(|(covered, rank)| *covered &= inside[*rank as usize]);
        }
        covered
    }

    /// Whether a gate can judge a level of an axis, whatever the levels of the others.
    pub fn may_cover(gate: &Gate, path: &str, level: &Value) -> bool {
        gate.scope.get(path).is_none_or(|scope| scope.covers(level))
    }

    /// The lines along an axis, ascending by the levels that they fix. Of those at levels that the grid of the sweep does
    /// not have, only lines with every level of the grid along this axis: the others are the few points at which another
    /// axis was refined.
    pub fn lines(&self, axis: usize) -> Lines<'_> {
        let fixed = self.fixed(axis);
        let along = &self.axes[axis];
        let mut of_line = vec![0; self.seeds.of_row.len()];
        for other in &fixed {
            of_line = paired(&of_line, &self.axes[*other].of_row);
        }
        let mut order: Vec<u32> = (0..self.seeds.of_row.len() as u32).collect();
        let place = |row: u32| {
            let row = row as usize;
            (of_line[row], self.seeds.of_row[row], along.of_row[row], row)
        };
        order.par_sort_unstable_by_key(|row| place(*row));
        let on_grid = along.on_grid.iter().filter(|on_grid| **on_grid).count();
        let is_kept = |rows: &[u32]| {
            let first = rows[0] as usize;
            if fixed.iter().all(|other| self.axes[*other].is_on_grid(self.axes[*other].of_row[first])) {
                return true;
            }
            let mut there = vec![false; along.levels.len()];
            rows.iter().for_each(|row| there[along.of_row[*row as usize] as usize] = true);
            along.on_grid.iter().zip(there).filter(|(on_grid, there)| **on_grid && *there).count() == on_grid
        };
        let (mut kept, mut ends) = (Vec::with_capacity(order.len()), Vec::new());
        for rows in order.chunk_by(|a, b| of_line[*a as usize] == of_line[*b as usize]).filter(|rows| is_kept(rows)) {
            kept.extend_from_slice(rows);
            ends.push(kept.len());
        }
        Lines { places: self, axis, fixed, order: kept, ends }
    }
}

/// All lines along one axis.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    places: &'a Places,
    pub axis: usize,
    /// The axes whose levels a line fixes.
    pub fixed: Vec<usize>,
    /// Rows of the table by line, then seed, then level.
    order: Vec<u32>,
    /// Where each line ends in `order`.
    ends: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn along(&self) -> &'a AxisRanks {
        &self.places.axes[self.axis]
    }

    /// A line by its number.
    pub fn line(&self, number: usize) -> Line<'_> {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.at(start..self.ends[number])
    }

    fn at(&self, range: Range<usize>) -> Line<'_> {
        let rows = &self.order[range];
        let (along, seeds) = (self.along(), &self.places.seeds.of_row);
        let mut levels: Vec<u32> = rows.iter().map(|row| along.of_row[*row as usize]).collect();
        levels.sort_unstable();
        levels.dedup();
        let by_seed = rows.chunk_by(|a, b| seeds[*a as usize] == seeds[*b as usize]).collect();
        Line { rows, levels, by_seed }
    }

    /// Path and level of a fixed axis on a line.
    pub fn fixed_level(&self, line: &Line<'_>, axis: usize) -> (&'a str, &'a Value) {
        let axis = &self.places.axes[axis];
        (&axis.path, &axis.levels[axis.of_row[line.rows[0] as usize] as usize])
    }

    /// The seed of a row.
    pub fn seed(&self, row: u32) -> i64 {
        let seeds = &self.places.seeds;
        seeds.levels[seeds.of_row[row as usize] as usize].as_i64().unwrap_or_default()
    }

    /// The rank of a row's level on the axis.
    pub fn rank(&self, row: u32) -> u32 {
        self.along().of_row[row as usize]
    }
}

/// The cells of one line.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// By seed, then level; at least one.
    pub rows: &'a [u32],
    /// Ranks of the levels that any seed has here, ascending.
    pub levels: Vec<u32>,
    /// The rows of each seed, by level.
    pub by_seed: Vec<&'a [u32]>,
}
