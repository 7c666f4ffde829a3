//! `cliffline report`: the pictures of a run as one HTML page and as SVG files.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use clap::Args;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde_json::json;

use super::finish::{Step, amend, claim, say_set_aside};
use super::{DirArgs, exit, output};
use crate::report::{Figure, Report, RunData, page};
use crate::store::{
    CELLS_TABLE, Holds, PLOTS, RUN_TABLES, RunManifest, RunReader, SURFACES_TABLE, TableBytes, VERIFICATION_STATEMENT,
    is_live, make_way, read_file, remove_own, write_atomic,
};

/// The page.
pub const REPORT_FILE: &str = "report.html";

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

/// Whether a command that changes the tables of a run draws them.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct DrawArgs {
    /// Draw no report; one of earlier tables is removed
    #[arg(long)]
    pub no_report: bool,
}

/// A report as it was written.
pub(super) struct Drawn {
    figures: Vec<Figure>,
    page_bytes: u64,
    /// Pictures of an earlier report that this one does not have.
    removed: usize,
    files: Vec<(String, TableBytes)>,
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
    claim(dir, &Holds::Run, &[REPORT_FILE])?;
    let drawn = if is_live(dir)? {
        output::note("the run is at work: this is the report of its last tables, and its manifest does not list it");
        draw(&RunData::open(dir)?)?
    } else {
        renew(dir)?
    };
    let path = dir.join(REPORT_FILE);
    if args.json {
        output::json(&json!({
            "format": "cliffline-report", "version": REPORT_VERSION, "dir": output::path(dir), "report": output::path(&path), "bytes": drawn.page_bytes,
            "figures": drawn.figures.iter().map(|f| json!({"name": f.name, "title": f.title, "file": picture(f)})).collect::<Vec<_>>(),
            "removed": drawn.removed, "verification_statement": VERIFICATION_STATEMENT,
        }))?;
    } else {
        let pictures = output::count(drawn.figures.len(), "figure");
        output::line(&format!("{}: {pictures}, {}", path.display(), output::bytes(drawn.page_bytes)))?;
    }
    Ok(exit::OK)
}

/// Draws the run in `dir`, on which nobody is at work, and lists the report in its manifest.
pub(super) fn renew(dir: &Path) -> anyhow::Result<Drawn> {
    let run = RunData::open(dir)?;
    let drawn = draw(&run)?;
    let mut manifest = run.manifest;
    let before = manifest.tables.clone();
    list(&mut manifest, &drawn);
    let files = before.keys().chain(manifest.tables.keys());
    let changed: BTreeSet<String> =
        files.filter(|file| before.get(*file) != manifest.tables.get(*file)).cloned().collect();
    if !changed.is_empty() {
        amend(dir, &mut manifest, changed, &Step { name: "report", description: "draw the run" })?;
    }
    Ok(drawn)
}

/// Draws a run: the page and its pictures, and none that an earlier report left. The manifest is the caller's to keep,
/// with [`list`].
pub(super) fn draw(run: &RunData) -> anyhow::Result<Drawn> {
    let report = Report::of(run)?;
    let html = page(&report);
    let figures = report.figures;
    let folder = run.dir.join(PLOTS);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let page = (REPORT_FILE.to_string(), html.as_str(), figures.len());
    let pictures = figures.iter().map(|figure| (picture(figure), figure.svg.as_str(), figure.data.rows.len()));
    let texts: Vec<(String, &str, usize)> = pictures.chain([page]).collect();
    // Each waits for the disk.
    let files = texts.par_iter().map(|(file, text, rows)| keep(&run.dir, file, text, *rows));
    let files = files.collect::<anyhow::Result<Vec<_>>>()?;
    let removed = remove_stale(&run.dir, &files.iter().map(|(file, _)| file.clone()).collect())?;
    Ok(Drawn { page_bytes: html.len() as u64, figures, removed, files })
}

/// Lists the files of a report in a manifest, in place of those of an earlier one.
pub(super) fn list(manifest: &mut RunManifest, drawn: &Drawn) {
    manifest.tables.retain(|file, _| file != REPORT_FILE && !file.starts_with(&format!("{PLOTS}/")));
    manifest.tables.extend(drawn.files.iter().cloned());
}

/// Removes the report of earlier tables.
pub(super) fn remove(dir: &Path) -> anyhow::Result<()> {
    remove_own(dir, REPORT_FILE)?;
    let folder = dir.join(PLOTS);
    if folder.is_dir() {
        remove_stale(dir, &BTreeSet::new())?;
        // What others put there keeps it.
        let _ = std::fs::remove_dir(&folder);
    }
    Ok(())
}

fn picture(figure: &Figure) -> String {
    format!("{PLOTS}/{}.svg", figure.name)
}

/// Writes a file of the report unless it is there already.
fn keep(dir: &Path, file: &str, text: &str, rows: usize) -> anyhow::Result<(String, TableBytes)> {
    let path = dir.join(file);
    if read_file(&path).ok().as_deref() != Some(text.as_bytes()) {
        if let Some(aside) = make_way(dir, file)? {
            say_set_aside(&path, &aside);
        }
        write_atomic(&path, |out| out.write_all(text.as_bytes()))?;
    }
    let blake3 = blake3::hash(text.as_bytes()).to_hex().to_string();
    Ok((file.to_string(), TableBytes { bytes: text.len() as u64, blake3, rows: rows as u64 }))
}

/// Removes pictures of an earlier report that this one does not have, and none of anybody else's.
fn remove_stale(dir: &Path, current: &BTreeSet<String>) -> anyhow::Result<usize> {
    let folder = dir.join(PLOTS);
    let mut removed = 0;
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let name = entry?.file_name();
        let Some(file) = name.to_str().map(|name| format!("{PLOTS}/{name}")) else { continue };
        if !current.contains(&file) && remove_own(dir, &file)? {
            removed += 1;
        }
    }
    Ok(removed)
}
