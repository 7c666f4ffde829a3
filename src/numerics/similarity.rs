//! Dot products of many vectors with many others, a block of queries against all candidates, in vector registers.
//!
//! Queries lie side by side in the lanes of a register, so that an entry never crosses lanes: every lane follows the
//! order of [`linalg::dot`](super::linalg::dot), and the bits are the same on every instruction set.

use std::borrow::Cow;

use pulp::Simd;

/// Queries of a block: the lanes of the widest vectors, a whole number of the narrower ones.
pub const BLOCK: usize = 8;

/// Accumulators of a dot product; coordinate k goes into accumulator k mod 8.
const ACCUMULATORS: usize = 8;

/// The rows of a matrix as queries: blocks of [`BLOCK`] rows, each by coordinates, `[N / 8, D, 8]`.
///
/// The last block is filled up with copies of the last row. Coordinates are filled up to a multiple of eight with
/// zeros, which leave every sum as it is.
#[derive(Debug)]
pub struct Queries {
    values: Vec<[[f64; BLOCK]; ACCUMULATORS]>,
    chunks: usize,
}

impl Queries {
    /// **Shapes** `rows` `[N, d]`, `d` > 0.
    pub fn new(rows: &[f64], d: usize) -> Self {
        let chunks = d.div_ceil(ACCUMULATORS);
        let n = rows.len() / d;
        let mut values = vec![[[0.0; BLOCK]; ACCUMULATORS]; n.div_ceil(BLOCK) * chunks];
        for (at, block) in values.chunks_exact_mut(chunks).enumerate() {
            for lane in 0..BLOCK {
                let query = (at * BLOCK + lane).min(n - 1);
                let row = rows[query * d..(query + 1) * d].iter();
                block.as_flattened_mut().iter_mut().zip(row).for_each(|(out, value)| out[lane] = *value);
            }
        }
        Self { values, chunks }
    }

    /// Block after block.
    pub fn blocks(&self) -> impl Iterator<Item = &[[[f64; BLOCK]; ACCUMULATORS]]> {
        self.values.chunks_exact(self.chunks)
    }
}

/// The rows of a matrix as candidates, coordinates filled up as those of [`Queries`].
#[derive(Debug)]
pub struct Candidates<'a> {
    values: Cow<'a, [[f64; ACCUMULATORS]]>,
    chunks: usize,
}

impl<'a> Candidates<'a> {
    /// **Shapes** `rows` `[N, d]`, `d` > 0.
    pub fn new(rows: &'a [f64], d: usize) -> Self {
        let chunks = d.div_ceil(ACCUMULATORS);
        let values = match rows.as_chunks() {
            (whole, []) if d.is_multiple_of(ACCUMULATORS) => Cow::Borrowed(whole),
            _ => {
                let mut filled = vec![[0.0; ACCUMULATORS]; rows.len() / d * chunks];
                for (to, from) in filled.chunks_exact_mut(chunks).zip(rows.chunks_exact(d)) {
                    to.as_flattened_mut()[..d].copy_from_slice(from);
                }
                Cow::Owned(filled)
            }
        };
        Self { values, chunks }
    }
}

/// The dot products of one block of queries with every candidate.
///
/// **Shapes** `queries` a block of [`Queries`]; `out` `[N, 8]`: a row per candidate, a column per query.
/// **Numerics** every entry has the bits of [`linalg::dot`](super::linalg::dot) of its two rows.
#[inline(always)]
pub fn similarities<S: Simd>(
    simd: S,
    queries: &[[[f64; BLOCK]; ACCUMULATORS]],
    candidates: &Candidates<'_>,
    out: &mut [[f64; BLOCK]],
) {
    // As many candidates and vectors of queries at a time as fit the registers, with two accumulators of each and what
    // is done of their sum.
    if S::F64_LANES == BLOCK {
        tiles::<S, 6, 1>(simd, queries, candidates, out);
    } else if S::REGISTER_COUNT >= 32 {
        tiles::<S, 3, 2>(simd, queries, candidates, out);
    } else {
        tiles::<S, 2, 2>(simd, queries, candidates, out);
    }
}

#[inline(always)]
fn tiles<S: Simd, const T: usize, const V: usize>(
    simd: S,
    queries: &[[[f64; BLOCK]; ACCUMULATORS]],
    candidates: &Candidates<'_>,
    out: &mut [[f64; BLOCK]],
) {
    let Candidates { values, chunks } = candidates;
    let whole = out.len() / T * T;
    let (tiles, rest) = out.split_at_mut(whole);
    let (tile_values, rest_values) = values.split_at(whole * chunks);
    for first in (0..BLOCK / S::F64_LANES).step_by(V) {
        for (out, candidates) in tiles.chunks_exact_mut(T).zip(tile_values.chunks_exact(T * chunks)) {
            tile::<S, T, V>(simd, first, queries, candidates, out);
        }
        for (out, candidate) in rest.chunks_exact_mut(1).zip(rest_values.chunks_exact(*chunks)) {
            tile::<S, 1, V>(simd, first, queries, candidate, out);
        }
    }
}

/// `T` candidates against `V` vectors of the queries, from vector `first` on.
#[inline(always)]
fn tile<S: Simd, const T: usize, const V: usize>(
    simd: S,
    first: usize,
    queries: &[[[f64; BLOCK]; ACCUMULATORS]],
    candidates: &[[f64; ACCUMULATORS]],
    out: &mut [[f64; BLOCK]],
) {
    let chunks = queries.len();
    let candidates: [&[[f64; ACCUMULATORS]]; T] = std::array::from_fn(|t| &candidates[t * chunks..(t + 1) * chunks]);
    let mut sums = accumulators::<S, T, V>(simd, [0, 4], first, queries, candidates);
    add(simd, &mut sums, accumulators::<S, T, V>(simd, [2, 6], first, queries, candidates));
    let mut odd = accumulators::<S, T, V>(simd, [1, 5], first, queries, candidates);
    add(simd, &mut odd, accumulators::<S, T, V>(simd, [3, 7], first, queries, candidates));
    add(simd, &mut sums, odd);
    for (sums, out) in sums.iter().zip(out) {
        S::as_mut_simd_f64s(out).0[first..first + V].copy_from_slice(sums);
    }
}

/// The sum of two accumulators of `T` candidates times `V` vectors.
#[inline(always)]
fn accumulators<S: Simd, const T: usize, const V: usize>(
    simd: S,
    [a, b]: [usize; 2],
    first: usize,
    queries: &[[[f64; BLOCK]; ACCUMULATORS]],
    candidates: [&[[f64; ACCUMULATORS]]; T],
) -> [[S::f64s; V]; T] {
    let mut sums = [[[simd.splat_f64s(0.0); V]; T]; 2];
    for (chunk, queries) in queries.iter().enumerate() {
        for (sums, k) in sums.iter_mut().zip([a, b]) {
            let query = S::as_simd_f64s(&queries[k]).0;
            for (sums, candidate) in sums.iter_mut().zip(candidates) {
                let value = simd.splat_f64s(candidate[chunk][k]);
                for (sum, query) in sums.iter_mut().zip(&query[first..first + V]) {
                    *sum = simd.add_f64s(*sum, simd.mul_f64s(*query, value));
                }
            }
        }
    }
    let [mut total, other] = sums;
    add(simd, &mut total, other);
    total
}

#[inline(always)]
fn add<S: Simd, const T: usize, const V: usize>(simd: S, sums: &mut [[S::f64s; V]; T], others: [[S::f64s; V]; T]) {
    for (sum, other) in sums.as_flattened_mut().iter_mut().zip(others.as_flattened()) {
        *sum = simd.add_f64s(*sum, *other);
    }
}

/// Vector `vector` of a row of [`BLOCK`] values.
#[inline(always)]
pub fn lanes<S: Simd>(row: &[f64; BLOCK], vector: usize) -> S::f64s {
    S::as_simd_f64s(row).0[vector]
}

/// Whether a comparison holds in one of the lanes.
#[inline(always)]
pub fn any<S: Simd>(simd: S, mask: S::m64s) -> bool {
    simd.first_true_m64s(mask) < S::F64_LANES
}

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::*;
    use crate::numerics::instructions::instruction_sets;
    use crate::numerics::linalg::dot;
    use crate::numerics::stream::Streams;

    struct All<'a>(&'a Queries, &'a Candidates<'a>, usize);

    impl WithSimd for All<'_> {
        type Output = Vec<Vec<[f64; BLOCK]>>;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
            let block = |queries: &[_]| {
                let mut out = vec![[0.0; BLOCK]; self.2];
                similarities(simd, queries, self.1, &mut out);
                out
            };
            self.0.blocks().map(block).collect()
        }
    }

    #[test]
    fn entries_have_the_bits_of_the_dot_product_on_every_instruction_set() {
        for (n, m, d) in [(1, 1, 1), (3, 5, 7), (8, 6, 8), (11, 13, 9), (20, 4, 32), (9, 10, 33)] {
            let mut stream = Streams::new(1, "similarity.tests").item(d as u64);
            let mut draw = |len: usize| (0..len).map(|_| stream.normal()).collect::<Vec<f64>>();
            let (a, b) = (draw(n * d), draw(m * d));
            let (queries, candidates) = (Queries::new(&a, d), Candidates::new(&b, d));
            for (_, arch) in instruction_sets() {
                let blocks = arch.dispatch(All(&queries, &candidates, m));
                assert_eq!(blocks.len(), n.div_ceil(BLOCK));
                for i in 0..blocks.len() * BLOCK {
                    let query = i.min(n - 1);
                    for j in 0..m {
                        let expected = dot(&a[query * d..(query + 1) * d], &b[j * d..(j + 1) * d]);
                        let got = blocks[i / BLOCK][j][i % BLOCK];
                        assert_eq!(got.to_bits(), expected.to_bits(), "{n} {m} {d}: {i} {j}");
                    }
                }
            }
        }
    }
}
