//! What was read lately and is kept for the next reader.
//!
//! Invariant: it takes no more memory than it may; what was not used for longest goes first.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// What is kept comes to.
#[derive(Debug, Clone, Default)]
pub(crate) struct LatelyMetrics {
    /// Memory of it.
    pub(crate) bytes: Gauge,
    /// Times that something was there.
    pub(crate) hits: Counter,
    /// Times that it had to be read.
    pub(crate) misses: Counter,
}

/// Things by their names, which always mean the same thing.
#[derive(Debug)]
pub(super) struct Lately<K, V> {
    bytes_max: usize,
    metrics: LatelyMetrics,
    kept: Mutex<Kept<K, V>>,
}

#[derive(Debug)]
struct Kept<K, V> {
    /// Each with its bytes and when it was used.
    things: HashMap<K, (V, usize, u64)>,
    bytes: usize,
    uses: u64,
    /// How many there had been at the last [`Lately::rest`].
    rested: u64,
}

impl<K: Eq + Hash + Copy, V: Clone> Lately<K, V> {
    /// Nothing yet, and never more than so many bytes.
    pub(super) fn new(bytes_max: usize, metrics: LatelyMetrics) -> Self {
        let kept = Kept { things: HashMap::new(), bytes: 0, uses: 0, rested: 0 };
        Self { bytes_max, metrics, kept: Mutex::new(kept) }
    }

    /// It, if it is here.
    pub(super) fn find(&self, key: K) -> Option<V> {
        let found = self.with(|kept| kept.find(key));
        if found.is_some() {
            self.metrics.hits.inc();
        }
        found
    }

    /// Keeps something of so many bytes that had to be read, unless it is larger than all may be.
    pub(super) fn keep(&self, key: K, thing: V, bytes: usize) {
        self.metrics.misses.inc();
        self.with(|kept| kept.keep(key, thing, bytes, self.bytes_max));
    }

    /// Lets go of what nobody is likely to ask for again.
    pub(super) fn forget(&self, gone: impl Fn(&K) -> bool) {
        self.with(|kept| {
            let keys: Vec<K> = kept.things.keys().copied().filter(|key| gone(key)).collect();
            keys.into_iter().for_each(|key| kept.remove(key));
        });
    }

    /// Lets go of what was not used since this was called last.
    pub(super) fn rest(&self) {
        self.with(|kept| {
            let before = std::mem::replace(&mut kept.rested, kept.uses);
            let unused = kept.things.iter().filter(|(_, (_, _, used))| *used <= before);
            let unused: Vec<K> = unused.map(|(key, _)| *key).collect();
            unused.into_iter().for_each(|key| kept.remove(key));
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Kept<K, V>) -> T) -> T {
        // A thing is put in whole or not at all, so that a panic elsewhere leaves nothing torn.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(&mut kept);
        self.metrics.bytes.set(i64::try_from(kept.bytes).unwrap_or(i64::MAX));
        done
    }
}

impl<K: Eq + Hash + Copy, V: Clone> Kept<K, V> {
    fn find(&mut self, key: K) -> Option<V> {
        self.uses += 1;
        let (thing, _, used) = self.things.get_mut(&key)?;
        *used = self.uses;
        Some(thing.clone())
    }

    fn keep(&mut self, key: K, thing: V, bytes: usize, bytes_max: usize) {
        if bytes > bytes_max || self.things.contains_key(&key) {
            return;
        }
        while self.bytes + bytes > bytes_max {
            let oldest = self.things.iter().min_by_key(|(_, (_, _, used))| *used);
            let Some(oldest) = oldest.map(|(key, _)| *key) else { break };
            self.remove(oldest);
        }
        self.uses += 1;
        self.bytes += bytes;
        self.things.insert(key, (thing, bytes, self.uses));
    }

    fn remove(&mut self, key: K) {
        if let Some((_, gone, _)) = self.things.remove(&key) {
            self.bytes -= gone;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lately, LatelyMetrics};

    /// Scenario: more is kept than may be, and something that is too large alone.
    /// Guarantees: what was used last stays, and the bytes are never more than they may.
    #[test]
    fn what_was_not_used_for_longest_goes() {
        let metrics = LatelyMetrics::default();
        let lately = Lately::new(10, metrics.clone());
        lately.keep(1, "one", 4);
        lately.keep(2, "two", 4);
        assert_eq!(lately.find(1), Some("one"));
        lately.keep(3, "three", 4);
        lately.keep(4, "four", 11);
        assert_eq!(
            [1, 2, 3, 4].map(|key| lately.find(key)),
            [Some("one"), None, Some("three"), None]
        );
        assert_eq!((metrics.bytes.get(), metrics.hits.get(), metrics.misses.get()), (8, 3, 4));
        lately.forget(|key| *key == 1);
        assert_eq!((lately.find(1), metrics.bytes.get()), (None, 4));
    }

    /// Scenario: some things are used between two rests, and others are not.
    /// Guarantees: what was used or kept since the last rest stays, and all else goes.
    #[test]
    fn what_is_not_used_goes() {
        let metrics = LatelyMetrics::default();
        let lately = Lately::new(10, metrics.clone());
        lately.keep(1, "one", 4);
        lately.keep(2, "two", 2);
        lately.rest();
        assert_eq!(metrics.bytes.get(), 6);
        assert_eq!(lately.find(1), Some("one"));
        lately.keep(3, "three", 3);
        lately.rest();
        assert_eq!((lately.find(2), metrics.bytes.get()), (None, 7));
        lately.rest();
        lately.rest();
        assert_eq!((lately.find(1), lately.find(3), metrics.bytes.get()), (None, None, 0));
    }
}
