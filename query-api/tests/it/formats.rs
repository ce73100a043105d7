//! Each format, read back by its own reader.

use std::io::Cursor;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit, TimestampNanosecondType};
use arrow::ipc::reader::StreamReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::bench::{Bench, Place};
use crate::places::fixture;
use crate::rows::T0;

const SQL: &str = "SELECT name, start_time, trace_id, attributes, events, duration_ns,
    attributes['cart.total'] AS total FROM spans ORDER BY span_id";

async fn body(accept: &str, sql: &str) -> Vec<u8> {
    let bench = Bench::start(fixture(), Place::Live).await;
    let answer = bench.ask(json!({ "query": sql }), accept).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], accept);
    assert!(!answer.headers()["icecore-snapshot"].is_empty());
    answer.bytes().await.unwrap().to_vec()
}

fn check_columns(batches: &[RecordBatch]) {
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 4);
    let first = &batches[0];
    assert_eq!(first.column(0).as_string::<i32>().value(0), "GET /cart");
    let time = first.column(1);
    let zone = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    assert_eq!(time.data_type(), &zone);
    assert_eq!(time.as_primitive::<TimestampNanosecondType>().value(0), T0);
    assert_eq!(first.column(2).as_string::<i32>().value(0), "a1".repeat(16));
    let attributes: Value =
        serde_json::from_str(first.column(3).as_string::<i32>().value(0)).unwrap();
    assert_eq!(attributes["http.route"], "/cart");
}

/// Scenario: a query with every kind of column, asked for as an Arrow stream.
/// Guarantees: Arrow's own reader gives the rows, in types that old readers know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrow_reads_back() {
    let bytes = body("application/vnd.apache.arrow.stream", SQL).await;
    let reader = StreamReader::try_new(Cursor::new(bytes), None).unwrap();
    check_columns(&reader.collect::<Result<Vec<_>, _>>().unwrap());
}

/// Scenario: the same as Parquet, and an answer without rows.
/// Guarantees: a Parquet reader gives the rows; no rows are a whole file with its columns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parquet_reads_back() {
    let read = |bytes: Vec<u8>| {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
        reader.build().unwrap().collect::<Result<Vec<_>, _>>().unwrap()
    };
    let parquet = "application/vnd.apache.parquet";
    check_columns(&read(body(parquet, SQL).await));
    assert!(read(body(parquet, "SELECT * FROM spans WHERE name = 'x'").await).is_empty());
    // Parquet knows no such type.
    let interval = read(body(parquet, "SELECT INTERVAL '1 day' AS i").await);
    assert_eq!(interval[0].column(0).as_string::<i32>().value(0), "1 days");
}

/// Scenario: the same as NDJSON.
/// Guarantees: one object a line, maps as objects.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_lines_read_back() {
    let text = String::from_utf8(body("application/x-ndjson", SQL).await).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0]["attributes"]["cart.total"], 12.5);
    assert_eq!(rows[1]["total"], Value::Null);
    assert_eq!(rows[0]["start_time"], "2026-11-21T10:00:00.000000000Z");
}

/// Scenario: CSV with texts that need quotes, nulls and JSON.
/// Guarantees: RFC 4180, null and empty told apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn csv_is_quoted() {
    let sql = "SELECT body, trace_id, severity_text, '' AS empty, time, 1.5 AS n, attributes,
        'a,b' AS comma FROM logs ORDER BY time LIMIT 1";
    let text = String::from_utf8(body("text/csv", sql).await).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("body,trace_id,severity_text,empty,time,n,attributes,comma"));
    let expected = format!(
        "\"cart \"\"opened\"\"\",{},,\"\",2026-11-21T10:00:00.005000000Z,1.5,,\"a,b\"",
        "a1".repeat(16)
    );
    assert_eq!(lines.next(), Some(expected.as_str()));
    assert_eq!(lines.next(), None);
}

/// Scenario: the contract's JSON.
/// Guarantees: columns with names and types, rows as arrays, stats that say what was read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_says_what_it_covers() {
    let bench = Bench::start(fixture(), Place::Live).await;
    let answer =
        bench.json("SELECT name, start_time, attributes, duration_ns, events FROM spans").await;
    let types: Vec<_> = answer["columns"].as_array().unwrap().iter().map(|c| &c["type"]).collect();
    assert_eq!(types[..4], ["Utf8", "Timestamp(Nanosecond, \"UTC\")", "Json", "Int64"]);
    assert!(types[4].as_str().unwrap().starts_with("List<Struct<time Timestamp"), "{types:?}");
    let stats = &answer["stats"];
    assert_eq!((&stats["rows"], &stats["live_rows"]), (&json!(4), &json!(4)));
    assert_eq!(stats["incomplete"], json!([]));
    assert!(stats["elapsed_ms"].as_f64().unwrap() > 0.0);
}
