//! Probes: how well a factor can be read off raw features.
//!
//! Both are kernel ridge regressions, of which the linear kernel gives ordinary ridge regression and the Gaussian
//! kernel a small nonlinear model. Neither has anything to draw or to tune, so a probe is a function of the data.

use faer::prelude::Solve;
use faer::{Mat, MatRef, Side};

use crate::world::Modality;
use crate::world::factors::{Factor, Factors, Shape};

/// Training samples a probe uses at most. Solving is cubic in them; the whole check takes seconds at this size.
pub(crate) const TRAINING_SAMPLES: usize = 1500;
/// Evaluation samples a probe uses at most.
const EVALUATION_SAMPLES: usize = 4096;
/// Ridge, relative to a kernel whose diagonal is of order 1. Small against the variance that a factor causes, large
/// against the rounding of a Cholesky factorisation of this size.
const RIDGE: f64 = 1e-3;
/// Samples over whose pairs the width of the Gaussian kernel is taken.
const WIDTH_SAMPLES: usize = 200;

/// The kind of probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    Linear,
    Nonlinear,
}

/// What a score is: 1 is perfect; at 0 of `r_squared`, and at the chance level of `accuracy`, nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    RSquared,
    Accuracy,
}

/// How well one factor is read off one modality.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Probe {
    pub factor: Factor,
    pub modality: Modality,
    pub kind: ProbeKind,
    pub score: Score,
    /// `None` when there is nothing to score; `missing` then says why.
    pub value: Option<f64>,
    pub missing: Option<String>,
    /// The score of a probe that ignores the features: 0 for R squared, for accuracy that of always answering the
    /// most frequent shape of the training samples.
    pub chance: f64,
    pub n_train: usize,
    pub n_eval: usize,
}

/// Features of a split in one modality with the factors behind them: `x` is `[N, P]` row by row.
#[derive(Clone, Copy)]
pub(crate) struct Sample<'a> {
    pub x: &'a [f32],
    pub factors: &'a [Factors],
}

impl<'a> Sample<'a> {
    fn first(self, n: usize) -> Self {
        let keep = self.factors.len().min(n);
        let p = self.x.len() / self.factors.len().max(1);
        Self { x: &self.x[..keep * p], factors: &self.factors[..keep] }
    }

    fn matrix(self) -> Mat<f64> {
        let (n, p) = (self.factors.len(), self.x.len() / self.factors.len().max(1));
        Mat::from_fn(n, p, |i, j| f64::from(self.x[i * p + j]))
    }
}

/// Fits both probes on `train` and scores every factor on `eval`. Uses the first [`TRAINING_SAMPLES`] of the former.
pub(crate) fn probes(modality: Modality, train: Sample, eval: Sample) -> Vec<Probe> {
    let (train, eval) = (train.first(TRAINING_SAMPLES), eval.first(EVALUATION_SAMPLES));
    let (x, x_eval) = (train.matrix(), eval.matrix());
    let targets = Mat::from_fn(train.factors.len(), TARGETS, |i, k| target(&train.factors[i], k));
    let truth = Mat::from_fn(eval.factors.len(), TARGETS, |i, k| target(&eval.factors[i], k));
    let mut out = Vec::new();
    for kind in [ProbeKind::Linear, ProbeKind::Nonlinear] {
        let predicted = kernel_ridge(kind, x.as_ref(), targets.as_ref(), x_eval.as_ref());
        for factor in Factor::ALL {
            let scored = match &predicted {
                Ok(predicted) => score(factor, predicted.as_ref(), truth.as_ref()),
                Err(reason) => Err(reason.clone()),
            };
            let is_shape = factor == Factor::Shape;
            out.push(Probe {
                factor,
                modality,
                kind,
                score: if is_shape { Score::Accuracy } else { Score::RSquared },
                value: scored.as_ref().ok().copied(),
                missing: scored.err(),
                chance: if is_shape { majority_accuracy(train.factors, eval.factors) } else { 0.0 },
                n_train: train.factors.len(),
                n_eval: eval.factors.len(),
            });
        }
    }
    out
}

/// Columns of the regression: four indicators of shape, then cos and sin of a circular factor or the factor itself.
const TARGETS: usize = 10;

fn columns(factor: Factor) -> std::ops::Range<usize> {
    match factor {
        Factor::Shape => 0..4,
        Factor::Orientation => 4..6,
        Factor::Frequency => 6..7,
        Factor::Phase => 7..9,
        Factor::Thickness => 9..10,
    }
}

fn target(f: &Factors, column: usize) -> f64 {
    match column {
        0..4 => f64::from(u8::from(f.shape as usize == column)),
        4 => libm::cos(f.orientation),
        5 => libm::sin(f.orientation),
        6 => f.frequency,
        7 => libm::cos(f.phase),
        8 => libm::sin(f.phase),
        _ => f.thickness,
    }
}

/// Accuracy for shape, mean R squared over the columns of the other factors.
fn score(factor: Factor, predicted: MatRef<f64>, truth: MatRef<f64>) -> Result<f64, String> {
    let (n, columns) = (truth.nrows(), columns(factor));
    if n < 2 {
        return Err(format!("{n} evaluation samples are too few to score"));
    }
    if factor == Factor::Shape {
        let right = (0..n).filter(|&i| {
            let best = columns.clone().max_by(|&a, &b| predicted[(i, a)].total_cmp(&predicted[(i, b)]));
            best.is_some_and(|best| truth[(i, best)] == 1.0)
        });
        return Ok(right.count() as f64 / n as f64);
    }
    mean_r_squared(columns, predicted, truth)
        .ok_or_else(|| format!("{} is constant over the evaluation samples", factor.name()))
}

/// R squared averaged over columns; `None` when one is constant.
fn mean_r_squared(columns: std::ops::Range<usize>, predicted: MatRef<f64>, truth: MatRef<f64>) -> Option<f64> {
    let n = truth.nrows();
    let mut sum = 0.0;
    for k in columns.clone() {
        let mean = (0..n).map(|i| truth[(i, k)]).sum::<f64>() / n as f64;
        let total: f64 = (0..n).map(|i| (truth[(i, k)] - mean).powi(2)).sum();
        let residual: f64 = (0..n).map(|i| (truth[(i, k)] - predicted[(i, k)]).powi(2)).sum();
        // Constant up to the rounding of the mean: there is no variance to explain.
        if total <= n as f64 * (mean * 1e-12).powi(2) {
            return None;
        }
        sum += 1.0 - residual / total;
    }
    Some(sum / columns.len() as f64)
}

/// How well a linear probe reads targets off features: fitted on the first [`TRAINING_SAMPLES`] of `train`.
///
/// **Shapes.** Features `[N, P]` and targets `[N, K]`, row by row; both of `train`, then of `eval`.
///
/// **Returns.** R squared, averaged over the targets: at most 1, and 0 for a probe that ignores the features.
///
/// **Errors** with the reason when there is nothing to fit or to score.
pub(crate) fn linear_r_squared(
    train: (&[f32], &[f64]),
    eval: (&[f32], &[f64]),
    targets_per_sample: usize,
) -> Result<f64, String> {
    let matrices = |(x, targets): (&[f32], &[f64]), most: usize| {
        let all = targets.len() / targets_per_sample.max(1);
        let (n, p) = (all.min(most), x.len() / all.max(1));
        let targets = Mat::from_fn(n, targets_per_sample, |i, k| targets[i * targets_per_sample + k]);
        (Mat::from_fn(n, p, |i, j| f64::from(x[i * p + j])), targets)
    };
    let ((x, targets), (x_eval, truth)) = (matrices(train, TRAINING_SAMPLES), matrices(eval, EVALUATION_SAMPLES));
    let predicted = kernel_ridge(ProbeKind::Linear, x.as_ref(), targets.as_ref(), x_eval.as_ref())?;
    mean_r_squared(0..targets_per_sample, predicted.as_ref(), truth.as_ref())
        .ok_or_else(|| "a target is constant over the evaluation samples".into())
}

fn majority_accuracy(train: &[Factors], eval: &[Factors]) -> f64 {
    let count = |factors: &[Factors], shape| factors.iter().filter(|f| f.shape == shape).count();
    let majority = Shape::ALL.into_iter().max_by_key(|&shape| count(train, shape)).unwrap_or(Shape::Disc);
    count(eval, majority) as f64 / eval.len().max(1) as f64
}

/// Ridge regression of `targets` on `x` in the space of a kernel, evaluated at `x_eval`.
///
/// **Shapes.** `x` is `[N, P]`, `targets` `[N, K]`, `x_eval` `[M, P]`; returns `[M, K]`.
///
/// **Errors** with the reason when there are fewer than two training samples or the features do not vary.
///
/// **Numerics.** Dual form in f64: Cholesky of the N x N kernel matrix plus a ridge. Features and targets are centred
/// by their training means. Both kernels are scaled to a mean diagonal of 1, so that one ridge fits both; the
/// width of the Gaussian one is the median distance between training samples.
///
/// **Source.** Saunders, Gammerman and Vovk (1998).
fn kernel_ridge(
    kind: ProbeKind,
    x: MatRef<f64>,
    targets: MatRef<f64>,
    x_eval: MatRef<f64>,
) -> Result<Mat<f64>, String> {
    let (n, p) = (x.nrows(), x.ncols());
    if n < 2 {
        return Err(format!("{n} training samples are too few to fit a probe"));
    }
    let means = |m: MatRef<f64>| -> Vec<f64> {
        (0..m.ncols()).map(|j| (0..n).map(|i| m[(i, j)]).sum::<f64>() / n as f64).collect()
    };
    let (mean, target_mean) = (means(x), means(targets));
    let x = Mat::from_fn(n, p, |i, j| x[(i, j)] - mean[j]);
    let x_eval = Mat::from_fn(x_eval.nrows(), p, |i, j| x_eval[(i, j)] - mean[j]);
    let centred = Mat::from_fn(n, targets.ncols(), |i, k| targets[(i, k)] - target_mean[k]);

    let (mut kernel, cross) = match kind {
        ProbeKind::Linear => linear_kernels(&x, &x_eval)?,
        ProbeKind::Nonlinear => gaussian_kernels(&x, &x_eval)?,
    };
    for i in 0..n {
        kernel[(i, i)] += RIDGE;
    }
    let factor = kernel.llt(Side::Lower).map_err(|e| format!("the kernel matrix has no Cholesky factor: {e:?}"))?;
    let mut predicted = cross * factor.solve(&centred);
    for (k, mean) in target_mean.iter().enumerate() {
        for i in 0..predicted.nrows() {
            predicted[(i, k)] += mean;
        }
    }
    Ok(predicted)
}

fn squared_lengths(x: &Mat<f64>) -> Vec<f64> {
    (0..x.nrows()).map(|i| (0..x.ncols()).map(|j| x[(i, j)] * x[(i, j)]).sum()).collect()
}

/// Kernel matrices `(training x training, evaluation x training)` of inner products, scaled to a mean diagonal of 1.
fn linear_kernels(x: &Mat<f64>, x_eval: &Mat<f64>) -> Result<(Mat<f64>, Mat<f64>), String> {
    let scale = squared_lengths(x).iter().sum::<f64>() / x.nrows() as f64;
    if scale <= 0.0 {
        return Err("the features are constant over the training samples".into());
    }
    let scaled = Mat::from_fn(x.nrows(), x.ncols(), |i, j| x[(i, j)] / scale);
    Ok((&scaled * x.transpose(), x_eval * scaled.transpose()))
}

/// Kernel matrices `exp(-|a - b|^2 / median)`, with the median squared distance between training samples.
fn gaussian_kernels(x: &Mat<f64>, x_eval: &Mat<f64>) -> Result<(Mat<f64>, Mat<f64>), String> {
    let distances = |a: &Mat<f64>, b: &Mat<f64>| {
        let (in_a, in_b) = (squared_lengths(a), squared_lengths(b));
        let mut out = a * b.transpose();
        for j in 0..out.ncols() {
            for i in 0..out.nrows() {
                out[(i, j)] = (in_a[i] + in_b[j] - 2.0 * out[(i, j)]).max(0.0);
            }
        }
        out
    };
    let (mut kernel, mut cross) = (distances(x, x), distances(x_eval, x));
    let few = x.nrows().min(WIDTH_SAMPLES);
    let mut pairs: Vec<f64> = (0..few).flat_map(|j| (0..j).map(move |i| (i, j))).map(|at| kernel[at]).collect();
    pairs.sort_by(f64::total_cmp);
    let median = pairs[pairs.len() / 2];
    if median <= 0.0 {
        return Err("most training samples have the same features".into());
    }
    for matrix in [&mut kernel, &mut cross] {
        for j in 0..matrix.ncols() {
            for i in 0..matrix.nrows() {
                matrix[(i, j)] = libm::exp(-matrix[(i, j)] / median);
            }
        }
    }
    Ok((kernel, cross))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::stream::Streams;

    fn factors(n: u64) -> Vec<Factors> {
        let streams = Streams::new(0, "test");
        (0..n).map(|i| Factors::draw(&mut streams.item(i))).collect()
    }

    /// Scores of both kinds of probe for `factor`, from the features that `of` makes of each sample.
    fn scores(factor: Factor, of: impl Fn(&Factors) -> Vec<f32>) -> Vec<Probe> {
        let all = factors(600);
        let x: Vec<f32> = all.iter().flat_map(&of).collect();
        let cut = 400 * x.len() / 600;
        let train = Sample { x: &x[..cut], factors: &all[..400] };
        let eval = Sample { x: &x[cut..], factors: &all[400..] };
        probes(Modality::Image, train, eval).into_iter().filter(|p| p.factor == factor).collect()
    }

    #[test]
    fn linear_probe_is_ridge_regression_in_closed_form() {
        // One feature: the weight is sum(x y) / (sum(x^2) + ridge * mean(x^2)) around the means.
        let (x, y) = ([1.0, 2.0, 4.0, 7.0], [0.5, 1.0, 3.0, 3.5]);
        let column = |values: [f64; 4]| Mat::from_fn(4, 1, |i, _| values[i]);
        let predicted = kernel_ridge(
            ProbeKind::Linear,
            column(x).as_ref(),
            column(y).as_ref(),
            Mat::from_fn(1, 1, |_, _| 5.0).as_ref(),
        )
        .expect("features that vary");
        // Deviations of x: -2.5 -1.5 0.5 3.5, squares sum to 21; of y: -1.5 -1 1 1.5, products sum to 11.
        let expected = 2.0 + 1.5 * 11.0 / (21.0 + RIDGE * 21.0 / 4.0);
        // Rounding of a 4 x 4 solve with a condition number of 4 / RIDGE.
        assert!((predicted[(0, 0)] - expected).abs() < 1e-11);
    }

    #[test]
    fn features_that_are_the_factor_are_read_and_features_that_are_not_are_not() {
        for probe in scores(Factor::Frequency, |f| vec![f.frequency as f32]) {
            assert!(probe.value.is_some_and(|v| v > 0.999), "{probe:?}");
        }
        for probe in scores(Factor::Phase, |f| vec![f.phase.cos() as f32, f.phase.sin() as f32]) {
            assert!(probe.value.is_some_and(|v| v > 0.999), "{probe:?}");
        }
        for probe in scores(Factor::Thickness, |f| vec![f.frequency as f32, f.phase as f32]) {
            assert!(probe.value.is_some_and(|v| v < 0.1), "{probe:?}");
        }
        for probe in scores(Factor::Shape, |f| vec![f.frequency as f32]) {
            assert!(probe.value.is_some_and(|v| v < probe.chance + 0.15) && probe.chance < 0.35, "{probe:?}");
        }
    }

    #[test]
    fn only_the_nonlinear_probe_reads_a_square() {
        let [linear, nonlinear] = &scores(Factor::Frequency, |f| {
            // The sign hides the factor from any line.
            let sign = if f.phase < 3.0 { 1.0 } else { -1.0 };
            vec![(sign * f.frequency) as f32]
        })[..] else {
            panic!("two probes")
        };
        assert!(linear.value.is_some_and(|v| v < 0.1), "{linear:?}");
        assert!(nonlinear.value.is_some_and(|v| v > 0.9), "{nonlinear:?}");
    }

    #[test]
    fn nothing_to_fit_or_to_score_is_missing_with_a_reason() {
        for probe in scores(Factor::Shape, |_| vec![3.0]) {
            assert!(probe.value.is_none() && probe.missing.is_some(), "{probe:?}");
        }
        let few = factors(20);
        let x: Vec<f32> = few.iter().map(|f| f.frequency as f32).collect();
        let of = |n: usize| Sample { x: &x[..n], factors: &few[..n] };
        for (train, eval) in [(of(1), of(20)), (of(20), of(1)), (of(0), of(0))] {
            for probe in probes(Modality::Image, train, eval) {
                assert!(probe.value.is_none() && probe.missing.is_some(), "{probe:?}");
            }
        }
        let same = vec![few[0]; 20];
        for probe in probes(Modality::Image, of(20), Sample { x: &x, factors: &same }) {
            assert_eq!(probe.value.is_none(), probe.factor != Factor::Shape, "{probe:?}");
        }
    }
}
