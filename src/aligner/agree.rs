//! The same minibatch and the same parameters on two executors, stage by stage.

use super::fault::Fault;
use super::gradcheck::worst;
use super::held::Problem;
use super::parameters::{MODALITIES, Parameters, Widths, xavier};
use super::program::Executor;
use super::regulariser::switch_all_on;
use crate::numerics::shown::Levels;
use crate::numerics::stream::Streams;
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

/// What one executor makes of a problem: stage, then named tensors.
type Stages = Vec<(&'static str, Vec<(String, Vec<f32>)>)>;

impl Problem<'_> {
    /// Compares the second executor against the first. `fault` breaks a kernel on the second.
    pub fn compare(&self, first: &Executor, second: &Executor, fault: Option<Fault>) -> Vec<Comparison> {
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

    fn run(&self, executor: &Executor, fault: Option<Fault>) -> Stages {
        let mut held = self.hold(executor, fault);
        let [z_img, z_txt] = held.embeddings();
        let mut stages: Stages = vec![("embeddings", vec![("z_img".into(), z_img), ("z_txt".into(), z_txt)])];
        for step in 1..=STEPS {
            let (losses, gradients) = held.gradients();
            if step == 1 {
                let further = losses.further;
                let losses = [("total", losses.total), ("i2t", losses.i2t), ("t2i", losses.t2i)];
                let losses = losses.into_iter().chain(further);
                stages.push(("loss", losses.map(|(name, values)| (name.to_string(), values)).collect()));
                stages.push(("gradients", named(gradients)));
            }
            held.update(step);
            match step {
                1 => stages.push(("one step", named(held.parameters()))),
                STEPS => stages.push(("10 steps", named(held.parameters()))),
                _ => {}
            }
        }
        stages
    }
}

fn named(tensors: Vec<Vec<f32>>) -> Vec<(String, Vec<f32>)> {
    Parameters::names().into_iter().zip(tensors).collect()
}

/// Whether the native program differs from the flex device by more than rounding, on a small problem that takes
/// milliseconds: where and by how much, or nothing when it agrees. `fault` breaks one of its kernels.
pub fn native_differs(fault: Option<Fault>) -> Option<String> {
    const BATCH: usize = 37;
    let widths = [(50, 20), (23, 17)].map(|(inputs, hidden)| Widths { inputs, hidden, embedding: 9 });
    // Temperatures on both sides of the one below which exponentials are not shared.
    let plain = [0.3, 0.01].map(|temperature| TrainConfig { temperature, ..TrainConfig::default() });
    let options = plain.clone().map(|mut train| {
        // No more than this: training that is not healthy amplifies roundings.
        switch_all_on(&mut train, 1.0);
        TrainConfig { balance: 0.1, warmup_steps: 3, ..train }
    });
    let x = [0, 1].map(|m| {
        let mut stream = Streams::new(0, "agree.native").item(m as u64);
        (0..plain.len() * BATCH * widths[m].inputs).map(|_| stream.normal() as f32).collect()
    });
    let parameters =
        [0, 1].map(|m| (0..plain.len()).map(|c| xavier(c as u64, MODALITIES[m], widths[m])).collect::<Vec<_>>());
    let flex = Executor::Tensors(burn::tensor::Device::flex());
    let wrong = [(plain, [1.0, 1.0]), (options, [2.0, 0.5])].into_iter().find_map(|(train, gains)| {
        let (x, parameters, train) = (x.clone(), parameters.clone(), train.iter().collect());
        let problem = Problem { widths, x, batch: BATCH, parameters, train, gains: vec![gains; 2] };
        problem.compare(&flex, &Executor::Native, fault).into_iter().find(|c| !c.passed)
    })?;
    let [worst, allowed] = [wrong.worst, wrong.tolerance];
    let [worst, allowed] = [worst, allowed].map(|error| Levels::of_numbers([worst, allowed]).number(error));
    Some(format!("{} of {}: {worst}, allowed {allowed}", wrong.stage, wrong.place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_is_taken_while_it_agrees_and_any_broken_kernel_shows() {
        assert_eq!(native_differs(None), None);
        for (name, fault) in Fault::ALL {
            assert!(native_differs(Some(fault)).is_some(), "{name} went unnoticed");
        }
    }
}
