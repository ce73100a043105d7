//! Who merges the files of one table and hour.
//!
//! A lease is an object that is put create-only under the next number of its partition, and says
//! who holds it and until when; it is renewed by the next number. So two that want the same one
//! cannot both get it, and nothing is ever overwritten.
//!
//! A lease only saves work. Where two compactors merge the same files all the same, because a
//! clock is wrong or a holder was asleep, the record that comes second is void. Clocks that agree
//! within [`SLACK`] do not even do that.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectMeta;
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};
use ulid::Ulid;

use crate::bucket::{Bucket, Created};
use crate::error::Error;
use crate::model::{Table, UnixNanos};
use crate::ports::Clock;

/// The folder of all leases.
const FOLDER: &str = "leases/compaction";

/// How long a lease holds after it was put or renewed.
const HOLDS_FOR: Duration = Duration::from_secs(60);

/// How often it is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(20);

/// A lease counts as over this much after its end: clocks may differ so much.
pub(super) const SLACK: Duration = Duration::from_secs(15);

/// A lease that is over for so long is litter of a compactor that died.
const LITTER_AFTER: Duration = Duration::from_secs(3600);

/// What one compactor works on alone.
pub(super) type Partition = (Table, UnixNanos);

/// What a lease says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    /// The process that holds it.
    owner: Ulid,
    /// Until when, by its clock.
    until: UnixNanos,
}

/// The leases that somebody put, by one listing.
#[derive(Debug)]
pub(super) struct Leases {
    bucket: Bucket,
    clock: Arc<dyn Clock>,
    owner: Ulid,
    listed: Vec<ObjectMeta>,
    renew_every: Duration,
}

/// A lease that this process holds.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    leases: &'a Leases,
    partition: Partition,
    epoch: u64,
    /// Another process took it over.
    lost: bool,
}

impl Leases {
    /// Looks which leases there are.
    pub(super) async fn list(
        bucket: &Bucket,
        clock: Arc<dyn Clock>,
        owner: Ulid,
    ) -> Result<Self, Error> {
        let listed = bucket.list(FOLDER).await?;
        Ok(Self { bucket: bucket.clone(), clock, owner, listed, renew_every: RENEW_EVERY })
    }

    /// Takes the lease of a partition; none where another process holds it.
    pub(super) async fn take(&self, partition: Partition) -> Result<Option<Lease<'_>>, Error> {
        let epochs = self.epochs(partition);
        let mut epoch = 0;
        if let Some(newest) = epochs.last() {
            if self.held(&path(partition, *newest)).await? {
                return Ok(None);
            }
            epoch = newest + 1;
        }
        let lease = Lease { leases: self, partition, epoch, lost: false };
        if !lease.put().await? {
            return Ok(None);
        }
        let old = epochs.into_iter().map(|epoch| path(partition, epoch)).collect();
        self.bucket.delete(old).await?;
        Ok(Some(lease))
    }

    /// Deletes what compactors that died left of partitions that nobody merges any more.
    pub(super) async fn tidy(&self) -> Result<(), Error> {
        let litter = self.clock.now().0.saturating_sub(nanos(HOLDS_FOR + LITTER_AFTER));
        let old = self.listed.iter().filter(|object| {
            object.last_modified.timestamp_nanos_opt().is_some_and(|modified| modified < litter)
        });
        let old: Vec<String> = old.map(|object| object.location.to_string()).collect();
        if !old.is_empty() {
            self.bucket.delete(old).await?;
        }
        Ok(())
    }

    /// The numbers under which the partition's leases stand, in order.
    fn epochs(&self, partition: Partition) -> Vec<u64> {
        let folder = folder(partition);
        let names = self.listed.iter().filter_map(|object| {
            let name = object.location.as_ref().strip_prefix(&folder)?.strip_prefix('/')?;
            name.strip_suffix(".json")?.parse().ok()
        });
        let mut epochs: Vec<u64> = names.collect();
        epochs.sort_unstable();
        epochs
    }

    /// Whether another process holds the lease. One that cannot be read holds nothing: the worst
    /// that comes of it is a void record.
    async fn held(&self, path: &str) -> Result<bool, Error> {
        let Some(bytes) = self.bucket.read(path).await? else { return Ok(false) };
        let Ok(written) = serde_json::from_slice::<Written>(&bytes) else {
            warn!(path, "a lease cannot be read, taking it over");
            return Ok(false);
        };
        let over = written.until.0.saturating_add(nanos(SLACK));
        Ok(written.owner != self.owner && self.clock.now().0 < over)
    }
}

impl Lease<'_> {
    /// Does the work and renews meanwhile. Where the lease is lost the work goes on: it may still
    /// come first.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                // In this order, not in one by chance: a simulation goes the same way twice.
                biased;
                done = &mut work => return done,
                () = self.leases.clock.sleep(self.leases.renew_every), if !self.lost => {
                    self.renew().await;
                }
            }
        }
    }

    async fn renew(&mut self) {
        let before = self.path();
        self.epoch += 1;
        let renewed = match self.put().await {
            Ok(true) => self.leases.bucket.delete(vec![before]).await.map(drop),
            Ok(false) => {
                warn!(lease = before, "another compactor took the lease");
                self.lost = true;
                Ok(())
            }
            Err(failed) => {
                // Whether it was put is not known: the next attempt finds its own.
                self.epoch -= 1;
                Err(failed)
            }
        };
        if let Err(failed) = renewed {
            debug!(lease = self.path(), %failed, "could not renew a lease");
        }
    }

    /// Gives the lease up. Where that fails it ends by itself.
    pub(super) async fn release(self) {
        if self.lost {
            return;
        }
        if let Err(failed) = self.leases.bucket.delete(vec![self.path()]).await {
            debug!(lease = self.path(), %failed, "could not release a lease");
        }
    }

    /// Puts the lease; `false` where another process's stands there.
    async fn put(&self) -> Result<bool, Error> {
        let Leases { bucket, clock, owner, .. } = self.leases;
        let until = UnixNanos(clock.now().0.saturating_add(nanos(HOLDS_FOR)));
        let written = Written { owner: *owner, until };
        let bytes = serde_json::to_vec(&written).expect("a lease is plain figures");
        let path = self.path();
        if bucket.create(&path, bytes.into()).await? == Created::New {
            return Ok(true);
        }
        // An answer that was lost makes a lease of our own look like another's.
        let found = bucket.read(&path).await?;
        let found = found.and_then(|bytes| serde_json::from_slice::<Written>(&bytes).ok());
        Ok(found.is_some_and(|found| found.owner == *owner))
    }

    fn path(&self) -> String {
        path(self.partition, self.epoch)
    }
}

fn folder((table, hour): Partition) -> String {
    format!("{FOLDER}/{table}/{}", hour.0 / UnixNanos::HOUR)
}

fn path(partition: Partition, epoch: u64) -> String {
    format!("{}/{epoch:020}.json", folder(partition))
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
