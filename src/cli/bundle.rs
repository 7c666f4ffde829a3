//! `cliffline bundle`: a finished run, or a folder of runs, as one file to hand on.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::finish::claim;
use super::opened::{NotYet, left_alone, may_not_write, to_write, waits};
use super::redact::{REDACTION, is_left};
use super::{DirArgs, checked, exit, output};
use crate::store::{
    BUNDLE_FILE, FilesLock, Holds, LEDGER_FILE, Ledger, MANIFEST_FILE, RunManifest, RunReader, RunState, StoreError,
    VERIFICATION_STATEMENT, bundle, bundle_to, holds, is_live, read_file, seal_manifest, unpacked,
};

#[derive(Debug, Args)]
pub struct BundleArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Put in the parts as well, so that cells can be read and trained again from it
    #[arg(long)]
    with_parts: bool,
    /// Make it even where something that --redact marks could not be taken out of the run
    #[arg(long)]
    with_unredacted: bool,
    /// Leave the run as it is, and write the bundle into this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn main(args: &BundleArgs) -> anyhow::Result<u8> {
    let (dir, parts) = (&args.dir.dir, args.with_parts);
    let path = match &args.output {
        Some(path) => {
            checked::require_writable(path, BUNDLE_FILE)?;
            let _hold = FilesLock::to_read(dir, waits(dir))?;
            require_sealed(args)?;
            bundle_to(dir, parts, path)?;
            path.clone()
        }
        None => {
            if let Some(why) = left_alone(dir) {
                anyhow::bail!("{} is left as it is: {why}; -o writes the bundle elsewhere", dir.display());
            }
            make(args).map_err(|error| match may_not_write(&error) {
                true => anyhow::anyhow!("{}; -o writes the bundle elsewhere", super::chain(&error)),
                false => error,
            })?;
            dir.join(BUNDLE_FILE)
        }
    };
    let bytes = std::fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if args.json {
        output::json(&json!({
            "version": 1, "dir": output::path(dir), "bundle": output::path(&path), "bytes": bytes, "parts": parts,
            "verification_statement": VERIFICATION_STATEMENT,
        }))?;
    } else {
        let without = if parts { "" } else { ", without parts/" };
        output::line(&format!("{}: {}{without}", path.display(), output::bytes(bytes)))?;
    }
    Ok(exit::OK)
}

/// Refuses what has no seal: a bundle is made by the ledger.
fn require_sealed(args: &BundleArgs) -> anyhow::Result<()> {
    let dir = &args.dir.dir;
    super::checked::require_directory(dir)?;
    if let Holds::Other(found) = holds(dir)? {
        return Err(StoreError::Foreign { dir: dir.clone(), found }.into());
    }
    if Ledger::read(dir)?.is_none() {
        if is_live(dir)? {
            return Err(NotYet(format!("{} is at work: it makes its bundle at its end", dir.display())).into());
        }
        let ended = |manifest: RunManifest| manifest.state != RunState::Running;
        if RunReader::is_run(dir) && !RunManifest::read(dir)?.is_some_and(ended) {
            let why = "was killed before it ended: the command that made it goes on, and makes its bundle";
            return Err(NotYet(format!("{} {why}", dir.display())).into());
        }
        anyhow::bail!(
            "{} has no {LEDGER_FILE}, which a bundle is made by: the command that made the run writes it, and trains \
             nothing that is there",
            dir.display()
        );
    }
    let manifest = read_file(&dir.join(MANIFEST_FILE)).ok();
    let manifest: Value = manifest.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    anyhow::ensure!(
        args.with_unredacted || !is_left(manifest.get(REDACTION)),
        "something that --redact marks stands in the files of {}: {MANIFEST_FILE} says where, under {REDACTION}; to hand it \
         on all the same, give --with-unredacted",
        dir.display()
    );
    if args.with_parts && unpacked(dir) == Some(false) {
        return Err(StoreError::NoParts { dir: dir.clone() }.into());
    }
    Ok(())
}

/// Makes the bundle in the directory, once nobody else writes there.
fn make(args: &BundleArgs) -> anyhow::Result<()> {
    let (dir, parts) = (&args.dir.dir, args.with_parts);
    if let Holds::Other(found) = holds(dir)? {
        return Err(StoreError::Foreign { dir: dir.clone(), found }.into());
    }
    let _hold = to_write(dir)?;
    require_sealed(args)?;
    let held = holds(dir)?;
    claim(dir, &held, &[])?;
    if held == Holds::Laboratory {
        return Ok(bundle(dir, parts, |seal| seal_manifest(dir, seal))?);
    }
    let missing = || format!("there is no {}", dir.join(MANIFEST_FILE).display());
    let mut manifest = RunManifest::read(dir)?.with_context(missing)?;
    Ok(bundle(dir, parts, |seal| manifest.write_sealed(dir, seal))?)
}
