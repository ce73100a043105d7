//! What an OTLP answer says: partial success, error details, when to come back.

use std::time::Duration;

use chrono::{DateTime, Utc};
use icecore_store::UnixNanos;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic_types::pb;

use crate::verdict::Answer;

/// The answer in a success message. The three signals number their fields alike, so one type
/// reads all. A body that is not one still means that the request was accepted.
pub(super) fn accepted(message: &[u8]) -> Answer {
    let response = ExportTraceServiceResponse::decode(message).unwrap_or_default();
    let partial = response.partial_success.unwrap_or_default();
    Answer::Accepted {
        rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
        message: partial.error_message,
    }
}

/// The message of a `google.rpc.Status`, or the body itself where it is short text.
pub(super) fn error_message(is_protobuf: bool, body: &[u8]) -> String {
    const TEXT_BYTES_MAX: usize = 300;
    if is_protobuf {
        return pb::Status::decode(body).map(|status| status.message).unwrap_or_default();
    }
    let start = body.get(..body.len().min(TEXT_BYTES_MAX)).unwrap_or_default();
    String::from_utf8_lossy(start).trim().to_owned()
}

/// `Retry-After`: seconds, or a date.
pub(super) fn retry_after(value: &str, now: UnixNanos) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at: DateTime<Utc> = DateTime::parse_from_rfc2822(value.trim()).ok()?.to_utc();
    let wait = at.signed_duration_since(DateTime::from_timestamp_nanos(now.0));
    Some(wait.to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: both forms of `Retry-After`, a date gone by, and nonsense.
    /// Guarantees: the wait it means; nonsense asks for nothing.
    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UnixNanos(784_111_770_000_000_000); // Sun, 06 Nov 1994 08:49:30 GMT
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(retry_after("120", now), seconds(120));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), seconds(7));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:40:00 GMT", now), seconds(0));
        assert_eq!(retry_after("soon", now), None);
    }

    /// Scenario: success bodies of every shape, and error bodies as protobuf and as text.
    /// Guarantees: partial success is found; nothing else turns success into failure.
    #[test]
    fn bodies_are_read() {
        let full = Answer::Accepted { rejected: 0, message: String::new() };
        assert_eq!(accepted(b""), full);
        assert_eq!(accepted(b"{\"not\":\"protobuf\"}"), full);
        let partial = [0x0a, 0x07, 0x08, 0x02, 0x12, 0x03, b'b', b'a', b'd'];
        assert_eq!(accepted(&partial), Answer::Accepted { rejected: 2, message: "bad".to_owned() });
        let status = pb::Status { code: 3, message: "no".to_owned(), details: Vec::new() };
        assert_eq!(error_message(true, &status.encode_to_vec()), "no");
        assert_eq!(error_message(false, b" slow down\n"), "slow down");
    }
}
