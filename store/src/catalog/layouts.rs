//! Layouts that files have in common, each kept once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::catalog::FileLayout;

/// Layouts that are known before it is first worth looking for those that no file has any more.
const SWEEP_MIN: usize = 1024;

/// The layouts of the files of one table. Costs about as much as a layout has text, once for
/// every different one.
#[derive(Debug, Clone, Default)]
pub(super) struct Layouts {
    known: HashSet<Arc<FileLayout>>,
    /// Where they are: one that was shared before is told without reading it.
    places: HashSet<usize>,
    /// How many were left by the last sweep.
    swept: usize,
}

impl Layouts {
    /// Puts the one that is known in the place of its equal; `true` where it is the first of its
    /// kind.
    pub(super) fn share(&mut self, layout: &mut Arc<FileLayout>) -> bool {
        if self.places.contains(&address(layout)) {
            return false;
        }
        if let Some(known) = self.known.get(layout) {
            *layout = Arc::clone(known);
            return false;
        }
        if self.known.len() >= 2 * self.swept.max(SWEEP_MIN) {
            self.known.retain(|layout| Arc::strong_count(layout) > 1);
            self.places = self.known.iter().map(address).collect();
            self.swept = self.known.len();
        }
        self.places.insert(address(layout));
        self.known.insert(Arc::clone(layout));
        true
    }
}

/// Gives layouts numbers, from 0 on, in the order in which they are first met.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// By address: equal layouts of one state are the same one. It stays while it is listed.
    known: HashMap<usize, u32>,
    listed: Vec<Arc<FileLayout>>,
}

impl Numbers {
    /// The number of a layout.
    pub(crate) fn of(&mut self, layout: &Arc<FileLayout>) -> u32 {
        *self.known.entry(address(layout)).or_insert_with(|| {
            self.listed.push(Arc::clone(layout));
            u32::try_from(self.listed.len() - 1).expect("memory holds fewer layouts than that")
        })
    }

    /// The layouts, in the order of their numbers.
    pub(crate) fn finish(self) -> Vec<Arc<FileLayout>> {
        self.listed
    }
}

/// Stays with the layout while somebody has it.
pub(crate) fn address(layout: &Arc<FileLayout>) -> usize {
    Arc::as_ptr(layout).addr()
}
