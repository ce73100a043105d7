//! Questions in the field's own terms: views, table functions, conditions on relatives, metrics.

use icecore_store::RowBatch;
use serde_json::{Value, json};

use crate::bench::{Bench, Place};
use crate::places::check;
use crate::rows::{Point, Span, Stack, ints, metrics, profiles, spans, texts};

const SPAN: Span = Span {
    trace: 1,
    span: 1,
    parent: None,
    service: "shop",
    name: "GET /cart",
    kind: "SERVER",
    status: "UNSET",
    start_ms: 0,
    duration_ns: 100_000_000,
    overflow: None,
    resource: None,
};

/// A request of the shop that asks `pay`, which asks a database and fails; one that does not fail,
/// whose server has no probes; and a lone job.
fn traces() -> RowBatch {
    let rows = [
        SPAN,
        Span {
            span: 2,
            parent: Some(1),
            name: "POST /pay",
            kind: "CLIENT",
            start_ms: 10,
            duration_ns: 60_000_000,
            ..SPAN
        },
        Span {
            span: 3,
            parent: Some(2),
            service: "pay",
            name: "POST /pay",
            status: "ERROR",
            start_ms: 20,
            duration_ns: 40_000_000,
            ..SPAN
        },
        Span {
            span: 4,
            parent: Some(3),
            service: "pay",
            name: "SELECT cards",
            kind: "CLIENT",
            status: "ERROR",
            start_ms: 25,
            duration_ns: 30_000_000,
            ..SPAN
        },
        Span { trace: 2, span: 5, start_ms: 1_000, duration_ns: 50_000_000, ..SPAN },
        Span {
            trace: 2,
            span: 6,
            parent: Some(5),
            name: "POST /ship",
            kind: "CLIENT",
            start_ms: 1_010,
            duration_ns: 20_000_000,
            ..SPAN
        },
        Span {
            trace: 3,
            span: 7,
            service: "job",
            name: "nightly",
            kind: "INTERNAL",
            start_ms: 2_000,
            ..SPAN
        },
    ];
    let text = |at: usize, value: &'static str| -> Vec<Option<&'static str>> {
        (0..rows.len()).map(|row| (row == at).then_some(value)).collect()
    };
    let codes = [Some(200), None, Some(500), None, Some(200), None, None];
    spans(
        &rows,
        vec![
            ("attributes.db.system.name", texts(&text(3, "postgresql"))),
            ("attributes.db.query.text", texts(&text(3, "SELECT * FROM cards WHERE id = ?"))),
            ("attributes.server.address", texts(&text(5, "ship.example"))),
            ("attributes.http.response.status_code", ints(&codes)),
        ],
    )
}

const COUNTER: Point = Point {
    metric: "app.requests",
    kind: "SUM",
    temporality: "CUMULATIVE",
    monotonic: true,
    pod: "a",
    time_s: 0,
    start_s: Some(-100),
    value: None,
    buckets: None,
};

fn points() -> RowBatch {
    let at = |pod, time_s, start_s, value| Point {
        pod,
        time_s,
        start_s: Some(start_s),
        value: Some(value),
        ..COUNTER
    };
    let histogram = |time_s, counts: [u64; 3]| Point {
        metric: "app.duration",
        kind: "HISTOGRAM",
        time_s,
        buckets: Some((vec![1.0, 2.0], counts.to_vec())),
        ..COUNTER
    };
    metrics(&[
        at("a", 0, -100_000, 1_000.0),
        at("a", 60, -100_000, 1_060.0),
        at("a", 120, 100, 20.0),
        at("b", 30, 10, 5.0),
        at("b", 90, 10, 11.0),
        Point {
            temporality: "DELTA",
            pod: "c",
            time_s: 60,
            start_s: Some(30),
            value: Some(7.0),
            ..COUNTER
        },
        Point {
            temporality: "DELTA",
            pod: "c",
            time_s: 90,
            start_s: Some(60),
            value: Some(8.0),
            ..COUNTER
        },
        histogram(0, [10, 10, 0]),
        histogram(60, [20, 20, 0]),
    ])
}

fn fixture() -> Vec<RowBatch> {
    let stacks: [Stack; 4] = [
        ("shop", "cpu", 30, &["parse", "handle", "main"]),
        ("shop", "cpu", 20, &["write", "handle", "main"]),
        ("shop", "cpu", 5, &["handle", "main"]),
        ("pay", "cpu", 1, &["a;b"]),
    ];
    vec![traces(), points(), profiles(&stacks)]
}

/// Scenario: the questions of the data file, with the rows live, in files, and in both.
/// Guarantees: the answers of the data file, in every place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn field() {
    check("slt/field.slt", include_str!("../slt/field.slt"), fixture).await;
}

/// Scenario: names that are nearly right: columns, keys, tables, functions, and SQL that is cut off.
/// Guarantees: the error names the line and column, and the nearest name; a key that is nowhere is
/// no error, but noted beside the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_are_pointed_at() {
    for place in [Place::Live, Place::Files] {
        let bench = Bench::start(fixture(), place).await;
        let check = async |sql: &str, line: i64, column: i64, hint: &str| {
            let error = bench.json(sql).await["error"].clone();
            assert_eq!(
                (&error["line"], &error["column"]),
                (&json!(line), &json!(column)),
                "{sql} {error}"
            );
            assert!(error["hint"].as_str().unwrap().contains(hint), "{sql} {error}");
            let place = format!(" at line {line}, column {column}");
            assert!(error["message"].as_str().unwrap().ends_with(&place), "{error}");
        };
        check("SELECT name,\n  servce_name FROM spans", 2, 3, "`service_name`").await;
        check("SELECT db_query_text FROM spans", 1, 8, "attributes['db.query.text']").await;
        check("SELECT name FROM spams", 1, 18, "`spans`").await;
        check("SELECT chld_of(true) FROM spans", 1, 8, "`child_of`").await;
        check("SELECT name FROM spans WHERE", 1, 29, "DESCRIBE").await;
        check("SELECT name FROM spans WHERE child_of(nme = 'x')", 1, 39, "`name`").await;
        let noted = bench.json("SELECT attributes['db.query.txt'] FROM spans LIMIT 1").await;
        let note = noted["stats"]["notes"][0].as_str().unwrap();
        assert!(note.contains("did you mean attributes['db.query.text']"), "{note}");
        let whole = bench.json("SELECT attributes['db.query.text'] FROM db_calls").await;
        assert_eq!(whole["stats"]["notes"], json!(null));
    }
}

/// Scenario: parameters by number and by name, wherever a value may stand, and one that is missing.
/// Guarantees: they are values there, also as a key, a limit, an interval or an argument of a table
/// function; text that looks like SQL stays text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_stand_everywhere() {
    let bench = Bench::start(fixture(), Place::Both).await;
    let ask = async |query: &str, params: Value| -> Value {
        let body = json!({ "query": query, "params": params });
        bench.ask(body, "application/json").await.json().await.unwrap()
    };
    let check = async |query: &str, params: Value, rows: Value| {
        let answer = ask(query, params).await;
        assert_eq!(answer["rows"], rows, "{query} {answer}");
    };
    let id = "a2".repeat(16);
    check("SELECT count(*) FROM trace($1)", json!([id]), json!([[2]])).await;
    check(
        "SELECT attributes[$1] FROM spans WHERE attributes[$1] IS NOT NULL",
        json!(["server.address"]),
        json!([["ship.example"]]),
    )
    .await;
    check(
        "SELECT name FROM spans ORDER BY start_time LIMIT $2 OFFSET $1",
        json!([1, 1]),
        json!([["POST /pay"]]),
    )
    .await;
    check(
        "SELECT TIMESTAMP '2026-01-01T00:00:00Z' + INTERVAL $1 = TIMESTAMP '2026-01-01T00:05:00Z'",
        json!(["5 minutes"]),
        json!([[true]]),
    )
    .await;
    check(
        "SELECT count(*) FROM spans WHERE child_of(service_name = $who)",
        json!({"who": "pay"}),
        json!([[1]]),
    )
    .await;
    check(
        "SELECT $1, $2, $3, $4, $5",
        json!([-7, 1.5, true, null, "x'; DROP"]),
        json!([[-7, 1.5, true, null, "x'; DROP"]]),
    )
    .await;
    check("SELECT $1 + 1, $2", json!([i64::MAX - 1, i64::MIN]), json!([[i64::MAX, i64::MIN]]))
        .await;
    let error = ask("SELECT $2", json!([1])).await["error"].clone();
    assert!(error["message"].as_str().unwrap().contains("`$2`"), "{error}");
}

/// Scenario: counters of three pods that report at random moments, restart now and then, and in
/// one case report deltas; they are flushed in pieces and asked for in windows.
/// Guarantees: the increases of a window are what was counted in it, point by point.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increases_are_what_was_counted() {
    for (seed, place) in Place::ALL.into_iter().enumerate() {
        let mut random = seed as u64 * 7_919 + 17;
        let mut below = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % bound).cast_signed()
        };
        let mut all = Vec::new();
        // By pod: when, and what was counted since the point before.
        let mut counted: Vec<(&str, i64, i64)> = Vec::new();
        for pod in ["a", "b", "c"] {
            let (mut time, mut start, mut value) = (0, -1_000, 5_000);
            for _ in 0..200 {
                let before = time;
                time += 1 + below(40);
                if below(9) == 0 {
                    (start, value) = (before + 1, 0);
                }
                let added = below(20);
                value += added;
                counted.push((pod, time, added));
                let (is_delta, point) = (pod == "c", COUNTER);
                all.push(Point {
                    pod,
                    time_s: time,
                    start_s: Some(if is_delta { before } else { start }),
                    temporality: if is_delta { "DELTA" } else { "CUMULATIVE" },
                    value: Some(if is_delta { added as f64 } else { value as f64 }),
                    ..point
                });
            }
        }
        let pieces = all.chunks(130).map(metrics).collect();
        let bench = Bench::start(pieces, place).await;
        for (from, to) in [(1_000, 2_000), (600, 601), (1_200, 100_000)] {
            let time = "TIMESTAMP '2026-11-21T10:00:00Z' + INTERVAL";
            let sql = format!(
                "SELECT resource['k8s.pod.name'], sum(increase), count(*) FROM increases('app.requests', \
                 {time} '{from} seconds', {time} '{to} seconds') GROUP BY 1 ORDER BY 1"
            );
            let mut expected = std::collections::BTreeMap::<&str, (f64, i64)>::new();
            for (pod, _, added) in counted.iter().filter(|(_, time, _)| (from..to).contains(time)) {
                let (sum, points) = expected.entry(pod).or_default();
                *sum += *added as f64;
                *points += 1;
            }
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(pod, (sum, points))| json!([pod, sum, points]))
                .collect();
            assert_eq!(bench.rows(&sql).await, expected, "{sql} over {place:?}");
        }
    }
}

/// Names and types; types of answers as heads of scripts call them.
fn columns(columns: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = |name: &str| match name {
        name if name.starts_with("Int") || name.starts_with("UInt") => "int".to_owned(),
        name if name.starts_with("Float") => "float".to_owned(),
        name if name.starts_with("Timestamp") => "time".to_owned(),
        "Boolean" => "bool".to_owned(),
        "Utf8" | "Utf8View" | "LargeUtf8" => "text".to_owned(),
        other => other.to_owned(),
    };
    let columns = columns.as_array().map_or(&[][..], Vec::as_slice);
    columns.iter().map(|column| (text(&column["name"]), kind(&text(&column["type"])))).collect()
}

/// Scenario: every script of the catalogue runs on rows that know few of its attributes.
/// Guarantees: it answers with the columns that its head declares, in order and of their types;
/// what is asked wrongly is refused by name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_answer_what_they_declare() {
    let bench = Bench::start(fixture(), Place::Both).await;
    let run = async |name: &str, body: Value| -> Value {
        let request = bench.client.post(bench.url(&format!("/api/v1/scripts/{name}")));
        request.json(&body).send().await.unwrap().json().await.unwrap()
    };
    let listed: Value =
        bench.client.get(bench.url("/api/v1/scripts")).send().await.unwrap().json().await.unwrap();
    let mut faults = Vec::new();
    for script in listed["scripts"].as_array().unwrap() {
        let name = script["name"].as_str().unwrap();
        let answer = run(name, json!({ "since": "2026-11-21T09:00:00Z", "params": {} })).await;
        if columns(&answer["columns"]) != columns(&script["columns"]) {
            let declared = columns(&script["columns"]);
            faults.push(format!("{name}: {declared:?}\n{} {}", answer["error"], answer["columns"]));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let window = json!({ "since": "2026-11-21T09:00:00Z", "until": "2026-11-21T11:00:00Z", "service": "shop" });
    let flames = run("perf_flamegraph", json!({ "params": window })).await;
    assert_eq!(
        flames["rows"][0],
        json!(["cpu", "nanoseconds", 0, "main", 55, 0, "main"]),
        "{flames}"
    );
    let error = run("servces", json!({})).await["error"].clone();
    assert_eq!(
        (&error["code"], &error["hint"]),
        (&json!("not_found"), &json!("did you mean `services`?"))
    );
    let error = run("services", json!({ "params": { "limit": "many" } })).await["error"].clone();
    assert!(error["message"].as_str().unwrap().contains("`limit`"), "{error}");
}
