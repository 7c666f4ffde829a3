//! `cliffline boundary`: where the constraints of a run flip along its axes, and how far they hold.

mod lead_lag;

use std::path::Path;

use clap::Args;
use polars_core::prelude::DataFrame;
use serde_json::{Map, Value, json};

use super::opened::Opened;
use super::{DirArgs, exit, output};
use crate::analysis::line::value_at;
use crate::numerics::bootstrap::method;
use crate::numerics::shown::{Levels, rounded};
use crate::store::{BOUNDARIES_TABLE, LEAD_LAG_TABLE, MARGINS_TABLE, VERIFICATION_STATEMENT, param_column, read_table};

/// Version of the JSON document.
///
/// # Changelog
/// - 1: first version.
const BOUNDARY_VERSION: u64 = 1;

#[derive(Debug, Args)]
pub struct BoundaryArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Only this constraint: the name of a gate, all, or lost
    #[arg(long, value_name = "NAME")]
    constraint: Option<String>,
    /// Only along this axis, such as train.temperature
    #[arg(long, value_name = "PATH")]
    axis: Option<String>,
    /// Print one JSON document, rows of single seeds included
    #[arg(long)]
    json: bool,
}

/// One row of a table.
type Row = Map<String, Value>;

pub fn main(args: &BoundaryArgs) -> anyhow::Result<u8> {
    let dir = &args.dir.dir;
    let opened = Opened::run(dir)?;
    let tables = opened.tables(&opened.sweep()?, &[BOUNDARIES_TABLE, MARGINS_TABLE, LEAD_LAG_TABLE])?;
    let boundaries = rows(args, tables, BOUNDARIES_TABLE)?;
    let margins = rows(args, tables, MARGINS_TABLE)?;
    let leads = lead_lag::rows(args, tables)?;
    drop(opened);
    if args.json {
        output::json(&json!({
            "format": "cliffline-boundary", "version": BOUNDARY_VERSION, "dir": output::path(dir), "boundaries": boundaries,
            "margins": margins, "lead_lag": leads, "verification_statement": VERIFICATION_STATEMENT,
        }))?;
        return Ok(exit::OK);
    }
    let (across, margins): (Vec<&Row>, Vec<&Row>) = (boundaries.iter().collect(), margins.iter().collect());
    for group in across.chunk_by(|a, b| key(a) == key(b)) {
        let Some(first) = group.first() else { continue };
        output::line(&format!(
            "{} along {} ({} scale)",
            text(first, "constraint"),
            text(first, "axis"),
            text(first, "scale")
        ))?;
        output::line(&edges(group))?;
        let of_group: Vec<&Row> = margins.iter().copied().filter(|row| key(row) == key(first)).collect();
        output::line(&format!("{}\n", reaches(&of_group)))?;
    }
    lead_lag::section(&leads).iter().try_for_each(|section| output::line(section))?;
    if across.is_empty() {
        output::line(&format!(
            "{}: nothing can be located: no numeric axis has two levels at which cells are finished",
            dir.display()
        ))?;
    }
    Ok(exit::OK)
}

/// The rows of a table in the folder `tables` that were asked for.
fn rows(args: &BoundaryArgs, tables: &Path, file: &str) -> anyhow::Result<Vec<Row>> {
    let frame: DataFrame = read_table(&tables.join(file))?;
    let named = |column: &str, wanted: &Option<String>| -> anyhow::Result<Vec<bool>> {
        let Some(wanted) = wanted else { return Ok(vec![true; frame.height()]) };
        let values = frame.column(column)?.str()?;
        let found: Vec<bool> = values.iter().map(|value| value == Some(wanted)).collect();
        if !found.contains(&true) {
            let mut known: Vec<&str> = values.iter().flatten().collect();
            known.sort_unstable();
            known.dedup();
            anyhow::bail!("{file} has no {column} {wanted:?}; it has {}", known.join(", "));
        }
        Ok(found)
    };
    let (constraint, axis) = (named("constraint", &args.constraint)?, named("axis", &args.axis)?);
    // The text is of rows across seeds, of which there are few in a table of millions.
    let across = frame.column("seed")?.is_null();
    let shown = |row: &usize| args.json || across.get(*row) == Some(true);
    let wanted = (0..frame.height()).filter(|row| constraint[*row] && axis[*row]).filter(shown);
    let row = |row: usize| frame.columns().iter().map(|c| Ok((c.name().to_string(), value_at(c, row)?))).collect();
    wanted.map(row).collect::<anyhow::Result<_>>()
}

fn key(row: &Row) -> (&Value, &Value) {
    (&row["constraint"], &row["axis"])
}

fn text<'a>(row: &'a Row, column: &str) -> &'a str {
    row[column].as_str().unwrap_or_default()
}

fn count(row: &Row, column: &str) -> u64 {
    row[column].as_u64().unwrap_or(0)
}

/// The axes that the rows fix, and a row's levels of them.
fn fixed(rows: &[&Row]) -> Vec<String> {
    let Some(first) = rows.first() else { return Vec::new() };
    let is_fixed = |column: &&String| column.starts_with("param_") && rows.iter().any(|row| !row[*column].is_null());
    first.keys().filter(is_fixed).cloned().collect()
}

/// The path of a column's parameter.
fn heading(column: &str) -> String {
    let path = crate::spec::PARAMS.iter().map(|param| param.path).find(|path| param_column(path) == column);
    path.unwrap_or(column).to_string()
}

/// A number; a dash without one.
fn number(value: &Value) -> String {
    value.as_f64().map_or("-".to_string(), rounded)
}

/// How the levels in some columns are written, all of them on one axis.
fn levels_in(rows: &[&Row], columns: &[&str]) -> Levels {
    Levels::of(rows.iter().flat_map(|row| columns.iter().filter_map(|column| row.get(*column))))
}

/// The levels that a row fixes.
fn fixed_levels(rows: &[&Row], columns: &[String]) -> impl Fn(&Row) -> Vec<String> {
    let shown: Vec<(String, Levels)> =
        columns.iter().map(|column| (column.clone(), levels_in(rows, &[column]))).collect();
    move |row| shown.iter().map(|(column, shown)| shown.text(&row[column])).collect()
}

/// A place with its interval, in as many digits as tell the levels of `shown` apart.
fn with_interval(row: &Row, [at, low, high]: [&str; 3], shown: Levels) -> String {
    let text = |column: &str| row[column].as_f64().map_or("-".to_string(), |x| shown.number(x));
    if row[at].is_null() || (row[low].is_null() && row[high].is_null()) {
        return text(at);
    }
    format!("{} [{}, {}]", text(at), text(low), text(high))
}

/// The columns of an edge and its interval: the mean over seeds, the fit.
const ESTIMATES: [[&str; 3]; 2] = [["level", "interval_low", "interval_high"], ["fit_level", "fit_low", "fit_high"]];

/// The edges of the lines of one constraint along one axis.
fn edges(rows: &[&Row]) -> String {
    let columns = fixed(rows);
    let mut header: Vec<String> = columns.iter().map(|column| heading(column)).collect();
    header.extend(
        ["violated", "mean over seeds [95%]", "fit [95%]", "seeds", "crossed", "beyond", "never hold"]
            .map(String::from),
    );
    let islands: u64 =
        rows.iter().filter(|row| text(row, "side") == "upper").map(|row| count(row, "other_flips")).sum();
    let unknown: u64 =
        rows.iter().filter(|row| text(row, "side") == "upper").map(|row| count(row, "unknown_levels")).sum();
    let shown = rows.iter().filter(|row| count(row, "crossed") > 0);
    let levels = fixed_levels(rows, &columns);
    let row = |row: &&&Row| {
        let mut cells = levels(row);
        cells.push(if text(row, "side") == "lower" { "below" } else { "above" }.to_string());
        for [at, low, high] in ESTIMATES {
            // An interval between close levels has two ends.
            cells.push(with_interval(row, [at, low, high], levels_in(&[row], &[low, high])));
        }
        cells.extend(["seeds", "crossed", "beyond", "never_holds"].map(|column| count(row, column).to_string()));
        cells
    };
    let table: Vec<Vec<String>> = shown.clone().map(|found| row(&found)).collect();
    let mut lines = Vec::new();
    if !table.is_empty() {
        lines.push(output::table(&header, table));
    }
    // Lines without a crossed edge on either side.
    let uncrossed = || {
        let sides = rows.chunks(2).filter(|pair| pair.iter().all(|row| count(row, "crossed") == 0));
        sides.filter_map(|pair| pair.first())
    };
    let all =
        |row: &&&Row, column: &str| count(row, column) == count(row, "seeds") && count(row, "unknown_levels") == 0;
    let holds = uncrossed().filter(|row| all(row, "beyond")).count();
    let never = uncrossed().filter(|row| all(row, "never_holds")).count();
    let others = uncrossed().count() - holds - never;
    let of_lines = |n: usize, what: &str| (n > 0).then(|| format!("{} {what}", output::count(n, "line")));
    lines.extend(of_lines(holds, "without a flip: it holds at every level for every seed"));
    lines.extend(of_lines(never, "without a flip: it holds at no level for any seed"));
    lines.extend(of_lines(others, "without a flip, where seeds differ or not all of their outcomes are known"));
    lines.extend((islands > 0).then(|| {
        let flips = output::count(islands as usize, "flip");
        format!("{flips} elsewhere than at the ends of the widest run of levels that hold")
    }));
    lines.extend((unknown > 0).then(|| {
        let cells = output::count(unknown as usize, "cell");
        format!("{cells} without an outcome: not finished, or the metric is undefined there")
    }));
    let with = rows.iter().filter(|row| !row["interval_low"].is_null());
    let how = method(with.map(|row| count(row, "seeds") as usize));
    lines.extend(how.map(|how| format!("intervals of means: {how}; never narrower than what the levels leave open")));
    lines.join("\n")
}

/// The margins of the lines of one constraint along one axis: a line each, both directions beside one another.
fn reaches(rows: &[&Row]) -> String {
    let columns = fixed(rows);
    // A direction in which nothing holds from the end on, as where constraints hold in the middle only, says nothing.
    let says = |direction: usize| {
        rows.chunks(2)
            .any(|pair| pair.get(direction).is_some_and(|row| count(row, "always_violated") < count(row, "seeds")))
    };
    let directions: Vec<(usize, &str)> = [(0, "from the lowest up to"), (1, "from the highest down to")]
        .into_iter()
        .filter(|(direction, _)| says(*direction))
        .collect();
    let mut header: Vec<String> = columns.iter().map(|column| heading(column)).collect();
    header.push("passes at".to_string());
    header.extend(directions.iter().flat_map(|(_, title)| [title.to_string(), "median [95%]".to_string()]));
    let levels = fixed_levels(rows, &columns);
    let along = levels_in(rows, &["run_low", "run_high", "margin", "median", "median_low", "median_high"]);
    let row = |pair: &[&Row]| {
        let mut cells = levels(pair[0]);
        cells.push(match (&pair[0]["run_low"], &pair[0]["run_high"]) {
            (Value::Null, _) => "no level".to_string(),
            (low, high) if low == high => along.text(low),
            (low, high) => format!("{} to {}", along.text(low), along.text(high)),
        });
        for row in directions.iter().filter_map(|(direction, _)| pair.get(*direction)) {
            let margin = if row["margin"].is_null() { "-".to_string() } else { along.text(&row["margin"]) };
            cells.push(match text(row, "censored") {
                "never_reached" => "the other end".to_string(),
                "missing_evidence" => format!("{margin}, then too little evidence"),
                _ => margin,
            });
            cells.push(with_interval(row, ["median", "median_low", "median_high"], along));
        }
        cells
    };
    let moves = |pair: &&[&Row]| pair.iter().any(|row| text(row, "censored") != "never_reached");
    let table: Vec<Vec<String>> = rows.chunks(2).filter(moves).map(row).collect();
    let throughout = rows.chunks(2).count() - table.len();
    let mut lines = Vec::new();
    if !table.is_empty() {
        lines.push("where its gates pass, for the seeds that they ask for, and the seeds' own margins".to_string());
        lines.push(output::table(&header, table));
    }
    lines.extend(
        (throughout > 0).then(|| format!("{} at all of whose levels it passes", output::count(throughout, "line"))),
    );
    lines.join("\n")
}
