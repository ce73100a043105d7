//! Other ways in than HTTP, as the drivers that people use go them: they answer what `icecore sql`
//! answers.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::icecore::{Icecore, Start};
use crate::otlp::{post, request};
use crate::peers;

/// Questions whose answers every way must agree on.
pub(crate) const QUESTIONS: [&str; 5] = [
    "SELECT count(*), count(DISTINCT span_id) FROM spans",
    "SELECT name, count(*), sum(duration_ns), avg(duration_ns) FROM spans GROUP BY name ORDER BY name",
    "SELECT span_id, service_name, attributes['number'] FROM spans WHERE name = 'operation 3' ORDER BY span_id",
    "SELECT max(attributes['number']), min(kind), bool_and(status_code = 'UNSET') FROM spans",
    "SELECT NULL, 1.5, 'it''s', count(*) FROM requests",
];

/// 100 spans in files, and 40 that are live.
pub(crate) async fn filled(folder: &Path) -> Icecore {
    let start = Start::new(folder).arg("flush-after", "1h");
    let icecore = start.run();
    assert!(post(&icecore.http, request("shop", 0, 100)).await.status().is_success());
    icecore.stop();
    let icecore = start.run();
    assert!(post(&icecore.http, request("shop", 100, 40)).await.status().is_success());
    icecore
}

/// What a script of a peer printed, as JSON.
pub(crate) async fn script(program: &Path, name: &str, args: &[&str]) -> Value {
    let mut command = Command::new(program);
    command.arg(peers::script(name)).args(args).env("TZ", "UTC");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}: {errors}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The answers of `icecore sql` to the questions.
pub(crate) async fn ours(icecore: &Icecore) -> Vec<Value> {
    let mut answers = Vec::new();
    for question in QUESTIONS {
        answers.push(json!(icecore.sql(question).await));
    }
    answers
}

/// Scenario: the published ADBC driver connects, looks around, asks, prepares with values of each
/// type, asks wrongly, and cancels a query that would run for minutes.
/// Guarantees: tables and columns as they are; the same answers as over HTTP, of files and live
/// rows; errors in our words, with a hint; the cancelled query is gone from the server.
#[tokio::test(flavor = "multi_thread")]
async fn adbc_asks_by_flight_sql() {
    let Some(python) = peers::python() else { return };
    let _held = peers::noisy().await;
    let folder = tempfile::tempdir().unwrap();
    let icecore = filled(folder.path()).await;
    let questions = json!(QUESTIONS).to_string();
    let said = script(&python, "flight_sql.py", &[&icecore.flight, &questions]).await;
    assert_eq!(said["info"]["vendor_name"], "Icecore", "{said:#}");
    assert_eq!(said["table_types"], json!(["TABLE", "VIEW"]));
    assert_eq!(said["objects"]["requests"][0], "VIEW");
    let columns = icecore
        .sql("SELECT column_name FROM information_schema.columns WHERE table_name = 'spans'");
    let columns: Vec<Value> = columns.await.into_iter().flatten().collect();
    assert_eq!(said["objects"]["spans"], json!(["TABLE", columns]));
    assert_eq!(said["schema"], json!(columns));
    assert_eq!(said["statements"], json!(ours(&icecore).await));
    assert_eq!(said["prepared"], json!([[[7, true]], [[7, true]], [[0, true]]]));
    assert_eq!(said["rows"], json!([200_000, 20_000_100_000_u64]));
    for (what, words) in
        [("wrong", "did you mean `name`?"), ("writes", "DROP"), ("late", "ivide by zero")]
    {
        assert!(said[what].as_str().unwrap_or_default().contains(words), "{what}: {said:#}");
    }
    assert!(said["cancelled"]["said"].is_string(), "{said:#}");
    assert!(said["cancelled"]["seconds"].as_f64().unwrap() < 10.0, "{said:#}");
    for _ in 0..100 {
        let running: Value = icecore.get("/api/v1/queries").await.json().await.unwrap();
        if running["queries"] == json!([]) {
            icecore.stop();
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("a cancelled query still runs");
}
