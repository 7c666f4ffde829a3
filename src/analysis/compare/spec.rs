//! What differs between two resolved specs.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::Each;
use crate::spec::{PARAMS, Sweep, by_size};

/// The axis that never counts as a setting: other seeds are other draws, not another configuration.
pub(super) const SEED: &str = "seed";

/// An axis whose levels differ. A parameter that one run does not vary has one level there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AxisDiff {
    pub path: String,
    /// Levels that both runs have.
    pub shared: u64,
    pub only_a: Vec<Value>,
    pub only_b: Vec<Value>,
    /// The one level of a run that does not vary it; null where it varies.
    pub fixed_a: Option<Value>,
    pub fixed_b: Option<Value>,
}

/// A condition or a gate that only one of the runs has, or that is not the same in both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ByName {
    pub name: String,
    pub a: Option<Value>,
    pub b: Option<Value>,
}

/// What differs between two resolved specs. Name and description are told and change no result; all else is settings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpecDiff {
    pub name: Option<Each<String>>,
    pub description: Option<Each<String>>,
    /// Path to the values of a parameter that neither run varies.
    pub settings: BTreeMap<String, Each<Value>>,
    /// Parameters that are fixed to the same value in both.
    pub settings_shared: u64,
    pub axes: Vec<AxisDiff>,
    /// Axes whose levels are the same in both.
    pub axes_shared: Vec<String>,
    /// Groups of axes that advance together.
    pub zip: Option<Each<Vec<Vec<String>>>>,
    /// Combinations of levels that are left out, where the excludes differ.
    pub excluded: Option<Each<u64>>,
    pub conditions: Vec<ByName>,
    pub gates: Vec<ByName>,
}

impl SpecDiff {
    /// Whether nothing differs but the name and the description.
    pub fn is_same(&self) -> bool {
        self.settings.is_empty()
            && self.axes.is_empty()
            && self.zip.is_none()
            && self.excluded.is_none()
            && self.conditions.is_empty()
            && self.gates.is_empty()
    }
}

/// Compares two specs. A parameter with one level is a setting, however it is written; `seed` is always an axis.
pub fn compare_specs(a: &Sweep, b: &Sweep) -> SpecDiff {
    let (levels_a, levels_b) = (levels(a), levels(b));
    let (mut settings, mut settings_shared) = (BTreeMap::new(), 0);
    let (mut axes, mut axes_shared) = (Vec::new(), Vec::new());
    for param in PARAMS {
        let (in_a, in_b) = (&levels_a[param.path], &levels_b[param.path]);
        match (in_a.as_slice(), in_b.as_slice()) {
            ([x], [y]) if param.path != SEED => match Each::if_different(x.clone(), y.clone()) {
                Some(differs) => drop(settings.insert(param.path.to_string(), differs)),
                None => settings_shared += 1,
            },
            _ if in_a == in_b => axes_shared.push(param.path.to_string()),
            _ => axes.push(axis(param.path, in_a, in_b)),
        }
    }
    let paths = |sweep: &Sweep| sweep.zip.iter().map(|zip| zip.paths.clone()).collect::<Vec<_>>();
    let differently = a.exclude != b.exclude;
    SpecDiff {
        name: Each::if_different(a.name.clone(), b.name.clone()),
        description: Each::if_different(a.description.clone(), b.description.clone()),
        settings,
        settings_shared,
        axes,
        axes_shared,
        zip: Each::if_different(paths(a), paths(b)),
        excluded: differently.then(|| Each { a: excluded(a), b: excluded(b) }),
        conditions: by_name(conditions(a), conditions(b)),
        gates: by_name(gates(a), gates(b)),
    }
}

/// The levels of every parameter: of an axis its own and those of cells beside the grid, ascending; else the one value.
pub(super) fn levels(sweep: &Sweep) -> BTreeMap<&'static str, Vec<Value>> {
    let fixed = sweep.base.values_at(PARAMS.iter().map(|param| param.path));
    let mut levels: BTreeMap<_, _> = PARAMS.iter().zip(fixed).map(|(param, value)| (param.path, vec![value])).collect();
    for axis in &sweep.axes {
        if let Some(found) = levels.get_mut(axis.path.as_str()) {
            found.clone_from(&axis.levels);
        }
    }
    for (path, more) in sweep.include.iter().flatten() {
        let Some(found) = levels.get_mut(path.as_str()) else { continue };
        let new: Vec<Value> = more.iter().filter(|level| !found.contains(level)).cloned().collect();
        found.extend(new);
        // Choices stay as they came.
        found.sort_by(|x, y| by_size(x, y).unwrap_or(Ordering::Equal));
    }
    levels
}

/// The paths that at least one of the sweeps varies, and the seed.
pub(super) fn varied(a: &Sweep, b: &Sweep) -> Vec<String> {
    let several = |sweep| levels(sweep).into_iter().filter(|(_, levels)| levels.len() > 1).map(|(path, _)| path);
    let axes: BTreeSet<&str> = several(a).chain(several(b)).chain([SEED]).collect();
    axes.into_iter().map(String::from).collect()
}

fn axis(path: &str, a: &[Value], b: &[Value]) -> AxisDiff {
    let without = |these: &[Value], those: &[Value]| -> Vec<Value> {
        let those: BTreeSet<String> = those.iter().map(Value::to_string).collect();
        these.iter().filter(|level| !those.contains(&level.to_string())).cloned().collect()
    };
    let fixed = |levels: &[Value]| if let [level] = levels { Some(level.clone()) } else { None };
    let only_a = without(a, b);
    AxisDiff {
        path: path.to_string(),
        shared: (a.len() - only_a.len()) as u64,
        only_a,
        only_b: without(b, a),
        fixed_a: fixed(a),
        fixed_b: fixed(b),
    }
}

/// Combinations of the axes that are no cells of a sweep.
fn excluded(sweep: &Sweep) -> u64 {
    let zipped: BTreeSet<&String> = sweep.zip.iter().flat_map(|zip| &zip.paths).collect();
    let single = sweep.axes.iter().filter(|axis| !zipped.contains(&axis.path)).map(|axis| axis.levels.len() as u64);
    let grid: u64 = single.chain(sweep.zip.iter().map(|zip| zip.rows.len() as u64)).product();
    let beside = |cell: &&crate::spec::Cell| {
        let values = cell.config.values_at(sweep.axes.iter().map(|axis| axis.path.as_str()));
        sweep.axes.iter().zip(values).any(|(axis, value)| !axis.levels.contains(&value))
    };
    let beside = if sweep.include.is_empty() { 0 } else { sweep.cells.iter().filter(beside).count() };
    grid.saturating_sub((sweep.cells.len() - beside) as u64)
}

fn conditions(sweep: &Sweep) -> BTreeMap<String, Value> {
    sweep.conditions.iter().map(|condition| (condition.name.clone(), json!(condition.changes))).collect()
}

fn gates(sweep: &Sweep) -> BTreeMap<String, Value> {
    sweep.gates.iter().map(|gate| (gate.name.clone(), json!(gate))).collect()
}

fn by_name(a: BTreeMap<String, Value>, b: BTreeMap<String, Value>) -> Vec<ByName> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let differ = names.into_iter().filter(|name| a.get(*name) != b.get(*name));
    differ.map(|name| ByName { name: name.clone(), a: a.get(name).cloned(), b: b.get(name).cloned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Overrides, from_str};

    fn sweep(rest: &str) -> Sweep {
        let text = format!("name = \"t\"\npreset = \"tiny\"\n{rest}");
        from_str(&text, "t.toml", &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn equal_specs_differ_in_nothing_however_they_are_written() {
        let a = sweep("[axes]\nseed = [0, 1]\n\"image.noise\" = [0.5]\n");
        let b = sweep("[image]\nnoise = 0.5\n[axes]\nseed = { seeds = 2 }\n");
        let diff = compare_specs(&a, &b);
        assert!(diff.is_same(), "{diff:?}");
        assert_eq!(diff.axes_shared, [SEED]);
        assert_eq!(diff.settings_shared as usize, PARAMS.len() - 1);
        let mut renamed = b.clone();
        renamed.name = "u".to_string();
        renamed.description = "why".to_string();
        let diff = compare_specs(&a, &renamed);
        assert!(diff.is_same(), "names are no settings");
        assert_eq!(diff.name, Some(Each { a: "t".to_string(), b: "u".to_string() }));
        assert_eq!(diff.description.expect("differs").b, "why");
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let a = sweep(
            "train.learning_rate = 0.1\n[axes]\nseed = [0, 1]\n\"image.noise\" = [0.0, 0.5, 1.0]\n\
             \"train.temperature\" = [0.1, 0.5]\n[[exclude]]\nseed = 1\nimage.noise = 1.0\n\
             [[condition]]\nname = \"mild\"\nimage.noise = 0.1\n[[condition]]\nname = \"noisy\"\nimage.noise = 0.5\n\
             [[gate]]\nmetric = \"lost\"\nmax = 0.0\n",
        );
        let b = sweep(
            "[train]\nlearning_rate = 0.2\ntemperature = 0.5\n[axes]\nseed = [1, 2]\n\
             \"image.noise\" = [0.5, 1.0]\n[[condition]]\nname = \"noisy\"\nimage.noise = 0.7\n\
             [[gate]]\nmetric = \"lost\"\nmax = 0.0\nmin_seeds = 2\n[[gate]]\nmetric = \"modality_gap\"\nmax = 1.0\n",
        );
        let diff = compare_specs(&a, &b);
        assert!(!diff.is_same());
        let rates = Each { a: json!(0.1), b: json!(0.2) };
        assert_eq!(diff.settings, [("train.learning_rate".to_string(), rates)].into());
        let axes: Vec<_> =
            diff.axes.iter().map(|x| (x.path.as_str(), x.shared, &x.only_a[..], &x.only_b[..])).collect();
        let expected: [(_, _, &[Value], &[Value]); 3] = [
            ("seed", 1, &[json!(0)], &[json!(2)]),
            ("image.noise", 2, &[json!(0.0)], &[]),
            ("train.temperature", 1, &[json!(0.1)], &[]),
        ];
        assert_eq!(axes, expected);
        assert_eq!((&diff.axes[2].fixed_a, &diff.axes[2].fixed_b), (&None, &Some(json!(0.5))));
        // Seed 1 at noise 1.0, at both temperatures.
        assert_eq!(diff.excluded, Some(Each { a: 2, b: 0 }));
        let names = |entries: &[ByName]| -> Vec<(String, bool, bool)> {
            entries.iter().map(|e| (e.name.clone(), e.a.is_some(), e.b.is_some())).collect()
        };
        let entry = |name: &str, a, b| (name.to_string(), a, b);
        assert_eq!(names(&diff.conditions), [entry("mild", true, false), entry("noisy", true, true)]);
        assert_eq!(names(&diff.gates), [entry("lost", true, true), entry("modality-gap", false, true)]);
        assert_eq!(diff.conditions[1].b, Some(json!({ "image.noise": 0.7 })));
    }

    #[test]
    fn levels_of_cells_beside_the_grid_are_levels() {
        let grid = "[axes]\nseed = [0, 1]\n\"image.noise\" = [0.0, 1.0]\n";
        let grown = sweep(&format!("{grid}[[include]]\nimage.noise = 0.5\n"));
        let diff = compare_specs(&sweep(grid), &grown);
        assert_eq!((diff.axes.len(), diff.axes[0].shared, &diff.axes[0].only_b), (1, 2, &vec![json!(0.5)]));
        assert_eq!(levels(&grown)["image.noise"], [json!(0.0), json!(0.5), json!(1.0)]);
        assert!(!diff.is_same());
        let less = sweep(&format!("{grid}[[include]]\nimage.noise = 0.5\n[[exclude]]\nimage.noise = 1.0\nseed = 1\n"));
        assert_eq!(compare_specs(&grown, &less).excluded, Some(Each { a: 0, b: 1 }));
    }

    #[test]
    fn one_seed_each_is_an_axis_and_zips_are_named() {
        let diff = compare_specs(&sweep("seed = 1\n"), &sweep("seed = 2\n"));
        assert_eq!((diff.axes[0].path.as_str(), diff.axes[0].shared), (SEED, 0));
        let axes = "[axes]\nmodel.hidden_img = [8, 16]\nmodel.hidden_txt = [8, 16]\n";
        let diff = compare_specs(
            &sweep(axes),
            &sweep(&format!("zip = [[\"model.hidden_img\", \"model.hidden_txt\"]]\n{axes}")),
        );
        assert_eq!(diff.zip.expect("differs").b, [["model.hidden_img", "model.hidden_txt"]]);
        assert_eq!(diff.excluded, None, "a zip excludes nothing");
    }
}
