//! From the name of a spec, and flags, to a checked sweep.

use std::ffi::OsStr;
use std::sync::Arc;

use serde_json::Value;

use super::check::{RULES, Rule};
use super::condition::Condition;
use super::config::{AppliesTo, Config};
use super::diagnostic::{Diagnostic, Report, Site, Source, SpecError};
use super::draft::{Draft, is_name};
use super::params::{Param, param_at};
use super::preset::{PRESETS, Preset, preset_named};
use super::scalar::nearest;
use super::sweep::{Axis, Cell, Sweep, levels};
use super::tree::At;
use super::{flags, gate, grid, include, source, tree};

/// Command-line overrides, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `path=value`: a parameter, `name`, `description` or `preset`.
    pub set: Vec<String>,
    /// `path=v1,v2,..`, `path=linear:LO:HI:N`, `path=log:LO:HI:N`, `seed=seeds:N` or `seed=seeds:N:FIRST`.
    pub axis: Vec<String>,
}

/// Loads the spec `spec`: `-` for standard input, the path of a file, else `NAME` of `./sweeps/NAME.toml`, else the name of
/// a built-in spec.
///
/// # Errors
/// An unreadable file, an unknown name, or everything found wrong with the spec and the flags.
pub fn load(spec: impl AsRef<OsStr>, overrides: &Overrides) -> Result<Sweep, SpecError> {
    let source::Text { name, text } = source::find(spec.as_ref())?;
    from_str(&text, &name, overrides)
}

/// Loads a spec from its text. `file_name` appears in errors only.
///
/// # Errors
/// Everything found wrong with the spec and the flags.
///
/// ```
/// use cliffline::spec::{Overrides, from_str};
/// let text = "name = \"demo\"\n[axes]\nseed = { seeds = 2 }\n\"train.temperature\" = [0.05, 0.5]\n";
/// let sweep = from_str(text, "demo.toml", &Overrides::default())?;
/// assert_eq!(sweep.cells.len(), 4);
/// # Ok::<(), cliffline::spec::SpecError>(())
/// ```
pub fn from_str(text: &str, file_name: &str, overrides: &Overrides) -> Result<Sweep, SpecError> {
    from_str_within(text, file_name, overrides, crate::machine::memory_available())
}

/// [`from_str`] with `memory` bytes for the cells.
pub(super) fn from_str_within(
    text: &str,
    file_name: &str,
    overrides: &Overrides,
    memory: u64,
) -> Result<Sweep, SpecError> {
    let mut sources = vec![Source { name: file_name.to_string(), text: text.to_string() }];
    read(text, overrides, &mut sources).and_then(|draft| resolve(&draft, memory)).map_err(|mut diagnostics| {
        diagnostics.sort_by(|a, b| a.site.cmp(&b.site));
        SpecError::Invalid(Box::new(Report { sources, diagnostics }))
    })
}

/// The file and the flags, each key checked alone.
fn read(text: &str, overrides: &Overrides, sources: &mut Vec<Source>) -> Result<Draft, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut draft = Draft::default();
    draft.read(&tree::parse(text, 0)?, &mut problems);
    flags::apply(&mut draft, overrides, sources, &mut problems);
    for (path, setting) in &draft.settings {
        if let Some(axis) = draft.axes.get(path) {
            let message = format!("`{path}` is set and is an axis");
            let mut problem = Diagnostic::new(&setting.site, message, "keep one of the two");
            problem.related.push((axis.site.clone(), "the axis".to_string()));
            problems.push(problem);
        }
    }
    problems.extend(wrong_name(&draft));
    problems.extend(wrong_preset(&draft));
    if problems.is_empty() { Ok(draft) } else { Err(problems) }
}

fn wrong_name(draft: &Draft) -> Option<Diagnostic> {
    let help = "write name = \"my-sweep\": lower-case letters, digits and hyphens, 64 characters at most";
    let Some(name) = &draft.name else {
        return Some(Diagnostic::new(&Site { source: 0, start: 0, end: 0 }, "this spec has no `name`", help));
    };
    let text = &name.value;
    (!is_name(text)).then(|| Diagnostic::new(&name.site, format!("{text:?} cannot be a name"), help))
}

fn wrong_preset(draft: &Draft) -> Option<Diagnostic> {
    let preset = draft.preset.as_ref().filter(|preset| preset_named(&preset.value).is_none())?;
    let names = || PRESETS.iter().map(|preset| preset.name);
    let help = format!("the presets are {}", names().collect::<Vec<_>>().join(", "));
    let mut problem = Diagnostic::new(&preset.site, format!("there is no preset {:?}", preset.value), help);
    problem.label = format!("the nearest is {:?}", nearest(&preset.value, names()));
    Some(problem)
}

/// Combines the keys into cells.
fn resolve(draft: &Draft, memory: u64) -> Result<Sweep, Vec<Diagnostic>> {
    fits(draft, grid::count(draft)?.saturating_add(include::count(draft)), memory).map_err(|problem| vec![problem])?;
    let grid = grid::build(draft)?;
    let mut base = base(draft);
    for axis in &grid.axes {
        if let Some(lowest) = axis.levels.first() {
            assign(&mut base, &axis.path, lowest);
        }
    }
    let base = config(base);
    let params: Vec<&Param> = grid.all.iter().filter_map(|axis| param_at(&axis.path)).collect();
    let axes: Vec<(&Param, &Axis)> = params.into_iter().zip(&grid.all).collect();
    let mut conditions: Vec<Condition> = draft.conditions.iter().map(|at| at.value.clone()).collect();
    conditions.sort_by(|a, b| a.name.cmp(&b.name));
    let conditions: Arc<[Condition]> = conditions.into();
    let cells: Vec<Cell> = grid.combinations.iter().map(|ranks| cell(&base, &axes, ranks, &conditions)).collect();
    let mut problems: Vec<Diagnostic> =
        RULES.iter().filter_map(|rule| broken(rule, &cells, &grid.axes, draft)).collect();
    problems.extend(draft.conditions.iter().filter_map(|condition| broken_by(condition, &cells)));
    problems.extend(draft.conditions.iter().filter_map(|condition| pairs_unseen(condition, &cells)));
    if !problems.is_empty() {
        return Err(problems);
    }
    let gates = gate::resolve(draft, &grid.all, &cells)?;
    let text = |at: &Option<tree::At<String>>| at.as_ref().map_or(String::new(), |at| at.value.clone());
    Ok(Sweep {
        name: text(&draft.name),
        description: text(&draft.description),
        base,
        axes: grid.axes,
        zip: grid.zip,
        exclude: grid.exclude,
        include: grid.include,
        conditions,
        gates,
        cells,
    })
}

/// The preset with the settings on it, as JSON.
fn base(draft: &Draft) -> Value {
    let preset = draft.preset.as_ref().and_then(|preset| preset_named(&preset.value));
    let config = preset.or(PRESETS.first()).map(|preset: &Preset| (preset.config)()).unwrap_or_default();
    let mut value = serde_json::to_value(config).expect("a config is plain data");
    for (path, setting) in &draft.settings {
        assign(&mut value, path, &setting.value);
    }
    value
}

/// Replaces the scalar at a path of the registry.
fn assign(config: &mut Value, path: &str, value: &Value) {
    let slot = path.split('.').try_fold(config, |inside, key| inside.get_mut(key));
    *slot.expect("the registry and the config name the same scalars") = value.clone();
}

fn config(value: Value) -> Config {
    serde_json::from_value(value).expect("every scalar was checked against the registry")
}

fn cell(base: &Config, axes: &[(&Param, &Axis)], ranks: &[u32], conditions: &Arc<[Condition]>) -> Cell {
    let mut config = base.clone();
    for ((param, axis), rank) in axes.iter().zip(ranks) {
        config.set(param, &axis.levels[*rank as usize]);
    }
    Cell::new(config, conditions.clone())
}

/// What breaks a rule in the first cell whose changes under a condition do, though the cell itself breaks none.
fn broken_by(condition: &At<Condition>, cells: &[Cell]) -> Option<Diagnostic> {
    let changed = cells.iter().filter_map(|cell| condition.value.applied(&cell.config));
    let mut breaks = changed.flat_map(|config| RULES.iter().filter_map(move |r| Some((r, (r.broken)(&config)?))));
    let (rule, why) = breaks.next()?;
    let message = format!("under the condition {:?}, {why}", condition.value.name);
    Some(Diagnostic::new(&condition.site, message, rule.help))
}

/// A condition that asks for wrong pairs where it is never measured: in the training split alone, in every cell.
fn pairs_unseen(condition: &At<Condition>, cells: &[Cell]) -> Option<Diagnostic> {
    let asks = condition.value.changes.keys().any(|path| path.starts_with("pairing."));
    let pairings = || cells.iter().filter_map(|cell| Some(condition.value.applied(&cell.config)?.pairing));
    let unseen = pairings().all(|pairing| pairing.applies_to == AppliesTo::Train);
    if !asks || !unseen || pairings().all(|pairing| pairing.rate == 0.0) {
        return None;
    }
    let name = &condition.value.name;
    let message = format!(
        "under the condition {name:?}, wrong pairs are in the training split, and it is measured on the test split"
    );
    Some(Diagnostic::new(&condition.site, message, "add \"pairing.applies_to\" = \"eval\""))
}

/// What breaks `rule`, shown at the first of its parameters that the spec mentions.
fn broken(rule: &Rule, cells: &[Cell], axes: &[Axis], draft: &Draft) -> Option<Diagnostic> {
    let bad: Vec<(&Cell, String)> =
        cells.iter().filter_map(|cell| (rule.broken)(&cell.config).map(|why| (cell, why))).collect();
    let (first, why) = bad.first()?;
    let sites = rule.paths.iter().filter_map(|path| {
        let axis = draft.axes.get(path).map(|axis| &axis.site);
        axis.or_else(|| draft.settings.get(path).map(|setting| &setting.site))
    });
    let terms = draft.include.iter().flat_map(|include| &include.value);
    let included = terms.filter(|term| rule.paths.contains(&term.param.path)).map(|term| &term.site);
    let sites: Vec<&Site> = sites.chain(included.take(1)).collect();
    // A preset breaks no rule, so the spec mentions at least one of the parameters.
    let site = sites.first().copied().or(draft.name.as_ref().map(|name| &name.site))?;
    let mut problem = Diagnostic::new(site, why.clone(), rule.help);
    problem.related = sites.iter().skip(1).map(|site| ((*site).clone(), "with this".to_string())).collect();
    if !axes.is_empty() {
        let levels = levels(axes, &first.config);
        let levels: Vec<String> = levels.iter().map(|(path, level)| format!("{path} = {level}")).collect();
        problem.label = format!("in {} of {} cells, the first at {}", bad.len(), cells.len(), levels.join(", "));
    }
    Some(problem)
}

/// Whether `count` cells fit `memory` bytes.
fn fits(draft: &Draft, count: u128, memory: u64) -> Result<(), Diagnostic> {
    let need = count.saturating_mul(cell_bytes(draft.axes.len()));
    if need <= u128::from(memory) {
        return Ok(());
    }
    let longest = draft.axes.values().max_by_key(|axis| axis.len());
    let site = longest.map_or(Site { source: 0, start: 0, end: 0 }, |axis| axis.site.clone());
    let many = if count == u128::MAX { "more than 10^38".to_string() } else { grouped(count) };
    let what = if draft.include.is_empty() { "grid has" } else { "grid and its includes have" };
    let message =
        format!("the {what} {many} cells: they need about {}, and {} are available", size(need), size(memory.into()));
    let mut problem = Diagnostic::new(&site, message, "give the axes fewer levels, zip them, or split the sweep");
    problem.label =
        longest.map_or(String::new(), |axis| format!("the longest axis, {} levels", grouped(axis.len().into())));
    Err(problem)
}

/// Roughly what one cell takes: the struct, its id, and its ranks while the grid is built (twice, when it grows).
fn cell_bytes(axes: usize) -> u128 {
    let ranks = 2 * (size_of::<Vec<u32>>() + 4 * axes);
    (size_of::<Cell>() + 32 + ranks) as u128
}

/// Digits in groups of three: `1,000,000`.
fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    groups.iter().map(|group| String::from_utf8_lossy(group)).collect::<Vec<_>>().join(",")
}

/// Bytes in the unit that keeps the number short.
fn size(bytes: u128) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 1e6 { format!("{value:.1} {}", units[unit]) } else { format!("{value:.1e} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::builtin::BUILTINS;
    use super::*;

    fn overridden(text: &str, set: &[&str], axis: &[&str]) -> Result<Sweep, SpecError> {
        let own = |raw: &[&str]| raw.iter().map(|text| (*text).to_string()).collect();
        from_str(text, "test.toml", &Overrides { set: own(set), axis: own(axis) })
    }

    #[test]
    fn names_find_built_ins_and_paths_find_files() {
        assert_eq!(load("smoke", &Overrides::default()).expect("built in").name, "smoke");
        assert_eq!(load("smoke.toml", &Overrides::default()).expect("built in").name, "smoke");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mine.toml");
        std::fs::write(&file, "name = \"mine\"\n").expect("written");
        let path = file.to_str().expect("utf-8");
        assert_eq!(load(path, &Overrides::default()).expect("a file").name, "mine");
        let missing = folder.path().join("none.toml");
        let error = load(missing.to_str().expect("utf-8"), &Overrides::default()).expect_err("missing");
        assert!(matches!(error, SpecError::Read { .. }), "{error}");
        std::fs::write(&file, [0xff, 0xfe]).expect("written");
        assert!(matches!(load(path, &Overrides::default()), Err(SpecError::NoText { .. })));
        let error = load("smok", &Overrides::default()).expect_err("unknown");
        assert!(matches!(&error, SpecError::Unknown { nearest, .. } if nearest == "smoke"), "{error}");
    }

    #[test]
    fn keys_may_be_dotted_quoted_or_in_tables() {
        let texts = [
            "name = \"a\"\n[train]\nsteps = 7\n[axes.train]\ntemperature = [1]\n",
            "name = \"a\"\ntrain.steps = 7\n[axes]\ntrain.temperature = [1.0]\n",
            "name = \"a\"\n\"train.steps\" = 7\naxes = { \"train.temperature\" = [1e0] }\n",
        ];
        let hashes: Vec<String> = texts.iter().map(|text| overridden(text, &[], &[]).expect("loads").hash()).collect();
        assert!(hashes.iter().all(|hash| *hash == hashes[0]));
    }

    #[test]
    fn flags_set_replace_and_add() {
        let text = "name = \"a\"\ntrain.steps = 7\n[axes]\nseed = { seeds = 4 }\n";
        let set = ["train.steps=9", "pairing.kind=block", "name=2024", "preset=tiny", "train.temperature=1"];
        let axis = ["seed=seeds:2:5", "image.noise=0, 0.5", "train.learning_rate=log:0.01:1:3"];
        let sweep = overridden(text, &set, &axis).expect("loads");
        assert_eq!((sweep.name.as_str(), sweep.cells.len()), ("2024", 12));
        let first = &sweep.cells[0].config;
        assert_eq!((first.train.steps, first.world.n_train, first.seed), (9, 1024, 5));
        assert_eq!(sweep.axes[2].levels, [0.01, 0.1, 1.0].map(Value::from));
        let swept = overridden(text, &[], &["train.steps=1,2"]).expect("an axis over a setting");
        assert_eq!(swept.cells.len(), 8);
    }

    #[test]
    fn an_exclude_may_lose_its_object_to_a_flag_only() {
        let text =
            "name = \"a\"\n[axes]\nseed = [0, 1]\nimage.noise = [0.0, 0.5]\n[[exclude]]\nseed = 1\nimage.noise = 0.5\n";
        assert_eq!(overridden(text, &[], &[]).expect("loads").cells.len(), 3);
        let sweep = overridden(text, &[], &["image.noise=0.1,0.2"]).expect("loads");
        assert_eq!((sweep.cells.len(), sweep.exclude.len()), (4, 0));
        assert_eq!(overridden(&sweep.to_toml(), &[], &[]).expect("loads"), sweep);
    }

    #[test]
    fn bad_specs_are_refused() {
        for text in [
            "",
            "name = 3",
            "name = \"\"",
            "name = \"Big\"",
            "name = \"-a\"",
            "name = \"a\"\npreset = 3",
            "name = \"a\"\ntrain = 3",
            "name = \"a\"\naxes = 3",
            "name = \"a\"\nexclude = 3",
            "name = \"a\"\nexclude = [3]",
            "name = \"a\"\n[[exclude]]",
            "name = \"a\"\nzip = [[\"seed\"]]\naxes.seed = [1]",
            "name = \"a\"\nzip = [[\"seed\", \"image.noise\"]]\naxes.seed = [1]",
            "name = \"a\"\nzip = [[\"seed\", \"seed\"]]\naxes.seed = [1]",
            "name = \"a\"\nzip = [[\"seed\", 3]]\naxes.seed = [1]",
            "name = \"a\"\nzip = [[\"seed\", \"image.noise\"]]\naxes.seed = [1, 2]\naxes.image.noise = [0.0]",
            "name = \"a\"\nzip = [[\"seed\", \"image.noise\"]]\naxes.seed = [1, 1]\naxes.image.noise = [0.5, 0.5]",
            "name = \"a\"\n[axes]\nseed = [1, 2]\n[[exclude]]\nseed = [1, 2]",
            "name = \"a\"\n[axes]\nseed = [1, 2]\n[[exclude]]\nseed = [1, 3]",
            "name = \"a\"\n[axes]\nseed = [1, 2]\n[[exclude]]\nimage.noise = 0.0",
            "name = \"a\"\n[axes]\nseed = [1, 2]\n[[exclude]]\nseed = { min = 1, mx = 2 }",
            "name = \"a\"\n[axes]\nstop.freeze = [true, false]\n[[exclude]]\nstop.freeze = { min = false }",
            "name = \"a\"\ntrain.steps = 3\n\"train.steps\" = 3",
            "name = \"a\"\nseed = 3\naxes.seed = [3]",
            "name = \"a\"\n[axes]\nseed = [1]\n\"seed\" = [2]",
            "name = \"a\"\ntrain.steps = 2024-01-01",
            "name = \"a\"\nkeep = \"params\"",
            "name = \"a\"\n[[gate]]\nmetric = \"x\"",
            "name = \"a\"\ntrain.weight_i2t = 0.0\ntrain.weight_t2i = 0.0",
        ] {
            assert!(overridden(text, &[], &[]).is_err(), "{text} was taken");
        }
        let text = "name = \"a\"\naxes.seed = [1]";
        for set in ["", "seed=3", "x", "x=3", "=", "train=3", "train.steps=", "train.steps=a", "train.steps=[1]"] {
            assert!(overridden(text, &[set], &[]).is_err(), "--set {set} was taken");
        }
        for axis in ["", "x", "x=3", "train=1,2", "seed=", "seed=1,,2", "seed=seeds", "seed=lin:0:1:2", "seed=1,1"] {
            assert!(overridden(text, &[], &[axis]).is_err(), "--axis {axis} was taken");
        }
        assert!(overridden(text, &["train.steps=1", "train.steps=2"], &[]).is_err());
        assert!(overridden(text, &[], &["image.noise=1", "image.noise=2"]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        // Whatever is typed, the answer is a sweep or a rendered error.
        #[test]
        fn damaged_specs_never_panic(which in 0..BUILTINS.len(), at in 0usize..1500, cut in 0usize..20, put in "\\PC{0,6}") {
            let text = BUILTINS[which].text;
            let start = text.floor_char_boundary(at.min(text.len()));
            let end = text.ceil_char_boundary((start + cut).min(text.len()));
            let damaged = format!("{}{put}{}", &text[..start], &text[end..]);
            if let Err(error) = overridden(&damaged, &[], &[]) {
                prop_assert!(error.render(true).contains("error"));
                prop_assert!(!error.render(false).is_empty());
            }
        }

        #[test]
        fn odd_flags_never_panic(set in "(seed|train.steps|\\PC{0,4})?[=:]?\\PC{0,6}", axis in "(seed|image.noise)=?(log|linear|seeds)?[-:0-9.,e]{0,12}") {
            if let Err(error) = overridden("name = \"a\"", &[&set], &[&axis]) {
                prop_assert!(error.render(false).contains("command line"));
            }
        }
    }
}
