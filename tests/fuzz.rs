//! Inputs that nobody wrote: sound files changed at random places, by their grammar or by their bytes.
//!
//! Whatever comes in, the program must not panic, take more than a few seconds or much memory, and must not take a changed
//! record for the one that it was. A target is a line of [`TARGETS`]: a name, and a function that hands a strategy and a
//! check to [`Fuzz::check`]. See `CONTRIBUTING.md` for the long run.

#[path = "fuzz/files.rs"]
mod files;
// Other test programs use the rest of it.
#[allow(dead_code)]
#[path = "common/forge.rs"]
mod forge;
#[path = "fuzz/memory.rs"]
mod memory;
#[path = "fuzz/mutation.rs"]
mod mutation;
#[path = "fuzz/records.rs"]
mod records;
#[path = "fuzz/specs.rs"]
mod specs;
#[path = "fuzz/tables.rs"]
mod tables;

use std::cell::RefCell;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// What runs a target.
type Target = fn(&mut Fuzz);

/// Every target: its name, what runs it, and the least share of inputs that are taken. It shows that inputs get past
/// the first check of what reads them; of parts every byte has a hash before it.
const TARGETS: &[(&str, Target, f64)] = &[
    ("records", records::records, 0.05),
    ("parts", records::parts, 0.0),
    ("manifest", files::manifest, 0.15),
    ("ledger", files::ledger, 0.02),
    ("directives", files::directives, 0.15),
    ("bundle", files::bundle, 0.9),
    ("tables", tables::tables, 0.03),
    ("specs", specs::specs, 0.1),
    ("set", specs::set, 0.3),
    ("axis", specs::axis, 0.15),
];

/// Flags of Rust's own harness that have a value.
const VALUED: [&str; 6] = ["--test-threads", "--skip", "--color", "--format", "--logfile", "-Z"];

/// Inputs of each target where the environment does not say how many: seconds in all.
const CASES: u32 = 200;
/// How many inputs each target gets.
const CASES_VARIABLE: &str = "CLIFFLINE_FUZZ_CASES";
/// Another seed gives other inputs; the same seed the same.
const SEED_VARIABLE: &str = "CLIFFLINE_FUZZ_SEED";
/// Longest that one input may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// An input that takes this long hangs: the process ends, and says which target it was.
const HANGS: Duration = Duration::from_secs(60);
/// Most memory that one input may take beside what is there: inputs are smaller than a megabyte, and what the program reads
/// of them is bounded by what a record, a manifest or a table may be.
const MOST_BYTES: usize = 1 << 30;

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was refused, in words.
    Refused,
    /// It was taken, and says what the sound one says.
    Unchanged,
    /// It was taken, and whoever compares it (with its hash, with a root, with a cell trained again) sees the change.
    Told,
}

/// Runs a target and counts.
pub struct Fuzz {
    name: &'static str,
    cases: u32,
    seed: u64,
    counts: [u64; 3],
    slowest: Duration,
    peak: usize,
    failure: Option<String>,
    /// Inputs that were begun, for the watchdog.
    begun: Arc<AtomicU64>,
}

impl Fuzz {
    /// Checks inputs of a strategy. A check that fails, panics, or takes too long or too much fails the target.
    pub fn check<S: Strategy>(&mut self, strategy: S, check: impl Fn(S::Value) -> Result<Verdict, TestCaseError>) {
        let config =
            Config { cases: self.cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(config, rng);
        let seen = RefCell::new((self.counts, self.slowest, self.peak));
        let result = runner.run(&strategy, |input| {
            self.begun.fetch_add(1, Ordering::Relaxed);
            let started = Instant::now();
            let (verdict, peak) = memory::peak(|| check(input));
            let took = started.elapsed();
            let mut seen = seen.borrow_mut();
            (seen.1, seen.2) = (seen.1.max(took), seen.2.max(peak));
            if took > PATIENCE {
                return Err(TestCaseError::fail(format!("it took {took:?}")));
            }
            if peak > MOST_BYTES {
                return Err(TestCaseError::fail(format!("it took {} MiB", peak >> 20)));
            }
            seen.0[verdict? as usize] += 1;
            Ok(())
        });
        (self.counts, self.slowest, self.peak) = seen.into_inner();
        self.failure = match result {
            Ok(()) => self.failure.take(),
            Err(TestError::Fail(why, input)) => Some(format!("{why}\n  input: {input:?}")),
            Err(TestError::Abort(why)) => Some(format!("given up: {why}")),
        };
    }

    fn line(&self, took: Duration) -> String {
        let [refused, unchanged, told] = self.counts;
        format!(
            "fuzz {:<11} {:>8} inputs: {refused} refused, {unchanged} as they were, {told} whose change is told; \
             {:.1} s, slowest {} ms, {} MiB",
            self.name,
            refused + unchanged + told,
            took.as_secs_f64(),
            self.slowest.as_millis(),
            self.peak >> 20,
        )
    }
}

/// A number from the environment.
fn number<T: std::str::FromStr>(variable: &str, otherwise: T) -> T {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no whole number")),
        Err(_) => otherwise,
    }
}

/// Ends the process when one input takes too long: nothing else can.
fn watch(name: &'static str, begun: Arc<AtomicU64>) {
    std::thread::spawn(move || {
        let mut last = u64::MAX;
        loop {
            std::thread::sleep(HANGS);
            let now = begun.load(Ordering::Relaxed);
            // The only other holder is the target, and it has ended.
            if Arc::strong_count(&begun) == 1 {
                return;
            }
            if now == last {
                eprintln!("fuzz {name}: input number {now} hangs");
                std::process::exit(1);
            }
            last = now;
        }
    });
}

/// What the arguments choose and what they leave out. Flags are those of Rust's own harness, of which only these mean
/// something here.
fn names(arguments: &[String]) -> (Vec<&str>, Vec<&str>) {
    let (mut wanted, mut skipped) = (Vec::new(), Vec::new());
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        match argument.split_once('=') {
            Some(("--skip", value)) => skipped.push(value),
            _ if argument == "--skip" => skipped.extend(rest.next()),
            _ if VALUED.contains(&argument) => drop(rest.next()),
            _ if argument.starts_with('-') => {}
            _ => wanted.push(argument),
        }
    }
    (wanted, skipped)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        TARGETS.iter().for_each(|(name, ..)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let (wanted, skipped) = names(&arguments);
    let chosen = |name: &str| {
        (wanted.is_empty() || wanted.iter().any(|part| name.contains(part)))
            && !skipped.iter().any(|part| name.contains(part))
    };
    let (cases, seed) = (number(CASES_VARIABLE, CASES), number(SEED_VARIABLE, 0));
    let (mut lines, mut failed) = (Vec::new(), false);
    for (name, run, least_taken) in TARGETS.iter().filter(|(name, ..)| chosen(name)) {
        let begun = Arc::new(AtomicU64::new(0));
        watch(name, begun.clone());
        let mut fuzz =
            Fuzz { name, cases, seed, counts: [0; 3], slowest: Duration::ZERO, peak: 0, failure: None, begun };
        let started = Instant::now();
        run(&mut fuzz);
        lines.push(fuzz.line(started.elapsed()));
        let [refused, unchanged, told] = fuzz.counts;
        let taken = (unchanged + told) as f64 / (refused + unchanged + told).max(1) as f64;
        if fuzz.failure.is_none() && taken < *least_taken {
            fuzz.failure = Some(format!("{taken:.3} of the inputs were taken, fewer than {least_taken}"));
        }
        if let Some(failure) = &fuzz.failure {
            failed = true;
            eprintln!("fuzz {name} FAILED with {SEED_VARIABLE}={seed} {CASES_VARIABLE}={cases}: {failure}");
        }
    }
    lines.iter().for_each(|line| println!("{line}"));
    println!("fuzz: {} of {} targets ran", lines.len(), TARGETS.len());
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
