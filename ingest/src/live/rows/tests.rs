//! Live rows: room, order, and what a reader sees.

use icecore_store::UnixNanos;
use prometheus_client::registry::Registry;

use super::*;
use crate::fixtures::{TestClock, rows};
use crate::metrics::Metrics;

fn live(bytes_max: u64, flush_bytes: u64) -> Arc<Rows> {
    live_with(bytes_max, flush_bytes, Arc::default())
}

fn live_with(bytes_max: u64, flush_bytes: u64, clock: Arc<TestClock>) -> Arc<Rows> {
    let metrics = Metrics::new(&mut Registry::default()).live;
    let writer = WriterId(ulid::Ulid::nil());
    Arc::new(Rows::new(writer, bytes_max, flush_bytes, clock, metrics))
}

fn at(position: u64) -> Appended {
    Appended { position: LogPosition(position), next: LogPosition(position + 10) }
}

/// The cost of the batches that these tests use.
fn batch_bytes() -> u64 {
    memory_bytes(&rows(Table::Spans, 0..10))
}

async fn positions(live: &Rows, table: Table, time: TimeRange) -> Vec<u64> {
    let snapshot = live.live_rows(table, time).await.unwrap();
    snapshot.batches.iter().map(|batch| batch.position.0).collect()
}

/// Scenario: room for two batches; three are reserved, one reservation is given up, one settles.
/// Guarantees: the bound counts what is on its way; nothing is visible before it settles; what is
/// given up or covered makes room again.
#[tokio::test]
async fn room_is_reserved_before_the_log() {
    let live = live(batch_bytes() * 2, u64::MAX);
    let batch = || rows(Table::Spans, 0..10);
    let one = live.try_reserve(batch()).unwrap();
    let two = live.try_reserve(batch()).unwrap();
    let full = live.try_reserve(batch()).unwrap_err();
    assert_eq!((full.used_bytes, full.bytes), (batch_bytes() * 2, batch_bytes()));
    assert!(positions(&live, Table::Spans, TimeRange::ALL).await.is_empty());
    drop(one);
    two.settle(at(10));
    assert_eq!(positions(&live, Table::Spans, TimeRange::ALL).await, [10]);
    let three = live.try_reserve(batch()).unwrap();
    assert!(live.try_reserve(batch()).is_err());
    live.drop_covered(LogPosition(20));
    assert!(live.try_reserve(batch()).is_ok());
    drop(three);
    assert_eq!(live.state().used_bytes, 0);
}

/// Scenario: batches of two tables and different times.
/// Guarantees: a reader gets those of its table that overlap its time, in log order, until they
/// are covered.
#[tokio::test]
async fn a_reader_gets_its_table_and_time() {
    let live = live(u64::MAX, u64::MAX);
    live.restore(at(0), rows(Table::Spans, 0..10));
    live.restore(at(10), rows(Table::Logs, 0..10));
    live.restore(at(20), rows(Table::Spans, 10..20));
    live.restore(at(30), rows(Table::Spans, 5..6));
    let early = TimeRange::new(UnixNanos(0), UnixNanos(10)).unwrap();
    assert_eq!(positions(&live, Table::Spans, early).await, [0, 30]);
    assert_eq!(positions(&live, Table::Spans, TimeRange::ALL).await, [0, 20, 30]);
    assert_eq!(positions(&live, Table::Logs, TimeRange::ALL).await, [10]);
    live.drop_covered(LogPosition(20));
    assert_eq!(positions(&live, Table::Spans, TimeRange::ALL).await, [20, 30]);
    assert_eq!(positions(&live, Table::Logs, TimeRange::ALL).await, [0; 0]);
}

/// Scenario: more is live than one flush takes.
/// Guarantees: a flush takes the oldest batches, at least one, and says where they end.
#[tokio::test]
async fn a_flush_takes_the_oldest() {
    let live = live(u64::MAX, batch_bytes() + 1);
    assert!(live.prefix().is_none());
    assert!(!live.is_flush_due());
    for position in [0, 10, 20] {
        live.restore(at(position), rows(Table::Spans, 0..10));
    }
    assert!(live.is_flush_due());
    live.flush_due().await;
    let prefix = live.prefix().unwrap();
    assert_eq!((prefix.covers_to, prefix.batches.len(), prefix.rows), (LogPosition(20), 2, 20));
    live.drop_covered(prefix.covers_to);
    let prefix = live.prefix().unwrap();
    assert_eq!((prefix.covers_to, prefix.batches.len()), (LogPosition(30), 1));
}

/// Scenario: time passes over a batch, and then it is covered.
/// Guarantees: the age is that of the oldest batch, and zero where there is none.
#[test]
fn the_oldest_has_an_age() {
    let clock = Arc::new(TestClock::default());
    let live = live_with(u64::MAX, u64::MAX, Arc::clone(&clock));
    assert_eq!(live.oldest_age(), Duration::ZERO);
    live.restore(at(0), rows(Table::Spans, 0..10));
    clock.advance(Duration::from_secs(3));
    live.restore(at(10), rows(Table::Spans, 0..10));
    assert_eq!(live.oldest_age(), Duration::from_secs(3));
    live.drop_covered(LogPosition(20));
    assert_eq!(live.oldest_age(), Duration::ZERO);
}
