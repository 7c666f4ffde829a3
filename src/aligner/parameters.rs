//! Encoder parameters with a leading cell axis.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::numerics::stream::Streams;

/// Names of the four tensors of one encoder, in the order of [`Encoder::tensors`].
pub const TENSOR_NAMES: [&str; 4] = ["w1", "b1", "w2", "b2"];

/// Names of the two encoders, in the order of [`Parameters::encoders`].
pub const MODALITIES: [&str; 2] = ["img", "txt"];

/// Something of the shape of one encoder's parameters: parameters, gradients or optimiser state.
///
/// Shapes: `w1 [C, P, H]`, `b1 [C, 1, H]`, `w2 [C, H, D]`, `b2 [C, 1, D]`.
#[derive(Clone, Debug)]
pub struct Encoder {
    pub w1: Tensor<3>,
    pub b1: Tensor<3>,
    pub w2: Tensor<3>,
    pub b2: Tensor<3>,
}

impl Encoder {
    pub fn tensors(&self) -> [&Tensor<3>; 4] {
        [&self.w1, &self.b1, &self.w2, &self.b2]
    }

    pub fn map(self, mut f: impl FnMut(Tensor<3>) -> Tensor<3>) -> Self {
        Self { w1: f(self.w1), b1: f(self.b1), w2: f(self.w2), b2: f(self.b2) }
    }

    pub fn zip(self, other: Self, mut f: impl FnMut(Tensor<3>, Tensor<3>) -> Tensor<3>) -> Self {
        Self { w1: f(self.w1, other.w1), b1: f(self.b1, other.b1), w2: f(self.w2, other.w2), b2: f(self.b2, other.b2) }
    }
}

/// Both encoders of every cell of a pack.
#[derive(Clone, Debug)]
pub struct Parameters {
    pub img: Encoder,
    pub txt: Encoder,
}

/// Widths of one encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widths {
    pub inputs: usize,
    pub hidden: usize,
    pub embedding: usize,
}

impl Widths {
    /// Lengths of w1, b1, w2, b2 for one cell.
    pub fn lengths(&self) -> [usize; 4] {
        [self.inputs * self.hidden, self.hidden, self.hidden * self.embedding, self.embedding]
    }

    fn shapes(&self, cells: usize) -> [[usize; 3]; 4] {
        [
            [cells, self.inputs, self.hidden],
            [cells, 1, self.hidden],
            [cells, self.hidden, self.embedding],
            [cells, 1, self.embedding],
        ]
    }
}

/// The four tensors of one cell's encoder on the host, row-major, in the order of [`TENSOR_NAMES`].
pub type HostEncoder = [Vec<f32>; 4];

/// Xavier (Glorot) uniform weights and zero biases for the encoder of `modality` under `seed`.
///
/// **Returns** `[w1, b1, w2, b2]`, row-major. A function of seed, modality and widths alone.
///
/// **Source**: Glorot & Bengio 2010, equation 16: U(-a, a) with a = sqrt(6 / (fan_in + fan_out)).
pub fn xavier(seed: u64, modality: &str, widths: Widths) -> HostEncoder {
    let layer = |name: &str, fan_in: usize, fan_out: usize| {
        let mut stream = Streams::new(seed, &format!("init.{modality}.{name}")).item(0);
        let bound = libm::sqrt(6.0 / (fan_in + fan_out) as f64);
        (0..fan_in * fan_out).map(|_| (bound * (2.0 * stream.uniform() - 1.0)) as f32).collect::<Vec<f32>>()
    };
    [
        layer("w1", widths.inputs, widths.hidden),
        vec![0.0; widths.hidden],
        layer("w2", widths.hidden, widths.embedding),
        vec![0.0; widths.embedding],
    ]
}

impl Encoder {
    /// Puts one host encoder per cell on `device`.
    pub fn from_host(cells: &[HostEncoder], widths: Widths, device: &Device) -> Self {
        let shapes = widths.shapes(cells.len());
        let tensor = |i: usize| {
            let values: Vec<f32> = cells.iter().flat_map(|cell| cell[i].iter().copied()).collect();
            Tensor::<3>::from_data(TensorData::new(values, shapes[i]), device)
        };
        Self { w1: tensor(0), b1: tensor(1), w2: tensor(2), b2: tensor(3) }
    }
}

impl Parameters {
    pub fn encoders(&self) -> [&Encoder; 2] {
        [&self.img, &self.txt]
    }

    pub fn map(self, mut f: impl FnMut(Tensor<3>) -> Tensor<3>) -> Self {
        Self { img: self.img.map(&mut f), txt: self.txt.map(&mut f) }
    }

    pub fn zeros_like(&self) -> Self {
        self.clone().map(|t| t.zeros_like())
    }

    /// Keeps the lanes at `keep`, in that order.
    pub fn select(self, keep: &Tensor<1, Int>) -> Self {
        self.map(|t| t.select(0, keep.clone()))
    }

    /// Names of all tensors, `img.w1` to `txt.b2`, in the order of [`Parameters::tensors`].
    pub fn names() -> Vec<String> {
        MODALITIES.iter().flat_map(|m| TENSOR_NAMES.iter().map(move |t| format!("{m}.{t}"))).collect()
    }

    pub fn tensors(&self) -> Vec<&Tensor<3>> {
        self.encoders().into_iter().flat_map(Encoder::tensors).collect()
    }

    /// The values of lane `cell`, tensor by tensor, on the host.
    pub fn to_host(&self, cell: usize) -> Vec<Vec<f32>> {
        self.tensors().into_iter().map(|t| host(t.clone().narrow(0, cell, 1))).collect()
    }
}

/// The values of a tensor, row-major.
pub fn host<const R: usize>(tensor: Tensor<R>) -> Vec<f32> {
    tensor.into_data().try_into_vec::<f32>().expect("every tensor of the aligner is f32")
}
