//! The program as Burn tensors with a leading cell axis: the definition that fused code is held to.

use burn::tensor::{Device, Tensor};

use super::balance::Averages;
use super::data::{DeviceSplit, PackView, Reading, SplitData, TEST, TRAIN, VALIDATION, index_tensor};
use super::encoder::{embed, forward};
use super::objective::{Objective, further_series};
use super::optimiser::{State, UpdateSettings, update};
use super::parameters::{Encoder, HostEncoder, Parameters, Widths, host};
use super::program::{Program, Series};
use super::step::{gradient_norms, loss_and_gradients};
use super::train::{EVALUATION_ROWS, Lane, RawEmbeddings, Run, SeedData, initial_parameters, reading, widths};
use crate::spec::config::TrainConfig;

/// The pack's data on the device, split by split.
pub struct PackSplits([DeviceSplit; 3]);

impl PackSplits {
    pub fn new(seeds: &[SeedData<'_>], device: &Device) -> Self {
        Self([TRAIN, VALIDATION, TEST].map(|split| {
            let each: Vec<SplitData<'_>> = seeds.iter().map(|s| s.splits[split]).collect();
            DeviceSplit::new(&each, device)
        }))
    }
}

/// The lanes of a pack as tensors on a device.
pub struct TensorProgram<'a> {
    run: &'a Run<'a>,
    device: &'a Device,
    lanes: Vec<Lane<'a>>,
    splits: &'a PackSplits,
    /// Moved out and back by each update, so that it can reuse the buffers.
    model: Option<Model>,
    settings: Settings<'a>,
    series: DeviceSeries,
}

struct Model {
    parameters: Parameters,
    state: State,
    averages: Option<Averages>,
}

/// Losses and gradient norms since they were last asked for, on the device.
#[derive(Default)]
struct DeviceSeries {
    /// Step of the first loss.
    start: u64,
    /// `[C, 1, 3]` per step.
    losses: Vec<Tensor<3>>,
    /// The same for the series beside the losses, where there are any.
    further: Vec<Tensor<3>>,
    /// Step and `[C, 1, 6]`.
    norms: Vec<(u64, Tensor<3>)>,
}

/// Everything on the device that follows from which lanes are active.
struct Settings<'a> {
    objective: Objective,
    update: UpdateSettings,
    views: [PackView<'a>; 3],
}

impl<'a> Settings<'a> {
    fn new(lanes: &[Lane<'a>], splits: &'a PackSplits, device: &Device) -> Self {
        let configs: Vec<&TrainConfig> = lanes.iter().map(|lane| &lane.config.train).collect();
        let gains: Vec<[f64; 2]> = lanes.iter().map(|lane| lane.config.model.output_gains()).collect();
        let view = |split: usize| {
            let readings: Vec<Reading<'a>> = lanes.iter().map(|lane| reading(lane, split)).collect();
            PackView::new(&splits.0[split], readings, device)
        };
        Self {
            objective: Objective::new(&configs, &gains, device),
            update: UpdateSettings::new(&configs, device),
            views: [view(TRAIN), view(VALIDATION), view(TEST)],
        }
    }
}

impl<'a> TensorProgram<'a> {
    pub fn new(run: &'a Run<'a>, lanes: &[Lane<'a>], splits: &'a PackSplits, device: &'a Device) -> Self {
        let widths = widths(run, lanes);
        let parameters = initial_parameters(run, lanes, widths);
        let encoder = |m: usize, widths: Widths| {
            let cells: Vec<HostEncoder> = parameters.iter().map(|both| both[m].clone()).collect();
            Encoder::from_host(&cells, widths, device)
        };
        let parameters = Parameters { img: encoder(0, widths[0]), txt: encoder(1, widths[1]) };
        let rule = lanes[0].config.train.optimiser;
        Self {
            run,
            device,
            lanes: lanes.to_vec(),
            splits,
            model: Some(Model { state: State::new(rule, &parameters), parameters, averages: None }),
            settings: Settings::new(lanes, splits, device),
            series: DeviceSeries::default(),
        }
    }

    fn current(&self) -> &Parameters {
        &self.at_work().parameters
    }

    fn at_work(&self) -> &Model {
        self.model.as_ref().expect("only absent inside an update")
    }

    fn minibatch(&self, rows: &[&[usize]]) -> (Tensor<3>, Tensor<3>) {
        self.settings.views[TRAIN].observe(rows[0].len(), |lane| rows[self.lanes[lane].seed])
    }
}

impl Program for TensorProgram<'_> {
    fn normalised(&mut self, rows: &[&[usize]]) -> Vec<RawEmbeddings> {
        let (x_img, x_txt) = self.minibatch(rows);
        let objective = &self.settings.objective;
        let img = forward(&self.current().img, x_img, objective.gain(0), self.run.fault).unit;
        let txt = forward(&self.current().txt, x_txt, objective.gain(1), self.run.fault).unit;
        split_lanes(img, txt)
    }

    fn step(&mut self, rows: &[&[usize]], step: u64, record_norms: bool) {
        let (x_img, x_txt) = self.minibatch(rows);
        let Model { parameters, averages, .. } = self.at_work();
        let (x, averages) = ([x_img, x_txt], averages.as_ref());
        let result = loss_and_gradients(parameters, x, &self.settings.objective, averages, self.run.fault);
        if self.series.losses.is_empty() {
            self.series.start = step;
        }
        self.series.losses.push(Tensor::cat(vec![result.loss.total, result.loss.i2t, result.loss.t2i], 2));
        if !result.further.is_empty() {
            self.series.further.push(Tensor::cat(result.further, 2));
        }
        if record_norms {
            self.series.norms.push((step, Tensor::cat(gradient_norms(&result.gradients), 2)));
        }
        let Model { parameters, state, .. } = self.model.take().expect("only absent inside an update");
        let (parameters, state) = update(parameters, result.gradients, state, &self.settings.update, step + 1);
        self.model = Some(Model { parameters, state, averages: result.averages });
    }

    fn runs_ahead(&self) -> bool {
        super::kernel::is_cube(self.device)
    }

    fn series(&mut self) -> Series {
        let DeviceSeries { start, losses, further, norms } = std::mem::take(&mut self.series);
        let (norm_steps, norms): (Vec<u64>, Vec<Tensor<3>>) = norms.into_iter().unzip();
        let lanes = self.lanes.len();
        Series {
            start,
            losses: rows_by_lane(losses, lanes),
            further_names: self.lanes.first().map_or(Vec::new(), |lane| further_series(&lane.config.train)),
            further: values_by_lane(further, lanes),
            norm_steps,
            norms: rows_by_lane(norms, lanes),
        }
    }

    fn embeddings(&mut self, split: usize) -> Vec<RawEmbeddings> {
        let rows: Vec<usize> = (0..self.splits.0[split].n()).collect();
        let mut all = vec![RawEmbeddings { img: Vec::new(), txt: Vec::new() }; self.lanes.len()];
        for part in rows.chunks(EVALUATION_ROWS) {
            let (x_img, x_txt) = self.settings.views[split].observe(part.len(), |_| part);
            let objective = &self.settings.objective;
            let img = embed(&self.current().img, x_img, objective.gain(0), self.run.fault).0;
            let txt = embed(&self.current().txt, x_txt, objective.gain(1), self.run.fault).0;
            for (whole, piece) in all.iter_mut().zip(split_lanes(img, txt)) {
                whole.img.extend(piece.img);
                whole.txt.extend(piece.txt);
            }
        }
        all
    }

    fn parameters(&mut self, lane: usize) -> Vec<Vec<f32>> {
        self.current().to_host(lane)
    }

    fn keep(&mut self, lanes: &[usize]) {
        self.lanes = lanes.iter().map(|lane| self.lanes[*lane]).collect();
        if lanes.is_empty() {
            return;
        }
        let keep = index_tensor(lanes.iter().map(|lane| *lane as i32).collect(), self.device);
        let Model { parameters, state, averages } = self.model.take().expect("only absent inside an update");
        self.model = Some(Model {
            parameters: parameters.select(&keep),
            state: state.select(&keep),
            averages: averages.map(|each| each.map(|e| e.select(0, keep.clone()))),
        });
        self.settings = Settings::new(&self.lanes, self.splits, self.device);
    }
}

/// Brings `[C, 1, W]` tensors to the host, all at once: per lane, one row per tensor.
fn rows_by_lane<const W: usize>(tensors: Vec<Tensor<3>>, lanes: usize) -> Vec<Vec<[f32; W]>> {
    values_by_lane(tensors, lanes).into_iter().map(|values| values.as_chunks::<W>().0.to_vec()).collect()
}

/// The same, with the rows of a lane one after the other.
fn values_by_lane(tensors: Vec<Tensor<3>>, lanes: usize) -> Vec<Vec<f32>> {
    if tensors.is_empty() {
        return vec![Vec::new(); lanes];
    }
    let values = host(Tensor::cat(tensors, 2));
    values.chunks(values.len() / lanes).map(<[f32]>::to_vec).collect()
}

/// Cuts `[C, N, D]` tensors into one host matrix per lane.
fn split_lanes(img: Tensor<3>, txt: Tensor<3>) -> Vec<RawEmbeddings> {
    let lane = |t: Tensor<3>| {
        let [_, n, d] = t.dims();
        host(t).chunks(n * d).map(<[f32]>::to_vec).collect::<Vec<_>>()
    };
    lane(img).into_iter().zip(lane(txt)).map(|(img, txt)| RawEmbeddings { img, txt }).collect()
}
