//! Gates: constraints that are written before a run and judged after it, at every combination of levels, across seeds.
//!
//! Gates judge and train nothing: they are in the resolved spec and in the manifest, and in no id and no hash.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::condition::CLEAN;
use super::config::Panel;
use super::diagnostic::{Diagnostic, Site, SpecError};
use super::draft::{Draft, Term, Want, is_name, read_terms};
use super::grid;
use super::load::{Overrides, from_str};
use super::scalar::{by_size, nearest};
use super::sweep::{Axis, Cell, Sweep, levels};
use super::tree::{At, Node, Table};
use crate::metric::{self, descriptor, descriptors, descriptors_of};
use crate::numerics::shown::{Levels, level};

/// What a gate may bound that no metric is: 1 for a cell that collapsed, diverged or failed, 0 for any other.
pub const LOST: &str = "lost";

/// What all gates of a sweep together are called.
pub const ALL_GATES: &str = "all";

/// Seeds without which a gate says nothing, where it does not say so itself: with two, one seed is the spread.
pub const MIN_SEEDS: u64 = 3;
/// Most that can be asked for: more seeds than any run has.
const MOST_SEEDS: u64 = 1_000_000;

const KEYS: [&str; 8] = ["name", "metric", "min", "max", "condition", "where", "share", "min_seeds"];
const FORM: &str = "write metric = \"effective_rank_img\" and min = 8.0, max, or both; then, as wanted, name, condition, where, share, min_seeds";

/// A constraint on one metric under one condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// Lower-case letters, digits and hyphens; unique in a sweep.
    pub name: String,
    /// Of the metric registry, or [`LOST`].
    pub metric: String,
    /// Least value allowed; this or `max` is there, or both.
    pub min: Option<f64>,
    /// Greatest value allowed.
    pub max: Option<f64>,
    /// Under which the metric is measured.
    pub condition: String,
    /// Axis path to the levels that are judged; axes that it does not name are judged at every level.
    #[serde(rename = "where")]
    pub scope: BTreeMap<String, Scope>,
    /// Share of the seeds that must satisfy it at each combination of the other axes; above 0, at most 1.
    pub share: f64,
    /// Seeds at a combination without which there is too little evidence to pass.
    pub min_seeds: u64,
}

/// Levels of one axis.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scope {
    AnyOf(Vec<Value>),
    /// Inclusive; at least one end.
    Between {
        #[serde(skip_serializing_if = "Option::is_none")]
        min: Option<Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max: Option<Value>,
    },
}

impl Scope {
    /// Whether a level is one of them.
    pub fn covers(&self, level: &Value) -> bool {
        // The first is not greater than the second.
        let in_order = |low: &Value, high: &Value| by_size(low, high).is_some_and(Ordering::is_le);
        match self {
            Self::AnyOf(levels) => levels.contains(level),
            Self::Between { min, max } => {
                min.as_ref().is_none_or(|min| in_order(min, level))
                    && max.as_ref().is_none_or(|max| in_order(level, max))
            }
        }
    }

    /// The levels as a phrase that follows the path of the axis.
    pub fn describe(&self) -> String {
        let list = |levels: &[Value]| levels.iter().map(level).collect::<Vec<_>>().join(", ");
        match self {
            Self::AnyOf(levels) if levels.len() == 1 => format!("= {}", list(levels)),
            Self::AnyOf(levels) => format!("in {}", list(levels)),
            Self::Between { min: Some(min), max: Some(max) } => format!("from {} to {}", level(min), level(max)),
            Self::Between { min: Some(min), max: None } => format!(">= {}", level(min)),
            Self::Between { min: None, max } => format!("<= {}", max.as_ref().map_or(String::new(), level)),
        }
    }

    fn to_toml(&self) -> String {
        match self {
            Self::AnyOf(levels) => json!(levels).to_string(),
            Self::Between { min, max } => {
                let end = |key: &str, value: &Option<Value>| value.as_ref().map(|value| format!("{key} = {value}"));
                let ends: Vec<String> = end("min", min).into_iter().chain(end("max", max)).collect();
                format!("{{ {} }}", ends.join(", "))
            }
        }
    }
}

impl Gate {
    /// Whether it judges the cells at these levels.
    pub fn covers(&self, levels: &BTreeMap<String, Value>) -> bool {
        self.scope.iter().all(|(path, scope)| levels.get(path).is_some_and(|level| scope.covers(level)))
    }

    /// How far inside the bounds a value lies, in the metric's unit; below 0 outside of them, 0 on one.
    pub fn margin(&self, value: f64) -> f64 {
        let above = self.min.map_or(f64::INFINITY, |min| value - min);
        let below = self.max.map_or(f64::INFINITY, |max| max - value);
        above.min(below)
    }

    /// A value for people, with as many digits as tell it from the bounds.
    pub fn beside_bounds(&self, value: f64) -> String {
        Levels::of_numbers(self.min.into_iter().chain(self.max).chain([value])).number(value)
    }

    /// The entry of a spec, without its heading.
    pub(super) fn to_toml(&self) -> Vec<(&'static str, String)> {
        let bound = |value: Option<f64>| value.map(|value| json!(value).to_string());
        let scope: Vec<String> =
            self.scope.iter().map(|(path, scope)| format!("{path:?} = {}", scope.to_toml())).collect();
        let entries = [
            ("name", Some(json!(self.name).to_string())),
            ("metric", Some(json!(self.metric).to_string())),
            ("min", bound(self.min)),
            ("max", bound(self.max)),
            ("condition", (self.condition != CLEAN).then(|| json!(self.condition).to_string())),
            ("where", (!scope.is_empty()).then(|| format!("{{ {} }}", scope.join(", ")))),
            ("share", bound(Some(self.share))),
            ("min_seeds", Some(self.min_seeds.to_string())),
        ];
        entries.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

impl Sweep {
    /// This sweep with `gates` in place of its own, and what of them had to be left out: levels under `where` that none of
    /// its axes has. `name` stands for the text in errors.
    ///
    /// # Errors
    /// What a gate of this sweep can have wrong: a condition or an axis that it does not have, a metric that no cell
    /// measures.
    pub fn with_gates(&self, gates: &[Gate], name: &str) -> Result<(Self, Vec<String>), SpecError> {
        let mut dropped = Vec::new();
        let mut gates = gates.to_vec();
        for gate in &mut gates {
            for axis in &self.axes {
                let Some(Scope::AnyOf(wanted)) = gate.scope.get_mut(&axis.path) else { continue };
                let there = self.all_levels(axis);
                wanted.retain(|level| {
                    let kept = there.contains(level);
                    if !kept {
                        dropped.push(format!("gate {}: the run has no {} = {level} to judge", gate.name, axis.path));
                    }
                    kept
                });
            }
        }
        let sweep = Self { gates, ..self.clone() };
        Ok((from_str(&sweep.to_toml(), name, &Overrides::default())?, dropped))
    }
}

/// A gate as far as it can be judged alone.
#[derive(Debug)]
pub(super) struct DraftGate {
    /// The table.
    site: Site,
    name: Option<At<String>>,
    metric: At<String>,
    min: Option<f64>,
    max: Option<f64>,
    condition: Option<At<String>>,
    scope: Vec<Term>,
    share: f64,
    min_seeds: u64,
}

/// Reads one `[[gate]]`; none when too little of it makes sense, with what is wrong in `problems`.
pub(super) fn read(at: &At<Node>, problems: &mut Vec<Diagnostic>) -> Option<DraftGate> {
    let Node::Table(table) = &at.value else {
        let message = format!("a gate is a table, not {}", at.value.describe());
        problems.push(Diagnostic::new(&at.site, message, FORM));
        return None;
    };
    for (key, _) in table.iter().filter(|(key, _)| !KEYS.contains(&key.value.as_str())) {
        let mut problem = Diagnostic::new(&key.site, format!("a gate has no key `{}`", key.value), FORM);
        problem.label = format!("the nearest is `{}`", nearest(&key.value, KEYS));
        problems.push(problem);
    }
    let metric = text(table, "metric", problems);
    let (name, condition) = (text(table, "name", problems), text(table, "condition", problems));
    let (min, max) = (number(table, "min", problems), number(table, "max", problems));
    let share = number(table, "share", problems);
    let min_seeds = min_seeds(table, problems);
    let scope = match get(table, "where").map(|node| (node, &node.value)) {
        None => Vec::new(),
        Some((_, Node::Table(scope))) => read_terms(scope, true, problems),
        Some((node, other)) => {
            let message = format!("`where` takes a table, not {}", other.describe());
            problems.push(Diagnostic::new(&node.site, message, "write where = { \"image.noise\" = { max = 0.5 } }"));
            Vec::new()
        }
    };
    let Some(metric) = metric else {
        if get(table, "metric").is_none() {
            problems.push(Diagnostic::new(&at.site, "a gate has a metric", FORM));
        }
        return None;
    };
    problems.extend(wrong_metric(&metric));
    problems.extend(wrong_bounds(&metric.value, min.as_ref(), max.as_ref(), &at.site));
    if let Some(share) = share.as_ref().filter(|share| share.value <= 0.0 || share.value > 1.0) {
        let message = format!("a share cannot be {}", share.value);
        let help = "it is the share of the seeds that must satisfy the gate: above 0, at most 1";
        problems.push(Diagnostic::new(&share.site, message, help));
    }
    if let Some(name) = name.as_ref().filter(|name| name.value == ALL_GATES) {
        let message = format!("no gate can be named {ALL_GATES:?}");
        problems.push(Diagnostic::new(&name.site, message, "tables call all gates together so: choose another name"));
    }
    if let Some(name) = name.as_ref().filter(|name| !is_name(&name.value)) {
        let help = "a name is of lower-case letters, digits and hyphens, 64 at most, and of one gate only";
        problems.push(Diagnostic::new(&name.site, format!("{:?} cannot be a name", name.value), help));
    }
    let bound = |bound: Option<At<f64>>| bound.map(|at| at.value);
    Some(DraftGate {
        site: at.site.clone(),
        name,
        metric,
        min: bound(min),
        max: bound(max),
        condition,
        scope,
        share: bound(share).unwrap_or(1.0),
        min_seeds,
    })
}

fn get<'a>(table: &'a Table, name: &str) -> Option<&'a At<Node>> {
    table.iter().find(|(key, _)| key.value == name).map(|(_, node)| node)
}

fn text(table: &Table, name: &str, problems: &mut Vec<Diagnostic>) -> Option<At<String>> {
    let node = get(table, name)?;
    if let Node::Text(text) = &node.value {
        return Some(At { value: text.clone(), site: node.site.clone() });
    }
    let message = format!("`{name}` takes text, not {}", node.value.describe());
    problems.push(Diagnostic::new(&node.site, message, "write it in quotes"));
    None
}

fn number(table: &Table, name: &str, problems: &mut Vec<Diagnostic>) -> Option<At<f64>> {
    let node = get(table, name)?;
    let value = match node.value {
        Node::Int(value) => Some(value as f64),
        // Adding zero turns -0.0 into 0.0.
        Node::Float(value) if value.is_finite() => Some(value + 0.0),
        _ => None,
    };
    if value.is_none() {
        let message = format!("`{name}` takes a finite number, not {}", node.value.describe());
        problems.push(Diagnostic::new(&node.site, message, FORM));
    }
    value.map(|value| At { value, site: node.site.clone() })
}

fn min_seeds(table: &Table, problems: &mut Vec<Diagnostic>) -> u64 {
    let Some(node) = get(table, "min_seeds") else { return MIN_SEEDS };
    let allowed = |value: &u64| (1..=MOST_SEEDS).contains(value);
    match node.value {
        Node::Int(value) if u64::try_from(value).is_ok_and(|value| allowed(&value)) => value as u64,
        _ => {
            let message = format!("`min_seeds` cannot be {}", node.value.describe());
            problems.push(Diagnostic::new(
                &node.site,
                message,
                format!("it takes a whole number from 1 to {MOST_SEEDS}"),
            ));
            MIN_SEEDS
        }
    }
}

fn wrong_metric(metric: &At<String>) -> Option<Diagnostic> {
    let name = metric.value.as_str();
    if name == LOST || descriptor(name).is_some() {
        return None;
    }
    let help = format!(
        "`cliffline reference` lists the metrics; `{LOST}` is 1 for a cell that collapsed, diverged or failed, else 0"
    );
    let mut problem = Diagnostic::new(&metric.site, format!("there is no metric {name:?}"), help);
    problem.label = format!("the nearest is {:?}", nearest(name, descriptors().map(|d| d.name).chain([LOST])));
    Some(problem)
}

/// No bound at all, or bounds that no value can satisfy.
fn wrong_bounds(metric: &str, min: Option<&At<f64>>, max: Option<&At<f64>>, gate: &Site) -> Option<Diagnostic> {
    if min.is_none() && max.is_none() {
        return Some(Diagnostic::new(gate, "a gate bounds its metric", FORM));
    }
    if let (Some(min), Some(max)) = (min, max)
        && min.value > max.value
    {
        let message = format!("no value is at least {} and at most {}", min.value, max.value);
        return Some(Diagnostic::new(&min.site, message, "exchange `min` and `max`, or keep one of them"));
    }
    let range = descriptor(metric).map(|d| d.range);
    let (low, high) = range.or((metric == LOST).then_some((0.0, 1.0)))?;
    let above = min.filter(|min| min.value > high).map(|min| (min, "at least"));
    let below = max.filter(|max| max.value < low).map(|max| (max, "at most"));
    let (bound, word) = above.or(below)?;
    let message = format!("`{metric}` is never {word} {}", bound.value);
    Some(Diagnostic::new(&bound.site, message, format!("its values are from {low} to {high}")))
}

/// The gates of a sweep, in the order of the spec.
///
/// # Errors
/// A name given twice; a condition or an axis that is not of this spec; a level that its axis does not have; a gate that
/// judges no cell, or a metric that no cell measures.
pub(super) fn resolve(draft: &Draft, axes: &[Axis], cells: &[Cell]) -> Result<Vec<Gate>, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for name in draft.gates.iter().filter_map(|gate| gate.name.as_ref()) {
        if !taken.insert(name.value.clone()) {
            let message = format!("there are two gates {:?}", name.value);
            problems.push(Diagnostic::new(&name.site, message, "give each a name of its own"));
        }
    }
    let mut gates = Vec::new();
    for written in &draft.gates {
        let mut gate = Gate {
            name: written
                .name
                .as_ref()
                .map_or_else(|| free_name(&written.metric.value, &mut taken), |n| n.value.clone()),
            metric: written.metric.value.clone(),
            min: written.min,
            max: written.max,
            condition: written.condition.as_ref().map_or(CLEAN, |c| c.value.as_str()).to_string(),
            scope: scope(written, draft, axes, &mut problems),
            share: written.share,
            min_seeds: written.min_seeds,
        };
        problems.extend(wrong_condition(written, draft));
        problems.extend(out_of_reach(&mut gate, written, draft, axes, cells));
        gates.push(gate);
    }
    if problems.is_empty() { Ok(gates) } else { Err(problems) }
}

/// The gates of a sweep and, where none of them is on [`LOST`], the implied one: that no cell is lost, for any seed.
pub fn constraints_of(gates: &[Gate]) -> Vec<Gate> {
    let mut all = gates.to_vec();
    if gates.iter().all(|gate| gate.metric != LOST) {
        let mut taken: BTreeSet<String> = gates.iter().map(|gate| gate.name.clone()).collect();
        all.push(Gate {
            name: free_name(LOST, &mut taken),
            metric: LOST.to_string(),
            min: None,
            max: Some(0.0),
            condition: CLEAN.to_string(),
            scope: BTreeMap::new(),
            share: 1.0,
            min_seeds: MIN_SEEDS,
        });
    }
    all
}

/// A name made of the metric's, which no other gate has.
fn free_name(metric: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = metric.replace('_', "-");
    let numbered = (2u64..).map(|n| format!("{plain}-{n}"));
    let free = std::iter::once(plain.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or(plain);
    taken.insert(free.clone());
    free
}

fn scope(written: &DraftGate, draft: &Draft, axes: &[Axis], problems: &mut Vec<Diagnostic>) -> BTreeMap<String, Scope> {
    let mut table = BTreeMap::new();
    for term in &written.scope {
        let path = term.param.path;
        let Some(axis) = axes.iter().find(|axis| axis.path == path) else {
            problems.push(grid::not_an_axis(path, &term.site, draft));
            continue;
        };
        if !draft.axes.get(path).is_some_and(|axis| axis.from_flag) {
            problems.extend(grid::strangers(term, axis));
        }
        let scope = match &term.want {
            // Of an axis from a flag the levels that it still has.
            Want::AnyOf(_) => Scope::AnyOf(axis.levels.iter().filter(|l| grid::takes(term, l)).cloned().collect()),
            Want::Between { min, max } => Scope::Between { min: min.clone(), max: max.clone() },
        };
        if table.insert(path.to_string(), scope).is_some() {
            let message = format!("this gate names `{path}` twice");
            problems.push(Diagnostic::new(&term.site, message, "give all its values in one list"));
        }
    }
    table
}

fn wrong_condition(written: &DraftGate, draft: &Draft) -> Option<Diagnostic> {
    let at = written.condition.as_ref().filter(|at| at.value != CLEAN)?;
    if written.metric.value == LOST {
        let message = format!("`{LOST}` is of a cell and not of a condition");
        return Some(Diagnostic::new(&at.site, message, "remove the condition"));
    }
    let names = || draft.conditions.iter().map(|c| c.value.name.as_str()).chain([CLEAN]);
    if names().any(|name| name == at.value) {
        return None;
    }
    let help = format!("the conditions are {}", names().collect::<Vec<_>>().join(", "));
    let mut problem = Diagnostic::new(&at.site, format!("there is no condition {:?}", at.value), help);
    problem.label = format!("the nearest is {:?}", nearest(&at.value, names()));
    Some(problem)
}

/// A gate without a cell to judge, or on a metric that none of its cells measures.
///
/// One that lost its cells to the levels of a flag stays, with no level at that axis: it has no evidence, and dropping it
/// would let the run pass without it.
fn out_of_reach(
    gate: &mut Gate,
    written: &DraftGate,
    draft: &Draft,
    axes: &[Axis],
    cells: &[Cell],
) -> Option<Diagnostic> {
    let covered = |cell: &&Cell| gate.scope.is_empty() || gate.covers(&levels(axes, &cell.config));
    let Some(first) = cells.iter().position(|cell| covered(&cell)) else {
        let from_flag = |path: &&String| draft.axes.get(path.as_str()).is_some_and(|axis| axis.from_flag);
        let is_empty = |scope: &Scope| *scope == Scope::AnyOf(Vec::new());
        if gate.scope.values().any(is_empty) {
            return None;
        }
        if let Some(path) = gate.scope.keys().find(from_flag).cloned() {
            gate.scope.insert(path, Scope::AnyOf(Vec::new()));
            return None;
        }
        let help = "widen its `where`, or remove it: a gate that judges nothing could never pass";
        return Some(Diagnostic::new(&written.site, format!("the gate {:?} judges no cell", gate.name), help));
    };
    let fast = gate.metric == LOST || descriptors_of(metric::Panel::Fast).any(|d| d.name == gate.metric);
    if fast || cells[first..].iter().filter(covered).any(|cell| cell.config.panel == Panel::Full) {
        return None;
    }
    let message = format!("no cell that the gate judges measures `{}`", gate.metric);
    Some(Diagnostic::new(&written.metric.site, message, "set panel = \"full\""))
}

#[cfg(test)]
mod tests {
    use super::super::load::{Overrides, from_str};
    use super::super::sweep::Sweep;
    use super::*;

    const BASE: &str = "name = \"g\"\npreset = \"tiny\"\n[axes]\nseed = { seeds = 4 }\nimage.noise = [0.0, 0.5, 1.0]\n\
                        [[condition]]\nname = \"far\"\nimage.noise = 2.0\n";

    fn loaded(gates: &str, axis: &[&str]) -> Sweep {
        let axis = axis.iter().map(|text| (*text).to_string()).collect();
        let overrides = Overrides { set: Vec::new(), axis };
        from_str(&format!("{BASE}{gates}"), "g.toml", &overrides).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn defaults_are_filled_in_and_the_resolved_spec_says_all_of_it() {
        let sweep = loaded(
            "[[gate]]\nmetric = \"effective_rank_img\"\nmin = 8\n\
             [[gate]]\nmetric = \"effective_rank_img\"\nmax = 30.5\nshare = 0.75\nmin_seeds = 4\ncondition = \"far\"\n\
             [[gate]]\nname = \"healthy\"\nmetric = \"lost\"\nmax = 0.0\n\
             [gate.where]\nimage.noise = { max = 0.6 }\nseed = [0, 2]\n",
            &[],
        );
        let names: Vec<&str> = sweep.gates.iter().map(|gate| gate.name.as_str()).collect();
        assert_eq!(names, ["effective-rank-img", "effective-rank-img-2", "healthy"]);
        let first = &sweep.gates[0];
        assert_eq!((first.min, first.max, first.share, first.min_seeds), (Some(8.0), None, 1.0, 3));
        assert_eq!((first.condition.as_str(), first.scope.len()), (CLEAN, 0));
        let covered = sweep.cells.iter().filter(|cell| sweep.gates[2].covers(&sweep.levels(cell))).count();
        assert_eq!(covered, 4, "two noises, two seeds");
        let again = from_str(&sweep.to_toml(), "again.toml", &Overrides::default());
        assert_eq!(again.unwrap_or_else(|error| panic!("{error}")), sweep);
    }

    #[test]
    fn gates_change_neither_ids_nor_the_hash() {
        let with = loaded("[[gate]]\nmetric = \"effective_rank_img\"\nmin = 8\n", &[]);
        let without = loaded("", &[]);
        assert_eq!((with.hash(), &with.cells), (without.hash(), &without.cells));
        assert_ne!(with.to_toml(), without.to_toml());
    }

    #[test]
    fn a_gate_that_a_flag_leaves_no_cell_stays() {
        let gate = "[[gate]]\nmetric = \"lost\"\nmax = 0\nwhere = { image.noise = [0.0, 1.0] }\n";
        let narrowed = loaded(gate, &["image.noise=0,0.7"]);
        assert_eq!(narrowed.gates[0].scope["image.noise"], Scope::AnyOf(vec![json!(0.0)]));
        for scope in ["[0.0, 1.0]", "{ min = 0.9 }"] {
            let none = loaded(&gate.replace("[0.0, 1.0]", scope), &["image.noise=0.7"]);
            assert_eq!(none.gates[0].scope["image.noise"], Scope::AnyOf(Vec::new()));
            let again = from_str(&none.to_toml(), "again.toml", &Overrides::default());
            assert_eq!(again.unwrap_or_else(|error| panic!("{error}")), none);
        }
    }

    #[test]
    fn whole_levels_are_judged_by_all_their_digits() {
        let gate = "[[gate]]\nmetric = \"lost\"\nmax = 0\nwhere = { seed = { min = 9223372036854775806 } }\n";
        let sweep = loaded(gate, &["seed=9223372036854775805,9223372036854775806,9223372036854775807"]);
        let judged = |cell: &&Cell| sweep.gates[0].covers(&sweep.levels(cell));
        let seeds: BTreeSet<u64> = sweep.cells.iter().filter(judged).map(|cell| cell.config.seed).collect();
        assert_eq!(seeds, BTreeSet::from([9223372036854775806, 9223372036854775807]));
        let scope = &sweep.gates[0].scope["seed"];
        assert_eq!(scope.describe(), ">= 9223372036854775806");
        let below = Scope::Between { min: None, max: Some(json!(9223372036854775805u64)) };
        assert_eq!([9223372036854775805u64, 9223372036854775806].map(|seed| below.covers(&json!(seed))), [true, false]);
    }

    #[test]
    fn values_are_told_from_the_bounds_that_they_miss() {
        let sweep = loaded("[[gate]]\nmetric = \"mean_cosine_img\"\nmin = 0.125\nmax = 0.5\n", &[]);
        let texts = [0.12499, 0.12500001, 0.3333333, 0.5].map(|value| sweep.gates[0].beside_bounds(value));
        assert_eq!(texts, ["0.12499", "0.12500001", "0.3333", "0.5"]);
    }

    #[test]
    fn margins_are_distances_to_the_nearer_bound() {
        let sweep = loaded("[[gate]]\nmetric = \"mean_cosine_img\"\nmin = -0.5\nmax = 0.25\n", &[]);
        let gate = &sweep.gates[0];
        for (value, margin) in [(0.0, 0.25), (-0.5, 0.0), (0.5, -0.25), (-1.0, -0.5)] {
            assert_eq!(gate.margin(value), margin, "{value}");
        }
    }

    #[test]
    fn every_metric_can_name_its_gate() {
        for d in descriptors() {
            assert!(is_name(&free_name(d.name, &mut BTreeSet::new())), "{}", d.name);
        }
    }
}
