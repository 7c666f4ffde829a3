//! Pure functions of finished cells.

pub mod gate;
mod summary;

pub use summary::{AxisLevels, Entry, Summary};
