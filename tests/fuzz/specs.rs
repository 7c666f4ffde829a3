//! Specs, and what `--set` and `--axis` make of them: written by their grammar, so that most get past the parser of
//! TOML, with numbers at the ends of what there is, and cut as text.

use cliffline::metric::METRICS;
use cliffline::spec::{Kind, Overrides, PARAMS, Param, from_str};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseError;

use super::mutation::{cut, cuts};
use super::{Fuzz, Verdict};

/// A spec that is sound.
const SOUND: &str = "name = \"seed\"\npreset = \"tiny\"\ntrain.steps = 3\n[axes]\nseed = [0, 1]\n";

/// A path of a parameter; seldom one that is none.
fn path() -> impl Strategy<Value = String> {
    let paths: Vec<String> = PARAMS.iter().map(|param| param.path.to_string()).collect();
    prop_oneof![12 => select(paths), 1 => "[a-z_.\"]{0,12}"]
}

/// A number as people and programs write them.
fn number() -> impl Strategy<Value = String> {
    let odd =
        ["0", "-0.0", "1e-310", "5e-324", "1.8e308", "1e400", "nan", "inf", "9007199254740993", "-1", ".5", "1_000"];
    let odder = ["0x10", "1e2", "18446744073709551615", "9223372036854775808", "0.1e", "--1", "1,5", "1e-9", "+3"];
    prop_oneof![
        3 => (0u32..10).prop_map(|n| n.to_string()),
        3 => (0.0..2.0f64).prop_map(|x| x.to_string()),
        1 => any::<f64>().prop_map(|x| x.to_string()),
        1 => any::<i64>().prop_map(|n| n.to_string()),
        2 => select([odd.as_slice(), &odder].concat()).prop_map(String::from),
    ]
}

/// A value of TOML, or nearly one.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => number(),
        1 => select(vec!["true", "false", "\"swap\"", "\"both\"", "\"full\"", "\"adamw\"", "\"\"", "''", "[]", "{}"])
            .prop_map(String::from),
        1 => "\\PC{0,8}".prop_map(|text| format!("{text:?}")),
    ]
}

/// A value that a parameter takes, at the ends of its range and anywhere in it.
fn fitting(param: Param) -> BoxedStrategy<String> {
    match param.kind {
        Kind::Float { min, max } => {
            let (low, high) = (min.max(-1e9), max.min(1e9));
            let inside = (0.0..1.0f64).prop_map(move |share| low + share * (high - low));
            prop_oneof![inside, Just(min), Just(max), Just(0.5)].prop_map(|x| format!("{x:?}")).boxed()
        }
        // Larger ones are refused for their memory, which depends on the machine.
        Kind::Int { min, max } => prop_oneof![min..=max.min(min + 9), Just(max)].prop_map(|n| n.to_string()).boxed(),
        Kind::Bool => any::<bool>().prop_map(|x| x.to_string()).boxed(),
        Kind::Choice(names) => select(names).prop_map(|name| format!("{name:?}")).boxed(),
    }
}

/// A parameter and a value: mostly one that it takes.
fn setting() -> BoxedStrategy<(String, String)> {
    let takes =
        select(PARAMS).prop_flat_map(|param| fitting(param).prop_map(move |value| (param.path.to_string(), value)));
    prop_oneof![6 => takes, 1 => (path(), value())].boxed()
}

/// The levels of an axis.
fn levels() -> impl Strategy<Value = String> {
    let list = prop::collection::vec(value(), 0..4).prop_map(|values| format!("[{}]", values.join(", ")));
    let range = (select(vec!["log", "linear", "lin"]), number(), number(), number())
        .prop_map(|(kind, low, high, n)| format!("{{ {kind} = [{low}, {high}], n = {n} }}"));
    let seeds = number().prop_map(|n| format!("{{ seeds = {n} }}"));
    prop_oneof![4 => list, 2 => range, 1 => seeds, 1 => value()]
}

/// An axis and its levels: mostly some that it takes.
fn axis_line() -> BoxedStrategy<(String, String)> {
    let takes = select(PARAMS).prop_flat_map(|param| {
        let list = prop::collection::vec(fitting(param), 1..4);
        list.prop_map(move |values| (param.path.to_string(), format!("[{}]", values.join(", "))))
    });
    prop_oneof![5 => takes, 1 => (path(), levels())].boxed()
}

/// A block after the axes.
fn block() -> impl Strategy<Value = String> {
    let metrics: Vec<&str> = METRICS.iter().flat_map(|family| family.descriptors).map(|metric| metric.name).collect();
    let gate = (select(metrics), number(), setting()).prop_map(|(metric, bound, (path, level))| {
        format!("[[gate]]\nmetric = \"{metric}\"\nmin = {bound}\nwhere = {{ \"{path}\" = {level} }}\n")
    });
    let condition = ("[a-z][a-z-]{0,6}", setting())
        .prop_map(|(name, (path, value))| format!("[[condition]]\nname = \"{name}\"\n\"{path}\" = {value}\n"));
    let exclude = (select(vec!["exclude", "include"]), setting())
        .prop_map(|(kind, (path, value))| format!("[[{kind}]]\n\"{path}\" = {value}\n"));
    prop_oneof![gate, condition, exclude]
}

fn spec() -> impl Strategy<Value = String> {
    let settings = prop::collection::vec(setting(), 0..3);
    let axes = prop::collection::vec(axis_line(), 0..3);
    let blocks = prop::collection::vec(block(), 0..2);
    let preset = select(vec!["tiny", "tiny", "baseline", "tiny", "none"]);
    (settings, axes, blocks, preset, prop::option::weighted(0.2, cuts())).prop_map(
        |(settings, axes, blocks, preset, cuts)| {
            let line = |(path, value): &(String, String)| format!("{path} = {value}\n");
            let quoted = |(path, value): &(String, String)| format!("\"{path}\" = {value}\n");
            let settings: String = settings.iter().map(line).collect();
            let axes: String = axes.iter().map(quoted).collect();
            let text = format!("name = \"fuzzed\"\npreset = \"{preset}\"\n{settings}[axes]\n{axes}{}", blocks.concat());
            let mut bytes = text.into_bytes();
            if let Some(cuts) = cuts {
                cut(&mut bytes, &cuts);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        },
    )
}

/// A spec that is taken is written as one that is the same; one that is refused is so in words, with its place.
fn read(text: &str, overrides: &Overrides) -> Result<Verdict, TestCaseError> {
    let sweep = match from_str(text, "fuzzed.toml", overrides) {
        Ok(sweep) => sweep,
        Err(error) => {
            let said = error.render(false);
            let places = ["fuzzed.toml", "command line", "--set", "--axis"];
            prop_assert!(places.iter().any(|place| said.contains(place)), "it does not say where: {said}");
            return Ok(Verdict::Refused);
        }
    };
    prop_assert!(!sweep.cells.is_empty(), "a sweep of nothing");
    let written = sweep.to_toml();
    let again = from_str(&written, "written.toml", &Overrides::default());
    let again = again.map_err(|error| TestCaseError::fail(format!("{}\nof:\n{written}", error.render(false))))?;
    prop_assert_eq!(again.hash(), sweep.hash(), "{}", written);
    Ok(Verdict::Unchanged)
}

pub fn specs(fuzz: &mut Fuzz) {
    fuzz.check(spec(), |text| read(&text, &Overrides::default()));
}

pub fn set(fuzz: &mut Fuzz) {
    let one = prop_oneof![6 => setting().prop_map(|(path, value)| format!("{path}={value}")), 1 => "\\PC{0,16}"];
    let flags = prop::collection::vec(one, 1..4);
    fuzz.check(flags, |set| read(SOUND, &Overrides { set, axis: vec![] }));
}

pub fn axis(fuzz: &mut Fuzz) {
    let takes = axis_line().prop_map(|(path, levels)| format!("{path}={}", levels.trim_matches(['[', ']'])));
    let list = prop::collection::vec(number(), 0..4).prop_map(|values| values.join(","));
    let range = (select(vec!["log", "linear", "seeds", "lg"]), prop::collection::vec(number(), 0..4))
        .prop_map(|(kind, numbers)| format!("{kind}:{}", numbers.join(":")));
    let levels = prop_oneof![3 => list, 3 => range, 1 => value()];
    let one = prop_oneof![8 => takes, 3 => (path(), levels).prop_map(|(path, levels)| format!("{path}={levels}")), 1 => "\\PC{0,16}"];
    let flags = prop::collection::vec(one, 1..3);
    fuzz.check(flags, |axis| read(SOUND, &Overrides { set: vec![], axis }));
}
