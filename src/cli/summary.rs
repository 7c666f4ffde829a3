//! The summary of a run as text.

use super::output;
use crate::analysis::Summary;

/// A summary as text.
pub fn render(summary: &Summary) -> String {
    let mut header = vec![match (summary.row_axis.as_str(), summary.column_axis.as_str()) {
        ("", _) => String::new(),
        (row, "") => row.to_string(),
        (row, column) => format!("{row} \\ {column}"),
    }];
    header.extend(summary.columns.iter().map(|c| match c {
        serde_json::Value::Null => "mean".to_string(),
        level => output::scalar(level),
    }));
    let mut without = 0;
    let rows = summary.rows.iter().zip(&summary.cells).map(|(level, entries)| {
        let mut row = vec![if level.is_null() { "all cells".to_string() } else { output::scalar(level) }];
        for entry in entries {
            without += entry.without_value;
            row.push(match entry.mean {
                Some(mean) => format!("{mean:.3}"),
                None if entry.without_value > 0 => "no value".to_string(),
                None => String::new(),
            });
        }
        row
    });
    let table = output::table(&header, rows.collect());
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
    format!("{} ({over}{missing}{unplaced})\n{table}\n", summary.metric)
}
