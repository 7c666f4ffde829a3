//! `cliffline report`: the pictures of a run as one HTML page and as SVG files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::finish::{Step, amend};
use super::{DirArgs, exit, output};
use crate::report::{RunData, figures, glance::glance, page};
use crate::store::{
    CELLS_TABLE, RUN_TABLES, RunReader, SURFACES_TABLE, TableBytes, VERIFICATION_STATEMENT, is_live, write_atomic,
};

/// The page.
pub const REPORT_FILE: &str = "report.html";
/// The folder of the pictures.
const PLOTS: &str = "plots";

/// Tables without which there is nothing to report. Runs of earlier versions lack others, and the pictures of them.
const REQUIRED: [&str; 2] = [CELLS_TABLE, SURFACES_TABLE];

/// Version of the JSON document.
///
/// # Changelog
/// - 1: first version.
const REPORT_VERSION: u64 = 1;

#[derive(Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn main(args: &ReportArgs) -> anyhow::Result<u8> {
    let dir = &args.dir.dir;
    let (manifest, damage) = super::checked::manifest(&RunReader::open(dir)?)?;
    if let Some((file, why)) = damage {
        anyhow::bail!("{file}: {why}");
    }
    if let Some(file) = REQUIRED.iter().find(|file| !dir.join(file).is_file()) {
        anyhow::bail!(
            "{} has no {file} yet: the command that made the run writes it, and trains nothing that is there",
            dir.display()
        );
    }
    if let Some(manifest) = &manifest {
        super::checked::require_tables(dir, manifest, &RUN_TABLES)?;
    }
    let run = RunData::open(dir)?;
    let figures = figures(&run)?;
    let html = page(&glance(&run)?, &figures);
    let mut written = Vec::new();
    let mut keep = |file: String, text: &str, rows: usize| -> anyhow::Result<()> {
        let bytes = TableBytes {
            bytes: text.len() as u64,
            blake3: blake3::hash(text.as_bytes()).to_hex().to_string(),
            rows: rows as u64,
        };
        let path = dir.join(&file);
        if std::fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
            write_atomic(&path, |out| out.write_all(text.as_bytes()))?;
        }
        written.push((file, bytes));
        Ok(())
    };
    let folder = dir.join(PLOTS);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for figure in &figures {
        keep(format!("{PLOTS}/{}.svg", figure.name), &figure.svg, figure.data.rows.len())?;
    }
    keep(REPORT_FILE.to_string(), &html, figures.len())?;
    let removed = remove_stale(&folder, &written.iter().map(|(file, _)| dir.join(file)).collect())?;
    if is_live(dir)? {
        output::note("the run is at work: this is the report of its last tables, and its manifest does not list it");
    } else {
        list(run, written)?;
    }
    let path = dir.join(REPORT_FILE);
    let size = html.len() as u64;
    if args.json {
        output::json(&json!({
            "format": "cliffline-report", "version": REPORT_VERSION, "dir": dir, "report": path, "bytes": size,
            "figures": figures.iter().map(|f| json!({"name": f.name, "title": f.title, "file": format!("{PLOTS}/{}.svg", f.name)})).collect::<Vec<_>>(),
            "removed": removed, "verification_statement": VERIFICATION_STATEMENT,
        }))?;
    } else {
        let pictures = output::count(figures.len(), "figure");
        output::line(&format!("{}: {pictures}, {}", path.display(), output::bytes(size)))?;
    }
    Ok(exit::OK)
}

/// Removes pictures of an earlier report that this one does not have.
fn remove_stale(folder: &Path, current: &BTreeSet<PathBuf>) -> anyhow::Result<usize> {
    let mut removed = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "svg") && !current.contains(&path) {
            std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Lists the files of the report in the manifest, in place of those of an earlier one.
fn list(run: RunData, written: Vec<(String, TableBytes)>) -> anyhow::Result<()> {
    let RunData { dir, mut manifest, .. } = run;
    let before = manifest.tables.clone();
    manifest.tables.retain(|file, _| file != REPORT_FILE && !file.starts_with(&format!("{PLOTS}/")));
    manifest.tables.extend(written);
    if manifest.tables == before {
        return Ok(());
    }
    let changed = before.keys().chain(manifest.tables.keys());
    let changed = changed.filter(|file| before.get(*file) != manifest.tables.get(*file)).cloned().collect();
    amend(&dir, &mut manifest, changed, &Step { name: "report", description: "draw the run" })
}
