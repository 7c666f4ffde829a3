//! What a picture of degradation curves says: its description, its caption and its data.

use super::{Curve, Degradation, Point};
use crate::numerics::shown::{Levels, exact};
use crate::report::figure::Data;
use crate::report::rows::Level;
use crate::spec::CLEAN;
use crate::store::SURFACES_TABLE;

/// What the picture shows, with its numbers.
pub(super) fn alt(info: &Degradation) -> String {
    let at = |curve: &Curve, point: &Point| {
        let line = info.line_axis.as_ref().zip(curve.level.as_ref());
        let line = line.map_or(String::new(), |(axis, level)| format!(" and {axis} {level}"));
        format!("{} {}{line}", info.axis, point.at)
    };
    let mut said = Vec::new();
    for panel in &info.panels {
        let all = panel.curves.iter().flat_map(|curve| curve.points.iter().map(move |point| (curve, point)));
        let known: Vec<(&Curve, &Point, f64)> = all.filter_map(|(c, p)| Some((c, p, p.mean?))).collect();
        let Some(most) = known.iter().max_by(|a, b| a.2.total_cmp(&b.2)) else {
            said.push(format!("{} has no value.", panel.metric));
            continue;
        };
        let least = known.iter().min_by(|a, b| a.2.total_cmp(&b.2)).unwrap_or(most);
        let shown = Levels::of_numbers([least.2, most.2]);
        said.push(format!(
            "{} is highest at {}: {}, and lowest at {}: {}.",
            panel.metric,
            at(most.0, most.1),
            shown.number(most.2),
            at(least.0, least.1),
            shown.number(least.2)
        ));
        for bound in &panel.bounds {
            let missed = known.iter().filter(|(_, _, mean)| bound.is_missed(*mean)).count();
            said.push(format!("{missed} of {} means miss {} of gate {}.", known.len(), bound.label(), bound.gate));
        }
    }
    let lost = info.points().filter(|point| point.share_ok < 1.0).count();
    if lost > 0 {
        said.push(format!("At {lost} of {} points cells were lost.", info.points().count()));
    }
    said.join(" ")
}

/// What each mark means, and what is not drawn.
pub(super) fn caption(info: &Degradation) -> String {
    let bands =
        info.method().map_or(String::new(), |method| format!("; bands or bars are intervals of the mean: {method}"));
    let mut said = vec![format!("Means over {} at each point{bands}.", info.seeds())];
    if let Some(axis) = &info.line_axis {
        let drawn = info.panels.first().map_or(0, |panel| panel.curves.len());
        said.push(if drawn < info.line_levels {
            format!(
                "A line per level of {axis}: {drawn} of its {} levels, chosen evenly among those with the most points.",
                info.line_levels
            )
        } else {
            format!("A line per level of {axis}.")
        });
    }
    if !info.fixed.is_empty() {
        let fixed: Vec<String> = info.fixed.iter().map(|(axis, level)| format!("{axis} = {level}")).collect();
        said.push(format!("Held where most is known: {}.", fixed.join(", ")));
    }
    if info.condition != CLEAN {
        said.push(format!("Measured under the condition {}.", info.condition));
    }
    if info.points().any(|point| point.share_ok < 1.0) {
        said.push(
            "Hollow marks: some of the cells collapsed, diverged or failed; the mean is over those with a value."
                .to_string(),
        );
    }
    if info.points().any(|point| point.mean.is_none()) {
        said.push("Crosses: no cell has a value.".to_string());
    }
    if info.thinned > 0 {
        said.push(format!("{} points were left out evenly, the rest is in {SURFACES_TABLE}.", info.thinned));
    }
    if info.left_out > 0 {
        said.push(format!(
            "{} more curves of this kind are not drawn; their values are in {SURFACES_TABLE}.",
            info.left_out
        ));
    }
    said.join(" ")
}

/// Every point of the picture, as a table.
pub(super) fn data(info: &Degradation) -> Data {
    let axis = info.line_axis.clone().unwrap_or_else(|| "line".to_string());
    let own = ["mean", "interval_low", "interval_high", "seeds with a value", "cells", "share_ok"];
    let header = ["metric".to_string(), axis, info.axis.clone()].into_iter().chain(own.map(String::from)).collect();
    let number = |x: Option<f64>| x.map_or(String::new(), exact);
    let mut rows = Vec::new();
    for panel in &info.panels {
        for curve in &panel.curves {
            rows.extend(curve.points.iter().map(|point| {
                vec![
                    panel.metric.clone(),
                    curve.level.as_ref().map_or(String::new(), Level::exact),
                    point.at.exact(),
                    number(point.mean),
                    number(point.interval.map(|i| i.0)),
                    number(point.interval.map(|i| i.1)),
                    point.n.to_string(),
                    point.cells.to_string(),
                    exact(point.share_ok),
                ]
            }));
        }
    }
    Data { header, rows }
}
