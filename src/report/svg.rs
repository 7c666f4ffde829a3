//! SVG documents as text: elements, escaping, numbers of fixed form.
//!
//! Colours of text and lines are CSS variables with a fallback, so that a picture follows the page's scheme, or the
//! reader's where it stands alone.

use std::fmt::{Display, Write};

use crate::numerics::printable::is_hidden;

/// Text as it must be written inside an element or an attribute.
pub fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // What XML does not have, or what would reorder the text around it.
            c if is_hidden(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
        out
    })
}

/// A coordinate: two decimals, trailing zeros left out.
pub fn place(x: f64) -> String {
    let text = format!("{:.2}", if x.is_finite() { x } else { 0.0 });
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_string() } else { text.to_string() }
}

/// Where text begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// A document in the making. Coordinates are in its own units, y downwards.
#[derive(Clone, Debug)]
pub struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// What every document is drawn with: `ink` text and axes, `soft` text of less weight, `grid` lines behind, `paper` the
/// background.
pub const STYLE: &str = "\
:root{color-scheme:light dark}\
svg{--ink:#1b1b1f;--soft:#5a5a66;--grid:#d8d8de;--paper:#ffffff;background:var(--paper)}\
@media (prefers-color-scheme:dark){svg{--ink:#ececf1;--soft:#a9a9b6;--grid:#3a3a44;--paper:#15151a}}\
text{font-family:system-ui,-apple-system,'Segoe UI',sans-serif;font-size:12px;fill:var(--ink)}\
.soft{fill:var(--soft)}.small{font-size:10.5px}.title{font-weight:600;font-size:13px}\
.axis{stroke:var(--ink);stroke-width:1;fill:none}.grid{stroke:var(--grid);stroke-width:1;fill:none}\
.line{fill:none;stroke-width:2;stroke-linejoin:round}";

impl Svg {
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// Appends an element without content: `attributes` are name and value, values are escaped.
    pub fn element(&mut self, name: &str, attributes: &[(&str, &dyn Display)]) {
        self.open(name, attributes);
        // The end of the tag that was opened.
        self.body.truncate(self.body.len() - 1);
        self.body.push_str("/>");
    }

    /// Opens an element; [`close`](Self::close) ends it.
    pub fn open(&mut self, name: &str, attributes: &[(&str, &dyn Display)]) {
        let _ = write!(self.body, "<{name}");
        for (key, value) in attributes {
            let _ = write!(self.body, " {key}=\"{}\"", escape(&value.to_string()));
        }
        self.body.push('>');
    }

    pub fn close(&mut self, name: &str) {
        let _ = write!(self.body, "</{name}>");
    }

    /// A tooltip of the element that is open.
    pub fn tooltip(&mut self, text: &str) {
        let _ = write!(self.body, "<title>{}</title>", escape(text));
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(place);
        self.element("line", &[("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2), ("class", &class)]);
    }

    /// A rectangle filled with a colour.
    pub fn rect(&mut self, corner: (f64, f64), size: (f64, f64), fill: &str) {
        let [x, y, w, h] = [corner.0, corner.1, size.0, size.1].map(place);
        self.element("rect", &[("x", &x), ("y", &y), ("width", &w), ("height", &h), ("fill", &fill)]);
    }

    /// A path of straight lines; a gap begins a new one.
    pub fn path(&mut self, pieces: &[Vec<(f64, f64)>], attributes: &[(&str, &dyn Display)]) {
        let mut d = String::new();
        for piece in pieces {
            for (i, (x, y)) in piece.iter().enumerate() {
                let _ = write!(d, "{}{} {}", if i == 0 { "M" } else { "L" }, place(*x), place(*y));
            }
        }
        let all: Vec<(&str, &dyn Display)> =
            std::iter::once(("d", &d as &dyn Display)).chain(attributes.iter().copied()).collect();
        self.element("path", &all);
    }

    /// Text at a place; `class` is of the document's style, such as `soft small`.
    pub fn text(&mut self, at: (f64, f64), anchor: Anchor, class: &str, text: &str) {
        self.text_with(at, anchor, &[("class", &class)], text);
    }

    /// Text with further attributes, such as a `transform` or a `fill`.
    pub fn text_with(&mut self, at: (f64, f64), anchor: Anchor, attributes: &[(&str, &dyn Display)], text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y) = (place(at.0), place(at.1));
        let mut all: Vec<(&str, &dyn Display)> = vec![("x", &x), ("y", &y), ("text-anchor", &anchor)];
        all.extend(attributes.iter().filter(|(_, value)| !value.to_string().is_empty()).copied());
        self.open("text", &all);
        self.body.push_str(&escape(text));
        self.close("text");
    }

    /// The document: `title` names it, `alt` says what it shows.
    pub fn finish(self, title: &str, alt: &str) -> String {
        let (width, height) = (place(self.width), place(self.height));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\"><title>{}</title><desc>{}</desc><style>{STYLE}</style>{}</svg>\n",
            escape(title),
            escape(alt),
            self.body
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form_and_text_is_escaped() {
        assert_eq!([1.0, -0.001, 2.5, 1.005, f64::NAN].map(place), ["1", "0", "2.5", "1", "0"]);
        assert_eq!(escape("a<b & \"c\"\u{1}"), "a&lt;b &amp; &quot;c&quot;\\u{1}");
        let mut svg = Svg::new(10.0, 20.0);
        svg.text((1.0, 2.0), Anchor::End, "soft", "x < y");
        svg.path(&[vec![(0.0, 0.0), (1.0, 1.5)], vec![(2.0, 2.0)]], &[("class", &"line")]);
        let text = svg.finish("t", "a");
        // By which a picture is known as ours when it is replaced or removed.
        assert!(text.starts_with("<svg") && text.contains(crate::store::PICTURE_MARK));
        assert!(text.contains("<text x=\"1\" y=\"2\" text-anchor=\"end\" class=\"soft\">x &lt; y</text>"), "{text}");
        assert!(text.contains("<path d=\"M0 0L1 1.5M2 2\" class=\"line\"/>"), "{text}");
    }
}
