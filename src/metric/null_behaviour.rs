//! What probes say where there is nothing to find, and where something was planted.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use super::fixture::{TEMPERATURE, labelled, raw_pairs, variables};
use super::null::INTERVAL_99;
use super::{Context, Evaluation, METRICS, Scale, Variable};
use crate::numerics::stream::Streams;

/// Samples: more than the 108 that information needs.
const N: usize = 112;
const D: usize = 4;
const SEEDS: u64 = 100;

/// Seeds of 100 whose excess has to lie within its interval, which holds 99% of a normal null.
const WITHIN: u64 = 95;

/// Every excess over a null, in standard deviations of the null; without those that have none.
fn deviations(evaluation: &Evaluation) -> BTreeMap<&'static str, f64> {
    let families = METRICS.iter().filter(|f| ["separability_null", "information", "correlation"].contains(&f.name));
    let values: BTreeMap<&str, _> = families.flat_map(|family| family.measure(evaluation)).collect();
    let deviation = |(name, value): (&&'static str, &Result<f64, _>)| {
        let sd = values.get(format!("{}_null_sd", name.strip_suffix("_excess")?).as_str())?;
        Some((*name, value.as_ref().ok()? / sd.as_ref().ok()?))
    };
    values.iter().filter_map(deviation).collect()
}

/// Every probe of 100 evaluations is within its interval in at least 95.
fn assert_nothing_found(evaluation: impl Fn(u64) -> Evaluation) {
    let mut within = BTreeMap::<&str, u64>::new();
    for seed in 0..SEEDS {
        for (name, deviation) in deviations(&evaluation(seed)) {
            *within.entry(name).or_default() += u64::from(deviation.abs() <= INTERVAL_99);
        }
    }
    assert_eq!(within.len(), 10 + 12 + 2);
    assert!(within.values().all(|seeds| *seeds >= WITHIN), "{within:?}");
    // Intervals that nothing could leave would pass as well: 99 of 100 lie within, less what the skew of nulls costs.
    let share = within.values().sum::<u64>() as f64 / (within.len() as u64 * SEEDS) as f64;
    assert!((0.975..0.998).contains(&share), "{share}");
}

/// Embeddings of both modalities that hold one variable in their first two dimensions, and noise in all.
fn planted(seed: u64, variable: &Variable) -> [Vec<f32>; 2] {
    const STRENGTH: f64 = 3.0;
    let turn = |value: f64| match variable.scale {
        Scale::Kinds => 1.5 * value,
        // Half a circle, so that the ends stay apart.
        Scale::Line { .. } => PI * value,
        Scale::Circle { .. } => value,
    };
    let side = |item| {
        let mut stream = Streams::new(seed, "metric.tests.planted").item(item);
        let row = |value: &f64| {
            let known = [STRENGTH * turn(*value).cos(), STRENGTH * turn(*value).sin(), 0.0, 0.0];
            known.map(|x| (x + stream.normal()) as f32)
        };
        variable.values.iter().flat_map(row).collect()
    };
    [0, 1].map(side)
}

#[test]
fn random_embeddings_say_nothing() {
    assert_nothing_found(|seed| {
        let [img, txt] = [0, 1].map(|at| raw_pairs(2 * seed + at, N, D, 0.0).0);
        labelled(Evaluation::new(&img, &txt, D, TEMPERATURE).unwrap(), seed)
    });
}

#[test]
fn shuffled_pairs_and_labels_of_structured_embeddings_say_nothing() {
    assert_nothing_found(|seed| {
        let variables = variables(seed, N);
        let [img, txt] = planted(seed, &variables[seed as usize % variables.len()]);
        let order = Streams::new(seed, "metric.tests.shuffle").item(0).permutation(N);
        let txt: Vec<f32> = order.iter().flat_map(|i| txt[i * D..(i + 1) * D].to_vec()).collect();
        // Labels of other samples.
        labelled(Evaluation::new(&img, &txt, D, TEMPERATURE).unwrap(), SEEDS + seed)
    });
}

#[test]
fn what_was_planted_is_found_and_nothing_else() {
    let mut elsewhere = vec![];
    for seed in 0..20 {
        let variables = variables(seed, N);
        for variable in &variables {
            let [img, txt] = planted(seed, variable);
            let context = Context { seed, variables: variables.clone(), ..Context::default() };
            let evaluation = Evaluation::new(&img, &txt, D, TEMPERATURE).unwrap().with_context(context).unwrap();
            for (name, deviation) in deviations(&evaluation) {
                if name.contains(&variable.name) || name.starts_with("cca") {
                    assert!(deviation > 2.0 * INTERVAL_99, "{name} of {}, seed {seed}: {deviation}", variable.name);
                } else {
                    elsewhere.push(deviation);
                }
            }
        }
    }
    // The labels of other variables are independent of the planted one.
    let within = elsewhere.iter().filter(|deviation| deviation.abs() <= INTERVAL_99).count();
    assert!(within as f64 >= 0.975 * elsewhere.len() as f64, "{within} of {}", elsewhere.len());
}
