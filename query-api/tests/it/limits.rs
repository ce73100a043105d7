//! What one query may use, how it is ended, and what it leaves to others.

use std::time::Duration;

use futures::TryStreamExt as _;
use icecore_query::Config;
use serde_json::{Value, json};

use crate::bench::{Bench, Place, config};
use crate::flight;
use crate::places::fixture;

/// Rows for as long as anybody takes them.
const ENDLESS: &str = "SELECT a.value AS n FROM generate_series(1, 2000000) AS a
    CROSS JOIN generate_series(1, 300) AS b";
/// Much work and no row before its end.
const HEAVY: &str = "SELECT sum(a.value * b.value % 7) FROM generate_series(1, 2000000) AS a
    CROSS JOIN generate_series(1, 2000) AS b";
/// Some 100 MiB to sort.
const SORT: &str =
    "SELECT value, repeat('x', 100) || value AS t FROM generate_series(1, 700000) AS a
    ORDER BY value % 1000, value";
/// As many groups, each of which keeps something.
const GROUPS: &str =
    "SELECT count(*), sum(n), sum(t) FROM (SELECT value % 400000 AS v, count(*) AS n,
    max(length(repeat('x', 100) || value)) AS t, max(repeat('x', 100) || value) AS m
    FROM generate_series(1, 700000) AS a GROUP BY 1)";

async fn running(bench: &Bench) -> Vec<Value> {
    let list = bench.client.get(bench.url("/api/v1/queries")).send().await.unwrap();
    list.json::<Value>().await.unwrap()["queries"].as_array().unwrap().clone()
}

/// Waits until the service says so of its queries.
async fn wait_until(bench: &Bench, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    for _ in 0..500 {
        let list = running(bench).await;
        if is_so(&list) {
            return list;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:#?}", running(bench).await)
}

async fn ask_as(bench: &Bench, id: &str, sql: &str) -> reqwest::Response {
    let request = bench.client.post(bench.url("/api/v1/sql")).header("icecore-query-id", id);
    request.json(&json!({ "query": sql })).send().await.unwrap()
}

async fn code(response: reqwest::Response, status: u16) -> String {
    assert_eq!(response.status().as_u16(), status);
    let answer: Value = response.json().await.unwrap();
    answer["error"]["code"].as_str().unwrap().to_owned()
}

/// Scenario: a query that streams is looked at and ended by its id; so is one without a row yet.
/// Guarantees: the list says how far it is; the first breaks off, the second says `cancelled`;
/// both are gone from the list, and their turns are free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_is_ended_by_its_id() {
    let config = Config { queries_running_max: 1, ..config() };
    let bench = Bench::with(fixture(), Place::Live, config, false).await;
    let streamed = ask_as(&bench, "one", ENDLESS).await;
    assert_eq!(streamed.headers()["icecore-query-id"], "one");
    let list = wait_until(&bench, |list| list.len() == 1 && list[0]["rows"] != 0).await;
    assert_eq!((&list[0]["id"], &list[0]["state"]), (&json!("one"), &json!("running")));
    assert_eq!(list[0]["client"], "127.0.0.1");
    let end = bench.client.delete(bench.url("/api/v1/queries/one")).send().await.unwrap();
    assert_eq!(end.json::<Value>().await.unwrap()["cancelled"]["id"], "one");
    assert!(streamed.bytes().await.is_err(), "it breaks off");
    wait_until(&bench, <[Value]>::is_empty).await;
    let ended = async {
        wait_until(&bench, |list| list.len() == 1 && list[0]["state"] == "running").await;
        bench.client.delete(bench.url("/api/v1/queries/two")).send().await.unwrap()
    };
    let (answer, ended) = tokio::join!(ask_as(&bench, "two", HEAVY), ended);
    assert_eq!(ended.status(), 200);
    assert_eq!(code(answer, 409).await, "cancelled");
    let again = bench.client.delete(bench.url("/api/v1/queries/two")).send().await.unwrap();
    assert_eq!(code(again, 404).await, "not_found");
    assert_eq!(bench.rows("SELECT 1").await, [json!([1])]);
}

/// Scenario: callers over HTTP and Flight SQL take the beginning of an answer without end, and then
/// read no more, one at a time where only one query may run.
/// Guarantees: each loses its turn and leaves the list at the time limit; once it reads on, its answer
/// breaks off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stalls_loses_its_turn() {
    let query_time_max = Duration::from_secs(2);
    let config = Config { queries_running_max: 1, batch_rows: 1024, query_time_max, ..config() };
    let bench = Bench::with(fixture(), Place::Live, config, false).await;
    // Kilobytes a row, so that soon nothing on the way has room for more.
    let endless = "SELECT repeat('x', 4000) AS text FROM generate_series(1, 100000000)";
    let streamed = ask_as(&bench, "stalls", endless).await;
    wait_until(&bench, <[Value]>::is_empty).await;
    assert_eq!(bench.rows("SELECT 1").await, [json!([1])]);
    assert!(streamed.bytes().await.is_err(), "it breaks off");
    let mut client = flight::client(&bench).await;
    let ticket = flight::ticket(&mut client, endless).await;
    let mut streamed = client.do_get(ticket).await.unwrap();
    assert!(streamed.try_next().await.unwrap().is_some());
    wait_until(&bench, <[Value]>::is_empty).await;
    assert_eq!(bench.rows("SELECT 1").await, [json!([1])]);
    let broken = streamed.try_for_each(async |_rows| Ok(())).await.unwrap_err();
    assert!(broken.to_string().contains("query_timeout"), "{broken}");
}

/// Scenario: an answer of as many rows as there may be, of one more, and of more in one batch.
/// Guarantees: the first is whole; the others say `row_limit`, with the rows that fit or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_bounded() {
    let config = Config { query_rows_max: 3, batch_rows: 2, ..config() };
    let bench = Bench::with(fixture(), Place::Live, config, false).await;
    let series = |rows: u32| format!("SELECT value FROM generate_series(1, {rows})");
    assert_eq!(bench.rows(&series(3)).await.len(), 3);
    let broken = bench.json(&series(4)).await;
    assert_eq!(broken["error"]["code"], "row_limit", "{broken:#}");
    assert_eq!(broken["rows"].as_array().unwrap().len(), 2);
    let config = Config { query_rows_max: 3, ..crate::bench::config() };
    let bench = Bench::with(fixture(), Place::Live, config, false).await;
    let refused = bench.ask(json!({ "query": series(4) }), "text/csv").await;
    assert_eq!(code(refused, 422).await, "row_limit");
}

/// Scenario: a query fetches more bytes of files than it may; one that reads no file.
/// Guarantees: the first says `scan_limit` and names the setting, the second is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetched_bytes_are_bounded() {
    let config = Config { query_fetched_bytes_max: 10, ..config() };
    let bench = Bench::with(fixture(), Place::Files, config, false).await;
    let refused = bench.json("SELECT name, attributes FROM spans").await;
    assert_eq!(refused["error"]["code"], "scan_limit", "{refused:#}");
    assert!(refused["error"]["hint"].as_str().unwrap().contains("query_fetched_bytes_max"));
    assert_eq!(bench.rows("SELECT 1").await, [json!([1])]);
}

/// Scenario: a sort and groups that memory has no room for, with room on disk, with too little, with
/// none; what a process that was killed left there.
/// Guarantees: whole, and in order; `spill_limit`; `memory_limit`. Nothing stays on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_memory_cannot_hold_goes_to_disk() {
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("spill/datafusion-left");
    std::fs::create_dir_all(&left).unwrap();
    let spill = |query_spill_bytes_max: u64, dir: bool| Config {
        query_memory_bytes_max: 48 << 20,
        spill_dir: dir.then(|| folder.path().join("spill")),
        query_spill_bytes_max,
        ..config()
    };
    let bench = Bench::with(fixture(), Place::Live, spill(1 << 30, true), false).await;
    assert!(!left.exists());
    let rows = bench.rows(SORT).await;
    let values = rows.iter().map(|row| row[0].as_u64().unwrap());
    let keys: Vec<(u64, u64)> = values.map(|value| (value % 1000, value)).collect();
    assert_eq!((keys.len(), keys.is_sorted()), (700_000, true));
    let groups = bench.rows(GROUPS).await;
    assert_eq!(groups[0].as_array().unwrap()[..2], [json!(400_000), json!(700_000)]);
    drop(bench);
    for (config, expected) in
        [(spill(1 << 20, true), "spill_limit"), (spill(1, false), "memory_limit")]
    {
        let bench = Bench::with(fixture(), Place::Live, config, false).await;
        let refused = bench.json(SORT).await;
        assert_eq!(refused["error"]["code"], expected, "{refused:#}");
    }
    let stays = std::fs::read_dir(folder.path().join("spill")).unwrap();
    let stays: Vec<_> = stays.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(stays, ["lock"], "an empty file");
}

/// Scenario: a query alone needs more disk than all together may have, though not more than one may; then one
/// that needs none; the same with room.
/// Guarantees: `spill_full` with the bound, and that it may be asked again; the figures go back to nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_is_bounded_over_all_queries() {
    let folder = tempfile::tempdir().unwrap();
    let config = |spill_bytes_max: u64| Config {
        query_memory_bytes_max: 48 << 20,
        spill_dir: Some(folder.path().to_owned()),
        query_spill_bytes_max: 1 << 30,
        spill_bytes_max,
        ..config()
    };
    let bench = Bench::with(fixture(), Place::Live, config(2 << 20), false).await;
    for sql in [SORT, GROUPS] {
        let refused = bench.json(sql).await;
        assert_eq!(refused["error"]["code"], "spill_full", "{refused:#}");
        assert!(refused["error"]["message"].as_str().unwrap().contains("2097152 bytes"));
        assert!(refused["error"]["hint"].as_str().unwrap().contains("`spill_bytes_max`"));
    }
    assert_eq!(bench.rows("SELECT 1").await, [json!([1])]);
    let bench = Bench::with(fixture(), Place::Live, config(1 << 30), false).await;
    assert_eq!(bench.rows(SORT).await.len(), 700_000);
}

/// Scenario: light queries alone, and beside as many heavy ones as a caller may run.
/// Guarantees: half of the light ones are answered within ten times what half of them need alone,
/// and a light one is never as slow as a heavy one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_light_query_does_not_wait_for_heavy_ones() {
    let config = Config { queries_running_max: 4, queries_per_client_max: 4, ..config() };
    let bench = Bench::with(fixture(), Place::Both, config, false).await;
    let alone = light(&bench).await;
    let heavy: Vec<_> = (0..3)
        .map(|number| {
            let request = bench.client.post(bench.url("/api/v1/sql"));
            let request = request.header("icecore-query-id", format!("heavy-{number}"));
            tokio::spawn(request.json(&json!({ "query": HEAVY })).send())
        })
        .collect();
    wait_until(&bench, |list| list.iter().filter(|it| it["state"] == "running").count() == 3).await;
    let beside = light(&bench).await;
    let still = running(&bench).await;
    assert_eq!(still.len(), 3, "the heavy ones outlast the light ones: {still:#?}");
    let ratio = beside.as_secs_f64() / alone.as_secs_f64();
    println!(
        "a light query took {alone:?} alone and {beside:?} beside three heavy ones: {ratio:.1}"
    );
    assert!(ratio < 10.0, "{alone:?} alone, {beside:?} beside heavy ones");
    for heavy in heavy {
        heavy.abort();
    }
}

/// What half of the light queries need.
async fn light(bench: &Bench) -> Duration {
    let mut times = Vec::new();
    for _ in 0..21 {
        let start = tokio::time::Instant::now();
        let rows = bench.rows("SELECT service_name, count(*) FROM spans GROUP BY 1").await;
        times.push(start.elapsed());
        assert_eq!(rows.len(), 2);
    }
    times.sort_unstable();
    times[times.len() / 2]
}
