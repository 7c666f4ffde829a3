//! Similarities of images and texts, ordered by what they share.

use std::collections::BTreeMap;

use super::super::super::colour::diverging;
use super::super::super::figure::{Data, Figure, Section};
use super::super::super::svg::{Anchor, Svg, place};
use super::Exemplar;
use crate::numerics::linalg::dot;
use crate::numerics::shown::{exact, rounded};
use crate::report::rows::evenly;

/// Samples on a side of a heatmap.
const SIDE: usize = 64;

/// Shades from -1 to 1, an odd number: one of them is 0.
const SHADES: i32 = 41;

/// Groups on a side: of more labels, such as those of a large codebook, no block could be told from its neighbours.
const MOST_GROUPS: usize = 8;

/// The similarities of one cell.
#[derive(Clone, Debug, PartialEq)]
pub struct PanelInfo {
    pub role: String,
    pub levels: Vec<(String, String)>,
    pub id: String,
    /// Names of the groups with the number of samples shown, in order.
    pub groups: Vec<(String, usize)>,
    /// Rows of the table that are shown, in order; images down, the texts they are paired with across.
    pub shown: Vec<usize>,
    /// Cosines, `[shown, shown]`.
    pub cosines: Vec<f64>,
    pub samples: usize,
    /// Groups that are not shown: all but the largest labelled ones, where there are more than can be.
    pub groups_left_out: usize,
    /// Mean cosine over all samples of pairs; of images with other texts whose image is of their group; of other groups.
    /// None where there is none.
    pub means: [Option<f64>; 3],
}

#[derive(Clone, Debug, PartialEq)]
pub struct SimilarityInfo {
    /// What groups are of.
    pub by: &'static str,
    pub panels: Vec<PanelInfo>,
}

/// None without cells.
pub fn info(exemplars: &[Exemplar]) -> Option<SimilarityInfo> {
    if exemplars.is_empty() {
        return None;
    }
    // One order for all, so that they can be compared.
    let confounded = exemplars.iter().all(|exemplar| exemplar.confounder.is_some());
    let by = if confounded { "the image's confounder label" } else { "shape" };
    Some(SimilarityInfo { by, panels: exemplars.iter().map(|exemplar| panel(exemplar, confounded)).collect() })
}

fn panel(exemplar: &Exemplar, confounded: bool) -> PanelInfo {
    let Exemplar { n, d, .. } = *exemplar;
    let labels = exemplar.confounder.as_ref().filter(|_| confounded).map(|labels| &labels[0]);
    let group = |row: usize| match labels {
        // Numbers in the order of numbers; those without a label at the end.
        Some(labels) => labels[row].map_or("~none".to_string(), |label| format!("label {label:3}")),
        None => exemplar.shape[row].clone(),
    };
    let groups: Vec<String> = (0..n).map(group).collect();
    let mut order: Vec<usize> = (0..n).collect();
    let angle = &exemplar.factors[0];
    order.sort_by(|a, b| groups[*a].cmp(&groups[*b]).then(angle[*a].total_cmp(&angle[*b])));
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    groups.iter().for_each(|group| *sizes.entry(group).or_default() += 1);
    let all = sizes.len();
    let mut kept: Vec<(&str, usize)> = sizes.into_iter().collect();
    if all > MOST_GROUPS {
        kept.retain(|(group, _)| !group.starts_with('~'));
        kept.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        kept.truncate(MOST_GROUPS);
        order.retain(|row| kept.iter().any(|(group, _)| *group == groups[*row]));
    }
    let groups_left_out = all - kept.len();
    let shown: Vec<usize> = evenly(order.len(), SIDE).into_iter().map(|place| order[place]).collect();
    let z = [exemplar.z(0), exemplar.z(1)];
    let row = |modality: usize, sample: usize| &z[modality][sample * d..(sample + 1) * d];
    let cosine = |img: usize, txt: usize| dot(row(0, img), row(1, txt));
    let cosines = shown.iter().flat_map(|img| shown.iter().map(|txt| cosine(*img, *txt))).collect();
    let mut counted: Vec<(String, usize)> = Vec::new();
    for sample in &shown {
        let name = groups[*sample].trim_start_matches('~').to_string();
        match counted.last_mut().filter(|(last, _)| *last == name) {
            Some((_, count)) => *count += 1,
            None => counted.push((name, 1)),
        }
    }
    PanelInfo {
        role: exemplar.role.clone(),
        levels: exemplar.levels.clone(),
        id: exemplar.short_id().to_string(),
        groups: counted,
        shown,
        cosines,
        samples: n,
        groups_left_out,
        means: means(&z, &groups, d),
    }
}

/// Means over all pairs of rows, from sums of rows: the mean cosine of two sets is the product of their sums.
fn means(z: &[Vec<f64>; 2], groups: &[String], d: usize) -> [Option<f64>; 3] {
    let n = groups.len();
    let pairs: f64 = z[0].chunks_exact(d).zip(z[1].chunks_exact(d)).map(|(img, txt)| dot(img, txt)).sum();
    let mut sums: BTreeMap<&str, ([Vec<f64>; 2], usize)> = BTreeMap::new();
    for (row, group) in groups.iter().enumerate() {
        let (sum, many) = sums.entry(group).or_insert_with(|| ([vec![0.0; d], vec![0.0; d]], 0));
        *many += 1;
        for (sum, z) in sum.iter_mut().zip(z) {
            sum.iter_mut().zip(&z[row * d..(row + 1) * d]).for_each(|(sum, z)| *sum += z);
        }
    }
    let mut all = [vec![0.0; d], vec![0.0; d]];
    let (mut within, mut same) = (0.0, 0);
    for (sum, many) in sums.values() {
        within += dot(&sum[0], &sum[1]);
        same += many * many;
        all.iter_mut().zip(sum).for_each(|(all, sum)| all.iter_mut().zip(sum).for_each(|(all, sum)| *all += sum));
    }
    let mean = |sum: f64, many: usize| (many > 0).then(|| sum / many as f64);
    [mean(pairs, n), mean(within - pairs, same - n), mean(dot(&all[0], &all[1]) - within, n * n - same)]
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 40.0;
const STEP: f64 = 232.0;
const PANEL: f64 = 192.0;

pub fn draw(info: &SimilarityInfo) -> Figure {
    let title = "Similarity of images and texts".to_string();
    let alt = alt(info);
    let lines = info.panels.iter().map(|panel| panel.levels.len()).max().unwrap_or(0);
    let top = 52.0 + 14.0 * lines as f64;
    let mut svg = Svg::new(WIDTH, top + PANEL + 108.0);
    svg.text((LEFT, 18.0), Anchor::Start, "title", &title);
    for (number, panel) in info.panels.iter().enumerate() {
        draw_panel(&mut svg, panel, (LEFT + STEP * number as f64, top));
    }
    scale(&mut svg, (LEFT, top + PANEL + 80.0));
    let caption = caption(info);
    Figure {
        section: Section::Geometry,
        name: "geometry-similarity".to_string(),
        alt: alt.clone(),
        caption,
        svg: svg.finish(&title, &alt),
        data: data(info),
        title,
    }
}

fn caption(info: &SimilarityInfo) -> String {
    let shown = |panel: &PanelInfo| {
        let (shown, all) = (panel.shown.len(), panel.samples);
        let cell = format!("{}, cell {}", panel.role, panel.id);
        match (shown < all, panel.groups_left_out) {
            (true, 0) => format!("{cell}: {shown} evenly chosen of {all}"),
            (true, n) => format!(
                "{cell}: {shown} of {all}, evenly chosen from the {MOST_GROUPS} largest labelled groups; {n} groups are left out"
            ),
            _ => format!("{cell}: all {all}"),
        }
    };
    let shown: Vec<String> = info.panels.iter().map(shown).collect();
    format!(
        "Cosine of every image (down) with every text (across) of the test split; pairs lie on the diagonal. Ordered by \
         {}, then by orientation; lines are borders of groups. One linear scale from -1 through 0 to 1. Numbers below: \
         mean cosine over all samples of pairs, of images with other texts of their group, and of other groups. Samples \
         shown: {}. One seed each.",
        info.by,
        shown.join("; ")
    )
}

/// The finding of a panel, in three numbers.
fn three(panel: &PanelInfo) -> [String; 3] {
    panel.means.map(|mean| mean.map_or("none".to_string(), rounded))
}

fn alt(info: &SimilarityInfo) -> String {
    let panels = info.panels.iter().map(|panel| {
        let [pairs, same, other] = three(panel);
        format!("{}: pairs {pairs}, the same group {same}, other groups {other}", panel.role)
    });
    let panels: Vec<String> = panels.collect();
    format!(
        "Heatmaps of the cosines of images with texts, grouped by {}. Mean cosines, {}.",
        info.by,
        panels.join("; ")
    )
}

fn draw_panel(svg: &mut Svg, panel: &PanelInfo, (x, y): (f64, f64)) {
    let below = 14.0 * panel.levels.len() as f64;
    svg.text((x, y - 14.0 - below), Anchor::Start, "title", &panel.role);
    for (line, (path, level)) in panel.levels.iter().enumerate() {
        let at = (x, y - below + 14.0 * line as f64);
        svg.text(at, Anchor::Start, "soft small", &format!("{path} {level}"));
    }
    let many = panel.shown.len();
    let unit = PANEL / many.max(1) as f64;
    cells(svg, panel, (x, y), unit);
    let end = PANEL;
    let mut before = 0;
    for (name, count) in &panel.groups {
        let (from, size) = (unit * before as f64, unit * *count as f64);
        if before > 0 {
            // Dark on any page: a heatmap has the same light middle on all.
            let (down, across) = ([(x + from, y), (x + from, y + end)], [(x, y + from), (x + end, y + from)]);
            svg.path(&[down.to_vec(), across.to_vec()], &[("stroke", &"#1b1b1f")]);
        }
        // The number of a label says enough. About as wide as the text is long.
        let name = name.trim_start_matches("label").trim_start();
        if size > 5.2 * name.len() as f64 {
            let at = (x - 6.0, y + from + size / 2.0);
            let turn = format!("rotate(-90 {} {})", place(at.0), place(at.1));
            svg.text_with(at, Anchor::Middle, &[("class", &"soft small"), ("transform", &turn)], name);
        }
        before += count;
    }
    svg.text((x + end / 2.0, y + end + 14.0), Anchor::Middle, "soft small", "texts across, images down");
    let [pairs, same, other] = three(panel);
    svg.text((x, y + end + 34.0), Anchor::Start, "small", &format!("pairs {pairs}, same group {same}"));
    svg.text((x, y + end + 48.0), Anchor::Start, "small", &format!("other groups {other}"));
}

fn shade(cosine: f64) -> i32 {
    let half = f64::from(SHADES / 2);
    (cosine.clamp(-1.0, 1.0) * half).round() as i32
}

/// One path per shade, of runs of equal ones along rows, in units of a cell.
fn cells(svg: &mut Svg, panel: &PanelInfo, corner: (f64, f64), unit: f64) {
    let many = panel.shown.len();
    let mut paths: BTreeMap<i32, String> = BTreeMap::new();
    for (row, cosines) in panel.cosines.chunks_exact(many.max(1)).enumerate() {
        let mut start = 0;
        let shades: Vec<i32> = cosines.iter().map(|cosine| shade(*cosine)).collect();
        for run in shades.chunk_by(|a, b| a == b) {
            let path = paths.entry(run[0]).or_default();
            path.push_str(&format!("M{start} {row}h{}", run.len()));
            start += run.len();
        }
    }
    // Lines as wide as a cell, along the middle of its row.
    let scaled = format!("translate({} {}) scale({unit:.4})", place(corner.0), place(corner.1 + unit / 2.0));
    svg.open("g", &[("transform", &scaled), ("shape-rendering", &"crispEdges")]);
    for (shade, path) in &paths {
        let fill = diverging(f64::from(*shade) / f64::from(SHADES / 2));
        svg.element("path", &[("d", path), ("stroke", &fill)]);
    }
    svg.close("g");
}

fn scale(svg: &mut Svg, (x, y): (f64, f64)) {
    let half = SHADES / 2;
    let width = 240.0 / f64::from(SHADES);
    for (step, shade) in (-half..=half).enumerate() {
        let fill = diverging(f64::from(shade) / f64::from(half));
        svg.rect((x + width * step as f64, y - 10.0), (width + 0.3, 10.0), &fill);
    }
    for (share, text) in [(0.0, "-1"), (0.5, "0"), (1.0, "1")] {
        svg.text((x + 240.0 * share, y + 13.0), Anchor::Middle, "soft small", text);
    }
    svg.text((x + 254.0, y), Anchor::Start, "small", "cosine");
}

/// One row per panel and image shown, with the cosines to the texts in their order.
fn data(info: &SimilarityInfo) -> Data {
    let most = info.panels.iter().map(|panel| panel.shown.len()).max().unwrap_or(0);
    let header = ["cell", "group", "sample"].map(String::from).into_iter();
    let header = header.chain((1..=most).map(|text| format!("text_{text}"))).collect();
    let mut rows = Vec::new();
    for panel in &info.panels {
        let names = panel.groups.iter().flat_map(|(name, count)| std::iter::repeat_n(name, *count));
        let cosines = panel.cosines.chunks_exact(panel.shown.len().max(1));
        for ((group, sample), cosines) in names.zip(&panel.shown).zip(cosines) {
            let start = [panel.role.clone(), group.clone(), sample.to_string()].into_iter();
            let numbers = cosines.iter().map(|cosine| exact(*cosine));
            let mut row: Vec<String> = start.chain(numbers).collect();
            row.resize(3 + most, String::new());
            rows.push(row);
        }
    }
    Data { header, rows }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::exemplar;
    use super::*;

    #[test]
    fn means_are_those_of_all_cosines_one_by_one() {
        let of = exemplar("baseline", 7, 3);
        let info = info(std::slice::from_ref(&of)).expect("a cell");
        let (panel, many) = (&info.panels[0], 7);
        let mut sums = [(0.0, 0); 3];
        for img in 0..many {
            for txt in 0..many {
                let same = of.shape[panel.shown[img]] == of.shape[panel.shown[txt]];
                let kind = if img == txt {
                    0
                } else if same {
                    1
                } else {
                    2
                };
                sums[kind].0 += panel.cosines[img * many + txt];
                sums[kind].1 += 1;
            }
        }
        for ((sum, n), mean) in sums.into_iter().zip(panel.means) {
            assert!((sum / f64::from(n) - mean.expect("a mean")).abs() < 1e-12);
        }
        assert_eq!(panel.groups, [("disc".to_string(), 4), ("square".to_string(), 3)]);
    }

    #[test]
    fn groups_are_of_labels_where_there_are_any_and_the_side_is_held() {
        let mut of = exemplar("worst", 200, 3);
        of.confounder = Some([(0..200).map(|row| (row % 3 != 0).then_some(row % 3 * 9)).collect(), vec![None; 200]]);
        let info = info(&[of]).expect("a cell");
        let panel = &info.panels[0];
        assert_eq!(panel.shown.len(), SIDE);
        let names: Vec<&str> = panel.groups.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["label   9", "label  18", "none"]);
        assert_eq!(panel.groups.iter().map(|(_, count)| count).sum::<usize>(), SIDE);
    }

    #[test]
    fn of_many_groups_the_largest_are_shown() {
        let mut of = exemplar("worst", 60, 3);
        // Labels 0 to 9, six each but for those of 3 and 7, of which one each has none.
        let label = |row: u32| (row != 3 && row != 7).then_some(row % 10);
        of.confounder = Some([(0..60).map(label).collect(), vec![None; 60]]);
        let info = info(&[of]).expect("a cell");
        let panel = &info.panels[0];
        let names: Vec<&str> = panel.groups.iter().map(|(name, _)| name.trim_start_matches("label").trim()).collect();
        assert_eq!((names, panel.groups_left_out), (vec!["0", "1", "2", "4", "5", "6", "8", "9"], 3));
        assert_eq!(panel.shown.len(), 48);
    }

    #[test]
    fn picture_of_tiny_cells() {
        let figure = draw(&info(&[exemplar("baseline", 6, 3), exemplar("worst", 4, 2)]).expect("cells"));
        insta::assert_snapshot!(figure.alt);
        insta::assert_snapshot!(figure.svg);
    }
}
