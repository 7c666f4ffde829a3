//! Embeddings that the tests of this room share.

use std::f64::consts::TAU;

use super::{Context, Evaluation, MetricError, Modality, Scale, Variable, measure_named};
use crate::numerics::linalg::dot;
use crate::numerics::stream::Streams;

/// The temperature of the default configuration.
pub(super) const TEMPERATURE: f64 = 0.07;

/// Raw image and text embeddings `[n, d]`: a common normal vector per sample plus independent noise of this strength.
pub(super) fn raw_pairs(seed: u64, n: usize, d: usize, noise: f64) -> (Vec<f32>, Vec<f32>) {
    let streams = Streams::new(seed, "metric.tests");
    let draw = |purpose| {
        let mut stream = streams.item(purpose);
        (0..n * d).map(|_| stream.normal()).collect::<Vec<f64>>()
    };
    let common = draw(0);
    let observe = |own: Vec<f64>| common.iter().zip(own).map(|(x, e)| (x + noise * e) as f32).collect();
    (observe(draw(1)), observe(draw(2)))
}

pub(super) fn noisy_pairs(seed: u64, n: usize, d: usize, noise: f64) -> Evaluation {
    let (img, txt) = raw_pairs(seed, n, d, noise);
    Evaluation::new(&img, &txt, d, TEMPERATURE).unwrap()
}

/// One metric by its registry name.
pub(super) fn value_of(evaluation: &Evaluation, name: &str) -> Result<f64, MetricError> {
    measure_named(evaluation, &[name]).remove(0).1
}

/// Cosines of every image with every text, by the definition: `[2, N, N]`, images asking, then texts asking.
pub(super) fn similarities(evaluation: &Evaluation) -> [Vec<Vec<f64>>; 2] {
    let rows = |modality| evaluation.z(modality).chunks_exact(evaluation.dimension());
    [[Modality::Img, Modality::Txt], [Modality::Txt, Modality::Img]]
        .map(|[query, candidate]| rows(query).map(|x| rows(candidate).map(|y| dot(x, y)).collect()).collect())
}

/// Random labels of every factor, and three confounder groups, `[n]` each.
pub(super) fn variables(seed: u64, n: usize) -> Vec<Variable> {
    let circle = |bins| Scale::Circle { period: TAU, bins };
    let line = |bins| Scale::Line { low: 0.0, high: 1.0, bins };
    let scales = [
        ("shape", Scale::Kinds),
        ("orientation", circle(16)),
        ("frequency", line(8)),
        ("phase", circle(16)),
        ("thickness", line(8)),
        ("confounder", Scale::Kinds),
    ];
    let streams = Streams::new(seed, "metric.tests.labels");
    let variable = |(at, (name, scale)): (u64, (&str, Scale))| {
        let mut stream = streams.item(at);
        let draw = |_| match (name, scale) {
            ("confounder", _) => stream.below(3) as f64,
            (_, Scale::Kinds) => stream.below(4) as f64,
            (_, Scale::Line { .. }) => stream.uniform(),
            (_, Scale::Circle { period, .. }) => period * stream.uniform(),
        };
        Variable { name: name.to_string(), values: (0..n).map(draw).collect(), scale }
    };
    (0..).zip(scales).map(variable).collect()
}

/// The same embeddings, with labels that have nothing to do with them and with sensitivities.
pub(super) fn labelled(evaluation: Evaluation, seed: u64) -> Evaluation {
    let variables = variables(seed, evaluation.samples());
    let kinds = ["pairing", "noise_img", "dropout_txt", "confounder_img", "confounder_txt"];
    let sensitivity = kinds.map(|kind| (kind.to_string(), Ok([0.1, 0.05]))).into();
    evaluation.with_context(Context { seed, variables, sensitivity, ..Context::default() }).unwrap()
}
