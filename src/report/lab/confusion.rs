//! Which mechanism was attributed to cells of which: a confusion matrix per view.

use crate::lab::attribution::{Mechanism, Validation, ViewReport};
use crate::numerics::shown::percent;
use crate::report::colour::{ink_on, sequential};
use crate::report::figure::{Data, Figure, Section};
use crate::report::svg::{Anchor, Svg};

const CELL: (f64, f64) = (66.0, 30.0);
const LEFT: f64 = 104.0;
const TOP: f64 = 74.0;
const GAP: f64 = 40.0;

/// The columns: the mechanisms, then what was left open.
fn columns() -> Vec<&'static str> {
    Mechanism::ALL.iter().map(|mechanism| mechanism.words()).chain(["not told"]).collect()
}

/// The picture: one matrix below the other.
pub fn draw(validation: &Validation) -> Figure {
    let title = "What was done, and what was attributed";
    let of_one = TOP + CELL.1 * Mechanism::ALL.len() as f64 + GAP;
    let (width, height) = (LEFT + CELL.0 * columns().len() as f64 + 14.0, of_one * validation.views.len() as f64);
    let mut svg = Svg::new(width, height);
    for (view, top) in validation.views.iter().zip((0..).map(|i| of_one * f64::from(i))) {
        matrix(&mut svg, view, top);
    }
    let alt = alt(validation);
    let svg = svg.finish(title, &alt);
    let caption = "Rows: what was done to a cell. Columns: what its indicators support; not told is insufficient evidence. Numbers \
                   are cells of seeds, strengths and variants that were not calibrated on; shades are shares of a row.";
    Figure {
        section: Section::Surfaces,
        name: "attribution".to_string(),
        title: title.to_string(),
        alt,
        caption: caption.to_string(),
        svg,
        data: data(validation),
    }
}

fn matrix(svg: &mut Svg, view: &ViewReport, top: f64) {
    svg.text((14.0, top + 22.0), Anchor::Start, "title", &format!("Attributed by {}", view.view.words()));
    for (column, words) in columns().iter().enumerate() {
        let x = LEFT + CELL.0 * (column as f64 + 0.5);
        svg.text((x, top + TOP - 8.0), Anchor::Middle, "small", words);
    }
    for (row, (counts, mechanism)) in view.confusion.iter().zip(Mechanism::ALL).enumerate() {
        let y = top + TOP + CELL.1 * row as f64;
        svg.text((LEFT - 8.0, y + CELL.1 / 2.0 + 4.0), Anchor::End, "", mechanism.words());
        let all: u64 = counts.iter().sum();
        for (column, count) in counts.iter().enumerate() {
            let share = if all == 0 { 0.0 } else { *count as f64 / all as f64 };
            let x = LEFT + CELL.0 * column as f64;
            svg.rect((x + 1.0, y + 1.0), (CELL.0 - 2.0, CELL.1 - 2.0), &sequential(share));
            let at = (x + CELL.0 / 2.0, y + CELL.1 / 2.0 + 4.0);
            svg.text_with(at, Anchor::Middle, &[("style", &format!("fill:{}", ink_on(share)))], &count.to_string());
        }
    }
}

fn alt(validation: &Validation) -> String {
    let of = |view: &ViewReport| {
        let share = view.balanced_accuracy.map_or("none".to_string(), |share| percent(share.mean));
        let right: u64 = view.roles.iter().map(|role| role.right).sum();
        let all: u64 = view.roles.iter().map(|role| role.cells).sum();
        format!("By {}: {right} of {all} cells attributed rightly, balanced accuracy {share}.", view.view.words())
    };
    validation.views.iter().map(of).collect::<Vec<_>>().join(" ")
}

fn data(validation: &Validation) -> Data {
    let header = ["view", "done"].into_iter().chain(columns()).map(String::from).collect();
    let mut rows = Vec::new();
    for view in &validation.views {
        for (mechanism, counts) in Mechanism::ALL.iter().zip(&view.confusion) {
            let head = [view.view.words().to_string(), mechanism.words().to_string()];
            rows.push(head.into_iter().chain(counts.iter().map(u64::to_string)).collect());
        }
    }
    Data { header, rows }
}
