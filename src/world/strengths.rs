//! `world check --strengths`: how much of each factor is left at each strength of each perturbation.

use crate::spec::config::Config;
use crate::world::Modality;
use crate::world::factors::Factor;
use crate::world::perturbation::{PERTURBATIONS, Perturbation};
use crate::world::probe::{Probe, ProbeKind, Sample, Score, probes};
use crate::world::sample::{SplitName, World};
use crate::world::view::observed;

/// Standard errors by which a score may rise above that of a milder strength. About two hundred rises are looked at, of
/// which the largest of as many normal draws would be 2.8 errors.
const RISE_IN_ERRORS: f64 = 3.0;

/// Variance of one sample's part in an accuracy, at most. Neighbouring strengths share samples and draws, so that most
/// of the error of one score is in the other as well.
const SCORE_VARIANCE: f64 = 0.25;

/// How one factor fades from one modality along the strengths of one perturbation.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Fading {
    pub perturbation: &'static str,
    /// Path of the strength.
    pub path: &'static str,
    pub modality: Modality,
    pub factor: Factor,
    pub score: Score,
    /// The score of a probe that ignores the features.
    pub chance: f64,
    /// Strength 0 first, then the perturbation's levels.
    pub points: Vec<Point>,
    /// The most by which what is readable rises above what was at a milder strength; 0 where it only falls.
    pub largest_rise: f64,
    /// What of it the number of evaluation samples explains.
    pub tolerated_rise: f64,
    /// Whether it should only fall: see [`Perturbation::cumulative`].
    pub should_fall: bool,
}

/// Scores at one strength.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Point {
    pub strength: f64,
    pub linear: Option<f64>,
    pub nonlinear: Option<f64>,
    /// The best of both probes and of none.
    pub readable: f64,
}

impl Fading {
    /// Whether it only falls, within what chance explains, or need not.
    pub fn is_sound(&self) -> bool {
        !self.should_fall || self.largest_rise <= self.tolerated_rise
    }
}

/// Probes both modalities of the world of `config` under every perturbation alone, at each of its levels: fitted on the
/// training split and scored on the test split, both disturbed. Gains do not matter to a probe and are left out.
///
/// **Returns.** For every perturbation one entry per factor, from the modality that it disturbs.
///
/// **Numerics.** As [`crate::world::check()`].
pub fn fading(world: &World, config: &Config) -> Vec<Fading> {
    let clean = Modality::ALL.map(|modality| probed(world, modality, &Config::default()));
    let of = |p: &Perturbation| {
        let at = |level: f64| (level, probed(world, p.modality, &p.alone(level, config)));
        let levels: Vec<(f64, Vec<Probe>)> =
            std::iter::once((0.0, clean[p.modality as usize].clone())).chain(p.levels.iter().map(|l| at(*l))).collect();
        Factor::ALL.map(|factor| fade(p, factor, &levels))
    };
    PERTURBATIONS.iter().flat_map(of).collect()
}

fn probed(world: &World, modality: Modality, config: &Config) -> Vec<Probe> {
    let (train, test) = (world.split(SplitName::Train), world.split(SplitName::Test));
    let (x, x_test) = (observed(train, modality, config), observed(test, modality, config));
    probes(modality, Sample { x: &x, factors: &train.factors }, Sample { x: &x_test, factors: &test.factors })
}

/// One factor's scores, from those of all factors by strength.
fn fade(perturbation: &Perturbation, factor: Factor, levels: &[(f64, Vec<Probe>)]) -> Fading {
    let of = |probes: &[Probe], kind: ProbeKind| probes.iter().find(|p| p.factor == factor && p.kind == kind).cloned();
    let first = levels.first().and_then(|(_, probes)| of(probes, ProbeKind::Linear));
    let chance = first.as_ref().map_or(0.0, |p| p.chance);
    let points: Vec<Point> = levels
        .iter()
        .map(|(strength, probes)| {
            let [linear, nonlinear] =
                [ProbeKind::Linear, ProbeKind::Nonlinear].map(|kind| of(probes, kind).and_then(|p| p.value));
            let readable = linear.into_iter().chain(nonlinear).fold(chance, f64::max);
            Point { strength: *strength, linear, nonlinear, readable }
        })
        .collect();
    let (mut least, mut largest_rise) = (f64::INFINITY, 0.0f64);
    for point in &points {
        largest_rise = largest_rise.max(point.readable - least);
        least = least.min(point.readable);
    }
    let n = first.as_ref().map_or(1, |p| p.n_eval.max(1)) as f64;
    Fading {
        perturbation: perturbation.name,
        path: perturbation.path,
        modality: perturbation.modality,
        factor,
        score: first.map_or(Score::RSquared, |p| p.score),
        chance,
        points,
        largest_rise,
        tolerated_rise: RISE_IN_ERRORS * (SCORE_VARIANCE / n).sqrt(),
        should_fall: perturbation.cumulative,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::config::{TextFeatures, WorldConfig};

    /// Probes of one level that read every factor as well as `value`.
    fn level(strength: f64, value: Option<f64>) -> (f64, Vec<Probe>) {
        let probe = |kind| Probe {
            factor: Factor::Phase,
            modality: Modality::Image,
            kind,
            score: Score::RSquared,
            value,
            missing: None,
            chance: 0.0,
            n_train: 100,
            n_eval: 100,
        };
        (strength, [ProbeKind::Linear, ProbeKind::Nonlinear].map(probe).to_vec())
    }

    #[test]
    fn rises_are_counted_from_the_least_before_and_nothing_is_worse_than_chance() {
        let values = [Some(0.9), Some(0.5), Some(0.6), Some(-0.4), None, Some(0.1)];
        let levels: Vec<_> = values.into_iter().enumerate().map(|(i, v)| level(i as f64, v)).collect();
        let named = |path: &str| PERTURBATIONS.iter().find(|p| p.path == path).expect("registered");
        let faded = fade(named("image.blur"), Factor::Phase, &levels);
        assert_eq!(faded.points.iter().map(|p| p.readable).collect::<Vec<_>>(), [0.9, 0.5, 0.6, 0.0, 0.0, 0.1]);
        assert!((faded.largest_rise - 0.1).abs() < 1e-15);
        // Three errors of at most 0.5 / sqrt 100.
        assert!((faded.tolerated_rise - 0.15).abs() < 1e-15 && faded.is_sound());
        let risen = [level(0.0, Some(0.2)), level(1.0, Some(0.4))];
        assert!(!fade(named("image.blur"), Factor::Phase, &risen).is_sound());
        assert!(
            fade(named("image.quantisation"), Factor::Phase, &risen).is_sound(),
            "its levels do not build on one another"
        );
    }

    #[test]
    fn every_perturbation_takes_something_from_its_modality_and_only_reordering_spares_a_bag() {
        let sizes = WorldConfig { image_size: 8, n_train: 200, n_validation: 8, n_test: 200 };
        let world = World::generate(0, &sizes, TextFeatures::BagOfTokens).expect("a sound configuration");
        let all = fading(&world, &Config::default());
        assert_eq!(all.len(), PERTURBATIONS.len() * Factor::ALL.len());
        for p in PERTURBATIONS {
            let lost = |f: &Fading| f.points[0].readable - f.points.last().map_or(0.0, |point| point.readable);
            let most = all.iter().filter(|f| f.path == p.path).map(lost).fold(0.0, f64::max);
            let spared = ["text.swap", "text.jitter", "text.insertion"].contains(&p.path);
            assert!(if spared { most < 0.1 } else { most > 0.1 }, "{} takes {most}", p.name);
        }
    }
}
