//! The HTTP API is what its OpenAPI document says.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::access::filled;
use crate::icecore::Icecore;
use crate::peers;

/// Work for as long as nobody ends it.
const HEAVY: &str = "SELECT sum(a.value * b.value % 7) FROM generate_series(1, 2000000) AS a \
                     CROSS JOIN generate_series(1, 20000) AS b";

/// The document, and what was seen of it.
struct Walk<'a> {
    icecore: &'a Icecore,
    document: Value,
    client: reqwest::Client,
    answered: BTreeSet<String>,
    asked: u32,
}

impl Walk<'_> {
    /// Asks for `path`, a template whose `{…}` is filled with `name`, and holds the answer against
    /// what the document says of it.
    async fn check(
        &mut self,
        method: Method,
        (path, name): (&str, &str),
        body: Value,
        wanted: u16,
    ) {
        let operation = format!("{} {path}", method.as_str().to_lowercase());
        let (begin, end) = path.split_once('{').map_or((path, ""), |(begin, _)| (begin, name));
        let url = format!("{}{begin}{end}", self.icecore.api);
        self.asked += 1;
        let id = format!("walked-{}", self.asked);
        let request = self.client.request(method.clone(), url).header("icecore-query-id", id);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), wanted, "{operation}");
        let method = method.as_str().to_lowercase();
        let told = &self.document["paths"][path][&method]["responses"][wanted.to_string()];
        let told = self.resolved(told).clone();
        assert!(told.is_object(), "{operation} answered {wanted}, of which nothing is said");
        let media = answer.headers()["content-type"].to_str().unwrap();
        let media = media.split(';').next().unwrap().to_owned();
        let form = &told["content"][&media];
        assert!(form.is_object(), "{operation} answered {media}, of which nothing is said");
        if wanted < 300 {
            self.answered.insert(operation.clone());
        }
        if media == "application/json" {
            let body: Value = answer.json().await.unwrap();
            self.conforms(&form["schema"], &body, &operation);
        }
    }

    fn resolved<'v>(&'v self, value: &'v Value) -> &'v Value {
        match value["$ref"].as_str() {
            Some(place) => self.document.pointer(place.trim_start_matches('#')).unwrap(),
            None => value,
        }
    }

    /// Holds a value against a schema: what this document uses of JSON Schema.
    fn conforms(&self, schema: &Value, value: &Value, place: &str) {
        let schema = self.resolved(schema);
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let is = |wanted: &Value| wanted == kind || (wanted == "number" && kind == "integer");
        match &schema["type"] {
            Value::Null => {}
            Value::Array(kinds) => {
                assert!(kinds.iter().any(is), "{place}: {value} is no {kinds:?}")
            }
            wanted => assert!(is(wanted), "{place}: {value} is no {wanted}"),
        }
        if let Some(allowed) = schema["enum"].as_array() {
            assert!(allowed.contains(value), "{place}: {value} is none of {allowed:?}");
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap();
            assert!(value.get(name).is_some(), "{place} has no {name}: {value}");
        }
        let properties = schema["properties"].as_object();
        for (name, value) in value.as_object().into_iter().flatten() {
            let known = properties.and_then(|properties| properties.get(name));
            let named = format!("{place}.{name}");
            match known {
                Some(schema) => self.conforms(schema, value, &named),
                None => assert!(properties.is_none(), "nothing is said of {named}"),
            }
        }
        for value in value.as_array().into_iter().flatten() {
            self.conforms(&schema["items"], value, &format!("{place}[]"));
        }
    }
}

/// Scenario: every operation of the document is asked of a running Icecore, rightly; and wrongly in
/// each way that has a status of its own.
/// Guarantees: every operation of the document answers, with a status, a media type and a body of
/// which the document speaks; nothing in an answer is left out of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_as_it_says() {
    let _held = peers::noisy().await;
    let folder = tempfile::tempdir().unwrap();
    let icecore = filled(folder.path()).await;
    let document: Value = icecore.get("/api/v1/openapi.json").await.json().await.unwrap();
    let client = reqwest::Client::new();
    let mut walk =
        Walk { icecore: &icecore, document, client, answered: BTreeSet::new(), asked: 0 };
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/openapi.json",
        "/api/v1/schema",
        "/api/v1/scripts",
        "/api/v1/queries",
        "/api/v1/tail",
    ] {
        walk.check(get.clone(), (path, ""), Value::Null, 200).await;
    }
    let sql = ("/api/v1/sql", "");
    let query = "SELECT span_id, start_time, attributes FROM spans LIMIT 3";
    walk.check(post.clone(), sql, json!({ "query": query, "params": [] }), 200).await;
    walk.check(post.clone(), sql, json!({ "query": "SELECT nam FROM spans" }), 400).await;
    walk.check(post.clone(), sql, json!({ "query": "DROP TABLE spans" }), 403).await;
    // No more than a socket takes at once: who is refused amid its body may not see why.
    let long = " ".repeat((1 << 20) + 1024);
    walk.check(post.clone(), sql, json!({ "query": long }), 413).await;
    walk.check(post.clone(), sql, Value::Null, 415).await;
    let trace = "/api/v1/traces/{trace_id}";
    walk.check(get.clone(), (trace, "00000000000000000000000000000001"), Value::Null, 200).await;
    walk.check(get.clone(), (trace, "f0000000000000000000000000000001"), Value::Null, 404).await;
    walk.check(get.clone(), (trace, "nothing"), Value::Null, 400).await;
    let script = "/api/v1/scripts/{name}";
    walk.check(get.clone(), (script, "services"), Value::Null, 200).await;
    walk.check(post.clone(), (script, "services"), json!({ "since": "15m" }), 200).await;
    walk.check(get.clone(), (script, "nothing"), Value::Null, 404).await;
    let hold = ("/api/v1/holds/{name}", "incident");
    walk.check(put.clone(), hold, json!({ "from": "2h", "to": "2026-11-26T00:00:00Z" }), 400).await;
    let window = json!({ "from": "2026-11-25T00:00:00Z", "to": "2026-11-26T00:00:00Z" });
    walk.check(put.clone(), hold, window.clone(), 201).await;
    walk.check(put.clone(), hold, window, 200).await;
    walk.check(put.clone(), hold, json!({ "from": "2h", "to": "now" }), 409).await;
    walk.check(get.clone(), ("/api/v1/holds", ""), Value::Null, 200).await;
    walk.check(delete.clone(), hold, Value::Null, 200).await;
    walk.check(delete.clone(), hold, Value::Null, 404).await;
    let erase = json!({ "where": "name = 'operation 3'", "dry_run": true });
    walk.check(post.clone(), ("/api/v1/erase", ""), erase, 200).await;
    let heavy = walk.client.post(format!("{}/api/v1/sql", icecore.api));
    let heavy = heavy.header("icecore-query-id", "heavy").json(&json!({ "query": HEAVY })).send();
    let heavy = tokio::spawn(heavy);
    while icecore.get("/api/v1/queries/heavy").await.status() != 200 {
        assert!(!heavy.is_finished(), "the query ended by itself");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let query = ("/api/v1/queries/{id}", "heavy");
    walk.check(get.clone(), query, Value::Null, 200).await;
    walk.check(delete.clone(), query, Value::Null, 200).await;
    assert_eq!(heavy.await.unwrap().unwrap().status(), 409);
    walk.check(delete, query, Value::Null, 404).await;
    let paths = walk.document["paths"].as_object().unwrap();
    let operations: BTreeSet<String> = paths
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
        })
        .collect();
    assert_eq!(walk.answered, operations, "those that answered, and those that there are");
    icecore.stop();
}
