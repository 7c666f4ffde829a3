//! Random samples of cells, for what is too costly to do with all of them.

/// Ids of a random sample of at most `count`, sorted. Which they are follows from the seed and the ids alone: a cell
/// comes by the hash of both, so that nobody can tell without the seed, and one more cell displaces one at most.
pub fn sample_of<'a>(ids: impl Iterator<Item = &'a str>, count: usize, seed: u64) -> Vec<&'a str> {
    let rank =
        |id: &&str| *blake3::Hasher::new().update(&seed.to_le_bytes()).update(id.as_bytes()).finalize().as_bytes();
    let mut drawn: Vec<&str> = ids.collect();
    drawn.sort_by_cached_key(rank);
    drawn.truncate(count);
    drawn.sort_unstable();
    drawn
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_sample_follows_its_seed_reaches_every_cell_and_hardly_changes_with_the_run() {
        let ids: Vec<String> = (0..50).map(|i| format!("{:032x}", i * 7919)).collect();
        let all = || ids.iter().map(String::as_str);
        let first = sample_of(all(), 5, 1);
        assert_eq!(first.len(), 5);
        assert_eq!(first, sample_of(all().rev(), 5, 1));
        let reached: BTreeSet<&str> = (0..200).flat_map(|seed| sample_of(all(), 5, seed)).collect();
        assert_eq!(reached.len(), ids.len());
        let grown = sample_of(all().chain(["f".repeat(32).as_str()]), 5, 1).iter().map(|id| id.to_string()).collect();
        let kept: BTreeSet<String> = first.iter().map(|id| id.to_string()).collect();
        assert!(kept.intersection(&grown).count() >= 4);
        assert_eq!(sample_of(all(), 60, 1).len(), 50);
        assert!(sample_of(all(), 0, 1).is_empty());
    }
}
