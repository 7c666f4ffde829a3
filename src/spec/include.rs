//! Cells beside the grid: what `[[include]]` adds to it, and how a sweep says so in one way only.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;

use super::diagnostic::{Diagnostic, SpecError};
use super::draft::{Draft, Term, Want};
use super::grid::{Dimension, Grid, cross, not_an_axis};
use super::load::{Overrides, from_str};
use super::params::Param;
use super::scalar::compare;
use super::sweep::{Axis, Include, Sweep};
use super::tree::At;

/// Of each dimension of the grid the rows that an entry names, as values; none where it takes the grid's.
pub(super) type Entry = Vec<Option<Vec<Vec<Value>>>>;

/// The number of cells that the includes name, at least as many as they add, without making any.
pub(super) fn count(draft: &Draft) -> u128 {
    let group = |path: &str| draft.zip.iter().position(|group| group.value.iter().any(|m| m.value.path == path));
    let groups: Vec<Option<usize>> = draft.axes.keys().map(|path| group(path)).collect();
    let cells = |include: &At<Vec<Term>>| {
        let mut seen = BTreeSet::new();
        let leads = draft.axes.values().zip(&groups).filter(|(_, group)| group.is_none_or(|group| seen.insert(group)));
        leads.fold(1u128, |product, (axis, _)| {
            let named = include.value.iter().find(|term| term.param.path == axis.param.path);
            product.saturating_mul(named.map_or(u128::from(axis.len()), |term| values(term).len() as u128))
        })
    };
    draft.include.iter().map(cells).fold(0, u128::saturating_add)
}

fn values(term: &Term) -> &[At<Value>] {
    match &term.want {
        Want::AnyOf(values) => values,
        Want::Between { .. } => &[],
    }
}

/// What each include names. Of an axis that a flag replaced it keeps the levels that the axis still has.
///
/// Wrong ones go to `problems`: a name that is no axis or is there twice, a part of a zip group, lists of a group that
/// differ in length.
pub(super) fn resolve(
    draft: &Draft,
    params: &[&Param],
    axes: &[Axis],
    dimensions: &[Dimension],
    problems: &mut Vec<Diagnostic>,
) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(draft.include.len());
    for include in &draft.include {
        let mut terms: BTreeMap<&str, &Term> = BTreeMap::new();
        for term in &include.value {
            let path = term.param.path;
            if !draft.axes.contains_key(path) {
                problems.push(not_an_axis(path, &term.site, draft));
            } else if terms.insert(path, term).is_some() {
                let message = format!("this include names `{path}` twice");
                problems.push(Diagnostic::new(&term.site, message, "give all its values in one list"));
            }
        }
        let narrowed = |axis: usize, value: &Value| {
            let from_flag = draft.axes.get(params[axis].path).is_some_and(|axis| axis.from_flag);
            from_flag && !axes[axis].levels.contains(value)
        };
        let mut entry = Entry::with_capacity(dimensions.len());
        for dimension in dimensions {
            let named: Vec<&Term> =
                dimension.axes.iter().filter_map(|axis| terms.get(params[*axis].path).copied()).collect();
            if let Some(problem) = uneven(&named, dimension, params) {
                problems.push(problem);
                continue;
            }
            let Some(first) = named.first() else {
                entry.push(None);
                continue;
            };
            let row = |i: usize| -> Vec<Value> { named.iter().map(|term| values(term)[i].value.clone()).collect() };
            let there = |row: &Vec<Value>| !dimension.axes.iter().zip(row).any(|(axis, value)| narrowed(*axis, value));
            entry.push(Some((0..values(first).len()).map(row).filter(there).collect()));
        }
        entries.push(entry);
    }
    entries
}

/// Why the named axes of a dimension cannot advance together.
fn uneven(named: &[&Term], dimension: &Dimension, params: &[&Param]) -> Option<Diagnostic> {
    let first = named.first()?;
    let help = "name all axes of the group, with lists of one length that advance together, or none of them";
    let left_out = dimension.axes.iter().map(|axis| params[*axis].path).find(|path| {
        // One axis alone is named, or is not.
        named.len() < dimension.axes.len() && named.iter().all(|term| term.param.path != *path)
    });
    if let Some(path) = left_out {
        let message = format!("`{}` is zipped with `{path}`, which this include does not name", first.param.path);
        return Some(Diagnostic::new(&first.site, message, help));
    }
    let other = named.iter().find(|term| values(term).len() != values(first).len())?;
    let message = format!(
        "zipped axes differ in length: this include gives `{}` {} values and `{}` {}",
        first.param.path,
        values(first).len(),
        other.param.path,
        values(other).len()
    );
    Some(Diagnostic::new(&other.site, message, help))
}

/// Adds the cells of `entries` to a grid whose combinations rank the grid's own levels: afterwards they rank
/// [`Grid::all`].
pub(super) fn add(grid: &mut Grid, params: &[&Param], dimensions: &[Dimension], entries: &[Entry]) {
    if entries.is_empty() {
        return;
    }
    grid.all = widened(&grid.axes, params, dimensions, entries);
    let rank = |axis: usize, value: &Value| {
        grid.all[axis].levels.partition_point(|level| compare(params[axis], level, value).is_lt()) as u32
    };
    // Ranks keep their order, and so do the combinations.
    let moved: Vec<Vec<u32>> = (0..grid.axes.len())
        .map(|axis| grid.axes[axis].levels.iter().map(|level| rank(axis, level)).collect())
        .collect();
    let placed = |axes: &[usize], row: &[u32]| axes.iter().zip(row).map(|(a, r)| moved[*a][*r as usize]).collect();
    let every: Vec<usize> = (0..grid.axes.len()).collect();
    grid.combinations.iter_mut().for_each(|row| *row = placed(&every, row));
    let mut extra = Vec::new();
    for entry in entries {
        let named = |(dimension, rows): (&Dimension, &Option<Vec<Vec<Value>>>)| {
            let of =
                |row: &Vec<Value>| dimension.axes.iter().zip(row).map(|(axis, value)| rank(*axis, value)).collect();
            let rows = match rows {
                Some(rows) => rows.iter().map(of).collect(),
                None => dimension.rows.iter().map(|row| placed(&dimension.axes, row)).collect(),
            };
            Dimension { axes: dimension.axes.clone(), rows }
        };
        let these: Vec<Dimension> = dimensions.iter().zip(entry).map(named).collect();
        extra.extend(cross(&these));
    }
    extra.sort_unstable();
    extra.dedup();
    extra.retain(|row| grid.combinations.binary_search(row).is_err());
    grid.include = spelled_out(&extra, dimensions, &grid.all);
    grid.combinations.append(&mut extra);
    grid.combinations.sort_unstable();
}

/// The axes with the levels that entries name besides.
fn widened(axes: &[Axis], params: &[&Param], dimensions: &[Dimension], entries: &[Entry]) -> Vec<Axis> {
    let mut all = axes.to_vec();
    for (dimension, rows) in entries.iter().flat_map(|entry| dimensions.iter().zip(entry)) {
        for row in rows.iter().flatten() {
            dimension.axes.iter().zip(row).for_each(|(axis, value)| all[*axis].levels.push(value.clone()));
        }
    }
    for (axis, param) in all.iter_mut().zip(params) {
        axis.levels.sort_by(|a, b| compare(param, a, b));
        axis.levels.dedup();
    }
    all
}

/// Combinations as entries that name every axis, sorted: as few as merging along one dimension after the other makes.
/// The same combinations give the same entries, however they were written.
fn spelled_out(extra: &[Vec<u32>], dimensions: &[Dimension], axes: &[Axis]) -> Vec<Include> {
    let mut members: Vec<Vec<usize>> = dimensions.iter().map(|dimension| dimension.axes.clone()).collect();
    members.iter_mut().for_each(|axes| axes.sort_unstable());
    members.sort();
    // A box is a product: of each dimension a set of rows, both by their numbers.
    let mut boxes: Vec<Vec<usize>> = vec![Vec::with_capacity(members.len()); extra.len()];
    let mut rows: Vec<Vec<Vec<u32>>> = Vec::with_capacity(members.len());
    for axes in &members {
        let row = |combination: &Vec<u32>| -> Vec<u32> { axes.iter().map(|axis| combination[*axis]).collect() };
        let distinct: BTreeSet<Vec<u32>> = extra.iter().map(row).collect();
        let distinct: Vec<Vec<u32>> = distinct.into_iter().collect();
        for (one, combination) in boxes.iter_mut().zip(extra) {
            let row = row(combination);
            one.push(distinct.partition_point(|other| *other < row));
        }
        rows.push(distinct);
    }
    let mut sets: Vec<Vec<Vec<usize>>> = Vec::with_capacity(members.len());
    for dimension in 0..members.len() {
        let mut alike: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for mut one in boxes {
            let row = std::mem::take(&mut one[dimension]);
            alike.entry(one).or_default().push(row);
        }
        alike.values_mut().for_each(|set| set.sort_unstable());
        let distinct: BTreeSet<&Vec<usize>> = alike.values().collect();
        let distinct: Vec<Vec<usize>> = distinct.into_iter().cloned().collect();
        let number = |set: &Vec<usize>| distinct.partition_point(|other| other < set);
        boxes = alike
            .into_iter()
            .map(|(mut one, set)| {
                one[dimension] = number(&set);
                one
            })
            .collect();
        sets.push(distinct);
    }
    // Numbers of sets follow their lowest rows, and those follow the levels.
    boxes.sort_unstable();
    let table = |one: &Vec<usize>| -> Include {
        let mut table = Include::new();
        for (dimension, set) in one.iter().enumerate() {
            for (at, axis) in members[dimension].iter().enumerate() {
                let level = |row: &usize| axes[*axis].levels[rows[dimension][*row][at] as usize].clone();
                table.insert(axes[*axis].path.clone(), sets[dimension][*set].iter().map(level).collect());
            }
        }
        table
    };
    boxes.iter().map(table).collect()
}

impl Sweep {
    /// This sweep and the cells of `more`, as further `[[include]]` entries of its spec would have it.
    ///
    /// # Errors
    /// What such an entry can have wrong: a name that is no axis, a value that its parameter does not accept, axes of a
    /// zip group apart, more cells than fit in memory, a combination that cannot be trained.
    pub fn with_includes(&self, more: &[Include]) -> Result<Self, SpecError> {
        from_str(&self.to_toml_with(more), "the spec with more includes", &Overrides::default())
    }

    /// This sweep and the included cells of `earlier`, a state of the same sweep that may have had other axes: a
    /// parameter that was no axis then has the value that it had. None where they would not be the same cells in this
    /// sweep, for instance because it trains differently.
    pub fn with_includes_of(&self, earlier: &Self) -> Option<Self> {
        if earlier.include.is_empty() {
            return Some(self.clone());
        }
        let groups = |sweep: &Self| sweep.zip.iter().map(|zip| zip.paths.clone()).collect::<Vec<_>>();
        let has = |sweep: &Self, path: &str| sweep.axes.iter().any(|axis| axis.path == path);
        let (then, now) = (earlier.base.scalars(), self.base.scalars());
        if groups(self) != groups(earlier) {
            return None;
        }
        let mut entries = earlier.include.clone();
        for entry in &mut entries {
            for axis in self.axes.iter().filter(|axis| !has(earlier, &axis.path)) {
                entry.insert(axis.path.clone(), vec![then.get(&axis.path)?.clone()]);
            }
            for axis in earlier.axes.iter().filter(|axis| !has(self, &axis.path)) {
                let levels = entry.remove(&axis.path)?;
                (levels == [now.get(&axis.path)?.clone()]).then_some(())?;
            }
        }
        // A sweep without axes has one cell, and that is on its grid.
        entries.retain(|entry| !entry.is_empty());
        let grown = self.with_includes(&entries).ok()?;
        let known: HashSet<&str> = self.cells.iter().chain(&earlier.cells).map(|cell| cell.id.as_str()).collect();
        grown.cells.iter().all(|cell| known.contains(cell.id.as_str())).then_some(grown)
    }

    /// How many cells are not on the grid.
    pub fn included(&self) -> usize {
        let follows = |path: &String| self.zip.iter().any(|zip| zip.paths.iter().skip(1).any(|other| other == path));
        let cells = |entry: &Include| -> usize {
            entry.iter().filter(|(path, _)| !follows(path)).map(|(_, levels)| levels.len()).product()
        };
        self.include.iter().map(cells).sum()
    }

    /// The grid's levels of an axis and those that only included cells have, ascending.
    pub fn all_levels(&self, axis: &Axis) -> Vec<Value> {
        let mut levels = axis.levels.clone();
        let Some(param) = super::params::param_at(&axis.path) else { return levels };
        levels.extend(self.include.iter().filter_map(|entry| entry.get(&axis.path)).flatten().cloned());
        levels.sort_by(|a, b| compare(param, a, b));
        levels.dedup();
        levels
    }
}

#[cfg(test)]
mod tests;
