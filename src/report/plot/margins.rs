//! Where constraints stop holding along an axis: a forest plot, a row per line through the grid.

use std::collections::BTreeMap;

use super::degradation::{extent, file_name};
use crate::numerics::bootstrap::method;
use crate::numerics::shown::{Levels, exact, rounded};
use crate::report::colour::GROUPS;
use crate::report::figure::{Data, Figure, Section};
use crate::report::panel::{Panel, Sample, WIDTH, diamond, legend, legend_height, shortened};
use crate::report::rows::{Level, Rows, axis_paths, evenly};
use crate::report::run_data::{ReportError, RunData};
use crate::report::svg::{Anchor, Svg, place};
use crate::spec::{ALL_GATES, LOST, Scale, Sweep};
use crate::store::{BOUNDARIES_TABLE, param_column};

/// Rows of one picture.
const MOST_ROWS: usize = 40;
/// Seeds of one row; more ticks are a bar.
const MOST_SEEDS: usize = 64;
/// Pictures of a report.
const MOST_FIGURES: usize = 12;

/// One side of a line: the edge below which, or above which, the constraint does not hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edge {
    pub seeds: i64,
    pub crossed: i64,
    /// Seeds for which it holds as far as was tested.
    pub beyond: i64,
    pub never_holds: i64,
    pub unknown: i64,
    pub mean: Option<f64>,
    pub interval: Option<(f64, f64)>,
    pub fit: Option<f64>,
    pub fit_interval: Option<(f64, f64)>,
    /// Edges of single seeds.
    pub of_seeds: Vec<f64>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Levels of the axes that the line holds.
    pub held: Vec<Level>,
    pub lower: Edge,
    pub upper: Edge,
}

/// A picture's data.
#[derive(Clone, Debug, PartialEq)]
pub struct Margins {
    pub name: String,
    pub axis: String,
    pub scale: Scale,
    /// Least and greatest level that was tested, and how levels of the axis are written.
    pub tested: (f64, f64),
    pub shown: Levels,
    /// The axes whose levels rows hold.
    pub held: Vec<String>,
    /// Rows by constraint, in the order of the spec.
    pub constraints: Vec<(String, Vec<Row>)>,
    /// Lines of these constraints that are not drawn.
    pub left_out: usize,
    /// Constraints without an edge on any line, with how they stand.
    pub quiet: Vec<String>,
    /// Pictures that were left out after this one.
    pub not_drawn: usize,
}

/// Pictures of this kind.
///
/// # Errors
/// A table that cannot be read.
pub fn plot(run: &RunData) -> Result<Vec<Figure>, ReportError> {
    let names = own_columns().into_iter().map(String::from);
    let names: Vec<String> = names.chain(axis_paths(&run.sweep).iter().map(|path| param_column(path))).collect();
    let Some(rows) = Rows::read(run, BOUNDARIES_TABLE, &names)? else { return Ok(Vec::new()) };
    Ok(info(&run.sweep, &rows)?.iter().map(draw).collect())
}

const FLOATS: [&str; 6] = ["level", "interval_low", "interval_high", "fit_level", "fit_low", "fit_high"];
const COUNTS: [&str; 5] = ["seeds", "crossed", "beyond", "never_holds", "unknown"];

fn own_columns() -> Vec<&'static str> {
    let index = ["constraint", "axis", "scale", "side", "seed", "state", "main"];
    index.into_iter().chain(FLOATS).chain(COUNTS).collect()
}

/// Lines of one constraint by the levels that they hold.
type Lines = BTreeMap<Vec<Option<Level>>, Row>;

/// Reads a table like `boundaries.parquet`.
///
/// # Errors
/// A column that is not there or of another type.
pub fn info(sweep: &Sweep, rows: &Rows) -> Result<Vec<Margins>, ReportError> {
    let (constraint, axis, side) = (rows.texts("constraint")?, rows.texts("axis")?, rows.texts("side")?);
    let (scale, state) = (rows.texts("scale")?, rows.texts("state")?);
    let (seed, main) = (rows.levels("seed")?, rows.levels("main")?);
    let floats = FLOATS.iter().map(|name| rows.numbers(name)).collect::<Result<Vec<_>, _>>()?;
    let counts = COUNTS.iter().map(|name| rows.counts(name)).collect::<Result<Vec<_>, _>>()?;
    let paths: Vec<String> = axis_paths(sweep).into_iter().filter(|path| rows.has(&param_column(path))).collect();
    let params = paths.iter().map(|path| rows.levels(&param_column(path))).collect::<Result<Vec<_>, _>>()?;

    let mut found: BTreeMap<(&str, &str), Lines> = BTreeMap::new();
    let mut scales: BTreeMap<&str, Scale> = BTreeMap::new();
    for row in 0..rows.len() {
        let (Some(axis), Some(constraint)) = (axis[row], constraint[row]) else { continue };
        let log = scale[row] == Some(Scale::Log.name());
        scales.insert(axis, if log { Scale::Log } else { Scale::Linear });
        let held: Vec<Option<Level>> = params.iter().map(|levels| levels[row].clone()).collect();
        let line = found.entry((axis, constraint)).or_default().entry(held).or_insert_with_key(|held| Row {
            held: held.iter().flatten().cloned().collect(),
            lower: Edge::default(),
            upper: Edge::default(),
        });
        let edge = if side[row] == Some("lower") { &mut line.lower } else { &mut line.upper };
        let float = |at: usize| floats[at][row];
        if seed[row].is_none() {
            let count = |at: usize| counts[at][row].unwrap_or(0);
            let of_seeds = std::mem::take(&mut edge.of_seeds);
            *edge = Edge {
                seeds: count(0),
                crossed: count(1),
                beyond: count(2),
                never_holds: count(3),
                unknown: count(4),
                mean: float(0),
                interval: float(1).zip(float(2)),
                fit: float(3),
                fit_interval: float(4).zip(float(5)),
                of_seeds,
            };
        } else if state[row] == Some("crossed") && main[row] == Some(Level::Name("true".to_string())) {
            edge.of_seeds.extend(float(0));
        }
    }
    let gates = sweep.gates.iter().map(|gate| gate.name.as_str());
    let order: Vec<&str> = gates.chain([LOST, ALL_GATES]).collect();
    let mut all = Vec::new();
    for path in &paths {
        let Some(scale) = scales.get(path.as_str()) else { continue };
        let Some(tested) = tested(sweep, path) else { continue };
        let of_axis: Vec<(&str, &Lines)> =
            order.iter().filter_map(|name| Some((*name, found.get(&(path.as_str(), *name))?))).collect();
        all.extend(of_one_axis((path, *scale, sweep.shown(path)), tested, &paths, &of_axis));
    }
    let not_drawn = all.len().saturating_sub(MOST_FIGURES);
    all.truncate(MOST_FIGURES);
    if let Some(last) = all.last_mut() {
        last.not_drawn = not_drawn;
    }
    Ok(all)
}

fn of_one_axis(
    (path, scale, shown): (&str, Scale, Levels),
    tested: (f64, f64),
    paths: &[String],
    constraints: &[(&str, &Lines)],
) -> Vec<Margins> {
    let held_by = |lines: &Lines| -> Vec<String> {
        let names = |held: &Vec<Option<Level>>| {
            paths.iter().zip(held).filter(|(_, level)| level.is_some()).map(|(path, _)| path.clone()).collect()
        };
        lines.keys().next().map(names).unwrap_or_default()
    };
    let new = |held: Vec<String>, number: usize| Margins {
        name: format!("margins-{}-{number}", file_name(path)),
        axis: path.to_string(),
        scale,
        tested,
        shown,
        held,
        constraints: Vec::new(),
        left_out: 0,
        quiet: Vec::new(),
        not_drawn: 0,
    };
    let mut figures: Vec<Margins> = Vec::new();
    let mut quiet = Vec::new();
    for (name, lines) in constraints {
        if !lines.values().any(|row| row.lower.crossed + row.upper.crossed > 0) {
            quiet.push(stand(name, lines));
            continue;
        }
        let mut kept = lines.values().cloned().collect::<Vec<Row>>();
        kept = evenly(kept.len(), MOST_ROWS).into_iter().map(|at| kept[at].clone()).collect();
        for row in &mut kept {
            for edge in [&mut row.lower, &mut row.upper] {
                edge.of_seeds.sort_by(f64::total_cmp);
                let some = evenly(edge.of_seeds.len(), MOST_SEEDS);
                edge.of_seeds = some.into_iter().map(|at| edge.of_seeds[at]).collect();
            }
        }
        let so_far = figures.last().map_or(MOST_ROWS, |last| last.constraints.iter().map(|(_, rows)| rows.len()).sum());
        if so_far + kept.len() > MOST_ROWS {
            figures.push(new(held_by(lines), figures.len() + 1));
        }
        if let Some(last) = figures.last_mut() {
            last.left_out += lines.len() - kept.len();
            last.constraints.push((name.to_string(), kept));
        }
    }
    if let Some(last) = figures.last_mut() {
        last.quiet = quiet;
    }
    figures
}

/// How a constraint without edges stands.
fn stand(name: &str, lines: &Lines) -> String {
    let sum = |get: fn(&Edge) -> i64| lines.values().map(|row| get(&row.lower)).sum::<i64>();
    let (seeds, holds, never) = (sum(|e| e.seeds), sum(|e| e.beyond), sum(|e| e.never_holds));
    let lines = lines.len();
    match (holds, never) {
        (holds, _) if holds == seeds => format!("{name} holds at every level on all {lines} lines"),
        (_, never) if never == seeds => format!("{name} holds nowhere on {lines} lines"),
        _ => format!("{name} has no edge on {lines} lines (of all seeds {holds} hold throughout, {never} nowhere)"),
    }
}

/// Least and greatest level of an axis.
fn tested(sweep: &Sweep, path: &str) -> Option<(f64, f64)> {
    let own = sweep.axes.iter().filter(|axis| axis.path == path).flat_map(|axis| &axis.levels);
    let zipped = sweep.zip.iter().flat_map(|zip| {
        let at = zip.paths.iter().position(|known| known == path);
        zip.rows.iter().filter_map(move |row| row.get(at?))
    });
    let added = sweep.include.iter().filter_map(|include| include.get(path)).flatten();
    extent(own.chain(zipped).chain(added).filter_map(serde_json::Value::as_f64)).filter(|(low, high)| low < high)
}

impl Margins {
    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.constraints.iter().flat_map(|(_, rows)| rows)
    }

    /// How the intervals of means are made; none where no mean has one.
    fn method(&self) -> Option<String> {
        let edges = self.rows().flat_map(|row| [&row.lower, &row.upper]).filter(|edge| edge.interval.is_some());
        method(edges.map(|edge| edge.seeds as usize))
    }

    fn seeds(&self) -> String {
        let seeds = || self.rows().map(|row| row.lower.seeds);
        let (low, high) = (seeds().min().unwrap_or(0), seeds().max().unwrap_or(0));
        if low == high { format!("{low} seeds") } else { format!("{low} to {high} seeds") }
    }
}

impl Edge {
    /// Where it is on the whole; `end` where all seeds hold beyond what was tested.
    fn place(&self, end: f64) -> Option<f64> {
        let all_beyond = self.seeds > 0 && self.beyond == self.seeds - self.unknown;
        self.mean.or(self.fit).or(all_beyond.then_some(end))
    }
}

/// The last part of a path.
fn short(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

const LEFT: f64 = 150.0;
const RIGHT: f64 = 118.0;
const TOP: f64 = 46.0;
const LINE: f64 = 26.0;
const HEADING: f64 = 22.0;
const LOWER: &str = GROUPS[0];
const UPPER: &str = GROUPS[5];
const FIT: &str = GROUPS[3];
const HOLDS: &str = GROUPS[2];

/// The picture.
pub fn draw(info: &Margins) -> Figure {
    let title = format!("Where constraints hold along {}", info.axis);
    let inner: f64 = info.constraints.iter().map(|(_, rows)| HEADING + LINE * rows.len() as f64).sum();
    let entries = [
        (Sample::Diamond(LOWER.to_string()), "lower edge, mean".to_string()),
        (Sample::Diamond(UPPER.to_string()), "upper edge, mean".to_string()),
        (Sample::Line(FIT.to_string()), "fit".to_string()),
        (Sample::Box(HOLDS.to_string()), "holds".to_string()),
        (Sample::Box("var(--soft)".to_string()), "not tested".to_string()),
    ];
    let height = TOP + inner + 50.0 + legend_height(WIDTH - 28.0, &entries) + 6.0;
    let mut svg = Svg::new(WIDTH, height);
    // Beyond the tested range there is room for intervals of fits and for arrows.
    let ends = [info.tested.0, info.tested.1].map(|level| info.scale.coordinate(level));
    let room = 0.06 * (ends[1] - ends[0]);
    let span = (info.scale.level(ends[0] - room), info.scale.level(ends[1] + room));
    let panel = Panel::new((LEFT, TOP), (WIDTH - LEFT - RIGHT, inner), (info.scale, span), (Scale::Linear, (0.0, 1.0)));
    let [low, high] = [panel.x.place(info.tested.0), panel.x.place(info.tested.1)];
    for (from, to) in [(LEFT, low), (high, panel.right())] {
        let [x, y, w, h] = [from, TOP, to - from, inner].map(place);
        let shape: [(&str, &dyn std::fmt::Display); 6] =
            [("x", &x), ("y", &y), ("width", &w), ("height", &h), ("fill", &"var(--soft)"), ("fill-opacity", &"0.25")];
        svg.element("rect", &shape);
    }
    for tick in panel.x.ticks(6) {
        let x = panel.x.place(tick);
        svg.line((x, TOP), (x, TOP + inner), "grid");
    }
    let held: Vec<&str> = info.held.iter().map(|path| short(path)).collect();
    svg.text((14.0, TOP - 26.0), Anchor::Start, "title", &title);
    svg.text((14.0, TOP - 8.0), Anchor::Start, "soft", &shortened(&held.join(" \u{b7} "), 90));
    let mut y = TOP;
    for (constraint, rows) in &info.constraints {
        svg.text((14.0, y + 16.0), Anchor::Start, "title", &shortened(constraint, 19));
        y += HEADING;
        for row in rows {
            let levels: Vec<String> = row.held.iter().map(Level::to_string).collect();
            let name = if levels.is_empty() { "all".to_string() } else { levels.join(" \u{b7} ") };
            svg.text((LEFT - 8.0, y + LINE / 2.0 + 4.0), Anchor::End, "", &shortened(&name, 19));
            draw_row(&mut svg, info, &panel, row, y);
            svg.text((WIDTH - RIGHT + 8.0, y + LINE / 2.0 + 4.0), Anchor::Start, "", &note(row));
            y += LINE;
        }
    }
    panel.x_axis(&mut svg, 6, true);
    let middle = LEFT + panel.size.0 / 2.0;
    let text = format!("{} ({} scale)", info.axis, info.scale.name());
    svg.text((middle, TOP + inner + 36.0), Anchor::Middle, "", &text);
    legend(&mut svg, (14.0, TOP + inner + 56.0), WIDTH - 28.0, &entries);
    let alt = alt(info);
    let svg = svg.finish(&title, &alt);
    Figure {
        section: Section::Margins,
        name: info.name.clone(),
        title,
        alt,
        caption: caption(info),
        svg,
        data: data(info),
    }
}

fn draw_row(svg: &mut Svg, info: &Margins, panel: &Panel, row: &Row, top: f64) {
    let held = |x: f64| x.clamp(panel.at.0, panel.right());
    let x_of = |level: f64| held(panel.x.place(level));
    let (middle, below) = (top + LINE / 2.0 - 2.0, top + LINE - 5.0);
    if let Some((from, to)) = row.lower.place(info.tested.0).zip(row.upper.place(info.tested.1)) {
        let [x, y, w, h] = [x_of(from), top + 3.0, (x_of(to) - x_of(from)).max(0.0), LINE - 6.0].map(place);
        let shape: [(&str, &dyn std::fmt::Display); 6] =
            [("x", &x), ("y", &y), ("width", &w), ("height", &h), ("fill", &HOLDS), ("fill-opacity", &"0.22")];
        svg.element("rect", &shape);
    }
    for (edge, colour, is_lower) in [(&row.lower, LOWER, true), (&row.upper, UPPER, false)] {
        let ticks: Vec<Vec<(f64, f64)>> = edge
            .of_seeds
            .iter()
            .map(|level| vec![(x_of(*level), middle - 8.0), (x_of(*level), middle - 3.0)])
            .collect();
        if !ticks.is_empty() {
            svg.path(&ticks, &[("stroke", &colour), ("fill", &"none"), ("stroke-width", &"1.4")]);
        }
        if let Some((low, high)) = edge.interval {
            svg.path(&[vec![(x_of(low), middle), (x_of(high), middle)]], &[("class", &"line"), ("stroke", &colour)]);
        }
        if let Some(mean) = edge.mean {
            diamond(svg, (x_of(mean), middle), colour);
        }
        if let Some((low, high)) = edge.fit_interval {
            svg.path(&[vec![(x_of(low), below), (x_of(high), below)]], &[("class", &"line"), ("stroke", &FIT)]);
        }
        if let Some(fit) = edge.fit {
            let x = x_of(fit);
            svg.path(&[vec![(x, below - 3.0), (x, below + 3.0)]], &[("class", &"line"), ("stroke", &FIT)]);
        }
        // Where it still holds at the end of what was tested.
        if edge.beyond > 0 {
            let (from, away) = if is_lower { (x_of(info.tested.0), -1.0) } else { (x_of(info.tested.1), 1.0) };
            let tip = from + 14.0 * away;
            let head = vec![(tip - 5.0 * away, middle - 4.0), (tip, middle), (tip - 5.0 * away, middle + 4.0)];
            svg.path(&[vec![(from, middle), (tip, middle)], head], &[("class", &"line"), ("stroke", &colour)]);
        }
    }
}

/// What is not in the row's marks.
fn note(row: &Row) -> String {
    let (lower, upper) = (&row.lower, &row.upper);
    let seeds = lower.seeds.max(upper.seeds);
    let never = lower.never_holds.max(upper.never_holds);
    let unknown = lower.unknown.max(upper.unknown);
    if seeds > 0 && never == seeds {
        return "never holds".to_string();
    }
    if seeds > 0 && lower.beyond == seeds && upper.beyond == seeds {
        return "holds throughout".to_string();
    }
    let mut said = Vec::new();
    if never > 0 {
        said.push(format!("{never}/{seeds} never"));
    } else if unknown > 0 {
        said.push(format!("{unknown}/{seeds} unknown"));
    }
    if lower.beyond > 0 && lower.beyond < seeds {
        said.push(format!("\u{2190}{}/{seeds}", lower.beyond));
    }
    if upper.beyond > 0 && upper.beyond < seeds {
        said.push(format!("{}/{seeds}\u{2192}", upper.beyond));
    }
    shortened(&said.join(" "), 17)
}

fn alt(info: &Margins) -> String {
    let mut said = Vec::new();
    for (name, rows) in &info.constraints {
        let range = |get: fn(&Row) -> &Edge, end: f64, side: &str| {
            let known: Vec<f64> = rows.iter().filter_map(|row| get(row).mean).collect();
            let beyond = rows.iter().filter(|row| get(row).mean.is_none() && get(row).place(end) == Some(end)).count();
            let open = if beyond > 0 { format!(" and beyond the tested range on {beyond}") } else { String::new() };
            match extent(known.iter().copied()) {
                Some((low, high)) if low == high => format!("{side} edge at {}{open}", rounded(low)),
                Some((low, high)) => {
                    let shown = Levels::of_numbers([low, high]);
                    let (low, high) = (shown.number(low), shown.number(high));
                    format!("{side} edge from {low} to {high} over {} lines{open}", known.len())
                }
                None if beyond > 0 => {
                    format!("{side} edge beyond the tested range on {beyond} of {} lines", rows.len())
                }
                None => format!("{side} edge not in all seeds of any line"),
            }
        };
        said.push(format!(
            "{name}: {}, {}.",
            range(|row| &row.lower, info.tested.0, "lower"),
            range(|row| &row.upper, info.tested.1, "upper")
        ));
    }
    said.join(" ")
}

fn caption(info: &Margins) -> String {
    let mean = info.method().map_or(String::new(), |method| {
        format!(" with its interval, at least as wide as what the levels between leave open: {method}")
    });
    let mut said = vec![format!(
        "A row per line: {} varies, tested from {} to {}; the levels on the left are held. Small ticks: edges of single \
         seeds ({}). Diamonds: their mean{mean}. \
         Below: the fitted edge with its 95% profile likelihood interval, which uses seeds without an edge too. Arrows: seeds for which it \
         holds at the last level tested; counts on the right are seeds. Green: between the two \
         means, or fits where some seed has no edge.",
        info.axis,
        info.shown.number(info.tested.0),
        info.shown.number(info.tested.1),
        info.seeds()
    )];
    if !info.quiet.is_empty() {
        said.push(format!("Not drawn, without an edge: {}.", info.quiet.join("; ")));
    }
    if info.left_out > 0 {
        said.push(format!("{} lines are left out evenly; all are in {BOUNDARIES_TABLE}.", info.left_out));
    }
    if info.not_drawn > 0 {
        said.push(format!("{} more pictures of this kind are not drawn; see {BOUNDARIES_TABLE}.", info.not_drawn));
    }
    said.join(" ")
}

fn data(info: &Margins) -> Data {
    let own = [
        "side",
        "mean",
        "interval_low",
        "interval_high",
        "fit",
        "fit_low",
        "fit_high",
        "seeds",
        "crossed",
        "beyond",
        "never_holds",
        "unknown",
    ];
    let header = std::iter::once("constraint".to_string())
        .chain(info.held.iter().cloned())
        .chain(own.map(String::from))
        .collect();
    let number = |x: Option<f64>| x.map_or(String::new(), exact);
    let mut rows = Vec::new();
    for (name, lines) in &info.constraints {
        for line in lines {
            for (side, edge) in [("lower", &line.lower), ("upper", &line.upper)] {
                let held = line.held.iter().map(Level::exact);
                let (interval, fit) = (edge.interval, edge.fit_interval);
                let floats = [
                    edge.mean,
                    interval.map(|i| i.0),
                    interval.map(|i| i.1),
                    edge.fit,
                    fit.map(|i| i.0),
                    fit.map(|i| i.1),
                ];
                let counts = [edge.seeds, edge.crossed, edge.beyond, edge.never_holds, edge.unknown];
                let row = std::iter::once(name.clone()).chain(held).chain([side.to_string()]);
                rows.push(row.chain(floats.map(number)).chain(counts.map(|n| n.to_string())).collect());
            }
        }
    }
    Data { header, rows }
}

#[cfg(test)]
mod tests;
