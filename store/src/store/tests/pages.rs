//! What a store keeps of files on local disk goes with them, and nobody waits for that disk who need not.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::*;
use crate::catalog::record::{Body, Record, Removal, Sequence};
use crate::config::PageCacheConfig;
use crate::{Table, TimeRange};

const PATIENCE: Duration = Duration::from_secs(30);

/// A store that keeps what it reads, and the files of a writer that it has read.
struct Keeper {
    store: Arc<Store>,
    folder: PathBuf,
}

impl Keeper {
    async fn open(bench: &Bench) -> Self {
        let dir = bench.folder.path().join("cache");
        let folder = dir.join("pages-1");
        let cache = PageCacheConfig { dir, bytes_max: 1 << 30, near: true };
        let store = bench.open_with("a", |config| config.page_cache = Some(cache)).await;
        let rows = fill(&store, 3).await;
        assert_eq!(bodies(&store, &store.snapshot()).await, expected(&parts(&rows)));
        let keeper = Self { store: Arc::new(store), folder };
        wait("all is kept", || keeper.kept() == 3).await;
        keeper
    }

    /// The data files that something is kept of.
    fn kept(&self) -> usize {
        std::fs::read_dir(&self.folder).unwrap().count() - 1
    }

    fn files(&self) -> usize {
        self.store.snapshot().files(Table::Logs, TimeRange::ALL).len()
    }

    /// Runs a future beside; it is to wait for as long as the disk of the cache hangs.
    async fn waits<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        let mut task = tokio::spawn(work);
        assert!(tokio::time::timeout(Duration::from_millis(200), &mut task).await.is_err());
        task
    }
}

async fn wait(what: &str, done: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !done() {
        assert!(tokio::time::Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Somebody else who merges the three files into one.
async fn merge(bench: &Bench) {
    let other = bench.open_with("other", |config| config.compaction.files_min = 2).await;
    assert_eq!(other.compact().await.unwrap().merges, 1);
}

/// Scenario: the disk of the page cache hangs while a record is read that removes files. Meanwhile rows are
/// committed, somebody reads the catalog once more, and one who wrote such a record finds it applied.
/// Guarantees: the commit is done and seen at once. Whoever read or wrote a removal goes on only when nothing is
/// kept of the files.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::await_holding_lock, reason = "it stands for a disk that hangs")]
async fn a_commit_waits_for_no_disk_of_the_cache() {
    let bench = Bench::new();
    let keeper = Keeper::open(&bench).await;
    let removed = Removal::of(&keeper.store.snapshot().files(Table::Logs, TimeRange::ALL)[0]);
    merge(&bench).await;
    let pages = Arc::clone(keeper.store.pages.as_ref().unwrap());
    let held = pages.hold();
    let refresh = || {
        let store = Arc::clone(&keeper.store);
        async move { store.refresh().await.map(drop) }
    };
    let first = keeper.waits(refresh()).await;
    wait("the snapshot is in force", || keeper.files() == 1).await;
    let second = keeper.waits(refresh()).await;
    let body = Body::Compaction { adds: Vec::new(), removes: vec![removed] };
    let record = Record { id: keeper.store.mint(), at: keeper.store.clock.now(), body };
    let store = Arc::clone(&keeper.store);
    let third =
        keeper.waits(async move { store.apply(Sequence::Compaction, 0, record).await }).await;
    let late = keeper.store.commit(commit(writer(1), 30, 40, HOUR, "late", 4));
    tokio::time::timeout(PATIENCE, late).await.unwrap().unwrap();
    assert_eq!((keeper.files(), keeper.kept()), (2, 3));
    drop(held);
    for task in [first, second, third] {
        task.await.unwrap().unwrap();
        assert_eq!(keeper.kept(), 0);
    }
}

/// Scenario: files leave the catalog by records that nobody applies one by one: they are in what an index is made
/// anew from.
/// Guarantees: nothing is kept of them afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_made_anew_keeps_nothing_of_removed_files() {
    let bench = Bench::new();
    let keeper = Keeper::open(&bench).await;
    merge(&bench).await;
    keeper.store.rebuild_index(|_| {}).await.unwrap();
    assert_eq!((keeper.files(), keeper.kept()), (1, 0));
}

/// Scenario: in a bucket that overwrites, records that were read turn out to be of an owner that was replaced.
/// Guarantees: nothing is kept of the files that they had named.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_was_replaced_leaves_nothing() {
    let bench = Bench { puts: Puts::Overwrite, ..Bench::new() };
    let keeper = Keeper::open(&bench).await;
    let folder = Sequence::Writer(writer(1)).folder();
    let records = keeper.store.bucket.list("catalog").await.unwrap();
    let records = records.into_iter().map(|record| record.location.to_string());
    let records: Vec<String> = records.filter(|path| path.contains(&folder)).collect();
    assert_eq!(records.len(), 3, "{records:?}");
    keeper.store.bucket.delete(records).await.unwrap();
    keeper.store.doubtful.store(true, Ordering::Release);
    keeper.store.refresh().await.unwrap();
    assert_eq!((keeper.files(), keeper.kept()), (0, 0));
}
