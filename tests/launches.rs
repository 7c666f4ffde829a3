//! What a training step asks of a CubeCL device: how many kernels it launches, and how long it takes.
//!
//! Tiny models leave a GPU waiting for launches, so their number is what a kernel is fused for; it is held here.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use cliffline::aligner::backend::Choice;
use cliffline::aligner::info_nce::LossSettings;
use cliffline::aligner::optimiser::{State, UpdateSettings, update};
use cliffline::aligner::parameters::{Encoder, MODALITIES, Parameters, Widths, host, xavier};
use cliffline::aligner::step::loss_and_gradients;
use cliffline::spec::config::{Optimiser, TrainConfig};
use cubecl::config::type_name_format;
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
    loss: LossSettings,
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
        let (loss, rule) = (LossSettings::new(&settings, device), UpdateSettings::new(&settings, device));
        Self { x, loss, rule, model: Some((parameters, state)), steps: 0 }
    }

    fn step(&mut self) -> Tensor<3> {
        let (parameters, state) = self.model.take().expect("only absent inside a step");
        let [x_img, x_txt] = self.x.clone();
        let result = loss_and_gradients(&parameters, x_img, x_txt, &self.loss, None);
        self.steps += 1;
        self.model = Some(update(parameters, result.gradients, state, &self.rule, self.steps));
        Tensor::cat(vec![result.loss.total, result.loss.i2t, result.loss.t2i], 2)
    }
}

fn widths(inputs: usize, hidden: usize, embedding: usize) -> Widths {
    Widths { inputs, hidden, embedding }
}

const TIMED_STEPS: u32 = 20;

/// Launches of one step by kernel, most frequent first, and milliseconds per step.
fn measure(shape: Shape, train: &TrainConfig, device: &Device) -> (Vec<(usize, String)>, f64) {
    let mut pack = Pack::new(shape, train, device);
    for _ in 0..2 {
        host(pack.step());
    }
    let launches = Arc::new(Launches::default());
    let observation = LaunchObservation::new(launches.clone());
    let losses = pack.step();
    drop(observation);
    host(losses);
    let start = Instant::now();
    let steps: Vec<Tensor<3>> = (0..TIMED_STEPS).map(|_| pack.step()).collect();
    host(Tensor::cat(steps, 2));
    let ms = start.elapsed().as_secs_f64() * 1e3 / f64::from(TIMED_STEPS);
    let mut counts = std::collections::BTreeMap::new();
    for kernel in launches.0.lock().expect("no test panicked in a launch").iter() {
        *counts.entry(type_name_format(kernel, cubecl::config::TypeNameFormatLevel::Short)).or_insert(0) += 1;
    }
    let mut counts: Vec<(usize, String)> = counts.into_iter().map(|(kernel, n)| (n, kernel)).collect();
    counts.sort_by(|a, b| b.0.cmp(&a.0));
    (counts, ms)
}

#[test]
fn a_training_step_launches_few_kernels() {
    let device = Choice::Wgpu.open().unwrap().device;
    for optimiser in [Optimiser::Sgd, Optimiser::Adamw] {
        let train = TrainConfig { optimiser, ..TrainConfig::default() };
        for shape in [(4, 16, [widths(20, 8, 4), widths(12, 8, 4)]), (8, 64, [widths(64, 32, 16), widths(32, 32, 16)])] {
            let (counts, ms) = measure(shape, &train, &device);
            let total: usize = counts.iter().map(|c| c.0).sum();
            println!("{optimiser:?} {shape:?}: {total} launches, {ms:.2} ms\n{counts:#?}");
        }
    }
}
