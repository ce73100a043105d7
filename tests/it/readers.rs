//! Other engines read every row and column of the bucket as Icecore's own SQL says them.

use std::path::{Path, PathBuf};
use std::process::Command;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::{Map, Value};

use crate::icecore::{Icecore, Start};
use crate::{peers, signals};

/// Each round is sent before the next and flushed by itself: a file an hour and table at least.
const ROUNDS: u64 = 3;

const TABLES: [&str; 3] = ["spans", "metrics", "logs"];

/// Scenario: spans with events and links, metrics of every kind with exemplars, and logs, with
/// attributes of every type, over two hours; DuckDB and pyarrow read the files before and after they
/// are merged.
/// Guarantees: the same rows in all columns, times to the nanosecond, and the hour that the path
/// says.
#[tokio::test(flavor = "multi_thread")]
async fn duckdb_and_pyarrow_read_every_row() {
    let Some(python) = peers::python() else { return };
    check(&python, &["duckdb", "pyarrow"]).await;
}

/// Scenario: the same, by ClickHouse (chdb) and by Spark with its default settings.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_and_spark_read_every_row() {
    let Some(python) = peers::heavy_python() else { return };
    check(&python, &["chdb", "pyspark"]).await;
}

async fn check(python: &Path, readers: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::new(folder.path()).arg("compaction", "false");
    for round in 0..ROUNDS {
        let icecore = start.run();
        send(&icecore, round).await;
        // The stop flushes.
        icecore.stop();
    }
    check_files(python, readers, &start, "as they were flushed").await;
    let before = files(&start).len();
    store(&start, "compact");
    assert!(files(&start).len() < before, "nothing was merged");
    check_files(python, readers, &start, "merged").await;
}

pub(crate) async fn send(icecore: &Icecore, round: u64) {
    let client = reqwest::Client::new();
    let traces = ExportTraceServiceRequest { resource_spans: signals::spans(round) };
    let metrics = ExportMetricsServiceRequest { resource_metrics: signals::metrics(round) };
    let logs = ExportLogsServiceRequest { resource_logs: signals::logs(round) };
    for (path, body) in [
        ("traces", traces.encode_to_vec()),
        ("metrics", metrics.encode_to_vec()),
        ("logs", logs.encode_to_vec()),
    ] {
        let request = client.post(format!("{}/v1/{path}", icecore.http)).body(body);
        let request = request.header("content-type", "application/x-protobuf");
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {answer:?}");
        let said = answer.bytes().await.unwrap();
        assert!(said.is_empty(), "{path} were accepted in part: {said:?}");
    }
}

async fn check_files(python: &Path, readers: &[&str], start: &Start, when: &str) {
    let icecore = start.run();
    let list = start.data_dir.join("files.txt");
    let files = files(start);
    std::fs::write(&list, files.join("\n")).unwrap();
    for table in TABLES {
        let ours = sorted(objects(&icecore, table).await);
        assert!(!ours.is_empty());
        for reader in readers {
            let theirs = sorted(read(python, reader, &list, table));
            assert_eq!(theirs.len(), ours.len(), "{reader}, {table} {when}");
            for (ours, theirs) in ours.iter().zip(&theirs) {
                compare(ours, theirs, &format!("{reader}, {table} {when}"));
            }
        }
    }
    icecore.stop();
}

/// The rows of a table by SQL.
async fn objects(icecore: &Icecore, table: &str) -> Vec<Map<String, Value>> {
    let answer = icecore.post_sql(&format!("SELECT * FROM {table}")).await;
    let names: Vec<&str> = answer["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    let row = |row: &Value| {
        let cells = row.as_array().unwrap().iter().cloned();
        names.iter().map(|name| (*name).to_owned()).zip(cells).collect()
    };
    answer["rows"].as_array().unwrap().iter().map(row).collect()
}

/// The rows of a table by another engine.
fn read(python: &Path, reader: &str, list: &Path, table: &str) -> Vec<Map<String, Value>> {
    let output = Command::new(python)
        .arg(peers::script("read_rows.py"))
        .args([reader, list.to_str().unwrap(), table])
        .env("TZ", "UTC")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{reader}, {table}: {errors}");
    let said = String::from_utf8(output.stdout).unwrap();
    // Spark says more than it is asked for, before.
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

/// Every item has a number of its own.
fn sorted(mut rows: Vec<Map<String, Value>>) -> Vec<Map<String, Value>> {
    rows.sort_by_key(|row| row["attributes"]["number"].as_i64().unwrap());
    rows
}

/// Every column that SQL has, and none that it has not.
fn compare(ours: &Map<String, Value>, theirs: &Map<String, Value>, what: &str) {
    for (column, wanted) in ours {
        let got = theirs.get(column).unwrap_or_else(|| panic!("{what}: no column {column}"));
        assert!(same(got, wanted), "{what}: {column} is {got}, and by SQL {wanted}, of {ours:?}");
    }
    let more: Vec<_> = theirs.keys().filter(|name| !ours.contains_key(*name)).collect();
    assert!(more.is_empty(), "{what}: SQL has no {more:?}");
}

/// Whether both say the same: texts of JSON are what they stand for, and an engine without null lists
/// has empty ones.
fn same(got: &Value, wanted: &Value) -> bool {
    match (got, wanted) {
        (Value::Array(got), Value::Null) => got.is_empty(),
        (Value::Object(got), Value::Null) => got.is_empty(),
        (Value::Number(got), Value::Number(wanted)) => got
            .as_i128()
            .zip(wanted.as_i128())
            .map_or_else(|| got.as_f64() == wanted.as_f64(), |(got, wanted)| got == wanted),
        (Value::Array(got), Value::Array(wanted)) => {
            got.len() == wanted.len()
                && got.iter().zip(wanted).all(|(got, wanted)| same(got, wanted))
        }
        (Value::Object(got), Value::Object(wanted)) => {
            let key = |(name, wanted): (&String, &Value)| {
                got.get(name).is_some_and(|got| same(got, wanted))
            };
            got.len() == wanted.len() && wanted.iter().all(key)
        }
        (Value::String(text), Value::Object(_) | Value::Array(_)) => {
            serde_json::from_str::<Value>(text).is_ok_and(|got| same(&got, wanted))
        }
        (got, wanted) => got == wanted,
    }
}

/// The files that count.
pub(crate) fn files(start: &Start) -> Vec<String> {
    let bucket: PathBuf = start.data_dir.join("bucket");
    let paths = store(start, "files");
    paths.lines().map(|path| bucket.join(path).to_str().unwrap().to_owned()).collect()
}

pub(crate) fn store(start: &Start, command: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_icecore"))
        .args(["store", command, "--log=warn", "--data-dir"])
        .arg(&start.data_dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
