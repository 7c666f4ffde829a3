//! The table of a family: its quantities at every combination of levels, with intervals over seeds.

use serde::Serialize;
use serde_json::Value;

use super::family::Family;
use super::observed::{Largest, Observed};
use crate::numerics::estimate::estimate;
use crate::numerics::stats::StatsError;
use crate::spec::{CLEAN, Sweep};

/// A quantity over the seeds at one place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Seeds with a value.
    pub n: usize,
    /// Seeds without one: diverged, failed, or undefined there.
    pub missing: usize,
    pub mean: Option<f64>,
    /// 95% interval of the mean, within the range of the quantity; none for fewer than three values.
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// One place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutcomeRow {
    pub condition: String,
    /// In the order of the table's axes.
    pub levels: Vec<Value>,
    /// Whether it is the family's reference.
    pub reference: bool,
    /// In the order of the table's quantities.
    pub outcomes: Vec<Outcome>,
}

/// The table of a family.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutcomeTable {
    pub family: &'static str,
    pub axes: Vec<String>,
    pub quantities: Vec<String>,
    pub rows: Vec<OutcomeRow>,
}

/// The quantities of a family at every combination of its levels, as trained, then under its conditions.
///
/// # Errors
/// Values that are not finite, which the reading of them excludes.
pub fn outcome_table(family: &Family, sweep: &Sweep, observed: &Observed) -> Result<OutcomeTable, StatsError> {
    let largest = Largest::of(sweep);
    let mut rows = Vec::new();
    for condition in [CLEAN].iter().chain(family.conditions) {
        for levels in observed.combinations(condition) {
            let outcomes = family.outcomes.iter().map(|quantity| {
                let values: Vec<Option<f64>> = observed.values(*quantity, &levels, condition).into_values().collect();
                outcome(&values, quantity.range(largest))
            });
            let outcomes = outcomes.collect::<Result<_, _>>()?;
            let reference = observed.is_reference(family, &levels);
            rows.push(OutcomeRow { condition: condition.to_string(), levels, reference, outcomes });
        }
    }
    let quantities = family.outcomes.iter().map(|quantity| quantity.label()).collect();
    Ok(OutcomeTable { family: family.sweep, axes: observed.axes.clone(), quantities, rows })
}

fn outcome(values: &[Option<f64>], range: (f64, f64)) -> Result<Outcome, StatsError> {
    let there: Vec<f64> = values.iter().flatten().copied().collect();
    let found = estimate(&there)?.map(|found| found.within(range));
    Ok(Outcome {
        n: there.len(),
        missing: values.len() - there.len(),
        mean: found.map(|found| found.mean),
        low: found.and_then(|found| found.low),
        high: found.and_then(|found| found.high),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_without_a_value_are_counted_and_a_single_one_has_no_interval() {
        let of = |values: &[Option<f64>]| outcome(values, (0.5, f64::INFINITY)).expect("finite");
        let none = of(&[None, None]);
        assert_eq!((none.n, none.missing, none.mean), (0, 2, None));
        let one = of(&[Some(2.0), None]);
        assert_eq!((one.n, one.missing, one.mean, one.low), (1, 1, Some(2.0), None));
        let three = of(&[Some(3.0), Some(1.0), Some(2.0)]);
        assert_eq!((three.n, three.mean), (3, Some(2.0)));
        assert!(three.low == Some(0.5) && three.high > Some(4.0), "Student's interval, held to the range");
    }
}
