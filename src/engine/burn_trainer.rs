//! The trainer that is not a mock: worlds, the aligner, and the measurement panel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::measure::{Model, evaluation, panel, spectra, under};
use super::outcome::{Checksums, Curves, Measured, Outcome, Selection, Status, all_missing, checksum};
use super::scheduler::{Control, Measuring, TrainError, Trainer};
use super::selection::Selector;
use super::watch::Watch;
use crate::aligner::backend::Backend;
use crate::aligner::data::{ModalityData, SplitData};
use crate::aligner::fault::Fault;
use crate::aligner::train::{End, Lane, RawEmbeddings, Run, SeedData, Trained, train};
use crate::spec::Cell;
use crate::spec::config::{Config, TextFeatures, WorldConfig};
use crate::world::perturbation::PERTURBATIONS;
use crate::world::{Pairing, Split, SplitName, World, partners};

/// Worlds kept in memory for the packs to come. Packs are ordered by seed, so that a few are enough.
pub(super) const WORLDS_KEPT: usize = 4;

/// Trains packs on one backend.
pub struct BurnTrainer {
    backend: Backend,
    worlds: Mutex<Vec<(WorldKey, Arc<Slot>)>>,
    /// A kernel broken on purpose.
    pub fault: Option<Fault>,
}

/// A world that is made, being made, or was abandoned.
type Slot = Mutex<Option<Arc<Observed>>>;

/// What a world and its draws depend on.
#[derive(Clone, Debug, PartialEq)]
struct WorldKey {
    seed: u64,
    world: WorldConfig,
    features: TextFeatures,
    /// Paths of the perturbations whose draws are present.
    draws: Vec<&'static str>,
}

/// A world with the draws that a pack's switches ask for.
struct Observed {
    world: World,
    /// Per split, path of the perturbation to its draws.
    draws: [BTreeMap<&'static str, Vec<f32>>; 3],
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
        Self { backend, worlds: Mutex::new(Vec::new()), fault: None }
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

    /// The world of a cell with the draws that its switches ask for, made or still at hand.
    fn observed(&self, config: &Config) -> Result<Arc<Observed>, TrainError> {
        let draws = PERTURBATIONS.iter().filter(|p| (p.strength)(config) != 0.0).map(|p| p.path).collect();
        let key = WorldKey { seed: config.seed, world: config.world.clone(), features: config.text.features, draws };
        let slot = {
            let mut worlds = self.lock();
            // The most recently used first.
            let slot = match worlds.iter().position(|(k, _)| *k == key) {
                Some(at) => worlds.remove(at).1,
                None => Arc::new(Slot::default()),
            };
            worlds.insert(0, (key.clone(), slot.clone()));
            worlds.truncate(WORLDS_KEPT);
            slot
        };
        // Whoever comes while it is being made waits for it.
        let mut world = slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(made) = world.as_ref() {
            return Ok(made.clone());
        }
        let made = Arc::new(Observed::new(&key).map_err(|e| TrainError::Failed(e.to_string()))?);
        *world = Some(made.clone());
        Ok(made)
    }

    /// A trained model, to embed other observations with.
    fn model<'a>(&'a self, parameters: &'a [Vec<f32>]) -> Model<'a> {
        Model { executor: &self.backend.executor, parameters, fault: self.fault }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(WorldKey, Arc<Slot>)>> {
        self.worlds.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Trains a pack; measures nothing yet but what stop rules and curves look at.
    fn train_pack(&self, cells: &[&Cell], control: &Control) -> Result<TrainedPack, TrainError> {
        let mut seeds: Vec<u64> = cells.iter().map(|c| c.config.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        let config_of = |seed: u64| cells.iter().find(|c| c.config.seed == seed).map(|c| &c.config);
        let observed: Vec<Arc<Observed>> =
            seeds.iter().filter_map(|s| config_of(*s)).map(|c| self.observed(c)).collect::<Result<_, _>>()?;
        let seed_data: Vec<SeedData<'_>> = observed.iter().map(|o| o.seed_data()).collect();
        let pairings: Vec<[Pairing; 3]> =
            cells.iter().map(|cell| observed[position(&seeds, cell.config.seed)].pairings(&cell.config)).collect();
        let lanes: Vec<Lane<'_>> = cells
            .iter()
            .zip(&pairings)
            .map(|(cell, pairing)| Lane {
                config: &cell.config,
                seed: position(&seeds, cell.config.seed),
                partners: [0, 1, 2].map(|s| pairing[s].partner.as_slice()),
                start: None,
            })
            .collect();

        let mut watches: Vec<Watch> = cells.iter().map(|c| Watch::new(&c.config)).collect();
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
        let worlds = cells.iter().map(|cell| observed[position(&seeds, cell.config.seed)].clone()).collect();
        Ok(TrainedPack { trained, watches, pairings, worlds })
    }
}

/// A pack that has left its device.
struct TrainedPack {
    trained: Vec<Trained>,
    watches: Vec<Watch>,
    pairings: Vec<[Pairing; 3]>,
    /// The world of each cell.
    worlds: Vec<Arc<Observed>>,
}

impl TrainedPack {
    /// Outcomes of the cells that it was made of, and what they leave out.
    fn measure(self, trainer: &BurnTrainer, cells: &[&Cell]) -> Vec<(Outcome, Trained)> {
        let each = cells.iter().zip(self.trained).zip(self.watches).zip(self.pairings).zip(self.worlds);
        let one =
            |((((cell, trained), watch), pairing), observed): ((((&&Cell, Trained), Watch), _), Arc<Observed>)| {
                let mut outcome = outcome(cell, &trained, watch, &pairing);
                let diverged = (outcome.status == Status::Diverged).then_some(outcome.reason.as_str());
                let (model, split) = (trainer.model(&trained.parameters), observed.world.split(SplitName::Test));
                outcome.conditions = cell.conditions.iter().map(|c| under(c, cell, split, &model, diverged)).collect();
                (outcome, trained)
            };
        each.map(one).collect()
    }
}

impl Trainer for BurnTrainer {
    fn train<'a>(&'a self, cells: &[&'a Cell], control: &Control) -> Result<Measuring<'a>, TrainError> {
        let pack = self.train_pack(cells, control)?;
        let cells = cells.to_vec();
        Ok(Box::new(move || pack.measure(self, &cells).into_iter().map(|(outcome, _)| outcome).collect()))
    }

    fn prepare(&self, cells: &[&Cell]) {
        let mut seeds = BTreeSet::new();
        for cell in cells.iter().filter(|cell| seeds.insert(cell.config.seed)).take(WORLDS_KEPT) {
            // An error comes again where the world is needed.
            let _ = self.observed(&cell.config);
        }
    }
}

fn position(seeds: &[u64], seed: u64) -> usize {
    seeds.iter().position(|s| *s == seed).unwrap_or(0)
}

impl Observed {
    fn new(key: &WorldKey) -> Result<Self, crate::world::WorldError> {
        let world = World::generate(key.seed, &key.world, key.features)?;
        let draws = SplitName::ALL.map(|name| {
            let wanted = PERTURBATIONS.iter().filter(|p| key.draws.contains(&p.path));
            wanted.map(|p| (p.path, (p.draws)(world.split(name)))).collect()
        });
        Ok(Self { world, draws })
    }

    fn seed_data(&self) -> SeedData<'_> {
        let splits = [0, 1, 2].map(|i| self.split_data(self.world.split(SplitName::ALL[i]), i));
        SeedData { seed: self.world.seed, splits }
    }

    fn split_data<'a>(&'a self, split: &'a Split, index: usize) -> SplitData<'a> {
        let draws = |path: &str| self.draws[index].get(path).map(Vec::as_slice);
        SplitData {
            n: split.index.len(),
            img: ModalityData {
                clean: &split.img.clean,
                background: &split.img.background,
                noise: draws("image.noise"),
                uniform: draws("image.mask"),
            },
            txt: ModalityData {
                clean: &split.txt.clean,
                background: &split.txt.background,
                noise: None,
                uniform: draws("text.dropout"),
            },
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
    let (metrics, spectra) = measure(cell, trained, &reason);
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
        metrics,
        spectra,
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

/// The panel on the test embeddings, and their spectra.
fn measure(cell: &Cell, trained: &Trained, reason: &str) -> (BTreeMap<String, Measured>, BTreeMap<String, Vec<f64>>) {
    if matches!(trained.end, End::Diverged(_)) {
        return (all_missing(reason), BTreeMap::new());
    }
    match evaluation(&cell.config, &trained.test) {
        Ok(evaluation) => (panel(&evaluation), spectra(&evaluation)),
        Err(error) => (all_missing(&error.to_string()), BTreeMap::new()),
    }
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
