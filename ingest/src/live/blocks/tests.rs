//! Live rows over a log on a disk in memory.

use arrow::array::AsArray;
use icecore_store::schema::{AttributeType, MapColumn};
use icecore_store::{LiveBlock, ReadColumn, Table, TraceId, UnixNanos};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use prost::Message;

use super::super::read::snapshot;
use super::*;
use crate::decode::check;
use crate::fixtures::{TestClock, any_pace, request};
use crate::log::Folder as _;
use crate::log::faults::FaultyFolder;
use crate::log::harness::{Log, SETTINGS};
use crate::log::{Contents, Packed, Packer, WriterSettings};

/// Live rows with the log under them.
struct Setup {
    folder: FaultyFolder,
    log: Log,
    clock: Arc<TestClock>,
    live: Arc<Blocks>,
}

const ROOMY: BlocksSettings = BlocksSettings { flush_bytes: u64::MAX, cache_bytes_max: u64::MAX };

fn setup(settings: BlocksSettings) -> Setup {
    let folder = FaultyFolder::default();
    let (log, _) = Log::open(&folder, WriterSettings { log_bytes_max: u64::MAX, ..SETTINGS });
    let clock = Arc::new(TestClock::default());
    let metrics = Metrics::new(&mut Registry::default());
    let tail = Arc::new(log.tail.clone());
    let pace = any_pace(Arc::clone(&clock) as _, &metrics);
    let live = Arc::new(Blocks::new(settings, tail, Arc::clone(&clock) as _, pace, metrics));
    Setup { folder, log, clock, live }
}

impl Setup {
    /// A request with spans of these names, as it is after its group commit.
    fn add(&mut self, names: &[&str]) -> Appended {
        self.add_request(&request(names))
    }

    fn add_request(&mut self, request: &ExportTraceServiceRequest) -> Appended {
        let payload = request.encode_to_vec();
        let checked = check(Signal::Traces, &payload).unwrap();
        let rows = u32::try_from(checked.accepted).unwrap();
        let contents = Contents { rows, time: checked.time.unwrap(), alone: checked.alone };
        let packed = Packer::default().pack(payload.into());
        let Packed { plain_bytes, .. } = packed;
        let at = self.log.append(Signal::Traces, contents, packed).unwrap();
        let (signal, traces) = (Signal::Traces, checked.traces.as_deref());
        self.live.add(at, &LiveRequest { signal, contents, plain_bytes, traces });
        at
    }

    fn rows(&self) -> usize {
        self.blocks().iter().map(|block| count(block.as_ref())).sum()
    }

    fn blocks(&self) -> Vec<Arc<dyn LiveBlock>> {
        snapshot(&self.live, Table::Spans, TimeRange::ALL).blocks
    }
}

/// How many rows a block gives, which are as many as it says that it has.
fn count(block: &dyn LiveBlock) -> usize {
    let rows = block.read(None).unwrap();
    let count = rows.iter().map(|rows| rows.rows.num_rows()).sum();
    assert_eq!(block.rows(), count as u64);
    count
}

fn rows_of(prefix: &Prefix) -> usize {
    Arc::new(prefix.clone()).pieces().map(|piece| piece.unwrap().rows.num_rows()).sum()
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
    let blocks = setup.blocks();
    assert!(blocks.windows(2).all(|pair| pair[0].next() <= pair[1].position()));
    assert_eq!(setup.rows(), 12);
    let none = TimeRange::new(UnixNanos(0), UnixNanos(5)).unwrap();
    assert!(snapshot(&setup.live, Table::Spans, none).blocks.is_empty());
    assert!(snapshot(&setup.live, Table::Logs, TimeRange::ALL).blocks.is_empty());
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
    let error = setup.blocks()[0].read(None).unwrap_err().to_string();
    assert!(error.contains("of 31 rows"), "{error}");
    let prefix = setup.live.prefix().unwrap();
    assert_eq!(rows_of(&prefix), 1);
    assert_eq!(first.position, segment);
}

/// Scenario: a request was logged that no build reads any more, among others; the disk refuses to
/// keep it at first.
/// Guarantees: a flush fails until the request is kept as it was received, then goes on with the
/// others; nothing is kept twice, and a start does not take it for a segment.
#[test]
fn a_request_without_rows_is_set_aside() {
    let mut setup = setup(ROOMY);
    setup.add(&["one"; 30]);
    let payload = b"\xffno request";
    let packed = Packer::default().pack(payload.to_vec().into());
    let plain_bytes = packed.plain_bytes;
    let contents = Contents { rows: 1, time: TimeRange::ALL, alone: true };
    let at = setup.log.append(Signal::Traces, contents, packed).unwrap();
    let request = LiveRequest { signal: Signal::Traces, contents, plain_bytes, traces: None };
    setup.live.add(at, &request);
    let prefix = setup.live.prefix().unwrap();
    setup.folder.disk().room = Some(0);
    assert!(Arc::new(prefix.clone()).pieces().any(|piece| piece.is_err()));
    setup.folder.disk().room = None;
    for _ in 0..2 {
        assert_eq!(rows_of(&prefix), 30);
        let name = format!("undecodable-traces-{:020}.otlp", at.position.0);
        let files = setup.folder.files().unwrap();
        let kept = files.iter().filter(|(name, _)| name.starts_with("undecodable-"));
        assert_eq!(kept.collect::<Vec<_>>(), [&(name.clone(), payload.len() as u64)]);
        assert_eq!(setup.folder.read(&name, 0, 99).unwrap(), payload);
    }
}

/// Scenario: a request that no build reads any more is among others that share columns with it,
/// before it and behind it.
/// Guarantees: the others have all their rows, and only that one is set aside.
#[test]
fn one_request_takes_no_rows_from_its_neighbours() {
    let mut setup = setup(ROOMY);
    setup.add(&["before"; 30]);
    setup.add(&["right before"; 7]);
    let mut broken = request(&["broken"]).encode_to_vec();
    broken.push(0xff);
    let packed = Packer::default().pack(broken.into());
    let plain_bytes = packed.plain_bytes;
    let contents = Contents { rows: 1, time: TimeRange::ALL, alone: false };
    let at = setup.log.append(Signal::Traces, contents, packed).unwrap();
    let request = LiveRequest { signal: Signal::Traces, contents, plain_bytes, traces: None };
    setup.live.add(at, &request);
    setup.add(&["behind"; 5]);
    assert_eq!(rows_of(&setup.live.prefix().unwrap()), 42);
    let files = setup.folder.files().unwrap();
    let kept = files.iter().map(|(name, _)| name).filter(|name| name.starts_with("undecodable-"));
    let name = format!("undecodable-traces-{:020}.otlp", at.position.0);
    assert_eq!(kept.collect::<Vec<_>>(), [&name]);
}

/// Scenario: a query holds its blocks while a flush takes them away, log and all; it lets go of
/// them; then the log needs their room, or loses it without a flush.
/// Guarantees: every row is read as if nothing had happened, the log goes afterwards, and what is
/// lost is an error and never an empty answer.
#[test]
fn blocks_can_be_read_while_they_are_held() {
    let mut setup = setup(BlocksSettings { cache_bytes_max: 0, ..ROOMY });
    let ends: Vec<_> = (0..8).map(|_| setup.add(&["one"; 50]).next).collect();
    let (held, first) = (setup.blocks(), setup.log.segments.oldest());
    setup.live.drop_covered(ends[6]);
    setup.log.segments.cover(ends[6]);
    assert_eq!(setup.rows(), 50);
    assert_eq!(setup.log.segments.oldest(), first);
    assert_eq!(held.iter().map(|block| count(block.as_ref())).sum::<usize>(), 400);
    drop(held);
    let kept = setup.log.segments.oldest();
    assert!(kept > first);
    let held = setup.blocks();
    setup.add(&["two"; 50]);
    setup.log.segments.cover(setup.log.segments.end().borrow().to_owned());
    assert!(setup.log.segments.make_room(1, 1) || setup.log.segments.oldest() > kept);
    let error = held[0].read(None).unwrap_err();
    assert!(matches!(error, PortError::Trimmed { .. }), "{error}");
}

/// Scenario: spans of several traces, asked for with some keys, other keys, and all.
/// Guarantees: a trace is looked for only where it can be; rows have the keys that are asked for,
/// and rows that were made with more of them are not made again.
#[test]
fn a_query_makes_what_it_asks_for() {
    let mut setup = setup(ROOMY);
    let text = |text: &str| AnyValue { value: Some(Value::StringValue(text.to_owned())) };
    let pair =
        |key: &str| KeyValue { key: key.to_owned(), value: Some(text("a")), ..KeyValue::default() };
    let attributes = vec![pair("service.name"), pair("host.name")];
    let mut spans = request(&["one"; 50]);
    spans.resource_spans[0].resource = Some(Resource { attributes, ..Resource::default() });
    setup.add_request(&spans);
    let [block] = &setup.blocks()[..] else { panic!("one block") };
    let trace = |id: [u8; 16]| block.may_have(TraceId(id));
    let rows = block.read(None).unwrap();
    let ids = rows[0].rows.column_by_name("trace_id").unwrap();
    let ids = ids.as_fixed_size_binary();
    assert!(ids.iter().flatten().all(|id| trace(id.try_into().unwrap())));
    assert!(!trace([0x5C; 16]));
    let keys = |rows: &[RowBatch]| {
        let schema = rows[0].rows.schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        names.filter(|name| name.starts_with("resource.")).collect::<Vec<_>>()
    };
    let all = keys(&rows);
    assert_eq!(all, ["resource.service.name", "resource.host.name"]);
    assert_eq!(keys(&block.read(Some(&[])).unwrap()), all, "they are there already");
    setup.live.drop_covered(block.next());
    setup.add_request(&spans);
    let other = setup.blocks().pop().unwrap();
    let map = MapColumn::Resource;
    let key =
        ReadColumn::Attribute { map, key: "service.name".to_owned(), kind: AttributeType::String };
    assert_eq!(keys(&other.read(Some(&[])).unwrap()), Vec::<String>::new());
    assert_eq!(keys(&other.read(Some(&[key])).unwrap()), [map.column("service.name")]);
}

/// Scenario: a query asks for the names of spans, one for their kinds, and a flush for all.
/// Guarantees: what is kept of a block is what was asked for and nothing else, of both queries after
/// the second, and the flush has every column all the same.
#[test]
fn only_what_was_asked_for_is_kept() {
    let mut setup = setup(ROOMY);
    setup.add(&["one"; 1000]);
    let [block] = &setup.blocks()[..] else { panic!("one block") };
    let read = |name: &str| {
        let rows = block.read(Some(&[ReadColumn::Fixed(name.to_owned())])).unwrap();
        assert_eq!(rows[0].rows.num_rows(), 1000);
        let schema = rows[0].rows.schema();
        schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    assert_eq!(read("name"), ["name"]);
    let used = setup.live.cache.used.load(Ordering::Acquire);
    assert!((4_000..20_000).contains(&used), "{used} bytes of a thousand names");
    assert_eq!(read("kind"), ["name", "kind"]);
    let prefix = setup.live.prefix().unwrap();
    let piece = Arc::new(prefix.clone()).pieces().next().unwrap().unwrap();
    assert!(piece.rows.num_columns() > 20, "{:?}", piece.rows.schema());
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
        let mut setup = setup(BlocksSettings { flush_bytes: 600, cache_bytes_max: 4000 });
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
