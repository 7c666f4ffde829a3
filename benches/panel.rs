//! The measurement panel on embeddings of the reference workload's sizes: `cargo bench --bench panel`.
//!
//! A panel normalises raw embeddings and measures every metric of the fast or of the full panel; the validation subset
//! is what curves record. Times of one family are its share of a panel: what others have computed for all is there.
//! Hubness bears the comparison of all with all, the null of separability the permutations.

use cliffline::engine::{SPECTRAL_SERIES, VALIDATION_SERIES};
use cliffline::metric::{Context, Evaluation, METRICS, Modality, Panel, Scale, Variable, measure, measure_named};
use cliffline::numerics::linalg::{covariance, symmetric_eigenvalues};
use cliffline::numerics::stream::Streams;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const DIMENSION: usize = 32;
const TEMPERATURE: f64 = 0.07;
const SAMPLES: [usize; 2] = [512, 2048];

/// Embeddings of a model that finds about half of its pairs: a common part per sample, and as much of its own.
struct Raw([Vec<f32>; 2]);

impl Raw {
    fn new(n: usize) -> Self {
        let streams = Streams::new(0, "bench");
        let draw = |item: u64| {
            let mut stream = streams.item(item);
            (0..n * DIMENSION).map(|_| stream.normal()).collect::<Vec<f64>>()
        };
        let common = draw(0);
        Self([1, 2].map(|item| common.iter().zip(draw(item)).map(|(x, own)| (x + own) as f32).collect()))
    }

    fn evaluation(&self) -> Evaluation {
        let evaluation = Evaluation::new(&self.0[0], &self.0[1], DIMENSION, TEMPERATURE).expect("finite embeddings");
        evaluation.with_context(context(self.0[0].len() / DIMENSION)).expect("finite labels")
    }
}

/// Labels of every factor and of a confounder with eight groups, that tell nothing.
fn context(n: usize) -> Context {
    let circle = Scale::Circle { period: 1.0, bins: 16 };
    let line = Scale::Line { low: 0.0, high: 1.0, bins: 8 };
    let scales = [
        ("shape", Scale::Kinds),
        ("orientation", circle),
        ("frequency", line),
        ("phase", circle),
        ("thickness", line),
        ("confounder", Scale::Kinds),
    ];
    let variable = |(item, (name, scale)): (u64, (&str, Scale))| {
        let mut stream = Streams::new(0, "bench.labels").item(item);
        let kinds = if name == "shape" { 4 } else { 8 };
        let draw = |_| if scale == Scale::Kinds { stream.below(kinds) as f64 } else { stream.uniform() };
        Variable { name: name.to_string(), values: (0..n).map(draw).collect(), scale }
    };
    Context { variables: (0..).zip(scales).map(variable).collect(), ..Context::default() }
}

#[divan::bench(args = SAMPLES)]
fn fast(bencher: Bencher, n: usize) {
    let raw = Raw::new(n);
    bencher.bench_local(|| measure(&raw.evaluation(), Panel::Fast));
}

#[divan::bench(args = SAMPLES)]
fn full(bencher: Bencher, n: usize) {
    let raw = Raw::new(n);
    bencher.bench_local(|| measure(&raw.evaluation(), Panel::Full));
}

/// All embeddings the same: every similarity is among those that the quantiles have to hold.
#[divan::bench(args = SAMPLES)]
fn collapsed_panel(bencher: Bencher, n: usize) {
    let raw = Raw(Raw::new(n).0.map(|rows| rows[..DIMENSION].repeat(n)));
    bencher.bench_local(|| measure(&raw.evaluation(), Panel::Fast));
}

#[divan::bench(args = SAMPLES)]
fn validation(bencher: Bencher, n: usize) {
    let raw = Raw::new(n);
    let names = [&VALIDATION_SERIES[..], &SPECTRAL_SERIES].concat();
    bencher.bench_local(|| measure_named(&raw.evaluation(), &names));
}

/// Normalisation, which comes before the first family.
#[divan::bench(args = SAMPLES)]
fn new(bencher: Bencher, n: usize) {
    let raw = Raw::new(n);
    bencher.bench_local(|| raw.evaluation());
}

#[divan::bench(args = METRICS.iter().map(|family| family.name), consts = SAMPLES)]
fn family<const N: usize>(bencher: Bencher, name: &str) {
    let raw = Raw::new(N);
    let at = METRICS.iter().position(|family| family.name == name).expect("listed");
    let prepared = || {
        let evaluation = raw.evaluation();
        let before = METRICS[..at].iter().chain(METRICS.iter().filter(|family| family.name == SHARES));
        before.filter(|_| name != SHARES).for_each(|family| drop(black_box(family.measure(&evaluation))));
        evaluation
    };
    bencher.with_inputs(prepared).bench_local_refs(|evaluation| METRICS[at].measure(evaluation));
}

/// The family that bears what it shares with others.
const SHARES: &str = "hubness";

/// What goes into spectra.
#[divan::bench(args = ["covariance", "symmetric_eigenvalues"], consts = SAMPLES)]
fn spectra<const N: usize>(bencher: Bencher, name: &str) {
    let evaluation = Raw::new(N).evaluation();
    let z = evaluation.z(Modality::Img);
    let matrix = covariance(z, DIMENSION).expect("finite embeddings");
    bencher.bench_local(|| match name {
        "covariance" => covariance(z, DIMENSION),
        _ => symmetric_eigenvalues(&matrix, DIMENSION),
    });
}
