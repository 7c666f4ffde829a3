//! Fused kernels for devices that run CubeCL, each beside the plain-tensor program that defines it.
//!
//! Tiny models leave a GPU waiting for launches, not for arithmetic, so what a kernel here saves is launches. The
//! plain program stays the definition: it runs on every other device and under autodiff, and the tests compare the two
//! on one device.
//!
//! A cell has its own cubes (workgroups) of a fixed shape, and its sums have a fixed order, so that its bits do not
//! depend on its pack. No atomics, no autotuning.

#[cfg(test)]
pub(super) mod fixture;
pub mod info_nce;
mod launch;
pub mod normalise;
pub mod norms;
pub mod tanh;
pub mod update;

use burn::backend::DispatchDevice;
use burn::tensor::{Device, Tensor};

/// Whether a tensor `[C, ..]` takes the fused kernels: on a device of CubeCL, outside autodiff, which differentiates
/// the plain program, and in a pack that a launch can hold.
pub fn fused<const R: usize>(tensor: &Tensor<R>) -> bool {
    let device = tensor.device();
    is_cube(&device) && !device.is_autodiff() && launch::fits(tensor)
}

/// Whether a device runs CubeCL: it takes launches and does them later.
pub fn is_cube(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Cube(_))
}

#[cfg(test)]
mod tests {
    use super::fixture::{draws, on_wgpu};
    use crate::aligner::fault::Fault;
    use crate::aligner::gradcheck::Case;
    use crate::aligner::program::Executor;
    use crate::aligner::regulariser::switch_all_on;
    use crate::spec::config::TrainConfig;

    fn case(temperature: f64) -> Case {
        let train = TrainConfig { temperature, ..TrainConfig::default() };
        Case::new(format!("t={temperature}"), [draws("img", 19 * 10), draws("txt", 19 * 7)], 19, [9, 17], train, 5)
    }

    fn with_options(temperature: f64) -> Case {
        let mut case = case(temperature);
        (case.gains, case.train.balance) = ([3.0, 0.25], 0.1);
        switch_all_on(&mut case.train, 1.0 / temperature);
        case
    }

    #[test]
    fn gradients_by_kernels_agree_with_autodiff_and_derivatives_of_the_plain_program() {
        on_wgpu(|device| {
            let executor = Executor::Tensors(device.clone());
            for case in [1e-3, 0.07, 10.0].into_iter().flat_map(|t| [case(t), with_options(t)]) {
                for check in case.check(&executor, None) {
                    assert!(check.passed, "{check:?}");
                }
            }
        });
    }

    #[test]
    fn a_fault_in_a_kernel_is_caught() {
        on_wgpu(|device| {
            for (name, fault) in Fault::ALL {
                let case = if fault.optional() { with_options(0.07) } else { case(0.07) };
                let checks = case.check(&Executor::Tensors(device.clone()), Some(fault));
                assert!(checks.iter().any(|c| !c.passed), "{name} went unnoticed");
            }
        });
    }
}
