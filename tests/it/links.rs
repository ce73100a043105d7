//! Traces that the probes tell apart, since their ends are on different nodes.

use serde_json::{Value, json};

use crate::icecore::{Icecore, Start};

/// Of a trace, a span, what is above it, what it is called, and to which span of which trace it has a link of
/// which certainty. It takes as many milliseconds as it says, from the one it says.
struct Told {
    service: &'static str,
    trace: &'static str,
    span: u64,
    above: Option<u64>,
    name: &'static str,
    from: u64,
    took: u64,
    link: Option<(&'static str, u64, &'static str)>,
}

const fn told(
    (service, trace, span, above): (&'static str, &'static str, u64, Option<u64>),
    (name, from, took): (&'static str, u64, u64),
    link: Option<(&'static str, u64, &'static str)>,
) -> Told {
    Told { service, trace, span, above, name, from, took, link }
}

/// A request of `web` on one node leads to `cart` on another, and that to `db` on a third; one that is only
/// likely, and one that has nothing to do with it.
const TOLD: [Told; 7] = [
    told(("web", "a", 1, None), ("GET /", 0, 100), None),
    told(("web", "a", 2, Some(1)), ("call cart", 10, 80), Some(("b", 3, "derived"))),
    told(("cart", "b", 3, None), ("GET /cart", 12, 76), None),
    told(("cart", "b", 4, Some(3)), ("call db", 20, 60), Some(("c", 5, "derived"))),
    told(("cart", "b", 6, Some(3)), ("perhaps", 81, 2), Some(("d", 7, "likely"))),
    told(("db", "c", 5, None), ("SELECT", 22, 56), None),
    told(("other", "d", 7, None), ("something", 81, 1), None),
];

const BEGIN_MS: u64 = 1_795_600_000_000;

fn spans() -> Value {
    let id = |trace: &str| trace.repeat(32);
    let span = |told: &Told| {
        let begin = BEGIN_MS + told.from;
        let links = told.link.iter().map(|(trace, span, what)| {
            let attribute = json!({ "key": "icecore.link", "value": { "stringValue": what } });
            json!({ "traceId": id(trace), "spanId": format!("{span:016x}"), "attributes": [attribute] })
        });
        json!({
            "traceId": id(told.trace),
            "spanId": format!("{:016x}", told.span),
            "parentSpanId": told.above.map(|above| format!("{above:016x}")).unwrap_or_default(),
            "name": told.name,
            "startTimeUnixNano": format!("{begin}000000"),
            "endTimeUnixNano": format!("{}000000", begin + told.took),
            "links": links.collect::<Vec<_>>(),
        })
    };
    let of_service = |told: &Told| {
        let name = json!({ "key": "service.name", "value": { "stringValue": told.service } });
        json!({ "resource": { "attributes": [name] }, "scopeSpans": [{ "spans": [span(told)] }] })
    };
    json!({ "resourceSpans": TOLD.iter().map(of_service).collect::<Vec<_>>() })
}

/// Scenario: three traces on three nodes are one request; a fourth is only likely to belong to it; asked by
/// the id of each, live and from files, in SQL and by `icecore trace --linked`.
/// Guarantees: one tree, whichever of its traces is asked for, with each call below its caller and the time
/// that the request waited for it; nothing that is not certain; a trace alone where nothing is linked.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_nodes_is_one_tree() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::new(folder.path()).arg("flush-after", "1h");
    let icecore = start.run();
    let request = reqwest::Client::new().post(format!("{}/v1/traces", icecore.http)).json(&spans());
    assert!(request.send().await.unwrap().status().is_success());
    check(&icecore).await;
    icecore.stop();
    let icecore = start.run();
    check(&icecore).await;
    icecore.stop();
}

async fn check(icecore: &Icecore) {
    let whole = json!([
        [0, "GET /", 20, null],
        [1, "call cart", 4, "0000000000000001"],
        [2, "GET /cart", 14, "0000000000000002"],
        [3, "call db", 4, "0000000000000003"],
        [4, "SELECT", 56, "0000000000000004"],
        [3, "perhaps", 2, "0000000000000003"],
    ]);
    for trace in ["a", "b", "c"] {
        assert_eq!(tree(icecore, trace).await, sorted(&whole), "{trace}");
    }
    assert_eq!(tree(icecore, "d").await, sorted(&json!([[0, "something", 1, null]])));
    assert_eq!(tree(icecore, "e").await, Vec::<Value>::new());
    let id = "c".repeat(32);
    let (code, shown, errors) = icecore.client(&["trace", &id, "--linked"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(shown.starts_with("6 spans in 100 ms"), "{shown}");
    assert!(shown.contains("\n        db: SELECT "), "{shown}");
    let (code, shown, _) = icecore.client(&["trace", &id]);
    assert!(code == Some(0) && shown.starts_with("1 spans in 56 ms"), "{shown}");
    assert_eq!(icecore.client(&["trace", &"e".repeat(32), "--linked"]).0, Some(3));
}

/// Depth, name, milliseconds that were waited for, and what is above, of each span.
async fn tree(icecore: &Icecore, trace: &str) -> Vec<Value> {
    let sql = format!(
        "SELECT depth, name, critical_ns / 1000000, parent_span_id FROM whole_trace('{}', \
         TIMESTAMP '2026-11-25T00:00:00Z', TIMESTAMP '2026-11-26T00:00:00Z') ORDER BY name",
        trace.repeat(32)
    );
    icecore.sql(&sql).await.into_iter().map(Value::from).collect()
}

fn sorted(rows: &Value) -> Vec<Value> {
    let mut rows = rows.as_array().unwrap().clone();
    rows.sort_by_key(|row| row[1].as_str().unwrap().to_owned());
    rows
}
