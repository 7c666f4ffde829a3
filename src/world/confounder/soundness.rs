//! What `world check` says about a confounder: who carries it, that it knows nothing of the factors, and that it can
//! be read.

use super::{Labels, active, codes, labels};
use crate::numerics::shown::Levels;
use crate::spec::config::{Config, ConfounderConfig};
use crate::world::Modality;
use crate::world::distribution::{Independence, independence};
use crate::world::factors::{Factor, Factors};
use crate::world::perturbation::observed;
use crate::world::probe::linear_r_squared;
use crate::world::sample::{SplitName, World};

/// The strength at which codes must be readable.
pub const JUDGED_STRENGTH: f64 = 1.0;
/// A linear probe must explain this share of the variance of codes at [`JUDGED_STRENGTH`], every sample a carrier. Over
/// six seeds, 8 x 8 and 16 x 16 images and both kinds of text features, the least was 0.997 with 1,500 training samples;
/// a code that is not there is near 0 or below.
pub const R_SQUARED_FLOOR: f64 = 0.9;
/// How many standard deviations a share may be from what is asked for: a chance of about 1e-6 per share.
const DEVIATIONS: f64 = 5.0;
/// Bins of every factor in the tests of independence: a table with eight labels then expects five samples per place
/// from 160 samples on.
const BINS: usize = 4;

/// Who carries the confounder in one split.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct LabelShares {
    pub split: SplitName,
    pub samples: usize,
    /// Samples per label of the image; those that carry nothing last.
    pub counts: Vec<usize>,
    /// Share of samples that carry it.
    pub carried_share: f64,
    /// Share of samples whose image and own text carry the same label.
    pub shared_share: f64,
}

/// Whether the label of one modality says something about one factor, over all splits.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct FactorIndependence {
    pub modality: Modality,
    pub factor: Factor,
    /// Pearson's chi-square of label against four bins of the factor; `None` when the samples are too few.
    pub test: Option<Independence>,
}

/// How well a linear probe reads the code from one modality: fitted on the training split, scored on the test split.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct CodeProbe {
    pub modality: Modality,
    /// R squared, averaged over the entries of the code, 0 by chance; `None` when there is nothing to score, and
    /// `missing` says why.
    pub r_squared: Option<f64>,
    pub missing: Option<String>,
}

/// Everything that was checked about a confounder.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Soundness {
    pub confounder: &'static str,
    pub prevalence: f64,
    pub randomised: bool,
    pub shares: Vec<LabelShares>,
    pub independence: Vec<FactorIndependence>,
    /// At [`JUDGED_STRENGTH`] beside the clean factors, every sample a carrier.
    pub probes: Vec<CodeProbe>,
    /// As configured, perturbations and all, where a sample that carries nothing has a code of zeros. Reported, not
    /// judged.
    pub probes_configured: Vec<CodeProbe>,
}

/// Checks the confounder of `config`; `None` at strength 0.
pub(crate) fn soundness(world: &World, config: &Config) -> Option<Soundness> {
    let confounder = active(&config.confounder)?;
    let labelled: Vec<Labels> = world.splits().iter().filter_map(|s| labels(s, &config.confounder)).collect();
    let judged = ConfounderConfig { kind: confounder.kind, strength: JUDGED_STRENGTH, ..ConfounderConfig::default() };
    let judged = Config { confounder: judged, ..Config::default() };
    Some(Soundness {
        confounder: confounder.name,
        prevalence: config.confounder.prevalence,
        randomised: config.confounder.randomised,
        shares: world.splits().iter().zip(&labelled).map(|(split, labels)| shares(split.name, labels)).collect(),
        independence: of_factors(world, &labelled),
        probes: probes(world, &judged),
        probes_configured: probes(world, config),
    })
}

fn shares(split: SplitName, labels: &Labels) -> LabelShares {
    LabelShares {
        split,
        samples: labels.img.len(),
        counts: counts(labels.groups, &labels.numbered(Modality::Image)),
        carried_share: labels.carried_share(),
        shared_share: labels.shared_share(),
    }
}

fn counts(groups: usize, numbered: &[usize]) -> Vec<usize> {
    let mut counts = vec![0; groups + 1];
    numbered.iter().for_each(|&group| counts[group] += 1);
    counts
}

/// Tests each factor against the labels of all splits together; texts only where theirs are others than the images'.
fn of_factors(world: &World, labelled: &[Labels]) -> Vec<FactorIndependence> {
    let mut tests = Vec::new();
    for modality in Modality::ALL {
        if modality == Modality::Text && labelled.iter().all(|labels| labels.txt == labels.img) {
            continue;
        }
        let groups: Vec<usize> = labelled.iter().flat_map(|labels| labels.numbered(modality)).collect();
        let factors: Vec<&Factors> = world.splits().iter().flat_map(|split| &split.factors).collect();
        for factor in Factor::ALL {
            let labels = labelled.first().map_or(0, |labels| labels.groups);
            let mut table = vec![vec![0; BINS]; labels + 1];
            for (&group, factors) in groups.iter().zip(&factors) {
                table[group][factor.bin(factors) * BINS / factor.bins()] += 1;
            }
            if table.iter().filter(|row| row.iter().any(|count| *count > 0)).count() < 2 {
                // One label, or none: there is nothing that could depend.
                continue;
            }
            // Labels too rare to be tested one by one are taken together: whether a sample carries any.
            let carried = |bin: usize| table[..labels].iter().map(|row| row[bin]).sum();
            let any = vec![(0..BINS).map(carried).collect(), table[labels].clone()];
            let test = independence(&table).or_else(|| independence(&any));
            tests.push(FactorIndependence { modality, factor, test });
        }
    }
    tests
}

fn probes(world: &World, config: &Config) -> Vec<CodeProbe> {
    let Some(confounder) = active(&config.confounder) else { return Vec::new() };
    let of = |modality| {
        let [train, test] = [SplitName::Train, SplitName::Test].map(|name| {
            let split = world.split(name);
            (observed(split, modality, config), codes(split, modality, &config.confounder))
        });
        let probe = linear_r_squared((&train.0, &train.1), (&test.0, &test.1), confounder.dimension);
        CodeProbe { modality, r_squared: probe.as_ref().ok().copied(), missing: probe.err() }
    };
    Modality::ALL.map(of).to_vec()
}

impl Soundness {
    /// Why it is not sound; `level` is the chance of failing a sound one for its tests of independence, over all
    /// together.
    pub(crate) fn reasons(&self, level: f64) -> Vec<String> {
        let mut reasons: Vec<String> = self.shares.iter().flat_map(|shares| self.of_shares(shares)).collect();
        let level = level / self.independence.len().max(1) as f64;
        for FactorIndependence { modality, factor, test } in &self.independence {
            let what = format!("the {} and the confounder of {}", factor.name(), modality.name());
            match test {
                None => reasons.push(format!("too few samples to test {what} for independence")),
                Some(test) if test.p_value < level => {
                    let [p, level] = [test.p_value, level].map(|p| Levels::of_numbers([test.p_value, level]).number(p));
                    reasons.push(format!("{what} depend on each other: p = {p}, below {level}"));
                }
                Some(_) => {}
            }
        }
        for CodeProbe { modality, r_squared, missing } in &self.probes {
            let from = format!("the confounder from {}", modality.name());
            match r_squared {
                Some(value) if *value >= R_SQUARED_FLOOR => {}
                Some(value) => {
                    let value = Levels::of_numbers([*value, R_SQUARED_FLOOR]).number(*value);
                    reasons.push(format!("{from}: R squared is {value}, below {R_SQUARED_FLOOR}"));
                }
                None => reasons.push(format!("{from}: {}", missing.as_deref().unwrap_or("no probe ran"))),
            }
        }
        reasons
    }

    fn of_shares(&self, shares: &LabelShares) -> Vec<String> {
        let (n, split) = (shares.samples as f64, shares.split.name());
        let groups = shares.counts.len().saturating_sub(1).max(1) as f64;
        // Two draws of carriers per sample only narrow the share.
        let off = |share: f64, expected: f64| {
            let deviation = (expected * (1.0 - expected) / n).sqrt();
            (share - expected).abs() > DEVIATIONS * deviation + 1.0 / n
        };
        let mut reasons = Vec::new();
        let (carried, prevalence) = (shares.carried_share, self.prevalence);
        if off(carried, prevalence) {
            let [carried, prevalence] =
                [carried, prevalence].map(|share| Levels::of_numbers([carried, prevalence]).number(share));
            reasons.push(format!("{carried} of the {split} samples carry the confounder, {prevalence} should"));
        }
        let shared = shares.shared_share;
        if self.randomised && off(shared, prevalence * prevalence / groups) {
            reasons.push(format!("{shared:.4} of the {split} pairs share a label, more or less than chance gives"));
        }
        if !self.randomised && shared != carried {
            reasons.push(format!("images and texts of the {split} split carry different labels"));
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::config::WorldConfig;
    use crate::world::confounder::{CONFOUNDERS, Confounder};

    fn config(confounder: &Confounder) -> Config {
        let world = WorldConfig { image_size: 8, n_train: 1500, n_validation: 128, n_test: 500 };
        let mut config = Config { world, ..Config::default() };
        config.confounder.kind = confounder.kind;
        config.confounder.strength = 0.5;
        config
    }

    fn sound(config: &Config) -> Soundness {
        let world = World::generate(config.seed, &config.world, config.text.features).expect("a sound configuration");
        soundness(&world, config).expect("a confounder")
    }

    #[test]
    fn every_confounder_is_sound() {
        for confounder in CONFOUNDERS {
            let soundness = sound(&config(confounder));
            assert_eq!(soundness.reasons(0.01), Vec::<String>::new(), "{}", confounder.name);
            assert_eq!(soundness.independence.len(), Factor::ALL.len());
        }
    }

    #[test]
    fn randomised_labels_share_no_more_than_chance_and_both_modalities_are_tested() {
        let mut config = config(&super::super::GROUP_TAGS);
        (config.confounder.randomised, config.confounder.prevalence) = (true, 0.7);
        let soundness = sound(&config);
        assert_eq!(soundness.reasons(0.01), Vec::<String>::new());
        assert_eq!(soundness.independence.len(), 2 * Factor::ALL.len());
    }

    #[test]
    fn every_fault_is_a_reason() {
        let mut soundness = sound(&config(&super::super::PARITY));
        soundness.shares[0].carried_share = 0.9;
        soundness.independence[1].test = None;
        if let Some(test) = &mut soundness.independence[2].test {
            test.p_value = 1e-9;
        }
        soundness.probes[0].r_squared = Some(0.5);
        soundness.probes[1].r_squared = None;
        // The share is off, and differs from that of the texts.
        assert_eq!(soundness.reasons(0.01).len(), 6, "{:?}", soundness.reasons(0.01));
    }

    #[test]
    fn a_reason_shows_a_value_apart_from_its_bound() {
        let probe = CodeProbe { modality: Modality::ALL[0], r_squared: Some(R_SQUARED_FLOOR - 1e-5), missing: None };
        let report = Soundness {
            confounder: "id_code",
            prevalence: 0.3,
            randomised: false,
            shares: Vec::new(),
            independence: Vec::new(),
            probes: vec![probe],
            probes_configured: Vec::new(),
        };
        let from = Modality::ALL[0].name();
        assert_eq!(report.reasons(0.01), [format!("the confounder from {from}: R squared is 0.89999, below 0.9")]);
    }
}
