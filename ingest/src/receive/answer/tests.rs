//! The table of refusals against the rules of OTLP.

use http_body_util::BodyExt;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;

use super::*;

const ALL: [Reason; 16] = [
    Reason::Malformed,
    Reason::BrokenCompression,
    Reason::UnsupportedMediaType,
    Reason::UnsupportedEncoding,
    Reason::NotFound,
    Reason::MethodNotAllowed,
    Reason::TooLarge,
    Reason::TooSlow,
    Reason::Cancelled,
    Reason::Busy,
    Reason::Behind,
    Reason::LogFull,
    Reason::LogFailed,
    Reason::BucketAway,
    Reason::Stopping,
    Reason::Internal,
];

async fn body(response: Response) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

/// Scenario: each reason, answered over HTTP and over gRPC, in both formats.
/// Guarantees: senders retry exactly what may be retried, and are told when; every error body is a
/// `google.rpc.Status` with the message.
#[tokio::test]
async fn senders_retry_what_may_be_retried() {
    let retry_after = Duration::from_millis(1500);
    for reason in ALL {
        let refusal = Refusal::new(reason, "what was wrong");
        let status = refusal.status(retry_after);
        let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
        // What the OTLP specification has senders retry.
        let grpc_retry = match status.code() {
            Code::ResourceExhausted => asked.is_some(),
            code => matches!(
                code,
                Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Aborted
                    | Code::OutOfRange
                    | Code::Unavailable
                    | Code::DataLoss
            ),
        };
        assert_eq!(grpc_retry, reason.is_retryable(), "{reason:?}");
        assert_eq!(asked.is_some(), reason.is_retryable(), "{reason:?}");

        let response = refusal.response(Format::Protobuf, retry_after);
        let http_retry = [429, 502, 503, 504].contains(&response.status().as_u16());
        assert_eq!(http_retry, reason.is_retryable(), "{reason:?}");
        let header = response.headers().get(header::RETRY_AFTER);
        assert_eq!(header.is_some(), reason.is_retryable(), "{reason:?}");
        let pb = tonic_types::Status::decode(&*body(response).await).unwrap();
        assert_eq!((pb.code, pb.message.as_str()), (i32::from(status.code()), "what was wrong"));

        let json = body(refusal.response(Format::Json, retry_after)).await;
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["message"], "what was wrong");
        assert_eq!(json["details"][0]["retryDelay"] == "1.500s", reason.is_retryable());
    }
}

/// Scenario: a whole and a partial success, as protobuf and as JSON.
/// Guarantees: a whole success says nothing more; a partial one says how many and why, under the
/// name that the signal has for it.
#[tokio::test]
async fn successes_are_told_in_the_senders_format() {
    let whole = Accepted::default();
    assert!(whole.protobuf().is_empty());
    assert_eq!(body(whole.response(Signal::Logs, Format::Json)).await, b"{}");
    let partial = Accepted { rejected: 3, reason: Some("no id".to_owned()) };
    let decoded = ExportLogsServiceResponse::decode(&*partial.protobuf()).unwrap();
    let told = decoded.partial_success.unwrap();
    assert_eq!((told.rejected_log_records, told.error_message.as_str()), (3, "no id"));
    for (signal, field) in [
        (Signal::Traces, "rejectedSpans"),
        (Signal::Metrics, "rejectedDataPoints"),
        (Signal::Logs, "rejectedLogRecords"),
        (Signal::Profiles, "rejectedProfiles"),
    ] {
        let expected = serde_json::json!({ field: "3", "errorMessage": "no id" });
        assert_eq!(partial.json(signal)["partialSuccess"], expected);
    }
}
