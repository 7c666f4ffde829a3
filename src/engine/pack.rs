//! Which cells train together.

use std::collections::BTreeMap;

use crate::spec::Cell;
use crate::spec::config::Config;
use crate::world::Modality;
use crate::world::view::Setting;

/// Cells that train as one tensor program, as indices into the sweep's cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    pub cells: Vec<usize>,
}

/// Groups the cells at `wanted` into packs of at most `size(first cell, how many are alike)`.
///
/// Cells of a pack share a pack key. Within a key they are ordered by seed and by what the host does to observations, so
/// that packs share data. What comes out
/// of a cell does not depend on any of this; how fast it comes does.
pub fn make_packs(cells: &[Cell], wanted: &[usize], size: impl Fn(&Cell, usize) -> usize) -> Vec<Pack> {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for &index in wanted {
        groups.entry(cells[index].config.pack_key()).or_default().push(index);
    }
    let mut packs = Vec::new();
    for mut group in groups.into_values() {
        group.sort_by_cached_key(|index| (cells[*index].config.seed, view_key(&cells[*index].config)));
        let size = size(&cells[group[0]], group.len()).max(1);
        packs.extend(group.chunks(size).map(|chunk| Pack { cells: chunk.to_vec() }));
    }
    packs
}

/// Cells of one seed with the same key share their views of the world.
pub(super) fn view_key(config: &Config) -> String {
    let settings = Modality::ALL.map(|modality| Setting::of(config, modality));
    // Most are plain, and a plan may have a million cells.
    if settings.iter().all(Setting::is_plain) { String::new() } else { format!("{settings:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Overrides, from_str};

    #[test]
    fn packs_hold_one_key_each_and_every_cell_once() {
        let text = "name = \"t\"\npreset = \"tiny\"\n[axes]\nseed = { seeds = 3 }\n\"image.noise\" = [0.0, 0.1, 0.2]\n";
        let sweep = from_str(text, "t.toml", &Overrides::default()).expect("a valid spec");
        let wanted: Vec<usize> = (0..sweep.cells.len()).collect();
        let packs = make_packs(&sweep.cells, &wanted, |_, _| 4);
        for pack in &packs {
            assert!(pack.cells.len() <= 4);
            let key = sweep.cells[pack.cells[0]].config.pack_key();
            assert!(pack.cells.iter().all(|c| sweep.cells[*c].config.pack_key() == key));
        }
        let mut all: Vec<usize> = packs.into_iter().flat_map(|p| p.cells).collect();
        all.sort_unstable();
        assert_eq!(all, wanted);
    }
}
