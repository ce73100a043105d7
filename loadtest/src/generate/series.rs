//! Series as processes have them: what each is called, and how its value moves from one collection
//! to the next.
//!
//! Invariant: counters never fall, and a histogram's count is the sum of its buckets.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;

use super::attributes::{int, text};
use super::chance::Chance;
use super::fleet::Service;

/// Bounds of explicit histograms, in seconds: those that the semantic conventions advise.
pub(super) const BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Two series in five hardly move: routes that nobody calls, pools that nobody uses.
const IDLE_SHARE: f64 = 0.4;
const IDLE_MOVES: f64 = 0.05;

/// Buckets of an exponential histogram.
const EXPONENTIAL: usize = 20;

/// How a value moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// An int gauge that wanders in pages of memory.
    Bytes,
    /// An int gauge that stays.
    Limit,
    /// An int sum that goes up and down, a little.
    Level,
    /// An int counter.
    Count,
    /// A double counter of hundredths of a second.
    Seconds,
    /// A double gauge between 0 and 1.
    Share,
    Histogram,
    Exponential,
    Summary,
}

/// Series with one name.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) shape: Shape,
    key: &'static str,
    values: &'static [&'static str],
}

const fn family(
    name: &'static str,
    unit: &'static str,
    shape: Shape,
    key: &'static str,
    values: &'static [&'static str],
) -> Family {
    Family { name, unit, shape, key, values }
}

const POOLS: [&str; 4] = ["G1 Eden Space", "G1 Survivor Space", "G1 Old Gen", "Metaspace"];
const DIRECTIONS: [&str; 2] = ["receive", "transmit"];
const DISK: [&str; 2] = ["read", "write"];
const STATES: [&str; 3] = ["user", "system", "wait"];
const THREADS: [&str; 4] = ["runnable", "waiting", "timed_waiting", "blocked"];
const CONNECTIONS: [&str; 2] = ["idle", "used"];
const ROUTES: [&str; 1] = [""];
const TOPICS: [&str; 4] = ["orders", "payments", "shipments", "audit"];
const STATEMENTS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];
const COLLECTORS: [&str; 2] = ["G1 Young Generation", "G1 Old Generation"];

/// What a process reports: mostly counters and gauges, one series in eight a distribution. One of
/// each shape comes first, so that a load of few series has them all.
pub(super) static FAMILIES: [Family; 40] = [
    family("jvm.memory.used", "By", Shape::Bytes, "jvm.memory.pool.name", &POOLS),
    family("jvm.memory.committed", "By", Shape::Limit, "jvm.memory.pool.name", &POOLS),
    family("jvm.thread.count", "{thread}", Shape::Level, "jvm.thread.state", &THREADS),
    family("jvm.class.loaded", "{class}", Shape::Count, "jvm.thread.state", &THREADS),
    family("jvm.cpu.time", "s", Shape::Seconds, "cpu.mode", &STATES),
    family("jvm.cpu.recent_utilization", "1", Shape::Share, "cpu.mode", &STATES),
    family("jvm.gc.duration", "s", Shape::Histogram, "jvm.gc.name", &COLLECTORS),
    family("jvm.gc.pause", "s", Shape::Summary, "jvm.gc.name", &COLLECTORS),
    family(
        "db.client.operation.duration",
        "s",
        Shape::Exponential,
        "db.operation.name",
        &STATEMENTS,
    ),
    family("jvm.memory.limit", "By", Shape::Limit, "jvm.memory.pool.name", &POOLS),
    family("jvm.memory.used_after_last_gc", "By", Shape::Bytes, "jvm.memory.pool.name", &POOLS),
    family("process.cpu.time", "s", Shape::Seconds, "cpu.mode", &STATES),
    family("process.cpu.utilization", "1", Shape::Share, "cpu.mode", &STATES),
    family("process.memory.usage", "By", Shape::Bytes, "process.memory.type", &["resident"]),
    family("process.memory.virtual", "By", Shape::Bytes, "process.memory.type", &["virtual"]),
    family("process.open_file_descriptor.count", "{fd}", Shape::Level, "kind", &["file", "socket"]),
    family("process.context_switches", "{switch}", Shape::Count, "kind", &["own", "forced"]),
    family("process.paging.faults", "{fault}", Shape::Count, "kind", &["minor", "major"]),
    family("container.network.io", "By", Shape::Count, "network.io.direction", &DIRECTIONS),
    family(
        "container.network.packet",
        "{packet}",
        Shape::Count,
        "network.io.direction",
        &DIRECTIONS,
    ),
    family(
        "container.network.errors",
        "{error}",
        Shape::Limit,
        "network.io.direction",
        &DIRECTIONS,
    ),
    family("container.disk.io", "By", Shape::Count, "disk.io.direction", &DISK),
    family("container.disk.operations", "{operation}", Shape::Count, "disk.io.direction", &DISK),
    family("container.cpu.time", "s", Shape::Seconds, "cpu.mode", &STATES),
    family("container.cpu.usage", "{cpu}", Shape::Share, "cpu.mode", &STATES),
    family("container.memory.usage", "By", Shape::Bytes, "kind", &["rss", "cache"]),
    family("http.server.request.duration", "s", Shape::Histogram, "http.route", &ROUTES),
    family("http.client.request.duration", "s", Shape::Histogram, "http.route", &ROUTES),
    family("http.server.active_requests", "{request}", Shape::Level, "http.route", &ROUTES),
    family("http.server.requests", "{request}", Shape::Count, "http.route", &ROUTES),
    family("http.server.response.bytes", "By", Shape::Count, "http.route", &ROUTES),
    family("http.client.requests", "{request}", Shape::Count, "http.route", &ROUTES),
    family("db.client.operations", "{operation}", Shape::Count, "db.operation.name", &STATEMENTS),
    family("db.client.connection.count", "{connection}", Shape::Level, "state", &CONNECTIONS),
    family("db.client.connection.max", "{connection}", Shape::Limit, "state", &CONNECTIONS),
    family("db.client.connection.wait_time", "s", Shape::Seconds, "state", &CONNECTIONS),
    family("messaging.client.sent.messages", "{message}", Shape::Count, "topic", &TOPICS),
    family("messaging.client.consumed.messages", "{message}", Shape::Count, "topic", &TOPICS),
    family("messaging.lag", "{message}", Shape::Level, "topic", &TOPICS),
    family("shop.orders.value", "EUR", Shape::Seconds, "topic", &TOPICS),
];

impl Family {
    /// What tells the series of one process apart; `series` is a number of its own for each.
    pub(super) fn attributes(&self, service: &Service, nth: usize, series: u64) -> Vec<KeyValue> {
        let number = int("loadtest.series", i64::try_from(series).unwrap_or(i64::MAX));
        if self.values == ROUTES {
            let operation = &service.operations[nth % service.operations.len()];
            let status = if nth < service.operations.len() { 200 } else { 500 };
            return vec![
                text("http.request.method", operation.method),
                text("http.route", operation.route.clone()),
                int("http.response.status_code", status),
                number,
            ];
        }
        let mut attributes = vec![text(self.key, self.values[nth % self.values.len()]), number];
        if nth >= self.values.len() {
            attributes.push(text("worker", format!("w-{}", nth / self.values.len())));
        }
        attributes
    }
}

/// Where a series stands.
#[derive(Debug)]
pub(super) enum State {
    Int(i64),
    Double(f64),
    Distribution { counts: Vec<u64>, sum: f64, quantiles: [f64; 2] },
}

/// One series from collection to collection.
#[derive(Debug)]
pub(super) struct Series {
    shape: Shape,
    /// What it moves by, about.
    pace: f64,
    /// In how many of its collections it moves at all.
    moves: f64,
    pub(super) state: State,
}

impl Series {
    pub(super) fn new(shape: Shape, chance: &mut Chance) -> Self {
        let pace = chance.log_normal(40.0, 1.5);
        let moves = if chance.happens(IDLE_SHARE) { IDLE_MOVES } else { 1.0 };
        let state = match shape {
            Shape::Bytes | Shape::Limit => State::Int(whole(chance.log_normal(3e8, 1.0)) & !4095),
            Shape::Level => State::Int(whole(pace)),
            Shape::Count => State::Int(whole(pace * 1e4 * chance.unit())),
            Shape::Seconds => State::Double(whole(pace * 1e4 * chance.unit()) as f64 / 100.0),
            Shape::Share => State::Double(chance.unit()),
            Shape::Histogram => distribution(BOUNDS.len() + 1),
            Shape::Exponential => distribution(EXPONENTIAL),
            Shape::Summary => distribution(1),
        };
        Self { shape, pace, moves, state }
    }

    /// Moves on by one collection.
    pub(super) fn step(&mut self, chance: &mut Chance) {
        if !chance.happens(self.moves) {
            return;
        }
        let moved = self.pace * (0.5 + chance.unit());
        match &mut self.state {
            State::Int(value) => match self.shape {
                Shape::Bytes => {
                    *value = (*value + whole((chance.unit() - 0.5) * 2e3) * 4096).max(4096);
                }
                Shape::Level if chance.happens(0.4) => {
                    *value = (*value + whole(chance.unit() * 6.0) - 3).max(0);
                }
                Shape::Count => *value += whole(moved),
                _ => {}
            },
            State::Double(value) if self.shape == Shape::Seconds => {
                *value = (*value * 100.0).round().mul_add(1.0, moved.round()) / 100.0;
            }
            State::Double(value) => *value = 0.8 * *value + 0.2 * chance.unit(),
            State::Distribution { counts, sum, quantiles } => {
                *quantiles = quantiles.map(|_| 0.003 + chance.unit());
                for _ in 0..whole(moved / 8.0) {
                    let seconds = chance.log_normal(0.04, 1.1);
                    let at = BOUNDS.iter().position(|bound| seconds <= *bound);
                    let last = counts.len() - 1;
                    counts[at.unwrap_or(BOUNDS.len()).min(last)] += 1;
                    *sum += seconds;
                }
            }
        }
    }
}

fn distribution(buckets: usize) -> State {
    State::Distribution { counts: vec![0; buckets], sum: 0.0, quantiles: [0.0; 2] }
}

/// The buckets of an exponential histogram.
pub(super) fn buckets(counts: &[u64]) -> Buckets {
    Buckets { offset: -40, bucket_counts: counts.to_vec() }
}

fn whole(value: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    let whole = value.round() as i64;
    whole
}
