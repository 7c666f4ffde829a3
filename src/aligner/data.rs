//! Observations on the device: one copy per seed and view, combined with each cell's own strengths.
//!
//! Cells that differ only in the strengths of what acts here share the clean data and the draws (common random numbers); a cell's
//! observation is `keep ? clean + noise_strength * noise : background` with `keep = uniform >= drop_strength`.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::optimiser::lane_tensor;

/// Indices of the splits, wherever there is one thing per split.
pub const TRAIN: usize = 0;
pub const VALIDATION: usize = 1;
pub const TEST: usize = 2;

/// One modality of one split of one seed's world, row-major `[N, P]` (`background` is `[P]`).
#[derive(Clone, Copy, Debug)]
pub struct ModalityData<'a> {
    pub clean: &'a [f32],
    pub background: &'a [f32],
    /// Additive noise at unit strength; present when the pack's cells have it switched on.
    pub noise: Option<&'a [f32]>,
    /// Uniform draws in `[0, 1)` that decide what is dropped; present when switched on.
    pub uniform: Option<&'a [f32]>,
}

/// One split of one seed's world.
#[derive(Clone, Copy, Debug)]
pub struct SplitData<'a> {
    pub n: usize,
    pub img: ModalityData<'a>,
    pub txt: ModalityData<'a>,
}

impl<'a> SplitData<'a> {
    /// Image, text.
    pub fn modalities(&self) -> [&ModalityData<'a>; 2] {
        [&self.img, &self.txt]
    }
}

/// What one cell reads: which seed's data, at which strengths, with which pairing.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Index into the pack's seeds.
    pub seed: usize,
    /// Strength of the additive noise: image, text.
    pub noise: [f64; 2],
    /// Strength of dropping: image (mask), text (nothing so far).
    pub drop: [f64; 2],
    /// Text row of each image row of the split.
    pub partner: &'a [u32],
}

/// One split of every seed of a pack on the device.
#[derive(Clone, Debug)]
pub struct DeviceSplit {
    n: usize,
    modalities: [DeviceModality; 2],
}

#[derive(Clone, Debug)]
struct DeviceModality {
    p: usize,
    /// `[G N, P]` for `G` seeds.
    clean: Tensor<2>,
    noise: Option<Tensor<2>>,
    uniform: Option<Tensor<2>>,
    /// `[G, P]`.
    background: Tensor<2>,
}

impl DeviceSplit {
    /// Uploads a split of each seed. All must have the same sizes and the same draws present.
    pub fn new(seeds: &[SplitData<'_>], device: &Device) -> Self {
        let n = seeds[0].n;
        let modality = |get: for<'a> fn(&SplitData<'a>) -> ModalityData<'a>| {
            let parts: Vec<ModalityData<'_>> = seeds.iter().map(get).collect();
            let p = parts[0].background.len();
            let stack = |rows: usize, part: &dyn Fn(&ModalityData<'_>) -> Vec<f32>| {
                let values: Vec<f32> = parts.iter().flat_map(part).collect();
                Tensor::<2>::from_data(TensorData::new(values, [rows, p]), device)
            };
            let rows = n * seeds.len();
            DeviceModality {
                p,
                clean: stack(rows, &|m| m.clean.to_vec()),
                noise: parts[0].noise.map(|_| stack(rows, &|m| m.noise.unwrap_or_default().to_vec())),
                uniform: parts[0].uniform.map(|_| stack(rows, &|m| m.uniform.unwrap_or_default().to_vec())),
                background: stack(seeds.len(), &|m| m.background.to_vec()),
            }
        };
        Self { n, modalities: [modality(|s| s.img), modality(|s| s.txt)] }
    }

    /// Number of samples per seed.
    pub fn n(&self) -> usize {
        self.n
    }
}

/// A split as the cells of a pack read it.
#[derive(Clone, Debug)]
pub struct PackView<'a> {
    split: &'a DeviceSplit,
    readings: Vec<Reading<'a>>,
    lanes: [LaneTensors; 2],
    device: Device,
}

#[derive(Clone, Debug)]
struct LaneTensors {
    noise: Tensor<3>,
    drop: Tensor<3>,
    /// `[C, 1, P]`.
    background: Tensor<3>,
}

impl<'a> PackView<'a> {
    pub fn new(split: &'a DeviceSplit, readings: Vec<Reading<'a>>, device: &Device) -> Self {
        let seeds: Vec<i32> = readings.iter().map(|r| r.seed as i32).collect();
        let seeds = index_tensor(seeds, device);
        let lanes = [0, 1].map(|m| LaneTensors {
            noise: lane_tensor(readings.iter().map(|r| r.noise[m]), device),
            drop: lane_tensor(readings.iter().map(|r| r.drop[m]), device),
            background: split.modalities[m].background.clone().select(0, seeds.clone()).unsqueeze_dim(1),
        });
        Self { split, readings, lanes, device: device.clone() }
    }

    /// Observations of the given rows of the split: row `b` of both results is a pair under the cell's pairing.
    ///
    /// **Shapes**: `rows(c)` gives the `B` rows of cell `c`; returns `[C, B, P_img]` and `[C, B, P_txt]`.
    pub fn observe<'r>(&self, count: usize, rows: impl Fn(usize) -> &'r [usize]) -> (Tensor<3>, Tensor<3>) {
        let mut absolute = [Vec::new(), Vec::new()];
        for (c, reading) in self.readings.iter().enumerate() {
            let first = reading.seed * self.split.n;
            for &row in rows(c) {
                absolute[0].push((first + row) as i32);
                absolute[1].push((first + reading.partner[row] as usize) as i32);
            }
        }
        let [img, txt] = absolute;
        (self.modality(0, count, img), self.modality(1, count, txt))
    }

    fn modality(&self, m: usize, count: usize, rows: Vec<i32>) -> Tensor<3> {
        let (data, lane) = (&self.split.modalities[m], &self.lanes[m]);
        let shape = [self.readings.len(), count, data.p];
        let rows = index_tensor(rows, &self.device);
        let pick = |t: &Tensor<2>| t.clone().select(0, rows.clone()).reshape(shape);
        let mut x = pick(&data.clean);
        if let Some(noise) = &data.noise {
            x = x + pick(noise) * lane.noise.clone();
        }
        if let Some(uniform) = &data.uniform {
            let dropped = pick(uniform).lower(lane.drop.clone().expand(shape));
            x = x.mask_where(dropped, lane.background.clone().expand(shape));
        }
        x
    }
}

/// Indices on the device.
pub fn index_tensor(indices: Vec<i32>, device: &Device) -> Tensor<1, Int> {
    let n = indices.len();
    Tensor::from_data(TensorData::new(indices, [n]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aligner::parameters::host;
    use crate::aligner::train::{Lane, reading};
    use crate::spec::config::{Config, TextFeatures, WorldConfig};
    use crate::world::perturbation::{GAUSSIAN_NOISE, MASK};
    use crate::world::view::{Setting, observed};
    use crate::world::{Modality, SplitName, World};

    #[test]
    fn the_device_applies_the_perturbations_as_the_host_defines_them() {
        let sizes = WorldConfig { image_size: 8, n_train: 12, n_validation: 8, n_test: 8 };
        let mut everything = Config::default();
        (everything.image.noise, everything.image.mask, everything.image.blur) = (0.3, 0.4, 0.7);
        (everything.image.gain, everything.text.gain, everything.text.dropout) = (1.7, 0.6, 0.5);
        // The second lane reads the second seed at zero strengths: clean data, bit for bit.
        let configs = [everything, Config::default()];
        let device = Device::flex();
        let worlds = [3, 4].map(|seed| World::generate(seed, &sizes, TextFeatures::TokenPosition).expect("sound"));
        let split = |i: usize| worlds[i].split(SplitName::Train);
        let views = [0, 1].map(|i| Modality::ALL.map(|m| Setting::of(&configs[i], m).view(&worlds[i])));
        let draws = [0, 1].map(|i| [GAUSSIAN_NOISE, MASK].map(|p| p.draws(split(i)).expect("acts on features")));
        let data = [0, 1].map(|i| {
            let [img, txt] = views[i].each_ref().map(|view| view[SplitName::Train as usize].as_ref());
            let [noise, uniform] = draws[i].each_ref().map(|d| Some(d.as_slice()));
            SplitData {
                n: 12,
                img: ModalityData { clean: &img.clean, background: &img.background, noise, uniform },
                txt: ModalityData { clean: &txt.clean, background: &txt.background, noise: None, uniform: None },
            }
        });
        let on_device = DeviceSplit::new(&data, &device);
        let partner: Vec<u32> = (0..12).rev().collect();
        let lane =
            |i: usize| reading(&Lane { config: &configs[i], seed: i, partners: [&partner; 3], start: None }, TRAIN);
        let view = PackView::new(&on_device, vec![lane(0), lane(1)], &device);
        let rows: Vec<usize> = vec![5, 0, 11];
        let (img, txt) = view.observe(rows.len(), |_| &rows);
        for (lane, config) in configs.iter().enumerate() {
            let [x_img, x_txt] = Modality::ALL.map(|modality| observed(split(lane), modality, config));
            for (b, row) in rows.iter().enumerate() {
                let got = host(img.clone().slice([lane..lane + 1, b..b + 1, 0..64]));
                assert_eq!(got, x_img[row * 64..][..64], "image of lane {lane}, row {row}");
                let got = host(txt.clone().slice([lane..lane + 1, b..b + 1, 0..512]));
                assert_eq!(got, x_txt[(11 - row) * 512..][..512], "text of lane {lane}, row {row}");
            }
        }
    }
}
