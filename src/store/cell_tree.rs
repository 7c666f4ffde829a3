//! The tree over the cells of a run: one root for all results, and a short proof that one cell is among them.
//!
//! A leaf is one line of JSON about a cell, without numbers that languages print differently; its `record_blake3` covers
//! the whole record but what depends on the machine's day and on what lay beside the run (`wall_s`, `finished_utc`,
//! `made_by`, `reused_from`). So the root is the same wherever and whenever the same cells are made in one class.
//!
//! # Changelog of [`CELL_TREE_VERSION`]
//! - 1: first version.

use std::collections::BTreeMap;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::Serialize;

use super::merkle::{self, Hash, Step};
use super::record::{
    CellRecord, RecordedChecksums, RecordedCondition, RecordedCrossing, RecordedCurves, RecordedMetric,
    RecordedSelection, RecordedStatus,
};

/// Version of the leaves.
pub const CELL_TREE_VERSION: u64 = 1;

/// What of a record is proven, as it is hashed: CBOR, fields in this order. A field that is added must be left out where
/// it is empty, or raise the version.
#[derive(Serialize)]
struct Proven<'a> {
    cell_id: &'a str,
    train_id: &'a str,
    class: &'a str,
    config: &'a serde_json::Value,
    status: RecordedStatus,
    reason: &'a str,
    steps: u64,
    metrics: &'a BTreeMap<String, RecordedMetric>,
    spectra: &'a BTreeMap<String, Vec<f64>>,
    curves: &'a RecordedCurves,
    checksums: &'a RecordedChecksums,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    crossings: &'a [RecordedCrossing],
    #[serde(skip_serializing_if = "Option::is_none")]
    selection: Option<&'a RecordedSelection>,
    realised: &'a BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    conditions: &'a [RecordedCondition],
}

/// The line of a leaf: keys ascending, no spaces.
#[derive(Serialize)]
struct Leaf<'a> {
    cell_id: &'a str,
    class: &'a str,
    final_parameters: &'a str,
    record_blake3: String,
    status: &'a str,
    steps: u64,
    test_embeddings: &'a str,
    train_id: &'a str,
    version: u64,
}

/// The bytes of a cell's leaf, as text.
pub fn leaf_text(record: &CellRecord) -> String {
    let proven = Proven {
        cell_id: &record.cell_id,
        train_id: &record.train_id,
        class: &record.class,
        config: &record.config,
        status: record.status,
        reason: &record.reason,
        steps: record.steps,
        metrics: &record.metrics,
        spectra: &record.spectra,
        curves: &record.curves,
        checksums: &record.checksums,
        crossings: &record.crossings,
        selection: record.selection.as_ref(),
        realised: &record.realised,
        conditions: &record.conditions,
    };
    let mut bytes = Vec::with_capacity(1 << 14);
    ciborium::into_writer(&proven, &mut bytes).expect("plain data into memory");
    let leaf = Leaf {
        cell_id: &record.cell_id,
        class: &record.class,
        final_parameters: &record.checksums.final_parameters,
        record_blake3: blake3::hash(&bytes).to_hex().to_string(),
        status: record.status.name(),
        steps: record.steps,
        test_embeddings: &record.checksums.test_embeddings,
        train_id: &record.train_id,
        version: CELL_TREE_VERSION,
    };
    serde_json::to_string(&leaf).expect("plain data")
}

/// The leaves of a run's cells, ascending by cell id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellTree {
    leaves: BTreeMap<String, Hash>,
}

/// That a cell is among those of a root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CellProof {
    /// What is hashed: the leaf is BLAKE3 of a zero byte and this.
    pub leaf_text: String,
    pub leaf: String,
    /// Place among the cells ascending by id.
    pub index: usize,
    pub cells: usize,
    /// From the leaf to the root: a node is BLAKE3 of a one byte, the left hash and the right hash.
    pub path: Vec<Step>,
    pub root: String,
}

impl CellProof {
    /// Whether the text leads along the path to a root.
    pub fn leads_to(&self, root: &str) -> bool {
        let leaf = merkle::leaf(self.leaf_text.as_bytes());
        merkle::climb(leaf, &self.path).is_some_and(|found| merkle::hex(&found) == root)
    }
}

impl CellTree {
    /// Adds cells, or puts them in place of earlier ones with the same ids.
    pub fn add(&mut self, records: &[CellRecord]) {
        let leaf = |record: &CellRecord| (record.cell_id.clone(), merkle::leaf(leaf_text(record).as_bytes()));
        let leaves: Vec<(String, Hash)> = records.par_iter().map(leaf).collect();
        self.leaves.extend(leaves);
    }

    fn hashes(&self) -> Vec<Hash> {
        self.leaves.values().copied().collect()
    }

    /// 64 hex digits.
    pub fn root(&self) -> String {
        merkle::hex(&merkle::root(&self.hashes()))
    }

    /// The proof of a cell; none where its record is not the one in the tree.
    pub fn proof(&self, record: &CellRecord) -> Option<CellProof> {
        let (index, (_, leaf)) = self.leaves.iter().enumerate().find(|(_, (id, _))| **id == record.cell_id)?;
        let leaf_text = leaf_text(record);
        let hashes = self.hashes();
        (merkle::leaf(leaf_text.as_bytes()) == *leaf).then(|| CellProof {
            leaf_text,
            leaf: merkle::hex(leaf),
            index,
            cells: hashes.len(),
            path: merkle::proof(&hashes, index).unwrap_or_default(),
            root: merkle::hex(&merkle::root(&hashes)),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::store::record::Origin;
    use crate::store::record::tests::sample;

    /// A number, a text or a flag that is not the one given.
    fn other(value: &Value) -> Option<Value> {
        match value {
            Value::Number(n) if n.is_u64() => Some((n.as_u64()? + 1).into()),
            Value::Number(n) => Some((n.as_f64()? + 0.5).into()),
            Value::String(_) => None,
            Value::Bool(b) => Some((!b).into()),
            _ => None,
        }
    }

    /// Every value below `value` with its JSON pointer.
    fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, inner)| pointers(inner, &format!("{at}/{}", key.replace('/', "~1")), out));
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(i, inner)| pointers(inner, &format!("{at}/{i}"), out));
            }
            _ => out.push(at.to_string()),
        }
    }

    #[test]
    fn a_leaf_follows_everything_of_a_record_but_the_day_it_was_made() {
        // Cell 4 has crossings and a selection.
        let origin = Origin { run: "other".into(), ..Origin::default() };
        let record = CellRecord { reused_from: Some(origin), ..sample(4) };
        let expected = leaf_text(&record);
        let json = serde_json::to_value(&record).unwrap();
        let mut all = Vec::new();
        pointers(&json, "", &mut all);
        let mut changed = 0;
        for pointer in &all {
            let mut edited = json.clone();
            let place = edited.pointer_mut(pointer).unwrap();
            let text = place.as_str().map(|text| Value::from(format!("{text}x")));
            let Some(value) = text.or_else(|| other(place)) else { continue };
            *place = value;
            // A status is one of a few words.
            let Ok(edited) = serde_json::from_value::<CellRecord>(edited) else { continue };
            let volatile = ["/wall_s", "/finished_utc", "/made_by", "/reused_from/"];
            let volatile = volatile.iter().any(|path| pointer.starts_with(path));
            assert_eq!(leaf_text(&edited) == expected, volatile, "{pointer}");
            changed += 1;
        }
        assert!(changed > 30, "{changed} of {}", all.len());
        let failed = CellRecord { status: RecordedStatus::Failed, ..record };
        assert_ne!(leaf_text(&failed), expected);
    }

    #[test]
    fn leaves_stay_what_they_are() {
        let text = leaf_text(&sample(3));
        assert!(text.starts_with("{\"cell_id\":\""), "{text}");
        let mut keys: Vec<String> = Vec::new();
        let parsed: Value = serde_json::from_str(&text).unwrap();
        keys.extend(parsed.as_object().unwrap().keys().cloned());
        let mut sorted = keys.clone();
        sorted.sort();
        assert_eq!(keys, sorted);
        assert_eq!(serde_json::to_string(&parsed).unwrap(), text, "canonical: another program writes the same");
    }

    #[test]
    fn any_order_of_cells_gives_the_root_that_proofs_lead_to() {
        let records: Vec<CellRecord> = (0..11).map(sample).collect();
        let mut tree = CellTree::default();
        tree.add(&records);
        let mut other = CellTree::default();
        for record in records.iter().rev() {
            other.add(std::slice::from_ref(record));
        }
        assert_eq!(tree, other);
        for record in &records {
            let proof = tree.proof(record).unwrap();
            assert_eq!(merkle::hex(&merkle::leaf(proof.leaf_text.as_bytes())), proof.leaf);
            assert!(proof.leads_to(&tree.root()));
            assert!(!proof.leads_to(&proof.leaf));
            assert_eq!((proof.root, proof.cells), (tree.root(), 11));
        }
        let mut changed = records[5].clone();
        changed.steps += 1;
        assert_eq!(tree.proof(&changed), None);
        assert_eq!(tree.proof(&sample(12)), None);
    }
}
