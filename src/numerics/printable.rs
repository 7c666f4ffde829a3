//! Text of others, made safe to print: file names, manifests, reasons and errors can hold characters that a terminal obeys
//! or that make a line look like another.

use std::borrow::Cow;
use std::fmt::Write;

/// How a character is shown that must not be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// As Rust writes it: `\u{1b}`.
    Braces,
    /// As JSON writes it, in UTF-16: `\u001b`.
    Json,
}

/// Whether a character shows nothing of itself but moves, hides or reorders what is around it, on a terminal or in a
/// browser: control characters (C0, DEL, C1) but for the newline and the tab, marks, embeddings, overrides and isolates of
/// direction, separators of lines, fillers and tags.
///
/// The joiners U+200C and U+200D are letters' business in several scripts, and stay.
pub fn is_hidden(c: char) -> bool {
    let plain = matches!(c, '\n' | '\t');
    let hidden = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    hidden || (c.is_control() && !plain)
}

/// The text with every hidden character escaped. Lines stay lines.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden, Escape::Braces)
}

/// A text with every hidden character escaped but for those that begin a colour or another style (`ESC [ numbers m`), where
/// the program itself wrote them.
pub fn printable_styled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        let (before, from) = rest.split_at(at);
        out.push_str(&printable(before));
        let numbers = from[2..].find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(from.len() - 2);
        let style = from[2 + numbers..].starts_with('m');
        let (escape, after) = from.split_at(if style { numbers + 3 } else { 2 });
        out.push_str(&if style { Cow::Borrowed(escape) } else { printable(escape) });
        rest = after;
    }
    out.push_str(&printable(rest));
    out
}

/// The text on one line: newlines and tabs are escaped as well. For a name inside a sentence, whose line breaks would pass
/// for the program's own.
pub fn on_one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_hidden(c) || matches!(c, '\n' | '\t'), Escape::Braces)
}

/// A JSON document with every hidden character escaped; it stands for the same values.
pub fn printable_json(document: &str) -> Cow<'_, str> {
    escaped(document, is_hidden, Escape::Json)
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool, how: Escape) -> Cow<'_, str> {
    if !text.chars().any(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match (hidden(c), how) {
            (false, _) => out.push(c),
            (true, Escape::Braces) => out.extend(c.escape_default()),
            (true, Escape::Json) => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown() {
        for (text, expected) in [
            ("\u{1b}[2K\u{1b}[1Apassed", "\\u{1b}[2K\\u{1b}[1Apassed"),
            ("title\u{7}bell\u{8}\rback", "title\\u{7}bell\\u{8}\\rback"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("cells\u{202e}teuqrap.\u{2066}x\u{2069}", "cells\\u{202e}teuqrap.\\u{2066}x\\u{2069}"),
            ("a\u{2028}b\u{feff}c\u{200b}d", "a\\u{2028}b\\u{feff}c\\u{200b}d"),
            ("two\nlines\tand a tab", "two\nlines\tand a tab"),
            ("naïve 图像 \u{1f469}\u{200d}\u{1f52c} نص", "naïve 图像 \u{1f469}\u{200d}\u{1f52c} نص"),
        ] {
            assert_eq!(printable(text), expected);
        }
        assert_eq!(on_one_line("a\nb: passed\t"), "a\\nb: passed\\t");
        let styled = "\u{1b}[1m\u{1b}[38;5;9merror\u{1b}[0m: \u{1b}[2J\u{1b}]0;t\u{7}\u{1b}[";
        let expected = "\u{1b}[1m\u{1b}[38;5;9merror\u{1b}[0m: \\u{1b}[2J\\u{1b}]0;t\\u{7}\\u{1b}[";
        assert_eq!(printable_styled(styled), expected);
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left_and_json_keeps_its_values(text in "\\PC*|[\\x00-\\x{a0}\\x{2020}-\\x{2070}\\x{e0000}-\\x{e0080}]*") {
            prop_assert!(!printable(&text).chars().any(is_hidden));
            prop_assert!(!on_one_line(&text).contains(['\n', '\t']));
            let document = serde_json::to_string(&serde_json::json!({ "text": text })).unwrap();
            let shown = printable_json(&document);
            prop_assert!(!shown.chars().any(is_hidden));
            let back: serde_json::Value = serde_json::from_str(&shown).unwrap();
            prop_assert_eq!(back["text"].as_str(), Some(text.as_str()));
        }
    }
}
