//! Which record counts at each number, where a bucket overwrites.
//!
//! Whoever comes to own such a bucket begins an epoch, and the names of its records have that
//! epoch in them. So no two contents are ever put under one name, and a put that is carried out
//! late, or twice, replaces nothing. What a new owner found of the epochs before its own it says
//! once, in a *fence*: from which number on of each sequence its records count. What lands later
//! under a name of an earlier epoch counts for nothing.
//!
//! Invariant: the fence of the newest epoch alone says which records count.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::bucket::Bucket;
use crate::catalog::record::{Sequence, number_of};
use crate::error::Error;

/// The folder of claims and fences.
pub(crate) const FOLDER: &str = "owners";

/// How often a fence may be gone, because a younger one came, before that is damage.
const ATTEMPTS: u32 = 8;

/// The time of one owner. Ordered: the greatest is the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch {
    /// One more than any that its owner had seen.
    pub(crate) number: u64,
    /// Nobody else's.
    pub(crate) id: Ulid,
}

impl Epoch {
    /// Where its owner says that it is alive.
    pub(crate) fn claim_path(self) -> String {
        format!("{FOLDER}/{self}.claim.json")
    }

    /// Where its owner says from where on its records count.
    fn fence_path(self) -> String {
        format!("{FOLDER}/{self}.fence.json")
    }

    /// The epoch whose claim is at a path.
    pub(crate) fn of_claim(path: &str) -> Option<Self> {
        Self::parse(path.rsplit('/').next()?.strip_suffix(".claim.json")?)
    }

    fn of_fence(path: &str) -> Option<Self> {
        Self::parse(path.rsplit('/').next()?.strip_suffix(".fence.json")?)
    }

    fn parse(name: &str) -> Option<Self> {
        let (number, id) = name.split_once('-')?;
        Some(Self { number: number.parse().ok()?, id: id.parse().ok()? })
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{}", self.number, self.id)
    }
}

/// From a number on, the records of an epoch.
type Start = (u64, Ulid);

/// See the module. Without an epoch records have plain names: so it is where nothing overwrites.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Epochs {
    newest: Option<Epoch>,
    /// Of sequences with records before the newest epoch, in order. Records before the first of
    /// these numbers have plain names.
    starts: BTreeMap<Sequence, Vec<Start>>,
}

/// What a fence says. Maps are lists: JSON keys must be texts.
#[derive(Debug, Serialize, Deserialize)]
struct Fence {
    starts: Vec<(Sequence, Vec<Start>)>,
}

impl Epochs {
    /// The epoch of the last owner that put a fence.
    pub(crate) const fn newest(&self) -> Option<Epoch> {
        self.newest
    }

    /// Where the record stands that counts under this number, or will.
    pub(crate) fn path(&self, sequence: Sequence, number: u64) -> String {
        let epoch = match self.starts.get(&sequence) {
            Some(starts) => starts.iter().rev().find(|(first, _)| *first <= number).map(|it| it.1),
            None => self.newest.map(|epoch| epoch.id),
        };
        epoch.map_or_else(|| sequence.path(number), |id| sequence.path_in(number, id))
    }

    /// The number of the record at a path of the sequence, if that is one that counts.
    pub(crate) fn number_at(&self, sequence: Sequence, path: &str) -> Option<u64> {
        number_of(path).filter(|number| self.path(sequence, *number) == path)
    }

    /// With the records of another epoch from these numbers on, and from 0 on in sequences that
    /// are not there yet. An epoch without a record is forgotten.
    pub(crate) fn followed_by(&self, epoch: Epoch, next: &BTreeMap<Sequence, u64>) -> Self {
        let starts = next.iter().filter(|(_, next)| **next > 0).map(|(sequence, next)| {
            let newest = || self.newest.map(|epoch| (0, epoch.id)).into_iter().collect();
            let mut starts = self.starts.get(sequence).cloned().unwrap_or_else(newest);
            starts.retain(|(first, _)| first < next);
            starts.push((*next, epoch.id));
            (*sequence, starts)
        });
        Self { newest: Some(epoch), starts: starts.collect() }
    }

    fn decode(epoch: Epoch, bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let Fence { starts } = serde_json::from_slice(bytes)?;
        Ok(Self { newest: Some(epoch), starts: starts.into_iter().collect() })
    }

    fn encode(&self) -> Bytes {
        let starts = self.starts.iter().map(|(sequence, starts)| (*sequence, starts.clone()));
        let fence = Fence { starts: starts.collect() };
        serde_json::to_vec(&fence).expect("a fence is plain text and figures").into()
    }

    /// Puts the fence of the newest of them.
    pub(crate) async fn put(&self, bucket: &Bucket) -> Result<(), Error> {
        let Some(epoch) = self.newest else { return Ok(()) };
        bucket.create(&epoch.fence_path(), self.encode()).await.map(drop)
    }

    /// What the newest fence in the bucket says.
    pub(crate) async fn read(bucket: &Bucket) -> Result<Self, Error> {
        for _ in 0..ATTEMPTS {
            let listed = bucket.list(FOLDER).await?;
            let fences = listed.iter().filter_map(|it| Epoch::of_fence(it.location.as_ref()));
            let Some(epoch) = fences.max() else { return Ok(Self::default()) };
            let path = epoch.fence_path();
            // One that is gone had a younger one in its place before.
            let Some(bytes) = bucket.read(&path).await? else { continue };
            return Self::decode(epoch, &bytes).map_err(|error| {
                let reason = format!("it is no fence: {error}");
                Error::Damaged { path, reason }
            });
        }
        let reason = "every fence that is listed is gone".to_owned();
        Err(Error::Damaged { path: FOLDER.to_owned(), reason })
    }
}

/// Deletes claims and fences of epochs before this one, whose fence is there.
pub(crate) async fn tidy(bucket: &Bucket, epoch: Epoch) -> Result<(), Error> {
    let listed = bucket.list(FOLDER).await?;
    let paths = listed.into_iter().map(|object| object.location.to_string());
    let of = |path: &String| Epoch::of_claim(path).or_else(|| Epoch::of_fence(path));
    let old: Vec<String> = paths.filter(|path| of(path).is_some_and(|it| it < epoch)).collect();
    bucket.delete(old).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WriterId;

    fn epoch(number: u64) -> Epoch {
        Epoch { number, id: Ulid::from(u128::from(number)) }
    }

    fn writer(number: u128) -> Sequence {
        Sequence::Writer(WriterId(Ulid::from(number)))
    }

    /// Scenario: a catalog with plain names gets an owner, which dies without a record; then
    /// another, which writes; then a third, which meets a writer that was not there before.
    /// Guarantees: each number has one name, that of whose time it is from; what came too late has
    /// none; a fence comes back from its text.
    #[test]
    fn each_number_is_of_one_epoch() {
        let (old, new) = (writer(1), writer(2));
        let first = Epochs::default().followed_by(epoch(0), &BTreeMap::from([(old, 3)]));
        let second = first.followed_by(epoch(1), &BTreeMap::from([(old, 3)]));
        let third = second.followed_by(epoch(2), &BTreeMap::from([(old, 5), (new, 2)]));
        let expected = [
            (old, 2, old.path(2)),
            (old, 3, old.path_in(3, epoch(1).id)),
            (old, 4, old.path_in(4, epoch(1).id)),
            (old, 5, old.path_in(5, epoch(2).id)),
            (new, 1, new.path_in(1, epoch(1).id)),
            (new, 2, new.path_in(2, epoch(2).id)),
            (Sequence::Compaction, 0, Sequence::Compaction.path_in(0, epoch(2).id)),
        ];
        let read = Epochs::decode(epoch(2), &third.encode()).unwrap();
        assert_eq!(read, third);
        for (sequence, number, path) in expected {
            assert_eq!(read.path(sequence, number), path);
            assert_eq!(read.number_at(sequence, &path), Some(number));
        }
        for late in [old.path(3), old.path_in(3, epoch(0).id), old.path_in(5, epoch(1).id)] {
            assert_eq!(read.number_at(old, &late), None, "{late}");
        }
        assert_eq!(Epoch::of_claim(&epoch(7).claim_path()), Some(epoch(7)));
        assert_eq!(Epoch::of_claim(&epoch(7).fence_path()), None);
    }
}
