//! Symmetric InfoNCE in one launch: from cosines to the losses and the gradient with respect to the cosines.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use cubecl::prelude::*;

use super::fused;
use super::launch::{
    SIDE, argument, cube_max, cube_sum, cubes, dims, empty, line_max, line_sum, owned, partials, square,
};
use crate::aligner::info_nce::{Loss, LossSettings};

/// Largest minibatch of the kernel. It keeps four numbers per row in shared memory, of which every WebGPU device has
/// 16 KiB; more than this, and the plain program runs.
pub const LARGEST_BATCH: usize = 896;

/// How far apart, in nats, the largest logits of two lines may lie for one exponential to serve both: every sum is then
/// at least `exp(-60)`, far from f32's smallest normal number, `exp(-87)`, and its inverse far from the largest.
pub const SAFE_SPREAD: f32 = 60.0;

/// Below every cosine.
const LEAST: f32 = -2.0;

/// Whether [`losses_and_pull`] takes minibatches of unit vectors `[C, B, D]`.
pub fn takes(unit: &Tensor<3>) -> bool {
    fused(unit) && unit.dims()[1] <= LARGEST_BATCH
}

/// The losses, and the gradient of the total with respect to the cosines,
/// `(weight_i2t softmax_rows + weight_t2i softmax_columns - (weight_i2t + weight_t2i) I) / (temperature B)`.
///
/// **Shapes**: `cosines [C, B, B]` of image rows and text columns; returns the gradient `[C, B, B]`.
///
/// **Numerics**: one exponential per pair serves both directions and the gradient where the largest logits of all rows
/// and columns lie within [`SAFE_SPREAD`] of each other; at temperatures of 1/30 and above, that is known without
/// looking. Otherwise, each direction subtracts its own maximum. A cell's own numbers decide.
pub fn losses_and_pull(cosines: Tensor<3>, settings: &LossSettings) -> (Loss, Tensor<3>) {
    let (total, i2t, t2i, pull) = Dispatch::losses_and_pull(
        cosines.into_dispatch(),
        settings.inverse_temperature.clone().into_dispatch(),
        settings.weight_i2t.clone().into_dispatch(),
        settings.weight_t2i.clone().into_dispatch(),
    );
    let [total, i2t, t2i, pull] = [total, i2t, t2i, pull].map(Tensor::from_dispatch);
    (Loss { total, i2t, t2i }, pull)
}

#[backend_extension(Cube)]
trait InfoNceKernels: Backend {
    fn losses_and_pull(
        cosines: FloatTensor<Self>,
        inverse_temperature: FloatTensor<Self>,
        weight_i2t: FloatTensor<Self>,
        weight_t2i: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl InfoNceKernels for CubeBackend {
    fn losses_and_pull(
        cosines: FloatTensor<Self>,
        inverse_temperature: FloatTensor<Self>,
        weight_i2t: FloatTensor<Self>,
        weight_t2i: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let ([cells, batch, _], client) = (dims(&cosines), cosines.client.clone());
        let pull = owned(cosines);
        let [total, i2t, t2i] = [0; 3].map(|_| empty(&pull, [cells, 1, 1]));
        info_nce_kernel::launch(
            &client,
            cubes(1, cells),
            square(),
            argument(&pull),
            argument(&into_contiguous(inverse_temperature)),
            argument(&into_contiguous(weight_i2t)),
            argument(&into_contiguous(weight_t2i)),
            argument(&total),
            argument(&i2t),
            argument(&t2i),
            batch,
        );
        (total, i2t, t2i, pull)
    }
}

/// What the units of a cube share about the lines of their cell: what each subtracts from its logits before the
/// exponential, over the temperature, and its sum of exponentials.
#[derive(CubeType)]
struct Lines {
    row_top: Shared<[f32]>,
    column_top: Shared<[f32]>,
    row_sum: Shared<[f32]>,
    column_sum: Shared<[f32]>,
    partials: Shared<[f32]>,
}

/// One cube per cell. The unit at `(x, y)` owns the pairs whose row is `y` and whose column is `x` modulo the side, so
/// that what it reads again from `pull` it wrote itself. `pull` holds cosines at first, then exponentials where one
/// serves both directions, and the gradient in the end.
#[cube(launch)]
fn info_nce_kernel(
    pull: &mut [f32],
    inverse_temperature: &[f32],
    weight_i2t: &[f32],
    weight_t2i: &[f32],
    total: &mut [f32],
    i2t: &mut [f32],
    t2i: &mut [f32],
    #[comptime] batch: usize,
) {
    let cell = CUBE_POS_Y as usize;
    let first = cell * (batch * batch);
    let sharpness = inverse_temperature[cell];
    let mut lines = Lines {
        row_top: Shared::<[f32]>::new_slice(batch),
        column_top: Shared::<[f32]>::new_slice(batch),
        row_sum: Shared::<[f32]>::new_slice(batch),
        column_sum: Shared::<[f32]>::new_slice(batch),
        partials: partials(),
    };
    let shared = find_tops(&*pull, &mut lines, first, sharpness, batch);
    let own_of_rows = own_below(&*pull, &lines.row_top, first, sharpness, batch);
    let own_of_columns = own_below(&*pull, &lines.column_top, first, sharpness, batch);
    let logs_of_rows = sum_rows(pull, &mut lines, first, sharpness, shared, batch);
    let logs_of_columns = sum_columns(&*pull, &mut lines, first, sharpness, shared, batch);

    let mean_i2t = cube_sum(&mut lines.partials, own_of_rows + logs_of_rows) / batch as f32;
    let mean_t2i = cube_sum(&mut lines.partials, own_of_columns + logs_of_columns) / batch as f32;
    if UNIT_POS == 0 {
        i2t[cell] = mean_i2t;
        t2i[cell] = mean_t2i;
        total[cell] = mean_i2t * weight_i2t[cell] + mean_t2i * weight_t2i[cell];
    }
    weigh(pull, &lines, first, sharpness, shared, weight_i2t[cell], weight_t2i[cell], batch);
}

/// Finds what each line subtracts. True when that is one number for all, and one exponential serves both directions.
#[cube]
fn find_tops(cosines: &[f32], lines: &mut Lines, first: usize, sharpness: f32, #[comptime] batch: usize) -> bool {
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    // Cosines lie between -1 and 1, and so do the largest of all lines.
    let bounded = 2.0f32 * sharpness <= SAFE_SPREAD;
    let mut highest = f32::new(LEAST);
    let mut lowest_negated = f32::new(LEAST);
    let mut block = 0usize;
    while block < batch {
        let (row, column) = (block + y, block + x);
        let mut in_row = f32::new(LEAST);
        let mut in_column = f32::new(LEAST);
        if bounded {
            in_row = 1.0f32;
            in_column = 1.0f32;
        } else {
            let mut other = 0usize;
            while other < batch {
                if row < batch && other + x < batch {
                    in_row = in_row.max(cosines[first + row * batch + other + x]);
                }
                if column < batch && other + y < batch {
                    in_column = in_column.max(cosines[first + (other + y) * batch + column]);
                }
                other += SIDE;
            }
        }
        let in_row = line_max(&mut lines.partials, in_row, y, x);
        let in_column = line_max(&mut lines.partials, in_column, x, y);
        if row < batch {
            highest = highest.max(in_row);
            lowest_negated = lowest_negated.max(-in_row);
            if x == 0 {
                lines.row_top[row] = in_row;
            }
        }
        if column < batch {
            lowest_negated = lowest_negated.max(-in_column);
            if y == 0 {
                lines.column_top[column] = in_column;
            }
        }
        block += SIDE;
    }
    let highest = cube_max(&mut lines.partials, highest);
    let lowest = -cube_max(&mut lines.partials, lowest_negated);
    let shared = (highest - lowest) * sharpness <= SAFE_SPREAD;
    if shared {
        let mut line = UNIT_POS as usize;
        while line < batch {
            lines.row_top[line] = highest;
            lines.column_top[line] = highest;
            line += SIDE * SIDE;
        }
    }
    sync_cube();
    shared
}

/// Sum over this unit's own lines of how far, in nats, a pair's logit lies below what its line subtracts.
#[cube]
fn own_below(cosines: &[f32], tops: &Shared<[f32]>, first: usize, sharpness: f32, #[comptime] batch: usize) -> f32 {
    let mut sum = 0.0f32;
    if UNIT_POS_X == UNIT_POS_Y {
        let mut line = UNIT_POS_X as usize;
        while line < batch {
            sum += (tops[line] - cosines[first + line * batch + line]) * sharpness;
            line += SIDE;
        }
    }
    sum
}

/// Sums the exponentials of every row, and leaves them in `values` where columns can use them. Returns the logarithms
/// that are this unit's to add.
#[cube]
fn sum_rows(
    values: &mut [f32],
    lines: &mut Lines,
    first: usize,
    sharpness: f32,
    shared: bool,
    #[comptime] batch: usize,
) -> f32 {
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let mut logs = 0.0f32;
    let mut block = 0usize;
    while block < batch {
        let row = block + y;
        let mut sum = 0.0f32;
        if row < batch {
            let mut column = x;
            while column < batch {
                let at = first + row * batch + column;
                let exponential = ((values[at] - lines.row_top[row]) * sharpness).exp();
                sum += exponential;
                if shared {
                    values[at] = exponential;
                }
                column += SIDE;
            }
        }
        let sum = line_sum(&mut lines.partials, sum, y, x);
        if x == 0 && row < batch {
            lines.row_sum[row] = sum;
            logs += sum.ln();
        }
        block += SIDE;
    }
    logs
}

/// The same of every column, from the exponentials of the rows where these serve both.
#[cube]
fn sum_columns(
    values: &[f32],
    lines: &mut Lines,
    first: usize,
    sharpness: f32,
    shared: bool,
    #[comptime] batch: usize,
) -> f32 {
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let mut logs = 0.0f32;
    let mut block = 0usize;
    while block < batch {
        let column = block + x;
        let mut sum = 0.0f32;
        if column < batch {
            let mut row = y;
            while row < batch {
                let mut exponential = values[first + row * batch + column];
                if !shared {
                    exponential = ((exponential - lines.column_top[column]) * sharpness).exp();
                }
                sum += exponential;
                row += SIDE;
            }
        }
        let sum = line_sum(&mut lines.partials, sum, x, y);
        if y == 0 && column < batch {
            lines.column_sum[column] = sum;
            logs += sum.ln();
        }
        block += SIDE;
    }
    logs
}

/// Turns cosines, or exponentials where one serves both directions, into the gradient.
#[cube]
fn weigh(
    values: &mut [f32],
    lines: &Lines,
    first: usize,
    sharpness: f32,
    shared: bool,
    weight_i2t: f32,
    weight_t2i: f32,
    #[comptime] batch: usize,
) {
    let scale = sharpness / batch as f32;
    let mut row = UNIT_POS_Y as usize;
    while row < batch {
        let mut column = UNIT_POS_X as usize;
        while column < batch {
            let at = first + row * batch + column;
            let value = values[at];
            let mut by_row = value;
            let mut by_column = value;
            if !shared {
                by_row = ((value - lines.row_top[row]) * sharpness).exp();
                by_column = ((value - lines.column_top[column]) * sharpness).exp();
            }
            by_row /= lines.row_sum[row];
            by_column /= lines.column_sum[column];
            if column == row {
                by_row -= 1.0f32;
                by_column -= 1.0f32;
            }
            values[at] = (by_row * weight_i2t + by_column * weight_t2i) * scale;
            column += SIDE;
        }
        row += SIDE;
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Bound, HEADROOM, SPACING, assert_close, draws, on_wgpu, tensor, widen};
    use super::*;
    use crate::aligner::info_nce::{info_nce, plain_info_nce};
    use crate::aligner::parameters::host;
    use crate::spec::config::TrainConfig;

    /// Unit vectors of one cell, `[B, D]` row-major, image and text.
    struct Pairs {
        name: String,
        d: usize,
        z: [Vec<f32>; 2],
    }

    impl Pairs {
        fn new(name: &str, d: usize, raw: [Vec<f32>; 2]) -> Self {
            let unit = |v: &[f32]| {
                let norm = v.iter().map(|x| x * x).sum::<f32>().sqrt();
                v.iter().map(move |x| x / norm).collect::<Vec<f32>>()
            };
            let z = raw.map(|values| values.chunks(d).flat_map(unit).collect());
            Self { name: name.to_string(), d, z }
        }

        fn batch(&self) -> usize {
            self.z[0].len() / self.d
        }

        fn cosine(&self, i: usize, j: usize) -> f64 {
            (0..self.d).map(|k| f64::from(self.z[0][i * self.d + k]) * f64::from(self.z[1][j * self.d + k])).sum()
        }

        /// Total, image-to-text and text-to-image loss and both gradients in f64, from the definition.
        fn exact(&self, train: &TrainConfig) -> [Vec<f64>; 5] {
            let (b, d) = (self.batch(), self.d);
            let logit = |i: usize, j: usize| self.cosine(i, j) / train.temperature;
            let log_sum_exp = |line: &dyn Fn(usize) -> f64| {
                let top = (0..b).map(line).fold(f64::NEG_INFINITY, f64::max);
                top + (0..b).map(|k| (line(k) - top).exp()).sum::<f64>().ln()
            };
            let rows: Vec<f64> = (0..b).map(|i| log_sum_exp(&|j| logit(i, j))).collect();
            let columns: Vec<f64> = (0..b).map(|j| log_sum_exp(&|i| logit(i, j))).collect();
            let mean = |lines: &[f64]| (0..b).map(|i| lines[i] - logit(i, i)).sum::<f64>() / b as f64;
            let (i2t, t2i) = (mean(&rows), mean(&columns));
            let (mut d_img, mut d_txt) = (vec![0.0; b * d], vec![0.0; b * d]);
            for (i, j) in (0..b).flat_map(|i| (0..b).map(move |j| (i, j))) {
                let own = f64::from(u8::from(i == j));
                let pull = train.weight_i2t * ((logit(i, j) - rows[i]).exp() - own)
                    + train.weight_t2i * ((logit(i, j) - columns[j]).exp() - own);
                let pull = pull / (train.temperature * b as f64);
                for k in 0..d {
                    d_img[i * d + k] += pull * f64::from(self.z[1][j * d + k]);
                    d_txt[j * d + k] += pull * f64::from(self.z[0][i * d + k]);
                }
            }
            [vec![train.weight_i2t * i2t + train.weight_t2i * t2i], vec![i2t], vec![t2i], d_img, d_txt]
        }

        /// Whether one exponential serves both directions.
        fn shares(&self, temperature: f64) -> bool {
            let lines = 0..self.batch();
            let top = |f: &dyn Fn(usize) -> f64| lines.clone().map(f).fold(f64::NEG_INFINITY, f64::max);
            let tops: Vec<f64> =
                lines.clone().flat_map(|l| [top(&|j| self.cosine(l, j)), top(&|i| self.cosine(i, l))]).collect();
            let (low, high) = tops.iter().fold((f64::MAX, f64::MIN), |(l, h), t| (t.min(l), t.max(h)));
            (high - low) / temperature <= f64::from(SAFE_SPREAD)
        }
    }

    fn cases() -> Vec<Pairs> {
        let mut cases = Vec::new();
        for (b, d) in [(2, 3), (5, 2), (16, 4), (17, 8), (37, 5)] {
            let (img, txt) = (draws("img", b * d), draws("txt", b * d));
            let near = img.iter().zip(&txt).map(|(a, n)| a + 1e-3 * n).collect();
            cases.push(Pairs::new(&format!("strangers, {b}"), d, [img.clone(), txt]));
            cases.push(Pairs::new(&format!("near pairs, {b}"), d, [img, near]));
        }
        let equal: Vec<f32> = std::iter::repeat_n([0.6, 0.8], 19).flatten().collect();
        cases.push(Pairs::new("all rows equal", 2, [equal.clone(), equal]));
        // Pairs that are opposite but for one, whose logit is huge.
        let one = |sign: f32| (0..18).flat_map(|i| [1.0, if i == 4 { 0.0 } else { 9.0 * sign }]).collect();
        cases.push(Pairs::new("one huge logit", 2, [one(1.0), one(-1.0)]));
        cases
    }

    const TEMPERATURES: [f64; 6] = [1e-3, 0.01, 0.03, 0.07, 1.0, 10.0];
    const WEIGHTS: [(f64, f64); 3] = [(0.5, 0.5), (0.3, 2.0), (1.0, 0.0)];

    fn settings(temperature: f64, (weight_i2t, weight_t2i): (f64, f64)) -> TrainConfig {
        TrainConfig { temperature, weight_i2t, weight_t2i, ..TrainConfig::default() }
    }

    /// Bounds of a loss and of a gradient's coordinate.
    ///
    /// A logit is a cosine over the temperature, and so is the rounding error of the cosine's sum of products; a loss
    /// inherits it, with the roundings of its own size. A softmax is off by as much relative to itself; the pulls on a
    /// vector of length 1 sum to `weights / (temperature B)` in its own direction, and to more in the other where many
    /// want it.
    fn bounds(pairs: &Pairs, train: &TrainConfig) -> [Bound; 2] {
        let weights = train.weight_i2t + train.weight_t2i;
        let logit = (pairs.d as f64).sqrt() * (1.0 + 1.0 / train.temperature);
        let relative = HEADROOM * SPACING * (logit + (pairs.batch() as f64).sqrt());
        let pull = weights / (train.temperature * pairs.batch() as f64);
        [Bound { relative, floor: weights.max(1.0) }, Bound { relative, floor: pull }]
    }

    #[test]
    fn losses_and_gradients_are_those_of_the_plain_program_and_of_f64() {
        let trains: Vec<TrainConfig> = TEMPERATURES.into_iter().flat_map(|t| WEIGHTS.map(|w| settings(t, w))).collect();
        let mut shared = [0, 0];
        let mut worst = [[0.0_f64; 2]; 2];
        on_wgpu(|device| {
            let lanes = LossSettings::new(&trains.iter().collect::<Vec<_>>(), device);
            for pairs in cases() {
                let shape = [trains.len(), pairs.batch(), pairs.d];
                let [img, txt] = [0, 1].map(|m| tensor(&pairs.z[m].repeat(trains.len()), shape, device));
                let tensors = |(loss, d_img, d_txt): (Loss, _, _)| [loss.total, loss.i2t, loss.t2i, d_img, d_txt];
                let fused = tensors(info_nce(&img, &txt, &lanes)).map(host);
                let plain = tensors(plain_info_nce(&img, &txt, &lanes)).map(widen);
                for (c, train) in trains.iter().enumerate() {
                    shared[usize::from(pairs.shares(train.temperature))] += 1;
                    let exact = pairs.exact(train);
                    for (t, exact) in exact.iter().enumerate() {
                        let kind = usize::from(t > 2);
                        let bound = bounds(&pairs, train)[kind];
                        let own = c * exact.len()..(c + 1) * exact.len();
                        for (r, expected) in [&plain[t][own.clone()], exact].into_iter().enumerate() {
                            let what = format!("{}, {train:?}, tensor {t} against {}", pairs.name, ["plain", "f64"][r]);
                            let share = assert_close(&what, &fused[t][own.clone()], expected, bound);
                            worst[kind][r] = worst[kind][r].max(share);
                        }
                    }
                }
            }
            assert!(shared.iter().all(|n| *n > 10), "both ways of subtracting maxima are met: {shared:?}");
            println!("shares of the bounds used by losses and gradients against plain and f64: {worst:?}");
        });
    }

    #[test]
    fn the_largest_minibatch_fits_and_a_larger_one_takes_the_plain_program() {
        on_wgpu(|device| {
            assert!(!takes(&tensor(&vec![0.0; LARGEST_BATCH + 1], [1, LARGEST_BATCH + 1, 1], device)));
            let raw = ["img", "txt"].map(|name| draws(name, LARGEST_BATCH * 2));
            let pairs = Pairs::new("largest minibatch", 2, raw);
            let trains = [1e-3, 0.07].map(|t| settings(t, (0.3, 2.0)));
            let lanes = LossSettings::new(&trains.iter().collect::<Vec<_>>(), device);
            let [img, txt] = [0, 1].map(|m| tensor(&pairs.z[m].repeat(2), [2, LARGEST_BATCH, 2], device));
            assert!(takes(&img));
            let (loss, d_img, d_txt) = info_nce(&img, &txt, &lanes);
            let (plain, plain_img, plain_txt) = plain_info_nce(&img, &txt, &lanes);
            // The sharper cell's bound for both: what is looked for is a line left out.
            let [of_loss, of_gradient] = bounds(&pairs, &trains[0]);
            assert_close("loss", &host(loss.total), &widen(plain.total), of_loss);
            assert_close("d_img", &host(d_img), &widen(plain_img), of_gradient);
            assert_close("d_txt", &host(d_txt), &widen(plain_txt), of_gradient);
        });
    }

    #[test]
    fn a_cell_keeps_its_bits_beside_cells_that_take_the_other_way() {
        on_wgpu(|device| {
            let (b, d) = (21, 6);
            let cells: Vec<Pairs> =
                (0..3).map(|c| Pairs::new("", d, [0, 1].map(|m| draws(&format!("{c} {m}"), b * d)))).collect();
            let trains = [1e-3, 0.07, 0.01].map(|t| settings(t, (0.3, 2.0)));
            let run = |which: &[usize]| {
                let z = [0, 1].map(|m| {
                    let values: Vec<f32> = which.iter().flat_map(|c| cells[*c].z[m].clone()).collect();
                    tensor(&values, [which.len(), b, d], device)
                });
                let lanes: Vec<&TrainConfig> = which.iter().map(|c| &trains[*c]).collect();
                let (loss, d_img, d_txt) = info_nce(&z[0], &z[1], &LossSettings::new(&lanes, device));
                let tensors = [loss.total, loss.i2t, loss.t2i, d_img, d_txt];
                tensors.map(|t| host(t).iter().map(|v| v.to_bits()).collect::<Vec<u32>>())
            };
            let pack = run(&[0, 1, 2]);
            for cell in 0..3 {
                for (alone, pack) in run(&[cell]).iter().zip(&pack) {
                    assert_eq!(alone, &pack[cell * alone.len()..(cell + 1) * alone.len()]);
                }
            }
        });
    }

    #[test]
    fn not_a_number_reaches_the_losses_and_its_own_cell_alone() {
        on_wgpu(|device| {
            for temperature in [1e-3, 0.07] {
                let train = settings(temperature, (0.5, 0.5));
                let (mut img, txt) = (vec![0.5_f32; 2 * 17 * 4], vec![0.5_f32; 2 * 17 * 4]);
                img[9 * 4] = f32::NAN;
                let z = [img, txt].map(|v| tensor(&v, [2, 17, 4], device));
                let (loss, d_img, _) = info_nce(&z[0], &z[1], &LossSettings::new(&[&train, &train], device));
                for values in [loss.total, loss.i2t, loss.t2i, d_img].map(host) {
                    let (sick, sound) = values.split_at(values.len() / 2);
                    assert!(sick.iter().any(|v| v.is_nan()), "{sick:?} at {temperature}");
                    assert!(sound.iter().all(|v| v.is_finite()), "{sound:?} at {temperature}");
                }
            }
        });
    }
}
