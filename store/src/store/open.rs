//! From a bucket that answered to a store that knows its catalog.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::watch;
use tracing::{info, warn};
use ulid::Ulid;

use crate::bucket::Bucket;
use crate::catalog::checkpoint;
use crate::catalog::state::State;
use crate::chance::Machine;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::files::Footers;
use crate::index::Index;
use crate::metrics::{Metrics, RebuildReason};
use crate::store::Store;

impl Store {
    /// Opens over a bucket that was opened before: tests put faults in between.
    pub(crate) async fn open_over(
        config: Config,
        machine: Machine,
        metrics: Arc<Metrics>,
        bucket: Bucket,
        process: Ulid,
    ) -> Result<Self, Error> {
        let Machine { clock, chance } = machine;
        let (index, mut state) = match &config.index_dir {
            Some(folder) => Index::open(folder, Arc::clone(&metrics)).await?,
            None => (Index::off(Arc::clone(&metrics)), State::default()),
        };
        if !checkpoint::agrees(&bucket, &state).await? {
            warn!(storage = bucket.storage(), "the index is of another bucket, making it anew");
            index.clear(RebuildReason::Foreign).await;
            state = State::default();
        }
        if state.sequences().is_empty()
            && let Some(found) = checkpoint::read(&bucket).await?
        {
            state = found;
            index.fill(state.clone()).await;
        }
        let known = state.snapshot().records();
        let footers = Footers::new(config.footers_bytes_max, metrics.footers.clone());
        let store = Self {
            footers: Arc::new(footers),
            snapshot: watch::Sender::new(Arc::new(state.snapshot().clone())),
            state: tokio::sync::Mutex::new(state),
            config,
            clock,
            chance,
            bucket,
            metrics,
            index,
            process,
            refreshed_ms: AtomicU64::new(0),
            writers: Mutex::new(BTreeSet::new()),
            turn: tokio::sync::Mutex::new(()),
            ownership: tokio::sync::Mutex::new(None),
            checkpointed: AtomicU64::new(u64::MAX),
            conditions: OnceLock::new(),
            examined: Arc::default(),
        };
        let snapshot = match store.refresh().await {
            Err(error) if store.config.open_damaged && error.kind() == ErrorKind::Damaged => {
                warn!(%error, "the catalog is damaged, and open only to be checked");
                store.snapshot()
            }
            snapshot => snapshot?,
        };
        let records = snapshot.records();
        info!(storage = store.bucket.storage(), known, records, "catalog read");
        Ok(store)
    }
}
