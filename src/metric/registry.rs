//! What a metric is, and how all of them are measured.

use super::{Evaluation, METRICS, Modality};
use crate::numerics::linalg::LinalgError;
use crate::numerics::stats::StatsError;

/// Which way a value moves when the geometry gets healthier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Healthy {
    Higher,
    Lower,
    NearZero,
    /// Neither way by itself: it describes the regime.
    Neither,
}

impl Healthy {
    /// The word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Healthy::Higher => "higher",
            Healthy::Lower => "lower",
            Healthy::NearZero => "near zero",
            Healthy::Neither => "neither",
        }
    }
}

/// Everything that columns, help, reports and gates need to know about one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Descriptor {
    /// Column and registry name: lower-case letters, digits and underscores.
    pub name: &'static str,
    /// Unit, for axis labels.
    pub unit: &'static str,
    /// Smallest and largest value by definition; infinite where there is no bound. Every value lies in it, see
    /// [`hold`].
    pub range: (f64, f64),
    pub healthy: Healthy,
    /// Where the definition comes from.
    pub source: &'static str,
    /// What it is, in one sentence that fits a table cell.
    pub summary: &'static str,
}

/// How far rounding may take what is computed past an end of [`Descriptor::range`], as a share of that end where it is
/// further than 1 from 0: rounding to `f32` moves a coordinate by at most 2^-24 of itself, so the squared norm of a unit
/// vector, any cosine and any share of the squared distance between two of them by at most 2^-23; twice that.
pub const RANGE_SLACK: f64 = 2.4e-7;

impl Descriptor {
    /// A computed value as a value of this metric, see [`hold`].
    pub fn hold(&self, value: f64) -> Result<f64, MetricError> {
        hold(value, self.range)
    }
}

/// A computed value in its range: what rounding took past an end is that end.
///
/// **Errors** a value that is not finite, or is further out than [`RANGE_SLACK`] allows: no value of that quantity.
pub fn hold(value: f64, (low, high): (f64, f64)) -> Result<f64, MetricError> {
    let slack = |end: f64| RANGE_SLACK * end.abs().max(1.0);
    if !value.is_finite() {
        Err(MetricError::NotFinite(value))
    } else if value < low - slack(low) || value > high + slack(high) {
        Err(MetricError::OutOfRange { value, low, high })
    } else {
        Ok(value.clamp(low, high))
    }
}

/// How much of the registry is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Panel {
    /// What every cell can afford.
    Fast,
    /// All of it: what permutes, fits or takes steps as well.
    Full,
}

/// One value or reason per descriptor of a family; the outer error is a reason that holds for the whole family.
pub type Values = Result<Vec<Result<f64, MetricError>>, MetricError>;

/// Metrics that come out of one computation.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Module name; the heading in tables.
    pub name: &'static str,
    /// The smallest panel that it is part of.
    pub panel: Panel,
    /// How its values are computed, as far as recomputing them takes it.
    pub about: &'static str,
    pub descriptors: &'static [Descriptor],
    /// Values in the order of `descriptors`.
    pub compute: fn(&Evaluation) -> Values,
}

impl Family {
    /// All metrics of this family: name and value, or name and the reason why there is none.
    pub fn measure(&self, evaluation: &Evaluation) -> Vec<(&'static str, Result<f64, MetricError>)> {
        let computed = (self.compute)(evaluation);
        let value = |(at, descriptor): (usize, &'static Descriptor)| {
            let value = match &computed {
                Ok(values) => values.get(at).cloned().unwrap_or(Err(MetricError::NotComputed)),
                Err(reason) => Err(reason.clone()),
            };
            (descriptor.name, value.and_then(|value| descriptor.hold(value)))
        };
        self.descriptors.iter().enumerate().map(value).collect()
    }
}

/// Why a metric has no value. The text is made for a table cell.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetricError {
    #[error("needs at least {needed} samples, got {samples}")]
    TooFewSamples { samples: usize, needed: usize },
    #[error("sample {sample} of {} has norm {norm:.1e} before normalisation, so it has no direction", modality.name())]
    NoDirection { modality: Modality, sample: usize, norm: f64 },
    #[error("{} embeddings are constant to f32 rounding (total variance {total:.1e})", modality.name())]
    NoVariance { modality: Modality, total: f64 },
    #[error("a covariance eigenvalue is {eigenvalue:e} where the largest is {largest:e}")]
    NegativeEigenvalue { eigenvalue: f64, largest: f64 },
    #[error("no labels of {variable} were given")]
    NoLabels { variable: String },
    #[error("{variable} is not known on a circle, so it has no circular differences")]
    NotCircular { variable: String },
    #[error("all samples have the same {variable}")]
    OneGroup { variable: String },
    #[error("{groups} groups of {variable} are too many for {samples} samples")]
    TooManyGroups { variable: String, groups: usize, samples: usize },
    #[error("a group of {variable} has {samples} samples, needs at least {needed}")]
    SmallGroup { variable: String, samples: usize, needed: usize },
    #[error("samples of one group of {variable} still carry different codes, so that groups do not hold it constant")]
    PartialGroups { variable: String },
    #[error("embeddings within each group of {variable} are constant to f32 rounding")]
    NoSpreadWithin { variable: String },
    #[error("the binned projections of the {} embeddings are all the same", modality.name())]
    OneCell { modality: Modality },
    #[error("the value is the same under every permutation, so its excess means nothing")]
    NoNullSpread,
    #[error("the sensitivity was not measured: {0}")]
    NotMeasured(String),
    #[error("every candidate is among the nearest equally often")]
    NoHubSpread,
    #[error("dividing by the temperature {0:e} overflows")]
    Temperature(f64),
    #[error("the value is {0}")]
    NotFinite(f64),
    #[error("computed as {value:?}, outside its range {low} to {high}")]
    OutOfRange { value: f64, low: f64, high: f64 },
    #[error("no metric is called {0:?}")]
    Unknown(String),
    #[error("the metric's family returned too few values")]
    NotComputed,
    #[error(transparent)]
    Stats(#[from] StatsError),
    #[error(transparent)]
    Linalg(#[from] LinalgError),
}

/// Every metric of a panel: name and value, or name and the reason why there is none, in registry order.
///
/// ```
/// use cliffline::metric::{Evaluation, Panel, measure};
/// let evaluation = Evaluation::new(&[1.0, 0.0, 0.0, 1.0], &[2.0, 0.0, 0.0, 3.0], 2, 0.07)?;
/// let (name, value) = &measure(&evaluation, Panel::Fast)[0];
/// assert_eq!((*name, value), ("retrieval_at_1_i2t", &Ok(1.0)));
/// # Ok::<(), cliffline::metric::EvaluationError>(())
/// ```
pub fn measure(evaluation: &Evaluation, panel: Panel) -> Vec<(&'static str, Result<f64, MetricError>)> {
    // Several families take from it what the first one would compute for itself; reasons come with the families.
    let _ = evaluation.comparison();
    families(panel).flat_map(|family| family.measure(evaluation)).collect()
}

/// The named metrics, in the order of `names`, whichever panel they are part of; only the families that hold one of
/// them are computed. A name that the
/// registry lacks comes back as [`MetricError::Unknown`].
pub fn measure_named<'a>(evaluation: &Evaluation, names: &[&'a str]) -> Vec<(&'a str, Result<f64, MetricError>)> {
    let wanted = |family: &&Family| family.descriptors.iter().any(|descriptor| names.contains(&descriptor.name));
    let measured: std::collections::BTreeMap<_, _> =
        METRICS.iter().filter(wanted).flat_map(|family| family.measure(evaluation)).collect();
    let value = |name: &str| measured.get(name).cloned().unwrap_or_else(|| Err(MetricError::Unknown(name.to_string())));
    names.iter().map(|&name| (name, value(name))).collect()
}

/// The families of a panel, in the order of the registry.
fn families(panel: Panel) -> impl Iterator<Item = &'static Family> {
    METRICS.iter().filter(move |family| family.panel <= panel)
}

/// The descriptors of a panel, in the order of the registry.
pub fn descriptors_of(panel: Panel) -> impl Iterator<Item = &'static Descriptor> {
    families(panel).flat_map(|family| family.descriptors)
}

/// Every descriptor of the registry, in its order.
pub fn descriptors() -> impl Iterator<Item = &'static Descriptor> {
    METRICS.iter().flat_map(|family| family.descriptors)
}

/// The descriptor called `name`.
pub fn descriptor(name: &str) -> Option<&'static Descriptor> {
    descriptors().find(|descriptor| descriptor.name == name)
}
