//! Deterministic minibatches: a seeded permutation of the training split per epoch.

use crate::numerics::stream::Streams;

/// The training indices of every step.
#[derive(Clone, Debug)]
pub struct Batches {
    streams: Streams,
    n_train: usize,
    batch_size: usize,
    epoch: Option<(u64, Vec<usize>)>,
}

impl Batches {
    /// Minibatches of `batch_size` out of `n_train` samples for the cells of `seed`. Within an epoch no sample repeats;
    /// the samples that do not fill a last minibatch sit that epoch out.
    ///
    /// # Panics
    /// If `batch_size` is zero or exceeds `n_train`; the spec check refuses such cells.
    pub fn new(seed: u64, n_train: usize, batch_size: usize) -> Self {
        assert!(0 < batch_size && batch_size <= n_train, "batch_size {batch_size} must be in 1..={n_train}");
        Self { streams: Streams::new(seed, "batches"), n_train, batch_size, epoch: None }
    }

    /// Indices into the training split for step `step` (0-based), `batch_size` of them, distinct.
    pub fn at(&mut self, step: u64) -> &[usize] {
        let per_epoch = (self.n_train / self.batch_size) as u64;
        let epoch = step / per_epoch;
        if self.epoch.as_ref().is_none_or(|(current, _)| *current != epoch) {
            self.epoch = Some((epoch, self.streams.item(epoch).permutation(self.n_train)));
        }
        let start = (step % per_epoch) as usize * self.batch_size;
        let (_, order) = self.epoch.as_ref().expect("set just above");
        &order[start..start + self.batch_size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_visits_samples_once_and_epochs_differ() {
        let mut batches = Batches::new(3, 10, 4);
        let first: Vec<usize> = [0, 1].iter().flat_map(|s| batches.at(*s).to_vec()).collect();
        let mut sorted = first.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 8);
        let second: Vec<usize> = [2, 3].iter().flat_map(|s| batches.at(*s).to_vec()).collect();
        assert_ne!(first, second);
        assert_eq!(batches.at(0), &first[..4], "going back gives the same batch");
    }
}
