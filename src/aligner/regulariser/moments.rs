//! What regularisers read of a minibatch as tensors, and the form of what they answer.

use std::cell::OnceCell;

use burn::tensor::{Tensor, TensorData};

use crate::aligner::fault::Fault;

/// A minibatch as its encoders leave it: image, text.
pub struct Minibatch<'a> {
    /// `[C, B, D]`, normalised embeddings.
    pub units: [&'a Tensor<3>; 2],
    /// `[C, B, 1]`, norms of the raw ones.
    pub norms: [&'a Tensor<3>; 2],
    moments: OnceCell<Moments>,
}

/// Second moments of the centred unit vectors `c = z - mean(z)`.
pub struct Moments {
    /// `[C, B, D]`: image, text.
    pub centred: [Tensor<3>; 2],
    /// `[C, D, D]`, `c' c` of each modality.
    pub own: [Tensor<3>; 2],
    /// `[C, D, D]`, `c_img' c_txt`.
    pub cross: Tensor<3>,
    /// `[1, D, D]`, the identity.
    pub eye: Tensor<3>,
    pub batch: f64,
    pub width: f64,
}

/// Settings of a regulariser, one per cell, each `[C, 1, 1]`.
#[derive(Clone, Debug)]
pub struct Lanes {
    pub weight: Tensor<3>,
    /// `redundancy_off_diagonal`.
    pub off_diagonal: Tensor<3>,
}

/// A term of the loss.
pub struct Term {
    /// `[C, 1, 1]`, before its weight.
    pub value: Tensor<3>,
    /// The gradient of the weighted term.
    pub pull: Pull,
}

/// A gradient with respect to the embeddings of a minibatch: `c_img own_img + c_txt cross'` with respect to the image's
/// unit vectors, `c_txt own_txt + c_img cross` to the text's, and `raw` times the raw embeddings to these.
#[derive(Default)]
pub struct Pull {
    /// `[C, D, D]`: image, text.
    pub own: Option<[Tensor<3>; 2]>,
    /// `[C, D, D]`.
    pub cross: Option<Tensor<3>>,
    /// `[C, 1, 1]`.
    pub raw: Option<Tensor<3>>,
}

impl<'a> Minibatch<'a> {
    pub fn new(units: [&'a Tensor<3>; 2], norms: [&'a Tensor<3>; 2]) -> Self {
        Self { units, norms, moments: OnceCell::new() }
    }

    /// Pairs in the minibatch.
    pub fn batch(&self) -> f64 {
        self.units[0].dims()[1] as f64
    }

    /// Taken when they are first asked for.
    pub fn moments(&self) -> &Moments {
        self.moments.get_or_init(|| {
            let [_, batch, width] = self.units[0].dims();
            let centred = self.units.map(|z| z.clone() - z.clone().mean_dim(1));
            let product = |a: &Tensor<3>, b: &Tensor<3>| a.clone().transpose().matmul(b.clone());
            let diagonal = (0..width * width).map(|i| f32::from(i % (width + 1) == 0)).collect::<Vec<f32>>();
            Moments {
                own: centred.each_ref().map(|c| product(c, c)),
                cross: product(&centred[0], &centred[1]),
                eye: Tensor::from_data(TensorData::new(diagonal, [1, width, width]), &self.units[0].device()),
                centred,
                batch: batch as f64,
                width: width as f64,
            }
        })
    }
}

impl Moments {
    /// The diagonal of a `[C, D, D]` as `[C, 1, D]`; exact, since everything else that is summed is zero.
    pub fn diagonal(&self, square: &Tensor<3>) -> Tensor<3> {
        (square.clone() * self.eye.clone()).sum_dim(1)
    }
}

impl Pull {
    /// The sum of two.
    pub fn plus(self, other: Self) -> Self {
        let sum = |a: Option<Tensor<3>>, b: Option<Tensor<3>>| match (a, b) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        let own = match (self.own, other.own) {
            (Some([a, b]), Some([c, d])) => Some([a + c, b + d]),
            (a, b) => a.or(b),
        };
        Self { own, cross: sum(self.cross, other.cross), raw: sum(self.raw, other.raw) }
    }

    /// Adds the gradients with respect to the unit vectors to `[C, B, D]` of each modality.
    pub fn add_to(
        &self,
        mut gradients: [Tensor<3>; 2],
        minibatch: &Minibatch<'_>,
        fault: Option<Fault>,
    ) -> [Tensor<3>; 2] {
        let product = |c: &Tensor<3>, by: Tensor<3>| c.clone().matmul(Fault::Regulariser.breaks(fault, by));
        if let Some(own) = &self.own {
            let [img, txt] = &minibatch.moments().centred;
            let added = [product(img, own[0].clone()), product(txt, own[1].clone())];
            gradients = plus(gradients, added);
        }
        if let Some(cross) = &self.cross {
            let [img, txt] = &minibatch.moments().centred;
            let added = [product(txt, cross.clone().transpose()), product(img, cross.clone())];
            gradients = plus(gradients, added);
        }
        gradients
    }
}

fn plus([a, b]: [Tensor<3>; 2], [c, d]: [Tensor<3>; 2]) -> [Tensor<3>; 2] {
    [a + c, b + d]
}
