//! The store over a bucket in memory that fails where a test says.

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use ulid::Ulid;
use url::Url;

use crate::bucket::faulty::{Fault, Faults, Faulty};
use crate::bucket::{Bucket, Puts};
use crate::chance::{Chance, Machine};
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::metrics::Metrics;
use crate::model::{LogPosition, UnixNanos, WriterId};
use crate::ports::{Clock, SystemClock};
use crate::sample::{HOUR, bodies, commit, expected};
use crate::store::Store;

mod long;
mod pages;

/// A bucket that outlives the stores which are opened over it.
struct Bench {
    objects: Arc<InMemory>,
    faults: Faults,
    folder: TempDir,
    puts: Puts,
}

impl Bench {
    fn new() -> Self {
        Self {
            objects: Arc::new(InMemory::new()),
            faults: Faults::default(),
            folder: TempDir::new().unwrap(),
            puts: Puts::CreateOnly,
        }
    }

    fn bucket(&self) -> Bucket {
        Faulty::bucket(Arc::clone(&self.objects), &self.faults, self.puts)
    }

    /// A store with its own index folder, or with the one that an earlier store had.
    async fn open(&self, index: &str) -> Store {
        self.open_with(index, |_| {}).await
    }

    /// The same with other settings.
    async fn open_with(&self, index: &str, change: impl FnOnce(&mut Config)) -> Store {
        let mut config =
            Config::new(Url::parse("file:///unused").unwrap(), self.folder.path().join(index));
        config.compaction.settle_after = Duration::ZERO;
        config.garbage_grace = Duration::ZERO;
        change(&mut config);
        let machine = Machine { clock: Arc::new(SystemClock::new()), chance: Chance::of_machine() };
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let process = machine.chance.id(&*machine.clock);
        Store::open_over(config, machine, metrics, self.bucket(), process).await.unwrap()
    }
}

fn writer(number: u128) -> WriterId {
    WriterId(Ulid::from_parts(1, number))
}

async fn check(store: &Store, parts: &[(&str, usize)]) {
    let snapshot = store.refresh().await.unwrap();
    assert_eq!(bodies(store, &snapshot).await, expected(parts));
    let report = store.check().await.unwrap();
    assert_eq!(report.faults, Vec::<String>::new());
    assert!(report.index_agrees);
}

/// Scenario: commits that are repeated, go on, are empty, or cross hours.
/// Guarantees: each row is there once; the snapshot has it at once; positions move on.
#[tokio::test]
async fn commits_are_there_at_once_and_once() {
    let bench = Bench::new();
    let store = bench.open("a").await;
    let me = writer(1);
    store.register_writer(me).await.unwrap();
    let first = commit(me, 0, 10, HOUR - 2_000_000_000, "a", 5);
    store.commit(first.clone()).await.unwrap();
    store.commit(first).await.unwrap();
    let snapshot = store.snapshot();
    assert_eq!(snapshot.files(crate::Table::Logs, crate::TimeRange::ALL).len(), 2, "two hours");
    assert!(snapshot.covers(me, LogPosition(9)) && !snapshot.covers(me, LogPosition(10)));
    let mut empty = commit(me, 10, 20, HOUR, "none", 1);
    empty.rows = Arc::new(Vec::new());
    store.commit(empty).await.unwrap();
    store.commit(commit(me, 20, 30, HOUR, "b", 3)).await.unwrap();
    assert_eq!(store.snapshot().covered_to(me), Some(LogPosition(30)));
    check(&store, &[("a", 5), ("b", 3)]).await;
    check(&bench.open("b").await, &[("a", 5), ("b", 3)]).await;
}

/// Scenario: a commit of a writer that nobody registered, and one that begins before what is
/// covered.
/// Guarantees: both are refused in a way that the caller can act on.
#[tokio::test]
async fn commits_out_of_turn_are_refused() {
    let bench = Bench::new();
    let store = bench.open("a").await;
    let me = writer(1);
    let early = store.commit(commit(me, 0, 10, HOUR, "a", 1)).await;
    assert!(matches!(early, Err(Error::NotRegistered { .. })));
    store.register_writer(me).await.unwrap();
    store.commit(commit(me, 0, 10, HOUR, "a", 1)).await.unwrap();
    let overlapping = store.commit(commit(me, 5, 20, HOUR, "b", 1)).await.unwrap_err();
    assert_eq!(overlapping.kind(), ErrorKind::Conflict);
    check(&store, &[("a", 1)]).await;
}

/// Scenario: a put fails before or after it was carried out, for a file and for the record; the
/// process goes on, or dies and starts again; then the same commit is made again.
/// Guarantees: every row is there once.
#[tokio::test]
async fn every_crash_point_keeps_each_row_once() {
    for restart in [false, true] {
        for fault in [
            Fault::BeforePut("data/"),
            Fault::AfterPut("data/"),
            Fault::BeforePut("catalog/"),
            Fault::AfterPut("catalog/"),
        ] {
            let bench = Bench::new();
            let mut store = bench.open("a").await;
            let me = writer(1);
            store.register_writer(me).await.unwrap();
            store.commit(commit(me, 0, 10, HOUR, "a", 3)).await.unwrap();
            bench.faults.inject(fault);
            let again = commit(me, 10, 20, HOUR, "b", 4);
            let failed = store.commit(again.clone()).await.unwrap_err();
            assert!(failed.is_retryable(), "{fault:?}: {failed}");
            if restart {
                drop(store);
                store = bench.open("a").await;
                store.register_writer(me).await.unwrap();
            }
            store.commit(again).await.unwrap();
            check(&store, &[("a", 3), ("b", 4)]).await;
        }
    }
}

/// Scenario: the record of a dead process lands after its successor has read the catalog.
/// Guarantees: the successor's commit of a longer stretch is refused, not added on top.
#[tokio::test]
async fn a_late_record_overtakes_and_is_not_doubled() {
    let bench = Bench::new();
    let me = writer(1);
    let (dying, successor) = (bench.open("a").await, bench.open("b").await);
    dying.register_writer(me).await.unwrap();
    successor.register_writer(me).await.unwrap();
    dying.commit(commit(me, 0, 10, HOUR, "a", 3)).await.unwrap();
    let longer = successor.commit(commit(me, 0, 20, HOUR, "a", 6)).await.unwrap_err();
    let Error::Overtaken { covered_to, .. } = longer else { panic!("{longer}") };
    assert_eq!(covered_to, LogPosition(10));
    successor.commit(commit(me, 10, 20, HOUR, "b", 3)).await.unwrap();
    check(&successor, &[("a", 3), ("b", 3)]).await;
}

/// Scenario: two writers and a reader, each in a store of its own.
/// Guarantees: a refresh shows what the others committed; each sees its own at once.
#[tokio::test]
async fn writers_do_not_contend() {
    let bench = Bench::new();
    let (one, two) = (bench.open("a").await, bench.open("b").await);
    one.register_writer(writer(1)).await.unwrap();
    two.register_writer(writer(2)).await.unwrap();
    let fill = async |store: &Store, number: u128, name: &str| {
        for turn in 0..8 {
            let name = format!("{name}{turn}");
            let (from, to) = (turn * 10, turn * 10 + 10);
            store.commit(commit(writer(number), from, to, HOUR, &name, 2)).await.unwrap();
        }
    };
    tokio::join!(fill(&one, 1, "x"), fill(&two, 2, "y"));
    assert_eq!(bodies(&one, &one.snapshot()).await.len(), 16, "own commits without a refresh");
    let names: Vec<String> = (0..8).flat_map(|n| [format!("x{n}"), format!("y{n}")]).collect();
    let parts: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 2)).collect();
    for store in [&one, &two, &bench.open("c").await] {
        check(store, &parts).await;
    }
}

/// Fills an hour with `files` files of two rows each.
async fn fill(store: &Store, files: u64) -> Vec<(String, usize)> {
    store.register_writer(writer(1)).await.unwrap();
    for turn in 0..files {
        let (from, to) = (turn * 10, turn * 10 + 10);
        let rows = commit(writer(1), from, to, HOUR, &format!("n{turn}-"), 2);
        store.commit(rows).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    (0..files).map(|turn| (format!("n{turn}-"), 2)).collect()
}

fn parts(owned: &[(String, usize)]) -> Vec<(&str, usize)> {
    owned.iter().map(|(name, count)| (name.as_str(), *count)).collect()
}

/// Scenario: an hour of ten small files is compacted; then garbage is collected.
/// Guarantees: one file with every row once, for old and new readers; the inputs are deleted
/// after the grace, and nothing that counts is.
#[tokio::test]
async fn a_compaction_keeps_each_row_once() {
    let bench = Bench::new();
    let store = bench.open("a").await;
    let rows = fill(&store, 10).await;
    let before = store.snapshot();
    let report = store.compact().await.unwrap();
    assert_eq!((report.merges, report.files_in, report.void), (1, 10, 0));
    assert_eq!(bodies(&store, &before).await, expected(&parts(&rows)), "an old snapshot reads on");
    check(&store, &parts(&rows)).await;
    assert_eq!(store.stats().tables[2].files, 1);
    assert_eq!(store.compact().await.unwrap().merges, 0, "nothing is left to merge");
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(store.collect_garbage().await.unwrap(), 10);
    assert_eq!(store.collect_garbage().await.unwrap(), 0);
    check(&store, &parts(&rows)).await;
    check(&bench.open("b").await, &parts(&rows)).await;
}

/// The machine's clock, so much later.
#[derive(Debug)]
struct Later(SystemClock, Duration);

impl Clock for Later {
    fn now(&self) -> UnixNanos {
        UnixNanos(self.0.now().0 + i64::try_from(self.1.as_nanos()).unwrap())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed() + self.1
    }
}

/// Scenario: a process that deletes nothing has ten files removed by a merge; eight days go by; it starts again, and
/// collects garbage after all.
/// Guarantees: it knows for days which files were removed, and not for ever; those that are there still are deleted.
#[tokio::test]
async fn removed_files_are_forgotten_at_last() {
    let bench = Bench::new();
    let mut store = bench.open("a").await;
    let rows = fill(&store, 10).await;
    store.compact().await.unwrap();
    for (days, known) in [(0, 10), (6, 10), (8, 0)] {
        store.clock = Arc::new(Later(SystemClock::new(), Duration::from_secs(days * 86_400)));
        store.forget_removed().await.unwrap();
        assert_eq!(store.state.lock().await.removed().len(), known, "after {days} days");
    }
    drop(store);
    let store = bench.open("a").await;
    assert_eq!(store.state.lock().await.removed().len(), 0);
    assert_eq!(store.collect_garbage().await.unwrap(), 10);
    check(&store, &parts(&rows)).await;
}

/// Scenario: two compactors plan over the same files; commits go on meanwhile.
/// Guarantees: one of the two is published, the other is void; each row is there once.
#[tokio::test]
async fn racing_compactions_and_commits_keep_each_row_once() {
    let bench = Bench::new();
    let (one, two) = (bench.open("a").await, bench.open("b").await);
    let mut rows = fill(&one, 10).await;
    two.refresh().await.unwrap();
    let late = commit(writer(1), 100, 110, HOUR, "late", 4);
    let (first, second, done) = tokio::join!(one.compact(), two.compact(), one.commit(late));
    done.unwrap();
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(first.merges + second.merges >= 1, "{first:?} {second:?}");
    rows.push(("late".to_owned(), 4));
    check(&one, &parts(&rows)).await;
    check(&two, &parts(&rows)).await;
    check(&bench.open("c").await, &parts(&rows)).await;
}

/// Scenario: a commit stops between its files and its record for longer than the grace, its files
/// are collected, and then it goes on.
/// Guarantees: the files go, because another record takes the number that they waited for; the
/// commit finds that, writes its files anew, and each row is there once.
#[tokio::test]
async fn orphans_go_when_they_can_never_count() {
    let bench = Bench::new();
    let store = bench.open("a").await;
    store.register_writer(writer(1)).await.unwrap();
    bench.faults.inject(Fault::BeforePut("catalog/"));
    let rows = commit(writer(1), 0, 10, HOUR, "a", 3);
    store.commit(rows.clone()).await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(bench.open("b").await.collect_garbage().await.unwrap(), 1);
    store.commit(rows).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let written_for_the_taken_number = store.collect_garbage().await.unwrap();
    assert_eq!(written_for_the_taken_number, 1);
    check(&store, &[("a", 3)]).await;
}

/// Scenario: a bucket that overwrites; a second writer, a restart of the first, a compactor.
/// Guarantees: whoever is not the owner is refused by name; the owner's next life is not.
#[tokio::test]
async fn a_bucket_that_overwrites_has_one_writer() {
    let bench = Bench { puts: Puts::Overwrite, ..Bench::new() };
    let first = bench.open("a").await;
    first.register_writer(writer(1)).await.unwrap();
    first.commit(commit(writer(1), 0, 10, HOUR, "a", 3)).await.unwrap();
    let second = bench.open("b").await;
    let refused = second.register_writer(writer(2)).await.unwrap_err();
    let Error::Owned { owner, .. } = &refused else { panic!("{refused}") };
    assert_eq!(*owner, format!("writer {}", writer(1)));
    assert!(matches!(second.compact().await, Err(Error::Owned { .. })));
    assert_eq!(first.compact().await.unwrap().merges, 0, "the owner may");
    drop(first);
    let restarted = bench.open("a").await;
    restarted.register_writer(writer(1)).await.unwrap();
    restarted.commit(commit(writer(1), 10, 20, HOUR, "b", 3)).await.unwrap();
    check(&second, &[("a", 3), ("b", 3)]).await;
}

/// Scenario: a compactor's loop claims the bucket before the process knows its writer; then the
/// process dies and starts again at once.
/// Guarantees: the writer's name replaces the process's, so that its next life need not wait.
#[tokio::test]
async fn a_writers_name_replaces_a_process() {
    let bench = Bench { puts: Puts::Overwrite, ..Bench::new() };
    let first = bench.open("a").await;
    first.compact().await.unwrap();
    first.register_writer(writer(1)).await.unwrap();
    first.compact().await.unwrap();
    first.commit(commit(writer(1), 0, 10, HOUR, "a", 3)).await.unwrap();
    drop(first);
    bench.open("a").await.register_writer(writer(1)).await.unwrap();
}

/// Scenario: checkpoints are written, go stale, are damaged, and are of another catalog; a reader
/// without an index starts each time.
/// Guarantees: the same answers; old checkpoints go; what does not agree is passed over.
#[tokio::test]
async fn a_checkpoint_only_saves_requests() {
    let bench = Bench::new();
    let store = bench.open("a").await;
    let mut rows = fill(&store, 10).await;
    store.compact().await.unwrap();
    for turn in 10..14 {
        let (from, to) = (turn * 10, turn * 10 + 10);
        let name = format!("n{turn}-");
        store.commit(commit(writer(1), from, to, HOUR, &name, 2)).await.unwrap();
        store.checkpoint_when_due(1).await.unwrap();
        rows.push((name, 2));
    }
    let last = commit(writer(1), 140, 150, HOUR, "last", 2);
    store.commit(last).await.unwrap();
    store.checkpoint_when_due(1000).await.unwrap();
    rows.push(("last".to_owned(), 2));
    let listed = store.bucket.list("catalog/checkpoint").await.unwrap();
    assert_eq!(listed.len(), 2);
    check(&bench.open("b").await, &parts(&rows)).await;
    check(&bench.open("b").await, &parts(&rows)).await;
    let damaged = "catalog/checkpoint/00000000000000000999-x.json";
    store.bucket.create(damaged, "rubbish".into()).await.unwrap();
    let other = Bench::new();
    let foreign = other.open("a").await;
    fill(&foreign, 3).await;
    foreign.checkpoint_when_due(1).await.unwrap();
    let path = foreign.bucket.list("catalog/checkpoint").await.unwrap()[0].location.to_string();
    let bytes = foreign.bucket.read(&path).await.unwrap().unwrap();
    store.bucket.create("catalog/checkpoint/00000000000000000998-x.json", bytes).await.unwrap();
    let store = bench.open("c").await;
    assert_eq!(bodies(&store, &store.snapshot()).await, expected(&parts(&rows)));
    let faults = store.check().await.unwrap().faults;
    assert!(faults.len() == 2 && faults.iter().all(|it| it.contains("checkpoint/")), "{faults:?}");
}
