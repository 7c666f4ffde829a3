//! Spreads packs over worker threads and reports what happened.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use super::outcome::{Measured, Outcome, Status};
use super::pack::Pack;
use crate::metric;
use crate::spec::Cell;

/// Shared between the caller and the workers.
#[derive(Debug, Default)]
pub struct Control {
    /// Set to abandon packs in flight and start no more.
    pub cancel: AtomicBool,
    /// Cell-steps taken so far.
    pub cell_steps: AtomicU64,
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

/// Trains the cells of one pack. Cells whose geometry collapses or diverges are outcomes, not errors.
pub trait Trainer: Sync {
    fn train(&self, cells: &[&Cell], control: &Control) -> Result<Vec<Outcome>, TrainError>;
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
}

/// Finished packs that wait to be heard, at most; workers then wait too, so that memory stays that of some packs.
const WAITING: usize = 32;

/// Runs every pack on `threads` workers. `on_event` is called on this thread; its error stops the run.
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
    threads: usize,
    control: &Control,
    mut on_event: impl FnMut(Event) -> Result<(), E>,
) -> Result<(), E> {
    let queue = Mutex::new(packs.into_iter().rev().collect::<Vec<Pack>>());
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(WAITING);
        for _ in 0..threads.max(1) {
            let (sender, queue) = (sender.clone(), &queue);
            scope.spawn(move || work(cells, queue, trainer, control, &sender));
        }
        drop(sender);
        let mut result = Ok(());
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

fn work(
    cells: &[Cell],
    queue: &Mutex<Vec<Pack>>,
    trainer: &dyn Trainer,
    control: &Control,
    sender: &mpsc::SyncSender<Event>,
) {
    let next = || queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
    while !control.is_cancelled() {
        let Some(pack) = next() else { return };
        if !attempt(cells, &pack.cells, trainer, control, sender) {
            return;
        }
    }
}

/// Trains the cells at `pack`, halving on failure. False when there is nothing more to do: cancelled, or nobody
/// listens.
fn attempt(
    cells: &[Cell],
    pack: &[usize],
    trainer: &dyn Trainer,
    control: &Control,
    sender: &mpsc::SyncSender<Event>,
) -> bool {
    let lanes: Vec<&Cell> = pack.iter().map(|index| &cells[*index]).collect();
    let started = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| trainer.train(&lanes, control)))
        .unwrap_or_else(|panic| Err(TrainError::Failed(describe(panic.as_ref()))));
    match result {
        Ok(mut outcomes) => {
            let share = started.elapsed().as_secs_f64() / outcomes.len().max(1) as f64;
            outcomes.iter_mut().for_each(|o| o.wall_s = share);
            sender.send(Event::Finished(outcomes)).is_ok()
        }
        Err(TrainError::Cancelled) => false,
        Err(TrainError::Failed(reason)) if pack.len() > 1 => {
            let (left, right) = pack.split_at(pack.len() / 2);
            sender.send(Event::Retrying { cells: pack.len(), reason }).is_ok()
                && attempt(cells, left, trainer, control, sender)
                && attempt(cells, right, trainer, control, sender)
        }
        Err(TrainError::Failed(reason)) => {
            let failed = lanes.iter().map(|cell| failure(cell, &reason)).collect();
            sender.send(Event::Finished(failed)).is_ok()
        }
    }
}

fn describe(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(|s| (*s).to_string()).or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the trainer panicked: {}", text.unwrap_or_else(|| "no message".into()))
}

fn failure(cell: &Cell, reason: &str) -> Outcome {
    let missing = |d: &metric::Descriptor| (d.name.to_string(), Measured::Missing("the cell failed".into()));
    Outcome {
        cell_id: cell.id.clone(),
        status: Status::Failed,
        reason: reason.to_string(),
        steps: 0,
        metrics: metric::descriptors().map(missing).collect(),
        spectra: Default::default(),
        curves: Default::default(),
        checksums: Default::default(),
        realised: Default::default(),
        wall_s: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::engine::make_packs;
    use crate::spec::{Overrides, from_str};

    /// Fails packs of more than one cell, and panics on seed 3 and errs on seed 4 even alone.
    struct Mock {
        fail_packs: bool,
    }

    impl Trainer for Mock {
        fn train(&self, cells: &[&Cell], control: &Control) -> Result<Vec<Outcome>, TrainError> {
            if control.is_cancelled() {
                return Err(TrainError::Cancelled);
            }
            if self.fail_packs && cells.len() > 1 {
                return Err(TrainError::Failed("too large".into()));
            }
            let one = |cell: &&Cell| match cell.config.seed {
                3 if self.fail_packs => panic!("seed 3"),
                4 if self.fail_packs => Err(TrainError::Failed("seed 4".into())),
                _ => Ok(Outcome { status: Status::Ok, reason: String::new(), ..failure(cell, "") }),
            };
            cells.iter().map(one).collect()
        }
    }

    fn run(mock: &Mock, threads: usize, stop_after: usize) -> (Vec<Outcome>, usize, Result<(), String>) {
        run_seeds(9, mock, threads, stop_after)
    }

    fn run_seeds(
        seeds: usize,
        mock: &Mock,
        threads: usize,
        stop_after: usize,
    ) -> (Vec<Outcome>, usize, Result<(), String>) {
        let text = format!("name = \"t\"\npreset = \"tiny\"\n[axes]\nseed = {{ seeds = {seeds} }}\n");
        let sweep = from_str(&text, "t.toml", &Overrides::default()).expect("a valid spec");
        let wanted: Vec<usize> = (0..sweep.cells.len()).collect();
        let packs = make_packs(&sweep.cells, &wanted, |_, _| 4);
        let (mut outcomes, mut retries) = (Vec::new(), 0);
        let result = run_packs(&sweep.cells, packs, mock, threads, &Control::default(), |event| {
            match event {
                Event::Finished(done) => outcomes.extend(done),
                Event::Retrying { .. } => retries += 1,
            }
            if outcomes.len() >= stop_after { Err("disk full".to_string()) } else { Ok(()) }
        });
        (outcomes, retries, result)
    }

    #[test]
    fn every_cell_is_finished_once_on_any_number_of_threads() {
        for threads in [1, 2, 5] {
            let (outcomes, retries, result) = run(&Mock { fail_packs: false }, threads, usize::MAX);
            let ids: BTreeSet<&str> = outcomes.iter().map(|o| o.cell_id.as_str()).collect();
            assert_eq!((outcomes.len(), ids.len(), retries), (9, 9, 0));
            assert!(result.is_ok());
        }
    }

    #[test]
    fn failing_packs_are_halved_and_only_hopeless_cells_fail() {
        let (outcomes, retries, _) = run(&Mock { fail_packs: true }, 2, usize::MAX);
        let failed: Vec<&str> =
            outcomes.iter().filter(|o| o.status == Status::Failed).map(|o| o.reason.as_str()).collect();
        assert_eq!(outcomes.len(), 9);
        assert!(retries > 0);
        assert_eq!(failed.len(), 2, "{failed:?}");
        assert!(failed.contains(&"seed 4") && failed.contains(&"the trainer panicked: seed 3"));
    }

    #[test]
    fn an_error_of_the_listener_stops_the_run() {
        // More packs than wait to be heard.
        let (outcomes, _, result) = run_seeds(8 * WAITING, &Mock { fail_packs: false }, 1, 1);
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
        let packs = make_packs(&sweep.cells, &wanted, |_| 1);
        let mock = Mock { fail_packs: false };
        run_packs(&sweep.cells, packs, &mock, 2, &Control::default(), slow).expect("no listener fails");
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
        let result = run_packs::<()>(&sweep.cells, packs, &mock, 1, &control, |_| {
            events += 1;
            Ok(())
        });
        assert!(result.is_ok() && events == 0);
    }
}
