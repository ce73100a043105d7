//! Traces are found without asking the bucket, and whatever becomes of the index they are found.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt32Array, new_empty_array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use futures::TryStreamExt;
use icecore_store::schema::fixed_schema;
use icecore_store::{
    Commit, FileId, LogPosition, RowBatch, Store, StoreRoles, Table, TimeRange, TraceId, UnixNanos,
};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, scrape, writer};
use crate::sample::HOUR;

const FILES: u64 = 24;

fn id(number: u64) -> TraceId {
    TraceId(u128::from(number + 1).to_be_bytes())
}

/// Spans of these traces, two each.
fn spans(ids: &[TraceId]) -> RowBatch {
    let ids: Vec<TraceId> = ids.iter().flat_map(|id| [*id, *id]).collect();
    let rows = ids.len();
    let schema = fixed_schema(Table::Spans);
    let column = |name: &str, data_type: &DataType, nullable: bool| -> ArrayRef {
        match (name, data_type) {
            ("trace_id", _) => {
                let ids = ids.iter().map(|id| id.0);
                Arc::new(FixedSizeBinaryArray::try_from_iter(ids).unwrap())
            }
            (_, _) if nullable => new_null_array(data_type, rows),
            (_, DataType::FixedSizeBinary(_)) => {
                let ids = (0..rows as u64).map(|row| (row + 1).to_be_bytes());
                Arc::new(FixedSizeBinaryArray::try_from_iter(ids).unwrap())
            }
            (_, DataType::Timestamp(_, _)) => {
                Arc::new(TimestampNanosecondArray::from(vec![HOUR; rows]).with_timezone("UTC"))
            }
            (_, DataType::Int64) => Arc::new(Int64Array::from(vec![1; rows])),
            (_, DataType::UInt32) => Arc::new(UInt32Array::from(vec![0; rows])),
            (_, DataType::List(field)) => {
                let none = new_empty_array(field.data_type());
                let offsets = OffsetBuffer::new_zeroed(rows);
                let lists = arrow::array::ListArray::new(Arc::clone(field), offsets, none, None);
                Arc::new(lists)
            }
            (_, text) => {
                let texts: ArrayRef = Arc::new(StringArray::from(vec!["shop"; rows]));
                cast(&texts, text).unwrap()
            }
        }
    };
    let fields = schema.fields().iter();
    let columns =
        fields.map(|field| column(field.name(), field.data_type(), field.is_nullable())).collect();
    let rows = RecordBatch::try_new(schema, columns).unwrap();
    RowBatch {
        table: Table::Spans,
        rows,
        time: TimeRange::covering(UnixNanos(HOUR), UnixNanos(HOUR)),
    }
}

/// Commits one file: a trace of its own, one that it shares with the next, one in all files.
async fn commit(store: &Store, number: u64) {
    let ids = [id(3 * number), id(3 * (number / 2) + 1), id(2)];
    let commit = Commit {
        writer: writer(1),
        covers_from: LogPosition(number),
        covers_to: LogPosition(number + 1),
        rows: Arc::new(vec![spans(&ids)]),
    };
    store.commit(commit).await.unwrap();
}

/// The value of a metric; 0 where it is not there.
fn figure(registry: &Registry, name: &str) -> u64 {
    let text = scrape(registry);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

fn gets(registry: &Registry) -> u64 {
    figure(registry, "icecore_store_requests_total{kind=\"get\",outcome=\"ok\"}")
}

const COVERED: &str = "icecore_store_trace_filter_files{state=\"covered\"}";

/// Runs the store's loops until every file has a filter.
async fn settle(store: &Arc<Store>, registry: &Registry) {
    let stop = CancellationToken::new();
    let roles = StoreRoles { filter_traces: true, ..StoreRoles::default() };
    let running = tokio::spawn(Arc::clone(store).run(roles, stop.child_token()));
    tokio::time::timeout(Duration::from_secs(120), async {
        while figure(registry, COVERED) < FILES {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    stop.cancel();
    running.await.unwrap().unwrap();
}

/// The files that hold the trace, each of which was looked into.
async fn truth(store: &Store, id: TraceId) -> BTreeSet<FileId> {
    let mut found = BTreeSet::new();
    for file in store.snapshot().files(Table::Spans, TimeRange::ALL) {
        let rows: Vec<RecordBatch> =
            store.read_trace(&file, id, false).try_collect().await.unwrap();
        let ids = rows.iter().map(|rows| rows.column_by_name("trace_id").unwrap());
        let mut ids = ids.flat_map(|ids| ids.as_fixed_size_binary().iter().flatten());
        if ids.any(|other| other == id.0) {
            found.insert(file.id);
        }
    }
    found
}

/// Looks some traces up; how many candidates were none.
async fn check(store: &Store) -> usize {
    let mut needless = 0;
    for number in [0, 1, 2, 3, 3 * FILES - 3, 3 * (FILES / 2) - 2, 999] {
        let files = store.files_with_trace(&store.snapshot(), id(number)).await;
        let found: BTreeSet<FileId> = files.all().map(|file| file.id).collect();
        let expected = truth(store, id(number)).await;
        assert!(expected.is_subset(&found), "trace {number}");
        needless += found.len() - expected.len();
    }
    needless
}

/// Scenario: two dozen files hold traces of their own and shared ones; one process wrote them,
/// another only reads; then index and filters are deleted, cut and overwritten, while the store
/// runs and between starts.
/// Guarantees: no file that holds a trace is ever left out; where filters are made, no other file
/// is named and the bucket is not asked; what is lost is made again.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_found_without_asking_the_bucket() {
    let bench = Bench::folder();
    let (store, registry) = bench.try_open("a").await.unwrap();
    store.register_writer(writer(1)).await.unwrap();
    assert_eq!(store.files_with_trace(&store.snapshot(), id(0)).await.all().count(), 0);
    for number in 0..FILES {
        commit(&store, number).await;
    }
    assert!(check(&store).await > 0, "nothing is known yet");
    settle(&store, &registry).await;
    assert_eq!(check(&store).await, 0);
    let before = gets(&registry);
    for number in 0..3 * FILES {
        store.files_with_trace(&store.snapshot(), id(number)).await;
    }
    assert_eq!(gets(&registry), before, "a look-up asks the bucket for nothing");

    let (reader, read) = bench.try_open("b").await.unwrap();
    settle(&reader, &read).await;
    assert_eq!(figure(&read, "icecore_store_trace_filters_read_total"), FILES);
    assert_eq!(check(&reader).await, 0);
    drop(reader);
    let (reader, read) = bench.try_open("b").await.unwrap();
    assert_eq!(figure(&read, COVERED), FILES, "filters outlive their process");
    let folder = bench.index("b").join("traces");
    for turn in 0..3 {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let bytes = fs::read(entry.path()).unwrap();
            match turn {
                0 => fs::write(entry.path(), &bytes[..bytes.len() / 2]).unwrap(),
                1 => fs::write(entry.path(), vec![0xA5; bytes.len()]).unwrap(),
                _ => fs::remove_file(entry.path()).unwrap(),
            }
        }
        check(&reader).await;
        settle(&reader, &read).await;
        assert_eq!(check(&reader).await, 0);
    }
    drop(reader);
    fs::remove_dir_all(bench.index("b")).unwrap();
    let (reader, read) = bench.try_open("b").await.unwrap();
    assert!(check(&reader).await > 0);
    settle(&reader, &read).await;
    assert_eq!(check(&reader).await, 0);
    reader.rebuild_index(|_| ()).await.unwrap();
    assert_eq!(check(&reader).await, 0);
}
