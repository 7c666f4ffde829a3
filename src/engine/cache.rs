//! What was made once and is likely to be asked for again.

use std::sync::{Arc, Mutex, MutexGuard};

/// The last few values that were asked for, by key.
pub struct Cache<K, V> {
    /// The most recently used first.
    entries: Mutex<Vec<(K, Arc<Slot<V>>)>>,
}

/// A value that is made, being made, or was abandoned.
type Slot<V> = Mutex<Option<V>>;

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self { entries: Mutex::new(Vec::new()) }
    }
}

impl<K: PartialEq, V: Clone> Cache<K, V> {
    /// The value of `key`, made or still at hand. Who comes while it is being made waits for it. No more than `keep`
    /// values stay, this one among them; those that are in use elsewhere live on there.
    pub fn get<E>(&self, key: K, keep: usize, make: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        let slot = {
            let mut entries = lock(&self.entries);
            let entry = match entries.iter().position(|(known, _)| *known == key) {
                Some(at) => entries.remove(at),
                None => (key, Arc::new(Slot::new(None))),
            };
            let slot = entry.1.clone();
            entries.insert(0, entry);
            entries.truncate(keep.max(1));
            slot
        };
        let mut value = lock(&slot);
        if let Some(made) = value.as_ref() {
            return Ok(made.clone());
        }
        let made = make()?;
        *value = Some(made.clone());
        Ok(made)
    }
}

/// What a thread left that panicked is a value or none.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_made_once_while_they_are_kept_and_errors_are_not_kept() {
        let cache = Cache::<u32, u32>::default();
        let mut made = Vec::new();
        let mut get = |key: u32| {
            cache.get(key, 2, || {
                made.push(key);
                Ok::<u32, ()>(10 * key)
            })
        };
        // The third key pushes out the second: the first was used since.
        assert_eq!([1, 2, 1, 3, 1, 2].map(|key| get(key).unwrap_or(0)), [10, 20, 10, 30, 10, 20]);
        assert_eq!(made, [1, 2, 3, 2]);
        assert_eq!(cache.get(4, 2, || Err::<u32, _>("no")), Err("no"));
        assert_eq!(cache.get(4, 2, || Ok::<u32, &str>(40)), Ok(40));
    }
}
