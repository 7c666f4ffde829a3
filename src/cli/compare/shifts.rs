//! How far the boundaries moved, as text.

use super::Run;
use super::text::{ROWS, place, signed};
use crate::analysis::compare::{BoundaryShifts, Each, Shift, State, Transition};
use crate::analysis::trace::Side;
use crate::cli::output;
use crate::numerics::bootstrap::method;
use crate::numerics::shown::rounded;
use crate::spec::Scale;

/// The section; where the runs have no boundaries to compare it says why.
pub(super) fn render(a: &Run, b: &Run, found: Option<&BoundaryShifts>) -> Vec<String> {
    let Some(found) = found else {
        let why: Vec<String> = [a, b].iter().filter_map(|run| run.without_boundaries()).collect();
        return vec![format!("boundaries: not compared; {}", why.join("; "))];
    };
    let (mut moved, still): (Vec<&Shift>, Vec<&Shift>) = found.shifts.iter().partition(|shift| !shift.is_still());
    // What is measured before what is not; within each the furthest first, as they come.
    moved.sort_by_key(|shift| (!excludes_none(shift), shift.interval.is_none(), shift.shift.is_none()));
    let lines = output::count(found.lines as usize, "line");
    let mut text = Vec::new();
    if moved.is_empty() {
        text.push(format!("boundaries: on {lines} of both, none is known to have moved"));
    } else {
        text.push(format!(
            "boundaries on {lines} of both, over the seeds that cross in both: x is the ratio b / a, else b - a"
        ));
        text.push(table(&moved[..moved.len().min(ROWS)]));
    }
    let more = moved.len().saturating_sub(ROWS);
    text.extend((more > 0).then(|| format!("  {more} more; --json has all")));
    let measured = moved.iter().filter(|shift| shift.interval.is_some()).count();
    let beyond = moved.iter().filter(|shift| excludes_none(shift)).count();
    text.extend((measured > 0).then(|| {
        let closer = if beyond < measured { "; refine both runs to tell more closely" } else { "" };
        format!("  {beyond} of {measured} intervals exclude that nothing moved{closer}")
    }));
    text.extend(notes(&moved[..moved.len().min(ROWS)]));
    let exactly = still.iter().filter(|shift| shift.shift.is_some()).count();
    let boundaries = |n: usize, one: &str, more: &str| match n {
        0 => None,
        1 => Some(format!("  1 boundary {one}")),
        n => Some(format!("  {n} boundaries {more}")),
    };
    text.extend(boundaries(exactly, "is exactly where it was", "are exactly where they were"));
    let unseen = still.len() - exactly;
    text.extend(boundaries(unseen, "may or may not have moved", "may or may not have moved"));
    let without = &found.without_edge;
    text.extend((without.sides > 0).then(|| {
        let otherwise = others(&without.transitions, |moved| moved.a != moved.b);
        let otherwise = if otherwise.is_empty() { otherwise } else { format!("; of their seeds {otherwise}") };
        format!(
            "  {} of lines that no seed crosses in either run{otherwise}",
            output::count(without.sides as usize, "side")
        )
    }));
    let names = |names: &[String], what: &str| (!names.is_empty()).then(|| format!("  {what}: {}", names.join(", ")));
    text.extend(names(&found.defined_differently, "not compared: defined differently"));
    text.extend(names(&found.constraints_only.a, "not compared: in a only"));
    text.extend(names(&found.constraints_only.b, "not compared: in b only"));
    let Each { a, b } = found.lines_only;
    text.extend((a + b > 0).then(|| format!("  not compared: {a} lines in a only, {b} in b only")));
    text
}

/// Whether the interval of a shift is all on one side of none.
fn excludes_none(shift: &Shift) -> bool {
    let none = if shift.scale == Scale::Log { 1.0 } else { 0.0 };
    shift.interval.is_some_and(|[low, high]| low > none || high < none)
}

fn table(rows: &[&Shift]) -> String {
    let fits = rows.iter().any(|row| row.fit_shift.is_some());
    let titles =
        ["constraint", "along", "at", "violated", "a", "b", "shift [95%]", "of the fits", "seeds", "other seeds"];
    let kept = |title: &str| match title {
        "of the fits" => fits,
        "at" => rows.iter().any(|row| !row.levels.is_empty()),
        _ => true,
    };
    let cells = |row: &Shift| {
        let only = [(row.seeds_only.a, "in a only"), (row.seeds_only.b, "in b only")];
        let only = only.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
        let crossed = |moved: &Transition| moved.a != State::Crossed || moved.b != State::Crossed;
        let same = (row.same > 0).then(|| format!("{} crossed, of the same cells", row.same));
        let others = [others(&row.transitions, crossed)].into_iter().filter(|text| !text.is_empty());
        let others = others.chain(same).chain(only);
        let edge = |mean: Option<f64>, fit: Option<f64>| match (mean, fit) {
            (Some(mean), _) => rounded(mean),
            (None, Some(fit)) => format!("fit {}", rounded(fit)),
            (None, None) => "-".to_string(),
        };
        [
            row.constraint.clone(),
            row.axis.clone(),
            place(&row.levels),
            row.side.map_or("everywhere", |side| if side == Side::Lower { "below" } else { "above" }).to_string(),
            edge(row.level.a, row.fit.a.filter(|_| row.fit_shift.is_some())),
            edge(row.level.b, row.fit.b.filter(|_| row.fit_shift.is_some())),
            shift(row),
            row.fit_shift.map_or(String::new(), |shift| by(row.scale, shift)),
            row.seeds.to_string(),
            others.collect::<Vec<_>>().join(", "),
        ]
    };
    let pick = |row: &&Shift| -> Vec<String> {
        titles.into_iter().zip(cells(row)).filter(|(title, _)| kept(title)).map(|(_, cell)| cell).collect()
    };
    let header: Vec<String> = titles.into_iter().filter(|title| kept(title)).map(String::from).collect();
    output::table(&header, rows.iter().map(pick).collect())
}

fn shift(row: &Shift) -> String {
    let Some(shift) = row.shift else { return "unknown".to_string() };
    let mark = if row.biased { " *" } else { "" };
    let range = row.interval.map_or(String::new(), |[low, high]| match row.scale {
        Scale::Log => format!(" [{}, {}]", rounded(low), rounded(high)),
        Scale::Linear => format!(" [{}, {}]", signed(low), signed(high)),
    });
    format!("{}{range}{mark}", by(row.scale, shift))
}

fn by(scale: Scale, shift: f64) -> String {
    match scale {
        Scale::Log => format!("x{}", rounded(shift)),
        Scale::Linear => signed(shift),
    }
}

/// `2 crossed -> beyond, 1 beyond in both`.
fn others(transitions: &[Transition], which: impl Fn(&Transition) -> bool) -> String {
    let name = |state: State| match state {
        State::Crossed => "crossed",
        State::Beyond => "beyond",
        State::NeverHolds => "never holds",
        State::Unknown => "unknown",
    };
    let one = |moved: &Transition| {
        let (a, b) = (name(moved.a), name(moved.b));
        let perhaps = moved.seeds - moved.moved;
        match moved.a == moved.b {
            true => format!("{} {a} in both", moved.seeds),
            false if perhaps == 0 => format!("{} {a} -> {b}", moved.seeds),
            false => format!("{} {a} -> {b} ({perhaps} may not have moved)", moved.seeds),
        }
    };
    transitions.iter().filter(|moved| which(moved)).map(one).collect::<Vec<_>>().join(", ")
}

/// What the rows do not say of themselves.
fn notes(moved: &[&Shift]) -> Vec<String> {
    let mut notes = Vec::new();
    if moved.iter().any(|row| row.biased && row.shift.is_some()) {
        notes.push(
            "  * biased: seeds that cross in one run only moved by an unknown amount and are left out".to_string(),
        );
    }
    if moved.iter().any(|row| row.fit_shift.is_some()) {
        let fits = "  of the fits: over each run's own seeds, those beyond the levels included; without an interval";
        notes.push(fits.to_string());
    }
    let with = moved.iter().filter(|row| row.interval.is_some());
    if let Some(how) = method(with.map(|row| row.seeds as usize)) {
        let open = "never narrower than what the levels on either side of the edges leave open";
        notes.push(format!("  intervals: {how}; {open}"));
    }
    notes
}
