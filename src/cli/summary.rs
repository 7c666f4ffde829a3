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
        let mut row = vec![output::scalar(level)];
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
    let missing = if without > 0 { format!("; {without} cells have no value") } else { String::new() };
    format!("{} (mean over the other axes{missing})\n{table}\n", summary.metric)
}
