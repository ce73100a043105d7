//! Random conversations: however they are cut they mean the same, whatever is lost never misleads.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// One exchange to be played.
#[derive(Debug, Clone)]
struct Planned {
    method: &'static str,
    status: u16,
    request_body: Option<Vec<u8>>,
    response_body: Vec<u8>,
    chunked: bool,
    interim: bool,
}

fn planned() -> impl Strategy<Value = Planned> {
    let method = prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]);
    let status = prop::sample::select(vec![200, 201, 204, 304, 404, 500]);
    let body = || vec(any::<u8>(), 0..300);
    (method, status, prop::option::of(body()), body(), any::<bool>(), any::<bool>()).prop_map(
        |(method, status, request_body, response_body, chunked, interim)| Planned {
            method,
            status,
            request_body,
            response_body,
            chunked,
            interim,
        },
    )
}

fn with_body(mut head: String, body: &[u8], chunked: bool) -> Vec<u8> {
    if !chunked {
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        return [head.as_bytes(), body].concat();
    }
    head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    let mut bytes = head.into_bytes();
    for chunk in body.chunks(37) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

impl Planned {
    fn bodiless(&self) -> bool {
        self.method == "HEAD" || matches!(self.status, 204 | 304)
    }

    /// The answer names the request (in `content-type`), so that a wrong match is seen.
    fn messages(&self, index: usize) -> (Vec<u8>, Vec<u8>) {
        let head = format!("{} /{index} HTTP/1.1\r\nHost: x\r\n", self.method);
        let request = match &self.request_body {
            Some(body) => with_body(head, body, self.chunked),
            None => format!("{head}\r\n").into_bytes(),
        };
        let head = format!("HTTP/1.1 {} X\r\nContent-Type: /{index}\r\n", self.status);
        let mut response = Vec::new();
        if self.interim {
            response.extend(b"HTTP/1.1 103 Early Hints\r\n\r\n");
        }
        if self.bodiless() {
            response.extend(format!("{head}Content-Length: 77\r\n\r\n").bytes());
        } else {
            response.extend(with_body(head, &self.response_body, self.chunked));
        }
        (request, response)
    }

    fn told(&self, index: usize) -> String {
        let sent = self.request_body.as_ref().map_or(0, Vec::len);
        let received = if self.bodiless() { 0 } else { self.response_body.len() };
        format!("{} /{index} {} {sent}>{received}", self.method, self.status)
    }
}

/// The conversation in the order in which it happens, `together` requests at a time.
fn steps(plan: &[Planned], together: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for (batch, group) in plan.chunks(together).enumerate() {
        let messages = |(at, planned): (usize, &Planned)| planned.messages(batch * together + at);
        let (requests, responses): (Vec<_>, Vec<_>) =
            group.iter().enumerate().map(messages).unzip();
        steps.push(Step::Request(requests.concat()));
        steps.push(Step::Response(responses.concat()));
    }
    steps
}

/// Cuts the steps into segments of the given sizes, over and over.
fn cut(steps: &[Step], sizes: &[usize]) -> Vec<Step> {
    let mut sizes = sizes.iter().cycle();
    let mut out = Vec::new();
    for step in steps {
        let (Step::Request(bytes) | Step::Response(bytes)) = step;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (segment, behind) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            out.push(match step {
                Step::Request(_) => Step::Request(segment.to_vec()),
                Step::Response(_) => Step::Response(segment.to_vec()),
            });
            rest = behind;
        }
    }
    out
}

fn role(server: bool) -> Role {
    if server { Role::Server } else { Role::Client }
}

proptest! {
    /// Scenario: a conversation, pipelined or not, cut anywhere.
    /// Guarantees: exactly the planned exchanges, numbered, with exact sizes; no byte unparsed.
    #[test]
    fn cutting_changes_nothing(
        plan in vec(planned(), 1..12),
        together in 1_usize..5,
        sizes in vec(1_usize..400, 1..20),
        server in any::<bool>(),
    ) {
        let mut watched = Watched::new(role(server), Limits::default());
        for step in cut(&steps(&plan, together), &sizes) {
            watched.step(&step);
        }
        let counts = watched.following.take_counts();
        prop_assert_eq!(counts.unparsed_bytes, 0);
        prop_assert_eq!(counts.parsed_bytes, watched.fed);
        watched.fed = 0;
        let wanted: Vec<_> = plan.iter().enumerate().map(|(at, one)| one.told(at)).collect();
        prop_assert_eq!(watched.close(Closing::Orderly), wanted);
        let ordinals: Vec<_> = watched.out.iter().map(|one| one.ordinal).collect();
        prop_assert_eq!(ordinals, (0..plan.len() as u64).map(Some).collect::<Vec<_>>());
    }

    /// Scenario: segments of a conversation without pipelining are lost.
    /// Guarantees: no panic, each byte counted, no request twice, no answer given to the wrong
    /// request, and what comes after the losses is seen in full.
    #[test]
    fn losses_never_mislead(
        plan in vec(planned(), 1..12),
        sizes in vec(1_usize..400, 1..20),
        lost in vec(prop::bool::weighted(0.2), 1..40),
        server in any::<bool>(),
    ) {
        let mut watched = Watched::new(role(server), Limits::default());
        let mut lost = lost.iter().cycle();
        let (mut request_gap, mut response_gap) = (false, false);
        for step in cut(&steps(&plan, 1), &sizes) {
            let (is_request, gap) = match step {
                Step::Request(_) => (true, &mut request_gap),
                Step::Response(_) => (false, &mut response_gap),
            };
            if *lost.next().unwrap() {
                *gap = true;
                continue;
            }
            let gap_before = std::mem::take(gap);
            let (Step::Request(bytes) | Step::Response(bytes)) = step;
            watched.segment(is_request, &bytes, 0, gap_before);
        }
        // Two more, since the first may have to pay for what was lost before it.
        for name in ["almost", "last"] {
            let request = format!("GET /{name} HTTP/1.1\r\n\r\n");
            watched.segment(true, request.as_bytes(), 0, std::mem::take(&mut request_gap));
            let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            watched.segment(false, response, 0, std::mem::take(&mut response_gap));
        }
        let told = watched.close(Closing::Orderly);
        prop_assert_eq!(told.last().map(String::as_str), Some("GET /last 200 0>2"));
        // Of a line that is cut nobody knows the target.
        let known = |exchange: &&Exchange| !call(exchange).target.is_empty();
        let known: Vec<&Exchange> = watched.out.iter().filter(known).collect();
        for exchange in &known {
            for (_, answered) in &call(exchange).response_headers {
                prop_assert_eq!(answered, &call(exchange).target);
            }
        }
        let mut targets: Vec<_> = known.iter().map(|one| &call(one).target).collect();
        targets.sort();
        targets.dedup();
        prop_assert_eq!(targets.len(), known.len());
    }

    /// Scenario: bytes that mean nothing, with gaps and omissions anywhere.
    /// Guarantees: no panic, each byte counted once.
    #[test]
    fn anything_goes(
        segments in vec(
            (any::<bool>(), "(GET / HTTP/1.1\r\n|HTTP/1.1 200 OK\r\n|content-length: 9\r\n|\
             transfer-encoding: chunked\r\n|\r\n|9\r\n|0\r\n\r\n|[ -~\r\n]{0,40}){0,6}",
             prop::option::weighted(0.2, 0_u64..50), prop::bool::weighted(0.1)),
            0..60,
        ),
    ) {
        let mut watched = Watched::new(Role::Server, Limits::default());
        for (requests, bytes, omitted, gap) in segments {
            watched.segment(requests, bytes.as_bytes(), omitted.unwrap_or(0), gap);
        }
        // Some of it may look like another protocol's, and is then told as that.
        watched.end(Closing::Reset);
    }
}
