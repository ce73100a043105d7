//! What a connection has given a name to: statements that a client has prepared, topics by number.
//!
//! Invariant: their number is bounded; the one named the longest ago makes room.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use super::DatabaseCall;
use super::sql::Statement;

/// The prepared statements of a connection.
pub(super) type Prepared<K> = Recent<K, Arc<Statement>>;

/// What was named of late.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    by_name: HashMap<K, V>,
    order: VecDeque<K>,
    max: usize,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    pub(super) fn new(max: usize) -> Self {
        Self { by_name: HashMap::new(), order: VecDeque::new(), max: max.max(1) }
    }

    /// It has this name from now on.
    pub(super) fn insert(&mut self, name: K, value: V) {
        self.make_room(&name);
        self.by_name.insert(name, value);
    }

    /// What has this name; a new one where nothing has.
    pub(super) fn get_or_insert(&mut self, name: K, new: impl FnOnce() -> V) -> &mut V {
        self.make_room(&name);
        self.by_name.entry(name).or_insert_with(new)
    }

    fn make_room(&mut self, name: &K) {
        if self.by_name.contains_key(name) {
            return;
        }
        while self.by_name.len() >= self.max {
            let Some(oldest) = self.order.pop_front() else { break };
            self.by_name.remove(&oldest);
        }
        self.order.push_back(name.clone());
    }

    pub(super) fn get(&self, name: &K) -> Option<&V> {
        self.by_name.get(name)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.by_name.values_mut()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.by_name.values()
    }

    pub(super) fn remove(&mut self, name: &K) {
        self.take(name);
    }

    /// Forgets what has this name, and returns it.
    pub(super) fn take(&mut self, name: &K) -> Option<V> {
        let taken = self.by_name.remove(name)?;
        self.order.retain(|one| one != name);
        Some(taken)
    }

    /// Forgets all but those of which the name fulfils this.
    pub(super) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.by_name.retain(|name, _| keep(name));
        self.order.retain(keep);
    }

    pub(super) fn clear(&mut self) {
        self.by_name.clear();
        self.order.clear();
    }
}

impl DatabaseCall {
    /// What a statement says of itself.
    pub(super) fn of_statement(system: &'static str, statement: Option<&Statement>) -> Self {
        let Some(Statement { text, operation, collection, summary }) = statement.cloned() else {
            return Self { system, ..Self::default() };
        };
        Self { system, text: Some(text), operation, collection, summary, ..Self::default() }
    }
}
