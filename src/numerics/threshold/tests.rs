//! Thresholds against scipy 1.17.1 (`golden.py` beside this file makes the values), closed forms, and their coverage.

use proptest::prelude::*;

use super::super::stream::{Stream, Streams};
use super::*;

const INF: f64 = f64::INFINITY;

/// Two optimisers that stop at gains of 1e-13 in log-likelihood: the root of that, in units of the scale.
const OPTIMISER: f64 = 1e-6;

/// Ends of an interval, in units of its length: the error of Student's quantile.
const STUDENT: f64 = 1e-4;

/// Log-likelihoods in two orders of operations, relative.
const ROUNDING: f64 = 1e-12;

fn bracket(low: f64, high: f64) -> Bracket {
    let finite = |x: f64| Some(x).filter(|x| x.is_finite());
    Bracket { low: finite(low), high: finite(high) }
}

fn sample(counts: &[(f64, f64, usize)]) -> Vec<Bracket> {
    counts.iter().flat_map(|&(low, high, count)| std::iter::repeat_n(bracket(low, high), count)).collect()
}

fn fit(counts: &[(f64, f64, usize)]) -> ThresholdFit {
    fit_thresholds(&sample(counts)).expect("a fit")
}

/// The counts of `golden.py`'s samples, and what it prints: location, scale, the interval's ends, log-likelihood.
type Golden<'a> = (&'a [(f64, f64, usize)], [f64; 5]);

#[test]
fn fits_match_scipy() {
    let exact = [0.3, -1.2, 2.5, 0.0, 0.7, -0.4, 1.1, 0.2].map(|x| (x, x, 1));
    let golden: [Golden; 10] = [
        (
            &[(0.0, 1.0, 2), (1.0, 2.0, 5), (2.0, 3.0, 6), (3.0, 4.0, 2), (5.0, 6.0, 1)],
            [2.1649031250499826, 0.6242080938174197, 1.5458073976029103, 2.8030456715013434, -25.18660005365693],
        ),
        (
            &[(-INF, -2.0, 3), (-2.0, -1.5, 1), (-1.5, -1.0, 2), (-1.0, -0.5, 1), (-0.5, 0.25, 1), (0.25, INF, 4)],
            [-0.7367939047765061, 1.253222467762624, -2.511349767323202, 1.2939445097824689, -20.04588881641165],
        ),
        (
            &[
                (1000.25, 1000.25, 1),
                (1000.5, 1001.5, 1),
                (999.0, 1000.0, 1),
                (1000.75, 1000.75, 1),
                (999.5, 999.5, 1),
                (1001.5, INF, 1),
            ],
            [1000.4526381162605, 0.515660131951735, 999.4291776586078, 1001.6187934707685, -7.657997296231262],
        ),
        (
            &[(0.1, 0.9, 1), (0.2, 0.3, 1), (0.25, 0.7, 1), (0.6, 0.65, 1), (-1.0, 0.4, 1), (0.35, 2.0, 1)],
            [0.4202499121083322, 0.09850577155876471, 0.10134610804242022, 0.7794948348854401, -6.4955184144603955],
        ),
        (
            &[(0.0, 1.0, 1), (1.0, 2.0, 1), (3.0, 4.0, 1)],
            [1.7505561629926172, 0.7401771710600029, -1.9092962220789826, 5.563970036040718, -5.06521084633863],
        ),
        (
            &exact,
            [0.32944704040441386, 0.5645707499405219, -0.5115096174956396, 1.2205755180213504, -11.497426180011185],
        ),
        (&[(-1.5, 1.5, 7), (1.5, 4.5, 1)], [1.5, 0.0, -0.9615775747842901, 1.6640071814020154, -3.014161290051495]),
        (&[(2.0, 3.0, 3)], [2.5, 0.0, 1.7619588849621475, 3.2380411150378525, 0.0]),
        (
            &[(-INF, 1.0, 5), (1.0, INF, 2), (-INF, 4.0, 4), (2.0, INF, 5)],
            [1.4612296422958457, 2.1445574308180584, -INF, INF, -10.416381115490175],
        ),
        (
            &[(-INF, 1.0, 1), (2.0, INF, 1), (-INF, 4.0, 7), (0.0, INF, 7)],
            [1.73472986043038, 0.548977403343398, 0.26619775831995884, 3.538857562089431, -2.9378976687708405],
        ),
    ];
    for (counts, [location, scale, low, high, log_likelihood]) in golden {
        let got = fit(counts);
        let near = |x: f64, y: f64, tolerance: f64| x == y || (x - y).abs() <= tolerance;
        assert!(near(got.location, location, OPTIMISER * scale), "{got:?} {location}");
        assert!(near(got.scale, scale, OPTIMISER * scale), "{got:?} {scale}");
        assert!(near(got.location_low, low, STUDENT * (high - low)), "{got:?} {low}");
        assert!(near(got.location_high, high, STUDENT * (high - low)), "{got:?} {high}");
        assert!(near(got.log_likelihood, log_likelihood, ROUNDING * log_likelihood.abs()), "{got:?} {log_likelihood}");
    }
}

#[test]
fn a_step_is_located_to_within_what_all_brackets_share() {
    // Sixteen of sixteen below a level, or above, with probability one half: far less than 5%.
    let got = fit(&[(0.1, 0.3, 16)]);
    assert_eq!((got.location, got.scale, got.location_low, got.location_high), (0.2, 0.0, 0.1, 0.3));
    assert_eq!([0.1, 0.2, 0.3].map(|x| got.probability(x)), [0.0, 0.5, 1.0]);
    assert_eq!(got.log_likelihood, 0.0);
    let nested = fit(&[(0.0, 0.3, 8), (0.1, INF, 7), (-2.0, 5.0, 1)]);
    assert_eq!((nested.location_low, nested.location, nested.location_high), (0.1, 0.2, 0.3));
    // Two seeds at an end: a quarter for either to lie beyond; the interval reaches out.
    let loose = fit(&[(0.0, 0.3, 2), (0.1, INF, 2)]);
    assert!(loose.location_low < 0.1 && loose.location_high > 0.3);
    // Brackets that meet: a step where they do, of as many as there are.
    let meeting = fit(&[(0.0, 1.0, 3), (1.0, 2.0, 13)]);
    assert_eq!((meeting.location, meeting.scale, meeting.probability(1.0)), (1.0, 0.0, 3.0 / 16.0));
    assert!(meeting.location_low <= 1.0 && meeting.location_high > 1.0 && meeting.location_high < 2.0);
}

#[test]
fn all_that_one_level_tells() {
    // 3 of 16 below: a median below the level would make that at least one half, and the fall at least
    // 16 log 2 + 3 log(3 / 16) + 13 log(13 / 16) = 3.37, of 2.95 allowed. A median above can be anywhere.
    let got = fit(&[(-INF, 1.0, 3), (1.0, INF, 13)]);
    assert_eq!((got.location, got.scale, got.probability(1.0)), (1.0, 0.0, 3.0 / 16.0));
    assert_eq!((got.location_low, got.location_high), (1.0, INF));
    let got = fit(&[(-INF, 1.0, 6), (1.0, INF, 6)]);
    assert_eq!((got.location_low, got.location_high), (-INF, INF));
}

#[test]
fn exact_values_are_the_limit_of_narrow_brackets() {
    let values = [0.31, 0.42, 0.44, 0.58, 0.71, 0.73, 0.9];
    let width = 1e-7;
    let narrow: Vec<Bracket> = values.iter().map(|x| bracket(x - width / 2.0, x + width / 2.0)).collect();
    let exact: Vec<Bracket> = values.iter().map(|x| bracket(*x, *x)).collect();
    let (narrow, exact) = (fit_thresholds(&narrow).expect("a fit"), fit_thresholds(&exact).expect("a fit"));
    let density = narrow.log_likelihood - 7.0 * width.ln();
    // A bracket's width differs from `width` by a rounding of its ends: 1e-9 of it.
    assert!((density - exact.log_likelihood).abs() < 1e-7);
    for (x, y) in [
        (narrow.location, exact.location),
        (narrow.scale, exact.scale),
        (narrow.location_low, exact.location_low),
        (narrow.location_high, exact.location_high),
    ] {
        assert!((x - y).abs() < width, "{x} {y}");
    }
}

#[test]
fn exact_values_of_which_there_is_one() {
    // Among brackets that all hold it, one counts as known to within what they share.
    let got = fit(&[(0.1, 0.3, 15), (0.12, 0.12, 1)]);
    assert_eq!(got, fit(&[(0.1, 0.3, 16)]));
    // Repeated, it is the location.
    let got = fit(&[(0.1, 0.3, 13), (0.12, 0.12, 3)]);
    assert_eq!((got.location_low, got.location, got.location_high, got.scale), (0.12, 0.12, 0.12, 0.0));
    assert_eq!(fit_thresholds(&sample(&[(0.1, INF, 5), (0.2, 0.2, 1)])), Err(ThresholdError::AllAbove(0.1)));
}

#[test]
fn samples_without_a_fit() {
    let error = |counts: &[(f64, f64, usize)]| fit_thresholds(&sample(counts)).expect_err("no fit");
    assert_eq!(error(&[(0.0, 1.0, 2)]), ThresholdError::TooFew { got: 2, needed: 3 });
    assert_eq!(error(&[(0.5, INF, 3), (0.7, INF, 1)]), ThresholdError::AllAbove(0.7));
    assert_eq!(error(&[(-INF, 0.5, 3), (-INF, 0.7, 1)]), ThresholdError::AllBelow(0.5));
    assert_eq!(error(&[(-INF, 0.5, 3), (0.7, INF, 3)]), ThresholdError::NoRise);
    let bad = [(Some(1.0), Some(0.0)), (None, None), (Some(f64::NAN), Some(1.0)), (None, Some(INF))];
    for (low, high) in bad {
        let mut brackets = sample(&[(0.0, 1.0, 4)]);
        brackets[2] = Bracket { low, high };
        assert!(matches!(fit_thresholds(&brackets), Err(ThresholdError::Bracket { index: 2, .. })));
    }
}

/// Brackets on grids of many steps, some of them open, with ends that nearly meet.
fn awkward(stream: &mut Stream) -> Vec<Bracket> {
    let n = 3 + stream.below(20);
    let step = libm::pow(10.0, -3.0 + 4.0 * stream.uniform());
    let jitter = [0.0, 1e-9, 0.1][stream.below(3)];
    let draw = |stream: &mut Stream| {
        let cell = (stream.normal() / step).floor();
        let low = (cell + jitter * stream.uniform()) * step;
        let high = (cell + (1 + stream.below(2)) as f64 + jitter * stream.uniform()) * step;
        match stream.below(8) {
            0 => bracket(-INF, high),
            1 => bracket(low, INF),
            2 => bracket(low, low),
            _ => bracket(low, high),
        }
    };
    (0..n).map(|_| draw(stream)).collect()
}

/// The log-likelihood as the distribution defines it.
fn log_likelihood(brackets: &[Bracket], location: f64, scale: f64) -> f64 {
    let cdf = |x: f64| 1.0 / (1.0 + (-x).exp());
    let one = |bracket: &Bracket| {
        let low = bracket.low.map_or(-INF, |low| (low - location) / scale);
        let high = bracket.high.map_or(INF, |high| (high - location) / scale);
        let mass = if low > 0.0 { cdf(-low) - cdf(-high) } else { cdf(high) - cdf(low) };
        if bracket.is_exact() { (cdf(low) * cdf(-low) / scale).ln() } else { mass.ln() }
    };
    brackets.iter().map(one).sum()
}

#[test]
fn the_maximum_is_one_and_the_profile_ends_where_it_should() {
    let mut fits = 0;
    for item in 0..400 {
        let brackets = awkward(&mut Streams::new(11, "awkward").item(item));
        let Ok(got) = fit_thresholds(&brackets) else { continue };
        assert!(got.location_low <= got.location && got.location <= got.location_high, "{item}: {got:?}");
        if got.scale == 0.0 {
            continue;
        }
        fits += 1;
        let direct = log_likelihood(&brackets, got.location, got.scale);
        // Widths of 1e-3 or nearly zero are differences of levels about one: eight digits of each probability.
        let tolerance = 1e-6 * brackets.len() as f64;
        assert!((direct - got.log_likelihood).abs() < tolerance, "{item}: {direct} {got:?}");
        for (shift, factor) in [(0.1, 1.0), (-0.1, 1.0), (0.0, 1.1), (0.0, 0.9), (1.0, 2.0), (-1.0, 0.5)] {
            let other = log_likelihood(&brackets, got.location + shift * got.scale, got.scale * factor);
            assert!(other < got.log_likelihood + tolerance, "{item}: {other} {got:?}");
        }
        for end in [got.location_low, got.location_high].into_iter().filter(|end| end.is_finite()) {
            // A ladder of scales: a hundredth of the logarithm from the best, the profile is lower by less than
            // 1e-4 a bracket.
            let about = got.scale + (end - got.location).abs();
            let ladder = (-1500..300).map(|k| about * (f64::from(k) / 50.0).exp());
            let profile = ladder.map(|scale| log_likelihood(&brackets, end, scale)).fold(-INF, f64::max);
            let fall = got.log_likelihood - profile - critical_drop(&brackets);
            assert!((-1e-5..1e-4 * brackets.len() as f64).contains(&fall), "{item}: {fall} {got:?}");
        }
    }
    assert!(fits > 250, "{fits}");
}

#[test]
fn it_moves_scales_and_mirrors_with_the_levels() {
    let mirrored = |x: Option<f64>| x.map(|x| 50.0 - 3.0 * x);
    for item in 0..200 {
        let mut brackets = awkward(&mut Streams::new(13, "mirror").item(item));
        let Ok(fit) = fit_thresholds(&brackets) else { continue };
        brackets.reverse();
        for bracket in &mut brackets {
            *bracket = Bracket { low: mirrored(bracket.high), high: mirrored(bracket.low) };
        }
        let got = fit_thresholds(&brackets).expect("as before");
        // Levels of 50 keep fourteen digits of widths as small as 1e-3; so do ends that nearly meet, and more.
        let near = |x: f64, y: f64| x == y || (x - y).abs() < 1e-5 * (1.0 + y.abs());
        assert!(near(got.location, 50.0 - 3.0 * fit.location), "{item}: {fit:?} {got:?}");
        assert!(near(got.location_low, 50.0 - 3.0 * fit.location_high), "{item}: {fit:?} {got:?}");
        assert!(near(got.location_high, 50.0 - 3.0 * fit.location_low), "{item}: {fit:?} {got:?}");
    }
}

#[test]
fn intervals_cover_the_median_of_logistic_and_normal_thresholds() {
    // The standard error of a nominal rate is 0.006. Of 4,000 samples 94.2 to 97.1% are covered up to steps of one, and
    // 96.7 to 99.6% at three.
    let samples = 1_200;
    let logistic = |stream: &mut Stream| {
        let share = stream.uniform();
        libm::log(share / (1.0 - share)) * 3.0_f64.sqrt() / std::f64::consts::PI
    };
    // The step of the grid in standard deviations; its offset is uniform.
    for (step, rates) in [(0.1, 0.92..0.98), (1.0, 0.92..0.98), (3.0, 0.92..1.01)] {
        for n in [8, 16, 32] {
            for draw in [logistic, Stream::normal] {
                let covered = (0..samples).filter(|item| {
                    let mut stream = Streams::new(2, "coverage").item(*item);
                    let offset = stream.uniform();
                    let mut one = || {
                        let cell = (draw(&mut stream) / step - offset).floor();
                        bracket((cell + offset) * step, (cell + 1.0 + offset) * step)
                    };
                    let brackets: Vec<Bracket> = (0..n).map(|_| one()).collect();
                    let fit = fit_thresholds(&brackets).expect("a fit");
                    fit.location_low <= 0.0 && 0.0 <= fit.location_high
                });
                let rate = covered.count() as f64 / samples as f64;
                assert!(rates.contains(&rate), "step {step}, n = {n}: {rate}");
            }
        }
    }
}

/// Brackets of whatever finite ends: of any magnitude, neighbours as numbers, from the least to the greatest there are.
fn any_brackets() -> impl Strategy<Value = Vec<Bracket>> {
    let finite = |x: f64| if x.is_finite() { x } else { 0.0 };
    let any_end = move || any::<u64>().prop_map(move |bits| finite(f64::from_bits(bits)));
    let end = move || {
        prop_oneof![
            any_end(),
            0.0..1.0,
            (0u64..4).prop_map(f64::from_bits),
            (0u64..4).prop_map(|away| f64::from_bits(1.0f64.to_bits() + away)),
            Just(f64::MIN),
            Just(f64::MAX),
        ]
    };
    let bracket = (end(), end(), 0u8..4).prop_map(|(a, b, open)| Bracket {
        low: Some(a.min(b)).filter(|_| open != 1),
        high: Some(a.max(b)).filter(|_| open != 2),
    });
    prop::collection::vec(bracket, 3..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn any_finite_levels_have_a_fit_or_a_reason(brackets in any_brackets()) {
        if let Ok(fit) = fit_thresholds(&brackets) {
            prop_assert!(fit.location.is_finite() && fit.scale >= 0.0, "{:?}", fit);
            prop_assert!(fit.location_low <= fit.location && fit.location <= fit.location_high, "{:?}", fit);
        }
    }
}
