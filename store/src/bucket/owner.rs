//! Who may write to a bucket that ignores create-only puts.
//!
//! Whoever wants to own it puts a claim of its own, under a name that nobody else uses, and owns
//! the bucket as long as no claim of a newer epoch is there. A second process is refused while the
//! first says again and again that it is alive. That is a courtesy and proves nothing: an owner may
//! be slow, or its puts may be carried out late. What is safe is safe without clocks: an owner puts
//! a record, and looks whether its claim is still the newest before it counts the record as
//! appended; its successor puts a claim, and looks which records are there before it begins. So one
//! of the two sees the other.
//!
//! Invariant: a record that [`confirm`] was asked about after it was put, and that it stood up
//! for, is seen by every later owner. It needs a bucket that shows what was put to whoever reads
//! or lists after that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tracing::warn;
use ulid::Ulid;

use crate::bucket::Bucket;
use crate::catalog::epochs::{Epoch, FOLDER};
use crate::error::Error;
use crate::model::UnixNanos;
use crate::ports::Clock;
use crate::work;

/// What a claim says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    /// Who: the same after a restart over the same log folder, which one process at a time holds.
    owner: String,
    /// This very process.
    process: Ulid,
    /// When it was last alive, by its own clock.
    alive_at: UnixNanos,
}

/// The right to write, kept up in the background until dropped.
#[derive(Debug)]
pub(crate) struct Ownership {
    lease: Arc<Lease>,
    /// None where there is no background: then [`Self::keep`] beats.
    beating: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Lease {
    bucket: Bucket,
    clock: Arc<dyn Clock>,
    epoch: Epoch,
    claim: Claim,
    timeout: Duration,
    /// When the last good beat began, in milliseconds of [`Clock::elapsed`].
    beat_ms: AtomicU64,
    lost: AtomicBool,
}

impl Drop for Ownership {
    fn drop(&mut self) {
        self.beating.iter().for_each(JoinHandle::abort);
    }
}

impl Ownership {
    /// Claims the bucket for `owner` and a new epoch, which gets this id; or says who has it.
    pub(crate) async fn claim(
        bucket: &Bucket,
        clock: &Arc<dyn Clock>,
        (owner, process): (String, Ulid),
        id: Ulid,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let newest = newest(bucket).await?;
        let lease = Lease {
            bucket: bucket.clone(),
            clock: Arc::clone(clock),
            epoch: Epoch { number: newest.map_or(0, |newest| newest.number + 1), id },
            claim: Claim { owner, process, alive_at: UnixNanos(0) },
            timeout,
            beat_ms: AtomicU64::new(0),
            lost: AtomicBool::new(false),
        };
        if let Some(newest) = newest
            && let Some(found) = lease.read(newest).await?
        {
            lease.refuse_while_alive(&found)?;
        }
        lease.write().await?;
        // Of those that claim at one time, the newest stays.
        lease.stand().await?;
        let lease = Arc::new(lease);
        let beating = work::background(keep_beating(Arc::clone(&lease)));
        Ok(Self { lease, beating })
    }

    /// Gives the bucket up, so that the next owner need not wait for a timeout.
    pub(crate) async fn release(mut self) -> Result<(), Error> {
        if let Some(beating) = &mut self.beating {
            beating.abort();
            // Only when the last beat is over can it no longer undo the release.
            if let Err(ended) = beating.await {
                debug_assert!(ended.is_cancelled(), "beating does not panic");
            }
        }
        self.lease.check()?;
        self.lease.put(UnixNanos(0)).await
    }

    /// In whose name.
    pub(crate) fn owner(&self) -> &str {
        &self.lease.claim.owner
    }

    /// Its time.
    pub(crate) fn epoch(&self) -> Epoch {
        self.lease.epoch
    }

    /// Fails where another process has the bucket, or may think that it is free.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.lease.check()
    }

    /// The same; says first that this process is alive where that is due and nobody else does.
    pub(crate) async fn keep(&self) -> Result<(), Error> {
        if self.beating.is_none() && self.lease.silent() > self.lease.timeout / 3 {
            self.lease.beat().await?;
        }
        self.check()
    }
}

/// Fails where a claim of a newer epoch is there.
pub(crate) async fn confirm(bucket: &Bucket, epoch: Epoch) -> Result<(), Error> {
    if newest(bucket).await?.is_none_or(|newest| newest <= epoch) {
        return Ok(());
    }
    Err(Error::OwnerChanged { storage: bucket.storage().to_owned() })
}

/// The newest epoch that anybody claimed.
async fn newest(bucket: &Bucket) -> Result<Option<Epoch>, Error> {
    let listed = bucket.list(FOLDER).await?;
    Ok(listed.iter().filter_map(|object| Epoch::of_claim(object.location.as_ref())).max())
}

impl Lease {
    async fn read(&self, epoch: Epoch) -> Result<Option<Claim>, Error> {
        let Some(bytes) = self.bucket.read(&epoch.claim_path()).await? else { return Ok(None) };
        // One that cannot be read protects nobody: its writer is of another kind, or torn.
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// A dead owner's place is free, and so is that of an earlier life or another name of ours.
    fn refuse_while_alive(&self, found: &Claim) -> Result<(), Error> {
        let age_ns = self.clock.now().0.saturating_sub(found.alive_at.0);
        let age = Duration::from_nanos(u64::try_from(age_ns).unwrap_or(0));
        let ours = found.owner == self.claim.owner || found.process == self.claim.process;
        if ours || age >= self.timeout {
            return Ok(());
        }
        Err(self.owned_by(&found.owner, age))
    }

    async fn write(&self) -> Result<(), Error> {
        let began_ms = self.elapsed_ms();
        self.put(self.clock.now()).await?;
        self.beat_ms.store(began_ms, Ordering::Release);
        Ok(())
    }

    async fn put(&self, alive_at: UnixNanos) -> Result<(), Error> {
        let claim = Claim { alive_at, ..self.claim.clone() };
        let text = serde_json::to_vec(&claim).expect("a claim is plain text and figures");
        let path = self.epoch.claim_path();
        let put = self.bucket.objects().put(&Path::from(path.as_str()), text.into()).await;
        put.map_err(|source| Error::Bucket { action: "write", path, source })?;
        Ok(())
    }

    /// Looks whether the bucket is still ours.
    async fn stand(&self) -> Result<(), Error> {
        match confirm(&self.bucket, self.epoch).await {
            Err(Error::OwnerChanged { .. }) => {
                self.lost.store(true, Ordering::Release);
                Err(self.owned_by("another process", Duration::ZERO))
            }
            stood => stood,
        }
    }

    fn owned_by(&self, owner: &str, age: Duration) -> Error {
        let storage = self.bucket.storage().to_owned();
        Error::Owned { storage, owner: owner.to_owned(), age }
    }

    /// The same, and says that we are alive.
    async fn beat(&self) -> Result<(), Error> {
        self.stand().await?;
        self.write().await
    }

    fn silent(&self) -> Duration {
        let beat_ms = self.beat_ms.load(Ordering::Acquire);
        Duration::from_millis(self.elapsed_ms().saturating_sub(beat_ms))
    }

    fn check(&self) -> Result<(), Error> {
        if self.lost.load(Ordering::Acquire) {
            return Err(self.owned_by("another process", Duration::ZERO));
        }
        // Claim anew well before others may think that we are gone.
        let silent = self.silent();
        if silent > self.timeout * 2 / 3 {
            let storage = self.bucket.storage().to_owned();
            return Err(Error::OwnershipStale { storage, silent });
        }
        Ok(())
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

async fn keep_beating(lease: Arc<Lease>) {
    loop {
        lease.clock.sleep(lease.timeout / 3).await;
        match lease.beat().await {
            Ok(()) => {}
            Err(lost @ Error::Owned { .. }) => {
                warn!(%lost, "another process claimed the bucket");
                return;
            }
            Err(failed) => warn!(%failed, "could not renew the ownership of the bucket"),
        }
    }
}

#[cfg(test)]
mod tests;
