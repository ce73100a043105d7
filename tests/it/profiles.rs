//! Profiles of a real program, by a real profiler, through a real Collector, to the flame graph.

mod v8;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use icecore_store::{Clock as _, SystemClock};
use prost::Message as _;
use serde_json::json;

use crate::icecore::{Icecore, Start};
use crate::peers::{self, Running, free_port, listening};

/// The profile that V8 makes of `hot.js`, where Node.js is installed.
fn profile(folder: &Path) -> Option<v8::CpuProfile> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/profiles/hot.js");
    let mut command = Command::new("node");
    command.args(["--cpu-prof", "--cpu-prof-name=hot.cpuprofile"]).arg("--cpu-prof-dir");
    command.arg(folder).arg(script).stdout(Stdio::null());
    let Ok(status) = command.status() else {
        eprintln!("skipped: node is not installed");
        return None;
    };
    assert!(status.success(), "node ended with {status}");
    let text = std::fs::read(folder.join("hot.cpuprofile")).unwrap();
    Some(serde_json::from_slice(&text).unwrap())
}

/// A Collector that takes profiles by gRPC and by HTTP, and sends those of each on by the same.
fn collector(program: &Path, folder: &Path, [grpc, http]: [u16; 2], to: &Icecore) -> Running {
    let target = to.grpc.trim_start_matches("http://");
    let target_http = &to.http;
    let config = format!(
        "receivers:
  otlp/grpc: {{protocols: {{grpc: {{endpoint: 127.0.0.1:{grpc}}}}}}}
  otlp/http: {{protocols: {{http: {{endpoint: 127.0.0.1:{http}}}}}}}
exporters:
  otlp: {{endpoint: {target}, tls: {{insecure: true}}}}
  otlphttp: {{endpoint: {target_http}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    profiles/grpc: {{receivers: [otlp/grpc], exporters: [otlp]}}
    profiles/http: {{receivers: [otlp/http], exporters: [otlphttp]}}
"
    );
    let path = folder.join("collector.yaml");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new(program);
    command.args(["--feature-gates=service.profilesSupport", "--config"]).arg(path);
    Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

async fn post(url: String, body: Vec<u8>) {
    let request = reqwest::Client::new().post(url).body(body);
    let answer = request.header("content-type", "application/x-protobuf").send().await.unwrap();
    assert!(answer.status().is_success(), "{}: {:?}", answer.status(), answer.text().await);
}

/// Sends a request as a unary gRPC call.
async fn call(port: u16, message: &[u8]) {
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0], &length[..], message].concat();
    let method = "opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
    let request = client.post(format!("http://127.0.0.1:{port}/{method}")).body(body);
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success());
    // A refusal says its status among the headers.
    assert!(answer.headers().get("grpc-status").is_none_or(|status| status == "0"), "{answer:?}");
}

/// Scenario: V8 profiles a busy program; the profile goes through the OpenTelemetry Collector by gRPC, by
/// HTTP, and straight to Icecore; it is asked for live, then from files, by function, SQL and script.
/// Guarantees: every sample is there with its time; the flame graph has each function's time to the
/// microsecond, as V8 has it, and names the hot one; a trace leads to its samples.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_profile_becomes_a_flame_graph() {
    let _held = peers::noisy().await;
    let folder = tempfile::tempdir().unwrap();
    let Some(profile) = profile(folder.path()) else { return };
    let icecore = Start::new(&folder.path().join("data")).run();
    let now = u64::try_from(SystemClock::new().now().0).unwrap();
    let began = now - 5_000_000_000;
    let message = |service: &str| v8::otlp(&profile, service, began).encode_to_vec();
    let path = "v1development/profiles";
    post(format!("{}/{path}", icecore.http), message("straight")).await;
    let mut services = vec!["straight"];
    let collector = peers::program("otelcol").map(|program| {
        let ports = [free_port(), free_port()];
        (ports, collector(&program, folder.path(), ports, &icecore))
    });
    if let Some(([grpc, http], _running)) = &collector {
        listening(*grpc).await;
        listening(*http).await;
        call(*grpc, &message("by-grpc")).await;
        post(format!("http://127.0.0.1:{http}/{path}"), message("by-http")).await;
        services.extend(["by-grpc", "by-http"]);
    }
    let count = "SELECT count(DISTINCT service_name) FROM profiles";
    let wanted = i64::try_from(services.len()).unwrap();
    assert_eq!(icecore.wait_for(count, wanted).await, wanted);
    for service in &services {
        check(&icecore, service, &profile).await;
    }
    // The flush comes a second after the rows.
    icecore.wait_for("SELECT count(*) FROM profiles", 1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for service in &services {
        check(&icecore, service, &profile).await;
    }
}

async fn check(icecore: &Icecore, service: &str, profile: &v8::CpuProfile) {
    let mut expected = v8::self_time(profile);
    expected.retain(|_, time| *time != 0);
    let all: i64 = expected.values().sum();
    let rows = icecore
        .sql(&format!(
            "SELECT frame, sum(self) AS own, max(depth) FROM flamegraph('10m', service => '{service}')
             GROUP BY frame HAVING sum(self) != 0 ORDER BY own DESC"
        ))
        .await;
    let found = rows.iter().map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_i64()));
    let found: std::collections::HashMap<_, _> = found.collect();
    for (function, time) in &expected {
        assert_eq!(found.get(function), Some(&Some(*time)), "{service}: {function}");
    }
    assert_eq!((rows[0][0].as_str(), rows.len()), (Some("hotLoop"), expected.len()), "{rows:?}");
    assert!(rows[0][1].as_i64().unwrap() * 2 > all, "{rows:?}");
    // Twenty calls deep, below the root and what Node.js puts there.
    assert!(rows[0][2].as_i64().unwrap() > 20, "{rows:?}");
    let observed = "SELECT sum(cardinality(observations)), min(stack[1]), count(*) FROM profiles";
    let of_trace = format!("service_name = '{service}' AND trace_id = '{}'", "ab".repeat(16));
    let rows = icecore.sql(&format!("{observed} WHERE {of_trace} AND stack[1] = 'hotLoop'")).await;
    assert!(rows[0][0].as_i64().unwrap() > 100 && rows[0][1] == json!("hotLoop"), "{rows:?}");
    let details =
        format!("SELECT DISTINCT frames FROM profiles WHERE {of_trace} AND stack[1] = 'hotLoop'");
    let frames = icecore.sql(&details).await[0][0].clone();
    assert_eq!(frames[0]["start_line"], 2);
    assert!(frames[0]["file"].as_str().unwrap().ends_with("hot.js"), "{frames}");
    let param = format!("service={service}");
    let script = ["script", "run", "perf_flamegraph", "--param", &param, "-o", "json"];
    let (code, text, said) = icecore.client(&script);
    assert_eq!(code, Some(0), "{said}");
    assert!(text.contains("hotLoop") && text.contains("warmLoop"), "{text}");
}
