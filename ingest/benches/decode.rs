//! What decoding costs, in prost units: one unit is `prost` decoding the same bytes.
//!
//! The request is that of the standard load: 1,000 spans of 58 resources, 11.6 attributes a span,
//! one span in a hundred an error with an event. The best of many rounds counts, because a shared
//! machine only ever adds time.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use icecore_ingest::decode::{Batch, Wanted, check, decode};
use icecore_store::Signal;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

const SPANS: u64 = 1_000;
const RESOURCES: u64 = 58;
const ROUNDS: usize = 100;
const BATCHED: u32 = 14;

fn main() {
    let payload = request().encode_to_vec();
    let decoded = decode(Signal::Traces, &payload).unwrap();
    let rows = decoded.rows.unwrap().rows;
    assert_eq!(decoded.accepted, SPANS);
    println!("{} bytes a span, {} columns", payload.len() as u64 / SPANS, rows.num_columns());
    assert_eq!(check(Signal::Traces, &payload).unwrap().accepted, SPANS);
    // Taken in turns, so that a busy moment of the machine meets both.
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    let (mut checked, mut batched) = (Duration::MAX, Duration::MAX);
    let (mut without, no_keys) = (Duration::MAX, Wanted::of(&[]));
    for _ in 0..ROUNDS {
        theirs = theirs.min(time(|| {
            drop(black_box(ExportTraceServiceRequest::decode(black_box(payload.as_slice()))));
        }));
        ours = ours.min(time(|| drop(black_box(decode(Signal::Traces, black_box(&payload))))));
        checked = checked.min(time(|| drop(black_box(check(Signal::Traces, black_box(&payload))))));
        batched = batched.min(time(|| batch(&payload, &Wanted::ALL)) / BATCHED);
        without = without.min(time(|| batch(&payload, &no_keys)) / BATCHED);
    }
    println!("prost  {} ns a span", theirs.as_nanos() / u128::from(SPANS));
    let batches = [("decode in batches", batched), ("the same without keys", without)];
    for (name, took) in [("check", checked), ("decode", ours)].into_iter().chain(batches) {
        let units = took.as_secs_f64() / theirs.as_secs_f64();
        println!(
            "{name} {} ns a span, {units:.3} prost units",
            took.as_nanos() / u128::from(SPANS)
        );
    }
}

/// As many requests as one batch of live rows has.
fn batch(payload: &[u8], wanted: &Wanted) {
    let mut batch = Batch::new(Signal::Traces, wanted.clone());
    for _ in 0..BATCHED {
        batch.push(black_box(payload)).unwrap();
    }
    drop(black_box(batch.finish()));
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    entry(key, Value::StringValue(value.into()))
}

fn int(key: &str, value: u64) -> KeyValue {
    entry(key, Value::IntValue(value.cast_signed()))
}

fn entry(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

/// Numbers that look like chance, the same in every run.
fn mixed(number: u64) -> u64 {
    let number = (number ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (number ^ (number >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn request() -> ExportTraceServiceRequest {
    let resource_spans = (0..RESOURCES)
        .map(|resource| ResourceSpans {
            resource: Some(Resource { attributes: resource_of(resource), ..Resource::default() }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "io.opentelemetry.http".to_owned(),
                    version: "2.8.0".to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans: (0..SPANS).filter(|at| at % RESOURCES == resource).map(span).collect(),
                schema_url: String::new(),
            }],
            schema_url: "https://opentelemetry.io/schemas/1.30.0".to_owned(),
        })
        .collect();
    ExportTraceServiceRequest { resource_spans }
}

fn resource_of(at: u64) -> Vec<KeyValue> {
    let (service, pod) = (at % 20, at / 20);
    vec![
        text("service.name", format!("service-{service}")),
        text("service.version", "1.4.2"),
        text("service.instance.id", format!("{:016x}", mixed(at))),
        text("k8s.pod.name", format!("service-{service}-6d8f7c9b5-{pod}")),
        text("k8s.namespace.name", "shop"),
        text("k8s.node.name", format!("node-{}", at % 5)),
        text("host.name", format!("node-{}", at % 5)),
        text("telemetry.sdk.language", "java"),
        text("telemetry.sdk.version", "1.48.0"),
    ]
}

fn span(at: u64) -> Span {
    let chance = mixed(at);
    let start = 1_764_000_000_000_000_000 + at * 1_000_000 + chance % 1_000_000;
    let error = at % 100 == 7;
    let server = at.is_multiple_of(2);
    let event = Event {
        time_unix_nano: start + 1,
        name: "exception".to_owned(),
        attributes: vec![
            text("exception.type", "java.lang.IllegalStateException"),
            text("exception.message", format!("order {} is gone", chance % 10_000)),
        ],
        dropped_attributes_count: 0,
    };
    Span {
        trace_id: [mixed(at / 15).to_be_bytes(), mixed(at / 15 + 9_999).to_be_bytes()].concat(),
        span_id: chance.to_be_bytes().to_vec(),
        parent_span_id: mixed(at / 2 + 77).to_be_bytes().to_vec(),
        flags: 0x101,
        name: format!("GET /api/v1/things/{}", chance % 200),
        kind: if server { 2 } else { 3 },
        start_time_unix_nano: start,
        end_time_unix_nano: start + chance % 50_000_000,
        attributes: if server { http(chance, error) } else { sql(chance) },
        events: if error { vec![event] } else { Vec::new() },
        status: Some(Status { code: if error { 2 } else { 0 }, ..Status::default() }),
        ..Span::default()
    }
}

fn http(chance: u64, error: bool) -> Vec<KeyValue> {
    vec![
        text("http.request.method", "GET"),
        text("http.route", format!("/api/v1/things/{}/:id", chance % 200)),
        text("url.path", format!("/api/v1/things/{}/{}", chance % 200, chance % 100_000)),
        text("url.scheme", "https"),
        int("http.response.status_code", if error { 500 } else { 200 }),
        text("server.address", format!("service-{}.shop.svc", chance % 20)),
        int("server.port", 8080),
        text("client.address", format!("10.0.{}.{}", chance % 7, chance % 251)),
        text("network.protocol.version", "1.1"),
        text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"),
        int("http.response.body.size", chance % 65_536),
        text("thread.name", format!("http-nio-8080-exec-{}", chance % 10)),
        int("thread.id", chance % 64),
    ]
}

fn sql(chance: u64) -> Vec<KeyValue> {
    let statement = format!(
        "SELECT id, name, price FROM things_{} WHERE id = ? AND state = ? ORDER BY name LIMIT 50",
        chance % 60
    );
    vec![
        text("db.system.name", "postgresql"),
        text("db.namespace", "shop"),
        text("db.query.text", statement),
        text("db.operation.name", "SELECT"),
        text("db.collection.name", format!("things_{}", chance % 60)),
        text("server.address", "postgres.shop.svc"),
        int("server.port", 5432),
        text("network.peer.address", format!("10.0.0.{}", chance % 20)),
        text("thread.name", format!("pool-{}", chance % 10)),
        int("thread.id", chance % 64),
    ]
}
