//! Whether a cell that was trained again came out as its record says.

use std::fmt::Debug;

use super::record::CellRecord;
use crate::engine::Outcome;

/// What differs between a record and the same cell trained again; empty when nothing does. What the record lacks, because
/// it is older than that, is not compared; all that it has is, to the bit.
pub fn differences(record: &CellRecord, again: &Outcome) -> Vec<String> {
    let before = record.to_outcome();
    let mut found = Vec::new();
    let mut compare = |what: &str, same: bool| {
        if !same {
            found.push(what.to_string());
        }
    };
    compare("status", before.status == again.status);
    compare("reason", is_same_reason(&before.reason, &again.reason));
    compare("steps", before.steps == again.steps);
    let (b, a) = (&before.checksums, &again.checksums);
    compare("checksum of the first batch's embeddings", b.first_batch_embeddings == a.first_batch_embeddings);
    compare("checksum of the final parameters", b.final_parameters == a.final_parameters);
    compare("checksum of the test embeddings", b.test_embeddings == a.test_embeddings);
    // Records from before there were any have none.
    compare("crossings", before.crossings.is_empty() || same(&before.crossings, &again.crossings));
    compare("selected checkpoint", same(&before.selection, &again.selection));
    for (name, value) in &before.metrics {
        compare(&format!("metric {name}"), same(&again.metrics.get(name), &Some(value)));
    }
    compare("spectra", same(&before.spectra, &again.spectra));
    compare("steps of the curves", before.curves.step == again.curves.step);
    for (name, values) in &before.curves.series {
        compare(&format!("curve {name}"), same(&again.curves.series.get(name), &Some(values)));
    }
    for (name, value) in &before.realised {
        compare(name.as_str(), same(&again.realised.get(name), &Some(value)));
    }
    compare("conditions", before.conditions.len() == again.conditions.len());
    for (before, again) in before.conditions.iter().zip(&again.conditions) {
        let name = &before.condition.name;
        if !same(&before.condition, &again.condition) {
            found.push(format!("condition {name}"));
        }
        if before.test_embeddings != again.test_embeddings {
            found.push(format!("checksum of the test embeddings under {name}"));
        }
        let differs = |(metric, value): &(_, _)| !same(&again.metrics.get(*metric), &Some(*value));
        let differing = before.metrics.iter().filter(differs);
        found.extend(differing.map(|(metric, _)| format!("metric {metric} under {name}")));
    }
    found
}

/// Whether two values are the same to the bit: zeros of both signs are equal, and written they are not.
fn same<T: Debug + PartialEq>(a: &T, b: &T) -> bool {
    a == b && format!("{a:?}") == format!("{b:?}")
}

/// Whether two reasons say the same. Versions up to 0.1.0 rounded a value beside its threshold to so few digits that it
/// could be read as one that keeps it, as in `1.928 is below 1.928`. Of such a reason the value may have more digits
/// now, when it is within one unit of the last digit that it had; nothing else may differ.
fn is_same_reason(before: &str, again: &str) -> bool {
    if before == again {
        return true;
    }
    let parts = |text: &str| -> Option<(String, String, String)> {
        let at = [" is below ", " is above "].iter().find_map(|side| text.find(side))?;
        let (left, rest) = (text.get(..at)?, text.get(at..)?);
        let (start, value) = left.rsplit_once(' ')?;
        Some((start.to_string(), value.to_string(), rest.to_string()))
    };
    let (Some((start, value, rest)), Some((start_again, value_again, rest_again))) = (parts(before), parts(again))
    else {
        return false;
    };
    let threshold = rest.split_whitespace().nth(2).and_then(|text| text.parse::<f64>().ok());
    let (Ok(read), Ok(read_again), Some(threshold)) = (value.parse::<f64>(), value_again.parse::<f64>(), threshold)
    else {
        return false;
    };
    // What is seen of either side: of the absolute value where the reason begins so.
    let size = if start.starts_with("absolute ") { read.abs() } else { read };
    let reads_as_kept = if rest.starts_with(" is below ") { size >= threshold } else { size <= threshold };
    let unit = 10f64.powi(-(value.split_once('.').map_or(0, |(_, digits)| digits.len()) as i32));
    (start, rest) == (start_again, rest_again) && reads_as_kept && (read - read_again).abs() <= unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Measured;
    use crate::store::record::tests::sample;

    #[test]
    fn whatever_differs_is_named_and_what_a_record_lacks_is_not() {
        let record = sample(4);
        assert!(differences(&record, &record.to_outcome()).is_empty());
        type Change = fn(&mut Outcome);
        let changes: [(&str, Change); 12] = [
            ("reason", |o| o.reason.push('x')),
            ("steps", |o| o.steps += 1),
            ("checksum of the final parameters", |o| o.checksums.final_parameters.clear()),
            ("crossings", |o| o.crossings[0].step += 1),
            ("selected checkpoint", |o| o.selection = None),
            ("metric effective_rank_img", |o| {
                drop(o.metrics.insert("effective_rank_img".into(), Measured::Value(2.5)))
            }),
            ("spectra", |o| o.spectra.get_mut("txt").unwrap()[1] += 1e-9),
            ("steps of the curves", |o| o.curves.step[1] += 1),
            ("curve loss", |o| o.curves.series.get_mut("loss").unwrap()[0] = None),
            ("corrupted_share_train", |o| {
                o.realised.remove("corrupted_share_train");
            }),
            ("conditions", |o| o.conditions.clear()),
            ("checksum of the test embeddings under noisy", |o| o.conditions[0].test_embeddings.clear()),
        ];
        for (what, change) in changes {
            let mut again = record.to_outcome();
            change(&mut again);
            assert_eq!(differences(&record, &again), [what]);
        }
        let mut zero = record.clone();
        zero.metrics.insert("alignment".into(), crate::store::RecordedMetric::Value(0.0));
        let mut again = zero.to_outcome();
        again.metrics.insert("alignment".into(), Measured::Value(-0.0));
        assert_eq!(differences(&zero, &again), ["metric alignment"], "zeros of both signs are two values");
        let mut older = record.clone();
        older.metrics.remove("alignment");
        older.curves.series.remove("loss");
        older.crossings.clear();
        assert!(differences(&older, &record.to_outcome()).is_empty());
    }

    #[test]
    fn a_reason_that_older_versions_rounded_too_far_is_the_same_with_more_digits_and_no_other_is() {
        let reason = |value: &str| format!("validation effective_rank_img {value} is below 1.928 at step 20");
        assert!(is_same_reason(&reason("1.928"), &reason("1.9276")));
        assert!(!is_same_reason(&reason("1.928"), &reason("1.9264")), "another value");
        assert!(!is_same_reason(&reason("1.927"), &reason("1.9276")), "one that said what it is");
        assert!(!is_same_reason(&reason("1.928"), &reason("1.9276").replace("20", "21")));
        assert!(!is_same_reason(&reason("1.928"), &reason("1.9276").replace("_img", "_txt")));
        assert!(!is_same_reason("", &reason("1.9276")) && !is_same_reason(&reason("1.928"), ""));
        let gap = "absolute validation symmetry_gap_at_1 -0.5000 is above 0.5 at step 4";
        assert!(is_same_reason(gap, &gap.replace("-0.5000", "-0.50001")));
        assert!(!is_same_reason(gap, &gap.replace("-0.5000", "0.50001")));
    }
}
