//! Short texts that were looked through before, and had no secret in them: paths, queries and user agents come again and again.
//!
//! Invariants: as many as there are places, and no longer than the bound; a text is known byte for byte, and to the
//! redaction alone that has looked through it. Texts with secrets are not held.

use std::hash::BuildHasher as _;
use std::sync::{Mutex, PoisonError};

use hashbrown::DefaultHashBuilder;

/// 256 KiB at most, where all are as long as may be.
const PLACES: usize = 1_024;
const TEXT_BYTES_MAX: usize = 256;

/// Each in the place that its hash gives it, where another one may be instead.
#[derive(Default)]
pub(crate) struct Clean {
    /// None until there is a text.
    places: Mutex<Vec<Box<str>>>,
    hasher: DefaultHashBuilder,
}

impl Clean {
    /// It was looked through before.
    pub(super) fn knows(&self, text: &str) -> bool {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.get(self.place(text)).is_some_and(|known| **known == *text)
    }

    /// It was looked through now.
    pub(super) fn learn(&self, text: &str) {
        if text.len() > TEXT_BYTES_MAX {
            return;
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.is_empty() {
            places.resize_with(PLACES, Box::default);
        }
        if let Some(place) = places.get_mut(self.place(text)) {
            *place = Box::from(text);
        }
    }

    fn place(&self, text: &str) -> usize {
        usize::try_from(self.hasher.hash_one(text) % PLACES as u64).unwrap_or(0)
    }
}

/// Another one has looked through nothing yet.
impl Clone for Clean {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl std::fmt::Debug for Clean {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clean").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: one text, ten times as many as there are places, and a long one.
    /// Guarantees: what was learnt last is known, and nothing that was not learnt; a long text is not; a copy knows none.
    #[test]
    fn what_was_looked_through_is_known() {
        let clean = Clean::default();
        assert!(!clean.knows("a") && !clean.knows(""));
        clean.learn("a");
        assert!(clean.knows("a") && !clean.knows("b"));
        assert!(!clean.clone().knows("a"));
        for number in 0..10 * PLACES {
            let text = format!("/{number}");
            assert!(!clean.knows(&text));
            clean.learn(&text);
            assert!(clean.knows(&text));
        }
        assert_eq!(clean.places.lock().unwrap().len(), PLACES);
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        clean.learn(&long);
        assert!(!clean.knows(&long));
    }
}
