//! What differs between two runs, `a` and `b`: in their specs, in what computed them, and in what came out.
//!
//! | file | owns |
//! |---|---|
//! | `spec` | settings, axes, conditions, gates |
//! | `environment` | code, machine, timings |
//! | `pairs` | which cell of `b` belongs to which of `a`, and how both ended |
//! | `edges` | the edges of a run's lines, from its table of boundaries |
//! | `boundaries` | how far they moved, paired by seed |
//! | `differences` | metrics, `b` minus `a`, paired by seed |
//! | `fail_on` | conditions on all of this, for an exit code |

mod boundaries;
mod differences;
mod edges;
mod environment;
mod fail_on;
mod pairs;
mod spec;

use serde::Serialize;

pub use boundaries::{BoundaryShifts, Shift, Transition, WithoutEdge, boundary_shifts, columns_of_boundaries};
pub use differences::{Difference, Differences, Intervals, Largest, Measured, intervals, order};
pub use edges::State;
pub use environment::{EnvironmentDiff, What, compare_environments};
pub use fail_on::{Answer, FailOn, Judged};
pub use pairs::{Changed, Outcomes, Pairing, StatusPair, columns_of_cells};
pub use spec::{AxisDiff, ByName, SpecDiff, compare_specs};

/// Version of [`Comparison`] as JSON.
///
/// # Changelog
/// - 1: first version.
/// - 2: `changed` of every difference; `fail_on` and `exit_code`.
pub const COMPARISON_VERSION: u64 = 2;

/// A value of each run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Each<T> {
    pub a: T,
    pub b: T,
}

impl<T: PartialEq> Each<T> {
    /// None for equals.
    pub fn if_different(a: T, b: T) -> Option<Self> {
        (a != b).then_some(Self { a, b })
    }
}

/// What `compare --json` prints, without the two runs themselves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub format: &'static str,
    pub version: u64,
    pub spec: SpecDiff,
    pub environment: EnvironmentDiff,
    pub outcomes: Outcomes,
    /// How far the boundaries moved; null where a run has no table of them, or one of other gates than its spec has.
    pub boundaries: Option<BoundaryShifts>,
    /// What changed most comes first: see [`order`].
    pub differences: Vec<Difference>,
    pub intervals: Intervals,
    /// Metrics that have values in one run only.
    pub metrics_only: Each<Vec<String>>,
}
