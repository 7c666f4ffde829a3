//! The command line: arguments, wiring and exit codes, one file per command.
//!
//! Standard output carries data; everything else goes to standard error. Exit codes: see [`exit`].

mod agree;
mod attribute;
mod boundary;
mod bundle;
mod checked;
mod code;
mod columns;
mod compare;
mod completions;
mod devices;
mod embed;
mod exemplars;
mod finish;
mod gate;
mod gradcheck;
mod interrupt;
mod lab;
mod opened;
mod output;
mod plan;
mod progress;
mod redact;
mod refine;
mod report;
mod reuse;
mod run;
mod show;
mod status;
mod summary;
mod terminal;
mod verify;
mod world;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use summary::render as render_summary;

use crate::aligner::backend::{Backend, Choice, Place};
use crate::engine::{self, Estimate, Pack, Workers};
use crate::machine;
use crate::spec::{Cell, Overrides, SpecError, Sweep};
use crate::store::StoreError;

/// Exit codes.
pub mod exit {
    pub const OK: u8 = 0;
    /// A check says no: `gate`, `agree`, `gradcheck`, `verify`, `world check`, `compare --fail-on`, `run --gate`, the comparison of
    /// `embed`; before a `run` its gradients, or a cell of a neighbour that came out differently; after it an exemplar that did.
    pub const NO: u8 = 1;
    /// Usage, spec or IO.
    pub const ERROR: u8 = 2;
    /// Some cells failed.
    pub const CELLS_FAILED: u8 = 3;
    /// Incomplete, and the same command resumes it.
    pub const INCOMPLETE: u8 = 4;
    pub const INTERRUPTED: u8 = 130;
}

/// Maps where the shared embedding geometry of tiny multimodal contrastive models degrades and collapses.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train every cell of a sweep that is not there yet, and write its tables
    Run(run::RunArgs),
    /// Show what would run and what it would cost, without training it
    Plan(plan::PlanArgs),
    /// Show how a run stands, live or dead
    Status(status::StatusArgs),
    /// Judge a run by the gates of its spec: 0 when all pass, 1 when one fails or lacks evidence
    Gate(gate::GateArgs),
    /// Show where the constraints of a run flip along its axes, and how far they hold
    Boundary(boundary::BoundaryArgs),
    /// Train further levels where a constraint flips, until each flip is known to a tolerance
    Refine(refine::RefineArgs),
    /// Draw a run: an HTML page that needs nothing else, and its pictures as SVG files
    Report(report::ReportArgs),
    /// Pack a finished run into bundle.zip, to hand on
    Bundle(bundle::BundleArgs),
    /// Tell what differs between two runs: in their specs, in what computed them, and in the results, paired by seed
    Compare(compare::CompareArgs),
    /// Name every file of a run that changed, is missing or does not belong; with --rerun retrain a sample of its cells
    Verify(verify::VerifyArgs),
    /// Print one cell's audit manifest as JSON, with --proof that the run's root has it
    Show(show::ShowArgs),
    /// Retrain one cell, check it against its manifest, and write its test embeddings
    Embed(embed::EmbedArgs),
    /// Run the experiments of a chapter and judge what its text expects of them
    Lab(lab::LabArgs),
    /// Tell which mechanism the panels of a run's cells support, by what `lab failures` calibrated
    Attribute(attribute::AttributeArgs),
    /// Compare backends on the same cells, stage by stage
    Agree(agree::AgreeArgs),
    /// Check analytic gradients against autodiff and derivatives in f64
    Gradcheck(gradcheck::GradcheckArgs),
    /// Check or export the synthetic world
    #[command(subcommand)]
    World(world::WorldCommand),
    /// List backends and graphics adapters
    Devices(devices::DevicesArgs),
    /// Print the parameters of a spec and the metrics of the tables
    Reference(completions::ReferenceArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

/// A spec and what overrides it.
#[derive(Clone, Debug, Args)]
struct SpecArgs {
    /// Path of a spec, the name of a file in sweeps/, such as smoke, or - for standard input
    #[arg(value_name = "SPEC")]
    spec: OsString,
    #[command(flatten)]
    overrides: OverrideArgs,
}

#[derive(Clone, Debug, Default, Args)]
struct OverrideArgs {
    /// Set a parameter of the spec
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Replace or add an axis: values, log:LO:HI:N, linear:LO:HI:N, or seed=seeds:N
    #[arg(long, value_name = "PATH=V1,V2,..")]
    axis: Vec<String>,
}

impl OverrideArgs {
    fn overrides(&self) -> Overrides {
        Overrides { set: self.set.clone(), axis: self.axis.clone() }
    }

    /// Loads `spec` under these overrides.
    fn load(&self, spec: impl AsRef<OsStr>) -> Result<Sweep, SpecError> {
        crate::spec::load(spec, &self.overrides())
    }
}

impl SpecArgs {
    fn load(&self) -> Result<Sweep, SpecError> {
        self.overrides.load(&self.spec)
    }
}

/// Where cells train.
#[derive(Clone, Debug, Args)]
struct BackendArgs {
    /// Where to train: auto takes a real GPU, else the CPU
    #[arg(long, value_enum, default_value = "auto", env = "CLIFFLINE_BACKEND")]
    backend: Choice,
    /// Worker threads on the CPU; 0 uses every core
    #[arg(
        long, value_name = "N", default_value_t = 0, env = "CLIFFLINE_THREADS", value_parser = threads,
        allow_negative_numbers = true
    )]
    threads: usize,
    /// Cells trained together; 0 chooses by memory and caches. Results do not depend on it
    #[arg(
        long, value_name = "N", default_value_t = 0, env = "CLIFFLINE_PACK", value_parser = whole::<usize>,
        allow_negative_numbers = true
    )]
    pack: usize,
}

/// Most worker threads: more than any machine has cores, and few enough to start.
const MOST_THREADS: usize = 1024;

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n <= MOST_THREADS => Ok(n),
        _ => Err(format!("give a whole number from 0 to {MOST_THREADS}")),
    }
}

/// A whole number, for flags that take one.
fn whole<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "give a whole number, such as 8".to_string())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl BackendArgs {
    /// Opens the backend and says on standard error which and why.
    fn open(&self) -> anyhow::Result<Backend> {
        let backend = self.backend.open()?;
        output::note(&format!("backend {}: {}", backend.name, backend.why));
        Ok(backend)
    }

    /// Workers: a GPU is fed by one.
    fn workers(&self, backend: &Backend) -> usize {
        match (backend.is_cpu(), self.threads) {
            (false, _) => 1,
            (true, 0) => cores(),
            (true, n) => n,
        }
    }

    /// Threads of a run: a GPU's packs are prepared and measured beside their training.
    fn threads(&self, backend: &Backend) -> Workers {
        let host = match (backend.is_cpu(), self.threads) {
            (true, _) => 0,
            (false, 0) => cores(),
            (false, n) => n.min(cores()),
        };
        Workers { training: self.workers(backend), host }
    }

    /// Packs of the cells at `wanted` and what they cost.
    fn packs(&self, backend: &Backend, sweep: &Sweep, wanted: &[usize]) -> (Vec<Pack>, Estimate) {
        self.packs_scaled(backend, sweep, wanted, 1.0)
    }

    /// As [`Self::packs`], and refuses what this process has no room for: memory, address space, threads.
    fn require_room(
        &self,
        backend: &Backend,
        sweep: &Sweep,
        wanted: &[usize],
    ) -> anyhow::Result<(Vec<Pack>, Estimate)> {
        let (packs, estimate) = self.packs(backend, sweep, wanted);
        require_memory(&estimate)?;
        if !packs.is_empty() {
            let Workers { training, host } = self.threads(backend);
            // One says how far the run is; an adapter's driver has some of its own.
            let beside = if backend.is_cpu() { 1 } else { 1 + ADAPTER_THREADS };
            machine::threads::require(training.min(packs.len()) + host + beside)?;
        }
        Ok((packs, estimate))
    }

    /// As [`Self::packs`], at a factor of the usual size where that is chosen here.
    fn packs_scaled(&self, backend: &Backend, sweep: &Sweep, wanted: &[usize], factor: f64) -> (Vec<Pack>, Estimate) {
        let (workers, place) = (self.workers(backend), backend.place());
        let size = |cell: &Cell, alike: usize| match self.pack {
            0 => engine::pack_size(&cell.config, alike, workers, place, factor),
            n => n,
        };
        let packs = engine::make_packs(&sweep.cells, wanted, size);
        let estimate = engine::estimate(&sweep.cells, &packs, workers, place);
        (packs, estimate)
    }
}

/// Refuses what does not fit into memory, or into a limit that was put on it.
fn require_memory(estimate: &Estimate) -> anyhow::Result<()> {
    let Estimate { memory_bytes, mapped_bytes, .. } = *estimate;
    let rooms = machine::rooms();
    let Some(room) = rooms.refuses(memory_bytes, mapped_bytes) else { return Ok(()) };
    let takes = if room.mapped { mapped_bytes } else { memory_bytes };
    let left = match room.limit {
        Some(limit) => {
            format!("{} are left of {}, the limit of {}", output::bytes(room.bytes), output::bytes(limit), room.of)
        }
        None => format!("{} can be had", output::bytes(room.bytes)),
    };
    anyhow::bail!(
        "this would take about {} of memory, and {left}: lower --threads or --pack, or world.n_train, \
         world.image_size or train.batch_size",
        output::bytes(takes),
    )
}

/// Refuses to train or look at one of these cells, alone, where it does not fit into memory.
fn require_memory_for(cells: &[Cell], place: Place) -> anyhow::Result<()> {
    let each = cells.iter().take(1).map(|_| Pack { cells: vec![0] }).collect::<Vec<_>>();
    require_memory(&engine::estimate(cells.get(..1).unwrap_or_default(), &each, 1, place))
}

/// Threads that a driver of a graphics adapter starts.
const ADAPTER_THREADS: usize = 8;

/// A run directory.
#[derive(Clone, Debug, Args)]
struct DirArgs {
    /// Run directory, for instance results/smoke-1a2b3c4d
    dir: PathBuf,
}

/// Mesa's device-selection layer prints errors to standard error where there is no desktop session, on every server
/// and in every container. Adapters are chosen here by kind, so the layer has nothing to add there.
fn quiet_device_selection() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() && std::env::var_os("NODEVICE_SELECT").is_none() {
        // SAFETY: called first thing in `main`, before any other thread exists that could read the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// Names of the variables that stand for flags begin with this.
const VARIABLES: &str = "CLIFFLINE_";

/// A variable that is set to nothing counts as unset, as it does nearly everywhere.
fn forget_empty_variables() {
    let ours = |(name, value): &(OsString, OsString)| value.is_empty() && name.to_string_lossy().starts_with(VARIABLES);
    for (name, _) in std::env::vars_os().filter(ours) {
        // SAFETY: before any other thread exists that could read the environment.
        unsafe { std::env::remove_var(name) };
    }
}

/// Says of a refused flag that its value may be that of a variable.
fn say_variables(error: &clap::Error) {
    let text = error.to_string();
    let of_a_flag = |(name, value): &(String, String)| {
        let flag = name.strip_prefix(VARIABLES).unwrap_or_default().to_ascii_lowercase();
        text.contains(&format!("--{flag} ")) && text.contains(&format!("'{value}'"))
    };
    let ours = std::env::vars_os().map(|(name, value)| [name, value].map(|text| text.to_string_lossy().into_owned()));
    for (name, value) in ours.map(<(String, String)>::from).filter(of_a_flag) {
        output::note(&format!("{name} is set to {value:?} in the environment"));
    }
}

/// Refuses limits under which no command works.
fn require_limits() -> anyhow::Result<()> {
    machine::require_stack()?;
    Ok(machine::require_floor()?)
}

/// Commands that make do without a single thread beside their own.
const THREADLESS: [&str; 10] =
    ["agree", "completions", "devices", "gradcheck", "man", "plan", "reference", "show", "status", "verify"];

/// Starts the threads that render, draw and read tables: as many as are to train, where that is said. A command that
/// needs some is refused where there are none, before it does anything.
fn start_threads(matches: &clap::ArgMatches) -> anyhow::Result<()> {
    let Some((command, own)) = matches.subcommand() else { return Ok(()) };
    let threads = own.try_get_one("threads").ok().flatten().copied();
    let wanted = machine::threads::wanted(threads.filter(|threads: &usize| *threads > 0));
    let started = machine::threads::start_pool(wanted);
    if THREADLESS.contains(&command) {
        return Ok(());
    }
    // Tables are read and written in a pool of their own library's, which panics where it cannot start its threads.
    const OF_TABLES: &str = "POLARS_MAX_THREADS";
    let named = std::env::var(OF_TABLES).ok().and_then(|text| text.parse().ok()).filter(|threads| *threads > 0);
    let threads: usize = named.unwrap_or(if started < wanted { 1 } else { wanted });
    // SAFETY: the threads of the pool wait for work, and read no environment.
    unsafe { std::env::set_var(OF_TABLES, threads.to_string()) };
    machine::threads::require(threads)?;
    LazyLock::force(&polars_core::runtime::THREAD_POOL);
    machine::require_files()?;
    Ok(())
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    quiet_device_selection();
    forget_empty_variables();
    interrupt::heed();
    machine::spare_address_space();
    if let Err(error) = require_limits() {
        say(&error);
        return ExitCode::from(exit::ERROR);
    }
    let command = Cli::command().after_long_help(EXIT_CODES);
    let matches = match command.try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are not errors; both go where clap sends them. An error quotes what was typed or expanded,
            // with clap's colours where a terminal can obey nothing else in it.
            if !error.use_stderr() {
                let _ = error.print();
                return ExitCode::from(exit::OK);
            }
            if terminal::color() {
                output::note_styled(error.render().ansi().to_string().trim_end());
            } else {
                output::note(error.render().to_string().trim_end());
            }
            say_variables(&error);
            return ExitCode::from(exit::ERROR);
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let ended = start_threads(&matches).and_then(|()| dispatch(cli.command));
    crate::store::take_lacking().iter().for_each(|lacking| output::note(lacking));
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&error);
            ExitCode::from(code_of(&error))
        }
    }
}

/// The exit code of an error: what is being made by another process can be had later.
fn code_of(error: &anyhow::Error) -> u8 {
    let busy = matches!(error.downcast_ref::<StoreError>(), Some(StoreError::Busy { .. }));
    if busy || error.is::<opened::NotYet>() { exit::INCOMPLETE } else { exit::ERROR }
}

const EXIT_CODES: &str = "Exit codes: 0 ok; 1 a check says no; 2 usage, spec or IO; \
                          3 cells failed; 4 incomplete but resumable; 130 interrupted.";

fn dispatch(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Run(args) => run::main(&args),
        Command::Plan(args) => plan::main(&args),
        Command::Status(args) => status::main(&args),
        Command::Gate(args) => gate::main(&args),
        Command::Boundary(args) => boundary::main(&args),
        Command::Refine(args) => refine::main(&args),
        Command::Report(args) => report::main(&args),
        Command::Bundle(args) => bundle::main(&args),
        Command::Compare(args) => compare::main(&args),
        Command::Verify(args) => verify::main(&args),
        Command::Show(args) => show::main(&args),
        Command::Embed(args) => embed::main(&args),
        Command::Lab(args) => lab::main(&args),
        Command::Attribute(args) => attribute::main(&args),
        Command::Agree(args) => agree::main(&args),
        Command::Gradcheck(args) => gradcheck::main(&args),
        Command::World(command) => world::main(&command),
        Command::Devices(args) => devices::main(&args),
        Command::Reference(args) => completions::reference(&args),
        Command::Completions(args) => completions::main(&args),
        Command::Man => completions::man(),
    }
}

/// An error and those of its causes that it does not quote already.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Prints an error and its causes. A spec error shows its place in the file instead.
fn say(error: &anyhow::Error) {
    match error.downcast_ref::<SpecError>() {
        Some(spec) if terminal::color() => output::note_styled(&spec.render(true)),
        Some(spec) => output::note(&spec.render(false)),
        None if error.is::<opened::NotYet>() => output::note(&error.to_string()),
        None => output::note(&format!("error: {}", chain(error))),
    }
}
