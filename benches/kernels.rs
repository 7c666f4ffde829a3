//! The native program kernel by kernel at the shapes of the reference workload: `cargo bench --bench kernels`.
//!
//! The rate that divan prints for products is in floating-point operations per second, two per multiply-add; for
//! whole steps in cell-steps per second of one thread.

use cliffline::aligner::native::arch;
use cliffline::aligner::native::cell::{Model, Settings, Workspace};
use cliffline::aligner::native::info_nce::{self, LossSettings};
use cliffline::aligner::native::matrix::Matrix;
use cliffline::aligner::native::product::{Left, Store, product};
use cliffline::aligner::parameters::{MODALITIES, Widths, xavier};
use cliffline::numerics::stream::Streams;
use cliffline::spec::config::{Optimiser, TrainConfig};
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

const BATCH: usize = 256;
const WIDTHS: [Widths; 2] =
    [Widths { inputs: 256, hidden: 64, embedding: 32 }, Widths { inputs: 64, hidden: 64, embedding: 32 }];

fn normals(rows: usize, columns: usize, scale: f64) -> Matrix {
    let mut stream = Streams::new(0, "bench").item(0);
    let values: Vec<f32> = (0..rows * columns).map(|_| (scale * stream.normal()) as f32).collect();
    let mut matrix = Matrix::walked_by_columns(rows, columns);
    for (row, from) in values.chunks(columns).enumerate() {
        matrix.row_mut(row)[..columns].copy_from_slice(from);
    }
    matrix
}

/// Rows, inner length, columns; whether the left operand is transposed. Names as in the step.
const PRODUCTS: [(&str, [usize; 3], bool); 8] = [
    ("x_img w1", [256, 256, 64], false),
    ("x_txt w1", [256, 64, 64], false),
    ("hidden w2", [256, 64, 32], false),
    ("z_img z_txt'", [256, 32, 256], false),
    ("softmax z", [256, 256, 32], false),
    ("softmax' z", [256, 256, 32], true),
    ("hidden' d", [64, 256, 32], true),
    ("x_img' d", [256, 256, 64], true),
];

#[divan::bench(args = PRODUCTS.iter().map(|p| p.0))]
fn products(bencher: Bencher, name: &str) {
    let (_, [rows, inner, columns], transposed) = *PRODUCTS.iter().find(|p| p.0 == name).expect("listed");
    let left = if transposed { normals(inner, rows, 1.0) } else { normals(rows, inner, 1.0) };
    let right = normals(inner, columns, 1.0);
    let mut out = Matrix::walked_by_columns(rows, columns);
    bencher.counter(ItemsCount::new(2 * rows * inner * columns)).bench_local(|| {
        let left = if transposed { Left::Transposed(&left) } else { Left::Plain(&left) };
        product(arch(), rows, inner, left, &right, &mut Store { out: &mut out });
    });
}

/// Loss and gradient from unit vectors, at temperatures that take each way of shifting.
#[divan::bench(args = [0.1, 0.01, 0.001])]
fn loss(bencher: Bencher, temperature: f64) {
    let unit = |seed: u64| {
        let mut z = normals(BATCH, 32, 1.0);
        for row in 0..BATCH {
            let row = &mut z.row_mut(row)[..32];
            row[seed as usize] += 1.0;
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            row.iter_mut().for_each(|v| *v /= norm);
        }
        z
    };
    let (z_img, z_txt) = (unit(0), unit(1));
    let [mut d_img, mut d_txt] = [Matrix::zeros(BATCH, 32), Matrix::zeros(BATCH, 32)];
    let mut workspace = info_nce::Workspace::new(BATCH, 32);
    let train = TrainConfig { temperature, ..TrainConfig::default() };
    bencher.bench_local(|| {
        workspace.info_nce(arch(), [&z_img, &z_txt], [&mut d_img, &mut d_txt], LossSettings::of(&train))
    });
}

fn held() -> (Model, Workspace, TrainConfig) {
    let train = TrainConfig { optimiser: Optimiser::Sgd, momentum: 0.0, ..TrainConfig::default() };
    let host = [0, 1].map(|m| xavier(0, MODALITIES[m], WIDTHS[m]));
    let mut workspace = Workspace::new(BATCH, WIDTHS);
    for modality in &mut workspace.modalities {
        modality.x = normals(BATCH, modality.x.columns(), 1.0);
    }
    (Model::new(host.each_ref(), WIDTHS, &train), workspace, train)
}

#[divan::bench]
fn forward(bencher: Bencher) {
    let (model, mut workspace, _) = held();
    bencher.bench_local(|| workspace.forward(&model.parameters, [1.0, 1.0], None));
}

#[divan::bench]
fn gradients(bencher: Bencher) {
    let (mut model, mut workspace, train) = held();
    let settings = Settings::new(&train, [1.0, 1.0]);
    bencher.bench_local(|| workspace.loss_and_gradients(&mut model, settings, None));
}

#[divan::bench]
fn step(bencher: Bencher) {
    let (mut model, mut workspace, train) = held();
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| workspace.step(&mut model, Settings::new(&train, [1.0, 1.0]), 1, false, None));
}
