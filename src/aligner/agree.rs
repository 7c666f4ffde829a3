//! The same minibatch and the same parameters on two devices, stage by stage.

use burn::tensor::{Device, Tensor, TensorData};

use super::encoder::forward;
use super::fault::Fault;
use super::gradcheck::worst;
use super::info_nce::LossSettings;
use super::optimiser::{State, UpdateSettings, update};
use super::parameters::{Encoder, HostEncoder, Parameters, Widths, host};
use super::step::loss_and_gradients;
use crate::spec::config::TrainConfig;

/// Spacing of f32 at 1.
const SPACING: f64 = f32::EPSILON as f64;

/// Spacings allowed per unit of `sqrt(n)` in a sum of `n` products. Rounding errors of random sign add up like a random
/// walk, of which this allows four standard deviations; exponentials and roots, which differ between devices by a few
/// units, fit in as well. Measured differences of embeddings lie six to twenty times below. Those of gradients lie further
/// below: the bound assumes a softmax undecided between candidates.
const HEADROOM: f64 = 4.0;

/// Steps of the longest stage.
pub const STEPS: u64 = 10;

/// A pack on the host: what both devices start from.
#[derive(Clone, Debug)]
pub struct Problem<'a> {
    pub widths: [Widths; 2],
    /// `[C, B, P]` row-major, image then text.
    pub x: [Vec<f32>; 2],
    pub batch: usize,
    /// One per cell, image then text.
    pub parameters: [Vec<HostEncoder>; 2],
    pub train: Vec<&'a TrainConfig>,
}

/// One comparison.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Comparison {
    /// `embeddings`, `loss`, `gradients`, `one step`, `10 steps`, or a metric.
    pub stage: String,
    /// Which tensor or metric, and which of the compared cells.
    pub place: String,
    /// Worst difference, relative to the larger of the value and the tensor's root mean square.
    pub worst: f64,
    pub tolerance: f64,
    pub passed: bool,
}

impl Comparison {
    /// A pass needs a number within the tolerance; not-a-number fails.
    pub fn new(stage: &str, place: String, worst: f64, tolerance: f64) -> Self {
        Self { stage: stage.to_string(), place, worst, tolerance, passed: worst <= tolerance }
    }
}

/// What one device makes of a problem: stage, then named tensors.
type Stages = Vec<(&'static str, Vec<(String, Vec<f32>)>)>;

impl Problem<'_> {
    /// Compares the second device against the first. `fault` breaks a kernel on the second.
    pub fn compare(&self, first: &Device, second: &Device, fault: Option<Fault>) -> Vec<Comparison> {
        let expected = self.run(first, None);
        let actual = self.run(second, fault);
        let mut out = Vec::new();
        for ((stage, expected), (_, actual)) in expected.into_iter().zip(actual) {
            for ((place, expected), (_, actual)) in expected.into_iter().zip(actual) {
                out.push(self.compare_lanes(stage, &place, &expected, &actual));
            }
        }
        out
    }

    /// Compares each cell's part of a tensor on the cell's own scale and tolerance, so that a sharp cell does not hide a
    /// mild one. Reports the cell that uses most of its tolerance.
    fn compare_lanes(&self, stage: &str, place: &str, expected: &[f32], actual: &[f32]) -> Comparison {
        let cells = self.train.len();
        let lane = |values: &[f32], c: usize| values[c * values.len() / cells..(c + 1) * values.len() / cells].to_vec();
        let each = (0..cells).map(|c| {
            let (expected, actual) = (lane(expected, c), lane(actual, c));
            let squares: f64 = expected.iter().map(|v| f64::from(*v).powi(2)).sum();
            let scale = (squares / expected.len().max(1) as f64).sqrt();
            let tolerance = self.tolerance(stage, self.train[c].temperature);
            Comparison::new(stage, format!("{place}, cell {c}"), worst(&actual, &expected, scale), tolerance)
        });
        let share = |c: &Comparison| c.worst / c.tolerance;
        // Not-a-number sorts above every number.
        let most = each.max_by(|a, b| share(a).total_cmp(&share(b)));
        most.unwrap_or_else(|| Comparison::new(stage, place.to_string(), f64::INFINITY, 0.0))
    }

    /// Tolerance of a stage at a temperature, from the lengths of the sums before it.
    pub fn tolerance(&self, stage: &str, temperature: f64) -> f64 {
        let longest = |f: fn(&Widths) -> usize| self.widths.iter().map(f).max().unwrap_or(1) as f64;
        let sums = longest(|w| w.inputs).sqrt() + longest(|w| w.hidden).sqrt() + longest(|w| w.embedding).sqrt();
        let embeddings = HEADROOM * SPACING * sums;
        // A logit is a cosine over the temperature, and so is its error.
        let sharpness = 1.0 + 1.0 / temperature;
        let gradients = embeddings * sharpness + HEADROOM * SPACING * (self.batch as f64).sqrt();
        match stage {
            "embeddings" => embeddings,
            "loss" => embeddings * sharpness,
            // A step moves a weight by no more than its own size here, so a gradient's relative error bounds it.
            "gradients" | "one step" => gradients,
            // Each step adds an error of that size to what is carried forward, and does not amplify what is: true of
            // healthy training, and where it is not the comparison says so.
            _ => gradients * STEPS as f64,
        }
    }

    fn run(&self, device: &Device, fault: Option<Fault>) -> Stages {
        let cells = self.train.len();
        let encoder = |m: usize| Encoder::from_host(&self.parameters[m], self.widths[m], device);
        let mut parameters = Parameters { img: encoder(0), txt: encoder(1) };
        let x = [0, 1].map(|m| {
            let shape = [cells, self.batch, self.widths[m].inputs];
            Tensor::<3>::from_data(TensorData::new(self.x[m].clone(), shape), device)
        });
        let loss = LossSettings::new(&self.train, device);
        let rule = UpdateSettings::new(&self.train, device);
        let mut state = State::new(self.train[0].optimiser, &parameters);

        let z = [(&parameters.img, 0, "z_img"), (&parameters.txt, 1, "z_txt")];
        let z = z.map(|(e, m, name)| (name.to_string(), host(forward(e, x[m].clone(), fault).unit)));
        let mut stages: Stages = vec![("embeddings", z.to_vec())];
        for step in 1..=STEPS {
            let result = loss_and_gradients(&parameters, x[0].clone(), x[1].clone(), &loss, fault);
            if step == 1 {
                let l = &result.loss;
                let values = [("total", &l.total), ("i2t", &l.i2t), ("t2i", &l.t2i)];
                stages.push(("loss", values.map(|(n, t)| (n.to_string(), host(t.clone()))).to_vec()));
                stages.push(("gradients", named(&result.gradients)));
            }
            (parameters, state) = update(parameters, result.gradients, state, &rule, step);
            match step {
                1 => stages.push(("one step", named(&parameters))),
                STEPS => stages.push(("10 steps", named(&parameters))),
                _ => {}
            }
        }
        stages
    }
}

fn named(parameters: &Parameters) -> Vec<(String, Vec<f32>)> {
    let values = parameters.tensors().into_iter().map(|t| host(t.clone()));
    Parameters::names().into_iter().zip(values).collect()
}
