//! What one query may use, and the threads that all of them share.
//!
//! Invariant: at most `queries_running_max` queries run, of one address at most
//! `queries_per_client_max`; each holds at most `query_memory_bytes_max` in memory and
//! `query_spill_bytes_max` on disk, all of them at most `spill_bytes_max`, and what a query put there goes
//! with it.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use crate::hint::Asked;
use crate::metrics::Spilled;
use crate::pool::QueryPool;
use crate::running::Entry;
use crate::spill::{NoRoom, SpillFolder};
use crate::{Config, Error};

/// How long a thread that makes live rows stays without work: with it goes the memory that it
/// allocated and others gave back.
const IDLE_THREAD_STAYS: Duration = Duration::from_millis(20);

/// How often it is looked at what a query has fetched.
const FETCHED_LOOKED_AT: Duration = Duration::from_millis(20);
/// What the engine says where a query has put too much on disk.
const DISK_IS_FULL: &str = "max_temp_directory_size";
/// Addresses whose turns are counted before those without a query are forgotten.
const CLIENTS_KEPT: usize = 64;

/// The bounds of [`Config`], in force.
#[derive(Debug)]
pub(crate) struct Limits {
    turns: Arc<Semaphore>,
    running_max: usize,
    of_clients: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
    of_client_max: usize,
    wait: Duration,
    memory_bytes_max: usize,
    /// None where nothing goes to disk.
    spill: Option<SpillFolder>,
    spill_bytes_max: u64,
    fetched_bytes_max: u64,
    rows_max: usize,
    time_max: Duration,
}

/// The right to run one query, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _of_client: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Limits {
    /// As configured; what queries of a process that was killed left on disk is removed.
    ///
    /// # Errors
    /// Where the folder for what does not fit in memory cannot be made.
    pub(crate) fn open(config: &Config, spilled: &Spilled) -> Result<Self, Error> {
        let open = |folder: &PathBuf| {
            SpillFolder::open(folder, config.spill_bytes_max, spilled.clone())
                .map_err(|source| Error::SpillFolder { folder: folder.clone(), source })
        };
        Ok(Self {
            turns: Arc::new(Semaphore::new(config.queries_running_max)),
            running_max: config.queries_running_max,
            of_clients: Mutex::default(),
            of_client_max: config.queries_per_client_max,
            wait: config.query_wait,
            memory_bytes_max: config.query_memory_bytes_max,
            spill: config.spill_dir.as_ref().map(open).transpose()?,
            spill_bytes_max: config.query_spill_bytes_max,
            fetched_bytes_max: config.query_fetched_bytes_max,
            rows_max: config.query_rows_max,
            time_max: config.query_time_max,
        })
    }

    /// Waits for a turn: first among the queries of `client`, so that what waits for one of its
    /// own keeps nobody else waiting, then among all.
    pub(crate) async fn turn(&self, client: IpAddr) -> Result<Turn, Error> {
        let end = tokio::time::Instant::now() + self.wait;
        let own = tokio::time::timeout_at(end, self.of_client(client).acquire_owned()).await;
        let Ok(Ok(of_client)) = own else {
            let running_max = self.of_client_max;
            return Err(Error::BusyClient { client, running_max, waited: self.wait });
        };
        let all = tokio::time::timeout_at(end, Arc::clone(&self.turns).acquire_owned()).await;
        match all {
            Ok(Ok(of_all)) => Ok(Turn { _of_client: of_client, _of_all: of_all }),
            _ => Err(Error::Busy { running_max: self.running_max, waited: self.wait }),
        }
    }

    fn of_client(&self, client: IpAddr) -> Arc<Semaphore> {
        let mut clients = self.of_clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = clients.get(&client).and_then(Weak::upgrade) {
            return turns;
        }
        if clients.len() >= CLIENTS_KEPT {
            clients.retain(|_, turns| turns.strong_count() > 0);
        }
        let turns = Arc::new(Semaphore::new(self.of_client_max));
        clients.insert(client, Arc::downgrade(&turns));
        turns
    }

    /// The memory of one query, and its room on disk.
    pub(crate) fn memory(&self) -> Result<Arc<RuntimeEnv>, DataFusionError> {
        let mode = match &self.spill {
            Some(folder) => DiskManagerMode::Custom(folder.of_query(self.spill_bytes_max)),
            None => DiskManagerMode::Disabled,
        };
        let pool = QueryPool::new(self.memory_bytes_max, self.spill.is_some());
        RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
            .build_arc()
    }

    /// Whether an answer may have so many rows, and fetch what it has fetched for them.
    pub(crate) fn check(&self, rows: usize, entry: &Entry) -> Result<(), Error> {
        let rows_max = self.rows_max;
        if rows > rows_max {
            return Err(Error::RowLimit { rows_max });
        }
        self.check_fetched(entry)
    }

    fn check_fetched(&self, entry: &Entry) -> Result<(), Error> {
        let bytes_max = self.fetched_bytes_max;
        if entry.fetched_bytes() > bytes_max { Err(Error::ScanLimit { bytes_max }) } else { Ok(()) }
    }

    /// Returns when a query has run too long or fetched too much, perhaps without any row yet.
    pub(crate) async fn passed(&self, entry: &Entry) -> Error {
        let end = tokio::time::Instant::now() + self.time_max;
        let mut look = tokio::time::interval(FETCHED_LOOKED_AT);
        loop {
            if let Err(error) = self.check_fetched(entry) {
                return error;
            }
            if tokio::time::Instant::now() >= end {
                return Error::TimeLimit { time_max: self.time_max };
            }
            look.tick().await;
        }
    }

    /// When any answer has begun or will not: after its wait for a turn, and its time.
    pub(crate) fn begins_within(&self) -> Duration {
        self.wait.saturating_add(self.time_max)
    }

    /// What an error of the engine means under these bounds.
    pub(crate) fn explain(&self, error: DataFusionError) -> Error {
        self.explain_of(error, &Asked::default())
    }

    /// The same, of a query about which more is known.
    pub(crate) fn explain_of(&self, error: DataFusionError, asked: &Asked<'_>) -> Error {
        let bytes_max = self.memory_bytes_max;
        let error = crate::hint::explain(error, &Asked { bytes_max, ..*asked });
        let full = match &error {
            Error::MemoryLimit { source, .. } | Error::Engine { source, .. } => Full::of(source),
            _ => None,
        };
        match (full, error) {
            (Some(full), Error::MemoryLimit { source, .. } | Error::Engine { source, .. }) => {
                self.no_room(full, source)
            }
            (_, error) => error,
        }
    }

    fn no_room(&self, full: Full, source: Box<DataFusionError>) -> Error {
        match full {
            Full::OfQuery => Error::SpillLimit { bytes_max: self.spill_bytes_max, source },
            Full::OfAll(NoRoom { bytes_max }) => Error::SpillFull { bytes_max, source },
            Full::Disk => Error::DiskFull { source },
        }
    }
}

/// What has no room left for what memory cannot hold.
#[derive(Debug, Clone, Copy)]
enum Full {
    /// What one query may put on disk.
    OfQuery,
    /// What all may together.
    OfAll(NoRoom),
    /// The disk itself.
    Disk,
}

impl Full {
    /// The engine has no kind of error for it, and names a setting of its own.
    fn of(error: &DataFusionError) -> Option<Self> {
        let first: &(dyn std::error::Error + 'static) = error;
        let mut causes = std::iter::successors(Some(first), |error| error.source());
        causes.find_map(|cause| {
            let io = cause.downcast_ref::<std::io::Error>();
            let inner = io.and_then(|error| error.get_ref()?.downcast_ref::<NoRoom>());
            match (inner, io) {
                (Some(full), _) => Some(Self::OfAll(*full)),
                (_, Some(error)) if error.kind() == std::io::ErrorKind::StorageFull => {
                    Some(Self::Disk)
                }
                _ if cause.to_string().contains(DISK_IS_FULL) => Some(Self::OfQuery),
                _ => None,
            }
        })
    }
}

/// Stack of a thread that runs queries. A statement may be a thousand levels deep (`depth`), and a debug
/// build takes some kilobytes for each; pages that are never touched take no memory.
const STACK_BYTES: usize = 32 << 20;

/// The threads that run queries, so that a heavy one never keeps a request from being accepted or
/// an export from being acknowledged.
#[derive(Debug)]
pub(crate) struct Threads {
    // Taken out when dropped: a runtime must not be waited for on another runtime's thread.
    runtime: Option<Runtime>,
}

impl Threads {
    /// Starts them.
    pub(crate) fn start(threads: usize) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("icecore-query")
            .thread_stack_size(STACK_BYTES)
            .thread_keep_alive(IDLE_THREAD_STAYS)
            .enable_all()
            .build()
            .map_err(|source| Error::Threads { threads, source })?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Runs work there, until it ends or the handle is dropped.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<AbortOnDropHandle<T>> {
        let runtime = self.runtime.as_ref()?;
        Some(AbortOnDropHandle::new(runtime.spawn(work)))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn limits(queries_running_max: usize, queries_per_client_max: usize) -> Limits {
        let query_wait = Duration::from_millis(5);
        let defaults = Config::default();
        Limits::open(
            &Config { queries_running_max, queries_per_client_max, query_wait, ..defaults },
            &Spilled::default(),
        )
        .unwrap()
    }

    /// Scenario: more queries than may run.
    /// Guarantees: the one too many is refused by name after its wait, and gets a turn later.
    #[tokio::test]
    async fn turns_are_bounded() {
        let limits = limits(1, 6);
        let first = limits.turn(HERE).await.unwrap();
        let refused = limits.turn(THERE).await.unwrap_err();
        assert!(refused.to_string().contains("1 queries are running"), "{refused}");
        drop(first);
        assert!(limits.turn(HERE).await.is_ok());
    }

    /// Scenario: one caller takes all turns that it may have, and asks for one more.
    /// Guarantees: it is refused with its own bound; another caller gets a turn at once.
    #[tokio::test]
    async fn one_caller_leaves_room_for_others() {
        let limits = limits(3, 2);
        let _own = (limits.turn(HERE).await.unwrap(), limits.turn(HERE).await.unwrap());
        let refused = limits.turn(HERE).await.unwrap_err();
        assert!(refused.to_string().contains("127.0.0.1 has 2 queries running"), "{refused}");
        assert!(limits.turn(THERE).await.is_ok());
    }

    /// Scenario: many addresses that asked once.
    /// Guarantees: they are forgotten.
    #[tokio::test]
    async fn nothing_is_kept_for_ever() {
        let limits = limits(3, 2);
        for host in 0..1000_u32 {
            drop(limits.turn(IpAddr::from(host.to_be_bytes())).await.unwrap());
        }
        assert!(limits.of_clients.lock().unwrap().len() <= CLIENTS_KEPT);
    }
}
