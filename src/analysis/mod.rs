//! Pure functions of finished cells.

mod summary;

pub use summary::{Summary, summarise};
