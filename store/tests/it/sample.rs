//! Small row batches for tests, and what was stored of them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "unit tests and integration tests share this file")]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt32Array, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use futures::TryStreamExt;
use icecore_store::schema::fixed_schema;
use icecore_store::{
    Commit, LogPosition, RowBatch, Snapshot, Store, Table, TimeRange, UnixNanos, WriterId,
};

/// 2026-11-22T21:00:00Z, the start of an hour.
pub const HOUR: i64 = 1_795_381_200_000_000_000;

/// Log records whose bodies are `names`, a second apart from `start` on.
pub fn logs(start: i64, names: &[String]) -> RowBatch {
    logs_at((0..names.len() as i64).map(|row| start + row * 1_000_000_000).collect(), names)
}

/// Log records whose bodies are `names`, at these times.
pub fn logs_at(times: Vec<i64>, names: &[String]) -> RowBatch {
    let rows = names.len();
    let schema = fixed_schema(Table::Logs);
    let column = |name: &str, data_type: &DataType, nullable: bool| -> ArrayRef {
        match (name, data_type) {
            ("time", _) => {
                Arc::new(TimestampNanosecondArray::from(times.clone()).with_timezone("UTC"))
            }
            ("body", _) => Arc::new(StringArray::from(names.to_vec())),
            (_, _) if nullable => new_null_array(data_type, rows),
            (_, DataType::Boolean) => Arc::new(BooleanArray::from(vec![false; rows])),
            (_, DataType::Int32) => Arc::new(Int32Array::from(vec![9; rows])),
            (_, DataType::UInt32) => Arc::new(UInt32Array::from(vec![0; rows])),
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
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    let time = TimeRange::covering(UnixNanos(*first), UnixNanos(*last));
    RowBatch { table: Table::Logs, rows, time }
}

/// A commit of `count` rows named `<name>-<row>` over the log from `from` to `to`.
pub fn commit(
    writer: WriterId,
    from: u64,
    to: u64,
    start: i64,
    name: &str,
    count: usize,
) -> Commit {
    let names: Vec<String> = (0..count).map(|row| format!("{name}-{row}")).collect();
    Commit {
        writer,
        covers_from: LogPosition(from),
        covers_to: LogPosition(to),
        rows: Arc::new(vec![logs(start, &names)]),
    }
}

/// How often each body is in the files of a snapshot.
pub async fn bodies(store: &Store, snapshot: &Snapshot) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    for file in snapshot.files(Table::Logs, TimeRange::ALL) {
        let batches: Vec<RecordBatch> =
            store.read_rows(&file, TimeRange::ALL).try_collect().await.unwrap();
        for body in bodies_of(&batches) {
            *found.entry(body).or_default() += 1;
        }
    }
    found
}

/// The bodies of these rows.
pub fn bodies_of(batches: &[RecordBatch]) -> Vec<String> {
    let texts = |batch: &RecordBatch| {
        let column = batch.column_by_name("body").unwrap();
        (0..batch.num_rows()).map(|row| text(column, row)).collect::<Vec<_>>()
    };
    batches.iter().flat_map(texts).collect()
}

/// The bodies that [`commit`] makes, once each.
pub fn expected(parts: &[(&str, usize)]) -> BTreeMap<String, u32> {
    let names = parts.iter();
    names
        .flat_map(|(name, count)| (0..*count).map(move |row| (format!("{name}-{row}"), 1)))
        .collect()
}

fn text(column: &ArrayRef, row: usize) -> String {
    match column.data_type() {
        DataType::Dictionary(_, _) => {
            let column = column.as_dictionary::<Int32Type>();
            let key = column.keys().value(row);
            column.values().as_string::<i32>().value(usize::try_from(key).unwrap()).to_owned()
        }
        _ => column.as_string::<i32>().value(row).to_owned(),
    }
}
