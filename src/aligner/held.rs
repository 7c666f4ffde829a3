//! Cells held at one minibatch, on any executor: what `agree` and `gradcheck` look at.

use burn::tensor::{Device, Tensor, TensorData};

use super::encoder::forward;
use super::fault::Fault;
use super::info_nce::LossSettings;
use super::native::cell::{Model, Workspace, tensors};
use super::native::info_nce::LossSettings as NativeLossSettings;
use super::optimiser::{State, UpdateSettings, update};
use super::parameters::{Encoder, HostEncoder, Parameters, Widths, host};
use super::program::Executor;
use super::step::loss_and_gradients;
use crate::spec::config::TrainConfig;

/// A pack on the host: what all executors start from.
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

/// Losses of every cell, `[C]` each.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    pub total: Vec<f32>,
    pub i2t: Vec<f32>,
    pub t2i: Vec<f32>,
}

/// A problem on an executor. Values of all cells lie one after the other.
pub trait Held {
    /// Normalised embeddings `[C, B, D]`: image, text.
    fn embeddings(&mut self) -> [Vec<f32>; 2];

    /// Losses, and gradients tensor by tensor in the order of `Parameters::names`.
    fn gradients(&mut self) -> (Losses, Vec<Vec<f32>>);

    /// Moves the parameters along the gradients that were last computed; `step` counts from 1.
    fn update(&mut self, step: u64);

    /// Parameters, tensor by tensor.
    fn parameters(&self) -> Vec<Vec<f32>>;
}

impl Problem<'_> {
    /// Puts the problem on an executor. `fault` breaks one of its kernels.
    pub fn hold<'p>(&'p self, executor: &Executor, fault: Option<Fault>) -> Box<dyn Held + 'p> {
        match executor {
            Executor::Tensors(device) => Box::new(HeldTensors::new(self, device, fault)),
            Executor::Native => Box::new(HeldNative::new(self, fault)),
        }
    }

    /// Parameters, observations and settings of the loss as tensors.
    pub fn on(&self, device: &Device) -> (Parameters, [Tensor<3>; 2], LossSettings) {
        let encoder = |m: usize| Encoder::from_host(&self.parameters[m], self.widths[m], device);
        let x = [0, 1].map(|m| {
            let shape = [self.train.len(), self.batch, self.widths[m].inputs];
            Tensor::<3>::from_data(TensorData::new(self.x[m].clone(), shape), device)
        });
        (Parameters { img: encoder(0), txt: encoder(1) }, x, LossSettings::new(&self.train, device))
    }
}

struct HeldTensors {
    parameters: Parameters,
    gradients: Parameters,
    state: Option<State>,
    x: [Tensor<3>; 2],
    loss: LossSettings,
    rule: UpdateSettings,
    fault: Option<Fault>,
}

impl HeldTensors {
    fn new(problem: &Problem<'_>, device: &Device, fault: Option<Fault>) -> Self {
        let (parameters, x, loss) = problem.on(device);
        let state = Some(State::new(problem.train[0].optimiser, &parameters));
        let rule = UpdateSettings::new(&problem.train, device);
        Self { gradients: parameters.zeros_like(), parameters, state, x, loss, rule, fault }
    }
}

impl Held for HeldTensors {
    fn embeddings(&mut self) -> [Vec<f32>; 2] {
        let unit = |encoder: &Encoder, m: usize| host(forward(encoder, self.x[m].clone(), self.fault).unit);
        [unit(&self.parameters.img, 0), unit(&self.parameters.txt, 1)]
    }

    fn gradients(&mut self) -> (Losses, Vec<Vec<f32>>) {
        let [x_img, x_txt] = self.x.clone();
        let result = loss_and_gradients(&self.parameters, x_img, x_txt, &self.loss, self.fault);
        self.gradients = result.gradients;
        let loss = result.loss;
        (Losses { total: host(loss.total), i2t: host(loss.i2t), t2i: host(loss.t2i) }, on_host(&self.gradients))
    }

    fn update(&mut self, step: u64) {
        let state = self.state.take().expect("only absent inside an update");
        let (parameters, state) = update(self.parameters.clone(), self.gradients.clone(), state, &self.rule, step);
        (self.parameters, self.state) = (parameters, Some(state));
    }

    fn parameters(&self) -> Vec<Vec<f32>> {
        on_host(&self.parameters)
    }
}

fn on_host(parameters: &Parameters) -> Vec<Vec<f32>> {
    parameters.tensors().into_iter().map(|t| host(t.clone())).collect()
}

struct HeldNative<'p> {
    problem: &'p Problem<'p>,
    /// One workspace per cell, each holding its minibatch and gradients.
    cells: Vec<(Model, Workspace)>,
    fault: Option<Fault>,
}

impl<'p> HeldNative<'p> {
    fn new(problem: &'p Problem<'p>, fault: Option<Fault>) -> Self {
        let cell = |(c, train): (usize, &&TrainConfig)| {
            let mut workspace = Workspace::new(problem.batch, problem.widths);
            for (m, modality) in workspace.modalities.iter_mut().enumerate() {
                let inputs = problem.widths[m].inputs;
                let rows = problem.x[m].chunks_exact(inputs).skip(c * problem.batch).take(problem.batch);
                rows.enumerate().for_each(|(b, row)| modality.x.row_mut(b)[..inputs].copy_from_slice(row));
            }
            let parameters = [0, 1].map(|m| &problem.parameters[m][c]);
            (Model::new(parameters, problem.widths, train), workspace)
        };
        Self { problem, cells: problem.train.iter().enumerate().map(cell).collect(), fault }
    }
}

impl Held for HeldNative<'_> {
    fn embeddings(&mut self) -> [Vec<f32>; 2] {
        let mut all = [Vec::new(), Vec::new()];
        for (model, workspace) in &mut self.cells {
            workspace.forward(&model.parameters, self.fault);
            for (all, modality) in all.iter_mut().zip(&workspace.modalities) {
                all.extend(modality.z.values());
            }
        }
        all
    }

    fn gradients(&mut self) -> (Losses, Vec<Vec<f32>>) {
        let (mut losses, mut each) = (Losses::default(), Vec::new());
        for ((model, workspace), train) in self.cells.iter_mut().zip(&self.problem.train) {
            let settings = NativeLossSettings::of(train);
            let [total, i2t, t2i] = workspace.loss_and_gradients(&model.parameters, settings, self.fault);
            losses.total.push(total);
            losses.i2t.push(i2t);
            losses.t2i.push(t2i);
            each.push(tensors(&workspace.gradients));
        }
        (losses, one_after_the_other(each))
    }

    fn update(&mut self, step: u64) {
        for ((model, workspace), train) in self.cells.iter_mut().zip(&self.problem.train) {
            workspace.update(model, train, step);
        }
    }

    fn parameters(&self) -> Vec<Vec<f32>> {
        one_after_the_other(self.cells.iter().map(|(model, _)| model.to_host()).collect())
    }
}

/// From tensors per cell to cells per tensor.
fn one_after_the_other(cells: Vec<Vec<Vec<f32>>>) -> Vec<Vec<f32>> {
    let mut out = vec![Vec::new(); cells.first().map_or(0, Vec::len)];
    for cell in cells {
        out.iter_mut().zip(cell).for_each(|(all, one)| all.extend(one));
    }
    out
}
