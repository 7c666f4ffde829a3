//! `cliffline bundle`: a finished run, or a folder of runs, as one file to hand on.

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::finish::claim;
use super::redact::{REDACTION, is_left};
use super::{DirArgs, exit, output};
use crate::store::{
    BUNDLE_FILE, Holds, LEDGER_FILE, Ledger, MANIFEST_FILE, RunManifest, RunReader, StoreError, VERIFICATION_STATEMENT,
    bundle, holds, is_live, read_file, seal_manifest,
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
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn main(args: &BundleArgs) -> anyhow::Result<u8> {
    let (dir, parts) = (&args.dir.dir, args.with_parts);
    let held = holds(dir)?;
    if let Holds::Other(found) = held {
        return Err(StoreError::Foreign { dir: dir.clone(), found }.into());
    }
    anyhow::ensure!(!is_live(dir)?, "{} is at work: it makes its bundle at its end", dir.display());
    let ledger = Ledger::read(dir)?;
    anyhow::ensure!(
        ledger.is_some(),
        "{} has no {LEDGER_FILE}, which a bundle is made by: the command that made the run writes it, and trains nothing \
         that is there",
        dir.display()
    );
    let manifest = read_file(&dir.join(MANIFEST_FILE)).ok();
    let manifest: Value = manifest.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    anyhow::ensure!(
        args.with_unredacted || !is_left(manifest.get(REDACTION)),
        "something that --redact marks stands in the files of {}: {MANIFEST_FILE} says where, under {REDACTION}; to hand it \
         on all the same, give --with-unredacted",
        dir.display()
    );
    claim(dir, &held, &[])?;
    if RunReader::is_run(dir) {
        let mut manifest = RunManifest::read(dir)?.context("there is no manifest.json")?;
        bundle(dir, parts, |seal| manifest.write_sealed(dir, seal))?;
    } else {
        bundle(dir, parts, |seal| seal_manifest(dir, seal))?;
    }
    let path = dir.join(BUNDLE_FILE);
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
