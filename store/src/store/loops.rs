//! What a store does by itself while it runs.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::bucket::Puts;
use crate::bucket::owner::Ownership;
use crate::config::StoreRoles;
use crate::error::Error;
use crate::model::UnixNanos;
use crate::store::Store;

/// How often garbage is looked for: often enough for any grace worth having.
const COLLECT_INTERVAL_MAX: Duration = Duration::from_secs(600);

/// How long a process that deletes nothing remembers which files were removed, at least: whoever collects garbage
/// has deleted them long since. One that is there all the same tells itself that it will never count.
const REMOVED_KEPT_MIN: Duration = Duration::from_secs(7 * 24 * 3600);

impl Store {
    /// Plays the loops of `roles` until `stop`, then drains. A loop that fails is logged, counted
    /// and tried again at its next turn; only the loss of a bucket's ownership ends it early.
    pub async fn run(
        self: Arc<Self>,
        roles: StoreRoles,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let StoreRoles { refresh, filter_traces, compact, retain, collect_garbage } = roles;
        let collect_every = (self.config.garbage_grace / 4).min(COLLECT_INTERVAL_MAX);
        let (refresh_every, compact_every) =
            (self.config.refresh_interval, self.config.compaction.interval);
        let refreshing = repeat(refresh, refresh_every, &stop, || self.refresh_once());
        // One after the other: both append to the common sequence, and would be in each other's way.
        let retained = Mutex::new(None);
        let compacting = repeat(compact || retain, compact_every, &stop, async || {
            if compact {
                self.compact_once().await?;
            }
            if retain { self.retain_when_due(&retained).await } else { Ok(()) }
        });
        let collecting = repeat(collect_garbage, collect_every, &stop, || self.collect_once());
        let forgets = refresh && !collect_garbage;
        let forgetting = repeat(forgets, COLLECT_INTERVAL_MAX, &stop, || self.forget_removed());
        let filtering = self.keep_traces(filter_traces, &stop);
        tokio::try_join!(refreshing, compacting, collecting, forgetting, filtering)?;
        stop.cancelled().await;
        self.release_ownership().await;
        Ok(())
    }

    /// Lets the next owner in at once; where that fails it waits until this one counts as gone.
    async fn release_ownership(&self) {
        let Some(ownership) = self.ownership.lock().await.take() else { return };
        if let Err(failed) = ownership.release().await {
            warn!(failed = chain(&failed), "could not give the bucket up");
        }
    }

    async fn refresh_once(&self) -> Result<(), Error> {
        self.check_ownership().await?;
        if let Err(failed) = self.refresh().await {
            self.metrics.refresh_failed();
            warn!(failed = chain(&failed), "could not read the catalog");
        }
        Ok(())
    }

    async fn compact_once(&self) -> Result<(), Error> {
        match self.compact().await {
            Err(owned @ Error::Owned { .. }) => return Err(owned),
            Err(failed) => warn!(failed = chain(&failed), "could not compact"),
            Ok(_) => {}
        }
        Ok(())
    }

    /// A pass of retention, where the last one is an interval ago.
    async fn retain_when_due(&self, last: &Mutex<Option<Duration>>) -> Result<(), Error> {
        let now = self.clock.elapsed();
        let due = |last: Duration| now.saturating_sub(last) >= self.config.retention_interval;
        {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if !last.is_none_or(due) {
                return Ok(());
            }
            *last = Some(now);
        }
        match self.retain(false).await {
            Err(owned @ Error::Owned { .. }) => return Err(owned),
            Err(failed) => warn!(failed = chain(&failed), "retention did not pass"),
            Ok(_) => {}
        }
        Ok(())
    }

    async fn collect_once(&self) -> Result<(), Error> {
        match self.collect_garbage().await {
            Err(owned @ Error::Owned { .. }) => return Err(owned),
            Err(failed) => warn!(failed = chain(&failed), "could not collect garbage"),
            Ok(_) => {}
        }
        Ok(())
    }

    /// Forgets files that were removed so long ago that nobody can want them.
    pub(super) async fn forget_removed(&self) -> Result<(), Error> {
        let kept = REMOVED_KEPT_MIN.max(self.config.garbage_grace.saturating_mul(2));
        let kept = i64::try_from(kept.as_nanos()).unwrap_or(i64::MAX);
        let before = UnixNanos(self.clock.now().0.saturating_sub(kept));
        let old = self.state.lock().await.removed_before(before);
        if !old.is_empty() {
            debug!(files = old.len(), "forgot files that were removed long ago");
            self.forget(old).await;
        }
        Ok(())
    }

    /// Ends the loops where somebody else took the bucket over.
    async fn check_ownership(&self) -> Result<(), Error> {
        if self.bucket.puts() != Puts::Overwrite {
            return Ok(());
        }
        let held = self.ownership.lock().await.as_ref().map_or(Ok(()), Ownership::check);
        if !matches!(held, Err(Error::Owned { .. })) {
            return Ok(());
        }
        // A claim that was put long ago may have landed only now.
        match self.own_as_process().await {
            Err(lost @ Error::Owned { .. }) => {
                error!(%lost, "stopping");
                Err(lost)
            }
            _ => Ok(()),
        }
    }
}

/// Runs `turn` at every interval until `stop`; a turn that has begun is finished.
async fn repeat<F>(
    wanted: bool,
    every: Duration,
    stop: &CancellationToken,
    turn: impl Fn() -> F,
) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>>,
{
    if !wanted {
        return Ok(());
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(every) => turn().await?,
        }
    }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
