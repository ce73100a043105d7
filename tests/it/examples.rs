//! The examples of `query-api/examples/`, run as their readers would.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::icecore::Icecore;
use crate::peers;
use crate::scripts::{SINCE, captured};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("query-api/examples").join(name)
}

async fn run(icecore: &Icecore, python: &Path, name: &str, args: &[&str]) -> Output {
    let mut command = Command::new(python);
    command.arg(example(name)).args(args).env("ICECORE_URL", &icecore.api);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Scenario: the Python example with its own question, with another, and with a wrong one.
/// Guarantees: every service with its figures; the fault in the words of the server, exit code 1.
#[tokio::test(flavor = "multi_thread")]
async fn python_asks() {
    let Some(python) = peers::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let icecore = captured(folder.path()).await;
    let said = run(&icecore, &python, "ask.py", &[]).await;
    assert!(said.status.success(), "{}", text(&said.stderr));
    let expected = "SELECT service_name, count(*) FROM spans WHERE kind = 'SERVER' GROUP BY 1";
    let expected = icecore.sql(expected).await;
    assert!(!expected.is_empty());
    let out = text(&said.stdout);
    for row in expected {
        let (service, requests) = (row[0].as_str().unwrap(), row[1].to_string());
        let is_row = |line: &&str| {
            let mut words = line.split_whitespace();
            words.next() == Some(service) && words.next() == Some(&requests)
        };
        assert_eq!(out.lines().filter(is_row).count(), 1, "{service} {requests} in\n{out}");
    }
    let said = run(&icecore, &python, "ask.py", &["SELECT nam FROM spans"]).await;
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stderr).contains("did you mean `name`?"), "{}", text(&said.stderr));
    icecore.stop();
}

/// Scenario: a table is posted to a webhook, of a time with failures and of one without.
/// Guarantees: one message with every row of the script's answer; none where nothing failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_posted() {
    let Some(python) = peers::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let icecore = captured(folder.path()).await;
    let posted = Arc::<Mutex<Vec<Value>>>::default();
    let kept = Arc::clone(&posted);
    let hook = post(move |Json(message): Json<Value>| async move {
        kept.lock().unwrap().push(message);
        "ok"
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", hook)).await });
    for since in [SINCE, "1s"] {
        let args = [webhook.as_str(), "--script", "http_errors", "--since", since];
        let said = run(&icecore, &python, "post_to_chat.py", &args).await;
        assert!(said.status.success(), "{}", text(&said.stderr));
    }
    let url = format!("{}/api/v1/scripts/http_errors", icecore.api);
    let asked = reqwest::Client::new().post(url).json(&json!({ "since": SINCE })).send().await;
    let answer: Value = asked.unwrap().json().await.unwrap();
    let rows = answer["rows"].as_array().unwrap();
    assert!(!rows.is_empty());
    let posted = posted.lock().unwrap();
    assert_eq!(posted.len(), 1, "{posted:#?}");
    let message = posted[0]["text"].as_str().unwrap();
    assert!(message.starts_with("*http_errors*"), "{message}");
    for row in rows.iter().take(10) {
        let trace = row[7].as_str().unwrap();
        assert!(message.contains(trace), "{trace} in\n{message}");
    }
    icecore.stop();
}
