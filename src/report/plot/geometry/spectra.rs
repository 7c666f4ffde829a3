//! Covariance spectra of image and text embeddings.

use super::super::super::figure::{Data, Figure, Section};
use super::super::super::scale::Continuous;
use super::super::super::svg::{Anchor, Svg, place};
use super::{Exemplar, MODALITIES, cell, colour_of};
use crate::numerics::linalg::{covariance, symmetric_eigenvalues};
use crate::numerics::shown::rounded;
use crate::spec::Scale as Spacing;

/// Share of the largest eigenvalue of a spectrum below which an eigenvalue is rounding: embeddings are of single
/// precision, 6e-8 of their length each.
const ROUNDING: f64 = 1e-12;

#[derive(Clone, Debug, PartialEq)]
pub struct LineInfo {
    pub role: String,
    /// 0 image, 1 text.
    pub modality: usize,
    /// Eigenvalues of the covariance of the normalised embeddings, descending.
    pub eigenvalues: Vec<f64>,
    /// As recorded.
    pub effective_rank: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SpectraInfo {
    pub lines: Vec<LineInfo>,
    /// Eigenvalues that are rounding, which a log scale cannot show.
    pub left_out: usize,
    /// Role, cell, levels.
    pub cells: Vec<[String; 3]>,
}

impl LineInfo {
    /// Those that are drawn.
    fn shown(&self) -> impl Iterator<Item = (usize, f64)> {
        let least = ROUNDING * self.eigenvalues.first().copied().unwrap_or(0.0);
        let numbered = self.eigenvalues.iter().enumerate().map(|(k, value)| (k + 1, *value));
        numbered.filter(move |(_, value)| *value > least)
    }
}

/// None where no spectrum can be made.
pub fn info(exemplars: &[Exemplar]) -> Option<SpectraInfo> {
    let of = |exemplar: &Exemplar, modality: usize| {
        let covariance = covariance(&exemplar.z(modality), exemplar.d).ok()?;
        let eigenvalues = symmetric_eigenvalues(&covariance, exemplar.d).ok()?;
        let effective_rank = exemplar.recorded[0][modality];
        Some(LineInfo { role: exemplar.role.clone(), modality, eigenvalues, effective_rank })
    };
    let lines: Vec<LineInfo> =
        exemplars.iter().flat_map(|exemplar| [0, 1].map(|modality| of(exemplar, modality))).flatten().collect();
    let left_out = lines.iter().map(|line| line.eigenvalues.len() - line.shown().count()).sum();
    let cells = exemplars.iter().map(|e| [e.role.clone(), e.short_id().to_string(), e.at()]).collect();
    lines.iter().any(|line| line.shown().next().is_some()).then_some(SpectraInfo { lines, left_out, cells })
}

pub fn draw(info: &SpectraInfo) -> Figure {
    let title = "Spectra of the embeddings".to_string();
    let alt = alt(info);
    let mut svg = Svg::new(720.0, 380.0);
    let (left, right, top, bottom) = (66.0, 500.0, 40.0, 332.0);
    svg.text((left, 20.0), Anchor::Start, "title", &title);
    let values = info.lines.iter().flat_map(|line| line.shown().map(|(_, value)| value));
    let (low, high) = values.fold((f64::INFINITY, 0.0f64), |(low, high), x| (low.min(x), high.max(x)));
    let dimensions = info.lines.iter().map(|line| line.eigenvalues.len()).max().unwrap_or(1);
    let across = Continuous::new(Spacing::Linear, (1.0, dimensions as f64), (left, right));
    let up = Continuous::new(Spacing::Log, (low / 1.3, high * 1.3), (bottom, top));
    for (tick, text) in up.labelled(8) {
        svg.line((left, up.place(tick)), (right, up.place(tick)), "grid");
        svg.text((left - 6.0, up.place(tick) + 4.0), Anchor::End, "soft small", &text);
    }
    for (tick, text) in across.labelled(8).into_iter().filter(|(tick, _)| tick.fract() == 0.0) {
        svg.line((across.place(tick), bottom), (across.place(tick), bottom + 5.0), "axis");
        svg.text((across.place(tick), bottom + 18.0), Anchor::Middle, "soft small", &text);
    }
    svg.path(&[vec![(left, top), (left, bottom), (right, bottom)]], &[("class", &"axis")]);
    svg.text(((left + right) / 2.0, bottom + 36.0), Anchor::Middle, "", "number of the eigenvalue, largest first");
    let at = (16.0, (top + bottom) / 2.0);
    let turn = format!("rotate(-90 {} {})", place(at.0), place(at.1));
    svg.text_with(at, Anchor::Middle, &[("transform", &turn)], "eigenvalue of the covariance (log scale)");
    let roles: Vec<&str> = info.cells.iter().map(|[role, ..]| role.as_str()).collect();
    for line in &info.lines {
        let colour = colour_of(roles.iter().position(|role| *role == line.role).unwrap_or(0));
        let dash = if line.modality == 1 { "5 4" } else { "none" };
        let points = line.shown().map(|(k, value)| (across.place(k as f64), up.place(value))).collect();
        svg.path(&[points], &[("class", &"line"), ("stroke", &colour), ("stroke-dasharray", &dash)]);
    }
    legend(&mut svg, info, &roles, (524.0, top + 8.0));
    let cells: Vec<String> = info.cells.iter().map(|[role, id, at]| format!("{role}: cell {id} ({at})")).collect();
    let left_out = match info.left_out {
        0 => String::new(),
        n => format!(
            " Not drawn: {n} eigenvalues at or below {} of the largest of their spectrum, which are rounding.",
            rounded(ROUNDING)
        ),
    };
    let rows = info.lines.iter().flat_map(|line| {
        let row = |(k, value): (usize, &f64)| {
            vec![line.role.clone(), MODALITIES[line.modality].to_string(), (k + 1).to_string(), cell(*value)]
        };
        line.eigenvalues.iter().enumerate().map(row)
    });
    Figure {
        section: Section::Geometry,
        name: "geometry-spectra".to_string(),
        alt: alt.clone(),
        caption: format!(
            "Eigenvalues of the covariance of the L2-normalised test embeddings, divisor n - 1, linear number and log \
             value. Effective ranks are those of cells.parquet. {}.{left_out} One seed each.",
            cells.join("; ")
        ),
        svg: svg.finish(&title, &alt),
        data: Data { header: ["cell", "modality", "k", "eigenvalue"].map(String::from).to_vec(), rows: rows.collect() },
        title,
    }
}

fn rank(line: &LineInfo) -> String {
    line.effective_rank.map_or("none".to_string(), rounded)
}

fn alt(info: &SpectraInfo) -> String {
    let of_role = |role: &String| -> String {
        let lines = info.lines.iter().filter(|line| line.role == *role);
        let ranks: Vec<String> = lines.map(|line| format!("{} {}", MODALITIES[line.modality], rank(line))).collect();
        format!("{role}: {}", ranks.join(", "))
    };
    let all: Vec<String> = info.cells.iter().map(|[role, ..]| of_role(role)).collect();
    let dimensions = info.lines.iter().map(|line| line.eigenvalues.len()).max().unwrap_or(0);
    format!(
        "Line chart of covariance eigenvalues on a log scale. Effective rank, of at most {dimensions} dimensions: {}.",
        all.join("; ")
    )
}

fn legend(svg: &mut Svg, info: &SpectraInfo, roles: &[&str], (x, y): (f64, f64)) {
    svg.text((x, y), Anchor::Start, "small", "effective rank");
    let mut at = y + 22.0;
    for (number, role) in roles.iter().enumerate() {
        svg.text((x, at), Anchor::Start, "title", role);
        for line in info.lines.iter().filter(|line| line.role == *role) {
            at += 18.0;
            let dash = if line.modality == 1 { "5 4" } else { "none" };
            let stroke = colour_of(number);
            let points = vec![(x, at - 4.0), (x + 28.0, at - 4.0)];
            svg.path(&[points], &[("class", &"line"), ("stroke", &stroke), ("stroke-dasharray", &dash)]);
            let text = format!("{} {}", MODALITIES[line.modality], rank(line));
            svg.text((x + 36.0, at), Anchor::Start, "", &text);
        }
        at += 28.0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::exemplar;
    use super::*;

    #[test]
    fn eigenvalues_of_a_cross_are_worked_by_hand() {
        // Ends of two axes of three, twice: variances 4 / 7, 4 / 7 and 0.
        let mut cross = exemplar("baseline", 8, 3);
        let ends = [1.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, -1.0, 0.0];
        cross.raw = [ends.repeat(2), ends.repeat(2)];
        let info = info(&[cross]).expect("spectra");
        for line in &info.lines {
            let expected = [4.0 / 7.0, 4.0 / 7.0, 0.0];
            assert!(line.eigenvalues.iter().zip(expected).all(|(l, e)| (l - e).abs() < 1e-15), "{line:?}");
        }
        assert_eq!(info.left_out, 2);
        let mut one = exemplar("worst", 4, 2);
        one.raw = [vec![1.0; 8], vec![1.0; 8]];
        assert_eq!(super::info(&[one]), None, "points that are one have no spectrum to draw");
    }

    #[test]
    fn picture_of_tiny_cells() {
        let figure = draw(&info(&[exemplar("baseline", 6, 3), exemplar("worst", 9, 3)]).expect("spectra"));
        insta::assert_snapshot!(figure.alt);
        insta::assert_snapshot!(figure.svg);
    }
}
