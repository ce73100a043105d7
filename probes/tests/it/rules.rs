//! Rules that change while requests flow, and secrets that must not leave the machine.

use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::ChildStdout;
use std::time::Duration;

use icecore_probes::Config;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::peers::{Peer, figure, line, open, python, until};
use crate::receiver::{Received, int, list, serve, text};

/// What every stage begins with: whole bodies, and a pattern of our own.
const BODIES: &str = "[[pattern]]\nname = \"employee\"\nregex = 'EMP-\\d{6}'\n\
     [[rule]]\nwhen = { process = \"python*\" }\nbody_bytes = \"4KiB\"\n";

struct Stage {
    peer: Peer,
    lines: BufReader<ChildStdout>,
    port: u16,
    rules: PathBuf,
    taken: u64,
    sent: u64,
}

impl Stage {
    fn new(folder: &Path) -> Self {
        let rules = folder.join("rules.toml");
        std::fs::write(&rules, BODIES).unwrap();
        let (peer, mut lines) = python("secret_server.py", &[]);
        let port = line(&mut lines).trim().parse().unwrap();
        Self { peer, lines, port, rules, taken: 0, sent: 0 }
    }

    /// Sends so many requests, waits until all of them are in the histograms of both ends, and gives
    /// back the secrets that were in each.
    async fn send(&mut self, received: &Received, stage: &str, count: u64) -> Vec<Vec<String>> {
        let mut order = self.peer.0.stdin.as_ref().unwrap();
        writeln!(order, "{stage} {count}").unwrap();
        let secrets = serde_json::from_str(&line(&mut self.lines)).unwrap();
        self.sent += count;
        for name in ["http.server.request.duration", "http.client.request.duration"] {
            until(|| received.counted(name, self.port) >= self.sent).await;
            assert_eq!(received.counted(name, self.port), self.sent, "{name}");
        }
        secrets
    }

    /// Replaces the file as a whole, as Kubernetes does.
    fn write(&self, text: &str) {
        let new = self.rules.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &self.rules).unwrap();
    }

    /// Changes the rules and waits until they are in force.
    async fn rule(&mut self, more: &str, registry: &Registry) {
        self.write(&format!("{BODIES}{more}"));
        self.taken += 1;
        let name = "icecore_probes_rules_changes_total{outcome=\"taken\"}";
        until(|| figure(registry, name) == self.taken).await;
    }

    /// The spans of a stage at one end, once there are so many.
    async fn spans(
        &self,
        received: &Received,
        stage: &str,
        kind: SpanKind,
        count: usize,
    ) -> Vec<Span> {
        let prefix = format!("/{stage}/");
        let some = || {
            let all = received.spans("server.port", &[i64::from(self.port)]).into_iter();
            let path =
                |span: &Span| text(span, "url.path").unwrap_or_default().starts_with(&prefix);
            all.filter(|span| span.kind() == kind && path(span)).collect::<Vec<_>>()
        };
        until(|| some().len() >= count).await;
        some()
    }
}

/// Scenario: a client and a server over one connection that stays open, with secrets of every kind in
/// queries, headers and bodies; meanwhile the rules are changed four times, once to something that
/// cannot be used.
/// Guarantees: no secret is in anything that leaves the agent, and what is not secret is; spans are left
/// out as the rules say, by whole traces; every request is in the histograms.
#[tokio::test(flavor = "multi_thread")]
async fn rules_change_while_requests_flow() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path());
    let mut config = Config::default();
    config.rules.file = Some(stage.rules.clone());
    config.rules.every = Duration::from_millis(20);
    let headers = ["authorization", "cookie", "set-cookie", "x-api-key", "x-note"];
    for kept in [&mut config.limits.request_headers, &mut config.limits.response_headers] {
        kept.extend(headers.map(str::to_owned));
    }
    config.pipeline.histogram_every = Duration::from_millis(500);
    (config.machine.enabled, config.capture.accounts) = (false, false);
    let stop = CancellationToken::new();
    let (endpoint, received) = serve(stop.clone()).await;
    let mut registry = Registry::default();
    let Some(probes) = open(config, endpoint, &mut registry).await else { return };
    let probes_stop = CancellationToken::new();
    let running = tokio::spawn(probes.run(probes_stop.clone()));

    let mut secrets = stage.send(&received, "bodies", 60).await;
    let spans = stage.spans(&received, "bodies", SpanKind::Server, 60).await;
    check_bodies(&spans);

    stage.rule("[[rule]]\nsample = 0.25\n", &registry).await;
    secrets.extend(stage.send(&received, "sampled", 400).await);
    stage
        .rule("[[rule]]\nwhen = { path = '/left/*', role = 'server' }\ntrace = false\n", &registry)
        .await;
    secrets.extend(stage.send(&received, "left", 20).await);
    stage.write("[[rule]]\ntrace = maybe");
    until(|| figure(&registry, "icecore_probes_rules_stale") == 1).await;
    secrets.extend(stage.send(&received, "left", 20).await);
    stage.rule("", &registry).await;
    secrets.extend(stage.send(&received, "again", 10).await);
    stage.spans(&received, "again", SpanKind::Server, 10).await;
    stage.spans(&received, "left", SpanKind::Client, 40).await;
    assert!(stage.spans(&received, "left", SpanKind::Server, 0).await.is_empty());
    check_sampled(&stage, &received).await;
    probes_stop.cancel();
    running.await.unwrap().unwrap().wait().await;
    stop.cancel();

    let left_out = |reason: &str| {
        figure(&registry, &format!("icecore_probes_spans_left_out_total{{reason=\"{reason}\"}}"))
    };
    assert_eq!(left_out("rule"), 40);
    assert!(left_out("sampled") >= 500, "{}", left_out("sampled"));
    for kind in ["credential", "card", "token", "email", "pattern"] {
        let name = format!("icecore_probes_redacted_bytes_total{{kind=\"{kind}\"}}");
        assert!(figure(&registry, &name) > 0, "{kind}");
    }
    let secrets: Vec<String> = secrets.iter().flatten().map(|one| regex::escape(one)).collect();
    let any = regex::RegexBuilder::new(&secrets.join("|")).size_limit(1 << 28).build().unwrap();
    let told = received.told();
    let left = any.find(&told).map(|one| one.as_str());
    assert_eq!(left, None, "a secret has left the machine");
}

fn check_bodies(spans: &[Span]) {
    for span in spans {
        let body = text(span, "http.request.body.content").unwrap();
        assert!(body.contains("order-17") && body.contains("REDACTED"), "{body}");
        assert_eq!(text(span, "http.response.body.content"), Some(body));
        let query = text(span, "url.query").unwrap();
        assert!(query.starts_with("number=") && query.contains("access_token=REDACTED"), "{query}");
        for header in ["authorization", "cookie", "x-api-key", "x-note"] {
            assert_eq!(list(span, &format!("http.request.header.{header}")), ["REDACTED"]);
        }
        assert_eq!(list(span, "http.response.header.set-cookie"), ["REDACTED"]);
        assert!(int(span, "http.request.body.size").unwrap() > 20);
    }
}

/// About a quarter of the traces, each with both ends.
async fn check_sampled(stage: &Stage, received: &Received) {
    let ids = |spans: Vec<Span>| {
        assert!(spans.iter().all(|span| span.trace_state == "ot=th:c"), "{:?}", spans.first());
        let mut ids: Vec<_> = spans.into_iter().map(|span| span.trace_id).collect();
        ids.sort_unstable();
        ids
    };
    let server = ids(stage.spans(received, "sampled", SpanKind::Server, 60).await);
    let client = ids(stage.spans(received, "sampled", SpanKind::Client, server.len()).await);
    assert!((60..=140).contains(&server.len()), "{} of 400", server.len());
    assert_eq!(server, client);
}
