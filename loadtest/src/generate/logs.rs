//! Log records: one request a moment, from all pods, some of them tied to a trace.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;

use super::attributes::{any_text, int, scope, text};
use super::chance::Chance;
use super::fleet::Fleet;
use super::{Plan, Request, Signal};

/// Records of a request, about.
const RECORDS: u64 = 600;

const LEVELS: [(i32, &str); 4] = [(9, "INFO"), (9, "INFO"), (5, "DEBUG"), (13, "WARN")];

#[derive(Debug)]
pub(super) struct LogMaker {
    fleet: Fleet,
    chance: Chance,
    time: u64,
    every: u64,
    items_left: u64,
    /// Counts the records: a number of its own for each, as `loadtest.number`.
    number: i64,
}

impl LogMaker {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            fleet: Fleet::new(plan.seed, &plan.run),
            chance: Chance::new(plan.seed, "logs"),
            time: plan.start_nanos,
            every: 1_000_000_000 / plan.items_per_second.max(1),
            items_left: plan.items,
            number: 0,
        }
    }

    fn record(&mut self) -> LogRecord {
        self.time += self.every;
        self.number += 1;
        let failed = self.chance.happens(0.01);
        let (severity_number, severity) =
            if failed { (17, "ERROR") } else { *self.chance.pick(&LEVELS) };
        let user = self.chance.below(20_000);
        let thing = self.chance.below(100_000);
        let in_trace = self.chance.happens(0.7);
        let id = |chance: &mut Chance, on| {
            if on { chance.next().to_be_bytes().to_vec() } else { Vec::new() }
        };
        LogRecord {
            time_unix_nano: self.time,
            observed_time_unix_nano: self.time + 1_000_000,
            severity_number,
            severity_text: severity.to_owned(),
            body: Some(any_text(format!(
                "order {thing} of user u-{user} changed state to shipped"
            ))),
            attributes: vec![
                int("loadtest.number", self.number),
                text("log.logger", "com.example.shop.OrderService"),
                text("enduser.id", format!("u-{user}")),
                text("thread.name", format!("http-worker-{}", self.chance.below(32))),
            ],
            trace_id: [id(&mut self.chance, in_trace), id(&mut self.chance, in_trace)].concat(),
            span_id: id(&mut self.chance, in_trace),
            flags: u32::from(in_trace),
            ..LogRecord::default()
        }
    }
}

impl Iterator for LogMaker {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let items = RECORDS.min(self.items_left);
        if items == 0 {
            return None;
        }
        self.items_left -= items;
        let mut request = Request { items, ..Request::new(Signal::Logs) };
        let mut by_pod: Vec<Vec<LogRecord>> = vec![Vec::new(); self.fleet.pods.len()];
        for _ in 0..items {
            let pod = self.fleet.any_pod(&mut self.chance);
            let record = self.record();
            request.ids.push(self.number.to_be_bytes());
            by_pod[pod].push(record);
        }
        let of_pod = |(pod, log_records): (usize, Vec<LogRecord>)| ResourceLogs {
            resource: Some(self.fleet.pods[pod].resource.clone()),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope("com.example.shop.logging")),
                log_records,
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        };
        let filled = by_pod.into_iter().enumerate().filter(|(_, records)| !records.is_empty());
        let resource_logs: Vec<_> = filled.map(of_pod).collect();
        request.resources = resource_logs.len();
        request.message = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
        Some(request)
    }
}
