//! What is kept and what goes: holds, rules and erasure, by the real binary.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::icecore::{Icecore, PATIENCE, Start};
use crate::otlp::{post, request};
use crate::peers;
use crate::servers::s3s_fs;

const COUNT: &str = "SELECT count(*) FROM spans";

/// Runs `icecore` as a client; the exit code and all that it said.
fn said(icecore: &Icecore, args: &[&str]) -> (Option<i32>, String) {
    let (code, out, err) = icecore.client(args);
    (code, format!("{out}{err}"))
}

fn check(icecore: &Icecore, args: &[&str], code: i32, parts: &[&str]) {
    let (found, text) = said(icecore, args);
    assert_eq!(found, Some(code), "{args:?}\n{text}");
    for part in parts {
        assert!(text.contains(part), "{args:?} does not say `{part}`:\n{text}");
    }
}

async fn send(icecore: &Icecore, service: &str, first: u64) {
    assert!(post(&icecore.http, request(service, first, 100)).await.status().is_success());
}

/// Holds are made, made again, refused, listed, and missed.
async fn holds(icecore: &Icecore) {
    let (from, to) = ("2026-09-01T00:00:00Z", "2026-10-01T00:00:00+02:00");
    let ada = "service_name = 'ada' AND attributes['number'] = '7'";
    let create = ["hold", "create", "inc-1", "--from", from, "--to", to, "--where", ada];
    check(icecore, &create, 0, &["`inc-1` is held from 2026-09-01T00:00:00", "so far"]);
    check(icecore, &create, 0, &["inc-1"]);
    let other = ["hold", "create", "inc-1", "--from", from, "--to", "now"];
    check(icecore, &other, 1, &["another hold is called `inc-1`", "release"]);
    check(icecore, &["hold", "create", "../x", "--from", from, "--to", to], 1, &["not a name"]);
    check(icecore, &["hold", "create", "x", "--from", "soon", "--to", to], 1, &["not a time"]);
    check(icecore, &["hold", "create", "x", "--from", "now", "--to", "2h"], 1, &["is empty"]);
    let nonsense =
        ["hold", "create", "x", "--from", "2h", "--to", "now", "--where", "nonsense = 1"];
    check(icecore, &nonsense, 1, &["nonsense"]);
    check(icecore, &["hold", "list"], 0, &["inc-1", ada, "spans", "1 hold"]);
    check(icecore, &["hold", "release", "nobody"], 3, &["there is no hold `nobody`"]);
    let listed: serde_json::Value = icecore.get("/api/v1/holds").await.json().await.unwrap();
    assert_eq!(listed["holds"][0]["to"], "2026-09-30T22:00:00.000000000Z");
    let url = format!("{}/api/v1/holds/inc-1", icecore.api);
    let client = reqwest::Client::new();
    let wish = |to: &str| json!({ "from": from, "to": to, "where": ada });
    let same = client.put(&url).json(&wish("2026-09-30T22:00:00Z")).send().await.unwrap();
    assert_eq!(same.status(), 200);
    let other = client.put(&url).json(&wish("2026-09-30T23:00:00Z")).send().await.unwrap();
    assert_eq!(other.status(), 409);
    let error: serde_json::Value = other.json().await.unwrap();
    assert_eq!(error["error"]["code"], "conflict");
}

/// Rows that are not flushed are erased as well, but for one that is held.
async fn erasure(icecore: &Icecore) {
    let erase = ["store", "erase", "--where", "service_name = 'ada'"];
    let with = |more: &[&'static str]| [&erase[..], more].concat();
    check(icecore, &with(&[]), 2, &["99 rows would be erased", "nothing was erased", "--yes"]);
    check(icecore, &with(&["--dry-run"]), 0, &["99 rows would be erased", "1 rows match and stay"]);
    assert_eq!(icecore.count(COUNT).await, 200);
    let done =
        ["99 rows erased", "1 rows match and stay", "hold 0 such rows", "absent: data/spans/"];
    check(icecore, &with(&["--yes", "--now", "--by", "the desk"]), 0, &done);
    assert_eq!(icecore.count(COUNT).await, 101);
    assert_eq!(icecore.count(&format!("{COUNT} WHERE service_name = 'ada'")).await, 1);
    check(icecore, &with(&["--yes"]), 0, &["0 rows erased", "hold 0 such rows"]);
    check(icecore, &["store", "erase", "--where", "nonsense = 1", "--yes"], 1, &["nonsense"]);
    // What comes later is new, and is erased when it is asked for again.
    send(icecore, "ada", 1000).await;
    let gone = ["100 rows erased", "old files stay until", "absent: data/spans/"];
    check(icecore, &with(&["--yes", "--wait"]), 0, &gone);
    assert_eq!(icecore.count(COUNT).await, 101);
}

/// Rules take the rest, but for what is held, until it is let go.
async fn rules(start: &Start) {
    let start = start.clone().arg("compaction-interval", "1s").arg("retention-interval", "1s");
    let bad = start.clone().arg("retention", "spans 30d where nonsense = 1").refused();
    assert_eq!(bad.0, Some(2), "{}", bad.1);
    assert!(bad.1.contains("nonsense") && bad.1.contains("retention"), "{}", bad.1);
    let icecore = start.arg("retention", "spans 30d; logs 7d where body in ('a', 'b')").run();
    let end = tokio::time::Instant::now() + PATIENCE;
    while icecore.count(COUNT).await > 1 && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(icecore.count(&format!("{COUNT} WHERE service_name = 'ada'")).await, 1);
    assert_eq!(icecore.count(COUNT).await, 1);
    let metrics = icecore.get("/metrics").await.text().await.unwrap();
    let deleted = "icecore_store_deleted_rows_total{table=\"spans\",cause=\"retention\"} 100";
    assert!(metrics.contains(deleted), "{metrics}");
    assert!(metrics.contains("icecore_store_holds 1"), "{metrics}");
    check(&icecore, &["hold", "release", "inc-1"], 0, &["`inc-1` is released"]);
    while icecore.count(COUNT).await > 0 && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(icecore.count(COUNT).await, 0);
    icecore.stop();
}

/// Runs one of the commands that open the bucket themselves.
fn store(start: &Start, args: &[&str]) -> String {
    let output = start.store(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn check_line(start: &Start) {
    let icecore = start.clone().arg("flush-after", "1h").arg("garbage-grace", "2s").run();
    send(&icecore, "ada", 0).await;
    send(&icecore, "bob", 100).await;
    holds(&icecore).await;
    erasure(&icecore).await;
    icecore.stop();
    let trial = store(start, &["retain", "--dry-run", "--retention", "spans 30d"]);
    assert!(trial.contains("rows would go") && trial.contains("100"), "{trial}");
    assert!(store(start, &["retain"]).contains("everything is kept"));
    rules(start).await;
    assert!(store(start, &["check"]).contains("whole"));
}

/// Scenario: rows that wait in the log, a hold, an erasure, rules, a release, in a folder.
/// Guarantees: exactly what a hold keeps outlives erasure and rules; exit codes and answers are
/// those of the contract; the log lets go of what was erased; the bucket stays whole.
#[tokio::test(flavor = "multi_thread")]
async fn holds_outrank_rules_and_erasure() {
    let _held = peers::noisy().await;
    let folder = tempfile::tempdir().unwrap();
    check_line(&Start::new(folder.path())).await;
    assert!(segments(folder.path()) <= 2, "the log keeps what was erased");
}

/// Scenario: the same over an S3-compatible server.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn holds_outrank_rules_and_erasure_on_s3() {
    let _held = peers::noisy().await;
    let (bucket, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(server) = s3s_fs(bucket.path()).await else { return };
    check_line(&server.client(folder.path())).await;
}

/// Scenario: the address is not one of this machine alone, and nobody allowed erasing there.
/// Guarantees: erasing is refused, and what would allow it is told.
#[tokio::test(flavor = "multi_thread")]
async fn erasing_by_http_can_be_off() {
    let folder = tempfile::tempdir().unwrap();
    let icecore = Start::new(folder.path()).arg("http-erase", "off").run();
    let erase = ["store", "erase", "--where", "true", "--yes"];
    check(&icecore, &erase, 1, &["does not erase", "http_erase"]);
    icecore.stop();
}

/// Segments of the log.
fn segments(data_dir: &Path) -> usize {
    let files = std::fs::read_dir(data_dir.join("log")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".log")).count()
}
