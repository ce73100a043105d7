//! A bucket that is damaged in every way that we could think of.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use prometheus_client::registry::Registry;
use url::Url;

use super::*;
use crate::bucket::Puts;
use crate::bucket::faulty::{Fault, Faults, Faulty};
use crate::chance::{Chance, Machine};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::model::WriterId;
use crate::ports::SystemClock;
use crate::sample::{HOUR, commit};

/// A bucket with five commits of two writers, one merge, a checkpoint, and an unfinished commit.
struct Bench {
    objects: Arc<InMemory>,
    store: Store,
}

#[derive(Default)]
struct Heard(Mutex<Vec<Finding>>);

impl CheckListener for Heard {
    fn found(&self, finding: &Finding) {
        self.0.lock().unwrap().push(finding.clone());
    }

    fn checked(&self, files: u64, of: u64) {
        assert!(files <= of);
    }
}

async fn open(objects: &Arc<InMemory>, faults: &Faults) -> Store {
    let mut config = Config::new(Url::parse("memory:///").unwrap(), None);
    config.compaction.settle_after = Duration::ZERO;
    let machine = Machine { clock: Arc::new(SystemClock::new()), chance: Chance::of_machine() };
    let process = machine.chance.id(&*machine.clock);
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let bucket = Faulty::bucket(Arc::clone(objects), faults, Puts::CreateOnly);
    Store::open_over(config, machine, metrics, bucket, process).await.unwrap()
}

fn writer(number: u128) -> WriterId {
    WriterId(ulid::Ulid::from_parts(1, number))
}

impl Bench {
    async fn new() -> Self {
        let (objects, faults) = (Arc::new(InMemory::new()), Faults::default());
        let store = open(&objects, &faults).await;
        for number in [1, 2] {
            store.register_writer(writer(number)).await.unwrap();
            for turn in 0..2 {
                let rows = commit(writer(number), turn * 10, turn * 10 + 10, HOUR, "a", 3);
                store.commit(rows).await.unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(store.compact().await.unwrap().merges, 1);
        store.commit(commit(writer(1), 20, 30, HOUR, "b", 2)).await.unwrap();
        store.checkpoint_when_due(1).await.unwrap();
        faults.inject(Fault::BeforePut("catalog/"));
        store.commit(commit(writer(2), 20, 30, HOUR, "c", 1)).await.unwrap_err();
        Self { objects, store }
    }

    async fn paths(&self, folder: &str) -> Vec<String> {
        let listed: Vec<_> = self.objects.list(Some(&folder.into())).try_collect().await.unwrap();
        let mut paths: Vec<String> =
            listed.into_iter().map(|object| object.location.to_string()).collect();
        paths.sort();
        paths
    }

    /// The files that count.
    fn live(&self) -> Vec<String> {
        let snapshot = self.store.snapshot();
        snapshot.all(Table::Logs).map(|file| file.path()).collect()
    }

    async fn get(&self, path: &str) -> Vec<u8> {
        self.objects.get(&Path::from(path)).await.unwrap().bytes().await.unwrap().to_vec()
    }

    async fn put(&self, path: &str, bytes: impl Into<Bytes>) {
        self.objects.put(&Path::from(path), bytes.into().into()).await.unwrap();
    }

    async fn delete(&self, path: &str) {
        self.objects.delete(&Path::from(path)).await.unwrap();
    }

    /// Changes a text in an object.
    async fn replace(&self, path: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.get(path).await).unwrap();
        assert!(text.contains(from), "{text} has no {from}");
        self.put(path, text.replacen(from, to, 1).into_bytes()).await;
    }

    /// What a process that has read nothing before finds.
    async fn findings(&self, deep: bool) -> Vec<Finding> {
        let heard = Heard::default();
        let report = self.store.check_all(deep, &heard).await.unwrap();
        let findings = heard.0.into_inner().unwrap();
        let faults = findings.iter().filter(|found| matches!(found, Finding::Fault { .. }));
        assert_eq!(report.faults_all, faults.count() as u64);
        assert_eq!(report.faults.len() as u64, report.faults_all);
        findings
    }

    /// Expects exactly one fault of `path` that says `what`, or one orphan.
    async fn check(&self, deep: bool, path: &str, what: &str) {
        let found = self.findings(deep).await;
        let hits = |finding: &&Finding| match finding {
            Finding::Fault { path: at, what: text } => at == path && text.contains(what),
            Finding::Orphan { path: at, why, .. } => at == path && why.contains(what),
        };
        assert_eq!(found.iter().filter(hits).count(), 1, "{path}: {what}: {found:#?}");
    }
}

fn record(writer_number: u128, number: u64) -> String {
    format!("catalog/{}/{number:020}.json", writer(writer_number))
}

/// Scenario: a bucket that nobody damaged, with removed files in their grace and an unfinished
/// commit.
/// Guarantees: no fault, shallow or deep; every object that does not count is named, and why.
#[tokio::test]
async fn a_whole_bucket_has_no_faults_and_every_orphan_is_named() {
    let bench = Bench::new().await;
    for deep in [false, true] {
        let found = bench.findings(deep).await;
        let why = |text: &str| {
            let says = |found: &&Finding| matches!(found, Finding::Orphan { why, .. } if why.contains(text));
            found.iter().filter(says).count()
        };
        assert_eq!((why("it was removed at"), why("may be under way")), (4, 1), "{found:#?}");
        assert_eq!(found.len(), 5);
    }
}

/// Scenario: each object that counts (files, records, the checkpoint) is lost, emptied, cut in
/// half, or overwritten with rubbish of the same size.
/// Guarantees: each time there is a fault, and it names the object or what follows from its loss.
#[tokio::test]
async fn whatever_is_lost_or_spoilt_is_found() {
    let first = Bench::new().await;
    let count = first.live().len() + first.paths("catalog").await.len();
    for object in 0..count {
        for damage in ["lost", "emptied", "cut", "spoilt"] {
            let bench = Bench::new().await;
            let mut paths = bench.live();
            paths.extend(bench.paths("catalog").await);
            let path = &paths[object];
            let bytes = bench.get(path).await;
            match damage {
                "lost" if path.contains("checkpoint") => continue,
                "lost" => bench.delete(path).await,
                "emptied" => bench.put(path, Vec::new()).await,
                "cut" => bench.put(path, bytes[..bytes.len() / 2].to_vec()).await,
                _ => bench.put(path, vec![b'x'; bytes.len()]).await,
            }
            let found = bench.findings(false).await;
            let faults = found.iter().filter(|found| matches!(found, Finding::Fault { .. }));
            assert!(faults.count() > 0, "{path} {damage}: {found:#?}");
        }
    }
}

/// Scenario: records that are whole and lie: wrong counts, times and names, an overlap, a kind
/// where it does not belong, a gap.
/// Guarantees: each is named with what is wrong.
#[tokio::test]
async fn records_that_lie_are_found() {
    let live = |bench: &Bench| bench.live().into_iter().next_back().unwrap();
    let bench = Bench::new().await;
    bench.replace(&record(1, 2), "\"rows\":2", "\"rows\":3").await;
    bench.check(false, &live(&bench), "its footer says 2 rows").await;

    let bench = Bench::new().await;
    let entry = Arc::clone(bench.store.snapshot().all(Table::Logs).last().unwrap());
    let end = entry.time.end().0;
    bench.replace(&record(1, 2), &end.to_string(), &(end + 1000).to_string()).await;
    bench.check(false, &live(&bench), "its footer says its rows are of").await;

    let bench = Bench::new().await;
    bench.replace(&record(1, 2), "\"covers_from\":20", "\"covers_from\":19").await;
    bench.check(false, &record(1, 2), "overlaps").await;

    let bench = Bench::new().await;
    let merge = bench.get("catalog/compaction/00000000000000000000.json").await;
    bench.put(&record(2, 2), merge).await;
    bench.check(false, &record(2, 2), "does not belong").await;

    let bench = Bench::new().await;
    let last = bench.get(&record(1, 2)).await;
    bench.put(&record(1, 7), last).await;
    bench.check(false, &record(1, 3), "it is missing").await;
}

/// Scenario: one file's bytes in another's place, and pages that are spoilt while the footer is
/// whole.
/// Guarantees: the first is found by the footer, the second by a deep check.
#[tokio::test]
async fn files_that_lie_are_found() {
    let bench = Bench::new().await;
    let paths = bench.live();
    let mut other = bench.get(&paths[0]).await;
    bench.put(&paths[1], other.clone()).await;
    bench.check(false, &paths[1], "bytes, and the catalog says").await;

    let bench = Bench::new().await;
    let path = bench.live().remove(0);
    other = bench.get(&path).await;
    other[4..200].fill(0xff);
    bench.put(&path, other).await;
    assert!(
        !bench.findings(false).await.iter().any(|it| matches!(it, Finding::Fault { .. })),
        "a footer does not know of its pages"
    );
    bench.check(true, &path, "cannot be read").await;
}

/// Scenario: objects that Icecore did not put there, in every folder, and a torn file.
/// Guarantees: each is named, and none is a fault.
#[tokio::test]
async fn strangers_are_named() {
    let bench = Bench::new().await;
    let torn =
        format!("data/logs/date=2026-11-22/hour=21/{}.parquet", ulid::Ulid::from_parts(1, 1));
    let strangers = [
        "data/readme.txt",
        "data/logs/readme.txt",
        "data/logs/date=2026-11-22/hour=21/part-0.parquet",
        "catalog/readme.txt",
        "catalog/strange/readme.txt",
        "catalog/compaction/7.json",
    ];
    for path in strangers {
        bench.put(path, "text").await;
    }
    bench.put(&torn, "PAR1").await;
    bench.put("probe/01M82HBV90TFEGS5SS8QZE2000", "first").await;
    for path in strangers {
        bench.check(false, path, "nothing of Icecore's").await;
    }
    bench.check(false, &torn, "torn").await;
    bench.check(false, "probe/01M82HBV90TFEGS5SS8QZE2000", "a start").await;
    assert!(bench.store.check().await.unwrap().faults.is_empty());
}
