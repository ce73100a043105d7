//! `kill -9` in the middle of a load, over and over, with a real store under the log.
//!
//! Invariant under test: what was acknowledged is there after the restart, once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{Array, FixedSizeBinaryArray, RecordBatch};
use futures::TryStreamExt;
use icecore_ingest::{Config, Ingest};
use icecore_store::{Clock, Store, SystemClock, Table, TimeRange};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Names the folder in the process that is killed.
const FOLDER: &str = "ICECORE_TEST_INGEST_FOLDER";
const KILLS: u64 = 8;
const SENDERS: u64 = 8;
const SPANS: u64 = 20;

/// Ingest over a real store, with bounds so small that segments roll and flushes overlap.
async fn open(folder: &Path) -> (Arc<Store>, Ingest) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let storage = url::Url::from_directory_path(folder.join("bucket")).unwrap();
    let settings = icecore_store::Config::new(storage, folder.join("index"));
    let mut registry = Registry::default();
    let store = Store::open(settings, Arc::clone(&clock), &mut registry).await.unwrap();
    let config = Config {
        grpc_addr: ([127, 0, 0, 1], 0).into(),
        http_addr: ([127, 0, 0, 1], 0).into(),
        log_dir: folder.join("log"),
        segment_bytes_max: 64 << 10,
        flush_after: Duration::from_millis(10),
        ..Config::default()
    };
    let ingest = Ingest::open(config, Arc::clone(&store), clock, &mut registry).await.unwrap();
    (store, ingest)
}

/// The process that is killed: does nothing in an ordinary run of the tests.
#[tokio::test(flavor = "multi_thread")]
async fn serves_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let (_store, ingest) = open(&folder).await;
    let draft = folder.join("address.new");
    std::fs::write(&draft, ingest.grpc_addr().to_string()).unwrap();
    std::fs::rename(&draft, folder.join("address")).unwrap();
    ingest.run(CancellationToken::new()).await.unwrap();
}

fn spawn(folder: &Path) -> Child {
    drop(std::fs::remove_file(folder.join("address")));
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "serves_until_killed", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

async fn address(folder: &Path, child: &mut Child) -> String {
    for _ in 0..6000 {
        if let Ok(address) = std::fs::read_to_string(folder.join("address")) {
            return format!("http://{address}");
        }
        assert!(child.try_wait().unwrap().is_none(), "ingest did not start");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("ingest did not start within a minute");
}

fn request(batch: u64) -> ExportTraceServiceRequest {
    let span = |index: u64| Span {
        trace_id: u128::from(batch + 1).to_be_bytes().to_vec(),
        span_id: (batch * SPANS + index + 1).to_be_bytes().to_vec(),
        name: "GET /".to_owned(),
        // Two hours, so that one flush makes several files.
        start_time_unix_nano: 1_700_000_000_000_000_000 + (batch % 2) * 3_600_000_000_000,
        end_time_unix_nano: 1_700_010_000_000_000_000,
        ..Span::default()
    };
    let scope = ScopeSpans { spans: (0..SPANS).map(span).collect(), ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }
}

/// Sends batches, each once, until the server dies; reports those that were acknowledged.
async fn send(address: String, batches: Arc<AtomicU64>, acknowledged: mpsc::Sender<u64>) {
    let Ok(mut client) = TraceServiceClient::connect(address).await else { return };
    loop {
        let batch = batches.fetch_add(1, Ordering::Relaxed);
        if client.export(request(batch)).await.is_err() {
            return;
        }
        acknowledged.send(batch).await.unwrap();
    }
}

/// How often each span is there, in files and live rows of one snapshot.
async fn spans(store: &Store, ingest: &Ingest) -> BTreeMap<u64, u32> {
    // Live rows first, the catalog second, as every reader does.
    let live = ingest.live_rows().live_rows(Table::Spans, TimeRange::ALL).await.unwrap();
    let snapshot = store.snapshot();
    let mut counts = BTreeMap::new();
    let mut count = |rows: &RecordBatch| {
        let column = rows.column_by_name("span_id").unwrap().as_any();
        let ids = column.downcast_ref::<FixedSizeBinaryArray>().unwrap();
        for id in ids.iter().flatten() {
            *counts.entry(u64::from_be_bytes(id.try_into().unwrap())).or_default() += 1;
        }
    };
    for block in live.blocks {
        if !snapshot.covers(live.writer, block.position()) {
            block.read(None).unwrap().iter().for_each(|rows| count(&rows.rows));
        }
    }
    for file in snapshot.files(Table::Spans, TimeRange::ALL) {
        let rows: Vec<RecordBatch> =
            store.read_rows(&file, TimeRange::ALL).try_collect().await.unwrap();
        rows.iter().for_each(&mut count);
    }
    counts
}

fn check(acknowledged: &[u64], counts: &BTreeMap<u64, u32>) {
    for batch in acknowledged {
        for span in batch * SPANS + 1..=(batch + 1) * SPANS {
            assert_eq!(counts.get(&span), Some(&1), "span {span} was acknowledged");
        }
    }
    let twice = counts.iter().find(|(_, times)| **times > 1);
    assert_eq!(twice, None, "every batch was sent once");
}

/// Scenario: eight senders on full load; the process is killed with SIGKILL eight times, while it
/// logs, flushes and commits; then it is stopped in order.
/// Guarantees: after every restart each acknowledged span is there exactly once, live or in a
/// file; after the drain all are in files.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_nothing_that_was_acknowledged() {
    if std::env::var_os(FOLDER).is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("bucket")).unwrap();
    let batches = Arc::new(AtomicU64::new(0));
    let mut acknowledged = Vec::new();
    for kill in 0..KILLS {
        let mut child = spawn(folder.path());
        let address = address(folder.path(), &mut child).await;
        let (tell, mut told) = mpsc::channel(1 << 16);
        for _ in 0..SENDERS {
            tokio::spawn(send(address.clone(), Arc::clone(&batches), tell.clone()));
        }
        drop(tell);
        tokio::time::sleep(Duration::from_millis(150 + kill * 97)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(batch) = told.recv().await {
            acknowledged.push(batch);
        }
        let (store, ingest) = open(folder.path()).await;
        check(&acknowledged, &spans(&store, &ingest).await);
    }
    assert!(acknowledged.len() > 20, "only {} batches", acknowledged.len());

    let (store, ingest) = open(folder.path()).await;
    let covered = store.snapshot().covered_to(ingest.feed().writer());
    assert!(covered.is_some(), "some of it was flushed between the kills");
    let live = ingest.live_rows();
    let stop = CancellationToken::new();
    stop.cancel();
    ingest.run(stop).await.unwrap();
    let left = live.live_rows(Table::Spans, TimeRange::ALL).await.unwrap();
    assert_eq!(left.blocks.len(), 0, "drained");
    drop(store);
    let (store, ingest) = open(folder.path()).await;
    check(&acknowledged, &spans(&store, &ingest).await);
    assert!(store.check().await.unwrap().faults.is_empty());
}
