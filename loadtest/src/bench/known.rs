//! What is known of a load of spans, so that answers can be told right from wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message;

use super::load::{Load, message};
use crate::error::Error;

/// Traces that are asked for by id.
const TRACES: usize = 200;

#[derive(Debug)]
pub(super) struct Known {
    pub(super) traces: u64,
    /// Traces to ask for, with the number of their spans.
    pub(super) asked: Vec<(String, u64)>,
    /// Pairs of service and operation.
    pub(super) operations: u64,
    pub(super) search: Search,
}

/// A search that finds about one span in a hundred of one service.
#[derive(Debug, Default)]
pub(super) struct Search {
    pub(super) service: String,
    pub(super) longer_than_nanos: u64,
    pub(super) matches: u64,
}

/// What decoding the load tells.
#[derive(Debug, Default)]
struct Survey {
    traces: BTreeMap<Vec<u8>, u64>,
    operations: BTreeSet<(String, String)>,
    durations: BTreeMap<String, Vec<u64>>,
}

impl Known {
    pub(super) async fn of(load: &Load) -> Result<Self, Error> {
        let packed = Arc::new(load.packed.clone());
        let known = tokio::task::spawn_blocking(move || {
            let mut survey = Survey::default();
            for request in packed.iter() {
                let decoded = ExportTraceServiceRequest::decode(message(request));
                let spans = decoded.unwrap_or_default().resource_spans;
                spans.into_iter().for_each(|spans| survey.add(spans));
            }
            survey.finish()
        });
        known.await.map_err(Error::Task)
    }
}

impl Survey {
    fn add(&mut self, resource: ResourceSpans) {
        let attributes = resource.resource.unwrap_or_default().attributes;
        let named = attributes.into_iter().find(|it| it.key == "service.name");
        let service = match named.and_then(|it| it.value?.value) {
            Some(Value::StringValue(name)) => name,
            _ => String::new(),
        };
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            *self.traces.entry(span.trace_id).or_default() += 1;
            self.operations.insert((service.clone(), span.name));
            let nanos = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
            self.durations.entry(service.clone()).or_default().push(nanos);
        }
    }

    fn finish(self) -> Known {
        Known {
            traces: self.traces.len() as u64,
            asked: self.asked(),
            operations: self.operations.len() as u64,
            search: self.search(),
        }
    }

    /// Ids are random, so every n-th of them in order is as good as any.
    fn asked(&self) -> Vec<(String, u64)> {
        let step = (self.traces.len() / TRACES).max(1);
        let asked = self.traces.iter().step_by(step).take(TRACES);
        asked.map(|(id, spans)| (hex(id), *spans)).collect()
    }

    /// By the slowest hundredth of the service with the most spans.
    fn search(self) -> Search {
        let most = self.durations.into_iter().max_by_key(|(_, durations)| durations.len());
        let Some((service, mut durations)) = most else { return Search::default() };
        durations.sort_unstable();
        let at = durations.len().saturating_sub(durations.len() / 100 + 1);
        let longer_than_nanos = durations.get(at).copied().unwrap_or(0);
        let matches = durations.iter().filter(|&&it| it > longer_than_nanos).count() as u64;
        Search { service, longer_than_nanos, matches }
    }
}

pub(super) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
