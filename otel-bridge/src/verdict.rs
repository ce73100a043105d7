//! What an answer means for the request: delivered, try again, or refused for good.
//!
//! Pure, and as the OTLP specification says; where it leaves a choice, nothing is lost.

use std::time::Duration;

use http::StatusCode;
use tonic::Code;

/// What came back from a destination.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Accepted, perhaps without `rejected` of its items.
    Accepted { rejected: u64, message: String },
    /// A gRPC status other than OK.
    Grpc { code: Code, retry_info: Option<Duration>, message: String },
    /// An HTTP status that is no success.
    Http { status: StatusCode, retry_after: Option<Duration>, message: String },
    /// No connection, or one that broke before the answer was whole.
    Unreachable { message: String },
    /// No answer in time.
    TimedOut,
}

/// Why a request was not accepted; a label in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    Unreachable,
    TimedOut,
    Throttled,
    Unavailable,
    TooLarge,
    NotAllowed,
    Unsupported,
    Invalid,
    Other,
}

impl Reason {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::TooLarge => "too_large",
            Self::NotAllowed => "not_allowed",
            Self::Unsupported => "unsupported",
            Self::Invalid => "invalid",
            Self::Other => "other",
        }
    }
}

/// What to do with the request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// It is there; the destination dropped `rejected` of its items for good.
    Delivered { rejected: u64, message: String },
    /// Send it again, no sooner than `asked`.
    Retry { reason: Reason, asked: Option<Duration>, message: String },
    /// Sending it again would be refused again.
    Refuse { reason: Reason, message: String },
}

/// The one place that knows which answers are final.
pub(crate) fn judge(answer: Answer) -> Verdict {
    match answer {
        Answer::Accepted { rejected, message } => Verdict::Delivered { rejected, message },
        Answer::Unreachable { message } => {
            Verdict::Retry { reason: Reason::Unreachable, asked: None, message }
        }
        Answer::TimedOut => {
            Verdict::Retry { reason: Reason::TimedOut, asked: None, message: String::new() }
        }
        Answer::Grpc { code, retry_info, message } => judge_grpc(code, retry_info, message),
        Answer::Http { status, retry_after, message } => judge_http(status, retry_after, message),
    }
}

fn judge_grpc(code: Code, retry_info: Option<Duration>, message: String) -> Verdict {
    let reason = grpc_reason(code, retry_info.is_some());
    let retry = match code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        // Without RetryInfo the server cannot recover: this is how it says "too large".
        Code::ResourceExhausted => retry_info.is_some(),
        _ => false,
    };
    verdict(retry, reason, retry_info, message)
}

const fn grpc_reason(code: Code, has_retry_info: bool) -> Reason {
    match code {
        Code::ResourceExhausted if has_retry_info => Reason::Throttled,
        Code::ResourceExhausted => Reason::TooLarge,
        Code::DeadlineExceeded => Reason::TimedOut,
        Code::Unavailable if has_retry_info => Reason::Throttled,
        Code::Unavailable | Code::Cancelled | Code::Aborted => Reason::Unavailable,
        Code::Unauthenticated | Code::PermissionDenied => Reason::NotAllowed,
        Code::Unimplemented | Code::NotFound => Reason::Unsupported,
        Code::InvalidArgument | Code::FailedPrecondition => Reason::Invalid,
        _ => Reason::Other,
    }
}

fn judge_http(status: StatusCode, retry_after: Option<Duration>, message: String) -> Verdict {
    let retry = matches!(status.as_u16(), 429 | 502 | 503 | 504);
    let reason = match status.as_u16() {
        429 => Reason::Throttled,
        502 | 503 => Reason::Unavailable,
        504 => Reason::TimedOut,
        413 => Reason::TooLarge,
        401 | 403 | 407 => Reason::NotAllowed,
        404 | 405 | 415 | 501 => Reason::Unsupported,
        400 | 422 => Reason::Invalid,
        _ => Reason::Other,
    };
    verdict(retry, reason, retry_after, message)
}

fn verdict(retry: bool, reason: Reason, asked: Option<Duration>, message: String) -> Verdict {
    if retry {
        Verdict::Retry { reason, asked, message }
    } else {
        Verdict::Refuse { reason, message }
    }
}

#[cfg(test)]
mod tests;
