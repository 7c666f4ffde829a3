//! What a record may say: whether it can be of the cell that it names, and whether what it says can have been measured.
//!
//! A hash says that a record is what somebody wrote, not that it was ever trained. So a record is held to its ids, which
//! follow from its configuration, and to what can come of that configuration: steps, cadence of curves, ranges of metrics,
//! counts of eigenvalues. Whether the numbers are those of that cell only training it again can tell.
//!
//! [`fault`] is for every record that is read: what older versions did not know yet may be absent. [`lack`] is for
//! records of neighbours, beside it: a cell that is taken over has all that this version would have recorded.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use serde_json::Value;

use super::error::StoreError;
use super::record::{CellRecord, RecordedMetric, RecordedSelection, RecordedStatus};
use crate::aligner::balance::WEIGHT_NAMES;
use crate::aligner::regulariser::REGULARISERS;
use crate::aligner::step::GRADIENT_NORM_NAMES;
use crate::aligner::train::LOSS_NAMES;
use crate::engine::{Act, LIMITS, panel};
use crate::metric::{self, Descriptor, hold};
use crate::numerics::printable::is_hidden;
use crate::numerics::shown::exact;
use crate::spec::config::{Config, Select, walk};
use crate::spec::{CLEAN, Cell};

/// What the names of validation series begin with.
const VALIDATION: &str = "validation_";
/// Hex digits of a checksum.
const DIGITS: usize = 64;

/// The registry of metrics by name: a record asks for each of some hundred and fifty.
static METRICS_BY_NAME: LazyLock<HashMap<&'static str, &'static Descriptor>> =
    LazyLock::new(|| metric::descriptors().map(|descriptor| (descriptor.name, descriptor)).collect());

type Verdict = Result<(), String>;

/// Why a record cannot be what it says that it is; none where it can.
pub(crate) fn fault(record: &CellRecord) -> Option<String> {
    judge(record).err()
}

/// What a record lacks that this version would have recorded of its cell; none where nothing is missing.
pub(crate) fn lack(record: &CellRecord) -> Option<String> {
    complete(record).err()
}

fn judge(record: &CellRecord) -> Verdict {
    match record.check() {
        Err(StoreError::BadRecord { reason, .. }) => return Err(reason),
        Err(error) => return Err(error.to_string()),
        Ok(()) => {}
    }
    let config = configuration(record)?;
    ids(record, &config)?;
    ending(record, &config)?;
    making(record)?;
    metrics(record, &config)?;
    spectra(record, &config)?;
    curves(record, &config)?;
    checksums(record)?;
    crossings(record, &config)?;
    record.selection.as_ref().map_or(Ok(()), |selection| selected(selection, record, &config))
}

/// The configuration, each of whose written values is the one that this version reads.
fn configuration(record: &CellRecord) -> Result<Config, String> {
    let config: Config = serde_json::from_value(record.config.clone())
        .map_err(|e| format!("its configuration is none that this version knows: {e}"))?;
    let (read, mut other) = (config.scalars(), None);
    walk(&record.config, &mut |path, value| {
        if (read.get(path) != Some(value) || is_negative_zero(value)) && other.is_none() {
            other = Some(format!("its configuration has `{path}` as {}", shortened(value)));
        }
    });
    for condition in &record.conditions {
        if let Some((path, value)) = condition.changes.iter().find(|(_, value)| is_negative_zero(value)) {
            return Err(format!("its condition {} has `{path}` as {}", condition.name, shortened(value)));
        }
    }
    other.map_or(Ok(config), Err)
}

/// A zero that no spec has, whatever is written there: it equals the other in ids and in comparisons, not in tables.
fn is_negative_zero(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number == 0.0 && number.is_sign_negative())
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(40).collect()
}

fn ids(record: &CellRecord, config: &Config) -> Verdict {
    let train_id = config.train_id();
    if record.train_id != train_id {
        return Err(format!("its training is recorded as {}, and its configuration's is {train_id}", record.train_id));
    }
    let conditions = record.conditions();
    if conditions.windows(2).any(|pair| pair[0].name >= pair[1].name) {
        return Err("its conditions are not in the order of their names".to_string());
    }
    if let Some(condition) = conditions.iter().find(|c| c.name == CLEAN || c.changes.is_empty()) {
        return Err(format!("`{}` is no condition", condition.name));
    }
    let cell = Cell::new(config.clone(), conditions);
    if cell.id != record.cell_id {
        return Err(format!("its configuration and conditions are those of cell {}", cell.id));
    }
    Ok(())
}

fn ending(record: &CellRecord, config: &Config) -> Verdict {
    let (status, steps, all) = (record.status.name(), record.steps, config.train.steps);
    if steps > all {
        return Err(format!("it took {steps} steps of {all}"));
    }
    if record.status == RecordedStatus::Ok && steps != all {
        return Err(format!("it is {status} after {steps} steps of {all}"));
    }
    if record.status != RecordedStatus::Ok && record.reason.is_empty() {
        return Err(format!("it is {status} without a reason"));
    }
    if record.wall_s < 0.0 {
        return Err(format!("it took {} s", exact(record.wall_s)));
    }
    Ok(())
}

/// Longest text that says what made a record, bytes: a program, a commit and a processor have about eighty.
const LONGEST_MAKER: usize = 400;

/// Longest time, bytes.
const LONGEST_TIME: usize = 40;

/// That what says when and by what a record was made can be shown.
fn making(record: &CellRecord) -> Verdict {
    let made_by = &record.made_by;
    if made_by.len() > LONGEST_MAKER || made_by.contains(|c| is_hidden(c) || c == '\n') {
        return Err(format!("what it was made by is {}, no line of text", shortened(&made_by.as_str().into())));
    }
    let time = &record.finished_utc;
    if time.len() > LONGEST_TIME || time.parse::<jiff::Timestamp>().is_err() {
        return Err(format!("the time when it was finished is {}, none of RFC 3339", shortened(&time.as_str().into())));
    }
    Ok(())
}

fn metrics(record: &CellRecord, config: &Config) -> Verdict {
    let conditions = record.conditions.iter().map(|c| (format!(" under {}", c.name), &c.metrics));
    for (whence, metrics) in std::iter::once((String::new(), &record.metrics)).chain(conditions) {
        for (name, metric) in metrics {
            match metric {
                RecordedMetric::Missing(reason) if reason.is_empty() => {
                    return Err(format!("its {name}{whence} is missing without a reason"));
                }
                RecordedMetric::Missing(_) => {}
                RecordedMetric::Value(_) if nothing_is_measured(record) => {
                    return Err(format!("it {}, and has a value of {name}{whence}", record.status.name()));
                }
                RecordedMetric::Value(value) => in_range(name, *value, config).map_err(|why| why + &whence)?,
            }
        }
    }
    for (name, value) in &record.realised {
        // All of them are shares of samples; what another version names otherwise is left to it.
        let share = name.contains("share") || name.starts_with("confounder_");
        if share && !(0.0..=1.0).contains(value) {
            return Err(format!("its {name} is {value}, no share from 0 to 1"));
        }
    }
    Ok(())
}

/// The last step at which a cell can have been looked at. That it diverged is noticed some steps after it has, and until
/// then it is looked at like any other.
fn last_look(record: &CellRecord, config: &Config) -> u64 {
    if record.status == RecordedStatus::Diverged { config.train.steps } else { record.steps }
}

/// Whether a cell ended in a way after which there is nothing to measure.
fn nothing_is_measured(record: &CellRecord) -> bool {
    matches!(record.status, RecordedStatus::Failed | RecordedStatus::Diverged)
}

/// Holds a value to the range of its metric, and to what the sizes of the cell allow. Names of other versions have none.
fn in_range(name: &str, value: f64, config: &Config) -> Verdict {
    let Some(descriptor) = METRICS_BY_NAME.get(name) else { return Ok(()) };
    let most = match descriptor.unit {
        "dimensions" => config.model.embedding as f64,
        "rank" => config.world.n_test.max(config.world.n_validation) as f64,
        _ => f64::INFINITY,
    };
    let (low, high) = (descriptor.range.0.max(-most), descriptor.range.1.min(most));
    match hold(value, (low, high)) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("its {name} is {value}, and lies between {low} and {high}")),
    }
}

/// How far an eigenvalue may be below 0, or above the one before it, as a share of the largest: rounding of the solver.
const EIGENVALUE_ROUNDING: f64 = 1e-9;

fn spectra(record: &CellRecord, config: &Config) -> Verdict {
    for (modality, spectrum) in &record.spectra {
        if !["img", "txt"].contains(&modality.as_str()) {
            return Err(format!("it has a spectrum of `{modality}`"));
        }
        if spectrum.len() as u64 != config.model.embedding {
            let (found, wanted) = (spectrum.len(), config.model.embedding);
            return Err(format!("its spectrum of {modality} has {found} eigenvalues for {wanted} dimensions"));
        }
        let slack = EIGENVALUE_ROUNDING * spectrum.first().copied().unwrap_or(0.0).abs();
        let ascends = spectrum.windows(2).any(|pair| pair[1] > pair[0] + slack);
        if ascends || spectrum.iter().any(|value| *value < -slack) {
            return Err(format!("its spectrum of {modality} is not one of descending variances"));
        }
    }
    if nothing_is_measured(record) && !record.spectra.is_empty() {
        return Err(format!("it {}, and has spectra", record.status.name()));
    }
    Ok(())
}

fn curves(record: &CellRecord, config: &Config) -> Verdict {
    let cadence = &config.curves;
    let last = config.train.steps;
    let at = |every: u64, step: u64| every > 0 && step.is_multiple_of(every);
    let looked = |every: u64, step: u64| at(every, step) || every > 0 && step == last;
    let due = |step: u64| {
        at(cadence.every, step) || looked(cadence.validate_every, step) || looked(cadence.structure_every, step)
    };
    if let Some(step) = record.curves.step.iter().find(|step| !due(**step) || **step > last_look(record, config)) {
        return Err(format!("its curves have a point at step {step}, where none is recorded"));
    }
    let known = [&LOSS_NAMES[..], &WEIGHT_NAMES, &GRADIENT_NORM_NAMES].concat();
    for (name, values) in &record.curves.series {
        let Some(metric) = name.strip_prefix(VALIDATION) else {
            if !known.contains(&name.as_str()) && !REGULARISERS.iter().any(|r| r.series == name) {
                return Err(format!("no time series is called `{name}`"));
            }
            continue;
        };
        if !METRICS_BY_NAME.contains_key(metric) {
            return Err(format!("no time series is called `{name}`"));
        }
        values
            .iter()
            .flatten()
            .try_for_each(|value| in_range(metric, *value, config))
            .map_err(|why| format!("on the validation split {why}"))?;
    }
    Ok(())
}

fn checksums(record: &CellRecord) -> Verdict {
    let own = &record.checksums;
    let named = [
        ("first batch's embeddings", &own.first_batch_embeddings),
        ("final parameters", &own.final_parameters),
        ("test embeddings", &own.test_embeddings),
    ];
    let conditions = record.conditions.iter().map(|c| ("test embeddings under a condition", &c.test_embeddings));
    let selected = record.selection.iter().map(|s| ("selected parameters", &s.parameters));
    for (what, checksum) in named.into_iter().chain(conditions).chain(selected) {
        if !checksum.is_empty() && !is_checksum(checksum) {
            return Err(format!("the checksum of its {what} is not 64 hex digits"));
        }
    }
    Ok(())
}

fn is_checksum(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn crossings(record: &CellRecord, config: &Config) -> Verdict {
    for crossing in &record.crossings {
        let name = &crossing.limit;
        let limit = LIMITS.iter().find(|limit| limit.path == name && limit.act != Act::Refuse);
        let limit = limit.ok_or_else(|| format!("`{name}` is no limit that can be crossed"))?;
        if limit.threshold(config) != Some(crossing.threshold) {
            return Err(format!("its {name} is crossed at another threshold than its configuration's"));
        }
        if !limit.indicator.names.contains(&crossing.name.as_str()) {
            return Err(format!("`{}` is not what {name} looks at", crossing.name));
        }
        if let Some(value) = crossing.value {
            in_range(&crossing.name, value, config)?;
        }
        let (step, checks) = (crossing.step, crossing.checks);
        let every = config.stop.every.max(1);
        let is_check = step > 0 && (step.is_multiple_of(every) || step == config.train.steps);
        let last = last_look(record, config);
        if !is_check || step > last || checks == 0 || checks > last / every + 1 {
            return Err(format!("its {name} is crossed at step {step}, {checks} times, which no check saw"));
        }
    }
    if record.crossings.windows(2).any(|pair| pair[0].limit == pair[1].limit) {
        return Err("a limit is crossed twice".to_string());
    }
    Ok(())
}

fn selected(selection: &RecordedSelection, record: &CellRecord, config: &Config) -> Verdict {
    if config.checkpoint.select != Select::Best {
        return Err("it has a selected checkpoint, and its configuration selects none".to_string());
    }
    let every = config.checkpoint.every.max(1);
    let last = last_look(record, config);
    let candidate = |step: u64| step <= last && (step.is_multiple_of(every) || step == config.train.steps);
    let ascends = selection.candidates.windows(2).all(|pair| pair[0].step < pair[1].step);
    if !ascends || selection.candidates.iter().any(|c| !candidate(c.step)) {
        return Err("its checkpoints are not those of its configuration".to_string());
    }
    if selection.step.is_some_and(|step| step > record.steps) {
        return Err(format!("it was measured at a step that it did not take, of {}", record.steps));
    }
    let scores = selection.candidates.iter().map(|c| c.score).chain([selection.score]);
    match scores.flatten().find(|score| !(0.0..=1.0).contains(score)) {
        Some(score) => Err(format!("a checkpoint has a score of {score}, and a mean of retrieval is a share")),
        None => Ok(()),
    }
}

fn complete(record: &CellRecord) -> Verdict {
    let config = configuration(record)?;
    // Ids follow from what is read, defaults and all; a table has what is written.
    let (mut written, all) = (HashSet::new(), config.scalars());
    walk(&record.config, &mut |path, _| {
        written.insert(path.to_string());
    });
    if let Some(path) = all.keys().find(|path| !written.contains(*path)) {
        return Err(format!("its configuration lacks `{path}`"));
    }
    let wanted: Vec<&str> = metric::descriptors_of(panel(&config)).map(|descriptor| descriptor.name).collect();
    let conditions = record.conditions.iter().map(|c| (format!(" under {}", c.name), &c.metrics));
    for (whence, metrics) in std::iter::once((String::new(), &record.metrics)).chain(conditions) {
        if let Some(name) = wanted.iter().find(|name| !metrics.contains_key(**name)) {
            return Err(format!("it has no {name}{whence}"));
        }
        if let Some(name) = metrics.keys().find(|name| !wanted.contains(&name.as_str())) {
            return Err(format!("its panel has no `{name}`{whence}"));
        }
        for (name, metric) in metrics {
            let (RecordedMetric::Value(value), Some(known)) = (metric, METRICS_BY_NAME.get(name.as_str())) else {
                continue;
            };
            // Older versions kept what rounding took past an end.
            if hold(*value, known.range) != Ok(*value) {
                return Err(format!("its {name}{whence} is {value}, which would be an end of its range today"));
            }
        }
    }
    let own = &record.checksums;
    if [&own.first_batch_embeddings, &own.final_parameters, &own.test_embeddings].iter().any(|text| text.is_empty()) {
        return Err("it lacks a checksum".to_string());
    }
    if (config.checkpoint.select == Select::Best) != record.selection.is_some() {
        return Err("it does not say which checkpoint was measured".to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
