//! Requests that pass in one call.

use super::*;

impl Machine {
    /// So many requests pass in one call, numbered from 0, each with headers of its own.
    pub(super) fn begin_several(&mut self, at: &At, headers: &[Vec<Header>]) -> u64 {
        let direction = if at.role == Role::Server { INBOUND } else { OUTBOUND };
        let start = self.pass(at, direction);
        let waiting = headers.len();
        let mut all = Vec::new();
        for (ordinal, headers) in headers.iter().enumerate() {
            all.push(Begun { start, ordinal: Some(ordinal as u64), headers, waiting });
        }
        let (begun, beside) = (all.pop(), all);
        let (connection, role) = (&at.info(), Some(at.role));
        self.ties.begun(&Newest { connection, role, begun, beside, place: None }, start);
        start
    }

    /// The answer of one of them passes.
    pub(super) fn end_one(&mut self, at: &At, start: u64, ordinal: u64, headers: &[Header]) -> Ids {
        let direction = if at.role == Role::Server { OUTBOUND } else { INBOUND };
        self.pass(at, direction);
        let mut exchange = exchange(at.role, "GET", "/", 200);
        (exchange.start, exchange.ordinal) = (start, Some(ordinal));
        let request_headers = headers.to_vec();
        exchange.said = Said::Http(HttpCall { request_headers, ..HttpCall::default() });
        let end = self.ties.finish(&at.info(), &exchange);
        self.ids(&end)
    }
}

fn context(number: u8) -> Vec<Header> {
    let value = format!("00-4bf92f3577b34da6a3ce929d0e0e47{number:02x}-00f067aa0ba902b7-01");
    vec![("traceparent".into(), value.into())]
}

/// Scenario: a client writes three requests in one call, each with a trace context of its own or none has one;
/// the server reads them in one call, and answers them in another order.
/// Guarantees: each has a span id of its own on either side and the trace that its own headers name; the
/// server's span is the child of the client's of the same request.
#[test]
fn each_of_one_call_is_known_by_itself() {
    for named in [true, false] {
        let headers: Vec<_> = (0..3).map(|it| if named { context(it) } else { vec![] }).collect();
        let mut machine = Machine::new();
        let (client, server) = (At::new(Role::Client, 20, 1), At::new(Role::Server, 21, 2));
        let sent = machine.begin_several(&client, &headers);
        let read = machine.begin_several(&server, &headers);
        let mut seen = Vec::new();
        for nth in [1_u8, 0, 2] {
            let own = &headers[usize::from(nth)];
            let above = machine.end_one(&client, sent, nth.into(), own);
            let below = machine.end_one(&server, read, nth.into(), own);
            assert_eq!(below.trace_id, above.trace_id);
            assert_eq!(below.parent, certain(&above, true));
            if named {
                assert_eq!(above.trace_id[15], nth);
            }
            seen.extend([above.span_id, below.span_id]);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 6);
        assert_eq!((machine.ties.serving.len(), machine.ties.sent.len()), (0, 0));
    }
}

/// Scenario: a thread reads one request, or two in one call, and makes a call of its own while it serves.
/// Guarantees: the call belongs to the one request for certain; of two it is told that it is one of several, and
/// it has no parent.
#[test]
fn a_call_belongs_to_none_of_two_that_were_read_at_once() {
    for several in [false, true] {
        let mut machine = Machine::new();
        let server = At::new(Role::Server, 21, 2);
        machine.begin_several(&server, &vec![vec![]; 1 + usize::from(several)]);
        let call = machine.begin(At::new(Role::Client, 30, 2));
        let end = machine.end(&call);
        assert_eq!(end.may_be_of_several(), several);
        assert_eq!(machine.ids(&end).parent.is_some(), !several);
    }
}
