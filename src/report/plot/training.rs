//! Training dashboards: what is seen along the steps of chosen cells, with the limits that are in force.

use std::collections::{BTreeMap, BTreeSet};

use super::degradation::extent;
use crate::numerics::shown::{exact, rounded};
use crate::report::colour::GROUPS;
use crate::report::figure::{Data, Figure, Section};
use crate::report::panel::{Panel, Sample, WIDTH, legend, legend_height, shortened, triangle};
use crate::report::rows::{Level, Rows, axis_paths, evenly, quantile, scale_of};
use crate::report::run_data::{ReportError, RunData};
use crate::report::svg::{Anchor, Svg};
use crate::spec::{Scale, Sweep};
use crate::store::{BOUNDARIES_TABLE, CELLS_TABLE, metric_column, param_column};

/// What one line of small pictures shows.
struct Quantity {
    title: &'static str,
    /// Of images or of both, then of texts.
    series: &'static [&'static str],
    /// The end of the paths of its limits, and the threshold that switches one off.
    limit: Option<(&'static str, f64)>,
    /// Whether ratios matter, so that it is drawn on a log scale where it spans more than [`LOG_ABOVE`].
    by_ratio: bool,
}

const QUANTITIES: [Quantity; 6] = [
    Quantity { title: "loss, nats", series: &["loss"], limit: None, by_ratio: true },
    Quantity {
        title: "gradient norm",
        series: &["grad_norm_img", "grad_norm_txt"],
        limit: Some(("gradient_norm_above", 0.0)),
        by_ratio: true,
    },
    Quantity {
        title: "retrieval at 1, validation",
        series: &["validation_retrieval_at_1_i2t", "validation_retrieval_at_1_t2i"],
        limit: None,
        by_ratio: false,
    },
    Quantity {
        title: "effective rank, validation",
        series: &["validation_effective_rank_img", "validation_effective_rank_txt"],
        limit: Some(("effective_rank_below", 0.0)),
        by_ratio: false,
    },
    Quantity {
        title: "least variance of a dimension, validation",
        series: &["validation_variance_min_img", "validation_variance_min_txt"],
        limit: Some(("variance_below", 0.0)),
        by_ratio: true,
    },
    Quantity {
        title: "mean cosine, validation",
        series: &["validation_mean_cosine_img", "validation_mean_cosine_txt"],
        limit: Some(("mean_cosine_above", 1.0)),
        by_ratio: false,
    },
];

/// A greater ratio of values than this is drawn on a log scale where ratios matter.
const LOG_ABOVE: f64 = 30.0;
/// Cells of a combination that have a line each.
const MOST_SEEDS: usize = 8;
/// Points of the line of one seed, and of a median.
const MOST_POINTS: (usize, usize) = (60, 120);
/// Rows of the data table.
const MOST_ROWS: usize = 2000;
/// As much of an id as tells cells apart.
const ID_DIGITS: usize = 12;
/// By which combinations are compared.
const RETRIEVAL: &str = "retrieval_at_1_i2t";
const CURVES_TABLE: &str = "curves.parquet";

/// Values along steps.
pub type Curve = Vec<(i64, f64)>;

/// One combination of levels.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// Why it was chosen.
    pub role: String,
    pub levels: Vec<(String, Level)>,
    /// Mean over its cells; a cell without a value counts as 0.
    pub retrieval: f64,
    /// Ids of the cells that have lines.
    pub cells: Vec<String>,
    pub of_cells: usize,
    /// Thresholds in force by path.
    pub limits: BTreeMap<String, f64>,
    /// First crossings by limit, of the cells that have lines.
    pub crossings: BTreeMap<String, Vec<u64>>,
    /// By series, then by cell.
    pub series: BTreeMap<String, Vec<Curve>>,
}

/// The picture's data.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    pub chosen: Vec<Chosen>,
}

/// Pictures of this kind; none for a run without curves.
///
/// # Errors
/// A table that cannot be read.
pub fn plot(run: &RunData) -> Result<Vec<Figure>, ReportError> {
    let names = |own: &[&str]| -> Vec<String> {
        let own = own.iter().map(ToString::to_string);
        own.chain(axis_paths(&run.sweep).iter().map(|path| param_column(path))).collect()
    };
    let Some(ids) = Rows::read(run, CURVES_TABLE, &["cell_id".to_string()])?.filter(|rows| !rows.is_empty()) else {
        return Ok(Vec::new());
    };
    let Some(cells) = Rows::read(run, CELLS_TABLE, &names(&["cell_id", "crossings", &metric_column(RETRIEVAL)]))?
    else {
        return Ok(Vec::new());
    };
    let edges = Rows::read(run, BOUNDARIES_TABLE, &names(&["constraint", "axis", "seed", "level"]))?;
    let mut chosen = choose(&run.sweep, &cells, edges.as_ref())?;
    // A column at a time: of a large run all of them at once would fill the memory.
    for name in QUANTITIES.iter().flat_map(|quantity| quantity.series) {
        let column = ["step".to_string(), name.to_string()];
        if let Some(values) = Rows::read(run, CURVES_TABLE, &column)?.filter(|rows| rows.has(name)) {
            add_series(&mut chosen, name, &ids, &values)?;
        }
    }
    chosen.retain(|chosen| !chosen.series.is_empty());
    Ok(if chosen.is_empty() { Vec::new() } else { vec![draw(&Training { chosen })] })
}

/// Picks the combinations of levels with the best and the worst mean retrieval, and the one nearest to the first
/// boundary, from tables like `cells.parquet` and `boundaries.parquet`.
///
/// # Errors
/// A column that is not there or of another type.
pub fn choose(sweep: &Sweep, cells: &Rows, edges: Option<&Rows>) -> Result<Vec<Chosen>, ReportError> {
    let metric = metric_column(RETRIEVAL);
    if !cells.has(&metric) {
        return Ok(Vec::new());
    }
    let (ids, retrieval) = (cells.texts("cell_id")?, cells.numbers(&metric)?);
    let crossings = if cells.has("crossings") { cells.texts("crossings")? } else { vec![None; cells.len()] };
    let paths: Vec<String> = axis_paths(sweep).into_iter().filter(|path| cells.has(&param_column(path))).collect();
    let levels = paths.iter().map(|path| cells.levels(&param_column(path))).collect::<Result<Vec<_>, _>>()?;
    let mut at: BTreeMap<Vec<Option<Level>>, Vec<usize>> = BTreeMap::new();
    for row in 0..cells.len() {
        at.entry(levels.iter().map(|levels| levels[row].clone()).collect()).or_default().push(row);
    }
    let mean = |rows: &[usize]| rows.iter().filter_map(|row| retrieval[*row]).sum::<f64>() / rows.len().max(1) as f64;
    let ranked: Vec<_> = at.iter().map(|(levels, rows)| (levels, rows, mean(rows))).collect();
    let best = ranked.iter().max_by(|a, b| a.2.total_cmp(&b.2));
    let worst = ranked.iter().min_by(|a, b| a.2.total_cmp(&b.2));
    let near = match edges {
        Some(edges) => nearest(sweep, edges, &paths, &at)?,
        None => None,
    };
    let near = near.and_then(|(held, name)| Some((ranked.iter().find(|known| *known.0 == held)?, name)));
    let mut found: Vec<Chosen> = Vec::new();
    let wanted = [
        best.map(|best| (best, "best".to_string())),
        near.map(|(near, name)| (near, format!("at the edge of {name}"))),
        worst.map(|worst| (worst, "worst".to_string())),
    ];
    let mut seen: Vec<&Vec<Option<Level>>> = Vec::new();
    for ((held, rows, mean), role) in wanted.into_iter().flatten() {
        if seen.contains(held) {
            continue;
        }
        seen.push(held);
        let kept: Vec<usize> = evenly(rows.len(), MOST_SEEDS).into_iter().map(|at| rows[at]).collect();
        let mut broken: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for text in kept.iter().filter_map(|row| crossings[*row]) {
            for (limit, step) in serde_json::from_str::<BTreeMap<String, u64>>(text).unwrap_or_default() {
                broken.entry(limit).or_default().push(step);
            }
        }
        let cells: Vec<String> = kept.iter().filter_map(|row| ids[*row]).map(String::from).collect();
        let config =
            sweep.cells.iter().find(|cell| cells.first() == Some(&cell.id)).map_or(&sweep.base, |cell| &cell.config);
        found.push(Chosen {
            role,
            levels: paths.iter().cloned().zip(held.iter().flatten().cloned()).collect(),
            retrieval: *mean,
            cells,
            of_cells: rows.len(),
            limits: in_force(&config.scalars()),
            crossings: broken,
            series: BTreeMap::new(),
        });
    }
    Ok(found)
}

fn in_force(config: &BTreeMap<String, serde_json::Value>) -> BTreeMap<String, f64> {
    let of = |(name, off): (&str, f64)| {
        let value = move |act: &str| {
            let path = format!("{act}.{name}");
            let threshold = config.get(&path)?.as_f64().filter(|threshold| *threshold != off)?;
            Some((path, threshold))
        };
        ["stop", "warn"].into_iter().filter_map(value).collect::<Vec<_>>()
    };
    QUANTITIES.iter().filter_map(|quantity| quantity.limit).flat_map(of).collect()
}

type Held = Vec<Option<Level>>;

/// The combination that is nearest to the first mean boundary of the first constraint that has one.
fn nearest(
    sweep: &Sweep,
    edges: &Rows,
    paths: &[String],
    at: &BTreeMap<Held, Vec<usize>>,
) -> Result<Option<(Held, String)>, ReportError> {
    let (constraint, axis) = (edges.texts("constraint")?, edges.texts("axis")?);
    let (seed, level) = (edges.levels("seed")?, edges.numbers("level")?);
    let held = paths.iter().map(|path| edges.levels(&param_column(path))).collect::<Result<Vec<_>, _>>()?;
    let known = |row: &usize| seed[*row].is_none() && level[*row].is_some();
    let gate = |row: &usize| sweep.gates.iter().position(|gate| constraint[*row] == Some(gate.name.as_str()));
    let rows = (0..edges.len()).filter(known).filter_map(|row| Some((gate(&row)?, row)));
    let Some((gate, row)) = rows.min() else { return Ok(None) };
    let (Some(along), Some(edge)) = (paths.iter().position(|path| Some(path.as_str()) == axis[row]), level[row]) else {
        return Ok(None);
    };
    let on_line = |combination: &&Held| {
        held.iter().zip(*combination).all(|(held, level)| held[row].is_none() || held[row] == *level)
    };
    let line: Vec<&Held> = at.keys().filter(on_line).collect();
    let Some(scale) = scale_of(&paths[along], line.iter().filter_map(|held| held[along].as_ref())) else {
        return Ok(None);
    };
    let away = |held: &&&Held| {
        let level = held[along].as_ref().and_then(Level::number).unwrap_or(f64::INFINITY);
        (scale.coordinate(level) - scale.coordinate(edge)).abs()
    };
    let best = line.iter().min_by(|a, b| away(a).total_cmp(&away(b)));
    Ok(best.map(|held| ((*held).clone(), sweep.gates[gate].name.clone())))
}

/// Adds the values of one series; `ids` and `values` have the rows of `curves.parquet`.
///
/// # Errors
/// A column that is not there or of another type.
pub fn add_series(chosen: &mut [Chosen], name: &str, ids: &Rows, values: &Rows) -> Result<(), ReportError> {
    let ids = ids.texts("cell_id")?;
    let (steps, values) = (values.counts("step")?, values.numbers(name)?);
    for chosen in chosen {
        let place: BTreeMap<&str, usize> = chosen.cells.iter().enumerate().map(|(at, id)| (id.as_str(), at)).collect();
        let mut curves: Vec<Curve> = vec![Vec::new(); chosen.cells.len()];
        for (row, id) in ids.iter().enumerate() {
            let at = id.and_then(|id| place.get(id));
            if let (Some(at), Some(step), Some(value)) = (at, steps[row], values[row]) {
                curves[*at].push((step, value));
            }
        }
        if curves.iter().any(|curve| !curve.is_empty()) {
            chosen.series.insert(name.to_string(), curves);
        }
    }
    Ok(())
}

impl Chosen {
    /// At each step the median over the cells that have a value there.
    pub fn median(&self, name: &str) -> Curve {
        let mut at: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for (step, value) in self.series.get(name).into_iter().flatten().flatten() {
            at.entry(*step).or_default().push(*value);
        }
        let of = |(step, mut values): (i64, Vec<f64>)| {
            values.sort_by(f64::total_cmp);
            Some((step, quantile(&values, 0.5)?))
        };
        at.into_iter().filter_map(of).collect()
    }

    fn last(&self, name: &str) -> Option<f64> {
        self.median(name).last().map(|(_, value)| *value)
    }

    fn at(&self) -> String {
        let levels: Vec<String> = self.levels.iter().map(|(path, level)| format!("{path} = {level}")).collect();
        levels.join(", ")
    }
}

impl Training {
    fn values(&self, quantity: &Quantity) -> impl Iterator<Item = f64> {
        let of = |chosen: &Chosen| {
            let series = quantity.series.iter().filter_map(|name| chosen.series.get(*name));
            series.flatten().flatten().map(|(_, value)| *value).collect::<Vec<_>>()
        };
        self.chosen.iter().flat_map(of).collect::<Vec<_>>().into_iter()
    }

    fn thresholds(&self, quantity: &Quantity) -> Vec<f64> {
        let Some((name, _)) = quantity.limit else { return Vec::new() };
        let end = format!(".{name}");
        let of = |chosen: &Chosen| {
            chosen.limits.iter().filter(|(path, _)| path.ends_with(&end)).map(|(_, at)| *at).collect::<Vec<_>>()
        };
        self.chosen.iter().flat_map(of).collect()
    }
}

const LEFT: f64 = 52.0;
const GAP: f64 = 30.0;
const HEIGHT: f64 = 88.0;
const ABOVE: f64 = 26.0;
const COLOURS: [&str; 2] = [GROUPS[0], GROUPS[5]];

/// The picture: a column per combination, a line per quantity.
pub fn draw(info: &Training) -> Figure {
    let roles: Vec<&str> = info.chosen.iter().map(|chosen| chosen.role.as_str()).collect();
    let title = format!("Training of chosen combinations: {}", roles.join(", "));
    let many = info.chosen.len().max(1) as f64;
    let width = (WIDTH - LEFT - 12.0 - GAP * (many - 1.0)) / many;
    let heads = info.chosen.iter().map(|chosen| chosen.levels.len().min(MOST_LEVELS)).max().unwrap_or(0) as f64;
    let top = 26.0 + 15.0 * heads;
    let drawn: Vec<&Quantity> = QUANTITIES.iter().filter(|quantity| info.values(quantity).next().is_some()).collect();
    let inner = drawn.len() as f64 * (ABOVE + HEIGHT);
    let entries = entries(info);
    let height = top + inner + 52.0 + legend_height(WIDTH - 28.0, &entries);
    let mut svg = Svg::new(WIDTH, height);
    let steps = info.chosen.iter().flat_map(|chosen| chosen.series.values().flatten().flatten());
    let span = extent(steps.map(|(step, _)| *step as f64)).unwrap_or((0.0, 1.0));
    for (number, chosen) in info.chosen.iter().enumerate() {
        let left = LEFT + number as f64 * (width + GAP);
        let fits = (width / 6.7) as usize;
        svg.text((left, 18.0), Anchor::Start, "title", &shortened(&chosen.role, fits - 2));
        for (at, (path, level)) in chosen.levels.iter().take(MOST_LEVELS).enumerate() {
            let more = chosen.levels.len() - MOST_LEVELS.min(chosen.levels.len());
            let dots = if at + 1 == MOST_LEVELS && more > 0 { ", \u{2026}" } else { "" };
            let text = format!("{path} {level}{dots}");
            svg.text((left, 34.0 + 15.0 * at as f64), Anchor::Start, "soft", &shortened(&text, fits + 1));
        }
    }
    for (line, quantity) in drawn.iter().enumerate() {
        let y = top + line as f64 * (ABOVE + HEIGHT) + ABOVE;
        let scale = spacing(info, quantity);
        let low_high = y_span(info, quantity, scale);
        let how = if scale == Scale::Log { " (log scale)" } else { "" };
        svg.text((LEFT, y - 8.0), Anchor::Start, "", &format!("{}{how}", quantity.title));
        for (number, chosen) in info.chosen.iter().enumerate() {
            let left = LEFT + number as f64 * (width + GAP);
            let panel = Panel::new((left, y), (width, HEIGHT), (Scale::Linear, span), (scale, low_high));
            panel.y_axis(&mut svg, 3, number == 0);
            panel.x_axis(&mut svg, (width / 60.0) as usize, line + 1 == drawn.len());
            draw_lines(&mut svg, &panel, chosen, quantity);
            draw_limits(&mut svg, &panel, chosen, quantity);
        }
    }
    let middle = LEFT + (WIDTH - LEFT) / 2.0;
    svg.text((middle, top + inner + 32.0), Anchor::Middle, "", "step");
    legend(&mut svg, (14.0, top + inner + 52.0), WIDTH - 28.0, &entries);
    let alt = alt(info);
    let svg = svg.finish(&title, &alt);
    let (caption, data) = (caption(info), data(info));
    Figure { section: Section::Training, name: "training".to_string(), title, alt, caption, svg, data }
}

/// Levels of a heading; more are in the caption.
const MOST_LEVELS: usize = 4;

fn spacing(info: &Training, quantity: &Quantity) -> Scale {
    let (low, high) = extent(info.values(quantity)).unwrap_or((0.0, 1.0));
    let log = quantity.by_ratio && low > 0.0 && high / low > LOG_ABOVE;
    if log { Scale::Log } else { Scale::Linear }
}

/// Values and thresholds; thresholds that are not positive have no place on a log scale.
fn y_span(info: &Training, quantity: &Quantity, scale: Scale) -> (f64, f64) {
    let limits = info.thresholds(quantity).into_iter().filter(|at| scale == Scale::Linear || *at > 0.0);
    let (low, high) = extent(info.values(quantity).chain(limits)).unwrap_or((0.0, 1.0));
    match scale {
        Scale::Log => (low / 1.1, high * 1.1),
        // Counts and shares begin at 0.
        Scale::Linear if low >= 0.0 => (0.0, 1.05 * high),
        Scale::Linear => (low - 0.05 * (high - low), high + 0.05 * (high - low)),
    }
}

fn draw_lines(svg: &mut Svg, panel: &Panel, chosen: &Chosen, quantity: &Quantity) {
    let placed = |curve: &Curve, most: usize| -> Vec<(f64, f64)> {
        let kept = evenly(curve.len(), most).into_iter().map(|at| curve[at]);
        kept.map(|(step, value)| (panel.x.place(step as f64), panel.y.place(value))).collect()
    };
    for (name, colour) in quantity.series.iter().zip(COLOURS) {
        let thin: Vec<Vec<(f64, f64)>> =
            chosen.series.get(*name).into_iter().flatten().map(|curve| placed(curve, MOST_POINTS.0)).collect();
        let style = "stroke-width:0.8;stroke-opacity:0.35;fill:none";
        svg.path(&thin, &[("stroke", &colour), ("style", &style)]);
    }
    for (name, colour) in quantity.series.iter().zip(COLOURS) {
        svg.path(&[placed(&chosen.median(name), MOST_POINTS.1)], &[("class", &"line"), ("stroke", &colour)]);
    }
}

const STOP: &str = "6 3";
const WARN: &str = "1.5 3";

fn draw_limits(svg: &mut Svg, panel: &Panel, chosen: &Chosen, quantity: &Quantity) {
    let Some((name, _)) = quantity.limit else { return };
    for (act, dashes, above) in [("stop", STOP, 0.0), ("warn", WARN, 10.0)] {
        let path = format!("{act}.{name}");
        if let Some(threshold) = chosen.limits.get(&path) {
            panel.bound(svg, *threshold, dashes);
        }
        let steps: BTreeSet<u64> = chosen.crossings.get(&path).into_iter().flatten().copied().collect();
        for step in steps {
            triangle(svg, (panel.x.place(step as f64), panel.bottom() - above), act == "stop");
        }
    }
}

fn entries(info: &Training) -> Vec<(Sample, String)> {
    let mut entries = vec![
        (Sample::Line(COLOURS[0].to_string()), "image, image to text".to_string()),
        (Sample::Line(COLOURS[1].to_string()), "text, text to image".to_string()),
    ];
    let has = |act: &str| info.chosen.iter().any(|chosen| chosen.limits.keys().any(|path| path.starts_with(act)));
    if has("stop.") {
        entries.push((Sample::Dashes(STOP), "stop rule".to_string()));
    }
    if has("warn.") {
        entries.push((Sample::Dashes(WARN), "warning".to_string()));
    }
    let broken = |act: &str| info.chosen.iter().any(|chosen| chosen.crossings.keys().any(|path| path.starts_with(act)));
    for (act, text) in [("stop.", "rule first broken"), ("warn.", "warning first broken")] {
        if broken(act) {
            entries.push((Sample::Triangle(act == "stop."), text.to_string()));
        }
    }
    entries
}

fn alt(info: &Training) -> String {
    let ends = |chosen: &Chosen| {
        let said = [
            ("loss", "loss"),
            ("validation retrieval at 1", "validation_retrieval_at_1_i2t"),
            ("effective rank of images", "validation_effective_rank_img"),
        ];
        let last = said.iter().filter_map(|(text, name)| Some(format!("{text} {}", rounded(chosen.last(name)?))));
        let broken = chosen.crossings.iter().map(|(limit, steps)| {
            let first = steps.iter().min().copied().unwrap_or_default();
            format!(" {limit} is broken in {} of {} cells, first at step {first}.", steps.len(), chosen.cells.len())
        });
        let broken: String = broken.collect();
        let last = last.collect::<Vec<_>>().join(", ");
        let role = &chosen.role;
        format!("Of the combination \u{201c}{role}\u{201d} ({}) medians end at {last}.{broken}", chosen.at())
    };
    info.chosen.iter().map(ends).collect::<Vec<_>>().join(" ")
}

fn caption(info: &Training) -> String {
    let of = |chosen: &Chosen| {
        let ids: Vec<&str> = chosen.cells.iter().map(|id| id.get(..ID_DIGITS).unwrap_or(id)).collect();
        format!(
            "{}: {}, {} of {} seeds drawn (cells {})",
            chosen.role,
            chosen.at(),
            chosen.cells.len(),
            chosen.of_cells,
            ids.join(", ")
        )
    };
    format!(
        "Thin lines: seeds; thick: their median at each step. {}. Combinations are compared by their mean {RETRIEVAL} on the \
         test split, in which a cell without a value counts as 0. Where stop.freeze stops a cell its \
         lines end, and the median is over those that go on. Dashed: thresholds in force, looked at every stop.every \
         steps; triangles: steps at which single cells first broke one. Columns share the scales of each line.",
        info.chosen.iter().map(of).collect::<Vec<_>>().join("; ")
    )
}

fn data(info: &Training) -> Data {
    let header = ["cells", "series", "step", "median", "seeds drawn"].map(String::from).to_vec();
    let many: usize = info.chosen.iter().map(|chosen| chosen.series.len()).sum();
    let most = (MOST_ROWS / many.max(1)).max(2);
    let mut rows = Vec::new();
    for chosen in &info.chosen {
        for name in chosen.series.keys() {
            let median = chosen.median(name);
            rows.extend(evenly(median.len(), most).into_iter().map(|at| {
                let (step, value) = median[at];
                let seeds = chosen.cells.len().to_string();
                vec![chosen.role.clone(), name.clone(), step.to_string(), exact(value), seeds]
            }));
        }
    }
    Data { header, rows }
}

#[cfg(test)]
mod tests;
