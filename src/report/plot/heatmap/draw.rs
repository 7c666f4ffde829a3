//! The picture of a heatmap.

use super::{Along, Boundary, HeatmapInfo, Panel, Tile};
use crate::report::colour::{diverging, ink_on, ink_on_diverging, sequential};
use crate::report::scale::{Continuous, label};
use crate::report::svg::{Anchor, Svg, place};
use crate::report::{Data, Figure, Section};
use crate::spec::{CLEAN, LOST, Scale};

const WIDTH: f64 = 720.0;
/// Room for the labels of y, and for the bar of colours.
const LEFT: f64 = 78.0;
const RIGHT: f64 = 96.0;
const GAP: f64 = 14.0;
/// Above each panel for its levels, below for the labels of x.
const HEADING: f64 = 20.0;
const LABELS: f64 = 20.0;
/// Of a letter of the small size.
const LETTER: f64 = 6.2;
/// Tiles that are told by hovering, above which the page reads them from the data: the picture stays small.
const MAX_TOLD: usize = 600;
/// Steps of the bar of colours.
const BAR_STEPS: usize = 32;
/// A bar's width.
const BAR: f64 = 14.0;

/// Draws a heatmap.
pub fn draw(info: &HeatmapInfo) -> Figure {
    let text = Words::of(info);
    let frame = Frame::of(info);
    let legend = legend(info);
    let height = frame.bottom() + 26.0 + 18.0 * legend.len() as f64;
    let mut svg = Svg::new(WIDTH, height);
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
    svg.open("g", &[("class", &"tiles")]);
    for (number, panel) in info.panels.iter().enumerate() {
        let at = frame.corner(number);
        panel.tiles.iter().for_each(|tile| draw_tile(&mut svg, info, tile, frame.box_of(tile, at), told));
    }
    svg.close("g");
    for (number, panel) in info.panels.iter().enumerate() {
        let at = frame.corner(number);
        panel.tiles.iter().for_each(|tile| value(&mut svg, info, tile, frame.box_of(tile, at)));
        panel.boundaries.iter().for_each(|boundary| line(&mut svg, info, boundary, &frame, at));
    }
    bar(&mut svg, info, &frame);
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    svg.text((middle, frame.bottom() + 14.0), Anchor::Middle, "", &info.x.title());
    let up = (frame.top + frame.bottom() - LABELS) / 2.0;
    let turn = format!("rotate(-90 14 {})", place(up));
    svg.text_with((14.0, up), Anchor::Middle, &[("transform", &turn)], &info.y.title());
    for (i, (dashed, entry)) in legend.iter().enumerate() {
        let y = frame.bottom() + 36.0 + 18.0 * i as f64;
        stroke(&mut svg, &[vec![(LEFT, y - 4.0), (LEFT + 28.0, y - 4.0)]], *dashed);
        svg.text((LEFT + 36.0, y), Anchor::Start, "soft small", entry);
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
    top: f64,
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
        let width = (WIDTH - LEFT - RIGHT - GAP * (columns - 1) as f64) / columns as f64;
        Self { columns, rows: n.div_ceil(columns), top: 6.0, width, height }
    }

    /// The upper left corner of the tiles of a panel.
    fn corner(&self, number: usize) -> (f64, f64) {
        let (row, column) = (number / self.columns, number % self.columns);
        let y = self.top + row as f64 * (self.height + HEADING + LABELS) + HEADING;
        (LEFT + column as f64 * (self.width + GAP), y)
    }

    fn bottom(&self) -> f64 {
        self.top + self.rows as f64 * (self.height + HEADING + LABELS)
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
        (Some(value), Some((low, high))) => format!("{} [{}, {}]", label(value), label(low), label(high)),
        (Some(value), None) => label(value),
        (None, _) => "no value".to_string(),
    };
    let seeds = if tile.n == tile.cells { tile.n.to_string() } else { format!("{} of {}", tile.n, tile.cells) };
    svg.tooltip(&format!("{} {}, {} {}: {value}, n {seeds}", info.y.path, tile.y, info.x.path, tile.x));
    svg.close("rect");
}

/// A value in its tile, where it fits.
fn value(svg: &mut Svg, info: &HeatmapInfo, tile: &Tile, [x, y, w, h]: [f64; 4]) {
    let text = tile.value.map_or("none".to_string(), three_digits);
    if w < text.chars().count() as f64 * LETTER + 4.0 || h < 14.0 {
        return;
    }
    let ink = match tile.value {
        None => "var(--ink)",
        Some(value) if info.diverging => ink_on_diverging(share(info, value)),
        Some(value) => ink_on(share(info, value)),
    };
    let style = format!("fill:{ink}");
    let attributes: [(&str, &dyn std::fmt::Display); 3] =
        [("class", &"small"), ("style", &style), ("pointer-events", &"none")];
    svg.text_with((x + w / 2.0, y + h / 2.0 + 4.0), Anchor::Middle, &attributes, &text);
}

/// A number to three significant digits.
fn three_digits(x: f64) -> String {
    format!("{x:.2e}").parse().map_or_else(|_| label(x), label)
}

/// The boundary with its band: each level of y has its own, at its middle; neighbouring ones are joined.
fn line(svg: &mut Svg, info: &HeatmapInfo, boundary: &Boundary, frame: &Frame, at: (f64, f64)) {
    let up = super::along::edges(&info.y.places);
    let x = |level: f64| info.x.place_of(level).map(|share| at.0 + share.clamp(0.0, 1.0) * frame.width);
    let y = |share: f64| at.1 + (1.0 - share) * frame.height;
    // Numbers are joined; between kinds there is nothing.
    let joined = info.y.scale.is_some();
    let runs = boundary.points.chunk_by(|a, b| joined && b.y == a.y + 1 && a.fitted == b.fitted);
    for run in runs {
        let mut middle = Vec::new();
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for (i, point) in run.iter().enumerate() {
            let Some(px) = x(point.level) else { continue };
            // To the edges of the tiles at both ends.
            let (low, high) = up[point.y];
            let mut heights = vec![info.y.places[point.y]];
            if i == 0 {
                heights.insert(0, low);
            }
            if i + 1 == run.len() {
                heights.push(high);
            }
            for share in heights {
                middle.push((px, y(share)));
                if let Some((from, to)) = point.interval.and_then(|(from, to)| Some((x(from)?, x(to)?))) {
                    left.push((from, y(share)));
                    right.push((to, y(share)));
                }
            }
        }
        if left.len() == middle.len() && !left.is_empty() {
            right.reverse();
            left.extend(right);
            left.extend(left.first().copied());
            svg.path(&[left], &[("fill", &"#fff"), ("fill-opacity", &"0.35"), ("pointer-events", &"none")]);
        }
        stroke(svg, &[middle], run[0].fitted);
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

fn bar(svg: &mut Svg, info: &HeatmapInfo, frame: &Frame) {
    let (x, top) = (WIDTH - RIGHT + 44.0, frame.top + HEADING);
    let height = (frame.bottom() - frame.top - HEADING - LABELS).min(240.0);
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
    let scale = Continuous::new(Scale::Linear, info.range, (top + height, top));
    for tick in scale.ticks(5) {
        svg.line((x + BAR, scale.place(tick)), (x + BAR + 4.0, scale.place(tick)), "axis");
        svg.text((x + BAR + 6.0, scale.place(tick) + 4.0), Anchor::Start, "small", &label(tick));
    }
    let bounds = info.constraints.iter().flat_map(|c| [c.min, c.max]).flatten();
    let mut marked: Vec<f64> = bounds.filter(|bound| low < *bound && *bound < high).collect();
    marked.sort_by(f64::total_cmp);
    marked.dedup();
    for bound in marked {
        let y = scale.place(bound);
        stroke(svg, &[vec![(x - 3.0, y), (x + BAR + 1.0, y)]], false);
        svg.text((x - 6.0, y + 4.0), Anchor::End, "small", &label(bound));
    }
    svg.text((WIDTH - 4.0, top + height + 18.0), Anchor::End, "soft small", &info.unit);
}

/// What lines there are: dashed or not, and what they are.
fn legend(info: &HeatmapInfo) -> Vec<(bool, String)> {
    let mut entries = Vec::new();
    for (number, constraint) in info.constraints.iter().enumerate() {
        let of = info.panels.iter().flat_map(|panel| &panel.boundaries).filter(|b| b.constraint == number);
        let points: Vec<_> = of.flat_map(|boundary| &boundary.points).collect();
        let banded = points.iter().any(|point| point.interval.is_some());
        let band = if banded { ", with its 95% interval" } else { "" };
        let what = format!("{} ({})", constraint.name, bound_words(constraint.min, constraint.max));
        if points.iter().any(|point| !point.fitted) {
            entries.push((false, format!("where {what} breaks: mean over seeds{band}")));
        }
        if points.iter().any(|point| point.fitted) {
            entries.push((true, format!("where {what} breaks: fit, where some seeds have no boundary{band}")));
        }
    }
    entries
}

fn bound_words(min: Option<f64>, max: Option<f64>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{} to {}", label(min), label(max)),
        (Some(min), None) => format!("at least {}", label(min)),
        (None, max) => format!("at most {}", max.map_or_else(String::new, label)),
    }
}

/// What is said in words.
struct Words {
    name: String,
    title: String,
    alt: String,
    caption: String,
}

impl Words {
    fn of(info: &HeatmapInfo) -> Self {
        let subject = &info.subject;
        let lost = subject.metric == LOST;
        let metric = if lost { "share of cells lost" } else { &subject.metric };
        let (under, file) = match subject.condition.as_str() {
            CLEAN => (String::new(), String::new()),
            condition => (format!(" under {condition}"), format!("-{condition}")),
        };
        Self {
            name: format!("heatmap-{}{file}", subject.metric).replace('_', "-"),
            title: format!("{metric}{under}, over {} and {}", info.x.path, info.y.path),
            alt: alt(info, &format!("{metric}{under}")),
            caption: caption(info),
        }
    }
}

fn tiles(info: &HeatmapInfo) -> impl Iterator<Item = (&Panel, &Tile)> + Clone {
    info.panels.iter().flat_map(|panel| panel.tiles.iter().map(move |tile| (panel, tile)))
}

/// The finding: where it is greatest and least, how often constraints hold, where they break.
fn alt(info: &HeatmapInfo, metric: &str) -> String {
    let with = tiles(info).filter_map(|(panel, tile)| Some((panel, tile, tile.value?)));
    let at = |panel: &Panel, tile: &Tile| {
        let fixed = panel.fixed.iter().map(|(path, level)| format!(", {path} {level}"));
        format!("{} {}, {} {}{}", info.x.path, tile.x, info.y.path, tile.y, fixed.collect::<String>())
    };
    let mut text = String::new();
    if let (Some(least), Some(most)) =
        (with.clone().min_by(|a, b| a.2.total_cmp(&b.2)), with.clone().max_by(|a, b| a.2.total_cmp(&b.2)))
    {
        text = format!(
            "{metric} is greatest, {}, at {}, and least, {}, at {}.",
            label(most.2),
            at(most.0, most.1),
            label(least.2),
            at(least.0, least.1)
        );
    }
    let places = with.clone().count();
    for (number, constraint) in info.constraints.iter().enumerate() {
        let keeps =
            |value: f64| constraint.min.is_none_or(|min| value >= min) && constraint.max.is_none_or(|max| value <= max);
        let kept = with.clone().filter(|(_, _, value)| keeps(*value)).count();
        let what = bound_words(constraint.min, constraint.max);
        text.push_str(&format!(" The mean keeps {} ({what}) at {kept} of {places} combinations.", constraint.name));
        for (side, word) in [("lower", "below"), ("upper", "above")] {
            let of = info.panels.iter().flat_map(|p| &p.boundaries);
            let of = of.filter(|b| b.constraint == number && b.side == side).flat_map(|b| &b.points);
            let levels: Vec<f64> = of.map(|point| point.level).collect();
            let (low, high) = levels.iter().fold((f64::INFINITY, 0.0f64), |(l, h), x| (l.min(*x), h.max(*x)));
            if let Some(first) = levels.first() {
                let path = &info.x.path;
                let lines = if levels.len() == 1 { "line".to_string() } else { format!("{} lines", levels.len()) };
                let range = match levels.len() {
                    1 => label(*first),
                    _ => format!("levels between {} and {}", label(low), label(high)),
                };
                text.push_str(&format!(" Along {path} it breaks {word} {range} ({lines})."));
            }
        }
    }
    let none = tiles(info).filter(|(_, tile)| tile.value.is_none()).count();
    if none > 0 {
        text.push_str(&format!(" {none} combinations have no value."));
    }
    text
}

fn caption(info: &HeatmapInfo) -> String {
    let cells = tiles(info).map(|(_, tile)| tile.cells);
    let (least, most) = (cells.clone().min().unwrap_or(0), cells.max().unwrap_or(0));
    let seeds = if least == most { format!("{most}") } else { format!("{least} to {most}") };
    let seeds = format!("{seeds} seed{}", if most == 1 { "" } else { "s" });
    let lost = info.subject.metric == LOST;
    let mut parts = vec![if lost {
        format!("The {}, over {seeds} each.", info.about)
    } else {
        format!("Mean over {seeds} each of {}: {}, in {}.", info.subject.metric, info.about, info.unit)
    }];
    parts.push(format!(
        "Colours from {} to {}, linear{}.",
        label(info.range.0),
        label(info.range.1),
        if info.diverging { ", white at 0" } else { "" }
    ));
    if tiles(info).any(|(_, tile)| tile.value.is_none()) {
        parts.push("Grey tiles have finished cells but no value.".to_string());
    }
    let out = &info.left_out;
    for (axis, every) in [(&info.x, out.x_every), (&info.y, out.y_every)] {
        if every > 1 {
            parts.push(format!("Of the levels of {} one in {every} is drawn.", axis.path));
        }
    }
    if out.panels > 0 {
        parts.push(format!(
            "{} more panels are left out: every k-th is drawn, {} in all.",
            out.panels,
            info.panels.len()
        ));
    }
    if out.beside > 0 {
        parts.push(format!("{} combinations at levels beside the grid are not drawn.", out.beside));
    } else if info.panels.iter().flat_map(|p| &p.tiles).any(|tile| !info.x.labels.contains(&tile.x)) {
        parts.push("Narrow tiles are levels beside the grid; each row has its own.".to_string());
    }
    parts.join(" ")
}

/// A number to six significant digits.
fn number(x: f64) -> String {
    format!("{x:.5e}").parse::<f64>().map_or_else(|_| x.to_string(), |x| x.to_string())
}

fn data(info: &HeatmapInfo) -> Data {
    let fixed =
        info.panels.first().map_or(Vec::new(), |panel| panel.fixed.iter().map(|(path, _)| path.clone()).collect());
    let own = ["mean", "interval_low", "interval_high", "n", "cells", "ok", "collapsed", "diverged", "failed"];
    let header = [fixed, vec![info.y.path.clone(), info.x.path.clone()], own.map(String::from).to_vec()].concat();
    let row = |(panel, tile): (&Panel, &Tile)| {
        let optional = |value: Option<f64>| value.map_or_else(String::new, number);
        let mut fields: Vec<String> = panel.fixed.iter().map(|(_, level)| level.clone()).collect();
        fields.extend([tile.y.clone(), tile.x.clone(), optional(tile.value)]);
        fields.extend([optional(tile.interval.map(|i| i.0)), optional(tile.interval.map(|i| i.1))]);
        fields.extend([tile.n.to_string(), tile.cells.to_string()]);
        fields.extend(tile.shares.map(number));
        fields
    };
    Data { header, rows: tiles(info).map(row).collect() }
}
