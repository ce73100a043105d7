//! Every script of the catalogue on a capture that was sent as OTLP.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::icecore::{Icecore, Start};

/// The capture is of these ten minutes, of which the second half is worse than the first.
pub(crate) const SINCE: &str = "2026-11-21T10:00:00Z";
const AT: &str = "2026-11-21T10:08:00Z";
const UNTIL: &str = "2026-11-21T10:16:00Z";

/// Parameters besides the time.
fn parameters(script: &str) -> Value {
    let mut params = json!({ "since": SINCE, "until": UNTIL });
    let more: &[(&str, Value)] = match script {
        "namespace" => &[("namespace", json!("shop"))],
        "node" => &[("node", json!("node-b"))],
        "pod" => &[("pod", json!("cart-5c9-2"))],
        "service" => &[("service", json!("web"))],
        "service_stats" => &[("step_s", json!(480))],
        "http_data_filtered" => &[("status_min", json!(500)), ("path", json!("/users/%"))],
        "http_data" | "sql_queries" | "redis_data" | "slow_requests" => &[("limit", json!(5))],
        "what_changed" => &[("at", json!(AT)), ("limit", json!(8))],
        _ => &[],
    };
    for (name, value) in more {
        params[name] = value.clone();
    }
    params
}

async fn send(icecore: &Icecore, signal: &str, capture: &'static str) {
    let request = reqwest::Client::new().post(format!("{}/v1/{signal}", icecore.http));
    let sent = request.header("content-type", "application/json").body(capture).send().await;
    let answer: Value = sent.unwrap().json().await.unwrap();
    assert_eq!(answer["partialSuccess"].as_object().map_or(0, |part| part.len()), 0, "{answer}");
}

pub(crate) async fn captured(folder: &std::path::Path) -> Icecore {
    let icecore = Start::new(folder).run();
    send_capture(&icecore).await;
    icecore
}

pub(crate) async fn send_capture(icecore: &Icecore) {
    send(icecore, "traces", include_str!("capture/traces.json")).await;
    send(icecore, "metrics", include_str!("capture/metrics.json")).await;
    send(icecore, "logs", include_str!("capture/logs.json")).await;
}

/// Scenario: every script runs on the capture, whose rows are live; then again, from files.
/// Guarantees: the columns that its head declares, in order and of their types; the rows of
/// capture/answers.json; the same from files as from memory.
#[tokio::test(flavor = "multi_thread")]
async fn every_script_answers() {
    let folder = tempfile::tempdir().unwrap();
    let icecore = captured(folder.path()).await;
    let expected: BTreeMap<String, Value> =
        serde_json::from_str(include_str!("capture/answers.json")).unwrap();
    check(&icecore, &expected).await;
    icecore.stop();
    let icecore = Start::new(folder.path()).run();
    check(&icecore, &expected).await;
    icecore.stop();
}

async fn check(icecore: &Icecore, expected: &BTreeMap<String, Value>) {
    let client = reqwest::Client::new();
    let listed: Value = icecore.get("/api/v1/scripts").await.json().await.unwrap();
    let scripts = listed["scripts"].as_array().unwrap();
    assert_eq!((scripts.len(), scripts.len() >= 25), (expected.len(), true));
    for script in scripts {
        let name = script["name"].as_str().unwrap();
        let url = format!("{}/api/v1/scripts/{name}", icecore.api);
        let request = client.post(url).json(&json!({ "params": parameters(name) }));
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(columns(&answer["columns"]), columns(&script["columns"]), "{name} {answer:#}");
        assert_eq!(rounded(&answer["rows"]), rounded(&expected[name]), "{name}");
    }
}

/// Names and types; types of answers as heads call them.
fn columns(columns: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = |name: &str| {
        match name {
            name if name.starts_with("Int") || name.starts_with("UInt") => "int",
            name if name.starts_with("Float") => "float",
            name if name.starts_with("Timestamp") => "time",
            "Boolean" => "bool",
            "Utf8" | "Utf8View" | "LargeUtf8" => "text",
            other => other,
        }
        .to_owned()
    };
    let columns = columns.as_array().map_or(&[][..], Vec::as_slice);
    columns.iter().map(|column| (text(&column["name"]), kind(&text(&column["type"])))).collect()
}

/// Numbers with nine digits: sums of doubles depend on their order in the last.
fn rounded(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(rounded).collect(),
        Value::Number(number) if number.is_f64() => {
            json!(format!("{:.9e}", number.as_f64().unwrap_or_default()))
        }
        other => other.clone(),
    }
}

/// Scenario: the command line lists, shows and runs scripts, one of the operator's own among them;
/// names and values that are wrong.
/// Guarantees: answers in the form asked for; exit codes 3 for an unknown name, 2 for a parameter that
/// the script does not have or that does not fit, by its name; the nearest name is told.
#[tokio::test(flavor = "multi_thread")]
async fn scripts_run_from_the_command_line() {
    let (folder, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let head = "-- title: Own\n-- about: One.\n-- param: n int = 3; a number\n-- column: n int; it\n-- draw: table\n";
    std::fs::write(own.path().join("mine.sql"), format!("{head}SELECT $n AS n")).unwrap();
    let icecore = Start::new(folder.path()).arg("script-dir", own.path().to_str().unwrap()).run();
    let check = |args: &[&str], code: i32, part: &str| {
        let (exit, out, err) = icecore.client(args);
        assert_eq!(exit, Some(code), "{args:?} {out} {err}");
        assert!(out.contains(part) || err.contains(part), "{args:?} {out} {err}");
    };
    check(&["script", "list"], 0, "what_changed");
    check(&["script", "show", "mine"], 0, "SELECT $n AS n");
    check(&["script", "run", "mine", "--param", "n=42", "-o", "csv"], 0, "42");
    check(&["script", "run", "services", "--since", "15m"], 0, "0 rows");
    check(&["script", "run", "servces"], 3, "`services`");
    check(&["script", "run", "mine", "--param", "n=many"], 2, "parameter `n` of `mine`");
    check(&["script", "run", "mine", "--param", "m=1"], 2, "has no parameter `m`");
    check(&["script", "run", "mine", "--since", "1h"], 2, "has no parameter `since`");
    check(&["script", "run", "mine", "--param", "n"], 2, "NAME=VALUE");
    check(&["script", "run", "services", "--since", "soon"], 2, "not a time");
    icecore.stop();
}
