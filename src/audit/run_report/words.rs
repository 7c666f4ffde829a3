//! What is assumed and what is open, as is true of one run.

use super::places::Located;
use crate::analysis::gate::Verdict;
use crate::audit::evidence::{Evidence, seeds};
use crate::audit::risk_log::{RISK_LOG_FILE, RiskLog};
use crate::engine::Act::Stop;
use crate::engine::LIMITS;
use crate::numerics::bootstrap::FEWEST_COVERED;
use crate::spec::config::Panel;
use crate::store::{BOUNDARIES_TABLE, VERIFICATION_STATEMENT};

pub(super) fn assumptions(evidence: &Evidence<'_>) -> Vec<String> {
    let sweep = evidence.sweep;
    let any = |has: &dyn Fn(&crate::spec::Config) -> bool| sweep.cells.iter().any(|cell| has(&cell.config));
    let cases = [
        (true, "The world is synthetic: five known factors, rendered as small images and as sentences of a grammar."),
        (
            true,
            "Both encoders are two-layer networks trained from scratch: mechanisms are shown, not sizes of effects in \
                large models.",
        ),
        (
            any(&|c| c.image != Default::default() || c.text != Default::default()),
            "What disturbs images and sentences is drawn independently of the factors, as real disturbances need not be.",
        ),
        (
            any(&|c| c.pairing.rate > 0.0),
            "Wrong pairs are made at random among samples, or as the spec's kind says; real mistakes may follow meaning.",
        ),
        (
            any(&|c| c.confounder.strength > 0.0),
            "The confounder is planted and known; what real data share beside meaning is neither.",
        ),
        (
            any(&|c| c.panel == Panel::Full),
            "Information and canonical correlations are proxies: of three principal components and of a ridge, with \
             permutation nulls.",
        ),
        (
            any(&|c| LIMITS.iter().any(|l| l.act == Stop && l.threshold(c).is_some())),
            "A cell counts as collapsed where a stop rule says so: the thresholds are choices of the spec.",
        ),
        (
            true,
            "Verdicts, boundaries and intervals are about the seeds that ran; between two levels a metric is taken to \
                change evenly.",
        ),
    ];
    cases.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text.to_string()).collect()
}

pub(super) fn open_items(evidence: &Evidence<'_>, risks: &RiskLog, located: &Located) -> Vec<String> {
    let (sweep, manifest, gates) = (evidence.sweep, evidence.manifest, evidence.gates);
    let mut items = vec![VERIFICATION_STATEMENT.to_string()];
    let seeds = seeds(sweep);
    if seeds < FEWEST_COVERED {
        items.push(format!("Intervals over {seeds} seeds hold the mean less often than 95 in 100 times: more seeds."));
    }
    if gates.gates.is_empty() {
        items.push("No gate was registered: what would be acceptable is not written down.".to_string());
    }
    for result in &gates.gates {
        match result.verdict {
            Verdict::Pass => {}
            Verdict::Fail => {
                items.push(format!("Gate {} fails: whether that is acceptable is for a person.", result.gate.name))
            }
            Verdict::InsufficientEvidence => items.push(format!("Gate {} lacks evidence.", result.gate.name)),
        }
    }
    let n = |status: &str| manifest.cells.by_status.get(status).copied().unwrap_or(0);
    let finished = n("ok") + n("collapsed") + n("diverged");
    if finished < manifest.cells.planned {
        let missing = manifest.cells.planned - finished;
        items.push(format!("{missing} of {} cells have no result.", manifest.cells.planned));
    }
    if located.censored > 0 {
        items
            .push(format!("On {} lines some seeds have their boundary outside of the levels tried.", located.censored));
    }
    if located.more > 0 {
        items.push(format!("{} boundaries are in {BOUNDARIES_TABLE} alone.", located.more));
    }
    if sweep.cells.iter().any(|cell| cell.config.panel == Panel::Fast) {
        items.push("Some cells have the fast panel: no nulls, no information, no sensitivity.".to_string());
    }
    let off: Vec<&str> = risks.controls().iter().filter(|c| !c.reading.on).map(|control| control.id).collect();
    if !off.is_empty() {
        items.push(format!("Controls that are off: {}; see {RISK_LOG_FILE}.", off.join(", ")));
    }
    items
}
