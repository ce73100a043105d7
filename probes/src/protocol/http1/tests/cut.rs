//! Requests whose head is not read to its end, or says no end of them.

use super::*;

/// Scenario: a server answers before a head is whole, since it is too long, or takes too long; the rest of it is taken
/// all the same, as gunicorn does. In the first line, behind it, and once more on a connection in use.
/// Guarantees: the request that was refused is told with its answer, without a target where that may go on, and what is
/// left of its head is no request.
#[test]
fn answered_before_the_head_is_whole() {
    let refused = |status: &str| {
        responses(&format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"))
    };
    let long = "h".repeat(4_096);
    for (begun, status, wanted) in [
        ("GET /a?pad=zzz", "414 URI Too Long", "GET  414 0+>2"),
        ("GET /a HTTP/1.1\r\nHost: x\r\nX-Long: ", "431 Too Large", "GET /a 431 0+>2"),
        ("POST /a HTTP/1.1\r\nContent-Length: 3\r\n", "408 Timeout", "POST /a 408 0+>2"),
    ] {
        for end in ["", &*long, "\r\n\r\n"] {
            let steps = [requests(begun), refused(status), requests(end)];
            let steps: Vec<Step> = steps.into_iter().filter(|step| !step.is_empty()).collect();
            for role in [Role::Server, Role::Client] {
                check_whole(role, &steps, &[wanted]);
            }
            let before = [
                requests("GET /before HTTP/1.1\r\n\r\n"),
                responses("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            ];
            let steps = [&before[..], &steps].concat();
            check_whole(Role::Server, &steps, &["GET /before 200 0>2", wanted]);
        }
    }
    // An interim answer is none.
    check_whole(
        Role::Server,
        &[
            requests("POST /a HTTP/1.1\r\nContent-Length: 3\r\n"),
            responses("HTTP/1.1 102 Processing\r\n\r\n"),
            requests("\r\nabc"),
            responses("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ],
        &["POST /a 200 3>2"],
    );
}

/// Scenario: heads with two lengths, or none that is one, as they are sent to make two servers disagree; one server
/// refuses, another answers and goes on.
/// Guarantees: each is told with its answer, without a size; what follows it in the same call is no request, and the next
/// call is.
#[test]
fn lengths_that_contradict_each_other() {
    for header in [
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: 1, 2",
        "Content-Length: +1",
        "Transfer-Encoding: chunked\r\nContent-Length: x",
        "Transfer-Encoding: gzip",
    ] {
        let steps = [
            requests(&format!("POST /a HTTP/1.1\r\n{header}\r\n\r\nGET /within HTTP/1.1\r\n\r\n")),
            responses("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno"),
            requests("GET /b HTTP/1.1\r\n\r\n"),
            responses("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ];
        for role in [Role::Server, Role::Client] {
            check_whole(role, &steps, &["POST /a 400 0+>2", "GET /b 200 0>2"]);
        }
    }
}

/// Scenario: a head that is longer than what is held of one, in one call and in many.
/// Guarantees: the request is told with its answer, and the one behind it.
#[test]
fn heads_beyond_the_limit() {
    let head = format!("GET /a HTTP/1.1\r\nCookie: {}\r\n\r\n", "c".repeat(100_000));
    for parts in [200_000, 60_000, 1_000] {
        let parts = head.as_bytes().chunks(parts).map(|part| Step::Request(part.to_vec()));
        let mut steps: Vec<Step> = parts.collect();
        steps.extend([
            responses("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            requests("GET /b HTTP/1.1\r\n\r\n"),
            responses("HTTP/1.1 204 No\r\n\r\n"),
        ]);
        check_whole(Role::Server, &steps, &["GET /a 200 0+>2", "GET /b 204 0>0"]);
    }
}

/// Scenario: a client writes its first request byte by byte, as unbuffered streams of Java do.
/// Guarantees: it is told like any other.
#[test]
fn byte_by_byte() {
    let request = "POST /bytes?n=772123023 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    let mut steps: Vec<Step> = request.bytes().map(|byte| Step::Request(vec![byte])).collect();
    steps.push(responses("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    for role in [Role::Server, Role::Client] {
        check_whole(role, &steps, &["POST /bytes?n=772123023 200 5>2"]);
    }
}

/// Scenario: the first byte of a request is lost, whose answer says a length and has no body.
/// Guarantees: the rest of its method is none, and the answer does not swallow the next one.
#[test]
fn a_method_without_its_beginning() {
    for before in ["", "GET /before HTTP/1.1\r\n\r\n"] {
        let mut watched = Watched::new(Role::Client, Limits::default());
        watched.step(&requests(before));
        if !before.is_empty() {
            watched.step(&responses("HTTP/1.1 204 No\r\n\r\n"));
        }
        watched.segment(true, b"EAD /a HTTP/1.1\r\n\r\n", 0, true);
        watched.step(&responses("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"));
        watched.step(&requests("GET /b HTTP/1.1\r\n\r\n"));
        watched.step(&responses("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        let told = watched.close(Closing::Orderly);
        assert_eq!(told.last().map(String::as_str), Some("GET /b 200 0>2"), "{told:?}");
        assert!(told.iter().all(|one| !one.contains("EAD")), "{told:?}");
    }
}

impl Step {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Request(bytes) | Self::Response(bytes) if bytes.is_empty())
    }
}

/// Fed as it is: where it is cut into calls is what matters here.
fn check_whole(role: Role, steps: &[Step], wanted: &[&str]) {
    let mut watched = Watched::new(role, Limits::default());
    steps.iter().for_each(|step| watched.step(step));
    assert_eq!(watched.close(Closing::Orderly), wanted, "{steps:?}");
}
