//! How many of something are under way for each key.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts by key. A key's entry goes with its last holder: what isn't under way takes no memory.
#[derive(Clone)]
pub struct Counts<K: Hash + Eq>(Arc<Mutex<HashMap<K, usize>>>);

/// One that is under way, until it is dropped.
pub struct Counted<K: Hash + Eq> {
    counts: Counts<K>,
    key: K,
}

impl<K: Hash + Eq + Clone> Counts<K> {
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Counts one more of the key's; None where there are `limit`.
    pub fn begin(&self, key: &K, limit: usize) -> Option<Counted<K>> {
        let mut counts = self.lock();
        match counts.get_mut(key) {
            Some(count) if *count >= limit => return None,
            Some(count) => *count += 1,
            None => drop(counts.insert(key.clone(), 1)),
        }
        drop(counts);
        Some(Counted { counts: self.clone(), key: key.clone() })
    }

    /// How many of the key's are under way.
    pub fn count(&self, key: &K) -> usize {
        self.lock().get(key).copied().unwrap_or(0)
    }
}

impl<K: Hash + Eq> Counts<K> {
    /// std Mutex: held for one look-up, never across an await.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_as_many_as_its_limit_and_whoever_ends_makes_room() {
        let counts = Counts::new();
        let first = counts.begin(&"a", 2).unwrap();
        let _second = counts.begin(&"a", 2).unwrap();

        assert!(counts.begin(&"a", 2).is_none());
        assert!(counts.begin(&"b", 2).is_some());
        drop(first);
        assert!(counts.begin(&"a", 2).is_some());
    }

    #[test]
    fn a_lower_limit_counts_what_was_under_way_before() {
        let counts = Counts::new();
        let _under_way = [counts.begin(&"a", 2), counts.begin(&"a", 2)];

        assert!(counts.begin(&"a", 1).is_none());
    }

    #[test]
    fn what_is_over_takes_no_memory() {
        let counts = Counts::new();

        drop(counts.begin(&"a", 2));

        assert_eq!(counts.count(&"a"), 0);
        assert!(counts.lock().is_empty());
    }
}
