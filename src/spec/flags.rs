//! `--set path=value` and `--axis path=levels`, into the same draft as the file.

use super::diagnostic::{Diagnostic, Site, Source};
use super::draft::{Draft, unknown};
use super::load::Overrides;
use super::params::param_at;
use super::tree::{At, Node, parse_value};

const SET_FORM: &str = "write --set path=value";
const AXIS_FORM: &str = "write --axis path=v1,v2,.., path=linear:LO:HI:N, path=log:LO:HI:N or seed=seeds:N[:FIRST]";

/// Applies the overrides to `draft`, each with its own source. A setting replaces the file's; an axis replaces the
/// file's axis or setting. What is wrong goes to `problems`.
pub(super) fn apply(
    draft: &mut Draft,
    overrides: &Overrides,
    sources: &mut Vec<Source>,
    problems: &mut Vec<Diagnostic>,
) {
    // Axes first: a --set on an axis is an error wherever the axis comes from.
    for raw in &overrides.axis {
        let flag = Flag::new("--axis", raw, sources);
        if let Some(problem) = flag.add_axis(draft, problems) {
            problems.push(problem);
        }
    }
    let mut set: Vec<At<String>> = Vec::new();
    for raw in &overrides.set {
        let flag = Flag::new("--set", raw, sources);
        if let Some(problem) = flag.set(draft, &mut set, problems) {
            problems.push(problem);
        }
    }
}

/// One flag as typed. `text` is its whole source, `--set path=value`, and places count from there.
struct Flag<'a> {
    raw: &'a str,
    source: usize,
    /// Where `raw` starts in the source.
    start: usize,
}

impl<'a> Flag<'a> {
    fn new(flag: &str, raw: &'a str, sources: &mut Vec<Source>) -> Self {
        sources.push(Source { name: "command line".to_string(), text: format!("{flag} {raw}") });
        Self { raw, source: sources.len() - 1, start: flag.len() + 1 }
    }

    /// The place of `part`, which must be a slice of `raw`.
    fn site(&self, part: &str) -> Site {
        let offset = self.start + (part.as_ptr().addr() - self.raw.as_ptr().addr());
        Site { source: self.source, start: offset, end: offset + part.len() }
    }

    fn at(&self, part: &str) -> At<Node> {
        At { value: parse_value(part), site: self.site(part) }
    }

    fn split(&self, form: &str) -> Result<(&'a str, &'a str), Diagnostic> {
        let (path, value) = self
            .raw
            .split_once('=')
            .ok_or_else(|| Diagnostic::new(&self.site(self.raw), format!("`{}` has no `=`", self.raw), form))?;
        Ok((path.trim(), value.trim()))
    }

    fn set(&self, draft: &mut Draft, seen: &mut Vec<At<String>>, problems: &mut Vec<Diagnostic>) -> Option<Diagnostic> {
        let (path, value) = match self.split(SET_FORM) {
            Ok(parts) => parts,
            Err(problem) => return Some(problem),
        };
        let site = self.site(path);
        if let Some(first) = seen.iter().find(|first| first.value == path) {
            let mut problem = Diagnostic::new(&site, format!("`{path}` is set twice"), "keep one of the two");
            problem.related.push((first.site.clone(), "first set here".to_string()));
            return Some(problem);
        }
        seen.push(At { value: path.to_string(), site: site.clone() });
        if ["name", "description", "preset"].contains(&path) {
            // Text as it stands: `--set name=2024` is a name, not a number.
            let text = match parse_value(value) {
                Node::Text(text) => text,
                _ => value.to_string(),
            };
            let node = At { value: Node::Text(text), site: self.site(value) };
            draft.read_text(&At { value: path.to_string(), site }, &node, problems);
            return None;
        }
        let Some(param) = param_at(path) else { return Some(unknown(path, &site, false)) };
        if let Some(axis) = draft.axes.get(param.path) {
            let help = format!("use --axis {path}={value} to replace its levels by this one");
            let mut problem = Diagnostic::new(&site, format!("`{path}` is an axis: it cannot be set"), help);
            problem.related.push((axis.site.clone(), "the axis".to_string()));
            return Some(problem);
        }
        draft.settings.remove(param.path);
        draft.set(param, &site, &self.at(value), problems);
        None
    }

    fn add_axis(&self, draft: &mut Draft, problems: &mut Vec<Diagnostic>) -> Option<Diagnostic> {
        let (path, text) = match self.split(AXIS_FORM) {
            Ok(parts) => parts,
            Err(problem) => return Some(problem),
        };
        let Some(param) = param_at(path) else { return Some(unknown(path, &self.site(path), false)) };
        let Some(levels) = self.levels(text) else {
            return Some(Diagnostic::new(&self.site(text), format!("`{text}` does not describe levels"), AXIS_FORM));
        };
        let node = At { value: levels, site: self.site(text) };
        draft.settings.remove(param.path);
        draft.add_axis(param, &self.site(path), &node, true, problems);
        None
    }

    /// The levels in the form that the file would have: a list, or a table. None for a form with wrong parts.
    fn levels(&self, text: &'a str) -> Option<Node> {
        let key = |name: &str| At { value: name.to_string(), site: self.site(text) };
        let mut parts = text.split(':').map(str::trim);
        let form = parts.next().unwrap_or("");
        let parts: Vec<&str> = parts.collect();
        match (form, parts.as_slice()) {
            ("linear" | "log", [lo, hi, n]) => {
                let ends = Node::List(vec![self.at(lo), self.at(hi)]);
                let ends = At { value: ends, site: self.site(text) };
                Some(Node::Table(vec![(key(form), ends), (key("n"), self.at(n))]))
            }
            ("seeds", [n]) => Some(Node::Table(vec![(key("seeds"), self.at(n))])),
            ("seeds", [n, first]) => {
                Some(Node::Table(vec![(key("seeds"), self.at(n)), (key("first"), self.at(first))]))
            }
            (_, []) if text.is_empty() => Some(Node::List(Vec::new())),
            (_, []) => Some(Node::List(text.split(',').map(|part| self.at(part.trim())).collect())),
            _ => None,
        }
    }
}
