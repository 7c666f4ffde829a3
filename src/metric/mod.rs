//! The measurement panel: one file per metric family, host `f64`.
//!
//! To add a metric: a file with a [`Family`], its `mod` line, and its line in [`METRICS`]. Columns, documentation,
//! reports and gates follow from the registry.

mod alignment;
mod comparison;
mod context;
mod correlation;
mod cosine;
mod cross_group;
mod definition;
mod evaluation;
mod hubness;
mod information;
mod logits;
mod neighbours;
mod norm;
mod null;
mod registry;
mod retrieval;
mod sensitivity;
mod separability;
mod separability_null;
mod spectrum;
mod symmetry;
mod uniformity;
mod variance;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod golden_probes;
#[cfg(test)]
mod invariance;
#[cfg(test)]
mod null_behaviour;

pub use context::{Context, Scale, Variable};
pub use definition::{CONVENTIONS, reference};
pub use evaluation::{
    Evaluation, EvaluationError, MAX_SAMPLES, Modality, NEGATIVE_EIGENVALUE_TOLERANCE, NO_DIRECTION_NORM,
};
pub use registry::{
    Descriptor, Family, Healthy, MetricError, Panel, RANGE_SLACK, Values, descriptor, descriptors, descriptors_of,
    hold, measure, measure_named,
};
pub use spectrum::NO_VARIANCE;

/// Every metric family, in the order of tables and reports.
pub const METRICS: &[Family] = &[
    retrieval::FAMILY,
    cosine::FAMILY,
    variance::FAMILY,
    spectrum::FAMILY,
    hubness::FAMILY,
    norm::FAMILY,
    logits::FAMILY,
    alignment::FAMILY,
    uniformity::FAMILY,
    symmetry::FAMILY,
    neighbours::FAMILY,
    separability::FAMILY,
    separability_null::FAMILY,
    information::FAMILY,
    correlation::FAMILY,
    cross_group::FAMILY,
    sensitivity::FAMILY,
];
