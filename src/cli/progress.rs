//! Progress on standard error: a bar on a terminal, a line per interval elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::{self, seconds};
use crate::engine::{Control, Status};

/// Between lines when standard error is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Between updates of the bar.
const BAR_EVERY: Duration = Duration::from_millis(200);

/// Reports on a run until it is dropped.
pub struct Progress {
    shared: Arc<Shared>,
    reporter: Option<JoinHandle<()>>,
}

struct Shared {
    control: Arc<Control>,
    counts: Mutex<BTreeMap<&'static str, usize>>,
    cells: usize,
    cell_steps: u64,
    /// Steps that cells which ended early never took.
    spared: AtomicU64,
    started: Instant,
    done: AtomicBool,
}

impl Progress {
    /// Starts reporting on `cells` cells of `cell_steps` steps in all.
    pub fn start(control: Arc<Control>, cells: usize, cell_steps: u64) -> Self {
        let shared = Arc::new(Shared {
            control,
            counts: Mutex::new(BTreeMap::new()),
            cells,
            cell_steps,
            spared: AtomicU64::new(0),
            started: Instant::now(),
            done: AtomicBool::new(false),
        });
        let terminal = std::io::stderr().is_terminal();
        let theirs = shared.clone();
        let reporter = std::thread::spawn(move || if terminal { theirs.draw_bar() } else { theirs.print_lines() });
        Self { shared, reporter: Some(reporter) }
    }

    /// Counts finished cells, and the steps that they were planned to take and did not.
    pub fn finished(&self, statuses: impl Iterator<Item = Status>, spared: u64) {
        self.shared.spared.fetch_add(spared, Ordering::Relaxed);
        let mut counts = self.shared.counts.lock().unwrap_or_else(|p| p.into_inner());
        for status in statuses {
            *counts.entry(name(status)).or_default() += 1;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.shared.done.store(true, Ordering::Relaxed);
        if let Some(reporter) = self.reporter.take() {
            reporter.thread().unpark();
            let _ = reporter.join();
        }
    }
}

/// The word of a status.
pub fn name(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Collapsed => "collapsed",
        Status::Diverged => "diverged",
        Status::Failed => "failed",
    }
}

impl Shared {
    fn message(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(|p| p.into_inner());
        let done: usize = counts.values().sum();
        let steps = self.control.cell_steps.load(Ordering::Relaxed);
        let elapsed = self.started.elapsed().as_secs_f64();
        let left = elapsed * self.to_do().saturating_sub(steps) as f64 / steps.max(1) as f64;
        let when = match (self.done.load(Ordering::Relaxed), steps) {
            (true, _) => format!("{} in all", seconds(elapsed)),
            (false, 0) => "preparing".to_string(),
            (false, _) => format!("{} left", seconds(left)),
        };
        let of = |status: Status| counts.get(name(status)).copied().unwrap_or(0);
        format!(
            "{done}/{} cells, {when}; {} collapsed, {} diverged, {} failed; {:.1} cells/s, {:.0} cell-steps/s",
            self.cells,
            of(Status::Collapsed),
            of(Status::Diverged),
            of(Status::Failed),
            done as f64 / elapsed,
            steps as f64 / elapsed,
        )
    }

    fn to_do(&self) -> u64 {
        self.cell_steps.saturating_sub(self.spared.load(Ordering::Relaxed))
    }

    fn draw_bar(&self) {
        let bar = ProgressBar::new(self.cell_steps.max(1));
        if let Ok(style) = ProgressStyle::with_template("[{bar:16}] {percent:>3}% {wide_msg}") {
            bar.set_style(style);
        }
        while !self.done.load(Ordering::Relaxed) {
            bar.set_length(self.to_do().max(1));
            bar.set_position(self.control.cell_steps.load(Ordering::Relaxed));
            bar.set_message(self.message());
            std::thread::park_timeout(BAR_EVERY);
        }
        bar.finish_and_clear();
        output::note(&self.message());
    }

    fn print_lines(&self) {
        let mut last = Instant::now();
        while !self.done.load(Ordering::Relaxed) {
            if last.elapsed() >= LINE_EVERY {
                output::note(&self.message());
                last = Instant::now();
            }
            std::thread::park_timeout(BAR_EVERY);
        }
        output::note(&self.message());
    }
}
