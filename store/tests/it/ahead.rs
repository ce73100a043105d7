//! What is asked of an S3-compatible bucket before there is room for it.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt};
use icecore_store::{ReadColumn, ReadRequest, Room, RowStream, Store, Table, TimeRange};
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;

use crate::bench::{Bench, scrape, writer};
use crate::sample::{HOUR, commit};
use crate::servers::Server;

const FILES: u64 = 4;
const ROWS: usize = 500;

/// A store with some files, of which the footers are in memory, and with room for one at a time.
struct Narrow {
    store: Arc<Store>,
    registry: Registry,
    _bench: Bench,
    _server: Server,
}

impl Narrow {
    async fn open(ahead_bytes_max: u64) -> Option<Self> {
        let server = Server::create_only()?;
        let bench = Bench::s3(server.s3());
        let mut config = bench.config("a");
        (config.fetched_bytes_max, config.fetch_ahead_bytes_max) = (1, ahead_bytes_max);
        let mut registry = Registry::default();
        let clock = Arc::new(icecore_store::SystemClock::new());
        let store = Store::open(config, clock, &mut registry).await.unwrap();
        store.register_writer(writer(1)).await.unwrap();
        for turn in 0..FILES {
            let rows = commit(writer(1), turn * 10, turn * 10 + 10, HOUR, "n", ROWS);
            store.commit(rows).await.unwrap();
        }
        let narrow = Self { store, registry, _bench: bench, _server: server };
        for stream in narrow.streams(&narrow.store.room(true)) {
            assert_eq!(count(stream).await, ROWS);
        }
        Some(narrow)
    }

    /// One for each file, none of which was asked for anything.
    fn streams(&self, room: &Room) -> Vec<RowStream> {
        let read = |file| {
            let columns = vec![ReadColumn::Fixed("body".to_owned())];
            let request = ReadRequest::all(file, columns);
            self.store.read(ReadRequest { room: Some(room.clone()), ..request })
        };
        let snapshot = self.store.snapshot();
        snapshot.files(Table::Logs, TimeRange::ALL).into_iter().map(read).collect()
    }

    fn figure(&self, name: &str) -> u64 {
        let text = scrape(&self.registry);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    fn answered(&self) -> u64 {
        self.figure("icecore_store_requests_total{kind=\"get\",outcome=\"ok\"}")
    }

    fn ahead_bytes(&self) -> u64 {
        self.figure("icecore_store_fetch_ahead_bytes")
    }

    /// Takes the first rows of the first file, and holds what was fetched for them; the others run.
    async fn held(&self, room: &Room) -> (RowStream, Vec<JoinHandle<usize>>) {
        let mut streams = self.streams(room).into_iter();
        let mut first = streams.next().unwrap();
        let batch: RecordBatch = first.next().await.unwrap().unwrap();
        assert_eq!(batch.num_rows(), ROWS);
        (first, streams.map(|stream| tokio::spawn(count(stream))).collect())
    }

    async fn until(&self, what: impl Fn(&Self) -> bool) {
        for _ in 0..1000 {
            if what(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{}", scrape(&self.registry));
    }
}

async fn count(stream: RowStream) -> usize {
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    batches.iter().map(RecordBatch::num_rows).sum()
}

async fn all(running: Vec<JoinHandle<usize>>) -> usize {
    let mut rows = 0;
    for one in running {
        rows += one.await.unwrap();
    }
    rows
}

/// Scenario: a reader that wants all rows holds all the room there is with those of one file; the
/// others of its files wait, and then two of them are wanted no more.
/// Guarantees: the bucket has been asked for all of them and has answered, and none of it is read before
/// there is room; what is given up does not count any more; the rows are those of the file.
#[tokio::test(flavor = "multi_thread")]
async fn requests_leave_before_there_is_room() {
    let Some(narrow) = Narrow::open(1 << 30).await else { return };
    let before = narrow.answered();
    let (first, mut running) = narrow.held(&narrow.store.room(true)).await;
    narrow.until(|narrow| narrow.answered() == before + FILES).await;
    assert!(running.iter().all(|one| !one.is_finished()));
    let waiting = narrow.ahead_bytes();
    assert!(waiting > 0);
    running.drain(1..).for_each(|one| one.abort());
    narrow.until(|narrow| narrow.ahead_bytes() < waiting).await;
    drop(first);
    assert_eq!(all(running).await, ROWS);
    assert_eq!((narrow.answered(), narrow.ahead_bytes()), (before + FILES, 0));
}

/// Scenario: the same by a reader that perhaps wants few rows, and where nothing may be asked for ahead.
/// Guarantees: while the first rows are held the bucket is asked for no others; then it is, and all
/// rows come.
#[tokio::test(flavor = "multi_thread")]
async fn who_wants_few_rows_asks_for_few() {
    for (ahead_bytes_max, all_wanted) in [(1 << 30, false), (0, true)] {
        let Some(narrow) = Narrow::open(ahead_bytes_max).await else { return };
        let before = narrow.answered();
        let (first, running) = narrow.held(&narrow.store.room(all_wanted)).await;
        let others = running.len() * ROWS;
        narrow.until(|narrow| narrow.figure("icecore_store_fetch_waits_total") >= FILES - 1).await;
        assert_eq!((narrow.answered(), narrow.ahead_bytes()), (before + 1, 0));
        drop(first);
        assert_eq!(all(running).await, others);
        assert_eq!(narrow.answered(), before + FILES);
    }
}
