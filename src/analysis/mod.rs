//! Pure functions of a run's tables, and the tables that are made of them.

pub mod boundary;
pub mod compare;
pub mod constraint;
mod derived;
pub mod exemplars;
pub mod gate;
pub mod lead_lag;
mod lead_lag_table;
pub mod line;
mod location_tables;
pub mod margin;
mod outcome;
mod ranks;
pub mod refine;
mod stop_rules;
mod summary;
mod surface;
mod surface_table;
pub mod trace;

pub use derived::write_derived;
pub use lead_lag_table::{lead_lag, write_lead_lag};
pub use location_tables::{Located, grid_of, locate, read_for_locations, write_locations};
pub use outcome::{columns_of_cells, columns_of_conditions, with_unfinished};
pub use stop_rules::StopRules;
pub use summary::{AxisLevels, Entry, Summary};
pub use surface::{Surfaces, surface};
pub use surface_table::write_surfaces;
