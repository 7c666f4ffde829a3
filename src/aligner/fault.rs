//! Kernels broken on purpose, to show that a check would notice.

use burn::tensor::Tensor;

/// A kernel that can be broken on purpose, to show that `agree` and `gradcheck` would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Tanh,
    Normalise,
    InfoNceGradient,
    HiddenGradient,
}

/// How wrong a broken kernel is: by a hundredth, above every tolerance and far below what would look like a crash. The
/// offset is there because the normalisation would undo a mere factor.
const FAULT: f64 = 0.01;

impl Fault {
    /// Every fault with its name on the command line.
    pub const ALL: [(&'static str, Fault); 4] = [
        ("tanh", Fault::Tanh),
        ("normalise", Fault::Normalise),
        ("info-nce-gradient", Fault::InfoNceGradient),
        ("hidden-gradient", Fault::HiddenGradient),
    ];

    /// `value`, slightly wrong if `active` is this fault.
    pub fn breaks(self, active: Option<Fault>, value: Tensor<3>) -> Tensor<3> {
        if active == Some(self) { value.mul_scalar(1.0 + FAULT).add_scalar(FAULT) } else { value }
    }
}
