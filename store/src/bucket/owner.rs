//! Who may write to a bucket that ignores create-only puts.
//!
//! The object `owner` names the one writer and when it was last alive. A second one is refused
//! while the first beats; one that finds itself replaced, or could not beat for too long, stops
//! writing by itself.
//!
//! Invariant: while a process's lease is good, no other process that follows these rules writes.
//! The rules need clocks that agree better than the timeout.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tracing::{error, warn};
use ulid::Ulid;

use crate::bucket::Bucket;
use crate::error::Error;
use crate::model::UnixNanos;
use crate::ports::Clock;

/// Where the owner is named, below the storage prefix.
const PATH: &str = "owner";

/// How long a new owner waits before it looks whether somebody else claimed at the same moment.
const SETTLE: Duration = Duration::from_millis(300);

/// What the object says.
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
    beating: JoinHandle<()>,
}

#[derive(Debug)]
struct Lease {
    bucket: Bucket,
    clock: Arc<dyn Clock>,
    claim: Claim,
    timeout: Duration,
    /// When the last good beat began, in milliseconds of [`Clock::elapsed`].
    beat_ms: AtomicU64,
    lost: AtomicBool,
}

impl Drop for Ownership {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

impl Ownership {
    /// Claims the bucket for `owner`, or says who has it.
    pub(crate) async fn claim(
        bucket: &Bucket,
        clock: &Arc<dyn Clock>,
        owner: String,
        process: Ulid,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let lease = Lease {
            bucket: bucket.clone(),
            clock: Arc::clone(clock),
            claim: Claim { owner, process, alive_at: UnixNanos(0) },
            timeout,
            beat_ms: AtomicU64::new(0),
            lost: AtomicBool::new(false),
        };
        if let Some(found) = lease.read().await? {
            lease.refuse_while_alive(&found)?;
        }
        lease.write().await?;
        clock.sleep(SETTLE).await;
        lease.beat().await?;
        let lease = Arc::new(lease);
        let beating = tokio::spawn(keep_beating(Arc::clone(&lease)));
        Ok(Self { lease, beating })
    }

    /// Gives the bucket up, so that the next owner need not wait for a timeout.
    pub(crate) async fn release(mut self) -> Result<(), Error> {
        self.beating.abort();
        // Only when the last beat is over can it no longer undo the release.
        if let Err(ended) = (&mut self.beating).await {
            debug_assert!(ended.is_cancelled(), "beating does not panic");
        }
        self.lease.check()?;
        self.lease.put(UnixNanos(0)).await
    }

    /// In whose name.
    pub(crate) fn owner(&self) -> &str {
        &self.lease.claim.owner
    }

    /// Fails unless this process may write at this moment.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.lease.check()
    }
}

impl Lease {
    async fn read(&self) -> Result<Option<Claim>, Error> {
        let Some(bytes) = self.bucket.read(PATH).await? else { return Ok(None) };
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
        Err(self.owned_by(found, age))
    }

    fn owned_by(&self, found: &Claim, age: Duration) -> Error {
        let storage = self.bucket.storage().to_owned();
        Error::Owned { storage, owner: found.owner.clone(), age }
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
        let put = self.bucket.objects().put(&Path::from(PATH), text.into()).await;
        put.map_err(|source| Error::Bucket { action: "write", path: PATH.to_owned(), source })?;
        Ok(())
    }

    /// Looks whether the bucket is still ours, and says that we are alive.
    async fn beat(&self) -> Result<(), Error> {
        if let Some(found) = self.read().await?
            && found.process != self.claim.process
        {
            self.lost.store(true, Ordering::Release);
            return Err(self.owned_by(&found, Duration::ZERO));
        }
        self.write().await
    }

    fn check(&self) -> Result<(), Error> {
        let silent_ms = self.elapsed_ms().saturating_sub(self.beat_ms.load(Ordering::Acquire));
        let silent = Duration::from_millis(silent_ms);
        if self.lost.load(Ordering::Acquire) {
            let storage = self.bucket.storage().to_owned();
            let owner = "another process".to_owned();
            return Err(Error::Owned { storage, owner, age: Duration::ZERO });
        }
        // Stop well before others may think that we are gone.
        if silent > self.timeout * 2 / 3 {
            return Err(Error::OwnershipStale {
                storage: self.bucket.storage().to_owned(),
                silent,
            });
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
                error!(%lost, "lost the bucket to another writer; nothing more is written");
                return;
            }
            Err(failed) => warn!(%failed, "could not renew the ownership of the bucket"),
        }
    }
}

#[cfg(test)]
mod tests;
