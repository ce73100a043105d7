//! Live rows over a log on a disk in memory.

use icecore_store::UnixNanos;
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::decode::check;
use crate::fixtures::{TestClock, request};
use crate::log::faults::FaultyFolder;
use crate::log::harness::{Log, SETTINGS};
use crate::log::{Packed, Packer, WriterSettings};

/// Live rows with the log under them.
struct Setup {
    folder: FaultyFolder,
    log: Log,
    clock: Arc<TestClock>,
    live: Arc<Blocks>,
}

const ROOMY: BlocksSettings =
    BlocksSettings { flush_bytes: u64::MAX, cache_bytes_max: u64::MAX, read_bytes_max: u64::MAX };

fn setup(settings: BlocksSettings) -> Setup {
    let folder = FaultyFolder::default();
    let (log, _) = Log::open(&folder, WriterSettings { log_bytes_max: u64::MAX, ..SETTINGS });
    let clock = Arc::new(TestClock::default());
    let metrics = Metrics::new(&mut Registry::default());
    let tail = Arc::new(log.tail.clone());
    let live = Arc::new(Blocks::new(settings, tail, Arc::clone(&clock) as _, metrics));
    Setup { folder, log, clock, live }
}

impl Setup {
    /// A request with spans of these names, as it is after its group commit.
    fn add(&mut self, names: &[&str]) -> Appended {
        let payload = request(names).encode_to_vec();
        let checked = check(Signal::Traces, &payload).unwrap();
        let rows = u32::try_from(checked.accepted).unwrap();
        let contents = Contents { rows, time: checked.time.unwrap(), alone: checked.alone };
        let packed = Packer::default().pack(payload.into());
        let Packed { plain_bytes, .. } = packed;
        let at = self.log.append(Signal::Traces, contents, packed).unwrap();
        self.live.add(at, Signal::Traces, contents, plain_bytes);
        at
    }

    fn rows(&self) -> usize {
        let snapshot = read(&self.live, Table::Spans, TimeRange::ALL).unwrap();
        snapshot.batches.iter().map(|batch| batch.rows.rows.num_rows()).sum()
    }
}

fn rows_of(prefix: &Prefix) -> usize {
    prefix.pieces().map(|piece| piece.unwrap().rows.num_rows()).sum()
}

/// Scenario: requests come, a query asks in between, and again.
/// Guarantees: every query sees every row that was there, once, in batches that follow each other.
#[test]
fn a_query_sees_every_row() {
    let mut setup = setup(ROOMY);
    assert_eq!(setup.rows(), 0);
    for count in 1..6 {
        setup.add(&["one", "two"]);
        assert_eq!(setup.rows(), 2 * count);
    }
    setup.add(&["three"]);
    setup.add(&["four"]);
    let snapshot = read(&setup.live, Table::Spans, TimeRange::ALL).unwrap();
    assert!(snapshot.batches.windows(2).all(|pair| pair[0].next <= pair[1].position));
    assert_eq!(setup.rows(), 12);
    let none = TimeRange::new(UnixNanos(0), UnixNanos(5)).unwrap();
    assert!(read(&setup.live, Table::Spans, none).unwrap().batches.is_empty());
    assert!(read(&setup.live, Table::Logs, TimeRange::ALL).unwrap().batches.is_empty());
}

/// Scenario: a cache of no bytes, and one of many; two queries.
/// Guarantees: the same rows; what is kept is counted and given back with its block.
#[test]
fn rows_are_kept_while_there_is_room() {
    for cache_bytes_max in [0, u64::MAX] {
        let mut setup = setup(BlocksSettings { cache_bytes_max, ..ROOMY });
        let at = setup.add(&["one"; 100]);
        assert_eq!((setup.rows(), setup.rows()), (100, 100));
        let used = setup.live.cache.used.load(Ordering::Acquire);
        assert_eq!(used > 0, cache_bytes_max > 0);
        setup.live.drop_covered(at.next);
        assert_eq!(setup.live.cache.used.load(Ordering::Acquire), 0);
    }
}

/// Scenario: more is live than one flush takes.
/// Guarantees: a flush takes the oldest blocks, at least one, says where they end, and gives the
/// same rows when it is asked again.
#[test]
fn a_flush_takes_the_oldest() {
    let mut setup = setup(BlocksSettings { flush_bytes: 1, ..ROOMY });
    assert!(setup.live.prefix().is_none() && !setup.live.is_flush_due());
    let first = setup.add(&["one", "two"]);
    assert!(setup.live.is_flush_due());
    let prefix = setup.live.prefix().unwrap();
    setup.add(&["three"]);
    assert_eq!((prefix.covers_to, prefix.rows), (first.next, 2));
    assert_eq!((rows_of(&prefix), rows_of(&prefix)), (2, 2));
    setup.live.drop_covered(first.next);
    assert_eq!(setup.rows(), 1);
}

/// Scenario: the store covers a part of a block.
/// Guarantees: exactly the rest stays live.
#[test]
fn a_block_that_is_covered_in_part_is_cut() {
    let mut setup = setup(ROOMY);
    let ends: Vec<_> = (1..5).map(|count| setup.add(&vec!["one"; count]).next).collect();
    setup.live.drop_covered(ends[1]);
    assert_eq!(setup.rows(), 3 + 4);
    let prefix = setup.live.prefix().unwrap();
    assert_eq!((prefix.rows, rows_of(&prefix)), (7, 7));
    setup.live.drop_covered(ends[3]);
    assert_eq!(setup.rows(), 0);
    assert_eq!(setup.live.state().bytes, 0);
}

/// Scenario: a query after each of many small requests; then a flush is under way while more come.
/// Guarantees: no block for each query, none across the end of a flush, and every row once.
#[test]
fn queries_do_not_leave_a_block_each() {
    let mut setup = setup(ROOMY);
    for count in 1..200 {
        setup.add(&["one"]);
        assert_eq!(setup.rows(), count);
    }
    assert_eq!(setup.live.state().sealed.len(), 1);
    let prefix = setup.live.prefix().unwrap();
    setup.add(&["two"]);
    assert_eq!(setup.rows(), 200);
    assert_eq!(setup.live.state().sealed.len(), 2, "a commit will end between them");
    setup.live.drop_covered(prefix.covers_to);
    assert_eq!(setup.rows(), 1);
}

/// Scenario: rows that are much larger in memory than their requests are, above the bound.
/// Guarantees: the query is refused with the figures rather than given the memory.
#[test]
fn small_rows_are_bounded_by_their_memory() {
    let settings = BlocksSettings { read_bytes_max: 400 << 10, ..ROOMY };
    let mut setup = setup(settings);
    for _ in 0..200 {
        setup.add(&["x"; 20]);
    }
    let live_bytes = setup.live.state().bytes;
    assert!(live_bytes < 400 << 10, "{live_bytes}");
    let error = read(&setup.live, Table::Spans, TimeRange::ALL).unwrap_err().to_string();
    assert!(error.contains("bytes of memory"), "{error}");
}

/// Scenario: a frame of a block is damaged on disk after it was acknowledged.
/// Guarantees: a query is told which rows cannot be read; a flush goes on with the others, and the
/// loss is counted.
#[test]
fn damage_is_told() {
    let mut setup = setup(ROOMY);
    let first = setup.add(&["one"; 30]);
    setup.add(&["two"]);
    let segment = setup.log.segments.oldest();
    let name = format!("{:020}.log", segment.0);
    setup.folder.damage(&name, |bytes| bytes[crate::log::HEAD_BYTES + 3] ^= 1);
    let error = read(&setup.live, Table::Spans, TimeRange::ALL).unwrap_err().to_string();
    assert!(error.contains("of 31 rows"), "{error}");
    let prefix = setup.live.prefix().unwrap();
    assert_eq!(rows_of(&prefix), 1);
    assert_eq!(first.position, segment);
}

/// Scenario: a query has chosen its blocks when a flush takes them away, log and all; then the log
/// is lost without a flush.
/// Guarantees: the first sees nothing here, as the store has the rows; the second is an error.
#[test]
fn a_log_that_is_gone_is_told_from_one_that_is_lost() {
    for covered in [true, false] {
        let mut setup = setup(ROOMY);
        let ends: Vec<_> = (0..4).map(|_| setup.add(&["one"; 50]).next).collect();
        let blocks = setup.live.select(Signal::Traces, &TimeRange::ALL).unwrap();
        if covered {
            setup.live.drop_covered(ends[3]);
        }
        setup.log.segments.cover(ends[3]);
        let rows = setup.live.rows(&blocks[0], Signal::Traces);
        match rows {
            Ok(rows) => assert!(covered && rows.is_empty()),
            Err(error) => assert!(!covered, "{error}"),
        }
    }
}

/// Scenario: time passes over a request, and then it is covered.
/// Guarantees: the age is that of the oldest request, and zero where there is none.
#[test]
fn the_oldest_has_an_age() {
    let mut setup = setup(ROOMY);
    assert_eq!(setup.live.oldest_age(), Duration::ZERO);
    setup.add(&["one"]);
    setup.clock.advance(Duration::from_secs(3));
    let at = setup.add(&["two"]);
    assert_eq!(setup.live.oldest_age(), Duration::from_secs(3));
    setup.live.drop_covered(at.next);
    assert_eq!(setup.live.oldest_age(), Duration::ZERO);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    /// Scenario: requests, queries, flushes and commits that end anywhere, in any order.
    /// Guarantees: what is live is always exactly what came after the last commit.
    #[test]
    fn live_is_what_no_commit_covers(steps in proptest::collection::vec(0_usize..6, 1..40)) {
        let mut setup = setup(BlocksSettings { flush_bytes: 600, cache_bytes_max: 4000, ..ROOMY });
        let mut requests: Vec<(LogPosition, usize)> = Vec::new();
        for step in steps {
            match step {
                0 => if let Some(prefix) = setup.live.prefix() {
                    prop_assert_eq!(rows_of(&prefix) as u64, prefix.rows);
                    setup.live.drop_covered(prefix.covers_to);
                    requests.retain(|(next, _)| *next > prefix.covers_to);
                },
                1 => if let Some((next, _)) = requests.get(requests.len() / 2).copied() {
                    setup.live.drop_covered(next);
                    requests.retain(|(end, _)| *end > next);
                },
                2 => {}
                count => requests.push((setup.add(&vec!["a span"; count]).next, count)),
            }
            let expected: usize = requests.iter().map(|(_, rows)| rows).sum();
            prop_assert_eq!(setup.rows(), expected);
            prop_assert_eq!(setup.live.state().rows, expected as u64);
        }
    }
}
