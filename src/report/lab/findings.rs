//! What was expected and what was found: a forest plot in units of what matters.

use std::fmt::Display;

use crate::lab::{Expect, Finding, Verdict};
use crate::numerics::estimate::method;
use crate::numerics::shown::{exact, rounded};
use crate::report::colour::GROUPS;
use crate::report::figure::{Data, Figure, Section};
use crate::report::panel::{Panel, Sample, WIDTH, diamond, legend, legend_height, shortened};
use crate::report::svg::{Anchor, Svg, place};
use crate::spec::Scale;

/// One row: a difference and its interval, in units of what matters.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub name: String,
    pub expects: Expect,
    pub verdict: Verdict,
    /// Mean, low, high; none where it was not measured.
    pub difference: Option<(f64, f64, f64)>,
    pub n: usize,
}

/// Differences beyond this many units are drawn at the side: how far beyond tells nothing about a verdict.
const WIDEST: f64 = 12.0;

/// The data of the picture of one family.
pub fn info(findings: &[&Finding]) -> Vec<Row> {
    let row = |finding: &&Finding| Row {
        name: finding.name.to_string(),
        expects: finding.expects,
        verdict: finding.verdict,
        difference: finding
            .difference
            .zip(finding.low.zip(finding.high))
            .map(|(mean, (low, high))| (mean / finding.matters, low / finding.matters, high / finding.matters)),
        n: finding.seeds,
    };
    findings.iter().map(row).collect()
}

const LEFT: f64 = 236.0;
const RIGHT: f64 = 92.0;
const TOP: f64 = 30.0;
const LINE: f64 = 22.0;

fn colour(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Agrees => GROUPS[2],
        Verdict::Disagrees => GROUPS[5],
        Verdict::TooSmall => GROUPS[3],
        Verdict::Undecided | Verdict::NotMeasured => GROUPS[1],
    }
}

/// Which differences a row expects: ranges in units.
fn expected(expects: Expect) -> Vec<(f64, f64)> {
    const FAR: f64 = f64::INFINITY;
    match expects {
        Expect::Higher => vec![(1.0, FAR)],
        Expect::Lower => vec![(-FAR, -1.0)],
        Expect::Same => vec![(-1.0, 1.0)],
        Expect::NotLower => vec![(-1.0, FAR)],
        Expect::NotHigher => vec![(-FAR, 1.0)],
        Expect::Different => vec![(-FAR, -1.0), (1.0, FAR)],
    }
}

/// The picture of the findings of one family.
pub fn draw(name: &str, title: &str, rows: &[Row]) -> Figure {
    let reach = rows.iter().filter_map(|row| row.difference).map(|(_, low, high)| low.abs().max(high.abs()));
    let reach = (1.05 * reach.fold(2.0, f64::max)).min(WIDEST);
    let entries = [
        (Sample::Diamond(colour(Verdict::Agrees).to_string()), "agrees".to_string()),
        (Sample::Diamond(colour(Verdict::TooSmall).to_string()), "too small".to_string()),
        (Sample::Diamond(colour(Verdict::Disagrees).to_string()), "disagrees".to_string()),
        (Sample::Diamond(colour(Verdict::Undecided).to_string()), "undecided".to_string()),
        (Sample::Box("var(--soft)".to_string()), "expected".to_string()),
    ];
    let inner = LINE * rows.len() as f64;
    let height = TOP + inner + 48.0 + legend_height(WIDTH - 28.0, &entries) + 4.0;
    let mut svg = Svg::new(WIDTH, height);
    let span = (Scale::Linear, (-reach, reach));
    let panel = Panel::new((LEFT, TOP), (WIDTH - LEFT - RIGHT, inner), span, (Scale::Linear, (0.0, 1.0)));
    svg.text((14.0, TOP - 12.0), Anchor::Start, "title", title);
    for tick in panel.x.ticks(6) {
        svg.line((panel.x.place(tick), TOP), (panel.x.place(tick), TOP + inner), "grid");
    }
    let zero = panel.x.place(0.0);
    svg.line((zero, TOP), (zero, TOP + inner), "axis");
    for (row, top) in rows.iter().zip((0..).map(|i| TOP + LINE * f64::from(i))) {
        draw_row(&mut svg, &panel, row, top);
    }
    panel.x_axis(&mut svg, 6, true);
    let middle = LEFT + panel.size.0 / 2.0;
    svg.text((middle, TOP + inner + 36.0), Anchor::Middle, "", "difference, in units of what matters");
    legend(&mut svg, (14.0, TOP + inner + 54.0), WIDTH - 28.0, &entries);
    let alt = alt(rows);
    let svg = svg.finish(title, &alt);
    let how = method(rows.iter().filter(|row| row.difference.is_some()).map(|row| row.n))
        .map_or(String::new(), |how| format!(", with its 95% interval ({how})"));
    let caption = format!(
        "A row per expectation: the mean over seeds of the difference that it is about{how}, in units of the \
         smallest difference that matters. Grey: where it was expected. Beyond {} units it is drawn \
         at the side.",
        rounded(WIDEST)
    );
    let (name, title) = (name.to_string(), title.to_string());
    Figure { section: Section::Surfaces, name, title, alt, caption, svg, data: data(rows) }
}

fn draw_row(svg: &mut Svg, panel: &Panel, row: &Row, top: f64) {
    let held = |units: f64| panel.x.place(units).clamp(panel.at.0, panel.right());
    for (from, to) in expected(row.expects) {
        let [x, y, w, h] = [held(from), top + 3.0, held(to) - held(from), LINE - 6.0].map(place);
        let shape: [(&str, &dyn Display); 6] =
            [("x", &x), ("y", &y), ("width", &w), ("height", &h), ("fill", &"var(--soft)"), ("fill-opacity", &"0.18")];
        svg.element("rect", &shape);
    }
    let middle = top + LINE / 2.0;
    svg.text((LEFT - 8.0, middle + 4.0), Anchor::End, "", &shortened(&row.name, 33));
    if let Some((mean, low, high)) = row.difference {
        let stroke = colour(row.verdict);
        svg.path(&[vec![(held(low), middle), (held(high), middle)]], &[("class", &"line"), ("stroke", &stroke)]);
        diamond(svg, (held(mean), middle), stroke);
    }
    let words = if row.verdict == Verdict::TooSmall { "too small" } else { row.verdict.words() };
    svg.text((panel.right() + 8.0, middle + 4.0), Anchor::Start, "", words);
}

fn alt(rows: &[Row]) -> String {
    let of = |verdict: Verdict| {
        let names: Vec<&str> = rows.iter().filter(|row| row.verdict == verdict).map(|row| row.name.as_str()).collect();
        (!names.is_empty())
            .then(|| format!("{}, {} of {}: {}.", verdict.words(), names.len(), rows.len(), names.join(", ")))
    };
    let said = Verdict::ALL.into_iter().filter_map(of);
    said.collect::<Vec<_>>().join(" ")
}

fn data(rows: &[Row]) -> Data {
    let header = ["expectation", "expected", "difference_in_units", "low", "high", "seeds", "verdict"];
    let number = |x: Option<f64>| x.map_or(String::new(), exact);
    let row = |row: &Row| {
        vec![
            row.name.clone(),
            row.expects.words().to_string(),
            number(row.difference.map(|d| d.0)),
            number(row.difference.map(|d| d.1)),
            number(row.difference.map(|d| d.2)),
            row.n.to_string(),
            row.verdict.words().to_string(),
        ]
    };
    Data { header: header.map(String::from).to_vec(), rows: rows.iter().map(row).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_of_findings() {
        let row = |name: &str, expects, verdict, difference| Row {
            name: name.to_string(),
            expects,
            verdict,
            difference,
            n: 8,
        };
        let rows = [
            row("noise-makes-hubs", Expect::Higher, Verdict::Agrees, Some((3.0, 2.5, 30.0))),
            row("tags-keep-retrieval", Expect::NotLower, Verdict::Disagrees, Some((-4.0, -5.0, -3.0))),
            row("cold-costs-rank", Expect::Lower, Verdict::NotMeasured, None),
        ];
        let figure = draw("findings-test", "What was expected", &rows);
        insta::assert_snapshot!(figure.svg);
        insta::assert_snapshot!(figure.alt, @"agrees, 1 of 3: noise-makes-hubs. disagrees, 1 of 3: tags-keep-retrieval. not measured, 1 of 3: cold-costs-rank.");
        insta::assert_snapshot!(figure.data.csv());
    }
}
