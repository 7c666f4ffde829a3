//! How often each text is an image's top match.

use super::super::super::figure::{Data, Figure, Section};
use super::super::super::scale::Continuous;
use super::super::super::svg::{Anchor, Svg, place};
use super::{Exemplar, colour_of};
use crate::numerics::linalg::dot;
use crate::numerics::shown::{percent, rounded};
use crate::spec::Scale as Spacing;

#[derive(Clone, Debug, PartialEq)]
pub struct CellInfo {
    pub role: String,
    pub id: String,
    pub at: String,
    /// For each text how many images have it as their top match; of equally similar ones the first.
    pub hits: Vec<u32>,
    /// As recorded.
    pub gini: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HubsInfo {
    pub cells: Vec<CellInfo>,
    /// Counts from and to, both inclusive: 0, 1, 2, then doubling.
    pub bins: Vec<(u32, u32)>,
    /// Texts, by cell and bin.
    pub texts: Vec<Vec<usize>>,
}

/// None without cells.
pub fn info(exemplars: &[Exemplar]) -> Option<HubsInfo> {
    let cells: Vec<CellInfo> = exemplars
        .iter()
        .map(|exemplar| CellInfo {
            role: exemplar.role.clone(),
            id: exemplar.short_id().to_string(),
            at: exemplar.at(),
            hits: hits(exemplar),
            gini: exemplar.recorded[1][0],
        })
        .collect();
    let most = cells.iter().flat_map(|cell| &cell.hits).copied().max()?;
    let mut bins = vec![(0, 0), (1, 1), (2, 2)];
    while bins[bins.len() - 1].1 < most {
        let from = bins[bins.len() - 1].1 + 1;
        bins.push((from, 2 * (from - 1)));
    }
    let inside =
        |cell: &CellInfo, (from, to): (u32, u32)| cell.hits.iter().filter(|hits| (from..=to).contains(hits)).count();
    let texts = cells.iter().map(|cell| bins.iter().map(|bin| inside(cell, *bin)).collect()).collect();
    Some(HubsInfo { cells, bins, texts })
}

fn hits(exemplar: &Exemplar) -> Vec<u32> {
    let (img, txt) = (exemplar.z(0), exemplar.z(1));
    let mut hits = vec![0; exemplar.n];
    for image in img.chunks_exact(exemplar.d) {
        let cosines = txt.chunks_exact(exemplar.d).map(|text| dot(image, text));
        let top = cosines.enumerate().reduce(|best, other| if other.1 > best.1 { other } else { best });
        if let Some((text, _)) = top {
            hits[text] += 1;
        }
    }
    hits
}

pub fn draw(info: &HubsInfo) -> Figure {
    let title = "Hubs: how often a text is an image's top match".to_string();
    let alt = alt(info);
    let mut svg = Svg::new(720.0, 360.0);
    let (left, right, top, bottom) = (60.0, 520.0, 40.0, 306.0);
    svg.text((left, 20.0), Anchor::Start, "title", &title);
    let most = info.texts.iter().flatten().copied().max().unwrap_or(1).max(2);
    // A single text stands clear of the axis.
    let up = Continuous::new(Spacing::Log, (0.6, 1.15 * most as f64), (bottom, top));
    for (tick, text) in up.labelled(6).into_iter().filter(|(tick, _)| *tick >= 1.0) {
        svg.line((left, up.place(tick)), (right, up.place(tick)), "grid");
        svg.text((left - 6.0, up.place(tick) + 4.0), Anchor::End, "soft small", &text);
    }
    let step = (right - left) / info.bins.len() as f64;
    let width = 0.8 * step / info.cells.len() as f64;
    for (number, bin) in info.bins.iter().enumerate() {
        let from = left + step * number as f64;
        for (place_of, texts) in info.texts.iter().enumerate() {
            let texts = texts[number];
            if texts > 0 {
                let height = bottom - up.place(texts as f64);
                let x = from + 0.1 * step + width * place_of as f64;
                svg.rect((x, bottom - height), (width - 1.0, height), colour_of(place_of));
            }
        }
        svg.text((from + step / 2.0, bottom + 16.0), Anchor::Middle, "soft small", &named(*bin));
    }
    svg.path(&[vec![(left, top), (left, bottom), (right, bottom)]], &[("class", &"axis")]);
    svg.text(((left + right) / 2.0, bottom + 36.0), Anchor::Middle, "", "images of which a text is the top match");
    let at = (16.0, (top + bottom) / 2.0);
    let turn = format!("rotate(-90 {} {})", place(at.0), place(at.1));
    svg.text_with(at, Anchor::Middle, &[("transform", &turn)], "texts (log scale)");
    for (number, cell) in info.cells.iter().enumerate() {
        let at = (536.0, top + 8.0 + 74.0 * number as f64);
        svg.rect((at.0, at.1 - 10.0), (12.0, 12.0), colour_of(number));
        svg.text((at.0 + 18.0, at.1), Anchor::Start, "title", &cell.role);
        let most = cell.hits.iter().max().copied().unwrap_or(0);
        let lines = [
            format!("gini {}", gini(cell)),
            format!("never a match: {}", percent(never(cell))),
            format!("most hit: {most} of {}", cell.hits.len()),
        ];
        for (line, text) in lines.iter().enumerate() {
            svg.text((at.0 + 18.0, at.1 + 16.0 + 15.0 * line as f64), Anchor::Start, "small", text);
        }
    }
    let cells = info.cells.iter().map(|c| format!("{}: cell {} ({}), {} pairs", c.role, c.id, c.at, c.hits.len()));
    let cells: Vec<String> = cells.collect();
    let rows = info.bins.iter().enumerate().map(|(number, bin)| {
        let counts = info.texts.iter().map(|texts| texts[number].to_string());
        [bin.0.to_string(), bin.1.to_string()].into_iter().chain(counts).collect()
    });
    let header = ["from", "to"].map(String::from).into_iter();
    Figure {
        section: Section::Geometry,
        name: "geometry-hubs".to_string(),
        alt: alt.clone(),
        caption: format!(
            "Test texts by the number of images whose most similar text they are; of equally similar ones the first \
             counts. Counts above 2 are in bins that double, the number of texts is on a log scale; no bar: no text. \
             Were pairs told apart perfectly, every text would be the top match once. The Gini coefficient is that of \
             cells.parquet: 0 when all are hit alike, 1 when one has all. {}. One seed each.",
            cells.join("; ")
        ),
        svg: svg.finish(&title, &alt),
        data: Data {
            header: header.chain(info.cells.iter().map(|cell| format!("texts_{}", cell.role))).collect(),
            rows: rows.collect(),
        },
        title,
    }
}

fn named((from, to): (u32, u32)) -> String {
    if from == to { from.to_string() } else { format!("{from}-{to}") }
}

fn gini(cell: &CellInfo) -> String {
    cell.gini.map_or("none".to_string(), rounded)
}

/// Share of texts that are no image's top match.
fn never(cell: &CellInfo) -> f64 {
    cell.hits.iter().filter(|hits| **hits == 0).count() as f64 / cell.hits.len().max(1) as f64
}

fn alt(info: &HubsInfo) -> String {
    let cells = info.cells.iter().map(|cell| {
        let most = cell.hits.iter().max().copied().unwrap_or(0);
        format!(
            "{}: {} of the texts are never the top match, the most hit one is that of {most} of {} images, gini {}",
            cell.role,
            percent(never(cell)),
            cell.hits.len(),
            gini(cell)
        )
    });
    format!("Bar chart of how often texts are the top match of an image. {}.", cells.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::exemplar;
    use super::*;

    #[test]
    fn hits_and_bins_worked_by_hand() {
        // Images on three axes; texts lean to the last one, so of each axis the longest text is the closest, and on the
        // last one all are equal and the first counts.
        let info = info(&[exemplar("baseline", 9, 3)]).expect("a cell");
        assert_eq!(info.cells[0].hits, [0, 0, 3, 0, 0, 0, 3, 3, 0]);
        assert_eq!(info.bins, [(0, 0), (1, 1), (2, 2), (3, 4)]);
        assert_eq!(info.texts, [[6, 0, 0, 3]]);
        let mut one = exemplar("worst", 40, 2);
        one.raw = [vec![1.0; 80], vec![1.0; 80]];
        let info = super::info(&[one]).expect("a cell");
        assert_eq!((info.cells[0].hits[0], info.bins.last()), (40, Some(&(33, 64))));
        assert_eq!(super::info(&[]), None);
    }

    #[test]
    fn picture_of_tiny_cells() {
        let figure = draw(&info(&[exemplar("baseline", 6, 3), exemplar("worst", 9, 3)]).expect("cells"));
        insta::assert_snapshot!(figure.alt);
        insta::assert_snapshot!(figure.svg);
        insta::assert_snapshot!(figure.data.csv());
    }
}
