//! The picture of a heatmap.

use super::along::edges;
use super::words::{Words, data, legend};
use super::{Along, Boundary, HeatmapInfo, Panel, Point, Tile};
use crate::numerics::shown::{Levels, rounded, rounded_to};
use crate::report::colour::{diverging, ink_on, ink_on_diverging, sequential};
use crate::report::scale::Continuous;
use crate::report::svg::{Anchor, Svg, place};
use crate::report::{Figure, Section};
use crate::spec::Scale;

const WIDTH: f64 = 720.0;
/// Room for the bar of colours.
const RIGHT: f64 = 96.0;
const GAP: f64 = 14.0;
/// For the name of y.
const TOP: f64 = 22.0;
/// Above each panel for its levels, below for the labels of x.
const HEADING: f64 = 20.0;
const LABELS: f64 = 20.0;
/// Of a letter of the small size.
const LETTER: f64 = 6.2;
/// Tiles that are told by hovering, above which the page reads them from the data: the picture stays small.
const MAX_TOLD: usize = 600;
/// Steps of the bar of colours.
const BAR_STEPS: usize = 32;
/// Significant digits of a value in its tile, where there is little room.
const TILE_DIGITS: usize = 3;
/// A bar's width, and how far from the tiles it stands.
const BAR: f64 = 14.0;
const BAR_ASIDE: f64 = 44.0;

/// Draws a heatmap.
pub fn draw(info: &HeatmapInfo) -> Figure {
    let text = Words::of(info);
    let frame = Frame::of(info);
    let legend = legend(info);
    let height = frame.bottom() + 22.0 + 18.0 * legend.len() as f64;
    let ticks = scale_of_colours(info, (0.0, 1.0)).labelled(5);
    let longest = ticks.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0);
    // Of values that are close to each other labels are long.
    let more = (longest as f64 * LETTER - (RIGHT - BAR_ASIDE - BAR - 8.0)).max(0.0);
    let mut svg = Svg::new(WIDTH + more, height);
    for (number, panel) in info.panels.iter().enumerate() {
        let at = frame.corner(number);
        heading(&mut svg, panel, at);
        holes(&mut svg, &frame, at);
        x_labels(&mut svg, &info.x, &frame, at);
        if number % frame.columns == 0 {
            y_labels(&mut svg, &info.y, &frame, at);
        }
    }
    let told = info.panels.iter().map(|panel| panel.tiles.len()).sum::<usize>() <= MAX_TOLD;
    // No seams between neighbours.
    svg.open("g", &[("class", &"tiles"), ("shape-rendering", &"crispEdges")]);
    for (number, panel) in info.panels.iter().enumerate() {
        let at = frame.corner(number);
        panel.tiles.iter().for_each(|tile| draw_tile(&mut svg, info, tile, frame.box_of(tile, at), told));
    }
    svg.close("g");
    for (number, panel) in info.panels.iter().enumerate() {
        let at = frame.corner(number);
        let lines: Vec<Line> = panel.boundaries.iter().flat_map(|b| lines(info, b, &frame, at)).collect();
        lines.iter().for_each(|line| band(&mut svg, line));
        panel.tiles.iter().for_each(|tile| value(&mut svg, info, tile, frame.box_of(tile, at), &lines));
        lines.iter().for_each(|line| stroke(&mut svg, std::slice::from_ref(&line.middle), line.fitted));
    }
    bar(&mut svg, info, &frame);
    let middle = (frame.left + WIDTH - RIGHT) / 2.0;
    svg.text((middle, frame.bottom() + 14.0), Anchor::Middle, "", &format!("{} \u{2192}", info.x.title()));
    svg.text((4.0, 13.0), Anchor::Start, "", &format!("\u{2191} {}", info.y.title()));
    for (i, (dashed, entry)) in legend.iter().enumerate() {
        let y = frame.bottom() + 36.0 + 18.0 * i as f64;
        stroke(&mut svg, &[vec![(frame.left, y - 4.0), (frame.left + 28.0, y - 4.0)]], *dashed);
        svg.text((frame.left + 36.0, y), Anchor::Start, "soft small", entry);
    }
    Figure {
        section: Section::Surfaces,
        name: text.name.clone(),
        title: text.title.clone(),
        alt: text.alt.clone(),
        caption: text.caption.clone(),
        svg: svg.finish(&text.title, &text.alt),
        data: data(info),
    }
}

/// Where panels are.
struct Frame {
    columns: usize,
    rows: usize,
    /// Room for the labels of y, and above each panel.
    left: f64,
    heading: f64,
    /// Of a panel.
    width: f64,
    height: f64,
}

impl Frame {
    fn of(info: &HeatmapInfo) -> Self {
        let n = info.panels.len();
        let columns = if n == 1 {
            1
        } else if n <= 4 {
            2
        } else {
            3
        };
        let levels = info.y.labels.len() as f64;
        let height = if n == 1 { (levels * 34.0).clamp(130.0, 460.0) } else { (levels * 26.0).clamp(80.0, 240.0) };
        let longest = info.y.labels.iter().map(|text| text.chars().count()).max().unwrap_or(0);
        let left = (longest as f64 * LETTER + 14.0).clamp(40.0, 160.0);
        let heading = if info.panels.iter().all(|panel| panel.fixed.is_empty()) { 0.0 } else { HEADING };
        let width = (WIDTH - left - RIGHT - GAP * (columns - 1) as f64) / columns as f64;
        Self { columns, rows: n.div_ceil(columns), left, heading, width, height }
    }

    /// The upper left corner of the tiles of a panel.
    fn corner(&self, number: usize) -> (f64, f64) {
        let (row, column) = (number / self.columns, number % self.columns);
        let y = TOP + row as f64 * (self.height + self.heading + LABELS) + self.heading;
        (self.left + column as f64 * (self.width + GAP), y)
    }

    fn bottom(&self) -> f64 {
        TOP + self.rows as f64 * (self.height + self.heading + LABELS)
    }

    fn box_of(&self, tile: &Tile, at: (f64, f64)) -> [f64; 4] {
        let (x, y) = (at.0 + tile.across.0 * self.width, at.1 + (1.0 - tile.up.1) * self.height);
        [x, y, (tile.across.1 - tile.across.0) * self.width, (tile.up.1 - tile.up.0) * self.height]
    }
}

fn heading(svg: &mut Svg, panel: &Panel, at: (f64, f64)) {
    let text: Vec<String> = panel.fixed.iter().map(|(path, level)| format!("{path} {level}")).collect();
    if !text.is_empty() {
        svg.text((at.0, at.1 - 6.0), Anchor::Start, "small", &text.join(", "));
    }
}

/// What lies behind tiles, and shows where there are none.
fn holes(svg: &mut Svg, frame: &Frame, at: (f64, f64)) {
    let [x, y, w, h] = [at.0, at.1, frame.width, frame.height].map(place);
    svg.element("rect", &[("x", &x), ("y", &y), ("width", &w), ("height", &h), ("fill", &"none"), ("class", &"grid")]);
}

fn x_labels(svg: &mut Svg, x: &Along, frame: &Frame, at: (f64, f64)) {
    let mut free = f64::NEG_INFINITY;
    for (text, share) in x.labels.iter().zip(&x.places) {
        let middle = at.0 + share * frame.width;
        let half = text.chars().count() as f64 * LETTER / 2.0;
        if middle - half > free {
            svg.line((middle, at.1 + frame.height), (middle, at.1 + frame.height + 4.0), "axis");
            svg.text((middle, at.1 + frame.height + 15.0), Anchor::Middle, "small", text);
            free = middle + half + 6.0;
        }
    }
}

fn y_labels(svg: &mut Svg, y: &Along, frame: &Frame, at: (f64, f64)) {
    let mut free = f64::INFINITY;
    for (text, share) in y.labels.iter().zip(&y.places) {
        let middle = at.1 + (1.0 - share) * frame.height;
        if middle + 6.0 < free {
            svg.line((at.0 - 4.0, middle), (at.0, middle), "axis");
            svg.text((at.0 - 7.0, middle + 4.0), Anchor::End, "small", text);
            free = middle - 7.0;
        }
    }
}

/// Where a value lies among the colours: from 0 to 1, or from -1 to 1.
fn share(info: &HeatmapInfo, value: f64) -> f64 {
    let (low, high) = info.range;
    match (info.diverging, high > low) {
        (true, true) => value / high,
        (true, false) => 0.0,
        (false, true) => (value - low) / (high - low),
        (false, false) => 0.5,
    }
}

fn colour(info: &HeatmapInfo, value: f64) -> String {
    let share = share(info, value);
    if info.diverging { diverging(share) } else { sequential(share) }
}

fn draw_tile(svg: &mut Svg, info: &HeatmapInfo, tile: &Tile, [x, y, w, h]: [f64; 4], told: bool) {
    let [x, y, w, h] = [x, y, w, h].map(place);
    let fill = tile.value.map_or("var(--grid)".to_string(), |value| colour(info, value));
    let attributes: [(&str, &dyn std::fmt::Display); 5] =
        [("x", &x), ("y", &y), ("width", &w), ("height", &h), ("fill", &fill)];
    if !told {
        svg.element("rect", &attributes);
        return;
    }
    svg.open("rect", &attributes);
    let value = match (tile.value, tile.interval) {
        (Some(value), Some((low, high))) => format!("{} [{}, {}]", rounded(value), rounded(low), rounded(high)),
        (Some(value), None) => rounded(value),
        (None, _) => "no value".to_string(),
    };
    let seeds = if tile.n == tile.cells { tile.n.to_string() } else { format!("{} of {}", tile.n, tile.cells) };
    svg.tooltip(&format!("{} {}, {} {}: {value}, n {seeds}", info.y.path, tile.y, info.x.path, tile.x));
    svg.close("rect");
}

/// A value in its tile, where it fits and no line runs through it: in the middle, or beside the line.
fn value(svg: &mut Svg, info: &HeatmapInfo, tile: &Tile, [x, y, w, h]: [f64; 4], lines: &[Line]) {
    let text = tile.value.map_or("none".to_string(), |value| rounded_to(value, TILE_DIGITS));
    let width = text.chars().count() as f64 * LETTER;
    let (top, bottom) = (y + h / 2.0 - 7.0, y + h / 2.0 + 7.0);
    let crosses = |middle: f64, pair: &[(f64, f64)]| {
        let [a, b] = pair else { return false };
        let (low, high) = (a.0.min(b.0) - 3.0, a.0.max(b.0) + 3.0);
        let (left, right) = (middle - width / 2.0, middle + width / 2.0);
        low < right && high > left && a.1.min(b.1) < bottom && a.1.max(b.1) > top
    };
    let free = |middle: &f64| !lines.iter().any(|line| line.middle.windows(2).any(|pair| crosses(*middle, pair)));
    let aside = width / 2.0 + 3.0;
    let middle = [x + w / 2.0, x + aside, x + w - aside].into_iter().find(free);
    let Some(middle) = middle.filter(|_| w >= width + 4.0 && h >= 14.0) else { return };
    // The edge of a band ends around the value.
    let mut ends = lines.iter().flat_map(|line| line.ends.iter().flatten());
    let halo = if ends.any(|edge| edge.windows(2).any(|pair| crosses(middle, pair))) {
        let fill = tile.value.map_or("var(--grid)".to_string(), |value| colour(info, value));
        format!(";stroke:{fill};stroke-width:5px;paint-order:stroke")
    } else {
        String::new()
    };
    let ink = match tile.value {
        None => "var(--ink)",
        Some(value) if info.diverging => ink_on_diverging(share(info, value)),
        Some(value) => ink_on(share(info, value)),
    };
    let style = format!("fill:{ink}{halo}");
    let attributes: [(&str, &dyn std::fmt::Display); 3] =
        [("class", &"small"), ("style", &style), ("pointer-events", &"none")];
    svg.text_with((middle, y + h / 2.0 + 4.0), Anchor::Middle, &attributes, &text);
}

/// A piece of a boundary: its middle, and the ends of its interval where it has one everywhere.
struct Line {
    middle: Vec<(f64, f64)>,
    ends: Option<[Vec<(f64, f64)>; 2]>,
    fitted: bool,
}

/// A boundary with its band: each level of y has its own, at its middle; neighbouring ones are joined where levels of y
/// are numbers.
fn lines(info: &HeatmapInfo, boundary: &Boundary, frame: &Frame, at: (f64, f64)) -> Vec<Line> {
    let up = edges(&info.y.places);
    let x = |level: f64| info.x.place_of(level).map(|share| at.0 + share.clamp(0.0, 1.0) * frame.width);
    let y = |share: f64| at.1 + (1.0 - share) * frame.height;
    let joined = info.y.scale.is_some();
    let runs = boundary.points.chunk_by(|a, b| joined && b.y == a.y + 1 && a.fitted == b.fitted);
    let piece = |run: &[Point]| {
        let (mut middle, mut low, mut high) = (Vec::new(), Vec::new(), Vec::new());
        for (i, point) in run.iter().enumerate() {
            let Some(px) = x(point.level) else { continue };
            // To the edges of the tiles at both ends.
            let first = (i == 0).then_some(up[point.y].0);
            let last = (i + 1 == run.len()).then_some(up[point.y].1);
            for share in first.into_iter().chain([info.y.places[point.y]]).chain(last) {
                middle.push((px, y(share)));
                if let Some((from, to)) = point.interval.and_then(|(from, to)| Some((x(from)?, x(to)?))) {
                    low.push((from, y(share)));
                    high.push((to, y(share)));
                }
            }
        }
        let ends = (low.len() == middle.len()).then_some([low, high]);
        Line { middle, ends, fitted: run.iter().all(|point| point.fitted) }
    };
    runs.map(piece).collect()
}

/// The band of a piece: lighter, with thin edges.
fn band(svg: &mut Svg, line: &Line) {
    let Some([low, high]) = &line.ends else { return };
    let around: Vec<(f64, f64)> = low.iter().chain(high.iter().rev()).chain(low.first()).copied().collect();
    svg.path(&[around], &[("fill", &"#fff"), ("fill-opacity", &"0.2"), ("pointer-events", &"none")]);
    let edges = [low.clone(), high.clone()];
    for (colour, width) in [("#000", "1.8"), ("#fff", "0.9")] {
        svg.path(
            &edges,
            &[("fill", &"none"), ("stroke", &colour), ("stroke-width", &width), ("pointer-events", &"none")],
        );
    }
}

/// A line that is seen on every colour: white on black, dashed where it is fitted.
fn stroke(svg: &mut Svg, pieces: &[Vec<(f64, f64)>], dashed: bool) {
    let dashes = if dashed { "6 4" } else { "none" };
    for (colour, width) in [("#000", "4.5"), ("#fff", "2")] {
        let dashes = if colour == "#000" { "none" } else { dashes };
        svg.path(
            pieces,
            &[
                ("fill", &"none"),
                ("stroke", &colour),
                ("stroke-width", &width),
                ("stroke-dasharray", &dashes),
                ("pointer-events", &"none"),
            ],
        );
    }
}

fn scale_of_colours(info: &HeatmapInfo, places: (f64, f64)) -> Continuous {
    Continuous::new(Scale::Linear, info.range, places)
}

fn bar(svg: &mut Svg, info: &HeatmapInfo, frame: &Frame) {
    let (x, top) = (WIDTH - RIGHT + BAR_ASIDE, TOP + frame.heading);
    let height = (frame.bottom() - TOP - frame.heading - LABELS).min(240.0);
    let (low, high) = info.range;
    let step = height / BAR_STEPS as f64;
    for i in 0..BAR_STEPS {
        let part = (i as f64 + 0.5) / BAR_STEPS as f64;
        // A little over the next, so that no seam shows.
        svg.rect(
            (x, top + height - (i + 1) as f64 * step),
            (BAR, step + 0.4),
            &colour(info, low + part * (high - low)),
        );
    }
    let scale = scale_of_colours(info, (top + height, top));
    for (tick, text) in scale.labelled(5) {
        svg.line((x + BAR, scale.place(tick)), (x + BAR + 4.0, scale.place(tick)), "axis");
        svg.text((x + BAR + 6.0, scale.place(tick) + 4.0), Anchor::Start, "small", &text);
    }
    let bounds = info.constraints.iter().flat_map(|c| [c.min, c.max]).flatten();
    let mut marked: Vec<f64> = bounds.filter(|bound| low < *bound && *bound < high).collect();
    marked.sort_by(f64::total_cmp);
    marked.dedup();
    let shown = Levels::of_numbers(marked.iter().copied());
    for bound in marked {
        let y = scale.place(bound);
        stroke(svg, &[vec![(x - 3.0, y), (x + BAR + 1.0, y)]], false);
        svg.text((x - 6.0, y + 4.0), Anchor::End, "small", &shown.number(bound));
    }
    svg.text((WIDTH - 4.0, top + height + 18.0), Anchor::End, "soft small", &info.unit);
}
