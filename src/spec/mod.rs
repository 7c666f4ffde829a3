//! From a TOML spec to a checked sweep: every cell's resolved configuration and id, before anything is trained.
//!
//! | file | owns |
//! |---|---|
//! | `config` | the configuration of one cell and [`PARAMS`], the registry of its scalars |
//! | `preset` | [`PRESETS`], the named starting points |
//! | `builtin` | [`BUILTINS`], the specs compiled into the program |
//! | `tree` | TOML values with their places in the source |
//! | `scalar` | one value against what its parameter accepts; the nearest valid key |
//! | `meant` | what to write instead of a value that is not taken |
//! | `scale` | how far apart two levels are |
//! | `axis` | the ways to write an axis, and the levels they make |
//! | `draft` | a spec's keys, checked one by one |
//! | `flags` | `--set` and `--axis`, into the same draft |
//! | `grid` | crossing, zipping and excluding levels |
//! | `include` | cells beside the grid |
//! | `gate` | constraints that are judged after the run |
//! | `check` | rules across the parameters of one cell |
//! | `sweep` | [`Sweep`]: the cells, the hash, the resolved spec |
//! | `source` | the text of a spec: a file, standard input, a built-in |
//! | `load` | [`load`]: finds a spec and runs the steps above |
//! | `diagnostic` | errors with their place, nearest key and remedy |
//! | `reference` | the parameter table and the schema, from the registries |

mod axis;
mod builtin;
mod check;
mod condition;
pub mod config;
mod diagnostic;
mod draft;
mod fields;
mod flags;
mod gate;
mod grid;
mod include;
mod load;
mod meant;
mod params;
mod preset;
mod reference;
#[cfg(test)]
mod rendered;
mod scalar;
mod scale;
mod source;
mod sweep;
mod tree;

pub use builtin::{BUILTINS, Builtin};
pub(crate) use condition::MOST_CONDITIONS;
pub use condition::{CLEAN, Condition};
pub use config::Config;
pub use diagnostic::{Diagnostic, Location, Report, Site, Source, SpecError};
pub use gate::{ALL_GATES, Gate, LOST, MIN_SEEDS, Scope, constraints_of};
pub use load::{Overrides, from_str, load};
pub use params::{Kind, LEAST, PARAMS, Param, Role, param_at};
pub use preset::{PRESETS, Preset, preset_named};
pub use reference::{reference, schema};
pub use scalar::{by_size, nearest};
pub use scale::Scale;
pub use sweep::{Axis, Cell, Exclude, Include, Sweep, Zip};
