//! All images against all texts, block by block: what retrieval, hubness and logits need of the similarities.
//!
//! A block holds the similarities of eight queries with all candidates, and everything about these queries is taken
//! from it while it is in the cache. The matrix of all similarities is never held: it is computed once per direction,
//! which costs less than writing and reading it, and memory grows with N instead of N squared (see [`MAX_SAMPLES`]
//! for the exception).
//!
//! [`MAX_SAMPLES`]: super::MAX_SAMPLES

use pulp::{Arch, Simd, WithSimd};

use super::hubness::NEIGHBOURS;
use super::logits::PROBABILITIES;
use crate::numerics::linalg::dot;
use crate::numerics::selection::{Bins, Picked};
use crate::numerics::similarity::{BLOCK, Candidates, Queries, any, lanes, similarities};
use crate::numerics::stats::StatsError;

/// Candidates whose largest similarity stands for all of them in a first, rough search for the nearest.
const GROUP: usize = 4;

/// Distances from row to column of the non-pairs that show where the similarities lie.
const SAMPLED_DIAGONALS: usize = 4;

/// Similarities of one block: a row per candidate, a column per query.
type Block = [[f64; BLOCK]];

/// Every query of one direction against all candidates.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Way {
    /// Candidates at least as similar as the query's own partner, itself included, `[N]`.
    pub ranks: Vec<f64>,
    /// Similarity of the own partner minus that of the best other candidate, `[N]`.
    pub margins: Vec<f64>,
    /// The most similar candidates of each query, the most similar one first, the others in no order; among equals
    /// those with the lowest index. `[N, min(N, 10)]`.
    pub nearest: Vec<u32>,
}

/// Both directions, and all similarities together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Comparison {
    /// From image to text, and from text to image.
    pub ways: [Way; 2],
    /// Similarities of pairs, `[N]`.
    pub pairs: Vec<f64>,
    /// Mean similarity of non-pairs.
    pub others_mean: f64,
    /// Their quantiles at [`PROBABILITIES`].
    pub others_quantiles: Vec<f64>,
}

/// Compares all with all, `z` being embeddings of images and texts, `[N, d]`, N >= 2.
///
/// **Errors** a similarity that is not finite.
/// **Numerics** every similarity is [`dot`] of its rows, the mean is summed in row order, the rest selects: the same
/// bits on every instruction set.
pub(super) fn compare(arch: Arch, z: [&[f64]; 2], d: usize) -> Result<Comparison, StatsError> {
    let n = z[0].len() / d;
    let mut bins = Bins::new(&sample(z, d))?;
    let way = |asking: usize, others: Others<'_>| {
        let (queries, candidates) = (Queries::new(z[asking], d), Candidates::new(z[1 - asking], d));
        arch.dispatch(Sweep { n, queries: &queries, candidates: &candidates, others })
    };
    let i2t = way(0, Others::Count(&mut bins));
    let mut picked = bins.pick(&PROBABILITIES)?;
    let t2i = way(1, Others::Pick(&mut picked));
    let others_mean = bins.sum() / (n * (n - 1)) as f64;
    Ok(Comparison { ways: [i2t, t2i], pairs: pairs(z, d), others_mean, others_quantiles: picked.quantiles()? })
}

/// Only the ranks of both directions, in one pass.
pub(super) fn ranks(arch: Arch, z: [&[f64]; 2], d: usize) -> [Vec<f64>; 2] {
    let (queries, candidates) = (Queries::new(z[0], d), Candidates::new(z[1], d));
    arch.dispatch(Ranks { queries: &queries, candidates: &candidates, pairs: &pairs(z, d) })
}

fn pairs(z: [&[f64]; 2], d: usize) -> Vec<f64> {
    z[0].chunks_exact(d).zip(z[1].chunks_exact(d)).map(|(img, txt)| dot(img, txt)).collect()
}

/// Similarities of some non-pairs, each image and each text equally often.
fn sample(z: [&[f64]; 2], d: usize) -> Vec<f64> {
    let n = z[0].len() / d;
    let rows = |m: usize| z[m].chunks_exact(d);
    let diagonals = SAMPLED_DIAGONALS.min(n - 1);
    let distances = (0..diagonals).map(|at| 1 + at * (n - 1) / diagonals);
    distances.flat_map(|by| rows(0).zip(rows(1).cycle().skip(by)).map(|(img, txt)| dot(img, txt))).collect()
}

/// What is done with the similarities of non-pairs.
enum Others<'a> {
    Count(&'a mut Bins),
    Pick(&'a mut Picked),
}

struct Sweep<'a> {
    n: usize,
    queries: &'a Queries,
    candidates: &'a Candidates<'a>,
    others: Others<'a>,
}

impl WithSimd for Sweep<'_> {
    type Output = Way;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Way {
        let Self { n, queries, candidates, mut others } = self;
        let mut block = vec![[0.0; BLOCK]; n];
        let mut near = Near::new(n);
        let mut way = Way::default();
        for (at, queries) in queries.blocks().enumerate() {
            let first = at * BLOCK;
            similarities(simd, queries, candidates, &mut block);
            // The last block is filled up with copies, which nobody asked for.
            let asked = BLOCK.min(n - first);
            let own = take_out_pairs(&mut block, first, asked);
            let [better, best_other, bound] = look(simd, &block, &own);
            put_back_pairs(&mut block, first, asked, &own);
            match &mut others {
                Others::Count(bins) => {
                    for lane in 0..asked {
                        bins.add(block[..first + lane].iter().map(|row| row[lane]));
                        bins.add(block[first + lane + 1..].iter().map(|row| row[lane]));
                    }
                }
                Others::Pick(picked) => pick(simd, &block, first, asked, picked),
            }
            near.collect(simd, &block, &bound);
            for lane in 0..asked {
                way.ranks.push(1.0 + better[lane]);
                way.margins.push(own[lane] - best_other[lane]);
                way.nearest.extend_from_slice(near.nearest(&block, lane));
            }
        }
        way
    }
}

/// The similarities of a block's queries to their own partners, each replaced by one that is below all others.
fn take_out_pairs(block: &mut Block, first: usize, asked: usize) -> [f64; BLOCK] {
    let mut own = [0.0; BLOCK];
    for (lane, own) in own.iter_mut().enumerate().take(asked) {
        *own = std::mem::replace(&mut block[first + lane][lane], f64::NEG_INFINITY);
    }
    own
}

fn put_back_pairs(block: &mut Block, first: usize, asked: usize, own: &[f64; BLOCK]) {
    for (lane, own) in own.iter().enumerate().take(asked) {
        block[first + lane][lane] = *own;
    }
}

/// What is seen of a block's queries in a first look at all candidates, a vector of queries at a time.
struct Look<S: Simd> {
    own: S::f64s,
    /// How many others are at least as similar as the own partner.
    better: S::f64s,
    best_other: S::f64s,
    /// Similarities of the best groups, in descending order. Ten groups have a member that reaches the tenth, so the
    /// ten nearest candidates do, and few others.
    groups: [S::f64s; NEIGHBOURS],
}

impl<S: Simd> Look<S> {
    #[inline(always)]
    fn new(simd: S, own: S::f64s) -> Self {
        let lowest = simd.splat_f64s(f64::NEG_INFINITY);
        let mut look = Self { own, better: simd.splat_f64s(0.0), best_other: lowest, groups: [lowest; NEIGHBOURS] };
        // Pairs are not in the block, so they are a group of their own.
        look.insert(simd, own);
        look
    }

    #[inline(always)]
    fn group(&mut self, simd: S, members: &Block, vector: usize) {
        let mut largest = simd.splat_f64s(f64::NEG_INFINITY);
        for row in members {
            let values = lanes::<S>(row, vector);
            self.better = count(simd, self.better, simd.greater_than_or_equal_f64s(values, self.own));
            largest = simd.max_f64s(largest, values);
        }
        self.best_other = simd.max_f64s(self.best_other, largest);
        self.insert(simd, largest);
    }

    #[inline(always)]
    fn insert(&mut self, simd: S, values: S::f64s) {
        for at in (1..NEIGHBOURS).rev() {
            self.groups[at] = simd.max_f64s(self.groups[at], simd.min_f64s(self.groups[at - 1], values));
        }
        self.groups[0] = simd.max_f64s(self.groups[0], values);
    }
}

/// Adds one in the lanes where a comparison holds.
#[inline(always)]
fn count<S: Simd>(simd: S, counts: S::f64s, holds: S::m64s) -> S::f64s {
    simd.add_f64s(counts, simd.select_f64s(holds, simd.splat_f64s(1.0), simd.splat_f64s(0.0)))
}

/// Better candidates, best other similarity and bound of the nearest, for each query of a block without its pairs.
#[inline(always)]
fn look<S: Simd>(simd: S, block: &Block, own: &[f64; BLOCK]) -> [[f64; BLOCK]; 3] {
    let mut seen = [[0.0; BLOCK]; 3];
    let (groups, rest) = block.as_chunks::<GROUP>();
    for vector in 0..BLOCK / S::F64_LANES {
        let mut look = Look::new(simd, lanes::<S>(own, vector));
        for members in groups {
            look.group(simd, members, vector);
        }
        look.group(simd, rest, vector);
        for (to, from) in seen.iter_mut().zip([look.better, look.best_other, look.groups[NEIGHBOURS - 1]]) {
            S::as_mut_simd_f64s(to).0[vector] = from;
        }
    }
    seen
}

/// Hands the similarities of non-pairs to the second pass of the quantiles.
#[inline(always)]
fn pick<S: Simd>(simd: S, block: &Block, first: usize, asked: usize, picked: &mut Picked) {
    for (candidate, row) in block.iter().enumerate() {
        for (vector, values) in S::as_simd_f64s(row).0.iter().enumerate() {
            if !picked.wants_any(simd, *values) {
                continue;
            }
            let from = vector * S::F64_LANES;
            for (lane, value) in row.iter().enumerate().take(asked).skip(from).take(S::F64_LANES) {
                if candidate != first + lane {
                    picked.take(*value);
                }
            }
        }
    }
}

/// The candidates of a block that reach a bound, by query.
struct Near {
    n: usize,
    /// `[8, N]`, of which the first `len` of each query are in use.
    lists: Vec<u32>,
    len: [usize; BLOCK],
}

impl Near {
    fn new(n: usize) -> Self {
        Self { n, lists: vec![0; BLOCK * n], len: [0; BLOCK] }
    }

    /// Lists the candidates that reach the bound, in the order of their index.
    #[inline(always)]
    fn collect<S: Simd>(&mut self, simd: S, block: &Block, bound: &[f64; BLOCK]) {
        self.len = [0; BLOCK];
        for (candidate, row) in block.iter().enumerate() {
            for vector in 0..BLOCK / S::F64_LANES {
                let reached = simd.greater_than_or_equal_f64s(lanes::<S>(row, vector), lanes::<S>(bound, vector));
                if !any(simd, reached) {
                    continue;
                }
                for lane in vector * S::F64_LANES..(vector + 1) * S::F64_LANES {
                    // Written in any case and kept if it counts: cheaper than a branch that goes either way.
                    self.lists[lane * self.n + self.len[lane]] = candidate as u32;
                    self.len[lane] += usize::from(row[lane] >= bound[lane]);
                }
            }
        }
    }

    /// The nearest candidates of a query, see [`Way::nearest`].
    fn nearest(&mut self, block: &Block, lane: usize) -> &[u32] {
        let list = &mut self.lists[lane * self.n..][..self.len[lane]];
        let similarity = |candidate: u32| block[candidate as usize][lane];
        let order = |a: &u32, b: &u32| similarity(*b).total_cmp(&similarity(*a)).then(a.cmp(b));
        let kept = NEIGHBOURS.min(list.len());
        if kept < list.len() {
            list.select_nth_unstable_by(kept - 1, order);
        }
        let first = (0..kept).min_by(|a, b| order(&list[*a], &list[*b])).unwrap_or(0);
        list[..kept].swap(0, first);
        &list[..kept]
    }
}

struct Ranks<'a> {
    queries: &'a Queries,
    candidates: &'a Candidates<'a>,
    pairs: &'a [f64],
}

impl WithSimd for Ranks<'_> {
    type Output = [Vec<f64>; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [Vec<f64>; 2] {
        let n = self.pairs.len();
        let mut block = vec![[0.0; BLOCK]; n];
        // Counts of each column by lanes, which are added up at the end.
        let mut columns = vec![[0.0; BLOCK]; n];
        let mut rows = Vec::with_capacity(n);
        for (at, queries) in self.queries.blocks().enumerate() {
            similarities(simd, queries, self.candidates, &mut block);
            let asked = BLOCK.min(n - at * BLOCK);
            if asked < BLOCK {
                block.iter_mut().for_each(|row| row[asked..].fill(f64::NEG_INFINITY));
            }
            let mut own = [f64::INFINITY; BLOCK];
            own[..asked].copy_from_slice(&self.pairs[at * BLOCK..][..asked]);
            let mut counts = [0.0; BLOCK];
            for vector in 0..BLOCK / S::F64_LANES {
                let own = lanes::<S>(&own, vector);
                let mut row_count = simd.splat_f64s(0.0);
                for ((row, column), pair) in block.iter().zip(&mut columns).zip(self.pairs) {
                    let values = lanes::<S>(row, vector);
                    row_count = count(simd, row_count, simd.greater_than_or_equal_f64s(values, own));
                    let column = &mut S::as_mut_simd_f64s(column).0[vector];
                    *column = count(simd, *column, simd.greater_than_or_equal_f64s(values, simd.splat_f64s(*pair)));
                }
                S::as_mut_simd_f64s(&mut counts).0[vector] = row_count;
            }
            rows.extend_from_slice(&counts[..asked]);
        }
        [rows, columns.into_iter().map(|lanes| lanes.iter().sum()).collect()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Modality;
    use crate::metric::fixture::{TEMPERATURE, noisy_pairs, raw_pairs};
    use crate::metric::{Evaluation, fixture};
    use crate::numerics::stats;

    /// By the definitions, from similarities that are all held.
    fn by_definition(evaluation: &Evaluation) -> Comparison {
        let similarities = fixture::similarities(evaluation);
        let n = evaluation.samples();
        let ways = similarities.each_ref().map(|rows| {
            let mut way = Way::default();
            for (query, row) in rows.iter().enumerate() {
                let others = || (0..n).filter(|candidate| *candidate != query);
                let best_other = others().map(|candidate| row[candidate]).fold(f64::NEG_INFINITY, f64::max);
                way.ranks.push(row.iter().filter(|similarity| **similarity >= row[query]).count() as f64);
                way.margins.push(row[query] - best_other);
                let mut order: Vec<u32> = (0..n as u32).collect();
                order.sort_by(|a, b| row[*b as usize].total_cmp(&row[*a as usize]));
                way.nearest.extend(&order[..NEIGHBOURS.min(n)]);
            }
            way
        });
        let rows = similarities[0].iter().enumerate();
        let others = rows.clone().flat_map(|(i, row)| row[..i].iter().chain(&row[i + 1..]).copied());
        let others: Vec<f64> = others.collect();
        Comparison {
            ways,
            pairs: rows.map(|(i, row)| row[i]).collect(),
            others_mean: stats::mean(&others).unwrap(),
            others_quantiles: stats::quantiles(&others, &PROBABILITIES).unwrap(),
        }
    }

    /// Sorts what is in no order: all but the first of the nearest.
    fn in_order(mut comparison: Comparison, n: usize) -> Comparison {
        for way in &mut comparison.ways {
            way.nearest.chunks_exact_mut(NEIGHBOURS.min(n)).for_each(|list| list[1..].sort_unstable());
        }
        comparison
    }

    fn assert_by_definition(evaluation: &Evaluation) {
        let (n, d) = (evaluation.samples(), evaluation.dimension());
        let z = [Modality::Img, Modality::Txt].map(|modality| evaluation.z(modality));
        let expected = in_order(by_definition(evaluation), n);
        for arch in [Arch::new(), Arch::Scalar] {
            // Equal to the last bit: none of these is a zero.
            assert_eq!(in_order(compare(arch, z, d).unwrap(), n), expected, "{n} x {d}");
            assert_eq!(ranks(arch, z, d), expected.ways.each_ref().map(|way| way.ranks.clone()), "{n} x {d}");
        }
    }

    #[test]
    fn equal_to_the_definitions_for_every_remainder_of_blocks_groups_and_tiles() {
        for (seed, n) in (2..48).chain([100, 257]).enumerate() {
            for (d, noise) in [(1, 0.5), (3, 0.5), (8, 0.1), (13, 2.0), (32, 0.3)] {
                assert_by_definition(&noisy_pairs(seed as u64, n, d, noise));
            }
        }
    }

    #[test]
    fn equal_to_the_definitions_where_candidates_tie() {
        for (n, d, copies) in [(24, 3, 2), (60, 5, 6), (40, 2, 40), (90, 8, 15)] {
            let (img, txt) = raw_pairs(5, n / copies, d, 0.3);
            let evaluation = |img: &[f32], txt: &[f32]| Evaluation::new(img, txt, d, TEMPERATURE).unwrap();
            assert_by_definition(&evaluation(&img.repeat(copies), &txt.repeat(copies)));
            let (other, _) = raw_pairs(6, n, d, 0.3);
            assert_by_definition(&evaluation(&img.repeat(copies), &other));
        }
    }
}
