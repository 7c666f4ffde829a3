//! The trainer that is not a mock: worlds, the aligner, and the measurement panel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::outcome::{Checksums, Curves, Measured, Outcome, Status};
use super::scheduler::{Control, Measuring, TrainError, Trainer};
use crate::aligner::backend::Backend;
use crate::aligner::data::{ModalityData, SplitData};
use crate::aligner::fault::Fault;
use crate::aligner::train::{End, Lane, RawEmbeddings, Run, SeedData, Trained, ValidationPoint, Verdict, train};
use crate::metric::{self, Evaluation};
use crate::spec::config::{Config, StopConfig, TextFeatures, WorldConfig};
use crate::spec::{self, Cell};
use crate::world::perturbation::PERTURBATIONS;
use crate::world::{Pairing, Split, SplitName, World, partners};

/// Metrics of the validation series.
pub const VALIDATION_SERIES: [&str; 16] = [
    "retrieval_at_1_i2t",
    "retrieval_at_1_t2i",
    "retrieval_at_5_i2t",
    "retrieval_at_5_t2i",
    "mean_cosine_img",
    "mean_cosine_txt",
    "variance_min_img",
    "variance_min_txt",
    "variance_median_img",
    "variance_median_txt",
    "norm_mean_img",
    "norm_sd_img",
    "norm_mean_txt",
    "norm_sd_txt",
    EFFECTIVE_RANKS[0],
    EFFECTIVE_RANKS[1],
];

const EFFECTIVE_RANKS: [&str; 2] = ["effective_rank_img", "effective_rank_txt"];
const MEAN_COSINES: [&str; 2] = ["mean_cosine_img", "mean_cosine_txt"];

/// Worlds kept in memory for the packs to come. Packs are ordered by seed, so that a few are enough.
pub(super) const WORLDS_KEPT: usize = 4;

/// A mean cosine cannot be above 1, so this threshold switches its rule off.
const NO_COSINE_RULE: f64 = 1.0;

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
    /// Raw test embeddings.
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
        let mut all = self.train_pack(&[cell], control)?.measure(&[cell]);
        let (outcome, trained) = all.pop().ok_or_else(|| TrainError::Failed("the pack came back empty".into()))?;
        Ok(Retrained { outcome, test: trained.test })
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
        Ok(TrainedPack { trained, watches, pairings })
    }
}

/// A pack that has left its device.
struct TrainedPack {
    trained: Vec<Trained>,
    watches: Vec<Watch>,
    pairings: Vec<[Pairing; 3]>,
}

impl TrainedPack {
    /// Outcomes of the cells that it was made of, and what they leave out.
    fn measure(self, cells: &[&Cell]) -> Vec<(Outcome, Trained)> {
        let each = cells.iter().zip(self.trained).zip(self.watches).zip(&self.pairings);
        each.map(|(((cell, trained), watch), pairing)| (outcome(cell, &trained, watch, pairing), trained)).collect()
    }
}

impl Trainer for BurnTrainer {
    fn train<'a>(&'a self, cells: &[&'a Cell], control: &Control) -> Result<Measuring<'a>, TrainError> {
        let pack = self.train_pack(cells, control)?;
        let cells = cells.to_vec();
        Ok(Box::new(move || pack.measure(&cells).into_iter().map(|(outcome, _)| outcome).collect()))
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

/// What is seen of one cell while it trains: its validation series and its stop rules.
struct Watch {
    config: Config,
    series: BTreeMap<u64, BTreeMap<&'static str, f64>>,
    /// First step at which a rule was violated, and what the last check said.
    first_violation: Option<(u64, String)>,
    last_violation: Option<String>,
}

impl Watch {
    fn new(config: &Config) -> Self {
        Self { config: config.clone(), series: BTreeMap::new(), first_violation: None, last_violation: None }
    }

    fn charts(config: &Config, step: u64) -> bool {
        let every = config.curves.validate_every;
        every > 0 && (step.is_multiple_of(every) || step == config.train.steps)
    }

    fn checks(config: &Config, step: u64) -> bool {
        let rules = config.stop.effective_rank_below > 0.0 || config.stop.mean_cosine_above < NO_COSINE_RULE;
        rules && step > 0 && (step.is_multiple_of(config.stop.every) || step == config.train.steps)
    }

    fn due(config: &Config, step: u64) -> bool {
        Self::charts(config, step) || Self::checks(config, step)
    }

    fn look(&mut self, point: ValidationPoint<'_>) -> Verdict {
        let (d, temperature) = (self.config.model.embedding as usize, self.config.train.temperature);
        let Ok(evaluation) = Evaluation::new(&point.embeddings.img, &point.embeddings.txt, d, temperature) else {
            // Not finite, or too few samples: the lane's losses and its end say so, not a look in between.
            return Verdict::Continue;
        };
        if Self::charts(&self.config, point.step) {
            let values = metric::measure_named(&evaluation, &VALIDATION_SERIES);
            let finite = values.into_iter().filter_map(|(name, value)| value.ok().map(|v| (name, v)));
            self.series.insert(point.step, finite.collect());
        }
        if !Self::checks(&self.config, point.step) {
            return Verdict::Continue;
        }
        self.last_violation =
            violation(&self.config.stop, &evaluation).map(|what| format!("{what} at step {}", point.step));
        match &self.last_violation {
            None => Verdict::Continue,
            Some(what) => {
                self.first_violation.get_or_insert_with(|| (point.step, what.clone()));
                if self.config.stop.freeze { Verdict::Stop(what.clone()) } else { Verdict::Continue }
            }
        }
    }
}

/// The stop rule that validation embeddings violate, if any.
fn violation(stop: &StopConfig, evaluation: &Evaluation) -> Option<String> {
    if stop.effective_rank_below > 0.0 {
        for (name, value) in metric::measure_named(evaluation, &EFFECTIVE_RANKS) {
            match value {
                Ok(rank) if rank < stop.effective_rank_below => {
                    return Some(format!("validation {name} {rank:.3} is below {}", stop.effective_rank_below));
                }
                // A rule that cannot be checked is not satisfied.
                Err(reason) => return Some(format!("validation {name} is undefined: {reason}")),
                Ok(_) => {}
            }
        }
    }
    if stop.mean_cosine_above < NO_COSINE_RULE {
        for (name, value) in metric::measure_named(evaluation, &MEAN_COSINES) {
            match value {
                Ok(cosine) if cosine > stop.mean_cosine_above => {
                    return Some(format!("validation {name} {cosine:.4} is above {}", stop.mean_cosine_above));
                }
                Err(reason) => return Some(format!("validation {name} is undefined: {reason}")),
                Ok(_) => {}
            }
        }
    }
    None
}

fn outcome(cell: &Cell, trained: &Trained, watch: Watch, pairings: &[Pairing; 3]) -> Outcome {
    let (status, reason) = match (&trained.end, &watch.last_violation) {
        (End::Diverged(reason), _) => (Status::Diverged, reason.clone()),
        (End::Stopped(reason), _) => (Status::Collapsed, reason.clone()),
        (End::Finished, Some(reason)) => {
            let first = watch.first_violation.as_ref().map_or(trained.steps, |(step, _)| *step);
            (Status::Collapsed, format!("{reason} (first seen at step {first})"))
        }
        (End::Finished, None) => {
            let recovered = |(_, what): &(u64, String)| format!("{what}, and recovered");
            (Status::Ok, watch.first_violation.as_ref().map(recovered).unwrap_or_default())
        }
    };
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
        curves: curves(trained, watch),
        checksums: Checksums {
            first_batch_embeddings: checksum([&trained.first_batch.img, &trained.first_batch.txt]),
            final_parameters: checksum(&trained.parameters),
            test_embeddings: checksum([&trained.test.img, &trained.test.txt]),
        },
        realised,
        wall_s: 0.0,
    }
}

type Panel = (BTreeMap<String, Measured>, BTreeMap<String, Vec<f64>>);

/// The panel on the test embeddings.
fn measure(cell: &Cell, trained: &Trained, reason: &str) -> Panel {
    let all_missing = |reason: &str| {
        let missing = |d: &metric::Descriptor| (d.name.to_string(), Measured::Missing(reason.to_string()));
        (metric::descriptors().map(missing).collect(), BTreeMap::new())
    };
    if matches!(trained.end, End::Diverged(_)) {
        return all_missing(reason);
    }
    let (d, temperature) = (cell.config.model.embedding as usize, cell.config.train.temperature);
    let evaluation = match Evaluation::new(&trained.test.img, &trained.test.txt, d, temperature) {
        Ok(evaluation) => evaluation,
        Err(error) => return all_missing(&error.to_string()),
    };
    let metrics = metric::measure(&evaluation, panel(&cell.config)).into_iter().map(|(name, value)| {
        let measured = value.map_or_else(|reason| Measured::Missing(reason.to_string()), Measured::Value);
        (name.to_string(), measured)
    });
    let spectrum = |m: metric::Modality| Some((m.name().to_string(), evaluation.spectrum(m).ok()?.to_vec()));
    let spectra = [metric::Modality::Img, metric::Modality::Txt].into_iter().filter_map(spectrum).collect();
    (metrics.collect(), spectra)
}

/// How much of the measurement panel a cell gets.
pub(super) fn panel(config: &Config) -> metric::Panel {
    match config.panel {
        spec::config::Panel::Fast => metric::Panel::Fast,
        spec::config::Panel::Full => metric::Panel::Full,
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

/// BLAKE3 over the little-endian bytes of the tensors, in order. Every not-a-number counts as the same one: which bits
/// it has is up to the processor.
fn checksum<'a>(tensors: impl IntoIterator<Item = &'a Vec<f32>>) -> String {
    let mut hasher = blake3::Hasher::new();
    for tensor in tensors {
        let bytes: Vec<u8> = tensor.iter().flat_map(|v| if v.is_nan() { f32::NAN } else { *v }.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
    hasher.finalize().to_hex().to_string()
}
