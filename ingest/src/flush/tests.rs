//! The flush against a store that is slow, away, or forgets to answer.

use icecore_store::{Table, TimeRange};
use prometheus_client::registry::Registry;

use super::*;
use crate::fixtures::{MemorySink, TestClock, rows};
use crate::log::Appended;
use crate::log::faults::FaultyFolder;

const SETTINGS: FlushSettings = FlushSettings {
    flush_after: Duration::from_millis(40),
    flush_retry_max: Duration::from_millis(5),
    drain_timeout: Duration::from_millis(500),
};

struct Setup {
    sink: Arc<MemorySink>,
    clock: Arc<TestClock>,
    live: Arc<Rows>,
    flush: Flush,
    next: u64,
}

/// A flush with room for two batches at a time.
fn setup() -> Setup {
    let metrics = Metrics::new(&mut Registry::default());
    let writer = WriterId(ulid::Ulid::nil());
    let test_clock = Arc::new(TestClock::default());
    let clock: Arc<dyn Clock> = Arc::clone(&test_clock) as Arc<dyn Clock>;
    let sink = Arc::new(MemorySink::default());
    let folder = Arc::new(FaultyFolder::default());
    let segments = Arc::new(Segments::new(folder, Vec::new(), LogPosition(0)));
    let two = rows(Table::Spans, 0..10).rows.get_array_memory_size() as u64 * 2;
    let live_metrics = metrics.live.clone();
    let live = Arc::new(Rows::new(writer, u64::MAX, two, Arc::clone(&clock), live_metrics));
    let parts = FlushParts {
        sink: Arc::clone(&sink) as Arc<dyn Sink>,
        writer,
        live: Arc::clone(&live),
        segments,
        clock,
        metrics,
    };
    let flush = Flush::new(SETTINGS, parts, LogPosition(0));
    Setup { sink, clock: test_clock, live, flush, next: 0 }
}

impl Setup {
    fn add(&mut self, batches: u64) {
        for _ in 0..batches {
            let (position, next) = (LogPosition(self.next), LogPosition(self.next + 10));
            self.live.restore(Appended { position, next }, rows(Table::Spans, 0..10));
            self.next += 10;
        }
    }

    async fn run(&mut self, time: Duration) {
        let stop = CancellationToken::new();
        tokio::time::timeout(time, self.flush.run(&stop)).await.unwrap_err();
    }

    /// Runs until so many batches are live.
    async fn run_until_live(&mut self, batches: usize) {
        for _ in 0..1000 {
            if self.live_batches().await == batches {
                return;
            }
            self.run(Duration::from_millis(20)).await;
        }
        panic!("still {} batches", self.live_batches().await);
    }

    async fn live_batches(&self) -> usize {
        use icecore_store::LiveRows;
        let snapshot = self.live.live_rows(Table::Spans, TimeRange::ALL).await;
        snapshot.unwrap().batches.len()
    }

    /// Every row was committed once, in stretches that follow each other.
    fn check_all_committed(&self) {
        let state = self.sink.state();
        let stretches = state.commits.iter().map(|commit| (commit.covers_from, commit.covers_to));
        let end = stretches.fold(LogPosition(0), |end, (from, to)| {
            assert_eq!(from, end, "stretches follow each other");
            to
        });
        assert_eq!(end, LogPosition(self.next));
        drop(state);
        assert_eq!(self.sink.rows() as u64, self.next, "ten rows for ten positions");
    }
}

/// Scenario: one batch grows old; then more arrive than one flush takes.
/// Guarantees: nothing is flushed before its time; size makes a flush due at once; live rows go
/// only with the commit that covers them.
#[tokio::test]
async fn rows_are_flushed_by_age_and_size() {
    let mut setup = setup();
    setup.add(1);
    setup.clock.advance(SETTINGS.flush_after - Duration::from_millis(1));
    setup.run(Duration::from_millis(80)).await;
    assert_eq!(setup.sink.rows(), 0);
    setup.clock.advance(Duration::from_millis(1));
    setup.run_until_live(0).await;
    assert_eq!(setup.sink.rows(), 10);
    setup.add(5);
    setup.run_until_live(1).await;
    assert_eq!(setup.sink.rows(), 50, "two full flushes; the rest is young");
    setup.flush.drain().await;
    setup.check_all_committed();
    assert_eq!(*setup.flush.covered().borrow(), LogPosition(60));
}

/// Scenario: the bucket is away for a while, and more rows arrive meanwhile.
/// Guarantees: tries go on with pauses, live rows stay, and all arrive once it is back.
#[tokio::test]
async fn a_bucket_that_is_away_is_waited_for() {
    let mut setup = setup();
    setup.add(2);
    setup.sink.state().away = true;
    setup.run(Duration::from_millis(200)).await;
    let attempts = setup.sink.state().attempts;
    assert!((2..=41).contains(&attempts), "{attempts} attempts, five milliseconds apart");
    assert_eq!(setup.live_batches().await, 2);
    setup.add(3);
    setup.sink.state().away = false;
    setup.flush.drain().await;
    setup.check_all_committed();
}

/// Scenario: the store takes a commit, but its answer is lost; meanwhile more rows arrive.
/// Guarantees: the same stretch is tried again, so that no row is stored twice.
#[tokio::test]
async fn a_lost_answer_stores_nothing_twice() {
    let mut setup = setup();
    setup.add(1);
    setup.sink.state().unheard = true;
    setup.flush.once().await.unwrap_err();
    setup.add(1);
    assert_eq!(setup.live_batches().await, 2, "not covered as far as we know");
    setup.flush.drain().await;
    assert_eq!(setup.sink.state().commits.len(), 2);
    setup.check_all_committed();
}

/// Scenario: the catalog turns out to be ahead of what the start knew of it.
/// Guarantees: what it covers is dropped, the rest is flushed, nothing twice.
#[tokio::test]
async fn a_catalog_that_is_ahead_is_believed() {
    let mut setup = setup();
    setup.add(2);
    setup.sink.state().covered = Some(LogPosition(10));
    setup.flush.drain().await;
    let state = setup.sink.state();
    let committed: Vec<_> = state.commits.iter().map(|c| (c.covers_from, c.covers_to)).collect();
    assert_eq!(committed, [(LogPosition(10), LogPosition(20))]);
}

/// Scenario: the bucket is away at the end.
/// Guarantees: the drain gives up at its deadline and the rows are not dropped.
#[tokio::test]
async fn a_drain_has_a_deadline() {
    let mut setup = setup();
    setup.add(1);
    setup.sink.state().away = true;
    setup.flush.drain().await;
    assert!(setup.sink.state().attempts > 1, "tried until the deadline");
    assert_eq!(setup.live_batches().await, 1);
}
