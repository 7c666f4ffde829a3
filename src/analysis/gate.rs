//! Gates: whether a run keeps the constraints of its spec, at every combination of levels, across seeds.
//!
//! A gate is judged at each combination of levels of the axes but the seed, over the seeds that the plan has there. The
//! verdict is of three values. With `n` the seeds planned at a combination, at least `min_seeds`, and `k` the least count
//! that is at least `share` of `n`:
//!
//! - **fail** when more than `n - k` seeds violate the bounds: whatever the seeds without evidence would give, too few can
//!   hold;
//! - **pass** when at least `k` seeds hold, and at least `min_seeds` seeds have been judged: no seed to come can change it;
//! - **insufficient evidence** otherwise. It is not a pass.
//!
//! A gate passes when it passes at every combination and fails when it fails at one. A cell without a value because it
//! diverged, collapsed or failed violates the gate: losing a model is an outcome of its configuration, and dropping it
//! would judge the survivors alone. A cell that is not finished, or whose metric is undefined though its training went
//! well, is missing evidence.

use std::collections::BTreeMap;

use polars_core::prelude::{DataFrame, PolarsResult};
use serde::Serialize;
use serde_json::Value;

use super::outcome::{Seen, outcomes};
use super::ranks::{find, paired, ranks};
use crate::spec::{Gate, Sweep};

/// Version of [`GateReport`] as JSON.
///
/// # Changelog
/// - 1: first version.
pub const GATES_VERSION: u64 = 1;

/// Combinations without a pass that are listed, worst first; how many more there are is said.
const LISTED: usize = 20;

/// Rounding of `share * seeds`, which 0.55 * 20 = 11.000000000000002 would turn into 12 seeds: far above one unit in the
/// last place of a count, far below one seed.
const COUNT_SLACK: f64 = 1e-9;

/// Ordered from worst to best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Fail,
    InsufficientEvidence,
    Pass,
}

/// How the seeds of one combination stand; `planned` is the sum of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seeds {
    pub planned: u64,
    pub hold: u64,
    /// With a value outside the bounds.
    pub outside: u64,
    /// Without a value, because they collapsed, diverged or failed.
    pub lost: u64,
    /// Not finished.
    pub unfinished: u64,
    /// Finished well, without a value.
    pub undefined: u64,
}

/// The seed nearest to violating a gate, or furthest beyond.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Worst {
    pub cell_id: String,
    pub seed: u64,
    /// None where the cell has none because of how it ended.
    pub value: Option<f64>,
    /// How far inside the bounds, in the metric's unit; below 0 outside.
    pub margin: Option<f64>,
    /// How the cell ended, where it has no value.
    pub ended: Option<String>,
}

/// One combination of levels of all axes but the seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Combination {
    /// Axis path to level.
    pub levels: BTreeMap<String, Value>,
    pub verdict: Verdict,
    /// The count of seeds that must hold.
    pub needed: u64,
    pub seeds: Seeds,
    /// None where no seed has been judged.
    pub worst: Option<Worst>,
}

/// The verdict on one gate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateResult {
    /// As the spec has it.
    #[serde(flatten)]
    pub gate: Gate,
    pub verdict: Verdict,
    /// Combinations judged, by verdict.
    pub combinations: BTreeMap<&'static str, u64>,
    /// Of all combinations together.
    pub cells: Seeds,
    /// The combination with the worst verdict and, of those, the least margin.
    pub worst: Option<Combination>,
    /// The combinations without a pass, worst first, as far as they are listed.
    pub not_passed: Vec<Combination>,
    /// How many more there are.
    pub not_listed: u64,
}

/// What `gates.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateReport {
    pub format: &'static str,
    pub version: u64,
    pub sweep: String,
    /// Fail if a gate fails, else insufficient evidence if one has too little, else pass.
    pub verdict: Verdict,
    pub gates: Vec<GateResult>,
}

impl Verdict {
    /// The word of the JSON document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::InsufficientEvidence => "insufficient_evidence",
            Self::Pass => "pass",
        }
    }
}

impl Seeds {
    fn add(&mut self, gate: &Gate, seen: Seen<'_>) {
        self.planned += 1;
        *match seen {
            Seen::Value(value) if gate.margin(value) >= 0.0 => &mut self.hold,
            Seen::Value(_) => &mut self.outside,
            Seen::Lost(_) => &mut self.lost,
            Seen::Unfinished => &mut self.unfinished,
            Seen::Undefined => &mut self.undefined,
        } += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.planned += other.planned;
        self.hold += other.hold;
        self.outside += other.outside;
        self.lost += other.lost;
        self.unfinished += other.unfinished;
        self.undefined += other.undefined;
    }

    /// Seeds that violate a gate.
    pub fn violate(&self) -> u64 {
        self.outside + self.lost
    }

    /// The verdict at one combination, and the count of seeds that must hold.
    pub(super) fn judge(&self, share: f64, min_seeds: u64) -> (Verdict, u64) {
        let seeds = self.planned.max(min_seeds);
        let needed = (share * seeds as f64 - COUNT_SLACK).ceil().max(0.0) as u64;
        let verdict = if self.violate() > seeds.saturating_sub(needed) {
            Verdict::Fail
        } else if self.hold >= needed && self.hold + self.violate() >= min_seeds {
            Verdict::Pass
        } else {
            Verdict::InsufficientEvidence
        };
        (verdict, needed)
    }
}

/// Judges the gates of a sweep by the tables of its run. A cell that has no row is unfinished; a metric that is no column
/// has no values.
///
/// # Errors
/// A column of another type than the tables have.
pub fn evaluate(sweep: &Sweep, cells: &DataFrame, conditions: &DataFrame) -> PolarsResult<GateReport> {
    let ids = cells.column("cell_id")?.str()?;
    let planned = find(ids.iter(), sweep.cells.iter().map(|cell| Some(cell.id.as_str())));
    let groups = Groups::of(sweep);
    let judge = |gate: &Gate| -> PolarsResult<GateResult> {
        let of_rows = outcomes(gate, cells, conditions)?;
        let seen: Vec<Seen<'_>> =
            planned.iter().map(|row| row.map_or(Seen::Unfinished, |row| of_rows[row as usize])).collect();
        Ok(groups.judge(gate, sweep, &seen))
    };
    let gates = sweep.gates.iter().map(judge).collect::<PolarsResult<Vec<_>>>()?;
    let verdict = gates.iter().map(|gate| gate.verdict).min().unwrap_or(Verdict::InsufficientEvidence);
    Ok(GateReport { format: "cliffline-gates", version: GATES_VERSION, sweep: sweep.name.clone(), verdict, gates })
}

/// One axis of a plan.
struct Levels {
    path: String,
    /// For each cell the rank of its level.
    of_cell: Vec<u32>,
    /// For each rank its level.
    values: Vec<Value>,
}

/// The cells of a sweep by their levels, the seed aside.
struct Groups {
    /// All axes, the seed's as well.
    axes: Vec<Levels>,
    /// For each group its first cell; groups are in the order of the plan.
    first: Vec<usize>,
    /// For each cell of the plan its group.
    of_cell: Vec<u32>,
}

impl Groups {
    fn of(sweep: &Sweep) -> Self {
        let paths: Vec<&str> = sweep.axes.iter().map(|axis| axis.path.as_str()).collect();
        let axes = paths.iter().zip(sweep.level_bits()).map(|(path, bits)| {
            let of_cell = ranks(bits.into_iter());
            let level = |cell: &usize| sweep.cells[*cell].config.values_at(std::iter::once(*path)).pop();
            let values = firsts(&of_cell).iter().map(|cell| level(cell).unwrap_or_default()).collect();
            Levels { path: path.to_string(), of_cell, values }
        });
        let axes: Vec<Levels> = axes.collect();
        let but_seed = axes.iter().filter(|axis| axis.path != "seed");
        let mut of_cell = but_seed.fold(vec![0; sweep.cells.len()], |groups, axis| paired(&groups, &axis.of_cell));
        let mut first = firsts(&of_cell);
        // From the order of their levels to that of the plan.
        let places = ranks(first.iter());
        of_cell.iter_mut().for_each(|group| *group = places[*group as usize]);
        first.sort_unstable();
        Self { axes, first, of_cell }
    }

    /// Axis path to level, the seed aside.
    fn levels(&self, group: usize) -> BTreeMap<String, Value> {
        let cell = self.first[group];
        let level = |axis: &Levels| (axis.path.clone(), axis.values[axis.of_cell[cell] as usize].clone());
        self.axes.iter().filter(|axis| axis.path != "seed").map(level).collect()
    }

    /// For each cell of the plan whether a gate judges it.
    fn covered(&self, gate: &Gate) -> Vec<bool> {
        let mut covered = vec![true; self.of_cell.len()];
        for (path, scope) in &gate.scope {
            let Some(axis) = self.axes.iter().find(|axis| axis.path == *path) else {
                covered.fill(false);
                continue;
            };
            let inside: Vec<bool> = axis.values.iter().map(|level| scope.covers(level)).collect();
            covered.iter_mut().zip(&axis.of_cell).for_each(|(covered, rank)| *covered &= inside[*rank as usize]);
        }
        covered
    }

    fn judge(&self, gate: &Gate, sweep: &Sweep, seen: &[Seen<'_>]) -> GateResult {
        let mut seeds = vec![Seeds::default(); self.first.len()];
        let mut worst: Vec<Option<usize>> = vec![None; self.first.len()];
        let here = self.of_cell.iter().zip(seen).zip(self.covered(gate)).enumerate();
        for (index, ((group, seen_here), _)) in here.filter(|(_, (_, covered))| *covered) {
            let group = *group as usize;
            seeds[group].add(gate, *seen_here);
            let is_worse = |known: usize| severity(gate, *seen_here) < severity(gate, seen[known]);
            if severity(gate, *seen_here) < f64::INFINITY && worst[group].is_none_or(is_worse) {
                worst[group] = Some(index);
            }
        }
        let mut judged: Vec<(Verdict, f64, usize, u64)> = Vec::new();
        for (group, seeds) in seeds.iter().enumerate().filter(|(_, seeds)| seeds.planned > 0) {
            let (verdict, needed) = seeds.judge(gate.share, gate.min_seeds);
            let severity = worst[group].map_or(f64::INFINITY, |index| severity(gate, seen[index]));
            judged.push((verdict, severity, group, needed));
        }
        // The worst first; of equals the first of the plan.
        judged.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
        let combination = |(verdict, _, group, needed): &(Verdict, f64, usize, u64)| Combination {
            levels: self.levels(*group),
            verdict: *verdict,
            needed: *needed,
            seeds: seeds[*group],
            worst: worst[*group].map(|index| worst_of(gate, sweep, index, seen[index])),
        };
        let count = |verdict: Verdict| judged.iter().filter(|entry| entry.0 == verdict).count() as u64;
        let verdicts = [Verdict::Fail, Verdict::InsufficientEvidence, Verdict::Pass];
        let mut cells = Seeds::default();
        seeds.iter().for_each(|seeds| cells.merge(seeds));
        let not_passed = judged.len() - count(Verdict::Pass) as usize;
        GateResult {
            gate: gate.clone(),
            verdict: judged.first().map_or(Verdict::InsufficientEvidence, |entry| entry.0),
            combinations: verdicts.map(|verdict| (verdict.name(), count(verdict))).into(),
            cells,
            worst: judged.first().map(combination),
            not_passed: judged.iter().take(not_passed.min(LISTED)).map(combination).collect(),
            not_listed: not_passed.saturating_sub(LISTED) as u64,
        }
    }
}

/// For each rank the first place that has it.
fn firsts(ranks: &[u32]) -> Vec<usize> {
    let mut first = vec![0; ranks.iter().max().map_or(0, |last| *last as usize + 1)];
    ranks.iter().enumerate().rev().for_each(|(at, rank)| first[*rank as usize] = at);
    first
}

/// Less is worse: a lost cell before any value, a value by its margin; infinite without evidence.
fn severity(gate: &Gate, seen: Seen<'_>) -> f64 {
    match seen {
        Seen::Lost(_) => f64::NEG_INFINITY,
        Seen::Value(value) => gate.margin(value),
        Seen::Unfinished | Seen::Undefined => f64::INFINITY,
    }
}

fn worst_of(gate: &Gate, sweep: &Sweep, index: usize, seen: Seen<'_>) -> Worst {
    let cell = &sweep.cells[index];
    let (value, ended) = match seen {
        Seen::Value(value) => (Some(value), None),
        Seen::Lost(status) => (None, Some(status.to_string())),
        Seen::Unfinished | Seen::Undefined => (None, None),
    };
    let margin = value.map(|value| gate.margin(value));
    Worst { cell_id: cell.id.clone(), seed: cell.config.seed, value, margin, ended }
}

#[cfg(test)]
mod tests {
    use polars_core::prelude::{Column, NamedFrom, Series};
    use serde_json::json;

    use super::*;
    use crate::analysis::outcome::{columns_of_cells, columns_of_conditions};
    use crate::spec::{Overrides, from_str};

    fn seeds(hold: u64, outside: u64, lost: u64, unfinished: u64, undefined: u64) -> Seeds {
        Seeds { planned: hold + outside + lost + unfinished + undefined, hold, outside, lost, unfinished, undefined }
    }

    #[test]
    fn verdicts_worked_by_hand() {
        use Verdict::{Fail, InsufficientEvidence as Insufficient, Pass};
        for (share, min_seeds, counts, expected) in [
            // Every seed must hold.
            (1.0, 3, seeds(3, 0, 0, 0, 0), (Pass, 3)),
            (1.0, 3, seeds(4, 1, 0, 0, 0), (Fail, 5)),
            (1.0, 3, seeds(4, 0, 1, 0, 0), (Fail, 5)),
            (1.0, 3, seeds(4, 0, 0, 1, 0), (Insufficient, 5)),
            (1.0, 3, seeds(4, 0, 0, 0, 1), (Insufficient, 5)),
            // One violation is certain, whatever else is missing or was never planned.
            (1.0, 3, seeds(0, 1, 0, 4, 0), (Fail, 5)),
            (1.0, 3, seeds(0, 1, 0, 0, 0), (Fail, 3)),
            // Too few seeds, though all of them hold.
            (1.0, 3, seeds(2, 0, 0, 0, 0), (Insufficient, 3)),
            (1.0, 1, seeds(1, 0, 0, 0, 0), (Pass, 1)),
            (1.0, 3, seeds(0, 0, 0, 0, 0), (Insufficient, 3)),
            // Three of four must hold.
            (0.75, 3, seeds(3, 1, 0, 0, 0), (Pass, 3)),
            (0.75, 3, seeds(2, 2, 0, 0, 0), (Fail, 3)),
            (0.75, 3, seeds(2, 1, 0, 1, 0), (Insufficient, 3)),
            // The last seed cannot change either.
            (0.75, 3, seeds(3, 0, 0, 1, 0), (Pass, 3)),
            (0.75, 3, seeds(1, 1, 1, 1, 0), (Fail, 3)),
            // Two of five would do and hold, but five seeds are asked for.
            (0.4, 5, seeds(2, 0, 0, 3, 0), (Insufficient, 2)),
            (0.4, 5, seeds(2, 3, 0, 0, 0), (Pass, 2)),
            // One planned of at least three: its violation leaves two that could still make two thirds, not 0.8.
            (0.66, 3, seeds(0, 1, 0, 0, 0), (Insufficient, 2)),
            (0.8, 3, seeds(0, 1, 0, 0, 0), (Fail, 3)),
            // 0.55 * 20 is a little above 11 in floating point; 11 seeds are 55 percent all the same.
            (0.55, 3, seeds(11, 9, 0, 0, 0), (Pass, 11)),
            (0.55, 3, seeds(10, 10, 0, 0, 0), (Fail, 11)),
        ] {
            assert_eq!(counts.judge(share, min_seeds), expected, "share {share}, min_seeds {min_seeds}, {counts:?}");
        }
    }

    const SPEC: &str = "name = \"t\"\npreset = \"tiny\"\n[axes]\nseed = [0, 1, 2]\n\"train.temperature\" = [0.1, 1.0]\n\
                        [[condition]]\nname = \"noisy\"\nimage.noise = 0.5\n";

    fn sweep(gates: &str) -> Sweep {
        from_str(&format!("{SPEC}{gates}"), "t.toml", &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn frame(columns: Vec<Column>) -> DataFrame {
        DataFrame::new_infer_height(columns).expect("columns of one length")
    }

    /// The first cells of a plan: temperature is the last axis, so seeds vary first.
    fn cells(sweep: &Sweep, rows: &[(&str, Option<f64>)]) -> DataFrame {
        let ids: Vec<&str> = sweep.cells.iter().take(rows.len()).map(|cell| cell.id.as_str()).collect();
        frame(vec![
            Series::new("cell_id".into(), ids).into(),
            Series::new("status".into(), rows.iter().map(|row| row.0).collect::<Vec<_>>()).into(),
            Series::new("metric_effective_rank_img".into(), rows.iter().map(|row| row.1).collect::<Vec<_>>()).into(),
        ])
    }

    #[test]
    fn a_verdict_says_where_by_how_much_and_over_how_many_seeds() {
        let sweep = sweep("[[gate]]\nmetric = \"effective_rank_img\"\nmin = 4\n");
        // Cells go by seed, then temperature: seed 0 at 0.1 and 1, seed 1 at 0.1 and 1, seed 2.
        let ok = |value: f64| ("ok", Some(value));
        let none = DataFrame::empty();
        let judged = |rows: &[(&str, Option<f64>)]| {
            evaluate(&sweep, &cells(&sweep, rows), &none).expect("tables").gates.remove(0)
        };
        let passed = judged(&[ok(4.0), ok(5.0), ok(6.0), ok(4.5), ok(7.0), ok(9.0)]);
        assert_eq!(passed.verdict, Verdict::Pass);
        let worst = passed.worst.expect("a combination");
        assert_eq!(worst.levels, BTreeMap::from([("train.temperature".to_string(), json!(0.1))]));
        assert_eq!(worst.seeds, seeds(3, 0, 0, 0, 0));
        let seed = worst.worst.expect("a seed");
        assert_eq!((seed.value, seed.margin, seed.seed), (Some(4.0), Some(0.0), 0), "on the bound is inside");

        let failed = judged(&[ok(4.0), ok(3.75), ok(6.0), ok(1.5), ok(7.0), ok(9.0)]);
        assert_eq!(failed.verdict, Verdict::Fail);
        assert_eq!(failed.combinations, [("fail", 1), ("insufficient_evidence", 0), ("pass", 1)].into());
        assert_eq!((failed.not_passed.len(), failed.not_listed), (1, 0));
        let worst = failed.not_passed[0].worst.as_ref().expect("a seed");
        assert_eq!((worst.value, worst.margin, worst.seed), (Some(1.5), Some(-2.5), 1));
        assert_eq!(failed.not_passed[0].levels["train.temperature"], json!(1.0));
        assert_eq!(failed.cells, seeds(4, 2, 0, 0, 0));

        // The last seed has not finished at temperature 1; at 0.1 its metric is undefined.
        let open = judged(&[ok(4.0), ok(5.0), ok(6.0), ok(5.0), ("ok", None)]);
        assert_eq!(open.verdict, Verdict::InsufficientEvidence);
        assert_eq!(open.cells, seeds(4, 0, 0, 1, 1));
        // A cell without a value because of how it ended is a violation, and worse than any value.
        for status in ["diverged", "collapsed", "failed"] {
            let lost = judged(&[ok(4.0), ok(1.0), ok(6.0), ok(5.0), (status, None), ok(9.0)]);
            assert_eq!((lost.verdict, lost.cells), (Verdict::Fail, seeds(4, 1, 1, 0, 0)));
            let worst = lost.worst.expect("a combination").worst.expect("a seed");
            assert_eq!((worst.value, worst.ended.as_deref()), (None, Some(status)));
        }
        // One that collapsed and was measured is judged by its value.
        let measured = judged(&[ok(4.0), ok(5.0), ok(6.0), ("collapsed", Some(5.0)), ok(7.0), ok(9.0)]);
        assert_eq!(measured.verdict, Verdict::Pass);
        assert_eq!(judged(&[]).verdict, Verdict::InsufficientEvidence);
    }

    #[test]
    fn gates_see_their_own_condition_scope_and_the_status() {
        let sweep = sweep(
            "[[gate]]\nmetric = \"effective_rank_img\"\nmin = 4\ncondition = \"noisy\"\n\
             [[gate]]\nmetric = \"lost\"\nmax = 0.0\n\
             [[gate]]\nmetric = \"lost\"\nmax = 0.0\nwhere = { train.temperature = 0.1 }\n\
             [[gate]]\nmetric = \"effective_rank_txt\"\nmin = 1\n",
        );
        let rows = [("ok", Some(1.0)); 5].into_iter().chain([("collapsed", Some(1.0))]).collect::<Vec<_>>();
        let clean = cells(&sweep, &rows);
        let twice: Vec<&str> = sweep.cells.iter().flat_map(|cell| [cell.id.as_str(); 2]).collect();
        let conditions = frame(vec![
            Series::new("cell_id".into(), twice).into(),
            Series::new("condition".into(), ["clean", "noisy"].repeat(6)).into(),
            Series::new("metric_effective_rank_img".into(), [1.0, 5.0].repeat(6)).into(),
        ]);
        assert_eq!(columns_of_cells(&sweep.gates), ["cell_id", "status", "metric_effective_rank_txt"]);
        assert_eq!(columns_of_conditions(&sweep.gates), ["cell_id", "condition", "metric_effective_rank_img"]);
        assert_eq!(columns_of_conditions(&sweep.gates[1..]), [""; 0]);
        let report = evaluate(&sweep, &clean, &conditions).expect("tables");
        let verdicts: Vec<Verdict> = report.gates.iter().map(|gate| gate.verdict).collect();
        assert_eq!(verdicts, [Verdict::Pass, Verdict::Fail, Verdict::Pass, Verdict::Fail]);
        assert_eq!(report.gates[3].cells, seeds(0, 0, 1, 0, 5), "a table without the column has no values");
        assert_eq!(report.gates[2].cells.planned, 3, "a gate on one temperature judges three cells");
        assert_eq!(report.verdict, Verdict::Fail);
    }

    #[test]
    fn groups_and_scopes_are_those_of_every_cells_levels() {
        let text = "name = \"t\"\npreset = \"tiny\"\nzip = [[\"model.hidden_txt\", \"model.hidden_img\"]]\n[axes]\n\
                    seed = { seeds = 3 }\nmodel.hidden_img = [64, 32, 64]\nmodel.hidden_txt = [32, 64, 64]\n\
                    pairing.kind = [\"swap\", \"block\"]\nstop.freeze = [true, false]\ntrain.temperature = [1.0, 0.1]\n\
                    [[exclude]]\nstop.freeze = true\npairing.kind = \"block\"\n\
                    [[gate]]\nmetric = \"lost\"\nmax = 0.0\n[gate.where]\nseed = [0, 2]\nstop.freeze = [false]\n\
                    model.hidden_img = { min = 40 }\n";
        let sweep = from_str(text, "t.toml", &Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
        let groups = Groups::of(&sweep);
        let covered = groups.covered(&sweep.gates[0]);
        let mut known: Vec<BTreeMap<String, Value>> = Vec::new();
        for (at, cell) in sweep.cells.iter().enumerate() {
            let levels = sweep.levels(cell);
            assert_eq!(covered[at], sweep.gates[0].covers(&levels), "{levels:?}");
            let others: BTreeMap<_, _> = levels.into_iter().filter(|(path, _)| path != "seed").collect();
            let number = known.iter().position(|levels| *levels == others).unwrap_or_else(|| {
                known.push(others.clone());
                known.len() - 1
            });
            assert_eq!((groups.of_cell[at] as usize, groups.levels(number)), (number, others));
        }
        assert_eq!((known.len(), groups.first.len()), (3 * 3 * 2, 3 * 3 * 2));
    }

    #[test]
    fn long_lists_are_cut_and_say_so() {
        let levels: Vec<String> = (1..=30).map(|n| format!("{}", f64::from(n) / 100.0)).collect();
        let text = format!(
            "name = \"t\"\npreset = \"tiny\"\n[axes]\nimage.noise = [{}]\n[[gate]]\nmetric = \"lost\"\nmax = 0.0\n",
            levels.join(", ")
        );
        let sweep = from_str(&text, "t.toml", &Overrides::default()).expect("a valid spec");
        let report = evaluate(&sweep, &cells(&sweep, &[]), &DataFrame::empty()).expect("tables");
        assert_eq!((report.gates[0].not_passed.len(), report.gates[0].not_listed), (20, 10));
        assert_eq!(report.gates[0].not_passed[0].levels["image.noise"], json!(0.01), "equals in the order of the plan");
    }
}
