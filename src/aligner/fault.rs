//! Kernels broken on purpose, to show that a check would notice.

use burn::tensor::{Tensor, TensorData};

/// A kernel that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Tanh,
    Normalise,
    InfoNceGradient,
    HiddenGradient,
    /// The gradients of what reads second moments.
    Regulariser,
    /// The gradient along raw embeddings.
    EmbeddingL2,
    OutputGain,
}

/// How wrong a broken kernel is: every other column by a hundredth. Not all columns, since the normalisation undoes a
/// factor that they share.
const RELATIVE_ERROR: f32 = 0.01;

impl Fault {
    /// Every fault with its name on the command line.
    pub const ALL: [(&'static str, Fault); 7] = [
        ("tanh", Fault::Tanh),
        ("normalise", Fault::Normalise),
        ("info-nce-gradient", Fault::InfoNceGradient),
        ("hidden-gradient", Fault::HiddenGradient),
        ("regulariser", Fault::Regulariser),
        ("embedding-l2", Fault::EmbeddingL2),
        ("output-gain", Fault::OutputGain),
    ];

    /// Whether it breaks what runs only in cells with an option on.
    pub fn optional(self) -> bool {
        matches!(self, Self::Regulariser | Self::EmbeddingL2 | Self::OutputGain)
    }

    /// `value [C, N, W]`, slightly wrong if `active` is this fault.
    pub fn breaks(self, active: Option<Fault>, value: Tensor<3>) -> Tensor<3> {
        if active != Some(self) {
            return value;
        }
        let width = value.dims()[2];
        let factors: Vec<f32> = (0..width).map(Self::factor).collect();
        let factors = Tensor::<3>::from_data(TensorData::new(factors, [1, 1, width]), &value.device());
        value * factors
    }

    /// What a broken kernel multiplies a column by.
    pub fn factor(column: usize) -> f32 {
        if column.is_multiple_of(2) { 1.0 + RELATIVE_ERROR } else { 1.0 }
    }
}
