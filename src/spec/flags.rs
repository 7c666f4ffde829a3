//! `--set path=value` and `--axis path=levels`, into the same draft as the file.

use super::diagnostic::{Diagnostic, Site, Source};
use super::draft::{Draft, unknown};
use super::load::Overrides;
use super::params::{Kind, Param, param_at};
use super::scalar::accepts;
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
        if value.is_empty() {
            return Some(Diagnostic::new(&self.site(self.raw), format!("`{path}` is set to nothing"), accepts(param)));
        }
        draft.settings.remove(param.path);
        let before = problems.len();
        draft.set(param, &site, &self.at(value), problems);
        if let Some(problem) = problems.get_mut(before).filter(|_| describes_levels(value)) {
            problem.help = format!("for several levels write --axis {path}={}", unbracketed(value));
        }
        None
    }

    fn add_axis(&self, draft: &mut Draft, problems: &mut Vec<Diagnostic>) -> Option<Diagnostic> {
        let (path, text) = match self.split(AXIS_FORM) {
            Ok(parts) => parts,
            Err(problem) => return Some(problem),
        };
        let Some(param) = param_at(path) else { return Some(unknown(path, &self.site(path), false)) };
        if text.is_empty() {
            let help = format!("write --axis {path}=v1,v2,.. or leave the flag out, to keep the base value");
            return Some(Diagnostic::new(&self.site(self.raw), format!("the axis `{path}` is empty"), help));
        }
        let instead = levels_instead(param, text);
        let Some(levels) = self.levels(text).filter(|_| instead.is_none()) else {
            let message = format!("`{text}` does not describe levels");
            let mut problem = Diagnostic::new(&self.site(text), message, AXIS_FORM);
            problem.label = instead.map_or(String::new(), |instead| format!("write {instead}"));
            return Some(problem);
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
            (_, []) if text.split(',').any(|part| part.trim().is_empty()) => None,
            (_, []) => Some(Node::List(text.split(',').map(|part| self.at(part.trim())).collect())),
            _ => None,
        }
    }
}

/// Whether a value looks like the levels of an axis.
fn describes_levels(value: &str) -> bool {
    let forms = ["linear:", "log:", "seeds:"];
    value.contains(',') || value.starts_with('[') || forms.iter().any(|form| value.starts_with(form))
}

/// A list without what a shell or a spec puts around it.
fn unbracketed(value: &str) -> String {
    let inner = value.strip_prefix(['[', '(']).and_then(|rest| rest.strip_suffix([']', ')'])).unwrap_or(value);
    inner.split(',').map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",")
}

/// What to write for levels in the form of another program, where that is clear.
fn levels_instead(param: &Param, text: &str) -> Option<String> {
    let is_number = |part: &str| part.trim().parse::<f64>().is_ok();
    if text.starts_with(['[', '(']) {
        return Some(unbracketed(text)).filter(|list| !list.is_empty());
    }
    if !text.contains([':', '.', '-', ',']) && text.split_whitespace().count() > 1 {
        return Some(text.split_whitespace().collect::<Vec<_>>().join(","));
    }
    if let [lo, hi, n] = text.split(':').collect::<Vec<_>>().as_slice()
        && [lo, hi, n].into_iter().all(|part| is_number(part))
    {
        return Some(format!("linear:{lo}:{hi}:{n} or log:{lo}:{hi}:{n}"));
    }
    if !matches!(param.kind, Kind::Int { .. }) {
        return None;
    }
    // Both ends are meant by a dash; by two dots they are in some languages.
    let ends = ["..=", "..", "-"].iter().find_map(|between| text.split_once(between))?;
    let (first, last) = (ends.0.trim().parse::<u64>().ok()?, ends.1.trim().parse::<u64>().ok()?);
    let n = last.checked_sub(first)?.checked_add(1)?;
    Some(match (param.path, first) {
        ("seed", 0) => format!("seeds:{n} for {first} to {last}"),
        ("seed", _) => format!("seeds:{n}:{first} for {first} to {last}"),
        _ => format!("linear:{first}:{last}:{n} for all of {first} to {last}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_in_other_forms_are_told_how_to_write_them() {
        let instead = |path: &str, text: &str| levels_instead(param_at(path).expect("a parameter"), text);
        let cases = [
            ("image.noise", "[0.1, 0.2]", Some("0.1,0.2")),
            ("image.noise", "(0.1,)", Some("0.1")),
            ("image.noise", "0:1:5", Some("linear:0:1:5 or log:0:1:5")),
            ("image.noise", "0:x:5", None),
            ("image.noise", "0-1", None),
            ("image.noise", "0.1,0.2", None),
            ("image.noise", "-1", None),
            ("pairing.kind", "swap block", Some("swap,block")),
            ("pairing.kind", "swap,block", None),
            ("seed", "1 2 3", Some("1,2,3")),
            ("seed", "0-4", Some("seeds:5 for 0 to 4")),
            ("seed", "3..=9", Some("seeds:7:3 for 3 to 9")),
            ("seed", "9-3", None),
            ("seed", "0-18446744073709551615", None),
            ("seed", "seeds:4", None),
            ("train.steps", "1-3", Some("linear:1:3:3 for all of 1 to 3")),
            ("train.steps", "-3", None),
            ("seed", "[]", None),
        ];
        for (path, text, expected) in cases {
            assert_eq!(instead(path, text).as_deref(), expected, "{path}={text}");
        }
    }

    #[test]
    fn values_that_are_levels_are_told_from_values() {
        for value in ["1,2", "[1]", "log:1:2:3", "seeds:4"] {
            assert!(describes_levels(value), "{value}");
        }
        assert!(!describes_levels("0.5") && !describes_levels("swap"));
        assert_eq!(unbracketed("[1, 2 ,]"), "1,2");
    }
}
