//! Embeddings of observations made on the host, under parameters kept on the host: what is measured after training.
//!
//! A pack's device holds the observations that its cells train on, and no others. Evaluation conditions and selected
//! checkpoints ask for others, one cell at a time, so that no result can depend on a pack.

use burn::tensor::{Device, Tensor, TensorData};

use super::encoder::embed as embed_tensors;
use super::fault::Fault;
use super::native;
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
        let widths = Widths { inputs: encoder[0].len() / hidden, hidden, embedding };
        assert_eq!(encoder.each_ref().map(Vec::len), widths.lengths(), "parameters of {widths:?}");
        assert!(x.len().is_multiple_of(widths.inputs), "{} values are no rows of {}", x.len(), widths.inputs);
        match executor {
            Executor::Tensors(device) => on_device(device, &encoder, widths, x, fault),
            Executor::Native => on_cpu(&encoder, widths, x, fault),
        }
    };
    RawEmbeddings { img: one(0, model.hidden_img, x_img), txt: one(1, model.hidden_txt, x_txt) }
}

fn on_device(device: &Device, encoder: &HostEncoder, widths: Widths, x: &[f32], fault: Option<Fault>) -> Vec<f32> {
    let encoder = Encoder::from_host(std::slice::from_ref(encoder), widths, device);
    let part = |x: &[f32]| {
        let shape = [1, x.len() / widths.inputs, widths.inputs];
        let x = Tensor::<3>::from_data(TensorData::new(x.to_vec(), shape), device);
        host(embed_tensors(&encoder, x, fault).0)
    };
    x.chunks(EVALUATION_ROWS * widths.inputs).flat_map(part).collect()
}

fn on_cpu(encoder: &HostEncoder, widths: Widths, x: &[f32], fault: Option<Fault>) -> Vec<f32> {
    let encoder = native::encoder::Encoder::from_host(encoder, widths);
    let rows = (x.len() / widths.inputs).min(EVALUATION_ROWS);
    let (arch, mut workspace) = (native::arch(), native::encoder::Workspace::new(rows, widths));
    let mut out = Vec::with_capacity(x.len() / widths.inputs * widths.embedding);
    for part in x.chunks(EVALUATION_ROWS * widths.inputs) {
        for (row, x) in part.chunks_exact(widths.inputs).enumerate() {
            workspace.x.row_mut(row)[..widths.inputs].copy_from_slice(x);
        }
        let rows = part.len() / widths.inputs;
        workspace.embed(arch, &encoder, rows, fault);
        workspace.z.append_to(rows, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aligner::backend::Choice;
    use crate::engine::{BurnTrainer, Control};
    use crate::spec::Cell;
    use crate::spec::config::{Config, WorldConfig};
    use crate::world::perturbation::observed;
    use crate::world::{Modality, SplitName, World, partners};

    /// The test observations of a cell, made on the host: image, text.
    fn test_observations(config: &Config) -> [Vec<f32>; 2] {
        let world = World::generate(config.seed, &config.world, config.text.features).expect("a sound configuration");
        let split = world.split(SplitName::Test);
        let pairing = partners(config.seed, SplitName::Test, &config.pairing, &split.factors);
        let [img, txt] = Modality::ALL.map(|modality| observed(split, modality, config));
        let p = split.txt.background.len();
        let txt = pairing.partner.iter().flat_map(|row| &txt[*row as usize * p..][..p]).copied().collect();
        [img, txt]
    }

    #[test]
    fn embeddings_are_those_of_the_program_bit_for_bit() {
        let mut config = Config::default();
        // More test samples than fit into one piece, and widths that are no whole vectors.
        config.world = WorldConfig { image_size: 9, n_train: 64, n_validation: 8, n_test: EVALUATION_ROWS as u64 + 9 };
        (config.model.hidden_img, config.model.hidden_txt, config.model.embedding) = (13, 21, 7);
        (config.train.steps, config.train.batch_size) = (6, 24);
        (config.pairing.rate, config.pairing.applies_to) = (0.4, crate::spec::config::AppliesTo::Both);
        let mut disturbed = config.clone();
        (disturbed.image.noise, disturbed.image.mask, disturbed.text.dropout) = (0.4, 0.2, 0.3);
        // The CPU fuses nothing that observations are made of, so that noise makes no difference here.
        for config in [config, disturbed] {
            let x = test_observations(&config);
            for choice in [Choice::Native, Choice::Flex, Choice::Ndarray] {
                let trainer = BurnTrainer::new(choice.open().expect("CPU backends need nothing"));
                let cell = Cell::new(config.clone(), [].into());
                let retrained = trainer.retrain(&cell, &Control::default()).expect("it trains");
                let executor = &trainer.backend().executor;
                let again = embed(executor, &config.model, &retrained.parameters, [&x[0], &x[1]], None);
                assert_eq!(again, retrained.test, "{choice:?}");
            }
        }
    }
}
