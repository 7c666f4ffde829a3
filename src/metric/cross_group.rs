//! Cross-group evaluation (M12): is a partner found among those of its own confounder group, and among all others?

use pulp::{Arch, Simd, WithSimd};

use super::context::{CONFOUNDER, Groups};
use super::{Descriptor, Evaluation, Family, Healthy, MetricError, Modality, Panel, Values};
use crate::numerics::linalg::dot;
use crate::numerics::similarity::{BLOCK, Candidates, Queries, lanes, similarities};

/// Other candidates besides the own partner: the same number within and across groups, and for every run, so that all
/// are comparable. By chance the partner is found in 1 of 8 cases.
const OTHERS: usize = 7;

/// Retrieval at 1 among the own partner and seven others, drawn from the partner's confounder group or from all other
/// groups: the expected value over all such draws, which has a closed form.
///
/// Groups are those of the candidates, and the partner's is the group in question: it is the query's too, unless wrong
/// pairs or a randomised confounder part the two. Within a group a label tells nobody apart. A model that leans on it does
/// well across groups and worse within: the gap is what the label is worth to it. An ID codebook tells samples apart
/// beyond its labels, within groups as well: there the gap only sees what is coarser than an octant. Ties count
/// against. A group with fewer than eight samples, or with fewer than seven outside it, is an error.
pub(super) const FAMILY: Family = Family {
    name: "cross_group",
    panel: Panel::Full,
    about: "Candidates are grouped by the confounder label that each of them carries. The group of a query is that of its own partner, which is not the query's own label where pairs are wrong or the confounder is randomised. Of the n other candidates in that group, b are at least as similar to the query as its partner. The query counts (n - b) (n - b - 1) ... (n - b - 6) / (n (n - 1) ... (n - 6)), and 0 where n - b < 7. That is the probability that none of the b is among 7 drawn without replacement. Within: the mean over queries. Across: the same with the candidates outside of that group for n and b. Ties count against, so that equal embeddings score 0 and not 1 / 8. Missing where a group has fewer than 8 samples, where either modality is constant, and for a confounder that differs within its groups, as an ID codebook does.",
    descriptors: &[
        share(
            "retrieval_within_group_i2t",
            "own text first among 7 other texts of its confounder group; 1 / 8 by chance",
        ),
        share("retrieval_across_group_i2t", "own text first among 7 texts of other confounder groups; 1 / 8 by chance"),
        gap("cross_group_gap_i2t", "retrieval_across_group_i2t - retrieval_within_group_i2t"),
        share(
            "retrieval_within_group_t2i",
            "own image first among 7 other images of its confounder group; 1 / 8 by chance",
        ),
        share(
            "retrieval_across_group_t2i",
            "own image first among 7 images of other confounder groups; 1 / 8 by chance",
        ),
        gap("cross_group_gap_t2i", "retrieval_across_group_t2i - retrieval_within_group_t2i"),
    ],
    compute,
};

const SOURCE: &str = "Multimodality Under Governance, 2.5.3 (cross-group evaluation), equal numbers of candidates";

const fn share(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "share", range: (0.0, 1.0), healthy: Healthy::Higher, source: SOURCE, summary }
}
const fn gap(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "share", range: (-1.0, 1.0), healthy: Healthy::NearZero, source: SOURCE, summary }
}

fn compute(evaluation: &Evaluation) -> Values {
    let groups = [evaluation.groups(Modality::Img, CONFOUNDER)?, evaluation.groups(Modality::Txt, CONFOUNDER)?];
    if evaluation.context().partial_groups {
        return Err(MetricError::PartialGroups { variable: CONFOUNDER.to_string() });
    }
    let (samples, needed) = (groups[0].smallest().min(groups[1].smallest()), OTHERS + 1);
    if samples < needed {
        return Err(MetricError::SmallGroup { variable: CONFOUNDER.to_string(), samples, needed });
    }
    evaluation.centred(Modality::Img)?;
    evaluation.centred(Modality::Txt)?;
    let [i2t, t2i] = evaluation.ranks()?;
    let ways = [(Modality::Img, Modality::Txt, i2t), (Modality::Txt, Modality::Img, t2i)];
    let values = ways.map(|(query, candidate, ranks)| {
        let [within, across] = shares(evaluation, groups[candidate as usize], [query, candidate], ranks);
        [Ok::<_, MetricError>(within), Ok(across), Ok(across - within)]
    });
    Ok(values.into_iter().flatten().collect())
}

/// Expected retrieval within and across groups of the candidates.
fn shares(evaluation: &Evaluation, groups: &Groups, sides: [Modality; 2], ranks: &[f64]) -> [f64; 2] {
    let n = evaluation.samples();
    let within = better_within(Arch::new(), evaluation, groups, sides);
    let mut sums = [0.0; 2];
    for ((group, within), rank) in groups.of.iter().zip(within).zip(ranks) {
        let size = groups.sizes[*group as usize] as usize;
        sums[0] += passes(size - 1, within as usize);
        sums[1] += passes(n - size, *rank as usize - 1 - within as usize);
    }
    sums.map(|sum| sum / n as f64)
}

/// The probability that none of `better` is among [`OTHERS`] drawn from `all`.
fn passes(all: usize, better: usize) -> f64 {
    (0..OTHERS).map(|drawn| (all - drawn).saturating_sub(better) as f64 / (all - drawn) as f64).product()
}

/// How many others of the partner's group are at least as similar as its partner, `[N]`.
fn better_within(arch: Arch, evaluation: &Evaluation, groups: &Groups, sides: [Modality; 2]) -> Vec<f64> {
    let d = evaluation.dimension();
    let [asking, others] = sides.map(|modality| evaluation.z(modality));
    let own: Vec<f64> = asking.chunks_exact(d).zip(others.chunks_exact(d)).map(|(a, b)| dot(a, b)).collect();
    let groups: Vec<f64> = groups.of.iter().map(|group| f64::from(*group)).collect();
    let (queries, candidates) = (Queries::new(asking, d), Candidates::new(others, d));
    arch.dispatch(Within { queries: &queries, candidates: &candidates, own: &own, groups: &groups })
}

struct Within<'a> {
    queries: &'a Queries,
    candidates: &'a Candidates<'a>,
    own: &'a [f64],
    groups: &'a [f64],
}

impl WithSimd for Within<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f64> {
        let n = self.own.len();
        let mut block = vec![[0.0; BLOCK]; n];
        let mut counts = Vec::with_capacity(n);
        for (at, queries) in self.queries.blocks().enumerate() {
            similarities(simd, queries, self.candidates, &mut block);
            let asked = BLOCK.min(n - at * BLOCK);
            let (mut own, mut group) = ([f64::INFINITY; BLOCK], [-1.0; BLOCK]);
            own[..asked].copy_from_slice(&self.own[at * BLOCK..][..asked]);
            group[..asked].copy_from_slice(&self.groups[at * BLOCK..][..asked]);
            let mut found = [0.0; BLOCK];
            for vector in 0..BLOCK / S::F64_LANES {
                let (own, group) = (lanes::<S>(&own, vector), lanes::<S>(&group, vector));
                let [none, one] = [0.0, 1.0].map(|x| simd.splat_f64s(x));
                let mut count = none;
                for (row, other) in block.iter().zip(self.groups) {
                    let better = simd.greater_than_or_equal_f64s(lanes::<S>(row, vector), own);
                    let same = simd.select_f64s(simd.equal_f64s(simd.splat_f64s(*other), group), one, none);
                    count = simd.add_f64s(count, simd.select_f64s(better, same, none));
                }
                S::as_mut_simd_f64s(&mut found).0[vector] = count;
            }
            // The partner is as similar as itself.
            counts.extend(found[..asked].iter().map(|count| count - 1.0));
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fixture::{noisy_pairs, similarities as all_similarities, value_of};
    use crate::metric::{Context, Scale, Variable};
    use crate::numerics::stream::Streams;

    fn with(evaluation: Evaluation, values: Vec<f64>) -> Evaluation {
        let variables = vec![Variable { name: CONFOUNDER.into(), values, scale: Scale::Kinds }];
        evaluation.with_context(Context { variables, ..Context::default() }).unwrap()
    }

    #[test]
    fn the_expected_value_is_that_of_draws() {
        // 3 better of 10: none of 7 drawn is one of them in C(7, 7) of C(10, 7) = 120 cases.
        assert!((passes(10, 3) - 1.0 / 120.0).abs() < 1e-16);
        assert_eq!((passes(10, 0), passes(10, 4), passes(7, 1)), (1.0, 0.0, 0.0));
        let (all, better, draws) = (40, 4, 20_000);
        let mut stream = Streams::new(1, "cross_group.tests").item(0);
        let lucky = (0..draws).filter(|_| stream.permutation(all)[..OTHERS].iter().all(|i| *i >= better)).count();
        // Five standard errors of a share of 20,000.
        assert!((lucky as f64 / f64::from(draws) - passes(all, better)).abs() < 5.0 * 0.5 / f64::from(draws).sqrt());
    }

    #[test]
    fn groups_that_do_not_hold_the_confounder_constant_have_no_score() {
        let evaluation = with(noisy_pairs(5, 64, 4, 0.7), (0..64).map(|i| f64::from(i % 2)).collect());
        assert!(value_of(&evaluation, "cross_group_gap_i2t").is_ok());
        let context = Context { partial_groups: true, ..evaluation.context().clone() };
        let partial = evaluation.with_context(context).unwrap();
        for d in FAMILY.descriptors {
            let expected = MetricError::PartialGroups { variable: CONFOUNDER.to_string() };
            assert_eq!(value_of(&partial, d.name), Err(expected));
        }
    }

    #[test]
    fn equal_to_the_definition_on_both_instruction_sets() {
        for (n, d) in [(32, 2), (61, 5), (100, 8)] {
            let labels: Vec<usize> = (0..n).map(|i| i * i % 7 % 3).collect();
            let evaluation = with(noisy_pairs(5, n, d, 0.7), labels.iter().map(|l| *l as f64).collect());
            let groups = evaluation.groups(Modality::Img, CONFOUNDER).unwrap();
            let ways = [[Modality::Img, Modality::Txt], [Modality::Txt, Modality::Img]];
            for (rows, sides) in all_similarities(&evaluation).iter().zip(ways) {
                let better = |query: usize| {
                    let others = (0..n).filter(|j| *j != query && labels[*j] == labels[query]);
                    others.filter(|j| rows[query][*j] >= rows[query][query]).count() as f64
                };
                let expected: Vec<f64> = (0..n).map(better).collect();
                for arch in [Arch::new(), Arch::Scalar] {
                    assert_eq!(better_within(arch, &evaluation, groups, sides), expected);
                }
            }
        }
    }

    #[test]
    fn a_model_of_groups_alone_does_well_across_and_not_within() {
        // Embeddings are the group's axis and a little noise that both modalities do not share.
        let (n, d) = (64, 4);
        let mut stream = Streams::new(2, "cross_group.tests").item(0);
        let mut draw = || {
            let row = |i: usize| (0..d).map(move |k| (i % d, k));
            let at = (0..n).flat_map(row).collect::<Vec<_>>();
            at.iter().map(|(i, k)| f32::from(u8::from(i == k)) + 0.01 * stream.normal() as f32).collect::<Vec<f32>>()
        };
        let evaluation = Evaluation::new(&draw(), &draw(), d, 1.0).unwrap();
        let evaluation = with(evaluation, (0..n).map(|i| (i % d) as f64).collect());
        assert_eq!(value_of(&evaluation, "retrieval_across_group_i2t"), Ok(1.0));
        let within = value_of(&evaluation, "retrieval_within_group_i2t").unwrap();
        // Chance is 1/8; the standard error of 64 queries is 0.04.
        assert!((within - 0.125).abs() < 0.1, "{within}");
        assert_eq!(value_of(&evaluation, "cross_group_gap_i2t"), Ok(1.0 - within));
    }

    #[test]
    fn groups_are_those_of_the_candidates() {
        let (n, d) = (48, 3);
        let labels = |shift: usize| Variable {
            name: CONFOUNDER.into(),
            values: (0..n).map(|i| ((i + shift) * (i + shift) % 7 % 2) as f64).collect(),
            scale: Scale::Kinds,
        };
        let with = |img: Variable, txt: Variable| {
            let context = Context { variables: vec![img], texts: Some(vec![txt]), ..Context::default() };
            noisy_pairs(6, n, d, 0.7).with_context(context).unwrap()
        };
        // As after a randomised confounder, an image and its text carry different labels.
        let apart = with(labels(0), labels(3));
        for (way, alike) in [("i2t", with(labels(3), labels(3))), ("t2i", with(labels(0), labels(0)))] {
            for name in ["retrieval_within_group", "retrieval_across_group"].map(|name| format!("{name}_{way}")) {
                assert_eq!(value_of(&apart, &name), value_of(&alike, &name), "{name}");
            }
        }
        let other = with(labels(0), labels(0));
        assert_ne!(value_of(&apart, "retrieval_within_group_i2t"), value_of(&other, "retrieval_within_group_i2t"));
    }

    #[test]
    fn groups_that_are_too_small_have_a_reason() {
        let labels = (0..30).map(|i| f64::from(u8::from(i < 5))).collect();
        let reason = value_of(&with(noisy_pairs(1, 30, 3, 0.5), labels), "cross_group_gap_t2i").unwrap_err();
        insta::assert_snapshot!(reason, @"a group of confounder has 5 samples, needs at least 8");
        let constant = [0.6, 0.8].repeat(32);
        let collapsed = Evaluation::new(&constant, &constant, 2, 1.0).unwrap();
        let collapsed = with(collapsed, (0..32).map(|i| f64::from(i % 2)).collect());
        let reason = value_of(&collapsed, "retrieval_within_group_i2t").unwrap_err();
        assert!(matches!(reason, MetricError::NoVariance { .. }));
    }
}
