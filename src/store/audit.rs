//! One cell's audit manifest, made on demand from its record.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::manifest::{RunManifest, VERIFICATION_STATEMENT};
use super::record::{CellRecord, RecordedCondition, RecordedMetric};
use crate::spec::config::flatten;

/// Version of the document; raised when a key changes its meaning or goes.
const AUDIT_VERSION: u64 = 1;

/// Everything that is known about one cell, as `show` prints it.
///
/// `axes` are the paths that the sweep varies; their values are repeated under `axes`, every seed under `seeds`.
/// A missing metric is `null` in `metrics` and has its reason in `missing_metrics`. What the run manifest would add is
/// `null` when there is none.
pub fn audit_manifest(record: &CellRecord, axes: &[String], manifest: Option<&RunManifest>) -> Value {
    let scalars = flatten(&record.config);
    let at = |path: &String| (path.clone(), scalars.get(path).cloned().unwrap_or(Value::Null));
    let is_seed = |path: &&String| *path == "seed" || path.ends_with(".seed") || path.ends_with("_seed");
    let (metrics, missing) = values_and_reasons(&record.metrics);
    let condition = |c: &RecordedCondition| {
        let (metrics, missing) = values_and_reasons(&c.metrics);
        let checksums = json!({ "test_embeddings": c.test_embeddings });
        let entry = json!({
            "changes": c.changes, "metrics": metrics, "missing_metrics": missing, "checksums": checksums,
        });
        (c.name.clone(), entry)
    };
    // A class reads `numerics backend machine`; the manifest, where there is one, knows the backend as such.
    let backend = manifest.map(|m| m.backend.as_str()).or_else(|| record.class.split_whitespace().nth(1));
    json!({
        "format": "cliffline-cell",
        "version": AUDIT_VERSION,
        "cell_id": record.cell_id,
        "train_id": record.train_id,
        "run_id": manifest.map(|m| &m.run_id),
        "sweep": manifest.map(|m| &m.sweep),
        "made_by": record.made_by,
        "reused_from": record.reused_from,
        "class": record.class,
        "backend": backend,
        "config": record.config,
        "axes": axes.iter().map(at).collect::<Map<_, _>>(),
        "seeds": scalars.keys().filter(is_seed).map(at).collect::<Map<_, _>>(),
        "status": record.status,
        "reason": record.reason,
        "steps": record.steps,
        "crossings": record.crossings,
        "selection": record.selection,
        "metrics": metrics,
        "missing_metrics": missing,
        "spectra": record.spectra,
        "curves": record.curves,
        "realised": record.realised,
        "conditions": record.conditions.iter().map(condition).collect::<Map<_, _>>(),
        "checksums": record.checksums,
        "wall_s": record.wall_s,
        "finished_utc": record.finished_utc,
        "verification_statement": VERIFICATION_STATEMENT,
    })
}

/// Metric name to value, `null` where it is missing; and name to reason where it is.
fn values_and_reasons(metrics: &BTreeMap<String, RecordedMetric>) -> (Map<String, Value>, Map<String, Value>) {
    let (mut values, mut reasons) = (Map::new(), Map::new());
    for (name, metric) in metrics {
        match metric {
            RecordedMetric::Value(value) => values.insert(name.clone(), json!(value)),
            RecordedMetric::Missing(reason) => {
                reasons.insert(name.clone(), json!(reason));
                values.insert(name.clone(), Value::Null)
            }
        };
    }
    (values, reasons)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::tests::sample;

    #[test]
    fn the_audit_manifest_holds_the_record_and_names_what_is_missing() {
        let record = sample(3);
        let audit = audit_manifest(&record, &["train.temperature".into()], None);
        assert_eq!(audit["cell_id"], record.cell_id);
        assert_eq!(audit["axes"], json!({"train.temperature": 0.07 * 4.0}));
        assert_eq!(audit["seeds"], json!({"seed": 3}));
        assert_eq!(audit["backend"], "flex");
        assert_eq!(audit["status"], "ok");
        assert_eq!(audit["metrics"]["effective_rank_img"], 1.0 + 1.0 / 6.0);
        assert_eq!(audit["metrics"]["alignment"], Value::Null);
        assert_eq!(audit["missing_metrics"]["alignment"], "too few samples");
        assert_eq!((&audit["run_id"], &audit["reused_from"]), (&Value::Null, &Value::Null));
        assert_eq!((&audit["crossings"], &audit["selection"]), (&json!([]), &Value::Null));
        let audit = audit_manifest(&sample(4), &[], None);
        assert_eq!(audit["crossings"][0]["limit"], "stop.effective_rank_below");
        assert_eq!(audit["selection"]["step"], 10);
        assert_eq!(audit["selection"]["candidates"][1]["refused_by"], json!(["checkpoint.effective_rank_floor"]));
        assert_eq!(audit["verification_statement"], VERIFICATION_STATEMENT);
    }
}
