//! `cliffline gradcheck`: analytic gradients against autodiff and derivatives in f64.

use std::ffi::OsString;

use clap::Args;
use serde_json::json;

use super::{BackendArgs, OverrideArgs, exit, output};
use crate::aligner::backend::Place;
use crate::aligner::fault::Fault;
use crate::aligner::gradcheck::Tally;
use crate::engine;
use crate::numerics::shown::rounded;

/// Version of the JSON document. Changelog: 1 = first release; 2 = `worst_reference`, from exact derivatives, in place of
/// `worst_difference`; `conclusive` and `inconclusive`.
const GRADCHECK_VERSION: u32 = 2;

#[derive(Debug, Args)]
pub struct GradcheckArgs {
    /// Path or name of a spec; its first cell's shapes and settings are checked
    #[arg(value_name = "SPEC", default_value = "smoke")]
    spec: OsString,
    #[command(flatten)]
    overrides: OverrideArgs,
    #[command(flatten)]
    backend: BackendArgs,
    /// Break a kernel of the analytic gradient, to see the check fail
    #[arg(long, value_parser = super::agree::fault)]
    fault: Option<Fault>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn main(args: &GradcheckArgs) -> anyhow::Result<u8> {
    let sweep = args.overrides.load(&args.spec)?;
    let backend = args.backend.open()?;
    // As tensors, whatever trains them: autodiff keeps every intermediate result.
    super::require_memory_for(&sweep.cells, Place::Cpu)?;
    let checks = engine::gradcheck(&sweep.cells, &backend, engine::Settings::All, args.fault)?;
    let tally = Tally::of(&checks);
    let passed = tally.passed;
    if args.json {
        output::json(&json!({
            "version": GRADCHECK_VERSION, "class": backend.class, "passed": passed, "inconclusive": tally.inconclusive,
            "checks": checks,
        }))?;
    } else {
        let header = ["case", "tensor", "against autodiff", "against f64", "tolerance", ""].map(str::to_string);
        let rows = checks.iter().map(|c| {
            let tolerance = if c.tolerance.is_finite() { rounded(c.tolerance) } else { "none".to_string() };
            vec![
                c.case.clone(),
                c.tensor.clone(),
                rounded(c.worst_autodiff),
                rounded(c.worst_reference),
                tolerance,
                c.verdict().to_string(),
            ]
        });
        output::line(&output::table(&header, rows.collect()))?;
        tally.doubt().iter().try_for_each(|doubt| output::line(doubt))?;
        output::line(if passed { "the gradients are right" } else { "the gradients are WRONG" })?;
    }
    Ok(if passed { exit::OK } else { exit::NO })
}
