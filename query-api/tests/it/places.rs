//! SQL and its answers as data, over rows in every place.

use serde_json::Value;

use crate::bench::{Bench, Place};
use crate::rows::{Span, doubles, ints, logs, spans, texts};
use icecore_store::RowBatch;

const SPAN: Span = Span {
    trace: 1,
    span: 1,
    parent: None,
    service: "shop",
    name: "GET /cart",
    kind: "SERVER",
    status: "UNSET",
    start_ms: 0,
    duration_ns: 120_000_000,
    overflow: None,
    resource: None,
};

/// The rows that the data files speak of.
pub(crate) fn fixture() -> Vec<RowBatch> {
    let first = [
        Span {
            overflow: Some(r#"{"beta":true,"rare":7}"#),
            resource: Some(r#"{"host.name":"a"}"#),
            ..SPAN
        },
        Span {
            span: 2,
            parent: Some(1),
            service: "pay",
            name: "POST /pay",
            kind: "CLIENT",
            status: "ERROR",
            start_ms: 10,
            duration_ns: 80_000_001,
            overflow: Some(r#"{"user.tags":["a","b"],"mixed":"x"}"#),
            ..SPAN
        },
    ];
    let second = [
        Span { trace: 2, span: 3, name: "GET /", start_ms: 1_000, duration_ns: 5_000_000, ..SPAN },
        Span {
            trace: 3,
            span: 4,
            start_ms: 7_200_000,
            overflow: Some(
                r#"{"http.route":"/cart","cart.total":3,"rare":null,"digest":{"$bytes":"AP8="}}"#,
            ),
            ..SPAN
        },
    ];
    vec![
        spans(
            &first,
            vec![
                ("attributes.http.route", texts(&[Some("/cart"), None])),
                ("attributes.http.response.status_code", ints(&[Some(200), Some(500)])),
                ("attributes.cart.total", doubles(&[Some(12.5), None])),
            ],
        ),
        spans(
            &second,
            vec![
                ("attributes.http.response.status_code", ints(&[Some(200), Some(404)])),
                ("attributes.mixed", ints(&[Some(5), None])),
                ("resource.k8s.pod.name", texts(&[Some("shop-1"), None])),
            ],
        ),
        logs(&[(5, "shop", "cart \"opened\"", 1), (15, "pay", r#"{"reason":"declined"}"#, 1)]),
    ]
}

/// One question of a data file.
struct Question {
    line: usize,
    sql: String,
    /// Rows as JSON arrays, or the text that the error must have in it.
    expected: Result<Vec<Value>, String>,
}

/// Blocks parted by empty lines: the SQL, then `----` and a JSON array a row, or `error TEXT`.
fn parse(text: &str) -> Vec<Question> {
    let mut questions = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut sql = line.to_owned();
        let mut answer = Vec::new();
        let mut asked = false;
        while let Some((_, line)) = lines.next_if(|(_, line)| !line.is_empty()) {
            match line {
                "----" => asked = true,
                line if asked => answer.push(line),
                line => sql = format!("{sql}\n{line}"),
            }
        }
        let error = answer.first().and_then(|line| line.strip_prefix("error "));
        let expected = match error {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer.iter().map(|row| serde_json::from_str(row).unwrap()).collect()),
        };
        questions.push(Question { line: at + 1, sql, expected });
    }
    questions
}

/// Asks the questions of a data file of these rows in every place.
pub(crate) async fn check(file: &str, text: &str, rows: fn() -> Vec<RowBatch>) {
    for place in Place::ALL {
        let bench = Bench::start(rows(), place).await;
        for Question { line, sql, expected } in parse(text) {
            let answer = bench.json(&sql).await;
            let at = format!("{file}:{line} over {place:?}\n{sql}\n{answer:#}");
            match expected {
                Ok(rows) => assert_eq!(answer["rows"], Value::Array(rows), "{at}"),
                Err(error) => {
                    let said = answer["error"].to_string();
                    assert!(said.contains(&error), "{error} not in {said}\n{at}");
                }
            }
        }
    }
}

macro_rules! data_file {
    ($name:ident) => {
        /// Scenario: the questions of the data file, with the rows live, in files, and in both.
        /// Guarantees: the answers of the data file, in every place.
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let file = concat!("slt/", stringify!($name), ".slt");
            check(file, include_str!(concat!("../slt/", stringify!($name), ".slt")), fixture).await;
        }
    };
}

data_file!(attributes);
data_file!(columns);
data_file!(statements);

/// Scenario: plans that let the column of a key through, and plans that do not.
/// Guarantees: the former read that column and not the whole map.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_costs_one_column() {
    let bench = Bench::start(fixture(), Place::Live).await;
    let scans = async |sql: &str| {
        let rows = bench.rows(&format!("EXPLAIN {sql}")).await;
        let plan = rows.last().unwrap()[1].as_str().unwrap().to_owned();
        plan.lines().filter(|line| line.contains("TelemetryScan")).collect::<Vec<_>>().join("\n")
    };
    for sql in [
        "SELECT attributes['http.route'] FROM spans",
        "SELECT count(*) FROM spans WHERE attributes['http.route'] = '/cart'",
        "SELECT attributes['http.route'], count(*) FROM spans GROUP BY 1 ORDER BY 2",
        "SELECT name FROM spans ORDER BY attributes['http.route']",
        "SELECT x.attributes['http.route'] FROM (SELECT * FROM spans LIMIT 5) AS x",
        "SELECT p.attributes['http.route'] FROM spans p JOIN spans c ON c.parent_span_id = p.span_id",
        "WITH w AS (SELECT attributes AS a FROM spans) SELECT a['http.route'] FROM w",
        "SELECT rank() OVER (ORDER BY attributes['http.route']) FROM spans",
    ] {
        let scans = scans(sql).await;
        assert!(scans.contains("attributes.http.route"), "{sql}\n{scans}");
        assert!(!scans.contains("attributes,") && !scans.contains("attributes]"), "{sql}\n{scans}");
    }
    let grouped = "SELECT m['a'] FROM (SELECT attributes AS m FROM spans GROUP BY 1)";
    assert!(scans(grouped).await.contains("columns=[attributes]"));
}

/// Scenario: conditions on time, trace and service.
/// Guarantees: the plan says what they prune, and files out of the time are not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_prune() {
    let bench = Bench::start(fixture(), Place::Files).await;
    let sql = "SELECT name FROM spans WHERE start_time >= '2026-11-21T11:30:00Z'";
    let answer = bench.json(sql).await;
    let stats = &answer["stats"];
    assert_eq!(answer["rows"], serde_json::json!([["GET /cart"]]));
    assert_eq!(stats["files_read"], 1, "{stats}");
    assert_eq!(stats["files_pruned"], 2, "{stats}");
    let plan = bench
        .rows("EXPLAIN SELECT name FROM spans WHERE trace_id = 'A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1' AND service_name = 'shop'")
        .await;
    let plan = plan.last().unwrap()[1].as_str().unwrap();
    assert!(plan.contains("files=3/3"), "{plan}");
    assert!(plan.contains("conditions=[trace_id = "), "{plan}");
    assert_eq!(bench.json("SELECT count(*) FROM spans").await["stats"]["files_read"], 0);
}
