use std::sync::Arc;

use super::*;
use crate::aligner::backend::Choice;
use crate::aligner::gradcheck::Tally;
use crate::numerics::stream::Stream;
use crate::spec::{Kind, LEAST, param_at};

/// Random settings that an ordinary test goes through; `CLIFFLINE_GRADIENT_CASES` asks for more.
const CASES: u64 = 40;

/// Share of its tolerance that no sound gradient may use, for the tolerance to have room left.
const ROOM: f64 = 0.5;

/// Least error of a planted fault over the tolerance, at mild settings.
const MARGIN: f64 = 10.0;

/// What a gradient depends on.
const PATHS: [&str; 11] = [
    "train.temperature",
    "train.weight_i2t",
    "train.weight_t2i",
    "train.redundancy_off_diagonal",
    "model.output_gain_img",
    "model.output_gain_txt",
    "train.balance",
    "train.embedding_l2",
    "train.variance_weight",
    "train.covariance_weight",
    "train.redundancy_weight",
];

fn backends() -> [Backend; 2] {
    [Choice::Native, Choice::Flex].map(|choice| choice.open().expect("a backend of the CPU"))
}

fn tiny() -> Config {
    let mut config = Config::default();
    config.world.image_size = 8;
    (config.model.hidden_img, config.model.hidden_txt, config.model.embedding) = (7, 5, 4);
    config
}

fn cell(config: &Config) -> Cell {
    Cell::new(config.clone(), Arc::new([]))
}

fn own_checks(config: &Config, backend: &Backend, fault: Option<Fault>) -> Vec<TensorCheck> {
    gradcheck([&cell(config)], backend, Settings::Own, fault).expect("a cell")
}

/// A value of a parameter: an end of its range, or anything between on a logarithmic scale, down to the smallest numbers.
fn value(path: &str, stream: &mut Stream) -> f64 {
    let Some(Kind::Float { min, max }) = param_at(path).map(|p| p.kind) else { panic!("{path} is a real number") };
    let least = if min > 0.0 { min } else { LEAST };
    let between = |from: f64, stream: &mut Stream| {
        let logarithm = from.ln() + stream.uniform() * (max.ln() - from.ln());
        logarithm.exp().clamp(least, max)
    };
    match stream.below(10) {
        0 => min,
        1 => max,
        2 => between(least, stream),
        _ => between(least.max(1e-9), stream),
    }
}

/// Any settings that a spec may have, on tiny shapes.
fn drawn(stream: &mut Stream) -> Config {
    let mut config = tiny();
    for path in PATHS {
        let param = param_at(path).expect("a parameter");
        if stream.below(2) == 0 {
            config.set(param, &value(path, stream).into());
        }
    }
    if config.train.weight_i2t + config.train.weight_t2i == 0.0 {
        config.train.weight_t2i = value("train.weight_t2i", stream).max(LEAST);
    }
    config.train.batch_size = if stream.below(3) == 0 { 2 } else { 2 + stream.below(30) as u64 };
    (config.model.hidden_img, config.model.hidden_txt) = (1 + stream.below(9) as u64, 1 + stream.below(9) as u64);
    config.model.embedding = 2 + stream.below(8) as u64;
    config
}

/// Faults of what runs at these settings.
fn faults(config: &Config) -> Vec<Fault> {
    let runs = |fault: &Fault| match fault {
        Fault::Regulariser => active(&config.train).any(|r| r.moments),
        Fault::EmbeddingL2 => config.train.embedding_l2 > 0.0,
        Fault::OutputGain => config.model.output_gains() != [1.0, 1.0],
        _ => true,
    };
    Fault::ALL.into_iter().map(|(_, fault)| fault).filter(runs).collect()
}

fn is_mild(check: &TensorCheck) -> bool {
    check.case.starts_with("mild")
}

fn worst_share<'a>(checks: impl Iterator<Item = &'a TensorCheck>) -> f64 {
    checks.map(TensorCheck::share).fold(0.0, f64::max)
}

#[test]
fn no_allowed_settings_raise_a_false_alarm_and_a_fault_is_found_at_all_of_them() {
    let cases = std::env::var("CLIFFLINE_GRADIENT_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(CASES);
    let backends = backends();
    let (mut sound, mut doubtful, mut compared, mut worst, mut least) = (0, 0, 0, 0.0_f64, f64::INFINITY);
    for case in 0..cases {
        let mut stream = Streams::new(11, "gradcheck.settings").item(case);
        let config = drawn(&mut stream);
        let possible = faults(&config);
        let fault = possible[stream.below(possible.len())];
        for backend in &backends {
            let checks = own_checks(&config, backend, None);
            for check in &checks {
                assert!(check.passed, "case {case} on {}: {check:?} at {config:?}", backend.name);
                if check.tolerance.is_finite() {
                    worst = worst.max(check.share());
                    assert!(check.share() < ROOM, "case {case} on {}: {check:?} at {config:?}", backend.name);
                }
            }
            let tally = Tally::of(&checks);
            assert!(tally.passed, "case {case} on {}: {tally:?} at {config:?}", backend.name);
            (sound, doubtful, compared) = (sound + 1, doubtful + tally.inconclusive, compared + tally.checks);

            let broken = own_checks(&config, backend, Some(fault));
            assert!(!Tally::of(&broken).passed, "case {case} on {}: {fault:?} at {config:?}", backend.name);
            least = least.min(worst_share(broken.iter().filter(|c| is_mild(c))));
        }
    }
    assert!(least > MARGIN, "a fault hardly showed at mild settings: {least}");
    eprintln!(
        "{sound} sets of settings, {compared} checks, {doubtful} of them inconclusive; a sound gradient used {worst:.2} of \
         its tolerance at most, a fault at mild settings {least:.0} times its tolerance at least"
    );
}

#[test]
fn each_fault_shows_with_each_term_at_mild_settings() {
    let (mut shown, mut least) = (0, f64::INFINITY);
    for backend in &backends() {
        for gains in [[1.0, 1.0], [2.0, 1000.0], [1e-8, 1.0]] {
            for term in REGULARISERS.iter().map(Some).chain([None]) {
                let mut config = tiny();
                [config.model.output_gain_img, config.model.output_gain_txt] = gains;
                term.into_iter().for_each(|term| (term.set_weight)(&mut config.train, 1.0));
                for fault in faults(&config) {
                    let broken = own_checks(&config, backend, Some(fault));
                    let margin = worst_share(broken.iter().filter(|check| is_mild(check)));
                    let term = term.map(|term| term.param);
                    assert!(margin > MARGIN, "{fault:?} with {term:?}, gains {gains:?} on {}: {margin}", backend.name);
                    (shown, least) = (shown + 1, least.min(margin));
                }
            }
        }
    }
    eprintln!("{shown} faults, each at least {least:.0} times its tolerance");
}

#[test]
fn what_is_checked_depends_on_neither_order_nor_history() {
    let cells: Vec<Cell> = (0..24)
        .map(|i| {
            let mut config = tiny();
            config.seed = i % 3;
            config.train.temperature = [0.05, 0.5][i as usize % 2];
            config.train.embedding_l2 = [0.0, 1e-3, 1.0][i as usize / 2 % 3];
            config.model.output_gain_img = [1.0, 2.0, 1000.0, 30.0][i as usize / 6];
            cell(&config)
        })
        .collect();
    let names = |cells: &mut dyn Iterator<Item = &Cell>| {
        let checks = gradcheck(cells, &backends()[0], Settings::Own, None).expect("cells");
        checks.iter().map(|c| format!("{} {} {:?}", c.case, c.tensor, c.worst_reference)).collect::<Vec<String>>()
    };
    let forward = names(&mut cells.iter());
    assert_eq!(forward, names(&mut cells.iter().rev()));
    // Of each set of options the mild settings, and the ends of temperature, coefficient and gain.
    let cases: BTreeSet<String> = gradcheck(&cells, &backends()[0], Settings::Own, None)
        .expect("cells")
        .into_iter()
        .map(|check| check.case)
        .collect();
    assert_eq!(cases.iter().filter(|case| case.starts_with("mild")).count(), 4, "{cases:?}");
    assert!(cases.iter().any(|case| case.contains("gain_img 1000")), "{cases:?}");
    assert!(!cases.iter().any(|case| case.contains("gain_img 30")), "between the ends: {cases:?}");
}

#[test]
fn around_a_default_cell_all_but_the_lowest_temperature_can_be_told() {
    for backend in &backends() {
        let checks = gradcheck([&cell(&tiny())], backend, Settings::All, None).expect("a cell");
        let tally = Tally::of(&checks);
        assert!(tally.passed, "{:?}", checks.iter().find(|c| !c.passed));
        assert!(checks.iter().all(|c| c.conclusive || c.case.contains("temperature 0.001")), "{tally:?}");
    }
}
