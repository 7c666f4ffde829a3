//! `cliffline compare`: what differs between two runs. It reads both and writes nothing.

mod shifts;
mod text;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde_json::{Value, json};

use super::opened::{Opened, WRITES};
use super::{checked, exit, gate, output};
use crate::analysis::compare::{
    Answer, BoundaryShifts, COMPARISON_VERSION, Comparison, Differences, Each, FailOn, Judged, Measured, Outcomes,
    Pairing, boundary_shifts, columns_of_boundaries, columns_of_cells, compare_environments, compare_specs, intervals,
    order,
};
use crate::metric::descriptors;
use crate::spec::Sweep;
use crate::store::{
    BOUNDARIES_TABLE, CELLS_TABLE, CONDITIONS_TABLE, RunManifest, VERIFICATION_STATEMENT, metric_column, read_columns,
    read_table_info,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Cells are paired by their levels, the seed among them, not by their ids. Without --fail-on the \
                        exit code is 0 whatever differs; it is 2 where nothing can be compared."
)]
pub struct CompareArgs {
    /// Run directory, called a
    #[arg(value_name = "A")]
    a: PathBuf,
    /// Run directory, called b; differences are b - a
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Exit 1 where the whole interval of a metric's mean difference b - a over seeds lies beyond a number, as in
    /// 'retrieval_at_1_i2t<-0.02', 'alignment>0.1' or 'alignment@noisy>0.1' under a condition; or, with any-change, where
    /// any cell differs in a bit. Too few seeds to tell count as well; may be repeated
    #[arg(long, value_name = "CONDITION", allow_hyphen_values = true)]
    fail_on: Vec<FailOn>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// One of the two.
struct Run {
    dir: PathBuf,
    /// Where its tables are.
    tables: PathBuf,
    manifest: RunManifest,
    sweep: Sweep,
    /// Until it is read.
    opened: Option<Opened>,
}

pub fn main(args: &CompareArgs) -> anyhow::Result<u8> {
    let (a, b) = rayon::join(|| Run::open(&args.a), || Run::open(&args.b));
    let (mut a, mut b) = (a?, b?);
    let (comparison, judged) = compare(&a, &b, &args.fail_on)?;
    (a.opened, b.opened) = (None, None);
    let code = if judged.iter().all(|judged| judged.answer == Answer::DoesNotHold) { exit::OK } else { exit::NO };
    if args.json {
        let mut document = document(&a, &b, &comparison)?;
        document["fail_on"] = json!(judged);
        document["exit_code"] = json!(code);
        output::json(&document)?;
    } else {
        output::line(&text::render(&a, &b, &comparison))?;
        judged.iter().try_for_each(|judged| output::line(&text::answer(judged)))?;
    }
    Ok(code)
}

impl Run {
    fn open(dir: &Path) -> anyhow::Result<Self> {
        let opened = Opened::run(dir)?;
        let (manifest, sweep) = (opened.manifest()?.clone(), opened.sweep()?);
        let tables = opened.tables(&sweep, &[CELLS_TABLE, CONDITIONS_TABLE])?.to_path_buf();
        if tables == dir {
            checked::require_tables(dir, &manifest, &[BOUNDARIES_TABLE])?;
        } else {
            opened.tables(&sweep, &[BOUNDARIES_TABLE])?;
        }
        Ok(Self { dir: dir.to_path_buf(), tables, manifest, sweep, opened: Some(opened) })
    }

    fn columns(&self, file: &str, columns: &[String]) -> anyhow::Result<polars_core::prelude::DataFrame> {
        Ok(read_columns(&self.tables.join(file), columns)?)
    }

    /// Why its boundaries cannot be compared, if they cannot.
    fn without_boundaries(&self) -> Option<String> {
        let dir = self.dir.display();
        if self.tables == self.dir && !self.manifest.tables.contains_key(BOUNDARIES_TABLE) {
            return Some(format!("{dir} has no {BOUNDARIES_TABLE}, as runs of earlier versions: {WRITES}"));
        }
        let others = gate::recorded(&self.manifest) != gate::thresholds(&self.sweep.gates);
        others.then(|| format!("{dir}/{BOUNDARIES_TABLE} is of other gates than its spec.toml has: {WRITES}"))
    }

    fn metrics(&self) -> anyhow::Result<BTreeSet<String>> {
        let columns = read_table_info(&self.tables.join(CONDITIONS_TABLE))?.columns;
        let metrics = columns.iter().filter(|(_, info)| info.role == "metric");
        Ok(metrics.filter_map(|(column, _)| Some(column.strip_prefix("metric_")?.to_string())).collect())
    }

    /// The run as the document names it.
    fn document(&self) -> Value {
        let manifest = &self.manifest;
        json!({
            "dir": output::path(&self.dir), "run_id": manifest.run_id, "sweep": manifest.sweep, "state": manifest.state,
            "created_utc": manifest.created_utc, "spec_blake3": manifest.spec_blake3, "class": manifest.class,
        })
    }
}

fn compare(a: &Run, b: &Run, fail_on: &[FailOn]) -> anyhow::Result<(Comparison, Vec<Judged>)> {
    let spec = compare_specs(&a.sweep, &b.sweep);
    let pairing = Pairing::new(&a.sweep, &b.sweep);
    if pairing.is_empty() {
        let disjoint = spec.axes.iter().filter(|axis| axis.shared == 0).map(|axis| format!("`{}`", axis.path));
        let disjoint: Vec<String> = disjoint.collect();
        let why = match disjoint.is_empty() {
            true => "no combination of their levels is in both".to_string(),
            false => format!("they share no level of {}", disjoint.join(", ")),
        };
        anyhow::bail!(
            "{} and {} cannot be compared: no cell of one has the levels of a cell of the other; {why}",
            a.dir.display(),
            b.dir.display()
        );
    }
    let cells = columns_of_cells();
    let (cells_a, cells_b) = (a.columns(CELLS_TABLE, &cells)?, b.columns(CELLS_TABLE, &cells)?);
    let (outcomes, lost) = pairing.outcomes(&cells_a, &cells_b)?;
    require_finished(a, b, &outcomes)?;
    let same = pairing.identical(&cells_a, &cells_b)?;
    let boundaries = boundaries(a, b, &pairing, &same)?;

    let keys = ["cell_id", "condition"].map(String::from);
    let rows = Differences::new(&pairing, &a.columns(CONDITIONS_TABLE, &keys)?, &b.columns(CONDITIONS_TABLE, &keys)?)?;
    // One metric of both runs is in memory per thread.
    let measured = |metric: &String| -> anyhow::Result<Measured> {
        let column = metric_column(metric);
        let wanted = std::slice::from_ref(&column);
        let (a, b) = (a.columns(CONDITIONS_TABLE, wanted)?, b.columns(CONDITIONS_TABLE, wanted)?);
        Ok(rows.rows(metric, a.column(&column).ok(), b.column(&column).ok())?)
    };
    let metrics = metrics(a, b)?;
    let found = metrics.par_iter().map(measured).collect::<anyhow::Result<Vec<_>>>()?;
    let mut differences = vec![rows.lost(&lost)?];
    let mut only = Each { a: Vec::new(), b: Vec::new() };
    for (metric, measured) in metrics.into_iter().zip(found) {
        match measured {
            Measured::Neither => {}
            Measured::OnlyA => only.a.push(metric),
            Measured::OnlyB => only.b.push(metric),
            Measured::Both(rows) => differences.extend(rows),
        }
    }
    order(&mut differences);
    let comparison = Comparison {
        format: "cliffline-comparison",
        version: COMPARISON_VERSION,
        spec,
        environment: compare_environments(&a.manifest, &b.manifest),
        outcomes,
        boundaries,
        intervals: intervals(&differences),
        differences,
        metrics_only: only,
    };
    let shared = rows.conditions();
    let judge = |condition: &FailOn| -> anyhow::Result<Judged> {
        condition.check(&comparison, &shared).map_err(anyhow::Error::msg)?;
        Ok(condition.judge(&comparison, &same))
    };
    let judged = fail_on.iter().map(judge).collect::<anyhow::Result<_>>()?;
    Ok((comparison, judged))
}

/// None where a run has no table of them that could be used.
fn boundaries(a: &Run, b: &Run, pairing: &Pairing, same: &[Option<bool>]) -> anyhow::Result<Option<BoundaryShifts>> {
    if [a, b].iter().any(|run| run.without_boundaries().is_some()) {
        return Ok(None);
    }
    let columns = columns_of_boundaries(pairing);
    let (in_a, in_b) = (a.columns(BOUNDARIES_TABLE, &columns)?, b.columns(BOUNDARIES_TABLE, &columns)?);
    Ok(Some(boundary_shifts(pairing, &in_a, &in_b, same)?))
}

fn require_finished(a: &Run, b: &Run, outcomes: &Outcomes) -> anyhow::Result<()> {
    let (finished, planned) = (&outcomes.finished, &outcomes.planned);
    anyhow::ensure!(
        outcomes.finished_pairs > 0,
        "{} and {} cannot be compared yet: of {} none is finished in both; {} of {} cells are finished in the first, {} of \
         {} in the second",
        a.dir.display(),
        b.dir.display(),
        output::count(outcomes.pairs as usize, "pair"),
        finished.a,
        planned.a,
        finished.b,
        planned.b
    );
    Ok(())
}

/// The metrics of both runs, in the order of the registry; those that it does not know follow.
fn metrics(a: &Run, b: &Run) -> anyhow::Result<Vec<String>> {
    let mut there = a.metrics()?;
    there.extend(b.metrics()?);
    let mut metrics: Vec<String> = descriptors().filter_map(|known| there.take(known.name)).collect();
    metrics.extend(there);
    Ok(metrics)
}

fn document(a: &Run, b: &Run, comparison: &Comparison) -> anyhow::Result<Value> {
    let mut document = serde_json::to_value(comparison)?;
    document["a"] = a.document();
    document["b"] = b.document();
    document["verification_statement"] = json!(VERIFICATION_STATEMENT);
    Ok(document)
}
