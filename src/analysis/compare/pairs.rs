//! Which cell of one run belongs to which of the other, and how both ended.
//!
//! Cells are paired by their levels and never by their ids, which follow every setting: a cell of `a` and one of `b` are a
//! pair when they have the same level on every axis that at least one of the runs varies, the seed among them. A run that
//! does not vary an axis is paired at its one level there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use polars_core::prelude::{DataFrame, PolarsResult};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::Serialize;
use serde_json::Value;

use super::Each;
use super::spec::{SEED, levels, varied};
use crate::spec::{Cell, Sweep};
use crate::store::RecordedStatus;

/// Cells that are listed of those that differ; how many more there are is said.
const LISTED: usize = 20;

/// How a cell stands that has no row.
const UNFINISHED: &str = "unfinished";

const CHECKSUMS: [&str; 3] =
    ["checksum_first_batch_embeddings", "checksum_final_parameters", "checksum_test_embeddings"];
/// Which of [`CHECKSUMS`] is of the parameters.
const PARAMETERS: usize = 1;

/// Two cells, as positions in the plans of their runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    pub a: usize,
    pub b: usize,
    /// Numbers the combinations of levels, seed aside, that pairs have.
    pub combination: usize,
    /// Numbers the seeds that pairs have.
    pub seed: usize,
}

/// The pairs of two sweeps, in the order of the plan of `a`.
pub struct Pairing<'s> {
    pub(super) a: &'s Sweep,
    pub(super) b: &'s Sweep,
    /// The axes that cells are paired by.
    pub(super) paths: Vec<String>,
    pub(super) pairs: Vec<Pair>,
    /// For each combination a cell of `a` that is there.
    examples: Vec<usize>,
    pub(super) seeds: usize,
}

/// Pairs by how their cells ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatusPair {
    pub a: String,
    pub b: String,
    pub pairs: u64,
}

/// A pair whose cells ended differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// Axis path to level, the seed among them.
    pub levels: BTreeMap<String, Value>,
    pub a: String,
    pub b: String,
}

/// How the cells of two runs are paired and ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcomes {
    /// Axes whose levels a pair shares.
    pub paired_by: Vec<String>,
    pub planned: Each<u64>,
    pub finished: Each<u64>,
    pub pairs: u64,
    /// Pairs of which both cells are finished.
    pub finished_pairs: u64,
    /// Planned cells without a partner.
    pub unpaired: Each<u64>,
    /// Pairs by both statuses; one of them may be `unfinished`.
    pub statuses: Vec<StatusPair>,
    /// Finished pairs with two statuses, as far as they are listed.
    pub changed: Vec<Changed>,
    /// How many more there are.
    pub changed_not_listed: u64,
    /// Finished pairs of one cell id: everything about them is the same but where they were computed.
    pub same_cells: u64,
    /// Of those the ones with other bits: another status or another checksum.
    pub same_cells_different: u64,
    /// Their ids, as far as they are listed.
    pub different: Vec<String>,
    /// Finished pairs, of whatever ids, whose trained parameters have the same bits.
    pub same_parameters: u64,
}

/// The columns of `cells.parquet` that [`Pairing::outcomes`] reads.
pub fn columns_of_cells() -> Vec<String> {
    ["cell_id", "status"].into_iter().chain(CHECKSUMS).map(String::from).collect()
}

impl<'s> Pairing<'s> {
    pub fn new(a: &'s Sweep, b: &'s Sweep) -> Self {
        let paths = varied(a, b);
        let mut places = HashMap::new();
        let [in_a, in_b] = codes([a, b], &paths, &mut places);
        let partner: HashMap<(u32, u32), usize> = in_b.iter().enumerate().map(|(cell, place)| (*place, cell)).collect();
        let (mut combinations, mut seeds) = (HashMap::new(), HashMap::new());
        let (mut pairs, mut examples) = (Vec::new(), Vec::new());
        for (cell, place) in in_a.iter().enumerate() {
            let Some(other) = partner.get(place) else { continue };
            let next = combinations.len();
            let combination = *combinations.entry(place.0).or_insert(next);
            if combination == next {
                examples.push(cell);
            }
            let next = seeds.len();
            let seed = *seeds.entry(place.1).or_insert(next);
            pairs.push(Pair { a: cell, b: *other, combination, seed });
        }
        Self { a, b, paths, pairs, examples, seeds: seeds.len() }
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// True when nothing can be compared.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    pub(super) fn combinations(&self) -> usize {
        self.examples.len()
    }

    /// The levels of a combination, without the seed.
    pub(super) fn levels(&self, combination: usize) -> BTreeMap<String, Value> {
        let mut levels = self.levels_of(&self.a.cells[self.examples[combination]]);
        levels.remove(SEED);
        levels
    }

    fn levels_of(&self, cell: &Cell) -> BTreeMap<String, Value> {
        self.paths.iter().cloned().zip(cell.config.values_at(self.paths.iter().map(String::as_str))).collect()
    }

    /// How the pairs ended, by the tables of cells of both runs, and for each pair whether its cells were lost: 1 for
    /// one that collapsed, diverged or failed, 0 for another, none for one that is not finished.
    ///
    /// # Errors
    /// A column that is not text.
    pub fn outcomes(&self, a: &DataFrame, b: &DataFrame) -> PolarsResult<(Outcomes, Vec<[Option<f64>; 2]>)> {
        let (in_a, in_b) = (Ends::new(self.a, a)?, Ends::new(self.b, b)?);
        let finished = |ends: &Ends| ends.rows.iter().flatten().count() as u64;
        let unpaired = |sweep: &Sweep| (sweep.cells.len() - self.pairs.len()) as u64;
        let mut outcomes = Outcomes {
            paired_by: self.paths.clone(),
            planned: Each { a: self.a.cells.len() as u64, b: self.b.cells.len() as u64 },
            finished: Each { a: finished(&in_a), b: finished(&in_b) },
            pairs: self.pairs.len() as u64,
            finished_pairs: 0,
            unpaired: Each { a: unpaired(self.a), b: unpaired(self.b) },
            statuses: Vec::new(),
            changed: Vec::new(),
            changed_not_listed: 0,
            same_cells: 0,
            same_cells_different: 0,
            different: Vec::new(),
            same_parameters: 0,
        };
        let mut statuses: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        let mut lost = Vec::with_capacity(self.pairs.len());
        for pair in &self.pairs {
            let (ended_a, ended_b) = (in_a.status(pair.a), in_b.status(pair.b));
            *statuses.entry((ended_a.unwrap_or(UNFINISHED), ended_b.unwrap_or(UNFINISHED))).or_default() += 1;
            let is_lost = |status: &str| f64::from(u8::from(status != RecordedStatus::Ok.name()));
            lost.push([ended_a.map(is_lost), ended_b.map(is_lost)]);
            let Some((ended_a, ended_b)) = ended_a.zip(ended_b) else { continue };
            outcomes.finished_pairs += 1;
            if ended_a != ended_b {
                if outcomes.changed.len() < LISTED {
                    let levels = self.levels_of(&self.a.cells[pair.a]);
                    outcomes.changed.push(Changed { levels, a: ended_a.to_string(), b: ended_b.to_string() });
                } else {
                    outcomes.changed_not_listed += 1;
                }
            }
            let (sums_a, sums_b) = (in_a.checksums(pair.a), in_b.checksums(pair.b));
            if sums_a[PARAMETERS].is_some() && sums_a[PARAMETERS] == sums_b[PARAMETERS] {
                outcomes.same_parameters += 1;
            }
            let id = &self.a.cells[pair.a].id;
            if *id == self.b.cells[pair.b].id {
                outcomes.same_cells += 1;
                if ended_a != ended_b || sums_a != sums_b {
                    outcomes.same_cells_different += 1;
                    outcomes.different.extend((outcomes.different.len() < LISTED).then(|| id.clone()));
                }
            }
        }
        let by_status = |((a, b), pairs): ((&str, &str), u64)| StatusPair { a: a.into(), b: b.into(), pairs };
        outcomes.statuses = statuses.into_iter().map(by_status).collect();
        outcomes.statuses.sort_by_key(|status| std::cmp::Reverse(status.pairs));
        Ok((outcomes, lost))
    }

    /// For each pair whether its cells are the same to the bit: of one id, of one status and the same checksums; none where
    /// one of them is not finished. `a` and `b` are as for [`outcomes`](Self::outcomes).
    ///
    /// # Errors
    /// A column that is not text.
    pub fn identical(&self, a: &DataFrame, b: &DataFrame) -> PolarsResult<Vec<Option<bool>>> {
        let (in_a, in_b) = (Ends::new(self.a, a)?, Ends::new(self.b, b)?);
        let same = |pair: &Pair| {
            let (status_a, status_b) = (in_a.status(pair.a)?, in_b.status(pair.b)?);
            let one_cell = self.a.cells[pair.a].id == self.b.cells[pair.b].id;
            Some(one_cell && status_a == status_b && in_a.checksums(pair.a) == in_b.checksums(pair.b))
        };
        Ok(self.pairs.iter().map(same).collect())
    }
}

/// For each cell of both sweeps the number of its combination of levels, seed aside, and that of its seed; the same levels
/// have the same numbers in both.
fn codes(sweeps: [&Sweep; 2], paths: &[String], places: &mut HashMap<(u32, u32), u32>) -> [Vec<(u32, u32)>; 2] {
    let known: Vec<HashMap<String, u32>> = paths
        .iter()
        .map(|path| {
            let of = |sweep| levels(sweep).remove(path.as_str()).unwrap_or_default();
            let both: BTreeSet<String> = sweeps.into_iter().flat_map(of).map(|level| level.to_string()).collect();
            both.into_iter().zip(0..).collect()
        })
        .collect();
    sweeps.map(|sweep| {
        let ranks = |cell: &Cell| -> Vec<u32> {
            let values = cell.config.values_at(paths.iter().map(String::as_str));
            // Every value of a cell is a level of its own sweep, and `known` has those of both.
            known.iter().zip(values).map(|(known, value)| known[&value.to_string()]).collect()
        };
        let ranks: Vec<Vec<u32>> = sweep.cells.par_iter().map(ranks).collect();
        // One axis after the other, so that no product of level counts can overflow.
        let mut code = |ranks: Vec<u32>| {
            let mut place = (0, 0);
            for (path, rank) in paths.iter().zip(ranks) {
                if path == SEED {
                    place.1 = rank;
                } else {
                    let next = places.len() as u32 + 1;
                    place.0 = *places.entry((place.0, rank)).or_insert(next);
                }
            }
            place
        };
        ranks.into_iter().map(&mut code).collect()
    })
}

/// The row of each planned cell in a table; rows without an id are of no interest.
pub(super) fn rows(sweep: &Sweep, ids: &[Option<&str>]) -> Vec<Option<u32>> {
    let numbered = ids.iter().zip(0..).filter_map(|(id, row)| Some(((*id)?, row)));
    in_order(sweep, numbered.clone()).unwrap_or_else(|| {
        let rows: HashMap<&str, u32> = numbered.collect();
        sweep.cells.iter().map(|cell| rows.get(cell.id.as_str()).copied()).collect()
    })
}

/// [`rows`] of a table in the order of the plan, as those of a run are; none for another. A million ids take a second to
/// hash and hardly any time to walk along.
fn in_order<'t>(sweep: &Sweep, ids: impl Iterator<Item = (&'t str, u32)>) -> Option<Vec<Option<u32>>> {
    let mut found = vec![None; sweep.cells.len()];
    let mut cells = sweep.cells.iter().zip(&mut found);
    for (id, row) in ids {
        *cells.find(|(cell, _)| cell.id == id)?.1 = Some(row);
    }
    Some(found)
}

/// How the cells of a run ended.
struct Ends<'t> {
    /// For each planned cell its row.
    rows: Vec<Option<u32>>,
    statuses: Vec<Option<&'t str>>,
    checksums: [Vec<Option<&'t str>>; 3],
}

impl<'t> Ends<'t> {
    fn new(sweep: &Sweep, cells: &'t DataFrame) -> PolarsResult<Self> {
        let texts =
            |name: &str| -> PolarsResult<Vec<Option<&'t str>>> { Ok(cells.column(name)?.str()?.iter().collect()) };
        let [first, parameters, embeddings] = CHECKSUMS.map(texts);
        Ok(Self {
            rows: rows(sweep, &texts("cell_id")?),
            statuses: texts("status")?,
            checksums: [first?, parameters?, embeddings?],
        })
    }

    fn status(&self, cell: usize) -> Option<&'t str> {
        self.statuses[self.rows[cell]? as usize]
    }

    fn checksums(&self, cell: usize) -> [Option<&'t str>; 3] {
        let at = |column: &Vec<Option<&'t str>>| column[self.rows[cell]? as usize];
        self.checksums.each_ref().map(at)
    }
}

#[cfg(test)]
mod tests {
    use polars_core::prelude::{Column, NamedFrom, Series};
    use serde_json::json;

    use super::*;
    use crate::spec::{Overrides, from_str};

    fn sweep(rest: &str) -> Sweep {
        let text = format!("name = \"t\"\npreset = \"tiny\"\n{rest}");
        from_str(&text, "t.toml", &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The first cells of a plan with these statuses and checksums of their parameters.
    fn cells(sweep: &Sweep, rows: &[(&str, &str)]) -> DataFrame {
        let text = |name: &str, texts: Vec<&str>| -> Column { Series::new(name.into(), texts).into() };
        let ids = sweep.cells.iter().take(rows.len()).map(|cell| cell.id.as_str()).collect();
        let mut columns = vec![text("cell_id", ids), text("status", rows.iter().map(|row| row.0).collect())];
        for name in CHECKSUMS {
            columns.push(text(name, rows.iter().map(|row| row.1).collect()));
        }
        DataFrame::new_infer_height(columns).expect("columns of one length")
    }

    /// The seed and the noise of each pair, in both runs.
    fn paired(pairing: &Pairing) -> Vec<[(u64, f64); 2]> {
        let of = |sweep: &Sweep, cell: usize| (sweep.cells[cell].config.seed, sweep.cells[cell].config.image.noise);
        pairing.pairs.iter().map(|pair| [of(pairing.a, pair.a), of(pairing.b, pair.b)]).collect()
    }

    #[test]
    fn cells_are_paired_by_levels_whatever_else_differs() {
        let a = sweep("train.learning_rate = 0.1\n[axes]\nseed = [0, 1]\n\"image.noise\" = [0.0, 0.5]\n");
        let b = sweep("train.learning_rate = 0.2\n[axes]\nseed = [2, 1, 0]\n\"image.noise\" = [1.0, 0.5]\n");
        let pairing = Pairing::new(&a, &b);
        assert_eq!(paired(&pairing), [[(0, 0.5); 2], [(1, 0.5); 2]]);
        assert_eq!((pairing.combinations(), pairing.seeds, pairing.len()), (1, 2, 2));
        assert_eq!(pairing.levels(0), [("image.noise".to_string(), json!(0.5))].into());
        // An axis that one run only has is paired at the level that the other has there.
        let fixed = sweep("image.noise = 0.5\n[axes]\nseed = [1, 0]\n");
        assert_eq!(paired(&Pairing::new(&a, &fixed)), [[(0, 0.5); 2], [(1, 0.5); 2]]);
        assert_eq!(paired(&Pairing::new(&fixed, &a)), [[(0, 0.5); 2], [(1, 0.5); 2]]);
        // Of a level each, an axis is a setting, but seeds are never paired with other seeds.
        let single = sweep("[axes]\nseed = [1, 0]\n\"image.noise\" = [0.7]\n");
        assert_eq!(paired(&Pairing::new(&fixed, &single)), [[(0, 0.5), (0, 0.7)], [(1, 0.5), (1, 0.7)]]);
        assert!(Pairing::new(&a, &single).is_empty());
        assert!(Pairing::new(&sweep("seed = 1\n"), &sweep("seed = 2\n")).is_empty());
        assert_eq!(Pairing::new(&sweep("seed = 1\n"), &sweep("seed = 1\n")).len(), 1);
        // Cells beside the grid have levels that no axis has, and make an axis of what has one level.
        let beside = "[[include]]\nimage.noise = 0.7\n";
        let grown = sweep(&format!("[axes]\nseed = [1, 0]\n\"image.noise\" = [0.5]\n{beside}"));
        assert_eq!(paired(&Pairing::new(&a, &grown)), [[(0, 0.5); 2], [(1, 0.5); 2]]);
        assert_eq!(paired(&Pairing::new(&grown, &grown)).len(), 4);
        // Many axes of several levels: no product of their counts is formed.
        let paths = ["image.noise", "image.blur", "image.mask", "text.dropout", "pairing.rate"];
        let axes: String = paths.iter().map(|path| format!("\"{path}\" = [0.0, 0.1, 0.2]\n")).collect();
        let wide = sweep(&format!("[axes]\n{axes}"));
        let pairing = Pairing::new(&wide, &wide);
        assert_eq!((pairing.len(), pairing.combinations(), pairing.seeds), (243, 243, 1));
        assert!(pairing.pairs.iter().enumerate().all(|(n, pair)| (pair.a, pair.b, pair.combination) == (n, n, n)));
    }

    #[test]
    fn statuses_and_bits_of_the_pairs_are_counted() {
        let a = sweep("[axes]\nseed = { seeds = 5 }\n");
        let rows_a = [("ok", "0"), ("ok", "1"), ("ok", "2"), ("collapsed", "3")];
        let rows_b = [("ok", "0"), ("ok", "x"), ("diverged", "2"), ("collapsed", "3"), ("ok", "4")];
        let pairing = Pairing::new(&a, &a);
        let (outcomes, lost) = pairing.outcomes(&cells(&a, &rows_a), &cells(&a, &rows_b)).expect("tables");
        assert_eq!((outcomes.pairs, outcomes.finished_pairs), (5, 4));
        assert_eq!((outcomes.finished, outcomes.unpaired), (Each { a: 4, b: 5 }, Each { a: 0, b: 0 }));
        let by_status: Vec<_> = outcomes.statuses.iter().map(|s| (s.a.as_str(), s.b.as_str(), s.pairs)).collect();
        assert_eq!(
            by_status,
            [("ok", "ok", 2), ("collapsed", "collapsed", 1), ("ok", "diverged", 1), ("unfinished", "ok", 1)]
        );
        let changed =
            Changed { levels: [("seed".to_string(), json!(2))].into(), a: "ok".to_string(), b: "diverged".to_string() };
        assert_eq!((outcomes.changed, outcomes.changed_not_listed), (vec![changed], 0));
        assert_eq!((outcomes.same_cells, outcomes.same_cells_different, outcomes.same_parameters), (4, 2, 3));
        assert_eq!(outcomes.different, [a.cells[1].id.clone(), a.cells[2].id.clone()]);
        let identical = pairing.identical(&cells(&a, &rows_a), &cells(&a, &rows_b)).expect("tables");
        assert_eq!(identical, [Some(true), Some(false), Some(false), Some(true), None]);
        let (yes, no) = (Some(1.0), Some(0.0));
        assert_eq!(lost, [[no, no], [no, no], [no, yes], [yes, yes], [None, no]]);
        // Of another setting the ids differ; equal parameters are seen all the same.
        let b = sweep("score.temperature = 0.3\n[axes]\nseed = { seeds = 5 }\n");
        let (outcomes, _) = Pairing::new(&a, &b).outcomes(&cells(&a, &rows_a), &cells(&b, &rows_b)).expect("tables");
        assert_eq!((outcomes.same_cells, outcomes.same_parameters), (0, 3));
    }

    #[test]
    fn rows_are_found_in_any_order() {
        let sweep = sweep("[axes]\nseed = { seeds = 4 }\n");
        let found = |order: &[Option<usize>]| {
            let ids: Vec<Option<&str>> = order.iter().map(|cell| Some(sweep.cells[(*cell)?].id.as_str())).collect();
            rows(&sweep, &ids)
        };
        assert_eq!(found(&[Some(0), None, Some(1), Some(3)]), [Some(0), Some(2), None, Some(3)]);
        assert_eq!(found(&[Some(3), Some(1), None, Some(0)]), [Some(3), Some(1), None, Some(0)]);
        assert_eq!(rows(&sweep, &[Some("of another plan")]), [None; 4]);
        assert_eq!(found(&[]), [None; 4]);
    }

    #[test]
    fn long_lists_are_cut_and_say_so() {
        let a = sweep("[axes]\nseed = { seeds = 30 }\n");
        let rows = |status| vec![(status, ""); 30];
        let pairing = Pairing::new(&a, &a);
        let (outcomes, _) = pairing.outcomes(&cells(&a, &rows("ok")), &cells(&a, &rows("collapsed"))).expect("tables");
        assert_eq!((outcomes.changed.len(), outcomes.changed_not_listed, outcomes.different.len()), (20, 10, 20));
        assert_eq!(outcomes.same_cells_different, 30);
    }
}
