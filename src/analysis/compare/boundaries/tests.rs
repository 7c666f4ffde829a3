use polars_core::prelude::{NamedFrom, Series};

use super::*;
use crate::numerics::stream::Streams;
use crate::spec::{Overrides, from_str};

/// Logarithms and exponentials of numbers of size one.
const ROUNDING: f64 = 1e-12;

const GATE: &str = "[[gate]]\nname = \"rank\"\nmetric = \"effective_rank_img\"\nmin = 8\n";
const NOISE: &str = "\"image.noise\" = [0.0, 1.0, 2.0, 3.0]\n";
const TEMPERATURE: &str = "\"train.temperature\" = [0.1, 0.2, 0.4, 0.8]\n";

fn sweep(rate: f64, axes: &str, rest: &str) -> Sweep {
    let text = format!(
        "name = \"t\"\npreset = \"tiny\"\ntrain.learning_rate = {rate}\n[axes]\nseed = {{ seeds = 6 }}\n{axes}{rest}"
    );
    from_str(&text, "t.toml", &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// A seed's upper edge; its lower one lies beyond the levels, or nowhere.
#[derive(Clone, Copy)]
enum Edge {
    /// A zero of a margin and its bracket.
    Zero(f64, f64, f64),
    /// In the middle of its bracket, on a linear scale.
    Middle(f64, f64),
    Beyond(f64),
    Never,
    Unknown,
}
use Edge::{Beyond, Middle, Never, Unknown, Zero};

/// The rows of one line under the constraint `rank`, seed by seed, with these fits of the upper edge.
fn table(axis: &str, scale: &str, seeds: &[Edge], fit: Option<f64>) -> DataFrame {
    let mut sides = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut levels: [Vec<Option<f64>>; 5] = Default::default();
    for side in ["lower", "upper"] {
        let fit = fit.filter(|_| side == "upper");
        let heads = std::iter::once((None, [None, None, None, fit, fit.map(|_| 0.1)], None));
        let rows = seeds.iter().zip(0i64..).map(|(edge, seed)| {
            let (mut level, state) = match *edge {
                Zero(at, low, high) => ([Some(at), Some(low), Some(high), None, None], "crossed"),
                Middle(low, high) => ([Some((low + high) / 2.0), Some(low), Some(high), None, None], "crossed"),
                Beyond(last) => ([None, Some(last), None, None, None], "beyond"),
                Never => ([None; 5], "never_holds"),
                Unknown => ([None; 5], "unknown"),
            };
            let state = if side == "lower" && state == "crossed" { "beyond" } else { state };
            if side == "lower" {
                level = [None, None, Some(0.0), None, None];
            }
            (Some(seed), level, Some(state))
        });
        for (seed, level, state) in heads.chain(rows) {
            sides.0.push(side);
            sides.1.push(seed);
            sides.2.push(state);
            sides.3.push(seed.map(|_| true));
            levels.iter_mut().zip(level).for_each(|(column, level)| column.push(level));
        }
    }
    let n = sides.0.len();
    let names = ["level", "bracket_low", "bracket_high", "fit_level", "fit_scale"];
    let mut columns = vec![
        Series::new("constraint".into(), vec!["rank"; n]).into(),
        Series::new("axis".into(), vec![axis; n]).into(),
        Series::new("scale".into(), vec![scale; n]).into(),
        Series::new("side".into(), sides.0).into(),
        Series::new("seed".into(), sides.1).into(),
        Series::new("state".into(), sides.2).into(),
        Series::new("main".into(), sides.3).into(),
    ];
    columns.extend(names.into_iter().zip(levels).map(|(name, values)| Series::new(name.into(), values).into()));
    DataFrame::new_infer_height(columns).expect("columns of one length")
}

/// The shifts from the edges of `a` to those of `b` along noise, of other settings.
fn linear(a: &[Edge], b: &[Edge]) -> BoundaryShifts {
    let (sweep_a, sweep_b) = (sweep(0.1, NOISE, GATE), sweep(0.2, NOISE, GATE));
    let pairing = Pairing::new(&sweep_a, &sweep_b);
    let table = |edges: &[Edge], fit| table("image.noise", "linear", edges, Some(fit));
    let same = vec![Some(false); pairing.len()];
    boundary_shifts(&pairing, &table(a, 1.25), &table(b, 1.75), &same).expect("tables")
}

fn counted(row: &Shift) -> Vec<(State, State, u64, u64)> {
    row.transitions.iter().map(|moved| (moved.a, moved.b, moved.seeds, moved.moved)).collect()
}

fn close(got: Option<f64>, expected: f64) {
    assert!(got.is_some_and(|got| (got - expected).abs() < ROUNDING), "{got:?} {expected}");
}

#[test]
fn a_linear_shift_worked_by_hand() {
    // Shifts of 0.25, 0.5 and 1.5, from least to greatest.
    let a = [Zero(0.25, 0.0, 1.0), Zero(1.0, 1.0, 2.0), Zero(0.5, 0.0, 1.0)];
    let b = [Zero(0.5, 0.0, 1.0), Zero(1.5, 1.0, 2.0), Zero(2.0, 1.0, 2.0)];
    let found = linear(&a, &b);
    assert_eq!((found.lines, &found.lines_only, found.shifts.len()), (1, &Each { a: 0, b: 0 }, 1));
    let row = &found.shifts[0];
    assert_eq!((row.side, row.scale, row.seeds, row.same), (Some(Side::Upper), Scale::Linear, 3, 0));
    close(row.shift, 0.75);
    close(row.level.a, 1.75 / 3.0);
    close(row.level.b, 4.0 / 3.0);
    // Brackets leave open -1 to 1, -1 to 1 and 0 to 2; the shifts themselves go from 0.25 to 1.5.
    let [least, most] = row.open.expect("no cells are the same");
    close(Some(least), -2.0 / 3.0);
    close(Some(most), 4.0 / 3.0);
    assert_eq!((row.interval, row.biased, row.fit_shift), (Some([least, 1.5]), false, None));
    assert_eq!(counted(row), [(State::Crossed, State::Crossed, 3, 0)]);
    assert!(!row.is_still());
    // The lower side lies beyond the levels in both.
    assert_eq!(found.without_edge.sides, 1);
    assert_eq!(found.without_edge.transitions, [Transition { a: State::Beyond, b: State::Beyond, seeds: 3, moved: 0 }]);
    // One seed has a shift and no interval.
    let one = linear(&a[..1], &b[..1]);
    assert_eq!((one.shifts[0].shift, one.shifts[0].interval), (Some(0.25), None));
    // A seed that one run lacks is counted.
    let lacks = linear(&a, &b[..2]);
    assert_eq!((lacks.shifts[0].seeds, &lacks.shifts[0].seeds_only), (2, &Each { a: 1, b: 0 }));
}

#[test]
fn a_log_shift_is_a_ratio_of_geometric_means() {
    let (sweep_a, sweep_b) = (sweep(0.1, TEMPERATURE, GATE), sweep(0.2, TEMPERATURE, GATE));
    let pairing = Pairing::new(&sweep_a, &sweep_b);
    // Ratios of 2 and 0.5 cancel, and 8 is the cube of the mean ratio.
    let a = [Zero(0.1, 0.1, 0.2), Zero(0.2, 0.1, 0.2), Zero(0.1, 0.1, 0.2)];
    let b = [Zero(0.2, 0.1, 0.2), Zero(0.1, 0.1, 0.2), Zero(0.8, 0.4, 0.8)];
    let table = |edges| table("train.temperature", "log", edges, None);
    let same = vec![Some(false); pairing.len()];
    let found = boundary_shifts(&pairing, &table(&a), &table(&b), &same).expect("tables");
    let row = &found.shifts[0];
    assert_eq!(row.scale, Scale::Log);
    close(row.shift, 2.0);
    let [low, high] = row.interval.expect("of three seeds");
    close(Some(low), 0.5);
    close(Some(high), 8.0);
    close(row.level.a, libm::cbrt(0.002));
}

#[test]
fn intervals_are_as_wide_as_brackets() {
    // From the middle of 0 and 1 to that of 1 and 2, for all seeds: by 1, and anything from 0 to 2.
    let found = linear(&[Middle(0.0, 1.0); 3], &[Middle(1.0, 2.0); 3]);
    let row = &found.shifts[0];
    assert_eq!((row.shift, row.interval, row.open), (Some(1.0), Some([0.0, 2.0]), Some([0.0, 2.0])));
    // In one bracket and of other cells, they are not known to be at one place.
    let row = &linear(&[Middle(0.0, 1.0); 3], &[Middle(0.0, 1.0); 3]).shifts[0];
    assert_eq!((row.shift, row.interval, row.is_still()), (Some(0.0), Some([-1.0, 1.0]), false));
    // A zero of a margin leaves as much open.
    let a = [Zero(0.5, 0.0, 1.0), Middle(0.0, 1.0)];
    let b = [Zero(1.0, 0.0, 1.0), Middle(0.0, 1.0)];
    let row = &linear(&a, &b).shifts[0];
    assert_eq!((row.shift, row.interval, row.open), (Some(0.25), Some([-1.0, 1.0]), Some([-1.0, 1.0])));
}

#[test]
fn finer_levels_in_one_run_leave_less_open() {
    let (coarse, fine) = (sweep(0.1, "\"image.noise\" = [0.0, 2.0]\n", GATE), sweep(0.2, NOISE, GATE));
    let pairing = Pairing::new(&coarse, &fine);
    let table = |edges: &[Edge]| table("image.noise", "linear", edges, None);
    let (a, b) = (table(&[Zero(0.5, 0.0, 2.0); 2]), table(&[Zero(1.5, 1.0, 2.0); 2]));
    let found = boundary_shifts(&pairing, &a, &b, &vec![Some(false); pairing.len()]).expect("tables");
    // From anywhere in 0 to 2 to anywhere in 1 to 2.
    assert_eq!((found.shifts[0].shift, found.shifts[0].interval), (Some(1.0), Some([-1.0, 2.0])));
    // Of the same cells it is one edge, which the finer levels place better.
    let same = vec![Some(true); pairing.len()];
    let one = sweep(0.1, NOISE, GATE);
    let pairing = Pairing::new(&coarse, &one);
    let found = boundary_shifts(&pairing, &a, &b, &same).expect("tables");
    let row = &found.shifts[0];
    assert_eq!((row.shift, row.interval, row.open, row.same), (Some(0.0), Some([0.0; 2]), None, 2));
    assert!(row.is_still());
    assert_eq!(row.level, Each { a: Some(0.5), b: Some(1.5) });
}

#[test]
fn identical_runs_have_not_moved_at_all() {
    let sweep = sweep(0.1, NOISE, GATE);
    let pairing = Pairing::new(&sweep, &sweep);
    let table = table(
        "image.noise",
        "linear",
        &[Middle(0.0, 1.0), Zero(0.3, 0.0, 1.0), Middle(1.0, 2.0), Beyond(3.0), Never, Unknown],
        Some(1.0),
    );
    let mut same = vec![Some(true); pairing.len()];
    let found = boundary_shifts(&pairing, &table, &table, &same).expect("tables");
    let row = &found.shifts[0];
    assert_eq!((row.shift, row.interval, row.open, row.same), (Some(0.0), Some([0.0; 2]), None, 3));
    assert!(row.is_still() && !row.biased);
    // What is not finished in both says nothing; other bits in one cell of a seed's line do.
    same[0] = None;
    assert!(boundary_shifts(&pairing, &table, &table, &same).expect("tables").shifts[0].is_still());
    let of_first = pairing.pairs.iter().position(|pair| sweep.cells[pair.a].config.seed == 0).expect("a pair");
    same[of_first] = Some(false);
    let row = &boundary_shifts(&pairing, &table, &table, &same).expect("tables").shifts[0];
    assert_eq!((row.shift, row.same, row.is_still()), (Some(0.0), 2, false));
    let third = 1.0 / 3.0;
    let [low, high] = row.interval.expect("of three seeds");
    close(Some(low), -third);
    close(Some(high), third);
}

#[test]
fn seeds_without_an_edge_in_one_run_are_counted_and_the_mean_is_marked() {
    let a = [Zero(1.5, 1.0, 2.0), Zero(1.5, 1.0, 2.0), Never, Beyond(3.0), Unknown, Beyond(1.0)];
    let b =
        [Zero(2.5, 2.0, 3.0), Beyond(3.0), Zero(0.5, 0.0, 1.0), Beyond(3.0), Zero(0.5, 0.0, 1.0), Zero(1.5, 1.0, 2.0)];
    let found = linear(&a, &b);
    let row = &found.shifts[0];
    assert_eq!(
        counted(row),
        [
            (State::Crossed, State::Crossed, 1, 0),
            (State::Crossed, State::Beyond, 1, 1),
            // What held as far as 1 may have had its edge between 1 and 2 as well.
            (State::Beyond, State::Crossed, 1, 0),
            (State::Beyond, State::Beyond, 1, 0),
            (State::NeverHolds, State::Crossed, 1, 1),
            (State::Unknown, State::Crossed, 1, 0),
        ]
    );
    assert_eq!((row.seeds, row.shift, row.biased, row.fit_shift), (1, Some(1.0), true, Some(0.5)));
    // Without anything that could be measured, and with nothing but that.
    let gone = linear(&[Zero(1.5, 1.0, 2.0); 3], &[Beyond(3.0); 3]);
    let row = &gone.shifts[0];
    assert_eq!((row.seeds, row.shift, row.interval, row.is_still()), (0, None, None, false));
    // From everywhere to nowhere is a row of the line.
    let turned = linear(&[Beyond(3.0); 3], &[Never; 3]);
    assert_eq!((turned.shifts.len(), turned.shifts[0].side, turned.without_edge.sides), (1, None, 0));
    assert_eq!(counted(&turned.shifts[0]), [(State::Beyond, State::NeverHolds, 3, 3)]);
    // What nobody knows is no row.
    let unknown = linear(&[Beyond(3.0); 3], &[Unknown; 3]);
    assert_eq!((unknown.shifts.len(), unknown.without_edge.sides), (0, 2));
}

#[test]
fn constraints_are_compared_where_they_say_the_same() {
    let condition = |noise: f64| format!("[[condition]]\nname = \"noisy\"\nimage.blur = {noise}\n");
    let noisy = "[[gate]]\nname = \"noisy\"\nmetric = \"modality_gap\"\nmax = 1\ncondition = \"noisy\"\n";
    let names = |a: &str, b: &str| {
        let (a, b) = (sweep(0.1, NOISE, a), sweep(0.1, NOISE, b));
        let pairing = Pairing::new(&a, &b);
        let table = table("image.noise", "linear", &[Zero(0.5, 0.0, 1.0); 2], None);
        let found = boundary_shifts(&pairing, &table, &table, &vec![None; pairing.len()]).expect("tables");
        (found.defined_differently, found.constraints_only, found.lines)
    };
    let none = Each { a: Vec::new(), b: Vec::new() };
    assert_eq!(names(GATE, GATE), (Vec::new(), none.clone(), 1));
    assert_eq!(names(GATE, &GATE.replace('8', "9")), (vec!["rank".to_string()], none.clone(), 0));
    let both = |blur| format!("{}{GATE}{noisy}", condition(blur));
    let differ = vec!["all".to_string(), "noisy".to_string()];
    assert_eq!(names(&both(1.0), &both(2.0)), (differ, none.clone(), 1), "a gate is of its condition");
    let only = Each { a: Vec::new(), b: vec!["all".to_string(), "noisy".to_string()] };
    assert_eq!(names(&format!("{}{GATE}", condition(1.0)), &both(1.0)), (Vec::new(), only, 1));
    // Written out, the implied gate is the same.
    let lost = "[[gate]]\nname = \"lost\"\nmetric = \"lost\"\nmax = 0\n";
    assert_eq!(names("", lost), (Vec::new(), none, 0));
}

/// The edge at a level as levels a `step` apart and a margin that is bent there place it: of slope `inside` where the
/// constraint holds, and `beyond` where it does not.
fn placed(at: f64, step: f64, [inside, beyond]: [f64; 2]) -> Edge {
    let (low, high) = ((at / step).floor() * step, ((at / step).floor() + 1.0) * step);
    let (holds, violates) = (inside * (at - low), beyond * (high - at));
    Zero(low + (high - low) * holds / (holds + violates), low, high)
}

/// Share of experiments whose interval has a shift of 0.05 in it; eight seeds have edges of standard deviation 0.01 in
/// each run, anywhere among the levels.
fn coverage(step: f64, slopes: [f64; 2]) -> f64 {
    const EXPERIMENTS: u64 = 300;
    const SHIFT: f64 = 0.05;
    let (sweep_a, sweep_b) = (sweep(0.1, NOISE, GATE), sweep(0.2, NOISE, GATE));
    let pairing = Pairing::new(&sweep_a, &sweep_b);
    let same = vec![Some(false); pairing.len()];
    let streams = Streams::new(9, "planted shift");
    let covers = |experiment: &u64| {
        let mut stream = streams.item(*experiment);
        let centre = 1.0 + 0.2 * stream.uniform();
        let mut edges = |centre: f64| [0.0; 8].map(|_| placed(centre + 0.01 * stream.normal(), step, slopes));
        let (a, b) = (edges(centre), edges(centre + SHIFT));
        let tables = [&a, &b].map(|edges| table("image.noise", "linear", edges, None));
        let found = boundary_shifts(&pairing, &tables[0], &tables[1], &same).expect("tables");
        let [low, high] = found.shifts[0].interval.expect("of eight seeds");
        // The brackets of a run are all as wide.
        let mean_low = |edges: &[Edge]| {
            edges.iter().map(|edge| if let Zero(_, low, _) = edge { *low } else { f64::NAN }).sum::<f64>() / 8.0
        };
        let between = mean_low(&b) - mean_low(&a);
        assert!(low <= between - step + ROUNDING && between + step - ROUNDING <= high, "{low} {high} {between}");
        (low..=high).contains(&SHIFT)
    };
    (0..EXPERIMENTS).filter(covers).count() as f64 / EXPERIMENTS as f64
}

#[test]
fn intervals_hold_a_planted_shift_however_far_apart_the_levels() {
    const STRAIGHT: [f64; 2] = [1.0, 1.0];
    const BENT: [f64; 2] = [4.0, 400.0];
    // Twenty, two and a fifth of the spread of seeds. Of 300 experiments at 95%, 92% and 99% are 2.4 and 3.2 standard
    // errors away.
    for (step, slopes) in [(0.2, BENT), (0.2, STRAIGHT), (0.02, BENT), (0.02, STRAIGHT), (0.002, BENT)] {
        let covered = coverage(step, slopes);
        assert!(covered >= 0.92, "{covered} of levels {step} apart, {slopes:?}");
    }
    let covered = coverage(0.002, STRAIGHT);
    assert!((0.92..=0.99).contains(&covered), "{covered}: as wide as the spread of seeds, and no wider");
}
