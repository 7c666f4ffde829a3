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
//! | `explorer` | any metric over any two axes, as values that the page draws from |
//! | `cells` | which cells a tile stands for, and manifests of the chosen ones |
//! | `glance` | the run at a glance: axes, cells by status, verdicts, what computed it |
//! | `lab` | the page of a laboratory, over all its runs |
//! | `page` | the HTML page; `page.css`, `page.js` and `explorer.js` go into it |
//!
//! It reads tables and metric descriptors, and trains nothing. The same run gives the same bytes.

mod cells;
pub mod colour;
mod explorer;
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

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

pub use cells::{CellIndex, ChosenCell};
pub use explorer::Explorer;
pub use figure::{Data, Figure, Section};
pub use page::{MAX_BYTES, page};
pub use run_data::{ReportError, RunData};

/// What a page is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub glance: glance::Glance,
    /// By section.
    pub figures: Vec<Figure>,
    pub explorer: Option<Explorer>,
    pub cells: CellIndex,
    pub chosen: Vec<ChosenCell>,
}

impl Report {
    /// Reads a run and draws it.
    ///
    /// # Errors
    /// A table, verdicts or parts that cannot be read.
    pub fn of(run: &RunData) -> Result<Self, ReportError> {
        let ((figures, explorer), (glance, chosen)) =
            rayon::join(|| (figures(run), explorer::explorer(run)), || (glance::glance(run), cells::chosen_cells(run)));
        let figures = figures?;
        let cells = cells::cell_index(run, &figures)?;
        Ok(Self { glance: glance?, figures, explorer: explorer?, cells, chosen: chosen? })
    }
}

/// The pictures of a run, by section.
///
/// # Errors
/// A table that cannot be read.
pub fn figures(run: &RunData) -> Result<Vec<Figure>, ReportError> {
    let kinds = plot::PLOTS.par_iter().map(|plot| plot(run)).collect::<Result<Vec<_>, _>>()?;
    let mut figures: Vec<Figure> = kinds.into_iter().flatten().collect();
    figures.sort_by_key(|figure| figure.section);
    Ok(figures)
}
