//! What every metric is computed from: the embeddings of one evaluation split under one condition, and what several
//! metrics share (similarities, covariances, spectra), each computed once and only when first asked for.

use std::sync::OnceLock;

use pulp::Arch;

use super::comparison::{self, Comparison};
use super::context::{Context, Groups, Variable};
use super::{MetricError, NO_VARIANCE, null};
use crate::numerics::linalg;

/// Raw embeddings shorter than this have no direction: the guard makes up more than half of their squared norm, so
/// they are not normalised to unit length and their cosines mean nothing. The square root of
/// [`NORM_GUARD`](linalg::NORM_GUARD).
pub const NO_DIRECTION_NORM: f64 = 1e-6;

/// A covariance has no negative eigenvalue. One above minus this share of the largest is rounding and becomes 0; the
/// solver's error is below 1e-12 of the largest up to dimension 4096. One further down is an error.
pub const NEGATIVE_EIGENVALUE_TOLERANCE: f64 = 1e-12;

/// Most samples of one evaluation: comparing all with all then takes seconds.
///
/// It takes memory for N D numbers and some N more, except where the quantiles of the logits are among similarities
/// that hardly differ: these are held, 2 GiB of them if none of 16,384 samples differ.
pub const MAX_SAMPLES: usize = 16_384;

/// One of the two encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modality {
    Img,
    Txt,
}

impl Modality {
    /// The suffix of names that belong to this modality.
    pub fn name(self) -> &'static str {
        match self {
            Modality::Img => "img",
            Modality::Txt => "txt",
        }
    }
}

/// Why embeddings cannot be evaluated at all.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvaluationError {
    #[error("no embeddings to evaluate (dimension {dimension})")]
    Empty { dimension: usize },
    #[error("an evaluation needs at least two samples, got one")]
    OneSample,
    #[error("{samples} samples are too many to compare all with all, the most is {MAX_SAMPLES}")]
    TooMany { samples: usize },
    #[error("{len} values of {} do not form rows of {dimension}", modality.name())]
    Ragged { modality: Modality, len: usize, dimension: usize },
    #[error("{img} image embeddings cannot be paired with {txt} text embeddings")]
    Unpaired { img: usize, txt: usize },
    #[error("embedding of sample {sample} in {} has {value} at coordinate {coordinate}", modality.name())]
    NotFinite { modality: Modality, sample: usize, coordinate: usize, value: f32 },
    #[error("{len} values of {variable} for {samples} samples")]
    Labels { variable: String, len: usize, samples: usize },
    #[error("sample {sample} has {value} as its {variable}")]
    LabelNotFinite { variable: String, sample: usize, value: f64 },
}

/// Paired embeddings of N samples in D dimensions; row i of both modalities is one pair.
///
/// ```
/// use cliffline::metric::{Evaluation, Modality};
/// let evaluation = Evaluation::new(&[3.0, 4.0, 0.0, 2.0], &[1.0, 1.0, 0.0, 5.0], 2, 0.07)?;
/// assert_eq!(evaluation.samples(), 2);
/// assert_eq!(evaluation.z_f32(Modality::Img), [0.6, 0.8, 0.0, 1.0]);
/// # Ok::<(), cliffline::metric::EvaluationError>(())
/// ```
#[derive(Debug)]
pub struct Evaluation {
    samples: usize,
    dimension: usize,
    temperature: f64,
    context: Context,
    /// Of each variable.
    groups: OnceLock<[Vec<Result<Groups, MetricError>>; 2]>,
    img: Embeddings,
    txt: Embeddings,
    permutations: OnceLock<Vec<u32>>,
    ranks: OnceLock<Result<[Vec<f64>; 2], MetricError>>,
    comparison: OnceLock<Result<Comparison, MetricError>>,
}

/// The embeddings of one modality.
#[derive(Debug)]
struct Embeddings {
    z: Vec<f64>,
    raw_norms: Vec<f64>,
    centred: OnceLock<Result<Vec<f64>, MetricError>>,
    covariance: OnceLock<Result<Vec<f64>, MetricError>>,
    spectrum: OnceLock<Result<Vec<f64>, MetricError>>,
}

impl Evaluation {
    /// Normalises raw embeddings.
    ///
    /// **Shapes** `raw_img` and `raw_txt` `[N, D]` row-major with D = `dimension`, N >= 2; `temperature` divides
    /// cosines to give logits; what it cannot divide has no logits, and everything else.
    /// **Errors** no samples, one sample, more than [`MAX_SAMPLES`]; lengths that do not fit; a value that is not
    /// finite, with its place.
    /// **Numerics** z = u / sqrt(sum u^2 + [`NORM_GUARD`](linalg::NORM_GUARD)) in `f64`, rounded to `f32` and held as
    /// `f64`: whoever recomputes a metric from exported `f32` embeddings starts from the same numbers. Rounding moves
    /// the norm of z off 1, and so a cosine outside -1 to 1, by at most 1.2e-7.
    pub fn new(raw_img: &[f32], raw_txt: &[f32], dimension: usize, temperature: f64) -> Result<Self, EvaluationError> {
        let samples = require_rows(Modality::Img, raw_img, dimension)?;
        let txt = require_rows(Modality::Txt, raw_txt, dimension)?;
        if samples != txt {
            return Err(EvaluationError::Unpaired { img: samples, txt });
        }
        match samples {
            0 => return Err(EvaluationError::Empty { dimension }),
            1 => return Err(EvaluationError::OneSample),
            _ if samples > MAX_SAMPLES => return Err(EvaluationError::TooMany { samples }),
            _ => {}
        }
        let img = Embeddings::normalise(Modality::Img, raw_img, dimension)?;
        let txt = Embeddings::normalise(Modality::Txt, raw_txt, dimension)?;
        Ok(Self {
            samples,
            dimension,
            temperature,
            context: Context::default(),
            groups: OnceLock::new(),
            img,
            txt,
            permutations: OnceLock::new(),
            ranks: OnceLock::new(),
            comparison: OnceLock::new(),
        })
    }

    /// The same embeddings, with what else is known about their samples.
    ///
    /// **Errors** a variable whose values do not fit the samples or are not finite.
    pub fn with_context(mut self, context: Context) -> Result<Self, EvaluationError> {
        for Variable { name, values, .. } in context.variables.iter().chain(context.texts.iter().flatten()) {
            let (variable, len, samples) = (name.clone(), values.len(), self.samples);
            if len != samples {
                return Err(EvaluationError::Labels { variable, len, samples });
            }
            if let Some((sample, &value)) = values.iter().enumerate().find(|(_, x)| !x.is_finite()) {
                return Err(EvaluationError::LabelNotFinite { variable, sample, value });
            }
        }
        self.context = context;
        self.groups = OnceLock::new();
        self.permutations = OnceLock::new();
        Ok(self)
    }

    /// N, the number of pairs.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// D, the dimension of the shared embedding.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// What divides a cosine to give a logit.
    ///
    /// **Errors** one that leaves no finite logits.
    pub(super) fn temperature(&self) -> Result<f64, MetricError> {
        let divides = self.temperature > 0.0 && self.temperature.recip().is_finite() && self.temperature.is_finite();
        if divides { Ok(self.temperature) } else { Err(MetricError::Temperature(self.temperature)) }
    }

    /// What else is known about the samples.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// A known label of each sample.
    ///
    /// **Errors** no variable of that name.
    pub(super) fn variable(&self, modality: Modality, name: &str) -> Result<&Variable, MetricError> {
        Ok(&self.variables(modality)[self.place(modality, name)?])
    }

    /// What is known of each image, or of the text that it is paired with.
    fn variables(&self, modality: Modality) -> &[Variable] {
        match (modality, &self.context.texts) {
            (Modality::Txt, Some(texts)) => texts,
            _ => &self.context.variables,
        }
    }

    /// The samples of a modality by a variable, quantities in all of its bins.
    ///
    /// **Errors** no variable of that name; see [`Variable::groups`].
    pub(super) fn groups(&self, modality: Modality, name: &str) -> Result<&Groups, MetricError> {
        let at = self.place(modality, name)?;
        let of = |variables: &[Variable]| variables.iter().map(|variable| variable.groups(usize::MAX)).collect();
        let texts = self.context.texts.as_deref();
        let all = self.groups.get_or_init(|| [of(&self.context.variables), of(texts.unwrap_or_default())]);
        let side = if texts.is_some() { modality } else { Modality::Img };
        all[side as usize][at].as_ref().map_err(Clone::clone)
    }

    fn place(&self, modality: Modality, name: &str) -> Result<usize, MetricError> {
        let found = self.variables(modality).iter().position(|variable| variable.name == name);
        found.ok_or_else(|| MetricError::NoLabels { variable: name.to_string() })
    }

    /// Orders of the samples for null distributions, see [`null::permutations`].
    pub(super) fn permutations(&self) -> std::slice::ChunksExact<'_, u32> {
        let all = self.permutations.get_or_init(|| null::permutations(self.context.seed, self.samples));
        all.chunks_exact(self.samples)
    }

    /// Normalised embeddings, `[N, D]` row-major: `f32` values held as `f64`.
    pub fn z(&self, modality: Modality) -> &[f64] {
        &self.embeddings(modality).z
    }

    /// Normalised embeddings for export, `[N, D]` row-major: exactly the values of [`Self::z`].
    pub fn z_f32(&self, modality: Modality) -> Vec<f32> {
        self.z(modality).iter().map(|&x| x as f32).collect()
    }

    /// Euclidean norms `[N]` of the raw embeddings, without the guard.
    pub fn raw_norms(&self, modality: Modality) -> &[f64] {
        &self.embeddings(modality).raw_norms
    }

    /// An error when a raw embedding is shorter than [`NO_DIRECTION_NORM`]: metrics made of cosines ask this first.
    pub fn require_directions(&self, modality: Modality) -> Result<(), MetricError> {
        match self.raw_norms(modality).iter().enumerate().find(|(_, norm)| **norm < NO_DIRECTION_NORM) {
            Some((sample, &norm)) => Err(MetricError::NoDirection { modality, sample, norm }),
            None => Ok(()),
        }
    }

    /// Everything that metrics take from the cosines between images and texts, computed in one go.
    ///
    /// **Errors** an embedding without direction in either modality.
    /// **Numerics** each cosine is [`linalg::dot`] of its two rows of z, so equal embeddings tie exactly.
    pub(super) fn comparison(&self) -> Result<&Comparison, MetricError> {
        let computed = self.comparison.get_or_init(|| {
            self.require_directions(Modality::Img)?;
            self.require_directions(Modality::Txt)?;
            Ok(comparison::compare(Arch::new(), [&self.img.z, &self.txt.z], self.dimension)?)
        });
        computed.as_ref().map_err(Clone::clone)
    }

    /// Ranks of all partners, [`Way::ranks`](comparison::Way::ranks), from image to text and from text to image:
    /// from the comparison if there is one already, else for a part of its cost.
    pub(super) fn ranks(&self) -> Result<[&[f64]; 2], MetricError> {
        if let Some(Ok(comparison)) = self.comparison.get() {
            return Ok(comparison.ways.each_ref().map(|way| way.ranks.as_slice()));
        }
        let computed = self.ranks.get_or_init(|| {
            self.require_directions(Modality::Img)?;
            self.require_directions(Modality::Txt)?;
            Ok(comparison::ranks(Arch::new(), [&self.img.z, &self.txt.z], self.dimension))
        });
        computed.as_ref().map(|ranks| ranks.each_ref().map(Vec::as_slice)).map_err(Clone::clone)
    }

    /// z less its mean, `[N, D]`.
    ///
    /// **Errors** embeddings that are constant to `f32` rounding, see [`NO_VARIANCE`].
    pub(super) fn centred(&self, modality: Modality) -> Result<&[f64], MetricError> {
        let side = self.embeddings(modality);
        let computed = side.centred.get_or_init(|| {
            let mut centred = side.z.clone();
            let mean = self.mean(modality);
            for row in centred.chunks_exact_mut(self.dimension) {
                row.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= mean);
            }
            let total = centred.iter().map(|x| x * x).sum::<f64>() / (self.samples - 1) as f64;
            if total <= NO_VARIANCE { Err(MetricError::NoVariance { modality, total }) } else { Ok(centred) }
        });
        computed.as_deref().map_err(Clone::clone)
    }

    /// The mean of z, `[D]`.
    pub(super) fn mean(&self, modality: Modality) -> Vec<f64> {
        let mut mean = vec![0.0; self.dimension];
        for row in self.z(modality).chunks_exact(self.dimension) {
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        mean.iter_mut().for_each(|sum| *sum /= self.samples as f64);
        mean
    }

    /// Sample covariance of z, `[D, D]`, centred, divisor N - 1.
    pub fn covariance(&self, modality: Modality) -> Result<&[f64], MetricError> {
        let side = self.embeddings(modality);
        let computed = side.covariance.get_or_init(|| Ok(linalg::covariance(&side.z, self.dimension)?));
        computed.as_deref().map_err(Clone::clone)
    }

    /// Eigenvalues `[D]` of [`Self::covariance`], descending, none negative.
    ///
    /// **Errors** no convergence; an eigenvalue more negative than [`NEGATIVE_EIGENVALUE_TOLERANCE`] allows.
    pub fn spectrum(&self, modality: Modality) -> Result<&[f64], MetricError> {
        let side = self.embeddings(modality);
        let computed = side.spectrum.get_or_init(|| {
            let mut eigenvalues = linalg::symmetric_eigenvalues(self.covariance(modality)?, self.dimension)?;
            clamp_rounding(&mut eigenvalues)?;
            Ok(eigenvalues)
        });
        computed.as_deref().map_err(Clone::clone)
    }

    fn embeddings(&self, modality: Modality) -> &Embeddings {
        match modality {
            Modality::Img => &self.img,
            Modality::Txt => &self.txt,
        }
    }
}

impl Embeddings {
    fn normalise(modality: Modality, raw: &[f32], dimension: usize) -> Result<Self, EvaluationError> {
        if let Some((at, &value)) = raw.iter().enumerate().find(|(_, x)| !x.is_finite()) {
            let (sample, coordinate) = (at / dimension, at % dimension);
            return Err(EvaluationError::NotFinite { modality, sample, coordinate, value });
        }
        let mut z = Vec::with_capacity(raw.len());
        let mut raw_norms = Vec::with_capacity(raw.len() / dimension);
        for row in raw.chunks_exact(dimension) {
            let (unit, norm) = linalg::normalised(row);
            z.extend(unit);
            raw_norms.push(norm);
        }
        let (centred, covariance, spectrum) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Ok(Self { z, raw_norms, centred, covariance, spectrum })
    }
}

fn require_rows(modality: Modality, raw: &[f32], dimension: usize) -> Result<usize, EvaluationError> {
    if dimension == 0 {
        return Err(EvaluationError::Empty { dimension });
    }
    if !raw.len().is_multiple_of(dimension) {
        return Err(EvaluationError::Ragged { modality, len: raw.len(), dimension });
    }
    Ok(raw.len() / dimension)
}

fn clamp_rounding(descending: &mut [f64]) -> Result<(), MetricError> {
    let largest = descending.first().copied().unwrap_or(0.0);
    for eigenvalue in descending.iter_mut().filter(|x| **x <= 0.0) {
        if *eigenvalue < -NEGATIVE_EIGENVALUE_TOLERANCE * largest {
            return Err(MetricError::NegativeEigenvalue { eigenvalue: *eigenvalue, largest });
        }
        // Also turns a negative zero into zero.
        *eigenvalue = 0.0;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Scale;

    #[test]
    fn embeddings_are_unit_length_to_f32_rounding() {
        let evaluation = Evaluation::new(&[3.0, 4.0, -1e-3, 2e-3], &[1e20, 1e20, 5.0, 0.0], 2, 1.0).unwrap();
        assert_eq!(evaluation.z(Modality::Img)[..2], [f64::from(0.6f32), f64::from(0.8f32)]);
        for modality in [Modality::Img, Modality::Txt] {
            for row in evaluation.z(modality).chunks_exact(2) {
                // The guard shortens a vector of norm 2e-3 by 1e-7 of its length, as much as rounding to f32 may.
                assert!((linalg::dot(row, row) - 1.0).abs() < 4e-7, "{row:?}");
            }
        }
        assert_eq!(evaluation.raw_norms(Modality::Img)[0], 5.0);
    }

    #[test]
    fn a_zero_embedding_stays_zero_and_has_no_direction() {
        let evaluation = Evaluation::new(&[1.0, 0.0, 0.0, 0.0], &[1.0, 0.0, 0.0, 1.0], 2, 1.0).unwrap();
        assert_eq!(evaluation.z(Modality::Img)[2..], [0.0, 0.0]);
        let expected = MetricError::NoDirection { modality: Modality::Img, sample: 1, norm: 0.0 };
        assert_eq!(evaluation.require_directions(Modality::Img), Err(expected.clone()));
        assert_eq!(evaluation.ranks(), Err(expected.clone()));
        assert_eq!(evaluation.comparison(), Err(expected));
        assert_eq!(evaluation.require_directions(Modality::Txt), Ok(()));
        assert!(evaluation.covariance(Modality::Img).is_ok());
    }

    #[test]
    fn input_that_cannot_be_evaluated_says_why() {
        let new = |img: &[f32], txt: &[f32], d| Evaluation::new(img, txt, d, 1.0).unwrap_err();
        assert_eq!(new(&[], &[], 2), EvaluationError::Empty { dimension: 2 });
        assert_eq!(new(&[1.0], &[1.0], 0), EvaluationError::Empty { dimension: 0 });
        assert_eq!(new(&[1.0, 2.0], &[1.0, 2.0], 2), EvaluationError::OneSample);
        let ragged = EvaluationError::Ragged { modality: Modality::Txt, len: 3, dimension: 2 };
        assert_eq!(new(&[1.0; 4], &[1.0; 3], 2), ragged);
        assert_eq!(new(&[1.0; 4], &[1.0; 6], 2), EvaluationError::Unpaired { img: 2, txt: 3 });
        let many = vec![1.0; MAX_SAMPLES + 1];
        assert_eq!(new(&many, &many, 1), EvaluationError::TooMany { samples: MAX_SAMPLES + 1 });
        let bad = new(&[1.0; 4], &[1.0, 1.0, 1.0, f32::INFINITY], 2);
        insta::assert_snapshot!(bad, @"embedding of sample 1 in txt has inf at coordinate 1");
    }

    #[test]
    fn labels_that_do_not_fit_say_why() {
        let with = |values: Vec<f64>| {
            let variables = vec![Variable { name: "phase".into(), values, scale: Scale::Kinds }];
            let evaluation = Evaluation::new(&[1.0; 4], &[1.0; 4], 2, 1.0).unwrap();
            evaluation.with_context(Context { variables, ..Context::default() })
        };
        insta::assert_snapshot!(with(vec![1.0; 3]).unwrap_err(), @"3 values of phase for 2 samples");
        insta::assert_snapshot!(with(vec![1.0, f64::NAN]).unwrap_err(), @"sample 1 has NaN as its phase");
        assert!(with(vec![1.0, 2.0]).is_ok());
    }

    #[test]
    fn only_rounding_is_clamped() {
        let mut rounding = [2.0, 1e-17, -0.0, -1e-13];
        assert_eq!(clamp_rounding(&mut rounding), Ok(()));
        assert_eq!(rounding, [2.0, 1e-17, 0.0, 0.0]);
        assert!(rounding.iter().all(|x| x.is_sign_positive()));
        let mut wrong = [2.0, -1e-6];
        let expected = MetricError::NegativeEigenvalue { eigenvalue: -1e-6, largest: 2.0 };
        assert_eq!(clamp_rounding(&mut wrong), Err(expected));
    }
}
