//! How the cache lets go of what is of files that left the catalog.
//!
//! Invariant: once [`Pages::settle`] has returned nothing is kept of a file that had left before it was called, and
//! nothing is put in for it any more. Files that could not be removed apart: these are tried again and counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::warn;

use super::shelf::Name;
use super::{Pages, Turn, lock_of};
use crate::catalog::record::Removal;
use crate::metrics::Dropped;
use crate::work::blocking;

/// How often it is looked whether everything that is kept is of a file that counts. The record that removes
/// a file says so at once; this is for records that never said it, and for files that could not be removed.
pub(super) const LOOK_AFTER: Duration = Duration::from_secs(150);

/// What is not to be kept any more, until it is gone.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    names: Vec<Name>,
    /// Others, too: it is not known which.
    others: bool,
    /// How often something was put here that may not be gone yet.
    unsettled: usize,
}

impl Pages {
    /// These files left the catalog; [`Self::settle`] lets go of what is kept of them. Costs no wait.
    pub(crate) fn leave<'a>(&self, removed: impl Iterator<Item = &'a Removal>) {
        let names = removed.map(|file| Name::new(file.table, file.hour, file.id));
        let mut leaving = lock_of(&self.leaving);
        let before = leaving.names.len();
        leaving.names.extend(names);
        leaving.unsettled += usize::from(leaving.names.len() > before);
    }

    /// Files left the catalog, and nobody says which.
    pub(crate) fn leave_unnamed(&self) {
        let mut leaving = lock_of(&self.leaving);
        leaving.others = true;
        leaving.unsettled += 1;
    }

    /// Waits until nothing is kept of files that left, by this caller's word or another's.
    pub(crate) async fn settle(self: &Arc<Self>) {
        if lock_of(&self.leaving).unsettled == 0 {
            return;
        }
        let pages = Arc::clone(self);
        if let Err(error) = blocking(move || pages.settle_now()).await {
            warn!(%error, "the page cache could not let go of removed files; it will try again");
        }
    }

    /// Whoever writes may have asked the catalog before; who has the turn later sees what it says now.
    fn settle_now(&self) {
        let turn = lock_of(&self.turn);
        let (names, others, unsettled) = {
            let mut leaving = lock_of(&self.leaving);
            let Leaving { names, others, unsettled } = &mut *leaving;
            (std::mem::take(names), std::mem::take(others), *unsettled)
        };
        let known = {
            let shelf = self.shelf();
            names.into_iter().filter(|name| shelf.knows(name)).collect::<Vec<_>>()
        };
        known.iter().for_each(|name| self.drop_file(&turn, name, Dropped::Removed));
        if others {
            self.drop_uncounted(&turn);
        }
        self.tell();
        lock_of(&self.leaving).unsettled -= unsettled;
    }

    /// Looks whether everything that is kept is of a file that counts, if that is due; `now` is a time of
    /// [`crate::Clock::elapsed`].
    pub(crate) async fn look_after(self: &Arc<Self>, now: Duration) {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let before = self.looked_ms.load(Ordering::Relaxed);
        let due = u128::from(now.saturating_sub(before)) >= LOOK_AFTER.as_millis();
        let (same, relaxed) = (Ordering::Relaxed, Ordering::Relaxed);
        if due && self.looked_ms.compare_exchange(before, now, same, relaxed).is_ok() {
            let pages = Arc::clone(self);
            if let Err(error) = blocking(move || pages.drop_uncounted(&lock_of(&pages.turn))).await
            {
                warn!(%error, "the page cache was not looked after");
            }
        }
    }

    pub(super) fn drop_uncounted(&self, turn: &Turn<'_>) {
        let names = self.shelf().names();
        let snapshot = Arc::clone(&self.snapshot.borrow());
        let gone = names.iter().filter(|name| name.file_bytes(&snapshot).is_none());
        gone.for_each(|name| self.drop_file(turn, name, Dropped::Removed));
        self.tell();
    }
}
