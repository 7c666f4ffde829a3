//! The measurement panel: one file per metric family, host `f64`.
//!
//! To add a metric: a file with a [`Family`], its `mod` line, and its line in [`METRICS`]. Columns, documentation,
//! reports and gates follow from the registry.

mod comparison;
mod cosine;
mod evaluation;
mod hubness;
mod logits;
mod norm;
mod registry;
mod retrieval;
mod spectrum;
mod variance;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod invariance;

pub use evaluation::{
    Evaluation, EvaluationError, MAX_SAMPLES, Modality, NEGATIVE_EIGENVALUE_TOLERANCE, NO_DIRECTION_NORM,
};
pub use registry::{
    Descriptor, Family, Healthy, MetricError, RANGE_SLACK, Values, descriptor, descriptors, measure, measure_named,
    reference,
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
];
