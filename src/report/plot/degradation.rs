//! Degradation curves: a metric along one axis, a line per level of another, with bands over seeds.

use std::collections::{BTreeMap, BTreeSet};

use crate::metric::descriptor;
use crate::numerics::bootstrap::method;
use crate::numerics::shown::{Levels, exact};
use crate::report::colour::GROUPS;
use crate::report::figure::{Figure, Section};
use crate::report::panel::{Panel, Sample, WIDTH, cross, dot, legend, legend_height, ring, shortened};
use crate::report::rows::{Level, Rows, are_zipped, axis_paths, evenly, scale_of};
use crate::report::run_data::{ReportError, RunData};
use crate::report::svg::{Anchor, Svg, place};
use crate::spec::{CLEAN, LOST, Scale, Sweep};
use crate::store::{SURFACES_TABLE, param_column};

mod words;

use words::{alt, caption, data};

/// Metrics that stand beside each other: what the picture is called, its title, what it shows.
const PAIRS: [(&str, &str, [&str; 2]); 4] = [
    ("retrieval", "Retrieval", ["retrieval_at_1_i2t", "retrieval_at_1_t2i"]),
    ("effective-rank", "Effective rank", ["effective_rank_img", "effective_rank_txt"]),
    ("mean-cosine", "Mean cosine", ["mean_cosine_img", "mean_cosine_txt"]),
    ("hub-gini", "Hubness", ["hub_gini_i2t", "hub_gini_t2i"]),
];

/// Colours that are told apart.
const MOST_LINES: usize = GROUPS.len();
/// Points of a line; more are closer than their marks.
const MOST_POINTS: usize = 120;
/// Names that fit below each other's places.
const MOST_NAMES: usize = 12;
/// Pictures of a report.
const MOST_FIGURES: usize = 24;

/// What is drawn in one picture.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    name: String,
    title: String,
    condition: String,
    metrics: Vec<String>,
}

/// A bound of a gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    pub gate: String,
    pub is_least: bool,
    pub value: f64,
}

/// A metric at a combination of levels, over seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub at: Level,
    pub mean: Option<f64>,
    pub interval: Option<(f64, f64)>,
    /// Seeds with a value.
    pub n: i64,
    pub cells: i64,
    /// Of the cells those that neither collapsed nor diverged nor failed.
    pub share_ok: f64,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// None where no other axis varies.
    pub level: Option<Level>,
    pub points: Vec<Point>,
}

/// One metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Curves {
    pub metric: String,
    pub unit: String,
    pub bounds: Vec<Bound>,
    pub curves: Vec<Curve>,
}

/// A picture's data.
#[derive(Clone, Debug, PartialEq)]
pub struct Degradation {
    pub name: String,
    pub title: String,
    pub condition: String,
    pub axis: String,
    /// None where levels are names.
    pub scale: Option<Scale>,
    /// Levels in the order of their places, where they are names.
    pub names: Vec<Level>,
    pub line_axis: Option<String>,
    /// Levels of the line axis that could have been drawn.
    pub line_levels: usize,
    /// Axes that are held, with their levels.
    pub fixed: Vec<(String, Level)>,
    pub panels: Vec<Curves>,
    /// Points that were left out where lines were too dense.
    pub thinned: usize,
    /// Pictures that were left out after this one.
    pub left_out: usize,
}

/// Pictures of this kind.
///
/// # Errors
/// A table that cannot be read.
pub fn plot(run: &RunData) -> Result<Vec<Figure>, ReportError> {
    let own = ["metric", "condition", "n", "cells", "mean", "interval_low", "interval_high", "share_ok"];
    let axes = axis_paths(&run.sweep).into_iter().map(|path| param_column(&path));
    let names: Vec<String> = own.iter().map(ToString::to_string).chain(axes).collect();
    let Some(rows) = Rows::read(run, SURFACES_TABLE, &names)? else { return Ok(Vec::new()) };
    Ok(info(&run.sweep, &rows)?.iter().map(draw).collect())
}

fn groups(sweep: &Sweep) -> Vec<Group> {
    let pair = |(name, title, metrics): &(&str, &str, [&str; 2])| Group {
        name: name.to_string(),
        title: title.to_string(),
        condition: CLEAN.to_string(),
        metrics: metrics.iter().map(ToString::to_string).collect(),
    };
    let mut groups: Vec<Group> = PAIRS.iter().map(pair).collect();
    for gate in sweep.gates.iter().filter(|gate| gate.metric != LOST) {
        if groups.iter().any(|group| group.condition == gate.condition && group.metrics.contains(&gate.metric)) {
            continue;
        }
        let under = if gate.condition == CLEAN { String::new() } else { format!("-{}", gate.condition) };
        groups.push(Group {
            name: file_name(&format!("{}{under}", gate.metric)),
            title: gate.metric.replace('_', " "),
            condition: gate.condition.clone(),
            metrics: vec![gate.metric.clone()],
        });
    }
    groups
}

/// Lower-case letters, digits and hyphens.
pub(super) fn file_name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// An axis with the level of each row.
struct Axis {
    path: String,
    of_row: Vec<Option<Level>>,
    levels: Vec<Level>,
}

/// Mean, its interval, values, cells, and the share of them that is ok.
type Row = (Option<f64>, Option<(f64, f64)>, i64, i64, f64);

/// The table's columns.
struct Surface<'a> {
    metric: Vec<Option<&'a str>>,
    condition: Vec<Option<&'a str>>,
    axes: Vec<Axis>,
    points: Vec<Row>,
}

/// Picks lines out of a table like `surfaces.parquet`.
///
/// # Errors
/// A column that is not there or of another type.
pub fn info(sweep: &Sweep, rows: &Rows) -> Result<Vec<Degradation>, ReportError> {
    let groups = groups(sweep);
    let wanted: BTreeSet<(&str, &str)> = groups
        .iter()
        .flat_map(|group| group.metrics.iter().map(|metric| (metric.as_str(), group.condition.as_str())))
        .collect();
    let (metric, condition) = (rows.texts("metric")?, rows.texts("condition")?);
    let is_wanted = |(metric, condition): (&Option<&str>, &Option<&str>)| {
        metric.zip(*condition).is_some_and(|pair| wanted.contains(&pair))
    };
    let rows = rows.keep(metric.iter().zip(&condition).map(is_wanted))?;
    let (mean, low, high) = (rows.numbers("mean")?, rows.numbers("interval_low")?, rows.numbers("interval_high")?);
    let (n, cells, share) = (rows.counts("n")?, rows.counts("cells")?, rows.numbers("share_ok")?);
    let point = |row: usize| {
        let interval = low[row].zip(high[row]);
        (mean[row], interval, n[row].unwrap_or(0), cells[row].unwrap_or(0), share[row].unwrap_or(1.0))
    };
    let mut axes = Vec::new();
    for path in axis_paths(sweep) {
        let column = param_column(&path);
        if rows.has(&column) {
            let of_row = rows.levels(&column)?;
            let levels: BTreeSet<Level> = of_row.iter().flatten().cloned().collect();
            axes.push(Axis { path, of_row, levels: levels.into_iter().collect() });
        }
    }
    let surface = Surface {
        metric: rows.texts("metric")?,
        condition: rows.texts("condition")?,
        axes,
        points: (0..rows.len()).map(point).collect(),
    };
    let varied = |axis: &usize| surface.axes[*axis].levels.len() > 1;
    let axes: Vec<usize> = (0..surface.axes.len()).filter(varied).collect();
    let mut found: Vec<Degradation> = groups
        .iter()
        .flat_map(|group| {
            axes.iter().filter_map(|axis| along(sweep, &surface, &axes, *axis, group)).collect::<Vec<_>>()
        })
        .collect();
    let left_out = found.len().saturating_sub(MOST_FIGURES);
    found.truncate(MOST_FIGURES);
    if let Some(last) = found.last_mut() {
        last.left_out = left_out;
    }
    Ok(found)
}

fn along(sweep: &Sweep, surface: &Surface<'_>, varied: &[usize], axis: usize, group: &Group) -> Option<Degradation> {
    let of_metric = |metric: &str| -> Vec<usize> {
        let is = |row: &usize| {
            surface.metric[*row] == Some(metric) && surface.condition[*row] == Some(group.condition.as_str())
        };
        (0..surface.points.len()).filter(is).collect()
    };
    let rows: Vec<Vec<usize>> = group.metrics.iter().map(|metric| of_metric(metric)).collect();
    let first: &[usize] = rows.iter().find(|rows| rows.iter().any(|row| surface.points[*row].0.is_some()))?;
    let path = |axis: usize| surface.axes[axis].path.as_str();
    let apart = |a: usize, b: usize| a != b && !are_zipped(sweep, path(a), path(b));
    let others: Vec<usize> = varied.iter().copied().filter(|other| apart(axis, *other)).collect();
    let line_axis =
        others.iter().copied().max_by(|a, b| effect(surface, first, *a).total_cmp(&effect(surface, first, *b)));
    let held: Vec<usize> =
        others.iter().copied().filter(|other| line_axis.is_some_and(|line| apart(line, *other))).collect();
    let fixed = best_known(sweep, surface, first, &held)?;
    let on_plane =
        |row: &usize| held.iter().zip(&fixed).all(|(a, level)| surface.axes[*a].of_row[*row].as_ref() == Some(level));
    let line_of = |row: usize| line_axis.and_then(|line| surface.axes[line].of_row[row].clone());

    // By metric and line, along the axis.
    let mut thinned = 0;
    let mut panels = Vec::new();
    let mut chosen: Option<Vec<Option<Level>>> = None;
    let mut line_levels = 0;
    let scale = scale_of(path(axis), surface.axes[axis].levels.iter());
    for (metric, rows) in group.metrics.iter().zip(&rows) {
        let mut lines: BTreeMap<Option<Level>, BTreeMap<Level, usize>> = BTreeMap::new();
        for row in rows.iter().filter(|row| on_plane(row)) {
            if let Some(level) = surface.axes[axis].of_row[*row].clone() {
                lines.entry(line_of(*row)).or_default().insert(level, *row);
            }
        }
        if chosen.is_none() {
            // Levels that refinement added have few points of their own.
            let most = lines.values().map(BTreeMap::len).max().unwrap_or(0);
            let with = |least: usize| lines.iter().filter(move |(_, points)| points.len() >= least);
            let least = if with(most).count() > 1 { most } else { most.div_ceil(2) };
            let full: Vec<&Option<Level>> = with(least).map(|(level, _)| level).collect();
            line_levels = lines.len();
            chosen = Some(evenly(full.len(), MOST_LINES).into_iter().map(|at| full[at].clone()).collect());
        }
        let mut curves = Vec::new();
        for level in chosen.iter().flatten() {
            let Some(points) = lines.get(level) else { continue };
            let points: Vec<Point> = points
                .iter()
                .map(|(at, row)| {
                    let (mean, interval, n, cells, share_ok) = surface.points[*row];
                    Point { at: at.clone(), mean, interval, n, cells, share_ok }
                })
                .collect();
            let most = if scale.is_some() { MOST_POINTS } else { MOST_NAMES };
            let kept = evenly(points.len(), most);
            thinned += points.len() - kept.len();
            curves
                .push(Curve { level: level.clone(), points: kept.into_iter().map(|at| points[at].clone()).collect() });
        }
        panels.push(Curves {
            metric: metric.clone(),
            unit: descriptor(metric).map_or(String::new(), |d| d.unit.to_string()),
            bounds: bounds(sweep, metric, &group.condition),
            curves,
        });
    }
    let drawn = panels.iter().flat_map(|panel| &panel.curves).flat_map(|curve| &curve.points);
    let names: BTreeSet<Level> = if scale.is_none() { drawn.map(|p| p.at.clone()).collect() } else { BTreeSet::new() };
    Some(Degradation {
        name: format!("degradation-{}-along-{}", group.name, file_name(path(axis))),
        title: format!("{} along {}", group.title, path(axis)),
        condition: group.condition.clone(),
        axis: path(axis).to_string(),
        scale,
        names: names.into_iter().collect(),
        line_axis: line_axis.map(|line| path(line).to_string()),
        line_levels,
        fixed: held.iter().map(|a| path(*a).to_string()).zip(fixed).collect(),
        panels,
        thinned,
        left_out: 0,
    })
}

/// How far apart the means at the levels of an axis are.
fn effect(surface: &Surface<'_>, rows: &[usize], axis: usize) -> f64 {
    let mut sums: BTreeMap<&Level, (f64, f64)> = BTreeMap::new();
    for row in rows {
        if let (Some(level), Some(mean)) = (&surface.axes[axis].of_row[*row], surface.points[*row].0) {
            let sum = sums.entry(level).or_default();
            *sum = (sum.0 + mean, sum.1 + 1.0);
        }
    }
    let means = || sums.values().map(|(sum, n)| sum / n);
    means().fold(f64::NEG_INFINITY, f64::max) - means().fold(f64::INFINITY, f64::min)
}

/// The levels of the held axes at which there are most values; of several those nearest to the base of the sweep.
fn best_known(sweep: &Sweep, surface: &Surface<'_>, rows: &[usize], held: &[usize]) -> Option<Vec<Level>> {
    let mut known: BTreeMap<Vec<Level>, i64> = BTreeMap::new();
    for row in rows {
        let levels: Option<Vec<Level>> = held.iter().map(|axis| surface.axes[*axis].of_row[*row].clone()).collect();
        *known.entry(levels?).or_default() += surface.points[*row].2;
    }
    let base = sweep.base.scalars();
    let is_base = |axis: usize, level: &Level| {
        let value = base.get(&surface.axes[axis].path);
        value.and_then(|value| Level::of(value, Levels::EXACT)).as_ref() == Some(level)
    };
    let at_base = |levels: &[Level]| held.iter().zip(levels).filter(|(axis, level)| is_base(**axis, level)).count();
    let better = |a: &(Vec<Level>, i64), b: &(Vec<Level>, i64)| {
        a.1.cmp(&b.1).then_with(|| at_base(&a.0).cmp(&at_base(&b.0))).then_with(|| b.0.cmp(&a.0))
    };
    known.into_iter().max_by(better).map(|(levels, _)| levels)
}

fn bounds(sweep: &Sweep, metric: &str, condition: &str) -> Vec<Bound> {
    let of = |gate: &crate::spec::Gate| {
        let least = gate.min.map(|value| Bound { gate: gate.name.clone(), is_least: true, value });
        let most = gate.max.map(|value| Bound { gate: gate.name.clone(), is_least: false, value });
        least.into_iter().chain(most).collect::<Vec<_>>()
    };
    sweep.gates.iter().filter(|gate| gate.metric == metric && gate.condition == condition).flat_map(of).collect()
}

impl Bound {
    fn label(&self) -> String {
        format!("{} {}", if self.is_least { "\u{2265}" } else { "\u{2264}" }, exact(self.value))
    }

    fn is_missed(&self, value: f64) -> bool {
        if self.is_least { value < self.value } else { value > self.value }
    }
}

impl Degradation {
    fn points(&self) -> impl Iterator<Item = &Point> {
        self.panels.iter().flat_map(|panel| &panel.curves).flat_map(|curve| &curve.points)
    }

    /// Least and greatest along x.
    fn x_span(&self) -> (f64, f64) {
        if self.scale.is_none() {
            return (-0.5, self.names.len() as f64 - 0.5);
        }
        extent(self.points().filter_map(|point| point.at.number())).unwrap_or((0.0, 1.0))
    }

    /// Least and greatest of intervals and bounds, from 0 where the metric begins there, with some room.
    fn y_span(&self) -> (f64, f64) {
        let ends = |point: &Point| [point.mean, point.interval.map(|i| i.0), point.interval.map(|i| i.1)];
        let values = self.points().flat_map(ends).flatten();
        let bounds = self.panels.iter().flat_map(|panel| &panel.bounds).map(|bound| bound.value);
        let (low, high) = extent(values.chain(bounds)).unwrap_or((0.0, 1.0));
        let room = 0.05 * (high - low).max(f64::MIN_POSITIVE);
        let range = self.panels.iter().filter_map(|panel| descriptor(&panel.metric)).map(|d| d.range);
        let zero = range.clone().all(|range| range.0 == 0.0) && low >= 0.0;
        let one = range.map(|range| range.1).fold(f64::NEG_INFINITY, f64::max);
        let high = if high <= one { (high + room).min(one) } else { high + room };
        (if zero { 0.0 } else { low - room }, high)
    }

    fn place_of(&self, point: &Point) -> Option<f64> {
        match self.scale {
            Some(_) => point.at.number(),
            None => self.names.iter().position(|name| *name == point.at).map(|at| at as f64),
        }
    }

    /// How its intervals are made; none where no point has one.
    fn method(&self) -> Option<String> {
        method(self.points().filter(|point| point.interval.is_some()).map(|point| point.n as usize))
    }

    fn seeds(&self) -> String {
        let cells = || self.points().map(|point| point.cells);
        let (low, high) = (cells().min().unwrap_or(0), cells().max().unwrap_or(0));
        if low == high { format!("{low} seeds") } else { format!("{low} to {high} seeds") }
    }
}

/// Least and greatest.
pub(super) fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |found, x| Some(found.map_or((x, x), |(low, high): (f64, f64)| (low.min(x), high.max(x)))))
}

const TOP: f64 = 30.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 50.0;

/// The picture.
pub fn draw(info: &Degradation) -> Figure {
    let many = info.panels.len().max(1) as f64;
    let beside = if info.panels.iter().any(|panel| !panel.bounds.is_empty()) { 52.0 } else { 30.0 };
    let width = (WIDTH - LEFT - many * beside) / many;
    let entries = entries(info);
    let turned =
        info.names.iter().any(|name| name.to_string().chars().count() as f64 * 7.0 > width / info.names.len() as f64);
    let below = if turned { 96.0 } else { 44.0 };
    let height = TOP + HEIGHT + below + legend_height(WIDTH - 20.0, &entries) + 6.0;
    let mut svg = Svg::new(WIDTH, height);
    let (x_span, y_span) = (info.x_span(), info.y_span());
    for (number, curves) in info.panels.iter().enumerate() {
        let left = LEFT + number as f64 * (width + beside);
        let x = (info.scale.unwrap_or(Scale::Linear), x_span);
        let panel = Panel::new((left, TOP), (width, HEIGHT), x, (Scale::Linear, y_span));
        let unit = if curves.unit.is_empty() { String::new() } else { format!(", {}", curves.unit) };
        svg.text((left, TOP - 12.0), Anchor::Start, "title", &format!("{}{unit}", curves.metric));
        panel.y_axis(&mut svg, 5, number == 0);
        if info.scale.is_some() {
            panel.x_axis(&mut svg, (width / 55.0) as usize, true);
        } else {
            name_axis(&mut svg, &panel, &info.names, turned);
        }
        let mut free = f64::NEG_INFINITY;
        let mut bounds: Vec<&Bound> = curves.bounds.iter().collect();
        bounds.sort_by(|a, b| b.value.total_cmp(&a.value));
        for bound in bounds {
            panel.bound(&mut svg, bound.value, "6 4");
            let y = panel.y.place(bound.value);
            if y > free {
                svg.text((panel.right() + 4.0, y + 4.0), Anchor::Start, "", &bound.label());
                free = y + 13.0;
            }
        }
        for (at, curve) in curves.curves.iter().enumerate() {
            draw_curve(&mut svg, info, &panel, curve, (at, curves.curves.len()));
        }
    }
    let spacing = info.scale.map_or(String::new(), |scale| format!(" ({} scale)", scale.name()));
    let middle = LEFT + (WIDTH - LEFT - beside) / 2.0;
    svg.text((middle, TOP + HEIGHT + below - 8.0), Anchor::Middle, "", &format!("{}{spacing}", info.axis));
    legend(&mut svg, (14.0, TOP + HEIGHT + below + 12.0), WIDTH - 20.0, &entries);
    let alt = alt(info);
    let svg = svg.finish(&info.title, &alt);
    Figure {
        section: Section::Degradation,
        name: info.name.clone(),
        title: info.title.clone(),
        alt,
        caption: caption(info),
        svg,
        data: data(info),
    }
}

fn name_axis(svg: &mut Svg, panel: &Panel, names: &[Level], turned: bool) {
    svg.line((panel.at.0, panel.bottom()), (panel.right(), panel.bottom()), "axis");
    for (at, name) in names.iter().enumerate() {
        let (x, y) = (panel.x.place(at as f64), panel.bottom() + 17.0);
        let name = shortened(&name.to_string(), 16);
        if turned {
            let turn = format!("rotate(-40 {} {})", place(x), place(y - 4.0));
            svg.text_with((x, y - 4.0), Anchor::End, &[("transform", &turn)], &name);
        } else {
            svg.text((x, y), Anchor::Middle, "", &name);
        }
    }
}

fn entries(info: &Degradation) -> Vec<(Sample, String)> {
    let mut entries = Vec::new();
    let curves = info.panels.first().map_or(&[][..], |panel| &panel.curves);
    for (at, curve) in curves.iter().enumerate() {
        if let Some(level) = &curve.level {
            let axis = info.line_axis.as_deref().unwrap_or("");
            let text = if at == 0 { format!("{axis} {level}") } else { level.to_string() };
            entries.push((Sample::Line(GROUPS[at % GROUPS.len()].to_string()), text));
        }
    }
    let colour = GROUPS[0].to_string();
    let interval = if info.scale.is_some() { Sample::Box(colour) } else { Sample::Bar(colour) };
    entries.push((interval, "interval of the mean".to_string()));
    if info.points().any(|point| point.share_ok < 1.0 && point.mean.is_some()) {
        entries.push((Sample::Ring, "some cells lost".to_string()));
    }
    if info.points().any(|point| point.mean.is_none()) {
        entries.push((Sample::Cross, "no value".to_string()));
    }
    if info.panels.iter().any(|panel| !panel.bounds.is_empty()) {
        entries.push((Sample::Dashes("6 4"), "bound of a gate".to_string()));
    }
    entries
}

/// One line with its band; dots with bars where levels are names.
fn draw_curve(svg: &mut Svg, info: &Degradation, panel: &Panel, curve: &Curve, (number, of): (usize, usize)) {
    let colour = GROUPS[number % GROUPS.len()];
    // Dots at one name stand beside each other.
    let aside = if info.scale.is_some() { 0.0 } else { (number as f64 - (of as f64 - 1.0) / 2.0) * 0.6 / of as f64 };
    let x_of = |point: &Point| info.place_of(point).map(|x| panel.x.place(x + aside));
    let mut pieces: Vec<Vec<&Point>> = vec![Vec::new()];
    for point in &curve.points {
        match (point.mean, pieces.last_mut()) {
            (Some(_), Some(piece)) => piece.push(point),
            _ => pieces.push(Vec::new()),
        }
    }
    for piece in pieces.iter().filter(|_| info.scale.is_some()) {
        let edge = |end: fn((f64, f64)) -> f64| {
            let at = move |p: &&Point| Some((x_of(p)?, panel.y.place(end(p.interval?))));
            piece.iter().filter_map(at).collect::<Vec<_>>()
        };
        let (low, high) = (edge(|i| i.0), edge(|i| i.1));
        let band: Vec<(f64, f64)> = low.into_iter().chain(high.into_iter().rev()).collect();
        if band.len() > 3 {
            svg.path(&[band], &[("fill", &colour), ("fill-opacity", &"0.2")]);
        }
        let line = piece.iter().filter_map(|p| Some((x_of(p)?, panel.y.place(p.mean?)))).collect::<Vec<_>>();
        svg.path(&[line], &[("class", &"line"), ("stroke", &colour)]);
    }
    let dense = curve.points.len() > 40;
    for point in &curve.points {
        let Some(x) = x_of(point) else { continue };
        let Some(mean) = point.mean else {
            cross(svg, (x, panel.bottom() - 6.0), colour);
            continue;
        };
        let y = panel.y.place(mean);
        if let Some((low, high)) = point.interval.filter(|_| info.scale.is_none()) {
            let bar = vec![(x, panel.y.place(low)), (x, panel.y.place(high))];
            svg.path(&[bar], &[("class", &"line"), ("stroke", &colour)]);
        }
        if point.share_ok < 1.0 {
            ring(svg, (x, y), 3.2, colour);
        } else if !dense {
            dot(svg, (x, y), if info.scale.is_some() { 2.4 } else { 3.4 }, colour);
        }
    }
}

#[cfg(test)]
mod tests;
