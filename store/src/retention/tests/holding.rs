//! Holds outrank retention and erasure.

use std::sync::atomic::{AtomicBool, Ordering};

use super::bench::{Bench, check, erased, forget, held, hours, names, wish};
use crate::catalog::FileEntry;
use crate::catalog::record::Cause;
use crate::model::TimeRange;
use crate::retention::HoldOutcome;
use crate::retention::execute::Judge;
use crate::retention::select::{Selection, Wanted};
use crate::sample::bodies;
use crate::store::Store;

/// Scenario: a hold is wished for twice, then otherwise, listed, released twice; other processes
/// read along, one without an index.
/// Guarantees: the same wish changes nothing, another is refused, and everybody sees the same.
#[tokio::test]
async fn a_hold_is_one_thing_everywhere() {
    let bench = Bench::new(&[]);
    let (one, two) = (bench.open("a").await, bench.open("b").await);
    bench.write(&one, 0, "x", 3).await;
    let hold = held(&one, "inc-7", hours(0, 1), "body has x").await;
    bench.pass(1);
    let again = two.hold(wish("inc-7", hours(0, 1), "body has x")).await.unwrap();
    assert_eq!(again, HoldOutcome::Same(hold.clone()));
    let other = two.hold(wish("inc-7", hours(0, 2), "body has x")).await.unwrap();
    assert_eq!(other, HoldOutcome::Other(hold.clone()));
    for store in [&one, &two, &bench.open("c").await, &bench.open("a").await] {
        let listed = store.holds().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].hold.clone(), listed[0].files, listed[0].rows), (hold.clone(), 1, 3));
        assert!(store.check().await.unwrap().index_agrees);
    }
    assert_eq!(two.release(&hold.name).await.unwrap(), Some(hold.clone()));
    assert_eq!(one.release(&hold.name).await.unwrap(), None);
    assert!(bench.open("d").await.holds().await.unwrap().is_empty());
    held(&one, "inc-7", hours(0, 2), "").await;
}

/// Scenario: a condition that no table understands, and one that a named table does not.
/// Guarantees: both are refused, and nothing stands.
#[tokio::test]
async fn a_hold_must_be_understood() {
    let bench = Bench::new(&[]);
    let store = bench.open("a").await;
    let refused = store.hold(wish("a", hours(0, 1), "nonsense")).await.unwrap_err();
    assert!(refused.to_string().contains("nonsense"), "{refused}");
    let mut spans = wish("a", hours(0, 1), "body has x");
    spans.tables = vec![crate::Table::Spans];
    assert!(store.hold(spans).await.is_err());
    assert!(store.holds().await.unwrap().is_empty());
}

/// Scenario: holds over a part of an hour, over a condition, over another time; then released.
/// Guarantees: exactly the rows that a hold keeps outlive retention and erasure; after the
/// release they go.
#[tokio::test]
async fn a_hold_outranks_rules_and_erasure() {
    let bench = Bench::new(&[(24, "")]);
    let store = bench.open("a").await;
    bench.write(&store, 0, "x", 6).await;
    bench.write(&store, 1, "y", 3).await;
    let begin = hours(0, 1).start();
    let two_seconds = TimeRange::new(begin, crate::UnixNanos(begin.0 + 2_000_000_000)).unwrap();
    let first = held(&store, "first-two", two_seconds, "").await;
    held(&store, "named", hours(0, 1), "body has -4").await;
    held(&store, "elsewhere", hours(5, 6), "").await;
    bench.pass(100);
    let report = store.retain(false).await.unwrap();
    assert_eq!(report.rows(), (6, 3));
    check(&store, &["x-0", "x-1", "x-4"]).await;
    assert_eq!(store.retain(false).await.unwrap().looked, 0);
    let report = erased(&store, forget("body has x")).await;
    assert_eq!((report.deleted.rows(), report.left, report.held), ((0, 3), 0, 3));
    check(&store, &["x-0", "x-1", "x-4"]).await;
    store.release(&first.name).await.unwrap();
    assert_eq!(store.retain(false).await.unwrap().rows(), (2, 1));
    check(&bench.open("b").await, &["x-4"]).await;
}

/// Scenario: a pass of retention and a hold run at once, twenty times, at ever other distances.
/// Guarantees: what the hold keeps and was there when it was acknowledged is there in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_and_passes_at_once_lose_nothing() {
    for distance in 0..20 {
        let bench = Bench::new(&[(24, ""), (48, "body has -0")]);
        let (remover, other) = (bench.open("a").await, bench.open("b").await);
        for hour in 0..3 {
            bench.write(&remover, hour, &format!("x{hour}"), 3).await;
        }
        bench.pass(30);
        let holding = async {
            for _ in 0..distance {
                tokio::time::sleep(std::time::Duration::from_micros(500)).await;
            }
            held(&other, "keep", hours(0, 3), "body has -1").await;
            bodies(&other, &other.snapshot()).await
        };
        let (passed, there) = tokio::join!(remover.retain(false), holding);
        passed.unwrap();
        let rest = names(&remover).await;
        for name in there.keys().filter(|name| name.contains("-1")) {
            assert!(rest.contains(name), "{name} is gone, at {distance}");
        }
        assert!(!rest.iter().any(|name| name.contains("-2")), "{rest:?}");
    }
}

/// Wants everything gone; while it is asked for the first time, another process makes a hold.
struct Racing<'a> {
    other: &'a Store,
    raced: AtomicBool,
}

impl Judge for Racing<'_> {
    fn cause(&self) -> Cause {
        Cause::Retention
    }

    fn wanted(&self, _: &FileEntry) -> (Wanted, u64) {
        if !self.raced.swap(true, Ordering::Relaxed) {
            tokio::task::block_in_place(|| {
                let holding = held(self.other, "just-in-time", hours(0, 1), "body has -1");
                tokio::runtime::Handle::current().block_on(holding);
            });
        }
        (Wanted { due: vec![Selection::ALL], ..Wanted::default() }, 0)
    }

    fn is_trial(&self) -> bool {
        false
    }
}

/// Scenario: a hold is acknowledged after a removal was decided on and before it is published.
/// Guarantees: the removal is decided on anew, and what the hold keeps is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_made_in_between_is_not_overlooked() {
    let bench = Bench::new(&[]);
    let (remover, other) = (bench.open("a").await, bench.open("b").await);
    bench.write(&remover, 0, "x", 3).await;
    let files = remover.snapshot().files(crate::Table::Logs, TimeRange::ALL);
    let by = Racing { other: &other, raced: AtomicBool::new(false) };
    let report = remover.remove_rows(&files, &by).await.unwrap();
    assert_eq!(report.rows(), (2, 1));
    check(&remover, &["x-1"]).await;
    check(&bench.open("c").await, &["x-1"]).await;
}
