//! The trainer that is not a mock: worlds, the aligner, and the measurement panel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cache::Cache;
use super::measure::{Measurement, Model, context};
use super::outcome::{Checksums, Curves, Outcome, Selection, Status, checksum};
use super::plan::{features, samples};
use super::scheduler::{Control, Measuring, TrainError, Trainer};
use super::selection::Selector;
use super::watch::Watch;
use crate::aligner::backend::Backend;
use crate::aligner::data::{ModalityData, SplitData};
use crate::aligner::fault::Fault;
use crate::aligner::train::{End, Lane, RawEmbeddings, Run, SeedData, Trained, train};
use crate::spec::config::{Config, TextFeatures, WorldConfig};
use crate::spec::{Cell, Condition};
use crate::world::perturbation::{Act, GAUSSIAN_NOISE, MASK, PERTURBATIONS};
use crate::world::view::{Setting, View};
use crate::world::{Modality, Pairing, SplitName, World, confounder, partners};

/// Worlds kept in memory for the packs to come, each with its draws. Packs are ordered by seed, so that a few are enough.
pub(super) const WORLDS_KEPT: usize = 4;

/// Views kept: packs of one seed come back to the levels of the axes that make them.
pub(super) const VIEWS_KEPT: usize = 16;

/// Bytes that views take which are kept for later, as long as there are at least two: packs in flight hold theirs
/// whatever that takes.
pub(super) const VIEW_BYTES: u64 = 256 << 20;

/// Trains packs on one backend.
pub struct BurnTrainer {
    backend: Backend,
    worlds: Cache<WorldKey, Arc<World>>,
    /// By the path of the perturbation.
    draws: Cache<(WorldKey, &'static str), Arc<Draws>>,
    views: Cache<(WorldKey, Setting), View>,
    /// A kernel broken on purpose.
    pub fault: Option<Fault>,
}

/// What a world depends on.
#[derive(Clone, Debug, PartialEq)]
struct WorldKey {
    seed: u64,
    world: WorldConfig,
    features: TextFeatures,
}

/// A perturbation's draws for every split.
type Draws = [Vec<f32>; 3];

/// A world as the cells of one configuration see it.
#[derive(Clone)]
pub struct Observed {
    pub world: Arc<World>,
    /// Image, text.
    views: [View; 2],
    /// Path of a perturbation that acts on the device to its draws; those that are switched on.
    draws: BTreeMap<&'static str, Arc<Draws>>,
}

/// A cell trained again, with what an outcome does not keep.
pub struct Retrained {
    pub outcome: Outcome,
    /// What was measured: tensor by tensor in the order of `Parameters::names`.
    pub parameters: Vec<Vec<f32>>,
    /// Raw test embeddings under these parameters.
    pub test: RawEmbeddings,
}

impl BurnTrainer {
    pub fn new(backend: Backend) -> Self {
        Self { backend, worlds: Cache::default(), draws: Cache::default(), views: Cache::default(), fault: None }
    }

    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Trains one cell and keeps its test embeddings.
    pub fn retrain(&self, cell: &Cell, control: &Control) -> Result<Retrained, TrainError> {
        let mut all = self.train_pack(&[cell], control)?.measure(self, &[cell]);
        let (outcome, trained) = all.pop().ok_or_else(|| TrainError::Failed("the pack came back empty".into()))?;
        Ok(Retrained { outcome, parameters: trained.parameters, test: trained.test })
    }

    /// Raw test embeddings of a cell that was trained again, under one of its conditions.
    ///
    /// **Errors** a condition that this version does not know; a world that cannot be made.
    pub fn embed_under(
        &self,
        cell: &Cell,
        again: &Retrained,
        condition: &Condition,
    ) -> Result<RawEmbeddings, TrainError> {
        let unknown = || TrainError::Failed("this version does not know what the condition changes".into());
        let config = condition.applied(&cell.config).ok_or_else(unknown)?;
        let world = self.observed(&cell.config)?.world;
        Ok(Measurement { cell, world: &world, model: self.model(&again.parameters) }.embed(&config))
    }

    /// What cells of this configuration see, on every split; made or still at hand.
    pub fn observed(&self, config: &Config) -> Result<Observed, TrainError> {
        let (seed, features) = (config.seed, config.text.features);
        let key = WorldKey { seed, world: config.world.clone(), features };
        let failed = |e: crate::world::WorldError| TrainError::Failed(e.to_string());
        let world = self.worlds.get(key.clone(), WORLDS_KEPT, || {
            World::generate(seed, &config.world, features).map(Arc::new).map_err(failed)
        })?;
        let [img, txt] = Modality::ALL.map(|modality| -> Result<View, TrainError> {
            let setting = Setting::of(config, modality);
            if setting.is_plain() {
                return Ok(setting.view(&world));
            }
            let keep = views_kept(config);
            self.views.get((key.clone(), setting.clone()), keep, || Ok(setting.view(&world)))
        });
        let mut draws = BTreeMap::new();
        for perturbation in PERTURBATIONS.iter().filter(|p| p.is_on(config)) {
            let Act::Feature { draws: draw, .. } = perturbation.act else { continue };
            // Two perturbations act on the device.
            let made = self.draws.get((key.clone(), perturbation.path), 2 * WORLDS_KEPT, || {
                Ok::<_, TrainError>(Arc::new(SplitName::ALL.map(|name| draw(world.split(name)))))
            })?;
            draws.insert(perturbation.path, made);
        }
        Ok(Observed { world, views: [img?, txt?], draws })
    }

    /// A trained model, to embed other observations with.
    fn model<'a>(&'a self, parameters: &'a [Vec<f32>]) -> Model<'a> {
        Model { executor: &self.backend.executor, parameters, fault: self.fault }
    }

    /// Trains a pack; measures nothing yet but what stop rules and curves look at.
    fn train_pack(&self, cells: &[&Cell], control: &Control) -> Result<TrainedPack, TrainError> {
        let seen: Vec<Seen> = cells.iter().map(|c| Seen::of(&c.config)).collect();
        let (mut distinct, mut observed) = (Vec::new(), Vec::new());
        for (cell, seen) in cells.iter().zip(&seen) {
            if !distinct.contains(&seen) {
                distinct.push(seen);
                observed.push(self.observed(&cell.config)?);
            }
        }
        let place = |seen: &Seen| distinct.iter().position(|s| *s == seen).unwrap_or(0);
        let seed_data: Vec<SeedData<'_>> = observed.iter().map(|o| o.seed_data()).collect();
        let pairings: Vec<[Pairing; 3]> =
            cells.iter().zip(&seen).map(|(cell, seen)| observed[place(seen)].pairings(&cell.config)).collect();
        let lanes: Vec<Lane<'_>> = cells
            .iter()
            .zip(&seen)
            .zip(&pairings)
            .map(|((cell, seen), pairing)| Lane {
                config: &cell.config,
                seed: place(seen),
                partners: [0, 1, 2].map(|s| pairing[s].partner.as_slice()),
                start: None,
            })
            .collect();

        let watch = |(cell, seen): (&&Cell, &Seen)| {
            let validation = observed[place(seen)].world.split(SplitName::Validation);
            Watch::new(&cell.config, || context(validation, &cell.config, &cell.config))
        };
        let mut watches: Vec<Watch> = cells.iter().zip(&seen).map(watch).collect();
        let configs: Vec<&Config> = cells.iter().map(|c| &c.config).collect();
        let due = |cell: usize, step: u64| Watch::due(configs[cell], step);
        let run = Run {
            executor: &self.backend.executor,
            seeds: &seed_data,
            due: &due,
            cancel: &control.cancel,
            cell_steps: &control.cell_steps,
            busy_ns: &control.busy_ns,
            fault: self.fault,
        };
        let trained =
            train(&run, &lanes, |point| watches[point.cell].look(point)).map_err(|_| TrainError::Cancelled)?;
        let worlds = seen.iter().map(|seen| observed[place(seen)].world.clone()).collect();
        Ok(TrainedPack { trained, watches, pairings, worlds })
    }
}

/// A pack that has left its device.
struct TrainedPack {
    trained: Vec<Trained>,
    watches: Vec<Watch>,
    pairings: Vec<[Pairing; 3]>,
    /// The world of each cell.
    worlds: Vec<Arc<World>>,
}

impl TrainedPack {
    /// Outcomes of the cells that it was made of, and what they leave out.
    fn measure(self, trainer: &BurnTrainer, cells: &[&Cell]) -> Vec<(Outcome, Trained)> {
        let mut measured = Vec::with_capacity(cells.len());
        let parts = self.watches.into_iter().zip(self.pairings).zip(self.worlds);
        for ((cell, trained), ((watch, pairing), world)) in cells.iter().zip(self.trained).zip(parts) {
            let mut outcome = outcome(cell, &trained, watch, &pairing);
            outcome.realised.extend(confounder::realised(&world, &cell.config.confounder));
            let measurement = Measurement { cell, world: &world, model: trainer.model(&trained.parameters) };
            measurement.take(&trained.test, &mut outcome);
            measured.push((outcome, trained));
        }
        measured
    }
}

impl Trainer for BurnTrainer {
    fn train<'a>(&'a self, cells: &[&'a Cell], control: &Control) -> Result<Measuring<'a>, TrainError> {
        let pack = self.train_pack(cells, control)?;
        let cells = cells.to_vec();
        Ok(Box::new(move || pack.measure(self, &cells).into_iter().map(|(outcome, _)| outcome).collect()))
    }

    fn prepare(&self, cells: &[&Cell]) {
        let mut prepared: Vec<Seen> = Vec::new();
        for cell in cells {
            let seen = Seen::of(&cell.config);
            if prepared.len() < WORLDS_KEPT && !prepared.contains(&seen) {
                // An error comes again where the world is needed.
                let _ = self.observed(&cell.config);
                prepared.push(seen);
            }
        }
    }
}

/// What decides which data a cell of a pack reads; the world's sizes and features are the pack's.
#[derive(PartialEq)]
struct Seen {
    seed: u64,
    settings: [Setting; 2],
}

impl Seen {
    fn of(config: &Config) -> Self {
        Self { seed: config.seed, settings: Modality::ALL.map(|modality| Setting::of(config, modality)) }
    }
}

/// Views kept for later, of this size.
pub(super) fn views_kept(config: &Config) -> usize {
    let largest = features(config).into_iter().max().unwrap_or(1) * samples(config) * 4;
    ((VIEW_BYTES / largest.max(1)) as usize).clamp(2, VIEWS_KEPT)
}

impl Observed {
    fn seed_data(&self) -> SeedData<'_> {
        SeedData { seed: self.world.seed, splits: [0, 1, 2].map(|split| self.split_data(split)) }
    }

    fn split_data(&self, split: usize) -> SplitData<'_> {
        let draws = |path: &str| self.draws.get(path).map(|draws| draws[split].as_slice());
        let [img, txt] = self.views.each_ref().map(|view| view[split].as_ref());
        SplitData {
            n: img.n,
            img: ModalityData {
                clean: &img.clean,
                background: &img.background,
                noise: draws(GAUSSIAN_NOISE.path),
                uniform: draws(MASK.path),
            },
            txt: ModalityData { clean: &txt.clean, background: &txt.background, noise: None, uniform: None },
        }
    }

    fn pairings(&self, config: &Config) -> [Pairing; 3] {
        SplitName::ALL.map(|name| partners(config.seed, name, &config.pairing, &self.world.split(name).factors))
    }
}

fn outcome(cell: &Cell, trained: &Trained, mut watch: Watch, pairings: &[Pairing; 3]) -> Outcome {
    let (status, mut reason) = watch.status(&trained.end, trained.steps);
    let selection = selection(trained, watch.selector.take());
    if let (Status::Collapsed, Some(kept)) = (status, &trained.kept) {
        reason.push_str(&format!("; measured at its best checkpoint, step {}", kept.step));
    }
    if let (true, Some(none)) = (status != Status::Diverged, selection.as_ref().filter(|s| !s.reason.is_empty())) {
        let separator = if reason.is_empty() { "" } else { "; " };
        reason.push_str(&format!("{separator}measured at its end: {}", none.reason));
    }
    let realised = SplitName::ALL
        .iter()
        .zip(pairings)
        .map(|(name, p)| (format!("corrupted_share_{}", name.name()), p.corrupted_share))
        .collect();
    Outcome {
        cell_id: cell.id.clone(),
        status,
        reason,
        steps: trained.steps,
        metrics: BTreeMap::new(),
        spectra: BTreeMap::new(),
        crossings: watch.crossings(),
        selection,
        curves: curves(trained, watch),
        checksums: Checksums {
            first_batch_embeddings: checksum([&trained.first_batch.img, &trained.first_batch.txt]),
            final_parameters: checksum(trained.kept.as_ref().map_or(&trained.parameters, |kept| &kept.last)),
            test_embeddings: checksum([&trained.test.img, &trained.test.txt]),
        },
        realised,
        conditions: Vec::new(),
        wall_s: 0.0,
    }
}

/// Which checkpoint is measured, where one was to be selected.
fn selection(trained: &Trained, selector: Option<Selector>) -> Option<Selection> {
    let kept = trained.kept.as_ref().map(|kept| (kept.step, checksum(&trained.parameters)));
    Some(selector?.selection(trained.steps, kept, matches!(trained.end, End::Diverged(_))))
}

/// The training and validation series on one step axis.
fn curves(trained: &Trained, watch: Watch) -> Curves {
    let mut rows: BTreeMap<u64, BTreeMap<String, f64>> = BTreeMap::new();
    for (step, values) in &trained.series {
        let named = values.iter().map(|(name, v)| ((*name).to_string(), *v));
        rows.entry(*step).or_default().extend(named);
    }
    for (step, values) in watch.series {
        let named = values.into_iter().map(|(name, v)| (format!("validation_{name}"), v));
        rows.entry(step).or_default().extend(named);
    }
    let names: BTreeSet<&String> = rows.values().flat_map(BTreeMap::keys).collect();
    let column =
        |name: &String| rows.values().map(|row| row.get(name).copied().filter(|v| v.is_finite())).collect::<Vec<_>>();
    Curves { step: rows.keys().copied().collect(), series: names.into_iter().map(|n| (n.clone(), column(n))).collect() }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::aligner::backend::Choice;
    use crate::world::view::{observed, on_features};

    /// Every feature of a split as the encoder of a modality takes it in, what the device does included, `[N, P]`.
    fn features(seen: &Observed, split: SplitName, modality: Modality, config: &Config) -> Vec<f32> {
        let view = &seen.views[modality as usize][split as usize];
        on_features(view, modality, config, |path, draws| match seen.draws.get(path) {
            Some(made) => Cow::Borrowed(made[split as usize].as_slice()),
            None => Cow::Owned(draws(seen.world.split(split))),
        })
    }

    #[test]
    fn what_cells_see_is_what_the_world_defines_and_plain_views_are_not_copied() {
        let trainer = BurnTrainer::new(Choice::Native.open().expect("native needs nothing"));
        let world = WorldConfig { image_size: 8, n_train: 40, n_validation: 8, n_test: 8 };
        let mut config = Config { world, ..Config::default() };
        let clean = trainer.observed(&config).expect("a sound configuration");
        assert!(Arc::ptr_eq(&clean.views[0][2], &clean.world.split(SplitName::Test).img));
        (config.image.blur, config.image.noise, config.image.mask) = (0.7, 0.2, 0.1);
        let seen = trainer.observed(&config).expect("a sound configuration");
        assert!(Arc::ptr_eq(&seen.world, &clean.world) && Arc::ptr_eq(&seen.views[1][0], &clean.views[1][0]));
        for (name, modality) in SplitName::ALL.into_iter().flat_map(|n| Modality::ALL.map(|m| (n, m))) {
            let expected = observed(clean.world.split(name), modality, &config);
            assert_eq!(features(&seen, name, modality, &config), expected);
            // Without the draws at hand they are made.
            let mut blurred = config.clone();
            (blurred.image.noise, blurred.image.mask) = (0.0, 0.0);
            let undrawn = trainer.observed(&blurred).expect("a sound configuration");
            assert_eq!(features(&undrawn, name, modality, &config), expected);
        }
    }
}
