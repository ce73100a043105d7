//! One trace: a tree of requests between services, with their queries and inner steps.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use super::attributes::{double, flag, int, text};
use super::chance::{Chance, mix};
use super::fleet::Fleet;

/// Instrumentation libraries, by their place in a made span.
pub(super) const SCOPES: [&str; 3] =
    ["io.opentelemetry.http", "io.opentelemetry.jdbc", "com.example.shop"];

const SPANS_MIN: u64 = 5;
const SPANS_MAX: u64 = 30;

/// One span in a hundred failed.
const ERROR_SHARE: f64 = 0.01;

/// A span, and where it was made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) pod: usize,
    pub(super) scope: usize,
    pub(super) span: Span,
}

/// Makes traces; span ids count through a mixing that gives each number one id.
#[derive(Debug)]
pub(super) struct TraceMaker {
    chance: Chance,
    ids: u64,
}

/// What the next spans of a trace hang on.
#[derive(Debug, Clone, Copy)]
struct Parent {
    pod: usize,
    span_id: u64,
    start: u64,
    end: u64,
}

impl TraceMaker {
    pub(super) fn new(seed: u64, run: &str) -> Self {
        let chance = Chance::new(seed, "traces");
        Self { chance, ids: Chance::new(seed, run).next() }
    }

    /// A trace that starts at `start` nanoseconds, with its root first.
    pub(super) fn make(&mut self, fleet: &Fleet, start: u64) -> Vec<Made> {
        let wanted = SPANS_MIN + self.chance.below(SPANS_MAX - SPANS_MIN + 1);
        let trace_id =
            [self.chance.next().to_be_bytes(), self.chance.next().to_be_bytes()].concat();
        let root = Parent { pod: fleet.any_pod(&mut self.chance), span_id: 0, start, end: start };
        let root = Parent { end: start + self.nanos(40.0, 0.9), ..root };
        let mut made = Vec::new();
        let mut parents = vec![self.server(fleet, root, &mut made)];
        while (made.len() as u64) < wanted {
            let parent = *self.chance.pick(&parents);
            let room = wanted - made.len() as u64;
            match self.chance.below(100) {
                0..45 if room >= 2 => {
                    let client = self.client(fleet, parent, &mut made);
                    let server = self.server(fleet, client, &mut made);
                    parents.push(server);
                }
                0..85 => self.query(fleet, parent, &mut made),
                _ => {
                    let step = self.step(fleet, parent, &mut made);
                    parents.push(step);
                }
            }
        }
        for one in &mut made {
            one.span.trace_id.clone_from(&trace_id);
        }
        made
    }

    /// A request as its server sees it.
    fn server(&mut self, fleet: &Fleet, caller: Parent, made: &mut Vec<Made>) -> Parent {
        let service = fleet.service(caller.pod);
        let operation = self.chance.pick_front(&service.operations);
        let (status, path) = (self.status_code(), self.path(&operation.route));
        let mut attributes = vec![
            text("http.request.method", operation.method),
            text("http.route", operation.route.clone()),
            text("url.path", path),
            text("url.scheme", "http"),
            int("http.response.status_code", status),
            text("server.address", format!("{}.shop.svc.cluster.local", service.name)),
            int("server.port", 8080),
            text("client.address", fleet.any_ip(&mut self.chance)),
            int("client.port", self.port()),
            text("network.peer.address", fleet.any_ip(&mut self.chance)),
            text("network.protocol.version", "1.1"),
            text("user_agent.original", "Java-http-client/21.0.4 (Linux; amd64) shop/2.7"),
            int("http.response.body.size", self.size()),
            int("thread.id", self.thread()),
        ];
        if self.chance.happens(0.3) {
            attributes.push(text("enduser.id", format!("u-{}", self.chance.below(20_000))));
        }
        let name = format!("{} {}", operation.method, operation.route);
        let made_at = self.within(caller, 0.02);
        let failed = status >= 500;
        self.push(made, made_at, SpanKind::Server, 0, name, attributes, failed)
    }

    /// A request as its caller sees it; the pod of the result is the one that is called.
    fn client(&mut self, fleet: &Fleet, parent: Parent, made: &mut Vec<Made>) -> Parent {
        let called = fleet.any_pod(&mut self.chance);
        let service = fleet.service(called);
        let operation = self.chance.pick_front(&service.operations);
        let host = format!("{}.shop.svc.cluster.local", service.name);
        let path = self.path(&operation.route);
        let status = self.status_code();
        let attributes = vec![
            text("http.request.method", operation.method),
            text("url.full", format!("http://{host}:8080{path}?locale=en-GB")),
            text("server.address", host),
            int("server.port", 8080),
            int("http.response.status_code", status),
            text("network.protocol.version", "1.1"),
            text("network.peer.address", fleet.pods[called].ip.clone()),
            int("network.peer.port", 8080),
            text("peer.service", service.name),
            int("thread.id", self.thread()),
            text("thread.name", format!("http-worker-{}", self.chance.below(32))),
        ];
        let made_at = self.within(parent, 0.6);
        let name = operation.method.to_owned();
        let failed = status >= 400;
        let client = self.push(made, made_at, SpanKind::Client, 0, name, attributes, failed);
        Parent { pod: called, ..client }
    }

    /// A SQL statement.
    fn query(&mut self, fleet: &Fleet, parent: Parent, made: &mut Vec<Made>) {
        let statement = self.chance.pick(&fleet.statements);
        let attributes = vec![
            text("db.system.name", "postgresql"),
            text("db.namespace", "shop"),
            text("db.operation.name", statement.verb),
            text("db.collection.name", statement.table),
            text("db.query.text", statement.text.clone()),
            text("db.query.summary", format!("{} {}", statement.verb, statement.table)),
            text("server.address", "postgres.data.svc.cluster.local"),
            int("server.port", 5432),
            text("network.peer.address", "10.42.7.19"),
            int("db.response.returned_rows", self.size() % 50),
            text("thread.name", format!("hikari-pool-{}", self.chance.below(10))),
        ];
        let made_at = self.within(parent, 0.7);
        let name = format!("{} {}", statement.verb, statement.table);
        let failed = self.chance.happens(ERROR_SHARE);
        self.push(made, made_at, SpanKind::Client, 1, name, attributes, failed);
    }

    /// Work within a service.
    fn step(&mut self, fleet: &Fleet, parent: Parent, made: &mut Vec<Made>) -> Parent {
        const STEPS: [&str; 6] = ["validate", "price", "render", "serialize", "authorize", "merge"];
        let step = *self.chance.pick(&STEPS);
        let service = fleet.service(parent.pod).name;
        let attributes = vec![
            text("code.function.name", format!("com.example.shop.{service}.Steps.{step}")),
            text("code.file.path", format!("src/main/java/com/example/shop/{service}/Steps.java")),
            int("code.line.number", self.size() % 900),
            int("thread.id", self.thread()),
            text("thread.name", format!("http-worker-{}", self.chance.below(32))),
            flag("shop.cache.hit", self.chance.happens(0.7)),
            double("shop.cache.age_ratio", self.chance.unit()),
        ];
        let made_at = self.within(parent, 0.5);
        let failed = self.chance.happens(ERROR_SHARE);
        self.push(made, made_at, SpanKind::Internal, 2, step.to_owned(), attributes, failed)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one place that knows how a span is put together"
    )]
    fn push(
        &mut self,
        made: &mut Vec<Made>,
        at: Parent,
        kind: SpanKind,
        scope: usize,
        name: String,
        mut attributes: Vec<KeyValue>,
        failed: bool,
    ) -> Parent {
        self.ids = self.ids.wrapping_add(1);
        let span_id = mix(self.ids);
        let mut events = Vec::new();
        let status = failed.then(|| {
            attributes.push(text("error.type", "java.io.IOException"));
            events.push(exception(at.end));
            Status { code: StatusCode::Error.into(), message: "upstream failed".to_owned() }
        });
        let parent_span_id =
            if at.span_id == 0 { Vec::new() } else { at.span_id.to_be_bytes().to_vec() };
        let span = Span {
            span_id: span_id.to_be_bytes().to_vec(),
            parent_span_id,
            name,
            kind: kind.into(),
            start_time_unix_nano: at.start,
            end_time_unix_nano: at.end,
            attributes,
            events,
            status,
            flags: 0x101,
            ..Span::default()
        };
        // A caller's span runs in the caller's pod, `at.pod`.
        made.push(Made { pod: at.pod, scope, span });
        Parent { span_id, ..at }
    }

    /// A stretch of time within another's, that begins in its first `share`.
    fn within(&mut self, outer: Parent, share: f64) -> Parent {
        let length = outer.end.saturating_sub(outer.start);
        let start = outer.start + scaled(length, share * self.chance.unit());
        let room = outer.end.saturating_sub(start);
        let end = if share < 0.1 { outer.end } else { start + self.nanos(6.0, 1.1).min(room) };
        Parent { start, end, ..outer }
    }

    /// A log-normal duration around `median` milliseconds.
    fn nanos(&mut self, median: f64, spread: f64) -> u64 {
        scaled(1_000_000, self.chance.log_normal(median, spread)).max(1_000)
    }

    fn status_code(&mut self) -> i64 {
        if self.chance.happens(ERROR_SHARE) { *self.chance.pick(&[500, 502, 503]) } else { 200 }
    }

    fn path(&mut self, route: &str) -> String {
        route.replace("{id}", &self.chance.below(100_000).to_string())
    }

    fn size(&mut self) -> i64 {
        i64::try_from(scaled(1, self.chance.log_normal(2_000.0, 1.5))).unwrap_or(0)
    }

    fn port(&mut self) -> i64 {
        i64::try_from(32_768 + self.chance.below(28_000)).unwrap_or(0)
    }

    fn thread(&mut self) -> i64 {
        i64::try_from(1 + self.chance.below(64)).unwrap_or(1)
    }
}

fn exception(time_unix_nano: u64) -> Event {
    let attributes = vec![
        text("exception.type", "java.io.IOException"),
        text("exception.message", "connection reset by peer"),
        text(
            "exception.stacktrace",
            "java.io.IOException: connection reset\n\tat Http.read(Http.java:81)",
        ),
    ];
    Event { time_unix_nano, name: "exception".to_owned(), attributes, dropped_attributes_count: 0 }
}

/// `value * by`, rounded down.
fn scaled(value: u64, by: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let scaled = (value as f64 * by) as u64;
    scaled
}
