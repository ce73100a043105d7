//! One trace as OTLP JSON.

use serde_json::Value;

use crate::bench::{Bench, Place};
use crate::places::fixture;

/// Scenario: a trace of two services asked for in either case, one that is unknown, and no id.
/// Guarantees: OTLP JSON with hex ids and 64-bit ints as text; 404; 400.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_is_otlp_json() {
    for place in Place::ALL {
        let bench = Bench::start(fixture(), place).await;
        let get = |id: &str| bench.client.get(bench.url(&format!("/api/v1/traces/{id}"))).send();
        let answer = get("A1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1").await.unwrap();
        assert_eq!(answer.status(), 200);
        let trace: Value = answer.json().await.unwrap();
        let resources = trace["resourceSpans"].as_array().unwrap();
        let scopes =
            resources.iter().flat_map(|resource| resource["scopeSpans"].as_array().unwrap());
        let mut spans: Vec<_> =
            scopes.flat_map(|scope| scope["spans"].as_array().unwrap()).cloned().collect();
        spans.sort_by_key(|span| span["spanId"].to_string());
        assert_eq!(spans.len(), 2, "{trace:#}");
        assert_eq!(spans[1]["traceId"], "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1");
        assert_eq!(spans[1]["parentSpanId"], "0101010101010101");
        assert_eq!(spans[1]["startTimeUnixNano"], "1795255200010000000");
        let code = spans[1]["attributes"].as_array().unwrap().iter();
        let code = code.clone().find(|pair| pair["key"] == "http.response.status_code").unwrap();
        assert_eq!(code["value"]["intValue"], "500");

        let unknown = get("ffffffffffffffffffffffffffffffff").await.unwrap();
        assert_eq!(unknown.status(), 404);
        let body: Value = unknown.json().await.unwrap();
        assert_eq!(body["error"]["code"], "not_found");
        assert_eq!(get("nonsense").await.unwrap().status(), 400);
    }
}
