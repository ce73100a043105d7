//! What Icecore tells of itself: metrics, readiness, its own spans.

use crate::access::script;
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
    // Documented as they are registered, without what their samples are called by.
    let plain = |name: &&str| docs.contains(name.strip_suffix("_total").unwrap_or(name));
    let missing: Vec<&str> = names.filter(|name| !plain(name)).collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:#?}");
    icecore.stop();
}

/// Scenario: `/metrics` is read by the parsers of Prometheus' own client, asked for as Prometheus asks, as
/// text, and by somebody who says nothing.
/// Guarantees: the Prometheus text format but for who wants OpenMetrics; both are read whole and tell
/// the same samples, with a kind and a help for each.
#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_both_formats() {
    let Some(python) = peers::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let icecore = Start::new(folder.path()).run();
    assert!(post(&icecore.http, request("counted", 0, 10)).await.status().is_success());
    assert_eq!(icecore.count("SELECT count(*) FROM spans").await, 10);
    let url = format!("{}/metrics", icecore.api);
    let said = script(&python, "metrics.py", &[&url]).await;
    let plain = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(said["nobody"]["type"], plain);
    assert_eq!(said["plain"]["type"], plain);
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(said["open"]["type"], open);
    assert_eq!(said["plain"]["samples"], said["open"]["samples"]);
    let kinds = |of: &str| said[of]["kinds"].as_object().unwrap().clone();
    assert!(kinds("open").len() > 50, "{said:#}");
    for format in ["plain", "open"] {
        let untyped: Vec<_> =
            kinds(format).into_iter().filter(|(_, kind)| kind == "unknown").collect();
        assert!(untyped.is_empty(), "{format}: {untyped:?}");
        assert_eq!(said[format]["helps"].as_array().unwrap().len(), kinds(format).len());
    }
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
