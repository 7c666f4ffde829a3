//! `--redact`: what must not stand in the files of a run, and where it stands all the same.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::output;
use crate::spec::Sweep;
use crate::store::{DIRECTIVES_FILE, MANIFEST_FILE, Redaction, RedactionKey, Redactor, RunManifest, read_text};

/// Key of the manifest that says what was redacted; not there where nothing was.
pub(super) const REDACTION: &str = "redaction";

/// What a log says instead of a command line that may hold what an earlier one had redacted.
pub(super) const WITHHELD: &str =
    "(not recorded: an earlier command redacted this run, and this one was not told what with --redact)";

/// Places that a note lists; the manifest has all.
const SHOWN: usize = 6;

/// What the files of a run must not say.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct RedactArgs {
    /// Text that the files of the run must not hold, in any case and inside words; may be repeated. Beside it the home
    /// directory and the host's name are left out of directives.jsonl
    #[arg(long, value_name = "TEXT")]
    redact: Vec<String>,
    /// File with a secret of 16 bytes or more, kept elsewhere, under which directives.jsonl has a keyed hash of each text
    /// that something was replaced in
    #[arg(long, value_name = "FILE")]
    redact_key: Option<PathBuf>,
}

impl RedactArgs {
    fn is_given(&self) -> bool {
        !self.redact.is_empty()
    }

    fn redactor(&self) -> Redactor {
        Redactor::of_this_machine(&self.redact)
    }

    /// What the log of directives leaves out.
    pub(super) fn redaction(&self) -> anyhow::Result<Redaction> {
        let key = self.redact_key.as_deref().map(read_key).transpose()?;
        Ok(Redaction { redactor: self.redactor(), key })
    }

    /// Refuses what cannot be meant, before anything is done.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let empty = self.redact.iter().any(|text| text.trim().is_empty());
        anyhow::ensure!(!empty, "--redact takes the text that must not stand in the files of the run: it is empty");
        self.redaction().map(|_| ())
    }

    /// The sweep without what is marked in its description, which is no part of any id.
    pub(super) fn clear(&self, mut sweep: Sweep) -> Sweep {
        if self.is_given() {
            sweep.description = self.text(&sweep.description);
        }
        sweep
    }

    /// A text without what is marked.
    pub(super) fn text(&self, text: &str) -> String {
        if self.is_given() { self.redactor().redact(text).text } else { text.to_string() }
    }

    /// Refuses to go on with a redacted run without being told again what must not stand in it.
    /// `known` is what its manifest says of that.
    pub(super) fn require_again(&self, dir: &Path, known: Option<&Value>) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.is_given() || known.is_none(),
            "{} was made with --redact, and what was left out is not known here: give the same --redact again, or another \
             directory with -o",
            dir.display()
        );
        Ok(())
    }

    /// What a manifest says of it, given where something stands all the same; none where nothing is redacted.
    pub(super) fn said(&self, left_in: Vec<String>) -> Option<Value> {
        self.is_given().then(|| json!({ "texts": self.redact.len(), "left_in": left_in }))
    }

    /// Says in the manifest that the run is redacted, and where what is marked stands all the same; on standard error too.
    pub(super) fn mark(&self, dir: &Path, manifest: &mut RunManifest) {
        if !self.is_given() {
            return;
        }
        let redactor = self.redactor();
        let mut left = redactor.marked_places(&json!(manifest));
        // Lines are only ever added: what an earlier command wrote there stays.
        let log = read_text(&dir.join(DIRECTIVES_FILE)).unwrap_or_default();
        left.extend(log.lines().any(|line| redactor.is_marked_in(line)).then(|| DIRECTIVES_FILE.to_string()));
        manifest.more.extend(self.said(left.clone()).map(|said| (REDACTION.to_string(), said)));
        if !left.is_empty() {
            let more = left.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            output::note(&format!(
                "could not be redacted: what --redact marks stands in {MANIFEST_FILE} at {}{more}, and wherever the run's files \
                 repeat it: names and levels are part of what the run is. There is no bundle of it unless you ask for one; \
                 rename them in the spec to be rid of it",
                left.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", "),
            ));
        }
    }
}

/// Whether the files of a run were redacted.
pub(super) fn is_redacted(manifest: &RunManifest) -> bool {
    manifest.more.contains_key(REDACTION)
}

/// What a new manifest of the same run keeps of an earlier one.
pub(super) fn carry(earlier: &RunManifest, manifest: &mut RunManifest) {
    manifest.more.extend(earlier.more.get(REDACTION).map(|known| (REDACTION.to_string(), known.clone())));
}

/// Whether something that was to be redacted stands in the files of a run or a laboratory; `known` is what its manifest
/// says.
pub(super) fn is_left(known: Option<&Value>) -> bool {
    known.is_some_and(|known| known["left_in"].as_array().is_none_or(|left| !left.is_empty()))
}

fn read_key(path: &Path) -> anyhow::Result<RedactionKey> {
    let secret = std::fs::read(path).with_context(|| format!("--redact-key: cannot read {}", path.display()))?;
    RedactionKey::of(&secret)
        .with_context(|| format!("--redact-key: {} has fewer than 16 bytes, which can be guessed", path.display()))
}
