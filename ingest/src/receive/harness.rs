//! A whole ingest on loopback over a store in memory, for tests over the wire.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use icecore_store::{Feed, LiveRows, SystemClock, Table, TimeRange};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::fixtures::MemorySink;
use crate::{Error, Ingest};

/// A running ingest.
pub(crate) struct Server {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) sink: Arc<MemorySink>,
    pub(crate) feed: Arc<dyn Feed>,
    pub(crate) stop: CancellationToken,
    live: Arc<dyn LiveRows>,
    registry: Registry,
    running: JoinHandle<Result<(), Error>>,
    _dir: TempDir,
}

impl Server {
    /// Ingest with small bounds, changed as the test wants.
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config {
            grpc_addr: ([127, 0, 0, 1], 0).into(),
            http_addr: ([127, 0, 0, 1], 0).into(),
            log_dir: dir.path().join("log"),
            request_bytes_max: 1 << 20,
            decoded_bytes_max: 2 << 20,
            inflight_bytes_max: 16 << 20,
            flush_after: Duration::from_secs(600),
            drain_timeout: Duration::from_secs(10),
            ..Config::default()
        };
        change(&mut config);
        let (sink, clock) = (Arc::new(MemorySink::default()), Arc::new(SystemClock::new()));
        let mut registry = Registry::default();
        let opened = Ingest::open_with(config, Arc::clone(&sink) as _, clock, &mut registry).await;
        let ingest = opened.unwrap();
        let (grpc, http) = (ingest.grpc_addr(), ingest.http_addr());
        let (live, feed) = (ingest.live_rows(), ingest.feed());
        let mut ready = ingest.ready();
        let stop = CancellationToken::new();
        let running = tokio::spawn(ingest.run(stop.clone()));
        ready.wait_for(|ready| *ready).await.unwrap();
        Self { grpc, http, sink, feed, stop, live, registry, running, _dir: dir }
    }

    /// Stops and drains; all rows are in the sink then.
    pub(crate) async fn drain(self) -> Arc<MemorySink> {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
        self.sink
    }

    /// How many rows of a table are live.
    pub(crate) async fn rows(&self, table: Table) -> usize {
        let snapshot = self.live.live_rows(table, TimeRange::ALL).await.unwrap();
        let blocks = snapshot.blocks.iter();
        let rows = blocks.flat_map(|block| block.read(None).unwrap());
        rows.map(|rows| rows.rows.num_rows()).sum()
    }

    /// The value of a metric, by its name and labels.
    pub(crate) fn metric(&self, line: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let found = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        found.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// A client that speaks plain HTTP/1.1, or HTTP/2 at once.
pub(crate) fn client(http2: bool) -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = reqwest::Client::builder().timeout(Duration::from_secs(20));
    let builder = if http2 { builder.http2_prior_knowledge() } else { builder };
    builder.build().unwrap()
}

/// The bytes in the encoding of that name.
pub(crate) fn encoded(encoding: &str, bytes: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::fast();
    match encoding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" | "zlib" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd::encode_all(bytes, 1).unwrap(),
        _ => bytes.to_vec(),
    }
}
