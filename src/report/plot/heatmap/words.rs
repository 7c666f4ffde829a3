//! What a heatmap says in words, and its data.

use super::{HeatmapInfo, Panel, Tile};
use crate::numerics::bootstrap::method;
use crate::numerics::shown::{Levels, exact, rounded};
use crate::report::Data;
use crate::report::glance::bounds;
use crate::spec::{CLEAN, LOST};

/// What lines there are: dashed or not, and what they are.
pub fn legend(info: &HeatmapInfo) -> Vec<(bool, String)> {
    let mut entries = Vec::new();
    for (number, constraint) in info.constraints.iter().enumerate() {
        let of = info.panels.iter().flat_map(|panel| &panel.boundaries).filter(|b| b.constraint == number);
        let points: Vec<_> = of.flat_map(|boundary| &boundary.points).collect();
        let banded = |fitted: bool, band: &'static str| {
            let any = points.iter().any(|point| point.fitted == fitted && point.interval.is_some());
            if any { band } else { "" }
        };
        let what = format!("{} ({})", constraint.name, bounds(constraint.min, constraint.max));
        if points.iter().any(|point| !point.fitted) {
            let band = banded(false, ", with its interval over seeds");
            entries.push((false, format!("where {what} breaks: mean over seeds{band}")));
        }
        if points.iter().any(|point| point.fitted) {
            let band = banded(true, ", with its 95% profile likelihood interval");
            entries.push((true, format!("where {what} breaks: fit, where some seeds have no boundary{band}")));
        }
    }
    entries
}

/// What is said in words.
pub struct Words {
    pub name: String,
    pub title: String,
    pub alt: String,
    pub caption: String,
}

impl Words {
    pub fn of(info: &HeatmapInfo) -> Self {
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

pub fn tiles(info: &HeatmapInfo) -> impl Iterator<Item = (&Panel, &Tile)> + Clone {
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
        let shown = Levels::of_numbers([least.2, most.2]);
        text = format!(
            "{metric} is greatest, {}, at {}, and least, {}, at {}.",
            shown.number(most.2),
            at(most.0, most.1),
            shown.number(least.2),
            at(least.0, least.1)
        );
    }
    let places = with.clone().count();
    let thinned = info.left_out.x_every > 1 || info.left_out.y_every > 1 || info.left_out.panels > 0;
    let drawn = if thinned { " drawn" } else { "" };
    for (number, constraint) in info.constraints.iter().enumerate() {
        let keeps =
            |value: f64| constraint.min.is_none_or(|min| value >= min) && constraint.max.is_none_or(|max| value <= max);
        let kept = with.clone().filter(|(_, _, value)| keeps(*value)).count();
        let what = bounds(constraint.min, constraint.max);
        let who = if info.subject.metric == LOST { "Every cell" } else { "The mean" };
        text.push_str(&format!(" {who} keeps {} ({what}) at {kept} of {places}{drawn} combinations.", constraint.name));
        for (side, word) in [("lower", "below"), ("upper", "above")] {
            let of = info.panels.iter().flat_map(|p| &p.boundaries);
            let of = of.filter(|b| b.constraint == number && b.side == side).flat_map(|b| &b.points);
            let levels: Vec<f64> = of.map(|point| point.level).collect();
            let (low, high) =
                levels.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(*x), h.max(*x)));
            if let Some(first) = levels.first() {
                let path = &info.x.path;
                let lines = if levels.len() == 1 { "line".to_string() } else { format!("{} lines", levels.len()) };
                let range = match levels.len() {
                    1 => rounded(*first),
                    _ => {
                        let shown = Levels::of_numbers([low, high]);
                        format!("levels between {} and {}", shown.number(low), shown.number(high))
                    }
                };
                text.push_str(&format!(" Along {path} it breaks {word} {range} ({lines})."));
            }
        }
    }
    let none = tiles(info).filter(|(_, tile)| tile.value.is_none()).count();
    if none > 0 {
        let have = if none == 1 { "combination has" } else { "combinations have" };
        text.push_str(&format!(" {none} {have} no value."));
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
        // What is a share or without a unit says so itself.
        let unit =
            if ["share", "1"].contains(&info.unit.as_str()) { String::new() } else { format!(", in {}", info.unit) };
        format!("Mean over {seeds} each of {}: {}{unit}.", info.subject.metric, info.about)
    }];
    let shown = Levels::of_numbers([info.range.0, info.range.1]);
    parts.push(format!(
        "Colours from {} to {}, linear{}.",
        shown.number(info.range.0),
        shown.number(info.range.1),
        if info.diverging { ", white at 0" } else { "" }
    ));
    // Intervals stand in the tips of tiles and in the table.
    let counts = tiles(info).filter(|(_, tile)| tile.interval.is_some()).map(|(_, tile)| tile.n as usize);
    if lost {
        parts.extend(counts.clone().next().map(|_| "Intervals of a share: Wilson's at 95%.".to_string()));
    } else {
        parts.extend(method(counts).map(|method| format!("Intervals of a mean: {method}.")));
    }
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
        parts.push(format!("{} more panels are left out at equal steps; {} are drawn.", out.panels, info.panels.len()));
    }
    if out.beside > 0 {
        parts.push(format!("{} combinations at levels beside the grid are not drawn.", out.beside));
    } else if tiles(info).any(|(_, tile)| tile.beside) {
        parts.push("Narrow tiles are levels beside the grid; each row has its own.".to_string());
    }
    parts.join(" ")
}

pub fn data(info: &HeatmapInfo) -> Data {
    let fixed =
        info.panels.first().map_or(Vec::new(), |panel| panel.fixed.iter().map(|(path, _)| path.clone()).collect());
    let own = [
        "interval_low",
        "interval_high",
        "n",
        "cells",
        "share_ok",
        "share_collapsed",
        "share_diverged",
        "share_failed",
    ];
    let value = if info.subject.metric == LOST { "share_lost" } else { "mean" }.to_string();
    let header =
        [fixed, vec![info.y.path.clone(), info.x.path.clone(), value], own.map(String::from).to_vec()].concat();
    let row = |(panel, tile): (&Panel, &Tile)| {
        let optional = |value: Option<f64>| value.map_or_else(String::new, exact);
        let mut fields: Vec<String> = panel.fixed.iter().map(|(_, level)| level.exact()).collect();
        fields.extend([tile.y.exact(), tile.x.exact(), optional(tile.value)]);
        fields.extend([optional(tile.interval.map(|i| i.0)), optional(tile.interval.map(|i| i.1))]);
        fields.extend([tile.n.to_string(), tile.cells.to_string()]);
        fields.extend(tile.shares.map(exact));
        fields
    };
    Data { header, rows: tiles(info).map(row).collect() }
}
