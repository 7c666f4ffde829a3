//! The aligner again, for one cell, in plain f64 loops: the independent reference that gradients and losses are
//! checked against. Written from the definitions, not from the tensor program; slow on purpose.
//!
//! It computes with [dual numbers](super::dual), so a gradient is the exact derivative of what is written here.

use super::dual::{Dual, Rounded};
use super::parameters::{HostEncoder, Widths};
use super::regulariser::active;
use crate::numerics::linalg::NORM_GUARD;
use crate::spec::config::TrainConfig;

/// One cell at a minibatch.
#[derive(Clone, Debug)]
pub struct Reference<'a> {
    encoders: [Encoder<'a>; 2],
    /// Directions have the weights that stand here: none are balanced.
    train: &'a TrainConfig,
}

/// One modality: what goes in, and what comes out of each layer.
#[derive(Clone, Debug)]
struct Encoder<'a> {
    widths: Widths,
    /// Row-major `[B, P]`.
    x: &'a [f32],
    parameters: &'a HostEncoder,
    /// Factor of the output.
    gain: Rounded,
    /// `[B, H]`, before and after the tanh.
    preactivation: Vec<Rounded>,
    hidden: Vec<Rounded>,
    /// `[B, D]`, before the gain.
    output: Vec<Rounded>,
}

/// Embeddings of one modality, row-major `[B, D]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    pub raw: Vec<Dual>,
    /// Normalised.
    pub unit: Vec<Dual>,
}

/// The columns of unit vectors of `width` entries, scaled by its root: isotropic ones have variance 1.
pub fn columns(embedded: &Embedded, width: usize) -> impl Iterator<Item = Vec<Dual>> {
    let scale = Dual::setting((width as f64).sqrt());
    (0..width).map(move |axis| embedded.unit.iter().skip(axis).step_by(width).map(|z| *z * scale).collect())
}

/// The mean of some numbers.
pub fn mean(numbers: &[Dual]) -> Dual {
    numbers.iter().copied().sum::<Dual>() / Dual::exact(numbers.len() as f64)
}

/// A column less its mean.
///
/// **Numerics**: derivatives stay as they are, mean and all: what is made of centred columns are products with each other,
/// which a constant does not change, since they sum to zero. In f32 they do so but nearly, and a program that relies on
/// it, as the aligner does, is off by what is missing times the whole derivative. So it is left in for the estimate of
/// the error.
pub fn centred(column: Vec<Dual>) -> Vec<Dual> {
    let mean = mean(&column);
    column.into_iter().map(|s| Dual { value: (s - mean).value, slope: s.slope }).collect()
}

/// Loss values.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceLoss {
    pub total: Dual,
    pub i2t: Dual,
    pub t2i: Dual,
    /// Of the regularisers that are on, in their order, before their weights.
    pub terms: Vec<Dual>,
}

impl<'a> Encoder<'a> {
    fn new(widths: Widths, x: &'a [f32], parameters: &'a HostEncoder, gain: f64) -> Self {
        let exact = |v: &f32| Rounded::exact(f64::from(*v));
        let [w1, b1, w2, b2] = parameters;
        let x_rows = x.iter().map(exact).collect::<Vec<Rounded>>();
        let preactivation = dense(&x_rows, w1, b1, widths.inputs);
        let hidden: Vec<Rounded> = preactivation.iter().map(|v| Dual::constant(*v).tanh().value).collect();
        let output = dense(&hidden, w2, b2, widths.hidden);
        let gain = if gain == 1.0 { Rounded::exact(1.0) } else { Rounded::setting(gain) };
        Self { widths, x, parameters, gain, preactivation, hidden, output }
    }

    fn batch(&self) -> usize {
        self.output.len() / self.widths.embedding
    }

    /// Embeddings that do not depend on the parameter.
    fn still(&self) -> Embedded {
        self.embedded(self.output.iter().map(|u| Dual::constant(*u)).collect())
    }

    /// Embeddings as coordinate `index` of tensor `tensor` moves.
    fn moving(&self, tensor: usize, index: usize) -> Embedded {
        let Widths { inputs, hidden, embedding } = self.widths;
        let one = Rounded::exact(1.0);
        let mut output: Vec<Dual> = self.output.iter().map(|u| Dual::constant(*u)).collect();
        for (b, row) in output.chunks_exact_mut(embedding).enumerate() {
            if tensor < 2 {
                // One hidden unit moves, as fast as what its weight is multiplied by.
                let (input, unit) = if tensor == 0 { (Some(index / hidden), index % hidden) } else { (None, index) };
                let slope = input.map_or(one, |i| Rounded::exact(f64::from(self.x[b * inputs + i])));
                let moved = Dual { value: self.preactivation[b * hidden + unit], slope }.tanh();
                let weights = &self.parameters[2][unit * embedding..(unit + 1) * embedding];
                row.iter_mut().zip(weights).for_each(|(u, w)| u.slope = moved.slope * Rounded::exact(f64::from(*w)));
            } else {
                let (unit, axis) =
                    if tensor == 2 { (Some(index / embedding), index % embedding) } else { (None, index) };
                row[axis].slope = unit.map_or(one, |unit| self.hidden[b * hidden + unit]);
            }
        }
        self.embedded(output)
    }

    fn embedded(&self, mut output: Vec<Dual>) -> Embedded {
        output.iter_mut().for_each(|u| *u = *u * Dual::constant(self.gain));
        let unit = output.chunks_exact(self.widths.embedding).flat_map(|row| {
            let norm = (row.iter().map(|u| u.square()).sum::<Dual>() + Dual::setting(NORM_GUARD)).sqrt();
            row.iter().map(move |u| *u / norm)
        });
        Embedded { unit: unit.collect(), raw: output }
    }
}

impl<'a> Reference<'a> {
    /// `x [B, P]` row-major, parameters `[w1, b1, w2, b2]` and factors of the outputs: image, then text.
    pub fn new(
        widths: [Widths; 2],
        x: [&'a [f32]; 2],
        parameters: [&'a HostEncoder; 2],
        gains: [f64; 2],
        train: &'a TrainConfig,
    ) -> Self {
        Self { encoders: [0, 1].map(|m| Encoder::new(widths[m], x[m], parameters[m], gains[m])), train }
    }

    /// Products that one derivative takes: those of the similarities, and of the moments where these are read.
    pub fn products(&self) -> usize {
        let (b, d) = (self.encoders[0].batch(), self.encoders[0].widths.embedding);
        let moments = active(self.train).filter(|r| r.moments).count();
        b * b * d + moments * 2 * b * d * d
    }

    /// The loss in nats.
    pub fn loss(&self) -> ReferenceLoss {
        self.loss_of(&self.encoders.each_ref().map(Encoder::still))
    }

    /// The derivative of the total loss along coordinate `index` of a tensor, by its place among `Parameters::names`.
    pub fn derivative(&self, tensor: usize, index: usize) -> Rounded {
        let embedded = [0, 1].map(|m| match m == tensor / 4 {
            true => self.encoders[m].moving(tensor % 4, index),
            false => self.encoders[m].still(),
        });
        self.loss_of(&embedded).total.slope
    }

    /// The loss of embeddings.
    fn loss_of(&self, embedded: &[Embedded; 2]) -> ReferenceLoss {
        let d = self.encoders[0].widths.embedding;
        let inverse_temperature = Dual::setting(1.0 / self.train.temperature);
        let [img, txt] = embedded.each_ref().map(|e| e.unit.chunks_exact(d));
        let dot = |a: &[Dual], b: &[Dual]| a.iter().zip(b).map(|(a, b)| *a * *b).sum::<Dual>();
        let logits: Vec<Vec<Dual>> =
            img.map(|z| txt.clone().map(|other| dot(z, other) * inverse_temperature).collect()).collect();
        let b = logits.len();
        let each = |f: &dyn Fn(usize) -> Dual| mean(&(0..b).map(f).collect::<Vec<Dual>>());
        let i2t = each(&|i| log_sum_exp(logits[i].clone()) - logits[i][i]);
        let t2i = each(&|j| log_sum_exp(logits.iter().map(|row| row[j]).collect()) - logits[j][j]);
        let TrainConfig { weight_i2t, weight_t2i, .. } = *self.train;
        let contrast = Dual::setting(weight_i2t) * i2t + Dual::setting(weight_t2i) * t2i;
        let terms: Vec<Dual> = active(self.train).map(|r| (r.reference)(embedded, d, self.train)).collect();
        let weighted = active(self.train).zip(&terms).map(|(r, term)| Dual::setting((r.weight)(self.train)) * *term);
        ReferenceLoss { total: weighted.fold(contrast, |total, term| total + term), i2t, t2i, terms }
    }
}

/// `x [B, inputs]` times `w [inputs, outputs]`, plus `b [outputs]`.
fn dense(x: &[Rounded], w: &[f32], b: &[f32], inputs: usize) -> Vec<Rounded> {
    let exact = |v: &f32| Rounded::exact(f64::from(*v));
    let mut out = Vec::with_capacity(x.len() / inputs * b.len());
    for x in x.chunks_exact(inputs) {
        let mut sums = vec![Rounded::exact(0.0); b.len()];
        for (v, row) in x.iter().zip(w.chunks_exact(b.len())) {
            sums.iter_mut().zip(row).for_each(|(sum, w)| *sum = *sum + *v * exact(w));
        }
        out.extend(sums.into_iter().zip(b).map(|(sum, b)| sum + exact(b)));
    }
    out
}

fn log_sum_exp(logits: Vec<Dual>) -> Dual {
    let larger = |a: Dual, b: Dual| if b.value.at > a.value.at { b } else { a };
    let Some(max) = logits.iter().copied().reduce(larger) else { return Dual::exact(f64::NEG_INFINITY) };
    max + logits.into_iter().map(|logit| (logit - max).exp()).sum::<Dual>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aligner::gradcheck::Case;
    use crate::aligner::regulariser::switch_all_on;
    use crate::numerics::stream::Streams;

    /// Steps of the differences: powers of two, that f32 adds without rounding to parameters on their grid.
    const STEPS: [f32; 2] = [1.0 / 512.0, 1.0 / 1024.0];

    fn case(temperature: f64) -> Case {
        let mut stream = Streams::new(3, "reference.test").item(0);
        let mut draw = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        let x = [draw(9 * 6), draw(9 * 4)];
        let mut train = TrainConfig { temperature, weight_i2t: 0.3, weight_t2i: 0.9, ..TrainConfig::default() };
        switch_all_on(&mut train, 0.7);
        train.redundancy_off_diagonal = 0.05;
        let mut case = Case::new(String::new(), x, 9, [5, 3], train, 4);
        case.gains = [1.5, 0.5];
        let on_grid = |v: &mut f32| *v = (*v / STEPS[1]).round() * STEPS[1];
        case.parameters.iter_mut().flatten().flatten().for_each(on_grid);
        case
    }

    #[test]
    fn derivatives_are_the_limits_of_differences() {
        for temperature in [0.2, 1.0, 10.0] {
            let case = case(temperature);
            let loss_at = |tensor: usize, index: usize, offset: f32| {
                let mut moved = case.clone();
                moved.parameters[tensor / 4][tensor % 4][index] += offset;
                moved.reference().loss().total.value.at
            };
            let exact = case.reference();
            for tensor in 0..8 {
                for index in 0..case.parameters[tensor / 4][tensor % 4].len() {
                    let central = |step: f32| {
                        let (above, below) = (loss_at(tensor, index, step), loss_at(tensor, index, -step));
                        (above - below) / (2.0 * f64::from(step))
                    };
                    // Richardson's extrapolation leaves an error of the fourth power of the step.
                    let [wide, narrow] = STEPS.map(central);
                    let limit = (4.0 * narrow - wide) / 3.0;
                    let slope = exact.derivative(tensor, index).at;
                    let off = (slope - limit).abs() / slope.abs().max(1e-2);
                    assert!(off < 1e-5, "tensor {tensor}, {index}: {slope} is not {limit}");
                }
            }
        }
    }

    #[test]
    fn the_error_of_a_derivative_grows_where_f32_loses_it() {
        let error_at = |temperature: f64| {
            let case = case(temperature);
            let derivative = case.reference().derivative(0, 0);
            derivative.error() / derivative.at.abs()
        };
        assert!(error_at(1.0) < 1e-4);
        let mut degenerate = case(0.2);
        // Of two pairs every correlation is one or minus one, and what is left of the term is the guard.
        degenerate.batch = 2;
        (degenerate.x[0], degenerate.x[1]) = (degenerate.x[0][..12].to_vec(), degenerate.x[1][..8].to_vec());
        degenerate.train.redundancy_weight = 100.0;
        let derivative = degenerate.reference().derivative(0, 0);
        assert!(derivative.error() > 1e-4 * derivative.at.abs(), "{derivative:?}");
    }
}
