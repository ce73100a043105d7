//! One query service on loopback, over rows that are live, in files, or both.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use icecore_query::{Config, Query, QueryParts};
use icecore_store::{
    Commit, LiveBatch, LiveBlock, LiveRows, LiveSnapshot, LogPosition, PortError, RowBatch, Store,
    SystemClock, Table, TimeRange, WriterId,
};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Where the rows of a test are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// All in memory.
    Live,
    /// All in files.
    Files,
    /// The first half in files, the second in memory; those in files are in memory still, as
    /// between a commit and its clean-up.
    Both,
}

impl Place {
    pub(crate) const ALL: [Self; 3] = [Self::Live, Self::Files, Self::Both];
}

/// Rows in memory, as an ingester has them.
#[derive(Debug)]
pub(crate) struct StubLive {
    writer: WriterId,
    batches: Mutex<Vec<LiveBatch>>,
    /// Says nothing for longer than any query waits.
    pub(crate) hangs: bool,
}

#[async_trait]
impl LiveRows for StubLive {
    async fn live_rows(&self, table: Table, time: TimeRange) -> Result<LiveSnapshot, PortError> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        let batches = self.batches.lock().unwrap();
        let wanted =
            |batch: &&LiveBatch| batch.rows.table == table && batch.rows.time.overlaps(&time);
        let wanted = batches.iter().filter(wanted).cloned();
        let blocks = wanted.map(|batch| Arc::new(batch) as Arc<dyn LiveBlock>).collect();
        Ok(LiveSnapshot { writer: self.writer, covered_to: LogPosition::default(), blocks })
    }
}

/// A running service.
pub(crate) struct Bench {
    pub(crate) address: SocketAddr,
    /// Where Arrow Flight SQL is answered.
    pub(crate) flight: SocketAddr,
    pub(crate) client: reqwest::Client,
    pub(crate) stop: CancellationToken,
    pub(crate) registry: Registry,
    pub(crate) store: Arc<Store>,
    _folder: TempDir,
    pub(crate) running: AbortOnDropHandle<Result<(), icecore_query::Error>>,
}

/// The settings of the tests.
pub(crate) fn config() -> Config {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    Config { http_addr: address, grpc_addr: Some(address), threads: 2, ..Config::default() }
}

impl Bench {
    /// A service over these rows.
    pub(crate) async fn start(batches: Vec<RowBatch>, place: Place) -> Self {
        Self::with(batches, place, config(), false).await
    }

    /// The same with other settings, or with an ingester that does not answer.
    pub(crate) async fn with(
        batches: Vec<RowBatch>,
        place: Place,
        config: Config,
        hangs: bool,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let writer: WriterId = "01JD000000000000000000000A".parse().unwrap();
        let store = open_store(&folder).await;
        let flushed = match place {
            Place::Live => 0,
            Place::Files => batches.len(),
            Place::Both => batches.len().div_ceil(2),
        };
        if flushed > 0 {
            flush(&store, writer, &batches[..flushed]).await;
        }
        let live = batches.into_iter().enumerate().map(|(at, rows)| LiveBatch {
            position: position(at),
            next: position(at + 1),
            rows,
        });
        let live = if place == Place::Files { Vec::new() } else { live.collect() };
        let live = StubLive { writer, batches: Mutex::new(live), hangs };
        let parts = QueryParts {
            store: Arc::clone(&store),
            live: vec![Arc::new(live)],
            flush: None,
            extra_routes: Router::new(),
        };
        let clock = Arc::new(SystemClock::new());
        let mut registry = Registry::default();
        let query = Query::open(config, parts, clock, &mut registry).await.unwrap();
        let (address, flight) = (query.address(), query.grpc_address().unwrap());
        let stop = CancellationToken::new();
        let running = AbortOnDropHandle::new(tokio::spawn(query.run(stop.clone())));
        let client = reqwest::Client::new();
        Self { address, flight, client, stop, registry, store, _folder: folder, running }
    }

    /// Opens a second service over an empty store of its own.
    pub(crate) async fn open_again(&self, config: Config) -> Result<Query, icecore_query::Error> {
        let folder = tempfile::tempdir().unwrap();
        let store = open_store(&folder).await;
        let (live, flush) = (Vec::new(), None);
        let parts = QueryParts { store, live, flush, extra_routes: Router::new() };
        Query::open(config, parts, Arc::new(SystemClock::new()), &mut Registry::default()).await
    }

    /// A figure that the service tells of itself.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name}\n{text}")).parse().unwrap()
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Asks and returns the answer as it came.
    pub(crate) async fn ask(&self, body: Value, accept: &str) -> reqwest::Response {
        let request = self.client.post(self.url("/api/v1/sql")).header("accept", accept);
        request.json(&body).send().await.unwrap()
    }

    /// Asks for JSON.
    pub(crate) async fn json(&self, sql: &str) -> Value {
        self.ask(json!({ "query": sql }), "application/json").await.json().await.unwrap()
    }

    /// The rows of an answer.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<Value> {
        let answer = self.json(sql).await;
        let rows = answer["rows"].as_array();
        rows.unwrap_or_else(|| panic!("{sql}\n{answer:#}")).clone()
    }
}

fn position(at: usize) -> LogPosition {
    LogPosition(100 * at as u64)
}

async fn open_store(folder: &TempDir) -> Arc<Store> {
    let bucket = folder.path().join("bucket");
    std::fs::create_dir_all(&bucket).unwrap();
    let storage = url::Url::from_directory_path(bucket).unwrap();
    let config = icecore_store::Config::new(storage, folder.path().join("index"));
    let clock = Arc::new(SystemClock::new());
    let store = Store::open(config, clock, &mut Registry::default()).await.unwrap();
    store.understand(Arc::new(icecore_query::SqlConditions::new())).unwrap();
    store
}

/// One commit a batch, so that there is more than one file.
async fn flush(store: &Store, writer: WriterId, batches: &[RowBatch]) {
    store.register_writer(writer).await.unwrap();
    for (at, batch) in batches.iter().enumerate() {
        let (covers_from, covers_to) = (position(at), position(at + 1));
        let rows = Arc::new(vec![batch.clone()]);
        store.commit(Commit { writer, covers_from, covers_to, rows }).await.unwrap();
    }
}
