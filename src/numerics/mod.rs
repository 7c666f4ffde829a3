//! Seeded streams, linear algebra and statistics: everything numerical that is not a model, and what text may be printed.
//! Imports no other room.

pub mod bootstrap;
pub mod estimate;
pub mod information;
pub mod instructions;
pub mod interval;
pub mod linalg;
pub mod logistic;
pub mod printable;
pub mod selection;
pub mod shown;
pub mod similarity;
pub mod spectral;
pub mod stats;
pub mod stream;
pub mod threshold;
