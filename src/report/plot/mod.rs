//! The pictures of a report, one file each: `info`, the data with what is missing or thinned counted in it, then
//! `draw`, the picture.
//!
//! To add one: a file here and a line in [`PLOTS`].

pub mod degradation;
pub mod geometry;
pub mod heatmap;
pub mod lead_lag;
pub mod margins;
pub mod training;

use super::figure::Figure;
use super::run_data::{ReportError, RunData};

/// The pictures of one kind that a run has; none where it lacks what they show.
pub type Plot = fn(&RunData) -> Result<Vec<Figure>, ReportError>;

/// Every kind of picture. Pictures of a section stand in the order of this list.
pub const PLOTS: &[Plot] =
    &[heatmap::heatmaps, degradation::plot, margins::plot, lead_lag::plot, geometry::figures, training::plot];
