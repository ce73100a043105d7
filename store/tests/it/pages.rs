//! What is kept of an S3-compatible bucket on local disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use icecore_store::{
    Error, PageCacheConfig, ReadColumn, ReadRequest, ReadTally, Store, Table, TimeRange,
};
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;

use crate::bench::{Bench, check, scrape, writer};
use crate::gate::Gate;
use crate::sample::{HOUR, bodies, commit, expected};
use crate::servers::{Server, endpoint};

/// A store that keeps what it fetches.
async fn open(bench: &Bench, name: &str) -> (Arc<Store>, Registry) {
    let mut config = bench.config(name);
    config.page_cache = Some(PageCacheConfig { dir: dir(bench), bytes_max: 1 << 30, near: false });
    let mut registry = Registry::default();
    let clock = Arc::new(icecore_store::SystemClock::new());
    (Store::open(config, clock, &mut registry).await.unwrap(), registry)
}

fn dir(bench: &Bench) -> PathBuf {
    bench.local.path().join("cache")
}

fn figure(registry: &Registry, name: &str) -> u64 {
    let text = scrape(registry);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

/// Requests that read something from the bucket.
fn gets(registry: &Registry) -> u64 {
    figure(registry, "icecore_store_requests_total{kind=\"get\",outcome=\"ok\"}")
}

/// Waits until what was fetched is on disk.
async fn kept(registry: &Registry, bytes: u64) {
    for _ in 0..1000 {
        if figure(registry, "icecore_store_page_cache_written_bytes_total") > bytes {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{}", scrape(registry));
}

/// Waits until nobody has the folder: a store that was dropped may write its last block yet.
async fn free(bench: &Bench) {
    let lock = std::fs::File::open(dir(bench).join("pages-1/lock")).unwrap();
    while lock.try_lock().is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks for the times and bodies of every file, and says what it took.
async fn asked(store: &Store) -> (usize, Arc<ReadTally>) {
    try_ask(store).await.unwrap()
}

async fn try_ask(store: &Store) -> Result<(usize, Arc<ReadTally>), Error> {
    let (mut rows, tally) = (0, Arc::<ReadTally>::default());
    for file in store.snapshot().files(Table::Logs, TimeRange::ALL) {
        let columns = ["time", "body"].map(|name| ReadColumn::Fixed(name.to_owned()));
        let mut request = ReadRequest::all(file, columns.to_vec());
        request.tally = Arc::clone(&tally);
        let batches: Vec<_> = store.read(request).try_collect().await?;
        rows += batches.iter().map(|batch| batch.num_rows()).sum::<usize>();
    }
    Ok((rows, tally))
}

/// Scenario: a query over a server that speaks S3, the same again, and again after a restart; then the files
/// are merged and read by one who kept nothing.
/// Guarantees: the second time the bucket is asked for nothing, and neither is it after a restart; what is
/// answered is the same; of merged files nothing is left on disk.
#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_is_asked_once() {
    let Some(server) = Server::create_only() else { return };
    let bench = Bench::s3(server.s3());
    let (store, registry) = open(&bench, "a").await;
    store.register_writer(writer(1)).await.unwrap();
    let names: Vec<String> = (0..4).map(|turn| format!("n{turn}")).collect();
    for (turn, name) in (0u64..).zip(&names) {
        let rows = commit(writer(1), turn * 10, turn * 10 + 10, HOUR, name, 500);
        store.commit(rows).await.unwrap();
    }
    let (before, (rows, first)) = (gets(&registry), asked(&store).await);
    let first = first.figures();
    assert_eq!((rows, first.footers_kept, first.footers_read), (2000, 0, 4));
    assert_eq!(gets(&registry) - before, first.requests);
    assert_eq!(first.requests, 4, "a file that is not larger comes with its footer");

    let (before, (rows, again)) = (gets(&registry), asked(&store).await);
    let again = again.figures();
    assert_eq!((rows, again.footers_kept, again.footers_read), (2000, 4, 0));
    assert_eq!((again.requests, again.fetched_bytes, again.fetches), (0, 0, 0));
    assert_eq!(gets(&registry), before, "nothing was asked of the bucket");
    kept(&registry, first.fetched_bytes).await;
    drop((store, registry));
    free(&bench).await;

    let (store, registry) = open(&bench, "b").await;
    let (before, (rows, restarted)) = (gets(&registry), asked(&store).await);
    let restarted = restarted.figures();
    assert_eq!((rows, restarted.footers_read), (2000, 4));
    assert_eq!((restarted.requests, restarted.fetched_bytes), (0, 0));
    assert!(restarted.cached_bytes >= first.fetched_bytes, "{restarted:?}");
    assert_eq!(gets(&registry), before);
    let parts: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 500)).collect();
    assert_eq!(bodies(&store, &store.snapshot()).await, expected(&parts));

    let files = || std::fs::read_dir(dir(&bench).join("pages-1")).unwrap().count() - 1;
    assert_eq!(files(), 4);
    let other = bench.open("c").await;
    other.compact().await.unwrap();
    assert_eq!(files(), 4, "nobody has told the one that keeps them");
    store.refresh().await.unwrap();
    assert_eq!(files(), 0);
    check(&store, &parts).await;
}

/// A server whose way can be shut, and a store with four files of 500 rows each that nobody has read.
struct Shut {
    gate: Gate,
    store: Arc<Store>,
    registry: Registry,
    _bench: Bench,
    _server: Server,
}

impl Shut {
    async fn open() -> Option<Self> {
        let server = Server::create_only()?;
        let gate = Gate::open(server.port).await;
        let mut s3 = server.s3();
        s3.endpoint = Some(endpoint(gate.port));
        let bench = Bench::s3(s3);
        let (store, registry) = open(&bench, "a").await;
        store.register_writer(writer(1)).await.unwrap();
        for turn in 0..4 {
            let rows = commit(writer(1), turn * 10, turn * 10 + 10, HOUR, "n", 500);
            store.commit(rows).await.unwrap();
        }
        gate.shut();
        Some(Self { gate, store, registry, _bench: bench, _server: server })
    }

    /// A query beside this one.
    fn ask(&self) -> JoinHandle<Result<(usize, Arc<ReadTally>), Error>> {
        let store = Arc::clone(&self.store);
        tokio::spawn(async move { try_ask(&store).await })
    }

    /// Waits until those who ask wait for the server or for each other.
    async fn all_wait(&self) {
        self.gate.holds_something().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Scenario: eight queries ask for the same files at the same time, and the server takes a while.
/// Guarantees: each file is fetched once, and all of them are answered; those who waited for another say so.
#[tokio::test(flavor = "multi_thread")]
async fn queries_at_the_same_time_ask_once() {
    let Some(shut) = Shut::open().await else { return };
    let before = gets(&shut.registry);
    let asking: Vec<_> = (0..8).map(|_| shut.ask()).collect();
    shut.all_wait().await;
    shut.gate.let_through();
    let mut requests = 0;
    for asked in asking {
        let (rows, tally) = asked.await.unwrap().unwrap();
        let figures = tally.figures();
        assert_eq!(rows, 2000);
        assert!(figures.fetched_bytes + figures.cached_bytes > 0, "{figures:?}");
        requests += figures.requests;
    }
    assert_eq!((requests, gets(&shut.registry) - before), (4, 4));
    assert!(figure(&shut.registry, "icecore_store_page_shared_total") > 0);
}

/// Scenario: a query waits for what another fetches, which is given up, fails, or is not gone on with: its reader
/// does not read.
/// Guarantees: the second is answered all the same, by requests of its own, in a few seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_outlives_the_one_that_it_waits_for() {
    for end in ["given up", "failed", "not gone on with"] {
        let Some(shut) = Shut::open().await else { return };
        let mut slow = Box::pin(try_ask(&shut.store));
        let first = match end {
            "not gone on with" => {
                let waits = tokio::time::timeout(Duration::from_millis(300), &mut slow).await;
                assert!(waits.is_err());
                None
            }
            _ => Some(shut.ask()),
        };
        shut.all_wait().await;
        let second = shut.ask();
        shut.all_wait().await;
        match (end, &first) {
            ("given up", Some(first)) => first.abort(),
            // Each request is tried three times.
            ("failed", _) => shut.gate.cut(3).await,
            _ => {}
        }
        shut.gate.let_through();
        let answer = tokio::time::timeout(Duration::from_secs(20), second).await;
        let (rows, tally) = answer.unwrap().unwrap().unwrap();
        assert_eq!((rows, tally.figures().requests), (2000, 4), "{end}");
        match first {
            Some(first) if end == "failed" => assert!(first.await.unwrap().is_err()),
            Some(first) => assert!(first.await.unwrap_err().is_cancelled()),
            None => assert_eq!(slow.await.unwrap().0, 2000),
        }
    }
}
