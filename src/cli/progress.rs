//! Progress on standard error: a bar on a terminal, a line per interval elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::seconds;
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
            started: Instant::now(),
            done: AtomicBool::new(false),
        });
        let terminal = std::io::stderr().is_terminal();
        let theirs = shared.clone();
        let reporter = std::thread::spawn(move || if terminal { theirs.draw_bar() } else { theirs.print_lines() });
        Self { shared, reporter: Some(reporter) }
    }

    /// Counts finished cells.
    pub fn finished(&self, statuses: impl Iterator<Item = Status>) {
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
        let rate = done as f64 / elapsed;
        let left = elapsed * (self.cell_steps.saturating_sub(steps)) as f64 / steps.max(1) as f64;
        let eta = if steps == 0 { "unknown".to_string() } else { seconds(left) };
        let of = |status: Status| counts.get(name(status)).copied().unwrap_or(0);
        format!(
            "{done}/{} cells, {rate:.2} cells/s, {:.0} cell-steps/s, {eta} left; {} collapsed, {} diverged, {} failed",
            self.cells,
            steps as f64 / elapsed,
            of(Status::Collapsed),
            of(Status::Diverged),
            of(Status::Failed),
        )
    }

    fn draw_bar(&self) {
        let bar = ProgressBar::new(self.cell_steps.max(1));
        if let Ok(style) = ProgressStyle::with_template("[{bar:16}] {percent:>3}% {wide_msg}") {
            bar.set_style(style);
        }
        while !self.done.load(Ordering::Relaxed) {
            bar.set_position(self.control.cell_steps.load(Ordering::Relaxed));
            bar.set_message(self.message());
            std::thread::sleep(BAR_EVERY);
        }
        bar.finish_and_clear();
        eprintln!("{}", self.message());
    }

    fn print_lines(&self) {
        let mut last = Instant::now();
        while !self.done.load(Ordering::Relaxed) {
            if last.elapsed() >= LINE_EVERY {
                eprintln!("{}", self.message());
                last = Instant::now();
            }
            std::thread::sleep(BAR_EVERY);
        }
        eprintln!("{}", self.message());
    }
}
