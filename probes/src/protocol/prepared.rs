//! What a connection has given a name to: statements that a client has prepared, topics by number.
//!
//! Invariant: their number is bounded; the one named the longest ago makes room.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use super::sql::Statement;
use super::{DatabaseCall, Detail};

/// The prepared statements of a connection.
pub(super) type Prepared<K> = Recent<K, Arc<Statement>>;

/// What was named of late.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    /// With what is behind each.
    by_name: HashMap<K, (V, usize)>,
    order: VecDeque<K>,
    max: usize,
    /// The sum of it, and what is behind the names, twice each.
    behind_bytes: usize,
}

/// What owns memory beyond its own size.
pub(super) trait Behind {
    /// How much, in bytes.
    fn behind_bytes(&self) -> usize {
        0
    }
}

impl Behind for u16 {}
impl Behind for u32 {}
impl Behind for [u8; 16] {}
impl Behind for (bool, u16) {}

impl Behind for Vec<u8> {
    fn behind_bytes(&self) -> usize {
        self.len()
    }
}

impl Behind for String {
    fn behind_bytes(&self) -> usize {
        self.len()
    }
}

impl Behind for Arc<Statement> {
    fn behind_bytes(&self) -> usize {
        let Statement { text, operation, collection, summary } = &**self;
        let others = [operation, collection, summary].into_iter().flatten();
        size_of::<Statement>() + text.capacity() + others.map(String::capacity).sum::<usize>()
    }
}

impl<K: Hash + Eq + Clone + Behind, V: Behind> Recent<K, V> {
    pub(super) fn new(max: usize) -> Self {
        let (by_name, order) = (HashMap::new(), VecDeque::new());
        Self { by_name, order, max: max.max(1), behind_bytes: 0 }
    }

    /// About what is held.
    pub(super) fn held_bytes(&self) -> usize {
        let slots = self.by_name.capacity() * size_of::<(K, V)>();
        slots + self.order.capacity() * size_of::<K>() + self.behind_bytes
    }

    /// It has this name from now on.
    pub(super) fn insert(&mut self, name: K, value: V) {
        self.make_room(&name);
        let behind = value.behind_bytes();
        self.behind_bytes += behind;
        if let Some((_, before)) = self.by_name.insert(name, (value, behind)) {
            self.behind_bytes -= before;
        }
    }

    /// What has this name; a new one where nothing has. What becomes of it is not weighed.
    pub(super) fn get_or_insert(&mut self, name: K, new: impl FnOnce() -> V) -> &mut V {
        self.make_room(&name);
        &mut self.by_name.entry(name).or_insert_with(|| (new(), 0)).0
    }

    fn make_room(&mut self, name: &K) {
        if self.by_name.contains_key(name) {
            return;
        }
        while self.by_name.len() >= self.max {
            let Some(oldest) = self.order.pop_front() else { break };
            self.forget(&oldest);
        }
        self.behind_bytes += 2 * name.behind_bytes();
        self.order.push_back(name.clone());
    }

    fn forget(&mut self, name: &K) -> Option<V> {
        let (value, behind) = self.by_name.remove(name)?;
        self.behind_bytes -= behind + 2 * name.behind_bytes();
        Some(value)
    }

    pub(super) fn get(&self, name: &K) -> Option<&V> {
        self.by_name.get(name).map(|(value, _)| value)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.by_name.values_mut().map(|(value, _)| value)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.by_name.values().map(|(value, _)| value)
    }

    pub(super) fn remove(&mut self, name: &K) {
        self.take(name);
    }

    /// Forgets what has this name, and returns it.
    pub(super) fn take(&mut self, name: &K) -> Option<V> {
        let taken = self.forget(name)?;
        self.order.retain(|one| one != name);
        Some(taken)
    }

    /// Forgets all but those of which the name fulfils this.
    pub(super) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        let (kept, gone) = std::mem::take(&mut self.order).into_iter().partition(keep);
        self.order = kept;
        let gone: VecDeque<K> = gone;
        gone.iter().for_each(|name| drop(self.forget(name)));
    }

    pub(super) fn clear(&mut self) {
        self.by_name.clear();
        self.order.clear();
        self.behind_bytes = 0;
    }
}

impl DatabaseCall {
    /// What its texts take.
    pub(super) fn behind_bytes(&self) -> usize {
        let Self { operation, collection, namespace, text, summary, status, .. } = self;
        let texts = [operation, collection, namespace, text, summary, status].into_iter().flatten();
        let details = self.details.capacity() * size_of::<(&str, Detail)>();
        details + texts.map(String::capacity).sum::<usize>()
    }

    /// What a statement says of itself.
    pub(super) fn of_statement(system: &'static str, statement: Option<&Statement>) -> Self {
        let Some(Statement { text, operation, collection, summary }) = statement.cloned() else {
            return Self { system, ..Self::default() };
        };
        Self { system, text: Some(text), operation, collection, summary, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn behind(recent: &Recent<Vec<u8>, String>) -> usize {
        let entries = recent.by_name.iter();
        entries.map(|(name, (value, _))| 2 * name.len() + value.len()).sum()
    }

    proptest! {
        /// Scenario: names are given, given anew, taken back and forgotten, more of them than are kept.
        /// Guarantees: what is said to be held is what is there, and their number stays bounded.
        #[test]
        fn what_is_held_is_what_is_there(steps in prop::collection::vec((0_u8..6, 0_usize..8, 0_usize..50), 0..60)) {
            let mut recent: Recent<Vec<u8>, String> = Recent::new(4);
            for (step, name, len) in steps {
                let name = vec![7; name];
                match step {
                    0..=2 => recent.insert(name, "x".repeat(len)),
                    3 => drop(recent.take(&name)),
                    4 => recent.retain(|one| one.len() != name.len()),
                    _ if len == 0 => recent.clear(),
                    _ => drop(recent.get_or_insert(name, String::new)),
                }
                prop_assert!(recent.by_name.len() <= 4);
                prop_assert_eq!(recent.order.len(), recent.by_name.len());
                prop_assert_eq!(recent.behind_bytes, behind(&recent));
            }
        }
    }
}
