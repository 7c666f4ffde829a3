//! Neighbour consistency (M7): do the nearest of the other modality mean the same?

use std::f64::consts::PI;

use super::context::{Scale, Variable};
use super::hubness::NEIGHBOURS;
use super::{Descriptor, Evaluation, Family, Healthy, MetricError, Modality, Panel, Values, null};

/// Fewest samples: lists that reach half of the candidates look alike whatever the model does.
const NEEDS: usize = 2 * NEIGHBOURS + 1;

/// Shape and orientation of a query's ten nearest neighbours in the other modality, its own partner left out, so that
/// this is about meaning and not about retrieval again.
///
/// By chance neighbours share the shape of the query as often as any two samples do, 1 / 4 with four shapes evenly drawn,
/// and differ by pi / 2 in orientation. Constant embeddings have no neighbours: an error. Equally similar candidates are
/// taken lowest index first.
pub(super) const FAMILY: Family = Family {
    name: "neighbours",
    panel: Panel::Fast,
    about: "Of each query's 10 most similar candidates in the other modality, ties by row, its own partner is left out if it is among them; averages are over all that remain, of all queries together. Each sample counts with its own label, see above. Orientations differ by 0 to pi, around the circle. Needs 21 samples; missing where either modality is constant.",
    descriptors: &[
        shape(
            "neighbour_shape_i2t",
            "share of an image's 10 nearest texts, own text aside, of its shape; 1 / 4 by chance",
        ),
        shape(
            "neighbour_shape_t2i",
            "share of a text's 10 nearest images, own image aside, of its shape; 1 / 4 by chance",
        ),
        gap("neighbour_shape_gap", "share", (-1.0, 1.0), "neighbour_shape_i2t - neighbour_shape_t2i"),
        turn(
            "neighbour_orientation_i2t",
            "mean difference in orientation to an image's 10 nearest texts, own text aside",
        ),
        turn(
            "neighbour_orientation_t2i",
            "mean difference in orientation to a text's 10 nearest images, own image aside",
        ),
        gap("neighbour_orientation_gap", "radians", (-PI, PI), "neighbour_orientation_i2t - neighbour_orientation_t2i"),
    ],
    compute,
};

const SOURCE: &str = "Multimodality Under Governance, 1.7.2 and 1.7.5";
const SOURCE_TURN: &str = "Multimodality Under Governance, 1.7.2; circular, pi / 2 by chance";

const fn shape(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "share", range: (0.0, 1.0), healthy: Healthy::Higher, source: SOURCE, summary }
}
const fn turn(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "radians", range: (0.0, PI), healthy: Healthy::Lower, source: SOURCE_TURN, summary }
}
const fn gap(name: &'static str, unit: &'static str, range: (f64, f64), summary: &'static str) -> Descriptor {
    Descriptor { name, unit, range, healthy: Healthy::NearZero, source: SOURCE, summary }
}

fn compute(evaluation: &Evaluation) -> Values {
    let samples = evaluation.samples();
    if samples < NEEDS {
        return Err(MetricError::TooFewSamples { samples, needed: NEEDS });
    }
    evaluation.centred(Modality::Img)?;
    evaluation.centred(Modality::Txt)?;
    let ways = evaluation.comparison()?.ways.each_ref().map(|way| in_order(&way.nearest));
    let mut values = both_ways(shapes(evaluation, &ways));
    values.extend(both_ways(orientations(evaluation, &ways)));
    Ok(values)
}

/// The nearest of each query, `[N, 10]`.
type Lists = [[u32; NEIGHBOURS]];

/// Lists by the index of candidates, so that sums run in a fixed order: all but the first come in none.
fn in_order(nearest: &[u32]) -> Vec<[u32; NEIGHBOURS]> {
    let mut lists = nearest.as_chunks::<NEIGHBOURS>().0.to_vec();
    lists.iter_mut().for_each(|list| list.sort_unstable());
    lists
}

fn both_ways(values: Result<[f64; 2], MetricError>) -> Vec<Result<f64, MetricError>> {
    null::each(values.map(|[i2t, t2i]| [i2t, t2i, i2t - t2i]))
}

fn shapes(evaluation: &Evaluation, ways: &[Vec<[u32; NEIGHBOURS]>; 2]) -> Result<[f64; 2], MetricError> {
    let of = |modality| Ok::<_, MetricError>(&evaluation.groups(modality, "shape")?.of);
    let shapes = [of(Modality::Img)?, of(Modality::Txt)?];
    let same = |way: usize| {
        let (of, among) = (shapes[way], shapes[1 - way]);
        mean_over(&ways[way], |query, near| if of[query] == among[near] { 1.0 } else { 0.0 })
    };
    Ok([same(0), same(1)])
}

fn orientations(evaluation: &Evaluation, ways: &[Vec<[u32; NEIGHBOURS]>; 2]) -> Result<[f64; 2], MetricError> {
    let turns = [turns(evaluation, Modality::Img)?, turns(evaluation, Modality::Txt)?];
    let apart = |way: usize| {
        let (of, among) = (&turns[way], &turns[1 - way]);
        mean_over(&ways[way], |query, near| {
            let apart = (of[query] - among[near]).abs();
            2.0 * PI * apart.min(1.0 - apart)
        })
    };
    Ok([apart(0), apart(1)])
}

/// Orientations in turns of their period, so that half a period is always pi.
fn turns(evaluation: &Evaluation, modality: Modality) -> Result<Vec<f64>, MetricError> {
    let Variable { name, values, scale } = evaluation.variable(modality, "orientation")?;
    let Scale::Circle { period, .. } = *scale else {
        return Err(MetricError::NotCircular { variable: name.clone() });
    };
    if values.iter().all(|value| *value == values[0]) {
        return Err(MetricError::OneGroup { variable: name.clone() });
    }
    Ok(values.iter().map(|value| (value / period).rem_euclid(1.0)).collect())
}

/// The mean over all queries and their neighbours without the own partner.
fn mean_over(lists: &Lists, of: impl Fn(usize, usize) -> f64) -> f64 {
    let (mut sum, mut count) = (0.0, 0u32);
    for (query, list) in lists.iter().enumerate() {
        for near in list.iter().map(|near| *near as usize).filter(|near| *near != query) {
            sum += of(query, near);
            count += 1;
        }
    }
    sum / f64::from(count)
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;
    use crate::metric::Context;
    use crate::metric::fixture::{noisy_pairs, similarities, value_of};

    fn context(shapes: Vec<f64>, orientations: Vec<f64>, period: f64) -> Context {
        let variables = vec![
            Variable { name: "shape".into(), values: shapes, scale: Scale::Kinds },
            Variable { name: "orientation".into(), values: orientations, scale: Scale::Circle { period, bins: 16 } },
        ];
        Context { variables, ..Context::default() }
    }

    #[test]
    fn a_ring_hand_worked() {
        // 40 directions around a circle: the ten nearest others of each are the five on either side, 9 degrees apart, but
        // the list of ten holds the own partner and so the four on either side and one of the fifths. Orientation is the
        // direction itself: (2 (1 + 2 + 3 + 4) + 5) / 9 steps of 9 degrees.
        let n = 40;
        let at = |i: usize| TAU * i as f64 / n as f64;
        let ring: Vec<f32> = (0..n).flat_map(|i| [at(i).cos() as f32, at(i).sin() as f32]).collect();
        let shapes = (0..n).map(|i| (i / 20) as f64).collect();
        let evaluation = Evaluation::new(&ring, &ring, 2, 1.0).unwrap();
        let evaluation = evaluation.with_context(context(shapes, (0..n).map(at).collect(), TAU)).unwrap();
        let turn = value_of(&evaluation, "neighbour_orientation_i2t").unwrap();
        assert!((turn - 25.0 / 9.0 * 9f64.to_radians()).abs() < 1e-12, "{turn}");
        // Across each of two borders lie o pairs at o steps, both ways: 40 of 360 up to four steps, 20 more at five, of
        // which each list holds one or the other.
        let share = value_of(&evaluation, "neighbour_shape_i2t").unwrap();
        assert!((1.0 - 60.0 / 360.0..=1.0 - 40.0 / 360.0).contains(&share), "{share}");
    }

    #[test]
    fn equal_to_the_definition() {
        let (n, d) = (57, 5);
        let evaluation = noisy_pairs(3, n, d, 0.5);
        let shapes: Vec<f64> = (0..n).map(|i| (i * i % 7 % 4) as f64).collect();
        let turns: Vec<f64> = (0..n).map(|i| (i * 37 % 100) as f64 / 100.0 * PI).collect();
        let evaluation = evaluation.with_context(context(shapes.clone(), turns.clone(), PI)).unwrap();
        for (rows, way) in similarities(&evaluation).iter().zip(["i2t", "t2i"]) {
            let (mut same, mut apart, mut count) = (0.0, 0.0, 0.0);
            for (query, row) in rows.iter().enumerate() {
                let mut order: Vec<usize> = (0..n).collect();
                order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
                for &near in order[..10].iter().filter(|near| **near != query) {
                    same += f64::from(u8::from(shapes[query] == shapes[near]));
                    let difference = (turns[query] - turns[near]).abs() * 2.0;
                    apart += difference.min(TAU - difference);
                    count += 1.0;
                }
            }
            let close = |name: &str, expected: f64| {
                let got = value_of(&evaluation, &format!("{name}_{way}")).unwrap();
                assert!((got - expected).abs() < 1e-12, "{name}_{way}: {got} {expected}");
            };
            close("neighbour_shape", same / count);
            close("neighbour_orientation", apart / count);
        }
    }

    #[test]
    fn what_tells_nothing_has_a_reason() {
        let n = 30;
        let with = |evaluation: Evaluation, shape: usize| {
            let shapes = (0..n).map(|i| (i % shape) as f64).collect();
            evaluation.with_context(context(shapes, vec![1.0; n], TAU)).unwrap()
        };
        let one = with(noisy_pairs(1, n, 4, 0.5), 1);
        for name in ["neighbour_shape_i2t", "neighbour_shape_gap", "neighbour_orientation_t2i"] {
            assert!(matches!(value_of(&one, name), Err(MetricError::OneGroup { .. })), "{name}");
        }
        let constant = [0.6, 0.8].repeat(n);
        let collapsed = with(Evaluation::new(&constant, &constant, 2, 1.0).unwrap(), 2);
        assert!(matches!(value_of(&collapsed, "neighbour_shape_i2t"), Err(MetricError::NoVariance { .. })));
        let few = value_of(&noisy_pairs(1, 20, 4, 0.5), "neighbour_shape_i2t");
        assert_eq!(few, Err(MetricError::TooFewSamples { samples: 20, needed: 21 }));
        let unknown = value_of(&noisy_pairs(1, 30, 4, 0.5), "neighbour_shape_i2t").unwrap_err();
        insta::assert_snapshot!(unknown, @"no labels of shape were given");
    }
}
