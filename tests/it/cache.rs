//! What is kept of a far bucket on local disk, by the real binary over a server that speaks S3.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::icecore::{Icecore, PATIENCE, Start};
use crate::otlp::{post, request};
use crate::peers;
use crate::servers::{Server, s3s_fs};

const QUERY: &str =
    "SELECT service_name, count(*), count(DISTINCT name) FROM spans GROUP BY 1 ORDER BY 1";

/// Puts spans of two services into the bucket, and ends.
async fn fill(server: &Server) {
    let folder = tempfile::tempdir().unwrap();
    let icecore = server.client(folder.path()).run();
    for (service, first) in [("ada", 0), ("bob", 1000)] {
        assert!(post(&icecore.http, request(service, first, 500)).await.status().is_success());
    }
    let stored = "icecore_store_rows{table=\"spans\"}";
    wait(&icecore, stored, |rows| rows == 1000).await;
    icecore.stop();
}

/// Waits until a figure is as wanted.
async fn wait(icecore: &Icecore, name: &str, wanted: impl Fn(u64) -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let metrics = icecore.get("/metrics").await.text().await.unwrap();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        if value.is_some_and(|value| wanted(value.parse().unwrap())) {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "{name} is {value:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The rows of the query, and what they took.
async fn asked(icecore: &Icecore) -> (Value, Value) {
    let answer = icecore.post_sql(QUERY).await;
    assert!(answer["rows"].is_array(), "{answer}");
    (answer["rows"].clone(), answer["stats"].clone())
}

/// That an answer is right, and asked the bucket for nothing.
async fn check_kept(icecore: &Icecore, rows: &Value) -> Value {
    let (again, stats) = asked(icecore).await;
    assert_eq!(again, *rows);
    assert_eq!((&stats["requests"], &stats["fetched_bytes"]), (&0.into(), &0.into()), "{stats}");
    stats
}

fn folder(start: &Start) -> PathBuf {
    start.data_dir.join("cache/pages-1")
}

/// The data files that something is kept of, by their ids.
fn kept(folder: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| Some(name.rsplit_once('.')?.1.to_owned())).collect()
}

/// Scenario: the same query twice over a server that speaks S3; the process is killed, and asked again; all that is
/// kept is deleted under it; rows are erased.
/// Guarantees: the second time the bucket is asked for nothing, nor after the restart; `EXPLAIN ANALYZE` and the
/// answer's `stats` say so; answers are the same throughout; what an erasure removed is not on local disk.
#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_is_asked_once() {
    let _held = peers::noisy().await;
    let (bucket, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(server) = s3s_fs(bucket.path()).await else { return };
    fill(&server).await;
    let start = server.client(data.path()).arg("compaction", "false");
    let icecore = start.run();
    let (rows, first) = asked(&icecore).await;
    assert_eq!(rows.as_array().map(Vec::len), Some(2));
    let fetched = first["fetched_bytes"].as_u64().unwrap();
    assert!(fetched > 0 && first["requests"].as_u64().unwrap() > 0, "{first}");
    assert_eq!((&first["footers_kept"], &first["footers_read"]), (&0.into(), &first["files_read"]));
    let again = check_kept(&icecore, &rows).await;
    assert!(again["cached_bytes"].as_u64().unwrap() > 0, "{again}");
    assert_eq!(again["footers_kept"], again["files_read"]);
    let plan = icecore.sql(&format!("EXPLAIN ANALYZE {QUERY}")).await;
    let plan = serde_json::to_string(&plan).unwrap();
    let figures =
        ["files_considered=", "requests=0", "fetched_bytes=0", "cached_bytes=", "footers_kept="];
    for figure in figures {
        assert!(plan.contains(figure), "{figure} {plan}");
    }
    let written = "icecore_store_page_cache_written_bytes_total";
    wait(&icecore, written, |bytes| bytes > fetched).await;
    icecore.kill();

    let icecore = start.run();
    let restarted = check_kept(&icecore, &rows).await;
    assert_eq!(restarted["footers_read"], restarted["files_read"]);
    std::fs::remove_dir_all(data.path().join("cache")).unwrap();
    assert_eq!(asked(&icecore).await.0, rows);
    wait(&icecore, "icecore_store_page_cache_bytes", |bytes| bytes > 0).await;
    check_kept(&icecore, &rows).await;

    let before = kept(&folder(&start));
    let erase = ["store", "erase", "--where", "service_name = 'ada'", "--yes", "--now"];
    let (code, out, said) = icecore.client(&erase);
    assert_eq!(code, Some(0), "{out}{said}");
    let after = kept(&folder(&start));
    assert!(!before.is_subset(&after), "{before:?} {after:?}");
    let files = start.store(&["files"]);
    let files = String::from_utf8_lossy(&files.stdout).into_owned();
    assert!(after.iter().all(|id| files.contains(id)), "{after:?} {files}");
    let left = asked(&icecore).await.0;
    assert_eq!(left, serde_json::json!([rows[1]]));
    icecore.stop();
}
