//! The service as such: how it starts, what it counts, how it stops.

use std::sync::Arc;
use std::time::Duration;

use icecore_query::{Config, ErrorKind};
use prometheus_client::encoding::text::encode;
use serde_json::json;

use crate::bench::{Bench, Place, config};
use crate::places::fixture;

/// About half a second of work, whose first rows come at once.
const LONG: &str = "SELECT a.value * b.value FROM generate_series(1, 2000) AS a
    CROSS JOIN generate_series(1, 300) AS b";

/// Scenario: the service is told to stop while an answer is on its way.
/// Guarantees: the answer arrives whole, then the service ends; the address is free again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_under_way_arrive() {
    let bench = Bench::start(fixture(), Place::Live).await;
    let answer = bench.ask(json!({ "query": LONG }), "text/csv").await;
    bench.stop.cancel();
    let text = answer.text().await.unwrap();
    assert_eq!(text.lines().count(), 600_001);
    bench.running.await.unwrap().unwrap();
    std::net::TcpListener::bind(bench.address).unwrap();
}

/// Scenario: the service is told to stop and a reader never takes its answer.
/// Guarantees: it ends after `drain_wait` all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_is_bounded() {
    let config = Config { drain_wait: Duration::from_millis(100), ..config() };
    let bench = Bench::with(fixture(), Place::Live, config, false).await;
    let endless = LONG.replace("2000", "2000000");
    let answer = bench.ask(json!({ "query": endless }), "text/csv").await;
    bench.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), bench.running).await;
    ended.expect("drained in time").unwrap().unwrap();
    drop(answer);
}

/// Scenario: queries that are answered, refused, and left by their caller.
/// Guarantees: each is counted once under its outcome, and none counts as running after it ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_are_counted() {
    let bench = Bench::start(fixture(), Place::Live).await;
    assert_eq!(bench.rows("SELECT name FROM spans").await.len(), 4);
    bench.json("SELECT nothing FROM spans").await;
    let endless = LONG.replace("2000", "2000000");
    drop(bench.ask(json!({ "query": endless }), "text/csv").await);
    let mut text = String::new();
    for _ in 0..100 {
        text.clear();
        encode(&mut text, &bench.registry).unwrap();
        if text.contains("outcome=\"cancelled\"") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let check = |line: &str| assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    check("icecore_query_queries_total{outcome=\"answered\"} 1");
    check("icecore_query_queries_total{outcome=\"invalid\"} 1");
    check("icecore_query_queries_total{outcome=\"cancelled\"} 1");
    check("icecore_query_running_queries 0");
    check("icecore_query_duration_seconds_count 3");
}

/// Scenario: an address that is taken, and each setting that must not be zero.
/// Guarantees: the service does not open, and says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_fails_before_serving() {
    let bench = Bench::start(Vec::new(), Place::Live).await;
    let taken = Config { http_addr: bench.address, ..config() };
    let error = bench.open_again(taken).await.unwrap_err();
    assert!(error.to_string().contains(&bench.address.to_string()), "{error}");
    let error = bench.open_again(Config { threads: 0, ..config() }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

/// Scenario: many queries at once, each of another kind.
/// Guarantees: all are answered, in turn, and none sees another's parameters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_run_side_by_side() {
    let config = Config { queries_running_max: 3, query_wait: Duration::from_secs(30), ..config() };
    let bench = Arc::new(Bench::with(fixture(), Place::Both, config, false).await);
    let asked = (0..24).map(|number| {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move {
            let sql = "SELECT count(*), $1 FROM spans WHERE attributes['http.route'] = '/cart'";
            let body = json!({ "query": sql, "params": [number] });
            let answer: serde_json::Value = bench.ask(body, "*/*").await.json().await.unwrap();
            assert_eq!(answer["rows"], json!([[2, number]]), "{answer:#}");
        })
    });
    for asked in asked.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
}
