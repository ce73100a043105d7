//! The official SDKs send; what is read back equals what they sent, field by field.

use std::collections::BTreeSet;
use std::process::Command;

use icecore_store::UnixNanos;
use serde_json::{Map, Value, json};

use crate::icecore::{Icecore, Start};
use crate::otlp::{by, items, list, number, plain};
use crate::peers;

/// Scenario: the Python SDK sends every kind of attribute, span, metric and log, over gRPC and HTTP.
/// Guarantees: SQL and OTLP JSON give back each field as it was sent, live and from files.
#[tokio::test(flavor = "multi_thread")]
async fn python_sdk() {
    let _held = peers::noisy().await;
    let Some(python) = peers::python() else { return };
    check_sdk("py", |protocol, endpoint, run| {
        let mut command = Command::new(&python);
        command.arg(peers::script("sdk_sender.py")).args([protocol, endpoint, run]);
        command
    })
    .await;
}

/// Scenario: the Node.js SDK does the same, with delta temporality.
/// Guarantees: as above.
#[tokio::test(flavor = "multi_thread")]
async fn node_sdk() {
    let _held = peers::noisy().await;
    let Some(folder) = peers::node() else { return };
    check_sdk("js", |protocol, endpoint, run| {
        let mut command = Command::new("node");
        command.env("NODE_PATH", folder.join("node_modules"));
        command.arg(peers::script("sdk_sender.js")).args([protocol, endpoint, run]);
        command
    })
    .await;
}

async fn check_sdk(name: &str, command: impl Fn(&str, &str, &str) -> Command) {
    let folder = tempfile::tempdir().unwrap();
    // Rows stay live through the first half of the test, and are in files in the second.
    let live = Start::new(folder.path()).arg("flush-after", "1h");
    let icecore = live.run();
    let mut sent = Vec::new();
    for protocol in ["grpc", "http"] {
        let run = format!("{name}-{protocol}");
        let endpoint = if protocol == "grpc" { &icecore.grpc } else { &icecore.http };
        let output = command(protocol, endpoint, &run).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{run}: {errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        sent.push((run, serde_json::from_str::<Value>(text.lines().last().unwrap()).unwrap()));
    }
    for (run, sent) in &sent {
        check_all(&icecore, run, sent).await;
    }
    icecore.stop();
    let icecore = live.run();
    assert_eq!(icecore.post_sql("SELECT count(*) FROM spans").await["stats"]["live_rows"], 0);
    for (run, sent) in &sent {
        check_all(&icecore, run, sent).await;
    }
}

async fn check_all(icecore: &Icecore, run: &str, sent: &Value) {
    check_traces(icecore, &sent["traces"]).await;
    check_metrics(icecore, run, &sent["metrics"]).await;
    check_logs(icecore, run, &sent["logs"]).await;
}

const SPANS: [&str; 3] = ["resourceSpans", "scopeSpans", "spans"];

async fn check_traces(icecore: &Icecore, sent: &Value) {
    let sent = items(sent, SPANS);
    let ids: BTreeSet<&str> =
        sent.iter().map(|span| span["item"]["traceId"].as_str().unwrap()).collect();
    let mut back = Vec::new();
    for id in ids {
        let trace: Value = icecore.get(&format!("/api/v1/traces/{id}")).await.json().await.unwrap();
        back.extend(items(&trace, SPANS));
    }
    let (sent, back) = (by(sent, "spanId"), by(back, "spanId"));
    assert_eq!(sent.keys().collect::<Vec<_>>(), back.keys().collect::<Vec<_>>());
    for (id, span) in sent {
        assert_eq!(pretty(&span), pretty(&back[&id]), "span {id}");
    }
}

async fn check_metrics(icecore: &Icecore, run: &str, sent: &Value) {
    let query =
        format!("SELECT * FROM metrics WHERE attributes['run'] = '{run}' ORDER BY metric_name");
    let rows = objects(icecore, &query).await;
    let mut expected = Vec::new();
    for metric in items(sent, ["resourceMetrics", "scopeMetrics", "metrics"]) {
        expected.extend(points(&metric));
    }
    expected.sort_by_key(|point| point["metric_name"].as_str().unwrap().to_owned());
    check_rows(&rows, &expected);
}

/// The rows that a metric becomes.
fn points(metric: &Value) -> Vec<Value> {
    let item = &metric["item"];
    let kinds = [
        ("gauge", "GAUGE"),
        ("sum", "SUM"),
        ("histogram", "HISTOGRAM"),
        ("exponentialHistogram", "EXPONENTIAL_HISTOGRAM"),
        ("summary", "SUMMARY"),
    ];
    let (field, kind) = kinds.into_iter().find(|(field, _)| item.get(*field).is_some()).unwrap();
    let data = &item[field];
    let temporality = match data["aggregationTemporality"].as_i64() {
        Some(1) => json!("DELTA"),
        Some(2) => json!("CUMULATIVE"),
        _ => Value::Null,
    };
    let monotonic = (kind == "SUM").then(|| data["isMonotonic"] == true);
    let row = |point: &Value| {
        let int = point.get("asInt").map_or(Value::Null, number);
        let histogram = kind.ends_with("HISTOGRAM");
        // A default left out of OTLP/JSON is a value all the same.
        let or_zero = |name: &str| histogram.then(|| number(point.get(name).unwrap_or(&json!(0))));
        let exponential = |name: &str| (kind == "EXPONENTIAL_HISTOGRAM").then(|| or_zero(name));
        json!({
            "metric_name": item["name"], "unit": text(&item["unit"]), "description": text(&item["description"]),
            "kind": kind, "temporality": temporality, "is_monotonic": monotonic,
            "time": time(&point["timeUnixNano"]), "start_time": time(&point["startTimeUnixNano"]),
            "value": if int.is_null() { point["asDouble"].clone() } else { json!(int.as_f64()) },
            "value_int": int, "count": or_zero("count"), "sum": or_zero("sum"),
            "min": point["min"].clone(), "max": point["max"],
            "bucket_counts": point.get("bucketCounts"), "explicit_bounds": point.get("explicitBounds"),
            "scale": exponential("scale"), "zero_count": exponential("zeroCount"),
            "positive_counts": point["positive"].get("bucketCounts"),
            "attributes": point["attributes"], "resource": metric["resource"]["attributes"],
            "scope_name": metric["scope"]["name"], "scope_version": metric["scope"].get("version"),
            "scope_schema_url": metric.get("scopeSchema"),
        })
    };
    list(&data["dataPoints"]).iter().map(row).collect()
}

async fn check_logs(icecore: &Icecore, run: &str, sent: &Value) {
    let query = format!(
        "SELECT * FROM logs WHERE attributes['run'] = '{run}' ORDER BY attributes['number']"
    );
    let rows = objects(icecore, &query).await;
    let expected: Vec<Value> = items(sent, ["resourceLogs", "scopeLogs", "logRecords"])
        .iter()
        .map(|record| {
            let item = &record["item"];
            json!({
                "time": time(item.get("timeUnixNano").unwrap_or(&item["observedTimeUnixNano"])),
                "observed_time": time(&item["observedTimeUnixNano"]),
                "severity_number": item.get("severityNumber").unwrap_or(&json!(0)),
                "severity_text": item.get("severityText"), "event_name": item.get("eventName"), "body": plain(&item["body"]),
                "trace_id": item.get("traceId"), "span_id": item.get("spanId"),
                "attributes": item["attributes"], "resource": record["resource"]["attributes"],
                "scope_name": record["scope"]["name"], "scope_version": record["scope"].get("version"),
            })
        })
        .collect();
    check_rows(&rows, &expected);
}

/// Each row has each field of its counterpart.
fn check_rows(rows: &[Map<String, Value>], expected: &[Value]) {
    assert_eq!(rows.len(), expected.len(), "rows {rows:#?}");
    for (row, expected) in rows.iter().zip(expected) {
        for (column, wanted) in expected.as_object().unwrap() {
            let got = row.get(column).unwrap_or_else(|| panic!("no column {column} in {row:?}"));
            let got = if column == "body" { &body(row) } else { got };
            assert!(same(got, wanted), "{column}: got {got}, sent {wanted}, in {row:?}");
        }
    }
}

/// A log's body: a text as it is, any other value out of its JSON text, bytes as base64.
fn body(row: &Map<String, Value>) -> Value {
    let text = &row["body"];
    if row["body_is_json"] == false {
        return text.clone();
    }
    let value: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    value.get("$bytes").cloned().unwrap_or(value)
}

/// Equal as numbers, as lists and objects of such, or to the letter.
fn same(got: &Value, wanted: &Value) -> bool {
    match (got, wanted) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (a.as_i64().is_none() || b.as_i64().is_none()) && a.as_f64() == b.as_f64()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => got == wanted,
    }
}

async fn objects(icecore: &Icecore, query: &str) -> Vec<Map<String, Value>> {
    let url = format!("{}/api/v1/sql", icecore.api);
    let request = reqwest::Client::new().post(url).header("accept", "application/x-ndjson");
    let answer = request.json(&json!({ "query": query })).send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "`{query}`: {text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn time(nanos: &Value) -> Value {
    number(nanos)
        .as_i64()
        .filter(|nanos| *nanos > 0)
        .map_or(Value::Null, |nanos| json!(UnixNanos(nanos).to_string()))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}
