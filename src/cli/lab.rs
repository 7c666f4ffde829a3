//! `cliffline lab`: the experiments of a chapter, run as sweeps and judged by what its text expects.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use super::checked::require_outside;
use super::exemplars::Effort;
use super::finish::{claim, command_line};
use super::opened::to_write;
use super::redact::{REDACTION, RedactArgs, is_left};
use super::run::{ExemplarArgs, INTERRUPTED, ReuseArgs, Session, Standing};
use super::{BackendArgs, OverrideArgs, exit, output};
use crate::aligner::gradcheck::Tally;
use crate::audit::{
    Evidence, RISK_LOG_FILE, RUN_REPORT_FILE, RiskLog, lab_report, lab_risk_log, risk_log, write_lab_risk_log,
};
use crate::engine::{self, BurnTrainer, Control};
use crate::lab::attribution::{ATTRIBUTION_FILE, Calibrated};
use crate::lab::{
    Changes, Family, FamilyRun, Finding, LAB_FILE, LABORATORIES, LabDocument, Laboratory, MIN_SEEDS, Origin,
    REGISTER_STEP, RUN_STEP, RUNS_FOLDER, Registration, Verdict, assemble, laboratory,
};
use crate::numerics::shown::rounded;
use crate::report::lab::{lab_page, lab_pictures};
use crate::spec::{Overrides, Sweep, load};
use crate::store::{
    Bundling, DIRECTIVES_FILE, DirLock, Directive, Directives, Holds, LAB_FORMAT, MANIFEST_FILE, REPORT_FILE,
    Redaction, RunManifest, RunReader, Scope, VERIFICATION_STATEMENT, check_seal, mark, now_utc, read_file, read_text,
    remove_own, require_ours, seal, seal_manifest, take_lacking, unseal, write_atomic,
};

/// Version of a laboratory's `manifest.json`.
///
/// # Changelog
/// - 1: first version.
/// - 2: `registration`, written before cells are trained; `redaction`.
const LAB_MANIFEST_VERSION: u64 = 2;

/// What a laboratory writes beside what every directory of ours has.
const FILES: [&str; 5] = [LAB_FILE, ATTRIBUTION_FILE, REPORT_FILE, RUN_REPORT_FILE, RISK_LOG_FILE];

/// The axis that every family has.
const SEED: &str = "seed";

#[derive(Debug, Args)]
pub struct LabArgs {
    /// Which laboratory
    #[arg(value_name = "LABORATORY", value_parser = PossibleValuesParser::new(LABORATORIES.iter().map(|lab| lab.name)))]
    laboratory: String,
    /// Directory of the laboratory [default: results/lab-<name>-<first 8 of the hash of its specs>]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Fewer seeds and levels: minutes on a laptop
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    overrides: OverrideArgs,
    #[command(flatten)]
    backend: BackendArgs,
    #[command(flatten)]
    reuse: ReuseArgs,
    #[command(flatten)]
    exemplars: ExemplarArgs,
    #[command(flatten)]
    redact: RedactArgs,
    /// Print one JSON document on standard output instead of the summary
    #[arg(long)]
    json: bool,
}

pub fn main(args: &LabArgs) -> anyhow::Result<u8> {
    let Some(lab) = laboratory(&args.laboratory) else { anyhow::bail!("there is no laboratory {}", args.laboratory) };
    args.redact.check()?;
    let sweeps = sweeps(lab, args)?;
    let dir = args.output.clone().unwrap_or_else(|| default_dir(lab, &sweeps));
    if !require_ours(&dir, &Holds::Laboratory)? {
        require_outside(&dir)?;
    }
    super::opened::refuse_packed(&dir)?;
    let fewest = sweeps.iter().map(|(_, sweep)| seeds(sweep)).min().unwrap_or(0);
    if fewest < MIN_SEEDS {
        output::note(&format!("with {fewest} seeds nothing can be judged: {MIN_SEEDS} are needed, and more tell more"));
    }
    let trainer = BurnTrainer::new(args.backend.open()?);
    let begins = |family: &Family| !RunReader::is_run(&dir.join(RUNS_FOLDER).join(family.sweep));
    for (_, sweep) in sweeps.iter().filter(|(family, _)| begins(family)) {
        let all: Vec<usize> = (0..sweep.cells.len()).collect();
        args.backend.require_room(trainer.backend(), sweep, &all).with_context(|| sweep.name.clone())?;
    }
    let checks = checks(&sweeps, &trainer)?;
    if checks["passed"] != json!(true) {
        let why = format!("the checks before the experiments failed, and nothing is trained: {checks}");
        output::note(&why);
        if args.json {
            output::json(&json!({
                "version": 1, "dir": output::path(&dir), "refused": why, "checks": checks, "exit_code": exit::NO,
            }))?;
        }
        return Ok(exit::NO);
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    mark(&dir, &Holds::Laboratory)?;
    let _lock = DirLock::acquire(&dir)?;
    take_lacking().iter().for_each(|lacking| output::note(lacking));
    let files = to_write(&dir)?;
    say_changed(&dir)?;
    args.redact.require_again(&dir, before(&dir).get(REDACTION))?;
    let registration = register(lab, &sweeps, &dir, args)?;
    begin(&dir, lab, &registration, args)?;
    let mut log = Directives::open(&dir, args.redact.redaction()?)?;
    let hashes: Vec<String> = sweeps.iter().map(|(_, sweep)| format!("{} {}", sweep.name, sweep.hash())).collect();
    log.record("plan", "resolve the specs of the laboratory", &format!("{}\n{}", command_line(), hashes.join("\n")))?;
    let why = "record what is judged and by what, before cells are trained";
    log.record(REGISTER_STEP, why, &registration.line())?;
    // What the manifest records counts for nothing without this line, so it is on the disk before anything is trained.
    log.finish()?;
    let mut log = Directives::open(&dir, args.redact.redaction()?)?;
    log.record("check", "check gradients and train a cell twice", &checks.to_string())?;
    drop(files);
    let baseline = sweeps.first().map(|(_, sweep)| sweep.base.clone());
    let mut runs = Vec::new();
    let mut code = exit::OK;
    let count = sweeps.len();
    for (number, (family, sweep)) in sweeps.into_iter().enumerate() {
        output::note(&format!("{} of {count}: {}. {}", number + 1, family.title, family.asks));
        log.record(RUN_STEP, "train and measure a family", &format!("{}: {}", family.sweep, family.asks))?;
        let run = dir.join(RUNS_FOLDER).join(family.sweep);
        let standing = train(&sweep, &run, &trainer, args)?;
        if standing.refused.is_some() || standing.interrupted {
            log.finish()?;
            if standing.interrupted {
                output::note(INTERRUPTED);
            }
            return standing.stopped(&dir, args.json);
        }
        code = code.max(standing.exit_code);
        runs.push(FamilyRun { family, sweep, dir: run });
    }
    let (document, models) = assemble(lab, &runs, registration, checks)?;
    log.record("judge", "judge what the source expects, attribute mechanisms, seal the directory", "")?;
    log.finish()?;
    let models = baseline.map(|baseline| Calibrated::new(lab.name, &baseline, models));
    let files = to_write(&dir)?;
    finish(&dir, lab, &document, models, &runs, args)?;
    drop(files);
    if args.json {
        output::json(&document)?;
    } else {
        print(&dir, &document)?;
    }
    Ok(code)
}

fn seeds(sweep: &Sweep) -> usize {
    sweep.axes.iter().find(|axis| axis.path == SEED).map_or(1, |axis| axis.levels.len())
}

/// Says which files are not what an earlier session sealed.
fn say_changed(dir: &Path) -> anyhow::Result<()> {
    let found = check_seal(dir)?;
    if !found.faults.is_empty() {
        let names: Vec<&str> = found.faults.iter().map(|(name, _)| name.as_str()).collect();
        output::note(&format!("changed or lost since the last session sealed them: {}", names.join(", ")));
    }
    Ok(())
}

/// Says that the laboratory is at work, records what it is judged by before a cell is trained, and takes the seal away.
fn begin(dir: &Path, lab: &Laboratory, registration: &Registration, args: &LabArgs) -> anyhow::Result<()> {
    let created = created(dir);
    claim(dir, &Holds::Laboratory, &FILES)?;
    let mut manifest = json!({
        "format": LAB_FORMAT, "version": LAB_MANIFEST_VERSION, "laboratory": lab.name, "state": "running",
        "created_utc": created, "registration": registration, "verification_statement": VERIFICATION_STATEMENT,
    });
    if let Some(redaction) = args.redact.said(Vec::new()) {
        manifest[REDACTION] = redaction;
    }
    write(&dir.join(MANIFEST_FILE), &manifest)?;
    Ok(unseal(dir)?)
}

/// The manifest of an earlier session; null where there is none.
fn before(dir: &Path) -> Value {
    let text = read_file(&dir.join(MANIFEST_FILE)).ok();
    text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// When the laboratory in `dir` began: now, where there is none.
fn created(dir: &Path) -> String {
    before(dir)["created_utc"].as_str().map_or_else(now_utc, String::from)
}

/// What the laboratory is judged by: as an earlier session recorded it, where it is the same.
fn register(
    lab: &Laboratory,
    sweeps: &[(&'static Family, Sweep)],
    dir: &Path,
    args: &LabArgs,
) -> anyhow::Result<Registration> {
    let texts = |list: &[String]| list.iter().map(|text| args.redact.text(text)).collect();
    let OverrideArgs { set, axis } = &args.overrides;
    let changes = Changes { quick: args.quick, set: texts(set), axis: texts(axis) };
    let earlier: Option<Registration> = serde_json::from_value(before(dir)["registration"].clone()).ok();
    let Redaction { redactor, .. } = args.redact.redaction()?;
    // A killed process can leave its last line without an end.
    let log = read_text(&dir.join(DIRECTIVES_FILE)).unwrap_or_default();
    let log: Vec<Directive> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let recorded = earlier.is_some();
    let logged = earlier.filter(|earlier| earlier.is_logged(&log, |text| redactor.redact(text).text));
    let doubted = recorded && logged.is_none();
    let finished = |(family, _): &(&Family, Sweep)| {
        let reader = RunReader::open(&dir.join(RUNS_FOLDER).join(family.sweep));
        // A run that cannot be read is refused when it is opened.
        reader.map_or(0, |reader| reader.len() as u64)
    };
    let cells = sweeps.iter().map(finished).sum();
    if doubted && cells > 0 {
        output::note(&format!(
            "what {MANIFEST_FILE} says was to be judged is not what {DIRECTIVES_FILE} has: it counts as not recorded"
        ));
    }
    Ok(Registration::new(lab, sweeps, changes, (now_utc(), cells), logged))
}

/// Trains what a family lacks, and draws it.
fn train(sweep: &Sweep, dir: &Path, trainer: &BurnTrainer, args: &LabArgs) -> anyhow::Result<Standing> {
    let begins = !RunReader::is_run(dir);
    let mut session = Session::open(sweep, dir, trainer, &args.reuse)?.with(&args.exemplars).redacting(&args.redact);
    (session.draws, session.has_room) = (true, begins);
    if session.exemplars == Effort::Small {
        // Looking at single cells is part of the experiment.
        session.exemplars = Effort::Any;
    }
    session.go(&args.backend, trainer)
}

/// Writes what came of the runs, and seals the directory: risk log, strict report, page, then ledger, manifest and bundle.
fn finish(
    dir: &Path,
    lab: &Laboratory,
    document: &LabDocument,
    models: Option<Calibrated>,
    runs: &[FamilyRun],
    args: &LabArgs,
) -> anyhow::Result<()> {
    write(&dir.join(LAB_FILE), document)?;
    match models.filter(|calibrated| !calibrated.models.is_empty()) {
        Some(calibrated) => write(&dir.join(ATTRIBUTION_FILE), &calibrated)?,
        // One of an earlier session would not be of these runs.
        None => drop(remove_own(dir, ATTRIBUTION_FILE)?),
    }
    let page = lab_page(document, &lab_pictures(dir, lab, document)?);
    write_atomic(&dir.join(REPORT_FILE), |out| out.write_all(page.as_bytes()))?;
    let logs = runs.iter().map(|run| Ok((run.family.sweep, risks(run)?))).collect::<anyhow::Result<Vec<_>>>()?;
    let risks = lab_risk_log(document.laboratory, &logs);
    write_lab_risk_log(dir, &risks)?;
    lab_report(document, &risks).write(&dir.join(RUN_REPORT_FILE))?;
    let left = left_in_runs(runs)?;
    let no_bundle = !left.is_empty();
    let mut manifest = manifest(dir, document, runs)?;
    if let Some(redaction) = args.redact.said(left) {
        manifest[REDACTION] = redaction;
    }
    write(&dir.join(MANIFEST_FILE), &manifest)?;
    let bundling = if no_bundle { Bundling::No } else { Bundling::IfSmall };
    let sealed = seal(dir, Scope::Own, bundling, |seal| seal_manifest(dir, seal))?;
    if no_bundle {
        output::note("no bundle.zip: what --redact marks could not be taken out of every run");
    } else if sealed.seal.bundle.is_none() {
        output::note(&format!(
            "no bundle.zip: its files have {}; `cliffline bundle {}` makes it",
            output::bytes(sealed.bundle_bytes),
            dir.display()
        ));
    }
    Ok(())
}

/// The runs in which something stands that was to be redacted.
fn left_in_runs(runs: &[FamilyRun]) -> anyhow::Result<Vec<String>> {
    let mut left = Vec::new();
    for run in runs {
        let manifest = RunManifest::read(&run.dir)?;
        if manifest.is_some_and(|manifest| is_left(manifest.more.get(REDACTION))) {
            left.push(format!("{RUNS_FOLDER}/{}", run.family.sweep));
        }
    }
    Ok(left)
}

fn risks(run: &FamilyRun) -> anyhow::Result<RiskLog> {
    let Some(manifest) = RunManifest::read(&run.dir)? else { anyhow::bail!("{} has no manifest", run.dir.display()) };
    let gates = super::gate::judge(&run.dir, &run.sweep)?;
    Ok(risk_log(&Evidence { sweep: &run.sweep, manifest: &manifest, gates: &gates }))
}

/// The manifest of the laboratory; one that is there keeps the time at which it began.
fn manifest(dir: &Path, document: &LabDocument, runs: &[FamilyRun]) -> anyhow::Result<Value> {
    let mut listed = serde_json::Map::new();
    let mut environment = Value::Null;
    for run in runs {
        let Some(manifest) = RunManifest::read(&run.dir)? else { continue };
        environment = json!(manifest.environment);
        listed.insert(
            run.family.sweep.to_string(),
            json!({"run_id": manifest.run_id, "spec_blake3": manifest.spec_blake3, "class": manifest.class}),
        );
    }
    Ok(json!({
        "format": LAB_FORMAT, "version": LAB_MANIFEST_VERSION, "laboratory": document.laboratory,
        "state": "complete", "quick": document.quick, "complete": document.complete, "created_utc": created(dir),
        "registration": document.registration, "standing": document.standing,
        "runs": listed,
        "code": super::code::code(), "environment": environment,
        "verification_statement": VERIFICATION_STATEMENT,
    }))
}

/// The sweeps of a laboratory under the overrides: an axis of the command line replaces that of the families that vary it.
fn sweeps(lab: &Laboratory, args: &LabArgs) -> anyhow::Result<Vec<(&'static Family, Sweep)>> {
    let path = |axis: &str| axis.split('=').next().unwrap_or_default().trim().to_string();
    let varies =
        |family: &Family, wanted: &str| wanted == SEED || family.reference.iter().any(|(axis, _)| *axis == wanted);
    let given: Vec<(String, &String)> = args.overrides.axis.iter().map(|axis| (path(axis), axis)).collect();
    if let Some((none, _)) = given.iter().find(|(wanted, _)| !lab.families.iter().any(|f| varies(f, wanted))) {
        let known = lab.families.iter().flat_map(|family| family.reference).map(|(axis, _)| *axis).chain([SEED]);
        let known: Vec<&str> = known.collect::<BTreeSet<_>>().into_iter().collect();
        anyhow::bail!("no family of {} varies {none}: they vary {}", lab.name, known.join(", "));
    }
    let one = |family: &'static Family| {
        let own: Vec<&(String, &String)> = given.iter().filter(|(wanted, _)| varies(family, wanted)).collect();
        let replaced = |axis: &str| own.iter().any(|(wanted, _)| *wanted == path(axis));
        let quick = family.quick.iter().filter(|axis| args.quick && !replaced(axis)).map(ToString::to_string);
        let axis = quick.chain(own.iter().map(|(_, axis)| (*axis).clone())).collect();
        let sweep = load(family.sweep, &Overrides { set: args.overrides.set.clone(), axis })?;
        Ok((family, args.redact.clear(sweep)))
    };
    lab.families.iter().map(one).collect()
}

fn default_dir(lab: &Laboratory, sweeps: &[(&Family, Sweep)]) -> PathBuf {
    let mut hasher = blake3::Hasher::new();
    sweeps.iter().for_each(|(_, sweep)| {
        hasher.update(sweep.hash().as_bytes());
    });
    Path::new("results").join(format!("lab-{}-{}", lab.name, &hasher.finalize().to_hex()[..8]))
}

/// Checks the gradients at every setting of the loss, and trains a cell twice: a laboratory whose instrument is off measures
/// nothing.
fn checks(sweeps: &[(&Family, Sweep)], trainer: &BurnTrainer) -> anyhow::Result<Value> {
    let Some((_, sweep)) = sweeps.first() else { anyhow::bail!("the laboratory has no sweeps") };
    let Some(cell) = sweep.cells.last() else { anyhow::bail!("{} has no cells", sweep.name) };
    let gradients = engine::gradcheck(&sweep.cells, trainer.backend(), engine::Settings::All, None)?;
    let wrong = gradients.iter().filter(|check| !check.passed).count();
    let tally = Tally::of(&gradients);
    if let Some(doubt) = tally.doubt() {
        output::note(&doubt);
    }
    let twice = [0, 1].map(|_| trainer.retrain(cell, &Control::default()));
    let [first, second] = twice.map(|trained| trained.map(|trained| trained.outcome.checksums));
    let (first, second) = (first?, second?);
    let same = first.first_batch_embeddings == second.first_batch_embeddings
        && first.final_parameters == second.final_parameters;
    output::note(&format!(
        "gradients: {} checks, the worst at {} of its tolerance; determinism: a cell trained twice {}",
        gradients.len(),
        rounded(tally.worst_share_of_tolerance),
        if same { "has the same bits" } else { "DIFFERS" },
    ));
    Ok(json!({
        "passed": wrong == 0 && same,
        "gradients": {"checks": tally.checks, "wrong": wrong, "inconclusive": tally.inconclusive,
            "worst_share_of_tolerance": tally.worst_share_of_tolerance},
        "determinism": {"cell_id": cell.id, "same_bits": same,
            "first_batch_embeddings": first.first_batch_embeddings, "final_parameters": first.final_parameters},
    }))
}

fn write(path: &Path, document: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(document)?;
    text.push(b'\n');
    Ok(write_atomic(path, |out| out.write_all(&text))?)
}

/// The summary on standard output.
fn print(dir: &Path, document: &LabDocument) -> anyhow::Result<()> {
    if !document.changed.is_empty() {
        output::line(&format!("changed by the command line: {}", document.changed.join("; ")))?;
    }
    document
        .why_exploratory
        .iter()
        .try_for_each(|why| output::line(&format!("the verdicts are exploratory: {}", output::shown(why))))?;
    let header = ["sentence", "source", "expected", "difference [95%]", "seeds", "verdict"].map(String::from);
    let rows = document.findings.iter().map(row).collect();
    output::line(&output::table(&header, rows))?;
    output::line("")?;
    for family in &document.families {
        let verdict = match family.acceptance.as_deref() {
            None => "maps constraints".to_string(),
            Some(verdict) => format!("acceptance {}", verdict.replace('_', " ")),
        };
        let counts: Vec<String> =
            family.by_status.iter().filter(|(_, n)| **n > 0).map(|(s, n)| format!("{n} {s}")).collect();
        output::line(&format!("{}: {verdict}; {}", family.sweep, counts.join(", ")))?;
    }
    if let Some(attribution) = &document.attribution {
        for view in &attribution.views {
            let share = view.balanced_accuracy.map_or("none".to_string(), |s| rounded(s.mean));
            output::line(&format!("attribution by {}: balanced accuracy {share}", view.view.words()))?;
        }
    }
    if let Some(why) = &document.attribution_missing {
        output::line(&format!("nothing is attributed: {why}"))?;
    }
    for origin in Origin::ALL {
        let of =
            |verdict: Verdict| document.findings.iter().filter(|f| f.origin == origin && f.verdict == verdict).count();
        let counts = Verdict::ALL.map(|verdict| (verdict, of(verdict)));
        let counts: Vec<String> =
            counts.iter().filter(|(_, n)| *n > 0).map(|(verdict, n)| format!("{n} {}", verdict.words())).collect();
        if !counts.is_empty() {
            output::line(&format!("{}: {}", origin.words(), counts.join(", ")))?;
        }
    }
    output::line(&dir.join(REPORT_FILE).display().to_string())
}

fn row(finding: &Finding) -> Vec<String> {
    let difference = match (finding.difference, finding.low, finding.high) {
        (Some(mean), Some(low), Some(high)) => {
            format!("{} [{}, {}]", rounded(mean), rounded(low), rounded(high))
        }
        _ => String::new(),
    };
    let expects = format!("{} by {}", finding.expects.words(), rounded(finding.matters));
    vec![
        finding.name.to_string(),
        match finding.origin {
            Origin::Says => finding.source.to_string(),
            Origin::May => format!("{} can", finding.source),
            Origin::Ours => "ours".to_string(),
        },
        expects,
        difference,
        finding.seeds.to_string(),
        finding.verdict_words(),
    ]
}
