//! Printing: JSON and tables on standard output, notes on standard error.
//!
//! Nothing else in the program prints. What is printed can hold text of others (file names, manifests, reasons), so that
//! every character that a terminal obeys is escaped here.

use std::io::Write;
use std::path::Path;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::numerics::printable::{on_one_line, printable, printable_json, printable_styled};

/// Prints a line on standard output. That nobody reads on is no error, and changes no exit code.
pub fn line(text: &str) -> anyhow::Result<()> {
    write_line(&printable(text))
}

fn write_line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}") {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Says something on standard error. A closed standard error must not end a run, so failing to say it is ignored.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(text));
}

/// As [`note`], of a text that the program has coloured itself.
pub fn note_styled(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", printable_styled(text));
}

/// A name or a reason of others inside a sentence: on one line, whatever it holds.
pub fn shown(text: impl std::fmt::Display) -> String {
    on_one_line(&text.to_string()).into_owned()
}

/// A path for a JSON document, whose strings are Unicode: what is not is shown as U+FFFD, as on the terminal.
pub fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Prints one JSON document.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    write_line(&printable_json(&serde_json::to_string_pretty(value)?))
}

/// A plain table: the first column left, the others right.
pub fn table(header: &[String], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(shown).collect::<Vec<_>>());
    table.add_rows(rows.into_iter().map(|row| row.iter().map(shown).collect::<Vec<_>>()));
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        column.set_cell_alignment(if i == 0 { CellAlignment::Left } else { CellAlignment::Right });
    }
    table.lines().map(|l| l.trim_end().to_string()).collect::<Vec<_>>().join("\n")
}

/// `1 pack`, `2 packs`.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A duration in words: `850 ms`, `42 s`, `3 min 20 s`, `2 h 5 min`.
pub fn seconds(s: f64) -> String {
    match s {
        s if !s.is_finite() => "unknown".into(),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min {:.0} s", (s / 60.0).floor(), s % 60.0),
        s => format!("{:.0} h {:.0} min", (s / 3600.0).floor(), (s % 3600.0) / 60.0),
    }
}

/// A size in words, in powers of 1024.
pub fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", units[unit]) }
}
