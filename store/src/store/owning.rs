//! How this process comes to own a bucket that overwrites, and how everybody follows the owners.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use crate::bucket::owner::{Ownership, confirm};
use crate::bucket::{Puts, Seat};
use crate::catalog::checkpoint::agrees;
use crate::catalog::epochs::{Epochs, tidy};
use crate::catalog::record::Sequence;
use crate::catalog::replay::Replay;
use crate::catalog::state::State;
use crate::error::Error;
use crate::metrics::RebuildReason;
use crate::store::{Store, Unsaid};

impl Store {
    /// Makes sure that this process may write, claiming the bucket where it needs an owner. A
    /// writer's name is the better one: its next life is let in at once.
    pub(crate) async fn own(&self, who: String) -> Result<(), Error> {
        match self.bucket.puts() {
            Puts::CreateOnly => return Ok(()),
            Puts::Refused => {
                let storage = self.bucket.storage().to_owned();
                let reason = "this key may read but not write there".to_owned();
                return Err(Error::Config { storage, reason });
            }
            Puts::Overwrite => {}
        }
        let mut ownership = self.ownership.lock().await;
        if let Some(owned) = &*ownership
            && (owned.owner() == who || who == self.process_name())
            && self.bucket.seat().await.is_some()
            && owned.keep().await.is_ok()
        {
            return Ok(());
        }
        // A process that went by its writer's name goes on doing so.
        let who = match &*ownership {
            Some(owned) if who == self.process_name() => owned.owner().to_owned(),
            _ => who,
        };
        *ownership = Some(self.begin_epoch(who).await?);
        Ok(())
    }

    /// Claims the bucket for loops that have no writer's name.
    pub(crate) async fn own_as_process(&self) -> Result<(), Error> {
        self.own(self.process_name()).await
    }

    fn process_name(&self) -> String {
        format!("process {}", self.process)
    }

    /// Puts a claim, reads what is there, and says by a fence from where on our records count.
    async fn begin_epoch(&self, who: String) -> Result<Ownership, Error> {
        let timeout = self.config.owner_timeout;
        let who = (who, self.process);
        let owned = Ownership::claim(&self.bucket, &self.clock, who, self.mint(), timeout).await?;
        let epoch = owned.epoch();
        // Records of this process wait, too: what is read now is what its last epoch came to.
        let mut seat = self.bucket.seat().await;
        *seat = None;
        self.refresh().await?;
        let next = self.state.lock().await.next_numbers();
        let epochs = self.bucket.epochs().followed_by(epoch, &next);
        epochs.put(&self.bucket).await?;
        confirm(&self.bucket, epoch).await?;
        if self.follow_own(epochs, &next).await {
            self.refresh().await?;
        }
        *seat = Some(Seat { epoch, next });
        drop(seat);
        info!(storage = self.bucket.storage(), owner = owned.owner(), %epoch, "owns the bucket");
        if let Err(failed) = tidy(&self.bucket, epoch).await {
            warn!(%failed, "could not delete claims of earlier owners");
        }
        Ok(owned)
    }

    /// Follows the fence of this process; true where its state has more than the fence says. While the fence was on its
    /// way another loop may have read a record of the owner before, which counted until then.
    async fn follow_own(&self, epochs: Epochs, next: &BTreeMap<Sequence, u64>) -> bool {
        // With the state in hand: whoever reads on looks at the epochs while it has that.
        let state = self.state.lock().await;
        self.bucket.follow(epochs);
        let more = state.next_numbers() != *next;
        if more {
            self.doubtful.store(true, Ordering::Release);
        }
        more
    }

    /// Fails where this process does not own a bucket that needs an owner. Whatever was listed or
    /// read before is then known to be of no later owner, and to stay in the catalog.
    pub(crate) async fn confirm_owner(&self) -> Result<(), Error> {
        if self.bucket.puts() != Puts::Overwrite {
            return Ok(());
        }
        let epoch = self.bucket.seat().await.as_ref().map(|seat| seat.epoch);
        let changed = || Error::OwnerChanged { storage: self.bucket.storage().to_owned() };
        confirm(&self.bucket, epoch.ok_or_else(changed)?).await
    }

    /// Learns which records count by now. Some that were read of an epoch that was over count no
    /// more: then the catalog is read anew.
    pub(super) async fn follow_epochs(&self) -> Result<(), Error> {
        if self.bucket.puts() == Puts::CreateOnly {
            return Ok(());
        }
        let epochs = Epochs::read(&self.bucket).await?;
        let mut state = self.state.lock().await;
        if self.bucket.follow(epochs) {
            self.doubtful.store(true, Ordering::Release);
        }
        // Until it was looked at in full nothing is added: that would hide what counts no more.
        if !self.doubtful.load(Ordering::Acquire) || agrees(&self.bucket, &state).await? {
            self.doubtful.store(false, Ordering::Release);
            return Ok(());
        }
        warn!(
            storage = self.bucket.storage(),
            "records of an owner that was replaced count no more"
        );
        let mut fresh = State::default();
        let mut replay = Replay::find(&self.bucket, &fresh).await?;
        while replay.step(&self.bucket, &mut fresh).await?.is_some() {}
        self.index.refill(RebuildReason::Foreign, fresh.clone()).await;
        *state = fresh;
        self.doubtful.store(false, Ordering::Release);
        self.index.resume();
        self.publish(state, Vec::new(), Unsaid::Removals).await;
        Ok(())
    }
}
