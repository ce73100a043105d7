//! Holds and erasures over HTTP.

use http::Method;
use serde_json::{Value, json};

use crate::bench::{Bench, Place, config};
use crate::places::fixture;

/// Sends a request; its status and its body as JSON.
async fn ask(bench: &Bench, method: Method, path: &str, body: Value) -> (u16, Value) {
    let request = bench.client.request(method, bench.url(path)).json(&body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The lines of an erasure.
async fn erase(bench: &Bench, body: Value) -> (u16, Vec<Value>) {
    let answer = bench.client.post(bench.url("/api/v1/erase")).json(&body).send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// Scenario: holds are made, made again, contradicted, listed and released; wishes that are none.
/// Guarantees: 201, 200, 409, 200, 404, each error in the contract's form; PUT changes nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_over_http() {
    let bench = Bench::start(fixture(), Place::Files).await;
    let wish = json!({ "from": "2026-11-21T00:00:00Z", "to": "2026-11-22T00:00:00Z",
        "where": "status_code = 'ERROR'" });
    let path = "/api/v1/holds/inc-7";
    let (status, made) = ask(&bench, Method::PUT, path, wish.clone()).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(made["hold"]["tables"], json!(["spans"]), "only spans have a status");
    assert_eq!(made["missing"].as_array().unwrap().len(), 1);
    let (status, again) = ask(&bench, Method::PUT, path, wish.clone()).await;
    assert_eq!((status, &again["hold"]), (200, &made["hold"]));
    let mut other = wish.clone();
    other["tables"] = json!(["logs"]);
    other["where"] = Value::Null;
    let (status, refused) = ask(&bench, Method::PUT, path, other).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("conflict")));
    let (status, listed) = ask(&bench, Method::GET, "/api/v1/holds", Value::Null).await;
    let listed = &listed["holds"];
    assert_eq!(
        (status, listed.as_array().unwrap().len(), &listed[0]["files"]),
        (200, 1, &json!(3))
    );
    assert_eq!(listed[0]["at"], made["hold"]["at"]);
    let from_to = |from: &str, to: &str| json!({ "from": from, "to": to });
    for (name, body, said) in [
        ("x", from_to("now", "2h"), "empty"),
        ("x", from_to("2h", "then"), "not a time"),
        ("-x", from_to("2h", "now"), "not a name"),
        ("x", json!({ "from": "2h" }), "to"),
        ("x", json!({ "from": "2h", "to": "now", "tables": ["nothing"] }), "nothing"),
        ("x", json!({ "from": "2h", "to": "now", "where": "nonsense" }), "nonsense"),
        (
            "x",
            json!({ "from": "2h", "to": "now", "where": "body = 'a'", "tables": ["spans"] }),
            "body",
        ),
    ] {
        let (status, refused) =
            ask(&bench, Method::PUT, &format!("/api/v1/holds/{name}"), body).await;
        assert_eq!((status, &refused["error"]["code"]), (400, &json!("invalid")), "{refused}");
        let text = refused["error"]["message"].as_str().unwrap();
        assert!(text.contains(said) && refused["error"]["hint"] != "", "{refused}");
    }
    assert_eq!(ask(&bench, Method::DELETE, path, Value::Null).await.0, 200);
    let (status, gone) = ask(&bench, Method::DELETE, path, Value::Null).await;
    assert_eq!((status, &gone["error"]["code"]), (404, &json!("not_found")));
    assert_eq!(ask(&bench, Method::PUT, path, wish).await.0, 201, "the name is free again");
    assert_eq!(ask(&bench, Method::POST, path, Value::Null).await.0, 405);
}

/// Scenario: an erasure over rows in files, one of them held; wrong ones; one where it is off.
/// Guarantees: progress and a report, line by line; exactly the rows that SQL finds are gone; what
/// is wrong is told by the status.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasures_over_http() {
    let bench = Bench::start(fixture(), Place::Files).await;
    let held = json!({ "from": "2026-11-21T00:00:00Z", "to": "2026-11-22T00:00:00Z",
        "where": "attributes['http.response.status_code'] = 404" });
    assert_eq!(ask(&bench, Method::PUT, "/api/v1/holds/keep", held).await.0, 201);
    let condition = "service_name = 'shop' AND trace_id <> 'a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1'";
    let found = bench.rows(&format!("SELECT count(*) FROM spans WHERE {condition}")).await;
    let wish =
        |dry: bool| json!({ "where": condition, "tables": ["spans"], "dry_run": dry, "now": true });
    let (status, trial) = erase(&bench, wish(true)).await;
    assert_eq!((status, &trial.last().unwrap()["report"]["record"]), (200, &Value::Null));
    let (status, lines) = erase(&bench, wish(false)).await;
    let report = &lines.last().unwrap()["report"];
    assert_eq!((status, &report["left"], &report["held"]), (200, &json!(0), &json!(1)), "{report}");
    assert_eq!(report["rows"].as_u64().unwrap() + 1, found[0][0].as_u64().unwrap());
    assert!(lines[0]["progress"]["step"] == "planned" && lines.len() > 2, "{lines:?}");
    assert!(report["record"].as_str().unwrap().starts_with("catalog/compaction/"));
    let rest = bench.rows("SELECT service_name, count(*) FROM spans GROUP BY 1 ORDER BY 1").await;
    assert_eq!(rest, [json!(["pay", 1]), json!(["shop", 2])]);
    let (status, refused) = erase(&bench, json!({ "where": "nonsense" })).await;
    assert_eq!((status, &refused[0]["error"]["code"]), (400, &json!("invalid")));
    assert_eq!(erase(&bench, json!({})).await.0, 400);
    let form = bench.client.post(bench.url("/api/v1/erase")).body("{\"where\":\"true\"}");
    assert_eq!(form.send().await.unwrap().status(), 415, "no form of another page gets here");
    let off = icecore_query::Config { erase: Some(false), ..config() };
    let bench = Bench::with(fixture(), Place::Files, off, false).await;
    let (status, refused) = erase(&bench, json!({ "where": "true" })).await;
    assert_eq!((status, &refused[0]["error"]["code"]), (403, &json!("refused")));
    assert_eq!(bench.rows("SELECT count(*) FROM spans").await, [json!([4])]);
}
