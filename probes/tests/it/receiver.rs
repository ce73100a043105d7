//! An OTLP/gRPC receiver that keeps what it is sent.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::profiles::v1development::profiles_service_server::{
    ProfilesService, ProfilesServiceServer,
};
use opentelemetry_proto::tonic::collector::profiles::v1development::{
    ExportProfilesServiceRequest, ExportProfilesServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, ResourceMetrics};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A span with the attributes of its resource.
pub(crate) type Told = (Arc<[KeyValue]>, Span);

/// What has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Received {
    spans: Arc<Mutex<Vec<Told>>>,
    logs: Arc<Mutex<Vec<ResourceLogs>>>,
    metrics: Arc<Mutex<Vec<ResourceMetrics>>>,
    profiles: Arc<Mutex<Vec<ExportProfilesServiceRequest>>>,
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_spans {
            let resource: Arc<[KeyValue]> =
                of_resource.resource.unwrap_or_default().attributes.into();
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let with_resource = spans.map(|span| (Arc::clone(&resource), span));
            self.spans.lock().unwrap().extend(with_resource);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Received {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().extend(request.into_inner().resource_metrics);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl ProfilesService for Received {
    async fn export(
        &self,
        request: Request<ExportProfilesServiceRequest>,
    ) -> Result<Response<ExportProfilesServiceResponse>, Status> {
        self.profiles.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportProfilesServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Received {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.logs.lock().unwrap().extend(request.into_inner().resource_logs);
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

impl Received {
    /// Log records of this event, each with the attributes of its resource.
    pub(crate) fn events(&self, name: &str) -> Vec<(Vec<KeyValue>, LogRecord)> {
        let mut found = Vec::new();
        for of_resource in self.logs.lock().unwrap().iter() {
            let resource = of_resource.resource.clone().unwrap_or_default().attributes;
            let records = of_resource.scope_logs.iter().flat_map(|scope| &scope.log_records);
            let wanted = records.filter(|record| record.event_name == name);
            found.extend(wanted.map(|record| (resource.clone(), record.clone())));
        }
        found
    }

    /// Every collection of metrics, in the order in which they came.
    pub(crate) fn metrics(&self) -> Vec<ResourceMetrics> {
        self.metrics.lock().unwrap().clone()
    }

    /// Every request with profiles.
    pub(crate) fn profiles(&self) -> Vec<ExportProfilesServiceRequest> {
        self.profiles.lock().unwrap().clone()
    }

    /// Requests at this port of a server in a histogram, as of the last collection that has any.
    pub(crate) fn counted(&self, name: &str, port: u16) -> u64 {
        let port = port.to_string();
        let ours = |one: &&HistogramDataPoint| {
            shown(&one.attributes, "server.port").as_ref() == Some(&port)
        };
        let count = |of_resource: &ResourceMetrics| {
            let metrics = of_resource.scope_metrics.iter().flat_map(|scope| &scope.metrics);
            let points = metrics.filter(|metric| metric.name == name).filter_map(|metric| {
                match &metric.data {
                    Some(Data::Histogram(histogram)) => Some(&histogram.data_points),
                    _ => None,
                }
            });
            points.flatten().filter(ours).map(|point| point.count).sum::<u64>()
        };
        let all = self.metrics.lock().unwrap();
        all.iter().rev().map(count).find(|count| *count > 0).unwrap_or_default()
    }

    /// All that has come, in one text.
    pub(crate) fn told(&self) -> String {
        let (spans, logs) = (self.spans.lock().unwrap(), self.logs.lock().unwrap());
        format!("{spans:?}{logs:?}{:?}", self.metrics.lock().unwrap())
    }

    /// Spans of which this attribute has one of these values.
    pub(crate) fn spans(&self, key: &str, values: &[i64]) -> Vec<Span> {
        self.with_resources(key, values).into_iter().map(|(_, span)| span).collect()
    }

    /// The same, each with the attributes of its resource.
    pub(crate) fn with_resources(&self, key: &str, values: &[i64]) -> Vec<(Arc<[KeyValue]>, Span)> {
        let spans = self.spans.lock().unwrap();
        let wanted = |span: &Span| int(span, key).is_some_and(|value| values.contains(&value));
        spans.iter().filter(|(_, span)| wanted(span)).cloned().collect()
    }
}

/// Serves until `stop`; where, and what came.
pub(crate) async fn serve(stop: CancellationToken) -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let received = Received::default();
    let zstd = CompressionEncoding::Zstd;
    let server = Server::builder()
        .add_service(TraceServiceServer::new(received.clone()).accept_compressed(zstd))
        .add_service(ProfilesServiceServer::new(received.clone()).accept_compressed(zstd))
        .add_service(LogsServiceServer::new(received.clone()).accept_compressed(zstd))
        .add_service(MetricsServiceServer::new(received.clone()).accept_compressed(zstd));
    let incoming = TcpIncoming::from(listener);
    tokio::spawn(server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()));
    (endpoint, received)
}

fn value<'s>(span: &'s Span, key: &str) -> Option<&'s Value> {
    of(&span.attributes, key)
}

/// The value of an attribute.
pub(crate) fn of<'s>(attributes: &'s [KeyValue], key: &str) -> Option<&'s Value> {
    let found = attributes.iter().find(|entry| entry.key == key);
    match found {
        Some(KeyValue { value: Some(AnyValue { value }), .. }) => value.as_ref(),
        _ => None,
    }
}

/// A whole number among the attributes.
pub(crate) fn int(span: &Span, key: &str) -> Option<i64> {
    match value(span, key) {
        Some(Value::IntValue(number)) => Some(*number),
        _ => None,
    }
}

/// A whole number or a text among some attributes, as text.
pub(crate) fn shown(attributes: &[KeyValue], key: &str) -> Option<String> {
    match of(attributes, key)? {
        Value::IntValue(number) => Some(number.to_string()),
        Value::StringValue(text) => Some(text.clone()),
        Value::BoolValue(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// A text among the attributes.
pub(crate) fn text<'s>(span: &'s Span, key: &str) -> Option<&'s str> {
    match value(span, key) {
        Some(Value::StringValue(text)) => Some(text),
        _ => None,
    }
}

/// Yes or no among the attributes.
pub(crate) fn boolean(span: &Span, key: &str) -> Option<bool> {
    match value(span, key) {
        Some(Value::BoolValue(truth)) => Some(*truth),
        _ => None,
    }
}

/// The span lies within times that its client wrote down. One clock is read on both sides; but a server
/// may lose its CPU between its last byte and the end of the call that sent it, when the client has gone
/// on long since.
pub(crate) fn within(span: &Span, first: u64, last: u64) -> bool {
    let slack = 5_000_000;
    let late = if span.kind() == SpanKind::Server { 2_000_000_000 } else { slack };
    let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
    start <= end && start + slack >= first && end <= last.saturating_add(late)
}

/// Texts among the attributes.
pub(crate) fn list<'s>(span: &'s Span, key: &str) -> Vec<&'s str> {
    let Some(Value::ArrayValue(list)) = value(span, key) else { return Vec::new() };
    let texts = list.values.iter().map(|one| match &one.value {
        Some(Value::StringValue(text)) => text.as_str(),
        _ => "",
    });
    texts.collect()
}
