//! Laws that the definitions promise, on random embeddings.

use proptest::prelude::*;

use super::fixture::{TEMPERATURE, labelled, raw_pairs, similarities, variables};
use super::{Context, Evaluation, METRICS, Panel, measure};
use crate::numerics::linalg::dot;
use crate::numerics::stream::Streams;

/// The same operations in another order.
const REORDERED: f64 = 1e-11;

/// Embeddings that changed by a rounding to `f32` (6e-8 per coordinate), seen through a temperature of 0.07 (14 times)
/// and through the smallest variances and eigenvalues of some 30 samples.
const ROUNDED: f64 = 2e-5;

/// Similarities of one query nearer than this can change places when the embeddings are rounded differently.
const NEAR_TIE: f64 = 1e-6;

fn evaluation(img: &[f32], txt: &[f32], d: usize) -> Evaluation {
    labelled(Evaluation::new(img, txt, d, TEMPERATURE).unwrap(), 3)
}

/// Permuted samples have another null, which is only as good as its permutations.
fn is_of_a_null(name: &str) -> bool {
    // A span is of excesses, each above a null of its own.
    ["_excess", "_null_sd", "_bin_span"].iter().any(|end| name.ends_with(end))
}

fn has_near_ties(evaluation: &Evaluation) -> bool {
    let has = |mut similarities: Vec<f64>| {
        similarities.sort_by(f64::total_cmp);
        similarities.windows(2).any(|pair| pair[1] - pair[0] < NEAR_TIE)
    };
    similarities(evaluation).into_iter().flatten().any(has)
}

/// Every metric that `except` does not name, nor its family, is the same to `tolerance`, or missing in both.
fn assert_same(a: &Evaluation, b: &Evaluation, tolerance: f64, except: &[&str]) -> Result<(), TestCaseError> {
    for family in METRICS.iter().filter(|family| !except.contains(&family.name)) {
        let both = family.measure(a).into_iter().zip(family.measure(b));
        for ((name, a), (_, b)) in both.filter(|((name, _), _)| !except.contains(name) && !is_of_a_null(name)) {
            match (a, b) {
                (Ok(a), Ok(b)) => {
                    prop_assert!((a - b).abs() <= tolerance * a.abs().max(1.0), "{name}: {a} became {b}")
                }
                (a, b) => prop_assert_eq!(a.is_ok(), b.is_ok(), "{}", name),
            }
        }
    }
    Ok(())
}

fn permute(rows: &[f32], d: usize, order: &[usize]) -> Vec<f32> {
    order.iter().flat_map(|&i| rows[i * d..(i + 1) * d].iter().copied()).collect()
}

/// Rows of a random orthogonal matrix `[d, d]`, by Gram-Schmidt on normal vectors.
fn orthogonal(seed: u64, d: usize) -> Vec<Vec<f64>> {
    let mut stream = Streams::new(seed, "metric.tests.rotation").item(0);
    let mut basis: Vec<Vec<f64>> = vec![];
    while basis.len() < d {
        let mut v: Vec<f64> = (0..d).map(|_| stream.normal()).collect();
        // Twice, because one pass leaves the rounding of what it removed.
        for _ in 0..2 {
            for e in &basis {
                let along = dot(&v, e);
                v.iter_mut().zip(e).for_each(|(x, y)| *x -= along * y);
            }
        }
        let norm = dot(&v, &v).sqrt();
        v.iter_mut().for_each(|x| *x /= norm);
        basis.push(v);
    }
    basis
}

fn rotate(rows: &[f32], d: usize, basis: &[Vec<f64>]) -> Vec<f32> {
    let row = |u: &[f32]| {
        let u: Vec<f64> = u.iter().map(|&x| f64::from(x)).collect();
        basis.iter().map(|e| dot(&u, e) as f32).collect::<Vec<f32>>()
    };
    rows.chunks_exact(d).flat_map(row).collect()
}

/// Probes that need more samples than the laws below have time for.
#[test]
fn information_does_not_depend_on_the_coordinate_system() {
    let (n, d) = (260, 5);
    for seed in 0..5 {
        // A spectrum with gaps: components of equal variance have no direction to compare.
        let (mut img, mut txt) = raw_pairs(seed, n, d, 0.3);
        for rows in [&mut img, &mut txt] {
            rows.iter_mut().enumerate().for_each(|(at, x)| *x *= 1.0 + (at % d) as f32);
        }
        let basis = orthogonal(seed, d);
        let (a, b) = (evaluation(&img, &txt, d), evaluation(&rotate(&img, d, &basis), &rotate(&txt, d, &basis), d));
        let family = METRICS.iter().find(|family| family.name == "information").unwrap();
        for ((name, a), (_, b)) in family.measure(&a).into_iter().zip(family.measure(&b)) {
            let (a, b) = (a.unwrap(), b.unwrap());
            assert!((a - b).abs() < REORDERED, "{name}, seed {seed}: {a} became {b}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_the_samples_does_not_matter(seed: u64, n in 2usize..40, d in 1usize..9, noise in 0.05..2.0f64) {
        let (img, txt) = raw_pairs(seed, n, d, noise);
        let order = Streams::new(seed, "metric.tests.order").item(0).permutation(n);
        let a = evaluation(&img, &txt, d);
        // In one dimension all cosines are 1 or -1: ties, which the order of the candidates breaks.
        let except: &[&str] = if d == 1 { &["hubness", "neighbours"] } else { &[] };
        let b = evaluation(&permute(&img, d, &order), &permute(&txt, d, &order), d);
        let mut variables = variables(3, n);
        for variable in &mut variables {
            variable.values = order.iter().map(|&i| variable.values[i]).collect();
        }
        let b = b.with_context(Context { variables, ..a.context().clone() }).unwrap();
        assert_same(&a, &b, REORDERED, except)?;
    }

    #[test]
    fn a_common_rotation_changes_only_coordinate_variances(
        seed: u64, n in 4usize..30, d in 2usize..9, noise in 0.05..1.0f64
    ) {
        let (img, txt) = raw_pairs(seed, n, d, noise);
        let basis = orthogonal(seed, d);
        let a = evaluation(&img, &txt, d);
        prop_assume!(!has_near_ties(&a));
        let b = evaluation(&rotate(&img, d, &basis), &rotate(&txt, d, &basis), d);
        assert_same(&a, &b, ROUNDED, &["variance"])?;
    }

    #[test]
    fn the_scale_of_raw_embeddings_changes_only_their_norms(
        seed: u64, n in 4usize..30, d in 2usize..9, noise in 0.05..1.0f64, scale in 0.05..50.0f32
    ) {
        let (img, txt) = raw_pairs(seed, n, d, noise);
        let a = evaluation(&img, &txt, d);
        prop_assume!(!has_near_ties(&a));
        let scaled: Vec<f32> = txt.iter().map(|x| x * scale).collect();
        assert_same(&a, &evaluation(&img, &scaled, d), ROUNDED, &["norm", "norm_divergence"])?;
    }

    #[test]
    fn exchanging_the_modalities_exchanges_the_names(seed: u64, n in 2usize..40, d in 2usize..9, noise in 0.05..2.0f64) {
        let (img, txt) = raw_pairs(seed, n, d, noise);
        let here: Vec<_> = measure(&evaluation(&img, &txt, d), Panel::Full);
        let there: std::collections::BTreeMap<_, _> = measure(&evaluation(&txt, &img, d), Panel::Full).into_iter().collect();
        for (name, a) in here {
            // Permuting the other partner is another permutation; sensitivities are given.
            if (name.starts_with("cca") && is_of_a_null(name)) || name.starts_with("sensitivity") {
                continue;
            }
            let signed = ["symmetry_gap_at_1", "symmetry_gap_at_5", "rank_divergence"].contains(&name)
                || (name.starts_with("neighbour") && name.ends_with("_gap"));
            let ends = [("_img", "_txt"), ("_txt", "_img"), ("_i2t", "_t2i"), ("_t2i", "_i2t")];
            let mirrored = ends.iter().find(|(end, _)| name.contains(end)).map(|(end, other)| name.replace(end, other));
            let b = &there[mirrored.as_deref().unwrap_or(name)];
            match (a, b) {
                (Ok(a), Ok(b)) => {
                    let expected = if signed { -b } else { *b };
                    prop_assert!((a - expected).abs() <= REORDERED * a.abs().max(1.0), "{name}: {a} and {b}");
                }
                (a, b) => prop_assert_eq!(a.is_ok(), b.is_ok(), "{}", name),
            }
        }
    }
}
