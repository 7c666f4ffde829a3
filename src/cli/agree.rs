//! `cliffline agree`: the same cells on several backends.

use std::ffi::OsString;

use clap::Args;
use serde_json::json;

use super::{OverrideArgs, exit, output};
use crate::aligner::backend::{BackendError, Choice, Place};
use crate::aligner::fault::Fault;
use crate::engine;
use crate::numerics::shown::rounded;

#[derive(Debug, Args)]
pub struct AgreeArgs {
    /// Path or name of a spec
    #[arg(value_name = "SPEC", default_value = "smoke")]
    spec: OsString,
    #[command(flatten)]
    overrides: OverrideArgs,
    /// Backends to compare with the first
    #[arg(long, value_name = "A,B,..", value_delimiter = ',', default_value = "flex,ndarray,wgpu")]
    backends: Vec<String>,
    /// Break a kernel on every backend but the first, to see the check fail
    #[arg(long, value_parser = fault)]
    fault: Option<Fault>,
    /// Print every comparison, not only the worst of each stage
    #[arg(long)]
    all: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A fault by its name.
pub fn fault(name: &str) -> Result<Fault, String> {
    let names: Vec<&str> = Fault::ALL.iter().map(|(n, _)| *n).collect();
    let found = Fault::ALL.iter().find(|(n, _)| *n == name);
    found.map(|(_, f)| *f).ok_or_else(|| format!("no such kernel; one of {}", names.join(", ")))
}

pub fn main(args: &AgreeArgs) -> anyhow::Result<u8> {
    anyhow::ensure!(args.backends.len() > 1, "--backends needs at least two backends, separated by commas");
    let sweep = args.overrides.load(&args.spec)?;
    super::require_memory_for(&sweep.cells, Place::Cpu)?;
    let distinct: std::collections::BTreeSet<&String> = args.backends.iter().collect();
    anyhow::ensure!(distinct.len() == args.backends.len(), "--backends names a backend twice");
    let mut backends = Vec::new();
    let mut absent = None;
    for name in &args.backends {
        match Choice::named(name)?.open() {
            Ok(backend) => backends.push(backend),
            // The others are compared all the same; that this one could not be is the verdict then.
            Err(error @ (BackendError::NotABackend { .. } | BackendError::Instructions(_))) => return Err(error.into()),
            Err(error) => absent = Some(error),
        }
    }
    let mut passed = true;
    let mut documents = Vec::new();
    for second in backends.iter().skip(1) {
        let comparisons = engine::agree(&sweep.cells, &backends[0], second, args.fault)?;
        let title = format!("{} against {}", second.class, backends[0].class);
        passed &= comparisons.iter().all(|c| c.passed);
        if args.json {
            documents.push(json!({"second": second.class, "comparisons": comparisons}));
            continue;
        }
        let mut stages: Vec<&str> = comparisons.iter().map(|c| c.stage.as_str()).collect();
        stages.dedup();
        let mut rows = Vec::new();
        for stage in stages {
            let mut of: Vec<_> = comparisons.iter().filter(|c| c.stage == stage).collect();
            // Failures first, then by how much of the tolerance is used; not-a-number sorts first.
            of.sort_by(|a, b| (b.worst / b.tolerance).total_cmp(&(a.worst / a.tolerance)));
            of.sort_by_key(|c| c.passed);
            let shown = if args.all { of.len() } else { of.iter().filter(|c| !c.passed).count().max(1) };
            rows.extend(of.iter().take(shown).map(|c| {
                let verdict = if c.passed { "ok" } else { "DIFFERS" };
                vec![c.stage.clone(), c.place.clone(), rounded(c.worst), rounded(c.tolerance), verdict.to_string()]
            }));
        }
        let header = ["stage", "worst at", "difference", "tolerance", ""].map(str::to_string);
        output::line(&format!("{title}\n{}\n", output::table(&header, rows)))?;
    }
    let compared = backends.len() > 1;
    if args.json {
        let first = backends.first().map(|b| &b.class);
        let passed = compared.then_some(passed && absent.is_none());
        let absent = absent.as_ref().map(ToString::to_string);
        output::json(&json!({
            "version": 1, "first": first, "passed": passed, "absent": absent, "against": documents,
        }))?;
    } else if compared {
        let names: Vec<&str> = backends.iter().map(|b| b.name).collect();
        output::line(&format!("{} {}", names.join(", "), if passed { "agree" } else { "do NOT agree" }))?;
    }
    match absent {
        _ if compared && !passed => Ok(exit::NO),
        Some(error) => Err(error.into()),
        None => Ok(exit::OK),
    }
}
