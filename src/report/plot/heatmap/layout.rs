//! Which axes a heatmap has, and which of their levels are drawn.

use std::collections::BTreeMap;

use serde_json::Value;

use super::along::edges;
use super::tables::{Row, Surface};
use super::{Along, LeftOut, Tile};
use crate::numerics::shown;
use crate::report::rows::Level;
use crate::spec::{Axis, Scale, Sweep};

/// Most panels of one figure.
const MAX_PANELS: usize = 12;
/// Most tiles of one figure, and so rows of its data.
const MAX_TILES: usize = 2_000;
/// Most tiles along an axis of a panel: what is left of them on a screen can still be told apart.
const MAX_ACROSS: usize = 90;
const MAX_UP: usize = 60;

/// An axis with the levels of the grid and those that only cells beside it have.
#[derive(Clone, Debug)]
pub struct Levels {
    pub path: String,
    pub grid: Vec<Value>,
    /// All levels, ascending, grid and others.
    pub all: Vec<Value>,
    /// How they are written.
    pub shown: shown::Levels,
    /// Number among `all`, by the level with all its digits.
    rank: BTreeMap<String, usize>,
    /// For each of all levels its number on the grid.
    on_grid: Vec<Option<usize>>,
}

impl Levels {
    fn of(sweep: &Sweep, axis: &Axis) -> Self {
        let all = sweep.all_levels(axis);
        let rank = all.iter().enumerate().map(|(i, level)| (shown::level(level), i)).collect();
        let grid: BTreeMap<String, usize> = axis.levels.iter().map(shown::level).zip(0..).collect();
        let on_grid = all.iter().map(|level| grid.get(&shown::level(level)).copied()).collect();
        let shown = shown::Levels::of(&all);
        Self { path: axis.path.clone(), grid: axis.levels.clone(), all, shown, rank, on_grid }
    }

    /// The number of a level among all.
    pub fn rank(&self, level: &Value) -> Option<usize> {
        self.rank.get(&shown::level(level)).copied()
    }

    /// The number of a level on the grid.
    pub fn grid_rank(&self, level: &Value) -> Option<usize> {
        self.on_grid[self.rank(level)?]
    }
}

/// The axes of a run's heatmaps.
#[derive(Clone, Debug)]
pub struct Layout {
    pub x: Levels,
    pub y: Levels,
    /// Axes that panels are at levels of.
    pub others: Vec<Levels>,
    x_axis: Axis,
    y_axis: Axis,
}

impl Layout {
    /// The two axes with the most levels, the one with more across; none where there are no two. Of axes that advance
    /// together the first stands for all.
    pub fn of(sweep: &Sweep) -> Option<Self> {
        let follows = |path: &str| sweep.zip.iter().any(|zip| zip.paths.iter().skip(1).any(|p| p == path));
        let mut axes: Vec<&Axis> =
            sweep.axes.iter().filter(|a| a.path != "seed" && a.levels.len() > 1 && !follows(&a.path)).collect();
        axes.sort_by_key(|axis| std::cmp::Reverse(axis.levels.len()));
        let is_numeric = |axis: &Axis| Scale::of(&axis.path, axis.levels.iter().filter_map(Value::as_f64)).is_some();
        let [first, second, rest @ ..] = axes.as_slice() else { return None };
        // Boundaries run along numbers, and refined levels are drawn across.
        let order = |axis: &Axis| (is_numeric(axis), sweep.all_levels(axis).len());
        let (x, y) = if order(second) > order(first) { (second, first) } else { (first, second) };
        Some(Self {
            x: Levels::of(sweep, x),
            y: Levels::of(sweep, y),
            others: rest.iter().map(|axis| Levels::of(sweep, axis)).collect(),
            x_axis: (*x).clone(),
            y_axis: (*y).clone(),
        })
    }

    /// What is drawn of a surface.
    pub fn view(&self, surface: &Surface) -> View<'_> {
        let mut panels: Vec<Vec<usize>> = surface.keys().map(|(panel, _, _)| panel.clone()).collect();
        panels.dedup();
        let every = panels.len().div_ceil(MAX_PANELS).max(1);
        let shown: Vec<Vec<usize>> = panels.iter().step_by(every).cloned().collect();
        let most = MAX_TILES / shown.len().max(1);
        let (mut x_every, mut y_every) = (1, 1);
        let (nx, ny) = (self.x.grid.len(), self.y.grid.len());
        loop {
            let (across, up) = (nx.div_ceil(x_every), ny.div_ceil(y_every));
            if across <= MAX_ACROSS && up <= MAX_UP && across * up <= most {
                break;
            }
            if across * MAX_UP >= up * MAX_ACROSS { x_every += 1 } else { y_every += 1 }
        }
        let thin = |levels: &[Value], every: usize| levels.iter().step_by(every).cloned().collect::<Vec<_>>();
        let x = Along::new(&self.x_axis, &thin(&self.x.grid, x_every), self.x.shown);
        let y = Along::new(&self.y_axis, &thin(&self.y.grid, y_every), self.y.shown);
        let left_out = LeftOut { x_every, y_every, panels: panels.len() - shown.len(), beside: 0 };
        let mut view = View { layout: self, x, y, panels: shown, left_out, beside: false };
        // Levels beside the grid are drawn where nothing had to be thinned, and all fit.
        if x_every == 1 && y_every == 1 && self.x.all.len() > nx {
            view.beside = true;
            let tiles: usize = view.panels.iter().map(|panel| view.tiles(panel, surface).len()).sum();
            view.beside = tiles <= MAX_TILES;
        }
        view
    }
}

/// The drawn part of a surface.
#[derive(Clone, Debug)]
pub struct View<'a> {
    layout: &'a Layout,
    pub x: Along,
    pub y: Along,
    /// Numbers of the levels of the other axes on their grids.
    pub panels: Vec<Vec<usize>>,
    pub left_out: LeftOut,
    /// Whether levels of x beside the grid are drawn.
    beside: bool,
}

impl View<'_> {
    /// The number among the drawn levels of y of a level of the grid.
    pub fn drawn_y(&self, on_grid: usize) -> Option<usize> {
        let every = self.left_out.y_every;
        on_grid.is_multiple_of(every).then_some(on_grid / every)
    }

    /// The tiles of a panel, by y and x. A level of the grid without cells leaves a hole.
    pub fn tiles(&self, panel: &[usize], surface: &Surface) -> Vec<Tile> {
        let x = &self.layout.x;
        let up = edges(&self.y.places);
        let mut tiles = Vec::new();
        for (drawn, up) in up.iter().enumerate() {
            let y = drawn * self.left_out.y_every;
            let row = |at: usize| surface.get(&(panel.to_vec(), y, at));
            // Levels of the grid keep their places, with cells or without.
            let wanted = |at: &usize| match x.on_grid[*at] {
                Some(on_grid) => on_grid.is_multiple_of(self.left_out.x_every),
                None => self.beside && row(*at).is_some(),
            };
            let of_row: Vec<usize> = (0..x.all.len()).filter(wanted).collect();
            let place = |at: &usize| match x.on_grid[*at] {
                Some(on_grid) => self.x.places[on_grid / self.left_out.x_every],
                None => x.all[*at].as_f64().and_then(|level| self.x.place_of(level)).unwrap_or(0.0),
            };
            let places: Vec<f64> = of_row.iter().map(place).collect();
            for (at, (mut low, mut high)) in of_row.iter().zip(edges(&places)) {
                // The outermost levels of the grid fill the panel, however near their neighbours are.
                let drawn = x.on_grid[*at].map(|on_grid| on_grid / self.left_out.x_every);
                low = if drawn == Some(0) { 0.0 } else { low };
                high = if drawn == Some(self.x.places.len() - 1) { 1.0 } else { high };
                let Some(Row { value, interval, n, cells, shares }) = row(*at).cloned() else { continue };
                let (beside, across) = (drawn.is_none(), (low, high));
                let level = |levels: &Levels, value: Option<&Value>| Level::of(value?, levels.shown);
                let of_y = &self.layout.y;
                let (Some(x), Some(y)) = (level(x, x.all.get(*at)), level(of_y, of_y.grid.get(y))) else { continue };
                tiles.push(Tile { x, y, beside, across, up: *up, value, interval, n, cells, shares });
            }
        }
        tiles
    }

    /// Combinations at levels of x beside the grid that are not drawn.
    pub fn beside_drawn(&self, surface: &Surface) -> usize {
        let x = &self.layout.x;
        if self.beside { 0 } else { surface.keys().filter(|(_, _, at)| x.on_grid[*at].is_none()).count() }
    }
}
