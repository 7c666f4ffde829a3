//! A spec's keys, checked one by one: what is set, what is swept, what is left out. Nothing is combined yet.

use std::collections::BTreeMap;

use serde_json::Value;

use super::axis::{self, DraftAxis};
use super::condition::{CLEAN, Condition, MOST_CONDITIONS, is_operator};
use super::diagnostic::{Diagnostic, Site};
use super::gate::{self, DraftGate};
use super::params::{Kind, PARAMS, Param, param_at};
use super::scalar::{accepts, check, nearest, sections};
use super::tree::{At, Node, Table};

/// The top-level keys of a spec that are not part of the configuration, with what each holds.
pub(super) const KEYS: &[(&str, &str)] = &[
    ("name", "lower-case letters, digits and hyphens; names the result directory"),
    ("description", "the question the sweep asks, one sentence"),
    ("preset", "the named configuration that every other key overrides"),
    ("axes", "parameter paths, each with its levels; axes cross"),
    ("zip", "lists of axis paths that advance together instead of crossing"),
    ("condition", "tables of a name and operator path = value: every trained cell is evaluated under each as well"),
    ("exclude", "tables of axis path = value, list or { min, max }: a cell that matches all of one is left out"),
    (
        "include",
        "tables of axis path = value or list: cells beside the grid, at every level of axes that are not named",
    ),
    (
        "gate",
        "tables of metric, min or max, and optionally name, condition, where, share, min_seeds: what `gate` judges",
    ),
];

/// A spec as far as each key can be judged alone.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub name: Option<At<String>>,
    pub description: Option<At<String>>,
    pub preset: Option<At<String>>,
    /// By path.
    pub settings: BTreeMap<&'static str, At<Value>>,
    /// By path.
    pub axes: BTreeMap<&'static str, DraftAxis>,
    pub zip: Vec<At<Vec<At<&'static Param>>>>,
    pub exclude: Vec<At<Vec<Term>>>,
    /// Without ranges.
    pub include: Vec<At<Vec<Term>>>,
    pub conditions: Vec<At<Condition>>,
    pub gates: Vec<DraftGate>,
}

/// One condition of an `[[exclude]]`, or of the `where` of a gate; or what an `[[include]]` takes along one axis.
#[derive(Debug)]
pub(super) struct Term {
    pub param: &'static Param,
    /// The path.
    pub site: Site,
    pub want: Want,
}

#[derive(Debug)]
pub(super) enum Want {
    AnyOf(Vec<At<Value>>),
    /// Inclusive; at least one end.
    Between {
        min: Option<Value>,
        max: Option<Value>,
    },
}

impl Draft {
    /// Reads a whole document; what is wrong goes to `problems`, and the rest is kept.
    pub fn read(&mut self, document: &Table, problems: &mut Vec<Diagnostic>) {
        for (key, node) in document {
            match (key.value.as_str(), &node.value) {
                ("name" | "description" | "preset", _) => self.read_text(key, node, problems),
                ("axes", Node::Table(table)) => self.read_axes(table, problems),
                ("zip", Node::List(groups)) => groups.iter().for_each(|group| self.read_zip(group, problems)),
                ("exclude", Node::List(tables)) => tables.iter().for_each(|at| self.read_exclude(at, problems)),
                ("include", Node::List(tables)) => tables.iter().for_each(|at| self.read_include(at, problems)),
                ("condition", Node::List(tables)) => {
                    tables.iter().take(MOST_CONDITIONS).for_each(|at| self.read_condition(at, problems));
                    problems.extend(tables.get(MOST_CONDITIONS).map(|at| too_many_conditions(tables.len(), &at.site)));
                }
                ("gate", Node::List(tables)) => {
                    self.gates.extend(tables.iter().filter_map(|at| gate::read(at, problems)));
                }
                ("axes" | "zip" | "exclude" | "include" | "condition" | "gate", _) => {
                    let form = match key.value.as_str() {
                        "axes" => "a table: [axes]",
                        "zip" => "a list of lists of axis paths: zip = [[\"a\", \"b\"]]",
                        "exclude" => "a list of tables: [[exclude]]",
                        "include" => "a list of tables: [[include]]",
                        "gate" => "a list of tables: [[gate]]",
                        _ => "a list of tables: [[condition]]",
                    };
                    let message = format!("`{}` is {form}, not {}", key.value, node.value.describe());
                    problems.push(Diagnostic::new(&node.site, message, format!("write {form}")));
                }
                ("mode", _) => {
                    let help = "axes cross unless `zip = [[\"a\", \"b\"]]` names those that advance together";
                    problems.push(Diagnostic::new(&key.site, "there is no key `mode`", help));
                }
                _ => {
                    let entry = vec![(key.clone(), node.clone())];
                    walk(&entry, "", &|_| false, problems, &mut |param, key, node, problems| {
                        self.set(param, key, node, problems);
                    });
                }
            }
        }
    }

    /// Reads `name`, `description` or `preset`.
    pub fn read_text(&mut self, key: &At<String>, node: &At<Node>, problems: &mut Vec<Diagnostic>) {
        let Node::Text(text) = &node.value else {
            let message = format!("`{}` takes text, not {}", key.value, node.value.describe());
            problems.push(Diagnostic::new(&node.site, message, "write it in quotes"));
            return;
        };
        let text = At { value: text.clone(), site: node.site.clone() };
        match key.value.as_str() {
            "name" => self.name = Some(text),
            "preset" => self.preset = Some(text),
            _ => self.description = Some(text),
        }
    }

    /// Sets one parameter.
    pub fn set(&mut self, param: &'static Param, key: &Site, node: &At<Node>, problems: &mut Vec<Diagnostic>) {
        let mut problem = match check(param, node) {
            Ok(value) => {
                let setting = At { value, site: key.clone() };
                if let Some(first) = self.settings.insert(param.path, setting) {
                    problems.push(twice(param.path, key, &first.site));
                }
                return;
            }
            Err(problem) => problem,
        };
        let sweeps = match &node.value {
            Node::List(_) => true,
            Node::Table(table) => axis::describes_levels(table),
            _ => false,
        };
        if sweeps {
            problem.help = format!("to sweep it, write it under [axes]: \"{}\" = ...", param.path);
        }
        problems.push(problem);
    }

    fn read_axes(&mut self, table: &Table, problems: &mut Vec<Diagnostic>) {
        walk(table, "", &axis::describes_levels, problems, &mut |param, key, node, problems| {
            self.add_axis(param, key, node, false, problems);
        });
    }

    /// Adds an axis. One from a flag replaces the axis or the setting that the file has at this path.
    pub fn add_axis(
        &mut self,
        param: &'static Param,
        key: &Site,
        node: &At<Node>,
        from_flag: bool,
        problems: &mut Vec<Diagnostic>,
    ) {
        let levels = match axis::read(param, node) {
            Ok(levels) => At { value: levels, site: node.site.clone() },
            Err(found) => return problems.extend(found),
        };
        let added = DraftAxis { param, site: key.clone(), levels, from_flag };
        if let Some(first) = self.axes.insert(param.path, added)
            && first.from_flag == from_flag
        {
            problems.push(twice(param.path, key, &first.site));
        }
    }

    fn read_zip(&mut self, group: &At<Node>, problems: &mut Vec<Diagnostic>) {
        let help = "write zip = [[\"a\", \"b\"]]: each inner list names the axes that advance together";
        let items = match &group.value {
            Node::List(items) if items.len() >= 2 => items,
            other => {
                let message = format!("a zip group is a list of at least two axis paths, not {}", other.describe());
                return problems.push(Diagnostic::new(&group.site, message, help));
            }
        };
        let mut paths = Vec::new();
        for item in items {
            match &item.value {
                Node::Text(path) => match param_at(path) {
                    Some(param) => paths.push(At { value: param, site: item.site.clone() }),
                    None => problems.push(unknown(path, &item.site, false)),
                },
                other => {
                    let message = format!("a zip group names axes by their paths, not by {}", other.describe());
                    problems.push(Diagnostic::new(&item.site, message, help));
                }
            }
        }
        self.zip.push(At { value: paths, site: group.site.clone() });
    }

    fn read_exclude(&mut self, at: &At<Node>, problems: &mut Vec<Diagnostic>) {
        let table = match &at.value {
            Node::Table(table) if !table.is_empty() => table,
            _ => {
                let help = "name at least one axis in it: \"pairing.rate\" = 0.0";
                return problems.push(Diagnostic::new(&at.site, "an exclude is a table with conditions", help));
            }
        };
        self.exclude.push(At { value: read_terms(table, false, problems), site: at.site.clone() });
    }

    fn read_include(&mut self, at: &At<Node>, problems: &mut Vec<Diagnostic>) {
        let help = "name at least one axis in it: \"train.temperature\" = [0.015, 0.03]";
        let table = match &at.value {
            Node::Table(table) if !table.is_empty() => table,
            _ => return problems.push(Diagnostic::new(&at.site, "an include is a table of axes with values", help)),
        };
        let mut terms = Vec::new();
        walk(table, "", &axis::describes_levels, problems, &mut |param, key, node, problems| {
            if let Node::Table(_) = node.value {
                let message = format!("an include takes a value of `{}` or a list of them, not a range", param.path);
                return problems.push(Diagnostic::new(&node.site, message, accepts(param)));
            }
            match read_want(param, node) {
                Ok(want) => terms.push(Term { param, site: key.clone(), want }),
                Err(found) => problems.extend(found),
            }
        });
        self.include.push(At { value: terms, site: at.site.clone() });
    }

    fn read_condition(&mut self, at: &At<Node>, problems: &mut Vec<Diagnostic>) {
        let help = "write a name and what differs: name = \"noisy\" and \"image.noise\" = 0.5";
        let Node::Table(table) = &at.value else {
            let message = format!("a condition is a table, not {}", at.value.describe());
            return problems.push(Diagnostic::new(&at.site, message, help));
        };
        let (names, changes): (Table, Table) = table.iter().cloned().partition(|(key, _)| key.value == "name");
        let mut read = BTreeMap::new();
        walk(&changes, "", &|_| false, problems, &mut |param, key, node, problems| {
            if !is_operator(param) {
                let message = format!("a condition cannot change `{}`", param.path);
                let help = "the model is trained already: a condition changes what is observed, paired or scored, under \
                            image, text, pairing, confounder or score";
                return problems.push(Diagnostic::new(key, message, help));
            }
            match check(param, node) {
                Ok(value) => drop(read.insert(param.path.to_string(), value)),
                Err(problem) => problems.push(problem),
            }
        });
        let [(_, name)] = names.as_slice() else {
            return problems.push(Diagnostic::new(&at.site, "a condition has a name", help));
        };
        let Node::Text(text) = &name.value else {
            let message = format!("the name of a condition is text, not {}", name.value.describe());
            return problems.push(Diagnostic::new(&name.site, message, "write it in quotes"));
        };
        if let Some(wrong) = wrong_condition_name(text, &self.conditions) {
            problems.push(Diagnostic::new(&name.site, wrong, CONDITION_NAME));
        }
        if changes.is_empty() {
            let message = format!("the condition {text:?} changes nothing");
            problems.push(Diagnostic::new(&at.site, message, help));
        }
        let condition = Condition { name: text.clone(), changes: read };
        self.conditions.push(At { value: condition, site: at.site.clone() });
    }
}

fn too_many_conditions(count: usize, site: &Site) -> Diagnostic {
    let message = format!("there are {count} conditions, and a cell can be measured under {MOST_CONDITIONS}");
    Diagnostic::new(site, message, "divide them among several sweeps")
}

const CONDITION_NAME: &str = "a name is of lower-case letters, digits and hyphens, 64 at most, and of one condition only; `clean` is the \
     condition under which a cell was trained";

fn wrong_condition_name(name: &str, others: &[At<Condition>]) -> Option<String> {
    if name == CLEAN {
        return Some(format!("{CLEAN:?} is always there"));
    }
    if others.iter().any(|other| other.value.name == name) {
        return Some(format!("there are two conditions {name:?}"));
    }
    (!is_name(name)).then(|| format!("{name:?} cannot be a name"))
}

/// The longest name: it becomes part of a directory's name.
const NAME_LIMIT: usize = 64;

/// Whether a text can name a sweep or a condition: lower-case letters, digits and hyphens, no hyphen first.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.len() <= NAME_LIMIT && !text.starts_with('-') && text.chars().all(allowed)
}

/// Reads a table of axis path = value, list or { min, max }. `none` tells that a list may be empty.
pub(super) fn read_terms(table: &Table, none: bool, problems: &mut Vec<Diagnostic>) -> Vec<Term> {
    let mut terms = Vec::new();
    let is_range = |table: &Table| table.iter().any(|(key, _)| ["min", "max"].contains(&key.value.as_str()));
    let read = |param, node: &At<Node>| match &node.value {
        Node::List(levels) if none && levels.is_empty() => Ok(Want::AnyOf(Vec::new())),
        _ => read_want(param, node),
    };
    walk(table, "", &is_range, problems, &mut |param, key, node, problems| match read(param, node) {
        Ok(want) => terms.push(Term { param, site: key.clone(), want }),
        Err(found) => problems.extend(found),
    });
    terms
}

fn read_want(param: &'static Param, node: &At<Node>) -> Result<Want, Vec<Diagnostic>> {
    match &node.value {
        Node::List(_) => match axis::read(param, node)? {
            axis::Levels::List(values) => Ok(Want::AnyOf(values)),
            _ => Ok(Want::AnyOf(Vec::new())),
        },
        Node::Table(table) => {
            let numeric = matches!(param.kind, Kind::Float { .. } | Kind::Int { .. });
            let wrong = table.iter().find(|(key, _)| !["min", "max"].contains(&key.value.as_str()));
            if wrong.is_some() || table.is_empty() || !numeric {
                let site = wrong.map_or(&node.site, |(key, _)| &key.site);
                let message = format!("`{}` is matched by a value, a list or, for numbers, {{ min, max }}", param.path);
                return Err(vec![Diagnostic::new(site, message, accepts(param))]);
            }
            let end = |name: &str| {
                let found = table.iter().find(|(key, _)| key.value == name);
                found.map(|(_, node)| check(param, node)).transpose().map_err(|problem| vec![problem])
            };
            Ok(Want::Between { min: end("min")?, max: end("max")? })
        }
        _ => {
            let value = check(param, node).map_err(|problem| vec![problem])?;
            Ok(Want::AnyOf(vec![At { value, site: node.site.clone() }]))
        }
    }
}

fn twice(path: &str, site: &Site, first: &Site) -> Diagnostic {
    let mut problem = Diagnostic::new(site, format!("`{path}` is given twice"), "keep one of the two");
    problem.related.push((first.clone(), "first given here".to_string()));
    problem
}

type Visit<'a> = dyn FnMut(&'static Param, &Site, &At<Node>, &mut Vec<Diagnostic>) + 'a;

/// Visits every parameter in `table`, whether written with dotted keys, quoted paths or nested tables. A table for
/// which `is_value` holds is a value, not a section.
fn walk(
    table: &Table,
    prefix: &str,
    is_value: &dyn Fn(&Table) -> bool,
    problems: &mut Vec<Diagnostic>,
    visit: &mut Visit<'_>,
) {
    for (key, node) in table {
        let path = if prefix.is_empty() { key.value.clone() } else { format!("{prefix}.{}", key.value) };
        if let Some(param) = param_at(&path) {
            visit(param, &key.site, node, problems);
            continue;
        }
        match &node.value {
            _ if !sections().contains(&path.as_str()) => {
                problems.push(unknown(&path, &key.site, matches!(node.value, Node::Table(_))));
            }
            Node::Table(inner) if !is_value(inner) => walk(inner, &path, is_value, problems, visit),
            _ => problems.push(not_a_section(&path, &key.site)),
        }
    }
}

/// A section where one parameter is needed.
pub(super) fn not_a_section(section: &str, site: &Site) -> Diagnostic {
    let inside: Vec<&str> =
        PARAMS.iter().map(|p| p.path).filter(|path| path.split('.').next() == Some(section)).collect();
    let help = format!("name one of its parameters: {}", inside.join(", "));
    Diagnostic::new(site, format!("`{section}` is a section, not a parameter"), help)
}

/// A path that no parameter has. `table` tells that a section was meant.
pub(super) fn unknown(path: &str, site: &Site, table: bool) -> Diagnostic {
    if sections().contains(&path) {
        return not_a_section(path, site);
    }
    let paths = PARAMS.iter().map(|p| p.path);
    let keys = KEYS.iter().map(|(key, _)| *key);
    if table && !path.contains('.') {
        let found = nearest(path, sections().into_iter().chain(keys));
        let message = format!("there is no section `{path}`");
        let mut problem = Diagnostic::new(site, message, format!("the sections are {}", sections().join(", ")));
        problem.label = format!("the nearest is `{found}`");
        return problem;
    }
    let found = nearest(path, paths.chain(keys));
    let help = match (param_at(found), KEYS.iter().find(|(key, _)| *key == found)) {
        (Some(param), _) => accepts(param),
        (None, Some((_, doc))) => format!("`{found}` takes {doc}"),
        (None, None) => String::new(),
    };
    let mut problem = Diagnostic::new(site, format!("there is no parameter `{path}`"), help);
    problem.label = format!("the nearest is `{found}`");
    problem
}
