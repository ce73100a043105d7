//! The real OpenTelemetry Collector gets every span that was forwarded.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::icecore::{Icecore, Start};
use crate::otlp::{post, request};
use crate::peers::{self, Running, free_port};

/// A Collector that passes on what it gets by gRPC to one place, and what it gets by HTTP to another.
fn collector(program: &Path, config: &Path) -> Running {
    let mut command = Command::new(program);
    command.arg("--config").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().unwrap())
}

fn config(grpc: u16, http: u16, by_grpc: &Icecore, by_http: &Icecore) -> String {
    let target = by_grpc.grpc.trim_start_matches("http://");
    let target_http = &by_http.http;
    format!(
        "receivers:
  otlp/grpc: {{protocols: {{grpc: {{endpoint: 127.0.0.1:{grpc}}}}}}}
  otlp/http: {{protocols: {{http: {{endpoint: 127.0.0.1:{http}}}}}}}
exporters:
  otlp: {{endpoint: {target}, tls: {{insecure: true}}}}
  otlphttp: {{endpoint: {target_http}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces/grpc: {{receivers: [otlp/grpc], exporters: [otlp]}}
    traces/http: {{receivers: [otlp/http], exporters: [otlphttp]}}
"
    )
}

/// Scenario: everything is forwarded to a Collector over gRPC and over HTTP; the Collector dies, a
/// load goes on meanwhile, Icecore itself is killed and started, and the Collector comes back after
/// a minute.
/// Guarantees: what the Collector passed on has every span, by either way; ingest never waited.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_every_span() {
    let _held = peers::noisy().await;
    let Some(program) = peers::program("otelcol") else { return };
    let folders: [tempfile::TempDir; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [source, by_grpc, by_http] = &folders;
    let (by_grpc, by_http) = (Start::new(by_grpc.path()).run(), Start::new(by_http.path()).run());
    let (grpc, http) = (free_port(), free_port());
    let path = source.path().join("collector.yaml");
    std::fs::write(&path, config(grpc, http, &by_grpc, &by_http)).unwrap();
    let settings = source.path().join("icecore.toml");
    let text = format!(
        "forward = [\"grpc://127.0.0.1:{grpc}\", \
         {{ url = \"http://127.0.0.1:{http}\", compression = \"zstd\" }}]\n"
    );
    std::fs::write(&settings, text).unwrap();
    let data = source.path().join("data");
    let start = Start::new(&data).arg("config", settings.to_str().unwrap());
    let icecore = start.run();
    let running = collector(&program, &path);
    send(&icecore, 0).await;
    for (name, target) in [("grpc", &by_grpc), ("http", &by_http)] {
        let seen = target.wait_for("SELECT count(DISTINCT span_id) FROM spans", 1000).await;
        assert_eq!(seen, 1000, "by {name}");
    }
    drop(running);
    send(&icecore, 1000).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    icecore.kill();
    let icecore = start.run();
    send(&icecore, 2000).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let _collector = collector(&program, &path);
    for (name, target) in [("grpc", &by_grpc), ("http", &by_http)] {
        let seen = target.wait_for("SELECT count(DISTINCT span_id) FROM spans", 3000).await;
        assert_eq!(seen, 3000, "by {name}");
    }
}

async fn send(icecore: &Icecore, first: u64) {
    for number in 0..20 {
        let answer = post(&icecore.http, request("forwarded", first + number * 50, 50)).await;
        assert!(answer.status().is_success());
    }
}
