//! Merkle trees over lists of bytes, as RFC 6962 section 2.1 builds them, with BLAKE3 as the hash.
//!
//! A leaf is `H(0x00 || bytes)`, a node `H(0x01 || left || right)`, so that no node can pass for a leaf. Of `n` leaves the
//! left child has as many as the largest power of two below `n`. The root of no leaves is the hash of nothing.

use serde::Serialize;

/// A BLAKE3 hash.
pub type Hash = [u8; 32];

const LEAF: [u8; 1] = [0];
const NODE: [u8; 1] = [1];

/// The hash of a leaf's bytes.
pub fn leaf(bytes: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&LEAF).update(bytes);
    hasher.finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&NODE).update(left).update(right);
    hasher.finalize().into()
}

/// 64 lower-case hex digits.
pub fn hex(hash: &Hash) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

/// How many of `n` leaves, `n` at least 2, are below the left child.
fn split(n: usize) -> usize {
    1 << (n - 1).ilog2()
}

/// The root over hashes of leaves, in their order.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => blake3::hash(b"").into(),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(split(many.len()));
            node(&root(left), &root(right))
        }
    }
}

/// On which side of the path a neighbour joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Left,
    Right,
}

/// One step from a leaf to the root: the neighbour that the hash so far is joined with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    pub side: Side,
    /// 64 hex digits.
    pub hash: String,
}

/// The steps from leaf number `index` to the root; none where there is no such leaf.
pub fn proof(leaves: &[Hash], index: usize) -> Option<Vec<Step>> {
    if index >= leaves.len() {
        return None;
    }
    let (mut steps, mut leaves, mut index) = (Vec::new(), leaves, index);
    while leaves.len() > 1 {
        let (left, right) = leaves.split_at(split(leaves.len()));
        if index < left.len() {
            steps.push(Step { side: Side::Right, hash: hex(&root(right)) });
            leaves = left;
        } else {
            index -= left.len();
            steps.push(Step { side: Side::Left, hash: hex(&root(left)) });
            leaves = right;
        }
    }
    steps.reverse();
    Some(steps)
}

/// The root that a leaf and its steps lead to; none where a step's hash is no hash.
pub fn climb(leaf: Hash, steps: &[Step]) -> Option<Hash> {
    steps.iter().try_fold(leaf, |below, step| {
        let neighbour: Hash = blake3::Hash::from_hex(&step.hash).ok()?.into();
        Some(match step.side {
            Side::Left => node(&neighbour, &below),
            Side::Right => node(&below, &neighbour),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(n: usize) -> Vec<Hash> {
        (0..n).map(|i| leaf(&i.to_le_bytes())).collect()
    }

    #[test]
    fn small_trees_are_what_the_definition_says() {
        let [a, b, c] = [leaf(b"a"), leaf(b"b"), leaf(b"c")];
        assert_eq!(a, *blake3::hash(b"\0a").as_bytes());
        assert_eq!(hex(&root(&[])), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        assert_eq!(root(&[a]), a);
        let joined = |left: &Hash, right: &Hash| -> Hash { blake3::hash(&[&[1][..], left, right].concat()).into() };
        assert_eq!(root(&[a, b]), joined(&a, &b));
        assert_eq!(root(&[a, b, c]), joined(&joined(&a, &b), &c), "the left child is a full tree");
        assert_ne!(leaf(&[&[1][..], &a, &b].concat()), root(&[a, b]), "a node is no leaf");
    }

    #[test]
    fn every_leaf_of_every_tree_is_proven_and_no_other_value_is() {
        for n in 1..=33 {
            let leaves = leaves(n);
            let expected = root(&leaves);
            for (index, own) in leaves.iter().enumerate() {
                let steps = proof(&leaves, index).expect("a leaf");
                assert!(steps.len() as u32 <= n.next_power_of_two().ilog2(), "{n} {index}");
                assert_eq!(climb(*own, &steps), Some(expected), "{n} {index}");
                assert_ne!(climb(leaf(b"another"), &steps), Some(expected));
            }
            assert_eq!(proof(&leaves, n), None);
        }
        let no_hash = Step { side: Side::Left, hash: "xyz".to_string() };
        assert_eq!(climb(leaf(b""), &[no_hash]), None);
    }

    #[test]
    fn the_root_follows_every_leaf_and_their_order() {
        let leaves = leaves(7);
        let expected = root(&leaves);
        for index in 0..leaves.len() {
            let mut other = leaves.clone();
            other[index][31] ^= 1;
            assert_ne!(root(&other), expected);
        }
        let mut swapped = leaves.clone();
        swapped.swap(0, 6);
        assert_ne!(root(&swapped), expected);
        assert_ne!(root(&leaves[..6]), expected);
    }
}
