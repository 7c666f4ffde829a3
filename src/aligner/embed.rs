//! Embeddings of observations made on the host, under parameters kept on the host: what is measured after training.
//!
//! A pack's device holds the observations that its cells train on, and no others. Evaluation conditions and selected
//! checkpoints ask for others, one cell at a time, so that no result can depend on a pack.

use burn::tensor::{Device, Tensor, TensorData};

use super::data::{Reading, SplitData};
use super::encoder::embed as embed_tensors;
use super::fault::Fault;
use super::native;
use super::optimiser::lane_tensor;
use super::parameters::{Encoder, HostEncoder, TENSOR_NAMES, Widths, host};
use super::program::Executor;
use super::train::{EVALUATION_ROWS, RawEmbeddings};
use crate::spec::config::ModelConfig;

/// Raw embeddings of one cell's observations.
///
/// **Shapes**: `parameters` tensor by tensor in the order of `Parameters::names`; `x_img [N, P_img]` and
/// `x_txt [N, P_txt]`, row-major, where row `b` of both is a pair: the pairing is the caller's.
///
/// **Returns** `[N, D]` of each modality, before normalisation.
///
/// **Numerics**: f32, by the same kernels as in a pack, [`EVALUATION_ROWS`] rows at a time. The program's own embeddings
/// bit for bit, given the same observations. Whether a device fuses what observations are made of is up to the device:
/// with noise switched on, its own may differ from the host's in the last bit.
///
/// # Panics
/// When the lengths are not those of one cell's parameters and of whole observations.
pub fn embed(
    executor: &Executor,
    model: &ModelConfig,
    parameters: &[Vec<f32>],
    [x_img, x_txt]: [&[f32]; 2],
    fault: Option<Fault>,
) -> RawEmbeddings {
    let one = |m: usize, hidden: u64, x: &[f32]| {
        let encoder: HostEncoder = std::array::from_fn(|t| parameters[m * TENSOR_NAMES.len() + t].clone());
        let (hidden, embedding) = (hidden as usize, model.embedding as usize);
        let gain = model.output_gains()[m];
        let widths = Widths { inputs: encoder[0].len() / hidden, hidden, embedding };
        assert_eq!(encoder.each_ref().map(Vec::len), widths.lengths(), "parameters of {widths:?}");
        assert!(x.len().is_multiple_of(widths.inputs), "{} values are no rows of {}", x.len(), widths.inputs);
        match executor {
            Executor::Tensors(device) => on_device(device, &encoder, widths, gain, x, fault),
            Executor::Native => on_cpu(&encoder, widths, gain, x, fault),
        }
    };
    RawEmbeddings { img: one(0, model.hidden_img, x_img), txt: one(1, model.hidden_txt, x_txt) }
}

fn on_device(
    device: &Device,
    encoder: &HostEncoder,
    widths: Widths,
    gain: f64,
    x: &[f32],
    fault: Option<Fault>,
) -> Vec<f32> {
    let gain = lane_tensor(std::iter::once(gain), device);
    let encoder = Encoder::from_host(std::slice::from_ref(encoder), widths, device);
    let part = |x: &[f32]| {
        let shape = [1, x.len() / widths.inputs, widths.inputs];
        let x = Tensor::<3>::from_data(TensorData::new(x.to_vec(), shape), device);
        host(embed_tensors(&encoder, x, Some(&gain), fault).0)
    };
    x.chunks(EVALUATION_ROWS * widths.inputs).flat_map(part).collect()
}

fn on_cpu(encoder: &HostEncoder, widths: Widths, gain: f64, x: &[f32], fault: Option<Fault>) -> Vec<f32> {
    let encoder = native::encoder::Encoder::from_host(encoder, widths);
    let rows = (x.len() / widths.inputs).min(EVALUATION_ROWS);
    let (arch, mut workspace) = (native::arch(), native::encoder::Workspace::new(rows, widths));
    let mut out = Vec::with_capacity(x.len() / widths.inputs * widths.embedding);
    for part in x.chunks(EVALUATION_ROWS * widths.inputs) {
        for (row, x) in part.chunks_exact(widths.inputs).enumerate() {
            workspace.x.row_mut(row)[..widths.inputs].copy_from_slice(x);
        }
        let rows = part.len() / widths.inputs;
        workspace.embed(arch, &encoder, gain as f32, rows, fault);
        workspace.z.append_to(rows, &mut out);
    }
    out
}

/// The observations of a split as one cell reads them, row by row of the images with the text that each is paired with.
///
/// **Returns** `[N, P]` row-major: image, text.
///
/// **Numerics**: `keep ? clean + noise_strength * noise : background` with `keep = uniform >= drop_strength`, in f32 with
/// two roundings, as the native program makes them.
pub fn observations(split: &SplitData<'_>, reading: &Reading<'_>) -> [Vec<f32>; 2] {
    let one = |m: usize, rows: &mut dyn Iterator<Item = usize>| {
        let data = split.modalities()[m];
        let (p, noise, drop) = (data.background.len(), reading.noise[m] as f32, reading.drop[m] as f32);
        let mut out = Vec::with_capacity(split.n * p);
        for row in rows {
            let at = row * p;
            out.extend((0..p).map(|j| {
                let clean = data.clean[at + j];
                let noisy = data.noise.map_or(clean, |draws| clean + draws[at + j] * noise);
                let dropped = data.uniform.is_some_and(|draws| draws[at + j] < drop);
                if dropped { data.background[j] } else { noisy }
            }));
        }
        out
    };
    [one(0, &mut (0..split.n)), one(1, &mut reading.partner.iter().map(|row| *row as usize))]
}
