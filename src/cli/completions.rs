//! `cliffline completions`, `man` and `reference`: documents generated from the program itself.

use clap::{Args, CommandFactory};
use serde_json::json;

use super::{Cli, exit, output};
use crate::store::STRICT_REPORT_SCHEMA;

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct ReferenceArgs {
    /// Print the JSON Schema of a spec and the metrics as one JSON document
    #[arg(long)]
    json: bool,
    /// Print the JSON Schema of a document instead
    #[arg(long, value_enum, value_name = "DOCUMENT")]
    schema: Option<Schema>,
}

/// Documents with a published schema.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Schema {
    /// report.json: a strict report
    Report,
    /// A spec
    Spec,
}

pub fn main(args: &CompletionsArgs) -> anyhow::Result<u8> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cliffline", &mut text);
    output::line(String::from_utf8(text)?.trim_end())?;
    Ok(exit::OK)
}

pub fn man() -> anyhow::Result<u8> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut text)?;
    output::line(String::from_utf8(text)?.trim_end())?;
    Ok(exit::OK)
}

pub fn reference(args: &ReferenceArgs) -> anyhow::Result<u8> {
    match args.schema {
        Some(Schema::Report) => {
            output::line(STRICT_REPORT_SCHEMA.trim_end())?;
            return Ok(exit::OK);
        }
        Some(Schema::Spec) => {
            output::json(&crate::spec::schema())?;
            return Ok(exit::OK);
        }
        None => {}
    }
    if args.json {
        let metrics: Vec<_> = crate::metric::descriptors()
            .map(|d| json!({"name": d.name, "unit": d.unit, "range": [d.range.0, d.range.1], "healthy": d.healthy.name(), "summary": d.summary, "source": d.source}))
            .collect();
        let families: Vec<_> = crate::metric::METRICS
            .iter()
            .map(|f| json!({"name": f.name, "panel": f.panel.name(), "metrics": f.descriptors.iter().map(|d| d.name).collect::<Vec<_>>(), "definition": f.about}))
            .collect();
        let conventions: std::collections::BTreeMap<_, _> = crate::metric::CONVENTIONS.into();
        output::json(&json!({
            "version": 1, "spec_schema": crate::spec::schema(), "metrics": metrics, "families": families,
            "conventions": conventions,
        }))?;
    } else {
        output::line(&format!(
            "# Parameters\n\n{}\n# Metrics\n\n{}",
            crate::spec::reference(),
            crate::metric::reference()
        ))?;
    }
    Ok(exit::OK)
}
