//! The end of whatever changes a run directory: risk log, strict report, log of directives, ledger, manifest, bundle, in
//! this order, so that each can be held to the ones before it.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use super::redact::{REDACTION, RedactArgs, WITHHELD, is_left, is_redacted};
use super::{gate, output};
use crate::audit::{Evidence, RISK_LOG_FILE, RUN_REPORT_FILE, risk_log, run_report, write_risk_log};
use crate::spec::Sweep;
use crate::store::{
    Bundling, DIRECTIVES_FILE, Directives, FilesLock, Holds, LEDGER_FILE, Ledger, Redaction, Redactor, RunManifest,
    RunState, SMALL_BUNDLE_BYTES, SPEC_FILE, Scope, SealCheck, StrictReport, check_seal, make_way_for, read_text,
    require_ours, seal, set_aside,
};

/// What one session knows of the audit trail of its run.
#[derive(Debug)]
pub(super) struct Trail {
    /// What was found of the seal of an earlier session, before anything of it was changed.
    seal: SealCheck,
    pub redact: RedactArgs,
}

impl Trail {
    pub(super) fn of(dir: &Path) -> anyhow::Result<Self> {
        Ok(Self { seal: check_seal(dir)?, redact: RedactArgs::default() })
    }

    /// Whether all is there that an earlier session sealed.
    pub(super) fn is_whole(&self) -> bool {
        self.seal.lacks_nothing()
    }

    /// Whether an earlier session sealed the part of this name.
    pub(super) fn vouches(&self, part: &str) -> bool {
        let is_it = |path: &str| path.strip_prefix("parts/") == Some(part);
        self.seal.ledger.as_ref().is_some_and(|ledger| ledger.lines().any(|line| is_it(&line.path)))
    }

    /// Begins the session's lines in the log with what was asked for; `there` cells are finished.
    pub(super) fn begin(&self, dir: &Path, sweep: &Sweep, there: usize) -> anyhow::Result<Directives> {
        let mut log = Directives::open(dir, self.redact.redaction()?)?;
        if self.seal.names(DIRECTIVES_FILE) {
            log.record("notice", "the log was changed or lost since the last session sealed it", "")?;
        }
        let Sweep { name, description, cells, .. } = sweep;
        let text = format!(
            "{}\nsweep: {name}\nquestion: {description}\nspec_blake3: {}\ncells: {}, of which {there} are there",
            command_line(),
            sweep.hash(),
            cells.len(),
        );
        log.record("plan", "resolve the spec and plan its cells", &text)?;
        Ok(log)
    }

    /// Ends the work on a run whose tables are written: says what it comes to, and seals all that is its own.
    pub(super) fn finish(
        &self,
        _hold: &FilesLock,
        dir: &Path,
        sweep: &Sweep,
        manifest: &mut RunManifest,
        mut log: Directives,
    ) -> anyhow::Result<()> {
        let gates = gate::judge(dir, sweep)?;
        let evidence = Evidence { sweep, manifest, gates: &gates };
        let risks = risk_log(&evidence);
        write_risk_log(dir, &risks)?;
        let report: StrictReport = run_report(dir, &evidence, &risks)?;
        report.write(&dir.join(RUN_REPORT_FILE))?;
        let text = format!("write {RISK_LOG_FILE} and {RUN_REPORT_FILE}; list every file of the run in {LEDGER_FILE}");
        log.record("seal", "say which controls are on and what the facts are, and seal the directory", &text)?;
        log.finish()?;
        self.redact.mark(dir, manifest);
        let complete = manifest.state == RunState::Complete && !is_left(manifest.more.get(REDACTION));
        let bundling = if complete { Bundling::IfSmall } else { Bundling::No };
        let sealed = seal(dir, Scope::Own, bundling, |seal| manifest.write_sealed(dir, seal))?;
        if complete && sealed.seal.bundle.is_none() {
            output::note(&format!(
                "no bundle.zip: its files have {}, more than {}; `cliffline bundle {}` makes it",
                output::bytes(sealed.bundle_bytes),
                output::bytes(SMALL_BUNDLE_BYTES),
                dir.display()
            ));
        }
        Ok(())
    }
}

/// Makes a directory that holds `wanted` ready for `files`, and for what every change writes: what is not ours and lies
/// there is set aside, which is said.
///
/// # Errors
/// A directory that holds something else, or links or pipes.
pub(super) fn claim(dir: &Path, wanted: &Holds, files: &[&str]) -> anyhow::Result<()> {
    require_ours(dir, wanted)?;
    for (file, aside) in make_way_for(dir, files)? {
        say_set_aside(&file, &aside);
    }
    Ok(())
}

/// Says that a file was set aside.
pub(super) fn say_set_aside(file: &Path, aside: &Path) {
    let (file, aside) = (file.display(), aside.display());
    output::note(&format!("{file} was not made by this program, or it is damaged: it is now {aside}"));
}

/// Sets a `spec.toml` aside that somebody edited where it lay: one that is neither `text`, which is about to be written, nor
/// as this program writes a spec, nor of the sweep whose hash an earlier session `recorded`.
pub(super) fn keep_edited_spec(dir: &Path, text: &str, recorded: Option<&str>) -> anyhow::Result<()> {
    let there = match read_text(&dir.join(SPEC_FILE)) {
        Ok(there) => Some(there),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        // What is no text, or cannot be read, is not of this program either.
        Err(_) => None,
    };
    let known = |sweep: &Sweep| recorded == Some(sweep.hash().as_str()) || there.as_ref() == Some(&sweep.to_toml());
    if there.as_deref() != Some(text) && !super::checked::spec(dir).is_ok_and(|sweep| known(&sweep)) {
        say_set_aside(&dir.join(SPEC_FILE), &set_aside(dir, SPEC_FILE)?);
    }
    Ok(())
}

/// The command line of this process; what is not Unicode is shown as U+FFFD.
pub(super) fn command_line() -> String {
    std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// What was asked for, for the log.
pub(super) struct Step<'a> {
    pub name: &'a str,
    pub description: &'a str,
}

/// Writes the manifest of a finished run after some of its files changed, and seals those anew, while nobody else
/// writes. A run without a ledger, of an older version, stays without.
pub(super) fn amend(
    _hold: &FilesLock,
    dir: &Path,
    manifest: &mut RunManifest,
    mut changed: BTreeSet<String>,
    step: &Step<'_>,
) -> anyhow::Result<()> {
    let Some(ledger) = Ledger::read(dir)? else { return Ok(manifest.write(dir)?) };
    // A log that was tampered with is left as it is, for verify to find. One to which a process that was killed had
    // added its line only goes on.
    if ledger.is_beginning_of(dir, DIRECTIVES_FILE) {
        let redaction = Redaction { redactor: Redactor::of_this_machine(&[]), key: None };
        let mut log = Directives::open(dir, redaction)?;
        let text = if is_redacted(manifest) { WITHHELD.to_string() } else { command_line() };
        log.record(step.name, step.description, &text)?;
        log.finish()?;
        changed.insert(DIRECTIVES_FILE.to_string());
    }
    let bundling = match (manifest.bundle(), manifest.state) {
        (Some(parts), _) => Bundling::Yes { parts },
        (None, RunState::Complete) if !is_left(manifest.more.get(REDACTION)) => Bundling::IfSmall,
        (None, _) => Bundling::No,
    };
    seal(dir, Scope::Changed(&changed), bundling, |seal| manifest.write_sealed(dir, seal))?;
    Ok(())
}
