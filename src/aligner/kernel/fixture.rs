//! What the tests of the kernels share.

use std::io::Write;

use burn::tensor::{Device, Tensor, TensorData};

use crate::aligner::backend::Choice;
use crate::aligner::parameters::host;
use crate::numerics::stream::Streams;

/// Spacing of f32 at 1.
pub const SPACING: f64 = f32::EPSILON as f64;

/// Spacings allowed per unit of `sqrt(n)` in a sum of `n` products: rounding errors of random sign add up like a random
/// walk, of which this allows four standard deviations, exponentials and roots included.
pub const HEADROOM: f64 = 4.0;

/// Runs a check on WGPU, a software adapter included. Without any adapter it says so and checks nothing; with
/// `CLIFFLINE_REQUIRE_WGPU` set, as CI does, that is a failure.
pub fn on_wgpu(check: impl FnOnce(&Device)) {
    match Choice::Wgpu.open() {
        Ok(wgpu) => check(wgpu.device().expect("WGPU is a device")),
        Err(error) if std::env::var_os("CLIFFLINE_REQUIRE_WGPU").is_some() => panic!("{error}"),
        // Written past the test harness, which keeps what a passing test prints to itself.
        Err(error) => {
            let skipped = format!("SKIPPED: fused kernels were not checked: {error}");
            writeln!(std::io::stderr(), "{skipped}").expect("standard error");
        }
    }
}

/// Shapes `[C, N, W]` with edges on, before and behind the side of a cube.
pub const SHAPES: [[usize; 3]; 5] = [[1, 1, 1], [3, 5, 7], [2, 17, 33], [2, 16, 16], [1, 300, 2]];

/// Normal draws, a function of the name.
pub fn draws(name: &str, n: usize) -> Vec<f32> {
    let mut stream = Streams::new(0, name).item(0);
    (0..n).map(|_| stream.normal() as f32).collect()
}

pub fn tensor(values: &[f32], shape: [usize; 3], device: &Device) -> Tensor<3> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// A tensor of normal draws.
pub fn drawn(name: &str, shape: [usize; 3], device: &Device) -> Tensor<3> {
    tensor(&draws(name, shape.iter().product()), shape, device)
}

/// How far two computations of a number may be apart: `relative` to the number, and to `floor` where that is larger.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    pub relative: f64,
    pub floor: f64,
}

/// Holds every difference to the bound, and not-a-number to not-a-number. Returns the largest as a share of it.
pub fn assert_close(what: &str, actual: &[f32], expected: &[f64], bound: Bound) -> f64 {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let mut worst = 0.0_f64;
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        let a = f64::from(*a);
        let off = if a == *e || (a.is_nan() && e.is_nan()) { 0.0 } else { (a - e).abs() };
        let allowed = bound.relative * e.abs().max(bound.floor);
        assert!(off <= allowed, "{what}: {a} at {i} is not {e}: off by {off:e}, {allowed:e} allowed");
        worst = worst.max(off / allowed);
    }
    worst
}

/// The same for tensors whose numbers are of order 1, in spacings of f32.
pub fn assert_near(what: &str, actual: Tensor<3>, expected: Tensor<3>, spacings: f64) {
    assert_eq!(actual.dims(), expected.dims(), "{what}");
    assert_close(what, &host(actual), &widen(expected), Bound { relative: spacings * SPACING, floor: 1.0 });
}

pub fn widen(tensor: Tensor<3>) -> Vec<f64> {
    host(tensor).into_iter().map(f64::from).collect()
}
