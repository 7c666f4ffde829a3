//! The report as one HTML page that loads nothing: pictures are SVG inside it, data are comma-separated text that the
//! page's script makes tables of when they are opened.

use std::fmt::Write;

use serde_json::Value;

use super::explorer::Explorer;
use super::figure::{Data, Figure, Section};
use super::glance::{Glance, thousands, words};
use super::svg::{STYLE, escape};
use super::{ChosenCell, Report};

/// Most bytes of a page: browsers on phones open it, and mail takes it.
pub const MAX_BYTES: usize = 5_000_000;
/// What of it pictures and data may take; values to explore, ids and manifests have limits of their own.
const PICTURES_BYTES: usize = 2_400_000;
const DATA_BYTES: usize = 1_100_000;
/// Rows of a figure's data that are on the page at most. Tiles are read by their rows, so it is no less than the tiles
/// of a heatmap.
const MAX_ROWS: usize = 2_000;

const CSS: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const EXPLORER: &str = include_str!("explorer.js");

/// What marks a picture whose rectangles are, in order, the rows of its data: the page lets arrow keys read them.
pub(super) const TILES: &str = "class=\"tiles\"";

/// The page. Pictures that it has no room for are named with the file that holds them, and data are thinned to what fits;
/// both say so.
pub fn page(report: &Report) -> String {
    let Report { glance, figures, .. } = report;
    let inline = fitting(figures);
    let rows = rows_that_fit(figures);
    let title = format!("{}: Cliffline report", glance.sweep);
    let mut out = String::new();
    head(&mut out, glance, figures);
    out.push_str("<main id=\"main\" tabindex=\"-1\">\n");
    top(&mut out, glance);
    for section in Section::ALL {
        let of: Vec<usize> = (0..figures.len()).filter(|i| figures[*i].section == section).collect();
        if of.is_empty() {
            continue;
        }
        let (id, heading) = (anchor(section), section.title());
        let _ = writeln!(out, "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{}</h2>", escape(heading));
        match section {
            Section::Surfaces => report.explorer.iter().for_each(|found| explorer(&mut out, found)),
            Section::Geometry => chosen(&mut out, &report.chosen),
            _ => {}
        }
        of.into_iter().for_each(|i| picture(&mut out, &figures[i], inline[i], rows));
        out.push_str("</section>\n");
    }
    let _ = writeln!(
        out,
        "</main>\n<footer><p>{}</p><p>Made by cliffline from the tables of the run. Colours are perceptually uniform and \
         safe for colour-blind readers. The same pictures are in the folder plots.</p></footer>\n{}{}",
        escape(glance.statement),
        embedded_json("cells", &report.cells.json()),
        report.explorer.as_ref().map_or_else(String::new, |found| embedded_json("values", &found.json())),
    );
    document(&title, &out)
}

/// Which pictures are on the page: all, or in their order as many as there is room for.
fn fitting(figures: &[Figure]) -> Vec<bool> {
    let mut room = PICTURES_BYTES;
    let fits = figures.iter().map(|figure| {
        let fits = figure.svg.len() <= room;
        room -= if fits { figure.svg.len() } else { 0 };
        fits
    });
    fits.collect()
}

/// The most rows per figure with which all data fit.
fn rows_that_fit(figures: &[Figure]) -> usize {
    let mut rows = MAX_ROWS;
    let bytes = |rows: usize| figures.iter().map(|f| escape(&thinned(&f.data, rows).csv()).len()).sum::<usize>();
    while rows > 1 && bytes(rows) > DATA_BYTES {
        rows /= 2;
    }
    rows
}

/// Every k-th row, so that at most `most` are left.
fn thinned(data: &Data, most: usize) -> Data {
    let every = stride(data, most);
    Data { header: data.header.clone(), rows: data.rows.iter().step_by(every).cloned().collect() }
}

fn stride(data: &Data, most: usize) -> usize {
    data.rows.len().div_ceil(most.max(1)).max(1)
}

fn anchor(section: Section) -> String {
    section.title().to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

fn head(out: &mut String, glance: &Glance, figures: &[Figure]) {
    let _ = writeln!(
        out,
        "<header>\n<div class=\"top\"><h1>{}</h1><button id=\"theme\" type=\"button\" hidden>Dark or light</button></div>",
        escape(&glance.sweep)
    );
    if !glance.description.is_empty() {
        let _ = writeln!(out, "<p class=\"lead\">{}</p>", escape(&glance.description));
    }
    let _ = writeln!(out, "<p class=\"statement\">{}</p>\n</header>", escape(glance.statement));
    out.push_str("<nav aria-label=\"Sections\"><ul><li><a href=\"#glance\">At a glance</a></li>");
    for section in Section::ALL.into_iter().filter(|section| figures.iter().any(|f| f.section == *section)) {
        let _ = write!(out, "<li><a href=\"#{}\">{}</a></li>", anchor(section), escape(section.title()));
    }
    out.push_str("</ul></nav>\n");
}

/// The run at a glance.
fn top(out: &mut String, glance: &Glance) {
    out.push_str("<section aria-labelledby=\"glance\">\n<h2 id=\"glance\">The run at a glance</h2>\n");
    if let Some(why) = &glance.unfinished {
        let _ = writeln!(
            out,
            "<p class=\"statement\">{} What follows is of the cells that were finished.</p>",
            escape(why)
        );
    }
    let finished: u64 = glance.by_status.iter().map(|(_, n)| n).sum();
    let _ = write!(
        out,
        "<ul class=\"counts\"><li><b>{}</b> of {} cells finished</li>",
        thousands(finished),
        thousands(glance.planned)
    );
    for (status, n) in glance.by_status.iter().filter(|(_, n)| *n > 0) {
        let _ = write!(out, "<li><b>{}</b> {}</li>", thousands(*n), escape(status));
    }
    let _ = writeln!(out, "</ul>\n<p>Stop rules: {}.</p>\n<h3>Gates</h3>", escape(&glance.stop_rules));
    if glance.gates.is_empty() {
        out.push_str("<p>The spec has no gates, so nothing is judged.</p>\n");
    } else {
        let class = escape(&glance.verdict);
        let _ = writeln!(
            out,
            "<p>All gates together: <span class=\"verdict {class}\">{}</span></p>",
            escape(&words(&glance.verdict))
        );
        gates(out, glance);
    }
    out.push_str("<h3>What was swept</h3>\n<dl>\n");
    for axis in &glance.axes {
        let added = if axis.added > 0 { format!(", and {} more beside the grid", axis.added) } else { String::new() };
        let (levels, plural) = (escape(&axis.levels), if axis.count == 1 { "" } else { "s" });
        let _ = writeln!(out, "<dt>{}</dt><dd>{} level{plural}: {levels}{added}</dd>", escape(&axis.path), axis.count);
    }
    out.push_str("</dl>\n<h3>What computed it</h3>\n<dl>\n");
    for (name, value) in &glance.facts {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escape(value));
    }
    out.push_str("</dl>\n</section>\n");
}

fn gates(out: &mut String, glance: &Glance) {
    out.push_str(
        "<div class=\"scroll gates\" tabindex=\"0\" role=\"region\" aria-label=\"Verdicts of the gates\"><table><thead><tr>\
         <th scope=\"col\">Gate</th><th scope=\"col\">Verdict</th><th scope=\"col\">Combinations of levels</th>\
         <th scope=\"col\">Worst place</th><th scope=\"col\">Constraint</th></tr></thead><tbody>\n",
    );
    for gate in &glance.gates {
        let [name, verdict, combinations, worst, constraint] =
            [&gate.name, &words(&gate.verdict), &gate.combinations, &gate.worst, &gate.constraint].map(|t| escape(t));
        let class = escape(&gate.verdict.replace(' ', "_"));
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{name}</th><td class=\"verdict {class}\">{verdict}</td><td>{combinations}</td>\
             <td>{worst}</td><td>{constraint}</td></tr>"
        );
    }
    out.push_str("</tbody></table></div>\n");
}

/// A whole document around a body.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}\n{CSS}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to the results</a>\n{body}<script>{SCRIPT}{EXPLORER}</script>\n</body>\n</html>",
        escape(title)
    )
}

/// A picture with its data, on a page that has room for both.
pub(super) fn embed(out: &mut String, figure: &Figure) {
    picture(out, figure, true, MAX_ROWS);
}

/// Data for the script. Nothing in it can end the element.
fn embedded_json(id: &str, value: &Value) -> String {
    let text = value.to_string().replace('<', "\\u003c");
    format!("<script type=\"application/json\" id=\"{id}\">{text}</script>\n")
}

/// A picture that the script draws of what the reader chooses; without scripts it stays hidden.
fn explorer(out: &mut String, explorer: &Explorer) {
    let missing = explorer.missing();
    let _ = writeln!(
        out,
        "<figure id=\"explorer\" aria-labelledby=\"explorer-title\" hidden>\n<h3 id=\"explorer-title\">Any metric over any \
         two axes</h3>\n<div class=\"choices\"></div>\n<div class=\"picture\" tabindex=\"0\" role=\"application\" \
         aria-label=\"Heatmap of what is chosen: arrow keys read the cells\" aria-describedby=\"explorer-about\"></div>\n\
         <p class=\"reading\" role=\"status\"></p>\n<p class=\"cells\"></p>\n<figcaption><p id=\"explorer-about\"></p>\
         <p>Means over seeds, {}; intervals, how they are made and seeds are in surfaces.parquet. Levels lie at equal distances, and those beside \
         the grid are left out. One colour is one value in all panels of a metric. {}</p>\
         </figcaption>\n<div class=\"tools\"><button type=\"button\" class=\"save\">Save these as CSV</button>\
         <button type=\"button\" class=\"whole\" aria-pressed=\"false\">Whole picture</button></div>\n</figure>",
        explorer.precision(),
        escape(&missing)
    );
}

/// The cells that pictures of single cells are of, with their manifests.
fn chosen(out: &mut String, cells: &[ChosenCell]) {
    if cells.is_empty() {
        return;
    }
    out.push_str("<h3>Chosen cells and their audit manifests</h3>\n");
    for cell in cells {
        let [role, id] = [&cell.role, &cell.cell_id].map(|text| escape(text));
        let short = escape(cell.short_id());
        let _ = writeln!(
            out,
            "<p class=\"cell\" id=\"cell-{short}\"><b>{role}</b> <code>{id}</code>: <code class=\"command\">cliffline show . \
             {short}</code> in the folder of the run</p>"
        );
        match &cell.manifest {
            Some(manifest) => {
                let _ = writeln!(
                    out,
                    "<details><summary>Audit manifest of {role}</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" \
                     aria-label=\"Audit manifest of {role}\"><pre class=\"manifest\" data-name=\"{short}\">{}</pre></div></details>",
                    escape(manifest)
                );
            }
            None => out.push_str("<p class=\"note\">Its manifest is too large for this page, or cannot be read.</p>\n"),
        }
    }
}

fn picture(out: &mut String, figure: &Figure, inline: bool, rows: usize) {
    let (name, title) = (escape(&figure.name), escape(&figure.title));
    let _ = writeln!(
        out,
        "<figure data-name=\"{name}\" aria-labelledby=\"{name}-title\">\n<h3 id=\"{name}-title\">{title}</h3>"
    );
    let readable = inline && figure.svg.contains(TILES) && stride(&figure.data, rows) == 1;
    if !inline {
        let _ = writeln!(
            out,
            "<p class=\"note\">Not drawn here, so that the page stays small: see <a href=\"plots/{name}.svg\">plots/{name}.svg</a>.</p>"
        );
    } else if readable {
        let _ = writeln!(
            out,
            "<div class=\"picture\" tabindex=\"0\" role=\"application\" aria-label=\"{title}: arrow keys read the cells\" \
             aria-describedby=\"{name}-alt\">{}</div>\n<p class=\"reading\" role=\"status\"></p>\n<p class=\"cells\"></p>",
            embedded(figure)
        );
    } else {
        let _ = writeln!(
            out,
            "<div class=\"picture\" tabindex=\"0\" role=\"group\" aria-label=\"{title}: picture\">{}</div>",
            embedded(figure)
        );
    }
    let _ = writeln!(
        out,
        "<figcaption><p id=\"{name}-alt\">{}</p><p>{}</p></figcaption>",
        escape(&figure.alt),
        escape(&figure.caption)
    );
    if figure.data.rows.is_empty() {
        out.push_str("</figure>\n");
        return;
    }
    let shown = thinned(&figure.data, rows);
    let all = figure.data.rows.len();
    let thinning = match stride(&figure.data, rows) {
        1 => String::new(),
        every => format!(", one of {every}: {} of {all} are left out to keep the page small", all - shown.rows.len()),
    };
    let _ = writeln!(
        out,
        "<div class=\"tools\"><details id=\"{name}-data\"><summary>Data: {} rows{thinning}</summary>\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Data of {title}\"><pre>{}</pre></div></details>\
         <button type=\"button\" class=\"save\" hidden>Save as CSV</button>{}</div>\n</figure>",
        shown.rows.len(),
        escape(&shown.csv()),
        if inline {
            "<button type=\"button\" class=\"whole\" aria-pressed=\"false\" hidden>Whole picture</button>"
        } else {
            ""
        },
    );
}

/// The picture as part of the page: its style is the page's, its ids are its own, and its text alternative is the caption.
fn embedded(figure: &Figure) -> String {
    let svg = without(&without(&figure.svg, "<style>", "</style>"), "<desc>", "</desc>");
    // The title of the whole picture would be the tooltip of every place in it.
    let svg = without(&svg, "<title>", "</title>");
    let prefix = format!("{}-in-", figure.name);
    let svg = [(" id=\"", " id=\""), ("url(#", "url(#"), ("href=\"#", "href=\"#")]
        .into_iter()
        .fold(svg, |svg, (from, to)| svg.replace(from, &format!("{to}{prefix}")));
    let labels = format!("role=\"img\" aria-labelledby=\"{0}-title\" aria-describedby=\"{0}-alt\"", figure.name);
    svg.replacen("role=\"img\"", &labels, 1).trim_end().to_string()
}

/// A text without its first passage from `begin` to `end`.
fn without(text: &str, begin: &str, end: &str) -> String {
    let Some(from) = text.find(begin) else { return text.to_string() };
    let Some(length) = text[from..].find(end) else { return text.to_string() };
    format!("{}{}", &text[..from], &text[from + length + end.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::svg::Svg;

    fn figure(name: &str, fill: &str, rows: usize) -> Figure {
        let mut svg = Svg::new(10.0, 10.0);
        svg.open("g", &[("id", &"same"), ("clip-path", &"url(#same)"), ("class", &"tiles")]);
        svg.rect((0.0, 0.0), (1.0, 1.0), fill);
        svg.close("g");
        let data = Data { header: vec!["a<b".into()], rows: (0..rows).map(|i| vec![i.to_string()]).collect() };
        let [title, alt, caption] = ["Title <1>", "What it shows.", "What it is."].map(String::from);
        let svg = svg.finish(&title, &alt);
        Figure { section: Section::Surfaces, name: name.into(), title, alt, caption, svg, data }
    }

    fn report(figures: Vec<Figure>) -> Report {
        Report { glance: glance(), figures, explorer: None, cells: Default::default(), chosen: Vec::new() }
    }

    fn glance() -> Glance {
        Glance {
            sweep: "a<b".into(),
            description: String::new(),
            unfinished: None,
            axes: Vec::new(),
            planned: 1,
            by_status: Vec::new(),
            stop_rules: "a<c, in every cell".into(),
            verdict: "pass".into(),
            gates: Vec::new(),
            facts: Vec::new(),
            statement: crate::store::VERIFICATION_STATEMENT,
        }
    }

    #[test]
    fn pictures_share_one_style_and_keep_their_ids_apart() {
        let page = page(&report(vec![figure("one", "#fff", 3), figure("two", "#fff", 3)]));
        assert_eq!(page.matches("<style>").count(), 1);
        for id in ["id=\"one-in-same\"", "url(#one-in-same)", "id=\"two-in-same\"", "id=\"two-title\""] {
            assert_eq!(page.matches(id).count(), 1, "{id}");
        }
        assert!(page.contains("<p>Stop rules: a&lt;c, in every cell.</p>"));
        assert!(page.contains("<h1>a&lt;b</h1>") && page.contains("<pre>a&lt;b\n0\n1\n2\n</pre>"));
        assert_eq!(page.matches("role=\"application\"").count(), 2);
    }

    #[test]
    fn a_page_stays_small_and_says_what_it_leaves_out() {
        let wide = "x".repeat(140_000);
        let figures: Vec<Figure> = (0..60).map(|i| figure(&format!("f{i}"), &wide, 30_000)).collect();
        let page = page(&report(figures));
        assert!(page.len() < MAX_BYTES, "{}", page.len());
        let drawn = page.matches("<svg").count();
        assert!((15..25).contains(&drawn), "{drawn}");
        assert_eq!(page.matches("Not drawn here, so that the page stays small").count(), 60 - drawn);
        assert_eq!(page.matches("are left out to keep the page small").count(), 60);
        // Tiles whose rows are not all there cannot be read by them.
        assert!(!page.contains("role=\"application\""));
    }
}
