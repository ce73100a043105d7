//! What is sent in one request: encoded once, however often it is tried.
//!
//! Invariant: a body is a message of the request that its signal names.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::profiles::v1development::{
    ExportProfilesServiceRequest, ExportProfilesServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tracing::warn;

use super::metrics::Outcome;
use super::outbox::Parcel;
use super::packed::Packed;
use crate::histogram::scope;

/// One request.
#[derive(Debug)]
pub(super) struct Export {
    pub(super) signal: Signal,
    pub(super) body: Vec<u8>,
}

/// Whom it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Logs,
    Metrics,
    Profiles,
}

/// Numbers of fields: of the only one in `ExportTraceServiceRequest`, of the first two in `ResourceSpans`, and of the first
/// in `ScopeSpans`, behind which its spans come as their parcels have them.
const RESOURCE_SPANS: u32 = 1;
const RESOURCE: u32 = 1;
const SCOPE_SPANS: u32 = 2;
const SCOPE: u32 = 1;

impl Export {
    /// Spans by what they are of: `ExportTraceServiceRequest`, written around what is written already, into memory that
    /// was used before.
    pub(super) fn traces(groups: &[(Arc<Resource>, Vec<Parcel>)], mut body: Vec<u8>) -> Self {
        let scope = scope().encode_to_vec();
        body.clear();
        for (resource, parcels) in groups {
            let resource = resource.encode_to_vec();
            let spans = parcels.iter().map(|parcel| parcel.wire.len()).sum::<usize>();
            let of_scope = field_bytes(scope.len()) + spans;
            let of_resource = field_bytes(resource.len()) + field_bytes(of_scope);
            body.reserve(field_bytes(of_resource));
            put_head(&mut body, RESOURCE_SPANS, of_resource);
            put_head(&mut body, RESOURCE, resource.len());
            body.extend_from_slice(&resource);
            put_head(&mut body, SCOPE_SPANS, of_scope);
            put_head(&mut body, SCOPE, scope.len());
            body.extend_from_slice(&scope);
            parcels.iter().for_each(|parcel| body.extend_from_slice(&parcel.wire));
        }
        Self { signal: Signal::Traces, body }
    }

    pub(super) fn logs(request: &ExportLogsServiceRequest) -> Self {
        Self::of(Signal::Logs, request)
    }

    pub(super) fn metrics(request: &ExportMetricsServiceRequest) -> Self {
        Self::of(Signal::Metrics, request)
    }

    pub(super) fn profiles(request: &ExportProfilesServiceRequest) -> Self {
        Self::of(Signal::Profiles, request)
    }

    fn of(signal: Signal, request: &impl Message) -> Self {
        Self { signal, body: request.encode_to_vec() }
    }

    /// What it takes, before compression.
    pub(super) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// A receiver that does not know profiles may know them after its next update.
    pub(super) fn refusal(&self, status: &Status) -> Outcome {
        match (self.signal, status.code()) {
            (Signal::Profiles, Code::Unimplemented) => Outcome::Unimplemented,
            _ => Outcome::Refused,
        }
    }
}

impl Signal {
    /// Makes the call; how many items of it were rejected.
    pub(super) async fn ask(
        self,
        client: &mut Grpc<Packed>,
        request: Request<Bytes>,
    ) -> Result<u64, Status> {
        let partial = match self {
            Self::Traces => {
                let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
                let answer: ExportTraceServiceResponse = unary(client, request, path).await?;
                let partial = answer.partial_success;
                partial.map(|it| ("spans", it.rejected_spans, it.error_message))
            }
            Self::Logs => {
                let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
                let answer: ExportLogsServiceResponse = unary(client, request, path).await?;
                let partial = answer.partial_success;
                partial.map(|it| ("log records", it.rejected_log_records, it.error_message))
            }
            Self::Metrics => {
                let path = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
                let answer: ExportMetricsServiceResponse = unary(client, request, path).await?;
                let partial = answer.partial_success;
                partial.map(|it| ("data points", it.rejected_data_points, it.error_message))
            }
            Self::Profiles => {
                let path =
                    "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
                let answer: ExportProfilesServiceResponse = unary(client, request, path).await?;
                let partial = answer.partial_success;
                partial.map(|it| ("profiles", it.rejected_profiles, it.error_message))
            }
        };
        Ok(partial.map_or(0, |(what, count, message)| rejected(what, count, &message)))
    }
}

/// Of a field that holds a message, whose number is below 16.
fn put_head(body: &mut Vec<u8>, number: u32, inside: usize) {
    encode_key(number, WireType::LengthDelimited, body);
    encode_varint(inside as u64, body);
}

/// What such a field takes.
fn field_bytes(inside: usize) -> usize {
    1 + encoded_len_varint(inside as u64) + inside
}

async fn unary<T: Message + Default + 'static>(
    client: &mut Grpc<Packed>,
    request: Request<Bytes>,
    path: &'static str,
) -> Result<T, Status> {
    let codec = Encoded(PhantomData);
    let answer = client.unary(request, PathAndQuery::from_static(path), codec).await?;
    Ok(answer.into_inner())
}

fn rejected(what: &str, count: i64, message: &str) -> u64 {
    if count > 0 || !message.is_empty() {
        warn!(what, count, message, "export taken in part");
    }
    u64::try_from(count).unwrap_or(0)
}

/// Requests that are encoded already, answers that are messages.
#[derive(Debug)]
struct Encoded<T>(PhantomData<T>);

impl<T: Message + Default + 'static> Codec for Encoded<T> {
    type Encode = Bytes;
    type Decode = T;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self(PhantomData)
    }

    fn decoder(&mut self) -> Self {
        Self(PhantomData)
    }
}

impl<T> Encoder for Encoded<T> {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, body: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(body);
        Ok(())
    }
}

impl<T: Message + Default> Decoder for Encoded<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        let message = T::decode(from);
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
