//! What warns before what breaks: when limits are first broken in training, and which of two is broken first.

use std::collections::BTreeMap;

use super::degradation::extent;
use crate::numerics::shown::exact;
use crate::report::colour::GROUPS;
use crate::report::figure::{Data, Figure, Section};
use crate::report::panel::{Panel, Sample, WIDTH, legend, legend_height, shortened, text_width};
use crate::report::rows::{Rows, axis_paths, quantile};
use crate::report::run_data::{ReportError, RunData};
use crate::report::svg::{Anchor, Svg, place};
use crate::spec::{Scale, Sweep};
use crate::store::{CELLS_TABLE, LEAD_LAG_TABLE, param_column};

/// Pairs of one picture.
const MOST_PAIRS: usize = 15;
/// Steps of a limit that are drawn; more are neighbours.
const MOST_STEPS: usize = 200;
/// A greater ratio of steps than this is drawn on a log scale.
const LOG_ABOVE: f64 = 20.0;

/// A limit and when it was first broken.
#[derive(Clone, Debug, PartialEq)]
pub struct Crossed {
    pub limit: String,
    /// Cells by step.
    pub steps: BTreeMap<u64, usize>,
    pub median: f64,
    pub quartiles: (f64, f64),
}

/// The data of the picture of first crossings.
#[derive(Clone, Debug, PartialEq)]
pub struct Crossings {
    pub cells: usize,
    /// By median.
    pub limits: Vec<Crossed>,
}

/// Two limits over all cells; `first` leads at least as often.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    pub first: String,
    pub second: String,
    pub cells: i64,
    pub both: i64,
    pub first_leads: i64,
    pub second_leads: i64,
    pub ties: i64,
    /// Of `first_leads` and of `second_leads` those broken at the first check.
    pub from_start: (i64, i64),
    /// Median of the steps by which the first leads, over leads and ties; none where most leads are of one that breaks
    /// alone.
    pub median_lead: Option<f64>,
}

/// The data of the picture of pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Leads {
    pub pairs: Vec<Pair>,
    pub left_out: usize,
}

/// Pictures of this kind; none where nothing was crossed.
///
/// # Errors
/// A table that cannot be read.
pub fn plot(run: &RunData) -> Result<Vec<Figure>, ReportError> {
    let mut figures = Vec::new();
    if let Some(cells) = Rows::read(run, CELLS_TABLE, &["crossings".to_string()])? {
        figures.extend(crossings(&cells)?.as_ref().map(draw_crossings));
    }
    let own = OWN.map(String::from).into_iter();
    let names: Vec<String> = own.chain(axis_paths(&run.sweep).iter().map(|path| param_column(path))).collect();
    if let Some(table) = Rows::read(run, LEAD_LAG_TABLE, &names)? {
        figures.extend(leads(&run.sweep, &table)?.as_ref().map(draw_leads));
    }
    Ok(figures)
}

const OWN: [&str; 11] = [
    "domain",
    "first",
    "second",
    "cells",
    "both",
    "first_leads",
    "second_leads",
    "ties",
    "first_leads_from_start",
    "second_leads_from_start",
    "median_lead",
];

/// The step at which each limit was first broken, in a table like `cells.parquet`.
///
/// # Errors
/// A column that is not there or of another type.
pub fn crossings(cells: &Rows) -> Result<Option<Crossings>, ReportError> {
    if !cells.has("crossings") {
        return Ok(None);
    }
    let mut limits: BTreeMap<String, BTreeMap<u64, usize>> = BTreeMap::new();
    for text in cells.texts("crossings")?.into_iter().flatten() {
        // What is no object of steps says nothing of any.
        for (limit, step) in serde_json::from_str::<BTreeMap<String, u64>>(text).unwrap_or_default() {
            *limits.entry(limit).or_default().entry(step).or_default() += 1;
        }
    }
    let summarised = limits.into_iter().filter_map(|(limit, steps)| {
        let all: Vec<f64> = steps.iter().flat_map(|(step, n)| std::iter::repeat_n(*step as f64, *n)).collect();
        let quartiles = (quantile(&all, 0.25)?, quantile(&all, 0.75)?);
        Some(Crossed { limit, median: quantile(&all, 0.5)?, quartiles, steps })
    });
    let mut limits: Vec<Crossed> = summarised.collect();
    limits.sort_by(|a, b| a.median.total_cmp(&b.median).then_with(|| a.limit.cmp(&b.limit)));
    Ok((!limits.is_empty()).then_some(Crossings { cells: cells.len(), limits }))
}

/// Pairs of limits over all cells, of a table like `lead_lag.parquet`.
///
/// # Errors
/// A column that is not there or of another type.
pub fn leads(sweep: &Sweep, table: &Rows) -> Result<Option<Leads>, ReportError> {
    let (domain, first, second) = (table.texts("domain")?, table.texts("first")?, table.texts("second")?);
    let counts = OWN[3..10].iter().map(|name| table.counts(name)).collect::<Result<Vec<_>, _>>()?;
    let median_lead = table.numbers(OWN[10])?;
    let held = axis_paths(sweep).into_iter().map(|path| param_column(&path)).filter(|column| table.has(column));
    let held = held.map(|column| table.levels(&column)).collect::<Result<Vec<_>, _>>()?;
    let mut pairs = Vec::new();
    for row in 0..table.len() {
        let over_all = held.iter().all(|levels| levels[row].is_none());
        let (Some(first), Some(second), true) = (first[row], second[row], over_all && domain[row] == Some("training"))
        else {
            continue;
        };
        let count = |at: usize| counts[at][row].unwrap_or(0);
        let mut pair = Pair {
            first: first.to_string(),
            second: second.to_string(),
            cells: count(0),
            both: count(1),
            first_leads: count(2),
            second_leads: count(3),
            ties: count(4),
            from_start: (count(5), count(6)),
            median_lead: median_lead[row],
        };
        if pair.second_leads > pair.first_leads {
            std::mem::swap(&mut pair.first, &mut pair.second);
            std::mem::swap(&mut pair.first_leads, &mut pair.second_leads);
            pair.from_start = (pair.from_start.1, pair.from_start.0);
            pair.median_lead = pair.median_lead.map(|lead| 0.0 - lead);
        }
        pairs.push(pair);
    }
    let decided = |pair: &Pair| pair.first_leads + pair.second_leads + pair.ties;
    pairs.retain(|pair| decided(pair) > 0);
    // Stable: ties stay in the order of the table.
    pairs.sort_by_key(|pair| std::cmp::Reverse(decided(pair)));
    let left_out = pairs.len().saturating_sub(MOST_PAIRS);
    pairs.truncate(MOST_PAIRS);
    Ok((!pairs.is_empty()).then_some(Leads { pairs, left_out }))
}

/// Stop rules and warnings have a colour each.
fn colour_of(limit: &str) -> &'static str {
    if limit.starts_with("stop.") { GROUPS[5] } else { GROUPS[0] }
}

impl Crossed {
    fn cells(&self) -> usize {
        self.steps.values().sum()
    }
}

const LINE: f64 = 44.0;
const LEFT: f64 = 200.0;
const RIGHT: f64 = 106.0;
/// Radius of the mark of the most cells.
const MOST_RADIUS: f64 = 11.0;

/// The picture of first crossings.
pub fn draw_crossings(info: &Crossings) -> Figure {
    let title = "When limits are first broken".to_string();
    let steps = || info.limits.iter().flat_map(|limit| limit.steps.keys().map(|step| *step as f64));
    let (low, high) = extent(steps()).unwrap_or((0.0, 1.0));
    let scale = if low > 0.0 && high / low > LOG_ABOVE { Scale::Log } else { Scale::Linear };
    let span = if scale == Scale::Log { (low / 1.15, high * 1.15) } else { (0.0, 1.06 * high.max(1.0)) };
    let top = 40.0;
    let inner = LINE * info.limits.len() as f64;
    let entries = [
        (Sample::Dot(GROUPS[0].to_string()), "warning".to_string()),
        (Sample::Dot(GROUPS[5].to_string()), "stop rule".to_string()),
        (Sample::Line("var(--ink)".to_string()), "quartiles, tick: median".to_string()),
    ];
    let height = top + inner + 56.0 + legend_height(WIDTH - 28.0, &entries);
    let mut svg = Svg::new(WIDTH, height);
    svg.text((14.0, 18.0), Anchor::Start, "title", &title);
    let panel = Panel::new((LEFT, top), (WIDTH - LEFT - RIGHT, inner), (scale, span), (Scale::Linear, (0.0, 1.0)));
    for tick in panel.x.ticks(6) {
        let x = panel.x.place(tick);
        svg.line((x, top), (x, top + inner), "grid");
    }
    let most = info.limits.iter().flat_map(|limit| limit.steps.values()).max().map_or(1.0, |n| *n as f64);
    for (at, limit) in info.limits.iter().enumerate() {
        let (colour, y) = (colour_of(&limit.limit), top + LINE * at as f64 + 15.0);
        svg.text((LEFT - 10.0, y + 4.0), Anchor::End, "", &shortened(&limit.limit, 27));
        for (step, cells) in binned(&limit.steps) {
            // The area is as many.
            let radius = (MOST_RADIUS * (cells as f64 / most).sqrt()).max(1.5);
            let (x, y, r) = (place(panel.x.place(step)), place(y), place(radius));
            svg.element("circle", &[("cx", &x), ("cy", &y), ("r", &r), ("fill", &colour), ("fill-opacity", &"0.6")]);
        }
        let below = y + 17.0;
        let [from, to, middle] = [limit.quartiles.0, limit.quartiles.1, limit.median].map(|step| panel.x.place(step));
        svg.path(
            &[vec![(from, below), (to, below)], vec![(middle, below - 5.0), (middle, below + 5.0)]],
            &[("class", &"line"), ("style", &"stroke:var(--ink)")],
        );
        let note = format!("{} of {} cells", limit.cells(), info.cells);
        svg.text((WIDTH - RIGHT + 8.0, y + 4.0), Anchor::Start, "", &shortened(&note, 17));
    }
    panel.x_axis(&mut svg, 6, true);
    let text = format!("step of training ({} scale)", scale.name());
    svg.text((LEFT + panel.size.0 / 2.0, top + inner + 36.0), Anchor::Middle, "", &text);
    legend(&mut svg, (14.0, top + inner + 56.0), WIDTH - 28.0, &entries);

    let said = |limit: &Crossed| {
        format!("{} at a median step of {} in {} cells", limit.limit, exact(limit.median), limit.cells())
    };
    let alt = format!(
        "Of {} cells, in order of the median step of the first break: {}.",
        info.cells,
        info.limits.iter().map(said).collect::<Vec<_>>().join("; ")
    );
    let caption =
        "Step at which each limit was first broken, over the cells that broke it; areas are proportional to cells. \
                   Limits are ordered by their median and looked at every stop.every steps only. Where stop.freeze \
                   stops a cell, later breaks of other limits are not seen."
            .to_string();
    let header =
        ["limit", "step", "cells", "median step", "lower quartile", "upper quartile"].map(String::from).to_vec();
    let mut rows = Vec::new();
    for limit in &info.limits {
        rows.extend(binned(&limit.steps).into_iter().map(|(step, cells)| {
            let (low, high) = limit.quartiles;
            let [step, median, low, high] = [step, limit.median, low, high].map(exact);
            vec![limit.limit.clone(), step, cells.to_string(), median, low, high]
        }));
    }
    let svg = svg.finish(&title, &alt);
    let data = Data { header, rows };
    Figure { section: Section::LeadLag, name: "first-crossings".to_string(), title, alt, caption, svg, data }
}

/// Cells by step; where there are too many steps, cells of neighbouring ones stand at their mean.
fn binned(steps: &BTreeMap<u64, usize>) -> Vec<(f64, usize)> {
    let all: Vec<(f64, usize)> = steps.iter().map(|(step, cells)| (*step as f64, *cells)).collect();
    let together = all.len().div_ceil(MOST_STEPS).max(1);
    let bin = |some: &[(f64, usize)]| {
        let cells: usize = some.iter().map(|(_, cells)| cells).sum();
        (some.iter().map(|(step, n)| step * *n as f64).sum::<f64>() / cells.max(1) as f64, cells)
    };
    all.chunks(together).map(bin).collect()
}

const PAIR_LINE: f64 = 66.0;
const FIRST: &str = GROUPS[4];
const SECOND: &str = GROUPS[1];
const TIE: &str = "#8c8c96";

/// The picture of pairs.
pub fn draw_leads(info: &Leads) -> Figure {
    let title = "Which limit is broken first".to_string();
    let top = 34.0;
    let entries = [
        (Sample::Dot(FIRST.to_string()), "the left one first".to_string()),
        (Sample::Dot(TIE.to_string()), "at the same check".to_string()),
        (Sample::Dot(SECOND.to_string()), "the right one first".to_string()),
    ];
    let inner = PAIR_LINE * info.pairs.len() as f64;
    let height = top + inner + 18.0 + legend_height(WIDTH - 28.0, &entries);
    let mut svg = Svg::new(WIDTH, height);
    svg.text((14.0, 18.0), Anchor::Start, "title", &title);
    let (left, width) = (14.0, WIDTH - 28.0);
    for (at, pair) in info.pairs.iter().enumerate() {
        let y = top + PAIR_LINE * at as f64;
        svg.text((left, y + 13.0), Anchor::Start, "", &shortened(&pair.first, 40));
        svg.text((left + width, y + 13.0), Anchor::End, "", &shortened(&pair.second, 40));
        let parts = [(pair.first_leads, FIRST), (pair.ties, TIE), (pair.second_leads, SECOND)];
        let all: i64 = parts.iter().map(|(cells, _)| cells).sum();
        let mut x = left;
        for (cells, colour) in parts {
            let part = width * cells as f64 / all as f64;
            if part > 0.0 {
                svg.rect((x, y + 19.0), (part, 18.0), colour);
            }
            if text_width(&cells.to_string()) + 6.0 < part {
                let ink = [("fill", &"#000000" as &dyn std::fmt::Display), ("style", &"fill:#000000")];
                svg.text_with((x + part / 2.0, y + 32.0), Anchor::Middle, &ink, &cells.to_string());
            }
            x += part;
        }
        svg.text((left, y + 52.0), Anchor::Start, "soft", &told(pair));
    }
    legend(&mut svg, (left, top + inner + 10.0), width, &entries);
    let sentence = |pair: &Pair| {
        format!(
            "{} is broken before {} in {} cells, after it in {}, at the same check in {}; {}.",
            pair.first,
            pair.second,
            pair.first_leads,
            pair.second_leads,
            pair.ties,
            told(pair)
        )
    };
    let alt = info.pairs.iter().take(5).map(sentence).collect::<Vec<_>>().join(" ");
    let mut caption =
        "Cells of the whole run in which the one or the other limit is broken first, or alone; cells that break \
                       neither are not counted. Cells of one run are not independent of each other, so no interval is \
                       given. A limit that is broken at the first check may never have been kept: such leads warn of \
                       nothing."
            .to_string();
    if info.left_out > 0 {
        caption += &format!(" {} pairs with fewer cells are left out; see {LEAD_LAG_TABLE}.", info.left_out);
    }
    let header = [
        "first",
        "second",
        "cells",
        "first leads",
        "second leads",
        "ties",
        "both broken",
        "median lead of the first, steps",
        "first leads from the start",
        "second leads from the start",
    ];
    let row = |pair: &Pair| {
        let counts = [pair.cells, pair.first_leads, pair.second_leads, pair.ties, pair.both].map(|n| n.to_string());
        let lead = pair.median_lead.map_or(String::new(), exact);
        let start = [pair.from_start.0, pair.from_start.1].map(|n| n.to_string());
        [pair.first.clone(), pair.second.clone()].into_iter().chain(counts).chain([lead]).chain(start).collect()
    };
    let data = Data { header: header.map(String::from).to_vec(), rows: info.pairs.iter().map(row).collect() };
    let svg = svg.finish(&title, &alt);
    Figure { section: Section::LeadLag, name: "leads".to_string(), title, alt, caption, svg, data }
}

/// Lead and what it rests on.
fn told(pair: &Pair) -> String {
    let both = pair.both;
    let lead = match pair.median_lead {
        Some(lead) if lead < 0.0 => {
            format!("median lag {} steps over leads and ties; both break in {both}", exact(-lead))
        }
        Some(lead) => format!("median lead {} steps over leads and ties; both break in {both}", exact(lead)),
        None => format!("mostly one breaks alone; both break in {both}"),
    };
    let (first, second) = pair.from_start;
    if first + second > 0 { format!("{lead}; broken first from the first check: {first} and {second}") } else { lead }
}

#[cfg(test)]
mod tests;
