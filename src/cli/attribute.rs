//! `cliffline attribute`: which mechanism the panels of a run's cells support, by what a laboratory calibrated.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::opened::Opened;
use super::{DirArgs, exit, output};
use crate::lab::Observed;
use crate::lab::attribution::{ATTRIBUTION_FILE, Calibrated, Evidence, Model, Opinion, Verdict, View};
use crate::numerics::shown::{level, rounded};
use crate::spec::Sweep;
use crate::spec::config::Panel;
use crate::store::{CELLS_TABLE, CONDITIONS_TABLE, CURVES_TABLE, VERIFICATION_STATEMENT, read_file};

/// Version of the JSON document.
///
/// # Changelog
/// - 1: first version.
const ATTRIBUTE_VERSION: u64 = 1;

#[derive(Debug, Args)]
pub struct AttributeArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Directory of the laboratory that was calibrated: that of `lab failures`
    #[arg(long, value_name = "DIR")]
    by: PathBuf,
    /// Print one JSON document, with the evidence for and against of every cell
    #[arg(long)]
    json: bool,
}

/// The opinions on the seeds at one combination of levels.
#[derive(Debug, Serialize)]
struct Row {
    levels: BTreeMap<String, Value>,
    opinions: BTreeMap<i64, Opinion>,
}

pub fn main(args: &AttributeArgs) -> anyhow::Result<u8> {
    let dir = &args.dir.dir;
    let opened = Opened::run(dir)?;
    let sweep = opened.sweep()?;
    let path = args.by.join(ATTRIBUTION_FILE);
    let text = read_file(&path)
        .with_context(|| format!("cannot read {}: `cliffline lab failures` writes it", path.display()))?;
    let calibrated: Calibrated =
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
    let Some(model) = calibrated.model(View::Panel) else {
        anyhow::bail!("{} is of another version: run `cliffline lab failures` again", path.display());
    };
    for (path, calibrated, own) in calibrated.differences(&sweep) {
        let (calibrated, own) = (level(&calibrated), level(&own));
        output::note(&format!(
            "{path} is {own}, and was {calibrated} when this was calibrated: what it says may not hold"
        ));
    }
    if sweep.base.panel != Panel::Full && sweep.axes.iter().all(|axis| axis.path != "panel") {
        output::note(
            "this run has panel = \"fast\", which lacks indicators that are looked at: little or nothing will be told",
        );
    }
    let quantities: Vec<_> = View::Panel.indicators().map(|indicator| indicator.quantity).collect();
    let tables = opened.tables(&sweep, &[CELLS_TABLE, CONDITIONS_TABLE, CURVES_TABLE])?;
    let observed = Observed::read(tables, &sweep, &quantities)?;
    drop(opened);
    let rows = rows(&observed, model);
    if args.json {
        output::json(&json!({
            "format": "cliffline-attributions", "version": ATTRIBUTE_VERSION, "dir": output::path(dir), "by": output::path(&args.by), "rows": rows,
            "verification_statement": VERIFICATION_STATEMENT,
        }))?;
    } else {
        let header =
            observed.axes.iter().cloned().chain(["seeds", "supported", "not told", "for", "against"].map(String::from));
        output::line(&output::table(
            &header.collect::<Vec<_>>(),
            rows.iter().map(|row| text_of(&sweep, row)).collect(),
        ))?;
        output::line("of each place the evidence of its first seed; --json has all")?;
    }
    Ok(exit::OK)
}

fn rows(observed: &Observed, model: &Model) -> Vec<Row> {
    let row = |levels: Vec<Value>| {
        let opinions = observed.every_value(&levels).into_iter().map(|(seed, values)| (seed, model.judge(&values)));
        let opinions = opinions.collect();
        Row { levels: observed.axes.iter().cloned().zip(levels).collect(), opinions }
    };
    observed.combinations(crate::spec::CLEAN).into_iter().map(row).collect()
}

fn text_of(sweep: &Sweep, row: &Row) -> Vec<String> {
    let mut supported: BTreeMap<&str, usize> = BTreeMap::new();
    for opinion in row.opinions.values() {
        if let Verdict::Supported(mechanism) = opinion.verdict {
            *supported.entry(mechanism.words()).or_insert(0) += 1;
        }
    }
    let told: usize = supported.values().sum();
    let words: Vec<String> = supported.iter().map(|(words, n)| format!("{words} {n}")).collect();
    let first = row.opinions.values().next();
    let strongest = |evidence: fn(&Opinion) -> &Vec<Evidence>| {
        let found = first.and_then(|opinion| evidence(opinion).first());
        found.map_or(String::new(), |e| format!("{} {}", e.indicator, rounded(e.value)))
    };
    let levels = row.levels.iter().map(|(path, level)| sweep.shown(path).text(level));
    let counts = [row.opinions.len().to_string(), words.join(", "), (row.opinions.len() - told).to_string()];
    levels.chain(counts).chain([strongest(|o| &o.evidence_for), strongest(|o| &o.evidence_against)]).collect()
}
