//! What a request rules out is not fetched.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampNanosecondType;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};

use super::load;
use super::*;
use crate::model::TraceId;
use crate::schema::{AttributeType, MapColumn};

/// A bucket that counts what is fetched from it.
#[derive(Debug)]
struct Counted {
    bucket: Arc<dyn ObjectStore>,
    bytes: AtomicU64,
    requests: AtomicU64,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counted")
    }
}

#[async_trait]
impl ObjectStore for Counted {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        self.bucket.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.bucket.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.bucket.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        let bytes = ranges.iter().map(|range| range.end - range.start).sum();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bucket.get_ranges(path, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.bucket.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.bucket.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.bucket.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.bucket.copy_opts(from, to, options).await
    }
}

/// What a reading gave and cost.
struct Cost {
    rows: Vec<RecordBatch>,
    count: usize,
    bytes: u64,
    waves: u64,
}

struct Bench {
    counted: Arc<Counted>,
    file: Arc<FileEntry>,
    footers: Arc<Footers>,
}

impl Bench {
    /// 30,000 spans over five minutes in row groups of 5,000, with the footer in memory already.
    async fn new() -> Self {
        let file = written(Table::Spans, load::spans(30_000, 300), 5_000);
        let (bucket, file) = put(&file).await;
        let counted = Counted { bucket, bytes: AtomicU64::new(0), requests: AtomicU64::new(0) };
        let bench = Self { counted: Arc::new(counted), file, footers: footers() };
        bench.read(bench.request(&["kind"])).await;
        bench
    }

    fn request(&self, fixed: &[&str]) -> ReadRequest {
        let columns = fixed.iter().map(|name| ReadColumn::Fixed((*name).to_owned()));
        ReadRequest::all(Arc::clone(&self.file), columns.collect())
    }

    async fn read(&self, request: ReadRequest) -> Cost {
        self.read_from(request, false).await
    }

    async fn read_from(&self, request: ReadRequest, far: bool) -> Cost {
        self.counted.bytes.store(0, Ordering::Relaxed);
        self.counted.requests.store(0, Ordering::Relaxed);
        let bucket = Arc::clone(&self.counted) as Arc<dyn ObjectStore>;
        let reach = Reach { far, ..Reach::bare(&bucket) };
        let rows = read(reach, Arc::clone(&self.footers), request);
        let rows: Vec<RecordBatch> = rows.try_collect().await.unwrap();
        Cost {
            count: rows.iter().map(RecordBatch::num_rows).sum(),
            rows,
            bytes: self.counted.bytes.load(Ordering::Relaxed),
            waves: self.counted.requests.load(Ordering::Relaxed),
        }
    }
}

/// Scenario: a file is read whose footer is in memory, and again after it left the catalog.
/// Guarantees: its footer is let go then, and fetched again by whoever still reads it.
#[tokio::test]
async fn a_footer_goes_with_its_file() {
    let bench = Bench::new().await;
    let kept = bench.read(bench.request(&["kind"])).await;
    bench.footers.forget([bench.file.id].into_iter());
    let anew = bench.read(bench.request(&["kind"])).await;
    assert!(anew.waves > kept.waves && anew.count == kept.count, "{} waves", anew.waves);
    assert_eq!(bench.read(bench.request(&["kind"])).await.waves, kept.waves);
}

/// Scenario: one trace out of 3,750 is asked for.
/// Guarantees: its eight spans come back, for a fraction of the bytes of a whole reading.
#[tokio::test]
async fn one_trace_is_found_without_reading_the_rest() {
    let bench = Bench::new().await;
    let columns = ["trace_id", "name", "start_time", "duration_ns", "span_id"];
    let whole = bench.read(bench.request(&columns)).await;
    assert_eq!(whole.count, 30_000);
    let first = whole.rows[0].column(0).as_fixed_size_binary().value(0);
    let trace_id = TraceId(first.try_into().unwrap());
    let of_trace = |rows: &[RecordBatch]| -> usize {
        let ids = rows.iter().map(|batch| batch.column(0).as_fixed_size_binary());
        ids.flat_map(|ids| ids.iter()).filter(|id| *id == Some(&trace_id.0[..])).count()
    };
    let of = |trace_id: TraceId| ReadRequest {
        bounds: vec![Bound::trace(trace_id)],
        filters: vec![filter::of_trace(trace_id)],
        ..bench.request(&columns)
    };
    let one = bench.read(of(trace_id)).await;
    assert_eq!((of_trace(&one.rows), of_trace(&whole.rows)), (8, 8));
    println!("a trace: {} rows, {} of {} bytes", one.count, one.bytes, whole.bytes);
    assert_eq!(one.count, 8);
    assert!(one.waves <= 3, "{} waves", one.waves);
    let none = bench.read(of(TraceId([9; 16]))).await;
    println!("an unknown trace: {} rows, {} bytes", none.count, none.bytes);
    assert!(none.count == 0 && none.bytes * 4 < whole.bytes);
}

/// Scenario: a trace is read cold: from a folder, and from a bucket that is far away, where the
/// index does not know of the file yet, and where it does.
/// Guarantees: the same rows. From far away they take one request after that for the footer and the
/// bloom filters beside it, the row groups of a large file being fetched together, and one in all
/// where the file is known to have them.
#[tokio::test]
async fn a_trace_is_one_request_far_away() {
    let bench = Bench::new().await;
    let whole = bench.read(bench.request(&["trace_id"])).await;
    let first = whole.rows[0].column(0).as_fixed_size_binary().value(0);
    let trace_id = TraceId(first.try_into().unwrap());
    let mut answers = Vec::new();
    let ways = [(InOne::Never, 3), (InOne::Groups, 2), (InOne::LetIn, 2), (InOne::Always, 1)];
    for (in_one, wanted) in ways {
        let before = bench.counted.requests.load(Ordering::Relaxed);
        let bucket: Arc<dyn ObjectStore> = Arc::clone(&bench.counted) as _;
        let rows = read_trace(Reach::bare(&bucket), footers(), &bench.file, trace_id, in_one);
        let rows: Vec<_> = rows.try_collect().await.unwrap();
        let requests = bench.counted.requests.load(Ordering::Relaxed) - before;
        assert_eq!(requests, wanted);
        answers.push(rows);
    }
    assert!(answers.iter().all(|rows| *rows == answers[0]));
    assert_eq!(answers[0].iter().map(RecordBatch::num_rows).sum::<usize>(), 8);
}

/// Scenario: one service, and one that is not there.
/// Guarantees: all its rows come back; row groups and pages without it are not fetched.
#[tokio::test]
async fn one_service_is_read_alone() {
    let bench = Bench::new().await;
    let whole = bench.read(bench.request(&["service_name", "span_id"])).await;
    let of = |rows: &[RecordBatch]| -> usize {
        let names = rows.iter().flat_map(|batch| load::column_texts(batch, "service_name"));
        names.filter(|name| name.as_deref() == Some("payment")).count()
    };
    let service = |name: &str| ReadRequest {
        bounds: vec![Bound {
            column: ReadColumn::Fixed("service_name".to_owned()),
            values: Values::Texts(vec![name.to_owned()]),
        }],
        ..bench.request(&["service_name", "span_id"])
    };
    let one = bench.read(service("payment")).await;
    assert!(of(&whole.rows) > 1_000);
    assert_eq!(of(&one.rows), of(&whole.rows));
    println!("a service: {} of {} bytes in {} waves", one.bytes, whole.bytes, one.waves);
    assert!(one.bytes * 2 < whole.bytes);
    let none = bench.read(service("nobody")).await;
    println!("no service: {} rows, {} bytes", none.count, none.bytes);
    assert!(none.bytes * 2 < whole.bytes);
}

/// Scenario: a search whose filter leaves few rows, near and far away.
/// Guarantees: the same rows. Near, the answer's columns are fetched of those alone; far away all is
/// fetched in one wait.
#[tokio::test]
async fn a_small_answer_is_fetched_ahead_far_away() {
    let bench = Bench::new().await;
    let whole = bench.read(bench.request(&["trace_id"])).await;
    let first = whole.rows[0].column(0).as_fixed_size_binary().value(0).to_vec();
    let search = ReadRequest {
        filters: vec![Arc::new(OneOf::new("trace_id", vec![first])) as _],
        ..bench.request(&["start_time", "duration_ns"])
    };
    let near = bench.read(search.clone()).await;
    let far = bench.read_from(search, true).await;
    assert_eq!((near.count, near.rows), (8, far.rows));
    assert_eq!((near.waves, far.waves), (2, 1));
    assert!(near.bytes < far.bytes);
}

/// Scenario: a time before, after and within the file; its exact edges in nanoseconds.
/// Guarantees: nothing is fetched outside; every row of the range comes back.
#[tokio::test]
async fn time_prunes_and_loses_nothing() {
    let bench = Bench::new().await;
    let at = |range: TimeRange| ReadRequest {
        bounds: vec![Bound::time(Table::Spans, range)],
        ..bench.request(&["start_time"])
    };
    let (start, end) = (bench.file.time.start(), bench.file.time.end());
    let before = TimeRange::new(UnixNanos(0), start).unwrap();
    // Statistics are microseconds: what is ruled out must differ by one at least.
    let before = TimeRange::new(before.start(), UnixNanos(start.0 - 1_000)).unwrap();
    assert_eq!(bench.read(at(before)).await.bytes, 0);
    let after = TimeRange::new(UnixNanos(end.0 + 1_000), UnixNanos(i64::MAX)).unwrap();
    assert_eq!(bench.read(at(after)).await.bytes, 0);
    let whole = bench.read(bench.request(&["start_time"])).await;
    let count = |rows: &[RecordBatch], range: TimeRange| -> usize {
        let times =
            rows.iter().map(|batch| batch.column(0).as_primitive::<TimestampNanosecondType>());
        let times: Vec<i64> = times.flat_map(|times| times.values().to_vec()).collect();
        times.into_iter().filter(|time| range.contains(UnixNanos(*time))).count()
    };
    for (from, to) in [(0, 1), (1, 999), (1_000, 60_000_000_000), (0, i64::MAX - start.0)] {
        let range = TimeRange::new(UnixNanos(start.0 + from), UnixNanos(start.0 + to)).unwrap();
        let some = bench.read(at(range)).await;
        assert_eq!(count(&some.rows, range), count(&whole.rows, range));
    }
}

/// Scenario: an attribute that is whole, one that no row has, and no column at all.
/// Guarantees: the first reads one column, the others none; rows are counted all the same.
#[tokio::test]
async fn an_attribute_reads_one_column() {
    let bench = Bench::new().await;
    let attribute = |key: &str| ReadRequest {
        columns: vec![ReadColumn::Attribute {
            map: MapColumn::Attributes,
            key: key.to_owned(),
            kind: AttributeType::Int,
        }],
        ..bench.request(&[])
    };
    let port = bench.read(attribute("server.port")).await;
    let all: BTreeSet<i64> = port
        .rows
        .iter()
        .flat_map(|batch| {
            let ports = batch.column(0).as_primitive::<arrow::datatypes::Int64Type>();
            ports.values().to_vec()
        })
        .collect();
    assert_eq!(all, BTreeSet::from([8080]));
    println!("server.port of 30,000 spans: {} bytes", port.bytes);
    assert!(port.count == 30_000 && port.bytes < 10_000);
    let none = bench.read(attribute("no.such.key")).await;
    assert_eq!((none.count, none.bytes), (30_000, 0));
    assert_eq!(none.rows[0].column(0).null_count(), none.rows[0].num_rows());
    let nothing = bench.read(bench.request(&[])).await;
    assert_eq!((nothing.count, nothing.bytes), (30_000, 0));
}
