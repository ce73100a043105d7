//! What one query may use, and the threads that all of them share.
//!
//! Invariant: at most `queries_running_max` queries run, each holds at most
//! `query_memory_bytes_max`, and none writes to disk.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use crate::hint::Asked;
use crate::{Config, Error};

/// How long a thread that makes live rows stays without work: with it goes the memory that it
/// allocated and others gave back.
const IDLE_THREAD_STAYS: Duration = Duration::from_millis(20);

/// The bounds of [`Config`], in force.
#[derive(Debug)]
pub(crate) struct Limits {
    turns: Arc<Semaphore>,
    running_max: usize,
    wait: Duration,
    memory_bytes_max: usize,
    /// How long one query may run.
    pub(crate) time_max: Duration,
}

impl Limits {
    /// As configured.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(config.queries_running_max)),
            running_max: config.queries_running_max,
            wait: config.query_wait,
            memory_bytes_max: config.query_memory_bytes_max,
            time_max: config.query_time_max,
        }
    }

    /// Waits for a turn; it lasts until the permit is dropped.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, Error> {
        let turn = tokio::time::timeout(self.wait, Arc::clone(&self.turns).acquire_owned()).await;
        match turn {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Error::Busy { running_max: self.running_max, waited: self.wait }),
        }
    }

    /// The memory of one query.
    pub(crate) fn memory(&self) -> Result<Arc<RuntimeEnv>, DataFusionError> {
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(self.memory_bytes_max)))
            .with_disk_manager_builder(disk)
            .build_arc()
    }

    /// What an error of the engine means under these bounds.
    pub(crate) fn explain(&self, error: DataFusionError) -> Error {
        self.explain_of(error, &Asked::default())
    }

    /// The same, of a query about which more is known.
    pub(crate) fn explain_of(&self, error: DataFusionError, asked: &Asked<'_>) -> Error {
        let bytes_max = self.memory_bytes_max;
        crate::hint::explain(error, &Asked { bytes_max, ..*asked })
    }

    /// The error of a query that ran too long.
    pub(crate) fn too_long(&self) -> Error {
        Error::TimeLimit { time_max: self.time_max }
    }
}

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

    /// Scenario: more queries than may run.
    /// Guarantees: the one too many is refused by name after its wait, and gets a turn later.
    #[tokio::test]
    async fn turns_are_bounded() {
        let query_wait = Duration::from_millis(5);
        let config = Config { queries_running_max: 1, query_wait, ..Config::default() };
        let limits = Limits::new(&config);
        let first = limits.turn().await.unwrap();
        let refused = limits.turn().await.unwrap_err();
        assert!(refused.to_string().contains("1 queries are running"), "{refused}");
        drop(first);
        assert!(limits.turn().await.is_ok());
    }
}
