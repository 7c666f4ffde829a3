//! A checked sweep: its cells in canonical order, its hash, and the spec that says it in full.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use serde_json::Value;

use super::condition::{Condition, cell_id};
use super::config::Config;
use super::fields::Field;
use super::gate::Gate;
use super::params::PARAMS;
use crate::numerics::shown::Levels;

/// Changing what the hash covers changes every result directory's name: bump it.
const HASH_CONTEXT: &str = "cliffline 2026-11 sweep v1";

/// One axis of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Path of the parameter, for instance `train.temperature`.
    pub path: String,
    /// Distinct and ascending; choices in the order of the registry.
    pub levels: Vec<Value>,
}

/// Axes that advance together.
#[derive(Clone, Debug, PartialEq)]
pub struct Zip {
    /// Two or more axis paths, ascending.
    pub paths: Vec<String>,
    /// One value per path; ascending.
    pub rows: Vec<Vec<Value>>,
}

/// Axis path to levels; a cell that has one of the levels at every path is left out.
pub type Exclude = BTreeMap<String, Vec<Value>>;

/// Axis path to levels, for every axis: the cells that have one of the levels at every path are trained beside those of
/// the grid. Axes of a zip group have as many levels as one another, and advance together.
pub type Include = BTreeMap<String, Vec<Value>>;

/// One point of the sweep: one level per axis, the seed included.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// [`Config::cell_id`] of `config`, or with conditions a hash of that and of them.
    pub id: String,
    pub config: Config,
    /// Further conditions under which it is evaluated, sorted by name.
    pub conditions: Arc<[Condition]>,
}

impl Cell {
    pub fn new(config: Config, conditions: Arc<[Condition]>) -> Self {
        Self { id: cell_id(&config, &conditions), config, conditions }
    }
}

/// A checked sweep.
///
/// No two cells have the same id: levels are distinct once in canonical form, and so are zipped combinations, so
/// every cell differs from every other in at least one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// Lower-case letters, digits and hyphens.
    pub name: String,
    /// The question asked; may be empty. Not part of the hash.
    pub description: String,
    /// What every cell shares. At an axis path it holds the lowest level of the grid, whatever the preset says there.
    pub base: Config,
    /// Sorted by path.
    pub axes: Vec<Axis>,
    /// Sorted by paths.
    pub zip: Vec<Zip>,
    /// The excludes that match at least one cell, spelled out as levels.
    pub exclude: Vec<Exclude>,
    /// The cells that are not on the grid, spelled out: the same cells give the same entries.
    pub include: Vec<Include>,
    /// Sorted by name; every cell is evaluated under each.
    pub conditions: Arc<[Condition]>,
    /// In the order of the spec; they judge what the cells come to. Not part of the hash.
    pub gates: Vec<Gate>,
    /// In canonical order: by level along the first axis path, then the second, and so on. It does not depend on the
    /// order in which the spec writes axes or levels.
    pub cells: Vec<Cell>,
}

impl Sweep {
    /// BLAKE3 hash of the resolved sweep, 64 hex digits: of the name, the base, the axis paths and the cell ids. It
    /// does not depend on how the spec writes them (order, presets, comments, file name) on the description or on the
    /// gates.
    pub fn hash(&self) -> String {
        let paths: Vec<&str> = self.axes.iter().map(|axis| axis.path.as_str()).collect();
        let head = serde_json::json!({ "name": self.name, "base": self.base.scalars(), "axes": paths });
        let mut hasher = blake3::Hasher::new_derive_key(HASH_CONTEXT);
        hasher.update(head.to_string().as_bytes());
        for cell in &self.cells {
            hasher.update(b"\n");
            hasher.update(cell.id.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Axis path to the level of a cell.
    pub fn levels(&self, cell: &Cell) -> BTreeMap<String, Value> {
        levels(&self.axes, &cell.config)
    }

    /// How the levels of an axis are written, those beside the grid among them.
    pub fn shown(&self, path: &str) -> Levels {
        let axis = self.axes.iter().find(|axis| axis.path == path);
        axis.map_or(Levels::EXACT, |axis| Levels::of(&self.all_levels(axis)))
    }

    /// For each axis the level of every cell as a number that equal levels share, and no others.
    pub fn level_bits(&self) -> Vec<Vec<u64>> {
        let at = |axis: &Axis| PARAMS.iter().position(|param| param.path == axis.path);
        let at = self.axes.iter().map(|axis| at(axis).expect("the parameter is of the registry"));
        let at: Vec<usize> = at.collect();
        let mut bits = vec![Vec::with_capacity(self.cells.len()); at.len()];
        let mut scalars = Vec::with_capacity(PARAMS.len());
        for cell in &self.cells {
            scalars.clear();
            cell.config.scalars_into(&mut scalars);
            bits.iter_mut().zip(&at).for_each(|(bits, at)| bits.push(scalars[*at].bits()));
        }
        bits
    }

    /// The resolved spec: every parameter spelled out, every axis as a list. Loading it gives the same cells and the
    /// same hash, whatever later versions make of the presets and defaults.
    pub fn to_toml(&self) -> String {
        self.to_toml_with(&[])
    }

    /// [`to_toml`](Self::to_toml) with the includes `more`.
    pub(super) fn to_toml_with(&self, more: &[Include]) -> String {
        let mut out = String::new();
        let text = |value: &str| toml::Value::String(value.to_string()).to_string();
        line(&mut out, "name", &text(&self.name));
        if !self.description.is_empty() {
            line(&mut out, "description", &text(&self.description));
        }
        if !self.zip.is_empty() {
            let groups: Vec<String> = self.zip.iter().map(|zip| format!("{:?}", zip.paths)).collect();
            line(&mut out, "zip", &format!("[{}]", groups.join(", ")));
        }
        let scalars = self.base.scalars();
        let mut section = "";
        for param in PARAMS.iter().filter(|param| self.axes.iter().all(|axis| axis.path != param.path)) {
            let (inside, key) = param.path.split_once('.').unwrap_or(("", param.path));
            if inside != section {
                out.push_str(&format!("\n[{inside}]\n"));
                section = inside;
            }
            line(&mut out, key, &scalars[param.path].to_string());
        }
        if !self.axes.is_empty() {
            out.push_str("\n[axes]\n");
        }
        for axis in &self.axes {
            line(&mut out, &format!("{:?}", axis.path), &list(&self.column(axis)));
        }
        let excludes = self.exclude.iter().map(|entry| ("exclude", entry));
        for (key, entry) in excludes.chain(self.include.iter().chain(more).map(|entry| ("include", entry))) {
            out.push_str(&format!("\n[[{key}]]\n"));
            entry.iter().for_each(|(path, levels)| line(&mut out, &format!("{path:?}"), &list(levels)));
        }
        for condition in self.conditions.iter() {
            out.push_str("\n[[condition]]\n");
            line(&mut out, "name", &text(&condition.name));
            condition.changes.iter().for_each(|(path, value)| line(&mut out, &format!("{path:?}"), &value.to_string()));
        }
        for gate in &self.gates {
            out.push_str("\n[[gate]]\n");
            gate.to_toml().into_iter().for_each(|(key, value)| line(&mut out, key, &value));
        }
        out
    }

    /// The levels of `axis` as a spec must write them: a zipped axis follows the rows of its group.
    fn column(&self, axis: &Axis) -> Vec<Value> {
        let zipped = self.zip.iter().find_map(|zip| {
            let at = zip.paths.iter().position(|path| *path == axis.path)?;
            Some(zip.rows.iter().filter_map(|row| row.get(at).cloned()).collect())
        });
        zipped.unwrap_or_else(|| axis.levels.clone())
    }
}

/// Axis path to the level that a configuration has there.
pub(super) fn levels(axes: &[Axis], config: &Config) -> BTreeMap<String, Value> {
    axes.iter().map(|axis| axis.path.clone()).zip(config.values_at(axes.iter().map(|a| a.path.as_str()))).collect()
}

fn line(out: &mut String, key: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{key} = {value}");
}

/// A JSON list of numbers, booleans and names is TOML as it stands.
fn list(values: &[Value]) -> String {
    let values: Vec<String> = values.iter().map(Value::to_string).collect();
    format!("[{}]", values.join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::load::{Overrides, from_str};
    use super::*;

    fn sweep(text: &str) -> Sweep {
        from_str(text, "test.toml", &Overrides::default()).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn the_hash_follows_the_sweep_and_not_the_way_it_is_written() {
        let plain = sweep("name = \"a\"\npreset = \"tiny\"\n[axes]\nseed = [0, 1]\n\"image.noise\" = [0.0, 0.5]\n");
        let same = sweep(
            "# a comment\nname   = 'a'\ndescription = \"x\"\npreset = \"tiny\"\ntrain.steps = 40\n\
             axes.image.noise = [0.5, 0]\naxes.seed = { seeds = 2 }",
        );
        assert_eq!(plain.hash(), same.hash());
        assert_eq!(plain.cells, same.cells);
        assert_eq!(plain.hash().len(), 64);
        for other in [
            "name = \"b\"\npreset = \"tiny\"\n[axes]\nseed = [0, 1]\n\"image.noise\" = [0.0, 0.5]\n",
            "name = \"a\"\npreset = \"tiny\"\ntrain.steps = 41\n[axes]\nseed = [0, 1]\n\"image.noise\" = [0.0, 0.5]\n",
            "name = \"a\"\npreset = \"tiny\"\n[axes]\nseed = [0, 2]\n\"image.noise\" = [0.0, 0.5]\n",
            "name = \"a\"\npreset = \"tiny\"\n[axes]\nseed = [0, 1]\n\"image.noise\" = [0.0, 0.5]\n[[exclude]]\nseed = 1\nimage.noise = 0.5",
            "name = \"a\"\npreset = \"tiny\"\n[axes]\nseed = [0, 1]\n\"image.noise\" = [0.0, 0.5]\n\"image.mask\" = [0.0]",
        ] {
            assert_ne!(plain.hash(), sweep(other).hash(), "{other}");
        }
    }

    #[test]
    fn cells_come_in_order_of_their_levels_by_path() {
        let sweep = sweep(
            "name = \"a\"\n[axes]\nseed = [10, 9]\npairing.kind = [\"block\", \"swap\"]\nstop.freeze = [true, false]\n",
        );
        let levels: Vec<String> =
            sweep.cells.iter().map(|cell| list(&sweep.levels(cell).into_values().collect::<Vec<_>>())).collect();
        assert_eq!(
            levels,
            [
                "[\"swap\", 9, false]",
                "[\"swap\", 9, true]",
                "[\"swap\", 10, false]",
                "[\"swap\", 10, true]",
                "[\"block\", 9, false]",
                "[\"block\", 9, true]",
                "[\"block\", 10, false]",
                "[\"block\", 10, true]",
            ]
        );
        assert_eq!(sweep.base.seed, 9, "the base holds the lowest level");
    }

    #[test]
    fn zipped_axes_advance_together_and_cross_the_rest() {
        let text = "name = \"z\"\nzip = [[\"model.hidden_txt\", \"model.hidden_img\"]]\n[axes]\nseed = { seeds = 2 }\n\
                    model.hidden_img = [64, 32, 64]\nmodel.hidden_txt = [32, 64, 64]\n";
        let sweep = sweep(text);
        let pairs: Vec<(u64, u64, u64)> = sweep
            .cells
            .iter()
            .map(|cell| (cell.config.model.hidden_img, cell.config.model.hidden_txt, cell.config.seed))
            .collect();
        assert_eq!(pairs, [(32, 64, 0), (32, 64, 1), (64, 32, 0), (64, 32, 1), (64, 64, 0), (64, 64, 1)]);
        assert_eq!(super::tests::sweep(&sweep.to_toml()), sweep);
        let turned = text.replace("[64, 32, 64]", "[64, 64, 32]").replace("[32, 64, 64]", "[64, 32, 64]");
        assert_eq!(super::tests::sweep(&turned), sweep, "the order of the rows does not matter");
    }

    #[test]
    fn excludes_leave_out_what_meets_all_of_their_conditions() {
        let sweep = sweep(
            "name = \"e\"\n[axes]\nseed = { seeds = 3 }\nimage.noise = { linear = [0, 1], n = 5 }\n\
             [[exclude]]\nseed = [1, 2]\nimage.noise = { min = 0.25, max = 0.5 }\n[[exclude]]\nimage.noise = { min = 0.9 }\n",
        );
        let left: Vec<(u64, f64)> =
            sweep.cells.iter().map(|cell| (cell.config.seed, cell.config.image.noise)).collect();
        let expected = [(0, 0.0), (1, 0.0), (2, 0.0), (0, 0.25), (0, 0.5), (0, 0.75), (1, 0.75), (2, 0.75)];
        assert_eq!(left, expected);
        assert_eq!(super::tests::sweep(&sweep.to_toml()), sweep);
    }

    #[test]
    fn a_spec_without_axes_is_one_cell() {
        let sweep = sweep("name = \"one\"\n");
        assert_eq!(sweep.cells.len(), 1);
        assert_eq!(sweep.cells[0].config, Config::default());
        assert_eq!(sweep.cells[0].id, Config::default().cell_id());
    }

    #[test]
    fn descriptions_survive_the_resolved_spec() {
        let text = "name = \"d\"\ndescription = \"a \\\"quoted\\\" \\u007F \\n line\"\n";
        assert_eq!(sweep(&sweep(text).to_toml()), sweep(text));
    }

    /// Axes to draw from: path and levels as written, and how many.
    const POOL: &[(&str, &[&str])] = &[
        ("seed", &["3", "0", "17"]),
        ("train.temperature", &["0.5", "0.02", "1", "1e-3"]),
        ("train.epsilon", &["1e-8", "1e-30", "0.1"]),
        ("stop.freeze", &["true", "false"]),
        ("pairing.kind", &["\"block\"", "\"swap\"", "\"offset\""]),
        ("image.noise", &["0", "100.0", "0.30000000000000004"]),
        ("model.embedding", &["16", "8"]),
    ];

    /// A subset of the pool, each axis with a non-empty subset of its levels, all in some order.
    fn axes() -> impl Strategy<Value = Vec<(&'static str, Vec<&'static str>)>> {
        let levels = |(path, all): &(&'static str, &'static [&'static str])| {
            let path = *path;
            let subset = proptest::sample::subsequence(all.to_vec(), 1..=all.len()).prop_shuffle();
            subset.prop_map(move |levels| (path, levels))
        };
        let every: Vec<_> = POOL.iter().map(levels).collect();
        (every, proptest::sample::subsequence((0..POOL.len()).collect::<Vec<_>>(), 0..=4))
            .prop_map(|(axes, keep)| keep.into_iter().map(|i| axes[i].clone()).collect::<Vec<_>>())
            .prop_shuffle()
    }

    fn write(axes: &[(&str, Vec<&str>)], zip: bool, exclude: bool) -> String {
        let mut text = "name = \"p\"\npreset = \"tiny\"\n".to_string();
        let zipped = match axes {
            [a, b, ..] if zip && a.1.len() == b.1.len() => format!("zip = [[{:?}, {:?}]]\n", a.0, b.0),
            _ => String::new(),
        };
        text.push_str(&zipped);
        text.push_str("[axes]\n");
        axes.iter().for_each(|(path, levels)| text.push_str(&format!("{path:?} = [{}]\n", levels.join(", "))));
        if let (true, Some((path, levels))) = (exclude, axes.iter().find(|(_, levels)| levels.len() > 1)) {
            text.push_str(&format!("[[exclude]]\n{path:?} = {}\n", levels[0]));
        }
        text
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn resolved_specs_load_to_the_same_sweep(axes in axes(), zip: bool, exclude: bool) {
            let first = sweep(&write(&axes, zip, exclude));
            let again = sweep(&first.to_toml());
            prop_assert_eq!(again.hash(), first.hash());
            prop_assert_eq!(again, first);
        }

        #[test]
        fn order_of_axes_and_levels_does_not_matter(axes in axes()) {
            let first = sweep(&write(&axes, false, false));
            let mut turned = axes;
            turned.reverse();
            turned.iter_mut().for_each(|(_, levels)| levels.rotate_left(1));
            let second = sweep(&write(&turned, false, false));
            prop_assert_eq!(first.hash(), second.hash());
            prop_assert_eq!(&first.cells, &second.cells);
            let mut ids: Vec<&str> = first.cells.iter().map(|cell| cell.id.as_str()).collect();
            ids.sort_unstable();
            ids.dedup();
            prop_assert_eq!(ids.len(), first.cells.len(), "ids repeat");
            let product: usize = first.axes.iter().map(|axis| axis.levels.len()).product();
            prop_assert_eq!(product, first.cells.len());
        }
    }
}
