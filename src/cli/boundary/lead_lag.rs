//! What `cliffline boundary` says of which limit and which constraint breaks first.

use std::path::Path;

use polars_core::prelude::DataFrame;
use serde_json::Value;

use super::{BoundaryArgs, Row, count, fixed, fixed_levels, heading, number, text};
use crate::analysis::line::value_at;
use crate::cli::output;
use crate::store::{LEAD_LAG_TABLE, read_table};

/// Rows that are printed of one walk; the table has all.
const MOST_ROWS: usize = 10;

/// The rows of the table that were asked for: those of training only where neither a constraint nor an axis was.
pub fn rows(args: &BoundaryArgs, tables: &Path) -> anyhow::Result<Vec<Row>> {
    let frame: DataFrame = read_table(&tables.join(LEAD_LAG_TABLE))?;
    let column = |name: &str| -> anyhow::Result<Vec<Option<&str>>> { Ok(frame.column(name)?.str()?.iter().collect()) };
    let (axis, first, second) = (column("axis")?, column("first")?, column("second")?);
    let asked = |row: &usize| {
        let along = args.axis.as_deref().is_none_or(|wanted| axis[*row] == Some(wanted));
        let of = |wanted| axis[*row].is_some() && [first[*row], second[*row]].contains(&Some(wanted));
        along && args.constraint.as_deref().is_none_or(of)
    };
    let row = |row: usize| frame.columns().iter().map(|c| Ok((c.name().to_string(), value_at(c, row)?))).collect();
    (0..frame.height()).filter(asked).map(row).collect()
}

/// The section of the text; none where nothing breaks before something else.
pub fn section(rows: &[Row]) -> Option<String> {
    let leads: Vec<&Row> = rows.iter().filter(|row| leads(row) > 0).collect();
    let (training, along): (Vec<&Row>, Vec<&Row>) = leads.into_iter().partition(|row| row["axis"].is_null());
    let is_whole =
        |row: &&&Row| row.iter().filter(|(name, _)| name.starts_with("param_")).all(|(_, level)| level.is_null());
    let whole: Vec<&Row> = training.iter().filter(is_whole).copied().collect();
    let mut parts = Vec::new();
    if let Some(first) = whole.first() {
        let title =
            format!("which breaks first while training, over all {} cells; leads in steps", count(first, "cells"));
        parts.push(format!("{title}\n{}", table(&whole, training.len() - whole.len(), "cells")));
    }
    for walk in along.chunk_by(|a, b| (&a["axis"], &a["direction"]) == (&b["axis"], &b["direction"])) {
        let (first, up) = (walk[0], text(walk[0], "direction") == "up");
        let leads = if is_ratio(first) { "ratios of levels" } else { "differences of levels" };
        let towards = if up { "upwards" } else { "downwards" };
        let title = format!("which breaks first along {} {towards}; leads as {leads}", text(first, "axis"));
        parts.push(format!("{title}\n{}", table(walk, 0, "seeds")));
    }
    let legend = "from start: leads of what was broken when it was first looked at, and may never have been kept; both: where \
                  both break at a known place; median lead: over leads and ties, - where it is over what does not break";
    parts.extend((!parts.is_empty()).then(|| legend.to_string()));
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

fn leads(row: &Row) -> u64 {
    count(row, "first_leads") + count(row, "second_leads")
}

/// Leads of what was kept before it broke.
fn telling(row: &Row) -> u64 {
    leads(row) - count(row, "first_leads_from_start") - count(row, "second_leads_from_start")
}

fn is_ratio(row: &Row) -> bool {
    text(row, "unit") == "log_ratio"
}

/// Pairs of which one has leads that tell something, the one that leads more often first; on top those with most of such
/// leads. `elsewhere` are rows that nobody would look for here.
fn table(rows: &[&Row], elsewhere: usize, walks: &str) -> String {
    let columns = fixed(rows);
    let mut header: Vec<String> = columns.iter().map(|column| heading(column)).collect();
    let words = ["earlier", "later", walks, "leads", "from start", "lags", "ties", "neither", "unknown"];
    header.extend(words.map(String::from));
    header.extend(["share of leads [95%]", "both", "median lead [95%]"].map(String::from));
    let mut sorted: Vec<&Row> = rows.iter().copied().filter(|row| telling(row) > 0).collect();
    sorted.sort_by_key(|row| std::cmp::Reverse((telling(row), count(row, "both"))));
    let levels = fixed_levels(rows, &columns);
    let row = |row: &&Row| {
        let turned = count(row, "second_leads") > count(row, "first_leads");
        let [first, second] = if turned { ["second", "first"] } else { ["first", "second"] };
        let mut cells = levels(row);
        cells.extend([first, second].map(|name| text(row, name).to_string()));
        let of = |name: &str, what: &str| count(row, &format!("{name}_{what}")).to_string();
        let counted = |column: &str| count(row, column).to_string();
        cells.extend([counted("cells"), of(first, "leads"), of(first, "leads_from_start"), of(second, "leads")]);
        cells.extend(["ties", "neither", "unknown"].map(counted));
        cells.push(interval(row, ["share_first_leads", "share_low", "share_high"], turned, |share| {
            if turned { 1.0 - share } else { share }
        }));
        cells.push(counted("both"));
        cells.push(interval(row, ["median_lead", "median_low", "median_high"], turned, |lead| {
            let lead = if turned { 0.0 - lead } else { lead };
            if is_ratio(row) { lead.exp() } else { lead }
        }));
        cells
    };
    let shown: Vec<Vec<String>> = sorted.iter().take(MOST_ROWS).map(row).collect();
    let from_start = rows.len() - sorted.len();
    let rest = [
        (sorted.len() - shown.len(), "more"),
        (from_start, "with leads from the start only"),
        (elsewhere, "for single combinations of levels"),
    ];
    let rest = rest.into_iter().filter(|(n, _)| *n > 0);
    let rest: Vec<String> = rest.map(|(n, what)| format!("{} {what}", output::count(n, "row"))).collect();
    let rest = (!rest.is_empty()).then(|| format!("in {LEAD_LAG_TABLE}: {}", rest.join(", ")));
    let shown = (!shown.is_empty()).then(|| output::table(&header, shown));
    shown.into_iter().chain(rest).collect::<Vec<_>>().join("\n")
}

/// An estimate with its interval, both as `seen`; `turned` where that turns the ends round. One end alone may be infinite,
/// and so may be what is estimated.
fn interval(row: &Row, [at, low, high]: [&str; 3], turned: bool, seen: impl Fn(f64) -> f64) -> String {
    let shown = |column: &str| number(&row[column].as_f64().map_or(Value::Null, |value| Value::from(seen(value))));
    let (low, high) = if turned { (high, low) } else { (low, high) };
    let none = row[low].is_null() && row[high].is_null();
    if none { shown(at) } else { format!("{} [{}, {}]", shown(at), shown(low), shown(high)) }
}
