//! One life of a process: store, ingest and queries over a folder, on threads of its own. Or of two:
//! queries over a catalog of their own, that look at the other's rows over Arrow Flight.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use icecore_ingest::Ingest;
use icecore_query::{Query, QueryParts};
use icecore_store::{Clock, Flush, Store, SystemClock};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::icecore::PATIENCE;

/// A process, as far as queries and their rows are concerned.
pub(super) struct Life {
    runtime: Option<Runtime>,
    pub(super) store: Arc<Store>,
    pub(super) flush: Arc<dyn Flush>,
    ingest_url: String,
    query_url: String,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl Life {
    /// Begins over whatever earlier lives left in the folder; `far`: with queries in a process of
    /// their own, as far as parts can tell.
    pub(super) fn begin(folder: &Path, far: bool) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = folder.to_owned();
        let (life, ended) = runtime.block_on(async move {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            let mut registry = Registry::default();
            let store = open_store(&folder, "index", &clock, &mut registry).await;
            let ingest = open_ingest(&folder, &store, &clock, &mut registry).await;
            let (flush, mut ingesters) = (ingest.flush(), Vec::new());
            let (mut read, mut live) = (Arc::clone(&store), vec![ingest.live_rows()]);
            if far {
                // Nobody reads on in this one but queries that have to.
                let mut registry = Registry::default();
                read = open_store(&folder, "index-of-queries", &clock, &mut registry).await;
                live.clear();
                ingesters.push(format!("http://{}", ingest.live_addr().unwrap()).parse().unwrap());
            }
            let parts =
                QueryParts { store: read, live, flush: None, extra_routes: axum::Router::new() };
            let config = icecore_query::Config {
                http_addr: ([127, 0, 0, 1], 0).into(),
                threads: 2,
                // A loaded machine is slow, and a left-out source would not be one of its faults.
                live_wait: PATIENCE,
                ingesters,
                ..Default::default()
            };
            let query = Query::open(config, parts, clock, &mut registry).await.unwrap();
            let ingest_url = format!("http://{}/v1/traces", ingest.http_addr());
            let query_url = format!("http://{}/api/v1/sql", query.address());
            let stop = CancellationToken::new();
            let (ingesting, querying) = (ingest.run(stop.clone()), query.run(stop.clone()));
            let ended = tokio::spawn(async move {
                let (ingested, queried) = tokio::join!(ingesting, querying);
                ingested.unwrap();
                queried.unwrap();
            });
            ((store, flush, ingest_url, query_url, stop), ended)
        });
        let (store, flush, ingest_url, query_url, stop) = life;
        Self { runtime: Some(runtime), store, flush, ingest_url, query_url, stop, ended }
    }

    /// Does something in this life.
    pub(super) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(work)
    }

    /// Sends spans; whether they were acknowledged.
    pub(super) async fn send(&self, body: Vec<u8>) -> bool {
        let client = reqwest::Client::new();
        let request = client.post(&self.ingest_url).body(body);
        let request = request.header("content-type", "application/x-protobuf");
        request.send().await.is_ok_and(|answer| answer.status().is_success())
    }

    /// The rows of an answer, which must not be incomplete.
    pub(super) async fn ask(&self, sql: &str) -> Vec<Value> {
        let client = reqwest::Client::new().post(&self.query_url).json(&json!({ "query": sql }));
        let answer = client.send().await.unwrap().text().await.unwrap();
        let answer: Value =
            serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{sql}\n{answer}"));
        assert_eq!(answer["stats"]["incomplete"], json!([]), "{sql}\n{answer:#}");
        answer["rows"].as_array().unwrap_or_else(|| panic!("{sql}\n{answer:#}")).clone()
    }

    /// Ends as it is told to: what is live is flushed.
    pub(super) fn stop(mut self) {
        self.stop.cancel();
        let runtime = self.runtime.take().unwrap();
        let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, self.ended).await });
        ended.expect("a process that is told to stop does so in time").unwrap();
    }

    /// Ends in the middle of whatever it does: nothing that waits goes on.
    pub(super) fn crash(mut self) {
        let runtime = self.runtime.take().unwrap();
        drop(self);
        // Work on other threads ends by itself; it cannot be cut off in one process.
        runtime.shutdown_timeout(PATIENCE);
    }
}

async fn open_store(
    folder: &Path,
    index: &str,
    clock: &Arc<dyn Clock>,
    registry: &mut Registry,
) -> Arc<Store> {
    std::fs::create_dir_all(folder.join("bucket")).unwrap();
    let storage = url::Url::from_directory_path(folder.join("bucket")).unwrap();
    let mut config = icecore_store::Config::new(storage, folder.join(index));
    config.compaction.files_min = 2;
    config.row_group_rows_max = 64;
    let store = Store::open(config, Arc::clone(clock), registry).await.unwrap();
    store.understand(Arc::new(icecore_query::SqlConditions::new())).unwrap();
    store
}

/// The log of a life that crashed may be let go of a moment later.
async fn open_ingest(
    folder: &Path,
    store: &Arc<Store>,
    clock: &Arc<dyn Clock>,
    registry: &mut Registry,
) -> Ingest {
    let config = icecore_ingest::Config {
        grpc_addr: ([127, 0, 0, 1], 0).into(),
        http_addr: ([127, 0, 0, 1], 0).into(),
        live_addr: Some(([127, 0, 0, 1], 0).into()),
        log_dir: folder.join("log"),
        segment_bytes_max: 64 << 10,
        // Flushes come when the history says so.
        flush_after: Duration::from_secs(3600),
        ..Default::default()
    };
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let opened = Ingest::open(config.clone(), Arc::clone(store), Arc::clone(clock), registry);
        match opened.await {
            Ok(ingest) => return ingest,
            Err(error) if tokio::time::Instant::now() > end => panic!("{error:?}"),
            Err(_held) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
