//! Progress on standard error: a bar on a terminal, a line per interval elsewhere.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::{self, seconds};
use super::terminal::{self, Screen};
use crate::engine::{Control, Status};

/// Between lines when standard error is not a terminal, or a dumb one.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Between updates of the bar.
const BAR_EVERY: Duration = Duration::from_millis(200);

/// Characters of the bar, on terminals of at least so many: below the narrowest, words say more.
const BARS: [(usize, usize); 2] = [(60, 16), (40, 8)];
/// What a bar is made of: done, to do.
const BLOCKS: [char; 2] = ['\u{2588}', '\u{2591}'];
const ASCII: [char; 2] = ['#', '.'];

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
        let theirs = shared.clone();
        let report = move || if terminal::of_errors().is_some() { theirs.draw_bar() } else { theirs.print_lines() };
        let reporter = std::thread::Builder::new().spawn(report);
        if let Err(error) = &reporter {
            output::note(&format!("no progress is shown: its thread cannot be started ({error})"));
        }
        Self { shared, reporter: reporter.ok() }
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
        self.clauses().concat()
    }

    /// What there is to say, the most important first.
    fn clauses(&self) -> Vec<String> {
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
        vec![
            format!("{done}/{} cells", self.cells),
            format!(", {when}"),
            format!("; {} collapsed", of(Status::Collapsed)),
            format!(", {} diverged", of(Status::Diverged)),
            format!(", {} failed", of(Status::Failed)),
            format!("; {:.1} cells/s", done as f64 / elapsed),
            format!(", {:.0} cell-steps/s", steps as f64 / elapsed),
        ]
    }

    fn to_do(&self) -> u64 {
        self.cell_steps.saturating_sub(self.spared.load(Ordering::Relaxed))
    }

    fn draw_bar(&self) {
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        while !self.done.load(Ordering::Relaxed) {
            // Looked at each time: windows are made wider and narrower.
            if let Some(screen) = terminal::of_errors() {
                let share = self.control.cell_steps.load(Ordering::Relaxed) as f64 / self.to_do().max(1) as f64;
                bar.set_message(line(screen, share, &self.clauses()));
            }
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

/// A line that fits a terminal: a bar where there is room for one, how much is done, and as many of the clauses as fit.
fn line(screen: Screen, share: f64, clauses: &[String]) -> String {
    // In the last column some terminals go on to the next line.
    let room = screen.width.saturating_sub(1);
    let share = share.clamp(0.0, 1.0);
    let bar = BARS.iter().find(|(least, _)| screen.width >= *least).map(|(_, length)| {
        let [done, to_do] = if screen.unicode { BLOCKS } else { ASCII };
        let full = (share * *length as f64) as usize;
        let bar: String = (0..*length).map(|at| if at < full { done } else { to_do }).collect();
        format!("[{bar}] ")
    });
    let mut line = bar.unwrap_or_default();
    line.push_str(&format!("{:>3.0}% ", (share * 100.0).floor()));
    let mut used = line.chars().count();
    for clause in clauses {
        used += clause.chars().count();
        if used > room {
            break;
        }
        line.push_str(clause);
    }
    line.truncate(line.char_indices().nth(room).map_or(line.len(), |(at, _)| at));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clauses() -> Vec<String> {
        ["7/36 cells", ", 12 s left", "; 0 collapsed", ", 1 diverged"].map(String::from).to_vec()
    }

    #[test]
    fn a_line_fits_any_terminal_and_breaks_between_clauses() {
        for unicode in [true, false] {
            for width in 0..200 {
                let line = line(Screen { width, unicode }, 0.255, &clauses());
                let length = line.chars().count();
                assert!(length < width.max(1), "{length} characters on {width}: {line}");
                assert_eq!(line.is_ascii(), !unicode || width < BARS[1].0, "{line}");
            }
        }
        let at = |width: usize| line(Screen { width, unicode: false }, 0.255, &clauses());
        assert_eq!(at(20), " 25% 7/36 cells");
        assert_eq!(at(30), " 25% 7/36 cells, 12 s left");
        assert_eq!(at(45), "[##......]  25% 7/36 cells, 12 s left");
        assert_eq!(at(99), "[####............]  25% 7/36 cells, 12 s left; 0 collapsed, 1 diverged");
        assert_eq!(at(6), " 25% ");
    }

    #[test]
    fn shares_that_are_none_draw_bars_all_the_same() {
        let screen = Screen { width: 80, unicode: false };
        assert!(line(screen, 7.0, &[]).starts_with("[################] 100%"));
        assert!(line(screen, -1.0, &[]).starts_with("[................]   0%"));
        assert!(line(screen, f64::NAN, &[]).starts_with("[................]"));
    }
}
