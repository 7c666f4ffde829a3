//! Pure functions of finished cells.

mod summary;

pub use summary::{AxisLevels, Entry, Summary};
