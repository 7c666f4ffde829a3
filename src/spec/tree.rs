//! TOML as a plain tree in which every key and value knows its place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Site};

/// Something at a place in a source.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub value: T,
    pub site: Site,
}

pub(super) type Table = Vec<(At<String>, At<Node>)>;

/// A value as written.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Int(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    List(Vec<At<Node>>),
    Table(Table),
    /// A kind of value that no key takes: its name and text.
    Other(String),
}

impl Node {
    /// The value as a phrase: `the text "a"`, `a table`.
    pub fn describe(&self) -> String {
        match self {
            Self::Int(value) => value.to_string(),
            // Debug keeps the exponent of large and small numbers.
            Self::Float(value) => format!("{value:?}"),
            Self::Bool(value) => value.to_string(),
            Self::Text(value) => format!("the text {value:?}"),
            Self::List(_) => "a list".to_string(),
            Self::Table(_) => "a table".to_string(),
            Self::Other(value) => value.clone(),
        }
    }
}

/// Parses a document; `source` is its index among the report's sources.
///
/// # Errors
/// Every syntax error that the parser can recover from and name.
pub(super) fn parse(text: &str, source: usize) -> Result<Table, Vec<Diagnostic>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(table(document.get_ref(), source));
    }
    let problem = |error: &toml::de::Error| {
        let span = error.span().unwrap_or(0..0);
        let site = Site { source, start: span.start, end: span.end };
        let help = "see https://toml.io for the syntax";
        let mut problem = Diagnostic::new(&site, format!("not valid TOML: {}", error.message()), help);
        let number = value_at(text, span.start).and_then(super::meant::number);
        problem.label = number.map_or(String::new(), |number| format!("write {}", super::meant::written(number)));
        problem
    };
    Err(errors.iter().map(problem).collect())
}

/// What is written as one value around a place: between `=` and the end of the line, or between the commas of a list.
fn value_at(text: &str, at: usize) -> Option<&str> {
    let at = text.floor_char_boundary(at);
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
    let line = text.get(start..end)?;
    let value = line.find('=').map_or(0, |equals| equals + 1);
    let whole = line.get(value..)?.split('#').next()?.trim();
    if !whole.starts_with('[') {
        return Some(whole);
    }
    let (before, after) = line.split_at(at - start);
    let (begins, ends) = (before.rfind([',', '[']).map_or(0, |i| i + 1), after.find([',', ']', '#']));
    let ends = ends.map_or(line.len(), |length| before.len() + length);
    line.get(begins..ends).map(str::trim)
}

/// One value of a flag: TOML where it is TOML, otherwise text, so that a choice needs no quotes.
pub(super) fn parse_value(text: &str) -> Node {
    match DeValue::parse(text) {
        Ok(value) => node(value.get_ref(), 0),
        Err(_) => Node::Text(text.to_string()),
    }
}

fn table(table: &DeTable<'_>, source: usize) -> Table {
    let mut entries: Table = table
        .iter()
        .map(|(key, value)| {
            let key = At { value: key.get_ref().to_string(), site: site(key, source) };
            (key, located(value, source))
        })
        .collect();
    entries.sort_by(|a, b| a.0.site.cmp(&b.0.site));
    entries
}

fn located(value: &Spanned<DeValue<'_>>, source: usize) -> At<Node> {
    At { value: node(value.get_ref(), source), site: site(value, source) }
}

fn site<T>(spanned: &Spanned<T>, source: usize) -> Site {
    let span = spanned.span();
    Site { source, start: span.start, end: span.end }
}

fn node(value: &DeValue<'_>, source: usize) -> Node {
    match value {
        DeValue::Integer(integer) => match i128::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) => Node::Int(value),
            Err(_) => Node::Other(format!("the number {integer}")),
        },
        DeValue::Float(float) => match float.as_str().parse() {
            Ok(value) => Node::Float(value),
            Err(_) => Node::Other(format!("the number {float}")),
        },
        DeValue::Boolean(value) => Node::Bool(*value),
        DeValue::String(text) => Node::Text(text.to_string()),
        DeValue::Array(items) => Node::List(items.iter().map(|item| located(item, source)).collect()),
        DeValue::Table(inner) => Node::Table(table(inner, source)),
        DeValue::Datetime(date) => Node::Other(format!("the date {date}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_type_and_place() {
        let text = "b = [1_000, 0x10, 1.5e3]\na.c = \"x\"\n";
        let tree = parse(text, 3).expect("valid");
        assert_eq!(tree.iter().map(|(key, _)| key.value.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        let Node::List(items) = &tree[0].1.value else { panic!("a list") };
        let found: Vec<String> = items.iter().map(|item| item.value.describe()).collect();
        assert_eq!(found, ["1000", "16", "1500.0"]);
        let site = &items[1].site;
        assert_eq!((site.source, &text[site.start..site.end]), (3, "0x10"));
    }

    #[test]
    fn numbers_that_are_no_toml_are_told_how_to_write_them() {
        let label = |text: &str| parse(text, 0).expect_err("not TOML")[0].label.clone();
        let cases = [
            ("a = .05", "write 0.05"),
            ("b = 1\na = 5. # five", "write 5"),
            ("a = 0,5\n", "write 0.5"),
            ("a = [1, .25, 3]", "write 0.25"),
            ("a = [.5]", "write 0.5"),
            ("a = 12%", "write 0.12"),
            ("a = warm", ""),
            ("[a", ""),
            ("a = [\u{fc}, \u{fc}]", ""),
            ("= .5", "write 0.5"),
            ("a = 0300", "write 300"),
            ("a = -007", "write -7"),
            ("a = 1 000", "write 1000"),
            ("a = 00.50", "write 0.5"),
            ("a = 5 5", ""),
            ("a = [1, 2 3]", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(label(text), expected, "{text}");
        }
    }

    #[test]
    fn flag_values_are_toml_or_else_text() {
        assert!(matches!(parse_value("1e-3"), Node::Float(_)));
        assert!(matches!(parse_value("12"), Node::Int(12)));
        assert!(matches!(parse_value("true"), Node::Bool(true)));
        for text in ["swap", "\"swap\""] {
            assert!(matches!(parse_value(text), Node::Text(value) if value == "swap"));
        }
        assert!(matches!(parse_value("a b"), Node::Text(value) if value == "a b"));
    }
}
