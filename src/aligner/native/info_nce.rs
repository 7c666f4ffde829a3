//! Symmetric InfoNCE of one cell and its gradient, with one exponential per similarity where that is safe.
//!
//! Both directions need a softmax of the logits `S = z_img z_txt' / temperature`, one along rows and one along columns.
//! A shift that all logits share cancels in both, so one matrix `exp(S - shift)` serves them, as long as no row's or
//! column's largest term vanishes under it.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::matrix::Matrix;
use super::pointwise::exp;
use super::product::{Finish, Left, product, product_rows, vectors, vectors_mut};

/// How far below a shared shift the largest logit of a row or column may lie. Its row's terms then stay normal numbers
/// of f32, of which the smallest is exp(-87.3), down to exp(-27) of the largest: what is lost below that weighs
/// less than 2e-12 times the number of candidates in the sum.
const SHARED_SHIFT: f32 = 60.0;

/// Rows of softmaxes that are made just before the product that reads them, while they are near: whole tiles of rows,
/// and few enough for a first-level cache at 256 columns.
const ROWS_AT_ONCE: usize = 48;

/// Factors of a product of sums of exponentials that f64 holds: each lies between exp(-60) and the number of candidates.
const FACTORS: usize = 8;

/// Settings of one cell's loss.
#[derive(Clone, Copy, Debug)]
pub struct LossSettings {
    pub inverse_temperature: f32,
    pub weight_i2t: f32,
    pub weight_t2i: f32,
}

/// `[total, i2t, t2i]`, in nats.
pub type Loss = [f32; 3];

/// What the loss works in. Reused from step to step and from cell to cell.
#[derive(Debug)]
pub struct Workspace {
    /// `[D, B]`, the transposed text embeddings over the temperature.
    scaled_txt: Matrix,
    /// `[B, B]`: logits, then their exponentials, then the weighted sum of both softmaxes.
    logits: Matrix,
    /// `[B, B]`: exponentials shifted column by column, where a shared shift would not do.
    by_column: Matrix,
    /// Logits of the pairs, `[B]`.
    own: Vec<f32>,
    /// Along rows and along columns, each `[1, B]`: largest logits, sums of exponentials, weights over sums.
    max: [Matrix; 2],
    sum: [Matrix; 2],
    factor: [Matrix; 2],
}

impl Workspace {
    pub fn new(batch: usize, embedding: usize) -> Self {
        let vectors = || [Matrix::zeros(1, batch), Matrix::zeros(1, batch)];
        Self {
            scaled_txt: Matrix::zeros(embedding, batch),
            logits: Matrix::walked_by_columns(batch, batch),
            by_column: Matrix::walked_by_columns(0, batch),
            own: vec![0.0; batch],
            max: vectors(),
            sum: vectors(),
            factor: vectors(),
        }
    }

    /// The loss, and its gradients with respect to the normalised embeddings.
    ///
    /// **Shapes**: embeddings and gradients `[B, D]`; row `b` of both is a pair.
    ///
    /// **Numerics**: the shift is `1 / temperature`, which no logit exceeds, where that is at most 30; else the largest
    /// logit, where no row's and no column's own largest lies more than 60 below it; else each direction has its own
    /// shifts and exponentials. Not-a-number in the embeddings makes the loss not-a-number.
    pub fn info_nce(
        &mut self,
        arch: Arch,
        [z_img, z_txt]: [&Matrix; 2],
        [d_img, d_txt]: [&mut Matrix; 2],
        settings: LossSettings,
    ) -> Loss {
        let (batch, embedding) = (z_img.rows(), z_img.columns());
        let weights = [settings.weight_i2t, settings.weight_t2i];
        z_txt.transpose_into(batch, settings.inverse_temperature, &mut self.scaled_txt);
        let shift = if 2.0 * settings.inverse_temperature <= SHARED_SHIFT {
            self.logits(arch, z_img, embedding, Some(settings.inverse_temperature));
            Some(settings.inverse_temperature)
        } else {
            self.logits(arch, z_img, embedding, None);
            arch.dispatch(Maxima { logits: &self.logits, max: &mut self.max });
            let shift = self.shared_shift();
            if let Some(shift) = shift {
                arch.dispatch(Exponentials { logits: &mut self.logits, shift });
            }
            shift
        };
        match shift {
            Some(_) => arch.dispatch(Sums { exponentials: &self.logits, sum: &mut self.sum }),
            None => self.separate_exponentials(arch),
        }
        let [i2t, t2i] = self.losses(shift);
        self.factors(weights);

        // dL/dS = (weighted softmaxes - (sum of weights) I) / B; the identity is applied to the embeddings directly.
        let (weight, scale) = (weights[0] + weights[1], settings.inverse_temperature / batch as f32);
        let mut finish = Contrast { partner: z_txt, weight, scale, out: d_img };
        for start in (0..batch).step_by(ROWS_AT_ONCE) {
            let rows = start..batch.min(start + ROWS_AT_ONCE);
            self.softmaxes(arch, rows.clone(), shift.is_some());
            product_rows(arch, rows, batch, Left::Plain(&self.logits), z_txt, &mut finish);
        }
        let mut finish = Contrast { partner: z_img, weight, scale, out: d_txt };
        product(arch, batch, batch, Left::Transposed(&self.logits), z_img, &mut finish);
        [i2t * weights[0] + t2i * weights[1], i2t, t2i]
    }

    /// The logits, or their shifted exponentials, and the logits of the pairs. Padding weighs nothing in a softmax.
    fn logits(&mut self, arch: Arch, z_img: &Matrix, embedding: usize, shift: Option<f32>) {
        let (batch, out, own) = (z_img.rows(), &mut self.logits, &mut self.own);
        let left = Left::Plain(z_img);
        let padding = match shift {
            Some(shift) => {
                product(arch, batch, embedding, left, &self.scaled_txt, &mut ShiftedExponentials { shift, out, own });
                0.0
            }
            None => {
                product(arch, batch, embedding, left, &self.scaled_txt, &mut Logits { out, own });
                f32::NEG_INFINITY
            }
        };
        if self.logits.columns() < self.logits.width() {
            (0..batch).for_each(|row| self.logits.row_mut(row)[batch..].fill(padding));
        }
    }

    /// The largest logit, when every row's and every column's largest is near enough to it.
    fn shared_shift(&self) -> Option<f32> {
        let batch = self.own.len();
        let each = || self.max.iter().flat_map(|m| &m.row(0)[..batch]).copied();
        let (highest, lowest) = (each().fold(f32::NEG_INFINITY, f32::max), each().fold(f32::INFINITY, f32::min));
        (highest - lowest <= SHARED_SHIFT).then_some(highest)
    }

    /// Exponentials of each direction's own, and their sums.
    fn separate_exponentials(&mut self, arch: Arch) {
        if self.by_column.rows() == 0 {
            self.by_column = self.logits.zeros_like();
        }
        let (by_row, by_column) = (&mut self.logits, &mut self.by_column);
        arch.dispatch(SeparateExponentials { by_row, by_column, max: &self.max, sum: &mut self.sum });
    }

    /// Losses of both directions: mean log-sum-exp against the mean logit of the pairs.
    fn losses(&self, shared_shift: Option<f32>) -> [f32; 2] {
        let batch = self.own.len();
        let own = mean(self.own.iter().map(|s| f64::from(*s)), batch);
        [0, 1].map(|way| {
            let shift = match shared_shift {
                Some(shift) => f64::from(shift),
                None => mean(self.max[way].row(0)[..batch].iter().map(|m| f64::from(*m)), batch),
            };
            (mean_ln(&self.sum[way].row(0)[..batch]) + shift - own) as f32
        })
    }

    /// Makes some rows of exponentials the weighted sum of both softmaxes.
    fn softmaxes(&mut self, arch: Arch, rows: Range<usize>, shared: bool) {
        let (exponentials, factor) = (&mut self.logits, &self.factor);
        match shared {
            true => arch.dispatch(SharedSoftmaxes { exponentials, rows, factor }),
            false => arch.dispatch(SeparateSoftmaxes { exponentials, by_column: &self.by_column, rows, factor }),
        }
    }

    fn factors(&mut self, weights: [f32; 2]) {
        let batch = self.own.len();
        for ((factor, sum), weight) in self.factor.iter_mut().zip(&self.sum).zip(weights) {
            let each = factor.row_mut(0)[..batch].iter_mut().zip(sum.row(0));
            each.for_each(|(factor, sum)| *factor = weight / sum);
        }
    }
}

fn mean(values: impl Iterator<Item = f64>, n: usize) -> f64 {
    values.sum::<f64>() / n as f64
}

/// The mean logarithm of sums of exponentials, one logarithm for several of them.
fn mean_ln(sums: &[f32]) -> f64 {
    let of = |some: &[f32]| libm::log(some.iter().map(|s| f64::from(*s)).product::<f64>());
    mean(sums.chunks(FACTORS).map(of), sums.len())
}

/// Keeps logits, and those of the pairs apart as well.
struct Logits<'a> {
    out: &'a mut Matrix,
    own: &'a mut [f32],
}

impl Finish for Logits<'_> {
    #[inline(always)]
    fn take<S: Simd, const V: usize>(&mut self, _: S, row: usize, column: usize, entries: [S::f32s; V]) {
        *vectors_mut::<S, V>(self.out, row, column) = entries;
        if (column..column + V * S::F32_LANES).contains(&row) {
            self.own[row] = self.out.row(row)[row];
        }
    }
}

/// Keeps `exp(logit - shift)`, and the logits of the pairs.
struct ShiftedExponentials<'a> {
    shift: f32,
    out: &'a mut Matrix,
    own: &'a mut [f32],
}

impl Finish for ShiftedExponentials<'_> {
    #[inline(always)]
    fn take<S: Simd, const V: usize>(&mut self, simd: S, row: usize, column: usize, entries: [S::f32s; V]) {
        let out = vectors_mut::<S, V>(self.out, row, column);
        if (column..column + V * S::F32_LANES).contains(&row) {
            *out = entries;
            self.own[row] = self.out.row(row)[row];
        }
        let shift = simd.splat_f32s(self.shift);
        // A loop: a closure passed to `map` is compiled without the vectors' instructions.
        for (out, entry) in vectors_mut::<S, V>(self.out, row, column).iter_mut().zip(entries) {
            *out = exp(simd, simd.sub_f32s(entry, shift));
        }
    }
}

/// The gradient with respect to one side's embeddings: what the softmaxes pull towards, against the own partner.
struct Contrast<'a> {
    partner: &'a Matrix,
    weight: f32,
    scale: f32,
    out: &'a mut Matrix,
}

impl Finish for Contrast<'_> {
    #[inline(always)]
    fn take<S: Simd, const V: usize>(&mut self, simd: S, row: usize, column: usize, entries: [S::f32s; V]) {
        let (weight, scale) = (simd.splat_f32s(self.weight), simd.splat_f32s(self.scale));
        let (out, partner) = (vectors_mut::<S, V>(self.out, row, column), vectors::<S, V>(self.partner, row, column));
        for ((out, partner), entry) in out.iter_mut().zip(partner).zip(entries) {
            *out = simd.mul_f32s(simd.negate_mul_add_e_f32s(*partner, weight, entry), scale);
        }
    }
}

struct Maxima<'a> {
    logits: &'a Matrix,
    max: &'a mut [Matrix; 2],
}

impl WithSimd for Maxima<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [by_row, by_column] = &mut *self.max;
        let (by_row, by_column) = (by_row.row_mut(0), S::as_mut_simd_f32s(by_column.row_mut(0)).0);
        by_column.fill(simd.splat_f32s(f32::NEG_INFINITY));
        for (row, max) in by_row.iter_mut().enumerate().take(self.logits.rows()) {
            let mut highest = simd.splat_f32s(f32::NEG_INFINITY);
            for (column, v) in by_column.iter_mut().zip(S::as_simd_f32s(self.logits.row(row)).0) {
                highest = simd.max_f32s(highest, *v);
                *column = simd.max_f32s(*column, *v);
            }
            *max = simd.reduce_max_f32s(highest);
        }
        // Padding is minus infinity throughout, from which no shift may be taken.
        let columns = self.logits.columns();
        self.max[1].row_mut(0)[columns..].fill(0.0);
    }
}

struct Exponentials<'a> {
    logits: &'a mut Matrix,
    shift: f32,
}

impl WithSimd for Exponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let shift = simd.splat_f32s(self.shift);
        for row in 0..self.logits.rows() {
            for v in S::as_mut_simd_f32s(self.logits.row_mut(row)).0 {
                *v = exp(simd, simd.sub_f32s(*v, shift));
            }
        }
    }
}

struct Sums<'a> {
    exponentials: &'a Matrix,
    sum: &'a mut [Matrix; 2],
}

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [by_row, by_column] = self.sum;
        let (by_row, by_column) = (by_row.row_mut(0), S::as_mut_simd_f32s(by_column.row_mut(0)).0);
        by_column.fill(simd.splat_f32s(0.0));
        for (row, sum) in by_row.iter_mut().enumerate().take(self.exponentials.rows()) {
            let mut total = simd.splat_f32s(0.0);
            for (column, v) in by_column.iter_mut().zip(S::as_simd_f32s(self.exponentials.row(row)).0) {
                total = simd.add_f32s(total, *v);
                *column = simd.add_f32s(*column, *v);
            }
            *sum = simd.reduce_sum_f32s(total);
        }
    }
}

struct SharedSoftmaxes<'a> {
    exponentials: &'a mut Matrix,
    rows: Range<usize>,
    factor: &'a [Matrix; 2],
}

impl WithSimd for SharedSoftmaxes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let columns = S::as_simd_f32s(self.factor[1].row(0)).0;
        for row in self.rows {
            let factor = simd.splat_f32s(self.factor[0].row(0)[row]);
            let exponentials = S::as_mut_simd_f32s(self.exponentials.row_mut(row)).0;
            for (v, column) in exponentials.iter_mut().zip(columns) {
                *v = simd.mul_f32s(*v, simd.add_f32s(factor, *column));
            }
        }
    }
}

struct SeparateExponentials<'a> {
    by_row: &'a mut Matrix,
    by_column: &'a mut Matrix,
    max: &'a [Matrix; 2],
    sum: &'a mut [Matrix; 2],
}

impl WithSimd for SeparateExponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [row_sums, column_sums] = self.sum;
        let (row_sums, column_sums) = (row_sums.row_mut(0), S::as_mut_simd_f32s(column_sums.row_mut(0)).0);
        column_sums.fill(simd.splat_f32s(0.0));
        let column_max = S::as_simd_f32s(self.max[1].row(0)).0;
        for (row, row_sum) in row_sums.iter_mut().enumerate().take(self.by_row.rows()) {
            let row_max = simd.splat_f32s(self.max[0].row(0)[row]);
            let by_row = S::as_mut_simd_f32s(self.by_row.row_mut(row)).0;
            let by_column = S::as_mut_simd_f32s(self.by_column.row_mut(row)).0;
            let mut total = simd.splat_f32s(0.0);
            for (at, (v, w)) in by_row.iter_mut().zip(by_column).enumerate() {
                *w = exp(simd, simd.sub_f32s(*v, column_max[at]));
                column_sums[at] = simd.add_f32s(column_sums[at], *w);
                *v = exp(simd, simd.sub_f32s(*v, row_max));
                total = simd.add_f32s(total, *v);
            }
            *row_sum = simd.reduce_sum_f32s(total);
        }
    }
}

struct SeparateSoftmaxes<'a> {
    exponentials: &'a mut Matrix,
    by_column: &'a Matrix,
    rows: Range<usize>,
    factor: &'a [Matrix; 2],
}

impl WithSimd for SeparateSoftmaxes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let columns = S::as_simd_f32s(self.factor[1].row(0)).0;
        for row in self.rows {
            let factor = simd.splat_f32s(self.factor[0].row(0)[row]);
            let by_column = S::as_simd_f32s(self.by_column.row(row)).0;
            let by_row = S::as_mut_simd_f32s(self.exponentials.row_mut(row)).0;
            for ((v, w), column) in by_row.iter_mut().zip(by_column).zip(columns) {
                *v = simd.mul_add_e_f32s(*v, factor, simd.mul_f32s(*w, *column));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{arch, instruction_sets};
    use super::*;
    use crate::numerics::linalg::{NORM_GUARD, dot};
    use crate::numerics::stream::Streams;

    const D: usize = 6;

    /// Loss and gradients in f64, from the definition: `[total, i2t, t2i]`, image gradient, text gradient.
    fn exact(z: [&[f32]; 2], temperature: f64, weights: [f64; 2]) -> ([f64; 3], [Vec<f64>; 2]) {
        let z = z.map(|z| z.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>());
        let n = z[0].len() / D;
        let row = |m: usize, i: usize| &z[m][i * D..(i + 1) * D];
        // way 0: images ask, texts answer; way 1: the other way round.
        let logit = |way: usize, i: usize, j: usize| dot(row(way, i), row(1 - way, j)) / temperature;
        let mut losses = [0.0; 3];
        let mut gradients = [vec![0.0; n * D], vec![0.0; n * D]];
        for way in 0..2 {
            for i in 0..n {
                let max = (0..n).map(|j| logit(way, i, j)).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = (0..n).map(|j| (logit(way, i, j) - max).exp()).sum();
                losses[1 + way] += (sum.ln() + max - logit(way, i, i)) / n as f64;
                for j in 0..n {
                    let share = (logit(way, i, j) - max).exp() / sum - if i == j { 1.0 } else { 0.0 };
                    let slope = weights[way] * share / (n as f64 * temperature);
                    for k in 0..D {
                        gradients[way][i * D + k] += slope * row(1 - way, j)[k];
                        gradients[1 - way][j * D + k] += slope * row(way, i)[k];
                    }
                }
            }
        }
        losses[0] = weights[0] * losses[1] + weights[1] * losses[2];
        (losses, gradients)
    }

    fn fused(arch: Arch, z: [&[f32]; 2], temperature: f64, weights: [f64; 2]) -> (Loss, [Vec<f32>; 2], Workspace) {
        let n = z[0].len() / D;
        let z = z.map(|z| Matrix::from_values(z, n, D));
        let mut workspace = Workspace::new(n, D);
        let mut d = [Matrix::zeros(n, D), Matrix::zeros(n, D)];
        let [d_img, d_txt] = &mut d;
        let [weight_i2t, weight_t2i] = weights.map(|w| w as f32);
        let settings = LossSettings { inverse_temperature: (1.0 / temperature) as f32, weight_i2t, weight_t2i };
        let loss = workspace.info_nce(arch, z.each_ref(), [d_img, d_txt], settings);
        (loss, d.map(|d| d.values()), workspace)
    }

    /// Unit vectors, the second set near the first: `noise` 0 makes perfect pairs.
    fn pairs(n: usize, noise: f64) -> [Vec<f32>; 2] {
        let mut stream = Streams::new(7, "native.info_nce").item(n as u64);
        let unit = |values: Vec<f64>| {
            let norm = (values.iter().map(|v| v * v).sum::<f64>() + NORM_GUARD).sqrt();
            values.into_iter().map(move |v| (v / norm) as f32)
        };
        let mut z = [Vec::new(), Vec::new()];
        for _ in 0..n {
            let a: Vec<f64> = (0..D).map(|_| stream.normal()).collect();
            let b: Vec<f64> = a.iter().map(|v| v + noise * stream.normal()).collect();
            z[0].extend(unit(a));
            z[1].extend(unit(b));
        }
        z
    }

    /// A logit is a sum of `D` products over the temperature, so its error is of `sqrt(D)` spacings times that; a softmax
    /// share is off by as much, relatively, and sums of `n` such terms add `sqrt(n)` spacings. Four standard deviations.
    fn tolerance(n: usize, temperature: f64) -> f64 {
        4.0 * f64::from(f32::EPSILON) * ((D as f64).sqrt() * (1.0 + 1.0 / temperature) + (n as f64).sqrt())
    }

    /// Compares on every instruction set of this processor; returns what the widest one left behind.
    fn assert_exact(z: [&[f32]; 2], temperature: f64, weights: [f64; 2]) -> Workspace {
        let exact = exact(z, temperature, weights);
        let each = instruction_sets().into_iter().map(|(_, arch)| assert_near(arch, z, temperature, weights, &exact));
        each.collect::<Vec<_>>().swap_remove(0)
    }

    fn assert_near(
        arch: Arch,
        z: [&[f32]; 2],
        temperature: f64,
        weights: [f64; 2],
        (losses, expected): &([f64; 3], [Vec<f64>; 2]),
    ) -> Workspace {
        let n = z[0].len() / D;
        let (loss, gradients, workspace) = fused(arch, z, temperature, weights);
        let allowed = tolerance(n, temperature);
        for (got, expected) in loss.iter().zip(losses) {
            let error = (f64::from(*got) - expected).abs();
            assert!(error <= allowed * (1.0 + expected.abs()), "loss {got}, not {expected}, at {temperature}, n {n}");
        }
        // A gradient is a difference of unit vectors over n and the temperature; what cancels leaves rounding.
        let scale = (weights[0] + weights[1]) / (n as f64 * temperature);
        for (got, expected) in gradients.iter().flatten().zip(expected.iter().flatten()) {
            let error = (f64::from(*got) - expected).abs();
            assert!(error <= allowed * scale, "gradient {got}, not {expected}, at {temperature}, n {n}");
        }
        workspace
    }

    const TEMPERATURES: [f64; 8] = [1e-3, 5e-3, 0.01, 0.02, 0.034, 0.1, 1.0, 10.0];

    #[test]
    fn loss_and_gradients_agree_with_f64_from_temperature_1e_3_to_10() {
        for n in [1, 2, 5, 16, 37, 70] {
            for noise in [0.0, 0.1, 10.0] {
                let z = pairs(n, noise);
                for temperature in TEMPERATURES {
                    for weights in [[0.5, 0.5], [1.0, 0.0], [0.3, 2.0]] {
                        assert_exact([&z[0], &z[1]], temperature, weights);
                    }
                }
            }
        }
    }

    #[test]
    fn each_way_of_shifting_is_taken_where_it_is_meant_to_be() {
        let separate = |noise: f64, temperature: f64| {
            let z = pairs(16, noise);
            let workspace = assert_exact([&z[0], &z[1]], temperature, [0.5, 0.5]);
            (workspace.by_column.rows() > 0, workspace.max[0].row(0)[0] != 0.0)
        };
        // Not separate and no maxima: the shift is the inverse temperature.
        assert_eq!(separate(0.1, 0.034), (false, false));
        // Near pairs have large logits in every row and column, so that the largest serves all.
        assert_eq!(separate(0.1, 0.01), (false, true));
        // Strangers at the lowest temperature do not.
        assert_eq!(separate(10.0, 1e-3), (true, true));
    }

    #[test]
    fn equal_rows_give_the_logarithm_of_the_batch() {
        for n in [5, 32] {
            let row: Vec<f32> = (0..D).map(|i| if i < 4 { 0.5 } else { 0.0 }).collect();
            let z = row.repeat(n);
            for temperature in TEMPERATURES {
                assert_exact([&z, &z], temperature, [0.5, 0.5]);
                let (loss, ..) = fused(arch(), [&z, &z], temperature, [0.5, 0.5]);
                let error = f64::from(loss[1]) - (n as f64).ln();
                assert!(error.abs() < tolerance(n, temperature), "{loss:?} at {temperature}");
            }
        }
    }

    #[test]
    fn one_huge_logit_neither_overflows_nor_vanishes() {
        // Row 0 finds a perfect match; the others are at right angles to everything or point away from it.
        let n = 17;
        let axis = |i: usize, sign: f32| (0..D).map(move |k| if k == i { sign } else { 0.0 });
        let img: Vec<f32> = (0..n).flat_map(|i| axis(if i == 0 { 0 } else { 1 }, 1.0)).collect();
        let txt: Vec<f32> = (0..n)
            .flat_map(|i| axis(if i == 0 { 0 } else { 2 - i % 2 }, if i % 3 == 0 { 1.0 } else { -1.0 }))
            .collect();
        for temperature in TEMPERATURES {
            assert_exact([&img, &txt], temperature, [0.5, 0.5]);
        }
    }

    #[test]
    fn not_a_number_reaches_the_loss() {
        for temperature in TEMPERATURES {
            let mut z = pairs(9, 0.1);
            z[0][3 * D + 1] = f32::NAN;
            let (loss, ..) = fused(arch(), [&z[0], &z[1]], temperature, [0.5, 0.5]);
            assert!(loss.iter().all(|l| l.is_nan()), "{loss:?} at {temperature}");
        }
    }
}
