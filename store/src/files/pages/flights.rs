//! Blocks that one reader fetches, for others who want them meanwhile.
//!
//! Invariant: whoever has blocks to fetch waits for no other reader until they have landed or failed, so that no two
//! wait for each other; nobody waits for a flight whose turn has not come. A flight that fails, or whose
//! reader is gone, is over at once for all who wait.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::blocks::{Part, within};
use super::lock_of;
use super::shelf::Name;
use crate::bucket::Turn;

/// What a flight brought, once it has.
type Landed = watch::Receiver<Option<Arc<[Part]>>>;

/// By which flight a block comes.
#[derive(Debug)]
struct Coming {
    landed: Landed,
    /// When it is read, where that is not at once.
    turn: Option<Turn>,
}

impl Coming {
    fn is_read(&self) -> bool {
        self.turn.as_ref().is_none_or(Turn::has_come)
    }
}

/// The blocks that somebody fetches.
type Blocks = Arc<Mutex<HashMap<(Name, u64), Coming>>>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Flights(Blocks);

/// Blocks that are the caller's to fetch. Nobody else does before it has landed or is dropped.
#[derive(Debug)]
pub(crate) struct Flight {
    blocks: Blocks,
    name: Name,
    /// What is to be fetched.
    pub(crate) runs: Vec<Range<u64>>,
    landed: watch::Sender<Option<Arc<[Part]>>>,
}

/// Blocks that somebody else fetches.
#[derive(Debug)]
pub(crate) struct Awaited {
    run: Range<u64>,
    landed: Landed,
}

/// Blocks that came.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    pub(crate) parts: Vec<Part>,
    /// There were others that did not come in time.
    pub(crate) late: bool,
}

impl Flights {
    /// Divides these runs: what is the caller's to fetch, and what others fetch already. What others have asked for and
    /// may not read yet is the caller's: whoever comes later waits for that one.
    pub(super) fn begin(&self, name: Name, runs: &[Range<u64>]) -> (Flight, Vec<Awaited>) {
        let (sender, ours) = watch::channel(None);
        let mut all: Vec<Awaited> = Vec::new();
        let mut blocks = lock_of(&self.0);
        for block in runs.iter().cloned().flatten() {
            let coming = || Coming { landed: ours.clone(), turn: None };
            let landed = match blocks.entry((name, block)) {
                Entry::Occupied(other) if other.get().is_read() => other.get().landed.clone(),
                Entry::Occupied(mut other) => {
                    other.insert(coming());
                    ours.clone()
                }
                Entry::Vacant(free) => free.insert(coming()).landed.clone(),
            };
            match all.last_mut() {
                Some(last) if last.run.end == block && last.landed.same_channel(&landed) => {
                    last.run.end = block + 1;
                }
                _ => all.push(Awaited { run: block..block + 1, landed }),
            }
        }
        drop(blocks);
        let is_ours = |one: &Awaited| one.landed.same_channel(&ours);
        let (here, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_ours);
        let runs = here.into_iter().map(|one| one.run).collect();
        (Flight { blocks: Arc::clone(&self.0), name, runs, landed: sender }, others)
    }

    /// All of these runs, which are asked for now and read in their turn; `None` where others have asked for all of
    /// them. Row groups that lie side by side have a block in common.
    pub(super) fn begin_ahead(
        &self,
        name: Name,
        runs: &[Range<u64>],
        turn: &Turn,
    ) -> Option<Flight> {
        let (sender, ours) = watch::channel(None);
        let mut blocks = lock_of(&self.0);
        let before = blocks.len();
        for block in runs.iter().cloned().flatten() {
            let coming = || Coming { landed: ours.clone(), turn: Some(turn.clone()) };
            blocks.entry((name, block)).or_insert_with(coming);
        }
        let some = blocks.len() > before;
        drop(blocks);
        let blocks = Arc::clone(&self.0);
        some.then(|| Flight { blocks, name, runs: runs.to_vec(), landed: sender })
    }

    /// All of these runs, whoever else fetches them.
    pub(super) fn begin_alone(&self, name: Name, runs: &[Range<u64>]) -> Flight {
        let (landed, _) = watch::channel(None);
        Flight { blocks: Arc::clone(&self.0), name, runs: runs.to_vec(), landed }
    }

    /// The blocks that somebody fetches.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock_of(&self.0).len()
    }
}

impl Flight {
    /// Gives what was fetched to all who wait for it.
    pub(crate) fn land(self, parts: &[Part]) {
        self.landed.send_replace(Some(parts.into()));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let ours = self.landed.subscribe();
        let mut blocks = lock_of(&self.blocks);
        for block in self.runs.iter().cloned().flatten() {
            let key = (self.name, block);
            if blocks.get(&key).is_some_and(|coming| coming.landed.same_channel(&ours)) {
                blocks.remove(&key);
            }
        }
    }
}

impl Awaited {
    /// Waits for what the other brings; nothing where that failed.
    pub(super) async fn landed(mut self) -> Vec<Part> {
        let Ok(landed) = self.landed.wait_for(Option::is_some).await else { return Vec::new() };
        let parts = landed.iter().flat_map(|parts| parts.iter());
        parts.filter_map(|part| within(part, &self.run)).collect()
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one range is meant")]
mod tests {
    use bytes::Bytes;
    use futures::FutureExt;

    use super::super::blocks::BLOCK_BYTES;
    use super::*;
    use crate::model::{FileId, Table, UnixNanos};

    fn name(number: u128) -> Name {
        Name::new(Table::Spans, UnixNanos(0), FileId(ulid::Ulid(number)))
    }

    fn part(run: Range<u64>) -> Part {
        let length = usize::try_from(BLOCK_BYTES).unwrap();
        let bytes = |block| vec![u8::try_from(block).unwrap(); length];
        let all: Vec<u8> = run.clone().flat_map(bytes).collect();
        (run, Bytes::from(all))
    }

    /// Scenario: three readers want blocks of a file, some of them the same; a fourth those of another file. The
    /// first lands, the second is given up, and somebody fetches all alone meanwhile.
    /// Guarantees: each block has one who fetches it; who waits has what landed, or learns that nothing will; in the
    /// end nobody fetches anything.
    #[test]
    fn a_block_is_fetched_by_one() {
        let flights = Flights::default();
        let (first, none) = flights.begin(name(1), &[2..5]);
        assert_eq!((&first.runs[..], none.len()), (&[2..5][..], 0));
        let (second, of_first) = flights.begin(name(1), &[0..3, 4..7]);
        assert_eq!(second.runs, [0..2, 5..7]);
        assert_eq!(of_first.iter().map(|one| one.run.clone()).collect::<Vec<_>>(), [2..3, 4..5]);
        let (third, of_both) = flights.begin(name(1), &[0..7]);
        assert_eq!((third.runs.len(), of_both.len()), (0, 3));
        let (other, none) = flights.begin(name(2), &[2..3]);
        assert_eq!((other.runs.len(), none.len()), (1, 0));
        let alone = flights.begin_alone(name(1), &[0..7]);
        drop(alone);
        assert_eq!(flights.len(), 8);

        first.land(&[part(2..5)]);
        let landed: Vec<Part> =
            of_first.into_iter().flat_map(|one| one.landed().now_or_never().unwrap()).collect();
        assert_eq!(landed, [part(2..3), part(4..5)]);
        let mut waiting = of_both.into_iter().map(|one| Box::pin(one.landed())).collect::<Vec<_>>();
        assert_eq!(waiting[1].as_mut().now_or_never(), Some(vec![part(2..5)]));
        assert_eq!(waiting[0].as_mut().now_or_never(), None);
        drop(second);
        assert_eq!(waiting[0].as_mut().now_or_never(), Some(Vec::new()));
        assert_eq!(waiting[2].as_mut().now_or_never(), Some(Vec::new()));
        drop((third, other));
        assert_eq!(flights.len(), 0);
    }

    /// Scenario: somebody asks ahead for blocks, and another for all of them, some of them, and others beside them; one
    /// wants them at once before the turn comes, and one after it.
    /// Guarantees: what was asked for is not asked for ahead once more; nobody waits for a turn that has not come, and
    /// who comes later waits for the one who did not; once it has come it is waited for.
    #[test]
    fn who_waits_for_room_has_nobody_wait() {
        let (flights, turn) = (Flights::default(), Turn::default());
        let ahead = flights.begin_ahead(name(1), &[2..5], &turn).unwrap();
        assert!(flights.begin_ahead(name(1), &[2..3, 4..5], &turn).is_none());
        let beside = flights.begin_ahead(name(1), &[4..7], &turn).unwrap();
        assert_eq!((&beside.runs[..], flights.len()), (&[4..7][..], 5));
        let (at_once, none) = flights.begin(name(1), &[2..4]);
        assert_eq!((&at_once.runs[..], none.len()), (&[2..4][..], 0));
        let (later, others) = flights.begin(name(1), &[3..4]);
        assert_eq!((later.runs.len(), others.len()), (0, 1));
        at_once.land(&[part(2..4)]);
        let landed = others.into_iter().next().unwrap().landed().now_or_never();
        assert_eq!(landed, Some(vec![part(3..4)]));
        turn.comes();
        let (last, others) = flights.begin(name(1), &[4..6]);
        assert_eq!((last.runs.len(), others.len()), (0, 2));
        beside.land(&[part(4..7)]);
        ahead.land(&[part(2..5)]);
        for (other, run) in others.into_iter().zip([4..5, 5..6]) {
            assert_eq!(other.landed().now_or_never(), Some(vec![part(run)]));
        }
        drop(later);
        drop(last);
        assert_eq!(flights.len(), 0);
    }
}
