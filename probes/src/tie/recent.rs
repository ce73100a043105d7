//! A map that holds so many entries and no more: the oldest makes room.
//!
//! Invariant: never more entries than the bound, and of keys that were taken out no more than that are
//! remembered.

use std::collections::VecDeque;
use std::hash::Hash;

use hashbrown::HashMap;

/// Entries by key, in the order in which they came.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    order: VecDeque<(u64, K)>,
    count: u64,
    max: usize,
}

/// Keys that were taken out are looked for when there are more than these.
const STALE_MIN: usize = 64;

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(max: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), count: 0, max: max.max(1) }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// Adds an entry whose key is new; returns what had to make room for it.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        let oldest = if self.entries.len() >= self.max { self.pop() } else { None };
        self.count += 1;
        self.entries.insert(key, (self.count, value));
        self.order.push_back((self.count, key));
        if self.order.len() > STALE_MIN + 2 * self.entries.len() {
            let entries = &self.entries;
            self.order.retain(|(count, key)| entries.get(key).is_some_and(|(it, _)| it == count));
        }
        oldest
    }

    fn pop(&mut self) -> Option<(K, V)> {
        while let Some((count, key)) = self.order.pop_front() {
            if self.entries.get(&key).is_some_and(|(it, _)| *it == count) {
                return self.remove(&key).map(|value| (key, value));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: more entries than the bound, some of them taken out, and a thousand that come and go.
    /// Guarantees: the oldest that is there makes room; what came and went is forgotten.
    #[test]
    fn the_oldest_makes_room() {
        let mut recent = Recent::new(3);
        for key in 0..3 {
            assert!(recent.insert(key, key * 10).is_none());
        }
        assert_eq!(recent.remove(&0), Some(0));
        assert!(recent.insert(3, 30).is_none());
        assert_eq!(recent.insert(4, 40), Some((1, 10)));
        assert_eq!((recent.len(), recent.get(&2), recent.get(&1)), (3, Some(&20), None));
        recent.remove(&3);
        for key in 100..1_100 {
            recent.insert(key, key);
            recent.remove(&key);
        }
        assert_eq!(recent.get(&2), Some(&20));
        assert!(recent.order.len() <= STALE_MIN + 2 * recent.max + 1);
    }
}
