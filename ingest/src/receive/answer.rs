//! What a sender is told: one table from reasons to HTTP status, gRPC code and whether to retry.
//!
//! Invariant: a refusal that may be retried says when; one that may not is never answered with a
//! status that OTLP senders retry on.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use icecore_store::Signal;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Why a request was refused as a whole; a label in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The payload is not the OTLP of its path.
    Malformed,
    /// The body is not what its `Content-Encoding` says.
    BrokenCompression,
    /// A content type or charset that OTLP does not have.
    UnsupportedMediaType,
    /// A compression that this server does not know.
    UnsupportedEncoding,
    /// No such path or gRPC method.
    NotFound,
    /// A path of OTLP, but not by POST.
    MethodNotAllowed,
    /// Above a bound on one request.
    TooLarge,
    /// The sender took too long to send its request.
    TooSlow,
    /// The sender went away in the middle, or broke the rules of HTTP.
    Cancelled,
    /// Requests in flight use all the memory they may.
    Busy,
    /// Rows come faster than they can be stored, and enough wait already.
    Behind,
    /// The log is at its bound, or the disk is full.
    LogFull,
    /// The disk refuses the log.
    LogFailed,
    /// The bucket did not take the rows in time (`--durability bucket`).
    BucketAway,
    /// The server is going down.
    Stopping,
    /// A fault of ours.
    Internal,
}

impl Reason {
    /// The label in metrics.
    pub(crate) const fn name(self) -> &'static str {
        self.row().0
    }

    const fn http(self) -> StatusCode {
        self.row().1
    }

    const fn grpc(self) -> Code {
        self.row().2
    }

    const fn is_retryable(self) -> bool {
        self.row().3
    }

    /// The table: label, HTTP status, gRPC code, whether to try again.
    const fn row(self) -> (&'static str, StatusCode, Code, bool) {
        use StatusCode as Http;
        match self {
            Self::Malformed => ("malformed", Http::BAD_REQUEST, Code::InvalidArgument, false),
            Self::BrokenCompression => {
                ("broken_compression", Http::BAD_REQUEST, Code::InvalidArgument, false)
            }
            Self::UnsupportedMediaType => (
                "unsupported_media_type",
                Http::UNSUPPORTED_MEDIA_TYPE,
                Code::InvalidArgument,
                false,
            ),
            Self::UnsupportedEncoding => {
                ("unsupported_encoding", Http::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented, false)
            }
            Self::NotFound => ("not_found", Http::NOT_FOUND, Code::Unimplemented, false),
            Self::MethodNotAllowed => {
                ("method_not_allowed", Http::METHOD_NOT_ALLOWED, Code::Unimplemented, false)
            }
            // Without RetryInfo, OTLP senders do not retry RESOURCE_EXHAUSTED.
            Self::TooLarge => {
                ("too_large", Http::PAYLOAD_TOO_LARGE, Code::ResourceExhausted, false)
            }
            // OTLP senders drop what is answered with 408, and slowness may pass.
            Self::TooSlow => ("too_slow", Http::SERVICE_UNAVAILABLE, Code::Unavailable, true),
            Self::Cancelled => ("cancelled", Http::BAD_REQUEST, Code::InvalidArgument, false),
            Self::Busy => ("busy", Http::TOO_MANY_REQUESTS, Code::ResourceExhausted, true),
            Self::Behind => ("behind", Http::TOO_MANY_REQUESTS, Code::ResourceExhausted, true),
            Self::LogFull => ("log_full", Http::TOO_MANY_REQUESTS, Code::ResourceExhausted, true),
            Self::LogFailed => ("log_failed", Http::SERVICE_UNAVAILABLE, Code::Unavailable, true),
            Self::BucketAway => ("bucket_away", Http::SERVICE_UNAVAILABLE, Code::Unavailable, true),
            Self::Stopping => ("stopping", Http::SERVICE_UNAVAILABLE, Code::Unavailable, true),
            Self::Internal => ("internal", Http::INTERNAL_SERVER_ERROR, Code::Internal, false),
        }
    }
}

/// A request that was refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The kind.
    pub(crate) reason: Reason,
    /// One sentence for the sender's log.
    pub(crate) message: String,
}

impl Refusal {
    /// A refusal with its sentence.
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// As a gRPC status, with `RetryInfo` where the sender should come back.
    pub(crate) fn status(&self, retry_after: Duration) -> Status {
        let code = self.reason.grpc();
        if !self.reason.is_retryable() {
            return Status::new(code, self.message.clone());
        }
        let details = ErrorDetails::with_retry_info(Some(retry_after));
        Status::with_error_details(code, self.message.clone(), details)
    }

    /// As an HTTP answer: a `google.rpc.Status` in the sender's own format.
    pub(crate) fn response(&self, format: Format, retry_after: Duration) -> Response {
        let status = self.status(retry_after);
        let body = match format {
            Format::Protobuf if self.reason.is_retryable() => status.details().to_vec(),
            Format::Protobuf => {
                let (code, message) = (i32::from(status.code()), self.message.clone());
                tonic_types::Status { code, message, details: Vec::new() }.encode_to_vec()
            }
            Format::Json => self.json(status.code(), retry_after),
        };
        let mut response = answer(self.reason.http(), format, body);
        if self.reason.is_retryable() {
            // Whole seconds are all that the header can say; never zero.
            let seconds = HeaderValue::from(retry_after.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }

    fn json(&self, code: Code, retry_after: Duration) -> Vec<u8> {
        let details = self.reason.is_retryable().then(|| {
            let delay = format!("{:.3}s", retry_after.as_secs_f64());
            let kind = "type.googleapis.com/google.rpc.RetryInfo";
            serde_json::json!([{ "@type": kind, "retryDelay": delay }])
        });
        let (code, details) = (i32::from(code), details.unwrap_or_default());
        let mut body = serde_json::json!({ "code": code, "message": self.message });
        if !details.is_null() {
            body["details"] = details;
        }
        body.to_string().into_bytes()
    }
}

/// How the body of an OTLP/HTTP request is written, and so its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// What became of an accepted request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Items that were refused; the rest is durable and visible.
    pub(crate) rejected: u64,
    /// Why the first of them was.
    pub(crate) reason: Option<String>,
}

impl Accepted {
    /// The export response in protobuf. Those of all signals have the same wire form.
    pub(crate) fn protobuf(&self) -> Vec<u8> {
        let partial_success = (self.rejected > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: i64::try_from(self.rejected).unwrap_or(i64::MAX),
            error_message: self.reason.clone().unwrap_or_default(),
        });
        ExportTraceServiceResponse { partial_success }.encode_to_vec()
    }

    /// The export response as an HTTP answer.
    pub(crate) fn response(&self, signal: Signal, format: Format) -> Response {
        let body = match format {
            Format::Protobuf => self.protobuf(),
            Format::Json => self.json(signal).to_string().into_bytes(),
        };
        answer(StatusCode::OK, format, body)
    }

    fn json(&self, signal: Signal) -> serde_json::Value {
        if self.rejected == 0 {
            return serde_json::json!({});
        }
        let rejected = match signal {
            Signal::Traces => "rejectedSpans",
            Signal::Metrics => "rejectedDataPoints",
            Signal::Logs => "rejectedLogRecords",
            Signal::Profiles => "rejectedProfiles",
        };
        let message = self.reason.as_deref().unwrap_or_default();
        // 64-bit integers are text in the JSON of protobuf.
        let count = self.rejected.to_string();
        serde_json::json!({ "partialSuccess": { rejected: count, "errorMessage": message } })
    }
}

fn answer(status: StatusCode, format: Format, body: Vec<u8>) -> Response {
    let content_type = match format {
        Format::Protobuf => "application/x-protobuf",
        Format::Json => "application/json",
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
