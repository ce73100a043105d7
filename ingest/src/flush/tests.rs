//! The flush against a store that is slow, away, or forgets to answer.

use icecore_store::{LiveRows, Signal, Table, TimeRange};
use prometheus_client::registry::Registry;
use prost::Message;

use super::*;
use crate::decode::check;
use crate::fixtures::{MemorySink, TestClock, any_pace, request};
use crate::live::{BlocksSettings, Live, LiveRequest};
use crate::log::faults::FaultyFolder;
use crate::log::harness::{Log, SETTINGS as LOG};
use crate::log::{Contents, Packed, WriterSettings};

const SETTINGS: FlushSettings = FlushSettings {
    flush_after: Duration::from_millis(40),
    flush_retry_max: Duration::from_millis(5),
    drain_timeout: Duration::from_millis(500),
};

/// Spans of each request.
const SPANS: usize = 10;

struct Setup {
    sink: Arc<MemorySink>,
    clock: Arc<TestClock>,
    live: Arc<Blocks>,
    flush: Flush,
    log: Log,
    ends: Vec<LogPosition>,
}

/// A flush that is due at two requests.
fn setup() -> Setup {
    let metrics = Metrics::new(&mut Registry::default());
    let test_clock = Arc::new(TestClock::default());
    let clock: Arc<dyn Clock> = Arc::clone(&test_clock) as Arc<dyn Clock>;
    let sink = Arc::new(MemorySink::default());
    let folder = FaultyFolder::default();
    let (log, _) = Log::open(&folder, WriterSettings { log_bytes_max: u64::MAX, ..LOG });
    let settings =
        BlocksSettings { flush_bytes: payload().len() as u64 * 2, cache_bytes_max: u64::MAX };
    let tail = Arc::new(log.tail.clone());
    let pace = any_pace(Arc::clone(&clock), &metrics);
    let live = Arc::new(Blocks::new(settings, tail, Arc::clone(&clock), pace, metrics.clone()));
    let parts = FlushParts {
        sink: Arc::clone(&sink) as Arc<dyn Sink>,
        writer: WriterId(ulid::Ulid::nil()),
        live: Arc::clone(&live),
        segments: Arc::clone(&log.segments),
        clock,
        metrics,
    };
    let flush = Flush::new(SETTINGS, parts, LogPosition(0));
    Setup { sink, clock: test_clock, live, flush, log, ends: Vec::new() }
}

fn payload() -> Vec<u8> {
    request(&["a span"; SPANS]).encode_to_vec()
}

impl Setup {
    fn add(&mut self, requests: usize) {
        for _ in 0..requests {
            let checked = check(Signal::Traces, &payload()).unwrap();
            let rows = u32::try_from(checked.accepted).unwrap();
            let contents = Contents { rows, time: checked.time.unwrap(), alone: false };
            let packed = Packed::plain(payload().into());
            let at = self.log.append(Signal::Traces, contents, packed).unwrap();
            let (signal, plain_bytes) = (Signal::Traces, payload().len());
            let traces = checked.traces.as_deref();
            self.live.add(at, &LiveRequest { signal, contents, plain_bytes, traces });
            self.ends.push(at.next);
        }
    }

    async fn run(&mut self, time: Duration) {
        let stop = CancellationToken::new();
        tokio::time::timeout(time, self.flush.run(&stop)).await.unwrap_err();
    }

    /// Runs until so many requests are live.
    async fn run_until_live(&mut self, requests: usize) {
        for _ in 0..1000 {
            if self.live_requests().await == requests {
                return;
            }
            self.run(Duration::from_millis(20)).await;
        }
        panic!("still {} requests", self.live_requests().await);
    }

    async fn live_requests(&self) -> usize {
        let live = Live(Arc::clone(&self.live));
        let snapshot = live.live_rows(Table::Spans, TimeRange::ALL).await.unwrap();
        let rows: u64 = snapshot.blocks.iter().map(|block| block.rows()).sum();
        usize::try_from(rows).unwrap() / SPANS
    }

    /// Every row was committed once, in stretches that follow each other.
    fn check_all_committed(&self) {
        let state = self.sink.state();
        let stretches = state.commits.iter().map(|commit| (commit.covers_from, commit.covers_to));
        let end = stretches.fold(LogPosition(0), |end, (from, to)| {
            assert_eq!(from, end, "stretches follow each other");
            to
        });
        assert_eq!(Some(&end), self.ends.last());
        drop(state);
        assert_eq!(self.sink.rows(), self.ends.len() * SPANS);
    }
}

/// Scenario: one request grows old; then more arrive than one flush takes.
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
    setup.run_until_live(0).await;
    assert_eq!(setup.sink.rows(), 60);
    setup.add(1);
    setup.run(Duration::from_millis(80)).await;
    assert_eq!(setup.live_requests().await, 1, "little, and young");
    setup.flush.drain().await;
    setup.check_all_committed();
    assert_eq!(Some(&*setup.flush.covered().borrow()), setup.ends.last());
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
    assert_eq!(setup.live_requests().await, 2);
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
    assert_eq!(setup.live_requests().await, 2, "not covered as far as we know");
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
    setup.sink.state().covered = Some(setup.ends[0]);
    setup.flush.drain().await;
    let state = setup.sink.state();
    let committed: Vec<_> = state.commits.iter().map(|c| (c.covers_from, c.covers_to)).collect();
    assert_eq!(committed, [(setup.ends[0], setup.ends[1])]);
    drop(state);
    assert_eq!(setup.sink.rows(), SPANS, "the other request was there already");
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
    assert_eq!(setup.live_requests().await, 1);
}

/// Scenario: somebody asks for a flush of rows that are few and young, while the bucket is away at
/// first; then where nothing waits; then more comes in.
/// Guarantees: the answer comes when all of them are in the store, and not before; rows that come
/// later wait for their time; what was covered leaves the log with the next flush.
#[tokio::test]
async fn a_flush_that_is_asked_for_is_made() {
    use icecore_store::Flush as _;
    let mut setup = setup();
    setup.add(1);
    let (now, end) = (setup.flush.now(), setup.ends[0]);
    setup.sink.state().away = true;
    let asked = tokio::spawn(async move { now.flush().await });
    setup.run(Duration::from_millis(50)).await;
    assert!(!asked.is_finished() && setup.sink.rows() == 0);
    setup.sink.state().away = false;
    setup.run_until_live(0).await;
    assert_eq!(asked.await.unwrap().unwrap().covered_to, end);
    setup.check_all_committed();
    let now = setup.flush.now();
    assert_eq!(now.flush().await.unwrap().covered_to, end, "nothing waits");
    setup.add(1);
    setup.run(Duration::from_millis(50)).await;
    assert_eq!(setup.live_requests().await, 1, "little, and young");
    setup.flush.drain().await;
    assert!(setup.log.segments.oldest() >= end, "its segment was ended, and is gone");
}
