//! Starts: on a log with rows, on one that lost its end, on one that is taken.

use std::path::Path;

use icecore_store::{LogPosition, SystemClock, Table, TimeRange};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;

use super::*;
use crate::fixtures::{MemorySink, request};

fn config(dir: &Path) -> Config {
    Config {
        grpc_addr: ([127, 0, 0, 1], 0).into(),
        http_addr: ([127, 0, 0, 1], 0).into(),
        log_dir: dir.join("log"),
        flush_after: Duration::from_secs(600),
        drain_timeout: Duration::from_millis(50),
        ..Config::default()
    }
}

async fn open(config: Config, sink: &Arc<MemorySink>) -> Result<Ingest, Error> {
    let (sink, clock) = (Arc::clone(sink), Arc::new(SystemClock::new()));
    Ingest::open_with(config, sink, clock, &mut Registry::default()).await
}

/// Acknowledges `requests` requests of ten spans while the bucket is away, and stops.
async fn fill(dir: &Path, sink: &Arc<MemorySink>, requests: usize) {
    sink.state().away = true;
    let ingest = open(config(dir), sink).await.unwrap();
    let address = format!("http://{}", ingest.grpc_addr());
    let stop = CancellationToken::new();
    let running = tokio::spawn(ingest.run(stop.clone()));
    let mut client = TraceServiceClient::connect(address).await.unwrap();
    for _ in 0..requests {
        client.export(request(&["a span"; 10])).await.unwrap();
    }
    stop.cancel();
    drop(client);
    running.await.unwrap().unwrap();
    sink.state().away = false;
}

async fn live_rows(ingest: &Ingest) -> usize {
    let snapshot = ingest.live_rows().live_rows(Table::Spans, TimeRange::ALL).await.unwrap();
    let rows = snapshot.blocks.iter().flat_map(|block| block.read(None).unwrap());
    rows.map(|rows| rows.rows.num_rows()).sum()
}

/// Scenario: a log with many rows over an empty store; a start with the bucket away, another one
/// with it back.
/// Guarantees: the rows are live at once, each once, whether or not the bucket is there.
#[tokio::test]
async fn a_start_brings_all_rows_back() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Arc::new(MemorySink::default());
    fill(dir.path(), &sink, 300).await;
    for away in [true, false] {
        sink.state().away = away;
        let ingest = open(config(dir.path()), &sink).await.unwrap();
        assert_eq!(sink.rows() + live_rows(&ingest).await, 3000);
    }
}

/// Scenario: the catalog covers more than the log has, as after the loss of unsynced writes.
/// Guarantees: new rows get positions that the catalog does not cover, so that they are seen.
#[tokio::test]
async fn a_log_that_lost_its_end_goes_on_behind_the_catalog() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Arc::new(MemorySink::default());
    let covered = LogPosition(1_000_000);
    sink.state().covered = Some(covered);
    fill(dir.path(), &sink, 1).await;
    let ingest = open(config(dir.path()), &sink).await.unwrap();
    let snapshot = ingest.live_rows().live_rows(Table::Spans, TimeRange::ALL).await.unwrap();
    let positions: Vec<LogPosition> = snapshot.blocks.iter().map(|b| b.position()).collect();
    assert_eq!(positions, [covered]);
}

/// Scenario: a second process on the same folder; a port that is taken; settings that cannot work;
/// a damaged origin.
/// Guarantees: each fails at the start, with an error that names it.
#[tokio::test]
async fn a_start_fails_with_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Arc::new(MemorySink::default());
    let first = open(config(dir.path()), &sink).await.unwrap();
    assert!(matches!(open(config(dir.path()), &sink).await, Err(Error::LogInUse { .. })));
    let elsewhere = dir.path().join("elsewhere");
    let taken = Config { http_addr: first.http_addr(), ..config(&elsewhere) };
    let error = open(taken, &sink).await.unwrap_err().to_string();
    assert!(error.contains(&first.http_addr().to_string()), "{error}");
    let broken = Config { flush_bytes: 0, ..config(&elsewhere) };
    assert!(matches!(open(broken, &sink).await, Err(Error::Config { .. })));
    let broken = Config { cors_origins: vec!["\n".to_owned()], ..config(&elsewhere) };
    assert!(matches!(open(broken, &sink).await, Err(Error::Config { .. })));
}

/// A disk of its own, taken down when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, said aloud, where this process may not mount.
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(dir.path());
        let done = mount.output().is_ok_and(|output| output.status.success());
        if !done {
            println!("skipped: a small disk needs the right to mount a tmpfs");
        }
        done.then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
        drop(unmounted);
    }
}

/// Scenario: the bucket is away until the log's disk is full; then it is back.
/// Guarantees: RESOURCE_EXHAUSTED while it is full, accepted again by itself, and every
/// acknowledged span in the store once.
#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let Some(disk) = SmallDisk::mount("size=512k") else { return };
    let sink = Arc::new(MemorySink::default());
    sink.state().away = true;
    let bounds = Config {
        segment_bytes_max: 64 << 10,
        flush_after: Duration::from_millis(20),
        flush_retry_max: Duration::from_millis(20),
        drain_timeout: Duration::from_secs(10),
        ..config(disk.0.path())
    };
    let ingest = open(bounds, &sink).await.unwrap();
    let address = format!("http://{}", ingest.grpc_addr());
    let stop = CancellationToken::new();
    let running = tokio::spawn(ingest.run(stop.clone()));
    let mut client = TraceServiceClient::connect(address).await.unwrap();
    let mut acknowledged = 0;
    let refused = loop {
        match client.export(request(&["a span"; 100])).await {
            Ok(_) => acknowledged += 100,
            Err(status) => break status,
        }
        assert!(acknowledged < 10_000_000, "the disk has an end");
    };
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("log is full"), "{refused}");
    sink.state().away = false;
    let mut again = false;
    for _ in 0..500 {
        again = client.export(request(&["a span"; 100])).await.is_ok();
        if again {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(again, "recovers by itself");
    stop.cancel();
    drop(client);
    running.await.unwrap().unwrap();
    assert_eq!(sink.rows(), acknowledged + 100);
}

/// Scenario: more connections than the bound.
/// Guarantees: the one too many waits, and is served when another goes.
#[tokio::test]
async fn connections_have_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Arc::new(MemorySink::default());
    let bounds = Config { connections_max: 2, ..config(dir.path()) };
    let ingest = open(bounds, &sink).await.unwrap();
    let address = format!("http://{}", ingest.grpc_addr());
    let stop = CancellationToken::new();
    let running = tokio::spawn(ingest.run(stop.clone()));
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = TraceServiceClient::connect(address.clone()).await.unwrap();
        client.export(request(&["a span"])).await.unwrap();
        clients.push(client);
    }
    let third = tokio::spawn(async move {
        let mut client = TraceServiceClient::connect(address).await.unwrap();
        client.export(request(&["a span"])).await.unwrap();
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!third.is_finished(), "there is no room for a third");
    clients.pop();
    tokio::time::timeout(Duration::from_secs(10), third).await.unwrap().unwrap();
    drop(clients);
    stop.cancel();
    running.await.unwrap().unwrap();
}
