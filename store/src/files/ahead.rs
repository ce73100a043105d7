//! Row groups that are asked for before there is room for them: over a bucket that is far away the
//! request travels while what came before is decoded, and its answer waits in the network.
//!
//! Invariants: no answer is read before its row groups have room; what was asked for and is not wanted
//! any more is given up.

use std::collections::VecDeque;

use tokio_util::task::AbortOnDropHandle;

use super::chunks::Fetched;
use super::read::Wanted;
use super::room::{Held, Room};
use crate::bucket::Turn;
use crate::error::Error;
use crate::work::background;

/// The row groups of a file that are still to come.
#[derive(Debug)]
pub(super) struct Coming {
    /// Nobody has asked for these.
    pub(super) left: VecDeque<Wanted>,
    asked: VecDeque<Asked>,
}

/// Row groups that are fetched together.
#[derive(Debug)]
pub(super) struct Together {
    pub(super) groups: Vec<Wanted>,
    /// What is fetched of them, at most.
    pub(super) bytes: u64,
}

/// Some that were asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) together: Together,
    turn: Turn,
    fetching: AbortOnDropHandle<Result<Fetched, Error>>,
    _counted: Held,
}

impl Coming {
    pub(super) const fn new(left: VecDeque<Wanted>) -> Self {
        Self { left, asked: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty() && self.asked.is_empty()
    }

    /// Asks for what comes next, as much as `ahead` has room for. `next` takes some of what is left;
    /// `fetch` asks for them, and reads the answers once it is their turn.
    pub(super) fn ask<F>(
        &mut self,
        ahead: &Room,
        next: impl Fn(&mut VecDeque<Wanted>) -> Together,
        fetch: impl Fn(&[Wanted], Turn) -> F,
    ) where
        F: Future<Output = Result<Fetched, Error>> + Send + 'static,
    {
        while !self.left.is_empty() {
            let together = next(&mut self.left);
            let turn = Turn::default();
            let begun = ahead.try_take(together.bytes).and_then(|counted| {
                let fetching = background(fetch(&together.groups, turn.clone()))?;
                Some((AbortOnDropHandle::new(fetching), counted))
            });
            let Some((fetching, _counted)) = begun else {
                return self.put_back(together.groups);
            };
            self.asked.push_back(Asked { together, turn, fetching, _counted });
        }
    }

    /// They come first, and nobody has asked for them.
    pub(super) fn put_back(&mut self, groups: Vec<Wanted>) {
        groups.into_iter().rev().for_each(|group| self.left.push_front(group));
    }

    /// Those that were asked for first.
    pub(super) fn take_asked(&mut self) -> Option<Asked> {
        self.asked.pop_front()
    }
}

impl Asked {
    /// There is room for them: reads the answers.
    pub(super) async fn read(self) -> Result<(Vec<Wanted>, Fetched), Error> {
        self.turn.comes();
        let fetched = self.fetching.await;
        let fetched = fetched.map_err(|source| Error::Interrupted { work: "fetching", source })?;
        Ok((self.together.groups, fetched?))
    }
}
