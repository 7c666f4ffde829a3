//! Cells held at one minibatch, on any executor: what `agree` and `gradcheck` look at.

use burn::tensor::{Device, Tensor, TensorData};

use super::balance::Averages;
use super::encoder::forward;
use super::fault::Fault;
use super::native::cell::{Model, Settings, Workspace, tensors};
use super::objective::{Objective, further_series};
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
    /// Factors of the encoders' outputs, one pair per cell.
    pub gains: Vec<[f64; 2]>,
}

/// Losses of every cell, `[C]` each.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    pub total: Vec<f32>,
    pub i2t: Vec<f32>,
    pub t2i: Vec<f32>,
    /// By the names of [`further_series`].
    pub further: Vec<(&'static str, Vec<f32>)>,
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

    fn settings(&self, cell: usize) -> Settings<'_> {
        Settings::new(self.train[cell], self.gains[cell])
    }

    /// Parameters, observations and what is followed, as tensors.
    pub fn on(&self, device: &Device) -> (Parameters, [Tensor<3>; 2], Objective) {
        let encoder = |m: usize| Encoder::from_host(&self.parameters[m], self.widths[m], device);
        let x = [0, 1].map(|m| {
            let shape = [self.train.len(), self.batch, self.widths[m].inputs];
            Tensor::<3>::from_data(TensorData::new(self.x[m].clone(), shape), device)
        });
        (Parameters { img: encoder(0), txt: encoder(1) }, x, Objective::new(&self.train, &self.gains, device))
    }
}

struct HeldTensors {
    parameters: Parameters,
    gradients: Parameters,
    state: Option<State>,
    x: [Tensor<3>; 2],
    objective: Objective,
    averages: Option<Averages>,
    further: Vec<&'static str>,
    rule: UpdateSettings,
    fault: Option<Fault>,
}

impl HeldTensors {
    fn new(problem: &Problem<'_>, device: &Device, fault: Option<Fault>) -> Self {
        let (parameters, x, objective) = problem.on(device);
        let state = Some(State::new(problem.train[0].optimiser, &parameters));
        let rule = UpdateSettings::new(&problem.train, device);
        let further = further_series(problem.train[0]);
        let gradients = parameters.zeros_like();
        Self { gradients, parameters, state, x, objective, averages: None, further, rule, fault }
    }
}

impl Held for HeldTensors {
    fn embeddings(&mut self) -> [Vec<f32>; 2] {
        let unit = |encoder: &Encoder, m: usize| {
            host(forward(encoder, self.x[m].clone(), self.objective.gain(m), self.fault).unit)
        };
        [unit(&self.parameters.img, 0), unit(&self.parameters.txt, 1)]
    }

    fn gradients(&mut self) -> (Losses, Vec<Vec<f32>>) {
        let averages = self.averages.as_ref();
        let result = loss_and_gradients(&self.parameters, self.x.clone(), &self.objective, averages, self.fault);
        (self.gradients, self.averages) = (result.gradients, result.averages);
        let loss = result.loss;
        let further = self.further.iter().copied().zip(result.further.into_iter().map(host)).collect();
        let losses = Losses { total: host(loss.total), i2t: host(loss.i2t), t2i: host(loss.t2i), further };
        (losses, on_host(&self.gradients))
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
        for (c, (model, workspace)) in self.cells.iter_mut().enumerate() {
            workspace.forward(&model.parameters, self.problem.settings(c).gains, self.fault);
            for (all, modality) in all.iter_mut().zip(&workspace.modalities) {
                all.extend(modality.z.values());
            }
        }
        all
    }

    fn gradients(&mut self) -> (Losses, Vec<Vec<f32>>) {
        let (mut losses, mut each) = (Losses::default(), Vec::new());
        let names = further_series(self.problem.train[0]);
        losses.further = names.into_iter().map(|name| (name, Vec::new())).collect();
        for (c, (model, workspace)) in self.cells.iter_mut().enumerate() {
            let [total, i2t, t2i] = workspace.loss_and_gradients(model, self.problem.settings(c), self.fault);
            losses.total.push(total);
            losses.i2t.push(i2t);
            losses.t2i.push(t2i);
            losses.further.iter_mut().zip(workspace.further()).for_each(|((_, all), value)| all.push(*value));
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
