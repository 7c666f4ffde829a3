//! Spreads packs over worker threads and reports what happened.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::Builder;
use std::time::Instant;

use super::outcome::{ConditionOutcome, Outcome, Status, all_missing};
use super::pack::Pack;
use crate::machine::message;
use crate::spec::Cell;

/// Shared between the caller and the workers.
#[derive(Debug, Default)]
pub struct Control {
    /// Set to abandon packs in flight and start no more.
    pub cancel: AtomicBool,
    /// Cell-steps taken so far.
    pub cell_steps: AtomicU64,
    /// Nanoseconds for which workers kept their devices busy: fed them, or waited for their results.
    pub busy_ns: AtomicU64,
}

impl Control {
    pub fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

/// Why a pack has no outcomes.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error("cancelled")]
    Cancelled,
    #[error("{0}")]
    Failed(String),
}

/// Host work that is left when a pack has left its device: measuring it.
pub type Measuring<'a> = Box<dyn FnOnce() -> Vec<Outcome> + Send + 'a>;

/// Trains the cells of one pack. Cells whose geometry collapses or diverges are outcomes, not errors.
pub trait Trainer: Sync {
    /// Trains and leaves measuring to the caller, perhaps on another thread.
    fn train<'a>(&'a self, cells: &[&'a Cell], control: &Control) -> Result<Measuring<'a>, TrainError>;

    /// Host work that training these cells will need: perhaps done on another thread while others train.
    fn prepare(&self, _cells: &[&Cell]) {}
}

/// Threads of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// Threads that train, each a pack at a time.
    pub training: usize,
    /// Threads that prepare packs and measure them meanwhile. With none, training threads do so themselves: right where
    /// they are the cores that would.
    pub host: usize,
}

/// What the scheduler says while it works. Every wanted cell appears in one `Finished`, unless the run is cancelled.
#[derive(Debug)]
pub enum Event {
    Finished(Vec<Outcome>),
    /// A pack failed and its halves are tried instead.
    Retrying {
        cells: usize,
        reason: String,
    },
    /// Some threads could not be started. The others do their work; with none that trains, nothing is trained.
    FewerThreads {
        training: usize,
        source: std::io::Error,
    },
}

/// Finished packs that wait to be heard, at most; workers then wait too, so that memory stays that of some packs.
const WAITING: usize = 32;

/// What training threads leave to host threads.
enum Job<'a> {
    Prepare(Vec<&'a Cell>),
    Measure { pack: Vec<usize>, started: Instant, measuring: Measuring<'a> },
}

/// What the threads of a run share.
struct Shared<'a> {
    cells: &'a [Cell],
    /// Packs to come, the next one last.
    queue: Mutex<Vec<Pack>>,
    trainer: &'a dyn Trainer,
    control: &'a Control,
}

/// Runs every pack. `on_event` is called on this thread; its error stops the run.
///
/// What finished while `on_event` was at work is handed over together: where recording takes longer than training, one
/// write takes many packs.
///
/// A pack that fails is halved and tried again, down to single cells; a single cell that fails becomes an outcome
/// with status `Failed` and the reason.
pub fn run_packs<E>(
    cells: &[Cell],
    packs: Vec<Pack>,
    trainer: &dyn Trainer,
    workers: Workers,
    control: &Control,
    mut on_event: impl FnMut(Event) -> Result<(), E>,
) -> Result<(), E> {
    let shared = Shared { cells, queue: Mutex::new(packs.into_iter().rev().collect()), trainer, control };
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(WAITING);
        // At most one job per host thread waits, so that memory stays that of some packs.
        let (jobs, to_do) = mpsc::sync_channel(workers.host);
        let to_do = Arc::new(Mutex::new(to_do));
        let mut refused = None;
        let mut is_started = |started: std::io::Result<_>| started.map_err(|error| refused = Some(error)).is_ok();
        let start_host = |_: &usize| {
            let (to_do, sender, shared) = (to_do.clone(), sender.clone(), &shared);
            is_started(Builder::new().spawn_scoped(scope, move || help(shared, &to_do, &sender)).map(drop))
        };
        let host = (0..workers.host).take_while(start_host).count();
        let start_training = |_: &usize| {
            let (sender, shared) = (sender.clone(), &shared);
            let jobs = (host > 0).then(|| jobs.clone());
            is_started(Builder::new().spawn_scoped(scope, move || work(shared, jobs.as_ref(), &sender)).map(drop))
        };
        let training = (0..workers.training.max(1)).take_while(start_training).count();
        drop((sender, jobs));
        let mut result = refused.map_or(Ok(()), |source| on_event(Event::FewerThreads { training, source }));
        if result.is_err() {
            control.cancel.store(true, Ordering::Relaxed);
        }
        while let Ok(first) = receiver.recv() {
            for event in gather(first, receiver.try_iter().take(WAITING)) {
                if result.is_ok() {
                    result = on_event(event);
                    if result.is_err() {
                        control.cancel.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
        result
    })
}

/// The events in order, with the outcomes of packs that finished one after the other in one event.
fn gather(first: Event, more: impl Iterator<Item = Event>) -> Vec<Event> {
    let mut events = vec![first];
    for event in more {
        match (events.last_mut(), event) {
            (Some(Event::Finished(all)), Event::Finished(outcomes)) => all.extend(outcomes),
            (_, event) => events.push(event),
        }
    }
    events
}

fn work<'a>(shared: &Shared<'a>, jobs: Option<&mpsc::SyncSender<Job<'a>>>, sender: &mpsc::SyncSender<Event>) {
    while !shared.control.is_cancelled() {
        let (pack, next) = {
            let mut queue = shared.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let Some(pack) = queue.pop() else { return };
            (pack, queue.last().map(|next| shared.lanes(&next.cells)))
        };
        if let (Some(jobs), Some(next)) = (jobs, next) {
            // Only ahead of need: where the host threads are busy, training prepares for itself.
            let _ = jobs.try_send(Job::Prepare(next));
        }
        if !attempt(shared, &pack.cells, jobs, sender) {
            return;
        }
    }
}

/// Does what training threads leave to it, until they are gone.
fn help<'a>(shared: &Shared<'a>, to_do: &Mutex<mpsc::Receiver<Job<'a>>>, sender: &mpsc::SyncSender<Event>) {
    let next = || to_do.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).recv();
    while let Ok(job) = next() {
        match job {
            // What fails here fails again, and is reported, where it is needed.
            Job::Prepare(cells) => drop(catch_unwind(AssertUnwindSafe(|| shared.trainer.prepare(&cells)))),
            Job::Measure { pack, started, measuring } => {
                let result = measured(measuring, started).map_err(TrainError::Failed);
                if !settle(shared, &pack, result, None, sender) {
                    return;
                }
            }
        }
    }
}

/// The outcomes of a pack, or why there are none.
fn measured(measuring: Measuring<'_>, started: Instant) -> Result<Vec<Outcome>, String> {
    let mut outcomes = catch_unwind(AssertUnwindSafe(measuring)).map_err(|panic| describe(panic.as_ref()))?;
    let share = started.elapsed().as_secs_f64() / outcomes.len().max(1) as f64;
    outcomes.iter_mut().for_each(|o| o.wall_s = share);
    Ok(outcomes)
}

impl<'a> Shared<'a> {
    fn lanes(&self, pack: &[usize]) -> Vec<&'a Cell> {
        pack.iter().map(|index| &self.cells[*index]).collect()
    }
}

/// Trains the cells at `pack`, halving on failure. False when there is nothing more to do: cancelled, or nobody
/// listens.
fn attempt<'a>(
    shared: &Shared<'a>,
    pack: &[usize],
    jobs: Option<&mpsc::SyncSender<Job<'a>>>,
    sender: &mpsc::SyncSender<Event>,
) -> bool {
    let cells = shared.lanes(pack);
    let started = Instant::now();
    let trained = catch_unwind(AssertUnwindSafe(|| shared.trainer.train(&cells, shared.control)))
        .unwrap_or_else(|panic| Err(TrainError::Failed(describe(panic.as_ref()))));
    let result = match (trained, jobs) {
        (Ok(measuring), Some(jobs)) => {
            return jobs.send(Job::Measure { pack: pack.to_vec(), started, measuring }).is_ok();
        }
        (Ok(measuring), None) => measured(measuring, started).map_err(TrainError::Failed),
        (Err(error), _) => Err(error),
    };
    settle(shared, pack, result, jobs, sender)
}

/// Tells what became of a pack, or tries its halves. As [`attempt`] otherwise.
fn settle<'a>(
    shared: &Shared<'a>,
    pack: &[usize],
    result: Result<Vec<Outcome>, TrainError>,
    jobs: Option<&mpsc::SyncSender<Job<'a>>>,
    sender: &mpsc::SyncSender<Event>,
) -> bool {
    match result {
        Ok(outcomes) => sender.send(Event::Finished(outcomes)).is_ok(),
        Err(TrainError::Cancelled) => false,
        Err(TrainError::Failed(reason)) if pack.len() > 1 => {
            let (left, right) = pack.split_at(pack.len() / 2);
            sender.send(Event::Retrying { cells: pack.len(), reason }).is_ok()
                && attempt(shared, left, jobs, sender)
                && attempt(shared, right, jobs, sender)
        }
        Err(TrainError::Failed(reason)) => sender.send(Event::Finished(failures(&shared.lanes(pack), &reason))).is_ok(),
    }
}

fn failures(cells: &[&Cell], reason: &str) -> Vec<Outcome> {
    cells.iter().map(|cell| failure(cell, reason)).collect()
}

fn describe(panic: &(dyn std::any::Any + Send)) -> String {
    format!("the trainer panicked: {}", message(panic))
}

fn failure(cell: &Cell, reason: &str) -> Outcome {
    const MISSING: &str = "the cell failed";
    Outcome {
        cell_id: cell.id.clone(),
        status: Status::Failed,
        reason: reason.to_string(),
        steps: 0,
        metrics: all_missing(&cell.config, MISSING),
        spectra: Default::default(),
        curves: Default::default(),
        checksums: Default::default(),
        crossings: Vec::new(),
        selection: None,
        realised: Default::default(),
        conditions: cell.conditions.iter().map(|c| ConditionOutcome::missing(c, &cell.config, MISSING)).collect(),
        wall_s: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::engine::make_packs;
    use crate::spec::{Overrides, from_str};

    /// Fails packs of more than one cell, and even alone panics on seed 3, errs on seed 4 and panics in measuring seed 5.
    struct Mock {
        fail_packs: bool,
    }

    impl Trainer for Mock {
        fn train<'a>(&'a self, cells: &[&'a Cell], control: &Control) -> Result<Measuring<'a>, TrainError> {
            if control.is_cancelled() {
                return Err(TrainError::Cancelled);
            }
            // Packs of two with seed 5 among them train, so that measuring them fails.
            if self.fail_packs && cells.len() > 1 && !(cells.len() == 2 && cells.iter().any(|c| c.config.seed == 5)) {
                return Err(TrainError::Failed("too large".into()));
            }
            let one = |cell: &&Cell| match cell.config.seed {
                3 if self.fail_packs => panic!("seed 3"),
                4 if self.fail_packs => Err(TrainError::Failed("seed 4".into())),
                _ => Ok(Outcome { status: Status::Ok, reason: String::new(), ..failure(cell, "") }),
            };
            let outcomes = cells.iter().map(one).collect::<Result<Vec<_>, _>>()?;
            let unmeasurable = self.fail_packs && cells.iter().any(|cell| cell.config.seed == 5);
            Ok(Box::new(move || if unmeasurable { panic!("seed 5") } else { outcomes }))
        }
    }

    /// Threads that train, and none or some beside them.
    fn workers(training: usize, host: usize) -> Workers {
        Workers { training, host }
    }

    fn run(mock: &Mock, workers: Workers, stop_after: usize) -> (Vec<Outcome>, usize, Result<(), String>) {
        run_seeds(9, mock, workers, stop_after)
    }

    fn run_seeds(
        seeds: usize,
        mock: &Mock,
        workers: Workers,
        stop_after: usize,
    ) -> (Vec<Outcome>, usize, Result<(), String>) {
        let text = format!("name = \"t\"\npreset = \"tiny\"\n[axes]\nseed = {{ seeds = {seeds} }}\n");
        let sweep = from_str(&text, "t.toml", &Overrides::default()).expect("a valid spec");
        let wanted: Vec<usize> = (0..sweep.cells.len()).collect();
        let packs = make_packs(&sweep.cells, &wanted, |_, _| 4);
        let (mut outcomes, mut retries) = (Vec::new(), 0);
        let result = run_packs(&sweep.cells, packs, mock, workers, &Control::default(), |event| {
            match event {
                Event::Finished(done) => outcomes.extend(done),
                Event::Retrying { .. } => retries += 1,
                Event::FewerThreads { source, .. } => return Err(source.to_string()),
            }
            if outcomes.len() >= stop_after { Err("disk full".to_string()) } else { Ok(()) }
        });
        (outcomes, retries, result)
    }

    #[test]
    fn every_cell_is_finished_once_on_any_number_of_threads() {
        for (training, host) in [(1, 0), (2, 0), (5, 0), (1, 1), (1, 4), (3, 2)] {
            let (outcomes, retries, result) = run(&Mock { fail_packs: false }, workers(training, host), usize::MAX);
            let ids: BTreeSet<&str> = outcomes.iter().map(|o| o.cell_id.as_str()).collect();
            assert_eq!((outcomes.len(), ids.len(), retries), (9, 9, 0));
            assert!(result.is_ok());
        }
    }

    #[test]
    fn failing_packs_are_halved_and_only_hopeless_cells_fail() {
        for host in [0, 2] {
            only_hopeless_cells_fail(workers(2, host));
        }
    }

    fn only_hopeless_cells_fail(workers: Workers) {
        let (outcomes, retries, _) = run(&Mock { fail_packs: true }, workers, usize::MAX);
        let failed: Vec<&str> =
            outcomes.iter().filter(|o| o.status == Status::Failed).map(|o| o.reason.as_str()).collect();
        assert_eq!(outcomes.len(), 9);
        assert!(retries > 0);
        assert_eq!(failed.len(), 3, "{failed:?}");
        for reason in ["seed 4", "the trainer panicked: seed 3", "the trainer panicked: seed 5"] {
            assert!(failed.contains(&reason), "{failed:?}");
        }
    }

    #[test]
    fn an_error_of_the_listener_stops_the_run() {
        // More packs than wait to be heard.
        let (outcomes, _, result) = run_seeds(8 * WAITING, &Mock { fail_packs: false }, workers(1, 0), 1);
        assert_eq!(result, Err("disk full".to_string()));
        assert!(outcomes.len() <= 4 * (WAITING + 1), "{}", outcomes.len());
    }

    #[test]
    fn packs_that_finish_while_others_are_recorded_are_recorded_together() {
        let packs = 3 * WAITING;
        let text = format!("name = \"t\"\npreset = \"tiny\"\n[axes]\nseed = {{ seeds = {packs} }}\n");
        let sweep = from_str(&text, "t.toml", &Overrides::default()).expect("a valid spec");
        let wanted: Vec<usize> = (0..packs).collect();
        let mut sizes = Vec::new();
        let slow = |event| {
            if let Event::Finished(outcomes) = event {
                sizes.push(outcomes.len());
            }
            // Long enough for the mock to fill the queue.
            std::thread::sleep(std::time::Duration::from_millis(20));
            Ok::<(), ()>(())
        };
        let packs = make_packs(&sweep.cells, &wanted, |_, _| 1);
        let mock = Mock { fail_packs: false };
        run_packs(&sweep.cells, packs, &mock, workers(2, 0), &Control::default(), slow).expect("no listener fails");
        assert_eq!(sizes.iter().sum::<usize>(), wanted.len());
        assert!(sizes.len() < wanted.len(), "{sizes:?}");
        assert!(sizes.iter().all(|size| *size <= WAITING + 1), "{sizes:?}");
    }

    #[test]
    fn gathered_events_keep_their_order() {
        let retrying = || Event::Retrying { cells: 2, reason: String::new() };
        let finished = || Event::Finished(Vec::new());
        let kinds = |events: Vec<Event>| -> String {
            events.iter().map(|event| if matches!(event, Event::Finished(_)) { 'f' } else { 'r' }).collect()
        };
        let more = [finished(), retrying(), finished(), finished()];
        assert_eq!(kinds(gather(finished(), more.into_iter())), "frf");
        assert_eq!(kinds(gather(retrying(), [retrying()].into_iter())), "rr");
    }

    #[test]
    fn a_cancelled_run_finishes_nothing_more() {
        let control = Control::default();
        control.cancel.store(true, Ordering::Relaxed);
        let sweep = from_str("name = \"t\"\npreset = \"tiny\"\n", "t.toml", &Overrides::default()).expect("valid");
        let packs = make_packs(&sweep.cells, &[0], |_, _| 1);
        let mut events = 0;
        let mock = Mock { fail_packs: false };
        let result = run_packs::<()>(&sweep.cells, packs, &mock, workers(1, 1), &control, |_| {
            events += 1;
            Ok(())
        });
        assert!(result.is_ok() && events == 0);
    }

    /// Whose measuring of the first pack waits for the training of the second, and whose second pack waits for having
    /// been prepared. Waits end after a while, so that a scheduler that overlaps nothing fails and does not hang.
    #[derive(Default)]
    struct Overlapping {
        prepared: Mutex<BTreeSet<u64>>,
        trained: Mutex<BTreeSet<u64>>,
        overlapped: AtomicU64,
    }

    fn wait_for(seed: u64, among: &Mutex<BTreeSet<u64>>) -> bool {
        let soon = Instant::now() + std::time::Duration::from_secs(20);
        while Instant::now() < soon {
            if among.lock().expect("nobody panics").contains(&seed) {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    impl Trainer for Overlapping {
        fn train<'a>(&'a self, cells: &[&'a Cell], _: &Control) -> Result<Measuring<'a>, TrainError> {
            let (cell, seed) = (cells[0], cells[0].config.seed);
            if seed == 1 && wait_for(1, &self.prepared) {
                self.overlapped.fetch_add(1, Ordering::Relaxed);
            }
            self.trained.lock().expect("nobody panics").insert(seed);
            Ok(Box::new(move || {
                if seed == 0 && wait_for(1, &self.trained) {
                    self.overlapped.fetch_add(1, Ordering::Relaxed);
                }
                failures(&[cell], "")
            }))
        }

        fn prepare(&self, cells: &[&Cell]) {
            self.prepared.lock().expect("nobody panics").insert(cells[0].config.seed);
        }
    }

    #[test]
    fn host_threads_measure_a_pack_and_prepare_the_next_while_others_train() {
        let text = "name = \"t\"\npreset = \"tiny\"\n[axes]\nseed = { seeds = 2 }\n";
        let sweep = from_str(text, "t.toml", &Overrides::default()).expect("a valid spec");
        let packs = make_packs(&sweep.cells, &[0, 1], |_, _| 1);
        let trainer = Overlapping::default();
        let ignore = |_| Ok::<(), ()>(());
        run_packs(&sweep.cells, packs, &trainer, workers(1, 2), &Control::default(), ignore).expect("nobody fails");
        assert_eq!(trainer.overlapped.load(Ordering::Relaxed), 2);
    }
}
