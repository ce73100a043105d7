//! What is kept of an S3-compatible bucket on local disk.

use std::path::PathBuf;
use std::sync::Arc;

use futures::TryStreamExt;
use icecore_store::{PageCacheConfig, ReadColumn, ReadRequest, ReadTally, Store, Table, TimeRange};
use prometheus_client::registry::Registry;

use crate::bench::{Bench, check, scrape, writer};
use crate::sample::{HOUR, bodies, commit, expected};
use crate::servers::Server;

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
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{}", scrape(registry));
}

/// Waits until nobody has the folder: a store that was dropped may write its last block yet.
async fn free(bench: &Bench) {
    let lock = std::fs::File::open(dir(bench).join("pages-1/lock")).unwrap();
    while lock.try_lock().is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Asks for the times and bodies of every file, and says what it took.
async fn asked(store: &Store) -> (usize, Arc<ReadTally>) {
    let (mut rows, tally) = (0, Arc::<ReadTally>::default());
    for file in store.snapshot().files(Table::Logs, TimeRange::ALL) {
        let columns = ["time", "body"].map(|name| ReadColumn::Fixed(name.to_owned()));
        let mut request = ReadRequest::all(file, columns.to_vec());
        request.tally = Arc::clone(&tally);
        let batches: Vec<_> = store.read(request).try_collect().await.unwrap();
        rows += batches.iter().map(|batch| batch.num_rows()).sum::<usize>();
    }
    (rows, tally)
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
