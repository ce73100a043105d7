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
        if self.by_name.insert(name.clone(), value).is_none() {
            self.order.push_back(name);
        }
        while self.by_name.len() > self.max {
            let Some(oldest) = self.order.pop_front() else { return };
            self.by_name.remove(&oldest);
        }
    }

    pub(super) fn get(&self, name: &K) -> Option<&V> {
        self.by_name.get(name)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.by_name.values()
    }

    pub(super) fn remove(&mut self, name: &K) {
        if self.by_name.remove(name).is_some() {
            self.order.retain(|one| one != name);
        }
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
