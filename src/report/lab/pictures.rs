//! The pictures of a laboratory: its own, and of each run those that show its axes.

use std::collections::BTreeMap;
use std::path::Path;

use super::{confusion, findings};
use crate::lab::{Finding, LabDocument, Laboratory};
use crate::report::figure::Figure;
use crate::report::{Report, ReportError, RunData};

/// Pictures by where they belong.
#[derive(Clone, Debug, Default)]
pub struct LabPictures {
    /// Findings, by family.
    pub findings: BTreeMap<&'static str, Figure>,
    pub attribution: Option<Figure>,
    /// Of the runs, by family.
    pub of_runs: BTreeMap<&'static str, Vec<Figure>>,
}

/// The pictures of what came of a laboratory, and those of its runs, in the directory `dir`, that it shows.
///
/// # Errors
/// A run that cannot be drawn.
pub fn lab_pictures(dir: &Path, laboratory: &Laboratory, document: &LabDocument) -> Result<LabPictures, ReportError> {
    let mut pictures = LabPictures::default();
    for family in &document.families {
        let Some(wanted) = laboratory.family(family.sweep).map(|family| family.pictures).filter(|p| !p.is_empty())
        else {
            continue;
        };
        let mut all = Report::of(&RunData::open(&dir.join(&family.dir))?)?.figures;
        let mut chosen = Vec::new();
        for name in wanted {
            if let Some(at) = all.iter().position(|figure| figure.name == *name) {
                let figure = all.swap_remove(at);
                // Several runs have pictures of this name.
                chosen.push(Figure { name: format!("{}-{}", family.sweep, figure.name), ..figure });
            }
        }
        pictures.of_runs.insert(family.sweep, chosen);
    }
    for family in &document.families {
        let own: Vec<&Finding> = document.findings.iter().filter(|f| f.family == family.sweep).collect();
        if !own.is_empty() {
            let (name, title) = (format!("findings-{}", family.sweep), format!("{}: expected and found", family.title));
            pictures.findings.insert(family.sweep, findings::draw(&name, &title, &findings::info(&own)));
        }
    }
    pictures.attribution = document.attribution.as_ref().map(confusion::draw);
    Ok(pictures)
}
