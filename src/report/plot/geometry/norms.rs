//! Lengths of the embeddings before they are normalised.

use super::super::super::figure::{Data, Figure, Section};
use super::super::super::scale::Continuous;
use super::super::super::svg::{Anchor, Svg, place};
use super::{Exemplar, MODALITIES, cell, colour_of};
use crate::numerics::shown::rounded;
use crate::spec::Scale as Spacing;

const BINS: usize = 48;

/// Least ratio of the greatest to the least length at which the scale is of logarithms.
const LOG_FROM: f64 = 10.0;

#[derive(Clone, Debug, PartialEq)]
pub struct CellInfo {
    pub role: String,
    pub id: String,
    pub at: String,
    /// Samples by modality and bin.
    pub counts: [Vec<usize>; 2],
    /// 5th, 50th and 95th percentile of the lengths of each modality, by nearest rank.
    pub quantiles: [[f64; 3]; 2],
}

#[derive(Clone, Debug, PartialEq)]
pub struct NormsInfo {
    pub log: bool,
    /// One more than bins.
    pub edges: Vec<f64>,
    pub cells: Vec<CellInfo>,
    /// Embeddings without length, which a log scale cannot show.
    pub left_out: usize,
}

/// None where no embedding has a length.
pub fn info(exemplars: &[Exemplar]) -> Option<NormsInfo> {
    let norms: Vec<[Vec<f64>; 2]> = exemplars.iter().map(|exemplar| [0, 1].map(|m| exemplar.norms(m))).collect();
    let all = || norms.iter().flatten().flatten().copied();
    let (low, high) =
        all().filter(|x| *x > 0.0).fold((f64::INFINITY, 0.0f64), |(low, high), x| (low.min(x), high.max(x)));
    if high <= 0.0 {
        return None;
    }
    let log = high / low >= LOG_FROM;
    let (low, spacing) = if log { (low, Spacing::Log) } else { (0.0, Spacing::Linear) };
    // Widened so that the greatest is inside.
    let scale = Continuous::new(spacing, (low, high), (0.0, BINS as f64));
    let (from, to) = (spacing.coordinate(low), spacing.coordinate(high));
    let (from, to) = if to > from { (from, to) } else { (from - 0.05, to + 0.05) };
    let edges = (0..=BINS).map(|i| spacing.level(from + (to - from) * i as f64 / BINS as f64)).collect();
    let counts = |values: &[f64]| {
        let mut counts = vec![0; BINS];
        let shown = values.iter().filter(|x| !log || **x > 0.0);
        shown.for_each(|x| counts[(scale.place(*x).max(0.0) as usize).min(BINS - 1)] += 1);
        counts
    };
    let cells = exemplars.iter().zip(&norms).map(|(exemplar, norms)| CellInfo {
        role: exemplar.role.clone(),
        id: exemplar.short_id().to_string(),
        at: exemplar.at(),
        counts: [counts(&norms[0]), counts(&norms[1])],
        quantiles: [quantiles(&norms[0]), quantiles(&norms[1])],
    });
    let left_out = if log { all().filter(|x| *x <= 0.0).count() } else { 0 };
    Some(NormsInfo { log, edges, cells: cells.collect(), left_out })
}

fn quantiles(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let rank = ((share * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len().max(1));
        sorted.get(rank - 1).copied().unwrap_or(0.0)
    };
    [at(0.05), at(0.5), at(0.95)]
}

/// A line of an image is whole and filled, that of a text dashed, as in the spectra.
const DASHES: [&str; 2] = ["none", "5 4"];
const FILLED: [f64; 2] = [0.25, 0.0];

pub fn draw(info: &NormsInfo) -> Figure {
    let title = "Lengths of the embeddings before normalisation".to_string();
    let alt = alt(info);
    let (left, right, top, height, step) = (60.0, 520.0, 62.0, 84.0, 112.0);
    let bottom = top + step * (info.cells.len() as f64 - 1.0) + height;
    let mut svg = Svg::new(720.0, bottom + 52.0);
    svg.text((left, 20.0), Anchor::Start, "title", &title);
    let spacing = if info.log { Spacing::Log } else { Spacing::Linear };
    let ends = (info.edges[0], info.edges[info.edges.len() - 1]);
    let across = Continuous::new(spacing, ends, (left, right));
    let most = info.cells.iter().flat_map(|cell| cell.counts.iter().flatten()).copied().max().unwrap_or(1).max(1);
    for (number, cell) in info.cells.iter().enumerate() {
        let from = top + step * number as f64;
        let up = Continuous::new(Spacing::Linear, (0.0, most as f64), (from + height, from));
        svg.text((left, from - 8.0), Anchor::Start, "small", &cell.role);
        for (tick, text) in up.labelled(2) {
            svg.line((left, up.place(tick)), (right, up.place(tick)), "grid");
            svg.text((left - 6.0, up.place(tick) + 4.0), Anchor::End, "soft small", &text);
        }
        for (modality, counts) in cell.counts.iter().enumerate() {
            let pieces = outline(counts, &info.edges, &across, &up);
            let style: [(&str, &dyn std::fmt::Display); 5] = [
                ("stroke", &colour_of(number)),
                ("stroke-width", &1.5),
                ("stroke-dasharray", &DASHES[modality]),
                ("fill", &colour_of(number)),
                ("fill-opacity", &FILLED[modality]),
            ];
            svg.path(&pieces, &style);
        }
        svg.line((left, from + height), (right, from + height), "axis");
        for (modality, [low, median, high]) in cell.quantiles.iter().enumerate() {
            let at = (546.0, from + 24.0 + 34.0 * modality as f64);
            let line = vec![(at.0 - 10.0, at.1 - 4.0), (at.0 + 10.0, at.1 - 4.0)];
            let dash = DASHES[modality];
            svg.path(&[line], &[("class", &"line"), ("stroke", &colour_of(number)), ("stroke-dasharray", &dash)]);
            let text = format!("{}, median {}", MODALITIES[modality], rounded(*median));
            svg.text((at.0 + 16.0, at.1), Anchor::Start, "small", &text);
            let between = format!("90% from {} to {}", rounded(*low), rounded(*high));
            svg.text((at.0 + 16.0, at.1 + 14.0), Anchor::Start, "soft small", &between);
        }
    }
    for (tick, text) in across.labelled(7) {
        svg.line((across.place(tick), bottom), (across.place(tick), bottom + 5.0), "axis");
        svg.text((across.place(tick), bottom + 18.0), Anchor::Middle, "soft small", &text);
    }
    let named = if info.log { "length (log scale)" } else { "length (linear scale)" };
    svg.text(((left + right) / 2.0, bottom + 38.0), Anchor::Middle, "", named);
    let at = (16.0, (top + bottom) / 2.0);
    let turn = format!("rotate(-90 {} {})", place(at.0), place(at.1));
    svg.text_with(at, Anchor::Middle, &[("transform", &turn)], "samples");
    Figure {
        section: Section::Geometry,
        name: "geometry-norms".to_string(),
        alt: alt.clone(),
        caption: caption(info),
        svg: svg.finish(&title, &alt),
        data: data(info),
        title,
    }
}

/// The steps of each run of bins that are not empty.
fn outline(counts: &[usize], edges: &[f64], across: &Continuous, up: &Continuous) -> Vec<Vec<(f64, f64)>> {
    let bins: Vec<(usize, usize)> = counts.iter().copied().enumerate().collect();
    let runs = bins.chunk_by(|a, b| (a.1 == 0) == (b.1 == 0)).filter(|run| run[0].1 > 0);
    let base = up.place(0.0);
    let steps = |run: &[(usize, usize)]| {
        let mut points = vec![(across.place(edges[run[0].0]), base)];
        for (bin, count) in run {
            let y = up.place(*count as f64);
            points.extend([(across.place(edges[*bin]), y), (across.place(edges[bin + 1]), y)]);
        }
        points.push((across.place(edges[run[run.len() - 1].0 + 1]), base));
        points
    };
    runs.map(steps).collect()
}

fn caption(info: &NormsInfo) -> String {
    let cells: Vec<String> = info.cells.iter().map(|c| format!("{}: cell {} ({})", c.role, c.id, c.at)).collect();
    let left_out = match info.left_out {
        0 => String::new(),
        n => format!(" Left out: {n} of length 0."),
    };
    format!(
        "Histograms of the Euclidean lengths of the test split's embeddings before they are normalised, in {BINS} bins of \
         equal width on the scale shown, the same for all cells; counts are linear. {}.{left_out} One seed each.",
        cells.join("; ")
    )
}

fn alt(info: &NormsInfo) -> String {
    let cells = info.cells.iter().map(|cell| {
        format!("{}: images {}, texts {}", cell.role, rounded(cell.quantiles[0][1]), rounded(cell.quantiles[1][1]))
    });
    format!("Histograms of embedding lengths. Medians, {}.", cells.collect::<Vec<_>>().join("; "))
}

fn data(info: &NormsInfo) -> Data {
    let mut rows = Vec::new();
    for of in &info.cells {
        for (modality, counts) in of.counts.iter().enumerate() {
            for (count, ends) in counts.iter().zip(info.edges.windows(2)).filter(|(count, _)| **count > 0) {
                let name = MODALITIES[modality].to_string();
                rows.push(vec![of.role.clone(), name, cell(ends[0]), cell(ends[1]), count.to_string()]);
            }
        }
    }
    Data { header: ["cell", "modality", "length_from", "length_to", "samples"].map(String::from).to_vec(), rows }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::exemplar;
    use super::*;

    #[test]
    fn every_length_is_counted_once() {
        let info = info(&[exemplar("baseline", 6, 3), exemplar("worst", 40, 2)]).expect("lengths");
        let counted: Vec<usize> =
            info.cells.iter().flat_map(|cell| cell.counts.iter().map(|c| c.iter().sum())).collect();
        assert_eq!((counted, info.log, info.left_out), (vec![6, 6, 40, 40], true, 0));
        assert_eq!(info.cells[0].quantiles[0], [1.0, 3.0, 6.0]);
        assert!((info.edges[0] - 1.0).abs() < 1e-12 && (info.edges[BINS] / 40.5 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn lengths_of_nothing_and_equal_lengths() {
        let mut of = exemplar("baseline", 4, 2);
        of.raw = [vec![0.0; 8], vec![0.0; 8]];
        assert_eq!(info(std::slice::from_ref(&of)), None);
        of.raw[1] = vec![1.0; 8];
        let info = info(&[of]).expect("texts have a length");
        assert_eq!((info.log, info.cells[0].counts[0][0], info.cells[0].counts[1][BINS - 1]), (false, 4, 4));
    }

    #[test]
    fn picture_of_tiny_cells() {
        let figure = draw(&info(&[exemplar("baseline", 6, 3), exemplar("worst", 9, 3)]).expect("lengths"));
        insta::assert_snapshot!(figure.alt);
        insta::assert_snapshot!(figure.svg);
        insta::assert_snapshot!(figure.data.csv());
    }
}
