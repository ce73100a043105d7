//! The bucket is the whole truth: a copy of it answers the same, and other engines read it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::icecore::{Icecore, Start};
use crate::otlp::{post, request};
use crate::peers;

const QUESTIONS: [&str; 4] = [
    "SELECT count(*), count(DISTINCT trace_id), count(DISTINCT span_id) FROM spans",
    "SELECT service_name, name, count(*), sum(duration_ns) FROM spans GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT trace_id, span_id, start_time, attributes['number'] FROM spans ORDER BY start_time LIMIT 50",
    "SELECT attributes['http.route'], count(*) FROM spans GROUP BY 1",
];

async fn answers(icecore: &Icecore) -> Vec<Vec<Vec<Value>>> {
    let mut answers = Vec::new();
    for question in QUESTIONS {
        answers.push(icecore.sql(question).await);
    }
    answers
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// Scenario: two services' spans are flushed; the bucket is copied away; the index and the log of
/// the original are deleted.
/// Guarantees: an Icecore on the copy, and one on the original without index and log, answer every
/// question the same; `store check` finds it whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_bucket_answers_the_same() {
    let _held = peers::noisy().await;
    let (original, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let icecore = Start::new(original.path()).run();
    for (number, service) in ["shop", "cart", "shop"].into_iter().enumerate() {
        let first = u64::try_from(number).unwrap() * 400;
        assert!(post(&icecore.http, request(service, first, 400)).await.status().is_success());
    }
    let expected = answers(&icecore).await;
    assert_eq!(expected[0][0][0], 1200);
    icecore.stop();
    copy(&original.path().join("bucket"), &elsewhere.path().join("bucket"));
    for folder in ["index", "log"] {
        std::fs::remove_dir_all(original.path().join(folder)).unwrap();
    }
    for data_dir in [elsewhere.path(), original.path()] {
        let icecore = Start::new(data_dir).run();
        assert_eq!(answers(&icecore).await, expected);
        icecore.stop();
        let output = Command::new(env!("CARGO_BIN_EXE_icecore"))
            .args(["store", "check", "--log=warn", "--data-dir"])
            .arg(data_dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    external_readers(&elsewhere.path().join("bucket"), &expected[1]);
}

/// Scenario: three short runs leave a small file each; `store compact` is asked for at once.
/// Guarantees: it merges them however young they are, the answers stay the same, and asked again it
/// finds nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn compaction_that_is_asked_for_happens_now() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::new(folder.path()).arg("compaction", "false");
    for run in 0..3 {
        let icecore = start.run();
        assert!(post(&icecore.http, request("shop", run * 50, 50)).await.status().is_success());
        icecore.stop();
    }
    let store = |command: &str| {
        let icecore = Command::new(env!("CARGO_BIN_EXE_icecore"))
            .args(["store", command, "--log=warn", "--data-dir"])
            .arg(folder.path())
            .output()
            .unwrap();
        assert!(icecore.status.success(), "{}", String::from_utf8_lossy(&icecore.stderr));
        String::from_utf8(icecore.stdout).unwrap()
    };
    let files = store("files").lines().count();
    let merged = store("compact");
    let summary = merged.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
    assert!(summary.starts_with(&format!("{files} files")), "{merged}");
    assert_eq!(store("compact"), "nothing to merge\n");
    let icecore = start.run();
    assert_eq!(icecore.count("SELECT count(DISTINCT span_id) FROM spans").await, 150);
    assert_eq!(icecore.count("SELECT count(*) FROM spans").await, 150);
}

/// DuckDB and pyarrow read the files as they are, and count and add up the same.
fn external_readers(bucket: &Path, expected: &[Vec<Value>]) {
    let Some(python) = peers::python() else { return };
    for reader in ["duckdb", "pyarrow"] {
        let output = Command::new(&python)
            .arg(peers::script("read_bucket.py"))
            .arg(reader)
            .arg(bucket)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{reader}: {errors}");
        let rows: Vec<Vec<Value>> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(rows, expected, "{reader}");
    }
}
