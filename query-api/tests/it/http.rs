//! The edges: who may ask, what is refused, what ends a query.

use std::time::Duration;

use icecore_query::Config;
use serde_json::{Value, json};

use crate::bench::{Bench, Place, config};
use crate::places::fixture;

async fn bench() -> Bench {
    Bench::start(fixture(), Place::Live).await
}

/// A query that never ends by itself and holds little.
const ENDLESS: &str = "SELECT sum(a.value * b.value) FROM generate_series(1, 1000000) AS a
    CROSS JOIN generate_series(1, 1000000) AS b";

/// Scenario: requests that are no queries.
/// Guarantees: each has its status, and an error in the contract's form.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_requests_are_told_why() {
    let bench = bench().await;
    let check = async |request: reqwest::RequestBuilder, status: u16, code: &str| {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{code}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["code"], code, "{body}");
        assert!(!body["error"]["message"].as_str().unwrap().is_empty());
        assert!(!body["error"]["hint"].as_str().unwrap().is_empty());
    };
    let post = || bench.client.post(bench.url("/api/v1/sql"));
    check(post().body("{\"query\":\"SELECT 1\"}"), 415, "invalid").await;
    check(post().header("content-type", "text/plain").body("{}"), 415, "invalid").await;
    let json_type = || post().header("content-type", "application/json");
    check(json_type().body("{"), 400, "invalid").await;
    check(post().json(&json!({ "query": "SELECT 1", "other": 1 })), 400, "invalid").await;
    check(post().json(&json!({ "query": "SELECT $1", "params": [{}] })), 400, "invalid").await;
    check(post().json(&json!({ "query": "SELECT $1", "params": [[[1]]] })), 400, "invalid").await;
    check(post().json(&json!({ "query": "DROP TABLE spans" })), 403, "refused").await;
    let wrong_accept = post().header("accept", "image/png").json(&json!({ "query": "SELECT 1" }));
    check(wrong_accept, 406, "invalid").await;
    check(json_type().body(vec![b' '; 2 << 20]), 413, "invalid").await;
    check(bench.client.get(bench.url("/api/v1/sql")), 405, "method_not_allowed").await;
    check(bench.client.get(bench.url("/nowhere")), 404, "not_found").await;
    let foreign =
        post().header("origin", "http://evil.example").json(&json!({ "query": "SELECT 1" }));
    check(foreign, 403, "refused").await;
    let renamed = post().header("host", "evil.example").json(&json!({ "query": "SELECT 1" }));
    check(renamed, 403, "refused").await;
}

/// Scenario: parameters of each type.
/// Guarantees: they stand for `$1`, `$2`, … with their types, and never as SQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_are_values() {
    let bench = bench().await;
    let ask = async |query: &str, params: Value| -> Value {
        let body = json!({ "query": query, "params": params });
        bench.ask(body, "application/json").await.json().await.unwrap()
    };
    let answer = ask(
        "SELECT name FROM spans WHERE service_name = $1 AND duration_ns > $2 AND start_time >= $3
         ORDER BY span_id",
        json!(["shop", 100_000_000, "2026-11-21T10:00:00Z"]),
    )
    .await;
    assert_eq!(answer["rows"], json!([["GET /cart"], ["GET /cart"]]), "{answer:#}");
    let answer = ask("SELECT count(*) FROM spans WHERE name = $1", json!(["x' OR '1'='1"])).await;
    assert_eq!(answer["rows"], json!([[0]]));
    let one_of = "SELECT count(*) FROM spans WHERE name = ANY($1) AND duration_ns > ANY($2)";
    let lists = json!([["POST /pay", "x' OR '1'='1"], [80_000_000, 90_000_000]]);
    assert_eq!(ask(one_of, lists).await["rows"], json!([[1]]));
    let page = "SELECT count(*) FROM spans WHERE ($1 IS NULL OR service_name = $1)
        AND start_time >= CAST($2 AS TIMESTAMP)";
    let since = "2026-11-21T10:00:00.000Z";
    assert_eq!(ask(page, json!([null, since])).await["rows"], json!([[4]]));
    assert_eq!(ask(page, json!(["pay", since])).await["rows"], json!([[1]]));
    let missing = ask("SELECT $1", json!([])).await;
    assert_eq!(missing["error"]["code"], "invalid", "{missing}");
}

/// Scenario: queries over each of the bounds.
/// Guarantees: an error that names the bound, and a service that goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounds_are_named() {
    let check = async |config: Config, sql: &str, status: u16, code: &str, named: &str| {
        let bench = Bench::with(fixture(), Place::Live, config, false).await;
        let answer = bench.ask(json!({ "query": sql }), "application/json").await;
        assert_eq!(answer.status(), status, "{code}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["code"], code, "{body}");
        assert!(body["error"]["hint"].as_str().unwrap().contains(named), "{body}");
        assert_eq!(bench.rows("SELECT 1").await, [json!([1])]);
    };
    let query_time_max = Duration::from_millis(300);
    let short = Config { query_time_max, ..config() };
    check(short, ENDLESS, 504, "time_limit", "query_timeout").await;
    let small = Config { query_memory_bytes_max: 1 << 20, ..config() };
    let sort = "SELECT value, md5(CAST(value AS VARCHAR)) FROM generate_series(1, 3000000)
        ORDER BY value % 1000 DESC, value DESC";
    let sort = sort.replace("md5(CAST(value AS VARCHAR))", "repeat('x', 50)");
    check(small, &sort, 422, "memory_limit", "query_memory_bytes_max").await;
}

/// Scenario: more queries than may run, then the callers of those that run go away.
/// Guarantees: the one too many is refused with 429; a caller who leaves ends the query.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_leaves_ends_the_query() {
    let query_wait = Duration::from_millis(200);
    let one = Config { queries_running_max: 1, query_wait, ..config() };
    let bench = Bench::with(fixture(), Place::Live, one, false).await;
    let url = bench.url("/api/v1/sql");
    let endless = bench.client.post(url).json(&json!({ "query": ENDLESS }));
    let endless = tokio::spawn(endless.send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let busy = bench.ask(json!({ "query": "SELECT 1" }), "application/json").await;
    assert_eq!(busy.status(), 429);
    assert!(busy.headers().contains_key("retry-after"));
    endless.abort();
    // The next one waits for its turn; the turn is free once the other has ended.
    let mut left = 50;
    while bench.ask(json!({ "query": "SELECT 1" }), "*/*").await.status() != 200 {
        left -= 1;
        assert!(left > 0, "the abandoned query still runs");
    }
}

/// Scenario: an ingester that does not answer.
/// Guarantees: the answer comes, and says what is missing and why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_live_rows_are_named() {
    let config = Config { live_wait: Duration::from_millis(50), ..config() };
    let bench = Bench::with(fixture(), Place::Live, config, true).await;
    let answer = bench.ask(json!({ "query": "SELECT count(*) FROM spans" }), "*/*").await;
    let header = answer.headers()["icecore-incomplete"].to_str().unwrap().to_owned();
    assert!(header.contains("live rows of spans"), "{header}");
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["stats"]["incomplete"], json!([header]));
}

/// Scenario: a long answer that fails in its middle, in each kind of format.
/// Guarantees: JSON ends with the error in it; a format without words for that breaks off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_fails_never_looks_whole() {
    let bench = bench().await;
    let sql = "SELECT 1 / (150000 - value) FROM generate_series(1, 200000)";
    let json = bench.ask(json!({ "query": sql }), "application/json").await;
    let body: Value = json.json().await.unwrap();
    assert_eq!(body["error"]["message"], "Divide by zero error", "{}", body["error"]);
    let lines = bench.ask(json!({ "query": sql }), "application/x-ndjson").await;
    let text = lines.text().await.unwrap();
    assert!(text.lines().last().unwrap().starts_with("{\"error\":"));
    let csv = bench.ask(json!({ "query": sql }), "text/csv").await;
    assert_eq!(csv.status(), 200);
    assert!(csv.bytes().await.is_err());
}

/// Scenario: the page and what it loads.
/// Guarantees: each is there with its type and a policy that lets in nothing from elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_served() {
    let bench = bench().await;
    for (path, media_type) in
        [("/", "text/html"), ("/ui/app.js", "text/javascript"), ("/ui/style.css", "text/css")]
    {
        let answer = bench.client.get(bench.url(path)).send().await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with(media_type));
        assert!(header("content-security-policy").starts_with("default-src 'self'"));
        let text = answer.text().await.unwrap();
        assert!(!text.contains("http://") || path == "/ui/app.js" || path == "/", "{path}");
    }
}

/// Scenario: chains of operators, casts and queries as long as a request may be, bare and in brackets, as queries
/// and as a condition; chains that are just short enough; lists of twenty thousand values.
/// Guarantees: what is too deep is refused with a hint and harms nobody; all else is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_chains_are_refused_and_long_lists_are_not() {
    let bench = bench().await;
    let chain = |link: &str, times: usize| format!("SELECT 1{}", link.repeat(times));
    let links = ["+1", " OR true", "::int", " IS NULL", " UNION ALL SELECT 1", " BETWEEN 1 AND 2"];
    for link in links {
        let chain = chain(link, 900_000 / link.len());
        for query in [chain.clone(), format!("SELECT ({chain})"), format!("SELECT (({chain}")] {
            let answer = bench.ask(json!({ "query": query }), "application/json").await;
            assert_eq!(answer.status(), 400, "{link}");
            let body: Value = answer.json().await.unwrap();
            let (message, hint) = (&body["error"]["message"], &body["error"]["hint"]);
            assert!(message.as_str().unwrap().contains("levels deep"), "{body}");
            assert!(hint.as_str().unwrap().contains("IN"), "{body}");
        }
    }
    let tail = format!("/api/v1/tail?table=spans&where=1{}=1", "-1".repeat(15_000));
    let answer = bench.client.get(bench.url(&tail)).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("levels deep"));
    let deep = format!("/api/v1/tail?table=spans&where=1{}=1", "-1".repeat(190));
    let answer = bench.client.get(bench.url(&deep)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);
    let sum = chain("+1", 990);
    assert_eq!(bench.rows(&sum).await, [json!([991])]);
    let casts = chain("::bigint", 450);
    assert_eq!(bench.rows(&casts).await, [json!([1])]);
    let or = format!("SELECT count(*) FROM spans WHERE name = 'x'{}", " OR name = 'x'".repeat(490));
    assert_eq!(bench.rows(&or).await, [json!([0])]);
    let list =
        format!("SELECT count(*) FROM spans WHERE duration_ns IN (-1{})", ", -1".repeat(20_000));
    assert_eq!(bench.rows(&list).await, [json!([0])]);
    let values = format!("SELECT count(*) FROM (VALUES (1){})", ", (2)".repeat(5_000));
    assert_eq!(bench.rows(&values).await, [json!([5001])]);
}
