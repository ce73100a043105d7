//! What Icecore tells of itself: metrics, readiness, its own spans.

use crate::icecore::Start;
use crate::otlp::{post, request};
use crate::peers;

/// Scenario: everything runs, probes where they can; `/metrics` is read.
/// Guarantees: every metric is explained in docs/metrics.md; health and readiness answer.
#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_documented() {
    let _held = peers::noisy().await;
    let folder = tempfile::tempdir().unwrap();
    let start =
        Start::new(folder.path()).arg("probes", "true").arg("forward", "http://127.0.0.1:9");
    let icecore = start.run();
    assert_eq!(icecore.get("/healthz").await.status(), 200);
    assert_eq!(icecore.get("/readyz").await.status(), 200);
    let metrics = icecore.get("/metrics").await.text().await.unwrap();
    let docs = include_str!("../../docs/metrics.md");
    let names = metrics.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
    let missing: Vec<&str> = names.filter(|name| !docs.contains(name)).collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:#?}");
    icecore.stop();
}

/// Scenario: Icecore sends the spans of its own work to another Icecore, then is told to send them
/// to itself.
/// Guarantees: the other one gets them; the loop is refused in words.
#[tokio::test(flavor = "multi_thread")]
async fn own_spans_go_elsewhere_only() {
    let _held = peers::noisy().await;
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let other = Start::new(one.path()).run();
    let icecore = Start::new(two.path()).arg("trace-endpoint", &other.grpc).run();
    assert!(post(&icecore.http, request("watched", 0, 10)).await.status().is_success());
    assert_eq!(icecore.count("SELECT count(*) FROM spans").await, 10);
    icecore.stop();
    let seen = "SELECT count(*) FROM spans WHERE service_name = 'icecore'";
    assert!(other.wait_for(seen, 1).await >= 1, "no span of its own arrived");
    let looped = Start::new(two.path())
        .arg("otlp-grpc-addr", "127.0.0.1:43917")
        .arg("trace-endpoint", "http://127.0.0.1:43917");
    let (code, said) = looped.refused();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("itself"), "{said}");
}
