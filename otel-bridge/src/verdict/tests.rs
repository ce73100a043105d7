//! Every status that the specification names, and the ones that it leaves open.

use super::*;

/// What is compared: the kind, the reason, and the time asked for.
fn told(answer: Answer) -> (&'static str, &'static str, Option<Duration>) {
    match judge(answer) {
        Verdict::Delivered { .. } => ("delivered", "", None),
        Verdict::Retry { reason, asked, .. } => ("retry", reason.name(), asked),
        Verdict::Refuse { reason, .. } => ("refuse", reason.name(), None),
    }
}

fn check_grpc(code: Code, retry_info: Option<u64>, kind: &str, reason: &str) {
    let retry_info = retry_info.map(Duration::from_secs);
    let found = told(Answer::Grpc { code, retry_info, message: String::new() });
    let asked = if kind == "retry" { retry_info } else { None };
    assert_eq!(found, (kind, reason, asked), "{code:?}");
}

fn check_http(status: u16, kind: &str, reason: &str) {
    let status = StatusCode::from_u16(status).unwrap();
    let retry_after = Some(Duration::from_secs(3));
    let found = told(Answer::Http { status, retry_after, message: String::new() });
    let asked = if kind == "retry" { retry_after } else { None };
    assert_eq!(found, (kind, reason, asked), "{status}");
}

/// Scenario: every gRPC status.
/// Guarantees: the table of the OTLP specification.
#[test]
fn grpc_statuses_are_judged_as_specified() {
    check_grpc(Code::Cancelled, None, "retry", "unavailable");
    check_grpc(Code::DeadlineExceeded, None, "retry", "timed_out");
    check_grpc(Code::Aborted, None, "retry", "unavailable");
    check_grpc(Code::OutOfRange, None, "retry", "other");
    check_grpc(Code::Unavailable, None, "retry", "unavailable");
    check_grpc(Code::Unavailable, Some(5), "retry", "throttled");
    check_grpc(Code::DataLoss, None, "retry", "other");
    check_grpc(Code::ResourceExhausted, Some(5), "retry", "throttled");
    check_grpc(Code::ResourceExhausted, None, "refuse", "too_large");
    check_grpc(Code::Unknown, None, "refuse", "other");
    check_grpc(Code::Internal, None, "refuse", "other");
    check_grpc(Code::AlreadyExists, None, "refuse", "other");
    check_grpc(Code::InvalidArgument, None, "refuse", "invalid");
    check_grpc(Code::FailedPrecondition, None, "refuse", "invalid");
    check_grpc(Code::NotFound, None, "refuse", "unsupported");
    check_grpc(Code::Unimplemented, None, "refuse", "unsupported");
    check_grpc(Code::PermissionDenied, None, "refuse", "not_allowed");
    check_grpc(Code::Unauthenticated, None, "refuse", "not_allowed");
}

/// Scenario: HTTP statuses of receivers and of proxies before them.
/// Guarantees: 429, 502, 503 and 504 are tried again, everything else is final.
#[test]
fn http_statuses_are_judged_as_specified() {
    check_http(429, "retry", "throttled");
    check_http(502, "retry", "unavailable");
    check_http(503, "retry", "unavailable");
    check_http(504, "retry", "timed_out");
    check_http(400, "refuse", "invalid");
    check_http(401, "refuse", "not_allowed");
    check_http(404, "refuse", "unsupported");
    check_http(413, "refuse", "too_large");
    check_http(415, "refuse", "unsupported");
    check_http(500, "refuse", "other");
    check_http(301, "refuse", "other");
}

/// Scenario: no answer at all, and a success with rejected items.
/// Guarantees: silence is never final; partial success is delivery, not to be sent again.
#[test]
fn silence_is_tried_again_and_partial_success_is_not() {
    let unreachable = Answer::Unreachable { message: String::new() };
    assert_eq!(told(unreachable), ("retry", "unreachable", None));
    assert_eq!(told(Answer::TimedOut), ("retry", "timed_out", None));
    let partial = Answer::Accepted { rejected: 3, message: "bad ids".to_owned() };
    let delivered = Verdict::Delivered { rejected: 3, message: "bad ids".to_owned() };
    assert_eq!(judge(partial), delivered);
}
