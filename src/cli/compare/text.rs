//! A comparison as text.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Run, shifts};
use crate::analysis::compare::{
    Answer, AxisDiff, ByName, Comparison, Difference, EnvironmentDiff, Judged, Outcomes, SpecDiff,
};
use crate::cli::output;
use crate::cli::output::shown;
use crate::numerics::bootstrap::method;
use crate::numerics::shown::{rounded, rounded_to};
use crate::spec::CLEAN;

/// Entries of a list that are printed; the document has more.
const SHOWN: usize = 5;

/// Rows of a section that are printed.
pub(super) const ROWS: usize = 12;

/// Of the first rows it is said where they moved furthest.
const PLACED: usize = 3;

/// The sections, in the order of reading.
pub fn render(a: &Run, b: &Run, comparison: &Comparison) -> String {
    let mut lines = vec![format!("a: {}", head(a)), format!("b: {}", head(b))];
    if let Some(class) = &comparison.environment.class {
        lines.push(
            "The classes differ, so numbers differ by rounding at least, and what that grows to in training:".into(),
        );
        lines.push(format!("  a: {}", shown(&class.a)));
        lines.push(format!("  b: {}", shown(&class.b)));
    }
    lines.extend(spec(&comparison.spec));
    lines.extend(environment(&comparison.environment));
    lines.extend(outcomes(&comparison.outcomes));
    // Before the metrics that they sum up.
    lines.extend(shifts::render(a, b, comparison.boundaries.as_ref()));
    lines.extend(differences(comparison));
    lines.join("\n")
}

/// The result of one `--fail-on`.
pub fn answer(judged: &Judged) -> String {
    let answer = match judged.answer {
        Answer::Holds => "holds",
        Answer::DoesNotHold => "does not hold",
        Answer::CannotBeJudged => "cannot be judged, which counts as if it held",
    };
    let mean = judged
        .mean
        .map(|mean| format!("b - a is {} over {}", signed(mean), output::count(judged.seeds as usize, "seed")));
    let interval = judged.interval.zip(method([judged.seeds as usize]));
    let interval = interval.map(|([low, high], how)| format!("interval {} to {}, {how}", signed(low), signed(high)));
    let why = Some(judged.why.clone()).filter(|why| !why.is_empty());
    let parts: Vec<String> = mean.into_iter().chain(interval).chain(why).collect();
    format!("fail on {}: {answer}: {}", judged.condition, parts.join("; "))
}

fn head(run: &Run) -> String {
    let Run { dir, manifest, .. } = run;
    let (dir, sweep, id) = (shown(dir.display()), shown(&manifest.sweep), shown(&manifest.run_id));
    format!("{dir} ({sweep}, run {id})")
}

fn spec(diff: &SpecDiff) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(diff.name.as_ref().map(|name| format!("name (no setting): {} -> {}", shown(&name.a), shown(&name.b))));
    lines.extend(diff.description.as_ref().map(|_| "description (no setting): differs".to_string()));
    if diff.is_same() {
        lines.push("settings: the same".to_string());
        return lines;
    }
    let shared = diff.settings_shared;
    lines.push(match diff.settings.len() {
        0 => format!("settings: {shared} are fixed in both and the same"),
        1 => format!("settings: 1 differs, {shared} are the same"),
        n => format!("settings: {n} differ, {shared} are the same"),
    });
    let settings = diff.settings.iter();
    lines.extend(settings.map(|(path, each)| format!("  {path}: {} -> {}", level(&each.a), level(&each.b))));
    if !diff.axes.is_empty() {
        lines.push("axes:".to_string());
        lines.extend(diff.axes.iter().map(axis));
    }
    let zip = |groups: &[Vec<String>]| match groups.is_empty() {
        true => "none".to_string(),
        false => groups.iter().map(|paths| paths.join(" with ")).collect::<Vec<_>>().join("; "),
    };
    lines.extend(diff.zip.as_ref().map(|each| format!("zipped axes: {} -> {}", zip(&each.a), zip(&each.b))));
    lines.extend(diff.excluded.as_ref().map(|each| format!("excluded cells: {} -> {}", each.a, each.b)));
    lines.extend(by_name("conditions", &diff.conditions));
    lines.extend(by_name("gates", &diff.gates));
    lines
}

fn axis(axis: &AxisDiff) -> String {
    let fixed = |level_there: &Option<Value>, run: &str| {
        level_there.as_ref().map(|value| format!("fixed to {} in {run}", level(value)))
    };
    let only = |levels: &[Value], run: &str| (!levels.is_empty()).then(|| format!("only {run} has {}", list(levels)));
    let parts = [
        Some(format!("{} in both", output::count(axis.shared as usize, "level"))),
        fixed(&axis.fixed_a, "a"),
        fixed(&axis.fixed_b, "b"),
        only(&axis.only_a, "a").filter(|_| axis.fixed_a.is_none()),
        only(&axis.only_b, "b").filter(|_| axis.fixed_b.is_none()),
    ];
    format!("  {}: {}", axis.path, parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
}

fn by_name(what: &str, entries: &[ByName]) -> Vec<String> {
    if entries.is_empty() {
        return Vec::new();
    }
    let one = |entry: &ByName| match (&entry.a, &entry.b) {
        (Some(_), None) => format!("  {}: in a only", entry.name),
        (None, _) => format!("  {}: in b only", entry.name),
        (Some(a), Some(b)) => format!("  {}: {}", entry.name, changed_keys(a, b)),
    };
    std::iter::once(format!("{what}:")).chain(entries.iter().map(one)).collect()
}

/// `min: 8.0 -> 6.0`.
fn changed_keys(a: &Value, b: &Value) -> String {
    let fields = |value: &Value| -> BTreeMap<String, Value> {
        value.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let (a, b) = (fields(a), fields(b));
    let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let text = |value: Option<&Value>| match value {
        None | Some(Value::Null) => "none".to_string(),
        Some(value) => level(value),
    };
    let changed = keys.into_iter().filter(|key| a.get(*key) != b.get(*key));
    changed.map(|key| format!("{key}: {} -> {}", text(a.get(key)), text(b.get(key)))).collect::<Vec<_>>().join(", ")
}

fn environment(diff: &EnvironmentDiff) -> Vec<String> {
    let mut lines = Vec::new();
    if diff.differences.is_empty() {
        lines.push("code and machine: the same".to_string());
    } else {
        lines.push("code and machine:".to_string());
        let text = |value: &Value| if value.is_null() { "unknown or none".to_string() } else { level(value) };
        let differences = diff.differences.iter();
        lines.extend(differences.map(|what| format!("  {}: {} -> {}", what.what, text(&what.a), text(&what.b))));
    }
    if !diff.code_is_certain {
        lines.push("  no commit names the code of both exactly: it may differ beyond what is listed".to_string());
    }
    if let Some(speed) = diff.timings.get("train_cell_steps_per_s") {
        let text = |speed: Option<f64>| speed.map_or("not measured".to_string(), |speed| format!("{speed:.0}"));
        lines.push(format!("speed, cell-steps/s: {} -> {}", text(speed.a), text(speed.b)));
    }
    lines
}

fn outcomes(found: &Outcomes) -> Vec<String> {
    let pairs = output::count(found.pairs as usize, "pair");
    let mut lines = vec![format!(
        "cells: {pairs} by {}; {} of {} finished in a, {} of {} in b, {} of the pairs in both",
        found.paired_by.join(", "),
        found.finished.a,
        found.planned.a,
        found.finished.b,
        found.planned.b,
        found.finished_pairs
    )];
    let unpaired = [(found.unpaired.a, "a"), (found.unpaired.b, "b")];
    let unpaired = unpaired.iter().filter(|(n, _)| *n > 0);
    lines.extend(unpaired.map(|(n, run)| format!("  {} in {run} only", output::count(*n as usize, "cell"))));
    let statuses = found.statuses.iter().map(|both| match both.a == both.b {
        true => format!("{} {} in both", both.pairs, both.a),
        false => format!("{} {} -> {}", both.pairs, both.a, both.b),
    });
    lines.push(format!("  status of the pairs: {}", statuses.collect::<Vec<_>>().join(", ")));
    let changed = found.changed.iter().take(SHOWN);
    lines.extend(changed.map(|pair| format!("    {} -> {} at {}", pair.a, pair.b, place(&pair.levels))));
    let more = found.changed.len().saturating_sub(SHOWN) as u64 + found.changed_not_listed;
    lines.extend((more > 0).then(|| format!("    and {more} more")));
    let parameters = match found.same_parameters {
        0 => "no pair has the same trained parameters".to_string(),
        n => format!("{} with the same bits in the trained parameters", output::count(n as usize, "pair")),
    };
    lines.push(match (found.same_cells, found.same_cells_different) {
        (0, _) => format!("  no finished pair is of one cell id; {parameters}"),
        (n, 0) => format!("  same cells: {n} finished pairs are of one cell id, and all their checksums are the same"),
        (n, different) => format!(
            "  same cells: {n} finished pairs are of one cell id, and {different} of them have different numbers, such as \
             {}; {parameters}",
            found.different.first().map_or("", String::as_str)
        ),
    });
    lines
}

fn differences(comparison: &Comparison) -> Vec<String> {
    let rows = &comparison.differences;
    let only = [(&comparison.metrics_only.a, "a"), (&comparison.metrics_only.b, "b")];
    let only = only.into_iter().filter(|(metrics, _)| !metrics.is_empty());
    let only = only.map(|(metrics, run)| {
        let more = metrics.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let shown: Vec<&str> = metrics.iter().take(SHOWN).map(String::as_str).collect();
        format!("{} with values in {run} only: {}{more}", output::count(metrics.len(), "metric"), shown.join(", "))
    });
    let moved: Vec<&Difference> = rows.iter().filter(|row| row.largest.is_some()).collect();
    let without = rows.iter().filter(|row| row.pairs == 0).count();
    let mut lines: Vec<String> = only.collect();
    lines.extend((without > 0).then(|| format!("{} without a pair of values", output::count(without, "row"))));
    if moved.is_empty() {
        lines.push(format!(
            "differences: none; in {} everything is exactly 0",
            output::count(rows.len() - without, "row")
        ));
        return lines;
    }
    lines.push(
        "differences b - a over seeds, of each seed's mean over its pairs; effect = mean over standard deviation"
            .to_string(),
    );
    lines.push(table(&moved));
    let hidden = moved.len().saturating_sub(ROWS);
    let zero = rows.len() - moved.len() - without;
    let rest = [(hidden, "more differ with smaller effects"), (zero, "without any difference")];
    let rest: Vec<String> = rest.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    lines.extend((!rest.is_empty()).then(|| format!("{}; --json has all", rest.join(", "))));
    let places = moved.iter().take(PLACED).filter_map(|row| Some((row, row.largest.as_ref()?)));
    lines.extend(places.filter(|(_, furthest)| !furthest.levels.is_empty()).map(|(row, furthest)| {
        let seeds = output::count(furthest.seeds as usize, "seed");
        let under = if row.condition == CLEAN { String::new() } else { format!(" under {}", row.condition) };
        format!(
            "{}{under} moved furthest at {}: {} over {seeds}",
            row.metric,
            place(&furthest.levels),
            signed(furthest.mean)
        )
    }));
    lines.extend(chance(comparison));
    lines
}

fn table(moved: &[&Difference]) -> String {
    let shown = &moved[..moved.len().min(ROWS)];
    let conditions = shown.iter().any(|row| row.condition != CLEAN);
    let titles = ["metric", "condition", "a", "b", "b - a", "95% interval", "effect", "seeds", "pairs"];
    let kept = |title: &str| conditions || title != "condition";
    let header: Vec<String> = titles.into_iter().filter(|title| kept(title)).map(String::from).collect();
    let row = |row: &&Difference| {
        let text = |value: Option<f64>| value.map_or(String::new(), rounded);
        let planned = row.pairs + row.missing_a + row.missing_b + row.missing_both;
        let cells = [
            row.metric.clone(),
            row.condition.clone(),
            text(row.mean_a),
            text(row.mean_b),
            row.mean.map_or(String::new(), signed),
            row.interval.map_or(String::new(), |[low, high]| format!("{} to {}", signed(low), signed(high))),
            match (row.sd, row.effect) {
                (_, Some(effect)) => signed(effect),
                (Some(_), None) if row.mean != Some(0.0) => "all alike".to_string(),
                _ => String::new(),
            },
            row.seeds.to_string(),
            if row.pairs == planned { planned.to_string() } else { format!("{} of {planned}", row.pairs) },
        ];
        titles.into_iter().zip(cells).filter(|(title, _)| kept(title)).map(|(_, cell)| cell).collect()
    };
    output::table(&header, shown.iter().map(row).collect())
}

/// How much of it chance could do.
fn chance(comparison: &Comparison) -> Vec<String> {
    let counted = &comparison.intervals;
    if counted.count == 0 {
        return vec!["one seed: nothing tells its differences from chance".to_string()];
    }
    let text = format!(
        "{} of {} intervals exclude 0; if nothing truly differed, about {} would by chance",
        counted.exclude_zero,
        counted.count,
        rounded_to(counted.expected_by_chance, 2)
    );
    let with = comparison.differences.iter().filter(|row| row.interval.is_some());
    let how = method(with.map(|row| row.seeds as usize));
    std::iter::once(text).chain(how.map(|how| format!("intervals: {how}"))).collect()
}

/// A level or a value of a manifest, on one line.
fn level(value: &Value) -> String {
    shown(crate::numerics::shown::level(value))
}

pub(super) fn place(levels: &BTreeMap<String, Value>) -> String {
    let levels: Vec<String> = levels.iter().map(|(path, value)| format!("{path} = {}", level(value))).collect();
    levels.join(", ")
}

fn list(levels: &[Value]) -> String {
    let shown: Vec<String> = levels.iter().take(SHOWN).map(level).collect();
    let more = levels.len().saturating_sub(SHOWN);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

pub(super) fn signed(value: f64) -> String {
    if value > 0.0 { format!("+{}", rounded(value)) } else { rounded(value) }
}
