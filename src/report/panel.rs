//! A pair of axes with what stands around it.

use super::scale::Continuous;
use super::svg::{Anchor, Svg, place};
use crate::spec::Scale as Spacing;

/// Width of a picture with axes: narrower than a page, so that its text is still read on a phone.
pub const WIDTH: f64 = 640.0;

/// A rectangle with a scale along each side.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    pub x: Continuous,
    pub y: Continuous,
    /// Upper left corner.
    pub at: (f64, f64),
    pub size: (f64, f64),
}

/// What a direction of a panel is spaced by: its scale, and the least and greatest value.
pub type Span = (Spacing, (f64, f64));

impl Panel {
    /// Values reach to the sides; a caller widens them.
    pub fn new(at: (f64, f64), size: (f64, f64), x: Span, y: Span) -> Self {
        let x = Continuous::new(x.0, x.1, (at.0, at.0 + size.0));
        let y = Continuous::new(y.0, y.1, (at.1 + size.1, at.1));
        Self { x, y, at, size }
    }

    pub fn right(&self) -> f64 {
        self.at.0 + self.size.0
    }

    pub fn bottom(&self) -> f64 {
        self.at.1 + self.size.1
    }

    /// Lines at the ticks of y, with their values where `named`.
    pub fn y_axis(&self, svg: &mut Svg, wanted: usize, named: bool) {
        for (tick, text) in self.y.labelled(wanted) {
            let y = self.y.place(tick);
            svg.line((self.at.0, y), (self.right(), y), "grid");
            if named {
                svg.text((self.at.0 - 6.0, y + 4.0), Anchor::End, "", &text);
            }
        }
    }

    /// The lower side, with ticks and their values where `named`. Values that would touch the one before are left out.
    pub fn x_axis(&self, svg: &mut Svg, wanted: usize, named: bool) {
        svg.line((self.at.0, self.bottom()), (self.right(), self.bottom()), "axis");
        let mut free = f64::NEG_INFINITY;
        for (tick, text) in self.x.labelled(wanted) {
            let x = self.x.place(tick);
            svg.line((x, self.bottom()), (x, self.bottom() + 4.0), "axis");
            let half = text_width(&text) / 2.0;
            if named && x - half > free {
                svg.text((x, self.bottom() + 17.0), Anchor::Middle, "", &text);
                free = x + half + 4.0;
            }
        }
    }

    /// A level from side to side that is no grid line.
    pub fn bound(&self, svg: &mut Svg, value: f64, dashes: &str) {
        let y = self.y.place(value);
        let [x1, x2, y] = [self.at.0, self.right(), y].map(place);
        let style = format!("stroke-dasharray:{dashes}");
        svg.element("line", &[("x1", &x1), ("y1", &y), ("x2", &x2), ("y2", &y), ("class", &"axis"), ("style", &style)]);
    }
}

/// About how wide text of the document's size is.
pub fn text_width(text: &str) -> f64 {
    6.7 * text.chars().count() as f64
}

/// Text of at most so many characters.
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    text.chars().take(most.saturating_sub(1)).collect::<String>() + "\u{2026}"
}

/// What a mark of a legend looks like.
#[derive(Clone, Debug)]
pub enum Sample {
    Line(String),
    /// Dashes of ink.
    Dashes(&'static str),
    /// Filled with a colour.
    Box(String),
    Dot(String),
    Ring,
    Cross,
    Diamond(String),
    /// Upright.
    Bar(String),
    /// Filled or not.
    Triangle(bool),
}

/// Entries side by side, on as many lines as they need. Returns the height.
pub fn legend(svg: &mut Svg, at: (f64, f64), width: f64, entries: &[(Sample, String)]) -> f64 {
    let (mut x, mut y) = at;
    for (sample, text) in entries {
        let needed = 30.0 + text_width(text) + 14.0;
        if x > at.0 && x + needed > at.0 + width + 14.0 {
            (x, y) = (at.0, y + LEGEND_LINE);
        }
        draw_sample(svg, (x, y), sample);
        svg.text((x + 27.0, y + 4.0), Anchor::Start, "", text);
        x += needed;
    }
    y - at.1 + LEGEND_LINE
}

/// As high as [`legend`] will be.
pub fn legend_height(width: f64, entries: &[(Sample, String)]) -> f64 {
    legend(&mut Svg::new(0.0, 0.0), (0.0, 0.0), width, entries)
}

const LEGEND_LINE: f64 = 19.0;

fn draw_sample(svg: &mut Svg, (x, y): (f64, f64), sample: &Sample) {
    let middle = (x + 11.0, y);
    match sample {
        Sample::Line(colour) => svg.path(&[vec![(x, y), (x + 22.0, y)]], &[("class", &"line"), ("stroke", colour)]),
        Sample::Dashes(dashes) => {
            let style = format!("stroke-dasharray:{dashes}");
            svg.path(&[vec![(x, y), (x + 22.0, y)]], &[("class", &"axis"), ("style", &style)]);
        }
        Sample::Box(colour) => {
            let (left, top) = (place(x), place(y - 6.0));
            let shape: [(&str, &dyn std::fmt::Display); 6] = [
                ("x", &left),
                ("y", &top),
                ("width", &22),
                ("height", &12),
                ("fill", colour),
                ("fill-opacity", &"0.3"),
            ];
            svg.element("rect", &shape);
        }
        Sample::Dot(colour) => dot(svg, middle, 4.0, colour),
        Sample::Ring => ring(svg, middle, 4.0, "var(--ink)"),
        Sample::Cross => cross(svg, middle, "var(--ink)"),
        Sample::Bar(colour) => {
            let upright = vec![(middle.0, y - 7.0), (middle.0, y + 7.0)];
            svg.path(&[upright], &[("class", &"line"), ("stroke", colour)]);
        }
        Sample::Diamond(colour) => diamond(svg, middle, colour),
        Sample::Triangle(filled) => triangle(svg, (middle.0, y + 4.0), *filled),
    }
}

pub fn dot(svg: &mut Svg, at: (f64, f64), radius: f64, colour: &str) {
    let [x, y, r] = [at.0, at.1, radius].map(place);
    svg.element("circle", &[("cx", &x), ("cy", &y), ("r", &r), ("fill", &colour)]);
}

/// A dot that the background fills.
pub fn ring(svg: &mut Svg, at: (f64, f64), radius: f64, colour: &str) {
    let [x, y, r] = [at.0, at.1, radius].map(place);
    let style = format!("fill:var(--paper);stroke:{colour};stroke-width:1.6");
    svg.element("circle", &[("cx", &x), ("cy", &y), ("r", &r), ("style", &style)]);
}

pub fn cross(svg: &mut Svg, (x, y): (f64, f64), colour: &str) {
    let style = format!("stroke:{colour};stroke-width:2;fill:none");
    let arm = 3.5;
    svg.path(
        &[vec![(x - arm, y - arm), (x + arm, y + arm)], vec![(x - arm, y + arm), (x + arm, y - arm)]],
        &[("style", &style)],
    );
}

pub fn diamond(svg: &mut Svg, (x, y): (f64, f64), colour: &str) {
    let arm = 5.0;
    let corners = vec![(x - arm, y), (x, y - arm), (x + arm, y), (x, y + arm), (x - arm, y)];
    svg.path(&[corners], &[("fill", &colour)]);
}

/// A triangle of ink that stands on a place; without filling where not `filled`.
pub fn triangle(svg: &mut Svg, (x, y): (f64, f64), filled: bool) {
    let style = format!("fill:var(--{});stroke:var(--ink)", if filled { "ink" } else { "paper" });
    svg.path(&[vec![(x, y - 9.0), (x - 4.0, y - 1.0), (x + 4.0, y - 1.0), (x, y - 9.0)]], &[("style", &style)]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_span_is_drawn_with_numbers(a: u64, b: u64, near: bool, log: bool) {
            let (a, b) = (f64::from_bits(a), f64::from_bits(if near { a.wrapping_add(b % 9) } else { b }));
            let span = (if log { Spacing::Log } else { Spacing::Linear }, (a.min(b), a.max(b)));
            let panel = Panel::new((10.0, 10.0), (300.0, 100.0), span, span);
            let mut svg = Svg::new(320.0, 120.0);
            panel.y_axis(&mut svg, 5, true);
            panel.x_axis(&mut svg, 6, true);
            panel.bound(&mut svg, a, "6 4");
            let text = svg.finish("", "");
            prop_assert!(!text.contains("NaN") && !text.contains("inf"), "{}", text);
        }
    }
}
