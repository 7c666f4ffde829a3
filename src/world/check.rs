//! `world check`: is the world fit to learn from?

use crate::numerics::shown::Levels;
use crate::spec::config::Config;
use crate::world::Modality;
use crate::world::confounder::soundness::{Soundness, soundness};
use crate::world::distribution::{Comparison, chi_square, kolmogorov_smirnov};
use crate::world::factors::{Factor, Factors};
use crate::world::leakage::{shared_factors, shared_indices, shared_sentences};
use crate::world::pairing::partners;
use crate::world::perturbation::PERTURBATIONS;
use crate::world::probe::{Sample, TRAINING_SAMPLES, probes};
use crate::world::sample::{Split, SplitName, World, WorldError};
use crate::world::strengths::{Fading, fading};
use crate::world::view::observed;

pub use crate::world::leakage::SharedSentences;
pub use crate::world::probe::{Probe, ProbeKind, Score};

/// The better of the two probes must explain this share of a continuous factor's variance. Fitted on 1,500 samples, the
/// worst of all factors over 200 seeds of 8 x 8 images was 0.89; a factor that an operator loses is near 0.
pub const R_SQUARED_FLOOR: f64 = 0.75;
/// The better of the two probes must name the shape of this share of samples; a guess is right for a quarter.
pub const ACCURACY_FLOOR: f64 = 0.95;
/// Chance of failing a sound world for its factor distributions, over all comparisons together (Bonferroni).
pub const FAMILY_LEVEL: f64 = 0.01;

/// How far the mean of a training feature may be from 0, and the mean variance of all from 1. Normalised features are
/// rounded to f32, by at most 6e-8 of values of order 1, rarely 100.
pub const NORMALISATION_SLACK: f64 = 1e-5;

/// What two splits share that they should not.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Leakage {
    pub splits: (SplitName, SplitName),
    pub shared_indices: usize,
    /// Samples of the second split with exactly the factors of a sample of the first.
    pub shared_factors: usize,
}

/// Sentences of an evaluation split that the training split also has.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Repetition {
    pub split: SplitName,
    #[serde(flatten)]
    pub sentences: SharedSentences,
}

/// One factor's distribution compared between two splits: Kolmogorov-Smirnov, or chi-square for shape.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Distribution {
    pub factor: Factor,
    pub splits: (SplitName, SplitName),
    pub test: &'static str,
    /// `None` when the samples are too few to compare.
    pub comparison: Option<Comparison>,
}

/// What the normalisation of one modality makes of its clean training features: the constants are theirs alone when
/// every mean is 0 and the variance 1. Those of the test split tell how far others would be off.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Normalisation {
    pub modality: Modality,
    /// Largest mean of a feature, in absolute value.
    pub train_mean: f64,
    /// Mean over the features of their variances.
    pub train_variance: f64,
    pub test_mean: f64,
    pub test_variance: f64,
}

/// Pairing corruption of one split, as asked for and as it came out.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Corruption {
    pub split: SplitName,
    pub rate: f64,
    /// Share of samples with another sample's text.
    pub corrupted_share: f64,
    /// Share of samples whose text also reads differently; two samples can have the same sentence.
    pub misleading_share: f64,
    /// Whether every text of the split is used once, so that none comes from another split or is missing.
    pub own_texts: bool,
}

/// Everything that was checked.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct CheckReport {
    pub passed: bool,
    /// Why it did not pass; empty when it did.
    pub reasons: Vec<String>,
    pub seed: u64,
    /// Probes on clean features, fitted on the training split and scored on the test split.
    pub probes: Vec<Probe>,
    /// The same on features as the configuration perturbs them; empty when it does not. Reported, not judged.
    pub probes_perturbed: Vec<Probe>,
    /// How each factor fades along the strengths of each perturbation; empty unless asked for.
    pub strengths: Vec<Fading>,
    pub leakage: Vec<Leakage>,
    pub repetition: Vec<Repetition>,
    pub distributions: Vec<Distribution>,
    pub normalisation: Vec<Normalisation>,
    pub pairing: Vec<Corruption>,
    /// `None` without a confounder.
    pub confounder: Option<Soundness>,
}

const PAIRS: [(SplitName, SplitName); 3] = [
    (SplitName::Train, SplitName::Validation),
    (SplitName::Train, SplitName::Test),
    (SplitName::Validation, SplitName::Test),
];

/// Generates the world of `config` and checks it: that each factor can be read from each modality, that the splits
/// share neither indices nor factors and have the same factor distributions, that the training split alone normalises,
/// what the pairing came to and stayed inside its split, and what the confounder knows; with `strengths`, also that no
/// perturbation whose strengths build on one another reveals more of a factor the stronger it is.
///
/// **Returns.** A report; it has passed when nothing is listed under `reasons`. A check that cannot be made, for
/// instance on too few samples, is listed there too.
///
/// **Errors** when the world cannot be generated.
///
/// **Numerics.** Probes solve in f64 with vector instructions of the machine at hand: their scores may differ in the
/// last digits between machines.
pub fn check(config: &Config, strengths: bool) -> Result<CheckReport, WorldError> {
    let world = World::generate(config.seed, &config.world, config.text.features)?;
    let confounder = soundness(&world, config);
    let is_perturbed = confounder.is_some() || PERTURBATIONS.iter().any(|p| p.is_on(config));
    let mut report = CheckReport {
        passed: false,
        reasons: Vec::new(),
        seed: config.seed,
        probes: probe_both(&world, &Config::default()),
        probes_perturbed: if is_perturbed { probe_both(&world, config) } else { Vec::new() },
        strengths: if strengths { fading(&world, config) } else { Vec::new() },
        leakage: PAIRS.map(|splits| leakage(&world, splits)).to_vec(),
        repetition: [SplitName::Validation, SplitName::Test]
            .map(|split| Repetition {
                split,
                sentences: shared_sentences(world.split(SplitName::Train), world.split(split)),
            })
            .to_vec(),
        distributions: PAIRS.iter().flat_map(|&splits| distributions(&world, splits)).collect(),
        normalisation: Modality::ALL.map(|modality| normalisation(&world, modality)).to_vec(),
        pairing: SplitName::ALL.map(|split| corruption(world.split(split), config)).to_vec(),
        confounder,
    };
    report.reasons = reasons(&report);
    report.passed = report.reasons.is_empty();
    Ok(report)
}

/// Probes of both modalities under the strengths of `strengths`.
fn probe_both(world: &World, strengths: &Config) -> Vec<Probe> {
    let (train, test) = (world.split(SplitName::Train), world.split(SplitName::Test));
    let of = |modality| {
        let (x, x_test) = (observed(train, modality, strengths), observed(test, modality, strengths));
        probes(modality, Sample { x: &x, factors: &train.factors }, Sample { x: &x_test, factors: &test.factors })
    };
    Modality::ALL.into_iter().flat_map(of).collect()
}

fn leakage(world: &World, splits: (SplitName, SplitName)) -> Leakage {
    let (a, b) = (world.split(splits.0), world.split(splits.1));
    Leakage { splits, shared_indices: shared_indices(a, b), shared_factors: shared_factors(a, b) }
}

fn distributions(world: &World, splits: (SplitName, SplitName)) -> Vec<Distribution> {
    let (a, b) = (&world.split(splits.0).factors, &world.split(splits.1).factors);
    let compare = |factor: Factor| {
        if factor == Factor::Shape {
            let counts = |factors: &[Factors]| {
                let mut counts = [0; 4];
                factors.iter().for_each(|f| counts[f.shape as usize] += 1);
                counts
            };
            return Distribution { factor, splits, test: "chi_square", comparison: chi_square(&counts(a), &counts(b)) };
        }
        let values = |factors: &[Factors]| factors.iter().map(|f| factor.value(f)).collect::<Vec<_>>();
        let comparison = kolmogorov_smirnov(&values(a), &values(b));
        Distribution { factor, splits, test: "kolmogorov_smirnov", comparison }
    };
    Factor::ALL.into_iter().map(compare).collect()
}

fn normalisation(world: &World, modality: Modality) -> Normalisation {
    let of = |name: SplitName| {
        let observations = world.split(name).observations(modality);
        let (n, p) = (observations.n as f64, observations.p);
        let (mut mean, mut squares) = (vec![0.0; p], 0.0);
        for row in observations.clean.chunks_exact(p) {
            for (mean, &x) in mean.iter_mut().zip(row) {
                *mean += f64::from(x) / n;
                squares += f64::from(x).powi(2) / (n * p as f64);
            }
        }
        let variance = squares - mean.iter().map(|m| m * m).sum::<f64>() / p as f64;
        (mean.iter().fold(0.0, |most: f64, m| most.max(m.abs())), variance)
    };
    let ((train_mean, train_variance), (test_mean, test_variance)) = (of(SplitName::Train), of(SplitName::Test));
    Normalisation { modality, train_mean, train_variance, test_mean, test_variance }
}

fn corruption(split: &Split, config: &Config) -> Corruption {
    let pairing = partners(config.seed, split.name, &config.pairing, &split.factors);
    let misleading =
        pairing.partner.iter().enumerate().filter(|&(i, &p)| split.sentence(i) != split.sentence(p as usize));
    let mut texts = pairing.partner.clone();
    texts.sort_unstable();
    Corruption {
        split: split.name,
        rate: config.pairing.rate,
        corrupted_share: pairing.corrupted_share,
        misleading_share: misleading.count() as f64 / split.factors.len().max(1) as f64,
        own_texts: texts.into_iter().eq(0..split.factors.len() as u32),
    }
}

/// Why a report does not pass.
fn reasons(report: &CheckReport) -> Vec<String> {
    let mut reasons = unreadable(&report.probes);
    for Leakage { splits: (a, b), shared_indices, shared_factors } in &report.leakage {
        let (a, b) = (a.name(), b.name());
        if *shared_indices > 0 {
            reasons.push(format!("{shared_indices} samples are in both the {a} and the {b} split"));
        }
        if *shared_factors > 0 {
            reasons.push(format!("{shared_factors} samples of the {b} split have the factors of a {a} sample"));
        }
    }
    for Repetition { split, sentences: SharedSentences { count, bound, .. } } in &report.repetition {
        if count > bound {
            let split = split.name();
            reasons.push(format!("{count} {split} sentences are also training sentences; chance explains {bound}"));
        }
    }
    for faded in report.strengths.iter().filter(|f| !f.is_sound()) {
        let (factor, from, path) = (faded.factor.name(), faded.modality.name(), faded.path);
        let shown = Levels::of_numbers([faded.largest_rise, faded.tolerated_rise]);
        let [rise, tolerated] = [faded.largest_rise, faded.tolerated_rise].map(|rise| shown.number(rise));
        reasons.push(format!(
            "{factor} from {from} becomes more readable as {path} grows, by {rise}; chance explains {tolerated}"
        ));
    }
    let level = FAMILY_LEVEL / report.distributions.len().max(1) as f64;
    for Distribution { factor, splits: (a, b), comparison, .. } in &report.distributions {
        let (factor, a, b) = (factor.name(), a.name(), b.name());
        match comparison {
            None => reasons.push(format!("too few samples to compare {factor} between the {a} and the {b} split")),
            Some(c) if c.p_value < level => {
                let [p, level] = [c.p_value, level].map(|p| Levels::of_numbers([c.p_value, level]).number(p));
                reasons.push(format!(
                    "{factor} is distributed differently in the {a} and the {b} split: p = {p}, below {level}"
                ));
            }
            Some(_) => {}
        }
    }
    for Normalisation { modality, train_mean, train_variance, .. } in &report.normalisation {
        let is_off = |value: f64, expected: f64| (value - expected).abs() > NORMALISATION_SLACK;
        if is_off(*train_mean, 0.0) || is_off(*train_variance, 1.0) {
            reasons.push(format!(
                "{} features of the training split have means up to {train_mean:.1e} and variance {train_variance}: it did not normalise them",
                modality.name()
            ));
        }
    }
    for Corruption { split, .. } in report.pairing.iter().filter(|pairing| !pairing.own_texts) {
        reasons.push(format!("the {} split is not paired with its own texts, each once", split.name()));
    }
    reasons.extend(report.confounder.iter().flat_map(|confounder| confounder.reasons(FAMILY_LEVEL)));
    reasons
}

/// Factors that the better of a modality's two probes does not read well enough.
fn unreadable(probes: &[Probe]) -> Vec<String> {
    let mut reasons = Vec::new();
    for modality in Modality::ALL {
        for factor in Factor::ALL {
            let of_both = || probes.iter().filter(|p| p.modality == modality && p.factor == factor);
            let (floor, unit) = match factor {
                Factor::Shape => (ACCURACY_FLOOR, "accuracy"),
                _ => (R_SQUARED_FLOOR, "R squared"),
            };
            let from = format!("{} from {}", factor.name(), modality.name());
            match of_both().filter_map(|p| p.value).max_by(f64::total_cmp) {
                Some(best) if best >= floor => {}
                Some(best) => {
                    let n = of_both().map(|p| p.n_train).max().unwrap_or(0);
                    let hint = if n < TRAINING_SAMPLES {
                        format!(
                            "; {n} training samples may be too few, {TRAINING_SAMPLES} are used when there are as many"
                        )
                    } else {
                        String::new()
                    };
                    let best = Levels::of_numbers([best, floor]).number(best);
                    reasons.push(format!("{from}: the best {unit} is {best}, below {floor}{hint}"));
                }
                None => {
                    let why = of_both().find_map(|p| p.missing.clone()).unwrap_or_else(|| "no probe ran".into());
                    reasons.push(format!("{from}: {why}"));
                }
            }
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::config::{PairingKind, TextFeatures, WorldConfig};

    fn small(image_size: u64, features: TextFeatures, seed: u64) -> Config {
        let mut config = Config { seed, ..Config::default() };
        config.world = WorldConfig { image_size, n_train: 1500, n_validation: 256, n_test: 512 };
        config.text.features = features;
        config
    }

    #[test]
    fn default_worlds_pass_with_every_factor_readable_from_both_modalities() {
        for (size, features, seed) in [
            (16, TextFeatures::BagOfTokens, 0),
            (16, TextFeatures::TokenPosition, 1),
            (8, TextFeatures::BagOfTokens, 2),
        ] {
            let report = check(&small(size, features, seed), false).expect("a sound configuration");
            assert_eq!(report.reasons, Vec::<String>::new(), "{:#?}", report.probes);
            assert!(report.passed);
            assert_eq!(report.probes.len(), 2 * 2 * Factor::ALL.len());
            assert!(report.probes.iter().all(|p| p.value.is_some() && p.missing.is_none()));
            assert!(report.probes_perturbed.is_empty());
            assert!(report.leakage.iter().all(|l| l.shared_indices == 0 && l.shared_factors == 0));
        }
    }

    #[test]
    fn probes_see_that_a_modality_carries_nothing() {
        let mut config = small(8, TextFeatures::BagOfTokens, 0);
        config.world.n_train = 400;
        config.image.mask = 0.97;
        config.text.dropout = 1.0;
        let report = check(&config, false).expect("a sound configuration");
        assert_eq!(report.probes_perturbed.len(), report.probes.len());
        for probe in &report.probes_perturbed {
            match (probe.modality, probe.value) {
                (Modality::Text, value) => {
                    assert_eq!(value, None);
                    assert!(probe.missing.as_deref().is_some_and(|m| m.contains("features")), "{probe:?}");
                }
                (Modality::Image, Some(value)) => {
                    // Two of 64 pixels say little; a probe may also do worse than none at all.
                    assert!(value < probe.chance + 0.4, "{probe:?}");
                }
                (Modality::Image, None) => panic!("a few pixels vary: {probe:?}"),
            }
        }
    }

    #[test]
    fn a_world_too_small_to_judge_does_not_pass() {
        let mut config = small(8, TextFeatures::BagOfTokens, 0);
        config.world = WorldConfig { image_size: 8, n_train: 8, n_validation: 8, n_test: 8 };
        let report = check(&config, false).expect("a sound configuration");
        assert!(!report.passed);
        let reasons = report.reasons.join("\n");
        assert!(reasons.contains("8 training samples may be too few"), "{reasons}");
        assert!(reasons.contains("too few samples to compare shape"), "{reasons}");
    }

    #[test]
    fn a_confounder_is_checked_with_the_world() {
        let mut config = small(8, TextFeatures::BagOfTokens, 0);
        (config.confounder.strength, config.confounder.prevalence) = (1.0, 0.8);
        let report = check(&config, false).expect("a sound configuration");
        assert_eq!(report.reasons, Vec::<String>::new());
        assert!(report.confounder.is_some() && !report.probes_perturbed.is_empty());
        config.confounder.semantics = false;
        let alone = check(&config, false).expect("a sound configuration");
        assert!(alone.passed, "{:?}", alone.reasons);
        for probe in &alone.probes_perturbed {
            // Only the confounder is left, which knows nothing of the factors.
            assert!(probe.value.is_some_and(|value| value < probe.chance + 0.15), "{probe:?}");
        }
    }

    #[test]
    fn corruption_is_reported_per_split() {
        let mut config = small(8, TextFeatures::BagOfTokens, 0);
        config.pairing.rate = 0.5;
        config.pairing.kind = PairingKind::GroupSwap;
        config.world.n_train = 400;
        let shares = check(&config, false).expect("a sound configuration").pairing;
        assert_eq!(shares.iter().map(|c| c.corrupted_share).collect::<Vec<_>>(), [0.5, 0.0, 0.0]);
        assert!(shares[0].misleading_share > 0.49 && shares[0].misleading_share <= 0.5);
    }

    #[test]
    fn every_fault_is_a_reason() {
        let mut config = small(8, TextFeatures::BagOfTokens, 0);
        config.world.n_train = 400;
        let mut report = check(&config, false).expect("a sound configuration");
        report.probes.clear();
        report.leakage[0].shared_indices = 1;
        report.leakage[1].shared_factors = 2;
        report.repetition[1].sentences.count = report.repetition[1].sentences.bound + 1;
        report.distributions[2].comparison =
            Some(Comparison { statistic: 1.0, critical_1_percent: 0.1, p_value: 1e-9 });
        report.normalisation[0].train_mean = 0.1;
        report.normalisation[1].train_variance = 1.1;
        report.pairing[1].own_texts = false;
        let reasons = reasons(&report);
        assert_eq!(reasons.len(), 2 * Factor::ALL.len() + 7, "{reasons:#?}");
    }
}
