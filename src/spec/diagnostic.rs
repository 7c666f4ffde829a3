//! What is wrong with a spec: where, what, the nearest valid key, and what to do.

use std::ops::Range;

use crate::numerics::printable::printable;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str};

/// A text that can be wrong: the spec's file, or one command-line flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The path of the file, or `command line`.
    pub name: String,
    pub text: String,
}

/// A range of bytes in one of the sources of a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// Index into [`Report::sources`].
    pub source: usize,
    pub start: usize,
    pub end: usize,
}

/// A [`Site`] in words: 1-based line, and columns counted in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub name: String,
    pub line: usize,
    pub columns: Range<usize>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, with the offending key or value.
    pub message: String,
    pub site: Site,
    /// Said under the marked text, for instance the nearest valid key. May be empty.
    pub label: String,
    /// Other places that take part.
    pub related: Vec<(Site, String)>,
    /// What to do.
    pub help: String,
}

impl Diagnostic {
    pub(super) fn new(site: &Site, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            site: site.clone(),
            label: String::new(),
            related: Vec::new(),
            help: help.into(),
        }
    }
}

/// Everything found wrong with a spec, in the order of the sources, which it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub sources: Vec<Source>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Why a spec did not load.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("cannot read the spec {path}: {source}\n  = help: give the path of a TOML file, or one of: {}", known.join(", "))]
    Read { path: String, known: Vec<String>, source: std::io::Error },
    #[error("cannot read the spec {path}: {reason}\n  = help: {help}")]
    NoText { path: String, reason: String, help: String },
    #[error(
        "no spec is called `{name}`: the nearest is `{nearest}`\n  = help: give the path of a TOML file, or one of: {}",
        known.join(", ")
    )]
    Unknown { name: String, nearest: String, known: Vec<String> },
    #[error("{}", .0.render(false))]
    Invalid(Box<Report>),
}

impl SpecError {
    /// The error as text for a person, in colour if asked. No newline at the end.
    pub fn render(&self, color: bool) -> String {
        match self {
            Self::Invalid(report) => report.render(color),
            other => format!("error: {}", printable(&other.to_string())),
        }
    }
}

impl Report {
    /// Every diagnostic with its source lines, in colour if asked.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let parts: Vec<String> = self.diagnostics.iter().map(|d| renderer.render(&[self.group(d)])).collect();
        parts.join("\n\n")
    }

    /// Where `site` lies; none when it names no source of this report.
    pub fn locate(&self, site: &Site) -> Option<Location> {
        let source = self.sources.get(site.source)?;
        let span = clip(&source.text, site);
        let before = &source.text[..span.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before[line_start..].chars().count() + 1;
        let width = source.text[span].chars().count();
        Some(Location {
            name: source.name.clone(),
            line: before.matches('\n').count() + 1,
            columns: column..column + width,
        })
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let mut group = Group::with_title(Level::ERROR.primary_title(diagnostic.message.as_str()));
        // The source at fault first: the heading of the snippet shows its line and column.
        let mut order: Vec<usize> = (0..self.sources.len()).collect();
        order.sort_by_key(|index| (*index != diagnostic.site.source, *index));
        for index in order {
            let source = &self.sources[index];
            let mut annotations = Vec::new();
            if index == diagnostic.site.source {
                if source.text.is_empty() {
                    group = group.element(Origin::path(printable(&source.name)));
                    continue;
                }
                let label = Some(diagnostic.label.as_str()).filter(|text| !text.is_empty());
                annotations.push(AnnotationKind::Primary.span(clip(&source.text, &diagnostic.site)).label(label));
            }
            for (site, label) in diagnostic.related.iter().filter(|(site, _)| site.source == index) {
                annotations.push(AnnotationKind::Context.span(clip(&source.text, site)).label(label.as_str()));
            }
            if !annotations.is_empty() {
                let path = printable(&source.name);
                group = group.element(Snippet::source(source.text.as_str()).path(path).annotations(annotations));
            }
        }
        if !diagnostic.help.is_empty() {
            group = group.element(Level::HELP.message(normalize_untrusted_str(&diagnostic.help)));
        }
        group
    }
}

/// The site's range, moved onto character boundaries inside `text`.
fn clip(text: &str, site: &Site) -> Range<usize> {
    let start = text.floor_char_boundary(site.start);
    start..text.ceil_char_boundary(site.end.max(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_count_lines_and_characters_and_stay_inside_the_text() {
        let report = Report {
            sources: vec![Source { name: "a.toml".to_string(), text: "x = 1\nµµ = 2\n".to_string() }],
            diagnostics: Vec::new(),
        };
        let at = |start, end| report.locate(&Site { source: 0, start, end }).expect("a location");
        assert_eq!(at(6, 10), Location { name: "a.toml".to_string(), line: 2, columns: 1..3 });
        assert_eq!(at(7, 9), Location { name: "a.toml".to_string(), line: 2, columns: 1..3 });
        assert_eq!(at(900, 1000).line, 3);
        assert_eq!(report.locate(&Site { source: 1, start: 0, end: 0 }), None);
    }
}
