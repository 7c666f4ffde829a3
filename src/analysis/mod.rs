//! Pure functions of a run's tables, and the tables that are made of them.

pub mod compare;
pub mod gate;
mod summary;
mod surface;
mod surface_table;

pub use summary::{AxisLevels, Entry, Summary};
pub use surface::{Surfaces, surface};
pub use surface_table::write_surfaces;
