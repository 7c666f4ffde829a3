//! Accuracy on seeds, strengths and variants that the model has not seen.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::cases::{CASES, Case, Mechanism, Role};
use super::indicators::View;
use super::model::{AttributionError, Model, Opinion, Values, Verdict};
use crate::lab::family::{Laboratory, at};
use crate::lab::observed::Observed;
use crate::numerics::estimate::{Estimate, estimate};
use crate::numerics::stats::{StatsError, mean};

/// Verdicts by true mechanism: one row each, in the order of [`Mechanism::ALL`]; the last column is insufficient evidence.
pub type Confusion = Vec<Vec<u64>>;

/// How one view did on the cases of one role.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoleReport {
    pub role: Role,
    pub cells: u64,
    pub right: u64,
    pub insufficient: u64,
    /// Cells whose likeliest mechanism is the right one, whether it was told or not.
    pub right_if_told: u64,
    /// Recall, averaged over the mechanisms that have cases: one value per validation seed, and their mean.
    pub balanced_accuracy: Option<Estimate>,
}

/// How one view did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ViewReport {
    pub view: View,
    pub indicators: usize,
    pub roles: Vec<RoleReport>,
    /// Of all roles.
    pub balanced_accuracy: Option<Estimate>,
    pub confusion: Confusion,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseReport {
    pub mechanism: Mechanism,
    pub role: Role,
    pub family: &'static str,
    pub levels: BTreeMap<&'static str, &'static str>,
    pub cells: u64,
    /// By view.
    pub right: BTreeMap<View, u64>,
    pub insufficient: BTreeMap<View, u64>,
    /// The panel's opinion of the first validation seed.
    pub example: Option<Opinion>,
}

/// The result of calibrating on some seeds and judging others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Validation {
    pub calibration_seeds: Vec<i64>,
    pub validation_seeds: Vec<i64>,
    pub views: Vec<ViewReport>,
    /// Balanced accuracy of the panel less that of retrieval and loss alone, paired by seed.
    pub gain: Option<Estimate>,
    pub cases: Vec<CaseReport>,
    /// Cases that the runs have no cells of.
    pub absent: usize,
}

/// One case at one seed.
struct Cell {
    case: usize,
    seed: i64,
    values: BTreeMap<View, Values>,
}

/// Fits every view to the calibration seeds, the second half of those of the baseline, and judges the others.
///
/// # Errors
/// A mechanism or an indicator without a value to calibrate on.
pub fn calibrate_and_validate(
    laboratory: &Laboratory,
    runs: &BTreeMap<&'static str, Observed>,
) -> Result<(Vec<Model>, Validation), AttributionError> {
    let cells = cells(laboratory, runs);
    let seeds: BTreeSet<i64> = cells.iter().map(|cell| cell.seed).collect();
    let seeds: Vec<i64> = seeds.into_iter().collect();
    let (validation_seeds, calibration_seeds) = seeds.split_at(seeds.len() / 2);
    let calibrates = |cell: &&Cell| calibration_seeds.contains(&cell.seed);
    let fitted = |view: &View| {
        let known = cells.iter().filter(calibrates).filter(|cell| CASES[cell.case].role == Role::Calibration);
        let known: Vec<(Mechanism, Values)> =
            known.map(|cell| (CASES[cell.case].mechanism, cell.values[view].clone())).collect();
        Model::fit(*view, &known)
    };
    let models: Vec<Model> = View::ALL.iter().map(fitted).collect::<Result<_, _>>()?;
    let judged: Vec<&Cell> = cells.iter().filter(|cell| validation_seeds.contains(&cell.seed)).collect();
    let opinions: Vec<BTreeMap<View, Opinion>> = judged
        .iter()
        .map(|cell| models.iter().map(|model| (model.view, model.judge(&cell.values[&model.view]))).collect())
        .collect();
    let judgements = Judgements { cells: &judged, opinions: &opinions, seeds: validation_seeds };
    let views = models.iter().map(|model| judgements.view(model.view)).collect::<Result<_, StatsError>>()?;
    let gain = judgements.gain()?;
    let there = |case: &usize| judged.iter().any(|cell| cell.case == *case);
    let reports: Vec<CaseReport> = (0..CASES.len()).filter(there).map(|case| judgements.case(case)).collect();
    let validation = Validation {
        calibration_seeds: calibration_seeds.to_vec(),
        validation_seeds: validation_seeds.to_vec(),
        views,
        gain,
        absent: CASES.len() - reports.len(),
        cases: reports,
    };
    Ok((models, validation))
}

/// Every cell of a case that the runs have.
fn cells(laboratory: &Laboratory, runs: &BTreeMap<&'static str, Observed>) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        let found = laboratory.family(case.family).zip(runs.get(case.family));
        let Some((family, observed)) = found else { continue };
        let mut by_seed: BTreeMap<i64, BTreeMap<View, Values>> = BTreeMap::new();
        for view in View::ALL {
            for indicator in view.indicators() {
                for (seed, value) in observed.at(family, &at(case.levels), indicator.quantity) {
                    by_seed.entry(seed).or_default().entry(view).or_default().push(value);
                }
            }
        }
        cells.extend(by_seed.into_iter().map(|(seed, values)| Cell { case: number, seed, values }));
    }
    cells
}

/// The opinions of every view on the validation cells.
struct Judgements<'a> {
    cells: &'a [&'a Cell],
    opinions: &'a [BTreeMap<View, Opinion>],
    seeds: &'a [i64],
}

impl Judgements<'_> {
    /// Cells that count, with their case and the verdict of a view.
    fn counted(&self, view: View, role: Option<Role>) -> impl Iterator<Item = (&Cell, &'static Case, &Opinion)> {
        let each = self.cells.iter().zip(self.opinions);
        each.map(move |(cell, opinions)| (*cell, &CASES[cell.case], &opinions[&view]))
            .filter(move |(_, case, _)| role.is_none_or(|role| case.role == role))
    }

    fn view(&self, view: View) -> Result<ViewReport, StatsError> {
        let mut confusion = vec![vec![0; Mechanism::ALL.len() + 1]; Mechanism::ALL.len()];
        for (_, case, opinion) in self.counted(view, None) {
            let column = match opinion.verdict {
                Verdict::Supported(mechanism) => mechanism as usize,
                Verdict::InsufficientEvidence => Mechanism::ALL.len(),
            };
            confusion[case.mechanism as usize][column] += 1;
        }
        let role = |role: Role| {
            let count = |right: &dyn Fn(Mechanism, &Opinion) -> bool| {
                self.counted(view, Some(role)).filter(|(_, case, opinion)| right(case.mechanism, opinion)).count()
                    as u64
            };
            Ok(RoleReport {
                role,
                cells: count(&|_, _| true),
                right: count(&|mechanism, opinion| opinion.verdict == Verdict::Supported(mechanism)),
                insufficient: count(&|_, opinion| opinion.verdict == Verdict::InsufficientEvidence),
                right_if_told: count(&|mechanism, opinion| opinion.likeliest() == Some(mechanism)),
                balanced_accuracy: share(&self.balanced(view, Some(role)))?,
            })
        };
        Ok(ViewReport {
            view,
            indicators: view.indicators().count(),
            roles: Role::ALL.into_iter().map(role).collect::<Result<_, StatsError>>()?,
            balanced_accuracy: share(&self.balanced(view, None))?,
            confusion,
        })
    }

    /// For each seed the recall averaged over mechanisms.
    fn balanced(&self, view: View, role: Option<Role>) -> Vec<f64> {
        let of_seed = |seed: &i64| {
            let recall = |mechanism: Mechanism| {
                let own =
                    || self.counted(view, role).filter(|(c, case, _)| c.seed == *seed && case.mechanism == mechanism);
                let right = own().filter(|(_, _, opinion)| opinion.verdict == Verdict::Supported(mechanism)).count();
                (own().count() > 0).then(|| right as f64 / own().count() as f64)
            };
            let recalls: Vec<f64> = Mechanism::ALL.into_iter().filter_map(recall).collect();
            mean(&recalls).ok()
        };
        self.seeds.iter().filter_map(of_seed).collect()
    }

    fn gain(&self) -> Result<Option<Estimate>, StatsError> {
        let [plain, panel] = View::ALL.map(|view| self.balanced(view, None));
        let gains: Vec<f64> = panel.iter().zip(&plain).map(|(panel, plain)| panel - plain).collect();
        Ok(estimate(&gains)?.map(|found| found.within((-1.0, 1.0))))
    }

    fn case(&self, number: usize) -> CaseReport {
        let case = &CASES[number];
        let own = || self.cells.iter().zip(self.opinions).filter(|(cell, _)| cell.case == number);
        let count = |wanted: &dyn Fn(Verdict) -> bool| {
            let of = |view: View| own().filter(|(_, opinions)| wanted(opinions[&view].verdict)).count() as u64;
            View::ALL.into_iter().map(|view| (view, of(view))).collect()
        };
        CaseReport {
            mechanism: case.mechanism,
            role: case.role,
            family: case.family,
            levels: case.levels.iter().copied().collect(),
            cells: own().count() as u64,
            right: count(&|verdict| verdict == Verdict::Supported(case.mechanism)),
            insufficient: count(&|verdict| verdict == Verdict::InsufficientEvidence),
            example: own().next().map(|(_, opinions)| opinions[&View::Panel].clone()),
        }
    }
}

/// A mean of shares with its interval.
fn share(values: &[f64]) -> Result<Option<Estimate>, StatsError> {
    Ok(estimate(values)?.map(|found| found.within((0.0, 1.0))))
}

#[cfg(test)]
mod tests;
