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
    output(python, name, args, &[("ICECORE_URL", &icecore.api)]).await
}

async fn output(python: &Path, name: &str, args: &[&str], vars: &[(&str, &str)]) -> Output {
    let mut command = Command::new(python);
    command.arg(example(name)).args(args).envs(vars.iter().copied());
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
        let args = ["--script", "http_errors", "--since", since];
        let vars = [("ICECORE_URL", icecore.api.as_str()), ("ICECORE_WEBHOOK", webhook.as_str())];
        let said = output(&python, "post_to_chat.py", &args, &vars).await;
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

/// Scenario: answers are posted that broke off behind a row; a webhook refuses, is not there and is
/// no URL; no webhook is given; Icecore is not there.
/// Guarantees: exit code 1, or 2 where it is called wrongly; one line that says why, never the
/// webhook's URL; nothing is posted of an answer that broke off.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_posted_is_told_without_the_webhook() {
    let Some(python) = peers::python() else { return };
    let posted = Arc::<Mutex<u32>>::default();
    let kept = Arc::clone(&posted);
    let whole = json!({"columns": [{"name": "n"}], "rows": [[1]], "stats": {"incomplete": []}});
    let mut broken = whole.clone();
    broken["error"] =
        json!({"code": "time_limit", "message": "it took too long", "hint": "ask less"});
    let routes = Router::new()
        .route("/whole/api/v1/scripts/http_errors", post(async move || Json(whole)))
        .route("/broken/api/v1/scripts/http_errors", post(async move || Json(broken)))
        .route("/hook/secret", post(async move || *kept.lock().unwrap() += 1));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    // A port that was free a moment ago.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (whole, gone) = (format!("{here}/whole"), format!("http://{gone}"));
    let hook = format!("{here}/hook/secret");
    let check = async |api: &str, hook: &str, code: i32, why: &str| {
        let vars = [("ICECORE_URL", api), ("ICECORE_WEBHOOK", hook)];
        let said = output(&python, "post_to_chat.py", &[], &vars).await;
        let (out, err) = (text(&said.stdout), text(&said.stderr));
        assert_eq!(said.status.code(), Some(code), "{err}");
        assert!(err.contains(why) && !err.contains("Traceback"), "{err}");
        assert!(!out.contains("secret") && !err.contains("secret"), "{out}{err}");
    };
    check(&format!("{here}/broken"), &hook, 1, "the answer broke off: it took too long").await;
    check(&gone, &hook, 1, "does not answer: ConnectionError").await;
    check(&here, &hook, 1, "does not answer: JSONDecodeError").await;
    check(&whole, "", 2, "ICECORE_WEBHOOK").await;
    assert_eq!(*posted.lock().unwrap(), 0);
    check(&whole, &format!("{here}/no/secret"), 1, "with status 404").await;
    check(&whole, &format!("{gone}/secret"), 1, "cannot be reached: ConnectionError").await;
    check(&whole, "hooks.example/secret", 1, "cannot be reached: MissingSchema").await;
    check(&whole, &hook, 0, "").await;
    assert_eq!(*posted.lock().unwrap(), 1);
}
