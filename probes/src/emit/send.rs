//! The task that batches, sends and retries.
//!
//! Invariant: one batch is under way at a time; its bytes are given back to the queue when its
//! fate is known, and not before.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::export::Export;
use super::line::Line;
use super::metrics::Outcome;
use super::outbox::Parcel;
use super::profiles::ProfileTask;
use super::{EmitConfig, Item};
use crate::histogram::scope;

/// How often it is looked at what came for a batch under way: being woken for each item costs more than
/// the item. A batch that is full by then leaves at once, and so does what comes behind it. One of which less than this part
/// was there after the first look is not looked at again before it leaves.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const FILLS_FROM: usize = 8;

/// The sending task, not yet running.
#[derive(Debug)]
pub struct EmitTask {
    line: Line,
    waiting: Waiting,
    held_bytes: Arc<AtomicUsize>,
    profiles: Option<ProfileTask>,
    /// What the last request was written into.
    body: Vec<u8>,
}

/// What waits to be sent.
#[derive(Debug)]
pub(super) struct Waiting {
    spans: mpsc::Receiver<Item>,
    collections: mpsc::Receiver<Item>,
    /// Spans and log records in the queue.
    held_items: Arc<AtomicUsize>,
    /// What found no room in the last batch.
    left: Option<Item>,
}

impl Waiting {
    pub(super) fn new(
        spans: mpsc::Receiver<Item>,
        collections: mpsc::Receiver<Item>,
        held_items: Arc<AtomicUsize>,
    ) -> Self {
        Self { spans, collections, held_items, left: None }
    }

    /// The next item, collections first; none when nobody can add to either any more.
    async fn recv(&mut self) -> Option<Item> {
        if let Some(item) = self.left.take() {
            return Some(item);
        }
        let item = tokio::select! {
            biased;
            Some(item) = self.collections.recv() => Some(item),
            item = self.spans.recv() => item,
        };
        item.inspect(|item| self.taken(item))
    }

    fn try_recv(&mut self) -> Option<Item> {
        if let Some(item) = self.left.take() {
            return Some(item);
        }
        let item = self.collections.try_recv().or_else(|_| self.spans.try_recv()).ok();
        item.inspect(|item| self.taken(item))
    }

    /// It is not in the queue any more.
    fn taken(&self, item: &Item) {
        self.held_items.fetch_sub(item.items(), Ordering::Relaxed);
    }

    /// Nobody can add to it any more, and nothing is left.
    fn is_closed(&self) -> bool {
        self.spans.is_closed() && self.spans.is_empty() && self.left.is_none()
    }

    fn close(&mut self) {
        self.spans.close();
        self.collections.close();
    }
}

/// What goes in one request each.
#[derive(Debug, Default)]
struct Batch {
    spans: Vec<Parcel>,
    spans_count: usize,
    logs: Vec<(Arc<Resource>, LogRecord)>,
    metrics: Vec<ResourceMetrics>,
    metrics_items: u64,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, item: Item) {
        match item {
            Item::Spans(parcel) => {
                self.bytes += parcel.bytes;
                self.spans_count += parcel.spans;
                self.spans.push(parcel);
            }
            Item::Log { resource, record, bytes } => {
                self.logs.push((resource, *record));
                self.bytes += bytes;
            }
            Item::Metrics { metrics, bytes } => {
                self.metrics.extend(metrics);
                self.metrics_items += 1;
                self.bytes += bytes;
            }
        }
    }

    fn full(&self, config: &EmitConfig) -> bool {
        self.items() >= config.batch_spans_max || self.bytes >= config.batch_bytes_max
    }

    /// It, or the queue behind it, may be full before its time.
    fn fills(&self, config: &EmitConfig) -> bool {
        let items = config.batch_spans_max.min(config.queue_spans_max);
        let bytes = config.batch_bytes_max.min(config.queue_bytes_max);
        self.items() >= items / FILLS_FROM || self.bytes >= bytes / FILLS_FROM
    }

    /// Spans and log records.
    fn items(&self) -> usize {
        self.spans_count + self.logs.len()
    }

    /// It may have this one as well. What comes alone is taken however much it is.
    fn has_room_for(&self, item: &Item, config: &EmitConfig) -> bool {
        self.items() == 0 || self.items() + item.items() <= config.batch_spans_max
    }
}

impl Item {
    /// Spans and log records in it.
    fn items(&self) -> usize {
        match self {
            Self::Spans(parcel) => parcel.spans,
            Self::Log { .. } => 1,
            Self::Metrics { .. } => 0,
        }
    }
}

impl EmitTask {
    pub(super) fn new(
        line: Line,
        waiting: Waiting,
        held_bytes: Arc<AtomicUsize>,
        profiles: ProfileTask,
    ) -> Self {
        Self { line, waiting, held_bytes, profiles: Some(profiles), body: Vec::new() }
    }

    /// Sends until `stop`, then drains. Cancel `stop` after [`crate::pipeline::Pipeline::finish`].
    pub async fn run(mut self, stop: CancellationToken) {
        let profiles = self.profiles.take();
        let profiles = async {
            if let Some(profiles) = profiles {
                profiles.run(stop.clone()).await;
            }
        };
        tokio::join!(self.run_batches(&stop), profiles);
    }

    async fn run_batches(&mut self, stop: &CancellationToken) {
        while let Some(batch) = self.next_batch(stop).await {
            self.deliver(batch, stop, None).await;
        }
        let deadline = self.line.drained_by();
        self.waiting.close();
        while let Some(batch) = self.next_held() {
            self.deliver(batch, stop, Some(deadline)).await;
        }
    }

    /// The next batch, as soon as it is full or old enough; none at stop or when nobody can add to
    /// it any more.
    async fn next_batch(&mut self, stop: &CancellationToken) -> Option<Batch> {
        let first = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            first = self.waiting.recv() => first?,
        };
        let mut batch = Batch::default();
        batch.push(first);
        let began = Instant::now();
        let leaves = began + self.line.config.batch_after;
        loop {
            let now = Instant::now();
            let full = self.fill(&mut batch);
            if full || now >= leaves || self.waiting.is_closed() {
                return Some(batch);
            }
            let looks = now < began + LOOK_EVERY || batch.fills(&self.line.config);
            let until = if looks { leaves.min(now + LOOK_EVERY) } else { leaves };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Some(batch),
                () = sleep_until(until) => {}
            }
        }
    }

    /// Takes what waits, up to a full batch; true where it is one.
    fn fill(&mut self, batch: &mut Batch) -> bool {
        while !batch.full(&self.line.config) {
            let Some(item) = self.waiting.try_recv() else { return false };
            if !batch.has_room_for(&item, &self.line.config) {
                self.waiting.left = Some(item);
                return true;
            }
            batch.push(item);
        }
        true
    }

    /// A batch of what is in the queue, without waiting.
    fn next_held(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        batch.push(self.waiting.try_recv()?);
        self.fill(&mut batch);
        Some(batch)
    }

    async fn deliver(&mut self, batch: Batch, stop: &CancellationToken, deadline: Option<Instant>) {
        let Batch { spans, spans_count, logs, metrics, metrics_items, bytes } = batch;
        if !spans.is_empty() {
            let count = spans_count as u64;
            let groups = grouped(spans, |parcel| (Arc::clone(&parcel.resource), parcel));
            let export = Export::traces(&groups, std::mem::take(&mut self.body));
            drop(groups);
            let (outcome, rejected) = self.line.send(&export, stop, deadline).await;
            self.body = export.body;
            let rejected = rejected.min(count);
            self.line.metrics.spans(outcome, count - rejected);
            self.line.metrics.spans(Outcome::Refused, rejected);
        }
        if !logs.is_empty() {
            let count = logs.len() as u64;
            let export = Export::logs(&records(logs));
            let (outcome, rejected) = self.line.send(&export, stop, deadline).await;
            let rejected = rejected.min(count);
            self.line.metrics.logs(outcome, count - rejected);
            self.line.metrics.logs(Outcome::Refused, rejected);
        }
        if !metrics.is_empty() {
            let mut all = Outcome::Sent;
            for request in requests(metrics, self.line.config.batch_bytes_max) {
                let export = Export::metrics(&request);
                let (outcome, _) = self.line.send(&export, stop, deadline).await;
                all = if outcome == Outcome::Sent { all } else { outcome };
            }
            self.line.metrics.metrics(all, metrics_items);
        }
        self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Items by what they are of.
fn grouped<I, T>(
    items: Vec<I>,
    split: impl Fn(I) -> (Arc<Resource>, T),
) -> Vec<(Arc<Resource>, Vec<T>)> {
    // The resources are held while their addresses stand for them.
    let mut groups: HashMap<*const Resource, (Arc<Resource>, Vec<T>)> = HashMap::new();
    for (resource, item) in items.into_iter().map(split) {
        let group = groups.entry(Arc::as_ptr(&resource)).or_insert_with(|| (resource, Vec::new()));
        group.1.push(item);
    }
    groups.into_values().collect()
}

/// In requests of no more than so many bytes, but for a resource that has more alone. A collection
/// comes whole, however many peers and processes it tells of.
fn requests(metrics: Vec<ResourceMetrics>, bytes_max: usize) -> Vec<ExportMetricsServiceRequest> {
    let mut requests: Vec<ExportMetricsServiceRequest> = Vec::new();
    let mut bytes = usize::MAX;
    for one in metrics {
        let more = one.encoded_len();
        bytes = bytes.saturating_add(more);
        match requests.last_mut() {
            Some(request) if bytes <= bytes_max => request.resource_metrics.push(one),
            _ => {
                requests.push(ExportMetricsServiceRequest { resource_metrics: vec![one] });
                bytes = more;
            }
        }
    }
    requests
}

fn records(logs: Vec<(Arc<Resource>, LogRecord)>) -> ExportLogsServiceRequest {
    let one = |(resource, log_records): (Arc<Resource>, _)| ResourceLogs {
        resource: Some(Resource::clone(&resource)),
        scope_logs: vec![ScopeLogs {
            scope: Some(scope()),
            log_records,
            schema_url: String::new(),
        }],
        schema_url: String::new(),
    };
    let groups = grouped(logs, |log| log).into_iter();
    ExportLogsServiceRequest { resource_logs: groups.map(one).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: metrics of many processes, one of which has more to tell than a request may hold.
    /// Guarantees: all of them leave, in order, in requests that are not too long but for that one,
    /// which is alone.
    #[test]
    fn collections_leave_in_parts() {
        let of = |at: usize| ResourceMetrics {
            schema_url: format!("{at}:").repeat(if at == 20 { 900 } else { 10 }),
            ..ResourceMetrics::default()
        };
        let all: Vec<ResourceMetrics> = (0..40).map(of).collect();
        let parts = requests(all.clone(), 200);
        for part in &parts {
            assert!(part.encoded_len() <= 300 || part.resource_metrics.len() == 1);
        }
        assert!(parts.len() > 3);
        let sent: Vec<ResourceMetrics> =
            parts.into_iter().flat_map(|part| part.resource_metrics).collect();
        assert_eq!(sent, all);
        assert!(requests(Vec::new(), 200).is_empty());
    }
}
