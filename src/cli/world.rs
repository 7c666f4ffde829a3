//! `cliffline world check` and `world export`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use polars_core::prelude::{DataFrame, NamedFrom, Series};
use serde_json::json;

use super::embed::{CONFOUNDER_COLUMNS, described, list_column};
use super::{OverrideArgs, exit, output};
use crate::aligner::backend::Place;
use crate::numerics::shown::{exact, rounded};
use crate::spec::config::Config;
use crate::store::{EXEMPLARS_TABLE, TableInfo, write_table};
use crate::world::check::{Probe, ProbeKind, Score};
use crate::world::confounder::soundness::{JUDGED_STRENGTH, Soundness};
use crate::world::{CheckReport, Export, Fading, Point, check};

#[derive(Debug, Subcommand)]
pub enum WorldCommand {
    /// Check that the factors can be read from both modalities and that the splits are clean
    Check(CheckArgs),
    /// Write one row per sample: factors, images, text features, pairing, split
    Export(ExportArgs),
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Path or name of a spec; the world of its first cell is checked
    #[arg(value_name = "SPEC", default_value = "collapse")]
    spec: OsString,
    #[command(flatten)]
    overrides: OverrideArgs,
    /// Probe every perturbation at a few strengths as well; takes some ten times longer
    #[arg(long)]
    strengths: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Path or name of a spec; the world of its first cell is written
    #[arg(value_name = "SPEC", default_value = "collapse")]
    spec: OsString,
    #[command(flatten)]
    overrides: OverrideArgs,
    /// Parquet file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn main(command: &WorldCommand) -> anyhow::Result<u8> {
    match command {
        WorldCommand::Check(args) => check_world(args),
        WorldCommand::Export(args) => export(args),
    }
}

fn first_cell(spec: &OsStr, overrides: &OverrideArgs) -> anyhow::Result<Config> {
    let sweep = overrides.load(spec)?;
    super::require_memory_for(&sweep.cells, Place::Native)?;
    Ok(sweep.cells.into_iter().next().context("the sweep has no cells")?.config)
}

fn check_world(args: &CheckArgs) -> anyhow::Result<u8> {
    let report = check(&first_cell(&args.spec, &args.overrides)?, args.strengths)?;
    if args.json {
        output::json(&report)?;
    } else {
        output::line(&render(&report))?;
    }
    Ok(if report.passed { exit::OK } else { exit::NO })
}

fn render(report: &CheckReport) -> String {
    let mut out = vec![format!("world of seed {}", report.seed), String::new()];
    for (title, probes) in [("clean", &report.probes), ("perturbed", &report.probes_perturbed)] {
        if probes.is_empty() {
            continue;
        }
        let header = ["modality", "factor", "probe", "score", "chance", "measure"].map(str::to_string);
        out.push(format!("recoverability, {title} observations"));
        out.push(output::table(&header, probes.iter().map(probe_row).collect()));
        out.push(String::new());
    }
    if !report.strengths.is_empty() {
        out.push("recoverability by strength of each perturbation alone: the best of both probes and of none".into());
        let header = ["perturbation", "factor", "score by strength", "largest rise"].map(str::to_string);
        out.push(output::table(&header, report.strengths.iter().map(fading_row).collect()));
        out.push(String::new());
    }
    for l in &report.leakage {
        let (a, b) = (l.splits.0.name(), l.splits.1.name());
        out.push(format!("{a} and {b}: {} shared indices, {} shared latents", l.shared_indices, l.shared_factors));
    }
    for r in &report.repetition {
        let (split, s) = (r.split.name(), &r.sentences);
        out.push(format!(
            "{split}: {} of the sentences occur in train too, {} by chance",
            rounded(s.share),
            rounded(s.expected_share)
        ));
    }
    let tested = report.distributions.iter().filter_map(|d| Some(d.comparison.as_ref()?.p_value));
    let least = tested.fold(f64::INFINITY, f64::min);
    out.push(format!(
        "factor distributions of the splits: {} comparisons, least p-value {}",
        report.distributions.len(),
        rounded(least)
    ));
    for n in &report.normalisation {
        out.push(format!(
            "normalised {} features: variance {} in train, {} in test",
            n.modality.name(),
            rounded(n.train_variance),
            rounded(n.test_variance)
        ));
    }
    for p in &report.pairing {
        out.push(format!("{}: {} of the pairs are wrong", p.split.name(), rounded(p.corrupted_share)));
    }
    out.extend(report.confounder.iter().flat_map(confounder_lines));
    out.push(if report.passed { "passed".to_string() } else { format!("FAILED: {}", report.reasons.join("; ")) });
    out.join("\n")
}

fn confounder_lines(soundness: &Soundness) -> Vec<String> {
    let name = soundness.confounder;
    let mut out = vec![String::new()];
    for s in &soundness.shares {
        out.push(format!(
            "{}: {} of the samples carry the {name}, {} share its label, samples per label {:?} and without {}",
            s.split.name(),
            rounded(s.carried_share),
            rounded(s.shared_share),
            &s.counts[..s.counts.len().saturating_sub(1)],
            s.counts.last().copied().unwrap_or(0)
        ));
    }
    let least = soundness.independence.iter().filter_map(|i| Some(i.test?.p_value)).fold(f64::INFINITY, f64::min);
    out.push(format!(
        "independence of labels and factors: {} tests, least p-value {}",
        soundness.independence.len(),
        rounded(least)
    ));
    let judged = format!("at strength {JUDGED_STRENGTH}");
    for (how, probes) in [(judged.as_str(), &soundness.probes), ("as configured", &soundness.probes_configured)] {
        for p in probes {
            let value = p.r_squared.map_or_else(|| p.missing.clone().unwrap_or_default(), rounded);
            out.push(format!("{name} from {}, {how}: R squared {value}", p.modality.name()));
        }
    }
    out
}

fn export(args: &ExportArgs) -> anyhow::Result<u8> {
    super::checked::require_writable(&args.output, EXEMPLARS_TABLE)?;
    let export = Export::new(&first_cell(&args.spec, &args.overrides)?)?;
    let column = |name: &str, values: Vec<f64>, unit: &str| {
        described(Series::new(name.into(), values).into(), "index", unit, "latent factor")
    };
    let text = |name: &str, values: Vec<String>, what: &str| {
        described(Series::new(name.into(), values).into(), "index", "", what)
    };
    let lists = |name: &str, l: &crate::world::Lists, what: &str| {
        described(list_column(name, &l.values, l.width), "value", "1", what)
    };
    let label = |name: &str, labels: &[Option<u32>], what: &str| {
        described(Series::new(name.into(), labels).into(), "index", "", what)
    };
    let mut columns = vec![
        described(Series::new("index".into(), export.index.clone()).into(), "id", "", "sample index"),
        text("split", export.split.iter().map(|s| s.name().to_string()).collect(), "split of the sample"),
        text("shape", export.shape.iter().map(|s| s.name().to_string()).collect(), "latent factor"),
        column("orientation", export.orientation.clone(), "rad"),
        column("frequency", export.frequency.clone(), "cycles per image side"),
        column("phase", export.phase.clone(), "rad"),
        column("thickness", export.thickness.clone(), "image sides"),
        text("sentence", export.sentence.clone(), "the sample's own clean sentence"),
        described(
            Series::new("text_of".into(), export.text_of.clone()).into(),
            "index",
            "",
            "index of the sample whose text this sample's image is paired with",
        ),
        lists("image", &export.image, "clean image, intensities in [-1, 1], row by row"),
        lists("text", &export.text, "clean text features: token counts"),
        lists("x_img", &export.x_img, "image as the encoder sees it"),
        lists("x_txt", &export.x_txt, "own text as the encoder sees it"),
    ];
    if !export.confounder_img.is_empty() {
        columns.push(label(CONFOUNDER_COLUMNS[0], &export.confounder_img, "label the image carries; null for none"));
        columns.push(label(CONFOUNDER_COLUMNS[1], &export.confounder_txt, "label the own text carries; null for none"));
    }
    let info = TableInfo::new("world", columns.iter().map(|(c, i)| (c.name().to_string(), i.clone())));
    let frame = DataFrame::new_infer_height(columns.into_iter().map(|(c, _)| c).collect())?;
    let written = write_table(&args.output, &frame, &info)?;
    if args.json {
        output::json(
            &json!({"version": 1, "file": output::path(&args.output), "rows": written.rows, "blake3": written.blake3}),
        )?;
    } else {
        output::line(&format!("{}: {} samples", args.output.display(), written.rows))?;
    }
    Ok(exit::OK)
}

fn fading_row(faded: &Fading) -> Vec<String> {
    let point = |p: &Point| format!("{}: {}", exact(p.strength), rounded(p.readable));
    vec![
        faded.path.to_string(),
        faded.factor.name().to_string(),
        faded.points.iter().map(point).collect::<Vec<_>>().join("  "),
        format!("{}{}", rounded(faded.largest_rise), if faded.should_fall { "" } else { " (may rise)" }),
    ]
}

fn probe_row(probe: &Probe) -> Vec<String> {
    vec![
        probe.modality.name().to_string(),
        probe.factor.name().to_string(),
        match probe.kind {
            ProbeKind::Linear => "linear".to_string(),
            ProbeKind::Nonlinear => "nonlinear".to_string(),
        },
        probe.value.map_or_else(|| probe.missing.clone().unwrap_or_default(), rounded),
        rounded(probe.chance),
        match probe.score {
            Score::RSquared => "R squared".to_string(),
            Score::Accuracy => "accuracy".to_string(),
        },
    ]
}
