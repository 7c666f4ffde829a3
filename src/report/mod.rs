//! The report of a run: pictures of its tables, as SVG files and as one HTML page that needs nothing else.
//!
//! | file | owns |
//! |---|---|
//! | `run_data` | what a run directory holds: manifest, spec, tables |
//! | `plot` | one file per picture: `info`, the data, then `draw`, the picture |
//! | `figure` | a picture with its text alternative and its data |
//! | `svg` | elements, escaping, numbers of fixed form |
//! | `scale` | from values to places, with ticks |
//! | `panel` | axes, legends and marks around what a picture draws |
//! | `rows` | the rows of a table as plain values, levels of axes |
//! | `colour` | colour maps that are uniform and safe for colour-blind readers |
//! | `glance` | the run at a glance: axes, cells by status, verdicts, what computed it |
//! | `lab` | the page of a laboratory, over all its runs |
//! | `page` | the HTML page; `page.css` and `page.js` go into it |
//!
//! It reads tables and metric descriptors, and trains nothing. The same run gives the same bytes.

pub mod colour;
mod figure;
pub mod glance;
pub mod lab;
mod page;
mod panel;
pub mod plot;
mod rows;
mod run_data;
pub mod scale;
pub mod svg;

pub use figure::{Data, Figure, Section};
pub use page::{MAX_BYTES, page};
pub use run_data::{ReportError, RunData};

/// The pictures of a run, by section.
///
/// # Errors
/// A table that cannot be read.
pub fn figures(run: &RunData) -> Result<Vec<Figure>, ReportError> {
    let mut figures = Vec::new();
    for plot in plot::PLOTS {
        figures.extend(plot(run)?);
    }
    figures.sort_by_key(|figure| figure.section);
    Ok(figures)
}
