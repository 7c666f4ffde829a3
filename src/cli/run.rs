//! `cliffline run`: trains what is missing and writes the tables.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde_json::json;

use super::checked::require_outside;
pub(super) use super::exemplars::ExemplarArgs;
use super::exemplars::{Effort, Written};
use super::finish::{Trail, claim, keep_edited_spec};
use super::gate::{GateExit, Registration};
use super::opened::{refuse_packed, to_write, waits};
use super::progress::Progress;
use super::redact::{self, RedactArgs};
use super::report::{self, DrawArgs};
pub(super) use super::reuse::ReuseArgs;
use super::reuse::{Lent, Refusal, Taken, in_short};
use super::summary::{failed_example, render, write_step_summary};
use super::{BackendArgs, SpecArgs, columns, exemplars, exit, gate, interrupt, output, require_memory, terminal};
use crate::aligner::gradcheck::Tally;
use crate::analysis::{StopRules, Summary, write_derived};
use crate::audit::{GATES_CHANGED, RISK_LOG_FILE, RUN_REPORT_FILE};
use crate::engine::{self, BurnTrainer, Control, Estimate, Event, LIMITS, Outcome, Pack, Workers, run_packs};
use crate::report::RunData;
use crate::spec::{Cell, Config, Sweep};
use crate::store::{
    CELLS_TABLE, CellRecord, Damaged, Directives, EXEMPLARS_TABLE, Environment, FilesLock, Holds, Identity, Levels,
    REPORT_FILE, REUSED_FILE, RUN_TABLES, RunDir, RunManifest, RunReader, RunState, RunTables, SPEC_FILE, StoreError,
    end_cut_short, hash_file, mark, now_utc, read_columns, read_text, require_ours, take_lacking, unseal, write_atomic,
};

/// Metrics of the table at the end of a run.
const SUMMARY_METRICS: [&str; 2] = ["effective_rank_img", "retrieval_at_1_i2t"];

/// Key of the manifest under which the tried pack sizes are.
const TUNING: &str = "pack_sizes_tried";

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Run directory [default: results/<name>-<first 8 of the spec hash>]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    backend: BackendArgs,
    #[command(flatten)]
    reuse: ReuseArgs,
    #[command(flatten)]
    exemplars: ExemplarArgs,
    #[command(flatten)]
    redact: RedactArgs,
    #[command(flatten)]
    drawing: DrawArgs,
    #[command(flatten)]
    gate: GateExit,
    /// Print one JSON document on standard output instead of the summary
    #[arg(long)]
    json: bool,
}

pub fn main(args: &RunArgs) -> anyhow::Result<u8> {
    args.redact.check()?;
    let sweep = args.redact.clear(args.spec.load()?);
    args.gate.require(&sweep)?;
    let dir = args.output.clone().unwrap_or_else(|| default_dir(&sweep));
    if !require_ours(&dir, &Holds::Run)? {
        require_outside(&dir)?;
    }
    let (sweep, kept) = keeping(sweep, &dir);
    let backend = args.backend.open()?;
    let begins = !RunReader::is_run(&dir);
    if begins {
        // What cannot be done should leave no directory behind.
        let all: Vec<usize> = (0..sweep.cells.len()).collect();
        args.backend.require_room(&backend, &sweep, &all)?;
    }
    let trainer = BurnTrainer::new(backend);
    let mut session = Session::open(&sweep, &dir, &trainer, &args.reuse)?.with(&args.exemplars).redacting(&args.redact);
    (session.draws, session.has_room) = (!args.drawing.no_report, begins);
    // A directory that is refused keeps nothing.
    say_kept(&dir, kept);
    let standing = session.go(&args.backend, &trainer)?;
    if standing.refused.is_some() {
        return standing.stopped(&dir, args.json);
    }
    session.report(&standing, args.gate, args.json)
}

/// How a run stands after a process did its work on it.
#[derive(Debug)]
pub(super) struct Standing {
    /// Why nothing was trained: it would have been trained wrongly, or beside records that cannot be believed, or was
    /// interrupted before. None where it was, or where nothing was missing.
    pub refused: Option<String>,
    pub interrupted: bool,
    /// Cells of the sweep that are finished.
    pub finished: usize,
    pub by_status: BTreeMap<String, u64>,
    /// Finished cells that were there when the directory was opened.
    pub present: usize,
    /// Cells taken over from runs beside this one.
    pub reused: usize,
    /// Cells trained by this process.
    pub trained: usize,
    pub exit_code: u8,
}

/// What is said of a command that a signal stopped.
pub(super) const INTERRUPTED: &str = "interrupted; the same command goes on from here";

impl Standing {
    /// Prints the document of a command that ended before it had a result, where `json` asks for one. Returns the exit
    /// code.
    pub(super) fn stopped(&self, dir: &Path, json: bool) -> anyhow::Result<u8> {
        if json {
            output::json(&json!({
                "version": 1, "dir": output::path(dir), "refused": self.refused, "interrupted": self.interrupted,
                "finished": self.finished, "by_status": self.by_status, "present": self.present, "reused": self.reused,
                "trained": self.trained, "exit_code": self.exit_code,
            }))?;
        }
        Ok(self.exit_code)
    }
}

/// A sweep with the cells that the run in `dir` has beside its grid, and how many those are: they are part of the run
/// since `refine` added them to its spec, which the spec that it was begun with does not say. Where they cannot be cells
/// of this sweep it is left as it is, and the directory is refused.
pub(super) fn keeping(sweep: Sweep, dir: &Path) -> (Sweep, usize) {
    // Most runs have none, and reading a large sweep takes its time.
    let mentioned = read_text(&dir.join(SPEC_FILE)).is_ok_and(|text| text.contains("include"));
    let earlier = (mentioned && RunReader::is_run(dir)).then(|| super::checked::spec(dir).ok()).flatten();
    let kept = earlier
        .filter(|earlier| earlier.name == sweep.name && !earlier.include.is_empty())
        .and_then(|e| sweep.with_includes_of(&e));
    match kept.map(|kept| (kept.cells.len() - sweep.cells.len(), kept)) {
        Some((more, kept)) if more > 0 => (kept, more),
        _ => (sweep, 0),
    }
}

/// Says how many cells [`keeping`] kept.
pub(super) fn say_kept(dir: &Path, kept: usize) {
    if kept > 0 {
        let cells = output::count(kept, "cell");
        output::note(&format!("{}: keeping {cells} that refine added, or an earlier [[include]]", dir.display()));
    }
}

/// `results/<name>-<first 8 of the spec hash>`.
pub fn default_dir(sweep: &Sweep) -> PathBuf {
    Path::new("results").join(format!("{}-{}", sweep.name, &sweep.hash()[..8]))
}

/// One process's work on a run directory: [`Session::open`], then [`Session::go`].
pub(super) struct Session<'a> {
    sweep: &'a Sweep,
    dir: PathBuf,
    run: RunDir,
    manifest: RunManifest,
    /// The manifest that was there, complete and of this very plan.
    complete_before: Option<RunManifest>,
    present: usize,
    /// Which runs beside this one may lend cells.
    reuse: ReuseArgs,
    /// What they lent.
    taken: Taken,
    /// Cells trained by this process.
    trained: usize,
    /// A cell came out differently when it was trained again for its embeddings.
    differs: bool,
    /// What this process is, for the records of its cells.
    made_by: String,
    pub(super) exemplars: Effort,
    /// Whether tables that changed are drawn at once.
    pub(super) draws: bool,
    /// Whether the caller made sure that there is memory and that there are threads.
    pub(super) has_room: bool,
    trail: Trail,
    /// Hash of the spec that the manifest of an earlier session records.
    spec_before: Option<String>,
    /// Keeps others from the files of a run that lacks nothing, until its manifest says that this session is at work.
    files: Option<FilesLock>,
    /// The gates of an earlier session that finished cells; none where no cell was finished.
    gates_before: Option<BTreeMap<String, serde_json::Value>>,
}

impl<'a> Session<'a> {
    pub(super) fn with(self, args: &ExemplarArgs) -> Self {
        Self { exemplars: if args.no_exemplars { Effort::None } else { Effort::Small }, ..self }
    }

    /// With what its log must not say.
    pub(super) fn redacting(mut self, args: &RedactArgs) -> Self {
        self.trail.redact = args.clone();
        self
    }

    /// Opens the directory. Nothing of a run that is there is changed: that comes once nothing refuses the work, and
    /// the manifest says that it began.
    pub(super) fn open(sweep: &'a Sweep, dir: &Path, trainer: &BurnTrainer, reuse: &ReuseArgs) -> anyhow::Result<Self> {
        let backend = trainer.backend();
        let class = backend.class.clone();
        let identity = Identity {
            sweep: sweep.name.clone(),
            class: class.clone(),
            cell_ids: sweep.cells.iter().map(|c| c.id.clone()).collect(),
            levels: levels(sweep),
        };
        refuse_packed(dir)?;
        let held = dir.is_dir().then(|| FilesLock::to_write(dir, waits(dir))).transpose()?;
        if RunReader::is_run(dir) {
            end_cut_short(dir)?;
        }
        let run = RunDir::hold(dir, &identity)?;
        take_lacking().iter().for_each(|lacking| output::note(lacking));
        let files = held.map_or_else(|| to_write(dir), Ok)?;
        drop(identity);
        let earlier = match RunManifest::read(dir) {
            // It is set aside before another is written.
            Err(StoreError::Damaged { .. }) => None,
            _ if run.has_damaged_manifest() => None,
            earlier => earlier?,
        };
        let sessions = earlier.as_ref().and_then(|m| m.more.get("sessions").cloned());
        // Where the record of them is lost, nothing says that they are older than the cells.
        let gates_before = (!run.reader().is_empty()).then(|| earlier.as_ref().map(gate::recorded).unwrap_or_default());
        let gates_changed = earlier.as_ref().and_then(|m| m.more.get(GATES_CHANGED).cloned());
        let spec_before = earlier.as_ref().map(|m| m.spec_blake3.clone());
        let before = earlier.clone().filter(|m| m.spec_blake3 == sweep.hash() && m.class == class);
        let adapter = backend.adapter.as_ref();
        let environment =
            Environment::detect(backend.name, adapter.map(|a| a.name.clone()), adapter.map(|a| a.driver.clone()));
        let spec = serde_json::to_value(toml::from_str::<toml::Table>(&sweep.to_toml())?)?;
        let code = super::code::code();
        let made_by = super::code::made_by(&code, environment.cpu.as_deref());
        // A manifest that is gone on with keeps its identity; what it says of code and machine is of this process.
        let mut manifest = match before.clone() {
            Some(before) => RunManifest { spec, code, environment, ..before },
            None => RunManifest::begin(&sweep.name, &sweep.hash(), spec, &class, environment, code),
        };
        earlier.iter().for_each(|earlier| redact::carry(earlier, &mut manifest));
        // Those who worked on the run before its plan grew worked on it all the same.
        manifest.more.extend(sessions.map(|list| ("sessions".to_string(), list)));
        manifest.more.extend(gates_changed.map(|utc| (GATES_CHANGED.to_string(), utc)));
        let present = finished(&run, sweep);
        let trail = Trail::of(dir)?;
        // To look at what is beside the run can take long, and changes no file.
        let files = (present == sweep.cells.len()).then_some(files);
        let complete_before = before.filter(|m| m.state == RunState::Complete && !run.is_damaged());
        Ok(Self {
            sweep,
            dir: dir.to_path_buf(),
            run,
            manifest,
            complete_before,
            present,
            reuse: reuse.clone(),
            taken: Taken::default(),
            trained: 0,
            differs: false,
            made_by,
            exemplars: Effort::Small,
            trail,
            spec_before,
            files,
            gates_before,
            draws: false,
            has_room: false,
        })
    }

    /// Trains what is missing and writes the tables, and says nothing on standard output.
    pub(super) fn go(&mut self, backend: &BackendArgs, trainer: &BurnTrainer) -> anyhow::Result<Standing> {
        if self.missing().is_empty() && self.is_intact()? {
            let cells = self.sweep.cells.len();
            output::note(&format!("{}: all {cells} cells are there; nothing to do", self.dir.display()));
            self.draw_if_missing()?;
            self.files = None;
            return Ok(self.standing(false));
        }
        // First all that can refuse the work: until then nothing of the run changes.
        self.trail.redact.require_again(&self.dir, self.manifest.more.get(redact::REDACTION))?;
        let lent = match self.borrow(backend, trainer)? {
            Ok(lent) => lent,
            Err(refusal) => return Ok(self.refused(&refusal)),
        };
        let control = Arc::new(Control::default());
        interrupt::watch(&control);
        let mut log = self.begin(trainer)?;
        self.mend()?;
        self.take_over(&lent, &mut log)?;
        let missing = self.missing();
        let (packs, estimate) = match self.has_room {
            true => backend.packs(trainer.backend(), self.sweep, &missing),
            // More can be missing than was expected, where records were set aside.
            false => backend.require_room(trainer.backend(), self.sweep, &missing)?,
        };
        if !missing.is_empty() {
            let text = "check the gradients of each set of options, at mild settings and at the ends of the sweep's";
            log.record("gradcheck", "compare analytic gradients with autodiff and derivatives in f64", text)?;
        }
        if let Some(why) = self.check_gradients(&missing, trainer)? {
            self.manifest.state = RunState::Incomplete;
            self.trail.finish(&to_write(&self.dir)?, &self.dir, self.sweep, &mut self.manifest, log)?;
            return Ok(Standing { refused: Some(why), exit_code: exit::NO, ..self.standing(false) });
        }
        let (packs, estimate) = match control.is_cancelled() {
            true => (packs, estimate),
            false => self.tune(packs, estimate, backend, trainer, &missing),
        };
        let threads = backend.threads(trainer.backend());
        // With fewer packs than threads the rest would have nothing to do.
        let workers = Workers { training: threads.training.min(packs.len()).max(1), ..threads };
        if !packs.is_empty() {
            let text = format!("train {} cells in {} packs on {}", missing.len(), packs.len(), self.manifest.class);
            log.record("train", "train what is missing and measure it", &text)?;
        }
        let interrupted = self.train(packs, &estimate, trainer, workers, &control)?;
        interrupt::writes();
        log.record("tables", "write the tables of all finished cells", &RUN_TABLES.join(", "))?;
        self.write_tables()?;
        self.write_gates(&mut log)?;
        let sweep = self.sweep;
        let complete = |run: &RunDir| finished(run, sweep) == sweep.cells.len();
        let all_there = !interrupted && complete(&self.run);
        self.write_exemplars(all_there, trainer, &mut log)?;
        self.manifest.state = match (interrupted, complete(&self.run) && !self.differs) {
            (true, _) => RunState::Interrupted,
            (false, true) => RunState::Complete,
            (false, false) => RunState::Incomplete,
        };
        self.manifest.cells.by_status = self.run.reader().counts();
        self.log_session();
        if self.draws {
            log.record("report", "draw the tables as they are now", REPORT_FILE)?;
        }
        let hold = to_write(&self.dir)?;
        // Whoever looked at the run while it was at work may have drawn what was there then.
        report::remove(&self.dir)?;
        let drawn = self.draw();
        // The run is what it is, with a report or without. What else it writes comes before this line, which seals it.
        self.trail.finish(&hold, &self.dir, self.sweep, &mut self.manifest, log)?;
        drawn?;
        Ok(self.standing(interrupted))
    }

    /// Draws the tables as they are now, and lists the report in the manifest that is about to be written.
    fn draw(&mut self) -> anyhow::Result<()> {
        if self.draws && !self.run.reader().is_empty() {
            let (dir, sweep) = (self.dir.clone(), Cow::Borrowed(self.sweep));
            let drawn =
                report::draw(&RunData { dir, manifest: self.manifest.clone(), sweep }).context("drawing the report")?;
            report::list(&mut self.manifest, &drawn);
        }
        Ok(())
    }

    /// Draws a run that is complete and was not drawn, which changes nothing else of it.
    fn draw_if_missing(&mut self) -> anyhow::Result<()> {
        let Some(complete) = self.complete_before.clone() else { return Ok(()) };
        if let (true, Some(hold)) = (self.draws && !complete.tables.contains_key(REPORT_FILE), &self.files) {
            report::renew_held(hold, &self.dir)?;
            self.manifest = RunManifest::read(&self.dir)?.unwrap_or(complete);
        }
        Ok(())
    }

    /// Adds this process to the manifest's list of those that worked on the run.
    fn log_session(&mut self) {
        let session = json!({
            "made_by": self.made_by, "ended_utc": now_utc(), "trained": self.trained, "reused": self.taken.cells,
            "reused_from": self.taken.runs,
            "wall_s": self.manifest.timings.get("wall_s").filter(|_| self.trained > 0),
        });
        let sessions = self.manifest.more.entry("sessions".to_string()).or_insert_with(|| json!([]));
        if let Some(list) = sessions.as_array_mut() {
            list.push(session);
        }
    }

    /// Checks the analytic gradients at the settings of all cells, finished or not, and records the verdict: a run
    /// whose gradients are wrong must not train. What is wrong with them; none when they are right.
    fn check_gradients(&mut self, missing: &[usize], trainer: &BurnTrainer) -> anyhow::Result<Option<String>> {
        if missing.is_empty() {
            return Ok(None);
        }
        let checks = engine::gradcheck(&self.sweep.cells, trainer.backend(), engine::Settings::Own, trainer.fault)?;
        let wrong: Vec<_> = checks.iter().filter(|c| !c.passed).collect();
        let tally = Tally::of(&checks);
        let blind =
            "no check of a tensor's gradient can tell a fault from rounding; nothing is trained (see gradcheck)";
        let mut why = (!tally.passed).then(|| blind.to_string());
        if let Some(doubt) = tally.doubt() {
            output::note(&doubt);
        }
        if let Some(first) = wrong.first() {
            let (case, tensor) = (&first.case, &first.tensor);
            why = Some(format!("the gradient of {tensor} is wrong at {case}; nothing is trained (see gradcheck)"));
        }
        why.iter().for_each(|why| output::note(why));
        let mut verdict = serde_json::to_value(tally)?;
        verdict["failed"] = json!(wrong);
        self.manifest.more.insert("gradcheck".to_string(), verdict);
        Ok(why)
    }

    /// What runs beside this one lend of what is missing, once there is room for the rest. Nothing is written.
    fn borrow(&self, backend: &BackendArgs, trainer: &BurnTrainer) -> anyhow::Result<Result<Lent, Refusal>> {
        let (missing, cells) = (self.missing(), &self.sweep.cells);
        let wanted: Vec<&str> = missing.iter().filter_map(|index| Some(cells.get(*index)?.id.as_str())).collect();
        let found = self.reuse.find(&self.dir, &wanted, &self.manifest.class)?;
        let found = found.redacted(&self.trail.redact.redaction()?);
        if !self.has_room {
            let offered = found.cells();
            let rest = missing.iter().zip(&wanted).filter(|(_, id)| !offered.contains(*id)).map(|(index, _)| *index);
            backend.require_room(trainer.backend(), self.sweep, &rest.collect::<Vec<_>>())?;
        }
        self.reuse.sample(found, trainer)
    }

    /// Before anything is made of the records: sets aside those that are damaged or cannot be, which are then trained
    /// again.
    fn mend(&mut self) -> anyhow::Result<()> {
        report_damage(&self.run.mend()?.damaged);
        report_damage(&self.run.set_aside_unbelievable()?);
        self.present = finished(&self.run, self.sweep);
        Ok(())
    }

    /// Takes over what runs beside this one lend.
    fn take_over(&mut self, lent: &Lent, log: &mut Directives) -> anyhow::Result<()> {
        self.taken = lent.take_over(&mut self.run)?;
        if self.taken.cells > 0 {
            let text = format!("take over {} from runs beside this one", output::count(self.taken.cells, "cell"));
            log.record("reuse", "take over cells of which a sample was trained again", &text)?;
        }
        Ok(())
    }

    /// Writes the manifest of a run at work first, so that from then on nothing vouches for the files; then the spec,
    /// and what was asked for.
    fn begin(&mut self, trainer: &BurnTrainer) -> anyhow::Result<Directives> {
        let _hold = self.files.take().map_or_else(|| to_write(&self.dir), Ok)?;
        report_damage(self.run.set_manifest_aside()?.as_slice());
        let files = [RISK_LOG_FILE, RUN_REPORT_FILE, REUSED_FILE].into_iter().chain(RUN_TABLES).collect::<Vec<_>>();
        claim(&self.dir, &Holds::Run, &files)?;
        let text = self.sweep.to_toml();
        keep_edited_spec(&self.dir, &text, self.spec_before.as_deref())?;
        // Runs of earlier versions have no marker.
        mark(&self.dir, &Holds::Run)?;
        self.manifest.forget_seal();
        self.manifest.set_cells_root(None);
        self.manifest.state = RunState::Running;
        // The tables of an earlier state are about to be replaced.
        self.manifest.tables.clear();
        self.manifest.cells.planned = self.sweep.cells.len() as u64;
        self.manifest.notes = vec![format!("backend {}: {}", trainer.backend().name, trainer.backend().why)];
        self.manifest.thresholds = thresholds(self.sweep);
        if self.gates_before.as_ref().is_some_and(|before| *before != gate::recorded(&self.manifest)) {
            self.manifest.more.insert(GATES_CHANGED.to_string(), json!(now_utc()));
        }
        self.trail.redact.mark(&self.dir, &mut self.manifest);
        self.manifest.write(&self.dir)?;
        unseal(&self.dir)?;
        write_atomic(&self.dir.join(SPEC_FILE), |out| out.write_all(text.as_bytes()))?;
        self.trail.begin(&self.dir, self.sweep, self.present)
    }

    /// Packs of the size that trains fastest here, where that was left to us and the run is long enough to try.
    fn tune(
        &mut self,
        packs: Vec<Pack>,
        estimate: Estimate,
        args: &BackendArgs,
        trainer: &BurnTrainer,
        missing: &[usize],
    ) -> (Vec<Pack>, Estimate) {
        self.manifest.more.remove(TUNING);
        if args.pack != 0 {
            return (packs, estimate);
        }
        let backend = trainer.backend();
        let (workers, place) = (args.workers(backend), backend.place());
        let size =
            |cell: &Cell, alike: usize, factor: f64| engine::pack_size(&cell.config, alike, workers, place, factor);
        let tuning = engine::tune(&self.sweep.cells, &packs, trainer, workers, size);
        if tuning.trials.is_empty() {
            return (packs, estimate);
        }
        self.manifest.more.insert(TUNING.to_string(), json!(tuning.trials));
        let scaled = args.packs_scaled(backend, self.sweep, missing, tuning.factor());
        if require_memory(&scaled.1).is_ok() { scaled } else { (packs, estimate) }
    }

    /// Trains `packs`, recording each as it finishes. True when interrupted.
    fn train(
        &mut self,
        packs: Vec<Pack>,
        estimate: &Estimate,
        trainer: &BurnTrainer,
        workers: Workers,
        control: &Arc<Control>,
    ) -> anyhow::Result<bool> {
        if packs.is_empty() {
            // Timings stay those of the last process that trained.
            return Ok(false);
        }
        self.manifest.timings.clear();
        let cells = &self.sweep.cells;
        output::note(&format!(
            "{}: training {} of {} cells in {} on {}",
            self.dir.display(),
            estimate.cells,
            cells.len(),
            output::count(packs.len(), "pack"),
            output::count(workers.training, "worker"),
        ));
        let class = self.manifest.class.clone();
        let planned = packs.iter().flat_map(|pack| &pack.cells).map(|index| &cells[*index]);
        let configs: HashMap<&str, &Config> = planned.map(|c| (c.id.as_str(), &c.config)).collect();
        let progress = Progress::start(control.clone(), estimate.cells, estimate.cell_steps);
        let started = Instant::now();
        let (run, trained, made_by) = (&mut self.run, &mut self.trained, &self.made_by);
        let result = run_packs(cells, packs, trainer, workers, control, |event| -> anyhow::Result<()> {
            match event {
                Event::Finished(outcomes) => {
                    let planned = |o: &Outcome| configs.get(o.cell_id.as_str()).map_or(0, |c| c.train.steps);
                    let spared = outcomes.iter().map(|o| planned(o).saturating_sub(o.steps)).sum();
                    progress.finished(outcomes.iter().map(|o| o.status), spared);
                    let record = |o: Outcome| record(o, &configs, &class, made_by);
                    let records = outcomes.into_iter().map(record).collect::<anyhow::Result<Vec<_>>>()?;
                    run.append(&records).context("recording finished cells")?;
                    *trained += records.len();
                    Ok(())
                }
                Event::FewerThreads { training: 0, source } => {
                    Err(source).context("cannot start a thread to train on (see `ulimit -u` and `ulimit -v`)")
                }
                Event::FewerThreads { training, source } => {
                    let threads = output::count(training, "thread");
                    output::note(&format!("training on {threads}: no more can be started ({source})"));
                    Ok(())
                }
                Event::Retrying { cells, reason } => {
                    output::note(&format!("a pack of {cells} cells failed ({reason}); trying its halves"));
                    Ok(())
                }
            }
        });
        let wall_s = started.elapsed().as_secs_f64();
        drop(progress);
        let steps = control.cell_steps.load(Ordering::Relaxed);
        let busy_s = control.busy_ns.load(Ordering::Relaxed) as f64 / 1e9;
        self.manifest.timings = BTreeMap::from([
            ("wall_s".to_string(), wall_s),
            ("train_cell_steps".to_string(), steps as f64),
            ("train_cell_steps_per_s".to_string(), steps as f64 / wall_s),
            ("workers".to_string(), workers.training as f64),
            ("device_wait_share".to_string(), 1.0 - busy_s / (wall_s * workers.training as f64)),
        ]);
        result?;
        Ok(control.is_cancelled())
    }

    /// Whether this is a complete run of this very plan, with nothing beside what was sealed that would pass for a part
    /// of it and is none.
    fn is_intact(&self) -> anyhow::Result<bool> {
        let is_whole = self.files_are_intact();
        Ok(is_whole && self.run.reader().unvouched_damage(|part| self.trail.vouches(part))?.is_empty())
    }

    /// Whether the derived files are those of a complete run of this very plan.
    fn files_are_intact(&self) -> bool {
        let spec = read_text(&self.dir.join(SPEC_FILE));
        spec.is_ok_and(|text| text == self.sweep.to_toml()) && self.tables_are_intact() && self.trail.is_whole()
    }

    fn tables_are_intact(&self) -> bool {
        self.complete_before.as_ref().is_some_and(|m| {
            // A run of an older version lacks those that came later.
            RUN_TABLES.iter().all(|file| m.tables.contains_key(*file))
                && m.tables
                    .par_iter()
                    .all(|(file, table)| hash_file(&self.dir.join(file)).is_ok_and(|blake3| blake3 == table.blake3))
        })
    }

    fn write_tables(&mut self) -> anyhow::Result<()> {
        let cell_ids: Vec<&str> = self.sweep.cells.iter().map(|c| c.id.as_str()).collect();
        let written = columns::write_run_tables(self.run.reader(), &self.dir, self.sweep, &cell_ids)?;
        let RunTables { tables, cells } = written;
        self.manifest.tables = tables;
        self.manifest.set_cells_root(Some(cells.root()));
        self.manifest.tables.extend(write_derived(&self.dir, self.sweep)?);
        Ok(())
    }

    fn write_gates(&mut self, log: &mut Directives) -> anyhow::Result<()> {
        let names: Vec<&str> = self.sweep.gates.iter().map(|gate| gate.name.as_str()).collect();
        if !names.is_empty() {
            log.record("gates", "judge the run by the gates of its spec", &names.join(", "))?;
        }
        let gates = gate::write(&self.dir, self.sweep)?;
        self.manifest.tables.extend(gates.map(|file| (gate::GATES_FILE.to_string(), file)));
        Ok(())
    }

    /// The embeddings of chosen cells, once nothing can change which they are.
    fn write_exemplars(&mut self, complete: bool, trainer: &BurnTrainer, log: &mut Directives) -> anyhow::Result<()> {
        if !complete || self.exemplars == Effort::None {
            return exemplars::remove(&self.dir);
        }
        match exemplars::write(&self.dir, self.sweep, self.run.reader(), trainer, self.exemplars)? {
            Written::Table(table) => drop(self.manifest.tables.insert(EXEMPLARS_TABLE.to_string(), table)),
            Written::None => {}
            Written::Differs(record, differing) => self.disbelieve(&record, &differing, log)?,
        }
        Ok(())
    }

    /// Fails the run because of a cell that came out differently; what came from the same run beside this one goes.
    fn disbelieve(&mut self, record: &CellRecord, differing: &[String], log: &mut Directives) -> anyhow::Result<()> {
        self.differs = true;
        let what = format!("cell {} came out differently when it was trained again", record.cell_id);
        let text = match &record.reused_from {
            Some(origin) => {
                let given_up = output::count(self.run.give_up(origin)?, "cell");
                self.write_tables()?;
                self.write_gates(log)?;
                format!(
                    "{what} ({}): it was taken over from {}, and none of the {given_up} from there is believed; the same \
                     command with --no-reuse trains them here",
                    in_short(differing),
                    origin.run
                )
            }
            None => format!(
                "{what} ({}); `cliffline verify {} --rerun 1` tells which others do. A machine that does not compute the \
                 same twice, or a record that was made by hand, does this",
                in_short(differing),
                self.dir.display()
            ),
        };
        output::note(&text);
        self.manifest.notes.push(text);
        Ok(())
    }

    /// Cells of the sweep that are not finished, by their places.
    fn missing(&self) -> Vec<usize> {
        let cells = &self.sweep.cells;
        (0..cells.len()).filter(|i| !self.run.reader().is_finished(&cells[*i].id)).collect()
    }

    /// Nothing was taken over, and so nothing was done.
    fn refused(&self, refusal: &Refusal) -> Standing {
        let (why, interrupted, exit_code) = match refusal {
            Refusal::Interrupted => (INTERRUPTED, true, exit::INTERRUPTED),
            Refusal::Differs(text) => (text.as_str(), false, exit::NO),
        };
        output::note(why);
        Standing { refused: Some(why.to_string()), exit_code, ..self.standing(interrupted) }
    }

    fn standing(&self, interrupted: bool) -> Standing {
        let by_status = self.run.reader().counts();
        let finished = finished(&self.run, self.sweep);
        let exit_code = match () {
            () if interrupted => exit::INTERRUPTED,
            () if self.differs => exit::NO,
            () if by_status.get("failed").is_some_and(|n| *n > 0) => exit::CELLS_FAILED,
            () if finished < self.sweep.cells.len() => exit::INCOMPLETE,
            () => exit::OK,
        };
        let (present, reused, trained) = (self.present, self.taken.cells, self.trained);
        Standing { refused: None, interrupted, finished, by_status, present, reused, trained, exit_code }
    }

    /// Says how the run stands, with a summary of its tables. Returns the exit code.
    fn report(&self, standing: &Standing, exits: GateExit, json: bool) -> anyhow::Result<u8> {
        let Standing { finished, by_status: counts, .. } = standing;
        let path = self.dir.join(CELLS_TABLE);
        let axes: Vec<_> = self.sweep.axes.iter().map(|a| (a.path.clone(), a.levels.clone())).collect();
        let wider = self.sweep.axes.iter().map(|axis| self.sweep.all_levels(axis).len() > axis.levels.len());
        let wider: Vec<_> = axes.iter().zip(wider).filter(|(_, wider)| *wider).map(|(axis, _)| axis.clone()).collect();
        let mut summaries = SUMMARY_METRICS.map(|metric| Summary::new(metric, &axes).only_at(&wider));
        for summary in &mut summaries {
            summary.add_all(&read_columns(&path, &summary.columns_of_cells())?)?;
        }
        let gates = (!self.sweep.gates.is_empty()).then(|| gate::judge(&self.dir, self.sweep)).transpose()?;
        let rules = StopRules::of(self.sweep);
        let registration = gates.as_ref().map(|_| Registration::of(None, &self.manifest, &self.sweep.gates));
        let exit_code = exits.code(standing.exit_code, gates.as_ref());
        let drawn = self.manifest.tables.contains_key(REPORT_FILE).then(|| self.dir.join(REPORT_FILE));
        if json {
            output::json(&json!({
                "version": 1, "dir": output::path(&self.dir), "report": drawn.as_deref().map(output::path), "gates": gates.as_ref().map(|report| report.verdict),
                "gates_standing": registration.map(|registration| registration.standing), "sweep": self.sweep.name, "cells": self.sweep.cells.len(),
                "finished": finished, "by_status": counts, "present": standing.present, "reused": standing.reused,
                "trained": standing.trained, "interrupted": standing.interrupted, "exit_code": exit_code, "class": self.manifest.class,
                "timings": self.manifest.timings, "summary": summaries, "stop_rules": rules,
            }))?;
        } else {
            for summary in summaries.iter().filter(|_| !self.run.reader().is_empty()) {
                output::line(&render(summary, terminal::of_output()))?;
            }
            let by_status: Vec<String> =
                counts.iter().filter(|(_, n)| **n > 0).map(|(s, n)| format!(", {n} {s}")).collect();
            output::line(&format!(
                "{}: {finished} of {} cells finished{}",
                self.dir.display(),
                self.sweep.cells.len(),
                by_status.concat()
            ))?;
            if !rules.are_everywhere() {
                output::line(&format!("stop rules: {}", rules.describe()))?;
            }
            let verdicts = gates.iter().flat_map(|report| exits.lines(self.sweep, report));
            let standing = registration.iter().flat_map(Registration::lines);
            standing.chain(verdicts).try_for_each(|line| output::line(&line))?;
            drawn.iter().try_for_each(|page| output::line(&format!("report: {}", page.display())))?;
        }
        if let Err(error) = write_step_summary(&summaries, &self.dir) {
            output::note(&format!("{error:#}"));
        }
        if standing.interrupted {
            output::note(INTERRUPTED);
        }
        if let Some(failed) = counts.get("failed").filter(|n| **n > 0) {
            let reason = failed_example(&path)?;
            output::note(&format!("{failed} cells failed, for instance {reason}; the same command tries them again"));
        }
        Ok(exit_code)
    }
}

/// The values that each parameter takes in a sweep, included cells and all.
fn levels(sweep: &Sweep) -> Levels {
    let fixed = sweep.base.scalars().into_iter().filter(|(path, _)| sweep.axes.iter().all(|a| a.path != *path));
    let varied = sweep.axes.iter().flat_map(|a| sweep.all_levels(a).into_iter().map(|level| (a.path.clone(), level)));
    Levels::of(fixed.chain(varied))
}

/// The thresholds of the sweep: a value, or the levels where one is an axis; and the gates.
fn thresholds(sweep: &Sweep) -> BTreeMap<String, serde_json::Value> {
    let base = sweep.base.scalars();
    let at = |path: &str| match sweep.axes.iter().find(|axis| axis.path == path) {
        Some(axis) => json!(sweep.all_levels(axis)),
        None => base.get(path).cloned().unwrap_or_default(),
    };
    let limits = LIMITS.iter().map(|limit| (limit.path.to_string(), at(limit.path)));
    limits.chain(gate::thresholds(&sweep.gates)).collect()
}

fn finished(run: &RunDir, sweep: &Sweep) -> usize {
    sweep.cells.iter().filter(|cell| run.reader().is_finished(&cell.id)).count()
}

fn report_damage(damaged: &[Damaged]) {
    for damaged in damaged {
        let lost = match damaged.lost {
            None => "; what it held will be computed again".to_string(),
            Some(0) => String::new(),
            Some(n) => format!("; {n} cells will be computed again, {} are kept", damaged.kept),
        };
        let (name, reason) = (output::shown(&damaged.name), output::shown(&damaged.reason));
        output::note(&format!("{name} is damaged ({reason}); moved to parts/damaged{lost}"));
    }
}

fn record(
    outcome: Outcome,
    configs: &HashMap<&str, &Config>,
    class: &str,
    made_by: &str,
) -> anyhow::Result<CellRecord> {
    let config = configs.get(outcome.cell_id.as_str()).context("the trainer returned a cell that was not asked for")?;
    let plain = serde_json::to_value(config)?;
    let record = CellRecord::from_outcome(outcome, config.train_id(), class.to_string(), plain, now_utc());
    Ok(CellRecord { made_by: made_by.to_string(), ..record })
}
