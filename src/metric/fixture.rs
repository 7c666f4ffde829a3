//! Embeddings that the tests of this room share.

use super::{Evaluation, MetricError, Modality, measure_named};
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
