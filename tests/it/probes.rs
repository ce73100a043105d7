//! The probes on the real kernel: real servers, real clients, every request seen once on each side.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::icecore::{Icecore, Start};
use crate::peers::{self, Running, free_port, listening};

const REQUESTS: usize = 1000;

/// Scenario: nginx and a Python server, hit by curl and by kept-alive Python connections: 1,000
/// requests of mixed methods, paths, statuses and sizes, seen through the BTF tracepoints.
/// Guarantees: 1,000 server spans and 1,000 client spans with the right method, path, status and
/// sizes, within the client's own times; the histograms count the same; nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_by_btf_tracepoints() {
    let _held = peers::quiet().await;
    check_rung("btf-tracepoints").await;
}

/// Scenario: the same through the system-call tracepoints.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_by_syscall_tracepoints() {
    let _held = peers::quiet().await;
    check_rung("syscall-tracepoints").await;
}

/// What the client did, and what it measured.
#[derive(Debug)]
struct Record {
    number: u64,
    port: u64,
    method: String,
    path: String,
    status: u64,
    request_bytes: u64,
    response_bytes: u64,
    start: i64,
    end: i64,
}

fn record(row: &Value) -> Record {
    let text = |at: usize| row[at].as_str().unwrap().to_owned();
    Record {
        number: row[0].as_u64().unwrap(),
        port: row[1].as_u64().unwrap(),
        method: text(2),
        path: text(3),
        status: row[4].as_u64().unwrap(),
        request_bytes: row[5].as_u64().unwrap(),
        response_bytes: row[6].as_u64().unwrap(),
        start: row[7].as_i64().unwrap(),
        end: row[8].as_i64().unwrap(),
    }
}

async fn check_rung(rung: &str) {
    let (Some(python), true) = (peers::python(), peers::root()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let start = Start::new(&folder.path().join("data"))
        .arg("probes", "true")
        .arg("probe-rung", rung)
        .arg("probe-metrics-interval", "1s")
        // How many programs begin in a second is a matter of everybody else on the machine.
        .arg("probe-process-events-max", "1000000");
    let icecore = start.run();
    let (nginx_port, python_port) = (free_port(), free_port());
    let _nginx = nginx(folder.path(), nginx_port).await;
    let _server = Running(
        Command::new(&python)
            .arg(peers::script("http_server.py"))
            .arg(python_port.to_string())
            .spawn()
            .unwrap(),
    );
    listening(python_port).await;
    let output = Command::new(&python)
        .arg(peers::script("http_client.py"))
        .args([nginx_port.to_string(), python_port.to_string(), REQUESTS.to_string()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let records: Vec<Record> = rows.iter().map(record).collect();
    assert_eq!(records.len(), REQUESTS);
    for kind in ["SERVER", "CLIENT"] {
        check_spans(&icecore, kind, &records, [nginx_port, python_port]).await;
        check_histogram(&icecore, kind, [nginx_port, python_port]).await;
    }
    check_nothing_lost(&icecore).await;
    icecore.stop();
}

async fn check_spans(icecore: &Icecore, kind: &str, records: &[Record], ports: [u16; 2]) {
    let from = format!(
        "FROM spans WHERE kind = '{kind}' AND attributes['server.port'] IN ({}, {}) \
         AND attributes['url.query'] LIKE 'number=%'",
        ports[0], ports[1]
    );
    let wanted = i64::try_from(REQUESTS).unwrap();
    let found = icecore.wait_for(&format!("SELECT count(*) {from}"), wanted).await;
    assert_eq!(found, wanted, "{kind} spans");
    let rows = icecore
        .sql(&format!(
            "SELECT attributes['url.query'], attributes['server.port'], attributes['http.request.method'], \
             attributes['url.path'], attributes['http.response.status_code'], \
             attributes['http.request.body.size'], attributes['http.response.body.size'], \
             CAST(start_time AS BIGINT), CAST(end_time AS BIGINT), status_code {from}"
        ))
        .await;
    let mut spans: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for row in rows {
        let number = row[0].as_str().unwrap().trim_start_matches("number=").parse().unwrap();
        assert!(spans.insert(number, row).is_none(), "{kind} span {number} is there twice");
    }
    for record in records {
        check_span(kind, record, &spans[&record.number]);
    }
}

fn check_span(kind: &str, record: &Record, span: &[Value]) {
    let bytes = |value: &Value| value.as_u64().unwrap_or_default();
    let seen =
        (bytes(&span[1]), span[2].as_str().unwrap(), span[3].as_str().unwrap(), bytes(&span[4]));
    let sent = (record.port, record.method.as_str(), record.path.as_str(), record.status);
    assert_eq!(seen, sent, "{kind} span of {record:?}");
    let sizes = (bytes(&span[5]), bytes(&span[6]));
    assert_eq!(
        sizes,
        (record.request_bytes, record.response_bytes),
        "{kind} span of {record:?}: {span:?}"
    );
    // The clocks of kernel and client are one; reading them takes a moment.
    const SLACK: i64 = 2_000_000;
    let (start, end) = (span[7].as_i64().unwrap(), span[8].as_i64().unwrap());
    assert!(start <= end, "{span:?}");
    assert!(
        start + SLACK >= record.start && end <= record.end + SLACK,
        "{kind} {span:?} of {record:?}"
    );
    let failed = record.status >= if kind == "SERVER" { 500 } else { 400 };
    assert_eq!(span[9] == "ERROR", failed, "{kind} span of {record:?}");
}

async fn check_histogram(icecore: &Icecore, kind: &str, ports: [u16; 2]) {
    let name = format!("http.{}.request.duration", kind.to_lowercase());
    // Cumulative series: the newest point of each counts, and the points of all series add up.
    let query = format!(
        "SELECT CAST(coalesce(sum(newest), 0) AS BIGINT) FROM (SELECT max(count) AS newest FROM metrics \
         WHERE metric_name = '{name}' AND attributes['server.port'] IN ({}, {}) \
         GROUP BY attributes, resource, start_time)",
        ports[0], ports[1]
    );
    let wanted = i64::try_from(REQUESTS).unwrap();
    assert_eq!(icecore.wait_for(&query, wanted).await, wanted, "{name}");
}

async fn check_nothing_lost(icecore: &Icecore) {
    let metrics = icecore.get("/metrics").await.text().await.unwrap();
    let of_requests = |line: &&str| {
        // How far a stack can be followed is a matter of each program's tables.
        line.starts_with("icecore_probes_") && !line.starts_with("icecore_probes_profile_")
    };
    for line in metrics.lines().filter(of_requests) {
        let loss = ["lost", "refused", "dropped", "shed", "unread"]
            .iter()
            .any(|word| line.to_lowercase().contains(word));
        let zero = line.ends_with(" 0") || line.contains("_bytes") || line.contains("_max");
        assert!(!loss || zero, "{line}");
    }
}

async fn nginx(folder: &Path, port: u16) -> Running {
    let site = folder.join("site");
    std::fs::create_dir_all(site.join("bytes")).unwrap();
    for size in [0, 1, 100, 4_095, 4_096, 16_384, 65_536, 100_000, 1_048_576] {
        std::fs::write(site.join(format!("bytes/{size}")), vec![b'n'; size]).unwrap();
    }
    let config = folder.join("nginx.conf");
    let text = format!(
        "daemon off; master_process off; pid {0}/nginx.pid; error_log {0}/error.log; worker_processes 2; user root;\n\
         events {{}}\n\
         http {{ access_log off; sendfile on; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy;\n\
         fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s; client_max_body_size 4m;\n\
         server {{ listen 127.0.0.1:{port}; root {0}/site;\n\
         location = /broken {{ return 500; }} location = /moved {{ return 302 /bytes/1; }}\n\
         location = /take {{ return 204; }} }} }}\n",
        folder.display()
    );
    std::fs::write(&config, text).unwrap();
    let child = Command::new("nginx").arg("-c").arg(&config).stderr(Stdio::null()).spawn().unwrap();
    listening(port).await;
    Running(child)
}
