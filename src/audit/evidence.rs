//! What tells whether a control is on in a run: its resolved spec, its manifest, its verdicts.

use serde::Serialize;

use crate::analysis::gate::GateReport;
use crate::engine::{Act, LIMITS};
use crate::spec::{Condition, Config, Gate, Sweep};
use crate::store::{EXEMPLARS_TABLE, RunManifest};

/// What is known of a run.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    pub sweep: &'a Sweep,
    pub manifest: &'a RunManifest,
    /// Verdicts on the gates of the spec.
    pub gates: &'a GateReport,
}

/// What implements a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
pub enum Pointer {
    /// Path of a parameter.
    Parameter(&'static str),
    /// A source file of this program.
    Module(&'static str),
    /// A key of the manifest.
    Manifest(&'static str),
    /// A table of the spec: `gate`, `condition`, `axes`.
    Spec(&'static str),
}

/// How it is found out whether a control is on.
#[derive(Clone, Copy)]
pub enum Read {
    /// Every cell has it.
    Cells(fn(&Config) -> bool),
    /// A limit of this kind is in force for every cell that looks at one of these indicators.
    Limits(Act, &'static [&'static str]),
    /// A gate does it.
    Gates(fn(&Gate, &Sweep) -> bool),
    /// A condition does it.
    Conditions(fn(&Condition) -> bool),
    /// An axis whose path begins so has several levels.
    Swept(&'static [&'static str]),
    /// Something else that the spec says.
    Spec(fn(&Sweep) -> Reading),
    /// Something that the manifest says.
    Run(fn(&RunManifest, &Sweep) -> Reading),
    /// No setting switches it off; why.
    Always(&'static str),
}

/// Whether a control is on, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reading {
    pub on: bool,
    pub evidence: String,
}

impl Reading {
    pub fn new(on: bool, evidence: impl Into<String>) -> Self {
        Self { on, evidence: evidence.into() }
    }
}

impl Read {
    /// Reads a control from a run.
    pub fn of(&self, evidence: &Evidence<'_>) -> Reading {
        let sweep = evidence.sweep;
        match *self {
            Self::Cells(has) => cells(sweep, has),
            Self::Limits(act, names) => limits(sweep, act, names),
            Self::Gates(does) => gates(evidence, does),
            Self::Conditions(does) => {
                let names: Vec<&str> =
                    sweep.conditions.iter().filter(|c| does(c)).map(|condition| condition.name.as_str()).collect();
                match names.as_slice() {
                    [] => Reading::new(false, "no [[condition]] does it"),
                    names => Reading::new(true, format!("under {}", names.join(", "))),
                }
            }
            Self::Swept(beginnings) => {
                let swept = |path: &str| beginnings.iter().any(|beginning| path.starts_with(beginning));
                let axes: Vec<String> = sweep
                    .axes
                    .iter()
                    .filter(|axis| axis.levels.len() > 1 && swept(&axis.path))
                    .map(|axis| format!("{} at {} levels", axis.path, axis.levels.len()))
                    .collect();
                match axes.as_slice() {
                    [] => Reading::new(false, "no axis varies it"),
                    axes => Reading::new(true, axes.join(", ")),
                }
            }
            Self::Spec(read) => read(sweep),
            Self::Run(read) => read(evidence.manifest, sweep),
            Self::Always(why) => Reading::new(true, why),
        }
    }
}

/// A control counts as on when every cell has it: where some lack it, those are without it.
fn cells(sweep: &Sweep, has: impl Fn(&Config) -> bool) -> Reading {
    let all = sweep.cells.len();
    let with = sweep.cells.iter().filter(|cell| has(&cell.config)).count();
    let evidence = match with {
        0 => format!("in none of {all} cells"),
        n if n == all => format!("in all of {all} cells"),
        n => format!("in {n} of {all} cells"),
    };
    Reading::new(with == all && all > 0, evidence)
}

fn limits(sweep: &Sweep, act: Act, names: &[&str]) -> Reading {
    let looks = |indicator: &&str| names.contains(indicator);
    let limits: Vec<_> =
        LIMITS.iter().filter(|limit| limit.act == act && limit.indicator.names.iter().any(looks)).collect();
    let reading = cells(sweep, |config| limits.iter().any(|limit| limit.threshold(config).is_some()));
    let used = |path: &str| {
        sweep
            .cells
            .iter()
            .any(|cell| limits.iter().any(|limit| limit.path == path && limit.threshold(&cell.config).is_some()))
    };
    let paths: Vec<&str> = limits.iter().map(|limit| limit.path).filter(|path| used(path)).collect();
    match paths.as_slice() {
        [] => Reading::new(false, "no threshold is set"),
        paths => Reading::new(reading.on, format!("{} {}", paths.join(", "), reading.evidence)),
    }
}

fn gates(evidence: &Evidence<'_>, does: fn(&Gate, &Sweep) -> bool) -> Reading {
    let verdict = |gate: &Gate| {
        let found = evidence.gates.gates.iter().find(|result| result.gate.name == gate.name);
        found.map_or("not judged", |result| result.verdict.name())
    };
    let gates: Vec<String> = evidence
        .sweep
        .gates
        .iter()
        .filter(|gate| does(gate, evidence.sweep))
        .map(|gate| format!("{} ({})", gate.name, verdict(gate)))
        .collect();
    match gates.as_slice() {
        [] => Reading::new(false, "no [[gate]] does it"),
        gates => Reading::new(true, gates.join(", ")),
    }
}

/// Seeds without which a spread over them says nothing, as gates have it.
const FEW_SEEDS: usize = 3;

/// Whether results are over several seeds.
pub(super) fn several_seeds(sweep: &Sweep) -> Reading {
    let seeds = seeds(sweep);
    Reading::new(seeds >= FEW_SEEDS, format!("{seeds} seeds, where {FEW_SEEDS} are the least that show a spread"))
}

/// Levels of the axis of seeds; 1 where there is none.
pub(super) fn seeds(sweep: &Sweep) -> usize {
    sweep.axes.iter().find(|axis| axis.path == "seed").map_or(1, |axis| axis.levels.len())
}

/// Whether gates look at more than one kind of thing.
pub(super) fn several_kinds(sweep: &Sweep) -> Reading {
    type Kind = (&'static str, fn(&Gate) -> bool);
    let kinds: [Kind; 4] = [
        ("performance", is_performance),
        ("symmetry", is_symmetry),
        ("geometry", is_geometry),
        ("semantics", is_semantics),
    ];
    let found: Vec<&str> = kinds.iter().filter(|(_, is)| sweep.gates.iter().any(is)).map(|(kind, _)| *kind).collect();
    match found.as_slice() {
        [] => Reading::new(false, "no gate"),
        kinds => Reading::new(kinds.len() > 1, format!("gates on {}", kinds.join(", "))),
    }
}

/// Whether both directions of retrieval have a gate.
pub(super) fn both_ways(sweep: &Sweep) -> Reading {
    let has = |end: &str| sweep.gates.iter().any(|gate| is_performance(gate) && gate.metric.ends_with(end));
    match (has("_i2t"), has("_t2i")) {
        (true, true) => Reading::new(true, "gates on retrieval of texts by images and of images by texts"),
        (false, false) => Reading::new(false, "no gate on retrieval in a direction"),
        _ => Reading::new(false, "a gate on one direction of retrieval alone"),
    }
}

/// Whether results are also those of right pairs.
pub(super) fn right_pairs(sweep: &Sweep) -> Reading {
    use crate::spec::config::AppliesTo::Train;
    let right = |config: &Config| config.pairing.rate == 0.0 || config.pairing.applies_to == Train;
    if sweep.cells.iter().all(|cell| right(&cell.config)) {
        return Reading::new(!sweep.cells.is_empty(), "no cell is measured on wrong pairs");
    }
    let mends = |condition: &&Condition| {
        sweep.cells.iter().all(|cell| condition.applied(&cell.config).is_some_and(|config| right(&config)))
    };
    match sweep.conditions.iter().find(mends) {
        Some(condition) => Reading::new(true, format!("right pairs under {}", condition.name)),
        None => Reading::new(false, "some cells are measured on wrong pairs alone"),
    }
}

/// Whether what is selected, where anything is, keeps a floor of geometry.
pub(super) fn selected_with_floors(config: &Config) -> bool {
    use crate::spec::config::Select::Last;
    config.checkpoint.select == Last
        || LIMITS.iter().any(|limit| limit.act == Act::Refuse && limit.threshold(config).is_some())
}

/// Whether the thresholds of the gates were written down before training.
pub(super) fn registered(manifest: &RunManifest, sweep: &Sweep) -> Reading {
    let recorded = |gate: &Gate| {
        let value = serde_json::to_value(gate).unwrap_or_default();
        manifest.thresholds.get(&format!("gate.{}", gate.name)) == Some(&value)
    };
    let (all, with) = (sweep.gates.len(), sweep.gates.iter().filter(|gate| recorded(gate)).count());
    match manifest.more.get(GATES_CHANGED).and_then(serde_json::Value::as_str) {
        Some(utc) => Reading::new(false, format!("gates were changed at {utc}, when cells were finished already")),
        None => {
            Reading::new(all > 0 && with == all, format!("{with} of {all} gates were in the manifest before training"))
        }
    }
}

/// Key of the manifest that says when gates were changed although cells were finished; not there where they never were.
pub const GATES_CHANGED: &str = "gates_changed_utc";

/// Whether the gradients were checked before training, and were right.
pub(super) fn gradients(manifest: &RunManifest, _: &Sweep) -> Reading {
    match manifest.more.get("gradcheck") {
        None => Reading::new(false, "the manifest has no gradcheck: nothing was trained by this process"),
        Some(check) => {
            let passed = check["passed"] == true;
            let word = if passed { "passed" } else { "failed" };
            let doubt = match check["inconclusive"].as_u64() {
                Some(n) if n > 0 => format!(", {n} of which cannot tell a fault from rounding"),
                _ => String::new(),
            };
            Reading::new(passed, format!("{word}, {} comparisons{doubt}", check["checks"].as_u64().unwrap_or(0)))
        }
    }
}

/// Whether cells of this run were trained twice and came out the same.
pub(super) fn made_again(manifest: &RunManifest, _: &Sweep) -> Reading {
    match manifest.tables.contains_key(EXEMPLARS_TABLE) {
        true => Reading::new(true, format!("the cells of {EXEMPLARS_TABLE} came out the same to the bit")),
        false => Reading::new(false, "no cell was trained a second time; `cliffline verify --rerun` does it"),
    }
}

/// Whether a gate judges under a condition that changes the confounder.
pub(super) fn judges_without_shortcut(gate: &Gate, sweep: &Sweep) -> bool {
    let ablated = |condition: &Condition| ablates(condition) || randomises(condition);
    sweep.conditions.iter().any(|condition| condition.name == gate.condition && ablated(condition))
}

/// Whether a condition takes the confounder away.
pub(super) fn ablates(condition: &Condition) -> bool {
    condition.changes.get("confounder.strength").and_then(serde_json::Value::as_f64) == Some(0.0)
}

/// Whether under a condition the confounder says nothing of the partner.
pub(super) fn randomises(condition: &Condition) -> bool {
    condition.changes.get("confounder.randomised") == Some(&true.into())
}

fn begins(gate: &Gate, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| gate.metric.starts_with(beginning))
}

fn is_performance(gate: &Gate) -> bool {
    begins(gate, &["retrieval_at_", "mean_rank", "median_rank"])
}

/// A gate on a difference between the modalities or the directions.
pub(super) fn is_symmetry(gate: &Gate) -> bool {
    begins(gate, &["symmetry_gap", "modality_gap", "norm_divergence", "rank_divergence", "spectrum_divergence"])
        || gate.metric.contains("asymmetry")
}

/// A gate on the health of the embedding.
pub(super) fn is_geometry(gate: &Gate) -> bool {
    begins(
        gate,
        &[
            "effective_rank",
            "participation_ratio",
            "top_eigen_share",
            "variance_",
            "mean_cosine",
            "hub_",
            "k_occurrence",
            "uniformity",
        ],
    )
}

/// A gate on what the embedding encodes.
pub(super) fn is_semantics(gate: &Gate) -> bool {
    begins(
        gate,
        &[
            "separability_",
            "mi_",
            "cca_",
            "neighbour_",
            "cross_group_",
            "retrieval_across_group",
            "retrieval_within_group",
        ],
    )
}
