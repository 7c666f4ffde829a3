//! The pictures of a laboratory: its own, and of each run those that show its axes.

use std::collections::BTreeMap;

use super::{confusion, findings};
use crate::lab::{Finding, LabDocument};
use crate::report::figure::Figure;

/// Pictures by where they belong.
#[derive(Clone, Debug, Default)]
pub struct LabPictures {
    /// Findings, by family.
    pub findings: BTreeMap<&'static str, Figure>,
    pub attribution: Option<Figure>,
}

/// The pictures of what came of a laboratory.
pub fn lab_pictures(document: &LabDocument) -> LabPictures {
    let mut pictures = LabPictures::default();
    for family in &document.families {
        let own: Vec<&Finding> = document.findings.iter().filter(|f| f.family == family.sweep).collect();
        if !own.is_empty() {
            let (name, title) = (format!("findings-{}", family.sweep), format!("{}: expected and found", family.title));
            pictures.findings.insert(family.sweep, findings::draw(&name, &title, &findings::info(&own)));
        }
    }
    pictures.attribution = document.attribution.as_ref().map(confusion::draw);
    pictures
}
