//! A bucket in memory, a clock that stands still, and conditions on the body of log records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use object_store::memory::InMemory;
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use ulid::Ulid;
use url::Url;

use crate::bucket::Puts;
use crate::bucket::faulty::{Faults, Faulty};
use crate::catalog::Snapshot;
use crate::chance::{Chance, Machine};
use crate::config::Config;
use crate::files::ReadColumn;
use crate::metrics::Metrics;
use crate::model::{Hold, Table, TimeRange, UnixNanos, WriterId};
use crate::ports::{Clock, Condition, ConditionError, Conditions, RowPlace};
use crate::retention::{EraseReport, EraseRequest, HoldOutcome, HoldRequest, RetentionRule};
use crate::sample::{HOUR, bodies, commit};
use crate::store::Store;

/// Understands `body has TEXT` on logs, and nothing else anywhere.
#[derive(Debug)]
pub(crate) struct BodyConditions;

#[derive(Debug)]
struct BodyHas {
    text: String,
    reads: Vec<ReadColumn>,
    place: RowPlace,
}

impl Conditions for BodyConditions {
    fn compile(
        &self,
        table: Table,
        sql: &str,
        _: &Snapshot,
    ) -> Result<Arc<dyn Condition>, ConditionError> {
        match sql.strip_prefix("body has ").filter(|_| table == Table::Logs) {
            Some(text) => Ok(Arc::new(BodyHas {
                text: text.to_owned(),
                reads: vec![ReadColumn::Fixed("body".to_owned())],
                place: RowPlace::ANYWHERE,
            })),
            None => Err(ConditionError { reason: format!("no `{sql}` on {table}"), hint: None }),
        }
    }
}

impl Condition for BodyHas {
    fn columns(&self) -> &[ReadColumn] {
        &self.reads
    }

    fn place(&self) -> &RowPlace {
        &self.place
    }

    fn matches(&self, columns: &RecordBatch) -> Result<BooleanArray, ConditionError> {
        let texts = cast(columns.column(0), &DataType::Utf8).unwrap();
        let texts = texts.as_string::<i32>();
        let has = |row| texts.is_valid(row) && texts.value(row).contains(&self.text);
        Ok(BooleanArray::from((0..texts.len()).map(has).collect::<Vec<bool>>()))
    }
}

/// A clock that moves when a test says so.
#[derive(Debug)]
pub(super) struct StillClock(AtomicI64);

impl Clock for StillClock {
    fn now(&self) -> UnixNanos {
        UnixNanos(self.0.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> Duration {
        let since = self.0.load(Ordering::Relaxed) - HOUR;
        Duration::from_nanos(u64::try_from(since).unwrap())
    }
}

/// A bucket that outlives the stores that are opened over it.
pub(super) struct Bench {
    objects: Arc<InMemory>,
    pub(super) faults: Faults,
    pub(super) clock: Arc<StillClock>,
    folder: TempDir,
    rules: Vec<RetentionRule>,
    written: AtomicI64,
}

impl Bench {
    /// With rules such as `("48h", "")` or `("72h", "body has x")`, in hours; 0 is for ever.
    pub(super) fn new(rules: &[(u64, &str)]) -> Self {
        let rule = |(hours, condition): &(u64, &str)| RetentionRule {
            table: Table::Logs,
            keep: (*hours > 0).then(|| Duration::from_secs(hours * 3600)),
            condition: (!condition.is_empty()).then(|| (*condition).to_owned()),
        };
        Self {
            objects: Arc::new(InMemory::new()),
            faults: Faults::default(),
            clock: Arc::new(StillClock(AtomicI64::new(HOUR))),
            folder: TempDir::new().unwrap(),
            rules: rules.iter().map(rule).collect(),
            written: AtomicI64::new(0),
        }
    }

    /// Moves the clock.
    pub(super) fn pass(&self, hours: i64) {
        self.clock.0.fetch_add(hours * UnixNanos::HOUR, Ordering::Relaxed);
    }

    /// A store with its own index folder, or with the one that an earlier store had.
    pub(super) async fn open(&self, index: &str) -> Store {
        let mut config =
            Config::new(Url::parse("file:///unused").unwrap(), self.folder.path().join(index));
        config.compaction.settle_after = Duration::ZERO;
        config.compaction.files_min = 2;
        config.garbage_grace = Duration::from_secs(1800);
        config.retention = self.rules.clone();
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let machine = Machine { clock, chance: Chance::of_machine() };
        let process = machine.chance.id(&*machine.clock);
        let bucket = Faulty::bucket(Arc::clone(&self.objects), &self.faults, Puts::CreateOnly);
        let store = Store::open_over(config, machine, metrics, bucket, process).await.unwrap();
        store.understand(Arc::new(BodyConditions)).unwrap();
        store
    }

    /// One file of `count` log records `<name>-<row>`, a second apart, in the hour that begins
    /// `hour` hours after [`HOUR`].
    pub(super) async fn write(&self, store: &Store, hour: i64, name: &str, count: usize) {
        let writer = WriterId(Ulid::from_parts(1, 1));
        store.register_writer(writer).await.unwrap();
        let from = u64::try_from(self.written.fetch_add(10, Ordering::Relaxed)).unwrap();
        let rows = commit(writer, from, from + 10, HOUR + hour * UnixNanos::HOUR, name, count);
        // As a flush does, until it is there.
        while store.commit(rows.clone()).await.is_err() {}
    }
}

/// The window of these hours after [`HOUR`].
pub(super) fn hours(from: i64, to: i64) -> TimeRange {
    let at = |hour: i64| UnixNanos(HOUR + hour * UnixNanos::HOUR);
    TimeRange::new(at(from), at(to)).unwrap()
}

pub(super) fn wish(name: &str, time: TimeRange, condition: &str) -> HoldRequest {
    let condition = (!condition.is_empty()).then(|| condition.to_owned());
    HoldRequest { name: name.parse().unwrap(), time, condition, tables: Vec::new() }
}

pub(super) async fn held(store: &Store, name: &str, time: TimeRange, condition: &str) -> Hold {
    match store.hold(wish(name, time, condition)).await.unwrap() {
        HoldOutcome::Made(hold) => hold,
        other => panic!("{other:?}"),
    }
}

pub(super) fn forget(condition: &str) -> EraseRequest {
    EraseRequest {
        condition: condition.to_owned(),
        tables: Vec::new(),
        time: TimeRange::ALL,
        by: "a test".to_owned(),
        trial: false,
        now: true,
        wait: false,
    }
}

pub(super) async fn erased(store: &Store, request: EraseRequest) -> EraseReport {
    store.erase(request, None, &|_| {}).await.unwrap()
}

/// The bodies that a snapshot has, each of which must be there once.
pub(super) async fn names(store: &Store) -> Vec<String> {
    let snapshot = store.refresh().await.unwrap();
    let found: BTreeMap<String, u32> = bodies(store, &snapshot).await;
    assert!(found.values().all(|times| *times == 1), "{found:?}");
    found.into_keys().collect()
}

/// These bodies are there, once each, and the bucket is whole.
pub(super) async fn check(store: &Store, expected: &[&str]) {
    let mut expected: Vec<&str> = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(names(store).await, expected);
    let report = store.check().await.unwrap();
    assert_eq!(report.faults, Vec::<String>::new());
    assert!(report.index_agrees);
}
