//! Crossing, zipping, excluding and including levels: from axes to the list of combinations, in canonical order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::diagnostic::{Diagnostic, Site};
use super::draft::{Draft, Term, Want};
use super::include;
use super::params::Param;
use super::scalar::compare;
use super::sweep::{Axis, Exclude, Include, Zip};
use super::tree::At;

/// The combinations of a sweep.
#[derive(Debug)]
pub(super) struct Grid {
    /// Sorted by path, levels ascending and distinct.
    pub axes: Vec<Axis>,
    pub zip: Vec<Zip>,
    pub exclude: Vec<Exclude>,
    /// The cells that are not on the grid.
    pub include: Vec<Include>,
    /// `axes` with the levels that only those cells have.
    pub all: Vec<Axis>,
    /// One rank per axis of `all`, ascending.
    pub combinations: Vec<Vec<u32>>,
}

/// Axes that advance together: one, or a zip group. `rows` holds one rank per axis.
pub(super) struct Dimension {
    pub axes: Vec<usize>,
    pub rows: Vec<Vec<u32>>,
}

/// The number of combinations before excludes and includes, without making any.
///
/// # Errors
/// A zip group whose axes differ in length, or that names something that is not an axis of its own.
pub(super) fn count(draft: &Draft) -> Result<u128, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut zipped: BTreeMap<&str, &Site> = BTreeMap::new();
    let mut cells = 1u128;
    for group in &draft.zip {
        let mut first: Option<(&At<&Param>, u64)> = None;
        for member in &group.value {
            let path = member.value.path;
            let Some(axis) = draft.axes.get(path) else {
                problems.push(not_an_axis(path, &member.site, draft));
                continue;
            };
            if let Some(other) = zipped.insert(path, &member.site) {
                let mut problem = Diagnostic::new(&member.site, format!("`{path}` is zipped twice"), "name it once");
                problem.related.push((other.clone(), "first named here".to_string()));
                problems.push(problem);
            }
            match first {
                Some((lead, levels)) if levels != axis.len() => {
                    let message = format!(
                        "zipped axes differ in length: `{}` has {levels} levels and `{path}` has {}",
                        lead.value.path,
                        axis.len()
                    );
                    let help = "give them the same number of levels, or drop the zip to cross them";
                    let mut problem = Diagnostic::new(&axis.site, message, help);
                    problem.related.push((group.site.clone(), "zipped here".to_string()));
                    problems.push(problem);
                }
                Some(_) => {}
                None => first = Some((member, axis.len())),
            }
        }
        cells = cells.saturating_mul(first.map_or(1, |(_, levels)| u128::from(levels)));
    }
    let crossed = draft.axes.values().filter(|axis| !zipped.contains_key(axis.param.path));
    let cells = crossed.fold(cells, |product, axis| product.saturating_mul(u128::from(axis.len())));
    if problems.is_empty() { Ok(cells) } else { Err(problems) }
}

pub(super) fn not_an_axis(path: &str, site: &Site, draft: &Draft) -> Diagnostic {
    let axes: Vec<&str> = draft.axes.keys().copied().collect();
    let help =
        if axes.is_empty() { "this spec has no axes".to_string() } else { format!("the axes are {}", axes.join(", ")) };
    Diagnostic::new(site, format!("`{path}` is not an axis of this spec"), help)
}

/// Makes every combination. [`count`] must have succeeded.
///
/// # Errors
/// A repeated level or zipped row; an exclude that names no axis, a value that is no level, or that matches nothing;
/// excludes that leave nothing; an include that names no axis, or only a part of a zip group.
pub(super) fn build(draft: &Draft) -> Result<Grid, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut written = Vec::new();
    for axis in draft.axes.values() {
        match axis.values() {
            Ok(values) => written.push(values),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let params: Vec<&Param> = draft.axes.values().map(|axis| axis.param).collect();
    let axes: Vec<Axis> = params.iter().zip(&written).map(|(param, values)| canonical(param, values)).collect();
    let ranks: Vec<Vec<u32>> = (0..axes.len()).map(|i| rank(params[i], &axes[i], &written[i])).collect();

    let index = |path: &str| params.iter().position(|param| param.path == path);
    let mut dimensions = Vec::new();
    for group in &draft.zip {
        let members: Vec<usize> = group.value.iter().filter_map(|member| index(member.value.path)).collect();
        dimensions.push(dimension(members, &ranks));
    }
    for single in 0..axes.len() {
        if dimensions.iter().all(|d: &Dimension| !d.axes.contains(&single)) {
            dimensions.push(dimension(vec![single], &ranks));
        }
    }
    for dimension in &dimensions {
        problems.extend(repeats(dimension, &params, &written));
    }
    let (exclude, masks) = resolve_excludes(draft, &params, &axes, &mut problems);
    let entries = include::resolve(draft, &params, &axes, &dimensions, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut grid = Grid {
        zip: zips(&dimensions, &axes),
        all: axes.clone(),
        axes,
        exclude: Vec::new(),
        include: Vec::new(),
        combinations: cross(&dimensions),
    };
    leave_out(&mut grid, draft, exclude, &masks)?;
    include::add(&mut grid, &params, &dimensions, &entries);
    Ok(grid)
}

fn canonical(param: &Param, written: &[At<Value>]) -> Axis {
    let mut levels: Vec<Value> = written.iter().map(|at| at.value.clone()).collect();
    levels.sort_by(|a, b| compare(param, a, b));
    levels.dedup();
    Axis { path: param.path.to_string(), levels }
}

/// The rank of each written level among the canonical ones.
fn rank(param: &Param, axis: &Axis, written: &[At<Value>]) -> Vec<u32> {
    let find = |value: &Value| axis.levels.partition_point(|level| compare(param, level, value).is_lt()) as u32;
    written.iter().map(|at| find(&at.value)).collect()
}

fn dimension(axes: Vec<usize>, ranks: &[Vec<u32>]) -> Dimension {
    let length = axes.first().map_or(0, |first| ranks[*first].len());
    let rows = (0..length).map(|i| axes.iter().map(|axis| ranks[*axis][i]).collect()).collect();
    Dimension { axes, rows }
}

/// Levels of one axis, or rows of one zip group, that are written more than once.
fn repeats(dimension: &Dimension, params: &[&Param], written: &[Vec<At<Value>>]) -> Vec<Diagnostic> {
    let Some(&lead) = dimension.axes.first() else { return Vec::new() };
    let mut seen: BTreeMap<&[u32], usize> = BTreeMap::new();
    let mut problems = Vec::new();
    for (i, row) in dimension.rows.iter().enumerate() {
        let Some(first) = seen.insert(row, i) else { continue };
        let value = |axis: &usize| format!("`{}` = {}", params[*axis].path, written[*axis][i].value);
        let text: Vec<String> = dimension.axes.iter().map(value).collect();
        let levels = &written[lead];
        let (message, help) = match dimension.axes.len() {
            1 => {
                (format!("the level {} is repeated", text.join(", ")), "a level is one point of an axis: write it once")
            }
            _ => (format!("the zipped levels {} are repeated", text.join(", ")), "write each combination once"),
        };
        let mut problem = Diagnostic::new(&levels[i].site, message, help);
        // A range has one place for all of its levels.
        if levels[first].site != levels[i].site {
            problem.related.push((levels[first].site.clone(), "first here".to_string()));
        }
        problems.push(problem);
    }
    problems
}

fn zips(dimensions: &[Dimension], axes: &[Axis]) -> Vec<Zip> {
    let mut zips: Vec<Zip> = dimensions
        .iter()
        .filter(|dimension| dimension.axes.len() > 1)
        .map(|dimension| {
            let mut order: Vec<usize> = (0..dimension.axes.len()).collect();
            order.sort_by_key(|i| dimension.axes[*i]);
            let mut rows: Vec<Vec<u32>> =
                dimension.rows.iter().map(|row| order.iter().map(|i| row[*i]).collect()).collect();
            rows.sort_unstable();
            let members: Vec<&Axis> = order.iter().map(|i| &axes[dimension.axes[*i]]).collect();
            let value = |row: &Vec<u32>| {
                members.iter().zip(row).map(|(axis, rank)| axis.levels[*rank as usize].clone()).collect()
            };
            Zip {
                paths: members.iter().map(|axis| axis.path.clone()).collect(),
                rows: rows.iter().map(value).collect(),
            }
        })
        .collect();
    zips.sort_by(|a, b| a.paths.cmp(&b.paths));
    zips
}

pub(super) fn cross(dimensions: &[Dimension]) -> Vec<Vec<u32>> {
    let width = dimensions.iter().map(|dimension| dimension.axes.len()).sum();
    let mut combinations = vec![vec![0u32; width]];
    for dimension in dimensions {
        let mut longer = Vec::with_capacity(combinations.len() * dimension.rows.len());
        for combination in &combinations {
            for row in &dimension.rows {
                let mut next = combination.clone();
                dimension.axes.iter().zip(row).for_each(|(axis, rank)| next[*axis] = *rank);
                longer.push(next);
            }
        }
        combinations = longer;
    }
    combinations.sort_unstable();
    combinations
}

/// For one exclude: the axes it names and, for each, the ranks it takes.
type Mask = Vec<(usize, BTreeSet<u32>)>;

fn resolve_excludes(
    draft: &Draft,
    params: &[&Param],
    axes: &[Axis],
    problems: &mut Vec<Diagnostic>,
) -> (Vec<Exclude>, Vec<Mask>) {
    let mut resolved = Vec::new();
    let mut masks = Vec::new();
    for exclude in &draft.exclude {
        let mut table: Exclude = BTreeMap::new();
        let mut mask: Mask = Vec::new();
        for term in &exclude.value {
            let path = term.param.path;
            let Some(index) = params.iter().position(|param| param.path == path) else {
                problems.push(not_an_axis(path, &term.site, draft));
                continue;
            };
            let replaced = draft.axes.get(path).is_some_and(|axis| axis.from_flag);
            if !replaced {
                problems.extend(strangers(term, &axes[index]));
            }
            let ranks: BTreeSet<u32> = (0u32..)
                .zip(&axes[index].levels)
                .filter(|(_, level)| takes(term, level))
                .map(|(rank, _)| rank)
                .collect();
            let values = ranks.iter().map(|rank| axes[index].levels[*rank as usize].clone()).collect();
            if table.insert(path.to_string(), values).is_some() {
                let message = format!("this exclude names `{path}` twice");
                problems.push(Diagnostic::new(&term.site, message, "give all its values in one list"));
            }
            mask.push((index, ranks));
        }
        resolved.push(table);
        masks.push(mask);
    }
    (resolved, masks)
}

pub(super) fn takes(term: &Term, level: &Value) -> bool {
    match &term.want {
        Want::AnyOf(values) => values.iter().any(|at| at.value == *level),
        Want::Between { min, max } => {
            min.as_ref().is_none_or(|min| compare(term.param, min, level).is_le())
                && max.as_ref().is_none_or(|max| compare(term.param, level, max).is_le())
        }
    }
}

/// Values of a term that are no level of its axis: a likely slip of the pen that would match too little.
pub(super) fn strangers(term: &Term, axis: &Axis) -> Vec<Diagnostic> {
    let Want::AnyOf(values) = &term.want else { return Vec::new() };
    let stranger = |at: &&At<Value>| !axis.levels.contains(&at.value);
    let problem = |at: &At<Value>| {
        let message = format!("{} is not a level of `{}`", at.value, axis.path);
        Diagnostic::new(&at.site, message, format!("its levels are {}", list(&axis.levels)))
    };
    values.iter().filter(stranger).map(problem).collect()
}

/// Up to eight values, comma-separated.
fn list(values: &[Value]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = values.iter().take(SHOWN).map(Value::to_string).collect();
    let rest = values.len().saturating_sub(SHOWN);
    if rest > 0 { format!("{} and {rest} more", shown.join(", ")) } else { shown.join(", ") }
}

/// Removes what the excludes match. One that matches nothing is an error, unless it names an axis that `--axis`
/// replaced: then it has lost its object and is dropped.
fn leave_out(grid: &mut Grid, draft: &Draft, tables: Vec<Exclude>, masks: &[Mask]) -> Result<(), Vec<Diagnostic>> {
    let hit = |mask: &Mask, row: &Vec<u32>| mask.iter().all(|(axis, ranks)| ranks.contains(&row[*axis]));
    let mut problems = Vec::new();
    for ((exclude, table), mask) in draft.exclude.iter().zip(tables).zip(masks) {
        if grid.combinations.iter().any(|row| hit(mask, row)) {
            grid.exclude.push(table);
        } else if !exclude.value.iter().any(|term| draft.axes.get(term.param.path).is_some_and(|a| a.from_flag)) {
            let help = "a cell must meet all conditions of one [[exclude]]: correct them or remove it";
            problems.push(Diagnostic::new(&exclude.site, "this exclude matches no cell", help));
        }
    }
    grid.combinations.retain(|row| !masks.iter().any(|mask| hit(mask, row)));
    grid.exclude.sort_by_cached_key(|table| format!("{table:?}"));
    grid.exclude.dedup();
    if problems.is_empty()
        && grid.combinations.is_empty()
        && let Some(first) = draft.exclude.first()
    {
        problems.push(Diagnostic::new(&first.site, "the excludes leave no cell", "exclude less"));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}
