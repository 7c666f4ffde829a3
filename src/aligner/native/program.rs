//! A pack at work on one CPU thread: its cells step in turn.

use super::cell::{Model, Settings, Workspace};
use super::observe::Observe;
use crate::aligner::data::{Reading, TEST, TRAIN, VALIDATION};
use crate::aligner::objective::further_series;
use crate::aligner::parameters::HostEncoder;
use crate::aligner::program::{Program, Series};
use crate::aligner::train::{Lane, RawEmbeddings, Run, initial_parameters, reading, widths};

/// The lanes of a pack and the workspace that they share.
pub struct NativeProgram<'a> {
    run: &'a Run<'a>,
    lanes: Vec<NativeLane<'a>>,
    workspace: Workspace,
    series: Series,
}

struct NativeLane<'a> {
    lane: Lane<'a>,
    /// Train, validation, test.
    readings: [Reading<'a>; 3],
    settings: Settings<'a>,
    model: Model,
    /// Whether the lane before it sees the same minibatches, as cells do that differ in temperature, say.
    sees_the_same: bool,
}

impl<'a> NativeProgram<'a> {
    pub fn new(run: &'a Run<'a>, lanes: &[Lane<'a>]) -> Self {
        let widths = widths(run, lanes);
        let parameters = initial_parameters(run, lanes, widths);
        let batch = lanes[0].config.train.batch_size as usize;
        let lane = |(lane, parameters): (&Lane<'a>, &[HostEncoder; 2])| {
            let train = &lane.config.train;
            NativeLane {
                lane: *lane,
                readings: [TRAIN, VALIDATION, TEST].map(|split| reading(lane, split)),
                settings: Settings::new(train, lane.config.model.output_gains()),
                model: Model::new(parameters.each_ref(), widths, train),
                sees_the_same: false,
            }
        };
        let mut lanes: Vec<NativeLane<'a>> = lanes.iter().zip(&parameters).map(lane).collect();
        note_same(&mut lanes);
        let mut program = Self { run, series: Series::default(), workspace: Workspace::new(batch, widths), lanes };
        program.series();
        program
    }
}

/// Puts rows of a split, as a lane reads them, where the workspace expects a minibatch.
fn observe(run: &Run<'_>, reading: &Reading<'_>, split: usize, rows: &[usize], workspace: &mut Workspace) {
    let data = &run.seeds[reading.seed].splits[split];
    let arch = workspace.arch();
    let [img, txt] = &mut workspace.modalities;
    let strengths = |m: usize| (reading.noise[m] as f32, reading.drop[m] as f32);
    let (noise, drop) = strengths(0);
    Observe { data: &data.img, noise, drop, rows: rows.iter().copied(), x: &mut img.x }.run(arch);
    let (noise, drop) = strengths(1);
    let partners = rows.iter().map(|row| reading.partner[*row] as usize);
    Observe { data: &data.txt, noise, drop, rows: partners, x: &mut txt.x }.run(arch);
}

/// Whether two cells see the same minibatches.
fn same_observations(a: &Reading<'_>, b: &Reading<'_>) -> bool {
    (a.seed, a.noise, a.drop) == (b.seed, b.noise, b.drop) && a.partner == b.partner
}

/// Notes which lanes see what the lane before them sees.
fn note_same(lanes: &mut [NativeLane<'_>]) {
    let mut before: Option<Reading<'_>> = None;
    for lane in lanes {
        let reading = lane.readings[TRAIN];
        lane.sees_the_same = before.is_some_and(|before| same_observations(&before, &reading));
        before = Some(reading);
    }
}

impl Program for NativeProgram<'_> {
    fn normalised(&mut self, rows: &[&[usize]]) -> Vec<RawEmbeddings> {
        let workspace = &mut self.workspace;
        let one = |lane: &NativeLane<'_>| {
            observe(self.run, &lane.readings[TRAIN], TRAIN, rows[lane.lane.seed], workspace);
            workspace.forward(&lane.model.parameters, lane.settings.gains, self.run.fault);
            let [img, txt] = workspace.modalities.each_ref().map(|m| m.z.values());
            RawEmbeddings { img, txt }
        };
        self.lanes.iter().map(one).collect()
    }

    fn step(&mut self, rows: &[&[usize]], step: u64, record_norms: bool) {
        if self.series.losses.first().is_none_or(Vec::is_empty) {
            self.series.start = step;
        }
        if record_norms {
            self.series.norm_steps.push(step);
        }
        let workspace = &mut self.workspace;
        let series = self.series.losses.iter_mut().zip(&mut self.series.norms).zip(&mut self.series.further);
        for (lane, ((losses, norms), further)) in self.lanes.iter_mut().zip(series) {
            if !lane.sees_the_same {
                let reading = &lane.readings[TRAIN];
                observe(self.run, reading, TRAIN, rows[reading.seed], workspace);
            }
            let (loss, recorded) =
                workspace.step(&mut lane.model, lane.settings, step + 1, record_norms, self.run.fault);
            losses.push(loss);
            further.extend_from_slice(workspace.further());
            norms.extend(recorded);
        }
    }

    fn runs_ahead(&self) -> bool {
        false
    }

    fn series(&mut self) -> Series {
        let lanes = self.lanes.len();
        let empty = Series {
            losses: vec![Vec::new(); lanes],
            further_names: self.lanes.first().map_or(Vec::new(), |lane| further_series(lane.settings.train)),
            further: vec![Vec::new(); lanes],
            norms: vec![Vec::new(); lanes],
            ..Series::default()
        };
        std::mem::replace(&mut self.series, empty)
    }

    fn embeddings(&mut self, split: usize) -> Vec<RawEmbeddings> {
        let rows: Vec<usize> = (0..self.run.seeds[0].splits[split].n).collect();
        let workspace = &mut self.workspace;
        let one = |lane: &NativeLane<'_>| {
            let mut raw = [Vec::new(), Vec::new()];
            for part in rows.chunks(workspace.batch()) {
                observe(self.run, &lane.readings[split], split, part, workspace);
                let arch = workspace.arch();
                let modalities = workspace.modalities.iter_mut().zip(&lane.model.parameters);
                for (((modality, encoder), gain), raw) in modalities.zip(lane.settings.gains).zip(&mut raw) {
                    modality.embed(arch, encoder, gain, part.len(), self.run.fault);
                    modality.z.append_to(part.len(), raw);
                }
            }
            let [img, txt] = raw;
            RawEmbeddings { img, txt }
        };
        self.lanes.iter().map(one).collect()
    }

    fn parameters(&mut self, lane: usize) -> Vec<Vec<f32>> {
        self.lanes[lane].model.to_host()
    }

    fn keep(&mut self, lanes: &[usize]) {
        retain_at(&mut self.lanes, lanes);
        retain_at(&mut self.series.losses, lanes);
        retain_at(&mut self.series.further, lanes);
        retain_at(&mut self.series.norms, lanes);
        note_same(&mut self.lanes);
    }
}

/// Keeps the elements at the given positions.
fn retain_at<T>(values: &mut Vec<T>, positions: &[usize]) {
    let mut at = 0..;
    values.retain(|_| at.next().is_some_and(|at| positions.contains(&at)));
}
