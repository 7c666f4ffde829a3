//! Ridge-penalised multinomial logistic regression.

use faer::linalg::solvers::{Llt, Solve};
use faer::{Mat, MatRef, Side};
use serde::{Deserialize, Serialize};

use super::linalg::dot;

/// Newton steps at most: a strictly convex problem of this kind is solved in about ten.
const MOST_STEPS: usize = 100;
/// A step that changes no coefficient by more than this ends the search: far below what a probability is read to.
const TOLERANCE: f64 = 1e-9;
/// A step whose gain rounding can hide: the loss is flat there to the square of it.
const ROUNDING: f64 = 1e-6;
/// Halvings of a step that does not lower the loss.
const MOST_HALVINGS: usize = 40;
/// The penalty of intercepts as a share of that of weights: it makes the one of many equal solutions unique, and moves no
/// probability that is read.
const INTERCEPT_SHARE: f64 = 1e-6;

/// A fitted model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logistic {
    /// `[K]`
    pub intercepts: Vec<f64>,
    /// `[K][p]`
    pub weights: Vec<Vec<f64>>,
}

/// Why no model was fitted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LogisticError {
    #[error("rows have {found} features where the first has {expected}")]
    Ragged { expected: usize, found: usize },
    #[error("{rows} rows, {labels} labels and {weights} weights do not fit together")]
    Lengths { rows: usize, labels: usize, weights: usize },
    #[error("no row has the label {0}")]
    NoRows(usize),
    #[error("a label is {label}, of {classes}")]
    UnknownLabel { label: usize, classes: usize },
    #[error("a feature, a weight or the penalty is not finite, or a penalty or weight is not above 0")]
    NotFinite,
    #[error("Newton's method did not end within {MOST_STEPS} steps")]
    NoConvergence,
}

impl Logistic {
    /// The probability of each label, `[K]`; they add up to 1.
    pub fn probabilities(&self, row: &[f64]) -> Vec<f64> {
        let scores: Vec<f64> = self.intercepts.iter().zip(&self.weights).map(|(b, w)| b + dot(w, row)).collect();
        softmax(&scores)
    }
}

/// The model with the least `-sum_i w_i log p_i + ridge / 2 |weights|^2`, where `p_i` is the probability of a row's own label.
///
/// **Shapes** `rows` `[n][p]`, `labels` `[n]` below `classes`, `sample_weights` `[n]`.
/// **Errors** shapes that do not fit; a label without rows; values that are not finite; a penalty or a weight that is not above
/// 0.
/// **Numerics** Newton's method with halved steps on all coefficients together, to 1e-9 in every one. The penalty, a
/// millionth of it on the intercepts, makes the solution unique, also where planes separate the labels.
/// **Source** Böhning 1992; the penalty le Cessie and van Houwelingen 1992.
pub fn fit(
    rows: &[Vec<f64>],
    labels: &[usize],
    classes: usize,
    sample_weights: &[f64],
    ridge: f64,
) -> Result<Logistic, LogisticError> {
    check(rows, labels, classes, sample_weights, ridge)?;
    let width = rows.first().map_or(0, Vec::len) + 1;
    // An intercept is the weight of a feature that is 1.
    let rows: Vec<Vec<f64>> =
        rows.iter().map(|row| std::iter::once(1.0).chain(row.iter().copied()).collect()).collect();
    let problem = Problem { rows: &rows, labels, classes, sample_weights, ridge, width };
    let mut at = vec![0.0; classes * width];
    let mut loss = problem.loss(&at);
    for _ in 0..MOST_STEPS {
        let step = problem.newton_step(&at).ok_or(LogisticError::NoConvergence)?;
        let mut share = 1.0;
        let (next, next_loss) = (0..MOST_HALVINGS)
            .map(|_| {
                let next: Vec<f64> = at.iter().zip(&step).map(|(x, d)| x - share * d).collect();
                share *= 0.5;
                let loss = problem.loss(&next);
                (next, loss)
            })
            .find(|(_, next)| *next <= loss)
            // Where rounding hides what is left to gain, the whole step is as small as that.
            .or_else(|| step.iter().all(|d| d.abs() < ROUNDING).then(|| (at.clone(), loss)))
            .ok_or(LogisticError::NoConvergence)?;
        let moved = at.iter().zip(&next).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        (at, loss) = (next, next_loss);
        if moved < TOLERANCE {
            let intercepts = at.chunks_exact(width).map(|class| class[0]).collect();
            let weights = at.chunks_exact(width).map(|class| class[1..].to_vec()).collect();
            return Ok(Logistic { intercepts, weights });
        }
    }
    Err(LogisticError::NoConvergence)
}

fn check(
    rows: &[Vec<f64>],
    labels: &[usize],
    classes: usize,
    weights: &[f64],
    ridge: f64,
) -> Result<(), LogisticError> {
    let n = rows.len();
    if labels.len() != n || weights.len() != n {
        return Err(LogisticError::Lengths { rows: n, labels: labels.len(), weights: weights.len() });
    }
    let p = rows.first().map_or(0, Vec::len);
    if let Some(row) = rows.iter().find(|row| row.len() != p) {
        return Err(LogisticError::Ragged { expected: p, found: row.len() });
    }
    if let Some(label) = labels.iter().find(|label| **label >= classes) {
        return Err(LogisticError::UnknownLabel { label: *label, classes });
    }
    if let Some(none) = (0..classes).find(|class| !labels.contains(class)) {
        return Err(LogisticError::NoRows(none));
    }
    let positive = |x: &f64| x.is_finite() && *x > 0.0;
    if !rows.iter().flatten().all(|x| x.is_finite()) || !weights.iter().all(positive) || !positive(&ridge) {
        return Err(LogisticError::NotFinite);
    }
    Ok(())
}

struct Problem<'a> {
    /// With a 1 before the features.
    rows: &'a [Vec<f64>],
    labels: &'a [usize],
    classes: usize,
    sample_weights: &'a [f64],
    ridge: f64,
    width: usize,
}

impl Problem<'_> {
    fn scores(&self, at: &[f64], row: &[f64]) -> Vec<f64> {
        at.chunks_exact(self.width).map(|class| dot(class, row)).collect()
    }

    fn penalty(&self, coefficient: usize) -> f64 {
        if coefficient.is_multiple_of(self.width) { INTERCEPT_SHARE * self.ridge } else { self.ridge }
    }

    fn loss(&self, at: &[f64]) -> f64 {
        let own = |((row, label), weight): ((&Vec<f64>, &usize), &f64)| {
            let scores = self.scores(at, row);
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|score| (score - most).exp()).sum();
            weight * (most + total.ln() - scores[*label])
        };
        let fit: f64 = self.rows.iter().zip(self.labels).zip(self.sample_weights).map(own).sum();
        fit + at.iter().enumerate().map(|(k, x)| 0.5 * self.penalty(k) * x * x).sum::<f64>()
    }

    /// What Newton's method takes away from `at`; none where the curvature is not positive to rounding.
    fn newton_step(&self, at: &[f64]) -> Option<Vec<f64>> {
        let (size, width) = (at.len(), self.width);
        let (mut gradient, mut hessian) = (vec![0.0; size], vec![0.0; size * size]);
        for ((row, label), weight) in self.rows.iter().zip(self.labels).zip(self.sample_weights) {
            let p = softmax(&self.scores(at, row));
            for a in 0..self.classes {
                let slope = weight * (p[a] - f64::from(u8::from(a == *label)));
                row.iter().enumerate().for_each(|(i, x)| gradient[a * width + i] += slope * x);
                for b in 0..=a {
                    let curvature = weight * p[a] * (f64::from(u8::from(a == b)) - p[b]);
                    for (i, x) in row.iter().enumerate() {
                        let into = &mut hessian[(a * width + i) * size + b * width..][..width];
                        into.iter_mut().zip(row).for_each(|(h, y)| *h += curvature * x * y);
                    }
                }
            }
        }
        for k in 0..size {
            gradient[k] += self.penalty(k) * at[k];
            hessian[k * size + k] += self.penalty(k);
        }
        let factor = Llt::new(MatRef::from_row_major_slice(&hessian, size, size), Side::Lower).ok()?;
        let step = factor.solve(Mat::from_fn(size, 1, |row, _| gradient[row]));
        Some(step.col(0).iter().copied().collect())
    }
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shares: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
    let total: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::stream::Streams;

    /// 90 rows of three features, of which two tell the three labels.
    fn sample() -> (Vec<Vec<f64>>, Vec<usize>) {
        let streams = Streams::new(5, "test of logistic regression");
        let row = |i: u64| {
            let mut draws = streams.item(i);
            let row: Vec<f64> = (0..3).map(|_| draws.normal()).collect();
            let noisy = row[0] + 0.5 * draws.normal();
            let label = if noisy > 0.6 { 0 } else { 1 + usize::from(row[1] + 0.5 * draws.normal() > 0.0) };
            (row, label)
        };
        (0..90).map(row).unzip()
    }

    #[test]
    fn the_gradient_vanishes_at_the_solution() {
        let (rows, labels) = sample();
        let weights: Vec<f64> = (0..90).map(|i| if i % 2 == 0 { 1.0 } else { 0.5 }).collect();
        let model = fit(&rows, &labels, 3, &weights, 0.7).expect("converges");
        for class in 0..3 {
            let mut gradient = [0.0; 4];
            for ((row, label), weight) in rows.iter().zip(&labels).zip(&weights) {
                let slope = weight * (model.probabilities(row)[class] - f64::from(u8::from(*label == class)));
                gradient[0] += slope;
                (0..3).for_each(|k| gradient[k + 1] += slope * row[k]);
            }
            gradient[0] += 0.7 * INTERCEPT_SHARE * model.intercepts[class];
            (0..3).for_each(|k| gradient[k + 1] += 0.7 * model.weights[class][k]);
            assert!(gradient.iter().all(|g| g.abs() < 1e-7), "{class}: {gradient:?}");
        }
        assert!(model.weights[0][0] > 0.5 && model.weights[2][1] > model.weights[1][1] + 0.5, "{model:?}");
    }

    #[test]
    fn two_labels_and_one_feature_by_hand() {
        // Four rows at -1 and at 1, three of four alike on either side: without a penalty the odds at 1 are 3 to 1.
        let rows: Vec<Vec<f64>> = [-1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0].map(|x| vec![x]).into();
        let labels = [0, 0, 0, 1, 1, 1, 1, 0];
        let model = fit(&rows, &labels, 2, &[1.0; 8], 1e-9).expect("converges");
        assert!((model.weights[1][0] - model.weights[0][0] - 3f64.ln()).abs() < 1e-7, "{model:?}");
        assert!((model.probabilities(&[1.0])[1] - 0.75).abs() < 1e-8);
    }

    #[test]
    fn separated_labels_have_a_finite_solution() {
        let rows: Vec<Vec<f64>> = (0..10).map(|i| vec![f64::from(i) - 4.5]).collect();
        let labels: Vec<usize> = (0..10).map(|i| usize::from(i >= 5)).collect();
        let model = fit(&rows, &labels, 2, &[1.0; 10], 0.1).expect("converges");
        assert!(model.weights[1][0].is_finite() && model.probabilities(&[4.5])[1] > 0.99);
    }

    #[test]
    fn what_cannot_be_fitted_says_why() {
        let rows = vec![vec![1.0], vec![2.0]];
        assert_eq!(fit(&rows, &[1, 1], 2, &[1.0; 2], 1.0), Err(LogisticError::NoRows(0)));
        assert_eq!(fit(&rows, &[0, 1], 2, &[1.0; 2], 0.0), Err(LogisticError::NotFinite));
        assert_eq!(fit(&rows, &[0, 2], 2, &[1.0; 2], 1.0), Err(LogisticError::UnknownLabel { label: 2, classes: 2 }));
        let ragged = vec![vec![1.0], vec![2.0, 3.0]];
        let error = fit(&ragged, &[0, 1], 2, &[1.0; 2], 1.0);
        assert_eq!(error, Err(LogisticError::Ragged { expected: 1, found: 2 }));
        assert!(matches!(fit(&rows, &[0], 2, &[1.0; 2], 1.0), Err(LogisticError::Lengths { .. })));
    }
}
