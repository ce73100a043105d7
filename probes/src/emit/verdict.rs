//! What to do about an answer of the receiver, as the OTLP specification says.
//!
//! Invariant: pure; what the receiver will never take is not sent twice.

use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Try again, not before this where the receiver named a time.
    Retry(Option<Duration>),
    /// The receiver cannot read the compression: try again without.
    Uncompressed,
    /// Give up.
    Refuse,
}

/// The verdict on an error.
pub(super) fn verdict(status: &Status, compressed: bool) -> Verdict {
    let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Verdict::Retry(retry_after),
        Code::ResourceExhausted if retry_after.is_some() => Verdict::Retry(retry_after),
        // gRPC's own library, beneath Python, C++ and others, says the second of a compression it does not know.
        Code::Unimplemented | Code::Internal if compressed && status.source().is_none() => {
            Verdict::Uncompressed
        }
        // The transport failed, and gave the error as its cause: no receiver has spoken.
        Code::Unknown | Code::Internal if status.source().is_some() => Verdict::Retry(None),
        _ => Verdict::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    /// Scenario: every status that a receiver may send.
    /// Guarantees: the table of the OTLP specification.
    #[test]
    fn the_table() {
        for code in 1..=16 {
            let retried = matches!(code, 1 | 4 | 10 | 11 | 14 | 15);
            let wanted = if retried { Verdict::Retry(None) } else { Verdict::Refuse };
            assert_eq!(verdict(&Status::new(code.into(), ""), false), wanted, "{code}");
        }
        let delay = Some(Duration::from_secs(3));
        let details = ErrorDetails::with_retry_info(delay);
        let full = Status::with_error_details(Code::ResourceExhausted, "full", details);
        assert_eq!(verdict(&full, false), Verdict::Retry(delay));
        let unknown = "Error parsing 'grpc-encoding' metadata";
        for status in [Status::unimplemented("zstd"), Status::internal(unknown)] {
            assert_eq!(verdict(&status, true), Verdict::Uncompressed);
        }
        let broken = Status::from_error(Box::new(std::io::Error::other("the line broke")));
        assert_ne!(verdict(&broken, true), Verdict::Uncompressed);
    }
}
