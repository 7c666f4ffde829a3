//! Image and text embeddings in the plane of their two largest principal components, coloured by each factor.

use std::f64::consts::TAU;

use super::super::super::colour::{GROUPS, cyclic, sequential};
use super::super::super::figure::{Data, Figure, Section};
use super::super::super::scale::Continuous;
use super::super::super::svg::{Anchor, Svg, place};
use super::{ANGLES, Exemplar, INTERVALS, MODALITIES, cell};
use crate::numerics::linalg::{covariance, dot};
use crate::numerics::logistic;
use crate::numerics::shown::{percent, rounded, rounded_to};
use crate::numerics::spectral::symmetric_eigen;
use crate::report::rows::evenly;
use crate::spec::Scale as Spacing;

/// Pairs of an image and a text that are drawn.
const DRAWN: usize = 150;

/// Pairs that a classifier learns the modalities from, and pairs that it is judged on, at most.
const LEARNT: usize = 256;

/// Fewest embeddings that a share of them is told of: of so many a classifier that tells nothing gets more than 64%
/// right in one case of forty.
const LEAST_JUDGED: usize = 50;

/// Dimensions that the classifier sees at most, else as many principal components: a step of its search takes time with
/// the third power of their number.
const MOST_DIMENSIONS: usize = 64;

/// Penalty of that classifier on weights of embeddings that are scaled to a mean square of 1 per dimension: small beside the
/// loss of hundreds of rows, and enough that there is a solution where a plane separates them.
const RIDGE: f64 = 0.01;

/// Groups into which factors are cut for the share of variance that lies between them.
const BINS: usize = 4;

/// What a factor colours.
#[derive(Clone, Debug, PartialEq)]
pub struct FactorInfo {
    pub name: String,
    /// Kinds of values: names of categories, a circle, or an interval with its ends.
    pub kind: Kind,
    /// Share of the plane's variance between groups of the factor, over all samples of both modalities.
    pub explained: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Categories(Vec<String>),
    Angle,
    Interval(f64, f64),
}

/// A drawn embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Row of the table.
    pub sample: usize,
    /// 0 image, 1 text.
    pub modality: usize,
    pub at: [f64; 2],
    /// In the order of the factors: number of the category, or the value.
    pub values: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PcaInfo {
    pub role: String,
    pub at: String,
    pub id: String,
    /// Of both components, of the variance of both modalities together.
    pub shares: [f64; 2],
    pub factors: Vec<FactorInfo>,
    pub points: Vec<Point>,
    pub samples: usize,
    /// Distance between the mean image and the mean text embedding.
    pub gap: f64,
    /// Root mean square distance of an embedding from the mean of its modality.
    pub spread: f64,
    /// How well a linear classifier tells the modalities; none of too few embeddings.
    pub told_apart: Option<ToldApart>,
}

/// A linear classifier of modalities, judged on pairs that it has not seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ToldApart {
    /// Share of the judged embeddings whose modality it tells.
    pub share: f64,
    /// Pairs that it learnt from.
    pub learnt: usize,
    /// Embeddings that it was judged on.
    pub judged: usize,
    /// Principal components that it saw; none where it saw all dimensions.
    pub components: Option<usize>,
}

/// The plane of a cell; none where embeddings do not differ or have fewer than two dimensions.
pub fn info(exemplar: &Exemplar) -> Option<PcaInfo> {
    let (n, d) = (exemplar.n, exemplar.d);
    if n < 2 || d < 2 {
        return None;
    }
    let z: Vec<f64> = [exemplar.z(0), exemplar.z(1)].concat();
    let eigen = symmetric_eigen(&covariance(&z, d).ok()?, d).ok()?;
    let total: f64 = eigen.values.iter().sum();
    if total <= crate::metric::NO_VARIANCE {
        return None;
    }
    let mean = mean_of(&z, d);
    // The sign of a component is arbitrary: its largest entry is positive.
    let axes: Vec<Vec<f64>> = eigen.vectors.chunks_exact(d).take(2).map(turned).collect();
    let centre = [dot(&mean, &axes[0]), dot(&mean, &axes[1])];
    let plane: Vec<[f64; 2]> =
        z.chunks_exact(d).map(|row| [dot(row, &axes[0]) - centre[0], dot(row, &axes[1]) - centre[1]]).collect();
    let factors = factors(exemplar, &plane);
    let (kinds, values): (Vec<FactorInfo>, Vec<Vec<f64>>) = factors.into_iter().unzip();
    let drawn = evenly(n, DRAWN);
    let point = |sample: usize, modality: usize| Point {
        sample,
        modality,
        at: plane[modality * n + sample],
        values: values.iter().map(|of| of[modality * n + sample]).collect(),
    };
    let points = [0, 1].iter().flat_map(|modality| drawn.iter().map(|sample| point(*sample, *modality))).collect();
    let means = [mean_of(&z[..n * d], d), mean_of(&z[n * d..], d)];
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    let within: f64 = z.chunks_exact(d).enumerate().map(|(row, z)| apart(z, &means[row / n])).sum();
    Some(PcaInfo {
        role: exemplar.role.clone(),
        at: exemplar.at(),
        id: exemplar.short_id().to_string(),
        shares: [eigen.values[0].max(0.0) / total, eigen.values[1].max(0.0) / total],
        factors: kinds,
        points,
        samples: n,
        gap: libm::sqrt(apart(&means[0], &means[1])),
        spread: libm::sqrt(within / (2 * n) as f64),
        told_apart: told_apart(&z, d, &eigen.vectors),
    })
}

/// How well a logistic regression tells the modality of embeddings, images before texts. Of at most twice [`LEARNT`]
/// pairs, evenly chosen, it is fitted to every second one and judged on the others. It sees all dimensions, or the
/// principal components of all embeddings when there are many. The distance between the means does not measure this: a
/// small distance separates the modalities when nothing else varies.
fn told_apart(z: &[f64], d: usize, components: &[f64]) -> Option<ToldApart> {
    let (n, scale) = (z.len() / (2 * d), libm::sqrt(d as f64));
    let seen = (d > MOST_DIMENSIONS).then_some(MOST_DIMENSIONS);
    let features = |row: &[f64]| -> Vec<f64> {
        match seen {
            None => row.iter().map(|x| scale * x).collect(),
            Some(most) => components.chunks_exact(d).take(most).map(|axis| scale * dot(row, axis)).collect(),
        }
    };
    let pairs = evenly(n, 2 * LEARNT);
    let rows = |from: usize| -> (Vec<Vec<f64>>, Vec<usize>) {
        let of = pairs.iter().skip(from).step_by(2).flat_map(|pair| [(*pair, 0), (*pair, 1)]);
        of.map(|(pair, modality)| (features(&z[(modality * n + pair) * d..][..d]), modality)).unzip()
    };
    let ((learnt, labels), (judged, truth)) = (rows(0), rows(1));
    if judged.len() < LEAST_JUDGED {
        return None;
    }
    let weights = vec![1.0; labels.len()];
    let model = logistic::fit(&learnt, &labels, MODALITIES.len(), &weights, RIDGE).ok()?;
    let right = |(row, modality): (&Vec<f64>, &usize)| {
        let p = model.probabilities(row);
        // As likely as not is half right.
        match p[*modality].total_cmp(&p[1 - *modality]) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        }
    };
    let all: f64 = judged.iter().zip(&truth).map(right).sum();
    let (share, learnt, judged) = (all / judged.len() as f64, learnt.len() / MODALITIES.len(), judged.len());
    Some(ToldApart { share, learnt, judged, components: seen })
}

fn mean_of(rows: &[f64], d: usize) -> Vec<f64> {
    let n = (rows.len() / d) as f64;
    (0..d).map(|k| rows.iter().skip(k).step_by(d).sum::<f64>() / n).collect()
}

fn turned(vector: &[f64]) -> Vec<f64> {
    let largest = vector.iter().fold(0.0f64, |most, x| if x.abs() > most.abs() { *x } else { most });
    vector.iter().map(|x| if largest < 0.0 { -x } else { *x }).collect()
}

/// Every factor with its values on the rows of both modalities: a text has those of the sample that it describes.
fn factors(exemplar: &Exemplar, plane: &[[f64; 2]]) -> Vec<(FactorInfo, Vec<f64>)> {
    let both = |own: &dyn Fn(usize) -> f64| -> Vec<f64> {
        (0..exemplar.n).map(own).chain(exemplar.described.iter().map(|row| own(*row))).collect()
    };
    let mut names: Vec<String> = exemplar.shape.clone();
    names.sort_unstable();
    names.dedup();
    let shapes = both(&|row| names.iter().position(|name| *name == exemplar.shape[row]).unwrap_or(0) as f64);
    let explained = between(plane, &shapes, |shape| shape as usize);
    let mut all = vec![(FactorInfo { name: "shape".to_string(), kind: Kind::Categories(names), explained }, shapes)];
    let numbered = ANGLES.iter().chain(&INTERVALS).zip(&exemplar.factors).enumerate();
    for (number, (name, own)) in numbered {
        let values = both(&|row| own[row]);
        let angle = number < ANGLES.len();
        let ends = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)));
        let (low, high) = if angle { (0.0, TAU) } else { ends };
        let width = (high - low).max(f64::MIN_POSITIVE);
        let explained = between(plane, &values, |x| (((x - low) / width * BINS as f64) as usize).min(BINS - 1));
        let kind = if angle { Kind::Angle } else { Kind::Interval(low, high) };
        all.push((FactorInfo { name: name.to_string(), kind, explained }, values));
    }
    // As the table has them: orientation, frequency, phase, thickness.
    all.swap(2, 3);
    all
}

/// Share of the variance of points that lies between groups.
fn between(points: &[[f64; 2]], values: &[f64], group: impl Fn(f64) -> usize) -> f64 {
    let groups: Vec<usize> = values.iter().map(|value| group(*value)).collect();
    let many = groups.iter().max().map_or(0, |most| most + 1);
    let mut sums = vec![([0.0; 2], 0.0); many];
    for (at, group) in points.iter().zip(&groups) {
        let (sum, n) = &mut sums[*group];
        (sum[0], sum[1], *n) = (sum[0] + at[0], sum[1] + at[1], *n + 1.0);
    }
    // Points are centred.
    let total: f64 = points.iter().map(|at| at[0] * at[0] + at[1] * at[1]).sum();
    let of_groups: f64 =
        sums.iter().filter(|(_, n)| *n > 0.0).map(|(sum, n)| (sum[0] * sum[0] + sum[1] * sum[1]) / n).sum();
    if total > 0.0 { of_groups / total } else { 0.0 }
}

const WIDTH: f64 = 720.0;
/// A panel and where panels begin.
const SIDE: f64 = 182.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 88.0;
const STEP: (f64, f64) = (228.0, 262.0);

pub fn draw(info: &PcaInfo) -> Figure {
    let title = format!("Principal components of the {} cell", info.role);
    let alt = alt(info);
    let mut svg = Svg::new(WIDTH, TOP + STEP.1 + SIDE + 42.0);
    svg.text((LEFT, 20.0), Anchor::Start, "title", &title);
    svg.text((LEFT, 37.0), Anchor::Start, "soft small", &info.at);
    let reach = info.points.iter().flat_map(|p| p.at).fold(0.0f64, |most, x| most.max(x.abs())) * 1.05;
    for (number, factor) in info.factors.iter().enumerate() {
        let corner = (LEFT + STEP.0 * (number % 3) as f64, TOP + STEP.1 * (number / 3) as f64);
        panel(&mut svg, info, number, factor, corner, reach);
    }
    legend(&mut svg, info, (LEFT + 2.0 * STEP.0, TOP + STEP.1));
    let header = ["sample", "modality", "component_1", "component_2"].map(String::from).into_iter();
    let rows = info.points.iter().map(|p| {
        let start = [p.sample.to_string(), MODALITIES[p.modality].to_string(), cell(p.at[0]), cell(p.at[1])];
        let value = |(factor, value): (&FactorInfo, &f64)| match &factor.kind {
            Kind::Categories(names) => names.get(*value as usize).cloned().unwrap_or_default(),
            _ => cell(*value),
        };
        start.into_iter().chain(info.factors.iter().zip(&p.values).map(value)).collect()
    });
    let drawn = info.points.len() / 2;
    let left_out = match info.samples - drawn {
        0 => String::new(),
        n => format!(" Drawn: {drawn} evenly chosen pairs; {n} of {} are left out.", info.samples),
    };
    Figure {
        section: Section::Geometry,
        name: format!("geometry-pca-{}", info.role),
        alt: alt.clone(),
        caption: format!(
            "L2-normalised test embeddings of cell {} ({}), images and texts together, centred, on their first two \
             principal components; both axes have one linear scale. Colours: one factor each; of a text, the factors \
             it describes. Orientation and phase are angles in radians, frequency is in cycles per image side, \
             thickness in image sides. Bars: share of the plane's variance between {BINS} equal-width groups of the \
             factor, over all {} samples of both modalities.{left_out} One seed.",
            info.id, info.at, info.samples
        ),
        svg: svg.finish(&title, &alt),
        data: Data {
            header: header.chain(info.factors.iter().map(|factor| factor.name.clone())).collect(),
            rows: rows.collect(),
        },
        title,
    }
}

fn alt(info: &PcaInfo) -> String {
    let mut by_share: Vec<&FactorInfo> = info.factors.iter().collect();
    by_share.sort_by(|a, b| b.explained.total_cmp(&a.explained));
    let list: Vec<String> = by_share.iter().map(|f| format!("{} {}", f.name, percent(f.explained))).collect();
    let told = info.told_apart.map_or(String::new(), |ToldApart { share, learnt, judged, components }| {
        let seen = components.map_or(String::new(), |n| format!(" of the {n} largest components"));
        format!(
            "A linear classifier{seen} that learnt from {learnt} pairs tells the modality of {} of {judged} embeddings of \
             others, where {} is chance. ",
            percent(share),
            percent(0.5)
        )
    });
    format!(
        "Scatter plot of the {} cell's embeddings: the two largest components carry {} and {} of the variance. The means of \
         images and of texts are {} apart, and embeddings are {} from the mean of their modality. {told}Share of the plane's variance between groups of each factor: {}.",
        info.role,
        percent(info.shares[0]),
        percent(info.shares[1]),
        rounded(info.gap),
        rounded(info.spread),
        list.join(", ")
    )
}

fn colour(factor: &FactorInfo, value: f64) -> String {
    match factor.kind {
        Kind::Categories(_) => GROUPS[value as usize % GROUPS.len()].to_string(),
        Kind::Angle => cyclic(value / TAU),
        Kind::Interval(low, high) => sequential((value - low) / (high - low).max(f64::MIN_POSITIVE)),
    }
}

fn panel(svg: &mut Svg, info: &PcaInfo, number: usize, factor: &FactorInfo, (x, y): (f64, f64), reach: f64) {
    let across = Continuous::new(Spacing::Linear, (-reach, reach), (x, x + SIDE));
    let up = Continuous::new(Spacing::Linear, (-reach, reach), (y + SIDE, y));
    svg.text((x, y - 22.0), Anchor::Start, "title", &factor.name);
    key(svg, factor, (x, y - 8.0));
    for (tick, text) in across.labelled(4) {
        svg.line((across.place(tick), y), (across.place(tick), y + SIDE), "grid");
        svg.line((x, up.place(tick)), (x + SIDE, up.place(tick)), "grid");
        svg.text((across.place(tick), y + SIDE + 14.0), Anchor::Middle, "soft small", &text);
        svg.text((x - 5.0, up.place(tick) + 3.5), Anchor::End, "soft small", &text);
    }
    let named =
        |component: usize| format!("component {}, {} of variance", component + 1, percent(info.shares[component]));
    svg.text((x + SIDE / 2.0, y + SIDE + 29.0), Anchor::Middle, "small", &named(0));
    if number.is_multiple_of(3) {
        let at = (x - 38.0, y + SIDE / 2.0);
        let turn = format!("rotate(-90 {} {})", place(at.0), place(at.1));
        svg.text_with(at, Anchor::Middle, &[("class", &"small"), ("transform", &turn)], &named(1));
    }
    svg.open("g", &[("stroke", &"var(--soft)"), ("stroke-width", &0.4)]);
    for point in &info.points {
        let at = (across.place(point.at[0]), up.place(point.at[1]));
        marker(svg, point.modality, at, &colour(factor, point.values[number]));
    }
    svg.close("g");
}

/// Disc for an image, triangle for a text; to a tenth of a unit.
fn marker(svg: &mut Svg, modality: usize, (x, y): (f64, f64), fill: &str) {
    let tenth = |x: f64| place((10.0 * x).round() / 10.0);
    if modality == 0 {
        svg.element("circle", &[("cx", &tenth(x)), ("cy", &tenth(y)), ("r", &2.6), ("fill", &fill)]);
    } else {
        let path = format!("M{} {}l3.2 5.6h-6.4z", tenth(x), tenth(y - 3.6));
        svg.element("path", &[("d", &path), ("fill", &fill)]);
    }
}

/// Width of a small letter, roughly.
const LETTER: f64 = 5.3;
/// Significant digits of the ends of a scale of colours, beside which there is little room.
const END_DIGITS: usize = 2;

/// What the colours of a panel mean, in a line above it.
fn key(svg: &mut Svg, factor: &FactorInfo, (x, y): (f64, f64)) {
    match &factor.kind {
        Kind::Categories(names) => {
            // About as wide as the letters are, and what is left shared out.
            let letters: usize = names.iter().map(String::len).sum();
            let room = ((SIDE - letters as f64 * LETTER) / names.len().max(1) as f64 - 10.0).max(4.0);
            let mut at = x;
            for (number, name) in names.iter().enumerate() {
                svg.rect((at, y - 8.0), (8.0, 8.0), &colour(factor, number as f64));
                svg.text((at + 10.0, y), Anchor::Start, "soft small", name);
                at += 10.0 + name.len() as f64 * LETTER + room;
            }
        }
        kind => {
            let ((low, high), ends) = match kind {
                Kind::Interval(low, high) => ((*low, *high), [*low, *high].map(|end| rounded_to(end, END_DIGITS))),
                _ => ((0.0, TAU), ["0".to_string(), "2\u{3c0}".to_string()]),
            };
            const STEPS: usize = 24;
            let (from, width) = (x + 34.0, (SIDE - 68.0) / STEPS as f64);
            for step in 0..STEPS {
                let value = low + (high - low) * (step as f64 + 0.5) / STEPS as f64;
                svg.rect((from + width * step as f64, y - 8.0), (width + 0.3, 8.0), &colour(factor, value));
            }
            svg.text((from - 4.0, y), Anchor::End, "soft small", &ends[0]);
            svg.text((from + width * STEPS as f64 + 4.0, y), Anchor::Start, "soft small", &ends[1]);
        }
    }
}

/// Markers, and how much of the plane each factor explains.
fn legend(svg: &mut Svg, info: &PcaInfo, (x, y): (f64, f64)) {
    svg.open("g", &[("fill", &"var(--soft)")]);
    for (modality, name) in MODALITIES.iter().enumerate() {
        let at = (x + 4.0 + 80.0 * modality as f64, y - 12.0);
        marker(svg, modality, at, "var(--soft)");
        svg.text((at.0 + 9.0, at.1 + 4.0), Anchor::Start, "", name);
    }
    svg.close("g");
    svg.text((x, y + 22.0), Anchor::Start, "small", "share of the plane's variance");
    svg.text((x, y + 36.0), Anchor::Start, "small", "between groups of a factor");
    let bars = Continuous::new(Spacing::Linear, (0.0, 1.0), (0.0, 90.0));
    for (number, factor) in info.factors.iter().enumerate() {
        let middle = y + 58.0 + 22.0 * number as f64;
        svg.text((x, middle + 4.0), Anchor::Start, "small", &factor.name);
        svg.rect((x + 64.0, middle - 6.0), (bars.place(factor.explained).max(0.5), 12.0), GROUPS[0]);
        let end = x + 64.0 + bars.place(factor.explained) + 5.0;
        svg.text((end, middle + 4.0), Anchor::Start, "soft small", &percent(factor.explained));
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::exemplar;
    use super::*;

    #[test]
    fn the_plane_of_points_on_a_cross_is_the_plane_of_the_cross() {
        // Images along the first axis and texts along the second, at both ends: two equal variances, and a third of none.
        let mut cross = exemplar("baseline", 4, 3);
        cross.raw = [
            vec![1.0, 0.0, 0.0, -1.0, 0.0, 0.0, 2.0, 0.0, 0.0, -2.0, 0.0, 0.0],
            vec![0.0, 1.0, 0.0, 0.0, -1.0, 0.0, 0.0, 3.0, 0.0, 0.0, -3.0, 0.0],
        ];
        cross.shape = ["disc", "square", "disc", "square"].map(String::from).to_vec();
        let info = info(&cross).expect("a plane");
        assert!(info.shares.iter().all(|share| (share - 0.5).abs() < 1e-12), "{:?}", info.shares);
        assert!((info.gap, (info.spread - 1.0).abs() < 1e-12) == (0.0, true));
        // Discs are the positive ends and squares the negative ones: half of the variance lies between their means.
        assert!((info.factors[0].explained - 0.5).abs() < 1e-12, "{:?}", info.factors);
        let lengths = info.points.iter().map(|p| p.at[0].hypot(p.at[1]));
        assert!(lengths.clone().all(|length| (length - 1.0).abs() < 1e-12));
        let mut flat = cross.clone();
        flat.raw = [vec![1.0; 12], vec![1.0; 12]];
        assert_eq!(super::info(&flat), None, "points that are one have no plane");
    }

    #[test]
    fn modalities_are_told_apart_by_a_classifier_and_not_by_the_distance_of_their_means() {
        // Wide along seven axes, and along the eighth a gap that is small beside that width.
        let apart = |gap: f64| {
            let mut cell = exemplar("baseline", 200, 8);
            let mut stream = crate::numerics::stream::Streams::new(3, "test of modalities").item(0);
            for (modality, side) in [(0, gap), (1, -gap)] {
                let row = |_| (0..8).map(|k| if k == 7 { side } else { stream.normal() }).collect::<Vec<f64>>();
                cell.raw[modality] = (0..200).flat_map(row).collect();
            }
            info(&cell).expect("a plane")
        };
        let told = apart(0.3);
        let share = |info: &PcaInfo| info.told_apart.expect("enough pairs").share;
        assert!(told.gap < told.spread / 2.0 && share(&told) > 0.99, "{told:?}");
        let said =
            "A linear classifier that learnt from 100 pairs tells the modality of 100% of 200 embeddings of others";
        assert!(alt(&told).contains(said), "{}", alt(&told));
        let mixed = apart(0.0);
        assert!((0.4..0.6).contains(&share(&mixed)), "{:?}", mixed.told_apart);
    }

    /// Random embeddings whose modalities lie apart along the last axis.
    fn parted(n: usize, d: usize) -> Vec<f64> {
        let mut stream = crate::numerics::stream::Streams::new(4, "test of modalities").item(0);
        let mut row =
            |side: f64| (0..d).map(|k| if k + 1 == d { side } else { 0.1 * stream.normal() }).collect::<Vec<_>>();
        (0..2 * n).flat_map(|place| row(if place < n { 1.0 } else { -1.0 })).collect()
    }

    #[test]
    fn a_classifier_says_what_it_rests_on() {
        let told = |n: usize, d: usize| {
            let z = parted(n, d);
            let eigen = symmetric_eigen(&covariance(&z, d).expect("rows"), d).expect("it converges");
            told_apart(&z, d, &eigen.vectors)
        };
        assert_eq!(told(48, 3), None, "48 judged embeddings");
        let counts = |told: Option<ToldApart>| told.map(|told| (told.learnt, told.judged, told.components));
        assert_eq!(counts(told(50, 3)), Some((25, 50, None)));
        assert_eq!(counts(told(2000, 3)), Some((LEARNT, 2 * LEARNT, None)));
        // Of many dimensions it sees the largest components, among which is the one that tells.
        let wide = told(100, 80).expect("enough");
        assert_eq!((wide.components, wide.share), (Some(MOST_DIMENSIONS), 1.0));
    }

    #[test]
    fn a_text_has_the_factors_that_it_describes() {
        let mut mixed = exemplar("worst", 6, 3);
        mixed.described = vec![1, 0, 2, 3, 4, 5];
        let info = info(&mixed).expect("a plane");
        let values = |modality: usize, sample: usize| {
            let of = |p: &&Point| p.modality == modality && p.sample == sample;
            info.points.iter().find(of).expect("drawn").values.clone()
        };
        assert_eq!(values(1, 0), values(0, 1));
        assert_eq!(values(1, 2), values(0, 2));
    }

    #[test]
    fn picture_of_a_tiny_cell() {
        let figure = draw(&info(&exemplar("baseline", 6, 3)).expect("a plane"));
        insta::assert_snapshot!(figure.alt);
        insta::assert_snapshot!(figure.svg);
        insta::assert_snapshot!(figure.data.csv());
    }
}
