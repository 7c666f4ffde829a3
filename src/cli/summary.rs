//! The summary of a run as text.

use std::io::Write;
use std::path::Path;

use anyhow::Context;

use super::output;
use super::terminal::Screen;
use crate::analysis::Summary;
use crate::numerics::printable::printable;
use crate::numerics::shown::{Levels, rounded};
use crate::store::{RecordedStatus, read_columns};

/// Shades of a small heatmap, from the least mean to the greatest, and what stands where there is none.
struct Shades {
    steps: [char; 5],
    none: char,
}

const BLOCKS: Shades = Shades { steps: [' ', '\u{2591}', '\u{2592}', '\u{2593}', '\u{2588}'], none: '\u{b7}' };
const ASCII: Shades = Shades { steps: [' ', '.', ':', '*', '#'], none: '?' };

impl Shades {
    fn of(screen: Screen) -> &'static Self {
        if screen.unicode { &BLOCKS } else { &ASCII }
    }

    fn at(&self, mean: f64, (low, high): (f64, f64)) -> char {
        let at = (mean - low) / (high - low) * self.steps.len() as f64;
        self.steps[(at.max(0.0) as usize).min(self.steps.len() - 1)]
    }
}

/// Means shaded between the least and the greatest.
type Shading = Option<(&'static Shades, (f64, f64))>;

/// A summary as text. On a `screen` means are shaded from the least to the greatest, and a table that is too wide for it
/// becomes shades alone.
pub fn render(summary: &Summary, screen: Option<Screen>) -> String {
    let shading: Shading = screen.and_then(|screen| Some((Shades::of(screen), span(summary)?)));
    let table = table(summary, shading);
    let width = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let narrow = screen
        .map(|screen| screen.width)
        .and_then(|most| (width(&table) > most).then(|| shades(summary, shading)).filter(|text| width(text) <= most));
    let shaded = match shading {
        Some((shades, (low, high))) if narrow.is_some() => {
            let steps = shades.steps.iter().collect::<String>();
            format!("; shades [{steps}] from {} to {}", rounded(low), rounded(high))
        }
        _ => String::new(),
    };
    format!("{} ({}{shaded})\n{}\n", summary.metric, about(summary), narrow.unwrap_or(table))
}

/// Least and greatest mean, where they differ.
fn span(summary: &Summary) -> Option<(f64, f64)> {
    let means = summary.cells.iter().flatten().filter_map(|entry| entry.mean);
    let (low, high) = means.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    (low < high && (high - low).is_finite()).then_some((low, high))
}

fn row_name(level: &serde_json::Value, shown: Levels) -> String {
    if level.is_null() { "all cells".to_string() } else { shown.text(level) }
}

fn table(summary: &Summary, shading: Shading) -> String {
    let mut header = vec![match (summary.row_axis.as_str(), summary.column_axis.as_str()) {
        ("", _) => String::new(),
        (row, "") => row.to_string(),
        (row, column) => format!("{row} \\ {column}"),
    }];
    let (down, across) = (Levels::of(&summary.rows), Levels::of(&summary.columns));
    header.extend(summary.columns.iter().map(|c| match c {
        serde_json::Value::Null => "mean".to_string(),
        level => across.text(level),
    }));
    let rows = summary.rows.iter().zip(&summary.cells).map(|(level, entries)| {
        let value = |entry: &crate::analysis::Entry| match (entry.mean, shading) {
            (Some(mean), Some((shades, span))) => format!("{} {1}{1}", rounded(mean), shades.at(mean, span)),
            (Some(mean), None) => rounded(mean),
            (None, _) if entry.without_value > 0 => "no value".to_string(),
            (None, _) => String::new(),
        };
        std::iter::once(row_name(level, down)).chain(entries.iter().map(value)).collect()
    });
    output::table(&header, rows.collect())
}

/// Two characters for each mean, and for each that is missing.
fn shades(summary: &Summary, shading: Shading) -> String {
    let Some((shades, span)) = shading else { return String::new() };
    let (down, across) = (Levels::of(&summary.rows), Levels::of(&summary.columns));
    let rows = summary.rows.iter().zip(&summary.cells).map(|(level, entries)| {
        let drawn = entries.iter().map(|entry| entry.mean.map_or(shades.none, |mean| shades.at(mean, span)));
        vec![row_name(level, down), drawn.flat_map(|c| [c, c]).chain(['|']).collect()]
    });
    let ends = [summary.columns.first(), summary.columns.last()];
    let ends = ends.map(|end| end.map_or(String::new(), |level| across.text(level)));
    let across = format!("{} from {} to {}", summary.column_axis, ends[0], ends[1]);
    output::table(&[summary.row_axis.clone(), across], rows.collect())
}

/// Over how many cells the means are, and what is not in them.
fn about(summary: &Summary) -> String {
    let without: usize = summary.cells.iter().flatten().map(|entry| entry.without_value).sum();
    let counts: Vec<usize> = summary.cells.iter().flatten().map(|e| e.n).filter(|n| *n > 0).collect();
    let over = match (counts.iter().min(), counts.iter().max()) {
        (Some(least), Some(most)) if least < most => format!("mean over {least} to {most} cells each"),
        (Some(n), _) => format!("mean over {n} {} each", if *n == 1 { "cell" } else { "cells" }),
        _ => "no cell has a value".to_string(),
    };
    let missing = if without > 0 { format!("; {without} cells have no value") } else { String::new() };
    let unplaced = match summary.unplaced {
        0 => String::new(),
        n => format!("; {} at levels beside the grid's not shown", output::count(n, "cell")),
    };
    format!("{over}{missing}{unplaced}")
}

/// Appends the summary to the job's page where a CI service asks for one.
pub fn write_step_summary(summaries: &[Summary], dir: &Path) -> anyhow::Result<()> {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|p| !p.is_empty()) else { return Ok(()) };
    let tables: Vec<String> = summaries.iter().map(|summary| render(summary, None)).collect();
    let text = format!("### {}\n\n```\n{}```\n", markdown(&dir.display().to_string()), printable(&tables.join("\n")));
    let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
    file.and_then(|mut f| f.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write GITHUB_STEP_SUMMARY, {}", path.to_string_lossy()))
}

/// Text as it must be written in Markdown to stand as it is: on one line, without markup or HTML.
fn markdown(text: &str) -> String {
    let one_line = output::shown(text);
    let mut out = String::with_capacity(one_line.len());
    for c in one_line.chars() {
        // Of what has a meaning in Markdown, only what commonly stands in paths may stay: it has none inside a word.
        if c.is_ascii_punctuation() && !matches!(c, '/' | '.' | ',' | '-' | ':') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The first failed cell of the table, and why it failed.
pub fn failed_example(cells: &Path) -> anyhow::Result<String> {
    let table = read_columns(cells, &["cell_id", "status", "reason"].map(String::from))?;
    let text = |name: &str| -> anyhow::Result<_> { Ok(table.column(name)?.str()?) };
    let (ids, statuses, reasons) = (text("cell_id")?, text("status")?, text("reason")?);
    let first = statuses.iter().position(|status| status == Some(RecordedStatus::Failed.name()));
    let at = |row: usize| format!("{}: {}", ids.get(row).unwrap_or_default(), reasons.get(row).unwrap_or_default());
    Ok(first.map(at).map(output::shown).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use polars_core::prelude::{DataFrame, IntoColumn, NamedFrom, Series};
    use serde_json::json;

    use super::*;

    /// Three temperatures by two strengths of noise; one cell has no value.
    fn summary() -> Summary {
        let axes = [
            ("train.temperature".to_string(), vec![json!(0.01), json!(0.1), json!(1.0)]),
            ("image.noise".to_string(), vec![json!(0.0), json!(0.5)]),
        ];
        let mut summary = Summary::new("effective_rank_img", &axes);
        let numbers = |name: &str, values: [Option<f64>; 6]| Series::new(name.into(), values).into_column();
        let cells = DataFrame::new_infer_height(vec![
            numbers("param_train_temperature", [0.01, 0.01, 0.1, 0.1, 1.0, 1.0].map(Some)),
            numbers("param_image_noise", [0.0, 0.5, 0.0, 0.5, 0.0, 0.5].map(Some)),
            numbers(
                "metric_effective_rank_img",
                [1.001, f64::NAN, 2.002, 3.503, 4.004, 6.006].map(|x| Some(x).filter(|x| !x.is_nan())),
            ),
        ]);
        summary.add_all(&cells.expect("a table")).expect("its columns");
        summary
    }

    fn screen(width: usize) -> Option<Screen> {
        Some(Screen { width, unicode: true })
    }

    #[test]
    fn where_only_ascii_is_shown_the_same_tables_are_ascii() {
        let summary = summary();
        for width in [80, 48, 10] {
            let blocks = render(&summary, screen(width));
            let ascii = render(&summary, Some(Screen { width, unicode: false }));
            assert!(ascii.is_ascii() && !blocks.is_ascii(), "{ascii}");
            let mut turned: String = blocks;
            for (block, char) in BLOCKS.steps.iter().chain([&BLOCKS.none]).zip(ASCII.steps.iter().chain([&ASCII.none]))
            {
                turned = turned.replace(*block, &char.to_string());
            }
            assert_eq!(turned, ascii);
        }
    }

    #[test]
    fn a_path_is_no_markup() {
        assert_eq!(markdown("results/smoke-1a2b.old"), "results/smoke-1a2b.old");
        assert_eq!(markdown("a`b<img>\n# c_d"), "a\\`b\\<img\\>\\\\n\\# c\\_d");
        assert_eq!(markdown("\u{1b}[2J[x](y)"), "\\\\u\\{1b\\}\\[2J\\[x\\]\\(y\\)");
    }

    #[test]
    fn means_are_shaded_on_a_screen_only() {
        let summary = summary();
        assert!(!render(&summary, None).contains('\u{2588}'));
        let wide = render(&summary, screen(80));
        assert!(wide.contains("1.001   ") && wide.contains("6.006 \u{2588}\u{2588}"), "{wide}");
        assert!(wide.contains("3.503 \u{2592}\u{2592}") && wide.contains("no value"), "{wide}");
        // The numbers need 51 characters, shades alone 44.
        let narrow = render(&summary, screen(48));
        assert!(narrow.contains("shades [ \u{2591}\u{2592}\u{2593}\u{2588}] from 1.001 to 6.006"), "{narrow}");
        assert!(narrow.contains("image.noise from 0 to 0.5") && narrow.contains("  \u{b7}\u{b7}|"), "{narrow}");
        assert_eq!(render(&summary, screen(10)), wide, "what fits nowhere keeps its numbers");
    }
}
