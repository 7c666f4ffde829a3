//! What a training step asks of a CubeCL device: how many kernels it launches, and how long it takes.
//!
//! Tiny models leave a GPU waiting for launches, so their number is what a kernel is fused for; it is held here.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use cliffline::aligner::backend::Choice;
use cliffline::aligner::objective::Objective;
use cliffline::aligner::optimiser::{State, UpdateSettings, update};
use cliffline::aligner::parameters::{Encoder, MODALITIES, Parameters, Widths, host, xavier};
use cliffline::aligner::step::loss_and_gradients;
use cliffline::spec::config::{Optimiser, TrainConfig};
use cubecl::config::{TypeNameFormatLevel, type_name_format};
use cubecl::logging::{LaunchObservation, LaunchObserver};

#[derive(Default)]
struct Launches(Mutex<Vec<&'static str>>);

impl LaunchObserver for Launches {
    fn launched(&self, kernel: &'static str) {
        self.0.lock().expect("no test panicked in a launch").push(kernel);
    }
}

/// A pack on a device, with everything that a step needs.
struct Pack {
    x: [Tensor<3>; 2],
    objective: Objective,
    rule: UpdateSettings,
    model: Option<(Parameters, State)>,
    steps: u64,
}

/// Cells, minibatch, and the widths of both encoders.
type Shape = (usize, usize, [Widths; 2]);

impl Pack {
    fn new((cells, batch, widths): Shape, train: &TrainConfig, device: &Device) -> Self {
        let encoder = |m: usize| {
            let hosts: Vec<_> = (0..cells).map(|c| xavier(c as u64, MODALITIES[m], widths[m])).collect();
            Encoder::from_host(&hosts, widths[m], device)
        };
        let x = [0, 1].map(|m| {
            let shape = [cells, batch, widths[m].inputs];
            let values: Vec<f32> = (0..shape.iter().product()).map(|i| (i as f32 * 0.37).sin()).collect();
            Tensor::<3>::from_data(TensorData::new(values, shape), device)
        });
        let parameters = Parameters { img: encoder(0), txt: encoder(1) };
        let state = State::new(train.optimiser, &parameters);
        let settings = vec![train; cells];
        let objective = Objective::new(&settings, &vec![[1.0, 1.0]; cells], device);
        let rule = UpdateSettings::new(&settings, device);
        Self { x, objective, rule, model: Some((parameters, state)), steps: 0 }
    }

    fn step(&mut self) -> Tensor<3> {
        let (parameters, state) = self.model.take().expect("only absent inside a step");
        let result = loss_and_gradients(&parameters, self.x.clone(), &self.objective, None, None);
        self.steps += 1;
        self.model = Some(update(parameters, result.gradients, state, &self.rule, self.steps));
        Tensor::cat(vec![result.loss.total, result.loss.i2t, result.loss.t2i], 2)
    }
}

fn widths(inputs: usize, hidden: usize, embedding: usize) -> Widths {
    Widths { inputs, hidden, embedding }
}

/// Launches of one step by kernel.
fn launches(pack: &mut Pack) -> BTreeMap<String, usize> {
    host(pack.step());
    let observer = Arc::new(Launches::default());
    let observation = LaunchObservation::new(observer.clone());
    let losses = pack.step();
    drop(observation);
    host(losses);
    let mut counts = BTreeMap::new();
    for kernel in observer.0.lock().expect("no test panicked in a launch").iter() {
        *counts.entry(type_name_format(kernel, TypeNameFormatLevel::Short)).or_insert(0) += 1;
    }
    counts
}

const TIMED_STEPS: u32 = 20;

fn milliseconds_per_step(pack: &mut Pack) -> f64 {
    let start = Instant::now();
    let steps: Vec<Tensor<3>> = (0..TIMED_STEPS).map(|_| pack.step()).collect();
    host(Tensor::cat(steps, 2));
    start.elapsed().as_secs_f64() * 1e3 / f64::from(TIMED_STEPS)
}

/// Thirteen products, one launch each for bias and tanh, bias and normalisation and the two ways back of two encoders,
/// one for InfoNCE, one for the watch over norms, one per parameter tensor, and three to put the losses side by side.
/// The plain program takes 142 with SGD and 207 with AdamW.
const LAUNCHES: usize = 13 + 2 * 4 + 1 + 1 + 8 + 3;

/// Without any adapter this says so and checks nothing; with `CLIFFLINE_REQUIRE_WGPU` set, as CI does, that is a
/// failure.
#[test]
fn a_training_step_launches_few_kernels() {
    let device = match Choice::Wgpu.open() {
        Ok(wgpu) => wgpu.device().expect("WGPU is a device").clone(),
        Err(error) if std::env::var_os("CLIFFLINE_REQUIRE_WGPU").is_some() => panic!("{error}"),
        // Written past the test harness, which keeps what a passing test prints to itself.
        Err(error) => {
            let skipped = format!("SKIPPED: launches on WGPU were not counted: {error}");
            return writeln!(std::io::stderr(), "{skipped}").expect("standard error");
        }
    };
    let shapes = [(4, 16, [widths(20, 8, 4), widths(12, 8, 4)]), (8, 64, [widths(64, 32, 16), widths(32, 32, 16)])];
    for (optimiser, shape) in [Optimiser::Sgd, Optimiser::Adamw].into_iter().flat_map(|o| shapes.map(|s| (o, s))) {
        let mut pack = Pack::new(shape, &TrainConfig { optimiser, ..TrainConfig::default() }, &device);
        let counts = launches(&mut pack);
        let total: usize = counts.values().sum();
        let ms = milliseconds_per_step(&mut pack);
        println!("{optimiser:?}, {} cells, minibatch {}: {total} launches, {ms:.2} ms", shape.0, shape.1);
        assert_eq!(total, LAUNCHES, "{counts:#?}");
    }
}
