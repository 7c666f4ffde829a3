//! The report of a laboratory: one page over all its runs, each of which has a report of its own.

mod confusion;
mod findings;
mod page;
mod pictures;

pub use page::lab_page;
pub use pictures::{LabPictures, lab_pictures};
