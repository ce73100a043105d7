//! From a bucket that answered to a store that knows its catalog.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::watch;
use tracing::{info, warn};
use ulid::Ulid;

use crate::bucket::Bucket;
use crate::catalog::epochs::Epochs;
use crate::catalog::replay::{Replay, Replayed, STEP};
use crate::catalog::state::State;
use crate::catalog::{Snapshot, checkpoint};
use crate::chance::Machine;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::files::{Footers, KeptMax, Pages, Room};
use crate::index::{Index, Traces};
use crate::metrics::{Metrics, RebuildReason};
use crate::ports::Clock;
use crate::store::Store;
use crate::work::off_runtime;

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
            Some(folder) => Index::open(folder, Arc::clone(&metrics), &*clock).await?,
            None => (Index::off(Arc::clone(&metrics)), State::default()),
        };
        bucket.follow(Epochs::read(&bucket).await?);
        if !checkpoint::agrees(&bucket, &state).await? {
            warn!(storage = bucket.storage(), "the index is of another bucket, making it anew");
            index.clear(RebuildReason::Foreign).await;
            state = State::default();
        }
        let known = state.snapshot().records();
        if state.sequences().is_empty() {
            state = checkpoint::read(&bucket).await?.unwrap_or_default();
        }
        catch_up(&bucket, &index, &metrics, &mut state, known > 0).await?;
        let traces = open_traces(&config, &metrics, state.snapshot()).await?;
        let kept = KeptMax {
            footers: config.footers_bytes_max,
            dictionaries: config.dictionaries_bytes_max,
        };
        let footers = Footers::new(kept, metrics.footers.clone());
        let working = Room::new(config.work_bytes_max, metrics.working.clone());
        let asks_ahead = config.is_far() && config.fetch_ahead_bytes_max > 0;
        let ahead =
            asks_ahead.then(|| Room::new(config.fetch_ahead_bytes_max, metrics.ahead.clone()));
        let snapshot = watch::Sender::new(Arc::new(state.snapshot().clone()));
        let pages = open_pages(&config, &snapshot, &clock, &metrics).await?;
        let store = Self {
            footers: Arc::new(footers),
            pages,
            ahead,
            working,
            snapshot,
            state: tokio::sync::Mutex::new(state),
            config,
            clock,
            chance,
            bucket,
            metrics,
            index,
            traces: Arc::new(traces),
            process,
            refreshed_ms: AtomicU64::new(0),
            writers: Mutex::new(BTreeSet::new()),
            turn: tokio::sync::Mutex::new(()),
            ownership: tokio::sync::Mutex::new(None),
            doubtful: AtomicBool::new(false),
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

/// How often it is said how far a long read of the catalog is.
const TELL_EVERY: u64 = 10_000;

/// Reads what the state lacks. An index that had something gets it step by step; one that had
/// nothing gets the whole in the end.
async fn catch_up(
    bucket: &Bucket,
    index: &Index,
    metrics: &Metrics,
    state: &mut State,
    indexed: bool,
) -> Result<(), Error> {
    let mut replay = Replay::find(bucket, state).await?;
    while let Some((changes, Replayed { records, of })) = replay.step(bucket, state).await? {
        metrics.replayed(records, of);
        if of > TELL_EVERY && (records % TELL_EVERY < STEP || records == of) {
            info!(records, of, "reading the catalog");
        }
        if indexed {
            index.write(changes).await;
        }
    }
    if !indexed && !state.sequences().is_empty() {
        index.fill(state.clone()).await;
    }
    Ok(())
}

/// What is kept of files on local disk: none where it is not wanted, or cannot be had.
async fn open_pages(
    config: &Config,
    snapshot: &watch::Sender<Arc<Snapshot>>,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> Result<Option<Arc<Pages>>, Error> {
    let Some(wanted) = config.page_cache.clone() else { return Ok(None) };
    if wanted.bytes_max == 0 || !(wanted.near || config.is_far()) {
        // What an earlier run has kept would be out of reach of erasures.
        let clear = move || {
            Pages::clear(&wanted.dir);
            Ok(None)
        };
        return off_runtime("clearing the page cache", clear).await;
    }
    let (snapshot, clock) = (snapshot.subscribe(), Arc::clone(clock));
    let metrics = metrics.pages.clone();
    let open = move || Ok(Pages::open(&wanted, snapshot, clock, metrics));
    off_runtime("opening the page cache", open).await
}

async fn open_traces(
    config: &Config,
    metrics: &Arc<Metrics>,
    snapshot: &Snapshot,
) -> Result<Traces, Error> {
    let (metrics, bounds) = (Arc::clone(metrics), config.trace_filters);
    let Some(folder) = config.index_dir.clone() else { return Ok(Traces::off(bounds, metrics)) };
    let snapshot = snapshot.clone();
    let open = move || Ok(Traces::open(&folder, bounds, metrics, &snapshot));
    off_runtime("opening the trace filters", open).await
}
