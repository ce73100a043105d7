//! More load than the budget of the agent takes: it tells less, and counts all. Alone in its process, since
//! the agent pays for the traffic of the whole machine.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may panic")]

#[expect(dead_code, reason = "shared with the other live tests")]
#[path = "../it/peers.rs"]
mod peers;
#[expect(dead_code, reason = "shared with the other live tests")]
#[path = "../it/receiver.rs"]
mod receiver;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use icecore_probes::Config;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::NumberDataPoint;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::trace::v1::Span;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::peers::{Peer, figure, free_port, listening, open, until};
use crate::receiver::{Received, of, serve, shown, text};

/// Hundredths of a CPU that the agent may use here: several times what it takes at rest, where it is not optimised.
const PERCENT: u64 = 6;
/// Of so many traces one is told at least: of spans that stand for many more, a few more or less are chance.
const ONE_IN_MAX: u64 = 8;
/// The load costs so many times what is allowed: more than the window forgives for long, and no more than can be saved
/// by leaving out spans, since durations are never left out.
const OVER: f64 = 1.4;
/// The first load, in requests a second, and how often it grows at most.
const RATE: f64 = 100.0;
const RISES_MAX: usize = 9;
const BODY: &str = "the answer, and it is the same each time";
const HISTOGRAM: &str = "http.server.request.duration";

/// nginx in the foreground, as one process that ends with its test, with one answer.
fn nginx(folder: &Path, port: u16) -> Peer {
    let config = folder.join("nginx.conf");
    let text = format!(
        "daemon off; master_process off; pid {0}/pid; error_log stderr;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off; keepalive_requests 1000000;\n\
         client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c;\n\
         uwsgi_temp_path {0}/d; scgi_temp_path {0}/e;\n\
         server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{BODY}'; }} }} }}\n",
        folder.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(&config);
    Peer(command.stderr(Stdio::null()).spawn().expect("`./dev test` installs nginx"))
}

/// What a span has to have looked through for secrets, and a duration has not, so that leaving out spans saves something
/// beside what the agent costs at rest. Never the same twice.
fn query(number: u64) -> String {
    (0..20)
        .map(|at| format!("name{at}=value-{number}-of-this-one-{at}"))
        .collect::<Vec<_>>()
        .join("&")
}

/// A client with one connection that stays open, of which the agent sees only the other end.
struct Client {
    stream: TcpStream,
    sent: u64,
}

impl Client {
    async fn request(&mut self) {
        let request =
            format!("GET /some/place?{} HTTP/1.1\r\nHost: here\r\n\r\n", query(self.sent));
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(BODY.as_bytes()) {
            assert!(self.stream.read_buf(&mut answer).await.unwrap() > 0, "nginx hung up");
        }
        self.sent += 1;
    }

    /// So many requests a second for so long, as far as it can.
    async fn run(&mut self, per_second: f64, time: Duration) {
        let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second));
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            tick.tick().await;
            self.request().await;
        }
    }
}

fn micros(registry: &Registry) -> u64 {
    ["agent", "kernel"]
        .map(|part| {
            let name = format!("icecore_probes_cpu_microseconds_total{{part=\"{part}\"}}");
            figure(registry, &name)
        })
        .iter()
        .sum()
}

/// The hundredths of a CPU that the agent takes while this goes on.
async fn used(registry: &Registry, load: impl Future<Output = ()>) -> f64 {
    let (before, began) = (micros(registry), tokio::time::Instant::now());
    load.await;
    (micros(registry) - before) as f64 / began.elapsed().as_micros() as f64 * 100.0
}

/// A figure with a fraction.
fn fraction(registry: &Registry, name: &str) -> f64 {
    let mut shown = String::new();
    encode(&mut shown, registry).unwrap();
    shown.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
}

/// Of how many requests a span is one, by its trace state.
fn stands_for(span: &Span) -> f64 {
    let Some(digits) = span.trace_state.strip_prefix("ot=th:") else {
        assert_eq!(span.trace_state, "");
        return 1.0;
    };
    let left_out = u64::from_str_radix(digits, 16).unwrap() as f64;
    let stands_for = 1.0 / (1.0 - left_out / 16_f64.powi(i32::try_from(digits.len()).unwrap()));
    let Some(Value::DoubleValue(said)) = of(&span.attributes, "icecore.adjusted_count") else {
        panic!("{span:?}")
    };
    assert!((said - stands_for).abs() < 1e-9, "{said} of {stands_for}");
    stands_for
}

fn spans(received: &Received, port: u16) -> Vec<Span> {
    received.spans("server.port", &[i64::from(port)])
}

/// Scenario: nginx answers more requests than the agent has the budget to tell of, for a while, and then hardly any.
/// Guarantees: the agent's CPU time stays near its budget; bodies are left out first, and then spans; each span says
/// of how many it is one, so that scaled they come to the number of requests; every request is in the histogram;
/// what is left out is counted; and when the load is over, everything is told again.
#[tokio::test(flavor = "multi_thread")]
async fn the_budget_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _nginx = nginx(folder.path(), port);
    listening(port).await;
    let mut config = Config::default();
    config.budget.cpu_percent_max = PERCENT;
    config.budget.cpu_window = Duration::from_secs(4);
    config.budget.spans_one_in_max = ONE_IN_MAX;
    config.rules.body_bytes = 4096;
    config.limits.body_bytes_max = 4096;
    config.pipeline.histogram_every = Duration::from_millis(500);
    (config.machine.enabled, config.capture.accounts) = (false, false);
    (config.profile.enabled, config.capture.tls.enabled) = (false, false);
    let stop = CancellationToken::new();
    let (endpoint, received) = serve(stop.clone()).await;
    let mut registry = Registry::default();
    let Some(probes) = open(config, endpoint, &mut registry).await else { return };
    let probes_stop = CancellationToken::new();
    let running = tokio::spawn(probes.run(probes_stop.clone()));
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut client = Client { stream, sent: 0 };
    let level = || figure(&registry, "icecore_probes_shed_level");

    // Nothing is left out yet.
    let mut rate = RATE;
    client.run(rate, Duration::from_secs(2)).await;
    until(|| spans(&received, port).len() as u64 == client.sent).await;
    assert_eq!(level(), 0);
    assert!(spans(&received, port).iter().all(|span| content(span) == Some(BODY)));

    // What a request costs depends on how many there are, and on what else the machine does.
    for _ in 0..RISES_MAX {
        let used = used(&registry, client.run(rate, Duration::from_secs(15))).await;
        println!("{rate:.0} a second: {used:.2} % of a CPU used, level {}", level());
        if level() >= 2 {
            break;
        }
        rate *= (OVER * PERCENT as f64 / used).clamp(1.05, 3.0);
    }
    client.run(rate, Duration::from_secs(10)).await;
    assert!(level() >= 2, "level {}", level());
    let used = used(&registry, client.run(rate, Duration::from_secs(8))).await;
    println!("{rate:.0} a second: {used:.2} % of a CPU used, level {}", level());
    assert!(used < PERCENT as f64 * 1.3, "{used} % of a CPU used");
    assert!(fraction(&registry, "icecore_probes_spans_share ") < 1.0);

    // The load is over.
    client.run(5.0, Duration::from_secs(4)).await;
    until(|| level() == 0).await;
    let before = client.sent;
    client.run(20.0, Duration::from_secs(1)).await;
    let last = client.sent - before;
    until(|| received.counted(HISTOGRAM, port) == client.sent).await;
    probes_stop.cancel();
    running.await.unwrap().unwrap();
    stop.cancel();

    check_told(&registry, &received, port, client.sent, usize::try_from(last).unwrap());
}

fn content(span: &Span) -> Option<&str> {
    text(span, "http.response.body.content")
}

/// What the rows say was lost.
fn lost(received: &Received, what: &str, reason: &str) -> u64 {
    let all = received.metrics();
    let scopes = all.iter().flat_map(|of_resource| &of_resource.scope_metrics);
    let metrics = scopes.flat_map(|scope| &scope.metrics);
    let points = metrics.filter(|metric| metric.name == "icecore.probe.lost").flat_map(|metric| {
        let Some(Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
        sum.data_points.clone()
    });
    let of = |point: &NumberDataPoint, key: &str| shown(&point.attributes, key).unwrap();
    let ours = points.filter(|point| {
        of(point, "icecore.lost.what") == what && of(point, "icecore.lost.reason") == reason
    });
    let counts = ours.map(|point| match point.value {
        Some(Number::AsInt(count)) => u64::try_from(count).unwrap(),
        other => panic!("{other:?}"),
    });
    counts.max().unwrap_or(0)
}

/// `last`: as many were sent when the load was over.
fn check_told(registry: &Registry, received: &Received, port: u16, sent: u64, last: usize) {
    assert_eq!(received.counted(HISTOGRAM, port), sent);
    let mut spans = spans(received, port);
    let left_out = figure(registry, "icecore_probes_spans_left_out_total{reason=\"budget\"}");
    assert!(left_out > 0);
    assert_eq!(spans.len() as u64 + left_out, sent, "each request has a span or is counted");
    let scaled = spans.iter().map(stands_for).sum::<f64>();
    println!("{} spans stand for {scaled:.0} of {sent} requests", spans.len());
    assert!((scaled / sent as f64 - 1.0).abs() < 0.15, "{scaled} of {sent}");
    assert!(spans.iter().all(|span| stands_for(span) <= ONE_IN_MAX as f64));
    assert_eq!(lost(received, "spans", "budget"), left_out);
    let bodies = figure(registry, "icecore_probes_bodies_left_out_total");
    assert!(bodies > left_out, "bodies go before spans: {bodies}, {left_out}");
    assert!(spans.iter().filter(|span| stands_for(span) > 1.0).all(|span| content(span).is_none()));
    spans.sort_by_key(|span| span.start_time_unix_nano);
    let (_, last) = spans.split_at(spans.len() - last);
    assert!(last.iter().all(|span| span.trace_state.is_empty() && content(span) == Some(BODY)));
}
