//! `cliffline report`: the pictures of a run as one HTML page and as SVG files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde_json::json;

use super::finish::{Step, amend, claim, say_set_aside};
use super::opened::{Opened, State, left_alone, may_not_write, to_write};
use super::{DirArgs, exit, output};
use crate::report::{Figure, Report, RunData, page};
use crate::store::{
    CELLS_TABLE, FilesLock, Holds, PLOTS, REPORT_FILE, RunManifest, SURFACES_TABLE, TableBytes, VERIFICATION_STATEMENT,
    announce, is_cut_short, is_of_report, is_own, make_way, odd_entry, read_file, remove_own, require_ours,
    write_atomic,
};

/// Tables without which there is nothing to report. Runs of earlier versions lack others, and the pictures of them.
const REQUIRED: [&str; 2] = [CELLS_TABLE, SURFACES_TABLE];

/// Ends of the name of a page.
const PAGES: [&str; 2] = ["html", "htm"];

/// Version of the JSON document.
///
/// # Changelog
/// - 1: first version.
const REPORT_VERSION: u64 = 1;

#[derive(Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Leave the run as it is, and write the page and its pictures into this directory, or the page alone into a file
    /// whose name ends in .html
    #[arg(short, long, value_name = "DIR_OR_FILE")]
    output: Option<PathBuf>,
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

/// A report as it is to be written.
pub(super) struct Drawn {
    figures: Vec<Figure>,
    page: String,
}

/// Where a report lies, and how many pictures of an earlier one were removed there.
struct Written {
    page: PathBuf,
    removed: usize,
}

pub fn main(args: &ReportArgs) -> anyhow::Result<u8> {
    let dir = &args.dir.dir;
    let (drawn, written) = match &args.output {
        Some(path) => {
            let drawn = Drawn::of(&Opened::run(dir)?.report_data(&REQUIRED)?)?;
            let written = drawn.write_elsewhere(path)?;
            (drawn, written)
        }
        None => settle(Opened::run(dir)?)?,
    };
    let path = &written.page;
    let bytes = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if args.json {
        output::json(&json!({
            "format": "cliffline-report", "version": REPORT_VERSION, "dir": output::path(dir), "report": output::path(path),
            "bytes": bytes,
            "figures": drawn.figures.iter().map(|f| json!({"name": f.name, "title": f.title, "file": picture(f)})).collect::<Vec<_>>(),
            "removed": written.removed, "verification_statement": VERIFICATION_STATEMENT,
        }))?;
    } else {
        let pictures = output::count(drawn.figures.len(), "figure");
        output::line(&format!("{}: {pictures}, {}", path.display(), output::bytes(bytes)))?;
    }
    Ok(exit::OK)
}

/// Leaves a report in the directory of its run, where it is not there already.
fn settle(opened: Opened) -> anyhow::Result<(Drawn, Written)> {
    let dir = opened.dir.clone();
    require_ours(&dir, &Holds::Run)?;
    if !matches!(opened.state, State::AtWork | State::Killed) {
        let drawn = Drawn::of(&opened.report_data(&REQUIRED)?)?;
        let page = dir.join(REPORT_FILE);
        let is_there = drawn.is_listed(opened.manifest()?) && drawn.is_in(&dir) && stale(&dir, &drawn)?.is_empty();
        if is_there && !is_cut_short(&dir) {
            return Ok((drawn, Written { page, removed: 0 }));
        }
        if let Some(why) = left_alone(&dir) {
            anyhow::ensure!(page.is_file(), "{} has no {REPORT_FILE}, and {why}: draw it with -o", dir.display());
            output::note(&format!("{} is left as it is: {why}; -o draws it elsewhere", page.display()));
            return Ok((drawn, Written { page, removed: 0 }));
        }
    }
    drop(opened);
    renew(&dir).map_err(|error| match may_not_write(&error) {
        true => anyhow::anyhow!("{}; -o draws the report elsewhere", super::chain(&error)),
        false => error,
    })
}

/// Draws the run in `dir` as it is once nobody else writes there. A run that has ended gets the report listed in its
/// manifest, and its seal anew. A run that has not ended gets a report that its manifest does not list: the next
/// session replaces it.
fn renew(dir: &Path) -> anyhow::Result<(Drawn, Written)> {
    let opened = Opened::under(to_write(dir)?, dir)?;
    claim(dir, &Holds::Run, &[REPORT_FILE])?;
    let run = opened.report_data(&REQUIRED)?;
    let drawn = Drawn::of(&run)?;
    let written = if opened.state == State::Ended && run.dir == dir {
        renew_ended(opened.hold(), run, &drawn)?
    } else {
        output::note("its manifest does not list this report: the command that made the run draws another at its end");
        let removed = drawn.write(dir)?;
        Written { page: dir.join(REPORT_FILE), removed }
    };
    Ok((drawn, written))
}

/// Draws the run in `dir`, which has ended, for whoever holds its files.
pub(super) fn renew_held(hold: &FilesLock, dir: &Path) -> anyhow::Result<()> {
    let run = RunData::open(dir)?;
    let drawn = Drawn::of(&run)?;
    renew_ended(hold, run, &drawn).map(drop)
}

fn renew_ended(hold: &FilesLock, run: RunData<'_>, drawn: &Drawn) -> anyhow::Result<Written> {
    let (dir, mut manifest) = (run.dir, run.manifest);
    let before = manifest.tables.clone();
    list(&mut manifest, drawn);
    let files = before.keys().chain(manifest.tables.keys());
    let changed: BTreeSet<String> =
        files.filter(|file| before.get(*file) != manifest.tables.get(*file)).cloned().collect();
    if !changed.is_empty() {
        announce(&dir, &drawn.listed(), &stale(&dir, drawn)?)?;
    }
    let removed = drawn.write(&dir)?;
    if !changed.is_empty() {
        amend(hold, &dir, &mut manifest, changed, &Step { name: "report", description: "draw the run" })?;
    }
    Ok(Written { page: dir.join(REPORT_FILE), removed })
}

/// Draws a run that its own process ends: the page and its pictures, and none that an earlier report left. The manifest
/// is the caller's to keep, with [`list`].
pub(super) fn draw(run: &RunData) -> anyhow::Result<Drawn> {
    let drawn = Drawn::of(run)?;
    drawn.write(&run.dir)?;
    Ok(drawn)
}

/// Lists the files of a report in a manifest, in place of those of an earlier one.
pub(super) fn list(manifest: &mut RunManifest, drawn: &Drawn) {
    manifest.tables.retain(|file, _| !is_of_report(file));
    manifest.tables.extend(drawn.listed());
}

impl Drawn {
    fn of(run: &RunData) -> anyhow::Result<Self> {
        let report = Report::of(run)?;
        let page = page(&report);
        Ok(Self { figures: report.figures, page })
    }

    /// Files by their names in a run: text, and rows of what it shows.
    fn files(&self) -> Vec<(String, &str, usize)> {
        let page = (REPORT_FILE.to_string(), self.page.as_str(), self.figures.len());
        let pictures = self.figures.iter().map(|figure| (picture(figure), figure.svg.as_str(), figure.data.rows.len()));
        pictures.chain([page]).collect()
    }

    /// As a manifest lists them.
    fn listed(&self) -> BTreeMap<String, TableBytes> {
        let file = |(file, text, rows): (String, &str, usize)| {
            let blake3 = blake3::hash(text.as_bytes()).to_hex().to_string();
            (file, TableBytes { bytes: text.len() as u64, blake3, rows: rows as u64 })
        };
        self.files().into_iter().map(file).collect()
    }

    fn is_listed(&self, manifest: &RunManifest) -> bool {
        let listed = manifest.tables.iter().filter(|(file, _)| is_of_report(file));
        self.listed().iter().eq(listed)
    }

    /// Whether every file of it lies in `dir` already.
    fn is_in(&self, dir: &Path) -> bool {
        self.files().iter().all(|(file, text, _)| is_there(&dir.join(file), text))
    }

    /// Writes it into the directory of its run; how many pictures of an earlier report it removed.
    fn write(&self, dir: &Path) -> anyhow::Result<usize> {
        create(&dir.join(PLOTS))?;
        // Each waits for the disk.
        self.files().par_iter().try_for_each(|(file, text, _)| keep(dir, file, text))?;
        remove_files(dir, &stale(dir, self)?)
    }

    /// Writes it where it was asked for, and removes nothing there.
    fn write_elsewhere(&self, path: &Path) -> anyhow::Result<Written> {
        let is_page = path.extension().and_then(|end| end.to_str()).is_some_and(|end| PAGES.contains(&end));
        if is_page && !path.is_dir() {
            super::checked::require_writable(path, REPORT_FILE)?;
            write_atomic(path, |out| out.write_all(self.page.as_bytes()))?;
            return Ok(Written { page: path.to_path_buf(), removed: 0 });
        }
        let page = path.join(REPORT_FILE);
        super::checked::require_neither(path)?;
        let places = self.files().into_iter().map(|(file, ..)| file).chain([PLOTS.to_string()]);
        for place in places.map(|place| path.join(place)) {
            if let Some(what) = odd_entry(&place) {
                let place = place.display();
                anyhow::bail!(
                    "{place} is {what}, and no report goes there: remove it, or choose another directory with -o"
                );
            }
        }
        create(&path.join(PLOTS))?;
        self.files().par_iter().try_for_each(|(file, text, _)| keep(path, file, text))?;
        Ok(Written { page, removed: 0 })
    }
}

fn create(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// Removes the report of earlier tables.
pub(super) fn remove(dir: &Path) -> anyhow::Result<()> {
    remove_own(dir, REPORT_FILE)?;
    let folder = dir.join(PLOTS);
    if folder.is_dir() {
        remove_files(dir, &pictures_in(dir)?)?;
        // What others put there keeps it.
        let _ = std::fs::remove_dir(&folder);
    }
    Ok(())
}

fn picture(figure: &Figure) -> String {
    format!("{PLOTS}/{}.svg", figure.name)
}

fn is_there(path: &Path, text: &str) -> bool {
    read_file(path).is_ok_and(|bytes| bytes == text.as_bytes())
}

/// Writes a file of the report into `dir` unless it is there already.
fn keep(dir: &Path, file: &str, text: &str) -> anyhow::Result<()> {
    let path = dir.join(file);
    if !is_there(&path, text) {
        if let Some(aside) = make_way(dir, file)? {
            say_set_aside(&path, &aside);
        }
        write_atomic(&path, |out| out.write_all(text.as_bytes()))?;
    }
    Ok(())
}

/// Pictures of an earlier report that this one does not have.
fn stale(dir: &Path, drawn: &Drawn) -> anyhow::Result<Vec<String>> {
    let current: BTreeSet<String> = drawn.figures.iter().map(picture).collect();
    Ok(pictures_in(dir)?.into_iter().filter(|file| !current.contains(file)).collect())
}

/// The pictures of reports in the directory of a run, and none of anybody else's.
fn pictures_in(dir: &Path) -> anyhow::Result<Vec<String>> {
    let folder = dir.join(PLOTS);
    let cannot = || format!("cannot list {}", folder.display());
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(cannot)?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<std::io::Result<Vec<_>>>();
    let files = names.with_context(cannot)?.into_iter().filter_map(|name| Some(format!("{PLOTS}/{}", name.to_str()?)));
    let mut own = Vec::new();
    for file in files {
        if is_own(dir, &file)? {
            own.push(file);
        }
    }
    Ok(own)
}

fn remove_files(dir: &Path, files: &[String]) -> anyhow::Result<usize> {
    let removed = files.iter().map(|file| remove_own(dir, file)).collect::<Result<Vec<_>, _>>()?;
    Ok(removed.into_iter().filter(|removed| *removed).count())
}
