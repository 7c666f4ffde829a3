//! `world export`: a world laid out in columns, one row per sample.

use crate::spec::config::Config;
use crate::world::Modality;
use crate::world::confounder::labels;
use crate::world::factors::Shape;
use crate::world::image::Renderer;
use crate::world::pairing::partners;
use crate::world::sample::{SplitName, World, WorldError};
use crate::world::text;
use crate::world::view::observed;

/// Every sample of a world, in the order of the indices. All columns have the same number of rows, but those of
/// a confounder that is not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Export {
    /// Sample index.
    pub index: Vec<u32>,
    pub split: Vec<SplitName>,
    pub shape: Vec<Shape>,
    /// Radians in `[0, 2 pi)`.
    pub orientation: Vec<f64>,
    /// Cycles per image side.
    pub frequency: Vec<f64>,
    /// Radians in `[0, 2 pi)`.
    pub phase: Vec<f64>,
    /// Image sides.
    pub thickness: Vec<f64>,
    /// The sample's own clean sentence.
    pub sentence: Vec<String>,
    /// Index of the sample whose text this sample's image is paired with.
    pub text_of: Vec<u32>,
    /// Label that the sample's image carries of the confounder, `None` for none; empty without a confounder.
    pub confounder_img: Vec<Option<u32>>,
    /// The label that the sample's own text carries, likewise.
    pub confounder_txt: Vec<Option<u32>>,
    /// Clean image, intensities in `[-1, 1]`: `S * S` values per row, row by row from the top left.
    pub image: Lists,
    /// Clean text features: counts of tokens, or of pairs of neighbours.
    pub text: Lists,
    /// The sample's image as the encoder sees it: perturbed and normalised.
    pub x_img: Lists,
    /// The sample's own text, likewise; training pairs the image with that of `text_of`.
    pub x_txt: Lists,
}

/// A column of lists of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lists {
    /// Values per row.
    pub width: usize,
    /// All rows, one after the other.
    pub values: Vec<f32>,
}

impl Lists {
    fn push(&mut self, row: &[f32]) {
        self.width = row.len();
        self.values.extend_from_slice(row);
    }
}

impl Export {
    /// The world of `config` with its perturbations and its pairing.
    ///
    /// **Errors** when the world cannot be generated.
    pub fn new(config: &Config) -> Result<Export, WorldError> {
        let features = config.text.features;
        let world = World::generate(config.seed, &config.world, features)?;
        let parts = SplitName::ALL.map(|name| {
            let split = world.split(name);
            let pairing = partners(config.seed, name, &config.pairing, &split.factors);
            let x = Modality::ALL.map(|modality| observed(split, modality, config));
            (split, pairing, x, labels(split, &config.confounder))
        });
        let mut rows: Vec<(u32, usize, usize)> = Vec::new();
        for (part, (split, ..)) in parts.iter().enumerate() {
            rows.extend(split.index.iter().enumerate().map(|(i, &index)| (index, part, i)));
        }
        rows.sort_unstable();

        let renderer = Renderer::new(config.world.image_size as usize);
        let (mut pixels, mut counts) = (vec![0.0; renderer.pixels()], vec![0.0; text::width(features)]);
        let mut out = Export::default();
        for (index, part, i) in rows {
            let (split, pairing, [x_img, x_txt], labels) = &parts[part];
            let factors = &split.factors[i];
            let sentence = text::Sentence::describing(factors);
            renderer.render(factors, &mut pixels);
            sentence.featurise(features, &mut counts);
            out.index.push(index);
            out.split.push(split.name);
            out.shape.push(factors.shape);
            out.orientation.push(factors.orientation);
            out.frequency.push(factors.frequency);
            out.phase.push(factors.phase);
            out.thickness.push(factors.thickness);
            out.sentence.push(sentence.to_string());
            out.text_of.push(split.index[pairing.partner[i] as usize]);
            if let Some(labels) = labels {
                out.confounder_img.push(labels.img[i].map(u32::from));
                out.confounder_txt.push(labels.txt[i].map(u32::from));
            }
            out.image.push(&pixels);
            out.text.push(&counts);
            out.x_img.push(&x_img[i * pixels.len()..][..pixels.len()]);
            out.x_txt.push(&x_txt[i * counts.len()..][..counts.len()]);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::config::{ConfounderKind, PairingKind, WorldConfig};

    #[test]
    fn rows_are_the_samples_in_order_with_their_pairing_inside_their_split() {
        let world = WorldConfig { image_size: 8, n_train: 60, n_validation: 20, n_test: 20 };
        let mut config = Config { world, ..Config::default() };
        config.pairing.rate = 0.5;
        config.pairing.kind = PairingKind::Swap;
        config.text.dropout = 0.2;
        let export = Export::new(&config).expect("a sound configuration");
        assert_eq!(export.index, (0..100).collect::<Vec<_>>());
        assert_eq!((export.image.width, export.text.width), (64, 64));
        for lists in [&export.image, &export.text, &export.x_img, &export.x_txt] {
            assert_eq!(lists.values.len(), 100 * lists.width);
        }
        let wrong: Vec<usize> = (0..100).filter(|&i| export.text_of[i] as usize != i).collect();
        assert_eq!(wrong.len(), 30);
        for i in wrong {
            assert_eq!(export.split[i], SplitName::Train);
            assert_eq!(export.split[export.text_of[i] as usize], SplitName::Train);
        }
        assert!(export.confounder_img.is_empty() && export.confounder_txt.is_empty());
        // Clean text has five tokens; the encoder's view is normalised and has lost some.
        assert!(export.text.values.chunks(64).all(|row| row.iter().sum::<f32>() == 5.0));
        assert!(export.image.values.iter().all(|v| (-1.0..=1.0).contains(v)));
        assert!(export.sentence[0].starts_with(export.shape[0].name()));
    }

    #[test]
    fn labels_are_exported_with_a_confounder() {
        let world = WorldConfig { image_size: 8, n_train: 60, n_validation: 20, n_test: 20 };
        let mut config = Config { world, ..Config::default() };
        config.confounder.kind = ConfounderKind::Parity;
        config.confounder.strength = 0.5;
        let export = Export::new(&config).expect("a sound configuration");
        let parity: Vec<Option<u32>> = export.index.iter().map(|index| Some(index % 2)).collect();
        assert_eq!((&export.confounder_img, &export.confounder_txt), (&parity, &parity));
    }
}
